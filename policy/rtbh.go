package policy

import (
	"fmt"
	"net/netip"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// What holds for blackhole routes if the safeguards do not say otherwise.
//
// A blackhole completes the attack for the address: nothing reaches it any more. For a few addresses that can be the
// lesser evil; a target of more than eight, a /29, is carpet bombing, where blackholes take the customer off the net and
// rules are the answer. RFC 7999 section 3.1 has single addresses as the usual case.
const (
	defaultShortestRTBHIPv4 = 32
	defaultShortestRTBHIPv6 = 128
	defaultMaxRTBHRoutes    = 8
)

// ShortestRTBH returns the least length that the prefix of a blackhole route of family f may have.
func (d *Safeguards) ShortestRTBH(f flowspec.Family) uint8 {
	switch {
	case f == flowspec.IPv4 && d.ShortestRTBHIPv4 != 0:
		return d.ShortestRTBHIPv4
	case f == flowspec.IPv4:
		return defaultShortestRTBHIPv4
	case d.ShortestRTBHIPv6 != 0:
		return d.ShortestRTBHIPv6
	}
	return defaultShortestRTBHIPv6
}

// RTBHRoutes returns how many blackhole routes one mitigation may have.
func (d *Safeguards) RTBHRoutes() int {
	if d.MaxRTBHRoutes == 0 {
		return defaultMaxRTBHRoutes
	}
	return d.MaxRTBHRoutes
}

// stated returns the safeguards with what they leave to the default written out.
func (d *Safeguards) stated() Safeguards {
	out := *d
	out.ShortestRTBHIPv4, out.ShortestRTBHIPv6, out.MaxRTBHRoutes = d.ShortestRTBH(flowspec.IPv4), d.ShortestRTBH(flowspec.IPv6), d.RTBHRoutes()
	out.ApprovalTimeout, out.ApprovalRemovals, out.BreakGlassLifetime = d.ApproveTimeout(), d.UnapprovedRemovals(), d.UnapprovedLifetime()
	return out
}

// Key returns the identity of the route that carries out a by the rule r.
func (a Action) Key(r *flowspec.Rule) flowspec.Key {
	if a.RouteKind() == wanted.RTBH {
		if p, ok := r.Match.Destination(); ok {
			return wanted.RTBHKey(p)
		}
	}
	return r.Match.Key()
}

// blackholeNote says what a blackhole does that a rule does not.
const blackholeNote = "a blackhole route discards everything to these addresses, on every router that hears it, whatever the protocol: " +
	"as far as these addresses go, the attack has reached its aim"

// everything is the match of an action that is about destinations alone.
func everything(f flowspec.Family) []flowspec.Match { return []flowspec.Match{{Family: f}} }

// blackholes cuts the plan's pieces into routes that may be announced: a piece that is too short falls into its parts.
// There is no blackhole by source: it would act on packets to every destination, links included.
func (p *plan) blackholes(sg *Safeguards) Reason {
	if p.action.RouteKind() != wanted.RTBH {
		return Reason{}
	}
	if len(p.reported) > 0 {
		return Reason{CodeRTBHTooWide, fmt.Sprintf("%s under attack are answered by %s: a blackhole would give up addresses that nobody attacks, and one of those "+
			"under attack alone would let the rest of the prefix go without what holds the attack back now; name those to give up by hand", counted(p.reported), prefixList(p.targets))}
	}
	shortest := int(sg.ShortestRTBH(familyOf(p.targets[0])))
	if n, most := routesOf(p.cut.Pieces, shortest), sg.RTBHRoutes(); n > most {
		many := fmt.Sprint(n)
		if n == manyRoutes {
			many = "more than a million"
		}
		return Reason{CodeRTBHTooWide, fmt.Sprintf("%s is %s blackhole routes of /%d, the safeguards permit %d (max_rtbh_routes): "+
			"a blackhole gives up the address, name those under attack, or discard by a rule", prefixList(p.targets), many, shortest, most)}
	}
	var routes []netip.Prefix
	for _, piece := range p.cut.Pieces {
		routes = appendParts(routes, piece, shortest)
	}
	p.cut.Pieces = routes
	return Reason{}
}

// manyRoutes is where routesOf ends counting.
const manyRoutes = 1 << 20

// routesOf returns how many prefixes of that length or longer the pieces fall into, at most manyRoutes.
func routesOf(pieces []netip.Prefix, length int) int {
	n := 0
	for _, p := range pieces {
		if d := length - p.Bits(); d >= 20 {
			return manyRoutes
		} else if d > 0 {
			n += 1 << d
		} else {
			n++
		}
	}
	return min(n, manyRoutes)
}

// appendParts appends the parts of p that have that length, in order, or p if it is not shorter.
func appendParts(out []netip.Prefix, p netip.Prefix, length int) []netip.Prefix {
	if p.Bits() >= length {
		return append(out, p)
	}
	low, high := halves(p)
	return appendParts(appendParts(out, low, length), high, length)
}

// tooShort names a blackhole route that the safeguards of s would not permit any more: the guard of every node would keep
// it off the wire, and nobody would know.
func tooShort(s *State) (*Mitigation, netip.Prefix, bool) {
	sg := s.Safeguards()
	for m := range s.Active() {
		if m.Action.RouteKind() != wanted.RTBH {
			continue
		}
		for _, p := range m.Cut.Pieces {
			if p.Bits() < int(sg.ShortestRTBH(familyOf(p))) {
				return m, p, true
			}
		}
	}
	return nil, netip.Prefix{}, false
}

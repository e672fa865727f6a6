package bgp

import (
	"fmt"
	"net/netip"

	"github.com/gaissmai/bart"
	"go4.org/netipx"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// guard is the border's own judgement of a route, made on what the bytes say and on nothing else: it acts on packets
// to one destination, which lies inside official space and touches neither protected nor built-in space, and an RTBH
// route's is no shorter than allowed. It is the second of two; the first is in the decision. A guard is not changed
// after newGuard.
type guard struct {
	official  bart.Lite
	protected bart.Lite
	builtIn   bart.Lite
	anything  bool // there is some official space
	shortest  wanted.Lengths
}

// builtInProtected is what no rule may ever act on, whatever a Set says: unspecified, loopback, link-local and
// multicast (RFC 6890; RFC 4291 sections 2.4 and 2.5; RFC 5771). It is a function because it must not be changed.
func builtInProtected() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"),
		netip.MustParsePrefix("127.0.0.0/8"),
		netip.MustParsePrefix("169.254.0.0/16"),
		netip.MustParsePrefix("224.0.0.0/4"),
		netip.MustParsePrefix("::/128"),
		netip.MustParsePrefix("::1/128"),
		netip.MustParsePrefix("fe80::/10"),
		netip.MustParsePrefix("ff00::/8"),
	}
}

// newGuard refuses prefixes that are not usable rather than leaving them out: a protected prefix that is not
// understood would otherwise be open.
func newGuard(official, protected []netip.Prefix, shortest wanted.Lengths) (*guard, error) {
	g := &guard{shortest: shortest}
	if g.shortest.IPv4 == 0 {
		g.shortest.IPv4 = 32
	}
	if g.shortest.IPv6 == 0 {
		g.shortest.IPv6 = 128
	}
	for _, p := range builtInProtected() {
		g.builtIn.Insert(p)
	}
	for _, p := range protected {
		if !p.IsValid() || p.Addr().Is4In6() {
			return nil, fmt.Errorf("cannot protect prefix %q: %w", p, ErrInvalidSet)
		}
		g.protected.Insert(p.Masked())
	}
	for _, p := range official {
		if !p.IsValid() || p.Addr().Is4In6() {
			return nil, fmt.Errorf("cannot use official prefix %q: %w", p, ErrInvalidSet)
		}
		g.official.Insert(p.Masked())
		g.anything = true
	}
	return g, nil
}

// judge returns nil if a route of that kind may act on m, else why not. m must be what was decoded from the wire.
func (g *guard) judge(kind wanted.Kind, m flowspec.Match) *refusal {
	if g == nil || !g.anything {
		return refuse(wanted.RefusedNotOfficial, "there is no official space, so that nothing may be acted on")
	}
	dst, no := onlyDestination(m)
	if no != nil {
		return no
	}
	switch {
	case g.builtIn.OverlapsPrefix(dst):
		return refuse(wanted.RefusedBuiltIn, "destination %s overlaps multicast, link-local, loopback or unspecified space", dst)
	case g.protected.OverlapsPrefix(dst):
		return refuse(wanted.RefusedProtected, "destination %s overlaps protected space", dst)
	case !g.official.LookupPrefix(dst):
		return refuse(wanted.RefusedNotOfficial, "destination %s does not lie inside an official prefix", dst)
	}
	switch kind {
	case wanted.FlowSpec:
		return nil
	case wanted.RTBH:
		return g.longEnough(dst)
	default:
		return refuse(wanted.RefusedKind, "route is of kind %d", kind)
	}
}

// longEnough refuses RTBH prefixes that would take more addresses off the net than was allowed (RFC 7999 section 3.3).
func (g *guard) longEnough(dst netip.Prefix) *refusal {
	least := g.shortest.IPv6
	if dst.Addr().Is4() {
		least = g.shortest.IPv4
	}
	if dst.Bits() < int(least) {
		return refuse(wanted.RefusedTooShort, "destination %s of an RTBH route is shorter than /%d", dst, least)
	}
	return nil
}

// onlyDestination returns the one destination prefix of m, whole and of m's family.
func onlyDestination(m flowspec.Match) (netip.Prefix, *refusal) {
	var dst netip.Prefix
	for _, c := range m.Components {
		if c.Type != flowspec.DestinationPrefix {
			continue
		}
		if dst.IsValid() {
			return dst, refuse(wanted.RefusedNoDestination, "the rule has two destinations")
		}
		if c.Offset != 0 {
			return dst, refuse(wanted.RefusedOffset, "destination %s skips the first %d bits", c.Prefix, c.Offset)
		}
		if !c.Prefix.IsValid() || c.Prefix != c.Prefix.Masked() {
			return dst, refuse(wanted.RefusedNoDestination, "destination %q is not a prefix", c.Prefix)
		}
		dst = c.Prefix
	}
	if !dst.IsValid() {
		return dst, refuse(wanted.RefusedNoDestination, "the rule has no destination and would act on all traffic")
	}
	is4 := dst.Addr().Is4()
	if is4 != (m.Family == flowspec.IPv4) || !is4 && (m.Family != flowspec.IPv6 || dst.Addr().Is4In6()) {
		return dst, refuse(wanted.RefusedNoDestination, "destination %s is not of the rule's family", dst)
	}
	return dst, nil
}

func refuse(code wanted.RefusalCode, format string, args ...any) *refusal {
	return &refusal{code: code, sentence: fmt.Sprintf(format, args...)}
}

// prove shows that the guard bites on the very table that is going to be used: each protected and built-in prefix,
// its first and its last address, and what is wider, are refused as destinations. Each of these is a violation by another
// reckoning too: the match reaches the prefix (flowspec.Match.Reaches), so that neither a slip in the making of what is
// asked nor one in the table passes unseen.
func (g *guard) prove(protected []netip.Prefix) error {
	must := func(p netip.Prefix) error {
		for _, kind := range [...]wanted.Kind{wanted.FlowSpec, wanted.RTBH} {
			if g.judge(kind, destinationOnly(p)) == nil {
				return fmt.Errorf("cannot trust guard on destination %q of kind %d: %w", p, kind, ErrGuardToothless)
			}
		}
		return nil
	}
	for _, list := range [][]netip.Prefix{builtInProtected(), protected} {
		for _, p := range list {
			p = p.Masked()
			for _, q := range violations(p) {
				if !destinationOnly(q).Reaches(p) {
					return fmt.Errorf("cannot prove guard on %q: %q does not reach it: %w", p, q, ErrGuardToothless)
				}
				if err := must(q); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// violations returns destinations that touch p: itself, its first and its last address, and something wider.
func violations(p netip.Prefix) []netip.Prefix {
	host := func(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
	return []netip.Prefix{p, host(p.Addr()), host(netipx.PrefixLastIP(p)), netip.PrefixFrom(p.Addr(), p.Bits()/2).Masked()}
}

func destinationOnly(p netip.Prefix) flowspec.Match {
	f := flowspec.IPv6
	if p.Addr().Is4() {
		f = flowspec.IPv4
	}
	return flowspec.Match{Family: f, Components: []flowspec.Component{flowspec.Destination(p)}}
}

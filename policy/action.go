package policy

import (
	"fmt"
	"math"
	"net/netip"
	"strings"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// ActionKind is what a mitigation does to the traffic that it matches. The numbers are those of the log: appended, never
// reused. Their order means nothing; which action is more severe is said by Action.
type ActionKind uint8

// The kinds of action.
const (
	RateLimit        ActionKind = 1 // RFC 8955 section 7.1
	Discard          ActionKind = 2 // a rate of 0
	RateLimitPackets ActionKind = 3 // RFC 8955 section 7.2
	Redirect         ActionKind = 4 // into a VRF: RFC 8955 section 7.4, RFC 8956 section 6.1
	RedirectIP       ActionKind = 5 // to an address: draft-ietf-idr-flowspec-redirect-ip
	Mark             ActionKind = 6 // RFC 8955 section 7.5
	RTBH             ActionKind = 7 // remotely triggered blackhole by destination: RFC 5635 section 3, RFC 7999
)

// Action is what a mitigation does: one main action, its Kind, and perhaps what is done besides. Fields that the kind does
// not name are zero, so that two actions are the same if and only if they are ==.
//
// When several are wanted for one rule the more severe one counts, in this order: copying, marking, a rate of packets, a
// rate of bytes, discard, redirect, blackhole. Copies and marks keep nothing from the target, a rate keeps back what is
// above it, and discard keeps back all. A redirect keeps back all as well, and gives what is clean back: it is the later
// step of the ladder, for which somebody set up a scrubber that must see the packets. A blackhole gives up the address.
type Action struct {
	Kind ActionKind
	// Rate and Packets, of the two rate limits, belong to the whole mitigation, per router: its rules share them (design
	// section 1).
	Rate    flowspec.BytesPerSecond
	Packets flowspec.PacketsPerSecond
	Target  flowspec.RouteTarget // Redirect only: the VRF's import route target
	Address netip.Addr           // RedirectIP only
	Copy    bool                 // RedirectIP only: a copy goes there, the packet on its way
	DSCP    uint8                // Mark only, 0 to 63
	// Sample has matching packets sampled and logged as well, Continue has later rules evaluated as well: the bits S and T
	// of the traffic-action (RFC 8955 section 7.3). A blackhole has neither, and what is taken away does not continue.
	Sample, Continue bool
}

// RouteKind says how the action is announced: as FlowSpec rules, or as blackhole routes.
func (a Action) RouteKind() wanted.Kind {
	if a.Kind == RTBH {
		return wanted.RTBH
	}
	return wanted.FlowSpec
}

// severity orders actions, the milder first. Every kind has a number of its own, so that only actions of one kind are
// equal.
func (a Action) severity() uint8 {
	switch a.Kind {
	case RedirectIP:
		if a.Copy {
			return 1
		}
		return 6
	case Mark:
		return 2
	case RateLimitPackets:
		return 3
	case RateLimit:
		return 4
	case Discard:
		return 5
	case Redirect:
		return 7
	case RTBH:
		return 8
	}
	return 0
}

// hold is how much of the traffic an action keeps from where it was going.
type hold uint8

const (
	holdNothing hold = iota // copies, marks
	holdSome                // what is above a rate
	holdAll                 // discard, redirect, blackhole
)

func (a Action) holds() hold {
	switch a.Kind {
	case RateLimit, RateLimitPackets:
		return holdSome
	case Mark:
		return holdNothing
	case RedirectIP:
		if a.Copy {
			return holdNothing
		}
	case Discard, Redirect, RTBH:
	}
	return holdAll
}

// actionWords are the forms of an action in a sentence: a discard, to discard, it discards, it discards a part of this.
type actionWords struct{ noun, to, it, itTo string }

func (a Action) words() actionWords {
	switch a.Kind {
	case RateLimit, RateLimitPackets:
		return actionWords{"rate limit", "limit the rate", "limits the rate", "limits the rate of"}
	case Discard:
		return actionWords{"discard", "discard", "discards", "discards"}
	case Mark:
		return actionWords{"mark", "mark", "marks", "marks"}
	case RTBH:
		return actionWords{"blackhole", "blackhole", "blackholes", "blackholes"}
	case Redirect:
	case RedirectIP:
		if a.Copy {
			return actionWords{"copy", "copy", "copies", "copies"}
		}
	}
	return actionWords{"redirect", "redirect", "redirects", "redirects"}
}

// wire returns the actions of each of n rules that carry out a, in ascending order of type; none for a blackhole, which
// is no rule. The rules share a rate: each is a policer of its own on every router. Shares are rounded down, so that
// together they never exceed the rate. The reason says why a share would be too small to be sent; destinations and
// matches, of which there are n together, are for its sentence.
func (a Action) wire(destinations, matches int) ([]flowspec.Action, Reason) {
	n := destinations * matches
	var main flowspec.Action
	switch a.Kind {
	case RateLimit:
		main = flowspec.Action{Type: flowspec.TrafficRateBytes, Rate: shareOf(float64(a.Rate), n)}
		if main.Rate < 1 {
			return nil, rateTooLow("byte", float64(a.Rate), destinations, matches)
		}
	case RateLimitPackets:
		main = flowspec.Action{Type: flowspec.TrafficRatePackets, Rate: shareOf(float64(a.Packets), n)}
		if main.Rate < 1 {
			return nil, rateTooLow("packet", float64(a.Packets), destinations, matches)
		}
	case Discard:
		main = flowspec.Discard()
	case Redirect:
		main = flowspec.Action{Type: flowspec.RTRedirect, Target: a.Target}
	case RedirectIP:
		main = flowspec.Action{Type: flowspec.RedirectToIP, Address: a.Address, Copy: a.Copy}
	case Mark:
		main = flowspec.Action{Type: flowspec.TrafficMarking, DSCP: a.DSCP}
	case RTBH:
		return nil, Reason{}
	}
	if !a.Sample && !a.Continue {
		return []flowspec.Action{main}, Reason{}
	}
	also := flowspec.Action{Type: flowspec.TrafficAction, Sample: a.Sample, Continue: a.Continue}
	if main.Type < also.Type {
		return []flowspec.Action{main, also}, Reason{}
	}
	return []flowspec.Action{also, main}, Reason{}
}

func rateTooLow(unit string, rate float64, destinations, matches int) Reason {
	n := destinations * matches
	return Reason{CodeRateTooLow, fmt.Sprintf("%v %ss/s shared by %s (%s × %s) is below 1 %s/s for each, "+
		"which a router may take for discard: raise the rate to at least %d %ss/s", rate, unit, plural(n, "rule"),
		plural(destinations, "destination"), plural(matches, "match"), unit, n, unit)}
}

// shareOf returns the n-th part of total, rounded down to what the wire can carry (RFC 8955 sections 7.1 and 7.2:
// float32).
func shareOf(total float64, n int) float32 {
	exact := total / float64(n)
	share := float32(exact)
	if float64(share) > exact {
		share = math.Nextafter32(share, 0)
	}
	return share
}

// wrong is one thing wrong with an action: the field below it, empty for the action as a whole, what, and how to mend it.
type wrong struct{ field, problem, fix string }

const sayWhatToDo = "write discard: true, a rate such as 10Mbps or 5kpps, redirect, redirect_ip, mark or rtbh: true"

// check says what is wrong with an action for targets of family f; 0 if that is not known yet.
func (a Action) check(f flowspec.Family) []wrong {
	var out []wrong
	switch a.Kind {
	case RateLimit:
		out = checkRate(float64(a.Rate), "byte", "10Mbps")
	case RateLimitPackets:
		out = checkRate(float64(a.Packets), "packet", "5kpps")
	case Discard, RTBH:
	case Redirect:
		out = checkRedirect(a.Target, f)
	case RedirectIP:
		out = a.checkRedirectIP(f)
	case Mark:
		if a.DSCP > maxDSCP {
			out = append(out, wrong{"mark", fmt.Sprintf("DSCP %d is above %d", a.DSCP, maxDSCP), "write a DSCP from 0 to 63, or a name such as ef, cs1 or af31"})
		}
	default:
		return []wrong{{"", "it is not said what to do", sayWhatToDo}}
	}
	if field := a.foreign(); field != "" {
		out = append(out, wrong{field, fmt.Sprintf("a %s has no %s", a.words().noun, field), "leave it out, or leave out what it does not go with"})
	}
	return append(out, a.checkBesides()...)
}

// checkBesides checks what is done besides the main action.
func (a Action) checkBesides() []wrong {
	switch {
	case a.Kind == RTBH && a.Sample:
		return []wrong{{"sample", "a blackhole route discards by destination alone: nothing is sampled", "leave it out"}}
	case a.Kind == RTBH && a.Continue:
		return []wrong{{"continue", "a blackhole route discards everything to the address: there are no later rules", "leave it out"}}
	case a.Continue && a.holds() == holdAll:
		return []wrong{{"continue", fmt.Sprintf("nothing is left for later rules: a %s takes every packet away", a.words().noun), "leave it out"}}
	}
	return nil
}

func checkRedirect(t flowspec.RouteTarget, f flowspec.Family) []wrong {
	if err := t.Validate(); err != nil {
		return []wrong{{"redirect", fmt.Sprintf("the route target cannot be sent: %v", err), "write the VRF's import route target, such as 65001:666 or 192.0.2.1:666"}}
	}
	if t.Form == flowspec.RTFormIPv6 && f == flowspec.IPv4 {
		return []wrong{{"redirect", "an IPv6 route target cannot redirect IPv4 packets (RFC 8956 section 6.1)", "write an AS or an IPv4 address before the colon"}}
	}
	return nil
}

func (a Action) checkRedirectIP(f flowspec.Family) []wrong {
	if err := flowspec.RedirectIP(a.Address, a.Copy).Validate(); err != nil {
		problem, _, _ := strings.Cut(err.Error(), "; ") // its advice is less than ours
		return []wrong{{"redirect_ip", problem, "write the address of the scrubber, such as 192.0.2.1"}}
	}
	if f != 0 && a.Address.Is4() != (f == flowspec.IPv4) {
		return []wrong{{
			"redirect_ip", fmt.Sprintf("%s packets cannot be redirected to %s, which is of the other family", f, a.Address),
			fmt.Sprintf("write an %s address", f),
		}}
	}
	return nil
}

// mismatch says why a valid action cannot be done to packets of family f; nothing if it can.
func (a Action) mismatch(f flowspec.Family) string {
	for _, w := range a.check(f) {
		return w.problem + ": " + w.fix
	}
	return ""
}

// maxDSCP is the greatest DSCP (RFC 2474 section 3: six bits).
const maxDSCP = 63

func checkRate(rate float64, unit, example string) []wrong {
	fix := "write a rate such as " + example + ", or discard: true"
	switch {
	case math.IsNaN(rate) || math.IsInf(rate, 0) || rate > math.MaxFloat32:
		return []wrong{{"rate", "the rate is not a finite number that fits on the wire", "write a rate such as " + example}}
	case rate < 0:
		return []wrong{{"rate", "the rate is negative", fix}}
	case rate < 1:
		return []wrong{{"rate", fmt.Sprintf("%v %ss/s is below 1 %s/s, which a router may round to 0 and so discard everything", rate, unit, unit), fix}}
	}
	return nil
}

// foreign names a field that is set and belongs to another kind of action.
func (a Action) foreign() string {
	switch {
	case a.Rate != 0 && a.Kind != RateLimit, a.Packets != 0 && a.Kind != RateLimitPackets:
		return "rate"
	case a.Target != flowspec.RouteTarget{} && a.Kind != Redirect:
		return "redirect"
	case a.Address != netip.Addr{} && a.Kind != RedirectIP:
		return "redirect_ip"
	case a.Copy && a.Kind != RedirectIP:
		return "copy"
	case a.DSCP != 0 && a.Kind != Mark:
		return "mark"
	}
	return ""
}

package flowspec

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
)

// String returns the name that RFC 8955 section 7 gives to the type, such as "traffic-rate-bytes"; "redirect-to-ip"
// is the draft's.
func (t ActionType) String() string {
	switch t {
	case TrafficRateBytes:
		return "traffic-rate-bytes"
	case TrafficRatePackets:
		return "traffic-rate-packets"
	case TrafficAction:
		return "traffic-action"
	case RTRedirect:
		return "rt-redirect"
	case TrafficMarking:
		return "traffic-marking"
	case RedirectToIP:
		return "redirect-to-ip"
	}
	return "action type " + strconv.Itoa(int(t))
}

// Discard returns the action that discards all matching traffic: a traffic-rate-bytes of 0 (RFC 8955 section 7.1).
func Discard() Action { return Action{Type: TrafficRateBytes} }

// RateLimit returns the action that lets through r bytes per second of the matching traffic and discards the rest (RFC
// 8955 section 7.1). The wire carries r as a 32-bit float, so the sent rate may differ from r by 6 parts in 10^8.
func RateLimit(r BytesPerSecond) Action { return Action{Type: TrafficRateBytes, Rate: float32(r)} }

// RatePackets returns the action that lets through r packets per second of the matching traffic and discards the rest
// (RFC 8955 section 7.2). The wire carries r as a 32-bit float, as with RateLimit.
func RatePackets(r PacketsPerSecond) Action {
	return Action{Type: TrafficRatePackets, Rate: float32(r)}
}

// Sample returns the traffic-action that has matching packets sampled and logged: the S bit (RFC 8955 section 7.3).
// Evaluation stops at the rule, as it does without the action.
func Sample() Action { return Action{Type: TrafficAction, Sample: true} }

// Continue returns the traffic-action after which later rules are evaluated too: the T bit, whose name "terminal
// action" suggests the contrary (RFC 8955 section 7.3).
func Continue() Action { return Action{Type: TrafficAction, Continue: true} }

// SampleAndContinue returns the traffic-action with both bits: a rule has at most one traffic-action.
func SampleAndContinue() Action { return Action{Type: TrafficAction, Sample: true, Continue: true} }

// Redirect returns the action that forwards matching packets in the VRF that imports t (RFC 8955 section 7.4, RFC 8956
// section 6.1).
func Redirect(t RouteTarget) Action { return Action{Type: RTRedirect, Target: t} }

// Mark returns the action that sets the DSCP of matching packets, 0 to 63 (RFC 8955 section 7.5).
func Mark(dscp uint8) Action { return Action{Type: TrafficMarking, DSCP: dscp} }

// RedirectIP returns the action that forwards matching packets to a instead of their destination, or, with mirror, sends
// copies of them there and the packets themselves on their way: the C bit (draft-ietf-idr-flowspec-redirect-ip
// section 2; encoding at AppendCommunity).
func RedirectIP(a netip.Addr, mirror bool) Action {
	return Action{Type: RedirectToIP, Address: a, Copy: mirror}
}

// RouteTargetAS returns the route target ASN:LOCAL, with a two-octet AS (0x8008) if n fits into it, else with a
// four-octet AS (0x8208), of which local may have only 16 bits (RFC 8955 section 7.4).
func RouteTargetAS(n ASN, local uint32) RouteTarget {
	if n > math.MaxUint16 {
		return RouteTarget{Form: RTFormAS4, ASN: n, Local: local}
	}
	return RouteTarget{Form: RTFormAS2, ASN: n, Local: local}
}

// RouteTargetAddress returns the route target ADDRESS:LOCAL of an IPv4 (0x8108, RFC 8955 section 7.4) or an IPv6 address
// (0x000d in attribute 25, RFC 8956 section 6.1).
func RouteTargetAddress(a netip.Addr, local uint16) RouteTarget {
	if a.Is4() {
		return RouteTarget{Form: RTFormIPv4, Address: a, Local: uint32(local)}
	}
	return RouteTarget{Form: RTFormIPv6, Address: a, Local: uint32(local)}
}

// Discards reports whether a lets nothing through.
func (a Action) Discards() bool {
	return (a.Type == TrafficRateBytes || a.Type == TrafficRatePackets) && a.Rate == 0
}

// Validate reports whether a can be sent without a router reading something else into it: its type is known, the fields
// of other types are zero, and its own are in range. A rate is finite, and 0 or at least 1: a router may round what is
// between to 0, which discards everything. A redirect goes to an address that a packet can be forwarded to. Errors wrap
// ErrAction, ErrRate or ErrValue and name the field and the fix.
func (a Action) Validate() error {
	rest := a // what is left of a when the fields of its type are taken out
	rest.Type = 0
	var err error
	switch a.Type {
	case TrafficRateBytes:
		rest.ASN, rest.Rate, err = 0, 0, BytesPerSecond(a.Rate).validate()
	case TrafficRatePackets:
		rest.ASN, rest.Rate, err = 0, 0, PacketsPerSecond(a.Rate).validate()
	case TrafficAction:
		rest.Continue, rest.Sample = false, false
	case RTRedirect:
		rest.Target, err = RouteTarget{}, a.Target.Validate()
	case TrafficMarking:
		rest.DSCP = 0
		if most := DSCP.maxValue(IPv4); uint64(a.DSCP) > most {
			err = refuse(ErrValue, "cannot use traffic-marking: field DSCP: %d is above %d", a.DSCP, most)
		}
	case RedirectToIP:
		rest.Address, rest.Copy, err = netip.Addr{}, false, validateNextHop(a.Address)
	default:
		return refuse(ErrAction, "cannot use action of type %d: there is none", a.Type)
	}
	if err != nil {
		return err
	}
	if field := rest.firstField(); field != "" {
		return refuse(ErrAction, "cannot use %s: field %s is of another type of action", a.Type, field).advise("leave %s zero", field)
	}
	return nil
}

// firstField returns the name of a field that is set, or nothing if none but the type is.
func (a Action) firstField() string {
	switch {
	case a.ASN != 0:
		return "ASN"
	case a.Rate != 0:
		return "Rate"
	case a.Continue:
		return "Continue"
	case a.Sample:
		return "Sample"
	case a.DSCP != 0:
		return "DSCP"
	case a.Target != RouteTarget{}:
		return "Target"
	case a.Address != netip.Addr{}:
		return "Address"
	case a.Copy:
		return "Copy"
	}
	return ""
}

// validateNextHop reports whether packets can be redirected to a.
func validateNextHop(a netip.Addr) error {
	const what = "cannot use redirect-to-ip: field Address: "
	switch {
	case !a.IsValid():
		return refuse(ErrValue, what+"there is none").advise("set the address that packets are forwarded to")
	case a.Zone() != "":
		return refuse(ErrValue, what+"%q has a zone, which no community carries", a).advise("write a global address")
	case a.Is4In6():
		return refuse(ErrValue, what+"%q is IPv4 in IPv6 form", a).advise("write %s", a.Unmap())
	case !a.IsGlobalUnicast(): // private addresses count as global here
		return refuse(ErrValue, what+"%q is no unicast address that packets can be forwarded to", a).advise("write a global address")
	}
	return nil
}

// Validate reports whether t is a route target that its form can carry: an AS of two octets for RTFormAS2, an address of
// the family of the form, a Local of two octets for all forms but RTFormAS2, and nothing in the other fields. Errors
// wrap ErrValue.
func (t RouteTarget) Validate() error {
	const what = "cannot use route target: field "
	switch t.Form {
	case RTFormAS2, RTFormAS4:
		if t.Address != (netip.Addr{}) {
			return refuse(ErrValue, what+"Address: %q beside an AS", t.Address).advise("leave one of the two zero")
		}
		if t.Form == RTFormAS2 && t.ASN > math.MaxUint16 {
			return refuse(ErrValue, what+"ASN: %d has more than two octets", t.ASN).advise("use the form of a four-octet AS")
		}
	case RTFormIPv4, RTFormIPv6:
		if t.ASN != 0 {
			return refuse(ErrValue, what+"ASN: %d beside an address", t.ASN).advise("leave one of the two zero")
		}
		if t.Form == RTFormIPv4 && !t.Address.Is4() || t.Form == RTFormIPv6 && (!t.Address.Is6() || t.Address.Zone() != "") {
			return refuse(ErrValue, what+"Address: %q is not of the family of the form", t.Address)
		}
	default:
		return refuse(ErrValue, what+"Form: there is no form %d", t.Form)
	}
	if t.Form != RTFormAS2 && t.Local > math.MaxUint16 {
		return refuse(ErrValue, what+"Local: %d is above %d, all that this form carries", t.Local, math.MaxUint16)
	}
	return nil
}

// NewRule makes a rule of m and actions in canonical order: ascending by type. It copies actions, so that the caller may
// reuse them, and refuses what Rule.Validate refuses. It never repairs: of two actions that interfere it cannot know
// which was meant.
func NewRule(m Match, actions ...Action) (Rule, error) {
	r := Rule{Match: m, Actions: slices.Clone(actions)}
	slices.SortStableFunc(r.Actions, func(a, b Action) int { return cmp.Compare(a.Type, b.Type) })
	if err := r.Validate(); err != nil {
		return Rule{}, err
	}
	return r, nil
}

// Validate reports whether r means one thing to every router: the match is valid, every action can be sent, they stand
// in ascending order of type, and no two of them interfere. RFC 8955 section 7.7 leaves it to each router which of two
// interfering actions it takes, so that these are refused:
//
//   - two actions of one type: two rates, two redirects, two marks;
//   - traffic-rate-bytes and traffic-rate-packets (sections 7.1 and 7.2 name them as interfering);
//   - discard, by either rate, with a redirect, a mark or Continue: nothing is left to redirect, to mark or for a later
//     rule. Discard with Sample is accepted: what is discarded is sampled;
//   - rt-redirect and redirect-to-ip, which both say where to, copies included;
//   - a redirect-to-ip to an address of the other family, and an IPv6 route target in a rule for IPv4 (RFC 8956 section
//     6.1 has it for IPv6 only).
//
// All other combinations are accepted: a rate, a mark and a redirect act one after the other on what is left. Errors of
// interference wrap ErrInterfering.
func (r Rule) Validate() error {
	if err := r.Match.Validate(); err != nil {
		return err
	}
	for i, a := range r.Actions {
		if err := a.validateIn(r.Match.Family); err != nil {
			return fmt.Errorf("cannot use rule: %w", err)
		}
		for _, b := range r.Actions[:i] {
			if err := interference(b, a); err != nil {
				return fmt.Errorf("cannot use rule: %w", err)
			}
		}
		if i > 0 && r.Actions[i-1].Type > a.Type {
			return refuse(ErrAction, "cannot use rule: %s after %s", a.Type, r.Actions[i-1].Type).advise("sort actions by type, as NewRule does")
		}
	}
	return nil
}

// validateIn is Validate for an action in a rule of family f.
func (a Action) validateIn(f Family) error {
	if err := a.Validate(); err != nil {
		return err
	}
	if a.Type == RedirectToIP && a.Address.Is4() != (f == IPv4) {
		return refuse(ErrInterfering, "%s packets redirected to %s, which is of the other family", f, a.Address)
	}
	if a.Type == RTRedirect && a.Target.Form == RTFormIPv6 && f != IPv6 {
		return refuse(ErrInterfering, "%s packets redirected by an IPv6 route target", f).advise("write an AS or an IPv4 address before the colon")
	}
	return nil
}

// interference says why a and b cannot stand in one rule (see Rule.Validate), or returns nil. The order of the two does
// not matter.
func interference(a, b Action) error {
	if a.Type > b.Type {
		a, b = b, a
	}
	switch {
	case a.Type == TrafficAction && b.Type == TrafficAction:
		return refuse(ErrInterfering, "two traffic-actions in one rule").advise("write sample continue as one")
	case a.Type == b.Type, a.Type == TrafficRateBytes && b.Type == TrafficRatePackets, a.Type == RTRedirect && b.Type == RedirectToIP:
		return refuse(ErrInterfering, "%q and %q in one rule: each router takes one as it likes", a, b).advise("leave one")
	case a.Discards() && b.Continue:
		return refuse(ErrInterfering, "%q with %q: nothing is left for later rules", a, b).advise("leave continue out")
	case a.Discards() && b.Type >= RTRedirect:
		return refuse(ErrInterfering, "%q with %q: nothing is left to do that to", a, b).advise("leave one")
	}
	return nil
}

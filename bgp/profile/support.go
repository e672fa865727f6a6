package profile

import (
	"github.com/tidegate/tidegate/bgp/flowspec"
)

// Source is where a statement comes from.
type Source struct {
	Title string // of the document, or the name of the test
	URL   string // or the place in this repository
	Date  string // of publication or release, as the document gives it
}

// String returns the source as a reference: title, date, place.
func (s Source) String() string {
	out := s.Title
	if s.Date != "" {
		out += " (" + s.Date + ")"
	}
	if s.URL != "" {
		out += ", " + s.URL
	}
	return out
}

// Basis says how far a statement can be trusted.
type Basis uint8

// The kinds of basis.
const (
	Published Basis = iota + 1 // by the vendor or the project
	Measured                   // by a test of this repository
	Assumed                    // neither: what the profile takes for likely, or for safe
)

// String returns the basis in one word.
func (b Basis) String() string {
	switch b {
	case Published:
		return "published"
	case Measured:
		return "measured"
	case Assumed:
		return "assumed"
	}
	return "unknown"
}

// Support says whether a router does a thing exactly as the RFCs say.
type Support struct {
	OK bool
	// Instead, if not OK, is what the router does: the rest of a sentence that begins with its name.
	Instead string
	Basis   Basis
	Source  Source
}

// Ability is one thing that an action asks of a router. The actions of flowspec are finer here where routers differ: to
// discard is not to police, and each bit of a traffic-action is an ability of its own.
type Ability uint8

// The abilities.
const (
	Discards        Ability = iota + 1 // traffic-rate-bytes 0 (RFC 8955 section 7.1)
	PolicesBytes                       // traffic-rate-bytes above 0
	PolicesPackets                     // traffic-rate-packets (RFC 8955 section 7.2)
	Continues                          // terminal bit T of traffic-action (RFC 8955 section 7.3)
	Samples                            // bit S of traffic-action
	RedirectsAS2                       // rt-redirect, two-octet AS: 0x8008 (RFC 8955 section 7.4)
	RedirectsIPv4RT                    // rt-redirect, IPv4 address: 0x8108
	RedirectsAS4                       // rt-redirect, four-octet AS: 0x8208
	RedirectsIPv6RT                    // rt-redirect, IPv6 address: 0x000d of attribute 25 (RFC 8956 section 6.1)
	Marks                              // traffic-marking (RFC 8955 section 7.5)
	RedirectsToIPv4                    // draft-ietf-idr-flowspec-redirect-ip: 0x010c with an IPv4 address
	RedirectsToIPv6                    // the same with an IPv6 address: 0x000c of attribute 25
	CopiesToIP                         // the C bit of the same draft
)

// abilities returns all of them, in order.
func abilities() []Ability {
	var out []Ability
	for a := Discards; a <= CopiesToIP; a++ {
		out = append(out, a)
	}
	return out
}

// String returns the ability in the words of the RFCs.
func (a Ability) String() string {
	switch a {
	case Discards:
		return "discard"
	case PolicesBytes:
		return "traffic-rate-bytes"
	case PolicesPackets:
		return "traffic-rate-packets"
	case Continues:
		return "traffic-action continue"
	case Samples:
		return "traffic-action sample"
	case RedirectsAS2:
		return "rt-redirect, 2-octet AS"
	case RedirectsIPv4RT:
		return "rt-redirect, IPv4 address"
	case RedirectsAS4:
		return "rt-redirect, 4-octet AS"
	case RedirectsIPv6RT:
		return "rt-redirect, IPv6 address"
	case Marks:
		return "traffic-marking"
	case RedirectsToIPv4:
		return "redirect to an IPv4 address"
	case RedirectsToIPv6:
		return "redirect to an IPv6 address"
	case CopiesToIP:
		return "copy to an address"
	}
	return "unknown ability"
}

// Needs returns the abilities that an action asks for. A traffic-action without a bit asks for none: it says what holds
// without it. An action that flowspec does not know needs an ability that no router has.
func Needs(a flowspec.Action) []Ability {
	switch a.Type {
	case flowspec.TrafficRateBytes:
		if a.Rate == 0 {
			return []Ability{Discards}
		}
		return []Ability{PolicesBytes}
	case flowspec.TrafficRatePackets:
		if a.Rate == 0 {
			return []Ability{PolicesPackets, Discards}
		}
		return []Ability{PolicesPackets}
	case flowspec.TrafficAction:
		var out []Ability
		if a.Continue {
			out = append(out, Continues)
		}
		if a.Sample {
			out = append(out, Samples)
		}
		return out
	case flowspec.RTRedirect:
		return []Ability{redirectAbility(a.Target.Form)}
	case flowspec.TrafficMarking:
		return []Ability{Marks}
	case flowspec.RedirectToIP:
		out := []Ability{RedirectsToIPv6}
		if a.Address.Is4() {
			out[0] = RedirectsToIPv4
		}
		if a.Copy {
			out = append(out, CopiesToIP)
		}
		return out
	}
	return []Ability{0}
}

func redirectAbility(f flowspec.RTForm) Ability {
	switch f {
	case flowspec.RTFormAS2:
		return RedirectsAS2
	case flowspec.RTFormIPv4:
		return RedirectsIPv4RT
	case flowspec.RTFormAS4:
		return RedirectsAS4
	case flowspec.RTFormIPv6:
		return RedirectsIPv6RT
	}
	return 0
}

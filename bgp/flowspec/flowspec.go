// Package flowspec describes BGP Flow Specification rules: what they match, what they do to the packets that they
// match, and their bytes on the wire (RFC 8955 for IPv4, RFC 8956 for IPv6).
//
// It owns the words Rule, Match, Component and Action, the codec of NLRI and extended communities, the text form, the
// set of encodings that real routers survive (the safe subset), rule order and packet evaluation. It knows nothing
// of sessions, customers or mitigations, and imports only the standard library. Everything above it calls it.
//
// # Making a rule
//
// NewMatch and ParseMatch make a Match in canonical form, NewRule and ParseRule a Rule with its actions in order:
//
//	dst 203.0.113.0/24 proto udp sport 53|123 len 1000-1500 => rate 10Mbps, mark 8
//
// Destination, Source, Proto, Ports, Length, Values, Flags, FlagsExcept and Fragments make components; Discard,
// RateLimit, RatePackets, Sample, Continue, SampleAndContinue, Redirect, Mark and RedirectIP make actions. A rule without
// an action accepts. Validate says what is wrong with a value that was made by hand, and refuses what two routers could
// read in two ways. Conflict names a match that no packet is in.
//
// # Text and wire
//
// A match has a Key, octets (AppendNLRI) and a text (String); an action has a community (AppendCommunity) and a text.
// DecodeNLRI, DecodeCommunity, DecodeCommunity6, ParseMatch and ParseRule lead back without loss. DecodeUpdate reads all
// that an UPDATE says of rules, and of a malformed one what RFC 7606 wants done. Nothing in this package panics on input
// from outside; it says with an error what is wrong, and most errors say what to write instead. CheckSafe says whether a
// router can be trusted with a match: many reset the session over rules that the RFCs allow.
//
// # Order and evaluation
//
// Compare puts matches into the order in which a router applies their rules, whatever the order in which it heard of them
// (RFC 8955 section 5.1). Matches asks whether a packet is in a match; a RuleSet says what a set of rules does to it.
// After the first rule that matches, evaluation stops, unless that rule has the action Continue: the T bit, which is
// called terminal action and means the contrary (RFC 8955 section 7.3). A Compiled set says the same of millions of
// packets a second.
//
// # Sets of packets
//
// Inside, Disjoint and Empty compare matches as sets of packets, exactly. Simplify makes those of the same packets equal,
// and SafeSplit writes a match that CheckSafe refuses as matches that it accepts. Shadows and RuleSet.Adding tell what
// rules do to one another before a router does; Reaches and RuleSet.ActsOn tell whether addresses can be touched at all.
//
// Values of this package are not changed after they are made, and may be used by several goroutines at once.
package flowspec

import "net/netip"

// Family is the address family of a rule; its number is the AFI (RFC 4760 section 3). The SAFI is always 133.
type Family uint8

// The families that have FlowSpec: RFC 8955 (IPv4) and RFC 8956 (IPv6).
const (
	IPv4 Family = 1
	IPv6 Family = 2
)

// SAFI is the subsequent address family identifier of FlowSpec rules (RFC 8955 section 4).
const SAFI uint8 = 133

// ASN is a BGP autonomous system number (RFC 6793).
type ASN uint32

// ComponentType is the type octet of a component (RFC 8955 section 4.2.2, RFC 8956 section 3).
type ComponentType uint8

// The component types, in the order in which they stand in an NLRI (RFC 8955 section 4.2.2, RFC 8956 section 3).
const (
	DestinationPrefix ComponentType = 1
	SourcePrefix      ComponentType = 2
	IPProtocol        ComponentType = 3 // upper-layer protocol in IPv6
	Port              ComponentType = 4
	DestinationPort   ComponentType = 5
	SourcePort        ComponentType = 6
	ICMPType          ComponentType = 7
	ICMPCode          ComponentType = 8
	TCPFlags          ComponentType = 9
	PacketLength      ComponentType = 10
	DSCP              ComponentType = 11
	Fragment          ComponentType = 12
	FlowLabel         ComponentType = 13
)

// OpFlags are the bits of an operator octet that carry meaning. The end-of-list bit and the value length are a
// matter of encoding and never appear here. Numeric operators (RFC 8955 section 4.2.1.1) use And, LT, GT, EQ;
// bitmask operators (section 4.2.1.2) use And, Not, All.
type OpFlags uint8

// The operator bits at their place in the operator octet (RFC 8955 sections 4.2.1.1 and 4.2.1.2).
const (
	And OpFlags = 0x40 // joined to the pair before by AND; absent: by OR
	LT  OpFlags = 0x04 // numeric: less than
	GT  OpFlags = 0x02 // numeric: greater than
	EQ  OpFlags = 0x01 // numeric: equal
	Not OpFlags = 0x02 // bitmask: negate
	All OpFlags = 0x01 // bitmask: all bits of the value ("match" bit); absent: any of them
)

// Fragment bits of a Fragment component value (RFC 8955 section 4.2.2.12, RFC 8956 section 3.6).
const (
	DontFragment  = 0x01 // IPv4 only
	IsFragment    = 0x02
	FirstFragment = 0x04
	LastFragment  = 0x08
)

// Op is one operator and value pair of a component.
type Op struct {
	Flags OpFlags
	Value uint64
}

// Component is one condition on a packet. Prefix (and, in IPv6, Offset) is set for the two prefix types, Ops for
// all others.
type Component struct {
	Type   ComponentType
	Prefix netip.Prefix // masked
	Offset uint8        // IPv6 only: leading bits of the address that are skipped (RFC 8956 section 3.1)
	Ops    []Op
}

// Match is the set of packets that a rule applies to: all of its components hold (RFC 8955 section 4.2). In
// canonical form components stand in ascending order of type, none twice. A Match is not changed after it is made.
type Match struct {
	Family     Family
	Components []Component
}

// Key identifies a rule on a router: two announcements of the same Key replace each other. It is the AFI octet
// followed by the NLRI octets without the length field.
type Key string

// ActionType tells the traffic filtering actions apart (RFC 8955 section 7).
type ActionType uint8

// The traffic filtering actions.
const (
	TrafficRateBytes   ActionType = iota + 1 // RFC 8955 section 7.1
	TrafficRatePackets                       // RFC 8955 section 7.2
	TrafficAction                            // RFC 8955 section 7.3
	RTRedirect                               // RFC 8955 section 7.4, RFC 8956 section 6.1
	TrafficMarking                           // RFC 8955 section 7.5
	RedirectToIP                             // draft-ietf-idr-flowspec-redirect-ip; see AppendCommunity
)

// Action is what a router does to matching packets. Fields that the type does not name are zero, so that two actions
// are the same if and only if they are ==.
type Action struct {
	Type ActionType
	// ASN, of the two rates, is informative: the administrator field of the extended community, two octets on the wire.
	ASN ASN
	// Rate is in bytes per second (TrafficRateBytes) or packets per second (TrafficRatePackets); 0 discards all
	// matching traffic (RFC 8955 sections 7.1 and 7.2). It is finite, and 0 or at least 1.
	Rate float32
	// Continue, of a TrafficAction, is the terminal bit T: set, later rules are evaluated too; clear, or without a
	// TrafficAction, evaluation stops at this rule (RFC 8955 section 7.3).
	Continue bool
	// Sample, of a TrafficAction, is the bit S: matching packets are sampled and logged (RFC 8955 section 7.3).
	Sample bool
	// DSCP, of TrafficMarking, is the value that matching packets get, 0 to 63 (RFC 8955 section 7.5).
	DSCP uint8
	// Target, of RTRedirect, names the VRF by its import route target.
	Target RouteTarget
	// Address, of RedirectToIP, is where matching packets are forwarded to.
	Address netip.Addr
	// Copy, of RedirectToIP, forwards a copy there and the packet itself on its way: the C bit of the draft.
	Copy bool
}

// RTForm tells the forms of a route target apart.
type RTForm uint8

// The forms of a route target in an rt-redirect.
const (
	RTFormAS2  RTForm = iota + 1 // two-octet AS, four octets of value: 0x8008 (RFC 8955 section 7.4)
	RTFormIPv4                   // IPv4 address, two octets of value: 0x8108 (RFC 8955 section 7.4)
	RTFormAS4                    // four-octet AS, two octets of value: 0x8208 (RFC 8955 section 7.4)
	RTFormIPv6                   // IPv6 address, two octets of value: 0x000d in attribute 25 (RFC 8956 section 6.1)
)

// RouteTarget is a route target (RFC 4360 section 4, RFC 5668, RFC 5701). ASN is set for the AS forms, Address for the
// others.
type RouteTarget struct {
	Form    RTForm
	ASN     ASN
	Address netip.Addr
	Local   uint32
}

// Rule is a match and what is done to the packets in it, in ascending order of type (see Rule.Validate). No action means:
// accept (RFC 8955 section 7). A Rule is not changed after it is made.
type Rule struct {
	Match   Match
	Actions []Action
}

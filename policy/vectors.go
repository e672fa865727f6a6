package policy

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// MaxVariants is how many matches a mitigation may have for each of its destinations.
const MaxVariants = 32

// The IP protocols that vectors speak of.
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoGRE    = 47
	protoESP    = 50
	protoICMPv6 = 58
)

// shape is what is matched besides the destination. A nil list stands for everything; an empty one never occurs.
type shape struct {
	family           flowspec.Family
	protocols        []uint8 // sorted
	sourcePorts      []flowspec.Range
	destinationPorts []flowspec.Range
	lengths          []flowspec.Range
	sources          []flowspec.Component // source prefixes
	set, unset       uint16               // TCP flags; both zero: whatever they are
	alsoFragments    bool                 // and the fragments after the first
	onlyFragments    bool                 // fragments, the first ones among them, and nothing else
	notes            []string
}

// shapeOf combines a vector with what the signal says, which can only narrow it.
func shapeOf(info *VectorInfo, sig *Signal, f flowspec.Family) (*shape, Reason) {
	sh := &shape{family: f, set: info.FlagsSet, unset: info.FlagsUnset, alsoFragments: info.Fragments, onlyFragments: info.OnlyFragments}
	sig = sh.note(info, sig)
	sh.protocols = protocolsIn(info.Protocols, f)
	if len(sig.Protocols) > 0 {
		said := sortedSet(sig.Protocols, cmp.Compare[uint8])
		if sh.protocols == nil {
			sh.protocols = said
		} else if sh.protocols = common(sh.protocols, said); len(sh.protocols) == 0 {
			return nil, Reason{CodeContradiction, fmt.Sprintf("vector %s is protocol %s, but the signal names %s: no packet is both",
				info.Name, list(protocolsIn(info.Protocols, f), protocolText), list(said, protocolText))}
		}
	}
	if info.NeedsProtocol && sh.protocols == nil {
		return nil, Reason{CodeTooVague, fmt.Sprintf("vector %s without a protocol would take every packet to the target: "+
			"name at least a protocol", info.Name)}
	}
	sh.sourcePorts = info.SourcePorts
	if len(sig.SourcePorts) > 0 {
		said := joinRanges(sig.SourcePorts)
		if sh.sourcePorts == nil {
			sh.sourcePorts = said
		} else if sh.sourcePorts = commonRanges(sh.sourcePorts, said); len(sh.sourcePorts) == 0 {
			return nil, Reason{CodeContradiction, fmt.Sprintf("vector %s comes from port %s, but the signal names source port %s: "+
				"no packet is both", info.Name, list(info.SourcePorts, rangeText), list(said, rangeText))}
		}
	}
	if len(sig.DestinationPorts) > 0 {
		sh.destinationPorts = joinRanges(sig.DestinationPorts)
	}
	if len(sig.PacketLengths) > 0 {
		sh.lengths = joinRanges(sig.PacketLengths)
	}
	for _, p := range outermost(sig.SourcePrefixes) {
		sh.sources = append(sh.sources, flowspec.Source(p))
	}
	return sh, sh.settlePorts()
}

// note says what is to be known of the vector, and returns the signal without what cannot be matched of it.
func (sh *shape) note(info *VectorInfo, sig *Signal) *Signal {
	for _, n := range []string{info.Hits, info.Leaks} {
		if n != "" {
			sh.notes = append(sh.notes, n)
		}
	}
	if !info.OnlyFragments || len(sig.SourcePorts)+len(sig.DestinationPorts) == 0 {
		return sig
	}
	sh.notes = append(sh.notes, "fragments after the first carry no ports: those that the signal names are not matched")
	cp := *sig
	cp.SourcePorts, cp.DestinationPorts = nil, nil
	return &cp
}

// settlePorts makes ports and protocols agree: only TCP and UDP have ports.
func (sh *shape) settlePorts() Reason {
	if sh.sourcePorts == nil && sh.destinationPorts == nil {
		return Reason{}
	}
	withPorts := []uint8{protoTCP, protoUDP}
	if sh.protocols == nil {
		sh.protocols = withPorts
		return Reason{}
	}
	keep := common(sh.protocols, withPorts)
	if len(keep) == 0 {
		return Reason{CodeContradiction, fmt.Sprintf("the signal names ports, but protocol %s has none: no packet is both",
			list(sh.protocols, protocolText))}
	}
	if len(keep) < len(sh.protocols) {
		sh.notes = append(sh.notes, fmt.Sprintf("only %s is matched: of the protocols %s the others have no ports",
			list(keep, protocolText), list(sh.protocols, protocolText)))
	}
	sh.protocols = keep
	return Reason{}
}

// variants returns the matches that together take what the shape describes, within the safe subset: lists that are
// too long for one component are split over several matches.
func (sh *shape) variants() ([]flowspec.Match, Reason) {
	var out [][]flowspec.Component
	icmp := icmpOf(sh.family)
	others := sh.protocols
	if i, found := slices.BinarySearch(sh.protocols, icmp); found && !sh.onlyFragments {
		others = append(slices.Clone(sh.protocols[:i]), sh.protocols[i+1:]...)
		proto := flowspec.Proto(icmp)
		out = append(out, []flowspec.Component{proto, flowspec.Values(flowspec.ICMPType, sparedTypes(sh.family)...)},
			[]flowspec.Component{proto, flowspec.Fragments(flowspec.IsFragment)})
		sh.notes = append(sh.notes, sparedNote(sh.family))
	}
	switch {
	case sh.protocols == nil && sh.onlyFragments:
		out = append(out, []flowspec.Component{anyFragment()})
	case sh.protocols == nil:
		out = append(out, nil)
		sh.notes = append(sh.notes, "every packet to the destinations is taken, whatever its protocol: also path MTU discovery, "+
			"and the answers to connections that the customer opened itself")
	}
	for chunk := range slices.Chunk(others, flowspec.MaxSafeValues) {
		out = append(out, sh.withPorts(flowspec.Proto(chunk...))...)
	}
	out = product(out, components(flowspec.PacketLength, sh.lengths))
	out = product(out, sh.sources)
	if len(out) > MaxVariants {
		return nil, Reason{CodeTooManyVariants, fmt.Sprintf("the signal needs %d matches for each destination, at most %d are permitted: "+
			"name fewer ports, lengths or source prefixes", len(out), MaxVariants)}
	}
	matches := make([]flowspec.Match, 0, len(out))
	for _, comps := range out {
		if len(comps) == 0 {
			matches = append(matches, flowspec.Match{Family: sh.family})
			continue
		}
		m, err := flowspec.NewMatch(sh.family, comps...)
		if err != nil {
			return nil, Reason{CodeUnsafeMatch, fmt.Sprintf("the signal makes no valid match: %v", err)}
		}
		matches = append(matches, m)
	}
	slices.SortFunc(matches, flowspec.Compare)
	return matches, Reason{}
}

// withPorts adds the ports and the TCP flags to a protocol, and the fragments that have neither.
func (sh *shape) withPorts(proto flowspec.Component) [][]flowspec.Component {
	out := [][]flowspec.Component{{proto}}
	out = product(out, components(flowspec.SourcePort, sh.sourcePorts))
	out = product(out, components(flowspec.DestinationPort, sh.destinationPorts))
	if sh.set|sh.unset != 0 {
		out = product(out, []flowspec.Component{flowspec.FlagsExcept(sh.set, sh.unset)})
	}
	switch {
	case sh.onlyFragments:
		out = product(out, []flowspec.Component{anyFragment()})
	case sh.alsoFragments:
		out = append(out, []flowspec.Component{proto, flowspec.Fragments(flowspec.IsFragment)})
		sh.notes = append(sh.notes, "fragments after the first carry no ports: they are taken whatever their ports were")
	case sh.sourcePorts != nil || sh.destinationPorts != nil:
		sh.notes = append(sh.notes, "fragments after the first carry no ports and are not matched: this leaks them")
	}
	return out
}

// anyFragment matches the fragments of a packet, the first one among them.
func anyFragment() flowspec.Component {
	return flowspec.Fragments(flowspec.IsFragment | flowspec.FirstFragment)
}

// product returns every list with each of the components added; no components leave the lists as they are.
func product(lists [][]flowspec.Component, comps []flowspec.Component) [][]flowspec.Component {
	if len(comps) == 0 {
		return lists
	}
	out := make([][]flowspec.Component, 0, len(lists)*len(comps))
	for _, l := range lists {
		for _, c := range comps {
			out = append(out, append(slices.Clone(l), c))
		}
	}
	return out
}

// components returns components of type t that together match the ranges, joined and sorted, each within the safe
// subset: a single value takes one of its operator and value pairs, a range two.
func components(t flowspec.ComponentType, ranges []flowspec.Range) []flowspec.Component {
	var out []flowspec.Component
	first, pairs := 0, 0
	for i, r := range ranges {
		need := 2
		if r.Lo == r.Hi {
			need = 1
		}
		if pairs+need > flowspec.MaxSafeValues {
			out = append(out, flowspec.Values(t, ranges[first:i]...))
			first, pairs = i, 0
		}
		pairs += need
	}
	if first < len(ranges) {
		out = append(out, flowspec.Values(t, ranges[first:]...))
	}
	return out
}

// sparedTypes returns the ICMP types that may be acted on. Destination unreachable (RFC 792 type 3) and packet too
// big (RFC 4443 type 2) carry path MTU discovery; ICMPv6 1-4 are all error messages, 133-137 neighbour discovery.
func sparedTypes(f flowspec.Family) []flowspec.Range {
	if f == flowspec.IPv6 {
		return []flowspec.Range{{Lo: 5, Hi: 132}, {Lo: 138, Hi: 255}}
	}
	return []flowspec.Range{{Lo: 0, Hi: 2}, {Lo: 4, Hi: 255}}
}

func sparedNote(f flowspec.Family) string {
	if f == flowspec.IPv6 {
		return "ICMPv6 types 1-4 (errors, path MTU discovery) and 133-137 (neighbour discovery) are spared"
	}
	return "ICMP type 3 (unreachable, path MTU discovery) is spared"
}

func icmpOf(f flowspec.Family) uint8 {
	if f == flowspec.IPv6 {
		return protoICMPv6
	}
	return protoICMP
}

// protocolsIn returns protocols as they are in family f.
func protocolsIn(protocols []uint8, f flowspec.Family) []uint8 {
	if i := slices.Index(protocols, protoICMP); i >= 0 && f == flowspec.IPv6 {
		protocols = slices.Clone(protocols)
		protocols[i] = protoICMPv6
	}
	return protocols
}

// common returns what is in a and in b.
func common(a, b []uint8) []uint8 {
	var out []uint8
	for _, v := range a {
		if slices.Contains(b, v) {
			out = append(out, v)
		}
	}
	return out
}

// joinRanges returns the ranges sorted, those that overlap or touch joined.
func joinRanges(ranges []flowspec.Range) []flowspec.Range {
	sorted := slices.SortedFunc(slices.Values(ranges), compareRange)
	out := sorted[:0]
	for _, r := range sorted {
		if n := len(out); n > 0 && r.Lo <= out[n-1].Hi+1 {
			out[n-1].Hi = max(out[n-1].Hi, r.Hi)
			continue
		}
		out = append(out, r)
	}
	return out
}

// commonRanges returns the values that are in both a and b, each sorted and joined.
func commonRanges(a, b []flowspec.Range) []flowspec.Range {
	var out []flowspec.Range
	for _, x := range a {
		for _, y := range b {
			if lo, hi := max(x.Lo, y.Lo), min(x.Hi, y.Hi); lo <= hi {
				out = append(out, flowspec.Range{Lo: lo, Hi: hi})
			}
		}
	}
	return out
}

func rangeText(r flowspec.Range) string {
	if r.Lo == r.Hi {
		return fmt.Sprint(r.Lo)
	}
	return fmt.Sprintf("%d-%d", r.Lo, r.Hi)
}

func protocolText(n uint8) string {
	switch n {
	case protoICMP:
		return "1 (icmp)"
	case protoTCP:
		return "6 (tcp)"
	case protoUDP:
		return "17 (udp)"
	case protoGRE:
		return "47 (gre)"
	case protoESP:
		return "50 (esp)"
	case protoICMPv6:
		return "58 (icmpv6)"
	}
	return fmt.Sprint(n)
}

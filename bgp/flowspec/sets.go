package flowspec

import (
	"cmp"
	"math/bits"
	"slices"
)

// The questions below are about sets of packets, and their answers are exact: a match is the set of all packets that it
// Matches, of those that can be. In these the fragment bits are as FragmentBits returns them, an IPv4 packet has at
// most 65,535 octets (one of IPv6 may have more), and no field has more bits than its header gives it. What a match
// says of the transport header excludes packets that do not have it (see Packet.HasPorts): "dport 0-65535" is TCP and
// UDP with ports, and no later fragment.
//
// A match without any component, which is not valid, is taken for all packets of its family.

// Inside reports whether every packet that m matches is matched by o too. A match that no packet matches is inside all.
func (m Match) Inside(o Match) bool { return inside([]Match{m}, o) }

// Disjoint reports whether no packet is matched by both m and o.
func (m Match) Disjoint(o Match) bool { return !meet([]Match{m, o}) }

// Empty reports whether no packet matches m. Conflict says why, except for prefixes.
func (m Match) Empty() bool { return !meet([]Match{m}) }

// part is one of the disjoint parts that packets fall into, by what there is of the transport header. Within a part
// every component looks at a field of its own, save for those that look at ports.
type part uint8

const (
	headless part = iota // no header that a component looks at, or it is not there
	withTCP
	withUDP
	withICMP
)

// has returns the need bits that packets of the part satisfy.
func (p part) has() uint8 {
	switch p {
	case withTCP:
		return needPorts | needTCP
	case withUDP:
		return needPorts
	case withICMP:
		return needICMP
	case headless:
		return 0
	}
	return 0
}

// protocol returns the protocol of a part other than headless.
func (p part) protocol(f Family) uint8 {
	switch p {
	case withTCP:
		return protoTCP
	case withUDP:
		return protoUDP
	case withICMP, headless:
		return icmp(f)
	}
	return 0
}

// fragments returns the fragment bits that packets of the part can have, as a set: bit v is set for bits v.
func (p part) fragments(f Family) uint16 {
	var set uint16
	for _, more := range [...]bool{false, true} {
		for offset := range uint16(2) {
			v := FragmentBits(false, more, offset)
			if p != headless && v&(IsFragment|LastFragment) != 0 {
				continue
			}
			set |= 1 << v
			if f == IPv4 {
				set |= 1 << (v | DontFragment)
			}
		}
	}
	return set
}

// need returns the need bits of the transport header.
func (m *Match) need() uint8 {
	var out uint8
	for i := range m.Components {
		out |= m.Components[i].Type.need()
	}
	return out &^ needSource
}

// lookup returns the component of type t, nil if there is none.
func (m *Match) lookup(t ComponentType) *Component {
	for i := range m.Components {
		if m.Components[i].Type == t {
			return &m.Components[i]
		}
	}
	return nil
}

// meet reports whether any packet is in all of ms.
func meet(ms []Match) bool {
	_, ok := witness(ms)
	return ok
}

// witness returns a packet that is in all of ms, and whether there is one.
func witness(ms []Match) (Packet, bool) {
	var p Packet
	f := ms[0].Family
	for i := range ms {
		if ms[i].Family != f {
			return p, false
		}
	}
	dst, dstOK := commonPattern(ms, DestinationPrefix)
	src, srcOK := commonPattern(ms, SourcePrefix)
	length, lengthOK := commonValue(ms, PacketLength)
	dscp, dscpOK := commonValue(ms, DSCP)
	label, labelOK := commonValue(ms, FlowLabel)
	if !dstOK || !srcOK || !lengthOK || !dscpOK || !labelOK {
		return p, false
	}
	p.Dst, p.Src = dst.value.addr(f), src.value.addr(f)
	p.Length, p.DSCP, p.FlowLabel = uint32(length), uint8(dscp), uint32(label)
	for k := headless; k <= withICMP; k++ {
		if meetIn(ms, k, &p) {
			return p, true
		}
	}
	return p, false
}

// meetIn reports whether any packet of part k is in all of ms, as far as protocol, fragment and transport header are
// concerned, and if so gives those of one to p.
func meetIn(ms []Match, k part, p *Packet) bool {
	f := ms[0].Family
	frags := k.fragments(f)
	for i := range ms {
		if ms[i].need()&^k.has() != 0 {
			return false
		}
		frags &= ms[i].fragments(f)
	}
	var stack [spansOnStack]Range
	protocols := commonSpans(stack[:0], ms, IPProtocol)
	if k != headless {
		protocols = clip(protocols, 0, One(uint64(k.protocol(f))))
	}
	if frags == 0 || len(protocols) == 0 {
		return false
	}
	p.Fragment, p.Protocol, p.HasPorts = uint8(bits.TrailingZeros16(frags)), uint8(protocols[0].Lo), k != headless
	switch k {
	case withTCP:
		flags, ok := commonFlags(ms)
		p.TCPFlags = uint16(flags)
		return ok && meetPorts(ms, p)
	case withUDP:
		return meetPorts(ms, p)
	case withICMP:
		kind, okKind := commonValue(ms, ICMPType)
		code, okCode := commonValue(ms, ICMPCode)
		p.ICMPType, p.ICMPCode = uint8(kind), uint8(code)
		return okKind && okCode
	case headless:
		return true
	}
	return true
}

// inside reports whether every packet that is in all of ms is in o.
func inside(ms []Match, o Match) bool { return !meet(ms) || covers(o, ms) }

// covers reports whether every packet that is in all of ms, and there is one, is in o.
func covers(o Match, ms []Match) bool {
	if o.Family != ms[0].Family {
		return false
	}
	for _, t := range [...]ComponentType{DestinationPrefix, SourcePrefix} {
		inner, _ := commonPattern(ms, t)
		if c := o.lookup(t); c != nil && !inner.inside(patternOf(c)) {
			return false
		}
	}
	for _, t := range [...]ComponentType{PacketLength, DSCP, FlowLabel} {
		if !insideSpans(ms, o, t) {
			return false
		}
	}
	for p := headless; p <= withICMP; p++ {
		if meetIn(ms, p, new(Packet)) && !insideIn(ms, o, p) {
			return false
		}
	}
	return true
}

// insideIn reports whether every packet of part p that is in all of ms, and there is one, is in o, as far as protocol,
// fragment and transport header are concerned.
func insideIn(ms []Match, o Match, p part) bool {
	f := o.Family
	frags := p.fragments(f)
	for i := range ms {
		frags &= ms[i].fragments(f)
	}
	if o.need()&^p.has() != 0 || frags&^o.fragments(f) != 0 {
		return false
	}
	if p == headless {
		return insideSpans(ms, o, IPProtocol)
	}
	if c := o.lookup(IPProtocol); c != nil && !c.numeric(uint64(p.protocol(f))) {
		return false
	}
	if p == withICMP {
		return insideSpans(ms, o, ICMPType) && insideSpans(ms, o, ICMPCode)
	}
	if p == withTCP && !insideFlags(ms, o) {
		return false
	}
	return !slices.ContainsFunc(portPairs(ms), func(r portPair) bool { return !r.inside(&o) })
}

// insideSpans reports whether o takes all values of type t, a numeric one, that all of ms take.
func insideSpans(ms []Match, o Match, t ComponentType) bool {
	c := o.lookup(t)
	if c == nil {
		return true
	}
	var stack, others [spansOnStack]Range
	return within(commonSpans(stack[:0], ms, t), c.spans(others[:0], o.Family))
}

// spansOnStack is how many ranges most components do with.
const spansOnStack = 12

// spans appends the values that a numeric component takes of those that its field can hold in family f.
func (c *Component) spans(to []Range, f Family) []Range { return appendSpans(to, c.Ops, c.Type.top(f)) }

// top returns the greatest value of the field, which for the length of an IPv6 packet stands for all that are greater
// than an operator can say: the payload alone may have 65,535 octets.
func (t ComponentType) top(f Family) uint64 {
	if t == PacketLength && f == IPv6 {
		return longest
	}
	return t.maxValue(f)
}

// commonSpans appends the values of type t that all of ms take.
func commonSpans(to []Range, ms []Match, t ComponentType) []Range {
	found := false
	begin := len(to)
	for i := range ms {
		c := ms[i].lookup(t)
		switch {
		case c == nil:
		case !found:
			to, found = c.spans(to, ms[i].Family), true
		default:
			var stack [spansOnStack]Range
			to = intersectSpans(to, begin, c.spans(stack[:0], ms[i].Family))
		}
	}
	if !found {
		to = append(to, Range{Hi: t.top(ms[0].Family)})
	}
	return to
}

// commonValue returns the lowest value of type t that all of ms take, and whether there is one.
func commonValue(ms []Match, t ComponentType) (uint64, bool) {
	var stack [spansOnStack]Range
	spans := commonSpans(stack[:0], ms, t)
	if len(spans) == 0 {
		return 0, false
	}
	return spans[0].Lo, true
}

// intersectSpans leaves of the ranges in to[from:] what is in other.
func intersectSpans(to []Range, from int, other []Range) []Range {
	var stack [spansOnStack]Range
	mine := append(stack[:0], to[from:]...)
	to = to[:from]
	for i, k := 0, 0; i < len(mine) && k < len(other); {
		a, b := mine[i], other[k]
		if lo, hi := max(a.Lo, b.Lo), min(a.Hi, b.Hi); lo <= hi {
			to = append(to, Range{lo, hi})
		}
		if a.Hi < b.Hi {
			i++
		} else {
			k++
		}
	}
	return to
}

// within reports whether all values of a are in b.
func within(a, b []Range) bool {
	for _, r := range a {
		k, _ := slices.BinarySearchFunc(b, r, func(x, r Range) int { return cmp.Compare(x.Hi, r.Hi) })
		if k == len(b) || b[k].Lo > r.Lo {
			return false
		}
	}
	return true
}

// commonPattern returns the addresses that the prefixes of type t in all of ms take, and whether there are any.
func commonPattern(ms []Match, t ComponentType) (pattern, bool) {
	var out pattern
	for i := range ms {
		c := ms[i].lookup(t)
		if c == nil {
			continue
		}
		p := patternOf(c)
		if !out.meets(p) {
			return pattern{}, false
		}
		out.value.hi, out.value.lo = out.value.hi|p.value.hi, out.value.lo|p.value.lo
		out.mask.hi, out.mask.lo = out.mask.hi|p.mask.hi, out.mask.lo|p.mask.lo
	}
	return out, true
}

// meets reports whether any address is in both.
func (p *pattern) meets(q pattern) bool {
	return (p.value.hi^q.value.hi)&p.mask.hi&q.mask.hi|(p.value.lo^q.value.lo)&p.mask.lo&q.mask.lo == 0
}

// inside reports whether all addresses of p are in q.
func (p *pattern) inside(q pattern) bool {
	return q.mask.hi&^p.mask.hi|q.mask.lo&^p.mask.lo == 0 && p.meets(q)
}

// fragments returns the values that the fragment component takes, all if there is none, as a set.
func (m *Match) fragments(f Family) uint16 {
	all := headless.fragments(f)
	c := m.lookup(Fragment)
	if c == nil {
		return all
	}
	var out uint16
	for v := range uint64(16) {
		if all>>v&1 != 0 && c.mask(v) {
			out |= 1 << v
		}
	}
	return out
}

// flagBits returns the TCP flags that any of ms names: the others make no difference.
func flagBits(ms []Match) uint64 {
	var named uint64
	for i := range ms {
		if c := ms[i].lookup(TCPFlags); c != nil {
			for _, op := range c.Ops {
				named |= op.Value
			}
		}
	}
	return named
}

// takesFlags reports whether all of ms take the TCP flags v.
func takesFlags(ms []Match, v uint64) bool {
	for i := range ms {
		if c := ms[i].lookup(TCPFlags); c != nil && !c.mask(v) {
			return false
		}
	}
	return true
}

// commonFlags returns TCP flags that all of ms take, and whether there are any.
func commonFlags(ms []Match) (uint64, bool) {
	named := flagBits(ms)
	for v := named; ; v = (v - 1) & named { // all subsets
		if takesFlags(ms, v) {
			return v, true
		}
		if v == 0 {
			return 0, false
		}
	}
}

func insideFlags(ms []Match, o Match) bool {
	if o.lookup(TCPFlags) == nil {
		return true
	}
	other := []Match{o}
	named := flagBits(ms) | flagBits(other)
	for v := named; ; v = (v - 1) & named {
		if takesFlags(ms, v) && !takesFlags(other, v) {
			return false
		}
		if v == 0 {
			return true
		}
	}
}

// meetPorts reports whether all of ms take any pair of ports, and if so gives one to p.
func meetPorts(ms []Match, p *Packet) bool {
	if slices.ContainsFunc(ms, func(m Match) bool { return m.lookup(Port) != nil }) {
		pairs := portPairs(ms)
		if len(pairs) == 0 {
			return false
		}
		p.SrcPort, p.DstPort = uint16(pairs[0].src[0].Lo), uint16(pairs[0].dst[0].Lo)
		return true
	}
	src, okSrc := commonValue(ms, SourcePort)
	dst, okDst := commonValue(ms, DestinationPort)
	p.SrcPort, p.DstPort = uint16(src), uint16(dst)
	return okSrc && okDst
}

// portPair is all pairs of a source port in src and a destination port in dst, both not empty.
type portPair struct{ src, dst []Range }

// portPairs returns the pairs of ports that all of ms take, as the union of portPairs: each component "port" holds if
// one of the two does, so that each doubles what there is to look at.
func portPairs(ms []Match) []portPair {
	all := []portPair{{commonSpans(nil, ms, SourcePort), commonSpans(nil, ms, DestinationPort)}}
	for i := range ms {
		c := ms[i].lookup(Port)
		if c == nil {
			continue
		}
		either := c.spans(nil, ms[i].Family)
		var next []portPair
		for _, p := range all {
			next = append(next, portPair{intersectSpans(slices.Clone(p.src), 0, either), p.dst},
				portPair{p.src, intersectSpans(slices.Clone(p.dst), 0, either)})
		}
		all = next
	}
	return slices.DeleteFunc(all, func(p portPair) bool { return len(p.src) == 0 || len(p.dst) == 0 })
}

// inside reports whether o takes all pairs of p.
func (p *portPair) inside(o *Match) bool {
	if c := o.lookup(SourcePort); c != nil && !within(p.src, c.spans(nil, o.Family)) {
		return false
	}
	if c := o.lookup(DestinationPort); c != nil && !within(p.dst, c.spans(nil, o.Family)) {
		return false
	}
	c := o.lookup(Port)
	if c == nil {
		return true
	}
	// If neither were within, there would be a port on either side that is not, and the two of them a pair.
	either := c.spans(nil, o.Family)
	return within(p.src, either) || within(p.dst, either)
}

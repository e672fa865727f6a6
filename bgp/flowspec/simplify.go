package flowspec

import (
	"fmt"
	"net/netip"
	"slices"
)

// MaxSplit is how many matches SafeSplit makes of one.
const MaxSplit = 1000

// Simplify returns the match that takes the same packets in its simplest form: two matches take the same packets if and
// only if their simplified forms are Equal. Values are sorted, ranges that overlap or touch are joined, "not equal" and
// constant operators become ranges, and what does not exclude any packet is gone: "proto tcp|udp" beside ports, a
// source of 0.0.0.0/0, "frag !is-fragment" beside TCP flags. A range to the greatest value is written with one operator.
//
// That is equal by the RFCs. For a router that takes them lightly, one that looks for ports in packets without any,
// what was left out may have mattered: announce what was written. A match that no packet matches has no such form
// (ErrNoPacket), nor has one that is not valid.
func (m Match) Simplify() (Match, error) {
	if err := m.Validate(); err != nil {
		return Match{}, err
	}
	if m.Empty() {
		return Match{}, fmt.Errorf("cannot simplify %q: %w", m.String(), ErrNoPacket)
	}
	s := simple{m: []Match{m}, f: m.Family}
	for i := range m.Components {
		if c := m.Components[i]; c.Type.prefix() && c.Prefix.Bits() > 0 {
			s.out = append(s.out, c)
		}
	}
	fragments := headless.fragments(s.f)
	switch need := m.need(); {
	case need == 0:
		s.number(IPProtocol)
	case need&needICMP != 0:
		fragments = withICMP.fragments(s.f)
		s.icmp()
	default:
		fragments = withTCP.fragments(s.f)
		s.transport()
	}
	if taken := m.fragments(s.f) & fragments; taken != fragments {
		s.out = append(s.out, Component{Type: Fragment, Ops: fragmentOps(taken, fragments, s.f)})
	}
	for _, t := range [...]ComponentType{PacketLength, DSCP, FlowLabel} {
		if t.In(s.f) {
			s.number(t)
		}
	}
	if len(s.out) == 0 {
		s.out = append(s.out, everything(s.f))
	}
	return NewMatch(s.f, s.out...)
}

// everything returns the component that excludes nothing of its family.
func everything(f Family) Component {
	zero := netip.IPv4Unspecified()
	if f == IPv6 {
		zero = netip.IPv6Unspecified()
	}
	return Destination(netip.PrefixFrom(zero, 0))
}

// simple is a match on the way to its simplest form.
type simple struct {
	m   []Match // the one
	f   Family
	out []Component
}

// number adds a component of type t if it excludes anything, and reports whether it does.
func (s *simple) number(t ComponentType) bool {
	spans := commonSpans(nil, s.m, t)
	if full(spans, t, s.f) {
		return false
	}
	s.out = append(s.out, Component{Type: t, Ops: spanOps(spans, t, s.f)})
	return true
}

func (s *simple) icmp() {
	kind, code := s.number(ICMPType), s.number(ICMPCode)
	if !kind && !code { // there must be a header all the same
		s.out = append(s.out, anyValue(ICMPType))
	}
}

// anyValue returns the component that holds for each packet that has the field.
func anyValue(t ComponentType) Component {
	return Component{Type: t, Ops: []Op{{Flags: GT | EQ}}}
}

// transport adds what is said of ports and TCP flags.
func (s *simple) transport() {
	ports := s.ports()
	if c, ok := s.m[0].Component(TCPFlags); ok {
		if ops := flagOps(&c); ops != nil {
			s.out = append(s.out, Component{Type: TCPFlags, Ops: ops})
			return
		}
	}
	tcp, udp := meetIn(s.m, withTCP, new(Packet)), meetIn(s.m, withUDP, new(Packet))
	switch {
	case !udp:
		s.out = append(s.out, Proto(protoTCP))
	case !tcp:
		s.out = append(s.out, Proto(protoUDP))
	}
	if !ports {
		s.out = append(s.out, anyValue(Port))
	}
}

// ports adds what is said of ports and reports whether that excludes any. The pairs that "port" excludes are those of
// a source port and a destination port that are both not in it: it makes a difference where there are such.
func (s *simple) ports() bool {
	src, dst := commonSpans(nil, s.m, SourcePort), commonSpans(nil, s.m, DestinationPort)
	either := commonSpans(nil, s.m, Port)
	srcIn, dstIn := intersectSpans(slices.Clone(src), 0, either), intersectSpans(slices.Clone(dst), 0, either)
	all := []Range{{Hi: Port.top(s.f)}}
	switch {
	case len(dstIn) == 0:
		src, either = srcIn, all
	case len(srcIn) == 0:
		dst, either = dstIn, all
	case within(src, either) || within(dst, either):
		either = all
	default:
		either = joinSpans(slices.Concat(srcIn, dstIn), 0)
	}
	some := false
	for _, x := range []struct {
		t     ComponentType
		spans []Range
	}{{Port, either}, {DestinationPort, dst}, {SourcePort, src}} {
		if !full(x.spans, x.t, s.f) {
			some = true
			s.out = append(s.out, Component{Type: x.t, Ops: spanOps(x.spans, x.t, s.f)})
		}
	}
	return some
}

func full(spans []Range, t ComponentType, f Family) bool {
	return len(spans) == 1 && spans[0] == Range{Hi: t.top(f)}
}

// spanOps returns the operators for sorted ranges of values of type t, at least one.
func spanOps(spans []Range, t ComponentType, f Family) []Op {
	var out []Op
	for _, r := range spans {
		switch {
		case r.Lo > t.maxValue(f): // IPv6 packets longer than a value can say
			out = append(out, Op{Flags: GT, Value: t.maxValue(f)})
		case r.Lo == r.Hi:
			out = append(out, Op{Flags: EQ, Value: r.Lo})
		case r.Hi == t.top(f):
			out = append(out, Op{Flags: GT | EQ, Value: r.Lo})
		case r.Lo == 0:
			out = append(out, Op{Flags: LT | EQ, Value: r.Hi})
		default:
			out = append(out, Op{Flags: GT | EQ, Value: r.Lo}, Op{Flags: And | LT | EQ, Value: r.Hi})
		}
	}
	return out
}

// SafeSplit returns matches that together take exactly the packets of m and are each within the safe subset (see
// CheckSafe); m alone if it is. Conditions that are safe stay as they are written. The others are written with ranges,
// and distributed over several matches if they have too many values. A packet may be in more than one of the matches.
//
// It is impossible with an offset (ErrUnsafeOffset), for a match that no packet matches (ErrNoPacket), and if there
// would be more than MaxSplit matches (ErrTooManyValues).
func (m Match) SafeSplit() ([]Match, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	if m.Empty() {
		return nil, fmt.Errorf("cannot split %q: %w", m.String(), ErrNoPacket)
	}
	out := []Match{{Family: m.Family}}
	for i := range m.Components {
		c := &m.Components[i]
		if c.Offset != 0 {
			return nil, refuse(ErrUnsafeOffset, "cannot split %q: no other condition says what a %s with an offset does", m.String(), c.Type)
		}
		alternatives := safeComponents(c, m.Family)
		if len(alternatives) == 0 { // it excludes nothing
			continue
		}
		if len(out)*len(alternatives) > MaxSplit {
			return nil, refuse(ErrTooManyValues, "cannot split %q: more than %d rules", m.String(), MaxSplit)
		}
		var next []Match
		for _, o := range out {
			for _, a := range alternatives {
				next = append(next, Match{Family: m.Family, Components: append(slices.Clip(o.Components), a)})
			}
		}
		out = next
	}
	for i := range out {
		if len(out[i].Components) == 0 {
			out[i].Components = []Component{everything(m.Family)}
		}
		if err := CheckSafe(out[i]); err != nil {
			return nil, fmt.Errorf("cannot split %q: %w", m.String(), err)
		}
	}
	return out, nil
}

// safeComponents returns components within the safe subset of which one holds if and only if c does, or none if c
// always holds. It takes some value.
func safeComponents(c *Component, f Family) []Component {
	if CheckSafe(Match{Family: f, Components: []Component{*c}}) == nil {
		return []Component{*c}
	}
	var ops []Op
	switch c.Type {
	case TCPFlags:
		if ops = flagOps(c); ops == nil {
			ops = []Op{{Flags: All}} // all of no flags: there must be a header all the same
		}
	case Fragment:
		m := Match{Family: f, Components: []Component{*c}}
		taken, all := m.fragments(f), headless.fragments(f)
		if taken == all {
			return nil
		}
		ops = fragmentOps(taken, all, f)
	default:
		spans := c.spans(nil, f)
		if full(spans, c.Type, f) && c.Type.need() == 0 {
			return nil
		}
		ops = spanOps(spans, c.Type, f)
	}
	var out []Component
	for _, some := range distribute(ops, MaxSafeValues) {
		out = append(out, Component{Type: c.Type, Ops: some})
	}
	return out
}

// distribute cuts a list into the fewest lists of at most n operators that hold if one of them does. What AND joins,
// at most two, stays together: pairs first, n/2 to a list, and single ones where there is room.
func distribute(ops []Op, n int) [][]Op {
	var pairs, singles [][]Op
	for i := 0; i < len(ops); {
		end := i + 1
		for end < len(ops) && ops[end].Flags&And != 0 {
			end++
		}
		if end-i > 1 {
			pairs = append(pairs, ops[i:end])
		} else {
			singles = append(singles, ops[i:end])
		}
		i = end
	}
	var out [][]Op
	for _, group := range slices.Concat(pairs, singles) {
		k := slices.IndexFunc(out, func(o []Op) bool { return len(o)+len(group) <= n })
		if k < 0 {
			out = append(out, nil)
			k = len(out) - 1
		}
		out[k] = append(out[k], group...)
	}
	return out
}

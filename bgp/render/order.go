package render

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// A router that is given rules as configuration makes an NLRI of each by itself, and sorts by that. RFC 8955 section 5.1
// compares octets, and section 4.2.1 leaves the length of a value to whoever encodes: tidegate writes port 80 in two
// octets, a router may write it in one, and then two rules can change places. briefly is the other choice that a router
// has. What both choices put into one order is safe to render.

// inversions refuses, of any two rules that could change places on a router and that then matter, the later one.
func (s *set) inversions() {
	var kept []piece
	for start := 0; start < len(s.rules); {
		end := start + 1
		for end < len(s.rules) && samePrefixes(s.rules[start].item.Rule.Match, s.rules[end].item.Rule.Match) {
			end++
		}
		kept = append(kept, s.settle(s.rules[start:end])...)
		start = end
	}
	s.rules = kept
}

// settle returns those of group, rules in order and of the same prefixes, that keep their places.
func (s *set) settle(group []piece) []piece {
	orders := make([][][]byte, len(group))
	for i, p := range group {
		orders[i] = briefly(p.item.Rule.Match)
	}
	if slices.IsSortedFunc(orders, compareBriefly) {
		return group
	}
	var kept []int
	for i := range group {
		j := slices.IndexFunc(kept, func(j int) bool {
			return compareBriefly(orders[j], orders[i]) > 0 && matters(group[j].item.Rule, group[i].item.Rule)
		})
		if j < 0 {
			kept = append(kept, i)
			continue
		}
		s.problems = append(s.problems, Problem{Item: group[i].item, Reason: fmt.Sprintf(
			"the router could apply it before %q, by how it encodes numbers, and that would change what happens", group[kept[j]].item.Rule)})
	}
	out := make([]piece, len(kept))
	for n, i := range kept {
		out[n] = group[i]
	}
	return out
}

// samePrefixes reports whether the order of a and b depends on what follows their prefixes.
func samePrefixes(a, b flowspec.Match) bool {
	if a.Family != b.Family {
		return false
	}
	for _, t := range []flowspec.ComponentType{flowspec.DestinationPrefix, flowspec.SourcePrefix} {
		x, inA := a.Component(t)
		y, inB := b.Component(t)
		if inA != inB || !x.Equal(y) {
			return false
		}
	}
	return true
}

// matters reports whether the order of a and b may change what happens to a packet: their actions differ, and no numeric
// component keeps their packets apart.
func matters(a, b flowspec.Rule) bool {
	if slices.Equal(a.Actions, b.Actions) {
		return false
	}
	for _, x := range a.Match.Components {
		if y, ok := b.Match.Component(x.Type); ok && len(x.Ops) > 0 && !masks(x.Type) && len(both(ranges(x), ranges(y))) == 0 {
			return false
		}
	}
	return true
}

// briefly are the components behind the prefixes as a router may encode them: ranges for numbers, and every value in as
// few octets as hold it.
func briefly(m flowspec.Match) [][]byte {
	var out [][]byte
	for _, c := range m.Components {
		if len(c.Ops) == 0 {
			continue
		}
		if !masks(c.Type) {
			c = flowspec.Values(c.Type, ranges(c)...)
		}
		b := []byte{byte(c.Type)}
		for i, op := range c.Ops {
			b = appendBriefly(b, op, i == len(c.Ops)-1)
		}
		out = append(out, b)
	}
	return out
}

func appendBriefly(b []byte, op flowspec.Op, last bool) []byte {
	const endOfList, widthShift = 0x80, 4 // RFC 8955 section 4.2.1
	o := byte(op.Flags)
	if last {
		o |= endOfList
	}
	switch {
	case op.Value <= 0xff:
		return append(b, o, byte(op.Value))
	case op.Value <= 0xffff:
		return binary.BigEndian.AppendUint16(append(b, o|1<<widthShift), uint16(op.Value))
	}
	return binary.BigEndian.AppendUint32(append(b, o|2<<widthShift), uint32(op.Value))
}

// compareBriefly orders components as RFC 8955 section 5.1 does: the lower type first, then the lower octets, then the
// longer list.
func compareBriefly(a, b [][]byte) int {
	for i := range min(len(a), len(b)) {
		if c := bytes.Compare(a[i], b[i]); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(b), len(a))
}

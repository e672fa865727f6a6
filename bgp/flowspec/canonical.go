package flowspec

import (
	"cmp"
	"math/bits"
	"slices"
)

// Canonical returns the match that takes the same packets with each condition written in one way, so that the same list in
// another order has the same Key: numbers are sorted ranges that neither overlap nor touch ("sport 123|53" is "sport
// 53|123", "!=80" is "<=79|>=81"), flags that must be set stand in one operator and so do those that must be clear,
// alternatives are sorted, and a single bit has one form ("!ack" is "!any:ack"). Protocols stay single values.
//
// Unlike Simplify it judges each component by itself and drops none, not even one that excludes nothing: what an
// engineer wrote for the sake of a router stays. So two matches may take the same packets and have two canonical forms.
// A component that no packet satisfies, and one that is not valid, stays as it is. The result shares nothing with m.
func (m Match) Canonical() Match {
	out := Match{Family: m.Family, Components: slices.Clone(m.Components)}
	for i := range out.Components {
		c := &out.Components[i]
		c.Ops = slices.Clone(c.Ops)
		switch {
		case c.Type.prefix() || c.validate(m.Family) != nil:
		case c.Type.bitmask():
			c.Ops = canonicalBits(c.Type, c.Ops)
		default:
			c.Ops = canonicalNumbers(c, m.Family)
		}
	}
	return out
}

func canonicalNumbers(c *Component, f Family) []Op {
	spans := c.spans(nil, f)
	if len(spans) == 0 {
		return c.Ops
	}
	if c.Type == IPProtocol {
		spans = singleValues(spans)
	}
	return spanOps(spans, c.Type, f)
}

// singleValues takes ranges apart if that makes few values: a range of protocols means nothing to a reader.
func singleValues(spans []Range) []Range {
	var out []Range
	for _, s := range spans {
		for v := s.Lo; v <= s.Hi; v++ {
			if out = append(out, One(v)); len(out) > MaxSafeValues {
				return spans
			}
		}
	}
	return out
}

// canonicalBits writes a list of bitmask operators in one way. What stands alone and asks for any of some bits, or for any
// of them to be clear, is joined with its like, for a list is an OR of such (RFC 8955 section 4.2.1.2).
func canonicalBits(t ComponentType, ops []Op) []Op {
	if slices.ContainsFunc(ops, func(o Op) bool { return o.Value == 0 }) {
		return ops // the same for every packet; no router is told of it
	}
	var groups [][]Op
	var anySet, anyClear uint64
	for i := 0; i < len(ops); {
		end := i + 1
		for end < len(ops) && ops[end].Flags&And != 0 {
			end++
		}
		group := canonicalGroup(ops[i:end])
		i = end
		only := group[0]
		switch not, single := only.Flags&Not != 0, bits.OnesCount64(only.Value) == 1; {
		case len(group) > 1 || !single && not != (only.Flags&All != 0):
			groups = append(groups, group)
		case not:
			anyClear |= only.Value
		default:
			anySet |= only.Value
		}
	}
	if anySet != 0 {
		groups = append(groups, []Op{{Value: anySet}})
	}
	if anyClear != 0 {
		groups = append(groups, []Op{{Flags: Not | All, Value: anyClear}})
	}
	slices.SortFunc(groups, func(a, b []Op) int { return slices.CompareFunc(a, b, compareOps) })
	groups = slices.CompactFunc(groups, func(a, b []Op) bool { return slices.Equal(a, b) })
	return joinGroups(t, groups)
}

// joinGroups writes groups as one list of operators, a single bit in its one form.
func joinGroups(t ComponentType, groups [][]Op) []Op {
	var out []Op
	for _, g := range groups {
		for i, o := range g {
			if bits.OnesCount64(o.Value) == 1 {
				o.Flags &= Not
				if o.Flags == 0 && t == TCPFlags {
					o.Flags = All // as Flags writes it
				}
			}
			if i > 0 {
				o.Flags |= And
			}
			out = append(out, o)
		}
	}
	return out
}

// canonicalGroup writes operators that must all hold: the bits that must be set, those that must be clear, then the rest.
// The bit And is left out.
func canonicalGroup(ops []Op) []Op {
	var set, unset uint64
	var rest []Op
	for _, o := range ops {
		o.Flags &= Not | All
		single := bits.OnesCount64(o.Value) == 1
		switch {
		case o.Flags == All, single && o.Flags == 0:
			set |= o.Value
		case o.Flags == Not, single && o.Flags == Not|All:
			unset |= o.Value
		default:
			rest = append(rest, o)
		}
	}
	var out []Op
	if set != 0 {
		out = append(out, Op{Flags: All, Value: set})
	}
	if unset != 0 {
		out = append(out, Op{Flags: Not, Value: unset})
	}
	slices.SortFunc(rest, compareOps)
	return append(out, slices.Compact(rest)...)
}

func compareOps(a, b Op) int {
	return cmp.Or(cmp.Compare(a.Flags, b.Flags), cmp.Compare(a.Value, b.Value))
}

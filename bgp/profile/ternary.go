package profile

import (
	"cmp"
	"math/bits"
	"slices"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// A content-addressable memory with ternary cells (TCAM) compares a field with a value under a mask. A range of numbers
// is not one such entry but as many as the prefixes that make it up: 512 to 65535 are 512/7, 1024/6 … 32768/1, which is 7;
// 256 to 65535 are 8; and 257 to 65535 are those of 512 and 257, 258/15, 260/14, 264/13, 272/12, 288/11, 320/10, 384/9,
// which is 15. The figures that Cisco measured on NCS 5500 are exactly these (see TestPricePublished).

// interval is the values from lo to hi, both included.
type interval struct{ lo, hi uint64 }

// entry is one ternary entry: it takes the values v with v&mask == value.
type entry struct{ value, mask uint64 }

// width returns how many bits the field of a numeric component has (RFC 8955 section 4.2.2, RFC 8956 section 3.7).
func width(t flowspec.ComponentType) int {
	switch t {
	case flowspec.IPProtocol, flowspec.ICMPType, flowspec.ICMPCode:
		return 8
	case flowspec.Port, flowspec.DestinationPort, flowspec.SourcePort, flowspec.PacketLength:
		return 16
	case flowspec.TCPFlags:
		return 12
	case flowspec.DSCP:
		return 6
	case flowspec.Fragment:
		return 4
	case flowspec.FlowLabel:
		return 20
	case flowspec.DestinationPrefix, flowspec.SourcePrefix:
		return 0
	}
	return 0
}

// top returns the greatest value that a packet can have in a numeric field. An IPv6 packet may be longer than what 16
// bits of the condition can say (RFC 2675); ">= 1000" takes it, "1000-65535" does not.
func top(t flowspec.ComponentType) uint64 {
	if t == flowspec.PacketLength {
		return 1<<32 - 1
	}
	return 1<<width(t) - 1
}

func isPrefix(t flowspec.ComponentType) bool {
	return t == flowspec.DestinationPrefix || t == flowspec.SourcePrefix
}

func isBitmask(t flowspec.ComponentType) bool {
	return t == flowspec.TCPFlags || t == flowspec.Fragment
}

// groups cuts a list of operators where it says OR: the operators of a group are joined by AND, which binds closer.
func groups(ops []flowspec.Op) [][]flowspec.Op {
	var out [][]flowspec.Op
	for i, op := range ops {
		if i == 0 || op.Flags&flowspec.And == 0 {
			out = append(out, nil)
		}
		out[len(out)-1] = append(out[len(out)-1], op)
	}
	return out
}

// groupIntervals returns the values from 0 to most that a group of numeric operators takes, ascending and apart.
func groupIntervals(group []flowspec.Op, most uint64) []interval {
	out := []interval{{0, most}}
	for _, op := range group {
		out = intersect(out, opIntervals(op, most))
	}
	return out
}

// opIntervals returns the values from 0 to most that one operator takes.
func opIntervals(op flowspec.Op, most uint64) []interval {
	var out []interval
	if op.Flags&flowspec.LT != 0 && op.Value > 0 {
		out = append(out, interval{0, min(op.Value-1, most)})
	}
	if op.Flags&flowspec.EQ != 0 && op.Value <= most {
		out = append(out, interval{op.Value, op.Value})
	}
	if op.Flags&flowspec.GT != 0 && op.Value < most {
		out = append(out, interval{op.Value + 1, most})
	}
	return merge(out)
}

// intersect returns the values that are in both lists, of which each is ascending and apart.
func intersect(a, b []interval) []interval {
	var out []interval
	for len(a) > 0 && len(b) > 0 {
		lo, hi := max(a[0].lo, b[0].lo), min(a[0].hi, b[0].hi)
		if lo <= hi {
			out = append(out, interval{lo, hi})
		}
		if a[0].hi < b[0].hi {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}
	return out
}

// merge sorts intervals and joins those that overlap or touch.
func merge(list []interval) []interval {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b interval) int { return cmp.Compare(a.lo, b.lo) })
	var out []interval
	for _, v := range list {
		if last := len(out) - 1; last >= 0 && (v.lo <= out[last].hi || v.lo-out[last].hi == 1) {
			out[last].hi = max(out[last].hi, v.hi)
			continue
		}
		out = append(out, v)
	}
	return out
}

// intervals returns the values that a numeric component takes, ascending and apart.
func intervals(c flowspec.Component) []interval {
	var out []interval
	for _, g := range groups(c.Ops) {
		out = append(out, groupIntervals(g, top(c.Type))...)
	}
	return merge(out)
}

// prefixes returns the fewest prefixes of a field of that many bits which together are the values of v.
func prefixes(v interval, width int) []entry {
	limit := uint64(1)<<width - 1
	if v.lo > limit {
		return nil
	}
	hi := min(v.hi, limit)
	var out []entry
	for lo := v.lo; ; {
		// The greatest block that begins at lo and does not reach beyond hi.
		size := width
		if lo != 0 {
			size = bits.TrailingZeros64(lo)
		}
		for uint64(1)<<size-1 > hi-lo {
			size--
		}
		out = append(out, entry{value: lo, mask: limit &^ (uint64(1)<<size - 1)})
		last := lo + (uint64(1)<<size - 1)
		if last >= hi {
			return out
		}
		lo = last + 1
	}
}

// numericEntries returns the entries of a numeric component as it is written: each alternative of the list by itself.
func numericEntries(c flowspec.Component) []entry {
	var out []entry
	for _, g := range groups(c.Ops) {
		for _, v := range groupIntervals(g, top(c.Type)) {
			out = append(out, prefixes(v, width(c.Type))...)
		}
	}
	return out
}

// maskEntries returns the entries of a bitmask component as it is written. "All of the bits" and "none of the bits" are
// one entry each; "any of n bits" and "not all of n bits" are n.
func maskEntries(c flowspec.Component) []entry {
	var out []entry
	for _, g := range groups(c.Ops) {
		cubes := []entry{{}}
		for _, op := range g {
			cubes = cross(cubes, opEntries(op))
		}
		out = append(out, cubes...)
	}
	return out
}

// opEntries returns the entries of one bitmask operator (RFC 8955 section 4.2.1.2).
func opEntries(op flowspec.Op) []entry {
	all, not := op.Flags&flowspec.All != 0, op.Flags&flowspec.Not != 0
	if all != not { // all of the bits set, or none of them
		e := entry{value: op.Value, mask: op.Value}
		if not {
			e.value = 0
		}
		return []entry{e}
	}
	var out []entry
	for rest := op.Value; rest != 0; rest &= rest - 1 {
		bit := rest & -rest
		e := entry{mask: bit}
		if !not {
			e.value = bit
		}
		out = append(out, e)
	}
	return out
}

// cross returns the entries that take what an entry of a and one of b both take.
func cross(a, b []entry) []entry {
	var out []entry
	for _, x := range a {
		for _, y := range b {
			if (x.value^y.value)&x.mask&y.mask == 0 {
				out = append(out, entry{value: x.value | y.value, mask: x.mask | y.mask})
			}
		}
	}
	return out
}

// disjoint returns entries that take the same values as list, and no value twice.
func disjoint(list []entry) []entry {
	var out []entry
	for _, e := range list {
		rest := []entry{e}
		for _, taken := range out {
			var next []entry
			for _, r := range rest {
				next = append(next, subtract(r, taken)...)
			}
			rest = next
		}
		out = append(out, rest...)
	}
	return out
}

// subtract returns disjoint entries that take what a takes and b does not.
func subtract(a, b entry) []entry {
	if (a.value^b.value)&a.mask&b.mask != 0 {
		return []entry{a}
	}
	var out []entry
	for rest := b.mask &^ a.mask; rest != 0; rest &= rest - 1 {
		bit := rest & -rest
		out = append(out, entry{value: a.value | ^b.value&bit, mask: a.mask | bit})
		a.value, a.mask = a.value|b.value&bit, a.mask|bit
	}
	return out
}

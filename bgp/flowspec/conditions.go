package flowspec

import "slices"

// tests is the match of one rule, ready to be held against fields.
type tests struct {
	need     uint8
	goesOn   bool // rules after it are evaluated too
	masked   bool // a prefix has an offset
	src, dst pattern
	list     []test
}

// test is one component.
type test struct {
	kind  ComponentType
	first span    // of numbers: the values taken, the first range of them
	more  []span  // and the others, ascending
	bits  *bitSet // of bitmasks: the values taken
}

// span is the values from lo to lo+size.
type span struct{ lo, size uint32 }

func newTests(r *Rule) tests {
	t := tests{goesOn: r.continues()}
	for i := range r.Match.Components {
		c := &r.Match.Components[i]
		t.need |= c.Type.need()
		switch {
		case c.Type == DestinationPrefix:
			t.dst = patternOf(c)
			t.masked = t.masked || c.Offset != 0
		case c.Type == SourcePrefix:
			t.src = patternOf(c)
			t.masked = t.masked || c.Offset != 0
		default:
			t.list = append(t.list, newTest(c))
		}
	}
	return t
}

func newTest(c *Component) test {
	t := test{kind: c.Type, first: span{lo: 1<<32 - 1}} // nothing
	if c.Type.bitmask() {
		t.bits = c.maskSet()
		return t
	}
	for i, r := range appendSpans(nil, c.Ops, c.Type.most()) {
		s := span{lo: uint32(r.Lo), size: uint32(r.Hi - r.Lo)}
		if i == 0 {
			t.first = s
		} else {
			t.more = append(t.more, s)
		}
	}
	return t
}

// hold reports whether the packet matches.
func (t *tests) hold(f *fields) bool {
	if !t.holdAddresses(f) {
		return false
	}
	for i := range t.list {
		switch x := &t.list[i]; {
		case x.bits != nil:
			if !x.bits.has(f.values[x.kind]) {
				return false
			}
		case x.kind == Port:
			if !x.takes(f.values[SourcePort]) && !x.takes(f.values[DestinationPort]) {
				return false
			}
		default:
			if !x.takes(f.values[x.kind]) {
				return false
			}
		}
	}
	return true
}

// holdAddresses reports whether the packet's addresses match, and whether it has all fields that are looked at.
func (t *tests) holdAddresses(f *fields) bool {
	return t.need&^f.has == 0 && t.dst.holds(f.dst) && t.src.holds(f.src)
}

// takes reports whether v is among the values.
func (x *test) takes(v uint32) bool {
	if v-x.first.lo <= x.first.size {
		return true
	}
	return len(x.more) > 0 && slices.ContainsFunc(x.more, func(s span) bool { return v-s.lo <= s.size })
}

// bitSet is a set of values of a bitmask, below 4096.
type bitSet [1 << 6]uint64

func (b *bitSet) has(v uint32) bool { return b[v/64%64]>>(v%64)&1 != 0 }

// maskSet returns the values that a list of bitmask operators takes.
func (c *Component) maskSet() *bitSet {
	var named uint64 // other bits make no difference
	for _, op := range c.Ops {
		named |= op.Value
	}
	out := new(bitSet)
	for v := range uint32(c.Type.most()) + 1 {
		like := v & uint32(named)
		if like != v && out.has(like) || like == v && c.mask(uint64(v)) {
			out[v/64] |= 1 << (v % 64)
		}
	}
	return out
}

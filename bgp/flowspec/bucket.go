package flowspec

import (
	"math/bits"
	"net/netip"
	"slices"
)

// Bounds of a bucket: what keeps its tables small.
const (
	bucketRules = 1024 // in one bucket
	bucketSpans = 4096 // of one type, in one bucket
	eachRules   = 4    // at most so many rules are tried one by one
)

// bucket is consecutive rules with the same destination, or without one.
type bucket struct {
	first, end int     // numbers of its rules in the RuleSet
	next       *bucket // where to go on
	words      int     // of a set of its rules
	tables     []table // nil: the rules are few, and tried one by one
}

// buckets links the rules from number first until before number end, and then next.
func (c *Compiled) buckets(first, end int, next *bucket) *bucket {
	if first == end {
		return next
	}
	until := first
	var spans [FlowLabel + 1]int
	for fits := true; fits && until < end && until-first < bucketRules; {
		for i := range c.set.rules[until].Match.Components {
			k := &c.set.rules[until].Match.Components[i]
			spans[k.Type] += len(k.Ops)
			fits = fits && spans[k.Type] <= bucketSpans
		}
		if fits || until == first {
			until++
		}
	}
	b := &bucket{first: first, end: until, next: c.buckets(until, end, next), words: (until - first + 63) / 64}
	if until-first > eachRules {
		b.tables = c.tables(first, until)
	}
	return b
}

// table holds, for each value of one field, the set of rules of a bucket that do not exclude it.
type table struct {
	kind  ComponentType
	need  uint8
	spans addressSpans  // of SourcePrefix: span to row
	block []uint16      // of others: value>>8 to its block
	rows  [][256]uint16 // blocks: value&255 to row
	sets  []uint64      // row after row; row 0 is for packets without the field: the rules that do not look at it
}

// tables makes the tables of all types that the rules from number first until before number end look at. A table is
// there although it may exclude no rule, so that tables are not nil.
func (c *Compiled) tables(first, end int) []table {
	out := []table{}
	for t := IPProtocol; t <= FlowLabel+1; t++ {
		t := t
		if t > FlowLabel {
			t = SourcePrefix // the slowest: last, when there may be nothing left to look for
		}
		components := make([]*Component, end-first)
		found := false
		for i := range components {
			m := &c.set.rules[first+i].Match
			for k := range m.Components {
				if x := &m.Components[k]; x.Type == t && !(t == SourcePrefix && x.Offset != 0) { // holdAddresses sees to offsets
					components[i], found = x, true
				}
			}
		}
		if found {
			out = append(out, newTable(t, components))
		}
	}
	return out
}

// newTable makes the table of type t for rules with these components, nil for those that have none.
func newTable(t ComponentType, components []*Component) table {
	x := table{kind: t, need: t.need()}
	words := (len(components) + 63) / 64
	switch {
	case t == SourcePrefix:
		x.addresses(components, words)
	case t.bitmask():
		x.masks(components, words)
	default:
		x.numbers(components, words)
	}
	for i, c := range components {
		if c == nil {
			for at := i / 64; at < len(x.sets); at += words {
				x.sets[at] |= 1 << (i % 64)
			}
		}
	}
	return x
}

func (x *table) addresses(components []*Component, words int) {
	var prefixes []netip.Prefix
	for _, c := range components {
		if c != nil {
			prefixes = append(prefixes, c.Prefix)
		}
	}
	slices.SortFunc(prefixes, comparePlain)
	x.spans, _, _ = spread(slices.Compact(prefixes))
	x.sets = make([]uint64, (x.spans.len()+1)*words)
	for i, c := range components {
		if c == nil {
			continue
		}
		p := patternOf(c)
		begin := x.spans.find(p.value)
		for k := begin; k < x.spans.len() && p.holds(x.spans.start(k)); k++ {
			x.sets[(k+1)*words+i/64] |= 1 << (i % 64)
		}
	}
}

func (x *table) masks(components []*Component, words int) {
	n := int(x.kind.most()) + 1
	x.sets = make([]uint64, (n+1)*words)
	for i, c := range components {
		if c == nil {
			continue
		}
		taken := c.maskSet()
		for v := range n {
			if taken.has(uint32(v)) {
				x.sets[(v+1)*words+i/64] |= 1 << (i % 64)
			}
		}
	}
	starts := make([]uint64, n)
	for v := range starts {
		starts[v] = uint64(v)
	}
	x.index(starts)
}

func (x *table) numbers(components []*Component, words int) {
	spans := make([][]Range, len(components))
	starts := []uint64{0}
	for i, c := range components {
		if c == nil {
			continue
		}
		spans[i] = appendSpans(nil, c.Ops, x.kind.most())
		for _, r := range spans[i] {
			starts = append(starts, r.Lo, r.Hi+1)
		}
	}
	slices.Sort(starts)
	starts = slices.Compact(starts)
	x.sets = make([]uint64, (len(starts)+1)*words)
	for i := range components {
		for _, r := range spans[i] {
			k, _ := slices.BinarySearch(starts, r.Lo)
			for ; k < len(starts) && starts[k] <= r.Hi; k++ {
				x.sets[(k+1)*words+i/64] |= 1 << (i % 64)
			}
		}
	}
	x.index(starts)
}

// index makes the two levels that lead from a value to its row: row 1 is for the values from starts[0], which is 0,
// row 2 for those from starts[1], and so on. Neighbouring blocks that are the same are kept once.
func (x *table) index(starts []uint64) {
	k, last := 0, -1 // last: the row of all values of the block before, -1 if they have several
	for base := uint64(0); base <= x.kind.most(); base += 256 {
		for k+1 < len(starts) && starts[k+1] <= base {
			k++
		}
		one := k+1 == len(starts) || starts[k+1] > base+255
		if !one || last != k {
			var b [256]uint16
			at := k
			for i := range b {
				for at+1 < len(starts) && starts[at+1] <= base+uint64(i) {
					at++
				}
				b[i] = uint16(at + 1)
			}
			x.rows = append(x.rows, b)
		}
		if last = -1; one {
			last = k
		}
		x.block = append(x.block, uint16(len(x.rows)-1))
	}
}

// row returns the row of value v.
func (x *table) row(v uint32) int { return int(x.rows[x.block[v>>8]][v&255]) }

// hits sets the bits of the rules that match and reports whether there are any. Rules with an offset are looked at
// again, by holdAddresses.
func (b *bucket) hits(f *fields, hits []uint64) bool {
	for i := range hits {
		hits[i] = ^uint64(0)
	}
	hits[len(hits)-1] >>= (64 - (b.end-b.first)%64) % 64
	n := len(hits)
	for i := range b.tables {
		t := &b.tables[i]
		at, also := 0, 0
		switch {
		case t.need&^f.has != 0: // row 0
		case t.kind == SourcePrefix:
			at = t.spans.find(f.src) + 1
		case t.kind == Port:
			at, also = t.row(f.values[SourcePort]), t.row(f.values[DestinationPort])
		default:
			at = t.row(f.values[t.kind])
		}
		set := t.sets[at*n : at*n+n]
		left := uint64(0)
		if also != 0 {
			other := t.sets[also*n : also*n+n]
			for w := range hits {
				hits[w] &= set[w] | other[w]
				left |= hits[w]
			}
		} else {
			for w := range hits {
				hits[w] &= set[w]
				left |= hits[w]
			}
		}
		if left == 0 {
			return false
		}
	}
	return true
}

// addressSpans cuts the addresses into spans, each beginning at its start and ending before the next.
type addressSpans struct {
	hi, lo []uint64 // of the starts, ascending; the first is 0
	wide   bool     // a lo is not 0
}

func (s *addressSpans) len() int { return len(s.hi) }

func (s *addressSpans) start(i int) address { return address{s.hi[i], s.lo[i]} }

func (s *addressSpans) add(a address) {
	s.hi, s.lo = append(s.hi, a.hi), append(s.lo, a.lo)
	s.wide = s.wide || a.lo != 0
}

// find returns the span that a is in: the last that does not start after a. The halves are chosen without a branch,
// which no processor could foresee.
func (s *addressSpans) find(a address) int {
	at, n := 0, len(s.hi)
	if !s.wide {
		for n > 1 {
			half := n / 2
			_, after := bits.Sub64(a.hi, s.hi[at+half], 0)
			at += half &^ -int(after)
			n -= half
		}
		return at
	}
	for n > 1 {
		half := n / 2
		_, after := bits.Sub64(a.lo, s.lo[at+half], 0)
		_, after = bits.Sub64(a.hi, s.hi[at+half], after)
		at += half &^ -int(after)
		n -= half
	}
	return at
}

// comparePlain orders prefixes by address, the shorter of two with one address first.
func comparePlain(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return a.Bits() - b.Bits()
}

// spread lays prefixes of one family, none twice, side by side. It returns spans such that all addresses of one are in
// the same prefixes, for each span the longest of them (its number in prefixes, -1 for none), and for each prefix the
// next shorter one around it (-1 for none).
func spread(prefixes []netip.Prefix) (spans addressSpans, owner, parent []int) {
	sorted := make([]int, len(prefixes))
	for i := range sorted {
		sorted[i] = i
	}
	slices.SortFunc(sorted, func(a, b int) int { return comparePlain(prefixes[a], prefixes[b]) })
	parent = make([]int, len(prefixes))
	begin := func(at address, of int) { // a span of prefix number of
		if n := spans.len(); n > 0 && spans.start(n-1) == at {
			owner[n-1] = of
			return
		}
		spans.add(at)
		owner = append(owner, of)
	}
	begin(address{}, -1)
	var open []int // the prefixes around, longest last
	closeOne := func() {
		p := prefixes[open[len(open)-1]]
		open = open[:len(open)-1]
		around := -1
		if len(open) > 0 {
			around = open[len(open)-1]
		}
		if after, ok := afterPrefix(p); ok {
			begin(after, around)
		}
	}
	for _, i := range sorted {
		for len(open) > 0 && !prefixes[open[len(open)-1]].Contains(prefixes[i].Addr()) {
			closeOne()
		}
		parent[i] = -1
		if len(open) > 0 {
			parent[i] = open[len(open)-1]
		}
		begin(addressOf(prefixes[i].Addr()), i)
		open = append(open, i)
	}
	for len(open) > 0 {
		closeOne()
	}
	return spans, owner, parent
}

// afterPrefix returns the address after the last of p, and whether there is one.
func afterPrefix(p netip.Prefix) (address, bool) {
	a, mask := addressOf(p.Addr()), addressMask(0, p.Bits())
	if p.Bits() == 0 {
		return address{}, false
	}
	if p.Bits() <= 64 {
		a.hi += mask.hi & -mask.hi
		return a, a.hi != 0
	}
	lo, carry := bits.Add64(a.lo, mask.lo&-mask.lo, 0)
	hi, over := bits.Add64(a.hi, 0, carry)
	return address{hi, lo}, over == 0
}

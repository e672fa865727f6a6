package policy

import (
	"math"
	"math/bits"
	"net/netip"
	"slices"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// mark is something that happens at a prefix when a walk comes down through the address space.
type mark struct {
	at   netip.Prefix
	kind markKind
	mine bool      // markWanted: whether the space around it belongs to the customer
	ex   Exemption // markOther, markProtected: what to report
}

// markKind is the kind of a mark; of several at one prefix the lower one is met first.
type markKind uint8

const (
	markWanted    markKind = iota // from here on space is asked for
	markMine                      // from here on space belongs to the customer
	markOther                     // from here on space belongs to another customer
	markProtected                 // nothing from here on is acted on
)

func compareMark(a, b mark) int {
	if c := comparePrefix(a.at, b.at); c != 0 {
		return c
	}
	return int(a.kind) - int(b.kind)
}

// walker finds the space that is wanted, the customer's, and not protected, as the fewest CIDRs.
type walker struct {
	pieces []netip.Prefix
	exempt []Exemption
}

// run walks over all marks; it sorts them.
func (w *walker) run(marks []mark) {
	if len(marks) == 0 {
		return
	}
	slices.SortFunc(marks, compareMark)
	root := commonPrefix(marks)
	if w.walk(root, marks, false, false) {
		w.pieces = append(w.pieces, root)
	}
}

// walk appends to w.pieces what is to be acted on inside p, unless that is all of p: then it appends nothing and
// returns true, so that two halves can become one piece. marks are those at or inside p.
func (w *walker) walk(p netip.Prefix, marks []mark, wanted, mine bool) bool {
	for len(marks) > 0 && marks[0].at == p {
		m := marks[0]
		switch m.kind {
		case markWanted:
			wanted, mine = true, m.mine
		case markMine:
			mine = true
		case markOther:
			if wanted && mine {
				w.exempt = append(w.exempt, m.ex)
			}
			mine = false
		case markProtected:
			w.exemptAt(p, marks, wanted, mine)
			return false
		}
		marks = marks[1:]
	}
	if len(marks) == 0 {
		return wanted && mine
	}
	if !wanted || !mine {
		// Nothing is found on the way to the next mark, so the levels in between need no visit.
		if next := commonPrefix(marks); next != p {
			if w.walk(next, marks, wanted, mine) {
				w.pieces = append(w.pieces, next)
			}
			return false
		}
	}
	return w.split(p, marks, wanted, mine)
}

// split is walk for the two halves of p, with marks inside of them.
func (w *walker) split(p netip.Prefix, marks []mark, wanted, mine bool) bool {
	low, high := halves(p)
	i, _ := slices.BinarySearchFunc(marks, high.Addr(), func(m mark, a netip.Addr) int { return m.at.Addr().Compare(a) })
	before := len(w.pieces)
	fullLow := w.walk(low, marks[:i], wanted, mine)
	if fullLow {
		w.pieces = append(w.pieces, low)
	}
	fullHigh := w.walk(high, marks[i:], wanted, mine)
	if fullLow && fullHigh {
		w.pieces = w.pieces[:before]
		return true
	}
	if fullHigh {
		w.pieces = append(w.pieces, high)
	}
	return false
}

// exemptAt reports the protected prefixes at p, the first of marks among them, if they take something away: the
// space is the customer's, or some of it is.
func (w *walker) exemptAt(p netip.Prefix, marks []mark, wanted, mine bool) {
	if !wanted || !mine && !slices.ContainsFunc(marks, func(m mark) bool { return m.kind == markMine }) {
		return
	}
	for _, m := range marks {
		if m.at == p && m.kind == markProtected {
			w.exempt = append(w.exempt, m.ex)
		}
	}
}

// commonPrefix returns the longest prefix that all marks, sorted, lie in.
func commonPrefix(marks []mark) netip.Prefix {
	first, last := marks[0].at, marks[len(marks)-1].at
	n := min(first.Bits(), commonBits(first.Addr(), last.Addr()))
	p, _ := first.Addr().Prefix(n) // n is never beyond the address
	return p
}

// commonBits returns how many leading bits a and b, of one family, have in common.
func commonBits(a, b netip.Addr) int {
	if a.Is4() {
		x, y := a.As4(), b.As4()
		for i := range x {
			if d := x[i] ^ y[i]; d != 0 {
				return i*8 + bits.LeadingZeros8(d)
			}
		}
		return 32
	}
	x, y := a.As16(), b.As16()
	for i := range x {
		if d := x[i] ^ y[i]; d != 0 {
			return i*8 + bits.LeadingZeros8(d)
		}
	}
	return 128
}

// halves returns the two prefixes that make up p, which is not a single address.
func halves(p netip.Prefix) (low, high netip.Prefix) {
	n := p.Bits()
	low = netip.PrefixFrom(p.Addr(), n+1)
	if p.Addr().Is4() {
		a := p.Addr().As4()
		a[n/8] |= 0x80 >> (n % 8)
		return low, netip.PrefixFrom(netip.AddrFrom4(a), n+1)
	}
	a := p.Addr().As16()
	a[n/8] |= 0x80 >> (n % 8)
	return low, netip.PrefixFrom(netip.AddrFrom16(a), n+1)
}

// inside reports whether p lies in outer or is equal to it.
func inside(p, outer netip.Prefix) bool {
	return p.Bits() >= outer.Bits() && outer.Contains(p.Addr())
}

// outermost returns ps sorted and without those that lie inside another one. It does not change ps.
func outermost(ps []netip.Prefix) []netip.Prefix {
	ps = sortedSet(ps, comparePrefix)
	for i := 1; i < len(ps); i++ {
		if inside(ps[i], ps[i-1]) {
			return dropInner(ps)
		}
	}
	return ps
}

func dropInner(ps []netip.Prefix) []netip.Prefix {
	out := ps[:1:1]
	for _, p := range ps[1:] {
		if !inside(p, out[len(out)-1]) {
			out = append(out, p)
		}
	}
	return out
}

// holding returns the prefix of ps, sorted and none inside another, that p lies in.
func holding(ps []netip.Prefix, p netip.Prefix) (netip.Prefix, bool) {
	i, found := slices.BinarySearchFunc(ps, p, comparePrefix)
	if found {
		return ps[i], true
	}
	if i > 0 && inside(p, ps[i-1]) {
		return ps[i-1], true
	}
	return netip.Prefix{}, false
}

// covered reports whether every one of inner lies in one of outer. Outer is sorted, none inside another. If both are
// the fewest CIDRs of their spaces, that is whether the one space lies in the other.
func covered(inner, outer []netip.Prefix) bool {
	for _, p := range inner {
		if _, ok := holding(outer, p); !ok {
			return false
		}
	}
	return true
}

// intersect returns the space that is in both a and b, each the fewest CIDRs of its space; the result is, too.
func intersect(a, b []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for i, j := 0, 0; i < len(a) && j < len(b); {
		switch {
		case inside(a[i], b[j]):
			out = append(out, a[i])
			i++
		case inside(b[j], a[i]):
			out = append(out, b[j])
			j++
		case comparePrefix(a[i], b[j]) < 0:
			i++
		default:
			j++
		}
	}
	return out
}

// subtract returns the space of a that is not in b, as the fewest CIDRs. Both are of one family.
func subtract(a, b []netip.Prefix) []netip.Prefix {
	marks := make([]mark, 0, len(a)+len(b))
	for _, p := range outermost(a) {
		marks = append(marks, mark{at: p, kind: markWanted, mine: true})
	}
	for _, p := range b {
		marks = append(marks, mark{at: p, kind: markProtected})
	}
	var w walker
	w.run(marks)
	return w.pieces
}

// sizeOf returns how much of its family's space the prefixes hold, as a share between 0 and 1.
func sizeOf(ps []netip.Prefix) float64 {
	total := 0.0
	for _, p := range ps {
		total += math.Ldexp(1, -p.Bits())
	}
	return total
}

// familyOf returns the family of p.
func familyOf(p netip.Prefix) flowspec.Family {
	if p.Addr().Is4() {
		return flowspec.IPv4
	}
	return flowspec.IPv6
}

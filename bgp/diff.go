package bgp

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// A Set is always whole, and mostly almost the one before: with a thousand rules active an attack adds one. What is
// unchanged is recognised by its memory, since whoever makes a Set from the one before copies its routes and shares
// what they point to. Two Sets are so compared by reading both slices once, in order, and nothing that lies behind
// them; a Set that shares nothing is only slower.

// hunk is a place where two Sets differ: the routes before[from:to] of the old one became after[from:to] of the new one.
type hunk struct{ before, after extent }

type extent struct{ from, to int }

// fewChanges is how many routes may differ for the way of small changes to be worth it.
const fewChanges = 64

// difference is what happened between two Sets.
type difference struct {
	from, to *wanted.Set
	hunks    []hunk
	ordered  bool // the routes of to are in order of key
}

// diff finds where a and b differ, or reports false when they differ in more than a few routes. What lies between the
// hunks is the same in both, whatever their order; if both are in order of key, the hunks are small. Routes are the same
// if they are one value in memory: those that are merely equal are looked at as if they had changed.
func diff(a, b []*wanted.Route) ([]hunk, bool) {
	var hunks []hunk
	changed := 0
	for i, j := 0, 0; ; {
		for i < len(a) && j < len(b) && a[i] == b[j] {
			i, j = i+1, j+1
		}
		if i == len(a) && j == len(b) {
			return hunks, true
		}
		h := hunk{before: extent{i, i}, after: extent{j, j}}
		for (i < len(a) || j < len(b)) && (i == len(a) || j == len(b) || a[i] != b[j]) {
			order := lower(a[i:], b[j:])
			if order <= 0 {
				i++
			}
			if order >= 0 {
				j++
			}
			if changed++; changed > fewChanges {
				return nil, false
			}
		}
		h.before.to, h.after.to = i, j
		hunks = append(hunks, h)
	}
}

// lower compares the keys of the first of a and the first of b; what is missing comes last. Not both may be empty.
func lower(a, b []*wanted.Route) int {
	switch {
	case len(a) == 0:
		return 1
	case len(b) == 0:
		return -1
	}
	return cmp.Compare(a[0].Key, b[0].Key)
}

// sameMemory reports whether a and b are one slice.
func sameMemory[T any](a, b []T) bool { return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) }

// samePrefixes is slices.Equal, quicker for one slice.
func samePrefixes(a, b []netip.Prefix) bool { return sameMemory(a, b) || slices.Equal(a, b) }

// checkKeys refuses routes of which two give one group the same key: nobody could say which action it should hear. It
// reports whether they are in order of key.
func checkKeys(routes []*wanted.Route) (ordered bool, err error) {
	if ordered, err = checkOrder(routes, extent{0, len(routes)}); ordered || err != nil {
		return ordered, err
	}
	type claim struct {
		key   flowspec.Key
		group string
	}
	claims := make(map[claim]int, len(routes))
	for i := range routes {
		k := routes[i].Key
		for _, g := range routes[i].Groups {
			if other, taken := claims[claim{k, g}]; taken && other != i {
				return false, twice(routes, other, i, g)
			}
			claims[claim{k, g}] = i
		}
	}
	return false, nil
}

// checkOrder is checkKeys of routes that are in order, or else reports false. It looks only at those within the extent and
// at those around it whose place or key may clash with theirs.
func checkOrder(routes []*wanted.Route, within extent) (ordered bool, err error) {
	for i := max(1, within.from); i < len(routes); i++ {
		switch order := cmp.Compare(routes[i-1].Key, routes[i].Key); {
		case order > 0:
			return false, nil
		case order < 0 && i >= within.to:
			return true, nil
		case order < 0:
			continue
		}
		for k := i - 1; k >= 0 && routes[k].Key == routes[i].Key; k-- {
			for _, g := range routes[i].Groups {
				if slices.Contains(routes[k].Groups, g) {
					return false, twice(routes, k, i, g)
				}
			}
		}
	}
	return true, nil
}

func twice(routes []*wanted.Route, first, second int, group string) error {
	return fmt.Errorf("cannot use route %d: route %d has the same key %q for group %q: %w",
		second, first, routes[second].Key, group, ErrInvalidSet)
}

// checkChange is checkSet of a Set that comes after one that was checked, whose difference may be nil. What is the same
// in both is not looked at again.
func checkChange(last *difference, w *wanted.Set) (*difference, error) {
	d := &difference{to: w}
	var before wanted.Set
	if last != nil {
		d.from, before = last.to, *last.to
	}
	if err := checkRouters(w.Routers); err != nil {
		return nil, err
	}
	for _, list := range [...]struct{ before, now []netip.Prefix }{{before.Official, w.Official}, {before.Protected, w.Protected}} {
		if sameMemory(list.before, list.now) {
			continue
		}
		if p, ok := prefixesUsable(list.now); !ok {
			return nil, fmt.Errorf("cannot use prefix %q: %w", p, ErrInvalidSet)
		}
	}
	if i := slices.Index(w.Routes, nil); i >= 0 {
		return nil, fmt.Errorf("cannot use route %d: it is nil: %w", i, ErrInvalidSet)
	}
	if s := w.ShortestRTBH; s.IPv4 > 32 || s.IPv6 > 128 {
		return nil, fmt.Errorf("cannot use RTBH prefixes of /%d and /%d at least: %w", s.IPv4, s.IPv6, ErrInvalidSet)
	}
	if last != nil && last.ordered {
		var few bool
		if d.hunks, few = diff(before.Routes, w.Routes); few {
			ordered, err := checkHunks(w.Routes, d.hunks)
			if err != nil {
				return nil, err
			}
			if d.ordered = ordered; ordered {
				return d, nil
			}
		}
	}
	d.from, d.hunks = nil, nil
	var err error
	d.ordered, err = checkKeys(w.Routes)
	return d, err
}

func checkHunks(routes []*wanted.Route, hunks []hunk) (ordered bool, err error) {
	for _, h := range hunks {
		if ordered, err = checkOrder(routes, h.after); !ordered {
			return false, err
		}
	}
	return true, nil
}

// change makes verdicts and sorted those of the Set that d leads to, from those of the Set that it comes from. The guard
// is the one of before.
func (b *board) change(d *difference) {
	verdicts := make([]*judged, 0, len(d.to.Routes))
	var removed, added []*judged
	at, lost := 0, false
	for _, h := range d.hunks {
		verdicts = append(verdicts, b.verdicts[at:h.before.from]...)
		old, first := b.verdicts[h.before.from:h.before.to], len(verdicts)
		for i := h.after.from; i < h.after.to; i++ {
			verdicts = append(verdicts, b.verdict(d.to.Routes[i], old))
			b.first = min(b.first, d.to.Routes[i].NotAfter)
		}
		for _, j := range old {
			if !slices.Contains(verdicts[first:], j) {
				removed = append(removed, j)
				lost = lost || j.route.NotAfter <= b.first
			}
		}
		for _, j := range verdicts[first:] {
			if !slices.Contains(old, j) {
				added = append(added, j)
			}
		}
		at = h.before.to
	}
	// New slices each time: Status reads the verdicts before, and plans the order before.
	b.verdicts = append(verdicts, b.verdicts[at:]...)
	if lost { // the route that ended first is gone
		b.first = firstEnd(d.to.Routes)
	}
	b.removed, b.added = allowed(removed), allowed(added)
	if len(b.removed)+len(b.added) > 0 {
		b.sorted = resort(b.sorted, b.removed, b.added)
	}
}

// allowed leaves out what is refused.
func allowed(js []*judged) []*judged {
	return slices.DeleteFunc(js, func(j *judged) bool { return j.refusal != nil })
}

// resort returns a copy of sorted without the removed ones and with the added ones in their places.
func resort(sorted, removed, added []*judged) []*judged {
	out := make([]*judged, len(sorted), len(sorted)+len(added))
	copy(out, sorted)
	for _, j := range removed {
		i, _ := slices.BinarySearchFunc(out, j, mostUrgent)
		for out[i] != j { // others of the same key, for other groups
			i++
		}
		out = slices.Delete(out, i, i+1)
	}
	for _, j := range added {
		i, _ := slices.BinarySearchFunc(out, j, mostUrgent)
		out = slices.Insert(out, i, j)
	}
	return out
}

// mostUrgent is the order in which rules are announced. Of one key for several groups no router hears two.
func mostUrgent(a, b *judged) int {
	if o := cmp.Or(cmp.Compare(b.route.Urgency, a.route.Urgency), cmp.Compare(a.route.Key, b.route.Key)); o != 0 || a == b {
		return o
	}
	return slices.Compare(a.route.Groups, b.route.Groups)
}

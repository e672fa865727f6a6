package flowspec

import (
	"cmp"
	"slices"
)

// appendSpans appends the values from 0 to most that a list of numeric operators takes (RFC 8955 section 4.2.1.1):
// sorted ranges that neither overlap nor touch.
func appendSpans(to []Range, ops []Op, most uint64) []Range {
	begin := len(to)
	for i := 0; i < len(ops); {
		group := len(to)
		to = append(to, Range{Hi: most})
		to = ops[i].narrow(to, group)
		for i++; i < len(ops) && ops[i].Flags&And != 0; i++ {
			to = ops[i].narrow(to, group)
		}
	}
	return joinSpans(to, begin)
}

// narrow leaves of the ranges in to[from:] what the operator takes.
func (o Op) narrow(to []Range, from int) []Range {
	const top = 1<<64 - 1
	less, same, more := o.Flags&LT != 0, o.Flags&EQ != 0, o.Flags&GT != 0
	switch {
	case less && more && same:
		return to
	case less && more:
		return except(to, from, o.Value)
	case more && same:
		return clip(to, from, Range{Lo: o.Value, Hi: top})
	case more:
		return clip(to, from, Range{Lo: o.Value + 1, Hi: top})
	case less && same:
		return clip(to, from, Range{Hi: o.Value})
	case less && o.Value > 0:
		return clip(to, from, Range{Hi: o.Value - 1})
	case same:
		return clip(to, from, One(o.Value))
	}
	return to[:from]
}

// except takes v out of the ranges in to[from:].
func except(to []Range, from int, v uint64) []Range {
	for i := from; i < len(to); i++ {
		r := to[i]
		if v < r.Lo || v > r.Hi {
			continue
		}
		to = slices.Delete(to, i, i+1)
		if r.Lo < v {
			to = append(to, Range{r.Lo, v - 1})
		}
		if v < r.Hi {
			to = append(to, Range{v + 1, r.Hi})
		}
		return to
	}
	return to
}

// clip leaves of the ranges in to[from:] what is in keep.
func clip(to []Range, from int, keep Range) []Range {
	n := from
	for _, r := range to[from:] {
		if r.Lo, r.Hi = max(r.Lo, keep.Lo), min(r.Hi, keep.Hi); r.Lo <= r.Hi {
			to[n] = r
			n++
		}
	}
	return to[:n]
}

// joinSpans sorts the ranges in to[from:] and joins those that overlap or touch.
func joinSpans(to []Range, from int) []Range {
	all := to[from:]
	if len(all) < 2 {
		return to
	}
	slices.SortFunc(all, func(a, b Range) int { return cmp.Compare(a.Lo, b.Lo) })
	n := 0
	for _, r := range all[1:] {
		if last := &all[n]; r.Lo <= last.Hi || r.Lo-last.Hi == 1 {
			last.Hi = max(last.Hi, r.Hi)
		} else {
			n++
			all[n] = r
		}
	}
	return to[:from+n+1]
}

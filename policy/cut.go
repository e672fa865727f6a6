package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Bounds of rounding: what a decision may leave unprotected, so that it is still the protection that was asked for,
// and how long the list of it may get, because it is recorded with the mitigation.
const (
	maxRoundedShare = 0.25
	maxUnprotected  = 1024
)

// CutTarget returns what a mitigation for customer c may act on: the targets inside c's official space, without
// nested customers and without protected space, as the fewest CIDRs. The result is never wider than that.
//
// Beyond sg.MaxPieces holes are rounded outward. A link that names its block needs no rounding: the block is
// protected itself, so the hole is the block from the start. Other holes grow until the pieces are few enough: the
// smallest pieces are given up, which are those next to the holes. Every CIDR that fits into the space lies in one
// of the fewest CIDRs, so keeping the largest of them keeps as much as any choice of that many could. What is given
// up is listed in Unprotected.
//
// The reason is zero if the cut is fine, else CodeNothingLeft (the Cut still lists what was exempt) or
// CodeTooManyPieces (more than a quarter would be given up). A nil sg stands for those of s.
func CutTarget(s *State, c CustomerID, targets []netip.Prefix, sg *Safeguards) (Cut, Reason) {
	if sg == nil {
		sg = s.Safeguards()
	}
	cut := carve(s, c, outermost(targets))
	switch n := len(cut.Pieces); {
	case n == 0:
		return cut, Reason{CodeNothingLeft, fmt.Sprintf("nothing of %s remains for customer %s: exempt are %s; name other targets, for what is exempt is never acted on",
			prefixList(targets), c, exemptList(cut.Exempt))}
	case n <= sg.MaxPieces:
		return cut, Reason{}
	}
	all := cut.Pieces
	kept, given := largest(all, sg.MaxPieces)
	share := sizeOf(given) / sizeOf(all)
	if share > maxRoundedShare || len(given) > maxUnprotected {
		return cut, Reason{CodeTooManyPieces, fmt.Sprintf("%s of customer %s falls into %s around %s, "+
			"at most %d %s permitted, and the %d largest would leave %.0f %% of it unprotected (at most %.0f %%): "+
			"name narrower targets", prefixList(targets), c, plural(len(all), "piece"), plural(len(cut.Exempt), "exempt part"), sg.MaxPieces, choose(sg.MaxPieces, "is", "are"), len(kept),
			share*100, maxRoundedShare*100)}
	}
	cut.Pieces, cut.Unprotected, cut.Rounded = kept, given, true
	return cut, Reason{}
}

// carve cuts without a budget. Targets are sorted, none inside another, of one family.
func carve(s *State, c CustomerID, targets []netip.Prefix) Cut {
	var stack [8]mark
	marks := stack[:0]
	for _, t := range targets {
		_, owner, ok := s.Owner(t)
		marks = append(marks, mark{at: t, kind: markWanted, mine: ok && owner.ID == c})
		var last netip.Prefix
		for p := range s.OfficialInside(t) {
			if p == last { // of several customers with one prefix Owner knows whose it is
				continue
			}
			last = p
			if _, owner, _ := s.Owner(p); owner.ID == c {
				marks = append(marks, mark{at: p, kind: markMine})
			} else {
				marks = append(marks, mark{at: p, kind: markOther, ex: Exemption{p, ExemptNested, string(owner.ID)}})
			}
		}
		for _, ex := range s.ProtectedOverlapping(t) {
			at := ex.Prefix
			if at.Bits() < t.Bits() {
				at = t
			}
			marks = append(marks, mark{at: at, kind: markProtected, ex: ex})
		}
	}
	var w walker
	w.run(marks)
	w.exempt = sortedSet(w.exempt, compareExemptions)
	return Cut{Pieces: w.pieces, Exempt: w.exempt}
}

// largest splits pieces, sorted, into the n largest and the others, both sorted. Of equal ones the lower address
// is kept.
func largest(pieces []netip.Prefix, n int) (kept, given []netip.Prefix) {
	if n < 0 {
		n = 0
	}
	if len(pieces) <= n {
		return pieces, nil
	}
	bySize := slices.Clone(pieces)
	slices.SortStableFunc(bySize, func(a, b netip.Prefix) int { return cmp.Compare(a.Bits(), b.Bits()) })
	kept, given = slices.Clone(bySize[:n]), bySize[n:]
	slices.SortFunc(kept, comparePrefix)
	slices.SortFunc(given, comparePrefix)
	return kept, given
}

// recut cuts an active mitigation again under s. The result lies inside the old pieces, whatever was removed from
// protection since: protection removed never widens a mitigation. What could be acted on but is not, be it rounded
// away or never part of the mitigation, is Unprotected. At most limit pieces are kept, the largest; a mitigation
// that protects less is better than none.
func recut(s *State, m *Mitigation, limit int) Cut {
	cut := carve(s, m.Customer, m.Targets)
	pieces, given := largest(intersect(cut.Pieces, m.Cut.Pieces), limit)
	cut.Unprotected = subtract(cut.Pieces, pieces)
	cut.Pieces, cut.Rounded = pieces, m.Cut.Rounded && len(cut.Unprotected) > 0 || len(given) > 0
	return cut
}

func equalCuts(a, b *Cut) bool {
	return a.Rounded == b.Rounded && slices.Equal(a.Pieces, b.Pieces) && slices.Equal(a.Exempt, b.Exempt) &&
		slices.Equal(a.Unprotected, b.Unprotected)
}

// maxListed bounds the items that a sentence names.
const maxListed = 8

// prefixList prints prefixes for a sentence, single addresses without their length.
func prefixList(ps []netip.Prefix) string { return list(ps, prefixText) }

func exemptList(es []Exemption) string { return list(es, Exemption.text) }

// list prints at most maxListed items and says how many there are beyond.
func list[T any](items []T, text func(T) string) string {
	var b strings.Builder
	for i, v := range items {
		if i == maxListed {
			fmt.Fprintf(&b, " and %d more", len(items)-i)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(text(v))
	}
	if len(items) == 0 {
		return "none"
	}
	return b.String()
}

// prefixText prints p, a single address without its length.
func prefixText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// text returns the exemption in words, e.g. "203.0.113.4/30 (link of uni-a)".
func (e Exemption) text() string {
	switch e.Kind {
	case ExemptLink:
		return fmt.Sprintf("%s (link of %s)", e.Prefix, e.Name)
	case ExemptBlock:
		return fmt.Sprintf("%s (protected block %s)", e.Prefix, e.Name)
	case ExemptNested:
		return fmt.Sprintf("%s (customer %s)", e.Prefix, e.Name)
	case ExemptBuiltIn:
		return fmt.Sprintf("%s (%s)", e.Prefix, e.Name)
	}
	return e.Prefix.String()
}

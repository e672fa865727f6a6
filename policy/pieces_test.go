package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// surveyAll is survey by a look at each active mitigation of the customer: the twin of the index.
func surveyAll(s *State, p *plan, current *Mitigation, leaving bool) surveyed {
	var f surveyed
	for m := range s.ActiveOf(p.customer.ID) {
		if leaving && m.ID == current.ID {
			f.leaving = 1
			continue
		}
		f.active++
		if p.origin == FromPolicy && f.cover == nil && p.fits(m) {
			f.cover = m
		}
		f.shields(p, m)
	}
	return f
}

// TestPropertySurvey asks random plans in crowded worlds what they meet, and the twin the same.
func TestPropertySurvey(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 9))
		variants := surveyVariants(t)
		s := NewState()
		for i := range 40 {
			s = apply(t, s, Index(i+1), &PutMitigation{surveyMitigation(r, MitigationID(1+r.IntN(25)), variants)})
		}
		for range 60 {
			m := surveyMitigation(r, 99, variants)
			m.Phase = Active
			p := &plan{
				origin: m.Origin, policy: m.Policy, customer: &Customer{ID: m.Customer}, targets: m.Targets, variants: m.Variants,
				action: m.Action, groups: m.Groups, cut: m.Cut,
			}
			current, ok := s.Mitigation(MitigationID(1 + r.IntN(25)))
			if !ok || current.Phase != Active {
				current = nil
			}
			leaving := current != nil && r.IntN(2) == 0
			got, want := survey(s, p, current, leaving), surveyAll(s, p, current, leaving)
			same(t, fmt.Sprint("active, leaving, at, notes of ", p), fmt.Sprint(got.active, got.leaving, got.at, got.notes),
				fmt.Sprint(want.active, want.leaving, want.at, want.notes))
			same(t, "cover", got.cover, want.cover)
			same(t, "shield", got.shield, want.shield)
			var order, twinOrder *Mitigation
			for m := range s.activeAt(p.customer.ID, p.cut.Pieces[0]) {
				if order == nil && p.same(m) {
					order = m
				}
			}
			for m := range s.ActiveOf(p.customer.ID) {
				if twinOrder == nil && p.same(m) {
					twinOrder = m
				}
			}
			same(t, "identical order", order, twinOrder)
			for name, found := range map[string]bool{
				"cover": got.cover != nil, "shield": got.shield != nil, "notes": len(got.notes) > 0, "order": order != nil, "leaving": got.leaving > 0,
			} {
				if found {
					seen[name]++
				}
			}
		}
	}
	t.Logf("found: %v", seen)
	for _, name := range []string{"cover", "shield", "notes", "order", "leaving"} {
		if seen[name] < 50 {
			t.Errorf("%q was found %d times only: the test no longer looks at it", name, seen[name])
		}
	}
}

func surveyVariants(t *testing.T) [][]flowspec.Match {
	t.Helper()
	udp, err := flowspec.NewMatch(flowspec.IPv4, flowspec.Proto(17))
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := flowspec.NewMatch(flowspec.IPv4, flowspec.Proto(6))
	if err != nil {
		t.Fatal(err)
	}
	return [][]flowspec.Match{{udp}, {tcp}, {udp, tcp}, {{Family: flowspec.IPv4}}}
}

// surveyMitigation acts on a few prefixes of 203.0.113.0/29, so that plans meet often.
func surveyMitigation(r *rand.Rand, id MitigationID, variants [][]flowspec.Match) *Mitigation {
	var ps []netip.Prefix
	for range 1 + r.IntN(2) {
		ps = append(ps, netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(r.IntN(8))}), 29+r.IntN(4)).Masked())
	}
	m := &Mitigation{
		ID: id, Customer: customerID(r.IntN(2)), Origin: Origin(1 + r.IntN(2)), Phase: Active, Expires: start(),
		Targets: outermost(ps), Cut: Cut{Pieces: outermost(ps)}, Variants: variants[r.IntN(len(variants))],
		Action: Action{Kind: ActionKind(1 + r.IntN(2))}, Groups: [][]string{nil, {"edge"}, {"transit"}}[r.IntN(3)],
	}
	if m.Origin == FromPolicy {
		m.Policy = "all"
	}
	if r.IntN(5) == 0 {
		m.Phase, m.End = Over, EndExpired
	}
	return m
}

// TestPiecesInPlace: an Apply with so many changes that the index is cloned leaves the old State as it was.
func TestPiecesInPlace(t *testing.T) {
	t.Parallel()
	put := func(from, to int) (cs []Change) {
		for i := from; i < to; i++ {
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32)
			cs = append(cs, &PutMitigation{&Mitigation{ID: MitigationID(i + 1), Customer: "c", Phase: Active, Cut: Cut{Pieces: []netip.Prefix{p}}}})
		}
		return cs
	}
	all := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	const n, more = 5000, 3000
	a := apply(t, NewState(), 1, put(0, n)...)
	b := apply(t, a, 2, put(n, n+more)...)
	var ends []Change
	for i := range n {
		ends = append(ends, &EndMitigation{ID: MitigationID(i + 1), Cause: EndWithdrawn})
	}
	c := apply(t, b, 3, ends...)
	same(t, "before", len(a.pieces.near(all, true)), n)
	same(t, "with more", len(b.pieces.near(all, true)), n+more)
	same(t, "after the end of some", len(c.pieces.near(all, true)), more)
	for _, s := range []*State{a, b, c} {
		if s.pieces.owned || s.pieces.edits != 0 {
			t.Error("a State that was handed out would be changed in place")
		}
	}
}

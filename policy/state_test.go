package policy

import (
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

func apply(t testing.TB, s *State, i Index, cs ...Change) *State {
	t.Helper()
	n, err := s.Apply(Entry{Index: i, At: start().Add(time.Duration(i) * time.Second)}, cs)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestPropertyState walks through random worlds beside the twin. Every old State must go on to agree with the twin
// of its own time, so an Apply that touched one would be noticed.
func TestPropertyState(t *testing.T) {
	worlds := 60
	if testing.Short() {
		worlds = 10
	}
	for seed := range worlds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(uint64(seed), 1))
			s, w := NewState(), newTwin()
			replayed := NewState()
			type past struct {
				s      *State
				digest [32]byte
				recs   []Record
			}
			var history []past
			e := Entry{Index: 1, At: start(), By: "operator/alice", Reason: "because"}
			for range 60 {
				history = append(history, past{s, s.Digest(), slices.Collect(s.Records())})
				cs := randomChanges(r, s)
				next, err := s.Apply(e, cs)
				if err != nil {
					t.Fatal(err)
				}
				if replayed, err = replayed.Apply(e, cs); err != nil {
					t.Fatal(err)
				}
				w.apply(e, cs)
				s = next
				agree(t, s, w, r)
				e.Index += Index(r.IntN(3)) // 0: another item of the same batch
				e.At = e.At.Add(time.Duration(r.IntN(9)-1) * time.Hour)
			}
			same(t, "replay = live", replayed.Digest(), s.Digest())
			for _, p := range history {
				same(t, "digest of an old state", p.s.Digest(), p.digest)
				same(t, "records of an old state", slices.Collect(p.s.Records()), p.recs)
			}
			restored, err := Restore(withoutError(s.Records()))
			if err != nil {
				t.Fatal(err)
			}
			agree(t, restored, w, r)
			same(t, "restore(records) = state", slices.Collect(restored.Records()), slices.Collect(s.Records()))
			same(t, "digest of a restored state", restored.Digest(), s.Digest())
			// A restored State must also go the same way from there on.
			e.Index, e.At = e.Index+1, e.At.Add(25*time.Hour)
			cs := randomChanges(r, s)
			a, errA := s.Apply(e, cs)
			b, errB := restored.Apply(e, cs)
			if errA != nil || errB != nil {
				t.Fatal(errA, errB)
			}
			same(t, "next of a restored state", b.Digest(), a.Digest())
		})
	}
}

func withoutError(rs iter.Seq[Record]) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for r := range rs {
			if !yield(r, nil) {
				return
			}
		}
	}
}

type strangeChange struct{ PutLease }

func TestApplyRefuses(t *testing.T) {
	t.Parallel()
	base := apply(t, NewState(), 5, &PutDocument{&Customer{ID: "a"}})
	base = apply(t, base, 5, &PutMitigation{&Mitigation{ID: 8, Phase: Over, End: EndExpired}}, &PutMitigation{&Mitigation{ID: 9, Phase: Active}})
	ok := func() *Mitigation { return &Mitigation{ID: 1, Phase: Active} }
	for _, row := range []struct {
		name  string
		index Index
		c     Change
		want  error
	}{
		{"index 0", 0, &PutLease{}, ErrOrder},
		{"lower index", 4, &PutLease{}, ErrOrder},
		{"nil change", 6, nil, ErrUnknownChange},
		{"unknown change", 6, &strangeChange{}, ErrUnknownChange},
		{"nil put", 6, (*PutDocument)(nil), ErrBadChange},
		{"nil delete", 6, (*DeleteDocument)(nil), ErrBadChange},
		{"nil put of a mitigation", 6, (*PutMitigation)(nil), ErrBadChange},
		{"nil attack", 6, (*PutAttack)(nil), ErrBadChange},
		{"nil result", 6, (*PutResult)(nil), ErrBadChange},
		{"no document", 6, &PutDocument{}, ErrBadChange},
		{"nil customer", 6, &PutDocument{(*Customer)(nil)}, ErrBadChange},
		{"nameless router", 6, &PutDocument{&Router{}}, ErrBadChange},
		{"delete of an unknown kind", 6, &DeleteDocument{DocumentRef{"Castle", "x"}}, ErrBadChange},
		{"no mitigation", 6, &PutMitigation{}, ErrBadChange},
		{"mitigation 0", 6, &PutMitigation{&Mitigation{Phase: Active}}, ErrBadChange},
		{"last mitigation", 6, &PutMitigation{&Mitigation{ID: ^MitigationID(0), Phase: Active}}, ErrBadChange},
		{"mitigation without a phase", 6, &PutMitigation{&Mitigation{ID: 1}}, ErrBadChange},
		{"nil end", 6, (*EndMitigation)(nil), ErrBadChange},
		{"end of an unknown mitigation", 6, &EndMitigation{ID: 7, Cause: EndExpired}, ErrBadChange},
		{"end of what is over", 6, &EndMitigation{ID: 8, Cause: EndExpired}, ErrBadChange},
		{"end without a cause", 6, &EndMitigation{ID: 9}, ErrBadChange},
		{"result without an id", 6, &PutResult{}, ErrBadChange},
		{"rule that makes the codec stumble", 6, &PutMitigation{func() *Mitigation {
			m := ok()
			m.Rules = []flowspec.Rule{{Match: flowspec.Match{Family: flowspec.IPv6, Components: []flowspec.Component{
				{Type: flowspec.DestinationPrefix, Prefix: netip.MustParsePrefix("203.0.113.0/24")},
				{Type: flowspec.DestinationPrefix},
			}}}}
			return m
		}()}, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			before := base.Digest()
			// The good change before it must not stay either.
			got, err := base.Apply(Entry{Index: row.index}, []Change{&PutDocument{&Customer{ID: "b"}}, row.c})
			same(t, "old state", base.Digest(), before)
			if row.want == nil { // nothing is said but that it does not panic
				return
			}
			if !errors.Is(err, row.want) {
				t.Fatalf("error %v, want %v", err, row.want)
			}
			if got != base {
				t.Fatal("a failed Apply must return the old State")
			}
		})
	}
}

func TestApplyPanicIsAnError(t *testing.T) {
	t.Parallel()
	var s State // without a table of pieces: what acts on something ends in a nil pointer
	pieces := Cut{Pieces: []netip.Prefix{netip.MustParsePrefix("198.51.100.1/32")}}
	got, err := s.Apply(Entry{Index: 1}, []Change{&PutMitigation{&Mitigation{ID: 1, Phase: Active, Cut: pieces}}})
	if !errors.Is(err, ErrBadChange) || got != &s {
		t.Fatalf("got %p, %v; want the old State and %v", got, err, ErrBadChange)
	}
}

func TestTimeNeverGoesBack(t *testing.T) {
	t.Parallel()
	s := apply(t, NewState(), 10, &PutLease{})
	at := s.At()
	s, err := s.Apply(Entry{Index: 11, At: at.Add(-time.Hour)}, []Change{&PutLease{}})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "At", s.At(), at)
	same(t, "LeaseAt", s.LeaseAt(), at)
}

func TestInputIsNotKept(t *testing.T) {
	t.Parallel()
	m := &Mitigation{ID: 3, Phase: Active, Changed: 99}
	s := apply(t, NewState(), 7, &PutMitigation{m})
	same(t, "input", m.Changed, Index(99))
	m.Reason.Text = "changed afterwards"
	got, _ := s.Mitigation(3)
	same(t, "stored", got, &Mitigation{ID: 3, Phase: Active, Changed: 7})
	same(t, "NextID", s.NextID(), MitigationID(4))
}

func TestPruneOver(t *testing.T) {
	t.Parallel()
	const more = 25
	s := NewState()
	var cs []Change
	for i := range MaxOver + more {
		cs = append(cs, &PutMitigation{&Mitigation{ID: MitigationID(i + 1), Phase: Over}})
	}
	cs = append(cs, &PutMitigation{&Mitigation{ID: 20_000, Phase: Active}})
	s = apply(t, s, 1, cs[more:]...) // 26… and the active one
	s = apply(t, s, 2, cs[:more]...) // 1–25 end last
	same(t, "remembered", s.mitigations.n, MaxOver+1)
	for _, row := range []struct {
		id   MitigationID
		want bool
	}{{1, true}, {more, true}, {more + 1, false}, {2 * more, false}, {2*more + 1, true}, {20_000, true}} {
		_, ok := s.Mitigation(row.id)
		same(t, fmt.Sprint("mitigation ", row.id, " is remembered"), ok, row.want)
	}
	same(t, "NextID", s.NextID(), MitigationID(20_001))
	restored, err := Restore(withoutError(s.Records()))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "digest of the restored", restored.Digest(), s.Digest())
}

func TestPruneAttacks(t *testing.T) {
	t.Parallel()
	name := func(i int) string { return fmt.Sprintf("%06d", i) }
	s := NewState()
	var cs []Change
	for i := range MaxAttacks {
		cs = append(cs, &PutAttack{Attack{Source: "d", AttackID: name(i), Ended: i%2 == 0}})
	}
	s = apply(t, s, 1, cs...)
	same(t, "all fit", s.attacks.n, MaxAttacks)
	s = apply(t, s, 2, &PutAttack{Attack{Source: "d", AttackID: name(0)}}) // renewed, no longer the oldest
	s = apply(t, s, 3, &PutAttack{Attack{Source: "d", AttackID: "new"}})
	same(t, "bounded", s.attacks.n, MaxAttacks)
	for id, want := range map[string]bool{name(0): true, name(1): false, name(2): true, "new": true} {
		_, ok := s.Attack("d", id)
		same(t, "attack "+id, ok, want)
	}
	// A day later the ended ones go, but for that which is exactly a day old.
	day, err := s.Apply(Entry{Index: 4, At: start().Add(time.Second + Memory)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "after a day", day.attacks.n, MaxAttacks)
	day, err = s.Apply(Entry{Index: 4, At: start().Add(time.Second + Memory + 1)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "after more than a day", day.attacks.n, MaxAttacks/2+1)
	same(t, "the ended ones", day.endedByTime.n, 0)
}

func TestPruneResults(t *testing.T) {
	t.Parallel()
	s := NewState()
	var cs []Change
	for i := range MaxResults {
		cs = append(cs, &PutResult{Result{RequestID: RequestID(fmt.Sprintf("%05d", i)), Index: 77, At: start().Add(-time.Hour)}})
	}
	s = apply(t, s, 1, cs...)
	got, _ := s.Result("00007")
	same(t, "result", got, Result{RequestID: "00007", Index: 1, At: start().Add(time.Second)})
	s = apply(t, s, 2, &PutResult{Result{RequestID: "new"}})
	same(t, "bounded", s.results.n, MaxResults)
	_, ok := s.Result("00000")
	same(t, "the oldest", ok, false)
	late, err := s.Apply(Entry{Index: 3, At: start().Add(2*time.Second + Memory)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "after a day", late.results.n, 1)
}

func TestNamesDoNotRunTogether(t *testing.T) {
	t.Parallel()
	s := apply(t, NewState(), 1,
		&PutAttack{Attack{Source: "ab", AttackID: "c", Seq: 1}}, &PutAttack{Attack{Source: "a", AttackID: "bc", Seq: 2}},
		&PutAttack{Attack{Source: "a\x00", AttackID: "b", Seq: 3}}, &PutAttack{Attack{Source: "a", AttackID: "\x00b", Seq: 4}},
		&PutMitigation{&Mitigation{ID: 1, Phase: Active, Customer: "a"}},
		&PutMitigation{&Mitigation{ID: 2, Phase: Active, Customer: "aa"}},
		&PutMitigation{&Mitigation{ID: 3, Phase: Active, Customer: "a\x00\x00\x00\x00\x00\x00\x00"}},
	)
	for _, row := range []struct {
		source, id string
		seq        uint64
	}{{"ab", "c", 1}, {"a", "bc", 2}, {"a\x00", "b", 3}, {"a", "\x00b", 4}} {
		a, _ := s.Attack(row.source, row.id)
		same(t, fmt.Sprintf("seq of %q %q", row.source, row.id), a.Seq, row.seq)
	}
	var ids []MitigationID
	for m := range s.ActiveOf("a") {
		ids = append(ids, m.ID)
	}
	same(t, "mitigations of a", ids, []MitigationID{1})
}

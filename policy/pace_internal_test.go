package policy

import (
	"math/rand/v2"
	"testing"
	"time"
)

// slowPace counts what policies did lately by a walk over all mitigations: the twin of pace.
func slowPace(s *State, span time.Duration, steps bool, sc paceScope, now time.Time) int {
	n := 0
	for m := range s.Mitigations() {
		if m.Origin != FromPolicy || m.NeverAnnounced() {
			continue
		}
		times := []time.Time{m.Created}
		if steps {
			for _, ev := range m.History {
				if ev.What == EventEscalated {
					times = append(times, ev.At)
				}
			}
		}
		for _, at := range times {
			if !at.After(now.Add(-span)) {
				continue
			}
			switch {
			case sc == paceAll, sc == paceOfSource(m.Source), sc == paceOfPolicy(m.Policy):
				n++
			case sc == paceRules:
				n += len(m.Rules)
			}
		}
	}
	return n
}

// slowUsage counts rules and mitigations by a walk over all active mitigations: the twin of usage.
func slowUsage(s *State, source string) (mitigations, rules, all int) {
	for m := range s.Active() {
		all += len(m.Rules)
		if m.Source == source {
			mitigations++
			rules += len(m.Rules)
		}
	}
	return mitigations, rules, all
}

// TestPropertyPace holds the counts of a State against walks over its mitigations, through starts, steps, ends, changes of
// what there is, forgetting and a snapshot.
func TestPropertyPace(t *testing.T) {
	sources, policies := []string{"a", "b", ""}, []string{"p", "q"}
	scopes := []paceScope{paceAll, paceRules, paceOfSource("a"), paceOfSource("b"), paceOfPolicy("p"), paceOfPolicy("q")}
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 7))
		s, now := NewState(), start()
		for i := range 300 {
			if r.IntN(3) > 0 {
				now = now.Add(time.Duration(r.Int64N(int64(20 * time.Second))))
			}
			if r.IntN(60) == 0 {
				now = now.Add(50 * time.Minute)
			}
			next, err := s.Apply(Entry{Index: Index(i + 1), At: now}, []Change{paceChange(r, s, now, sources, policies)})
			if err != nil {
				t.Fatal(err)
			}
			s = next
			if r.IntN(20) == 0 {
				if s, err = Restore(withoutError(s.Records())); err != nil {
					t.Fatal(err)
				}
			}
			later := now.Add(time.Duration(r.Int64N(int64(90 * time.Second))))
			for _, sc := range scopes {
				// A limit of 1 and much to add: then the exact count is asked for.
				if got, _, _ := s.pace.minute.beyond(sc, 1_000_000, 1, later); got != slowPace(s, paceShort, true, sc, later) {
					t.Fatalf("seed %d, change %d: %q within a minute: %d, want %d", seed, i, sc, got, slowPace(s, paceShort, true, sc, later))
				}
				if got, _, _ := s.pace.hour.beyond(sc, 1_000_000, 1, later); got != slowPace(s, paceLong, false, sc, later) {
					t.Fatalf("seed %d, change %d: %q within an hour: %d, want %d", seed, i, sc, got, slowPace(s, paceLong, false, sc, later))
				}
			}
			for _, src := range sources[:2] {
				mitigations, rules, all := slowUsage(s, src)
				if m, n := s.StartedBy(src); m != mitigations || n != rules || s.RulesActive() != all {
					t.Fatalf("seed %d, change %d: %q has %d mitigations and %d of %d rules, want %d and %d of %d", seed, i, src, m, n, s.RulesActive(), mitigations, rules, all)
				}
			}
		}
	}
}

// paceChange is a start, or a change of a mitigation that there is.
func paceChange(r *rand.Rand, s *State, now time.Time, sources, policies []string) Change {
	id := MitigationID(1 + r.IntN(int(s.NextID())))
	m, ok := s.Mitigation(id)
	if !ok || m.Phase == Over || r.IntN(2) == 0 {
		m = randomMitigation(r)
		m.ID, m.Created, m.Phase, m.End, m.Expires = s.NextID(), now, Active, "", now.Add(time.Hour)
		m.Source, m.Policy = sources[r.IntN(len(sources))], policies[r.IntN(len(policies))]
		return &PutMitigation{m}
	}
	cp := *m
	switch r.IntN(4) {
	case 0:
		return &EndMitigation{ID: m.ID, Cause: EndWithdrawn}
	case 1:
		cp.Rules = cp.Rules[:r.IntN(len(cp.Rules)+1)]
	case 2:
		cp.Expires = now.Add(2 * time.Hour)
	default:
		if cp.StepSince.Equal(now) || cp.Created.Equal(now) {
			break // a step takes time
		}
		cp.Step++
		cp.StepSince = now
		cp.tell(Event{At: now, What: EventEscalated})
	}
	return &PutMitigation{&cp}
}

// TestPaceAhead: what is asked for at a time after the last entry does not count what is too long ago by then.
func TestPaceAhead(t *testing.T) {
	s := NewState()
	for i := range 3 {
		m := &Mitigation{ID: MitigationID(i + 1), Origin: FromPolicy, Phase: Active, Source: "a", Policy: "p", Created: start().Add(time.Duration(i) * 10 * time.Second)}
		var err error
		if s, err = s.Apply(Entry{Index: Index(i + 1), At: m.Created}, []Change{&PutMitigation{m}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []struct {
		after time.Duration
		used  int
		until time.Duration
		yes   bool
	}{
		{20 * time.Second, 3, 40 * time.Second, true},
		{60 * time.Second, 2, 0, false},
		{80 * time.Second, 0, 0, false},
	} {
		used, until, yes := s.pace.minute.beyond(paceOfSource("a"), 1, 3, start().Add(row.after))
		if yes != row.yes || yes && (used != row.used || until != row.until) {
			t.Errorf("after %s: %d, %s, %v; want %+v", row.after, used, until, yes, row)
		}
	}
}

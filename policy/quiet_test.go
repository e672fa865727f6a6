package policy_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/policy"
)

// quietly is the policy of ladder with a quiet time of four minutes.
func quietly(relax policy.Relax) *policy.Policy {
	p := ladder()
	p.Quiet, p.Relax, p.Lifetime = 4*time.Minute, relax, time.Hour
	return p
}

// quiet is a world with that policy, and an attack on one host since noon.
func quiet(t testing.TB, p *policy.Policy) *world {
	t.Helper()
	w := newWorld(t, append(inventory(), p, blackholer("bh-1", "127.0.0.14", 100, flowspec.IPv4))...)
	w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, dns, pfxs("198.51.100.7/32"), sure(0.9)))
	return w
}

func (w *world) expectPhase(want policy.Phase, routes int) *policy.Mitigation {
	w.t.Helper()
	m := w.mitigation(1)
	n := 0
	for range w.s.Routes() {
		n++
	}
	if m.Phase != want || n != routes {
		w.t.Fatalf("M1 is in phase %d and %d routes are announced, want %d and %d", m.Phase, n, want, routes)
	}
	return m
}

func TestQuietTime(t *testing.T) {
	w := quiet(t, quietly(policy.RelaxNever))
	rules := len(w.mitigation(1).Rules)
	w.must(policy.Merged, policy.CodeMerged, signal("b", 1, dns, pfxs("198.51.100.7/32")))
	w.must(policy.Ended, policy.CodeAttackOver, end("a", 2))
	w.expectPhase(policy.Active, rules) // not the last cause
	w.now = noon().Add(time.Minute)
	d := w.must(policy.Ended, policy.CodeAttackOver, end("b", 2))
	expectText(t, d.Verdict.Reason, "M1 stays announced for a quiet time of 4m")
	m := w.expectPhase(policy.Ending, rules)
	if due, ok := w.s.NextDue(); !ok || !due.Equal(noon().Add(5*time.Minute)) || !m.EndsAt.Equal(due) {
		t.Fatalf("due at %s, ends at %s", due, m.EndsAt)
	}
	w.now = noon().Add(5*time.Minute - 1)
	w.must(policy.Observed, policy.CodeNothingToDo, &policy.ExpireRequest{})
	w.now = noon().Add(5 * time.Minute)
	w.must(policy.Ended, policy.CodeExpired, &policy.ExpireRequest{})
	if m := w.expectPhase(policy.Over, 0); m.End != policy.EndAttackOver || m.EndNote != "quiet for 4m after the attack" {
		t.Errorf("end %q, %q", m.End, m.EndNote)
	}
}

// TestPulses: an attack that comes and goes does not flap, and each pulse lengthens what its mitigation waits for the next.
func TestPulses(t *testing.T) {
	w := quiet(t, quietly(policy.RelaxNever))
	var got []time.Duration
	for i := range 6 {
		w.must(policy.Ended, policy.CodeAttackOver, end("a", uint64(2*i+2)))
		m := w.expectPhase(policy.Ending, 2)
		got = append(got, m.EndsAt.Sub(w.now))
		w.now = w.now.Add(time.Minute)
		d := w.must(policy.Merged, policy.CodeRevived, signal("a", uint64(2*i+3), dns, pfxs("198.51.100.7/32")))
		expectText(t, d.Verdict.Reason, "M1", fmt.Sprint("pulse ", i+1))
		if m = w.expectPhase(policy.Active, 2); m.Pulses != i+1 || len(m.Causes) != 1 || !m.StepSince.Equal(w.now) || !m.EndsAt.IsZero() {
			t.Fatalf("pulse %d: %d pulses, %d causes, step since %s", i, m.Pulses, len(m.Causes), m.StepSince)
		}
	}
	q := 4 * time.Minute
	if diff := cmp.Diff([]time.Duration{q, 2 * q, 4 * q, 8 * q, 8 * q, 8 * q}, got); diff != "" {
		t.Errorf("quiet times (-want +got):\n%s", diff)
	}
	if n := w.s.NextID(); n != 2 {
		t.Errorf("%d mitigations for one attack that pulses", n-1)
	}
}

// TestOnlyTheSameAttackRevives: what the ending mitigation does not do for a new attack is done by a new one.
func TestOnlyTheSameAttackRevives(t *testing.T) {
	for _, row := range []struct {
		name string
		sig  *policy.SignalRequest
		code policy.ReasonCode
		id   policy.MitigationID
	}{
		{"same", signal("b", 1, dns, pfxs("198.51.100.7/32")), policy.CodeRevived, 1},
		{"elsewhere", signal("b", 1, dns, pfxs("198.51.100.8/32")), policy.CodeMitigated, 2},
		{"other vector", signal("b", 1, policy.VectorNTPAmplification, pfxs("198.51.100.7/32")), policy.CodeMitigated, 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := quiet(t, quietly(policy.RelaxNever))
			w.must(policy.Ended, policy.CodeAttackOver, end("a", 2))
			if d := w.decide(row.sig); d.Verdict.Reason.Code != row.code || d.Verdict.Mitigation != row.id {
				t.Errorf("M%d, %s", d.Verdict.Mitigation, d.Verdict.Reason.Text)
			}
		})
	}
}

// TestLifetimeBoundsQuiet: a quiet time never outlives the lifetime, and an operator can end it.
func TestLifetimeBoundsQuiet(t *testing.T) {
	p := quietly(policy.RelaxNever)
	p.Lifetime = 5 * time.Minute
	w := quiet(t, p)
	w.now = noon().Add(3 * time.Minute)
	w.must(policy.Ended, policy.CodeAttackOver, end("a", 2))
	if m := w.expectPhase(policy.Ending, 2); !m.EndsAt.Equal(m.Expires) || !m.Expires.Equal(noon().Add(5*time.Minute)) {
		t.Errorf("ends at %s, expires at %s", m.EndsAt, m.Expires)
	}
	w.must(policy.Observed, policy.CodeNothingToDo, &policy.RenewRequest{IDs: []policy.MitigationID{1}})
	before := w.s
	w.must(policy.Ended, policy.CodeWithdrawn, &policy.WithdrawRequest{ID: 1})
	w.expectPhase(policy.Over, 0)
	w.s, w.now = before, noon().Add(5*time.Minute)
	w.must(policy.Ended, policy.CodeExpired, &policy.ExpireRequest{})
	if m := w.expectPhase(policy.Over, 0); m.End != policy.EndExpired {
		t.Errorf("end %q", m.End)
	}
}

// TestRelax climbs to the blackhole and comes down again step by step, with an attack that comes back in between.
func TestRelax(t *testing.T) {
	w := quiet(t, quietly(policy.RelaxAuto))
	pass := func(d time.Duration) { w.now = w.now.Add(d) }
	pass(2 * time.Minute)
	w.must(policy.Mitigated, policy.CodeEscalated, w.outlasts(0, 1))
	pass(3 * time.Minute)
	w.must(policy.Mitigated, policy.CodeEscalated, w.outlasts(0, 1))
	w.must(policy.Ended, policy.CodeAttackOver, end("a", 2))
	w.expectPhase(policy.Ending, 1)
	down := func(quiet time.Duration, step int, a policy.ActionKind) {
		t.Helper()
		pass(quiet)
		w.must(policy.Ended, policy.CodeExpired, &policy.ExpireRequest{})
		if m := w.expectPhase(policy.Ending, 2); m.Step != step || m.Action.Kind != a || !m.EndsAt.Equal(w.now.Add(m.QuietTime())) {
			t.Fatalf("step %d: %s until %s", m.Step, m.Action, m.EndsAt)
		}
	}
	down(4*time.Minute, 1, policy.Discard)
	w.must(policy.Merged, policy.CodeRevived, signal("a", 3, dns, pfxs("198.51.100.7/32"), sure(1)))
	if m := w.expectPhase(policy.Active, 2); m.Step != 1 || m.Rules[0].Actions[0] != flowspec.Discard() {
		t.Fatalf("revived at step %d with %s", m.Step, m.Rules[0])
	}
	pass(3 * time.Minute) // it can climb again
	w.must(policy.Mitigated, policy.CodeEscalated, w.outlasts(0, 1))
	w.must(policy.Ended, policy.CodeAttackOver, end("a", 4))
	down(8*time.Minute, 1, policy.Discard)
	down(8*time.Minute, 0, policy.RateLimit)
	pass(8 * time.Minute)
	w.must(policy.Ended, policy.CodeExpired, &policy.ExpireRequest{})
	m := w.expectPhase(policy.Over, 0)
	var told []string
	for _, ev := range m.History {
		told = append(told, string(ev.What))
	}
	want := "escalated escalated quiet relaxed revived escalated quiet relaxed relaxed"
	if got := strings.Join(told, " "); got != want || m.End != policy.EndAttackOver {
		t.Errorf("end %q, story %q, want %q", m.End, got, want)
	}
}

// TestRelaxThatWouldShield: a step down that would let through what another mitigation discards is not taken.
func TestRelaxThatWouldShield(t *testing.T) {
	p := quietly(policy.RelaxAuto)
	p.Ladder = p.Ladder[:2]
	w := quiet(t, p)
	w.now = w.now.Add(2 * time.Minute)
	w.must(policy.Mitigated, policy.CodeEscalated, w.outlasts(0, 1))
	w.must(policy.Mitigated, policy.CodeStarted, discard("198.51.100.0/28"))
	w.must(policy.Ended, policy.CodeAttackOver, end("a", 2))
	w.now = w.now.Add(4 * time.Minute)
	w.must(policy.Ended, policy.CodeExpired, &policy.ExpireRequest{})
	if m := w.mitigation(1); m.Phase != policy.Over || !strings.Contains(m.EndNote, "step 1 of the ladder was refused") {
		t.Errorf("phase %d: %s", m.Phase, m.EndNote)
	}
}

func TestQuietViolations(t *testing.T) {
	for _, row := range []struct {
		name, field string
		change      func(p *policy.Policy)
	}{
		{"negative", "quiet", func(p *policy.Policy) { p.Quiet = -1 }},
		{"for ever", "quiet", func(p *policy.Policy) { p.Quiet = 1e6 * time.Hour }},
		{"unknown", "relax", func(p *policy.Policy) { p.Relax = "sometimes" }},
		{"no quiet time to relax in", "relax", func(p *policy.Policy) { p.Quiet, p.Relax = 0, policy.RelaxAuto }},
		{"no steps to relax to", "relax", func(p *policy.Policy) { p.Ladder, p.Relax = p.Ladder[:1], policy.RelaxAuto }},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := quietly(policy.RelaxNever)
			row.change(p)
			if vs := p.Validate(); len(vs) != 1 || vs[0].Field != row.field {
				t.Errorf("%+v", vs)
			}
		})
	}
	if vs := quietly(policy.RelaxAuto).Validate(); len(vs) > 0 {
		t.Errorf("%+v", vs)
	}
}

// TestPropertyEndingEnds lets random attacks start, pulse, climb and stop, and holds after every step: what has no
// attack left is gone within its bound, nothing outlives its lifetime, routes are those of what is announced, and the
// state that is restored from its records is the same.
func TestPropertyEndingEnds(t *testing.T) {
	r := rand.New(rand.NewPCG(20260504, 5))
	var revived, relaxed, ended int
	for range 150 {
		w := newWorld(t, append(inventory(), quietly([]policy.Relax{policy.RelaxNever, policy.RelaxAuto}[r.IntN(2)]), blackholer("bh-1", "127.0.0.14", 100, flowspec.IPv4))...)
		seq := uint64(0)
		for range 80 {
			w.now = w.now.Add(time.Duration(r.IntN(120)) * time.Second)
			seq++
			id, host := fmt.Sprint(r.IntN(4)), pfxs(fmt.Sprintf("198.51.100.%d/32", 1+r.IntN(3)))
			var d policy.Decision
			switch r.IntN(4) {
			case 0:
				d = w.decide(end(id, seq))
			case 1:
				var req policy.EscalateRequest
				for m := range w.s.Active() {
					req.Reports = append(req.Reports, policy.AttackReport{ID: m.ID, At: w.now, Confidence: 1})
				}
				d = w.decide(&req)
			default:
				d = w.decide(signal(id, seq, dns, host))
			}
			if d.Verdict.Reason.Code == policy.CodeRevived {
				revived++
			}
			for _, m := range w.decide(&policy.ExpireRequest{}).Mitigations {
				if m.Phase == policy.Ending {
					relaxed++
				}
			}
			checkEnding(t, w)
		}
		for _, id := range []string{"0", "1", "2", "3"} {
			seq++
			w.decide(end(id, seq))
		}
		for range 4 { // the longest ladder down
			w.now = w.now.Add(32 * time.Minute)
			w.decide(&policy.ExpireRequest{})
		}
		if n := w.s.ActiveCount(); n != 0 {
			t.Fatalf("%d are announced two hours after the last attack", n)
		}
		ended++
	}
	t.Logf("%d pulses, %d steps down, %d worlds clean", revived, relaxed, ended)
	if revived < 100 || relaxed < 30 {
		t.Error("too few of one kind: the test no longer looks at them")
	}
}

func checkEnding(t *testing.T, w *world) {
	t.Helper()
	rules := map[flowspec.Key]bool{}
	for m := range w.s.Mitigations() {
		switch {
		case m.Phase == policy.Over:
			continue
		case !m.Expires.After(w.now), m.Phase == policy.Ending && !m.EndsAt.After(w.now):
			t.Fatalf("M%d is announced at %s: expires %s, ends %s", m.ID, w.now, m.Expires, m.EndsAt)
		case m.Phase == policy.Ending && (m.EndsAt.After(m.Expires) || m.EndsAt.Sub(w.now) > 8*m.Quiet):
			t.Fatalf("M%d is quiet until %s, expires %s", m.ID, m.EndsAt, m.Expires)
		}
		for i := range m.Rules {
			rules[m.Action.Key(&m.Rules[i])] = true
		}
	}
	n := 0
	for k, route := range w.s.Routes() {
		n++
		if !rules[k] || route.Kind == wanted.RTBH && len(route.Rule.Actions) > 0 {
			t.Fatalf("%s belongs to nobody", route.Rule)
		}
	}
	if n != len(rules) {
		t.Fatalf("%d routes, %d rules", n, len(rules))
	}
	restored, err := policy.Restore(func(yield func(policy.Record, error) bool) {
		for rec := range w.s.Records() {
			if !yield(rec, nil) {
				return
			}
		}
	})
	if err != nil || restored.Digest() != w.s.Digest() {
		t.Fatalf("restored differently: %v", err)
	}
	was, ok := w.s.NextDue()
	if now, again := restored.NextDue(); ok != again || !now.Equal(was) {
		t.Fatalf("due at %s, restored at %s", was, now)
	}
}

// TestExtendedWhileQuiet: a lifetime that is changed within the quiet time bounds it like the one before, and gives back what
// that one had cut off.
func TestExtendedWhileQuiet(t *testing.T) {
	for _, row := range []struct {
		name             string
		lifetime, extend time.Duration
		want             time.Duration // from noon until the quiet time is over; it began at 3m
	}{
		{"cut off before, and no longer", 5 * time.Minute, time.Hour, 8 * time.Minute},
		{"whole before and after", time.Hour, 2 * time.Hour, 7 * time.Minute},
		{"whole before, cut off now", time.Hour, 30 * time.Second, 4*time.Minute + 30*time.Second},
		{"cut off before and after", 5 * time.Minute, 2 * time.Minute, 6 * time.Minute},
	} {
		t.Run(row.name, func(t *testing.T) {
			p := quietly(policy.RelaxNever)
			p.Lifetime = row.lifetime
			w := quiet(t, p)
			w.now = noon().Add(3 * time.Minute)
			w.must(policy.Ended, policy.CodeAttackOver, end("a", 2))
			w.now = noon().Add(4 * time.Minute)
			d := w.must(policy.Mitigated, policy.CodeExtended, &policy.ExtendRequest{ID: 1, Lifetime: row.extend})
			m := w.expectPhase(policy.Ending, 2)
			if want := noon().Add(row.want); !m.EndsAt.Equal(want) {
				t.Errorf("quiet until %s, want %s", m.EndsAt, want)
			}
			expectText(t, d.Verdict.Reason, "quiet time until "+m.EndsAt.UTC().Format(time.RFC3339))
			w.now = m.EndsAt
			w.must(policy.Ended, policy.CodeExpired, &policy.ExpireRequest{})
			w.expectPhase(policy.Over, 0)
		})
	}
}

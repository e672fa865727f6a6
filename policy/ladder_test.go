package policy_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/policy"
)

// ladder is a policy for DNS amplification that limits the rate, discards after two minutes and blackholes after five.
func ladder() *policy.Policy {
	return &policy.Policy{
		Name: "steps", Priority: 20, Vectors: []policy.Vector{dns}, Lifetime: 30 * time.Minute, Groups: []string{"edge"},
		Ladder: []policy.Step{
			{Action: policy.Action{Kind: policy.RateLimit, Rate: 1e6}},
			{Action: policy.Action{Kind: policy.Discard}, After: 2 * time.Minute, MinConfidence: 0.5},
			{Action: policy.Action{Kind: policy.RTBH}, After: 5 * time.Minute},
		},
	}
}

// onLadder is a world with that policy and a router for its last step, and an attack on one host since noon.
func onLadder(t testing.TB, docs ...policy.Document) *world {
	t.Helper()
	docs = append(docs, ladder(), blackholer("bh-1", "127.0.0.14", 100, flowspec.IPv4))
	w := newWorld(t, append(inventory(), docs...)...)
	w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, dns, pfxs("198.51.100.7/32"), sure(0.9)))
	return w
}

func sure(c float64) func(*policy.Signal) { return func(s *policy.Signal) { s.Confidence = c } }

// outlasts is the leader's request for M1, whose attack was reported so long ago.
func (w *world) outlasts(ago time.Duration, confidence float64) *policy.EscalateRequest {
	return &policy.EscalateRequest{Reports: []policy.AttackReport{{ID: 1, At: w.now.Add(-ago), Confidence: confidence}}}
}

// TestLadder climbs a ladder and looks at what routers hear at each step.
func TestLadder(t *testing.T) {
	w := onLadder(t)
	heard := func() string {
		var out []string
		for _, r := range w.s.Routes() {
			text := r.Rule.String()
			if r.Kind == wanted.RTBH {
				text = "rtbh " + r.Rule.Match.String()
			}
			out = append(out, text)
		}
		return strings.Join(out, "; ")
	}
	step := func(after time.Duration, code policy.ReasonCode, at int, rules string) {
		t.Helper()
		w.now = noon().Add(after)
		if d := w.decide(w.outlasts(time.Minute, 0.9)); d.Verdict.Reason.Code != code {
			t.Fatalf("after %s: %s: %s", after, d.Verdict.Reason.Code, d.Verdict.Reason.Text)
		}
		if m := w.mitigation(1); m.Step != at || heard() != rules {
			t.Fatalf("after %s: step %d, routers hear %q, want step %d and %q", after, m.Step, heard(), at, rules)
		}
	}
	first := heard()
	if !strings.Contains(first, "rate") || strings.Contains(first, "discard") {
		t.Fatalf("first step: %s", first)
	}
	second := strings.NewReplacer("rate 4Mbps", "discard").Replace(first)
	step(2*time.Minute-1, policy.CodeNothingToDo, 0, first)
	step(2*time.Minute, policy.CodeEscalated, 1, second)
	step(5*time.Minute-1, policy.CodeNothingToDo, 1, second)
	step(5*time.Minute, policy.CodeEscalated, 2, "rtbh dst 198.51.100.7/32")
	step(25*time.Minute, policy.CodeNothingToDo, 2, "rtbh dst 198.51.100.7/32")
	m := w.mitigation(1)
	if len(m.History) != 2 || m.History[0].What != policy.EventEscalated || m.History[0].Index == 0 || !strings.Contains(m.History[0].Text, "discard instead of rate 8Mbps") {
		t.Errorf("history: %+v", m.History)
	}
	if !m.Created.Equal(noon()) || !m.Expires.Equal(noon().Add(30*time.Minute)) {
		t.Errorf("a step changed the life: %s to %s", m.Created, m.Expires)
	}
}

// TestStepStays: what a step needs, and that its want is noted once.
func TestStepStays(t *testing.T) {
	rows := []struct {
		name       string
		docs       []policy.Document
		before     func(w *world)
		ago        time.Duration
		confidence float64
		code       policy.ReasonCode // of the refusal; empty: there is not even one
		text       string
	}{
		{name: "not reported lately", ago: policy.EscalationFreshness + 1, confidence: 1},
		{name: "not sure enough", ago: time.Second, confidence: 0.4, code: policy.CodeLowConfidence, text: "step 2 (discard) asks for a confidence of 0.5, the last signal states 0.4"},
		{name: "confidence not stated", ago: time.Second, code: policy.CodeLowConfidence, text: "states none"},
		{
			name: "no router any more", ago: time.Second, confidence: 1, code: policy.CodeNoRouter, text: "step 2 (discard): no router of group edge",
			before: func(w *world) {
				for _, n := range []string{"edge-1", "edge-2"} {
					r := router(n, "other", map[string]string{"edge-1": "127.0.0.11", "edge-2": "127.0.0.12"}[n], 3000, flowspec.IPv4, flowspec.IPv6)
					for _, name := range []string{"amplification", "floods", "steps"} {
						d, _ := w.s.Document(policy.DocumentRef{Kind: policy.KindPolicy, Name: name})
						cp := *d.(*policy.Policy)
						cp.Groups = nil
						w.decide(&policy.ApplyRequest{Documents: []policy.Document{&cp}})
					}
					w.must(policy.Mitigated, policy.CodeApplied, &policy.ApplyRequest{Documents: []policy.Document{r}})
				}
			},
		},
		{
			name: "over", ago: time.Second, confidence: 1,
			before: func(w *world) { w.must(policy.Ended, policy.CodeWithdrawn, &policy.WithdrawRequest{ID: 1}) },
		},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := onLadder(t, row.docs...)
			if row.before != nil {
				row.before(w)
			}
			w.now = noon().Add(10 * time.Minute)
			d := w.decide(w.outlasts(row.ago, row.confidence))
			m := w.mitigation(1)
			if m.Step != 0 || m.Blocked.Code != row.code || (len(d.Changes) > 0) != (row.code != "") || !strings.Contains(m.Blocked.Text, row.text) {
				t.Fatalf("step %d, blocked %+v, %d changes", m.Step, m.Blocked, len(d.Changes))
			}
			w.now = w.now.Add(time.Second)
			if d := w.decide(w.outlasts(row.ago, row.confidence)); len(d.Changes) > 0 {
				t.Errorf("noted twice: %s", d.Verdict.Reason.Text)
			}
		})
	}
}

// TestSilenceTakesNoStep: a detector that reports an attack once and then falls silent never climbs, however short a step
// is; one that reports again does.
func TestSilenceTakesNoStep(t *testing.T) {
	quick := ladder()
	quick.Name, quick.Priority = "quick", 30
	quick.Ladder = []policy.Step{quick.Ladder[0], {Action: policy.Action{Kind: policy.Discard}, After: time.Minute}}
	w := onLadder(t, quick)
	w.now = noon().Add(time.Minute)
	w.must(policy.Observed, policy.CodeNothingToDo, w.outlasts(time.Minute, 1))
	w.must(policy.Mitigated, policy.CodeEscalated, w.outlasts(time.Minute-1, 1))
}

// TestOrdersTakeNoStep: what an operator started stays as it was ordered.
func TestOrdersTakeNoStep(t *testing.T) {
	w := onLadder(t)
	w.must(policy.Mitigated, policy.CodeStarted, limit(1e6, "198.51.100.9/32"))
	order := *w.mitigation(2)
	order.Ladder = ladder().Ladder // not what Decide makes
	w.index++
	w.s, _ = w.s.Apply(policy.Entry{Index: w.index, At: w.now}, []policy.Change{&policy.PutMitigation{Mitigation: &order}})
	w.now = noon().Add(10 * time.Minute)
	d := w.decide(&policy.EscalateRequest{Reports: []policy.AttackReport{{ID: 2, At: w.now, Confidence: 1}}})
	if len(d.Changes) > 0 || w.mitigation(2).Step != 0 {
		t.Errorf("%s", d.Verdict.Reason.Text)
	}
}

// TestFurtherAttackAtALaterStep: another attack on what is discarded by now joins it, and does not ask for a rate limit
// that would come before.
func TestFurtherAttackAtALaterStep(t *testing.T) {
	w := onLadder(t)
	for i, at := range []time.Duration{2 * time.Minute, 5 * time.Minute} {
		w.now = noon().Add(at)
		w.must(policy.Mitigated, policy.CodeEscalated, w.outlasts(0, 1))
		w.must(policy.Merged, policy.CodeMerged, signal(fmt.Sprint("b", i), 1, dns, pfxs("198.51.100.7/32")))
		w.must(policy.Merged, policy.CodeRepetition, signal("a", uint64(2+i), dns, pfxs("198.51.100.7/32")))
	}
	if m := w.mitigation(1); m.Step != 2 || len(m.Causes) != 3 {
		t.Errorf("step %d, %d causes", m.Step, len(m.Causes))
	}
}

// TestLaterPolicyChangesNoStep: the ladder is that of the start.
func TestLaterPolicyChangesNoStep(t *testing.T) {
	w := onLadder(t)
	changed := ladder()
	changed.Ladder = changed.Ladder[:1:1]
	changed.Ladder = append(changed.Ladder, policy.Step{Action: policy.Action{Kind: policy.RTBH}, After: time.Second})
	w.must(policy.Mitigated, policy.CodeApplied, &policy.ApplyRequest{Documents: []policy.Document{changed}})
	w.must(policy.Merged, policy.CodeRepetition, signal("a", 2, dns, pfxs("198.51.100.7/32"), sure(0.9)))
	w.now = noon().Add(time.Minute)
	w.must(policy.Observed, policy.CodeNothingToDo, w.outlasts(0, 1))
	w.now = noon().Add(2 * time.Minute)
	w.must(policy.Mitigated, policy.CodeEscalated, w.outlasts(0, 1))
	if m := w.mitigation(1); m.Action.Kind != policy.Discard {
		t.Errorf("it does %s", m.Action)
	}
}

func TestLadderViolations(t *testing.T) {
	change := func(f func(p *policy.Policy)) *policy.Policy {
		p := ladder()
		f(p)
		return p
	}
	rows := []struct {
		name  string
		doc   *policy.Policy
		field string
		text  string
	}{
		{"as well", change(func(p *policy.Policy) { p.Action = policy.Action{Kind: policy.Discard} }), "action", "a ladder as well"},
		{"nothing", change(func(p *policy.Policy) { p.Ladder = nil }), "action", "not said"},
		{"too many", change(func(p *policy.Policy) { p.Ladder = make([]policy.Step, 9) }), "ladder", "9 steps, at most 8"},
		{"first late", change(func(p *policy.Policy) { p.Ladder[0].After = 1 }), "ladder[0].after", "at once"},
		{"same time", change(func(p *policy.Policy) { p.Ladder[2].After = p.Ladder[1].After }), "ladder[2].after", "not later"},
		{"for ever", change(func(p *policy.Policy) { p.Ladder[2].After = 1e6 * time.Hour }), "ladder[2].after", "any lifetime"},
		{"confidence", change(func(p *policy.Policy) { p.Ladder[1].MinConfidence = 2 }), "ladder[1].min_confidence", "2 is not"},
		{"milder", change(func(p *policy.Policy) {
			p.Ladder[1].Action, p.Ladder[2].Action = p.Ladder[2].Action, p.Ladder[1].Action
		}), "ladder[2].action", "does not do more"},
		{"equal", change(func(p *policy.Policy) { p.Ladder[1].Action = p.Ladder[0].Action }), "ladder[1].action", "does not do more"},
		{"no action", change(func(p *policy.Policy) { p.Ladder[1].Action = policy.Action{} }), "ladder[1].action", "not said"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			vs := row.doc.Validate()
			if len(vs) != 1 || vs[0].Field != row.field || !strings.Contains(vs[0].Problem, row.text) {
				t.Errorf("%+v", vs)
			}
		})
	}
	lower := change(func(p *policy.Policy) { p.Ladder[1].Action = policy.Action{Kind: policy.RateLimit, Rate: 1e3} })
	if vs := append(ladder().Validate(), lower.Validate()...); len(vs) > 0 {
		t.Errorf("sound ladders: %+v", vs)
	}
	d := newWorld(t).decide(&policy.ApplyRequest{Documents: []policy.Document{ladder()}})
	if len(d.Violations) != 1 || d.Violations[0].Field != "ladder[2].action.rtbh" {
		t.Errorf("without a router for blackholes: %+v", d.Violations)
	}
}

// TestPropertyStepsActOnNothingElse changes the inventory at random while mitigations climb their ladders, and holds
// each against the twin: no step ever acts on an address that was not acted on before, nor on one that is protected.
func TestPropertyStepsActOnNothingElse(t *testing.T) {
	r := rand.New(rand.NewPCG(20260504, 4))
	var steps, refused, blackholed int
	for range 250 {
		f := flowspec.Family(1 + r.IntN(2))
		now := randomTwin(r, f)
		w := &world{t: t, s: stateUnder(t, now, widelyBlackholing(8+r.IntN(40))), index: 1, now: noon()}
		pol := ladder()
		pol.Groups, pol.Lifetime = nil, 10*time.Hour
		w.must(policy.Mitigated, policy.CodeApplied, &policy.ApplyRequest{Documents: []policy.Document{pol}})
		for i := range 6 {
			w.decide(signal(fmt.Sprint(i), 1, dns, randomTargets(r, now, f), sure(1)))
		}
		for range 8 {
			before := map[policy.MitigationID]*policy.Mitigation{}
			for m := range w.s.Active() {
				before[m.ID] = m
			}
			if next := change(r, now, f); r.IntN(2) == 0 {
				req := &policy.ApplyRequest{Documents: append(append(next.documents(), w.s.Safeguards(), pol), enforcers()...), Prune: true}
				d := w.decide(req)
				if d.Verdict.Reason.Code == policy.CodeRemovalsNeedNumber {
					req.AllowRemovals = d.Plan.RemovalsToAllow
					d = w.decide(req)
				}
				if d.Verdict.Kind != policy.Refused {
					now = next
				}
			}
			w.now = w.now.Add(time.Duration(1+r.IntN(4)) * time.Minute)
			var req policy.EscalateRequest
			for m := range w.s.Active() {
				req.Reports = append(req.Reports, policy.AttackReport{ID: m.ID, At: w.now, Confidence: 1})
			}
			w.decide(&req)
			for id, old := range before {
				m := w.mitigation(id)
				checkRecut(t, now, old, m)
				if m.Step > old.Step {
					steps++
				}
				if m.Blocked.Code != "" {
					refused++
				}
				if m.Phase == policy.Active && m.Action.Kind == policy.RTBH {
					blackholed++
				}
			}
			checkRoutes(t, now, w.s)
		}
	}
	t.Logf("%d steps, %d times refused, %d times blackholed", steps, refused, blackholed)
	if steps < 300 || refused < 20 || blackholed < 50 {
		t.Error("too few of one kind: the test no longer looks at them")
	}
}

// checkRoutes fails if anything that is announced acts on protected space, or on space of nobody.
func checkRoutes(t *testing.T, w *twin, s *policy.State) {
	t.Helper()
	for _, r := range s.Routes() {
		dst, _ := r.Rule.Match.Destination()
		for a := dst.Addr(); dst.Contains(a); a = a.Next() {
			if w.protected(a) || w.owner(a) == "" {
				t.Fatalf("%s acts on %s", r.Rule, a)
			}
		}
	}
}

// TestHistoryIsBounded: beyond the bound the further causes go first.
func TestHistoryIsBounded(t *testing.T) {
	w := onLadder(t)
	w.now = noon().Add(2 * time.Minute)
	w.must(policy.Mitigated, policy.CodeEscalated, w.outlasts(0, 1))
	for i := range 2 * policy.MaxEvents {
		w.must(policy.Merged, policy.CodeMerged, signal(fmt.Sprint("b", i), 1, dns, pfxs("198.51.100.7/32")))
	}
	m := w.mitigation(1)
	var kinds []policy.EventKind
	for _, ev := range m.History {
		kinds = append(kinds, ev.What)
		if ev.Index == 0 {
			t.Errorf("no index: %+v", ev)
		}
	}
	want := append([]policy.EventKind{policy.EventEscalated}, slices.Repeat([]policy.EventKind{policy.EventMerged}, policy.MaxEvents-1)...)
	if diff := cmp.Diff(want, kinds); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if last := m.History[len(m.History)-1].Text; !strings.Contains(last, `"b63"`) {
		t.Errorf("the last is %q", last)
	}
}

// TestHistoryTells: the story of a mitigation says what the detectors stated, who joined and left, and why a step was taken.
func TestHistoryTells(t *testing.T) {
	w := onLadder(t)
	host := pfxs("198.51.100.8/32")
	stated := func(bps, pps, confidence float64) func(*policy.Signal) {
		return func(s *policy.Signal) { s.BitsPerSecond, s.PacketsPerSecond, s.Confidence = bps, pps, confidence }
	}
	m := w.must(policy.Mitigated, policy.CodeMitigated, signal("x", 1, dns, host, stated(4e9, 400e3, 0.7))).Mitigations[0]
	if want := "reports dns_amplification on 198.51.100.8 of customer uni-a (4Gbps, 400kpps, confidence 0.7)"; !strings.Contains(m.Reason.Text, want) {
		t.Errorf("reason %q, want %q in it", m.Reason.Text, want)
	}
	w.must(policy.Merged, policy.CodeMerged, signal("y", 1, dns, host, stated(2.5e9, 0, 0)))
	end := signal("x", 2, dns, nil)
	end.Signal.Kind = policy.SignalEnd
	w.must(policy.Ended, policy.CodeAttackOver, end)
	w.now = noon().Add(2 * time.Minute)
	report := policy.AttackReport{ID: m.ID, At: w.now.Add(-time.Second), Confidence: 0.9}
	w.must(policy.Mitigated, policy.CodeEscalated, &policy.EscalateRequest{Reports: []policy.AttackReport{report}})
	var got []string
	for _, ev := range w.mitigation(m.ID).History {
		got = append(got, fmt.Sprintf("%s: %s", ev.What, ev.Text))
	}
	for i, want := range []string{
		`merged: attack "y" of fnm-1 became cause 2 (2.5Gbps)`,
		`cause-over: fnm-1 reports the end of attack "x", one cause stays: "y" of fnm-1`,
		"before began (confidence 0.9)",
	} {
		if i >= len(got) || !strings.Contains(got[i], want) {
			t.Errorf("event %d: %q is not in %q", i, want, got)
		}
	}
}

// stepCases are those of steps.
func stepCases() []reasonCase {
	hesitant := ladder()
	hesitant.Ladder = hesitant.Ladder[:2]
	hesitant.Ladder[0].MinConfidence = 0.75
	return []reasonCase{
		{
			name: "first step not sure enough", docs: without(nil, hesitant), req: signal("a", 1, dns, pfxs("198.51.100.7/32"), sure(0.5)), kind: policy.Observed,
			code: policy.CodeLowConfidence, text: []string{"policy steps", "0.75", "0.5"},
		},
		{name: "no such mitigation to approve", req: &policy.ApproveRequest{Mitigation: 9}, kind: policy.Refused, code: policy.CodeUnknownApproval, text: []string{"M9"}},
		{name: "no such order", req: &policy.RejectRequest{Order: 9}, kind: policy.Refused, code: policy.CodeUnknownApproval, text: []string{"A9"}},
		{name: "no step is due", req: &policy.EscalateRequest{Reports: []policy.AttackReport{{ID: 1}}}, kind: policy.Observed, code: policy.CodeNothingToDo},
	}
}

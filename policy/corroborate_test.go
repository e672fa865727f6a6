package policy_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/policy"
)

// quorate is the inventory with a policy for SYN floods that wants so many detectors.
func quorate(quorum int, more ...policy.Document) []policy.Document {
	return append(append(inventory(), &policy.Policy{
		Name: "syn", Priority: 20, Vectors: []policy.Vector{policy.VectorSYNFlood}, Action: policy.Action{Kind: policy.Discard}, Groups: []string{"edge"},
		Quorum: quorum,
	}), more...)
}

// by makes a signal one of another detector, with that confidence.
func by(source string, confidence float64) func(*policy.Signal) {
	return func(s *policy.Signal) { s.Source, s.Confidence = source, confidence }
}

func syn(id string, seq uint64, target string, change ...func(*policy.Signal)) *policy.SignalRequest {
	return signal(id, seq, policy.VectorSYNFlood, pfxs(target), change...)
}

// TestQuorum: the second of two detectors has the attack mitigated, with the attacks of both as causes, and the mitigation
// stays until both have reported the end.
func TestQuorum(t *testing.T) {
	w := newWorld(t, quorate(2)...)
	d := w.must(policy.Observed, policy.CodeQuorum, syn("a", 1, "198.51.100.7/32", by("flow", 0.6)))
	expectText(t, d.Verdict.Reason, "policy syn asks for 2 detectors, flow reports syn_flood on 198.51.100.7 so far: 1 more has to")
	// The same detector again is no second one, nor is one that reports less than all of it.
	w.must(policy.Observed, policy.CodeQuorum, syn("b", 1, "198.51.100.7/32", by("flow", 0.6)))
	w.must(policy.Observed, policy.CodeQuorum, syn("c", 1, "198.51.100.0/29", by("tap", 0.5)))
	d = w.must(policy.Mitigated, policy.CodeMitigated, syn("d", 1, "198.51.100.7/32", by("tap", 0.5)))
	m := d.Mitigations[0]
	same(t, "causes", []string{"tap d", "flow a", "flow b"}, causesBySource(m))
	if m.Confidence != 0.8 {
		t.Errorf("confidence %v, want 0.8", m.Confidence)
	}
	w.must(policy.Ended, policy.CodeAttackOver, syn("d", 2, "198.51.100.7/32", by("tap", 0), ending))
	m = w.mitigation(1)
	if last := m.History[len(m.History)-1]; m.Phase != policy.Active || last.What != policy.EventCauseOver || !strings.Contains(last.Text, `other causes stay: "a" of flow`) {
		t.Errorf("phase %v, last event %+v", m.Phase, last)
	}
	w.must(policy.Ended, policy.CodeAttackOver, syn("a", 2, "198.51.100.7/32", by("flow", 0), ending))
	w.must(policy.Ended, policy.CodeAttackOver, syn("b", 2, "198.51.100.7/32", by("flow", 0), ending))
	if m := w.mitigation(1); m.Phase != policy.Over {
		t.Errorf("phase %v after the last end", m.Phase)
	}
}

func ending(s *policy.Signal) { s.Kind = policy.SignalEnd }

func causesBySource(m *policy.Mitigation) []string {
	var out []string
	for _, c := range m.Causes {
		out = append(out, c.Source+" "+c.AttackID)
	}
	return out
}

// TestQuorumInTime: a report counts for as long as it is fresh, and not after its end.
func TestQuorumInTime(t *testing.T) {
	for _, c := range []struct {
		name  string
		pass  time.Duration
		again bool // the first detector repeats itself on the way
		over  bool // or reports the end
		taken bool
	}{
		{"fresh", 9 * time.Minute, false, false, true},
		{"too old", 10 * time.Minute, false, false, false},
		{"repeated", 14 * time.Minute, true, false, true},
		{"over", time.Minute, false, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, quorate(2)...)
			w.must(policy.Observed, policy.CodeQuorum, syn("a", 1, "198.51.100.7/32", by("flow", 0)))
			w.now = w.now.Add(c.pass / 2)
			if c.again {
				w.must(policy.Observed, policy.CodeQuorum, syn("a", 1, "198.51.100.7/32", by("flow", 0)))
			}
			if c.over {
				w.must(policy.Ended, policy.CodeAttackOver, syn("a", 2, "198.51.100.7/32", by("flow", 0), ending))
			}
			w.now = w.now.Add(c.pass - c.pass/2)
			d := w.decide(syn("b", 1, "198.51.100.7/32", by("tap", 0)))
			if taken := d.Verdict.Kind == policy.Mitigated; taken != c.taken {
				t.Errorf("%s: mitigated %v, want %v", d.Verdict.Reason, taken, c.taken)
			}
		})
	}
}

// TestQuorumWithoutQuarantined: what a detector in quarantine has said makes no quorum.
func TestQuorumWithoutQuarantined(t *testing.T) {
	w := newWorld(t, quorate(2)...)
	w.must(policy.Observed, policy.CodeQuorum, syn("a", 1, "198.51.100.7/32", by("flow", 0)))
	w.decide(&policy.QuarantineRequest{Source: "flow"})
	w.must(policy.Observed, policy.CodeQuorum, syn("b", 1, "198.51.100.7/32", by("tap", 0)))
}

// TestJointConfidence: several detectors are surer than each, weighed with the trust in them, for the choice of a policy,
// for a condition, for the first step and for the later ones.
func TestJointConfidence(t *testing.T) {
	half := &policy.Detector{Name: "tap", Trust: 0.5}
	never := &policy.Detector{Name: "tap"}
	for _, c := range []struct {
		name   string
		change func(*policy.Policy)
		docs   []policy.Document
		code   policy.ReasonCode
		text   string
	}{
		{"enough together", func(p *policy.Policy) { p.MinConfidence = 0.8 }, nil, policy.CodeMitigated, ""},
		{"not enough", func(p *policy.Policy) { p.MinConfidence = 0.81 }, nil, policy.CodeNoPolicy, "the 2 detectors' joint confidence is 0.8, it asks for 0.81"},
		{"half trusted", func(p *policy.Policy) { p.MinConfidence = 0.71 }, []policy.Document{half}, policy.CodeNoPolicy, "is 0.7, it asks"},
		{"half trusted, enough", func(p *policy.Policy) { p.MinConfidence = 0.7 }, []policy.Document{half}, policy.CodeMitigated, ""},
		{"in a condition", func(p *policy.Policy) {
			p.When = "attack.confidence > 0.79 && attack.sources >= 2 && signal.confidence < 0.7"
		}, nil, policy.CodeMitigated, ""},
		{"first step", func(p *policy.Policy) {
			p.Action, p.Ladder = policy.Action{}, []policy.Step{{Action: policy.Action{Kind: policy.Discard}, MinConfidence: 0.9}}
		}, nil, policy.CodeLowConfidence, "the signal states 0.5, with the other detectors and the trust in each it is 0.8"},
		{"not trusted at all", func(p *policy.Policy) { p.Quorum = 2 }, []policy.Document{never}, policy.CodeQuorum, "flow reports syn_flood"},
		{"not listened to", func(p *policy.Policy) { p.Quorum, p.Sources = 2, []string{"tap", "other"} }, nil, policy.CodeQuorum, "tap reports"},
	} {
		t.Run(c.name, func(t *testing.T) {
			docs := quorate(0, c.docs...)
			for _, d := range docs {
				if p, ok := d.(*policy.Policy); ok && p.Name == "syn" {
					c.change(p)
				}
			}
			w := newWorld(t, docs...)
			first := w.decide(syn("a", 1, "198.51.100.0/24", by("flow", 0.6)))
			if first.Verdict.Kind == policy.Mitigated {
				t.Fatal(first.Verdict.Reason)
			}
			d := w.decide(syn("b", 1, "198.51.100.7/32", by("tap", 0.5)))
			if d.Verdict.Reason.Code != c.code {
				t.Fatalf("%s, want %s", d.Verdict.Reason, c.code)
			}
			expectText(t, d.Verdict.Reason, c.text)
		})
	}
}

// TestJointConfidenceOfAStep: a later step counts what all causes say, the reporting one as it says it now.
func TestJointConfidenceOfAStep(t *testing.T) {
	w := newWorld(t, append(inventory(), ladder(), blackholer("bh-1", "127.0.0.14", 100, flowspec.IPv4))...)
	sig := func(id, source string, c float64) *policy.SignalRequest {
		return signal(id, 1, policy.VectorDNSAmplification, pfxs("198.51.100.7/32"), by(source, c))
	}
	w.must(policy.Mitigated, policy.CodeMitigated, sig("a", "flow", 0.3))
	w.must(policy.Merged, policy.CodeMerged, sig("b", "tap", 0.3))
	if m := w.mitigation(1); m.Confidence != 0.51 || !strings.Contains(m.History[0].Text, "the confidence is now 0.51, of 2 detectors") {
		t.Errorf("confidence %v, history %+v", m.Confidence, m.History)
	}
	w.now = w.now.Add(4 * time.Minute)
	for _, c := range []struct {
		says float64
		code policy.ReasonCode
	}{{0.2, ""}, {0.3, policy.CodeEscalated}} {
		d := w.decide(&policy.EscalateRequest{Reports: []policy.AttackReport{{ID: 1, At: w.now, Confidence: c.says, Source: "tap"}}})
		if step := w.mitigation(1).Step; (step == 1) != (c.code == policy.CodeEscalated) {
			t.Errorf("tap says %v: step %d, %s", c.says, step, d.Verdict.Reason)
		}
	}
}

// TestDisagreement: what other detectors say of the same target is told.
func TestDisagreement(t *testing.T) {
	w := newWorld(t, quorate(2)...)
	w.must(policy.Mitigated, policy.CodeMitigated, signal("x", 1, policy.VectorUDPFlood, pfxs("198.51.100.0/28"), by("tap", 0)))
	d := w.must(policy.Observed, policy.CodeQuorum, syn("a", 1, "198.51.100.7/32", by("flow", 0)))
	expectText(t, d.Verdict.Reason, `tap reports udp_flood on 198.51.100.0/28 instead (attack "x")`)
	d = w.must(policy.Mitigated, policy.CodeMitigated, syn("b", 1, "198.51.100.7/32", by("third", 0)))
	if !noted(d.Mitigations[0], `tap reports udp_flood`) {
		t.Errorf("notes %q", d.Mitigations[0].Notes)
	}
}

// TestUnansweredIsBounded: attacks that nothing is done about cost a bounded log, whatever a detector sends; they are
// forgotten after a while.
func TestUnansweredIsBounded(t *testing.T) {
	w := newWorld(t, quorate(2)...)
	before := w.index
	refused := 0
	for i := range 3 * policy.MaxUnanswered {
		id := fmt.Sprint("a", i)
		for seq := range uint64(5) { // updates that say other things, and an end
			d := w.decide(syn(id, seq+1, fmt.Sprintf("198.51.100.%d/32", seq), by("flow", float64(seq)/10)))
			if d.Verdict.Reason.Code == policy.CodeTooManyUnanswered {
				refused++
			}
		}
		w.decide(syn(id, 9, "198.51.100.1/32", by("flow", 0), ending))
	}
	if n := int(w.index - before); n > 2*policy.MaxUnanswered || refused == 0 {
		t.Errorf("%d entries, %d refused", n, refused)
	}
	w.must(policy.Observed, policy.CodeQuorum, syn("z", 1, "198.51.100.7/32", by("tap", 0))) // others are heard
	w.now = w.now.Add(policy.AttackWindow)
	w.decide(&policy.LeaseRequest{}) // every thirty seconds or so
	w.must(policy.Observed, policy.CodeQuorum, syn("y", 1, "198.51.100.7/32", by("flow", 0)))
}

// TestPropertyTogether holds the joint confidence against the formula, and that another report never lowers it.
func TestPropertyTogether(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		docs := quorate(1)
		docs[len(docs)-1].(*policy.Policy).When = "attack.confidence >= 0.0" //nolint:forcetypeassert // the test's own
		trust := map[string]float64{}
		for i := range r.IntN(5) {
			name := fmt.Sprint("d", i)
			if r.IntN(2) == 0 {
				trust[name] = float64(r.IntN(11)) / 10
				docs = append(docs, &policy.Detector{Name: name, Trust: trust[name]})
			}
		}
		w := newWorld(t, docs...)
		wrong, last := 1.0, 0.0
		for i := range 1 + r.IntN(5) {
			name, c := fmt.Sprint("d", i), float64(r.IntN(11))/10
			weight, known := trust[name]
			if !known {
				weight = 1
			}
			wrong *= 1 - weight*c
			w.decide(syn(fmt.Sprint("a", i), 1, "198.51.100.7/32", by(name, c)))
			got := w.mitigation(1).Confidence
			if math.Abs(got-(1-wrong)) > 1e-6 || got < last {
				t.Fatalf("after %d detectors: %v, want %v, before %v", i+1, got, 1-wrong, last)
			}
			last = got
		}
	}
}

func quorumCases() []reasonCase {
	docs := quorate(3)
	var full []policy.Request
	for i := range policy.MaxUnanswered {
		full = append(full, syn(fmt.Sprint("u", i), 1, "198.51.100.7/32", by("flow", 0)))
	}
	return []reasonCase{
		{
			name: "one of three", docs: docs, req: syn("a", 1, "198.51.100.7/32"), kind: policy.Observed, code: policy.CodeQuorum,
			text: []string{"policy syn asks for 3 detectors", "fnm-1 reports syn_flood on 198.51.100.7", "2 more have to"},
		},
		{
			name: "too many", docs: docs, first: full, req: syn("a", 1, "198.51.100.7/32", by("flow", 0)), kind: policy.Refused, code: policy.CodeTooManyUnanswered,
			text: []string{"flow reports 256 attacks that nothing was done about in the last 10m0s", "asks for 3 detectors"},
		},
	}
}

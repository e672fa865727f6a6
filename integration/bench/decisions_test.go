package bench_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/policy"
)

// policies is how many policies decisions are measured with, and few how many mitigations are active then.
const (
	policies = 200
	few      = 1000
)

// manyPolicies are policies as a large operator has them: for other vectors, for single customers, for customers with a tag,
// and some for the measured vector that are asked first and lack something. One of these has a condition. The one that takes
// the signal comes last.
func manyPolicies() []policy.Document {
	var docs []policy.Document
	others := []policy.Vector{policy.VectorDNSAmplification, policy.VectorNTPAmplification, policy.VectorSYNFlood, policy.VectorICMPFlood}
	for i := range policies - 1 {
		p := &policy.Policy{
			Name: fmt.Sprintf("p%03d", i), Priority: 1 + i%50, Lifetime: time.Hour, Quiet: 5 * time.Minute,
			Ladder: []policy.Step{{Action: policy.Action{Kind: policy.RateLimit, Rate: 1e6}}, {Action: policy.Action{Kind: policy.Discard}, After: 5 * time.Minute}},
		}
		switch {
		case i < 3:
			p.Vectors, p.Priority, p.MinRate = []policy.Vector{benchVector}, 100+i, 1e12
		case i == 3:
			p.Vectors, p.Priority, p.When = []policy.Vector{benchVector}, 110, "signal.addresses > 256.0 && customer.active > 10"
		case i < 100:
			p.Vectors, p.Customers = []policy.Vector{benchVector, others[i%4]}, []policy.CustomerID{policy.CustomerID(fmt.Sprintf("c%04d", i))}
		case i < 110:
			p.Vectors, p.Tags = []policy.Vector{benchVector}, []string{"gold"}
		default:
			p.Vectors = []policy.Vector{others[i%4]}
		}
		docs = append(docs, p)
	}
	return docs
}

// measureDecisions takes what a signal costs that is merged, and one that starts a mitigation, each in turns with what no
// design can avoid for it.
func measureDecisions(b *testing.B, s *suite) {
	w := newWorld(b)
	w.must(&policy.ApplyRequest{Documents: manyPolicies()})
	w.must(&policy.ApplyRequest{Documents: []policy.Document{&policy.Policy{
		Name: "floods", Vectors: []policy.Vector{benchVector}, Priority: 1, Lifetime: time.Hour, Quiet: 5 * time.Minute,
		Ladder: []policy.Step{{Action: policy.Action{Kind: policy.RateLimit, Rate: 1e6}}, {Action: policy.Action{Kind: policy.Discard}, After: 5 * time.Minute}},
	}}})
	const first = 200 // the customers before have policies of their own
	for i := range few {
		w.must(&policy.SignalRequest{Signal: flood(fmt.Sprint("a", i), target(first+i, 0))})
	}
	runtime.GC()
	const chapter = "Decisions, 2,000 customers, 5,000 links, 200 policies, 1,000 active mitigations"
	const samples = 4000
	for _, row := range []struct {
		name string
		kind policy.VerdictKind
		most float64
		sig  func(i int) policy.Signal
		bare func(sig *policy.Signal)
		def  string
	}{
		{
			"a merge of what is reported again", policy.Merged, 2,
			func(i int) policy.Signal { return flood(fmt.Sprint("a", i%few), target(first+i%few, 0)) },
			func(sig *policy.Signal) { w.bareRepetition(sig) },
			"Decide on a signal of an attack that has its mitigation: by far the most frequent one",
		},
		{
			"a merge of a further attack", policy.Merged, 2,
			func(i int) policy.Signal { return flood(fmt.Sprint("x", i), target(first+i%few, 0)) },
			func(sig *policy.Signal) { w.bareMerge(sig) },
			"Decide on a new attack on an address that an active mitigation covers: it is judged, and becomes a further cause",
		},
		{
			"a new decision", policy.Mitigated, 50,
			func(i int) policy.Signal { return flood(fmt.Sprint("x", i), target(first+i%few, 7)) },
			func(sig *policy.Signal) { w.bareNew(sig) },
			"Decide on a new attack on an address that nothing covers: it gets a mitigation of its own",
		},
	} {
		var whole, bare []time.Duration
		e := w.entry()
		for i := range samples {
			sig := row.sig(i)
			request := &policy.SignalRequest{Signal: sig}
			t0 := time.Now()
			d := policy.Decide(w.state, request, e)
			t1 := time.Now()
			row.bare(&sig)
			t2 := time.Now()
			if d.Verdict.Kind != row.kind {
				b.Fatalf("%s: verdict %d: %s", row.name, d.Verdict.Kind, d.Verdict.Reason.Text)
			}
			whole, bare = append(whole, t1.Sub(t0)), append(bare, t2.Sub(t1))
		}
		mid, under := quantile(whole, 0.5), quantile(bare, 0.5)
		s.report.add(figure{Chapter: chapter, Name: row.name + ", p50", Value: micro(mid), Unit: "us", AtMost: row.most, Definition: row.def + fmt.Sprintf("; %d samples", samples)})
		s.report.add(figure{Chapter: chapter, Name: row.name + ", p99", Value: micro(quantile(whole, 0.99)), Unit: "us", Definition: "the slowest of a hundred"})
		s.report.add(figure{Chapter: chapter, Name: row.name + ", bare, p50", Value: micro(under), Unit: "us", Definition: "in turns with it: what no design can avoid, see docs/reference/benchmarks.md"})
		s.report.add(figure{Chapter: chapter, Name: row.name + ", ratio to bare", Value: float64(mid) / float64(under), Unit: "", Definition: "of the medians"})
	}
	measureCarpet(b, s, w)
}

// measureCarpet takes one decision about a thousand targets in one /22.
func measureCarpet(b *testing.B, s *suite, w *world) {
	w.must(&policy.ApplyRequest{Documents: []policy.Document{
		&policy.Customer{ID: "bombed", Name: "Bombed", Official: []netip.Prefix{netip.MustParsePrefix("198.18.0.0/22")}},
		&policy.Policy{Name: "carpets", Vectors: []policy.Vector{policy.VectorCarpetBombing}, Action: policy.Action{Kind: policy.RateLimit, Rate: 1e6}},
	}})
	sig := flood("carpet", netip.Prefix{})
	sig.Vector, sig.Targets = policy.VectorCarpetBombing, nil
	for i := range 1000 {
		sig.Targets = append(sig.Targets, netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}), 32))
	}
	request, e := &policy.SignalRequest{Signal: sig}, w.entry()
	var took []time.Duration
	var d policy.Decision
	for range 50 {
		t0 := time.Now()
		d = policy.Decide(w.state, request, e)
		took = append(took, time.Since(t0))
	}
	if d.Verdict.Kind != policy.Mitigated {
		b.Fatalf("verdict %d: %s", d.Verdict.Kind, d.Verdict.Reason.Text)
	}
	rules := float64(len(d.Mitigations[0].Rules))
	const chapter = "Carpet bombing, 1,000 targets in one /22"
	s.report.add(figure{Chapter: chapter, Name: "rules", Value: rules, Unit: "", AtMost: 4, Definition: "of the mitigation that one Decide on one signal with all targets starts"})
	s.report.add(figure{Chapter: chapter, Name: "that decision, p50", Value: micro(quantile(took, 0.5)), Unit: "us", Definition: "50 samples, in the inventory above"})
}

// bareRepetition is what an answer to a repetition cannot do without: the identity of what it says, what was known of the
// attack, and its mitigation.
func (w *world) bareRepetition(sig *policy.Signal) *policy.Mitigation {
	att, known := w.state.Attack(sig.Source, sig.AttackID)
	m, ok := w.state.Mitigation(att.Mitigation)
	if !known || !ok || policy.SignalDigest(*sig) != att.Digest {
		w.b.Fatal("the bare part found nothing")
	}
	return m
}

// bareMerge is what a merge cannot do without: what was known of the attack, the identity of what it says, whose the address
// is, and a copy of the record that gets one cause more.
func (w *world) bareMerge(sig *policy.Signal) *policy.Mitigation {
	_, known := w.state.Attack(sig.Source, sig.AttackID)
	digest := policy.SignalDigest(*sig)
	l := w.state.Lookup(sig.Targets[0].Addr())
	m, ok := w.state.Mitigation(policy.MitigationID(1 + int(digest[0])))
	if known || l.Customer == nil || !ok {
		w.b.Fatal("the bare part found nothing")
	}
	cp := *m
	cp.Causes = append(cp.Causes[:len(cp.Causes):len(cp.Causes)], policy.Cause{Source: sig.Source, AttackID: sig.AttackID, Since: w.now})
	return &cp
}

// bareNew is what a new mitigation cannot do without: the same, and a rule of which it is known that routers survive it.
func (w *world) bareNew(sig *policy.Signal) *policy.Mitigation {
	m := w.bareMerge(sig)
	match, err := flowspec.NewMatch(flowspec.IPv4, flowspec.Destination(sig.Targets[0]), flowspec.Proto(17))
	if err == nil {
		err = flowspec.CheckSafe(match)
	}
	if err != nil {
		w.b.Fatal(err)
	}
	m.Rules = []flowspec.Rule{{Match: match, Actions: []flowspec.Action{flowspec.RateLimit(1e6)}}}
	return m
}

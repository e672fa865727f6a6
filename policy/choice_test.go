package policy_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/policy"
)

// taking is the inventory with one policy for SYN floods, changed, and a gold customer.
func taking(change func(*policy.Policy)) []policy.Document {
	pol := &policy.Policy{
		Name: "syn", Priority: 20, Vectors: []policy.Vector{policy.VectorSYNFlood}, Action: policy.Action{Kind: policy.Discard}, Groups: []string{"edge"},
	}
	change(pol)
	docs := append(inventory(), pol)
	for _, d := range docs {
		if c, ok := d.(*policy.Customer); ok && c.ID == "uni-a" {
			c.Tags = []string{"gold", "research"}
		}
	}
	return docs
}

// TestPolicyTakes asks one policy for each of its selectors whether it takes a signal, at the edge and beyond it, and what
// is said when it does not.
func TestPolicyTakes(t *testing.T) {
	sig := func(s *policy.Signal) {
		s.BitsPerSecond, s.PacketsPerSecond, s.Confidence, s.Protocols = 8e9, 1e6, 0.8, []uint8{6}
	}
	for _, c := range []struct {
		name   string
		change func(*policy.Policy)
		taken  bool
		why    string // in the sentence that nobody takes it
	}{
		{"nothing asked for", func(*policy.Policy) {}, true, ""},
		{"another vector", func(p *policy.Policy) { p.Vectors = []policy.Vector{policy.VectorGREFlood} }, false, ""},
		{"another customer", func(p *policy.Policy) { p.Customers = []policy.CustomerID{"solo-c"} }, false, "it is for customer solo-c, not for uni-a"},
		{"this customer", func(p *policy.Policy) { p.Customers = []policy.CustomerID{"solo-c", "uni-a"} }, true, ""},
		{"another detector", func(p *policy.Policy) { p.Sources = []string{"other"} }, false, "it listens to other, not to fnm-1"},
		{"one of the tags", func(p *policy.Policy) { p.Tags = []string{"silver", "gold"} }, true, ""},
		{"none of the tags", func(p *policy.Policy) { p.Tags = []string{"silver"} }, false, "customer uni-a has none of the tags silver"},
		{"rate at the edge", func(p *policy.Policy) { p.MinRate = 1e9 }, true, ""},
		{"rate beyond", func(p *policy.Policy) { p.MinRate = 1.1e9 }, false, "the signal says 8Gbps, it asks for 8.8Gbps"},
		{"packets at the edge", func(p *policy.Policy) { p.MinPackets = 1e6 }, true, ""},
		{"packets beyond", func(p *policy.Policy) { p.MinPackets = 2e6 }, false, "the signal says 1Mpps, it asks for 2Mpps"},
		{"confidence at the edge", func(p *policy.Policy) { p.MinConfidence = 0.8 }, true, ""},
		{"confidence beyond", func(p *policy.Policy) { p.MinConfidence = 0.9 }, false, "the signal's confidence is 0.8, it asks for 0.9"},
		{"condition that holds", func(p *policy.Policy) {
			p.When = `signal.bps >= 8e9 && signal.family == 4 && 6 in signal.protocols && signal.kind == "start" && signal.addresses == 1.0 &&
				customer.tags.exists(t, t.startsWith("go")) && customer.active == 0 && customer.name == "University A" &&
				signal.targets == ["198.51.100.7/32"] && signal.source == "fnm-1" && signal.vector == "syn_flood" && customer.within == "" &&
				customer.id == "uni-a" && signal.pps > 1 && signal.confidence < 1`
		}, true, ""},
		{"condition that does not", func(p *policy.Policy) { p.When = "signal.bps > 8e9" }, false, `its condition "signal.bps > 8e9" does not hold`},
		{"condition without an answer", func(p *policy.Policy) { p.When = `signal.targets[3] == "x"` }, false, "has no answer"},
		{"two things at once", func(p *policy.Policy) { p.MinConfidence, p.MinPackets = 0.9, 2e6 }, false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, taking(c.change)...)
			d := w.decide(signal("a", 1, policy.VectorSYNFlood, pfxs("198.51.100.7/32"), sig))
			if got := d.Verdict.Kind == policy.Mitigated; got != c.taken {
				t.Fatalf("taken: %t, want %t: %s", got, c.taken, d.Verdict.Reason.Text)
			}
			if !c.taken {
				expectText(t, d.Verdict.Reason, "no policy takes vector syn_flood", c.why)
			}
			if c.why == "" && strings.Contains(d.Verdict.Reason.Text, "nearest") {
				t.Errorf("a miss by two things is told as near: %s", d.Verdict.Reason.Text)
			}
		})
	}
}

// TestNearMissesAreKept holds that a mitigation remembers who did not start it, and why.
func TestNearMissesAreKept(t *testing.T) {
	docs := taking(func(p *policy.Policy) { p.Name, p.MinConfidence = "sure", 0.9 })
	second := *docs[len(docs)-1].(*policy.Policy)
	second.Name, second.MinConfidence, second.Priority = "unsure", 0, 10
	third := second
	third.Name, third.Priority = "later", 1
	w := newWorld(t, append(docs, &second, &third)...)
	d := w.decide(signal("a", 1, policy.VectorSYNFlood, pfxs("198.51.100.7/32"), func(s *policy.Signal) { s.Confidence = 0.5 }))
	want := []policy.NearMiss{
		{Policy: "sure", Why: "the signal's confidence is 0.5, it asks for 0.9"},
		{Policy: "later", Why: "it would take the signal as well, and is asked later"},
	}
	if d := cmp.Diff(want, d.Mitigations[0].NearMisses); d != "" {
		t.Errorf("near misses (-want +got):\n%s", d)
	}
}

// TestObservingChangesNothing holds that a policy that only observes says what it would have done, and does not do it.
func TestObservingChangesNothing(t *testing.T) {
	w := newWorld(t, taking(func(p *policy.Policy) { p.Mode = policy.ModeObserve })...)
	for seq := range uint64(3) {
		d := w.must(policy.Observed, policy.CodePolicyObserves, signal("a", 1+seq, policy.VectorSYNFlood, pfxs("198.51.100.7/32")))
		expectText(t, d.Verdict.Reason, "policy syn only observes: would have been mitigated with 1 rule")
		if len(d.Changes) > 0 || len(d.Mitigations) > 0 {
			t.Errorf("it changes %d things", len(d.Changes))
		}
	}
	d := w.must(policy.Observed, policy.CodeDrill, signal("b", 1, policy.VectorSYNFlood, pfxs("198.51.100.7/32"), func(s *policy.Signal) { s.Drill = true }))
	expectText(t, d.Verdict.Reason, "drill: would have been observed only: policy syn only observes")
}

// TestMatchOn holds that a policy uses those parts of a signal only that it names.
func TestMatchOn(t *testing.T) {
	sig := func(s *policy.Signal) {
		s.Protocols, s.SourcePorts, s.DestinationPorts = []uint8{17}, ranges(53), ranges(80)
		s.PacketLengths, s.SourcePrefixes = ranges(1000), pfxs("100.64.0.0/10")
	}
	for _, c := range []struct {
		on   []policy.Hint
		want string
	}{
		{nil, "src 100.64.0.0/10 proto udp dport 80 sport 53 len 1000"},
		{[]policy.Hint{policy.HintProtocols}, "proto udp"},
		{[]policy.Hint{policy.HintProtocols, policy.HintSourcePorts}, "proto udp sport 53"},
		{[]policy.Hint{policy.HintDestinationPorts, policy.HintProtocols}, "proto udp dport 80"},
		{[]policy.Hint{policy.HintLengths, policy.HintProtocols}, "proto udp len 1000"},
		{[]policy.Hint{policy.HintSources, policy.HintProtocols}, "src 100.64.0.0/10 proto udp"},
	} {
		t.Run(fmt.Sprint(c.on), func(t *testing.T) {
			w := newWorld(t, taking(func(p *policy.Policy) { p.Vectors, p.MatchOn = []policy.Vector{policy.VectorUnknown}, c.on })...)
			d := w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, policy.VectorUnknown, pfxs("198.51.100.7/32"), sig))
			if got := strings.TrimPrefix(d.Mitigations[0].Variants[0].String(), "ipv4 "); got != c.want {
				t.Errorf("match %q, want %q", got, c.want)
			}
		})
	}
	w := newWorld(t, taking(func(p *policy.Policy) { p.MaxMatches = 1 })...)
	d := w.must(policy.Refused, policy.CodeTooManyVariants, signal("a", 1, policy.VectorSYNFlood, pfxs("198.51.100.7/32"), func(s *policy.Signal) {
		s.DestinationPorts = ranges(1, 3, 5, 7, 9, 11)
	}))
	expectText(t, d.Verdict.Reason, "policy syn would need 2 matches", "its max_matches is 1")
}

// TestPropertyChoice holds the index against asking all policies in their order.
func TestPropertyChoice(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	vectors := []policy.Vector{policy.VectorSYNFlood, policy.VectorUDPFlood, policy.VectorGREFlood}
	some := func(n int) bool { return r.IntN(n) == 0 }
	for range 300 {
		docs := without([]string{"amplification", "floods"})
		var pols []*policy.Policy
		for i := range 1 + r.IntN(12) {
			p := &policy.Policy{Name: fmt.Sprintf("p%02d", i), Priority: r.IntN(4), Action: policy.Action{Kind: policy.Discard}, Groups: []string{"edge"}}
			for _, v := range vectors {
				if some(2) {
					p.Vectors = append(p.Vectors, v)
				}
			}
			for _, id := range []policy.CustomerID{"uni-a", "solo-c"} {
				if some(3) {
					p.Customers = append(p.Customers, id)
				}
			}
			if some(3) {
				p.MinConfidence = float64(r.IntN(10)) / 10
			}
			if some(4) {
				p.When = fmt.Sprintf("signal.bps >= %d.0", r.IntN(4))
			}
			docs, pols = append(docs, p), append(pols, p)
		}
		slices.SortStableFunc(pols, func(a, b *policy.Policy) int { return b.Priority - a.Priority })
		w := newWorld(t, docs...)
		for range 10 {
			v, conf, bps := vectors[r.IntN(3)], float64(r.IntN(10))/10, float64(r.IntN(4))
			target, owner := "198.51.100.7/32", policy.CustomerID("uni-a")
			if some(2) {
				target, owner = "192.0.2.7/32", "solo-c"
			}
			want := ""
			for _, p := range pols {
				if (len(p.Vectors) == 0 || slices.Contains(p.Vectors, v)) && (len(p.Customers) == 0 || slices.Contains(p.Customers, owner)) &&
					conf >= p.MinConfidence && (p.When == "" || bps >= float64(p.When[len(p.When)-3]-'0')) {
					want = p.Name
					break
				}
			}
			d := policy.Decide(w.s, signal("a", 1, v, pfxs(target), func(s *policy.Signal) { s.Confidence, s.BitsPerSecond = conf, bps }),
				policy.Entry{Index: w.s.Index() + 1, At: w.now, By: "detector/fnm-1"})
			got := ""
			if len(d.Mitigations) > 0 {
				got = d.Mitigations[0].Policy
			}
			if got != want {
				t.Fatalf("policy %q takes it, want %q: %s", got, want, d.Verdict.Reason.Text)
			}
		}
	}
}

// TestConditionErrors holds what an author of a policy is told.
func TestConditionErrors(t *testing.T) {
	for _, c := range []struct{ name, when, want string }{
		{"syntax", "signal.bps >", "line 1, column 13"},
		{"unknown name", "signal.bits > 1.0", "undeclared reference to 'signal.bits' (did you mean 'signal.bps'?)"},
		{"no truth", "signal.bps * 2.0", "it says double"},
		{"wrong types", `signal.source > 3`, "> does not go with (string, int)"},
		{"too long", strings.Repeat(" ", 1001), "1001 octets, at most 1000"},
		{"too dear", `signal.targets.all(a, signal.targets.all(b, signal.targets.all(c, a == b || b == c)))`, "may cost"},
	} {
		t.Run(c.name, func(t *testing.T) {
			vs := (&policy.Policy{Name: "p", Action: policy.Action{Kind: policy.Discard}, When: c.when}).Validate()
			if len(vs) != 1 || vs[0].Field != "when" || !strings.Contains(vs[0].Problem, c.want) {
				t.Errorf("%+v, want %q", vs, c.want)
			}
		})
	}
}

// FuzzCondition holds that whatever is accepted as a condition can be asked, and gives the same answer each time.
func FuzzCondition(f *testing.F) {
	for _, s := range []string{"true", "signal.bps > 1e9", `"gold" in customer.tags`, "signal.targets.size() > 3", `signal.targets[0].matches("^1")`, "1/0 == 1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, when string) {
		p := &policy.Policy{
			Name: "p", Vectors: []policy.Vector{policy.VectorSYNFlood}, Action: policy.Action{Kind: policy.Discard}, Groups: []string{"edge"}, When: when,
		}
		if len(p.Validate()) > 0 {
			return
		}
		w := newWorld(t, append(inventory(), p)...)
		req := signal("a", 1, policy.VectorSYNFlood, pfxs("198.51.100.7/32"))
		e := policy.Entry{Index: w.s.Index() + 1, At: w.now, By: "detector/fnm-1"}
		first, second := policy.Decide(w.s, req, e), policy.Decide(w.s, req, e)
		if d := cmp.Diff(first.Verdict, second.Verdict); d != "" {
			t.Errorf("another verdict the second time:\n%s", d)
		}
	})
}

// ranges are single values.
func ranges(values ...uint64) []flowspec.Range {
	var out []flowspec.Range
	for _, v := range values {
		out = append(out, flowspec.One(v))
	}
	return out
}

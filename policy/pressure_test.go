package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/policy"
)

// apart are the documents with policies that join no targets.
func apart(docs []policy.Document) []policy.Document {
	out := slices.Clone(docs)
	for i, d := range out {
		if p, ok := d.(*policy.Policy); ok {
			cp := *p
			cp.Aggregate = policy.Aggregate{MinTargets: 2, MinShare: 100, WidestIPv4: 32, WidestIPv6: 128}
			out[i] = &cp
		}
	}
	return out
}

// alone are documents with solo-c as change alters it, policies that join no targets, and one detector that may fill everything.
func alone(change func(*policy.Customer)) []policy.Document {
	return append(apart(owned(change)), bounds(func(d *policy.Safeguards) { d.SourceShare = 100 }))
}

// crowd are signals of as many attacks, on 192.0.2.1, 192.0.2.2, ... of solo-c.
func crowd(n int) []policy.Request {
	var out []policy.Request
	for i := range n {
		out = append(out, signal(fmt.Sprint("h", i), 1, policy.VectorDNSAmplification, pfxs(fmt.Sprintf("192.0.2.%d/32", i+1))))
	}
	return out
}

// TestQuotaPressure: where a quota has no room for one more mitigation or rule, those of a kind that are near go together, first
// without an address more, then by the prefix around them, and both are told. The attacks keep what takes their place alive.
func TestQuotaPressure(t *testing.T) {
	all := func(d *policy.Safeguards) { d.OperatorShare, d.SourceShare = 0, 100 }
	amplification := func(change func(*policy.Policy)) func(docs []policy.Document) []policy.Document {
		return func(docs []policy.Document) []policy.Document {
			for _, d := range docs {
				if p, ok := d.(*policy.Policy); ok && p.Name == "amplification" {
					change(p)
				}
			}
			return docs
		}
	}
	same := func(docs []policy.Document) []policy.Document { return docs }
	for _, row := range []struct {
		name       string
		change     func(*policy.Customer)
		guard      func(*policy.Safeguards)
		docs       func([]policy.Document) []policy.Document
		targets    []string // of what is active in the end
		collateral float64
		text       []string
	}{
		{
			"quota of mitigations", func(c *policy.Customer) { c.MaxMitigations = 2 }, all, same,
			[]string{"192.0.2.1/32,192.0.2.4/32", "192.0.2.2/32,192.0.2.3/32"},
			0,
			[]string{"put together with what is near, for want of room (customer_quota)", "2 active mitigations of at most 2", "takes the place of M"},
		},
		{
			"quota of rules", func(c *policy.Customer) { c.MaxRules = 4 }, all, same,
			[]string{"192.0.2.0/29", "192.0.2.2/32,192.0.2.3/32"},
			6,
			[]string{"max_rules of the customer", "aggregated:", "that were not reported are acted on as well"},
		},
		{"limit of the policy", func(*policy.Customer) {}, all, amplification(func(p *policy.Policy) { p.MaxMitigations = 1 }), []string{"192.0.2.1/32,192.0.2.2/32,192.0.2.3/32,192.0.2.4/32"}, 0, []string{"policy_limit"}},
		{
			"limit of all mitigations", func(*policy.Customer) {}, func(d *policy.Safeguards) { all(d); d.MaxMitigations = 1 }, same,
			[]string{"192.0.2.1/32,192.0.2.2/32,192.0.2.3/32,192.0.2.4/32"},
			0,
			[]string{"mitigation_limit"},
		},
		{
			"kept for operators", func(*policy.Customer) {}, func(d *policy.Safeguards) { d.SourceShare = 100; d.MaxMitigations, d.OperatorShare = 2, 50 }, same,
			[]string{"192.0.2.1/32,192.0.2.2/32,192.0.2.3/32,192.0.2.4/32"},
			0,
			[]string{"operator_share"},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			sg := policy.DefaultSafeguards()
			row.guard(sg)
			w := newWorld(t, row.docs(append(owned(row.change), sg))...)
			for _, r := range crowd(4) {
				w.must(policy.Mitigated, policy.CodeMitigated, r)
			}
			var got []string
			var notes string
			collateral := 0.0
			for m := range w.s.Active() {
				var targets []string
				for _, p := range m.Targets {
					targets = append(targets, p.String())
				}
				got = append(got, strings.Join(targets, ","))
				notes += strings.Join(m.Notes, "\n") + "\n"
				n, _ := m.Collateral()
				collateral += n
			}
			slices.Sort(got)
			if !slices.Equal(got, row.targets) || collateral != row.collateral {
				t.Errorf("active for %q with a collateral of %v, want %q and %v", got, collateral, row.targets, row.collateral)
			}
			for _, text := range row.text {
				if !strings.Contains(notes, text) {
					t.Errorf("no %q in the notes:\n%s", text, notes)
				}
			}
			for i := range 4 {
				w.must(policy.Ended, policy.CodeAttackOver, end(fmt.Sprint("h", i), 2))
			}
			if n := w.s.ActiveCount(); n != 0 {
				t.Errorf("%d mitigations outlive their attacks", n)
			}
		})
	}
}

// TestSourceSharePressure: one detector that fills its share has what it reports put together, and nobody else acted on for it.
func TestSourceSharePressure(t *testing.T) {
	sg := bounds(func(d *policy.Safeguards) { d.MaxMitigations, d.OperatorShare = 4, 0 })
	w := newWorld(t, append(owned(func(*policy.Customer) {}), sg)...)
	for _, r := range crowd(6) {
		w.must(policy.Mitigated, policy.CodeMitigated, r)
	}
	for m := range w.s.Active() {
		if n, _ := m.Collateral(); n != 0 {
			t.Errorf("M%d acts on %v addresses that nobody reported: %v", m.ID, n, m.Targets)
		}
	}
	if n, _ := w.s.StartedBy("fnm-1"); n != 2 {
		t.Errorf("%d active, one detector may have 2", n)
	}
}

// TestSourceShareOfCustomer: what one detector reports fills no more of a customer's quota, and of a router's table, than its share.
func TestSourceShareOfCustomer(t *testing.T) {
	w := newWorld(t, apart(owned(func(c *policy.Customer) { c.MaxMitigations = 5 }))...)
	for i, r := range crowd(3) {
		if i < 2 {
			w.must(policy.Mitigated, policy.CodeMitigated, r)
			continue
		}
		d := w.must(policy.Refused, policy.CodeSourceShare, r)
		expectText(t, d.Verdict.Reason, "2 active mitigations of customer solo-c", "may have 2")
	}
	w.must(policy.Mitigated, policy.CodeMitigated, signal("x", 1, policy.VectorDNSAmplification, pfxs("192.0.2.9/32"), second))
	w = newWorld(t, apart(owned(func(c *policy.Customer) { c.MaxRules = 12 }))...)
	w.must(policy.Mitigated, policy.CodeMitigated, crowd(1)[0])
	w.must(policy.Mitigated, policy.CodeMitigated, crowd(2)[1])
	expectText(t, w.must(policy.Refused, policy.CodeSourceShare, crowd(3)[2]).Verdict.Reason, "4 rules of customer solo-c", "may have 5")

	w = newWorld(t, apart(without([]string{"edge-1", "edge-2"}, xr(20)))...) // 16 may be used, policies 13 of them, one detector 6; a host takes 3
	for i, h := range hosts(3) {
		if i < 2 {
			w.must(policy.Mitigated, policy.CodeMitigated, h)
			continue
		}
		d := w.must(policy.Refused, policy.CodeSourceShare, h)
		expectText(t, d.Verdict.Reason, "6 table entries of router xr-1", "may have 6")
	}
	w.must(policy.Ended, policy.CodeAttackOver, end("h0", 2)) // what is over counts no more
	w.must(policy.Mitigated, policy.CodeMitigated, hosts(3)[2])
}

// TestNarrowsForSeveral: a mitigation of several attacks narrows to what they report together, but not at once, not by little,
// and not for one of them only.
func TestNarrowsForSeveral(t *testing.T) {
	w := newWorld(t, bombed()...)
	bomb := func(id string, seq uint64, targets ...string) *policy.SignalRequest {
		return signal(id, seq, policy.VectorCarpetBombing, pfxs(targets...))
	}
	w.must(policy.Mitigated, policy.CodeMitigated, bomb("a", 1, "100.64.0.0/24"))
	w.must(policy.Merged, policy.CodeMerged, bomb("b", 1, "100.64.0.0/25"))
	w.must(policy.Merged, policy.CodeMerged, bomb("c", 1, "100.64.0.128/26"))
	w.now = w.now.Add(time.Minute)
	w.must(policy.Merged, policy.CodeRepetition, bomb("a", 2, "100.64.0.0/27"))  // b reports half of it
	w.must(policy.Merged, policy.CodeRepetition, bomb("b", 2, "100.64.0.32/27")) // and c a quarter: half in all
	d := w.must(policy.Merged, policy.CodeNarrowed, bomb("c", 2, "100.64.0.128/28"))
	expectText(t, d.Verdict.Reason, "M1 narrows to 100.64.0.0/27, 100.64.0.32/27, 100.64.0.128/28", "3 attacks")
	m := w.mitigation(1)
	same(t, "pieces", pfxs("100.64.0.0/26", "100.64.0.128/28"), m.Cut.Pieces)
	if len(m.Causes) != 3 || m.Phase != policy.Active || m.Step != 0 {
		t.Errorf("M1: %d causes, phase %v, step %d", len(m.Causes), m.Phase, m.Step)
	}
	w.must(policy.Ended, policy.CodeAttackOver, end("b", 3))
	w.must(policy.Merged, policy.CodeRepetition, bomb("a", 3, "100.64.0.1/32")) // within the minute
	w.now = w.now.Add(time.Minute)
	w.must(policy.Merged, policy.CodeNarrowed, bomb("a", 4, "100.64.0.1/32"))
	same(t, "pieces", pfxs("100.64.0.1/32", "100.64.0.128/28"), w.mitigation(1).Cut.Pieces)
	d = w.must(policy.Mitigated, policy.CodeMitigated, bomb("a", 5, "100.64.0.0/24")) // back again is another one
	if n := len(w.mitigation(1).Causes); n != 1 || d.Verdict.Mitigation == 1 {
		t.Errorf("M1 has %d causes, the verdict is M%d", n, d.Verdict.Mitigation)
	}
}

// TestGatheredNarrowsBack: what gathered the hosts of a prefix lets it go again when most of its attacks are over, for a prefix
// with more causes than are listed too.
func TestGatheredNarrowsBack(t *testing.T) {
	w := newWorld(t, bombed()...)
	host := func(i int, seq uint64) *policy.SignalRequest {
		return signal(fmt.Sprint("h", i), seq, policy.VectorCarpetBombing, pfxs(fmt.Sprintf("100.64.0.%d/32", 64+i)))
	}
	for i := range 32 {
		if d := w.decide(host(i, 1)); d.Verdict.Kind != policy.Mitigated && d.Verdict.Kind != policy.Merged {
			t.Fatal(d.Verdict.Reason)
		}
	}
	w.now = w.now.Add(2 * time.Minute)
	for i := range 32 {
		if i != 3 && i != 30 {
			w.must(policy.Ended, policy.CodeAttackOver, end(fmt.Sprint("h", i), 2))
		}
	}
	d := w.decide(host(30, 2))
	if d.Verdict.Reason.Code != policy.CodeNarrowed {
		t.Fatalf("%s: %s", d.Verdict.Reason.Code, d.Verdict.Reason.Text)
	}
	m := d.Mitigations[0]
	same(t, "pieces", pfxs("100.64.0.67/32", "100.64.0.94/32"), m.Cut.Pieces)
	if n, _ := m.Collateral(); n != 0 || len(m.Reported) != 0 {
		t.Errorf("collateral %v of %v", n, m.Reported)
	}
}

// TestAggregateIsNotBlackholed: a step to a blackhole is refused for an aggregate, and it stays at the step before; targets of
// a blackhole are not joined.
func TestAggregateIsNotBlackholed(t *testing.T) {
	steps := ladder()
	steps.Vectors = []policy.Vector{policy.VectorCarpetBombing}
	steps.Aggregate = policy.Aggregate{MinTargets: 2, MinShare: 20, WidestIPv4: 24, WidestIPv6: 48}
	steps.Ladder = []policy.Step{steps.Ladder[0], {Action: policy.Action{Kind: policy.RTBH}, After: time.Minute}}
	docs := append(without(nil, steps), blackholer("bh-1", "127.0.0.14", 100, flowspec.IPv4))
	w := newWorld(t, docs...)
	w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, policy.VectorCarpetBombing, pfxs("198.51.100.8/32", "198.51.100.9/32", "198.51.100.11/32"), sure(0.9)))
	w.now = w.now.Add(3 * time.Minute)
	w.decide(w.outlasts(time.Minute, 0.9))
	m := w.mitigation(1)
	if m.Step != 0 || m.Blocked.Code != policy.CodeRTBHTooWide || len(m.Reported) == 0 {
		t.Fatalf("step %d, blocked by %+v", m.Step, m.Blocked)
	}
	expectText(t, m.Blocked, "3 addresses under attack are answered by 198.51.100.8/30", "that nobody attacks")

	steps.Ladder, steps.Action = nil, policy.Action{Kind: policy.RTBH}
	w = newWorld(t, docs...)
	d := w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, policy.VectorCarpetBombing, pfxs("198.51.100.8/32", "198.51.100.9/32", "198.51.100.11/32"), sure(0.9)))
	same(t, "pieces", pfxs("198.51.100.8/32", "198.51.100.9/32", "198.51.100.11/32"), d.Mitigations[0].Cut.Pieces)
}

// TestPendingTellsCollateral: who is asked to approve an aggregate is told whom it hits besides.
func TestPendingTellsCollateral(t *testing.T) {
	p := asking()
	p.Vectors, p.Aggregate = []policy.Vector{policy.VectorCarpetBombing}, policy.Aggregate{MinTargets: 2, MinShare: 20, WidestIPv4: 24, WidestIPv6: 48}
	w := asks(t, p)
	d := w.must(policy.AwaitsApproval, policy.CodeAwaitsApproval, signal("a", 1, policy.VectorCarpetBombing, pfxs("198.51.100.8/32", "198.51.100.11/32"), sure(0.9)))
	expectText(t, d.Verdict.Reason, "2 official addresses that were not reported are acted on as well")
}

package policy_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/policy"
)

// bombed is the inventory with a customer of one /22.
func bombed() []policy.Document {
	return append(inventory(), &policy.Customer{ID: "net-d", Name: "Network D", Official: pfxs("100.64.0.0/22")})
}

// hostsOf returns n different addresses of a /22, in a random order.
func hostsOf(r *rand.Rand, base string, n int) []netip.Prefix {
	a := netip.MustParseAddr(base).As4()
	var out []netip.Prefix
	for _, i := range r.Perm(1024)[:n] {
		out = append(out, netip.PrefixFrom(netip.AddrFrom4([4]byte{a[0], a[1], a[2] + byte(i>>8), byte(i)}), 32))
	}
	return out
}

// TestCarpetBombing: a thousand targets in one /22 end in at most four rules within one decision, with the collateral told.
func TestCarpetBombing(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, n := range []int{1000, 1024, 300} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w := newWorld(t, bombed()...)
			d := w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, policy.VectorCarpetBombing, hostsOf(r, "100.64.0.0", n)))
			m := d.Mitigations[0]
			if len(m.Rules) > 4 {
				t.Errorf("%d rules", len(m.Rules))
			}
			same(t, "pieces", pfxs("100.64.0.0/22"), m.Cut.Pieces)
			if addresses, share := m.Collateral(); n < 1024 && (addresses != float64(1024-n) || share != addresses/1024) {
				t.Errorf("collateral %v, %v", addresses, share)
			}
			if n < 1024 {
				expectText(t, d.Verdict.Reason, fmt.Sprintf("aggregated: %d reported addresses became 100.64.0.0/22; %d official addresses", n, 1024-n))
			}
		})
	}
}

// TestCarpetBombingHostByHost: single hosts, each an attack of its own, become prefixes that take the place of what was there
// for the hosts, in the decisions in which they become dense; the attacks end with the last of them.
func TestCarpetBombingHostByHost(t *testing.T) {
	w := newWorld(t, bombed()...)
	hosts := hostsOf(rand.New(rand.NewPCG(2, 2)), "100.64.0.0", 1000)
	for i, h := range hosts {
		d := w.decide(signal(fmt.Sprint("h", i), 1, policy.VectorCarpetBombing, []netip.Prefix{h}))
		if d.Verdict.Kind != policy.Mitigated && d.Verdict.Kind != policy.Merged {
			t.Fatalf("host %d: %v", i, d.Verdict.Reason)
		}
	}
	rules, causes := 0, 0
	for m := range w.s.Active() {
		rules += len(m.Rules)
		causes += len(m.Causes) + m.MoreCauses
		for _, p := range m.Cut.Pieces {
			if !pfx("100.64.0.0/22").Contains(p.Addr()) || p.Bits() < 22 {
				t.Errorf("M%d acts on %s", m.ID, p)
			}
		}
	}
	if rules > 4 || causes != len(hosts) {
		t.Errorf("%d rules for %d causes, want at most 4 for %d", rules, causes, len(hosts))
	}
	for i := range hosts {
		w.must(policy.Ended, policy.CodeAttackOver, end(fmt.Sprint("h", i), 2))
	}
	if n := w.s.ActiveCount(); n != 0 {
		t.Errorf("%d mitigations outlive their attacks", n)
	}
}

// TestGatheringWaitsForNobody: hosts that may be acted on at once do not await a second person because the prefix around
// them would.
func TestGatheringWaitsForNobody(t *testing.T) {
	few := policy.DefaultSafeguards()
	few.ApprovalAddresses = 200
	w := newWorld(t, append(without(nil, few), &policy.Customer{ID: "net-d", Name: "Network D", Official: pfxs("100.64.0.0/22")})...)
	hosts := hostsOf(rand.New(rand.NewPCG(2, 2)), "100.64.0.0", 400)
	for i, h := range hosts {
		d := w.decide(signal(fmt.Sprint("h", i), 1, policy.VectorCarpetBombing, []netip.Prefix{h}))
		if d.Verdict.Kind != policy.Mitigated && d.Verdict.Kind != policy.Merged {
			t.Fatalf("host %d: %v", i, d.Verdict.Reason)
		}
	}
	for m := range w.s.Active() {
		for _, p := range m.Cut.Pieces {
			if p.Bits() < 25 { // the 256 addresses of a /24 are above 200 already, whatever the action weighs
				t.Errorf("M%d acts on %s without a second person", m.ID, p)
			}
		}
	}
	if n := w.s.PendingCount(); n != 0 {
		t.Errorf("%d await approval", n)
	}
}

// TestCarpetBombingNarrows: a smaller report narrows what is done, but not at once, not by little, and not to and fro.
func TestCarpetBombingNarrows(t *testing.T) {
	w := newWorld(t, bombed()...)
	hosts := hostsOf(rand.New(rand.NewPCG(3, 3)), "100.64.0.0", 1000)
	in := func(p string) []netip.Prefix {
		return slices.DeleteFunc(slices.Clone(hosts), func(h netip.Prefix) bool { return !pfx(p).Contains(h.Addr()) })
	}
	bomb := func(seq uint64, targets []netip.Prefix) *policy.SignalRequest {
		return signal("a", seq, policy.VectorCarpetBombing, targets)
	}
	w.must(policy.Mitigated, policy.CodeMitigated, bomb(1, hosts))
	w.must(policy.Merged, policy.CodeRepetition, bomb(2, in("100.64.1.0/24"))) // at once
	w.now = w.now.Add(time.Minute)
	w.must(policy.Merged, policy.CodeRepetition, bomb(3, in("100.64.2.0/23"))) // half
	d := w.must(policy.Mitigated, policy.CodeMitigated, bomb(4, slices.Concat(in("100.64.1.0/25"), in("100.64.3.0/25"))))
	same(t, "pieces", pfxs("100.64.1.0/25", "100.64.3.0/25"), d.Mitigations[0].Cut.Pieces)
	if m := w.mitigation(1); m.Phase != policy.Over || m.End != policy.EndSuperseded {
		t.Errorf("M1: phase %v, end %v", m.Phase, m.End)
	}
}

// TestCollateralCountsAddresses: what was reported is told in addresses, however few prefixes hold them.
func TestCollateralCountsAddresses(t *testing.T) {
	w := newWorld(t, bombed()...)
	var hosts []netip.Prefix
	for i := range 48 {
		hosts = append(hosts, netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, 0, byte(i)}), 32))
	}
	d := w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, policy.VectorCarpetBombing, hosts))
	expectText(t, d.Verdict.Reason, "aggregated: 48 reported addresses became 100.64.0.0/26; 16 official addresses that were not reported are acted on as well (25.0 %)")
	if a, share := d.Mitigations[0].Collateral(); a != 16 || share != 0.25 {
		t.Errorf("collateral is %g, %g", a, share)
	}
}

// TestUnderPressure: targets that would be more destinations than permitted, or more rules than a router has room for, are
// joined to their nearest, and the collateral is told.
func TestUnderPressure(t *testing.T) {
	w := newWorld(t, bombed()...)
	d := w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, policy.VectorUDPFlood, hostsOf(rand.New(rand.NewPCG(4, 4)), "100.64.0.0", 60)))
	m := d.Mitigations[0]
	if n := len(m.Cut.Pieces); n > 32 || n < 8 || m.Cut.Rounded {
		t.Errorf("%d pieces, rounded %v", n, m.Cut.Rounded)
	}
	expectText(t, d.Verdict.Reason, "aggregated: 60 reported addresses became")

	docs := bombed()
	for _, doc := range docs {
		if r, ok := doc.(*policy.Router); ok && r.Group == "edge" {
			r.MaxPrefix = 10
		}
	}
	w = newWorld(t, docs...)
	d = w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, policy.VectorUDPFlood, hostsOf(rand.New(rand.NewPCG(5, 5)), "100.64.0.0", 20)))
	if n := len(d.Mitigations[0].Rules); n > 8 {
		t.Errorf("%d rules, the routers may hear 8", n)
	}
}

// TestPropertyAggregate: whatever is aggregated acts inside of the customer's official space, on nothing protected and on no
// nested customer, no wider than the policy permits, and on every address that was reported and may be acted on.
func TestPropertyAggregate(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 6))
	aggregated := 0
	for range 300 {
		docs := inventory()
		widest, inForce := 22+r.IntN(4), 22
		for _, d := range docs {
			if p, ok := d.(*policy.Policy); ok && p.Name == "floods" && r.IntN(3) > 0 {
				inForce = widest
				p.Aggregate = policy.Aggregate{MinTargets: 2 + r.IntN(8), MinShare: float64(1 + r.IntN(60)), WidestIPv4: uint8(widest), WidestIPv6: 48}
			}
		}
		w := newWorld(t, docs...)
		targets := slices.DeleteFunc(hostsOf(r, "203.0.112.0", 1+r.IntN(400)), func(h netip.Prefix) bool { return pfx("203.0.114.0/24").Contains(h.Addr()) })
		if len(targets) == 0 {
			continue
		}
		v := []policy.Vector{policy.VectorCarpetBombing, policy.VectorUDPFlood}[r.IntN(2)]
		d := w.decide(signal("a", 1, v, targets))
		if d.Verdict.Kind != policy.Mitigated {
			if c := d.Verdict.Reason.Code; c != policy.CodeTargetProtected && c != policy.CodeTooManyPieces && c != policy.CodeNothingLeft {
				t.Fatal(d.Verdict.Reason)
			}
			continue
		}
		m := d.Mitigations[0]
		aggregated += one(len(m.Reported) > 0)
		for _, p := range m.Cut.Pieces {
			if !pfx("203.0.112.0/22").Contains(p.Addr()) || p.Bits() < 22 || p.Overlaps(pfx("203.0.114.0/24")) || p.Overlaps(pfx("203.0.113.0/28")) {
				t.Fatalf("%s is acted on; targets %v", p, m.Targets)
			}
		}
		for _, p := range m.Targets { // neighbours among them are one piece
			if p.Bits() < inForce {
				t.Fatalf("target %s is wider than /%d", p, inForce)
			}
		}
		for _, h := range targets {
			acted := slices.ContainsFunc(m.Cut.Pieces, func(p netip.Prefix) bool { return p.Contains(h.Addr()) })
			if !acted && !pfx("203.0.113.0/28").Contains(h.Addr()) && !m.Cut.Rounded {
				t.Fatalf("%s was reported and is not acted on: %v", h, m.Cut.Pieces)
			}
		}
		if len(m.Reported) > 0 && !strings.Contains(strings.Join(m.Notes, "\n"), "aggregated:") {
			t.Fatalf("notes %q", m.Notes)
		}
	}
	if aggregated < 50 {
		t.Errorf("%d were aggregated: that says little", aggregated)
	}
}

// TestAggregateViolations holds what is refused of a policy's aggregate.
func TestAggregateViolations(t *testing.T) {
	p := &policy.Policy{Name: "x", Action: policy.Action{Kind: policy.Discard}, Aggregate: policy.Aggregate{MinTargets: 1, MinShare: 101, WidestIPv4: 33, WidestIPv6: 8}}
	var fields []string
	for _, v := range p.Validate() {
		fields = append(fields, v.Field)
	}
	same(t, "violations", []string{"aggregate.min_targets", "aggregate.min_share", "aggregate.widest_ipv4", "aggregate.widest_ipv6"}, fields)
}

// BenchmarkCarpetBombing is one decision about a thousand targets in one /22.
func BenchmarkCarpetBombing(b *testing.B) {
	w := newWorld(b, bombed()...)
	sig := signal("a", 1, policy.VectorCarpetBombing, hostsOf(rand.New(rand.NewPCG(1, 1)), "100.64.0.0", 1000))
	e := policy.Entry{Index: w.index + 1, At: w.now, By: "detector/fnm-1"}
	for b.Loop() {
		if d := policy.Decide(w.s, sig, e); d.Verdict.Kind != policy.Mitigated || len(d.Mitigations[0].Rules) > 4 {
			b.Fatal(d.Verdict.Reason)
		}
	}
}

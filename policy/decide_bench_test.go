package policy_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/policy"
)

// nation is an operator of the size that the limits are made for: 2,000 customers with 5,000 links in 22 blocks, and
// active mitigations as asked for, spread over the customers.
func nation(t testing.TB, active int) *world {
	t.Helper()
	docs := []policy.Document{
		router("edge-1", "edge", "127.0.0.11", 1_000_000, flowspec.IPv4, flowspec.IPv6),
		&policy.Policy{Name: "all", Action: policy.Action{Kind: policy.Discard}},
	}
	for i := range 22 {
		docs = append(docs, &policy.ProtectedBlock{Name: fmt.Sprint("lb-", i), Kind: policy.BlockLinks, Prefixes: pfxs(fmt.Sprintf("100.%d.0.0/20", 64+i))})
	}
	link := 0
	for i := range 2000 {
		docs = append(docs, nationCustomer(i, &link))
	}
	w := newWorld(t, docs...)
	for i := range active {
		w.must(policy.Mitigated, policy.CodeMitigated, signal(fmt.Sprint("n", i), 1, dns, []netip.Prefix{nationTarget(i)}))
	}
	return w
}

// nationCustomer is customer i, with a /22 and the next two or three links.
func nationCustomer(i int, link *int) *policy.Customer {
	c := &policy.Customer{ID: policy.CustomerID(fmt.Sprint("c", i)), Name: fmt.Sprint("Customer ", i), Official: pfxs(fmt.Sprintf("20.%d.%d.0/22", i/64, i%64*4))}
	for range 2 + i%2 {
		l := *link
		*link++
		block := l % 22
		at := l / 22 * 4
		c.Links = append(c.Links, policy.Link{
			Prefix: pfx(fmt.Sprintf("100.%d.%d.%d/30", 64+block, at/256, at%256)), PE: fmt.Sprint("pe", l%50),
			Interface: fmt.Sprint("xe-", l), Block: fmt.Sprint("lb-", block), State: policy.LinkInUse,
		})
	}
	return c
}

func nationTarget(i int) netip.Prefix {
	return pfx(fmt.Sprintf("20.%d.%d.%d/32", i%2000/64, i%64*4, 1+i/2000))
}

// BenchmarkDecideNew judges a new attack that gets a mitigation of its own.
func BenchmarkDecideNew(b *testing.B) {
	w := nation(b, 1000)
	e := policy.Entry{At: noon(), By: "leader/n1"}
	var took []time.Duration
	req := signal("x", 1, dns, pfxs("20.31.0.200/32"))
	for b.Loop() {
		begin := time.Now()
		d := policy.Decide(w.s, req, e)
		took = append(took, time.Since(begin))
		if d.Verdict.Kind != policy.Mitigated {
			b.Fatal(d.Verdict.Reason)
		}
	}
	quantiles(b, took)
}

// BenchmarkDecideOneCustomer judges a new attack, a new order and a new rate limit when all active mitigations are of
// one customer.
func BenchmarkDecideOneCustomer(b *testing.B) {
	for _, n := range []int{0, 1000, 10_000} {
		w := newWorld(b,
			router("edge-1", "edge", "127.0.0.11", 1_000_000, flowspec.IPv4, flowspec.IPv6),
			&policy.Policy{Name: "all", Action: policy.Action{Kind: policy.Discard}},
			&policy.Customer{ID: "one", Name: "One", Official: pfxs("20.0.0.0/16")},
			&policy.Safeguards{
				Name: policy.SafeguardsName, WidestIPv4: 20, WidestIPv6: 40, MaxPieces: 32, MaxMitigations: 20_000,
				DefaultLifetime: time.Hour, MaxLifetime: 24 * time.Hour, MaxRemovedLinksPercent: 2,
			})
		begin := time.Now()
		for i := range n {
			w.must(policy.Mitigated, policy.CodeMitigated, signal(fmt.Sprint("n", i), 1, dns, pfxs(fmt.Sprintf("20.0.%d.%d/32", i/250, i%250))))
		}
		all := time.Since(begin)
		target := pfxs("20.0.200.7/32")
		for _, row := range []struct {
			name string
			req  policy.Request
		}{
			{"signal", signal("x", 1, dns, target)},
			{"order", &policy.StartRequest{Targets: target, Match: flowspec.Match{Family: flowspec.IPv4}, Action: policy.Action{Kind: policy.Discard}}},
			{"limit", &policy.StartRequest{Targets: target, Match: flowspec.Match{Family: flowspec.IPv4}, Action: policy.Action{Kind: policy.RateLimit, Rate: 1e6}}},
		} {
			b.Run(fmt.Sprintf("%s/active=%d", row.name, n), func(b *testing.B) {
				e := policy.Entry{At: noon(), By: "leader/n1"}
				var took []time.Duration
				for b.Loop() {
					begin := time.Now()
					d := policy.Decide(w.s, row.req, e)
					took = append(took, time.Since(begin))
					if d.Verdict.Kind != policy.Mitigated {
						b.Fatal(d.Verdict.Reason)
					}
				}
				quantiles(b, took)
				b.ReportMetric(all.Seconds(), "s-to-start-all")
			})
		}
	}
}

// BenchmarkDecideCarpet judges an attack on a /22 with a hole.
func BenchmarkDecideCarpet(b *testing.B) {
	w := nation(b, 1000)
	w.must(policy.Mitigated, policy.CodeApplied, &policy.ApplyRequest{Documents: []policy.Document{
		&policy.ProtectedBlock{Name: "ce", Kind: policy.BlockCustomerEdge, Prefixes: pfxs("20.31.1.77/32")},
	}})
	e := policy.Entry{At: noon(), By: "leader/n1"}
	req := signal("x", 1, policy.VectorCarpetBombing, pfxs("20.31.0.0/22"))
	for b.Loop() {
		if d := policy.Decide(w.s, req, e); d.Verdict.Kind != policy.Mitigated {
			b.Fatal(d.Verdict.Reason)
		}
	}
}

// BenchmarkDecideMerge judges an attack that an active mitigation covers.
func BenchmarkDecideMerge(b *testing.B) {
	w := nation(b, 1000)
	e := policy.Entry{At: noon(), By: "leader/n1"}
	req := signal("x", 1, dns, []netip.Prefix{nationTarget(5)})
	for b.Loop() {
		if d := policy.Decide(w.s, req, e); d.Verdict.Kind != policy.Merged {
			b.Fatal(d.Verdict.Reason)
		}
	}
}

// manyPolicies are 200, of which some take the vector of a signal, are asked first and lack something. The last one takes it.
func manyPolicies() []policy.Document {
	ladder := []policy.Step{{Action: policy.Action{Kind: policy.RateLimit, Rate: 1e6}}, {Action: policy.Action{Kind: policy.Discard}, After: 5 * time.Minute}}
	var docs []policy.Document
	for i := range 200 {
		p := &policy.Policy{
			Name: fmt.Sprintf("p%03d", i), Priority: 2 + i%50, Lifetime: time.Hour, Quiet: 5 * time.Minute, Ladder: ladder, Vectors: []policy.Vector{dns},
		}
		switch {
		case i < 3:
			p.MinRate = 1e12
		case i == 3:
			p.When = "signal.addresses > 256.0 && customer.active > 10"
		case i < 100:
			p.Customers = []policy.CustomerID{policy.CustomerID(fmt.Sprint("c", 1000+i))}
		case i < 110:
			p.Tags = []string{"gold"}
		default:
			p.Vectors = []policy.Vector{policy.VectorSYNFlood}
		}
		docs = append(docs, p)
	}
	return append(docs, &policy.Policy{Name: "floods", Priority: 1, Lifetime: time.Hour, Quiet: 5 * time.Minute, Ladder: ladder, Vectors: []policy.Vector{dns}})
}

// BenchmarkDecideFurther judges a further attack on an address that an active mitigation covers, among 200 policies.
func BenchmarkDecideFurther(b *testing.B) {
	w := nation(b, 0)
	w.must(policy.Mitigated, policy.CodeApplied, &policy.ApplyRequest{Documents: manyPolicies(), Prune: false})
	for i := range 1000 {
		w.must(policy.Mitigated, policy.CodeMitigated, signal(fmt.Sprint("n", i), 1, dns, []netip.Prefix{nationTarget(i)}))
	}
	e := policy.Entry{At: noon(), By: "leader/n1"}
	var took []time.Duration
	req := signal("x", 1, dns, []netip.Prefix{nationTarget(5)})
	b.ReportAllocs()
	for b.Loop() {
		begin := time.Now()
		d := policy.Decide(w.s, req, e)
		took = append(took, time.Since(begin))
		if d.Verdict.Kind != policy.Merged {
			b.Fatal(d.Verdict.Reason)
		}
	}
	quantiles(b, took)
}

// BenchmarkDecideRepetition judges a signal that was seen before.
func BenchmarkDecideRepetition(b *testing.B) {
	w := nation(b, 1000)
	e := policy.Entry{At: noon(), By: "leader/n1"}
	req := signal("n5", 1, dns, []netip.Prefix{nationTarget(5)})
	for b.Loop() {
		if d := policy.Decide(w.s, req, e); d.Verdict.Reason.Code != policy.CodeRepetition {
			b.Fatal(d.Verdict.Reason)
		}
	}
}

// BenchmarkDecideApply judges a new inventory of 2,000 customers and 7,000 links, 2,000 of them added inside official
// space, so that all of 1,000 active mitigations are cut again.
func BenchmarkDecideApply(b *testing.B) {
	w := nation(b, 0)
	for i := range 1000 {
		w.must(policy.Mitigated, policy.CodeMitigated, signal(fmt.Sprint("w", i), 1, dns, pfxs(fmt.Sprintf("20.%d.%d.0/24", i/64, i%64*4))))
	}
	var docs []policy.Document
	link := 0
	for i := range 2000 {
		c := nationCustomer(i, &link)
		c.Links = append(c.Links, policy.Link{Prefix: pfx(fmt.Sprintf("20.%d.%d.100/31", i/64, i%64*4)), PE: "pe1", Interface: fmt.Sprint("ae-", i), State: policy.LinkInUse})
		docs = append(docs, c)
	}
	e := policy.Entry{At: noon(), By: "operator/alice"}
	for b.Loop() {
		if d := policy.Decide(w.s, &policy.ApplyRequest{Documents: docs}, e); d.Verdict.Kind != policy.Mitigated || len(d.Plan.Narrowed) != 1000 {
			b.Fatal(d.Verdict.Reason)
		}
	}
}

func quantiles(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "p50-ns")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
}

// TestDecideIsPure: the same question has the same answer, and neither request nor state is changed by the asking.
func TestDecideIsPure(t *testing.T) {
	w := nation(t, 200)
	moved := &policy.Customer{ID: "c5", Name: "Customer 5", Official: pfxs("20.0.20.0/23")}
	requests := []func() policy.Request{
		func() policy.Request {
			return signal("x", 1, dns, pfxs("20.0.0.9/32", "20.0.0.7/32", "20.0.0.0/28"), func(s *policy.Signal) {
				s.Protocols, s.SourcePorts = []uint8{17, 6}, []flowspec.Range{{Lo: 60, Hi: 70}, {Lo: 1, Hi: 53}}
				s.SourcePrefixes = pfxs("9.9.9.0/24", "8.8.8.0/24")
			})
		},
		func() policy.Request { return signal("n5", 2, dns, pfxs("20.0.20.9/32")) },
		func() policy.Request { return end("n5", 2) },
		func() policy.Request {
			return &policy.StartRequest{Targets: pfxs("20.0.0.9/32", "20.0.0.7/32"), Groups: []string{"z", "edge"}, Action: policy.Action{Kind: policy.Discard}}
		},
		func() policy.Request { return &policy.WithdrawAllRequest{} },
		func() policy.Request { return &policy.ExtendRequest{ID: 3, Lifetime: time.Minute} },
		func() policy.Request { return &policy.RenewRequest{IDs: []policy.MitigationID{5, 3}} },
		func() policy.Request { return &policy.ExpireRequest{} },
		func() policy.Request {
			return &policy.ApplyRequest{Documents: []policy.Document{moved}, AllowRemovals: 3}
		},
	}
	for _, at := range []time.Time{noon(), noon().Add(50 * time.Minute), noon().Add(2 * time.Hour)} {
		for i, make := range requests {
			e := policy.Entry{At: at, By: "operator/alice", Reason: "r"}
			before := w.s.Digest()
			asked := make()
			first := policy.Decide(w.s, asked, e)
			second := policy.Decide(w.s, make(), e)
			same(t, fmt.Sprint("request ", i, " decision"), first, second)
			same(t, fmt.Sprint("request ", i, " itself"), asked, make())
			if w.s.Digest() != before {
				t.Fatalf("request %d: deciding changed the state", i)
			}
		}
	}
}

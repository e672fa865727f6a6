package policy_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/policy"
)

// linked is a customer with n links of its own.
func linked(n int) *policy.Customer {
	c := &policy.Customer{ID: "many", Name: "Many links", Official: pfxs("100.64.0.0/16")}
	for i := range n {
		c.Links = append(c.Links, policy.Link{Prefix: pfx(fmt.Sprintf("100.65.%d.%d/30", i/64, i%64*4)), PE: "pe1", Interface: fmt.Sprint("xe-", i), State: policy.LinkClean})
	}
	return c
}

// TestBrake: removals above the limit, and any protected space of a block, need the exact number.
func TestBrake(t *testing.T) {
	base := without([]string{"uni-a", "lab-b", "solo-c", "lb-7"}, linked(100),
		&policy.ProtectedBlock{Name: "b1", Kind: policy.BlockLinks, Prefixes: pfxs("100.65.0.0/16")},
		&policy.ProtectedBlock{Name: "b2", Kind: policy.BlockIXPLAN, Prefixes: pfxs("100.66.0.0/24", "100.67.0.0/24")})
	block := func(name string, ps ...string) policy.Document {
		return &policy.ProtectedBlock{Name: name, Kind: policy.BlockLinks, Prefixes: pfxs(ps...)}
	}
	moved := linked(100)
	moved.Links = moved.Links[:50]
	other := &policy.Customer{ID: "other", Name: "Other", Links: linked(100).Links[50:]}
	rows := []struct {
		name  string
		docs  []policy.Document
		prune bool
		need  int
	}{
		{"two of a hundred", []policy.Document{linked(98)}, false, 0},
		{"three of a hundred", []policy.Document{linked(97)}, false, 3},
		{"half of them", []policy.Document{linked(50)}, false, 50},
		{"moved to another customer", []policy.Document{moved, other}, false, 0},
		{"a block becomes narrower", []policy.Document{block("b1", "100.65.0.0/17")}, false, 1},
		{"a block becomes wider", []policy.Document{block("b1", "100.64.0.0/15")}, false, 0},
		{"a block in two halves", []policy.Document{block("b1", "100.65.0.0/17", "100.65.128.0/17")}, false, 0},
		{"a block loses one of two", []policy.Document{block("b2", "100.66.0.0/24")}, false, 1},
		{"a block goes elsewhere", []policy.Document{block("b2", "100.68.0.0/24")}, false, 2},
		{"space moves to another block", []policy.Document{block("b2", "100.66.0.0/24"), block("b3", "100.67.0.0/24")}, false, 0},
		{"links and block", []policy.Document{linked(99), block("b2", "100.66.0.0/24")}, false, 2},
		{"customer is gone", slices.DeleteFunc(slices.Clone(base), func(d policy.Document) bool { return d.Ref().Name == "many" }), true, 100},
		{"blocks are gone", slices.DeleteFunc(slices.Clone(base), func(d policy.Document) bool { return d.Ref().Name == "b2" }), true, 2},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			for stated := -1; stated <= 1; stated++ {
				w := newWorld(t, base...)
				req := &policy.ApplyRequest{Documents: row.docs, Prune: row.prune, AllowRemovals: row.need + stated}
				if row.need == 0 || stated == 0 {
					d := w.must(policy.Mitigated, policy.CodeApplied, req)
					if d.Plan.RemovalsToAllow != row.need {
						t.Errorf("the plan asks for %d, want %d", d.Plan.RemovalsToAllow, row.need)
					}
					continue
				}
				before := w.s.Digest()
				d := w.must(policy.Refused, policy.CodeRemovalsNeedNumber, req)
				expectText(t, d.Verdict.Reason, fmt.Sprintf("exactly %d", row.need))
				if d.Plan == nil || d.Plan.RemovalsToAllow != row.need || len(d.Plan.LinksRemoved)+len(d.Plan.ProtectedRemoved) != row.need {
					t.Errorf("plan %+v, want %d to allow", d.Plan, row.need)
				}
				if w.s.Digest() != before {
					t.Error("the refusal changed the state")
				}
			}
		})
	}
}

// TestBrakeOfBefore: an apply cannot loosen the brake for itself.
func TestBrakeOfBefore(t *testing.T) {
	w := newWorld(t)
	loose := policy.DefaultSafeguards()
	loose.MaxRemovedLinksPercent = 100
	uni := *inventory()[0].(*policy.Customer)
	uni.Links = uni.Links[:2] // of three
	w.must(policy.Refused, policy.CodeRemovalsNeedNumber, &policy.ApplyRequest{Documents: []policy.Document{loose, &uni}})
	w.must(policy.Mitigated, policy.CodeApplied, &policy.ApplyRequest{Documents: []policy.Document{loose}})
	w.must(policy.Mitigated, policy.CodeApplied, &policy.ApplyRequest{Documents: []policy.Document{&uni}})
}

// TestPlan reads the effect of an apply, document by document.
func TestPlan(t *testing.T) {
	w := newWorld(t)
	docs := without([]string{"floods", "lab-b"}, &policy.Customer{ID: "new", Name: "New", Official: pfxs("100.64.0.0/16")},
		&policy.Customer{ID: "lab-b", Name: "Lab B", Official: pfxs("203.0.114.0/24"), Within: "uni-a"})
	d := w.must(policy.Mitigated, policy.CodeApplied, &policy.ApplyRequest{Documents: docs, Prune: true})
	want := &policy.Plan{
		Added:   []policy.DocumentRef{{Kind: policy.KindCustomer, Name: "new"}},
		Changed: []policy.DocumentRef{{Kind: policy.KindCustomer, Name: "lab-b"}},
		Removed: []policy.DocumentRef{{Kind: policy.KindPolicy, Name: "floods"}},
		Unchanged: []policy.DocumentRef{
			{Kind: policy.KindCustomer, Name: "solo-c"},
			{Kind: policy.KindCustomer, Name: "uni-a"},
			{Kind: policy.KindProtectedBlock, Name: "lb-7"},
			{Kind: policy.KindProtectedBlock, Name: "resolvers"},
			{Kind: policy.KindRouter, Name: "edge-1"},
			{Kind: policy.KindRouter, Name: "edge-2"},
			{Kind: policy.KindRouter, Name: "transit-1"},
			{Kind: policy.KindPolicy, Name: "amplification"},
		},
		LinksBefore: 4, LinksAfter: 4,
	}
	if diff := cmp.Diff(want, d.Plan, prefixes()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, found := w.s.Document(policy.DocumentRef{Kind: policy.KindPolicy, Name: "floods"}); found {
		t.Error("what was pruned is still there")
	}
	w.must(policy.Merged, policy.CodeUnchanged, &policy.ApplyRequest{Documents: docs, Prune: true})
}

// TestRecut changes the inventory under an active mitigation.
func TestRecut(t *testing.T) {
	block := func(ps ...string) policy.Document {
		return &policy.ProtectedBlock{Name: "late", Kind: policy.BlockInfrastructure, Prefixes: pfxs(ps...)}
	}
	rows := []struct {
		name        string
		docs        []policy.Document
		pieces      []string // nil: over
		unprotected []string
		narrowed    bool
	}{
		{"block added", []policy.Document{block("198.51.100.0/25")}, []string{
			"198.51.100.128/26", "198.51.100.192/27", "198.51.100.224/28",
			"198.51.100.240/29", "198.51.100.248/30", "198.51.100.254/31",
		}, nil, true},
		{"block elsewhere", []policy.Document{block("203.0.112.0/25")}, []string{
			"198.51.100.0/25", "198.51.100.128/26", "198.51.100.192/27", "198.51.100.224/28",
			"198.51.100.240/29", "198.51.100.248/30", "198.51.100.254/31",
		}, nil, false},
		{"all protected", []policy.Document{block("198.51.100.0/24")}, nil, nil, false},
		{
			"nested customer added",
			[]policy.Document{&policy.Customer{ID: "late", Name: "Late", Within: "uni-a", Official: pfxs("198.51.100.128/25")}},
			[]string{"198.51.100.0/25"},
			nil, true,
		},
		{
			"link removed",
			[]policy.Document{&policy.Customer{ID: "uni-a", Name: "University A", Official: pfxs("198.51.100.0/24", "203.0.112.0/22", "2001:db8:100::/40"), Links: []policy.Link{
				{Prefix: pfx("203.0.113.4/30"), PE: "pe1", Interface: "xe-0/0/1", Block: "lb-7", State: policy.LinkInUse},
				{Prefix: pfx("2001:db8:100:ffff::/64"), PE: "pe2", Interface: "xe-0/0/2", State: policy.LinkClean},
			}}},
			[]string{"198.51.100.0/25", "198.51.100.128/26", "198.51.100.192/27", "198.51.100.224/28", "198.51.100.240/29", "198.51.100.248/30", "198.51.100.254/31"},
			[]string{"198.51.100.252/31"},
			false,
		},
		{"official space removed", []policy.Document{&policy.Customer{
			ID: "uni-a", Name: "University A", Official: pfxs("198.51.100.0/26", "203.0.112.0/22", "2001:db8:100::/40"),
			Links: inventory()[0].(*policy.Customer).Links,
		}}, []string{"198.51.100.0/26"}, nil, true},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			old := w.must(policy.Mitigated, policy.CodeStarted, limit(1e6, "198.51.100.0/24")).Mitigations[0]
			req := &policy.ApplyRequest{Documents: row.docs}
			d := policy.Decide(w.s, req, policy.Entry{At: noon()})
			req.AllowRemovals = d.Plan.RemovalsToAllow
			d = w.must(policy.Mitigated, policy.CodeApplied, req)
			m := w.mitigation(1)
			if row.pieces == nil {
				if m.Phase != policy.Over || m.End != policy.EndNothingLeft || !slices.Equal(d.Plan.Ended, []policy.MitigationID{1}) {
					t.Fatalf("phase %d end %q plan %v, want ended", m.Phase, m.End, d.Plan.Ended)
				}
				return
			}
			if diff := cmp.Diff(pfxs(row.pieces...), m.Cut.Pieces, prefixes()); diff != "" {
				t.Errorf("pieces (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(pfxs(row.unprotected...), m.Cut.Unprotected, prefixes()); diff != "" {
				t.Errorf("unprotected (-want +got):\n%s", diff)
			}
			if (len(d.Plan.Narrowed) > 0) != row.narrowed || len(m.Rules) != len(row.pieces) {
				t.Errorf("narrowed %v, %d rules", d.Plan.Narrowed, len(m.Rules))
			}
			if !m.Expires.Equal(old.Expires) || !m.Created.Equal(old.Created) || len(m.Variants) != len(old.Variants) {
				t.Error("something else than the cut changed")
			}
		})
	}
}

// TestRecutFewerCustomers: a removed customer takes its mitigations along.
func TestRecutFewerCustomers(t *testing.T) {
	w := newWorld(t)
	w.decide(discard("203.0.114.7/32"))
	w.decide(discard("198.51.100.7/32"))
	d := w.must(policy.Mitigated, policy.CodeApplied, &policy.ApplyRequest{Documents: without([]string{"lab-b"}), Prune: true})
	if diff := cmp.Diff([]policy.MitigationID{1}, d.Plan.Ended); diff != "" {
		t.Errorf("ended (-want +got):\n%s", diff)
	}
	if w.mitigation(1).End != policy.EndNothingLeft || w.mitigation(2).Phase != policy.Active {
		t.Error("the wrong mitigation ended")
	}
}

// TestRecutSources: protection that comes to overlap a source prefix takes the matches on that source away.
func TestRecutSources(t *testing.T) {
	sources := func(ps ...string) func(*policy.Signal) {
		return func(s *policy.Signal) { s.SourcePrefixes = pfxs(ps...) }
	}
	w := newWorld(t)
	w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, dns, pfxs("198.51.100.7/32"), sources("8.8.8.0/24", "9.9.9.0/24")))
	w.must(policy.Mitigated, policy.CodeMitigated, signal("b", 1, dns, pfxs("198.51.100.8/32"), sources("8.8.8.0/24")))
	d := w.must(policy.Mitigated, policy.CodeApplied, &policy.ApplyRequest{Documents: []policy.Document{
		&policy.ProtectedBlock{Name: "late", Kind: policy.BlockResolver, Prefixes: pfxs("8.8.8.8/32")},
	}})
	if diff := cmp.Diff(&policy.Plan{Added: d.Plan.Added, LinksBefore: 4, LinksAfter: 4, Narrowed: []policy.MitigationID{1}, Ended: []policy.MitigationID{2}}, d.Plan, prefixes()); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	for _, r := range w.mitigation(1).Rules {
		if src, ok := r.Match.Source(); !ok || src != pfx("9.9.9.0/24") {
			t.Errorf("rule %s is left", r)
		}
	}
}

// TestRecutBudget: more pieces than a router can hear are not announced; the largest are kept.
func TestRecutBudget(t *testing.T) {
	w := newWorld(t)
	req := discard("203.0.112.0/24")
	req.Groups = []string{"transit"}
	w.must(policy.Mitigated, policy.CodeStarted, req)
	other := discard("198.51.100.128/25")
	other.Groups = []string{"transit"}
	w.must(policy.Mitigated, policy.CodeStarted, other) // 6 rules: 7 of 16 are taken
	if got := w.s.RouteCount(wanted.FlowSpec, "transit"); got != 7 {
		t.Fatalf("%d rules", got)
	}
	w.must(policy.Mitigated, policy.CodeApplied, &policy.ApplyRequest{Documents: []policy.Document{
		&policy.ProtectedBlock{Name: "late", Kind: policy.BlockCustomerEdge, Prefixes: pfxs("203.0.112.1/32", "203.0.112.129/32")},
	}})
	if got := w.s.RouteCount(wanted.FlowSpec, "transit"); got != 16 {
		t.Errorf("%d rules, want as many as fit: 16", got)
	}
	m := w.mitigation(1)
	if len(m.Cut.Pieces) != 10 || !m.Cut.Rounded || len(m.Cut.Unprotected) != 4 {
		t.Errorf("cut %+v", m.Cut)
	}
}

// TestRouterShrinks: a router document under which the active rules do not fit is refused.
func TestRouterShrinks(t *testing.T) {
	w := newWorld(t)
	req := discard("203.0.112.0/22")
	req.Groups = []string{"transit"}
	w.must(policy.Mitigated, policy.CodeStarted, req)
	small := router("transit-1", "transit", "127.0.0.13", 7, flowspec.IPv4)
	d := w.must(policy.Refused, policy.CodeRouterBudget, &policy.ApplyRequest{Documents: []policy.Document{small}})
	expectText(t, d.Verdict.Reason, "transit-1", "6", "5", "7")
	w.decide(&policy.WithdrawAllRequest{})
	w.must(policy.Mitigated, policy.CodeApplied, &policy.ApplyRequest{Documents: []policy.Document{small}})
}

// TestLife reads the records after each step of a life.
func TestLife(t *testing.T) {
	w := newWorld(t)
	w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, dns, pfxs("198.51.100.7/32")))
	w.must(policy.Mitigated, policy.CodeStarted, discard("198.51.100.9/32"))
	expires := func(id policy.MitigationID, want time.Duration) {
		t.Helper()
		if got := w.mitigation(id).Expires.Sub(noon()); got != want {
			t.Errorf("M%d expires after %s, want %s", id, got, want)
		}
	}
	expires(1, 30*time.Minute)
	expires(2, time.Hour)
	w.now = noon().Add(15 * time.Minute)
	w.must(policy.Observed, policy.CodeNothingToDo, &policy.RenewRequest{IDs: []policy.MitigationID{1}})
	w.now = noon().Add(16 * time.Minute)
	d := w.must(policy.Mitigated, policy.CodeRenewed, &policy.RenewRequest{IDs: []policy.MitigationID{1, 1, 2, 77}})
	if len(d.Changes) != 1 {
		t.Errorf("%d changes, want 1", len(d.Changes))
	}
	expires(1, 46*time.Minute)
	w.must(policy.Mitigated, policy.CodeExtended, &policy.ExtendRequest{ID: 2, Lifetime: 24 * time.Hour})
	expires(2, 24*time.Hour+16*time.Minute)
	w.must(policy.Mitigated, policy.CodeExtended, &policy.ExtendRequest{ID: 2, Lifetime: time.Minute})
	expires(2, 17*time.Minute)
	w.now = noon().Add(17 * time.Minute)
	d = w.must(policy.Ended, policy.CodeExpired, &policy.ExpireRequest{})
	if m := w.mitigation(2); len(d.Changes) != 1 || m.End != policy.EndExpired || !m.EndedAt.Equal(w.now) || m.Phase != policy.Over {
		t.Errorf("%d changes, M2 %+v", len(d.Changes), m)
	}
	w.must(policy.Ended, policy.CodeWithdrawn, &policy.WithdrawRequest{ID: 1})
	if m := w.mitigation(1); m.End != policy.EndWithdrawn || m.EndedBy != "operator/alice" || m.EndNote != "ticket 4711" {
		t.Errorf("M1 %+v", m)
	}
	if n := len(slices.Collect(w.s.Active())); n != 0 {
		t.Errorf("%d active", n)
	}
}

package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/policy"
)

func match(t testing.TB, text string) flowspec.Match {
	t.Helper()
	m, err := flowspec.ParseMatch(text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestNoteSaysWhatRoutersDo holds the note, or the refusal, about two mitigations that meet against the route itself.
func TestNoteSaysWhatRoutersDo(t *testing.T) {
	const host = "203.0.113.40/32"
	flood := signal("flood", 1, policy.VectorUDPFlood, pfxs(host)) // a policy's rate limit
	drop := signal("dns", 1, dns, pfxs(host))                      // a policy's discard
	matching := func(r *policy.StartRequest, text string) *policy.StartRequest {
		r.Match = match(t, text)
		return r
	}
	const exactly = "ipv4 proto udp" // what the policy makes of the flood
	rows := []struct {
		name         string
		first, then  policy.Request
		kind         policy.VerdictKind
		note, silent string // of M2 or of the refusal; what it must not say
		at           string // the rule whose route is looked at; empty: none
		action       string // what routers do with it
	}{
		{
			"discard by the same rule", limit(1e6, host), discard(host, "203.0.113.50/32"), policy.Mitigated,
			"M1 limits the rate by the same rule at 203.0.113.40: while both are active routers discard there", "comes before", "dst " + host, "discard",
		},
		{
			"an operator's discard over a policy's limit", flood, matching(discard(host), exactly), policy.Mitigated,
			"M1 has no effect there until this ends", "comes before", "dst " + host + " proto udp", "discard",
		},
		{
			"a policy's discard under an operator's limit", matching(limit(1e6, host), "ipv4 proto udp sport 53"), drop, policy.Mitigated,
			"M1 limits the rate by the same rule at 203.0.113.40, and an operator's order goes first", "comes before", "dst " + host + " proto udp sport 53", "rate 8Mbps",
		},
		{
			"a discard around it", limit(1e6, host), discard("203.0.113.32/27"), policy.Mitigated,
			"M1 limits the rate of a part of this at 203.0.113.40 and comes before it there", "same rule", "dst " + host, "rate 8Mbps",
		},
		{
			"a limit under the same rule", discard(host), limit(1e6, host), policy.Refused,
			"M1 discards by the same rule on 203.0.113.40; a rate limit there would have no effect while M1 is active", "come first", "", "",
		},
		{
			"an operator's limit in place of a policy's discard", drop, matching(limit(1e6, host), "ipv4 proto udp sport 53"), policy.Refused,
			"would take its place and let through what M1 discards", "no effect", "", "",
		},
		{
			"a limit inside", discard("203.0.113.32/27"), limit(1e6, host), policy.Refused,
			"a rate limit there would come first and let through what M1 discards", "same rule", "", "",
		},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			w.decide(row.first)
			d := w.decide(row.then)
			if d.Verdict.Kind != row.kind {
				t.Fatalf("verdict %d: %s", d.Verdict.Kind, d.Verdict.Reason.Text)
			}
			said := d.Verdict.Reason.Text
			if row.kind == policy.Mitigated {
				said = strings.Join(w.mitigation(2).Notes, "\n")
			}
			if !strings.Contains(said, row.note) || strings.Contains(said, row.silent) {
				t.Errorf("it says %q, want %q and not %q", said, row.note, row.silent)
			}
			if row.at == "" {
				return
			}
			route, ok := w.s.Route(match(t, row.at).Key())
			if got := fmt.Sprint(route.Rule); !ok || got != row.at+" => "+row.action {
				t.Errorf("routers hear %q, want %q to %s", got, row.at, row.action)
			}
		})
	}
}

// TestBrakePerCustomer: one link is little among many and may be all that its customer has.
func TestBrakePerCustomer(t *testing.T) {
	own := func(id policy.CustomerID, n int) *policy.Customer {
		c := &policy.Customer{ID: id, Name: "Few links"}
		for i := range n {
			c.Links = append(c.Links, policy.Link{Prefix: pfx(fmt.Sprintf("100.70.%d.%d/30", len(id), i*4))})
		}
		return c
	}
	base := without([]string{"uni-a", "lab-b", "solo-c"}, linked(500), own("a", 1), own("bb", 2), own("ccc", 3))
	rows := []struct {
		name string
		docs []policy.Document
		need int
		says string
	}{
		{"one of three", []policy.Document{own("ccc", 2)}, 0, ""},
		{"one of two", []policy.Document{own("bb", 1)}, 1, "half of its links or more would lose bb (1 of 2). "},
		{"the only one", []policy.Document{own("a", 0)}, 1, "half of its links or more would lose a (1 of 1). "},
		{"two of three", []policy.Document{own("ccc", 1)}, 2, "half of its links or more would lose ccc (2 of 3). "},
		{
			"one of two, and some of many",
			[]policy.Document{own("bb", 1), linked(497)},
			4,
			"this removes 4 of 506 links (0.8 %, without a number at most 2 %)",
		},
		{"some of many", []policy.Document{linked(497)}, 0, ""},
		{"with a block", []policy.Document{own("a", 0), &policy.ProtectedBlock{Name: "lb-7", Kind: policy.BlockLinks, Prefixes: pfxs("203.0.113.0/29")}}, 2, "allow exactly 2 removals"},
		{"no longer a customer's own, but another's", []policy.Document{own("a", 0), &policy.Customer{ID: "new", Name: "New", Links: own("a", 1).Links}}, 0, ""},
		{"one added", []policy.Document{own("a", 2)}, 0, ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, base...)
			req := &policy.ApplyRequest{Documents: row.docs}
			if row.need > 0 {
				d := w.must(policy.Refused, policy.CodeRemovalsNeedNumber, req)
				expectText(t, d.Verdict.Reason, row.says)
				req.AllowRemovals = row.need
			}
			if d := w.must(policy.Mitigated, policy.CodeApplied, req); d.Plan.RemovalsToAllow != row.need {
				t.Errorf("%d to allow, want %d", d.Plan.RemovalsToAllow, row.need)
			}
		})
	}
}

// TestPlanOfNothing: an apply that changes nothing counts the links that are there.
func TestPlanOfNothing(t *testing.T) {
	w := newWorld(t)
	d := w.must(policy.Merged, policy.CodeUnchanged, &policy.ApplyRequest{Documents: inventory(), Prune: true})
	if d.Plan.LinksBefore != 4 || d.Plan.LinksAfter != 4 || len(d.Changes) != 0 {
		t.Errorf("links %d -> %d, %d changes", d.Plan.LinksBefore, d.Plan.LinksAfter, len(d.Changes))
	}
	expectText(t, d.Verdict.Reason, "all 10 documents are as stated: nothing to change")
	d = w.must(policy.Merged, policy.CodeUnchanged, &policy.ApplyRequest{Documents: inventory()[:1]})
	expectText(t, d.Verdict.Reason, "the document is as stated: nothing to change")
}

// TestProtectedRemoved lists the space that goes, no more and no less; what must be allowed is the number of prefixes.
func TestProtectedRemoved(t *testing.T) {
	rows := []struct {
		name         string
		before, now  []string
		gone         []string
		allow        int
		otherwiseToo bool // another block holds the first half
	}{
		{"half of it", []string{"198.18.100.0/24"}, []string{"198.18.100.0/25"}, []string{"198.18.100.128/25"}, 1, false},
		{"a hole", []string{"198.18.100.0/24"}, []string{"198.18.100.0/26", "198.18.100.128/25"}, []string{"198.18.100.64/26"}, 1, false},
		{"two that are one space", []string{"198.18.100.0/25", "198.18.100.128/25"}, []string{"198.18.1.0/24"}, []string{"198.18.100.0/24"}, 2, false},
		{"held by another block", []string{"198.18.100.0/24"}, []string{"198.18.1.0/24"}, []string{"198.18.100.128/25"}, 1, true},
		{
			"both families",
			[]string{"198.18.100.0/24", "2001:db8:100:54::/64"},
			[]string{"2001:db8:100:54::/65"},
			[]string{"198.18.100.0/24", "2001:db8:100:54:8000::/65"},
			2, false,
		},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			block := func(name string, ps ...string) policy.Document {
				return &policy.ProtectedBlock{Name: name, Kind: policy.BlockInfrastructure, Prefixes: pfxs(ps...)}
			}
			docs := without(nil, block("b", row.before...))
			if row.otherwiseToo {
				docs = append(docs, block("other", "198.18.100.0/25"))
			}
			w := newWorld(t, docs...)
			req := &policy.ApplyRequest{Documents: []policy.Document{block("b", row.now...)}}
			d := w.must(policy.Refused, policy.CodeRemovalsNeedNumber, req)
			if diff := cmp.Diff(pfxs(row.gone...), d.Plan.ProtectedRemoved, prefixes()); diff != "" {
				t.Errorf("space gone (-want +got):\n%s", diff)
			}
			expectText(t, d.Verdict.Reason, "gone is "+strings.Join(row.gone, ", "))
			req.AllowRemovals = row.allow
			w.must(policy.Mitigated, policy.CodeApplied, req)
		})
	}
}

// TestUnenforced: an apply that takes the last router from a mitigation says so.
func TestUnenforced(t *testing.T) {
	transit := discard("198.51.100.7/32")
	transit.Groups = []string{"transit"}
	rows := []struct {
		name string
		docs []policy.Document
		want []policy.MitigationID
		says string
	}{
		{"its only router", without([]string{"transit-1"}), []policy.MitigationID{1}, "M1 is left without any router: nothing enforces it"},
		{"all routers of one family", without([]string{"edge-1", "edge-2", "amplification", "floods"}), []policy.MitigationID{3}, "M3 is left without any router"},
		{"all routers", without([]string{"edge-1", "edge-2", "transit-1", "amplification", "floods"}), []policy.MitigationID{1, 2, 3}, "M1, M2, M3 are left without any router: nothing enforces them"},
		{"one of several", without([]string{"edge-2"}), nil, ""},
		{"another group", append(without([]string{"transit-1"}), router("transit-1", "edge", "127.0.0.13", 20, flowspec.IPv4)), []policy.MitigationID{1}, "M1 is left"},
		{"another router in its place", append(without([]string{"transit-1"}), router("transit-2", "transit", "127.0.0.13", 20, flowspec.IPv4)), nil, ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			w.must(policy.Mitigated, policy.CodeStarted, transit)
			w.must(policy.Mitigated, policy.CodeStarted, discard("198.51.100.8/32"))
			w.must(policy.Mitigated, policy.CodeStarted, discard("2001:db8:100::8/128"))
			d := w.must(policy.Mitigated, policy.CodeApplied, &policy.ApplyRequest{Documents: row.docs, Prune: true})
			if diff := cmp.Diff(row.want, d.Plan.Unenforced); diff != "" {
				t.Errorf("unenforced (-want +got):\n%s", diff)
			}
			expectText(t, d.Verdict.Reason, row.says)
			if row.says == "" && strings.Contains(d.Verdict.Reason.Text, "without any router") {
				t.Errorf("%q", d.Verdict.Reason.Text)
			}
			more := w.must(policy.Mitigated, policy.CodeApplied, &policy.ApplyRequest{Documents: []policy.Document{policy.DefaultSafeguards()}})
			if len(more.Plan.Unenforced) > 0 {
				t.Errorf("%v are told again by an apply that took nothing from them", more.Plan.Unenforced)
			}
		})
	}
}

// TestMovedAttack: a verdict that ends another mitigation names it.
func TestMovedAttack(t *testing.T) {
	w := newWorld(t)
	w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, dns, pfxs("198.51.100.7/32")))
	d := w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 2, dns, pfxs("198.51.100.8/32")))
	expectText(t, d.Verdict.Reason, "; M1 is superseded and ends")
	if m := w.mitigation(2); strings.Contains(m.Reason.Text, "superseded") || w.mitigation(1).End != policy.EndSuperseded {
		t.Errorf("the record of M2 says %q, M1 ended by %q", m.Reason.Text, w.mitigation(1).End)
	}
	w.must(policy.Merged, policy.CodeMerged, signal("b", 1, dns, pfxs("198.51.100.8/32")))
	d = w.must(policy.Mitigated, policy.CodeMitigated, signal("b", 2, dns, pfxs("198.51.100.9/32")))
	expectText(t, d.Verdict.Reason, "; M2 stays for 1 other cause")
	d = w.must(policy.Merged, policy.CodeMerged, signal("b", 3, dns, pfxs("198.51.100.8/32")))
	expectText(t, d.Verdict.Reason, "; M3 is superseded and ends")
}

// TestEndThatEndsNothing: whoever sends an end with a number too low is told that nothing ended.
func TestEndThatEndsNothing(t *testing.T) {
	w := newWorld(t)
	w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 5, dns, pfxs("198.51.100.7/32")))
	stays := "nothing ended: M1 stays active until an end with a number above 5 comes"
	expectText(t, w.must(policy.Observed, policy.CodeStale, end("a", 4)).Verdict.Reason, stays)
	expectText(t, w.must(policy.Refused, policy.CodeSeqConflict, end("a", 5)).Verdict.Reason, stays)
	if d := w.must(policy.Observed, policy.CodeStale, signal("a", 4, dns, pfxs("198.51.100.7/32"))); strings.Contains(d.Verdict.Reason.Text, "ended") {
		t.Errorf("of a stale update: %q", d.Verdict.Reason.Text)
	}
	w.must(policy.Ended, policy.CodeWithdrawn, &policy.WithdrawRequest{ID: 1})
	expectText(t, w.must(policy.Observed, policy.CodeStale, end("a", 4)).Verdict.Reason, "nothing ended: send the end with a number above 5")
	w.must(policy.Ended, policy.CodeAttackOver, end("a", 6))
	expectText(t, w.must(policy.Observed, policy.CodeStale, end("a", 4)).Verdict.Reason, "nothing ended now: the end of the attack was noted before")
}

// TestStartOfWhatCannotBe: an order is held to the same as a signal.
func TestStartOfWhatCannotBe(t *testing.T) {
	w := newWorld(t)
	for _, text := range []string{"ipv4 proto icmp sport 53", "ipv4 proto udp dport 80 tcp-flags syn", "ipv4 dport >100&<50", "ipv4 proto udp sport 53 frag is-fragment"} {
		t.Run(text, func(t *testing.T) {
			req := discard("198.51.100.7/32")
			req.Match = match(t, text)
			d := w.must(policy.Refused, policy.CodeContradiction, req)
			if d.Verdict.Reason.Text != req.Match.Canonical().Conflict() {
				t.Errorf("%q", d.Verdict.Reason.Text)
			}
		})
	}
	req := discard("198.51.100.7/32")
	req.Match = match(t, "dst 198.51.100.7/32 proto udp")
	d := w.must(policy.Refused, policy.CodeMalformed, req)
	expectText(t, d.Verdict.Reason, `match: the match names a destination, "dst 198.51.100.7/32", beside the targets; name it in the targets, and leave it out here`)
	req.Match = match(t, "ipv4 dport 1|3|5|7|9|11")
	d = w.must(policy.Refused, policy.CodeMalformed, req)
	if n := strings.Count(d.Verdict.Reason.Text, ";"); n != 1 {
		t.Errorf("%d pieces of advice: %q", n, d.Verdict.Reason.Text)
	}
}

// TestShortLifetime: what would be over before it is announced is a slip.
func TestShortLifetime(t *testing.T) {
	w := newWorld(t)
	req := discard("198.51.100.7/32")
	req.Lifetime = time.Millisecond
	d := w.must(policy.Refused, policy.CodeMalformed, req)
	want := []policy.Violation{{Field: "lifetime", Problem: "the lifetime 1ms is shorter than 1s", Fix: "send at least 1s"}}
	if diff := cmp.Diff(want, d.Violations); diff != "" {
		t.Errorf("start (-want +got):\n%s", diff)
	}
	req.Lifetime = time.Second
	w.must(policy.Mitigated, policy.CodeStarted, req)
	d = w.must(policy.Refused, policy.CodeMalformed, &policy.ExtendRequest{ID: 1, Lifetime: time.Second - 1})
	expectText(t, d.Verdict.Reason, "lifetime: the lifetime 999.999999ms is shorter than 1s; send at least 1s")
}

// TestExtensionsAreRemembered: the last extensions stand in the notes, with who, when and why; other notes stay.
func TestExtensionsAreRemembered(t *testing.T) {
	w := newWorld(t)
	before := slices.Clone(w.must(policy.Mitigated, policy.CodeStarted, discard("198.51.100.7/32")).Mitigations[0].Notes)
	if len(before) == 0 {
		t.Fatal("the order has no notes of its own")
	}
	w.must(policy.Mitigated, policy.CodeExtended, &policy.ExtendRequest{ID: 1, Lifetime: time.Hour})
	first := "extended by operator/alice at 2026-05-04T12:00:00Z to end in 1h: ticket 4711"
	if diff := cmp.Diff(append(slices.Clone(before), first), w.mitigation(1).Notes); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for i := range policy.MaxExtensions {
		old := w.mitigation(1)
		kept := slices.Clone(old.Notes)
		w.must(policy.Mitigated, policy.CodeExtended, &policy.ExtendRequest{ID: 1, Lifetime: time.Duration(i+1) * time.Minute})
		if !slices.Equal(kept, old.Notes) {
			t.Fatal("an older record changed")
		}
	}
	notes := w.mitigation(1).Notes
	if len(notes) != len(before)+policy.MaxExtensions || !slices.Equal(notes[:len(before)], before) || slices.Contains(notes, first) ||
		!strings.Contains(notes[len(notes)-1], "to end in 16m") {
		t.Errorf("notes:\n%s", strings.Join(notes, "\n"))
	}
}

// TestSingulars reads sentences about one of something.
func TestSingulars(t *testing.T) {
	w := newWorld(t)
	say := func(d policy.Decision, want string) {
		t.Helper()
		expectText(t, d.Verdict.Reason, want)
	}
	say(w.decide(discard("198.51.100.7/32")), "M1: 1 rule (1 destination × 1 match) for customer uni-a")
	say(w.decide(discard("198.51.100.8/32", "198.51.100.12/32")), "M2: 2 rules (2 destinations × 1 match) for customer uni-a")
	say(w.decide(&policy.WithdrawRequest{ID: 1}), "M1 is withdrawn: 1 rule")
	say(w.decide(&policy.WithdrawAllRequest{Customer: "uni-a"}), "1 mitigation of customer uni-a is withdrawn")
	w.decide(discard("198.51.100.7/32"))
	w.now = noon().Add(24 * time.Hour)
	say(w.decide(&policy.ExpireRequest{}), "the lifetime of 1 mitigation is over")
	solo := &policy.Customer{ID: "solo-c", Name: "Solo C", Official: pfxs("192.0.2.0/25")}
	say(w.decide(&policy.ApplyRequest{Documents: []policy.Document{solo}}), "allow exactly 1 removal")
	say(w.decide(&policy.ApplyRequest{Documents: []policy.Document{solo}, AllowRemovals: 2}), "allow exactly 1 removal (2 were stated)")
	say(w.decide(&policy.ApplyRequest{Documents: []policy.Document{solo}, AllowRemovals: 1}), "0 documents added, 1 changed")
}

// TestUnknownMitigation: there is one code for a number that no mitigation has.
func TestUnknownMitigation(t *testing.T) {
	w := newWorld(t)
	for _, req := range []policy.Request{&policy.WithdrawRequest{ID: 9}, &policy.ExtendRequest{ID: 9, Lifetime: time.Hour}} {
		expectText(t, w.must(policy.Refused, policy.CodeUnknownMitigation, req).Verdict.Reason, "there is no mitigation M9")
	}
}

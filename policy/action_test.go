package policy_test

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/policy"
)

func scrubber() flowspec.RouteTarget {
	return flowspec.RouteTarget{Form: flowspec.RTFormAS2, ASN: 65001, Local: 666}
}

// order is an order to do a to the targets.
func order(a policy.Action, targets ...string) *policy.StartRequest {
	return &policy.StartRequest{Targets: pfxs(targets...), Action: a}
}

// TestActionOnTheWire reads what each kind of action makes of its rules: two destinations share what is to be shared.
func TestActionOnTheWire(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	also := flowspec.Action{Type: flowspec.TrafficAction, Sample: true, Continue: true}
	rows := []struct {
		name    string
		action  policy.Action
		targets []string
		want    []flowspec.Action
	}{
		{"discard", policy.Action{Kind: policy.Discard}, nil, []flowspec.Action{{Type: flowspec.TrafficRateBytes}}},
		{"bytes", policy.Action{Kind: policy.RateLimit, Rate: 1001}, nil, []flowspec.Action{{Type: flowspec.TrafficRateBytes, Rate: 500.5}}},
		{"packets", policy.Action{Kind: policy.RateLimitPackets, Packets: 5000}, nil, []flowspec.Action{{Type: flowspec.TrafficRatePackets, Rate: 2500}}},
		{"VRF", policy.Action{Kind: policy.Redirect, Target: scrubber()}, nil, []flowspec.Action{{Type: flowspec.RTRedirect, Target: scrubber()}}},
		{"address", policy.Action{Kind: policy.RedirectIP, Address: v4}, nil, []flowspec.Action{{Type: flowspec.RedirectToIP, Address: v4}}},
		{
			"IPv6 address",
			policy.Action{Kind: policy.RedirectIP, Address: v6, Copy: true},
			[]string{"2001:db8:100::1/128", "2001:db8:100::3/128"},
			[]flowspec.Action{{Type: flowspec.RedirectToIP, Address: v6, Copy: true}},
		},
		{"mark", policy.Action{Kind: policy.Mark, DSCP: 46}, nil, []flowspec.Action{{Type: flowspec.TrafficMarking, DSCP: 46}}},
		{"best effort", policy.Action{Kind: policy.Mark}, nil, []flowspec.Action{{Type: flowspec.TrafficMarking}}},
		{
			"rate, sample, continue",
			policy.Action{Kind: policy.RateLimit, Rate: 1000, Sample: true, Continue: true},
			nil,
			[]flowspec.Action{{Type: flowspec.TrafficRateBytes, Rate: 500}, also},
		},
		{
			"mark, sample, continue",
			policy.Action{Kind: policy.Mark, DSCP: 8, Sample: true, Continue: true},
			nil,
			[]flowspec.Action{also, {Type: flowspec.TrafficMarking, DSCP: 8}},
		},
		{
			"discard, sample",
			policy.Action{Kind: policy.Discard, Sample: true},
			nil,
			[]flowspec.Action{{Type: flowspec.TrafficRateBytes}, {Type: flowspec.TrafficAction, Sample: true}},
		},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			targets := row.targets
			if targets == nil {
				targets = []string{"198.51.100.1/32", "198.51.100.3/32"}
			}
			w := newWorld(t)
			m := w.must(policy.Mitigated, policy.CodeStarted, order(row.action, targets...)).Mitigations[0]
			if len(m.Rules) != 2 || m.Action != row.action {
				t.Fatalf("%d rules, action %+v", len(m.Rules), m.Action)
			}
			for _, rule := range m.Rules {
				if diff := cmp.Diff(row.want, rule.Actions, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
					t.Errorf("actions (-want +got):\n%s", diff)
				}
				if err := rule.Validate(); err != nil {
					t.Errorf("no rule for a router: %v", err)
				}
			}
			for _, r := range w.s.Wanted(policy.WantedInput{}).Set.Routes {
				if r.Kind != wanted.FlowSpec {
					t.Errorf("%s is announced as kind %d", r.Rule, r.Kind)
				}
			}
		})
	}
}

// TestActionRefused gives actions that cannot be meant, to an order and to a policy. The two know the same fields.
func TestActionRefused(t *testing.T) {
	v4 := netip.MustParseAddr("192.0.2.1")
	rows := []struct {
		name   string
		action policy.Action
		want   string // of the violation
	}{
		{"nothing", policy.Action{}, "action: it is not said what to do"},
		{"unknown", policy.Action{Kind: 99}, "action: it is not said what to do"},
		{"sampling alone", policy.Action{Sample: true}, "action: it is not said what to do"},
		{"rate of 0.1 bps", policy.Action{Kind: policy.RateLimit, Rate: 0.0125}, "action.rate: 0.0125 bytes/s is below 1 byte/s"},
		{"half a packet", policy.Action{Kind: policy.RateLimitPackets, Packets: 0.5}, "action.rate: 0.5 packets/s is below 1 packet/s"},
		{"packets without end", policy.Action{Kind: policy.RateLimitPackets, Packets: flowspec.PacketsPerSecond(math.Inf(1))}, "action.rate: the rate is not a finite number"},
		{"two rates", policy.Action{Kind: policy.RateLimit, Rate: 1000, Packets: 1000}, "action.rate: a rate limit has no rate"},
		{"discard and rate", policy.Action{Kind: policy.Discard, Rate: 1000}, "action.rate: a discard has no rate"},
		{"discard and redirect", policy.Action{Kind: policy.Discard, Target: scrubber()}, "action.redirect: a discard has no redirect"},
		{"blackhole and mark", policy.Action{Kind: policy.RTBH, DSCP: 1}, "action.mark: a blackhole has no mark"},
		{"mark and address", policy.Action{Kind: policy.Mark, Address: v4}, "action.redirect_ip: a mark has no redirect_ip"},
		{"mark and copy", policy.Action{Kind: policy.Mark, Copy: true}, "action.copy: a mark has no copy"},
		{"DSCP 64", policy.Action{Kind: policy.Mark, DSCP: 64}, "action.mark: DSCP 64 is above 63"},
		{"redirect to nowhere", policy.Action{Kind: policy.Redirect}, "action.redirect: the route target cannot be sent"},
		{"redirect to no address", policy.Action{Kind: policy.RedirectIP}, "action.redirect_ip: "},
		{"redirect to a group", policy.Action{Kind: policy.RedirectIP, Address: netip.MustParseAddr("224.0.0.1")}, "action.redirect_ip: "},
		{"sampled blackhole", policy.Action{Kind: policy.RTBH, Sample: true}, "action.sample: a blackhole route discards by destination alone"},
		{"blackhole and later rules", policy.Action{Kind: policy.RTBH, Continue: true}, "action.continue: a blackhole route discards everything"},
		{"discard and later rules", policy.Action{Kind: policy.Discard, Continue: true}, "action.continue: nothing is left for later rules"},
		{"redirect and later rules", policy.Action{Kind: policy.RedirectIP, Address: v4, Continue: true}, "action.continue: nothing is left for later rules"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			d := w.must(policy.Refused, policy.CodeMalformed, order(row.action, "198.51.100.7/32"))
			doc := &policy.Policy{Name: "p", Action: row.action}
			for who, v := range map[string][]policy.Violation{"order": d.Violations, "policy": doc.Validate()} {
				if len(v) == 0 {
					t.Fatalf("%s: no violation", who)
				}
				if got := v[0].Field + ": " + v[0].Problem; !strings.HasPrefix(got, row.want) || v[0].Fix == "" {
					t.Errorf("%s: %q; %q, want %q and a fix", who, got, v[0].Fix, row.want)
				}
			}
		})
	}
}

// TestActionPrecedence claims one key for two actions, each way round: the more severe one is announced.
func TestActionPrecedence(t *testing.T) {
	mild := []policy.Action{ // from the mildest
		{Kind: policy.RedirectIP, Address: netip.MustParseAddr("192.0.2.1"), Copy: true},
		{Kind: policy.Mark, DSCP: 8},
		{Kind: policy.RateLimitPackets, Packets: 1},
		{Kind: policy.RateLimit, Rate: 1e9},
		{Kind: policy.Discard},
		{Kind: policy.RedirectIP, Address: netip.MustParseAddr("192.0.2.1")},
		{Kind: policy.Redirect, Target: scrubber()},
	}
	for i, a := range mild {
		for _, b := range mild[i+1:] {
			for name, pair := range map[string][2]policy.Action{"milder first": {a, b}, "milder last": {b, a}} {
				s := policy.NewState()
				for j, act := range pair {
					d := policy.Decide(newWorld(t).s, order(act, "198.51.100.7/32"), policy.Entry{At: noon(), By: "operator/alice"})
					m := *d.Mitigations[0]
					m.ID = policy.MitigationID(j + 1)
					var err error
					if s, err = s.Apply(policy.Entry{Index: policy.Index(j + 1), At: noon()}, []policy.Change{&policy.PutMitigation{Mitigation: &m}}); err != nil {
						t.Fatal(err)
					}
				}
				n := 0
				for _, r := range s.Routes() {
					n++
					first, _ := s.Mitigation(r.Owners[0])
					if len(r.Owners) != 2 || first.Action != b {
						t.Errorf("%s: %+v and %+v: owners %v, announced is %+v", name, a, b, r.Owners, first.Action)
					}
				}
				if n != 1 {
					t.Errorf("%d routes", n)
				}
			}
		}
	}
}

// TestShielding: what holds back less must not come before what holds back more, unless later rules are asked as well.
func TestShielding(t *testing.T) {
	const wide, host = "198.51.100.0/25", "198.51.100.7/32"
	packets := policy.Action{Kind: policy.RateLimitPackets, Packets: 1000}
	mark := policy.Action{Kind: policy.Mark, DSCP: 8}
	onward := mark
	onward.Continue = true
	redirect := policy.Action{Kind: policy.Redirect, Target: scrubber()}
	discards := policy.Action{Kind: policy.Discard}
	mirror := policy.Action{Kind: policy.RedirectIP, Address: netip.MustParseAddr("192.0.2.1"), Copy: true}
	rows := []struct {
		name        string
		first, then policy.Action
		at, thenAt  string
		refused     string // part of the sentence; empty: it is mitigated
		note        string
	}{
		{"mark before discard", discards, mark, wide, host, "M1 discards on 198.51.100.7; a mark there would come first and let through what M1 discards", ""},
		{"mark before a rate", packets, mark, wide, host, "a mark there would come first and let through what M1 limits the rate", ""},
		{"copy before a redirect", redirect, mirror, wide, host, "a copy there would come first and let through what M1 redirects", ""},
		{"rate before a redirect", redirect, packets, wide, host, "withdraw M1, or redirect as well", ""},
		{"mark and go on", discards, onward, wide, host, "", ""},
		{"discard before a redirect", redirect, discards, wide, host, "", ""},
		{"redirect before a discard", discards, redirect, wide, host, "", ""},
		{"a discard around a mark", mark, discards, host, wide, "", "M1 marks a part of this at 198.51.100.7 and comes before it there: withdraw it to discard all"},
		{"a discard around a mark that goes on", onward, discards, host, wide, "", ""},
		{"a rate around a copy", mirror, packets, host, wide, "", "M1 copies a part of this at 198.51.100.7"},
		{"a mark in place of a rate", packets, mark, host, host, "a mark there would have no effect while M1 is active", ""},
		{"a mark that goes on in place of a rate", packets, onward, host, host, "a mark there would have no effect while M1 is active", ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			w.must(policy.Mitigated, policy.CodeStarted, order(row.first, row.at))
			if row.refused != "" {
				d := w.must(policy.Refused, policy.CodeShieldsStronger, order(row.then, row.thenAt))
				expectText(t, d.Verdict.Reason, row.refused)
				return
			}
			notes := strings.Join(w.must(policy.Mitigated, policy.CodeStarted, order(row.then, row.thenAt)).Mitigations[0].Notes, "\n")
			if !strings.Contains(notes, row.note) || row.note == "" && strings.Contains(notes, "M1") {
				t.Errorf("notes %q, want %q", notes, row.note)
			}
		})
	}
}

// TestBlackhole reads a blackhole by hand, whole: addresses, exemptions, kind, routers.
func TestBlackhole(t *testing.T) {
	w := newWorld(t, without(nil, blackholer("bh-1", "127.0.0.21", 100, flowspec.IPv4))...)
	m := w.must(policy.Mitigated, policy.CodeStarted, blackhole("203.0.113.0/28", "203.0.113.16/30", "198.51.100.252/30")).Mitigations[0]
	// 203.0.113.0/28 is a protected block, 198.51.100.252/31 a link.
	want := []string{"198.51.100.254/32", "198.51.100.255/32", "203.0.113.16/32", "203.0.113.17/32", "203.0.113.18/32", "203.0.113.19/32"}
	var got []string
	set := w.s.Wanted(policy.WantedInput{}).Set
	for _, r := range set.Routes {
		p, _ := r.Rule.Match.Destination()
		got = append(got, p.String())
		if r.Kind != wanted.RTBH || r.Key != wanted.RTBHKey(p) || len(r.Rule.Match.Components) != 1 || len(r.Rule.Actions) != 0 {
			t.Errorf("route %+v", r)
		}
		if route, ok := w.s.Route(r.Key); !ok || route.Kind != wanted.RTBH {
			t.Errorf("route of %q: %+v", r.Key, route)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("routes (-want +got):\n%s", diff)
	}
	if len(m.Cut.Exempt) != 2 || !strings.Contains(strings.Join(m.Notes, "\n"), "discards everything") {
		t.Errorf("exempt %v, notes %q", m.Cut.Exempt, m.Notes)
	}
	if n, of := w.s.RouteCount(wanted.RTBH, "edge"), w.s.RouteCount(wanted.FlowSpec, "edge"); n != 6 || of != 0 {
		t.Errorf("%d blackhole routes and %d rules", n, of)
	}
	for _, r := range set.Routers {
		if carries := map[bool]wanted.Kind{true: wanted.RTBH, false: wanted.FlowSpec}[r.Name == "bh-1"]; r.Carries != carries || (r.DiscardIPv4 == netip.MustParseAddr("192.0.2.1")) != (r.Name == "bh-1") || r.Name == "bh-1" && r.IPv6 {
			t.Errorf("router %+v", r)
		}
	}
	// A rule for the same address is another route, and neither shields the other.
	w.must(policy.Mitigated, policy.CodeStarted, limit(1e6, "203.0.113.16/32"))
	if n := w.s.RouteCount(wanted.FlowSpec, "edge"); n != 1 {
		t.Errorf("%d rules", n)
	}
	// Protection that is added narrows it in the same entry.
	d := w.must(policy.Mitigated, policy.CodeApplied, &policy.ApplyRequest{Documents: []policy.Document{
		&policy.ProtectedBlock{Name: "new", Kind: policy.BlockCustomerEdge, Prefixes: pfxs("203.0.113.18/31")},
	}})
	if fmt.Sprint(d.Plan.Narrowed) != "[1]" || len(w.mitigation(1).Rules) != 4 || w.s.RouteCount(wanted.RTBH, "edge") != 4 {
		t.Errorf("plan %+v, rules %v", d.Plan, w.mitigation(1).Rules)
	}
	w.must(policy.Merged, policy.CodeAlreadyActive, blackhole("203.0.113.0/28", "203.0.113.16/30", "198.51.100.252/30"))
	// Stricter safeguards do not leave a route behind that every guard would refuse.
	sg := policy.DefaultSafeguards()
	sg.ShortestRTBHIPv4 = 30
	w.must(policy.Mitigated, policy.CodeApplied, &policy.ApplyRequest{Documents: []policy.Document{sg}})
	w.must(policy.Mitigated, policy.CodeStarted, blackhole("203.0.113.32/30"))
	if _, ok := w.s.Route(wanted.RTBHKey(pfx("203.0.113.32/30"))); !ok {
		t.Error("no route for the /30")
	}
	refused := w.must(policy.Refused, policy.CodeRTBHTooWide, &policy.ApplyRequest{Documents: []policy.Document{policy.DefaultSafeguards()}})
	expectText(t, refused.Verdict.Reason, "M3", "203.0.113.32/30", "withdraw it first")
}

// TestBlackholePolicy: a policy blackholes what signals name, and their ports do not matter.
func TestBlackholePolicy(t *testing.T) {
	bh := &policy.Policy{Name: "last-resort", Priority: 99, Vectors: []policy.Vector{dns}, Action: policy.Action{Kind: policy.RTBH}}
	w := newWorld(t, without(nil, blackholer("bh-1", "127.0.0.21", 100, flowspec.IPv4), bh)...)
	m := w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, dns, pfxs("198.51.100.8/31"))).Mitigations[0]
	if len(m.Rules) != 2 || len(m.Variants) != 1 || len(m.Variants[0].Components) != 0 || len(m.Notes) != 1 {
		t.Errorf("rules %v, variants %v, notes %q", m.Rules, m.Variants, m.Notes)
	}
	w.must(policy.Merged, policy.CodeMerged, signal("b", 1, dns, pfxs("198.51.100.9/32")))
	w.must(policy.Merged, policy.CodeRepetition, signal("a", 2, dns, pfxs("198.51.100.8/31")))
	// Narrowed, and moved to a mitigation of its own.
	w.must(policy.Mitigated, policy.CodeMitigated, signal("c", 1, dns, pfxs("198.51.100.8/31", "198.51.100.12/32")))
	w.must(policy.Refused, policy.CodeRTBHTooWide, signal("d", 1, dns, pfxs("198.51.100.0/27")))
	// A policy of blackholes that no router would hear is a slip.
	d := newWorld(t).decide(&policy.ApplyRequest{Documents: []policy.Document{bh}})
	if d.Verdict.Reason.Code != policy.CodeMalformed || !strings.Contains(d.Verdict.Reason.Text, "carries: rtbh") {
		t.Errorf("%+v", d.Verdict)
	}
}

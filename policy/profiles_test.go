package policy_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/policy"
)

// xr is a router that takes less than others, and whose table is known. Of table entries at most 80 % are used.
func xr(table int) *policy.Router {
	r := router("xr-1", "edge", "127.0.0.31", 3000, flowspec.IPv4, flowspec.IPv6)
	r.Profile, r.AcceptUntested, r.MaxEntries = "iosxr-ncs5500", true, table
	return r
}

// withMatch is an order with a match in text form.
func withMatch(t testing.TB, r *policy.StartRequest, text string) *policy.StartRequest {
	t.Helper()
	r.Match = match(t, text)
	return r
}

// TestSplitForRouter: one router of the group does not know "either port". All that hear the order get the same rules,
// which take the same packets, and share the rate.
func TestSplitForRouter(t *testing.T) {
	w := newWorld(t, without(nil, xr(0))...)
	order := withMatch(t, limit(1_000_000, "198.51.100.7/32", "198.51.100.9/32"), "ipv4 proto udp port 53|123")
	m := w.must(policy.Mitigated, policy.CodeStarted, order).Mitigations[0]
	want := []string{
		"dst 198.51.100.7/32 proto udp dport 53|123 => rate 2Mbps", "dst 198.51.100.7/32 proto udp sport 53|123 => rate 2Mbps",
		"dst 198.51.100.9/32 proto udp dport 53|123 => rate 2Mbps", "dst 198.51.100.9/32 proto udp sport 53|123 => rate 2Mbps",
	}
	if diff := cmp.Diff(want, texts(m.Rules)); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	if notes := strings.Join(m.Notes, "\n"); !strings.Contains(notes, "split for router xr-1 (profile iosxr-ncs5500): 2 matches for each destination in place of 1") {
		t.Errorf("notes %q", notes)
	}
	asked, err := order.Match.WithDestination(pfx("198.51.100.7/32"))
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(20260504, 7))
	hit := 0
	for range 10_000 {
		p := &flowspec.Packet{
			Dst: netip.MustParseAddr("198.51.100.7"), Src: netip.MustParseAddr("192.0.2.1"), Protocol: []uint8{6, 17}[r.IntN(2)], HasPorts: r.IntN(4) > 0,
			SrcPort: []uint16{53, 123, 80}[r.IntN(3)], DstPort: []uint16{53, 123, 80}[r.IntN(3)], Length: 100,
		}
		got := slices.ContainsFunc(m.Rules, func(rule flowspec.Rule) bool { return rule.Match.Matches(p) })
		if got != asked.Matches(p) {
			t.Fatalf("packet %+v: taken %v", p, got)
		}
		if got {
			hit++
		}
	}
	if hit < 1000 {
		t.Errorf("only %d packets were taken", hit)
	}
	w.must(policy.Merged, policy.CodeAlreadyActive, order)
	// The router that needs no split hears one rule when the other one is not asked.
	w.must(policy.Mitigated, policy.CodeStarted, &policy.StartRequest{
		Targets: pfxs("203.0.112.1/32"), Match: order.Match, Action: policy.Action{Kind: policy.Discard}, Groups: []string{"transit"},
	})
	if n := len(w.mitigation(2).Rules); n != 1 {
		t.Errorf("%d rules for a group without the router", n)
	}
}

// TestVectorsByProfile: first fragments may be left out where a router can tell only later ones, and that is said; where
// it can tell none, nothing is done. Flags are one mask.
func TestVectorsByProfile(t *testing.T) {
	host := "198.51.100.7/32"
	w := newWorld(t, without([]string{"amplification", "floods"}, xr(0), &policy.Policy{Name: "all", Action: policy.Action{Kind: policy.Discard}})...)
	m := w.must(policy.Mitigated, policy.CodeMitigated, signal("f", 1, policy.VectorFragmentFlood, pfxs(host))).Mitigations[0]
	if diff := cmp.Diff([]string{"dst 198.51.100.7/32 frag any:is-fragment => discard"}, texts(m.Rules)); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	if notes := strings.Join(m.Notes, "\n"); !strings.Contains(notes, "first fragments are not matched, this leaks them: router xr-1") {
		t.Errorf("notes %q", notes)
	}
	w.must(policy.Merged, policy.CodeMerged, signal("g", 1, policy.VectorFragmentFlood, pfxs(host)))
	w.must(policy.Refused, policy.CodeRouterProfile, signal("h", 1, policy.VectorFragmentFlood, pfxs("2001:db8:100::1/128")))
	for _, v := range []policy.Vector{policy.VectorACKFlood, policy.VectorRSTFlood, policy.VectorTCPAmplification, policy.VectorESPFlood} {
		w.must(policy.Mitigated, policy.CodeMitigated, signal(string(v), 1, v, pfxs(host)))
	}
}

// TestFragmentsDoNotMendTheAction: leaving first fragments out is no answer to an action that the router cannot carry out.
func TestFragmentsDoNotMendTheAction(t *testing.T) {
	mx := router("mx-1", "edge", "127.0.0.31", 3000, flowspec.IPv4, flowspec.IPv6)
	mx.Profile, mx.AcceptUntested = "junos-mx", true
	w := newWorld(t, without([]string{"amplification", "floods"}, mx, &policy.Policy{Name: "all", Action: policy.Action{Kind: policy.RateLimitPackets, Packets: 20_000}})...)
	d := w.must(policy.Refused, policy.CodeRouterProfile, signal("f", 1, policy.VectorFragmentFlood, pfxs("198.51.100.7/32")))
	expectText(t, d.Verdict.Reason, "rate-limit in bits per second only")
}

// TestRefusedByProfile: what a router would ignore or approximate is refused, and it is said which router and why.
func TestRefusedByProfile(t *testing.T) {
	host := "198.51.100.7/32"
	sampled := policy.Action{Kind: policy.Discard, Sample: true}
	for _, row := range []struct {
		name string
		req  policy.Request
		text []string
	}{
		{"an action", order(sampled, host), []string{"router xr-1 (group edge, profile iosxr-ncs5500)", "traffic-action sample", "choose another action"}},
		{"packets", order(policy.Action{Kind: policy.RateLimitPackets, Packets: 1000}, host), []string{"traffic-rate-packets"}},
		{"a component", withMatch(t, discard("2001:db8:100::1/128"), "ipv6 label 7"), []string{"label 7", "leave the condition out"}},
		{"a list that needs too many rules", withMatch(t, discard(host), "ipv4 proto icmp icmp-type 0-200"), []string{"icmp-type <=200", "more than 64 rules"}},
		{"a signal", signal("a", 1, policy.VectorICMPFlood, pfxs(host)), []string{"icmp-type"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, without(nil, xr(0))...)
			d := w.must(policy.Refused, policy.CodeRouterProfile, row.req)
			expectText(t, d.Verdict.Reason, row.text...)
		})
	}
	// A vector's fragments are an extra that may be left out, and that is said.
	w := newWorld(t, without(nil, xr(0))...)
	m := w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, dns, pfxs("2001:db8:100::1/128"))).Mitigations[0]
	if diff := cmp.Diff([]string{"dst 2001:db8:100::1/128 proto udp sport 53 => discard"}, texts(m.Rules)); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	if notes := strings.Join(m.Notes, "\n"); !strings.Contains(notes, "this leaks them: router xr-1") {
		t.Errorf("notes %q", notes)
	}
	w.must(policy.Merged, policy.CodeMerged, signal("b", 1, dns, pfxs("2001:db8:100::1/128")))
	// Other groups are not concerned, and a router that comes later must carry out what is active.
	w = newWorld(t)
	w.must(policy.Mitigated, policy.CodeStarted, order(sampled, host))
	d := w.must(policy.Refused, policy.CodeRouterProfile, &policy.ApplyRequest{Documents: []policy.Document{xr(0)}})
	expectText(t, d.Verdict.Reason, "M1 is active", "router xr-1", "withdraw M1 first")
	elsewhere := xr(0)
	elsewhere.Group = "core"
	d = w.must(policy.Refused, policy.CodeRouterProfile, &policy.ApplyRequest{Documents: []policy.Document{elsewhere}})
	expectText(t, d.Verdict.Reason, "group core") // the order is for all groups
	w.must(policy.Ended, policy.CodeWithdrawn, &policy.WithdrawRequest{ID: 1})
	w.must(policy.Mitigated, policy.CodeApplied, &policy.ApplyRequest{Documents: []policy.Document{elsewhere}})
	edge := order(sampled, host)
	edge.Groups = []string{"edge"}
	w.must(policy.Mitigated, policy.CodeStarted, edge)
}

// TestEntries: a router's table is filled to 80 % and not further, whatever fills it.
func TestEntries(t *testing.T) {
	w := newWorld(t, without(nil, xr(20))...) // 16 may be used
	dear := func(target string) *policy.StartRequest {
		return withMatch(t, discard(target), "ipv4 proto udp len >=257")
	}
	room := func() policy.Room {
		t.Helper()
		for r := range w.s.Routers() {
			if r.Name == "xr-1" {
				return w.s.Room(r)
			}
		}
		return policy.Room{}
	}
	m := w.must(policy.Mitigated, policy.CodeStarted, dear("198.51.100.7/32")).Mitigations[0]
	if notes := strings.Join(m.Notes, "\n"); !strings.Contains(notes, "cheaper on iosxr-ncs5500: len >=256 costs 8 TCAM entries instead of 15") {
		t.Errorf("notes %q", notes)
	}
	if got, want := room(), (policy.Room{Routes: 1, RoutesStop: 2400, Entries: 15, EntriesStop: 16}); got != want {
		t.Errorf("room %+v, want %+v", got, want)
	}
	d := w.must(policy.Refused, policy.CodeRouterEntries, dear("198.51.100.9/32"))
	expectText(t, d.Verdict.Reason, "router xr-1", "holds 15 table entries and may hold 16", "15 more")
	w.must(policy.Mitigated, policy.CodeStarted, discard("198.51.100.9/32"))
	w.must(policy.Refused, policy.CodeRouterEntries, discard("198.51.100.11/32"))
	// A smaller table is refused while it is full, and taken when it is not.
	small := xr(18)
	d = w.must(policy.Refused, policy.CodeRouterEntries, &policy.ApplyRequest{Documents: []policy.Document{small}})
	expectText(t, d.Verdict.Reason, "would hold 16 table entries and may hold 14", "raise max_entries")
	w.must(policy.Ended, policy.CodeWithdrawn, &policy.WithdrawRequest{ID: 1})
	w.must(policy.Mitigated, policy.CodeApplied, &policy.ApplyRequest{Documents: []policy.Document{small}})
	if got, want := room(), (policy.Room{Routes: 1, RoutesStop: 2400, Entries: 1, EntriesStop: 14}); got != want {
		t.Errorf("room %+v, want %+v", got, want)
	}
	// Protection that cuts a mitigation into pieces does not fill the table either: the largest pieces are kept.
	w = newWorld(t, without(nil, xr(5))...) // 4 may be used
	w.must(policy.Mitigated, policy.CodeStarted, discard("198.51.100.0/25"))
	w.must(policy.Mitigated, policy.CodeApplied, &policy.ApplyRequest{Documents: []policy.Document{
		&policy.ProtectedBlock{Name: "one", Kind: policy.BlockCustomerEdge, Prefixes: pfxs("198.51.100.77/32")},
	}})
	if got := room(); got.Entries != 4 || len(w.mitigation(1).Cut.Pieces) != 4 || !w.mitigation(1).Cut.Rounded {
		t.Errorf("room %+v, cut %+v", got, w.mitigation(1).Cut)
	}
}

// TestValidatedRules: above what the vendor has validated max_prefix does not count.
func TestValidatedRules(t *testing.T) {
	r := xr(0)
	r.MaxPrefix = 100_000
	w := newWorld(t, without(nil, r)...)
	if got := w.s.Room(r); got.RoutesStop != 3000 || got.EntriesStop == 0 {
		t.Errorf("room %+v", got)
	}
	for _, n := range w.s.Wanted(policy.WantedInput{}).Set.Routers {
		if want := map[bool]int{true: 3000, false: n.MaxRoutes}[n.Name == "xr-1"]; n.MaxRoutes != want {
			t.Errorf("%s may hear %d routes", n.Name, n.MaxRoutes)
		}
	}
}

// BenchmarkDecideProfile judges a new attack for routers whose rules are checked and priced.
func BenchmarkDecideProfile(b *testing.B) {
	docs := without(nil, xr(0))
	for i := range 20 {
		r := xr(0)
		r.Name, r.Address = fmt.Sprint("xr-", i+2), netip.AddrFrom4([4]byte{127, 0, 1, byte(i)})
		docs = append(docs, r)
	}
	w := newWorld(b, docs...)
	req := signal("a", 1, dns, pfxs("198.51.100.7/32"))
	for b.Loop() {
		if d := policy.Decide(w.s, req, policy.Entry{At: noon(), By: "detector/fnm-1"}); d.Verdict.Kind != policy.Mitigated {
			b.Fatal(d.Verdict)
		}
	}
}

// TestStepForRouter: a step of a ladder is for the routers as they are when it is taken; the table need not hold both steps.
func TestStepForRouter(t *testing.T) {
	for _, row := range []struct {
		name    string
		table   int
		second  policy.Action
		step    int
		blocked policy.ReasonCode
	}{
		{"a step that takes the place of the one before", 5, policy.Action{Kind: policy.Discard}, 1, ""}, // 4 may be used, 3 are
		{"a step that the router does not know", 0, policy.Action{Kind: policy.Discard, Sample: true}, 0, policy.CodeRouterProfile},
	} {
		t.Run(row.name, func(t *testing.T) {
			steps := ladder()
			steps.Ladder = steps.Ladder[:2]
			steps.Ladder[1].Action = row.second
			w := newWorld(t, without(nil, steps, xr(row.table), bounds(func(d *policy.Safeguards) { d.SourceShare = 0 }))...)
			w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, dns, pfxs("198.51.100.7/32"), sure(0.9)))
			w.now = w.now.Add(3 * time.Minute)
			w.decide(w.outlasts(time.Minute, 0.9))
			if m := w.mitigation(1); m.Step != row.step || m.Blocked.Code != row.blocked {
				t.Errorf("step %d, blocked %+v, want step %d and %q", m.Step, m.Blocked, row.step, row.blocked)
			}
		})
	}
}

package policy_test

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/policy"
)

// udp is a match on UDP, with a source port if it is not 0.
func udp(t testing.TB, port uint64) flowspec.Match {
	t.Helper()
	comps := []flowspec.Component{flowspec.Proto(17)}
	if port != 0 {
		comps = append(comps, flowspec.Ports(flowspec.SourcePort, flowspec.One(port)))
	}
	m, err := flowspec.NewMatch(flowspec.IPv4, comps...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// discard is an order to discard everything to the targets.
func discard(targets ...string) *policy.StartRequest {
	return &policy.StartRequest{Targets: pfxs(targets...), Action: policy.Action{Kind: policy.Discard}}
}

// blackhole is an order to blackhole the targets.
func blackhole(targets ...string) *policy.StartRequest {
	return &policy.StartRequest{Targets: pfxs(targets...), Action: policy.Action{Kind: policy.RTBH}}
}

// divert is an order to redirect everything to the targets.
func divert(to string, targets ...string) *policy.StartRequest {
	return &policy.StartRequest{Targets: pfxs(targets...), Action: policy.Action{Kind: policy.RedirectIP, Address: netip.MustParseAddr(to)}}
}

// limit is an order to limit the rate of everything to the targets.
func limit(rate flowspec.BytesPerSecond, targets ...string) *policy.StartRequest {
	return &policy.StartRequest{Targets: pfxs(targets...), Action: policy.Action{Kind: policy.RateLimit, Rate: rate}}
}

// without is the inventory without the documents of the given names, and with those added.
func without(names []string, added ...policy.Document) []policy.Document {
	docs := slices.DeleteFunc(inventory(), func(d policy.Document) bool { return slices.Contains(names, d.Ref().Name) })
	return append(docs, added...)
}

type reasonCase struct {
	name  string
	docs  []policy.Document // nil: inventory
	first []policy.Request  // applied before
	req   policy.Request
	kind  policy.VerdictKind
	code  policy.ReasonCode
	text  []string // parts of the sentence
}

func signalCases() []reasonCase {
	dns, host := policy.VectorDNSAmplification, pfxs("198.51.100.7/32")
	opened := []policy.Request{signal("a", 5, dns, host)}
	return []reasonCase{
		{
			name: "mitigated", req: signal("a", 1, dns, host), kind: policy.Mitigated, code: policy.CodeMitigated,
			text: []string{"amplification", "fnm-1", "dns_amplification", "198.51.100.7", "uni-a"},
		},
		{
			name: "further cause", first: opened, req: signal("b", 1, dns, host), kind: policy.Merged, code: policy.CodeMerged,
			text: []string{"M1", "amplification", "cause 2"},
		},
		{name: "repetition", first: opened, req: signal("a", 5, dns, host), kind: policy.Merged, code: policy.CodeRepetition, text: []string{"M1"}},
		{name: "update without news", first: opened, req: signal("a", 6, dns, host), kind: policy.Merged, code: policy.CodeRepetition},
		{name: "attack over", first: opened, req: end("a", 6), kind: policy.Ended, code: policy.CodeAttackOver, text: []string{`"a"`, "M1 ends"}},
		{name: "end again", first: append(opened, end("a", 6)), req: end("a", 6), kind: policy.Ended, code: policy.CodeRepetition},
		{
			name: "end of what is already over", first: append(opened, &policy.WithdrawRequest{ID: 1}), req: end("a", 6), kind: policy.Ended, code: policy.CodeAttackOver,
			text: []string{"already over"},
		},
		{name: "end of an unknown attack", req: end("a", 6), kind: policy.Observed, code: policy.CodeUnknownAttack},
		{name: "stale", first: opened, req: signal("a", 4, dns, host), kind: policy.Observed, code: policy.CodeStale, text: []string{"5", "4"}},
		{name: "stale end", first: opened, req: end("a", 4), kind: policy.Observed, code: policy.CodeStale},
		{name: "start after the end with its number", first: append(opened, end("a", 6)), req: signal("a", 6, dns, host), kind: policy.Refused, code: policy.CodeSeqConflict},
		{
			name: "same number, other body", first: opened, req: signal("a", 5, dns, pfxs("198.51.100.8/32")), kind: policy.Refused, code: policy.CodeSeqConflict,
			text: []string{`"a"`, "fnm-1", "5"},
		},
		{name: "end with the number of the start", first: opened, req: end("a", 5), kind: policy.Refused, code: policy.CodeSeqConflict},
		{name: "drill", req: signal("a", 1, dns, host, asDrill), kind: policy.Observed, code: policy.CodeDrill, text: []string{"would have been mitigated with 2 rules"}},
		{
			name: "drill that is refused", req: signal("a", 1, dns, pfxs("8.8.8.8/32"), asDrill), kind: policy.Observed, code: policy.CodeDrill,
			text: []string{"target_not_official"},
		},
		{name: "no policy at all", docs: without([]string{"amplification", "floods"}), req: signal("a", 1, policy.VectorSYNFlood, host), kind: policy.Observed, code: policy.CodeNoPolicy, text: []string{"there is no policy at all", "tidegate policy defaults"}},
		{name: "no policy", req: signal("a", 1, policy.VectorSYNFlood, host), kind: policy.Observed, code: policy.CodeNoPolicy, text: []string{"syn_flood", "uni-a"}},
		{
			name: "withdrawn by an operator", first: append(opened, &policy.WithdrawRequest{ID: 1}), req: signal("a", 6, dns, host), kind: policy.Observed,
			code: policy.CodeStaysWithdrawn, text: []string{"M1", "operator/alice"},
		},
		{
			name: "withdrawn by an operator, repeated", first: append(opened, &policy.WithdrawRequest{ID: 1}), req: signal("a", 5, dns, host), kind: policy.Observed,
			code: policy.CodeStaysWithdrawn,
		},
		{
			name: "withdrawn, then elsewhere", first: append(opened, &policy.WithdrawRequest{ID: 1}), req: signal("a", 6, dns, pfxs("198.51.100.9/32")), kind: policy.Mitigated,
			code: policy.CodeMitigated,
		},
	}
}

func asDrill(s *policy.Signal) { s.Drill = true }

func targetCases() []reasonCase {
	dns := policy.VectorDNSAmplification
	try := func(name string, code policy.ReasonCode, targets []netip.Prefix, text ...string) reasonCase {
		return reasonCase{name: name, req: signal("a", 1, dns, targets), kind: policy.Refused, code: code, text: text}
	}
	return []reasonCase{
		try("nobody's", policy.CodeTargetNotOfficial, pfxs("100.64.0.1/32"), "100.64.0.1"),
		try("around official space", policy.CodeTargetNotOfficial, pfxs("192.0.2.0/24"), "192.0.2.0/25 of solo-c"),
		try("one of two is nobody's", policy.CodeTargetNotOfficial, pfxs("198.51.100.7/32", "100.64.0.1/32"), "100.64.0.1"),
		try("link inside official space", policy.CodeTargetProtected, pfxs("203.0.113.5/32"), "203.0.113.5 is a link address of customer uni-a",
			"link 203.0.113.4/30", "block lb-7", "links are never acted on", "official prefixes of uni-a"),
		try("link outside official space", policy.CodeTargetProtected, pfxs("192.0.2.201/32"), "192.0.2.201", "solo-c", "192.0.2.200/30", "192.0.2.0/25"),
		try("a whole link", policy.CodeTargetProtected, pfxs("198.51.100.252/31"), "is link space", "198.51.100.252/31"),
		try("block", policy.CodeTargetProtected, pfxs("203.0.113.8/29"), "lb-7", "203.0.113.0/28", "link-block"),
		try("resolver", policy.CodeTargetProtected, pfxs("192.0.2.53/32"), "resolvers", "resolver", "solo-c"),
		try("two links", policy.CodeTargetProtected, pfxs("203.0.113.5/32", "198.51.100.252/32"), "198.51.100.252"),
		try("multicast", policy.CodeTargetBuiltIn, pfxs("224.0.0.5/32"), "224.0.0.5", "multicast"),
		try("loopback", policy.CodeTargetBuiltIn, pfxs("127.0.0.1/32"), "loopback"),
		try("link-local", policy.CodeTargetBuiltIn, pfxs("fe80::/64"), "link-local"),
		try("default route", policy.CodeTargetEverything, pfxs("0.0.0.0/0"), "every IPv4 address"),
		try("IPv6 default route", policy.CodeTargetEverything, pfxs("::/0"), "every IPv6 address"),
		try("two customers", policy.CodeTargetsSpanCustomers, pfxs("192.0.2.1/32", "198.51.100.7/32"), "solo-c", "uni-a"),
		try("parent and nested customer", policy.CodeTargetsSpanCustomers, pfxs("203.0.112.1/32", "203.0.114.1/32"), "lab-b"),
		try("too wide", policy.CodeTooWide, pfxs("203.0.0.0/16"), "203.0.0.0/16", "/20"),
		try("too wide in IPv6", policy.CodeTooWide, pfxs("2001:db8::/32"), "/40"),
		{
			name: "nothing left", docs: without([]string{"solo-c"}, &policy.ProtectedBlock{Name: "b1", Kind: policy.BlockLinks, Prefixes: pfxs("203.0.112.0/25")},
				&policy.ProtectedBlock{Name: "b2", Kind: policy.BlockLinks, Prefixes: pfxs("203.0.112.128/25")}),
			req: signal("a", 1, dns, pfxs("203.0.112.0/24")), kind: policy.Refused, code: policy.CodeNothingLeft, text: []string{"uni-a", "203.0.112.0/25 (protected block b1)", "b2"},
		},
		{
			name: "too many pieces", docs: without(nil, scattered("198.51.100.", 2, 120)), req: signal("a", 1, dns, pfxs("198.51.100.0/24")),
			kind: policy.Refused, code: policy.CodeTooManyPieces, text: []string{"at most 32", "narrower"},
		},
	}
}

// scattered is a block of n single addresses, every step-th.
func scattered(base string, step, n int) *policy.ProtectedBlock {
	b := &policy.ProtectedBlock{Name: "scattered", Kind: policy.BlockCustomerEdge}
	for i := range n {
		b.Prefixes = append(b.Prefixes, pfx(fmt.Sprintf("%s%d/32", base, i*step)))
	}
	return b
}

func matchCases() []reasonCase {
	host := pfxs("198.51.100.7/32")
	try := func(name string, code policy.ReasonCode, v policy.Vector, change func(*policy.Signal), text ...string) reasonCase {
		return reasonCase{name: name, req: signal("a", 1, v, host, change), kind: policy.Refused, code: code, text: text}
	}
	return []reasonCase{
		try("vague", policy.CodeTooVague, policy.VectorUnknown, func(*policy.Signal) {}, "protocol"),
		try("other protocol", policy.CodeContradiction, policy.VectorDNSAmplification, func(s *policy.Signal) { s.Protocols = []uint8{6} }, "17 (udp)", "6 (tcp)"),
		try("other source port", policy.CodeContradiction, policy.VectorDNSAmplification, func(s *policy.Signal) { s.SourcePorts = []flowspec.Range{{Lo: 100, Hi: 200}} }, "53", "100-200"),
		try("ports of GRE", policy.CodeContradiction, policy.VectorUnknown, func(s *policy.Signal) {
			s.Protocols, s.DestinationPorts = []uint8{47}, []flowspec.Range{flowspec.One(80)}
		}, "47 (gre)"),
		try("too many matches", policy.CodeTooManyVariants, policy.VectorUDPFlood, func(s *policy.Signal) {
			for i := range uint64(60) {
				s.SourcePorts = append(s.SourcePorts, flowspec.One(100+2*i))
				s.DestinationPorts = append(s.DestinationPorts, flowspec.One(100+2*i))
			}
		}, "144", "32"),
		try("source is protected", policy.CodeSourceProtected, policy.VectorDNSAmplification, func(s *policy.Signal) { s.SourcePrefixes = pfxs("203.0.113.0/24") },
			"203.0.113.0/24", "lb-7", "203.0.113.4/30"),
		{
			name: "not safe with the destination", req: &policy.StartRequest{Targets: host, Action: policy.Action{Kind: policy.Discard}, Match: flowspec.Match{
				Family:     flowspec.IPv4,
				Components: []flowspec.Component{{Type: flowspec.SourcePort, Ops: []flowspec.Op{{Value: 53}}}},
			}},
			kind: policy.Refused, code: policy.CodeMalformed, text: []string{"match"},
		},
	}
}

func limitCases(t *testing.T) []reasonCase {
	dns := policy.VectorDNSAmplification
	active := []policy.Request{discard("192.0.2.1/32"), discard("192.0.2.2/32")}
	transit := discard("203.0.112.0/22")
	transit.Groups = []string{"transit"}
	hosts := discard("203.0.112.1/32", "203.0.112.3/32", "203.0.112.5/32", "203.0.112.7/32", "203.0.112.9/32", "203.0.112.11/32")
	hosts.Groups = []string{"transit"}
	long, elsewhere, nowhere := discard("198.51.100.7/32"), discard("2001:db8:100::1/128"), discard("198.51.100.7/32")
	long.Lifetime, elsewhere.Groups, nowhere.Groups = 48*time.Hour, []string{"transit"}, []string{"moon"}
	one := policy.DefaultSafeguards()
	one.MaxMitigations = 1
	shield := limit(1e6, "198.51.100.7/32")
	return []reasonCase{
		{name: "quota", first: active, req: signal("a", 1, dns, pfxs("192.0.2.3/32")), kind: policy.Refused, code: policy.CodeCustomerQuota, text: []string{"solo-c", "2"}},
		{name: "quota by hand", first: active, req: discard("192.0.2.3/32"), kind: policy.Refused, code: policy.CodeCustomerQuota},
		{name: "limit", docs: without(nil, one), first: active[:1], req: discard("192.0.2.3/32"), kind: policy.Refused, code: policy.CodeMitigationLimit, text: []string{"1"}},
		{
			name: "router budget", first: []policy.Request{transit, hosts}, req: &policy.StartRequest{Targets: pfxs("203.0.112.16/28", "203.0.112.33/32", "203.0.112.35/32", "203.0.112.37/32", "203.0.112.39/32"), Action: policy.Action{Kind: policy.Discard}, Groups: []string{"transit"}},
			kind: policy.Refused, code: policy.CodeRouterBudget, text: []string{"transit-1", "12", "16", "20", "5 more"},
		},
		{name: "no router for the family", req: elsewhere, kind: policy.Refused, code: policy.CodeNoRouter, text: []string{"transit", "IPv6", "edge"}},
		{
			name: "policy limit", docs: apart(taking(func(p *policy.Policy) { p.MaxMitigations = 1 })), first: []policy.Request{signal("a", 1, policy.VectorSYNFlood, pfxs("198.51.100.8/32"))},
			req: signal("b", 1, policy.VectorSYNFlood, pfxs("198.51.100.7/32")), kind: policy.Refused, code: policy.CodePolicyLimit, text: []string{"policy syn has 1 active mitigation of at most 1"},
		},
		{
			name: "policy observes", docs: taking(func(p *policy.Policy) { p.Mode = policy.ModeObserve }), req: signal("a", 1, policy.VectorSYNFlood, pfxs("198.51.100.7/32")),
			kind: policy.Observed, code: policy.CodePolicyObserves,
		},
		{name: "redirect to a link", req: divert("198.51.100.253", "198.51.100.7/32"), kind: policy.Refused, code: policy.CodeRedirectTarget, text: []string{"198.51.100.253 is protected", "link"}},
		{name: "redirect to a resolver", req: divert("192.0.2.53", "198.51.100.7/32"), kind: policy.Refused, code: policy.CodeRedirectTarget, text: []string{"resolvers"}},
		{name: "redirect to the target", req: divert("198.51.100.9", "198.51.100.0/28"), kind: policy.Refused, code: policy.CodeRedirectTarget, text: []string{"198.51.100.9 is inside the target 198.51.100.0/28"}},
		{name: "redirect to a scrubber", req: divert("100.64.0.1", "198.51.100.0/28"), kind: policy.Mitigated, code: policy.CodeStarted},
		{name: "no such group", req: nowhere, kind: policy.Refused, code: policy.CodeNoRouter, text: []string{"moon", "edge, transit"}},
		{name: "no router at all", docs: without([]string{"edge-1", "edge-2", "transit-1", "amplification", "floods"}), req: discard("198.51.100.7/32"), kind: policy.Refused, code: policy.CodeNoRouter},
		{name: "lifetime", req: long, kind: policy.Refused, code: policy.CodeLifetimeTooLong, text: []string{"48h", "24h"}},
		{
			name: "rate of no packet", req: &policy.StartRequest{Targets: pfxs("203.0.112.0/22"), Action: policy.Action{Kind: policy.RateLimitPackets, Packets: 5}},
			kind: policy.Refused, code: policy.CodeRateTooLow, text: []string{"6 rules", "6 packets/s"},
		},
		{
			name: "not for this router", docs: without(nil, xr(0)), req: order(policy.Action{Kind: policy.Discard, Sample: true}, "198.51.100.7/32"),
			kind: policy.Refused, code: policy.CodeRouterProfile, text: []string{"xr-1", "sample"},
		},
		{name: "full table", docs: without(nil, xr(2)), first: active[:1], req: discard("198.51.100.7/32"), kind: policy.Refused, code: policy.CodeRouterEntries, text: []string{"xr-1", "1"}},
		{
			name: "blackhole of a /24", docs: without(nil, blackholer("bh-1", "127.0.0.21", 100, flowspec.IPv4)),
			req: blackhole("203.0.112.0/24"), kind: policy.Refused, code: policy.CodeRTBHTooWide, text: []string{"256 blackhole routes of /32", "permit 8", "max_rtbh_routes"},
		},
		{
			name: "blackhole of a /64", docs: without(nil, blackholer("bh-1", "127.0.0.21", 100, flowspec.IPv6)),
			req: blackhole("2001:db8:100::/64"), kind: policy.Refused, code: policy.CodeRTBHTooWide, text: []string{"more than a million"},
		},
		{name: "no router for blackholes", req: blackhole("203.0.112.1/32"), kind: policy.Refused, code: policy.CodeNoRouter, text: []string{"carries: rtbh", "none"}},
		{
			name: "no router for blackholes of the family", docs: without(nil, blackholer("bh-1", "127.0.0.21", 100, flowspec.IPv6)),
			req: blackhole("203.0.112.1/32"), kind: policy.Refused, code: policy.CodeNoRouter, text: []string{"IPv4 blackhole", "edge"},
		},
		{
			name: "budget of blackholes", docs: without(nil, blackholer("bh-1", "127.0.0.21", 4, flowspec.IPv4)),
			req: blackhole("203.0.112.0/30"), kind: policy.Refused, code: policy.CodeRouterBudget, text: []string{"bh-1", "0 blackhole routes", "may hear 3", "4 more"},
		},
		{
			name: "an address of the other family", docs: without([]string{"amplification"}, &policy.Policy{
				Name: "scrub", Action: policy.Action{Kind: policy.RedirectIP, Address: netip.MustParseAddr("2001:db8::1")},
			}),
			req: signal("a", 1, dns, pfxs("198.51.100.7/32")), kind: policy.Refused, code: policy.CodeActionFamily, text: []string{"scrub", "2001:db8::1"},
		},
		{name: "rate of no byte", req: limit(5, "203.0.112.0/22"), kind: policy.Refused, code: policy.CodeRateTooLow, text: []string{"6 rules", "6 bytes/s"}},
		{
			name: "shields a discard", first: []policy.Request{discard("198.51.100.0/25")}, req: shield, kind: policy.Refused, code: policy.CodeShieldsStronger,
			text: []string{"M1", "198.51.100.7"},
		},
		{name: "shields the same destination", first: []policy.Request{discard("198.51.100.7/32")}, req: shield, kind: policy.Refused, code: policy.CodeShieldsStronger},
		{
			name: "beside a discard", first: []policy.Request{&policy.StartRequest{Targets: pfxs("198.51.100.0/25"), Match: udp(t, 53), Action: policy.Action{Kind: policy.Discard}}},
			req:  &policy.StartRequest{Targets: pfxs("198.51.100.7/32"), Match: udp(t, 123), Action: policy.Action{Kind: policy.RateLimit, Rate: 1e6}},
			kind: policy.Mitigated, code: policy.CodeStarted,
		},
		{
			name: "after a discard", first: []policy.Request{&policy.StartRequest{Targets: pfxs("198.51.100.7/32"), Match: udp(t, 53), Action: policy.Action{Kind: policy.Discard}}},
			req:  &policy.StartRequest{Targets: pfxs("198.51.100.0/25"), Match: udp(t, 0), Action: policy.Action{Kind: policy.RateLimit, Rate: 1e6}},
			kind: policy.Mitigated, code: policy.CodeStarted,
		},
	}
}

func lifeCases() []reasonCase {
	open := []policy.Request{discard("198.51.100.7/32")}
	over := append(open, &policy.WithdrawRequest{ID: 1})
	return []reasonCase{
		{name: "started", req: discard("198.51.100.7/32"), kind: policy.Mitigated, code: policy.CodeStarted, text: []string{"M1", "uni-a"}},
		{name: "started twice", first: open, req: discard("198.51.100.7/32"), kind: policy.Merged, code: policy.CodeAlreadyActive, text: []string{"M1"}},
		{name: "extended", first: open, req: &policy.ExtendRequest{ID: 1, Lifetime: 2 * time.Hour}, kind: policy.Mitigated, code: policy.CodeExtended, text: []string{"M1", "2h"}},
		{name: "extended too long", first: open, req: &policy.ExtendRequest{ID: 1, Lifetime: 25 * time.Hour}, kind: policy.Refused, code: policy.CodeLifetimeTooLong, text: []string{"25h", "24h"}},
		{name: "extended what is unknown", req: &policy.ExtendRequest{ID: 9, Lifetime: time.Hour}, kind: policy.Refused, code: policy.CodeUnknownMitigation, text: []string{"M9"}},
		{name: "extended what is over", first: over, req: &policy.ExtendRequest{ID: 1, Lifetime: time.Hour}, kind: policy.Refused, code: policy.CodeMitigationOver, text: []string{"M1", "withdrawn"}},
		{name: "withdrawn", first: open, req: &policy.WithdrawRequest{ID: 1}, kind: policy.Ended, code: policy.CodeWithdrawn, text: []string{"M1"}},
		{name: "withdrawn twice", first: over, req: &policy.WithdrawRequest{ID: 1}, kind: policy.Refused, code: policy.CodeMitigationOver},
		{name: "withdrawn what is unknown", req: &policy.WithdrawRequest{ID: 7}, kind: policy.Refused, code: policy.CodeUnknownMitigation},
		{name: "all withdrawn", first: open, req: &policy.WithdrawAllRequest{}, kind: policy.Ended, code: policy.CodeWithdrawn, text: []string{"1 mitigation is withdrawn"}},
		{name: "all of one customer", first: open, req: &policy.WithdrawAllRequest{Customer: "uni-a"}, kind: policy.Ended, code: policy.CodeWithdrawn},
		{name: "all of a customer without any", first: open, req: &policy.WithdrawAllRequest{Customer: "lab-b"}, kind: policy.Observed, code: policy.CodeNothingToDo},
		{name: "all of an unknown customer", req: &policy.WithdrawAllRequest{Customer: "x"}, kind: policy.Refused, code: policy.CodeUnknownCustomer, text: []string{`"x"`}},
		{name: "nothing expires", first: open, req: &policy.ExpireRequest{}, kind: policy.Observed, code: policy.CodeNothingToDo},
		{name: "nothing to renew", first: open, req: &policy.RenewRequest{IDs: []policy.MitigationID{1, 9}}, kind: policy.Observed, code: policy.CodeNothingToDo},
		{name: "lease", req: &policy.LeaseRequest{}, kind: policy.Observed, code: policy.CodeLease},
		{name: "unchanged", req: &policy.ApplyRequest{Documents: inventory(), Prune: true}, kind: policy.Merged, code: policy.CodeUnchanged, text: []string{"10"}},
		{name: "applied", req: &policy.ApplyRequest{Documents: []policy.Document{policy.DefaultSafeguards()}}, kind: policy.Mitigated, code: policy.CodeApplied, text: []string{"1 document added"}},
		{
			name: "half an inventory", req: &policy.ApplyRequest{Documents: without([]string{"solo-c"}), Prune: true}, kind: policy.Refused, code: policy.CodeRemovalsNeedNumber,
			text: []string{"1 of 4 links", "25.0 %", "2 %", "192.0.2.200/30", "exactly 1"},
		},
	}
}

func malformedCases() []reasonCase {
	dns, host := policy.VectorDNSAmplification, pfxs("198.51.100.7/32")
	sig := func(name string, change func(*policy.Signal), text ...string) reasonCase {
		return reasonCase{name: name, req: signal("a", 1, dns, host, change), kind: policy.Refused, code: policy.CodeMalformed, text: text}
	}
	start := func(name string, change func(*policy.StartRequest), text ...string) reasonCase {
		req := discard("198.51.100.7/32")
		change(req)
		return reasonCase{name: name, req: req, kind: policy.Refused, code: policy.CodeMalformed, text: text}
	}
	many := make([]netip.Prefix, policy.MaxTargets+1)
	for i := range many {
		many[i] = host[0]
	}
	return []reasonCase{
		sig("unknown vector", func(s *policy.Signal) { s.Vector = "teardrop" }, `"teardrop"`, "dns_amplification", "unknown"),
		sig("host bits", func(s *policy.Signal) { s.Targets = []netip.Prefix{netip.MustParsePrefix("198.51.100.7/24")} }, "targets[0]", "198.51.100.7/24", "198.51.100.0/24"),
		sig("mixed families", func(s *policy.Signal) { s.Targets = pfxs("198.51.100.7/32", "2001:db8:100::1/128") }, "targets[1]", "IPv6", "IPv4"),
		sig("no target", func(s *policy.Signal) { s.Targets = nil }, "targets"),
		sig("no prefix", func(s *policy.Signal) { s.Targets = make([]netip.Prefix, 1) }, "targets[0]"),
		sig("too many targets", func(s *policy.Signal) { s.Targets = many }, "1025", "1024"),
		sig("IPv4 in IPv6 form", func(s *policy.Signal) { s.Targets = pfxs("::ffff:198.51.100.0/120") }, "198.51.100.0/24"),
		sig("port 70000", func(s *policy.Signal) { s.DestinationPorts = []flowspec.Range{flowspec.One(70000)} }, "destination_ports[0]", "70000", "65535"),
		sig("ports the wrong way round", func(s *policy.Signal) { s.SourcePorts = []flowspec.Range{{Lo: 9, Hi: 3}} }, "source_ports[0]", "3-9"),
		sig("length of 2013", func(s *policy.Signal) { s.PacketLengths = []flowspec.Range{{Lo: 99971, Hi: 99985}} }, "packet_lengths[0]", "99985", "65535"),
		sig("too many ranges", func(s *policy.Signal) { s.SourcePorts = make([]flowspec.Range, policy.MaxRanges+1) }, "65", "64"),
		sig("too many protocols", func(s *policy.Signal) { s.Protocols = make([]uint8, policy.MaxProtocols+1) }, "65"),
		sig("too many sources", func(s *policy.Signal) { s.SourcePrefixes = make([]netip.Prefix, policy.MaxSourcePrefixes+1) }, "65"),
		sig("source of the other family", func(s *policy.Signal) { s.SourcePrefixes = pfxs("2001:db8::/32") }, "source_prefixes[0]"),
		sig("confidence", func(s *policy.Signal) { s.Confidence = 1.5 }, "1.5"),
		sig("confidence NaN", func(s *policy.Signal) { s.Confidence = math.NaN() }, "NaN"),
		sig("negative rate", func(s *policy.Signal) { s.BitsPerSecond = -1 }, "bits_per_second", "-1"),
		sig("rate NaN", func(s *policy.Signal) { s.PacketsPerSecond = math.NaN() }, "packets_per_second"),
		sig("rate without end", func(s *policy.Signal) { s.BitsPerSecond = math.Inf(1) }, "bits_per_second"),
		sig("no attack id", func(s *policy.Signal) { s.AttackID = "" }, "attack_id"),
		sig("long attack id", func(s *policy.Signal) { s.AttackID = strings.Repeat("x", 129) }, "129", "128"),
		sig("no source", func(s *policy.Signal) { s.Source = "" }, "source"),
		sig("no kind", func(s *policy.Signal) { s.Kind = 0 }, "kind"),
		sig("end with host bits", func(s *policy.Signal) {
			s.Kind, s.Targets = policy.SignalEnd, []netip.Prefix{netip.MustParsePrefix("198.51.100.7/24")}
		}, "targets[0]"),
		sig("drill", func(s *policy.Signal) { s.Drill, s.Targets = true, nil }, "targets"),
		start("no target", func(r *policy.StartRequest) { r.Targets = nil }, "targets"),
		start("no action", func(r *policy.StartRequest) { r.Action = policy.Action{} }, "action: it is not said"),
		start("0.1 bps", func(r *policy.StartRequest) { r.Action = policy.Action{Kind: policy.RateLimit, Rate: 0.1 / 8} }, "action.rate", "1 byte/s"),
		start("no rate", func(r *policy.StartRequest) { r.Action = policy.Action{Kind: policy.RateLimit} }, "action.rate"),
		start("rate NaN", func(r *policy.StartRequest) {
			r.Action = policy.Action{Kind: policy.RateLimit, Rate: flowspec.BytesPerSecond(math.NaN())}
		}, "action.rate"),
		start("rate beyond the wire", func(r *policy.StartRequest) { r.Action = policy.Action{Kind: policy.RateLimit, Rate: 1e300} }, "action.rate"),
		start("discard with a rate", func(r *policy.StartRequest) { r.Action.Rate = 1000 }, "action.rate"),
		start("mark 64", func(r *policy.StartRequest) { r.Action = policy.Action{Kind: policy.Mark, DSCP: 64} }, "action.mark", "64 is above 63"),
		start("blackhole with a match", func(r *policy.StartRequest) {
			r.Action, r.Match = policy.Action{Kind: policy.RTBH}, flowspec.Match{Family: flowspec.IPv4, Components: []flowspec.Component{flowspec.Proto(17)}}
		}, "match", "every packet", "proto udp"),
		start("redirect to an address of the other family", func(r *policy.StartRequest) {
			r.Action = policy.Action{Kind: policy.RedirectIP, Address: netip.MustParseAddr("2001:db8::1")}
		}, "action.redirect_ip", "IPv4 packets", "2001:db8::1"),
		start("negative lifetime", func(r *policy.StartRequest) { r.Lifetime = -time.Second }, "lifetime", "negative"),
		start("IPv6 match for an IPv4 target", func(r *policy.StartRequest) {
			r.Match = flowspec.Match{Family: flowspec.IPv6, Components: []flowspec.Component{flowspec.Proto(17)}}
		}, "match", "IPv6", "IPv4"),
		start("destination in the match", func(r *policy.StartRequest) {
			r.Match = flowspec.Match{Family: flowspec.IPv4, Components: []flowspec.Component{flowspec.Destination(pfx("198.51.100.7/32"))}}
		}, "match", "destination"),
		{name: "lifetime of zero", req: &policy.ExtendRequest{ID: 1}, kind: policy.Refused, code: policy.CodeMalformed, text: []string{"lifetime"}},
		{name: "document twice", req: &policy.ApplyRequest{Documents: append(inventory(), inventory()[0])}, kind: policy.Refused, code: policy.CodeMalformed, text: []string{"uni-a", "twice"}},
		{name: "no document", req: &policy.ApplyRequest{Documents: make([]policy.Document, 1)}, kind: policy.Refused, code: policy.CodeMalformed},
		{
			name: "overlapping customers", req: &policy.ApplyRequest{Documents: []policy.Document{&policy.Customer{ID: "thief", Name: "T", Official: pfxs("198.51.100.0/25")}}},
			kind: policy.Refused, code: policy.CodeMalformed, text: []string{"198.51.100.0/25"},
		},
		{name: "unknown request", req: nil, kind: policy.Refused, code: policy.CodeUnknownRequest},
	}
}

// TestReasons holds each verdict against its row, and the rows together against the table of codes.
func TestReasons(t *testing.T) {
	rows := slices.Concat(signalCases(), targetCases(), matchCases(), limitCases(t), lifeCases(), stepCases(), malformedCases(), serviceCases(), holdCases(), quorumCases())
	seen := map[policy.ReasonCode]bool{}
	for _, row := range rows {
		t.Run(string(row.code)+"/"+row.name, func(t *testing.T) {
			w := newWorld(t, row.docs...)
			for _, r := range row.first {
				if d := w.decide(r); d.Verdict.Kind == policy.Refused {
					t.Fatal(d.Verdict.Reason)
				}
			}
			before := w.s.Digest()
			d := w.must(row.kind, row.code, row.req)
			seen[row.code] = true
			expectText(t, d.Verdict.Reason, row.text...)
			if row.kind == policy.Refused && w.s.Digest() != before {
				t.Error("a refusal changed the state")
			}
			if (len(d.Violations) > 0) != (row.code == policy.CodeMalformed) {
				t.Errorf("%d violations with code %s", len(d.Violations), row.code)
			}
			if row.code == policy.CodeDrill && len(d.Changes) > 0 {
				t.Error("a drill changes something")
			}
		})
	}
	// Reached by other tests, which need time to pass; unsafe_match and internal stand for faults of the program.
	for _, code := range []policy.ReasonCode{policy.CodeExpired, policy.CodeRenewed, policy.CodeEscalated, policy.CodeRevived, policy.CodeNarrowed, policy.CodeUnsafeMatch, policy.CodeInternal} {
		seen[code] = true
	}
	// Reached in approval_test.go, where several people ask and answer.
	for _, code := range []policy.ReasonCode{
		policy.CodeAwaitsApproval, policy.CodeApproved, policy.CodeRejected, policy.CodeNotApproved, policy.CodeSecondPerson, policy.CodePendingLimit,
		policy.CodeMitigationPending, policy.CodeApprovalOver, policy.CodeApprovalChanged, policy.CodeBreakGlass, policy.CodeBreakGlassRefused, policy.CodeNotReported,
	} {
		seen[code] = true
	}
	// Reached in customer_test.go.
	seen[policy.CodeNotYours], seen[policy.CodeSelfService] = true, true
	// Reached in token_test.go.
	for _, code := range []policy.ReasonCode{policy.CodeTokenMade, policy.CodeTokenRevoked, policy.CodeTokenExists, policy.CodeTokenLimit, policy.CodeUnknownToken} {
		seen[code] = true
	}
	// Given by the controller, whose tests reach them.
	for _, code := range []policy.ReasonCode{policy.CodeRequestIDReused, policy.CodeTooLarge, policy.CodeOverload, policy.CodeLeaderLost} {
		seen[code] = true
	}
	for _, info := range policy.Reasons() {
		if !seen[info.Code] {
			t.Errorf("no row ends with %s", info.Code)
		}
		delete(seen, info.Code)
	}
	if diff := cmp.Diff(map[policy.ReasonCode]bool{}, seen); diff != "" {
		t.Errorf("codes that Reasons does not list (-want +got):\n%s", diff)
	}
}

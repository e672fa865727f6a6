package flowspec

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The actions that the rows below are made of.
var (
	goOn   = Action{Type: TrafficAction, Continue: true}
	sample = Action{Type: TrafficAction, Sample: true}
	both   = Action{Type: TrafficAction, Continue: true, Sample: true}
	slow   = Action{Type: TrafficRateBytes, Rate: 1000}
	slower = Action{Type: TrafficRateBytes, Rate: 10}
	pps    = Action{Type: TrafficRatePackets, Rate: 5}
	no     = Action{Type: TrafficRateBytes}
	noPPS  = Action{Type: TrafficRatePackets}
	vrf    = Action{Type: RTRedirect, Target: RouteTarget{Form: RTFormAS2, ASN: 65000, Local: 1}}
	scrub  = Action{Type: RedirectToIP, Address: netip.MustParseAddr("192.0.2.1")}
	copyA  = Action{Type: RedirectToIP, Address: netip.MustParseAddr("192.0.2.2"), Copy: true}
	copyB  = Action{Type: RedirectToIP, Address: netip.MustParseAddr("192.0.2.3"), Copy: true}
	mark8  = Action{Type: TrafficMarking, DSCP: 8}
	mark0  = Action{Type: TrafficMarking}
)

// ruleOf returns a rule of the text of a match.
func ruleOf(t testing.TB, match string, actions ...Action) Rule {
	t.Helper()
	m, err := ParseMatch(match)
	if err != nil {
		t.Fatal(err)
	}
	return Rule{Match: m, Actions: actions}
}

// setOf returns the set of rules that are valid.
func setOf(t testing.TB, rules ...Rule) RuleSet {
	t.Helper()
	s, err := order(rules)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNewRuleSet(t *testing.T) {
	a, b := ruleOf(t, "dst 203.0.113.0/24", no), ruleOf(t, "dst 203.0.113.0/28 proto udp", slow)
	c := ruleOf(t, "dst 2001:db8::/32", no)
	in := []Rule{c, a, b}
	s, err := NewRuleSet(in)
	if err != nil {
		t.Fatal(err)
	}
	if !in[0].Equal(c) {
		t.Error("NewRuleSet sorted the caller's list")
	}
	var got []string
	for i, r := range s.All() {
		if !s.Rule(i).Equal(r) {
			t.Errorf("Rule(%d) = %v, All says %v", i, s.Rule(i), r)
		}
		got = append(got, r.Match.String())
	}
	want := []string{"dst 203.0.113.0/28 proto udp", "dst 203.0.113.0/24", "dst 2001:db8::/32"}
	if diff := cmp.Diff(want, got); diff != "" || s.Len() != 3 {
		t.Errorf("order, %d rules (-want +got):\n%s", s.Len(), diff)
	}
	for i, r := range s.All() {
		if at, ok := s.find(r.Match); at != i || !ok {
			t.Errorf("find(%v) = %d, %t", r, at, ok)
		}
	}
	if _, err := NewRuleSet([]Rule{a, c, ruleOf(t, "dst 203.0.113.0/24", slow)}); !errors.Is(err, ErrDuplicate) {
		t.Errorf("two rules of one key: %v, want %v", err, ErrDuplicate)
	}
	if _, err := NewRuleSet([]Rule{a, {}}); !errors.Is(err, ErrFamily) {
		t.Errorf("a rule without match: %v, want %v", err, ErrFamily)
	}
	if _, err := NewRuleSet([]Rule{{Match: a.Match, Actions: []Action{{Type: TrafficRateBytes, Rate: -1}}}}); err == nil {
		t.Error("a rule with a negative rate is taken")
	}
}

// TestEvaluate has three rules that all match the packet, most specific first, and says which actions are left.
func TestEvaluate(t *testing.T) {
	type acts = []Action
	p := Packet{
		Src: netip.MustParseAddr("198.51.100.9"), Dst: netip.MustParseAddr("203.0.113.7"),
		Protocol: 17, HasPorts: true, SrcPort: 53, DstPort: 4096, Length: 1400,
	}
	on := func(rule int, actions ...Action) (out []Applied) {
		for _, a := range actions {
			out = append(out, Applied{Rule: rule, Action: a})
		}
		return out
	}
	for _, tt := range []struct {
		name  string
		rules [3]acts
		want  Outcome
	}{
		{"first match stops", [3]acts{{slow}, {no}, {}}, Outcome{Rules: []int{0}, Actions: on(0, slow)}},
		{"no action is accept, and stops", [3]acts{{}, {no}, {}}, Outcome{Rules: []int{0}}},
		{"sampling alone stops", [3]acts{{sample}, {no}, {}}, Outcome{Rules: []int{0}, Actions: on(0, sample)}},
		{"continue", [3]acts{{slow, goOn}, {no}, {slow}}, Outcome{Rules: []int{0, 1}, Actions: on(1, no), Discarded: true}},
		{"continue to the end", [3]acts{{goOn}, {goOn}, {goOn}}, Outcome{Rules: []int{0, 1, 2}}},
		{"continue, then accept", [3]acts{{slow, goOn}, {}, {no}}, Outcome{Rules: []int{0, 1}, Actions: on(0, slow)}},
		{
			"every rate counts",
			[3]acts{{slow, pps, goOn}, {slower, goOn}, {slow}},
			Outcome{Rules: []int{0, 1, 2}, Actions: slices.Concat(on(0, slow, pps), on(1, slower), on(2, slow))},
		},
		{"discard goes on", [3]acts{{no, goOn}, {both, slow}, {}}, Outcome{Rules: []int{0, 1, 2}, Actions: slices.Concat(on(0, no), on(1, both)), Discarded: true}},
		{"one discard is told", [3]acts{{noPPS, goOn}, {no}, {}}, Outcome{Rules: []int{0, 1}, Actions: on(0, noPPS), Discarded: true}},
		{"the first redirect counts", [3]acts{{vrf, goOn}, {scrub}, {}}, Outcome{Rules: []int{0, 1}, Actions: on(0, vrf)}},
		{"the first redirect counts, other way", [3]acts{{goOn}, {scrub, goOn}, {vrf}}, Outcome{Rules: []int{0, 1, 2}, Actions: on(1, scrub)}},
		{"rate and redirect", [3]acts{{slow, goOn}, {vrf}, {}}, Outcome{Rules: []int{0, 1}, Actions: slices.Concat(on(0, slow), on(1, vrf))}},
		{"redirect, then discard", [3]acts{{vrf, mark8, goOn}, {no}, {}}, Outcome{Rules: []int{0, 1}, Actions: on(1, no), Discarded: true}},
		{
			"copies are made, each once",
			[3]acts{{copyA, goOn}, {copyB, goOn}, {copyA, scrub}},
			Outcome{Rules: []int{0, 1, 2}, Actions: slices.Concat(on(0, copyA), on(1, copyB), on(2, scrub))},
		},
		{"a copy of what is discarded", [3]acts{{copyA, goOn}, {no}, {}}, Outcome{Rules: []int{0, 1}, Actions: slices.Concat(on(0, copyA), on(1, no)), Discarded: true}},
		{"a copy does not redirect", [3]acts{{copyA, goOn}, {vrf}, {}}, Outcome{Rules: []int{0, 1}, Actions: slices.Concat(on(0, copyA), on(1, vrf))}},
		{"a redirect does not copy", [3]acts{{vrf, goOn}, {copyA}, {}}, Outcome{Rules: []int{0, 1}, Actions: slices.Concat(on(0, vrf), on(1, copyA))}},
		{"the first marking counts", [3]acts{{mark8, goOn}, {mark0}, {}}, Outcome{Rules: []int{0, 1}, Actions: on(0, mark8)}},
		{"sampled once", [3]acts{{both}, {sample, slow}, {}}, Outcome{Rules: []int{0, 1}, Actions: slices.Concat(on(0, both), on(1, slow))}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := setOf(
				t, ruleOf(t, "dst 203.0.113.0/24 proto udp", tt.rules[2]...), ruleOf(t, "dst 203.0.113.7/32", tt.rules[0]...),
				ruleOf(t, "dst 203.0.113.0/28", tt.rules[1]...), ruleOf(t, "dst ::/0", no), ruleOf(t, "dst 203.0.112.0/24", no),
			)
			// Rules of other destinations stand between them in order.
			for i := range tt.want.Rules {
				tt.want.Rules[i]++
			}
			for i := range tt.want.Actions {
				tt.want.Actions[i].Rule++
			}
			if diff := cmp.Diff(tt.want, s.Evaluate(&p)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	s := setOf(t, ruleOf(t, "dst 203.0.113.0/28", no))
	p.Dst = netip.MustParseAddr("203.0.113.77")
	if got := s.Evaluate(&p); !got.Equal(Outcome{}) {
		t.Errorf("no rule matches: %+v", got)
	}
	if got := (RuleSet{}).Evaluate(&p); !got.Equal(Outcome{}) {
		t.Errorf("no rule at all: %+v", got)
	}
}

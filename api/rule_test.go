package api

import (
	"net/netip"
	"testing"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/policy"
)

// TestRuleOfRouter: groups may hear different owners of one rule; who asks for a router is told what that one hears. Its
// answer may be pasted into the router.
func TestRuleOfRouter(t *testing.T) {
	m, err := flowspec.NewMatch(flowspec.IPv4, flowspec.Destination(netip.MustParsePrefix("203.0.113.7/32")))
	if err != nil {
		t.Fatal(err)
	}
	owner := func(id policy.MitigationID, group string, a flowspec.Action, kind policy.ActionKind) *policy.PutMitigation {
		return &policy.PutMitigation{Mitigation: &policy.Mitigation{
			ID: id, Customer: "uni-a", Origin: policy.FromOperator, Action: policy.Action{Kind: kind}, Phase: policy.Active,
			Groups: []string{group}, Expires: time.Unix(1e9, 0), Rules: []flowspec.Rule{{Match: m, Actions: []flowspec.Action{a}}},
		}}
	}
	s, err := policy.NewState().Apply(policy.Entry{Index: 1}, []policy.Change{
		&policy.PutDocument{Document: &policy.Router{Name: "edge1", Group: "edge"}}, &policy.PutDocument{Document: &policy.Router{Name: "core1", Group: "core"}},
		owner(1, "edge", flowspec.Discard(), policy.Discard), owner(2, "core", flowspec.RateLimit(1e6), policy.RateLimit),
	})
	if err != nil {
		t.Fatal(err)
	}
	route, ok := s.Route(m.Key())
	if !ok {
		t.Fatal("no route")
	}
	for router, want := range map[string]string{
		"": "dst 203.0.113.7/32 => discard", "edge1": "dst 203.0.113.7/32 => discard", "core1": "dst 203.0.113.7/32 => rate 8Mbps",
	} {
		if got := ruleProto(s, m.Key(), route, []nodeAnswer{{}}, nil, router); got.GetRule() != want || want != "dst 203.0.113.7/32 => "+got.GetActions()[0] {
			t.Errorf("asked for %q: %s, actions %q, want %s", router, got.GetRule(), got.GetActions(), want)
		}
	}
}

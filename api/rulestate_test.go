package api

import (
	"testing"
	"time"

	"github.com/tidegate/tidegate/bgp/wanted"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// What the speaker says of a route, in the words of the API. What is still announced is sent, wanted or not.
func TestRuleState(t *testing.T) {
	before := time.Unix(1, 0)
	for _, c := range []struct {
		name   string
		in     wanted.RouteStatus
		want   tidegatev1.RuleState
		detail string
	}{
		{"queued", wanted.RouteStatus{State: wanted.RouteQueued}, tidegatev1.RuleState_RULE_STATE_COMMITTED, ""},
		{"queued with another action before", wanted.RouteStatus{State: wanted.RouteQueued, Since: before}, tidegatev1.RuleState_RULE_STATE_COMMITTED, "its earlier action is announced until then"},
		{"paced", wanted.RouteStatus{State: wanted.RoutePaced}, tidegatev1.RuleState_RULE_STATE_COMMITTED, "waits for the router's rules per second"},
		{"sending", wanted.RouteStatus{State: wanted.RouteSending}, tidegatev1.RuleState_RULE_STATE_COMMITTED, ""},
		{"sent", wanted.RouteStatus{State: wanted.RouteSent, Since: before}, tidegatev1.RuleState_RULE_STATE_SENT, ""},
		{"superseded", wanted.RouteStatus{State: wanted.RouteSuperseded}, tidegatev1.RuleState_RULE_STATE_SENT, "being replaced"},
		{"withdrawing", wanted.RouteStatus{State: wanted.RouteWithdrawing}, tidegatev1.RuleState_RULE_STATE_SENT, "being withdrawn"},
		{"refused while out", wanted.RouteStatus{State: wanted.RouteWithdrawing, Detail: "protected"}, tidegatev1.RuleState_RULE_STATE_SENT, "being withdrawn: protected"},
		{"refused", wanted.RouteStatus{State: wanted.RouteRefused, Detail: "protected"}, tidegatev1.RuleState_RULE_STATE_REFUSED, "protected"},
		{"over budget", wanted.RouteStatus{State: wanted.RouteOverBudget}, tidegatev1.RuleState_RULE_STATE_OVER_BUDGET, "the router's budget is used up"},
		{"out", wanted.RouteStatus{State: wanted.RouteOut}, tidegatev1.RuleState_RULE_STATE_COMMITTED, "the node stays out by an operator's order, so it is not announced"},
		{"expired", wanted.RouteStatus{State: wanted.RouteExpired}, tidegatev1.RuleState_RULE_STATE_COMMITTED, "its lifetime or the lease is over, so it is not announced"},
		{"no session", wanted.RouteStatus{State: wanted.RouteNoSession}, tidegatev1.RuleState_RULE_STATE_NO_SESSION, "the session is not established"},
		{"no family", wanted.RouteStatus{State: wanted.RouteNoFamily}, tidegatev1.RuleState_RULE_STATE_NO_SESSION, "the session does not carry the rule's family"},
		{"a word from the future", wanted.RouteStatus{State: "glowing"}, tidegatev1.RuleState_RULE_STATE_UNKNOWN, `the speaker reports state "glowing"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, detail := ruleState(&c.in); got != c.want || detail != c.detail {
				t.Errorf("got %s and %q, want %s and %q", got, detail, c.want, c.detail)
			}
		})
	}
}

package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/policy"
)

// allowing is the inventory in which customers may do things by themselves.
func allowing(what ...policy.SelfService) []policy.Document {
	docs := inventory()
	for _, d := range docs {
		if c, ok := d.(*policy.Customer); ok {
			c.SelfService = what
		}
	}
	return docs
}

func TestScope(t *testing.T) {
	for _, row := range []struct {
		by     policy.Principal
		id     policy.CustomerID
		scoped bool
	}{
		{"operator/alice", "", false},
		{"customer/uni-a/bob", "uni-a", true},
		{"customer/uni-a", "", true},
		{"customer/", "", true},
		{"customers/uni-a/bob", "", false},
		{"", "", false},
	} {
		if id, scoped := row.by.Scope(); id != row.id || scoped != row.scoped {
			t.Errorf("%q: %q, %v", row.by, id, scoped)
		}
	}
}

// TestCustomer is what a person of solo-c may ask for.
func TestCustomer(t *testing.T) {
	own, other := discard("192.0.2.3/32"), discard("198.51.100.7/32")
	started := []policy.Request{own}
	both, start, none := allowing(policy.SelfStart, policy.SelfWithdraw), allowing(policy.SelfStart), inventory()
	withdraw, extend := &policy.WithdrawRequest{ID: 1}, &policy.ExtendRequest{ID: 1, Lifetime: time.Hour}
	attacked := []policy.Request{signal("a", 1, policy.VectorDNSAmplification, pfxs("192.0.2.3/32"))}
	elsewhere := []policy.Request{signal("a", 1, policy.VectorDNSAmplification, pfxs("198.51.100.7/32"))}
	for _, row := range []struct {
		name    string
		docs    []policy.Document
		first   []policy.Request // of the operator
		mine    []policy.Request // of the customer
		by      policy.Principal
		req     policy.Request
		refused policy.ReasonCode // empty: it is not
		text    string
	}{
		{name: "starts", docs: start, req: own},
		{name: "starts, not allowed", docs: none, req: own, refused: policy.CodeSelfService, text: "self_service: start"},
		{name: "starts for another", docs: both, req: other, refused: policy.CodeNotYours, text: "it has 192.0.2.0/25"},
		{name: "starts for nobody", docs: both, req: discard("100.64.0.1/32"), refused: policy.CodeNotYours},
		{name: "starts for protected space of another", docs: both, req: discard("203.0.113.5/32"), refused: policy.CodeNotYours},
		{name: "starts for more than its own", docs: both, req: discard("192.0.2.0/24"), refused: policy.CodeNotYours},
		{name: "starts for its own and another", docs: both, req: discard("192.0.2.3/32", "198.51.100.7/32"), refused: policy.CodeNotYours},
		{name: "starts for a nested customer", docs: both, by: "customer/uni-a/bob", req: discard("203.0.114.7/32"), refused: policy.CodeNotYours},
		{name: "starts as nobody's", docs: both, by: "customer/uni-z/bob", req: own, refused: policy.CodeNotYours, text: "no customer"},
		{name: "starts as no customer", docs: both, by: "customer/solo-c", req: own, refused: policy.CodeNotYours},
		{name: "diverts", docs: both, req: divert("198.51.100.9", "192.0.2.3/32"), refused: policy.CodeSelfService, text: "discard, rate and rtbh"},
		{name: "breaks glass", docs: both, req: &policy.StartRequest{Targets: own.Targets, Action: own.Action, BreakGlass: true}, refused: policy.CodeSelfService},
		{name: "chooses routers", docs: both, req: &policy.StartRequest{Targets: own.Targets, Action: own.Action, Groups: []string{"edge"}}, refused: policy.CodeSelfService},
		{name: "withdraws its own", docs: none, req: withdraw, mine: nil, refused: policy.CodeUnknownMitigation},
		{name: "withdraws what it started", docs: start, mine: started, req: withdraw},
		{name: "a colleague withdraws it", docs: start, mine: started, by: "customer/solo-c/eve", req: withdraw},
		{name: "extends what it started", docs: start, mine: started, req: extend},
		{name: "extends what an operator started", docs: both, first: started, req: extend, refused: policy.CodeSelfService},
		{name: "withdraws what an operator started", docs: both, first: started, req: withdraw, refused: policy.CodeSelfService},
		{name: "withdraws what a policy started", docs: both, first: attacked, req: withdraw},
		{name: "withdraws what a policy started, not allowed", docs: start, first: attacked, req: withdraw, refused: policy.CodeSelfService, text: "self_service: withdraw"},
		{name: "withdraws another's", docs: both, first: elsewhere, req: withdraw, refused: policy.CodeUnknownMitigation, text: "there is no mitigation M1"},
		{name: "extends another's", docs: both, first: elsewhere, req: extend, refused: policy.CodeUnknownMitigation, text: "there is no mitigation M1"},
		{name: "withdraws nothing", docs: both, req: withdraw, refused: policy.CodeUnknownMitigation, text: "there is no mitigation M1"},
		{name: "withdraws all", docs: both, req: &policy.WithdrawAllRequest{Customer: "solo-c"}, refused: policy.CodeNotYours},
		{name: "applies", docs: both, req: &policy.ApplyRequest{Documents: inventory()}, refused: policy.CodeNotYours},
		{name: "approves", docs: both, req: &policy.ApproveRequest{Mitigation: 1}, refused: policy.CodeNotYours},
		{name: "freezes", docs: both, req: &policy.FreezeRequest{}, refused: policy.CodeNotYours},
		{name: "signals", docs: both, req: attacked[0], refused: policy.CodeNotYours},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, row.docs...)
			for _, r := range row.first {
				w.decide(r)
			}
			w.by = "customer/solo-c/bob"
			for _, r := range row.mine {
				if d := w.decide(r); d.Verdict.Kind == policy.Refused {
					t.Fatal(d.Verdict.Reason)
				}
			}
			if row.by != "" {
				w.by = row.by
			}
			d := w.decide(row.req)
			if got := d.Verdict.Reason.Code; (d.Verdict.Kind == policy.Refused) != (row.refused != "") || row.refused != "" && got != row.refused {
				t.Errorf("%v: %s %q, want a refusal with %q", d.Verdict.Kind, got, d.Verdict.Reason.Text, row.refused)
			}
			if !strings.Contains(d.Verdict.Reason.Text, row.text) {
				t.Errorf("%q does not say %q", d.Verdict.Reason.Text, row.text)
			}
		})
	}
}

// TestCustomerLearnsNothing: what is somebody else's looks like what does not exist, to the letter.
func TestCustomerLearnsNothing(t *testing.T) {
	answer := func(docs []policy.Document, first []policy.Request, r policy.Request) string {
		w := newWorld(t, docs...)
		for _, f := range first {
			w.decide(f)
		}
		w.by = "customer/solo-c/bob"
		d := w.decide(r)
		return fmt.Sprintf("%v %v", d.Verdict.Kind, d.Verdict.Reason)
	}
	alone := slices.DeleteFunc(allowing(policy.SelfStart), func(d policy.Document) bool {
		n := d.Ref().Name
		return n == "uni-a" || n == "lab-b" || n == "lb-7"
	})
	crowd := allowing(policy.SelfStart)
	attacked := []policy.Request{signal("a", 1, policy.VectorDNSAmplification, pfxs("198.51.100.7/32"))}
	for _, r := range []policy.Request{
		discard("198.51.100.7/32"), discard("203.0.113.5/32"), discard("203.0.114.0/24"), discard("2001:db8:100::/40"),
		&policy.WithdrawRequest{ID: 1}, &policy.ExtendRequest{ID: 1, Lifetime: time.Hour},
	} {
		if a, b := answer(alone, nil, r), answer(crowd, attacked, r); a != b {
			t.Errorf("%v:\n%s\n%s", r, a, b)
		}
	}
}

// TestCustomerShare: a customer fills a part of each budget only, takes nothing of what policies may start, does not start
// all the time, and does not weaken what a policy does.
func TestCustomerShare(t *testing.T) {
	docs := func(change func(*policy.Safeguards)) []policy.Document {
		out := allowing(policy.SelfStart)
		sg := policy.DefaultSafeguards()
		change(sg)
		out = append(out, sg)
		for _, d := range out {
			if c, ok := d.(*policy.Customer); ok {
				c.MaxMitigations = 0
			}
		}
		return out
	}
	host := func(i int) *policy.StartRequest { return discard(fmt.Sprintf("192.0.2.%d/32", i)) }
	t.Run("share", func(t *testing.T) {
		w := newWorld(t, docs(func(d *policy.Safeguards) { d.MaxMitigations = 10 })...)
		w.by = "customer/solo-c/bob"
		for i := range 4 {
			w.must(policy.Mitigated, policy.CodeStarted, host(i))
		}
		d := w.must(policy.Refused, policy.CodeSourceShare, host(4))
		expectText(t, d.Verdict.Reason, "customer/solo-c started 4 active mitigations", "may have 4", "50 %")
		w.by = "operator/alice"
		w.must(policy.Mitigated, policy.CodeStarted, host(4))
	})
	t.Run("pace", func(t *testing.T) {
		w := newWorld(t, docs(func(d *policy.Safeguards) { d.MaxStartsPerMinute, d.MaxStartsPerMinutePerSource = 3, 0 })...)
		w.by = "customer/solo-c/bob"
		for i := range policy.MaxCustomerStarts {
			w.must(policy.Mitigated, policy.CodeStarted, host(i))
			w.must(policy.Ended, policy.CodeWithdrawn, &policy.WithdrawRequest{ID: policy.MitigationID(i + 1)})
		}
		d := w.must(policy.Refused, policy.CodeStartRate, host(40))
		expectText(t, d.Verdict.Reason, "10 mitigations", "at most 10", "1m0s")
		w.by = "detector/fnm-1"
		w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, policy.VectorDNSAmplification, pfxs("198.51.100.7/32")))
		w.now = w.now.Add(61 * time.Second)
		w.by = "customer/solo-c/bob"
		w.must(policy.Mitigated, policy.CodeStarted, host(40))
	})
	t.Run("precedence", func(t *testing.T) {
		w := newWorld(t, docs(func(*policy.Safeguards) {})...)
		w.by = "detector/fnm-1"
		w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, policy.VectorDNSAmplification, pfxs("192.0.2.3/32")))
		m, _ := w.s.Mitigation(1)
		w.by = "customer/solo-c/bob"
		r := limit(1e6, "192.0.2.3/32")
		r.Match = m.Variants[0]
		if d := w.decide(r); d.Verdict.Kind == policy.Mitigated {
			if route, ok := w.s.Route(m.Action.Key(&m.Rules[0])); !ok || route.Owners[0] != 1 {
				t.Errorf("a customer's rate goes before a policy's discard: %v", route)
			}
		}
		w.by = "operator/alice"
		d := w.decide(r)
		if route, ok := w.s.Route(m.Action.Key(&m.Rules[0])); d.Verdict.Kind == policy.Mitigated && (!ok || route.Owners[0] == 1) {
			t.Errorf("an operator's rate does not go before a policy's discard: %v, %v", d.Verdict, route)
		}
	})
}

package policy_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/policy"
)

// bearer is an order to make a token of an operator; change, if any, alters it.
func bearer(name string, change ...func(*policy.CreateTokenRequest)) *policy.CreateTokenRequest {
	r := &policy.CreateTokenRequest{Lifetime: 24 * time.Hour, Token: policy.Token{Name: name, Role: "operator", Hash: [32]byte{1}}}
	copy(r.Token.Hash[1:], name)
	for _, f := range change {
		f(r)
	}
	return r
}

func TestCreateToken(t *testing.T) {
	with := func(f func(*policy.Token)) func(*policy.CreateTokenRequest) {
		return func(r *policy.CreateTokenRequest) { f(&r.Token) }
	}
	for _, row := range []struct {
		name   string
		change func(*policy.CreateTokenRequest)
		field  string // malformed; empty: it is made
		who    policy.Principal
	}{
		{"operator", func(*policy.CreateTokenRequest) {}, "", "operator/ci;token=ci"},
		{"detector", with(func(k *policy.Token) { k.Role = "detector" }), "", "detector/ci;token=ci"},
		{"detector with a source", with(func(k *policy.Token) { k.Role, k.Source = "detector", "fnm-1" }), "", "detector/fnm-1;token=ci"},
		{"customer", with(func(k *policy.Token) { k.Role, k.Customer = "customer", "solo-c" }), "", "customer/solo-c/ci;token=ci"},
		{"customer of nobody", with(func(k *policy.Token) { k.Role, k.Customer = "customer", "solo-x" }), "customer", ""},
		{"customer of none", with(func(k *policy.Token) { k.Role = "customer" }), "customer", ""},
		{"operator of a customer", with(func(k *policy.Token) { k.Customer = "solo-c" }), "customer", ""},
		{"operator with a source", with(func(k *policy.Token) { k.Source = "fnm-1" }), "source", ""},
		{"admin", with(func(k *policy.Token) { k.Role = "admin" }), "role", ""},
		{"approver", with(func(k *policy.Token) { k.Role = "approver" }), "role", ""},
		{"member", with(func(k *policy.Token) { k.Role = "member" }), "role", ""},
		{"no role", with(func(k *policy.Token) { k.Role = "" }), "role", ""},
		{"no name", with(func(k *policy.Token) { k.Name = "" }), "name", ""},
		{"a name that ends another", with(func(k *policy.Token) { k.Name = "a;token=b" }), "name", ""},
		{"no hash", with(func(k *policy.Token) { k.Hash = [32]byte{} }), "hash", ""},
		{"for ever", func(r *policy.CreateTokenRequest) { r.Lifetime = policy.MaxTokenLifetime + 1 }, "lifetime", ""},
		{"for no time", func(r *policy.CreateTokenRequest) { r.Lifetime = 0 }, "lifetime", ""},
		{"less than no calls", with(func(k *policy.Token) { k.PerSecond = -1 }), "per_second", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			w.by = "admin/root"
			d := w.decide(bearer("ci", row.change))
			if row.field != "" {
				if len(d.Violations) != 1 || d.Violations[0].Field != row.field || w.s.TokenCount() != 0 {
					t.Errorf("%v", d)
				}
				return
			}
			k, ok := w.s.Token("ci")
			if !ok || k.Principal() != row.who || k.By != "admin/root" || !k.Expires.Equal(w.now.Add(24*time.Hour)) || k.Principal().Token() != "ci" {
				t.Errorf("%v %v", d.Verdict, k)
			}
		})
	}
}

// TestTokenLife: one name and one hash once, an end by time, an end by hand, and what is forgotten when.
func TestTokenLife(t *testing.T) {
	w := newWorld(t)
	w.by = "admin/root"
	w.must(policy.Mitigated, policy.CodeTokenMade, bearer("a"))
	w.must(policy.Refused, policy.CodeTokenExists, bearer("a"))
	w.must(policy.Refused, policy.CodeTokenExists, bearer("b", func(r *policy.CreateTokenRequest) { copy(r.Token.Hash[:], bearer("a").Token.Hash[:]) }))
	w.must(policy.Mitigated, policy.CodeTokenMade, bearer("c"))
	w.must(policy.Refused, policy.CodeUnknownToken, &policy.RevokeTokenRequest{Name: "b"})
	made := w.now
	a, _ := w.s.Token("a")
	if !a.Good(made.Add(24*time.Hour-1)) || a.Good(made.Add(24*time.Hour)) {
		t.Error("it does not end when it should")
	}
	w.must(policy.Ended, policy.CodeTokenRevoked, &policy.RevokeTokenRequest{Name: "c"})
	w.must(policy.Observed, policy.CodeNothingToDo, &policy.RevokeTokenRequest{Name: "c"})
	if c, _ := w.s.Token("c"); c.Good(made) || c.RevokedBy != "admin/root" {
		t.Errorf("revoked: %v", c)
	}
	head, _ := w.s.AuditHead()
	if head != nil && head.Objects[0] != "Token/c" {
		t.Errorf("the audit says %v", head.Objects)
	}
	if diff := cmp.Diff(w.s.Digest(), restored(t, w.s).Digest()); diff != "" {
		t.Errorf("a snapshot gives back another state:\n%s", diff)
	}
	w.must(policy.Refused, policy.CodeTokenExists, bearer("c"))
	w.now = made.Add(policy.TokenMemory)
	w.must(policy.Observed, policy.CodeLease, &policy.LeaseRequest{})
	if _, there := w.s.Token("c"); there || w.s.TokenCount() != 1 {
		t.Error("what was revoked is remembered for ever")
	}
	w.now = made.Add(policy.TokenMemory + 24*time.Hour)
	w.must(policy.Observed, policy.CodeLease, &policy.LeaseRequest{})
	if w.s.TokenCount() != 0 {
		t.Error("what expired is remembered for ever")
	}
}

func TestTokenLimit(t *testing.T) {
	w := newWorld(t)
	for i := range policy.MaxTokens {
		w.must(policy.Mitigated, policy.CodeTokenMade, bearer(fmt.Sprint("t", i)))
	}
	w.must(policy.Refused, policy.CodeTokenLimit, bearer("more"))
}

// TestTokenIsNoSecondPerson: who made a token does not approve what was asked for with it, not even after it was revoked and
// forgotten.
func TestTokenIsNoSecondPerson(t *testing.T) {
	for _, row := range []struct {
		name  string
		first []policy.Request // of admin/root, after the order
		by    policy.Principal
		code  policy.ReasonCode
	}{
		{"who made it", nil, "admin/root", policy.CodeSecondPerson},
		{"who made it and revoked it", []policy.Request{&policy.RevokeTokenRequest{Name: "ci"}}, "admin/root", policy.CodeSecondPerson},
		{"who made it, in another role", nil, "approver/root", policy.CodeSecondPerson},
		{"another", nil, "admin/ada", policy.CodeApproved},
	} {
		t.Run(row.name, func(t *testing.T) {
			sg := policy.DefaultSafeguards()
			sg.ApprovalAddresses = 1
			w := newWorld(t, append(inventory(), sg)...)
			w.by = "admin/root"
			w.must(policy.Mitigated, policy.CodeTokenMade, bearer("ci"))
			k, _ := w.s.Token("ci")
			w.by = k.Principal()
			w.must(policy.AwaitsApproval, policy.CodeAwaitsApproval, discard("192.0.2.3/32"))
			w.by = "admin/root"
			for _, r := range row.first {
				w.decide(r)
			}
			w.by = row.by
			if d := w.decide(&policy.ApproveRequest{Mitigation: 1}); d.Verdict.Reason.Code != row.code {
				t.Errorf("%v", d.Verdict)
			}
		})
	}
}

package policy_test

import (
	"slices"
	"testing"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/policy"
)

// TestLoosening: what asks for a second person is not switched off by one. What was not asked for is not taken away.
func TestLoosening(t *testing.T) {
	guarded := func(change func(*policy.Safeguards)) *policy.Safeguards {
		return bounds(func(sg *policy.Safeguards) {
			sg.ApprovalAddresses, sg.ApprovalWithdrawals, sg.ApprovalRemovals, sg.BreakGlassLifetime = 100, 5, 50, 10*time.Minute
			change(sg)
		})
	}
	asks := func(change func(*policy.Policy)) *policy.Policy {
		p := ladder()
		p.Ladder = slices.Clone(p.Ladder)
		p.Ladder[1].Mode, p.Quiet, p.Relax = policy.ModeApprove, time.Minute, policy.RelaxApprove
		change(p)
		return p
	}
	same := func(*policy.Policy) {}
	for _, row := range []struct {
		name     string
		was, now policy.Document
		text     string // empty: it is applied at once
	}{
		{"addresses switched off", guarded(func(*policy.Safeguards) {}), guarded(func(sg *policy.Safeguards) { sg.ApprovalAddresses = 0 }), "approval_addresses is switched off, it was 100"},
		{"more addresses", guarded(func(*policy.Safeguards) {}), guarded(func(sg *policy.Safeguards) { sg.ApprovalAddresses = 101 }), "approval_addresses becomes 101"},
		{"fewer addresses", guarded(func(*policy.Safeguards) {}), guarded(func(sg *policy.Safeguards) { sg.ApprovalAddresses = 99 }), ""},
		{"more withdrawals", guarded(func(*policy.Safeguards) {}), guarded(func(sg *policy.Safeguards) { sg.ApprovalWithdrawals = 6 }), "approval_withdrawals becomes 6, it was 5"},
		{"withdrawals switched off", guarded(func(*policy.Safeguards) {}), guarded(func(sg *policy.Safeguards) { sg.ApprovalWithdrawals = 0 }), "approval_withdrawals is switched off"},
		{"removals back to the default", guarded(func(*policy.Safeguards) {}), guarded(func(sg *policy.Safeguards) { sg.ApprovalRemovals = 0 }), "approval_removals becomes 100, it was 50"},
		{"a longer way past approvals", guarded(func(*policy.Safeguards) {}), guarded(func(sg *policy.Safeguards) { sg.BreakGlassLifetime = time.Hour }), "break_glass_lifetime becomes 1h, it was 10m"},
		{"another bound", guarded(func(*policy.Safeguards) {}), guarded(func(sg *policy.Safeguards) { sg.MaxMitigations++ }), ""},
		{"never on", bounds(func(*policy.Safeguards) {}), bounds(func(sg *policy.Safeguards) { sg.BreakGlassLifetime = time.Hour }), ""},
		{"switched on", bounds(func(*policy.Safeguards) {}), guarded(func(*policy.Safeguards) {}), ""},
		{"a start", asking(), ladder(), "policy steps would start without approval"},
		{"a start that is observed now", asking(), asks(func(p *policy.Policy) { p.Mode = policy.ModeObserve }), ""},
		{"a step", asks(same), asks(func(p *policy.Policy) { p.Ladder[1].Mode = policy.ModeAuto }), "policy steps would take step 2 (discard) without approval"},
		{"a step that goes", asks(same), asks(func(p *policy.Policy) { p.Ladder, p.Relax = p.Ladder[:1], policy.RelaxNever }), ""},
		{"the steps before one that asked", asks(same), asks(func(p *policy.Policy) { p.Ladder = []policy.Step{p.Ladder[0], p.Ladder[2]} }), "policy steps would take step 2 (rtbh) without approval"},
		{"a relaxation", asks(same), asks(func(p *policy.Policy) { p.Relax = policy.RelaxAuto }), "policy steps would relax without approval"},
		{"a relaxation that goes", asks(same), asks(func(p *policy.Policy) { p.Relax = policy.RelaxNever }), ""},
		{"another lifetime", asks(same), asks(func(p *policy.Policy) { p.Lifetime++ }), ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, append(inventory(), blackholer("bh-1", "127.0.0.14", 100, flowspec.IPv4), row.was)...).as("admin/root")
			apply := &policy.ApplyRequest{Documents: []policy.Document{row.now}}
			if row.text == "" {
				w.must(policy.Mitigated, policy.CodeApplied, apply)
				return
			}
			d := w.must(policy.AwaitsApproval, policy.CodeAwaitsApproval, apply)
			expectText(t, d.Verdict.Reason, row.text)
			w.must(policy.Refused, policy.CodeSecondPerson, &policy.ApproveRequest{Order: 1})
			w.as(bob).must(policy.Mitigated, policy.CodeApproved, &policy.ApproveRequest{Order: 1})
			w.as("admin/root").must(policy.Merged, policy.CodeUnchanged, apply)
		})
	}
	t.Run("by removing the document", func(t *testing.T) {
		w := newWorld(t, append(inventory(), guarded(func(*policy.Safeguards) {}))...).as("admin/root")
		d := w.decide(&policy.ApplyRequest{Documents: inventory(), Prune: true})
		if d.Verdict.Kind != policy.AwaitsApproval {
			t.Fatalf("%s: %s", d.Verdict.Reason.Code, d.Verdict.Reason.Text)
		}
		expectText(t, d.Verdict.Reason, "approval_addresses is switched off", "approval_removals becomes 100")
	})
	t.Run("past the approval", func(t *testing.T) {
		w := newWorld(t, append(inventory(), guarded(func(*policy.Safeguards) {}))...).as("admin/root")
		before := w.s
		w.must(policy.Mitigated, policy.CodeBreakGlass, &policy.ApplyRequest{Documents: []policy.Document{bounds(func(*policy.Safeguards) {})}, BreakGlass: true})
		if _, orders := w.s.PassedSince(before); len(orders) != 1 {
			t.Errorf("told of %d orders", len(orders))
		}
	})
}

// TestApprovedStepGoesOn: a second person takes no step for an attack that nobody reports any more.
func TestApprovedStepGoesOn(t *testing.T) {
	host := pfxs("198.51.100.7/32")
	for _, row := range []struct {
		name   string
		report *policy.AttackReport
		code   policy.ReasonCode
		text   string
	}{
		{"not reported in this term", &policy.AttackReport{}, policy.CodeNotReported, "was not reported to this leader yet"},
		{"long ago", &policy.AttackReport{At: noon().Add(5*time.Minute - 91*time.Second)}, policy.CodeNotReported, "was last reported 1m31s ago"},
		{"just in time", &policy.AttackReport{At: noon().Add(5*time.Minute - 90*time.Second)}, policy.CodeApproved, "the attack was last reported 1m30s ago"},
		{"lately", &policy.AttackReport{At: noon().Add(5*time.Minute - 2*time.Second)}, policy.CodeApproved, "the attack was last reported 2s ago"},
		{"not asked for", nil, policy.CodeApproved, ""},
	} {
		for _, breakGlass := range []bool{false, true} {
			t.Run(row.name, func(t *testing.T) {
				p := ladder()
				p.Ladder[1].Mode = policy.ModeApprove
				w := asks(t, p).as(detector)
				w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, dns, host))
				w.now = noon().Add(4 * time.Minute)
				w.as("member/n1").must(policy.Mitigated, policy.CodeEscalated, &policy.EscalateRequest{Reports: []policy.AttackReport{{ID: 1, At: w.now, Confidence: 1}}})
				w.now = noon().Add(5 * time.Minute)
				want := row.code
				if want == policy.CodeApproved && breakGlass {
					want = policy.CodeBreakGlass
				}
				d := w.as(bob).decide(&policy.ApproveRequest{Mitigation: 1, BreakGlass: breakGlass, Report: row.report})
				if d.Verdict.Reason.Code != want {
					t.Fatalf("%s: %s, want %s", d.Verdict.Reason.Code, d.Verdict.Reason.Text, want)
				}
				expectText(t, d.Verdict.Reason, row.text)
			})
		}
	}
}

// TestHeldIsSaid: a report that does not narrow a mitigation says until when it is held, and why.
func TestHeldIsSaid(t *testing.T) {
	carpet := pfxs("198.51.100.16/32", "198.51.100.17/32", "198.51.100.18/32", "198.51.100.19/32", "198.51.100.20/32", "198.51.100.21/32", "198.51.100.22/32", "198.51.100.23/32")
	w := newWorld(t).as(detector)
	w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, policy.VectorCarpetBombing, carpet))
	w.now = noon().Add(20 * time.Second)
	d := w.must(policy.Merged, policy.CodeRepetition, signal("a", 2, policy.VectorCarpetBombing, carpet[:2]))
	expectText(t, d.Verdict.Reason, "198.51.100.16", "is less than the 198.51.100.16/29 that it acts on", "until 2026-05-04T12:01:00Z")
	w.now = noon().Add(2 * time.Minute)
	d = w.must(policy.Merged, policy.CodeRepetition, signal("a", 3, policy.VectorCarpetBombing, carpet[:5]))
	expectText(t, d.Verdict.Reason, "half of its addresses or more")
	d = w.must(policy.Merged, policy.CodeRepetition, signal("a", 4, policy.VectorCarpetBombing, carpet))
	if want := "M1 is already active for this attack"; d.Verdict.Reason.Text != want {
		t.Errorf("%q, want %q", d.Verdict.Reason.Text, want)
	}
}

// TestAuditOutcome: what a record's item did is told from what the State remembers of the objects that it names.
func TestAuditOutcome(t *testing.T) {
	w := asks(t, asking(), bounds(func(sg *policy.Safeguards) { sg.ApprovalWithdrawals = 1 }))
	outcome := func(objects ...string) string {
		return w.s.AuditOutcome(&policy.AuditRecord{Index: w.index, Objects: objects})
	}
	for i, step := range []struct {
		by      policy.Principal
		req     policy.Request
		objects []string
		want    string
	}{
		{detector, signal("a", 1, dns, pfxs("198.51.100.7/32")), []string{"Mitigation/M1", "Attack/fnm-1/a"}, "asked"},
		{bob, approve(1), []string{"Mitigation/M1"}, "approved"},
		{"operator/alice", &policy.ExtendRequest{ID: 1, Lifetime: time.Hour}, []string{"Mitigation/M1"}, "extended"},
		{detector, signal("b", 1, dns, pfxs("198.51.100.9/32")), []string{"Mitigation/M2"}, "asked"},
		{"operator/alice", &policy.ApproveRequest{Mitigation: 2, BreakGlass: true}, []string{"Mitigation/M2"}, "break-glass"},
		{"operator/alice", &policy.WithdrawAllRequest{}, []string{"Approval/A1"}, "pending"},
		{bob, &policy.RejectRequest{Order: 1}, []string{"Approval/A1", "Customer/uni-a"}, "rejected"},
		{"operator/alice", &policy.WithdrawRequest{ID: 1}, []string{"Mitigation/M1", "Mitigation/M2"}, "withdrawn"},
	} {
		w.as(step.by).decide(step.req)
		if got := outcome(step.objects...); got != step.want {
			t.Errorf("step %d: %q, want %q", i, got, step.want)
		}
	}
	if got := outcome("Mitigation/M99", "Mitigation/", "Policy/steps", "Approval/Ax"); got != "" {
		t.Errorf("of what is not known: %q", got)
	}
}

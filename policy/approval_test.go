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

// asking is the policy of ladder, of which each start awaits a second person.
func asking() *policy.Policy {
	p := ladder()
	p.Mode = policy.ModeApprove
	return p
}

// asks is a world with that policy, and others instead of it if there are any.
func asks(t testing.TB, docs ...policy.Document) *world {
	t.Helper()
	if len(docs) == 0 {
		docs = []policy.Document{asking()}
	}
	return newWorld(t, append(inventory(), append(docs, blackholer("bh-1", "127.0.0.14", 100, flowspec.IPv4))...)...)
}

// as makes the next requests those of somebody.
func (w *world) as(by policy.Principal) *world {
	w.by = by
	return w
}

// bounds are safeguards with bounds for a second person.
func bounds(change func(*policy.Safeguards)) *policy.Safeguards {
	sg := policy.DefaultSafeguards()
	change(sg)
	return sg
}

func (w *world) routes() int {
	n := 0
	for range w.s.Routes() {
		n++
	}
	return n
}

func approve(id policy.MitigationID) *policy.ApproveRequest {
	return &policy.ApproveRequest{Mitigation: id}
}

// expectStory compares the kinds of event of a mitigation.
func (w *world) expectStory(id policy.MitigationID, want ...policy.EventKind) {
	w.t.Helper()
	var got []policy.EventKind
	for _, ev := range w.mitigation(id).History {
		got = append(got, ev.What)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Errorf("story of M%d (-want +got):\n%s", id, diff)
	}
}

const (
	detector = policy.Principal("detector/fnm-1")
	bob      = policy.Principal("approver/bob")
)

// TestPendingStart follows a start that awaits a second person to each of its ends.
func TestPendingStart(t *testing.T) {
	host := pfxs("198.51.100.7/32")
	start := func(t *testing.T) *world {
		w := asks(t).as(detector)
		d := w.must(policy.AwaitsApproval, policy.CodeAwaitsApproval, signal("a", 1, dns, host))
		expectText(t, d.Verdict.Reason, "M1", "policy steps asks for approval", "2 rules")
		if m := w.mitigation(1); m.Phase != policy.Pending || len(m.Rules) != 2 || w.routes() != 0 || w.s.ActiveCount() != 0 || w.s.PendingCount() != 1 {
			t.Fatalf("phase %d with %d rules, %d routes, %d active, %d pending", m.Phase, len(m.Rules), w.routes(), w.s.ActiveCount(), w.s.PendingCount())
		}
		w.must(policy.AwaitsApproval, policy.CodeRepetition, signal("a", 1, dns, host))
		w.must(policy.AwaitsApproval, policy.CodeRepetition, signal("a", 2, dns, host))
		w.must(policy.AwaitsApproval, policy.CodeAwaitsApproval, signal("b", 1, dns, host))
		if got := causes(w.mitigation(1)); len(got) != 2 || w.s.PendingCount() != 1 {
			t.Fatalf("causes %v, %d pending", got, w.s.PendingCount())
		}
		return w
	}
	t.Run("approved", func(t *testing.T) {
		w := start(t)
		w.must(policy.Refused, policy.CodeSecondPerson, approve(1))
		w.now = noon().Add(10 * time.Minute)
		w.as(bob).must(policy.Mitigated, policy.CodeApproved, approve(1))
		m := w.expectPhase(policy.Active, 2)
		if !m.Expires.Equal(w.now.Add(30*time.Minute)) || !m.StepSince.Equal(w.now) || m.ApprovedBy != bob || m.Awaits.Kind != "" {
			t.Errorf("expires %s, step since %s, approved by %s, awaits %q", m.Expires, m.StepSince, m.ApprovedBy, m.Awaits.Kind)
		}
		d := w.must(policy.Refused, policy.CodeApprovalOver, approve(1))
		expectText(t, d.Verdict.Reason, "M1", string(bob))
		w.as(detector).must(policy.Merged, policy.CodeRepetition, signal("a", 3, dns, host))
		w.expectStory(1, policy.EventAsked, policy.EventMerged, policy.EventApproved)
	})
	t.Run("nobody approves it", func(t *testing.T) {
		w := start(t)
		due, ok := w.s.NextDue()
		if want := noon().Add(15 * time.Minute); !ok || !due.Equal(want) {
			t.Fatalf("due at %s, want %s", due, want)
		}
		w.now = due
		w.as(bob).must(policy.Refused, policy.CodeApprovalOver, approve(1))
		w.must(policy.Ended, policy.CodeExpired, &policy.ExpireRequest{})
		if m := w.mitigation(1); m.End != policy.EndNotApproved || w.s.PendingCount() != 0 {
			t.Fatalf("ended %s, %d pending", m.End, w.s.PendingCount())
		}
		w.must(policy.Refused, policy.CodeApprovalOver, approve(1))
		w.as(detector).must(policy.AwaitsApproval, policy.CodeAwaitsApproval, signal("a", 3, dns, host)) // it goes on: asked anew
	})
	t.Run("rejected", func(t *testing.T) {
		w := start(t)
		w.as(bob).must(policy.Ended, policy.CodeRejected, &policy.RejectRequest{Mitigation: 1})
		if m := w.mitigation(1); m.End != policy.EndRejected || m.EndedBy != bob || m.EndNote != "ticket 4711" {
			t.Fatalf("%+v", m)
		}
		w.as(detector).must(policy.Observed, policy.CodeNotApproved, signal("a", 3, dns, host))
		d := w.must(policy.AwaitsApproval, policy.CodeAwaitsApproval, signal("a", 4, dns, pfxs("198.51.100.7/32", "198.51.100.9/32"))) // only what is new
		if diff := cmp.Diff(pfxs("198.51.100.9/32"), d.Mitigations[0].Cut.Pieces, prefixes()); diff != "" {
			t.Errorf("pieces (-want +got):\n%s", diff)
		}
	})
	t.Run("the attacks end", func(t *testing.T) {
		w := start(t)
		w.must(policy.Ended, policy.CodeAttackOver, end("a", 5))
		if w.s.PendingCount() != 1 {
			t.Fatal("it ended with the first of two causes")
		}
		d := w.must(policy.Ended, policy.CodeAttackOver, end("b", 5))
		expectText(t, d.Verdict.Reason, "M1", "nobody had approved")
		if m := w.mitigation(1); m.End != policy.EndAttackOver || w.s.PendingCount() != 0 {
			t.Fatalf("ended %s, %d pending", m.End, w.s.PendingCount())
		}
	})
	t.Run("withdrawn", func(t *testing.T) {
		w := start(t)
		w.as("operator/carol").must(policy.Refused, policy.CodeMitigationPending, &policy.ExtendRequest{ID: 1, Lifetime: time.Hour})
		w.must(policy.Ended, policy.CodeWithdrawn, &policy.WithdrawRequest{ID: 1})
		if m := w.mitigation(1); !m.NeverAnnounced() || w.s.PendingCount() != 0 {
			t.Errorf("%+v", m)
		}
	})
	t.Run("protection grows meanwhile", func(t *testing.T) {
		w := asks(t).as(detector)
		w.must(policy.AwaitsApproval, policy.CodeAwaitsApproval, signal("a", 1, dns, pfxs("198.51.100.8/30")))
		w.as("admin/root").must(policy.Mitigated, policy.CodeApplied, &policy.ApplyRequest{Documents: []policy.Document{
			&policy.ProtectedBlock{Name: "new", Kind: policy.BlockResolver, Prefixes: pfxs("198.51.100.8/31")},
		}})
		if diff := cmp.Diff(pfxs("198.51.100.10/31"), w.mitigation(1).Cut.Pieces, prefixes()); diff != "" {
			t.Fatalf("what the approver sees (-want +got):\n%s", diff)
		}
		d := w.as(bob).must(policy.Mitigated, policy.CodeApproved, approve(1))
		expectText(t, d.Verdict.Reason, "cut again", "198.51.100.8/31")
		w.as("admin/root").must(policy.Mitigated, policy.CodeApplied, &policy.ApplyRequest{Documents: []policy.Document{
			&policy.ProtectedBlock{Name: "new", Kind: policy.BlockResolver, Prefixes: pfxs("198.51.100.8/30")},
		}})
		w.expectPhase(policy.Over, 0)
	})
	t.Run("limits hold at the approval", func(t *testing.T) {
		w := asks(t, asking(), bounds(func(sg *policy.Safeguards) { sg.MaxMitigations = 1 })).as(detector)
		w.must(policy.AwaitsApproval, policy.CodeAwaitsApproval, signal("a", 1, dns, host))
		w.must(policy.AwaitsApproval, policy.CodeAwaitsApproval, signal("b", 1, dns, pfxs("198.51.100.9/32")))
		w.as(bob).must(policy.Mitigated, policy.CodeApproved, approve(2))
		w.must(policy.Refused, policy.CodeMitigationLimit, approve(1))
	})
}

// TestPendingIsBounded floods a policy that asks.
func TestPendingIsBounded(t *testing.T) {
	w := asks(t).as(detector)
	n := 0
	for i := range 300 {
		d := w.decide(signal(fmt.Sprint("a", i), 1, dns, pfxs(fmt.Sprintf("203.0.112.%d/32", i%256))))
		if d.Verdict.Reason.Code == policy.CodePendingLimit {
			expectText(t, d.Verdict.Reason, "204", "tidegate approval list")
			break
		}
		n++
	}
	if n != policy.MaxPending*4/5 || w.s.PendingCount() != n {
		t.Errorf("%d await approval, want %d", w.s.PendingCount(), policy.MaxPending*4/5)
	}
}

// TestWiderIsAskedFor: what an attack has stays while a second person decides on more.
func TestWiderIsAskedFor(t *testing.T) {
	few := bounds(func(sg *policy.Safeguards) { sg.ApprovalAddresses = 2 })
	grown := func(t *testing.T) *world {
		w := asks(t, ladder(), few).as(detector)
		w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, dns, pfxs("198.51.100.8/32")))
		d := w.must(policy.AwaitsApproval, policy.CodeAwaitsApproval, signal("a", 2, dns, pfxs("198.51.100.8/30")))
		expectText(t, d.Verdict.Reason, "M2", "M1 stays until then", "4 addresses", "approval_addresses")
		w.expectPhase(policy.Active, 2)
		w.must(policy.AwaitsApproval, policy.CodeRepetition, signal("a", 3, dns, pfxs("198.51.100.8/30")))
		return w
	}
	t.Run("approved", func(t *testing.T) {
		w := grown(t)
		w.as(bob).must(policy.Mitigated, policy.CodeApproved, approve(2))
		if one, two := w.mitigation(1), w.mitigation(2); one.End != policy.EndSuperseded || two.Phase != policy.Active || w.routes() != 2 {
			t.Errorf("M1 ended %q, M2 is in phase %d, %d routes", one.End, two.Phase, w.routes())
		}
		w.as(detector).must(policy.Merged, policy.CodeRepetition, signal("a", 4, dns, pfxs("198.51.100.8/30")))
		w.must(policy.Ended, policy.CodeAttackOver, end("a", 5))
		if w.routes() != 0 || w.s.ActiveCount() != 0 {
			t.Errorf("%d routes are left", w.routes())
		}
	})
	t.Run("rejected", func(t *testing.T) {
		w := grown(t)
		w.as(bob).must(policy.Ended, policy.CodeRejected, &policy.RejectRequest{Mitigation: 2})
		d := w.as(detector).must(policy.Merged, policy.CodeNotApproved, signal("a", 4, dns, pfxs("198.51.100.8/29")))
		expectText(t, d.Verdict.Reason, "M2", string(bob), "M1 stays")
		if w.s.PendingCount() != 0 {
			t.Error("asked again")
		}
	})
	t.Run("the attack ends", func(t *testing.T) {
		w := grown(t)
		w.must(policy.Ended, policy.CodeAttackOver, end("a", 4))
		if w.s.PendingCount() != 0 || w.s.ActiveCount() != 0 {
			t.Errorf("%d pending, %d active", w.s.PendingCount(), w.s.ActiveCount())
		}
	})
	t.Run("it grows again", func(t *testing.T) {
		w := grown(t)
		w.must(policy.AwaitsApproval, policy.CodeAwaitsApproval, signal("a", 4, dns, pfxs("198.51.100.8/29")))
		if w.mitigation(2).End != policy.EndSuperseded || w.s.PendingCount() != 1 {
			t.Errorf("M2 ended %q, %d pending", w.mitigation(2).End, w.s.PendingCount())
		}
	})
}

// TestStepAwaits: a step that needs a second person is asked for once, and M1 stays at its step until then.
func TestStepAwaits(t *testing.T) {
	p := ladder()
	p.Quiet = 4 * time.Minute
	p.Ladder[1].Mode = policy.ModeApprove
	asked := func(t *testing.T) *world {
		w := asks(t, p)
		w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, dns, pfxs("198.51.100.7/32"), sure(0.9)))
		w.now = noon().Add(2 * time.Minute)
		d := w.as("member/n1").must(policy.Mitigated, policy.CodeEscalated, w.outlasts(0, 0.9))
		expectText(t, d.Verdict.Reason, "0 mitigations take the next step", "1 await approval")
		w.must(policy.Observed, policy.CodeNothingToDo, w.outlasts(0, 0.9))
		if m := w.mitigation(1); m.Step != 0 || m.Awaits.Kind != policy.AskStep || !m.Awaits.Until.Equal(noon().Add(17*time.Minute)) {
			t.Fatalf("step %d, awaits %+v", m.Step, m.Awaits)
		}
		return w
	}
	t.Run("approved", func(t *testing.T) {
		w := asked(t)
		d := w.as(bob).must(policy.Mitigated, policy.CodeApproved, approve(1))
		expectText(t, d.Verdict.Reason, "step 2 of 3", "discard")
		if m := w.mitigation(1); m.Step != 1 || m.Action.Kind != policy.Discard || m.Awaits.Kind != "" {
			t.Errorf("step %d, %s, awaits %+v", m.Step, m.Action, m.Awaits)
		}
		w.expectStory(1, policy.EventAsked, policy.EventApproved, policy.EventEscalated)
	})
	t.Run("nobody approves it", func(t *testing.T) {
		w := asked(t)
		w.now = noon().Add(17 * time.Minute)
		w.must(policy.Ended, policy.CodeExpired, &policy.ExpireRequest{})
		m := w.expectPhase(policy.Active, 2)
		if m.Awaits.Kind != "" || m.Blocked.Code != policy.CodeNotApproved {
			t.Fatalf("awaits %+v, blocked %+v", m.Awaits, m.Blocked)
		}
		w.must(policy.Observed, policy.CodeNothingToDo, w.outlasts(0, 0.9))
		w.as(detector).must(policy.Ended, policy.CodeAttackOver, end("a", 2))
		w.must(policy.Merged, policy.CodeRevived, signal("b", 1, dns, pfxs("198.51.100.7/32"), sure(0.9)))
		w.now = w.now.Add(2 * time.Minute)
		w.as("member/n1").must(policy.Mitigated, policy.CodeEscalated, w.outlasts(0, 0.9)) // a new pulse: asked anew
	})
	t.Run("rejected", func(t *testing.T) {
		w := asked(t)
		w.as(bob).must(policy.Ended, policy.CodeRejected, &policy.RejectRequest{Mitigation: 1})
		w.must(policy.Observed, policy.CodeNothingToDo, w.outlasts(0, 0.9))
		w.expectPhase(policy.Active, 2)
	})
	t.Run("the attack ends", func(t *testing.T) {
		w := asked(t)
		w.as(detector).must(policy.Ended, policy.CodeAttackOver, end("a", 2))
		if m := w.expectPhase(policy.Ending, 2); m.Awaits.Kind != "" {
			t.Errorf("awaits %+v", m.Awaits)
		}
	})
	t.Run("by its reach", func(t *testing.T) {
		q := ladder()
		w := asks(t, q, bounds(func(sg *policy.Safeguards) { sg.ApprovalAddresses = 1 }))
		w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, dns, pfxs("198.51.100.7/32"), sure(0.9)))
		w.now = noon().Add(2 * time.Minute)
		w.as("member/n1").must(policy.Mitigated, policy.CodeEscalated, w.outlasts(0, 0.9))
		expectText(t, w.mitigation(1).Awaits.Why, "1 addresses × 2 for discard are 2, above 1 (approval_addresses)")
	})
}

// TestRelaxAwaits: without a second person a mitigation ends from its step when its quiet time is over.
func TestRelaxAwaits(t *testing.T) {
	quieted := func(t *testing.T) *world {
		w := quiet(t, quietly(policy.RelaxApprove))
		w.now = noon().Add(2 * time.Minute)
		w.must(policy.Mitigated, policy.CodeEscalated, w.outlasts(0, 0.9))
		w.as(detector).must(policy.Ended, policy.CodeAttackOver, end("a", 2))
		if m := w.expectPhase(policy.Ending, 2); m.Awaits.Kind != policy.AskRelax || !m.Awaits.Until.Equal(m.EndsAt) {
			t.Fatalf("awaits %+v, ends at %s", m.Awaits, m.EndsAt)
		}
		return w
	}
	t.Run("approved", func(t *testing.T) {
		w := quieted(t)
		w.now = w.now.Add(time.Minute)
		w.as(bob).must(policy.Mitigated, policy.CodeApproved, approve(1))
		m := w.expectPhase(policy.Ending, 2)
		if m.Step != 0 || !m.EndsAt.Equal(w.now.Add(4*time.Minute)) || m.Awaits.Kind != "" {
			t.Errorf("step %d, ends at %s, awaits %+v", m.Step, m.EndsAt, m.Awaits)
		}
	})
	t.Run("nobody approves it", func(t *testing.T) {
		w := quieted(t)
		w.now = w.mitigation(1).EndsAt
		w.must(policy.Ended, policy.CodeExpired, &policy.ExpireRequest{})
		m := w.expectPhase(policy.Over, 0)
		if m.End != policy.EndAttackOver || !strings.Contains(m.EndNote, "nobody approved step 1 of 3") {
			t.Errorf("ended %s: %s", m.End, m.EndNote)
		}
	})
	t.Run("without a second person", func(t *testing.T) {
		w := quieted(t)
		w.as("operator/carol").must(policy.Refused, policy.CodeBreakGlassRefused, &policy.ApproveRequest{Mitigation: 1, BreakGlass: true})
	})
	t.Run("the attack comes back", func(t *testing.T) {
		w := quieted(t)
		w.must(policy.Merged, policy.CodeRevived, signal("a", 3, dns, pfxs("198.51.100.7/32"), sure(0.9)))
		if m := w.expectPhase(policy.Active, 2); m.Awaits.Kind != "" {
			t.Errorf("awaits %+v", m.Awaits)
		}
	})
}

// TestBlastRadius holds the table of docs/policies.md.
func TestBlastRadius(t *testing.T) {
	for _, row := range []struct {
		name   string
		pieces []netip.Prefix
		action policy.Action
		want   float64
	}{
		{"rate of a /24", pfxs("198.51.100.0/24"), policy.Action{Kind: policy.RateLimit}, 256},
		{"packets of a /24", pfxs("198.51.100.0/24"), policy.Action{Kind: policy.RateLimitPackets}, 256},
		{"discard of a /24", pfxs("198.51.100.0/24"), policy.Action{Kind: policy.Discard}, 512},
		{"redirect of a /24", pfxs("198.51.100.0/24"), policy.Action{Kind: policy.Redirect}, 512},
		{"redirect to an address", pfxs("198.51.100.0/25", "198.51.100.128/32"), policy.Action{Kind: policy.RedirectIP}, 258},
		{"copy", pfxs("198.51.100.0/24"), policy.Action{Kind: policy.RedirectIP, Copy: true}, 0},
		{"mark", pfxs("198.51.100.0/24"), policy.Action{Kind: policy.Mark}, 0},
		{"blackhole", pfxs("198.51.100.7/32"), policy.Action{Kind: policy.RTBH}, 4},
		{"discard of an IPv6 /48", pfxs("2001:db8:100::/48"), policy.Action{Kind: policy.Discard}, 131072},
		{"discard of an IPv6 address", pfxs("2001:db8:100::7/128"), policy.Action{Kind: policy.Discard}, 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := policy.BlastRadius(row.pieces, row.action); got != row.want {
				t.Errorf("got %v, want %v", got, row.want)
			}
		})
	}
}

// fromProtected is an order against packets from protected space.
func fromProtected(t testing.TB) *policy.StartRequest {
	t.Helper()
	r := discard("198.51.100.7/32")
	r.Match = match(t, "ipv4 src 192.0.2.53/32")
	return r
}

// TestProtectedSource: an operator's order against protected sources takes a second person, whatever the hurry; a policy's
// answer stays refused.
func TestProtectedSource(t *testing.T) {
	w := newWorld(t)
	d := w.must(policy.AwaitsApproval, policy.CodeAwaitsApproval, fromProtected(t))
	expectText(t, d.Verdict.Reason, "192.0.2.53/32", "resolvers", "somebody else than operator/alice")
	d = w.must(policy.AwaitsApproval, policy.CodeAwaitsApproval, fromProtected(t))
	expectText(t, d.Verdict.Reason, "M1 asks for exactly this already")
	hurried := fromProtected(t)
	hurried.BreakGlass = true
	w.must(policy.Refused, policy.CodeSourceProtected, hurried)
	w.must(policy.Refused, policy.CodeSourceProtected, &policy.ApproveRequest{Mitigation: 1, BreakGlass: true})
	w.must(policy.Refused, policy.CodeSecondPerson, approve(1))
	w.as(bob).must(policy.Mitigated, policy.CodeApproved, approve(1))
	w.expectPhase(policy.Active, 1)
	// A change of the block that holds the source, which leaves the protection of the source as it is, takes nothing away.
	w.as("admin/root").must(policy.Mitigated, policy.CodeApplied, &policy.ApplyRequest{Documents: []policy.Document{
		&policy.ProtectedBlock{Name: "resolvers", Kind: policy.BlockResolver, Prefixes: pfxs("192.0.2.53/32", "2001:db8:100:53::/64", "198.51.100.99/32")},
	}})
	w.expectPhase(policy.Active, 1)
	w.must(policy.Mitigated, policy.CodeApplied, &policy.ApplyRequest{Documents: []policy.Document{
		&policy.ProtectedBlock{Name: "more", Kind: policy.BlockResolver, Prefixes: pfxs("192.0.2.52/31")},
	}})
	w.expectPhase(policy.Over, 0)
	w.as(detector).must(policy.Refused, policy.CodeSourceProtected, signal("a", 1, dns, pfxs("198.51.100.7/32"), func(s *policy.Signal) {
		s.SourcePrefixes = pfxs("192.0.2.53/32")
	}))
}

// TestBreakGlass: nothing but the approval is passed, and not for long.
func TestBreakGlass(t *testing.T) {
	few := bounds(func(sg *policy.Safeguards) { sg.ApprovalAddresses, sg.BreakGlassLifetime = 2, 5*time.Minute })
	wide := func(breakGlass bool) *policy.StartRequest {
		r := discard("198.51.100.8/30")
		r.BreakGlass = breakGlass
		return r
	}
	w := newWorld(t, append(inventory(), few)...)
	w.must(policy.AwaitsApproval, policy.CodeAwaitsApproval, wide(false))
	before := w.s
	d := w.must(policy.Mitigated, policy.CodeBreakGlass, wide(true))
	expectText(t, d.Verdict.Reason, "nobody approved it", "approval_addresses")
	until := noon().Add(5 * time.Minute)
	m := w.mitigation(2)
	if m.Phase != policy.Active || !m.Expires.Equal(until) || !m.BreakGlassUntil.Equal(until) || w.s.UnapprovedCount() != 1 {
		t.Fatalf("%+v", m)
	}
	if ms, _ := w.s.PassedSince(before); len(ms) != 1 || ms[0].ID != 2 {
		t.Errorf("told of %v", ms)
	}
	if w.mitigation(1).End != policy.EndSuperseded {
		t.Errorf("the pending one ended %q", w.mitigation(1).End)
	}
	w.must(policy.Mitigated, policy.CodeExtended, &policy.ExtendRequest{ID: 2, Lifetime: 4 * time.Minute})
	w.must(policy.AwaitsApproval, policy.CodeAwaitsApproval, &policy.ExtendRequest{ID: 2, Lifetime: time.Hour})
	w.must(policy.Refused, policy.CodeBreakGlassRefused, &policy.ApproveRequest{Mitigation: 2, BreakGlass: true})
	w.must(policy.Refused, policy.CodeSecondPerson, approve(2))
	w.now = noon().Add(2 * time.Minute)
	w.as(bob).must(policy.Mitigated, policy.CodeApproved, approve(2))
	if m := w.mitigation(2); m.BreakGlass() || !m.Expires.Equal(w.now.Add(time.Hour)) || w.s.UnapprovedCount() != 0 {
		t.Errorf("expires %s, break-glass until %s", m.Expires, m.BreakGlassUntil)
	}
	w.expectStory(2, policy.EventBreakGlass, policy.EventExtended, policy.EventAsked, policy.EventApproved)
	// What needs no approval passes none, and what is protected stays so.
	small := discard("203.0.112.9/32")
	small.BreakGlass = true
	w.must(policy.Mitigated, policy.CodeStarted, small)
	if w.mitigation(3).BreakGlass() {
		t.Error("M3 passed no approval")
	}
	linked := discard("203.0.113.5/32")
	linked.BreakGlass = true
	w.must(policy.Refused, policy.CodeTargetProtected, linked)
}

// TestBreakGlassIsNotRenewed: an attack that goes on does not keep alive what nobody approved.
func TestBreakGlassIsNotRenewed(t *testing.T) {
	w := asks(t).as(detector)
	w.must(policy.AwaitsApproval, policy.CodeAwaitsApproval, signal("a", 1, dns, pfxs("198.51.100.7/32")))
	w.as("operator/carol").must(policy.Mitigated, policy.CodeBreakGlass, &policy.ApproveRequest{Mitigation: 1, BreakGlass: true})
	until := noon().Add(15 * time.Minute)
	w.now = noon().Add(12 * time.Minute)
	w.as("member/n1").must(policy.Observed, policy.CodeNothingToDo, &policy.RenewRequest{IDs: []policy.MitigationID{1}})
	w.as(detector).must(policy.Merged, policy.CodeMerged, signal("b", 1, dns, pfxs("198.51.100.7/32")))
	if m := w.mitigation(1); !m.Expires.Equal(until) {
		t.Errorf("expires %s, want %s", m.Expires, until)
	}
	w.now = until
	w.must(policy.Ended, policy.CodeExpired, &policy.ExpireRequest{})
	w.expectPhase(policy.Over, 0)
}

// TestWithdrawAllAwaits: many mitigations end only by two persons, and of them only those that there were.
func TestWithdrawAllAwaits(t *testing.T) {
	w := newWorld(t, append(inventory(), bounds(func(sg *policy.Safeguards) { sg.ApprovalWithdrawals = 2 }))...)
	for i := range 3 {
		w.must(policy.Mitigated, policy.CodeStarted, discard(fmt.Sprintf("198.51.100.%d/32", 10+i)))
	}
	w.must(policy.Mitigated, policy.CodeStarted, discard("192.0.2.9/32"))
	w.must(policy.Ended, policy.CodeWithdrawn, &policy.WithdrawAllRequest{Customer: "solo-c"})
	d := w.must(policy.AwaitsApproval, policy.CodeAwaitsApproval, &policy.WithdrawAllRequest{})
	expectText(t, d.Verdict.Reason, "A1", "3 active mitigations would end, above 2 (approval_withdrawals)")
	if d := w.must(policy.AwaitsApproval, policy.CodeAwaitsApproval, &policy.WithdrawAllRequest{}); d.Verdict.Approval != 1 {
		t.Errorf("asked again as A%d", d.Verdict.Approval)
	}
	w.must(policy.Mitigated, policy.CodeStarted, discard("198.51.100.20/32"))
	w.must(policy.Refused, policy.CodeSecondPerson, &policy.ApproveRequest{Order: 1})
	w.as(bob).must(policy.Ended, policy.CodeApproved, &policy.ApproveRequest{Order: 1})
	if w.s.ActiveCount() != 1 || w.mitigation(1).EndedBy != bob || w.mitigation(5).Phase != policy.Active {
		t.Errorf("%d active, M1 ended by %q", w.s.ActiveCount(), w.mitigation(1).EndedBy)
	}
	d = w.must(policy.Refused, policy.CodeApprovalOver, &policy.ApproveRequest{Order: 1})
	expectText(t, d.Verdict.Reason, "approved by approver/bob")
}

// TestSamePerson: who asked is no second person in another role either; the name tells people apart.
func TestSamePerson(t *testing.T) {
	docs := append(inventory(), bounds(func(sg *policy.Safeguards) { sg.ApprovalAddresses, sg.ApprovalWithdrawals = 2, 1 }))
	for _, row := range []struct {
		asks, approves policy.Principal
		same           bool
	}{
		{"operator/alice", "operator/alice", true},
		{"operator/alice", "approver/alice", true},
		{"operator/alice", "admin/alice", true},
		{"admin/alice", "approver/alice", true},
		{"operator/alice", "approver/alice2", false},
		{"operator/alice", "approver/bob", false},
		{"detector/alice", "approver/alice", false},
		{"member/alice", "approver/alice", false},
	} {
		t.Run(fmt.Sprintf("%s and %s", row.asks, row.approves), func(t *testing.T) {
			w := newWorld(t, docs...).as(row.asks)
			w.must(policy.AwaitsApproval, policy.CodeAwaitsApproval, discard("198.51.100.8/30"))
			for _, host := range []string{"198.51.100.20/32", "198.51.100.21/32"} {
				w.must(policy.Mitigated, policy.CodeStarted, discard(host))
			}
			w.must(policy.AwaitsApproval, policy.CodeAwaitsApproval, &policy.WithdrawAllRequest{})
			w.as(row.approves)
			if !row.same {
				w.must(policy.Mitigated, policy.CodeApproved, approve(1))
				w.must(policy.Ended, policy.CodeApproved, &policy.ApproveRequest{Order: 1})
				return
			}
			for _, r := range []*policy.ApproveRequest{approve(1), {Order: 1}} {
				expectText(t, w.must(policy.Refused, policy.CodeSecondPerson, r).Verdict.Reason, string(row.asks), "somebody of another name")
			}
			w.as("approver/bob").must(policy.Mitigated, policy.CodeApproved, approve(1))
		})
	}
}

func TestOrdersLapse(t *testing.T) {
	w := newWorld(t, append(inventory(), bounds(func(sg *policy.Safeguards) { sg.ApprovalWithdrawals, sg.ApprovalTimeout = 1, time.Minute }))...)
	for i := range 2 {
		w.must(policy.Mitigated, policy.CodeStarted, discard(fmt.Sprintf("198.51.100.%d/32", 10+i)))
	}
	w.must(policy.AwaitsApproval, policy.CodeAwaitsApproval, &policy.WithdrawAllRequest{})
	due, ok := w.s.NextDue()
	if want := noon().Add(time.Minute); !ok || !due.Equal(want) {
		t.Fatalf("due at %s, want %s", due, want)
	}
	w.now = due
	w.as(bob).must(policy.Refused, policy.CodeApprovalOver, &policy.ApproveRequest{Order: 1})
	w.must(policy.Ended, policy.CodeExpired, &policy.ExpireRequest{})
	if o, _ := w.s.Order(1); o.Status != policy.OrderLapsed {
		t.Errorf("%+v", o)
	}
	before := w.s
	w.as("operator/carol").must(policy.Ended, policy.CodeBreakGlass, &policy.WithdrawAllRequest{BreakGlass: true})
	if _, orders := w.s.PassedSince(before); len(orders) != 1 || orders[0].DecidedBy != "operator/carol" || w.s.ActiveCount() != 0 {
		t.Errorf("told of %v, %d active", orders, w.s.ActiveCount())
	}
}

// TestSweepingApplyAwaits: an apply that removes much is judged again when it is approved.
func TestSweepingApplyAwaits(t *testing.T) {
	base := without([]string{"uni-a", "lab-b", "solo-c"}, linked(20), bounds(func(sg *policy.Safeguards) { sg.ApprovalRemovals = 5 }))
	asked := func(t *testing.T) *world {
		w := newWorld(t, base...).as("admin/root")
		w.must(policy.Mitigated, policy.CodeApplied, &policy.ApplyRequest{Documents: []policy.Document{linked(15)}, AllowRemovals: 5})
		d := w.must(policy.AwaitsApproval, policy.CodeAwaitsApproval, &policy.ApplyRequest{Documents: []policy.Document{linked(4)}, AllowRemovals: 11})
		expectText(t, d.Verdict.Reason, "A1", "11 removals", "approval_removals")
		if w.s.LinkCount() != 15 || d.Plan == nil {
			t.Fatalf("%d links", w.s.LinkCount())
		}
		return w
	}
	t.Run("approved", func(t *testing.T) {
		w := asked(t)
		w.as("admin/second").must(policy.Mitigated, policy.CodeApproved, &policy.ApproveRequest{Order: 1})
		o, _ := w.s.Order(1)
		if w.s.LinkCount() != 4 || o.Status != policy.OrderApproved || len(o.Documents) != 0 {
			t.Errorf("%d links, %+v", w.s.LinkCount(), o)
		}
	})
	t.Run("less is left of it", func(t *testing.T) {
		w := asked(t)
		w.must(policy.Mitigated, policy.CodeApplied, &policy.ApplyRequest{Documents: []policy.Document{linked(12)}, AllowRemovals: 3})
		w.as(bob).must(policy.Mitigated, policy.CodeApproved, &policy.ApproveRequest{Order: 1})
		if w.s.LinkCount() != 4 {
			t.Errorf("%d links", w.s.LinkCount())
		}
	})
	t.Run("it would do more", func(t *testing.T) {
		w := asked(t)
		w.must(policy.Mitigated, policy.CodeApplied, &policy.ApplyRequest{Documents: []policy.Document{linked(20)}})
		d := w.as(bob).must(policy.Refused, policy.CodeApprovalChanged, &policy.ApproveRequest{Order: 1})
		expectText(t, d.Verdict.Reason, "16 links and protected prefixes removed, asked were 11")
		w.must(policy.Ended, policy.CodeRejected, &policy.RejectRequest{Order: 1})
		if w.s.LinkCount() != 20 {
			t.Errorf("%d links", w.s.LinkCount())
		}
	})
	t.Run("break-glass", func(t *testing.T) {
		w := asked(t)
		w.must(policy.Mitigated, policy.CodeBreakGlass, &policy.ApplyRequest{Documents: []policy.Document{linked(4)}, AllowRemovals: 11, BreakGlass: true})
		if w.s.LinkCount() != 4 {
			t.Errorf("%d links", w.s.LinkCount())
		}
		w.must(policy.Refused, policy.CodeRemovalsNeedNumber, &policy.ApplyRequest{Documents: []policy.Document{linked(1)}, BreakGlass: true})
	})
}

func TestOpenOrdersAreBounded(t *testing.T) {
	base := without([]string{"uni-a", "lab-b", "solo-c"}, linked(100), bounds(func(sg *policy.Safeguards) { sg.ApprovalRemovals = 1 }))
	w := newWorld(t, base...)
	for i := range policy.MaxOpenOrders {
		w.must(policy.AwaitsApproval, policy.CodeAwaitsApproval, &policy.ApplyRequest{Documents: []policy.Document{linked(i)}, AllowRemovals: 100 - i})
	}
	w.must(policy.Refused, policy.CodePendingLimit, &policy.ApplyRequest{Documents: []policy.Document{linked(50)}, AllowRemovals: 50})
}

// TestPropertyApproval lets detectors, operators, approvers and time do anything: nothing pending is announced, what awaits
// is bounded and lapses, and a State comes back from its records.
func TestPropertyApproval(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 7))
		p := quietly([]policy.Relax{policy.RelaxNever, policy.RelaxAuto, policy.RelaxApprove}[r.IntN(3)])
		p.Mode = []policy.Mode{policy.ModeAuto, policy.ModeApprove}[r.IntN(2)]
		for i := range p.Ladder {
			p.Ladder[i].Mode = []policy.Mode{policy.ModeAuto, policy.ModeApprove}[r.IntN(2)]
		}
		w := asks(t, p, bounds(func(sg *policy.Safeguards) {
			sg.ApprovalAddresses, sg.ApprovalWithdrawals, sg.ApprovalTimeout = 1+r.IntN(8), 1+r.IntN(4), 3*time.Minute
		}))
		for range 250 {
			w.now = w.now.Add(time.Duration(r.IntN(40)) * time.Second)
			w.as("member/n1").decide(&policy.ExpireRequest{})
			w.doSomething(r)
			w.checkApprovals(seed)
		}
		restored, err := policy.Restore(func(yield func(policy.Record, error) bool) {
			for rec := range w.s.Records() {
				if !yield(rec, nil) {
					return
				}
			}
		})
		if err != nil || restored.Digest() != w.s.Digest() || restored.AwaitingCount() != w.s.AwaitingCount() || restored.UnapprovedCount() != w.s.UnapprovedCount() {
			t.Fatalf("seed %d: another State came back: %v", seed, err)
		}
	}
}

// doSomething is one random request.
func (w *world) doSomething(r *rand.Rand) {
	id, attack := policy.MitigationID(1+r.IntN(int(w.s.NextID()))), fmt.Sprint("a", r.IntN(5))
	target := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(8 + 4*r.IntN(3))}), 30+r.IntN(3)).Masked()
	people := []policy.Principal{"operator/alice", "operator/carol", bob, "admin/root"}
	w.as(people[r.IntN(len(people))])
	switch r.IntN(12) {
	case 0, 1, 2, 3:
		w.as(detector).decide(signal(attack, uint64(w.index)+1, dns, []netip.Prefix{target}, sure(0.9)))
	case 4:
		w.as(detector).decide(end(attack, uint64(w.index)+1))
	case 5:
		w.decide(&policy.StartRequest{Targets: []netip.Prefix{target}, Action: policy.Action{Kind: policy.Discard}, BreakGlass: r.IntN(3) == 0})
	case 6, 7:
		w.decide(&policy.ApproveRequest{Mitigation: id, BreakGlass: r.IntN(4) == 0})
	case 8:
		w.decide(&policy.RejectRequest{Mitigation: id})
	case 9:
		w.as("member/n1").decide(&policy.EscalateRequest{Reports: []policy.AttackReport{{ID: id, At: w.now, Confidence: 0.9}}})
	case 10:
		w.decide(&policy.WithdrawAllRequest{BreakGlass: r.IntN(5) == 0})
	case 11:
		w.decide(&policy.ApproveRequest{Order: policy.ApprovalID(1 + r.IntN(3)), BreakGlass: r.IntN(4) == 0})
		w.decide(&policy.ExtendRequest{ID: id, Lifetime: time.Duration(1+r.IntN(60)) * time.Minute})
	}
}

func (w *world) checkApprovals(seed uint64) {
	w.t.Helper()
	owners := map[policy.MitigationID]bool{}
	for _, route := range w.s.Routes() {
		for _, id := range route.Owners {
			owners[id] = true
		}
	}
	for m := range w.s.Mitigations() {
		switch {
		case owners[m.ID] != m.Announced() && len(m.Rules) > 0:
			w.t.Fatalf("seed %d: M%d in phase %d owns a route: %t", seed, m.ID, m.Phase, owners[m.ID])
		case m.Phase == policy.Pending && (m.Awaits.Kind != policy.AskStart || m.Awaits.Until.After(w.now.Add(3*time.Minute)) || !m.Expires.Equal(m.Awaits.Until)):
			w.t.Fatalf("seed %d: M%d is pending and awaits %+v", seed, m.ID, m.Awaits)
		case m.BreakGlass() && m.Phase != policy.Over && m.Expires.After(m.BreakGlassUntil):
			w.t.Fatalf("seed %d: M%d, which nobody approved, lives until %s", seed, m.ID, m.Expires)
		case m.ApprovedBy != "" && slices.Contains([]policy.Principal{detector, "member/n1"}, m.ApprovedBy):
			w.t.Fatalf("seed %d: M%d was approved by %s", seed, m.ID, m.ApprovedBy)
		}
	}
	if got, want := len(w.s.Wanted(policy.WantedInput{}).Set.Routes), w.routes(); got < want {
		w.t.Fatalf("seed %d: %d routes wanted of %d", seed, got, want)
	}
}

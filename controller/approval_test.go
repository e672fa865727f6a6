package controller

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tidegate/tidegate/policy"
)

// asking is the inventory with a policy that asks for approval.
func asking(id policy.RequestID) Command {
	docs := inventory()
	docs[2] = &policy.Policy{Name: "all", Lifetime: 10 * time.Minute, Mode: policy.ModeApprove, Action: policy.Action{Kind: policy.Discard}}
	return Command{By: operator, Reason: "test", RequestID: id, Request: &policy.ApplyRequest{Documents: docs}}
}

// TestPendingOutlivesTheLeader: what awaits approval is there after an election, is announced by nobody, and is ended in time
// or approved at the new leader; what goes past an approval is counted on every node.
func TestPendingOutlivesTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 3, nil).start()
		defer cl.stop()
		l := cl.leader()
		l.write(asking("a"))
		begin := time.Now()
		for i, attack := range []string{"one", "two", "three"} {
			if v := l.report(signal("fnm", attack, 1, "203.0.113."+itoa(9+i)+"/32")); v[0].Kind != policy.AwaitsApproval {
				t.Fatalf("%+v", v)
			}
		}
		cl.level()
		cl.kill(l)
		now := cl.leader(l)
		for _, n := range cl.others(l) {
			if set, _ := n.speaker.get(); len(set.Routes) != 0 || n.c.State().PendingCount() != 3 {
				t.Errorf("%s announces %d rules, %d pending", n.id, len(set.Routes), n.c.State().PendingCount())
			}
		}
		now.write(Command{By: "approver/bob", Reason: "seen", RequestID: "b", Request: &policy.ApproveRequest{Mitigation: 1}})
		now.write(Command{By: operator, Reason: "nobody there", RequestID: "c", Request: &policy.ApproveRequest{Mitigation: 2, BreakGlass: true}})
		if v := now.report(signal("fnm", "one", 1, "203.0.113.9/32")); v[0].Kind != policy.Merged {
			t.Errorf("after the approval: %+v", v)
		}
		for _, n := range cl.others(l) {
			cl.wait("the rules", func() bool { set, _ := n.speaker.get(); return len(set.Routes) == 4 })
			if got := testutil.ToFloat64(n.c.metrics.breakGlass); got != 1 {
				t.Errorf("%s counted %v that went past an approval", n.id, got)
			}
		}
		time.Sleep(15*time.Minute - 10*time.Second - time.Since(begin))
		if n := now.c.State().PendingCount(); n != 1 {
			t.Errorf("%d pending before the time is over", n)
		}
		cl.wait("the end of what nobody approved", func() bool { return now.c.State().PendingCount() == 0 })
		if d := time.Since(begin); d < 15*time.Minute || d > 15*time.Minute+5*time.Second {
			t.Errorf("it ended after %s", d)
		}
		if m, _ := now.c.State().Mitigation(3); m.End != policy.EndNotApproved {
			t.Errorf("M3 ended %q", m.End)
		}
	})
}

// TestApprovalIsInformed: an approval is judged with what was reported in this term, in this batch or before it, and a preview
// asks the same.
func TestApprovalIsInformed(t *testing.T) {
	noon := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	term := newMemory()
	var heard hearsay
	term.told = heard.begin()
	b := &batch{memory: newMemory(), term: term}
	term.reported[1] = lastReport{at: noon}
	term.reported[2] = lastReport{at: noon}
	b.memory.reported[2] = lastReport{at: noon.Add(time.Minute), source: "flowmon", confidence: 0.5}
	for id, want := range map[policy.MitigationID]policy.AttackReport{
		1: {ID: 1, At: noon},
		2: {ID: 2, At: noon.Add(time.Minute), Source: "flowmon", Confidence: 0.5},
		3: {ID: 3},
	} {
		r, ok := b.informed(&policy.ApproveRequest{Mitigation: id}).(*policy.ApproveRequest)
		if !ok || r.Report == nil {
			t.Fatalf("M%d is approved without a report", id)
		}
		if diff := cmp.Diff(want, *r.Report); diff != "" {
			t.Errorf("M%d (-want +got):\n%s", id, diff)
		}
	}
	if r, ok := b.informed(&policy.ApproveRequest{Order: 1}).(*policy.ApproveRequest); !ok || r.Report != nil {
		t.Error("an order is informed")
	}
	term.merge(b.memory, noon.Add(time.Minute))
	if got := heard.last(2); !got.Equal(noon.Add(time.Minute)) || !heard.last(3).IsZero() {
		t.Errorf("told of M2 at %s, of M3 at %s", got, heard.last(3))
	}
	if heard.begin(); !heard.last(2).IsZero() {
		t.Error("a new term knows what the one before heard")
	}
}

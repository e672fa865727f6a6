package controller

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidegate/tidegate/policy"
)

// laddered is the inventory with a policy of two steps.
func laddered(id policy.RequestID) Command {
	docs := inventory()
	docs[2] = &policy.Policy{Name: "all", Lifetime: 10 * time.Minute, Ladder: []policy.Step{
		{Action: policy.Action{Kind: policy.RateLimit, Rate: 1e6}},
		{Action: policy.Action{Kind: policy.Discard}, After: 3 * time.Minute, MinConfidence: 0.5},
	}}
	return Command{By: operator, Reason: "test", RequestID: id, Request: &policy.ApplyRequest{Documents: docs}}
}

func (n *node) stepOf(id policy.MitigationID) int {
	n.t.Helper()
	m, ok := n.c.State().Mitigation(id)
	if !ok {
		n.t.Fatalf("%s knows no M%d", n.id, id)
	}
	return m.Step
}

// TestEscalation: the leader takes the next step by itself when it is due, once, and only for what is still reported.
func TestEscalation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 3, nil).start()
		defer cl.stop()
		l := cl.leader()
		l.write(laddered("a"))
		still, silent, unsure := signal("fnm", "still", 1, "203.0.113.9/32"), signal("fnm", "silent", 1, "203.0.113.10/32"), signal("fnm", "unsure", 1, "203.0.113.11/32")
		still.Confidence, silent.Confidence, unsure.Confidence = 0.9, 0.9, 0.4
		begin := time.Now()
		l.report(still, silent, unsure)
		for time.Since(begin) < 3*time.Minute-time.Second {
			time.Sleep(30 * time.Second)
			if time.Since(begin) < 3*time.Minute-time.Second && l.stepOf(1)+l.stepOf(2)+l.stepOf(3) != 0 {
				t.Fatalf("a step was taken after %s", time.Since(begin))
			}
			l.report(still, unsure)
		}
		cl.wait("the step", func() bool { return l.stepOf(1) == 1 })
		if d := time.Since(begin); d < 3*time.Minute || d > 3*time.Minute+3*time.Second {
			t.Errorf("the step was taken after %s", d)
		}
		time.Sleep(15 * time.Second)
		entries := l.entries()
		l.report(still, unsure)
		time.Sleep(25 * time.Second)           // it is asked for again, and nothing changes
		if n := l.entries() - entries; n > 1 { // a lease
			t.Errorf("%d entries while nothing happens", n)
		}
		m, _ := l.c.State().Mitigation(3)
		if l.stepOf(2) != 0 || m.Step != 0 || m.Blocked.Code != policy.CodeLowConfidence || len(m.History) != 1 {
			t.Errorf("M2 is at step %d, M3 at %d, blocked %+v, %d events", l.stepOf(2), m.Step, m.Blocked, len(m.History))
		}
		cl.level()
		for _, n := range cl.nodes {
			set, _ := n.speaker.get()
			discards := 0
			for _, r := range set.Routes {
				if r.Rule.Actions[0].Rate == 0 {
					discards++
				}
			}
			if one, _ := n.c.State().Mitigation(1); discards != len(one.Rules) {
				t.Errorf("%s announces %d discards, want %d", n.id, discards, len(one.Rules))
			}
		}
	})
}

// TestEscalationNeedsASignalInThisTerm: what the leader before has heard does not count.
func TestEscalationNeedsASignalInThisTerm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 3, nil).start()
		defer cl.stop()
		l := cl.leader()
		l.write(laddered("a"))
		sig := signal("fnm", "a", 1, "203.0.113.9/32")
		sig.Confidence = 0.9
		begin := time.Now()
		l.report(sig)
		time.Sleep(3*time.Minute - 5*time.Second)
		l.report(sig) // two seconds later it would be enough
		cl.kill(l)
		l2 := cl.leader(l)
		time.Sleep(time.Minute)
		if l2.stepOf(1) != 0 {
			t.Fatalf("a step was taken %s after the start by a leader that heard of nothing", time.Since(begin))
		}
		l2.report(sig)
		cl.wait("the step", func() bool { return l2.stepOf(1) == 1 })
	})
}

// TestQuietTimeEnds: the leader, and the one after it, end a quiet time by themselves when it is over, not before.
func TestQuietTimeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 3, nil).start()
		defer cl.stop()
		l := cl.leader()
		cmd := laddered("a")
		if apply, ok := cmd.Request.(*policy.ApplyRequest); ok {
			if p, ok := apply.Documents[2].(*policy.Policy); ok {
				p.Quiet = 2 * time.Minute
			}
		}
		l.write(cmd)
		phase := func(n *node) policy.Phase {
			m, _ := n.c.State().Mitigation(1)
			return m.Phase
		}
		for pulse := range uint64(2) {
			l.report(signal("fnm", "a", 2*pulse+1, "203.0.113.9/32"))
			over := signal("fnm", "a", 2*pulse+2, "203.0.113.9/32")
			over.Kind = policy.SignalEnd
			if v := l.report(over)[0]; v.Kind != policy.Ended || phase(l) != policy.Ending {
				t.Fatalf("phase %d: %+v", phase(l), v)
			}
			time.Sleep(time.Minute)
		}
		cl.level()
		cl.kill(l)
		l2 := cl.leader(l)
		time.Sleep(2*time.Minute + 50*time.Second) // the first pulse doubled it
		if p := phase(l2); p != policy.Ending {
			t.Fatalf("phase %d before the quiet time is over", p)
		}
		if set, _ := l2.speaker.get(); len(set.Routes) == 0 {
			t.Error("nothing is announced in the quiet time")
		}
		cl.wait("the end", func() bool { return phase(l2) == policy.Over })
		cl.wait("the withdrawal", func() bool { set, _ := l2.speaker.get(); return len(set.Routes) == 0 })
		if m, _ := l2.c.State().Mitigation(1); m.End != policy.EndAttackOver || m.EndedAt.Sub(m.EndsAt) > time.Second {
			t.Errorf("ended %q at %s, due at %s", m.End, m.EndedAt, m.EndsAt)
		}
	})
}

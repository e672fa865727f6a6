package controller

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/tidegate/tidegate/policy"
)

// inCluster runs f on a cluster of n nodes that has an inventory.
func inCluster(t *testing.T, n int, f func(t *testing.T, cl *cluster, l *node)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, n, nil).start()
		defer cl.stop()
		l := cl.leader()
		l.write(apply("a"))
		f(t, cl, l)
	})
}

// TestExpiredStaysExpired: what expired while nobody led is ended, not renewed, by whoever leads next.
func TestExpiredStaysExpired(t *testing.T) {
	t.Run("restart", func(t *testing.T) {
		inCluster(t, 1, func(t *testing.T, cl *cluster, l *node) {
			l.report(signal("fnm", "kept", 1, "203.0.113.9/32"))
			time.Sleep(time.Minute)
			cl.kill(l)
			time.Sleep(9 * time.Hour)
			cl.up(l)
			cl.leader()
			time.Sleep(5 * time.Second)
			if set, sets := l.speaker.get(); sets == 0 || len(set.Routes) != 0 {
				t.Errorf("%d rules are announced in Set %d, 9 h after a lifetime of 10 min", len(set.Routes), sets)
			}
			if m, _ := l.c.State().Mitigation(1); m.End != policy.EndExpired {
				t.Errorf("the mitigation ended as %q", m.End)
			}
		})
	})
	t.Run("no quorum", func(t *testing.T) {
		inCluster(t, 3, func(t *testing.T, cl *cluster, l *node) {
			l.report(signal("fnm", "kept", 1, "203.0.113.9/32"))
			time.Sleep(time.Minute)
			for _, n := range cl.nodes {
				cl.cut(n)
			}
			time.Sleep(40 * time.Minute)
			for _, n := range cl.nodes {
				cl.heal(n)
			}
			cl.leader()
			time.Sleep(5 * time.Second)
			for _, n := range cl.nodes {
				if set, _ := n.speaker.get(); len(set.Routes) != 0 {
					t.Errorf("%s announces %d rules 31 min after their lifetime", n.id, len(set.Routes))
				}
			}
		})
	})
}

// TestElectionsDoNotRenew: only a signal received in this term does.
func TestElectionsDoNotRenew(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, cl *cluster, l *node) {
		l.report(signal("fnm", "kept", 1, "203.0.113.9/32"), signal("fnm", "left", 1, "203.0.113.10/32"))
		for range 3 { // an election every 6 min; the lifetime is 10
			time.Sleep(6 * time.Minute)
			cl.kill(l)
			next := cl.leader()
			cl.up(l)
			l = next
			l.report(signal("fnm", "kept", 1, "203.0.113.9/32"))
			time.Sleep(2 * time.Second)
		}
		if m, _ := l.c.State().Mitigation(1); m.Phase != policy.Active {
			t.Errorf("what is still reported ended: %s", m.End)
		}
		m, _ := l.c.State().Mitigation(2)
		if m.End != policy.EndExpired || m.EndedAt.Sub(m.Created) > m.Lifetime+time.Second {
			t.Errorf("what was reported once ended as %q after %s", m.End, m.EndedAt.Sub(m.Created))
		}
	})
}

// TestLeaderChangeWithSkewedWallClock: the next leader continues the time of the one before, whatever its wall clock says.
func TestLeaderChangeWithSkewedWallClock(t *testing.T) {
	for name, skew := range map[string]time.Duration{"ahead": time.Hour, "behind": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			inCluster(t, 3, func(t *testing.T, cl *cluster, l *node) {
				l.write(start("203.0.113.9/32", "b"))
				before, at := l.c.State().At(), time.Now()
				time.Sleep(20 * time.Second)
				for _, o := range cl.others(l) {
					o.skew.Store(int64(skew))
				}
				cl.kill(l)
				n := cl.leader()
				n.write(start("203.0.113.10/32", "c"))
				if d := n.c.State().At().Sub(before) - time.Since(at); d > 0 || d < -200*time.Millisecond {
					t.Errorf("the time in the log is %s off", d)
				}
				if m, _ := n.c.State().Mitigation(1); m.Phase != policy.Active {
					t.Fatalf("%s, half a minute into 10", m.End)
				}
				time.Sleep(10*time.Minute - time.Since(at) + time.Second)
				if m, _ := n.c.State().Mitigation(1); m.End != policy.EndExpired {
					t.Errorf("still active a second after its lifetime, %q", m.End)
				}
			})
		})
	}
}

func TestFirstAnchor(t *testing.T) {
	day := func(year int) time.Time { return time.Date(year, 6, 1, 0, 0, 0, 0, time.UTC) }
	for _, row := range []struct {
		name             string
		last, wall, want time.Time
		credible         bool
	}{
		{"an empty log", time.Time{}, day(2026), day(2026), true},
		{"an outage", day(2026), day(2026).Add(9 * time.Hour), day(2026).Add(9 * time.Hour), true},
		{"behind", day(2026), day(2026).Add(-time.Hour), day(2026), true},
		{"a battery ran out", day(2026), day(1970), day(2026), false},
		{"far ahead", day(2026), day(2099), day(2026).Add(maxAhead), false},
		{"the log began with a wrong clock", day(1970), day(2026), day(2026), true},
	} {
		t.Run(row.name, func(t *testing.T) {
			if at, credible := firstAnchor(row.last, row.wall); !at.Equal(row.want) || credible != row.credible {
				t.Errorf("%s, %t; want %s, %t", at, credible, row.want, row.credible)
			}
		})
	}
}

// TestMergeUnderLongerLifetime: what the log promises is what every node announces.
func TestMergeUnderLongerLifetime(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, _ *cluster, l *node) {
		l.report(signal("fnm", "one", 1, "203.0.113.9/32"))
		docs := inventory()
		docs[2] = &policy.Policy{Name: "all", Action: policy.Action{Kind: policy.Discard}, Lifetime: time.Hour}
		l.write(Command{By: operator, Reason: "longer", RequestID: "c", Request: &policy.ApplyRequest{Documents: docs}})
		l.report(signal("fnm", "two", 1, "203.0.113.9/32"))
		time.Sleep(time.Second)
		m, _ := l.c.State().Mitigation(1)
		set, _ := l.speaker.get()
		left := time.Duration(set.Routes[0].NotAfter - l.speaker.elapsed())
		if d := left - m.Expires.Sub(l.c.State().At()); len(m.Causes) != 2 || left < 59*time.Minute || d.Abs() > 2*time.Second {
			t.Errorf("the speaker has %s left, the log %s, %d causes", left, m.Expires.Sub(l.c.State().At()), len(m.Causes))
		}
	})
}

// TestDeadlineWithinLifetime: a record may promise what it likes, no node announces it for longer than its lifetime.
func TestDeadlineWithinLifetime(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, _ *cluster, l *node) {
		out := l.write(start("203.0.113.9/32", "b"))
		m := *out.Decision.Mitigations[0]
		m.Lifetime = time.Minute // and 10 to go
		s := l.c.State()
		m.Expires = m.Expires.Add(time.Second) // another deadline than the one already taken
		if err := l.c.running.Load().raft.Apply(l.c.fsm.mustPack(t, s.Index(), s.At(), &policy.PutMitigation{Mitigation: &m}), 0).Error(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		set, _ := l.speaker.get()
		if left := time.Duration(set.Routes[0].NotAfter - l.speaker.elapsed()); left > time.Minute {
			t.Errorf("announced for %s, the lifetime is %s", left, m.Lifetime)
		}
	})
}

// TestSequenceNumbersSurviveByRenewal: the numbers of repetitions are not logged one by one, but with each renewal.
func TestSequenceNumbersSurviveByRenewal(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, cl *cluster, l *node) {
		l.report(signal("fnm", "one", 1, "203.0.113.9/32"))
		time.Sleep(6 * time.Minute)
		l.report(signal("fnm", "one", 9, "203.0.113.9/32"))
		time.Sleep(2 * time.Second)
		cl.kill(l)
		n := cl.leader()
		e := signal("fnm", "one", 5, "203.0.113.9/32")
		e.Kind = policy.SignalEnd
		if v := n.report(e)[0]; v.Reason.Code != policy.CodeStale {
			t.Errorf("an end older than an acknowledged update got %+v", v)
		}
		if v := n.report(signal("fnm", "one", 9, "203.0.113.9/32"))[0]; v.Reason.Code != policy.CodeRepetition {
			t.Errorf("the update again got %+v", v)
		}
		e.Seq = 10
		if v := n.report(e)[0]; v.Kind != policy.Ended {
			t.Errorf("the end got %+v", v)
		}
	})
}

// TestRetryOfWhatNeededNothing: a request id has one answer, also if that was that nothing needed to be done.
func TestRetryOfWhatNeededNothing(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, _ *cluster, l *node) {
		l.write(start("203.0.113.9/32", "b"))
		first := l.write(start("203.0.113.9/32", "c"))
		if v := first.Decision.Verdict; v.Reason.Code != policy.CodeAlreadyActive || first.Index != l.c.State().Index() {
			t.Fatalf("%+v at index %d of %d", v, first.Index, l.c.State().Index())
		}
		l.write(Command{By: operator, Reason: "wrong", RequestID: "d", Request: &policy.WithdrawRequest{ID: 1}})
		again := l.write(start("203.0.113.9/32", "c"))
		if !again.Repeated || again.Index != first.Index || again.Decision.Verdict != first.Decision.Verdict || l.c.State().ActiveCount() != 0 {
			t.Errorf("the retry got %+v at index %d, %d are active", again.Decision.Verdict, again.Index, l.c.State().ActiveCount())
		}
	})
}

// TestRefusalWithinBatchIsNotRemembered: it was given on a state that never was.
func TestRefusalWithinBatchIsNotRemembered(t *testing.T) {
	inCluster(t, 1, func(t *testing.T, _ *cluster, l *node) {
		docs := inventory()
		docs[0].(*policy.Customer).MaxMitigations = 1
		l.write(Command{By: operator, Reason: "q", RequestID: "q", Request: &policy.ApplyRequest{Documents: docs}})
		end := signal("fnm", "one", 2, "203.0.113.9/32")
		end.Kind = policy.SignalEnd
		two := signal("fnm", "two", 1, "203.0.113.10/32")
		two.Vector = policy.VectorNTPAmplification // or the two would go together
		if v := l.report(signal("fnm", "one", 1, "203.0.113.9/32"), two, end); v[1].Reason.Code != policy.CodeCustomerQuota {
			t.Fatalf("%+v", v)
		}
		if v := l.report(two); v[0].Kind != policy.Mitigated {
			t.Errorf("with the quota free again: %+v", v)
		}
	})
}

// TestExpiryBeforeRenewal: in one batch what is over ends, and what is reported goes on.
func TestExpiryBeforeRenewal(t *testing.T) {
	f := manyMitigations(t, 2)
	s := f.state.Load()
	m, _ := s.Mitigation(1)
	late := m.Expires
	cp := *m
	cp.ID, cp.Expires = 2, late.Add(time.Second)
	f.Apply(&raft.Log{Index: uint64(s.Index()) + 1, Data: f.mustPack(t, s.Index(), s.At(), &policy.PutMitigation{Mitigation: &cp})})
	b := newBatch(slog.New(slog.DiscardHandler), f.packer, f.state.Load(), late, newMemory())
	for _, r := range []policy.Request{&policy.RenewRequest{IDs: []policy.MitigationID{1, 2}}, &policy.ExpireRequest{}} {
		if err := b.own(Command{By: "member/n1", Request: r}); err != nil {
			t.Fatal(err)
		}
	}
	one, _ := b.state.Mitigation(1)
	two, _ := b.state.Mitigation(2)
	if one.End != policy.EndExpired || two.Phase != policy.Active || !two.Expires.Equal(late.Add(cp.Lifetime)) {
		t.Errorf("M1 %q, M2 until %s", one.End, two.Expires)
	}
}

package controller

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/policy"
)

// TestConduct: what is held against a detector, for how long, and what is not.
func TestConduct(t *testing.T) {
	limits := &policy.QuarantineThresholds{WrongTargets: 4, SeqConflicts: 3, TooFastMinutes: 3}
	wrong, right, conflict, fast := policy.CodeTargetProtected, policy.CodeMitigated, policy.CodeSeqConflict, policy.CodeStartRate
	at := func(after time.Duration) time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(after) }
	type noted struct {
		after time.Duration
		codes []policy.ReasonCode
	}
	for _, row := range []struct {
		name   string
		notes  []noted
		asked  time.Duration
		beyond bool
	}{
		{"nothing", nil, 0, false},
		{"wrong targets", []noted{{0, []policy.ReasonCode{wrong, wrong, wrong, right, wrong}}}, time.Second, true},
		{"too few", []noted{{0, []policy.ReasonCode{wrong, wrong, wrong}}}, time.Second, false},
		{"half of what it reports is right", []noted{{0, []policy.ReasonCode{wrong, wrong, wrong, wrong, right, right, right, right}}}, time.Second, false},
		{"over two halves of the window", []noted{{0, []policy.ReasonCode{wrong, wrong}}, {6 * time.Minute, []policy.ReasonCode{wrong, wrong}}}, 7 * time.Minute, true},
		{"too long ago", []noted{{0, []policy.ReasonCode{wrong, wrong}}, {11 * time.Minute, []policy.ReasonCode{wrong, wrong}}}, 11 * time.Minute, false},
		{"forgotten", []noted{{0, []policy.ReasonCode{wrong, wrong, wrong, wrong}}}, 10 * time.Minute, false},
		{"conflicts", []noted{{0, []policy.ReasonCode{conflict, right, right, right, right, conflict, conflict}}}, time.Second, true},
		{"too fast", []noted{{0, []policy.ReasonCode{fast, fast}}, {time.Minute, []policy.ReasonCode{fast}}, {2 * time.Minute, []policy.ReasonCode{fast}}}, 2 * time.Minute, true},
		{"too fast, with a break", []noted{{0, []policy.ReasonCode{fast}}, {time.Minute, []policy.ReasonCode{fast}}, {3 * time.Minute, []policy.ReasonCode{fast}}}, 3 * time.Minute, false},
		{"too fast, a while ago", []noted{{0, []policy.ReasonCode{fast}}, {time.Minute, []policy.ReasonCode{fast}}, {2 * time.Minute, []policy.ReasonCode{fast}}}, 4 * time.Minute, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			c := &conduct{began: at(0)}
			for _, n := range row.notes {
				for _, code := range n.codes {
					c.note(code, at(n.after))
				}
			}
			if why := c.beyond(limits, at(row.asked)); (why != "") != row.beyond {
				t.Errorf("got %q", why)
			}
			if why := c.beyond(&policy.QuarantineThresholds{}, at(row.asked)); why != "" {
				t.Errorf("without thresholds: %q", why)
			}
		})
	}
}

// TestWatchIsBounded: detectors beyond the bound are not watched, and those that behave are forgotten.
func TestWatchIsBounded(t *testing.T) {
	w, now := make(watch), time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for i := range maxWatched + 10 {
		w.note([]incident{{"d" + itoa(i), policy.CodeMitigated}}, now)
	}
	if len(w) != maxWatched {
		t.Errorf("%d are watched", len(w))
	}
	if cmds := w.due(policy.NewState(), now.Add(time.Hour)); len(cmds) != 0 || len(w) != 0 {
		t.Errorf("%d commands, and %d are still watched after an hour of silence", len(cmds), len(w))
	}
}

// TestQuarantineByItself: a detector that reports one protected address after the other is put into quarantine by the
// leader, without an entry for each of its signals; another detector is heard as ever, and the quarantine ends in time.
func TestQuarantineByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 3, nil).start()
		defer cl.stop()
		l := cl.leader()
		sg := policy.DefaultSafeguards()
		sg.Quarantine.WrongTargets, sg.Quarantine.Duration = 10, 30*time.Minute
		cmd := apply("a")
		cmd.Request = &policy.ApplyRequest{Documents: append(inventory(), sg)}
		l.write(cmd)
		mine := l.report(signal("mad", "before", 1, "203.0.113.9/32"))
		entries := l.entries()
		for i := range 12 {
			if v := l.report(signal("mad", "wrong-"+itoa(i), 1, "192.0.2."+itoa(i)+"/32")); v[0].Kind != policy.Refused {
				t.Fatalf("%+v", v)
			}
		}
		if n := l.entries() - entries; n > 1 {
			t.Errorf("%d entries for signals that are refused", n)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		q, ok := l.c.State().Quarantined("mad", l.c.State().At())
		if !ok || !q.Automatic || q.Until.Sub(q.Since) != 30*time.Minute {
			t.Fatalf("quarantine: %v, %+v", ok, q)
		}
		// Every node knows it: it survives the leader.
		cl.kill(l)
		l = cl.leader(l)
		before := l.entries()
		for seq := range uint64(50) {
			v := l.report(signal("mad", "before", seq+1, "203.0.113.9/32"))
			if v[0].Reason.Code != policy.CodeSourceQuarantined {
				t.Fatalf("sequence number %d: %+v", seq+1, v[0])
			}
		}
		if n := l.entries() - before; n > 2 {
			t.Errorf("%d entries for signals in quarantine", n)
		}
		if v := l.report(signal("fnm", "other", 1, "203.0.113.10/32")); v[0].Kind != policy.Mitigated {
			t.Errorf("another detector: %+v", v[0])
		}
		if m, _ := l.c.State().Mitigation(mine[0].Mitigation); m == nil || m.Phase != policy.Active {
			t.Errorf("what it started before: %+v", m)
		}
		time.Sleep(31 * time.Minute)
		synctest.Wait()
		if v := l.report(signal("mad", "after", 1, "203.0.113.11/32")); v[0].Kind != policy.Mitigated {
			t.Errorf("after the quarantine: %+v", v[0])
		}
	})
}

// TestQuarantineRenewsNothing: repetitions of a detector in quarantine, which the leader would answer from its memory, do
// not keep what they reported alive.
func TestQuarantineRenewsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 1, nil).start()
		defer cl.stop()
		l := cl.leader()
		l.write(apply("a"))
		sig := signal("mad", "x", 1, "203.0.113.9/32")
		first := l.report(sig)
		l.report(sig)
		l.write(Command{By: operator, Reason: "it lies", RequestID: "q", Request: &policy.QuarantineRequest{Source: "mad"}})
		m, _ := l.c.State().Mitigation(first[0].Mitigation)
		expires := m.Expires
		for range 70 {
			time.Sleep(m.Lifetime / 60)
			if v := l.report(sig); v[0].Reason.Code != policy.CodeSourceQuarantined {
				t.Fatalf("a repetition: %+v", v[0])
			}
		}
		synctest.Wait()
		m, _ = l.c.State().Mitigation(m.ID)
		if diff := cmp.Diff(expires, m.Expires); diff != "" || m.End != policy.EndExpired {
			t.Errorf("%s; expires (-want +got):\n%s", m.End, diff)
		}
	})
}

// TestFreezeEndsByItself: a freeze that is limited in time ends by an entry of the leader, and the same signal counts then.
func TestFreezeEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 1, nil).start()
		defer cl.stop()
		l := cl.leader()
		l.write(apply("a"))
		l.write(Command{By: operator, Reason: "review", RequestID: "f", Request: &policy.FreezeRequest{Duration: 10 * time.Minute}})
		sig := signal("fnm", "x", 1, "203.0.113.9/32")
		for range 2 {
			if v := l.report(sig); v[0].Reason.Code != policy.CodeFrozen {
				t.Fatalf("%+v", v[0])
			}
		}
		time.Sleep(10*time.Minute + time.Second)
		synctest.Wait()
		if _, frozen := l.c.State().Frozen(); frozen {
			t.Error("still frozen")
		}
		if v := l.report(sig); v[0].Kind != policy.Mitigated {
			t.Errorf("after the freeze: %+v", v[0])
		}
	})
}

package controller

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/policy"
)

func TestWriteReachesEverySpeaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 3, nil).start()
		defer cl.stop()
		l := cl.leader()
		l.write(apply("a"))
		out := l.write(start("203.0.113.9/32", "b"))
		if len(out.Decision.Mitigations) != 1 || out.Index == 0 || out.Decision.Mitigations[0].Changed != out.Index {
			t.Fatalf("outcome %+v", out)
		}
		cl.level()
		time.Sleep(time.Second)
		first, _ := l.speaker.get()
		if len(first.Routes) != 1 || len(first.Routers) != 1 || len(first.Protected) == 0 {
			t.Fatalf("the leader's speaker has %+v", first)
		}
		for _, n := range cl.others(l) {
			set, _ := n.speaker.get()
			set.LeaseUntil, set.Routes[0].NotAfter = first.LeaseUntil, first.Routes[0].NotAfter // clocks of different nodes
			if diff := cmp.Diff(first, set, cmp.Comparer(func(a, b flowspec.Rule) bool { return a.Equal(b) }), cmpNetip()); diff != "" {
				t.Errorf("%s differs from the leader (-want +got):\n%s", n.id, diff)
			}
			if _, err := n.c.Write(t.Context(), start("203.0.113.10/32", "c")); !isNotLeader(err, l.id) {
				t.Errorf("a follower answered a write with %v", err)
			}
		}
		if err := l.c.Barrier(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func isNotLeader(err error, id string) bool {
	var nl *NotLeaderError
	return errors.As(err, &nl) && nl.Known && nl.Leader.ID == id
}

func TestLeaderPartitionedOutcomeUnknownThenOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 3, nil).start()
		defer cl.stop()
		l := cl.leader()
		l.write(apply("a"))
		cl.cut(l)
		_, err := l.c.Write(context.Background(), start("203.0.113.9/32", "same"))
		if !errors.Is(err, ErrOutcomeUnknown) {
			t.Fatalf("got %v, want outcome unknown", err)
		}
		l2 := cl.leader(l)
		first := l2.write(start("203.0.113.9/32", "same"))
		cl.heal(l)
		again := l2.write(start("203.0.113.9/32", "same"))
		if !again.Repeated || again.Index != first.Index || len(again.Decision.Mitigations) != 1 {
			t.Errorf("the repetition was answered with %+v", again)
		}
		cl.level()
		if n := l.c.State().ActiveCount(); n != 1 {
			t.Errorf("%d mitigations are active on the old leader, want 1", n)
		}
	})
}

// TestRequestIDs also covers repetitions within one batch: all calls below wait together.
func TestRequestIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 1, nil).start()
		defer cl.stop()
		l := cl.leader()
		l.write(apply("a"))
		before := l.entries()
		outs := make(chan Outcome, 5)
		for range 5 {
			go func() { outs <- l.write(start("203.0.113.9/32", "same")) }()
		}
		var index policy.Index
		repeats := 0
		for range 5 {
			out := <-outs
			if out.Repeated {
				repeats++
			}
			if index != 0 && out.Index != index {
				t.Errorf("index %d and %d for one request", index, out.Index)
			}
			index = out.Index
		}
		if repeats != 4 || l.c.State().ActiveCount() != 1 {
			t.Errorf("%d repetitions of 4, %d mitigations", repeats, l.c.State().ActiveCount())
		}
		if got := l.entries() - before; got != 1 {
			t.Errorf("%d log entries, want 1", got)
		}
		out, err := l.c.Write(t.Context(), start("203.0.113.10/32", "same"))
		if err != nil || out.Decision.Verdict.Reason.Code != policy.CodeRequestIDReused {
			t.Errorf("another request under the same id: %+v, %v", out.Decision.Verdict, err)
		}
	})
}

func TestDecisionWithoutChangeCostsNoEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 1, nil).start()
		defer cl.stop()
		l := cl.leader()
		l.write(apply("a"))
		before := l.entries()
		for range 10 {
			l.write(apply(""))
			if v := l.report(signal("fnm", "x", 1, "198.51.100.1/32")); v[0].Kind != policy.Refused {
				t.Fatalf("a target nobody owns got %+v", v[0])
			}
		}
		if got := l.entries() - before; got != 0 {
			t.Errorf("%d entries for decisions that change nothing", got)
		}
	})
}

func TestBatchIsOneEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 3, nil).start()
		defer cl.stop()
		l := cl.leader()
		l.write(apply("a"))
		before := l.entries()
		var sigs []policy.Signal
		for i := range 50 {
			sigs = append(sigs, signal("fnm", string(rune('A'+i)), 1, "203.0.113."+itoa(10+i)+"/32"))
		}
		for i, v := range l.report(sigs...) {
			if v.Kind != policy.Mitigated {
				t.Fatalf("signal %d got %+v", i, v)
			}
		}
		if got := l.entries() - before; got != 1 {
			t.Errorf("50 signals of one report became %d entries, want 1", got)
		}
	})
}

func TestSignalsThroughElections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 3, nil).start()
		defer cl.stop()
		l := cl.leader()
		l.write(apply("a"))
		s := signal("fnm", "dns", 5, "203.0.113.9/32")
		v := l.report(s)[0]
		if v.Kind != policy.Mitigated {
			t.Fatalf("got %+v", v)
		}
		id := v.Mitigation
		for range 3 {
			cl.cut(l)
			old := l
			l = cl.leader(old)
			cl.heal(old)
			for range 3 { // the first is judged by the state, the others come from memory
				if v := l.report(s)[0]; v.Kind != policy.Merged || v.Mitigation != id {
					t.Errorf("repetition got %+v", v)
				}
			}
			other := s
			other.BitsPerSecond = 2e9
			if v := l.report(other)[0]; v.Reason.Code != policy.CodeSeqConflict {
				t.Errorf("another body under the same number got %+v", v)
			}
			older := s
			older.Seq = 4
			if v := l.report(older)[0]; v.Reason.Code != policy.CodeStale {
				t.Errorf("an older number got %+v", v)
			}
		}
		cl.level()
		if n := l.c.State().ActiveCount(); n != 1 {
			t.Errorf("%d mitigations, want 1", n)
		}
		end := s
		end.Seq, end.Kind = 6, policy.SignalEnd
		if v := l.report(end)[0]; v.Kind != policy.Ended {
			t.Errorf("the end got %+v", v)
		}
		if n := l.c.State().ActiveCount(); n != 0 {
			t.Errorf("%d mitigations after the end, want 0", n)
		}
	})
}

// TestSequenceNumbersOfRefusedSignals: nothing of these signals is in the log, and the numbers bind nevertheless.
func TestSequenceNumbersOfRefusedSignals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 1, nil).start()
		defer cl.stop()
		l := cl.leader()
		s := signal("fnm", "x", 7, "198.51.100.1/32")
		if v := l.report(s)[0]; v.Kind != policy.Refused {
			t.Fatalf("got %+v", v)
		}
		other := s
		other.BitsPerSecond++
		if v := l.report(other)[0]; v.Reason.Code != policy.CodeSeqConflict {
			t.Errorf("another body: %+v", v)
		}
		older := s
		older.Seq--
		if v := l.report(older)[0]; v.Reason.Code != policy.CodeStale {
			t.Errorf("older: %+v", v)
		}
		// The inventory changes, and the very same signal deserves a new judgement.
		docs := inventory()
		docs[0].(*policy.Customer).Official[0] = pfx("198.51.100.0/24")
		docs[0].(*policy.Customer).Links = nil
		l.write(Command{By: operator, Request: &policy.ApplyRequest{Documents: docs}})
		if v := l.report(s)[0]; v.Kind != policy.Mitigated {
			t.Errorf("after the inventory changed: %+v", v)
		}
	})
}

func TestExpiryThroughTheLogAndDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 3, nil).start()
		defer cl.stop()
		cl.nodes[1].skew.Store(int64(3 * time.Hour)) // wall clocks do not matter
		cl.nodes[2].skew.Store(int64(-3 * time.Hour))
		l := cl.leader()
		l.write(apply("a"))
		at := time.Now()
		m := l.write(start("203.0.113.9/32", "b")).Decision.Mitigations[0]
		time.Sleep(time.Second)
		for _, n := range cl.nodes {
			set, _ := n.speaker.get()
			if len(set.Routes) != 1 {
				t.Fatalf("%s announces %d rules", n.id, len(set.Routes))
			}
			left := time.Duration(set.Routes[0].NotAfter-n.speaker.elapsed()) - (10*time.Minute - time.Since(at))
			if left.Abs() > 200*time.Millisecond {
				t.Errorf("%s: the deadline is %s off", n.id, left)
			}
		}
		time.Sleep(10*time.Minute - time.Since(at) + 500*time.Millisecond)
		for _, n := range cl.nodes {
			set, _ := n.speaker.get()
			got, _ := n.c.State().Mitigation(m.ID)
			if len(set.Routes) != 0 || got.Phase != policy.Over || got.End != policy.EndExpired {
				t.Errorf("%s after the lifetime: %d rules, %s", n.id, len(set.Routes), got.End)
			}
		}
	})
}

func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 3, nil).start()
		defer cl.stop()
		l := cl.leader()
		l.write(apply("a"))
		kept, left := signal("fnm", "kept", 1, "203.0.113.9/32"), signal("fnm", "left", 1, "203.0.113.10/32")
		l.report(kept, left)
		before := l.entries()
		for range 40 { // 20 minutes of an attack that is reported every 30 s; the lifetime is 10
			time.Sleep(30 * time.Second)
			l.report(kept)
		}
		s := l.c.State()
		if n := s.ActiveCount(); n != 1 {
			t.Errorf("%d mitigations are active, want the one that is still reported", n)
		}
		leases := int(20 * time.Minute / (30 * time.Second))
		if got := l.entries() - before - leases; got < 3 || got > 8 {
			t.Errorf("%d entries beyond the leases in 20 minutes: renewals belong at half time", got)
		}
	})
}

func TestLeaseOnlyWithLiveLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 3, func(c *Config) { c.Lease = 10 * time.Minute }).start()
		defer cl.stop()
		l := cl.leader()
		l.write(apply("a"))
		l.write(start("203.0.113.9/32", "b"))
		time.Sleep(5 * time.Minute)
		for _, n := range cl.nodes {
			if got := n.c.Status().LeaseRemaining; got < 9*time.Minute || got > 10*time.Minute {
				t.Errorf("%s with a leader has a lease for %s", n.id, got)
			}
		}
		// Nobody has a quorum from here on.
		for _, n := range cl.nodes {
			cl.cut(n)
		}
		set, _ := cl.nodes[0].speaker.get()
		time.Sleep(5 * time.Minute)
		for _, n := range cl.nodes {
			if got := n.c.Status().LeaseRemaining; got > 5*time.Minute+time.Second {
				t.Errorf("%s alone has a lease for %s", n.id, got)
			}
		}
		if now, _ := cl.nodes[0].speaker.get(); now.LeaseUntil != set.LeaseUntil {
			t.Error("the lease was extended without a leader")
		}
		for _, n := range cl.nodes {
			cl.heal(n)
		}
		cl.leader()
		time.Sleep(time.Second)
		for _, n := range cl.nodes {
			if got := n.c.Status().LeaseRemaining; got < 9*time.Minute {
				t.Errorf("%s has a lease for %s after the cluster is whole again", n.id, got)
			}
		}
	})
}

func TestLoneRestartedNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 3, nil).start()
		defer cl.stop()
		l := cl.leader()
		l.write(apply("a"))
		l.write(start("203.0.113.9/32", "b"))
		time.Sleep(time.Minute) // leases carry the commit index to the disk
		digest := l.c.State().Digest()
		for _, n := range cl.nodes {
			cl.kill(n)
		}
		n := cl.nodes[0]
		cl.up(n)
		time.Sleep(10 * time.Minute)
		if n.c.State().ActiveCount() != 1 {
			t.Error("the node does not know its state")
		}
		if _, sets := n.speaker.get(); sets != 0 || n.c.Status().CaughtUp {
			t.Errorf("the node fed its speaker %d times without a leader", sets)
		}
		// The others come back, one of them knows more, and the speakers are fed at once.
		cl.up(cl.nodes[1])
		cl.up(cl.nodes[2])
		cl.leader()
		cl.wait("speakers to be fed", func() bool {
			for _, n := range cl.nodes {
				if _, sets := n.speaker.get(); sets == 0 {
					return false
				}
			}
			return true
		})
		cl.level()
		if n.c.State().Digest() == digest {
			t.Error("the mitigation did not expire while everybody was down")
		}
	})
}

// TestRestartedFollowerSpeaksSoon: it need not wait for the next regular lease, and it is fed nothing stale before.
func TestRestartedFollowerSpeaksSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 3, nil).start()
		defer cl.stop()
		l := cl.leader()
		l.write(apply("a"))
		n := cl.others(l)[0]
		cl.kill(n)
		for i := range 200 { // more than one AppendEntries request carries
			l.write(start("203.0.113."+itoa(10+i)+"/32", ""))
		}
		time.Sleep(5 * time.Second)
		at := time.Now()
		cl.up(n)
		cl.wait("the speaker to be fed", func() bool { _, sets := n.speaker.get(); return sets > 0 })
		if d := time.Since(at); d > 5*time.Second {
			t.Errorf("it took %s", d)
		}
		if set, sets := n.speaker.get(); sets != 1 || len(set.Routes) != 200 {
			t.Errorf("Set number %d had %d rules, want the first with all 200", sets, len(set.Routes))
		}
	})
}

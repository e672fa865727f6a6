package controller

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/policy"
)

// hungDisk is a store whose writes, once it hangs, return when it is released.
type hungDisk struct {
	LogStore
	raft.StableStore
	hangs    atomic.Bool
	released chan struct{}
}

func (h *hungDisk) wait() {
	if h.hangs.Load() {
		<-h.released
	}
}

func (h *hungDisk) StoreLogs(logs []*raft.Log) error {
	h.wait()
	return h.LogStore.StoreLogs(logs)
}

func (h *hungDisk) Set(key, value []byte) error {
	h.wait()
	return h.StableStore.Set(key, value)
}

// TestHungDiskEndsTheLeader: raft alone would leave it the leader for ever, because its heartbeats go on. Nobody but the
// watchdog tells the others that it is gone, and they write again within 15 s after the disk began to hang, whether
// somebody writes just then or nobody does.
func TestHungDiskEndsTheLeader(t *testing.T) {
	for name, busy := range map[string]bool{"while it writes": true, "while nobody writes": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { hangLeader(t, busy) })
		})
	}
}

func hangLeader(t *testing.T, busy bool) {
	disks := map[*node]*hungDisk{}
	cl := newCluster(t, 3, nil)
	for _, n := range cl.nodes {
		n.wrap = func(s LogStore) LogStore {
			disks[n] = &hungDisk{LogStore: s, StableStore: n.store, released: make(chan struct{})}
			return disks[n]
		}
	}
	cl.start()
	defer cl.stop()
	l := cl.leader()
	l.write(apply("a"))
	time.Sleep(5 * time.Second)
	if n := l.entries(); n > 3 {
		t.Errorf("looking after the disk wrote entries: the log has %d", n)
	}
	disks[l].hangs.Store(true)
	defer close(disks[l].released)
	at := time.Now()
	if busy {
		_, err := l.c.Write(context.Background(), start("203.0.113.9/32", "b"))
		if !errors.Is(err, ErrOutcomeUnknown) || !errors.Is(err, ErrStalled) {
			t.Errorf("the write ended with: %v", err)
		}
	}
	next := cl.leader(l)
	next.write(start("203.0.113.9/32", "b"))
	if gap := time.Since(at); gap > 15*time.Second {
		t.Errorf("the next write was done %s after the disk hung, want 15 s at most", gap)
	} else {
		t.Logf("the next write was done %s after the disk hung", gap)
	}
	if n := next.c.State().ActiveCount(); n != 1 {
		t.Errorf("%d mitigations are active, want 1", n)
	}
	select {
	case err := <-l.ended:
		if !errors.Is(err, ErrStalled) {
			t.Errorf("Run ended with: %v", err)
		}
	case <-time.After(15 * time.Second):
		t.Fatalf("Run goes on after %s", time.Since(at))
	}
	l.c = nil // its process is gone
	cl.cut(l)
}

// TestReturningNodeDeposesNobody: a node that was alone for minutes comes back without an election, as it asks for
// pre-votes first and is given none.
func TestReturningNodeDeposesNobody(t *testing.T) {
	inCluster(t, 3, func(t *testing.T, cl *cluster, l *node) {
		term := l.c.Status().Term
		away := cl.others(l)[0]
		for range 3 {
			cl.cut(away)
			time.Sleep(time.Minute)
			cl.heal(away)
			time.Sleep(10 * time.Second)
		}
		if st := l.c.Status(); st.Term != term || !st.Leader {
			t.Errorf("term %d became %d, leader %v", term, st.Term, st.Leader)
		}
		l.write(start("203.0.113.9/32", "b"))
		cl.level()
	})
}

// TestLeaderLostOnTheWay: a signal that was being judged when the leader lost its quorum may be sent again.
func TestLeaderLostOnTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 3, nil).start()
		defer cl.stop()
		l := cl.leader()
		l.write(apply("a"))
		cl.cut(l)
		s := signal("fnm", "x", 1, "203.0.113.9/32")
		if v := l.report(s)[0]; v.Kind != policy.Retry || v.Reason.Code != policy.CodeLeaderLost || v.RetryAfter <= 0 {
			t.Errorf("got %+v", v)
		}
		if v := cl.leader(l).report(s)[0]; v.Kind != policy.Mitigated {
			t.Errorf("sent again: %+v", v)
		}
	})
}

// TestHandover: when the owner of a key ends, the next one's action is with the speaker before the speaker would by
// itself withdraw the old one, on nodes with a leader and on those that are cut off.
func TestHandover(t *testing.T) {
	for name, cut := range map[string]bool{"with a leader": false, "cut off": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cl := newCluster(t, 3, nil).start()
				defer cl.stop()
				l := cl.leader()
				l.write(apply("a"))
				order := func(a policy.Action, life time.Duration) {
					cmd := start("203.0.113.9/32", "")
					req, _ := cmd.Request.(*policy.StartRequest)
					req.Action, req.Lifetime = a, life
					l.write(cmd)
				}
				order(policy.Action{Kind: policy.RateLimit, Rate: 1e6}, 10*time.Minute)
				order(policy.Action{Kind: policy.Discard}, 2*time.Minute)
				cl.level()
				time.Sleep(time.Second)
				past := make([][]pastSet, len(cl.nodes))
				for i, n := range cl.nodes {
					n.speaker.mu.Lock()
					n.speaker.past = &past[i]
					past[i] = []pastSet{{n.speaker.elapsed(), n.speaker.set}}
					n.speaker.mu.Unlock()
					if cut {
						cl.cut(n)
					}
				}
				time.Sleep(3 * time.Minute)
				for i, n := range cl.nodes {
					n.speaker.mu.Lock()
					n.speaker.past = nil
					n.speaker.mu.Unlock()
					checkHandover(t, n.id, past[i])
				}
			})
		})
	}
}

func checkHandover(t *testing.T, id string, past []pastSet) {
	t.Helper()
	passed := func(p pastSet) bool { return slices.Contains(p.set.Routes[0].Rule.Actions, flowspec.RateLimit(1e6)) }
	for i, p := range past {
		if len(p.set.Routes) != 1 {
			t.Fatalf("%s: Set %d at %d has %d routes, want one", id, i, p.at, len(p.set.Routes))
		}
		if i == 0 {
			continue
		}
		before := past[i-1].set.Routes[0].NotAfter
		if p.at >= before {
			t.Errorf("%s: the rule was withdrawn %s before the next Set", id, time.Duration(p.at-before))
		}
		if early := before - p.at; passed(p) && !passed(past[i-1]) && early > handoverLead {
			t.Errorf("%s: the key passed on %s early", id, time.Duration(early))
		}
	}
	if passed(past[0]) || !passed(past[len(past)-1]) {
		t.Errorf("%s: the key did not pass from the discard to the rate limit in %d Sets", id, len(past))
	}
}

// TestMembersChangedInTheFile: raft goes on with the members that are stored, and the node says so.
func TestMembersChangedInTheFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 3, nil).start()
		defer cl.stop()
		cl.leader().write(apply("a"))
		n := cl.nodes[0]
		for _, n := range cl.nodes {
			if d := n.c.Status().Detail; d != "" {
				t.Errorf("%s: %q in a cluster as configured", n.id, d)
			}
		}
		cl.kill(n)
		var logged bytes.Buffer
		n.log = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelWarn}))
		n.cfg.Members = []Member{{ID: "n1", RaftAddress: "raft-n1"}, {ID: "n2", RaftAddress: "elsewhere"}, {ID: "n4", RaftAddress: "raft-n4"}}
		cl.up(n)
		cl.level()
		want := `the configured members differ from those stored in the data directory, which hold: ` +
			`"n2" has raft address "elsewhere" in the configuration, stored is "raft-n2"; "n4" is configured and not stored; ` +
			`"n3" at "raft-n3" is stored and not configured`
		if diff := cmp.Diff(want, n.c.Status().Detail); diff != "" {
			t.Errorf("detail (-want +got):\n%s", diff)
		}
		if !n.c.Status().Serving {
			t.Error("the node does not serve")
		}
		n.stop() // so that nobody writes to the log any more
		n.trans = nil
		if text := logged.String(); strings.Count(text, "n4") != 1 || !strings.Contains(text, "level=WARN") {
			t.Errorf("logged: %s", text)
		}
	})
}

// TestSingleNodeNeedsNoNetwork: without other members nothing has to be given for raft to talk over.
func TestSingleNodeNeedsNoNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := time.Now()
		elapsed := func() wanted.Instant { return wanted.Instant(time.Since(base)) }
		store := raft.NewInmemCommitTrackingStore()
		c, err := New(Config{NodeID: "n1", Members: []Member{{ID: "n1", RaftAddress: "n1"}}}, Deps{
			Elapsed: elapsed, Now: time.Now, Speaker: &fakeSpeaker{elapsed: elapsed},
			Stores: &Stores{Log: store, Stable: store, Snapshots: raft.NewInmemSnapshotStore()},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- c.Run(ctx) }()
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			if c.Status().Leader {
				break
			}
		}
		if _, err := c.Write(t.Context(), apply("a")); err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute) // raft leaves goroutines behind that end with their timeouts
	})
}

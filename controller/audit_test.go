package controller

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidegate/tidegate/policy"
)

// TestAuditIsTheSameOnEveryNode: whatever a node lived through (a restart, a snapshot of another node), it holds the
// same chain, from the first entry of the cluster on, and each write has its record.
func TestAuditIsTheSameOnEveryNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 3, func(c *Config) { c.SnapshotEvery = 16 }).start()
		defer cl.stop()
		l := cl.leader()
		first, begun := l.c.State().AuditHead()
		if !begun {
			l.write(apply("a"))
			first, begun = l.c.State().AuditHead()
		}
		if !begun || first == nil {
			t.Fatal("a new cluster has no audit chain")
		}
		l.write(apply("b"))
		away := cl.others(l)[0]
		cl.kill(away)
		for i := range 200 {
			l.write(start("203.0.113."+itoa(i+10)+"/32", policy.RequestID("r"+itoa(i))))
			time.Sleep(time.Second)
		}
		r := cl.leader().c.running.Load().raft
		if err := r.Snapshot().Error(); err != nil {
			t.Fatal(err)
		}
		cl.up(away)
		cl.level()
		want, _ := cl.leader().c.State().AuditHead()
		for _, n := range cl.nodes {
			s := n.c.State()
			got, _ := s.AuditHead()
			if got == nil || got.Hash != want.Hash || got.Seq != want.Seq {
				t.Fatalf("%s is at %+v, want %+v", n.id, got, want)
			}
			var prev *policy.AuditRecord
			byRequest := map[policy.RequestID]int{}
			for r := range s.AuditFrom(0) {
				if !r.Follows(prev) || r.Hash != r.Sum() {
					t.Fatalf("%s: record %+v does not follow %+v", n.id, r, prev)
				}
				prev = r
				byRequest[r.RequestID]++
			}
			for i := range 200 {
				if n := byRequest[policy.RequestID("r"+itoa(i))]; n != 1 {
					t.Errorf("write r%d has %d records", i, n)
				}
			}
		}
	})
}

// TestOldClusterBeginsOnDemand: a log from before the chain has none, and gets one when it is asked for.
func TestOldClusterBeginsOnDemand(t *testing.T) {
	f := testFSM(t)
	x := &fixture{t: t, f: f}
	x.add(&policy.PutLease{})
	if _, begun := f.state.Load().AuditHead(); begun {
		t.Fatal("an old log has a chain")
	}
	x.decide(&policy.BeginAuditRequest{})
	x.add(&policy.PutLease{})
	head, _ := f.state.Load().AuditHead()
	if head == nil || head.Seq != 2 || head.By != operator {
		t.Errorf("got %+v", head)
	}
}

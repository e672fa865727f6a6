package controller

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/policy"
)

// killing is a cluster whose leader is killed again and again in the middle of writes.
type killing struct {
	*cluster
	t       *testing.T
	acked   map[policy.RequestID]policy.MitigationID
	n       int // writes tried
	unknown int // writes whose outcome nobody was told
	ended   int
	gaps    []time.Duration // from a kill to the next write that was done
	absent  int             // rules that were not announced though they were acknowledged
}

// written is the answer to a write.
type written struct {
	id  policy.RequestID
	out Outcome
	err error
}

// rules is how many rules are kept alive: what is older is withdrawn, so that a long run costs as much as a short one.
const keptRules = 64

func (k *killing) next() Command {
	k.n++
	n := k.n
	cmd := start("10."+itoa(n>>16&255)+"."+itoa(n>>8&255)+"."+itoa(n&255)+"/32", policy.RequestID("w"+itoa(n)))
	cmd.Request.(*policy.StartRequest).Lifetime = 24 * time.Hour
	return cmd
}

func (k *killing) note(r written) {
	switch {
	case r.err != nil:
		k.unknown++
	case r.out.Decision.Verdict.Kind != policy.Mitigated:
		k.t.Fatalf("%s: %+v", r.id, r.out.Decision.Verdict)
	default:
		k.acked[r.id] = r.out.Decision.Mitigations[0].ID
	}
}

// kill lets the leader write, kills it after so many milliseconds, and brings it back when the next one has written.
func (k *killing) kill(after time.Duration) {
	l := k.leader()
	stopped := make(chan struct{})
	results := make(chan written, 16)
	go func() { // writes until the leader is gone
		defer close(stopped)
		for len(results) <= 8 {
			cmd := k.next()
			out, err := l.c.Write(context.Background(), cmd)
			results <- written{cmd.RequestID, out, err}
			if err != nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	time.Sleep(after)
	killed, watched := time.Now(), k.watch(l)
	k.cut(l)
	<-stopped
	k.cluster.kill(l)
	close(results)
	for r := range results {
		k.note(r)
	}
	next := k.leader(l)
	cmd := k.next()
	out, err := next.c.Write(context.Background(), cmd)
	k.gaps = append(k.gaps, time.Since(killed))
	k.note(written{cmd.RequestID, out, err})
	k.up(l)
	k.look(watched, next)
	k.prune(next)
}

// watch begins to remember what the survivors announce.
func (k *killing) watch(l *node) (watched []*node) {
	for _, n := range k.others(l) {
		if _, sets := n.speaker.get(); sets == 0 {
			continue // just restarted: it says nothing before it is level with a leader
		}
		n.speaker.mu.Lock()
		n.speaker.past = &[]pastSet{{set: n.speaker.set}}
		n.speaker.mu.Unlock()
		watched = append(watched, n)
	}
	return watched
}

// look counts the rules that are active and not announced, or that were announced before but not all the time since.
func (k *killing) look(watched []*node, l *node) {
	for _, n := range watched {
		k.wait(n.id+" announces what is decided", func() bool {
			set, _ := n.speaker.get()
			return set.Revision >= uint64(l.c.State().Index())
		})
		n.speaker.mu.Lock()
		past := *n.speaker.past
		n.speaker.past = nil
		n.speaker.mu.Unlock()
		first, last := keysOf(past[0].set), keysOf(past[len(past)-1].set)
		for key := range l.c.State().Routes() { // of what is active: none of them was ended in between
			if !last[key] {
				k.absent++
			}
			for _, p := range past[1:] {
				if first[key] && !keysOf(p.set)[key] {
					k.absent++
				}
			}
		}
	}
}

func keysOf(set wanted.Set) map[flowspec.Key]bool {
	out := make(map[flowspec.Key]bool, len(set.Routes))
	for i := range set.Routes {
		out[set.Routes[i].Rule.Match.Key()] = true
	}
	return out
}

// prune ends the oldest mitigations.
func (k *killing) prune(l *node) {
	for m := range l.c.State().Active() {
		if l.c.State().ActiveCount() <= keptRules {
			return
		}
		k.ended++
		if _, err := l.c.Write(context.Background(), Command{By: operator, Request: &policy.WithdrawRequest{ID: m.ID}}); err != nil {
			k.t.Fatal(err)
		}
	}
}

// check looks at the end that nothing that was acknowledged is lost, and that all nodes are of one mind.
func (k *killing) check() {
	l := k.leader()
	k.level()
	lost := 0
	for id, m := range k.acked {
		if r, ok := l.c.State().Result(id); !ok || len(r.Mitigations) != 1 || r.Mitigations[0] != m {
			lost++
		}
	}
	if lost > 0 || k.absent > 0 {
		k.t.Errorf("%d of %d acknowledged writes are lost, and %d rules were absent", lost, len(k.acked), k.absent)
	}
	want := l.c.State().Digest()
	time.Sleep(time.Second)
	for _, n := range k.nodes {
		if n.c.State().Digest() != want {
			k.t.Errorf("%s has another state", n.id)
		}
		if set, _ := n.speaker.get(); len(set.Routes) != l.c.State().ActiveCount() {
			k.t.Errorf("%s announces %d rules of %d", n.id, len(set.Routes), l.c.State().ActiveCount())
		}
	}
}

// killLeaders kills so many leaders of a cluster with the timing of a profile.
func killLeaders(t *testing.T, profile string, kills int) *killing {
	k := &killing{acked: make(map[policy.RequestID]policy.MitigationID)}
	synctest.Test(t, func(t *testing.T) {
		timing, ok := TimingProfile(profile)
		if !ok {
			t.Fatalf("no profile %q", profile)
		}
		k.t, k.cluster = t, newCluster(t, 3, func(c *Config) { c.SnapshotEvery, c.Timing = 64, timing }).start()
		defer k.stop()
		docs := inventory()
		docs[0].(*policy.Customer).Official[0] = pfx("10.0.0.0/8")
		docs[0].(*policy.Customer).Links = nil
		k.leader().write(Command{By: operator, Request: &policy.ApplyRequest{Documents: docs}})
		for i := range kills {
			k.kill(time.Duration(i%7) * time.Millisecond)
		}
		k.check()
	})
	return k
}

// TestLeaderKills is a short TestPropertyLeaderKills, for the race detector.
func TestLeaderKills(t *testing.T) { killLeaders(t, TimingLAN, 30) }

// TestPropertyLeaderKills kills a thousand leaders in virtual time, of ten clusters. Nothing that was acknowledged may be
// lost and no rule may be missing on a survivor; and the write gap keeps to what the timing profiles promise. Time in it
// is virtual, so that a busy machine changes nothing.
func TestPropertyLeaderKills(t *testing.T) {
	for _, row := range []struct {
		profile string
		most    time.Duration
	}{{TimingDefault, 4 * time.Second}, {TimingLAN, 2 * time.Second}} {
		t.Run(row.profile, func(t *testing.T) {
			var gaps []time.Duration
			acked, unknown, absent := 0, 0, 0
			for range 5 {
				k := killLeaders(t, row.profile, 100)
				gaps = append(gaps, k.gaps...)
				acked, unknown, absent = acked+len(k.acked), unknown+k.unknown, absent+k.absent
			}
			slices.Sort(gaps)
			p := func(percent int) time.Duration { return gaps[(len(gaps)-1)*percent/100].Round(time.Millisecond) }
			t.Logf("%d leader kills: %d writes acknowledged, none lost; %d not known; %d rules absent; write gap p50 %s, p99 %s, longest %s",
				len(gaps), acked, unknown, absent, p(50), p(99), p(100))
			if p(99) > row.most {
				t.Errorf("99 of 100 write gaps end within %s, the profile promises %s", p(99), row.most)
			}
		})
	}
}

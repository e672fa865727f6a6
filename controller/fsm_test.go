package controller

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/tidegate/tidegate/policy"
	raftv1 "github.com/tidegate/tidegate/proto/tidegate/raft/v1"
)

func testFSM(t testing.TB) *fsm {
	t.Helper()
	p, err := newPacker()
	if err != nil {
		t.Fatal(err)
	}
	return newFSM(slog.New(slog.DiscardHandler), p, func(uint64, *policy.State) {})
}

func (f *fsm) mustPack(t testing.TB, base policy.Index, at time.Time, changes ...policy.Change) []byte {
	t.Helper()
	it, err := packItem(item{by: operator, reason: "test", changes: changes})
	if err != nil {
		t.Fatal(err)
	}
	b, err := f.packer.pack(base, at, [][]byte{it})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestBaseMismatchIsNoOp holds the base check: without it the second entry would be applied.
func TestBaseMismatchIsNoOp(t *testing.T) {
	f := testFSM(t)
	at := time.Unix(1e9, 0).UTC()
	first := f.mustPack(t, 0, at, &policy.PutDocument{Document: inventory()[0]})
	if r, _ := f.Apply(&raft.Log{Index: 3, Data: first}).(applyResult); r.conflict || r.err != nil {
		t.Fatalf("got %+v", r)
	}
	before := f.state.Load()
	stale := f.mustPack(t, 0, at.Add(time.Minute), &policy.DeleteDocument{Ref: inventory()[0].Ref()})
	r, _ := f.Apply(&raft.Log{Index: 4, Data: stale}).(applyResult)
	if !r.conflict || r.err != nil || f.state.Load() != before {
		t.Errorf("an entry decided on another state: %+v, state at %d", r, f.state.Load().Index())
	}
	fresh := f.mustPack(t, 3, at.Add(-time.Hour), &policy.PutLease{})
	if r, _ := f.Apply(&raft.Log{Index: 5, Data: fresh}).(applyResult); r.conflict || r.err != nil {
		t.Errorf("got %+v", r)
	}
	if got := f.state.Load().At(); got.Before(at) {
		t.Errorf("the entry time went back to %s", got)
	}
}

// TestPreparedIsWhatIsCommitted holds that what was computed ahead is used for the very entry that is committed, on the
// very State that it was computed on, and for no other.
func TestPreparedIsWhatIsCommitted(t *testing.T) {
	at := time.Unix(1e9, 0).UTC()
	docs := inventory()
	for _, c := range []struct {
		name string
		// prepare computes something ahead of the entry 3, which is data on the State s.
		prepare func(f *fsm, s *policy.State, data []byte)
		used    bool
	}{
		{"the entry itself", func(f *fsm, s *policy.State, data []byte) { f.prepare(s, 3, data) }, true},
		{"an entry with the same octets elsewhere in memory", func(f *fsm, s *policy.State, data []byte) { f.prepare(s, 3, bytes.Clone(data)) }, true},
		{"nothing", func(*fsm, *policy.State, []byte) {}, false},
		{"another index", func(f *fsm, s *policy.State, data []byte) { f.prepare(s, 4, data) }, false},
		{"another entry", func(f *fsm, s *policy.State, _ []byte) {
			f.prepare(s, 3, f.mustPack(t, 2, at, &policy.DeleteDocument{Ref: docs[0].Ref()}))
		}, false},
		{"another State", func(f *fsm, s *policy.State, data []byte) {
			other, err := s.Apply(policy.Entry{Index: 2, At: at}, []policy.Change{&policy.PutDocument{Document: docs[1]}})
			if err != nil {
				t.Fatal(err)
			}
			f.prepare(other, 3, data)
		}, false},
		{"an entry that nobody can read", func(f *fsm, s *policy.State, _ []byte) { f.prepare(s, 3, []byte("x")) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := testFSM(t)
			if r, _ := f.Apply(&raft.Log{Index: 2, Data: f.mustPack(t, 0, at, &policy.PutDocument{Document: docs[0]})}).(applyResult); r.err != nil {
				t.Fatal(r.err)
			}
			s := f.state.Load()
			data := f.mustPack(t, 2, at, &policy.PutLease{})
			c.prepare(f, s, data)
			var ahead *policy.State
			if a := f.ahead.Load(); a != nil {
				ahead = a.next
			}
			r, _ := f.Apply(&raft.Log{Index: 3, Data: data}).(applyResult)
			if r.err != nil || r.conflict {
				t.Fatalf("got %+v", r)
			}
			if got := ahead != nil && r.state == ahead; got != c.used {
				t.Errorf("what was computed ahead is used: %t, want %t", got, c.used)
			}
			want, err := s.Apply(policy.Entry{Index: 3, At: at, By: operator, Reason: "test"}, []policy.Change{&policy.PutLease{}})
			if err != nil {
				t.Fatal(err)
			}
			if r.state.Digest() != want.Digest() || f.ahead.Load() != nil {
				t.Errorf("the State is not the one that the entry makes, or something is still kept")
			}
		})
	}
}

// TestConflictIsDecidedAgain lets an entry that is not the decider's slip in between.
func TestConflictIsDecidedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 3, nil).start()
		defer cl.stop()
		l := cl.leader()
		l.write(apply("a"))
		for i := 0; testutil.ToFloat64(l.c.metrics.conflicts) == 0; i++ {
			if i == 200 {
				t.Fatal("no conflict in 200 attempts")
			}
			s := l.c.State()
			foreign := l.c.fsm.mustPack(t, s.Index(), s.At(), &policy.PutLease{})
			l.c.running.Load().raft.Apply(foreign, time.Second)
			l.write(start("203.0.113."+itoa(i)+"/32", policy.RequestID("r"+itoa(i))))
		}
		cl.level()
		for _, n := range cl.nodes {
			if n.c.State().Digest() != l.c.State().Digest() {
				t.Errorf("%s has another state", n.id)
			}
		}
	})
}

func poisons(t *testing.T) map[string]func(base policy.Index) []byte {
	t.Helper()
	envelope := func(change func(*raftv1.Envelope)) func(policy.Index) []byte {
		return func(base policy.Index) []byte {
			e := &raftv1.Envelope{
				Type: 1, Level: 1, Base: uint64(base), Compression: 1,
				Body: []byte{10, 4, 34, 2, 50, 0}, // one item with one PutLease
			}
			change(e)
			b, err := proto.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
	}
	return map[string]func(policy.Index) []byte{
		"garbage":                func(policy.Index) []byte { return []byte("poison") },
		"empty":                  func(policy.Index) []byte { return nil },
		"unknown type":           envelope(func(e *raftv1.Envelope) { e.Type = 99 }),
		"later level":            envelope(func(e *raftv1.Envelope) { e.Level = LevelMax + 1 }),
		"no level":               envelope(func(e *raftv1.Envelope) { e.Level = 0 }),
		"unknown compression":    envelope(func(e *raftv1.Envelope) { e.Compression = 7 }),
		"zstd that is none":      envelope(func(e *raftv1.Envelope) { e.Compression = 2 }),
		"no items":               envelope(func(e *raftv1.Envelope) { e.Body = nil }),
		"item with empty change": envelope(func(e *raftv1.Envelope) { e.Body = []byte{10, 2, 34, 0} }),
		"unknown change": envelope(func(e *raftv1.Envelope) {
			e.Body = []byte{10, 5, 34, 3, 0xfa, 0x01, 0} // field 31 of Change
		}),
		"unknown field of the envelope": func(base policy.Index) []byte {
			b := envelope(func(*raftv1.Envelope) {})(base)
			return protowire.AppendVarint(protowire.AppendTag(b, 77, protowire.VarintType), 1)
		},
		"mitigation that makes no sense": envelope(func(e *raftv1.Envelope) {
			e.Body, _ = proto.Marshal(&raftv1.Batch{Items: []*raftv1.Item{{Changes: []*raftv1.Change{{
				Change: &raftv1.Change_PutMitigation{PutMitigation: &raftv1.PutMitigation{}},
			}}}}})
		}),
		"unknown word": envelope(func(e *raftv1.Envelope) {
			e.Body, _ = proto.Marshal(&raftv1.Batch{Items: []*raftv1.Item{{Changes: []*raftv1.Change{{
				Change: &raftv1.Change_DeleteDocument{DeleteDocument: &raftv1.DeleteDocument{Kind: 42, Name: "x"}},
			}}}}})
		}),
	}
}

func TestPoisonStopsTheFSM(t *testing.T) {
	for name, poison := range poisons(t) {
		t.Run(name, func(t *testing.T) {
			f := testFSM(t)
			f.Apply(&raft.Log{Index: 3, Data: f.mustPack(t, 0, time.Unix(1e9, 0), &policy.PutLease{})})
			before := f.state.Load()
			if before.Index() != 3 {
				t.Fatal("the good entry was not applied")
			}
			r, _ := f.Apply(&raft.Log{Index: 4, Data: poison(3)}).(applyResult)
			if r.err == nil || f.stoppedBy() == nil || f.state.Load() != before {
				t.Fatalf("got %+v, stopped by %v", r, f.stoppedBy())
			}
			select {
			case <-f.stopped:
			default:
				t.Error("nobody was told")
			}
			if _, err := f.Snapshot(); !errors.Is(err, ErrStopped) {
				t.Errorf("snapshot past the poison: %v", err)
			}
			good := f.mustPack(t, 3, time.Unix(1e9, 0), &policy.PutLease{})
			if r, _ := f.Apply(&raft.Log{Index: 5, Data: good}).(applyResult); r.err == nil || f.state.Load() != before {
				t.Error("a later entry was applied past the poison")
			}
		})
	}
}

func TestPoisonedClusterGoesOnAnnouncing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 3, nil).start()
		defer cl.stop()
		l := cl.leader()
		l.write(apply("a"))
		l.write(start("203.0.113.9/32", "b"))
		cl.level()
		time.Sleep(time.Second)
		l.c.running.Load().raft.Apply([]byte("poison"), time.Second)
		time.Sleep(20 * time.Minute)
		var stopped []*node
		for _, n := range cl.nodes {
			st := n.c.Status()
			set, sets := n.speaker.get()
			if len(set.Routes) != 1 || st.Leader {
				t.Errorf("%s announces %d rules after the stop, leader %t", n.id, len(set.Routes), st.Leader)
			}
			_, err := n.c.Write(context.Background(), start("203.0.113.10/32", "c"))
			if st.Serving {
				if err == nil {
					t.Errorf("a write on %s was done", n.id)
				}
				continue
			}
			stopped = append(stopped, n)
			if !strings.Contains(st.StoppedBecause, "cannot apply log entry") {
				t.Errorf("%s: %+v", n.id, st)
			}
			if !errors.Is(err, ErrStopped) {
				t.Errorf("a write on a stopped node: %v", err)
			}
			if _, now := n.speaker.get(); now != sets {
				t.Error("Set was called on a stopped node")
			}
			select {
			case err := <-n.ended:
				t.Errorf("%s ended with %v", n.id, err)
			default:
			}
		}
		if len(stopped) < 2 { // the third may not have heard that the entry is committed, and is alone now
			t.Fatalf("%d nodes stopped, want a majority", len(stopped))
		}
		// A restart does not get around it.
		n := stopped[0]
		cl.kill(n)
		cl.up(n)
		time.Sleep(time.Minute)
		if st := n.c.Status(); st.CaughtUp || n.c.State().Index() == 0 {
			t.Errorf("after a restart: %+v", st)
		}
	})
}

func TestSnapshotRestoreEqual(t *testing.T) {
	f := testFSM(t)
	at := time.Unix(1e9, 0).UTC()
	var docs []policy.Change
	for _, d := range inventory() {
		docs = append(docs, &policy.PutDocument{Document: d})
	}
	f.Apply(&raft.Log{Index: 1, Data: f.mustPack(t, 0, at, docs...)})
	s := f.state.Load()
	for i := range 20 {
		d := policy.Decide(s, start("203.0.113."+itoa(100+i)+"/32", "").Request, policy.Entry{Index: s.Index() + 1, At: at, By: operator})
		f.Apply(&raft.Log{Index: uint64(2 + i), Data: f.mustPack(t, s.Index(), at, append(d.Changes, &policy.PutLease{},
			&policy.PutAttack{Attack: policy.Attack{Source: "fnm", AttackID: itoa(i), Seq: 3}},
			&policy.PutResult{Result: policy.Result{RequestID: policy.RequestID(itoa(i)), Verdict: d.Verdict}})...)})
		s = f.state.Load()
	}
	if s.ActiveCount() != 20 {
		t.Fatalf("%d mitigations: %v", s.ActiveCount(), f.stoppedBy())
	}
	var buf bytes.Buffer
	if err := writeSnapshot(&buf, s); err != nil {
		t.Fatal(err)
	}
	file := buf.Bytes()
	g := testFSM(t)
	if err := g.Restore(io.NopCloser(bytes.NewReader(file))); err != nil {
		t.Fatal(err)
	}
	if g.state.Load().Digest() != s.Digest() || g.state.Load().Index() != s.Index() || !g.state.Load().At().Equal(s.At()) {
		t.Error("the restored state differs")
	}
	for cut := range len(file) {
		if _, err := readSnapshot(bytes.NewReader(file[:cut])); err == nil {
			t.Fatalf("a snapshot cut to %d of %d octets was accepted", cut, len(file))
		}
	}
	for i := range file {
		bad := bytes.Clone(file)
		bad[i] ^= 0x10
		if s2, err := readSnapshot(bytes.NewReader(bad)); err == nil && s2.Digest() != s.Digest() {
			t.Fatalf("a snapshot with octet %d changed was accepted", i)
		}
	}
	if _, err := readSnapshot(bytes.NewReader(append(bytes.Clone(file), 0))); err == nil {
		t.Error("a snapshot with something behind its end was accepted")
	}
}

func TestEntryTooLargeIsRefusedByName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 1, nil).start()
		defer cl.stop()
		l := cl.leader()
		var docs []policy.Document
		noise := uint64(88172645463325252)
		for i := range 6000 { // text that hardly compresses
			var b strings.Builder
			for range 190 {
				noise ^= noise << 13
				noise ^= noise >> 7
				noise ^= noise << 17
				b.WriteByte('!' + byte(noise%90))
			}
			docs = append(docs, &policy.ProtectedBlock{
				Name: "block-" + itoa(i), Kind: policy.BlockLinks, Note: b.String(),
				Prefixes: []netip.Prefix{pfx("10." + itoa(i>>8) + "." + itoa(i&255) + ".0/24")},
			})
		}
		out, err := l.c.Write(t.Context(), Command{By: operator, Request: &policy.ApplyRequest{Documents: docs}})
		if err != nil {
			t.Fatal(err)
		}
		r := out.Decision.Verdict.Reason
		if out.Decision.Verdict.Kind != policy.Refused || (r.Code == policy.CodeTooLarge && !strings.Contains(r.Text, "512 KiB")) {
			t.Errorf("got %+v", out.Decision.Verdict)
		}
		if r.Code != policy.CodeTooLarge {
			t.Errorf("refused, but for %+v %+v", r, out.Decision.Violations)
		}
		l.write(apply("a")) // the node lives on
	})
}

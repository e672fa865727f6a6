package controller

import (
	"bytes"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/policy"
)

// TestRenewalsAreInOrder: what a leader asks for does not depend on the order of a map.
func TestRenewalsAreInOrder(t *testing.T) {
	f := manyMitigations(t, 40)
	s := f.state.Load()
	m := newMemory()
	for id := policy.MitigationID(1); id <= 40; id++ {
		old, _ := s.Mitigation(id)
		cp := *old
		cp.Origin = policy.FromPolicy
		next, err := s.Apply(policy.Entry{Index: s.Index(), At: s.At()}, []policy.Change{&policy.PutMitigation{Mitigation: &cp}})
		if err != nil {
			t.Fatal(err)
		}
		s = next
		m.reported[id] = lastReport{at: s.At().Add(8 * time.Minute)}
	}
	if ids := m.renewals(s, s.At().Add(9*time.Minute)).IDs; len(ids) != 40 || !slices.IsSorted(ids) {
		t.Errorf("renewals of %v", ids)
	}
}

// TestManyRenewalsSplit: what is renewed together may be too large for one entry, and must be renewed nevertheless.
func TestManyRenewalsSplit(t *testing.T) {
	f := manyMitigations(t, 40)
	at := f.state.Load().At()
	r := rand.New(rand.NewPCG(7, 8))
	for id := policy.MitigationID(1); id <= 40; id++ {
		m, _ := f.state.Load().Mitigation(id)
		cp := *m
		note := make([]byte, 20<<10)
		for i := range note {
			note[i] = '!' + byte(r.IntN(90))
		}
		cp.Notes = []string{string(note)}
		f.Apply(&raft.Log{Index: uint64(f.state.Load().Index()) + 1, Data: f.mustPack(t, f.state.Load().Index(), at, &policy.PutMitigation{Mitigation: &cp})})
	}
	late := at.Add(9 * time.Minute)
	rounds := 0
	left := func() (ids []policy.MitigationID) {
		for m := range f.state.Load().Active() {
			if m.Expires.Sub(late) < m.Lifetime/2 {
				ids = append(ids, m.ID)
			}
		}
		return ids
	}
	for ; len(left()) > 0 && rounds < 10; rounds++ {
		s := f.state.Load()
		b := newBatch(slog.New(slog.DiscardHandler), f.packer, s, late, newMemory())
		if err := b.own(Command{By: "member/n1", Request: &policy.RenewRequest{IDs: left()}}); err != nil {
			t.Fatal(err)
		}
		data, err := f.packer.pack(s.Index(), late, b.items)
		if err != nil {
			t.Fatal(err)
		}
		if r, _ := f.Apply(&raft.Log{Index: uint64(s.Index()) + 1, Data: data}).(applyResult); r.err != nil || r.conflict {
			t.Fatalf("%+v", r)
		}
	}
	if n := len(left()); n != 0 || rounds < 2 || f.state.Load().ActiveCount() != 40 {
		t.Errorf("%d are not renewed after %d entries, %d are active", n, rounds, f.state.Load().ActiveCount())
	}
}

// TestWallClockStepsDoNotMatter: within a term entry times follow the elapsed clock.
func TestWallClockStepsDoNotMatter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 3, nil).start()
		defer cl.stop()
		l := cl.leader()
		l.write(apply("a"))
		before := l.c.State().At()
		at := time.Now()
		l.skew.Store(int64(-24 * time.Hour))
		time.Sleep(time.Minute)
		l.write(start("203.0.113.9/32", "b"))
		if d := l.c.State().At().Sub(before) - time.Since(at); d.Abs() > 100*time.Millisecond {
			t.Errorf("entry time is %s off after the wall clock stepped", d)
		}
		// The next leader's clock is a day behind, too; the time in the log does not go back.
		for _, n := range cl.nodes {
			n.skew.Store(int64(-24 * time.Hour))
		}
		last := l.c.State().At()
		cl.kill(l)
		l2 := cl.leader(l)
		l2.write(start("203.0.113.10/32", "c"))
		if l2.c.State().At().Before(last) {
			t.Error("the time in the log went back")
		}
	})
}

// TestLoneItemIsReady: an entry of one item is made, and what it makes of the State computed, before raft gets it. One of
// several is not: nothing of what was tried with the first item alone may be left.
func TestLoneItemIsReady(t *testing.T) {
	f := manyMitigations(t, 5)
	base := f.state.Load()
	b := newBatch(slog.New(slog.DiscardHandler), f.packer, base, base.At(), newMemory())
	b.index = base.Index() + 3 // raft has put two entries of its own in between
	for i, addr := range []string{"10.201.0.1/32", "10.202.0.1/32"} {
		sig := signal("fnm", addr, 1, addr)
		if v, ok := b.signal("detector/fnm", &sig); !ok || v.Kind != policy.Mitigated {
			t.Fatalf("%+v", v)
		}
		data, err := f.packer.pack(base.Index(), b.at, b.items)
		if err != nil {
			t.Fatal(err)
		}
		if ready := b.ahead != nil; ready != (i == 0) {
			t.Fatalf("an entry of %d items is ready: %t", i+1, ready)
		}
		if b.ahead != nil && !bytes.Equal(b.ahead.data, data) {
			t.Error("what is ready is not the entry")
		}
		// A node that sees only the entry comes to the same.
		other := testFSM(t)
		other.state.Store(base)
		r, _ := other.Apply(&raft.Log{Index: uint64(b.index), Data: data}).(applyResult)
		if r.err != nil || r.conflict || r.state.Digest() != b.state.Digest() || r.state.Index() != b.index {
			t.Errorf("%d items: the FSM does not come to what was decided on: %+v", i+1, r)
		}
		if b.ahead == nil {
			continue
		}
		f.ahead.Store(b.ahead)
		if r, _ := f.Apply(&raft.Log{Index: uint64(b.index), Data: data}).(applyResult); r.state != b.ahead.next {
			t.Error("the FSM does not use what is ready")
		}
	}
}

func TestBatchMemoryIsDroppedWithTheBatch(t *testing.T) {
	f := manyMitigations(t, 0)
	term := newMemory()
	sig := signal("fnm", "x", 1, "198.51.100.1/32")
	other := sig
	other.BitsPerSecond++
	b := newBatch(slog.New(slog.DiscardHandler), f.packer, f.state.Load(), f.state.Load().At(), term)
	if v, ok := b.signal("detector/fnm", &sig); !ok || v.Kind != policy.Refused {
		t.Fatalf("%+v", v)
	}
	if v, _ := b.signal("detector/fnm", &other); v.Reason.Code != policy.CodeSeqConflict {
		t.Errorf("within the batch: %+v", v)
	}
	// The batch is thrown away, as after a conflict; what it saw does not bind.
	b = newBatch(slog.New(slog.DiscardHandler), f.packer, f.state.Load(), f.state.Load().At(), term)
	if v, _ := b.signal("detector/fnm", &other); v.Reason.Code == policy.CodeSeqConflict {
		t.Error("a signal of a batch that was not committed binds")
	}
}

func TestMemoryIsBounded(t *testing.T) {
	m := newMemory()
	for i := range maxMemory * 2 {
		m.put(attackKey{"fnm", itoa(i)}, seen{seq: uint64(i)})
	}
	if n := len(m.young) + len(m.old); n > maxMemory {
		t.Errorf("%d attacks remembered, the bound is %d", n, maxMemory)
	}
	if s, ok := m.get(attackKey{"fnm", itoa(maxMemory*2 - 1)}); !ok || s.seq != maxMemory*2-1 {
		t.Error("the newest is forgotten")
	}
}

func TestRequestDigest(t *testing.T) {
	digests := make(map[[32]byte]int)
	for i, r := range []policy.Request{
		start("203.0.113.9/32", "").Request, start("203.0.113.10/32", "").Request,
		&policy.WithdrawRequest{ID: 1}, &policy.ExtendRequest{ID: 1}, &policy.ExtendRequest{ID: 1, Lifetime: 1},
		&policy.WithdrawAllRequest{}, &policy.WithdrawAllRequest{Customer: "a"},
		&policy.ApplyRequest{}, &policy.ApplyRequest{Prune: true},
		&policy.ApplyRequest{Documents: []policy.Document{&policy.Router{Name: "a"}}},
		&policy.ApplyRequest{Documents: []policy.Document{&policy.Policy{Name: "a"}}},
	} {
		d, err := requestDigest(r)
		if err != nil {
			t.Fatal(err)
		}
		if j, ok := digests[d]; ok {
			t.Errorf("requests %d and %d have one digest", i, j)
		}
		digests[d] = i
		if again, _ := requestDigest(r); again != d {
			t.Errorf("request %d has two digests", i)
		}
	}
	if _, err := requestDigest(&policy.ApplyRequest{Documents: []policy.Document{nil}}); err == nil {
		t.Error("a nil document has a digest")
	}
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl := newCluster(t, 1, nil).start()
		defer cl.stop()
		l := cl.leader()
		reg := prometheus.NewPedanticRegistry()
		if err := l.c.metrics.register(reg, l.c); err != nil {
			t.Fatal(err)
		}
		l.write(apply("a"))
		l.report(signal("fnm", "x", 1, "203.0.113.9/32"))
		l.report(signal("fnm", "x", 1, "203.0.113.9/32"))
		for i := range 2 * maxLabelled {
			l.c.metrics.shedSignals(policy.Principal("detector/"+itoa(i)), 1)
		}
		want := `
# HELP tidegate_active_mitigations Mitigations that are active.
# TYPE tidegate_active_mitigations gauge
tidegate_active_mitigations 1
# HELP tidegate_decisions_total Signals and writes answered by this node as leader.
# TYPE tidegate_decisions_total counter
tidegate_decisions_total{code="applied",verdict="mitigated"} 1
tidegate_decisions_total{code="mitigated",verdict="mitigated"} 1
tidegate_decisions_total{code="repetition",verdict="merged"} 1
# HELP tidegate_serving 1 while this node follows the log; 0 when it stopped for good.
# TYPE tidegate_serving gauge
tidegate_serving 1
`
		if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "tidegate_active_mitigations", "tidegate_decisions_total", "tidegate_serving"); err != nil {
			t.Error(err)
		}
		if n, err := testutil.GatherAndCount(reg, "tidegate_shed_signals_total"); err != nil || n != maxLabelled+1 {
			t.Errorf("%d time series for shed signals, want %d: %v", n, maxLabelled+1, err)
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	good := Config{NodeID: "n1", Members: []Member{{ID: "n1", RaftAddress: "a"}}}
	deps := Deps{
		Elapsed: func() wanted.Instant { return 0 }, Now: time.Now, Speaker: &fakeSpeaker{},
		Transport: func() Transport { _, tr := raft.NewInmemTransport("a"); return tr }(),
		Stores:    &Stores{},
	}
	c, err := New(good, deps)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Config, *Deps){
		"not a member":    func(c *Config, _ *Deps) { c.NodeID = "n2" },
		"a member twice":  func(c *Config, _ *Deps) { c.Members = append(c.Members, c.Members[0]) },
		"no raft address": func(c *Config, _ *Deps) { c.Members = []Member{{ID: "n1"}} },
		"short lease":     func(c *Config, _ *Deps) { c.Lease = time.Second },
		"nobody to reach": func(c *Config, d *Deps) {
			c.Members, d.Transport = append(c.Members, Member{ID: "n2", RaftAddress: "b"}), nil
		},
		"negative lease":   func(c *Config, _ *Deps) { c.Lease = -1 },
		"no speaker":       func(_ *Config, d *Deps) { d.Speaker = nil },
		"no elapsed clock": func(_ *Config, d *Deps) { d.Elapsed = nil },
	} {
		cfg, d := good, deps
		change(&cfg, &d)
		if _, err := New(cfg, d); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

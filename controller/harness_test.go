package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/policy"
)

// fakeSpeaker remembers the newest Set and how many there were.
type fakeSpeaker struct {
	elapsed func() wanted.Instant

	mu   sync.Mutex // guards the fields below
	set  wanted.Set
	sets int
	past *[]pastSet // not nil: every Set is remembered here
}

// pastSet is a Set and when it came.
type pastSet struct {
	at  wanted.Instant
	set wanted.Set
}

func (f *fakeSpeaker) Set(_ context.Context, w wanted.Set) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if w.Revision == 0 {
		return errors.New("an unset Set")
	}
	f.set = w
	f.sets++
	if f.past != nil {
		*f.past = append(*f.past, pastSet{f.elapsed(), w})
	}
	return nil
}

func (f *fakeSpeaker) Status() wanted.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return wanted.Status{Revision: f.set.Revision, LeaseUntil: f.set.LeaseUntil}
}

func (f *fakeSpeaker) get() (wanted.Set, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.set, f.sets
}

// node is one member of a cluster in memory; its stores survive its process.
type node struct {
	t       testing.TB
	id      string
	cfg     Config
	store   *raft.InmemCommitTrackingStore
	snaps   *raft.InmemSnapshotStore
	trans   *raft.InmemTransport
	skew    atomic.Int64 // of its wall clock, in ns
	log     *slog.Logger
	wrap    func(LogStore) LogStore // nil: the store as it is
	c       *Controller
	speaker *fakeSpeaker
	cancel  context.CancelFunc
	ended   chan error
}

type cluster struct {
	t     testing.TB
	nodes []*node
}

func newCluster(t testing.TB, n int, change func(*Config)) *cluster {
	cl := &cluster{t: t}
	var members []Member
	for i := range n {
		id := fmt.Sprintf("n%d", i+1)
		members = append(members, Member{ID: id, RaftAddress: "raft-" + id, APIAddress: "api-" + id})
	}
	for _, m := range members {
		cfg := Config{Cluster: "test", NodeID: m.ID, Members: members}
		if change != nil {
			change(&cfg)
		}
		cl.nodes = append(cl.nodes, &node{
			t: t, id: m.ID, cfg: cfg, store: raft.NewInmemCommitTrackingStore(), snaps: raft.NewInmemSnapshotStore(),
		})
	}
	return cl
}

func (cl *cluster) start() *cluster {
	for _, n := range cl.nodes {
		cl.up(n)
	}
	return cl
}

// up starts a node and connects it with all that are up.
func (cl *cluster) up(n *node) {
	n.t.Helper()
	_, n.trans = raft.NewInmemTransport(raft.ServerAddress("raft-" + n.id))
	cl.heal(n)
	base := time.Now()
	elapsed := func() wanted.Instant { return wanted.Instant(time.Since(base)) }
	n.speaker = &fakeSpeaker{elapsed: elapsed}
	var store LogStore = n.store
	if n.wrap != nil {
		store = n.wrap(store)
	}
	var stable raft.StableStore = n.store
	if s, ok := store.(raft.StableStore); ok {
		stable = s
	}
	c, err := New(n.cfg, Deps{
		Elapsed: elapsed, Now: func() time.Time { return time.Now().Add(time.Duration(n.skew.Load())) }, Speaker: n.speaker, Transport: n.trans,
		Stores: &Stores{Log: store, Stable: stable, Snapshots: n.snaps}, Logger: n.log,
	})
	if err != nil {
		n.t.Fatal(err)
	}
	n.c = c
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel, n.ended = cancel, make(chan error, 1)
	go func() { n.ended <- c.Run(ctx) }()
}

// heal connects n with all nodes that are up.
func (cl *cluster) heal(n *node) {
	for _, o := range cl.nodes {
		if o != n && o.trans != nil {
			n.trans.Connect(o.trans.LocalAddr(), o.trans)
			o.trans.Connect(n.trans.LocalAddr(), n.trans)
		}
	}
}

// cut takes n off the network.
func (cl *cluster) cut(n *node) {
	n.trans.DisconnectAll()
	for _, o := range cl.nodes {
		if o != n && o.trans != nil {
			o.trans.Disconnect(n.trans.LocalAddr())
		}
	}
}

// kill ends a node as a crash would: nobody is told, nothing is handed over.
func (cl *cluster) kill(n *node) {
	cl.cut(n)
	n.stop()
	n.trans = nil
}

func (n *node) stop() {
	n.t.Helper()
	n.cancel()
	if err := <-n.ended; err != nil && !errors.Is(err, ErrStopped) {
		n.t.Errorf("%s ended with: %v", n.id, err)
	}
	n.c = nil
}

func (cl *cluster) stop() {
	for _, n := range cl.nodes {
		if n.c != nil {
			n.stop()
			n.trans = nil
		}
	}
	time.Sleep(time.Minute) // raft leaves goroutines behind that end with their timeouts
}

// wait lets virtual time pass until ok.
func (cl *cluster) wait(what string, ok func() bool) {
	cl.t.Helper()
	for range 6000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	cl.t.Fatalf("waited a minute in vain: %s", what)
}

// leader waits for a node that decides.
func (cl *cluster) leader(not ...*node) *node {
	cl.t.Helper()
	var leader *node
	cl.wait("a leader", func() bool {
	next:
		for _, n := range cl.nodes {
			for _, x := range not {
				if x == n {
					continue next
				}
			}
			if n.c != nil && n.c.Status().Leader {
				leader = n
				return true
			}
		}
		return false
	})
	return leader
}

func (cl *cluster) others(n *node) []*node {
	var out []*node
	for _, o := range cl.nodes {
		if o != n {
			out = append(out, o)
		}
	}
	return out
}

// level waits until all nodes that are up have applied the same.
func (cl *cluster) level() {
	cl.t.Helper()
	cl.wait("all nodes at one index", func() bool {
		var newest policy.Index
		for _, n := range cl.nodes {
			if n.c != nil {
				newest = max(newest, n.c.State().Index())
			}
		}
		for _, n := range cl.nodes {
			if n.c != nil && n.c.State().Index() != newest {
				return false
			}
		}
		return true
	})
}

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func inventory() []policy.Document {
	return []policy.Document{
		&policy.Customer{
			ID: "uni", Name: "University", Official: []netip.Prefix{pfx("203.0.113.0/24"), pfx("2001:db8::/32")},
			Links: []policy.Link{{Prefix: pfx("203.0.113.4/30"), PE: "pe1", State: policy.LinkUnstated}},
		},
		&policy.Router{
			Name: "edge", Address: netip.MustParseAddr("127.0.0.11"), ASN: 65001, Group: "edge",
			Families:   []flowspec.Family{flowspec.IPv4, flowspec.IPv6},
			Validation: policy.ValidationDisabled, Profile: "frr", MaxPrefix: 100_000,
		},
		&policy.Policy{Name: "all", Action: policy.Action{Kind: policy.Discard}, Lifetime: 10 * time.Minute},
	}
}

const operator policy.Principal = "operator/alice"

func apply(id policy.RequestID) Command {
	return Command{By: operator, Reason: "test", RequestID: id, Request: &policy.ApplyRequest{Documents: inventory()}}
}

func start(target string, id policy.RequestID) Command {
	return Command{By: operator, Reason: "test", RequestID: id, Request: &policy.StartRequest{
		Targets: []netip.Prefix{pfx(target)}, Match: flowspec.Match{Family: flowspec.IPv4, Components: []flowspec.Component{flowspec.Proto(17)}},
		Action: policy.Action{Kind: policy.Discard}, Lifetime: 10 * time.Minute,
	}}
}

func signal(source, attack string, seq uint64, target string) policy.Signal {
	return policy.Signal{
		Source: source, AttackID: attack, Seq: seq, Kind: policy.SignalStart, Targets: []netip.Prefix{pfx(target)},
		Vector: "dns_amplification", BitsPerSecond: 1e9, DetectedAt: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
	}
}

func (n *node) write(cmd Command) Outcome {
	n.t.Helper()
	out, err := n.c.Write(context.Background(), cmd)
	if err != nil {
		n.t.Fatalf("cannot write on %s: %v", n.id, err)
	}
	if out.Decision.Verdict.Kind == policy.Refused {
		n.t.Fatalf("refused: %v %v", out.Decision.Verdict.Reason, out.Decision.Violations)
	}
	return out
}

func (n *node) report(sigs ...policy.Signal) []policy.Verdict {
	n.t.Helper()
	vs, err := n.c.Report(context.Background(), policy.Principal("detector/"+sigs[0].Source), sigs)
	if err != nil {
		n.t.Fatalf("cannot report to %s: %v", n.id, err)
	}
	return vs
}

// entries counts the commands in a node's log.
func (n *node) entries() (count int) {
	n.t.Helper()
	last, _ := n.store.LastIndex()
	for i := uint64(1); i <= last; i++ {
		var l raft.Log
		if n.store.GetLog(i, &l) == nil && l.Type == raft.LogCommand {
			count++
		}
	}
	return count
}

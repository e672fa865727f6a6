package controller

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/policy"
)

// manyMitigations returns an FSM with n active mitigations and the base for the next entry.
func manyMitigations(t testing.TB, n int) *fsm {
	t.Helper()
	f := testFSM(t)
	at := time.Unix(1e9, 0).UTC()
	docs := inventory()
	docs[0].(*policy.Customer).Official[0] = pfx("10.0.0.0/8")
	docs[0].(*policy.Customer).Links = nil
	docs = append(docs, &policy.Safeguards{
		Name: "default", WidestIPv4: 20, WidestIPv6: 40, MaxPieces: 32, MaxMitigations: 20_000, DefaultLifetime: time.Hour,
		MaxLifetime: 24 * time.Hour, MaxRemovedLinksPercent: 2,
	})
	var changes []policy.Change
	for _, d := range docs {
		changes = append(changes, &policy.PutDocument{Document: d})
	}
	index := uint64(1)
	apply := func(changes []policy.Change) {
		if r, _ := f.Apply(&raft.Log{Index: index, Data: f.mustPack(t, f.state.Load().Index(), at, changes...)}).(applyResult); r.err != nil || r.conflict {
			t.Fatalf("%+v", r)
		}
		index++
	}
	apply(changes)
	first := policy.Decide(f.state.Load(), start("10.0.0.1/32", "").Request, policy.Entry{Index: 2, At: at, By: operator})
	if len(first.Mitigations) != 1 {
		t.Fatalf("%+v", first.Verdict)
	}
	for id := 0; id < n; { // like the first, each with a target of its own: deciding them all takes too long here
		changes = nil
		for range min(500, n-id) {
			m := *first.Mitigations[0]
			m.ID = policy.MitigationID(id + 1)
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(id >> 16), byte(id >> 8), byte(id)}), 32)
			match, err := m.Variants[0].WithDestination(p)
			if err != nil {
				t.Fatal(err)
			}
			m.Targets, m.Cut.Pieces = []netip.Prefix{p}, []netip.Prefix{p}
			m.Rules = []flowspec.Rule{{Match: match, Actions: m.Rules[0].Actions}}
			changes = append(changes, &policy.PutMitigation{Mitigation: &m})
			id++
		}
		apply(changes)
	}
	return f
}

// BenchmarkApply is one entry with one mitigation, decoded and applied, with 10,000 others active.
func BenchmarkApply(b *testing.B) {
	f := manyMitigations(b, 10_000)
	s := f.state.Load()
	d := policy.Decide(s, start("10.200.0.1/32", "").Request, policy.Entry{Index: s.Index() + 1, At: s.At(), By: operator})
	data := f.mustPack(b, s.Index(), s.At(), d.Changes...)
	l := &raft.Log{Index: uint64(s.Index()) + 1, Data: data}
	b.ReportMetric(float64(len(data)), "entry-octets")
	for b.Loop() {
		f.state.Store(s)
		if r, _ := f.Apply(l).(applyResult); r.err != nil || r.conflict {
			b.Fatalf("%+v", r)
		}
	}
}

// BenchmarkSnapshot writes and restores 10,000 active mitigations.
func BenchmarkSnapshot(b *testing.B) {
	f := manyMitigations(b, 10_000)
	var buf bytes.Buffer
	var write, read time.Duration
	n := 0
	for b.Loop() {
		buf.Reset()
		t0 := time.Now()
		if err := writeSnapshot(&buf, f.state.Load()); err != nil {
			b.Fatal(err)
		}
		t1 := time.Now()
		if err := testFSM(b).Restore(io.NopCloser(bytes.NewReader(buf.Bytes()))); err != nil {
			b.Fatal(err)
		}
		write, read = write+t1.Sub(t0), read+time.Since(t1)
		n++
	}
	b.ReportMetric(float64(write.Milliseconds())/float64(n), "ms-write")
	b.ReportMetric(float64(read.Milliseconds())/float64(n), "ms-restore")
	b.ReportMetric(float64(buf.Len()), "octets")
}

// benchCluster runs n nodes on disk and loopback TCP and returns the leader.
func benchCluster(b *testing.B, n int) *Controller {
	b.Helper()
	var members []Member
	var listeners []net.Listener
	for i := range n {
		l := listen(b, "127.0.0.1:0")
		listeners = append(listeners, l)
		members = append(members, Member{ID: "n" + itoa(i+1), RaftAddress: l.Addr().String()})
	}
	var nodes []*Controller
	for i, l := range listeners {
		c, _, stop := diskNode(b, b.TempDir(), l, members, members[i].ID)
		b.Cleanup(stop)
		nodes = append(nodes, c)
	}
	var leader *Controller
	until(b, "a leader", func() bool {
		for _, c := range nodes {
			if c.Status().Leader {
				leader = c
				return true
			}
		}
		return false
	})
	docs := inventory()
	docs[0].(*policy.Customer).Official[0] = pfx("10.0.0.0/8")
	docs[0].(*policy.Customer).Links = nil
	if out, err := leader.Write(context.Background(), Command{By: operator, Request: &policy.ApplyRequest{Documents: docs}}); err != nil || out.Decision.Verdict.Kind == policy.Refused {
		b.Fatal(err, out.Decision.Verdict)
	}
	return leader
}

// BenchmarkCommit is one signal that starts a mitigation: from Report to its verdict, committed on disk, one at a time.
func BenchmarkCommit(b *testing.B) {
	for _, n := range []int{1, 3} {
		b.Run(itoa(n)+"-nodes", func(b *testing.B) {
			l := benchCluster(b, n)
			var took []time.Duration
			i := 0
			for b.Loop() {
				i++
				t0 := time.Now()
				vs, err := l.Report(b.Context(), "detector/bench", []policy.Signal{
					signal("bench", itoa(i), 1, "10."+itoa(i>>14&255)+"."+itoa(i>>6&255)+"."+itoa(i&63*4)+"/32"),
				})
				if err != nil || (vs[0].Kind != policy.Mitigated && i < 9000) {
					b.Fatalf("%v %+v", err, vs)
				}
				took = append(took, time.Since(t0))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs-p50")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "µs-p99")
		})
	}
}

// BenchmarkSignals judges repetitions of 1,000 attacks, in reports of 64, from 16 callers of one source.
func BenchmarkSignals(b *testing.B) {
	l := benchCluster(b, 1)
	var sigs []policy.Signal
	for i := range 1000 {
		sigs = append(sigs, signal("bench", itoa(i), 1, "10.0."+itoa(i>>6)+"."+itoa(i&63*4)+"/32"))
	}
	if _, err := l.Report(b.Context(), "detector/bench", sigs); err != nil {
		b.Fatal(err)
	}
	t0, n := time.Now(), 0
	for b.Loop() {
		done := make(chan error, 16)
		for c := range 16 {
			go func() {
				_, err := l.Report(context.Background(), "detector/bench", sigs[c*62:c*62+62])
				done <- err
			}()
		}
		for range 16 {
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		}
		n += 16 * 62
	}
	b.ReportMetric(float64(n)/time.Since(t0).Seconds(), "signals/s")
}

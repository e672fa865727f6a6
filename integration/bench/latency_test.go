package bench_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/cmd/client"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// loaded is how many rules are active while latency is measured; latencySamples is how often.
const (
	loaded         = 1000
	latencySamples = 300
)

// stream is one detector's stream of batches.
type stream struct {
	grpc.BidiStreamingClient[pb.StreamSignalsRequest, pb.StreamSignalsResponse]
	batch uint64
}

func openStream(ctx context.Context, c *client.Client) (*stream, error) {
	s, err := c.StreamSignals(ctx)
	return &stream{BidiStreamingClient: s}, err
}

// report sends a batch and waits for its verdicts.
func (s *stream) report(signals ...*pb.Signal) ([]*pb.Verdict, error) {
	s.batch++
	if err := s.Send(&pb.StreamSignalsRequest{BatchId: s.batch, Signals: signals}); err != nil {
		return nil, err
	}
	r, err := s.Recv()
	if err != nil {
		return nil, err
	}
	if r.GetBatchId() != s.batch || len(r.GetVerdicts()) != len(signals) {
		return nil, fmt.Errorf("batch %d of %d signals was answered by %d with %d", s.batch, len(signals), r.GetBatchId(), len(r.GetVerdicts()))
	}
	return r.GetVerdicts(), nil
}

// must is report for one signal whose verdict is known beforehand.
func (s *stream) must(b *testing.B, want pb.VerdictKind, sig *pb.Signal) {
	b.Helper()
	v, err := s.report(sig)
	if err != nil {
		b.Fatal(err)
	}
	if v[0].GetKind() != want {
		b.Fatalf("verdict %s on %s: %s", v[0].GetKind(), sig.GetAttackId(), v[0].GetText())
	}
}

func floodSignal(id string, seq uint64, kind pb.SignalKind, to netip.Prefix) *pb.Signal {
	return &pb.Signal{
		AttackId: id, Seq: seq, Kind: kind, Vector: string(benchVector), Targets: []string{to.String()},
		BitsPerSecond: 1e9, PacketsPerSecond: 1e5, Confidence: 0.9,
	}
}

// fill makes n rules active through s, one mitigation each, and waits until the router has them from every node.
func fill(b *testing.B, st *suite, s *stream, r *router, n, sessions int) {
	b.Helper()
	var batch []*pb.Signal
	for i := range n {
		batch = append(batch, floodSignal(fmt.Sprint("base-", i), 1, pb.SignalKind_SIGNAL_KIND_START, target(i, 0)))
	}
	verdicts, err := s.report(batch...)
	if err != nil {
		b.Fatal(err)
	}
	for _, v := range verdicts {
		if v.GetKind() != pb.VerdictKind_VERDICT_KIND_MITIGATED {
			b.Fatalf("verdict %s: %s", v.GetKind(), v.GetText())
		}
	}
	r.holds(st.ctx, b, n, sessions)
}

// contest is our cluster and the bare parts, each with a router of its own.
type contest struct {
	b          *testing.B
	s          *suite
	leader     *node
	stream     *stream
	own, other *router
	bare       *helper // the leader
}

func newContest(b *testing.B, s *suite, nodes int) *contest {
	b.Helper()
	c := &contest{b: b, s: s, own: newRouter(b, 4096), other: newRouter(b, 4096)}
	l := newLab(b, s, nodes)
	l.start()
	c.leader = l.leader()
	l.apply(c.leader, "nation.yaml", yamlOf(nation())+"---\n"+routerYAML(c.own.Addr()))
	for _, n := range l.nodes {
		ctx, cancel := context.WithTimeout(s.ctx, patience)
		if _, err := c.own.WaitSession(ctx, netip.MustParseAddr(n.routerID)); err != nil {
			b.Fatalf("%v\n%s", err, l.logs())
		}
		cancel()
	}
	var err error
	if c.stream, err = openStream(s.ctx, l.client(auth.Detector, "flowmon", c.leader)); err != nil {
		b.Fatal(err)
	}
	fill(b, s, c.stream, c.own, loaded, nodes)

	members := map[string]string{}
	for i, p := range freePorts(b, nodes) {
		members[fmt.Sprintf("n%d", i+1)] = p
	}
	var helpers []*helper
	for id := range members {
		dir := filepath.Join(l.dir, "bare-"+id)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			b.Fatal(err)
		}
		helpers = append(helpers, startHelper(b, s, job{
			Kind: "node", ID: id, Dir: dir, TLS: l.tls(auth.Member, "n1"), Members: members, Router: c.other.Addr(), RouterID: netip.MustParseAddr("10.0.1.1"),
		}))
	}
	l.until("the bare cluster has a leader", func() bool {
		for _, h := range helpers {
			if h.do("lead", 0).Leads {
				c.bare = h
			}
		}
		return c.bare != nil
	})
	c.bare.do("bgp", loaded)
	c.other.holds(s.ctx, b, loaded, 1)
	c.own.forget()
	c.other.forget()
	return c
}

func (c *contest) key(n int) flowspec.Key { return floodRule(c.b, sample(n)).Match.Key() }

func (c *contest) await(r *router, k flowspec.Key, gone bool) time.Time {
	c.b.Helper()
	at, err := r.await(c.s.ctx, k, gone)
	if err != nil {
		c.b.Fatal(err)
	}
	return at
}

// took is the samples of one contest.
type took struct{ empty, verdict, update, bare, bareCommit, barePath []time.Duration }

// ownSample takes one sample of ours: a start, and the end that makes room for the next.
func (c *contest) ownSample(n int, t *took) {
	c.b.Helper()
	t0 := time.Now()
	if _, err := c.stream.report(); err != nil {
		c.b.Fatal(err)
	}
	t.empty = append(t.empty, time.Since(t0))
	id, key := fmt.Sprint("sample-", n), c.key(n)
	t0 = time.Now()
	c.stream.must(c.b, pb.VerdictKind_VERDICT_KIND_MITIGATED, floodSignal(id, 1, pb.SignalKind_SIGNAL_KIND_START, sample(n)))
	t.verdict = append(t.verdict, time.Since(t0))
	t.update = append(t.update, c.await(c.own, key, false).Sub(t0))
	c.stream.must(c.b, pb.VerdictKind_VERDICT_KIND_ENDED, floodSignal(id, 2, pb.SignalKind_SIGNAL_KIND_END, sample(n)))
	c.await(c.own, key, true)
}

// bareSample takes one sample of the bare parts, with as many commits.
func (c *contest) bareSample(n int, t *took) {
	c.b.Helper()
	r, key := c.bare.do("op", n), c.key(n)
	at := c.await(c.other, key, false)
	t.bareCommit = append(t.bareCommit, time.Duration(r.Committed-r.Start))
	t.barePath = append(t.barePath, time.Duration(at.UnixNano()-r.Committed))
	t.bare = append(t.bare, time.Duration(at.UnixNano()-r.Start))
	c.bare.do("del", n)
	c.await(c.other, key, true)
}

// measureLatency takes the way of a signal, on so many nodes.
func measureLatency(b *testing.B, s *suite, nodes int) {
	var t took
	c := newContest(b, s, nodes)
	runtime.GC()
	before, err := c.leader.metrics()
	if err != nil {
		b.Fatal(err)
	}
	for n := range latencySamples {
		// Whoever comes second finds disk and caches warm: each does as often.
		if n%2 == 0 {
			c.ownSample(n, &t)
			c.bareSample(n, &t)
		} else {
			c.bareSample(n, &t)
			c.ownSample(n, &t)
		}
	}
	after, err := c.leader.metrics()
	if err != nil {
		b.Fatal(err)
	}
	commit := commitMedian(before, after)
	where := "one node"
	if nodes > 1 {
		where = fmt.Sprintf("%d nodes", nodes)
	}
	chapter := "From a signal to the router, " + where + ", 1,000 rules active"
	way := quantile(t.empty, 0.5) / 2
	at := make([]time.Duration, len(t.update))
	for i, d := range t.update {
		at[i] = d - way
	}
	s.report.add(figure{
		Chapter: chapter, Name: "signal at the leader until first UPDATE, p50, ratio to bare", Value: ratio(quantile(at, 0.5), quantile(t.bare, 0.5)), Unit: "x",
		AtMost: 1.5,
		Definition: fmt.Sprintf("processes of the binary, raft on disk, mutual TLS; bare: one raft.Apply of %d octets on the same store, settings and number of "+
			"processes, then one AddPath of GoBGP with 1,000 paths until its router has it; %d samples of each in turns", entryOctets, latencySamples),
	})
	s.report.add(figure{
		Chapter: chapter, Name: "the same ratio, p10", Value: ratio(quantile(at, 0.1), quantile(t.bare, 0.1)), Unit: "x",
		Definition: "of the fastest tenth of each side, which nobody else disturbed much; no target, it tells a busy machine from a slow path",
	})
	for _, q := range []float64{0.1, 0.5, 0.99} {
		s.report.add(figure{
			Chapter: chapter, Name: fmt.Sprintf("signal at the leader until first UPDATE, p%.0f", q*100), Value: milli(quantile(at, q)), Unit: "ms",
			Definition: fmt.Sprintf("from the detector's Send until the router read the first UPDATE with the rule, less %.2f ms for the way to the leader (half "+
				"of what an empty batch takes on the same stream, p50)", milli(way)),
		})
		s.report.add(figure{
			Chapter: chapter, Name: fmt.Sprintf("bare raft apply and AddPath, p%.0f", q*100), Value: milli(quantile(t.bare, q)), Unit: "ms",
			Definition: fmt.Sprintf("of it raft %.2f ms, GoBGP until the router has it %.2f ms", milli(quantile(t.bareCommit, q)), milli(quantile(t.barePath, q))),
		})
	}
	s.report.add(figure{
		Chapter: chapter, Name: "detector's Send until its verdict, p50", Value: milli(quantile(t.verdict, 0.5)), Unit: "ms",
		Definition: fmt.Sprintf("both ways, decision and commit; the leader's own count of commits of starts and ends: p50 %.2f ms (tidegate_commit_seconds); "+
			"the whole from Send to UPDATE: %.2f ms", milli(commit), milli(quantile(t.update, 0.5))),
	})
}

// commitMedian reads the median of what the leader's commits took between two looks out of its histogram, within the
// bucket as if they were spread evenly there.
func commitMedian(before, after map[string]float64) time.Duration {
	const name = "tidegate_commit_seconds"
	half := (after[name+"_count"] - before[name+"_count"]) / 2
	below, low := 0.0, 0.0
	for high := 0.0001; high < 10; high *= 2 {
		bucket := fmt.Sprintf("%s_bucket{le=\"%v\"}", name, high)
		n := after[bucket] - before[bucket]
		if n >= half && n > below {
			return time.Duration((low + (high-low)*(half-below)/(n-below)) * 1e9)
		}
		below, low = n, high
	}
	return 0
}

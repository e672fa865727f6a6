package bench_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/cmd/client"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

const (
	batchSignals = 100             // signals of one message while the rate is measured
	rateWindow   = 2 * time.Second // one sample of the rate
	rateWindows  = 4
	known        = 500 // attacks that one stream reports again and again
)

// The mix of a batch, of 100: what a detector sends in a long attack. The rest are repetitions, word by word.
const (
	mixUpdates  = 25 // known attack, higher seq, new rates
	mixObserved = 10 // a vector that no policy takes, higher seq
	mixRefused  = 5  // an address that nobody owns, higher seq
)

// source makes the batches of one stream.
type source struct {
	id      int
	seqs    []uint64 // of the known attacks
	next    int
	other   uint64
	batches uint64
}

// pipeline is how many batches a stream has on their way.
const pipeline = 4

func newSource(id int) *source {
	s := &source{id: id, seqs: make([]uint64, known)}
	for i := range s.seqs {
		s.seqs[i] = 1
	}
	return s
}

// start is the batch that makes the known attacks known.
func (s *source) start() []*pb.Signal {
	var out []*pb.Signal
	for i := range known {
		out = append(out, s.attack(i))
	}
	return out
}

func (s *source) attack(i int) *pb.Signal {
	sig := floodSignal(fmt.Sprintf("s%d-%d", s.id, i), s.seqs[i], pb.SignalKind_SIGNAL_KIND_UPDATE, target((s.id*known+i)%customers, s.id*known/customers))
	sig.BitsPerSecond += float64(s.seqs[i])
	return sig
}

// batch is the next batch of n signals.
func (s *source) batch(n int) *pb.StreamSignalsRequest {
	s.batches++
	req := &pb.StreamSignalsRequest{BatchId: s.batches, Signals: make([]*pb.Signal, 0, n)}
	for i := range n {
		switch k := i % 100; {
		case k < mixRefused+mixObserved:
			s.other++
			sig := floodSignal(fmt.Sprintf("s%d-o%d", s.id, i), s.other, pb.SignalKind_SIGNAL_KIND_UPDATE, target(i, 900))
			if sig.Vector = string(benchUnheard); k < mixRefused {
				sig.Targets[0] = "8.8.8.8/32"
			}
			req.Signals = append(req.Signals, sig)
		default:
			s.next = (s.next + 1) % known
			if k < mixRefused+mixObserved+mixUpdates {
				s.seqs[s.next]++
			}
			req.Signals = append(req.Signals, s.attack(s.next))
		}
	}
	return req
}

// tally counts verdicts.
type tally struct {
	judged, shed, mitigated, merged, observed, refused atomic.Int64
}

func (t *tally) count(verdicts []*pb.Verdict) {
	var n [16]int64
	for _, v := range verdicts {
		n[min(int(v.GetKind()), len(n)-1)]++
	}
	retry := n[pb.VerdictKind_VERDICT_KIND_RETRY]
	t.shed.Add(retry)
	t.judged.Add(int64(len(verdicts)) - retry)
	t.mitigated.Add(n[pb.VerdictKind_VERDICT_KIND_MITIGATED])
	t.merged.Add(n[pb.VerdictKind_VERDICT_KIND_MERGED])
	t.observed.Add(n[pb.VerdictKind_VERDICT_KIND_OBSERVED])
	t.refused.Add(n[pb.VerdictKind_VERDICT_KIND_REFUSED])
}

// load is streams at work.
type load struct {
	b      *testing.B
	cancel context.CancelFunc
	wg     sync.WaitGroup
	tally  tally
	sent   atomic.Int64 // signals handed to gRPC
	mu     sync.Mutex   // guards err
	err    error
}

func (l *load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = err
	}
}

// stop ends the streams and waits for them.
func (l *load) stop() {
	l.b.Helper()
	l.cancel()
	l.wg.Wait()
	if l.err != nil {
		l.b.Fatal(l.err)
	}
}

// drive keeps so many batches of n signals on their way on a stream, until ctx ends.
func (l *load) drive(ctx context.Context, c *client.Client, s *source, n, ahead int) {
	l.wg.Go(func() {
		if err := l.driveOne(ctx, c, s, n, ahead); err != nil && ctx.Err() == nil {
			l.fail(err)
		}
	})
}

func (l *load) driveOne(ctx context.Context, c *client.Client, s *source, n, ahead int) error {
	st, err := openStream(ctx, c)
	if err != nil {
		return err
	}
	room := make(chan struct{}, ahead)
	var sender sync.WaitGroup
	defer sender.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sender.Go(func() {
		for {
			select {
			case room <- struct{}{}:
			case <-ctx.Done():
				_ = st.CloseSend() // the stream ends with its context in any case
				return
			}
			if err := st.Send(s.batch(n)); err != nil {
				return // Recv tells why
			}
			l.sent.Add(int64(n))
		}
	})
	for {
		r, err := st.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				return errors.New("the node ended the stream")
			}
			return err
		}
		l.tally.count(r.GetVerdicts())
		<-room
	}
}

// newLoad is load that stops with s's context.
func newLoad(b *testing.B, s *suite) (*load, context.Context) {
	ctx, cancel := context.WithCancel(s.ctx)
	l := &load{b: b, cancel: cancel}
	return l, ctx
}

// arena is one real node with the nation's inventory and detectors that have told it their attacks.
type arena struct {
	l         *lab
	n         *node
	detectors []*client.Client
	sources   []*source
}

const detectors = 16

func newArena(b *testing.B, s *suite) *arena {
	b.Helper()
	l := newLab(b, s, 1)
	for i := range detectors {
		l.issue(auth.Detector, fmt.Sprint("d", i))
	}
	l.start()
	a := &arena{l: l, n: l.nodes[0]}
	r := newRouter(b, 0)
	l.apply(a.n, "nation.yaml", yamlOf(nation())+"---\n"+routerYAML(r.Addr()))
	for i := range detectors {
		a.detectors = append(a.detectors, l.client(auth.Detector, fmt.Sprint("d", i), a.n))
		a.sources = append(a.sources, newSource(i))
		ctx, cancel := context.WithTimeout(s.ctx, patience)
		st, err := openStream(ctx, a.detectors[i])
		if err != nil {
			b.Fatal(err)
		}
		verdicts, err := st.report(a.sources[i].start()...)
		if err != nil {
			b.Fatal(err)
		}
		for _, v := range verdicts {
			if v.GetKind() != pb.VerdictKind_VERDICT_KIND_MITIGATED {
				b.Fatalf("verdict %s: %s", v.GetKind(), v.GetText())
			}
		}
		cancel()
	}
	r.holds(s.ctx, b, detectors*known, 1)
	return a
}

// rate is how many signals a second are judged on so many streams, in several windows.
type rate struct {
	best, median float64 // signals a second
	cpu          float64 // microseconds of the node's CPU for one signal
	tally        *tally
}

func (a *arena) rate(b *testing.B, s *suite, streams int) rate {
	b.Helper()
	l, ctx := newLoad(b, s)
	defer l.stop()
	for i := range streams {
		l.drive(ctx, a.detectors[i], a.sources[i], batchSignals, pipeline)
	}
	a.l.until("signals are judged", func() bool { return l.tally.judged.Load() > int64(streams*batchSignals*10) })
	before, err := a.n.metrics()
	if err != nil {
		b.Fatal(err)
	}
	from := l.tally.judged.Load()
	var rates []float64
	tick := time.NewTicker(rateWindow)
	defer tick.Stop()
	at, count := time.Now(), from
	for range rateWindows {
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			b.Fatal(s.ctx.Err())
		}
		now, n := time.Now(), l.tally.judged.Load()
		rates = append(rates, float64(n-count)/now.Sub(at).Seconds())
		at, count = now, n
	}
	after, err := a.n.metrics()
	if err != nil {
		b.Fatal(err)
	}
	cpu := (after["process_cpu_seconds_total"] - before["process_cpu_seconds_total"]) / float64(l.tally.judged.Load()-from) * 1e6
	return rate{best: quantile(rates, 1), median: quantile(rates, 0.5), cpu: cpu, tally: &l.tally}
}

// measureSignals takes how many signals a node judges, and what it does with ten times as many.
func measureSignals(b *testing.B, s *suite) {
	a := newArena(b, s)
	const chapter = "Signals over mutual TLS, one node, 8,000 rules active"
	var most float64
	for _, streams := range []int{1, detectors} {
		r := a.rate(b, s, streams)
		most = max(most, r.best)
		s.report.add(figure{
			Chapter: chapter, Name: fmt.Sprintf("judged per second, streams: %d", streams), Value: r.best, Unit: "/s", AtLeast: 50_000,
			Definition: fmt.Sprintf("messages of %d signals, at most %d on their way on a stream; of 100: 60 repetitions, %d updates of known attacks, %d that no "+
				"policy takes, %d toward nobody's address; the best of %d windows of %s, as others use the machine, median %.0f/s; the node's CPU %.1f us per "+
				"signal; the generator runs on the same CPUs", batchSignals, pipeline, mixUpdates, mixObserved, mixRefused, rateWindows, rateWindow, r.median, r.cpu),
		})
		if n := r.tally.shed.Load() + r.tally.mitigated.Load(); n > 0 {
			b.Errorf("%d signals were shed or mitigated anew: the mix is not what it claims", n)
		}
	}
	a.overload(b, s, most)
}

package bench_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/cmd/client"
)

const (
	overloadFor     = 9 * time.Second
	overloadStreams = 64
	overloadBatch   = 1000 // the longest message that is taken
	// overloadGrowth is how much the node's resident memory may grow, in MiB: 16 for each stream, which is what gRPC's
	// flow control alone takes for one if nobody stops it.
	overloadGrowth = overloadStreams * 16
)

// memory is what a node's process uses, in MiB. Live is the heap that the last collection found in use: the next one is
// due at twice as much.
type memory struct{ resident, live float64 }

func (n *node) memory(b *testing.B) memory {
	b.Helper()
	m, err := n.metrics()
	if err != nil {
		b.Fatal(err)
	}
	const mib = 1 << 20
	return memory{resident: m["process_resident_memory_bytes"] / mib, live: m["go_memstats_next_gc_bytes"] / 2 / mib}
}

// settle is how long a node is watched that has nothing to do, for its least memory.
const settle = 2 * time.Second

// rest is the node's memory when nothing is asked of it.
func (a *arena) rest(b *testing.B, s *suite) memory {
	b.Helper()
	least := a.n.memory(b)
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for began := time.Now(); time.Since(began) < settle; {
		select {
		case <-s.ctx.Done():
			b.Fatal(s.ctx.Err())
		case <-look.C:
			m := a.n.memory(b)
			least.resident, least.live = min(least.resident, m.resident), min(least.live, m.live)
		}
	}
	return least
}

// overload offers ten times as many signals as were judged a second: batches of the greatest length become due at
// that rate on 64 streams of one detector, which never waits for a verdict and never heeds retry_after. What gRPC's
// flow control does not take off the detector's hands stays there and counts as held back.
func (a *arena) overload(b *testing.B, s *suite, most float64) {
	b.Helper()
	before := a.rest(b, s)
	l, ctx := newLoad(b, s)
	defer l.stop()
	due := make(chan struct{}, overloadStreams*4) // a detector's own memory is bounded too
	flooder := a.l.client(auth.Detector, "d0", a.n)
	for range overloadStreams {
		l.offer(ctx, flooder, due)
	}
	offered, held := 0, 0
	var thirds [3]memory
	every := time.Duration(overloadBatch / (10 * most) * float64(time.Second))
	tick, look := time.NewTicker(10*time.Millisecond), time.NewTicker(100*time.Millisecond)
	defer tick.Stop()
	defer look.Stop()
	began := time.Now()
	for time.Since(began) < overloadFor {
		select {
		case <-s.ctx.Done():
			b.Fatal(s.ctx.Err())
		case <-tick.C:
			for ; time.Duration(offered)*every < time.Since(began); offered++ {
				select {
				case due <- struct{}{}:
				default:
					held++
				}
			}
		case <-look.C:
			m := a.n.memory(b)
			h := &thirds[min(2, int(3*time.Since(began)/overloadFor))]
			h.resident, h.live = max(h.resident, m.resident), max(h.live, m.live)
		}
	}
	took := time.Since(began).Seconds()
	judged, shed, sent := l.tally.judged.Load(), l.tally.shed.Load(), l.sent.Load()
	l.cancel()
	l.wg.Wait()
	after := a.rest(b, s)
	const chapter = "Overload: ten times as many signals as can be judged"
	peak := max(thirds[0].resident, thirds[1].resident, thirds[2].resident)
	s.report.add(figure{
		Chapter: chapter, Name: "growth of the node's resident memory", Value: peak - before.resident, Unit: "MiB", AtMost: overloadGrowth,
		Definition: fmt.Sprintf("resident before %.0f, at most %.0f, %.0f, %.0f in each third, after %.0f MiB; live heap %.0f, %.0f, %.0f, %.0f, %.0f "+
			"MiB; %s of messages of %d signals on %d streams of one detector that waits for no verdict and heeds no retry_after", before.resident,
			thirds[0].resident, thirds[1].resident, thirds[2].resident, after.resident, before.live, thirds[0].live, thirds[1].live, thirds[2].live,
			after.live, overloadFor, overloadBatch, overloadStreams),
	})
	s.report.add(figure{
		Chapter: chapter, Name: "live heap in the last third, ratio to the second", Value: thirds[2].live / thirds[1].live, Unit: "x", AtMost: 1.25,
		Definition: "greatest live heap in each third: what grew with time would show here",
	})
	s.report.add(figure{
		Chapter: chapter, Name: "offered", Value: float64(offered*overloadBatch) / took, Unit: "/s",
		Definition: fmt.Sprintf("%d signals became due; %d never left the detector, held back by gRPC's flow control; %d were sent", offered*overloadBatch,
			int64(offered*overloadBatch)-sent, sent),
	})
	s.report.add(figure{
		Chapter: chapter, Name: "judged", Value: float64(judged) / took, Unit: "/s", Definition: fmt.Sprintf("%d signals", judged),
	})
	s.report.add(figure{
		Chapter: chapter, Name: "shed", Value: float64(shed) / took, Unit: "/s",
		Definition: fmt.Sprintf("%d signals answered with VERDICT_KIND_RETRY because 4,096 of their source waited; no stream was ended", shed),
	})
	if shed == 0 || judged == 0 {
		b.Errorf("%d signals were judged and %d shed: both are expected under overload", judged, shed)
	}
	if l.err != nil {
		b.Error(l.err)
	}
}

// offer sends a batch on a stream of its own whenever one is due.
func (l *load) offer(ctx context.Context, c *client.Client, due <-chan struct{}) {
	l.wg.Go(func() {
		st, err := openStream(ctx, c)
		if err != nil {
			l.fail(err)
			return
		}
		l.wg.Go(func() {
			// Every batch is the same: repetitions, shed or judged, are what a flood consists of.
			req := newSource(0).batch(overloadBatch)
			for {
				select {
				case <-due:
				case <-ctx.Done():
					return
				}
				if err := st.Send(req); err != nil {
					return // Recv tells why
				}
				l.sent.Add(overloadBatch)
			}
		})
		for {
			r, err := st.Recv()
			if err != nil {
				if ctx.Err() == nil {
					l.fail(err)
				}
				return
			}
			l.tally.count(r.GetVerdicts())
		}
	})
}

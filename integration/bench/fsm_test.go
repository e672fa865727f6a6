package bench_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-metrics"
	"github.com/hashicorp/raft"

	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/controller"
	"github.com/tidegate/tidegate/policy"
)

// applySink keeps what raft measures of each FSM.Apply.
type applySink struct {
	metrics.BlackholeSink

	mu   sync.Mutex // guards took
	took []time.Duration
}

// AddSample implements metrics.MetricSink; the values of timers are milliseconds.
func (a *applySink) AddSample(key []string, val float32) {
	if n := len(key); n < 3 || !slices.Equal(key[n-3:], []string{"raft", "fsm", "apply"}) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.took = append(a.took, time.Duration(float64(val)*1e6))
}

// AddSampleWithLabels implements metrics.MetricSink.
func (a *applySink) AddSampleWithLabels(key []string, val float32, _ []metrics.Label) {
	a.AddSample(key, val)
}

func (a *applySink) drain() []time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	took := a.took
	a.took = nil
	return took
}

// mute is a speaker that nobody hears.
type mute struct{}

func (mute) Set(context.Context, wanted.Set) error { return nil }
func (mute) Status() wanted.Status                 { return wanted.Status{} }

// measureFSM takes what one entry costs in the FSM of a real controller: its codec, State.Apply, publishing.
func measureFSM(b *testing.B, s *suite) {
	sink := &applySink{}
	conf := metrics.DefaultConfig("bench")
	conf.EnableHostname, conf.EnableRuntimeMetrics = false, false
	if _, err := metrics.NewGlobal(conf, sink); err != nil {
		b.Fatal(err)
	}
	defer func() {
		if _, err := metrics.NewGlobal(conf, &metrics.BlackholeSink{}); err != nil {
			b.Error(err)
		}
	}()
	c, stop := inMemory(b)
	defer stop()
	if _, err := c.Write(s.ctx, controller.Command{By: "operator/bench", Request: &policy.ApplyRequest{Documents: append(nation(), edge())}}); err != nil {
		b.Fatal(err)
	}
	var all []policy.Signal
	for i := range active {
		all = append(all, flood(fmt.Sprint("a", i), target(i%customers, i/customers)))
	}
	for part := range slices.Chunk(all, 1000) {
		reportAll(s.ctx, b, c, part)
	}
	sink.drain()
	var whole []time.Duration
	for i := range 1000 {
		t0 := time.Now()
		reportAll(s.ctx, b, c, []policy.Signal{flood(fmt.Sprint("x", i), target(i%customers, 300))})
		whole = append(whole, time.Since(t0))
	}
	took := sink.drain()
	if len(took) < 1000 {
		b.Fatalf("raft measured %d applies of 1000", len(took))
	}
	const chapter = "The state machine, raft and log in memory, 10,000 active mitigations"
	for _, q := range []float64{0.5, 0.99} {
		s.report.add(figure{
			Chapter: chapter, Name: fmt.Sprintf("FSM.Apply of an entry with one new mitigation, p%.0f", q*100), Value: micro(quantile(took, q)), Unit: "us",
			Definition: "of an entry that was tried before it was written: publishing the State and letting the reconciler go first, as raft itself measures it (raft.fsm.apply); 1,000 samples",
		})
	}
	s.report.add(figure{
		Chapter: chapter, Name: "Controller.Report of one new attack, p50", Value: micro(quantile(whole, 0.5)), Unit: "us",
		Definition: "queue, decider, Decide, packing, raft without disk or network, FSM, answer; 1,000 samples",
	})
}

// inMemory is a controller of one node whose log is in memory, leading.
func inMemory(b *testing.B) (*controller.Controller, func()) {
	b.Helper()
	began := time.Now()
	addr, transport := raft.NewInmemTransport("n1")
	store := raft.NewInmemCommitTrackingStore()
	c, err := controller.New(controller.Config{
		Cluster: "bench", NodeID: "n1", Members: []controller.Member{{ID: "n1", RaftAddress: string(addr), APIAddress: "n1"}},
	}, controller.Deps{
		Elapsed: func() wanted.Instant { return wanted.Instant(time.Since(began)) }, Now: time.Now, Speaker: mute{}, Transport: transport,
		Stores: &controller.Stores{Log: store, Stable: store, Snapshots: raft.NewInmemSnapshotStore()},
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	for !c.Status().Leader { // a leader's first entry is its lease
		updated := c.Updated()
		if c.Status().Leader {
			break
		}
		select {
		case <-updated:
		case err := <-ended:
			b.Fatal(err)
		case <-time.After(10 * time.Second):
			b.Fatal("no leader after 10 s")
		}
	}
	return c, func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	}
}

func reportAll(ctx context.Context, b *testing.B, c *controller.Controller, signals []policy.Signal) {
	b.Helper()
	verdicts, err := c.Report(ctx, "detector/flowmon", signals)
	if err != nil {
		b.Fatal(err)
	}
	for _, v := range verdicts {
		if v.Kind != policy.Mitigated {
			b.Fatalf("verdict %d: %s", v.Kind, v.Reason.Text)
		}
	}
}

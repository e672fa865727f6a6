package controller

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidegate/tidegate/policy"
)

// maxLabelled bounds how many sources get a time series of their own; the others share one.
const maxLabelled = 64

// metrics is what this node counts. All of it works without a Registerer, too.
type metrics struct {
	verdicts  *prometheus.CounterVec
	shed      *prometheus.CounterVec
	commit    prometheus.Histogram
	conflicts prometheus.Counter
	// breakGlass counts what went past an approval, on every node.
	breakGlass prometheus.Counter
	elections  prometheus.Counter

	mu      sync.Mutex // guards sources
	sources map[policy.Principal]bool
}

func newMetrics() *metrics {
	return &metrics{
		verdicts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tidegate_decisions_total", Help: "Signals and writes answered by this node as leader.",
		}, []string{"verdict", "code"}),
		shed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tidegate_shed_signals_total", Help: "Signals answered with retry because their source has too many waiting.",
		}, []string{"source"}),
		commit: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tidegate_commit_seconds", Help: "Time from handing an entry to raft to its application on the leader.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tidegate_conflicts_total", Help: "Entries that did nothing because they were decided on another state.",
		}),
		breakGlass: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tidegate_break_glass_total", Help: "Mitigations and orders that went past an approval, as this node applied them.",
		}),
		elections: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tidegate_elections_total", Help: "Terms that this node began to lead.",
		}),
		sources: make(map[policy.Principal]bool),
	}
}

// register adds what is counted, and what is read off the controller when asked.
func (m *metrics) register(r prometheus.Registerer, c *Controller) error {
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f)
	}
	collectors := []prometheus.Collector{
		m.verdicts, m.shed, m.commit, m.conflicts, m.elections,
		gauge("tidegate_applied_index", "Index of the last entry that changed this node's state.", func() float64 {
			return float64(c.State().Index())
		}),
		gauge("tidegate_active_mitigations", "Mitigations that are active.", func() float64 {
			return float64(c.State().ActiveCount())
		}),
		gauge("tidegate_pending_approvals", "What awaits a second person.", func() float64 {
			return float64(c.State().AwaitingCount())
		}),
		gauge("tidegate_break_glass_mitigations", "Mitigations that nobody approved although that was needed.", func() float64 {
			return float64(c.State().UnapprovedCount())
		}),
		m.breakGlass,
		gauge("tidegate_waiting_signals", "Signals that wait to be judged.", func() float64 {
			_, n := c.queue.length()
			return float64(n)
		}),
		gauge("tidegate_waiting_writes", "Writes that wait to be decided.", func() float64 {
			n, _ := c.queue.length()
			return float64(n)
		}),
		gauge("tidegate_lease_remaining_seconds", "Time for which this node goes on announcing without a live leader.", func() float64 {
			return c.leaseRemaining().Seconds()
		}),
		gauge("tidegate_serving", "1 while this node follows the log; 0 when it stopped for good.", func() float64 {
			return truth(c.fsm.stoppedBy() == nil)
		}),
		gauge("tidegate_frozen", "1 while the cluster is frozen: policies start nothing.", func() float64 {
			_, frozen := c.State().Frozen()
			return truth(frozen)
		}),
		gauge("tidegate_quarantined_detectors", "Detectors in quarantine, whose signals are observed only.", func() float64 {
			return float64(c.State().QuarantineCount())
		}),
		gauge("tidegate_leader", "1 while this node decides.", func() float64 { return truth(c.leading() != 0) }),
	}
	for _, col := range collectors {
		if err := r.Register(col); err != nil && !errors.As(err, &prometheus.AlreadyRegisteredError{}) {
			return fmt.Errorf("cannot register metrics: %w", err)
		}
	}
	return nil
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// decided counts the answers of a batch.
func (m *metrics) decided(b *batch) {
	for _, w := range b.writes {
		m.count(w.out.Decision.Verdict)
	}
	for _, r := range b.reports {
		for _, v := range r.verdicts[r.from:r.upTo] {
			m.count(v)
		}
	}
}

// count relies on verdicts and codes being few: both are constants of the program.
func (m *metrics) count(v policy.Verdict) {
	m.verdicts.WithLabelValues(verdictName(v.Kind), string(v.Reason.Code)).Inc()
}

func verdictName(k policy.VerdictKind) string {
	switch k {
	case policy.Mitigated:
		return "mitigated"
	case policy.Merged:
		return "merged"
	case policy.Observed:
		return "observed"
	case policy.Ended:
		return "ended"
	case policy.Refused:
		return "refused"
	case policy.Retry:
		return "retry"
	case policy.AwaitsApproval:
		return "pending"
	default:
		return "unknown"
	}
}

func (m *metrics) shedSignals(from policy.Principal, n int) {
	m.mu.Lock()
	if !m.sources[from] {
		if len(m.sources) < maxLabelled {
			m.sources[from] = true
		} else {
			from = "other"
		}
	}
	m.mu.Unlock()
	m.shed.WithLabelValues(string(from)).Add(float64(n))
}

// retryAfter is when a source that has too much waiting may try again.
const retryAfter = 250 * time.Millisecond

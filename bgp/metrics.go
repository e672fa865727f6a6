package bgp

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// collector makes metrics out of Status; nothing is counted twice.
type collector struct {
	speaker *Speaker

	established, stuck, routes               *prometheus.Desc
	announced, withdrawn, resets, stuckTotal *prometheus.Desc
	forced, phaseWaits, phaseSeconds         *prometheus.Desc
	unusable, engines                        *prometheus.Desc
	refused, revision, reached, lease, out   *prometheus.Desc
}

func newCollector(s *Speaker) *collector {
	perRouter := func(name, help string, more ...string) *prometheus.Desc {
		return prometheus.NewDesc("tidegate_bgp_"+name, help, append([]string{"router"}, more...), nil)
	}
	plain := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("tidegate_bgp_"+name, help, nil, nil)
	}
	return &collector{
		speaker:      s,
		established:  perRouter("session_established", "1 if the session with the router is up."),
		stuck:        perRouter("session_stuck", "1 if the session is up but the router has stopped reading."),
		routes:       perRouter("routes", "Routes at the router by state.", "state"),
		announced:    perRouter("announcements_total", "Announcements handed to the session."),
		withdrawn:    perRouter("withdrawals_total", "Withdrawals handed to the session."),
		resets:       perRouter("session_resets_total", "Sessions reset because the router stopped reading."),
		stuckTotal:   perRouter("session_stuck_total", "Times that the router was found to have stopped reading."),
		forced:       perRouter("forced_withdrawals_total", "Routes withdrawn before their replacement for want of room."),
		phaseWaits:   perRouter("phase_waits_total", "Times that withdrawals waited until their replacements were sent."),
		phaseSeconds: perRouter("phase_wait_seconds_total", "Seconds that withdrawals waited for their replacements."),
		unusable:     perRouter("unusable_total", "Times that the router was found not to be usable as configured, and not dialled."),
		engines:      perRouter("engine_failures_total", "Times that GoBGP failed to do what it was told and was replaced, with its session."),
		refused:      plain("guard_refusals_total", "Routes refused before the wire."),
		revision:     plain("revision", "Revision of the newest Set."),
		reached:      plain("revision_reached", "Newest revision that is sent completely on every session."),
		lease:        plain("lease_seconds", "Seconds until everything is withdrawn unless a new Set comes."),
		out:          plain("out", "1 while everything is withdrawn by an operator's order, see tidegate speaker status."),
	}
}

// Describe is part of prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.established, c.stuck, c.routes, c.announced, c.withdrawn, c.resets, c.stuckTotal, c.forced, c.phaseWaits,
		c.phaseSeconds, c.unusable, c.engines, c.refused, c.revision, c.reached, c.lease, c.out,
	} {
		ch <- d
	}
}

// Collect is part of prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	flag := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	st := c.speaker.summary()
	counter(c.refused, float64(c.speaker.refused.Load()))
	gauge(c.revision, float64(st.Revision))
	gauge(c.reached, float64(st.Settled))
	gauge(c.lease, time.Duration(st.LeaseUntil-st.At).Seconds())
	gauge(c.out, flag(st.Out != nil))
	for r, m := range c.speaker.members() {
		p, n := m.tally()
		gauge(c.established, flag(p.State.Up()), r)
		gauge(c.stuck, flag(p.State == wanted.SessionStuck), r)
		gauge(c.routes, float64(p.Sent), r, "sent")
		gauge(c.routes, float64(p.Queued), r, "queued")
		gauge(c.routes, float64(p.Withdrawing), r, "withdrawing")
		gauge(c.routes, float64(p.OverBudget), r, "over_budget")
		counter(c.announced, float64(n.announced), r)
		counter(c.withdrawn, float64(n.withdrawn), r)
		counter(c.resets, float64(n.resets), r)
		counter(c.stuckTotal, float64(n.stuck), r)
		counter(c.forced, float64(n.forced), r)
		counter(c.phaseWaits, float64(n.phaseWaits), r)
		counter(c.phaseSeconds, n.phaseWaited.Seconds(), r)
		counter(c.unusable, float64(n.unusable), r)
		counter(c.engines, float64(n.engines), r)
	}
}

// tally is the state of the session with its numbers of routes, and the counters.
func (n *neighbour) tally() (wanted.SessionStatus, counts) {
	n.mu.Lock()
	defer n.mu.Unlock()
	st := wanted.SessionStatus{State: n.session.state}
	n.standings(func(_ flowspec.Key, w standing) { count(&st, w.state) })
	return st, n.counts
}

// register adds the metrics to the registry of Deps, if there is one.
func (s *Speaker) register() (unregister func(), err error) {
	if s.deps.Registerer == nil {
		return func() {}, nil
	}
	c := newCollector(s)
	if err := s.deps.Registerer.Register(c); err != nil {
		return nil, fmt.Errorf("cannot register metrics: %w", err)
	}
	return func() { s.deps.Registerer.Unregister(c) }, nil
}

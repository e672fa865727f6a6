package api

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts what the API does. Labels take few values: methods of the services, codes, roles, verdicts.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	streams  *prometheus.GaugeVec
	signals  *prometheus.CounterVec
	forwards *prometheus.CounterVec
	panics   prometheus.Counter
}

// newMetrics makes the metrics and registers them with r, if there is one.
func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "tidegate", Subsystem: "api", Name: "requests_total", Help: "Calls that ended, by method, gRPC code and role of the caller.",
		}, []string{"method", "code", "role"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "tidegate", Subsystem: "api", Name: "request_seconds", Help: "How long unary calls took.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}, []string{"method"}),
		streams: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Namespace: "tidegate", Subsystem: "api", Name: "streams", Help: "Streams that are open, by method.",
		}, []string{"method"}),
		signals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "tidegate", Subsystem: "api", Name: "signals_total", Help: "Signals answered, by verdict and reason code.",
		}, []string{"verdict", "reason"}),
		forwards: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "tidegate", Subsystem: "api", Name: "forwards_total", Help: "Calls made again at the leader, by gRPC code of its answer.",
		}, []string{"code"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "tidegate", Subsystem: "api", Name: "panics_total", Help: "Calls that ended in a panic. Any is a fault of the program.",
		}),
	}
	if r == nil {
		return m, nil
	}
	var errs []error
	for _, c := range []prometheus.Collector{m.requests, m.seconds, m.streams, m.signals, m.forwards, m.panics} {
		errs = append(errs, r.Register(c))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("cannot register metrics: %w", err)
	}
	return m, nil
}

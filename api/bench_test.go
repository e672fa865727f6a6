package api_test

import (
	"fmt"
	"testing"

	"github.com/tidegate/tidegate/api/auth"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// BenchmarkStreamSignals measures signals answered on one stream of batches of 100, mutual TLS, with the real
// judgement of package policy and without raft. The attack is known after the first batch.
func BenchmarkStreamSignals(b *testing.B) {
	for _, at := range []string{"n1", "n2"} {
		name := map[string]string{"n1": "leader", "n2": "follower"}[at]
		b.Run(name, func(b *testing.B) {
			l := newLab(b, "n1", "n2")
			l.load()
			stream, err := tidegatev1.NewSignalServiceClient(l.dial(at, auth.Detector, "fnm")).StreamSignals(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			const size = 100
			batch := &tidegatev1.StreamSignalsRequest{}
			for i := range size {
				batch.Signals = append(batch.Signals, signal(fmt.Sprintf("a%d", i), 1, tidegatev1.SignalKind_SIGNAL_KIND_START))
			}
			b.ResetTimer()
			sent := make(chan error, 1)
			n := b.N
			go func() {
				for range n {
					if err := stream.Send(batch); err != nil {
						sent <- err
						return
					}
				}
				sent <- stream.CloseSend()
			}()
			for range n {
				if _, err := stream.Recv(); err != nil {
					b.Fatal(err)
				}
			}
			if err := <-sent; err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(n*size)/b.Elapsed().Seconds(), "signals/s")
		})
	}
}

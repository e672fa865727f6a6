package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tidegate/tidegate/cmd/client"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// detector is a detection system with one open stream to one node.
type detector struct {
	node   string
	client *client.Client
	stream grpc.BidiStreamingClient[pb.StreamSignalsRequest, pb.StreamSignalsResponse]
	cancel context.CancelFunc
	batch  uint64
}

// attack is an attack as the detector reports it.
type attack struct {
	signal     *pb.Signal
	mitigation string
	sent       time.Time
	judged     time.Time
	retries    int
}

func newDetector(ctx context.Context, node *member, tlsDir string) (*detector, error) {
	c, err := client.New(client.Config{Servers: []string{node.API}, TLSDir: tlsDir, Patience: patience})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	s, err := c.StreamSignals(ctx)
	if err != nil {
		cancel()
		return nil, errors.Join(fmt.Errorf("cannot open the detector's stream to %s: %w", node.ID, err), c.Close())
	}
	return &detector{node: node.ID, client: c, stream: s, cancel: cancel}, nil
}

func (d *detector) close() {
	d.cancel()
	_ = d.client.Close() // nothing is on its way
}

// report sends one signal over the stream and returns the verdict. A verdict that asks to come again is followed, on
// the same stream, until ctx ends; the time and the number of attempts are kept in a.
func (d *detector) report(ctx context.Context, a *attack) (*pb.Verdict, error) {
	a.signal.DetectedAt = timestamppb.Now()
	a.sent = time.Now()
	for {
		v, err := d.once(a.signal)
		if err != nil {
			return nil, err
		}
		if v.GetKind() != pb.VerdictKind_VERDICT_KIND_RETRY {
			a.judged = time.Now()
			if v.GetMitigation() != "" {
				a.mitigation = v.GetMitigation()
			}
			return v, nil
		}
		a.retries++
		t := time.NewTimer(min(v.GetRetryAfter().AsDuration(), 100*time.Millisecond))
		select {
		case <-ctx.Done():
			t.Stop()
			return nil, fmt.Errorf("the signal was still not judged after %d attempts: %s", a.retries, v.GetText())
		case <-t.C:
		}
	}
}

func (d *detector) once(s *pb.Signal) (*pb.Verdict, error) {
	d.batch++
	if err := d.stream.Send(&pb.StreamSignalsRequest{BatchId: d.batch, Signals: []*pb.Signal{s}}); err != nil {
		return nil, fmt.Errorf("the detector's stream to %s broke: %w", d.node, err)
	}
	r, err := d.stream.Recv()
	if err != nil {
		return nil, fmt.Errorf("the detector's stream to %s broke: %w", d.node, err)
	}
	if r.GetBatchId() != d.batch || len(r.GetVerdicts()) != 1 {
		return nil, fmt.Errorf("batch %d was answered by batch %d with %d verdicts", d.batch, r.GetBatchId(), len(r.GetVerdicts()))
	}
	return r.GetVerdicts()[0], nil
}

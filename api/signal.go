package api

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/controller"
	"github.com/tidegate/tidegate/policy"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// prefetched is how many batches of a stream are read while one is being judged. Reading further ahead would only
// move the queue from the detector into our memory.
const prefetched = 1

type signalService struct {
	tidegatev1.UnimplementedSignalServiceServer
	*Server
}

// Report judges a batch.
func (s *signalService) Report(ctx context.Context, req *tidegatev1.ReportRequest) (*tidegatev1.ReportResponse, error) {
	verdicts, err := s.judge(ctx, req.GetSignals())
	if err != nil {
		return nil, err
	}
	return &tidegatev1.ReportResponse{Verdicts: verdicts}, nil
}

// StreamSignals judges batch after batch, in order: the end of an attack must not overtake its start. One batch is
// read while another is judged, and no more, so that a fast detector waits in its own memory and not in ours.
func (s *signalService) StreamSignals(stream grpc.BidiStreamingServer[tidegatev1.StreamSignalsRequest, tidegatev1.StreamSignalsResponse]) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	batches := make(chan *tidegatev1.StreamSignalsRequest, prefetched)
	ended := make(chan error, 1)
	// The reader is not waited for: Recv returns when this handler has returned, and not before. It holds nothing but
	// the stream, and ends with it.
	go func() {
		defer close(batches)
		for {
			req, err := stream.Recv()
			if err != nil {
				ended <- err
				return
			}
			select {
			case batches <- req:
			case <-ctx.Done():
				ended <- ctx.Err()
				return
			}
		}
	}()
	return s.answer(ctx, stream, batches, ended)
}

// answer judges what comes in until the detector has said all, or the stream ends.
func (s *signalService) answer(ctx context.Context, stream grpc.BidiStreamingServer[tidegatev1.StreamSignalsRequest, tidegatev1.StreamSignalsResponse],
	batches <-chan *tidegatev1.StreamSignalsRequest, ended <-chan error,
) error {
	for {
		var req *tidegatev1.StreamSignalsRequest
		var ok bool
		select {
		case <-ctx.Done():
			return ctx.Err()
		case req, ok = <-batches:
		}
		if !ok {
			if err := <-ended; !errors.Is(err, io.EOF) {
				return err
			}
			return nil
		}
		verdicts, err := s.judge(ctx, req.GetSignals())
		if err != nil {
			return err
		}
		if err := stream.Send(&tidegatev1.StreamSignalsResponse{BatchId: req.GetBatchId(), Verdicts: verdicts}); err != nil {
			return err
		}
	}
}

// judge answers every signal of a batch. Its errors end a stream, so there are few: a batch that is too long, a
// caller who is not allowed, a call that its maker gave up.
func (s *signalService) judge(ctx context.Context, in []*tidegatev1.Signal) ([]*tidegatev1.Verdict, error) {
	by, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	if len(in) > MaxBatch {
		v := &violations{}
		v.add("signals", fmt.Sprintf("the batch has %d signals", len(in)), fmt.Sprintf("send at most %d in one batch", MaxBatch))
		return nil, v.err()
	}
	if len(in) == 0 {
		return nil, nil
	}
	out := make([]*tidegatev1.Verdict, len(in))
	good, at := s.parse(by, in, out)
	err = s.decide(ctx, by, in, good, at, out)
	// On a call that was forwarded here the verdict is the business of the node that forwarded it: it may know of
	// another leader.
	if err != nil && (by.Via != "" || endsStream(ctx, err)) {
		return nil, err
	}
	if err != nil {
		s.retry(ctx, err, at, out)
	}
	for _, v := range out {
		s.metrics.signals.WithLabelValues(verdictLabel(v.GetKind()), v.GetCode()).Inc()
	}
	return out, nil
}

// parse reads signals. Those that are malformed are answered in out; good are the others, at their places in the batch.
func (s *signalService) parse(by auth.Caller, in []*tidegatev1.Signal, out []*tidegatev1.Verdict) (good []policy.Signal, at []int) {
	good, at = make([]policy.Signal, 0, len(in)), make([]int, 0, len(in))
	for i, p := range in {
		v := &violations{}
		sig := s.parser.signal(v, by.Name, p)
		if len(v.list) > 0 {
			out[i] = malformedVerdict(v.list)
			s.refused(by, out[i].GetCode())
			continue
		}
		good, at = append(good, sig), append(at, i)
	}
	return good, at
}

// decide has the good signals judged, here or at the leader, and puts the verdicts in their places.
func (s *signalService) decide(ctx context.Context, by auth.Caller, in []*tidegatev1.Signal, good []policy.Signal, at []int, out []*tidegatev1.Verdict) error {
	if len(good) == 0 {
		return nil
	}
	verdicts, err := s.ctrl.Report(ctx, by.Principal(), good)
	var follower *controller.NotLeaderError
	if errors.As(err, &follower) {
		return s.decideThere(ctx, follower, in, at, out)
	}
	if err != nil {
		return err
	}
	if len(verdicts) != len(good) {
		return fmt.Errorf("cannot answer %d signals with %d verdicts", len(good), len(verdicts))
	}
	for i, v := range verdicts {
		out[at[i]] = verdictProto(v)
		if v.Kind == policy.Refused {
			s.refused(by, string(v.Reason.Code))
		}
	}
	return nil
}

// decideThere has the leader judge the signals at the given places.
func (s *signalService) decideThere(ctx context.Context, to *controller.NotLeaderError, in []*tidegatev1.Signal, at []int, out []*tidegatev1.Verdict) error {
	req := &tidegatev1.ReportRequest{Signals: make([]*tidegatev1.Signal, len(at))}
	for i, j := range at {
		req.Signals[i] = in[j]
	}
	resp := &tidegatev1.ReportResponse{}
	if err := s.forward(ctx, to, tidegatev1.SignalService_Report_FullMethodName, req, resp); err != nil {
		return err
	}
	if len(resp.GetVerdicts()) != len(at) {
		return fmt.Errorf("cannot use the leader's %d verdicts on %d signals", len(resp.GetVerdicts()), len(at))
	}
	for i, v := range resp.GetVerdicts() {
		out[at[i]] = v
	}
	return nil
}

// endsStream reports whether err is about the caller and not about the cluster.
func endsStream(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return true
	}
	st, _ := statusOf(err)
	switch st.Code() {
	case codes.PermissionDenied, codes.Unauthenticated, codes.InvalidArgument:
		return true
	default:
		return false
	}
}

// retry answers the signals at the given places with: again, later. They were perhaps judged; sending them again is
// safe, because (source, attack_id, seq) tells.
func (s *signalService) retry(ctx context.Context, err error, at []int, out []*tidegatev1.Verdict) {
	st, known := statusOf(err)
	text, code := st.Message(), ErrorReason(st.Err())
	if !known {
		s.log.ErrorContext(ctx, "cannot judge signals", "error", err)
	}
	if code == "" {
		code = ReasonNoLeader
		if st.Code() == codes.Internal || st.Code() == codes.Unknown {
			code = string(policy.CodeInternal)
		}
	}
	for _, i := range at {
		out[i] = &tidegatev1.Verdict{
			Kind: tidegatev1.VerdictKind_VERDICT_KIND_RETRY, Code: code, Text: text, RetryAfter: durationProto(retrySoon),
		}
	}
}

func verdictLabel(k tidegatev1.VerdictKind) string {
	switch k {
	case tidegatev1.VerdictKind_VERDICT_KIND_MITIGATED:
		return "mitigated"
	case tidegatev1.VerdictKind_VERDICT_KIND_MERGED:
		return "merged"
	case tidegatev1.VerdictKind_VERDICT_KIND_OBSERVED:
		return "observed"
	case tidegatev1.VerdictKind_VERDICT_KIND_ENDED:
		return "ended"
	case tidegatev1.VerdictKind_VERDICT_KIND_REFUSED:
		return "refused"
	case tidegatev1.VerdictKind_VERDICT_KIND_RETRY:
		return "retry"
	case tidegatev1.VerdictKind_VERDICT_KIND_PENDING:
		return "pending"
	default:
		return "unknown"
	}
}

// Preview judges one signal and changes nothing.
func (s *signalService) Preview(ctx context.Context, req *tidegatev1.SignalServicePreviewRequest) (*tidegatev1.SignalServicePreviewResponse, error) {
	by, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	source := req.GetSource()
	if source == "" {
		source = by.Name
	}
	if by.Role == auth.Detector && source != by.Name {
		return nil, status.Errorf(codes.PermissionDenied, "%s may not speak for detector %s", by.Identity, quote(source))
	}
	v := &violations{}
	if err := auth.CheckName(source); err != nil {
		v.add("source", err.Error(), "name a detector as in its certificate")
	}
	v.prefix = "signal."
	sig := s.parser.signal(v, source, req.GetSignal())
	if err := v.err(); err != nil {
		return nil, err
	}
	const method = tidegatev1.SignalService_Preview_FullMethodName
	return onLeaderFirst(ctx, s.Server, method, req, func(ctx context.Context) (*tidegatev1.SignalServicePreviewResponse, error) {
		d, index, err := s.ctrl.Preview(ctx, controller.Command{By: by.Principal(), Request: &policy.SignalRequest{Signal: sig}})
		if err != nil {
			return nil, err
		}
		if len(d.Violations) > 0 {
			return nil, refusal(d)
		}
		st := s.ctrl.State()
		out := &tidegatev1.SignalServicePreviewResponse{Verdict: verdictProto(d.Verdict), Read: s.readInfoAt(st, index)}
		for _, m := range d.Mitigations {
			out.Mitigations = append(out.Mitigations, pricedProto(st, m))
		}
		return out, nil
	})
}

// readInfoAt is readInfo with the index that the controller states.
func (s *Server) readInfoAt(st *policy.State, index policy.Index) *tidegatev1.ReadInfo {
	info := s.readInfo(st)
	info.Index = uint64(index)
	return info
}

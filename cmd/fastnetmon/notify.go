package fastnetmon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// Reporter sends signals; pb.SignalServiceClient is one.
type Reporter interface {
	Report(ctx context.Context, in *pb.ReportRequest, opts ...grpc.CallOption) (*pb.ReportResponse, error)
}

// ErrUnknownAttack is the answer to an end of which no beginning is remembered: nothing can be ended by name, and what
// was started ends with its lifetime.
var ErrUnknownAttack = errors.New("no attack of this victim is remembered")

// Outcome is what came of a call.
type Outcome struct {
	Verdicts []*pb.Verdict // in the order in which the signals were sent
	Notices  []string      // what is worth a line in a log
}

// Notifier turns calls into signals.
type Notifier struct {
	Store    *Store
	Reporter Reporter
	Now      func() time.Time
	// Renamed maps types of FastNetMon's to vectors, see Describe.
	Renamed map[string]string
	Drill   bool
}

// Notify makes a call known, and repeats the same signals with the same numbers until every one is judged or ctx ends.
// What is about to be sent is on disk before it is sent: if the process dies in between, the next call goes on from there.
//
//   - A ban begins a new attack. One of the same victim that was never ended, because FastNetMon was restarted, is ended
//     after it.
//   - Details update the attack; if none is remembered, they begin one.
//   - An unban ends it; if none is remembered, the error is ErrUnknownAttack.
//   - An end that was not acknowledged is sent again with the next call for the same victim.
func (n *Notifier) Notify(ctx context.Context, c Call, r Report) (Outcome, error) {
	var out Outcome
	e, err := n.Store.open(ctx, c.Victim)
	if err != nil {
		return out, err
	}
	defer e.close() //nolint:errcheck // the lock ends with the file, and the file with the process
	if e.damaged != nil {
		out.Notices = append(out.Notices, e.damaged.Error()+"; it is as if there were none")
	}
	first := n.next(&e.memory, c, r)
	if first == nil && len(e.Ending) == 0 {
		return out, fmt.Errorf("cannot end the attack on %s: %w; a mitigation ends with its lifetime", c.Victim, ErrUnknownAttack)
	}
	if err := e.save(); err != nil {
		return out, err
	}
	var batch []*pb.Signal
	if first != nil {
		batch = append(batch, first)
	}
	for _, a := range e.Ending {
		batch = append(batch, &pb.Signal{AttackId: a.ID, Seq: a.Seq, Kind: pb.SignalKind_SIGNAL_KIND_END, Drill: n.Drill})
	}
	if out.Verdicts, err = n.send(ctx, batch); err != nil {
		return out, err
	}
	var left []Attack
	for i, a := range e.Ending {
		if out.Verdicts[len(batch)-len(e.Ending)+i].GetKind() == pb.VerdictKind_VERDICT_KIND_RETRY {
			left = append(left, a)
		}
	}
	e.Ending = left
	return out, e.save()
}

// next changes what is remembered and returns the signal that is to go first; nil for an unban.
func (n *Notifier) next(m *memory, c Call, r Report) *pb.Signal {
	kind := pb.SignalKind_SIGNAL_KIND_UPDATE
	end := func() {
		if m.Current != nil {
			m.Ending = append(m.Ending, Attack{m.Current.ID, m.Current.Seq + 1})
			m.Current = nil
		}
	}
	if c.Action == Unban {
		end()
		return nil
	}
	if c.Action == Ban {
		end()
	}
	if m.Current == nil {
		kind = pb.SignalKind_SIGNAL_KIND_START
		m.Current = &Attack{ID: fmt.Sprintf("fastnetmon-%s-%d", c.Victim, n.Now().UnixNano())}
	}
	m.Current.Seq++
	s := Describe(c, r, n.Renamed)
	s.AttackId, s.Seq, s.Kind, s.Drill = m.Current.ID, m.Current.Seq, kind, n.Drill
	s.DetectedAt = timestamppb.New(n.Now())
	return s
}

// send reports the batch until no verdict asks to come again, or ctx ends; then the last verdicts are the answer.
func (n *Notifier) send(ctx context.Context, batch []*pb.Signal) ([]*pb.Verdict, error) {
	out := make([]*pb.Verdict, len(batch))
	at := make([]int, len(batch)) // places of what is still to be judged
	for i := range at {
		at[i] = i
	}
	for {
		req := &pb.ReportRequest{}
		for _, i := range at {
			req.Signals = append(req.Signals, batch[i])
		}
		resp, err := n.Reporter.Report(ctx, req)
		if err != nil {
			return nil, err
		}
		if len(resp.GetVerdicts()) != len(at) {
			return nil, fmt.Errorf("cannot use %d verdicts on %d signals", len(resp.GetVerdicts()), len(at))
		}
		var again []int
		wait := time.Second
		for j, v := range resp.GetVerdicts() {
			out[at[j]] = v
			if v.GetKind() == pb.VerdictKind_VERDICT_KIND_RETRY {
				again = append(again, at[j])
				wait = min(wait, max(v.GetRetryAfter().AsDuration(), 10*time.Millisecond))
			}
		}
		if len(again) == 0 {
			return out, nil
		}
		at = again
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return out, nil
		case <-t.C:
		}
	}
}

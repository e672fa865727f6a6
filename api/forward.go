package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/controller"
	"github.com/tidegate/tidegate/policy"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// message is a pointer to a response.
type message[T any] interface {
	*T
}

// onLeader answers with local and, when that says that another node leads, with that node's answer to the same
// request. A call that was forwarded already is not forwarded again: the caller gets Unavailable and tries anew.
func onLeader[T any, P message[T]](ctx context.Context, s *Server, method string, req any, local func(context.Context) (P, error)) (P, error) {
	resp, err := local(ctx)
	var follower *controller.NotLeaderError
	if err == nil || !errors.As(err, &follower) {
		return resp, err
	}
	out := P(new(T))
	if err := s.forward(ctx, follower, method, req, out); err != nil {
		return nil, err
	}
	if w, ok := any(out).(interface{ GetWrite() *tidegatev1.WriteInfo }); ok {
		s.follow(ctx, policy.Index(w.GetWrite().GetIndex()))
	}
	return out, nil
}

// followFor bounds how long an answer to a forwarded write is held back until this node has the write too.
const followFor = time.Second

// follow waits until this node has applied the entry, so that who wrote through it reads here what was written. A node
// that lags behind further than followFor answers all the same: the write is done.
func (s *Server) follow(ctx context.Context, index policy.Index) {
	t := time.NewTimer(followFor)
	defer t.Stop()
	for {
		updated := s.ctrl.Updated() // before the look, or an update between the two is missed
		if s.ctrl.State().Index() >= index {
			return
		}
		select {
		case <-updated:
		case <-t.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// onLeaderFirst is onLeader for what local would also do on a follower, from an older state: previews.
func onLeaderFirst[T any, P message[T]](ctx context.Context, s *Server, method string, req any, local func(context.Context) (P, error)) (P, error) {
	return onLeader(ctx, s, method, req, func(ctx context.Context) (P, error) {
		if leader, self, known := s.ctrl.Leader(); !self {
			return nil, &controller.NotLeaderError{Leader: leader, Known: known}
		}
		return local(ctx)
	})
}

// forward makes the call at the leader, on behalf of the caller in ctx.
func (s *Server) forward(ctx context.Context, to *controller.NotLeaderError, method string, req, resp any) error {
	caller, ok := auth.CallerFrom(ctx)
	if !ok {
		return errors.New("cannot forward a call of nobody")
	}
	if caller.Via != "" || !to.Known || to.Leader.APIAddress == "" {
		return to
	}
	if to.Leader.ID == s.ctrl.Status().NodeID {
		return to // elected a moment ago, and not ready
	}
	conn, err := s.dial(to.Leader)
	if err != nil {
		return err
	}
	markElsewhere(ctx)
	ctx, cancel := context.WithTimeoutCause(ctx, s.cfg.ForwardTimeout, errForwardTimeout)
	defer cancel()
	err = conn.Invoke(auth.Forward(ctx, caller), method, req, resp, grpc.MaxCallRecvMsgSize(maxReplyMessage))
	s.metrics.forwards.WithLabelValues(status.Code(err).String()).Inc()
	switch {
	case err == nil:
		return nil
	case context.Cause(ctx) == errForwardTimeout, status.Code(err) == codes.Unavailable && ErrorReason(err) == "": //nolint:errorlint // the very value
		// The leader did not say that itself: it is gone or cut off, and may or may not have done the work.
		return retryStatus(ReasonNoLeader, fmt.Sprintf("the leader %s cannot be reached from this node; send the same request again", to.Leader.ID)).Err()
	default:
		return err
	}
}

var errForwardTimeout = errors.New("the leader did not answer in time")

func (s *Server) dial(m controller.Member) (grpc.ClientConnInterface, error) {
	if s.deps.Dial == nil {
		return nil, fmt.Errorf("cannot reach member %q: this node has no way to call others", m.ID)
	}
	return s.deps.Dial(m)
}

// caller returns who makes the call; the interceptors have seen to it that there is one.
func caller(ctx context.Context) (auth.Caller, error) {
	c, ok := auth.CallerFrom(ctx)
	if !ok {
		return c, status.Error(codes.Unauthenticated, "nobody was authenticated")
	}
	return c, nil
}

// command makes a write's command, with the checks that every write shares.
func command(ctx context.Context, v *violations, w write) (controller.Command, error) {
	c, err := caller(ctx)
	if err != nil {
		return controller.Command{}, err
	}
	if id := w.GetRequestId(); !v.tooLong("request_id", id, MaxRequestID) {
		v.text("request_id", id, MaxRequestID, "choose a new one, such as a UUID, and use it again to repeat the same request")
	}
	v.text("reason", w.GetReason(), MaxReason, "say why, for those who look at it later")
	return controller.Command{By: c.Principal(), Reason: w.GetReason(), RequestID: policy.RequestID(w.GetRequestId())}, nil
}

// readInfo says what an answer from the state s was made from.
func (s *Server) readInfo(st *policy.State) *tidegatev1.ReadInfo {
	now := s.ctrl.Status()
	age := now.SinceLeaderContact
	info := &tidegatev1.ReadInfo{Index: uint64(st.Index()), Node: now.NodeID}
	// Never heard of a leader: as old as the process.
	if age < 0 {
		info.NoLeaderSinceStart = !now.Leader
		age = max(0, s.deps.Now().Sub(now.Started))
	}
	if !now.Leader {
		info.Age = durationProto(age)
	} else {
		info.Age = durationProto(0)
	}
	return info
}

// writeInfo says what a write did to the log. A decision without changes has no entry: the index of its outcome is that
// of the state that it was judged on.
func writeInfo(out controller.Outcome) *tidegatev1.WriteInfo {
	info := &tidegatev1.WriteInfo{RepeatedRequest: out.Repeated}
	if out.Repeated || len(out.Decision.Changes) > 0 {
		info.Index = uint64(out.Index)
	}
	return info
}

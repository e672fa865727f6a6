package api

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tidegate/tidegate/api/auth"
)

// write is what every request has that changes something.
type write interface {
	GetRequestId() string
	GetReason() string
}

// UnaryInterceptor tells who calls, asks the role table, recovers from panics, turns errors into codes, counts, and
// logs writes.
func (s *Server) UnaryInterceptor(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	start := s.deps.Elapsed()
	ctx, elsewhere := withElsewhere(ctx)
	caller, err := s.auth.Authorize(ctx, info.FullMethod)
	if err == nil {
		err = s.limiter.take(caller)
	}
	var resp any
	if err == nil {
		err = s.scope(caller, req)
	}
	if err == nil {
		resp, err = s.guarded(auth.WithCaller(ctx, caller), req, next, info.FullMethod)
	}
	if err == nil {
		resp, err = s.scoped(caller, resp)
	}
	st := s.finish(ctx, info.FullMethod, caller, err)
	if !elsewhere.Load() {
		s.noteRefusal(caller, st)
	}
	took := s.deps.Elapsed() - start
	s.metrics.seconds.WithLabelValues(methodLabel(info.FullMethod)).Observe(took.Seconds())
	if w, ok := req.(write); ok {
		s.logWrite(ctx, info.FullMethod, caller, w, st, took)
	}
	if st.Code() != codes.OK {
		return nil, scopedError(caller, st)
	}
	return resp, nil
}

// guarded calls next and turns a panic into an error that says nothing.
func (s *Server) guarded(ctx context.Context, req any, next grpc.UnaryHandler, method string) (resp any, err error) {
	defer func() {
		if p := recover(); p != nil {
			resp, err = nil, s.panicked(ctx, method, p)
		}
	}()
	return next(ctx, req)
}

// StreamInterceptor is UnaryInterceptor for streams, which it also ends when the server drains.
func (s *Server) StreamInterceptor(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	caller, err := s.auth.Authorize(ss.Context(), info.FullMethod)
	if err == nil {
		var closed func()
		if closed, err = s.limiter.open(caller); err == nil {
			defer closed()
		}
	}
	if err == nil {
		open := s.metrics.streams.WithLabelValues(methodLabel(info.FullMethod))
		open.Inc()
		err = s.streamed(srv, &scopedStream{ServerStream: ss, server: s, caller: caller}, info.FullMethod, caller, next)
		open.Dec()
	}
	st := s.finish(ss.Context(), info.FullMethod, caller, err)
	s.noteRefusal(caller, st)
	return scopedError(caller, st)
}

func (s *Server) streamed(srv any, ss grpc.ServerStream, method string, caller auth.Caller, next grpc.StreamHandler) (err error) {
	ctx, cancel := context.WithCancelCause(auth.WithCaller(ss.Context(), caller))
	defer cancel(nil)
	stop := make(chan struct{})
	defer close(stop)
	go s.ends(caller, cancel, stop)
	defer func() {
		if p := recover(); p != nil {
			err = s.panicked(ctx, method, p)
		} else if err != nil && context.Cause(ctx) == errDraining { //nolint:errorlint // the very value that cancel was given
			err = status.Error(codes.Unavailable, "the node is stopping; ask another one")
		} else if err != nil && context.Cause(ctx) == errTokenEnded { //nolint:errorlint // the same
			err = status.Error(codes.Unauthenticated, errTokenEnded.Error())
		}
	}()
	return next(srv, &callStream{ServerStream: ss, ctx: ctx})
}

// ends ends a stream when the server stops, or the token does by which the caller is known, until stop is closed.
func (s *Server) ends(c auth.Caller, cancel context.CancelCauseFunc, stop <-chan struct{}) {
	for {
		var updated <-chan struct{}
		wait := time.Hour
		if c.Token != "" {
			updated = s.ctrl.Updated() // before the look
			at, ended := s.auth.Ends(c.Identity)
			if ended {
				cancel(errTokenEnded)
				return
			}
			wait = min(wait, at.Sub(s.deps.Now()))
		}
		t := time.NewTimer(wait)
		select {
		case <-s.drained:
			cancel(errDraining)
		case <-stop:
		case <-updated:
			t.Stop()
			continue
		case <-t.C:
			continue
		}
		t.Stop()
		return
	}
}

// errDraining is why streams end when the server stops.
var errDraining = fmt.Errorf("draining: %w", context.Canceled)

// callStream is a stream whose context knows the caller and ends with the server.
type callStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context returns the context of the call.
func (c *callStream) Context() context.Context { return c.ctx }

func (s *Server) panicked(ctx context.Context, method string, p any) error {
	s.metrics.panics.Inc()
	s.log.ErrorContext(ctx, "call panicked", slog.String("method", methodLabel(method)), slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
	return status.Error(codes.Internal, "internal error; the node's log says more")
}

// finish maps err, counts it, and logs what the caller is not told.
func (s *Server) finish(ctx context.Context, method string, caller auth.Caller, err error) *status.Status {
	st, known := statusOf(err)
	if !known {
		s.log.ErrorContext(ctx, "call failed", slog.String("method", methodLabel(method)), slog.String("by", caller.String()), slog.Any("error", err))
	}
	s.metrics.requests.WithLabelValues(methodLabel(method), st.Code().String(), string(caller.Role)).Inc()
	return st
}

// logWrite leaves a line about who changed what. It holds no body: documents may be long, and a secret pasted into a
// wrong field must not reach a log.
func (s *Server) logWrite(ctx context.Context, method string, c auth.Caller, w write, st *status.Status, took time.Duration) {
	level := slog.LevelInfo
	if st.Code() != codes.OK {
		level = slog.LevelWarn
	}
	who := "unknown"
	if c.Role != "" {
		who = c.String()
	}
	attrs := []slog.Attr{
		slog.String("method", methodLabel(method)), slog.String("by", who), slog.String("request_id", clip(w.GetRequestId(), MaxRequestID)),
		slog.String("code", st.Code().String()), slog.Duration("took", took),
	}
	if c.Via != "" {
		attrs = append(attrs, slog.String("via", c.Via))
	}
	if st.Code() != codes.OK {
		attrs = append(attrs, slog.String("answer", clip(st.Message(), 300)))
	}
	s.log.LogAttrs(ctx, level, "write", attrs...)
}

// methodLabel is a full method name as a label, and in the log. Only methods that exist reach an interceptor.
func methodLabel(full string) string { return strings.TrimPrefix(full, "/") }

func clip(s string, most int) string {
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

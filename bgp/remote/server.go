package remote

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
	speakerv1 "github.com/tidegate/tidegate/proto/tidegate/speaker/v1"
)

// Speaker is what a Server gives orders to. It is package bgp's.
type Speaker interface {
	// StayOut withdraws everything and keeps the speaker out; it waits for no router.
	StayOut(o wanted.Out) (inForce wanted.Out, already bool)
	// Resume ends that.
	Resume() (ended wanted.Out, was bool, err error)
	// Status says what is announced, to whom.
	Status() wanted.Status
}

// Other is a node of the cluster besides this one.
type Other struct{ Node, API string }

// Config is what a Server is told once.
type Config struct {
	Node   string
	Others []Other // those that go on announcing when this node stays out
	// Unquarantine lets a router be dialled again whose messages have crashed the speaker, and says in words what was known
	// of it, and whether anything was. The router is given by its name or address. Nil where no router is quarantined.
	Unquarantine func(router string) (known string, was bool, err error)
}

// Server answers calls to the speaker's socket.
type Server struct {
	speakerv1.UnimplementedSpeakerServiceServer
	cfg     Config
	speaker Speaker
	feed    *Feed // nil: the controller is in this process
	log     *slog.Logger
}

// New makes an inert Server; Serve makes it work. The feed is nil where the controller is in the same process.
func New(cfg Config, speaker Speaker, feed *Feed, log *slog.Logger) *Server {
	return &Server{cfg: cfg, speaker: speaker, feed: feed, log: log}
}

// maxWait bounds how long a caller may wait for withdrawals.
const maxWait = 10 * time.Minute

// Serve answers calls on l until ctx ends, and closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	g := grpc.NewServer(grpc.Creds(peerCredentials{}), grpc.UnaryInterceptor(s.intercept), grpc.StreamInterceptor(s.interceptStream),
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage))
	speakerv1.RegisterSpeakerServiceServer(g, s)
	if s.feed != nil {
		speakerv1.RegisterFeedServiceServer(g, s.feed)
	}
	failed := make(chan error, 1)
	go func() { failed <- g.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("cannot serve the speaker's socket: %w", err)
	case <-ctx.Done():
	}
	g.Stop() // who waits for withdrawals learns that the node ends
	if err := <-failed; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("cannot serve the speaker's socket: %w", err)
	}
	return nil
}

// intercept lets in who may call, and turns a panic into an error.
func (s *Server) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	defer func() {
		if p := recover(); p != nil {
			s.log.ErrorContext(ctx, "a call panicked", "method", info.FullMethod, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			resp, err = nil, status.Error(codes.Internal, "the call failed; the node's log says why")
		}
	}()
	if _, err := callerOf(ctx); err != nil {
		s.log.WarnContext(ctx, "a call was turned away", "method", info.FullMethod, "why", status.Convert(err).Message())
		return nil, err
	}
	return next(ctx, req)
}

// interceptStream is intercept for streams.
func (s *Server) interceptStream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
	_, err = s.intercept(ss.Context(), nil, &grpc.UnaryServerInfo{FullMethod: info.FullMethod}, func(context.Context, any) (any, error) {
		return nil, next(srv, ss)
	})
	return err
}

// WithdrawAll is part of speakerv1.SpeakerServiceServer.
func (s *Server) WithdrawAll(ctx context.Context, req *speakerv1.WithdrawAllRequest) (*speakerv1.WithdrawAllResponse, error) {
	by, err := who(ctx, req.GetOnBehalfOf())
	if err != nil {
		return nil, err
	}
	reason, err := words("reason", req.GetReason(), MaxReason)
	switch {
	case err != nil:
		return nil, err
	case reason == "":
		return nil, status.Error(codes.InvalidArgument, "reason: say why, for those who look at it later")
	}
	wait := req.GetWait().AsDuration()
	if wait < 0 || wait > maxWait {
		return nil, status.Errorf(codes.InvalidArgument, "wait: %s is not between 0 and %s", wait, maxWait)
	}
	before := s.speaker.Status()
	_, already := s.speaker.StayOut(wanted.Out{By: by, Reason: reason})
	now := s.quiet(ctx, wait)
	return &speakerv1.WithdrawAllResponse{
		Speaker: s.speakerProto(&now), Already: already, Withdrawn: announcedTexts(&before), Complete: quiet(&now),
	}, nil
}

// lookEvery is how often a speaker is asked whether all is withdrawn. With 10,000 routes an answer takes milliseconds.
const lookEvery = 25 * time.Millisecond

// quiet waits until nothing is announced, at most for wait, and returns the last Status.
func (s *Server) quiet(ctx context.Context, wait time.Duration) wanted.Status {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		st := s.speaker.Status()
		if quiet(&st) {
			return st
		}
		select {
		case <-ctx.Done():
			return st
		case <-t.C:
		}
	}
}

// quiet reports whether nothing is announced on any session.
func quiet(st *wanted.Status) bool {
	return !slices.ContainsFunc(st.Sessions, func(s wanted.SessionStatus) bool { return announced(&s) > 0 })
}

// Resume is part of speakerv1.SpeakerServiceServer.
func (s *Server) Resume(ctx context.Context, req *speakerv1.ResumeRequest) (*speakerv1.ResumeResponse, error) {
	by, err := who(ctx, req.GetOnBehalfOf())
	if err != nil {
		return nil, err
	}
	ended, was, err := s.speaker.Resume()
	if err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	st := s.speaker.Status()
	out := &speakerv1.ResumeResponse{Speaker: s.speakerProto(&st)}
	if was {
		s.log.WarnContext(ctx, "resumed", "by", by)
		out.Ended = outProto(&ended)
	}
	return out, nil
}

// Unquarantine is part of speakerv1.SpeakerServiceServer.
func (s *Server) Unquarantine(ctx context.Context, req *speakerv1.UnquarantineRequest) (*speakerv1.UnquarantineResponse, error) {
	by, err := who(ctx, req.GetOnBehalfOf())
	if err != nil {
		return nil, err
	}
	router, err := words("router", req.GetRouter(), 100)
	switch {
	case err != nil:
		return nil, err
	case router == "":
		return nil, status.Error(codes.InvalidArgument, "router: name the router as tidegate speaker status does, or write its address")
	}
	out := &speakerv1.UnquarantineResponse{}
	if s.cfg.Unquarantine != nil {
		var was bool
		if out.Known, was, err = s.cfg.Unquarantine(router); err != nil {
			return nil, status.Error(codes.FailedPrecondition, err.Error())
		}
		if was {
			s.log.WarnContext(ctx, "a router is dialled again whose messages have crashed the speaker", "router", router, "by", by, "known", out.GetKnown())
		}
	}
	st := s.speaker.Status()
	out.Speaker = s.speakerProto(&st)
	return out, nil
}

// Status is part of speakerv1.SpeakerServiceServer.
func (s *Server) Status(context.Context, *speakerv1.StatusRequest) (*speakerv1.StatusResponse, error) {
	st := s.speaker.Status()
	return &speakerv1.StatusResponse{Speaker: s.speakerProto(&st)}, nil
}

// who is the caller in words. What sudo says is only a claim, of somebody who could do anything here anyway.
func who(ctx context.Context, onBehalfOf string) (string, error) {
	c, err := callerOf(ctx)
	if err != nil {
		return "", err
	}
	name, err := words("on_behalf_of", onBehalfOf, 100)
	if err != nil || name == "" {
		return userName(c.uid), err
	}
	return fmt.Sprintf("%s (%s by sudo)", userName(c.uid), name), nil
}

// words is text without space around it, if it is of the length and can be printed.
func words(field, text string, limit int) (string, error) {
	text = strings.TrimSpace(text)
	if n := utf8.RuneCountInString(text); n > limit {
		return "", status.Errorf(codes.InvalidArgument, "%s: %d characters are more than %d", field, n, limit)
	}
	if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		return "", status.Errorf(codes.InvalidArgument, "%s: it has characters that cannot be printed, or line breaks", field)
	}
	return text, nil
}

// speakerProto is a Status for people.
func (s *Server) speakerProto(st *wanted.Status) *speakerv1.Speaker {
	out := &speakerv1.Speaker{Node: s.cfg.Node, Out: outProto(st.Out), Revision: st.Revision, Pid: uint32(os.Getpid()), OwnProcess: s.feed != nil}
	if st.Revision != 0 {
		out.LeaseRemaining = durationpb.New(max(0, time.Duration(st.LeaseUntil-st.At)))
	}
	for i := range st.Sessions {
		out.Sessions = append(out.Sessions, sessionProto(&st.Sessions[i]))
	}
	for _, o := range s.cfg.Others {
		out.Others = append(out.Others, &speakerv1.Other{Node: o.Node, ApiAddress: o.API})
	}
	return out
}

func outProto(o *wanted.Out) *speakerv1.Out {
	if o == nil {
		return nil
	}
	out := &speakerv1.Out{By: o.By, Reason: o.Reason, Trouble: o.Trouble}
	if !o.Since.IsZero() {
		out.Since = timestamppb.New(o.Since)
	}
	return out
}

func sessionProto(in *wanted.SessionStatus) *speakerv1.Session {
	out := &speakerv1.Session{
		Router: in.Router.Name, Address: in.Router.Address.String(), Carries: "flowspec", State: string(in.State),
		Announced: uint32(announced(in)), Wanted: uint32(in.Wanted),
	}
	if in.Router.Carries == wanted.RTBH {
		out.Carries = "rtbh"
	}
	switch {
	case in.State == wanted.SessionStuck:
		out.Detail = in.LastError + "; if it does not read again the session is reset, upon which it drops what it heard"
	case !in.State.Up():
		out.Detail = "the session is down, so the router drops what it heard of this node, at the latest when its hold time is over"
		if in.LastError != "" {
			out.Detail += "; " + in.LastError
		}
	}
	return out
}

// announced counts the routes that the router may hear on the session.
func announced(in *wanted.SessionStatus) int {
	n := 0
	for i := range in.Routes {
		if heard(&in.Routes[i]) {
			n++
		}
	}
	return n
}

// heard reports whether the router may hear r on the session.
func heard(r *wanted.RouteStatus) bool {
	switch r.State {
	case wanted.RouteSending, wanted.RouteSent, wanted.RouteSuperseded, wanted.RouteWithdrawing:
		return true
	case wanted.RouteQueued, wanted.RoutePaced:
		return !r.Since.IsZero() // with an earlier action
	default:
		return false
	}
}

// announcedTexts is every route that some router may hear, once.
func announcedTexts(st *wanted.Status) []string {
	seen := make(map[flowspec.Key]bool)
	for i := range st.Sessions {
		routes := st.Sessions[i].Routes
		for j := range routes {
			if heard(&routes[j]) {
				seen[routes[j].Key] = true
			}
		}
	}
	out := make([]string, 0, len(seen))
	for k := range seen {
		out = append(out, routeText(k))
	}
	slices.Sort(out)
	return out
}

// routeText is what a route matches. Its actions are not in its key, and do not matter any more.
func routeText(k flowspec.Key) string {
	if p, ok := wanted.RTBHPrefix(k); ok {
		return "dst " + p.String() + " (blackhole)"
	}
	m, err := k.Match()
	if err != nil {
		return k.String()
	}
	return m.String()
}

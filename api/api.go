// Package api is the gRPC border of a node: it turns requests into the domain's words and decisions into answers. It
// owns the conversion between proto/tidegate/v1 and package policy, the mapping of errors to codes, the one-hop
// forward to the leader, the collection of every node's status, the limits of a connection, and the gRPC server with
// its interceptors. It decides nothing: what may be done stands in auth's role table, what is done in policy.
//
// Refusals. Malformed input is INVALID_ARGUMENT with google.rpc.BadRequest and, for clients that want to point at a
// line of a file, one tidegate.v1.FieldViolation detail per violation. A refusal of an operator's order is
// FAILED_PRECONDITION with google.rpc.ErrorInfo{reason: code, domain: "tidegate"} and the sentence as message.
// A refusal of a signal is a verdict, and the batch goes on.
//
// Forwarding. A write, a signal or a preview that reaches a follower is made once more, by the follower with its own
// certificate, at the leader, on behalf of the caller; the leader judges the caller's role again. A call that was
// forwarded is never forwarded again.
//
// Use: New(Config, Deps) is inert. Serve(ctx, listener, tls) runs the server until ctx ends; GRPC(tls) gives the
// *grpc.Server to somebody who wants to run it. SetServing says what the health service answers. Inside is the way in
// for the REST gateway (api/gateway), which calls what Serve runs.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"

	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/controller"
	"github.com/tidegate/tidegate/policy"
)

// Limits of what a caller may send.
const (
	MaxMessage       = 8 << 20 // octets of one request
	MaxBatch         = 1000    // signals of one batch
	MaxReason        = 1000    // characters of a reason
	MaxRequestID     = 128     // octets of a request id
	MaxListed        = 10000   // mitigations of one List
	defaultListed    = 1000
	maxReplyMessage  = 64 << 20 // octets that a client of ours takes from a node, see DialOptions
	maxDetails       = 100      // violations in one answer; the rest is counted
	defaultStatusFor = time.Second
)

// Decider is where decisions are made. Report and Write work on the leader only and return
// *controller.NotLeaderError elsewhere.
type Decider interface {
	Report(ctx context.Context, by policy.Principal, signals []policy.Signal) ([]policy.Verdict, error)
	Write(ctx context.Context, c controller.Command) (controller.Outcome, error)
	Preview(ctx context.Context, c controller.Command) (policy.Decision, policy.Index, error)
}

// View is what a node knows.
type View interface {
	State() *policy.State
	Updated() <-chan struct{}
	Leader() (m controller.Member, self, known bool)
	Members() []controller.Member
	Status() controller.Status
}

// Announcer is what a node's speaker knows.
type Announcer interface {
	SpeakerStatus() wanted.Status
	GoneAtLatest(m *policy.Mitigation) time.Time
}

// Certificate is what a node knows of its own certificate; *auth.Keys is one.
type Certificate interface {
	// Expires returns when the certificate that is used ends.
	Expires() time.Time
	// Problem says why the files as they are now are not used; empty: they are.
	Problem() string
}

// Controller is what the services stand on; *controller.Controller is one.
type Controller interface {
	Decider
	View
	Announcer
}

// Config is what the node's file says. Zero values are the defaults.
type Config struct {
	Cluster string // as it stands in certificates; mandatory
	Version string // shown by ClusterService.Status
	// StatusTimeout bounds how long the other nodes may take to answer for themselves; 1 s.
	StatusTimeout time.Duration
	// ListenEvery is how often the other nodes are asked for a sign of life; 2 s.
	ListenEvery time.Duration
	// ForwardTimeout bounds a forwarded call that has no earlier deadline; 10 s.
	ForwardTimeout time.Duration
	// StopTimeout bounds how long calls in flight may take when the server stops; 3 s.
	StopTimeout time.Duration
	// MaxStreams bounds the calls in flight on one connection; 128.
	MaxStreams uint32
	// Limits bound what one principal may ask.
	Limits Limits
}

// Deps are the server's neighbours.
type Deps struct {
	Controller Controller
	Logger     *slog.Logger
	// Dial returns a connection to another node that is kept by whoever made it; (*Dialer).Dial is one. It may be nil
	// on a single node.
	Dial func(controller.Member) (grpc.ClientConnInterface, error)
	// AuditFiles keeps the audit chain on this node; nil: nothing does.
	AuditFiles AuditFiles
	// Refused counts a call that this node refused, by who made it and the code of the refusal; nil: nobody counts.
	Refused func(by, code string)
	// Certificate is the node's own, for ClusterService.Status; nil: nothing is said of it.
	Certificate Certificate
	// Registerer takes the metrics; nil: none are registered.
	Registerer prometheus.Registerer
	// Now is the wall clock, for what people read; nil: time.Now.
	Now func() time.Time
	// Elapsed is a clock that never steps, for how long something took and how long ago it was; nil: since New.
	Elapsed func() time.Duration
}

// Server is the API of one node.
type Server struct {
	cfg     Config
	deps    Deps
	log     *slog.Logger
	ctrl    Controller
	auth    auth.Authenticator
	health  *health.Server
	metrics *metrics
	parser  *signalParser
	inside  *auth.Inside
	limiter *limiter

	drainOnce sync.Once
	drained   chan struct{} // closed when streams have to end

	heard heard
}

// New returns the API of a node. Nothing runs yet. It fails when cfg or deps are incomplete.
func New(cfg Config, deps Deps) (*Server, error) {
	if err := auth.CheckName(cfg.Cluster); err != nil {
		return nil, fmt.Errorf("cannot use cluster name %q: %w", cfg.Cluster, err)
	}
	if deps.Controller == nil || deps.Logger == nil {
		return nil, errors.New("cannot make the API without a controller and a logger")
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	if deps.Elapsed == nil {
		start := time.Now()
		deps.Elapsed = func() time.Duration { return time.Since(start) }
	}
	m, err := newMetrics(deps.Registerer)
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg:     cfg.withDefaults(),
		deps:    deps,
		log:     deps.Logger,
		ctrl:    deps.Controller,
		auth:    auth.Authenticator{Cluster: cfg.Cluster, Rights: auth.Table(), Tokens: book{deps.Controller}, Now: deps.Now},
		health:  health.NewServer(),
		metrics: m,
		parser:  newSignalParser(),
		inside:  auth.NewInside(),
		limiter: newLimiter(cfg.Limits, deps.Elapsed),
		drained: make(chan struct{}),
	}
	s.SetServing(false)
	return s, nil
}

func (c Config) withDefaults() Config {
	if c.StatusTimeout <= 0 {
		c.StatusTimeout = defaultStatusFor
	}
	if c.ListenEvery <= 0 {
		c.ListenEvery = 2 * time.Second
	}
	if c.ForwardTimeout <= 0 {
		c.ForwardTimeout = 10 * time.Second
	}
	if c.StopTimeout <= 0 {
		c.StopTimeout = 3 * time.Second
	}
	if c.MaxStreams == 0 {
		c.MaxStreams = 128
	}
	return c
}

var _ Controller = (*controller.Controller)(nil)

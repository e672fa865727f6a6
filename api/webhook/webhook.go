// Package webhook takes what other systems post about attacks, and reports it as signals: Prometheus' Alertmanager, and
// any JSON for which the node's file says where to find what. It owns the proof of who posts (a client certificate, a
// bearer token, a signature), the protection against replays, the limits of each source, and the mapping of JSON to
// signals. It judges nothing: a signal goes through SignalService.Report, in the name detector/SOURCE, and the role
// table is asked as for everybody else.
//
// Use: New(Config, Deps) is inert and returns an http.Handler, which api/gateway calls for /v1/webhooks/NAME.
package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/tidegate/tidegate/api/auth"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// Limits.
const (
	MaxBody = 1 << 20 // octets of a request
	// Window is how far a signature's time may be from this node's.
	Window = 5 * time.Minute
	// DefaultPerSecond is how many requests a webhook takes, if its configuration does not say; MaxPerSecond is the most
	// that it may say. Twice as many may come at once.
	DefaultPerSecond = 10
	MaxPerSecond     = 100
	// MinSecret is the least length of a secret, in octets.
	MinSecret = 16
	inFlight  = 32 // requests that are being read or judged, of all webhooks
)

// Kind says what is posted.
type Kind string

// The kinds.
const (
	Alertmanager Kind = "alertmanager" // Prometheus' Alertmanager, webhook version 4
	JSON         Kind = "json"         // anything, by a mapping
)

// Proof says how a source proves itself.
type Proof string

// The proofs.
const (
	Certificate Proof = "certificate" // of detector/SOURCE
	Bearer      Proof = "bearer"      // Authorization: Bearer TOKEN
	HMAC        Proof = "hmac"        // Tidegate-Signature over Tidegate-Timestamp and the body
)

// Hook is one webhook.
type Hook struct {
	Name   string // in its path
	Kind   Kind
	Source string // the detector in whose name it reports
	Proof  Proof
	// Secret is the key of HMAC, or the token of Bearer, or sha256: and the token's SHA-256 in hex; empty with Certificate.
	Secret string
	// PerSecond bounds the requests; 0: DefaultPerSecond.
	PerSecond float64
	// Each is a CEL expression for the list of things in the body that are a signal each; empty: the body is one.
	Each string
	// Map has a CEL expression for each field of a signal.
	Map map[string]string
}

// Config is what the node's file says.
type Config struct {
	Cluster string // as it stands in certificates
	Hooks   []Hook
}

// Dialer makes connections to the node's own gRPC server; *auth.Inside is one.
type Dialer interface {
	Dial(who credentials.AuthInfo, opts ...grpc.DialOption) (*grpc.ClientConn, error)
}

// Deps are the package's neighbours.
type Deps struct {
	Inside Dialer
	Logger *slog.Logger
	// Registerer takes the metrics; nil: none are registered.
	Registerer prometheus.Registerer
	// Now is the wall clock; nil: time.Now.
	Now func() time.Time
}

// Handler answers requests to the webhooks.
type Handler struct {
	cluster string
	deps    Deps
	hooks   map[string]*hook
	slots   chan struct{}
	metrics *prometheus.CounterVec
}

// hook is a webhook at work.
type hook struct {
	Hook
	mapping *mapping
	secret  *secret // nil with Certificate
	limit   *bucket
	vouched auth.Vouched

	mu   sync.Mutex // guards conn
	conn *grpc.ClientConn
}

// New returns the handler of the webhooks. It fails when one of them cannot work; the error says which, and why.
func New(cfg Config, deps Deps) (*Handler, error) {
	if deps.Inside == nil || deps.Logger == nil {
		return nil, errors.New("cannot make webhooks without a way to the API and a logger")
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	h := &Handler{
		cluster: cfg.Cluster, deps: deps, hooks: map[string]*hook{}, slots: make(chan struct{}, inFlight),
		metrics: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "tidegate", Subsystem: "webhook", Name: "requests_total", Help: "Requests to webhooks, by name and HTTP status of the answer.",
		}, []string{"webhook", "status"}),
	}
	for _, c := range cfg.Hooks {
		if _, twice := h.hooks[c.Name]; twice {
			return nil, fmt.Errorf("cannot make webhook %q: there are two of that name", c.Name)
		}
		one, err := newHook(c, deps.Now())
		if err != nil {
			return nil, fmt.Errorf("cannot make webhook %q: %w", c.Name, err)
		}
		h.hooks[c.Name] = one
	}
	if deps.Registerer != nil {
		if err := deps.Registerer.Register(h.metrics); err != nil {
			return nil, fmt.Errorf("cannot register metrics: %w", err)
		}
	}
	return h, nil
}

func newHook(c Hook, now time.Time) (*hook, error) {
	if err := auth.CheckName(c.Name); err != nil {
		return nil, err
	}
	if problems := Check(c); len(problems) > 0 {
		return nil, errors.New(problems[0].Key + ": " + problems[0].Text)
	}
	one := &hook{Hook: c}
	var err error
	if one.vouched, err = auth.Vouch(c.Source); err != nil {
		return nil, err
	}
	if one.mapping, err = newMapping(c); err != nil {
		return nil, err
	}
	if c.Proof != Certificate {
		if one.secret, err = newSecret(c.Proof, c.Secret); err != nil {
			return nil, err
		}
	}
	if c.PerSecond == 0 {
		one.PerSecond = DefaultPerSecond
	}
	one.limit = newBucket(one.PerSecond, now)
	return one, nil
}

// Problem is something in a Hook that cannot work.
type Problem struct{ Key, Text string }

// Check returns what is wrong with a webhook, except for its secret; Key is as in the node's file.
func Check(c Hook) []Problem {
	var out []Problem
	add := func(key, format string, args ...any) { out = append(out, Problem{key, fmt.Sprintf(format, args...)}) }
	if err := auth.CheckName(c.Source); err != nil {
		add("source", "%q cannot be the name of a detector: %s", c.Source, err)
	}
	switch c.Kind {
	case Alertmanager, JSON:
		for _, p := range checkMapping(c) {
			add(p.Key, "%s", p.Text)
		}
	default:
		add("kind", "%q is not one of alertmanager, json", c.Kind)
	}
	switch c.Proof {
	case Certificate, Bearer, HMAC:
	default:
		add("auth", "%q is not one of certificate, bearer, hmac", c.Proof)
	}
	if !(c.PerSecond >= 0 && c.PerSecond <= MaxPerSecond) { // NaN is refused too
		add("per_second", "must be a number up to %d", MaxPerSecond)
	}
	return out
}

// CheckSecret says why a webhook's secret cannot be used; nil if it can, or if there need be none.
func CheckSecret(c Hook) error {
	if c.Proof == Certificate {
		return nil
	}
	_, err := newSecret(c.Proof, c.Secret)
	return err
}

// Close closes the connections to the API. Nothing may be in flight.
func (h *Handler) Close() {
	for _, one := range h.hooks {
		one.mu.Lock()
		if one.conn != nil {
			_ = one.conn.Close() // it fails only when it is closed already
			one.conn = nil
		}
		one.mu.Unlock()
	}
}

// client returns a way to report in the name of whoever posts, and a function that gives it back. State is that of a
// request that proved itself by its certificate; nil: it proved itself by its secret.
func (h *Handler) client(one *hook, state *tls.ConnectionState) (tidegatev1.SignalServiceClient, func(), error) {
	if state != nil {
		conn, err := h.deps.Inside.Dial(credentials.TLSInfo{State: *state})
		if err != nil {
			return nil, nil, err
		}
		return tidegatev1.NewSignalServiceClient(conn), func() { _ = conn.Close() }, nil // it fails only when it is closed already
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	if one.conn == nil {
		conn, err := h.deps.Inside.Dial(one.vouched)
		if err != nil {
			return nil, nil, err
		}
		one.conn = conn
	}
	return tidegatev1.NewSignalServiceClient(one.conn), func() {}, nil
}

// named is the webhook that the path ends with.
func (h *Handler) named(r *http.Request) (*hook, bool) {
	one, ok := h.hooks[r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]]
	return one, ok
}

// slot waits for room among the requests in flight.
func (h *Handler) slot(ctx context.Context) (release func(), ok bool) {
	select {
	case h.slots <- struct{}{}:
		return func() { <-h.slots }, true
	case <-ctx.Done():
		return nil, false
	}
}

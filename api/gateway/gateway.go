// Package gateway is the API over HTTPS and JSON: the same RPCs under the paths of proto/tidegate/v1/rest.yaml, and the
// webhooks of api/webhook beside them. It owns the HTTP listener, its TLS and its limits, the JSON form, and how an
// error looks; it decides nothing and knows no roles.
//
// Each call goes through the node's own gRPC server, from inside the process (auth.Inside), on a connection that bears
// the caller's verified certificate, or with its bearer token. So authentication, the role table, limits, the log of writes and the forward to the
// leader are those of gRPC, and no header but Authorization says who somebody is: of a request's headers only that and
// Grpc-Timeout go further than this package.
//
// JSON has the field names of the .proto files. What is unknown, in a body or a query, is an error. Errors are
// google.rpc.Status; streams are one object a line: {"result": …}, and at last perhaps {"error": …}.
//
// Use: New(Config, Deps) is inert, Serve(ctx, listener, tls) works until ctx ends.
package gateway

import (
	"context"
	"crypto/tls"
	_ "embed" // the OpenAPI document
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/textproto"
	"strings"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"golang.org/x/net/netutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// Limits of what a caller may send and hold.
const (
	MaxBody        = 8 << 20  // octets of a request, and of a line of a stream: what gRPC takes
	maxHeaders     = 32 << 10 // octets
	maxConns       = 512
	maxStreams     = 64       // requests in flight on one HTTP/2 connection
	maxReply       = 64 << 20 // octets of an answer that is turned into JSON
	headerTimeout  = 5 * time.Second
	idleTimeout    = time.Minute
	defaultTimeout = 15 * time.Second
	// A reader of a stream that takes nothing for so long is cut off.
	slowReader = 30 * time.Second
)

// Paths that are not those of an RPC.
const (
	OpenAPIPath = "/openapi.json"
	WebhookPath = "/v1/webhooks/" // and the name of one
)

// OpenAPI is the description of the API that a node serves at OpenAPIPath.
//
//go:embed openapi.swagger.json
var OpenAPI []byte

// Config is what the node's file says. Zero values are the defaults.
type Config struct {
	// Timeout bounds a call that is not a stream, from its last header to its answer; 15 s.
	Timeout time.Duration
}

// Dialer makes connections to the node's own gRPC server; *auth.Inside is one.
type Dialer interface {
	Dial(who credentials.AuthInfo, opts ...grpc.DialOption) (*grpc.ClientConn, error)
}

// Deps are the gateway's neighbours.
type Deps struct {
	Inside Dialer
	Logger *slog.Logger
	// Webhooks answers requests below WebhookPath; nil: there are none.
	Webhooks http.Handler
}

// Gateway is the API of one node over HTTP.
type Gateway struct {
	cfg     Config
	deps    Deps
	log     *slog.Logger
	mux     *runtime.ServeMux
	streams map[string]bool // paths, by method and path, whose answers do not end by themselves
	guard   *http.CrossOriginProtection
}

// New returns a gateway that does not listen yet. It fails when deps are incomplete.
func New(cfg Config, deps Deps) (*Gateway, error) {
	if deps.Inside == nil || deps.Logger == nil {
		return nil, errors.New("cannot make the gateway without a way to the API and a logger")
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	g := &Gateway{
		cfg: cfg, deps: deps, log: deps.Logger, guard: http.NewCrossOriginProtection(),
		streams: map[string]bool{"POST /v1/signals:stream": true, "GET /v1/mitigations:watch": true},
	}
	g.mux = runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, newMarshaler()),
		runtime.WithIncomingHeaderMatcher(nothing), runtime.WithOutgoingHeaderMatcher(nothing), runtime.WithOutgoingTrailerMatcher(nothing),
		runtime.WithDisableHTTPMethodOverride(), runtime.WithDisablePathLengthFallback(),
		runtime.SetQueryParameterParser(strictQuery{}),
		runtime.WithErrorHandler(func(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, err error) {
			WriteError(w, explain(r, err))
		}),
		runtime.WithRoutingErrorHandler(func(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, code int) {
			WriteError(w, noRoute(r, code))
		}),
	)
	return g, g.register()
}

// nothing lets no header through.
func nothing(string) (string, bool) { return "", false }

// register binds the services that the mapping names to the connection of whoever calls.
func (g *Gateway) register() error {
	conn, ctx := perCaller{}, context.Background()
	err := errors.Join(
		tidegatev1.RegisterSignalServiceHandlerClient(ctx, g.mux, tidegatev1.NewSignalServiceClient(conn)),
		tidegatev1.RegisterMitigationServiceHandlerClient(ctx, g.mux, tidegatev1.NewMitigationServiceClient(conn)),
		tidegatev1.RegisterApprovalServiceHandlerClient(ctx, g.mux, tidegatev1.NewApprovalServiceClient(conn)),
		tidegatev1.RegisterInventoryServiceHandlerClient(ctx, g.mux, tidegatev1.NewInventoryServiceClient(conn)),
		tidegatev1.RegisterRuleServiceHandlerClient(ctx, g.mux, tidegatev1.NewRuleServiceClient(conn)),
		tidegatev1.RegisterClusterServiceHandlerClient(ctx, g.mux, tidegatev1.NewClusterServiceClient(conn)),
		tidegatev1.RegisterTokenServiceHandlerClient(ctx, g.mux, tidegatev1.NewTokenServiceClient(conn)),
		tidegatev1.RegisterAuditServiceHandlerClient(ctx, g.mux, tidegatev1.NewAuditServiceClient(conn)),
	)
	if err != nil {
		return fmt.Errorf("cannot register the services over HTTP: %w", err)
	}
	return nil
}

// perCaller is the connection of the caller whose request the context is.
type perCaller struct{}

// Invoke implements grpc.ClientConnInterface.
func (perCaller) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	conn, err := callerConn(ctx)
	if err != nil {
		return err
	}
	return conn.Invoke(ctx, method, args, reply, opts...)
}

// NewStream implements grpc.ClientConnInterface.
func (perCaller) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	conn, err := callerConn(ctx)
	if err != nil {
		return nil, err
	}
	return conn.NewStream(ctx, desc, method, opts...)
}

// ServeHTTP answers one request that came in over TLS, to a server that Serve made.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	switch {
	// A browser sends its certificate to whom a foreign page tells it to.
	case g.guard.Check(r) != nil:
		WriteError(w, status.New(codes.PermissionDenied, "requests from another site's pages are not answered"))
	case r.URL.Path == OpenAPIPath && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		h.Set("Content-Type", "application/json")
		_, _ = w.Write(OpenAPI) // who went away does not read
	case strings.HasPrefix(r.URL.Path, WebhookPath) && g.deps.Webhooks != nil:
		g.bounded(w, r, g.deps.Webhooks.ServeHTTP)
	case g.streams[r.Method+" "+r.URL.Path]:
		g.stream(w, r)
	default:
		g.bounded(w, r, g.unary)
	}
}

// bounded lets next read and answer within the time limit.
func (g *Gateway) bounded(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
	ctx, cancel := context.WithTimeout(r.Context(), g.cfg.Timeout)
	defer cancel()
	rc := http.NewResponseController(w)
	at := time.Now()
	// What cannot set deadlines is no connection: a test's recorder.
	_ = rc.SetReadDeadline(at.Add(g.cfg.Timeout + headerTimeout))
	_ = rc.SetWriteDeadline(at.Add(g.cfg.Timeout + slowReader))
	next(w, r.WithContext(ctx))
}

// unary answers a call with one request and one answer.
func (g *Gateway) unary(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.URL.RawQuery != "" {
		WriteError(w, violation("query", "a "+r.Method+" takes its fields in the body", "leave out what follows the question mark"))
		return
	}
	if r.ContentLength > MaxBody {
		WriteError(w, errTooLarge())
		return
	}
	r.Body = &body{ReadCloser: http.MaxBytesReader(w, r.Body, MaxBody)}
	g.mux.ServeHTTP(w, withTLS(inner(r)))
}

// inner returns r with the headers that may go further.
func inner(r *http.Request) *http.Request {
	out := r.WithContext(r.Context())
	out.Header = http.Header{}
	for _, key := range []string{"Content-Type", "Accept", "Grpc-Timeout", "Authorization"} {
		key = textproto.CanonicalMIMEHeaderKey(key)
		if v := r.Header.Values(key); len(v) > 0 {
			out.Header[key] = v[:1]
		}
	}
	return out
}

// Serve answers requests on l until ctx ends; then streams end at once and calls in flight within a second. It closes l.
// It returns nil when ctx ended, else why the listener failed. For cfg see auth.GatewayTLS.
func (g *Gateway) Serve(ctx context.Context, l net.Listener, cfg *tls.Config) error {
	callers := &callers{dial: g.deps.Inside, all: map[net.Conn]*caller{}}
	streams, end := context.WithCancel(context.Background())
	defer end()
	s := &http.Server{
		Handler: g, TLSConfig: cfg.Clone(), ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaders,
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: maxStreams, MaxReceiveBufferPerConnection: 1 << 20, MaxReceiveBufferPerStream: 256 << 10},
		// Strangers cause these lines.
		ErrorLog: slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(context.Background(), drainKey{}, streams)
		},
		ConnContext: callers.add, ConnState: callers.state,
	}
	failed := make(chan error, 1)
	go func() { failed <- s.ServeTLS(netutil.LimitListener(l, maxConns), "", "") }()
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
		end()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		if serr := s.Shutdown(stop); serr != nil {
			_ = s.Close() // somebody reads slowly; the process ends anyway
		}
		cancel()
		err = <-failed
	}
	callers.close()
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("cannot serve the gateway on %s: %w", l.Addr(), err)
	}
	return nil
}

// drainKey is the context's key for a context that ends when streams have to.
type drainKey struct{}

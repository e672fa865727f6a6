// Package client is for detection systems that are written in Go: it reports attacks to a cluster over gRPC with a client
// certificate, to whichever node answers, and sends again what was not judged. It stands on the public .proto only, so
// that another module can import it; what it returns are the messages of proto/tidegate/v1. The command line has a
// client of its own (cmd/client), which knows of exit codes.
//
// A detector keeps one Client, and one Attack for each attack that it sees:
//
//	c, err := client.New(client.Config{Servers: []string{"n1:7400", "n2:7400"}, TLSDir: "/etc/flowmon/tidegate"})
//	attack := c.Attack("a-17", 0)
//	verdict, err := attack.Start(ctx, &tidegatev1.Signal{Targets: []string{"203.0.113.10"}, Vector: "dns_amplification"})
//	…
//	verdict, err = attack.End(ctx)
package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/tidegate/tidegate/api/auth"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// Config says how to reach a cluster.
type Config struct {
	// Servers are the API addresses of nodes, host:port. Any node takes signals; they are tried in this order.
	Servers []string
	// TLSDir holds ca.pem, cert.pem and key.pem, as `tidegate pki issue detector/NAME` writes them, or ca.pem and token. NAME is the source of
	// the signals.
	TLSDir string
	// TLS is used instead of the files of TLSDir, by programs that keep their keys elsewhere.
	TLS *tls.Config
}

// pause is how long to wait before asking again when no server answers, and at most after a verdict that asks for it.
const (
	pause    = 100 * time.Millisecond
	longest  = 5 * time.Second
	maxReply = 64 << 20 // octets
)

// Client is a connection to a cluster. It is safe for concurrent use.
type Client struct {
	conns   []*grpc.ClientConn
	servers []string
}

// New returns a client. It connects at the first call.
func New(cfg Config) (*Client, error) {
	if len(cfg.Servers) == 0 {
		return nil, errors.New("cannot make a client without a server")
	}
	tlsConfig, bearer := cfg.TLS, auth.Bearer("")
	if tlsConfig == nil {
		var err error
		if tlsConfig, bearer, _, err = auth.ClientFrom(cfg.TLSDir); err != nil {
			return nil, err
		}
	}
	var known []grpc.DialOption
	if bearer != "" {
		known = append(known, grpc.WithPerRPCCredentials(bearer))
	}
	c := &Client{servers: cfg.Servers}
	for _, s := range cfg.Servers {
		conn, err := grpc.NewClient("passthrough:///"+s, append(known,
			grpc.WithTransportCredentials(credentials.NewTLS(tlsConfig)),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReply)),
			grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 15 * time.Second, Timeout: 5 * time.Second}),
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: pause, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
				MinConnectTimeout: 3 * time.Second,
			}))...)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("cannot use server %q: %w", s, err), c.Close())
		}
		c.conns = append(c.conns, conn)
	}
	return c, nil
}

// Close ends the connections.
func (c *Client) Close() error {
	var errs []error
	for _, conn := range c.conns {
		errs = append(errs, conn.Close())
	}
	return errors.Join(errs...)
}

// Report has signals judged, and returns a verdict on each, in their order. While no server answers, or a verdict asks to
// come again, the same is sent again, until ctx ends: signals may be sent any number of times, since their numbers tell.
// Then the error wraps that of ctx, and the verdicts are the last ones, if there were any.
//
// A refusal is a verdict. An error is about the caller (the certificate's role, too many signals), or about ctx.
func (c *Client) Report(ctx context.Context, signals ...*tidegatev1.Signal) ([]*tidegatev1.Verdict, error) {
	if len(signals) == 0 {
		return nil, nil
	}
	out := make([]*tidegatev1.Verdict, len(signals))
	left := make([]int, len(signals)) // places of what is not judged yet
	for i := range left {
		left[i] = i
	}
	var last error
	for {
		req := &tidegatev1.ReportRequest{}
		for _, i := range left {
			req.Signals = append(req.Signals, signals[i])
		}
		resp, err := c.once(ctx, req)
		wait := pause
		switch {
		case err == nil && len(resp.GetVerdicts()) != len(left):
			return nil, fmt.Errorf("cannot use %d verdicts on %d signals", len(resp.GetVerdicts()), len(left))
		case err == nil:
			var again []int
			again, wait = place(resp.GetVerdicts(), left, out)
			if len(again) == 0 {
				return out, nil
			}
			left, last = again, errors.New("signals are still to be sent again")
		case status.Code(err) != codes.Unavailable && ctx.Err() == nil:
			return nil, err
		default:
			last = err
		}
		if err := sleep(ctx, wait); err != nil {
			if out[left[0]] == nil {
				out = nil
			}
			return out, fmt.Errorf("%w: %w", err, last)
		}
	}
}

// place puts verdicts in their places, and returns those that ask to come again, and when.
func place(verdicts []*tidegatev1.Verdict, at []int, out []*tidegatev1.Verdict) (again []int, wait time.Duration) {
	wait = longest
	for j, v := range verdicts {
		out[at[j]] = v
		if v.GetKind() == tidegatev1.VerdictKind_VERDICT_KIND_RETRY {
			again = append(again, at[j])
			wait = min(wait, max(v.GetRetryAfter().AsDuration(), pause))
		}
	}
	return again, wait
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// once asks the servers in order until one takes the call.
func (c *Client) once(ctx context.Context, req *tidegatev1.ReportRequest) (*tidegatev1.ReportResponse, error) {
	var errs []error
	for i, conn := range c.conns {
		resp, err := tidegatev1.NewSignalServiceClient(conn).Report(ctx, req)
		if status.Code(err) != codes.Unavailable {
			return resp, err
		}
		errs = append(errs, fmt.Errorf("%s: %s", c.servers[i], status.Convert(err).Message()))
	}
	return nil, status.Error(codes.Unavailable, errors.Join(errs...).Error())
}

// Attack is one attack that a detector sees. It numbers the signals about it. It is safe for concurrent use: signals go
// out one after the other, so that an end does not overtake what came before it.
type Attack struct {
	client *Client
	id     string

	mu  sync.Mutex // guards seq, and is held while a signal is on its way
	seq uint64
}

// Attack returns the attack of that id, which is the detector's own name of it, up to 128 octets, and must not be used
// for another one. Seq is the number of the last signal about it that was sent before: 0 for a new one. A detector that is
// started again goes on from a number that it has kept, or from its clock in ns.
func (c *Client) Attack(id string, seq uint64) *Attack {
	return &Attack{client: c, id: id, seq: seq}
}

// Start reports that the attack has begun. Targets and Vector of the signal are mandatory; AttackId, Seq and Kind are
// filled in. See Report for errors; a start that failed may be sent again with Start.
func (a *Attack) Start(ctx context.Context, s *tidegatev1.Signal) (*tidegatev1.Verdict, error) {
	return a.send(ctx, s, tidegatev1.SignalKind_SIGNAL_KIND_START)
}

// Update reports the attack as it is now, whole.
func (a *Attack) Update(ctx context.Context, s *tidegatev1.Signal) (*tidegatev1.Verdict, error) {
	return a.send(ctx, s, tidegatev1.SignalKind_SIGNAL_KIND_UPDATE)
}

// End reports that the attack is over.
func (a *Attack) End(ctx context.Context) (*tidegatev1.Verdict, error) {
	return a.send(ctx, &tidegatev1.Signal{}, tidegatev1.SignalKind_SIGNAL_KIND_END)
}

// Seq returns the number of the last signal that was sent.
func (a *Attack) Seq() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.seq
}

func (a *Attack) send(ctx context.Context, s *tidegatev1.Signal, kind tidegatev1.SignalKind) (*tidegatev1.Verdict, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seq++
	s = proto.CloneOf(s)
	s.AttackId, s.Seq, s.Kind = a.id, a.seq, kind
	verdicts, err := a.client.Report(ctx, s)
	if len(verdicts) == 0 {
		return nil, err
	}
	return verdicts[0], err
}

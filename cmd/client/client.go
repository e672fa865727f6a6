// Package client is how the command line and the demo reach a cluster: mutual TLS from a directory of three files,
// a list of servers that is tried in order, and the translation of an answer's error into an exit code and a
// paragraph. It owns no commands and prints nothing by itself.
package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tidegate/tidegate/api"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// Config says how to reach a cluster.
type Config struct {
	Servers []string // host:port, tried in this order
	TLSDir  string   // holds ca.pem, cert.pem and key.pem
	// Patience is how long a call is repeated while every server answers Unavailable: an election takes one or two
	// seconds. Zero means one round.
	Patience time.Duration
	// Notice, when set, is told of a server that kept a call waiting without an answer, before the next one is asked.
	Notice func(text string)
}

// Client is the API's services over one list of servers.
type Client struct {
	pb.SignalServiceClient
	pb.InventoryServiceClient
	pb.RuleServiceClient
	// Mitigations and Cluster are fields since their methods' names are those of other services too.
	Mitigations pb.MitigationServiceClient
	Cluster     pb.ClusterServiceClient
	Audit       pb.AuditServiceClient
	Approvals   pb.ApprovalServiceClient
	Tokens      pb.TokenServiceClient

	pool *pool
}

// New makes a client. It connects at the first call.
func New(cfg Config) (*Client, error) {
	if len(cfg.Servers) == 0 {
		return nil, &UsageError{Text: "no server is named; give --server host:port or set TIDEGATE_SERVER"}
	}
	if cfg.TLSDir == "" {
		return nil, &UsageError{Text: "no certificate is named; give --tls-dir or set TIDEGATE_TLS_DIR to a directory with ca.pem, cert.pem and key.pem"}
	}
	for _, s := range cfg.Servers {
		if err := checkServer(s); err != nil {
			return nil, err
		}
	}
	tlsConfig, bearer, err := loadTLS(cfg.TLSDir)
	if err != nil {
		return nil, err
	}
	p := &pool{patience: cfg.Patience, servers: cfg.Servers, tlsDir: cfg.TLSDir, notice: cfg.Notice}
	opts := api.DialOptions(tlsConfig)
	if bearer != "" {
		opts = append(opts, grpc.WithPerRPCCredentials(bearer))
	}
	for _, s := range cfg.Servers {
		conn, err := grpc.NewClient("passthrough:///"+s, opts...)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("cannot use server %q: %w", s, err), p.close())
		}
		p.conns = append(p.conns, conn)
	}
	return &Client{
		SignalServiceClient:    pb.NewSignalServiceClient(p),
		InventoryServiceClient: pb.NewInventoryServiceClient(p),
		RuleServiceClient:      pb.NewRuleServiceClient(p),
		Mitigations:            pb.NewMitigationServiceClient(p),
		Cluster:                pb.NewClusterServiceClient(p),
		Audit:                  pb.NewAuditServiceClient(p),
		Approvals:              pb.NewApprovalServiceClient(p),
		Tokens:                 pb.NewTokenServiceClient(p),
		pool:                   p,
	}, nil
}

// Close ends the connections.
func (c *Client) Close() error { return c.pool.close() }

// pool is one gRPC connection over several servers: a call goes to the first, to the next one when that is
// unavailable, and so on. A write is safe to repeat, since it carries its request id.
type pool struct {
	conns    []*grpc.ClientConn
	servers  []string // of conns
	tlsDir   string
	patience time.Duration
	notice   func(string) // nil: nobody listens
}

// between is the pause between two rounds over the servers.
const between = 100 * time.Millisecond

// slow is how long a server may keep a call waiting before the user is told which one it was.
const slow = time.Second

// each calls f with one connection after the other until one answers something else than Unavailable.
func (p *pool) each(ctx context.Context, f func(*grpc.ClientConn) error) error {
	until := time.Now().Add(p.patience)
	for {
		var r round
		for i, c := range p.conns {
			began := time.Now()
			err := f(c)
			if status.Code(err) != codes.Unavailable {
				return err
			}
			r.add(p.servers[i], err)
			if p.notice != nil && time.Since(began) >= slow && i+1 < len(p.conns) {
				p.notice(fmt.Sprintf("server %s did not answer (%s); the next one is asked", p.servers[i], trouble(err)))
			}
		}
		if r.final() || time.Now().After(until) || tooLate(ctx) {
			return r.err(p.tlsDir)
		}
		t := time.NewTimer(between)
		select {
		case <-ctx.Done():
			t.Stop()
			return r.err(p.tlsDir)
		case <-t.C:
		}
	}
}

// tooLate reports whether another round could only run into the deadline: what the servers said is then more telling
// than that time is up.
func tooLate(ctx context.Context) bool {
	d, ok := ctx.Deadline()
	return ok && time.Until(d) < 3*between
}

// Invoke implements grpc.ClientConnInterface.
func (p *pool) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return p.each(ctx, func(c *grpc.ClientConn) error { return c.Invoke(ctx, method, args, reply, opts...) })
}

// NewStream implements grpc.ClientConnInterface. Only the opening is tried elsewhere, not what breaks later.
func (p *pool) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	var out grpc.ClientStream
	err := p.each(ctx, func(c *grpc.ClientConn) (err error) {
		out, err = c.NewStream(ctx, desc, method, opts...)
		return err
	})
	return out, err
}

func (p *pool) close() error {
	var errs []error
	for _, c := range p.conns {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

package api

import (
	"crypto/tls"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/controller"
)

// DialOptions returns the options of a client of the API: TLS as in auth.ClientTLS, answers of up to 64 MiB, a
// keepalive that the server permits, and quick reconnection.
func DialOptions(cfg *tls.Config) []grpc.DialOption { return dialOptions(credentials.NewTLS(cfg)) }

func dialOptions(creds credentials.TransportCredentials) []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReplyMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 15 * time.Second, Timeout: 5 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 3 * time.Second,
		}),
		grpc.WithUserAgent("tidegate"),
	}
}

// Dialer keeps one connection per member, made when first asked for. It is safe for concurrent use.
type Dialer struct {
	config  func() *tls.Config
	cluster string

	// mu guards conns and closed.
	mu     sync.Mutex
	conns  map[controller.Member]*grpc.ClientConn
	closed bool
}

// NewDialer returns a Dialer that calls with the member's certificate in what config returns at each connection, which
// is the client's part of auth.MemberTLS; (*auth.Keys).Client is one.
func NewDialer(config func() *tls.Config, cluster string) *Dialer {
	return &Dialer{config: config, cluster: cluster, conns: make(map[controller.Member]*grpc.ClientConn)}
}

// Dial returns the connection to m at its APIAddress. It does not wait for the connection to stand. The other end
// must show the certificate of the member with m's ID.
func (d *Dialer) Dial(m controller.Member) (grpc.ClientConnInterface, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, errors.New("cannot dial: the dialer is closed")
	}
	if c, ok := d.conns[m]; ok {
		return c, nil
	}
	c, err := grpc.NewClient("passthrough:///"+m.APIAddress, dialOptions(auth.Renewing(func() *tls.Config {
		return auth.ForMember(d.config(), d.cluster, m.ID)
	}))...)
	if err != nil {
		return nil, fmt.Errorf("cannot dial member %q at %q: %w", m.ID, m.APIAddress, err)
	}
	d.conns[m] = c
	return c, nil
}

// Close closes every connection.
func (d *Dialer) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	var errs []error
	for _, c := range d.conns {
		errs = append(errs, c.Close())
	}
	d.conns = nil
	return errors.Join(errs...)
}

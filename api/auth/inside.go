package auth

import (
	"context"
	"fmt"
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// Inside is the way into a node's gRPC server from the same process, for what stands in front of it: the REST gateway
// and the webhooks. Its connections lie in memory, and who calls is a Go value that Dial attaches to the connection,
// not something that is sent over it. So nothing that comes from outside can claim an identity, and a call from inside
// passes the same interceptors as every other one.
type Inside struct {
	conns chan net.Conn

	once   sync.Once
	closed chan struct{}
}

// NewInside returns an Inside to which nobody listens yet.
func NewInside() *Inside {
	return &Inside{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// Vouched is who calls where no client certificate says so: a webhook's source, which proved itself by its secret. Only
// Vouch makes one that means somebody.
type Vouched struct{ id Identity }

// AuthType implements credentials.AuthInfo.
func (Vouched) AuthType() string { return "tidegate-vouched" }

// Vouch returns the proof that a detector of that name was authenticated in this process. It is an error if the name
// cannot be one. Nobody but a detector is vouched for: everybody else shows a certificate.
func Vouch(name string) (Vouched, error) {
	if err := CheckName(name); err != nil {
		return Vouched{}, fmt.Errorf("cannot vouch for detector %q: %w", clip(name), err)
	}
	return Vouched{id: Identity{Role: Detector, Name: name}}, nil
}

// insideConn is the server's end of a connection.
type insideConn struct {
	net.Conn
	who credentials.AuthInfo
}

// Dial returns a client of the server for one caller. Who is a credentials.TLSInfo with the caller's verified
// certificate, or a Vouched. It connects at the first call and waits for the server to listen. Whoever asked closes it.
func (i *Inside) Dial(who credentials.AuthInfo, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	opts = append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()), // both ends are in this process
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return i.connect(ctx, who) }),
	}, opts...)
	conn, err := grpc.NewClient("passthrough:///inside", opts...)
	if err != nil {
		return nil, fmt.Errorf("cannot dial this node from inside: %w", err)
	}
	return conn, nil
}

func (i *Inside) connect(ctx context.Context, who credentials.AuthInfo) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case i.conns <- &insideConn{Conn: server, who: who}:
		return client, nil
	case <-i.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept implements net.Listener.
func (i *Inside) Accept() (net.Conn, error) {
	select {
	case c := <-i.conns:
		return c, nil
	case <-i.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. It leaves the connections that there are.
func (i *Inside) Close() error {
	i.once.Do(func() { close(i.closed) })
	return nil
}

// Addr implements net.Listener.
func (i *Inside) Addr() net.Addr { return insideAddr{} }

type insideAddr struct{}

func (insideAddr) Network() string { return "inside" }
func (insideAddr) String() string  { return "inside" }

// Credentials returns outer for a server that also listens to an Inside: a connection from there bears the caller that
// Dial was given, every other one is outer's business.
func Credentials(outer credentials.TransportCredentials) credentials.TransportCredentials {
	return &insideCredentials{TransportCredentials: outer}
}

type insideCredentials struct {
	credentials.TransportCredentials
}

// ServerHandshake implements credentials.TransportCredentials.
func (c *insideCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if in, ok := raw.(*insideConn); ok {
		return in, in.who, nil
	}
	return c.TransportCredentials.ServerHandshake(raw)
}

// Clone implements credentials.TransportCredentials.
func (c *insideCredentials) Clone() credentials.TransportCredentials {
	return &insideCredentials{TransportCredentials: c.TransportCredentials.Clone()}
}

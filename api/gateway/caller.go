package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

// callers keeps a connection to the API for each HTTP connection, for as long as that lasts: one client, one
// certificate, one set of limits.
type callers struct {
	dial Dialer

	mu  sync.Mutex // guards all
	all map[net.Conn]*caller
}

// caller is whoever holds an HTTP connection.
type caller struct {
	dial Dialer

	// mu guards what is below.
	mu     sync.Mutex
	conn   *grpc.ClientConn // nil until the first call
	closed bool
}

type callerKey struct{}

// add implements http.Server.ConnContext.
func (c *callers) add(ctx context.Context, conn net.Conn) context.Context {
	one := &caller{dial: c.dial}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all[conn] = one
	return context.WithValue(ctx, callerKey{}, one)
}

// state implements http.Server.ConnState.
func (c *callers) state(conn net.Conn, s http.ConnState) {
	if s != http.StateClosed && s != http.StateHijacked {
		return
	}
	c.mu.Lock()
	one := c.all[conn]
	delete(c.all, conn)
	c.mu.Unlock()
	one.close()
}

func (c *callers) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn, one := range c.all {
		one.close()
		delete(c.all, conn)
	}
}

func (c *caller) close() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	if c.conn != nil {
		_ = c.conn.Close() // it fails only when it is closed already
		c.conn = nil
	}
}

// to returns the connection, made when first asked for: by then the handshake has said who calls.
func (c *caller) to(state *tls.ConnectionState) (*grpc.ClientConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, status.Error(codes.Canceled, "the client is gone")
	}
	if c.conn != nil {
		return c.conn, nil
	}
	// The very type that a gRPC connection over TLS has: who this is, the interceptors read from the chain that was
	// verified, and if none was, they say so.
	conn, err := c.dial.Dial(credentials.TLSInfo{State: *state}, grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReply)))
	if err != nil {
		return nil, err
	}
	c.conn = conn
	return conn, nil
}

type tlsKey struct{}

// withTLS returns r with its TLS state in the context, where perCaller finds it.
func withTLS(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), tlsKey{}, r.TLS))
}

// callerConn returns the connection of whoever's request the context is.
func callerConn(ctx context.Context) (*grpc.ClientConn, error) {
	one, _ := ctx.Value(callerKey{}).(*caller)
	state, _ := ctx.Value(tlsKey{}).(*tls.ConnectionState)
	if one == nil || state == nil {
		return nil, errors.New("the request did not come in over TLS")
	}
	return one.to(state)
}

package node

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/tidegate/tidegate/api/auth"
)

// streams carries raft between nodes over mutual TLS. It can be handed to raft before the port is open, so that the
// data directory is locked first: a second process on it is told so, not that a port is taken.
type streams struct {
	server  *tls.Config
	client  func() *tls.Config
	cluster string
	names   map[string]string // raft address to member id
	self    string            // raft address of this node, as the others know it

	opened chan struct{} // closed when listener is set
	closed chan struct{}
	once   sync.Once

	// mu guards listener.
	mu       sync.Mutex
	listener net.Listener
}

func newStreams(cfg Config, server *tls.Config, client func() *tls.Config) *streams {
	s := &streams{
		server: server, client: client, cluster: cfg.Cluster.Name, names: map[string]string{},
		opened: make(chan struct{}), closed: make(chan struct{}),
	}
	for _, m := range cfg.Cluster.Members {
		s.names[m.Raft] = m.ID
		if m.ID == cfg.Node {
			s.self = m.Raft
		}
	}
	return s
}

// open starts to accept on l. It is called once.
func (s *streams) open(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener = tls.NewListener(l, s.server)
	close(s.opened)
}

// Accept implements net.Listener.
func (s *streams) Accept() (net.Conn, error) {
	select {
	case <-s.closed:
		return nil, net.ErrClosed
	case <-s.opened:
	}
	s.mu.Lock()
	l := s.listener
	s.mu.Unlock()
	return l.Accept()
}

// Close implements net.Listener.
func (s *streams) Close() error {
	s.once.Do(func() { close(s.closed) })
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return nil
	}
	return s.listener.Close()
}

// Addr implements net.Listener: the address that the others know, which raft tells them, not the one bound.
func (s *streams) Addr() net.Addr { return address(s.self) }

// Dial implements controller.Streams. The other end must show the certificate of the member that the address belongs to.
func (s *streams) Dial(to string, timeout time.Duration) (net.Conn, error) {
	name, ok := s.names[to]
	if !ok {
		return nil, fmt.Errorf("cannot dial %q: it is no member's raft address", to)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	d := tls.Dialer{Config: auth.ForMember(s.client(), s.cluster, name)}
	return d.DialContext(ctx, "tcp", to)
}

// address is a TCP address that may hold a name.
type address string

func (address) Network() string  { return "tcp" }
func (a address) String() string { return string(a) }

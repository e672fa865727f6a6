package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// Relay is a port of this process's own network from which every connection leads to a port inside of a lab, so that a
// speaker in a test's own process reaches the routers. Close it before the Lab.
type Relay struct {
	ns       *Namespace
	from     netip.Addr
	to       netip.AddrPort
	listener *net.TCPListener
	ctx      context.Context // done when it is closed
	stop     context.CancelFunc
	accepted atomic.Int64
	wg       sync.WaitGroup
}

// Relay opens a Relay whose connections come from the address from, and lead to to, both inside of the lab.
func (l *Lab) Relay(from netip.Addr, to netip.AddrPort) (*Relay, error) {
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	listener, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(loopback, 0)))
	if err != nil {
		return nil, fmt.Errorf("cannot listen for a relay to %q: %w", to, err)
	}
	r := &Relay{ns: l.ns, from: from, to: to, listener: listener}
	r.ctx, r.stop = context.WithCancel(context.Background())
	r.wg.Go(r.accept)
	return r, nil
}

// Addr is where the speaker connects to.
func (r *Relay) Addr() netip.AddrPort {
	a, _ := netip.ParseAddrPort(r.listener.Addr().String())
	return a
}

// Accepted is how many connections there were so far: a speaker whose session is lost connects again.
func (r *Relay) Accepted() int { return int(r.accepted.Load()) }

// Close ends all connections and returns when they are down.
func (r *Relay) Close() error {
	r.stop()
	err := r.listener.Close()
	r.wg.Wait()
	return err
}

func (r *Relay) accept() {
	for {
		outside, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.accepted.Add(1)
		r.wg.Go(func() { r.carry(outside) })
	}
}

// carry copies both ways until one side ends. What cannot be led on is closed, upon which the speaker dials again.
func (r *Relay) carry(outside net.Conn) {
	var inside net.Conn
	err := r.ns.Do(func() (err error) {
		// One literal address: the socket is made by this goroutine, and so inside of the namespace.
		inside, err = net.DialTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(r.from, 0)), net.TCPAddrFromAddrPort(r.to))
		return err
	})
	if err != nil {
		_ = outside.Close()
		return
	}
	end := func() { _ = errors.Join(outside.Close(), inside.Close()) } // each copy sees it
	stop := context.AfterFunc(r.ctx, end)
	defer stop()
	var wg sync.WaitGroup
	for _, ends := range [][2]net.Conn{{outside, inside}, {inside, outside}} {
		wg.Go(func() {
			defer end()
			_, _ = io.Copy(ends[0], ends[1]) // the end of a session is no error here
		})
	}
	wg.Wait()
}

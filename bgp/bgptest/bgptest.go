// Package bgptest has an edge router in a box: it speaks BGP over TCP, records every FlowSpec rule and every unicast
// route that it hears with its path attributes, and can misbehave on request. Tests use it as a witness, and `tidegate demo` as its edge router.
//
// It owns its own reading of BGP, apart from GoBGP, so that a mistake of the speaker's library is not repeated by the
// witness; rules are decoded by package flowspec. It enforces nothing and forwards nothing. It does not do graceful
// restart: what a session announced is gone when the session is.
package bgptest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// Config describes a Router.
type Config struct {
	// Addr is where it listens; a zero one means 127.0.0.1 and a free port.
	Addr netip.AddrPort
	ASN  flowspec.ASN
	// RouterID is its BGP identifier; zero means 192.0.2.1.
	RouterID netip.Addr
	// HoldTime is proposed in OPEN; zero means 90 s.
	HoldTime time.Duration
	// Families are those of FlowSpec that it offers; nil means IPv4 and IPv6, or none if Unicast is set.
	Families []flowspec.Family
	// Unicast are the families of plain unicast routes that it offers; nil means none.
	Unicast []flowspec.Family
	// ExtendedMessages offers messages up to 65,535 octets (RFC 8654).
	ExtendedMessages bool
	// RouteRefresh offers to ask for all routes again (RFC 2918); see Refresh.
	RouteRefresh bool
	// ReadBuffer is the size of the kernel's receive buffer in octets, so that a router that has stopped reading is
	// felt soon; 0 leaves the kernel's default.
	ReadBuffer int
	// HistoryLimit is how many Changes are kept for History and Absent, over all keys; 0 means 500,000, which take
	// some 40 MB. When there are more, the oldest is forgotten. What is kept of a key is judged right: a gap that a
	// forgotten loss began is reported in full as long as it lasts and when a kept announcement ends it. A gap that
	// ended in forgotten time is not reported, and a key of which every Change is forgotten and that nobody
	// announces is as if it had never been heard.
	HistoryLimit int
	// KeepUpdates records every UPDATE for Updates. It costs memory for as long as the Router lives.
	KeepUpdates bool
	// Chokes reports whether the router does not bear a rule: it then ends the session with a NOTIFICATION 3/10, and takes
	// nothing of the UPDATE. Nil: it bears all.
	Chokes func(flowspec.Key) bool
	// OnUpdate is called for each UPDATE after it was taken into the table, in order of arrival over all sessions,
	// with the table as it is then. The table must not be kept, and no method of the Router be called. Nil for none.
	OnUpdate func(Update, Table)
	// OnSession is called when a session comes up or goes down, under the same conditions. Nil for none.
	OnSession func(Session)
}

// Update is one UPDATE message.
type Update struct {
	Seq       uint64 // from 1, in order of arrival over all sessions
	At        time.Time
	Session   SessionID
	Length    int // octets, with the header
	Announced []Route
	Withdrawn []flowspec.Key
	EndOfRIB  flowspec.Family // 0 if it is no End-of-RIB marker of FlowSpec
}

// Session is one BGP session, past or present.
type Session struct {
	ID       SessionID
	RouterID netip.Addr // of the other side
	ASN      flowspec.ASN
	Remote   netip.AddrPort
	Families []flowspec.Family // of FlowSpec, that both sides offer
	Unicast  []flowspec.Family // of unicast, that both sides offer
	HoldTime time.Duration
	Extended bool // messages up to 65,535 octets are agreed
	Up       time.Time
	Down     time.Time // zero while it is up
	Why      string    // it went down
}

// Router is an edge router. Make one with NewRouter.
type Router struct {
	cfg      Config
	listener *net.TCPListener
	wg       sync.WaitGroup

	mu       sync.Mutex // guards what follows
	changed  chan struct{}
	table    Table
	history  history
	sessions []Session
	live     map[SessionID]*session
	own      map[flowspec.Key]Route // what it announces itself
	updates  []Update
	seq      uint64
	heard    uint64        // routes announced to us, ever
	lost     uint64        // routes withdrawn, ever
	gate     chan struct{} // closed while it reads
	conns    map[net.Conn]bool
	closed   bool
}

// NewRouter opens the listening socket, so that Addr is known; nothing is answered before Run.
func NewRouter(cfg Config) (*Router, error) {
	if !cfg.Addr.IsValid() {
		cfg.Addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)
	}
	if !cfg.RouterID.IsValid() {
		cfg.RouterID = netip.AddrFrom4([4]byte{192, 0, 2, 1})
	}
	if cfg.HoldTime == 0 {
		cfg.HoldTime = 90 * time.Second
	}
	if cfg.HistoryLimit == 0 {
		cfg.HistoryLimit = defaultHistoryLimit
	}
	if cfg.Families == nil && cfg.Unicast == nil {
		cfg.Families = []flowspec.Family{flowspec.IPv4, flowspec.IPv6}
	}
	l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(cfg.Addr))
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %q: %w", cfg.Addr, err)
	}
	r := &Router{
		cfg: cfg, listener: l, changed: make(chan struct{}),
		table:   Table{routes: make(map[flowspec.Key]map[SessionID]Route)},
		history: newHistory(cfg.HistoryLimit),
		live:    make(map[SessionID]*session),
		own:     make(map[flowspec.Key]Route),
		gate:    make(chan struct{}),
		conns:   make(map[net.Conn]bool),
	}
	close(r.gate)
	return r, nil
}

// Addr is where the Router listens.
func (r *Router) Addr() netip.AddrPort { return addrPort(r.listener.Addr()) }

// addrPort is the address of a TCP socket; zero for any other.
func addrPort(a net.Addr) netip.AddrPort {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort()
	}
	return netip.AddrPort{}
}

// Run accepts sessions until ctx is done, then closes all of them and returns nil. A Router runs once.
func (r *Router) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, r.shut)
	defer stop()
	for {
		conn, err := r.listener.AcceptTCP()
		if err != nil {
			r.shut()
			r.wg.Wait()
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("cannot accept on %q: %w", r.Addr(), err)
		}
		r.serve(conn)
	}
}

// Dial opens a session to another router or speaker, as a neighbour that connects by itself, from the address where the
// Router listens. It returns when the TCP connection stands; the session ends with Run.
func (r *Router) Dial(ctx context.Context, to netip.AddrPort) error {
	var d net.Dialer
	if from := r.Addr().Addr(); !from.IsUnspecified() && from.Is4() == to.Addr().Is4() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	conn, err := d.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return fmt.Errorf("cannot dial %q: %w", to, err)
	}
	r.serve(conn)
	return nil
}

func (r *Router) serve(conn net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		conn.Close() //nolint:errcheck,gosec // Nothing was sent.
		return
	}
	r.conns[conn] = true
	r.wg.Go(func() {
		r.converse(conn)
		r.mu.Lock()
		delete(r.conns, conn)
		r.mu.Unlock()
	})
}

func (r *Router) shut() {
	r.listener.Close() //nolint:errcheck,gosec // It is closed to make Accept return.
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for c := range r.conns {
		c.Close() //nolint:errcheck,gosec // The conversation ends by the read error.
	}
	r.setReading(true)
}

// notify wakes everybody who waits for a change. It runs under mu.
func (r *Router) notify() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// Wait returns nil when cond says so, or ctx's error. cond is called under a lock whenever something changed: it must
// not keep the Table and must not call the Router.
func (r *Router) Wait(ctx context.Context, cond func(Table, []Session) bool) error {
	for {
		r.mu.Lock()
		ok := cond(r.table, r.sessions)
		changed := r.changed
		r.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("cannot see what was waited for: %w", context.Cause(ctx))
		}
	}
}

// WaitRoutes is Wait for a condition on the table only.
func (r *Router) WaitRoutes(ctx context.Context, cond func(Table) bool) error {
	return r.Wait(ctx, func(t Table, _ []Session) bool { return cond(t) })
}

// WaitSession waits until a session with the speaker of that router id is up and returns it.
func (r *Router) WaitSession(ctx context.Context, id netip.Addr) (Session, error) {
	var found Session
	err := r.Wait(ctx, func(_ Table, all []Session) bool {
		for _, s := range all {
			if s.RouterID == id && s.Down.IsZero() {
				found = s
				return true
			}
		}
		return false
	})
	return found, err
}

// Table is a copy of what the Router has heard and not lost.
func (r *Router) Table() Table {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.table.clone()
}

// Sessions are all sessions that ever came up, oldest first.
func (r *Router) Sessions() []Session {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.sessions)
}

// Updates are all UPDATE messages in order of arrival, if Config.KeepUpdates is set.
func (r *Router) Updates() []Update {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.updates)
}

// Counts are the numbers of routes announced and withdrawn so far, repetitions included.
func (r *Router) Counts() (announced, withdrawn uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.heard, r.lost
}

// History is the life of k as far as Config.HistoryLimit lets it be kept: every announcement and loss, oldest first.
func (r *Router) History(k flowspec.Key) []Change {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.history.of(k).kept)
}

// Absent are the times in which no session announced k, after it was first announced, as far as Config.HistoryLimit
// lets them be known.
func (r *Router) Absent(k flowspec.Key) []Interval {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.history.of(k).absent()
}

// StopReading makes the Router read nothing more from any session while it goes on sending keepalives, like a router
// whose BGP process hangs behind a live keepalive thread. StartReading ends it.
func (r *Router) StopReading() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.setReading(false)
}

// StartReading undoes StopReading.
func (r *Router) StartReading() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.setReading(true)
}

func (r *Router) setReading(on bool) {
	select {
	case <-r.gate:
		if !on {
			r.gate = make(chan struct{})
		}
	default:
		if on {
			close(r.gate)
		}
	}
}

// ErrNoSession is returned for a session that is not up.
var ErrNoSession = errors.New("no such session")

// Reset ends a session with a NOTIFICATION.
func (r *Router) Reset(id SessionID, n Notification) error {
	s, err := r.session(id)
	if err != nil {
		return err
	}
	return s.end(n)
}

// Cut ends a session without a word, as a broken line does.
func (r *Router) Cut(id SessionID) error {
	s, err := r.session(id)
	if err != nil {
		return err
	}
	if err := s.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("cannot cut session %d: %w", id, err)
	}
	return nil
}

func (r *Router) session(id SessionID) (*session, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.live[id]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("cannot use session %d: %w", id, ErrNoSession)
}

// Announce sends a rule, or a unicast route, to every session, now and when one comes up later. Of route it uses Rule, or
// Unicast, Prefix, NextHop and Communities, and MED, Origin and, over iBGP, LocalPref, where 0 means 100; the same key
// again replaces it.
func (r *Router) Announce(route Route) error {
	if route.Key = route.Rule.Match.Key(); route.Unicast {
		if !route.Prefix.IsValid() {
			return fmt.Errorf("cannot announce prefix %q", route.Prefix)
		}
		route = route.to(route.Prefix)
	}
	return r.originate(func() { r.own[route.Key] = route }, func(s *session) ([]byte, error) {
		return marshalAnnouncement(route, r.cfg.ASN, s.external)
	}, func(s *session) bool { return s.carries(&route) })
}

// Withdraw takes back what Announce sent.
func (r *Router) Withdraw(m flowspec.Match) error {
	return r.originate(func() { delete(r.own, m.Key()) }, func(*session) ([]byte, error) {
		return marshalWithdrawal(m)
	}, func(s *session) bool { return slices.Contains(s.info.Families, m.Family) })
}

func (r *Router) originate(change func(), body func(*session) ([]byte, error), carries func(*session) bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
	for _, s := range r.live {
		if !carries(s) {
			continue
		}
		b, err := body(s)
		if err != nil {
			return fmt.Errorf("cannot send rule: %w", err)
		}
		s.send(typeUpdate, b)
	}
	return nil
}

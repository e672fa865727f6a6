package bgptest

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// session is one conversation. Its messages go out through a queue of their own goroutine, so that nobody who holds
// the Router's lock waits for a neighbour.
type session struct {
	conn     net.Conn
	info     Session
	external bool

	mu    sync.Mutex // guards queue
	queue [][]byte
	more  chan struct{} // holds one token when queue may have grown
	over  chan struct{} // closed by finish
}

// writeTimeout bounds one write; a neighbour that takes longer is given up.
const writeTimeout = 10 * time.Second

// converse leads a session from OPEN to its end (RFC 4271 section 8, without the states that a test needs not).
func (r *Router) converse(conn net.Conn) {
	s := &session{conn: conn, more: make(chan struct{}, 1), over: make(chan struct{})}
	if tcp, ok := conn.(*net.TCPConn); ok && r.cfg.ReadBuffer > 0 {
		tcp.SetReadBuffer(r.cfg.ReadBuffer) //nolint:errcheck,gosec // The kernel's default does as well.
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(s.write)
	defer s.finish()

	in := bufio.NewReaderSize(conn, 64<<10)
	if r.cfg.ReadBuffer > 0 {
		in = bufio.NewReaderSize(conn, 512) // do not read on what the kernel would have to keep
	}
	err := r.open(s, in)
	if err == nil {
		wg.Go(func() { s.keepAlive(s.info.HoldTime / 3) })
		r.begin(s)
		err = r.listen(s, in)
		r.finish(s, err)
	}
	var n Notification
	if errors.As(err, &n) && !errors.Is(err, errHeard) {
		s.end(n) //nolint:errcheck,gosec // The session ends either way.
	}
}

// errHeard marks a Notification that came from the other side.
var errHeard = errors.New("received")

// open exchanges OPEN and the first KEEPALIVE.
func (r *Router) open(s *session, in *bufio.Reader) error {
	own := open{
		asn: r.cfg.ASN, holdTime: r.cfg.HoldTime, routerID: r.cfg.RouterID,
		families: r.cfg.Families, unicast: r.cfg.Unicast, extended: r.cfg.ExtendedMessages, refresh: r.cfg.RouteRefresh,
	}
	s.send(typeOpen, own.marshal())
	if err := s.conn.SetReadDeadline(time.Now().Add(r.cfg.HoldTime)); err != nil {
		return err
	}
	kind, body, err := readMessage(in, maxMessageLength)
	if err != nil {
		return err
	}
	if kind != typeOpen {
		return Notification{5, 1}
	}
	theirs, err := parseOpen(body)
	if err != nil {
		return err
	}
	if theirs.routerID == r.cfg.RouterID {
		return Notification{2, 3}
	}
	s.external = theirs.asn != r.cfg.ASN
	s.info = Session{
		RouterID: theirs.routerID, ASN: theirs.asn,
		Remote:   addrPort(s.conn.RemoteAddr()),
		HoldTime: min(own.holdTime, theirs.holdTime), Extended: own.extended && theirs.extended,
		Families: common(own.families, theirs.families), Unicast: common(own.unicast, theirs.unicast),
	}
	s.send(typeKeepalive, nil)
	if kind, _, err = readMessage(in, maxMessageLength); err != nil {
		return err
	}
	if kind != typeKeepalive {
		return Notification{5, 2}
	}
	return nil
}

// common is what is in both of a and b.
func common(a, b []flowspec.Family) []flowspec.Family {
	return slices.DeleteFunc(slices.Clone(a), func(f flowspec.Family) bool { return !slices.Contains(b, f) })
}

// carries reports whether r can be announced in s.
func (s *session) carries(r *Route) bool {
	if r.Unicast {
		return slices.Contains(s.info.Unicast, flowspec.Family(afiOf(r.Prefix)))
	}
	return slices.Contains(s.info.Families, r.Rule.Match.Family)
}

// listen reads messages until the session ends, and returns why.
func (r *Router) listen(s *session, in *bufio.Reader) error {
	limit := maxMessageLength
	if s.info.Extended {
		limit = maxExtendedMessage
	}
	for {
		if err := r.pass(s); err != nil {
			return err
		}
		kind, body, err := readMessage(in, limit)
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			return Notification{4, 0}
		}
		if err != nil {
			return err
		}
		switch kind {
		case typeKeepalive, typeRefresh:
		case typeUpdate:
			u, err := parseUpdate(body)
			if err != nil {
				return errors.Join(fmt.Errorf("cannot read UPDATE %x: %w", body, err), Notification{3, 0})
			}
			if r.cfg.Chokes != nil && slices.ContainsFunc(u.routes, func(x Route) bool { return r.cfg.Chokes(x.Key) }) {
				return Notification{3, 10}
			}
			r.take(s, u, headerLength+len(body))
		case typeNotification:
			if len(body) < 2 {
				return Notification{1, 2}
			}
			return errors.Join(errHeard, Notification{body[0], body[1]})
		default:
			return Notification{1, 3}
		}
	}
}

// pass waits while the Router does not read, and arms the hold timer.
func (r *Router) pass(s *session) error {
	r.mu.Lock()
	gate := r.gate
	r.mu.Unlock()
	<-gate
	if s.info.HoldTime == 0 {
		return s.conn.SetReadDeadline(time.Time{})
	}
	return s.conn.SetReadDeadline(time.Now().Add(s.info.HoldTime))
}

// begin makes the session known, ends an older one of the same speaker, and sends what the Router announces itself.
func (r *Router) begin(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, old := range r.live {
		if old.info.RouterID == s.info.RouterID {
			old.conn.Close() //nolint:errcheck,gosec // Its conversation sees the read error.
		}
	}
	s.info.ID, s.info.Up = SessionID(len(r.sessions)+1), time.Now()
	r.sessions = append(r.sessions, s.info)
	r.live[s.info.ID] = s
	for _, route := range r.own {
		if !s.carries(&route) {
			continue
		}
		if b, err := marshalAnnouncement(route, r.cfg.ASN, s.external); err == nil {
			s.send(typeUpdate, b)
		}
	}
	if r.cfg.OnSession != nil {
		r.cfg.OnSession(s.info)
	}
	r.notify()
}

// finish forgets what the session announced.
func (r *Router) finish(s *session, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	delete(r.live, s.info.ID)
	s.info.Down, s.info.Why = now, why.Error()
	r.sessions[s.info.ID-1] = s.info
	for k, paths := range r.table.routes {
		if _, ok := paths[s.info.ID]; ok {
			r.forget(k, s.info.ID, 0, now)
		}
	}
	if r.cfg.OnSession != nil {
		r.cfg.OnSession(s.info)
	}
	r.notify()
}

// take brings an UPDATE into the table.
func (r *Router) take(s *session, u update, length int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	r.seq++
	for _, k := range u.withdrawn {
		r.lost++
		if _, ok := r.table.routes[k][s.info.ID]; ok {
			r.forget(k, s.info.ID, r.seq, now)
		}
	}
	for i := range u.routes {
		route := &u.routes[i]
		route.Session, route.From, route.External, route.Since = s.info.ID, s.info.RouterID, s.external, now
		paths := r.table.routes[route.Key]
		if paths == nil {
			paths = make(map[SessionID]Route, 1)
			r.table.routes[route.Key] = paths
		}
		paths[s.info.ID] = *route
		r.history.add(route.Key, Change{At: now, Seq: r.seq, Session: s.info.ID, Announce: true})
		r.heard++
	}
	ev := Update{
		Seq: r.seq, At: now, Session: s.info.ID, Length: length,
		Announced: u.routes, Withdrawn: u.withdrawn, EndOfRIB: u.endOfRIB,
	}
	if r.cfg.KeepUpdates {
		r.updates = append(r.updates, ev)
	}
	if r.cfg.OnUpdate != nil {
		r.cfg.OnUpdate(ev, r.table)
	}
	r.notify()
}

// forget takes one session's route of k out of the table. It runs under mu.
func (r *Router) forget(k flowspec.Key, id SessionID, seq uint64, now time.Time) {
	delete(r.table.routes[k], id)
	if len(r.table.routes[k]) == 0 {
		delete(r.table.routes, k)
	}
	r.history.add(k, Change{At: now, Seq: seq, Session: id})
}

// send queues a message.
func (s *session) send(kind byte, body []byte) {
	s.mu.Lock()
	s.queue = append(s.queue, message(kind, body))
	s.mu.Unlock()
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// write sends what is queued until finish.
func (s *session) write() {
	for {
		s.mu.Lock()
		queue := s.queue
		s.queue = nil
		s.mu.Unlock()
		for _, m := range queue {
			if err := s.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
				break
			}
			if _, err := s.conn.Write(m); err != nil {
				s.conn.Close() //nolint:errcheck,gosec // The reader sees it.
				break
			}
		}
		select {
		case <-s.more:
		case <-s.over:
			return
		}
	}
}

func (s *session) keepAlive(every time.Duration) {
	if every == 0 {
		return
	}
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			s.send(typeKeepalive, nil)
		case <-s.over:
			return
		}
	}
}

// end sends a NOTIFICATION and closes the connection.
func (s *session) end(n Notification) error {
	_, err := s.conn.Write(message(typeNotification, []byte{n.Code, n.Subcode}))
	// The other side may have answered by hanging up, so that the connection is closed already.
	if closing := s.conn.Close(); !errors.Is(closing, net.ErrClosed) {
		err = errors.Join(err, closing)
	}
	return err
}

// finish closes the connection and ends the goroutines.
func (s *session) finish() {
	close(s.over)
	s.conn.Close() //nolint:errcheck,gosec // It may be closed already.
}

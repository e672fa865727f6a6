package bgp

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// plan is what may be announced at one moment, to whomever. It is shared by the neighbours and never changed.
type plan struct {
	number   uint64 // of the plans of this speaker, from 1
	revision uint64
	guard    *guard
	routes   []*judged                  // in order: most urgent first, then by key
	gone     map[flowspec.Key][]*judged // in the Set, but refused or past NotAfter: withdrawn without waiting
	whole    bool                       // no route is past its NotAfter
	ended    bool                       // the lease is over, or out: everything is withdrawn without waiting
	out      bool                       // by an operator's order

	// after is the number of the plan whose routes, without removed and with added, are those of this one, under the same
	// guard; 0 if no such plan is known.
	after          uint64
	removed, added []*judged
}

// goneFor reports whether key may not be announced to group any more, whatever other groups hear.
func (p *plan) goneFor(key flowspec.Key, group string) bool {
	return p.ended || slices.ContainsFunc(p.gone[key], func(j *judged) bool { return slices.Contains(j.route.Groups, group) })
}

// heldBack is the state of j, which the router cannot hear because of no, if it is kept off the wire; else it is empty. A
// nil plan is one before the first.
func (p *plan) heldBack(j *judged, no *refusal) wanted.RouteState {
	switch {
	case no != nil:
		return wanted.RouteRefused
	case p != nil && p.out:
		return wanted.RouteOut
	case p != nil && (p.ended || j.refusal == nil && slices.Contains(p.gone[j.route.Key], j)):
		return wanted.RouteExpired
	default:
		return ""
	}
}

// assignment is a plan for one router.
type assignment struct {
	plan   *plan
	router wanted.Router
}

// entry is a rule in one router's GoBGP.
type entry struct {
	a        *announcement
	j        *judged
	seen     uint64    // the retarget that last wanted it
	covers   bool      // its destination is counted in coverage
	hurry    bool      // obsolete, and to be withdrawn without waiting
	deadline time.Time // if obsolete: to be withdrawn by then even if what replaces it has not left; else zero
}

// neighbour keeps one router up to date. All of its fields below mu belong to the goroutine of run, which holds mu
// while it changes them, so that status may read them under mu.
type neighbour struct {
	name    string
	cfg     Config
	elapsed func() wanted.Instant
	log     *slog.Logger
	pool    *enginePool
	ledger  ledger
	mailbox atomic.Pointer[assignment]
	woken   chan struct{}

	eventsMu sync.Mutex
	events   []peerEvent // guarded by eventsMu

	mu         sync.Mutex
	eng        *engine
	assigned   *assignment
	families   []flowspec.Family // that the present session carries
	table      map[flowspec.Key]*entry
	leaving    map[flowspec.Key]*announcement // withdrawals of this session that have not left
	todo       []*judged                      // still to be announced, in order
	inflight   []*entry                       // handed over, not known to have left
	obsolete   []*entry                       // in table, but no longer wanted
	outdated   []*entry                       // in table, some no more, with what takes their place in todo
	overBudget []*judged
	ghosts     []ghost
	coverage   coverage
	pace       pacer
	engineAt   time.Time // no new engine is taken before
	phaseSince time.Time // since when an obsolete rule waits; zero if none does
	sweep      uint64
	reached    uint64
	session    session
	suspicion  suspicion
	counts     counts

	pardoned atomic.Bool
}

// session is the state of the connection.
type session struct {
	configured   bool // GoBGP has the neighbour
	established  bool
	stuck        bool
	state        wanted.SessionState
	since        wanted.Instant
	upSince      time.Time
	holdUntil    time.Time  // nothing is handed over before
	opening      *peerEvent // GoBGP's word that the session is up, not yet seen to be so; nil for none
	connectAt    time.Time
	failures     int // short sessions in a row
	lastPaid     uint64
	lastProgress time.Time
	lastWritten  uint64 // messages, at the last look
	writtenAt    time.Time
	nextLook     time.Time
	lastError    string
	lastErrorAt  wanted.Instant
}

// counts only grow.
type counts struct {
	announced, withdrawn, resets, forced, stuck uint64
	unusable, engines                           uint64
	phaseWaits                                  uint64
	phaseWaited                                 time.Duration
}

func newNeighbour(name string, cfg Config, deps Deps, log *slog.Logger, pool *enginePool) *neighbour {
	n := &neighbour{
		name: name, cfg: cfg, elapsed: deps.Elapsed, pool: pool,
		log:     log.With("router", name),
		woken:   make(chan struct{}, 1),
		table:   make(map[flowspec.Key]*entry),
		leaving: make(map[flowspec.Key]*announcement),
	}
	n.ledger.elapsed, n.ledger.wake = deps.Elapsed, n.wake
	n.session.state, n.session.since = wanted.SessionIdle, deps.Elapsed()
	return n
}

func (n *neighbour) wake() {
	select {
	case n.woken <- struct{}{}:
	default:
	}
}

// assign hands over the newest plan; an older one that was not begun is forgotten.
func (n *neighbour) assign(a *assignment) {
	n.mailbox.Store(a)
	n.wake()
}

func (n *neighbour) onEvent(ev peerEvent) {
	n.eventsMu.Lock()
	n.events = append(n.events, ev)
	n.eventsMu.Unlock()
	n.wake()
}

// run works until ctx is done and then ends the session.
func (n *neighbour) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			n.close(context.WithoutCancel(ctx))
			return
		case <-n.woken:
		case <-timer.C:
		}
		timer.Reset(n.step(ctx, time.Now()))
	}
}

// idle is how long a neighbour with nothing to do sleeps at most.
const idle = 10 * time.Second

// step does what can be done now and says when to look again at the latest.
func (n *neighbour) step(ctx context.Context, now time.Time) time.Duration {
	if !n.prepare(ctx, now) {
		return time.Second
	}
	n.takeEvents(ctx, now)
	n.takeAssignment(ctx, now)
	n.pardon(now)
	switch {
	case n.assigned == nil:
		return idle
	case n.eng == nil:
		return 0
	}
	if d := n.session.holdUntil.Sub(now); d > 0 {
		if n.session.opening != nil {
			return openPoll
		}
		return d
	}
	n.reap()
	more := n.handOver(now)
	if n.eng != nil {
		n.connect(ctx, now)
		n.watch(ctx, now)
		n.try(now)
	}
	if n.eng == nil {
		return 0
	}
	n.conclude()
	if more {
		return 0
	}
	return n.nextLook(now)
}

// handOver withdraws and announces what may leave now. It reports whether more can follow at once.
func (n *neighbour) handOver(now time.Time) (more bool) {
	if n.withdrawSome(now); n.eng == nil {
		return false
	}
	if more = n.announceSome(now); n.eng == nil {
		return false
	}
	n.withdrawSome(now)
	return more
}

// prepare makes sure that there is a GoBGP.
func (n *neighbour) prepare(ctx context.Context, now time.Time) bool {
	if n.eng != nil {
		return true
	}
	if n.mailbox.Load() == nil || now.Before(n.engineAt) {
		return false
	}
	eng, err := n.pool.get(ctx)
	if err != nil {
		n.log.Error("cannot serve router", "err", err)
		n.mu.Lock()
		n.fail(err.Error())
		n.mu.Unlock()
		return false
	}
	eng.log.next.Store(n.log)
	eng.log.last.Store(nil)
	eng.listen(n.onEvent)
	n.mu.Lock()
	n.eng = eng
	n.session.connectAt = now
	n.mu.Unlock()
	return true
}

// close ends the session and gives the engine back with an empty table.
func (n *neighbour) close(ctx context.Context) {
	if n.eng == nil {
		return
	}
	n.eng.listen(nil)
	if n.disconnect(ctx, time.Now()); n.eng == nil {
		return
	}
	all := make([]handover, 0, len(n.table))
	for _, e := range n.table {
		all = append(all, handover{e.a, e.j})
	}
	if err := n.eng.withdraw(all); err != nil {
		n.log.Error("cannot clear table", "err", err)
		n.pool.discard(n.eng)
		return
	}
	n.pool.put(n.eng)
}

// disconnect ends the session. The engine is given up if it fails to do so.
func (n *neighbour) disconnect(ctx context.Context, now time.Time) {
	if !n.session.configured {
		return
	}
	if err := n.eng.disconnect(ctx, n.assigned.router.Address); err != nil {
		n.dismiss(err, now)
	}
	n.session.configured = false
}

// takeEvents follows the session's changes of state.
func (n *neighbour) takeEvents(ctx context.Context, now time.Time) {
	n.eventsMu.Lock()
	events := n.events
	n.events = nil
	n.eventsMu.Unlock()
	for _, ev := range events {
		switch {
		case ev.state == gobgp.BGP_FSM_ESTABLISHED && !n.session.established:
			n.session.opening, n.session.holdUntil = &ev, now.Add(openTimeout)
			if n.cfg.RestartTime > 0 {
				n.session.holdUntil = now.Add(deferral + openTimeout)
			}
		case ev.state == gobgp.BGP_FSM_OPENCONFIRM:
			n.session.holdUntil = now.Add(openTimeout)
		case ev.state == gobgp.BGP_FSM_IDLE:
			n.ended(ctx, ev, now)
		}
		if n.eng == nil {
			return // the other events are of the engine that was given up
		}
	}
	if n.session.opening == nil {
		return
	}
	switch seen, err := n.eng.look(ctx); {
	case err == nil && seen.established:
		n.up(ctx, *n.session.opening, now)
	case !now.Before(n.session.holdUntil):
		n.session.opening = nil // a late word of a session that was ended meanwhile
	}
}

// ended follows the end of a session, also of one that was not seen to be up before the router ended it.
func (n *neighbour) ended(ctx context.Context, ev peerEvent, now time.Time) {
	unseen := n.session.opening != nil && !n.session.established && complains(ev)
	n.session.opening, n.session.holdUntil = nil, time.Time{}
	if !n.session.established && !unseen {
		return
	}
	if unseen {
		n.session.upSince = now
	}
	blamed := n.blame(ev)
	n.down(ctx, whyDown(ev), now)
	if soon := now.Add(time.Second); blamed && n.session.connectAt.After(soon) {
		n.session.connectAt = soon // the others are waiting
	}
}

// GoBGP says that a session is up, having read its table for it, a moment before it marks the session as up; a change
// between the two reaches the router in neither way. So nothing is handed over from OPENCONFIRM on until the mark is
// seen. What may have slipped in before the OPENCONFIRM was noticed is found out: an announcement stays owed, and a
// withdrawal is a ghost.
const (
	openTimeout = time.Second      // bounds the wait for a session that is about to be up
	openPoll    = time.Millisecond // between two looks for the mark
	ghostLife   = 5 * openTimeout  // how long a withdrawal without a session is remembered
)

// ghost is an announcement that was withdrawn while no session was up. Should it leave nevertheless, the session that
// was just coming up has got the rule and not its withdrawal.
type ghost struct {
	a  *announcement
	at time.Time
}

// up begins a session. GoBGP sends all that is loaded by itself.
func (n *neighbour) up(ctx context.Context, ev peerEvent, now time.Time) {
	n.session.opening, n.session.holdUntil = nil, time.Time{}
	haunted := slices.ContainsFunc(n.ghosts, func(g ghost) bool { return g.a.duty.Load() == dutyAnnounced })
	n.ghosts = nil
	n.ledger.forget(n.table)
	n.rise(ev, now)
	if haunted {
		n.reset(ctx, "a withdrawal crossed the start of the session, so it was reset", now)
	}
}

func (n *neighbour) rise(ev peerEvent, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.families = slices.DeleteFunc(configuredFamilies(&n.assigned.router), func(f flowspec.Family) bool {
		return !slices.Contains(ev.families, familyOf(n.assigned.router.Carries, f))
	})
	s := &n.session
	s.established = true
	s.upSince, s.lastProgress, s.writtenAt, s.lastWritten = now, now, now, 0
	n.enter(wanted.SessionEstablished)
	for _, e := range n.table {
		if n.carries(e.j) && e.a.duty.CompareAndSwap(dutyNone, dutyAnnounce) {
			n.ledger.owed.Add(1)
		}
		n.counts.announced++
	}
	n.log.Info("session is up", "families", fmt.Sprint(n.families), "loaded", len(n.table))
	n.retarget(now)
}

// backoff bounds how often a router is dialled that lets the session come up and then ends it.
const (
	shortSession = 30 * time.Second
	maxBackoff   = 30 * time.Second
)

// down ends a session and dials anew. GoBGP would wait for 5 s by itself; a new neighbour is dialled within 2 s.
func (n *neighbour) down(ctx context.Context, why string, now time.Time) {
	n.disconnect(ctx, now)
	n.fall(why, now)
}

// fall makes the records those of a router without a session.
func (n *neighbour) fall(why string, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := &n.session
	if now.Sub(s.upSince) < shortSession {
		s.connectAt = now.Add(min(maxBackoff, time.Second<<min(s.failures, 10)>>1))
		s.failures++
	} else {
		s.connectAt, s.failures = now, 0
	}
	s.established, s.stuck, s.holdUntil, s.opening = false, false, time.Time{}, nil
	n.families = nil
	n.fail(why)
	n.enter(wanted.SessionConnecting)
	for _, e := range n.table {
		e.a.release(dutyNone)
		e.a.sentAt.Store(0)
	}
	for _, a := range n.leaving {
		a.release(dutySuperseded)
	}
	clear(n.leaving)
	n.log.Warn("session is down", "why", why)
	n.retarget(now)
}

// reset ends a session that the router no longer reads.
func (n *neighbour) reset(ctx context.Context, why string, now time.Time) {
	n.mu.Lock()
	n.counts.resets++
	n.mu.Unlock()
	n.down(ctx, why, now)
}

func (n *neighbour) enter(state wanted.SessionState) {
	if n.session.state != state {
		n.session.state, n.session.since = state, n.elapsed()
	}
}

func (n *neighbour) fail(why string) {
	n.session.lastError, n.session.lastErrorAt = why, n.elapsed()
}

// carries reports whether the session is for routes like j.
func (n *neighbour) carries(j *judged) bool {
	return n.session.established && n.assigned.router.Carries == j.route.Kind && slices.Contains(n.families, j.family)
}

// takeAssignment begins a new plan, and a new session if the router's session parameters changed.
func (n *neighbour) takeAssignment(ctx context.Context, now time.Time) {
	a := n.mailbox.Load()
	if a == n.assigned {
		return
	}
	if n.assigned != nil && !sameSession(&n.assigned.router, &a.router) && n.session.configured {
		wasUp := n.session.established
		if wasUp {
			n.session.upSince = now.Add(-shortSession) // not the router's failure
			n.down(ctx, "the router's configuration changed", now)
		}
		n.disconnect(ctx, now)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.assigned != nil && !sameSession(&n.assigned.router, &a.router) {
		n.suspicion = suspicion{} // another router, perhaps
	}
	last := n.assigned
	n.assigned = a
	n.pace.set(a.router.RulesPerSecond, now)
	if !n.adjust(last, now) {
		n.retarget(now)
	}
}

// sameSession reports whether a session made for a serves b.
func sameSession(a, b *wanted.Router) bool {
	return a.Address == b.Address && portOf(a) == portOf(b) && a.ASN == b.ASN && a.Carries == b.Carries &&
		slices.Equal(configuredFamilies(a), configuredFamilies(b)) &&
		a.Password == b.Password && a.TTLSecurity == b.TTLSecurity && a.Multihop == b.Multihop && a.Unusable == b.Unusable
}

// connect begins to dial once everything that shall be there from the start is loaded.
func (n *neighbour) connect(ctx context.Context, now time.Time) {
	if why := n.whyNot(); why != "" {
		n.leaveAlone(why)
		return
	}
	if n.session.configured || n.session.connectAt.After(now) || len(n.todo) > 0 && n.pace.rate == 0 {
		return
	}
	err := n.eng.connect(ctx, &n.assigned.router, &n.ledger)
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil {
		n.fail(err.Error())
		n.enter(wanted.SessionInvalid)
		n.session.connectAt = now.Add(maxBackoff)
		n.log.Error("cannot configure router", "err", err)
		return
	}
	n.session.configured = true
	n.enter(wanted.SessionConnecting)
}

// whyNot says why the router must not be dialled; empty if it may.
func (n *neighbour) whyNot() string {
	r := &n.assigned.router
	if n.cfg.Quarantined != nil {
		if why := n.cfg.Quarantined(r.Address); why != "" {
			return why
		}
	}
	return whyUnusable(r)
}

// leaveAlone says, once, why the router is not dialled.
func (n *neighbour) leaveAlone(why string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.session.state == wanted.SessionInvalid && n.session.lastError == why {
		return
	}
	n.fail(why)
	n.enter(wanted.SessionInvalid)
	n.counts.unusable++
	n.log.Error("router is not dialled", "why", why)
}

// watch finds out that a router has stopped reading. A write that blocks shows as duties that are not paid, or as
// keepalives that GoBGP does not write; a session like that would stay up for as long as the router sends keepalives.
func (n *neighbour) watch(ctx context.Context, now time.Time) {
	s := &n.session
	if !s.established {
		n.explain()
		return
	}
	if paid := n.ledger.paid.Load(); n.ledger.owed.Load() <= 0 || paid != s.lastPaid {
		s.lastPaid, s.lastProgress = paid, now
	}
	if !now.Before(s.nextLook) {
		s.nextLook = now.Add(max(time.Second, n.cfg.HoldTime/3))
		// Without a hold time nobody writes keepalives (RFC 4271 section 4.4).
		if seen, err := n.eng.look(ctx); err == nil && (seen.written != s.lastWritten || seen.holdTime == 0) {
			s.lastWritten, s.writtenAt = seen.written, now
		}
	}
	waited := max(now.Sub(s.lastProgress), now.Sub(s.writtenAt)-n.cfg.HoldTime)
	switch {
	case waited >= n.cfg.StuckAfter+n.cfg.ResetAfter:
		n.reset(ctx, "the router stopped reading, so the session was reset", now)
	case waited >= n.cfg.StuckAfter && !s.stuck:
		n.mu.Lock()
		s.stuck = true
		n.counts.stuck++
		n.fail("the router has stopped reading")
		n.enter(wanted.SessionStuck)
		n.mu.Unlock()
		n.log.Error("router has stopped reading", "waiting", n.ledger.owed.Load(), "reset_in", n.cfg.ResetAfter)
	case waited < n.cfg.StuckAfter && s.stuck:
		n.mu.Lock()
		s.stuck = false
		n.enter(wanted.SessionEstablished)
		n.mu.Unlock()
		n.log.Info("router reads again")
	}
}

// explain turns GoBGP's last word about a connection that does not come up into the peer's last error.
func (n *neighbour) explain() {
	if f := n.eng.log.last.Swap(nil); f != nil && n.session.configured {
		n.mu.Lock()
		n.fail(whyNotUp(f, &n.assigned.router))
		n.mu.Unlock()
	}
}

// nextLook says when step has something to do even if nobody wakes it.
func (n *neighbour) nextLook(now time.Time) time.Duration {
	d := idle
	s := &n.session
	if !s.configured && n.whyNot() == "" {
		d = min(d, max(0, s.connectAt.Sub(now)))
	}
	if !s.established || n.ledger.owed.Load() > 0 || s.stuck {
		d = min(d, time.Second, max(n.cfg.StuckAfter/4, 10*time.Millisecond))
	} else {
		d = min(d, max(10*time.Millisecond, s.nextLook.Sub(now)))
	}
	if len(n.suspicion.trial)+len(n.suspicion.queue) > 0 {
		d = min(d, trialEvery)
	}
	if s.established && len(n.todo) > 0 {
		if w := n.pace.wait(); w > 0 {
			d = min(d, w)
		}
	}
	if len(n.obsolete)+len(n.outdated) == 0 || !s.established {
		return d
	}
	at := n.elapsed()
	d = min(d, recheck)
	for _, e := range n.obsolete {
		d = min(d, max(time.Millisecond, min(e.deadline.Sub(now), time.Duration(e.j.route.NotAfter-at))))
	}
	for _, e := range n.outdated {
		if n.table[e.j.route.Key] == e {
			d = min(d, max(time.Millisecond, time.Duration(e.j.route.NotAfter-at)))
		}
	}
	return d
}

// Package bgp is tidegate's BGP speaker: it announces the FlowSpec rules and the RTBH routes of a wanted.Set to the
// routers of that Set and withdraws them in time, through embedded GoBGP, which is imported here and nowhere else.
//
// It owns the sessions, the order in which routes leave, and the last guard before the wire. It decides nothing: what
// is announced, to whom and until when stands in the Set. It enforces by itself what must not depend on anybody being
// alive: NotAfter, the lease, the guard, the routers' budgets. The controller's reconciler calls it.
//
// Each router is served by a goroutine and a GoBGP server of its own, so that no session ever waits for another. A
// router that has stopped reading is reported after Config.StuckAfter and its session reset after Config.ResetAfter
// more; meanwhile the others go on.
//
// An operator can order a Speaker to withdraw everything and to stay out, whoever else is alive: StayOut, until Resume.
//
// A session carries either FlowSpec or RTBH (RFC 7999): a unicast route to one prefix with the router's discard next hop,
// BLACKHOLE and NO_EXPORT. Both are judged by the same guard, and end by the same rules. There is no source-based RTBH
// (RFC 5635 section 4): a router that discards by source address does so on packets to every destination, protected
// links included, and no guard on the destination could keep it away from them; sources are forged besides. What a
// router announces is not used, but GoBGP keeps it while the session lasts, at some 560 octets a route: a router should
// send nothing, and a full table costs half a gigabyte on every node.
package bgp

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// Speaker announces a wanted.Set. Make one with New.
type Speaker struct {
	cfg  Config
	deps Deps
	log  *slog.Logger

	ran     atomic.Bool
	woken   chan struct{}
	started chan struct{} // closed when the stock of engines runs
	refused atomic.Uint64 // routes refused before the wire, ever

	ordering   sync.Mutex         // held by StayOut and Resume; taken before mu
	setting    sync.Mutex         // held by Set; taken before mu
	mu         sync.Mutex         // guards what follows
	newest     *wanted.Set        // the Set in force; nil before the first
	change     *difference        // how newest came from the Set before; nil before the first
	stopped    bool               // Run has returned
	verdicts   []*judged          // of newest as far as judged, in order of key
	neighbours map[string]*member // by name
	current    *plan              // what was last handed to the neighbours
	out        *wanted.Out        // the order to stay out, which is not changed; nil for none
}

// member is a neighbour at work.
type member struct {
	*neighbour
	cancel context.CancelFunc
}

// New checks cfg and makes an inert Speaker; Run makes it work. The error wraps ErrConfig. If there is an order to stay
// out in cfg.OutFile, or something that cannot be read, the Speaker begins out.
func New(cfg Config, deps Deps) (*Speaker, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if deps.Elapsed == nil {
		return nil, fmt.Errorf("%w: no elapsed clock", ErrConfig)
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	log := deps.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Speaker{
		cfg: cfg, deps: deps, log: log, out: readOut(cfg.OutFile),
		woken: make(chan struct{}, 1), started: make(chan struct{}), neighbours: make(map[string]*member),
	}, nil
}

// Set replaces what is announced by w. It checks and stores w and returns; it never waits for a router. It refuses a
// Set with Revision 0 (ErrUnset), with a lower Revision than the one in force (ErrStale), after Run has returned
// (ErrStopped), or one that cannot be meant, for instance a key twice for one group (ErrInvalidSet); the Set in force
// stays then. The same Revision again is accepted, so that a lease can be extended. A single route that must not be announced is
// not an error: it is kept off the wire and shown in Status. The caller does not change w afterwards.
//
// A router hears the routes that name its group; a route that names none is heard by nobody. A key may stand several
// times for groups that are disjoint: each group hears its own action. A router with MaxRoutes 0 hears nothing. A route whose NotAfter, and a Set whose LeaseUntil, has passed is not announced.
func (s *Speaker) Set(ctx context.Context, w wanted.Set) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("cannot set revision %d: %w", w.Revision, err)
	}
	if w.Revision == 0 {
		return fmt.Errorf("cannot set: %w", ErrUnset)
	}
	// The next Set is compared with this one, so a caller that changes the list all the same must not hide what changed.
	w.Routes = slices.Clone(w.Routes)
	s.setting.Lock() // so that mu is not held while w is checked
	defer s.setting.Unlock()
	s.mu.Lock()
	last := s.change
	s.mu.Unlock()
	change, err := checkChange(last, &w)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.stopped:
		return fmt.Errorf("cannot set revision %d: %w", w.Revision, ErrStopped)
	case s.newest != nil && w.Revision < s.newest.Revision:
		return fmt.Errorf("cannot set revision %d after %d: %w", w.Revision, s.newest.Revision, ErrStale)
	}
	s.newest, s.change = &w, change
	s.wake()
	return nil
}

func (s *Speaker) wake() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// recheck bounds how long the speaker sleeps before it looks at the elapsed clock again: Go's timers stand still
// while the machine sleeps, the elapsed clock does not.
const recheck = time.Second

// Run works until ctx is done, then ends every session with a Cease notification, upon which routers drop our rules,
// and returns nil when all is down. It returns an error at once if the guard does not refuse what it must
// (ErrGuardToothless), if GoBGP does not start, or if the Speaker has already run. Sessions are opened only after the
// first Set, with its routes loaded.
func (s *Speaker) Run(ctx context.Context) error { return s.run(ctx, (*guard).judge) }

func (s *Speaker) run(ctx context.Context, judge judgeFunc) error {
	if s.ran.Swap(true) {
		return fmt.Errorf("cannot run: %w", ErrAlreadyRan)
	}
	defer s.markStopped()
	if err := selfTest(judge); err != nil {
		return err
	}
	unregister, err := s.register()
	if err != nil {
		return err
	}
	defer unregister()
	pool, err := newEnginePool(ctx, s.cfg, s.log)
	if err != nil {
		return err
	}
	defer pool.stop()
	close(s.started)
	var wg sync.WaitGroup
	defer wg.Wait() // the neighbours end because their contexts are children of ctx

	b := &board{speaker: s, pool: pool, wg: &wg}
	timer := time.NewTimer(recheck)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.woken:
		case <-timer.C:
		}
		timer.Reset(b.update(ctx))
	}
}

func (s *Speaker) markStopped() {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
}

// board turns Sets into plans. It belongs to Run's goroutine.
type board struct {
	speaker *Speaker
	pool    *enginePool
	wg      *sync.WaitGroup

	set      *wanted.Set // the one that verdicts and sorted were made from
	guard    *guard
	verdicts []*judged      // one for each route, in order of key
	sorted   []*judged      // those not refused, most urgent first, then by key
	first    wanted.Instant // the earliest end of a route of set, refused or not
	deadline wanted.Instant // when the plan in force has to be made anew
	inForce  bool
	out      *wanted.Out    // the order that the plan in force obeys; nil for none
	reminded wanted.Instant // when the log was last told of out; 0: not yet

	// removed and added are what changed in sorted since planned was made, unless unknown is set.
	removed, added []*judged
	unknown        bool
	planned        *plan
	plans          uint64
}

// update takes over the newest Set or makes a new plan when a deadline has passed, and says when to look again.
func (b *board) update(ctx context.Context) time.Duration {
	s := b.speaker
	s.mu.Lock()
	set, change, out := s.newest, s.change, s.out
	s.mu.Unlock()
	now := s.deps.Elapsed()
	b.obey(out, now)
	if set == nil {
		return recheck
	}
	if set != b.set {
		b.follow(set, change)
		b.inForce = false
	}
	if !b.inForce || now >= b.deadline {
		b.publish(ctx, b.plan(now))
		b.inForce = true
	}
	return min(recheck, max(time.Millisecond, time.Duration(b.deadline-now)))
}

// follow takes a Set over, by what changed if that is known to be little.
func (b *board) follow(set *wanted.Set, d *difference) {
	if d == nil || d.to != set || d.from == nil || d.from != b.set || !b.sameGuard(set) {
		b.take(set)
		return
	}
	b.change(d)
	b.use(set)
}

// sameGuard reports whether the guard of b is that of set.
func (b *board) sameGuard(set *wanted.Set) bool {
	return b.set != nil && b.guard != nil &&
		samePrefixes(b.set.Protected, set.Protected) && samePrefixes(b.set.Official, set.Official) &&
		b.set.ShortestRTBH == set.ShortestRTBH
}

// use makes set the one whose verdicts b has.
func (b *board) use(set *wanted.Set) {
	b.set = set
	b.speaker.mu.Lock()
	b.speaker.verdicts = b.verdicts
	b.speaker.mu.Unlock()
}

// take judges a Set. Verdicts of the Set before are used again while the guard stays the same.
func (b *board) take(set *wanted.Set) {
	s := b.speaker
	same := b.sameGuard(set)
	if !same {
		b.guard = s.guardOf(set)
	}
	var before []*judged
	if same {
		before = b.verdicts
	}
	routes := slices.Clone(set.Routes)
	slices.SortStableFunc(routes, func(a, b *wanted.Route) int { return cmp.Compare(a.Key, b.Key) })
	// A new slice each time: Status reads the one before.
	b.verdicts = make([]*judged, 0, len(routes))
	b.sorted = make([]*judged, 0, len(routes))
	for _, r := range routes {
		for len(before) > 0 && before[0].route.Key < r.Key {
			before = before[1:]
		}
		j := b.verdict(r, before)
		b.verdicts = append(b.verdicts, j)
		if j.refusal == nil {
			b.sorted = append(b.sorted, j)
		}
	}
	slices.SortFunc(b.sorted, mostUrgent)
	b.first = firstEnd(routes)
	b.removed, b.added, b.unknown = nil, nil, true
	b.use(set)
}

// verdict judges r, or finds among the first of before, which are in order of key, that it was judged before.
func (b *board) verdict(r *wanted.Route, before []*judged) *judged {
	for _, o := range before {
		if o.route.Key != r.Key {
			break
		}
		if j := o.reuse(r); j != nil {
			return j
		}
	}
	j := judge(b.guard, r)
	if j.refusal != nil {
		s := b.speaker
		s.refused.Add(1)
		s.log.Error("route refused", "key", r.Key.String(), "code", string(j.refusal.code), "why", j.refusal.sentence)
	}
	return j
}

// guardOf makes the guard of a Set and proves it on that Set; nil, which refuses everything, if that fails.
func (s *Speaker) guardOf(set *wanted.Set) *guard {
	g, err := newGuard(set.Official, set.Protected, set.ShortestRTBH)
	if err == nil {
		err = g.prove(set.Protected)
	}
	if err != nil {
		s.log.Error("guard cannot be used, every route is refused", "err", err)
		return nil
	}
	return g
}

// plan is what may be announced at now. It sets deadline.
func (b *board) plan(now wanted.Instant) *plan {
	b.plans++
	late := now >= b.set.LeaseUntil
	p := &plan{number: b.plans, revision: b.set.Revision, guard: b.guard, out: b.out != nil, ended: late || b.out != nil}
	last := b.planned
	b.planned, b.deadline = p, wanted.Instant(1<<63-1)
	if p.ended {
		if late && len(b.set.Routes) > 0 {
			b.speaker.log.Error("lease has ended, all routes are withdrawn", "revision", p.revision)
		}
		return p
	}
	p.gone = make(map[flowspec.Key][]*judged)
	if len(b.sorted) < len(b.verdicts) {
		for _, j := range b.verdicts {
			if j.refusal != nil {
				p.gone[j.route.Key] = append(p.gone[j.route.Key], j)
			}
		}
	}
	if b.first > now {
		p.routes, p.whole = b.sorted, true
		b.deadline = min(b.set.LeaseUntil, b.first)
	} else {
		b.leaveOut(p, now)
	}
	if last != nil && last.whole && p.whole && !b.unknown {
		p.after, p.removed, p.added = last.number, b.removed, b.added
	}
	b.removed, b.added, b.unknown = nil, nil, false
	return p
}

// firstEnd is the earliest NotAfter; without routes the end of all time.
func firstEnd(routes []*wanted.Route) wanted.Instant {
	first := wanted.Instant(1<<63 - 1)
	for _, r := range routes {
		first = min(first, r.NotAfter)
	}
	return first
}

// leaveOut fills the routes of p with those of sorted whose time has not passed at now. It sets deadline.
func (b *board) leaveOut(p *plan, now wanted.Instant) {
	b.deadline = b.set.LeaseUntil
	p.routes = make([]*judged, 0, len(b.sorted))
	for _, j := range b.sorted {
		if j.route.NotAfter <= now {
			p.gone[j.route.Key] = append(p.gone[j.route.Key], j)
			continue
		}
		b.deadline = min(b.deadline, j.route.NotAfter)
		p.routes = append(p.routes, j)
	}
}

// publish hands p to the neighbours, after starting and ending those that the Set adds and leaves out.
func (b *board) publish(ctx context.Context, p *plan) {
	s := b.speaker
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = p
	names := make(map[string]bool, len(b.set.Routers))
	for i := range b.set.Routers {
		r := &b.set.Routers[i]
		names[r.Name] = true
		m := s.neighbours[r.Name]
		if m == nil {
			m = &member{neighbour: newNeighbour(r.Name, s.cfg, s.deps, s.log, b.pool)}
			memberCtx, cancel := context.WithCancel(ctx)
			m.cancel = cancel
			s.neighbours[r.Name] = m
			b.wg.Go(func() { m.run(memberCtx) })
		}
		m.assign(&assignment{plan: p, router: *r})
	}
	maps.DeleteFunc(s.neighbours, func(name string, m *member) bool {
		if names[name] {
			return false
		}
		m.cancel()
		return true
	})
}

// prefixesUsable reports the first of list that is not a usable prefix.
func prefixesUsable(list []netip.Prefix) (netip.Prefix, bool) {
	for _, p := range list {
		if !p.IsValid() || p.Addr().Is4In6() {
			return p, false
		}
	}
	return netip.Prefix{}, true
}

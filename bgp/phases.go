package bgp

import (
	"slices"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

const (
	// batchSize is how many rules are handed to GoBGP at once; between two batches a newer plan is looked for.
	batchSize = 1000
	// window is how many duties may be unpaid before more is handed over. It bounds what waits in GoBGP for a router
	// that does not read, and with it how long an urgent rule waits behind others.
	window = 4096
	// violatorWait is how long a rule that the newest guard would refuse may wait for what replaces it.
	violatorWait = time.Second
	// supersededWait is how long any other withdrawal waits at most for what replaces the rule: a paced or slow router
	// must not keep for long what nobody wants any more. No withdrawal waits beyond the rule's own NotAfter.
	supersededWait = 5 * time.Second
	// forcedShare is the part of a full router's budget that is withdrawn at once to make room, as a divisor.
	forcedShare = 10
)

// retarget compares what is wanted with what GoBGP has, and fills todo, obsolete and coverage. It runs under mu.
func (n *neighbour) retarget(now time.Time) {
	if n.assigned == nil {
		return
	}
	p, r := n.assigned.plan, &n.assigned.router
	n.sweep++
	n.todo, n.overBudget, n.outdated = n.todo[:0:0], n.overBudget[:0:0], n.outdated[:0:0]
	n.coverage.clear()
	limit := r.MaxRoutes
	if !n.session.established && n.pace.rate > 0 {
		// GoBGP sends what is loaded at once when the session comes up, so no more is loaded than may leave at once.
		limit = min(limit, r.RulesPerSecond)
	}
	count, seen := 0, 0
	mayHear := n.mayHear(p)
	for _, j := range p.routes {
		if !mayHear(j) {
			continue
		}
		switch count++; {
		case count > r.MaxRoutes:
			n.overBudget = append(n.overBudget, j)
			continue
		case count > limit:
			n.todo = append(n.todo, j)
			continue
		}
		e := n.table[j.route.Key]
		if e == nil || !j.sameOnWire(e.j) || e.a.nextHop != nextHopOf(r, j) {
			n.todo = append(n.todo, j)
			n.coverage.add(j.dst)
			if e != nil {
				n.outdated = append(n.outdated, e)
			}
		} else {
			e.j = j
		}
		if e != nil {
			seen++
			e.seen, e.hurry, e.deadline = n.sweep, false, time.Time{}
		}
	}
	n.collectObsolete(seen, now)
	n.collectInflight()
}

// mayHear returns which of the routes of p the router should hear, whatever its budget. It runs under mu.
func (n *neighbour) mayHear(p *plan) func(*judged) bool {
	r, withheld := &n.assigned.router, n.stillWithheld(p)
	return func(j *judged) bool {
		return hears(r, &j.route) && n.wantsFamily(j) && withheld[j.route.Key] == nil
	}
}

// adjust is retarget for a plan that differs from the last one in a few routes only, when the table is just what the
// last one wanted; else it reports false. It runs under mu.
func (n *neighbour) adjust(last *assignment, now time.Time) bool {
	if !n.adjustable(last) {
		return false
	}
	p, r := n.assigned.plan, &n.assigned.router
	n.outdated = n.outdated[:0:0]
	mine := func(j *judged) bool { return n.carries(j) && hears(r, &j.route) }
	lost := make(map[flowspec.Key]bool, len(p.removed))
	for _, j := range p.removed {
		if mine(j) {
			lost[j.route.Key] = true
		}
	}
	for _, j := range p.added {
		if !mine(j) {
			continue
		}
		delete(lost, j.route.Key)
		if e := n.table[j.route.Key]; e != nil {
			if j.sameOnWire(e.j) {
				e.j = j
				continue
			}
			n.outdated = append(n.outdated, e)
		}
		n.todo = append(n.todo, j)
		n.coverage.add(j.dst)
	}
	slices.SortFunc(n.todo, mostUrgent)
	for key := range lost {
		e := n.table[key]
		if e.covers {
			e.covers = false
			n.coverage.remove(e.j.dst)
		}
		n.addObsolete(key, e, now)
	}
	slices.SortFunc(n.obsolete, leastUrgent)
	return true
}

// adjustable reports whether adjust can do what retarget does: the plan is the next one after last's, and nothing is
// left to do of that.
func (n *neighbour) adjustable(last *assignment) bool {
	p, r := n.assigned.plan, &n.assigned.router
	return last != nil && !n.suspicion.any() && p.after != 0 && p.after == last.plan.number &&
		r.Group == last.router.Group && r.Carries == last.router.Carries && r.DiscardIPv4 == last.router.DiscardIPv4 &&
		r.DiscardIPv6 == last.router.DiscardIPv6 && r.MaxRoutes == last.router.MaxRoutes &&
		n.session.established && len(n.todo)+len(n.obsolete)+len(n.overBudget) == 0 && len(n.table)+len(p.added) <= r.MaxRoutes
}

// addObsolete adds e, which is in the table under key, to what is no longer wanted.
func (n *neighbour) addObsolete(key flowspec.Key, e *entry, now time.Time) {
	p := n.assigned.plan
	e.hurry = p.goneFor(key, n.assigned.router.Group)
	wait := supersededWait
	if p.guard.judge(e.j.route.Kind, destinationOnly(e.j.dst)) != nil {
		wait = violatorWait
	}
	if d := now.Add(wait); e.deadline.IsZero() || d.Before(e.deadline) {
		e.deadline = d
	}
	n.obsolete = append(n.obsolete, e)
}

// leastUrgent is the order in which rules are withdrawn.
func leastUrgent(a, b *entry) int { return mostUrgent(b.j, a.j) }

// wantsFamily reports whether routes of the family of j are for this router: in a session those that both sides want.
func (n *neighbour) wantsFamily(j *judged) bool {
	if n.session.established {
		return n.carries(j)
	}
	return slices.Contains(configuredFamilies(&n.assigned.router), j.family)
}

// collectObsolete lists what is in the table and was not seen by retarget, the least urgent first.
func (n *neighbour) collectObsolete(seen int, now time.Time) {
	n.obsolete = n.obsolete[:0:0]
	if len(n.table) == seen {
		return
	}
	for key, e := range n.table {
		if e.seen == n.sweep {
			continue
		}
		n.addObsolete(key, e, now)
	}
	slices.SortFunc(n.obsolete, leastUrgent)
}

// collectInflight lists what was handed over in this session and has not left, and counts it as covering.
func (n *neighbour) collectInflight() {
	if len(n.inflight) == 0 && n.ledger.owed.Load() == 0 {
		return
	}
	n.inflight = n.inflight[:0:0]
	for _, e := range n.table {
		e.covers = false
		if e.a.duty.Load() != dutyAnnounce || !n.session.established {
			continue
		}
		if e.seen == n.sweep {
			e.covers = true
			n.coverage.add(e.j.dst)
		}
		n.inflight = append(n.inflight, e)
	}
}

// reap takes notice of what has left.
func (n *neighbour) reap() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.inflight = slices.DeleteFunc(n.inflight, func(e *entry) bool {
		if e.a.duty.Load() == dutyAnnounce {
			return false
		}
		if e.covers {
			e.covers = false
			n.coverage.remove(e.j.dst)
		}
		return true
	})
	for key, a := range n.leaving {
		if a.duty.Load() != dutyWithdraw {
			delete(n.leaving, key)
		}
	}
}

// announceSome hands over the next announcements, as many as pacing, the router's budget and the window allow. It
// reports whether more can follow at once.
func (n *neighbour) announceSome(now time.Time) bool {
	n.mu.Lock()
	batch := n.nextBatch(now)
	n.mu.Unlock()
	if len(batch) == 0 {
		return false
	}
	if err := n.eng.announce(batch); err != nil {
		n.replaceEngine(err, now)
		return false
	}
	return len(n.todo) > 0 && n.ledger.owed.Load() < window
}

// nextBatch moves the head of todo into the table. It runs under mu.
func (n *neighbour) nextBatch(now time.Time) []handover {
	limit := min(batchSize, len(n.todo))
	if n.session.established {
		limit = min(limit, int(window-n.ledger.owed.Load()))
		limit = n.pace.available(limit, now)
	}
	r := &n.assigned.router
	batch := n.overdue()
	limit = min(limit, len(batch)+len(n.todo))
	for len(batch) < limit {
		j := n.todo[0]
		old := n.table[j.route.Key]
		if old == nil && len(n.table) >= n.room(r.MaxRoutes, r.RulesPerSecond) {
			break
		}
		n.todo = n.todo[1:]
		batch = append(batch, n.load(old, j))
	}
	n.pace.take(len(batch))
	return batch
}

// load puts j into the table in place of old, which may be nil. The caller hands it over.
func (n *neighbour) load(old *entry, j *judged) handover {
	e := &entry{a: newAnnouncement(j, &n.ledger), j: j, seen: n.sweep}
	e.a.nextHop = nextHopOf(&n.assigned.router, j)
	n.replace(old, e)
	return handover{e.a, j}
}

// overdue moves those of todo into the table that take the place of a rule whose time has passed. They wait for nothing,
// since the router would act on the old rule meanwhile; what comes after them pays for it by the pace. It runs under mu.
func (n *neighbour) overdue() []handover {
	if len(n.outdated) == 0 || !n.session.established {
		return nil
	}
	at := n.elapsed()
	var due map[flowspec.Key]bool
	n.outdated = slices.DeleteFunc(n.outdated, func(e *entry) bool {
		key := e.j.route.Key
		if n.table[key] != e {
			return true // replaced meanwhile
		}
		if e.j.route.NotAfter > at {
			return false
		}
		if due == nil {
			due = make(map[flowspec.Key]bool)
		}
		due[key] = true
		return true
	})
	if due == nil {
		return nil
	}
	var batch []handover
	n.todo = slices.DeleteFunc(n.todo, func(j *judged) bool {
		if !due[j.route.Key] {
			return false
		}
		batch = append(batch, n.load(n.table[j.route.Key], j))
		return true
	})
	return batch
}

// room is how many rules the table may hold.
func (n *neighbour) room(maxRoutes, perSecond int) int {
	if !n.session.established && n.pace.rate > 0 {
		return min(maxRoutes, perSecond)
	}
	return maxRoutes
}

// replace puts e into the table in place of old, which may be nil.
func (n *neighbour) replace(old, e *entry) {
	key := e.j.route.Key
	if old != nil {
		old.a.release(dutySuperseded)
		if old.covers {
			old.covers = false
			n.coverage.remove(old.j.dst)
		}
	}
	// GoBGP sends only the last of several changes of a key that wait together, so a withdrawal may never leave.
	if a := n.leaving[key]; a != nil {
		a.release(dutySuperseded)
		delete(n.leaving, key)
	}
	n.table[key] = e
	if n.session.established {
		if n.ledger.owed.Load() <= 0 {
			n.session.lastProgress = time.Now()
		}
		e.a.owe(dutyAnnounce)
		e.covers = true // todo's count of it goes over to the entry
		n.inflight = append(n.inflight, e)
		n.counts.announced++
	} else {
		n.coverage.remove(e.j.dst)
	}
}

// withdrawSome hands over the withdrawals that need not wait any longer.
func (n *neighbour) withdrawSome(now time.Time) {
	n.mu.Lock()
	var batch []handover
	n.obsolete = slices.DeleteFunc(n.obsolete, func(e *entry) bool {
		if !n.mayLeave(e, now) {
			return false
		}
		batch = append(batch, n.remove(e, now))
		return true
	})
	if force := n.forceCount(len(batch)); force > 0 {
		for _, e := range n.obsolete[:force] {
			batch = append(batch, n.remove(e, now))
		}
		n.obsolete = n.obsolete[force:]
		n.counts.forced += uint64(force)
	}
	n.timePhase(now)
	n.mu.Unlock()
	for part := range slices.Chunk(batch, batchSize) {
		if err := n.eng.withdraw(part); err != nil {
			n.replaceEngine(err, now)
			return
		}
	}
}

// timePhase measures how long obsolete rules wait for what replaces them. It runs under mu.
func (n *neighbour) timePhase(now time.Time) {
	switch waiting := len(n.obsolete) > 0; {
	case waiting && n.phaseSince.IsZero():
		n.phaseSince = now
	case !waiting && !n.phaseSince.IsZero():
		n.counts.phaseWaits++
		n.counts.phaseWaited += now.Sub(n.phaseSince)
		n.phaseSince = time.Time{}
	}
}

// mayLeave reports whether obsolete e can be withdrawn without a gap, or must be in spite of one.
func (n *neighbour) mayLeave(e *entry, now time.Time) bool {
	return !n.session.established || e.hurry || !now.Before(e.deadline) || e.j.route.NotAfter <= n.elapsed() ||
		!n.coverage.overlaps(e.j.dst)
}

// forceCount is how many obsolete rules have to make room although what replaces them has not left: when the router
// is full, nothing else can leave and nothing is on its way. A gap of one message cannot be avoided then.
func (n *neighbour) forceCount(leaving int) int {
	r := &n.assigned.router
	if leaving > 0 || !n.session.established || len(n.todo) == 0 || len(n.obsolete) == 0 ||
		len(n.inflight) > 0 || len(n.table) < r.MaxRoutes || n.table[n.todo[0].route.Key] != nil {
		return 0
	}
	return min(len(n.todo), len(n.obsolete), max(1, r.MaxRoutes/forcedShare))
}

// remove takes e out of the table. It runs under mu; the caller hands the withdrawal over.
func (n *neighbour) remove(e *entry, now time.Time) handover {
	key := e.j.route.Key
	delete(n.table, key)
	if n.carries(e.j) {
		if n.ledger.owed.Load() <= 0 {
			n.session.lastProgress = time.Now()
		}
		e.a.owe(dutyWithdraw)
		n.leaving[key] = e.a
		n.counts.withdrawn++
	} else {
		e.a.release(dutyNone)
		n.ghosts = slices.DeleteFunc(n.ghosts, func(g ghost) bool { return now.Sub(g.at) > ghostLife })
		if !n.session.established && n.session.configured {
			n.ghosts = append(n.ghosts, ghost{e.a, now})
		}
	}
	return handover{e.a, e.j}
}

// conclude notes the revision if nothing of it is left to do.
func (n *neighbour) conclude() {
	n.mu.Lock()
	defer n.mu.Unlock()
	loaded := len(n.todo) == 0 || !n.session.established
	if loaded && len(n.obsolete) == 0 && len(n.leaving) == 0 && (len(n.inflight) == 0 || !n.session.established) {
		n.reached = n.assigned.plan.revision
	}
}

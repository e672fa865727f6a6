package bgp

import "time"

// engineRetry is how long a router waits for another engine when one has failed that was not old.
const engineRetry = time.Second

// replaceEngine gives up the engine because it failed with err, and with it the session: the router drops our rules when
// the session ends. A new engine is loaded and connected by the steps that follow.
func (n *neighbour) replaceEngine(err error, now time.Time) {
	n.dismiss(err, now)
	n.session.upSince = now.Add(-shortSession) // not the router's failure
	n.fall("GoBGP failed and is replaced: "+err.Error(), now)
}

// dismiss ends an engine that failed to do what it was told. Nobody knows what it holds then: it may announce what is in
// no table, or keep another router as its neighbour, so it is not used for anything again.
func (n *neighbour) dismiss(err error, now time.Time) {
	n.log.Error("GoBGP failed and is replaced", "err", err)
	n.eng.listen(nil)
	n.pool.discard(n.eng) // ends the session
	n.eventsMu.Lock()
	n.events = nil
	n.eventsMu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	if now.Sub(n.engineAt) < shortSession {
		n.engineAt = now.Add(engineRetry)
	} else {
		n.engineAt = now
	}
	n.eng = nil
	n.session.configured = false
	n.counts.engines++
	for _, e := range n.table {
		e.a.release(dutySuperseded)
	}
	for _, a := range n.leaving {
		a.release(dutySuperseded)
	}
	clear(n.table)
	clear(n.leaving)
	n.inflight, n.obsolete, n.outdated, n.ghosts = nil, nil, nil, nil
	n.coverage.clear()
}

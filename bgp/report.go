package bgp

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// Status says what is wanted, what was sent, and how the sessions are. It reads the speaker's own records and never
// asks GoBGP, but it does copy them: with 10,000 routes at four routers it takes some milliseconds.
func (s *Speaker) Status() Status {
	st := s.summary()
	s.mu.Lock()
	verdicts, p := s.verdicts, s.current
	s.mu.Unlock()
	at := make(map[flowspec.Key][]RouteAtRouter, len(verdicts))
	for _, m := range s.members() {
		peer, _ := m.status()
		for _, j := range verdicts {
			if j.refusal != nil && slices.Contains(j.route.Groups, m.group()) {
				peer.Refused++
			}
		}
		st.Peers = append(st.Peers, peer)
		m.routes(func(k flowspec.Key, r RouteAtRouter) { at[k] = append(at[k], r) })
	}
	for _, j := range verdicts {
		k := j.route.Key
		rs := RouteStatus{
			Key: k, MED: j.route.MED, Refusal: j.refusal, Routers: at[k],
			Expired: p != nil && (p.ended || j.refusal == nil && p.gone[k]),
		}
		delete(at, k)
		st.Routes = append(st.Routes, rs)
	}
	for k, routers := range at {
		st.Routes = append(st.Routes, RouteStatus{Key: k, Routers: routers})
	}
	slices.SortFunc(st.Routes[:len(verdicts)], func(a, b RouteStatus) int { return cmp.Compare(a.Key, b.Key) })
	slices.SortFunc(st.Routes[len(verdicts):], func(a, b RouteStatus) int { return cmp.Compare(a.Key, b.Key) })
	return st
}

// summary is Status without routers and routes.
func (s *Speaker) summary() Status {
	st := Status{At: s.deps.Elapsed()}
	members := s.members()
	s.mu.Lock()
	if s.newest != nil {
		st.Revision = s.newest.Revision
		st.Lease = time.Duration(s.newest.LeaseUntil - st.At)
	}
	if s.current != nil {
		st.Reached = s.current.revision
	}
	s.mu.Unlock()
	for _, m := range members {
		m.mu.Lock()
		st.Reached = min(st.Reached, m.reached)
		m.mu.Unlock()
	}
	return st
}

// members are the neighbours in order of name.
func (s *Speaker) members() []*member {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*member, 0, len(s.neighbours))
	for _, m := range s.neighbours {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b *member) int { return strings.Compare(a.name, b.name) })
	return out
}

func (n *neighbour) group() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.assigned == nil {
		return ""
	}
	return n.assigned.router.Group
}

// status is what is known of the router, and its counters.
func (n *neighbour) status() (PeerStatus, counts) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := &n.session
	p := PeerStatus{
		Router: n.name, State: s.state, Since: s.since, Families: slices.Clone(n.families),
		Withdrawing: len(n.leaving) + len(n.obsolete), OverBudget: len(n.overBudget),
		Announced: n.counts.announced, Withdrawn: n.counts.withdrawn, Resets: n.counts.resets,
		LastError: s.lastError, LastErrorAt: s.lastErrorAt, Queued: len(n.todo),
	}
	for _, e := range n.table {
		if s.established && e.a.duty.Load() == dutyAnnounced {
			p.Sent++
		} else {
			p.Queued++
		}
	}
	return p, n.counts
}

// routes calls f for every rule that the router should hear or still hears.
func (n *neighbour) routes(f func(flowspec.Key, RouteAtRouter)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	at := func(state RouteState, e *entry) RouteAtRouter {
		r := RouteAtRouter{Router: n.name, State: state}
		if e != nil {
			r.SentAt = wanted.Instant(e.a.sentAt.Load())
		}
		return r
	}
	replaced := make(map[flowspec.Key]bool, len(n.todo))
	queued := RouteQueued
	if n.pace.rate > 0 {
		queued = RoutePaced
	}
	for _, j := range n.todo {
		replaced[j.route.Key] = true
		f(j.route.Key, at(queued, n.table[j.route.Key]))
	}
	for _, j := range n.overBudget {
		replaced[j.route.Key] = true
		f(j.route.Key, at(RouteOverBudget, n.table[j.route.Key]))
	}
	for _, e := range n.obsolete {
		if k := e.j.route.Key; !replaced[k] {
			replaced[k] = true
			f(k, at(RouteSuperseded, e))
		}
	}
	for k, e := range n.table {
		switch {
		case replaced[k]:
		case !n.session.established:
			f(k, at(RouteLoaded, e))
		case e.a.duty.Load() == dutyAnnounced:
			f(k, at(RouteSent, e))
		default:
			f(k, at(RouteSending, e))
		}
	}
	for k := range n.leaving {
		if n.table[k] == nil && !replaced[k] {
			f(k, RouteAtRouter{Router: n.name, State: RouteWithdrawing})
		}
	}
}

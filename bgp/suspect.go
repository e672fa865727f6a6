package bgp

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/osrg/gobgp/v4/api"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// A router that cannot bear a rule ends the session, and with it every other rule goes; dialled again with the same rule it
// does so again. So what was new when a router sent a NOTIFICATION about a message of ours is under suspicion at that router:
// it is kept back, the rest is announced, and then one half of it after the other is tried. What the router bears for
// some seconds is cleared; a rule that is alone on trial when the router ends the session again stays off that router.

// defaultProvenAfter is how long a rule must have been with a router that does not complain, to be beyond suspicion.
const defaultProvenAfter = 5 * time.Second

// trialEvery is how often a trial is looked at.
const trialEvery = 250 * time.Millisecond

// suspicion is what one router is suspected not to bear. The zero value is none.
type suspicion struct {
	trial  map[flowspec.Key]bool // announced like any other, to see whether the router bears them; nil: none
	queue  [][]flowspec.Key      // kept back until their turn
	banned map[flowspec.Key]bool // kept off the router
	why    string                // what the router said
	proven map[flowspec.Key]*judged
}

// any reports whether anything is or was under suspicion.
func (s *suspicion) any() bool { return len(s.trial)+len(s.queue)+len(s.banned) > 0 }

// withheld are the rules that the router must not hear now, each with the reason.
func (s *suspicion) withheld() map[flowspec.Key]*refusal {
	if len(s.queue)+len(s.banned) == 0 {
		return nil
	}
	out := make(map[flowspec.Key]*refusal)
	bad := refuse(wanted.RefusedQuarantined, "quarantined at this router: it ended the session after this rule (%s)", s.why)
	for k := range s.banned {
		out[k] = bad
	}
	waits := refuse(wanted.RefusedSuspected, "kept back: the router ended the session after this rule or others (%s), which are tried part by part", s.why)
	for _, part := range s.queue {
		for _, k := range part {
			out[k] = waits
		}
	}
	return out
}

// keep forgets all keys but those that are still wanted.
func (s *suspicion) keep(wanted map[flowspec.Key]bool) {
	for k := range s.banned {
		if !wanted[k] {
			delete(s.banned, k)
		}
	}
	for k := range s.trial {
		if !wanted[k] {
			delete(s.trial, k)
		}
	}
	for i := range s.queue {
		s.queue[i] = slices.DeleteFunc(s.queue[i], func(k flowspec.Key) bool { return !wanted[k] })
	}
	s.queue = slices.DeleteFunc(s.queue, func(part []flowspec.Key) bool { return len(part) == 0 })
}

// stillWithheld forgets suspicions of what p does not want any more, and returns what is left of them. It runs under mu.
func (n *neighbour) stillWithheld(p *plan) map[flowspec.Key]*refusal {
	if !n.suspicion.any() {
		return nil
	}
	wanted := make(map[flowspec.Key]bool, len(p.routes))
	for _, j := range p.routes {
		wanted[j.route.Key] = true
	}
	n.suspicion.keep(wanted)
	return n.suspicion.withheld()
}

// accuse takes keys, the most urgent first, to be what the router did not bear. It returns the one that is kept off from
// now on, if they are one.
func (s *suspicion) accuse(keys []flowspec.Key, why string) (banned flowspec.Key, is bool) {
	s.trial, s.why = nil, why
	switch len(keys) {
	case 0:
		return "", false
	case 1:
		if s.banned == nil {
			s.banned = make(map[flowspec.Key]bool)
		}
		s.banned[keys[0]] = true
		banned, is = keys[0], true
	default:
		half := (len(keys) + 1) / 2
		s.queue = slices.Insert(s.queue, 0, keys[:half:half], keys[half:])
	}
	return banned, is
}

// next puts the first of the queue on trial. It reports whether there was any.
func (s *suspicion) next() bool {
	s.trial = nil
	if len(s.queue) == 0 {
		return false
	}
	s.trial = make(map[flowspec.Key]bool, len(s.queue[0]))
	for _, k := range s.queue[0] {
		s.trial[k] = true
	}
	s.queue = s.queue[1:]
	return true
}

// complains reports whether ev is the router's NOTIFICATION that it did not bear a message of ours: an error in a message
// header or in an UPDATE (RFC 4271 section 6). One for the hold time tells nothing of rules, since attacks make those, and
// a Cease (RFC 4486) is an operator's or a limit's.
func complains(ev peerEvent) bool {
	return ev.reason == api.PeerState_DISCONNECT_REASON_NOTIFICATION_RECEIVED &&
		(strings.Contains(ev.message, "code 3(") || strings.Contains(ev.message, "code 1("))
}

// suspects are the keys of the rules that the router may have ended the session for, the most urgent first. It runs under mu.
func (n *neighbour) suspects() []flowspec.Key {
	now := n.elapsed()
	var out []*judged
	for _, e := range n.table {
		at := wanted.Instant(e.a.sentAt.Load())
		switch {
		case at == 0 && e.a.duty.Load() != dutyAnnounce && n.session.established:
			continue // the router has not heard it
		case n.isProven(e.j):
			continue
		case at != 0 && time.Duration(now-at) >= n.cfg.provenAfter:
			n.prove(e.j)
			continue
		}
		out = append(out, e.j)
	}
	slices.SortFunc(out, mostUrgent)
	keys := make([]flowspec.Key, len(out))
	for i, j := range out {
		keys[i] = j.route.Key
	}
	return keys
}

func (n *neighbour) isProven(j *judged) bool {
	p := n.suspicion.proven[j.route.Key]
	return p != nil && p.actions == j.actions
}

func (n *neighbour) prove(j *judged) {
	if n.suspicion.proven == nil {
		n.suspicion.proven = make(map[flowspec.Key]*judged)
	}
	if p := n.suspicion.proven; len(p) > 2*len(n.table)+64 {
		maps.DeleteFunc(p, func(k flowspec.Key, _ *judged) bool { return n.table[k] == nil })
	}
	n.suspicion.proven[j.route.Key] = j
}

// blame finds out which rules the router may have ended its session for, and keeps them back. It reports whether it did.
func (n *neighbour) blame(ev peerEvent) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := &n.suspicion
	keys := n.suspects()
	if !complains(ev) {
		if s.trial != nil { // it is no answer: they are tried again
			s.queue = slices.Insert(s.queue, 0, keysIn(s.trial))
			s.trial = nil
		}
		return false
	}
	if len(keys) == 0 {
		clear(s.proven) // one of them was not
	}
	why := strings.TrimPrefix(ev.message, "notification-received ")
	banned, is := s.accuse(keys, why)
	if is {
		n.log.Error("the router ended the session after a rule, which is quarantined at this router", "rule", banned.String(), "why", why)
	} else if len(keys) > 0 {
		n.log.Warn("the router ended the session after some rules, which are kept back and tried part by part", "rules", len(keys), "why", why)
	}
	return len(keys) > 0
}

func keysIn(m map[flowspec.Key]bool) []flowspec.Key {
	out := make([]flowspec.Key, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// try goes on with the trial: what the router has borne for long enough is cleared, and the next part is announced.
func (n *neighbour) try(now time.Time) {
	s := &n.suspicion
	if !n.session.established || len(s.trial)+len(s.queue) == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	at := n.elapsed()
	if s.trial == nil && now.Sub(n.session.upSince) < time.Second {
		return // the rest goes first
	}
	for k := range s.trial {
		e := n.table[k]
		if e == nil && !slices.ContainsFunc(n.todo, func(j *judged) bool { return j.route.Key == k }) {
			continue // over budget, or not wanted any more
		}
		if e == nil {
			return
		}
		if sent := wanted.Instant(e.a.sentAt.Load()); sent == 0 || time.Duration(at-sent) < n.cfg.provenAfter {
			return
		}
	}
	for k := range s.trial {
		if e := n.table[k]; e != nil {
			n.prove(e.j)
		}
	}
	switch had := s.trial != nil; {
	case s.next():
		n.retarget(now)
	case had:
		n.log.Info("the router has borne all rules that were tried", "quarantined", len(s.banned))
	}
}

// pardon ends every suspicion: what was kept off the router is announced to it again.
func (n *neighbour) pardon(now time.Time) {
	if !n.pardoned.Swap(false) {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.suspicion = suspicion{}
	n.retarget(now)
}

// Pardon announces to the router of that name or address what was kept off it because it ended its session after it. It
// returns how many rules that were.
func (s *Speaker) Pardon(router string) int {
	rules := 0
	for _, m := range s.members() {
		m.mu.Lock()
		found := m.assigned != nil && (m.name == router || m.assigned.router.Address.String() == router)
		n := len(m.suspicion.banned)
		for _, part := range m.suspicion.queue {
			n += len(part)
		}
		m.mu.Unlock()
		if found && n > 0 {
			rules += n
			m.pardoned.Store(true)
			m.wake()
		}
	}
	return rules
}

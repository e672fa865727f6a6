package controller

import (
	"sync"
	"time"

	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/policy"
)

// tracker knows when this process was last level with a live leader. Everything on this node that needs to know the
// time in terms of the log, or how long it may still announce, goes back to such a moment.
type tracker struct {
	elapsed func() wanted.Instant
	lease   time.Duration
	live    func(term uint64, index policy.Index) bool

	mu sync.Mutex // guards the field below
	at moment
}

// moment is the last entry that was applied as the newest one of a live leader: then, the time in the log was now.
type moment struct {
	index      policy.Index // 0: there was none yet
	at         time.Time    // the entry's time
	elapsed    wanted.Instant
	leaseUntil wanted.Instant
}

// applied is called by raft's FSM goroutine after each entry, before the State is published.
func (t *tracker) applied(term uint64, s *policy.State) {
	if !t.live(term, s.Index()) {
		return
	}
	now := t.elapsed()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.at.index, t.at.at, t.at.elapsed = s.Index(), s.At(), now
	if !s.LeaseAt().IsZero() {
		// The lease counts from its own entry, which may be a little older than this one.
		left := t.lease - s.At().Sub(s.LeaseAt())
		t.at.leaseUntil = max(t.at.leaseUntil, now+wanted.Instant(left))
	}
}

func (t *tracker) last() moment {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.at
}

func (m moment) caughtUp() bool { return m.index != 0 }

// now estimates the time in terms of the log, for the State s at the instant e. It never uses the wall clock.
func (m moment) now(s *policy.State, e wanted.Instant) time.Time {
	est := s.At()
	if m.caughtUp() {
		if t := m.at.Add(time.Duration(e - m.elapsed)); t.After(est) {
			est = t
		}
	}
	return est
}

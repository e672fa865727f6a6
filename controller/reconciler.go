package controller

import (
	"context"
	"log/slog"
	"time"

	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/policy"
)

// retrySet is how long the reconciler waits after the speaker refused a Set.
const retrySet = time.Second

// handoverLead is how long before the deadline of one owner its key passes to the next one. The speaker withdraws what
// is past its NotAfter at that very instant, so a Set that came only then would leave the key unannounced until it is
// carried out. A key that loses all of its several owners within the lead goes that much early.
const handoverLead = wanted.Instant(100 * time.Millisecond)

// reconciler keeps this node's speaker at the newest State. It is one goroutine: while the speaker works on a Set,
// States in between are passed over.
type reconciler struct {
	log     *slog.Logger
	fsm     *fsm
	tracker *tracker
	speaker Speaker
	elapsed func() wanted.Instant
	secret  func(string) (string, bool)

	// deadlines and last, which is nil before the first, are used by the reconciler's goroutine only.
	deadlines map[policy.MitigationID]deadline
	last      *policy.Wanted
	told      *policy.State // what tell told of last; nil before the first
}

// deadline is when a mitigation's rules leave this node's speaker, whoever is alive. It is fixed when this process
// first sees the mitigation with this end of life: clocks that step later do not move it.
type deadline struct {
	expires  time.Time
	notAfter wanted.Instant
}

func (r *reconciler) run(ctx context.Context) {
	var done policy.Index   // revision that the speaker has
	var next wanted.Instant // when the same State means something else; 0: never
	for {
		updated := r.fsm.watch()
		s := r.fsm.state.Load()
		last := r.tracker.last()
		var again <-chan time.Time
		// Before this process was level with a live leader it may lack rules, and a session that opens with rules
		// missing makes the router withdraw them. A stopped FSM leaves the speaker with what it has.
		if last.caughtUp() && r.fsm.stoppedBy() == nil {
			if due := next != 0 && r.elapsed() >= next; due || s.Index() > done {
				var set wanted.Set
				set, next = r.wanted(s, last)
				if err := r.speaker.Set(ctx, set); err != nil {
					if ctx.Err() != nil {
						return
					}
					r.log.Error("the speaker refused what is to be announced", "index", s.Index(), "error", err)
					next = r.elapsed() + wanted.Instant(retrySet)
				}
				done = s.Index()
				r.tell(s)
			}
			if next != 0 {
				again = time.After(max(time.Duration(next-r.elapsed()), 0))
			}
		}
		select {
		case <-updated:
		case <-again:
		case <-ctx.Done():
			return
		}
	}
}

// wanted is what the speaker shall announce for s, and when to ask again without a newer State; 0: never.
func (r *reconciler) wanted(s *policy.State, last moment) (wanted.Set, wanted.Instant) {
	if len(r.deadlines) > 2*s.ActiveCount()+64 {
		r.forget(s)
	}
	e := r.elapsed()
	input := policy.WantedInput{Now: e + handoverLead, LeaseUntil: last.leaseUntil, Secret: r.secret, Last: r.last}
	now := last.now(s, e)
	if s.Index() == last.index {
		// Just applied: the entry's own time is the leader's now, however long it took to get here.
		now, e = last.at, last.elapsed
	}
	input.Deadline = func(m *policy.Mitigation) wanted.Instant { return r.deadline(m, now, e) }
	r.last = s.Wanted(input)
	next := r.last.Next
	if next != 0 {
		next -= handoverLead
	}
	return r.last.Set, next
}

func (r *reconciler) deadline(m *policy.Mitigation, now time.Time, e wanted.Instant) wanted.Instant {
	if d, ok := r.deadlines[m.ID]; ok && d.expires.Equal(m.Expires) {
		return d.notAfter
	}
	left := min(max(m.Expires.Sub(now), 0), m.Lifetime)
	d := deadline{expires: m.Expires, notAfter: e + wanted.Instant(left)}
	r.deadlines[m.ID] = d
	return d.notAfter
}

// forget drops the deadlines of mitigations that are over.
func (r *reconciler) forget(s *policy.State) {
	for id := range r.deadlines {
		if m, ok := s.Mitigation(id); !ok || !m.Announced() {
			delete(r.deadlines, id)
		}
	}
}

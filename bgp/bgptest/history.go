package bgptest

import (
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// Change is one event in the life of a key.
type Change struct {
	At       time.Time
	Seq      uint64 // of the Update, in the order of arrival at the Router; 0 if the session's end took the route away
	Session  SessionID
	Announce bool // false: withdrawn, or lost with its session
}

// Interval is a span of time. A zero End means that it has not ended.
type Interval struct{ Start, End time.Time }

const defaultHistoryLimit = 500_000

// history is the lives of all keys, within a limit.
type history struct {
	limit int
	lives map[flowspec.Key]*life
	order []flowspec.Key // of each Change that is kept, oldest first, from first on
	first int
}

func newHistory(limit int) history { return history{limit: limit, lives: make(map[flowspec.Key]*life)} }

// of is the life of k, which nobody may change.
func (h *history) of(k flowspec.Key) *life {
	if l := h.lives[k]; l != nil {
		return l
	}
	return &life{}
}

// add notes c and forgets the oldest Change if there are too many.
func (h *history) add(k flowspec.Key, c Change) {
	l := h.lives[k]
	if l == nil {
		l = &life{}
		h.lives[k] = l
	}
	l.kept = append(l.kept, c)
	h.order = append(h.order, k)
	if len(h.order)-h.first <= h.limit {
		return
	}
	oldest := h.order[h.first]
	h.first++
	if h.first > len(h.order)/2 {
		h.order = append(h.order[:0], h.order[h.first:]...)
		h.first = 0
	}
	if l := h.lives[oldest]; l.forget() {
		delete(h.lives, oldest)
	}
}

// life is what is known of one key: the Changes that are kept, and how things stood before them.
type life struct {
	before presence
	kept   []Change
}

// forget drops the oldest Change and reports whether nothing worth keeping is left.
func (l *life) forget() bool {
	l.before.take(l.kept[0])
	l.kept = l.kept[1:]
	return len(l.kept) == 0 && len(l.before.up) == 0
}

// absent is when no session announced the key, after the first announcement.
func (l *life) absent() []Interval {
	now := presence{since: l.before.since, up: make(map[SessionID]bool, len(l.before.up))}
	for id := range l.before.up {
		now.up[id] = true
	}
	var out []Interval
	for _, c := range l.kept {
		if gap, ended := now.take(c); ended {
			out = append(out, gap)
		}
	}
	if !now.since.IsZero() {
		out = append(out, Interval{Start: now.since})
	}
	return out
}

// presence is who announces a key at one moment.
type presence struct {
	up    map[SessionID]bool
	since time.Time // when the last session lost it; zero if one announces it, or none ever did
}

// take brings c in. It returns the gap that c ends, if it does.
func (p *presence) take(c Change) (gap Interval, ended bool) {
	before := len(p.up)
	if !c.Announce {
		delete(p.up, c.Session)
		if before > 0 && len(p.up) == 0 {
			p.since = c.At
		}
		return gap, false
	}
	if p.up == nil {
		p.up = make(map[SessionID]bool, 1)
	}
	p.up[c.Session] = true
	if p.since.IsZero() {
		return gap, false
	}
	gap = Interval{p.since, c.At}
	p.since = time.Time{}
	return gap, true
}

package audit

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// maxRefused bounds how many pairs of principal and code are counted apart in one minute; the rest is counted together.
const maxRefused = 256

// Refusals counts what this node refused, by principal, code and minute, until the Writer writes it down. It may be used
// by several goroutines.
type Refusals struct {
	now func() time.Time

	mu     sync.Mutex // guards the fields below
	minute time.Time
	counts map[refused]int
	done   []Refusal // of minutes that are over
}

type refused struct{ by, code string }

// NewRefusals returns Refusals without any; now is the wall clock.
func NewRefusals(now func() time.Time) *Refusals {
	return &Refusals{now: now, counts: map[refused]int{}}
}

// Note counts one refusal. It keeps nothing of what was asked for.
func (r *Refusals) Note(by, code string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn()
	k := refused{by, code}
	if _, known := r.counts[k]; !known && len(r.counts) >= maxRefused {
		k = refused{"others", "others"}
	}
	r.counts[k]++
}

// turn closes the minute if it is over; mu is held.
func (r *Refusals) turn() {
	minute := r.now().UTC().Truncate(time.Minute)
	if minute.Equal(r.minute) {
		return
	}
	r.close()
	r.minute = minute
}

// close moves the counts to those that are done; mu is held. What nobody fetches is bounded too: the oldest goes.
func (r *Refusals) close() {
	var out []Refusal
	for k, n := range r.counts {
		out = append(out, Refusal{Minute: r.minute, By: k.by, Code: k.code, Count: n})
	}
	slices.SortFunc(out, func(a, b Refusal) int { return cmp.Or(cmp.Compare(a.By, b.By), cmp.Compare(a.Code, b.Code)) })
	r.done = append(r.done, out...)
	r.done = r.done[max(0, len(r.done)-8*maxRefused):]
	clear(r.counts)
}

// take returns the counts of the minutes that are over; with all also those of the present one.
func (r *Refusals) take(all bool) []Refusal {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn()
	if all {
		r.close()
	}
	out := r.done
	r.done = nil
	return out
}

package controller

import (
	"sync"
	"sync/atomic"

	"github.com/tidegate/tidegate/policy"
)

const (
	// maxSources bounds how many sources may have work waiting at a time.
	maxSources = 256
	// chunk is how many signals of one source are taken before the next source's turn.
	chunk = 256
	// maxSignals and maxWrites bound what is taken into one batch.
	maxSignals = 4096
	maxWrites  = 128
)

// claim settles who has the last word on a piece of work: the decider that takes it or the caller that gives up.
type claim struct{ v atomic.Int32 }

func (c *claim) take() bool   { return c.v.CompareAndSwap(0, 1) }
func (c *claim) cancel() bool { return c.v.CompareAndSwap(0, 2) }

// write is a Command that waits or is being decided.
type write struct {
	claim
	cmd    Command
	digest [32]byte
	noted  bool // nothing needed to be done, and that is remembered under the request id
	out    Outcome
	err    error
	done   chan struct{}
}

func (w *write) finish(out Outcome, err error) {
	w.out, w.err = out, err
	close(w.done)
}

// report is a piece of a Report call: signals of one source, and their verdicts.
type report struct {
	claim
	by       policy.Principal
	signals  []policy.Signal
	verdicts []policy.Verdict // of the same length; written by the decider until done is closed
	next     int              // the first signal without a verdict
	err      error
	done     chan struct{}
}

func (r *report) finish(err error) {
	r.err = err
	close(r.done)
}

// lanes holds work by source and hands it out in turns, so that one flooding source delays the others by its turn only.
type lanes[T any] struct {
	bySource map[policy.Principal]*lane[T]
	turn     []policy.Principal // sources with work; the first is next
	weight   int
}

type lane[T any] struct {
	work   []T
	sizes  []int
	weight int
}

func (l *lanes[T]) push(from policy.Principal, w T, size, limit int) bool {
	ln := l.bySource[from]
	if ln == nil {
		if len(l.bySource) >= maxSources || size > limit {
			return false
		}
		ln = &lane[T]{}
		if l.bySource == nil {
			l.bySource = make(map[policy.Principal]*lane[T])
		}
		l.bySource[from] = ln
		l.turn = append(l.turn, from)
	} else if ln.weight+size > limit {
		return false
	}
	ln.work, ln.sizes = append(ln.work, w), append(ln.sizes, size)
	ln.weight += size
	l.weight += size
	return true
}

func (l *lanes[T]) pop() (w T, ok bool) {
	if len(l.turn) == 0 {
		return w, false
	}
	from := l.turn[0]
	l.turn = l.turn[1:]
	ln := l.bySource[from]
	w = ln.work[0]
	size := ln.sizes[0]
	var zero T
	ln.work[0] = zero
	ln.work, ln.sizes = ln.work[1:], ln.sizes[1:]
	ln.weight -= size
	l.weight -= size
	if len(ln.work) == 0 {
		delete(l.bySource, from)
	} else {
		l.turn = append(l.turn, from)
	}
	return w, true
}

// queue is what waits for the decider. It is open only while this node leads.
type queue struct {
	limit int
	wake  chan struct{} // of capacity 1

	mu      sync.Mutex // guards the fields below
	open    bool
	writes  lanes[*write]
	reports lanes[*report]
}

func newQueue(limit int) *queue { return &queue{limit: limit, wake: make(chan struct{}, 1)} }

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// start opens the queue.
func (q *queue) start() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open = true
}

// stop closes the queue and answers everything in it with err: none of it was done.
func (q *queue) stop(err error) {
	q.mu.Lock()
	q.open = false
	writes, reports := q.writes, q.reports
	q.writes, q.reports = lanes[*write]{}, lanes[*report]{}
	q.mu.Unlock()
	for w, ok := writes.pop(); ok; w, ok = writes.pop() {
		if w.take() {
			w.finish(Outcome{}, err)
		}
	}
	for r, ok := reports.pop(); ok; r, ok = reports.pop() {
		if r.take() {
			r.finish(err)
		}
	}
}

// addWrite reports whether the queue is open and whether the write found room.
func (q *queue) addWrite(w *write) (open, room bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.open {
		return false, false
	}
	room = q.writes.push(w.cmd.By, w, 1, q.limit)
	q.signal()
	return true, room
}

// addReport reports whether the queue is open and whether the signals found room.
func (q *queue) addReport(r *report) (open, room bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.open {
		return false, false
	}
	room = q.reports.push(r.by, r, len(r.signals), q.limit)
	q.signal()
	return true, room
}

// take returns the work of the next batch; whoever gave up in the meantime is left out.
func (q *queue) take() (writes []*write, reports []*report) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(writes) < maxWrites {
		w, ok := q.writes.pop()
		if !ok {
			break
		}
		if w.take() {
			writes = append(writes, w)
		}
	}
	for n := 0; n < maxSignals; {
		r, ok := q.reports.pop()
		if !ok {
			break
		}
		if r.take() {
			reports = append(reports, r)
			n += len(r.signals)
		}
	}
	if q.writes.weight > 0 || q.reports.weight > 0 {
		q.signal()
	}
	return writes, reports
}

// length returns how many writes and signals wait.
func (q *queue) length() (writes, signals int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.writes.weight, q.reports.weight
}

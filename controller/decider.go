package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/policy"
)

const (
	// enqueueTimeout bounds how long raft may take to accept an entry; beyond it the entry was certainly not taken.
	enqueueTimeout = 5 * time.Second
	// stallTimeout is when a leader that neither commits nor steps down is taken to hang, though its disk does not.
	stallTimeout = 9 * time.Second
	// renewEvery is the least time between two renewals.
	renewEvery = time.Second
	// expireEvery is the least time between two looks at what is past its lifetime: what is found in between waits.
	expireEvery = 10 * time.Millisecond
	// afterError is how long a leader waits that could not begin its term.
	afterError = 100 * time.Millisecond
)

// decider is the one goroutine that builds commands, and it does so on the leader only. One entry is in flight at a
// time, and it names the entry it was decided on; any error ends the session, and a new one begins with a barrier.
type decider struct {
	log        *slog.Logger
	raft       *raft.Raft
	fsm        *fsm
	tracker    *tracker
	queue      *queue
	packer     *packer
	metrics    *metrics
	elapsed    func() wanted.Instant
	now        func() time.Time
	leaseEvery time.Duration
	member     policy.Principal        // in whose name the leader acts by itself
	notLeader  func() error            // what to tell those who wait when this node does not lead
	resumed    <-chan raft.Observation // a follower came back
	stalled    <-chan struct{}         // closed when the disk hangs

	term  atomic.Uint64 // of the session that is under way; 0: none
	heard hearsay       // of that session, for previews
}

// session is the decider's work in one term.
type session struct {
	*decider
	anchor   time.Time      // entry time at start
	start    wanted.Instant // elapsed clock at start
	memory   *memory
	leaseAt  time.Time // when the next lease is due, in entry time
	renewAt  time.Time // when renewals may be looked at again
	expireAt time.Time // when mitigations may be ended again
	writes   []*write  // left over from the batch before
	reports  []*report
}

// run begins a session whenever this node leads, until ctx ends. Its error is fatal to the node.
func (d *decider) run(ctx context.Context) error {
	leads := d.raft.LeaderCh()
	for {
		if d.raft.State() == raft.Leader {
			err := d.session(ctx, leads)
			d.queue.stop(d.notLeader())
			if errors.Is(err, ErrStalled) {
				return err
			}
			if err != nil && ctx.Err() == nil {
				d.log.Warn("stopped deciding", "error", err)
			}
		}
		retry := time.NewTimer(afterError)
		if d.raft.State() != raft.Leader {
			retry.Stop()
		}
		select {
		case <-leads:
		case <-retry.C:
		case <-d.fsm.stopped:
			return nil
		case <-ctx.Done():
			return nil
		}
		retry.Stop()
	}
}

// await waits for a future of raft, until stop or stalled, and not for ever: a hung disk would hold it, and with it the
// cluster. A raft that runs answers every future, if only because it loses its leadership. One that is shut down forgets
// some, so whoever waits here is waited for before raft is shut down.
func await(f raft.Future, stop, stalled <-chan struct{}) error {
	done := make(chan error, 1)
	go func() { done <- f.Error() }()
	t := time.NewTimer(stallTimeout)
	defer t.Stop()
	select {
	case err := <-done:
		return err
	case <-stop:
		return ErrStopped
	case <-stalled:
		return ErrStalled
	case <-t.C:
		return ErrStalled
	}
}

func (d *decider) session(ctx context.Context, leads <-chan bool) error {
	if err := d.fsm.stoppedBy(); err != nil {
		return err
	}
	select {
	case <-leads: // that this node leads is known already
	default:
	}
	term := d.raft.CurrentTerm()
	// Everything of earlier terms is applied, or never will be, when the barrier returns.
	if err := await(d.raft.Barrier(enqueueTimeout), d.fsm.stopped, d.stalled); err != nil {
		return fmt.Errorf("cannot begin term %d: %w", term, err)
	}
	if d.raft.State() != raft.Leader || d.raft.CurrentTerm() != term {
		return fmt.Errorf("cannot begin term %d: it is over", term)
	}
	s := d.begin()
	d.log.Info("leading", "term", term, "index", d.fsm.state.Load().Index())
	d.metrics.elections.Inc()
	d.term.Store(term)
	defer d.term.Store(0)
	d.queue.start()
	defer s.abandon()
	return s.loop(ctx, leads)
}

func (d *decider) begin() *session {
	st := d.fsm.state.Load()
	// The memory is empty: an election ends nothing, and lengthens nothing either. What is active stays to the end of
	// the lifetime that it has, and only a signal received in this term renews it. Lifetimes outlast elections by far;
	// if each election counted as a report, elections alone could keep a mitigation for ever.
	s := &session{decider: d, start: d.elapsed(), memory: newMemory()}
	s.memory.told = d.heard.begin()
	s.anchor = d.anchor(st, s.start)
	s.leaseAt = s.anchor
	return s
}

// anchor is the entry time at the instant e, at which a term begins. A process that has been level with a live leader
// continues that leader's time by its own elapsed clock; it is at most behind it, by the time that an entry took to get
// here. Only one that never was has nothing but its wall clock, which may be wrong.
func (d *decider) anchor(st *policy.State, e wanted.Instant) time.Time {
	if last := d.tracker.last(); last.caughtUp() {
		return last.now(st, e)
	}
	at, credible := firstAnchor(st.At(), d.now().UTC().Round(0))
	if !credible {
		d.log.Error("the wall clock is not credible: set it right and restart the nodes", "wall", d.now(), "last_entry", st.At(), "taken", at)
	}
	return at
}

// maxAhead is how much later than the last entry a wall clock is believed to be. Entry times never go back, so one
// clock at a year far away would spoil them for good.
const maxAhead = 366 * 24 * time.Hour

// firstAnchor is the entry time with which a process goes on that knows only the time of the last entry and the wall
// clock. An entry from before this program existed was itself made under a wrong clock, and bounds nothing.
func firstAnchor(last, wall time.Time) (at time.Time, credible bool) {
	switch dawn := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC); {
	case wall.Before(last):
		return last, !last.After(wall.Add(maxAhead))
	case last.After(dawn) && wall.After(last.Add(maxAhead)):
		return last.Add(maxAhead), false
	}
	return wall, true
}

// entryTime is the leader's now: the anchor when the term began, and from there the elapsed clock.
func (s *session) entryTime() time.Time {
	return s.anchor.Add(time.Duration(s.elapsed() - s.start))
}

func (s *session) loop(ctx context.Context, leads <-chan bool) error {
	for {
		if err := s.round(); err != nil {
			return err
		}
		if len(s.writes)+len(s.reports) > 0 {
			continue
		}
		t := time.NewTimer(s.untilDue())
		select {
		case <-s.queue.wake:
		case <-t.C:
		case <-s.resumed:
			// A lease is what tells the node that came back that it is level with us. One every second will do.
			s.leaseAt = minTime(s.leaseAt, maxTime(s.fsm.state.Load().LeaseAt().Add(time.Second), s.entryTime()))
		case <-leads:
			t.Stop()
			return errors.New("leadership changed")
		case <-s.fsm.stopped:
			t.Stop()
			return ErrStopped
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
		t.Stop()
	}
}

func minTime(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func maxTime(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// untilDue is how long the leader has nothing to do by itself.
func (s *session) untilDue() time.Duration {
	now := s.entryTime()
	due := s.leaseAt
	if t, ok := s.fsm.state.Load().NextDue(); ok {
		due = minTime(due, maxTime(t, s.expireAt))
	}
	if len(s.memory.reported)+len(s.memory.watched) > 0 {
		due = minTime(due, maxTime(s.renewAt, now.Add(renewEvery)))
	}
	return max(due.Sub(now), 0)
}

// own returns what the leader has to do by itself now.
func (s *session) own(st *policy.State, now time.Time) []Command {
	var cmds []Command
	if st.Index() == 0 { // nobody has written anything: whoever reads this log knows the chain
		cmds = append(cmds, Command{By: s.member, Reason: "a new cluster", Request: &policy.BeginAuditRequest{}})
	}
	if !now.Before(s.leaseAt) {
		cmds = append(cmds, Command{By: s.member, Reason: "a leader with a quorum is alive", Request: &policy.LeaseRequest{}})
	}
	if t, ok := st.NextDue(); ok && !t.After(now) && !now.Before(s.expireAt) {
		s.expireAt = now.Add(expireEvery)
		cmds = append(cmds, Command{By: s.member, Reason: "lifetime, quiet time or limit over", Request: &policy.ExpireRequest{}})
	}
	if !now.Before(s.renewAt) {
		s.renewAt = now.Add(renewEvery)
		if r := s.memory.renewals(st, now); len(r.IDs) > 0 {
			cmds = append(cmds, Command{By: s.member, Reason: "still reported", Request: r})
		}
		if r := s.memory.escalations(st, now); len(r.Reports) > 0 {
			cmds = append(cmds, Command{By: s.member, Reason: "the attack outlasts the step", Request: r})
		}
		for _, cmd := range s.memory.watched.due(st, now) {
			cmd.By = s.member
			cmds = append(cmds, cmd)
		}
	}
	return cmds
}

// round decides what waits, commits it and answers.
func (s *session) round() error {
	writes, reports := s.queue.take()
	s.writes, s.reports = append(s.writes, writes...), append(s.reports, reports...)
	for range 2 { // a second time only after a conflict
		now := s.entryTime()
		st := s.fsm.state.Load()
		b := newBatch(s.log, s.packer, st, now, s.memory)
		b.index = max(b.index, policy.Index(s.nextIndex()))
		for _, cmd := range s.own(st, now) {
			if err := b.own(cmd); err != nil {
				break // full: it is still due in the next round
			}
		}
		nw, nr := s.fill(b)
		res, err := s.commit(b)
		if err != nil {
			s.fail(nw, nr, err)
			return err
		}
		if res.conflict {
			s.metrics.conflicts.Inc()
			continue
		}
		s.metrics.decided(b) // first: who has an answer finds it counted
		b.answer(res.state)
		if res.state.LeaseAt().Equal(now) {
			s.leaseAt = now.Add(s.leaseEvery)
		}
		s.writes, s.reports = s.writes[nw:], s.reports[nr:]
		return nil
	}
	return fmt.Errorf("the log moved on twice without us: %w", ErrNotApplied)
}

// fill puts work into the batch until it is full, and returns how many writes and reports went in whole.
func (s *session) fill(b *batch) (writes, reports int) {
	for _, w := range s.writes {
		if !b.write(w) {
			return writes, 0
		}
		writes++
	}
	for _, r := range s.reports {
		if !b.report(r) {
			return writes, reports
		}
		reports++
	}
	return writes, reports
}

// commit brings the batch through raft. A batch that changes nothing costs nothing.
func (s *session) commit(b *batch) (applyResult, error) {
	if len(b.items) == 0 {
		return applyResult{state: b.base}, nil
	}
	start := s.elapsed()
	f, err := s.apply(b)
	if err != nil {
		return applyResult{}, fmt.Errorf("%w: %w", ErrNotApplied, err)
	}
	if err := await(f, s.fsm.stopped, s.stalled); err != nil {
		return applyResult{}, fmt.Errorf("cannot commit: %w", err)
	}
	s.metrics.commit.Observe(time.Duration(s.elapsed() - start).Seconds())
	res, ok := f.Response().(applyResult)
	if !ok {
		return applyResult{}, fmt.Errorf("cannot commit: unexpected answer %T: %w", f.Response(), ErrOutcomeUnknown)
	}
	return res, res.err
}

// apply hands the batch to raft, and has the FSM know what the entry makes of the State, if it gets the next index.
func (s *session) apply(b *batch) (raft.ApplyFuture, error) {
	if b.ahead != nil {
		s.fsm.ahead.Store(b.ahead)
		return s.raft.Apply(b.ahead.data, enqueueTimeout), nil
	}
	data, err := s.packer.pack(b.base.Index(), b.at, b.items)
	if err != nil {
		return nil, err
	}
	index := s.nextIndex()
	f := s.raft.Apply(data, enqueueTimeout)
	s.fsm.prepare(b.base, index, data)
	return f, nil
}

// nextIndex is the index that the next entry gets, unless raft puts one of its own in between.
func (s *session) nextIndex() uint64 { return s.raft.LastIndex() + 1 }

// notDone reports whether raft certainly did not take the entry.
func notDone(err error) bool {
	return errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrEnqueueTimeout) ||
		errors.Is(err, raft.ErrLeadershipTransferInProgress) || errors.Is(err, ErrNotApplied)
}

// fail answers those whose work was in a batch that may or may not have been committed.
func (s *session) fail(writes, reports int, err error) {
	unknown := !notDone(err)
	for _, w := range s.writes[:writes] {
		switch {
		case unknown && len(w.out.Decision.Changes) > 0:
			w.finish(Outcome{}, fmt.Errorf("%w (%w)", ErrOutcomeUnknown, err))
		default:
			w.finish(Outcome{}, s.notLeader())
		}
	}
	for _, r := range s.reports[:reports] {
		s.retry(r)
	}
	s.writes, s.reports = s.writes[writes:], s.reports[reports:]
}

// retry asks for the rest of a report again. Signals are recognised, so it does not matter whether they were judged.
func (s *session) retry(r *report) {
	for i := r.next; i < len(r.verdicts); i++ {
		r.verdicts[i] = policy.Verdict{Kind: policy.Retry, RetryAfter: time.Second, Reason: policy.Reason{
			Code: policy.CodeLeaderLost, Text: "the leader changed while the signal was judged: send it again",
		}}
	}
	r.finish(nil)
}

// abandon answers what is left of the session's work.
func (s *session) abandon() {
	for _, w := range s.writes {
		w.finish(Outcome{}, s.notLeader())
	}
	for _, r := range s.reports {
		s.retry(r)
	}
	s.writes, s.reports = nil, nil
}

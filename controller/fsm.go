package controller

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/tidegate/tidegate/policy"
)

// fsm obeys the log: it decodes an entry, applies it to the State and publishes the next State. It knows no clock,
// no policy and no network. What it cannot carry out stops this node, and only this node.
type fsm struct {
	log    *slog.Logger
	packer *packer
	// applied is called for each entry that changed the State, before it is published, by raft's FSM goroutine.
	applied func(term uint64, s *policy.State)

	state   atomic.Pointer[policy.State]
	ahead   atomic.Pointer[step]
	stopped chan struct{} // closed when the FSM stopped

	mu      sync.Mutex    // guards the fields below
	updated chan struct{} // closed and replaced with each new State
	reason  error         // why the FSM stopped
}

// applyResult is what raft hands back to the decider for its entry.
type applyResult struct {
	state    *policy.State // after the entry
	conflict bool          // the entry was decided on another state, and did nothing
	err      error         // the FSM is stopped
}

func newFSM(log *slog.Logger, p *packer, applied func(uint64, *policy.State)) *fsm {
	f := &fsm{log: log, packer: p, applied: applied, stopped: make(chan struct{}), updated: make(chan struct{})}
	f.state.Store(policy.NewState())
	return f
}

// Apply implements raft.FSM. It never panics.
func (f *fsm) Apply(l *raft.Log) any {
	if err := f.stoppedBy(); err != nil {
		return applyResult{err: err}
	}
	s := f.state.Load()
	if policy.Index(l.Index) <= s.Index() {
		// Applied already when this process started, from its own log (see warmUp).
		return applyResult{state: s}
	}
	next, conflict, err := f.follow(s, l)
	if err != nil {
		f.halt(fmt.Errorf("cannot apply log entry %d: %w", l.Index, err))
		return applyResult{err: f.stoppedBy()}
	}
	if conflict {
		f.log.Warn("log entry was decided on another state and does nothing", "index", l.Index, "state", s.Index())
		return applyResult{state: s, conflict: true}
	}
	f.applied(l.Term, next) // first, so that whoever is woken by the new State finds this known
	f.publish(next)
	runtime.Gosched() // the reconciler was just woken: the routers hear of it before whoever reported it
	return applyResult{state: next}
}

// step is what an entry makes of a State. It is a function of its first three fields and of nothing else, so whoever
// has time may compute it before the entry is committed.
type step struct {
	from  *policy.State
	index uint64
	data  []byte
	next  *policy.State
}

// prepare computes what the entry will make of the State, should it get that index, while the log is being written. The
// result is used by Apply only for the very same State, index and octets: what is committed is what counts. It is
// called by the decider's goroutine.
func (f *fsm) prepare(from *policy.State, index uint64, data []byte) {
	next, conflict, err := f.packer.step(from, index, data)
	if conflict || err != nil {
		return // Apply comes to the same, and says so
	}
	f.ahead.Store(&step{from: from, index: index, data: data, next: next})
}

// follow is step for a committed entry, with what was computed ahead if that fits.
func (f *fsm) follow(s *policy.State, l *raft.Log) (next *policy.State, conflict bool, err error) {
	if a := f.ahead.Swap(nil); a != nil && a.from == s && a.index == l.Index && bytes.Equal(a.data, l.Data) {
		return a.next, false, nil
	}
	return f.packer.step(s, l.Index, l.Data)
}

// step returns the state after the entry, or that the entry was decided on another state than s.
func (p *packer) step(s *policy.State, index uint64, data []byte) (next *policy.State, conflict bool, err error) {
	defer func() { // a panic here would be the same panic on every node, and again after each restart
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	env, err := p.unpack(data)
	if err != nil {
		return nil, false, err
	}
	if env.base != s.Index() {
		return nil, true, nil
	}
	next, err = advance(s, policy.Index(index), env)
	return next, false, err
}

// advance applies the items of an entry, all or none.
func advance(s *policy.State, index policy.Index, env envelope) (*policy.State, error) {
	at := env.at
	if at.Before(s.At()) {
		at = s.At()
	}
	if len(env.items) == 0 {
		return nil, fmt.Errorf("cannot use entry without items: %w", ErrCorrupt)
	}
	for i, it := range env.items {
		e := policy.Entry{Index: index, At: at, By: it.by, Reason: it.reason, RequestID: it.requestID, Digest: sha256.Sum256(it.raw)}
		next, err := s.Apply(e, it.changes)
		if err != nil {
			return nil, fmt.Errorf("item %d of %d: %w", i+1, len(env.items), err)
		}
		s = next
	}
	return s, nil
}

func (f *fsm) publish(s *policy.State) {
	f.state.Store(s)
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.updated)
	f.updated = make(chan struct{})
}

func (f *fsm) watch() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.updated
}

// halt keeps the State as it is for good. Whoever owns raft waits for stopped and shuts it down.
func (f *fsm) halt(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reason != nil {
		return
	}
	f.reason = err
	f.log.Error("this node stops: it cannot follow the log; it goes on announcing what it announces, to its lifetime", "error", err)
	close(f.stopped)
}

func (f *fsm) stoppedBy() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reason
}

// Snapshot implements raft.FSM. It fails on a stopped FSM: a snapshot there would hide the entry that stopped it.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	if err := f.stoppedBy(); err != nil {
		return nil, fmt.Errorf("cannot make snapshot: %w: %w", ErrStopped, err)
	}
	return &snapshot{state: f.state.Load()}, nil
}

// Restore implements raft.FSM: it replaces the State by that of a snapshot.
func (f *fsm) Restore(r io.ReadCloser) error {
	s, err := readSnapshot(r)
	if err = errors.Join(err, r.Close()); err != nil {
		err = fmt.Errorf("cannot restore snapshot: %w", err)
		f.halt(err)
		return err
	}
	f.publish(s)
	return nil
}

// warmUp brings the FSM to what this node's own disk knows to be committed, before raft starts, so that a node that
// comes up without a quorum knows its state. raft 1.8.0 can do this itself (RestoreCommittedLogs), but it then fills a
// queue that nobody empties yet, and hangs above some 8,000 entries, and it skips the membership that stands in the
// entries it restores. So raft is told that nothing is committed, and Apply skips what it hands over again.
func (f *fsm) warmUp(logs LogStore, snaps raft.SnapshotStore) error {
	metas, err := snaps.List()
	if err != nil {
		return fmt.Errorf("cannot list snapshots: %w", err)
	}
	from := uint64(1)
	if len(metas) > 0 {
		if err := f.restoreNewest(snaps, metas); err != nil {
			return err
		}
		from = metas[0].Index + 1
	}
	commit, err := logs.GetCommitIndex()
	if err != nil {
		return fmt.Errorf("cannot read commit index: %w", err)
	}
	last, err := logs.LastIndex()
	if err != nil {
		return fmt.Errorf("cannot read last index: %w", err)
	}
	for i := from; i <= min(commit, last); i++ {
		var l raft.Log
		if err := logs.GetLog(i, &l); err != nil {
			return fmt.Errorf("cannot read log entry %d: %w", i, err)
		}
		if l.Type == raft.LogCommand {
			f.Apply(&l) // an error is kept as the reason why the FSM stopped
		}
	}
	return nil
}

// restoreNewest restores the newest snapshot. An older one would do, if its log entries were still there, but raft
// takes the newest to be the one in the FSM.
func (f *fsm) restoreNewest(snaps raft.SnapshotStore, metas []*raft.SnapshotMeta) error {
	_, r, err := snaps.Open(metas[0].ID)
	if err != nil {
		return fmt.Errorf("cannot open snapshot %q: %w", metas[0].ID, err)
	}
	return f.Restore(r)
}

// raftStore is the log as raft sees it: see warmUp.
type raftStore struct{ LogStore }

// GetCommitIndex implements raft.CommitTrackingLogStore.
func (raftStore) GetCommitIndex() (uint64, error) { return 0, nil }

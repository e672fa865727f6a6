package controller

import (
	"errors"
	"fmt"
)

// Errors that callers tell apart. Refusals are not among them: a refusal is a value, Outcome.Decision.Verdict.
var (
	// ErrOutcomeUnknown: leadership was lost, or the node stopped, while a write was on its way. It may have been
	// done or not; the same request with the same request id tells.
	ErrOutcomeUnknown = errors.New("outcome unknown: repeat the request with the same request id")
	// ErrNotApplied: the write was certainly not done, and may be tried again.
	ErrNotApplied = errors.New("not applied: try again")
	// ErrOverloaded: too many writes wait already; this one was not done.
	ErrOverloaded = errors.New("too many writes are waiting: try again")
	// ErrStopped: this node does not decide or answer linearizable reads any more; Status says why.
	ErrStopped = errors.New("node is stopped")
	// ErrLocked: another process works on the same data directory.
	ErrLocked = errors.New("another process uses this data directory")
	// ErrStalled: as leader, this node could neither commit nor lose its leadership, as when its disk hangs.
	ErrStalled = errors.New("leader makes no progress: does the disk hang?")
	// ErrTooLarge: an entry of the log would be larger than its limit.
	ErrTooLarge = errors.New("too large for one entry of the log")
	// ErrCorrupt: what was read from disk or from another node is not what was written.
	ErrCorrupt = errors.New("corrupt")
	// ErrUnknownRecord: an entry or a record of a type, field, value or level that this version does not know.
	ErrUnknownRecord = errors.New("not known to this version")
)

// NotLeaderError says that only the leader can do this, and who that is.
type NotLeaderError struct {
	Leader Member
	Known  bool // false: there is no leader, or it is not known yet
}

// Error implements error.
func (e *NotLeaderError) Error() string {
	if !e.Known {
		return "not the leader, and no leader is known"
	}
	return fmt.Sprintf("not the leader; that is %q at %s", e.Leader.ID, e.Leader.APIAddress)
}

package policy

import (
	"net/netip"
	"time"
)

// Change is one replicated step: one of *PutDocument, *DeleteDocument, *PutMitigation, *EndMitigation, *PutAttack,
// *PutResult, *PutOrder, *PutLease, *PutFreeze, *EndFreeze, *PutQuarantine, *EndQuarantine
// and *BeginAudit. Changes record results, never inputs, so that an old log replays the same under newer code.
type Change interface{ isChange() }

// PutDocument adds or replaces a document.
type PutDocument struct{ Document Document }

// DeleteDocument removes a document.
type DeleteDocument struct{ Ref DocumentRef }

// PutMitigation adds or replaces a mitigation record, whole.
type PutMitigation struct{ Mitigation *Mitigation }

// EndMitigation ends a mitigation that is not over. It says nothing that the State knows already, so that ten thousand of them
// fit into one entry: State.Apply makes the record of the end from that of the active mitigation. EndedAt becomes the
// entry's time.
type EndMitigation struct {
	ID    MitigationID
	Cause EndCause
	By    Principal // empty: the entry's
	Note  string    // empty: the entry's Reason
}

// Attack is what is remembered of a detector's attack, for idempotency and for its end.
type Attack struct {
	Source     string
	AttackID   string
	Seq        uint64       // of the last signal that changed something, or that was known when it was last renewed
	Digest     [32]byte     // of that signal's body (SHA-256)
	Mitigation MitigationID // what it caused; zero after the end
	Ended      bool
	At         time.Time // entry time of the last change
	// Targets, Vector and Confidence are what the last of its signals said that was noted; empty in old logs, which confirm
	// nothing.
	Targets    []netip.Prefix // as the fewest CIDRs
	Vector     Vector
	Confidence float64
	// Unanswered: nothing was done about it, for lack of detectors or confidence. It is forgotten after AttackWindow.
	Unanswered bool
}

// PutAttack adds or replaces what is remembered of an attack.
type PutAttack struct{ Attack Attack }

// Result is the remembered answer to a write, kept for 24 hours of entry time, bounded in number.
type Result struct {
	RequestID RequestID
	By        Principal
	Digest    [32]byte // of the request: the same id with another request is refused
	Index     Index    // of the entry that did it
	At        time.Time
	Verdict   Verdict
	// Mitigations are those that the write started, changed or ended.
	Mitigations []MitigationID
}

// PutResult remembers the answer to a write. State.Apply sets Index and At.
type PutResult struct{ Result Result }

// PutLease records that a leader with a quorum was alive at the entry's time.
type PutLease struct{}

func (*PutDocument) isChange()    {}
func (*DeleteDocument) isChange() {}
func (*PutMitigation) isChange()  {}
func (*EndMitigation) isChange()  {}
func (*PutAttack) isChange()      {}
func (*PutResult) isChange()      {}
func (*PutLease) isChange()       {}

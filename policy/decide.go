package policy

import (
	"net/netip"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// Request is what Decide judges: one of *SignalRequest, *StartRequest, *ExtendRequest, *WithdrawRequest,
// *WithdrawAllRequest, *ApplyRequest, *ExpireRequest, *RenewRequest, *EscalateRequest, *LeaseRequest, *ApproveRequest, *RejectRequest,
// *FreezeRequest, *UnfreezeRequest, *QuarantineRequest and *ReleaseRequest.
type Request interface{ isRequest() }

// SignalRequest asks for a verdict on a detector's signal.
type SignalRequest struct{ Signal Signal }

// StartRequest is an operator's order: act on packets to Targets that Match takes.
type StartRequest struct {
	Targets  []netip.Prefix // mandatory
	Match    flowspec.Match // no destination; no components at all means every packet to the targets
	Action   Action
	Lifetime time.Duration // 0: the safeguards' default
	Groups   []string
	// BreakGlass does not wait for a second person, should one be needed. It passes no protection, budget or guard.
	BreakGlass bool
}

// ExtendRequest sets the remaining lifetime of an active mitigation, counted from now.
type ExtendRequest struct {
	ID       MitigationID
	Lifetime time.Duration
}

// WithdrawRequest ends one mitigation.
type WithdrawRequest struct{ ID MitigationID }

// WithdrawAllRequest ends every active mitigation, or those of one customer.
type WithdrawAllRequest struct {
	Customer CustomerID
	// Freeze freezes the cluster in the same entry, for FreezeFor or until it is unfrozen, so that nothing starts again by
	// itself. It goes with every mitigation only, not with those of one customer.
	Freeze    bool
	FreezeFor time.Duration
	// BreakGlass does not wait for a second person, should one be needed.
	BreakGlass bool
}

// ApplyRequest changes documents, all or none, and re-cuts active mitigations in the same entry.
type ApplyRequest struct {
	Documents []Document
	// Prune removes documents that are not in Documents: they are then the whole inventory.
	Prune bool
	// AllowRemovals is the number of links and blocks that the caller states it means to remove; it must be exact
	// when the brake asks for it.
	AllowRemovals int
	// BreakGlass does not wait for a second person, should one be needed.
	BreakGlass bool
}

// ExpireRequest ends every mitigation whose lifetime is over. Asked by the leader itself.
type ExpireRequest struct{}

// RenewRequest lengthens mitigations whose attack is still reported, back to their full lifetime. Asked by the leader
// itself from what it has seen in this term, at most once a second, for those under half their lifetime.
type RenewRequest struct {
	IDs []MitigationID
	// Attacks are the last signals of their attacks: Source, AttackID, Seq and Digest. What is newer than in the State is
	// remembered, so that sequence numbers survive the leader.
	Attacks []Attack
}

// LeaseRequest records that a leader with a quorum is alive.
type LeaseRequest struct{}

func (*SignalRequest) isRequest()      {}
func (*StartRequest) isRequest()       {}
func (*ExtendRequest) isRequest()      {}
func (*WithdrawRequest) isRequest()    {}
func (*WithdrawAllRequest) isRequest() {}
func (*ApplyRequest) isRequest()       {}
func (*ExpireRequest) isRequest()      {}
func (*RenewRequest) isRequest()       {}
func (*LeaseRequest) isRequest()       {}

// Decision is the judgement of a request, before anything is logged. Verdict.Kind Refused means that Changes is empty.
type Decision struct {
	Verdict Verdict
	// Violations says what is malformed, field by field; then Verdict is Refused with code CodeMalformed.
	Violations []Violation
	// Mitigations are the records as they will be after the changes: started, changed or ended by this decision.
	Mitigations []*Mitigation
	// Plan tells what an ApplyRequest does to documents and mitigations.
	Plan *Plan
	// Changes is what State.Apply must be given for the decision to hold.
	Changes []Change
}

// Plan is the effect of an ApplyRequest.
type Plan struct {
	Added, Changed, Removed, Unchanged []DocumentRef
	LinksBefore, LinksAfter            int
	LinksRemoved                       []netip.Prefix
	ProtectedRemoved                   []netip.Prefix // the space of blocks that goes, as the fewest CIDRs
	// RemovalsToAllow is the number AllowRemovals must state: links, and prefixes of blocks that are not wholly kept. It
	// is 0 when the brake does not ask.
	RemovalsToAllow int
	Narrowed        []MitigationID // re-cut because protection was added
	Ended           []MitigationID // nothing left to act on
	Unenforced      []MitigationID // active, and left without any router by this change
}

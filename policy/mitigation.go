package policy

import (
	"net/netip"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// MitigationID numbers mitigations from 1 in the order of the log. Its text form is "M1".
type MitigationID uint64

// Origin says who a mitigation belongs to; the numeric order is the order of precedence.
type Origin uint8

// The origins of a mitigation.
const (
	FromPolicy   Origin = 1
	FromOperator Origin = 2
)

// Phase is where a mitigation stands in its life.
type Phase uint8

// The phases of a mitigation.
const (
	Active  Phase = 1
	Over    Phase = 2
	Pending Phase = 3 // it awaits approval: never announced, and counted as active by nobody
	Ending  Phase = 4 // its attack is over; it is still announced for the quiet time
)

// EndCause says why a mitigation is over.
type EndCause string

// The ends of a mitigation.
const (
	EndExpired     EndCause = "expired"
	EndWithdrawn   EndCause = "withdrawn"
	EndAttackOver  EndCause = "attack-over"
	EndSuperseded  EndCause = "superseded"
	EndNothingLeft EndCause = "nothing-left" // protection, or a change of official space, left nothing to act on
	EndNotApproved EndCause = "not-approved" // nobody approved it in time
	EndRejected    EndCause = "rejected"     // a second person said no
)

// ExemptionKind says why a part of the target is not acted on.
type ExemptionKind string

// The kinds of exemption.
const (
	ExemptLink    ExemptionKind = "link"
	ExemptBlock   ExemptionKind = "protected-block"
	ExemptNested  ExemptionKind = "nested-customer"
	ExemptBuiltIn ExemptionKind = "built-in" // multicast, link-local, loopback, unspecified
)

// Exemption is one part of the target that no rule acts on, and why.
type Exemption struct {
	Prefix netip.Prefix
	Kind   ExemptionKind
	Name   string // of the block or of the customer
}

// Cut is how a target was turned into destinations: (target ∩ official) − nested customers − protected.
type Cut struct {
	Pieces  []netip.Prefix // what is acted on, sorted, the fewest CIDRs
	Exempt  []Exemption    // what was taken out, sorted by prefix
	Rounded bool           // holes were rounded outward to their link block to stay within MaxPieces
	// Unprotected is official, unprotected space of the target that is not acted on: holes were rounded, protection was
	// removed later, or an operator withdrew it.
	Unprotected []netip.Prefix
}

// Cause is one attack that keeps a mitigation alive.
type Cause struct {
	Source   string
	AttackID string
	Since    time.Time
}

// MaxCauses bounds the causes kept per mitigation (design section 4).
const MaxCauses = 16

// Mitigation is an accepted decision: what is announced, why, by whom, until when.
type Mitigation struct {
	ID       MitigationID
	Customer CustomerID
	Origin   Origin
	Policy   string // name of the policy; empty from an operator
	Vector   Vector // empty from an operator
	// Source is the detector whose signal started it, or customer/ID for what a customer started by itself; empty from an
	// operator, and of what began before this was noted.
	Source  string
	Targets []netip.Prefix
	// Variants are the matches without a destination: each is combined with each piece of the cut into a rule.
	Variants []flowspec.Match
	Action   Action
	Cut      Cut
	Rules    []flowspec.Rule
	Notes    []string // what the decision wants an engineer to know, e.g. that a rule leaks fragments
	Groups   []string // router groups; empty: all
	Lifetime time.Duration
	Created  time.Time
	Expires  time.Time
	By       Principal
	Reason   Reason // why it was started; for an operator the text is the reason given
	// NearMisses are policies that lacked one thing to take the first signal, or would have taken it later.
	NearMisses []NearMiss
	Causes     []Cause
	// MoreCauses is the number of causes beyond MaxCauses: they are counted here and remembered as attacks, not listed.
	MoreCauses int
	// Ladder are the steps of the policy as they were when the mitigation began: a policy that is changed later changes
	// nothing about them. Empty: there is one step only.
	Ladder    []Step
	Step      int       // the place in Ladder of what is done now
	StepSince time.Time // when the step was taken
	// Matches are the Variants of the steps before a blackhole, which has one of its own; empty at all other steps.
	Matches []flowspec.Match
	Blocked Reason  // why the next step was refused when it was due; zero if it was not
	History []Event // what happened since the start, the oldest first
	// Quiet and Relax are those of the policy when the mitigation began. Pulses counts how often an attack came back
	// within the quiet time, EndsAt is when that is over (Ending only), never after Expires.
	Quiet  time.Duration
	Relax  Relax
	Pulses int
	EndsAt time.Time
	// Services are the allowed services that the rules leave alone: those of the customer when it began, and those that were
	// added since. One that is removed from the customer stays.
	Services []Service
	// Reported is what was reported, as the fewest CIDRs, where Targets stand for more than that; else empty.
	Reported []netip.Prefix
	// Confidence is that of all detectors together when it began, or when one joined that made it greater.
	Confidence float64
	// Awaits is what of it awaits a second person: the start of a Pending one, whose Expires is when that lapses, or something
	// about one that is announced. ApprovedBy and ApprovedAt are of the last approval.
	Awaits     Ask
	ApprovedBy Principal
	ApprovedAt time.Time
	// BreakGlassUntil is until when it lives at most although nobody approved what needed approval; zero: it is not so.
	BreakGlassUntil time.Time
	// Capped is why no more than it does is asked for its attacks: a second person rejected that.
	Capped  Reason
	Phase   Phase
	End     EndCause // Over only
	EndedAt time.Time
	EndedBy Principal
	EndNote string
	// Changed is the index of the last entry that changed the mitigation; State.Apply sets it.
	Changed Index
}

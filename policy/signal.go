package policy

import (
	"net/netip"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// Vector is the kind of an attack; the known ones are listed by Vectors.
type Vector string

// SignalKind says where in the attack a signal stands.
type SignalKind uint8

// The kinds of signal.
const (
	SignalStart  SignalKind = 1
	SignalUpdate SignalKind = 2
	SignalEnd    SignalKind = 3
)

// Signal is what a detector reports. (Source, AttackID, Seq) identifies it: the same Seq with another body is
// refused, a higher Seq updates, a lower one is stale.
type Signal struct {
	Source           string // detector's name, from its certificate
	AttackID         string // the detector's own name of the attack
	Seq              uint64
	Kind             SignalKind
	Targets          []netip.Prefix
	Vector           Vector
	Protocols        []uint8
	SourcePorts      []flowspec.Range // 0–65535
	DestinationPorts []flowspec.Range
	PacketLengths    []flowspec.Range // octets, 0–65535
	SourcePrefixes   []netip.Prefix
	BitsPerSecond    float64
	PacketsPerSecond float64
	Confidence       float64 // 0–1; 0: not stated
	DetectedAt       time.Time
	Drill            bool // an exercise: judged, never announced
}

// VerdictKind is the outcome of a signal or of a request for a mitigation.
type VerdictKind uint8

// The verdicts (design section 5).
const (
	Mitigated VerdictKind = 1 // a mitigation was started or changed
	Merged    VerdictKind = 2 // an existing mitigation covers it; the signal is one more cause, or a repetition
	Observed  VerdictKind = 3 // noted, nothing to do: no policy takes it, a drill, an end of an unknown attack
	Ended     VerdictKind = 4 // the attack's end was noted
	Refused   VerdictKind = 5
	Retry     VerdictKind = 6 // overload, or no leader: the same signal may be sent again after RetryAfter
	// AwaitsApproval: it is judged, and nothing of it is done before a second person approves it.
	AwaitsApproval VerdictKind = 7
)

// Verdict is the answer to one signal.
type Verdict struct {
	Kind       VerdictKind
	Reason     Reason
	Mitigation MitigationID  // zero: none
	RetryAfter time.Duration // Retry only
	Approval   ApprovalID    // of an order that awaits a second person; zero: none
}

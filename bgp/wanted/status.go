package wanted

import (
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// Status is what a speaker knows of itself: what it wants, what it has sent and to whom. "Sent" means written towards
// the router; whether the router accepted or installed a rule is not known here. It is a snapshot: the slices belong
// to the caller. Times are wall times, counted back from the elapsed clock when the Status is taken, so that a wall
// clock that was set meanwhile moves them; a zero time means never.
type Status struct {
	Revision uint64 // of the newest Set accepted; 0 before the first
	// Settled is the newest revision that every established session has been sent completely, withdrawals too, and
	// that is loaded for the sessions that are not up.
	Settled uint64
	// At is when the Status was taken, and LeaseUntil when the present Set ends without a new one: what lies between
	// is what is left of the lease, and 0 or less of it means that everything is being withdrawn. Both are 0 before
	// the first Set.
	At, LeaseUntil Instant
	Sessions       []SessionStatus // one for each router of the newest Set, by name
	// Out is the order to withdraw everything and to stay out, while it is in force; else nil. It is not changed.
	Out *Out
	// Lost says why nothing else is known here: the speaker is another process and does not answer. Empty if it does.
	Lost string
}

// Out is an operator's order to withdraw everything and to stay out. It outlasts Sets, and restarts.
type Out struct {
	Since  time.Time // when it was given, by the wall clock; zero if that cannot be told
	By     string    // who gave it; empty if that cannot be told
	Reason string
	// Trouble is what should be mended about the order itself, a sentence: it is not kept over a restart, or what was
	// kept of it cannot be read. Empty for nothing.
	Trouble string
}

// SessionState is where the session with a router stands, in plain words.
type SessionState string

// The states of a session.
const (
	SessionIdle        SessionState = "idle"        // not dialled: the first Set is not loaded yet
	SessionConnecting  SessionState = "connecting"  // TCP or OPEN is under way, or is retried
	SessionEstablished SessionState = "established" // RFC 4271 section 8.2.2
	SessionStuck       SessionState = "stuck"       // established, but the router does not read
	SessionInvalid     SessionState = "invalid"     // the router's configuration cannot be used; see LastError
)

// Up reports whether the session is established, stuck or not.
func (s SessionState) Up() bool { return s == SessionEstablished || s == SessionStuck }

// SessionStatus is one session with one router.
type SessionStatus struct {
	Router Router // without its Password
	State  SessionState
	Since  time.Time // when State began
	// Families are those that both sides want, of the kind that Router carries; empty unless the session is up.
	Families []flowspec.Family
	Settled  uint64 // as in Status, of this session

	Wanted      int // routes of the Set that this router should hear, those that are refused or expired too
	Sent        int // announced in this session and not withdrawn, those that are superseded too
	Queued      int // waiting for pacing, for the session, or to be written
	Withdrawing int // superseded, or on their way out
	OverBudget  int // not announced for want of room
	Refused     int // kept off the wire
	Expired     int // not announced because their NotAfter or the lease has passed
	Out         int // not announced because the speaker stays out

	// Announced, Withdrawn and Resets count routes handed to the session, and sessions reset because the router had
	// stopped reading, since the router was first in a Set.
	Announced, Withdrawn, Resets uint64

	// LastError is why the session is not up or went down last, a sentence for a network engineer; empty if it never
	// did. LastErrorAt is when that was found.
	LastError   string
	LastErrorAt time.Time

	Routes []RouteStatus // by key: those that the router should hear, and those that it still does
}

// RouteState is how far a route is known to have come on one session. What the router made of it is not known here.
type RouteState string

// The states of a route on a session.
const (
	RouteQueued      RouteState = "queued"      // wanted, and handed over next
	RoutePaced       RouteState = "paced"       // waits for the router's rules per second
	RouteSending     RouteState = "sending"     // handed over, not written yet
	RouteSent        RouteState = "sent"        // written to the session
	RouteSuperseded  RouteState = "superseded"  // no longer wanted, announced until what replaces it is sent
	RouteWithdrawing RouteState = "withdrawing" // still announced: the withdrawal is handed over, not written yet
	RouteRefused     RouteState = "refused"     // kept off the wire; see Refusal and Detail
	RouteOverBudget  RouteState = "over-budget" // the router has no room for it
	RouteExpired     RouteState = "expired"     // its NotAfter or the lease has passed
	RouteOut         RouteState = "out"         // the speaker stays out, see Status.Out
	RouteNoSession   RouteState = "no-session"  // the session is not established; goes out when it is
	RouteNoFamily    RouteState = "no-family"   // the session does not carry the route's family
)

// RouteStatus is one route on one session.
type RouteStatus struct {
	Key   flowspec.Key
	State RouteState
	// Since is when the route was last written as an announcement to the present session; zero if it was not.
	Since time.Time
	// Refusal and Detail say why the route is refused, in a word and in a sentence; empty if it is not. A route that
	// is refused but still announced is in state superseded or withdrawing and has them too.
	Refusal RefusalCode
	Detail  string
}

// RefusalCode is a stable word for why a route is kept off the wire.
type RefusalCode string

// The reasons for which a route is kept off the wire.
const (
	RefusedKind          RefusalCode = "kind"                // not a kind of route that the speaker can announce
	RefusedEncoding      RefusalCode = "encoding"            // the rule has no bytes on the wire
	RefusedKey           RefusalCode = "key"                 // the Key is not that of the bytes
	RefusedRoundTrip     RefusalCode = "round-trip"          // the bytes decode to another rule
	RefusedUnsafe        RefusalCode = "unsafe"              // outside of the encodings that routers survive
	RefusedNoAction      RefusalCode = "no-action"           // tidegate announces no accept rules
	RefusedNoDestination RefusalCode = "no-destination"      // acts on packets to anywhere
	RefusedOffset        RefusalCode = "offset"              // the destination skips leading bits
	RefusedBuiltIn       RefusalCode = "built-in"            // multicast, link-local, loopback, unspecified
	RefusedProtected     RefusalCode = "protected"           // overlaps protected space
	RefusedNotOfficial   RefusalCode = "not-official"        // not inside an official prefix
	RefusedInternal      RefusalCode = "internal"            // the check itself failed
	RefusedTooShort      RefusalCode = "too-short"           // the prefix of an RTBH route is shorter than Set.ShortestRTBH
	RefusedNoNextHop     RefusalCode = "no-discard-next-hop" // the router has none for RTBH routes of the family
	RefusedQuarantined   RefusalCode = "quarantined"         // the router ended the session after this rule
	RefusedSuspected     RefusalCode = "suspected"           // it did so after this rule or another; they are tried part by part
	RefusedInterfering   RefusalCode = "interfering"         // the actions contradict each other (RFC 8955 section 7.7)
)

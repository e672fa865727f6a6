package bgp

import (
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// Status says what a Speaker wants, what it has sent and to whom. "Sent" means written towards the router; whether
// the router accepted or installed a rule is not known here.
type Status struct {
	// Revision is that of the newest Set accepted; 0 before the first.
	Revision uint64
	// Reached is the newest revision that every established session has been sent completely, withdrawals too, and
	// that is loaded for the sessions that are not up.
	Reached uint64
	// Lease is how long the present Set stays in force without a new one; 0 or less means that it has ended.
	Lease time.Duration
	// At is when this Status was taken.
	At     wanted.Instant
	Peers  []PeerStatus  // in order of name
	Routes []RouteStatus // every route of the Set, in order of key, then those still being withdrawn
}

// PeerState is the state of a session in few words.
type PeerState string

// The states of a session.
const (
	PeerWaiting     PeerState = "waiting"     // its first routes are not loaded yet, so that it is not dialled
	PeerConnecting  PeerState = "connecting"  // dialling, or between two attempts
	PeerEstablished PeerState = "established" // RFC 4271 section 8.2.2
	PeerStuck       PeerState = "stuck"       // established, but the router has stopped reading
	PeerInvalid     PeerState = "invalid"     // GoBGP refuses the router's configuration; see LastError
)

// PeerStatus is one router as this speaker sees it.
type PeerStatus struct {
	Router string
	State  PeerState
	Since  wanted.Instant // when State began
	// Families are those that both sides want; empty unless established.
	Families []flowspec.Family
	// Sent is the number of routes announced in this session and not withdrawn; Queued waits for pacing, for the
	// session or for GoBGP; Withdrawing is on its way out; OverBudget is not announced for want of room.
	Sent, Queued, Withdrawing, OverBudget int
	// Refused is the number of routes meant for this router that were refused before the wire.
	Refused int
	// Announced, Withdrawn and Resets count since the router was configured.
	Announced, Withdrawn, Resets uint64
	// LastError is a sentence for a network engineer about why the session is or was not up; empty if it never failed.
	LastError   string
	LastErrorAt wanted.Instant
}

// RouteState is where a route is on its way to one router.
type RouteState string

// The states of a route at a router.
const (
	RouteQueued      RouteState = "queued"      // will be handed to the session next
	RoutePaced       RouteState = "paced"       // waits for the router's rules per second
	RouteLoaded      RouteState = "loaded"      // goes out when the session comes up
	RouteSending     RouteState = "sending"     // handed over, not written yet
	RouteSent        RouteState = "sent"        // written towards the router
	RouteOverBudget  RouteState = "over budget" // the router has no room for it
	RouteSuperseded  RouteState = "superseded"  // still announced until what replaces it is sent
	RouteWithdrawing RouteState = "withdrawing" // the withdrawal is handed over, not written yet
)

// RouteStatus is one route.
type RouteStatus struct {
	Key     flowspec.Key
	MED     uint32
	Refusal *Refusal // nil unless the route is kept off the wire
	// Expired is set when the route's NotAfter or the lease has passed.
	Expired bool
	Routers []RouteAtRouter // the routers that should hear it or still do, in order of name
}

// RouteAtRouter is a route at one router.
type RouteAtRouter struct {
	Router string
	State  RouteState
	SentAt wanted.Instant // when it was last written towards the router; 0 if not in this session
}

// RefusalCode is a stable word for why a route is kept off the wire.
type RefusalCode string

// The reasons for which a route is kept off the wire.
const (
	RefusedKind          RefusalCode = "kind"           // not a kind of route that this speaker can announce
	RefusedEncoding      RefusalCode = "encoding"       // the rule has no bytes on the wire
	RefusedKey           RefusalCode = "key"            // the Key is not that of the bytes
	RefusedRoundTrip     RefusalCode = "round-trip"     // the bytes decode to another rule
	RefusedUnsafe        RefusalCode = "unsafe"         // outside of the encodings that routers survive
	RefusedNoAction      RefusalCode = "no-action"      // tidegate announces no accept rules
	RefusedNoDestination RefusalCode = "no-destination" // acts on packets to anywhere
	RefusedOffset        RefusalCode = "offset"         // the destination skips leading bits
	RefusedBuiltIn       RefusalCode = "built-in"       // multicast, link-local, loopback, unspecified
	RefusedProtected     RefusalCode = "protected"      // overlaps protected space
	RefusedNotOfficial   RefusalCode = "not-official"   // not inside an official prefix
	RefusedInternal      RefusalCode = "internal"       // the check itself failed
)

// Refusal says why a route is kept off the wire.
type Refusal struct {
	Code     RefusalCode
	Sentence string
}

package wanted

import (
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// SessionState is where the session with a router stands, in plain words.
type SessionState string

// The states of a session.
const (
	SessionIdle        SessionState = "idle"        // not started: the first Set is not loaded yet
	SessionConnecting  SessionState = "connecting"  // TCP or OPEN is under way, or is retried
	SessionEstablished SessionState = "established" // RFC 4271 section 8.2.2
	SessionStuck       SessionState = "stuck"       // established, but the router does not read
)

// RouteState is how far a route is known to have come on one session. What the router made of it is not known here.
type RouteState string

// The states of a route on a session.
const (
	RouteQueued     RouteState = "queued"      // wanted, not written yet
	RouteSent       RouteState = "sent"        // written to the session
	RouteRefused    RouteState = "refused"     // the guard or the safe subset refused it
	RouteOverBudget RouteState = "over-budget" // the router's budget is used up
	RouteNoSession  RouteState = "no-session"  // the session is not established
)

// Status is what a speaker knows of itself. It is a snapshot: the slices belong to the caller.
type Status struct {
	Revision   uint64 // of the last Set accepted
	Settled    uint64 // of the last Set that every established session has heard in full
	LeaseUntil Instant
	Sessions   []SessionStatus // by router name
}

// SessionStatus is one session with one router.
type SessionStatus struct {
	Router    Router
	State     SessionState
	Since     time.Time
	LastError string // why the session went down last, translated into a plain sentence; empty when it never did
	Wanted    int    // routes that this router should hear
	Sent      int
	Routes    []RouteStatus // by key; the routes that this router should hear
}

// RouteStatus is one route on one session.
type RouteStatus struct {
	Key    flowspec.Key
	State  RouteState
	Since  time.Time
	Detail string // why it was refused; empty otherwise
}

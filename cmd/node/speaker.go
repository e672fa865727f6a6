package node

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tidegate/tidegate/bgp"
	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// speaker is package bgp's speaker as the controller asks for it: its status in the border's words, in wall time. It
// remembers the last Set, since bgp's status names routers and does not describe them.
type speaker struct {
	*bgp.Speaker
	now func() time.Time

	// mu guards last.
	mu   sync.Mutex
	last wanted.Set
}

var _ interface {
	Set(context.Context, wanted.Set) error
	Status() wanted.Status
} = (*speaker)(nil)

// Set implements controller.Speaker.
func (s *speaker) Set(ctx context.Context, w wanted.Set) error {
	if err := s.Speaker.Set(ctx, w); err != nil {
		return err
	}
	s.mu.Lock()
	s.last = w
	s.mu.Unlock()
	return nil
}

// Status implements controller.Speaker.
func (s *speaker) Status() wanted.Status {
	st := s.Speaker.Status()
	s.mu.Lock()
	last := s.last
	s.mu.Unlock()
	now := s.now()
	wall := func(at wanted.Instant) time.Time {
		if at == 0 {
			return time.Time{}
		}
		return now.Add(-time.Duration(st.At - at))
	}
	out := wanted.Status{Revision: st.Revision, Settled: st.Reached, LeaseUntil: st.At + wanted.Instant(st.Lease)}
	for i := range last.Routers {
		r := &last.Routers[i]
		session := wanted.SessionStatus{Router: *r, State: wanted.SessionIdle}
		established := false
		for _, p := range st.Peers {
			if p.Router == r.Name {
				session.State, established = sessionState(p.State)
				session.Since, session.LastError, session.Sent = wall(p.Since), p.LastError, p.Sent
			}
		}
		session.Routes = routesAt(r, last.Routes, st.Routes, established, wall)
		session.Wanted = len(session.Routes)
		out.Sessions = append(out.Sessions, session)
	}
	slices.SortFunc(out.Sessions, func(a, b wanted.SessionStatus) int {
		if a.Router.Name < b.Router.Name {
			return -1
		}
		return 1
	})
	return out
}

func sessionState(p bgp.PeerState) (state wanted.SessionState, established bool) {
	switch p {
	case bgp.PeerEstablished:
		return wanted.SessionEstablished, true
	case bgp.PeerStuck:
		return wanted.SessionStuck, true
	case bgp.PeerConnecting:
		return wanted.SessionConnecting, false
	case bgp.PeerWaiting, bgp.PeerInvalid:
		return wanted.SessionIdle, false
	default:
		return wanted.SessionIdle, false
	}
}

// routesAt are the routes that the router should hear, by key. Those that are only still being withdrawn are not
// among them.
func routesAt(r *wanted.Router, want []wanted.Route, known []bgp.RouteStatus, established bool, wall func(wanted.Instant) time.Time) []wanted.RouteStatus {
	heard := make(map[flowspec.Key]bool, len(want))
	for i := range want {
		f := want[i].Rule.Match.Family
		if slices.Contains(want[i].Groups, r.Group) && (f == flowspec.IPv4 && r.IPv4 || f == flowspec.IPv6 && r.IPv6) {
			heard[want[i].Key] = true
		}
	}
	var out []wanted.RouteStatus
	for _, k := range known {
		if !heard[k.Key] {
			continue
		}
		delete(heard, k.Key)
		rs := wanted.RouteStatus{Key: k.Key, State: wanted.RouteQueued}
		if !established {
			rs.State = wanted.RouteNoSession
		}
		if k.Refusal != nil {
			rs.State, rs.Detail = wanted.RouteRefused, k.Refusal.Sentence
			out = append(out, rs)
			continue
		}
		for _, at := range k.Routers {
			if at.Router != r.Name {
				continue
			}
			switch at.State {
			case bgp.RouteSent:
				rs.State, rs.Since = wanted.RouteSent, wall(at.SentAt)
			case bgp.RouteOverBudget:
				rs.State = wanted.RouteOverBudget
			case bgp.RouteQueued, bgp.RoutePaced, bgp.RouteLoaded, bgp.RouteSending, bgp.RouteSuperseded, bgp.RouteWithdrawing:
			}
		}
		out = append(out, rs)
	}
	return out
}

package bgp

import (
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// hearing is a speaker with one router, which is put together by hand so that every state of a route can be had.
func hearing(t *testing.T, w *wanted.Set, now wanted.Instant) (*Speaker, *neighbour) {
	t.Helper()
	wall := time.Unix(1000, 0)
	s, err := New(Config{ASN: 1, RouterID: netip.MustParseAddr("192.0.2.1")},
		Deps{Elapsed: func() wanted.Instant { return now }, Now: func() time.Time { return wall }})
	if err != nil {
		t.Fatal(err)
	}
	b := &board{speaker: s}
	b.take(w)
	n := newNeighbour(w.Routers[0].Name, s.cfg, s.deps, slog.New(slog.DiscardHandler), nil)
	n.assigned = &assignment{plan: b.plan(now), router: w.Routers[0]}
	s.newest, s.current = w, n.assigned.plan
	s.neighbours[n.name] = &member{neighbour: n}
	return s, n
}

// hostRoute is a route that discards traffic to 10.0.0.last.
func hostRoute(last byte, groups ...string) *wanted.Route {
	m := destinationOnly(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, last}), 32))
	return &wanted.Route{
		Kind: wanted.FlowSpec, Key: m.Key(), NotAfter: 1 << 62, Groups: groups,
		Rule: flowspec.Rule{Match: m, Actions: []flowspec.Action{flowspec.Discard()}},
	}
}

func TestStatusShowsEveryState(t *testing.T) {
	const second = wanted.Instant(time.Second)
	w := &wanted.Set{
		Revision: 5, LeaseUntil: 100 * second, Official: prefixes("10.0.0.0/8"), Protected: prefixes("10.0.0.7/32"),
		Routers: []wanted.Router{{
			Name: "r1", Address: netip.MustParseAddr("192.0.2.9"), ASN: 65010, Group: "edge", Carries: wanted.FlowSpec, IPv4: true, IPv6: true, Password: "s3cret",
		}},
	}
	for last := byte(1); last <= 9; last++ {
		w.Routes = append(w.Routes, hostRoute(last, "edge"))
	}
	w.Routes[7].NotAfter = 50 * second // 10.0.0.8 has expired
	w.Routes[0], w.Routes[8] = w.Routes[8], w.Routes[0]
	six := destinationOnly(netip.MustParsePrefix("2001:db8::1/128"))
	w.Routes = append(w.Routes, &wanted.Route{
		Kind: wanted.FlowSpec, Key: six.Key(), NotAfter: 1 << 62, Groups: []string{"edge"},
		Rule: flowspec.Rule{Match: six, Actions: []flowspec.Action{flowspec.Discard()}},
	}, hostRoute(200, "other"))
	w.Official = append(w.Official, netip.MustParsePrefix("2001:db8::/32"))
	s, n := hearing(t, w, 60*second)

	of := func(last byte) *judged { return judge(n.assigned.plan.guard, hostRoute(last, "edge")) }
	announced := func(last byte, d duty, at wanted.Instant) *announcement {
		a := newAnnouncement(of(last), &n.ledger)
		a.duty.Store(d)
		a.sentAt.Store(int64(at))
		return a
	}
	load := func(last byte, d duty, at wanted.Instant) *entry {
		e := &entry{a: announced(last, d, at), j: of(last)}
		n.table[e.j.route.Key] = e
		return e
	}
	n.session.state, n.session.since = wanted.SessionEstablished, 20*second
	n.session.established, n.families = true, []flowspec.Family{flowspec.IPv4}
	n.session.lastError, n.session.lastErrorAt = "the connection broke", 10*second
	n.counts = counts{announced: 9, withdrawn: 8, resets: 7}
	n.reached = 4
	load(1, dutyAnnounced, 30*second)
	load(2, dutyAnnounce, 0)
	n.todo = []*judged{of(3), of(4)}
	load(4, dutyAnnounced, 31*second) // with an earlier action
	n.overBudget = []*judged{of(5)}
	load(6, dutyAnnounced, 32*second)
	// 7 is refused, but its withdrawal has not left yet; 8 has expired and is gone; 9 has not been taken up.
	n.leaving[of(7).route.Key] = announced(7, dutyWithdraw, 33*second)
	n.leaving[of(8).route.Key] = announced(8, dutyWithdrawn, 34*second)
	// No longer wanted: one waits for what replaces it, one is on its way out, one has left and one was not noticed yet.
	n.obsolete = []*entry{load(20, dutyAnnounced, 35*second)}
	n.leaving[of(21).route.Key] = announced(21, dutyWithdraw, 36*second)
	n.leaving[of(22).route.Key] = announced(22, dutyWithdrawn, 37*second)
	load(23, dutyAnnounced, 38*second)

	at := func(elapsed int64) time.Time { return time.Unix(940+elapsed, 0) } // the elapsed clock is at 60 s
	row := func(last byte, state wanted.RouteState, since int64) wanted.RouteStatus {
		r := wanted.RouteStatus{Key: hostRoute(last).Key, State: state}
		if since > 0 {
			r.Since = at(since)
		}
		return r
	}
	refused := row(7, wanted.RouteWithdrawing, 33)
	refused.Refusal, refused.Detail = wanted.RefusedProtected, "destination 10.0.0.7/32 overlaps protected space"
	router := w.Routers[0]
	router.Password = ""
	want := wanted.Status{
		Revision: 5, Settled: 4, At: 60 * second, LeaseUntil: 100 * second,
		Sessions: []wanted.SessionStatus{{
			Router: router, State: wanted.SessionEstablished, Since: at(20), Families: []flowspec.Family{flowspec.IPv4}, Settled: 4,
			Wanted: 10, Sent: 2, Queued: 5, Withdrawing: 4, OverBudget: 1, Expired: 1,
			Announced: 9, Withdrawn: 8, Resets: 7, LastError: "the connection broke", LastErrorAt: at(10),
			Routes: []wanted.RouteStatus{
				row(1, wanted.RouteSent, 30), row(2, wanted.RouteSending, 0), row(3, wanted.RouteQueued, 0), row(4, wanted.RouteQueued, 31),
				row(5, wanted.RouteOverBudget, 0), row(6, wanted.RouteSent, 32), refused, row(8, wanted.RouteExpired, 0),
				row(9, wanted.RouteQueued, 0), row(20, wanted.RouteSuperseded, 35), row(21, wanted.RouteWithdrawing, 36),
				row(23, wanted.RouteSuperseded, 38),
				{Key: six.Key(), State: wanted.RouteNoFamily},
			},
		}},
	}
	same := cmpopts.EquateComparable(netip.Addr{})
	if diff := cmp.Diff(want, s.Status(), same); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	if w.Routers[0].Password == "" {
		t.Error("the Set's own password was taken away")
	}

	// Paced, and refused without being out.
	n.pace.rate = 10
	clear(n.leaving)
	want.Sessions[0].Routes[2].State, want.Sessions[0].Routes[3].State = wanted.RoutePaced, wanted.RoutePaced
	want.Sessions[0].Routes[6].State, want.Sessions[0].Routes[6].Since = wanted.RouteRefused, time.Time{}
	want.Sessions[0].Routes = append(want.Sessions[0].Routes[:10:10], want.Sessions[0].Routes[11:]...)
	want.Sessions[0].Withdrawing, want.Sessions[0].Refused = 2, 1
	if diff := cmp.Diff(want, s.Status(), same); diff != "" {
		t.Errorf("status of a paced router (-want +got):\n%s", diff)
	}

	// Without a session nothing is announced, so that nothing is left of what is not wanted.
	n.session.established, n.session.state, n.families = false, wanted.SessionConnecting, nil
	got := s.Status().Sessions[0]
	for _, r := range got.Routes {
		expect := wanted.RouteNoSession
		switch r.Key {
		case hostRoute(5).Key:
			expect = wanted.RouteOverBudget
		case hostRoute(7).Key:
			expect = wanted.RouteRefused
		case hostRoute(8).Key:
			expect = wanted.RouteExpired
		}
		if r.State != expect {
			t.Errorf("route %s without a session is %s, want %s", r.Key, r.State, expect)
		}
	}
	if len(got.Routes) != 10 || got.Wanted != 10 || got.Queued != 7 || got.Sent+got.Withdrawing != 0 {
		t.Errorf("without a session: %+v", got)
	}
}

// Before Run has taken up the Set its routers show as idle, and before the first Set there is nothing to show.
func TestStatusBeforeRun(t *testing.T) {
	w := &wanted.Set{Revision: 5, Routers: []wanted.Router{{Name: "b", Password: "x"}, {Name: "a"}}}
	s, _ := hearing(t, w, 1)
	clear(s.neighbours)
	s.current = nil
	want := []wanted.SessionStatus{
		{Router: wanted.Router{Name: "a"}, State: wanted.SessionIdle}, {Router: wanted.Router{Name: "b"}, State: wanted.SessionIdle},
	}
	if diff := cmp.Diff(want, s.Status().Sessions, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("sessions (-want +got):\n%s", diff)
	}
	s.newest = nil
	if diff := cmp.Diff(wanted.Status{At: 1}, s.Status()); diff != "" {
		t.Errorf("status before the first Set (-want +got):\n%s", diff)
	}
}

// Of a key that several groups hear only the group's own route decides what is withdrawn at once and what has expired.
func TestGoneIsPerGroup(t *testing.T) {
	edge, core := hostRoute(1, "edge"), hostRoute(1, "core", "transit")
	edge.NotAfter = 10
	w := &wanted.Set{
		Revision: 1, LeaseUntil: 1 << 62, Official: prefixes("10.0.0.0/8"),
		Routes: []*wanted.Route{edge, core}, Routers: []wanted.Router{{Name: "r1"}},
	}
	_, n := hearing(t, w, 20)
	p := n.assigned.plan
	if len(p.routes) != 1 || p.routes[0].route.Groups[0] != "core" {
		t.Errorf("%d routes in the plan", len(p.routes))
	}
	for group, want := range map[string]bool{"edge": true, "core": false, "transit": false, "other": false} {
		if got := p.goneFor(edge.Key, group); got != want {
			t.Errorf("gone for %q: %t, want %t", group, got, want)
		}
	}
}

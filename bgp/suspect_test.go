package bgp_test

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate/bgp"
	"github.com/tidegate/tidegate/bgp/bgptest"
	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// suspicionPatience is for some rounds of 5 s on a busy machine.
const suspicionPatience = 5 * time.Minute

// TestRuleThatEndsTheSession: of many rules a router does not bear two. It has all others in the end, the two are kept off
// it and shown, and another router hears everything.
func TestRuleThatEndsTheSession(t *testing.T) {
	routes := hosts(12)
	bad := []flowspec.Key{routes[3].Key, routes[8].Key}
	var mended atomic.Bool
	choking := router(t, func(c *bgptest.Config) {
		c.Chokes = func(k flowspec.Key) bool { return slices.Contains(bad, k) && !mended.Load() }
	})
	sane := router(t)
	b := join(t, func(c *bgp.Config, _ *bgp.Deps) { c.ProvenAfter(time.Second) })
	w := base(1, neighbour("choking", choking), neighbour("sane", sane))
	w.Routes = routes
	b.set(w)
	wait(t, sane, "all rules", has(keysOf(routes...)...))
	good := keysOf(slices.DeleteFunc(slices.Clone(routes), func(r *wanted.Route) bool { return slices.Contains(bad, r.Key) })...)
	if err := choking.WaitRoutes(timeout(t, suspicionPatience), has(good...)); err != nil {
		t.Fatalf("all that it bears: %v; it has %d", err, choking.Table().Len())
	}
	waitStatus(t, b, "two in quarantine", func() bool { return b.session("choking").Refused == 2 })
	for _, r := range b.session("choking").Routes {
		quarantined := r.State == wanted.RouteRefused && r.Refusal == wanted.RefusedQuarantined && strings.Contains(r.Detail, "ended the session after this rule")
		if quarantined != slices.Contains(bad, r.Key) {
			t.Errorf("route %s: %+v", r.Key, r)
		}
	}
	if s := b.session("sane"); s.Refused != 0 || s.Sent != len(routes) {
		t.Errorf("the other router: %+v", s)
	}
	sessions := len(choking.Sessions())
	t.Logf("%d sessions to find 2 rules of %d", sessions, len(routes))
	// What is new goes out on the session that is there, and the quarantine ends with the wish for the rule.
	more := discard(t, "203.0.113.9/32")
	w.Revision, w.Routes = 2, append(slices.Clone(routes[:8]), more)
	b.set(w)
	good = append(slices.DeleteFunc(keysOf(routes[:8]...), func(k flowspec.Key) bool { return slices.Contains(bad, k) }), more.Key)
	wait(t, choking, "the new rule", has(good...))
	waitStatus(t, b, "one in quarantine", func() bool { return b.session("choking").Refused == 1 })
	if now := len(choking.Sessions()); now != sessions {
		t.Errorf("%d sessions more", now-sessions)
	}
	// Somebody has mended the router, and says so.
	mended.Store(true)
	if n := b.Pardon("sane"); n != 0 {
		t.Errorf("%d rules were kept off the other router", n)
	}
	if n := b.Pardon("choking"); n != 1 {
		t.Errorf("%d rules were kept off, want 1", n)
	}
	wait(t, choking, "everything", has(keysOf(w.Routes...)...))
}

// TestEndsThatBlameNoRule: a Cease, a broken line and the hold time say nothing of rules.
func TestEndsThatBlameNoRule(t *testing.T) {
	r := router(t)
	b := join(t)
	w := base(1, neighbour("r1", r))
	w.Routes = hosts(3)
	b.set(w)
	for i, end := range []func(bgptest.SessionID) error{
		func(id bgptest.SessionID) error { return r.Reset(id, bgptest.Notification{Code: 6, Subcode: 8}) },
		func(id bgptest.SessionID) error { return r.Reset(id, bgptest.Notification{Code: 4}) },
		r.Cut,
	} {
		wait(t, r, "all rules", has(keysOf(w.Routes...)...))
		waitStatus(t, b, "all sent", func() bool { return b.session("r1").Sent == 3 })
		if err := end(bgptest.SessionID(i + 1)); err != nil {
			t.Fatal(err)
		}
		wait(t, r, "the loss", has())
		waitStatus(t, b, "up again", func() bool { return b.session("r1").State == wanted.SessionEstablished })
		if got := b.session("r1").Refused; got != 0 {
			t.Errorf("end %d: %d rules are kept back", i, got)
		}
	}
}

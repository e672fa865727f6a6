package bgp_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidegate/tidegate/bgp"
	"github.com/tidegate/tidegate/bgp/bgptest"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// failing lets GoBGP fail once at work, at which it is when the Set becomes one of what. Its session must end, and
// another GoBGP must announce what is wanted and nothing else: the one that failed may hold anything.
func failing(t *testing.T, work string, rules func(a, c *wanted.Route) []*wanted.Route) {
	t.Helper()
	a, c := discard(t, "203.0.113.1/32"), discard(t, "203.0.113.2/32")
	var left atomic.Int32
	registry := prometheus.NewRegistry()
	r := router(t)
	b := join(t, func(cfg *bgp.Config, d *bgp.Deps) {
		d.Registerer = registry
		bgp.FailWhile(cfg, work, &left)
	})
	to := neighbour("r1", r)
	w := base(1, to)
	w.Routes = []*wanted.Route{a}
	b.set(w)
	wait(t, r, "a rule", has(a.Key))

	left.Store(1)
	w = base(2, to)
	w.Routes = rules(a, c)
	b.set(w)
	err := r.Wait(timeout(t, 15*time.Second), func(tab bgptest.Table, sessions []bgptest.Session) bool {
		return len(sessions) == 2 && has(keysOf(w.Routes...)...)(tab)
	})
	if err != nil {
		t.Fatalf("what is wanted, in a second session: %v", err)
	}
	if s := r.Sessions()[0]; s.Down.IsZero() {
		t.Error("the session of the failed engine is still up")
	}
	if got := b.session("r1").LastError; !strings.Contains(got, "GoBGP failed") {
		t.Errorf("last error %q", got)
	}
	if got := total(t, registry, "tidegate_bgp_engine_failures_total"); got != 1 {
		t.Errorf("%v failures counted, want 1", got)
	}
	// Nobody forgot what the new one holds.
	b.set(base(3, to))
	wait(t, r, "nothing", has())
}

func TestEngineThatFailsToAnnounceIsReplaced(t *testing.T) {
	failing(t, string(bgp.Announcing), func(a, c *wanted.Route) []*wanted.Route { return []*wanted.Route{a, c} })
}

func TestEngineThatFailsToWithdrawIsReplaced(t *testing.T) {
	failing(t, string(bgp.Withdrawing), func(_, c *wanted.Route) []*wanted.Route { return []*wanted.Route{c} })
}

// An engine that could not load its rules is given up before it ever dials.
func TestEngineFailsBeforeTheSession(t *testing.T) {
	var left atomic.Int32
	left.Store(2)
	r := router(t)
	b := join(t, func(cfg *bgp.Config, _ *bgp.Deps) { bgp.FailWhile(cfg, string(bgp.Announcing), &left) })
	w := base(1, neighbour("r1", r))
	w.Routes = hosts(10)
	b.set(w)
	wait(t, r, "ten rules", has(keysOf(w.Routes...)...))
	if n := len(r.Sessions()); n != 1 {
		t.Errorf("%d sessions, want 1", n)
	}
}

// An engine that could not let go of its router is never given to another one: that one's rules could reach the first.
func TestEngineThatKeepsItsRouterIsNotUsedAgain(t *testing.T) {
	var left atomic.Int32
	left.Store(1)
	old, other := router(t), router(t)
	// An engine that is given back is the next to be taken.
	b := join(t, func(cfg *bgp.Config, _ *bgp.Deps) { bgp.FailWhile(cfg, string(bgp.Disconnecting), &left) })
	a, c := discard(t, "203.0.113.1/32"), discard(t, "203.0.113.2/32")
	w := base(1, neighbour("old", old))
	w.Routes = []*wanted.Route{a}
	b.set(w)
	wait(t, old, "its rule", has(a.Key))

	b.set(base(2)) // without the router
	wait(t, old, "the end of its session", has())
	w = base(3, neighbour("other", other))
	w.Routes = []*wanted.Route{c}
	b.set(w)
	wait(t, other, "its rule", has(c.Key))
	if h := old.History(c.Key); len(h) > 0 || len(old.Sessions()) != 1 {
		t.Errorf("the router that left heard %v in %d sessions", h, len(old.Sessions()))
	}
}

// A router that must not be dialled is not, and says why; once it may be it is served like any other.
func TestUnusableRouterIsNotDialled(t *testing.T) {
	const why = `secret "edge" is not in this node's file; add it under secrets`
	registry := prometheus.NewRegistry()
	r, brisk := router(t), router(t)
	b := join(t, func(_ *bgp.Config, d *bgp.Deps) { d.Registerer = registry })
	to := neighbour("r1", r)
	unusable := to
	unusable.Unusable = why
	w := base(1, unusable, neighbour("brisk", brisk))
	w.Routes = []*wanted.Route{discard(t, "203.0.113.1/32")}
	b.set(w)
	wait(t, brisk, "the rule", has(w.Routes[0].Key))
	waitStatus(t, b, "the reason", func() bool {
		s := b.session("r1")
		return s.State == wanted.SessionInvalid && s.LastError == why
	})
	// A renewed Set neither dials nor complains again.
	w.Revision = 2
	b.set(w)
	waitReached(t, b, 2)
	if s := b.session("r1"); s.State != wanted.SessionInvalid || s.LastError != why {
		t.Errorf("session %+v", s)
	}
	if got := total(t, registry, "tidegate_bgp_unusable_total"); got != 1 {
		t.Errorf("counted %v times, want 1", got)
	}
	if n := len(r.Sessions()); n != 0 {
		t.Fatalf("%d sessions with a router that must not be dialled", n)
	}

	w.Revision, w.Routers = 3, []wanted.Router{to, w.Routers[1]}
	b.set(w)
	wait(t, r, "the rule", has(w.Routes[0].Key))

	// The secret is gone again: the session ends.
	w.Revision, w.Routers = 4, []wanted.Router{unusable, w.Routers[1]}
	b.set(w)
	wait(t, r, "the end of the session", has())
	waitStatus(t, b, "the reason", func() bool { return b.session("r1").State == wanted.SessionInvalid })
}

// total is the sum of a metric over its labels.
func total(t *testing.T, g prometheus.Gatherer, name string) (sum float64) {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

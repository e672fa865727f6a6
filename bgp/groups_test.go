package bgp_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/bgp/bgptest"
	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// hears waits until the router hears k with that action, in words, or not at all when action is empty.
func hears(t *testing.T, r *bgptest.Router, k flowspec.Key, action string) {
	t.Helper()
	wait(t, r, "action "+action, func(t bgptest.Table) bool {
		best, ok := t.Best(k)
		if !ok || action == "" {
			return !ok && action == ""
		}
		_, text, _ := strings.Cut(best.Rule.String(), " => ")
		return text == action
	})
}

// The same match with one action for one group and another for the other: each router hears its own group's, through
// changes of the actions, of the groups, of deadlines and of the verdict.
func TestSameKeyForTwoGroups(t *testing.T) {
	ra, rb := router(t), router(t)
	to := []wanted.Router{
		neighbour("a", ra, func(w *wanted.Router) { w.Group = "a"; w.MaxRoutes = 1 }),
		neighbour("b", rb, func(w *wanted.Router) { w.Group = "b"; w.MaxRoutes = 2 }),
	}
	p := netip.MustParsePrefix("203.0.113.0/25")
	version := func(med uint32, a flowspec.Action, groups ...string) *wanted.Route {
		r := route(p, a)
		r.MED, r.Groups = med, groups
		return r
	}
	b := join(t)
	revision, key := uint64(0), route(p, flowspec.Discard()).Key
	set := func(routes ...*wanted.Route) {
		t.Helper()
		revision++
		w := base(revision, to...)
		w.Routes = routes
		b.set(w)
	}
	const discarded, limited = "discard", "rate 1Mbps"
	limit := flowspec.RateLimit(125_000)

	set(version(9, flowspec.Discard(), "a"), version(9, limit, "b"))
	hears(t, ra, key, discarded)
	hears(t, rb, key, limited)

	// The other way round, in the other order: each is told once, and the key is never absent.
	set(version(8, flowspec.Discard(), "b", "c"), version(8, limit, "a"))
	hears(t, ra, key, limited)
	hears(t, rb, key, discarded)
	waitReached(t, b, revision)

	// One group's route ends by its deadline; the other's stays.
	ends := version(8, limit, "a")
	ends.NotAfter = b.clock.in(200 * time.Millisecond)
	set(ends, version(8, flowspec.Discard(), "b"))
	hears(t, ra, key, "")
	hears(t, rb, key, discarded)
	b.waitStates("a", map[flowspec.Key]wanted.RouteState{key: wanted.RouteExpired})
	b.waitStates("b", map[flowspec.Key]wanted.RouteState{key: wanted.RouteSent})

	// The key moves from one group to the other, and back.
	set(version(7, flowspec.Discard(), "a"))
	hears(t, ra, key, discarded)
	hears(t, rb, key, "")
	b.waitStates("b", nil)
	set(version(6, flowspec.Discard(), "b"))
	hears(t, ra, key, "")
	hears(t, rb, key, discarded)

	// One group's route is refused; the other's is announced.
	bare := version(5, limit, "b")
	bare.Rule.Actions = nil
	set(version(5, limit, "a"), bare)
	hears(t, ra, key, limited)
	hears(t, rb, key, "")
	b.waitStates("a", map[flowspec.Key]wanted.RouteState{key: wanted.RouteSent})
	b.waitStates("b", map[flowspec.Key]wanted.RouteState{key: wanted.RouteRefused})
	if got := b.session("b").Routes[0].Refusal; got != wanted.RefusedNoAction {
		t.Errorf("refused as %q", got)
	}

	// A route counts in the budget of those who hear it: one key is one rule at each router.
	more := discard(t, "203.0.113.128/25")
	more.Groups = []string{"a", "b"}
	first := []*wanted.Route{version(4, limit, "a"), version(4, flowspec.Discard(), "b")}
	first[0].Urgency, first[1].Urgency = 1, 1
	set(append(first, more)...)
	wait(t, rb, "two rules", has(key, more.Key))
	wait(t, ra, "one rule", has(key))
	b.waitStates("a", map[flowspec.Key]wanted.RouteState{key: wanted.RouteSent, more.Key: wanted.RouteOverBudget})
	b.waitStates("b", map[flowspec.Key]wanted.RouteState{key: wanted.RouteSent, more.Key: wanted.RouteSent})
	hears(t, ra, key, limited)
	hears(t, rb, key, discarded)
	if gaps := rb.Absent(key); len(gaps) != 2 || len(ra.Absent(key)) != 2 {
		t.Errorf("absent %v and %v, want two gaps each: those that were asked for", ra.Absent(key), gaps)
	}
}

// What is announced though no longer wanted stays in the status until it is gone.
func TestSupersededIsShown(t *testing.T) {
	r := router(t)
	b := join(t)
	to := neighbour("r1", r, func(w *wanted.Router) { w.RulesPerSecond = 1 })
	old := discard(t, "203.0.113.0/24")
	w := base(1, to)
	w.Routes = []*wanted.Route{old}
	b.set(w)
	wait(t, r, "the rule", has(old.Key))
	b.waitStates("r1", map[flowspec.Key]wanted.RouteState{old.Key: wanted.RouteSent})

	// Two halves take its place, at one a second.
	low, high := discard(t, "203.0.113.0/25"), discard(t, "203.0.113.128/25")
	low.Urgency = 1
	w = base(2, to)
	w.Routes = []*wanted.Route{high, low}
	b.set(w)
	b.waitStates("r1", map[flowspec.Key]wanted.RouteState{
		low.Key: wanted.RouteSent, high.Key: wanted.RoutePaced, old.Key: wanted.RouteSuperseded,
	})
	session := b.session("r1")
	if session.Wanted != 2 || !slices.ContainsFunc(session.Routes, func(r wanted.RouteStatus) bool { return r.Key == old.Key && !r.Since.IsZero() }) {
		t.Errorf("status %+v", session)
	}
	b.waitStates("r1", map[flowspec.Key]wanted.RouteState{low.Key: wanted.RouteSent, high.Key: wanted.RouteSent})
	wait(t, r, "the halves", has(low.Key, high.Key))
	waitReached(t, b, 2)
	if got := b.session("r1"); got.Settled != 2 || got.Announced != 3 || got.Withdrawn != 1 {
		t.Errorf("settled %d, announced %d, withdrawn %d; want 2, 3, 1", got.Settled, got.Announced, got.Withdrawn)
	}
}

package bgp_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tidegate/tidegate/bgp/bgptest"
	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// hostsIn is n rules inside of 203.0.113.0/24, most urgent of all.
func hostsIn(t *testing.T, n int) []*wanted.Route {
	t.Helper()
	var out []*wanted.Route
	for i := range n {
		r := discard(t, fmt.Sprintf("203.0.113.%d/32", i))
		r.Urgency = 9
		out = append(out, r)
	}
	return out
}

// outstay puts a wide discard on a router that takes one rule a second, then wants what then says and 16 rules that
// overlap it. What done waits for must have come after at most most, although the pace needs 16 s for the rest.
func outstay(t *testing.T, life, most time.Duration, then func(first *wanted.Route) []*wanted.Route, done func(flowspec.Key) func(bgptest.Table) bool) {
	t.Helper()
	r := router(t)
	b := join(t)
	to := neighbour("r1", r, func(w *wanted.Router) { w.RulesPerSecond = 1 })
	before := discard(t, "198.51.100.0/24")
	w := base(1, to)
	w.Routes = []*wanted.Route{before}
	b.set(w)
	wait(t, r, "a session", has(before.Key)) // which takes its time to come
	first := discard(t, "203.0.113.0/24")
	if life > 0 {
		first.NotAfter = b.clock.in(life)
	}
	w = base(2, to)
	w.Routes = []*wanted.Route{first}
	b.set(w)
	wait(t, r, "the wide rule", has(first.Key))
	begin := time.Now()
	w = base(3, to)
	again := *first // what is in a Set is not changed any more
	w.Routes = append(then(&again), hostsIn(t, 16)...)
	b.set(w)
	wait(t, r, "the end of the wide rule", done(first.Key))
	if took := time.Since(begin); took > most {
		t.Errorf("it took %s, want %s at most", took, most)
	}
}

func gone(k flowspec.Key) func(bgptest.Table) bool {
	return func(t bgptest.Table) bool { return !t.Has(k) }
}

func nothing(*wanted.Route) []*wanted.Route { return nil }

// A rule that left the Set before its NotAfter came leaves the router then, whatever still waits for the pace.
func TestPacedRuleEndsWithItsLifetime(t *testing.T) {
	outstay(t, 3*time.Second, 4500*time.Millisecond, nothing, gone)
}

// An action whose time is over does not wait for the pace that its replacement waits for.
func TestPacedActionEndsWithItsLifetime(t *testing.T) {
	outstay(t, 3*time.Second, 4500*time.Millisecond,
		func(first *wanted.Route) []*wanted.Route {
			return []*wanted.Route{route(first.Rule.Match.Components[0].Prefix, flowspec.RateLimit(1e6))}
		},
		func(k flowspec.Key) func(bgptest.Table) bool {
			return func(t bgptest.Table) bool {
				best, ok := t.Best(k)
				return !ok || !best.Rule.Actions[0].Discards()
			}
		})
}

// A withdrawal waits at most a stated time for what replaces the rule.
func TestPacedWithdrawalIsBounded(t *testing.T) {
	outstay(t, 0, 11*time.Second, nothing, gone)
}

// A rule that is refused now leaves at once, whatever waits.
func TestPacedRefusalIsWithdrawnAtOnce(t *testing.T) {
	outstay(t, 0, 4*time.Second, func(first *wanted.Route) []*wanted.Route {
		first.Rule.Actions = nil
		return []*wanted.Route{first}
	}, gone)
}

// What nothing overlaps leaves a paced router at once, whatever waits.
func TestUnrelatedAnnouncementsHoldNothingUp(t *testing.T) {
	r := router(t)
	b := join(t)
	to := neighbour("r1", r, func(w *wanted.Router) { w.RulesPerSecond = 1 })
	first := discard(t, "198.51.100.0/24")
	w := base(1, to)
	w.Routes = []*wanted.Route{first}
	b.set(w)
	wait(t, r, "the rule", has(first.Key))
	begin := time.Now()
	w = base(2, to)
	w.Routes = hostsIn(t, 16)
	b.set(w)
	wait(t, r, "the withdrawal", func(t bgptest.Table) bool { return !t.Has(first.Key) })
	if took := time.Since(begin); took > 4*time.Second { // less than any withdrawal waits for what overlaps it
		t.Errorf("the withdrawal took %s", took)
	}
}

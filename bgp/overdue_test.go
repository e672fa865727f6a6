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
func hostsIn(t *testing.T, n int) []wanted.Route {
	t.Helper()
	var out []wanted.Route
	for i := range n {
		r := discard(t, fmt.Sprintf("203.0.113.%d/32", i))
		r.Urgency = 9
		out = append(out, r)
	}
	return out
}

// A rule leaves a paced router in time whatever overlapping announcements still wait for the pace, of which there are
// for 16 s.
func TestNoRuleOutstaysItsTime(t *testing.T) {
	const whole = "203.0.113.0/24"
	gone := func(k flowspec.Key) func(bgptest.Table) bool {
		return func(t bgptest.Table) bool { return !t.Has(k) }
	}
	for _, c := range []struct {
		name string
		life time.Duration // of the first rule; 0: no end in sight
		then func(first wanted.Route) []wanted.Route
		done func(k flowspec.Key) func(bgptest.Table) bool
		most time.Duration
	}{
		{
			name: "out of the Set before its NotAfter", life: 2 * time.Second, most: 3500 * time.Millisecond, done: gone,
			then: func(wanted.Route) []wanted.Route { return nil },
		},
		{
			name: "its replacement waits for the pace", life: 2 * time.Second, most: 3500 * time.Millisecond,
			then: func(first wanted.Route) []wanted.Route {
				return []wanted.Route{route(first.Rule.Match.Components[0].Prefix, flowspec.RateLimit(1e6))}
			},
			done: func(k flowspec.Key) func(bgptest.Table) bool {
				return func(t bgptest.Table) bool {
					best, ok := t.Best(k)
					return ok && !best.Rule.Actions[0].Discards()
				}
			},
		},
		{
			name: "withdrawn by an operator", most: 7 * time.Second, done: gone,
			then: func(wanted.Route) []wanted.Route { return nil },
		},
		{
			name: "refused", most: 2500 * time.Millisecond, done: gone,
			then: func(first wanted.Route) []wanted.Route {
				first.Rule.Actions = nil
				return []wanted.Route{first}
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := router(t)
			b := join(t)
			to := neighbour("r1", r, func(w *wanted.Router) { w.RulesPerSecond = 1 })
			first := discard(t, whole)
			if c.life > 0 {
				first.NotAfter = b.clock.in(c.life)
			}
			w := base(1, to)
			w.Routes = []wanted.Route{first}
			b.set(w)
			wait(t, r, "the wide rule", has(first.Key))
			begin := time.Now()
			w = base(2, to)
			w.Routes = append(c.then(first), hostsIn(t, 16)...)
			b.set(w)
			wait(t, r, c.name, c.done(first.Key))
			if took := time.Since(begin); took > c.most {
				t.Errorf("it took %s, want %s at most", took, c.most)
			}
		})
	}
}

// What nothing overlaps leaves a paced router at once, whatever waits.
func TestUnrelatedAnnouncementsHoldNothingUp(t *testing.T) {
	r := router(t)
	b := join(t)
	to := neighbour("r1", r, func(w *wanted.Router) { w.RulesPerSecond = 1 })
	first := discard(t, "198.51.100.0/24")
	w := base(1, to)
	w.Routes = []wanted.Route{first}
	b.set(w)
	wait(t, r, "the rule", has(first.Key))
	begin := time.Now()
	w = base(2, to)
	w.Routes = hostsIn(t, 16)
	b.set(w)
	wait(t, r, "the withdrawal", func(t bgptest.Table) bool { return !t.Has(first.Key) })
	if took := time.Since(begin); took > time.Second {
		t.Errorf("the withdrawal took %s", took)
	}
}

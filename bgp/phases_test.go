package bgp_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/tidegate/tidegate/bgp/bgptest"
	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// carve is whole without hole, as the fewest prefixes.
func carve(whole netip.Prefix, hole netip.Addr) []netip.Prefix {
	if !whole.Contains(hole) {
		return []netip.Prefix{whole}
	}
	if whole.IsSingleIP() {
		return nil
	}
	lower := netip.PrefixFrom(whole.Addr(), whole.Bits()+1)
	a := whole.Addr().As4()
	a[whole.Bits()/8] |= 0x80 >> (whole.Bits() % 8)
	upper := netip.PrefixFrom(netip.AddrFrom4(a), whole.Bits()+1)
	return append(carve(lower, hole), carve(upper, hole)...)
}

// gapWitness sees each UPDATE and complains when an address that must be covered is not, or when a key is withdrawn
// while a wanted one that overlaps it has not been heard.
type gapWitness struct {
	mu       sync.Mutex
	on       bool
	spared   map[netip.Addr]bool // addresses that may be uncovered now
	wanted   []netip.Prefix      // what the newest Set covers; nil if it may not have been heard yet
	problems []string
}

func (w *gapWitness) watch(u bgptest.Update, t bgptest.Table) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.on {
		return
	}
	var rules []netip.Prefix
	for _, k := range t.Keys() {
		m, err := k.Match()
		if err != nil {
			w.problems = append(w.problems, err.Error())
			return
		}
		p, _ := m.Destination()
		rules = append(rules, p)
	}
	covered := func(a netip.Addr) bool {
		for _, p := range rules {
			if p.Contains(a) {
				return true
			}
		}
		return false
	}
	for i := range 256 {
		a := netip.AddrFrom4([4]byte{203, 0, 113, byte(i)})
		if !w.spared[a] && !covered(a) {
			w.problems = append(w.problems, fmt.Sprintf("update %d leaves %s uncovered", u.Seq, a))
		}
	}
	for _, k := range u.Withdrawn {
		m, _ := k.Match()
		gone, _ := m.Destination()
		for _, p := range w.wanted {
			if p.Overlaps(gone) && !t.Has(route(p, flowspec.Discard()).Key) {
				w.problems = append(w.problems, fmt.Sprintf("update %d withdraws %s before %s is heard", u.Seq, gone, p))
			}
		}
	}
}

func (w *gapWitness) check(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, p := range w.problems {
		if t.Error(p); i == 10 {
			break
		}
	}
}

// recutSet wants the /24 without hole; every tenth time without a hole at all.
func recutSet(i uint64, hole netip.Addr, to ...wanted.Router) (wanted.Set, []netip.Prefix) {
	whole := netip.MustParsePrefix("203.0.113.0/24")
	pieces := []netip.Prefix{whole}
	if i%10 != 0 {
		pieces = carve(whole, hole)
	}
	w := base(i, to...)
	for _, p := range pieces {
		w.Routes = append(w.Routes, route(p, flowspec.Discard()))
	}
	return w, pieces
}

func TestRecutsLeaveNoGap(t *testing.T) { testRecuts(t, 100) }

func TestPropertyRecutsLeaveNoGap(t *testing.T) { testRecuts(t, 1000) }

// testRecuts: over n re-cuts every new piece is heard before what it replaces is withdrawn, and no address outside of
// the two holes is ever uncovered. Neither is one when half as many more overtake each other.
func testRecuts(t *testing.T, n uint64) {
	witness := &gapWitness{}
	r := router(t, func(c *bgptest.Config) { c.OnUpdate = witness.watch })
	b := join(t)
	to := neighbour("r1", r)
	rng := rand.New(rand.NewPCG(1, 2))
	randomHole := func() netip.Addr { return netip.AddrFrom4([4]byte{203, 0, 113, byte(rng.IntN(256))}) }

	w, _ := recutSet(10, randomHole(), to)
	b.set(w)
	wait(t, r, "the first cut", has(keysOf(w.Routes...)...))
	last := randomHole()
	for i := uint64(11); i < 11+n; i++ {
		hole := randomHole()
		w, pieces := recutSet(i, hole, to)
		witness.mu.Lock()
		witness.on, witness.wanted = true, pieces
		witness.spared = map[netip.Addr]bool{hole: true, last: true}
		witness.mu.Unlock()
		b.set(w)
		wait(t, r, "a re-cut", has(keysOf(w.Routes...)...))
		last = hole
	}
	witness.check(t)

	// Now without waiting: sets overtake each other in the middle of their phases.
	spared := map[netip.Addr]bool{last: true}
	holes := make([]netip.Addr, 8)
	for i := range holes {
		holes[i] = randomHole()
		spared[holes[i]] = true
	}
	witness.mu.Lock()
	witness.wanted, witness.spared = nil, spared
	witness.mu.Unlock()
	for i := 11 + n; i < 11+n+n/2; i++ {
		w, _ = recutSet(i, holes[rng.IntN(len(holes))], to)
		b.set(w)
	}
	wait(t, r, "the last re-cut", has(keysOf(w.Routes...)...))
	witness.check(t)
}

// A full router takes the new rules in chunks and never has more than its budget.
func TestBudget(t *testing.T) {
	const budget = 20
	var mu sync.Mutex
	most := 0
	r := router(t, func(c *bgptest.Config) {
		c.OnUpdate = func(_ bgptest.Update, t bgptest.Table) {
			mu.Lock()
			most = max(most, t.Len())
			mu.Unlock()
		}
	})
	b := join(t)
	to := neighbour("r1", r, func(w *wanted.Router) { w.MaxRoutes = budget })

	w := base(1, to)
	w.Routes = hosts(30)
	for i := range w.Routes {
		w.Routes[i].Urgency = uint32(i)
	}
	b.set(w)
	wait(t, r, "the most urgent 20", has(keysOf(w.Routes[10:]...)...))
	over, session := 0, b.session("r1")
	for _, s := range session.Routes {
		if s.State == wanted.RouteOverBudget {
			over++
		}
	}
	if got := session.OverBudget; over != 10 || got != 10 {
		t.Errorf("status shows %d and %d routes over budget, want 10", over, got)
	}

	// Other rules, none of which fits beside the old ones.
	w2 := base(2, to)
	for i := range 20 {
		w2.Routes = append(w2.Routes, discard(t, fmt.Sprintf("203.0.113.%d/32", i)))
	}
	b.set(w2)
	wait(t, r, "20 other rules", has(keysOf(w2.Routes...)...))

	// Wider ones that overlap all of the old: somebody has to make room.
	w3 := base(3, to)
	w3.Routes = append(w3.Routes, discard(t, "203.0.113.0/24"))
	for i := range 19 {
		w3.Routes = append(w3.Routes, discard(t, fmt.Sprintf("203.0.113.%d/31", 2*i)))
	}
	b.set(w3)
	wait(t, r, "20 wider rules", has(keysOf(w3.Routes...)...))
	mu.Lock()
	defer mu.Unlock()
	if most > budget {
		t.Errorf("the router had %d rules, its budget is %d", most, budget)
	}
}

// The same key with another action or MED is one UPDATE without a withdrawal.
func TestImplicitReplace(t *testing.T) {
	r := router(t, func(c *bgptest.Config) { c.KeepUpdates = true })
	b := join(t)
	to := neighbour("r1", r)
	w := base(1, to)
	w.Routes = []*wanted.Route{discard(t, "203.0.113.0/25")}
	b.set(w)
	wait(t, r, "the rule", has(w.Routes[0].Key))
	before := len(r.Updates())

	w.Revision++
	w.Routes = []*wanted.Route{route(netip.MustParsePrefix("203.0.113.0/25"), flowspec.RateLimit(125_000))}
	w.Routes[0].MED--
	b.set(w)
	wait(t, r, "the new action", func(t bgptest.Table) bool {
		best, ok := t.Best(w.Routes[0].Key)
		return ok && best.MED == w.Routes[0].MED && !best.Rule.Actions[0].Discards()
	})
	for _, u := range r.Updates()[before:] {
		if len(u.Withdrawn) > 0 || len(u.Announced) != 1 {
			t.Errorf("update %d announces %d and withdraws %d", u.Seq, len(u.Announced), len(u.Withdrawn))
		}
	}
	if n := len(r.Updates()) - before; n != 1 {
		t.Errorf("%d updates, want 1", n)
	}
	if gaps := r.Absent(w.Routes[0].Key); len(gaps) > 0 {
		t.Errorf("the key was absent: %v", gaps)
	}

	// The same again tells the router nothing.
	w.Revision++
	b.set(w)
	waitReached(t, b, w.Revision)
	if n := len(r.Updates()) - before; n != 1 {
		t.Errorf("an unchanged set sent %d more updates", n-1)
	}
}

// waitReached waits for Status to say that a revision is sent; the only event there is for that is time.
func waitReached(t testing.TB, b *bench, revision uint64) {
	t.Helper()
	waitStatus(t, b, fmt.Sprintf("revision %d", revision), func() bool { return b.Status().Settled >= revision })
}

func waitStatus(t testing.TB, b *bench, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	ctx := timeout(t, 15*time.Second)
	for !cond() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: status never says so: %+v", what, b.Status())
		}
	}
}

// A paced router gets no more rules per second than it takes, the most urgent first; an urgent one overtakes, and a
// withdrawal that nothing replaces does not wait for the pace. A thousand rules need 18 s, and so the test may be kept
// from running for seconds and still tell.
func TestPacing(t *testing.T) {
	const perSecond, all = 50, 1000
	r := router(t, func(c *bgptest.Config) { c.KeepUpdates = true })
	b := join(t)
	to := neighbour("r1", r, func(w *wanted.Router) { w.RulesPerSecond = perSecond })
	w := base(1, to)
	w.Routes = hosts(all)
	for i := range w.Routes {
		w.Routes[i].Urgency = uint32(i)
	}
	b.set(w)
	wait(t, r, "the first second's worth", func(t bgptest.Table) bool { return t.Len() >= perSecond })

	urgent := discard(t, "203.0.113.9/32")
	urgent.Urgency = 1 << 20
	w.Revision, w.Routes = 2, append(w.Routes[:all:all], urgent)
	before := r.Table().Len()
	b.set(w)
	wait(t, r, "the urgent rule", func(t bgptest.Table) bool { return t.Has(urgent.Key) })
	if got := r.Table().Len(); got > before+10*perSecond {
		t.Errorf("the urgent rule came after %d others", got-before)
	}

	first := w.Routes[all-1] // the most urgent of the thousand
	w.Revision, w.Routes = 3, append(w.Routes[:all-1:all-1], urgent)
	before = r.Table().Len()
	b.set(w)
	wait(t, r, "a withdrawal", func(t bgptest.Table) bool { return !t.Has(first.Key) })
	if got := r.Table().Len(); got > before+10*perSecond {
		t.Errorf("the withdrawal waited for %d announcements", got-before)
	}

	// By the times at which the router heard them: at first what was loaded before the session and what the pace had
	// saved up, a second's worth each; from then on the pace. Two seconds' worth is for a machine that is busy.
	updates, heard := r.Updates(), 0
	for _, u := range updates {
		heard += len(u.Announced)
		since := u.At.Sub(updates[0].At)
		if most := (4 + since.Seconds()) * perSecond; float64(heard) > most {
			t.Errorf("%d rules within %s, the pace is %d/s", heard, since, perSecond)
		}
	}
	if heard < perSecond {
		t.Errorf("%d rules in the record of UPDATEs, want %d or more", heard, perSecond)
	}
}

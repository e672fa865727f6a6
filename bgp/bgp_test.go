package bgp_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate/bgp"
	"github.com/tidegate/tidegate/bgp/bgptest"
	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// clock is an elapsed clock that goes on by itself and can be moved forward.
type clock struct {
	start time.Time
	skip  atomic.Int64
}

func newClock() *clock { return &clock{start: time.Now()} }

func (c *clock) now() wanted.Instant {
	return wanted.Instant(time.Since(c.start)) + wanted.Instant(c.skip.Load()) + 1
}

func (c *clock) in(d time.Duration) wanted.Instant { return c.now() + wanted.Instant(d) }

// pass makes the clock jump.
func (c *clock) pass(d time.Duration) { c.skip.Add(int64(d)) }

const ourASN = 65001

// mostRouters is how many engines the speaker of a test needs at most, with those that are given back meanwhile.
const mostRouters = 6

// bench is a speaker at work with the routers that it talks to.
type bench struct {
	*bgp.Speaker
	t     testing.TB
	clock *clock
	begin func() // starts the speaker and returns when its engines run
	stop  func() // ends the speaker and waits
}

// start runs a speaker, alone.
func start(t testing.TB, change ...func(*bgp.Config, *bgp.Deps)) *bench {
	t.Helper()
	b := inert(t, change...)
	b.begin()
	return b
}

// fleet starts the speakers of tests that run side by side. Whenever a GoBGP server starts it writes two of GoBGP's
// package variables, which others read: under the race detector no server may start while another is at work. So each
// test enlists its speaker first, and those of all tests are started before the first of them goes on.
type fleet struct {
	mu      sync.Mutex
	waiting []*bench
}

var together fleet

// TestMain lets all tests that wait for routers do so at the same time: they use little of the processor.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "32"); err != nil {
		panic(err)
	}
	m.Run()
}

// join makes t run side by side with the others that do, with a speaker at work.
func join(t *testing.T, change ...func(*bgp.Config, *bgp.Deps)) *bench {
	t.Helper()
	b := inert(t, change...)
	together.mu.Lock()
	together.waiting = append(together.waiting, b)
	together.mu.Unlock()
	t.Parallel() // returns when all tests have enlisted
	together.mu.Lock()
	defer together.mu.Unlock()
	for _, b := range together.waiting {
		b.begin()
	}
	together.waiting = nil
	return b
}

// inert makes a speaker that does not run yet.
func inert(t testing.TB, change ...func(*bgp.Config, *bgp.Deps)) *bench {
	t.Helper()
	c := newClock()
	cfg := bgp.Config{ASN: ourASN, RouterID: netip.MustParseAddr("192.0.2.101"), LocalAddress: netip.MustParseAddr("127.0.0.1")}
	cfg.SpareEngines(mostRouters)
	deps := bgp.Deps{Elapsed: c.now}
	if os.Getenv("TIDEGATE_TEST_LOG") != "" {
		deps.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	for _, f := range change {
		f(&cfg, &deps)
	}
	s, err := bgp.New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	b := &bench{Speaker: s, t: t, clock: c}
	running := false
	b.begin = func() {
		running = true
		go func() { done <- s.Run(ctx) }()
		select {
		case <-s.Started():
		case err := <-done:
			t.Errorf("Run: %v", err)
			running = false
		}
	}
	b.stop = func() {
		cancel()
		if !running {
			return
		}
		running = false
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("Run does not return")
		}
	}
	t.Cleanup(b.stop)
	return b
}

// session is the status of the session with the router of that name.
func (b *bench) session(name string) wanted.SessionStatus {
	b.t.Helper()
	st := b.Status()
	i := slices.IndexFunc(st.Sessions, func(s wanted.SessionStatus) bool { return s.Router.Name == name })
	if i < 0 {
		b.t.Fatalf("status has no session with %q", name)
	}
	return st.Sessions[i]
}

// states are the states of the routes on the session with the router of that name.
func (b *bench) states(name string) map[flowspec.Key]wanted.RouteState {
	b.t.Helper()
	out := make(map[flowspec.Key]wanted.RouteState)
	for _, r := range b.session(name).Routes {
		out[r.Key] = r.State
	}
	return out
}

// waitStates waits until the status says that of the routes on the session with the router of that name.
func (b *bench) waitStates(name string, want map[flowspec.Key]wanted.RouteState) {
	b.t.Helper()
	waitStatus(b.t, b, fmt.Sprintf("routes at %s: %v", name, want), func() bool { return maps.Equal(b.states(name), want) })
}

func (b *bench) set(w wanted.Set) {
	b.t.Helper()
	if err := b.Set(context.Background(), w); err != nil {
		b.t.Fatal(err)
	}
}

// router starts a witness.
func router(t testing.TB, change ...func(*bgptest.Config)) *bgptest.Router {
	t.Helper()
	cfg := bgptest.Config{ASN: 65010, RouterID: netip.MustParseAddr("192.0.2.1")}
	for _, f := range change {
		f(&cfg)
	}
	r, err := bgptest.NewRouter(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("router: %v", err)
		}
	})
	return r
}

// neighbour describes r for a Set.
func neighbour(name string, r *bgptest.Router, change ...func(*wanted.Router)) wanted.Router {
	w := wanted.Router{
		Name: name, Address: r.Addr().Addr(), Port: r.Addr().Port(), ASN: 65010, Group: "edge", Carries: wanted.FlowSpec,
		IPv4: true, IPv6: true, MaxRoutes: 100_000,
	}
	for _, f := range change {
		f(&w)
	}
	return w
}

// discard is the route that discards all traffic to dst.
func discard(t testing.TB, dst string) *wanted.Route {
	t.Helper()
	return route(netip.MustParsePrefix(dst), flowspec.Discard())
}

func route(p netip.Prefix, a flowspec.Action) *wanted.Route {
	f := flowspec.IPv6
	if p.Addr().Is4() {
		f = flowspec.IPv4
	}
	m := flowspec.Match{Family: f, Components: []flowspec.Component{flowspec.Destination(p)}}
	return &wanted.Route{
		Kind: wanted.FlowSpec, Rule: flowspec.Rule{Match: m, Actions: []flowspec.Action{a}}, Key: m.Key(),
		MED: 1<<32 - 2, NotAfter: 1 << 62, Groups: []string{"edge"},
	}
}

// hosts makes n host routes from 10.0.0.0 on.
func hosts(n int) []*wanted.Route {
	out := make([]*wanted.Route, n)
	for i := range out {
		a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		out[i] = route(netip.PrefixFrom(a, 32), flowspec.Discard())
	}
	return out
}

// base is a Set without routes for those routers.
func base(revision uint64, routers ...wanted.Router) wanted.Set {
	return wanted.Set{
		Revision: revision, LeaseUntil: 1 << 62, Routers: routers,
		Official: []netip.Prefix{
			netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("203.0.113.0/24"),
			netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8::/32"),
		},
	}
}

func timeout(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), d, fmt.Errorf("%s: not within %s", t.Name(), d))
	t.Cleanup(cancel)
	return ctx
}

// wait fails the test unless cond holds at r within some seconds.
func wait(t testing.TB, r *bgptest.Router, what string, cond func(bgptest.Table) bool) {
	t.Helper()
	if err := r.WaitRoutes(timeout(t, 15*time.Second), cond); err != nil {
		t.Fatalf("%s: %v; the router has %d keys", what, err, r.Table().Len())
	}
}

func has(keys ...flowspec.Key) func(bgptest.Table) bool {
	return func(t bgptest.Table) bool {
		for _, k := range keys {
			if !t.Has(k) {
				return false
			}
		}
		return t.Len() == len(keys)
	}
}

func keysOf(routes ...*wanted.Route) []flowspec.Key {
	out := make([]flowspec.Key, len(routes))
	for i := range routes {
		out[i] = routes[i].Key
	}
	return out
}

func TestAnnounceAndWithdraw(t *testing.T) {
	r := router(t)
	b := join(t)
	w := base(1, neighbour("r1", r))
	w.Routes = []*wanted.Route{discard(t, "203.0.113.0/25"), discard(t, "2001:db8:1::/48")}
	b.set(w)
	wait(t, r, "two rules", has(keysOf(w.Routes...)...))

	w.Revision, w.Routes = 2, w.Routes[:1]
	b.set(w)
	wait(t, r, "one rule", has(keysOf(w.Routes...)...))

	b.set(base(3, neighbour("r1", r)))
	wait(t, r, "an empty set", has())
}

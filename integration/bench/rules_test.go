package bench_test

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/osrg/gobgp/v4/pkg/apiutil"

	"github.com/tidegate/tidegate/bgp"
	"github.com/tidegate/tidegate/bgp/bgptest"
	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// speaker is the real one with one router, in this process.
type speaker struct {
	*bgp.Speaker
	router   wanted.Router
	revision uint64
	stop     func() error
}

// startSpeaker runs a speaker until ctx ends or stop is called, with an empty Set in force.
func startSpeaker(ctx context.Context, id netip.Addr, to netip.AddrPort) (*speaker, error) {
	began := time.Now()
	s, err := bgp.New(bgp.Config{ASN: nodeASN, RouterID: id, LocalAddress: netip.MustParseAddr("127.0.0.1")},
		bgp.Deps{Elapsed: func() wanted.Instant { return wanted.Instant(time.Since(began)) + 1 }})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	sp := &speaker{Speaker: s, router: wanted.Router{
		Name: "edge1", Address: to.Addr(), Port: to.Port(), ASN: routerASN, Group: "edge", Carries: wanted.FlowSpec, IPv4: true, MaxRoutes: 50_000,
	}}
	sp.stop = func() error {
		cancel()
		return <-ended
	}
	return sp, sp.set(ctx, nil)
}

func (s *speaker) set(ctx context.Context, routes []*wanted.Route) error {
	s.revision++
	return s.Set(ctx, wanted.Set{
		Revision: s.revision, Routes: routes, Official: []netip.Prefix{netip.MustParsePrefix("20.0.0.0/8")},
		Protected: []netip.Prefix{netip.MustParsePrefix("100.64.0.0/10")}, Routers: []wanted.Router{s.router}, LeaseUntil: 1 << 62,
	})
}

// floodRoute is what the controller wants announced for a flood.
func floodRoute(to netip.Prefix) (*wanted.Route, error) {
	m, err := flowspec.NewMatch(flowspec.IPv4, flowspec.Destination(to), flowspec.Proto(17))
	return &wanted.Route{
		Kind: wanted.FlowSpec, Key: m.Key(), Rule: flowspec.Rule{Match: m, Actions: []flowspec.Action{flowspec.Discard()}},
		MED: 1, NotAfter: 1 << 62, Groups: []string{"edge"},
	}, err
}

// duel is the speaker and bare GoBGP in this process, each with a router of its own and a session that is up.
type duel struct {
	b          *testing.B
	ctx        context.Context
	sp         *speaker
	bare       *bare
	own, other *router // the speaker's, bare GoBGP's
}

func newDuel(b *testing.B, s *suite, tell int) *duel {
	b.Helper()
	d := &duel{b: b, ctx: s.ctx, own: newRouter(b, tell), other: newRouter(b, tell)}
	id := netip.MustParseAddr("10.1.0.1")
	var err error
	if d.sp, err = startSpeaker(s.ctx, id, d.own.Addr()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := d.sp.stop(); err != nil {
			b.Error(err)
		}
	})
	if d.bare, err = startBare(s.ctx, id, d.other.Addr()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(d.bare.Stop)
	for _, r := range []*router{d.own, d.other} {
		ctx, cancel := context.WithTimeout(s.ctx, patience)
		defer cancel()
		if _, err := r.WaitSession(ctx, id); err != nil {
			b.Fatal(err)
		}
	}
	return d
}

func (d *duel) set(routes []*wanted.Route) {
	d.b.Helper()
	if err := d.sp.set(d.ctx, routes); err != nil {
		d.b.Fatal(err)
	}
}

func (d *duel) add(paths []*apiutil.Path) {
	d.b.Helper()
	if err := d.bare.add(paths); err != nil {
		d.b.Fatal(err)
	}
}

func (d *duel) remove(paths []*apiutil.Path) {
	d.b.Helper()
	if err := d.bare.remove(paths); err != nil {
		d.b.Fatal(err)
	}
}

// until waits until a router has n rules and returns the time then.
func (d *duel) until(r *router, n int) time.Time {
	d.b.Helper()
	ctx, cancel := context.WithTimeout(d.ctx, patience)
	defer cancel()
	if err := r.WaitRoutes(ctx, func(t bgptest.Table) bool { return t.Len() == n }); err != nil {
		d.b.Fatalf("the router does not have %d rules: %v", n, err)
	}
	return time.Now()
}

// batch makes n rules in both forms.
func (d *duel) batch(n int) (routes []*wanted.Route, paths []*apiutil.Path) {
	for i := range n {
		to := target(i%customers, i/customers)
		routes = append(routes, must(floodRoute(to)))
		paths = append(paths, d.bare.flood(to))
	}
	return routes, paths
}

// measureRules takes how long it is until a router has all of many rules.
func measureRules(b *testing.B, s *suite) {
	d := newDuel(b, s, 0)
	for _, row := range []struct{ n, rounds int }{{1000, 15}, {10_000, 5}} {
		routes, paths := d.batch(row.n)
		var own, other []time.Duration
		for range row.rounds {
			runtime.GC()
			t0 := time.Now()
			d.add(paths)
			other = append(other, d.until(d.other, row.n).Sub(t0))
			d.remove(paths)
			d.until(d.other, 0)
			runtime.GC()
			t0 = time.Now()
			d.set(routes)
			own = append(own, d.until(d.own, row.n).Sub(t0))
			d.set(nil)
			d.until(d.own, 0)
		}
		const chapter = "Many rules to one router, unpaced"
		s.report.add(figure{
			Chapter: chapter, Name: fmt.Sprintf("%d rules, ratio to bare GoBGP", row.n), Value: ratio(quantile(own, 0.5), quantile(other, 0.5)), Unit: "x",
			AtMost: 1.2,
			Definition: fmt.Sprintf("medians of %d rounds in turns: from Speaker.Set (judging, guard, phases included) until the router has all, against "+
				"GoBGP's AddPath in batches of 1,000 paths that are ready made", row.rounds),
		})
		s.report.add(figure{
			Chapter: chapter, Name: fmt.Sprintf("%d rules, Speaker.Set until the router has all, p50", row.n), Value: milli(quantile(own, 0.5)), Unit: "ms",
			Definition: fmt.Sprintf("bare GoBGP: %.1f ms", milli(quantile(other, 0.5))),
		})
	}
}

// measureOneRule takes what one more rule costs the speaker when many are announced.
func measureOneRule(b *testing.B, s *suite) {
	d := newDuel(b, s, 64)
	for _, n := range []int{loaded, active} {
		d.oneRule(s, n)
	}
}

func (d *duel) oneRule(s *suite, n int) {
	d.b.Helper()
	routes, paths := d.batch(n)
	d.set(routes)
	d.until(d.own, n)
	d.add(paths)
	d.until(d.other, n)
	d.own.forget()
	d.other.forget()
	var own, other, sets []time.Duration
	for i := range 100 {
		to := target(i, 500)
		path, route := []*apiutil.Path{d.bare.flood(to)}, must(floodRoute(to))
		t0 := time.Now()
		d.add(path)
		other = append(other, d.news(d.other, route.Key, false).Sub(t0))
		d.remove(path)
		d.news(d.other, route.Key, true)
		more := append(routes[:len(routes):len(routes)], route)
		t0 = time.Now()
		d.set(more)
		sets = append(sets, time.Since(t0))
		own = append(own, d.news(d.own, route.Key, false).Sub(t0))
		d.set(routes)
		d.news(d.own, route.Key, true)
	}
	s.report.add(figure{
		Chapter: "One more rule when many are announced", Name: fmt.Sprintf("Speaker.Set until the router has it, %d announced, p50", n),
		Value: micro(quantile(own, 0.5)), Unit: "us",
		Definition: fmt.Sprintf("the cost of the diff: a Set with one new route; 100 samples; Set itself returns after %.0f us; bare AddPath of one path with as "+
			"many in its table: %.0f us", micro(quantile(sets, 0.5)), micro(quantile(other, 0.5))),
	})
}

func (d *duel) news(r *router, k flowspec.Key, gone bool) time.Time {
	d.b.Helper()
	at, err := r.await(d.ctx, k, gone)
	if err != nil {
		d.b.Fatal(err)
	}
	return at
}

// measureMemory takes the octets of live heap per rule, of the speaker and of bare GoBGP, each in a process of its own.
func measureMemory(b *testing.B, s *suite) {
	per := map[string]float64{}
	for _, kind := range []string{"memory-bare", "memory-speaker"} {
		r := newRouter(b, 0)
		id := netip.MustParseAddr("10.1.0.2")
		h := startHelper(b, s, job{Kind: kind, Router: r.Addr(), RouterID: id})
		ctx, cancel := context.WithTimeout(s.ctx, patience)
		if _, err := r.WaitSession(ctx, id); err != nil {
			b.Fatal(err)
		}
		cancel()
		before := h.do("heap", 0).Heap
		h.do("load", active)
		r.holds(s.ctx, b, active, 1)
		per[kind] = (h.do("heap", 0).Heap - before) / active
		h.stop()
	}
	s.report.add(figure{
		Chapter: "Memory", Name: "heap per rule beyond GoBGP's own", Value: per["memory-speaker"] - per["memory-bare"], Unit: "B",
		Definition: fmt.Sprintf("growth of the live heap with 10,000 rules at one router: the speaker with its wanted.Set %.0f B per rule, "+
			"bare GoBGP %.0f B; processes of their own, collected before each look", per["memory-speaker"], per["memory-bare"]),
	})
}

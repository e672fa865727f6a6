package bgp_test

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/bgp/bgptest"
	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

func bothFamilies() []flowspec.Family { return []flowspec.Family{flowspec.IPv4, flowspec.IPv6} }

// The discard next hops of the routers of these tests.
const discard4, discard6 = "192.0.2.66", "100::1"

// offersUnicast makes a witness offer both families of unicast, and FlowSpec too.
func offersUnicast(c *bgptest.Config) { c.Families, c.Unicast = bothFamilies(), bothFamilies() }

// carriesRTBH makes a router's session one for RTBH.
func carriesRTBH(w *wanted.Router) {
	w.Carries = wanted.RTBH
	w.DiscardIPv4, w.DiscardIPv6 = netip.MustParseAddr(discard4), netip.MustParseAddr(discard6)
}

// blackhole is the RTBH route to dst.
func blackhole(t testing.TB, dst string) *wanted.Route {
	t.Helper()
	r := discard(t, dst)
	p := netip.MustParsePrefix(dst)
	r.Kind, r.Key, r.Rule.Actions = wanted.RTBH, wanted.RTBHKey(p), nil
	return r
}

// What a router hears of an RTBH route: the discard next hop as it is, over eBGP too, and what keeps the route inside.
func TestRTBHAttributes(t *testing.T) {
	rows := []struct {
		name string
		asn  flowspec.ASN
		hops uint8
		want bgptest.Route
	}{
		{"eBGP", 65010, 0, bgptest.Route{ASPath: []flowspec.ASN{ourASN}, External: true}},
		{"eBGP over several hops", 65010, 8, bgptest.Route{ASPath: []flowspec.ASN{ourASN}, External: true}},
		{"iBGP", ourASN, 0, bgptest.Route{LocalPref: 100}},
	}
	w := base(1)
	w.ShortestRTBH = wanted.Lengths{IPv4: 25, IPv6: 48}
	routers := make([]*bgptest.Router, len(rows))
	for i, c := range rows {
		routers[i] = router(t, offersUnicast, func(cfg *bgptest.Config) { cfg.ASN = c.asn })
		w.Routers = append(w.Routers, neighbour(c.name, routers[i], carriesRTBH, func(w *wanted.Router) { w.ASN, w.Multihop = c.asn, c.hops }))
	}
	for i, text := range []string{"203.0.113.7/32", "203.0.113.128/25", "2001:db8::1/128", "2001:db8:1::/48"} {
		w.Routes = append(w.Routes, blackhole(t, text))
		w.Routes[i].MED = 4_294_967_000 + uint32(i)
	}
	b := join(t)
	b.set(w)
	for i, c := range rows {
		wait(t, routers[i], c.name+": four routes", has(keysOf(w.Routes...)...))
		for _, want := range w.Routes {
			got, _ := routers[i].Table().Best(want.Key)
			exp := c.want
			exp.Key, exp.Unicast, exp.MED, exp.HasMED = want.Key, true, want.MED, true
			exp.Prefix, _ = want.Rule.Match.Destination()
			exp.NextHop = netip.MustParseAddr(discard4)
			if exp.Prefix.Addr().Is6() {
				exp.NextHop, exp.NextHopLength = netip.MustParseAddr(discard6), 16
			}
			exp.Communities = []uint32{0xffff029a, 0xffffff01} // BLACKHOLE, 65535:666, and NO_EXPORT, 65535:65281
			exp.Large = [][3]uint32{{ourASN, 0x7467, 1}}
			exp.Session, exp.From, exp.Since = got.Session, netip.MustParseAddr("192.0.2.101"), got.Since
			if diff := cmp.Diff(exp, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
				cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("%s: route (-want +got):\n%s", c.name, diff)
			}
		}
		if s := routers[i].Sessions()[0]; len(s.Families) > 0 || !slices.Equal(s.Unicast, bothFamilies()) {
			t.Errorf("%s: the session carries FlowSpec %v and unicast %v", c.name, s.Families, s.Unicast)
		}
		waitStatus(t, b, "the families", func() bool { return slices.Equal(b.session(c.name).Families, bothFamilies()) })
	}
}

// The life of RTBH routes on one session: announced, sent, changed, withdrawn one by one and together, again and again.
// Each is told once, and the status knows when it has left.
func TestRTBH(t *testing.T) {
	r := router(t, offersUnicast)
	b := join(t)
	to := neighbour("r1", r, carriesRTBH)
	routes := []*wanted.Route{blackhole(t, "203.0.113.7/32"), blackhole(t, "203.0.113.8/32"), blackhole(t, "2001:db8::1/128")}
	revision := uint64(0)
	set := func(routes ...*wanted.Route) {
		t.Helper()
		revision++
		w := base(revision, to)
		w.Routes = routes
		b.set(w)
		wait(t, r, "the routes", has(keysOf(routes...)...))
		states := map[flowspec.Key]wanted.RouteState{}
		for _, r := range routes {
			states[r.Key] = wanted.RouteSent
		}
		b.waitStates("r1", states)
		waitReached(t, b, revision)
	}
	set(routes...)
	set(routes[1:]...)
	set(routes...)
	set()
	set(routes[2])
	set(routes[:2]...)
	// A new MED replaces the route without a withdrawal.
	newest := *routes[0]
	newest.MED--
	newer := []*wanted.Route{&newest, routes[1]}
	set(newer...)
	wait(t, r, "the newer route", func(t bgptest.Table) bool {
		best, ok := t.Best(newer[0].Key)
		return ok && best.MED == newer[0].MED
	})
	// Another discard next hop replaces all routes of the family, on the same session.
	to.DiscardIPv4 = netip.MustParseAddr("192.0.2.77")
	set(newer...)
	wait(t, r, "the other next hop", func(t bgptest.Table) bool {
		for _, n := range newer {
			if best, ok := t.Best(n.Key); !ok || best.NextHop != to.DiscardIPv4 {
				return false
			}
		}
		return true
	})
	waitStatus(t, b, "what has left", func() bool { return b.session("r1").Announced == 10 })
	if got := b.session("r1"); got.Withdrawn != 5 || got.Sent != 2 || got.Resets != 0 || len(r.Sessions()) != 1 {
		t.Errorf("%d sessions, status %+v", len(r.Sessions()), got)
	}
	// What is loaded goes out with a new session.
	if err := r.Cut(1); err != nil {
		t.Fatal(err)
	}
	wait(t, r, "the loss", has())
	wait(t, r, "all again", has(keysOf(newer...)...))
	b.waitStates("r1", map[flowspec.Key]wanted.RouteState{newer[0].Key: wanted.RouteSent, newer[1].Key: wanted.RouteSent})
	set()
}

// One router with two addresses, one group: each session hears its own kind, and a route of one kind takes nothing away
// from one of the other to the same destination.
func TestKindsNeverShareASession(t *testing.T) {
	rules, holes := router(t, offersUnicast), router(t, offersUnicast)
	b := join(t)
	w := base(1, neighbour("rules", rules), neighbour("holes", holes, carriesRTBH))
	rule, hole := discard(t, "203.0.113.7/32"), blackhole(t, "203.0.113.7/32")
	six, hole6 := discard(t, "2001:db8::1/128"), blackhole(t, "2001:db8::1/128")
	w.Routes = []*wanted.Route{rule, hole, six, hole6}
	b.set(w)
	wait(t, rules, "the rules", has(rule.Key, six.Key))
	wait(t, holes, "the RTBH routes", has(hole.Key, hole6.Key))
	waitReached(t, b, 1)
	for _, c := range []struct {
		name string
		r    *bgptest.Router
		want bgptest.Session
	}{
		{"rules", rules, bgptest.Session{Families: bothFamilies()}}, {"holes", holes, bgptest.Session{Unicast: bothFamilies()}},
	} {
		s := c.r.Sessions()[0]
		if !slices.Equal(s.Families, c.want.Families) || !slices.Equal(s.Unicast, c.want.Unicast) {
			t.Errorf("%s: the session carries FlowSpec %v and unicast %v", c.name, s.Families, s.Unicast)
		}
		if got := b.session(c.name); got.Wanted != 2 || len(got.Routes) != 2 {
			t.Errorf("%s: status %+v", c.name, got)
		}
	}
	w = base(2, w.Routers...)
	w.Routes = []*wanted.Route{rule, hole6}
	b.set(w)
	wait(t, rules, "one rule", has(rule.Key))
	wait(t, holes, "one RTBH route", has(hole6.Key))

	// The sessions change places: nothing of the other kind is left anywhere.
	w = base(3, neighbour("rules", rules, carriesRTBH), neighbour("holes", holes))
	w.Routes = []*wanted.Route{rule, hole, hole6}
	b.set(w)
	wait(t, rules, "RTBH routes at the other router", has(hole.Key, hole6.Key))
	wait(t, holes, "the rule at the other router", has(rule.Key))
	waitReached(t, b, 3)
	if h := append(rules.History(six.Key), holes.History(hole.Key)...); len(h) != 4 {
		t.Errorf("history %v", h)
	}
}

// RTBH routes end as rules do: by NotAfter, by the lease, by the guard's word, and when the speaker stops.
func TestRTBHEnds(t *testing.T) {
	r := router(t, offersUnicast)
	b := join(t)
	to := neighbour("r1", r, carriesRTBH)
	short, long, six := blackhole(t, "203.0.113.1/32"), blackhole(t, "203.0.113.2/32"), blackhole(t, "2001:db8::1/128")
	short.NotAfter, six.NotAfter = b.clock.in(time.Hour), b.clock.in(time.Hour)
	w := base(1, to)
	w.LeaseUntil = b.clock.in(2 * time.Hour)
	w.Routes = []*wanted.Route{short, long, six}
	b.set(w)
	wait(t, r, "all", has(short.Key, long.Key, six.Key))
	b.clock.pass(time.Hour)
	wait(t, r, "the longer one", has(long.Key))
	b.waitStates("r1", map[flowspec.Key]wanted.RouteState{
		short.Key: wanted.RouteExpired, long.Key: wanted.RouteSent, six.Key: wanted.RouteExpired,
	})
	b.clock.pass(time.Hour)
	wait(t, r, "nothing after the lease", has())

	wide := blackhole(t, "203.0.113.64/26")
	w = base(2, to)
	w.ShortestRTBH = wanted.Lengths{IPv4: 26}
	w.Routes = []*wanted.Route{long, wide}
	b.set(w)
	wait(t, r, "both", has(long.Key, wide.Key))
	w.Revision, w.Protected = 3, []netip.Prefix{netip.MustParsePrefix("203.0.113.2/31")}
	b.set(w)
	wait(t, r, "what does not touch a link", has(wide.Key))
	w.Revision, w.ShortestRTBH = 4, wanted.Lengths{}
	b.set(w)
	wait(t, r, "nothing shorter than a host", has())
	b.waitStates("r1", map[flowspec.Key]wanted.RouteState{long.Key: wanted.RouteRefused, wide.Key: wanted.RouteRefused})
	for _, s := range b.session("r1").Routes {
		if want := map[flowspec.Key]wanted.RefusalCode{long.Key: wanted.RefusedProtected, wide.Key: wanted.RefusedTooShort}[s.Key]; s.Refusal != want || s.Detail == "" {
			t.Errorf("route %s is refused as %q (%s), want %q", s.Key, s.Refusal, s.Detail, want)
		}
	}
	w.Revision, w.Protected = 5, nil
	b.set(w)
	wait(t, r, "the host", has(long.Key))
	b.stop()
	wait(t, r, "nothing after the stop", has())
}

// The budget and the pace of a router hold for its RTBH session too.
func TestRTBHBudgetAndPace(t *testing.T) {
	r := router(t, offersUnicast)
	b := join(t)
	w := base(1, neighbour("r1", r, carriesRTBH, func(w *wanted.Router) { w.MaxRoutes, w.RulesPerSecond = 2, 1 }))
	for i, text := range []string{"203.0.113.1/32", "203.0.113.2/32", "2001:db8::1/128"} {
		w.Routes = append(w.Routes, blackhole(t, text))
		w.Routes[i].Urgency = uint32(i)
	}
	b.set(w)
	wait(t, r, "the two most urgent", has(w.Routes[1].Key, w.Routes[2].Key))
	b.waitStates("r1", map[flowspec.Key]wanted.RouteState{
		w.Routes[0].Key: wanted.RouteOverBudget, w.Routes[1].Key: wanted.RouteSent, w.Routes[2].Key: wanted.RouteSent,
	})
	if h := r.History(w.Routes[0].Key); len(h) > 0 {
		t.Errorf("a route beyond the budget was heard: %v", h)
	}
	// Whoever waits is announced when there is room, and what takes the place of a route comes before it goes.
	both := blackhole(t, "203.0.113.2/31")
	next := base(2, w.Routers...)
	next.ShortestRTBH.IPv4 = 31
	next.Routes = []*wanted.Route{both}
	b.set(next)
	wait(t, r, "the wider route", has(both.Key))
	at := func(k flowspec.Key, announce bool) uint64 {
		h := r.History(k)
		i := slices.IndexFunc(h, func(c bgptest.Change) bool { return c.Announce == announce })
		if i < 0 {
			t.Fatalf("no such change in %v", h)
		}
		return h[i].Seq
	}
	if came, went := at(both.Key, true), at(w.Routes[1].Key, false); came > went {
		t.Errorf("the wider route came in UPDATE %d, the narrower went in UPDATE %d", came, went)
	}
}

// What a router announces of its own unicast routes, the same prefix and a whole table among them, is neither used nor
// passed on, and takes nothing away from what we announce, though the router is an iBGP neighbour and prefers its own.
func TestRTBHLocalOnly(t *testing.T) {
	const many = 20_000
	rival, full := router(t, offersUnicast, func(c *bgptest.Config) { c.ASN = ourASN }), router(t, offersUnicast)
	b := join(t)
	ours, ours6 := blackhole(t, "203.0.113.7/32"), blackhole(t, "2001:db8::1/128")
	announce := func(r *bgptest.Router, p netip.Prefix, hop string) {
		t.Helper()
		if err := r.Announce(bgptest.Route{Unicast: true, Prefix: p, NextHop: netip.MustParseAddr(hop), LocalPref: 200}); err != nil {
			t.Fatal(err)
		}
	}
	announce(rival, netip.MustParsePrefix("203.0.113.7/32"), "192.0.2.1")
	announce(rival, netip.MustParsePrefix("2001:db8::1/128"), "2001:db8:5::1")
	announce(rival, netip.MustParsePrefix("203.0.113.9/32"), "192.0.2.1")
	announce(full, netip.MustParsePrefix("0.0.0.0/0"), "192.0.2.1")
	announce(full, netip.MustParsePrefix("::/0"), "2001:db8:5::1")
	for i := range many {
		announce(full, netip.PrefixFrom(netip.AddrFrom4([4]byte{20, byte(i >> 8), byte(i), 0}), 24), "192.0.2.1")
	}
	w := base(1, neighbour("rival", rival, carriesRTBH, func(w *wanted.Router) { w.ASN = ourASN }), neighbour("full", full, carriesRTBH))
	w.Routes = []*wanted.Route{ours, ours6}
	b.set(w)
	for _, r := range []*bgptest.Router{rival, full} {
		wait(t, r, "our routes", has(ours.Key, ours6.Key))
	}
	// A change after their routes came in still goes out, and theirs never do.
	more := blackhole(t, "203.0.113.9/32")
	w = base(2, w.Routers...)
	w.Routes = []*wanted.Route{ours, ours6, more}
	b.set(w)
	for _, r := range []*bgptest.Router{rival, full} {
		wait(t, r, "our routes and one more", has(ours.Key, ours6.Key, more.Key))
		for _, k := range []flowspec.Key{ours.Key, more.Key} {
			if best, _ := r.Table().Best(k); best.NextHop != netip.MustParseAddr(discard4) {
				t.Errorf("the route has next hop %s", best.NextHop)
			}
		}
	}
	b.set(base(3, w.Routers...))
	for _, r := range []*bgptest.Router{rival, full} {
		wait(t, r, "nothing", has())
		if announced, withdrawn := r.Counts(); announced != 3 || withdrawn != 3 {
			t.Errorf("%d routes announced and %d withdrawn, want 3 and 3", announced, withdrawn)
		}
		for _, k := range []flowspec.Key{ours.Key, ours6.Key} {
			if h := r.History(k); len(h) != 2 || h[1].Seq <= r.History(more.Key)[0].Seq {
				t.Errorf("a route was withdrawn before it should: %+v", h)
			}
		}
	}
}

// A router without a discard next hop hears no RTBH route of that family, and is told why; without any it is not dialled.
func TestRTBHWithoutNextHop(t *testing.T) {
	half, none, only4 := router(t, offersUnicast), router(t, offersUnicast), router(t, func(c *bgptest.Config) { c.Unicast = bothFamilies()[:1] })
	b := join(t)
	w := base(1,
		neighbour("half", half, carriesRTBH, func(w *wanted.Router) { w.DiscardIPv4 = netip.Addr{} }),
		neighbour("none", none, carriesRTBH, func(w *wanted.Router) { w.DiscardIPv4, w.DiscardIPv6 = netip.Addr{}, netip.Addr{} }),
		neighbour("neither", none, func(w *wanted.Router) { w.Address, w.IPv4, w.IPv6 = netip.MustParseAddr("127.0.0.99"), false, false }),
		neighbour("only4", only4, carriesRTBH))
	four, six := blackhole(t, "203.0.113.7/32"), blackhole(t, "2001:db8::1/128")
	w.Routes = []*wanted.Route{four, six}
	b.set(w)
	wait(t, half, "the IPv6 route", has(six.Key))
	wait(t, only4, "the IPv4 route", has(four.Key))
	b.waitStates("half", map[flowspec.Key]wanted.RouteState{four.Key: wanted.RouteRefused, six.Key: wanted.RouteSent})
	b.waitStates("only4", map[flowspec.Key]wanted.RouteState{four.Key: wanted.RouteSent, six.Key: wanted.RouteNoFamily})
	b.waitStates("none", map[flowspec.Key]wanted.RouteState{four.Key: wanted.RouteRefused, six.Key: wanted.RouteRefused})
	got := b.session("half")
	if r := got.Routes[0]; r.Refusal != wanted.RefusedNoNextHop || r.Detail != `router "half" has no discard next hop for 203.0.113.7/32` || got.Refused != 1 {
		t.Errorf("refused as %q: %s", r.Refusal, r.Detail)
	}
	for name, want := range map[string]string{"none": "no discard next hop", "neither": "neither IPv4 nor IPv6"} {
		waitStatus(t, b, name, func() bool {
			s := b.session(name)
			return s.State == wanted.SessionInvalid && strings.Contains(s.LastError, want)
		})
	}
	if s := half.Sessions()[0]; !slices.Equal(s.Unicast, bothFamilies()[1:]) {
		t.Errorf("the session carries %v", s.Unicast)
	}
	if len(none.Sessions()) > 0 {
		t.Error("a router without next hops was dialled")
	}
	// With a next hop it is.
	w = base(2, w.Routers...)
	w.Routers = slices.Clone(w.Routers)
	w.Routers[1].DiscardIPv4 = netip.MustParseAddr(discard4)
	w.Routes = []*wanted.Route{four, six}
	if err := b.Set(context.Background(), w); err != nil {
		t.Fatal(err)
	}
	wait(t, none, "the IPv4 route", has(four.Key))
}

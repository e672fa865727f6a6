package bgp_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidegate/tidegate/bgp"
	"github.com/tidegate/tidegate/bgp/bgptest"
	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// Every path carries what keeps it inside: NO_EXPORT and the tidegate community, and the MED that fences stale nodes.
func TestAttributes(t *testing.T) {
	rows := []struct {
		name string
		asn  flowspec.ASN
		want bgptest.Route
	}{
		{"eBGP", 65010, bgptest.Route{ASPath: []flowspec.ASN{ourASN}, External: true}},
		{"iBGP", ourASN, bgptest.Route{LocalPref: 100}},
	}
	w := base(1)
	routers := make([]*bgptest.Router, len(rows))
	for i, c := range rows {
		routers[i] = router(t, func(cfg *bgptest.Config) { cfg.ASN = c.asn })
		w.Routers = append(w.Routers, neighbour(c.name, routers[i], func(w *wanted.Router) { w.ASN = c.asn }))
	}
	for i, text := range []string{"203.0.113.0/25", "2001:db8:1::/48"} {
		w.Routes = append(w.Routes, route(netip.MustParsePrefix(text), flowspec.RateLimit(125_000)))
		w.Routes[i].MED = 4_294_967_000 + uint32(i)
		w.Routes[i].Rule.Actions[0].ASN = ourASN
	}
	b := join(t)
	b.set(w)
	for i, c := range rows {
		wait(t, routers[i], c.name+": two rules", has(keysOf(w.Routes...)...))
		for _, want := range w.Routes {
			got, _ := routers[i].Table().Best(want.Key)
			exp := c.want
			exp.Key, exp.Rule, exp.MED, exp.HasMED = want.Key, want.Rule, want.MED, true
			exp.Communities = []uint32{0xffffff01} // NO_EXPORT, 65535:65281
			exp.Large = [][3]uint32{{ourASN, 0x7467, 1}}
			exp.Extended = [][8]byte{{0x80, 0x06, 0xfd, 0xe9, 0x47, 0xf4, 0x24, 0x00}} // traffic-rate-bytes, AS 65001, 125000
			exp.Session, exp.From, exp.Since = got.Session, netip.MustParseAddr("192.0.2.101"), got.Since
			if diff := cmp.Diff(exp, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
				cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("%s: route (-want +got):\n%s", c.name, diff)
			}
		}
	}
}

// Many rules, the longest safe one among them, arrive over a session with extended messages, with no UPDATE beyond
// what routers survive.
func TestManyRulesOverExtendedMessages(t *testing.T) {
	r := router(t, func(c *bgptest.Config) { c.ExtendedMessages, c.KeepUpdates = true, true })
	b := join(t)
	w := base(1, neighbour("r1", r))
	w.Routes = hosts(3000)
	longest := route(netip.MustParsePrefix("2001:db8::1/128"), flowspec.Discard())
	longest.Rule.Match = bgp.LongestSafe()
	longest.Key = longest.Rule.Match.Key()
	w.Routes = append(w.Routes, longest)
	b.set(w)
	wait(t, r, "3,001 rules", func(t bgptest.Table) bool { return t.Len() == 3001 })
	if best, ok := r.Table().Best(longest.Key); !ok || !best.Rule.Equal(longest.Rule) {
		t.Errorf("the longest rule arrives as %q", best.Rule)
	}
	s := r.Sessions()[0]
	if !s.Extended {
		t.Fatal("extended messages were not negotiated")
	}
	for _, u := range r.Updates() {
		if u.Length > 4300 {
			t.Errorf("update %d has %d octets", u.Seq, u.Length)
		}
	}
}

// What a router announces is neither used nor passed on, and takes nothing away from what we announce.
//
// The router is an iBGP neighbour and prefers its own rules, which would win over ours if they were used.
func TestLocalOnly(t *testing.T) {
	r1 := router(t, func(c *bgptest.Config) { c.ASN = ourASN })
	r2 := router(t)
	b := join(t)
	theirs := discard(t, "203.0.113.128/25")
	ours := discard(t, "203.0.113.0/25")
	for _, route := range []*wanted.Route{theirs, ours} {
		if err := r1.Announce(bgptest.Route{Rule: route.Rule, LocalPref: 200}); err != nil {
			t.Fatal(err)
		}
	}
	w := base(1, neighbour("r1", r1, func(w *wanted.Router) { w.ASN = ourASN }), neighbour("r2", r2))
	w.Routes = []*wanted.Route{ours}
	b.set(w)
	for _, r := range []*bgptest.Router{r1, r2} {
		wait(t, r, "our rule", has(ours.Key))
	}
	// A change after their routes came in still goes out, and theirs never do.
	if err := r1.Announce(bgptest.Route{Rule: discard(t, "203.0.113.200/32").Rule}); err != nil {
		t.Fatal(err)
	}
	more := discard(t, "2001:db8:1::/48")
	w.Revision, w.Routes = 2, []*wanted.Route{ours, more}
	b.set(w)
	for _, r := range []*bgptest.Router{r1, r2} {
		wait(t, r, "our rules", has(ours.Key, more.Key))
	}
	if h := append(r1.History(theirs.Key), r2.History(theirs.Key)...); len(h) > 0 {
		t.Errorf("a router's rule was passed on: %v", h)
	}
	b.set(base(3, w.Routers...))
	for _, r := range []*bgptest.Router{r1, r2} {
		wait(t, r, "nothing", has())
		if announced, withdrawn := r.Counts(); announced != 2 || withdrawn != 2 {
			t.Errorf("%d rules announced and %d withdrawn, want 2 and 2", announced, withdrawn)
		}
	}
}

// A route reaches the routers of its groups only, and a change of groups takes it to one and away from the other.
func TestGroupsAndFamilies(t *testing.T) {
	r1, r2, r3 := router(t), router(t), router(t)
	b := join(t)
	group := func(g string) func(*wanted.Router) { return func(w *wanted.Router) { w.Group = g } }
	routers := []wanted.Router{
		neighbour("r1", r1, group("transit")), neighbour("r2", r2, group("peering")),
		neighbour("r3", r3, group("peering"), func(w *wanted.Router) { w.IPv6 = false }),
	}
	a, c, none, six := discard(t, "203.0.113.1/32"), discard(t, "203.0.113.2/32"), discard(t, "203.0.113.3/32"), discard(t, "2001:db8::1/128")
	a.Groups, c.Groups, none.Groups = []string{"transit"}, []string{"transit", "peering"}, nil
	six.Groups = []string{"peering"}
	w := base(1, routers...)
	w.Routes = []*wanted.Route{a, c, none, six}
	b.set(w)
	wait(t, r1, "transit", has(a.Key, c.Key))
	wait(t, r2, "peering", has(c.Key, six.Key))
	wait(t, r3, "peering without IPv6", has(c.Key))

	a2, c2 := *a, *c
	a2.Groups, c2.Groups = []string{"peering"}, []string{"transit"}
	w = base(2, routers...)
	w.Routes = []*wanted.Route{&a2, &c2}
	b.set(w)
	wait(t, r1, "transit after the change", has(c.Key))
	wait(t, r2, "peering after the change", has(a.Key))
	wait(t, r3, "peering after the change", has(a.Key))
	waitReached(t, b, 2)
	if h := append(r1.History(none.Key), r2.History(none.Key)...); len(h) > 0 {
		t.Errorf("a route without groups was heard: %v", h)
	}

	// A router that leaves the Set is told goodbye; one that comes back hears everything.
	w.Revision, w.Routers = 3, routers[:1]
	b.set(w)
	if err := r2.Wait(timeout(t, 10*time.Second), func(_ bgptest.Table, s []bgptest.Session) bool { return !s[0].Down.IsZero() }); err != nil {
		t.Fatal(err)
	}
	if got := r2.Sessions()[0].Why; !strings.Contains(got, "notification 6/3") {
		t.Errorf("the session ended with %q, want Cease, peer de-configured", got)
	}
	w.Revision, w.Routers = 4, routers
	b.set(w)
	wait(t, r2, "a router that is back", has(a.Key))
	waitReached(t, b, 4)
}

// NotAfter and the lease end routes without any call.
func TestDeadlines(t *testing.T) {
	r := router(t)
	b := join(t)
	to := neighbour("r1", r)
	short, long := discard(t, "203.0.113.1/32"), discard(t, "203.0.113.2/32")
	short.NotAfter, long.NotAfter = b.clock.in(time.Hour), b.clock.in(3*time.Hour)
	w := base(1, to)
	w.LeaseUntil = b.clock.in(2 * time.Hour)
	w.Routes = []*wanted.Route{short, long}
	b.set(w)
	wait(t, r, "both", has(short.Key, long.Key))

	b.clock.pass(time.Hour)
	wait(t, r, "the longer one", has(long.Key))
	b.waitStates("r1", map[flowspec.Key]wanted.RouteState{short.Key: wanted.RouteExpired, long.Key: wanted.RouteSent})
	// A new lease, still with the expired route in the Set, brings back nothing that has expired.
	w.Revision, w.LeaseUntil = 2, b.clock.in(90*time.Minute)
	b.set(w)
	waitReached(t, b, 2)
	b.clock.pass(65 * time.Minute)
	st := b.Status()
	if left := time.Duration(st.LeaseUntil - st.At); left <= 0 || left > 30*time.Minute {
		t.Errorf("lease of %s left, want about 25 min", left)
	}
	if !r.Table().Has(long.Key) {
		t.Error("the route is gone before its lease")
	}
	b.clock.pass(30 * time.Minute)
	wait(t, r, "nothing after the lease", has())
	b.waitStates("r1", map[flowspec.Key]wanted.RouteState{short.Key: wanted.RouteExpired, long.Key: wanted.RouteExpired})

	w.Revision, w.LeaseUntil = 3, b.clock.in(time.Hour)
	again := *long
	again.NotAfter = b.clock.in(time.Second / 2) // passes by itself, by the real clock
	w.Routes = []*wanted.Route{short, &again}
	b.set(w)
	wait(t, r, "the route with a new lease", has(long.Key))
	wait(t, r, "nothing after half a second", has())
}

// A route that the guard refuses is kept back, and withdrawn if it is out, as soon as the Set says so.
func TestRefusedIsWithdrawn(t *testing.T) {
	r := router(t)
	b := join(t)
	to := neighbour("r1", r)
	good, bad := discard(t, "203.0.113.0/25"), discard(t, "203.0.113.128/25")
	w := base(1, to)
	w.Routes = []*wanted.Route{good, bad}
	b.set(w)
	wait(t, r, "both", has(good.Key, bad.Key))

	w.Revision, w.Protected = 2, []netip.Prefix{netip.MustParsePrefix("203.0.113.200/31")}
	b.set(w)
	wait(t, r, "the lawful one", has(good.Key))
	b.waitStates("r1", map[flowspec.Key]wanted.RouteState{good.Key: wanted.RouteSent, bad.Key: wanted.RouteRefused})
	session := b.session("r1")
	for _, s := range session.Routes {
		want := wanted.RouteStatus{Key: s.Key, State: s.State, Since: s.Since}
		if s.Key == bad.Key {
			want.Refusal, want.Detail = wanted.RefusedProtected, "destination 203.0.113.128/25 overlaps protected space"
		}
		if s != want {
			t.Errorf("route %s: %+v, want %+v", s.Key, s, want)
		}
	}
	if session.Refused != 1 || session.Sent != 1 || session.Wanted != 2 {
		t.Errorf("%d routes refused, %d sent, %d wanted; want 1, 1, 2", session.Refused, session.Sent, session.Wanted)
	}

	w.Revision, w.Protected, w.Official = 3, nil, nil
	b.set(w)
	wait(t, r, "nothing without official space", has())

	w = base(4, to)
	w.Routes = []*wanted.Route{good, bad}
	b.set(w)
	wait(t, r, "both again", has(good.Key, bad.Key))
	if err := b.Set(context.Background(), wanted.Set{}); !errors.Is(err, bgp.ErrUnset) {
		t.Errorf("Set of nothing = %v, want ErrUnset", err)
	}
	if r.Table().Len() != 2 {
		t.Error("an unset Set changed something")
	}
}

// One router that stops reading is noticed and reset; meanwhile another one is served as ever.
func TestStoppedReaderIsNoticed(t *testing.T) {
	lazy := router(t, func(c *bgptest.Config) { c.ReadBuffer = 4096 })
	brisk := router(t)
	b := join(t, func(c *bgp.Config, _ *bgp.Deps) { c.StuckAfter, c.ResetAfter = time.Second, 2*time.Second })
	routers := []wanted.Router{
		neighbour("brisk", brisk, func(w *wanted.Router) { w.Group = "brisk" }), neighbour("lazy", lazy),
	}
	set := func(rev uint64, n int) wanted.Set {
		w := base(rev, routers...)
		w.Routes = append(hosts(n), discard(t, "203.0.113.1/32"))
		// With a MED of its own each rule makes an UPDATE of its own.
		for i := range w.Routes {
			w.Routes[i].MED = uint32(rev)<<16 + uint32(i)
		}
		w.Routes[n].Groups = []string{"brisk"}
		return w
	}
	newest := func(w wanted.Set) func(bgptest.Table) bool {
		last := w.Routes[len(w.Routes)-1]
		return func(t bgptest.Table) bool {
			best, ok := t.Best(last.Key)
			return ok && best.MED == last.MED
		}
	}
	w := set(1, 10)
	b.set(w)
	wait(t, lazy, "ten rules", has(keysOf(w.Routes[:10]...)...))
	wait(t, brisk, "one rule", newest(w))

	lazy.StopReading()
	// Sets follow each other until the kernel's buffers to the lazy router are full.
	ctx := timeout(t, 60*time.Second)
	for rev := uint64(2); b.session("lazy").Resets == 0; rev++ {
		if ctx.Err() != nil {
			t.Fatalf("the lazy router is not noticed: %+v", b.session("lazy"))
		}
		w = set(rev, 1000)
		begin := time.Now()
		b.set(w)
		wait(t, brisk, "its rule", newest(w))
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("the brisk router waited for %s", took)
		}
	}
	if got := b.session("lazy").LastError; !strings.Contains(got, "stopped reading") {
		t.Errorf("last error %q", got)
	}
	lazy.StartReading()
	wait(t, lazy, "all rules after the reset", func(t bgptest.Table) bool {
		best, ok := t.Best(w.Routes[999].Key)
		return t.Len() == 1000 && ok && best.MED == w.Routes[999].MED
	})
}

// After a reset by the router, or a cut line, the whole table goes out again, soon.
func TestSessionLoss(t *testing.T) {
	r := router(t)
	b := join(t)
	w := base(1, neighbour("r1", r))
	w.Routes = hosts(100)
	b.set(w)
	all := func(t bgptest.Table) bool { return t.Len() == 100 }
	wait(t, r, "100 rules", all)
	for i, c := range []struct {
		end  func(bgptest.SessionID) error
		want string
	}{
		{func(id bgptest.SessionID) error { return r.Reset(id, bgptest.Notification{Code: 6, Subcode: 4}) }, "the router ended the session"},
		{r.Cut, "the connection broke"},
	} {
		begin := time.Now()
		if err := c.end(bgptest.SessionID(i + 1)); err != nil {
			t.Fatal(err)
		}
		wait(t, r, "the loss", func(t bgptest.Table) bool { return t.Len() == 0 })
		wait(t, r, "100 rules again", all)
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("loss %d: the rules were away for %s", i, took)
		}
		if got := b.session("r1").LastError; !strings.Contains(got, c.want) {
			t.Errorf("loss %d: last error %q, want %q", i, got, c.want)
		}
	}
	// Changes still go out, in both directions.
	w.Revision, w.Routes = 2, w.Routes[50:]
	b.set(w)
	wait(t, r, "50 rules", has(keysOf(w.Routes...)...))
	waitReached(t, b, 2)
	waitStatus(t, b, "50 rules sent", func() bool { return b.session("r1").Sent == 50 })
}

// Why a session does not come up is said in words that help.
func TestReasons(t *testing.T) {
	closed := router(t)
	quiet := neighbour("refusing", closed)
	quiet.Address = netip.MustParseAddr("127.0.0.99") // nobody listens there
	wrongAS := router(t, func(c *bgptest.Config) { c.ASN = 65099 })
	password := router(t)
	noFlowSpec := router(t, func(c *bgptest.Config) { c.Families = []flowspec.Family{flowspec.IPv6} })
	b := join(t)
	w := base(1, quiet, neighbour("wrong-as", wrongAS),
		neighbour("password", password, func(r *wanted.Router) { r.Password = "s3cret" }),
		neighbour("ttl", router(t), func(r *wanted.Router) { r.TTLSecurity = true }),
		neighbour("only-v6", noFlowSpec))
	w.Routes = []*wanted.Route{discard(t, "203.0.113.1/32"), discard(t, "2001:db8::1/128")}
	b.set(w)
	wait(t, noFlowSpec, "the IPv6 rule", has(w.Routes[1].Key))
	for name, want := range map[string]string{
		"refusing": "refuses connections",
		"wrong-as": "wrong AS",
		"password": "MD5 passwords differ",
		"ttl":      "TTL security",
	} {
		waitStatus(t, b, name, func() bool {
			return strings.Contains(b.session(name).LastError, want)
		})
	}
	st := b.Status()
	if text := fmt.Sprintf("%+v", st); strings.Contains(text, "s3cret") {
		t.Errorf("a password stands in %s", text)
	}
	for _, p := range st.Sessions {
		name := p.Router.Name
		if up := name == "only-v6"; up != (p.State == wanted.SessionEstablished) || p.Since.IsZero() || up != p.LastErrorAt.IsZero() {
			t.Errorf("router %q is %s since %s, last error at %s", name, p.State, p.Since, p.LastErrorAt)
		}
	}
	// What was agreed is shown, not what is configured.
	if got := b.session("only-v6").Families; !slices.Equal(got, []flowspec.Family{flowspec.IPv6}) {
		t.Errorf("families %v", got)
	}
	b.waitStates("only-v6", map[flowspec.Key]wanted.RouteState{
		w.Routes[0].Key: wanted.RouteNoFamily, w.Routes[1].Key: wanted.RouteSent,
	})
	b.waitStates("refusing", map[flowspec.Key]wanted.RouteState{
		w.Routes[0].Key: wanted.RouteNoSession, w.Routes[1].Key: wanted.RouteNoSession,
	})
}

// A node that is held back at an older action does not win: the newest committed action has the lowest MED.
func TestStaleNodeLoses(t *testing.T) {
	r := router(t)
	// The stale node: lower router id, and heard first, so that it would win at equal MED.
	stale, err := bgptest.NewRouter(bgptest.Config{ASN: ourASN, RouterID: netip.MustParseAddr("192.0.2.50")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- stale.Run(ctx) }()
	defer func() {
		cancel()
		<-done
	}()
	p := netip.MustParsePrefix("203.0.113.0/24")
	old := route(p, flowspec.RateLimit(125_000))
	old.MED = 1<<32 - 1 - 100
	if err := stale.Announce(bgptest.Route{Rule: old.Rule, MED: old.MED, HasMED: true}); err != nil {
		t.Fatal(err)
	}
	if err := stale.Dial(ctx, r.Addr()); err != nil {
		t.Fatal(err)
	}
	wait(t, r, "the stale node's rule", has(old.Key))

	b := join(t)
	w := base(1, neighbour("r1", r))
	w.Routes = []*wanted.Route{old}
	both := func(t bgptest.Table) bool { return len(t.Paths(old.Key)) == 2 }
	b.set(w)
	wait(t, r, "both nodes at the older action", both)
	if best, _ := r.Table().Best(old.Key); best.From != netip.MustParseAddr("192.0.2.50") {
		t.Fatalf("best path is from %s: the test would prove nothing", best.From)
	}
	newer := route(p, flowspec.Discard())
	newer.MED = 1<<32 - 1 - 101
	w.Revision, w.Routes = 2, []*wanted.Route{newer}
	b.set(w)
	wait(t, r, "the newer action as best path", func(t bgptest.Table) bool {
		best, ok := t.Best(old.Key)
		return ok && best.Rule.Actions[0].Discards() && best.MED == newer.MED
	})
	if gaps := r.Absent(old.Key); len(gaps) > 0 {
		t.Errorf("the key was absent: %v", gaps)
	}
}

func TestStopsClean(t *testing.T) {
	r := router(t)
	before := runtime.NumGoroutine()
	reg := prometheus.NewRegistry()
	b := start(t, func(_ *bgp.Config, d *bgp.Deps) { d.Registerer = reg })
	w := base(1, neighbour("r1", r))
	w.Routes = hosts(10)
	b.set(w)
	wait(t, r, "ten rules", has(keysOf(w.Routes...)...))
	waitStatus(t, b, "ten rules sent", func() bool { return b.session("r1").Sent == 10 })
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]float64{}
	for _, f := range families {
		m := f.GetMetric()[0]
		seen[f.GetName()] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
	}
	for name, want := range map[string]float64{
		"tidegate_bgp_session_established": 1, "tidegate_bgp_session_stuck": 0, "tidegate_bgp_revision": 1,
		"tidegate_bgp_announcements_total": 10, "tidegate_bgp_guard_refusals_total": 0,
	} {
		if got, ok := seen[name]; !ok || got != want {
			t.Errorf("metric %s = %v (%t), want %v", name, got, ok, want)
		}
	}

	b.stop()
	wait(t, r, "nothing after the stop", has())
	if err := b.Set(context.Background(), base(2)); !errors.Is(err, bgp.ErrStopped) {
		t.Errorf("Set after Run = %v, want ErrStopped", err)
	}
	if err := b.Run(context.Background()); !errors.Is(err, bgp.ErrAlreadyRan) {
		t.Errorf("second Run = %v, want ErrAlreadyRan", err)
	}
	if families, err := reg.Gather(); err != nil || len(families) > 0 {
		t.Errorf("%d metrics are left, %v", len(families), err)
	}
	// The kernel and GoBGP let their last goroutines go a moment after they are done.
	deadline := time.Now().Add(5 * time.Second)
	for runtime.NumGoroutine() > before+2 && time.Now().Before(deadline) { // the witness's ended session may linger
		runtime.Gosched()
	}
	if after := runtime.NumGoroutine(); after > before+2 {
		buf := make([]byte, 1<<20)
		t.Errorf("%d goroutines before, %d after\n%s", before, after, buf[:runtime.Stack(buf, true)])
	}
}

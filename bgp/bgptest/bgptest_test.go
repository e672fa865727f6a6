package bgptest

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

func run(t *testing.T, cfg Config) *Router {
	t.Helper()
	r, err := NewRouter(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return r
}

func discard(t *testing.T, text string) flowspec.Rule {
	t.Helper()
	p := netip.MustParsePrefix(text)
	f := flowspec.IPv6
	if p.Addr().Is4() {
		f = flowspec.IPv4
	}
	m, err := flowspec.NewMatch(f, flowspec.Destination(p))
	if err != nil {
		t.Fatal(err)
	}
	return flowspec.Rule{Match: m, Actions: []flowspec.Action{flowspec.Discard()}}
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func id(s string) netip.Addr { return netip.MustParseAddr(s) }

// Two speakers and a router, all of this package: sessions, table, history, best path, withdrawal, loss.
func TestRouters(t *testing.T) {
	r := run(t, Config{ASN: 65010, RouterID: id("192.0.2.1"), KeepUpdates: true})
	a := run(t, Config{ASN: 65001, RouterID: id("192.0.2.2")})
	b := run(t, Config{ASN: 65001, RouterID: id("192.0.2.3"), Families: []flowspec.Family{flowspec.IPv4}})
	rule := discard(t, "203.0.113.0/24")
	six := discard(t, "2001:db8::/48")
	key := rule.Match.Key()
	for _, s := range []struct {
		*Router
		med uint32
	}{{a, 200}, {b, 100}} {
		for _, rule := range []flowspec.Rule{rule, six} {
			if err := s.Announce(Route{Rule: rule, MED: s.med, HasMED: true}); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Dial(within(t), r.Addr()); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.WaitRoutes(within(t), func(t Table) bool { return len(t.Paths(key)) == 2 && t.Has(six.Match.Key()) }); err != nil {
		t.Fatal(err)
	}
	if n := len(r.Table().Paths(six.Match.Key())); n != 1 {
		t.Errorf("%d paths for IPv6, want 1: b does not speak it", n)
	}
	best, _ := r.Table().Best(key)
	if best.From != id("192.0.2.3") || best.MED != 100 || !best.External || !cmp.Equal(best.ASPath, []flowspec.ASN{65001}) {
		t.Errorf("best path %+v, want the one of the lowest MED", best)
	}

	if err := b.Withdraw(rule.Match); err != nil {
		t.Fatal(err)
	}
	if err := r.WaitRoutes(within(t), func(t Table) bool { return len(t.Paths(key)) == 1 }); err != nil {
		t.Fatal(err)
	}
	if gaps := r.Absent(key); len(gaps) != 0 {
		t.Errorf("absent %v while one session announces it", gaps)
	}
	s, err := r.WaitSession(within(t), id("192.0.2.2"))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Reset(s.ID, Notification{6, 4}); err != nil {
		t.Fatal(err)
	}
	if err := r.WaitRoutes(within(t), func(t Table) bool { return !t.Has(key) }); err != nil {
		t.Fatal(err)
	}
	if gaps := r.Absent(key); len(gaps) != 1 || !gaps[0].End.IsZero() {
		t.Errorf("absent %v, want one interval without end", gaps)
	}
	if err := r.Reset(s.ID, Notification{6, 4}); !errors.Is(err, ErrNoSession) {
		t.Errorf("Reset of a past session = %v", err)
	}
	if err := a.Wait(within(t), func(_ Table, s []Session) bool { return len(s) == 1 && s[0].Why != "" }); err != nil {
		t.Fatal(err)
	}
	if got := a.Sessions()[0].Why; got != "received\nnotification 6/4" {
		t.Errorf("a's session ended with %q", got)
	}
	if announced, withdrawn := r.Counts(); announced != 3 || withdrawn != 1 || len(r.Updates()) != 4 {
		t.Errorf("%d announced, %d withdrawn, %d updates", announced, withdrawn, len(r.Updates()))
	}
}

// A router that does not read keeps the session up and hears everything later.
func TestStopReading(t *testing.T) {
	r := run(t, Config{ASN: 65010, RouterID: id("192.0.2.1"), HoldTime: 3 * time.Second})
	a := run(t, Config{ASN: 65010, RouterID: id("192.0.2.2")})
	if err := a.Dial(within(t), r.Addr()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.WaitSession(within(t), id("192.0.2.2")); err != nil {
		t.Fatal(err)
	}
	first := discard(t, "203.0.113.0/25")
	r.StopReading()
	for _, rule := range []flowspec.Rule{first, discard(t, "203.0.113.128/25")} {
		if err := a.Announce(Route{Rule: rule}); err != nil {
			t.Fatal(err)
		}
	}
	// One message may have been on its way through when reading stopped.
	if n := r.Table().Len(); n > 1 {
		t.Errorf("%d rules are heard by a router that does not read", n)
	}
	r.StartReading()
	if err := r.WaitRoutes(within(t), func(t Table) bool { return t.Len() == 2 }); err != nil {
		t.Fatal(err)
	}
	if best, _ := r.Table().Best(first.Match.Key()); best.External || best.LocalPref != 100 || len(best.ASPath) != 0 {
		t.Errorf("route over iBGP: %+v", best)
	}
}

// Each row differs from the next in one step of RFC 4271 section 9.1.2.2 only; the first of a pair is better.
func TestBestPath(t *testing.T) {
	from := id("192.0.2.9")
	base := Route{ASPath: []flowspec.ASN{1}, MED: 10, From: from, Session: 5}
	for _, c := range []struct {
		name   string
		better func(*Route)
		worse  func(*Route)
	}{
		{"higher local preference", func(r *Route) { r.LocalPref = 200; r.MED = 99 }, func(r *Route) { r.LocalPref = 100 }},
		{"shorter AS path", func(r *Route) { r.MED = 99 }, func(r *Route) { r.ASPath = []flowspec.ASN{1, 2} }},
		{"lower origin", func(r *Route) { r.MED = 99 }, func(r *Route) { r.Origin = 2 }},
		{"lower MED", func(r *Route) { r.MED = 9; r.From = id("192.0.2.10") }, func(*Route) {}},
		{"MED of another AS does not count", func(r *Route) { r.MED = 99; r.From = id("192.0.2.1") }, func(r *Route) { r.ASPath = []flowspec.ASN{2} }},
		{"eBGP", func(r *Route) { r.External = true; r.From = id("192.0.2.10") }, func(*Route) {}},
		{"lower router id", func(r *Route) { r.From = id("192.0.2.8"); r.Session = 6 }, func(*Route) {}},
		{"older session", func(r *Route) { r.Session = 4 }, func(*Route) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			better, worse := base, base
			c.better(&better)
			c.worse(&worse)
			if compare(better, worse) >= 0 || compare(worse, better) <= 0 {
				t.Errorf("compare = %d and %d", compare(better, worse), compare(worse, better))
			}
		})
	}
}

func TestMessages(t *testing.T) {
	o := open{asn: 4_200_000_000, holdTime: 90 * time.Second, routerID: id("192.0.2.7"), families: []flowspec.Family{1, 2}, unicast: []flowspec.Family{2}, extended: true}
	got, err := parseOpen(o.marshal())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(o, got, cmp.AllowUnexported(open{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("OPEN (-want +got):\n%s", diff)
	}
	rule := discard(t, "203.0.113.0/24")
	body, err := marshalAnnouncement(Route{Rule: rule, MED: 7, HasMED: true}, 65001, true)
	if err != nil {
		t.Fatal(err)
	}
	u, err := parseUpdate(body)
	if err != nil {
		t.Fatal(err)
	}
	if len(u.routes) != 1 || u.routes[0].MED != 7 || u.routes[0].Key != rule.Match.Key() || !u.routes[0].Rule.Equal(rule) {
		t.Errorf("UPDATE gives %+v", u.routes)
	}
	if body, err = marshalWithdrawal(rule.Match); err != nil {
		t.Fatal(err)
	}
	if u, err = parseUpdate(body); err != nil || !slices.Equal(u.withdrawn, []flowspec.Key{rule.Match.Key()}) {
		t.Errorf("withdrawal gives %+v, %v", u, err)
	}
	for n := range body {
		if _, err := parseUpdate(body[:n]); err == nil {
			t.Errorf("the first %d octets of an UPDATE are taken for one", n)
		}
	}
}

// The actions of a rule stand in two path attributes, and come back in order of type.
func TestActionMessages(t *testing.T) {
	rule := discard(t, "2001:db8::/48")
	rule.Actions = []flowspec.Action{
		flowspec.RateLimit(1000), flowspec.Redirect(flowspec.RouteTargetAddress(id("2001:db8::1"), 9)), flowspec.Mark(8),
	}
	body, err := marshalAnnouncement(Route{Rule: rule}, 65001, true)
	if err != nil {
		t.Fatal(err)
	}
	u, err := parseUpdate(body)
	if err != nil || len(u.routes) != 1 {
		t.Fatalf("%d routes, %v", len(u.routes), err)
	}
	got := u.routes[0]
	if !got.Rule.Equal(rule) || len(got.Extended) != 2 || len(got.Extended6) != 1 {
		t.Errorf("UPDATE gives %q with %x and %x", got.Rule, got.Extended, got.Extended6)
	}
	// 19 octets are no community of attribute 25.
	if _, err := parseUpdate(append([]byte{0, 0, 0, 22, 0xc0, 25, 19}, make([]byte, 19)...)); err == nil {
		t.Error("a short community passes")
	}
}

// A unicast route of each family goes out as the RFCs say and comes back, and so does its withdrawal.
func TestUnicastMessages(t *testing.T) {
	for _, c := range []struct {
		name              string
		route             Route
		announce, retract []byte // UPDATE bodies without and with the withdrawal
	}{
		{
			"IPv4 in the fields of RFC 4271",
			Route{Prefix: netip.MustParsePrefix("203.0.113.7/32"), NextHop: id("192.0.2.66"), MED: 7, HasMED: true, Communities: []uint32{0xffff029a}},
			[]byte{
				0, 0, // no withdrawn routes
				0, 39, // path attributes
				0x50, 1, 0, 1, 0, // ORIGIN IGP
				0x50, 2, 0, 6, 2, 1, 0, 0, 0xfd, 0xe9, // AS_PATH 65001
				0x90, 4, 0, 4, 0, 0, 0, 7, // MULTI_EXIT_DISC 7
				0xd0, 8, 0, 4, 0xff, 0xff, 0x02, 0x9a, // COMMUNITIES: BLACKHOLE
				0x50, 3, 0, 4, 192, 0, 2, 66, // NEXT_HOP
				32, 203, 0, 113, 7, // NLRI
			},
			[]byte{0, 5, 32, 203, 0, 113, 7, 0, 0},
		},
		{
			"IPv6 in MP_REACH_NLRI",
			Route{Prefix: netip.MustParsePrefix("2001:db8::/33"), NextHop: id("100::1")},
			[]byte{
				0, 0,
				0, 46,
				0x50, 1, 0, 1, 0,
				0x50, 2, 0, 6, 2, 1, 0, 0, 0xfd, 0xe9,
				0x90, 14, 0, 27, 0, 2, 1, 16, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 33, 0x20, 0x01, 0x0d, 0xb8, 0,
			},
			[]byte{0, 0, 0, 13, 0x90, 15, 0, 9, 0, 2, 1, 33, 0x20, 0x01, 0x0d, 0xb8, 0},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.route.Unicast = true
			body, err := marshalAnnouncement(c.route, 65001, true)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.announce, body); diff != "" {
				t.Errorf("UPDATE (-want +got):\n%s", diff)
			}
			want := c.route.to(c.route.Prefix)
			want.ASPath = []flowspec.ASN{65001}
			if !want.Prefix.Addr().Is4() {
				want.NextHopLength = 16
			}
			u, err := parseUpdate(body)
			if err != nil {
				t.Fatal(err)
			}
			same := cmp.Options{cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })}
			if diff := cmp.Diff([]Route{want}, u.routes, same); diff != "" {
				t.Errorf("routes (-want +got):\n%s", diff)
			}
			if u, err = parseUpdate(c.retract); err != nil || !slices.Equal(u.withdrawn, []flowspec.Key{want.Key}) || u.endOfRIB != 0 {
				t.Errorf("withdrawal gives %+v, %v", u, err)
			}
		})
	}
	for _, b := range [][]byte{
		{0, 2, 33, 1, 0, 0},                      // 33 bits
		{0, 2, 24, 1, 0, 0},                      // too few octets
		{0, 0, 0, 0, 8},                          // NLRI without octets
		{0, 0, 0, 6, 0x80, 15, 3, 0, 3, 1},       // AFI 3
		{0, 0, 0, 8, 0x80, 14, 5, 0, 1, 1, 0, 0}, // no next hop
		{0, 0, 0, 8, 0x80, 14, 5, 0, 1, 2, 0, 0}, // multicast
	} {
		if u, err := parseUpdate(b); err == nil {
			t.Errorf("%x is taken for %+v", b, u)
		}
	}
}

// Both kinds on one session of the witness: it carries what both sides offer, and Matching passes unicast over.
func TestUnicastSession(t *testing.T) {
	r := run(t, Config{ASN: 65010, RouterID: id("192.0.2.1"), Families: []flowspec.Family{flowspec.IPv4}, Unicast: []flowspec.Family{flowspec.IPv4, flowspec.IPv6}})
	a := run(t, Config{ASN: 65010, RouterID: id("192.0.2.2"), Unicast: []flowspec.Family{flowspec.IPv4}})
	route := Route{Unicast: true, Prefix: netip.MustParsePrefix("203.0.113.7/32"), NextHop: id("192.0.2.66")}
	six := Route{Unicast: true, Prefix: netip.MustParsePrefix("2001:db8::1/128"), NextHop: id("100::1")}
	for _, route := range []Route{six, {Rule: discard(t, "203.0.113.7/32")}, route} {
		if err := a.Announce(route); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Dial(within(t), r.Addr()); err != nil {
		t.Fatal(err)
	}
	if err := r.WaitRoutes(within(t), func(t Table) bool { return t.Has(unicastKey(route.Prefix)) }); err != nil {
		t.Fatal(err)
	}
	s := r.Sessions()[0]
	if r.Table().Len() != 1 || len(s.Families) != 0 || !slices.Equal(s.Unicast, []flowspec.Family{flowspec.IPv4}) {
		t.Errorf("%d routes, session %+v", r.Table().Len(), s)
	}
	r.Table().Matching(&flowspec.Packet{Dst: route.Prefix.Addr()}, func(got Route) bool {
		t.Errorf("a packet matches the unicast route %+v", got)
		return true
	})
	if err := a.Announce(Route{Unicast: true}); err == nil {
		t.Error("a route without a prefix is announced")
	}
}

func FuzzParseUpdate(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		u, err := parseUpdate(b)
		if err != nil {
			return
		}
		for _, r := range u.routes {
			if want := r.Rule.Match.Key(); !r.Unicast && r.Key != want || r.Unicast && r.Key != unicastKey(r.Prefix) {
				t.Errorf("route %q has key %s", r.Rule, r.Key)
			}
		}
	})
}

func FuzzParseOpen(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := parseOpen(b)
		if err != nil {
			return
		}
		if !o.routerID.Is4() || o.routerID.IsUnspecified() || o.holdTime == time.Second || o.holdTime == 2*time.Second {
			t.Errorf("taken for an OPEN: %+v", o)
		}
	})
}

func FuzzReadMessage(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		kind, body, err := readMessage(bytes.NewReader(b), maxMessageLength)
		if err != nil {
			return
		}
		if got := message(kind, body); !bytes.Equal(got, b[:len(got)]) || len(got) > maxMessageLength {
			t.Errorf("message %x of %x", got, b)
		}
	})
}

// A body goes out as it is: a good one arrives, and of a bad one the other side says what is wrong.
func TestSend(t *testing.T) {
	r := run(t, Config{ASN: 65010, RouterID: id("192.0.2.1")})
	a := run(t, Config{ASN: 65001, RouterID: id("192.0.2.2")})
	if err := a.Dial(within(t), r.Addr()); err != nil {
		t.Fatal(err)
	}
	s, err := a.WaitSession(within(t), id("192.0.2.1"))
	if err != nil {
		t.Fatal(err)
	}
	rule := discard(t, "203.0.113.0/24")
	body, err := marshalAnnouncement(Route{Rule: rule}, 65001, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Send(s.ID, body); err != nil {
		t.Fatal(err)
	}
	if err := r.WaitRoutes(within(t), func(t Table) bool { return t.Has(rule.Match.Key()) }); err != nil {
		t.Fatal(err)
	}
	if err := a.Send(s.ID, body[:len(body)-1]); err != nil {
		t.Fatal(err)
	}
	if err := a.Wait(within(t), func(_ Table, s []Session) bool { return s[0].Why != "" }); err != nil {
		t.Fatal(err)
	}
	if got := a.Sessions()[0].Why; got != "received\nnotification 3/0" {
		t.Errorf("the session ended with %q", got)
	}
	if err := a.Send(s.ID, body); !errors.Is(err, ErrNoSession) {
		t.Errorf("Send to a past session = %v", err)
	}
}

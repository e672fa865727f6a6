package integration_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tidegate/tidegate/bgp"
	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/integration/lab"
)

// TestRTBHRouters drives the speaker alone, with BIRD and FRR as routers that take RTBH routes and nothing else: they
// hear the routes with BLACKHOLE, NO_EXPORT and their own discard next hops, BIRD discards, and what is withdrawn, has
// come to its end or is refused by the guard leaves their tables.
func TestRTBHRouters(t *testing.T) {
	lab.Require(t)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	inside := netip.MustParseAddr("127.0.0.1")
	l, err := lab.New(lab.Config{Neighbours: []netip.Addr{inside}, ASN: 65001})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			l.Logs(t.Output(), 30)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	bird, err := l.StartBlackholeBIRD(ctx, netip.MustParseAddr("127.0.0.12"), 65020)
	if err != nil {
		t.Fatal(err)
	}
	frr, err := l.StartBlackholeFRR(ctx, netip.MustParseAddr("127.0.0.11"), 65010)
	if err != nil {
		t.Fatal(err)
	}
	s := startHoles(ctx, t, l, inside, bird, frr)

	host, six := s.route("203.0.113.7/32", 1000), s.route("2001:db8::1/128", 1001)
	net4, net6 := s.route("203.0.113.128/25", 1002), s.route("2001:db8:1::/48", 1003)
	s.announce(host, six, net4, net6)
	s.see(host, six, net4, net6)

	s.announce(six, net4) // withdrawn
	s.see(six, net4)

	newer := *net4
	newer.MED = 900
	s.announce(six, &newer) // replaced
	s.see(six, &newer)

	short := *host
	short.NotAfter = s.now() + wanted.Instant(2*time.Second)
	s.announce(six, &short)
	s.see(six, &short)
	s.see(six) // its lifetime is over

	s.set.Protected = []netip.Prefix{netip.MustParsePrefix("2001:db8::/127")}
	s.announce(six, net4) // the guard refuses what has become a link
	s.see(net4)

	s.announce()
	s.see()
}

// holes is a speaker and the routers that take its RTBH routes.
type holes struct {
	*bgp.Speaker
	t       *testing.T
	ctx     context.Context
	began   time.Time
	set     wanted.Set
	routers map[string]lab.BlackholeRouter
}

// startHoles runs a speaker in this process, with a relay to each router.
func startHoles(ctx context.Context, t *testing.T, l *lab.Lab, from netip.Addr, routers ...lab.BlackholeRouter) *holes {
	t.Helper()
	s := &holes{t: t, ctx: ctx, began: time.Now(), routers: make(map[string]lab.BlackholeRouter)}
	s.set = wanted.Set{
		LeaseUntil: 1 << 62, ShortestRTBH: wanted.Lengths{IPv4: 25, IPv6: 48},
		Official: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/32")},
	}
	for i, r := range routers {
		relay, err := l.Relay(from, netip.AddrPortFrom(r.Address(), lab.Port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := relay.Close(); err != nil {
				t.Error(err)
			}
		})
		s.routers[r.Name()] = r
		s.set.Routers = append(s.set.Routers, wanted.Router{
			Name: r.Name(), Address: relay.Addr().Addr(), Port: relay.Addr().Port(), ASN: r.ASN(), Group: "edge", Carries: wanted.RTBH,
			IPv4: true, IPv6: true, MaxRoutes: 100, Multihop: 8,
			DiscardIPv4: netip.AddrFrom4([4]byte{192, 0, 2, byte(66 + i)}), DiscardIPv6: netip.MustParseAddr(fmt.Sprintf("100::%d", 1+i)),
		})
	}
	var err error
	s.Speaker, err = bgp.New(bgp.Config{ASN: 65001, RouterID: from}, bgp.Deps{Elapsed: s.now})
	if err != nil {
		t.Fatal(err)
	}
	runCtx, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.Run(runCtx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("speaker: %v", err)
		}
	})
	return s
}

func (s *holes) now() wanted.Instant { return wanted.Instant(time.Since(s.began)) + 1 }

// route is the RTBH route to prefix.
func (s *holes) route(prefix string, med uint32) *wanted.Route {
	s.t.Helper()
	p := netip.MustParsePrefix(prefix)
	f := flowspec.IPv6
	if p.Addr().Is4() {
		f = flowspec.IPv4
	}
	m, err := flowspec.NewMatch(f, flowspec.Destination(p))
	if err != nil {
		s.t.Fatal(err)
	}
	return &wanted.Route{
		Kind: wanted.RTBH, Key: wanted.RTBHKey(p), Rule: flowspec.Rule{Match: m}, MED: med, NotAfter: 1 << 62, Groups: []string{"edge"},
	}
}

// announce makes routes all that is announced.
func (s *holes) announce(routes ...*wanted.Route) {
	s.t.Helper()
	s.set.Revision++
	s.set.Routes = routes
	if err := s.Set(s.ctx, s.set); err != nil {
		s.t.Fatal(err)
	}
}

// see waits until every router has just these routes, as they were announced.
func (s *holes) see(routes ...*wanted.Route) {
	s.t.Helper()
	for i := range s.set.Routers {
		to := &s.set.Routers[i]
		r := s.routers[to.Name]
		var want []lab.Hole
		for _, route := range routes {
			p, _ := route.Rule.Match.Destination()
			h := lab.Hole{Prefix: p, NextHop: to.DiscardIPv4, Blackhole: true, NoExport: true, MED: route.MED, Discards: r.ShowsDiscard()}
			if p.Addr().Is6() {
				h.NextHop = to.DiscardIPv6
			}
			want = append(want, h)
		}
		slices.SortFunc(want, func(a, b lab.Hole) int { return a.Prefix.Compare(b.Prefix) })
		ctx, cancel := context.WithTimeout(s.ctx, 30*time.Second)
		err := lab.Until(ctx, 100*time.Millisecond, func(ctx context.Context) error {
			got, err := r.Holes(ctx)
			if err != nil {
				return err
			}
			if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})); diff != "" {
				return errors.New("(-want +got):\n" + diff)
			}
			return nil
		})
		cancel()
		if err != nil {
			s.t.Fatalf("%s: %v\n%+v", r.Name(), err, s.Status())
		}
	}
}

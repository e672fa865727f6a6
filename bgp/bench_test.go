package bgp_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/osrg/gobgp/v4/api"
	"github.com/osrg/gobgp/v4/pkg/apiutil"
	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
	"github.com/osrg/gobgp/v4/pkg/server"

	"github.com/tidegate/tidegate/bgp/bgptest"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// bareGoBGP is GoBGP as its own documentation uses it, with its own FlowSpec type: what the speaker is measured against.
type bareGoBGP struct{ *server.BgpServer }

func startBare(t testing.TB, r *bgptest.Router) bareGoBGP {
	t.Helper()
	s := server.NewBgpServer(server.LoggerOption(slog.New(slog.DiscardHandler), nil))
	go s.Serve()
	ctx := context.Background()
	if err := s.StartBgp(ctx, &api.StartBgpRequest{Global: &api.Global{Asn: ourASN, RouterId: "192.0.2.102", ListenPort: -1}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	err := s.AddPeer(ctx, &api.AddPeerRequest{Peer: &api.Peer{
		Conf:      &api.PeerConf{NeighborAddress: r.Addr().Addr().String(), PeerAsn: 65010},
		Transport: &api.Transport{RemotePort: uint32(r.Addr().Port()), LocalAddress: "127.0.0.1"},
		Timers:    &api.Timers{Config: &api.TimersConfig{ConnectRetry: 1}},
		AfiSafis: []*api.AfiSafi{{Config: &api.AfiSafiConfig{
			Family: &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_FLOW_SPEC_UNICAST}, Enabled: true,
		}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.WaitSession(timeout(t, 15*time.Second), netip.MustParseAddr("192.0.2.102")); err != nil {
		t.Fatal(err)
	}
	return bareGoBGP{s}
}

// paths makes what routes say in GoBGP's own types, with the attributes that the speaker sends.
func (b bareGoBGP) paths(t testing.TB, routes []*wanted.Route) []*apiutil.Path {
	t.Helper()
	out := make([]*apiutil.Path, 0, len(routes))
	for _, r := range routes {
		dst, _ := r.Rule.Match.Destination()
		p, err := gobgp.NewIPAddrPrefix(dst)
		if err != nil {
			t.Fatal(err)
		}
		n, err := gobgp.NewFlowSpecUnicast(gobgp.RF_FS_IPv4_UC,
			[]gobgp.FlowSpecComponentInterface{gobgp.NewFlowSpecDestinationPrefix(p)})
		if err != nil {
			t.Fatal(err)
		}
		reach, err := gobgp.NewPathAttributeMpReachNLRI(gobgp.RF_FS_IPv4_UC, []gobgp.PathNLRI{{NLRI: n}})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, &apiutil.Path{Family: gobgp.RF_FS_IPv4_UC, Nlri: n, Attrs: []gobgp.PathAttributeInterface{
			gobgp.NewPathAttributeOrigin(0), gobgp.NewPathAttributeMultiExitDisc(r.MED),
			gobgp.NewPathAttributeCommunities([]uint32{uint32(gobgp.COMMUNITY_NO_EXPORT)}),
			gobgp.NewPathAttributeLargeCommunities([]*gobgp.LargeCommunity{{ASN: ourASN, LocalData1: 0x7467, LocalData2: 1}}),
			gobgp.NewPathAttributeExtendedCommunities([]gobgp.ExtendedCommunityInterface{gobgp.NewTrafficRateExtended(0, 0)}),
			reach,
		}})
	}
	return out
}

func (b bareGoBGP) add(t testing.TB, paths []*apiutil.Path) {
	t.Helper()
	for part := range slices.Chunk(paths, 1000) {
		if _, err := b.AddPath(apiutil.AddPathRequest{Paths: part}); err != nil {
			t.Fatal(err)
		}
	}
}

func (b bareGoBGP) delete(t testing.TB, paths []*apiutil.Path) {
	t.Helper()
	if err := b.DeletePath(apiutil.DeletePathRequest{Paths: paths}); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkAll measures, in one run, how long it takes until a router has n rules: from Set, and from bare GoBGP's
// batched AddPath with paths that are ready made. The metric x-bare is the ratio of the medians.
func BenchmarkAll(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			r1, r2 := router(b), router(b)
			bare := startBare(b, r1)
			s := start(b)
			to := neighbour("r", r2)
			rev := uint64(1)
			s.set(base(rev, to))
			if _, err := r2.WaitSession(timeout(b, 15*time.Second), netip.MustParseAddr("192.0.2.101")); err != nil {
				b.Fatal(err)
			}
			routes := hosts(n)
			paths := bare.paths(b, routes)
			all := func(t bgptest.Table) bool { return t.Len() == n }
			none := func(t bgptest.Table) bool { return t.Len() == 0 }
			var bareTimes, ownTimes []time.Duration
			for b.Loop() {
				runtime.GC()
				t0 := time.Now()
				bare.add(b, paths)
				wait(b, r1, "bare", all)
				bareTimes = append(bareTimes, time.Since(t0))
				bare.delete(b, paths)
				wait(b, r1, "bare", none)

				runtime.GC()
				rev++
				w := base(rev, to)
				w.Routes = routes
				t0 = time.Now()
				s.set(w)
				wait(b, r2, "speaker", all)
				ownTimes = append(ownTimes, time.Since(t0))
				rev++
				s.set(base(rev, to))
				wait(b, r2, "speaker", none)
			}
			own, other := median(ownTimes), median(bareTimes)
			b.ReportMetric(float64(own.Microseconds())/1000, "ms/set")
			b.ReportMetric(float64(other.Microseconds())/1000, "ms/bare")
			b.ReportMetric(float64(own)/float64(other), "x-bare")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func median(d []time.Duration) time.Duration {
	d = slices.Clone(d)
	slices.Sort(d)
	return d[len(d)/2]
}

// BenchmarkOneRule measures from Set to the router for one more rule while others are announced, against bare GoBGP.
func BenchmarkOneRule(b *testing.B) {
	for _, n := range []int{0, 1000, 10_000} {
		b.Run(fmt.Sprintf("active=%d", n), func(b *testing.B) {
			r1, r2 := router(b), router(b)
			bare := startBare(b, r1)
			s := start(b)
			to := neighbour("r", r2)
			w := base(1, to)
			w.Routes = hosts(n)
			s.set(w)
			wait(b, r2, "speaker", func(t bgptest.Table) bool { return t.Len() == n })
			if _, err := r2.WaitSession(timeout(b, 15*time.Second), netip.MustParseAddr("192.0.2.101")); err != nil {
				b.Fatal(err)
			}
			bare.add(b, bare.paths(b, w.Routes))
			one := discard(b, "203.0.113.7/32")
			onePath := bare.paths(b, []*wanted.Route{one})
			with := w
			with.Routes = append(slices.Clone(w.Routes), one)
			there := func(t bgptest.Table) bool { return t.Has(one.Key) }
			gone := func(t bgptest.Table) bool { return !t.Has(one.Key) }
			rev := uint64(1)
			var bareTimes, ownTimes []time.Duration
			for b.Loop() {
				t0 := time.Now()
				bare.add(b, onePath)
				wait(b, r1, "bare", there)
				bareTimes = append(bareTimes, time.Since(t0))
				bare.delete(b, onePath)
				wait(b, r1, "bare", gone)

				rev++
				with.Revision = rev
				t0 = time.Now()
				s.set(with)
				wait(b, r2, "speaker", there)
				ownTimes = append(ownTimes, time.Since(t0))
				rev++
				w.Revision = rev
				s.set(w)
				wait(b, r2, "speaker", gone)
			}
			b.ReportMetric(float64(median(ownTimes).Microseconds()), "µs/set-p50")
			b.ReportMetric(float64(median(bareTimes).Microseconds()), "µs/bare-p50")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkMemory measures the bytes of live heap per rule at one router.
func BenchmarkMemory(b *testing.B) {
	const n = 10_000
	r := router(b)
	s := start(b)
	to := neighbour("r", r)
	s.set(base(1, to))
	if _, err := r.WaitSession(timeout(b, 15*time.Second), netip.MustParseAddr("192.0.2.101")); err != nil {
		b.Fatal(err)
	}
	heap := func() float64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	routes := hosts(n)
	for b.Loop() {
		before := heap()
		w := base(s.Status().Revision+1, to)
		w.Routes = routes
		s.set(w)
		// The witness is in this process too: its own share is measured after the speaker has gone quiet.
		wait(b, r, "all", func(t bgptest.Table) bool { return t.Len() == n })
		b.ReportMetric((heap()-before)/n, "B/rule-with-witness")
		s.set(base(w.Revision+1, to))
		wait(b, r, "none", func(t bgptest.Table) bool { return t.Len() == 0 })
	}
}

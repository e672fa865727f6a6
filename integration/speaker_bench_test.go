package integration_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tidegate/tidegate/bgp"
	"github.com/tidegate/tidegate/bgp/bgptest"
	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/remote"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// benchRules is how many rules are active while one is added.
const benchRules = 1000

// BenchmarkSpeakerProcess is the time from a Set with one rule more until a router has that rule, with the speaker in this
// process and in one of its own, turn by turn in one run. It prints the medians.
func BenchmarkSpeakerProcess(b *testing.B) {
	inside, outside := newSide(b), newSide(b)
	s, err := bgp.New(bgp.Config{ASN: nodeASN, RouterID: netip.MustParseAddr("192.0.2.251"), LocalAddress: netip.MustParseAddr("127.0.0.1")},
		bgp.Deps{Elapsed: func() wanted.Instant { return 1 }})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ran := make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	inside.speaker = s

	dir := b.TempDir()
	file := filepath.Join(dir, "n1.yaml")
	if err := os.WriteFile(file, []byte("node: n1\ndata_dir: d\nbgp: {asn: 65001, router_id: 192.0.2.252, local_address: 127.0.0.1}\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	child := exec.Command(binary, "speaker", "run", "--config", file)
	if err := child.Start(); err != nil {
		b.Fatal(err)
	}
	p, err := remote.NewProxy(filepath.Join(dir, "d", remote.SocketName), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	outside.speaker = p
	inside.fill(b)
	outside.fill(b)
	for b.Loop() {
		inside.add(b)
		outside.add(b)
	}
	b.ReportMetric(inside.median(), "inside-µs")
	b.ReportMetric(outside.median(), "outside-µs")
	b.ReportMetric(outside.median()-inside.median(), "more-µs")
	cancel()
	if err := <-ran; err != nil {
		b.Error(err)
	}
	_ = p.Close()
	_ = child.Process.Kill()
	_ = child.Wait()
}

// side is a speaker and its router.
type side struct {
	router  *bgptest.Router
	speaker interface {
		Set(context.Context, wanted.Set) error
	}
	set   wanted.Set
	times []time.Duration
}

func newSide(b *testing.B) *side {
	r, err := bgptest.NewRouter(bgptest.Config{ASN: 65010, ExtendedMessages: true})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go r.Run(ctx) //nolint:errcheck // the benchmark waits for what it should hear
	b.Cleanup(cancel)
	return &side{router: r, set: wanted.Set{
		LeaseUntil: 1 << 62, Official: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		Routers: []wanted.Router{{
			Name: "r", Address: r.Addr().Addr(), Port: r.Addr().Port(), ASN: 65010, Group: "edge", Carries: wanted.FlowSpec, IPv4: true, MaxRoutes: 1 << 20,
		}},
	}}
}

// fill makes benchRules active.
func (s *side) fill(b *testing.B) {
	for range benchRules {
		s.grow()
	}
	s.tell(b)
}

// grow adds a rule behind the others.
func (s *side) grow() {
	n := len(s.set.Routes)
	m := flowspec.Match{Family: flowspec.IPv4, Components: []flowspec.Component{
		flowspec.Destination(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 32)),
	}}
	s.set.Routes = append(slices.Clone(s.set.Routes), &wanted.Route{
		Kind: wanted.FlowSpec, Rule: flowspec.Rule{Match: m, Actions: []flowspec.Action{flowspec.Discard()}}, Key: m.Key(),
		MED: 1, NotAfter: 1 << 62, Groups: []string{"edge"},
	})
	s.set.Revision++
}

// tell sets, and waits until the router has everything.
func (s *side) tell(b *testing.B) time.Duration {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	last := s.set.Routes[len(s.set.Routes)-1].Key
	began := time.Now()
	if err := s.speaker.Set(ctx, s.set); err != nil {
		b.Fatal(err)
	}
	if err := s.router.WaitRoutes(ctx, func(t bgptest.Table) bool { return t.Has(last) }); err != nil {
		b.Fatal(fmt.Errorf("rule %d: %w", len(s.set.Routes), err))
	}
	return time.Since(began)
}

func (s *side) add(b *testing.B) {
	s.grow()
	s.times = append(s.times, s.tell(b))
}

// median is in microseconds.
func (s *side) median() float64 {
	slices.Sort(s.times)
	return float64(s.times[len(s.times)/2].Nanoseconds()) / 1000
}

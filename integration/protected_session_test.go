package integration_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/bgp"
	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/integration/lab"
)

// protectedBIRD is BIRD with one session for each of the addresses 127.0.0.71 to 127.0.0.73, all with the same neighbour and
// each with a password of its own.
const protectedBIRD = `router id 127.0.0.71;
flow4 table ft4;
protocol device {}
template bgp guarded {
  neighbor 127.0.0.1 as 65001;
  strict bind on; passive on; error wait time 1, 5;
  flow4 { table ft4; import all; export none; };
}
protocol bgp right from guarded { local 127.0.0.71 port %[1]d as 65020; multihop; password "gannet-71"; }
protocol bgp wrong from guarded { local 127.0.0.72 port %[1]d as 65020; multihop; password "gannet-72"; }
protocol bgp absent from guarded { local 127.0.0.73 port %[1]d as 65020; multihop; password "gannet-73"; }
`

// TestProtectedSessions: TCP-MD5 (RFC 2385) with a router of somebody else's making. With the password that is agreed a session
// comes up; with another one, or none, it does not.
func TestProtectedSessions(t *testing.T) {
	lab.Require(t)
	l := newLab(t, lab.NewLocal)
	_, text, _ := strings.Cut(freePort(t), ":")
	var port uint16
	if _, err := fmt.Sscan(text, &port); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Start("bird", "bird", "-f", "-c", writeFile(t, l, "bird.conf", fmt.Sprintf(protectedBIRD, port)), "-s", filepath.Join(l.Dir(), "bird.ctl")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience, errors.New("the sessions are not what they should be"))
	defer cancel()
	err := lab.Until(ctx, 50*time.Millisecond, func(ctx context.Context) error { // then it listens
		return exec.CommandContext(ctx, "birdc", "-r", "-s", filepath.Join(l.Dir(), "bird.ctl"), "show", "protocols").Run()
	})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	speaker, err := bgp.New(bgp.Config{ASN: 65001, RouterID: netip.MustParseAddr("192.0.2.1"), LocalAddress: netip.MustParseAddr("127.0.0.1")},
		bgp.Deps{Elapsed: func() wanted.Instant { return wanted.Instant(time.Since(start)) + 1 }})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	running, stop := context.WithCancel(context.Background())
	go func() { done <- speaker.Run(running) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	set := wanted.Set{Revision: 1, LeaseUntil: 1 << 62, Official: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}
	for i, r := range []wanted.Router{
		{Name: "right", Password: "gannet-71"}, {Name: "wrong", Password: "petrel-72"}, {Name: "absent"},
	} {
		r.Address, r.Port, r.ASN, r.Group = netip.AddrFrom4([4]byte{127, 0, 0, byte(71 + i)}), port, 65020, "edge"
		r.Carries, r.IPv4, r.MaxRoutes = wanted.FlowSpec, true, 100
		set.Routers = append(set.Routers, r)
	}
	if err := speaker.Set(ctx, set); err != nil {
		t.Fatal(err)
	}
	state := func() (established []string, whys map[string]string) {
		whys = map[string]string{}
		for _, s := range speaker.Status().Sessions {
			whys[s.Router.Name] = s.LastError
			if s.State == wanted.SessionEstablished {
				established = append(established, s.Router.Name)
			}
		}
		return established, whys
	}
	// Whoever does not come up has tried and failed by then, and says why.
	err = lab.Until(ctx, 50*time.Millisecond, func(context.Context) error {
		established, whys := state()
		if !slices.Contains(established, "right") {
			return fmt.Errorf("right is not up: %s", whys["right"])
		}
		if !strings.Contains(whys["wrong"], "MD5 passwords differ") || whys["absent"] == "" {
			return fmt.Errorf("the others have not failed yet: %v", whys)
		}
		return nil
	})
	established, whys := state()
	if err != nil {
		t.Fatalf("%v; up are %v; %v", err, established, whys)
	}
	if want := []string{"right"}; !slices.Equal(established, want) {
		t.Errorf("up are %v, want %v; %v", established, want, whys)
	}
	if all := fmt.Sprint(speaker.Status()); strings.Contains(all, "gannet") || strings.Contains(all, "petrel") {
		t.Error("a password stands in the status")
	}
}

package bgp_test

import (
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/bgp/bgptest"
	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// wireRow is the actions of a rule and their octets, in hexadecimal with blanks between the fields.
type wireRow struct {
	name    string
	six     bool
	actions []flowspec.Action
	eight   []string // attribute 16
	twenty  []string // attribute 25
}

func wireRows() []wireRow {
	do := func(a ...flowspec.Action) []flowspec.Action { return a }
	target := func(text string) flowspec.Action {
		return flowspec.Redirect(flowspec.RouteTargetAddress(netip.MustParseAddr(text), 666))
	}
	to := func(text string, mirror bool) flowspec.Action {
		return flowspec.RedirectIP(netip.MustParseAddr(text), mirror)
	}
	const six = "20010db8000000000000000000000001"
	return []wireRow{
		{"discard", false, do(flowspec.Discard()), []string{"8006 0000 00000000"}, nil},
		{"rate", true, do(flowspec.RateLimit(125_000)), []string{"8006 0000 47f42400"}, nil},
		{"packets", false, do(flowspec.RatePackets(1000)), []string{"800c 0000 447a0000"}, nil},
		{"no packet", true, do(flowspec.RatePackets(0)), []string{"800c 0000 00000000"}, nil},
		{"sample", false, do(flowspec.Sample()), []string{"8007 000000000002"}, nil},
		{"sample and go on", true, do(flowspec.SampleAndContinue()), []string{"8007 000000000003"}, nil},
		{"redirect by AS", false, do(flowspec.Redirect(flowspec.RouteTargetAS(65001, 100_000))), []string{"8008 fde9 000186a0"}, nil},
		{"redirect by AS of four octets", false, do(flowspec.Redirect(flowspec.RouteTargetAS(4_200_000_001, 666))), []string{"8208 fa56ea01 029a"}, nil},
		{"redirect by IPv4 address", true, do(target("192.0.2.1")), []string{"8108 c0000201 029a"}, nil},
		{"redirect by IPv6 address", true, do(target("2001:db8::1")), nil, []string{"000d " + six + " 029a"}},
		{"mark", true, do(flowspec.Mark(46)), []string{"8009 00000000002e"}, nil},
		{"redirect to IPv4", false, do(to("192.0.2.9", false)), []string{"010c c0000209 0000"}, nil},
		{"copy to IPv4", false, do(to("192.0.2.9", true)), []string{"010c c0000209 0001"}, nil},
		{"redirect to IPv6", true, do(to("2001:db8::1", false)), nil, []string{"000c " + six + " 0000"}},
		{"copy to IPv6", true, do(to("2001:db8::1", true)), nil, []string{"000c " + six + " 0001"}},
		{
			"all that can stand together", true,
			do(flowspec.RateLimit(125_000), flowspec.SampleAndContinue(), target("2001:db8::1"), flowspec.Mark(46)),
			[]string{"8006 0000 47f42400", "8007 000000000003", "8009 00000000002e"},
			[]string{"000d " + six + " 029a"},
		},
	}
}

// Every action leaves in the octets of its RFC, in the path attribute that is its own, and the router reads it back; over
// eBGP as over iBGP, alone and with others.
func TestActionsOnTheWire(t *testing.T) {
	rows := wireRows()
	ebgp, ibgp := router(t), router(t, func(c *bgptest.Config) { c.ASN = ourASN })
	w := base(1, neighbour("ebgp", ebgp), neighbour("ibgp", ibgp, func(w *wanted.Router) { w.ASN = ourASN }))
	for i, c := range rows {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)}), 32)
		if c.six {
			p = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: byte(i)}), 128)
		}
		r := route(p, flowspec.Discard())
		r.Rule.Actions = c.actions
		w.Routes = append(w.Routes, r)
	}
	b := join(t)
	b.set(w)
	for _, r := range []*bgptest.Router{ebgp, ibgp} {
		wait(t, r, "every rule", has(keysOf(w.Routes...)...))
		for i, c := range rows {
			got, _ := r.Table().Best(w.Routes[i].Key)
			if !got.Rule.Equal(w.Routes[i].Rule) {
				t.Errorf("%s arrives as %q", c.name, got.Rule)
			}
			if diff := cmp.Diff(octets[[8]byte](t, c.eight, 8), got.Extended); diff != "" {
				t.Errorf("%s: attribute 16 (-want +got):\n%s", c.name, diff)
			}
			if diff := cmp.Diff(octets[[20]byte](t, c.twenty, 20), got.Extended6); diff != "" {
				t.Errorf("%s: attribute 25 (-want +got):\n%s", c.name, diff)
			}
		}
	}

	// Other actions take the place of the ones before, from one attribute to the other too.
	target := *w.Routes[9]
	target.Rule.Actions = rows[10].actions
	next := base(2, w.Routers...)
	next.Routes = append(next.Routes, &target)
	b.set(next)
	wait(t, ebgp, "the mark in place of the redirect", func(t bgptest.Table) bool {
		best, ok := t.Best(target.Key)
		return ok && best.Rule.Equal(target.Rule) && len(best.Extended6) == 0
	})
	if gaps := ebgp.Absent(target.Key); len(gaps) > 0 {
		t.Errorf("the key was absent: %v", gaps)
	}
}

// octets reads hexadecimal digits with blanks between.
func octets[T [8]byte | [20]byte](t *testing.T, text []string, n int) []T {
	t.Helper()
	var out []T
	for _, s := range text {
		b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
		if err != nil || len(b) != n {
			t.Fatalf("%q: %d octets, %v", s, len(b), err)
		}
		out = append(out, T(b))
	}
	return out
}

package integration_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/bgp/bgptest"
	"github.com/tidegate/tidegate/bgp/flowspec"
)

// TestActionsEndToEnd orders every action by the command line and reads what two routers hear: one for rules, one for
// blackhole routes. Then protection is added, and a policy blackholes what a detector reports.
func TestActionsEndToEnd(t *testing.T) {
	s := startSingle(t)
	holes, err := bgptest.NewRouter(bgptest.Config{
		Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 2}), 0), ASN: 65020, Unicast: []flowspec.Family{flowspec.IPv4, flowspec.IPv6},
	})
	if err != nil {
		t.Fatal(err)
	}
	runWitness(t, holes)
	s.as("admin").ok("apply", "-f", writeFile(t, s.lab, "holes.yaml", fmt.Sprintf(`kind: Router
name: holes
address: 127.0.0.2
port: %d
asn: 65020
group: edge
carries: rtbh
discard_ipv4: 192.0.2.66
discard_ipv6: 100::66
max_prefix: 100
---
kind: Policy
name: last-resort
priority: 100
vectors: [tcp_flood]
action: {rtbh: true}
`, holes.Addr().Port())))

	order := func(args ...string) { s.as("operator").mitigation(args...) }
	order("--target", "203.0.113.209", "--discard", "--sample")
	order("--target", "203.0.113.210", "--match", "proto udp", "--rate", "8Mbps")
	order("--target", "203.0.113.212/31", "--rate", "5kpps", "--continue")
	order("--target", "203.0.113.214", "--redirect", "65001:666")
	order("--target", "203.0.113.215", "--redirect", "192.0.2.1:666", "--sample")
	order("--target", "203.0.113.216", "--redirect", "4200000000:666")
	order("--target", "2001:db8:a:9::1", "--redirect", "[2001:db8::1]:666")
	order("--target", "203.0.113.217", "--redirect-ip", "192.0.2.7", "--copy")
	order("--target", "2001:db8:a:9::2", "--redirect-ip", "2001:db8::7")
	order("--target", "203.0.113.218", "--mark", "af31")
	order("--target", "203.0.113.220/30", "--rtbh")
	order("--target", "2001:db8:a:9::3", "--rtbh")
	s.waitTable(
		"dst 203.0.113.209/32 => discard, sample",
		"dst 203.0.113.210/32 proto udp => rate 8Mbps",
		"dst 203.0.113.212/31 => rate 5kpps, continue",
		"dst 203.0.113.214/32 => redirect 65001:666",
		"dst 203.0.113.215/32 => sample, redirect 192.0.2.1:666",
		"dst 203.0.113.216/32 => redirect 4200000000:666",
		"dst 2001:db8:a:9::1/128 => redirect [2001:db8::1]:666",
		"dst 203.0.113.217/32 => redirect-ip 192.0.2.7 copy",
		"dst 2001:db8:a:9::2/128 => redirect-ip 2001:db8::7",
		"dst 203.0.113.218/32 => mark 26",
	)
	waitHoles(t, holes, "2001:db8:a:9::3/128 over 100::66", "203.0.113.220/32 over 192.0.2.66", "203.0.113.221/32 over 192.0.2.66",
		"203.0.113.222/32 over 192.0.2.66", "203.0.113.223/32 over 192.0.2.66")

	// What is protected from now on is not blackholed any more, and never was what was protected before.
	s.as("admin").ok("apply", "-f", writeFile(t, s.lab, "edge.yaml", "kind: ProtectedBlock\nname: edge\npurpose: customer-edge\nprefixes: [203.0.113.222/32]\n"))
	s.as("detector").signal("send", "--attack", "flood", "--target", "203.0.113.230/31", "--vector", "tcp_flood")
	waitHoles(t, holes, "2001:db8:a:9::3/128 over 100::66", "203.0.113.220/32 over 192.0.2.66", "203.0.113.221/32 over 192.0.2.66",
		"203.0.113.223/32 over 192.0.2.66", "203.0.113.230/32 over 192.0.2.66", "203.0.113.231/32 over 192.0.2.66")

	rules := strings.Join(strings.Fields(s.as("admin").ok("rules", "--router", "holes")), " ")
	if !strings.Contains(rules, "dst 203.0.113.220/32 => rtbh rtbh, M") || strings.Contains(rules, "flowspec") {
		t.Errorf("rules of the router for blackholes: %s", rules)
	}
	s.as("operator").ok("mitigation", "withdraw-all", "--reason", "over")
	s.waitTable()
	waitHoles(t, holes)
}

// waitHoles waits until a router hears exactly these blackhole routes, each with the communities that make it one.
func waitHoles(t *testing.T, r *bgptest.Router, want ...string) {
	t.Helper()
	const blackhole, noExport = 0xffff029a, 0xffffff01 // RFC 7999 section 5, RFC 1997
	var last string
	ctx, cancel := context.WithTimeoutCause(t.Context(), patience, errors.New("the blackhole routes are not those"))
	defer cancel()
	err := r.Wait(ctx, func(table bgptest.Table, _ []bgptest.Session) bool {
		var got []string
		for _, k := range table.Keys() {
			for _, p := range table.Paths(k) {
				text := fmt.Sprintf("%s over %s", p.Prefix, p.NextHop)
				if !p.Unicast || !slices.Contains(p.Communities, blackhole) || !slices.Contains(p.Communities, noExport) {
					text += fmt.Sprintf(": no blackhole, communities %x", p.Communities)
				}
				got = append(got, text)
			}
		}
		slices.Sort(got)
		sorted := slices.Sorted(slices.Values(want))
		last = cmp.Diff(sorted, got)
		return last == ""
	})
	if err != nil {
		t.Fatalf("%v (-want +got):\n%s", err, last)
	}
}

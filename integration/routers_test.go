package integration_test

import (
	"slices"
	"testing"

	"github.com/tidegate/tidegate/bgp/bgptest"
	"github.com/tidegate/tidegate/integration/lab"
)

// TestRouters drives a three-node cluster like a user, with documents, a detector's signals and an operator's commands,
// and compares what FRR, BIRD, ExaBGP, gobgpd and the witness understood: match, action and announcing node. Then it
// ends the mitigations in the three ways in which they can end.
func TestRouters(t *testing.T) {
	c := startCluster(t)
	detector, operator := c.as("detector"), c.as("operator")

	// The rules that each step must lead to, written down by hand from the RFCs and the inventory.
	steps := []struct {
		name  string
		do    func() string // returns the mitigation, if it is ended by its id
		rules []string
	}{
		{"signal IPv4", func() string {
			detector.signal("send", "--attack", "dns4", "--target", "203.0.113.10", "--vector", "dns_amplification")
			return ""
		}, []string{
			"dst 203.0.113.10/32 proto udp sport 53 => discard",
			"dst 203.0.113.10/32 proto udp frag any:is-fragment => discard",
		}},
		{"signal IPv6", func() string {
			detector.signal("send", "--attack", "ntp6", "--target", "2001:db8:a:1::1", "--vector", "ntp_amplification")
			return ""
		}, []string{
			"dst 2001:db8:a:1::1/128 proto udp sport 123 => discard",
			"dst 2001:db8:a:1::1/128 proto udp frag any:is-fragment => discard",
		}},
		{"destination only IPv4, around the link", func() string {
			return operator.mitigation("--target", "203.0.113.0/29", "--discard", "--lifetime", "10m")
		}, []string{"dst 203.0.113.0/30 => discard"}},
		{"destination only IPv6", func() string {
			return operator.mitigation("--target", "2001:db8:a:2::/64", "--discard", "--lifetime", "10m")
		}, []string{"dst 2001:db8:a:2::/64 => discard"}},
		{"rate shared by the pieces around the nested customer", func() string {
			return operator.mitigation("--target", "203.0.113.64/26", "--match", "proto udp", "--rate", "10Mbps", "--lifetime", "10m")
		}, []string{"dst 203.0.113.96/27 proto udp => rate 10Mbps"}},
		{"rate shared by two pieces", func() string {
			return operator.mitigation("--target", "203.0.113.16/28,203.0.113.48/28", "--match", "proto gre", "--rate", "10Mbps", "--lifetime", "10m")
		}, []string{"dst 203.0.113.16/28 proto gre => rate 5Mbps", "dst 203.0.113.48/28 proto gre => rate 5Mbps"}},
		{"ports and lengths IPv4", func() string {
			return operator.mitigation("--target", "192.0.2.0/28", "--match", "proto tcp|udp dport 80|443|8000-8080 len 1000-1500", "--rate", "3Mbps", "--lifetime", "10m")
		}, []string{"dst 192.0.2.0/28 proto tcp|udp dport 80|443|8000-8080 len 1000-1500 => rate 3Mbps"}},
		{"ports and lengths IPv6", func() string {
			return operator.mitigation("--target", "2001:db8:c:3::/64", "--match", "proto udp dport 443 len 1200-1500", "--rate", "8Mbps", "--lifetime", "10m")
		}, []string{"dst 2001:db8:c:3::/64 proto udp dport 443 len 1200-1500 => rate 8Mbps"}},
		{"flags, IPv4", func() string {
			return operator.mitigation("--target", "192.0.2.16/28", "--match", "src 100.64.0.0/10 proto tcp tcp-flags syn&!ack", "--discard", "--lifetime", "10m")
		}, []string{"dst 192.0.2.16/28 src 100.64.0.0/10 proto tcp tcp-flags syn&!ack => discard"}},
	}
	var wanted []string
	ids := make([]string, len(steps))
	for i, s := range steps {
		ids[i] = s.do()
		wanted = append(wanted, s.rules...)
	}
	c.waitTables(wanted, c.members...)

	without := func(rules []string) {
		wanted = slices.DeleteFunc(wanted, func(w string) bool { return slices.Contains(rules, w) })
	}
	detector.signal("end", "--attack", "dns4", "--seq", "2")
	without(steps[0].rules)
	c.waitTables(wanted, c.members...)

	operator.ok("mitigation", "withdraw", ids[2], "--reason", "over")
	without(steps[2].rules)
	c.waitTables(wanted, c.members...)

	operator.mitigation("--target", "203.0.113.200", "--discard", "--lifetime", "2s")
	const short = "dst 203.0.113.200/32 => discard"
	c.waitTables(append(slices.Clone(wanted), short), c.members...)
	c.waitTables(wanted, c.members...) // its lifetime is over

	operator.ok("mitigation", "withdraw-all", "--reason", "end of the test")
	c.waitTables(nil, c.members...)
	c.neverBeyond()
}

// neverBeyond reads back everything that the witness was ever told.
func (c *cluster) neverBeyond() {
	c.t.Helper()
	announced := 0
	for _, u := range c.witness.Updates() {
		for _, r := range u.Announced {
			announced++
			if err := spared(seenOf(r)); err != nil {
				c.t.Errorf("update %d: %v", u.Seq, err)
			}
		}
	}
	if announced == 0 {
		c.t.Error("the witness has recorded nothing")
	}
}

func seenOf(r bgptest.Route) []lab.Seen { return []lab.Seen{{Rule: r.Rule, From: r.From}} }

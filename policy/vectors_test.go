package policy_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/policy"
)

// anything is an inventory with one policy that takes all vectors.
func anything(t testing.TB) *world {
	t.Helper()
	return newWorld(t, without([]string{"amplification", "floods"}, &policy.Policy{Name: "all", Action: policy.Action{Kind: policy.Discard}, Groups: []string{"edge"}})...)
}

// TestVectors reads the rules of each vector, as text, in both families.
func TestVectors(t *testing.T) {
	amplification := func(port int) []string {
		return []string{fmt.Sprintf("proto udp sport %d", port), "proto udp frag any:is-fragment"}
	}
	want := map[policy.Vector][2][]string{
		policy.VectorDNSAmplification:       {amplification(53), amplification(53)},
		policy.VectorNTPAmplification:       {amplification(123), amplification(123)},
		policy.VectorMemcachedAmplification: {amplification(11211), amplification(11211)},
		policy.VectorSSDPAmplification:      {amplification(1900), amplification(1900)},
		policy.VectorCLDAPAmplification:     {amplification(389), amplification(389)},
		policy.VectorCharGenAmplification:   {amplification(19), amplification(19)},
		policy.VectorSNMPAmplification:      {amplification(161), amplification(161)},
		policy.VectorUDPFlood:               {{"proto udp"}, {"proto udp"}},
		policy.VectorSYNFlood:               {{"proto tcp tcp-flags syn&!any:ack"}, {"proto tcp tcp-flags syn&!any:ack"}},
		policy.VectorTCPFlood:               {{"proto tcp"}, {"proto tcp"}},
		policy.VectorICMPFlood: {
			{"proto icmp icmp-type 0-2|4-255", "proto icmp frag any:is-fragment"},
			{"proto icmpv6 icmp-type 5-132|138-255", "proto icmpv6 frag any:is-fragment"},
		},
		policy.VectorGREFlood:      {{"proto gre"}, {"proto gre"}},
		policy.VectorCarpetBombing: {{""}, {""}},
		policy.VectorUnknown:       {{"proto esp"}, {"proto esp"}},
	}
	for _, info := range policy.Vectors() {
		for i, target := range []string{"198.51.100.7/32", "2001:db8:100::7/128"} {
			t.Run(fmt.Sprint(info.Name, " ", target), func(t *testing.T) {
				w := anything(t)
				m := w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, info.Name, pfxs(target), func(s *policy.Signal) {
					if info.NeedsProtocol {
						s.Protocols = []uint8{50}
					}
				})).Mitigations[0]
				var texts []string
				for _, v := range want[info.Name][i] {
					text := "dst " + target
					if v != "" {
						text += " " + v
					}
					match, err := flowspec.ParseMatch(text)
					if err != nil {
						t.Fatal(err)
					}
					texts = append(texts, match.String())
				}
				var got []string
				for _, r := range m.Rules {
					if err := flowspec.CheckSafe(r.Match); err != nil {
						t.Error(err)
					}
					got = append(got, r.Match.String())
				}
				if diff := cmp.Diff(texts, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if info.Description == "" {
					t.Error("no description")
				}
			})
		}
	}
	if len(want) != len(policy.Vectors()) {
		t.Errorf("%d vectors, %d rows", len(policy.Vectors()), len(want))
	}
}

// TestSpared: path MTU discovery and neighbour discovery pass whatever ICMP rule is made, also with other protocols.
func TestSpared(t *testing.T) {
	rows := []struct {
		target, src string
		proto       uint8
		spared      []uint8
		taken       []uint8
	}{
		{"198.51.100.7/32", "192.0.2.9/32", 1, []uint8{3}, []uint8{0, 5, 8, 11, 13}},
		{"2001:db8:100::7/128", "2001:db8:ffff::9/128", 58, []uint8{1, 2, 3, 4, 133, 134, 135, 136, 137}, []uint8{128, 129, 130, 200}},
	}
	for _, row := range rows {
		for _, v := range []policy.Vector{policy.VectorICMPFlood, policy.VectorUnknown, policy.VectorCarpetBombing} {
			t.Run(fmt.Sprint(v, row.target), func(t *testing.T) {
				w := anything(t)
				m := w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, v, pfxs(row.target), func(s *policy.Signal) {
					if v != policy.VectorICMPFlood {
						s.Protocols = []uint8{17, row.proto, 6}
					}
				})).Mitigations[0]
				acts := func(p flowspec.Packet) bool {
					p.Src, p.Dst, p.HasPorts, p.Length = pfx(row.src).Addr(), pfx(row.target).Addr(), true, 100
					return slices.ContainsFunc(overTheWire(t, m.Rules), func(m flowspec.Match) bool { return m.Matches(&p) })
				}
				for _, n := range row.spared {
					if acts(flowspec.Packet{Protocol: row.proto, ICMPType: n}) {
						t.Errorf("type %d is taken", n)
					}
				}
				for _, n := range row.taken {
					if !acts(flowspec.Packet{Protocol: row.proto, ICMPType: n}) {
						t.Errorf("type %d is spared", n)
					}
				}
				if !acts(flowspec.Packet{Protocol: row.proto, ICMPType: 3, Fragment: flowspec.FragmentBits(false, true, 1480)}) {
					t.Error("a fragment after the first gets through")
				}
			})
		}
	}
}

// TestHints: what a signal says narrows the match, and an empty list never widens it.
func TestHints(t *testing.T) {
	one := flowspec.One
	rows := []struct {
		name   string
		vector policy.Vector
		change func(*policy.Signal)
		want   []string
	}{
		{"protocol of the vector", dns, func(s *policy.Signal) { s.Protocols = []uint8{6, 17} }, []string{"proto udp sport 53", "proto udp frag any:is-fragment"}},
		{
			"ports around the vector's", dns, func(s *policy.Signal) { s.SourcePorts = []flowspec.Range{{Lo: 0, Hi: 65535}} },
			[]string{"proto udp sport 53", "proto udp frag any:is-fragment"},
		},
		{
			"destination port", dns, func(s *policy.Signal) { s.DestinationPorts = []flowspec.Range{one(443)} },
			[]string{"proto udp dport 443 sport 53", "proto udp frag any:is-fragment"},
		},
		{
			"lengths narrow the fragments, too", dns, func(s *policy.Signal) { s.PacketLengths = []flowspec.Range{{Lo: 500, Hi: 1500}} },
			[]string{"proto udp sport 53 len 500-1500", "proto udp len 500-1500 frag any:is-fragment"},
		},
		{
			"sources", dns, func(s *policy.Signal) { s.SourcePrefixes = pfxs("192.88.99.0/24", "8.8.8.0/24", "8.8.8.8/32") },
			[]string{
				"src 8.8.8.0/24 proto udp sport 53", "src 8.8.8.0/24 proto udp frag any:is-fragment",
				"src 192.88.99.0/24 proto udp sport 53", "src 192.88.99.0/24 proto udp frag any:is-fragment",
			},
		},
		{"touching ranges are joined", policy.VectorUDPFlood, func(s *policy.Signal) {
			s.DestinationPorts = []flowspec.Range{{Lo: 10, Hi: 20}, {Lo: 21, Hi: 30}, {Lo: 15, Hi: 16}}
		}, []string{"proto udp dport 10-30"}},
		{"long lists are split", policy.VectorUDPFlood, func(s *policy.Signal) {
			s.SourcePorts = []flowspec.Range{{Lo: 10, Hi: 20}, {Lo: 30, Hi: 40}, one(50), {Lo: 60, Hi: 70}, one(80)}
		}, []string{"proto udp sport 10-20|30-40|50", "proto udp sport 60-70|80"}},
		{"ports without a protocol", policy.VectorCarpetBombing, func(s *policy.Signal) { s.DestinationPorts = []flowspec.Range{one(80)} }, []string{"proto tcp|udp dport 80"}},
		{"ports with a protocol that has none", policy.VectorCarpetBombing, func(s *policy.Signal) {
			s.Protocols, s.DestinationPorts = []uint8{47, 17}, []flowspec.Range{one(80)}
		}, []string{"proto udp dport 80"}},
		{
			"many protocols", policy.VectorUnknown, func(s *policy.Signal) { s.Protocols = []uint8{50, 51, 52, 53, 54, 55, 56} },
			[]string{"proto esp|51|52|53|54", "proto 55|56"},
		},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := anything(t)
			m := w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, row.vector, pfxs("198.51.100.7/32"), row.change)).Mitigations[0]
			var want, got []string
			for _, text := range row.want {
				match, err := flowspec.ParseMatch("dst 198.51.100.7/32 " + text)
				if err != nil {
					t.Fatal(err)
				}
				want = append(want, match.String())
			}
			for _, r := range m.Rules {
				got = append(got, r.Match.String())
			}
			slices.Sort(want)
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

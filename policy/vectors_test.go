package policy_test

import (
	"fmt"
	"slices"
	"strings"
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
	amplification := func(port string) []string {
		return []string{"proto udp sport " + port, "proto udp frag any:is-fragment"}
	}
	both := func(text string) [2][]string { return [2][]string{{text}, {text}} }
	want := map[policy.Vector][2][]string{
		policy.VectorDNSAmplification:          {amplification("53"), amplification("53")},
		policy.VectorNTPAmplification:          {amplification("123"), amplification("123")},
		policy.VectorMemcachedAmplification:    {amplification("11211"), amplification("11211")},
		policy.VectorSSDPAmplification:         {amplification("1900"), amplification("1900")},
		policy.VectorCLDAPAmplification:        {amplification("389"), amplification("389")},
		policy.VectorCharGenAmplification:      {amplification("19"), amplification("19")},
		policy.VectorSNMPAmplification:         {amplification("161"), amplification("161")},
		policy.VectorQOTDAmplification:         {amplification("17"), amplification("17")},
		policy.VectorTFTPAmplification:         {amplification("69"), amplification("69")},
		policy.VectorPortmapAmplification:      {amplification("111"), amplification("111")},
		policy.VectorNetBIOSAmplification:      {amplification("137"), amplification("137")},
		policy.VectorSLPAmplification:          {amplification("427"), amplification("427")},
		policy.VectorRIPv1Amplification:        {amplification("520"), amplification("520")},
		policy.VectorMSSQLAmplification:        {amplification("1434"), amplification("1434")},
		policy.VectorARMSAmplification:         {amplification("3283"), amplification("3283")},
		policy.VectorRDPAmplification:          {amplification("3389"), amplification("3389")},
		policy.VectorWSDiscoveryAmplification:  {amplification("3702"), amplification("3702")},
		policy.VectorMDNSAmplification:         {amplification("5353"), amplification("5353")},
		policy.VectorCoAPAmplification:         {amplification("5683"), amplification("5683")},
		policy.VectorUbiquitiAmplification:     {amplification("10001"), amplification("10001")},
		policy.VectorPlexAmplification:         {amplification("32410|32414"), amplification("32410|32414")},
		policy.VectorDHCPDiscoverAmplification: {amplification("37810"), amplification("37810")},
		policy.VectorTCPAmplification:          both("proto tcp tcp-flags syn+ack"),
		policy.VectorUDPFlood:                  both("proto udp"),
		policy.VectorSYNFlood:                  both("proto tcp tcp-flags syn&!any:ack"),
		policy.VectorACKFlood:                  both("proto tcp tcp-flags ack&!any:syn+rst"),
		policy.VectorRSTFlood:                  both("proto tcp tcp-flags rst"),
		policy.VectorTCPFlood:                  both("proto tcp"),
		policy.VectorICMPFlood: {
			{"proto icmp icmp-type 0-2|4-255", "proto icmp frag any:is-fragment"},
			{"proto icmpv6 icmp-type 5-132|138-255", "proto icmpv6 frag any:is-fragment"},
		},
		policy.VectorFragmentFlood: both("frag any:is-fragment+first-fragment"),
		policy.VectorGREFlood:      both("proto gre"),
		policy.VectorESPFlood:      both("proto esp"),
		policy.VectorCarpetBombing: both(""),
		policy.VectorUnknown:       both("proto esp"),
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

// TestVectorPackets: each vector takes the packets of its attack and no others, on the wire form of its rules.
func TestVectorPackets(t *testing.T) {
	const fin, syn, rst, psh, ack = flowspec.FIN, flowspec.SYN, flowspec.RST, flowspec.PSH, flowspec.ACK
	tcp := func(flags uint16) flowspec.Packet {
		return flowspec.Packet{Protocol: 6, HasPorts: true, SrcPort: 443, DstPort: 50000, TCPFlags: flags}
	}
	udp := func(port uint16) flowspec.Packet {
		return flowspec.Packet{Protocol: 17, HasPorts: true, SrcPort: port, DstPort: 50000}
	}
	part := func(proto uint8, more bool, offset uint16) flowspec.Packet {
		return flowspec.Packet{Protocol: proto, HasPorts: offset == 0, SrcPort: 4444, Fragment: flowspec.FragmentBits(false, more, offset)}
	}
	rows := []struct {
		vector      policy.Vector
		taken, left []flowspec.Packet
	}{
		{
			policy.VectorACKFlood,
			[]flowspec.Packet{tcp(ack), tcp(psh | ack), tcp(fin | ack)},
			[]flowspec.Packet{tcp(syn), tcp(syn | ack), tcp(rst), tcp(rst | ack), tcp(0), udp(443), part(6, true, 185)},
		},
		{
			policy.VectorRSTFlood,
			[]flowspec.Packet{tcp(rst), tcp(rst | ack)},
			[]flowspec.Packet{tcp(ack), tcp(syn), tcp(syn | ack), tcp(fin | ack), udp(443)},
		},
		{
			policy.VectorSYNFlood,
			[]flowspec.Packet{tcp(syn), tcp(syn | psh)},
			[]flowspec.Packet{tcp(syn | ack), tcp(ack), tcp(rst)},
		},
		{
			policy.VectorTCPAmplification,
			[]flowspec.Packet{tcp(syn | ack)},
			[]flowspec.Packet{tcp(syn), tcp(ack), tcp(rst | ack), tcp(psh | ack)},
		},
		{
			policy.VectorFragmentFlood,
			[]flowspec.Packet{part(17, true, 0), part(17, true, 185), part(17, false, 370), part(6, true, 0), part(50, false, 1)},
			[]flowspec.Packet{part(17, false, 0), tcp(ack), udp(53)},
		},
		{
			policy.VectorDNSAmplification,
			[]flowspec.Packet{udp(53), part(17, true, 185), part(17, false, 370)},
			[]flowspec.Packet{udp(123), part(17, true, 0), part(6, true, 185), tcp(ack)},
		},
		{
			policy.VectorPlexAmplification,
			[]flowspec.Packet{udp(32410), udp(32414)},
			[]flowspec.Packet{udp(32411), udp(32413), udp(32415)},
		},
		{policy.VectorESPFlood, []flowspec.Packet{{Protocol: 50}}, []flowspec.Packet{{Protocol: 51}, {Protocol: 47}, udp(4500)}},
	}
	for _, row := range rows {
		for _, ends := range [][2]string{{"192.0.2.9/32", "198.51.100.7/32"}, {"2001:db8:ffff::9/128", "2001:db8:100::7/128"}} {
			t.Run(fmt.Sprint(row.vector, " ", ends[1]), func(t *testing.T) {
				w := anything(t)
				m := w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, row.vector, pfxs(ends[1]))).Mitigations[0]
				wire := overTheWire(t, m.Rules)
				acts := func(p flowspec.Packet) bool {
					p.Src, p.Dst, p.Length = pfx(ends[0]).Addr(), pfx(ends[1]).Addr(), 100
					return slices.ContainsFunc(wire, func(m flowspec.Match) bool { return m.Matches(&p) })
				}
				for _, p := range row.taken {
					if !acts(p) {
						t.Errorf("gets through: %+v", p)
					}
				}
				for _, p := range row.left {
					if acts(p) {
						t.Errorf("is taken: %+v", p)
					}
				}
			})
		}
	}
}

// TestVectorNotes: a mitigation says which wanted packets look like those of the attack, and which of the attack leak.
func TestVectorNotes(t *testing.T) {
	rows := []struct {
		vector policy.Vector
		change func(*policy.Signal)
		want   string
	}{
		{policy.VectorACKFlood, nil, "limit the rate, a discard cuts all connections"},
		{policy.VectorRSTFlood, nil, "real resets look the same"},
		{policy.VectorTCPAmplification, nil, "keeps it from opening any"},
		{policy.VectorFragmentFlood, nil, "whatever is fragmented on its way"},
		{policy.VectorFragmentFlood, func(s *policy.Signal) { s.DestinationPorts = []flowspec.Range{flowspec.One(80)} }, "those that the signal names are not matched"},
		{policy.VectorESPFlood, nil, "own IPsec tunnels"},
		{policy.VectorGREFlood, nil, "own GRE tunnels"},
		{policy.VectorTFTPAmplification, nil, "RFC 1350 section 4"},
		{policy.VectorDNSAmplification, nil, "whatever their ports were"},
	}
	for _, row := range rows {
		t.Run(fmt.Sprint(row.vector, " ", row.want), func(t *testing.T) {
			w := anything(t)
			change := row.change
			if change == nil {
				change = func(*policy.Signal) {}
			}
			m := w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, row.vector, pfxs("198.51.100.7/32"), change)).Mitigations[0]
			if notes := strings.Join(m.Notes, "\n"); !strings.Contains(notes, row.want) {
				t.Errorf("notes without %q:\n%s", row.want, notes)
			}
		})
	}
}

// TestVectorFix: a slip in the name of a vector is answered with the one that was meant, anything else with all of them.
func TestVectorFix(t *testing.T) {
	all := "write one of dns_amplification, ntp_amplification, "
	rows := []struct{ wrong, want string }{
		{"dns_amplificaton", "write dns_amplification; "},
		{"DNS_Amplification", "write dns_amplification; "},
		{"syn-flood", "write syn_flood; "},
		{"ackflood", "write ack_flood; "},
		{"unknow", "write unknown; "},
		{"teardrop", all},
		{"", all},
		{"x", all},
		{strings.Repeat("udp_flood", 100), all},
	}
	for _, row := range rows {
		t.Run(row.wrong, func(t *testing.T) {
			if got := policy.VectorFix("write", policy.Vector(row.wrong)); !strings.HasPrefix(got, row.want) {
				t.Errorf("got %q, want %q…", got, row.want)
			}
		})
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
		{"protocol of fragments", policy.VectorFragmentFlood, func(s *policy.Signal) {
			s.Protocols, s.SourcePorts = []uint8{17}, []flowspec.Range{one(53)}
		}, []string{"proto udp frag any:is-fragment+first-fragment"}},
		{"fragments of ICMP", policy.VectorFragmentFlood, func(s *policy.Signal) {
			s.Protocols = []uint8{1, 17}
		}, []string{"proto icmp|udp frag any:is-fragment+first-fragment"}},
		{"ports of a flood of ACKs", policy.VectorACKFlood, func(s *policy.Signal) {
			s.DestinationPorts = []flowspec.Range{one(443)}
		}, []string{"proto tcp dport 443 tcp-flags ack&!any:syn+rst"}},
		{"ports of handshakes", policy.VectorTCPAmplification, func(s *policy.Signal) {
			s.SourcePorts = []flowspec.Range{one(80), one(443)}
		}, []string{"proto tcp sport 80|443 tcp-flags syn+ack"}},
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

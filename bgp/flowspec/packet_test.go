package flowspec

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
)

func TestMatches(t *testing.T) {
	v4 := func(change func(*Packet)) Packet {
		p := Packet{
			Src: netip.MustParseAddr("198.51.100.9"), Dst: netip.MustParseAddr("203.0.113.7"),
			Protocol: 17, HasPorts: true, SrcPort: 53, DstPort: 4096, Length: 1400,
		}
		change(&p)
		return p
	}
	v6 := func(change func(*Packet)) Packet {
		p := v4(change)
		p.Src, p.Dst = netip.MustParseAddr("2001:db8:1::9"), netip.MustParseAddr("2001:db8::7")
		return p
	}
	same := func(*Packet) {}
	tcp := func(flags uint16) func(*Packet) {
		return func(p *Packet) { p.Protocol, p.TCPFlags = 6, flags }
	}
	icmp := func(proto, kind, code uint8) func(*Packet) {
		return func(p *Packet) { p.Protocol, p.ICMPType, p.ICMPCode = proto, kind, code }
	}
	fragment := func(bits uint8) func(*Packet) { return func(p *Packet) { p.Fragment = bits } }
	const amplification = "dst 203.0.113.0/24 proto udp sport 53 len >=512"
	for _, tt := range []struct {
		name   string
		match  string
		packet Packet
		want   bool
	}{
		{"all components hold", amplification, v4(same), true},
		{"other destination", amplification, v4(func(p *Packet) { p.Dst = netip.MustParseAddr("203.0.114.7") }), false},
		{"other protocol", amplification, v4(tcp(0)), false},
		{"other port", amplification, v4(func(p *Packet) { p.SrcPort = 123 }), false},
		{"too short", amplification, v4(func(p *Packet) { p.Length = 511 }), false},
		{"just long enough", amplification, v4(func(p *Packet) { p.Length = 512 }), true},
		{"first fragment has ports", amplification, v4(fragment(FirstFragment)), true},
		{"middle fragment has no ports", amplification, v4(fragment(IsFragment)), false},
		{"last fragment has no ports", amplification, v4(fragment(IsFragment | LastFragment)), false},
		{"ports not found", amplification, v4(func(p *Packet) { p.HasPorts = false }), false},
		{"everything in IPv4", "dst 0.0.0.0/0", v4(same), true},
		{"IPv6 packet, IPv4 rule", "dst 0.0.0.0/0", v6(same), false},
		{"IPv4 packet, IPv6 rule", "dst ::/0", v4(same), false},
		{"no packet", "dst ::/0", Packet{}, false},
		{"source", "src 198.51.100.0/24", v4(same), true},
		{"other source", "src 198.51.101.0/24", v4(same), false},
		{"either port, source", "ipv4 port 53", v4(same), true},
		{"either port, destination", "ipv4 port 4096", v4(same), true},
		{"either port, none", "ipv4 port 54", v4(same), false},
		{"either port, each by itself", "ipv4 port >53&<4096", v4(same), false},
		{"destination port is not the source port", "ipv4 dport 53", v4(same), false},
		{"port of SCTP", "ipv4 port 53", v4(func(p *Packet) { p.Protocol = 132 }), false},
		{"not equal matches no packet without ports", "ipv4 dport !=80", v4(icmp(1, 8, 0)), false},
		{"AND before OR", "ipv4 dport 1&2|4096", v4(same), true},
		{"AND before OR, the other way", "ipv4 dport 4096|1&2", v4(same), true},
		{"AND of two", "ipv4 dport >4000&<4096", v4(same), false},
		{"always true", "ipv4 dport true:0", v4(same), true},
		{"always false", "ipv4 dport false:4096", v4(same), false},
		{"SYN without ACK", "ipv4 tcp-flags syn&!ack", v4(tcp(SYN)), true},
		{"SYN with ACK", "ipv4 tcp-flags syn&!ack", v4(tcp(SYN | ACK)), false},
		{"all of two flags", "ipv4 tcp-flags syn+ack", v4(tcp(SYN | ACK | URG)), true},
		{"one of all flags", "ipv4 tcp-flags syn+ack", v4(tcp(ACK)), false},
		{"any of two flags", "ipv4 tcp-flags any:syn+ack", v4(tcp(ACK)), true},
		{"none of two flags", "ipv4 tcp-flags !any:syn+ack", v4(tcp(FIN)), true},
		{"not all of two flags", "ipv4 tcp-flags !syn+ack", v4(tcp(SYN)), true},
		{"no flags: all of nothing", "ipv4 tcp-flags 0", v4(tcp(0)), true},
		{"any of nothing", "ipv4 tcp-flags any:0", v4(tcp(SYN)), false},
		{"flags of UDP", "ipv4 tcp-flags !syn", v4(same), false},
		{"flags of a later fragment", "ipv4 tcp-flags !syn", v4(func(p *Packet) { p.Protocol, p.Fragment = 6, IsFragment }), false},
		{"ICMP", "ipv4 icmp-type 8 icmp-code 0", v4(icmp(1, 8, 0)), true},
		{"ICMP, other code", "ipv4 icmp-type 3 icmp-code 4", v4(icmp(1, 3, 3)), false},
		{"ICMPv6 in IPv4", "ipv4 icmp-type 8", v4(icmp(58, 8, 0)), false},
		{"ICMPv6", "ipv6 icmp-type 128", v6(icmp(58, 128, 0)), true},
		{"ICMP in IPv6", "ipv6 icmp-type 8", v6(icmp(1, 8, 0)), false},
		{"ICMP type of UDP", "ipv4 icmp-type 0", v4(same), false},
		{"DSCP", "ipv4 dscp 46", v4(func(p *Packet) { p.DSCP = 46 }), true},
		{"fragments but the first", "ipv4 frag any:is-fragment", v4(fragment(IsFragment)), true},
		{"the first is not one", "ipv4 frag any:is-fragment", v4(fragment(FirstFragment)), false},
		{"no fragment at all", "ipv4 frag !any:is-fragment+first-fragment", v4(fragment(DontFragment)), true},
		{"flow label", "ipv6 label 1-5", v6(func(p *Packet) { p.FlowLabel = 3 }), true},
		{"other flow label", "ipv6 label 1-5", v6(func(p *Packet) { p.FlowLabel = 6 }), false},
		{"offset", "dst ::7/64-128", v6(same), true},
		{"offset, other end", "dst ::8/64-128", v6(same), false},
		{"offset inside of an octet", "dst 1::/15-16", v6(same), true},
		{"offset inside of an octet, other bit", "dst ::/15-16", v6(same), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := ParseMatch(tt.match)
			if err != nil {
				t.Fatal(err)
			}
			if got := m.Matches(&tt.packet); got != tt.want {
				t.Errorf("%v matches %+v: %v, want %v", m, tt.packet, got, tt.want)
			}
		})
	}
	if (Match{Family: IPv4}).Matches(&Packet{Dst: netip.IPv4Unspecified()}) {
		t.Error("an empty match, which is not valid, matches")
	}
}

func TestFragmentBits(t *testing.T) {
	for _, tt := range []struct {
		name       string
		dont, more bool
		offset     uint16
		want       uint8
	}{
		{"whole", false, false, 0, 0},
		{"whole, may not be cut", true, false, 0, DontFragment},
		{"first", false, true, 0, FirstFragment},
		{"middle", false, true, 185, IsFragment},
		{"last", false, false, 370, IsFragment | LastFragment},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := FragmentBits(tt.dont, tt.more, tt.offset); got != tt.want {
				t.Errorf("FragmentBits = 0x%02x, want 0x%02x", got, tt.want)
			}
		})
	}
}

// twinMatches evaluates m by its text of the RFC: values are looked up by name, addresses are strings of bits, and a
// list is a disjunction of conjunctions written out in full.
func twinMatches(m Match, p Packet) bool {
	if p.Dst.Is4() != (m.Family == IPv4) {
		return false
	}
	readable := p.HasPorts && p.Fragment&IsFragment == 0
	icmp := map[Family]uint8{IPv4: 1, IPv6: 58}[m.Family]
	ports := readable && (p.Protocol == 6 || p.Protocol == 17)
	fields := map[ComponentType][]uint64{
		IPProtocol: {uint64(p.Protocol)}, PacketLength: {uint64(p.Length)}, DSCP: {uint64(p.DSCP)},
		Fragment: {uint64(p.Fragment)}, FlowLabel: {uint64(p.FlowLabel)},
	}
	if ports {
		fields[Port] = []uint64{uint64(p.SrcPort), uint64(p.DstPort)}
		fields[SourcePort], fields[DestinationPort] = []uint64{uint64(p.SrcPort)}, []uint64{uint64(p.DstPort)}
	}
	if readable && p.Protocol == icmp {
		fields[ICMPType], fields[ICMPCode] = []uint64{uint64(p.ICMPType)}, []uint64{uint64(p.ICMPCode)}
	}
	if readable && p.Protocol == 6 {
		fields[TCPFlags] = []uint64{uint64(p.TCPFlags)}
	}
	for _, c := range m.Components {
		hit := false
		switch {
		case c.Type == DestinationPrefix:
			hit = twinContains(c, p.Dst)
		case c.Type == SourcePrefix:
			hit = twinContains(c, p.Src)
		default:
			for _, v := range fields[c.Type] {
				hit = hit || twinList(c, v)
			}
		}
		if !hit {
			return false
		}
	}
	return true
}

func twinContains(c Component, a netip.Addr) bool {
	bits := func(a netip.Addr) (s string) {
		for _, b := range a.AsSlice() {
			s += fmt.Sprintf("%08b", b)
		}
		return s[c.Offset:c.Prefix.Bits()]
	}
	return bits(a) == bits(c.Prefix.Addr())
}

func twinList(c Component, v uint64) bool {
	groups := [][]Op{nil}
	for i, op := range c.Ops {
		if i > 0 && op.Flags&And == 0 {
			groups = append(groups, nil)
		}
		groups[len(groups)-1] = append(groups[len(groups)-1], op)
	}
	for _, group := range groups {
		all := true
		for _, op := range group {
			all = all && twinOp(c.Type, op, v)
		}
		if all {
			return true
		}
	}
	return false
}

func twinOp(t ComponentType, op Op, v uint64) bool {
	if t == TCPFlags || t == Fragment {
		common := v & op.Value
		return []bool{common != 0, common == op.Value, common == 0, common != op.Value}[op.Flags&3]
	}
	return []bool{
		false, v == op.Value, v > op.Value, v >= op.Value, v < op.Value, v <= op.Value, v != op.Value, true,
	}[op.Flags&7]
}

// randomPacket returns a packet that m may match: addresses of its prefixes, values near those that it names.
func randomPacket(r *rand.Rand, m Match) Packet {
	near := func(t ComponentType, limit uint64) uint64 {
		c, ok := m.Component(t)
		if !ok || r.IntN(4) == 0 {
			return r.Uint64N(limit + 1)
		}
		v := c.Ops[r.IntN(len(c.Ops))].Value
		switch r.IntN(4) {
		case 0:
			v++
		case 1:
			v--
		}
		return min(v, limit)
	}
	address := func(t ComponentType) netip.Addr {
		c, ok := m.Component(t)
		if !ok || r.IntN(8) == 0 {
			return randomComponent(r, m.Family, DestinationPrefix).Prefix.Addr()
		}
		b := c.Prefix.Addr().AsSlice()
		for i := c.Prefix.Bits(); i < len(b)*8; i++ {
			b[i/8] ^= byte(r.IntN(2)) << (7 - i%8)
		}
		for i := range int(c.Offset) {
			b[i/8] ^= byte(r.IntN(2)) << (7 - i%8)
		}
		a, _ := netip.AddrFromSlice(b)
		return a
	}
	p := Packet{
		Src: address(SourcePrefix), Dst: address(DestinationPrefix),
		Protocol: uint8(near(IPProtocol, 255)), HasPorts: r.IntN(8) != 0,
		SrcPort: uint16(near(SourcePort, 65535)), DstPort: uint16(near(DestinationPort, 65535)),
		ICMPType: uint8(near(ICMPType, 255)), ICMPCode: uint8(near(ICMPCode, 255)),
		TCPFlags: uint16(near(TCPFlags, 0xfff)), Length: uint32(near(PacketLength, 65535)), DSCP: uint8(near(DSCP, 63)),
		Fragment:  FragmentBits(m.Family == IPv4 && r.IntN(2) == 0, r.IntN(3) == 0, uint16(r.IntN(2)*r.IntN(3))),
		FlowLabel: uint32(near(FlowLabel, 1<<20-1)),
	}
	if r.IntN(2) == 0 {
		p.Protocol = []uint8{1, 6, 17, 58}[r.IntN(4)]
	}
	if r.IntN(4) == 0 {
		p.DstPort = uint16(near(Port, 65535))
	}
	return p
}

func TestMatchesTwin(t *testing.T) {
	r := newRand(7)
	var seen [2]int
	for range 60_000 {
		m := randomMatch(r)
		for range 4 {
			p := randomPacket(r, m)
			want := twinMatches(m, p)
			if got := m.Matches(&p); got != want {
				t.Fatalf("%v matches %+v: %v, want %v", m, p, got, want)
			}
			if want {
				seen[1]++
			} else {
				seen[0]++
			}
		}
	}
	if seen[1] < 5_000 || seen[0] < 5_000 {
		t.Errorf("of the random packets %d match and %d do not; the twin proves little", seen[1], seen[0])
	}
}

func BenchmarkMatches(b *testing.B) {
	m := benchMatch(b)
	p := Packet{
		Src: netip.MustParseAddr("198.51.100.9"), Dst: netip.MustParseAddr("203.0.113.7"),
		Protocol: 17, HasPorts: true, SrcPort: 123, DstPort: 4096, Length: 1400,
	}
	b.ReportAllocs()
	for b.Loop() {
		if !m.Matches(&p) {
			b.Fatal("no match")
		}
	}
}

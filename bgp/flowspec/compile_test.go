package flowspec

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// randomActions returns up to three actions, half of the lists with continue.
func randomActions(r *rand.Rand) []Action {
	all := []Action{goOn, sample, both, slow, slower, pps, no, noPPS, vrf, scrub, copyA, copyB, mark8, mark0}
	var out []Action
	for range r.IntN(3) {
		out = append(out, all[r.IntN(len(all))])
	}
	if r.IntN(2) == 0 {
		out = append(out, goOn)
	}
	return out
}

// randomSet returns a set of about n rules of which many meet: few destinations, most with two or three components.
func randomSet(t testing.TB, r *rand.Rand, n int) RuleSet {
	t.Helper()
	var destinations []Component
	for range 1 + r.IntN(6) {
		destinations = append(destinations, randomComponent(r, IPv4, DestinationPrefix), randomComponent(r, IPv6, DestinationPrefix))
	}
	var rules []Rule
	seen := make(map[Key]bool)
	for range n {
		m := Match{Family: Family(1 + r.IntN(2))}
		if r.IntN(8) > 0 {
			if r.IntN(4) > 0 {
				m.Components = append(m.Components, destinations[2*r.IntN(len(destinations)/2)+int(m.Family)-1])
			} else {
				m.Components = append(m.Components, randomComponent(r, m.Family, DestinationPrefix))
			}
		}
		wide := 3 + r.IntN(12)
		for k := SourcePrefix; k.In(m.Family) || k == FlowLabel; k++ {
			if k.In(m.Family) && r.IntN(wide) == 0 {
				m.Components = append(m.Components, randomComponent(r, m.Family, k))
			}
		}
		if len(m.Components) == 0 || seen[m.Key()] {
			continue
		}
		seen[m.Key()] = true
		rules = append(rules, Rule{Match: m, Actions: randomActions(r)})
	}
	return setOf(t, rules...)
}

// agree holds the compiled set against the loop and returns how many rules were applied.
func agree(t testing.TB, c *Compiled, p *Packet, o *Outcome) int {
	t.Helper()
	want := c.RuleSet().Evaluate(p)
	c.Evaluate(p, o)
	if !o.Equal(want) {
		for i, r := range c.RuleSet().All() {
			t.Logf("%d: %v matches: %t", i, r.Match, r.Match.Matches(p))
		}
		t.Fatalf("%+v\ncompiled %+v\nwant     %+v", *p, *o, want)
	}
	return len(want.Rules)
}

// TestPropertyCompiled holds compiled sets against the loop with more than a million packets, each made for a rule of
// its set.
func TestPropertyCompiled(t *testing.T) {
	r := newRand(21)
	var o Outcome
	var applied [4]int // by number of rules
	for round, packets := 0, 0; packets < 1_100_000; round++ {
		n := 1 + r.IntN(80)
		if round%300 == 0 {
			n = 2500 // more than fits into one bucket
		}
		s := randomSet(t, r, n)
		if s.Len() == 0 {
			continue
		}
		c := s.Compile()
		for range min(3*n, 500) {
			p := randomPacket(r, s.Rule(r.IntN(s.Len())).Match)
			applied[min(agree(t, c, &p, &o), 3)]++
			packets++
		}
	}
	if slices.Min(applied[:]) < 50_000 {
		t.Errorf("packets by number of rules applied: %v; the property proves little", applied)
	}
}

// TestCompiledOdd holds packets against the loop that no router sees: without addresses, of two families, with bits
// and values that no header holds.
func TestCompiledOdd(t *testing.T) {
	r := newRand(22)
	a4, a6 := netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("2001:db8::7")
	edges := setOf(
		t, ruleOf(t, "ipv6 len 65535 dscp 63", goOn), ruleOf(t, "ipv6 len >65535", goOn), ruleOf(t, "ipv6 len >=65535 dscp >63", goOn),
		ruleOf(t, "ipv6 label 1048575", goOn), ruleOf(t, "ipv6 label >1048575", goOn), ruleOf(t, "ipv6 tcp-flags !0x800", goOn),
	)
	for _, c := range []*Compiled{edges.Compile(), setOf(t, edges.rules[:eachRules]...).Compile()} {
		for _, n := range []uint32{0, 65534, 65535, 65536, 65537, 1<<20 - 1, 1 << 20, 1<<32 - 1} {
			for _, dscp := range []uint8{62, 63, 64, 255} {
				p := Packet{Src: a6, Dst: a6, Protocol: protoTCP, HasPorts: true, TCPFlags: uint16(n), Length: n, FlowLabel: n, DSCP: dscp}
				agree(t, c, &p, new(Outcome))
			}
		}
	}
	for range 300 {
		c := randomSet(t, r, 40).Compile()
		var o Outcome
		for _, src := range []netip.Addr{{}, a4, a6} {
			for _, dst := range []netip.Addr{{}, a4, a6, netip.MustParseAddr("255.255.255.255"), netip.MustParseAddr("::"), netip.MustParseAddr("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")} {
				p := Packet{
					Src: src, Dst: dst, Protocol: []uint8{1, 6, 17, 58}[r.IntN(4)], HasPorts: r.IntN(4) > 0, TCPFlags: uint16(r.Uint32()),
					Length: r.Uint32(), DSCP: uint8(r.Uint32()), Fragment: uint8(r.Uint32()), FlowLabel: r.Uint32(),
				}
				agree(t, c, &p, &o)
			}
		}
	}
}

// mix is rules and packets as a network has them.
type mix struct {
	name    string
	set     RuleSet
	packets []Packet
}

// mixes returns what the benchmarks run: in each 1,000 rules, and 4,096 packets of which most go to a destination
// that has rules.
func mixes(t testing.TB) []mix {
	t.Helper()
	r := newRand(23)
	discard, limit := []Action{no}, []Action{{Type: TrafficRateBytes, Rate: 1e6}}
	build := func(name string, rule func(i int) (Family, []Component), packet func(p *Packet)) mix {
		m := mix{name: name}
		var rules []Rule
		for i := range 1000 {
			f, comps := rule(i)
			actions := discard
			if i%3 == 0 {
				actions = limit
			}
			rules = append(rules, Rule{Match: must(t, f, comps...), Actions: actions})
		}
		s, err := NewRuleSet(rules)
		if err != nil {
			t.Fatal(err)
		}
		m.set = s
		for range 4096 {
			rule := s.Rule(r.IntN(s.Len())).Match
			p := randomPacket(r, rule)
			for n := 0; n < 1000 && !rule.Matches(&p); n++ { // three quarters end here, the others somewhere near
				p = randomPacket(r, rule)
			}
			if len(m.packets)%4 == 0 {
				p = randomPacket(r, rule)
			}
			packet(&p)
			m.packets = append(m.packets, p)
		}
		return m
	}
	v4 := func(format string, args ...any) Component {
		return Destination(netip.MustParsePrefix(fmt.Sprintf(format, args...)))
	}
	reflectors := []uint64{19, 53, 123, 161, 389, 1900, 5353, 11211}
	same := func(*Packet) {}
	attack := func(i int) []Component { // what follows a destination
		switch i % 4 {
		case 0:
			return []Component{Proto(protoUDP), Ports(SourcePort, One(reflectors[i/4%8])), Length(Range{468, 65535})}
		case 1:
			return []Component{Proto(protoTCP), FlagsExcept(SYN, ACK)}
		case 2:
			return []Component{Proto(protoUDP), Fragments(IsFragment)}
		}
		return []Component{Proto(protoUDP), Ports(DestinationPort, One(uint64(i)), Range{1 << 14, 1 << 15})}
	}
	return []mix{
		build("1000Destinations", func(i int) (Family, []Component) {
			return IPv4, append(attack(i), v4("203.%d.%d.%d/32", i%7, i/7, i%251))
		}, same),
		build("OneSlash16", func(i int) (Family, []Component) {
			bits := []int{16, 20, 24, 28, 32}[i%5]
			p := netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, byte(i / 5), byte(i)}), bits).Masked()
			comps := append(attack(i), Destination(p), Source(netip.PrefixFrom(netip.AddrFrom4([4]byte{198, byte(i), byte(i >> 8), 0}), 24)))
			return IPv4, comps
		}, same),
		build("OneDestination", func(i int) (Family, []Component) {
			return IPv4, []Component{v4("203.0.113.7/32"), Proto(protoUDP), Ports(SourcePort, One(uint64(i*61))), Ports(DestinationPort, Range{uint64(i), uint64(i + 30000)})}
		}, same),
		build("Both", func(i int) (Family, []Component) {
			if i%2 == 0 {
				return IPv4, append(attack(i/2), v4("203.%d.%d.%d/32", i%7, i/7, i%251))
			}
			a := netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 4: byte(i), 5: byte(i >> 8), 15: 7})
			return IPv6, append(attack(i/2), Destination(netip.PrefixFrom(a, []int{48, 64, 128}[i/2%3]).Masked()))
		}, same),
		build("NoMatch", func(i int) (Family, []Component) {
			return IPv4, []Component{v4("203.0.113.7/32"), Proto(protoUDP), Ports(SourcePort, One(uint64(i*61))), Ports(DestinationPort, Range{uint64(i), uint64(i + 30000)})}
		}, func(p *Packet) { p.DstPort = 65535 }),
	}
}

// TestMixes holds the sets of the benchmarks against the loop, and holds that most of their packets match, save for
// those that are meant not to.
func TestMixes(t *testing.T) {
	for _, m := range mixes(t) {
		c := m.set.Compile()
		var o Outcome
		matched := 0
		for i := range m.packets {
			matched += agree(t, c, &m.packets[i], &o)
		}
		t.Logf("%s: %d of %d packets match", m.name, matched, len(m.packets))
		if none := m.name == "NoMatch"; none != (matched == 0) || !none && matched < len(m.packets)/4 {
			t.Errorf("%s: %d of %d packets match", m.name, matched, len(m.packets))
		}
		i := 0
		if n := testing.AllocsPerRun(1000, func() { c.Evaluate(&m.packets[i%len(m.packets)], &o); i++ }); n != 0 {
			t.Errorf("%s: %v allocations a packet", m.name, n)
		}
	}
}

func BenchmarkEvaluate(b *testing.B) {
	for _, m := range mixes(b) {
		b.Run(m.name+"/compiled", func(b *testing.B) {
			c := m.set.Compile()
			var o Outcome
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				c.Evaluate(&m.packets[i%len(m.packets)], &o)
				i++
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mpackets/s")
		})
		b.Run(m.name+"/loop", func(b *testing.B) {
			i := 0
			for b.Loop() {
				m.set.Evaluate(&m.packets[i%len(m.packets)])
				i++
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mpackets/s")
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	for _, m := range mixes(b) {
		b.Run(m.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				m.set.Compile()
			}
		})
	}
}

// fuzzSet reads rules, each as the octet of its family and flags, and its NLRI; what cannot be read ends the set.
func fuzzSet(b []byte) (RuleSet, bool) {
	actions := [][]Action{{no}, {slow}, {goOn}, {both, copyA}, {mark8, goOn}, {vrf}, {pps, scrub, goOn}, nil}
	var rules []Rule
	for len(b) > 0 {
		head := b[0]
		m, n, err := DecodeNLRI(Family(1+head&1), b[1:])
		if err != nil {
			break
		}
		b = b[1+n:]
		rules = append(rules, Rule{Match: m, Actions: actions[head>>1&7]})
	}
	s, err := order(rules)
	return s, err == nil
}

// fuzzPacket reads a packet from 48 octets.
func fuzzPacket(b []byte) (p Packet, ok bool) {
	if len(b) != 48 {
		return p, false
	}
	p.Src, p.Dst = netip.AddrFrom16([16]byte(b[:16])), netip.AddrFrom16([16]byte(b[16:32]))
	if b[32]&1 != 0 {
		p.Src, p.Dst = netip.AddrFrom4([4]byte(b[:4])), netip.AddrFrom4([4]byte(b[16:20]))
	}
	p.HasPorts = b[32]&2 == 0
	p.Fragment = FragmentBits(b[32]&4 != 0 && b[32]&1 != 0, b[32]&8 != 0, uint16(b[32]&16))
	p.Protocol, p.ICMPType, p.ICMPCode, p.DSCP = b[33], b[34], b[35], b[36]&63
	p.SrcPort, p.DstPort = binary.BigEndian.Uint16(b[37:]), binary.BigEndian.Uint16(b[39:])
	p.TCPFlags = binary.BigEndian.Uint16(b[41:]) & 0xfff
	p.Length = binary.BigEndian.Uint32(b[42:]) & 0x1ffff
	p.FlowLabel = binary.BigEndian.Uint32(b[44:]) & 0xfffff
	return p, true
}

// FuzzCompiled holds a compiled set against the loop.
func FuzzCompiled(f *testing.F) {
	f.Fuzz(func(t *testing.T, rules, packet []byte) {
		s, ok := fuzzSet(rules)
		p, read := fuzzPacket(packet)
		if !ok || !read || s.Len() > 200 {
			return
		}
		var o Outcome
		agree(t, s.Compile(), &p, &o)
	})
}

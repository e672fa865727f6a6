package bench_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// evaluated is how many rules, and how many different packets, the figures of evaluation are taken with.
const (
	evaluatedRules   = 1000
	evaluatedPackets = 4096
)

// ruleMix is rules as networks have them, and packets of which three quarters match one of them.
type ruleMix struct {
	name    string
	set     flowspec.RuleSet
	packets []flowspec.Packet
}

// ruleMixes returns the mixes: each spreads rules over destinations in its own way.
func ruleMixes(tb testing.TB) []ruleMix {
	tb.Helper()
	v4 := func(bits, a, b, c int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{203, byte(a), byte(b), byte(c)}), bits).Masked()
	}
	v6 := func(bits, a, b, c int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, byte(a), byte(b), 15: byte(c)}), bits).Masked()
	}
	attack := func(i int, to netip.Prefix) flowspec.Match { // one of the usual matches
		comps := []flowspec.Component{flowspec.Destination(to), flowspec.Proto(17)}
		switch i % 4 {
		case 0:
			reflectors := []uint64{19, 53, 123, 161, 389, 1900, 5353, 11211}
			comps = append(comps, flowspec.Ports(flowspec.SourcePort, flowspec.One(reflectors[i/4%8])), flowspec.Length(flowspec.Range{Lo: 468, Hi: 65535}))
		case 1:
			comps[1] = flowspec.Proto(6)
			comps = append(comps, flowspec.FlagsExcept(flowspec.SYN, flowspec.ACK))
		case 2:
			comps = append(comps, flowspec.Fragments(flowspec.IsFragment))
		case 3:
			comps = append(comps, flowspec.Ports(flowspec.DestinationPort, flowspec.One(uint64(i)), flowspec.Range{Lo: 1 << 14, Hi: 1 << 15}))
		}
		return matchOf(tb, to, comps...)
	}
	return []ruleMix{
		newRuleMix(tb, "1,000 destinations", func(i int) flowspec.Match { return attack(i, v4(32, i%7, i/7, i%251)) }),
		newRuleMix(tb, "1,000 rules under one /16", func(i int) flowspec.Match {
			m := attack(i, v4([]int{16, 20, 24, 28, 32}[i%5], 0, i/5, i))
			from := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, byte(i), byte(i >> 8)}), 24)
			return matchOf(tb, from, append([]flowspec.Component{flowspec.Source(from)}, m.Components...)...)
		}),
		newRuleMix(tb, "one destination, 1,000 pairs of ports", func(i int) flowspec.Match {
			to := v4(32, 0, 113, 7)
			return matchOf(tb, to, flowspec.Destination(to), flowspec.Proto(17), flowspec.Ports(flowspec.SourcePort, flowspec.One(uint64(i*61))),
				flowspec.Ports(flowspec.DestinationPort, flowspec.Range{Lo: uint64(i), Hi: uint64(i + 30000)}))
		}),
		newRuleMix(tb, "500 destinations of IPv4, 500 of IPv6", func(i int) flowspec.Match {
			if i%2 == 0 {
				return attack(i/2, v4(32, i%7, i/7, i%251))
			}
			return attack(i/2, v6([]int{48, 64, 128}[i/2%3], i, i>>8, 7))
		}),
	}
}

func matchOf(tb testing.TB, of netip.Prefix, comps ...flowspec.Component) flowspec.Match {
	tb.Helper()
	f := flowspec.IPv6
	if of.Addr().Is4() {
		f = flowspec.IPv4
	}
	m, err := flowspec.NewMatch(f, comps...)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

// newRuleMix makes the set of the rules, a third of which limit while the others discard, and the packets.
func newRuleMix(tb testing.TB, name string, match func(i int) flowspec.Match) ruleMix {
	tb.Helper()
	mix := ruleMix{name: name}
	var rules []flowspec.Rule
	for i := range evaluatedRules {
		a := flowspec.Discard()
		if i%3 == 0 {
			a = flowspec.Action{Type: flowspec.TrafficRateBytes, Rate: 1e6}
		}
		rules = append(rules, flowspec.Rule{Match: match(i), Actions: []flowspec.Action{a}})
	}
	set, err := flowspec.NewRuleSet(rules)
	if err != nil {
		tb.Fatal(err)
	}
	mix.set = set
	r := rand.New(rand.NewPCG(1, 8955))
	for i := range evaluatedPackets {
		p := packetFor(r, set.Rule(r.IntN(set.Len())).Match)
		if i%4 == 0 { // near a rule, and in none
			p.Protocol, p.HasPorts = 47, false
		}
		mix.packets = append(mix.packets, p)
	}
	return mix
}

// packetFor returns a packet that m, one of the matches above, matches.
func packetFor(r *rand.Rand, m flowspec.Match) flowspec.Packet {
	inside := func(p netip.Prefix) netip.Addr {
		b := p.Addr().AsSlice()
		for i := p.Bits(); i < len(b)*8; i++ {
			b[i/8] ^= byte(r.IntN(2)) << (7 - i%8)
		}
		a, _ := netip.AddrFromSlice(b)
		return a
	}
	dst, _ := m.Destination()
	p := flowspec.Packet{
		Dst: inside(dst), HasPorts: true, SrcPort: uint16(r.Uint32()), DstPort: uint16(r.Uint32()), Length: 468 + r.Uint32N(1000),
	}
	if src, ok := m.Source(); ok {
		p.Src = inside(src)
	} else {
		p.Src = inside(netip.PrefixFrom(dst.Addr(), 8))
	}
	for _, c := range m.Components {
		switch c.Type {
		case flowspec.IPProtocol:
			p.Protocol = uint8(c.Ops[0].Value)
		case flowspec.SourcePort:
			p.SrcPort = uint16(c.Ops[0].Value)
		case flowspec.DestinationPort:
			p.DstPort = uint16(c.Ops[0].Value) // the value alone, or the least of a range
		case flowspec.TCPFlags:
			p.TCPFlags = flowspec.SYN
		case flowspec.Fragment:
			p.Fragment = flowspec.FragmentBits(false, true, 185)
		default:
		}
	}
	return p
}

// TestRuleMixes holds that compiled sets and the loop say the same of the packets that are measured, and that three
// quarters of these match.
func TestRuleMixes(t *testing.T) {
	for _, mix := range ruleMixes(t) {
		c := mix.set.Compile()
		var o flowspec.Outcome
		matched := 0
		for i := range mix.packets {
			c.Evaluate(&mix.packets[i], &o)
			if want := mix.set.Evaluate(&mix.packets[i]); !o.Equal(want) {
				t.Fatalf("%s: %+v: %+v, the loop says %+v", mix.name, mix.packets[i], o, want)
			}
			matched += len(o.Rules)
		}
		if matched != len(mix.packets)*3/4 {
			t.Errorf("%s: %d of %d packets match", mix.name, matched, len(mix.packets))
		}
	}
}

// measureEvaluate takes the figures of evaluation: compiled beside the loop, in turns.
func measureEvaluate(b *testing.B, s *suite) {
	const chapter = "Evaluation of packets against 1,000 rules, on one core"
	for _, mix := range ruleMixes(b) {
		c := mix.set.Compile()
		var o flowspec.Outcome
		discarded := 0
		compiled, loop := time.Duration(1<<63-1), time.Duration(1<<63-1)
		for range 20 {
			compiled = min(compiled, best(5, func() {
				for i := range mix.packets {
					if c.Evaluate(&mix.packets[i], &o); o.Discarded {
						discarded++
					}
				}
			}))
			loop = min(loop, best(1, func() {
				for i := range mix.packets[:evaluatedPackets/8] {
					if mix.set.Evaluate(&mix.packets[i]).Discarded {
						discarded++
					}
				}
			})*8)
		}
		if discarded == 0 {
			b.Fatal("no packet was discarded")
		}
		perSecond := func(d time.Duration) float64 { return evaluatedPackets / d.Seconds() / 1e6 }
		s.report.add(figure{
			Chapter: chapter, Name: mix.name + ": compiled", Value: perSecond(compiled), Unit: "M/s", AtLeast: 5,
			Definition: fmt.Sprintf("packets through Compiled.Evaluate in one goroutine; %d different packets, of which three quarters match; best of 100 rounds", evaluatedPackets),
		})
		s.report.add(figure{
			Chapter: chapter, Name: mix.name + ": the loop", Value: perSecond(loop), Unit: "M/s",
			Definition: "packets through RuleSet.Evaluate, which tries rule after rule; an eighth of the same packets, best of 20 rounds in turns",
		})
		s.report.add(figure{Chapter: chapter, Name: mix.name + ": ratio", Value: ratio(loop, compiled), Unit: "", Definition: "compiled to the loop"})
	}
}

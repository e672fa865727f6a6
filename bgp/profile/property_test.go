package profile

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// interesting are values where prefixes of 16 bits begin and end.
var interesting = []uint64{0, 1, 2, 3, 53, 75, 76, 79, 80, 123, 127, 128, 255, 256, 257, 511, 512, 1000, 1023, 1024, 1500, 32767, 32768, 65534, 65535}

func randomValue(rng *rand.Rand, most uint64) uint64 {
	if rng.IntN(3) == 0 {
		return rng.Uint64N(most + 1)
	}
	return min(interesting[rng.IntN(len(interesting))], most)
}

// randomNumeric returns a valid numeric component, of any shape.
func randomNumeric(rng *rand.Rand, t flowspec.ComponentType) flowspec.Component {
	c := flowspec.Component{Type: t}
	most := uint64(1)<<width(t) - 1
	if rng.IntN(2) == 0 { // as an operator would write it
		var ranges []flowspec.Range
		for range 1 + rng.IntN(7) {
			lo, hi := randomValue(rng, most), randomValue(rng, most)
			if rng.IntN(2) == 0 {
				hi = lo
			}
			ranges = append(ranges, flowspec.Range{Lo: min(lo, hi), Hi: max(lo, hi)})
		}
		return flowspec.Values(t, ranges...)
	}
	for i := range 1 + rng.IntN(5) {
		op := flowspec.Op{Flags: flowspec.OpFlags(rng.IntN(8)), Value: randomValue(rng, most)}
		if i > 0 && rng.IntN(2) == 0 {
			op.Flags |= flowspec.And
		}
		c.Ops = append(c.Ops, op)
	}
	return c
}

func randomMask(rng *rand.Rand, t flowspec.ComponentType, f flowspec.Family) flowspec.Component {
	bits := uint64(0xfff)
	if t == flowspec.Fragment {
		bits = 0xf
		if f == flowspec.IPv6 {
			bits = 0xe
		}
	} else if rng.IntN(2) == 0 {
		bits = 0x13 // fin, syn, ack
	}
	c := flowspec.Component{Type: t}
	for i := range 1 + rng.IntN(3) {
		op := flowspec.Op{Flags: flowspec.OpFlags(rng.IntN(4)), Value: rng.Uint64() & bits}
		if i > 0 && rng.IntN(2) == 0 {
			op.Flags |= flowspec.And
		}
		c.Ops = append(c.Ops, op)
	}
	return c
}

// takes evaluates a component by the words of RFC 8955 section 4.2.1, one operator after the other: the stupid twin.
func takes(c flowspec.Component, v uint64) bool {
	result, group := false, false
	for i, op := range c.Ops {
		var holds bool
		if isBitmask(c.Type) {
			holds = v&op.Value != 0
			if op.Flags&flowspec.All != 0 {
				holds = v&op.Value == op.Value
			}
			if op.Flags&flowspec.Not != 0 {
				holds = !holds
			}
		} else {
			holds = op.Flags&flowspec.LT != 0 && v < op.Value || op.Flags&flowspec.GT != 0 && v > op.Value || op.Flags&flowspec.EQ != 0 && v == op.Value
		}
		if i > 0 && op.Flags&flowspec.And != 0 {
			group = group && holds
		} else {
			result = result || group
			group = holds
		}
	}
	return result || group
}

func covered(list []entry, v uint64) int {
	n := 0
	for _, e := range list {
		if v&e.mask == e.value {
			n++
		}
	}
	return n
}

// TestPropertyPrefixes: the prefixes of a range cover exactly its values, each once, over all 65,536 of them, and no
// fewer would do: a walk of the whole binary tree counts the same.
func TestPropertyPrefixes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 100 {
		a, b := randomValue(rng, 0xffff), randomValue(rng, 0xffff)
		v := interval{min(a, b), max(a, b)}
		list := prefixes(v, 16)
		for n := range uint64(1 << 16) {
			want := 0
			if v.lo <= n && n <= v.hi {
				want = 1
			}
			if got := covered(list, n); got != want {
				t.Fatalf("range %d-%d: value %d is in %d of the entries %v, want %d", v.lo, v.hi, n, got, list, want)
			}
		}
		if want := treeBlocks(v, 0, 1<<16); len(list) != want {
			t.Fatalf("range %d-%d: %d entries, the tree has %d", v.lo, v.hi, len(list), want)
		}
	}
}

// treeBlocks counts the greatest blocks of the binary tree that lie inside of v.
func treeBlocks(v interval, base, size uint64) int {
	last := base + size - 1
	switch {
	case v.hi < base || last < v.lo:
		return 0
	case v.lo <= base && last <= v.hi:
		return 1
	}
	return treeBlocks(v, base, size/2) + treeBlocks(v, base+size/2, size/2)
}

// TestPropertyCover: the entries of a component cover exactly the values that it takes, by enumeration of all values.
func TestPropertyCover(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	types := []flowspec.ComponentType{
		flowspec.IPProtocol, flowspec.Port, flowspec.DestinationPort, flowspec.SourcePort, flowspec.ICMPType, flowspec.ICMPCode,
		flowspec.TCPFlags, flowspec.PacketLength, flowspec.DSCP, flowspec.Fragment, flowspec.FlowLabel,
	}
	for i := range 200 {
		typ := types[i%len(types)]
		if typ == flowspec.FlowLabel && i > 50 {
			continue // a million values each
		}
		var c flowspec.Component
		var list []entry
		if isBitmask(typ) {
			c = randomMask(rng, typ, flowspec.IPv4)
			list = maskEntries(c)
		} else {
			c = randomNumeric(rng, typ)
			list = numericEntries(c)
		}
		apart := disjoint(list)
		values := intervals(c)
		for v := range uint64(1) << width(typ) {
			want := takes(c, v)
			if got := covered(list, v) > 0; got != want {
				t.Fatalf("%s: value %d is covered: %t, want %t\n%v", c, v, got, want, list)
			}
			if isBitmask(typ) {
				if n := covered(apart, v); (n == 1) != want || n > 1 {
					t.Fatalf("%s: value %d is in %d of the disjoint entries, taken: %t\n%v", c, v, n, want, apart)
				}
				continue
			}
			in := slices.ContainsFunc(values, func(r interval) bool { return r.lo <= v && v <= r.hi })
			if in != want {
				t.Fatalf("%s: value %d is in the intervals %v: %t, want %t", c, v, values, in, want)
			}
		}
	}
}

func randomRule(rng *rand.Rand) flowspec.Rule {
	f := flowspec.IPv4
	dst, src := "203.0.113.0/24", "198.51.100.0/25"
	if rng.IntN(3) == 0 {
		f, dst, src = flowspec.IPv6, "2001:db8:a::/48", "2001:db8:b::/64"
	}
	comps := []flowspec.Component{flowspec.Destination(netip.MustParsePrefix(dst))}
	if rng.IntN(4) == 0 {
		comps = append(comps, flowspec.Source(netip.MustParsePrefix(src)))
	}
	odds := 2 + rng.IntN(5)
	for typ := flowspec.IPProtocol; typ <= flowspec.FlowLabel; typ++ {
		if rng.IntN(odds) != 0 || !typ.In(f) {
			continue
		}
		if isBitmask(typ) {
			comps = append(comps, randomMask(rng, typ, f))
		} else {
			comps = append(comps, randomNumeric(rng, typ))
		}
	}
	return flowspec.Rule{Match: flowspec.Match{Family: f, Components: comps}, Actions: []flowspec.Action{flowspec.Discard()}}
}

// randomPacket returns a packet at or near a bound of the rule in most of its fields, so that it hits by more than luck.
func randomPacket(rng *rand.Rand, m flowspec.Match) flowspec.Packet {
	near := func(t flowspec.ComponentType, most uint64) uint64 {
		c, ok := m.Component(t)
		if port, has := m.Component(flowspec.Port); has && (t == flowspec.SourcePort || t == flowspec.DestinationPort) && (!ok || rng.IntN(2) == 0) {
			c, ok = port, true
		}
		if !ok || rng.IntN(8) == 0 {
			return rng.Uint64N(most + 1)
		}
		op := c.Ops[rng.IntN(len(c.Ops))]
		return min((op.Value+uint64(rng.IntN(3))+most)%(most+1), most)
	}
	p := flowspec.Packet{
		Dst: netip.MustParseAddr("203.0.113.7"), Src: netip.MustParseAddr("198.51.100.9"),
		Protocol: []uint8{6, 17, 1, 58, 47}[rng.IntN(5)], HasPorts: rng.IntN(10) != 0,
		SrcPort: uint16(near(flowspec.SourcePort, 0xffff)), DstPort: uint16(near(flowspec.DestinationPort, 0xffff)),
		ICMPType: uint8(near(flowspec.ICMPType, 0xff)), ICMPCode: uint8(near(flowspec.ICMPCode, 0xff)),
		TCPFlags: uint16(rng.IntN(0x20)), Length: uint32(near(flowspec.PacketLength, 0xffff)), DSCP: uint8(near(flowspec.DSCP, 63)),
		FlowLabel: uint32(near(flowspec.FlowLabel, 1<<20-1)),
		Fragment:  flowspec.FragmentBits(m.Family == flowspec.IPv4 && rng.IntN(2) == 0, rng.IntN(4) == 0, uint16(rng.IntN(4)/3)),
	}
	if rng.IntN(4) == 0 {
		p.Length += 1 << 16 // a jumbogram
	}
	if rng.IntN(3) == 0 {
		p.Protocol = uint8(near(flowspec.IPProtocol, 0xff))
	}
	if rng.IntN(3) == 0 {
		p.TCPFlags = uint16(rng.IntN(0x1000))
	}
	if m.Family == flowspec.IPv6 {
		p.Dst, p.Src = netip.MustParseAddr("2001:db8:a::7"), netip.MustParseAddr("2001:db8:b::9")
	}
	return p
}

// TestPropertySplit: for every profile the pieces of a rule are taken by the router and act on exactly the packets of the
// rule; only pieces of "port" overlap.
func TestPropertySplit(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	split, refused, hits := map[string]int{}, map[string]int{}, map[string]int{}
	profiles := All()
	for range 1200 {
		r := randomRule(rng)
		for _, p := range profiles {
			pieces, err := p.Split(r)
			if err != nil {
				refused[p.Name]++
				continue
			}
			for _, piece := range pieces {
				if findings := p.Check(piece); len(findings) > 0 {
					t.Fatalf("%s: piece %s of %s: %v", p.Name, piece, r, findings)
				}
			}
			if len(pieces) == 1 {
				continue
			}
			split[p.Name]++
			_, port := r.Match.Component(flowspec.Port)
			for range 120 {
				packet := randomPacket(rng, r.Match)
				n := 0
				for _, piece := range pieces {
					if piece.Match.Matches(&packet) {
						n++
					}
				}
				want := r.Match.Matches(&packet)
				if want {
					hits[p.Name]++
				}
				if (n > 0) != want {
					t.Fatalf("%s: %s\npieces %v\npacket %+v: rule acts %t, pieces %d", p.Name, r, pieces, packet, want, n)
				}
				if n > 1 && !port {
					t.Fatalf("%s: %s\npieces %v\npacket %+v: %d pieces act", p.Name, r, pieces, packet, n)
				}
			}
		}
	}
	for _, p := range All() {
		if split[p.Name] < 30 || refused[p.Name] == 0 && p.Enforces == InHardware || hits[p.Name] < 100 {
			t.Errorf("%s: %d rules were split, %d refused, %d packets were hit: too few to show anything", p.Name, split[p.Name], refused[p.Name], hits[p.Name])
		}
	}
}

// TestPropertySuggest: a suggestion is cheaper, and its effect and its words about the packets are true.
func TestPropertySuggest(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	p := mustProfile(t, nameNCS5500)
	seen := map[Effect]int{}
	for range 3000 {
		r := randomRule(rng)
		for _, s := range p.Suggest(r) {
			seen[s.Effect]++
			if s.To >= s.From || s.From != p.Price(r).Entries || s.To != p.Price(s.Rule).Entries {
				t.Fatalf("%s: %d to %d entries: %s", r, s.From, s.To, s.Text)
			}
			if err := s.Rule.Match.Validate(); err != nil {
				t.Fatal(err)
			}
			for i, c := range r.Match.Components {
				now := s.Rule.Match.Components[i]
				if c.Equal(now) {
					continue
				}
				more, fewer := 0, 0
				for v := range uint64(1) << width(c.Type) {
					before, after := takes(c, v), takes(now, v)
					if after && !before {
						more++
					}
					if before && !after {
						fewer++
					}
				}
				want := SamePackets
				switch {
				case more > 0 && fewer > 0:
					t.Fatalf("%s: both more and fewer: %s", r, s.Text)
				case more > 0:
					want = MorePackets
				case fewer > 0:
					want = FewerPackets
				}
				if s.Effect != want {
					t.Fatalf("%s: effect %s, want %s: %s", r, s.Effect, want, s.Text)
				}
			}
		}
	}
	for _, e := range []Effect{SamePackets, MorePackets, FewerPackets} {
		if seen[e] == 0 {
			t.Errorf("no suggestion with %s was seen", e)
		}
	}
}

// TestPropertyGenericIsDearest: no other profile prices a rule above generic.
func TestPropertyGenericIsDearest(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	dearest := mustProfile(t, nameGeneric)
	for range 2000 {
		r := randomRule(rng)
		for _, p := range All() {
			if got, most := p.Price(r).Entries, dearest.Price(r).Entries; got > most {
				t.Fatalf("%s: %d on %s, %d on generic", r, got, p.Name, most)
			}
		}
	}
}

func mustAddr(s string) netip.Addr { return netip.MustParseAddr(s) }

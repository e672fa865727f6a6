package flowspec

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// randomMatch returns a valid match of any shape that the RFCs allow, not only of the shapes that people write.
func randomMatch(r *rand.Rand) Match {
	m := Match{Family: IPv4}
	if r.IntN(2) == 0 {
		m.Family = IPv6
	}
	for t := DestinationPrefix; t.In(m.Family); t++ {
		if r.IntN(3) == 0 {
			m.Components = append(m.Components, randomComponent(r, m.Family, t))
		}
	}
	if len(m.Components) == 0 {
		m.Components = []Component{randomComponent(r, m.Family, DestinationPrefix)}
	}
	return m
}

func randomComponent(r *rand.Rand, f Family, t ComponentType) Component {
	c := Component{Type: t}
	if t.prefix() {
		// Few different bits, so that prefixes contain one another.
		if f == IPv4 {
			a := [4]byte{203, byte(r.IntN(2)), byte(r.IntN(4)), byte(r.Uint32())}
			c.Prefix = netip.PrefixFrom(netip.AddrFrom4(a), r.IntN(33)).Masked()
			return c
		}
		a := [16]byte{0x20, 1, 13: byte(r.IntN(2)), 14: byte(r.IntN(4)), 15: byte(r.Uint32())}
		bits := r.IntN(129)
		if bits > 0 && r.IntN(3) == 0 {
			c.Offset = uint8(r.IntN(bits))
		}
		for i := range int(c.Offset) {
			a[i/8] &^= 0x80 >> (i % 8)
		}
		c.Prefix = netip.PrefixFrom(netip.AddrFrom16(a), bits).Masked()
		return c
	}
	for i := range 1 + r.IntN(4) {
		op := Op{Flags: OpFlags(r.Uint32()) & t.opMask(), Value: r.Uint64N(t.maxValue(f) + 1)}
		if r.IntN(3) == 0 {
			op.Value = min(op.Value, r.Uint64N(4)) // small values, so that values and ranges meet
		}
		if t == Fragment {
			op.Value &= t.maxValue(f)
		}
		if i == 0 {
			op.Flags &^= And
		}
		c.Ops = append(c.Ops, op)
	}
	return c
}

// randomAction returns an action that can be sent in a rule of family f, its values any of those that may be.
func randomAction(r *rand.Rand, f Family) Action {
	switch t := ActionType(1 + r.IntN(int(RedirectToIP))); t {
	case TrafficAction:
		return Action{Type: t, Sample: r.IntN(2) == 0, Continue: r.IntN(2) == 0}
	case RTRedirect:
		return Redirect(randomTarget(r, f))
	case TrafficMarking:
		return Mark(uint8(r.IntN(64)))
	case RedirectToIP:
		return RedirectIP(randomAddress(r, f), r.IntN(2) == 0)
	default:
		a := Action{Type: t, ASN: ASN(r.Uint32()), Rate: randomRate(r)}
		if r.IntN(2) == 0 {
			a.ASN = 0
		}
		return a
	}
}

// randomRate returns 0, a round rate, or any of the floats that may be.
func randomRate(r *rand.Rand) float32 {
	switch r.IntN(4) {
	case 0:
		return 0
	case 1:
		return float32(r.IntN(1e9)+1) * 125
	}
	for {
		if v := math.Float32frombits(r.Uint32() >> 1); v >= 1 && !math.IsInf(float64(v), 0) {
			return v
		}
	}
}

func randomTarget(r *rand.Rand, f Family) RouteTarget {
	t := RouteTarget{Form: RTForm(1 + r.IntN(int(RTFormIPv6))), Local: r.Uint32() & 0xffff}
	if t.Form == RTFormIPv6 && f == IPv4 {
		t.Form = RTFormAS2
	}
	switch t.Form {
	case RTFormAS2:
		t.ASN, t.Local = ASN(r.Uint32()&0xffff), r.Uint32()
	case RTFormAS4:
		t.ASN = ASN(r.Uint32() >> r.IntN(32))
	case RTFormIPv4:
		t.Address = randomAddress(r, IPv4)
	case RTFormIPv6:
		t.Address = randomAddress(r, IPv6)
	}
	return t
}

// randomAddress returns a unicast address.
func randomAddress(r *rand.Rand, f Family) netip.Addr {
	if f == IPv4 {
		return netip.AddrFrom4([4]byte{198, byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())})
	}
	return netip.AddrFrom16([16]byte{0x20, 1, byte(r.Uint32()), 7: byte(r.Uint32()), 15: byte(r.Uint32())})
}

// randomRule returns a rule of as many actions as go together.
func randomRule(r *rand.Rand) Rule {
	rule := Rule{Match: randomMatch(r)}
	for range r.IntN(5) {
		if more, err := NewRule(rule.Match, append(slices.Clone(rule.Actions), randomAction(r, rule.Match.Family))...); err == nil {
			rule = more
		}
	}
	return rule
}

// newRand returns a source of its own for each test, the same in every run.
func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 8955)) }

// must returns the canonical match of comps or ends the test.
func must(t testing.TB, f Family, comps ...Component) Match {
	t.Helper()
	m, err := NewMatch(f, comps...)
	if err != nil {
		t.Fatalf("NewMatch: %v", err)
	}
	return m
}

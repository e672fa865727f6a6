package flowspec

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// smallRules returns up to n rules of one family that look at the same one or two fields, no two of one key.
func smallRules(r *rand.Rand, n int) []Rule {
	f := Family(1 + r.IntN(2))
	var types []ComponentType
	for len(types) == 0 {
		for range 1 + r.IntN(2) {
			if t := DestinationPrefix + ComponentType(r.IntN(13)); t.In(f) && !slices.Contains(types, t) {
				types = append(types, t)
			}
		}
	}
	slices.Sort(types)
	var rules []Rule
	seen := make(map[Key]bool)
	for range n {
		m := Match{Family: f}
		for _, t := range types {
			if r.IntN(4) > 0 {
				m.Components = append(m.Components, smallComponent(r, f, t))
			}
		}
		if len(m.Components) == 0 || seen[m.Key()] {
			continue
		}
		seen[m.Key()] = true
		rules = append(rules, Rule{Match: m, Actions: randomActions(r)})
	}
	return rules
}

// TestPropertyShadows holds Shadows against every packet that two rules can tell from others.
func TestPropertyShadows(t *testing.T) {
	r := newRand(41)
	var seen [2]int
	for cases := 0; cases < 10_000; {
		ma, mb := pairOf(r)
		a, b := Rule{Match: ma, Actions: randomActions(r)}, Rule{Match: mb, Actions: randomActions(r)}
		if Compare(ma, mb) == 0 {
			continue
		}
		s := setOf(t, a, b)
		place, _ := s.find(mb)
		reached := false
		if !world([]Match{ma, mb}, worldLimit, func(p *Packet) bool {
			reached = reached || slices.Contains(s.Evaluate(p).Rules, place)
			return !reached
		}) {
			continue
		}
		cases++
		// An empty rule that comes first is reached by no packet either, but not because of the other.
		want := !reached && place == 1 && !a.continues()
		if got := a.Shadows(b); got != want {
			t.Fatalf("%v shadows %v: %t, want %t", a, b, got, want)
		}
		if want {
			seen[1]++
		} else {
			seen[0]++
		}
	}
	if min(seen[0], seen[1]) < 500 {
		t.Errorf("shadowed no and yes: %v; the property proves little", seen)
	}
}

// TestPropertyAdding holds Change against the outcomes, before and after, of every packet that the rules can tell
// from others.
func TestPropertyAdding(t *testing.T) {
	r := newRand(42)
	var said, fact struct{ loses, shadows, shares, shadowed, replaces int }
	for cases := 0; cases < 25_000; {
		rules := smallRules(r, 2+r.IntN(4))
		if len(rules) < 2 {
			continue
		}
		add := rules[0]
		s := setOf(t, rules[1:]...)
		if r.IntN(6) == 0 {
			add.Match = s.Rule(r.IntN(s.Len())).Match
		}
		c := s.Adding(add)
		var ms []Match
		next := []Rule{add}
		for i, x := range s.All() {
			ms = append(ms, x.Match)
			if i != c.At || !c.Replaces {
				next = append(next, x)
			}
		}
		after := setOf(t, next...)
		number := func(i int) int { // in after, of rule i of s
			if i >= c.At && !c.Replaces {
				return i + 1
			}
			return i
		}
		if !after.Rule(c.At).Equal(add) {
			t.Fatalf("%v is at %d of %v, not %d", add, c.At, after.rules, c.At)
		}
		lost, gets, shares := make([]bool, s.Len()), make([]bool, s.Len()), make([]bool, s.Len())
		reached := false
		if !world(append(ms, add.Match), worldLimit/2, func(p *Packet) bool {
			was, is := s.Evaluate(p), after.Evaluate(p)
			mine := slices.Contains(is.Rules, c.At)
			reached = reached || mine
			for i := range s.Len() {
				if i == c.At && c.Replaces {
					continue
				}
				has := slices.Contains(is.Rules, number(i))
				lost[i] = lost[i] || slices.Contains(was.Rules, i) && !has
				gets[i] = gets[i] || has
				shares[i] = shares[i] || has && mine
			}
			return true
		}) {
			continue
		}
		cases++
		for i := range s.Len() {
			if lost[i] && !slices.Contains(c.Loses, i) || shares[i] && !slices.Contains(c.Shares, i) {
				t.Fatalf("%v added to %v: rule %d loses packets: %t, shares packets: %t, but the change is %+v", add, s.rules, i, lost[i], shares[i], c)
			}
			if slices.Contains(c.Shadows, i) && (gets[i] || !slices.Contains(c.Loses, i)) {
				t.Fatalf("%v added to %v: packets get to rule %d: %t, but the change is %+v", add, s.rules, i, gets[i], c)
			}
			if lost[i] {
				fact.loses++
			}
			if shares[i] {
				fact.shares++
			}
			if lost[i] && !gets[i] {
				fact.shadows++
			}
		}
		if c.ShadowedBy >= 0 && reached {
			t.Fatalf("%v added to %v: packets get to it, but the change is %+v", add, s.rules, c)
		}
		if !reached && !add.Match.Empty() {
			fact.shadowed++
		}
		if c.ShadowedBy >= 0 && !add.Match.Empty() {
			said.shadowed++
		}
		if c.Replaces {
			said.replaces++
		}
		said.loses += len(c.Loses)
		said.shares += len(c.Shares)
		said.shadows += len(c.Shadows)
	}
	t.Logf("said %+v, fact %+v", said, fact)
	if said.loses > fact.loses*101/100 || said.shares > fact.shares*101/100 || said.shadowed < fact.shadowed*8/10 {
		t.Errorf("said %+v, fact %+v: too many are said to lose or share, or too few to be shadowed", said, fact)
	}
	if min(fact.loses, fact.shadows, fact.shares, fact.shadowed, said.replaces) < 300 {
		t.Errorf("said %+v, fact %+v: the property proves little", said, fact)
	}
}

func TestAdding(t *testing.T) {
	s := setOf(
		t,
		ruleOf(t, "dst 203.0.113.7/32 proto udp", no),                  // 0
		ruleOf(t, "dst 203.0.113.0/24 proto udp sport 53-100", no),     // 1
		ruleOf(t, "dst 203.0.113.0/24 proto udp sport 53", sample),     // 2, shadowed by 1
		ruleOf(t, "dst 203.0.113.0/24 dport 80", slow, goOn),           // 3
		ruleOf(t, "dst 203.0.112.0/23 proto tcp"),                      // 4
		ruleOf(t, "dst 203.0.112.0/23 proto udp sport 53 len 100", no), // 5
	)
	for _, tt := range []struct {
		name string
		rule Rule
		want Change
	}{
		{"apart", ruleOf(t, "dst 198.51.100.0/24", no), Change{At: 0, ShadowedBy: -1}},
		{"before part of another", ruleOf(t, "dst 203.0.113.7/32 proto udp sport 53", no), Change{At: 0, ShadowedBy: -1, Loses: []int{0}}},
		{"before another", ruleOf(t, "dst 203.0.113.0/24 proto tcp dport 80-90", no), Change{At: 1, ShadowedBy: -1, Loses: []int{3, 4}}},
		{"shadowed", ruleOf(t, "dst 203.0.113.0/24 proto udp sport 60-70", no), Change{At: 2, ShadowedBy: 1}},
		{"not what others take already", ruleOf(t, "dst 203.0.113.0/24 proto udp", no), Change{At: 3, ShadowedBy: -1, Loses: []int{3}}},
		{"shadows", ruleOf(t, "dst 203.0.113.0/24 dport 0-100", no), Change{At: 3, ShadowedBy: -1, Loses: []int{3, 4}, Shadows: []int{3}}},
		{"shares with one before and one after", ruleOf(t, "dst 203.0.113.0/24", mark8, goOn), Change{At: 4, ShadowedBy: -1, Shares: []int{3, 4}}},
		{"shares with one before, stops one after", ruleOf(t, "dst 203.0.113.0/24", mark8), Change{At: 4, ShadowedBy: -1, Loses: []int{4}, Shares: []int{3}}},
		{"replaces what stopped", ruleOf(t, "dst 203.0.113.7/32 proto udp", slow), Change{At: 0, Replaces: true, ShadowedBy: -1}},
		{"replaces what went on", ruleOf(t, "dst 203.0.113.0/24 dport 80", no), Change{At: 3, Replaces: true, ShadowedBy: -1, Loses: []int{4}}},
		{"goes on in place of what stopped", ruleOf(t, "dst 203.0.113.7/32 proto udp", slow, goOn), Change{At: 0, Replaces: true, ShadowedBy: -1, Shares: []int{1, 3}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, s.Adding(tt.rule)); diff != "" {
				for i, r := range s.All() {
					t.Log(i, r.Match)
				}
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestReaches(t *testing.T) {
	for _, tt := range []struct {
		name, match, space string
		want               bool
	}{
		{"inside", "dst 203.0.113.0/28", "203.0.113.0/24", true},
		{"around", "dst 203.0.0.0/16", "203.0.113.4/30", true},
		{"beside", "dst 203.0.113.0/30", "203.0.113.4/30", false},
		{"no destination", "ipv4 proto udp", "203.0.113.4/30", true},
		{"no destination, other family", "ipv4 proto udp", "2001:db8::/32", false},
		{"everything", "dst 0.0.0.0/0", "203.0.113.4/30", true},
		{"IPv6", "dst 2001:db8::/48", "2001:db8::/127", true},
		{"IPv6, beside", "dst 2001:db8:1::/48", "2001:db8::/127", false},
		{"offset hits", "dst ::4:0/108-112", "2001:db8::4:0/126", true},
		{"offset misses", "dst ::4:0/108-112", "2001:db8::5:0/126", false},
		{"offset below the prefix", "dst ::7/125-128", "2001:db8::/64", true},
		{"no packet at all", "dst 203.0.113.0/28 dport >5&<6", "203.0.113.0/24", true},
		{"host bits in the space", "dst 203.0.113.0/28", "203.0.113.99/24", true},
		{"IPv4 in IPv6 form", "dst 203.0.113.0/28", "::ffff:203.0.113.0/120", true},
		{"IPv4 in IPv6 form, beside", "dst 203.0.113.0/28", "::ffff:203.0.114.0/120", false},
		{"IPv4 in IPv6 form, its upper half", "dst 203.0.113.128/28", "::ffff:203.0.113.0/120", true},
		{"wide, in IPv6 form", "dst 203.0.113.0/28", "::ffff:0.0.0.0/90", true},
		{"IPv6 rule for the IPv6 form", "dst ::ffff:cb00:7100/120", "::ffff:203.0.113.0/124", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := ruleOf(t, tt.match).Match
			if got := m.Reaches(netip.MustParsePrefix(tt.space)); got != tt.want {
				t.Errorf("Reaches = %t", got)
			}
		})
	}
	m := ruleOf(t, "dst 203.0.113.0/28").Match
	if m.Reaches() {
		t.Error("reaches an address of no space")
	}
	if !m.Reaches(netip.Prefix{}) {
		t.Error("a prefix that is not valid is taken for one that is not reached")
	}
}

// TestPropertyActsOn holds ActsOn against packets to addresses in the space, and each yes of Reaches against an address
// that is in the space and matches.
func TestPropertyActsOn(t *testing.T) {
	r := newRand(43)
	var o Outcome
	acted, idle, missed := 0, 0, 0
	for range 4_000 {
		s := randomSet(t, r, 12)
		var space []netip.Prefix
		for range 1 + r.IntN(3) {
			p := randomComponent(r, Family(1+r.IntN(2)), DestinationPrefix).Prefix
			space = append(space, p)
		}
		on := s.ActsOn(space...)
		c := s.Compile()
		for _, p := range space {
			for range 10 {
				b := p.Addr().AsSlice()
				for i := p.Bits(); i < len(b)*8; i++ {
					b[i/8] ^= byte(r.IntN(2)) << (7 - i%8)
				}
				pkt := Packet{Protocol: 6, HasPorts: true, SrcPort: uint16(r.IntN(4)), DstPort: uint16(r.IntN(4))}
				if s.Len() > 0 {
					pkt = randomPacket(r, s.Rule(r.IntN(s.Len())).Match)
				}
				pkt.Dst, _ = netip.AddrFromSlice(b)
				if pkt.Src.Is4() != pkt.Dst.Is4() {
					pkt.Src = pkt.Dst
				}
				c.Evaluate(&pkt, &o)
				for _, i := range o.Rules {
					acted++
					if !slices.Contains(on, i) {
						t.Fatalf("%v acts on %v, which is in %v, and is not said to", s.Rule(i), pkt.Dst, space)
					}
				}
				if len(o.Rules) == 0 {
					idle++
				}
			}
		}
		for i, rule := range s.All() {
			if !slices.Contains(on, i) {
				missed++
				continue
			}
			if !slices.ContainsFunc(space, func(p netip.Prefix) bool { return meetAt(rule.Match, p) }) {
				t.Fatalf("%v is said to reach %v, and does not", rule.Match, space)
			}
		}
	}
	if min(acted, idle, missed) < 2_000 {
		t.Errorf("%d rules applied, %d packets without, %d rules that do not reach the space: the property proves little", acted, idle, missed)
	}
}

// meetAt reports whether the address that has the bits of the destination of m, and elsewhere those of p, is in both.
func meetAt(m Match, p netip.Prefix) bool {
	c, ok := m.Component(DestinationPrefix)
	if !ok {
		return (m.Family == IPv4) == p.Addr().Is4()
	}
	if c.Prefix.Addr().Is4() != p.Addr().Is4() {
		return false
	}
	b, v := p.Addr().AsSlice(), c.Prefix.Addr().AsSlice()
	for i := int(c.Offset); i < c.Prefix.Bits(); i++ {
		b[i/8] = b[i/8]&^(0x80>>(i%8)) | v[i/8]&(0x80>>(i%8))
	}
	a, _ := netip.AddrFromSlice(b)
	return c.contains(a) && p.Contains(a)
}

func BenchmarkAdding(b *testing.B) {
	for _, m := range mixes(b) {
		b.Run(m.name, func(b *testing.B) {
			r := Rule{Match: m.set.Rule(m.set.Len() / 3).Match, Actions: []Action{slow}}
			r.Match.Components = r.Match.Components[:len(r.Match.Components)-1]
			for b.Loop() {
				m.set.Adding(r)
			}
		})
	}
}

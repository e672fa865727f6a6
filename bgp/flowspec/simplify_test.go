package flowspec

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSimplify(t *testing.T) {
	for _, tt := range []struct{ name, match, want string }{
		{"simple already", "dst 203.0.113.0/24 proto udp sport 53|123 len 1000-1500", "dst 203.0.113.0/24 proto udp sport 53|123 len 1000-1500"},
		{"sorted and joined", "ipv4 dport 90|80-85|86|100-200|150-300", "ipv4 dport 80-86|90|100-300"},
		{"not equal", "ipv4 dport !=80", "ipv4 dport <=79|>=81"},
		{"constants", "ipv4 proto true:6|udp len 100", "ipv4 len 100"},
		{"up to the greatest", "ipv4 len 1000-65535", "ipv4 len >=1000"},
		{"length of IPv6", "ipv6 len 1000-65535", "ipv6 len 1000-65535"},
		{"more than a length can say", "ipv6 len >65535", "ipv6 len >65535"},
		{"prefix of everything", "dst 203.0.113.0/24 src 0.0.0.0/0", "dst 203.0.113.0/24"},
		{"nothing left", "src 0.0.0.0/0", "dst 0.0.0.0/0"},
		{"nothing left in IPv6", "ipv6 len >=0", "dst ::/0"},
		{"ports imply their protocols", "ipv4 proto tcp|udp|gre sport 53", "ipv4 sport 53"},
		{"one of them", "ipv4 proto tcp|gre sport 53", "ipv4 proto tcp sport 53"},
		{"flags imply TCP", "ipv4 proto tcp dport 80 tcp-flags syn", "ipv4 dport 80 tcp-flags syn"},
		{"all flags", "ipv4 dport 80 tcp-flags 0", "ipv4 proto tcp dport 80"},
		{"all flags, no ports", "ipv4 tcp-flags syn|!syn", "ipv4 proto tcp port >=0"},
		{"all ports", "ipv4 sport 0-65535", "ipv4 port >=0"},
		{"all ports beside some", "ipv4 sport 0-65535 dport 53", "ipv4 dport 53"},
		{"all ICMP", "ipv4 proto icmp icmp-type 0-255 icmp-code >=0", "ipv4 icmp-type >=0"},
		{"ICMP implies itself", "ipv4 proto icmp icmp-type 8", "ipv4 icmp-type 8"},
		{"no later fragment has a header", "ipv4 sport 53 frag !is-fragment", "ipv4 sport 53"},
		{"fragments", "ipv4 frag is-fragment|last-fragment", "ipv4 frag is-fragment"},
		{"either port, given one", "ipv4 port 53 sport 53", "ipv4 sport 53"},
		{"either port, only one can be", "ipv4 port 53 sport 100", "ipv4 dport 53 sport 100"},
		{"either port, only the other can be", "ipv4 port 53 dport 100", "ipv4 dport 100 sport 53"},
		{"either port, values that cannot be", "ipv4 port 53|70 sport 50-60 dport 50-60", "ipv4 port 53 dport 50-60 sport 50-60"},
		{"flags", "ipv4 tcp-flags syn&!ack|syn+ack", "ipv4 tcp-flags syn"},
		{"any flag", "ipv4 tcp-flags ack|syn", "ipv4 tcp-flags any:syn+ack"},
		{"none of two", "ipv4 tcp-flags !syn&!ack", "ipv4 tcp-flags !any:syn+ack"},
		{"not both of two", "ipv4 tcp-flags !syn|!ack", "ipv4 tcp-flags !syn+ack"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ruleOf(t, tt.match).Match.Simplify()
			if err != nil || got.String() != tt.want {
				t.Errorf("Simplify = %q, %v\nwant %q", got, err, tt.want)
			}
		})
	}
	if _, err := ruleOf(t, "ipv4 dport >5&<6").Match.Simplify(); !errors.Is(err, ErrNoPacket) {
		t.Errorf("Simplify of nothing: %v, want %v", err, ErrNoPacket)
	}
	if _, err := (Match{}).Simplify(); !errors.Is(err, ErrFamily) {
		t.Errorf("Simplify of what is not valid: %v", err)
	}
}

// rewritten returns a match that often takes the same packets as m, written another way.
func rewritten(r *rand.Rand, m Match) Match {
	out := Match{Family: m.Family, Components: slices.Clone(m.Components)}
	for i := range out.Components {
		c := &out.Components[i]
		if c.Type.prefix() {
			continue
		}
		var groups [][]Op
		for _, op := range c.Ops {
			if op.Flags&And == 0 {
				groups = append(groups, nil)
			}
			groups[len(groups)-1] = append(groups[len(groups)-1], op)
		}
		r.Shuffle(len(groups), func(i, k int) { groups[i], groups[k] = groups[k], groups[i] })
		groups = append(groups, groups[0])
		if !c.Type.bitmask() && r.IntN(2) == 0 { // v-w is v|v+1-w
			for k, g := range groups {
				if len(g) == 1 && g[0].Flags == GT|EQ && g[0].Value < c.Type.maxValue(m.Family) {
					groups[k] = []Op{{EQ, g[0].Value}}
					groups = append(groups, []Op{{GT, g[0].Value}})
				}
			}
		}
		c.Ops = slices.Concat(groups...)
	}
	has := func(t ComponentType) bool { return m.lookup(t) != nil }
	switch {
	case has(DestinationPort) && has(SourcePort) && has(Port):
		c := out.lookup(Port)
		c.Ops = append(slices.Clip(c.Ops), Op{Flags: EQ, Value: 200 + r.Uint64N(3)}) // of neither, as a rule
	case has(DestinationPort) && has(Port):
		src := Component{Type: SourcePort, Ops: slices.Clone(m.lookup(Port).Ops)} // the same if it cannot be the other
		out.Components = slices.DeleteFunc(append(out.Components, src), func(c Component) bool { return c.Type == Port })
	case r.IntN(2) == 0:
	case has(DestinationPort) && has(SourcePort):
		out.Components = append(out.Components, Component{Type: Port, Ops: slices.Clone(m.lookup(DestinationPort).Ops)})
	case !has(IPProtocol) && m.need()&(needPorts|needTCP) != 0:
		out.Components = append(out.Components, Proto(6, 17))
	case !has(Port) && m.need()&(needPorts|needTCP) != 0:
		out.Components = append(out.Components, Ports(Port, Range{0, 65535}))
	case !has(TCPFlags) && has(IPProtocol):
		out.Components = append(out.Components, Component{Type: TCPFlags, Ops: []Op{{Flags: All}}})
	case !has(Fragment):
		out.Components = append(out.Components, Component{Type: Fragment, Ops: []Op{{Flags: Not, Value: IsFragment}}})
	}
	slices.SortFunc(out.Components, func(a, b Component) int { return int(a.Type) - int(b.Type) })
	return out
}

// TestPropertySimplify holds that simplifying changes no packet, that it is done once, and that two matches become one
// if and only if they take the same packets.
func TestPropertySimplify(t *testing.T) {
	r := newRand(51)
	same, other, shorter := 0, 0, 0
	for cases := 0; cases < 30_000; {
		a, b := pairOf(r)
		if r.IntN(2) == 0 {
			b = rewritten(r, a)
		}
		x, errX := a.Simplify()
		y, errY := b.Simplify()
		if a.Empty() != errors.Is(errX, ErrNoPacket) || b.Empty() != errors.Is(errY, ErrNoPacket) {
			t.Fatalf("%v: %v; %v: %v", a, errX, b, errY)
		}
		if errX != nil || errY != nil {
			continue
		}
		equal := true
		if !world([]Match{a, b, x, y}, worldLimit, func(p *Packet) bool {
			inA, inB := a.Matches(p), b.Matches(p)
			if inA != x.Matches(p) || inB != y.Matches(p) {
				t.Fatalf("%v became %v, and %v became %v: another answer for %+v", a, x, b, y, p)
			}
			equal = equal && inA == inB
			return true
		}) {
			continue
		}
		cases++
		if x.Equal(y) != equal {
			t.Fatalf("%v became %v, and %v became %v; the same packets: %t", a, x, b, y, equal)
		}
		if again, err := x.Simplify(); err != nil || !again.Equal(x) {
			t.Fatalf("%v became %v, and then %v, %v", a, x, again, err)
		}
		if equal && !a.Equal(b) {
			same++
		} else if !equal {
			other++
		}
		if len(x.Key()) < len(a.Key()) {
			shorter++
		}
	}
	if min(same, other, shorter) < 3_000 {
		t.Errorf("%d pairs are the same, %d are not, %d became shorter: the property proves little", same, other, shorter)
	}
}

func TestSafeSplit(t *testing.T) {
	for _, tt := range []struct {
		name, match string
		want        []string
		err         error
	}{
		{"safe already", "ipv4 proto tcp|udp sport 53", []string{"ipv4 proto tcp|udp sport 53"}, nil},
		{"not equal", "ipv4 proto tcp|udp dport !=80", []string{"ipv4 proto tcp|udp dport <=79|>=81"}, nil},
		{"seven values", "ipv4 dport 1|3|5|7|9|11|13", []string{"ipv4 dport 1|3|5|7|9", "ipv4 dport 11|13"}, nil},
		{"values that join", "ipv4 dport 1|2|3|4|5|6", []string{"ipv4 dport 1-6"}, nil},
		{
			"ranges and values", "ipv4 dport 1-2|4-5|7-8|10|12|14",
			[]string{"ipv4 dport 1-2|4-5|10", "ipv4 dport 7-8|12|14"},
			nil,
		},
		{"two lists", "ipv4 dport 1|3|5|7|9|11 sport !=53", []string{"ipv4 dport 1|3|5|7|9 sport <=52|>=54", "ipv4 dport 11 sport <=52|>=54"}, nil},
		{"always true", "ipv4 proto true:6 len 100", []string{"ipv4 len 100"}, nil},
		{"nothing left", "ipv4 proto true:6", []string{"dst 0.0.0.0/0"}, nil},
		{"always true, but there must be ports", "ipv4 dport true:6", []string{"ipv4 dport >=0"}, nil},
		{"flags", "ipv4 tcp-flags syn|ack|fin|rst|psh|urg", []string{"ipv4 tcp-flags any:fin+syn+rst+psh+ack+urg"}, nil},
		{"all flags", "ipv4 tcp-flags syn|ack|fin|rst|psh|!syn", []string{"ipv4 tcp-flags 0"}, nil},
		{"fragments", "ipv4 frag any:0|any:0|any:0|any:0|any:0|last-fragment", []string{"ipv4 frag last-fragment"}, nil},
		{"all fragments", "ipv4 len 5 frag any:0|any:0|any:0|any:0|is-fragment|!is-fragment", []string{"ipv4 len 5"}, nil},
		{"offset", "dst ::7/64-128", nil, ErrUnsafeOffset},
		{"nothing", "ipv4 dport >5&<6", nil, ErrNoPacket},
	} {
		t.Run(tt.name, func(t *testing.T) {
			split, err := ruleOf(t, tt.match).Match.SafeSplit()
			if !errors.Is(err, tt.err) {
				t.Fatalf("SafeSplit: %v, want %v", err, tt.err)
			}
			var got []string
			for _, m := range split {
				got = append(got, m.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	var many []Range
	for i := range uint64(300) {
		many = append(many, One(3*i))
	}
	m := must(t, IPv4, Ports(SourcePort, many...), Ports(DestinationPort, many...))
	if _, err := m.SafeSplit(); !errors.Is(err, ErrTooManyValues) {
		t.Errorf("SafeSplit into 3,600: %v, want %v", err, ErrTooManyValues)
	}
}

// TestPropertySafeSplit holds that the matches are safe and together take the packets of the one that was split.
func TestPropertySafeSplit(t *testing.T) {
	r := newRand(52)
	split, whole := 0, 0
	for cases := 0; cases < 10_000; {
		m, _ := pairOf(r)
		for i := range m.Components {
			if c := &m.Components[i]; !c.Type.prefix() && r.IntN(2) == 0 {
				for range r.IntN(8) {
					op := smallComponent(r, m.Family, c.Type).Ops[0]
					if !c.Type.bitmask() && r.IntN(4) > 0 {
						op = Op{Flags: EQ, Value: r.Uint64N(60)} // many that do not join
					}
					c.Ops = append(slices.Clip(c.Ops), op)
				}
			}
		}
		out, err := m.SafeSplit()
		if err != nil {
			if !m.Empty() && !errors.Is(err, ErrUnsafeOffset) {
				t.Fatalf("%v: %v", m, err)
			}
			continue
		}
		for _, o := range out {
			if err := CheckSafe(o); err != nil {
				t.Fatalf("%v became %v: %v", m, o, err)
			}
		}
		if !world(append(slices.Clone(out), m), worldLimit, func(p *Packet) bool {
			in := slices.ContainsFunc(out, func(o Match) bool { return o.Matches(p) })
			if in != m.Matches(p) {
				t.Fatalf("%v became %v: another answer for %+v", m, out, p)
			}
			return true
		}) {
			continue
		}
		cases++
		if len(out) > 1 {
			split++
		} else if !out[0].Equal(m) {
			whole++
		}
	}
	if split < 200 || whole < 2_000 {
		t.Errorf("%d were split, %d written another way: the property proves little", split, whole)
	}
}

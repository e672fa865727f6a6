package flowspec

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNewMatchRefuses(t *testing.T) {
	dst := Destination(netip.MustParsePrefix("203.0.113.0/24"))
	dst6 := Destination(netip.MustParsePrefix("2001:db8::/32"))
	offset := func(p string, n uint8) Component {
		return Component{Type: SourcePrefix, Prefix: netip.MustParsePrefix(p), Offset: n}
	}
	for _, tt := range []struct {
		name   string
		family Family
		comps  []Component
		want   error
		says   string
	}{
		{"no component", IPv4, nil, ErrEmpty, "every packet"},
		{"family 0", 0, []Component{dst}, ErrFamily, "family 0"},
		{
			"host bits", IPv4,
			[]Component{Destination(netip.MustParsePrefix("203.0.113.7/24"))},
			ErrHostBits,
			"destination 203.0.113.7/24 has host bits; write 203.0.113.0/24",
		},
		{
			"host bits in IPv6", IPv6,
			[]Component{Source(netip.MustParsePrefix("2001:db8::1/32"))},
			ErrHostBits,
			"source 2001:db8::1/32 has host bits; write 2001:db8::/32",
		},
		{"no prefix", IPv4, []Component{Destination(netip.Prefix{})}, ErrPrefix, "destination"},
		{"IPv6 prefix in IPv4", IPv4, []Component{dst6}, ErrFamily, "destination 2001:db8::/32 in a rule for IPv4"},
		{"IPv4 prefix in IPv6", IPv6, []Component{dst6, Source(dst.Prefix)}, ErrFamily, "source 203.0.113.0/24 in a rule for IPv6"},
		{"twice", IPv4, []Component{dst, Proto(6), Proto(17)}, ErrOrder, "protocol after protocol"},
		{"type 0", IPv4, []Component{dst, {}}, ErrUnknownType, "component type 0 in IPv4"},
		{"type 14", IPv6, []Component{dst6, {Type: 14}}, ErrUnknownType, "component type 14 in IPv6"},
		{"flow label in IPv4", IPv4, []Component{dst, Values(FlowLabel, One(1))}, ErrUnknownType, "flow label in IPv4"},
		{"no ports", IPv4, []Component{dst, Ports(DestinationPort)}, ErrEmptyList, "destination port: no value"},
		{"no protocol", IPv4, []Component{dst, Proto()}, ErrEmptyList, "protocol: no value"},
		{"no length", IPv4, []Component{dst, Length()}, ErrEmptyList, "packet length: no value"},
		{"no flags", IPv4, []Component{dst, Flags(0)}, ErrEmptyList, "TCP flags: no value"},
		{"no fragment bits", IPv4, []Component{dst, Fragments(0)}, ErrEmptyList, "fragment: no value"},
		{"inverted range", IPv4, []Component{dst, Ports(Port, One(53), Range{9, 3})}, ErrEmptyList, "port: no value"},
		{"port 70000", IPv4, []Component{dst, Ports(SourcePort, One(70000))}, ErrValue, "source port: 70000 is above 65535"},
		{
			"length 99971-99985", IPv4,
			[]Component{dst, Length(Range{99971, 99985})},
			ErrValue,
			"packet length: 99971 is above 65535",
		},
		{"protocol 256", IPv4, []Component{dst, Values(IPProtocol, One(256))}, ErrValue, "protocol: 256 is above 255"},
		{"ICMP type 256", IPv4, []Component{dst, Values(ICMPType, One(256))}, ErrValue, "ICMP type: 256 is above 255"},
		{"ICMP code 256", IPv4, []Component{dst, Values(ICMPCode, One(256))}, ErrValue, "ICMP code: 256 is above 255"},
		{"DSCP 64", IPv4, []Component{dst, Values(DSCP, One(64))}, ErrValue, "DSCP: 64 is above 63"},
		{"TCP flags 0x1000", IPv4, []Component{dst, Flags(0x1000)}, ErrValue, "TCP flags: 0x1000 is above 0xfff"},
		{"fragment 0x10", IPv4, []Component{dst, Fragments(0x10)}, ErrValue, "fragment: bits 0x10, the family has 0x0f"},
		{"don't fragment in IPv6", IPv6, []Component{dst6, Fragments(DontFragment)}, ErrValue, "no don't-fragment bit in IPv6"},
		{
			"don't fragment and more in IPv6", IPv6,
			[]Component{dst6, Fragments(DontFragment | IsFragment)},
			ErrValue,
			"fragment: bits 0x03, the family has 0x0e",
		},
		{
			"flow label of 21 bits", IPv6,
			[]Component{dst6, Values(FlowLabel, One(1<<20))},
			ErrValue,
			"flow label: 1048576 is above 1048575",
		},
		{"AND first", IPv4, []Component{dst, {Type: Port, Ops: []Op{{And | EQ, 1}}}}, ErrOperator, "AND on the first value"},
		{"reserved operator bit", IPv4, []Component{dst, {Type: Port, Ops: []Op{{0x08 | EQ, 1}}}}, ErrOperator, "0x08"},
		{"end of list as a flag", IPv4, []Component{dst, {Type: Port, Ops: []Op{{0x80 | EQ, 1}}}}, ErrOperator, "0x80"},
		{"LT in a bitmask", IPv4, []Component{dst, {Type: TCPFlags, Ops: []Op{{LT, 1}}}}, ErrOperator, "0x04"},
		{"values in a prefix", IPv4, []Component{{Type: DestinationPrefix, Prefix: dst.Prefix, Ops: []Op{{EQ, 1}}}}, ErrMixed, "destination"},
		{"prefix in a port", IPv4, []Component{{Type: Port, Prefix: dst.Prefix, Ops: []Op{{EQ, 1}}}}, ErrMixed, "port"},
		{"offset in a port", IPv6, []Component{{Type: Port, Offset: 1, Ops: []Op{{EQ, 1}}}}, ErrMixed, "port"},
		{"offset in IPv4", IPv4, []Component{offset("0.0.0.0/24", 8)}, ErrOffset, "offset 8 in IPv4"},
		{"offset as great as the length", IPv6, []Component{offset("::/32", 32)}, ErrOffset, "leaves nothing of a /32"},
		{"bits before the offset", IPv6, []Component{offset("2001:db8::/32", 8)}, ErrHostBits, "8 that the offset skips"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := NewMatch(tt.family, tt.comps...)
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("NewMatch = %v, want %q in %q", err, tt.want, tt.says)
			}
			if m.Components != nil {
				t.Errorf("NewMatch returned %v with its error", m)
			}
			// What NewMatch refuses does not reach the wire by another way.
			bad := Match{Family: tt.family, Components: tt.comps}
			if b, err := AppendNLRI(nil, bad); err == nil || len(b) != 0 {
				t.Errorf("AppendNLRI = %x, %v", b, err)
			}
			if b, err := AppendComponents(nil, bad); err == nil || len(b) != 0 {
				t.Errorf("AppendComponents = %x, %v", b, err)
			}
			if err := CheckSafe(bad); err == nil {
				t.Error("CheckSafe accepts it")
			}
			_, _ = bad.Key(), bad.String() // must not panic
		})
	}
}

func TestValidateOrder(t *testing.T) {
	m := Match{Family: IPv4, Components: []Component{Proto(6), Destination(netip.MustParsePrefix("203.0.113.0/24"))}}
	if err := m.Validate(); !errors.Is(err, ErrOrder) {
		t.Errorf("Validate = %v, want %v", err, ErrOrder)
	}
	if _, err := NewMatch(IPv4, m.Components...); err != nil {
		t.Errorf("NewMatch does not sort: %v", err)
	}
	if m.Components[0].Type != IPProtocol {
		t.Error("NewMatch sorted what the caller gave it")
	}
}

func TestNewMatchCopies(t *testing.T) {
	ports := Ports(DestinationPort, One(53))
	m := must(t, IPv4, ports)
	ports.Ops[0].Value = 80
	if got := m.String(); got != "ipv4 dport 53" {
		t.Errorf("match became %q when the caller changed its list", got)
	}
}

func TestAccessors(t *testing.T) {
	m := must(t, IPv4, Destination(netip.MustParsePrefix("203.0.113.0/24")), Proto(17))
	if p, ok := m.Destination(); !ok || p.String() != "203.0.113.0/24" {
		t.Errorf("Destination = %v, %v", p, ok)
	}
	if p, ok := m.Source(); ok {
		t.Errorf("Source = %v, want none", p)
	}
	if c, ok := m.Component(IPProtocol); !ok || c.String() != "proto udp" {
		t.Errorf("Component = %v, %v", c, ok)
	}
	skipping := must(t, IPv6, Component{Type: DestinationPrefix, Prefix: netip.MustParsePrefix("::1:0:0:0/128"), Offset: 64 - 16})
	if p, ok := skipping.Destination(); ok {
		t.Errorf("Destination = %v for %v, which is not one block", p, skipping)
	}
}

func TestWithDestination(t *testing.T) {
	for _, tt := range []struct {
		name, match, prefix, want string
		err                       error
	}{
		{"replaced", "dst 203.0.113.0/24 proto udp", "203.0.113.64/26", "dst 203.0.113.64/26 proto udp", nil},
		{"added", "ipv4 proto udp", "203.0.113.64/26", "dst 203.0.113.64/26 proto udp", nil},
		{"offset goes", "dst ::1:0:0:0/48-128", "2001:db8::/32", "dst 2001:db8::/32", nil},
		{"other family", "dst 203.0.113.0/24", "2001:db8::/32", "", ErrFamily},
		{"host bits", "dst 203.0.113.0/24", "203.0.113.1/31", "", ErrHostBits},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := ParseMatch(tt.match)
			if err != nil {
				t.Fatal(err)
			}
			got, err := m.WithDestination(netip.MustParsePrefix(tt.prefix))
			if !errors.Is(err, tt.err) {
				t.Fatalf("WithDestination = %v, want %v", err, tt.err)
			}
			if err == nil && got.String() != tt.want {
				t.Errorf("WithDestination = %v, want %s", got, tt.want)
			}
			if m.String() != tt.match {
				t.Errorf("WithDestination changed %q to %q", tt.match, m)
			}
		})
	}
}

func TestRuleValidate(t *testing.T) {
	m := must(t, IPv4, Proto(17))
	for _, tt := range []struct {
		name string
		rule Rule
		want error
	}{
		{"no action", Rule{Match: m}, nil},
		{"discard", Rule{Match: m, Actions: []Action{Discard()}}, nil},
		{"no match", Rule{Actions: []Action{Discard()}}, ErrFamily},
		{"two rates", Rule{Match: m, Actions: []Action{Discard(), RateLimit(1000)}}, ErrAction},
		{"unknown action", Rule{Match: m, Actions: []Action{{Type: 99}}}, ErrAction},
		{"rate below 1", Rule{Match: m, Actions: []Action{RateLimit(0.5)}}, ErrRate},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.rule.Validate(); !errors.Is(err, tt.want) {
				t.Errorf("Validate = %v, want %v", err, tt.want)
			}
		})
	}
}

// TestValuesTwin holds Values against a table of the values 0 to 31: the packets that match are those in a range,
// and lists of the same set are the same list.
func TestValuesTwin(t *testing.T) {
	r := newRand(2)
	lists := map[[32]bool]Component{}
	for range 20_000 {
		var ranges []Range
		var want [32]bool
		for range 1 + r.IntN(4) {
			lo := r.Uint64N(32)
			hi := min(31, lo+r.Uint64N(6))
			ranges = append(ranges, Range{lo, hi})
			for v := lo; v <= hi; v++ {
				want[v] = true
			}
		}
		given := slices.Clone(ranges)
		c := Values(DSCP, ranges...)
		if diff := cmp.Diff(given, ranges); diff != "" {
			t.Fatalf("Values changed its argument (-want +got):\n%s", diff)
		}
		m := must(t, IPv4, c)
		var got [32]bool
		for v := range got {
			got[v] = m.Matches(&Packet{Dst: netip.IPv4Unspecified(), DSCP: uint8(v)})
		}
		if got != want {
			t.Fatalf("Values(%v) = %v matches %v", given, c, got)
		}
		if other, ok := lists[want]; ok && !other.Equal(c) {
			t.Fatalf("one set, two lists: %v and %v", other, c)
		}
		lists[want] = c
	}
}

func TestValuesLimits(t *testing.T) {
	const top = 1<<64 - 1
	c := Values(FlowLabel, Range{0, top}, One(top), Range{5, 9})
	if diff := cmp.Diff(Component{Type: FlowLabel, Ops: []Op{{GT | EQ, 0}, {And | LT | EQ, top}}}, c); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCheckSafe(t *testing.T) {
	for _, tt := range []struct {
		name, match string
		want        error
		says        string
	}{
		{"usual", "dst 203.0.113.0/24 proto udp sport 53|123 len 1000-1500", nil, ""},
		{"usual in IPv6", "dst 2001:db8::/32 proto tcp tcp-flags syn&!ack frag any:is-fragment label 1-5", nil, ""},
		{"five values", "ipv4 dport 1|2|3|4|5", nil, ""},
		{"six values", "ipv4 dport 1|2|3|4|5|6", ErrTooManyValues, "destination port with 6"},
		{"six values of a bitmask", "ipv4 tcp-flags syn|ack|fin|rst|psh|urg", ErrTooManyValues, "TCP flags with 6"},
		{"three ranges are six values", "ipv4 len 1-2|4-5|7-8", ErrTooManyValues, "make several rules"},
		{"six values in a run", "ipv4 sport 1|2|3|4|5|6", ErrTooManyValues, "write it with ranges: sport 1-6"},
		{"not equal", "ipv4 dport 1|!=80", ErrNotEqual, "destination port != 80"},
		{"not in a bitmask", "ipv4 tcp-flags !syn", nil, ""},
		{"always false", "ipv4 proto false:6", ErrConstant, "always false"},
		{"always true", "ipv4 proto true:6", ErrConstant, "always true"},
		{"offset", "src ::1234:5678:9a00:0/65-104", ErrUnsafeOffset, "source with offset 65"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := ParseMatch(tt.match)
			if err != nil {
				t.Fatal(err)
			}
			err = CheckSafe(m)
			if !errors.Is(err, tt.want) || (err != nil && !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("CheckSafe = %v, want %v and %q", err, tt.want, tt.says)
			}
		})
	}
}

// TestSafeWidths reads the operator octets of safe rules: the lengths of values must be those that routers survive.
func TestSafeWidths(t *testing.T) {
	want := map[ComponentType]int{
		IPProtocol: 1, ICMPType: 1, ICMPCode: 1, DSCP: 1, Fragment: 1,
		Port: 2, DestinationPort: 2, SourcePort: 2, PacketLength: 2, TCPFlags: 2,
		FlowLabel: 4,
	}
	r := newRand(3)
	for range 2_000 {
		m := randomMatch(r)
		if CheckSafe(m) != nil {
			continue
		}
		for _, c := range m.Components {
			if c.Type.prefix() {
				continue
			}
			b, err := AppendComponents(nil, Match{Family: m.Family, Components: []Component{c}})
			if err != nil {
				t.Fatal(err)
			}
			if got := len(b); got != 1+len(c.Ops)*(1+want[c.Type]) {
				t.Fatalf("%v takes %d octets", c, got)
			}
			for at := 1; at < len(b); at += 1 + want[c.Type] {
				if got := 1 << (b[at] >> 4 & 3); got != want[c.Type] {
					t.Fatalf("%v: operator 0x%02x says %d octets, want %d", c, b[at], got, want[c.Type])
				}
			}
		}
	}
}

package flowspec

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// twinComponent is a component as it stands on the wire.
type twinComponent struct {
	kind   int
	offset int
	bits   string // of a prefix, as 0 and 1, from offset on
	data   string // of others, all octets after the type
}

// twinSplit cuts the octets of a match into components without looking at the match.
func twinSplit(t *testing.T, m Match) []twinComponent {
	t.Helper()
	b, err := AppendComponents(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	var out []twinComponent
	for len(b) > 0 {
		c := twinComponent{kind: int(b[0])}
		b = b[1:]
		if c.kind <= 2 {
			length := int(b[0])
			b = b[1:]
			if m.Family == IPv6 {
				c.offset = int(b[0])
				b = b[1:]
			}
			for i := 0; i < length-c.offset; i += 8 {
				c.bits += fmt.Sprintf("%08b", b[0])
				b = b[1:]
			}
			c.bits = c.bits[:length-c.offset]
		} else {
			for last := false; !last; {
				last = b[0] >= 0x80
				n := 1 + 1<<(b[0]>>4&3)
				c.data += string(b[:n])
				b = b[n:]
			}
		}
		out = append(out, c)
	}
	return out
}

// twinCompare is flow_rule_cmp of RFC 8955 section 5.1 with the offset of RFC 8956 section 4, step by step: -1 if a
// has precedence, 1 if b has, 0 if they are equal.
func twinCompare(a, b []twinComponent) int {
	for len(a) > 0 || len(b) > 0 {
		const infinity = 1 << 20
		kindA, kindB := infinity, infinity
		if len(a) > 0 {
			kindA = a[0].kind
		}
		if len(b) > 0 {
			kindB = b[0].kind
		}
		if kindA != kindB {
			return cmp.Compare(kindA, kindB)
		}
		x, y := a[0], b[0]
		switch {
		case kindA <= 2 && x.offset != y.offset:
			return cmp.Compare(x.offset, y.offset)
		case kindA <= 2:
			if c := twinStrings(x.bits, y.bits); c != 0 {
				return c
			}
		default:
			if c := twinStrings(x.data, y.data); c != 0 {
				return c
			}
		}
		a, b = a[1:], b[1:]
	}
	return 0
}

// twinStrings puts the lower of two strings first; if one begins with the other, the longer.
func twinStrings(x, y string) int {
	switch {
	case x == y:
		return 0
	case strings.HasPrefix(x, y):
		return -1
	case strings.HasPrefix(y, x):
		return 1
	case x < y:
		return -1
	}
	return 1
}

func TestCompareTwin(t *testing.T) {
	r := newRand(5)
	var seen [3]int
	offsets := 0 // pairs of destinations with different offsets
	for range 60_000 {
		a, b := randomMatch(r), randomMatch(r)
		if r.IntN(2) == 0 { // nearly the same match
			b = Match{Family: a.Family, Components: slices.Clone(a.Components)}
			i := r.IntN(len(b.Components))
			b.Components[i] = randomComponent(r, b.Family, b.Components[i].Type)
		}
		want := cmp.Compare(a.Family, b.Family)
		if want == 0 {
			want = twinCompare(twinSplit(t, a), twinSplit(t, b))
			seen[want+1]++
		}
		if x, y := a.Components[0], b.Components[0]; x.Type == DestinationPrefix && y.Type == DestinationPrefix && x.Offset != y.Offset {
			offsets++
		}
		if got := Compare(a, b); got != want {
			t.Fatalf("Compare(%v, %v) = %d, want %d", a, b, got, want)
		}
		if got := Compare(b, a); got != -want {
			t.Fatalf("Compare(%v, %v) = %d, want %d", b, a, got, -want)
		}
		if (want == 0) != a.Equal(b) || (want == 0) != (a.Key() == b.Key()) {
			t.Fatalf("%v and %v: order %d, Equal %v, keys %s and %s", a, b, want, a.Equal(b), a.Key(), b.Key())
		}
	}
	if min(seen[0], seen[1], seen[2], offsets/100) == 0 {
		t.Errorf("the random matches miss a result: %v, %d different offsets", seen, offsets)
	}
}

// TestCompareTotal holds that sorting by Compare is a total order: any three stand in one line.
func TestCompareTotal(t *testing.T) {
	r := newRand(6)
	for range 20_000 {
		f := randomMatch(r).Family
		var m [3]Match
		for i := range m {
			m[i] = Match{Family: f, Components: []Component{
				randomComponent(r, f, DestinationPrefix), randomComponent(r, f, DestinationPort),
			}}
		}
		if Compare(m[0], m[1]) <= 0 && Compare(m[1], m[2]) <= 0 && Compare(m[0], m[2]) > 0 {
			t.Fatalf("%v, %v, %v are in no order", m[0], m[1], m[2])
		}
	}
}

func TestCompareRows(t *testing.T) {
	for _, tt := range []struct{ name, first, second string }{
		{"more specific destination", "dst 203.0.113.64/26", "dst 203.0.113.0/24"},
		{"more specific, though higher", "dst 203.0.113.128/25", "dst 203.0.113.0/24"},
		{"lower destination", "dst 203.0.112.0/24", "dst 203.0.113.0/28"},
		{"with a source before without", "dst 203.0.113.0/24 src 0.0.0.0/0", "dst 203.0.113.0/24"},
		{"lower type, though fewer", "dst 203.0.113.0/24", "src 203.0.113.0/24 proto tcp dport 80"},
		{"lower type next", "dst 203.0.113.0/24 proto tcp", "dst 203.0.113.0/24 dport 80 sport 80"},
		{"lower value", "ipv4 proto tcp", "ipv4 proto udp"},
		{"a list goes on: lower operator octet", "ipv4 proto udp|tcp", "ipv4 proto tcp"},
		{"lower offset", "src ::/8-16", "src ::/9-64"},
		{"equal offset, more specific", "src ::/8-64", "src ::/8-16"},
		{"IPv4 before IPv6", "ipv4 proto udp", "ipv6 proto tcp"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, err := ParseMatch(tt.first)
			if err != nil {
				t.Fatal(err)
			}
			b, err := ParseMatch(tt.second)
			if err != nil {
				t.Fatal(err)
			}
			if Compare(a, b) >= 0 || Compare(b, a) <= 0 || Compare(a, a) != 0 {
				t.Errorf("Compare = %d, reversed %d, with itself %d", Compare(a, b), Compare(b, a), Compare(a, a))
			}
		})
	}
}

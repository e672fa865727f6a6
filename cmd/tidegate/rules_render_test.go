package main

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// TestRenderItem: a rule is read from its text and its key, and not at all if the two disagree.
func TestRenderItem(t *testing.T) {
	for _, c := range []struct {
		name      string
		rule, key string
		want      string // or the error
		rtbh      bool
	}{
		// 01: IPv4; 01 20 …: destination /32
		{"a rule", "dst 203.0.113.1/32 => discard", "010120cb007101", "dst 203.0.113.1/32 => discard", false},
		// 02: IPv6; 00: RTBH; 80: /128
		{"an RTBH route", "any text", "020080" + "20010db8000000000000000000000009", "dst 2001:db8::9/128 => accept", true},
		{"another key", "dst 203.0.113.2/32 => discard", "010120cb007101", `cannot use rule "dst 203.0.113.2/32 => discard": its key is 010120cb007101; is this tidegate older than the cluster?`, false},
		{"no hexadecimal", "dst 203.0.113.2/32 => discard", "x", `cannot read the key of rule "dst 203.0.113.2/32 => discard": encoding/hex: invalid byte: U+0078 'x'`, false},
		{"a text of tomorrow", "dst 203.0.113.1/32 => dance", "010120cb007101", `cannot read rule "dst 203.0.113.1/32 => dance"`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			item, err := renderItem(&pb.Rule{Rule: c.rule, Key: c.key, Mitigations: []string{"M1", "M2"}})
			got := item.Rule.String()
			if err != nil {
				got = err.Error()[:min(len(c.want), len(err.Error()))]
			}
			if got != c.want || item.RTBH != c.rtbh || err == nil && item.Note != "M1 M2" {
				t.Errorf("got %s, RTBH %v, note %q, want %s, RTBH %v", got, item.RTBH, item.Note, c.want, c.rtbh)
			}
		})
	}
}

// TestAgreed: routers that discard at different addresses have none in common.
func TestAgreed(t *testing.T) {
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	for _, c := range []struct {
		name string
		all  []netip.Addr
		want netip.Addr
	}{
		{"nobody", nil, netip.Addr{}},
		{"all the same", []netip.Addr{a, a}, a},
		{"two", []netip.Addr{a, b, a}, netip.Addr{}},
	} {
		if d := cmp.Diff(c.want, agreed(c.all), cmp.Comparer(func(x, y netip.Addr) bool { return x == y })); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, d)
		}
	}
}

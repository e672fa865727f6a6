package wanted_test

import (
	"net/netip"
	"testing"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// TestRTBHKey: every prefix has a key of its own, which leads back, and which is no rule's.
func TestRTBHKey(t *testing.T) {
	seen := map[flowspec.Key]netip.Prefix{}
	for _, a := range []string{"0.0.0.0", "203.0.113.7", "255.255.255.255", "::", "2001:db8::7", "ffff::ffff"} {
		addr := netip.MustParseAddr(a)
		for bits := range addr.BitLen() + 1 {
			p := netip.PrefixFrom(addr, bits).Masked()
			k := wanted.RTBHKey(p)
			if other, taken := seen[k]; taken && other != p {
				t.Fatalf("%s and %s have the key %x", p, other, string(k))
			}
			seen[k] = p
			if got, ok := wanted.RTBHPrefix(k); !ok || got != p {
				t.Errorf("key of %s leads back to %s, %v", p, got, ok)
			}
			if m, err := k.Match(); err == nil {
				t.Errorf("key of %s is that of the rule %s", p, m)
			}
		}
	}
	rule, err := flowspec.NewMatch(flowspec.IPv4, flowspec.Destination(netip.MustParsePrefix("203.0.113.7/32")))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []flowspec.Key{
		"", "\x01", "\x01\x00", rule.Key(), "\x03\x00\x08\x0a", "\x01\x00\x21\x0a\x00\x00\x00\x00", "\x01\x00\x20\x0a\x00\x00", "\x01\x00\x08\x0a\x00",
		"\x01\x00\x07\x01", "\x02\x00\x81\x20",
	} {
		if p, ok := wanted.RTBHPrefix(k); ok {
			t.Errorf("%x is taken for the key of %s", string(k), p)
		}
	}
}

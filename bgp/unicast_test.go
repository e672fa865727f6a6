package bgp

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// The octets of RFC 4271 section 4.3: a length in bits, then as many octets as are needed.
func TestUnicastNLRI(t *testing.T) {
	for _, c := range []struct {
		prefix string
		want   []byte
	}{
		{"203.0.113.7/32", []byte{32, 203, 0, 113, 7}},
		{"203.0.113.128/25", []byte{25, 203, 0, 113, 128}},
		{"203.0.113.0/24", []byte{24, 203, 0, 113}},
		{"0.0.0.0/0", []byte{0}},
		{"2001:db8::1/128", []byte{128, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}},
		{"2001:db8:8000::/33", []byte{33, 0x20, 0x01, 0x0d, 0xb8, 0x80}},
	} {
		p := netip.MustParsePrefix(c.prefix)
		got, err := appendUnicast([]byte{9}, p)
		if err != nil || !bytes.Equal(got, append([]byte{9}, c.want...)) {
			t.Errorf("%s = %x, %v; want %x after 09", p, got, err, c.want)
		}
		f := destinationOnly(p).Family
		if back, err := decodeUnicast(f, got[1:]); err != nil || back != p {
			t.Errorf("%s comes back as %s, %v", p, back, err)
		}
		if no := sameForGoBGP(p, got[1:]); no != nil {
			t.Errorf("%s: %s", p, no.sentence)
		}
		if no := sameForGoBGP(p, append([]byte{got[1] ^ 1}, got[2:]...)); no == nil || no.code != wanted.RefusedRoundTrip {
			t.Errorf("%s: other octets than GoBGP's pass", p)
		}
		// The border's key is these octets too.
		if key := wanted.RTBHKey(p); string(key[2:]) != string(got[1:]) || key[0] != byte(f) || key[1] != 0 {
			t.Errorf("key of %s is %s", p, key)
		}
	}
	for _, p := range []netip.Prefix{{}, netip.MustParsePrefix("203.0.113.7/24"), netip.MustParsePrefix("::ffff:10.0.0.0/104")} {
		if b, err := appendUnicast(nil, p); err == nil || len(b) > 0 {
			t.Errorf("%s is encoded as %x", p, b)
		}
	}
}

func FuzzUnicastNLRI(f *testing.F) {
	f.Fuzz(func(t *testing.T, six bool, b []byte) {
		family := flowspec.IPv4
		if six {
			family = flowspec.IPv6
		}
		p, err := decodeUnicast(family, b)
		if err != nil {
			return
		}
		if got, err := appendUnicast(nil, p); err != nil || !bytes.Equal(got, b) || p.Addr().Is4() == six {
			t.Errorf("%x is %s, which is %x, %v", b, p, got, err)
		}
	})
}

// rtbhRoute is the RTBH route to p.
func rtbhRoute(p netip.Prefix) wanted.Route {
	return wanted.Route{
		Kind: wanted.RTBH, Key: wanted.RTBHKey(p), NotAfter: 1 << 62, Groups: []string{"edge"},
		Rule: flowspec.Rule{Match: destinationOnly(p)},
	}
}

func TestJudgeRTBH(t *testing.T) {
	official, protected := prefixes("203.0.113.0/24", "2001:db8::/32"), prefixes("203.0.113.64/31", "2001:db8:ffff::/64")
	hosts, err := newGuard(official, protected, wanted.Lengths{})
	if err != nil {
		t.Fatal(err)
	}
	wider, err := newGuard(official, protected, wanted.Lengths{IPv4: 28, IPv6: 48})
	if err != nil {
		t.Fatal(err)
	}
	same := func(*wanted.Route) {}
	for _, c := range []struct {
		name   string
		guard  *guard
		prefix string
		change func(*wanted.Route)
		want   wanted.RefusalCode
	}{
		{"IPv4 host", hosts, "203.0.113.7/32", same, ""},
		{"IPv6 host", hosts, "2001:db8::1/128", same, ""},
		{"as short as allowed", wider, "203.0.113.16/28", same, ""},
		{"as short as allowed in IPv6", wider, "2001:db8:1::/48", same, ""},
		{"no guard", nil, "203.0.113.7/32", same, wanted.RefusedNotOfficial},
		{"too short", hosts, "203.0.113.6/31", same, wanted.RefusedTooShort},
		{"too short in IPv6", hosts, "2001:db8::/127", same, wanted.RefusedTooShort},
		{"shorter than allowed", wider, "203.0.113.0/27", same, wanted.RefusedTooShort},
		{"shorter than allowed in IPv6", wider, "2001:db8::/47", same, wanted.RefusedTooShort},
		{"default route", wider, "0.0.0.0/0", same, wanted.RefusedBuiltIn},
		{"default route in IPv6", wider, "::/0", same, wanted.RefusedBuiltIn},
		{"protected", hosts, "203.0.113.64/32", same, wanted.RefusedProtected},
		{"around protected", wider, "203.0.113.64/28", same, wanted.RefusedProtected},
		{"protected in IPv6", hosts, "2001:db8:ffff::1/128", same, wanted.RefusedProtected},
		{"not official", hosts, "198.51.100.1/32", same, wanted.RefusedNotOfficial},
		{"multicast", hosts, "224.0.0.5/32", same, wanted.RefusedBuiltIn},
		{"action", hosts, "203.0.113.7/32", func(r *wanted.Route) { r.Rule.Actions = []flowspec.Action{flowspec.Discard()} }, wanted.RefusedEncoding},
		{"another condition", hosts, "203.0.113.7/32", func(r *wanted.Route) {
			r.Rule.Match.Components = append(r.Rule.Match.Components, flowspec.Proto(17))
		}, wanted.RefusedEncoding},
		{"source", hosts, "203.0.113.7/32", func(r *wanted.Route) {
			r.Rule.Match.Components[0].Type = flowspec.SourcePrefix
		}, wanted.RefusedNoDestination},
		{"no destination", hosts, "203.0.113.7/32", func(r *wanted.Route) { r.Rule.Match.Components = nil }, wanted.RefusedNoDestination},
		{"offset", hosts, "2001:db8::1/128", func(r *wanted.Route) { r.Rule.Match.Components[0].Offset = 8 }, wanted.RefusedOffset},
		{"host bits", wider, "203.0.113.16/28", func(r *wanted.Route) {
			r.Rule.Match.Components[0].Prefix = netip.MustParsePrefix("203.0.113.17/28")
		}, wanted.RefusedNoDestination},
		{"other family", hosts, "203.0.113.7/32", func(r *wanted.Route) { r.Rule.Match.Family = flowspec.IPv6 }, wanted.RefusedNoDestination},
		{"no key", hosts, "203.0.113.7/32", func(r *wanted.Route) { r.Key = "" }, wanted.RefusedKey},
		{"key of a rule", hosts, "203.0.113.7/32", func(r *wanted.Route) { r.Key = r.Rule.Match.Key() }, wanted.RefusedKey},
		{"key of another prefix", hosts, "203.0.113.7/32", func(r *wanted.Route) { r.Key = wanted.RTBHKey(netip.MustParsePrefix("203.0.113.8/32")) }, wanted.RefusedKey},
		{"rule with a key of RTBH", hosts, "203.0.113.7/32", func(r *wanted.Route) {
			r.Kind, r.Rule.Actions = wanted.FlowSpec, []flowspec.Action{flowspec.Discard()}
		}, wanted.RefusedKey},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := rtbhRoute(netip.MustParsePrefix(c.prefix))
			c.change(&r)
			j := judge(c.guard, &r)
			var got wanted.RefusalCode
			if j.refusal != nil {
				got = j.refusal.code
				if j.refusal.sentence == "" {
					t.Error("the refusal has no sentence")
				}
			}
			if got != c.want {
				t.Errorf("judge = %q, want %q (%+v)", got, c.want, j.refusal)
			}
		})
	}
}

// The table of GoBGP tells RTBH routes and rules apart, whatever they match.
func TestGoBGPKeys(t *testing.T) {
	seen := map[string]string{}
	for _, p := range []string{"203.0.113.7/32", "203.0.113.0/32", "203.0.113.0/24", "2001:db8::/32", "2001:db8::/128"} {
		p := netip.MustParsePrefix(p)
		rule, err := flowspec.AppendComponents(nil, destinationOnly(p))
		if err != nil {
			t.Fatal(err)
		}
		nlri, err := appendUnicast(nil, p)
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range []*judged{
			{route: wanted.Route{Kind: wanted.FlowSpec}, family: destinationOnly(p).Family, dst: p, nlri: rule},
			{route: wanted.Route{Kind: wanted.RTBH}, family: destinationOnly(p).Family, dst: p, nlri: nlri},
		} {
			a := newAnnouncement(j, &ledger{elapsed: func() wanted.Instant { return 1 }})
			what := p.String() + " of kind " + string('0'+rune(j.route.Kind))
			key := a.forGoBGP().String()
			if seen[key] != "" {
				t.Errorf("%s and %s have the key %q", what, seen[key], key)
			}
			seen[key] = what
			if b, err := a.forGoBGP().Serialize(); err != nil || !strings.HasSuffix(string(b), string(j.nlri)) ||
				j.route.Kind == wanted.RTBH && len(b) != len(j.nlri) || a.forGoBGP().Len() != len(b) {
				t.Errorf("%s is sent as %x, %v", what, b, err)
			}
		}
	}
}

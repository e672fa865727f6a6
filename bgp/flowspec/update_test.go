package flowspec

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// attr returns an attribute in its long form, whatever its length.
func attr(flags, kind uint8, value ...byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{flags | extendedLengthFlag, kind}, uint16(len(value)))
	return append(b, value...)
}

// updateText is an Update in words, for rows of tests.
func updateText(u Update) string {
	var parts []string
	for _, m := range u.Announced {
		parts = append(parts, "+ "+m.String())
	}
	for _, m := range u.Withdrawn {
		parts = append(parts, "- "+m.String())
	}
	for _, a := range u.Actions {
		parts = append(parts, "=> "+a.String())
	}
	if u.EndOfRIB != 0 {
		parts = append(parts, "end of "+u.EndOfRIB.String())
	}
	return strings.Join(parts, "; ")
}

func TestDecodeUpdate(t *testing.T) {
	reach4 := []byte{
		0x90, 0x0e, 0x00, 0x12, // optional, extended length; MP_REACH_NLRI; 18 octets
		0x00, 0x01, 0x85, // AFI 1, SAFI 133
		0x00,                               // no next hop (RFC 8955 section 4)
		0x00,                               // reserved
		0x05, 0x01, 0x18, 0xc0, 0x00, 0x02, // 5 octets: destination 192.0.2.0/24
		0x06, 0x01, 0x20, 0xc6, 0x33, 0x64, 0x07, // 6 octets: destination 198.51.100.7/32
	}
	unreach6 := []byte{
		0x80, 0x0f, 0x0b, // optional; MP_UNREACH_NLRI; 11 octets
		0x00, 0x02, 0x85, // AFI 2, SAFI 133
		0x07, 0x01, 0x20, 0x00, 0x20, 0x01, 0x0d, 0xb8, // 7 octets: destination, length 32, offset 0, 2001:db8
	}
	communities := []byte{
		0xc0, 0x10, 0x20, // optional, transitive; EXTENDED COMMUNITIES; 32 octets
		0x80, 0x09, 0x00, 0x00, 0x00, 0x00, 0x00, 0x08, // traffic-marking; DSCP 8
		0x00, 0x02, 0xfd, 0xe9, 0x00, 0x00, 0x00, 0x01, // a route target: no action
		0x80, 0x06, 0x00, 0x00, 0x47, 0xf4, 0x24, 0x00, // traffic-rate-bytes; AS 0; 125000.0
		0x80, 0x09, 0xff, 0x00, 0x00, 0x00, 0x00, 0x08, // traffic-marking; reserved bits; DSCP 8 again
	}
	communities6 := []byte{
		0xc0, 0x19, 0x14, // optional, transitive; IPv6 EXTENDED COMMUNITIES; 20 octets
		0x00, 0x0c, // redirect to IPv6
		0x20, 0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, // 2001:db8::1
		0x00, 0x01, // C
	}
	origin := []byte{0x40, 0x01, 0x01, 0x00} // well-known, transitive; ORIGIN; 1 octet; IGP
	const (
		two   = "+ dst 192.0.2.0/24; + dst 198.51.100.7/32"
		two4  = "- dst 192.0.2.0/24; - dst 198.51.100.7/32"
		gone  = "- dst 2001:db8::/32"
		marks = "=> rate 1Mbps; => mark 8"
		nan   = "traffic-rate-bytes NaN: not finite"
	)
	for _, tt := range []struct {
		name       string
		attributes [][]byte
		want       string
		handling   Handling // 0: no error
		says       string
	}{
		{"nothing", nil, "", 0, ""},
		{"rules and their actions", [][]byte{reach4, origin, communities}, two + "; " + marks, 0, ""},
		{"communities before their rules", [][]byte{communities, reach4}, two + "; " + marks, 0, ""},
		{"both communities", [][]byte{reach4, communities6, communities}, two + "; " + marks + "; => redirect-ip 2001:db8::1 copy", 0, ""},
		{"one family comes, the other goes", [][]byte{reach4, unreach6}, two + "; " + gone, 0, ""},
		{"end of RIB", [][]byte{attr(0x80, 15, 0, 2, 133)}, "end of IPv6", 0, ""},
		{"next hop, ignored", [][]byte{attr(0x80, 14, 0, 1, 133, 4, 192, 0, 2, 9, 0, 3, 3, 0x81, 6)}, "+ ipv4 proto tcp", 0, ""},
		{"no end of RIB beside an origin", [][]byte{attr(0x80, 15, 0, 2, 133), origin}, "", 0, ""},
		{"no end of RIB beside rules", [][]byte{reach4, attr(0x80, 15, 0, 2, 133)}, two, 0, ""},
		{"unicast", [][]byte{attr(0x80, 14, 0, 1, 1, 4, 192, 0, 2, 9, 0, 24, 192, 0, 2), attr(0x80, 15, 0, 1, 1, 24, 192, 0, 3)}, "", 0, ""},
		{"AFI of another", [][]byte{attr(0x80, 14, 1, 1, 133, 0, 0, 3, 3, 0x81, 6)}, "", 0, ""},
		{"partial and reserved flags", [][]byte{append([]byte{0xef}, communities[1:]...)}, marks, 0, ""},
		{"interfering actions are all kept", [][]byte{attr(0xc0, 16, unhex(t, "8006000000000000 800c000000000000")...)}, "=> discard; => rate 0pps", 0, ""},

		{"communities twice", [][]byte{reach4, communities, attr(0xc0, 16, 1)}, two + "; " + marks, AttributeDiscard, "stands twice"},
		{"community of 9 octets", [][]byte{reach4, attr(0xc0, 16, make([]byte, 9)...)}, two4, TreatAsWithdraw, "9 octets, a multiple of 8"},
		{"no community", [][]byte{reach4, attr(0xc0, 16)}, two4, TreatAsWithdraw, "0 octets"},
		{"IPv6 community of 8 octets", [][]byte{reach4, attr(0xc0, 25, make([]byte, 8)...)}, two4, TreatAsWithdraw, "8 octets, a multiple of 20"},
		{"rate that is no number", [][]byte{reach4, unreach6, attr(0xc0, 16, 0x80, 6, 0, 0, 0x7f, 0xc0, 0, 0)}, gone + "; " + two4, TreatAsWithdraw, nan},
		{"communities that are not transitive", [][]byte{reach4, append([]byte{0x80}, communities[1:]...)}, two4, TreatAsWithdraw, "flags 0x80"},
		{"NLRI that is transitive", [][]byte{append([]byte{0xd0}, reach4[1:]...)}, two4, TreatAsWithdraw, "flags 0xd0"},
		{"half a header", [][]byte{reach4, {0xc0, 16}}, two4, TreatAsWithdraw, "header: truncated"},
		{"half an extended header", [][]byte{reach4, {0xd0, 16, 0}}, two4, TreatAsWithdraw, "header: truncated"},
		{"shorter than its length", [][]byte{reach4, {0xc0, 16, 8, 0x80}}, two4, TreatAsWithdraw, "1 octets of 8: truncated"},
		{"unknown component type", [][]byte{attr(0x80, 14, 0, 1, 133, 0, 0, 3, 14, 0x81, 6)}, "", DisableFamily, "unknown component type"},
		{"good NLRI and a bad one", [][]byte{attr(0x80, 14, 0, 1, 133, 0, 0, 3, 3, 0x81, 6, 3, 3, 1, 6)}, "", DisableFamily, "truncated"},
		{"bad NLRI withdrawn", [][]byte{reach4, attr(0x80, 15, 0, 1, 133, 0)}, "", DisableFamily, "no component"},
		{"next hop longer than the attribute", [][]byte{attr(0x80, 14, 0, 1, 133, 4, 0, 0)}, "", SessionReset, "next hop: truncated"},
		{"no next hop length", [][]byte{attr(0x80, 14, 0, 1, 133)}, "", SessionReset, "next hop: truncated"},
		{"a bad rate and nothing announced", [][]byte{origin, attr(0xc0, 16, 0x80, 6, 0, 0, 0x7f, 0xc0, 0, 0)}, "", SessionReset, "no reachable NLRI, and"},
		{"a bad rate and withdrawals only", [][]byte{unreach6, attr(0xc0, 16, 1)}, "", SessionReset, "no reachable NLRI, and"},
		{"an empty MP_REACH_NLRI and a bad community", [][]byte{attr(0x80, 14, 0, 1, 133, 0, 0), attr(0xc0, 16, 1)}, "", SessionReset, "no reachable NLRI, and"},
		{"a bad community beside unicast", [][]byte{attr(0x80, 14, 0, 1, 1, 4, 192, 0, 2, 9, 0, 24, 192, 0, 2), attr(0xc0, 16, 1)}, "", TreatAsWithdraw, "1 octets"},
		{"communities twice and nothing announced", [][]byte{communities, communities}, marks, AttributeDiscard, "stands twice"},
		{"bad withdrawals alone", [][]byte{attr(0x80, 15, 0, 1, 133, 0)}, "", DisableFamily, "no component"},
		{"withdrawals with other flags", [][]byte{append([]byte{0xc0}, unreach6[1:]...)}, gone, TreatAsWithdraw, "flags 0xc0"},
		{"half an attribute and nothing else", [][]byte{{0xc0, 16, 8, 0x80}}, "", SessionReset, "truncated"},
		{"no family", [][]byte{attr(0x80, 14, 0, 1)}, "", SessionReset, "family: truncated"},
		{"no family of withdrawals", [][]byte{attr(0x80, 15)}, "", SessionReset, "family: truncated"},
		{"rules twice", [][]byte{reach4, reach4}, "", SessionReset, "stands twice"},
		{"the strongest counts, first", [][]byte{attr(0x80, 14, 0, 1, 133, 0, 0, 0), attr(0xc0, 16, 1)}, "", DisableFamily, "no component"},
		{"the strongest counts, last", [][]byte{attr(0xc0, 16, 1), attr(0x80, 14, 0, 1, 133, 0, 0, 0)}, "", DisableFamily, "no component"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u, err := DecodeUpdate(slices.Concat(tt.attributes...))
			if diff := cmp.Diff(tt.want, updateText(u)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if tt.handling == 0 {
				if err != nil {
					t.Errorf("DecodeUpdate: %v", err)
				}
				return
			}
			var wrong *MalformedError
			if !errors.As(err, &wrong) || wrong.Handling != tt.handling {
				t.Fatalf("DecodeUpdate: %v, want %s", err, tt.handling)
			}
			if (wrong.Family != 0) != (tt.handling == DisableFamily) {
				t.Errorf("%s names the family %s", tt.handling, wrong.Family)
			}
			if !strings.Contains(err.Error(), tt.says) || !strings.HasSuffix(err.Error(), tt.handling.String()) {
				t.Errorf("DecodeUpdate: %v, want %q in it", err, tt.says)
			}
		})
	}
}

func TestDecodeCommunitiesRefuses(t *testing.T) {
	_, err := DecodeCommunities(8, make([]byte, 8))
	if !errors.Is(err, ErrAction) {
		t.Errorf("communities of attribute 8: %v, want %v", err, ErrAction)
	}
	dst := []byte{1}
	got, err := AppendCommunities(dst, AttrExtendedCommunities, []Action{Mark(1), Mark(64)})
	if !errors.Is(err, ErrValue) || len(got) != len(dst) {
		t.Errorf("AppendCommunities = %x, %v, want dst and %v", got, err, ErrValue)
	}
}

// encodeUpdate is the inverse of DecodeUpdate, for tests.
func encodeUpdate(t *testing.T, u Update) []byte {
	t.Helper()
	var out []byte
	nlri := func(kind uint8, matches []Match, middle ...byte) {
		if len(matches) == 0 {
			return
		}
		value := append([]byte{0, byte(matches[0].Family), SAFI}, middle...)
		for _, m := range matches {
			var err error
			if value, err = AppendNLRI(value, m); err != nil {
				t.Fatalf("AppendNLRI(%v): %v", m, err)
			}
		}
		out = append(out, attr(0x80, kind, value...)...)
	}
	nlri(AttrMPReachNLRI, u.Announced, 0, 0)
	nlri(AttrMPUnreachNLRI, u.Withdrawn)
	if u.EndOfRIB != 0 {
		out = append(out, attr(0x80, AttrMPUnreachNLRI, 0, byte(u.EndOfRIB), SAFI)...)
	}
	for _, kind := range []uint8{AttrExtendedCommunities, AttrIPv6ExtendedCommunities} {
		value, err := AppendCommunities(nil, kind, u.Actions)
		if err != nil {
			t.Fatalf("AppendCommunities(%v): %v", u.Actions, err)
		}
		if len(value) > 0 {
			out = append(out, attr(0xc0, kind, value...)...)
		}
	}
	return out
}

// TestUpdateRoundTrip sends rules with their actions, several in one UPDATE.
func TestUpdateRoundTrip(t *testing.T) {
	r := newRand(21)
	matches := func(f Family) []Match {
		var out []Match
		for range r.IntN(4) {
			if m := randomMatch(r); m.Family == f {
				out = append(out, m)
			}
		}
		return out
	}
	for range 3000 {
		rule := randomRule(r)
		for i := range rule.Actions {
			rule.Actions[i].ASN &= 0xffff
		}
		want := Update{
			Announced: append(matches(rule.Match.Family), rule.Match), Withdrawn: matches(Family(1 + r.IntN(2))), Actions: rule.Actions,
		}
		got, err := DecodeUpdate(encodeUpdate(t, want))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	}
}

// TestUpdateMutations changes octets of good UPDATEs at random. Whatever comes out, it is either used as it says or
// refused with a handling, and rules that come out are valid.
func TestUpdateMutations(t *testing.T) {
	r := newRand(22)
	seen := map[Handling]int{}
	for range 10_000 {
		rule := randomRule(r)
		b := encodeUpdate(t, Update{Announced: []Match{rule.Match}, Withdrawn: []Match{randomMatch(r)}, Actions: rule.Actions})
		seen[checkUpdate(t, mutate(r, b))]++
	}
	for _, h := range []Handling{0, TreatAsWithdraw, DisableFamily, SessionReset} {
		if seen[h] < 100 {
			t.Errorf("only %d mutations lead to %s: %v", seen[h], h, seen)
		}
	}
}

// mutate changes, inserts, removes or cuts off octets.
func mutate(r *rand.Rand, b []byte) []byte {
	for range 1 + r.IntN(3) {
		if len(b) == 0 {
			return b
		}
		switch i := r.IntN(len(b)); r.IntN(4) {
		case 0:
			b = b[:i]
		case 1:
			b = slices.Delete(b, i, i+1)
		case 2:
			b = slices.Insert(b, i, byte(r.Uint32()))
		default:
			b[i] ^= 1 << r.IntN(8)
		}
	}
	return b
}

// checkUpdate decodes b and holds what is true of every UPDATE.
func checkUpdate(t *testing.T, b []byte) Handling {
	t.Helper()
	u, err := DecodeUpdate(b)
	for _, m := range slices.Concat(u.Announced, u.Withdrawn) {
		if err := m.Validate(); err != nil {
			t.Fatalf("%x: decoded a match that is not valid: %v", b, err)
		}
	}
	if !slices.IsSortedFunc(u.Actions, func(a, b Action) int { return int(a.Type) - int(b.Type) }) {
		t.Fatalf("%x: actions out of order: %v", b, u.Actions)
	}
	if err == nil {
		return 0
	}
	var wrong *MalformedError
	if !errors.As(err, &wrong) {
		t.Fatalf("%x: %v is no MalformedError", b, err)
	}
	switch {
	case wrong.Handling >= DisableFamily && len(u.Announced)+len(u.Withdrawn)+len(u.Actions) > 0,
		wrong.Handling == TreatAsWithdraw && len(u.Announced)+len(u.Actions) > 0, wrong.Handling < AttributeDiscard:
		t.Fatalf("%x: %v left %v", b, err, updateText(u))
	}
	return wrong.Handling
}

func FuzzDecodeUpdate(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		if checkUpdate(t, b) != 0 || len(b) > 16_000 { // our octets may be four times as many, and an attribute has 65535
			return
		}
		u, err := DecodeUpdate(b)
		if err != nil {
			t.Fatal(err)
		}
		sendable := func(a Action) bool { return a.Validate() == nil }
		u.Actions = slices.DeleteFunc(u.Actions, func(a Action) bool { return !sendable(a) })
		for _, m := range slices.Concat(u.Announced, u.Withdrawn) {
			if _, err := AppendNLRI(nil, m); errors.Is(err, ErrTooLong) {
				return // one octet of a foreign rule may take two of ours
			}
		}
		again, err := DecodeUpdate(encodeUpdate(t, u))
		if err != nil || updateText(again) != updateText(u) {
			t.Fatalf("%s became %s, %v", updateText(u), updateText(again), err)
		}
	})
}

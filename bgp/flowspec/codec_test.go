package flowspec

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// unhex reads octets written in hexadecimal with spaces between them.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatalf("cannot read octets %q: %v", s, err)
	}
	return b
}

func TestGoldenNLRI(t *testing.T) {
	for _, tt := range []struct {
		name  string
		wire  []byte
		match Match
		text  string
	}{
		{
			name: "RFC 8955 section 4.3 example 1: to 192.0.2.0/24 and TCP port 25",
			wire: []byte{
				0x0c,                         // length 12; 11 in the RFC, which has the port in one octet
				0x01, 0x18, 0xc0, 0x00, 0x02, // destination, /24, 192.0.2
				0x03, 0x81, 0x06, // protocol; end of list, 1 octet, ==; 6
				0x04, 0x91, 0x00, 0x19, // port; end of list, 2 octets, ==; 25
			},
			match: must(t, IPv4, Ports(Port, One(25)), Proto(6), Destination(netip.MustParsePrefix("192.0.2.0/24"))),
			text:  "dst 192.0.2.0/24 proto tcp port 25",
		},
		{
			name: "RFC 8955 section 4.3 example 2: to 192.0.2.0/24 from 203.0.113.0/24 and port 137-139 or 8080",
			wire: []byte{
				0x14,                         // length 20; 18 in the RFC, which has two of the ports in one octet
				0x01, 0x18, 0xc0, 0x00, 0x02, // destination, /24, 192.0.2
				0x02, 0x18, 0xcb, 0x00, 0x71, // source, /24, 203.0.113
				0x04,             // port
				0x13, 0x00, 0x89, // 2 octets, >=; 137
				0x55, 0x00, 0x8b, // AND, 2 octets, <=; 139
				0x91, 0x1f, 0x90, // end of list, 2 octets, ==; 8080
			},
			match: must(t, IPv4, Destination(netip.MustParsePrefix("192.0.2.0/24")),
				Source(netip.MustParsePrefix("203.0.113.0/24")), Ports(Port, One(8080), Range{137, 139})),
			text: "dst 192.0.2.0/24 src 203.0.113.0/24 port 137-139|8080",
		},
		{
			name: "RFC 8955 section 4.3 example 3: to 192.0.2.1/32 and fragment DF or FF",
			wire: []byte{
				0x09,                               // length 9
				0x01, 0x20, 0xc0, 0x00, 0x02, 0x01, // destination, /32, 192.0.2.1
				0x0c, 0x80, 0x05, // fragment; end of list, 1 octet, any of; first fragment, don't fragment
			},
			match: must(t, IPv4, Destination(netip.MustParsePrefix("192.0.2.1/32")), Fragments(DontFragment|FirstFragment)),
			text:  "dst 192.0.2.1/32 frag any:dont-fragment+first-fragment",
		},
		{
			name: "RFC 8956 section 3.8.1: from ::1234:5678:9a00:0/64-104 to 2001:db8::/32 and TCP",
			wire: []byte{
				0x12,                                     // length 18
				0x01, 0x20, 0x00, 0x20, 0x01, 0x0d, 0xb8, // destination, length 32, offset 0, 2001:db8
				0x02, 0x68, 0x40, // source, length 104, offset 64
				0x12, 0x34, 0x56, 0x78, 0x9a, // bits 64 to 103
				0x03, 0x81, 0x06, // upper-layer protocol; end of list, 1 octet, ==; 6
			},
			match: must(t, IPv6, Destination(netip.MustParsePrefix("2001:db8::/32")), Proto(6),
				Component{Type: SourcePrefix, Prefix: netip.MustParsePrefix("::1234:5678:9a00:0/104"), Offset: 64}),
			text: "dst 2001:db8::/32 src ::1234:5678:9a00:0/64-104 proto tcp",
		},
		{
			name: "RFC 8956 section 3.8.2: from ::1234:5678:9a00:0/65-104 to 2001:db8::/32",
			wire: []byte{
				0x0f,                                     // length 15
				0x01, 0x20, 0x00, 0x20, 0x01, 0x0d, 0xb8, // destination, length 32, offset 0, 2001:db8
				0x02, 0x68, 0x41, // source, length 104, offset 65
				0x24, 0x68, 0xac, 0xf1, 0x34, // bits 65 to 103 moved to the left by one, one bit of padding
			},
			match: must(t, IPv6, Destination(netip.MustParsePrefix("2001:db8::/32")),
				Component{Type: SourcePrefix, Prefix: netip.MustParsePrefix("::1234:5678:9a00:0/104"), Offset: 65}),
			text: "dst 2001:db8::/32 src ::1234:5678:9a00:0/65-104",
		},
		{
			name: "prefix of length 0 has no octets, IPv4",
			wire: []byte{
				0x02,       // length 2
				0x01, 0x00, // destination, /0
			},
			match: must(t, IPv4, Destination(netip.MustParsePrefix("0.0.0.0/0"))),
			text:  "dst 0.0.0.0/0",
		},
		{
			name: "prefix of length 0 has no octets, IPv6",
			wire: []byte{
				0x03,             // length 3
				0x02, 0x00, 0x00, // source, length 0, offset 0
			},
			match: must(t, IPv6, Source(netip.MustParsePrefix("::/0"))),
			text:  "src ::/0",
		},
		{
			name: "every other component",
			wire: []byte{
				0x2a,             // length 42
				0x05,             // destination port
				0x12, 0x04, 0x00, // 2 octets, >; 1024
				0xd4, 0x08, 0x00, // end of list, AND, 2 octets, <; 2048
				0x06, 0x91, 0x00, 0x35, // source port; end of list, 2 octets, ==; 53
				0x07, 0x81, 0x03, // ICMP type; end of list, 1 octet, ==; 3
				0x08, 0x01, 0x04, // ICMP code; 1 octet, ==; 4
				0x81, 0x00, // end of list, 1 octet, ==; 0
				0x09, 0x11, 0x00, 0x02, // TCP flags; 2 octets, all of; SYN
				0xd2, 0x00, 0x10, // end of list, AND, 2 octets, NOT any of; ACK
				0x0a, 0x95, 0x00, 0x40, // packet length; end of list, 2 octets, <=; 64
				0x0b, 0x81, 0x2e, // DSCP; end of list, 1 octet, ==; 46
				0x0c, 0x82, 0x0e, // fragment; end of list, 1 octet, NOT any of; last, first, is a fragment
				0x0d, 0xa1, 0x00, 0x0b, 0xcd, 0xef, // flow label; end of list, 4 octets, ==; 0xbcdef
			},
			match: must(t, IPv6,
				Component{Type: DestinationPort, Ops: []Op{{GT, 1024}, {And | LT, 2048}}},
				Ports(SourcePort, One(53)), Values(ICMPType, One(3)),
				Component{Type: ICMPCode, Ops: []Op{{EQ, 4}, {EQ, 0}}},
				FlagsExcept(SYN, ACK),
				Component{Type: PacketLength, Ops: []Op{{LT | EQ, 64}}},
				Values(DSCP, One(46)),
				Component{Type: Fragment, Ops: []Op{{Not, IsFragment | FirstFragment | LastFragment}}},
				Values(FlowLabel, One(0xbcdef))),
			text: "ipv6 dport >1024&<2048 sport 53 icmp-type 3 icmp-code 4|0 tcp-flags syn&!any:ack len <=64 dscp 46 " +
				"frag !any:is-fragment+first-fragment+last-fragment label 773615",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := AppendNLRI([]byte{0xee}, tt.match)
			if err != nil {
				t.Fatalf("AppendNLRI: %v", err)
			}
			if diff := cmp.Diff(append([]byte{0xee}, tt.wire...), got); diff != "" {
				t.Errorf("AppendNLRI (-want +got):\n%s", diff)
			}
			m, n, err := DecodeNLRI(tt.match.Family, append(tt.wire, 0xee))
			if err != nil {
				t.Fatalf("DecodeNLRI: %v", err)
			}
			if n != len(tt.wire) {
				t.Errorf("DecodeNLRI took %d octets, want %d", n, len(tt.wire))
			}
			if diff := cmp.Diff(tt.match, m); diff != "" {
				t.Errorf("DecodeNLRI (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.text, m.String()); diff != "" {
				t.Errorf("String (-want +got):\n%s", diff)
			}
			if want := string(append([]byte{byte(m.Family)}, tt.wire[1:]...)); string(m.Key()) != want {
				t.Errorf("Key = %s, want %x", m.Key(), want)
			}
		})
	}
}

// TestRFCExamples reads the octets of the examples as they are printed in the RFCs.
func TestRFCExamples(t *testing.T) {
	for _, tt := range []struct {
		name   string
		family Family
		wire   []byte
		want   string
	}{
		{
			"RFC 8955 section 4.3 example 1", IPv4,
			[]byte{
				0x0b,                         // length 11
				0x01, 0x18, 0xc0, 0x00, 0x02, // destination, /24, 192.0.2
				0x03, 0x81, 0x06, // protocol; end of list, 1 octet, ==; 6
				0x04, 0x81, 0x19, // port; end of list, 1 octet, ==; 25
			},
			"dst 192.0.2.0/24 proto tcp port 25",
		},
		{
			"RFC 8955 section 4.3 example 2", IPv4,
			[]byte{
				0x12,                         // length 18
				0x01, 0x18, 0xc0, 0x00, 0x02, // destination, /24, 192.0.2
				0x02, 0x18, 0xcb, 0x00, 0x71, // source, /24, 203.0.113
				0x04,       // port
				0x03, 0x89, // 1 octet, >=; 137
				0x45, 0x8b, // AND, 1 octet, <=; 139
				0x91, 0x1f, 0x90, // end of list, 2 octets, ==; 8080
			},
			"dst 192.0.2.0/24 src 203.0.113.0/24 port 137-139|8080",
		},
		{
			"RFC 8955 section 4.3 example 3", IPv4,
			[]byte{
				0x09,                               // length 9
				0x01, 0x20, 0xc0, 0x00, 0x02, 0x01, // destination, /32, 192.0.2.1
				0x0c, 0x80, 0x05, // fragment; end of list, 1 octet, any of; first fragment, don't fragment
			},
			"dst 192.0.2.1/32 frag any:dont-fragment+first-fragment",
		},
		{
			"RFC 8956 section 3.8.1", IPv6,
			[]byte{
				0x12,                                     // length 18
				0x01, 0x20, 0x00, 0x20, 0x01, 0x0d, 0xb8, // destination, length 32, offset 0, 2001:db8
				0x02, 0x68, 0x40, // source, length 104, offset 64
				0x12, 0x34, 0x56, 0x78, 0x9a, // bits 64 to 103
				0x03, 0x81, 0x06, // upper-layer protocol; end of list, 1 octet, ==; 6
			},
			"dst 2001:db8::/32 src ::1234:5678:9a00:0/64-104 proto tcp",
		},
		{
			"RFC 8956 section 3.8.2", IPv6,
			[]byte{
				0x0f,                                     // length 15
				0x01, 0x20, 0x00, 0x20, 0x01, 0x0d, 0xb8, // destination, length 32, offset 0, 2001:db8
				0x02, 0x68, 0x41, // source, length 104, offset 65
				0x24, 0x68, 0xac, 0xf1, 0x34, // bits 65 to 103, one bit of padding
			},
			"dst 2001:db8::/32 src ::1234:5678:9a00:0/65-104",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, n, err := DecodeNLRI(tt.family, tt.wire)
			if err != nil || n != len(tt.wire) {
				t.Fatalf("DecodeNLRI took %d octets of %d: %v", n, len(tt.wire), err)
			}
			if diff := cmp.Diff(tt.want, m.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestDecodeForeign reads octets that are right but not what AppendComponents writes.
func TestDecodeForeign(t *testing.T) {
	for _, tt := range []struct {
		name   string
		family Family
		wire   string
		want   string
	}{
		{"RFC 8955 example 1, port in one octet", IPv4, "01 18 c00002 03 81 06 04 81 19", "dst 192.0.2.0/24 proto tcp port 25"},
		{
			"RFC 8955 example 2, ports in one and two octets", IPv4, "01 18 c00002 02 18 cb0071 04 03 89 45 8b 91 1f90",
			"dst 192.0.2.0/24 src 203.0.113.0/24 port 137-139|8080",
		},
		{"bits after the end of a prefix", IPv4, "01 0d c0ff", "dst 192.248.0.0/13"},
		{"padding after an IPv6 pattern", IPv6, "02 68 41 2468acf135", "src ::1234:5678:9a00:0/65-104"},
		{"AND on the first value", IPv4, "03 c1 06", "ipv4 proto tcp"},
		{"reserved bit of a numeric operator", IPv4, "03 89 06", "ipv4 proto tcp"},
		{"reserved bits of a bitmask operator", IPv4, "0c 8d 02", "ipv4 frag is-fragment"},
		{"value in four octets", IPv4, "03 a1 00000006", "ipv4 proto tcp"},
		{"value in eight octets", IPv4, "05 b1 0000000000000050", "ipv4 dport 80"},
		{"flow label in eight octets", IPv6, "0d b1 0000000000000050", "ipv6 label 80"},
		{"TCP flags in one octet", IPv4, "09 81 12", "ipv4 tcp-flags syn+ack"},
		{"data offset among the TCP flags", IPv4, "09 91 f012", "ipv4 tcp-flags syn+ack"},
		{"DSCP with the upper two bits", IPv4, "0b 81 ee", "ipv4 dscp 46"},
		{"fragment with the upper four bits", IPv4, "0c 81 f1", "ipv4 frag dont-fragment"},
		{"don't-fragment bit in IPv6", IPv6, "0c 80 03", "ipv6 frag any:is-fragment"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := unhex(t, tt.wire)
			m, err := DecodeComponents(tt.family, b)
			if err != nil {
				t.Fatalf("DecodeComponents: %v", err)
			}
			if diff := cmp.Diff(tt.want, m.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			again, err := AppendComponents(nil, m)
			if err != nil {
				t.Fatalf("AppendComponents: %v", err)
			}
			if bytes.Equal(b, again) {
				t.Errorf("octets %x are canonical; the row tests nothing", b)
			}
		})
	}
}

// TestOffsetVector holds an offset inside of an octet against the octets that BIRD has in its tests since commit
// 072821e55e2a (they are the subject of that commit).
func TestOffsetVector(t *testing.T) {
	m, err := ParseMatch("src ::1:1234:5678:9800:0/60-104")
	if err != nil {
		t.Fatal(err)
	}
	got, err := AppendComponents(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(unhex(t, "02 68 3c 11 23 45 67 89 80"), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMappedPrefix(t *testing.T) {
	want := must(t, IPv6, Destination(netip.MustParsePrefix("::ffff:192.0.2.0/120")))
	got, err := want.Key().Match()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// matchOfSize returns a match whose components take n octets; n is at least 9, and a multiple of 3 or one more.
func matchOfSize(t *testing.T, n int) Match {
	t.Helper()
	m := Match{Family: IPv4}
	if n%3 == 1 { // ports take 1 octet and 3 for each value
		m.Components = append(m.Components, Proto(6))
		n -= 3
	} else {
		m.Components = append(m.Components, Destination(netip.MustParsePrefix("0.0.0.0/0")))
		n -= 2
	}
	c := Component{Type: DestinationPort}
	for i := range (n - 1) / 3 {
		c.Ops = append(c.Ops, Op{EQ, uint64(i)})
	}
	m.Components = append(m.Components, c)
	return m
}

func TestLengthField(t *testing.T) {
	for _, tt := range []struct {
		name string
		size int
		want []byte
	}{
		{"one octet", 9, []byte{0x09}},
		{"longest of one octet", 238, []byte{0xee}},
		{"shortest of two octets", 240, []byte{0xf0, 0xf0}},
		{"above one octet", 256, []byte{0xf1, 0x00}},
		{"longest", 4095, []byte{0xff, 0xff}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := matchOfSize(t, tt.size)
			b, err := AppendNLRI(nil, m)
			if err != nil {
				t.Fatalf("AppendNLRI: %v", err)
			}
			if len(b) != len(tt.want)+tt.size || !bytes.HasPrefix(b, tt.want) {
				t.Fatalf("%d octets beginning with %x, want %x and %d octets", len(b), b[:2], tt.want, tt.size)
			}
			got, n, err := DecodeNLRI(IPv4, b)
			if err != nil || n != len(b) {
				t.Fatalf("DecodeNLRI took %d octets of %d: %v", n, len(b), err)
			}
			if diff := cmp.Diff(m, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	t.Run("too long", func(t *testing.T) {
		dst := []byte{1, 2, 3}
		b, err := AppendNLRI(dst, matchOfSize(t, 4096))
		if !errors.Is(err, ErrTooLong) || !bytes.Equal(b, dst) {
			t.Errorf("AppendNLRI = %x, %v, want dst and %v", b, err, ErrTooLong)
		}
	})
	t.Run("two octets for a short rule", func(t *testing.T) {
		m, n, err := DecodeNLRI(IPv4, unhex(t, "f005 0118c00002 ff"))
		if err != nil || n != 7 || m.String() != "dst 192.0.2.0/24" {
			t.Errorf("DecodeNLRI = %v, %d, %v", m, n, err)
		}
	})
}

func TestDecodeMalformed(t *testing.T) {
	for _, tt := range []struct {
		name   string
		family Family
		wire   string
		want   error
	}{
		{"nothing", IPv4, "", ErrTruncated},
		{"half a length field", IPv4, "f0", ErrTruncated},
		{"shorter than its length", IPv4, "06 0118c00002", ErrTruncated},
		{"empty rule", IPv4, "00", ErrEmpty},
		{"type only", IPv4, "01 01", ErrTruncated},
		{"prefix without address", IPv4, "02 0118", ErrTruncated},
		{"prefix with half an address", IPv4, "04 0118c000", ErrTruncated},
		{"prefix longer than 32", IPv4, "07 0121c0000200 00", ErrPrefix},
		{"IPv6 prefix without offset", IPv6, "02 0120", ErrTruncated},
		{"IPv6 prefix longer than 128", IPv6, "03 018100", ErrPrefix},
		{"IPv6 prefix with half a pattern", IPv6, "05 0120002001", ErrTruncated},
		{"offset as great as the length", IPv6, "03 012020", ErrOffset},
		{"offset without length", IPv6, "03 010001", ErrOffset},
		{"no operator", IPv4, "01 03", ErrTruncated},
		{"no value", IPv4, "02 0381", ErrTruncated},
		{"half a value", IPv4, "03 049100", ErrTruncated},
		{"no end of list", IPv4, "03 030106", ErrTruncated},
		{"type 0", IPv4, "03 008106", ErrUnknownType},
		{"flow label in IPv4", IPv4, "06 0da100000001", ErrUnknownType},
		{"type 14", IPv6, "03 0e8106", ErrUnknownType},
		{"descending types", IPv4, "07 04910019 038106", ErrOrder},
		{"a type twice", IPv4, "06 038106 038111", ErrOrder},
		{"DSCP in two octets", IPv4, "04 0b91002e", ErrWidth},
		{"fragment in two octets", IPv4, "04 0c910002", ErrWidth},
		{"TCP flags in four octets", IPv4, "06 09a100000002", ErrWidth},
		{"port 70000", IPv4, "06 05a100011170", ErrValue},
		{"packet length 99971", IPv4, "06 0aa100018683", ErrValue},
		{"protocol 256", IPv4, "04 03910100", ErrValue},
		{"flow label of 21 bits", IPv6, "06 0da100100000", ErrValue},
		{"family 0", 0, "05 0118c00002", ErrFamily},
		{"family 25", 25, "05 0118c00002", ErrFamily},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, n, err := DecodeNLRI(tt.family, unhex(t, tt.wire))
			if !errors.Is(err, tt.want) {
				t.Errorf("DecodeNLRI = %v, want %v", err, tt.want)
			}
			if n != 0 || m.Components != nil {
				t.Errorf("DecodeNLRI returned %v and %d with its error", m, n)
			}
		})
	}
	if _, err := Key("").Match(); !errors.Is(err, ErrTruncated) {
		t.Errorf("empty key: %v, want %v", err, ErrTruncated)
	}
}

// TestRoundTrip takes rules of all shapes to the wire and back, and to text and back.
func TestRoundTrip(t *testing.T) {
	r := newRand(1)
	keys := map[Key]string{}
	for range 25_000 {
		rule := randomRule(r)
		m := rule.Match
		if err := rule.Validate(); err != nil {
			t.Fatalf("%v: Validate: %v", rule, err)
		}
		wire, err := AppendNLRI(nil, m)
		if err != nil {
			t.Fatalf("%v: AppendNLRI: %v", m, err)
		}
		got, n, err := DecodeNLRI(m.Family, wire)
		if err != nil || n != len(wire) || !got.Equal(m) {
			t.Fatalf("%v: DecodeNLRI of %x = %v, %d, %v", m, wire, got, n, err)
		}
		for cut := range wire { // nothing shorter is a whole rule
			if _, _, err := DecodeNLRI(m.Family, wire[:cut]); !errors.Is(err, ErrTruncated) {
				t.Fatalf("%v: DecodeNLRI of the first %d octets of %x: %v", m, cut, wire, err)
			}
		}
		fromKey, err := m.Key().Match()
		if err != nil || !fromKey.Equal(m) {
			t.Fatalf("%v: Key.Match = %v, %v", m, fromKey, err)
		}
		text := rule.String()
		parsed, err := ParseRule(text)
		if err != nil || !parsed.Equal(rule) {
			t.Fatalf("ParseRule(%q) = %v, %v; want %#v", text, parsed, err, rule)
		}
		// One key, one text, and the other way round.
		if other, ok := keys[m.Key()]; ok && other != m.String() {
			t.Fatalf("key %s is both %q and %q", m.Key(), other, m)
		}
		keys[m.Key()] = m.String()
		checkCommunity(t, rule.Actions)
	}
	texts := map[string]bool{}
	for _, text := range keys {
		texts[text] = true
	}
	if len(texts) != len(keys) {
		t.Errorf("%d keys, but %d texts", len(keys), len(texts))
	}
}

func checkCommunity(t *testing.T, actions []Action) {
	t.Helper()
	for _, a := range actions {
		b, err := AppendCommunity([]byte{1}, a)
		if err != nil {
			t.Fatalf("AppendCommunity(%v): %v", a, err)
		}
		var got Action
		var ok bool
		switch b = b[1:]; {
		case len(b) == 8 && a.Attribute() == AttrExtendedCommunities:
			got, ok, err = DecodeCommunity([8]byte(b))
		case len(b) == 20 && a.Attribute() == AttrIPv6ExtendedCommunities:
			got, ok, err = DecodeCommunity6([20]byte(b))
		}
		a.ASN &= 0xffff
		if err != nil || !ok || got != a {
			t.Fatalf("%x of attribute %d is decoded as %v, %v, %v; want %v", b, a.Attribute(), got, ok, err, a)
		}
	}
}

// TestKeyAllocates holds the hot path at one allocation, the key itself.
func TestKeyAllocates(t *testing.T) {
	m := benchMatch(t)
	if n := testing.AllocsPerRun(100, func() { _ = m.Key() }); n > 1 {
		t.Errorf("Key allocates %v times, want once", n)
	}
	buf := make([]byte, 0, 128)
	if n := testing.AllocsPerRun(100, func() { _, _ = AppendNLRI(buf, m) }); n > 0 {
		t.Errorf("AppendNLRI allocates %v times, want never", n)
	}
}

func FuzzDecodeNLRI(f *testing.F) {
	f.Fuzz(func(t *testing.T, family byte, b []byte) {
		m, n, err := DecodeNLRI(Family(family), b)
		if err != nil {
			return
		}
		if n < 1 || n > len(b) {
			t.Fatalf("took %d octets of %d", n, len(b))
		}
		if err := m.Validate(); err != nil {
			t.Fatalf("decoded a match that is not valid: %v", err)
		}
		wire, err := AppendNLRI(nil, m)
		if err != nil {
			// One octet of a foreign rule may take two of ours.
			if !errors.Is(err, ErrTooLong) {
				t.Fatalf("cannot encode what was decoded: %v", err)
			}
			return
		}
		got, _, err := DecodeNLRI(m.Family, wire)
		if err != nil || !got.Equal(m) {
			t.Fatalf("%v became %v, %v", m, got, err)
		}
		parsed, err := ParseMatch(m.String())
		if err != nil || !parsed.Equal(m) {
			t.Fatalf("%v became %v, %v", m, parsed, err)
		}
		if Compare(m, got) != 0 {
			t.Fatalf("%v is not equal to itself in order", m)
		}
	})
}

func benchMatch(t testing.TB) Match {
	t.Helper()
	return must(t, IPv4, Destination(netip.MustParsePrefix("203.0.113.0/24")), Proto(17),
		Ports(SourcePort, One(53), One(123)), Length(Range{1000, 1500}))
}

func BenchmarkKey(b *testing.B) {
	m := benchMatch(b)
	b.ReportAllocs()
	for b.Loop() {
		_ = m.Key()
	}
}

func BenchmarkAppendNLRI(b *testing.B) {
	m := benchMatch(b)
	buf := make([]byte, 0, 128)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := AppendNLRI(buf, m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeNLRI(b *testing.B) {
	wire, err := AppendNLRI(nil, benchMatch(b))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := DecodeNLRI(IPv4, wire); err != nil {
			b.Fatal(err)
		}
	}
}

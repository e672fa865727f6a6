package flowspec

import (
	"bytes"
	"errors"
	"math"
	"net/netip"
	"testing"
)

func TestCommunityGolden(t *testing.T) {
	for _, tt := range []struct {
		name   string
		action Action
		want   []byte
	}{
		{
			"discard", Discard(),
			[]byte{
				0x80, 0x06, // traffic-rate-bytes
				0x00, 0x00, // AS 0
				0x00, 0x00, 0x00, 0x00, // 0.0
			},
		},
		{
			"1 Mbps of AS 65001",
			Action{Type: TrafficRateBytes, ASN: 65001, Rate: 125000},
			[]byte{
				0x80, 0x06, // traffic-rate-bytes
				0xfd, 0xe9, // AS 65001
				0x47, 0xf4, 0x24, 0x00, // 125000 = 1.9073486328125 * 2^16
			},
		},
		{
			"AS of four octets, the two lower",
			Action{Type: TrafficRateBytes, ASN: 0x12345678, Rate: 1},
			[]byte{
				0x80, 0x06, // traffic-rate-bytes
				0x56, 0x78, // lower half of the AS
				0x3f, 0x80, 0x00, 0x00, // 1.0
			},
		},
		{
			"negative zero is zero",
			Action{Type: TrafficRateBytes, Rate: float32(math.Copysign(0, -1))},
			[]byte{
				0x80, 0x06, // traffic-rate-bytes
				0x00, 0x00, // AS 0
				0x00, 0x00, 0x00, 0x00, // 0.0
			},
		},
		{
			"1000 packets per second of AS 65001",
			Action{Type: TrafficRatePackets, ASN: 65001, Rate: 1000},
			[]byte{
				0x80, 0x0c, // traffic-rate-packets
				0xfd, 0xe9, // AS 65001
				0x44, 0x7a, 0x00, 0x00, // 1000 = 1.953125 * 2^9
			},
		},
		{
			"no packets", RatePackets(0),
			[]byte{
				0x80, 0x0c, // traffic-rate-packets
				0x00, 0x00, // AS 0
				0x00, 0x00, 0x00, 0x00, // 0.0
			},
		},
		{
			"continue", Continue(),
			[]byte{
				0x80, 0x07, // traffic-action
				0x00, 0x00, 0x00, 0x00, 0x00, // bits 0 to 39, reserved
				0x01, // bit 47, T: later rules are evaluated too
			},
		},
		{
			"sample", Sample(),
			[]byte{
				0x80, 0x07, // traffic-action
				0x00, 0x00, 0x00, 0x00, 0x00, // bits 0 to 39, reserved
				0x02, // bit 46, S
			},
		},
		{
			"sample and continue", SampleAndContinue(),
			[]byte{
				0x80, 0x07, // traffic-action
				0x00, 0x00, 0x00, 0x00, 0x00, // bits 0 to 39, reserved
				0x03, // bits 46 and 47, S and T
			},
		},
		{
			"stop",
			Action{Type: TrafficAction},
			[]byte{
				0x80, 0x07, // traffic-action
				0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // T clear: evaluation stops here
			},
		},
		{
			"redirect, two-octet AS", Redirect(RouteTargetAS(65001, 0x12345678)),
			[]byte{
				0x80, 0x08, // rt-redirect AS-2octet
				0xfd, 0xe9, // AS 65001
				0x12, 0x34, 0x56, 0x78, // local
			},
		},
		{
			"redirect, IPv4 address", Redirect(RouteTargetAddress(netip.MustParseAddr("192.0.2.1"), 666)),
			[]byte{
				0x81, 0x08, // rt-redirect IPv4
				0xc0, 0x00, 0x02, 0x01, // 192.0.2.1
				0x02, 0x9a, // local 666
			},
		},
		{
			"redirect, four-octet AS", Redirect(RouteTargetAS(4200000001, 666)),
			[]byte{
				0x82, 0x08, // rt-redirect AS-4octet
				0xfa, 0x56, 0xea, 0x01, // AS 4200000001
				0x02, 0x9a, // local 666
			},
		},
		{
			"redirect, small AS in four octets", Redirect(RouteTarget{Form: RTFormAS4, ASN: 65001, Local: 666}),
			[]byte{
				0x82, 0x08, // rt-redirect AS-4octet
				0x00, 0x00, 0xfd, 0xe9, // AS 65001
				0x02, 0x9a, // local 666
			},
		},
		{
			"redirect, IPv6 address", Redirect(RouteTargetAddress(netip.MustParseAddr("2001:db8::1"), 666)),
			[]byte{
				0x00, 0x0d, // rt-redirect-ipv6, transitive, in attribute 25
				0x20, 0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00, // 2001:db8:0:0
				0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, // 0:0:0:1
				0x02, 0x9a, // local 666
			},
		},
		{
			"mark", Mark(46),
			[]byte{
				0x80, 0x09, // traffic-marking
				0x00, 0x00, 0x00, 0x00, 0x00, // reserved
				0x2e, // DSCP 46 in the six lower bits
			},
		},
		{
			"redirect to IPv4", RedirectIP(netip.MustParseAddr("203.0.113.10"), false),
			[]byte{
				0x01, 0x0c, // IPv4 address specific, flow-spec redirect to IPv4
				0xcb, 0x00, 0x71, 0x0a, // 203.0.113.10
				0x00, 0x00, // 15 bits reserved, C clear: the packets themselves
			},
		},
		{
			"copy to IPv4", RedirectIP(netip.MustParseAddr("203.0.113.10"), true),
			[]byte{
				0x01, 0x0c, // IPv4 address specific, flow-spec redirect to IPv4
				0xcb, 0x00, 0x71, 0x0a, // 203.0.113.10
				0x00, 0x01, // 15 bits reserved, C set: copies
			},
		},
		{
			"copy to IPv6", RedirectIP(netip.MustParseAddr("2001:db8::1"), true),
			[]byte{
				0x00, 0x0c, // IPv6 address specific, flow-spec redirect to IPv6, in attribute 25
				0x20, 0x01, 0x0d, 0xb8, 0x00, 0x00, 0x00, 0x00, // 2001:db8:0:0
				0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, // 0:0:0:1
				0x00, 0x01, // 15 bits reserved, C set: copies
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := AppendCommunity(nil, tt.action)
			if err != nil || !bytes.Equal(got, tt.want) {
				t.Errorf("AppendCommunity = %x, %v, want %x", got, err, tt.want)
			}
			checkCommunity(t, []Action{tt.action})
		})
	}
}

func TestAppendCommunityRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		action Action
		want   error
	}{
		{"no type", Action{Rate: 1000}, ErrAction},
		{"unknown type", Action{Type: 7}, ErrAction},
		{"negative packets", RatePackets(-1), ErrRate},
		{"packets between 0 and 1", RatePackets(0.999), ErrRate},
		{"packets above a float32", RatePackets(1e39), ErrRate},
		{"DSCP 64", Mark(64), ErrValue},
		{"no target", Redirect(RouteTarget{}), ErrValue},
		{"AS of four octets in the short form", Redirect(RouteTarget{Form: RTFormAS2, ASN: 1 << 16}), ErrValue},
		{"local of four octets in the long form", Redirect(RouteTargetAS(1<<16, 1<<16)), ErrValue},
		{"local of four octets and an address", Redirect(RouteTarget{Form: RTFormIPv4, Address: netip.MustParseAddr("192.0.2.1"), Local: 1 << 16}), ErrValue},
		{"address in the form of an AS", Redirect(RouteTarget{Form: RTFormAS2, Address: netip.MustParseAddr("192.0.2.1")}), ErrValue},
		{"AS in the form of an address", Redirect(RouteTarget{Form: RTFormIPv4, Address: netip.MustParseAddr("192.0.2.1"), ASN: 1}), ErrValue},
		{"IPv6 address in the form of IPv4", Redirect(RouteTarget{Form: RTFormIPv4, Address: netip.MustParseAddr("::1")}), ErrValue},
		{"IPv4 address in the form of IPv6", Redirect(RouteTarget{Form: RTFormIPv6, Address: netip.MustParseAddr("192.0.2.1")}), ErrValue},
		{"no address in the form of one", Redirect(RouteTarget{Form: RTFormIPv6}), ErrValue},
		{"zone in a target", Redirect(RouteTarget{Form: RTFormIPv6, Address: netip.MustParseAddr("fe80::1%a")}), ErrValue},
		{"nowhere", RedirectIP(netip.Addr{}, false), ErrValue},
		{"to the unspecified address", RedirectIP(netip.IPv6Unspecified(), false), ErrValue},
		{"to all hosts", RedirectIP(netip.MustParseAddr("255.255.255.255"), false), ErrValue},
		{"to a link-local address", RedirectIP(netip.MustParseAddr("fe80::1"), false), ErrValue},
		{"rate with a DSCP", Action{Type: TrafficRateBytes, DSCP: 1}, ErrAction},
		{"mark with a rate", Action{Type: TrafficMarking, Rate: 1}, ErrAction},
		{"mark with an AS", Action{Type: TrafficMarking, ASN: 1}, ErrAction},
		{"redirect with continue", Action{Type: RTRedirect, Target: RouteTargetAS(1, 1), Continue: true}, ErrAction},
		{"redirect with sample", Action{Type: RTRedirect, Target: RouteTargetAS(1, 1), Sample: true}, ErrAction},
		{"continue with a copy", Action{Type: TrafficAction, Continue: true, Copy: true}, ErrAction},
		{"continue with a target", Action{Type: TrafficAction, Target: RouteTargetAS(1, 1)}, ErrAction},
		{"packets with an address", Action{Type: TrafficRatePackets, Address: netip.MustParseAddr("192.0.2.1")}, ErrAction},
		{"negative", RateLimit(-1), ErrRate},
		{"not a number", RateLimit(BytesPerSecond(math.NaN())), ErrRate},
		{"infinite", RateLimit(BytesPerSecond(math.Inf(1))), ErrRate},
		{"above a float32", RateLimit(1e39), ErrRate},
		{"between 0 and 1", RateLimit(0.999), ErrRate},
		{"smallest float", Action{Type: TrafficRateBytes, Rate: math.SmallestNonzeroFloat32}, ErrRate},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dst := []byte{1}
			got, err := AppendCommunity(dst, tt.action)
			if !errors.Is(err, tt.want) || !bytes.Equal(got, dst) {
				t.Errorf("AppendCommunity = %x, %v, want dst and %v", got, err, tt.want)
			}
		})
	}
}

func TestDecodeCommunity(t *testing.T) {
	for _, tt := range []struct {
		name string
		wire [8]byte
		want Action
		ok   bool
		err  error
	}{
		{"rate", [8]byte{0x80, 6, 0xfd, 0xe9, 0x47, 0xf4, 0x24, 0}, Action{Type: TrafficRateBytes, ASN: 65001, Rate: 125000}, true, nil},
		{"negative is 0", [8]byte{0x80, 6, 0, 0, 0xc7, 0xf4, 0x24, 0}, Discard(), true, nil},
		{"minus infinity is negative, so 0", [8]byte{0x80, 6, 0, 0, 0xff, 0x80, 0, 0}, Discard(), true, nil},
		{"minus infinity of packets is 0", [8]byte{0x80, 12, 0, 0, 0xff, 0x80, 0, 0}, RatePackets(0), true, nil},
		{"negative and no number", [8]byte{0x80, 6, 0, 0, 0xff, 0xc0, 0, 0}, Action{}, true, ErrRate},
		{"infinity", [8]byte{0x80, 6, 0, 0, 0x7f, 0x80, 0, 0}, Action{}, true, ErrRate},
		{"not a number", [8]byte{0x80, 6, 0, 0, 0x7f, 0xc0, 0, 0}, Action{}, true, ErrRate},
		{"between 0 and 1 is kept", [8]byte{0x80, 6, 0, 0, 0x3f, 0, 0, 0}, Action{Type: TrafficRateBytes, Rate: 0.5}, true, nil},
		{"route target", [8]byte{0, 2, 0xfd, 0xe9, 0, 0, 0, 1}, Action{}, false, nil},
		{"negative packets are 0", [8]byte{0x80, 12, 0, 0, 0xc7, 0xf4, 0x24, 0}, RatePackets(0), true, nil},
		{"infinite packets", [8]byte{0x80, 12, 0, 0, 0x7f, 0x80, 0, 0}, Action{}, true, ErrRate},
		{"T alone is continue", [8]byte{0x80, 7, 0, 0, 0, 0, 0, 1}, Action{Type: TrafficAction, Continue: true}, true, nil},
		{"S alone is sample and stop", [8]byte{0x80, 7, 0, 0, 0, 0, 0, 2}, Action{Type: TrafficAction, Sample: true}, true, nil},
		{"reserved bits of a traffic-action", [8]byte{0x80, 7, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfc}, Action{Type: TrafficAction}, true, nil},
		{"reserved bits of a mark", [8]byte{0x80, 9, 0xff, 0xff, 0xff, 0xff, 0xff, 0xee}, Mark(46), true, nil},
		{"reserved bits of a redirect to IP", [8]byte{1, 12, 192, 0, 2, 1, 0xff, 0xfe}, RedirectIP(netip.MustParseAddr("192.0.2.1"), false), true, nil},
		{"redirect to no address is kept", [8]byte{1, 12, 0, 0, 0, 0, 0, 1}, RedirectIP(netip.IPv4Unspecified(), true), true, nil},
		{"redirect to IP of draft-simpson", [8]byte{8, 0, 0, 0, 0, 0, 0, 0}, Action{}, false, nil},
		{"redirect that is not transitive", [8]byte{0xc0, 8, 0xfd, 0xe9, 0, 0, 0, 1}, Action{}, false, nil},
		{"redirect of an unknown form", [8]byte{0x83, 8, 0xfd, 0xe9, 0, 0, 0, 1}, Action{}, false, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok, err := DecodeCommunity(tt.wire)
			if got != tt.want || ok != tt.ok || !errors.Is(err, tt.err) {
				t.Errorf("DecodeCommunity = %v, %v, %v, want %v, %v, %v", got, ok, err, tt.want, tt.ok, tt.err)
			}
		})
	}
}

func TestDecodeCommunity6(t *testing.T) {
	address := netip.MustParseAddr("2001:db8::1")
	wire := func(a, b byte, last ...byte) [20]byte {
		return [20]byte(append(append([]byte{a, b}, address.AsSlice()...), last...))
	}
	for _, tt := range []struct {
		name string
		wire [20]byte
		want Action
		ok   bool
	}{
		{"redirect", wire(0, 13, 2, 0x9a), Redirect(RouteTargetAddress(address, 666)), true},
		{"redirect to IP", wire(0, 12, 0, 0), RedirectIP(address, false), true},
		{"reserved bits", wire(0, 12, 0xff, 0xff), RedirectIP(address, true), true},
		{"route target", wire(0, 2, 2, 0x9a), Action{}, false},
		{"redirect to IP as GoBGP has it", wire(0x80, 11, 0, 0), Action{}, false},
		{"not transitive", wire(0x40, 13, 0, 0), Action{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok, err := DecodeCommunity6(tt.wire)
			if got != tt.want || ok != tt.ok || err != nil {
				t.Errorf("DecodeCommunity6 = %v, %v, %v, want %v, %v", got, ok, err, tt.want, tt.ok)
			}
		})
	}
}

// meaning clears what RFC 8955 section 7 says to ignore, and what two communities of one meaning may differ in.
func meaning(b [8]byte) [8]byte {
	switch kind := uint16(b[0])<<8 | uint16(b[1]); {
	case kind == communityTrafficAction:
		return [8]byte{b[0], b[1], 7: b[7] & 3}
	case kind == communityTrafficMarking:
		return [8]byte{b[0], b[1], 7: b[7] & 0x3f}
	case kind == communityRedirectToIPv4:
		b[6], b[7] = 0, b[7]&1
	case b[4]&0x80 != 0 && (kind == communityTrafficRateBytes || kind == communityTrafficRatePackets):
		return [8]byte{b[0], b[1], b[2], b[3]} // a negative rate is 0
	}
	return b
}

func FuzzDecodeCommunity(f *testing.F) {
	f.Fuzz(func(t *testing.T, v []byte) {
		if len(v) != 8 {
			return
		}
		b := [8]byte(v)
		a, ok, err := DecodeCommunity(b)
		if !ok || err != nil {
			if a != (Action{}) {
				t.Fatalf("%x: %v, %v, %v", b, a, ok, err)
			}
			return
		}
		checkDecoded(t, a, AttrExtendedCommunities)
		again, err := AppendCommunity(nil, a)
		if err != nil {
			if (a.Rate <= 0 || a.Rate >= 1) && a.Type != RedirectToIP {
				t.Fatalf("%x became %v, which cannot be sent: %v", b, a, err)
			}
			return
		}
		if want := meaning(b); !bytes.Equal(again, want[:]) {
			t.Fatalf("%x became %x, want %x", b, again, want)
		}
	})
}

func FuzzDecodeCommunity6(f *testing.F) {
	f.Fuzz(func(t *testing.T, v []byte) {
		if len(v) != 20 {
			return
		}
		b := [20]byte(v)
		a, ok, err := DecodeCommunity6(b)
		if err != nil || !ok && a != (Action{}) {
			t.Fatalf("%x: %v, %v, %v", b, a, ok, err)
		}
		if !ok {
			return
		}
		checkDecoded(t, a, AttrIPv6ExtendedCommunities)
		again, err := AppendCommunity(nil, a)
		if err != nil {
			if a.Type != RedirectToIP {
				t.Fatalf("%x became %v, which cannot be sent: %v", b, a, err)
			}
			return
		}
		if a.Type == RedirectToIP {
			b[18], b[19] = 0, b[19]&1
		}
		if !bytes.Equal(again, b[:]) {
			t.Fatalf("%x became %x", b, again)
		}
	})
}

// checkDecoded holds what is true of every decoded action: it has the attribute it came from, and a text that is read
// as the same action if it may be sent.
func checkDecoded(t *testing.T, a Action, attribute uint8) {
	t.Helper()
	if a.Rate < 0 || a.Attribute() != attribute {
		t.Fatalf("%#v: a negative rate, or not of attribute %d", a, attribute)
	}
	text := "ipv6 proto udp => " + a.String()
	if a.Type == RedirectToIP && a.Address.Is4() {
		text = "ipv4 proto udp => " + a.String()
	}
	r, err := ParseRule(text)
	if valid := a.Validate(); (err == nil) != (valid == nil) {
		t.Fatalf("%q: Validate says %v, ParseRule %v", text, valid, err)
	}
	if err == nil && (len(r.Actions) != 1 || r.Actions[0] != a) {
		t.Fatalf("%q is read as %v", text, r)
	}
}

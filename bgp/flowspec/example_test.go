package flowspec_test

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

func ExampleNewMatch() {
	m, err := flowspec.NewMatch(flowspec.IPv4,
		flowspec.Ports(flowspec.SourcePort, flowspec.One(123), flowspec.One(53)),
		flowspec.Proto(17),
		flowspec.Destination(netip.MustParsePrefix("203.0.113.0/24")),
		flowspec.Length(flowspec.Range{Lo: 1000, Hi: 1500}),
	)
	fmt.Println(m, err)
	fmt.Println(m.Key())
	// Output:
	// dst 203.0.113.0/24 proto udp sport 53|123 len 1000-1500 <nil>
	// 010118cb00710381110611003591007b0a1303e8d505dc
}

func ExampleNewMatch_refused() {
	_, err := flowspec.NewMatch(flowspec.IPv4, flowspec.Destination(netip.MustParsePrefix("203.0.113.7/24")))
	fmt.Println(err)
	// Output:
	// cannot use match: destination 203.0.113.7/24 has host bits; write 203.0.113.0/24
}

func ExampleParseRule() {
	r, err := flowspec.ParseRule("proto udp sport 53 dst 203.0.113.0/24 => rate 10 Mbps")
	fmt.Println(r, err)
	_, err = flowspec.ParseRule("dst 203.0.113.0/24 dport 70000 => discard")
	fmt.Println(err)
	// Output:
	// dst 203.0.113.0/24 proto udp sport 53 => rate 10Mbps <nil>
	// cannot parse rule: column 26: "70000": destination port is above 65535
}

func ExampleParseRule_actions() {
	for _, text := range []string{
		"dst 203.0.113.0/24 proto udp => mark 8, rate 5 kpps",
		"dst 203.0.113.0/24 proto tcp tcp-flags syn&!ack => sample continue",
		"dst 203.0.113.0/24 => redirect 65001:666",
		"dst 2001:db8::/32 => redirect-ip 2001:db8:ffff::1 copy",
		"dst 203.0.113.0/24 => discard, mark 8",
	} {
		r, err := flowspec.ParseRule(text)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(r)
	}
	// Output:
	// dst 203.0.113.0/24 proto udp => rate 5kpps, mark 8
	// dst 203.0.113.0/24 proto tcp tcp-flags syn&!ack => sample continue
	// dst 203.0.113.0/24 => redirect 65001:666
	// dst 2001:db8::/32 => redirect-ip 2001:db8:ffff::1 copy
	// cannot parse rule: column 32: "discard" with "mark 8": nothing is left to do that to; leave one
}

func ExampleNewRule() {
	m, err := flowspec.ParseMatch("dst 203.0.113.0/24 proto udp")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(flowspec.NewRule(m, flowspec.Mark(8), flowspec.RateLimit(125_000)))
	_, err = flowspec.NewRule(m, flowspec.RateLimit(125_000), flowspec.RatePackets(5000))
	fmt.Println(err)
	// Output:
	// dst 203.0.113.0/24 proto udp => rate 1Mbps, mark 8 <nil>
	// cannot use rule: "rate 1Mbps" and "rate 5kpps" in one rule: each router takes one as it likes; leave one
}

func ExampleAppendCommunity() {
	for _, a := range []flowspec.Action{
		flowspec.Continue(),
		flowspec.Redirect(flowspec.RouteTargetAS(65001, 666)),
		flowspec.RedirectIP(netip.MustParseAddr("2001:db8::1"), true),
	} {
		b, err := flowspec.AppendCommunity(nil, a)
		fmt.Printf("%s: attribute %d: %x %v\n", a, a.Attribute(), b, err)
	}
	// Output:
	// continue: attribute 16: 8007000000000001 <nil>
	// redirect 65001:666: attribute 16: 8008fde90000029a <nil>
	// redirect-ip 2001:db8::1 copy: attribute 25: 000c20010db80000000000000000000000010001 <nil>
}

func ExampleDecodeUpdate() {
	u, err := flowspec.DecodeUpdate([]byte{
		0x80, 0x0e, 0x0b, 0, 1, 133, 0, 0, 5, 1, 24, 203, 0, 113, // MP_REACH_NLRI: dst 203.0.113.0/24
		0xc0, 0x10, 0x08, 0x80, 0x06, 0, 0, 0x7f, 0xc0, 0, 0, // traffic-rate-bytes of a rate that is no number
	})
	fmt.Println(u.Announced, u.Withdrawn)
	fmt.Println(err)
	// Output:
	// [] [dst 203.0.113.0/24]
	// cannot use attribute 16: cannot decode traffic-rate-bytes NaN: not finite: treat-as-withdraw
}

func ExampleCompare() {
	var matches []flowspec.Match
	for _, text := range []string{
		"dst 203.0.113.0/24",
		"dst 203.0.113.0/24 proto udp",
		"dst 203.0.113.128/25",
		"dst 198.51.100.0/24",
	} {
		m, err := flowspec.ParseMatch(text)
		if err != nil {
			fmt.Println(err)
			return
		}
		matches = append(matches, m)
	}
	slices.SortFunc(matches, flowspec.Compare)
	for _, m := range matches {
		fmt.Println(m)
	}
	// Output:
	// dst 198.51.100.0/24
	// dst 203.0.113.128/25
	// dst 203.0.113.0/24 proto udp
	// dst 203.0.113.0/24
}

func ExampleAppendNLRI() {
	r, err := flowspec.ParseRule("dst 203.0.113.0/24 proto udp => discard")
	if err != nil {
		fmt.Println(err)
		return
	}
	nlri, err := flowspec.AppendNLRI(nil, r.Match)
	fmt.Printf("%x %v\n", nlri, err)
	community, err := flowspec.AppendCommunity(nil, r.Actions[0])
	fmt.Printf("%x %v\n", community, err)
	// Output:
	// 080118cb0071038111 <nil>
	// 8006000000000000 <nil>
}

func ExampleMatch_Matches() {
	m, err := flowspec.ParseMatch("dst 203.0.113.0/24 proto udp sport 53")
	if err != nil {
		fmt.Println(err)
		return
	}
	p := flowspec.Packet{
		Src: netip.MustParseAddr("198.51.100.9"), Dst: netip.MustParseAddr("203.0.113.7"),
		Protocol: 17, HasPorts: true, SrcPort: 53, DstPort: 4096, Length: 1400,
	}
	fmt.Println(m.Matches(&p))
	p.Fragment = flowspec.FragmentBits(false, true, 185) // a later fragment has no ports
	fmt.Println(m.Matches(&p))
	// Output:
	// true
	// false
}

func ExampleCheckSafe() {
	m, err := flowspec.ParseMatch("dst 203.0.113.0/24 proto tcp dport !=80")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(flowspec.CheckSafe(m))
	// Output:
	// cannot announce destination port != 80: the operator resets sessions of common routers; use ranges
}

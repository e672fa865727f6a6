package flowspec_test

import (
	"fmt"
	"net/netip"

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

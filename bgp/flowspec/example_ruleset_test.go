package flowspec_test

import (
	"fmt"
	"net/netip"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

func ExampleRuleSet_Evaluate() {
	var rules []flowspec.Rule
	for _, text := range []string{
		"dst 203.0.113.0/24 proto udp => rate 10Mbps",
		"dst 203.0.113.7/32 proto udp sport 53 => discard",
	} {
		r, err := flowspec.ParseRule(text)
		if err != nil {
			fmt.Println(err)
			return
		}
		rules = append(rules, r)
	}
	set, err := flowspec.NewRuleSet(rules)
	if err != nil {
		fmt.Println(err)
		return
	}
	p := flowspec.Packet{
		Src: netip.MustParseAddr("198.51.100.9"), Dst: netip.MustParseAddr("203.0.113.7"),
		Protocol: 17, HasPorts: true, SrcPort: 53, DstPort: 4096, Length: 1400,
	}
	for _, source := range []uint16{53, 123} {
		p.SrcPort = source
		o := set.Evaluate(&p)
		fmt.Println(o.Discarded, set.Rule(o.Rules[0]))
	}
	p.Protocol = 6
	fmt.Println(set.Evaluate(&p).Rules)
	// Output:
	// true dst 203.0.113.7/32 proto udp sport 53 => discard
	// false dst 203.0.113.0/24 proto udp => rate 10Mbps
	// []
}

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

func ExampleRuleSet_Adding() {
	limit, err := flowspec.ParseRule("dst 203.0.113.0/24 proto udp => rate 10Mbps")
	if err != nil {
		fmt.Println(err)
		return
	}
	set, err := flowspec.NewRuleSet([]flowspec.Rule{limit})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, text := range []string{"dst 203.0.113.7/32 => accept", "dst 203.0.0.0/16 => discard", "dst 203.0.113.0/24 proto udp len >=0 => discard"} {
		r, err := flowspec.ParseRule(text)
		if err != nil {
			fmt.Println(err)
			return
		}
		c := set.Adding(r)
		fmt.Println(text, "takes packets from:", c.Loses, "never reached:", c.Shadows, "shadowed by:", c.ShadowedBy)
	}
	// Output:
	// dst 203.0.113.7/32 => accept takes packets from: [0] never reached: [] shadowed by: -1
	// dst 203.0.0.0/16 => discard takes packets from: [] never reached: [] shadowed by: -1
	// dst 203.0.113.0/24 proto udp len >=0 => discard takes packets from: [0] never reached: [0] shadowed by: -1
}

func ExampleMatch_Simplify() {
	m, err := flowspec.ParseMatch("dst 203.0.113.0/24 proto tcp|udp dport 80|443|81-90|91-99")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(m.Simplify())
	// Output:
	// dst 203.0.113.0/24 dport 80-99|443 <nil>
}

func ExampleMatch_SafeSplit() {
	m, err := flowspec.ParseMatch("dst 203.0.113.0/24 proto udp sport 17|19|53|123|161|389|1900 len !=100")
	if err != nil {
		fmt.Println(err)
		return
	}
	split, err := m.SafeSplit()
	for _, s := range split {
		fmt.Println(s)
	}
	fmt.Println(err)
	// Output:
	// dst 203.0.113.0/24 proto udp sport 17|19|53|123|161 len <=99|>=101
	// dst 203.0.113.0/24 proto udp sport 389|1900 len <=99|>=101
	// <nil>
}

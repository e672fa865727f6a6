package profile_test

import (
	"fmt"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/profile"
)

func ExampleProfile_Price() {
	p, _ := profile.Lookup("iosxr-ncs5500")
	r, err := flowspec.ParseRule("dst 203.0.113.0/24 proto udp sport 53|123 len >=257 => discard")
	if err != nil {
		fmt.Println(err)
		return
	}
	price := p.Price(r)
	fmt.Println(price.Entries, price.Unit)
	for _, part := range price.Parts {
		fmt.Printf("%s: %d, %s (%s)\n", part.Component, part.Factor, part.Why, part.Basis)
	}
	// Output:
	// 30 TCAM entries
	// destination: 1, an address prefix is one entry (published)
	// protocol: 1, the values are 1 prefix of 8 bits (published)
	// source port: 2, the values are 2 prefixes of 16 bits (published)
	// packet length: 15, the values are 15 prefixes of 16 bits (published)
}

func ExampleProfile_Suggest() {
	p, _ := profile.Lookup("iosxr-ncs5500")
	r, err := flowspec.ParseRule("dst 203.0.113.0/24 proto udp sport 123 len >=257 => discard")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, s := range p.Suggest(r) {
		fmt.Printf("%s: %s\n", s.Effect, s.Text)
	}
	// Output:
	// more packets: len >=256 costs 8 TCAM entries instead of 15; it also acts on packets of length 256
	// fewer packets: len >=288 costs 10 TCAM entries instead of 15; it leaves alone packets of length 257 to 287
}

func ExampleProfile_Check() {
	p, _ := profile.Lookup("junos-mx")
	r, err := flowspec.ParseRule("dst 203.0.113.0/24 port 53 dport 1024-65535 => discard")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, f := range p.Check(r) {
		fmt.Println(f.Code, f.Source.Title)
		fmt.Println(f)
	}
	// Output:
	// combination Juniper Networks, Understanding Flow Routes, Table 1: Flow Route Match Conditions
	// "port 53" and "dport 1024-65535": junos-mx does not take both in one rule; split it into rules for the source port and for the destination port
}

func ExampleProfile_Split() {
	p, _ := profile.Lookup("iosxr-asr9k")
	r, err := flowspec.ParseRule("dst 203.0.113.0/24 proto udp port 53 => rate 10Mbps")
	if err != nil {
		fmt.Println(err)
		return
	}
	pieces, err := p.Split(r)
	fmt.Println(len(pieces), profile.Policers(pieces), err) // two policers: whoever wants 10Mbps in all halves the rate
	for _, piece := range pieces {
		fmt.Println(piece)
	}
	// Output:
	// 2 2 <nil>
	// dst 203.0.113.0/24 proto udp dport 53 => rate 10Mbps
	// dst 203.0.113.0/24 proto udp sport 53 => rate 10Mbps
}

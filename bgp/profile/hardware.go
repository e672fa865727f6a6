package profile

import (
	"fmt"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

func published(s Source) Support { return Support{OK: true, Basis: Published, Source: s} }

func assumed(s Source) Support { return Support{OK: true, Basis: Assumed, Source: s} }

// lacking is a statement that the router does not do a thing.
func lacking(basis Basis, s Source, instead string) Support {
	return Support{Instead: instead, Basis: basis, Source: s}
}

// knownTCPFlags are the flags of octet 13 of the TCP header (RFC 9293 section 3.1).
const knownTCPFlags = 0xff

// components makes a row for each of the types.
func components(f flowspec.Family, s Support, types ...flowspec.ComponentType) []ComponentSupport {
	var out []ComponentSupport
	for _, t := range types {
		out = append(out, ComponentSupport{Family: f, Type: t, Support: s})
	}
	return out
}

// abilitiesOf makes a row for each of the abilities.
func abilitiesOf(s Support, list ...Ability) []ActionSupport {
	var out []ActionSupport
	for _, a := range list {
		out = append(out, ActionSupport{Ability: a, Support: s})
	}
	return out
}

// generic is what the hardware profiles have in common, at the price of the dearest: TestGenericIsTheLeast.
func generic() *Profile {
	least := Source{Title: "what junos-mx, iosxr-ncs5500 and iosxr-asr9k all support"}
	p := &Profile{
		Name: nameGeneric, Title: "a router of which nothing is known", Enforces: InHardware, model: modelTernary,
		RTBH: assumed(rfc5635()),
		Quirks: []Quirk{
			{"Supports what all hardware profiles support, and prices like the dearest of them.", least},
			{"Budgets are not known: max_prefix has to be stated, and the table's size if entries shall be counted.", noStatement()},
		},
	}
	for _, f := range [...]flowspec.Family{flowspec.IPv4, flowspec.IPv6} {
		p.Components = append(p.Components, xrComponents(f, assumed(least), least)...)
	}
	for i := range p.Components {
		if c := &p.Components[i]; !c.OK {
			c.Support = lacking(Assumed, least, "may not match by it: not all hardware profiles do")
		}
	}
	p.Actions = append(abilitiesOf(assumed(least), Discards, PolicesBytes, RedirectsAS2),
		ActionSupport{Ability: Marks, Support: assumed(least), NotIPv6: lacking(Assumed, least, "may not do it in IPv6: not all hardware profiles do")})
	p.Actions = append(p.Actions, abilitiesOf(lacking(Assumed, least, "may not do it: not all hardware profiles do"),
		PolicesPackets, Continues, Samples, RedirectsIPv4RT, RedirectsAS4, RedirectsIPv6RT, RedirectsToIPv4, RedirectsToIPv6, CopiesToIP)...)
	return p
}

// xrComponents is the list of the ASR 9000 guide, which names IPv4; the NCS 5500 article says that the implementation is
// the same for the most part.
func xrComponents(f flowspec.Family, s Support, src Source) []ComponentSupport {
	rows := components(f, s, flowspec.DestinationPrefix, flowspec.SourcePrefix, flowspec.IPProtocol)
	rows = append(rows, ComponentSupport{Family: f, Type: flowspec.Port, Support: lacking(s.Basis, src,
		"is documented with two commands for it, match source-port and match destination-port, which together mean both ports and not either")})
	rows = append(rows, components(f, s, flowspec.DestinationPort, flowspec.SourcePort)...)
	rows = append(
		rows,
		ComponentSupport{Family: f, Type: flowspec.ICMPType, Support: s, OneValue: true},
		ComponentSupport{Family: f, Type: flowspec.ICMPCode, Support: s, OneValue: true},
		ComponentSupport{Family: f, Type: flowspec.TCPFlags, Support: s, OneMask: true, Bits: knownTCPFlags},
	)
	if f == flowspec.IPv6 {
		rows = append(
			rows,
			ComponentSupport{Family: f, Type: flowspec.PacketLength, Support: lacking(Published, cisco8000Length(),
				"is not documented to match the length of IPv6 packets; Cisco 8000 routers need a hardware profile and a reload for it")},
			ComponentSupport{Family: f, Type: flowspec.DSCP, Support: lacking(Assumed, asr9kGuide("Supported Matching Criteria and Actions, which lists IPv4 DSCP"),
				"is documented to match the DSCP of IPv4; in IPv6 it may match the whole traffic class")},
			ComponentSupport{Family: f, Type: flowspec.Fragment, Support: lacking(Assumed, noStatement(), "is not documented to match fragments of IPv6")},
			ComponentSupport{Family: f, Type: flowspec.FlowLabel, Support: lacking(Assumed, noStatement(), "is not documented to match the flow label")},
		)
		return rows
	}
	rows = append(rows, components(f, s, flowspec.PacketLength, flowspec.DSCP)...)
	return append(rows, ComponentSupport{Family: f, Type: flowspec.Fragment, Support: s, OneMask: true, Bits: flowspec.IsFragment, NoNot: true})
}

func xrActions(s Support) []ActionSupport {
	guide := asr9kGuide("Traffic Filtering Actions")
	out := abilitiesOf(s, Discards, PolicesBytes)
	out = append(out, abilitiesOf(lacking(Published, guide, "does not list it among its actions"), PolicesPackets, Continues, Samples)...)
	out = append(out, ActionSupport{Ability: RedirectsAS2, Support: s, Encoding: "0x8008"})
	out = append(out, abilitiesOf(lacking(Published, guide, "lists the form 0x8008 only"), RedirectsIPv4RT, RedirectsAS4, RedirectsIPv6RT)...)
	out = append(out, ActionSupport{Ability: Marks, Support: s, NotIPv6: lacking(Assumed, asr9kGuide("Traffic Filtering Actions, which lists set dscp"),
		"is documented to set the DSCP of IPv4; in IPv6 it may set the whole traffic class, ECN included")})
	old := lacking(Published, guide, "wants the address as the next hop of the route, with the community 0x0800, which tidegate cannot send")
	return append(
		out,
		ActionSupport{Ability: RedirectsToIPv4, Support: old, Encoding: "0x0800, draft-simpson-idr-flowspec-redirect"},
		ActionSupport{Ability: RedirectsToIPv6, Support: lacking(Published, guide, "documents it for IPv4 only")},
		ActionSupport{Ability: CopiesToIP, Support: old, Encoding: "0x0800, draft-simpson-idr-flowspec-redirect"},
	)
}

func xrQuirks() []Quirk {
	return []Quirk{
		{
			"Above maximum-prefix the session is closed and stays down until an operator clears it: all rules are gone. discard-extra-paths or warning-only avoid that.",
			ncs5500Tests("Session limit configuration"),
		},
		{"traffic-action is not listed: a rule that shall let later rules act, or sample, does not.", asr9kGuide("Traffic Filtering Actions")},
		{"ICMP type and code take a single value, TCP flags one value under one mask without the reserved and NS bits, fragment is-fragment only.", asr9kGuide("Supported Matching Criteria and Actions")},
		{"Redirect to an address works in the default VRF only.", asr9kGuide("Supported Matching Criteria and Actions")},
	}
}

func iosxrNCS5500() *Profile {
	scale := ncs5500Tests("Scale Tests, 3000 rules")
	same := ncs5500Tests("Specific NCS5500 implementation")
	basis := Support{OK: true, Basis: Published, Source: asr9kGuide("Supported Matching Criteria and Actions; NCS 5500 is for the most part the same")}
	p := &Profile{
		Name: nameNCS5500, Title: "Cisco NCS 5500 (Jericho+ with external TCAM), IOS XR", Enforces: InHardware, model: modelTernary,
		Actions: xrActions(basis),
		RTBH:    assumed(rfc5635()),
		Limits: Limits{
			MaxRules: 3000, MaxRulesSource: scale,
			MaxEntries: 4096, MaxEntriesSource: ncs5500Tests("Scale Tests: 3000 in use and 1096 free; up to about 4200 are programmed in seconds, the rest takes minutes"),
			RulesPerSecond: 250, RulesPerSecondSource: ncs5500Tests("Programming rate"),
		},
		Quirks: append(
			xrQuirks(),
			Quirk{"Of 9000 rules 535 failed in hardware; BGP showed all of them.", ncs5500Tests("Scale Tests, 9000 rules")},
			Quirk{"IPv6 needs hw-module profile flowspec v6-enable and a reload, and slows all forwarding from 835 to 700 million packets per second.", ncs5500Tests("IPv6 specific mode")},
			Quirk{"Packets from GRE tunnels, from BVI interfaces and multicast are not matched.", ncs5500Tests("Interface support")},
			Quirk{"Packets that match are recirculated.", ncs5500Tests("Recirculation")},
			Quirk{"32,000 entries since IOS XR 7.6.1, only with NC57 line cards in native mode and the profile l3max-se; state the table's size then.", ncs5500Tests("Latest Scale")},
			Quirk{"A length list of two ranges, 1-75 and 77-550, was published as 10 entries; by itself 77-550 is 10, both are 18, and 18 is what is priced.", ncs5500Tests("Arbor auto-mitigation, third group")},
		),
	}
	p.Components = append(xrComponents(flowspec.IPv4, basis, basis.Source),
		xrComponents(flowspec.IPv6, assumed(same), same)...)
	return p
}

func iosxrASR9K() *Profile {
	guide := asr9kGuide("Supported Matching Criteria and Actions")
	p := &Profile{
		Name: "iosxr-asr9k", Title: "Cisco ASR 9000, IOS XR", Enforces: InHardware, model: modelTernary,
		Actions: xrActions(published(asr9kGuide("Traffic Filtering Actions"))),
		RTBH:    assumed(rfc5635()),
		Limits: Limits{
			MaxRules: 3000, MaxRulesSource: ncs5500Tests("Scale Tests, 3000 rules: the validated scale on all the IOS XR platforms"),
		},
		Quirks: append(
			xrQuirks(),
			Quirk{"First generation Ethernet line cards (A9K-40G, A9K-4T, A9K-2T20G, A9K-8T/4, A9K-8T, A9K-16T/8) do not support FlowSpec.", asr9kGuide("Limitations")},
			Quirk{"No figures of its price are published: it is priced like NCS 5500.", noStatement()},
		),
	}
	list := fmt.Sprintf("%s; the list names IPv4, IPv6 is taken to be the same", guide.Title)
	p.Components = append(xrComponents(flowspec.IPv4, published(guide), guide),
		xrComponents(flowspec.IPv6, assumed(Source{Title: list, URL: guide.URL, Date: guide.Date}), guide)...)
	return p
}

func junosMX() *Profile {
	p := &Profile{
		Name: "junos-mx", Title: "Juniper MX Series, Junos", Enforces: InHardware, model: modelTernary,
		RTBH: assumed(rfc5635()),
		NotTogether: []Combination{
			{flowspec.Port, flowspec.DestinationPort, junosUnderstanding()},
			{flowspec.Port, flowspec.SourcePort, junosUnderstanding()},
		},
		Quirks: []Quirk{
			{"Rules are taken in an order of its own unless term-order standard is configured; RFC 8955 section 5.1 holds only then.", junosTermOrder()},
			{"A controller's rules fail validation unless no-validate with an import policy, or RFC 9117, is configured.", junosNoValidate()},
			{"Redirect to an address in the form of the first draft (0x0800) needs legacy-redirect-ip-action; what tidegate sends needs it not.", junosLegacyRedirect()},
			{"No figures of its price are published: it is priced like NCS 5500, whose memory is laid out otherwise.", noStatement()},
		},
	}
	p.Components = components(flowspec.IPv4, published(junosFlow()),
		flowspec.DestinationPrefix, flowspec.SourcePrefix, flowspec.IPProtocol, flowspec.Port, flowspec.DestinationPort, flowspec.SourcePort,
		flowspec.ICMPType, flowspec.ICMPCode, flowspec.PacketLength, flowspec.DSCP, flowspec.Fragment)
	p.Components = append(p.Components, components(flowspec.IPv6, published(junosFlow6()),
		flowspec.DestinationPrefix, flowspec.SourcePrefix, flowspec.IPProtocol, flowspec.Port, flowspec.DestinationPort, flowspec.SourcePort,
		flowspec.ICMPType, flowspec.ICMPCode, flowspec.PacketLength, flowspec.DSCP, flowspec.Fragment, flowspec.FlowLabel)...)
	p.Components = append(
		p.Components,
		ComponentSupport{Family: flowspec.IPv4, Type: flowspec.TCPFlags, Support: published(junosFlow()), Bits: knownTCPFlags},
		ComponentSupport{Family: flowspec.IPv6, Type: flowspec.TCPFlags, Support: published(junosFlow6()), Bits: knownTCPFlags},
	)
	p.Actions = append(abilitiesOf(published(junosActions()), Discards, PolicesBytes, Continues, Samples),
		abilitiesOf(lacking(Published, junosFlow6(), "lists rate-limit in bits per second only"), PolicesPackets)...)
	p.Actions = append(
		p.Actions,
		ActionSupport{Ability: RedirectsAS2, Support: published(junosActions()), Encoding: "0x8008"},
		ActionSupport{Ability: Marks, Support: published(junosFlow6())},
		ActionSupport{Ability: RedirectsToIPv4, Support: published(junosLegacyRedirect()), Encoding: "0x010c, draft-ietf-idr-flowspec-redirect-ip-02"},
		ActionSupport{Ability: RedirectsToIPv6, Support: assumed(junosFlow6()), Encoding: "0x000c of attribute 25, draft-ietf-idr-flowspec-redirect-ip-02"},
	)
	p.Actions = append(p.Actions, abilitiesOf(lacking(Assumed, noStatement(), "is not known to take this form of route target"),
		RedirectsIPv4RT, RedirectsAS4, RedirectsIPv6RT)...)
	p.Actions = append(p.Actions, abilitiesOf(lacking(Assumed, noStatement(), "lists redirect, but no copy"), CopiesToIP)...)
	return p
}

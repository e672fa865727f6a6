package profile

import (
	"github.com/tidegate/tidegate/bgp/flowspec"
)

// carries is a profile that takes what is safe to send and enforces none of it. What TestRouters announces and reads
// back is measured; of the rest it is assumed that a daemon carries what it has to (RFC 8955 sections 4.2 and 7).
func carries(name, title string, rest Source) *Profile {
	seen := Support{OK: true, Basis: Measured, Source: testOf("TestRouters", routersTest)}
	p := &Profile{Name: name, Title: title, Enforces: CarriesOnly, model: modelRoutes}
	for _, f := range [...]flowspec.Family{flowspec.IPv4, flowspec.IPv6} {
		for t := flowspec.DestinationPrefix; t <= flowspec.FlowLabel; t++ {
			switch {
			case !t.In(f):
			case announced(f, t):
				p.Components = append(p.Components, components(f, seen, t)...)
			default:
				p.Components = append(p.Components, components(f, assumed(rest), t)...)
			}
		}
	}
	p.Actions = abilitiesOf(seen, Discards, PolicesBytes)
	p.Actions = append(p.Actions, abilitiesOf(assumed(rest), abilities()[len(p.Actions):]...)...)
	return p
}

const routersTest = "integration/routers_test.go"

// announced reports whether TestRouters has a rule with the component.
func announced(f flowspec.Family, t flowspec.ComponentType) bool {
	switch t {
	case flowspec.DestinationPrefix, flowspec.IPProtocol, flowspec.DestinationPort, flowspec.SourcePort, flowspec.PacketLength, flowspec.Fragment:
		return true
	case flowspec.SourcePrefix, flowspec.TCPFlags:
		return f == flowspec.IPv4
	case flowspec.Port, flowspec.ICMPType, flowspec.ICMPCode, flowspec.DSCP, flowspec.FlowLabel:
		return false
	}
	return false
}

func frr() *Profile {
	p := carries("frr", "FRRouting bgpd", frrGuide("Overview"))
	p.RTBH = assumed(rfc5635())
	p.Quirks = []Quirk{
		{"Rules are received and shown; the Netfilter driver that would inject them into the kernel is not part of FRR.", frrGuide("Limitations / Known Issues")},
		{"A rate above 0 is not used to shape: with a driver, traffic would be redirected and nothing more.", frrGuide("Limitations / Known Issues")},
		{"The validation of RFC 8955 section 6 does not exist.", frrGuide("Limitations / Known Issues")},
		{"It advertises every rule to its other neighbours unless an outbound map denies it.", testOf("TestRouters", routersTest)},
		{"More than five operator and value pairs in a component, !=, or an IPv6 offset reset the session.", safeSubset()},
	}
	return p
}

func bird() *Profile {
	p := carries("bird", "BIRD 2", birdGuide("chapter 2.2, Flowspec for IPv4 and IPv6", "bird-2"))
	p.RTBH = assumed(rfc5635())
	p.Quirks = []Quirk{
		{
			"Rules live in tables flow4 and flow6 and are passed on; the kernel protocol takes IPv4, IPv6 and MPLS routes only, so that no packet is touched.",
			birdGuide("chapter 6.6, Kernel", "bird-6"),
		},
		{"validate on holds rules against RFC 8955 section 6 and RFC 9117, and needs a base table with a trie.", birdGuide("chapter 6.3, BGP, validate", "bird-6")},
		{"What it cannot parse resets the session; its default pause is 60 seconds and more.", safeSubset()},
	}
	return p
}

func gobgp() *Profile {
	p := carries("gobgp", "GoBGP gobgpd", gobgpGuide())
	p.RTBH = lacking(Published, gobgpGuide(), "has no data plane of its own and installs a route only through another daemon")
	p.Quirks = []Quirk{
		{"Rules are held and passed on; no packet is touched.", gobgpGuide()},
		{"Versions before 4 can be killed by a malformed rule of any neighbour.", Source{Title: "decision 1, GoBGP v4", URL: "docs/decisions/0001-gobgp-v4.md"}},
	}
	return p
}

// linuxEdge is a Linux router that turns rules into nftables.
func linuxEdge() *Profile {
	payload := nftManual("PAYLOAD EXPRESSIONS")
	p := &Profile{
		Name: "linux-edge", Title: "Linux router with nftables, as in the lab", Enforces: InSoftware, model: modelNft,
		RTBH: assumed(rfc5635()),
		Quirks: []Quirk{
			{"Rules that are walked in sequence cost packets per second each; sets and maps do not.", nftManual("SETS, MAPS")},
			{"A copy to another address does not exist in family inet, only in ip and ip6 (tried with nft 1.0.6).", nftManual("DUP STATEMENT")},
		},
	}
	for _, f := range [...]flowspec.Family{flowspec.IPv4, flowspec.IPv6} {
		for t := flowspec.DestinationPrefix; t <= flowspec.FlowLabel; t++ {
			if t.In(f) {
				p.Components = append(p.Components, components(f, published(payload), t)...)
			}
		}
	}
	p.Actions = append(abilitiesOf(published(nftManual("VERDICT STATEMENT")), Discards, Continues),
		abilitiesOf(published(nftManual("LIMIT STATEMENT")), PolicesBytes, PolicesPackets)...)
	p.Actions = append(p.Actions, abilitiesOf(published(nftManual("PAYLOAD STATEMENT")), Marks)...)
	p.Actions = append(p.Actions, abilitiesOf(lacking(Assumed, noStatement(), "has no VRF and no tunnel to redirect to in the lab"),
		RedirectsAS2, RedirectsIPv4RT, RedirectsAS4, RedirectsIPv6RT, RedirectsToIPv4, RedirectsToIPv6)...)
	p.Actions = append(p.Actions, abilitiesOf(lacking(Published, nftManual("DUP STATEMENT"), "cannot copy in family inet"), CopiesToIP)...)
	p.Actions = append(p.Actions, abilitiesOf(lacking(Assumed, noStatement(), "does not sample in the lab"), Samples)...)
	return p
}

package profile

import (
	"github.com/tidegate/tidegate/bgp/flowspec"
)

// carries is a profile that takes what is safe to send and enforces none of it.
func carries(name, title string, basis Support) *Profile {
	p := &Profile{Name: name, Title: title, Enforces: CarriesOnly, model: modelRoutes, Actions: abilitiesOf(basis, abilities()...)}
	for _, f := range [...]flowspec.Family{flowspec.IPv4, flowspec.IPv6} {
		for t := flowspec.DestinationPrefix; t <= flowspec.FlowLabel; t++ {
			if t.In(f) {
				p.Components = append(p.Components, components(f, basis, t)...)
			}
		}
	}
	return p
}

const routersTest = "integration/routers_test.go"

func frr() *Profile {
	p := carries("frr", "FRRouting bgpd", assumed(frrGuide("Overview; carried, see the recorded run for what was seen")))
	p.RTBH = published(rfc5635())
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
	p := carries("bird", "BIRD 2", assumed(birdGuide()))
	p.RTBH = published(rfc5635())
	p.Quirks = []Quirk{
		{"Rules live in tables flow4 and flow6 and are passed on; no packet is touched.", birdGuide()},
		{"With validate on it shows rules that fail RFC 8955 section 6 as unreachable.", birdGuide()},
		{"What it cannot parse resets the session; its default pause is 60 seconds and more.", safeSubset()},
	}
	return p
}

func gobgp() *Profile {
	p := carries("gobgp", "GoBGP gobgpd", assumed(gobgpGuide()))
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
		RTBH: published(rfc5635()),
		Quirks: []Quirk{
			{"Rules that are walked in sequence cost packets per second each; sets and maps do not.", nftManual("SETS, MAPS")},
			{"A copy to another address does not exist in family inet.", nftManual("DUP STATEMENT")},
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

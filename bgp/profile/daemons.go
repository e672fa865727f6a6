package profile

import (
	"slices"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// carries is a profile that takes what is safe to send and enforces none of it. That each component and each action
// arrives, and is understood but for what the profile lacks, is measured: docs/interop.md has every cell.
func carries(name, title string, lacks ...ActionSupport) *Profile {
	seen := Support{OK: true, Basis: Measured, Source: interopMatrix()}
	p := &Profile{Name: name, Title: title, Enforces: CarriesOnly, model: modelRoutes}
	for _, f := range [...]flowspec.Family{flowspec.IPv4, flowspec.IPv6} {
		for t := flowspec.DestinationPrefix; t <= flowspec.FlowLabel; t++ {
			if t.In(f) {
				p.Components = append(p.Components, components(f, seen, t)...)
			}
		}
	}
	for _, a := range abilities() {
		if i := slices.IndexFunc(lacks, func(l ActionSupport) bool { return l.Ability == a }); i >= 0 {
			p.Actions = append(p.Actions, lacks[i])
			continue
		}
		p.Actions = append(p.Actions, abilitiesOf(seen, a)...)
	}
	return p
}

const routersTest = "integration/routers_test.go"

func interopMatrix() Source { return testOf("TestInterop", "docs/interop.md") }

// blackholes says that the daemon was seen to take blackhole routes.
func blackholes() Support {
	return Support{OK: true, Basis: Measured, Source: testOf("TestRTBHRouters", "integration/rtbh_test.go")}
}

func frr() *Profile {
	lacks := abilitiesOf(lacking(Measured, interopMatrix(), "keeps the community 0x800c and does not know it"), PolicesPackets)
	lacks = append(lacks, abilitiesOf(lacking(Measured, interopMatrix(), "looks for the bits of a traffic-action in another octet"), Continues, Samples)...)
	lacks = append(lacks, abilitiesOf(lacking(Measured, interopMatrix(), "keeps attribute 25 and does not know it"), RedirectsIPv6RT, RedirectsToIPv6)...)
	p := carries("frr", "FRRouting bgpd", lacks...)
	p.RTBH = blackholes()
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
	p := carries("bird", "BIRD 2")
	p.RTBH = blackholes()
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
	p := carries("gobgp", "GoBGP gobgpd")
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
		Name: "linux-edge", Title: "Linux router with nftables", Enforces: InSoftware, model: modelNft,
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

package profile

// The names of the profiles that the code refers to.
const (
	nameGeneric = "generic"
	nameNCS5500 = "iosxr-ncs5500"
)

// ncs5500Tests is the one publication of what FlowSpec rules cost in a router.
func ncs5500Tests(section string) Source {
	return Source{
		Title: "N. Fevrier (Cisco), BGP FlowSpec on NCS5500: A few tests on scale, rate and memory usage, " + section,
		URL:   "https://xrdocs.io/ncs5500/tutorials/bgp-flowspec-on-ncs5500",
		Date:  "2019-09-02",
	}
}

func asr9kGuide(section string) Source {
	return Source{
		Title: "Cisco ASR 9000 Series Aggregation Services Router Routing Configuration Guide, Implementing BGP Flowspec, " + section,
		URL:   "https://www.manualslib.com/manual/1311082/Cisco-Asr-9000-Series.html?page=237",
		Date:  "Release 5.3.x",
	}
}

func cisco8000Length() Source {
	return Source{
		Title: "Cisco 8000 BGP Configuration Guide, BGP flowspec IPv6 packet length",
		URL:   "https://www.cisco.com/c/en/us/td/docs/iosxr/cisco8000/bgp/bgp-config-cisco8000/r-wrapper-bgp-flowspec/c-bgp-fs-ipv6-packet-length.html",
		Date:  "Release 25.4.1",
	}
}

func junosFlow() Source {
	return Source{
		Title: "Juniper Networks, Junos CLI Reference, flow (routing-options)",
		URL:   "https://juniper.net/documentation/us/en/software/junos/cli-reference/topics/ref/statement/flow-edit-routing-options.html",
	}
}

func junosFlow6() Source {
	return Source{
		Title: "Juniper Networks, Junos CLI Reference, flow (IPv6)",
		URL:   "https://juniper.net/documentation/us/en/software/junos/cli-reference/topics/ref/statement/flow-ipv6-edit-routing-options.html",
	}
}

func junosActions() Source {
	return Source{
		Title: "Juniper Networks, JUNOS Routing Protocols Configuration Guide, Configuring the Action, Table 7: Flow Route Action Modifiers",
		URL:   "http://www.juniper.net/techpubs/software/junos/junos73/swconfig73-routing/html/routing-tables-config54.html",
		Date:  "JUNOS 7.3",
	}
}

func junosUnderstanding() Source {
	return Source{
		Title: "Juniper Networks, Understanding Flow Routes, Table 1: Flow Route Match Conditions",
		URL:   "https://www.juniper.net/documentation/en_US/junos13.1/topics/concept/flow-routes-understanding.html",
		Date:  "Junos 13.1",
	}
}

func junosLegacyRedirect() Source {
	return Source{
		Title: "Juniper Networks, BGP User Guide, legacy-redirect-ip-action",
		URL:   "https://www.juniper.net/documentation/jp/ja/software/junos/bgp/topics/ref/statement/legacy-redirect-ip-action-edit-protocols-bgp.html",
	}
}

func junosTermOrder() Source {
	return Source{
		Title: "Juniper Networks, ACX Series Universal Access Router Configuration Guide, statement flow: term-order, default legacy",
		URL:   "https://www.easymanua.ls/juniper/acx2000/manual/1495754?p=1582",
		Date:  "2017",
	}
}

func junosNoValidate() Source {
	return Source{
		Title: "Juniper Networks, Enabling BGP to Carry Flow-Specification Routes",
		URL: "https://www.juniper.net/documentation/en_US/release-independent/downloads/juniper-library-junos103.zip " +
			"(topics/usage-guidelines/routing-enabling-bgp-to-carry-flow-specification-routes.html)",
		Date: "Junos 10.3",
	}
}

func frrGuide(section string) Source {
	return Source{
		Title: "FRRouting User Guide, Flowspec, " + section,
		URL:   "https://docs.frrouting.org/en/latest/flowspec.html",
	}
}

func gobgpGuide() Source {
	return Source{
		Title: "GoBGP documentation, Flowspec",
		URL:   "https://github.com/osrg/gobgp/blob/master/docs/sources/flowspec.md",
	}
}

func birdGuide(section, file string) Source {
	return Source{
		Title: "BIRD 2.0 User's Guide, " + section,
		URL:   "https://bird.network.cz/?get_doc&v=20&f=" + file + ".html",
		Date:  "2.0.12",
	}
}

func nftManual(section string) Source {
	return Source{
		Title: "nftables manual, nft(8), " + section,
		URL:   "https://www.netfilter.org/projects/nftables/manpage.html",
		Date:  "nftables 1.0.6",
	}
}

func rfc8955(section string) Source {
	return Source{Title: "RFC 8955 section " + section, URL: "https://www.rfc-editor.org/rfc/rfc8955", Date: "December 2020"}
}

func rfc5635() Source {
	return Source{Title: "RFC 5635 section 4 and RFC 7999 section 3", URL: "https://www.rfc-editor.org/rfc/rfc5635", Date: "August 2009"}
}

func testOf(name, url string) Source {
	return Source{Title: "test " + name, URL: url}
}

func safeSubset() Source {
	return Source{Title: "CheckSafe: what FRR 8.4.4 and BIRD 2.0.12 survive", URL: "bgp/flowspec"}
}

func noStatement() Source {
	return Source{Title: "no published statement was found"}
}

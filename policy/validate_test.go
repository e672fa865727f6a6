package policy

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

func mustPrefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range texts {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func goodCustomer() *Customer {
	return &Customer{
		ID: "school", Name: "Escola Básica", Official: mustPrefixes("203.0.113.0/24", "2001:db8:1::/48"), Within: "university",
		Links: []Link{
			{Prefix: netip.MustParsePrefix("203.0.113.4/30"), PE: "pe1.example", Interface: "xe-0/0/1.100", Block: "links-1", State: LinkInUse},
			{Prefix: netip.MustParsePrefix("2001:db8:ffff::/127")},
		},
		Contacts: []string{"noc@example.net", "+351 21 000 0000"}, MaxMitigations: 10,
	}
}

func goodBlock() *ProtectedBlock {
	return &ProtectedBlock{Name: "links-1", Kind: BlockLinks, Prefixes: mustPrefixes("203.0.113.0/28", "2001:db8:ffff::/48"), Note: "old links"}
}

func goodRouter() *Router {
	return &Router{
		Name: "edge1", Address: netip.MustParseAddr("192.0.2.1"), ASN: 64500, Group: "edge", Families: []flowspec.Family{flowspec.IPv4, flowspec.IPv6},
		Validation: ValidationIBGP9117, Profile: "frr", MaxPrefix: 3000, RulesPerSecond: 250, PasswordSecret: "edge1", TTLSecurity: true,
	}
}

func goodPolicy() *Policy {
	return &Policy{
		Name: "amplification", Priority: 10, Vectors: []Vector{VectorDNSAmplification}, Customers: []CustomerID{"school"},
		Sources: []string{"fastnetmon-1"}, Action: Action{Kind: RateLimit, Rate: 1e6}, Lifetime: time.Hour, Groups: []string{"edge"},
	}
}

// brokenDocument is a document with one thing wrong, and what must be said of it.
type brokenDocument struct {
	name    string
	doc     Document
	field   string
	problem string // a part of it
	fix     string // a part of it
}

func broken[D Document](name string, doc D, change func(D), field, problem, fix string) brokenDocument {
	change(doc)
	return brokenDocument{name, doc, field, problem, fix}
}

func brokenCustomers() []brokenDocument {
	with := func(name string, change func(*Customer), field, problem, fix string) brokenDocument {
		return broken(name, goodCustomer(), change, field, problem, fix)
	}
	official := func(name, p, problem, fix string) brokenDocument {
		return with(name, func(d *Customer) { d.Official[1] = netip.MustParsePrefix(p) }, "official[1]", problem, fix)
	}
	link := func(name, p, problem, fix string) brokenDocument {
		return with(name, func(d *Customer) { d.Links[1].Prefix = netip.MustParsePrefix(p) }, "links[1].prefix", problem, fix)
	}
	return []brokenDocument{
		with("no id", func(d *Customer) { d.ID = "" }, "id", "missing", "write a name"),
		with("id with a blank", func(d *Customer) { d.ID = "a b" }, "id", `"a b" is not a name`, "letters"),
		with("id with a dash first", func(d *Customer) { d.ID = "-a" }, "id", `"-a" is not a name`, "letter or digit first"),
		with("long id", func(d *Customer) { d.ID = CustomerID(strings.Repeat("a", 65)) }, "id", "is not a name", "at most 64"),
		with("name of two lines", func(d *Customer) { d.Name = "a\nb" }, "name", "control characters", "one line"),
		with("name in Latin-1", func(d *Customer) { d.Name = "B\xe1sica" }, "name", "not UTF-8", "UTF-8"),
		with("long name", func(d *Customer) { d.Name = strings.Repeat("a", 201) }, "name", "201 octets, at most 200", "shorten"),
		official("host bits", "203.0.113.1/25", "203.0.113.1/25 has host bits", "write 203.0.113.0/25"),
		official("host bits in IPv6", "2001:db8::1/64", "has host bits", "write 2001:db8::/64"),
		official("listed twice", "203.0.113.0/24", "listed twice, also as official[0]", "remove one"),
		official("IPv4-mapped", "::ffff:203.0.113.0/120", "IPv4-mapped", "write 203.0.113.0/24"),
		official("all of IPv4-mapped", "::ffff:0.0.0.0/96", "IPv4-mapped", "write 0.0.0.0/0"),
		official("multicast", "233.1.2.0/24", "overlaps 224.0.0.0/4, which is multicast space", "own prefixes"),
		official("around loopback", "126.0.0.0/7", "wider than /8", "prefix length"),
		official("loopback", "127.0.0.0/8", "which is loopback space", "own prefixes"),
		official("link-local in IPv6", "fe80:1::/48", "which is link-local space", "own prefixes"),
		official("a quarter of IPv6", "4000::/2", "wider than /16", "prefix length"),
		with("prefix that is none", func(d *Customer) { d.Official[0] = netip.Prefix{} }, "official[0]", "no prefix", "203.0.113.0/24"),
		with("within itself", func(d *Customer) { d.Within = "school" }, "within", "within itself", "leave it out"),
		with("within a sentence", func(d *Customer) { d.Within = "the university" }, "within", "is not a name", "letters"),
		link("link with host bits", "2001:db8:ffff::1/127", "has host bits", "write 2001:db8:ffff::/127"),
		link("link listed twice", "203.0.113.4/30", "listed twice, also as links[0]", "remove one"),
		link("link around another", "203.0.113.0/28", "203.0.113.0/28 overlaps 203.0.113.4/30 of links[0]", "subnets of their own"),
		link("link inside another", "203.0.113.6/31", "203.0.113.6/31 overlaps 203.0.113.4/30 of links[0]", "subnets of their own"),
		link("link that is a network", "198.51.0.0/16", "wider than /24", "prefix length"),
		link("IPv6 link that is a network", "2001:db8::/32", "wider than /48", "prefix length"),
		link("IPv4-mapped link", "::ffff:198.51.100.0/127", "IPv4-mapped", "write 198.51.100.0/31"),
		with("link that is none", func(d *Customer) { d.Links[0].Prefix = netip.Prefix{} }, "links[0].prefix", "no prefix", "write"),
		with("PE with a bell", func(d *Customer) { d.Links[0].PE = "pe\a" }, "links[0].pe", "control", "plain text"),
		with("interface with a tab", func(d *Customer) { d.Links[0].Interface = "a\tb" }, "links[0].interface", "control", "plain text"),
		with("block that is no name", func(d *Customer) { d.Links[0].Block = "10.0.0.0/8" }, "links[0].block", "is not a name", "letters"),
		with("state", func(d *Customer) { d.Links[0].State = "dirty" }, "links[0].state", `"dirty" is not a state`, "in-use, moving, clean or unstated"),
		with("contact", func(d *Customer) { d.Contacts[1] = "Alice" }, "contacts[1]", `"Alice" is neither`, "noc@example.net"),
		with("contact without a host", func(d *Customer) { d.Contacts[1] = "noc@" }, "contacts[1]", "is neither", "noc@example.net"),
		with("contact of one digit", func(d *Customer) { d.Contacts[0] = "+1" }, "contacts[0]", "is neither", "+49"),
		with("many contacts", func(d *Customer) {
			for range maxContacts {
				d.Contacts = append(d.Contacts, "a@b")
			}
		}, "contacts", "there are 34, at most 32", "split"),
		with("consent", func(d *Customer) { d.Mitigation = "never" }, "mitigation", `"never" is not known`, "auto, manual or none"),
		with("manual vector", func(d *Customer) { d.ManualVectors = []Vector{"teardrop"} }, "manual_vectors[0]", `there is no vector "teardrop"`, "write one of"),
		with("manual vectors beside manual", func(d *Customer) { d.Mitigation, d.ManualVectors = ConsentManual, []Vector{"syn_flood"} }, "manual_vectors", "no signal is answered anyway", "leave it out"),
		with("rules", func(d *Customer) { d.MaxRules = -1 }, "max_rules", "-1 is not between", "write a number"),
		with("negative quota", func(d *Customer) { d.MaxMitigations = -1 }, "max_mitigations", "-1 is not between 0 and", "write a number"),
	}
}

func brokenRouters() []brokenDocument {
	with := func(name string, change func(*Router), field, problem, fix string) brokenDocument {
		return broken(name, goodRouter(), change, field, problem, fix)
	}
	address := func(name, a, problem, fix string) brokenDocument {
		return with(name, func(d *Router) { d.Address = netip.MustParseAddr(a) }, "address", problem, fix)
	}
	return []brokenDocument{
		with("no name", func(d *Router) { d.Name = "" }, "name", "missing", "write a name"),
		with("no address", func(d *Router) { d.Address = netip.Addr{} }, "address", "missing", "192.0.2.1"),
		address("zone", "fe80::1%eth0", "has a zone", "global address"),
		address("IPv4-mapped router", "::ffff:192.0.2.1", "IPv4-mapped", "write 192.0.2.1"),
		address("unspecified", "0.0.0.0", "not the address of one machine", "192.0.2.1"),
		address("multicast router", "ff02::1", "not the address of one machine", "192.0.2.1"),
		address("broadcast", "255.255.255.255", "not the address of one machine", "192.0.2.1"),
		with("no ASN", func(d *Router) { d.ASN = 0 }, "asn", "0 is a reserved ASN", "own ASN"),
		with("AS_TRANS", func(d *Router) { d.ASN = 23456 }, "asn", "reserved", "own ASN"),
		with("last ASN", func(d *Router) { d.ASN = math.MaxUint32 }, "asn", "reserved", "own ASN"),
		with("no group", func(d *Router) { d.Group = "" }, "group", "missing", "write a name"),
		with("family 3", func(d *Router) { d.Families[1] = 3 }, "families[1]", "no family 3", "ipv4 or ipv6"),
		with("family twice", func(d *Router) { d.Families[1] = flowspec.IPv4 }, "families[1]", "twice", "remove"),
		with("no validation", func(d *Router) { d.Validation = "" }, "validation", "not said", "ibgp-9117 or disabled-by-import-policy"),
		with("unknown validation", func(d *Router) { d.Validation = "on" }, "validation", `"on" is not`, "ibgp-9117 or disabled-by-import-policy"),
		with("profile", func(d *Router) { d.Profile = "IOS XR" }, "profile", `no profile "IOS XR"`, "generic, junos-mx, iosxr-ncs5500"),
		with("untested profile", func(d *Router) { d.Profile = "iosxr-ncs5500" }, "profile", "is untested", "accept_untested: true"),
		with("blackholes on what has no data plane", func(d *Router) {
			d.Profile, d.Carries, d.Validation, d.Families, d.DiscardIPv4 = "gobgp", wanted.RTBH, "", nil, netip.MustParseAddr("192.0.2.1")
		}, "carries", "profile gobgp has no data plane", "other routers"),
		with("no profile", func(d *Router) { d.Profile = "" }, "profile", "not said which model", "write generic, with accept_untested: true"),
		with("no profile though accepted", func(d *Router) { d.Profile, d.AcceptUntested = "", true }, "profile", "not said which model", "generic, junos-mx"),
		with("table of nothing known", func(d *Router) {
			d.Carries, d.Validation, d.Families, d.DiscardIPv4 = wanted.RTBH, "", nil, netip.MustParseAddr("192.0.2.1")
			d.Profile, d.MaxEntries = "", 100
		}, "max_entries", "known of a profile only", "generic, junos-mx"),
		with("negative table", func(d *Router) { d.MaxEntries = -1 }, "max_entries", "-1 is not between", "write a number"),
		with("no max-prefix", func(d *Router) { d.MaxPrefix = 0 }, "max_prefix", "0 is not between 2 and", "write a number"),
		with("negative pace", func(d *Router) { d.RulesPerSecond = -1 }, "rules_per_second", "-1 is not between", "write a number"),
		with("secret in clear", func(d *Router) { d.PasswordSecret = "p@ss word" }, "password_secret", "is not a name", "letters"),
		with("unknown kind of route", func(d *Router) { d.Carries = 3 }, "carries", "no kind of route 3", "flowspec or rtbh"),
		with("next hop of blackholes for rules", func(d *Router) { d.DiscardIPv4 = netip.MustParseAddr("192.0.2.1") }, "discard_ipv4", "carries flowspec", "carries: rtbh"),
		with("blackholes without a next hop", func(d *Router) { d.Carries, d.Validation = wanted.RTBH, "" }, "discard_ipv4", "no next hop", "192.0.2.1"),
		with("blackholes of a family without a next hop", func(d *Router) {
			d.Carries, d.Validation, d.DiscardIPv4 = wanted.RTBH, "", netip.MustParseAddr("192.0.2.1")
		}, "discard_ipv6", "families[1]", "leave the family out"),
		with("next hop of the other family", func(d *Router) {
			d.Carries, d.Validation, d.DiscardIPv4, d.Families = wanted.RTBH, "", netip.MustParseAddr("100::1"), nil
		}, "discard_ipv4", "not an IPv4 address", "192.0.2.1"),
		with("loopback as next hop", func(d *Router) {
			d.Carries, d.Validation, d.DiscardIPv6, d.Families = wanted.RTBH, "", netip.IPv6Loopback(), nil
		}, "discard_ipv6", "cannot be a next hop", "100::1"),
		with("validation of blackholes", func(d *Router) {
			d.Carries, d.DiscardIPv4, d.Families = wanted.RTBH, netip.MustParseAddr("192.0.2.1"), nil
		}, "validation", "about FlowSpec", "leave it out"),
		with("GTSM over several hops", func(d *Router) { d.Multihop = 2 }, "multihop", "direct neighbours only", "leave out"),
	}
}

func brokenOthers() []brokenDocument {
	block := func(name string, change func(*ProtectedBlock), field, problem, fix string) brokenDocument {
		return broken("block: "+name, goodBlock(), change, field, problem, fix)
	}
	policy := func(name string, change func(*Policy), field, problem, fix string) brokenDocument {
		return broken("policy: "+name, goodPolicy(), change, field, problem, fix)
	}
	safeguards := func(name string, change func(*Safeguards), field, problem, fix string) brokenDocument {
		return broken("safeguards: "+name, DefaultSafeguards(), change, field, problem, fix)
	}
	return []brokenDocument{
		block("no name", func(d *ProtectedBlock) { d.Name = "" }, "name", "missing", "write a name"),
		block("kind", func(d *ProtectedBlock) { d.Kind = "castle" }, "kind", `"castle" is not a kind`, "link-block, infrastructure"),
		block("empty", func(d *ProtectedBlock) { d.Prefixes = nil }, "prefixes", "protects nothing", "list its prefixes"),
		block("everything", func(d *ProtectedBlock) { d.Prefixes[0] = netip.MustParsePrefix("0.0.0.0/0") }, "prefixes[0]", "wider than /8", "prefix length"),
		block("host bits", func(d *ProtectedBlock) { d.Prefixes[0] = netip.MustParsePrefix("10.1.0.0/8") }, "prefixes[0]", "host bits", "write 10.0.0.0/8"),
		block("twice", func(d *ProtectedBlock) { d.Prefixes[1] = d.Prefixes[0] }, "prefixes[1]", "twice", "remove"),
		block("note", func(d *ProtectedBlock) { d.Note = "\x1b[31m" }, "note", "control", "plain text"),

		policy("no name", func(d *Policy) { d.Name = "" }, "name", "missing", "write a name"),
		policy("priority", func(d *Policy) { d.Priority = 1 << 40 }, "priority", "is not between -1000000 and 1000000", "write a number"),
		policy("vector", func(d *Policy) { d.Vectors[0] = "dns-amp" }, "vectors[0]", `no vector "dns-amp"`, string(VectorDNSAmplification)),
		policy("vector twice", func(d *Policy) { d.Vectors = append(d.Vectors, d.Vectors[0]) }, "vectors[1]", "twice", "remove"),
		policy("customer", func(d *Policy) { d.Customers[0] = "" }, "customers[0]", "missing", "write a name"),
		policy("customer twice", func(d *Policy) { d.Customers = append(d.Customers, d.Customers[0]) }, "customers[1]", "twice", "remove"),
		policy("source", func(d *Policy) { d.Sources[0] = "a/b" }, "sources[0]", "is not a name", "letters"),
		policy("group", func(d *Policy) { d.Groups[0] = "édge" }, "groups[0]", "is not a name", "letters"),
		policy("no action", func(d *Policy) { d.Action = Action{} }, "action", "not said what to do", "discard: true, a rate"),
		policy("both actions", func(d *Policy) { d.Action.Kind = Discard }, "action.rate", "a discard has no rate", "leave it out"),
		policy("rate 0", func(d *Policy) { d.Action.Rate = 0 }, "action.rate", "below 1 byte/s", "10Mbps"),
		policy("0.1 bps", func(d *Policy) { d.Action.Rate = 0.1 / 8 }, "action.rate", "0.0125 bytes/s is below 1 byte/s", "10Mbps"),
		policy("negative rate", func(d *Policy) { d.Action.Rate = -1 }, "action.rate", "negative", "10Mbps"),
		policy("rate that is no number", func(d *Policy) { d.Action.Rate = flowspec.BytesPerSecond(math.NaN()) }, "action.rate", "not a finite number", "10Mbps"),
		policy("rate beyond the wire's float", func(d *Policy) { d.Action.Rate = 1e300 }, "action.rate", "not a finite number", "10Mbps"),
		policy("negative lifetime", func(d *Policy) { d.Lifetime = -time.Hour }, "lifetime", "-1h is not between", "1h"),
		policy("long lifetime", func(d *Policy) { d.Lifetime = 9000 * time.Hour }, "lifetime", "is not between", "1h"),

		safeguards("name", func(d *Safeguards) { d.Name = "mine" }, "name", `"mine"`, "write name: default"),
		safeguards("everything in IPv4", func(d *Safeguards) { d.WidestIPv4 = 0 }, "widest_ipv4", "0 is not between 8 and 32", "write a number"),
		safeguards("/33", func(d *Safeguards) { d.WidestIPv4 = 33 }, "widest_ipv4", "33 is not between 8 and 32", "write a number"),
		safeguards("everything in IPv6", func(d *Safeguards) { d.WidestIPv6 = 0 }, "widest_ipv6", "0 is not between 16 and 128", "write a number"),
		safeguards("no pieces", func(d *Safeguards) { d.MaxPieces = 0 }, "max_pieces", "0 is not between 1 and", "write a number"),
		safeguards("negative limit", func(d *Safeguards) { d.MaxMitigations = -1 }, "max_mitigations", "-1 is not between", "write a number"),
		safeguards("no default lifetime", func(d *Safeguards) { d.DefaultLifetime = 0 }, "default_lifetime", "is not between", "1h"),
		safeguards("default above maximum", func(d *Safeguards) { d.DefaultLifetime = 25 * time.Hour }, "default_lifetime", "longer than the maximum of 24h", "lower"),
		safeguards("blackholes of a /8", func(d *Safeguards) { d.ShortestRTBHIPv4 = 8 }, "shortest_rtbh_ipv4", "8 is not between 24 and 32", "write a number"),
		safeguards("blackholes of a /47", func(d *Safeguards) { d.ShortestRTBHIPv6 = 47 }, "shortest_rtbh_ipv6", "47 is not between 48 and 128", "write a number"),
		safeguards("many blackholes", func(d *Safeguards) { d.MaxRTBHRoutes = 2000 }, "max_rtbh_routes", "2000 is not between 1 and 1024", "write a number"),
		safeguards("brake", func(d *Safeguards) { d.MaxRemovedLinksPercent = 101 }, "max_removed_links_percent", "101 is not a percentage", "0 to 100"),
		safeguards("wider than every action", func(d *Safeguards) { d.Widest.Rate.IPv4 = 19 }, "widest.rate.ipv4", "/19 is wider than /20, the widest target of every action", "write 20 or more"),
		safeguards("narrower than an address", func(d *Safeguards) { d.Widest.RTBH.IPv6 = 129 }, "widest.rtbh.ipv6", "129 is above 128", "40 to 128"),
		safeguards("floor", func(d *Safeguards) { d.MinConfidence.Discard = 1.1 }, "min_confidence.discard", "1.1 is not between 0 and 1", "0.8"),
		safeguards("floor that is no number", func(d *Safeguards) { d.MinConfidence.Mark = math.NaN() }, "min_confidence.mark", "NaN", "0.8"),
		safeguards("share of operators", func(d *Safeguards) { d.OperatorShare = -1 }, "operator_share", "-1 is not a percentage", "0 to 100"),
		safeguards("share of a source", func(d *Safeguards) { d.SourceShare = 100.5 }, "source_share", "100.5 is not a percentage", "0 to 100"),
		safeguards("rules", func(d *Safeguards) { d.MaxRules = -1 }, "max_rules", "-1 is not between", "write a number"),
		safeguards("one source above all", func(d *Safeguards) { d.MaxStartsPerMinute = 10 }, "max_starts_per_minute_per_source", "one source may start 1500 a minute, and all together 10", "at most 10"),
		safeguards("rules a minute", func(d *Safeguards) { d.MaxRulesPerMinute = -1 }, "max_rules_per_minute", "-1 is not between", "write a number"),
		safeguards("wrong targets", func(d *Safeguards) { d.Quarantine.WrongTargets = -1 }, "quarantine.wrong_targets", "-1 is not between", "write a number"),
		safeguards("too fast for days", func(d *Safeguards) { d.Quarantine.TooFastMinutes = 1441 }, "quarantine.too_fast_minutes", "1441 is not between 0 and 1440", "write a number"),
		safeguards("short quarantine", func(d *Safeguards) { d.Quarantine.Duration = 1 }, "quarantine.duration", "is not between", "1h"),
		policy("starts", func(d *Policy) { d.MaxPerHour = -1 }, "max_per_hour", "-1 is not between", "write a number"),
		safeguards("brake that is no number", func(d *Safeguards) { d.MaxRemovedLinksPercent = math.NaN() }, "max_removed_links_percent", "NaN", "0 to 100"),
	}
}

func TestValidateRefuses(t *testing.T) {
	t.Parallel()
	var rows []brokenDocument
	rows = append(rows, brokenCustomers()...)
	rows = append(rows, brokenRouters()...)
	rows = append(rows, brokenOthers()...)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got := row.doc.Validate()
			if len(got) == 0 {
				t.Fatal("nothing is said")
			}
			v := got[0]
			same(t, "document", v.Document, row.doc.Ref())
			same(t, "field", v.Field, row.field)
			if !strings.Contains(v.Problem, row.problem) {
				t.Errorf("problem %q does not say %q", v.Problem, row.problem)
			}
			if !strings.Contains(v.Fix, row.fix) {
				t.Errorf("fix %q does not say %q", v.Fix, row.fix)
			}
			for _, v := range got[1:] {
				if v.Field != row.field {
					t.Errorf("one thing is wrong, but this is said too: %+v", v)
				}
			}
		})
	}
}

func TestValidateAccepts(t *testing.T) {
	t.Parallel()
	for _, doc := range []Document{
		goodCustomer(), &Customer{ID: "a"}, goodBlock(), goodRouter(), goodPolicy(), DefaultSafeguards(),
		&Customer{ID: "9.a_b-c", Official: mustPrefixes("20.0.0.0/8", "20.1.0.0/16", "2001::/16"), Contacts: []string{"(030) 123-45.67/8"}},
		&Router{Name: "lab", Address: netip.MustParseAddr("127.0.0.11"), ASN: 4200000000, Group: "g", Validation: ValidationDisabled, Profile: "bird", MaxPrefix: 2, Multihop: 255},
		&Router{
			Name: "bh", Address: netip.MustParseAddr("127.0.0.12"), ASN: 64500, Group: "g", Carries: wanted.RTBH,
			DiscardIPv4: netip.MustParseAddr("192.0.2.1"), DiscardIPv6: netip.MustParseAddr("100::1"), MaxPrefix: 2,
		},
		&Safeguards{Name: SafeguardsName, WidestIPv4: 20, WidestIPv6: 40, MaxPieces: 1, DefaultLifetime: time.Hour, MaxLifetime: time.Hour}, // of an earlier build
		&Router{
			Name: "xr", Address: netip.MustParseAddr("127.0.0.11"), ASN: 64500, Group: "g", Validation: ValidationDisabled, MaxPrefix: 2,
			Profile: "iosxr-ncs5500", AcceptUntested: true, MaxEntries: 4000,
		},
		&Policy{Name: "all", Action: Action{Kind: Discard}},
		&Policy{Name: "least", Action: Action{Kind: RateLimit, Rate: 1}, Lifetime: time.Second},
	} {
		if v := doc.Validate(); len(v) > 0 {
			t.Errorf("%v: %+v", doc.Ref(), v)
		}
	}
}

// FuzzValidate: no document may make Validate, Apply, CheckInventory or Wanted panic; what it accepts is canonical,
// and what it refuses has a field, a problem and a fix. A document that came and went leaves nothing behind.
func FuzzValidate(f *testing.F) {
	f.Add("school", "203.0.113.0/24", "203.0.113.4/30", "192.0.2.1", 1.0, int64(time.Hour), 5, byte(1))
	f.Add("", "::ffff:0.0.0.0/96", "::ffff:1.2.3.4/128", "fe80::1%eth0", math.Inf(1), int64(-1), -1, byte(0))
	f.Add("a\x00\xff", "0.0.0.0/0", "x", "", math.NaN(), int64(math.MinInt64), math.MaxInt, byte(255))
	f.Fuzz(func(t *testing.T, name, official, link, addr string, rate float64, life int64, n int, b byte) {
		p, _ := netip.ParsePrefix(official)
		q, _ := netip.ParsePrefix(link)
		a, _ := netip.ParseAddr(addr)
		odd := netip.PrefixFrom(a, int(b)) // may be a prefix with host bits, or none
		docs := []Document{
			&Customer{
				ID: CustomerID(name), Name: official, Official: []netip.Prefix{p, odd, p}, Within: CustomerID(link), MaxMitigations: n,
				Links: []Link{{Prefix: q, Block: name, PE: addr, State: LinkState(link)}, {Prefix: odd}, {Prefix: p}}, Contacts: []string{name, addr},
			},
			&ProtectedBlock{Name: name, Kind: BlockKind(link), Prefixes: []netip.Prefix{q, odd, q}, Note: addr},
			&Router{Name: name, Address: a, ASN: flowspec.ASN(n), Group: link, Families: []flowspec.Family{flowspec.Family(b), 1}, MaxPrefix: n, RulesPerSecond: n, Multihop: b},
			&Policy{
				Name: name, Priority: n, Vectors: []Vector{Vector(link), Vector(name)}, Customers: []CustomerID{CustomerID(name), "x"}, Groups: []string{link},
				Action: Action{Kind: ActionKind(b), Rate: flowspec.BytesPerSecond(rate)}, Lifetime: time.Duration(life),
			},
			&Safeguards{Name: name, WidestIPv4: b, WidestIPv6: b, MaxPieces: n, DefaultLifetime: time.Duration(life), MaxRemovedLinksPercent: rate},
		}
		s := apply(t, NewState(), 1, &PutDocument{goodCustomer()}, &PutDocument{goodBlock()})
		before := spaceOf(s)
		for _, d := range docs {
			found := d.Validate()
			for _, v := range found {
				if v.Document != d.Ref() || v.Field == "" || v.Problem == "" || v.Fix == "" {
					t.Errorf("incomplete violation %+v", v)
				}
			}
			if c, ok := d.(*Customer); ok && len(found) == 0 {
				checkCanonical(t, c)
			}
			if d.Ref().Name == "" || d.Ref().Name == "school" || d.Ref().Name == "links-1" {
				continue
			}
			next := apply(t, s, 2, &PutDocument{d})
			CheckInventory(next, []DocumentRef{d.Ref()})
			next.Wanted(WantedInput{})
			gone := apply(t, next, 3, &DeleteDocument{d.Ref()})
			if after := spaceOf(gone); after != before {
				t.Errorf("%v left something behind:\n%s\nbefore:\n%s", d.Ref(), after, before)
			}
			CheckInventory(gone, []DocumentRef{d.Ref()})
		}
	})
}

func checkCanonical(t *testing.T, c *Customer) {
	t.Helper()
	var all []netip.Prefix
	all = append(all, c.Official...)
	for _, l := range c.Links {
		all = append(all, l.Prefix)
	}
	for _, p := range all {
		if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() || p.Bits() == 0 {
			t.Errorf("accepted %q", p)
		}
	}
}

// spaceOf is all space of s in words, with whose it is and why it is protected.
func spaceOf(s *State) string {
	var b strings.Builder
	for _, all := range mustPrefixes("0.0.0.0/0", "::/0") {
		for p, id := range s.OfficialInside(all) {
			fmt.Fprintln(&b, "official", p, id)
		}
		fmt.Fprintln(&b, "protected", s.ProtectedOverlapping(all))
	}
	fmt.Fprintln(&b, s.inv.official.table.Size(), s.inv.protected.table.Size(), s.LinkCount())
	return b.String()
}

package policy

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/profile"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// The bounds of what a single document may say. They are there to catch slips and floods, not to be reached.
const (
	maxNameLength   = 64
	maxTextLength   = 200
	maxPrefixes     = 4096 // official prefixes of a customer, its links, prefixes of a block
	maxEntries      = 1024 // other lists
	maxContacts     = 32
	maxTags         = 32
	maxPriority     = 1_000_000
	maxCount        = 10_000_000
	maxMaxPieces    = 1024
	longestLifetime = 366 * 24 * time.Hour
	shortestLife    = time.Second
	asTrans         = 23456 // RFC 6793 section 9: stands for another ASN, belongs to nobody
	lastASN16       = 65535 // RFC 7300
)

// breadth is the shortest prefix length that something may have, by family.
type breadth struct{ v4, v6 int }

// The widest that a document may say. A link that is too wide would silently leave a customer without protection
// against attacks.
func widestOfficial() breadth { return breadth{8, 16} }
func widestBlock() breadth    { return breadth{8, 16} }
func widestLink() breadth     { return breadth{24, 48} }
func widestRTBH() breadth     { return breadth{24, 48} } // beyond that others take no route either, blackhole or not

// Ref returns the kind and the id of d.
func (d *Customer) Ref() DocumentRef { return DocumentRef{KindCustomer, string(d.ID)} }

// Ref returns the kind and the name of d.
func (d *ProtectedBlock) Ref() DocumentRef { return DocumentRef{KindProtectedBlock, d.Name} }

// Ref returns the kind and the name of d.
func (d *Router) Ref() DocumentRef { return DocumentRef{KindRouter, d.Name} }

// Ref returns the kind and the name of d.
func (d *Policy) Ref() DocumentRef { return DocumentRef{KindPolicy, d.Name} }

// Ref returns the kind and the name of d.
func (d *Safeguards) Ref() DocumentRef { return DocumentRef{KindSafeguards, d.Name} }

// Kind is what the session with the router carries: FlowSpec rules, if it is not said.
func (d *Router) Kind() wanted.Kind {
	if d.Carries == 0 {
		return wanted.FlowSpec
	}
	return d.Carries
}

// Speaks reports whether the router takes routes of family f. A router that lists no family takes both; blackholes need a
// next hop of the family besides.
func (d *Router) Speaks(f flowspec.Family) bool {
	if d.Kind() == wanted.RTBH && !d.discard(f).IsValid() {
		return false
	}
	return len(d.Families) == 0 || slices.Contains(d.Families, f)
}

func (d *Router) discard(f flowspec.Family) netip.Addr {
	if f == flowspec.IPv4 {
		return d.DiscardIPv4
	}
	return d.DiscardIPv6
}

// Hears reports whether the router is told of routes of a kind and family that are for these groups, all if there are
// none.
func (d *Router) Hears(k wanted.Kind, groups []string, f flowspec.Family) bool {
	return d.inReach(k, groups) && d.Speaks(f)
}

// inReach is Hears for any family.
func (d *Router) inReach(k wanted.Kind, groups []string) bool {
	return d.Kind() == k && (len(groups) == 0 || slices.Contains(groups, d.Group))
}

// MaxRules is the hard budget of rules that the router may hear: 80 % of its own limit.
func (d *Router) MaxRules() int { return d.MaxPrefix/100*routerShare + d.MaxPrefix%100*routerShare/100 }

// Validate reports what is wrong with the customer by itself.
func (d *Customer) Validate() []Violation {
	c := checker{ref: d.Ref()}
	c.name("id", string(d.ID))
	c.text("name", d.Name)
	c.prefixes("official", d.Official, widestOfficial())
	for i, p := range d.Official {
		c.notBuiltIn(item("official", i), p)
	}
	if d.Within != "" {
		c.name("within", string(d.Within))
		if d.Within == d.ID {
			c.add("within", "a customer cannot lie within itself", "name the customer whose space this one's is part of, or leave it out")
		}
	}
	c.links(d.Links)
	c.services(d)
	names(&c, "tags", d.Tags)
	c.count("contacts", len(d.Contacts), maxContacts)
	for i, s := range d.Contacts {
		c.contact(item("contacts", i), s)
	}
	c.between("max_mitigations", d.MaxMitigations, 0, maxCount)
	c.between("max_rules", d.MaxRules, 0, maxCount)
	c.consent(d)
	c.selfService(d)
	return c.found
}

func (c *checker) links(links []Link) {
	c.count("links", len(links), maxPrefixes)
	all := make([]netip.Prefix, len(links))
	for i, l := range links {
		at := item("links", i)
		all[i] = l.Prefix
		if c.prefix(at+".prefix", l.Prefix) {
			c.breadth(at+".prefix", l.Prefix, widestLink())
		}
		c.text(at+".pe", l.PE)
		c.text(at+".interface", l.Interface)
		c.optionalName(at+".block", l.Block)
		switch l.State {
		case LinkInUse, LinkMoving, LinkClean, LinkUnstated, "":
		default:
			c.add(at+".state", fmt.Sprintf("%q is not a state of a link", l.State), "write in-use, moving, clean or unstated")
		}
	}
	for i, j := range overlaps(all) {
		if all[i] == all[j] {
			c.add(item("links", i)+".prefix", fmt.Sprintf("%s is listed twice, also as links[%d]", all[i], j), "remove one of the two")
			continue
		}
		c.add(item("links", i)+".prefix", fmt.Sprintf("%s overlaps %s of links[%d]", all[i], all[j], j),
			"correct the prefix length of one of the two: links are subnets of their own")
	}
}

// Validate reports what is wrong with the block by itself.
func (d *ProtectedBlock) Validate() []Violation {
	c := checker{ref: d.Ref()}
	c.name("name", d.Name)
	switch d.Kind {
	case BlockLinks, BlockInfrastructure, BlockCustomerEdge, BlockIXPLAN, BlockResolver, BlockController, BlockDetector:
	default:
		c.add("kind", fmt.Sprintf("%q is not a kind of block", d.Kind),
			"write link-block, infrastructure, customer-edge, ixp-lan, resolver, controller or detector")
	}
	if len(d.Prefixes) == 0 {
		c.add("prefixes", "a block without prefixes protects nothing", "list its prefixes, or remove the document")
	}
	c.prefixes("prefixes", d.Prefixes, widestBlock())
	c.text("note", d.Note)
	return c.found
}

// Validate reports what is wrong with the router by itself.
func (d *Router) Validate() []Violation {
	c := checker{ref: d.Ref()}
	c.name("name", d.Name)
	c.routerAddress("address", d.Address)
	switch d.ASN {
	case 0, asTrans, lastASN16, math.MaxUint32:
		c.add("asn", fmt.Sprintf("%d is a reserved ASN", d.ASN), "write the router's own ASN")
	}
	c.name("group", d.Group)
	for i, f := range d.Families {
		switch {
		case f != flowspec.IPv4 && f != flowspec.IPv6:
			c.add(item("families", i), fmt.Sprintf("there is no family %d", uint8(f)), "write ipv4 or ipv6")
		case slices.Contains(d.Families[:i], f):
			c.add(item("families", i), "the family is listed twice", "remove one of the two")
		}
	}
	switch d.Validation {
	case ValidationIBGP9117, ValidationDisabled:
		if d.Kind() == wanted.RTBH {
			c.add("validation", "it is about FlowSpec rules, and the session carries rtbh", "leave it out")
		}
	case "":
		if d.Kind() == wanted.RTBH {
			break
		}
		c.add("validation", "it is not said how the router is kept from dropping the rules of a central controller (RFC 8955 section 6)",
			"write ibgp-9117 or disabled-by-import-policy, as the router is configured")
	default:
		c.add("validation", fmt.Sprintf("%q is not a way of validation", d.Validation), "write ibgp-9117 or disabled-by-import-policy")
	}
	c.profile(d)
	c.between("max_prefix", d.MaxPrefix, 2, maxCount)
	c.between("rules_per_second", d.RulesPerSecond, 0, maxCount)
	c.optionalName("password_secret", d.PasswordSecret)
	if d.TTLSecurity && d.Multihop > 1 {
		c.add("multihop", "TTL security takes packets from direct neighbours only (RFC 5082)", "leave out multihop or ttl_security")
	}
	c.carries(d)
	return c.found
}

// profile checks the name of a router's model, and that one without a recorded run is accepted.
func (c *checker) profile(d *Router) {
	c.between("max_entries", d.MaxEntries, 0, maxCount)
	if d.Profile == "" {
		if d.Kind() == wanted.FlowSpec {
			c.add("profile", "it is not said which model the router is, so that nothing would tell which rules it carries out, and at what price",
				"write one of "+strings.Join(profile.Names(), ", ")+"; for any other model write generic, with accept_untested: true")
			return
		}
		if d.MaxEntries != 0 {
			c.add("max_entries", "what a rule costs is known of a profile only", "name the router's profile: "+strings.Join(profile.Names(), ", "))
		}
		return
	}
	p, known := profile.Lookup(d.Profile)
	if !known {
		c.add("profile", fmt.Sprintf("there is no profile %q", clip(d.Profile)), "write one of "+strings.Join(profile.Names(), ", ")+"; for any other model generic, with accept_untested: true")
		return
	}
	if f, ok := p.Admit(d.AcceptUntested); !ok {
		c.add("profile", f.Text, f.Fix)
	}
	if d.Kind() == wanted.RTBH && !p.RTBH.OK {
		c.add("carries", fmt.Sprintf("profile %s %s", p.Name, p.RTBH.Instead), "announce blackhole routes to other routers")
	}
}

// carries checks what a router carries, and the next hops of blackholes.
func (c *checker) carries(d *Router) {
	c.discardAddress("discard_ipv4", d.DiscardIPv4, flowspec.IPv4)
	c.discardAddress("discard_ipv6", d.DiscardIPv6, flowspec.IPv6)
	switch d.Kind() {
	case wanted.FlowSpec:
		for _, f := range [...]flowspec.Family{flowspec.IPv4, flowspec.IPv6} {
			if d.discard(f).IsValid() {
				c.add(discardField(f), "it is the next hop of blackhole routes, and the session carries flowspec", "leave it out, or write carries: rtbh")
			}
		}
	case wanted.RTBH:
		if !d.DiscardIPv4.IsValid() && !d.DiscardIPv6.IsValid() {
			c.add("discard_ipv4", "there is no next hop for blackhole routes",
				"write the address that the router has a discard route for, for example 192.0.2.1, and discard_ipv6, for example 100::1")
			return
		}
		for i, f := range d.Families {
			if (f == flowspec.IPv4 || f == flowspec.IPv6) && !d.discard(f).IsValid() {
				c.add(discardField(f), fmt.Sprintf("there is no next hop for blackhole routes of families[%d]", i),
					"write the address that the router has a discard route for, or leave the family out")
			}
		}
	default:
		c.add("carries", fmt.Sprintf("there is no kind of route %d", uint8(d.Carries)), "write flowspec or rtbh")
	}
}

func discardField(f flowspec.Family) string {
	if f == flowspec.IPv4 {
		return "discard_ipv4"
	}
	return "discard_ipv6"
}

// discardAddress checks the next hop of blackholes of family f; it may be missing.
func (c *checker) discardAddress(field string, a netip.Addr, f flowspec.Family) {
	example := "write an address that the router has a discard route for, for example 192.0.2.1"
	if f == flowspec.IPv6 {
		example = "write an address that the router has a discard route for, for example 100::1 (RFC 6666)"
	}
	switch {
	case !a.IsValid():
	case a.Zone() != "" || a.Is4In6() || a.Is4() != (f == flowspec.IPv4):
		c.add(field, fmt.Sprintf("%s is not an %s address", a, f), example)
	case !a.IsGlobalUnicast():
		c.add(field, fmt.Sprintf("%s cannot be a next hop", a), example)
	}
}

func (c *checker) routerAddress(field string, a netip.Addr) {
	switch {
	case !a.IsValid():
		c.add(field, "the address is missing or is none", "write the address of the BGP session, for example 192.0.2.1")
	case a.Zone() != "":
		c.add(field, fmt.Sprintf("%s has a zone, which means something on one machine only", a), "write the global address of the router")
	case a.Is4In6():
		c.add(field, fmt.Sprintf("%s is an IPv4-mapped IPv6 address", a), "write "+a.Unmap().String())
	case a.IsUnspecified() || a.IsMulticast() || a == prefix4(255, 255, 255, 255, 32).Addr():
		c.add(field, fmt.Sprintf("%s is not the address of one machine", a), "write the address of the BGP session, for example 192.0.2.1")
	}
}

// Validate reports what is wrong with the policy by itself.
func (d *Policy) Validate() []Violation {
	c := checker{ref: d.Ref()}
	c.name("name", d.Name)
	c.between("priority", d.Priority, -maxPriority, maxPriority)
	c.vectors("vectors", d.Vectors)
	names(&c, "customers", d.Customers)
	names(&c, "sources", d.Sources)
	names(&c, "groups", d.Groups)
	d.validateChoice(&c)
	c.ladder(d)
	c.quiet(d)
	if d.Lifetime != 0 {
		c.lifetime("lifetime", d.Lifetime)
	}
	return c.found
}

func (c *checker) vectors(field string, list []Vector) {
	if c.count(field, len(list), maxEntries); len(list) > maxEntries {
		return
	}
	for i, v := range list {
		if !v.known() {
			c.add(item(field, i), fmt.Sprintf("there is no vector %q", clip(string(v))), VectorFix("write", v))
		}
		if slices.Contains(list[:i], v) {
			c.add(item(field, i), fmt.Sprintf("%q is listed twice", clip(string(v))), "remove one of the two")
		}
	}
}

// action checks an action as a policy may ask for it, whose targets may be of either family.
func (c *checker) action(field string, a Action) {
	for _, w := range a.check(0) {
		c.add(below(field, w.field), w.problem, w.fix)
	}
}

// below is the path of a field inside another; an empty one is the other itself.
func below(outer, field string) string {
	if field == "" {
		return outer
	}
	return outer + "." + field
}

// Validate reports what is wrong with the safeguards by themselves.
func (d *Safeguards) Validate() []Violation {
	c := checker{ref: d.Ref()}
	if d.Name != SafeguardsName {
		c.add("name", fmt.Sprintf("%q: there is one document of this kind only", d.Name), "write name: "+SafeguardsName)
	}
	c.between("widest_ipv4", int(d.WidestIPv4), widestOfficial().v4, 32)
	c.between("widest_ipv6", int(d.WidestIPv6), widestOfficial().v6, 128)
	c.between("max_pieces", d.MaxPieces, 1, maxMaxPieces)
	c.between("max_mitigations", d.MaxMitigations, 0, maxCount)
	c.between("shortest_rtbh_ipv4", int(d.ShortestRTBH(flowspec.IPv4)), widestRTBH().v4, 32)
	c.between("shortest_rtbh_ipv6", int(d.ShortestRTBH(flowspec.IPv6)), widestRTBH().v6, 128)
	c.between("max_rtbh_routes", d.RTBHRoutes(), 1, maxMaxPieces)
	c.approvals(d)
	c.lifetime("default_lifetime", d.DefaultLifetime)
	c.lifetime("max_lifetime", d.MaxLifetime)
	if d.DefaultLifetime > d.MaxLifetime {
		c.add("default_lifetime", fmt.Sprintf("%s is longer than the maximum of %s", span(d.DefaultLifetime), span(d.MaxLifetime)),
			"lower default_lifetime or raise max_lifetime")
	}
	if p := d.MaxRemovedLinksPercent; !(p >= 0 && p <= 100) { // NaN is refused too
		c.add("max_removed_links_percent", strconv.FormatFloat(p, 'g', -1, 64)+" is not a percentage", "write a number from 0 to 100, for example 2")
	}
	c.bounds(d)
	return c.found
}

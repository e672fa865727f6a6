package policy

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/tidegate/tidegate/bgp/wanted"
)

// CheckInventory reports where the touched documents contradict other documents of s, which is the State as it would
// be after the change. A document that was removed is named in touched too: what still refers to it is reported. What
// concerns two touched documents is reported once. The cost is that of the touched documents, plus one walk over
// those that could refer to them.
//
// The rules: official prefixes of two customers overlap only if the inner one's customer is declared, over any number
// of steps, to lie within the outer one's, and are never equal; a customer that is declared to lie within another one
// has all its official prefixes inside official prefixes of that one; links of two customers do not overlap; the
// block of a link exists and contains it; no two routers have the same address; policies name customers and groups
// that exist and lifetimes within the safeguards, and blackhole only if a router carries blackhole routes.
func CheckInventory(s *State, touched []DocumentRef) []Violation {
	c := &crossCheck{s: s, touched: make(map[DocumentRef]bool, len(touched))}
	for _, ref := range touched {
		c.touched[ref] = true
	}
	for _, ref := range sortedRefs(c.touched) {
		if ref.Kind == KindCustomer {
			if d, ok := s.Customer(CustomerID(ref.Name)); ok {
				c.customer(d)
			}
		}
	}
	c.dependants()
	c.routers()
	c.policies()
	return c.found
}

func sortedRefs(set map[DocumentRef]bool) []DocumentRef {
	refs := make([]DocumentRef, 0, len(set))
	for ref := range set {
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, compareRefs)
	return refs
}

func compareRefs(a, b DocumentRef) int {
	rank := func(k DocumentKind) int {
		kinds := documentKinds()
		return slices.Index(kinds[:], k)
	}
	if d := rank(a.Kind) - rank(b.Kind); d != 0 {
		return d
	}
	switch {
	case a.Name < b.Name:
		return -1
	case a.Name > b.Name:
		return 1
	}
	return 0
}

// crossCheck is a check of documents against each other.
type crossCheck struct {
	s       *State
	touched map[DocumentRef]bool
	found   []Violation
}

func (c *crossCheck) add(ref DocumentRef, field, problem, fix string) {
	c.found = append(c.found, Violation{Document: ref, Field: field, Problem: problem, Fix: fix})
}

func (c *crossCheck) customer(d *Customer) {
	c.within(d)
	for i, p := range d.Official {
		if p, ok := canonical(p); ok {
			c.official(d, i, p)
		}
	}
	for i := range d.Links {
		if p, ok := canonical(d.Links[i].Prefix); ok {
			c.link(d, i, p)
			c.linkBlock(d, i, p)
		}
	}
}

// within checks the declaration of nesting of one customer.
func (c *crossCheck) within(d *Customer) {
	if d.Within == "" {
		return
	}
	parent, ok := c.s.Customer(d.Within)
	if !ok {
		c.add(d.Ref(), "within", fmt.Sprintf("there is no customer %q", d.Within), "name an existing customer, or leave it out")
		return
	}
	if c.liesWithin(parent, d.ID) {
		c.add(d.Ref(), "within", fmt.Sprintf("%q lies within %q itself: the nesting is a circle", d.Within, d.ID),
			"leave out within for the outermost customer")
		return
	}
	for i, p := range d.Official {
		if !slices.ContainsFunc(parent.Official, func(q netip.Prefix) bool { return contains(q, p) }) {
			c.add(d.Ref(), item("official", i), fmt.Sprintf("%s is not inside an official prefix of %q, in which %q is declared to lie",
				p, parent.ID, d.ID), "correct the prefix, leave out within, or make a customer of its own for this prefix")
		}
	}
}

// liesWithin reports whether d is declared to lie within the customer id, over any number of steps.
func (c *crossCheck) liesWithin(d *Customer, id CustomerID) bool {
	seen := map[CustomerID]bool{} // a circle among others must not hold us
	for d.Within != "" && !seen[d.ID] {
		if d.Within == id {
			return true
		}
		seen[d.ID] = true
		parent, ok := c.s.Customer(d.Within)
		if !ok {
			return false
		}
		d = parent
	}
	return false
}

// contains reports whether all of p lies in q.
func contains(q, p netip.Prefix) bool { return q.Bits() <= p.Bits() && q.Overlaps(p) }

// official checks the i-th official prefix p of d against those of others, around it and inside it.
func (c *crossCheck) official(d *Customer, i int, p netip.Prefix) {
	for q, o := range c.s.inv.official.table.Supernets(p) {
		for _, other := range o.owners {
			switch {
			case other.ID == d.ID:
			case p == q:
				if !c.touched[other.Ref()] || d.ID < other.ID {
					c.add(d.Ref(), item("official", i), fmt.Sprintf("%s is also official space of customer %q", p, other.ID),
						"remove it from one of the two: space has one owner")
				}
			case !c.liesWithin(d, other.ID):
				c.add(d.Ref(), item("official", i), fmt.Sprintf("%s lies inside %s of customer %q", p, q, other.ID),
					fmt.Sprintf("declare within: %s, or correct the prefix", other.ID))
			}
		}
	}
	for q, o := range c.s.inv.official.table.Subnets(p) {
		for _, other := range o.owners {
			// What is itself touched has been, or will be, reported from its own side.
			if other.ID == d.ID || p == q || c.touched[other.Ref()] || c.liesWithin(other, d.ID) {
				continue
			}
			c.add(d.Ref(), item("official", i), fmt.Sprintf("%s contains %s of customer %q", p, q, other.ID),
				fmt.Sprintf("declare within: %s in customer %q, or correct the prefix", d.ID, other.ID))
		}
	}
}

// link checks the i-th link of d against those of other customers.
func (c *crossCheck) link(d *Customer, i int, p netip.Prefix) {
	report := func(q netip.Prefix, ps *protectedSpace) {
		for _, e := range ps.reasons {
			other := DocumentRef{KindCustomer, e.Name}
			if e.Kind != ExemptLink || e.Name == string(d.ID) || c.touched[other] && e.Name < string(d.ID) {
				continue
			}
			problem := fmt.Sprintf("%s overlaps link %s of customer %q", p, q, e.Name)
			if p == q {
				problem = fmt.Sprintf("%s is also a link of customer %q", p, e.Name)
			}
			c.add(d.Ref(), item("links", i)+".prefix", problem, "correct the prefix, or remove it from one of the two: a link has one customer")
		}
	}
	for q, ps := range c.s.inv.protected.table.Supernets(p) {
		report(q, ps)
	}
	for q, ps := range c.s.inv.protected.table.Subnets(p) {
		if q != p {
			report(q, ps)
		}
	}
}

func (c *crossCheck) linkBlock(d *Customer, i int, p netip.Prefix) {
	name := d.Links[i].Block
	if name == "" {
		return
	}
	field := item("links", i) + ".block"
	b, ok := c.s.Block(name)
	if !ok {
		c.add(d.Ref(), field, fmt.Sprintf("there is no protected block %q", name), "name an existing block, or leave it out")
		return
	}
	if !slices.ContainsFunc(b.Prefixes, func(q netip.Prefix) bool { return contains(q, p) }) {
		c.add(d.Ref(), field, fmt.Sprintf("protected block %q does not contain %s", name, p),
			"name the block that the link was taken from, or correct one of the two prefixes")
	}
}

// dependants checks the customers that were not touched themselves but refer to what was touched.
func (c *crossCheck) dependants() {
	if !c.touchedAny(KindCustomer) && !c.touchedAny(KindProtectedBlock) {
		return
	}
	for d := range c.s.Customers() {
		if c.touched[d.Ref()] {
			continue
		}
		if d.Within != "" && c.touched[DocumentRef{KindCustomer, string(d.Within)}] {
			c.within(d)
		}
		c.ancestry(d)
		for i := range d.Links {
			l := &d.Links[i]
			if l.Block == "" || !c.touched[DocumentRef{KindProtectedBlock, l.Block}] {
				continue
			}
			if p, ok := canonical(l.Prefix); ok {
				c.linkBlock(d, i, p)
			}
		}
	}
}

// ancestry checks the official space of a customer whose nesting was declared through a customer that was touched.
func (c *crossCheck) ancestry(d *Customer) {
	seen := map[CustomerID]bool{}
	for at := d; at.Within != "" && !seen[at.ID]; {
		seen[at.ID] = true
		parent, ok := c.s.Customer(at.Within)
		if c.touched[DocumentRef{KindCustomer, string(at.Within)}] {
			for i, p := range d.Official {
				if p, valid := canonical(p); valid {
					c.unnested(d, i, p)
				}
			}
			return
		}
		if !ok {
			return
		}
		at = parent
	}
}

// unnested reports customers around p, not touched themselves, in which d is no longer declared to lie.
func (c *crossCheck) unnested(d *Customer, i int, p netip.Prefix) {
	for q, o := range c.s.inv.official.table.Supernets(p) {
		for _, other := range o.owners {
			if other.ID == d.ID || q == p || c.touched[other.Ref()] || c.liesWithin(d, other.ID) {
				continue
			}
			c.add(d.Ref(), item("official", i), fmt.Sprintf("%s lies inside %s of customer %q", p, q, other.ID),
				fmt.Sprintf("declare within: %s, or correct the prefix", other.ID))
		}
	}
}

func (c *crossCheck) touchedAny(k DocumentKind) bool {
	for ref := range c.touched {
		if ref.Kind == k {
			return true
		}
	}
	return false
}

func (c *crossCheck) routers() {
	if !c.touchedAny(KindRouter) {
		return
	}
	first := map[netip.Addr]*Router{}
	for d := range c.s.Routers() {
		a := d.Address.Unmap().WithZone("")
		other, taken := first[a]
		if !taken {
			first[a] = d
			continue
		}
		at, against := d, other
		if !c.touched[d.Ref()] {
			at, against = other, d
		}
		if c.touched[at.Ref()] {
			c.add(at.Ref(), "address", fmt.Sprintf("%s is also the address of router %q", a, against.Name),
				"correct one of the two: there is one session to an address")
		}
	}
}

// policies checks every policy that was touched, or all of them if something that policies refer to was.
func (c *crossCheck) policies() {
	all := c.touchedAny(KindCustomer) || c.touchedAny(KindRouter) || c.touchedAny(KindSafeguards)
	if !all && !c.touchedAny(KindPolicy) {
		return
	}
	groups := map[string]bool{}
	blackholes := false
	for r := range c.s.Routers() {
		groups[r.Group] = true
		blackholes = blackholes || r.Kind() == wanted.RTBH
	}
	for d := range c.s.inv.policies.values() {
		if all || c.touched[d.Ref()] {
			c.policy(d, groups)
			if !blackholes {
				c.noBlackholes(d)
			}
		}
	}
}

// noBlackholes reports a step that blackholes, for which there is no router.
func (c *crossCheck) noBlackholes(d *Policy) {
	for i, step := range d.steps() {
		if step.Action.RouteKind() != wanted.RTBH {
			continue
		}
		field, what := "action.rtbh", "every signal would be refused"
		if len(d.Ladder) > 0 {
			field, what = item("ladder", i)+".action.rtbh", "the step would always be refused"
		}
		c.add(d.Ref(), field, "no router carries blackhole routes: "+what, "add a router with carries: rtbh, or choose another action")
	}
}

func (c *crossCheck) policy(d *Policy, groups map[string]bool) {
	for i, id := range d.Customers {
		if _, ok := c.s.Customer(id); !ok {
			c.add(d.Ref(), item("customers", i), fmt.Sprintf("there is no customer %q", id), "correct the name, or remove it from the policy")
		}
	}
	for i, g := range d.Groups {
		if !groups[g] {
			c.add(d.Ref(), item("groups", i), fmt.Sprintf("no router is in group %q", g), "correct the name, or remove it from the policy")
		}
	}
	if limit := c.s.Safeguards().MaxLifetime; d.Lifetime > limit {
		c.add(d.Ref(), "lifetime", fmt.Sprintf("%s is longer than the safeguards' maximum of %s", span(d.Lifetime), span(limit)),
			"lower it, or raise max_lifetime in the safeguards")
	}
}

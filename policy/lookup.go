package policy

import (
	"iter"
	"net/netip"
	"slices"
)

// Lookup is what is known of an address.
type Lookup struct {
	Customer *Customer    // whose it is; nil: nobody's
	Official netip.Prefix // the most specific official prefix that holds the address
	// Protected: no rule ever acts on packets to this address.
	Protected  bool
	Protection Exemption // the most specific one; with equal prefixes a link goes before a block
}

// Lookup says whose address a is, and whether it is protected. An IPv4-mapped IPv6 address is looked up as the IPv4
// address that it stands for; a zone is ignored. It allocates nothing.
func (s *State) Lookup(a netip.Addr) Lookup {
	if a.Is4In6() || a.Zone() != "" {
		a = a.Unmap().WithZone("")
	}
	var l Lookup
	if o, ok := s.inv.official.table.Lookup(a); ok {
		l.Customer, l.Official = o.owners[0], o.prefix
	}
	if p, ok := s.inv.protected.table.Lookup(a); ok {
		l.Protected, l.Protection = true, p.reasons[0]
	}
	return l
}

// Owner returns the most specific official prefix that contains all of p, and the customer that it belongs to.
func (s *State) Owner(p netip.Prefix) (netip.Prefix, *Customer, bool) {
	p, ok := canonical(p)
	if !ok {
		return netip.Prefix{}, nil, false
	}
	o, ok := s.inv.official.table.LookupPrefix(p)
	if !ok {
		return netip.Prefix{}, nil, false
	}
	return o.prefix, o.owners[0], true
}

// OfficialInside yields the official prefixes that are equal to p or inside it, in address order, each with its
// customer.
func (s *State) OfficialInside(p netip.Prefix) iter.Seq2[netip.Prefix, CustomerID] {
	return func(yield func(netip.Prefix, CustomerID) bool) {
		p, ok := canonical(p)
		if !ok {
			return
		}
		for q, o := range s.inv.official.table.Subnets(p) {
			for _, c := range o.owners {
				if !yield(q, c.ID) {
					return
				}
			}
		}
	}
}

// ProtectedOverlapping returns every protected prefix that overlaps p, those that cover it as well as those inside
// it, with all reasons for which it is protected: sorted by prefix, then links, blocks, built-in ones.
func (s *State) ProtectedOverlapping(p netip.Prefix) []Exemption {
	p, ok := canonical(p)
	if !ok {
		return nil
	}
	var out []Exemption
	for q, ps := range s.inv.protected.table.Supernets(p) {
		if q != p { // p itself is among its subnets
			out = append(out, ps.reasons...)
		}
	}
	for _, ps := range s.inv.protected.table.Subnets(p) {
		out = append(out, ps.reasons...)
	}
	slices.SortFunc(out, compareExemptions)
	return slices.Compact(out)
}

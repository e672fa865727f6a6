package policy

import (
	"net/netip"

	"github.com/gaissmai/bart"
)

// bulkPrefixes is the number of prefixes from which an entry clones a space once and changes the clone in place,
// instead of copying the path to each prefix: a large apply is then linear in its own size.
const bulkPrefixes = 256

// space is a map of the State with prefixes as keys: persistent like table. Its prefixes are canonical.
type space[V any] struct {
	table *bart.Fast[V]
	owned bool // the table is a clone that nobody else has seen yet, so it may be changed in place
}

// own clones the table for the Apply that is under way.
func (s *space[V]) own() {
	if !s.owned {
		s.table, s.owned = s.table.Clone(), true
	}
}

func (s *space[V]) commit() { s.owned = false }

func (s *space[V]) get(p netip.Prefix) (V, bool) { return s.table.Get(p) }

func (s *space[V]) set(p netip.Prefix, v V) {
	if s.owned {
		s.table.Insert(p, v)
		return
	}
	s.table = s.table.InsertPersist(p, v)
}

func (s *space[V]) remove(p netip.Prefix) {
	if s.owned {
		s.table.Delete(p)
		return
	}
	s.table = s.table.DeletePersist(p)
}

// canonical returns p without host bits and, if it is an IPv4-mapped IPv6 prefix, as the IPv4 prefix that it stands
// for: tables would otherwise hold the two side by side. It reports false for what is no prefix.
func canonical(p netip.Prefix) (netip.Prefix, bool) {
	if !p.IsValid() {
		return netip.Prefix{}, false
	}
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked(), true
}

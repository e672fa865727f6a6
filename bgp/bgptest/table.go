package bgptest

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// SessionID numbers the sessions of a Router in the order in which they came up, from 1.
type SessionID uint64

// Route is one rule, or one unicast route, as it was heard, with its path attributes.
type Route struct {
	Key  flowspec.Key  // of a unicast route the AFI octet, 0 and the NLRI octets
	Rule flowspec.Rule // the match, and those extended communities that are actions; a unicast route has none
	// Unicast says that it is a plain unicast route (SAFI 1) to Prefix over NextHop, and no rule.
	Unicast       bool
	Prefix        netip.Prefix
	NextHop       netip.Addr
	MED           uint32
	HasMED        bool
	Origin        uint8  // 0 is IGP
	LocalPref     uint32 // 0 if absent
	ASPath        []flowspec.ASN
	NextHopLength int
	Communities   []uint32
	Large         [][3]uint32
	Extended      [][8]byte
	Extended6     [][20]byte // IPv6 address specific (RFC 5701)

	Session  SessionID
	From     netip.Addr // router id of the speaker
	External bool       // heard over eBGP
	Since    time.Time  // when this version was heard
}

// Table is what a Router has heard and not lost: for each key, one Route per session that announces it.
type Table struct {
	routes map[flowspec.Key]map[SessionID]Route
}

// Len is the number of keys that at least one session announces.
func (t Table) Len() int { return len(t.routes) }

// Has reports whether at least one session announces k.
func (t Table) Has(k flowspec.Key) bool { return len(t.routes[k]) > 0 }

// Keys are the keys that at least one session announces, in ascending order.
func (t Table) Keys() []flowspec.Key {
	out := make([]flowspec.Key, 0, len(t.routes))
	for k := range t.routes {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// Paths are the routes of k, best first.
func (t Table) Paths(k flowspec.Key) []Route {
	out := make([]Route, 0, len(t.routes[k]))
	for _, r := range t.routes[k] {
		out = append(out, r)
	}
	slices.SortFunc(out, compare)
	return out
}

// Best is the route of k that a router would use.
func (t Table) Best(k flowspec.Key) (Route, bool) {
	if paths := t.Paths(k); len(paths) > 0 {
		return paths[0], true
	}
	return Route{}, false
}

// Matching calls f with the best route of every rule that p matches, in no order, until f returns false. Unicast
// routes are no rules.
func (t Table) Matching(p *flowspec.Packet, f func(Route) bool) {
	for k, paths := range t.routes {
		for _, r := range paths {
			if !r.Unicast && r.Rule.Match.Matches(p) {
				best, _ := t.Best(k)
				if !f(best) {
					return
				}
			}
			break // all paths of a key match the same packets
		}
	}
}

// clone makes a Table that nobody changes.
func (t Table) clone() Table {
	c := Table{routes: make(map[flowspec.Key]map[SessionID]Route, len(t.routes))}
	for k, paths := range t.routes {
		m := make(map[SessionID]Route, len(paths))
		for id, r := range paths {
			m[id] = r
		}
		c.routes[k] = m
	}
	return c
}

// compare orders routes of one key, best first, by RFC 4271 section 9.1.2.2 as far as it applies to FlowSpec rules
// that their originators announce directly: highest LOCAL_PREF (9.1.1), shortest AS_PATH (a), lowest ORIGIN (b),
// lowest MED if the neighbouring AS is the same, where none is 0 (c), eBGP before iBGP (d), lowest router id (f). The
// distance to the next hop (e) does not apply, since FlowSpec has none. Routers often prefer the oldest eBGP path
// before (f); this one does not, so that results repeat.
func compare(a, b Route) int {
	med := 0
	if neighbourAS(a) == neighbourAS(b) {
		med = cmp.Compare(a.MED, b.MED)
	}
	kind := 0
	if a.External != b.External {
		if kind = 1; a.External {
			kind = -1
		}
	}
	return cmp.Or(
		cmp.Compare(b.LocalPref, a.LocalPref),
		cmp.Compare(len(a.ASPath), len(b.ASPath)),
		cmp.Compare(a.Origin, b.Origin),
		med,
		kind,
		a.From.Compare(b.From),
		cmp.Compare(a.Session, b.Session),
	)
}

// neighbourAS is the AS that a route came from; 0 for our own.
func neighbourAS(r Route) flowspec.ASN {
	if len(r.ASPath) == 0 {
		return 0
	}
	return r.ASPath[0]
}

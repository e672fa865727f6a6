// Package wanted is the border between those who decide and the BGP speaker: one plain, serialisable value that
// says everything the speaker may announce, to whom, until when, and what it must refuse. It owns no behaviour
// beyond checking and copying itself. The controller's reconciler fills a Set; bgp obeys it.
package wanted

import (
	"net/netip"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// Instant is a reading, in nanoseconds, of the node's elapsed clock: one that never steps and that goes on while
// the machine sleeps (CLOCK_BOOTTIME in the binary). Instants of different machines or boots do not compare.
type Instant int64

// Kind tells what a Route is on the wire.
type Kind uint8

// The kinds of route.
const (
	FlowSpec Kind = 1 // SAFI 133, RFC 8955 and 8956
	RTBH     Kind = 2 // SAFI 1 with the BLACKHOLE community: all traffic to one prefix is discarded (RFC 7999)
)

// Route is one announcement.
type Route struct {
	Kind Kind
	// Rule of an RTBH route has a destination as its one component, and no actions.
	Rule flowspec.Rule
	// Key is Rule.Match's key, or RTBHKey of its destination, computed once by whoever made the rule; the speaker
	// checks it against the bytes.
	Key flowspec.Key
	// MED fences stale nodes: 2^32-1 minus the log index of the key's last change that a router can see, so that the
	// newest committed action has the lowest MED and wins best path (RFC 4271 section 9.1.2.2 c).
	MED uint32
	// NotAfter is when the speaker withdraws the route by itself, whoever is alive.
	NotAfter Instant
	// Groups names the router groups that hear the route.
	Groups []string
	// Urgency orders pacing: higher is announced first.
	Urgency uint32
}

// Router is one BGP neighbour.
type Router struct {
	Name    string
	Address netip.Addr
	Port    uint16 // 0: 179
	ASN     flowspec.ASN
	Group   string
	// Carries is the kind of route that the session is for. FlowSpec and RTBH never share one: some routers refuse both
	// in one OPEN, and what breaks the one must not take the other along. It must be set. Two sessions between one pair
	// of addresses would collide (RFC 4271 section 6.8), so the RTBH session of a router that has a FlowSpec session goes
	// to another address of it, a second loopback for instance, or to a route server.
	Carries Kind
	IPv4    bool // negotiate ipv4-flowspec, or ipv4-unicast for RTBH
	IPv6    bool // negotiate ipv6-flowspec, or ipv6-unicast for RTBH
	// DiscardIPv4 and DiscardIPv6 are the next hops of RTBH routes, which the router has a discard route for
	// (RFC 7999 section 3.1, RFC 5635 section 3.1), for instance 192.0.2.1 and 100::1 (RFC 6666). Without one the router
	// hears no RTBH route of that family, and the family is not negotiated. They arrive as they are, over eBGP too.
	DiscardIPv4, DiscardIPv6 netip.Addr
	// MaxRoutes is the hard budget of this router, already reduced to the share of its max-prefix that we use.
	MaxRoutes int
	// RulesPerSecond paces announcements; 0 means unpaced.
	RulesPerSecond int
	// Password is the TCP-MD5 secret (RFC 2385), empty for none. It is never logged and never printed.
	Password string `json:"-"`
	// TTLSecurity asks for GTSM (RFC 5082): only packets with TTL 255 are accepted. Excludes Multihop.
	TTLSecurity bool
	// Multihop is the TTL of an eBGP session over several hops; 0 or 1 for a direct one.
	Multihop uint8
	// Unusable says in a sentence why this node must not dial the router, for instance because it lacks the router's
	// secret: without it the session would come up with less protection than was asked for. Empty: it may be dialled.
	Unusable string
}

// Set is all that a speaker announces. It replaces the Set before; an empty one withdraws everything. A zero
// Revision marks a Set that nobody filled in and is refused. Slices and Routes are shared, not copied: whoever made a
// Set does not change it afterwards. A Route that stays as it was may be the same value as in the Set before, and is
// then not looked at again.
type Set struct {
	Revision  uint64 // log index of the state that this Set was made from
	Routes    []*Route
	Protected []netip.Prefix // no route's destination may overlap one of these
	Official  []netip.Prefix // every route's destination lies inside one of these
	Routers   []Router
	// ShortestRTBH is the least length that the prefix of an RTBH route may have; 0 means 32 and 128.
	ShortestRTBH Lengths
	// LeaseUntil is when the speaker withdraws everything unless a later Set extends it.
	LeaseUntil Instant
}

// Lengths is a prefix length for each family, in bits.
type Lengths struct{ IPv4, IPv6 uint8 }

// RTBHKey is the identity of the RTBH route for p, which is masked: the AFI octet, 0, and the NLRI octets of RFC 4271
// section 4.3. No component has type 0, so it is never a FlowSpec rule's.
func RTBHKey(p netip.Prefix) flowspec.Key {
	b := []byte{byte(flowspec.IPv6), 0, byte(p.Bits())}
	if p.Addr().Is4() {
		b[0] = byte(flowspec.IPv4)
	}
	return flowspec.Key(append(b, p.Addr().AsSlice()[:(p.Bits()+7)/8]...))
}

// RTBHPrefix is the prefix that RTBHKey made k of, and whether it did.
func RTBHPrefix(k flowspec.Key) (netip.Prefix, bool) {
	if len(k) < 3 || k[1] != 0 {
		return netip.Prefix{}, false
	}
	octets := make([]byte, 4)
	if k[0] == byte(flowspec.IPv6) {
		octets = make([]byte, 16)
	}
	if copy(octets, k[3:]) < len(k[3:]) {
		return netip.Prefix{}, false
	}
	a, _ := netip.AddrFromSlice(octets) // 4 octets or 16
	p := netip.PrefixFrom(a, int(k[2]))
	if !p.IsValid() || p != p.Masked() || RTBHKey(p) != k {
		return netip.Prefix{}, false
	}
	return p, true
}

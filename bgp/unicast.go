package bgp

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// communityBlackhole marks an RTBH route (RFC 7999 section 5): 65535:666.
const communityBlackhole = 0xffff029a

// errUnicast is wrapped by the errors of the unicast NLRI.
var errUnicast = errors.New("not the NLRI of a unicast route")

// appendUnicast appends the NLRI of a unicast route to p (RFC 4271 section 4.3; in MP_REACH_NLRI RFC 4760 section 5).
func appendUnicast(dst []byte, p netip.Prefix) ([]byte, error) {
	if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() {
		return dst, fmt.Errorf("cannot encode prefix %q: %w", p, errUnicast)
	}
	dst = append(dst, byte(p.Bits()))
	return append(dst, p.Addr().AsSlice()[:(p.Bits()+7)/8]...), nil
}

// decodeUnicast is the inverse of appendUnicast, of one whole NLRI. RFC 4271 lets the bits behind the prefix be
// anything; here they are 0, since nothing else is sent.
func decodeUnicast(f flowspec.Family, b []byte) (netip.Prefix, error) {
	size := 16
	if f == flowspec.IPv4 {
		size = 4
	}
	if len(b) == 0 || int(b[0]) > 8*size || len(b) != 1+(int(b[0])+7)/8 {
		return netip.Prefix{}, fmt.Errorf("cannot decode %x: %w", b, errUnicast)
	}
	octets := make([]byte, size)
	copy(octets, b[1:])
	a, _ := netip.AddrFromSlice(octets)
	p := netip.PrefixFrom(a, int(b[0]))
	if p != p.Masked() || a.Is4In6() {
		return netip.Prefix{}, fmt.Errorf("cannot decode %x: %w", b, errUnicast)
	}
	return p, nil
}

// chainRTBH is chain of a route to one prefix that is discarded.
func (j *judged) chainRTBH(g *guard) *refusal {
	want := j.route.Rule
	if len(want.Actions) > 0 {
		return refuse(wanted.RefusedEncoding, "an RTBH route discards, and has no room for the action %s", want.Actions[0])
	}
	dst, no := onlyDestination(want.Match)
	if no != nil {
		return no
	}
	if len(want.Match.Components) > 1 {
		return refuse(wanted.RefusedEncoding, "an RTBH route has a destination and no room for another condition, as in %q", want.Match)
	}
	var err error
	if j.nlri, err = appendUnicast(nil, dst); err != nil {
		return refuse(wanted.RefusedEncoding, "%v", err)
	}
	j.family = want.Match.Family
	if own := string([]byte{byte(j.family), 0}) + string(j.nlri); string(j.route.Key) != own {
		return refuse(wanted.RefusedKey, "key %s is not that of the bytes %x", j.route.Key, j.nlri)
	}
	wire, err := decodeUnicast(j.family, j.nlri)
	if err != nil {
		return refuse(wanted.RefusedRoundTrip, "the bytes do not decode: %v", err)
	}
	if wire != dst {
		return refuse(wanted.RefusedRoundTrip, "the bytes decode to %q", wire)
	}
	if no := sameForGoBGP(wire, j.nlri); no != nil {
		return no
	}
	j.dst = wire
	return g.judge(wanted.RTBH, destinationOnly(wire))
}

// sameForGoBGP refuses a prefix that GoBGP would write otherwise than as nlri: IPv4 unicast is the one kind of route for
// which it takes no NLRI but its own.
func sameForGoBGP(p netip.Prefix, nlri []byte) *refusal {
	theirs, err := gobgp.NewIPAddrPrefix(p)
	if err != nil {
		return refuse(wanted.RefusedEncoding, "%v", err)
	}
	if b, err := theirs.Serialize(); err != nil || !bytes.Equal(b, nlri) {
		return refuse(wanted.RefusedRoundTrip, "GoBGP would send %x instead of %x", b, nlri)
	}
	return nil
}

// discardOf is the next hop of RTBH routes of family f at r; the zero one if it has none.
func discardOf(r *wanted.Router, f flowspec.Family) netip.Addr {
	if f == flowspec.IPv4 {
		return r.DiscardIPv4
	}
	return r.DiscardIPv6
}

// nextHopOf is the next hop with which r hears j; FlowSpec has none (RFC 8955 section 4).
func nextHopOf(r *wanted.Router, j *judged) netip.Addr {
	if j.route.Kind == wanted.RTBH {
		return discardOf(r, j.family)
	}
	return netip.Addr{}
}

// checkDiscard refuses next hops that could not reach the router as they are: GoBGP puts its own address in place of an
// unspecified one, and a link-local one would need another form.
func checkDiscard(r *wanted.Router) error {
	for _, f := range [...]flowspec.Family{flowspec.IPv4, flowspec.IPv6} {
		a := discardOf(r, f)
		if !a.IsValid() {
			continue
		}
		if a.Is4() != (f == flowspec.IPv4) || a.Is4In6() || a.Zone() != "" || a.IsUnspecified() || a.IsLoopback() ||
			a.IsMulticast() || a.IsLinkLocalUnicast() {
			return fmt.Errorf("cannot use router %q: discard next hop %q: %w", r.Name, a, ErrInvalidSet)
		}
	}
	return nil
}

// hears reports whether route is for r, as far as kind and group say.
func hears(r *wanted.Router, route *wanted.Route) bool {
	if r.Carries != route.Kind {
		return false
	}
	for _, g := range route.Groups {
		if g == r.Group {
			return true
		}
	}
	return false
}

// whyUnusable says why r must not be dialled; empty if it may.
func whyUnusable(r *wanted.Router) string {
	switch {
	case r.Unusable != "":
		return r.Unusable
	case len(configuredFamilies(r)) > 0:
		return ""
	case r.Carries == wanted.RTBH && (r.IPv4 || r.IPv6):
		return "the router has no discard next hop for RTBH routes of its families"
	default:
		return "the router has neither IPv4 nor IPv6"
	}
}

// refusalAt is why r does not hear j whatever its session does; nil if nothing of the kind is known.
func refusalAt(r *wanted.Router, j *judged) *refusal {
	if j.refusal != nil || j.route.Kind != wanted.RTBH || discardOf(r, j.family).IsValid() {
		return j.refusal
	}
	return refuse(wanted.RefusedNoNextHop, "router %q has no discard next hop for %s", r.Name, j.dst)
}

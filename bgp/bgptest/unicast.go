package bgptest

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// safiUnicast is the SAFI of plain unicast routes (RFC 4760 section 6).
const safiUnicast = 1

// unicastKey is the key of the unicast route to p: the AFI octet, 0, and the NLRI octets. No component of a FlowSpec
// rule has type 0, so it is never a rule's.
func unicastKey(p netip.Prefix) flowspec.Key {
	return flowspec.Key(appendPrefix([]byte{afiOf(p), 0}, p))
}

func afiOf(p netip.Prefix) byte {
	if p.Addr().Is4() {
		return byte(flowspec.IPv4)
	}
	return byte(flowspec.IPv6)
}

// appendPrefix appends the NLRI of p (RFC 4271 section 4.3).
func appendPrefix(b []byte, p netip.Prefix) []byte {
	b = append(b, byte(p.Bits()))
	return append(b, p.Addr().AsSlice()[:(p.Bits()+7)/8]...)
}

// eachPrefix calls f with each prefix of a list of NLRI (RFC 4271 section 4.3), masked.
func eachPrefix(family flowspec.Family, b []byte, f func(netip.Prefix)) error {
	size := 4
	switch family {
	case flowspec.IPv4:
	case flowspec.IPv6:
		size = 16
	default:
		return fmt.Errorf("AFI %d: %w", family, ErrMalformed)
	}
	for len(b) > 0 {
		bits := int(b[0])
		n := (bits + 7) / 8
		if bits > 8*size || len(b) < 1+n {
			return fmt.Errorf("prefix of %d bits: %w", bits, ErrMalformed)
		}
		a := make([]byte, size)
		copy(a, b[1:1+n])
		addr, _ := netip.AddrFromSlice(a)
		f(netip.PrefixFrom(addr, bits).Masked())
		b = b[1+n:]
	}
	return nil
}

// to is the unicast route to p with the attributes of r.
func (r Route) to(p netip.Prefix) Route {
	r.Unicast, r.Prefix, r.Key = true, p, unicastKey(p)
	return r
}

// marshalUnicast is the body of an UPDATE that announces r: IPv4 as RFC 4271 has it, IPv6 in MP_REACH_NLRI.
func marshalUnicast(attrs []byte, attr func(b []byte, flags, kind byte, v []byte) []byte, r *Route) ([]byte, error) {
	if !r.Prefix.IsValid() || r.Prefix != r.Prefix.Masked() || r.NextHop.Is4() != r.Prefix.Addr().Is4() {
		return nil, fmt.Errorf("cannot announce prefix %q with next hop %q", r.Prefix, r.NextHop)
	}
	if len(r.Communities) > 0 {
		var v []byte
		for _, c := range r.Communities {
			v = binary.BigEndian.AppendUint32(v, c)
		}
		attrs = attr(attrs, 0xc0, attrCommunity, v)
	}
	hop := r.NextHop.AsSlice()
	if r.Prefix.Addr().Is4() {
		return appendPrefix(updateBody(attr(attrs, 0x40, attrNextHop, hop)), r.Prefix), nil
	}
	reach := append([]byte{0, byte(flowspec.IPv6), safiUnicast, byte(len(hop))}, hop...)
	return updateBody(attr(attrs, 0x80, attrReach, appendPrefix(append(reach, 0), r.Prefix))), nil
}

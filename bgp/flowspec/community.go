package flowspec

import (
	"encoding/binary"
	"math"
	"net/netip"
)

// The path attributes that carry actions.
const (
	// AttrExtendedCommunities is the attribute of extended communities, eight octets each (RFC 4360).
	AttrExtendedCommunities uint8 = 16
	// AttrIPv6ExtendedCommunities is the attribute of IPv6 address specific extended communities, twenty octets each
	// (RFC 5701).
	AttrIPv6ExtendedCommunities uint8 = 25
)

// Type and subtype of the extended communities that carry actions (RFC 8955 section 7).
const (
	communityTrafficRateBytes   uint16 = 0x8006
	communityTrafficAction      uint16 = 0x8007
	communityRedirectAS2        uint16 = 0x8008
	communityTrafficMarking     uint16 = 0x8009
	communityTrafficRatePackets uint16 = 0x800c
	communityRedirectIPv4       uint16 = 0x8108
	communityRedirectAS4        uint16 = 0x8208
	// communityRedirectToIPv4 is an IPv4 address specific community of draft-ietf-idr-flowspec-redirect-ip.
	communityRedirectToIPv4 uint16 = 0x010c
	// communityRedirectToIPv6 stands in attribute 25, as does communityRedirectIPv6 (RFC 8956 section 6.1).
	communityRedirectToIPv6 uint16 = 0x000c
	communityRedirectIPv6   uint16 = 0x000d
)

// Bits of the last octet of a traffic-action, bit 47 being the lowest (RFC 8955 section 7.3).
const (
	terminalBit = 0x01 // T, bit 47: set means that later rules are evaluated too
	sampleBit   = 0x02 // S, bit 46
)

// copyBit is the C bit, the lowest of the local administrator of a redirect-to-ip.
const copyBit = 0x0001

// Attribute returns the number of the path attribute that carries a: AttrIPv6ExtendedCommunities for a route target or
// an address of IPv6, else AttrExtendedCommunities. It says how many octets AppendCommunity appends: 20 or 8.
func (a Action) Attribute() uint8 {
	if a.Type == RTRedirect && a.Target.Form == RTFormIPv6 || a.Type == RedirectToIP && !a.Address.Is4() {
		return AttrIPv6ExtendedCommunities
	}
	return AttrExtendedCommunities
}

// AppendCommunity appends the extended community of a: eight octets for attribute 16, or twenty for attribute 25, as
// Attribute says. An action that Validate refuses is refused, and dst returned unchanged.
//
//	0x8006  traffic-rate-bytes    AS of 2 octets, rate as a float of 4     RFC 8955 section 7.1
//	0x800c  traffic-rate-packets  AS of 2 octets, rate as a float of 4     RFC 8955 section 7.2
//	0x8007  traffic-action        5 octets 0, then S and T                 RFC 8955 section 7.3
//	0x8008  rt-redirect           AS of 2 octets, local of 4               RFC 8955 section 7.4
//	0x8108  rt-redirect           IPv4 address, local of 2                 RFC 8955 section 7.4
//	0x8208  rt-redirect           AS of 4 octets, local of 2               RFC 8955 section 7.4
//	0x8009  traffic-marking       5 octets 0, then the DSCP                RFC 8955 section 7.5
//	0x010c  redirect-to-ip        IPv4 address, 15 bits 0, then C          draft-ietf-idr-flowspec-redirect-ip
//	0x000d  rt-redirect           IPv6 address, local of 2 (attribute 25)  RFC 8956 section 6.1
//	0x000c  redirect-to-ip        IPv6 address, 15 bits 0, then C (25)     draft-ietf-idr-flowspec-redirect-ip
//
// Of an informative ASN above 65535 the two lower octets are sent, as RFC 8955 section 7.1 says. The encoding of
// redirect-to-ip is that of draft-ietf-idr-flowspec-redirect-ip-02 of 2015, which routers implement and later revisions
// keep. Its predecessor, draft-simpson-idr-flowspec-redirect, with community 0x0800 and the address as next hop of the
// route, is neither sent nor recognised: the community alone does not say where to.
func AppendCommunity(dst []byte, a Action) ([]byte, error) {
	if err := a.Validate(); err != nil {
		return dst, err
	}
	b := binary.BigEndian
	switch a.Type {
	case TrafficRateBytes:
		return appendRate(dst, communityTrafficRateBytes, a), nil
	case TrafficRatePackets:
		return appendRate(dst, communityTrafficRatePackets, a), nil
	case TrafficAction:
		var bits byte
		if a.Continue {
			bits |= terminalBit
		}
		if a.Sample {
			bits |= sampleBit
		}
		return append(b.AppendUint16(dst, communityTrafficAction), 0, 0, 0, 0, 0, bits), nil
	case RTRedirect:
		return appendRedirect(dst, a.Target), nil
	case TrafficMarking:
		return append(b.AppendUint16(dst, communityTrafficMarking), 0, 0, 0, 0, 0, a.DSCP), nil
	case RedirectToIP:
		kind := communityRedirectToIPv6
		if a.Address.Is4() {
			kind = communityRedirectToIPv4
		}
		var local uint16
		if a.Copy {
			local |= copyBit
		}
		return appendAddress(dst, kind, a.Address, local), nil
	}
	return dst, nil // Validate knows no other type
}

func appendRate(dst []byte, kind uint16, a Action) []byte {
	dst = binary.BigEndian.AppendUint16(dst, kind)
	dst = binary.BigEndian.AppendUint16(dst, uint16(a.ASN))
	return binary.BigEndian.AppendUint32(dst, math.Float32bits(a.Rate+0)) // + 0 turns a negative zero into zero
}

func appendRedirect(dst []byte, t RouteTarget) []byte {
	b := binary.BigEndian
	switch t.Form {
	case RTFormAS2:
		dst = b.AppendUint16(dst, communityRedirectAS2)
		return b.AppendUint32(b.AppendUint16(dst, uint16(t.ASN)), t.Local)
	case RTFormAS4:
		dst = b.AppendUint16(dst, communityRedirectAS4)
		return b.AppendUint16(b.AppendUint32(dst, uint32(t.ASN)), uint16(t.Local))
	case RTFormIPv4:
		return appendAddress(dst, communityRedirectIPv4, t.Address, uint16(t.Local))
	case RTFormIPv6:
		return appendAddress(dst, communityRedirectIPv6, t.Address, uint16(t.Local))
	}
	return dst
}

// appendAddress appends an address specific community: 8 octets of an IPv4 address, 20 of an IPv6 address.
func appendAddress(dst []byte, kind uint16, a netip.Addr, local uint16) []byte {
	dst = binary.BigEndian.AppendUint16(dst, kind)
	dst = append(dst, a.AsSlice()...)
	return binary.BigEndian.AppendUint16(dst, local)
}

// DecodeCommunity decodes one extended community of attribute 16. It returns false, and no error, if b is not a traffic
// filtering action of this package: RFC 7606 section 7.14 forbids to take an unknown type for an error. Bits that RFC
// 8955 reserves are ignored, and a negative rate is 0, as it says; a rate that is not finite is an error.
//
// What b says is returned as it is, although Validate may refuse to send it: a rate between 0 and 1, a redirect to an
// address that is no unicast address.
func DecodeCommunity(b [8]byte) (Action, bool, error) {
	be, value := binary.BigEndian, b[2:]
	switch be.Uint16(b[:]) {
	case communityTrafficRateBytes:
		return decodeRate(TrafficRateBytes, value)
	case communityTrafficRatePackets:
		return decodeRate(TrafficRatePackets, value)
	case communityTrafficAction:
		return Action{Type: TrafficAction, Continue: b[7]&terminalBit != 0, Sample: b[7]&sampleBit != 0}, true, nil
	case communityRedirectAS2:
		return Redirect(RouteTarget{Form: RTFormAS2, ASN: ASN(be.Uint16(value)), Local: be.Uint32(value[2:])}), true, nil
	case communityRedirectAS4:
		return Redirect(RouteTarget{Form: RTFormAS4, ASN: ASN(be.Uint32(value)), Local: uint32(be.Uint16(value[4:]))}), true, nil
	case communityRedirectIPv4:
		return Redirect(RouteTargetAddress(netip.AddrFrom4([4]byte(value)), be.Uint16(value[4:]))), true, nil
	case communityTrafficMarking:
		return Mark(b[7] & uint8(DSCP.maxValue(IPv4))), true, nil
	case communityRedirectToIPv4:
		return RedirectIP(netip.AddrFrom4([4]byte(value)), be.Uint16(value[4:])&copyBit != 0), true, nil
	}
	return Action{}, false, nil
}

// DecodeCommunity6 decodes one IPv6 address specific extended community of attribute 25 (RFC 5701). Like
// DecodeCommunity it returns false, and no error, if b is not an action; it knows rt-redirect (RFC 8956 section 6.1) and
// redirect-to-ip, none of which can be malformed: the error is always nil and stands here for the symmetry.
func DecodeCommunity6(b [20]byte) (Action, bool, error) {
	address, local := netip.AddrFrom16([16]byte(b[2:])), binary.BigEndian.Uint16(b[18:])
	switch binary.BigEndian.Uint16(b[:]) {
	case communityRedirectIPv6:
		return Redirect(RouteTargetAddress(address, local)), true, nil
	case communityRedirectToIPv6:
		return RedirectIP(address, local&copyBit != 0), true, nil
	}
	return Action{}, false, nil
}

// decodeRate reads the AS and the rate that follow the type.
func decodeRate(t ActionType, b []byte) (Action, bool, error) {
	rate := math.Float32frombits(binary.BigEndian.Uint32(b[2:]))
	if r := float64(rate); math.IsNaN(r) || math.IsInf(r, 1) { // the other infinity is negative, and so 0
		return Action{}, true, refuse(ErrRate, "cannot decode %s %v: not finite", t, rate)
	}
	if rate <= 0 {
		rate = 0
	}
	return Action{Type: t, ASN: ASN(binary.BigEndian.Uint16(b)), Rate: rate}, true, nil
}

package render

import (
	"fmt"
	"net/netip"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// community returns the octets of a in attribute 16. Of the three speakers none can be told an attribute 25 to send
// (RFC 5701).
func community(a flowspec.Action, speaker string) ([8]byte, error) {
	if a.Attribute() != flowspec.AttrExtendedCommunities {
		return [8]byte{}, fmt.Errorf("%s: %s cannot be told to send IPv6 extended communities", a, speaker)
	}
	octets, err := flowspec.AppendCommunity(nil, a)
	if err != nil {
		return [8]byte{}, err
	}
	return [8]byte(octets), nil
}

// discard is the next hop of the RTBH route for p. Without one a router would send the attack to the speaker.
func (o Options) discard(p netip.Prefix) (netip.Addr, error) {
	hop, family := o.DiscardIPv4, flowspec.IPv4
	if !p.Addr().Is4() {
		hop, family = o.DiscardIPv6, flowspec.IPv6
	}
	if !hop.IsValid() || hop.Is4() != p.Addr().Is4() || hop.Zone() != "" {
		return netip.Addr{}, fmt.Errorf("no discard next hop for %s is known: name the router, whose document has it", family)
	}
	return hop, nil
}

package flowspec

import "net/netip"

// IP protocol numbers that decide which fields of a packet exist.
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
)

// Packet is what a router sees of a packet when it looks for a rule. Src and Dst are of one family and not IPv4 in
// IPv6 form.
type Packet struct {
	Src, Dst netip.Addr
	// Protocol is the IP protocol; in IPv6 the first next header that is not an extension header (RFC 8956 section 3.3).
	Protocol uint8
	// HasPorts says that the router found the transport header, and so the ports, TCP flags or ICMP type and code. It
	// is ignored in a fragment other than the first, which has none.
	HasPorts           bool
	SrcPort, DstPort   uint16
	ICMPType, ICMPCode uint8
	TCPFlags           uint16 // octets 13 and 14 of the TCP header without the data offset
	Length             uint32 // of the IP packet, its header included, in octets
	DSCP               uint8
	Fragment           uint8  // bits as in a Fragment component; see FragmentBits
	FlowLabel          uint32 // IPv6 only
}

// FragmentBits returns the fragment bits of a packet from its IP header: the don't-fragment bit (false in IPv6), the
// more-fragments bit, and the fragment offset (RFC 8955 section 4.2.2.12, RFC 8956 section 3.6).
func FragmentBits(dont, more bool, offset uint16) uint8 {
	var bits uint8
	if dont {
		bits |= DontFragment
	}
	switch {
	case offset != 0 && more:
		bits |= IsFragment
	case offset != 0:
		bits |= IsFragment | LastFragment
	case more:
		bits |= FirstFragment
	}
	return bits
}

// transport reports whether the header of one of the protocols is there to be looked at.
func (p *Packet) transport(a, b uint8) bool {
	return p.HasPorts && p.Fragment&(IsFragment|LastFragment) == 0 && (p.Protocol == a || p.Protocol == b)
}

// Matches reports whether m applies to p: p is of m's family and all components hold (RFC 8955 section 4.2). Ports,
// TCP flags, ICMP type and code never match a packet of another protocol, nor a fragment other than the first.
func (m Match) Matches(p *Packet) bool {
	if m.Family == IPv4 != p.Dst.Is4() || m.Family == IPv6 != p.Dst.Is6() {
		return false
	}
	for i := range m.Components {
		if !m.Components[i].matches(m.Family, p) {
			return false
		}
	}
	return len(m.Components) > 0
}

func (c *Component) matches(f Family, p *Packet) bool {
	switch c.Type {
	case DestinationPrefix:
		return c.contains(p.Dst)
	case SourcePrefix:
		return c.contains(p.Src)
	case IPProtocol:
		return c.numeric(uint64(p.Protocol))
	case Port, DestinationPort, SourcePort:
		return p.transport(protoTCP, protoUDP) && c.matchesPort(p)
	case ICMPType, ICMPCode:
		return p.transport(icmp(f), icmp(f)) && c.matchesICMP(p)
	case TCPFlags:
		return p.transport(protoTCP, protoTCP) && c.mask(uint64(p.TCPFlags))
	case PacketLength:
		return c.numeric(uint64(p.Length))
	case DSCP:
		return c.numeric(uint64(p.DSCP))
	case Fragment:
		return c.mask(uint64(p.Fragment))
	case FlowLabel:
		return c.numeric(uint64(p.FlowLabel))
	}
	return false
}

// matchesPort holds the whole list against one port at a time, as RFC 8955 section 4.2.2.4 says of Port.
func (c *Component) matchesPort(p *Packet) bool {
	return c.Type != DestinationPort && c.numeric(uint64(p.SrcPort)) ||
		c.Type != SourcePort && c.numeric(uint64(p.DstPort))
}

func (c *Component) matchesICMP(p *Packet) bool {
	if c.Type == ICMPCode {
		return c.numeric(uint64(p.ICMPCode))
	}
	return c.numeric(uint64(p.ICMPType))
}

func icmp(f Family) uint8 {
	if f == IPv6 {
		return protoICMPv6
	}
	return protoICMP
}

func (c *Component) contains(a netip.Addr) bool {
	if c.Offset == 0 {
		return c.Prefix.Contains(a)
	}
	if !a.Is6() || !c.Prefix.Addr().Is6() {
		return false
	}
	x, y := a.As16(), c.Prefix.Addr().As16()
	for i := int(c.Offset); i < c.Prefix.Bits(); i++ {
		if (x[i/8]^y[i/8])&(0x80>>(i%8)) != 0 {
			return false
		}
	}
	return true
}

// numeric evaluates the list of numeric operators on v: AND binds closer than OR (RFC 8955 section 4.2.1.1).
func (c *Component) numeric(v uint64) bool {
	return evaluate(c.Ops, func(op Op) bool {
		return op.Flags&LT != 0 && v < op.Value || op.Flags&GT != 0 && v > op.Value || op.Flags&EQ != 0 && v == op.Value
	})
}

// mask evaluates the list of bitmask operators on v (RFC 8955 section 4.2.1.2).
func (c *Component) mask(v uint64) bool {
	return evaluate(c.Ops, func(op Op) bool {
		hit := v&op.Value != 0
		if op.Flags&All != 0 {
			hit = v&op.Value == op.Value
		}
		return hit != (op.Flags&Not != 0)
	})
}

func evaluate(ops []Op, holds func(Op) bool) bool {
	group := false // whether all pairs since the last OR hold
	for i, op := range ops {
		if i == 0 || op.Flags&And == 0 {
			if group {
				return true
			}
			group = holds(op)
		} else {
			group = group && holds(op)
		}
	}
	return group
}

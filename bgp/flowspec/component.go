package flowspec

import (
	"cmp"
	"net/netip"
	"slices"
)

// TCP flag bits as they stand in octets 13 and 14 of the TCP header (RFC 9293 section 3.1).
const (
	FIN uint16 = 0x001
	SYN uint16 = 0x002
	RST uint16 = 0x004
	PSH uint16 = 0x008
	ACK uint16 = 0x010
	URG uint16 = 0x020
	ECE uint16 = 0x040
	CWR uint16 = 0x080
)

// Range is the values from Lo to Hi, both included.
type Range struct{ Lo, Hi uint64 }

// One returns the range that holds only v.
func One(v uint64) Range { return Range{Lo: v, Hi: v} }

// Destination matches packets to an address in p (RFC 8955 section 4.2.2.1). Whether p is of the rule's family and
// free of host bits is judged by NewMatch.
func Destination(p netip.Prefix) Component { return Component{Type: DestinationPrefix, Prefix: p} }

// Source matches packets from an address in p (RFC 8955 section 4.2.2.2).
func Source(p netip.Prefix) Component { return Component{Type: SourcePrefix, Prefix: p} }

// Proto matches packets of any of the IP protocols n (RFC 8955 section 4.2.2.3; upper-layer protocol in RFC 8956
// section 3.3). Each protocol stays a value of its own: ranges of protocols mean nothing to a reader.
func Proto(n ...uint8) Component {
	n = slices.Clone(n)
	slices.Sort(n)
	c := Component{Type: IPProtocol}
	for _, v := range slices.Compact(n) {
		c.Ops = append(c.Ops, Op{Flags: EQ, Value: uint64(v)})
	}
	return c
}

// Ports matches packets with a port in any of the ranges; t is Port (either port), DestinationPort or SourcePort
// (RFC 8955 sections 4.2.2.4 to 4.2.2.6). See Values.
func Ports(t ComponentType, ranges ...Range) Component { return Values(t, ranges...) }

// Length matches packets whose total IP length in octets is in any of the ranges (RFC 8955 section 4.2.2.10). See
// Values.
func Length(ranges ...Range) Component { return Values(PacketLength, ranges...) }

// Values matches packets whose field t, a numeric one, is in any of the ranges. The list is canonical: ranges are
// sorted, those that overlap or touch are joined, a single value is one EQ and a range is GT|EQ, And|LT|EQ. So equal
// sets of values give equal keys.
//
// No range at all, or a range with Lo above Hi, gives a component without values, which Validate refuses: a list
// that came out empty must not widen the rule.
func Values(t ComponentType, ranges ...Range) Component {
	c := Component{Type: t}
	for _, r := range ranges {
		if r.Lo > r.Hi {
			return c
		}
	}
	sorted := slices.SortedFunc(slices.Values(ranges), func(a, b Range) int { return cmp.Compare(a.Lo, b.Lo) })
	for i := 0; i < len(sorted); {
		cur := sorted[i]
		for i++; i < len(sorted) && (sorted[i].Lo <= cur.Hi || sorted[i].Lo-cur.Hi == 1); i++ {
			cur.Hi = max(cur.Hi, sorted[i].Hi)
		}
		if cur.Lo == cur.Hi {
			c.Ops = append(c.Ops, Op{Flags: EQ, Value: cur.Lo})
		} else {
			c.Ops = append(c.Ops, Op{Flags: GT | EQ, Value: cur.Lo}, Op{Flags: And | LT | EQ, Value: cur.Hi})
		}
	}
	return c
}

// Flags matches TCP packets that have all of the flags in set, whatever the others are (RFC 8955 section 4.2.2.9).
// An empty set is refused by Validate.
func Flags(set uint16) Component { return FlagsExcept(set, 0) }

// FlagsExcept matches TCP packets that have all of the flags in set and none of those in unset: FlagsExcept(SYN,
// ACK) is the first packet of a connection. Both empty is refused by Validate.
func FlagsExcept(set, unset uint16) Component {
	c := Component{Type: TCPFlags}
	if set != 0 {
		c.Ops = append(c.Ops, Op{Flags: All, Value: uint64(set)})
	}
	if unset != 0 {
		op := Op{Flags: Not, Value: uint64(unset)}
		if len(c.Ops) > 0 {
			op.Flags |= And
		}
		c.Ops = append(c.Ops, op)
	}
	return c
}

// Fragments matches packets that have any of the fragment bits (RFC 8955 section 4.2.2.12, RFC 8956 section 3.6):
// Fragments(IsFragment) is every fragment but the first. No bits is refused by Validate.
func Fragments(bits uint8) Component {
	c := Component{Type: Fragment}
	if bits != 0 {
		c.Ops = []Op{{Value: uint64(bits)}}
	}
	return c
}

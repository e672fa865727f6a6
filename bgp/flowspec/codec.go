package flowspec

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
)

// MaxNLRILength is the greatest length of a rule in octets, without its length field (RFC 8955 section 4.1).
const MaxNLRILength = 4095

// extendedLength is the length from which the length field has two octets (RFC 8955 section 4.1).
const extendedLength = 240

// Bits of the operator octet that are a matter of encoding only (RFC 8955 section 4.2.1).
const (
	endOfList  = 0x80
	widthShift = 4
	widthMask  = 0x03
)

// stackSize holds the components of all but very long rules, so that encoding them needs no memory from the heap.
const stackSize = 192

// AppendNLRI appends m as one NLRI, the length field included (RFC 8955 section 4.1): one octet below 240, else two
// with the upper four bits set. It refuses a match that is not valid or that has more than MaxNLRILength octets, and
// then returns dst unchanged.
func AppendNLRI(dst []byte, m Match) ([]byte, error) {
	if err := m.Validate(); err != nil {
		return dst, err
	}
	var stack [stackSize]byte
	body := appendComponents(stack[:0], m)
	switch n := len(body); {
	case n > MaxNLRILength:
		return dst, fmt.Errorf("cannot encode match: %d octets, at most %d: %w", n, MaxNLRILength, ErrTooLong)
	case n >= extendedLength:
		dst = append(dst, 0xf0|byte(n>>8), byte(n))
	default:
		dst = append(dst, byte(n))
	}
	return append(dst, body...), nil
}

// AppendComponents appends the components of m without a length field: the octets of Key after the AFI. It refuses
// a match that is not valid, and then returns dst unchanged.
//
// Values have the lengths that common routers accept: one octet for protocol, ICMP, DSCP and fragment, two for
// ports, packet length and TCP flags, four for the flow label.
func AppendComponents(dst []byte, m Match) ([]byte, error) {
	if err := m.Validate(); err != nil {
		return dst, err
	}
	return appendComponents(dst, m), nil
}

// Key returns the identity of m on a router. It does not validate: two matches that pass Validate have the same key
// if and only if they are Equal; for other matches the key means nothing.
func (m Match) Key() Key {
	var stack [stackSize]byte
	return Key(appendComponents(append(stack[:0], byte(m.Family)), m))
}

// Match returns the match that k identifies. Errors are those of DecodeComponents.
func (k Key) Match() (Match, error) {
	if k == "" {
		return Match{}, fmt.Errorf("cannot decode key: %w", ErrTruncated)
	}
	return DecodeComponents(Family(k[0]), []byte(k[1:]))
}

// String returns k in hexadecimal, complete: a shortened key would make two rules look like one.
func (k Key) String() string { return hex.EncodeToString([]byte(k)) }

func appendComponents(dst []byte, m Match) []byte {
	for i := range m.Components {
		dst = appendComponent(dst, m.Family, &m.Components[i])
	}
	return dst
}

func appendComponent(dst []byte, f Family, c *Component) []byte {
	dst = append(dst, byte(c.Type))
	switch {
	case !c.Type.prefix():
		return appendOps(dst, c)
	case f == IPv6:
		return appendPrefix6(dst, c)
	default:
		return appendPrefix4(dst, c)
	}
}

// appendPrefix4 appends the length and as many octets of the address as hold it (RFC 8955 section 4.2.2.1).
func appendPrefix4(dst []byte, c *Component) []byte {
	bits := c.Prefix.Bits()
	dst = append(dst, byte(bits))
	if bits < 0 || !c.Prefix.Addr().Is4() { // not valid; there are no octets that could stand here
		return dst
	}
	a := c.Prefix.Addr().As4()
	return append(dst, a[:(bits+7)/8]...)
}

// appendPrefix6 appends length, offset and the bits from offset to length, aligned to the left and padded with
// zeros (RFC 8956 section 3.1).
func appendPrefix6(dst []byte, c *Component) []byte {
	bits, offset := c.Prefix.Bits(), int(c.Offset)
	dst = append(dst, byte(bits), c.Offset)
	if !c.Prefix.IsValid() || offset >= bits {
		return dst
	}
	a := c.Prefix.Addr().As16()
	skip, shift := offset/8, offset%8
	for i := range (bits - offset + 7) / 8 {
		b := a[skip+i] << shift
		if shift > 0 && skip+i+1 < len(a) {
			b |= a[skip+i+1] >> (8 - shift)
		}
		dst = append(dst, b)
	}
	return dst
}

func appendOps(dst []byte, c *Component) []byte {
	width := c.Type.width()
	for i, op := range c.Ops {
		o := byte(op.Flags) | width<<widthShift
		if i == len(c.Ops)-1 {
			o |= endOfList
		}
		dst = append(dst, o)
		switch width {
		case 0:
			dst = append(dst, byte(op.Value))
		case 1:
			dst = binary.BigEndian.AppendUint16(dst, uint16(op.Value))
		default:
			dst = binary.BigEndian.AppendUint32(dst, uint32(op.Value))
		}
	}
	return dst
}

// width returns the logarithm of the length of a value in octets, as in the operator octet. RFC 8955 leaves a
// choice; these are the lengths that FRR and BIRD accept for sure.
func (t ComponentType) width() byte {
	switch t {
	case Port, DestinationPort, SourcePort, PacketLength, TCPFlags:
		return 1
	case FlowLabel:
		return 2
	case IPProtocol, ICMPType, ICMPCode, DSCP, Fragment, DestinationPrefix, SourcePrefix:
		return 0
	}
	return 0
}

// DecodeNLRI decodes the first NLRI in b, which begins with its length field, and returns how many octets of b it
// took. The two-octet form of the length is accepted below 240 too. See DecodeComponents.
func DecodeNLRI(f Family, b []byte) (Match, int, error) {
	if len(b) == 0 {
		return Match{}, 0, fmt.Errorf("cannot decode NLRI: %w", ErrTruncated)
	}
	n, at := int(b[0]), 1
	if n >= extendedLength {
		if len(b) < 2 {
			return Match{}, 0, fmt.Errorf("cannot decode NLRI: length field: %w", ErrTruncated)
		}
		n, at = (n&0x0f)<<8|int(b[1]), 2
	}
	if len(b) < at+n {
		return Match{}, 0, fmt.Errorf("cannot decode NLRI: %d octets of %d: %w", len(b)-at, n, ErrTruncated)
	}
	m, err := DecodeComponents(f, b[at:at+n])
	if err != nil {
		return Match{}, 0, err
	}
	return m, at + n, nil
}

// DecodeComponents decodes the components of one NLRI; b is all of it, without the length field. The result passes
// Validate and shares no memory with b.
//
// It accepts every value length that the RFCs allow, and ignores what they say to ignore: reserved operator and
// value bits, AND on the first value, bits after the end of a prefix. So encoding the result may give other, shorter
// octets; who needs to know whether b is canonical encodes the result and compares. A value that the field cannot
// hold (port 70000 in four octets) is an error. Errors wrap one of the Err values of this package.
func DecodeComponents(f Family, b []byte) (Match, error) {
	if f != IPv4 && f != IPv6 {
		return Match{}, fmt.Errorf("cannot decode NLRI of family %d: %w", f, ErrFamily)
	}
	m := Match{Family: f, Components: make([]Component, 0, 4)} // most rules have no more
	for at := 0; at < len(b); {
		c := Component{Type: ComponentType(b[at])}
		if !c.Type.In(f) {
			return Match{}, fmt.Errorf("cannot decode NLRI: %s in %s at octet %d: %w", c.Type, f, at, ErrUnknownType)
		}
		if k := len(m.Components); k > 0 && c.Type <= m.Components[k-1].Type {
			return Match{}, fmt.Errorf("cannot decode NLRI: %s after %s at octet %d: %w",
				c.Type, m.Components[k-1].Type, at, ErrOrder)
		}
		n, err := c.decode(f, b[at+1:])
		if err != nil {
			return Match{}, fmt.Errorf("cannot decode NLRI: %s at octet %d: %w", c.Type, at, err)
		}
		m.Components = append(m.Components, c)
		at += 1 + n
	}
	if err := m.Validate(); err != nil {
		return Match{}, fmt.Errorf("cannot decode NLRI: %w", err)
	}
	return m, nil
}

// decode reads what follows the type octet and returns how many octets it took.
func (c *Component) decode(f Family, b []byte) (int, error) {
	switch {
	case !c.Type.prefix():
		return c.decodeOps(f, b)
	case f == IPv6:
		return c.decodePrefix6(b)
	default:
		return c.decodePrefix4(b)
	}
}

func (c *Component) decodePrefix4(b []byte) (int, error) {
	if len(b) < 1 {
		return 0, ErrTruncated
	}
	bits := int(b[0])
	if bits > 32 {
		return 0, fmt.Errorf("length %d: %w", bits, ErrPrefix)
	}
	n := (bits + 7) / 8
	if len(b) < 1+n {
		return 0, ErrTruncated
	}
	var a [4]byte
	copy(a[:], b[1:1+n])
	c.Prefix = netip.PrefixFrom(netip.AddrFrom4(a), bits).Masked()
	return 1 + n, nil
}

func (c *Component) decodePrefix6(b []byte) (int, error) {
	if len(b) < 2 {
		return 0, ErrTruncated
	}
	bits, offset := int(b[0]), int(b[1])
	if bits > 128 {
		return 0, fmt.Errorf("length %d: %w", bits, ErrPrefix)
	}
	if offset >= bits && offset|bits != 0 { // ::/0 has length 0 and offset 0 (RFC 8956 section 3.1)
		return 0, fmt.Errorf("offset %d, length %d: %w", offset, bits, ErrOffset)
	}
	n := (bits - offset + 7) / 8
	if len(b) < 2+n {
		return 0, ErrTruncated
	}
	var a [16]byte
	skip, shift := offset/8, offset%8
	for i, v := range b[2 : 2+n] {
		a[skip+i] |= v >> shift
		if shift > 0 && skip+i+1 < len(a) {
			a[skip+i+1] |= v << (8 - shift)
		}
	}
	c.Prefix, c.Offset = netip.PrefixFrom(netip.AddrFrom16(a), bits).Masked(), uint8(offset)
	return 2 + n, nil
}

func (c *Component) decodeOps(f Family, b []byte) (int, error) {
	for at := 0; ; {
		if at >= len(b) {
			return 0, ErrTruncated
		}
		o := b[at]
		width := o >> widthShift & widthMask
		n := 1 << width
		if width > c.Type.maxWidth() {
			return 0, fmt.Errorf("value of %d octets: %w", n, ErrWidth)
		}
		at++
		if len(b)-at < n {
			return 0, ErrTruncated
		}
		op := Op{Flags: OpFlags(o) & c.Type.opMask()}
		for _, v := range b[at : at+n] {
			op.Value = op.Value<<8 | uint64(v)
		}
		at += n
		if c.Type.bitmask() || c.Type == DSCP {
			// The other bits count as 0 (RFC 8955 sections 4.2.2.9, 4.2.2.11 and 4.2.2.12, RFC 8956 section 3.6).
			op.Value &= c.Type.maxValue(f)
		}
		if len(c.Ops) == 0 {
			op.Flags &^= And // RFC 8955 section 4.2.1: always treated as unset
		}
		c.Ops = append(c.Ops, op)
		if o&endOfList != 0 {
			return at, nil
		}
	}
}

// maxWidth returns the logarithm of the greatest length of a value that the RFC allows: where it says MUST that, and
// where it says SHOULD all that the operator octet can express (RFC 8955 section 4.2.2, RFC 8956 section 3).
func (t ComponentType) maxWidth() byte {
	switch {
	case t == DSCP || t == Fragment:
		return 0
	case t == TCPFlags:
		return 1
	}
	return 3
}

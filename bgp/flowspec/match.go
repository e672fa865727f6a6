package flowspec

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// NewMatch makes a match of family f in canonical form: components sorted by type. It copies comps, so that the
// caller may reuse them, and refuses what Validate refuses. It never repairs a condition: a prefix with host bits
// or an empty list of values is an error, because the packets that were meant are not known.
func NewMatch(f Family, comps ...Component) (Match, error) {
	m := Match{Family: f, Components: slices.Clone(comps)}
	slices.SortStableFunc(m.Components, func(a, b Component) int { return cmp.Compare(a.Type, b.Type) })
	if err := m.Validate(); err != nil {
		return Match{}, err
	}
	for i := range m.Components {
		m.Components[i].Ops = slices.Clone(m.Components[i].Ops)
	}
	return m, nil
}

// Validate reports whether m is in canonical form and says something that its family can express: at least one
// component, types ascending and each once, all known to the family, prefixes of the family and without host bits,
// every list with at least one value, values and operators within what the field holds. What Validate accepts can
// be encoded, decoded and printed without loss. Errors wrap one of the Err values of this package.
func (m Match) Validate() error {
	if m.Family != IPv4 && m.Family != IPv6 {
		return fmt.Errorf("cannot use match of family %d: %w", m.Family, ErrFamily)
	}
	if len(m.Components) == 0 {
		return fmt.Errorf("cannot use match: %w; it would apply to every packet", ErrEmpty)
	}
	var last ComponentType
	for i := range m.Components {
		c := &m.Components[i]
		if i > 0 && c.Type <= last {
			return fmt.Errorf("cannot use match: %s after %s: %w", c.Type, last, ErrOrder)
		}
		last = c.Type
		if err := c.validate(m.Family); err != nil {
			return fmt.Errorf("cannot use match: %w", err)
		}
	}
	return nil
}

func (c *Component) validate(f Family) error {
	if !c.Type.In(f) {
		return refuse(ErrUnknownType, "there is no %s in %s", c.Type, f)
	}
	if c.Type.prefix() {
		if len(c.Ops) != 0 {
			return fmt.Errorf("%s: %w", c.Type, ErrMixed)
		}
		return c.validatePrefix(f)
	}
	if c.Prefix != (netip.Prefix{}) || c.Offset != 0 {
		return fmt.Errorf("%s: %w", c.Type, ErrMixed)
	}
	if len(c.Ops) == 0 {
		return fmt.Errorf("%s: %w; an empty or inverted list says nothing about the packet", c.Type, ErrEmptyList)
	}
	allowed, maxValue := c.Type.opMask(), c.Type.maxValue(f)
	for i, op := range c.Ops {
		if op.Flags&^allowed != 0 {
			return fmt.Errorf("%s: operator bits 0x%02x: %w", c.Type, uint8(op.Flags&^allowed), ErrOperator)
		}
		if i == 0 && op.Flags&And != 0 {
			return refuse(ErrOperator, "%s: AND on the first value", c.Type)
		}
		if op.Value > maxValue || (c.Type == Fragment && op.Value&^maxValue != 0) {
			return valueError(c.Type, f, op.Value)
		}
	}
	return nil
}

func valueError(t ComponentType, f Family, v uint64) error {
	switch {
	case t == Fragment && f == IPv6 && v == DontFragment:
		return refuse(ErrValue, "%s: there is no don't-fragment bit in IPv6", t)
	case t == Fragment:
		return refuse(ErrValue, "%s: bits 0x%02x, the family has 0x%02x", t, v, t.maxValue(f))
	case t == TCPFlags:
		return refuse(ErrValue, "%s: 0x%x is above 0x%x", t, v, t.maxValue(f))
	}
	return refuse(ErrValue, "%s: %d is above %d", t, v, t.maxValue(f))
}

func (c *Component) validatePrefix(f Family) error {
	p := c.Prefix
	if !p.IsValid() {
		return fmt.Errorf("%s: %w", c.Type, ErrPrefix)
	}
	if p.Addr().Is4() != (f == IPv4) {
		return refuse(ErrFamily, "%s %s in a rule for %s", c.Type, p, f)
	}
	if p.Masked() != p {
		return refuse(ErrHostBits, "%s %s has host bits", c.Type, prefixText(p, c.Offset)).
			advise("write %s", prefixText(p.Masked(), c.Offset))
	}
	if c.Offset == 0 {
		return nil
	}
	if f == IPv4 {
		return refuse(ErrOffset, "%s: offset %d in IPv4, which has none", c.Type, c.Offset)
	}
	if int(c.Offset) >= p.Bits() {
		return refuse(ErrOffset, "%s: offset %d leaves nothing of a /%d", c.Type, c.Offset, p.Bits())
	}
	if head := netip.PrefixFrom(p.Addr(), int(c.Offset)).Masked().Addr(); head != netip.IPv6Unspecified() {
		return refuse(ErrHostBits, "%s %s: bits set among the %d that the offset skips", c.Type, prefixText(p, c.Offset), c.Offset).advise("clear them")
	}
	return nil
}

// In reports whether family f has components of type t: 1 to 12 in IPv4 (RFC 8955 section 4.2.2), 1 to 13 in IPv6
// (RFC 8956 section 3).
func (t ComponentType) In(f Family) bool {
	return t >= DestinationPrefix && (t <= Fragment || t == FlowLabel && f == IPv6)
}

// prefix reports whether a component of the type has a prefix instead of operator and value pairs.
func (t ComponentType) prefix() bool { return t == DestinationPrefix || t == SourcePrefix }

// bitmask reports whether values of the type are bitmasks (RFC 8955 section 4.2.1.2) instead of numbers.
func (t ComponentType) bitmask() bool { return t == TCPFlags || t == Fragment }

func (t ComponentType) opMask() OpFlags {
	if t.bitmask() {
		return And | Not | All
	}
	return And | LT | GT | EQ
}

// maxValue returns the greatest value of the field in family f. For bitmasks it is also the mask of known bits.
func (t ComponentType) maxValue(f Family) uint64 {
	switch t {
	case IPProtocol, ICMPType, ICMPCode:
		return 0xff
	case Port, DestinationPort, SourcePort, PacketLength:
		return 0xffff
	case TCPFlags: // the data offset in the upper four bits always counts as 0 (RFC 8955 section 4.2.2.9)
		return 0x0fff
	case DSCP:
		return 0x3f
	case Fragment:
		if f == IPv6 {
			return IsFragment | FirstFragment | LastFragment
		}
		return DontFragment | IsFragment | FirstFragment | LastFragment
	case FlowLabel:
		return 1<<20 - 1
	case DestinationPrefix, SourcePrefix: // no values
		return 0
	}
	return 0
}

// Component returns the component of type t, and whether there is one.
func (m Match) Component(t ComponentType) (Component, bool) {
	for i := range m.Components {
		if m.Components[i].Type == t {
			return m.Components[i], true
		}
	}
	return Component{}, false
}

// Destination returns the destination prefix, and whether the match is bound to one. A destination with an offset
// is not one block of addresses: it counts as none, so that nobody takes it for narrower than it is.
func (m Match) Destination() (netip.Prefix, bool) { return m.prefixOf(DestinationPrefix) }

// Source returns the source prefix, and whether the match is bound to one. A source with an offset counts as none.
func (m Match) Source() (netip.Prefix, bool) { return m.prefixOf(SourcePrefix) }

func (m Match) prefixOf(t ComponentType) (netip.Prefix, bool) {
	c, ok := m.Component(t)
	if !ok || c.Offset != 0 {
		return netip.Prefix{}, false
	}
	return c.Prefix, true
}

// WithDestination returns m with destination p in place of its own, if it had one. The result shares the other
// components with m. A p of another family or with host bits is refused.
func (m Match) WithDestination(p netip.Prefix) (Match, error) {
	out := Match{Family: m.Family, Components: make([]Component, 0, len(m.Components)+1)}
	out.Components = append(out.Components, Destination(p))
	for i := range m.Components {
		if m.Components[i].Type != DestinationPrefix {
			out.Components = append(out.Components, m.Components[i])
		}
	}
	if err := out.Validate(); err != nil {
		return Match{}, err
	}
	return out, nil
}

// Equal reports whether m and o have the same family and the same components in the same order. For two matches in
// canonical form this is the same as equal keys.
func (m Match) Equal(o Match) bool {
	return m.Family == o.Family && slices.EqualFunc(m.Components, o.Components, Component.Equal)
}

// Equal reports whether c and o are the same condition, written the same way.
func (c Component) Equal(o Component) bool {
	return c.Type == o.Type && c.Prefix == o.Prefix && c.Offset == o.Offset && slices.Equal(c.Ops, o.Ops)
}

// Equal reports whether r and o have equal matches and the same actions in the same order.
func (r Rule) Equal(o Rule) bool {
	return r.Match.Equal(o.Match) && slices.Equal(r.Actions, o.Actions)
}

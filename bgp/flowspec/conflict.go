package flowspec

import (
	"fmt"
	"slices"
)

// Conflict says in one sentence why no packet can match m, which is valid; it is empty if one can. A router takes such
// a rule without a word, so that whoever wrote it would take for protection what is none. Prefixes are not looked at.
func (m Match) Conflict() string {
	for i := range m.Components {
		if c := &m.Components[i]; !c.possible() {
			return fmt.Sprintf("%q takes no value: no packet matches", c.String())
		}
	}
	header, needed, conflict := m.protocols()
	if conflict != "" || header == nil {
		return conflict
	}
	if c, ok := m.Component(IPProtocol); ok && !slices.ContainsFunc(needed, func(n uint8) bool { return c.numeric(uint64(n)) }) {
		return fmt.Sprintf("%q is a matter of protocol %s, but the match says %q: no packet is both", header.String(), protocolNames(needed), c.String())
	}
	if c, ok := m.Component(Fragment); ok && !slices.ContainsFunc(fragmentStates(), func(bits uint8) bool {
		return bits&(IsFragment|LastFragment) == 0 && c.mask(uint64(bits))
	}) {
		return fmt.Sprintf("%q takes fragments after the first only, which carry nothing for %q to look at: no packet is both", c.String(), header.String())
	}
	if !m.portsMeet() {
		return "no source port and destination port are in all of the port conditions together: no packet matches"
	}
	return ""
}

// protocols returns a component that looks at the transport header, nil if none does, and the protocols that have all
// that m looks at.
func (m Match) protocols() (header *Component, needed []uint8, conflict string) {
	for i := range m.Components {
		c := &m.Components[i]
		of := c.Type.protocols(m.Family)
		if of == nil {
			continue
		}
		if header == nil {
			header, needed = c, of
			continue
		}
		both := slices.DeleteFunc(slices.Clone(of), func(n uint8) bool { return !slices.Contains(needed, n) })
		if len(both) == 0 {
			return nil, nil, fmt.Sprintf("%q is a matter of protocol %s and %q of %s: no packet is both",
				header.String(), protocolNames(needed), c.String(), protocolNames(of))
		}
		if len(both) < len(needed) {
			header, needed = c, both
		}
	}
	return header, needed, ""
}

// protocols returns the protocols that have the field t of the transport header (RFC 8955 section 4.2.2), nil for any
// other field.
func (t ComponentType) protocols(f Family) []uint8 {
	switch t {
	case Port, DestinationPort, SourcePort:
		return []uint8{protoTCP, protoUDP}
	case ICMPType, ICMPCode:
		return []uint8{icmp(f)}
	case TCPFlags:
		return []uint8{protoTCP}
	case DestinationPrefix, SourcePrefix, IPProtocol, PacketLength, DSCP, Fragment, FlowLabel:
		return nil
	}
	return nil
}

func protocolNames(numbers []uint8) string {
	s := ""
	for i, n := range numbers {
		if i > 0 {
			s += " or "
		}
		for _, known := range IPProtocol.names() {
			if known.value == uint64(n) {
				s += known.text
			}
		}
	}
	return s
}

// fragmentStates returns all fragment bits that a packet can have.
func fragmentStates() []uint8 {
	var out []uint8
	for _, dont := range [...]bool{false, true} {
		for _, more := range [...]bool{false, true} {
			for offset := range uint16(2) {
				out = append(out, FragmentBits(dont, more, offset))
			}
		}
	}
	return out
}

// possible reports whether the component by itself takes any value.
func (c *Component) possible() bool {
	switch {
	case c.Type.prefix():
		return true
	case c.Type == Fragment:
		return slices.ContainsFunc(fragmentStates(), func(bits uint8) bool { return c.mask(uint64(bits)) })
	case c.Type.bitmask():
		for v := range c.Type.maxValue(IPv4) + 1 {
			if c.mask(v) {
				return true
			}
		}
		return false
	}
	return slices.ContainsFunc(c.corners(nil), c.numeric)
}

// corners appends the values at which a numeric list can change its mind: if it takes any value, it takes one of them.
func (c *Component) corners(to []uint64) []uint64 {
	most := c.Type.maxValue(IPv6)
	to = append(to, 0, most)
	for _, op := range c.Ops {
		if op.Value > 0 {
			to = append(to, op.Value-1)
		}
		to = append(to, op.Value)
		if op.Value < most {
			to = append(to, op.Value+1)
		}
	}
	return to
}

// portsMeet reports whether a pair of ports meets all port conditions: only "port" looks at both of the pair.
func (m Match) portsMeet() bool {
	var conditions []Component
	var corners []uint64
	for _, t := range [...]ComponentType{Port, DestinationPort, SourcePort} {
		if c, ok := m.Component(t); ok {
			conditions = append(conditions, c)
			corners = c.corners(corners)
		}
	}
	slices.Sort(corners)
	corners = slices.Compact(corners)
	for _, src := range corners {
		for _, dst := range corners {
			p := Packet{SrcPort: uint16(src), DstPort: uint16(dst)}
			if !slices.ContainsFunc(conditions, func(c Component) bool { return !c.matchesPort(&p) }) {
				return true
			}
		}
	}
	return len(conditions) == 0
}

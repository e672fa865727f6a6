package flowspec

import (
	"cmp"
	"slices"
)

// Exception is packets that a match is to leave alone: those of one IP protocol, to the destination ports in Ports, 0 to
// 65535. Without ports it is all packets of the protocol. Only TCP and UDP have ports.
type Exception struct {
	Protocol uint8
	Ports    []Range
}

// Match returns the exception as a match of family f.
func (e Exception) Match(f Family) Match {
	m := Match{Family: f, Components: []Component{Proto(e.Protocol)}}
	if len(e.Ports) > 0 {
		m.Components = append(m.Components, Values(DestinationPort, e.Ports...))
	}
	return m
}

// Except returns matches, each within the safe subset (see CheckSafe), that together take the packets of m that are in
// none of the exceptions; m alone if it has none of their packets. No match at all says that nothing is left: never is
// more taken than by m.
//
// A port cannot be asked of a packet that has none. Of the packets of a protocol with excepted ports that have no
// transport header, those that are fragments after the first are taken as m takes them, and the others, which end before
// their ports, are not taken any more: no match could name them without naming those with ports.
func (m Match) Except(exceptions ...Exception) ([]Match, error) {
	ports := exceptedPorts(&m, exceptions)
	if len(ports) == 0 {
		return []Match{m}, nil
	}
	rest := commonSpans(nil, []Match{m}, IPProtocol)
	if header, needed, _ := m.protocols(); header != nil {
		var some []Range
		for _, n := range needed {
			some = append(some, One(uint64(n)))
		}
		rest = intersectSpans(rest, 0, joinSpans(some, 0))
	}
	var out []Match
	for _, p := range ports {
		rest = except(rest, 0, uint64(p.protocol))
		out = append(out, m.besides(p)...)
	}
	if rest = joinSpans(rest, 0); len(rest) > 0 {
		out = append(out, m.with(Values(IPProtocol, rest...)))
	}
	var safe []Match
	for _, o := range out {
		if o.Empty() {
			continue
		}
		split, err := o.SafeSplit()
		if err != nil {
			return nil, err
		}
		safe = append(safe, split...)
	}
	slices.SortFunc(safe, Compare)
	return slices.CompactFunc(safe, Match.Equal), nil
}

// protocolPorts are excepted destination ports of one protocol, sorted and joined; none: all of the protocol.
type protocolPorts struct {
	protocol uint8
	ports    []Range
}

// exceptedPorts returns what the exceptions say, by protocol ascending, as far as m has such packets.
func exceptedPorts(m *Match, exceptions []Exception) []protocolPorts {
	var out []protocolPorts
	for _, e := range exceptions {
		if m.Disjoint(e.Match(m.Family)) {
			continue
		}
		i, known := slices.BinarySearchFunc(out, e.Protocol, func(p protocolPorts, n uint8) int { return cmp.Compare(p.protocol, n) })
		switch {
		case !known:
			out = slices.Insert(out, i, protocolPorts{e.Protocol, joinSpans(slices.Clone(e.Ports), 0)})
		case len(out[i].ports) == 0 || len(e.Ports) == 0:
			out[i].ports = nil
		default:
			out[i].ports = joinSpans(append(out[i].ports, e.Ports...), 0)
		}
	}
	return out
}

// besides returns the packets of m that are of the protocol and not to the ports.
func (m *Match) besides(p protocolPorts) []Match {
	if len(p.ports) == 0 {
		return nil
	}
	mine := m.with(Proto(p.protocol))
	var out []Match
	if open := intersectSpans(commonSpans(nil, []Match{*m}, DestinationPort), 0, complement(p.ports, DestinationPort.maxValue(m.Family))); len(open) > 0 {
		out = append(out, mine.with(Component{Type: DestinationPort, Ops: spanOps(open, DestinationPort, m.Family)}))
	}
	if m.need() != 0 {
		return out
	}
	var later uint16 // fragments after the first
	for v := range uint16(16) {
		if v&IsFragment != 0 {
			later |= 1 << v
		}
	}
	all := headless.fragments(m.Family)
	switch taken := m.fragments(m.Family) & later; taken {
	case 0:
	case all & later:
		out = append(out, mine.with(Fragments(IsFragment)))
	default:
		out = append(out, mine.with(Component{Type: Fragment, Ops: fragmentOps(taken, all, m.Family)}))
	}
	return out
}

// complement returns the values from 0 to most that are in none of the ranges, which are sorted and joined.
func complement(ranges []Range, most uint64) []Range {
	var out []Range
	next := uint64(0)
	for _, r := range ranges {
		if r.Lo > next {
			out = append(out, Range{next, r.Lo - 1})
		}
		next = r.Hi + 1
	}
	if next <= most {
		out = append(out, Range{next, most})
	}
	return out
}

// with returns m with c in the place of its component of that type.
func (m *Match) with(c Component) Match {
	out := Match{Family: m.Family}
	for _, o := range m.Components {
		if o.Type != c.Type {
			out.Components = append(out.Components, o)
		}
	}
	i, _ := slices.BinarySearchFunc(out.Components, c.Type, func(o Component, t ComponentType) int { return cmp.Compare(o.Type, t) })
	out.Components = slices.Insert(out.Components, i, c)
	return out
}

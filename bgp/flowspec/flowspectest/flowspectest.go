// Package flowspectest makes random rules for the tests of every package that takes some: of any shape that the RFCs
// allow, not only of the shapes that people write. It knows what each field can hold from the RFCs, apart from package
// flowspec, so that a limit that is wrong there is noticed.
//
// All functions take their chance from the caller, so that a test repeats: New(seed) is the same in every run.
package flowspectest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// New returns a source of chance that is the same in every run, another for each seed.
func New(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 8955)) }

// attempts bounds how often a rule is drawn again because Validate or CheckSafe refuses it.
const attempts = 1000

// Field is what RFC 8955 section 4.2.2 and RFC 8956 section 3 say of the values of a component.
type Field struct {
	Type flowspec.ComponentType
	// Max is the greatest value; of a bitmask, all bits that have a meaning.
	Max uint64
	// Bitmask says that operators are those of RFC 8955 section 4.2.1.2.
	Bitmask bool
}

// Fields are the components with values that family f has, in order of type.
func Fields(f flowspec.Family) []Field {
	fragment := uint64(flowspec.IsFragment | flowspec.FirstFragment | flowspec.LastFragment)
	if f == flowspec.IPv4 {
		fragment |= flowspec.DontFragment
	}
	out := []Field{
		{Type: flowspec.IPProtocol, Max: 255},
		{Type: flowspec.Port, Max: 65535},
		{Type: flowspec.DestinationPort, Max: 65535},
		{Type: flowspec.SourcePort, Max: 65535},
		{Type: flowspec.ICMPType, Max: 255},
		{Type: flowspec.ICMPCode, Max: 255},
		{Type: flowspec.TCPFlags, Max: 0xfff, Bitmask: true},
		{Type: flowspec.PacketLength, Max: 65535},
		{Type: flowspec.DSCP, Max: 63},
		{Type: flowspec.Fragment, Max: fragment, Bitmask: true},
	}
	if f == flowspec.IPv6 {
		out = append(out, Field{Type: flowspec.FlowLabel, Max: 1<<20 - 1})
	}
	return out
}

// Match returns a valid match of either family. About one in four IPv6 prefixes has an offset, and about one match in
// thirty is so long that its length field has two octets (RFC 8955 section 4.1).
func Match(r *rand.Rand) flowspec.Match {
	m := flowspec.Match{Family: flowspec.IPv4}
	if r.IntN(2) == 0 {
		m.Family = flowspec.IPv6
	}
	long := -1 // the field that makes the match long
	if r.IntN(30) == 0 {
		long = r.IntN(len(Fields(m.Family)))
	}
	for _, t := range []flowspec.ComponentType{flowspec.DestinationPrefix, flowspec.SourcePrefix} {
		if r.IntN(3) == 0 {
			m.Components = append(m.Components, Prefix(r, m.Family, t))
		}
	}
	for i, f := range Fields(m.Family) {
		switch {
		case i == long:
			m.Components = append(m.Components, Values(r, f, 80+r.IntN(120)))
		case r.IntN(3) == 0:
			m.Components = append(m.Components, Values(r, f, 1+r.IntN(4)))
		}
	}
	if len(m.Components) == 0 {
		m.Components = []flowspec.Component{Prefix(r, m.Family, flowspec.DestinationPrefix)}
	}
	return m
}

// SafeMatch returns a match with a destination that flowspec.CheckSafe passes: the shapes that tidegate announces.
func SafeMatch(r *rand.Rand) flowspec.Match {
	for range attempts {
		m := Match(r)
		if m.Components[0].Type != flowspec.DestinationPrefix {
			m.Components = append([]flowspec.Component{Prefix(r, m.Family, flowspec.DestinationPrefix)}, m.Components...)
		}
		if flowspec.CheckSafe(m) == nil {
			return m
		}
	}
	panic("no safe match in many")
}

// Prefix returns a component of type t, DestinationPrefix or SourcePrefix. Few of its bits differ from one to the next,
// so that prefixes contain one another.
func Prefix(r *rand.Rand, f flowspec.Family, t flowspec.ComponentType) flowspec.Component {
	if f == flowspec.IPv4 {
		a := [4]byte{203, byte(r.IntN(2)), byte(r.IntN(4)), byte(r.Uint32())}
		return flowspec.Component{Type: t, Prefix: netip.PrefixFrom(netip.AddrFrom4(a), r.IntN(33)).Masked()}
	}
	c := flowspec.Component{Type: t}
	a := [16]byte{0x20, 1, 7: byte(r.IntN(2)), 13: byte(r.IntN(2)), 14: byte(r.IntN(4)), 15: byte(r.Uint32())}
	bits := r.IntN(129)
	if bits > 0 && r.IntN(4) == 0 {
		c.Offset = uint8(r.IntN(bits))
	}
	for i := range int(c.Offset) { // what the offset skips is zero
		a[i/8] &^= 0x80 >> (i % 8)
	}
	c.Prefix = netip.PrefixFrom(netip.AddrFrom16(a), bits).Masked()
	return c
}

// Values returns a component of field f with n operator and value pairs, every operator among them.
func Values(r *rand.Rand, f Field, n int) flowspec.Component {
	c := flowspec.Component{Type: f.Type}
	operators := flowspec.And | flowspec.LT | flowspec.GT | flowspec.EQ
	if f.Bitmask {
		operators = flowspec.And | flowspec.Not | flowspec.All
	}
	for i := range n {
		op := flowspec.Op{Flags: flowspec.OpFlags(r.Uint32()) & operators}
		switch {
		case f.Bitmask:
			op.Value = r.Uint64() & f.Max
		case r.IntN(3) == 0:
			op.Value = min(f.Max, r.Uint64N(4)) // small ones, so that values meet
		default:
			op.Value = r.Uint64N(f.Max + 1)
		}
		if i == 0 {
			op.Flags &^= flowspec.And
		}
		c.Ops = append(c.Ops, op)
	}
	return c
}

// Rate returns a rate that may be sent: 0, one that people write, or any float from 1 up.
func Rate(r *rand.Rand) float32 {
	switch r.IntN(4) {
	case 0:
		return 0
	case 1:
		return float32(r.IntN(1e9)+1) * 125
	}
	for {
		v := math.Float32frombits(r.Uint32() >> 1)
		if v >= 1 && !math.IsInf(float64(v), 0) {
			return v
		}
	}
}

// Address returns an address of family f.
func Address(r *rand.Rand, f flowspec.Family) netip.Addr {
	if f == flowspec.IPv4 {
		return netip.AddrFrom4([4]byte{198, 51, 100, byte(r.Uint32())})
	}
	return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 14: byte(r.Uint32()), 15: byte(r.Uint32())})
}

// Forms is the number of actions that Action chooses from.
const Forms = 11

// Action returns action number form, 0 to Forms-1, in any of its values: every type, every form of a route target,
// redirects to IPv4 and to IPv6.
func Action(r *rand.Rand, form int) flowspec.Action {
	switch form {
	case 0, 1:
		a := flowspec.Action{Type: flowspec.TrafficRateBytes, Rate: Rate(r), ASN: flowspec.ASN(r.Uint32N(2) * r.Uint32N(1<<16))}
		if form == 1 {
			a.Type = flowspec.TrafficRatePackets
		}
		return a
	case 2, 3, 4: // sample, continue, both
		return flowspec.Action{Type: flowspec.TrafficAction, Sample: form != 3, Continue: form != 2}
	case 5:
		return flowspec.Action{Type: flowspec.TrafficMarking, DSCP: uint8(r.IntN(64))}
	case 6:
		return redirect(flowspec.RouteTarget{Form: flowspec.RTFormAS2, ASN: flowspec.ASN(r.Uint32N(1 << 16)), Local: r.Uint32()})
	case 7:
		return redirect(flowspec.RouteTarget{Form: flowspec.RTFormIPv4, Address: Address(r, flowspec.IPv4), Local: r.Uint32N(1 << 16)})
	case 8:
		return redirect(flowspec.RouteTarget{Form: flowspec.RTFormAS4, ASN: flowspec.ASN(r.Uint32()), Local: r.Uint32N(1 << 16)})
	case 9:
		return redirect(flowspec.RouteTarget{Form: flowspec.RTFormIPv6, Address: Address(r, flowspec.IPv6), Local: r.Uint32N(1 << 16)})
	case 10:
		f := flowspec.IPv4
		if r.IntN(2) == 0 {
			f = flowspec.IPv6
		}
		return flowspec.Action{Type: flowspec.RedirectToIP, Address: Address(r, f), Copy: r.IntN(2) == 0}
	}
	panic(fmt.Sprintf("no action %d", form))
}

func redirect(t flowspec.RouteTarget) flowspec.Action {
	return flowspec.Action{Type: flowspec.RTRedirect, Target: t}
}

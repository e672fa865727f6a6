package bgp

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/flowspec/flowspectest"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// The codec of package flowspec against that of GoBGP, which somebody else wrote. Both must agree on every rule, or the
// difference stands in gobgpDiffers with its reason. That GoBGP is wrong there is why none of its NLRI code is used on
// the wire (see announcement).

// step is what was compared when a difference showed.
type step string

const (
	stepDecode  step = "GoBGP decodes our octets"
	stepEncode  step = "GoBGP encodes what it decoded"
	stepBuild   step = "GoBGP encodes what it was told to build"
	stepString  step = "GoBGP tells two rules apart"
	stepCompare step = "GoBGP orders two rules"
)

// discrepancy is a difference that is known and explained.
type discrepancy struct {
	name, why string
	step      step
	// can reports whether the difference may show in m; of stepString and stepCompare m is either of the two.
	can func(m flowspec.Match) bool
	// here are rules in which it does show: one, or two for stepString and stepCompare. When it does not any more, the
	// entry must go.
	here []string
}

// gobgpDiffers is the whole list, for GoBGP v4.8.0.
func gobgpDiffers() []discrepancy {
	long := "dst 203.0.113.0/24 dport 0"
	for i := 1; i < 78; i++ {
		long += fmt.Sprintf("|%d", 2*i)
	}
	return []discrepancy{
		{
			name: "length of two octets, decoding", step: stepDecode,
			why: "the upper four bits of the length field are not masked off (RFC 8955 section 4.1), so that 0xf0f0 is read as 61,680 octets",
			can: func(m flowspec.Match) bool { return octets(m) >= 240 }, here: []string{long},
		},
		{
			name: "length of two octets, encoding", step: stepEncode,
			why: "the length is written over the first component, and the length field stays zero (osrg/gobgp #3596); 239 octets fall to it too",
			can: func(m flowspec.Match) bool { return octets(m) >= 239 }, here: []string{"dst 203.0.113.0/25 proto " + repeated(116)},
		},
		{
			name: "length of two octets, building", step: stepBuild, why: "as above",
			can: func(m flowspec.Match) bool { return octets(m) >= 239 }, here: []string{long},
		},
		{
			name: "IPv6 offset, decoding", step: stepDecode,
			why: "offsets are those of draft-ietf-idr-flow-spec-v6-06: the pattern is not shifted to the left, and has the octets that the offset skips",
			can: hasOffset, here: []string{"src ::1234:5678:9a00:0/64-104"},
		},
		{
			name: "IPv6 offset, encoding", step: stepEncode, why: "as above; what was read from a wrong place is written back sorted by type",
			can: hasOffset, here: []string{"src 1::/6-62 sport true:2|<=33932|>=19730 icmp-type true:245&77&>242&>=17 icmp-code true:1&2"},
		},
		{
			name: "IPv6 offset, building", step: stepBuild, why: "as above",
			can: hasOffset, here: []string{"src ::1234:5678:9a00:0/64-104"},
		},
		{
			name: "IPv6 offset, text", step: stepString, why: "as above; values are read from a wrong place, where they may have a constant operator or an unknown bit",
			can: hasOffset, here: []string{
				"src ::1:20/109-126 dport >=3|false:10549|3|!=20538 len 11536|true:30401&false:59076 label true:812746&true:2",
				"src ::1:20/109-126 dport >=3|false:10549|3|!=20538 len 11536|true:30401&false:59076 label true:812746&true:66",
			},
		},
		{
			name: "TCP flags of the ninth bit and above have no name", step: stepString,
			why: "the string knows eight flags; it is the key of GoBGP's table, so that two rules become one",
			can: func(m flowspec.Match) bool { return hasBits(m, flowspec.TCPFlags, 0xf00) },
			here: []string{
				"dst 192.0.2.0/24 tcp-flags any:0x102", "dst 192.0.2.0/24 tcp-flags any:0x002",
			},
		},
		{
			name: "constant operators have no value", step: stepString,
			why: "true and false are printed without their value, which makes no other packets but another NLRI",
			can: func(m flowspec.Match) bool {
				return slices.ContainsFunc(m.Components, func(c flowspec.Component) bool {
					return c.Type != flowspec.TCPFlags && c.Type != flowspec.Fragment && slices.ContainsFunc(c.Ops, func(o flowspec.Op) bool {
						return o.Flags&7 == 0 || o.Flags&7 == 7
					})
				})
			},
			here: []string{"dst 192.0.2.0/24 dport false:1", "dst 192.0.2.0/24 dport false:2"},
		},
		{
			name: "order of IPv6 prefixes", step: stepCompare,
			why: "common bits of two prefixes are compared after a shift by the wrong number of bits",
			can: func(m flowspec.Match) bool {
				return m.Family == flowspec.IPv6 && (has(m, flowspec.DestinationPrefix) || has(m, flowspec.SourcePrefix))
			},
			here: []string{"dst 2001:db8::/33", "dst 2001:db9::/34"},
		},
	}
}

func has(m flowspec.Match, t flowspec.ComponentType) bool { _, ok := m.Component(t); return ok }

func hasOffset(m flowspec.Match) bool {
	return slices.ContainsFunc(m.Components, func(c flowspec.Component) bool { return c.Offset != 0 })
}

// hasBits reports whether a value of component t has any of the bits, or, if bits is 0, has none at all.
func hasBits(m flowspec.Match, t flowspec.ComponentType, bits uint64) bool {
	c, _ := m.Component(t)
	return slices.ContainsFunc(c.Ops, func(o flowspec.Op) bool { return o.Value&bits != 0 || bits == 0 && o.Value&0xff == 0 })
}

// repeated is n protocols, in a list.
func repeated(n int) string {
	s := "0"
	for i := 1; i < n; i++ {
		s += fmt.Sprintf("|%d", i)
	}
	return s
}

// octets is the length of m on the wire without its length field.
func octets(m flowspec.Match) int { return len(m.Key()) - 1 }

// differs tells the test about a difference, and finds out whether it is known.
type differs struct {
	t     *testing.T
	known []discrepancy
	seen  map[string]int
	count int
}

func newDiffers(t *testing.T) *differs {
	return &differs{t: t, known: gobgpDiffers(), seen: map[string]int{}}
}

// found fails the test unless one of the known differences explains this one.
func (d *differs) found(s step, detail string, rules ...flowspec.Match) {
	d.t.Helper()
	for _, k := range d.known {
		if k.step == s && slices.ContainsFunc(rules, k.can) {
			d.seen[k.name]++
			d.count++
			return
		}
	}
	d.t.Errorf("%s: a difference that nobody has explained\n  rules %v\n  %s", s, rules, detail)
}

// gobgpReads decodes octets, length field included, with GoBGP.
func gobgpReads(f flowspec.Family, wire []byte) (*gobgp.FlowSpecNLRI, flowspec.Match, error) {
	n, err := gobgp.NLRIFromSlice(familyOf(wanted.FlowSpec, f), wire)
	if err != nil {
		return nil, flowspec.Match{}, err
	}
	nlri, ok := n.(*gobgp.FlowSpecNLRI)
	if !ok {
		return nil, flowspec.Match{}, fmt.Errorf("a %T", n)
	}
	m := flowspec.Match{Family: f}
	for _, v := range nlri.Value {
		c := flowspec.Component{Type: flowspec.ComponentType(v.Type())}
		switch v := v.(type) {
		case *gobgp.FlowSpecDestinationPrefix:
			c.Prefix = v.Prefix.Prefix
		case *gobgp.FlowSpecSourcePrefix:
			c.Prefix = v.Prefix.Prefix
		case *gobgp.FlowSpecDestinationPrefix6:
			c.Prefix, c.Offset = v.Prefix.Prefix, v.Offset
		case *gobgp.FlowSpecSourcePrefix6:
			c.Prefix, c.Offset = v.Prefix.Prefix, v.Offset
		case *gobgp.FlowSpecComponent:
			for _, i := range v.Items {
				// The end-of-list bit and the length of the value are matters of encoding.
				c.Ops = append(c.Ops, flowspec.Op{Flags: flowspec.OpFlags(i.Op &^ (0x80 | 0x30)), Value: i.Value})
			}
		default:
			return nlri, flowspec.Match{}, fmt.Errorf("component %s", v)
		}
		m.Components = append(m.Components, c)
	}
	return nlri, m, nil
}

// gobgpBuilds makes GoBGP's value of m through GoBGP's constructors. With lengths, its values are as long as ours;
// without, as GoBGP likes.
func gobgpBuilds(m flowspec.Match, lengths bool) ([]byte, error) {
	var list []gobgp.FlowSpecComponentInterface
	for _, c := range m.Components {
		if c.Prefix.IsValid() {
			p, err := gobgp.NewIPAddrPrefix(c.Prefix)
			if err != nil {
				return nil, err
			}
			list = append(list, gobgpPrefix(m.Family, c, p))
			continue
		}
		var items []*gobgp.FlowSpecComponentItem
		for _, op := range c.Ops {
			bits := byte(op.Flags)
			if lengths {
				bits |= valueLength(c.Type) << 4
			}
			items = append(items, gobgp.NewFlowSpecComponentItem(bits, op.Value))
		}
		list = append(list, gobgp.NewFlowSpecComponent(gobgp.BGPFlowSpecType(c.Type), items))
	}
	n, err := gobgp.NewFlowSpecUnicast(familyOf(wanted.FlowSpec, m.Family), list)
	if err != nil {
		return nil, err
	}
	return n.Serialize()
}

func gobgpPrefix(f flowspec.Family, c flowspec.Component, p *gobgp.IPAddrPrefix) gobgp.FlowSpecComponentInterface {
	switch {
	case f == flowspec.IPv4 && c.Type == flowspec.DestinationPrefix:
		return gobgp.NewFlowSpecDestinationPrefix(p)
	case f == flowspec.IPv4:
		return gobgp.NewFlowSpecSourcePrefix(p)
	case c.Type == flowspec.DestinationPrefix:
		return gobgp.NewFlowSpecDestinationPrefix6(p, c.Offset)
	default:
		return gobgp.NewFlowSpecSourcePrefix6(p, c.Offset)
	}
}

// valueLength is the logarithm of the length that tidegate gives to values of type t.
func valueLength(t flowspec.ComponentType) byte {
	switch t {
	case flowspec.FlowLabel:
		return 2
	case flowspec.Port, flowspec.DestinationPort, flowspec.SourcePort, flowspec.PacketLength, flowspec.TCPFlags:
		return 1
	default:
		return 0
	}
}

// compareDecoders leads m through our encoder, GoBGP's decoder and its encoder.
func (d *differs) compareDecoders(m flowspec.Match) {
	wire, err := flowspec.AppendNLRI(nil, m)
	if err != nil {
		d.t.Fatalf("%s: %v", m, err)
	}
	nlri, got, err := gobgpReads(m.Family, wire)
	if err != nil || !got.Equal(m) {
		d.found(stepDecode, fmt.Sprintf("%x is %q, %v", wire, got, err), m)
	}
	if nlri == nil {
		return
	}
	if again, err := nlri.Serialize(); err != nil || !bytes.Equal(again, wire) {
		d.found(stepEncode, fmt.Sprintf("%x became %x, %v", wire, again, err), m)
	}
}

// compareEncoders leads m through GoBGP's constructors and encoder, and our decoder.
func (d *differs) compareEncoders(m flowspec.Match) {
	want, err := flowspec.AppendNLRI(nil, m)
	if err != nil {
		d.t.Fatalf("%s: %v", m, err)
	}
	wire, err := gobgpBuilds(m, true)
	if err != nil || !bytes.Equal(wire, want) {
		d.found(stepBuild, fmt.Sprintf("%x, want %x: %v", wire, want, err), m)
		return
	}
	// GoBGP's own lengths, as short as the value allows, are another encoding of the same rule.
	if wire, err = gobgpBuilds(m, false); err != nil {
		d.t.Errorf("%s: %v", m, err)
		return
	}
	if got, n, err := flowspec.DecodeNLRI(m.Family, wire); err != nil || n != len(wire) || !got.Equal(m) {
		d.t.Errorf("%s: of GoBGP's %x we read %q, %d octets, %v", m, wire, got, n, err)
	}
}

// compareKeys asks whether GoBGP's string, the key of its table, tells a and b apart as our key does.
func (d *differs) compareKeys(a, b flowspec.Match) {
	x, _, errX := gobgpReads(a.Family, mustNLRI(d.t, a))
	y, _, errY := gobgpReads(b.Family, mustNLRI(d.t, b))
	if x == nil || y == nil {
		d.found(stepDecode, fmt.Sprint(errX, errY), a, b)
		return
	}
	if same := x.String() == y.String(); same != (a.Key() == b.Key()) {
		d.found(stepString, fmt.Sprintf("%q and %q", x, y), a, b)
	}
}

// compareOrder asks both for the order of a and b (RFC 8955 section 5.1, RFC 8956 section 4).
func (d *differs) compareOrder(a, b flowspec.Match) {
	x, _, errX := gobgpReads(a.Family, mustNLRI(d.t, a))
	y, _, errY := gobgpReads(b.Family, mustNLRI(d.t, b))
	if errX != nil || errY != nil {
		d.found(stepDecode, fmt.Sprint(errX, errY), a, b)
		return
	}
	got, err := gobgp.CompareFlowSpecNLRI(x, y)
	if want := -flowspec.Compare(a, b); err != nil || got != want { // GoBGP says 1 where a comes first
		d.found(stepCompare, fmt.Sprintf("%d, want %d: %v", got, want, err), a, b)
	}
}

func mustNLRI(t *testing.T, m flowspec.Match) []byte {
	t.Helper()
	wire, err := flowspec.AppendNLRI(nil, m)
	if err != nil {
		t.Fatalf("%s: %v", m, err)
	}
	return wire
}

// neighbourOf is a rule close to m: one value or operator bit of one component is another.
func neighbourOf(t *testing.T, r interface{ IntN(int) int }, m flowspec.Match) flowspec.Match {
	t.Helper()
	for range 100 {
		out := flowspec.Match{Family: m.Family}
		at := r.IntN(len(m.Components))
		for i, c := range m.Components {
			c.Ops = slices.Clone(c.Ops)
			switch {
			case i != at:
			case len(c.Ops) == 0:
				c.Prefix = netip.PrefixFrom(c.Prefix.Addr(), c.Prefix.Bits()+r.IntN(2)*2-1).Masked()
			case r.IntN(2) == 0:
				c.Ops[r.IntN(len(c.Ops))].Flags ^= 1 << r.IntN(3)
			default:
				c.Ops[r.IntN(len(c.Ops))].Value ^= 1 << r.IntN(12)
			}
			out.Components = append(out.Components, c)
		}
		if out.Validate() == nil {
			return out
		}
	}
	return m
}

// TestPropertyGoBGPAgrees holds encoder, decoder, key and order against GoBGP's on random rules of every shape.
func TestPropertyGoBGPAgrees(t *testing.T) {
	const rules = 20_000
	r := flowspectest.New(3596)
	d := newDiffers(t)
	exact := 0
	last := flowspectest.Match(r)
	for range rules {
		m := flowspectest.Match(r)
		before := d.count
		d.compareDecoders(m)
		d.compareEncoders(m)
		if !hasOffset(m) && octets(m) < 239 {
			if d.count != before {
				t.Fatalf("%s: a difference in an ordinary rule", m)
			}
			exact++
		}
		near := neighbourOf(t, r, m)
		d.compareKeys(m, near)
		d.compareOrder(m, near)
		if last.Family == m.Family {
			d.compareOrder(m, last)
		}
		last = m
		if t.Failed() {
			return
		}
	}
	t.Logf("%d rules, %d of them without any room for a difference; differences %v", rules, exact, d.seen)
	if exact < 2000 {
		t.Errorf("only %d rules were compared without an excuse", exact)
	}
}

// TestGoBGPDiffers: each known difference still is one. When it is not, GoBGP has been mended and the entry must go.
func TestGoBGPDiffers(t *testing.T) {
	for _, k := range gobgpDiffers() {
		t.Run(k.name, func(t *testing.T) {
			var rules []flowspec.Match
			for _, text := range k.here {
				m, err := flowspec.ParseMatch(text)
				if err != nil {
					t.Fatal(err)
				}
				rules = append(rules, m)
			}
			d := newDiffers(t)
			switch k.step {
			case stepDecode, stepEncode:
				d.compareDecoders(rules[0])
			case stepBuild:
				d.compareEncoders(rules[0])
			case stepString:
				d.compareKeys(rules[0], rules[1])
			case stepCompare:
				d.compareOrder(rules[0], rules[1])
			}
			if d.seen[k.name] == 0 {
				t.Errorf("GoBGP agrees with us on %q: take the entry out", k.here)
			}
		})
	}
}

// TestPropertyGoBGPAgreesOnForeignOctets changes octets of good rules. Where we still read a rule, GoBGP must read the
// same one; where only GoBGP reads one, we must have refused it for a reason that GoBGP does not check.
func TestPropertyGoBGPAgreesOnForeignOctets(t *testing.T) {
	r := flowspectest.New(7606)
	read, refused := 0, map[error]int{}
	for range 40_000 {
		m := flowspectest.Match(r)
		if hasOffset(m) || octets(m) >= 239 {
			continue
		}
		wire := mustNLRI(t, m)
		for range 1 + r.IntN(3) {
			wire[1+r.IntN(len(wire)-1)] ^= 1 << r.IntN(8)
		}
		ours, _, err := flowspec.DecodeNLRI(m.Family, wire)
		_, theirs, errTheirs := gobgpReads(m.Family, wire)
		switch {
		case err == nil && hasOffset(ours):
		case err == nil:
			read++
			if errTheirs != nil || !masked(theirs).Equal(ours) {
				t.Errorf("%x: we read %q, GoBGP %q, %v", wire, ours, theirs, errTheirs)
			}
		case errTheirs == nil:
			why := uncheckedByGoBGP(err)
			if why == nil {
				t.Errorf("%x: GoBGP reads %q, we say %v", wire, theirs, err)
			}
			refused[why]++
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("read alike %d, refused by us alone %v", read, refused)
	if read < 2000 || len(refused) < 5 {
		t.Errorf("%d rules read alike, %d reasons: the changes show too little", read, len(refused))
	}
}

// uncheckedByGoBGP returns the reason of err, if it is one of those that GoBGP lets pass: it sorts what is out of order
// (RFC 8955 section 4.2 calls it malformed), and looks at neither values nor their lengths nor types beyond its family.
func uncheckedByGoBGP(err error) error {
	for _, known := range []error{
		flowspec.ErrOrder, flowspec.ErrValue, flowspec.ErrWidth, flowspec.ErrUnknownType, flowspec.ErrOffset, flowspec.ErrPrefix,
	} {
		if errors.Is(err, known) {
			return known
		}
	}
	return nil
}

// masked is m without the bits that the RFCs say to ignore, and that GoBGP keeps: reserved bits of operators, AND on the
// first value, bits of a bitmask or DSCP that the field does not have.
func masked(m flowspec.Match) flowspec.Match {
	out := flowspec.Match{Family: m.Family}
	for _, c := range m.Components {
		c.Ops = slices.Clone(c.Ops)
		for _, f := range flowspectest.Fields(m.Family) {
			if f.Type != c.Type {
				continue
			}
			for i := range c.Ops {
				op := &c.Ops[i]
				if op.Flags &= 0x47; f.Bitmask {
					op.Flags &= 0x43
				}
				if i == 0 {
					op.Flags &^= flowspec.And
				}
				if f.Bitmask || c.Type == flowspec.DSCP {
					op.Value &= f.Max
				}
			}
		}
		out.Components = append(out.Components, c)
	}
	return out
}

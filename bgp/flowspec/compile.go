package flowspec

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
)

// Compiled is a RuleSet made ready for many packets. It is never changed and may be used by several goroutines, each
// with an Outcome of its own.
//
// A packet's destination leads, by binary search, to the rules with the longest destination prefix around it; from
// there it goes on to the next shorter prefix and so on, and last to the rules without a destination or with one that
// has an offset. That is the order of RFC 8955 section 5.1. The rules of one destination are tried one by one if they
// are few. If they are many, each field of the packet selects, by table, the set of rules that it satisfies, one bit
// for a rule, and what all of the sets have in common matches, the lowest bit first.
type Compiled struct {
	set   RuleSet
	rules []tests // of each rule of set
	v4    chain
	v6    chain
}

// chain is where to begin, by destination.
type chain struct {
	spans addressSpans
	begin []*bucket // by span; nil: no rule
}

// Compile makes s ready for many packets. It takes time and memory in proportion to the number of rules, save for
// rules of the same destination, whose tables grow by about 10 kB a rule.
func (s RuleSet) Compile() *Compiled {
	c := &Compiled{set: s, rules: make([]tests, len(s.rules))}
	for i := range s.rules {
		c.rules[i] = newTests(&s.rules[i])
	}
	middle, _ := slices.BinarySearchFunc(s.rules, IPv6, func(r Rule, f Family) int { return cmp.Compare(r.Match.Family, f) })
	c.v4 = c.chain(0, middle)
	c.v6 = c.chain(middle, len(s.rules))
	return c
}

// RuleSet returns what c was compiled from.
func (c *Compiled) RuleSet() RuleSet { return c.set }

// chain links the rules from number first until before number end, which are of one family.
func (c *Compiled) chain(first, end int) chain {
	var prefixes []netip.Prefix
	var starts []int // number of the first rule of each prefix
	rest := end
	for i := first; i < end; i++ {
		p, ok := c.set.rules[i].Match.Destination()
		if !ok {
			rest = i
			break
		}
		if n := len(prefixes); n == 0 || prefixes[n-1] != p {
			prefixes, starts = append(prefixes, p), append(starts, i)
		}
	}
	last := c.buckets(rest, end, nil)
	spans, owner, parent := spread(prefixes)
	heads := make([]*bucket, len(prefixes))
	for i := len(prefixes) - 1; i >= 0; i-- { // shorter prefixes come later in order
		next, until := last, rest
		if parent[i] >= 0 {
			next = heads[parent[i]]
		}
		if i+1 < len(starts) {
			until = starts[i+1]
		}
		heads[i] = c.buckets(starts[i], until, next)
	}
	out := chain{spans: spans, begin: make([]*bucket, len(owner))}
	for i, o := range owner {
		out.begin[i] = last
		if o >= 0 {
			out.begin[i] = heads[o]
		}
	}
	return out
}

// Evaluate sets o to what RuleSet.Evaluate returns for p. It reuses the memory of o: with the same o for packet after
// packet it allocates nothing. What o held before is gone.
func (c *Compiled) Evaluate(p *Packet, o *Outcome) {
	o.Rules, o.Actions, o.Discarded = o.Rules[:0], o.Actions[:0], false
	var f fields
	var from *chain
	switch {
	case p.Dst.Is4():
		from = &c.v4
		f.read(p, IPv4)
	case p.Dst.Is6():
		from = &c.v6
		f.read(p, IPv6)
	default:
		return
	}
	for b := from.begin[from.spans.find(f.dst)]; b != nil; b = b.next {
		if b.tables == nil && c.tryEach(b, &f, o) || b.tables != nil && c.tryTables(b, &f, o) {
			break
		}
	}
	o.settle()
}

// tryEach tries the rules of b one by one and reports whether one ended the evaluation.
func (c *Compiled) tryEach(b *bucket, f *fields, o *Outcome) bool {
	for i := b.first; i < b.end; i++ {
		t := &c.rules[i]
		if !t.hold(f) {
			continue
		}
		o.apply(i, c.set.rules[i].Actions)
		if !t.goesOn {
			return true
		}
	}
	return false
}

// tryTables tries all rules of b at once and reports whether one ended the evaluation.
func (c *Compiled) tryTables(b *bucket, f *fields, o *Outcome) bool {
	var stack [bucketRules / 64]uint64
	hits := stack[:b.words]
	if !b.hits(f, hits) {
		return false
	}
	for w, word := range hits {
		for ; word != 0; word &= word - 1 {
			i := b.first + w*64 + bits.TrailingZeros64(word)
			t := &c.rules[i]
			if t.masked && !t.holdAddresses(f) {
				continue
			}
			o.apply(i, c.set.rules[i].Actions)
			if !t.goesOn {
				return true
			}
		}
	}
	return false
}

// address is an IPv6 address, or an IPv4 address in the upper 32 bits.
type address struct{ hi, lo uint64 }

func addressOf(a netip.Addr) address {
	if a.Is4() {
		b := a.As4()
		return address{hi: uint64(binary.BigEndian.Uint32(b[:])) << 32}
	}
	b := a.As16()
	return address{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// addr returns a as an address of family f.
func (a address) addr(f Family) netip.Addr {
	if f == IPv4 {
		return netip.AddrFrom4([4]byte{byte(a.hi >> 56), byte(a.hi >> 48), byte(a.hi >> 40), byte(a.hi >> 32)})
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], a.hi)
	binary.BigEndian.PutUint64(b[8:], a.lo)
	return netip.AddrFrom16(b)
}

// addressMask returns the bits from offset to length.
func addressMask(offset, length int) address {
	ones := func(n int) address { // the first n bits
		if n <= 64 {
			return address{hi: ^(^uint64(0) >> n)}
		}
		return address{^uint64(0), ^(^uint64(0) >> (n - 64))}
	}
	a, b := ones(offset), ones(length)
	return address{b.hi &^ a.hi, b.lo &^ a.lo}
}

// pattern is the addresses whose bits under mask are those of value.
type pattern struct{ mask, value address }

// patternOf returns what a prefix component takes. Bits that its offset skips are zero in value.
func patternOf(c *Component) pattern {
	return pattern{addressMask(int(c.Offset), c.Prefix.Bits()), addressOf(c.Prefix.Addr())}
}

func (p *pattern) holds(a address) bool {
	return (a.hi^p.value.hi)&p.mask.hi|(a.lo^p.value.lo)&p.mask.lo == 0
}

// What a packet must have for a component to apply: a source of its family, and what the transport header shows.
const (
	needSource uint8 = 1 << iota
	needPorts
	needICMP
	needTCP
)

func (t ComponentType) need() uint8 {
	switch t {
	case SourcePrefix:
		return needSource
	case Port, DestinationPort, SourcePort:
		return needPorts
	case ICMPType, ICMPCode:
		return needICMP
	case TCPFlags:
		return needTCP
	case DestinationPrefix, IPProtocol, PacketLength, DSCP, Fragment, FlowLabel:
		return 0
	}
	return 0
}

// Values that stand for all greater ones: no operator can tell those apart.
const (
	longest  = 1 << 16 // of PacketLength
	topLabel = 1 << 20 // of FlowLabel
)

// most returns the greatest value of the type in fields.
func (t ComponentType) most() uint64 {
	switch t {
	case Port, DestinationPort, SourcePort:
		return 1<<16 - 1
	case PacketLength:
		return longest
	case TCPFlags:
		return 1<<12 - 1
	case Fragment:
		return 1<<4 - 1
	case FlowLabel:
		return topLabel
	case IPProtocol, ICMPType, ICMPCode, DSCP:
		return 1<<8 - 1
	case DestinationPrefix, SourcePrefix:
		return 0
	}
	return 0
}

// fields is a packet, taken apart.
type fields struct {
	dst, src address
	has      uint8                 // need bits
	values   [FlowLabel + 1]uint32 // by type, at most its most; those of Port are in SourcePort and DestinationPort
}

// read takes apart p, which is of family f.
func (x *fields) read(p *Packet, f Family) {
	x.dst = addressOf(p.Dst)
	if p.Src.Is4() == (f == IPv4) && p.Src.IsValid() {
		x.src = addressOf(p.Src)
		x.has = needSource
	}
	if p.HasPorts && p.Fragment&(IsFragment|LastFragment) == 0 {
		switch p.Protocol {
		case protoTCP:
			x.has |= needPorts | needTCP
		case protoUDP:
			x.has |= needPorts
		case icmp(f):
			x.has |= needICMP
		}
	}
	x.values[IPProtocol] = uint32(p.Protocol)
	x.values[DestinationPort], x.values[SourcePort] = uint32(p.DstPort), uint32(p.SrcPort)
	x.values[ICMPType], x.values[ICMPCode] = uint32(p.ICMPType), uint32(p.ICMPCode)
	x.values[TCPFlags] = uint32(p.TCPFlags & (1<<12 - 1))
	x.values[PacketLength] = min(p.Length, longest)
	x.values[DSCP] = uint32(p.DSCP)
	x.values[Fragment] = uint32(p.Fragment & (1<<4 - 1))
	x.values[FlowLabel] = min(p.FlowLabel, topLabel)
}

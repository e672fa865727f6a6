package flowspec

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
)

// String returns "IPv4" or "IPv6".
func (f Family) String() string {
	switch f {
	case IPv4:
		return "IPv4"
	case IPv6:
		return "IPv6"
	}
	return "family " + strconv.Itoa(int(f))
}

// String returns the name of the type in words, as in error messages: "destination port".
func (t ComponentType) String() string {
	switch t {
	case DestinationPrefix:
		return "destination"
	case SourcePrefix:
		return "source"
	case IPProtocol:
		return "protocol"
	case Port:
		return "port"
	case DestinationPort:
		return "destination port"
	case SourcePort:
		return "source port"
	case ICMPType:
		return "ICMP type"
	case ICMPCode:
		return "ICMP code"
	case TCPFlags:
		return "TCP flags"
	case PacketLength:
		return "packet length"
	case DSCP:
		return "DSCP"
	case Fragment:
		return "fragment"
	case FlowLabel:
		return "flow label"
	}
	return "component type " + strconv.Itoa(int(t))
}

// words holds the word of each component type in the text form.
func words() [FlowLabel + 1]string {
	return [...]string{
		DestinationPrefix: "dst",
		SourcePrefix:      "src",
		IPProtocol:        "proto",
		Port:              "port",
		DestinationPort:   "dport",
		SourcePort:        "sport",
		ICMPType:          "icmp-type",
		ICMPCode:          "icmp-code",
		TCPFlags:          "tcp-flags",
		PacketLength:      "len",
		DSCP:              "dscp",
		Fragment:          "frag",
		FlowLabel:         "label",
	}
}

// name is a word of the text form for a value.
type name struct {
	text  string
	value uint64
}

// names returns the words for values of type t, or none. Of two words for one value the first is printed. For
// bitmasks each value is one bit, in ascending order.
func (t ComponentType) names() []name {
	switch {
	case t == IPProtocol: // IANA "Assigned Internet Protocol Numbers"
		return []name{
			{"icmp", 1},
			{"igmp", 2},
			{"ipip", 4},
			{"tcp", 6},
			{"udp", 17},
			{"ipv6", 41},
			{"gre", 47},
			{"esp", 50},
			{"ah", 51},
			{"icmpv6", 58},
			{"ospf", 89},
			{"pim", 103},
			{"vrrp", 112},
			{"l2tp", 115},
			{"sctp", 132},
			{"udplite", 136},
		}
	case t == TCPFlags: // RFC 9293 section 3.1; 0x100 is AE of RFC 9768
		return []name{
			{"fin", 0x01},
			{"syn", 0x02},
			{"rst", 0x04},
			{"psh", 0x08},
			{"ack", 0x10},
			{"urg", 0x20},
			{"ece", 0x40},
			{"cwr", 0x80},
			{"ae", 0x100},
		}
	case t == Fragment:
		return []name{
			{"dont-fragment", DontFragment},
			{"is-fragment", IsFragment},
			{"first-fragment", FirstFragment},
			{"last-fragment", LastFragment},
		}
	}
	return nil
}

// String returns the rule as text, such as
//
//	dst 203.0.113.0/24 proto udp sport 53|123 len 1000-1500 => rate 10Mbps, mark 8
//
// For a rule that passes Validate, ParseRule of it gives the same rule again. The syntax is described at ParseRule.
func (r Rule) String() string {
	b := append(r.Match.appendText(nil), " =>"...)
	if len(r.Actions) == 0 {
		return string(append(b, " accept"...))
	}
	for i, a := range r.Actions {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, ' '), a.String()...)
	}
	return string(b)
}

// String returns the action as in the text form of a rule, such as "discard", "rate 5kpps", "sample continue", "redirect
// 65001:666", "mark 8" or "redirect-ip 192.0.2.1 copy". The syntax is described at ParseRule.
func (a Action) String() string {
	switch a.Type {
	case TrafficRateBytes, TrafficRatePackets:
		return a.rateText()
	case TrafficAction:
		switch {
		case a.Sample && a.Continue:
			return "sample continue"
		case a.Sample:
			return "sample"
		case a.Continue:
			return "continue"
		}
		return "stop"
	case RTRedirect:
		return "redirect " + a.Target.String()
	case TrafficMarking:
		return "mark " + strconv.Itoa(int(a.DSCP))
	case RedirectToIP:
		s := "redirect-ip " + a.Address.String()
		if a.Copy {
			s += " copy"
		}
		return s
	}
	return "action " + strconv.Itoa(int(a.Type))
}

func (a Action) rateText() string {
	s := "discard"
	if a.Rate != 0 || a.Type == TrafficRatePackets {
		// The shortest digits that mean this float32, unless reading them as a float64 first gives another one.
		s = "rate " + a.formatRate(32)
		if r, err := parseRateAction(a.formatRate(32)); err == nil && r.Rate != a.Rate {
			s = "rate " + a.formatRate(64)
		}
	}
	if a.ASN != 0 {
		s += " as " + strconv.FormatUint(uint64(a.ASN), 10)
	}
	return s
}

func (a Action) formatRate(bits int) string {
	if a.Type == TrafficRatePackets {
		return formatRate(float64(a.Rate), bits, packetUnits())
	}
	return formatBytes(float64(a.Rate), bits)
}

// String returns the route target as ASN:LOCAL or ADDRESS:LOCAL, an IPv6 address in brackets. A four-octet AS that two
// octets could hold has an L, as in 65001L:666, for routers keep it apart from 65001:666.
func (t RouteTarget) String() string {
	local := ":" + strconv.FormatUint(uint64(t.Local), 10)
	switch t.Form {
	case RTFormIPv4:
		return t.Address.String() + local
	case RTFormIPv6:
		return "[" + t.Address.String() + "]" + local
	case RTFormAS2, RTFormAS4:
		s := strconv.FormatUint(uint64(t.ASN), 10)
		if t.Form == RTFormAS4 && t.ASN <= math.MaxUint16 {
			s += "L"
		}
		return s + local
	}
	return "route target of form " + strconv.Itoa(int(t.Form))
}

// String returns the match as text, such as "dst 203.0.113.0/24 proto udp". It begins with the word ipv4 or ipv6 only
// when no prefix tells the family. For a match that passes Validate, ParseMatch of it gives the same match again.
func (m Match) String() string { return string(m.appendText(nil)) }

func (m Match) appendText(b []byte) []byte {
	_, dst := m.Component(DestinationPrefix)
	_, src := m.Component(SourcePrefix)
	if !dst && !src {
		b = append(b, strings.ToLower(m.Family.String())...)
	}
	for i := range m.Components {
		if len(b) > 0 {
			b = append(b, ' ')
		}
		b = append(b, m.Components[i].String()...)
	}
	return b
}

// String returns the component as in the text form of a match: "sport 53|123".
func (c Component) String() string {
	word := c.Type.String()
	if c.Type >= DestinationPrefix && c.Type <= FlowLabel {
		word = words()[c.Type]
	}
	b := append([]byte(word), ' ')
	if c.Type.prefix() {
		return string(append(b, prefixText(c.Prefix, c.Offset)...))
	}
	for i := 0; i < len(c.Ops); i++ {
		op := c.Ops[i]
		if i > 0 {
			b = append(b, "|&"[op.Flags&And>>6])
		}
		switch {
		case c.Type.bitmask():
			b = appendMask(b, c.Type, op)
		case i+1 < len(c.Ops) && isRange(op, c.Ops[i+1]):
			i++
			b = strconv.AppendUint(b, op.Value, 10)
			b = strconv.AppendUint(append(b, '-'), c.Ops[i].Value, 10)
		default:
			b = appendNumber(b, c.Type, op)
		}
	}
	return string(b)
}

// prefixText returns p in the notation of RFC 8956 section 3.1: ADDRESS/LENGTH, or ADDRESS/OFFSET-LENGTH.
func prefixText(p netip.Prefix, offset uint8) string {
	if offset == 0 {
		return p.String()
	}
	return fmt.Sprintf("%s/%d-%d", p.Addr(), offset, p.Bits())
}

// isRange reports whether lo and hi, one after the other, are what the text form writes as LO-HI.
func isRange(lo, hi Op) bool {
	return lo.Flags&^And == GT|EQ && hi.Flags == And|LT|EQ && lo.Value < hi.Value
}

// comparisons returns the text before the number for each value of the bits LT, GT and EQ.
func comparisons() [8]string {
	return [...]string{
		0:            "false:",
		EQ:           "",
		GT:           ">",
		GT | EQ:      ">=",
		LT:           "<",
		LT | EQ:      "<=",
		LT | GT:      "!=",
		LT | GT | EQ: "true:",
	}
}

func appendNumber(b []byte, t ComponentType, op Op) []byte {
	compare := op.Flags & (LT | GT | EQ)
	b = append(b, comparisons()[compare]...)
	if compare == EQ || compare == LT|GT {
		for _, n := range t.names() {
			if n.value == op.Value {
				return append(b, n.text...)
			}
		}
	}
	return strconv.AppendUint(b, op.Value, 10)
}

// anyOf stands before bits of which one is enough; without it all must be set.
const anyOf = "any:"

func appendMask(b []byte, t ComponentType, op Op) []byte {
	if op.Flags&Not != 0 {
		b = append(b, '!')
	}
	if op.Flags&All == 0 {
		b = append(b, anyOf...)
	}
	start, rest := len(b), op.Value
	for _, n := range t.names() {
		if rest&n.value == 0 {
			continue
		}
		if len(b) > start {
			b = append(b, '+')
		}
		b, rest = append(b, n.text...), rest&^n.value
	}
	if rest == 0 && len(b) > start {
		return b
	}
	if len(b) > start {
		b = append(b, '+')
	}
	if rest == 0 {
		return append(b, '0')
	}
	return strconv.AppendUint(append(b, "0x"...), rest, 16)
}

package render

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// bird renders static protocols of BIRD 2.0.12, each with a channel to a table of the operator's. Syntax: BIRD User's
// Guide, "Flowspec network type" and "Static". BIRD names extended communities of FlowSpec by their octets.
type bird struct{}

// The tables that the rendered routes go to, followed by the number of the family. RTBH routes have one of their own: no
// session exports it by accident, and BIRD names itself as the next hop unless the export filter says another one.
const (
	birdFlow = "flowtab"
	birdRTBH = "rtbhtab"
)

// birdNumber is the family as BIRD writes it behind a word.
func birdNumber(f flowspec.Family) string { return strings.TrimPrefix(f.String(), "IPv") }

func (bird) sorts() bool { return false }

func (bird) comment() string { return "#" }

func (bird) paste(s set) []string {
	out := []string{
		"For BIRD 2.0.12, a speaker that your routers hear. Write it to a file, add to bird.conf",
		"  flow4 table flowtab4; flow6 table flowtab6; include \"FILE\";",
		"(your own names, if you have such tables: change them below), give the sessions channels to them:",
		"  flow4 { table flowtab4; import none; export all; };  flow6 { table flowtab6; import none; export all; };",
	}
	if len(s.routes) > 0 {
		out = append(out, "For RTBH also \"ipv4 table rtbhtab4; ipv6 table rtbhtab6;\" and the channels, with these filters and no other:",
			"  ipv4 { table rtbhtab4; import none; export filter tidegate_rtbh4; };  ipv6 the same with 6.")
	}
	return append(out, "Then \"birdc configure check\" and \"birdc configure\".")
}

func (bird) match(m flowspec.Match) ([]string, error) {
	var out []string
	for _, c := range m.Components {
		text, err := birdCondition(c, m.Family)
		if err != nil {
			return nil, err
		}
		out = append(out, text)
	}
	return out, nil
}

func birdCondition(c flowspec.Component, f flowspec.Family) (string, error) {
	word := birdWord(c.Type, f)
	switch c.Type {
	case flowspec.DestinationPrefix, flowspec.SourcePrefix:
		return word + " " + c.Prefix.String(), noOffset(c, "BIRD 2.0.12 sends something else for it")
	case flowspec.TCPFlags:
		return word + " " + birdFlags(c), nil
	case flowspec.Fragment:
		text, err := birdFragment(c)
		return word + " " + text, err
	case flowspec.FlowLabel:
		return word + " " + birdNumbers(c), birdLabel(c)
	default:
		return word + " " + birdNumbers(c), nil
	}
}

// birdLabel refuses what BIRD 2.0.12 cuts to two octets: measured, 1048575 is announced as 65535.
func birdLabel(c flowspec.Component) error {
	for _, op := range c.Ops {
		if op.Value > 0xffff {
			return fmt.Errorf("%s: BIRD 2.0.12 announces a flow label above 65535 as another one", c)
		}
	}
	return nil
}

func birdWord(t flowspec.ComponentType, f flowspec.Family) string {
	words := map[flowspec.ComponentType]string{
		flowspec.DestinationPrefix: "dst",
		flowspec.SourcePrefix:      "src",
		flowspec.IPProtocol:        "proto",
		flowspec.Port:              "port",
		flowspec.DestinationPort:   "dport",
		flowspec.SourcePort:        "sport",
		flowspec.ICMPType:          "icmp type",
		flowspec.ICMPCode:          "icmp code",
		flowspec.TCPFlags:          "tcp flags",
		flowspec.PacketLength:      "length",
		flowspec.DSCP:              "dscp",
		flowspec.Fragment:          "fragment",
		flowspec.FlowLabel:         "label",
	}
	if t == flowspec.IPProtocol && f == flowspec.IPv6 {
		return "next header"
	}
	return words[t]
}

// birdJoin stands before the operator at place i.
func birdJoin(i int, op flowspec.Op) string {
	switch {
	case i == 0:
		return ""
	case op.Flags&flowspec.And != 0:
		return " && "
	}
	return " || "
}

func birdNumbers(c flowspec.Component) string {
	signs := signs{"false", "=", ">", ">=", "<", "<=", "!=", "true"}
	var b strings.Builder
	for i, op := range c.Ops {
		sign := signs[op.Flags&(flowspec.LT|flowspec.GT|flowspec.EQ)]
		fmt.Fprintf(&b, "%s%s %d", birdJoin(i, op), sign, op.Value)
	}
	return b.String()
}

// birdFlags writes VALUE/MASK, true where the bits of the mask have the value: B/B is all of B, !B/B not all of it, !0/B
// any and 0/B none.
func birdFlags(c flowspec.Component) string {
	forms := [4]string{"!0x0/0x%x", "0x%[1]x/0x%[1]x", "0x0/0x%x", "!0x%[1]x/0x%[1]x"} // any, all, none, not all
	var b strings.Builder
	for i, op := range c.Ops {
		b.WriteString(birdJoin(i, op))
		fmt.Fprintf(&b, forms[op.Flags&(flowspec.Not|flowspec.All)], op.Value)
	}
	return b.String()
}

// birdFragment names one bit at a time: its grammar has no number here.
func birdFragment(c flowspec.Component) (string, error) {
	var b strings.Builder
	for i, op := range c.Ops {
		positive := op
		positive.Flags &^= flowspec.Not
		if !oneBit(positive) {
			return "", fmt.Errorf("%s: BIRD 2.0.12 writes one fragment bit at a time; join them by | or &", c)
		}
		name, _ := bitNames(op.Value, fragmentNames(), "")
		b.WriteString(birdJoin(i, op))
		if op.Flags&flowspec.Not != 0 {
			b.WriteByte('!')
		}
		b.WriteString(strings.ReplaceAll(name, "-", "_"))
	}
	return b.String(), nil
}

func (bird) then(actions []flowspec.Action, _ flowspec.Family) ([]string, error) {
	var out []string
	for _, a := range actions {
		octets, err := community(a, "BIRD 2.0.12")
		if err != nil {
			return nil, err
		}
		out = append(out, fmt.Sprintf("bgp_ext_community.add((generic, 0x%x, 0x%x))", octets[:4], octets[4:]))
	}
	return append(out, "bgp_community.add((65535, 65281))"), nil
}

func (bird) route(p netip.Prefix, o Options) error {
	_, err := o.discard(p)
	return err
}

func (bird) write(w *writer, s set) {
	for _, f := range families() {
		n := birdNumber(f)
		if rules := of(f, s.rules); len(rules) > 0 {
			w.line("protocol static tidegate_flow%s {", n)
			w.line("  flow%s { table %s%[1]s; };", n, birdFlow)
			for _, p := range rules {
				w.say(p.item.describe())
				w.line("  route flow%s { %s; } { %s; };", n, strings.Join(p.match, "; "), strings.Join(p.then, "; "))
			}
			w.line("}")
		}
		if routes := of(f, s.routes); len(routes) > 0 {
			hop, _ := s.options.discard(routes[0].prefix) // route has checked it
			w.line("filter tidegate_rtbh%s { bgp_next_hop = %s; accept; }", n, hop)
			w.line("protocol static tidegate_rtbh%s_routes {", n)
			w.line("  ipv%s { table %s%[1]s; };", n, birdRTBH)
			for _, p := range routes {
				w.say(p.item.describe())
				w.line("  route %s blackhole { bgp_community.add((65535, 666)); bgp_community.add((65535, 65281)); };", p.prefix)
			}
			w.line("}")
		}
	}
}

func (bird) undo(w *writer, s set) {
	w.say("Takes back all rules of the file at once: type these lines into birdc. Then remove the include from bird.conf",
		"and \"birdc configure\", or they come back with the next restart.")
	for _, f := range families() {
		if len(of(f, s.rules)) > 0 {
			w.line("disable tidegate_flow%s", birdNumber(f))
		}
		if len(of(f, s.routes)) > 0 {
			w.line("disable tidegate_rtbh%s_routes", birdNumber(f))
		}
	}
}

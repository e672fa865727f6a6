package render

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// exabgp renders a shell script of exabgpcli commands for ExaBGP 4.2.21. Syntax: its configuration/flow/parser.py and
// the examples that come with it.
//
// It is a script and not a list of commands for ExaBGP's pipe, because ExaBGP looks for commands anywhere in a line that
// it is sent, also behind a "#": a comment that names one would be obeyed.
type exabgp struct{}

func (exabgp) sorts() bool { return false }

func (exabgp) comment() string { return "#" }

func (exabgp) paste(set) []string {
	return []string{
		"For ExaBGP 4.2.21, a speaker that your routers hear: run it with sh on its host. It needs the named pipes of",
		"exabgpcli, and neighbours with \"family { ipv4 flow; ipv6 flow; }\", for RTBH also unicast.",
		"Rules go to every neighbour, some five a second, and are forgotten when ExaBGP restarts. exabgpcli succeeds also for a",
		"command that ExaBGP did not take: its log names that one.",
	}
}

func (exabgp) match(m flowspec.Match) ([]string, error) {
	var out []string
	for _, c := range m.Components {
		text, err := exaCondition(c, m.Family)
		if err != nil {
			return nil, err
		}
		out = append(out, text)
	}
	return out, nil
}

func exaCondition(c flowspec.Component, f flowspec.Family) (string, error) {
	word := exaWord(c.Type, f)
	switch c.Type {
	case flowspec.DestinationPrefix, flowspec.SourcePrefix:
		return word + " " + c.Prefix.String(), noOffset(c, "ExaBGP 4.2.21 does not shift the prefix by it")
	case flowspec.TCPFlags, flowspec.Fragment:
		return word + " " + exaMasks(c), nil
	default:
		return word + " " + exaNumbers(c), nil
	}
}

func exaWord(t flowspec.ComponentType, f flowspec.Family) string {
	words := map[flowspec.ComponentType]string{
		flowspec.DestinationPrefix: "destination",
		flowspec.SourcePrefix:      "source",
		flowspec.IPProtocol:        "protocol",
		flowspec.Port:              "port",
		flowspec.DestinationPort:   "destination-port",
		flowspec.SourcePort:        "source-port",
		flowspec.ICMPType:          "icmp-type",
		flowspec.ICMPCode:          "icmp-code",
		flowspec.TCPFlags:          "tcp-flags",
		flowspec.PacketLength:      "packet-length",
		flowspec.DSCP:              "dscp",
		flowspec.Fragment:          "fragment",
		flowspec.FlowLabel:         "flow-label",
	}
	if f == flowspec.IPv6 {
		switch t {
		case flowspec.IPProtocol:
			return "next-header"
		case flowspec.DSCP:
			return "traffic-class"
		default:
		}
	}
	return words[t]
}

// exaList writes terms joined by & inside of one, and by spaces between them.
func exaList(c flowspec.Component, write func(flowspec.Op) string) string {
	var b strings.Builder
	b.WriteString("[ ")
	for i, op := range c.Ops {
		switch {
		case i == 0:
		case op.Flags&flowspec.And != 0:
			b.WriteByte('&')
		default:
			b.WriteByte(' ')
		}
		b.WriteString(write(op))
	}
	b.WriteString(" ]")
	return b.String()
}

func exaNumbers(c flowspec.Component) string {
	signs := signs{"false", "=", ">", ">=", "<", "<=", "!=", "true"}
	return exaList(c, func(op flowspec.Op) string {
		return fmt.Sprintf("%s%d", signs[op.Flags&(flowspec.LT|flowspec.GT|flowspec.EQ)], op.Value)
	})
}

func exaMasks(c flowspec.Component) string {
	names := fragmentNames()
	if c.Type == flowspec.TCPFlags {
		names = []string{"fin", "syn", "rst", "push", "ack", "urg", "ece", "cwr"}
	}
	return exaList(c, func(op flowspec.Op) string {
		value, ok := bitNames(op.Value, names, "+")
		if !ok {
			value = fmt.Sprintf("0x%03x", op.Value)
		}
		return maskSign(op) + value
	})
}

// exaFastest is the rate above which ExaBGP announces this rate instead, in bytes per second.
const exaFastest = 1e12

// exaConfuses says what ExaBGP gets wrong about an action, or nothing. It shares the attributes of rules whose actions
// print the same, and prints a rate without its fraction and its AS. The AS is informative only (RFC 8955 section 7.1) and
// is left out, so that no rule gets that of another one; a fraction is not.
func exaConfuses(a flowspec.Action) string {
	switch a.Type {
	case flowspec.TrafficRateBytes:
		if _, ok := whole(float64(a.Rate), 1<<63); !ok {
			return "takes a rate for any other of the same whole bytes per second"
		}
	case flowspec.RTRedirect:
		if a.Target.Form == flowspec.RTFormAS4 {
			return "takes the command and fails inside; it announces nothing"
		}
	case flowspec.TrafficRatePackets, flowspec.TrafficAction, flowspec.TrafficMarking, flowspec.RedirectToIP:
	}
	return ""
}

func (exabgp) then(actions []flowspec.Action, _ flowspec.Family) ([]string, error) {
	var out, raw []string
	for _, a := range actions {
		a.ASN = 0
		if why := exaConfuses(a); why != "" {
			return nil, fmt.Errorf("%s: ExaBGP 4.2.21 %s", a, why)
		}
		if word := exaAction(a); word != "" {
			out = append(out, word)
			continue
		}
		octets, err := community(a, "ExaBGP 4.2.21")
		if err != nil {
			return nil, err
		}
		raw = append(raw, fmt.Sprintf("0x%x", octets))
	}
	if len(raw) > 0 {
		out = append(out, "extended-community [ "+strings.Join(raw, " ")+" ]")
	}
	return append(out, "community [ 65535:65281 ]"), nil
}

// exaAction is the action in ExaBGP's own words where they say exactly that, else nothing.
func exaAction(a flowspec.Action) string {
	switch a.Type {
	case flowspec.TrafficRateBytes:
		return exaRate(a)
	case flowspec.TrafficMarking:
		return fmt.Sprintf("mark %d", a.DSCP)
	case flowspec.TrafficAction:
		// ExaBGP calls the T bit terminal, which set means the opposite (RFC 8955 section 7.3).
		switch {
		case a.Sample && a.Continue:
			return "action sample-terminal"
		case a.Sample:
			return "action sample"
		case a.Continue:
			return "action terminal"
		}
	case flowspec.RTRedirect:
		if a.Target.Form == flowspec.RTFormAS2 {
			return fmt.Sprintf("redirect %d:%d", a.Target.ASN, a.Target.Local)
		}
	case flowspec.RedirectToIP:
		if !a.Copy {
			return "redirect-to-nexthop-ietf " + a.Address.String()
		}
	case flowspec.TrafficRatePackets:
	}
	return ""
}

func exaRate(a flowspec.Action) string {
	n, ok := whole(float64(a.Rate), exaFastest)
	switch {
	case !ok:
		return ""
	case n == 0:
		return "discard"
	}
	return fmt.Sprintf("rate-limit %d", n)
}

func (exabgp) route(p netip.Prefix, o Options) error {
	_, err := o.discard(p)
	return err
}

func (exabgp) write(w *writer, s set) {
	w.line("set -e")
	for _, p := range s.rules {
		w.say(p.item.describe())
		w.line("exabgpcli 'announce flow route { match { %s; } then { %s; } }'", strings.Join(p.match, "; "), strings.Join(p.then, "; "))
	}
	for _, p := range s.routes {
		hop, _ := s.options.discard(p.prefix) // route has checked it
		w.say(p.item.describe())
		w.line("exabgpcli 'announce route %s next-hop %s community [ 65535:666 65535:65281 ]'", p.prefix, hop)
	}
}

func (exabgp) undo(w *writer, s set) {
	w.say("Takes back the rules of this list: run it with sh on ExaBGP's host. To take back all, restart ExaBGP.")
	w.line("set -e")
	for _, p := range s.rules {
		w.line("exabgpcli 'withdraw flow route { match { %s; } then { %s; } }'", strings.Join(p.match, "; "), strings.Join(p.then, "; "))
	}
	for _, p := range s.routes {
		hop, _ := s.options.discard(p.prefix)
		w.line("exabgpcli 'withdraw route %s next-hop %s'", p.prefix, hop)
	}
}

package render

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// iosxr renders class maps and one policy map per family of the router's own. Syntax: Cisco ASR 9000 Series Routing
// Configuration Guide, Release 5.3.x, "Implementing BGP Flowspec" (the tables of matches and of actions, pages 207 to
// 211), and ASR 9000 Routing Command Reference, "BGP Flowspec Commands".
type iosxr struct{}

func (iosxr) sorts() bool { return true }

func (iosxr) comment() string { return "!" }

func (iosxr) paste(set) []string {
	return []string{
		"For the router itself, in configuration mode. If an older rendering is in place, paste its undo and commit first.",
		"If the router refuses any line, type \"abort\": without that line a rule could act on more than it should.",
		"Else \"show configuration\", \"commit\".",
		"Written from the published syntax. It has not been loaded into a router by us.",
		"It acts where \"flowspec ... local-install\" is on already, as it is for FlowSpec rules from BGP. Do not enable it",
		"on interfaces toward customers. A session of address family flowspec would announce these rules on.",
	}
}

func (iosxr) match(m flowspec.Match) ([]string, error) {
	var out []string
	for _, c := range m.Components {
		text, err := xrCondition(c, strings.ToLower(m.Family.String()), m.Family)
		if err != nil {
			return nil, err
		}
		out = append(out, text)
	}
	return out, nil
}

func xrCondition(c flowspec.Component, family string, f flowspec.Family) (string, error) {
	six := f == flowspec.IPv6
	switch c.Type {
	case flowspec.DestinationPrefix:
		return fmt.Sprintf("destination-address %s %s", family, c.Prefix), noOffset(c, "IOS XR has no command for it")
	case flowspec.SourcePrefix:
		return fmt.Sprintf("source-address %s %s", family, c.Prefix), noOffset(c, "IOS XR has no command for it")
	case flowspec.IPProtocol:
		return xrList("protocol", c)
	case flowspec.Port:
		return "", fmt.Errorf("port: IOS XR has no command for either port; use two rules, with sport and with dport")
	case flowspec.DestinationPort:
		return xrList("destination-port", c)
	case flowspec.SourcePort:
		return xrList("source-port", c)
	case flowspec.ICMPType:
		return xrOne(family+" icmp-type", c)
	case flowspec.ICMPCode:
		return xrOne(family+" icmp-code", c)
	case flowspec.TCPFlags:
		return xrFlags(c)
	case flowspec.PacketLength:
		return xrList("packet length", c)
	case flowspec.DSCP:
		if six {
			return "", fmt.Errorf("%s: IOS XR matches the whole traffic class of IPv6, not its DSCP", c)
		}
		return xrList("dscp", c)
	case flowspec.Fragment:
		return xrFragment(c, six)
	case flowspec.FlowLabel:
		return "", fmt.Errorf("flow label: the published table of IOS XR has no command for it")
	}
	return "", fmt.Errorf("%s: IOS XR has no command for it", c.Type)
}

// xrList is a condition with the values and ranges of which one is enough.
func xrList(word string, c flowspec.Component) (string, error) {
	texts, err := rangeTexts(c)
	return word + " " + strings.Join(texts, " "), err
}

// xrOne is a condition with a single value or range: "multi value range is not supported" says the NCS 6000's guide.
func xrOne(word string, c flowspec.Component) (string, error) {
	texts, err := rangeTexts(c)
	if err == nil && len(texts) > 1 {
		err = fmt.Errorf("%s: IOS XR takes one value or one range of it; use a rule for each", c)
	}
	return word + " " + strings.Join(texts, " "), err
}

// xrFlags is what the command can say: the bits under the mask have this value. Bits beyond the lower octet are "not
// supported" in the guide's table.
func xrFlags(c flowspec.Component) (string, error) {
	var value, mask uint64
	for i, op := range c.Ops {
		joined := i == 0 || op.Flags&flowspec.And != 0
		switch {
		case joined && (oneBit(op) || op.Flags&(flowspec.Not|flowspec.All) == flowspec.All):
			value |= op.Value
		case joined && noneOf(op):
		default:
			return "", fmt.Errorf("%s: IOS XR compares flags with one value under one mask", c)
		}
		if mask&op.Value != 0 {
			return "", fmt.Errorf("%s: the same flag twice", c)
		}
		mask |= op.Value
	}
	if mask > 0xff {
		return "", fmt.Errorf("%s: IOS XR does not support flags above cwr", c)
	}
	return fmt.Sprintf("tcp-flag 0x%x bit-mask 0x%x", value, mask), nil
}

func xrFragment(c flowspec.Component, six bool) (string, error) {
	if six {
		return "", fmt.Errorf("%s: IOS XR matches fragments of IPv4 only", c)
	}
	if len(c.Ops) == 1 && oneBit(c.Ops[0]) && c.Ops[0].Value == flowspec.IsFragment {
		return "fragment-type is-fragment", nil
	}
	return "", fmt.Errorf("%s: the published table of IOS XR has is-fragment, without combination or negation, and no other bit", c)
}

func (iosxr) then(actions []flowspec.Action, f flowspec.Family) ([]string, error) {
	var out []string
	for _, a := range actions {
		text, err := xrAction(a, f)
		if err != nil {
			return nil, err
		}
		out = append(out, text)
	}
	return out, nil
}

func xrAction(a flowspec.Action, f flowspec.Family) (string, error) {
	switch a.Type {
	case flowspec.TrafficRateBytes, flowspec.TrafficRatePackets:
		if a.Rate == 0 {
			return "drop", nil
		}
		if a.Type == flowspec.TrafficRatePackets {
			return "", fmt.Errorf("a rate in packets: the published police rate of IOS XR for FlowSpec counts bits")
		}
		return xrPolice(a)
	case flowspec.TrafficAction:
		return "", fmt.Errorf("%s: IOS XR has no command for it", a)
	case flowspec.TrafficMarking:
		if f == flowspec.IPv6 {
			return "", fmt.Errorf("%s: IOS XR sets the whole traffic class of IPv6, not its DSCP", a)
		}
		return fmt.Sprintf("set dscp %d", a.DSCP), nil
	case flowspec.RTRedirect:
		switch a.Target.Form {
		case flowspec.RTFormAS2, flowspec.RTFormAS4:
			return fmt.Sprintf("redirect nexthop route-target %d:%d", a.Target.ASN, a.Target.Local), xrAmbiguous(a)
		case flowspec.RTFormIPv4:
			return fmt.Sprintf("redirect nexthop route-target %s:%d", a.Target.Address, a.Target.Local), nil
		case flowspec.RTFormIPv6:
		}
		return "", fmt.Errorf("%s: IOS XR has no such route target", a)
	case flowspec.RedirectToIP:
		if a.Copy || a.Address.Is4() != (f == flowspec.IPv4) {
			return "", fmt.Errorf("%s: IOS XR redirects to an address of the rule's family, and does not copy", a)
		}
		return fmt.Sprintf("redirect %s nexthop %s", strings.ToLower(f.String()), a.Address), nil
	}
	return "", fmt.Errorf("%s is not known", a)
}

// xrAmbiguous refuses a four-octet AS that would be read as one of two octets.
func xrAmbiguous(a flowspec.Action) error {
	if a.Target.Form == flowspec.RTFormAS4 && a.Target.ASN < 1<<16 {
		return fmt.Errorf("%s: IOS XR reads an AS below 65536 as one of two octets", a)
	}
	return nil
}

// xrGreatest is the greatest number that a policer takes, in any unit.
const xrGreatest = 1<<32 - 1

// xrPolice writes the rate in the smallest unit that holds it.
func xrPolice(a flowspec.Action) (string, error) {
	rate := bitsPerSecond(a.Rate)
	for _, u := range []struct {
		name string
		in   float64
	}{{"bps", 1}, {"kbps", 1e3}, {"mbps", 1e6}, {"gbps", 1e9}} {
		// A division that is not exact is seen by multiplying back.
		if n, ok := whole(rate/u.in, xrGreatest); ok && float64(n)*u.in == rate {
			return fmt.Sprintf("police rate %d %s", n, u.name), nil
		}
	}
	return "", fmt.Errorf("%s: IOS XR takes whole numbers up to %d of bps, kbps, mbps or gbps", a, uint64(xrGreatest))
}

func (iosxr) route(netip.Prefix, Options) error { return nil }

func (iosxr) write(w *writer, s set) {
	for _, p := range s.rules {
		w.say(p.item.describe())
		w.line("class-map type traffic match-all %s", p.name)
		for _, text := range p.match {
			w.line(" match %s", text)
		}
		w.line(" end-class-map")
		w.line("!")
	}
	for _, f := range families() {
		rules := of(f, s.rules)
		if len(rules) == 0 {
			continue
		}
		w.line("policy-map type pbr %s", xrPolicy(f))
		for _, p := range rules {
			w.line(" class type traffic %s", p.name)
			for _, text := range p.then {
				w.line("  %s", text)
				if strings.HasPrefix(text, "police ") {
					w.line("  !") // a policer is a mode of its own
				}
			}
			w.line(" !")
		}
		w.line(" end-policy-map")
		w.line("!")
		xrAttach(w, f, "")
	}
	xrStatic(w, s, "")
}

// xrPolicy is the name of the policy map of a family.
func xrPolicy(f flowspec.Family) string { return "tidegate-" + strings.ToLower(f.String()) }

// xrAttach makes the policy map of a family act, or with "no " ends that.
func xrAttach(w *writer, f flowspec.Family, no string) {
	w.line("flowspec")
	w.line(" address-family %s", strings.ToLower(f.String()))
	w.line("  %sservice-policy type pbr %s", no, xrPolicy(f))
	w.line(" !")
	w.line("!")
}

// xrStatic writes the RTBH routes, or with "no " takes them back.
func xrStatic(w *writer, s set, no string) {
	if len(s.routes) == 0 {
		return
	}
	w.say("Whoever redistributes static routes into BGP keeps these out of it.")
	w.line("router static")
	for _, f := range families() {
		routes := of(f, s.routes)
		if len(routes) == 0 {
			continue
		}
		w.line(" address-family %s unicast", strings.ToLower(f.String()))
		for _, p := range routes {
			w.say(p.item.describe())
			w.line("  %s%s Null0", no, p.prefix)
		}
		w.line(" !")
	}
	w.line("!")
}

func (iosxr) undo(w *writer, s set) {
	w.say("Takes back the rules of this list. In configuration mode; then \"show configuration\" and \"commit\".",
		"Class maps of rules that have ended since act no more, but stay; \"show running-config class-map\" tells.")
	for _, f := range families() {
		if len(of(f, s.rules)) > 0 {
			xrAttach(w, f, "no ")
			w.line("no policy-map type pbr %s", xrPolicy(f))
		}
	}
	for _, p := range s.rules {
		w.line("no class-map type traffic match-all %s", p.name)
	}
	xrStatic(w, s, "no ")
}

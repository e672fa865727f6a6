package render

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// junos renders flow routes of the router's own, as set commands in one configuration group, so that all of them can be
// taken back whatever has changed since. Syntax: Junos CLI reference, "flow" at [edit routing-options] and "flow (IPv6)"
// at [edit routing-options rib inet6.0]; the ranges of values are those that the CLI itself prints for
// "set routing-options flow route test match ?" and "then ?".
type junos struct{}

// junosGroup is the configuration group that holds everything, junosCommunity what keeps the routes inside of the AS.
const (
	junosGroup     = "tidegate"
	junosCommunity = "tidegate-no-export"
)

func (junos) sorts() bool { return true }

func (junos) comment() string { return "#" }

func (junos) paste(set) []string {
	return []string{
		"For the router itself, in configuration mode: \"load set terminal\", then these lines, then control-D.",
		"If the router refuses any line, type \"rollback 0\": without that line a rule could act on more than it should.",
		"Else \"show | compare\", \"commit check\", \"commit\". A missing group is no error. It replaces an older rendering.",
		"Written from the published syntax. It has not been loaded into a router by us.",
		"The group sets term-order standard: the order of RFC 8955. The old default applies rules in another one.",
		"FlowSpec filters act on every interface that has them enabled, and flow routes need no BGP session.",
	}
}

func (junos) match(m flowspec.Match) ([]string, error) {
	_, either := m.Component(flowspec.Port)
	var out []string
	for _, c := range m.Components {
		if either && (c.Type == flowspec.DestinationPort || c.Type == flowspec.SourcePort) {
			return nil, fmt.Errorf("port and %s in one rule: Junos allows one of them", c.Type)
		}
		text, err := junosCondition(c, m.Family)
		if err != nil {
			return nil, err
		}
		out = append(out, text)
	}
	return out, nil
}

func junosCondition(c flowspec.Component, f flowspec.Family) (string, error) {
	word := junosWord(c.Type, f)
	switch c.Type {
	case flowspec.DestinationPrefix, flowspec.SourcePrefix:
		return word + " " + c.Prefix.String(), noOffset(c, "not rendered for Junos, whose prefix-offset we found no example of")
	case flowspec.TCPFlags:
		return junosBit(word, c, []string{"fin", "syn", "rst", "push", "ack", "urgent"})
	case flowspec.Fragment:
		return junosBit(word, c, fragmentNames())
	default:
		texts, err := rangeTexts(c)
		return word + " " + junosList(texts), err
	}
}

func junosWord(t flowspec.ComponentType, f flowspec.Family) string {
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
	word := words[t]
	if f == flowspec.IPv6 {
		word = strings.Replace(word, "icmp-", "icmp6-", 1)
	}
	return word
}

// junosList is one value, or several of which one is enough.
func junosList(texts []string) string {
	if len(texts) == 1 {
		return texts[0]
	}
	return "[ " + strings.Join(texts, " ") + " ]"
}

// junosBit says the one thing about bits that the CLI reference defines: that one of them is set.
func junosBit(word string, c flowspec.Component, names []string) (string, error) {
	if len(c.Ops) == 1 && oneBit(c.Ops[0]) {
		if text, ok := bitNames(c.Ops[0].Value, names, ""); ok {
			return word + " " + text, nil
		}
	}
	return "", fmt.Errorf("%s: the published syntax of flow routes is one bit by name; it has no combination and no negation", c)
}

// junosFastest is the greatest rate-limit that Junos takes, in bits per second.
const junosFastest = 1e12

func (junos) then(actions []flowspec.Action, f flowspec.Family) ([]string, error) {
	var out []string
	for _, a := range actions {
		texts, err := junosAction(a, f)
		if err != nil {
			return nil, err
		}
		out = append(out, texts...)
	}
	return out, nil
}

func junosAction(a flowspec.Action, f flowspec.Family) ([]string, error) {
	switch a.Type {
	case flowspec.TrafficRateBytes, flowspec.TrafficRatePackets:
		if a.Rate == 0 {
			return []string{"discard"}, nil
		}
		if a.Type == flowspec.TrafficRatePackets {
			return nil, fmt.Errorf("a rate in packets: flow routes of Junos have rate-limit in bits only")
		}
		n, ok := whole(bitsPerSecond(a.Rate), junosFastest)
		if !ok {
			return nil, fmt.Errorf("%s: Junos takes whole bits per second, at most 1000000000000", a)
		}
		return []string{fmt.Sprintf("rate-limit %d", n)}, nil
	case flowspec.TrafficAction:
		var out []string
		if a.Sample {
			out = append(out, "sample")
		}
		if a.Continue {
			out = append(out, "next-term")
		}
		return out, nil
	case flowspec.TrafficMarking:
		return []string{fmt.Sprintf("mark %d", a.DSCP)}, nil
	case flowspec.RTRedirect:
		rt, err := junosTarget(a.Target)
		return []string{"routing-instance " + rt}, err
	case flowspec.RedirectToIP:
		return junosRedirect(a, f)
	}
	return nil, fmt.Errorf("%s is not known", a)
}

func junosTarget(t flowspec.RouteTarget) (string, error) {
	switch t.Form {
	case flowspec.RTFormAS2:
		return fmt.Sprintf("target:%d:%d", t.ASN, t.Local), nil
	case flowspec.RTFormIPv4:
		return fmt.Sprintf("target:%s:%d", t.Address, t.Local), nil
	case flowspec.RTFormAS4: // L: four octets, also below 65536
		return fmt.Sprintf("target:%dL:%d", t.ASN, t.Local), nil
	case flowspec.RTFormIPv6:
		return "", fmt.Errorf("a route target with an IPv6 address: Junos has no such target community")
	}
	return "", fmt.Errorf("route target of form %d is not known", t.Form)
}

func junosRedirect(a flowspec.Action, f flowspec.Family) ([]string, error) {
	if a.Copy {
		return nil, fmt.Errorf("%s: redirect of Junos does not copy", a)
	}
	if a.Address.Is4() != (f == flowspec.IPv4) {
		return nil, fmt.Errorf("%s in a rule for %s: Junos redirects to an address of the same family", a, f)
	}
	return []string{"redirect " + a.Address.String()}, nil
}

func (junos) route(netip.Prefix, Options) error { return nil }

func (junos) write(w *writer, s set) {
	w.line("delete groups %s", junosGroup)
	if len(s.rules) > 0 {
		w.line("set groups %s routing-options flow term-order standard", junosGroup)
		w.line("set groups %s policy-options community %s members no-export", junosGroup, junosCommunity)
	}
	for _, p := range s.rules {
		w.say(p.item.describe())
		at := fmt.Sprintf("set groups %s routing-options %sflow route %s", junosGroup, junosRIB(p.family), p.name)
		for _, text := range p.match {
			w.line("%s match %s", at, text)
		}
		for _, text := range append(slices.Clone(p.then), "community "+junosCommunity) {
			w.line("%s then %s", at, text)
		}
	}
	for _, p := range s.routes {
		w.say(p.item.describe())
		// The router's own route, never exported; so no community is needed.
		w.line("set groups %s routing-options %sstatic route %s discard", junosGroup, junosRIB(p.family), p.prefix)
		w.line("set groups %s routing-options %sstatic route %s no-readvertise", junosGroup, junosRIB(p.family), p.prefix)
	}
	w.line("set apply-groups %s", junosGroup)
}

// junosRIB is the part of a path that leads to the statements of a family.
func junosRIB(f flowspec.Family) string {
	if f == flowspec.IPv6 {
		return "rib inet6.0 "
	}
	return ""
}

func (junos) undo(w *writer, _ set) {
	w.say("Takes back all that tidegate rendered for this router, whenever that was, with its term-order.",
		"In configuration mode: \"load set terminal\", these lines, control-D, \"show | compare\", \"commit\".")
	w.line("delete apply-groups %s", junosGroup)
	w.line("delete groups %s", junosGroup)
}

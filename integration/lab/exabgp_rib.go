package lab

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// exabgpRIB is the table that follows from what ExaBGP says, since it keeps none itself.
type exabgpRIB struct {
	paths map[netip.Addr]map[flowspec.Key]Seen
}

// exabgpLine is the part of ExaBGP's JSON that is read here.
type exabgpLine struct {
	Type     string
	Neighbor struct {
		Address struct{ Peer netip.Addr }
		State   string
		Message struct {
			Update struct {
				Attribute struct {
					Communities []struct{ Value uint64 } `json:"extended-community"`
				}
				// By family ("ipv4 flow"), then by next hop, of which FlowSpec has none.
				Announce map[string]map[string][]exabgpFlow
				Withdraw map[string][]exabgpFlow
			}
		}
	}
}

// exabgpFlow is one rule: lists of values by the name of the component, and a text of the whole as "string".
type exabgpFlow map[string]json.RawMessage

// take brings one line into the table.
func (r *exabgpRIB) take(line []byte) error {
	var l exabgpLine
	if err := json.Unmarshal(line, &l); err != nil {
		return err
	}
	if r.paths == nil {
		r.paths = make(map[netip.Addr]map[flowspec.Key]Seen)
	}
	peer := l.Neighbor.Address.Peer
	if l.Type == "state" {
		delete(r.paths, peer) // a session that begins, and one that is over, has no rules
		return nil
	}
	if r.paths[peer] == nil {
		r.paths[peer] = make(map[flowspec.Key]Seen)
	}
	update := &l.Neighbor.Message.Update
	for family, flows := range update.Withdraw {
		for _, flow := range flows {
			s, err := flow.seen(family, nil, peer)
			if err != nil {
				return err
			}
			delete(r.paths[peer], s.Rule.Match.Key())
		}
	}
	var actions []flowspec.Action
	for _, c := range update.Attribute.Communities {
		a, err := community(c.Value)
		if err != nil {
			return err
		}
		actions = append(actions, a)
	}
	for family, hops := range update.Announce {
		for _, flows := range hops {
			for _, flow := range flows {
				s, err := flow.seen(family, actions, peer)
				if err != nil {
					return err
				}
				r.paths[peer][s.Rule.Match.Key()] = s
			}
		}
	}
	return nil
}

// seen is the table, in a fixed order.
func (r *exabgpRIB) seen() []Seen {
	var out []Seen
	for _, peer := range slices.SortedFunc(maps.Keys(r.paths), netip.Addr.Compare) {
		for _, key := range slices.Sorted(maps.Keys(r.paths[peer])) {
			out = append(out, r.paths[peer][key])
		}
	}
	return out
}

func (f exabgpFlow) seen(family string, actions []flowspec.Action, from netip.Addr) (Seen, error) {
	fam := flowspec.IPv4
	if family == "ipv6 flow" {
		fam = flowspec.IPv6
	}
	var text string
	if err := json.Unmarshal(f["string"], &text); err != nil {
		return Seen{}, err
	}
	var comps []flowspec.Component
	for name, raw := range f {
		if name == "string" {
			continue
		}
		var values []string
		if err := json.Unmarshal(raw, &values); err != nil {
			return Seen{}, err
		}
		c, err := exabgpComponent(name, values, text)
		if err != nil {
			return Seen{}, fmt.Errorf("cannot read %s %q: %w", name, values, err)
		}
		comps = append(comps, c)
	}
	return newSeen(fam, comps, actions, from)
}

// exabgpComponent reads one component. Bitmasks are taken from the text, because the lists do not tell "syn+ack" from
// "syn or ack".
func exabgpComponent(name string, values []string, text string) (flowspec.Component, error) {
	t, ok := exabgpType(name)
	if !ok {
		return flowspec.Component{}, fmt.Errorf("unknown component")
	}
	c := flowspec.Component{Type: t}
	switch t {
	case flowspec.DestinationPrefix, flowspec.SourcePrefix:
		if len(values) != 1 {
			return c, fmt.Errorf("not one prefix")
		}
		if strings.Count(values[0], "/") == 2 { // IPv6 has the offset behind the length
			return parsePrefix(t, strings.TrimSuffix(values[0], "/0"))
		}
		return parsePrefix(t, values[0])
	case flowspec.TCPFlags, flowspec.Fragment:
		var err error
		values, err = exabgpMasks(name, text)
		if err != nil {
			return c, err
		}
	default:
	}
	for _, v := range values {
		for i, item := range strings.Split(v, "&") {
			op, err := exabgpOp(t, item)
			if err != nil {
				return c, err
			}
			if i > 0 {
				op.Flags |= flowspec.And
			}
			c.Ops = append(c.Ops, op)
		}
	}
	return c, nil
}

func exabgpType(name string) (flowspec.ComponentType, bool) {
	switch name {
	case "destination-ipv4", "destination-ipv6":
		return flowspec.DestinationPrefix, true
	case "source-ipv4", "source-ipv6":
		return flowspec.SourcePrefix, true
	case "protocol", "next-header":
		return flowspec.IPProtocol, true
	case "port":
		return flowspec.Port, true
	case "destination-port":
		return flowspec.DestinationPort, true
	case "source-port":
		return flowspec.SourcePort, true
	case "icmp-type":
		return flowspec.ICMPType, true
	case "icmp-code":
		return flowspec.ICMPCode, true
	case "tcp-flags":
		return flowspec.TCPFlags, true
	case "packet-length":
		return flowspec.PacketLength, true
	case "dscp", "traffic-class":
		return flowspec.DSCP, true
	case "fragment":
		return flowspec.Fragment, true
	case "flow-label":
		return flowspec.FlowLabel, true
	default:
		return 0, false
	}
}

// exabgpMasks finds " tcp-flags =syn+ack" or " tcp-flags [ =syn&!ack =fin ]" in the text of a rule.
func exabgpMasks(name, text string) ([]string, error) {
	_, rest, ok := strings.Cut(text, " "+name+" ")
	if !ok {
		return nil, fmt.Errorf("not in %q", text)
	}
	if list, ok := strings.CutPrefix(rest, "[ "); ok {
		list, _, ok = strings.Cut(list, " ]")
		if !ok {
			return nil, fmt.Errorf("no end of the list in %q", text)
		}
		return strings.Fields(list), nil
	}
	one, _, _ := strings.Cut(rest, " ")
	return []string{one}, nil
}

// exabgpOp reads one operator with its value: ">=1000", "=udp", "!=syn+ack".
func exabgpOp(t flowspec.ComponentType, item string) (flowspec.Op, error) {
	value := strings.TrimLeft(item, "<>=!")
	sign := item[:len(item)-len(value)]
	if numeric(t) {
		flags, err := compareFlags(sign)
		if err != nil {
			return flowspec.Op{}, err
		}
		v, err := exabgpNumber(t, value)
		return flowspec.Op{Flags: flags, Value: v}, err
	}
	var op flowspec.Op
	switch sign {
	case "":
	case "=":
		op.Flags = flowspec.All
	case "!":
		op.Flags = flowspec.Not
	case "!=":
		op.Flags = flowspec.All | flowspec.Not
	default:
		return op, fmt.Errorf("unknown sign %q", sign)
	}
	for bit := range strings.SplitSeq(value, "+") {
		v, ok := exabgpBit(t, bit)
		if !ok {
			return op, fmt.Errorf("unknown bit %q", bit)
		}
		op.Value |= v
	}
	return op, nil
}

func exabgpBit(t flowspec.ComponentType, name string) (uint64, bool) {
	names := []string{"fin", "syn", "rst", "push", "ack", "urg", "ece", "cwr", "ns"}
	if t == flowspec.Fragment {
		names = []string{"dont-fragment", "is-fragment", "first-fragment", "last-fragment"}
	}
	i := slices.Index(names, name)
	return 1 << max(i, 0), i >= 0
}

// exabgpNumber reads a number, which ExaBGP replaces by a name where it knows one, and by "unknown protocol type 58"
// where it should.
func exabgpNumber(t flowspec.ComponentType, text string) (uint64, error) {
	names := map[string]uint64{}
	switch t {
	case flowspec.IPProtocol:
		names = map[string]uint64{
			"icmp": 1, "igmp": 2, "tcp": 6, "egp": 8, "udp": 17, "rsvp": 46, "gre": 47, "esp": 50, "ah": 51, "ospf": 89,
			"ipip": 94, "pim": 103, "sctp": 132,
		}
	case flowspec.ICMPType: // also those of ICMPv6, by number
		names = map[string]uint64{
			"echo-reply": 0, "unreachable": 3, "source-quench": 4, "redirect": 5, "echo-request": 8,
			"router-advertisement": 9, "router-solicit": 10, "time-exceeded": 11, "parameter-problem": 12, "timestamp": 13,
			"timestamp-reply": 14, "info-request": 15, "info-reply": 16, "mask-request": 17, "mask-reply": 18,
			"traceroute": 30, "experimental-mobility": 41, "extended-echo-request": 42, "extended-echo-reply": 43,
			"experimental-one": 253, "experimental-two": 254,
		}
	default:
	}
	if v, ok := names[text]; ok {
		return v, nil
	}
	if strings.HasPrefix(text, "unknown ") {
		text = text[strings.LastIndexByte(text, ' ')+1:]
	}
	return strconv.ParseUint(text, 10, 32)
}

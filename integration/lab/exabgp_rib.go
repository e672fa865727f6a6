package lab

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// exabgpRIB is the table that follows from what ExaBGP says, since it keeps none itself: by neighbour, then by the
// family and the text of the rule.
type exabgpRIB struct {
	paths map[netip.Addr]map[string]Entry
}

// exabgpLine is the part of ExaBGP's JSON that is read here.
type exabgpLine struct {
	Type     string
	Neighbor struct {
		Address struct{ Peer netip.Addr }
		State   string
		Message struct {
			Update struct {
				Attribute map[string]json.RawMessage
				// By family ("ipv4 flow"), then by next hop, of which FlowSpec has none.
				Announce map[string]map[string][]exabgpFlow
				Withdraw map[string][]exabgpFlow
			}
		}
	}
}

// The attributes that hold actions: 16, and 25, of which ExaBGP knows no name.
const (
	exabgpCommunities  = "extended-community"
	exabgpCommunities6 = "attribute-0x19-0xC0"
)

// exabgpFlow is one rule: lists of values by the name of the component, and a text of the whole as "string".
type exabgpFlow map[string]json.RawMessage

// take brings one line into the table. What of a rule cannot be read stands in its entry; a line of which nothing can
// be read is an error.
func (r *exabgpRIB) take(line []byte) error {
	var l exabgpLine
	if err := json.Unmarshal(line, &l); err != nil {
		return err
	}
	if r.paths == nil {
		r.paths = make(map[netip.Addr]map[string]Entry)
	}
	peer := l.Neighbor.Address.Peer
	if l.Type == "state" {
		delete(r.paths, peer) // a session that begins, and one that is over, has no rules
		return nil
	}
	if r.paths[peer] == nil {
		r.paths[peer] = make(map[string]Entry)
	}
	update := &l.Neighbor.Message.Update
	for family, flows := range update.Withdraw {
		for _, flow := range flows {
			text, err := flow.text()
			if err != nil {
				return err
			}
			delete(r.paths[peer], family+" "+text)
		}
	}
	actions, raw, why := exabgpActions(update.Attribute)
	for family, hops := range update.Announce {
		for _, flows := range hops {
			for _, flow := range flows {
				text, err := flow.text()
				if err != nil {
					return err
				}
				comps, err := flow.components(text)
				r.paths[peer][family+" "+text] = newEntry(text+raw, exabgpFamily(family), comps, actions, peer, errors.Join(err, why))
			}
		}
	}
	return nil
}

// entries is the table, in a fixed order.
func (r *exabgpRIB) entries() []Entry {
	var out []Entry
	for _, peer := range slices.SortedFunc(maps.Keys(r.paths), netip.Addr.Compare) {
		for _, key := range slices.Sorted(maps.Keys(r.paths[peer])) {
			out = append(out, r.paths[peer][key])
		}
	}
	return out
}

func exabgpFamily(name string) flowspec.Family {
	if name == "ipv6 flow" {
		return flowspec.IPv6
	}
	return flowspec.IPv4
}

// exabgpActions reads the communities of an UPDATE. raw is what ExaBGP says of them.
func exabgpActions(attributes map[string]json.RawMessage) (actions []flowspec.Action, raw string, err error) {
	if text, ok := attributes[exabgpCommunities]; ok {
		raw += "; " + string(text)
		var all []struct{ Value uint64 }
		err = json.Unmarshal(text, &all)
		for _, c := range all {
			a, bad := community(c.Value)
			actions, err = append(actions, a), errors.Join(err, bad)
		}
	}
	if text, ok := attributes[exabgpCommunities6]; ok {
		raw += "; attribute 25 " + string(text)
		var word string
		bad := json.Unmarshal(text, &word)
		if bad == nil {
			var a flowspec.Action
			a, bad = exabgpCommunity6(word)
			actions = append(actions, a)
		}
		err = errors.Join(err, bad)
	}
	return actions, raw, err
}

// exabgpCommunity6 reads attribute 25: "redirect-to-nexthop-ietf 2001:db8::1", "copy-to-nexthop-ietf 2001:db8::1 (with
// copy)", or the octets as a number in hexadecimal.
func exabgpCommunity6(text string) (flowspec.Action, error) {
	word, rest, _ := strings.Cut(text, " ")
	switch word {
	case "redirect-to-nexthop-ietf", "copy-to-nexthop-ietf":
		address, _, _ := strings.Cut(rest, " ")
		a, err := netip.ParseAddr(address)
		return flowspec.RedirectIP(a, word == "copy-to-nexthop-ietf"), err
	}
	digits, ok := strings.CutPrefix(text, "0x")
	if !ok || len(digits) > 40 {
		return flowspec.Action{}, fmt.Errorf("cannot read attribute 25 %q", text)
	}
	octets, err := hex.DecodeString(strings.Repeat("0", 40-len(digits)) + digits)
	if err != nil {
		return flowspec.Action{}, fmt.Errorf("cannot read attribute 25 %q: %w", text, err)
	}
	return communityOf(octets)
}

func (f exabgpFlow) text() (string, error) {
	var text string
	err := json.Unmarshal(f["string"], &text)
	return text, err
}

func (f exabgpFlow) components(text string) ([]flowspec.Component, error) {
	var comps []flowspec.Component
	var why error
	for name, raw := range f {
		if name == "string" {
			continue
		}
		var values []string
		if err := json.Unmarshal(raw, &values); err != nil {
			why = errors.Join(why, err)
			continue
		}
		c, err := exabgpComponent(name, values, text)
		if err != nil {
			why = errors.Join(why, fmt.Errorf("cannot read %s %q: %w", name, values, err))
			continue
		}
		comps = append(comps, c)
	}
	slices.SortFunc(comps, func(a, b flowspec.Component) int { return cmp.Compare(a.Type, b.Type) })
	return comps, why
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

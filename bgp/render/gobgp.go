package render

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// gobgp renders a shell script of gobgp commands for GoBGP 3.10.0. Syntax: docs/sources/flowspec.md of GoBGP.
type gobgp struct{}

func (gobgp) sorts() bool { return false }

func (gobgp) comment() string { return "#" }

func (gobgp) paste(set) []string {
	return []string{
		"For GoBGP 3.10.0, a speaker that your routers hear: run it with sh on the host of gobgpd, whose neighbours have the",
		"families ipv4-flowspec and ipv6-flowspec, for RTBH also unicast. Rules are forgotten when gobgpd restarts.",
	}
}

// gobgpLongest is the length in octets from which gobgpd 3 writes a wrong length field (upstream issue 3596).
const gobgpLongest = 240

func (gobgp) match(m flowspec.Match) ([]string, error) {
	octets, err := flowspec.AppendComponents(nil, m)
	if err != nil {
		return nil, err
	}
	if len(octets) >= gobgpLongest {
		return nil, fmt.Errorf("a rule of %d octets: GoBGP 3.10.0 writes a wrong length from %d on", len(octets), gobgpLongest)
	}
	var out []string
	for _, c := range m.Components {
		text, err := gobgpCondition(c)
		if err != nil {
			return nil, err
		}
		out = append(out, gobgpWord(c.Type)+" "+text)
	}
	return out, nil
}

func gobgpWord(t flowspec.ComponentType) string {
	if t == flowspec.FlowLabel {
		return "label"
	}
	return exaWord(t, flowspec.IPv4)
}

func gobgpCondition(c flowspec.Component) (string, error) {
	switch c.Type {
	case flowspec.DestinationPrefix, flowspec.SourcePrefix:
		return c.Prefix.String(), noOffset(c, "GoBGP 3.10.0 has the encoding of an old draft")
	case flowspec.TCPFlags:
		return gobgpMasks(c, []string{"F", "S", "R", "P", "A", "U", "E", "C"}, "")
	case flowspec.Fragment:
		return gobgpMasks(c, fragmentNames(), "+")
	default:
		return gobgpNumbers(c)
	}
}

// gobgpNumbers leaves out "true" and "false", which GoBGP has the wrong way round.
func gobgpNumbers(c flowspec.Component) (string, error) {
	signs := signs{"", "==", ">", ">=", "<", "<=", "!=", ""}
	var b strings.Builder
	for i, op := range c.Ops {
		sign, err := signs.comparison(c.Type, op)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%s%s%d", gobgpJoin(i, op), sign, op.Value)
	}
	return "'" + b.String() + "'", nil
}

func gobgpJoin(i int, op flowspec.Op) string {
	switch {
	case i == 0:
		return ""
	case op.Flags&flowspec.And != 0:
		return "&"
	}
	return " "
}

func gobgpMasks(c flowspec.Component, names []string, join string) (string, error) {
	var b strings.Builder
	for i, op := range c.Ops {
		value, ok := bitNames(op.Value, names, join)
		if !ok {
			return "", fmt.Errorf("%s: GoBGP has no name for one of the bits", c)
		}
		b.WriteString(gobgpJoin(i, op) + maskSign(op) + value)
	}
	return "'" + b.String() + "'", nil
}

func (gobgp) then(actions []flowspec.Action, _ flowspec.Family) ([]string, error) {
	var out []string
	for _, a := range actions {
		text, err := gobgpAction(a)
		if err != nil {
			return nil, err
		}
		out = append(out, text)
	}
	return append(out, "community no-export"), nil
}

func gobgpAction(a flowspec.Action) (string, error) {
	switch a.Type {
	case flowspec.TrafficRateBytes:
		text := "discard"
		if a.Rate != 0 {
			text = "rate-limit " + decimal(a.Rate)
		}
		if as := uint16(a.ASN); as != 0 { // the two octets that are sent
			text += fmt.Sprintf(" as %d", as)
		}
		return text, nil
	case flowspec.TrafficAction:
		// GoBGP calls the T bit terminal, which set means the opposite (RFC 8955 section 7.3).
		switch {
		case a.Sample && a.Continue:
			return "action sample-terminal", nil
		case a.Sample:
			return "action sample", nil
		case a.Continue:
			return "action terminal", nil
		}
		return "", fmt.Errorf("%s: GoBGP has no word for an action that neither samples nor goes on", a)
	case flowspec.TrafficMarking:
		return fmt.Sprintf("mark %d", a.DSCP), nil
	case flowspec.RTRedirect:
		return gobgpRedirect(a)
	case flowspec.TrafficRatePackets, flowspec.RedirectToIP:
		return "", fmt.Errorf("%s: gobgp 3.10.0 has no word for it", a)
	}
	return "", fmt.Errorf("%s is not known", a)
}

func gobgpRedirect(a flowspec.Action) (string, error) {
	switch t := a.Target; t.Form {
	case flowspec.RTFormAS2:
		return fmt.Sprintf("redirect %d:%d", t.ASN, t.Local), nil
	case flowspec.RTFormIPv4:
		return fmt.Sprintf("redirect %s:%d", t.Address, t.Local), nil
	case flowspec.RTFormAS4: // without the point it would become 65535
		return fmt.Sprintf("redirect %d.%d:%d", t.ASN>>16, t.ASN&0xffff, t.Local), nil
	case flowspec.RTFormIPv6:
	}
	return "", fmt.Errorf("%s: GoBGP 3.10.0 has another encoding for it", a)
}

func (gobgp) route(p netip.Prefix, o Options) error {
	_, err := o.discard(p)
	return err
}

func (gobgp) write(w *writer, s set) {
	w.line("set -e")
	for _, p := range s.rules {
		w.say(p.item.describe())
		w.line("gobgp global rib -a %s-flowspec add match %s then %s", strings.ToLower(p.family.String()), strings.Join(p.match, " "), strings.Join(p.then, " "))
	}
	for _, p := range s.routes {
		hop, _ := s.options.discard(p.prefix) // route has checked it
		w.say(p.item.describe())
		w.line("gobgp global rib -a %s add %s nexthop %s community 65535:666,no-export", strings.ToLower(p.family.String()), p.prefix, hop)
	}
}

func (gobgp) undo(w *writer, s set) {
	w.say("Takes back the rules of this list: run it with sh on the host of gobgpd. To take back all, restart gobgpd.")
	w.line("set -e")
	for _, p := range s.rules {
		w.line("gobgp global rib -a %s-flowspec del match %s", strings.ToLower(p.family.String()), strings.Join(p.match, " "))
	}
	for _, p := range s.routes {
		w.line("gobgp global rib -a %s del %s", strings.ToLower(p.family.String()), p.prefix)
	}
}

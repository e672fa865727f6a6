package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// bgpd is where Debian keeps FRR's BGP daemon.
const bgpd = "/usr/lib/frr/bgpd"

// FRR's bgpd runs without zebra: it takes rules and shows them, and enforces nothing.
const frrConfig = `hostname frr
router bgp {{.ASN}}
 bgp router-id {{.Address}}
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 bgp allow-martian-nexthop
{{- range .Neighbours}}
 neighbor {{.}} remote-as {{$.NeighbourASN}}
 neighbor {{.}} passive
 neighbor {{.}} disable-connected-check
{{- end}}
 address-family ipv4 flowspec
{{- range .Neighbours}}
  neighbor {{.}} activate
{{- end}}
 exit-address-family
 address-family ipv6 flowspec
{{- range .Neighbours}}
  neighbor {{.}} activate
{{- end}}
 exit-address-family
`

// frr is FRR's bgpd.
type frr struct{ daemon }

// StartFRR starts FRR's bgpd and waits until vtysh is answered.
func (l *Lab) StartFRR(ctx context.Context, address netip.Addr, asn flowspec.ASN) (Router, error) {
	r, err := l.startFRR(ctx, frrConfig, address, asn)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// startFRR starts FRR's bgpd with a configuration that is yet to be filled in.
func (l *Lab) startFRR(ctx context.Context, text string, address netip.Addr, asn flowspec.ASN) (*frr, error) {
	config, err := l.config("bgpd.conf", text, address, asn)
	if err != nil {
		return nil, err
	}
	sockets := filepath.Join(l.dir, "frr")
	if err := os.Mkdir(sockets, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the directory of frr: %w", err)
	}
	p, err := l.Start("frr", bgpd, "-S", "-Z", "-n", "-p", fmt.Sprint(Port), "-l", address.String(), "-f", config,
		"-i", filepath.Join(sockets, "bgpd.pid"), "--vty_socket", sockets, "-A", "127.0.0.1", "-P", "0", "--log", "stdout")
	if err != nil {
		return nil, err
	}
	r := &frr{daemon{Process: p, lab: l, address: address, asn: asn}}
	return r, r.ready(ctx, func(ctx context.Context) error {
		_, err := r.vtysh(ctx, "show bgp summary")
		return err
	})
}

func (r *frr) vtysh(ctx context.Context, command string) ([]byte, error) {
	return r.lab.output(ctx, "vtysh", "--vty_socket", filepath.Join(r.lab.dir, "frr"), "-d", "bgpd", "-c", command)
}

// Table implements Router.
func (r *frr) Table(ctx context.Context) ([]Seen, error) {
	entries, err := r.Entries(ctx)
	return table("frr", entries, err)
}

// Entries implements Lister. FRR's JSON of its table is not valid JSON, so the text is read.
func (r *frr) Entries(ctx context.Context) ([]Entry, error) {
	return bothFamilies(func(f flowspec.Family) ([]Entry, error) {
		text, err := r.vtysh(ctx, "show bgp "+strings.ToLower(f.String())+" flowspec detail")
		return entriesFRR(f, string(text)), err
	})
}

// Shown implements Router. FRR writes a comma between two numbers whether they are joined by AND or by OR: ">= 1000 ,
// <= 1500" may be a range or all packets. The numbers and their comparisons are compared, how they are joined is not. It
// does not show the AS of a rate, which is informative.
func (r *frr) Shown(rule flowspec.Rule) flowspec.Rule {
	rule.Actions = slices.Clone(rule.Actions)
	for i := range rule.Actions {
		rule.Actions[i].ASN = 0
	}
	return edit(Plain(rule), func(t flowspec.ComponentType, op flowspec.Op) flowspec.Op {
		if numeric(t) {
			op.Flags &^= flowspec.And
		}
		return op
	})
}

// ShowsFrom implements Router: the detailed view, the only one with actions, does not name the neighbour.
func (r *frr) ShowsFrom() bool { return false }

// parseFRR reads the output of "show bgp ipv4 flowspec detail".
func parseFRR(f flowspec.Family, text string) ([]Seen, error) {
	return table("frr", entriesFRR(f, text), nil)
}

// entriesFRR is parseFRR, of entries too that cannot be read in full.
func entriesFRR(f flowspec.Family, text string) []Entry {
	var out []Entry
	communities := strings.NewReplacer(" FS:", "\nFS:", " NH:", "\nNH:", " UNK:", "\nUNK:") // several stand on one line
	entries := strings.Split(text, "BGP flowspec entry:")
	for _, entry := range entries[1:] {
		var comps []flowspec.Component
		var actions []flowspec.Action
		var why error
		var raw []string
		lines := strings.Split(entry, "\n")
		for _, line := range lines[1:] { // the first one holds flags
			if !strings.HasPrefix(line, "\t") {
				break // the count at the end
			}
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "received for ") || line == "not installed in PBR" {
				continue
			}
			raw = append(raw, line)
			for part := range strings.SplitSeq(communities.Replace(line), "\n") {
				if a, ok, err := parseFRRAction(part); ok {
					actions, why = append(actions, a), errors.Join(why, err)
					continue
				}
				c, err := parseFRRComponent(part)
				if err != nil {
					why = errors.Join(why, fmt.Errorf("cannot read %q of frr: %w", part, err))
					continue
				}
				comps = append(comps, c)
			}
		}
		out = append(out, newEntry(strings.Join(raw, "; "), f, comps, actions, netip.Addr{}, why))
	}
	return out
}

// parseFRRAction reads a line such as "FS:rate 1250000.000000"; false if it is none of an action that is known.
func parseFRRAction(line string) (a flowspec.Action, ok bool, err error) {
	if rate, ok := strings.CutPrefix(line, "FS:rate "); ok {
		v, err := strconv.ParseFloat(rate, 32)
		return flowspec.RateLimit(flowspec.BytesPerSecond(v)), true, err
	}
	if target, ok := strings.CutPrefix(line, "FS:redirect VRF RT:"); ok {
		t, err := parseRouteTarget(target)
		return flowspec.Redirect(t), true, err
	}
	if dscp, ok := strings.CutPrefix(line, "FS:marking "); ok {
		v, err := strconv.ParseUint(dscp, 10, 8)
		return flowspec.Mark(uint8(v)), true, err
	}
	if hop, ok := strings.CutPrefix(line, "NH:"); ok {
		// An IPv4 address specific community: address and local administrator, which holds the C bit.
		t, err := parseRouteTarget(hop)
		return flowspec.RedirectIP(t.Address, t.Local&1 != 0), true, err
	}
	if line == "FS:action eval stops" { // neither bit
		return flowspec.Action{Type: flowspec.TrafficAction}, true, nil
	}
	return flowspec.Action{}, false, nil
}

// parseFRRComponent reads a line such as "IP Protocol = 6 , = 17".
func parseFRRComponent(line string) (flowspec.Component, error) {
	for _, w := range []struct {
		word string
		t    flowspec.ComponentType
	}{
		{"Destination Address ", flowspec.DestinationPrefix},
		{"Source Address ", flowspec.SourcePrefix},
		{"IP Protocol ", flowspec.IPProtocol},
		{"Port ", flowspec.Port},
		{"Destination Port ", flowspec.DestinationPort},
		{"Source Port ", flowspec.SourcePort},
		{"ICMP Type ", flowspec.ICMPType},
		{"ICMP Code ", flowspec.ICMPCode},
		{"TCP Flags ", flowspec.TCPFlags},
		{"Packet Length ", flowspec.PacketLength},
		{"DSCP field ", flowspec.DSCP},
		{"Packet Fragment ", flowspec.Fragment},
		{"Packet Flow Label ", flowspec.FlowLabel},
	} {
		rest, ok := strings.CutPrefix(line, w.word)
		if !ok {
			continue
		}
		if w.t == flowspec.DestinationPrefix || w.t == flowspec.SourcePrefix {
			return parsePrefix(w.t, strings.TrimSuffix(rest, "/off 0"))
		}
		ops, err := parseFRROps(w.t, rest)
		return flowspec.Component{Type: w.t, Ops: ops}, err
	}
	return flowspec.Component{}, errors.New("unknown condition")
}

// parseFRROps reads numbers such as "= 80 , >= 8000" or bitmasks such as "= 2,&∋ ! 16".
func parseFRROps(t flowspec.ComponentType, text string) ([]flowspec.Op, error) {
	var ops []flowspec.Op
	for i, part := range strings.Split(text, ",") {
		part = strings.TrimSpace(part)
		var op flowspec.Op
		if !numeric(t) {
			join := ""
			if i > 0 && part != "" {
				join, part = part[:1], part[1:]
			}
			if join == "&" {
				op.Flags |= flowspec.And
			}
		}
		sign, value := "", part
		if at := strings.LastIndexByte(part, ' '); at >= 0 {
			sign, value = part[:at], part[at+1:]
		}
		v, err := strconv.ParseUint(value, 10, 32)
		if err != nil {
			return nil, err
		}
		op.Value = v
		flags, err := compareFlags(sign)
		if !numeric(t) {
			flags, err = frrMask(sign)
		}
		if err != nil {
			return nil, err
		}
		op.Flags |= flags
		ops = append(ops, op)
	}
	return ops, nil
}

// frrMask reads the sign before a bitmask: "=" all bits, "∋" any of them, "!" negates.
func frrMask(sign string) (flowspec.OpFlags, error) {
	switch sign {
	case "=":
		return flowspec.All, nil
	case "= !":
		return flowspec.All | flowspec.Not, nil
	case "∋":
		return 0, nil
	case "∋ !":
		return flowspec.Not, nil
	default:
		return 0, fmt.Errorf("unknown sign %q", sign)
	}
}

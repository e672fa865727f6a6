package lab

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

const birdConfig = `router id {{.Address}};
flow4 table ft4;
flow6 table ft6;
protocol device {}
{{- range $i, $n := .Neighbours}}
protocol bgp n{{$i}} {
  local {{$.Address}} port {{$.Port}} as {{$.ASN}};
  neighbor {{$n}} as {{$.NeighbourASN}};
  multihop; strict bind on; passive on; error wait time 1, 5;
  flow4 { table ft4; import all; export none; };
  flow6 { table ft6; import all; export none; };
}
{{- end}}
`

// bird is BIRD 2.
type bird struct{ daemon }

// StartBIRD starts BIRD and waits until birdc is answered.
func (l *Lab) StartBIRD(ctx context.Context, address netip.Addr, asn flowspec.ASN) (Router, error) {
	r, err := l.startBIRD(ctx, birdConfig, address, asn)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// startBIRD starts BIRD with a configuration that is yet to be filled in.
func (l *Lab) startBIRD(ctx context.Context, text string, address netip.Addr, asn flowspec.ASN) (*bird, error) {
	config, err := l.config("bird.conf", text, address, asn)
	if err != nil {
		return nil, err
	}
	p, err := l.Start("bird", "bird", "-f", "-c", config, "-s", filepath.Join(l.dir, "bird.ctl"))
	if err != nil {
		return nil, err
	}
	r := &bird{daemon{Process: p, lab: l, address: address, asn: asn}}
	return r, r.ready(ctx, func(ctx context.Context) error {
		_, err := r.birdc(ctx, "show status")
		return err
	})
}

func (r *bird) birdc(ctx context.Context, command string) ([]byte, error) {
	out, err := r.lab.output(ctx, "birdc", "-r", "-s", filepath.Join(r.lab.dir, "bird.ctl"), command)
	if err != nil {
		return nil, fmt.Errorf("cannot ask bird: %w", err)
	}
	return out, nil
}

// Table implements Router.
func (r *bird) Table(ctx context.Context) ([]Seen, error) {
	entries, err := r.show(ctx, "all")
	return table("bird", entries, err)
}

// Entries implements Lister.
func (r *bird) Entries(ctx context.Context) ([]Entry, error) { return r.show(ctx, "all") }

// Best is the path of each rule that BIRD chose.
func (r *bird) Best(ctx context.Context) ([]Seen, error) {
	entries, err := r.show(ctx, "primary all")
	return table("bird", entries, err)
}

func (r *bird) show(ctx context.Context, which string) ([]Entry, error) {
	return bothFamilies(func(f flowspec.Family) ([]Entry, error) {
		text, err := r.birdc(ctx, "show route table ft"+strings.TrimPrefix(f.String(), "IPv")+" "+which)
		if err != nil {
			return nil, err
		}
		return entriesBIRD(f, string(text))
	})
}

// Shown implements Router: BIRD shows everything.
func (r *bird) Shown(rule flowspec.Rule) flowspec.Rule { return Plain(rule) }

// ShowsFrom implements Router.
func (r *bird) ShowsFrom() bool { return true }

// parseBIRD reads the output of "show route table ft4 all": a line with the match and the first neighbour, a line for
// each further neighbour, and below each of them its attributes.
func parseBIRD(f flowspec.Family, text string) ([]Seen, error) {
	entries, err := entriesBIRD(f, text)
	return table("bird", entries, err)
}

// birdPath is one path while its lines are read.
type birdPath struct {
	raw     []string
	comps   []flowspec.Component
	actions []flowspec.Action
	from    netip.Addr
	why     error
}

// entriesBIRD is parseBIRD, of entries too that cannot be read in full.
func entriesBIRD(f flowspec.Family, text string) ([]Entry, error) {
	var paths []birdPath
	var rule birdPath // the match, for the paths below it
	open := false     // attributes of the last path follow
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		rest := line
		if body, ok := strings.CutPrefix(line, "flow"); ok {
			_, body, _ = strings.Cut(body, "{ ")
			whole := false
			if body, rest, whole = strings.Cut(body, "; }"); !whole {
				if body, rest, ok = strings.Cut(body, " ...}"); !ok { // BIRD prints no more than some 250 octets of a rule
					return nil, fmt.Errorf("cannot read %q of bird", line)
				}
			}
			rule = birdPath{raw: []string{body}}
			rule.comps, rule.why = parseBIRDMatch(body)
			if !whole {
				rule.why = fmt.Errorf("cannot read %q of bird: the rest is not shown", line)
			}
		}
		switch word := strings.TrimSpace(rest); {
		case strings.HasPrefix(word, "["):
			head, _, _ := strings.Cut(word, "]")
			_, from, _ := strings.Cut(head, " from ")
			a, err := netip.ParseAddr(from)
			if err != nil {
				return nil, fmt.Errorf("cannot read neighbour in %q of bird: %w", line, err)
			}
			path := rule
			path.from, path.raw = a, slices.Clone(rule.raw)
			paths, open = append(paths, path), true
		case open:
			paths[len(paths)-1].attribute(word)
		}
	}
	var out []Entry
	for _, p := range paths {
		out = append(out, newEntry(strings.Join(p.raw, "; "), f, p.comps, p.actions, p.from, p.why))
	}
	return out, nil
}

// attribute reads one line below a path.
func (p *birdPath) attribute(line string) {
	var actions []flowspec.Action
	var err error
	if text, ok := strings.CutPrefix(line, "BGP.ext_community: "); ok {
		actions, err = parseBIRDCommunities(text)
	} else if text, ok := strings.CutPrefix(line, "BGP.19 [t]: "); ok { // attribute 25, of which BIRD knows no more
		actions, err = parseBIRDOctets(text)
	} else {
		return
	}
	p.raw = append(p.raw, line)
	p.actions, p.why = append(p.actions, actions...), errors.Join(p.why, err)
}

// parseBIRDCommunities reads "(generic, 0x80060000, 0x49989680)" or "(unknown 0x10c, 198.51.100.1, 0)", several of them
// apart by spaces.
func parseBIRDCommunities(text string) ([]flowspec.Action, error) {
	var out []flowspec.Action
	for part := range strings.SplitSeq(text, ") ") {
		part = strings.TrimSuffix(part, ")")
		var octets []byte
		var high, low uint32
		var kind, local uint16
		if _, err := fmt.Sscanf(part, "(generic, %v, %v", &high, &low); err == nil {
			octets = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, high), low)
		} else if _, err := fmt.Sscanf(part, "(unknown %v,", &kind); err == nil {
			_, rest, _ := strings.Cut(part, ", ")
			address, number, _ := strings.Cut(rest, ", ")
			a, err := netip.ParseAddr(address)
			if err != nil {
				return nil, fmt.Errorf("cannot read community %q: %w", part, err)
			}
			if _, err := fmt.Sscan(number, &local); err != nil {
				return nil, fmt.Errorf("cannot read community %q: %w", part, err)
			}
			octets = append(binary.BigEndian.AppendUint16(nil, kind), a.AsSlice()...)
			octets = binary.BigEndian.AppendUint16(octets, local)
		}
		a, err := communityOf(octets)
		if err != nil {
			return nil, fmt.Errorf("cannot read community %q: %w", part, err)
		}
		out = append(out, a)
	}
	return out, nil
}

// parseBIRDOctets reads an attribute that BIRD does not know: octets in hexadecimal, twenty to a community.
func parseBIRDOctets(text string) ([]flowspec.Action, error) {
	octets, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		return nil, fmt.Errorf("cannot read attribute %q: %w", text, err)
	}
	var out []flowspec.Action
	for part := range slices.Chunk(octets, 20) {
		a, err := communityOf(part)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// parseBIRDMatch reads conditions such as "dst 203.0.113.0/28; proto 6,17; dport 80,8000..8080", with an error as many
// of them as it can.
func parseBIRDMatch(text string) ([]flowspec.Component, error) {
	var comps []flowspec.Component
	var why error
	for part := range strings.SplitSeq(text, "; ") {
		c, err := parseBIRDComponent(part)
		if err != nil {
			why = errors.Join(why, fmt.Errorf("%q: %w", part, err))
			continue
		}
		comps = append(comps, c)
	}
	return comps, why
}

func parseBIRDComponent(part string) (flowspec.Component, error) {
	for _, w := range []struct {
		word string
		t    flowspec.ComponentType
	}{
		{"dst ", flowspec.DestinationPrefix},
		{"src ", flowspec.SourcePrefix},
		{"proto ", flowspec.IPProtocol},
		{"next header ", flowspec.IPProtocol},
		{"port ", flowspec.Port},
		{"dport ", flowspec.DestinationPort},
		{"sport ", flowspec.SourcePort},
		{"icmp type ", flowspec.ICMPType},
		{"icmp code ", flowspec.ICMPCode},
		{"tcp flags ", flowspec.TCPFlags},
		{"length ", flowspec.PacketLength},
		{"dscp ", flowspec.DSCP},
		{"fragment ", flowspec.Fragment},
		{"label ", flowspec.FlowLabel},
	} {
		rest, ok := strings.CutPrefix(part, w.word)
		if !ok {
			continue
		}
		if w.t == flowspec.DestinationPrefix || w.t == flowspec.SourcePrefix {
			return parsePrefix(w.t, rest)
		}
		ops, err := parseBIRDOps(w.t, rest)
		return flowspec.Component{Type: w.t, Ops: ops}, err
	}
	return flowspec.Component{}, errors.New("unknown condition")
}

// parseBIRDOps reads a list joined by "," or "||" (or) and "&&" (and).
func parseBIRDOps(t flowspec.ComponentType, text string) ([]flowspec.Op, error) {
	text = strings.NewReplacer(" && ", "\n&", " || ", "\n", ",", "\n").Replace(text)
	var ops []flowspec.Op
	for item := range strings.SplitSeq(text, "\n") {
		var join flowspec.OpFlags
		if rest, ok := strings.CutPrefix(item, "&"); ok {
			item, join = rest, flowspec.And
		}
		found, err := birdNumber(item)
		if !numeric(t) {
			found, err = birdMask(item)
		}
		if err != nil {
			return nil, err
		}
		found[0].Flags |= join
		ops = append(ops, found...)
	}
	return ops, nil
}

// birdNumber reads "80", ">= 1024" or "8000..8080".
func birdNumber(item string) ([]flowspec.Op, error) {
	if low, high, ok := strings.Cut(item, ".."); ok {
		l, err := strconv.ParseUint(low, 10, 32)
		if err != nil {
			return nil, err
		}
		h, err := strconv.ParseUint(high, 10, 32)
		return []flowspec.Op{
			{Flags: flowspec.GT | flowspec.EQ, Value: l}, {Flags: flowspec.And | flowspec.LT | flowspec.EQ, Value: h},
		}, err
	}
	sign, value, ok := strings.Cut(item, " ")
	if !ok {
		sign, value = "", item
	}
	v, err := strconv.ParseUint(value, 10, 32)
	if err != nil {
		return nil, err
	}
	flags, err := compareFlags(sign)
	return []flowspec.Op{{Flags: flags, Value: v}}, err
}

// birdMask reads VALUE/MASK, true where the bits of the mask have the value: B/B is all of B, !B/B not all, !0/B any
// and 0/B none. A single fragment bit has a name in place of both numbers, and then "!" stands for none, "!!" for any.
func birdMask(item string) ([]flowspec.Op, error) {
	for _, n := range []struct {
		name string
		bit  uint64
	}{
		{"dont_fragment", flowspec.DontFragment},
		{"is_fragment", flowspec.IsFragment},
		{"first_fragment", flowspec.FirstFragment},
		{"last_fragment", flowspec.LastFragment},
	} {
		if signs, ok := strings.CutSuffix(item, n.name); ok {
			op := flowspec.Op{Value: n.bit}
			if signs == "!" {
				op.Flags = flowspec.Not
			} else if signs != "" && signs != "!!" {
				return nil, fmt.Errorf("unknown sign %q", signs)
			}
			return []flowspec.Op{op}, nil
		}
	}
	text, negated := strings.CutPrefix(item, "!")
	value, mask, _ := strings.Cut(text, "/")
	v, err := strconv.ParseUint(value, 0, 32)
	if err != nil {
		return nil, err
	}
	m, err := strconv.ParseUint(mask, 0, 32)
	if err != nil {
		return nil, err
	}
	var flags flowspec.OpFlags
	switch {
	case v == m && negated:
		flags = flowspec.All | flowspec.Not
	case v == m:
		flags = flowspec.All
	case v == 0 && !negated:
		flags = flowspec.Not
	case v != 0:
		return nil, errors.New("some bits set and others not is no FlowSpec operator")
	}
	return []flowspec.Op{{Flags: flags, Value: m}}, nil
}

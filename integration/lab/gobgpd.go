package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

const gobgpConfig = `[global.config]
  as = {{.ASN}}
  router-id = "{{.Address}}"
  port = {{.Port}}
  local-address-list = ["{{.Address}}"]
{{- range .Neighbours}}
[[neighbors]]
  [neighbors.config]
    neighbor-address = "{{.}}"
    peer-as = {{$.NeighbourASN}}
  [neighbors.transport.config]
    passive-mode = true
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv4-flowspec"
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv6-flowspec"
{{- end}}
`

// gobgpd is GoBGP's daemon, of an older major version than the library that tidegate embeds.
type gobgpd struct{ daemon }

// StartGoBGP starts gobgpd and waits until its API answers.
func (l *Lab) StartGoBGP(ctx context.Context, address netip.Addr, asn flowspec.ASN) (Router, error) {
	config, err := l.config("gobgpd.toml", gobgpConfig, address, asn)
	if err != nil {
		return nil, err
	}
	p, err := l.Start("gobgpd", "gobgpd", "-f", config, "--pprof-disable", "--api-hosts", address.String()+":50051")
	if err != nil {
		return nil, err
	}
	r := &gobgpd{daemon{Process: p, lab: l, address: address, asn: asn}}
	return r, r.ready(ctx, func(ctx context.Context) error {
		_, err := r.gobgp(ctx, "neighbor")
		return err
	})
}

func (r *gobgpd) gobgp(ctx context.Context, args ...string) ([]byte, error) {
	return r.lab.output(ctx, append([]string{"gobgp", "-u", r.address.String(), "-p", "50051", "-j"}, args...)...)
}

// Table implements Router.
func (r *gobgpd) Table(ctx context.Context) ([]Seen, error) {
	entries, err := r.Entries(ctx)
	return table("gobgpd", entries, err)
}

// Entries implements Lister.
func (r *gobgpd) Entries(ctx context.Context) ([]Entry, error) {
	return bothFamilies(func(f flowspec.Family) ([]Entry, error) {
		text, err := r.gobgp(ctx, "global", "rib", "-a", strings.ToLower(f.String())+"-flowspec")
		if err != nil {
			return nil, err
		}
		return entriesGoBGP(f, text)
	})
}

// Shown implements Router: gobgpd shows everything.
func (r *gobgpd) Shown(rule flowspec.Rule) flowspec.Rule { return Plain(rule) }

// ShowsFrom implements Router.
func (r *gobgpd) ShowsFrom() bool { return true }

// gobgpPath is the part of a path in gobgp's JSON that is read here.
type gobgpPath struct {
	NLRI struct {
		Value []gobgpComponent
	}
	Attrs []struct {
		Type  int
		Value json.RawMessage
	}
	NeighborIP netip.Addr `json:"neighbor-ip"`
}

type gobgpComponent struct {
	Type   flowspec.ComponentType
	Offset int
	// Value is {"prefix": …} or a list of operators.
	Value json.RawMessage
}

// The types of the path attributes that hold actions (RFC 4360 section 2, RFC 5701).
const (
	gobgpCommunities  = 16
	gobgpCommunities6 = 25
)

// parseGoBGP reads the output of "gobgp global rib -j": the paths of each rule by its text.
func parseGoBGP(f flowspec.Family, text []byte) ([]Seen, error) {
	entries, err := entriesGoBGP(f, text)
	return table("gobgpd", entries, err)
}

// entriesGoBGP is parseGoBGP, of entries too that cannot be read in full.
func entriesGoBGP(f flowspec.Family, text []byte) ([]Entry, error) {
	if strings.TrimSpace(string(text)) == "Network not in table" {
		return nil, nil
	}
	var rib map[string][]gobgpPath
	if err := json.Unmarshal(text, &rib); err != nil {
		return nil, fmt.Errorf("cannot read the table of gobgpd: %w", err)
	}
	var out []Entry
	for _, name := range slices.Sorted(maps.Keys(rib)) {
		for _, p := range rib[name] {
			out = append(out, p.entry(f, name))
		}
	}
	return out, nil
}

func (p *gobgpPath) entry(f flowspec.Family, name string) Entry {
	var comps []flowspec.Component
	var actions []flowspec.Action
	var why error
	raw := name
	for _, v := range p.NLRI.Value {
		c, err := v.component()
		if err != nil {
			why = errors.Join(why, fmt.Errorf("cannot read component %s of gobgpd: %w", v.Value, err))
			continue
		}
		comps = append(comps, c)
	}
	for _, a := range p.Attrs {
		if a.Type != gobgpCommunities && a.Type != gobgpCommunities6 {
			continue
		}
		raw += "; " + string(a.Value)
		var list []json.RawMessage
		if err := json.Unmarshal(a.Value, &list); err != nil {
			why = errors.Join(why, fmt.Errorf("cannot read communities %s of gobgpd: %w", a.Value, err))
		}
		for _, v := range list {
			action, err := parseGoBGPCommunity(v)
			if err != nil {
				why = errors.Join(why, fmt.Errorf("cannot read community %s of gobgpd: %w", v, err))
				continue
			}
			actions = append(actions, action)
		}
	}
	return newEntry(raw, f, comps, actions, p.NeighborIP, why)
}

func (v *gobgpComponent) component() (flowspec.Component, error) {
	c := flowspec.Component{Type: v.Type}
	if v.Type == flowspec.DestinationPrefix || v.Type == flowspec.SourcePrefix {
		var value struct{ Prefix netip.Prefix }
		err := json.Unmarshal(v.Value, &value)
		if err == nil && v.Offset != 0 {
			err = fmt.Errorf("offset %d", v.Offset)
		}
		c.Prefix = value.Prefix
		return c, err
	}
	var ops []struct{ Op, Value uint64 }
	err := json.Unmarshal(v.Value, &ops)
	for _, op := range ops {
		// The end-of-list bit and the length of the value are matters of encoding.
		c.Ops = append(c.Ops, flowspec.Op{Flags: flowspec.OpFlags(op.Op) & (flowspec.And | 7), Value: op.Value})
	}
	return c, err
}

// parseGoBGPCommunity reads a community, whose fields depend on its type.
func parseGoBGPCommunity(text json.RawMessage) (flowspec.Action, error) {
	var v struct {
		Type, Subtype    byte
		AS               flowspec.ASN
		Rate             *float32
		Terminal, Sample bool
		Value            json.RawMessage
	}
	if err := json.Unmarshal(text, &v); err != nil {
		return flowspec.Action{}, err
	}
	var word string
	switch kind := uint16(v.Type)<<8 | uint16(v.Subtype); {
	case kind == 0x8006 && v.Rate != nil:
		return flowspec.Action{Type: flowspec.TrafficRateBytes, ASN: v.AS, Rate: *v.Rate}, nil
	case kind == 0x8007: // "terminal" is the bit T, which means that later rules are evaluated
		return flowspec.Action{Type: flowspec.TrafficAction, Continue: v.Terminal, Sample: v.Sample}, nil
	case kind == 0x8009:
		var dscp uint8
		err := json.Unmarshal(v.Value, &dscp)
		return flowspec.Mark(dscp), err
	case kind == 0x800c: // unknown to it: the octets after the first
		var octets []byte
		if err := json.Unmarshal(v.Value, &octets); err != nil {
			return flowspec.Action{}, err
		}
		return communityOf(append([]byte{v.Type}, octets...))
	case v.Subtype == 0x08 || v.Subtype == 0x0c || v.Subtype == 0x0d:
		if err := json.Unmarshal(v.Value, &word); err != nil {
			return flowspec.Action{}, err
		}
	default:
		return flowspec.Action{}, errors.New("unknown type")
	}
	t, err := parseRouteTarget(word)
	if v.Subtype == 0x0c { // an address specific community, whose local administrator holds the C bit
		return flowspec.RedirectIP(t.Address, t.Local&1 != 0), err
	}
	return flowspec.Redirect(t), err
}

package lab

import (
	"context"
	"encoding/json"
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
	var out []Seen
	for _, f := range []flowspec.Family{flowspec.IPv4, flowspec.IPv6} {
		text, err := r.gobgp(ctx, "global", "rib", "-a", strings.ToLower(f.String())+"-flowspec")
		if err != nil {
			return nil, err
		}
		seen, err := parseGoBGP(f, text)
		if err != nil {
			return nil, err
		}
		out = append(out, seen...)
	}
	return out, nil
}

// Shown implements Router: gobgpd shows everything.
func (r *gobgpd) Shown(rule flowspec.Rule) flowspec.Rule { return Plain(rule) }

// ShowsFrom implements Router.
func (r *gobgpd) ShowsFrom() bool { return true }

// gobgpPath is the part of a path in gobgp's JSON that is read here.
type gobgpPath struct {
	NLRI struct {
		Value []struct {
			Type   flowspec.ComponentType
			Offset int
			// Value is {"prefix": …} or a list of operators.
			Value json.RawMessage
		}
	}
	Attrs []struct {
		Type  int
		Value json.RawMessage
	}
	NeighborIP netip.Addr `json:"neighbor-ip"`
}

// gobgpCommunities is the type of the path attribute EXTENDED_COMMUNITIES (RFC 4360 section 2).
const gobgpCommunities = 16

// parseGoBGP reads the output of "gobgp global rib -j": the paths of each rule by its text.
func parseGoBGP(f flowspec.Family, text []byte) ([]Seen, error) {
	if strings.TrimSpace(string(text)) == "Network not in table" {
		return nil, nil
	}
	var rib map[string][]gobgpPath
	if err := json.Unmarshal(text, &rib); err != nil {
		return nil, fmt.Errorf("cannot read the table of gobgpd: %w", err)
	}
	var out []Seen
	for _, name := range slices.Sorted(maps.Keys(rib)) {
		for _, p := range rib[name] {
			s, err := p.seen(f)
			if err != nil {
				return nil, fmt.Errorf("cannot read rule %q of gobgpd: %w", name, err)
			}
			out = append(out, s)
		}
	}
	return out, nil
}

func (p *gobgpPath) seen(f flowspec.Family) (Seen, error) {
	var comps []flowspec.Component
	for _, v := range p.NLRI.Value {
		c := flowspec.Component{Type: v.Type}
		if v.Type == flowspec.DestinationPrefix || v.Type == flowspec.SourcePrefix {
			var value struct{ Prefix netip.Prefix }
			if err := json.Unmarshal(v.Value, &value); err != nil || v.Offset != 0 {
				return Seen{}, fmt.Errorf("cannot read prefix %s with offset %d: %w", v.Value, v.Offset, err)
			}
			c.Prefix = value.Prefix
		} else {
			var ops []struct{ Op, Value uint64 }
			if err := json.Unmarshal(v.Value, &ops); err != nil {
				return Seen{}, fmt.Errorf("cannot read values %s: %w", v.Value, err)
			}
			for _, op := range ops {
				// The end-of-list bit and the length of the value are matters of encoding.
				c.Ops = append(c.Ops, flowspec.Op{Flags: flowspec.OpFlags(op.Op) & (flowspec.And | 7), Value: op.Value})
			}
		}
		comps = append(comps, c)
	}
	var actions []flowspec.Action
	for _, a := range p.Attrs {
		if a.Type != gobgpCommunities {
			continue
		}
		var values []struct {
			Type, Subtype int
			AS            flowspec.ASN
			Rate          *float32
		}
		if err := json.Unmarshal(a.Value, &values); err != nil {
			return Seen{}, fmt.Errorf("cannot read communities %s: %w", a.Value, err)
		}
		for _, v := range values {
			if v.Type != 0x80 || v.Subtype != 6 || v.Rate == nil {
				return Seen{}, fmt.Errorf("cannot read community %s", a.Value)
			}
			actions = append(actions, flowspec.Action{Type: flowspec.TrafficRateBytes, ASN: v.AS, Rate: *v.Rate})
		}
	}
	return newSeen(f, comps, actions, p.NeighborIP)
}

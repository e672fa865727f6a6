package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// Hole is one RTBH route (RFC 7999) in a router's own table.
type Hole struct {
	Prefix  netip.Prefix
	NextHop netip.Addr
	// Blackhole and NoExport say that the route carries the communities BLACKHOLE and NO_EXPORT.
	Blackhole, NoExport bool
	MED                 uint32
	// Discards says that the router would discard what is sent to Prefix.
	Discards bool
}

// BlackholeRouter is a BGP daemon that takes unicast routes which carry BLACKHOLE, and no other.
type BlackholeRouter interface {
	Name() string
	Address() netip.Addr
	ASN() flowspec.ASN
	// Holes are all routes in the router's own unicast tables, of both families, in order.
	Holes(ctx context.Context) ([]Hole, error)
	// ShowsDiscard reports whether Holes says what the router would do with packets.
	ShowsDiscard() bool
}

const birdHoleConfig = `router id {{.Address}};
protocol device {}
filter rtbh {
  if (65535, 666) ~ bgp_community then { dest = RTD_BLACKHOLE; accept; }
  reject;
}
{{- range $i, $n := .Neighbours}}
protocol bgp n{{$i}} {
  local {{$.Address}} port {{$.Port}} as {{$.ASN}};
  neighbor {{$n}} as {{$.NeighbourASN}};
  multihop; strict bind on; passive on; error wait time 1, 5;
  ipv4 { import filter rtbh; export none; };
  ipv6 { import filter rtbh; export none; };
}
{{- end}}
`

type birdHole struct{ bird }

// StartBlackholeBIRD starts BIRD 2 for RTBH routes and waits until birdc is answered.
func (l *Lab) StartBlackholeBIRD(ctx context.Context, address netip.Addr, asn flowspec.ASN) (BlackholeRouter, error) {
	r, err := l.startBIRD(ctx, birdHoleConfig, address, asn)
	if err != nil {
		return nil, err
	}
	return &birdHole{*r}, nil
}

// Holes implements BlackholeRouter.
func (r *birdHole) Holes(ctx context.Context) ([]Hole, error) {
	text, err := r.birdc(ctx, "show route all")
	if err != nil {
		return nil, err
	}
	return parseBIRDHoles(string(text))
}

// ShowsDiscard implements BlackholeRouter: BIRD shows where a route leads.
func (r *birdHole) ShowsDiscard() bool { return true }

// parseBIRDHoles reads the output of "show route all": a line with prefix and kind, and its attributes below.
func parseBIRDHoles(text string) ([]Hole, error) {
	var out []Hole
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if p, err := netip.ParsePrefix(words[0]); err == nil && len(words) > 1 {
			out = append(out, Hole{Prefix: p, Discards: words[1] == "blackhole"})
			continue
		}
		if len(out) == 0 {
			continue
		}
		h := &out[len(out)-1]
		var err error
		switch words[0] {
		case "BGP.next_hop:":
			h.NextHop, err = netip.ParseAddr(words[1])
		case "BGP.med:":
			h.MED, err = parseMED(words[1])
		case "BGP.community:":
			h.Blackhole = slices.Contains(words, "(65535,666)")
			h.NoExport = slices.Contains(words, "(65535,65281)")
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read %q of bird: %w", line, err)
		}
	}
	sortHoles(out)
	return out, nil
}

func parseMED(text string) (uint32, error) {
	v, err := strconv.ParseUint(text, 10, 32)
	return uint32(v), err
}

func sortHoles(h []Hole) {
	slices.SortFunc(h, func(a, b Hole) int { return a.Prefix.Compare(b.Prefix) })
}

// Without zebra FRR resolves no next hop; what it received is there all the same.
const frrHoleConfig = `hostname frr
bgp community-list standard BLACKHOLE permit blackhole
route-map RTBH permit 10
 match community BLACKHOLE
route-map RTBH deny 20
router bgp {{.ASN}}
 bgp router-id {{.Address}}
 no bgp default ipv4-unicast
 bgp allow-martian-nexthop
{{- range .Neighbours}}
 neighbor {{.}} remote-as {{$.NeighbourASN}}
 neighbor {{.}} passive
 neighbor {{.}} disable-connected-check
{{- end}}
 address-family ipv4 unicast
{{- range .Neighbours}}
  neighbor {{.}} activate
  neighbor {{.}} route-map RTBH in
{{- end}}
 exit-address-family
 address-family ipv6 unicast
{{- range .Neighbours}}
  neighbor {{.}} activate
  neighbor {{.}} route-map RTBH in
{{- end}}
 exit-address-family
`

type frrHole struct{ frr }

// StartBlackholeFRR starts FRR's bgpd for RTBH routes and waits until vtysh is answered.
func (l *Lab) StartBlackholeFRR(ctx context.Context, address netip.Addr, asn flowspec.ASN) (BlackholeRouter, error) {
	r, err := l.startFRR(ctx, frrHoleConfig, address, asn)
	if err != nil {
		return nil, err
	}
	return &frrHole{*r}, nil
}

// Holes implements BlackholeRouter.
func (r *frrHole) Holes(ctx context.Context) ([]Hole, error) {
	var out []Hole
	for _, family := range []string{"ipv4", "ipv6"} {
		text, err := r.vtysh(ctx, "show bgp "+family+" unicast json")
		if err != nil {
			return nil, err
		}
		prefixes, err := parseFRRPrefixes(text)
		if err != nil {
			return nil, err
		}
		for _, p := range prefixes {
			if text, err = r.vtysh(ctx, "show bgp "+family+" unicast "+p.String()+" json"); err != nil {
				return nil, err
			}
			holes, err := parseFRRHoles(text)
			if err != nil {
				return nil, err
			}
			out = append(out, holes...)
		}
	}
	sortHoles(out)
	return out, nil
}

// ShowsDiscard implements BlackholeRouter: what a next hop leads to is zebra's business.
func (r *frrHole) ShowsDiscard() bool { return false }

// parseFRRPrefixes reads the prefixes in the output of "show bgp ipv4 unicast json".
func parseFRRPrefixes(text []byte) ([]netip.Prefix, error) {
	var in struct {
		Routes map[netip.Prefix]json.RawMessage `json:"routes"`
	}
	if err := json.Unmarshal(text, &in); err != nil {
		return nil, fmt.Errorf("cannot read the table of frr: %w", err)
	}
	var out []netip.Prefix
	for p := range in.Routes {
		out = append(out, p)
	}
	return out, nil
}

// parseFRRHoles reads the output of "show bgp ipv4 unicast PREFIX json". A prefix that has gone meanwhile is no error.
func parseFRRHoles(text []byte) ([]Hole, error) {
	var in struct {
		Prefix netip.Prefix `json:"prefix"`
		Paths  []struct {
			MED       uint32 `json:"metric"`
			Community struct {
				List []string `json:"list"`
			} `json:"community"`
			NextHops []struct {
				IP netip.Addr `json:"ip"`
			} `json:"nexthops"`
		} `json:"paths"`
	}
	if err := json.Unmarshal(text, &in); err != nil {
		return nil, fmt.Errorf("cannot read a route of frr: %w", err)
	}
	var out []Hole
	for _, p := range in.Paths {
		if len(p.NextHops) == 0 {
			return nil, errors.New("cannot read a route of frr: no next hop")
		}
		out = append(out, Hole{
			Prefix: in.Prefix, NextHop: p.NextHops[0].IP, MED: p.MED,
			Blackhole: slices.Contains(p.Community.List, "blackhole"), NoExport: slices.Contains(p.Community.List, "noExport"),
		})
	}
	return out, nil
}

package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// Seen is one path of one rule in a router's own table.
type Seen struct {
	// Rule is what the router shows, in the words of package flowspec, in the form of Plain.
	Rule flowspec.Rule
	// From is the neighbour that announced it; zero if the router does not say.
	From netip.Addr
}

// Entry is one path of one rule in a router's own table, whether or not all of it could be read.
type Entry struct {
	// Seen is what was read; with Err as much as was understood, not checked.
	Seen
	// Raw is what the router shows, as it prints it.
	Raw string
	// Err says what could not be read; nil if nothing.
	Err error
}

// Router is a BGP daemon at work in the lab.
type Router interface {
	Name() string
	Address() netip.Addr
	ASN() flowspec.ASN
	// Table is the router's own view of its FlowSpec rules, of both families: one entry for each neighbour that
	// announces a rule.
	Table(ctx context.Context) ([]Seen, error)
	// Shown is what Table shows of a rule that is announced as r: the form of Plain, without what this router's output
	// leaves out. Two rules that look the same here cannot be told apart by this router's view.
	Shown(r flowspec.Rule) flowspec.Rule
	// ShowsFrom reports whether Table says who announced a rule.
	ShowsFrom() bool
}

// Lister is a Router whose table can be read although not all of it is understood; all that StartRouters starts are.
type Lister interface {
	Router
	// Entries is Table, of rules too that cannot be read in full.
	Entries(ctx context.Context) ([]Entry, error)
}

// Plain is r in the one form that all routers can be compared in: where a bitmask has a single bit, "any of" and "all
// of" mean the same packets and become "any of". Nothing that matters to a packet is lost.
func Plain(r flowspec.Rule) flowspec.Rule {
	return edit(r, func(t flowspec.ComponentType, op flowspec.Op) flowspec.Op {
		if (t == flowspec.TCPFlags || t == flowspec.Fragment) && bits.OnesCount64(op.Value) == 1 {
			op.Flags &^= flowspec.All
		}
		return op
	})
}

// edit is r with each operator and value pair replaced by what f makes of it.
func edit(r flowspec.Rule, f func(flowspec.ComponentType, flowspec.Op) flowspec.Op) flowspec.Rule {
	out := flowspec.Rule{Match: flowspec.Match{Family: r.Match.Family}, Actions: slices.Clone(r.Actions)}
	for _, c := range r.Match.Components {
		c.Ops = slices.Clone(c.Ops)
		for i, op := range c.Ops {
			c.Ops[i] = f(c.Type, op)
		}
		out.Match.Components = append(out.Match.Components, c)
	}
	return out
}

// numeric reports whether components of type t hold numbers, not prefixes or bitmasks.
func numeric(t flowspec.ComponentType) bool {
	switch t {
	case flowspec.DestinationPrefix, flowspec.SourcePrefix, flowspec.TCPFlags, flowspec.Fragment:
		return false
	default:
		return true
	}
}

// newEntry makes an entry from what a parser has read, and from why it could not read the rest.
func newEntry(raw string, f flowspec.Family, comps []flowspec.Component, actions []flowspec.Action, from netip.Addr, why error) Entry {
	e := Entry{Raw: raw, Err: why, Seen: Seen{From: from, Rule: flowspec.Rule{
		Match: flowspec.Match{Family: f, Components: comps}, Actions: actions,
	}}}
	if e.Err != nil {
		return e
	}
	m, err := flowspec.NewMatch(f, comps...)
	if err == nil {
		var r flowspec.Rule
		if r, err = flowspec.NewRule(m, actions...); err == nil {
			e.Rule = Plain(r)
		}
	}
	e.Err = err
	return e
}

// table is what was read in full, all of it.
func table(name string, entries []Entry, err error) ([]Seen, error) {
	if err != nil {
		return nil, err
	}
	var out []Seen
	for _, e := range entries {
		if e.Err != nil {
			return nil, fmt.Errorf("cannot read %q of %s: %w", e.Raw, name, e.Err)
		}
		out = append(out, e.Seen)
	}
	return out, nil
}

// bothFamilies joins what read returns for each family.
func bothFamilies(read func(flowspec.Family) ([]Entry, error)) ([]Entry, error) {
	var out []Entry
	for _, f := range []flowspec.Family{flowspec.IPv4, flowspec.IPv6} {
		entries, err := read(f)
		if err != nil {
			return nil, err
		}
		out = append(out, entries...)
	}
	return out, nil
}

// parsePrefix reads a destination or source.
func parsePrefix(t flowspec.ComponentType, text string) (flowspec.Component, error) {
	p, err := netip.ParsePrefix(text)
	return flowspec.Component{Type: t, Prefix: p}, err
}

// compareFlags are the comparisons of numbers as all routers write them.
func compareFlags(sign string) (flowspec.OpFlags, error) {
	switch sign {
	case "", "=":
		return flowspec.EQ, nil
	case "<":
		return flowspec.LT, nil
	case "<=":
		return flowspec.LT | flowspec.EQ, nil
	case ">":
		return flowspec.GT, nil
	case ">=":
		return flowspec.GT | flowspec.EQ, nil
	case "!=":
		return flowspec.LT | flowspec.GT, nil
	default:
		return 0, fmt.Errorf("cannot read comparison %q", sign)
	}
}

// community reads an extended community as an action. One that is no action of package flowspec is an error: what a
// router shows must be understood in full.
func community(value uint64) (flowspec.Action, error) {
	return communityOf(binary.BigEndian.AppendUint64(nil, value))
}

// communityOf is community for the octets of attribute 16, eight of them, or of attribute 25, twenty (RFC 5701).
func communityOf(octets []byte) (a flowspec.Action, err error) {
	ok := false
	switch len(octets) {
	case 8:
		a, ok, err = flowspec.DecodeCommunity([8]byte(octets))
	case 20:
		a, ok, err = flowspec.DecodeCommunity6([20]byte(octets))
	}
	if err == nil && !ok {
		err = fmt.Errorf("cannot read extended community %x", octets)
	}
	return a, err
}

// parseRouteTarget reads ASN:LOCAL or ADDRESS:LOCAL; an ASN may be written high.low (RFC 5396), which is always one of
// four octets.
func parseRouteTarget(text string) (flowspec.RouteTarget, error) {
	at := strings.LastIndexByte(text, ':')
	if at < 0 {
		return flowspec.RouteTarget{}, fmt.Errorf("cannot read route target %q", text)
	}
	local, err := strconv.ParseUint(text[at+1:], 10, 32)
	if err != nil {
		return flowspec.RouteTarget{}, fmt.Errorf("cannot read route target %q: %w", text, err)
	}
	if a, err := netip.ParseAddr(text[:at]); err == nil {
		return flowspec.RouteTargetAddress(a, uint16(local)), nil
	}
	if high, low, ok := strings.Cut(text[:at], "."); ok {
		h, errHigh := strconv.ParseUint(high, 10, 16)
		l, errLow := strconv.ParseUint(low, 10, 16)
		return flowspec.RouteTarget{Form: flowspec.RTFormAS4, ASN: flowspec.ASN(h<<16 | l), Local: uint32(local)}, errors.Join(errHigh, errLow)
	}
	asn, err := strconv.ParseUint(text[:at], 10, 32)
	return flowspec.RouteTargetAS(flowspec.ASN(asn), uint32(local)), err
}

// daemon is what the routers have in common.
type daemon struct {
	*Process
	lab     *Lab
	address netip.Addr
	asn     flowspec.ASN
}

// Address is where the router listens.
func (d *daemon) Address() netip.Addr { return d.address }

// ASN is the router's autonomous system.
func (d *daemon) ASN() flowspec.ASN { return d.asn }

// readyWithin is how long a router may take to answer on its control socket.
const readyWithin = 15 * time.Second

// ready waits until probe answers, or the daemon ends.
func (d *daemon) ready(ctx context.Context, probe func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	var dead error
	err := Until(ctx, 50*time.Millisecond, func(ctx context.Context) error {
		if dead = d.Check(); dead != nil {
			return nil
		}
		return probe(ctx)
	})
	if dead != nil {
		return dead
	}
	if err != nil {
		return fmt.Errorf("%s is not ready: %w: %s", d.Name(), err, strings.Join(d.Tail(5), " | "))
	}
	return nil
}

// config fills in a configuration and writes it to a file of that name in the lab's directory.
func (l *Lab) config(name, text string, address netip.Addr, asn flowspec.ASN) (string, error) {
	t, err := template.New(name).Parse(text)
	if err != nil {
		return "", fmt.Errorf("cannot read the template of %q: %w", name, err)
	}
	var b strings.Builder
	err = t.Execute(&b, map[string]any{
		"Address": address, "ASN": asn, "Port": Port, "Dir": l.dir,
		"Neighbours": l.cfg.Neighbours, "NeighbourASN": l.cfg.ASN,
	})
	if err != nil {
		return "", fmt.Errorf("cannot fill in %q: %w", name, err)
	}
	path := filepath.Join(l.dir, name)
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		return "", fmt.Errorf("cannot write configuration: %w", err)
	}
	return path, nil
}

// StartRouters starts one router of each kind, on 127.0.0.11 to 14.
func (l *Lab) StartRouters(ctx context.Context) ([]Router, error) {
	var out []Router
	for i, start := range []func(context.Context, netip.Addr, flowspec.ASN) (Router, error){l.StartFRR, l.StartBIRD, l.StartExaBGP, l.StartGoBGP} {
		r, err := start(ctx, netip.AddrFrom4([4]byte{127, 0, 0, byte(11 + i)}), flowspec.ASN(65010+10*i))
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

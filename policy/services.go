package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// Service is packets that a customer goes on to receive during an attack: those of a protocol, to the destination ports
// if it names any. No mitigation that holds packets back acts on them. It is about packets to the customer, by their
// destination port only: answers that come back from that port of somebody else are no packets of the service.
type Service struct {
	Prefixes []netip.Prefix // inside the customer's official space; empty: all of the space that is the customer's
	Protocol uint8
	Ports    []flowspec.Range // destination ports, with TCP and UDP only; empty: all packets of the protocol
	Note     string
}

// Bounds of the services of a customer.
const (
	maxServices        = 64
	maxServicePrefixes = 256
	maxServicePorts    = 64
)

func (v Service) exception() flowspec.Exception {
	return flowspec.Exception{Protocol: v.Protocol, Ports: v.Ports}
}

// Text returns the service in words, e.g. "udp/53 at 203.0.113.53".
func (v Service) Text() string {
	text := v.packets()
	if len(v.Prefixes) > 0 {
		text += " at " + prefixList(v.Prefixes)
	}
	return text
}

// packets says which packets the service is about, e.g. "udp/53".
func (v Service) packets() string {
	text := fmt.Sprintf("protocol %d", v.Protocol)
	switch v.Protocol {
	case protoTCP:
		text = "tcp"
	case protoUDP:
		text = "udp"
	}
	var ports []string
	for _, r := range v.Ports {
		ports = append(ports, rangeText(r))
	}
	if len(ports) > 0 {
		text += "/" + strings.Join(ports, ",")
	}
	return text
}

func (v Service) equal(o Service) bool {
	return v.Protocol == o.Protocol && v.Note == o.Note && slices.Equal(v.Prefixes, o.Prefixes) && slices.Equal(v.Ports, o.Ports)
}

// holds reports whether all packets of o are packets of v, as far as one service can say.
func (v Service) holds(o Service) bool {
	if v.Protocol != o.Protocol || len(v.Prefixes) > 0 && (len(o.Prefixes) == 0 || !covered(outermost(o.Prefixes), outermost(v.Prefixes))) {
		return false
	}
	if len(v.Ports) == 0 {
		return true
	}
	mine := joinRanges(v.Ports)
	return len(o.Ports) > 0 && slices.Equal(commonRanges(mine, joinRanges(o.Ports)), joinRanges(o.Ports))
}

// services checks the services of a customer.
func (c *checker) services(d *Customer) {
	c.count("services", len(d.Services), maxServices)
	for i := range d.Services {
		v, at := &d.Services[i], item("services", i)
		c.count(below(at, "prefixes"), len(v.Prefixes), maxServicePrefixes)
		for j, p := range v.Prefixes {
			field := item(below(at, "prefixes"), j)
			if c.prefix(field, p) && !slices.ContainsFunc(d.Official, func(q netip.Prefix) bool { return contains(q, p) }) {
				c.add(field, fmt.Sprintf("%s is not inside official space of %s", p, d.ID), "name a part of it, or leave prefixes out for all of it")
			}
		}
		c.count(below(at, "ports"), len(v.Ports), maxServicePorts)
		if len(v.Ports) > 0 && v.Protocol != protoTCP && v.Protocol != protoUDP {
			c.add(below(at, "ports"), fmt.Sprintf("protocol %d has no ports", v.Protocol), "leave them out, or write protocol: tcp or udp")
		}
		for j, r := range v.Ports {
			if r.Lo > r.Hi || r.Hi > 65535 {
				c.add(item(below(at, "ports"), j), rangeText(r)+" is not a range of ports", "write a port from 0 to 65535, or a range such as 8000-8100")
			}
		}
		c.text(below(at, "note"), v.Note)
	}
}

// servicesAt returns the services of a customer at any of the targets, their prefixes cut to those that meet them.
func servicesAt(c *Customer, targets []netip.Prefix) []Service {
	var out []Service
	for _, v := range c.Services {
		if len(v.Prefixes) > 0 {
			var meet []netip.Prefix
			for _, p := range v.Prefixes {
				if slices.ContainsFunc(targets, p.Overlaps) {
					meet = append(meet, p)
				}
			}
			if len(meet) == 0 {
				continue
			}
			v.Prefixes = outermost(meet)
		}
		v.Note = ""
		out = append(out, v)
	}
	return withServices(nil, out)
}

// ServicesAt returns the services of a customer that packets to an address may be of.
func ServicesAt(c *Customer, a netip.Addr) []Service {
	return servicesAt(c, []netip.Prefix{netip.PrefixFrom(a, a.BitLen())})
}

// withServices returns the services of a and of b, none that another one holds, in a fixed order.
func withServices(a, b []Service) []Service {
	all := slices.Concat(a, b)
	slices.SortStableFunc(all, compareServices)
	var out []Service
	for i, v := range all {
		if !slices.ContainsFunc(out, func(o Service) bool { return o.holds(v) }) &&
			!slices.ContainsFunc(all[i+1:], func(o Service) bool { return o.holds(v) && !v.holds(o) }) {
			out = append(out, v)
		}
	}
	return out
}

func compareServices(a, b Service) int {
	return cmp.Or(cmp.Compare(a.Protocol, b.Protocol), slices.CompareFunc(a.Ports, b.Ports, compareRange), slices.CompareFunc(a.Prefixes, b.Prefixes, comparePrefix))
}

// sparesNoMore reports whether every one of the services, as far as it is about the targets, is one of allowed.
func sparesNoMore(services, allowed []Service, targets []netip.Prefix) bool {
	for _, v := range services {
		if len(v.Prefixes) > 0 {
			if v.Prefixes = intersect(outermost(v.Prefixes), fewest(targets)); len(v.Prefixes) == 0 {
				continue
			}
		} else {
			v.Prefixes = fewest(targets)
		}
		if !slices.ContainsFunc(allowed, func(o Service) bool { return o.holds(v) }) {
			return false
		}
	}
	return true
}

// part is destinations that have the same matches.
type part struct {
	pieces  []netip.Prefix
	matches []flowspec.Match
}

// shaped is what a mitigation takes, once allowed services are left out of it.
type shaped struct {
	parts []part
	// spared is where everything that would be taken is allowed: nothing is acted on there.
	spared []netip.Prefix
	wide   bool // services are spared at more destinations than they are at, to stay within the limit
}

// leaveServices leaves the services out of what pieces × variants take: a piece that a service is at only a part of falls into
// parts. Beyond most pieces every service is spared at all of a piece that it meets; that acts on less.
func leaveServices(pieces []netip.Prefix, variants []flowspec.Match, services []Service, most int) (shaped, Reason) {
	if len(services) == 0 {
		return shaped{parts: []part{{pieces, variants}}}, Reason{}
	}
	var at []netip.Prefix // where services begin and end
	for _, v := range services {
		at = append(at, v.Prefixes...)
	}
	at = sortedSet(at, comparePrefix)
	fine, whole := divide(pieces, at, most)
	if !whole {
		fine = pieces
	}
	out := shaped{wide: !whole}
	of := map[string]int{} // the place of a part, by its services
	for _, p := range fine {
		mine, key := servicesOf(services, p)
		i, known := of[key]
		if !known {
			matches, r := exceptServices(variants, mine)
			if r.Code != "" {
				return shaped{}, r
			}
			i, of[key] = len(out.parts), len(out.parts)
			out.parts = append(out.parts, part{matches: matches})
		}
		out.parts[i].pieces = append(out.parts[i].pieces, p)
	}
	out.parts = slices.DeleteFunc(out.parts, func(p part) bool {
		if len(p.matches) == 0 {
			out.spared = append(out.spared, p.pieces...)
		}
		return len(p.matches) == 0
	})
	out.spared = fewest(out.spared)
	return out, Reason{}
}

// divide cuts pieces where one of the prefixes begins or ends, and reports whether that makes at most so many.
func divide(pieces, prefixes []netip.Prefix, most int) ([]netip.Prefix, bool) {
	out := slices.Clone(pieces)
	for _, at := range prefixes {
		i := slices.IndexFunc(out, func(p netip.Prefix) bool { return p != at && inside(at, p) })
		if i < 0 {
			continue
		}
		rest := append(subtract(out[i:i+1], []netip.Prefix{at}), at)
		out = slices.Replace(out, i, i+1, rest...)
		if len(out) > most {
			return nil, false
		}
	}
	slices.SortFunc(out, comparePrefix)
	return out, true
}

// servicesOf returns the services that meet p, and a text that tells them from other lists.
func servicesOf(services []Service, p netip.Prefix) (mine []flowspec.Exception, key string) {
	var b strings.Builder
	for i, v := range services {
		if len(v.Prefixes) == 0 || slices.ContainsFunc(v.Prefixes, p.Overlaps) {
			mine = append(mine, v.exception())
			fmt.Fprint(&b, i, " ")
		}
	}
	return mine, b.String()
}

// exceptServices returns the matches without the packets of services.
func exceptServices(variants []flowspec.Match, services []flowspec.Exception) ([]flowspec.Match, Reason) {
	if len(services) == 0 {
		return variants, Reason{}
	}
	var out []flowspec.Match
	for i := range variants {
		left, err := variants[i].Except(services...)
		if err != nil {
			return nil, Reason{CodeUnsafeMatch, fmt.Sprintf("allowed services cannot be left out of %q: %v", variants[i].String(), err)}
		}
		out = append(out, left...)
	}
	slices.SortFunc(out, flowspec.Compare)
	out = slices.CompactFunc(out, flowspec.Match.Equal)
	if len(out) > MaxVariants {
		return nil, Reason{CodeTooManyVariants, fmt.Sprintf("leaving the allowed services out needs %d matches for a destination, at most %d are permitted: "+
			"allow fewer ports or ranges, or name fewer in the signal", len(out), MaxVariants)}
	}
	return out, Reason{}
}

// pieces returns the destinations of all parts, sorted.
func (x *shaped) pieces() []netip.Prefix {
	if len(x.parts) == 1 {
		return x.parts[0].pieces
	}
	var out []netip.Prefix
	for i := range x.parts {
		out = append(out, x.parts[i].pieces...)
	}
	slices.SortFunc(out, comparePrefix)
	return out
}

// rules returns how many rules the parts come to.
func (x *shaped) rules() int {
	n := 0
	for i := range x.parts {
		n += len(x.parts[i].pieces) * len(x.parts[i].matches)
	}
	return n
}

// without returns the parts without some of their destinations.
func (x *shaped) without(gone []netip.Prefix) shaped {
	out := shaped{spared: x.spared, wide: x.wide}
	for _, p := range x.parts {
		left := slices.DeleteFunc(slices.Clone(p.pieces), func(q netip.Prefix) bool { return slices.Contains(gone, q) })
		if len(left) > 0 {
			out.parts = append(out.parts, part{left, p.matches})
		}
	}
	return out
}

// spare leaves the allowed services out of the plan. Blackholes cannot tell packets apart: they leave out the addresses.
func (p *plan) spare(s *State) Reason {
	if p.action.holds() == holdNothing {
		p.services = nil
		return Reason{}
	}
	p.services = withServices(p.services, servicesAt(p.customer, p.targets))
	if len(p.services) == 0 {
		return Reason{}
	}
	if p.action.Kind != RTBH {
		return p.spareByMatch(s)
	}
	var at []netip.Prefix
	for _, v := range p.services {
		if len(v.Prefixes) == 0 {
			at = p.cut.Pieces
			break
		}
		at = append(at, v.Prefixes...)
	}
	out := intersect(fewest(p.cut.Pieces), fewest(at))
	if len(out) == 0 {
		p.services = nil
		return Reason{}
	}
	if p.cut.Pieces = subtract(p.cut.Pieces, out); len(p.cut.Pieces) == 0 {
		return Reason{CodeAllAllowed, fmt.Sprintf("a blackhole takes every packet, and customer %s keeps %s: discard by a rule, which can leave it out",
			p.customer.ID, list(p.services, Service.Text))}
	}
	p.cut.Unprotected = fewest(slices.Concat(p.cut.Unprotected, out))
	p.notes = append(p.notes, fmt.Sprintf("%s is left out: a blackhole takes every packet, and customer %s keeps %s", prefixList(out), p.customer.ID, list(p.services, Service.Text)))
	return Reason{}
}

// spareByMatch leaves the services out of the matches.
func (p *plan) spareByMatch(s *State) Reason {
	x, r := leaveServices(p.cut.Pieces, p.variants, p.services, max(s.Safeguards().MaxPieces, len(p.cut.Pieces)))
	if r.Code != "" {
		return r
	}
	if len(x.parts) == 0 {
		return Reason{CodeAllAllowed, fmt.Sprintf("nothing is left of what was asked for on %s: customer %s keeps %s; take it out of the customer's services, or name other packets",
			prefixList(p.targets), p.customer.ID, list(p.services, Service.Text))}
	}
	p.services, p.parts, p.cut.Pieces = x.atPieces(p.services), x.parts, x.pieces()
	p.cut.Unprotected = fewest(slices.Concat(p.cut.Unprotected, x.spared))
	p.notes = append(p.notes, x.notes(p.customer.ID, p.services, p.variants)...)
	return Reason{}
}

// shaped returns what the plan takes.
func (p *plan) shaped() []part {
	if p.parts == nil {
		return []part{{p.cut.Pieces, p.variants}}
	}
	return p.parts
}

// ruleCount returns how many rules the plan comes to.
func (p *plan) ruleCount() int {
	x := shaped{parts: p.shaped()}
	return x.rules()
}

// notes says what an engineer should know of services that are left out.
func (x *shaped) notes(c CustomerID, services []Service, variants []flowspec.Match) []string {
	same := len(x.spared) == 0 && !x.wide
	for i := range x.parts {
		same = same && slices.EqualFunc(x.parts[i].matches, variants, flowspec.Match.Equal)
	}
	if same { // the services are about other packets
		return nil
	}
	out := []string{fmt.Sprintf("customer %s keeps %s, by destination port", c, list(services, Service.Text))}
	if fragmentsTaken(x.parts, services) {
		out = append(out, "fragments after the first carry no ports: they are taken, also those of allowed services")
	}
	if len(x.spared) > 0 {
		out = append(out, fmt.Sprintf("%s is left out: all that would be taken there is allowed", prefixList(x.spared)))
	}
	if x.wide {
		out = append(out, "allowed services are spared at whole destinations, also at addresses that have none, to stay within the limit of destinations")
	}
	return out
}

// fragmentsTaken reports whether fragments are taken that may be of a service with ports.
func fragmentsTaken(parts []part, services []Service) bool {
	for _, p := range parts {
		for i := range p.matches {
			m := &p.matches[i]
			for _, v := range services {
				later := flowspec.Match{Family: m.Family, Components: []flowspec.Component{flowspec.Proto(v.Protocol), flowspec.Fragments(flowspec.IsFragment)}}
				if len(v.Ports) > 0 && !m.Disjoint(later) {
					return true
				}
			}
		}
	}
	return false
}

// acting is what a mitigation, or a plan of one, acts on.
type acting struct {
	pieces []netip.Prefix // sorted, none inside another
	at     func(piece netip.Prefix) []flowspec.Match
	groups []string
}

func (p *plan) acting() acting {
	return acting{p.cut.Pieces, func(piece netip.Prefix) []flowspec.Match {
		for i := range p.parts {
			if slices.Contains(p.parts[i].pieces, piece) {
				return p.parts[i].matches
			}
		}
		return p.variants
	}, p.groups}
}

func (m *Mitigation) acting() acting {
	return acting{m.Cut.Pieces, m.matchesAt, m.Groups}
}

// matchesAt returns what is taken of the packets to one of the pieces.
func (m *Mitigation) matchesAt(piece netip.Prefix) []flowspec.Match {
	if len(m.Services) == 0 {
		return m.Variants
	}
	var out []flowspec.Match
	for i := range m.Rules {
		if dst, ok := m.Rules[i].Match.Destination(); ok && dst == piece {
			out = append(out, withoutDestination(m.Rules[i].Match))
		}
	}
	return out
}

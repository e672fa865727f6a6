package policy

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// again is what an active mitigation becomes when documents change. It lies inside what the mitigation is.
type again struct {
	cut      Cut
	parts    []part // none: nothing is left
	services []Service
}

// again cuts m anew under s, with these of its matches and all services that are allowed now, besides those that were
// allowed before. What a router has no room for is given up, the smallest destinations first.
func (m *Mitigation) again(s *State, variants []flowspec.Match, b *budget) again {
	limit := max(s.Safeguards().MaxPieces, len(m.Cut.Pieces))
	services := m.Services
	if c, ok := s.Customer(m.Customer); ok && m.Action.holds() > holdNothing {
		services = withServices(services, servicesAt(c, m.Targets))
	}
	switch {
	case len(services) == 0:
		limit = min(limit, b.pieces(m, variants))
		cut := recut(s, m, limit)
		if len(cut.Pieces) == 0 {
			return again{cut: cut}
		}
		return again{cut: cut, parts: []part{{cut.Pieces, variants}}}
	case m.Action.Kind == RTBH:
		return m.againAsBlackhole(s, services, limit)
	}
	whole := *m // what was divided for the services is divided again
	whole.Cut.Pieces = fewest(m.Cut.Pieces)
	next := again{cut: recut(s, &whole, limit)}
	all := next.cut.Pieces
	x, r := leaveServices(all, variants, services, limit)
	if r.Code != "" {
		x = shaped{} // it cannot be told apart any more: nothing is worse than too much
	}
	next.services = x.atPieces(services)
	x.parts = m.fitting(s, x.parts)
	for len(x.parts) > 0 && !b.room(m, x.parts) {
		pieces := x.pieces()
		_, smallest := largest(pieces, len(pieces)-1)
		x, next.cut.Rounded = x.without(smallest), true
	}
	next.parts, next.cut.Pieces = x.parts, x.pieces()
	next.cut.Unprotected = fewest(slices.Concat(next.cut.Unprotected, subtract(all, next.cut.Pieces)))
	return next
}

// againAsBlackhole leaves out the routes to addresses of services.
func (m *Mitigation) againAsBlackhole(s *State, services []Service, limit int) again {
	next := again{cut: recut(s, m, limit), services: services}
	all := next.cut.Pieces
	next.cut.Pieces = slices.DeleteFunc(slices.Clone(all), func(p netip.Prefix) bool {
		mine, _ := servicesOf(services, p)
		return len(mine) > 0
	})
	next.cut.Unprotected = fewest(slices.Concat(next.cut.Unprotected, subtract(all, next.cut.Pieces)))
	if len(next.cut.Pieces) > 0 {
		next.parts = []part{{next.cut.Pieces, m.Variants}}
	}
	return next
}

// fitting returns the parts as every router that hears m takes them, without those that one does not take.
func (m *Mitigation) fitting(s *State, parts []part) []part {
	var out []part
	for _, x := range parts {
		p := plan{origin: m.Origin, action: m.Action, groups: m.Groups, targets: m.Targets, variants: x.matches, cut: Cut{Pieces: x.pieces}}
		if p.fitRouters(s).Code == "" {
			out = append(out, part{x.pieces, p.variants})
		}
	}
	return out
}

// atPieces returns the services as they are spared: where that is wider than they are, there.
func (x *shaped) atPieces(services []Service) []Service {
	if !x.wide {
		return services
	}
	out := slices.Clone(services)
	for i, v := range out {
		if len(v.Prefixes) == 0 {
			continue
		}
		var at []netip.Prefix
		for _, p := range slices.Concat(x.pieces(), x.spared) {
			if slices.ContainsFunc(v.Prefixes, p.Overlaps) {
				at = append(at, p)
			}
		}
		out[i].Prefixes = outermost(slices.Concat(at, v.Prefixes))
	}
	return withServices(nil, out)
}

// nothing says why nothing is left of m.
func (next *again) nothing(m *Mitigation) string {
	text := "nothing is left to act on: exempt are " + exemptList(next.cut.Exempt)
	if n := len(next.services); n > 0 && (n > len(m.Services) || len(next.cut.Exempt) == 0) {
		text = fmt.Sprintf("nothing is left to act on: customer %s keeps %s", m.Customer, list(next.services, Service.Text))
	}
	return text
}

// text says what becomes of m.
func (next *again) text(m *Mitigation) string {
	text := fmt.Sprintf("cut again to %s of %d before; exempt are %s", plural(len(next.cut.Pieces), "destination"), len(m.Cut.Pieces), exemptList(next.cut.Exempt))
	if !slices.EqualFunc(next.services, m.Services, Service.equal) {
		text += fmt.Sprintf("; customer %s keeps %s", m.Customer, list(next.services, Service.Text))
	}
	return text
}

// room reports whether the routers have room for m with these parts; as much as it takes now is always there.
func (b *budget) room(m *Mitigation, parts []part) bool {
	if b == nil {
		return true
	}
	x := shaped{parts: parts}
	for i, r := range b.routers {
		if !r.inReach(m.Action.RouteKind(), m.Groups) {
			continue
		}
		room := &b.rooms[i]
		if n := x.rules() - len(m.Rules); n > 0 && room.Routes+n > room.RoutesStop {
			return false
		}
		if room.EntriesStop == 0 {
			continue
		}
		prof, n := b.s.Profile(r), 0
		for _, p := range parts {
			n += len(p.pieces) * entriesPerPiece(prof, p.matches)
		}
		if n -= entriesOfRules(prof, m.Rules); n > 0 && room.Entries+n > room.EntriesStop {
			return false
		}
	}
	return true
}

package policy

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// makeRules combines every piece of a part with every match of it into the rules that carry out the action, which share
// its rate, by piece. The rule of a blackhole route has a destination and no action: it is no FlowSpec rule (wanted.Route).
func makeRules(parts []part, a Action) ([]flowspec.Rule, Reason) {
	actions, r := share(parts, a) // shared: nothing that is in a State is changed
	if r.Code != "" {
		return nil, r
	}
	var rules []flowspec.Rule
	for _, part := range parts {
		rules = slices.Grow(rules, len(part.pieces)*len(part.matches))
		for _, p := range part.pieces {
			for _, v := range part.matches {
				m, err := v.WithDestination(p)
				if err == nil {
					err = flowspec.CheckSafe(m)
				}
				if err != nil {
					return nil, Reason{CodeUnsafeMatch, fmt.Sprintf("the rule for %s cannot be announced safely: %v", p, err)}
				}
				rules = append(rules, flowspec.Rule{Match: m, Actions: actions})
			}
		}
	}
	if len(parts) > 1 {
		slices.SortStableFunc(rules, func(x, y flowspec.Rule) int {
			p, _ := x.Match.Destination()
			q, _ := y.Match.Destination()
			return comparePrefix(p, q)
		})
	}
	return rules, Reason{}
}

// share returns the actions of each rule of the parts.
func share(parts []part, a Action) ([]flowspec.Action, Reason) {
	if len(parts) == 1 {
		return a.wire(len(parts[0].pieces), len(parts[0].matches))
	}
	x := shaped{parts: parts}
	return a.wire(x.rules(), 1)
}

// checkRouters reports whether the routers can hear the plan's routes besides what they hear: within the share of their
// max-prefix that is ours, because a router beyond it closes the session, and every mitigation on it is gone; and within
// their table, because rules beyond it fail in hardware.
func (p *plan) checkRouters(s *State) Reason {
	k, f, n := p.action.RouteKind(), familyOf(p.targets[0]), max(p.ruleCount()-len(p.has), 0)
	found := false
	var known []string
	costs := map[string]int{} // of the plan, by profile
	for r := range s.Routers() {
		if r.Kind() != k {
			continue
		}
		known = append(known, r.Group)
		if !r.Hears(k, p.groups, f) {
			continue
		}
		found = true
		if reason := p.checkRouter(s, r, n, costs); reason.Code != "" {
			return reason
		}
	}
	if found {
		return Reason{}
	}
	known = sortedSet(known, compareStrings)
	same := func(s string) string { return s }
	what := fmt.Sprintf("%s rules; router groups", f)
	if k == wanted.RTBH {
		what = fmt.Sprintf("%s blackhole routes; groups of routers with carries: rtbh", f)
	}
	if len(p.groups) == 0 {
		return Reason{CodeNoRouter, fmt.Sprintf("no router takes %s: %s", what, list(known, same))}
	}
	return Reason{CodeNoRouter, fmt.Sprintf("no router of group %s takes %s: %s", list(p.groups, same), what, list(known, same))}
}

// checkRouter is checkRouters for one of them, that is to hear n more routes.
func (p *plan) checkRouter(s *State, r *Router, n int, costs map[string]int) Reason {
	room := s.Room(r)
	if room.Routes+n > room.RoutesStop {
		return Reason{CodeRouterBudget, fmt.Sprintf("router %s (group %s) hears %s and may hear %d (%s): %d more %s not fit",
			r.Name, r.Group, plural(room.Routes, routeWord(r.Kind())), room.RoutesStop, stopText(r, room), n, choose(n, "does", "do"))}
	}
	if reason := p.leavesRoom(s, r, &room, n); reason.Code != "" || room.EntriesStop == 0 {
		return reason
	}
	cost, ok := costs[r.Profile]
	if !ok {
		for _, part := range p.shaped() {
			cost += len(part.pieces) * entriesPerPiece(s.Profile(r), part.matches)
		}
		for i := range p.has {
			cost -= s.Profile(r).Price(p.has[i]).Entries
		}
		costs[r.Profile] = cost
	}
	if cost > 0 && room.Entries+cost > room.EntriesStop {
		return Reason{CodeRouterEntries, fmt.Sprintf("router %s (group %s, profile %s) holds %d table entries and may hold %d (80 %% of its table): "+
			"%s for %d more %s not fit; take cheaper ranges, or fewer destinations", r.Name, r.Group, r.Profile, room.Entries, room.EntriesStop,
			plural(n, "rule"), cost, choose(n, "does", "do"))}
	}
	return p.leavesEntries(s, r, &room, cost)
}

// stopText says where a stop for routes comes from.
func stopText(r *Router, room Room) string {
	if room.RoutesStop < r.MaxRules() {
		return fmt.Sprintf("what the vendor of profile %s has validated", r.Profile)
	}
	return fmt.Sprintf("80 %% of its max-prefix %d", r.MaxPrefix)
}

// routeWord is what a route of a kind is called.
func routeWord(k wanted.Kind) string {
	if k == wanted.RTBH {
		return "blackhole route"
	}
	return "rule"
}

// checkRedirectTarget refuses to forward the packets of an attack to where they do harm: to a link or other protected
// space, or back to what is attacked. A scrubber may stand in the operator's own infrastructure.
func checkRedirectTarget(s *State, p *plan) Reason {
	if p.action.Kind != RedirectIP {
		return Reason{}
	}
	a := p.action.Address
	for _, t := range p.targets {
		if t.Contains(a) {
			return Reason{CodeRedirectTarget, fmt.Sprintf("%s is inside the target %s: the packets would come back; name the address of the scrubber", a, prefixText(t))}
		}
	}
	for _, over := range s.ProtectedOverlapping(netip.PrefixFrom(a, a.BitLen())) {
		if b, ok := s.Block(over.Name); ok && over.Kind == ExemptBlock && b.Kind == BlockInfrastructure {
			continue
		}
		return Reason{CodeRedirectTarget, fmt.Sprintf("%s is protected: %s; the attack would be sent there: name the address of the scrubber", a, exemptList([]Exemption{over}))}
	}
	return Reason{}
}

// checkSources refuses source prefixes that overlap protected space: sources are spoofed, and a rule on them hits
// what the links and the infrastructure really send.
func checkSources(s *State, variants []flowspec.Match) Reason {
	for _, v := range variants {
		src, ok := v.Component(flowspec.SourcePrefix)
		if !ok {
			continue
		}
		if over := s.ProtectedOverlapping(src.Prefix); len(over) > 0 {
			return Reason{CodeSourceProtected, fmt.Sprintf("source %s overlaps protected space: %s; sources are spoofed, and the rule would "+
				"take what is really sent from there", src.Prefix, exemptList(over))}
		}
	}
	return Reason{}
}

// meeting says how the rules of one mitigation meet those of a discard on a router.
type meeting uint8

const (
	apart   meeting = iota // the discard comes first, or no packet is in both
	sameKey                // they are one rule on the wire: the route has one owner (see precedes)
	before                 // they come before the discard and take packets that it takes
)

// shielded finds out how rules of mine meet those of the discard d, and on which destination. Of several meetings the
// worst counts: before, then sameKey.
func shielded(mine, d acting) (at netip.Prefix, how meeting) {
	if !groupsMeet(mine.groups, d.groups) {
		return netip.Prefix{}, apart
	}
	for _, p := range mine.pieces {
		over, found := holding(d.pieces, p)
		if !found {
			continue
		}
		variants, others := mine.at(p), d.at(over)
		for i := range variants {
			for j := range others {
				switch {
				case p == over && variants[i].Equal(others[j]):
					if how == apart {
						at, how = p, sameKey
					}
				case p == over && flowspec.Compare(variants[i], others[j]) > 0:
				case !variants[i].Disjoint(others[j]):
					return p, before
				}
			}
		}
	}
	return at, how
}

func groupsMeet(a, b []string) bool {
	return len(a) == 0 || len(b) == 0 || slices.ContainsFunc(a, func(g string) bool { return slices.Contains(b, g) })
}

// needsHeader reports whether m looks at the transport header.
func needsHeader(m *flowspec.Match) bool {
	for i := range m.Components {
		switch m.Components[i].Type {
		case flowspec.Port, flowspec.DestinationPort, flowspec.SourcePort, flowspec.ICMPType, flowspec.ICMPCode, flowspec.TCPFlags:
			return true
		default:
		}
	}
	return false
}

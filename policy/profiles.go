package policy

import (
	"fmt"
	"maps"
	"slices"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/profile"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// A router that hears rules is not applied without a profile (Router.Validate). An old log may hold one: nothing is known
// of it, it is told of every rule within the safe subset, and no price is counted. The same holds for a profile that this
// version does not know, which a later one may have written.

// knownProfiles returns the profiles by name. They are made once for an inventory, because making them is not cheap.
func knownProfiles() map[string]*profile.Profile {
	all := map[string]*profile.Profile{}
	for _, p := range profile.All() {
		all[p.Name] = p
	}
	return all
}

// Profile returns what is known of the router's model; nil if nothing is.
func (s *State) Profile(r *Router) *profile.Profile { return s.inv.profiles[r.Profile] }

// Room is how much a router may hold and how much it holds. A stop of 0 means that there is no limit to hold to.
type Room struct {
	Routes, RoutesStop   int
	Entries, EntriesStop int // of the router's table; counted only where there is a stop
}

// Room says how full a router is. The stop for routes is 80 % of its max-prefix, and never above what its vendor has
// validated; the stop for entries is 80 % of its table, as its document or else its profile states it.
func (s *State) Room(r *Router) Room {
	room := Room{Routes: s.RouteCount(r.Kind(), r.Group), RoutesStop: r.MaxRules()}
	p := s.Profile(r)
	if p == nil || r.Kind() != wanted.FlowSpec {
		return room
	}
	empty := p.Empty(r.MaxPrefix, r.MaxEntries)
	room.RoutesStop, room.EntriesStop = empty.RulesStop, empty.EntriesStop
	if room.EntriesStop > 0 {
		room.Entries = s.entriesOf(p.Name, r.Group)
	}
	return room
}

// routesStop returns how many routes the router may hear.
func routesStop(p *profile.Profile, r *Router) int {
	if p == nil || r.Kind() != wanted.FlowSpec {
		return r.MaxRules()
	}
	return p.Empty(r.MaxPrefix, r.MaxEntries).RulesStop
}

// entryKey is the place of a count of entries: those of rules that a group hears, or, without one, that all groups hear.
func entryKey(profile, group string, all bool) string {
	if all {
		return profile + "\x00"
	}
	return profile + "\x01" + group
}

func (s *State) entriesOf(profile, group string) int {
	own, _ := s.entries.get([]byte(entryKey(profile, group, false)))
	all, _ := s.entries.get([]byte(entryKey(profile, "", true)))
	return own + all
}

// countEntries adds the price of a route, d times, to what is counted.
func (s *State) countEntries(r *RouteState, d int) {
	if r.Kind != wanted.FlowSpec {
		return
	}
	for _, name := range s.inv.priced {
		n := d * s.inv.profiles[name].Price(r.Rule).Entries
		if len(r.Groups) == 0 {
			count(&s.entries, entryKey(name, "", true), n)
		}
		for _, g := range r.Groups {
			count(&s.entries, entryKey(name, g, false), n)
		}
	}
}

// reprice counts entries anew if other profiles are to be counted than before. Which they are follows from the routers.
func (s *State) reprice() {
	names := map[string]bool{}
	for r := range s.inv.routers.values() {
		if p := s.Profile(r); p != nil && r.Kind() == wanted.FlowSpec && p.Empty(r.MaxPrefix, r.MaxEntries).EntriesStop > 0 {
			names[p.Name] = true
		}
	}
	priced := slices.Sorted(maps.Keys(names))
	if slices.Equal(priced, s.inv.priced) {
		return
	}
	for m := range s.active.values() {
		s.addSourceEntries(m, -1)
	}
	s.inv.priced, s.entries = priced, newTable[int]()
	for r := range s.routes.values() {
		s.countEntries(&r.RouteState, 1)
	}
	for m := range s.active.values() {
		s.addSourceEntries(m, 1)
	}
}

// fit makes the plan one that every router that hears it carries out exactly: destinations of blackholes become single
// routes, and matches that a router would ignore or approximate are split, for all routers that hear the plan. What
// cannot be split is refused. A split match takes exactly the packets of the one that it replaces.
func (p *plan) fit(s *State) Reason {
	if r := p.tooWideToDo(s.Safeguards()); r.Code != "" {
		return r
	}
	if p.action.RouteKind() != wanted.FlowSpec {
		if r := p.spare(s); r.Code != "" {
			return r
		}
		return p.blackholes(s.Safeguards())
	}
	if r := p.fitEvery(s); r.Code != "" {
		return r
	}
	if r := p.spare(s); r.Code != "" {
		return r
	}
	for i := range p.parts { // leaving a service out may have made what a router does not take
		trial := *p
		trial.variants, trial.cut.Pieces = p.parts[i].matches, p.parts[i].pieces
		if r := trial.fitRouters(s); r.Code != "" {
			return r
		}
		p.parts[i].matches = trial.variants
	}
	return Reason{}
}

// fitRouters is fit for the plan's matches.
func (p *plan) fitRouters(s *State) Reason {
	var seen []*profile.Profile
	for r := range s.Routers() {
		prof := s.Profile(r)
		if prof == nil || slices.Contains(seen, prof) || !r.Hears(wanted.FlowSpec, p.groups, familyOf(p.targets[0])) {
			continue
		}
		seen = append(seen, prof)
		if reason := p.fitRouter(r, prof); reason.Code != "" {
			return reason
		}
	}
	return Reason{}
}

// fitRouter is fit for the first router of a profile.
func (p *plan) fitRouter(r *Router, prof *profile.Profile) Reason {
	actions, _ := p.action.wire(1, 1) // what a rule may not pass is judged when the rate is shared
	var out []flowspec.Match
	changed := false
	for _, v := range p.variants {
		rule := flowspec.Rule{Actions: actions}
		var err error
		if rule.Match, err = v.WithDestination(p.cut.Pieces[0]); err != nil {
			return Reason{CodeUnsafeMatch, fmt.Sprintf("the rule for %s cannot be announced safely: %v", p.cut.Pieces[0], err)}
		}
		findings := prof.Check(rule)
		if len(findings) == 0 {
			out = append(out, v)
			continue
		}
		changed = true
		pieces, err := prof.Split(rule)
		switch {
		case err == nil:
			for _, piece := range pieces {
				out = append(out, withoutDestination(piece.Match))
			}
		case p.origin == FromPolicy && len(p.variants) > 1 && onlyLaterFragments(&v):
			// What else is said of the attack still holds, and no detector can ask again in other words.
			p.notes = append(p.notes, fmt.Sprintf("fragments after the first are not matched, this leaks them: %s", unfit(r, &rule, err)))
		case p.origin == FromPolicy && onlyLaterLeft(&v, actions, prof):
			out = append(out, laterFragments(v))
			p.notes = append(p.notes, fmt.Sprintf("first fragments are not matched, this leaks them: %s", unfit(r, &rule, err)))
		default:
			return Reason{CodeRouterProfile, unfit(r, &rule, err)}
		}
	}
	if !changed {
		return Reason{}
	}
	slices.SortFunc(out, flowspec.Compare)
	out = slices.CompactFunc(out, flowspec.Match.Equal)
	switch before := len(p.variants); {
	case len(out) > MaxVariants:
		return Reason{CodeTooManyVariants, fmt.Sprintf("router %s (profile %s) needs %d matches for each destination in place of %d, at most %d are permitted: "+
			"name fewer values", r.Name, prof.Name, len(out), before, MaxVariants)}
	case len(out) > before:
		p.notes = append(p.notes, fmt.Sprintf("split for router %s (profile %s): %d matches for each destination in place of %d, which take the same packets",
			r.Name, prof.Name, len(out), before))
	}
	p.variants = out
	return Reason{}
}

// onlyLaterFragments reports whether m takes only fragments after the first, in which there is no transport header: what
// a vector has besides its ports.
func onlyLaterFragments(m *flowspec.Match) bool {
	c, ok := m.Component(flowspec.Fragment)
	return ok && len(c.Ops) == 1 && c.Ops[0].Flags&flowspec.Not == 0 && c.Ops[0].Value == flowspec.IsFragment
}

// onlyLaterLeft reports whether m takes all fragments of something, and the router could do the
// same to those after the first.
func onlyLaterLeft(m *flowspec.Match, actions []flowspec.Action, prof *profile.Profile) bool {
	c, ok := m.Component(flowspec.Fragment)
	if all := anyFragment(); !ok || len(c.Ops) != 1 || c.Ops[0] != all.Ops[0] {
		return false
	}
	return len(prof.Check(flowspec.Rule{Match: laterFragments(*m), Actions: actions})) == 0
}

// laterFragments is m with the fragments after the first in place of all.
func laterFragments(m flowspec.Match) flowspec.Match {
	out := flowspec.Match{Family: m.Family, Components: slices.Clone(m.Components)}
	for i := range out.Components {
		if out.Components[i].Type == flowspec.Fragment {
			out.Components[i] = flowspec.Fragments(flowspec.IsFragment)
		}
	}
	return out
}

// unfit says why a router cannot carry out a rule, and how to mend it, which the finding says that err is.
func unfit(r *Router, rule *flowspec.Rule, err error) string {
	return fmt.Sprintf("router %s (group %s, profile %s) cannot carry out %q: %v", r.Name, r.Group, r.Profile, rule.String(), err)
}

// withoutDestination is the match but for its destination, which need not be one by itself.
func withoutDestination(m flowspec.Match) flowspec.Match {
	out := flowspec.Match{Family: m.Family}
	for _, c := range m.Components {
		if c.Type != flowspec.DestinationPrefix {
			out.Components = append(out.Components, c)
		}
	}
	return out
}

// maxSuggestions bounds the cheaper cuts that a decision names.
const maxSuggestions = 3

// suggestions names cheaper cuts of the plan's matches, for an engineer who may choose another one.
func (p *plan) suggestions(s *State) []string {
	var out []string
	var seen []*profile.Profile
	for r := range s.Routers() {
		prof := s.Profile(r)
		if prof == nil || slices.Contains(seen, prof) || !r.Hears(p.action.RouteKind(), p.groups, familyOf(p.targets[0])) {
			continue
		}
		seen = append(seen, prof)
		for _, v := range p.variants {
			m, err := v.WithDestination(p.cut.Pieces[0])
			if err != nil {
				continue
			}
			for _, cheaper := range prof.Suggest(flowspec.Rule{Match: m}) {
				if text := fmt.Sprintf("cheaper on %s: %s", prof.Name, cheaper.Text); len(out) < maxSuggestions && !slices.Contains(out, text) {
					out = append(out, text)
				}
			}
		}
	}
	return out
}

// entriesPerPiece returns what the matches cost for one destination.
func entriesPerPiece(prof *profile.Profile, variants []flowspec.Match) int {
	n := 0
	for i := range variants {
		n += prof.Price(flowspec.Rule{Match: variants[i]}).Entries // a destination is one entry: it multiplies nothing
	}
	return n
}

// entriesOfRules returns what rules cost together.
func entriesOfRules(prof *profile.Profile, rules []flowspec.Rule) int {
	n := 0
	for i := range rules {
		n += prof.Price(rules[i]).Entries
	}
	return n
}

// unfitFor names an active mitigation that a changed router, as it is in s, would hear and not carry out exactly.
func unfitFor(s *State, changed map[string]bool) Reason {
	for r := range s.Routers() {
		prof := s.Profile(r)
		if !changed[r.Name] || prof == nil || r.Kind() != wanted.FlowSpec {
			continue
		}
		for m := range s.Active() {
			if !r.Hears(m.Action.RouteKind(), m.Groups, familyOf(m.Targets[0])) {
				continue
			}
			for i := range m.Rules {
				if findings := prof.Check(m.Rules[i]); len(findings) > 0 {
					return Reason{CodeRouterProfile, fmt.Sprintf("M%d is active: %s; or withdraw M%d first", m.ID, unfit(r, &m.Rules[i], findings[0]), m.ID)}
				}
			}
		}
	}
	return Reason{}
}

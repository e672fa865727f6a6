package policy

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/tidegate/tidegate/bgp/wanted"
)

// surveyed is what an eye over the customer's active mitigations found.
type surveyed struct {
	active   int         // the customer's that stay
	leaving  int         // how many end by this decision
	ends     *Mitigation // that one; nil if none
	gathered int         // of the policy, which the plan takes the place of
	cover    *Mitigation // does what is asked for
	shield   *Mitigation // holds back more, and the plan would shield packets from it
	at       netip.Prefix
	how      meeting // of the plan with shield
	notes    []string
	weaker   []*Mitigation // what the plan supersedes
}

// survey looks at the customer's active mitigations: it counts them all, and asks those that overlap the plan. Leaving
// says that current ends by this decision.
//
// What covers the plan, or would be shielded by it, has a piece around each or some of its pieces; only what comes
// before something that holds back more has pieces inside of its own.
func survey(s *State, p *plan, current *Mitigation, leaving bool) surveyed {
	f := surveyed{active: s.ActiveCountOf(p.customer.ID)}
	if leaving {
		f.ends = current
	}
	if leaving && current.Customer == p.customer.ID {
		f.leaving = 1
		f.active--
	}
	f.active, f.leaving, f.gathered = f.active-len(p.gathered), f.leaving+len(p.gathered), len(p.gathered)
	inner := p.action.holds() > holdNothing && p.action.RouteKind() == wanted.FlowSpec
	for m := range s.activeNear(p.customer.ID, p.cut.Pieces, inner) {
		if m == f.ends || slices.Contains(p.gathered, m) {
			continue
		}
		if p.origin == FromPolicy && (f.cover == nil || f.cover.Phase == Ending && m.Phase == Active) && p.fits(m) {
			f.cover = m
		}
		// A blackhole is a route, and no rule comes before it or after it.
		if p.action.RouteKind() == wanted.FlowSpec && m.Action.RouteKind() == wanted.FlowSpec {
			f.shields(p, m)
		}
	}
	return f
}

// shields finds out which of the plan and m would come before the other and let through what that holds back. A rule
// that has later rules evaluated as well shields nothing from them.
func (f *surveyed) shields(p *plan, m *Mitigation) {
	mine, its := p.grip(), m.grip()
	if mine.mayBeLooser(its) && f.shield == nil {
		at, how := shielded(p.acting(), m.acting())
		if how == sameKey || how == before && !p.action.Continue {
			f.shield, f.at, f.how = m, at, how
			return
		}
	}
	if its.mayBeLooser(mine) {
		at, how := shielded(m.acting(), p.acting())
		if how == before && p.supersedes(m) {
			f.weaker = append(f.weaker, m)
			return
		}
		if text := p.meets(m, at, how); text != "" && len(f.notes) < maxListed {
			f.notes = append(f.notes, text)
		}
	}
}

// meets says what becomes of the plan where m, which holds back less, meets it; nothing if that is no matter.
func (p *plan) meets(m *Mitigation, at netip.Prefix, how meeting) string {
	mine, its := p.action.words(), m.Action.words()
	all := mine.to + " all"
	if p.action.holds() == holdSome {
		all = mine.to + " of all to that of this"
	}
	switch {
	case how == before && !m.Action.Continue:
		return fmt.Sprintf("M%d %s a part of this at %s and comes before it there%s: withdraw it to %s", m.ID, its.itTo, prefixText(at), ratesText(p, m), all)
	case how == sameKey && m.precedence() > p.precedence():
		return fmt.Sprintf("M%d %s by the same rule at %s, and an operator's order goes first: "+
			"while both are active routers %s there; withdraw M%d to %s", m.ID, its.it, prefixText(at), its.to, m.ID, all)
	case how == sameKey:
		return fmt.Sprintf("M%d %s by the same rule at %s: while both are active routers %s there, "+
			"and M%d has no effect there until this ends", m.ID, its.it, prefixText(at), mine.to, m.ID)
	}
	return ""
}

// shieldText says how the plan would shield packets from f.shield.
func (f *surveyed) shieldText(p *plan) string {
	m, mine, its := f.shield, p.action.words(), f.shield.Action.words()
	rates, instead := ratesText(p, m), its.to+" as well"
	if rates != "" {
		instead = "ask for no more than that"
	}
	switch {
	case f.how == sameKey && p.precedence() > m.precedence():
		return fmt.Sprintf("M%d %s by the same rule on %s; an operator's %s would take its place and let through what M%d %s%s: "+
			"withdraw M%d, or %s", m.ID, its.it, prefixText(f.at), mine.noun, m.ID, its.it, rates, m.ID, instead)
	case f.how == sameKey && p.grip().looser(m.grip()):
		return fmt.Sprintf("M%d %s by the same rule on %s; a %s there would have no effect while M%d is active%s: withdraw M%d first",
			m.ID, its.it, prefixText(f.at), mine.noun, m.ID, rates, m.ID)
	case f.how == sameKey: // a rate of bytes and one of packets
		return fmt.Sprintf("M%d %s by the same rule on %s, and a router has one of the two only%s: withdraw M%d first",
			m.ID, its.it, prefixText(f.at), rates, m.ID)
	}
	return fmt.Sprintf("M%d %s on %s; a %s there would come first and let through what M%d %s%s: "+
		"withdraw M%d, or %s", m.ID, its.it, prefixText(f.at), mine.noun, m.ID, its.it, rates, m.ID, instead)
}

// admit holds a new mitigation against the limits, with the numbers.
func (f *surveyed) admit(s *State, p *plan) Reason {
	if f.shield != nil {
		return Reason{CodeShieldsStronger, f.shieldText(p)}
	}
	if r := policyLimit(s, p.policy, f.leavingOf(p.policy)); r.Code != "" {
		return r
	}
	if r := f.budgets(s, p); r.Code != "" {
		return r
	}
	if r := checkRedirectTarget(s, p); r.Code != "" {
		return r
	}
	if r := checkSources(s, p.variants); r.Code != "" && p.origin == FromPolicy { // an operator's awaits a second person
		return r
	}
	return p.checkRouters(s)
}

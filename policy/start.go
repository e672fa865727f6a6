package policy

import (
	"fmt"
	"slices"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// decideStart judges an operator's order. An order that an active one already carries out to the letter (same
// targets, match, action and groups) is merged into it: its lifetime stays, which is what Extend is for.
func decideStart(s *State, r *StartRequest, e Entry) Decision {
	match, vs := validateStart(r)
	vs = append(vs, unreasoned(r.BreakGlass, e)...)
	if len(vs) > 0 {
		return malformed(vs)
	}
	p, reason := ordered(s, r, &match, e)
	if reason.Code != "" {
		return refuse(reason)
	}
	for m := range s.activeAt(p.customer.ID, p.cut.Pieces[0]) { // never empty: CutTarget refuses that
		if p.same(m) {
			return Decision{
				Verdict: Verdict{Kind: Merged, Mitigation: m.ID, Reason: Reason{
					CodeAlreadyActive,
					fmt.Sprintf("M%d already does exactly this, started by %s: extend it to change its lifetime", m.ID, m.By),
				}},
				Mitigations: []*Mitigation{m},
			}
		}
	}
	need, pending := p.approval(s), p.samePending(s)
	if need.Code != "" && pending != nil && !r.BreakGlass {
		return pending.awaiting(fmt.Sprintf("M%d asks for exactly this already, for %s, and awaits approval: %s", pending.ID, pending.By, pending.Awaits.Why.Text))
	}
	if bad := checkSources(s, p.variants); r.BreakGlass && bad.Code != "" {
		return refuse(Reason{bad.Code, bad.Text + ": that takes a second person, and going past the approval does not do"})
	}
	return p.order(s, r.BreakGlass, need, pending, e)
}

// ordered is what an order would be turned into, whatever there is already.
func ordered(s *State, r *StartRequest, match *flowspec.Match, e Entry) (*plan, Reason) {
	sg := s.Safeguards()
	p := &plan{
		origin: FromOperator, targets: outermost(r.Targets), variants: []flowspec.Match{*match}, action: r.Action,
		groups: sortedSet(r.Groups, compareStrings), lifetime: r.Lifetime, reason: Reason{CodeStarted, e.Reason},
	}
	if p.lifetime == 0 {
		p.lifetime = sg.DefaultLifetime
	}
	if reason := lifetimeTooLong(p.lifetime, sg); reason.Code != "" {
		return nil, reason
	}
	if id, scoped := e.By.Scope(); scoped {
		p.source = sourceOf(id)
	}
	var reason Reason
	if p.customer, reason = customerOf(s, p.targets, sg); reason.Code != "" {
		return nil, reason
	}
	if reason = p.customer.refusesAll(); reason.Code != "" {
		return nil, reason
	}
	if p.cut, reason = CutTarget(s, p.customer.ID, p.targets, sg); reason.Code != "" {
		return nil, reason
	}
	if text := match.Conflict(); text != "" {
		return nil, Reason{CodeContradiction, text}
	}
	p.notes = matchNotes(match)
	if p.action.RouteKind() == wanted.RTBH {
		p.notes = []string{blackholeNote}
	}
	if reason = p.fit(s); reason.Code != "" {
		return nil, reason
	}
	return p, Reason{}
}

// order starts what an operator ordered, or lets it await a second person if need says why. Pending is the same order as it
// awaits that already; nil if it does not.
func (p *plan) order(s *State, breakGlass bool, need Reason, pending *Mitigation, e Entry) Decision {
	found := survey(s, p, nil, false)
	if reason := found.admit(s, p); reason.Code != "" {
		return refuse(reason)
	}
	m, reason := p.mitigation(s, e)
	if reason.Code != "" {
		return refuse(reason)
	}
	m.Notes = slices.Concat(m.Notes, p.suggestions(s), found.notes)
	if reason := p.tooOften(s, e); reason.Code != "" {
		return refuse(reason)
	}
	if need.Code != "" && !breakGlass {
		return p.awaitStart(s, m, need, e)
	}
	d := p.started(m)
	if need.Code != "" {
		m.breakGlass(s.Safeguards(), need, e)
		d.Verdict.Reason = Reason{CodeBreakGlass, fmt.Sprintf("%s; nobody approved it, and it ends at %s at the latest: %s", d.Verdict.Reason.Text,
			m.Expires.UTC().Format(time.RFC3339), need.Text)}
	}
	if pending != nil {
		d.end(pending, EndSuperseded, fmt.Sprintf("M%d does this", m.ID), e)
	}
	return d.superseding(s, m, found.weaker, e)
}

// started is the decision that starts m.
func (p *plan) started(m *Mitigation) Decision {
	return Decision{
		Verdict: Verdict{Kind: Mitigated, Mitigation: m.ID, Reason: Reason{CodeStarted, fmt.Sprintf("M%d: %s (%s × %s) for customer %s", m.ID,
			plural(len(m.Rules), routeWord(m.Action.RouteKind())), plural(len(m.Cut.Pieces), "destination"), plural(len(m.Variants), "match"), m.Customer)}},
		Mitigations: []*Mitigation{m},
		Changes:     []Change{&PutMitigation{m}},
	}
}

// validateStart reports what is malformed in an order, and returns its match with the family filled in.
func validateStart(r *StartRequest) (flowspec.Match, []Violation) {
	var vs violations
	vs.targets(r.Targets)
	family := flowspec.Family(0)
	if len(r.Targets) > 0 && r.Targets[0].IsValid() {
		family = familyOf(r.Targets[0])
	}
	vs.action(r.Action, family)
	vs.lifetime(r.Lifetime, true)
	m := r.Match
	if len(vs) > 0 {
		return m, vs
	}
	f := family
	if len(m.Components) > 0 && r.Action.RouteKind() == wanted.RTBH {
		vs.add("match", "leave the match out, or discard by a rule", "a blackhole route takes every packet to its destination, whatever the match says: %q", m.String())
		return m, vs
	}
	if len(m.Components) == 0 {
		return flowspec.Match{Family: f}, vs
	}
	if dst, has := m.Component(flowspec.DestinationPrefix); has {
		vs.add("match", "name it in the targets, and leave it out here", "the match names a destination, %q, beside the targets", dst.String())
		return m, vs
	}
	if m.Family != f {
		vs.add("match", fmt.Sprintf("write an %s match", f), "the match is %s, but %s is %s", m.Family, r.Targets[0], f)
		return m, vs
	}
	m = m.Canonical() // so that the same packets in other words are the same rules; a copy: the request stays the caller's
	if err := flowspec.CheckSafe(m); err != nil {
		vs.add("match", "", "%v", err) // it says what to write instead
		return m, vs
	}
	own, err := flowspec.NewMatch(f, m.Components...)
	if err != nil {
		vs.add("match", "", "%v", err)
	}
	return own, vs
}

// same reports whether an active mitigation of an operator is p to the letter.
func (p *plan) same(m *Mitigation) bool {
	return m.Origin == FromOperator && m.Action == p.action && slices.Equal(m.Targets, p.targets) && slices.Equal(m.Groups, p.groups) &&
		slices.EqualFunc(m.Variants, p.variants, flowspec.Match.Equal) && slices.Equal(m.Cut.Pieces, p.cut.Pieces) &&
		slices.EqualFunc(m.Services, p.services, Service.equal)
}

// matchNotes says what an engineer should know of a match written by hand.
func matchNotes(m *flowspec.Match) []string {
	if len(m.Components) == 0 {
		return []string{"every packet to the destinations is taken, whatever its protocol: also path MTU discovery, " +
			"and the answers to connections that the customer opened itself"}
	}
	if _, has := m.Component(flowspec.Fragment); !has && needsHeader(m) {
		return []string{"fragments after the first carry no ports, flags or ICMP type and are not matched: this leaks them"}
	}
	return nil
}

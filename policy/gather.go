package policy

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// gather makes of the plan, not yet fitted, one for the prefix around its target that active mitigations of the same kind
// are in too, once all that was reported there is dense enough. It returns nil if there is nothing to gather.
func (p *plan) gather(s *State, current *Mitigation) *plan {
	if p.taken == nil {
		return nil
	}
	if _, always := p.taken.aggregates(p.vector); !always {
		return nil
	}
	j := p.joiner(s)
	around, err := p.targets[0].Addr().Prefix(min(j.widest, p.targets[0].Bits()))
	if err != nil {
		return nil
	}
	kin, reported := p.family(s, current, around)
	if len(kin) == 0 {
		return nil
	}
	joined := outermost(j.dense(outermost(reported)))
	at, found := holding(joined, p.targets[0])
	if !found || !covered(p.targets, []netip.Prefix{at}) || slices.Contains(p.targets, at) {
		return nil
	}
	next := *p
	next.targets, next.reported, next.gathered = []netip.Prefix{at}, nil, nil
	for _, m := range kin {
		if covered(m.Targets, next.targets) {
			next.gathered = append(next.gathered, m)
			next.services = withServices(next.services, m.Services)
			next.reported = append(next.reported, m.extent()...)
		}
	}
	if next.reported = outermost(append(next.reported, p.extent()...)); len(next.gathered) == 0 {
		return nil
	}
	var r Reason
	if next.cut, r = CutTarget(s, next.customer.ID, next.targets, s.Safeguards()); r.Code != "" || next.cut.Rounded {
		return nil
	}
	return &next
}

// family returns the active mitigations of the plan's kind inside of a prefix, and what was reported of them and of the plan.
func (p *plan) family(s *State, current *Mitigation, around netip.Prefix) (kin []*Mitigation, reported []netip.Prefix) {
	reported = slices.Clone(p.extent())
	for m := range s.activeNear(p.customer.ID, []netip.Prefix{around}, true) {
		if m != current && p.kin(m) && covered(m.Targets, []netip.Prefix{around}) {
			kin = append(kin, m)
			reported = append(reported, m.extent()...)
		}
	}
	return kin, reported
}

// kin reports whether m does to its targets what the plan would do to its own, at its first step.
func (p *plan) kin(m *Mitigation) bool {
	return m.Origin == FromPolicy && m.Policy == p.policy && m.Vector == p.vector && m.Phase == Active && m.Step == 0 && m.Action == p.action &&
		slices.Equal(m.Groups, p.groups) && slices.EqualFunc(m.matches(), p.base, flowspec.Match.Equal)
}

// gathers ends what the plan takes the place of, in the same decision, and gives its attacks to m.
func (p *plan) gathers(s *State, d *Decision, m *Mitigation, e Entry) {
	if len(p.gathered) == 0 {
		return
	}
	d.inherit(s, m, p.gathered, e)
	ids := make([]MitigationID, 0, len(p.gathered))
	for _, g := range p.gathered {
		ids = append(ids, g.ID)
		if g.Blocked.Code == CodeNotApproved { // what a second person did not want is not asked for again
			m.Blocked = g.Blocked
		}
		if g.Capped.Code != "" {
			m.Capped = g.Capped
		}
		d.end(g, EndSuperseded, fmt.Sprintf("M%d takes its place at %s", m.ID, prefixList(m.Targets)), e)
	}
	text := fmt.Sprintf("takes the place of %s", mitigationList(ids))
	m.Notes = append(m.Notes, text)
	d.Verdict.Reason.Text += "; it " + text
}

// inherit makes the attacks of mitigations, whose place m takes, causes of m, a copy that nobody else has seen yet.
func (d *Decision) inherit(s *State, m *Mitigation, from []*Mitigation, e Entry) {
	moved := map[string]bool{}
	give := func(a *Attack) {
		key := string(attackKey(a.Source, a.AttackID))
		if moved[key] || a.Ended || !slices.ContainsFunc(from, func(g *Mitigation) bool { return g.ID == a.Mitigation }) {
			return
		}
		moved[key] = true
		if len(m.Causes) < MaxCauses {
			m.Causes = append(slices.Clip(m.Causes), Cause{a.Source, a.AttackID, a.At})
		} else {
			m.MoreCauses++
		}
		cp := *a
		cp.Mitigation, cp.At = m.ID, e.At
		d.Changes = append(d.Changes, &PutAttack{cp})
	}
	for _, g := range from {
		for _, c := range g.Causes {
			if a, ok := s.Attack(c.Source, c.AttackID); ok {
				give(&a)
			}
		}
	}
	for _, t := range m.Targets { // those that are counted and not listed
		for _, a := range s.reportsNear(t) {
			give(a)
		}
	}
}

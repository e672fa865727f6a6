package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// pressed reports whether something is refused for want of room, so that fewer mitigations or rules may find it.
func pressed(c ReasonCode) bool {
	return slices.Contains([]ReasonCode{
		CodeRouterBudget, CodeRouterEntries, CodeCustomerQuota, CodePolicyLimit, CodeMitigationLimit, CodeOperatorShare, CodeSourceShare,
	}, c)
}

// place finds out whether p may begin, or in its place one that gathers what is around it, or, where there is no room,
// one with fewer destinations, or one together with its neighbours. Plain is p before it was fitted, found what stands around
// p. What would await a second person gathers nothing: the addresses around would wait with it.
func (p *plan) place(s *State, plain *plan, found surveyed, current *Mitigation, alone bool) (*plan, surveyed, Reason) {
	if wider := plain.gather(s, current); wider != nil && wider.fit(s).Code == "" && wider.approval(s).Code == "" {
		if around := survey(s, wider, current, alone); around.admit(s, wider).Code == "" {
			return wider, around, Reason{}
		}
	}
	r := found.admit(s, p)
	if p.taken == nil || !pressed(r.Code) {
		return p, found, r
	}
	if least := p.least(); len(p.targets) > 1 && r.Code != CodeSourceShare && found.admit(s, least).Code == "" {
		if roomy, around := plain.roomy(s, current, alone); roomy != nil {
			return roomy, around, Reason{}
		}
	}
	if joined, around := plain.crowded(s, current, alone, r); joined != nil {
		return joined, around, Reason{}
	}
	return p, found, r
}

// least is the plan with one rule: what is refused even then is not helped by fewer destinations.
func (p *plan) least() *plan {
	cp := *p
	cp.parts = []part{{p.cut.Pieces[:1], p.variants[:1]}}
	return &cp
}

// roomy is the plan, not yet fitted, with its targets joined further until there is room for it; nil if that does not help.
// Found is what stands around it then.
func (p *plan) roomy(s *State, current *Mitigation, alone bool) (*plan, surveyed) {
	for n := len(p.targets) / 2; n >= 1; n /= 2 {
		trial := *p
		if trial.reported == nil {
			trial.reported = p.targets
		}
		if r := trial.squeeze(s, n, Reason{Code: CodeTooManyPieces}); r.Code != "" {
			continue
		}
		if found, ok := trial.finds(s, current, alone); ok {
			return &trial, found
		}
	}
	return nil, surveyed{}
}

// finds fits the plan and reports whether it may begin at once, and what stands around it then.
func (p *plan) finds(s *State, current *Mitigation, alone bool) (surveyed, bool) {
	if p.fit(s).Code != "" || p.approval(s).Code != "" {
		return surveyed{}, false
	}
	found := survey(s, p, current, alone)
	return found, found.admit(s, p).Code == ""
}

// crowded is the plan, not yet fitted, together with active mitigations of its kind that are near, whose place it takes, so
// that there are fewer, and if need be fewer rules: with the nearest one, or with all. It returns nil if that does not help.
func (p *plan) crowded(s *State, current *Mitigation, alone bool, why Reason) (*plan, surveyed) {
	if p.action.RouteKind() == wanted.RTBH {
		return nil, surveyed{}
	}
	j := p.joiner(s)
	around, err := p.targets[0].Addr().Prefix(min(j.widest, p.targets[0].Bits()))
	if err != nil {
		return nil, surveyed{}
	}
	kin, _ := p.family(s, current, around)
	kin = slices.DeleteFunc(kin, func(m *Mitigation) bool { return len(m.Cut.Unprotected) > 0 }) // what it leaves alone stays alone
	if len(kin) == 0 {
		return nil, surveyed{}
	}
	at := p.targets[0].Addr()
	slices.SortStableFunc(kin, func(a, b *Mitigation) int {
		return cmp.Compare(commonBits(at, b.Targets[0].Addr()), commonBits(at, a.Targets[0].Addr()))
	})
	for _, n := range [...]int{1, len(kin)} {
		if joined, found := p.together(s, &j, kin[:n], current, alone, why); joined != nil {
			return joined, found
		}
	}
	return nil, surveyed{}
}

// together is the plan for its targets and those of kin, joined as far as it takes.
func (p *plan) together(s *State, j *joiner, kin []*Mitigation, current *Mitigation, alone bool, why Reason) (*plan, surveyed) {
	next := *p
	next.gathered, next.has = kin, s.soleRules(kin)
	next.notes = append(slices.Clip(next.notes), fmt.Sprintf("put together with what is near, for want of room (%s): %s", why.Code, why.Text))
	targets, reported := slices.Clone(p.targets), slices.Clone(p.extent())
	for _, m := range kin {
		targets, reported = append(targets, m.Targets...), append(reported, m.extent()...)
		next.services = withServices(next.services, m.Services)
	}
	targets, reported = outermost(targets), outermost(reported)
	smallest := 1
	if why.Code == CodeSourceShare { // who may be wrong has nobody else acted on for want of room
		smallest = len(targets)
	}
	for n := len(targets); n >= smallest; n /= 2 {
		trial := next
		if trial.targets = targets; n < len(targets) {
			trial.targets = j.fewer(targets, n)
		}
		if len(trial.targets) > n {
			break
		}
		trial.reported = nil
		if !slices.Equal(trial.targets, reported) {
			trial.reported = reported
		}
		var r Reason
		if trial.cut, r = CutTarget(s, p.customer.ID, trial.targets, s.Safeguards()); r.Code != "" || trial.cut.Rounded {
			continue
		}
		if found, ok := trial.finds(s, current, alone); ok {
			return &trial, found
		}
	}
	return nil, surveyed{}
}

// soleRules are the rules of mitigations that no other mitigation has as well: what routers hear no more without them.
func (s *State) soleRules(ms []*Mitigation) []flowspec.Rule {
	var out []flowspec.Rule
	for _, m := range ms {
		for i := range m.Rules {
			if r, ok := s.routes.get([]byte(m.Action.Key(&m.Rules[i]))); ok && len(r.owners) == 1 {
				out = append(out, m.Rules[i])
			}
		}
	}
	return out
}

// counted says how many addresses there are in words.
func counted(ps []netip.Prefix) string {
	n := addressCount(ps)
	return fmt.Sprintf("%.10g %s", n, choose(int(n), "address", "addresses"))
}

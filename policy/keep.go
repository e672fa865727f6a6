package policy

import (
	"fmt"
	"net/netip"
	"slices"
)

// keepOut takes out of a signal's plan what its attack may not have: what an operator withdrew, and what its current
// mitigation does not act on. With nothing left the decision says so.
//
// The targets stay those of the signal: what is taken out is listed as unprotected. So the attack's further signals
// find it in the current mitigation, however their targets grow, for as long as the attack has one.
func (p *plan) keepOut(s *State, sig *Signal, current, withdrawn *Mitigation) (d Decision, nothing bool) {
	switch {
	case withdrawn != nil:
		out := intersect(p.cut.Pieces, withdrawn.Targets)
		if len(out) == 0 {
			return Decision{}, false
		}
		p.leaveOut(out, s.Safeguards())
		p.notes = append(p.notes, fmt.Sprintf("%s is left out: %s %s M%d for this attack", prefixList(out), withdrawn.EndedBy,
			withdrawn.unwanted(), withdrawn.ID))
		return staysWithdrawn(sig, withdrawn), len(p.cut.Pieces) == 0
	case current != nil && current.Customer == p.customer.ID:
		out := p.beyond(current)
		if len(out) == 0 {
			return Decision{}, false
		}
		p.leaveOut(out, s.Safeguards())
		p.notes = append(p.notes, fmt.Sprintf("%s is left out, as it was of M%d: a signal never widens what acts on an attack's targets", prefixList(out), current.ID))
		return refusef(CodeNothingLeft, "M%d acts on nothing of %s, and a further signal of attack %q does not widen it: start one by hand",
			current.ID, prefixList(p.targets), sig.AttackID), len(p.cut.Pieces) == 0
	}
	return Decision{}, false
}

// beyond returns what the plan would act on inside the targets of its attack's current mitigation, and that does not:
// protection was removed meanwhile, or an operator withdrew it earlier. What was given up by rounding is not meant: an
// attack that narrows to it gets it.
func (p *plan) beyond(current *Mitigation) []netip.Prefix {
	if covered(p.cut.Pieces, current.Cut.Pieces) || current.Cut.Rounded && !slices.Equal(p.targets, current.Targets) {
		return nil
	}
	known := intersect(p.cut.Pieces, current.Targets)
	if len(known) == 0 {
		return nil
	}
	return subtract(known, current.Cut.Pieces)
}

// leaveOut takes space, which is some of the plan's pieces, out of them.
func (p *plan) leaveOut(space []netip.Prefix, sg *Safeguards) {
	pieces, given := largest(subtract(p.cut.Pieces, space), sg.MaxPieces)
	p.cut.Unprotected = fewest(slices.Concat(p.cut.Unprotected, space, given))
	p.cut.Pieces, p.cut.Rounded = pieces, p.cut.Rounded || len(given) > 0
}

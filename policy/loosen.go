package policy

import "fmt"

// loosened says what changes of documents take from approvals that were asked for until now: then one person alone must not
// make them. Documents that are new loosen nothing: what was not asked for before is not taken away.
func loosened(s *State, changes []Change) []string {
	var why []string
	for _, c := range changes {
		switch c := c.(type) {
		case *PutDocument:
			switch d := c.Document.(type) {
			case *Safeguards:
				why = append(why, s.Safeguards().loosenedBy(d)...)
			case *Policy:
				if old, ok := s.inv.policies.get([]byte(d.Name)); ok {
					why = append(why, old.loosenedBy(d)...)
				}
			}
		case *DeleteDocument:
			if c.Ref.Kind == KindSafeguards {
				why = append(why, s.Safeguards().loosenedBy(DefaultSafeguards())...)
			}
		}
	}
	return why
}

// loosenedBy says which bounds of approvals, of those that were set, become wider.
func (d *Safeguards) loosenedBy(next *Safeguards) []string {
	var why []string
	for _, b := range [...]struct {
		field    string
		was, now int
	}{
		{"approval_addresses", d.ApprovalAddresses, next.ApprovalAddresses},
		{"approval_withdrawals", d.ApprovalWithdrawals, next.ApprovalWithdrawals},
	} {
		switch {
		case b.was == 0:
		case b.now == 0:
			why = append(why, fmt.Sprintf("%s is switched off, it was %d", b.field, b.was))
		case b.now > b.was:
			why = append(why, fmt.Sprintf("%s becomes %d, it was %d", b.field, b.now, b.was))
		}
	}
	if d.ApprovalAddresses == 0 && d.ApprovalWithdrawals == 0 && d.ApprovalRemovals == 0 {
		return why // nobody asked for approvals by safeguards
	}
	if was, now := d.UnapprovedRemovals(), next.UnapprovedRemovals(); now > was {
		why = append(why, fmt.Sprintf("approval_removals becomes %d, it was %d", now, was))
	}
	if was, now := d.UnapprovedLifetime(), next.UnapprovedLifetime(); now > was {
		why = append(why, fmt.Sprintf("break_glass_lifetime becomes %s, it was %s", span(now), span(was)))
	}
	return why
}

// loosenedBy says what the policy asks a second person for, and next, of the same name, does by itself.
func (d *Policy) loosenedBy(next *Policy) []string {
	if next.Mode == ModeObserve { // it does nothing
		return nil
	}
	var why []string
	if d.asksAtStart() && !next.asksAtStart() {
		why = append(why, fmt.Sprintf("policy %s would start without approval", d.Name))
	}
	gated := false // what comes after a step that asks is reached by a second person only
	for i, step := range next.steps() {
		gated = gated || i > 0 && step.Mode == ModeApprove
		if i > 0 && !gated && d.asksFor(step.Action) {
			why = append(why, fmt.Sprintf("policy %s would take step %d (%s) without approval", d.Name, i+1, step.Action))
		}
	}
	if d.Relax == RelaxApprove && next.Relax == RelaxAuto {
		why = append(why, fmt.Sprintf("policy %s would relax without approval", d.Name))
	}
	return why
}

// asksFor reports whether a later step of the policy awaits a second person for as much as a, or for less.
func (d *Policy) asksFor(a Action) bool {
	for i, step := range d.steps() {
		if i > 0 && step.Mode == ModeApprove && !step.Action.moreSevere(a) {
			return true
		}
	}
	return false
}

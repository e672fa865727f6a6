package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// ApproveRequest lets something happen that awaits a second person. Exactly one of Mitigation and Order is set.
type ApproveRequest struct {
	Mitigation MitigationID
	Order      ApprovalID
	// BreakGlass does not ask for a second person. What it starts is time-boxed.
	BreakGlass bool
	// Report is what the leader heard last, in its own term, of the attack that a step is for: an empty one if nothing. The
	// leader fills it in; nil does not ask for it.
	Report *AttackReport
}

// RejectRequest ends the waiting of something that awaits a second person, with a no.
type RejectRequest struct {
	Mitigation MitigationID
	Order      ApprovalID
}

func (*ApproveRequest) isRequest() {}
func (*RejectRequest) isRequest()  {}

// decideApprove judges what awaits a second person anew, on the state as it is, and lets it happen. Nothing of it becomes
// more by that than what was asked.
func decideApprove(s *State, r *ApproveRequest, e Entry) Decision {
	if vs := unreasoned(r.BreakGlass, e); len(vs) > 0 {
		return malformed(vs)
	}
	if r.Order != 0 {
		return approveOrder(s, r, e)
	}
	m, refusal := awaitingMitigation(s, r.Mitigation, e)
	if m == nil {
		return refusal
	}
	if !r.BreakGlass && s.samePerson(m.Awaits.By, e.By) {
		return secondPerson(fmt.Sprintf("M%d", m.ID), m.Awaits.By, e)
	}
	switch m.Awaits.Kind {
	case AskStart:
		return approveStart(s, m, r.BreakGlass, e)
	case AskStep:
		return approveStep(s, m, r, e)
	case AskRelax:
		return approveRelax(s, m, r.BreakGlass, e)
	case AskExtend:
		return approveExtend(s, m, r.BreakGlass, e)
	}
	return refusef(CodeInternal, "M%d awaits %q, which this version does not know", m.ID, m.Awaits.Kind)
}

// awaitingMitigation returns a mitigation of which something awaits a second person, or nil and why there is none.
func awaitingMitigation(s *State, id MitigationID, e Entry) (*Mitigation, Decision) {
	m, ok := s.Mitigation(id)
	var d Decision
	switch {
	case !ok:
		return nil, refusef(CodeUnknownApproval, "there is no mitigation M%d", id)
	case m.Phase == Over:
		d = refusef(CodeApprovalOver, "nothing of M%d awaits approval: it is over since %s (%s)", id, m.EndedAt.UTC().Format(time.RFC3339), m.End)
	case m.Awaits.Kind == "" && m.answered().What == EventApproved:
		d = refusef(CodeApprovalOver, "nothing of M%d awaits approval: %s approved it at %s", id, m.ApprovedBy, m.ApprovedAt.UTC().Format(time.RFC3339))
	case m.Awaits.Kind == "" && m.answered().What != "":
		ev := m.answered()
		d = refusef(CodeApprovalOver, "nothing of M%d awaits approval: %s at %s by %s: %s", id, ev.What, ev.At.UTC().Format(time.RFC3339), ev.By, ev.Text)
	case m.Awaits.Kind == "":
		d = refusef(CodeApprovalOver, "nothing of M%d awaits approval", id)
	case !m.Awaits.Until.After(e.At):
		d = refusef(CodeApprovalOver, "%s of M%d lapsed at %s", m.Asked(), id, m.Awaits.Until.UTC().Format(time.RFC3339))
	default:
		return m, Decision{}
	}
	d.Verdict.Mitigation = id
	return nil, d
}

// answered returns the last answer to what m asked a second person for; an empty event if there was none.
func (m *Mitigation) answered() Event {
	for _, ev := range slices.Backward(m.History) {
		if slices.Contains([]EventKind{EventApproved, EventRejected, EventLapsed, EventBreakGlass}, ev.What) {
			return ev
		}
	}
	return Event{}
}

func secondPerson(what string, asked Principal, e Entry) Decision {
	again := ""
	if asked != e.By {
		again = fmt.Sprintf(": %s is the same person in another role, since the name is the same", e.By)
	}
	return refusef(CodeSecondPerson, "%s asked for %s and cannot approve it%s; it takes somebody of another name, of role approver or admin", asked, what, again)
}

// samePerson reports whether both are one human: the same principal, or the same name in two of the roles that people of
// the operator have. A detector, a node or somebody of a customer is nobody of these.
func (p Principal) samePerson(q Principal) bool {
	if p == q {
		return true
	}
	mine, ok := p.person()
	other, also := q.person()
	return ok && also && mine == other
}

// person returns the name of an operator, an approver or an admin; false for everybody else.
func (p Principal) person() (name string, ok bool) {
	role, name, _ := strings.Cut(string(p), "/")
	return name, name != "" && slices.Contains([]string{"operator", "approver", "admin"}, role)
}

// approved notes on m, a copy that nobody else has seen yet, that what it awaits may happen.
func (m *Mitigation) approved(breakGlass bool, sg *Safeguards, changed string, e Entry) {
	asked, what := m.Awaits, m.Asked()
	m.Awaits = Ask{}
	if breakGlass {
		m.breakGlass(sg, asked.Why, e)
		return
	}
	m.ApprovedBy, m.ApprovedAt = e.By, e.At
	text := fmt.Sprintf("%s, asked for by %s at %s; %s", what, asked.By, asked.At.UTC().Format(time.RFC3339), changed)
	if e.Reason != "" {
		text += ": " + e.Reason
	}
	m.tell(Event{At: e.At, What: EventApproved, By: e.By, Code: CodeApproved, Text: text})
}

// since says what became of a mitigation between the question and the approval.
func since(was, now *Mitigation) string {
	for _, ev := range was.History {
		if ev.What == EventNarrowed && !ev.At.Before(was.Awaits.At) {
			return "judged anew; since it was asked: " + ev.Text
		}
	}
	if slices.Equal(was.Cut.Pieces, now.Cut.Pieces) && len(was.Rules) == len(now.Rules) {
		return "judged anew, and as it was asked"
	}
	return fmt.Sprintf("judged anew, and cut again since it was asked: %s of %d, exempt are %s", plural(len(now.Cut.Pieces), "destination"),
		len(was.Cut.Pieces), exemptList(now.Cut.Exempt))
}

// changedOne is a decision that changes one mitigation.
func changedOne(code ReasonCode, m *Mitigation, text string) Decision {
	return Decision{
		Verdict:     Verdict{Kind: Mitigated, Mitigation: m.ID, Reason: Reason{code, text}},
		Mitigations: []*Mitigation{m},
		Changes:     []Change{&PutMitigation{m}},
	}
}

func approvedCode(breakGlass bool) ReasonCode {
	if breakGlass {
		return CodeBreakGlass
	}
	return CodeApproved
}

// approveStart starts a pending mitigation. Its causes leave what they keep alive so far.
func approveStart(s *State, m *Mitigation, breakGlass bool, e Entry) Decision {
	sg := s.Safeguards()
	p, reason := m.startPlan(s)
	if reason.Code != "" {
		return refuse(reason)
	}
	if r := checkSources(s, p.variants); breakGlass && r.Code != "" {
		return refuse(Reason{r.Code, r.Text + ": that takes a second person, and going past the approval does not do"})
	}
	before, alone := s.before(m)
	found := survey(s, p, before, alone)
	if reason := found.admit(s, p); reason.Code != "" {
		return refuse(reason)
	}
	rules, reason := makeRules(p.shaped(), p.action)
	if reason.Code != "" {
		return refuse(reason)
	}
	cp := *m
	cp.Phase, cp.Cut, cp.Rules, cp.Services = Active, p.cut, rules, p.services
	cp.Lifetime = min(m.Lifetime, sg.MaxLifetime)
	cp.Expires = e.At.Add(cp.Lifetime)
	if len(cp.Ladder) > 0 {
		cp.StepSince = e.At
	}
	cp.Notes = slices.Clip(cp.Notes)
	for _, n := range found.notes {
		if !slices.Contains(cp.Notes, n) {
			cp.Notes = append(cp.Notes, n)
		}
	}
	changed := since(m, &cp)
	cp.approved(breakGlass, sg, changed, e)
	text := fmt.Sprintf("M%d is active: %s for customer %s; %s", m.ID, plural(len(rules), routeWord(m.Action.RouteKind())), m.Customer, changed)
	if breakGlass {
		text += fmt.Sprintf("; without approval it ends at %s at the latest", cp.Expires.UTC().Format(time.RFC3339))
	}
	d := changedOne(approvedCode(breakGlass), &cp, text).takeOver(s, &cp, e)
	return d.superseding(s, &cp, found.weaker, e)
}

// startPlan is what a pending mitigation would be turned into now: on no more than what it was asked for.
func (m *Mitigation) startPlan(s *State) (*plan, Reason) {
	p, reason := m.planFor(s, m.Action)
	if reason.Code != "" {
		return nil, reason
	}
	return p, p.fit(s)
}

// before returns what the causes of a pending mitigation keep alive so far, if that is one mitigation, and whether it ends
// when they leave it.
func (s *State) before(m *Mitigation) (current *Mitigation, alone bool) {
	leaving := 0
	for _, c := range m.Causes {
		att, ok := s.Attack(c.Source, c.AttackID)
		if !ok || att.Mitigation == m.ID {
			continue
		}
		now, ok := s.Mitigation(att.Mitigation)
		if !ok || now.Phase != Active || current != nil && now.ID != current.ID {
			continue
		}
		current = now
		leaving++
	}
	return current, current != nil && current.MoreCauses == 0 && leaving == len(current.Causes)
}

// takeOver makes m, which is about to be active, the mitigation of its causes: each leaves the one that it kept alive.
func (d Decision) takeOver(s *State, m *Mitigation, e Entry) Decision {
	trial := s
	for _, c := range m.Causes {
		att, ok := trial.Attack(c.Source, c.AttackID)
		if !ok || att.Ended || att.Mitigation == m.ID {
			continue
		}
		var part Decision
		attack := &PutAttack{att}
		if now, ok := trial.Mitigation(att.Mitigation); ok && now.Phase == Active {
			part.leave(now, attack, EndSuperseded, fmt.Sprintf("the attack moved to M%d", m.ID), e)
		}
		attack.Attack.Mitigation, attack.Attack.At = m.ID, e.At
		part.Changes = append(part.Changes, attack)
		next, err := trial.Apply(Entry{Index: s.Index() + 1, At: e.At, By: e.By, Reason: e.Reason}, part.Changes)
		if err != nil {
			return refusef(CodeInternal, "the approval of M%d could not be tried: %v", m.ID, err)
		}
		trial = next
		d.amend(part.Mitigations)
		d.Changes = append(d.Changes, part.Changes...)
	}
	return d
}

// goesOn says when the attack of m was last reported, or why that is too long ago for a step: the bound is that of a step which
// the leader takes by itself.
func (m *Mitigation) goesOn(r *AttackReport, e Entry) (text string, reason Reason) {
	const fix = "wait for its next report, reject the step, or let it lapse"
	switch {
	case r == nil:
		return "", Reason{}
	case r.At.IsZero():
		return "", Reason{CodeNotReported, fmt.Sprintf("the attack of M%d was not reported to this leader yet, and a step is taken only for one that goes on: %s", m.ID, fix)}
	}
	age := span(max(e.At.Sub(r.At), 0).Truncate(time.Second))
	if e.At.Sub(r.At) > EscalationFreshness {
		return "", Reason{CodeNotReported, fmt.Sprintf("the attack of M%d was last reported %s ago, at %s, and a step is taken only within %s of a report: %s",
			m.ID, age, r.At.UTC().Format(time.RFC3339), span(EscalationFreshness), fix)}
	}
	return fmt.Sprintf("; the attack was last reported %s ago", age), Reason{}
}

// approveStep takes the next step of a ladder.
func approveStep(s *State, m *Mitigation, r *ApproveRequest, e Entry) Decision {
	heard, reason := m.goesOn(r.Report, e)
	if reason.Code != "" {
		return refuse(reason)
	}
	next, reason := m.atStep(s, m.Awaits.Step, e)
	if reason.Code != "" {
		return refuse(reason)
	}
	next.approved(r.BreakGlass, s.Safeguards(), "judged anew"+heard, e)
	next.tell(Event{
		At: e.At, What: EventEscalated, By: e.By, Code: CodeEscalated,
		Text: fmt.Sprintf("step %d of %d, %s instead of %s", next.Step+1, len(m.Ladder), next.Action, m.Action),
	})
	d := changedOne(approvedCode(r.BreakGlass), next, fmt.Sprintf("M%d takes step %d of %d, %s instead of %s: %s%s", m.ID, next.Step+1, len(m.Ladder),
		next.Action, m.Action, plural(len(next.Rules), routeWord(next.Action.RouteKind())), heard))
	return d.superseding(s, next, next.superseded(s), e)
}

// approveRelax takes the step before, for another quiet time.
func approveRelax(s *State, m *Mitigation, breakGlass bool, e Entry) Decision {
	if breakGlass {
		return refusef(CodeBreakGlassRefused, "relaxing M%d takes a second person: without one it ends at %s, and nothing is lost by that",
			m.ID, m.due().UTC().Format(time.RFC3339))
	}
	next, reason := m.relaxed(s, m.Awaits.Step, e)
	if reason.Code != "" {
		return refuse(reason)
	}
	asks := next.Awaits
	next.Awaits = m.Awaits
	next.approved(false, s.Safeguards(), "judged anew", e)
	next.Awaits = asks
	return changedOne(CodeApproved, next, fmt.Sprintf("M%d goes down to step %d of %d, %s instead of %s, until %s", m.ID, next.Step+1, len(m.Ladder),
		next.Action, m.Action, next.EndsAt.UTC().Format(time.RFC3339)))
}

// approveExtend gives a mitigation that nobody waited for a second person for the lifetime that was asked, and the
// approval that it lacked.
func approveExtend(s *State, m *Mitigation, breakGlass bool, e Entry) Decision {
	if breakGlass {
		return refusef(CodeBreakGlassRefused, "M%d went past one approval and ends at %s: a longer life takes a second person", m.ID,
			m.BreakGlassUntil.UTC().Format(time.RFC3339))
	}
	lifetime := m.Awaits.Lifetime
	if reason := lifetimeTooLong(lifetime, s.Safeguards()); reason.Code != "" {
		return refuse(reason)
	}
	cp := *m
	cp.BreakGlassUntil, cp.Lifetime, cp.Expires = time.Time{}, lifetime, e.At.Add(lifetime)
	cp.approved(false, s.Safeguards(), "its life is bound to no approval any more", e)
	return changedOne(CodeApproved, &cp, fmt.Sprintf("M%d now ends in %s, at %s", m.ID, span(lifetime), cp.Expires.UTC().Format(time.RFC3339)))
}

// approveOrder carries out an order that awaits a second person.
func approveOrder(s *State, r *ApproveRequest, e Entry) Decision {
	o, refusal := openOrder(s, r.Order, e)
	if o == nil {
		return refusal
	}
	status := OrderApproved
	switch {
	case r.BreakGlass:
		status = OrderBreakGlass
	case s.samePerson(o.By, e.By):
		return secondPerson(fmt.Sprintf("A%d", o.ID), o.By, e)
	}
	var d Decision
	if o.Kind == OrderWithdrawAll {
		d = o.withdraw(s, e)
	} else {
		d = o.apply(s, e)
	}
	if d.Verdict.Kind == Refused {
		return d
	}
	d.Changes = append(d.Changes, o.decided(status, e.Reason, e))
	d.Verdict.Approval = o.ID
	d.Verdict.Reason = Reason{approvedCode(r.BreakGlass), fmt.Sprintf("A%d, asked for by %s, is carried out: %s", o.ID, o.By, d.Verdict.Reason.Text)}
	return d
}

// openOrder returns an order that awaits a second person, or nil and why there is none.
func openOrder(s *State, id ApprovalID, e Entry) (*Order, Decision) {
	o, ok := s.Order(id)
	var d Decision
	switch {
	case !ok:
		d = refusef(CodeUnknownApproval, "there is no order A%d, or it was decided long ago", id)
	case o.Status != OrderPending:
		d = refusef(CodeApprovalOver, "A%d does not await approval any more: %s by %s at %s", id, o.Status, o.DecidedBy, o.DecidedAt.UTC().Format(time.RFC3339))
	case !o.Until.After(e.At):
		d = refusef(CodeApprovalOver, "A%d lapsed at %s", id, o.Until.UTC().Format(time.RFC3339))
	default:
		return o, Decision{}
	}
	return nil, d
}

// withdraw ends what there was when the order was asked for, and no other mitigation.
func (o *Order) withdraw(s *State, e Entry) Decision {
	d := withdrawAll(s, o.Customer, o.UpTo, fmt.Sprintf("A%d of %s: %s", o.ID, o.By, o.Reason), e)
	if d.Verdict.Kind == Observed {
		d.Verdict.Kind = Ended
	}
	return d
}

// apply changes the documents as the order states, unless that would do more than what was asked.
func (o *Order) apply(s *State, e Entry) Decision {
	r := &ApplyRequest{Documents: o.Documents, Prune: o.Prune, AllowRemovals: o.Effect.Removals}
	d := applyDocuments(s, r, e)
	if d.Plan == nil {
		return d
	}
	if need := d.Plan.RemovalsToAllow; need > 0 && need < o.Effect.Removals {
		r.AllowRemovals = need
		d = applyDocuments(s, r, e)
	}
	if more := d.Plan.effect().beyond(o.Effect); more != "" {
		return Decision{Plan: d.Plan, Verdict: Verdict{Kind: Refused, Reason: Reason{CodeApprovalChanged, fmt.Sprintf(
			"A%d would do more now than what %s asked for: %s; reject it, and apply again", o.ID, o.By, more)}}}
	}
	return d
}

// effect sums up a plan.
func (p *Plan) effect() Effect {
	return Effect{
		Ended: len(p.Ended), Added: len(p.Added), Changed: len(p.Changed), Removed: len(p.Removed), Removals: len(p.LinksRemoved) + p.shrunk(),
	}
}

// shrunk is how many prefixes of blocks are not wholly kept, as far as the brake counts them.
func (p *Plan) shrunk() int { return max(p.RemovalsToAllow-len(p.LinksRemoved), 0) }

// beyond says in what an effect is more than the one that was asked for; empty if in nothing.
func (x Effect) beyond(asked Effect) string {
	var more []string
	for _, n := range [...]struct {
		what       string
		now, asked int
	}{
		{"documents changed", x.Changed + x.Added, asked.Changed + asked.Added},
		{"documents removed", x.Removed, asked.Removed},
		{"links and protected prefixes removed", x.Removals, asked.Removals},
		{"mitigations ended", x.Ended, asked.Ended},
	} {
		if n.now > n.asked {
			more = append(more, fmt.Sprintf("%d %s, asked were %d", n.now, n.what, n.asked))
		}
	}
	return strings.Join(more, "; ")
}

// decideReject ends the waiting of something with a no.
func decideReject(s *State, r *RejectRequest, e Entry) Decision {
	if strings.TrimSpace(e.Reason) == "" {
		var vs violations
		vs.add("reason", "say why not", "a rejection needs a reason")
		return malformed(vs)
	}
	if r.Order != 0 {
		o, refusal := openOrder(s, r.Order, e)
		if o == nil {
			return refusal
		}
		return Decision{
			Verdict: Verdict{Kind: Ended, Approval: o.ID, Reason: Reason{CodeRejected, fmt.Sprintf("A%d of %s is rejected, and nothing was changed", o.ID, o.By)}},
			Changes: []Change{o.decided(OrderRejected, e.Reason, e)},
		}
	}
	m, refusal := awaitingMitigation(s, r.Mitigation, e)
	if m == nil {
		return refusal
	}
	if m.Phase == Pending {
		d := Decision{Verdict: Verdict{Kind: Ended, Mitigation: m.ID, Reason: Reason{CodeRejected, fmt.Sprintf("M%d is rejected and never was announced", m.ID)}}}
		d.end(m, EndRejected, e.Reason, e)
		return d.cap(s, m, e)
	}
	cp := *m
	text := fmt.Sprintf("%s: %s", m.Asked(), e.Reason)
	cp.decline(Event{At: e.At, What: EventRejected, By: e.By, Code: CodeRejected, Text: text})
	d := changedOne(CodeRejected, &cp, fmt.Sprintf("%s of M%d is rejected: it stays as it is", m.Asked(), m.ID))
	d.Verdict.Kind = Ended
	return d
}

// cap notes on what the causes of m, which is rejected, keep alive that no more is asked for them.
func (d Decision) cap(s *State, m *Mitigation, e Entry) Decision {
	seen := map[MitigationID]bool{m.ID: true}
	for _, c := range m.Causes {
		att, ok := s.Attack(c.Source, c.AttackID)
		if !ok || seen[att.Mitigation] {
			continue
		}
		seen[att.Mitigation] = true
		now, ok := s.Mitigation(att.Mitigation)
		if !ok || !now.Announced() {
			continue
		}
		cp := *now
		cp.Capped = Reason{CodeNotApproved, fmt.Sprintf("M%d, which would have done more, was rejected by %s: M%d stays as it is", m.ID, e.By, now.ID)}
		cp.tell(Event{At: e.At, What: EventRejected, By: e.By, Code: CodeRejected, Text: fmt.Sprintf("M%d, which would have done more: %s", m.ID, e.Reason)})
		d.Mitigations = append(d.Mitigations, &cp)
		d.Changes = append(d.Changes, &PutMitigation{&cp})
	}
	return d
}

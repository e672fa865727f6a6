package policy

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"
)

// decideExtend sets the remaining lifetime of a mitigation. Its full lifetime, to which renewals lead back, becomes
// the same.
func decideExtend(s *State, r *ExtendRequest, e Entry) Decision {
	var vs violations
	vs.lifetime(r.Lifetime, false)
	if len(vs) > 0 {
		return malformed(vs)
	}
	m, refusal := activeMitigation(s, r.ID)
	if m == nil {
		return refusal
	}
	if reason := lifetimeTooLong(r.Lifetime, s.Safeguards()); reason.Code != "" {
		return refuse(reason)
	}
	if m.Phase == Pending {
		return notYet(m)
	}
	cp := *m
	if until := e.At.Add(r.Lifetime); cp.within(until).Before(until) {
		return m.awaitExtension(r.Lifetime, s.Safeguards(), e)
	}
	cp.Lifetime, cp.Expires = r.Lifetime, e.At.Add(r.Lifetime)
	cp.Notes = extendedNotes(m.Notes, r.Lifetime, e)
	quiet := cp.quietOn(m.Expires, e)
	cp.tell(Event{At: e.At, What: EventExtended, By: e.By, Code: CodeExtended, Text: strings.TrimSuffix(fmt.Sprintf("to end in %s: %s", span(r.Lifetime), e.Reason), ": ")})
	text := fmt.Sprintf("M%d now ends in %s, at %s%s", m.ID, span(r.Lifetime), cp.Expires.UTC().Format(time.RFC3339), quiet)
	return Decision{
		Verdict:     Verdict{Kind: Mitigated, Mitigation: m.ID, Reason: Reason{CodeExtended, text}},
		Mitigations: []*Mitigation{&cp},
		Changes:     []Change{&PutMitigation{&cp}},
	}
}

// MaxExtensions bounds how many extensions the notes of a mitigation tell of: the last ones.
const MaxExtensions = 16

const extendedBy = "extended by " // how a note of an extension begins, and no other note

// extendedNotes returns the notes with one more of an extension: who, when, to what and why.
func extendedNotes(notes []string, d time.Duration, e Entry) []string {
	out := slices.Clone(notes)
	count := 0
	for _, n := range out {
		if strings.HasPrefix(n, extendedBy) {
			count++
		}
	}
	if count >= MaxExtensions {
		i := slices.IndexFunc(out, func(n string) bool { return strings.HasPrefix(n, extendedBy) })
		out = slices.Delete(out, i, i+1)
	}
	note := fmt.Sprintf("%s%s at %s to end in %s", extendedBy, e.By, e.At.UTC().Format(time.RFC3339), span(d))
	if e.Reason != "" {
		note += ": " + e.Reason
	}
	return append(out, note)
}

// notYet is the refusal of what can be done to a mitigation only once it is approved.
func notYet(m *Mitigation) Decision {
	d := refusef(CodeMitigationPending, "M%d is not active yet: it awaits approval until %s; withdraw it, or have it approved first", m.ID,
		m.Awaits.Until.UTC().Format(time.RFC3339))
	d.Verdict.Mitigation = m.ID
	return d
}

// awaitExtension is the decision on a lifetime beyond what going past an approval permits.
func (m *Mitigation) awaitExtension(lifetime time.Duration, sg *Safeguards, e Entry) Decision {
	if m.Awaits.Kind != "" && m.Awaits.Kind != AskExtend {
		return refusef(CodeMitigationPending, "%s of M%d awaits approval: have that decided first", m.Asked(), m.ID)
	}
	if m.Awaits.Kind == AskExtend && m.Awaits.Lifetime == lifetime {
		return m.awaiting(fmt.Sprintf("%s of M%d awaits approval already", m.Asked(), m.ID))
	}
	cp := *m
	why := Reason{CodeAwaitsApproval, fmt.Sprintf("nobody approved M%d, and it ends at %s", m.ID, m.BreakGlassUntil.UTC().Format(time.RFC3339))}
	cp.ask(Ask{Kind: AskExtend, Lifetime: lifetime, Why: why}, sg, e)
	d := cp.awaiting(fmt.Sprintf("%s for M%d awaits approval: %s", cp.Asked(), m.ID, why.Text))
	d.Changes = []Change{&PutMitigation{&cp}}
	return d
}

// activeMitigation returns a mitigation that is not over, or nil and why there is none.
func activeMitigation(s *State, id MitigationID) (*Mitigation, Decision) {
	m, ok := s.Mitigation(id)
	switch {
	case !ok:
		return nil, refusef(CodeUnknownMitigation, "there is no mitigation M%d", id)
	case m.Phase == Over:
		d := refusef(CodeMitigationOver, "M%d is over since %s (%s)", id, m.EndedAt.UTC().Format(time.RFC3339), m.End)
		d.Verdict.Mitigation = id
		return nil, d
	}
	return m, Decision{}
}

func lifetimeTooLong(d time.Duration, sg *Safeguards) Reason {
	if d <= sg.MaxLifetime {
		return Reason{}
	}
	return Reason{CodeLifetimeTooLong, fmt.Sprintf("a lifetime of %s is above the maximum of %s: ask for less and extend it later, or raise max_lifetime in the Safeguards document",
		span(d), span(sg.MaxLifetime))}
}

// decideWithdraw ends one mitigation. The attacks that caused it stay known, so that their further signals do not
// start it again against the operator's will.
func decideWithdraw(s *State, r *WithdrawRequest, e Entry) Decision {
	m, refusal := activeMitigation(s, r.ID)
	if m == nil {
		return refusal
	}
	text := fmt.Sprintf("M%d is withdrawn: %s", m.ID, plural(len(m.Rules), "rule"))
	if m.Phase == Pending {
		text = fmt.Sprintf("M%d is withdrawn: it awaited approval and never was announced", m.ID)
	}
	d := Decision{Verdict: Verdict{Kind: Ended, Mitigation: m.ID, Reason: Reason{CodeWithdrawn, text}}}
	d.end(m, EndWithdrawn, e.Reason, e)
	return d
}

// end adds the end of m to the decision. The change leaves to the entry what is the entry's own.
func (d *Decision) end(m *Mitigation, cause EndCause, note string, e Entry) {
	cp := *m
	cp.finish(cause, note, e)
	d.Mitigations = append(d.Mitigations, &cp)
	if note == e.Reason {
		note = ""
	}
	d.Changes = append(d.Changes, &EndMitigation{ID: m.ID, Cause: cause, Note: note})
}

// decideWithdrawAll ends every active mitigation, or those of one customer, and with them those that await approval. Above
// a bound it awaits a second person itself.
func decideWithdrawAll(s *State, r *WithdrawAllRequest, e Entry) Decision {
	if vs := r.validate(e); len(vs) > 0 {
		return malformed(vs)
	}
	upTo := s.NextID() - 1
	d := withdrawAll(s, r.Customer, upTo, e.Reason, e)
	if d.Verdict.Kind == Refused {
		return d
	}
	active := s.ActiveCount()
	if r.Customer != "" {
		active = s.ActiveCountOf(r.Customer)
	}
	need := s.Safeguards().bulk(active)
	o := Order{Kind: OrderWithdrawAll, Customer: r.Customer, UpTo: upTo, Effect: Effect{Ended: len(d.Mitigations)}}
	switch {
	case need.Code != "" && !r.BreakGlass:
		d = o.await(s, need, e)
		if r.Freeze && d.Verdict.Kind == AwaitsApproval { // that ends nothing, and waits for nobody
			d.Changes = append(d.Changes, &PutFreeze{newFreeze(r.FreezeFor, e)})
			d.Verdict.Reason.Text += "; the cluster is frozen at once"
		}
		return d
	case r.Freeze:
		d = d.frozen(r.FreezeFor, e)
	}
	if need.Code == "" {
		return d
	}
	d.Changes = append(d.Changes, o.passed(s, need, e))
	d.Verdict.Reason = Reason{CodeBreakGlass, fmt.Sprintf("%s; nobody approved it: %s", d.Verdict.Reason.Text, need.Text)}
	return d
}

// validate reports what is malformed in a withdrawal of all.
func (r *WithdrawAllRequest) validate(e Entry) []Violation {
	vs := violations(unreasoned(r.BreakGlass, e))
	if r.Freeze && r.Customer != "" {
		vs.add("freeze", "leave one of the two out", "a freeze holds for every customer, and the mitigations of %s only are to be withdrawn", r.Customer)
	}
	vs.limit(r.FreezeFor)
	return vs
}

// withdrawAll ends the mitigations up to an id, all or those of one customer.
func withdrawAll(s *State, customer CustomerID, upTo MitigationID, note string, e Entry) Decision {
	active, pending, whose := s.Active(), s.Pending(), ""
	if customer != "" {
		if _, ok := s.Customer(customer); !ok {
			return refusef(CodeUnknownCustomer, "there is no customer %q", string(customer))
		}
		active, pending, whose = s.ActiveOf(customer), s.PendingOf(customer), fmt.Sprintf(" of customer %s", customer)
	}
	var d Decision
	for _, list := range [...]iter.Seq[*Mitigation]{active, pending} {
		for m := range list {
			if m.ID <= upTo {
				d.end(m, EndWithdrawn, note, e)
			}
		}
	}
	if len(d.Changes) == 0 {
		return observe(CodeNothingToDo, 0, "no mitigation%s is active", whose)
	}
	d.Verdict = Verdict{Kind: Ended, Reason: Reason{CodeWithdrawn, fmt.Sprintf("%s%s %s withdrawn", plural(len(d.Changes), "mitigation"), whose, choose(len(d.Changes), "is", "are"))}}
	return d
}

// frozen adds a freeze to the end of every mitigation.
func (d *Decision) frozen(limit time.Duration, e Entry) Decision {
	n, f := len(d.Changes), newFreeze(limit, e)
	d.Changes = append(d.Changes, &PutFreeze{f})
	d.Verdict = Verdict{Kind: Ended, Reason: Reason{CodeWithdrawn, fmt.Sprintf("%s %s withdrawn, and the cluster is frozen %s: nothing starts again by itself",
		plural(n, "mitigation"), choose(n, "is", "are"), f.howLong())}}
	return *d
}

// decideExpire ends what is past its lifetime, and what has been quiet for long enough or goes a step down then.
func decideExpire(s *State, e Entry) Decision {
	var d Decision
	trial, expired, lapsed := s, 0, 0
	for m := range s.DueBy(e.At) {
		if m.Phase == Pending {
			d.end(m, EndNotApproved, fmt.Sprintf("nobody approved it within %s", span(m.Awaits.Until.Sub(m.Awaits.At))), e)
			lapsed++
			continue
		}
		if !m.Expires.After(e.At) {
			d.end(m, EndExpired, fmt.Sprintf("the lifetime of %s is over", span(m.Lifetime)), e)
			expired++
			continue
		}
		change := d.dueChange(trial, m, e)
		var err error
		if trial, err = trial.Apply(Entry{Index: s.Index() + 1, At: e.At, By: e.By, Reason: e.Reason}, []Change{change}); err != nil {
			return refusef(CodeInternal, "the end of M%d could not be tried: %v", m.ID, err)
		}
	}
	limits := d.release(s, e)
	lapsed += d.lapseOrders(s, e)
	if len(d.Changes) == 0 {
		return observe(CodeNothingToDo, 0, "no mitigation is past its lifetime or quiet time")
	}
	text := fmt.Sprintf("the lifetime of %s is over", plural(expired, "mitigation"))
	if n := len(d.Changes) - expired - limits - lapsed; n > 0 {
		text += fmt.Sprintf(", the quiet time of %d", n)
	}
	if limits > 0 {
		text += fmt.Sprintf(", and %s or freeze", plural(limits, "quarantine"))
	}
	if lapsed > 0 {
		text += fmt.Sprintf(", %d lapsed without an approval", lapsed)
	}
	d.Verdict = Verdict{Kind: Ended, Reason: Reason{CodeExpired, text}}
	return d
}

// dueChange is what is to be done about a mitigation that is announced and due: what it asks a second person for lapses, or
// its quiet time is over.
func (d *Decision) dueChange(s *State, m *Mitigation, e Entry) Change {
	if m.Awaits.Kind == "" || m.Awaits.Until.After(e.At) || m.Phase == Ending && !m.EndsAt.After(e.At) {
		return d.quietOver(s, m, e)
	}
	change := &PutMitigation{m.lapse(e)}
	d.Mitigations, d.Changes = append(d.Mitigations, change.Mitigation), append(d.Changes, change)
	return change
}

// lapseOrders ends the waiting of orders that nobody answered in time, and returns how many there are.
func (d *Decision) lapseOrders(s *State, e Entry) int {
	n := 0
	for o := range s.OpenOrders() {
		if o.Until.After(e.At) {
			break
		}
		d.Changes = append(d.Changes, o.decided(OrderLapsed, "nobody approved it in time", e))
		n++
	}
	return n
}

// decideRenew gives mitigations their full lifetime again: those active and under half of it. The others are left
// alone, so that a renewal is logged twice in a lifetime and not with every signal.
func decideRenew(s *State, r *RenewRequest, e Entry) Decision {
	var d Decision
	seen := make(map[MitigationID]bool, len(r.IDs))
	for _, id := range r.IDs {
		m, ok := s.Mitigation(id)
		if !ok || seen[id] || m.Phase != Active || m.Expires.Sub(e.At) >= m.Lifetime/2 || !m.believed(s, e.At) {
			continue
		}
		if !m.Expires.After(e.At) { // over, although nobody has ended it yet
			continue
		}
		cp := *m
		if cp.Expires = m.within(e.At.Add(m.Lifetime)); !cp.Expires.After(m.Expires) {
			continue
		}
		seen[id] = true
		d.Mitigations = append(d.Mitigations, &cp)
		d.Changes = append(d.Changes, &PutMitigation{&cp})
	}
	if len(d.Changes) == 0 {
		return observe(CodeNothingToDo, 0, "no mitigation needs to be renewed")
	}
	for _, a := range r.Attacks {
		known, ok := s.Attack(a.Source, a.AttackID)
		if !ok || known.Ended || a.Seq <= known.Seq || !seen[known.Mitigation] {
			continue
		}
		known.Seq, known.Digest, known.At = a.Seq, a.Digest, e.At
		d.Changes = append(d.Changes, &PutAttack{known})
	}
	d.Verdict = Verdict{Kind: Mitigated, Reason: Reason{CodeRenewed, fmt.Sprintf("%s %s full lifetime again",
		plural(len(d.Mitigations), "mitigation"), choose(len(d.Mitigations), "has its", "have their"))}}
	return d
}

package policy

import (
	"fmt"
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
	cp := *m
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

// activeMitigation returns an active mitigation, or nil and why there is none.
func activeMitigation(s *State, id MitigationID) (*Mitigation, Decision) {
	m, ok := s.Mitigation(id)
	switch {
	case !ok:
		return nil, refusef(CodeUnknownMitigation, "there is no mitigation M%d", id)
	case !m.Announced():
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
	return Reason{CodeLifetimeTooLong, fmt.Sprintf("a lifetime of %s is above the maximum of %s", span(d), span(sg.MaxLifetime))}
}

// decideWithdraw ends one mitigation. The attacks that caused it stay known, so that their further signals do not
// start it again against the operator's will.
func decideWithdraw(s *State, r *WithdrawRequest, e Entry) Decision {
	m, refusal := activeMitigation(s, r.ID)
	if m == nil {
		return refusal
	}
	d := Decision{Verdict: Verdict{Kind: Ended, Mitigation: m.ID, Reason: Reason{CodeWithdrawn, fmt.Sprintf("M%d is withdrawn: %s", m.ID, plural(len(m.Rules), "rule"))}}}
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

// decideWithdrawAll ends every active mitigation, or those of one customer.
func decideWithdrawAll(s *State, r *WithdrawAllRequest, e Entry) Decision {
	active, whose := s.Active(), ""
	if r.Customer != "" {
		if _, ok := s.Customer(r.Customer); !ok {
			return refusef(CodeUnknownCustomer, "there is no customer %q", string(r.Customer))
		}
		active, whose = s.ActiveOf(r.Customer), fmt.Sprintf(" of customer %s", r.Customer)
	}
	var d Decision
	var vs violations
	if r.Freeze && r.Customer != "" {
		vs.add("freeze", "leave one of the two out", "a freeze holds for every customer, and the mitigations of %s only are to be withdrawn", r.Customer)
	}
	if vs.limit(r.FreezeFor); len(vs) > 0 {
		return malformed(vs)
	}
	for m := range active {
		d.end(m, EndWithdrawn, e.Reason, e)
	}
	if r.Freeze {
		return d.frozen(r.FreezeFor, e)
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
	trial, expired := s, 0
	for m := range s.DueBy(e.At) {
		if !m.Expires.After(e.At) {
			d.end(m, EndExpired, fmt.Sprintf("the lifetime of %s is over", span(m.Lifetime)), e)
			expired++
			continue
		}
		change := d.quietOver(trial, m, e)
		var err error
		if trial, err = trial.Apply(Entry{Index: s.Index() + 1, At: e.At, By: e.By, Reason: e.Reason}, []Change{change}); err != nil {
			return refusef(CodeInternal, "the end of M%d could not be tried: %v", m.ID, err)
		}
	}
	limits := d.release(s, e)
	if len(d.Changes) == 0 {
		return observe(CodeNothingToDo, 0, "no mitigation is past its lifetime or quiet time")
	}
	text := fmt.Sprintf("the lifetime of %s is over", plural(expired, "mitigation"))
	if n := len(d.Changes) - expired - limits; n > 0 {
		text += fmt.Sprintf(", the quiet time of %d", n)
	}
	if limits > 0 {
		text += fmt.Sprintf(", and %s or freeze", plural(limits, "quarantine"))
	}
	d.Verdict = Verdict{Kind: Ended, Reason: Reason{CodeExpired, text}}
	return d
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
		seen[id] = true
		cp := *m
		cp.Expires = e.At.Add(m.Lifetime)
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

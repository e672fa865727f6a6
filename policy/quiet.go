package policy

import (
	"fmt"
	"time"
)

// Relax says whether a mitigation whose attack is over goes down its ladder step by step.
type Relax string

// The ways to end a mitigation that is beyond its first step.
const (
	RelaxNever Relax = ""     // it ends from the step that it is at
	RelaxAuto  Relax = "auto" // it goes one step down for another quiet time, to see whether it is over
	// RelaxApprove is RelaxAuto if a second person approves it within the quiet time, else RelaxNever.
	RelaxApprove Relax = "approve"
)

// maxDamping is how often pulses double the quiet time: up to eight times as long.
const maxDamping = 3

// Announced reports whether routers are told of m: it is Active or Ending.
func (m *Mitigation) Announced() bool { return m.Phase == Active || m.Phase == Ending }

// QuietTime is how long m stays announced after its attack is over: what its policy says, doubled with every pulse, up to
// eight times as long.
func (m *Mitigation) QuietTime() time.Duration { return m.Quiet << min(m.Pulses, maxDamping) }

// due is when something is to be done about m at the latest, if nothing else happens.
func (m *Mitigation) due() time.Time {
	due := m.Expires
	if m.Phase == Ending && m.EndsAt.Before(due) {
		due = m.EndsAt
	}
	if m.Awaits.Kind != "" && m.Awaits.Until.Before(due) {
		due = m.Awaits.Until
	}
	return due
}

// quieten begins the quiet time of m, a copy that nobody else has seen yet. The lifetime still bounds it.
func (m *Mitigation) quieten(e Entry) {
	m.Phase, m.EndsAt = Ending, e.At.Add(m.QuietTime())
	if m.EndsAt.After(m.Expires) {
		m.EndsAt = m.Expires
	}
	if m.Awaits.Kind == AskStep || m.Awaits.Kind == AskRelax { // of what was before
		m.Awaits = Ask{}
	}
}

// askToRelax asks a second person for the step before, if m, a copy that nobody else has seen yet, is to be asked that.
func (m *Mitigation) askToRelax(e Entry) {
	if m.Relax != RelaxApprove || m.Step == 0 || m.Awaits.Kind != "" {
		return
	}
	m.ask(Ask{
		Kind: AskRelax, Step: m.Step - 1, Until: m.EndsAt,
		Why: Reason{CodeAwaitsApproval, fmt.Sprintf("policy %s relaxes with approval only; without one it ends from step %d", m.Policy, m.Step+1)},
	}, nil, e)
}

// quietOn fits the quiet time of m, a copy that nobody else has seen yet, into a lifetime that was changed from one that
// ended at before: a shorter one bounds it, and what the one before had cut off begins anew. It returns words for the
// verdict, none if m is not quiet.
func (m *Mitigation) quietOn(before time.Time, e Entry) string {
	if m.Phase != Ending {
		return ""
	}
	if !m.EndsAt.Before(before) {
		m.quieten(e)
	} else if m.EndsAt.After(m.Expires) {
		m.EndsAt = m.Expires
	}
	return fmt.Sprintf(" at the latest; its attack is over, and it stays announced for a quiet time until %s", m.EndsAt.UTC().Format(time.RFC3339))
}

// windDown begins the quiet time of m instead of ending it, if it has one that would not be over already.
func (d *Decision) windDown(m *Mitigation, note string, e Entry) bool {
	if m.Quiet <= 0 || !m.Expires.After(e.At) {
		return false
	}
	cp := *m // the causes go on to tell what caused it
	cp.quieten(e)
	cp.tell(Event{
		At: e.At, What: EventQuiet, By: e.By, Code: CodeAttackOver,
		Text: fmt.Sprintf("%s: it stays announced for a quiet time of %s%s", note, span(cp.EndsAt.Sub(e.At)), damping(m.Pulses)),
	})
	cp.askToRelax(e)
	d.Mitigations = append(d.Mitigations, &cp)
	d.Changes = append(d.Changes, &PutMitigation{&cp})
	return true
}

func damping(pulses int) string {
	if pulses == 0 {
		return ""
	}
	return fmt.Sprintf(", longer after %s", plural(pulses, "pulse"))
}

// revive makes m, a copy that nobody else has seen yet, active again for one attack, at the step that it is at.
func (m *Mitigation) revive(cause Cause, e Entry) {
	m.Phase, m.EndsAt, m.Causes, m.MoreCauses = Active, time.Time{}, []Cause{cause}, 0
	m.Pulses++
	if m.Awaits.Kind == AskRelax {
		m.Awaits = Ask{}
	}
	if m.Blocked.Code == CodeNotApproved {
		m.Blocked = Reason{}
	}
	if len(m.Ladder) > 0 {
		m.StepSince = e.At
	}
	m.tell(Event{
		At: e.At, What: EventRevived, By: e.By, Code: CodeRevived,
		Text: fmt.Sprintf("attack %q of %s within the quiet time: pulse %d, the next quiet time is %s", cause.AttackID, cause.Source, m.Pulses, span(m.QuietTime())),
	})
}

// quietOver is what becomes of m at the end of its quiet time: with RelaxAuto it goes a step down for another one; else, or
// if that is refused, it ends.
func (d *Decision) quietOver(s *State, m *Mitigation, e Entry) (change Change) {
	note := fmt.Sprintf("quiet for %s after the attack", span(m.QuietTime()))
	if m.Relax == RelaxAuto && m.Step > 0 {
		next, reason := m.relaxed(s, m.Step-1, e)
		if reason.Code == "" {
			change = &PutMitigation{next}
			d.Mitigations, d.Changes = append(d.Mitigations, next), append(d.Changes, change)
			return change
		}
		note = fmt.Sprintf("%s; step %d of the ladder was refused: %s", note, m.Step, reason.Text)
	}
	if m.Awaits.Kind == AskRelax {
		note = fmt.Sprintf("%s; nobody approved %s", note, m.Asked())
	}
	d.end(m, EndAttackOver, note, e)
	return d.Changes[len(d.Changes)-1]
}

// relaxed returns m at an earlier step of its ladder, for another quiet time, or why it stays at the one that it is at.
func (m *Mitigation) relaxed(s *State, to int, e Entry) (*Mitigation, Reason) {
	next, reason := m.atStep(s, to, e)
	if reason.Code != "" {
		return nil, reason
	}
	next.quieten(e)
	next.tell(Event{
		At: e.At, What: EventRelaxed, By: e.By, Code: CodeAttackOver,
		Text: fmt.Sprintf("step %d of %d, %s instead of %s, for another quiet time of %s", next.Step+1, len(m.Ladder), next.Action, m.Action, span(next.EndsAt.Sub(e.At))),
	})
	next.askToRelax(e)
	return next, Reason{}
}

// quiet checks what a policy says of the end of an attack.
func (c *checker) quiet(d *Policy) {
	if d.Quiet < 0 || d.Quiet > longestLifetime {
		c.add("quiet", fmt.Sprintf("%s is not between 0s and %s", span(d.Quiet), span(longestLifetime)), "write a duration such as 5m, or leave it out")
	}
	switch d.Relax {
	case RelaxNever:
	case RelaxAuto, RelaxApprove:
		if d.Quiet == 0 || len(d.Ladder) < 2 {
			c.add("relax", "there is nothing to relax to: it takes a ladder of several steps, and a quiet time", "add them, or leave relax out")
		}
	default:
		c.add("relax", fmt.Sprintf("%q is not known", clip(string(d.Relax))), "write auto, approve or never")
	}
}

package policy

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// Step is one step of a policy's ladder: what is done when the attack has lasted for so long.
type Step struct {
	Action Action
	// After is counted from the first step, whose own is 0.
	After time.Duration
	// MinConfidence is what the last signal must state at least for the step to be taken; 0: any signal will do.
	MinConfidence float64
	// Mode is ModeApprove if a second person must approve the step, or of the first one the start; else ModeAuto.
	Mode Mode
}

// MaxSteps bounds the steps of a ladder.
const MaxSteps = 8

// EscalationFreshness is how long ago an attack may have been reported for the last time and still be taken to go on,
// when a step is to be taken. A detector that repeats itself once a minute has half of that to spare.
const EscalationFreshness = 90 * time.Second

// steps returns the steps of the policy: an action alone is a ladder of one step.
func (d *Policy) steps() []Step {
	if len(d.Ladder) > 0 {
		return d.Ladder
	}
	return []Step{{Action: d.Action}}
}

// first is what the mitigation did at its first step.
func (m *Mitigation) first() Action {
	if len(m.Ladder) > 0 {
		return m.Ladder[0].Action
	}
	return m.Action
}

// matches are the matches that the attack called for; a blackhole has another one.
func (m *Mitigation) matches() []flowspec.Match {
	if len(m.Matches) > 0 {
		return m.Matches
	}
	return m.Variants
}

// StepDue returns when the next step may be taken at the earliest; false if there is none to be taken by itself. An
// operator's order never takes one.
func (m *Mitigation) StepDue() (time.Time, bool) {
	if m.Phase != Active || m.Origin != FromPolicy || m.Step+1 >= len(m.Ladder) || m.Awaits.Kind == AskStep || m.Blocked.Code == CodeNotApproved {
		return time.Time{}, false
	}
	return m.StepSince.Add(m.Ladder[m.Step+1].After - m.Ladder[m.Step].After), true
}

// moreSevere reports whether a does more than b, so that it may follow it on a ladder. Of two rates the lower does.
func (a Action) moreSevere(b Action) bool {
	return cmp.Or(cmp.Compare(a.severity(), b.severity()), cmp.Compare(b.Rate, a.Rate), cmp.Compare(b.Packets, a.Packets)) > 0
}

// EscalateRequest asks for the next step of mitigations that outlast their step. Asked by the leader itself, from what
// it has seen in this term.
type EscalateRequest struct{ Reports []AttackReport }

// AttackReport is what a leader heard last of the attacks of a mitigation.
type AttackReport struct {
	ID         MitigationID
	At         time.Time // entry time
	Confidence float64   // 0: not stated
	Source     string    // the detector; empty: it is not known, and its confidence stands alone
}

func (*EscalateRequest) isRequest() {}

// decideEscalate takes the next step of mitigations whose attack outlasts the one they are at. Each is judged anew, on
// the state as the steps before leave it; one that is refused stays at its step, and that is noted once.
func decideEscalate(s *State, r *EscalateRequest, e Entry) Decision {
	var d Decision
	trial, taken, asked, stay := s, 0, 0, 0
	for _, report := range r.Reports {
		m, ok := trial.Mitigation(report.ID)
		if !ok || !m.outlasts(report, e) || !m.believed(s, e.At) {
			continue
		}
		next, reason := m.escalate(trial, report, e)
		if next == nil && reason.Code == m.Blocked.Code {
			continue
		}
		if next == nil {
			next = m.blocked(reason, e)
			stay++
		} else if next.Step == m.Step {
			asked++
		} else {
			taken++
		}
		part := Decision{Mitigations: []*Mitigation{next}, Changes: []Change{&PutMitigation{next}}}
		if next.Step > m.Step {
			if part = part.superseding(trial, next, next.superseded(trial), e); part.Verdict.Kind == Refused {
				return part
			}
		}
		d.amend(part.Mitigations)
		d.Changes = append(d.Changes, part.Changes...)
		var err error
		if trial, err = trial.Apply(Entry{Index: s.Index() + 1, At: e.At, By: e.By, Reason: e.Reason}, part.Changes); err != nil {
			return refusef(CodeInternal, "the step of M%d could not be tried: %v", m.ID, err)
		}
	}
	if len(d.Changes) == 0 {
		return observe(CodeNothingToDo, 0, "no mitigation takes a step")
	}
	text := fmt.Sprintf("%s the next step, %d stay where they are", plural(taken, "mitigation")+choose(taken, " takes", " take"), stay)
	if asked > 0 {
		text += fmt.Sprintf(", %d await approval for it", asked)
	}
	d.Verdict = Verdict{Kind: Mitigated, Reason: Reason{CodeEscalated, text}}
	return d
}

// outlasts reports whether the attack has lasted for longer than the step, and goes on: it was reported lately, and again
// since the step began. The report with which the step began says nothing of what came after.
func (m *Mitigation) outlasts(r AttackReport, e Entry) bool {
	due, ok := m.StepDue()
	return ok && !e.At.Before(due) && m.Expires.After(e.At) && e.At.Sub(r.At) <= EscalationFreshness && r.At.After(m.StepSince)
}

// escalate returns m at its next step, or why it stays at the one that it is at.
func (m *Mitigation) escalate(s *State, r AttackReport, e Entry) (*Mitigation, Reason) {
	to := m.Step + 1
	sure := m.sureOf(s, r)
	if reason := m.holdStep(s, to, sure, e); reason.Code != "" {
		return nil, reason
	}
	if floor := m.Ladder[to].MinConfidence; sure < floor {
		return nil, Reason{CodeLowConfidence, fmt.Sprintf("step %d (%s) asks for a confidence of %v, the last signal %s%s",
			to+1, m.Ladder[to].Action, floor, statedConfidence(r.Confidence), jointly(sure, r.Confidence))}
	}
	next, reason := m.atStep(s, to, e)
	if reason.Code != "" {
		reason.Text = fmt.Sprintf("step %d (%s): %s", to+1, m.Ladder[to].Action, reason.Text)
		return nil, reason
	}
	if need := m.Ladder[to].approval(s, m, next); need.Code != "" {
		if m.Awaits.Kind != "" { // one question at a time
			return nil, Reason{CodeAwaitsApproval, fmt.Sprintf("step %d (%s): %s awaits approval first", to+1, m.Ladder[to].Action, m.Asked())}
		}
		cp := *m
		cp.Blocked = Reason{}
		cp.ask(Ask{Kind: AskStep, Step: to, Why: need}, s.Safeguards(), e)
		return &cp, Reason{}
	}
	if reason := m.tooFastFor(s, len(next.Rules), e); reason.Code != "" {
		return nil, reason
	}
	next.tell(Event{
		At: e.At, What: EventEscalated, By: e.By, Code: CodeEscalated,
		Text: fmt.Sprintf("step %d of %d, %s instead of %s: the attack is still reported %s after the step before began%s",
			to+1, len(m.Ladder), next.Action, m.Action, span(e.At.Sub(m.StepSince).Truncate(time.Second)), measured(&Signal{Confidence: r.Confidence})),
	})
	return next, Reason{}
}

// approval says why the step, at which m would be what next says, awaits a second person; zero if it does not.
func (d Step) approval(s *State, m, next *Mitigation) Reason {
	var why []string
	if d.Mode == ModeApprove {
		why = append(why, fmt.Sprintf("policy %s asks for approval of this step", m.Policy))
	}
	if text := tooFar(s.Safeguards(), next.Cut.Pieces, next.Action); text != "" {
		why = append(why, text)
	}
	return needed(why)
}

func statedConfidence(c float64) string {
	if c == 0 {
		return "states none"
	}
	return fmt.Sprintf("states %v", c)
}

// jointly says what the confidence of all detectors is, weighed with the trust in them, where it differs from what one states.
func jointly(sure, stated float64) string {
	if sure == stated {
		return ""
	}
	return fmt.Sprintf(", with the other detectors and the trust in each it is %v", sure)
}

// blocked returns m with the note that its next step was refused.
func (m *Mitigation) blocked(reason Reason, e Entry) *Mitigation {
	cp := *m
	cp.Blocked = reason
	cp.tell(Event{At: e.At, What: EventStepRefused, By: e.By, Code: reason.Code, Text: reason.Text})
	return &cp
}

// atStep returns m at another step of its ladder, judged like a new mitigation on the state as it is. What it acts on
// becomes no wider by that.
func (m *Mitigation) atStep(s *State, to int, e Entry) (*Mitigation, Reason) {
	next, reason := m.with(s, m, m.Ladder[to].Action)
	if reason.Code == "" {
		next.Step, next.StepSince, next.Blocked = to, e.At, Reason{}
	}
	return next, reason
}

// with returns m with another action, judged like a new mitigation that takes the place of old, of which it is a copy, on the
// state as it is. What it acts on becomes no wider by that.
func (m *Mitigation) with(s *State, old *Mitigation, action Action) (*Mitigation, Reason) {
	p, reason := m.planFor(s, action)
	if reason.Code != "" {
		return nil, reason
	}
	if p.action.RouteKind() == m.Action.RouteKind() {
		p.has = m.Rules
	}
	if reason := p.fit(s); reason.Code != "" {
		return nil, reason
	}
	found := survey(s, p, old, true)
	found.weaker = nil // what a step supersedes makes no room for it
	if reason := found.admit(s, p); reason.Code != "" {
		return nil, reason
	}
	rules, reason := makeRules(p.shaped(), p.action)
	if reason.Code != "" {
		return nil, reason
	}
	cp := *m
	cp.Action, cp.Variants, cp.Cut, cp.Rules, cp.Matches, cp.Services = p.action, p.variants, p.cut, rules, nil, p.services
	if p.action.RouteKind() == wanted.RTBH {
		cp.Matches = m.matches()
		found.notes = append(found.notes, blackholeNote)
	}
	for _, n := range slices.Concat(p.notes, found.notes) {
		if !slices.Contains(cp.Notes, n) {
			cp.Notes = append(slices.Clip(cp.Notes), n)
		}
	}
	return &cp, Reason{}
}

// planFor is what m would be turned into with another action, on no more than it was meant for.
func (m *Mitigation) planFor(s *State, action Action) (*plan, Reason) {
	sg := s.Safeguards()
	customer, reason := customerOf(s, m.Targets, sg)
	if reason.Code != "" {
		return nil, reason
	}
	if customer.ID != m.Customer {
		return nil, Reason{CodeTargetNotOfficial, fmt.Sprintf("%s is now space of customer %s", prefixList(m.Targets), customer.ID)}
	}
	family := familyOf(m.Targets[0])
	if text := action.mismatch(family); text != "" {
		return nil, Reason{CodeActionFamily, text}
	}
	p := &plan{
		origin: m.Origin, policy: m.Policy, source: m.Source, vector: m.Vector, customer: customer, targets: m.Targets, variants: m.matches(),
		action: action, groups: m.Groups, lifetime: m.Lifetime, services: m.Services, reported: m.Reported,
	}
	if action.RouteKind() == wanted.RTBH {
		p.variants = everything(family)
	}
	whole := *m // a blackhole's pieces may be parts of what can be told as one
	whole.Cut.Pieces = fewest(m.Cut.Pieces)
	if p.cut = recut(s, &whole, max(sg.MaxPieces, len(whole.Cut.Pieces))); len(p.cut.Pieces) == 0 {
		return nil, Reason{CodeNothingLeft, fmt.Sprintf("nothing of %s remains for customer %s: exempt are %s",
			prefixList(m.Targets), m.Customer, exemptList(p.cut.Exempt))}
	}
	return p, Reason{}
}

// unsure says why the signal is not sure enough for the first step, or confirmed by too few.
func (p *plan) unsure(s *State) Reason {
	if p.confidence >= p.floor {
		return p.lacksQuorum(s)
	}
	return Reason{CodeLowConfidence, fmt.Sprintf("policy %s asks for a confidence of %v before it does anything, the signal %s%s",
		p.policy, p.floor, statedConfidence(p.seen.Confidence), jointly(p.confidence, p.seen.Confidence))}
}

// String returns the action for a sentence, e.g. "discard" or "rate 10Mbps".
func (a Action) String() string {
	switch a.Kind {
	case RateLimit:
		return "rate " + a.Rate.String()
	case RateLimitPackets:
		return "rate " + a.Packets.String()
	case Redirect:
		return "redirect " + a.Target.String()
	case RedirectIP:
		return a.words().noun + " to " + a.Address.String()
	case Mark:
		return fmt.Sprintf("mark %d", a.DSCP)
	case RTBH:
		return "rtbh"
	case Discard:
	}
	return a.words().noun
}

// ladder checks the steps of a policy.
func (c *checker) ladder(d *Policy) {
	if len(d.Ladder) == 0 {
		c.action("action", d.Action)
		return
	}
	if d.Action != (Action{}) {
		c.add("action", "there is a ladder as well", "make the action the first step of the ladder, or remove the ladder")
	}
	if n := len(d.Ladder); n > MaxSteps {
		c.add("ladder", fmt.Sprintf("there are %d steps, at most %d", n, MaxSteps), "leave some out")
		return
	}
	for i, step := range d.Ladder {
		at := item("ladder", i)
		before := len(c.found)
		c.action(below(at, "action"), step.Action)
		sound := len(c.found) == before
		if f := step.MinConfidence; !(f >= 0 && f <= 1) { // NaN is refused too
			c.add(below(at, "min_confidence"), fmt.Sprintf("%v is not between 0 and 1", f), "write a confidence such as 0.8, or leave it out")
		}
		if step.Mode != ModeAuto && step.Mode != ModeApprove {
			c.add(below(at, "mode"), fmt.Sprintf("%q is not the mode of a step", clip(string(step.Mode))), "write auto or approve")
		}
		c.stepTime(d, i)
		if i > 0 && sound && !step.Action.moreSevere(d.Ladder[i-1].Action) {
			c.add(below(at, "action"), fmt.Sprintf("%s does not do more than %s of the step before", step.Action, d.Ladder[i-1].Action),
				"put the steps in this order: copy, mark, rate of packets, rate of bytes, discard, redirect to an address, redirect, rtbh; a lower rate after a higher one")
		}
	}
}

// stepTime checks when the i-th step of a policy is taken, counted from 0.
func (c *checker) stepTime(d *Policy, i int) {
	at, step := item("ladder", i), d.Ladder[i]
	switch {
	case i == 0 && step.After != 0:
		c.add(below(at, "after"), fmt.Sprintf("the first step is taken at once, not after %s", span(step.After)), "leave it out")
	case i > 0 && step.After == 0:
		c.add(below(at, "after"), "it is not said after how long the step is taken", "write a duration such as 5m: it is counted from the first step")
	case i > 0 && step.After <= d.Ladder[i-1].After:
		c.add(below(at, "after"), fmt.Sprintf("%s is not later than the %s of the step before", span(step.After), span(d.Ladder[i-1].After)),
			"write a longer time: it is counted from the first step")
	case step.After > longestLifetime:
		c.add(below(at, "after"), fmt.Sprintf("%s is longer than any lifetime", span(step.After)), "write a duration such as 5m")
	}
}

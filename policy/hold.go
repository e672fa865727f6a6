package policy

import (
	"fmt"
	"slices"
	"time"
)

// optedOut says that a policy may not act for the customer against a vector.
func (d *Customer) optedOut(v Vector) Reason {
	switch {
	case d.Mitigation == ConsentManual:
		return Reason{CodeCustomerOptedOut, fmt.Sprintf("customer %s is mitigated for by hand only (mitigation: manual): start it by hand if %s agrees",
			d.ID, d.whom())}
	case d.Mitigation == ConsentNone:
		return d.refusesAll()
	case slices.Contains(d.ManualVectors, v):
		return Reason{CodeCustomerOptedOut, fmt.Sprintf("customer %s is mitigated for by hand only against %s (manual_vectors): start it by hand if %s agrees",
			d.ID, v, d.whom())}
	}
	return Reason{}
}

// refusesAll says that nobody may act for the customer, and what to do about that.
func (d *Customer) refusesAll() Reason {
	if d.Mitigation != ConsentNone {
		return Reason{}
	}
	return Reason{CodeCustomerOptedOut, fmt.Sprintf("nobody mitigates for customer %s (mitigation: none): ask %s, then apply its document with mitigation: auto or manual",
		d.ID, d.whom())}
}

// whom names who speaks for the customer.
func (d *Customer) whom() string {
	if len(d.Contacts) == 0 {
		return "the customer, of whom no contact is stated"
	}
	return d.Contacts[0]
}

// mayStart says why a policy's plan that would start something, or take what is about to end up again, does not.
func (p *plan) mayStart(s *State, e Entry) Reason {
	if r := frozen(s, e); r.Code != "" {
		return r
	}
	return s.Safeguards().floorFor(p.action, p.confidence)
}

// tooFast answers that policies do too much within too little time, with the numbers; the same signal may be sent again
// when the oldest of what counts is a minute ago. The plan has n rules.
func (p *plan) tooFast(s *State, n int, e Entry) (Reason, time.Duration) {
	sg := s.Safeguards()
	minute, hour := &s.pace.minute, &s.pace.hour
	text := "%s started %s within the last %s, at most %d are permitted, and this is %d more: send the signal again in %s, start it by hand, or raise %s"
	for _, b := range [...]struct {
		window      *moments
		scope       paceScope
		adds, limit int
		who, what   string
		field       string
	}{
		{minute, paceAll, 1, sg.MaxStartsPerMinute, "policies", "mitigation", "max_starts_per_minute"},
		{minute, paceOfSource(p.source), 1, sg.MaxStartsPerMinutePerSource, "signals of " + p.source, "mitigation", "max_starts_per_minute_per_source"},
		{minute, paceRules, n, sg.MaxRulesPerMinute, "policies", "rule", "max_rules_per_minute"},
		{hour, paceOfPolicy(p.policy), 1, p.perHour, "policy " + p.policy, "mitigation", "max_per_hour of the policy"},
	} {
		used, until, beyond := b.window.beyond(b.scope, b.adds, b.limit, e.At)
		if !beyond {
			continue
		}
		until = min(max(until, time.Second), paceShort)
		return Reason{CodeStartRate, fmt.Sprintf(text, b.who, plural(used, b.what), b.window.span, b.limit, b.adds, until.Round(time.Second), b.field)}, until
	}
	return Reason{}, 0
}

// holdStep says why a mitigation does not take the next step of its ladder, whatever its attack does.
func (m *Mitigation) holdStep(s *State, to int, confidence float64, e Entry) Reason {
	if r := frozen(s, e); r.Code != "" {
		return r
	}
	if c, ok := s.Customer(m.Customer); ok {
		if r := c.optedOut(m.Vector); r.Code != "" {
			return r
		}
	}
	return s.Safeguards().floorFor(m.Ladder[to].Action, confidence)
}

// tooFastFor is tooFast for the next step of a mitigation that would have n rules.
func (m *Mitigation) tooFastFor(s *State, n int, e Entry) Reason {
	p := plan{source: m.Source, policy: m.Policy}
	r, _ := p.tooFast(s, n, e)
	return r
}

// observed answers a signal whose plan is held back.
func observed(r Reason) Decision { return Decision{Verdict: Verdict{Kind: Observed, Reason: r}} }

package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/tidegate/tidegate/bgp/wanted"
)

// narrowEvery is the least time between two narrowings of a mitigation, so that it does not flap with each update; and it
// narrows only to less than half of its addresses.
const narrowEvery = time.Minute

// holdsStill reports whether a report that m answers leaves it as it is: it is for the same targets; or m is aggregated, and
// has been so for too short a time, or would still be more than half.
func (m *Mitigation) holdsStill(p *plan, e Entry) bool {
	if slices.Equal(m.Targets, p.targets) {
		return true
	}
	if len(m.Reported) == 0 {
		return false
	}
	return e.At.Sub(m.narrowedAt()) < narrowEvery || halfOrMore(p.cut.Pieces, m)
}

// held says why m stays as it is although what is reported is not what it acts on, and until when; empty if it is.
func (p *plan) held(m *Mitigation, alone bool, e Entry) string {
	if slices.Equal(m.Targets, p.targets) || slices.Equal(m.extent(), fewest(p.extent())) {
		return ""
	}
	text := fmt.Sprintf("; what is reported by now, %s, is less than the %s that it acts on", prefixList(p.extent()), prefixList(m.Targets))
	switch until := m.narrowedAt().Add(narrowEvery); {
	case halfOrMore(p.cut.Pieces, m):
		return text + ", but half of its addresses or more: it stays as it is, so that it does not flap"
	case e.At.Before(until):
		return text + fmt.Sprintf(": it stays as it is until %s, %s after it began or narrowed, so that it does not flap; then a report narrows it",
			until.UTC().Format(time.RFC3339), span(narrowEvery))
	case !alone:
		return text + ": its other attacks keep it as it is"
	}
	return text + ": it stays as it is"
}

func halfOrMore(pieces []netip.Prefix, m *Mitigation) bool {
	return sizeOf(pieces)*2 >= sizeOf(m.Cut.Pieces)
}

// narrow is the decision on a report that m, which other attacks keep as well, answers for more than what is reported by
// now: it goes on for what all of its attacks report together, aggregated anew. The other way round it never goes: what is
// reported beyond m is another mitigation. False if m stays as it is.
func (p *plan) narrow(s *State, m *Mitigation, attack *PutAttack, e Entry) (Decision, bool) {
	if len(m.Causes)+m.MoreCauses < 2 || halfOrMore(p.cut.Pieces, m) || e.At.Sub(m.narrowedAt()) < narrowEvery {
		return Decision{}, false
	}
	left, known := m.remaining(s, &attack.Attack)
	if left = outermost(intersect(outermost(left), m.Targets)); !known || len(left) == 0 {
		return Decision{}, false
	}
	next := p.narrowed(s, m, left)
	if next == nil {
		return Decision{}, false
	}
	text := fmt.Sprintf("M%d narrows to %s: its %s report no more than that by now", m.ID, prefixList(next.Targets), plural(len(m.Causes)+m.MoreCauses, "attack"))
	if len(next.Reported) > 0 {
		text += "; " + next.collateralNote()
	}
	next.tell(Event{At: e.At, What: EventNarrowed, By: e.By, Code: CodeNarrowed, Text: text})
	attack.Attack.Mitigation = m.ID
	return Decision{
		Verdict:     Verdict{Kind: Merged, Mitigation: m.ID, Reason: Reason{CodeNarrowed, text}},
		Mitigations: []*Mitigation{next},
		Changes:     []Change{&PutMitigation{next}, attack},
	}, true
}

// narrowed returns m for less than half of its addresses, those that are left and what they are aggregated to; nil if they
// are more than that, or if m cannot be told for them alone.
func (p *plan) narrowed(s *State, m *Mitigation, left []netip.Prefix) *Mitigation {
	cp := *m
	cp.Targets, cp.Reported = left, nil
	if _, always := p.taken.aggregates(p.vector); always && m.Action.RouteKind() != wanted.RTBH {
		j := p.joiner(s)
		cp.Targets = intersect(outermost(j.dense(left)), m.Targets)
	}
	if !slices.Equal(cp.Targets, left) {
		cp.Reported = fewest(left)
	}
	if halfOrMore(intersect(m.Cut.Pieces, cp.Targets), m) {
		return nil
	}
	next, reason := cp.with(s, m, m.Action)
	if reason.Code != "" || next.Cut.Rounded && !m.Cut.Rounded {
		return nil
	}
	return next
}

// narrowedAt is when m was narrowed last, or began to act: what awaited a second person acts from the approval on.
func (m *Mitigation) narrowedAt() time.Time {
	for _, ev := range slices.Backward(m.History) {
		switch ev.What {
		case EventNarrowed, EventApproved, EventBreakGlass:
			return ev.At
		default:
		}
	}
	return m.Created
}

// remaining is what the attacks that keep m report by now, latest among them; false if that is not known of all of them.
func (m *Mitigation) remaining(s *State, latest *Attack) ([]netip.Prefix, bool) {
	out := slices.Clone(latest.Targets)
	for _, c := range m.Causes {
		if latest.is(c) {
			continue
		}
		a, ok := s.Attack(c.Source, c.AttackID)
		if !ok || a.Mitigation != m.ID || len(a.Targets) == 0 {
			return nil, false
		}
		out = append(out, a.Targets...)
	}
	if m.MoreCauses == 0 {
		return out, true
	}
	unlisted := m.unlisted(s)
	for _, a := range unlisted {
		out = append(out, a.Targets...)
	}
	return out, len(unlisted) == m.MoreCauses
}

// unlisted returns the attacks that keep m and are counted only.
func (m *Mitigation) unlisted(s *State) []*Attack {
	var out []*Attack
	for _, t := range m.Targets {
		for _, a := range s.reportsNear(t) {
			if a.Mitigation == m.ID && !slices.ContainsFunc(m.Causes, a.is) && !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	return out
}

// is reports whether the attack is the cause.
func (a *Attack) is(c Cause) bool { return a.Source == c.Source && a.AttackID == c.AttackID }

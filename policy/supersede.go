package policy

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// grip is how much each rule of a mitigation keeps back on a router.
type grip struct {
	hold hold
	kind ActionKind
	rate float64 // holdSome only: what each rule lets pass a second, in bytes or packets
}

// gripOf returns the grip of each of n rules that carry out a.
func gripOf(a Action, n int) grip {
	g := grip{hold: a.holds(), kind: a.Kind}
	if g.hold == holdSome {
		g.rate = (float64(a.Rate) + float64(a.Packets)) / float64(max(n, 1)) // one of the two is zero
	}
	return g
}

func (p *plan) grip() grip       { return gripOf(p.action, p.ruleCount()) }
func (m *Mitigation) grip() grip { return gripOf(m.Action, len(m.Rules)) }

// looser reports whether g surely keeps back less than o. Of a rate of bytes and one of packets neither surely does.
func (g grip) looser(o grip) bool {
	return g.hold < o.hold || g.hold == holdSome && g.hold == o.hold && g.kind == o.kind && g.rate > o.rate
}

// mayBeLooser reports whether g keeps back less than o for some packets: what a rate of bytes lets pass in small packets
// may be above a rate of packets, and the reverse.
func (g grip) mayBeLooser(o grip) bool {
	return g.looser(o) || g.hold == holdSome && g.hold == o.hold && g.kind != o.kind
}

// text says what each rule lets pass; empty if that is nothing, or all.
func (g grip) text() string {
	switch g.kind {
	case RateLimit:
		return flowspec.BytesPerSecond(g.rate).String()
	case RateLimitPackets:
		return flowspec.PacketsPerSecond(g.rate).String()
	case Discard, Redirect, RedirectIP, Mark, RTBH:
	}
	return ""
}

// ratesText compares the rates of the rules of two mitigations, for a sentence; empty unless both are rates.
func ratesText(p *plan, m *Mitigation) string {
	mine, its := p.grip(), m.grip()
	if mine.hold != holdSome || its.hold != holdSome {
		return ""
	}
	return fmt.Sprintf(" (each of its rules lets pass %s, and each of M%d's %s)", mine.text(), m.ID, its.text())
}

// supersedes reports whether m, of a policy, comes before the plan somewhere, surely keeps back less, and takes no packet that
// the plan does not take as well: then it ends when the plan begins.
func (p *plan) supersedes(m *Mitigation) bool {
	return m.yields(p.grip(), p.acting(), p.action.Continue)
}

func (m *Mitigation) yields(to grip, at acting, goesOn bool) bool {
	return m.Origin == FromPolicy && !m.Action.Continue && !goesOn && m.grip().looser(to) && m.acting().inside(at)
}

// inside reports whether every router that hears a hears o too, and each packet that a takes is one that o takes.
func (a acting) inside(o acting) bool {
	if len(o.groups) > 0 && (len(a.groups) == 0 || slices.ContainsFunc(a.groups, func(g string) bool { return !slices.Contains(o.groups, g) })) {
		return false
	}
	return !slices.ContainsFunc(a.pieces, func(p netip.Prefix) bool {
		around, found := holding(o.pieces, p)
		if !found {
			return true
		}
		others := o.at(around)
		return slices.ContainsFunc(a.at(p), func(m flowspec.Match) bool { return !slices.ContainsFunc(others, m.Inside) })
	})
}

// superseding ends what m, which the decision makes active or changes, supersedes. What a policy's took the place of gives m
// its attacks as causes, so that m ends when the last of them is over; an operator's order lives without causes.
func (d Decision) superseding(s *State, m *Mitigation, weaker []*Mitigation, e Entry) Decision {
	if len(weaker) == 0 {
		return d
	}
	trial, err := s.Apply(Entry{Index: s.Index() + 1, At: e.At, By: e.By, Reason: e.Reason}, d.Changes)
	if err != nil {
		return refusef(CodeInternal, "what M%d supersedes could not be tried: %v", m.ID, err)
	}
	var gone []*Mitigation
	for _, w := range weaker {
		if now, ok := trial.Mitigation(w.ID); ok && now.Announced() {
			gone = append(gone, now)
		}
	}
	if d.Verdict.Kind == Refused || len(gone) == 0 {
		return d
	}
	if m.Origin == FromPolicy {
		d.inherit(trial, m, gone, e)
	}
	for _, g := range gone {
		d.Mitigations = slices.DeleteFunc(d.Mitigations, func(was *Mitigation) bool { return was.ID == g.ID })
		d.end(g, EndSuperseded, fmt.Sprintf("M%d (%s) is stronger and takes all that it took", m.ID, m.Action), e)
	}
	text := fmt.Sprintf("takes the place of %s, which held back less", mitigationList(idsOf(gone)))
	m.Notes = append(slices.Clip(m.Notes), text)
	d.Verdict.Reason.Text += "; it " + text
	return d
}

// amend puts records of mitigations into the decision: of several of one mitigation the last one holds.
func (d *Decision) amend(ms []*Mitigation) {
	for _, now := range ms {
		d.Mitigations = append(slices.DeleteFunc(d.Mitigations, func(was *Mitigation) bool { return was.ID == now.ID }), now)
	}
}

func idsOf(ms []*Mitigation) []MitigationID {
	ids := make([]MitigationID, 0, len(ms))
	for _, m := range ms {
		ids = append(ids, m.ID)
	}
	return ids
}

// superseded returns what m, which is about to act as it says, supersedes.
func (m *Mitigation) superseded(s *State) []*Mitigation {
	if m.Action.RouteKind() != wanted.FlowSpec || m.Action.holds() == holdNothing {
		return nil
	}
	var out []*Mitigation
	for other := range s.activeNear(m.Customer, m.Cut.Pieces, true) {
		if other.ID == m.ID || other.Action.RouteKind() != wanted.FlowSpec {
			continue
		}
		if _, how := shielded(other.acting(), m.acting()); how == before && other.yields(m.grip(), m.acting(), m.Action.Continue) {
			out = append(out, other)
		}
	}
	return out
}

// stays answers a report of an attack whose mitigation so far, of another policy, is stronger than what the attack's own policy
// asks for: it was given to that when its own was superseded. False if it is not so, or the attack is another one by now.
func (p *plan) stays(s *State, current *Mitigation, shield *Mitigation, attack *Attack) (Decision, bool) {
	if current == nil || current.Origin != FromPolicy || current.Policy == p.policy || p.fits(current) {
		return Decision{}, false
	}
	if current != shield {
		att, ok := s.Attack(attack.Source, attack.AttackID)
		if !ok || att.Vector != attack.Vector || att.Confidence != attack.Confidence || !slices.Equal(att.Targets, attack.Targets) ||
			current.Phase != Active || !p.grip().looser(current.grip()) || !p.acting().inside(current.acting()) {
			return Decision{}, false
		}
	}
	d := repetition(current)
	d.Verdict.Reason.Text = fmt.Sprintf("M%d of policy %s (%s) takes all that policy %s would (%s), and holds back more: it stays for this attack as well",
		current.ID, current.Policy, current.Action, p.policy, p.action)
	return d, true
}

package output

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate/policy"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// Why tells how a mitigation came to be what it is: what it is about and why this policy answered, then its story.
func (p *Printer) Why(r *pb.GetResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	m := r.GetMitigation()
	p.line("mitigation", m.GetId()+", "+p.span(m))
	p.line("customer", m.GetCustomer())
	p.lines("target", m.GetTargets(), shownRules)
	p.line("by", origin(m))
	for _, n := range m.GetNearMisses() {
		p.line("not", fmt.Sprintf("policy %s: %s", n.GetPolicy(), n.GetWhy()))
	}
	p.confidence(m)
	p.collateral(m)
	p.approvals(m)
	p.steps(m)
	p.lines("rules", rulesOf(m), shownRules)
	var exempt []string
	for _, e := range m.GetExempt() {
		exempt = append(exempt, Exemption(e))
	}
	p.lines("exempt", exempt, shownRules)
	p.lines("keeps", m.GetSpared(), shownRules)
	for _, u := range m.GetUnprotected() {
		p.toned("unprotected", cell{u, yellow})
	}
	for _, n := range m.GetNotes() {
		if !strings.HasPrefix(n, "extended by ") { // told below
			p.toned("note", cell{n, yellow})
		}
	}
	p.story(m)
	p.stale(r.GetRead())
	return nil
}

// span says in which phase a mitigation is, since when and, when it is over, how long it lasted.
func (p *Printer) span(m *pb.Mitigation) string {
	began := m.GetCreated()
	if m.GetPhase() != "over" {
		return fmt.Sprintf("%s; it began %s", m.GetPhase(), p.when(began))
	}
	lasted := m.GetEndedAt().AsTime().Sub(began.AsTime())
	return fmt.Sprintf("over (%s); it lasted %s, until %s", m.GetEnd(), Short(lasted), p.when(m.GetEndedAt()))
}

// story prints what happened, each time with the time that had passed since the start.
func (p *Printer) story(m *pb.Mitigation) {
	loc := p.Location
	if loc == nil {
		loc = time.UTC
	}
	const indent = 18 // columns before what happened
	day := ""
	for i, ev := range m.GetHistory() {
		at := ev.GetAt().AsTime().In(loc)
		if today := at.Format("Monday, 2006-01-02, MST"); today != day {
			day = today
			p.Sentence("\n%s", p.paint(cell{day, bold}))
		}
		passed := ""
		if i > 0 {
			passed = "+" + Short(at.Sub(m.GetHistory()[0].GetAt().AsTime()).Truncate(time.Second))
		}
		head := fmt.Sprintf("%s %s", at.Format(time.TimeOnly), passed)
		for _, part := range wrap(told(ev), p.width()-indent) {
			p.Sentence("%s%s%s", head, strings.Repeat(" ", max(1, indent-len(head))), part)
			head = ""
		}
	}
}

// told is an event in words: what happened, why, and who did it.
func told(ev *pb.Event) string {
	text := ev.GetWhat()
	if tellsCode(ev) {
		text += " (" + ev.GetCode() + ")"
	}
	if ev.GetText() != "" {
		text += ": " + ev.GetText()
	}
	if name, leader := strings.CutPrefix(ev.GetBy(), "member/"); leader {
		text += "; by the leader, " + name
	} else if ev.GetBy() != "" {
		text += "; by " + ev.GetBy()
	}
	if ev.GetIndex() != 0 {
		text += fmt.Sprintf(", log entry %d", ev.GetIndex())
	}
	return text
}

// tellsCode reports whether the code says more than the words do: how it ended, or a refusal that can be looked up.
func tellsCode(ev *pb.Event) bool {
	code := policy.ReasonCode(ev.GetCode())
	return ev.GetWhat() == "ended" || code == policy.CodeLowConfidence ||
		slices.ContainsFunc(policy.Reasons(), func(r policy.ReasonInfo) bool { return r.Code == code && r.Refusal })
}

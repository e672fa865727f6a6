package output

import (
	"fmt"
	"strings"

	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// policyAction is what a policy does, in words.
func policyAction(q *pb.Policy) string {
	if len(q.GetLadder()) == 0 {
		return Action(q.GetAction())
	}
	var steps []string
	for _, s := range q.GetLadder() {
		text := Action(s.GetAction())
		if d := s.GetAfter().AsDuration(); d > 0 {
			text += " after " + Short(d)
		}
		if s.GetMode() == "approve" {
			text += " with approval"
		}
		steps = append(steps, text)
	}
	return strings.Join(steps, ", ")
}

// steps says at which step of its ladder a mitigation is, and when the next one is due.
func (p *Printer) steps(m *pb.Mitigation) {
	switch {
	case m.GetPhase() == "ending":
		p.toned("quiet", cell{fmt.Sprintf("the attack is over; announced until %s, in case that it comes back", p.clock(m.GetEndsAt())), yellow})
	case m.GetQuietTime() != nil && m.GetPhase() == "active":
		p.line("quiet", "after the attack it stays announced for "+Short(m.GetQuietTime().AsDuration()))
	}
	if n := m.GetPulses(); n > 0 {
		p.line("pulses", fmt.Sprintf("%d: each of the first three has doubled the quiet time", n))
	}
	if len(m.GetLadder()) == 0 {
		return
	}
	p.line("step", fmt.Sprintf("%d of %d since %s", m.GetStep(), len(m.GetLadder()), p.clock(m.GetStepSince())))
	if m.GetNextStep() != nil && int(m.GetStep()) < len(m.GetLadder()) {
		next := m.GetLadder()[m.GetStep()]
		text := fmt.Sprintf("%s at %s, if the attack is still reported then", Action(next.GetAction()), p.clock(m.GetNextStep()))
		if c := next.GetMinConfidence(); c > 0 {
			text += fmt.Sprintf(" with a confidence of %v", c)
		}
		p.line("next step", text)
	}
	if m.GetBlockedCode() != "" {
		p.toned("refused", cell{fmt.Sprintf("%s (%s)", m.GetBlocked(), m.GetBlockedCode()), yellow})
	}
}

package controller

import (
	"testing"
	"time"

	"github.com/tidegate/tidegate/policy"
)

// guards returns a fault that changes the safeguards on their way into the State.
func guards(change func(*policy.Safeguards)) faults {
	return faults{entry: forged(func(d policy.Document) policy.Document {
		if s, ok := d.(*policy.Safeguards); ok {
			cp := *s
			change(&cp)
			return &cp
		}
		return nil
	})}
}

// policies is guards for policies.
func policies(change func(*policy.Policy)) faults {
	return faults{entry: forged(func(d policy.Document) policy.Document {
		if p, ok := d.(*policy.Policy); ok {
			cp := *p
			change(&cp)
			return &cp
		}
		return nil
	})}
}

// strangers returns a fault that gives what awaits a second person to somebody who never asked.
func strangers() func(*envelope) bool {
	const nobody policy.Principal = "operator/nobody"
	asks := puts(func(m *policy.Mitigation) bool {
		if m.Awaits.Kind == "" {
			return false
		}
		m.Awaits.By = nobody
		return true
	})
	return func(e *envelope) bool {
		changed := asks(e)
		for _, it := range e.items {
			for i, c := range it.changes {
				if put, ok := c.(*policy.PutOrder); ok && put.Order.Status == policy.OrderPending {
					o := put.Order
					o.By = nobody
					it.changes[i], changed = &policy.PutOrder{Order: o}, true
				}
			}
		}
		return changed
	}
}

// narrowedNow reports whether a change is that a mitigation narrows to what its attacks report.
func narrowedNow(c policy.Change) bool {
	put, ok := c.(*policy.PutMitigation)
	if !ok || len(put.Mitigation.History) == 0 {
		return false
	}
	ev := put.Mitigation.History[len(put.Mitigation.History)-1]
	return ev.Code == policy.CodeNarrowed && ev.Index == 0
}

// TestPropertyWorldPeopleFaults is TestPropertyWorldFaults for what people, several detectors and many targets have to do with.
func TestPropertyWorldPeopleFaults(t *testing.T) {
	for _, row := range []struct {
		name, invariant string
		fault           faults
	}{
		{"what awaits approval is announced", "what awaits approval announces nothing", faults{entry: puts(func(m *policy.Mitigation) bool {
			if m.Phase != policy.Pending {
				return false
			}
			m.Phase = policy.Active
			return true
		})}},
		{"it is forgotten who asked", "nobody approves what they asked for", faults{entry: strangers()}},
		{"nobody minds how far something reaches", "what takes a second person waits for one", guards(func(s *policy.Safeguards) { s.ApprovalAddresses = 0 })},
		{"policies do not ask", "what takes a second person waits for one", policies(func(p *policy.Policy) {
			if p.Mode == policy.ModeApprove {
				p.Mode = policy.ModeAuto
			}
		})},
		{"steps do not ask", "what takes a second person waits for one", policies(func(p *policy.Policy) {
			p.Ladder = append([]policy.Step(nil), p.Ladder...)
			for i := range p.Ladder {
				p.Ladder[i].Mode = policy.ModeAuto
			}
		})},
		{"what nobody answers waits for ever", "what nobody approves lapses", faults{entry: withoutChanges(isEnd(policy.EndNotApproved))}},
		{"a life without approval is not bounded", "who does not wait for approval has little time", faults{entry: puts(func(m *policy.Mitigation) bool {
			if m.BreakGlassUntil.IsZero() {
				return false
			}
			m.Expires, m.BreakGlassUntil = m.Expires.Add(time.Hour), m.BreakGlassUntil.Add(time.Hour)
			return true
		})}},
		{"one detector is enough", "a quorum comes first", policies(func(p *policy.Policy) { p.Quorum = 0 })},
		{"no confidence is asked for", "nothing is done that nobody is sure of", guards(func(s *policy.Safeguards) { s.MinConfidence = policy.ConfidenceByAction{} })},
		{"everybody is believed", "nothing is done that nobody is sure of", faults{entry: forged(func(d policy.Document) policy.Document {
			if x, ok := d.(*policy.Detector); ok && x.Trust < 1 {
				return &policy.Detector{Name: x.Name, Trust: 1}
			}
			return nil
		})}},
		{"a discard may be as wide as a mark", "nothing is wider than its action may be", guards(func(s *policy.Safeguards) { s.Widest = policy.WidestByAction{} })},
		{"policies start what they want", "a pace is kept", guards(func(s *policy.Safeguards) {
			s.MaxStartsPerMinute, s.MaxStartsPerMinutePerSource, s.MaxRulesPerMinute = 0, 0, 0
		})},
		{"one detector may fill everything", "one detector fills no more than its share", guards(func(s *policy.Safeguards) { s.SourceShare = 0 })},
		{"nobody is put aside", "a detector that misbehaves is put aside, and no other", faults{entry: withoutChanges(func(c policy.Change) bool {
			put, ok := c.(*policy.PutQuarantine)
			return ok && put.Quarantine.Automatic
		})}},
		{"one slip is enough to be put aside", "a detector that misbehaves is put aside, and no other", guards(func(s *policy.Safeguards) { s.Quarantine.WrongTargets = 1 })},
		{"an aggregate is wider than permitted", "an aggregate is what was permitted, and told", policies(func(p *policy.Policy) {
			p.Aggregate = policy.Aggregate{MinTargets: 2, MinShare: 1, WidestIPv4: 20, WidestIPv6: 45}
		})},
		{"more is acted on than is told", "an aggregate is what was permitted, and told", faults{entry: puts(func(m *policy.Mitigation) bool {
			if len(m.Reported) == 0 || len(m.History) > 0 {
				return false
			}
			widen(m)
			return true
		})}},
		{"what is wide stays wide", "what is wide narrows back", faults{entry: withoutChanges(narrowedNow)}},
	} {
		t.Run(row.name, func(t *testing.T) { noticed(t, row.invariant, row.fault) })
	}
}

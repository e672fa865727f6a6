package controller

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/policy"
)

// puts returns a fault that changes the mitigations which an entry puts, those that change says it changed.
func puts(change func(*policy.Mitigation) bool) func(*envelope) bool {
	return func(e *envelope) (changed bool) {
		for _, it := range e.items {
			for i, c := range it.changes {
				put, ok := c.(*policy.PutMitigation)
				if !ok {
					continue
				}
				if m := *put.Mitigation; change(&m) {
					it.changes[i], changed = &policy.PutMitigation{Mitigation: &m}, true
				}
			}
		}
		return changed
	}
}

// withoutChanges returns a fault that leaves changes out.
func withoutChanges(gone func(policy.Change) bool) func(*envelope) bool {
	return func(e *envelope) (changed bool) {
		for i := range e.items {
			before := len(e.items[i].changes)
			e.items[i].changes = slices.DeleteFunc(e.items[i].changes, gone)
			changed = changed || len(e.items[i].changes) < before
		}
		return changed
	}
}

// forged returns a fault that changes documents on their way into the State.
func forged(change func(policy.Document) policy.Document) func(*envelope) bool {
	return func(e *envelope) (changed bool) {
		for _, it := range e.items {
			for i, c := range it.changes {
				if put, ok := c.(*policy.PutDocument); ok {
					if d := change(put.Document); d != nil {
						it.changes[i], changed = &policy.PutDocument{Document: d}, true
					}
				}
			}
		}
		return changed
	}
}

// isEnd reports whether a change ends a mitigation for a cause.
func isEnd(cause policy.EndCause) func(policy.Change) bool {
	return func(c policy.Change) bool {
		end, ok := c.(*policy.EndMitigation)
		return ok && end.Cause == cause
	}
}

// rewrite gives the rules of m other actions.
func rewrite(m *policy.Mitigation, change func(*flowspec.Rule)) {
	m.Rules = slices.Clone(m.Rules)
	for i := range m.Rules {
		m.Rules[i].Actions = slices.Clone(m.Rules[i].Actions)
		change(&m.Rules[i])
	}
}

// widen makes every destination one bit wider.
func widen(m *policy.Mitigation) {
	m.Cut.Pieces = slices.Clone(m.Cut.Pieces)
	for i, p := range m.Cut.Pieces {
		m.Cut.Pieces[i] = netip.PrefixFrom(p.Addr(), max(0, p.Bits()-1)).Masked()
	}
	rewrite(m, func(r *flowspec.Rule) {
		p, _ := r.Match.Destination()
		rest := flowspec.Match{Family: r.Match.Family, Components: slices.DeleteFunc(slices.Clone(r.Match.Components), func(c flowspec.Component) bool {
			return c.Type == flowspec.DestinationPrefix
		})}
		if wide, err := rest.WithDestination(netip.PrefixFrom(p.Addr(), max(0, p.Bits()-1)).Masked()); err == nil {
			r.Match = wide
		}
	})
}

// resurrected returns a fault that brings back, with the next entry, what was withdrawn.
func resurrected() func(*envelope) bool {
	alive := map[policy.MitigationID]*policy.Mitigation{}
	var back []policy.Change
	return func(e *envelope) bool {
		changed := len(back) > 0
		if changed {
			e.items = append(e.items, item{by: "node/leader", changes: back})
			back = nil
		}
		for _, it := range e.items {
			for _, c := range it.changes {
				switch c := c.(type) {
				case *policy.PutMitigation:
					alive[c.Mitigation.ID] = c.Mitigation
				case *policy.EndMitigation:
					if m := alive[c.ID]; m != nil && c.Cause == policy.EndWithdrawn {
						back = append(back, &policy.PutMitigation{Mitigation: m})
					}
				}
			}
		}
		return changed
	}
}

// TestPropertyWorldFaults breaks the engine in one way after the other and sees that the world notices: an invariant that
// cannot fail would prove nothing. Each fault is looked for in a few worlds.
func TestPropertyWorldFaults(t *testing.T) {
	for _, row := range []struct {
		name, invariant string
		fault           faults
	}{
		{"a new link narrows nothing", "nothing protected is acted on", faults{entry: func(e *envelope) bool {
			if !slices.ContainsFunc(e.items, func(it item) bool {
				return slices.ContainsFunc(it.changes, func(c policy.Change) bool { _, ok := c.(*policy.PutDocument); return ok })
			}) {
				return false
			}
			return withoutChanges(func(c policy.Change) bool {
				put, narrowed := c.(*policy.PutMitigation)
				return narrowed && len(put.Mitigation.History) > 0 || isEnd(policy.EndNothingLeft)(c)
			})(e)
		}}},
		{"links are not written down", "nothing protected is acted on", faults{entry: forged(func(d policy.Document) policy.Document {
			if c, ok := d.(*policy.Customer); ok && len(c.Links) > 0 {
				cp := *c
				cp.Links = nil
				return &cp
			}
			return nil
		})}},
		{"packets beside the destinations", "packets to protected space pass", faults{entry: puts(func(m *policy.Mitigation) bool {
			widen(m)
			widen(m)
			return true
		})}},
		{"a destination is one bit too wide", "nothing is acted on but the customer's own official space", faults{entry: puts(func(m *policy.Mitigation) bool {
			widen(m)
			return true
		})}},
		{"services are not written down", "allowed services pass", faults{entry: forged(func(d policy.Document) policy.Document {
			if c, ok := d.(*policy.Customer); ok && len(c.Services) > 0 {
				cp := *c
				cp.Services = nil
				return &cp
			}
			return nil
		})}},
		{"a freeze is not written down", "what is held back does not start", faults{entry: withoutChanges(func(c policy.Change) bool {
			_, ok := c.(*policy.PutFreeze)
			return ok
		})}},
		{"a quarantine is not written down", "what is held back does not start", faults{entry: withoutChanges(func(c policy.Change) bool {
			_, ok := c.(*policy.PutQuarantine)
			return ok
		})}},
		{"operators keep nothing", "a share is kept for operators", faults{entry: forged(func(d policy.Document) policy.Document {
			if s, ok := d.(*policy.Safeguards); ok && s.OperatorShare > 0 {
				cp := *s
				cp.OperatorShare = 0
				return &cp
			}
			return nil
		})}},
		{"a rule without an action", "rules are what routers survive", faults{entry: puts(func(m *policy.Mitigation) bool {
			rewrite(m, func(r *flowspec.Rule) { r.Actions = nil })
			return m.Action.Kind != policy.RTBH
		})}},
		{"a rate that grows when it is shared", "a total rate is not exceeded", faults{entry: puts(func(m *policy.Mitigation) bool {
			rewrite(m, func(r *flowspec.Rule) {
				for i := range r.Actions {
					r.Actions[i].Rate *= 1.5
				}
			})
			return true
		})}},
		{"a rule goes missing", "every rule has a live owner, and the reverse", faults{set: func(s *wanted.Set) { s.Routes = s.Routes[min(1, len(s.Routes)):] }}},
		{"the wrong owner's action", "every rule has a live owner, and the reverse", faults{set: func(s *wanted.Set) {
			if len(s.Routes) > 0 {
				r := *s.Routes[0]
				r.Rule.Actions = []flowspec.Action{flowspec.Mark(63)}
				s.Routes = append([]*wanted.Route{&r}, s.Routes[1:]...)
			}
		}}},
		{"quotas are not written down", "budgets are kept", faults{entry: forged(func(d policy.Document) policy.Document {
			switch d := d.(type) {
			case *policy.Customer:
				cp := *d
				cp.MaxMitigations = 0
				return &cp
			case *policy.Safeguards:
				cp := *d
				cp.MaxMitigations = 1000
				return &cp
			}
			return nil
		})}},
		{"routers are taken to be larger", "router budgets are kept", faults{entry: forged(func(d policy.Document) policy.Document {
			if r, ok := d.(*policy.Router); ok {
				cp := *r
				cp.MaxPrefix *= 100
				return &cp
			}
			return nil
		})}},
		{"a further cause widens", "nothing gets wider", faults{entry: puts(func(m *policy.Mitigation) bool {
			if len(m.History) > 0 {
				widen(m)
			}
			return len(m.History) > 0
		})}},
		{"rules change without a step", "a pulsing attack does not flap", faults{entry: puts(func(m *policy.Mitigation) bool {
			if len(m.History) == 0 || len(m.Rules) < 2 {
				return false
			}
			m.Rules = m.Rules[1:]
			return true
		})}},
		{"a quiet time is cut short", "a pulsing attack does not flap", faults{entry: puts(func(m *policy.Mitigation) bool {
			m.EndsAt = m.EndsAt.Add(-m.QuietTime() / 2)
			return m.Phase == policy.Ending
		})}},
		{"what was withdrawn comes back", "what is over stays over", faults{entry: resurrected()}},
		{"nothing expires", "nothing outlives its lifetime", faults{entry: withoutChanges(isEnd(policy.EndExpired))}},
		{"lifetimes are longer than they were asked for", "nothing outlives its lifetime", faults{entry: puts(func(m *policy.Mitigation) bool {
			m.Expires = m.Expires.Add(time.Hour)
			return true
		})}},
		{"the end of an attack ends nothing", "after the attack all is clean", faults{entry: withoutChanges(isEnd(policy.EndAttackOver))}},
		{"one replica reads something else", "same input, same decision", faults{one: puts(func(m *policy.Mitigation) bool {
			m.Lifetime += time.Second
			return true
		})}},
		{"one replica remembers something else", "replicas agree", faults{one: puts(func(m *policy.Mitigation) bool {
			m.Reason.Text += "."
			return true
		})}},
		{"a node forgets the deadline", "every node keeps to the lifetime", faults{wire: func(p *replica) {
			later := make([]*wanted.Route, len(p.wire.Routes))
			for i, r := range p.wire.Routes {
				cp := *r
				cp.NotAfter += wanted.Instant(24 * time.Hour)
				later[i] = &cp
			}
			p.wire.Routes = later
		}}},
		{"a set that is amended loses a route", "a set made of the one before is the set", faults{wire: func(p *replica) {
			p.wire.Routes = p.wire.Routes[:max(0, len(p.wire.Routes)-1)]
		}}},
		{"a mitigation without rules", "what is promised is done", faults{entry: puts(func(m *policy.Mitigation) bool {
			m.Rules = nil
			return true
		})}},
		{"a drill is taken for an attack", "a drill changes nothing", faults{signal: func(s *policy.Signal) { s.Drill = false }}},
	} {
		t.Run(row.name, func(t *testing.T) { noticed(t, row.invariant, row.fault) })
	}
}

// noticed fails if a planted fault breaks nothing in a few worlds.
func noticed(t *testing.T, invariant string, fault faults) {
	t.Helper()
	const worlds = 80 // most faults show in one of the first three
	fault.only = invariant
	for seed := uint64(1); seed <= worlds; seed++ {
		w, err := live(seed, 0, fault)
		if breaks(err, invariant) {
			t.Logf("seed %d, step %d: %v", seed, w.steps, err)
			return
		}
		if err != nil {
			t.Logf("seed %d, step %d, the world could not go on: %v", seed, w.steps, err)
		}
	}
	t.Errorf("nobody noticed in %d worlds", worlds)
}

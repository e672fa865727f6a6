package policy

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

func (s *State) putMitigation(m *Mitigation) error {
	if m.ID == 0 || m.ID == math.MaxUint64 {
		return fmt.Errorf("cannot put mitigation with id %d: %w", m.ID, ErrBadChange)
	}
	if !m.Announced() && m.Phase != Over && m.Phase != Pending {
		return fmt.Errorf("cannot put mitigation %d in phase %d: %w", m.ID, m.Phase, ErrBadChange)
	}
	next := &held{Mitigation: m, keys: make([]flowspec.Key, len(m.Rules))}
	for i := range m.Rules {
		next.keys[i] = m.Action.Key(&m.Rules[i])
	}
	old, _ := s.mitigations.get(numberKey(uint64(m.ID)))
	s.nextID = max(s.nextID, m.ID+1)
	s.replace(old, next)
	return nil
}

// endMitigation makes the record of a mitigation that is over from the one of the active mitigation.
func (s *State) endMitigation(c *EndMitigation, e Entry) error {
	if c == nil {
		return fmt.Errorf("cannot end mitigation: %w", ErrBadChange)
	}
	old, ok := s.mitigations.get(numberKey(uint64(c.ID)))
	if !ok || old.Phase == Over {
		return fmt.Errorf("cannot end mitigation %d, which is not active: %w", c.ID, ErrBadChange)
	}
	if c.Cause == "" {
		return fmt.Errorf("cannot end mitigation %d without a cause: %w", c.ID, ErrBadChange)
	}
	m := *old.Mitigation
	m.finish(c.Cause, cmp.Or(c.Note, e.Reason), Entry{At: s.at, By: cmp.Or(c.By, e.By)})
	m.Changed = s.index
	s.replace(old, &held{Mitigation: &m, keys: old.keys})
	return nil
}

// replace puts next in the place of old, which is nil for a new mitigation.
func (s *State) replace(old, next *held) {
	id := numberKey(uint64(next.ID))
	var before, now *held // what is on the wire of it
	if old != nil {
		s.unindex(old)
		if old.Announced() {
			before = old
		}
	}
	s.mitigations.set(id, next)
	switch {
	case next.Phase == Over:
		s.over.set(overKey(next.Mitigation), next)
	case next.Phase == Pending:
		s.pending.set(id, next)
		s.byExpiry.set(expiryKey(next.Mitigation), next)
		s.indexAsks(next, true)
	default:
		now = next
		s.indexAsks(next, true)
		s.active.set(id, next)
		s.byCustomer.set(customerKey(next.Mitigation), next)
		s.byExpiry.set(expiryKey(next.Mitigation), next)
		count(&s.ofCustomer, string(next.Customer), 1)
		s.countOfPolicy(next.Mitigation, 1)
	}
	if !samePace(old, next) {
		s.pace.change(old, -1, s.at)
		s.pace.change(next, 1, s.at)
	}
	s.usage.move(before, now)
	s.countSourceEntries(before, now)
	s.pieces.move(next.ID, before.pieces(), now.pieces())
	s.reroute(before, now)
}

// pieces returns what the mitigation acts on; nothing if h is nil.
func (h *held) pieces() []netip.Prefix {
	if h == nil {
		return nil
	}
	return h.Cut.Pieces
}

// count adds d to the number under a name; at zero it is forgotten.
func count(t *table[int], name string, d int) {
	n, _ := t.get([]byte(name))
	if n += d; n == 0 {
		t.remove([]byte(name))
		return
	}
	t.set([]byte(name), n)
}

func (s *State) unindex(h *held) {
	if h.Phase == Over {
		s.over.remove(overKey(h.Mitigation))
		return
	}
	s.indexAsks(h, false)
	if h.Phase == Pending {
		s.pending.remove(numberKey(uint64(h.ID)))
		s.byExpiry.remove(expiryKey(h.Mitigation))
		return
	}
	s.active.remove(numberKey(uint64(h.ID)))
	s.byCustomer.remove(customerKey(h.Mitigation))
	s.byExpiry.remove(expiryKey(h.Mitigation))
	count(&s.ofCustomer, string(h.Customer), -1)
	s.countOfPolicy(h.Mitigation, -1)
}

// countOfPolicy counts an active mitigation that a policy started.
func (s *State) countOfPolicy(m *Mitigation, d int) {
	if m.Policy != "" {
		count(&s.ofPolicy, m.Policy, d)
	}
}

func overKey(m *Mitigation) []byte {
	return binary.BigEndian.AppendUint64(numberKey(uint64(m.Changed)), uint64(m.ID))
}

func customerKey(m *Mitigation) []byte {
	return binary.BigEndian.AppendUint64(appendText(nil, string(m.Customer)), uint64(m.ID))
}

func expiryKey(m *Mitigation) []byte {
	return binary.BigEndian.AppendUint64(appendTime(nil, m.due()), uint64(m.ID))
}

// precedes orders the owners of a key, the one whose rule is announced first: operator before policy, then the more
// severe action, then the lower id of them. Of two rate limits the lower rate on the wire is more severe.
func precedes(a, b owner) int {
	return cmp.Or(
		cmp.Compare(b.m.precedence(), a.m.precedence()),
		cmp.Compare(b.m.Action.severity(), a.m.Action.severity()),
		cmp.Compare(a.rate(), b.rate()),
		cmp.Compare(a.m.ID, b.m.ID),
	)
}

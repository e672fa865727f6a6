package controller

import (
	"fmt"
	"time"

	"github.com/tidegate/tidegate/policy"
)

// maxMemory bounds the attacks remembered in one term. Two generations of half the size each make forgetting cheap:
// what was not heard of for a whole generation goes first.
const maxMemory = 200_000

type attackKey struct{ source, attackID string }

// seen is the last signal of an attack in this term.
type seen struct {
	seq     uint64
	digest  [32]byte
	verdict policy.Verdict
	index   policy.Index // of the State that it was judged on
}

// memory is what the leader has seen in this term: never logged, gone with the term. With it sequence numbers bind
// for signals that left no trace in the log, and repetitions are answered without judging again.
type memory struct {
	young, old map[attackKey]seen
	// reported is when an attack of the mitigation was last reported.
	reported map[policy.MitigationID]time.Time
}

func newMemory() *memory {
	return &memory{young: make(map[attackKey]seen), reported: make(map[policy.MitigationID]time.Time)}
}

func (m *memory) get(k attackKey) (seen, bool) {
	if s, ok := m.young[k]; ok {
		return s, true
	}
	s, ok := m.old[k]
	return s, ok
}

func (m *memory) put(k attackKey, s seen) {
	m.young[k] = s
	if len(m.young) >= maxMemory/2 {
		m.old, m.young = m.young, make(map[attackKey]seen)
	}
}

// merge takes over what a batch has seen, once the batch is committed.
func (m *memory) merge(batch *memory) {
	for k, s := range batch.young {
		m.put(k, s)
	}
	for id, at := range batch.reported {
		m.reported[id] = at
	}
}

// renewals returns the mitigations to be renewed: under half of their lifetime, and reported since they are.
func (m *memory) renewals(s *policy.State, now time.Time) []policy.MitigationID {
	var ids []policy.MitigationID
	for id, at := range m.reported {
		mit, ok := s.Mitigation(id)
		if !ok || mit.Phase != policy.Active || mit.Origin != policy.FromPolicy {
			delete(m.reported, id)
			continue
		}
		half := mit.Expires.Add(-mit.Lifetime / 2)
		if now.After(half) && !at.Before(half) {
			ids = append(ids, id)
		}
	}
	return ids
}

// judge answers a signal from what was seen in this term, if that is enough. fresh reports whether nothing has
// changed since the State with the index that seen.index names.
func (s seen) judge(sig *policy.Signal, digest [32]byte, st *policy.State, fresh bool) (policy.Verdict, bool) {
	switch {
	case sig.Seq < s.seq:
		return policy.Verdict{Kind: policy.Observed, Mitigation: s.verdict.Mitigation, Reason: policy.Reason{
			Code: policy.CodeStale,
			Text: fmt.Sprintf("attack %q of %s is at sequence number %d, %d is older", sig.AttackID, sig.Source, s.seq, sig.Seq),
		}}, true
	case sig.Seq > s.seq:
		return policy.Verdict{}, false
	case digest != s.digest:
		return policy.Verdict{Kind: policy.Refused, Reason: policy.Reason{
			Code: policy.CodeSeqConflict,
			Text: fmt.Sprintf("attack %q of %s already sent sequence number %d with another body: a change needs a higher number", sig.AttackID, sig.Source, sig.Seq),
		}}, true
	case s.verdict.Reason.Code == policy.CodeRepetition && s.verdict.Mitigation != 0:
		m, ok := st.Mitigation(s.verdict.Mitigation)
		return s.verdict, ok && m.Phase == policy.Active
	case s.verdict.Kind == policy.Refused || s.verdict.Kind == policy.Observed:
		return s.verdict, fresh && s.index == st.Index()
	}
	return policy.Verdict{}, false
}

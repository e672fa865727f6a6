package controller

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
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
	index   policy.Index // of the State that it was judged on; 0: of one within a batch, which is nobody's any more
}

// memory is what the leader has seen in this term: gone with the term, and logged only with a renewal. With it sequence
// numbers bind for signals that left no trace in the log, and repetitions are answered without judging again.
//
// After an election the numbers count that the log knows: those of the signals that changed something, or that were the
// last before a renewal. An end that was overtaken by a later signal, and by an election, is taken then; the attack's
// next signal starts a mitigation again.
type memory struct {
	young, old map[attackKey]seen
	// reported is what was last reported of an attack of the mitigation.
	reported map[policy.MitigationID]lastReport
	// incidents are what a batch adds to the conduct of detectors, watched in the term.
	incidents []incident
	watched   watch
	// told is what is reported, for whoever asks what an approval would do; nil within a batch.
	told *hearsay
}

// hearsay is when the attacks of mitigations were last reported to this node as the leader.
type hearsay struct {
	mu sync.Mutex // guards the field below
	at map[policy.MitigationID]time.Time
}

// begin forgets what was heard in an earlier term.
func (h *hearsay) begin() *hearsay {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at = map[policy.MitigationID]time.Time{}
	return h
}

// note remembers, and forgets what is too old to let a step be taken.
func (h *hearsay) note(reported map[policy.MitigationID]lastReport, now time.Time) {
	if h == nil || len(reported) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, r := range reported {
		h.at[id] = r.at
	}
	if len(h.at) > maxHearsay {
		maps.DeleteFunc(h.at, func(_ policy.MitigationID, at time.Time) bool { return now.Sub(at) > policy.EscalationFreshness })
	}
}

// last is when the attack of a mitigation was last reported; zero if it was not.
func (h *hearsay) last(id policy.MitigationID) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at[id]
}

// maxHearsay is how many mitigations may be remembered before those that are not reported any more are forgotten.
const maxHearsay = 20_000

// lastReport is when an attack of a mitigation was last reported, and how sure its detector was.
type lastReport struct {
	at         time.Time
	confidence float64
	source     string    // that detector
	tried      time.Time // when the next step of the mitigation was last asked for
}

func newMemory() *memory {
	return &memory{young: make(map[attackKey]seen), reported: make(map[policy.MitigationID]lastReport), watched: make(watch)}
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

// merge takes over what a batch of the time at has seen, once the batch is committed.
func (m *memory) merge(batch *memory, at time.Time) {
	m.watched.note(batch.incidents, at)
	m.told.note(batch.reported, at)
	for k, s := range batch.young {
		m.put(k, s)
	}
	for id, r := range batch.reported {
		r.tried = m.reported[id].tried
		m.reported[id] = r
	}
}

// renewals returns the mitigations to be renewed: under half of their lifetime, and reported since they are. With them
// go the newest sequence numbers of their attacks, of which the log knows nothing yet.
func (m *memory) renewals(s *policy.State, now time.Time) *policy.RenewRequest {
	r := &policy.RenewRequest{}
	for _, id := range slices.Sorted(maps.Keys(m.reported)) { // in one order, so that the same leader writes the same entry
		last := m.reported[id]
		mit, ok := s.Mitigation(id)
		if !ok || mit.Phase != policy.Active || mit.Origin != policy.FromPolicy {
			delete(m.reported, id)
			continue
		}
		half := mit.Expires.Add(-mit.Lifetime / 2)
		if now.After(half) && !last.at.Before(half) {
			r.IDs = append(r.IDs, id)
			r.Attacks = append(r.Attacks, m.heard(mit)...)
		}
	}
	return r
}

// escalateEvery is the least time between two requests for the next step of one mitigation: one that is refused is asked
// for again, as what stood in its way may be gone.
const escalateEvery = 10 * time.Second

// maxEscalations bounds how many mitigations one request asks a step for: the others are still due a second later.
const maxEscalations = 64

// escalations returns the mitigations whose next step is due and whose attack was reported in this term, not long ago.
func (m *memory) escalations(s *policy.State, now time.Time) *policy.EscalateRequest {
	r := &policy.EscalateRequest{}
	for id, last := range m.reported {
		mit, ok := s.Mitigation(id)
		if !ok {
			continue
		}
		due, ok := mit.StepDue()
		if !ok || now.Before(due) || now.Sub(last.at) > policy.EscalationFreshness || now.Before(last.tried.Add(escalateEvery)) {
			continue
		}
		r.Reports = append(r.Reports, policy.AttackReport{ID: id, At: last.at, Confidence: last.confidence, Source: last.source})
	}
	slices.SortFunc(r.Reports, func(a, b policy.AttackReport) int { return cmp.Compare(a.ID, b.ID) })
	r.Reports = r.Reports[:min(len(r.Reports), maxEscalations)]
	for _, a := range r.Reports {
		last := m.reported[a.ID]
		last.tried = now
		m.reported[a.ID] = last
	}
	return r
}

// heard returns the last signals of the mitigation's attacks that it answered.
func (m *memory) heard(mit *policy.Mitigation) []policy.Attack {
	var out []policy.Attack
	for _, c := range mit.Causes {
		if s, ok := m.get(attackKey{c.Source, c.AttackID}); ok && s.verdict.Kind == policy.Merged && s.verdict.Mitigation == mit.ID {
			out = append(out, policy.Attack{Source: c.Source, AttackID: c.AttackID, Seq: s.seq, Digest: s.digest})
		}
	}
	return out
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
		phase := policy.Active
		if s.verdict.Kind == policy.AwaitsApproval {
			phase = policy.Pending
		}
		m, ok := st.Mitigation(s.verdict.Mitigation)
		return s.verdict, ok && m.Phase == phase
	case s.verdict.Kind == policy.Refused || s.verdict.Kind == policy.Observed:
		return s.verdict, fresh && s.index == st.Index()
	}
	return policy.Verdict{}, false
}

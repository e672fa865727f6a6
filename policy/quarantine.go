package policy

import (
	"cmp"
	"fmt"
	"iter"
	"time"
)

// Quarantine says that a detector is not believed: its signals are observed only. What its signals started stays until
// the attack is over, of which the ends that it reports still count, or its lifetime is: its further reports renew
// nothing and escalate nothing.
type Quarantine struct {
	Source    string // the detector's name
	By        Principal
	Reason    string
	Since     time.Time
	Until     time.Time // zero: until it is released
	Automatic bool      // the leader did it by itself
}

// MaxQuarantines bounds how many detectors are in quarantine at a time.
const MaxQuarantines = 256

// PutQuarantine puts a detector into quarantine, or replaces the quarantine that it is in. State.Apply sets Since.
type PutQuarantine struct{ Quarantine Quarantine }

// EndQuarantine releases a detector; one that is in no quarantine is no error.
type EndQuarantine struct{ Source string }

func (*PutQuarantine) isChange() {}
func (*EndQuarantine) isChange() {}
func (*PutQuarantine) isRecord() {}

func (s *State) putQuarantine(q Quarantine) error {
	if q.Source == "" {
		return fmt.Errorf("cannot put quarantine without a source: %w", ErrBadChange)
	}
	s.quarantines.set([]byte(q.Source), &q)
	return nil
}

// Quarantines yields the quarantines, by the name of the detector.
func (s *State) Quarantines() iter.Seq[Quarantine] {
	return func(yield func(Quarantine) bool) {
		for q := range s.quarantines.values() {
			if !yield(*q) {
				return
			}
		}
	}
}

// QuarantineCount returns how many detectors are in quarantine.
func (s *State) QuarantineCount() int { return s.quarantines.n }

// Quarantined returns the quarantine that a detector is in at t.
func (s *State) Quarantined(source string, t time.Time) (Quarantine, bool) {
	q, ok := s.quarantines.get([]byte(source))
	if !ok || !q.Until.IsZero() && !t.Before(q.Until) {
		return Quarantine{}, false
	}
	return *q, true
}

// Sources yields the names of the detectors that started active mitigations, or are in quarantine, in no useful order but
// always the same.
func (s *State) Sources() iter.Seq[string] {
	return func(yield func(string) bool) {
		seen := map[string]bool{}
		for q := range s.quarantines.values() {
			if seen[q.Source] = true; !yield(q.Source) {
				return
			}
		}
		prefix := usageOfSource("")
		for k := range s.usage.counts.under([]byte(prefix)) {
			if name := string(k[len(prefix):]); !seen[name] && !yield(name) {
				return
			}
		}
	}
}

// QuarantineRequest puts a detector into quarantine. Asked by an operator, or with Automatic by the leader itself.
type QuarantineRequest struct {
	Source    string
	Duration  time.Duration // 0: until it is released
	Automatic bool
}

// ReleaseRequest ends the quarantine of a detector.
type ReleaseRequest struct{ Source string }

func (*QuarantineRequest) isRequest() {}
func (*ReleaseRequest) isRequest()    {}

func decideQuarantine(s *State, r *QuarantineRequest, e Entry) Decision {
	var vs violations
	vs.limit(r.Duration)
	if !isName(r.Source) {
		vs.add("source", "send the name of a detector as it stands in its certificate", "%q is not a name", clip(r.Source))
	}
	if len(vs) > 0 {
		return malformed(vs)
	}
	old, there := s.Quarantined(r.Source, e.At)
	if there && r.Automatic {
		return observe(CodeNothingToDo, 0, "%s is in quarantine already", r.Source)
	}
	if _, kept := s.quarantines.get([]byte(r.Source)); !kept && s.quarantines.n >= MaxQuarantines {
		return refusef(CodeMitigationLimit, "%d detectors are in quarantine, at most %d can be: release some", s.quarantines.n, MaxQuarantines)
	}
	q := Quarantine{Source: r.Source, By: e.By, Reason: e.Reason, Since: e.At, Automatic: r.Automatic}
	if r.Duration > 0 {
		q.Until = e.At.Add(r.Duration)
	}
	started, _ := s.StartedBy(r.Source)
	text := fmt.Sprintf("%s is in quarantine %s: its signals are observed only; %s that it started %s until the attack or the lifetime is over",
		r.Source, q.howLong(), plural(started, "active mitigation"), choose(started, "stays", "stay"))
	if there {
		text += fmt.Sprintf("; this takes the place of the quarantine by %s", old.By)
	}
	if !s.heardOf(r.Source) {
		text += fmt.Sprintf("; Caution: no detector of that name is known here, neither by a document nor by a signal: if it is misspelt, release %s and name the right one", r.Source)
	}
	return Decision{Verdict: Verdict{Kind: Mitigated, Reason: Reason{CodeSourceQuarantined, text}}, Changes: []Change{&PutQuarantine{q}}}
}

// heardOf reports whether a document names the detector, or a signal of it has left a trace.
func (s *State) heardOf(source string) bool {
	if _, ok := s.Detector(source); ok {
		return true
	}
	for range s.attacks.under(appendText(nil, source)) {
		return true
	}
	return false
}

func (q *Quarantine) howLong() string {
	if q.Until.IsZero() {
		return "until it is released"
	}
	return "until " + q.Until.UTC().Format(time.RFC3339)
}

func decideRelease(s *State, r *ReleaseRequest) Decision {
	q, ok := s.quarantines.get([]byte(r.Source))
	if !ok {
		return observe(CodeNothingToDo, 0, "%q is in no quarantine", clip(r.Source))
	}
	return Decision{
		Verdict: Verdict{Kind: Ended, Reason: Reason{CodeSourceReleased, fmt.Sprintf("%s is released from the quarantine by %s since %s: its signals count again",
			q.Source, q.By, q.Since.UTC().Format(time.RFC3339))}},
		Changes: []Change{&EndQuarantine{q.Source}},
	}
}

// inQuarantine observes a signal of a detector that is in quarantine. Ends come before it and count.
func inQuarantine(s *State, sig *Signal, att Attack, e Entry) (d Decision, yes bool) {
	q, yes := s.Quarantined(sig.Source, e.At)
	if !yes {
		return Decision{}, false
	}
	stays := ""
	id := MitigationID(0)
	if m, ok := s.Mitigation(att.Mitigation); ok && m.Phase == Active {
		id, stays = m.ID, fmt.Sprintf("; M%d stays until the attack ends or its lifetime is over", m.ID)
	}
	return observe(CodeSourceQuarantined, id, "%s is in quarantine by %s, %s (%s): its signals are observed only%s",
		sig.Source, q.By, q.howLong(), cmp.Or(q.Reason, "no reason is given"), stays), true
}

// believed reports whether a detector that is in no quarantine keeps m alive.
func (m *Mitigation) believed(s *State, t time.Time) bool {
	if s.quarantines.n == 0 || m.MoreCauses > 0 || len(m.Causes) == 0 {
		return true
	}
	for i := range m.Causes {
		if _, yes := s.Quarantined(m.Causes[i].Source, t); !yes {
			return true
		}
	}
	return false
}

// release adds the end of what is limited in time and due to the decision.
func (d *Decision) release(s *State, e Entry) (ended int) {
	before := len(d.Changes)
	if f := s.freeze; f != nil && !f.holds(e.At) {
		d.Changes = append(d.Changes, &EndFreeze{})
	}
	for q := range s.quarantines.values() {
		if _, still := s.Quarantined(q.Source, e.At); !still {
			d.Changes = append(d.Changes, &EndQuarantine{q.Source})
		}
	}
	return len(d.Changes) - before
}

// limitDue is when the first freeze or quarantine that is limited in time is over; false if there is none.
func (s *State) limitDue() (due time.Time, ok bool) {
	if f := s.freeze; f != nil && !f.Until.IsZero() {
		due, ok = f.Until, true
	}
	if s.quarantines.n == 0 {
		return due, ok
	}
	for q := range s.quarantines.values() {
		if !q.Until.IsZero() && (!ok || q.Until.Before(due)) {
			due, ok = q.Until, true
		}
	}
	return due, ok
}

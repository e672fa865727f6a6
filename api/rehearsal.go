package api

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tidegate/tidegate/policy"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// Rehearsal judges signals against documents without a cluster: by the very functions that read and judge them there. It
// announces nothing and keeps nothing. It is for one goroutine.
type Rehearsal struct {
	state  *policy.State
	now    time.Time
	parser *signalParser
	// reported is what was last heard of the attacks of a mitigation, as a leader keeps it.
	reported map[policy.MitigationID]policy.AttackReport
}

// rehearsed is the entry time at which a rehearsal begins. Nothing depends on it but what is printed.
func rehearsed() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// NewRehearsal makes one with the documents as the whole inventory. What is wrong with them is returned as violations;
// the sentence is set if they are sound one by one but not together.
func NewRehearsal(docs []*tidegatev1.Document) (*Rehearsal, []*tidegatev1.FieldViolation, string) {
	good, list := documentsFrom(docs)
	if len(list) > 0 {
		return nil, list, ""
	}
	r := &Rehearsal{state: policy.NewState(), now: rehearsed(), parser: newSignalParser(), reported: make(map[policy.MitigationID]policy.AttackReport)}
	d := r.decide("operator/rehearsal", &policy.ApplyRequest{Documents: good})
	switch {
	case len(d.Violations) > 0:
		for _, v := range d.Violations {
			list = append(list, &tidegatev1.FieldViolation{Document: refText(v.Document), Field: fieldName(v), Problem: v.Problem, Fix: v.Fix})
		}
		return nil, list, ""
	case d.Verdict.Kind == policy.Refused:
		return nil, nil, d.Verdict.Reason.Text
	}
	return r, nil, ""
}

// rehearsalTick is how often a rehearsal looks at what is due, while time passes.
const rehearsalTick = 10 * time.Second

// Pass lets time go by: what is past its lifetime or quiet time ends or goes a step down, and what is due takes a step.
func (r *Rehearsal) Pass(d time.Duration) {
	for end := r.now.Add(max(d, 0)); r.now.Before(end); {
		if r.now = r.now.Add(rehearsalTick); r.now.After(end) {
			r.now = end
		}
		r.lead()
	}
}

// lead does what a leader does by itself: it ends, renews and escalates.
func (r *Rehearsal) lead() {
	const leader = "member/rehearsal"
	r.decide(leader, &policy.ExpireRequest{})
	var renew policy.RenewRequest
	var step policy.EscalateRequest
	for _, id := range slices.Sorted(maps.Keys(r.reported)) {
		m, ok := r.state.Mitigation(id)
		if !ok || m.Phase != policy.Active {
			delete(r.reported, id)
			continue
		}
		if half := m.Expires.Add(-m.Lifetime / 2); r.now.After(half) && !r.reported[id].At.Before(half) {
			renew.IDs = append(renew.IDs, id)
		}
		step.Reports = append(step.Reports, r.reported[id])
	}
	if len(renew.IDs) > 0 {
		r.decide(leader, &renew)
	}
	if len(step.Reports) > 0 {
		r.decide(leader, &step)
	}
}

// Judge judges a signal of a detector as the leader would, lets it take a step that is due by that, and returns the
// mitigation that the verdict names as it is then, nil for none. A later call sees what earlier ones did.
func (r *Rehearsal) Judge(source string, in *tidegatev1.Signal) (*tidegatev1.Verdict, *tidegatev1.Mitigation) {
	v := &violations{}
	sig := r.parser.signal(v, source, in)
	if len(v.list) > 0 {
		return malformedVerdict(v.list), nil
	}
	d := r.decide(policy.Principal("detector/"+source), &policy.SignalRequest{Signal: sig})
	if k := d.Verdict.Kind; k == policy.Mitigated || k == policy.Merged {
		r.reported[d.Verdict.Mitigation] = policy.AttackReport{ID: d.Verdict.Mitigation, At: r.now, Confidence: sig.Confidence}
	}
	r.lead()
	if m, ok := r.state.Mitigation(d.Verdict.Mitigation); ok {
		return verdictProto(d.Verdict), mitigationProto(r.state, m)
	}
	return verdictProto(d.Verdict), nil
}

// Mitigation returns a mitigation as it is now, nil if there is none with that id.
func (r *Rehearsal) Mitigation(id string) *tidegatev1.Mitigation {
	for m := range r.state.Mitigations() {
		if formatID(m.ID) == id {
			return mitigationProto(r.state, m)
		}
	}
	return nil
}

// Now is the time of the rehearsal.
func (r *Rehearsal) Now() time.Time { return r.now }

// decide judges a request and carries out what follows, as an entry of its own.
func (r *Rehearsal) decide(by policy.Principal, req policy.Request) policy.Decision {
	e := policy.Entry{Index: r.state.Index() + 1, At: r.now, By: by, Reason: "rehearsal"}
	d := policy.Decide(r.state, req, e)
	if len(d.Changes) == 0 {
		return d
	}
	next, err := r.state.Apply(e, d.Changes)
	if err != nil {
		return policy.Decision{Verdict: policy.Verdict{Kind: policy.Refused, Reason: policy.Reason{
			Code: policy.CodeInternal, Text: fmt.Sprintf("the decision came out inconsistent: %v", err),
		}}}
	}
	r.state = next
	return d
}

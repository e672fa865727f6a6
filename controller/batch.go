package controller

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tidegate/tidegate/policy"
)

// batchBody is the size at which an entry with several items is closed. A single larger item gets its own.
const batchBody = 256 << 10

// errFull says that an item belongs into the next batch.
var errFull = errors.New("batch is full")

// batch is what goes into one entry: decided on a State that evolves provisionally with each item.
type batch struct {
	log    *slog.Logger
	packer *packer
	base   *policy.State // as committed
	state  *policy.State // as it will be
	index  policy.Index  // the lowest that the entry can get
	at     time.Time
	items  [][]byte
	size   int
	ahead  *step   // what the entry makes of base, while there is one item only
	term   *memory // of the term
	memory *memory // of this batch, merged into term when it is committed

	writes  []*write
	reports []reported
}

// reported is how far a report got in this batch.
type reported struct {
	*report
	from, upTo int
}

func newBatch(log *slog.Logger, p *packer, base *policy.State, at time.Time, term *memory) *batch {
	return &batch{
		log: log, packer: p, base: base, state: base, index: base.Index() + 1, at: at, term: term, memory: newMemory(),
	}
}

// decide judges a request on the state as it will be, and adds what it changes.
func (b *batch) decide(cmd Command, digest [32]byte) (policy.Decision, error) {
	e := policy.Entry{Index: b.index, At: b.at, By: cmd.By, Reason: cmd.Reason, RequestID: cmd.RequestID}
	d := policy.Decide(b.state, cmd.Request, e)
	if len(d.Changes) == 0 {
		return d, nil
	}
	return b.carryOut(cmd, digest, d)
}

// own carries out what the leader does by itself. The changes of such a decision do not depend on one another: when
// all together are too large for one entry, some are made now, and the rest is still due afterwards.
func (b *batch) own(cmd Command) error {
	d := policy.Decide(b.state, cmd.Request, policy.Entry{Index: b.index, At: b.at, By: cmd.By, Reason: cmd.Reason})
	for n := len(d.Changes); n > 0; n /= 2 {
		part := d
		part.Changes = d.Changes[:n]
		done, err := b.carryOut(cmd, [32]byte{}, part)
		if err != nil || done.Verdict.Reason.Code != policy.CodeTooLarge {
			return err
		}
	}
	return nil
}

// carryOut adds what a decision changes.
func (b *batch) carryOut(cmd Command, digest [32]byte, d policy.Decision) (policy.Decision, error) {
	e := policy.Entry{Index: b.index, At: b.at, By: cmd.By, Reason: cmd.Reason, RequestID: cmd.RequestID}
	changes := d.Changes
	if cmd.RequestID != "" {
		ids := list(d.Mitigations, func(m *policy.Mitigation) policy.MitigationID { return m.ID })
		changes = append(changes[:len(changes):len(changes)], &policy.PutResult{Result: policy.Result{
			RequestID: cmd.RequestID, By: cmd.By, Digest: digest, Verdict: d.Verdict, Mitigations: ids,
		}})
	}
	err := b.add(e, changes)
	switch {
	case errors.Is(err, errFull):
		return policy.Decision{}, err
	case errors.Is(err, ErrTooLarge):
		return refusal(policy.CodeTooLarge, err), nil
	case err != nil:
		b.log.Error("a decision cannot be carried out and is thrown away", "error", err)
		return refusal(policy.CodeInternal, errors.New("the decision came out inconsistent and was thrown away; the log of the leader says more")), nil
	}
	return d, nil
}

func refusal(code policy.ReasonCode, err error) policy.Decision {
	return policy.Decision{Verdict: policy.Verdict{
		Kind: policy.Refused, Reason: policy.Reason{Code: code, Text: err.Error()},
	}}
}

// add appends an item, or leaves the batch as it was.
func (b *batch) add(e policy.Entry, changes []policy.Change) error {
	packed, err := packItem(item{by: e.By, reason: e.Reason, requestID: e.RequestID, changes: changes})
	if err != nil {
		return err
	}
	if len(b.items) == 0 {
		return b.addFirst(packed)
	}
	if b.size+len(packed) > batchBody {
		return errFull
	}
	next, err := b.state.Apply(e, changes)
	if err != nil {
		return err
	}
	b.ahead, b.state = nil, next
	b.items = append(b.items, packed)
	b.size += len(packed)
	return nil
}

// addFirst makes an entry of the first item, of any size, and tries it as the FSM will. Mostly no other item follows, and
// then raft gets what is ready, and nothing is left to compute while it writes.
func (b *batch) addFirst(packed []byte) error {
	items := [][]byte{packed}
	data, err := b.packer.pack(b.base.Index(), b.at, items)
	if err != nil {
		return err
	}
	next, _, err := b.packer.step(b.base, uint64(b.index), data)
	if err != nil {
		return err
	}
	b.ahead = &step{from: b.base, index: uint64(b.index), data: data, next: next}
	b.state, b.items, b.size = next, items, len(packed)
	return nil
}

// write decides a write; false: it belongs into the next batch.
func (b *batch) write(w *write) bool {
	out, err := b.outcome(w)
	if err != nil {
		return false
	}
	w.out = out
	b.writes = append(b.writes, w)
	return true
}

func (b *batch) outcome(w *write) (Outcome, error) {
	if w.cmd.RequestID != "" {
		if r, ok := b.state.Result(w.cmd.RequestID); ok {
			return repeated(b.state, r, w), nil
		}
	}
	cmd := w.cmd
	cmd.Request = b.informed(cmd.Request)
	d, err := b.decide(cmd, w.digest)
	if err == nil && w.cmd.RequestID != "" && len(d.Changes) == 0 && d.Verdict.Kind != policy.Refused {
		// The answer that nothing needed to be done is one that a retry must get too, whatever was done since.
		w.noted = true
		d, err = b.carryOut(w.cmd, w.digest, d)
	}
	if err != nil {
		return Outcome{}, err
	}
	return Outcome{Decision: d, Index: b.base.Index()}, nil
}

// informed adds to an approval what was reported of the attack in this term: a step is taken only for one that goes on.
func (b *batch) informed(r policy.Request) policy.Request {
	a, ok := r.(*policy.ApproveRequest)
	if !ok || a.Mitigation == 0 {
		return r
	}
	last, ok := b.memory.reported[a.Mitigation]
	if !ok {
		last = b.term.reported[a.Mitigation]
	}
	cp := *a
	cp.Report = &policy.AttackReport{ID: a.Mitigation, At: last.at, Confidence: last.confidence, Source: last.source}
	return &cp
}

// repeated answers a write whose request id is known.
func repeated(s *policy.State, r policy.Result, w *write) Outcome {
	if r.Digest != w.digest || r.By != w.cmd.By {
		return Outcome{Index: s.Index(), Decision: refusal(policy.CodeRequestIDReused,
			fmt.Errorf("request id %q was used for another request at index %d", string(r.RequestID), r.Index))}
	}
	out := Outcome{Repeated: true, Index: r.Index, Decision: policy.Decision{Verdict: r.Verdict}}
	for _, id := range r.Mitigations {
		if m, ok := s.Mitigation(id); ok {
			out.Decision.Mitigations = append(out.Decision.Mitigations, m)
		}
	}
	return out
}

// report judges the signals of r from where it stands; false: the rest belongs into the next batch.
func (b *batch) report(r *report) bool {
	done := r.next
	for ; done < len(r.signals); done++ {
		v, ok := b.signal(r.by, &r.signals[done])
		if !ok {
			break
		}
		r.verdicts[done] = v
	}
	b.reports = append(b.reports, reported{report: r, from: r.next, upTo: done})
	return done == len(r.signals)
}

func (b *batch) signal(by policy.Principal, sig *policy.Signal) (policy.Verdict, bool) {
	k := attackKey{sig.Source, sig.AttackID}
	s, ok := b.memory.get(k)
	if !ok {
		s, ok = b.term.get(k)
	}
	digest := policy.SignalDigest(*sig)
	if ok && !sig.Drill {
		if v, enough := s.judge(sig, digest, b.state, len(b.items) == 0); enough && b.believes(sig, v) {
			b.again(sig, v)
			return v, true
		}
	}
	var index policy.Index
	if len(b.items) == 0 {
		index = b.state.Index()
	}
	d, err := b.decide(Command{By: by, Request: &policy.SignalRequest{Signal: *sig}}, [32]byte{})
	if err != nil {
		return policy.Verdict{}, false
	}
	if len(d.Violations) > 0 || sig.Drill {
		return d.Verdict, true // without a trace: the sequence number is not used up
	}
	if code := d.Verdict.Reason.Code; !ok || code != s.verdict.Reason.Code {
		b.incident(sig, code) // an attack counts once for one answer
	}
	b.memory.put(k, seen{seq: sig.Seq, digest: digest, verdict: d.Verdict, index: index})
	if v := d.Verdict; v.Mitigation != 0 && (v.Kind == policy.Mitigated || v.Kind == policy.Merged) {
		b.memory.reported[v.Mitigation] = lastReport{at: b.at, confidence: sig.Confidence, source: sig.Source}
	}
	return d.Verdict, true
}

// again notes a signal that was answered from what was seen before.
func (b *batch) again(sig *policy.Signal, v policy.Verdict) {
	switch {
	case v.Reason.Code == policy.CodeSeqConflict:
		b.incident(sig, v.Reason.Code)
	case v.Reason.Code == policy.CodeRepetition && v.Mitigation != 0 && v.Kind == policy.Merged:
		b.memory.reported[v.Mitigation] = lastReport{at: b.at, confidence: sig.Confidence, source: sig.Source}
	}
}

// incident counts an answer for or against the detector that it was given to.
func (b *batch) incident(sig *policy.Signal, code policy.ReasonCode) {
	b.memory.incidents = append(b.memory.incidents, incident{sig.Source, code})
}

// believes reports whether what was answered before holds for a detector that may be in quarantine by now: then a
// repetition is none.
func (b *batch) believes(sig *policy.Signal, v policy.Verdict) bool {
	if v.Reason.Code != policy.CodeRepetition {
		return true
	}
	_, quarantined := b.state.Quarantined(sig.Source, b.at)
	return !quarantined
}

// answer tells everybody what was decided, now that it is committed in s.
func (b *batch) answer(s *policy.State) {
	b.term.merge(b.memory, b.at)
	for _, w := range b.writes {
		out := w.out
		if len(out.Decision.Changes) > 0 || w.noted {
			out.Index = s.Index()
			out.Decision.Mitigations = list(out.Decision.Mitigations, func(m *policy.Mitigation) *policy.Mitigation {
				if now, ok := s.Mitigation(m.ID); ok {
					return now
				}
				return m
			})
		} else if out.Repeated && out.Index > b.base.Index() {
			out.Index = s.Index() // the first of them is in this very batch
		}
		w.finish(out, nil)
	}
	for _, r := range b.reports {
		r.next = r.upTo
		if r.next == len(r.signals) {
			r.finish(nil)
		}
	}
}

// requestDigest identifies the content of a request.
func requestDigest(r policy.Request) (d [32]byte, err error) {
	h := sha256.New()
	fmt.Fprintf(h, "%T\n", r)
	if a, ok := r.(*policy.ApplyRequest); ok {
		for _, doc := range a.Documents { // interfaces: JSON would not tell a Customer from a Router
			if doc == nil {
				return d, errors.New("cannot use a nil document")
			}
			fmt.Fprintf(h, "%q\n", doc.Ref())
		}
	}
	if err := json.NewEncoder(h).Encode(r); err != nil {
		return d, fmt.Errorf("cannot identify request: %w", err)
	}
	return [32]byte(h.Sum(nil)), nil
}

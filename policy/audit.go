package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// AuditKept is how many records of the audit chain a State holds at least, once there were so many.
const AuditKept = 10_000

// auditRun is how many records are forgotten at a time. Runs end at sequence numbers that it divides, on every node.
const auditRun = 500

// maxAuditObjects bounds what one record names; the rest is counted.
const maxAuditObjects = 8

// auditVersion stands at the head of what is hashed. It changes when the way of hashing does, and never for records
// that were made before.
const auditVersion = "tidegate audit 1\n"

// AuditRecord is one link of the audit chain: an item of the log that changed the State, and who made it when and why.
// Hash covers every other field and, through Prev, all records before, so that none can be changed, removed or moved
// without a trace. All of it comes from the entry, so every node makes the same record, under any version.
type AuditRecord struct {
	Seq       uint64 // from 1, without a hole
	Index     Index  // of the entry; several records are the items of one batch
	At        time.Time
	By        Principal
	RequestID RequestID // empty for what the leader does by itself, and for signals
	Reason    string
	Kinds     []AuditKind // what the changes are, in the order in which each kind came first
	Objects   []string    // what they change, Kind/name, at most 8, each once
	More      int         // objects beyond those
	Digest    [32]byte    // SHA-256 of the item's octets as they stand in the log
	Prev      [32]byte    // Hash of the record before; zero for the first
	Hash      [32]byte
}

// AuditKind is a kind of change, by the name of its type here ("PutDocument"), and how many of it an item has.
type AuditKind struct {
	Kind  string
	Count int
}

// Sum returns the hash that r must have.
func (r *AuditRecord) Sum() [32]byte {
	b := make([]byte, 0, 256+len(r.Reason))
	b = append(b, auditVersion...)
	b = append(b, r.Prev[:]...)
	b = binary.AppendUvarint(b, r.Seq)
	b = binary.AppendUvarint(b, uint64(r.Index))
	b = appendTime(b, r.At)
	b = appendText(b, string(r.By))
	b = appendText(b, string(r.RequestID))
	b = appendText(b, r.Reason)
	b = binary.AppendUvarint(b, uint64(len(r.Kinds)))
	for _, k := range r.Kinds {
		b = binary.AppendUvarint(appendText(b, k.Kind), uint64(k.Count))
	}
	b = binary.AppendUvarint(b, uint64(len(r.Objects)))
	for _, o := range r.Objects {
		b = appendText(b, o)
	}
	b = binary.AppendUvarint(b, uint64(r.More))
	b = append(b, r.Digest[:]...)
	return sha256.Sum256(b)
}

// Follows reports whether r is the record right after prev; a nil prev stands for the begin of the chain. It does not
// check r's own hash: Sum does.
func (r *AuditRecord) Follows(prev *AuditRecord) bool {
	if prev == nil {
		return r.Seq == 1 && r.Prev == [32]byte{}
	}
	return r.Seq == prev.Seq+1 && r.Prev == prev.Hash
}

func (*AuditRecord) isRecord() {}

// BeginAudit begins the audit chain: its own item is the first record. A new cluster has it in its first entry. In one
// that is older than the chain an admin asks for it when every node runs a version that knows it: others would stop.
type BeginAudit struct{}

func (*BeginAudit) isChange() {}

// BeginAuditRequest asks for BeginAudit.
type BeginAuditRequest struct{}

func (*BeginAuditRequest) isRequest() {}

func decideBeginAudit(s *State) Decision {
	if _, on := s.AuditHead(); on {
		return Decision{Verdict: Verdict{Kind: Merged, Reason: Reason{CodeUnchanged, "the audit chain has begun already"}}}
	}
	return Decision{
		Verdict: Verdict{Kind: Merged, Reason: Reason{CodeApplied, "the audit chain begins"}},
		Changes: []Change{&BeginAudit{}},
	}
}

// auditTrail is the newest part of the chain. It is persistent: a longer one shares what it has with the shorter one,
// and two may grow from the same one, as happens when an entry is tried before it is committed.
type auditTrail struct {
	on   bool
	runs [][]*AuditRecord // full runs, the oldest first
	open *auditLink       // the newest of the run that is not full
	n    int              // records in all
}

// auditLink is a record and those before it in the same run.
type auditLink struct {
	*AuditRecord
	before *auditLink
	n      int // links up to this one
}

// last is the newest record; nil when there is none.
func (t *auditTrail) last() *AuditRecord {
	switch {
	case t.open != nil:
		return t.open.AuditRecord
	case len(t.runs) > 0:
		run := t.runs[len(t.runs)-1]
		return run[len(run)-1]
	}
	return nil
}

// add appends r, which must follow the last one.
func (t *auditTrail) add(r *AuditRecord) {
	link := &auditLink{AuditRecord: r, before: t.open, n: 1}
	if t.open != nil {
		link.n += t.open.n
	}
	t.open = link
	t.n++
	if r.Seq%auditRun != 0 {
		return
	}
	runs := slices.Clone(t.runs)
	if t.n-auditRun >= AuditKept && len(runs) > 0 {
		t.n -= len(runs[0])
		runs = runs[1:]
	}
	t.runs, t.open = append(runs, link.list()), nil
}

// list is the links up to l, the oldest first.
func (l *auditLink) list() []*AuditRecord {
	if l == nil {
		return nil
	}
	out := make([]*AuditRecord, l.n)
	for ; l != nil; l = l.before {
		out[l.n-1] = l.AuditRecord
	}
	return out
}

// noteAudit notes the item e if the chain has begun. An entry without a digest is none of the log: Decide tries changes
// that way.
func (s *State) noteAudit(e Entry, cs []Change) {
	if !s.audit.on || e.Digest == [32]byte{} {
		return
	}
	r := &AuditRecord{
		Seq: 1, Index: s.index, At: s.at, By: e.By, RequestID: e.RequestID, Reason: e.Reason, Digest: e.Digest,
		Kinds: make([]AuditKind, 0, min(len(cs), 4)),
	}
	if last := s.audit.last(); last != nil {
		r.Seq, r.Prev = last.Seq+1, last.Hash
	}
	for _, c := range cs {
		r.note(c)
	}
	r.Hash = r.Sum()
	s.audit.add(r)
}

// note adds what a change is and what it changes.
func (r *AuditRecord) note(c Change) {
	kind := reflect.TypeOf(c).Elem().Name()
	if i := slices.IndexFunc(r.Kinds, func(k AuditKind) bool { return k.Kind == kind }); i >= 0 {
		r.Kinds[i].Count++
	} else {
		r.Kinds = append(r.Kinds, AuditKind{kind, 1})
	}
	o := auditObject(c)
	switch {
	case o == "":
	case len(r.Objects) == maxAuditObjects:
		r.More++
	case !slices.Contains(r.Objects, o):
		r.Objects = append(r.Objects, o)
	}
}

// auditObject names what a change is about. What a kind of change is called here stays as it is for ever, since it is
// part of what is hashed. A later kind of change says so by itself, from its first day on.
func auditObject(c Change) string {
	switch c := c.(type) {
	case *PutDocument:
		ref := refOf(c.Document)
		return string(ref.Kind) + "/" + ref.Name
	case *DeleteDocument:
		return string(c.Ref.Kind) + "/" + c.Ref.Name
	case *PutMitigation:
		return mitigationObject(c.Mitigation.ID)
	case *EndMitigation:
		return mitigationObject(c.ID)
	case *PutAttack:
		return "Attack/" + c.Attack.Source + "/" + c.Attack.AttackID
	case *PutQuarantine:
		return "Detector/" + c.Quarantine.Source
	case *EndQuarantine:
		return "Detector/" + c.Source
	case interface{ auditObject() string }:
		return c.auditObject()
	}
	return ""
}

func mitigationObject(id MitigationID) string {
	return "Mitigation/M" + strconv.FormatUint(uint64(id), 10)
}

// AuditOutcome says what the item of a record did, as far as the State remembers it: the reason code of the answer to the
// write, for a day; else what happened to the mitigations and orders that the record names. Empty if that is not known. It
// is for people to read, and no part of the chain.
func (s *State) AuditOutcome(r *AuditRecord) string {
	if r.RequestID != "" {
		if res, ok := s.Result(r.RequestID); ok && res.Index == r.Index {
			return string(res.Verdict.Reason.Code)
		}
	}
	var out []string
	note := func(what string) {
		if what != "" && !slices.Contains(out, what) {
			out = append(out, what)
		}
	}
	for _, o := range r.Objects {
		kind, name, _ := strings.Cut(o, "/")
		if len(name) < 2 {
			continue
		}
		id, err := strconv.ParseUint(name[1:], 10, 64)
		if err != nil {
			continue
		}
		switch kind {
		case "Mitigation":
			if m, ok := s.Mitigation(MitigationID(id)); ok {
				note(m.outcomeAt(r.Index))
			}
		case "Approval":
			if a, ok := s.Order(ApprovalID(id)); ok && a.Changed == r.Index {
				note(string(a.Status))
			}
		}
	}
	return strings.Join(out, " ")
}

// outcomeAt is what last happened to m in an entry.
func (m *Mitigation) outcomeAt(i Index) string {
	if m.Phase == Over && m.Changed == i {
		return string(m.End)
	}
	for _, ev := range slices.Backward(m.History) {
		if ev.Index == i {
			return string(ev.What)
		}
	}
	return ""
}

// AuditHead returns the newest record of the audit chain, and whether the chain has begun.
func (s *State) AuditHead() (head *AuditRecord, begun bool) { return s.audit.last(), s.audit.on }

// AuditFrom yields the records from a sequence number on that the State still holds, in order.
func (s *State) AuditFrom(seq uint64) iter.Seq[*AuditRecord] {
	return func(yield func(*AuditRecord) bool) {
		for _, run := range s.audit.runs {
			if run[len(run)-1].Seq < seq {
				continue
			}
			for _, r := range run[max(int64(seq)-int64(run[0].Seq), 0):] {
				if !yield(r) {
					return
				}
			}
		}
		if s.audit.open == nil || s.audit.open.Seq < seq {
			return
		}
		for _, r := range s.audit.open.list() {
			if r.Seq >= seq && !yield(r) {
				return
			}
		}
	}
}

// auditRecords yields the records for Records, and reports whether more is wanted.
func (s *State) auditRecords(yield func(Record) bool) bool {
	for r := range s.AuditFrom(0) {
		if !yield(r) {
			return false
		}
	}
	return true
}

// addAudit restores a record. A chain that does not hold is refused: whoever changed a snapshot changed history.
func (b *restorer) addAudit(r *AuditRecord) error {
	if r == nil || r.Seq == 0 || r.Hash != r.Sum() {
		return fmt.Errorf("audit record does not have the hash that it states: %w", ErrBadChange)
	}
	last := b.s.audit.last()
	if last != nil && !r.Follows(last) {
		return fmt.Errorf("audit record %d does not follow record %d: %w", r.Seq, last.Seq, ErrBadChange)
	}
	b.s.audit.on = true
	b.s.audit.add(r)
	return nil
}

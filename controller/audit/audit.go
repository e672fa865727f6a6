// Package audit keeps the audit chain in files, one directory on each node, and checks such files. It owns the form of
// a line, the rotation of files, the counting of refusals, and what a torn or a changed file means. The chain itself is
// made in package policy, on every node alike; this package only writes down what the State holds.
//
// A file is JSON lines. Each line holds its number in the file ("n") and, as its last field, "line": the SHA-256 of the
// line field of the line before and of this line up to that field. So no line can be changed, removed, added or moved
// without a trace in the file. Records have besides the hash of the cluster's chain, which every other node knows: a
// file that was written anew from some line on agrees with itself and not with the cluster.
//
// Callers are cmd/node, which runs a Writer, and `tidegate audit`, which verifies files and writes exports.
package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tidegate/tidegate/policy"
)

// The kinds of line.
const (
	kindBegin    = "begin"    // of a file
	kindRecord   = "record"   // of the chain
	kindGap      = "gap"      // records that this file does not have
	kindRefusals = "refusals" // calls of one principal that this node refused in one minute
)

// maxLine bounds one line, in octets: a reason has at most 1,000 characters, names are short.
const maxLine = 64 << 10

// Digest is a SHA-256, in hexadecimal digits in a file.
type Digest [32]byte

// MarshalText implements encoding.TextMarshaler.
func (d Digest) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, d[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Digest) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(d)) {
		return fmt.Errorf("cannot read digest of %d digits, want %d", len(text), hex.EncodedLen(len(d)))
	}
	_, err := hex.Decode(d[:], text)
	return err
}

// String returns the hexadecimal digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// head is what every line begins with.
type head struct {
	Kind string `json:"kind"`
	N    uint64 `json:"n"` // from 1
}

// Begin is the first line of a file.
type Begin struct {
	head
	Cluster string    `json:"cluster"`
	Node    string    `json:"node"`
	At      time.Time `json:"at"`
	After   Digest    `json:"after"`         // the line field of the last line of the file before; zero for none
	Seq     uint64    `json:"seq"`           // of the last record before this file; 0: none, or it is not known
	Hash    Digest    `json:"hash"`          // of that record
	Why     string    `json:"why,omitempty"` // why the file before was not continued, if not for its size
}

// recordLine is a policy.AuditRecord.
type recordLine struct {
	head
	Seq       uint64    `json:"seq"`
	Index     uint64    `json:"index"`
	At        time.Time `json:"at"`
	By        string    `json:"by"`
	RequestID string    `json:"request_id,omitempty"`
	Reason    string    `json:"reason,omitempty"`
	Changes   []change  `json:"changes"`
	Objects   []string  `json:"objects,omitempty"`
	More      int       `json:"more,omitempty"`
	Digest    Digest    `json:"digest"`
	Prev      Digest    `json:"prev"`
	Hash      Digest    `json:"hash"`
}

type change struct {
	Kind  string `json:"kind"`
	Count int    `json:"count"`
}

// Gap is a stretch of records that a file lacks.
type Gap struct {
	head
	From uint64    `json:"from"`
	To   uint64    `json:"to"`
	At   time.Time `json:"at"`
	Why  string    `json:"why"`
}

// Refusal is how often a principal was refused with one code in one minute.
type Refusal struct {
	head
	Minute time.Time `json:"minute"`
	By     string    `json:"by"`
	Code   string    `json:"code"`
	Count  int       `json:"count"`
}

func lineOf(r *policy.AuditRecord) *recordLine {
	out := &recordLine{
		Seq: r.Seq, Index: uint64(r.Index), At: r.At.UTC(), By: string(r.By), RequestID: string(r.RequestID), Reason: r.Reason,
		Objects: r.Objects, More: r.More, Digest: r.Digest, Prev: r.Prev, Hash: r.Hash, Changes: []change{},
	}
	for _, k := range r.Kinds {
		out.Changes = append(out.Changes, change{k.Kind, k.Count})
	}
	return out
}

func (l *recordLine) record() *policy.AuditRecord {
	r := &policy.AuditRecord{
		Seq: l.Seq, Index: policy.Index(l.Index), At: l.At.UTC(), By: policy.Principal(l.By), RequestID: policy.RequestID(l.RequestID),
		Reason: l.Reason, Objects: l.Objects, More: l.More, Digest: l.Digest, Prev: l.Prev, Hash: l.Hash,
	}
	for _, c := range l.Changes {
		r.Kinds = append(r.Kinds, policy.AuditKind{Kind: c.Kind, Count: c.Count})
	}
	return r
}

// Encoder writes the lines of one file.
type Encoder struct {
	w    io.Writer
	n    uint64
	last Digest // the line field of the last line
	size int64
}

// NewEncoder returns the Encoder of a new file on w, whose first line is b.
func NewEncoder(w io.Writer, b Begin) (*Encoder, error) {
	e := &Encoder{w: w}
	b.At = b.At.UTC()
	return e, e.put(kindBegin, &b.head, &b)
}

// Record writes a record of the chain.
func (e *Encoder) Record(r *policy.AuditRecord) error {
	l := lineOf(r)
	return e.put(kindRecord, &l.head, l)
}

// Gap writes that records are missing here.
func (e *Encoder) Gap(g Gap) error { return e.put(kindGap, &g.head, &g) }

// Refusal writes a count of refusals.
func (e *Encoder) Refusal(r Refusal) error { return e.put(kindRefusals, &r.head, &r) }

// tail is the end of each line before its line feed: ,"line":"…"}.
const tailLength = len(`,"line":"`) + 2*sha256.Size + len(`"}`)

func (e *Encoder) put(kind string, h *head, v any) error {
	h.Kind, h.N = kind, e.n+1
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("cannot encode audit line: %w", err)
	}
	body := bytes.TrimSuffix(buf.Bytes(), []byte("}\n"))
	sum := link(e.last, body)
	line := append(append(append([]byte{}, body...), `,"line":"`...), sum.String()...)
	line = append(line, "\"}\n"...)
	if len(line) > maxLine {
		return fmt.Errorf("cannot write audit line of %d octets: at most %d", len(line), maxLine)
	}
	if _, err := e.w.Write(line); err != nil {
		return fmt.Errorf("cannot write audit line: %w", err)
	}
	e.n, e.last, e.size = e.n+1, sum, e.size+int64(len(line))
	return nil
}

// link is the line field of a line: of the field of the line before and of the line up to its own field.
func link(before Digest, body []byte) Digest {
	h := sha256.New()
	h.Write(before[:])
	h.Write(body)
	return Digest(h.Sum(nil))
}

// split takes the line field off a line.
func split(line []byte) (body []byte, field Digest, err error) {
	cut := len(line) - tailLength
	if cut < 0 || !bytes.HasPrefix(line[cut:], []byte(`,"line":"`)) || !bytes.HasSuffix(line, []byte(`"}`)) {
		return nil, field, errors.New("does not end in its line field")
	}
	digits := line[cut+len(`,"line":"`) : len(line)-len(`"}`)]
	return line[:cut], field, field.UnmarshalText(digits)
}

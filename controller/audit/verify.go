package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/tidegate/tidegate/policy"
)

// maxProblems bounds how many problems a Report lists; one change may break many lines after it.
const maxProblems = 20

// Problem is something in a file that the Writer did not write so.
type Problem struct {
	File string // as given
	Line int    // from 1
	Text string
}

// String returns FILE:LINE: text.
func (p Problem) String() string { return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text) }

// Report is what Verify found in one file, or in several that follow each other.
type Report struct {
	Lines    int
	Records  int
	Refused  int // refusals that were counted
	First    *policy.AuditRecord
	Last     *policy.AuditRecord
	Begin    Begin // of the first file
	Gaps     []Gap
	Problems []Problem // the first ones
	More     int       // problems beyond those
	// Torn says that the last line of the last file has no end: the node was stopped in the middle of writing it, or
	// somebody cut the file.
	Torn bool

	end   Digest // line field of the last line
	seq   uint64 // of the last record that is known to be before, in this file or by its begin
	hash  Digest
	whole int64 // octets up to the end of the last whole line
}

// OK reports whether nothing was changed, removed or moved, and nothing is missing between the first record and the
// last one. What is missing at the end only the cluster knows.
func (r *Report) OK() bool { return len(r.Problems) == 0 && len(r.Gaps) == 0 && !r.Torn }

func (r *Report) problem(file string, line int, format string, args ...any) {
	if len(r.Problems) == maxProblems {
		r.More++
		return
	}
	r.Problems = append(r.Problems, Problem{file, line, fmt.Sprintf(format, args...)})
}

// Verify checks files that follow each other, in that order: each line against the one before, each record against its
// own hash and the record before. A file that does not continue the one before is a problem. With each record it
// calls see, which may be nil. Its error is one of reading; what is wrong with the content stands in the Report.
func Verify(see func(*policy.AuditRecord), files ...File) (*Report, error) {
	out := &Report{}
	for i, f := range files {
		v := verifier{Report: out, file: f.Name, see: see, first: i == 0}
		if out.Torn {
			out.problem(files[i-1].Name, out.Lines, "the last line is cut off, and another file follows")
			out.Torn = false
		}
		if err := v.run(f.Data); err != nil {
			return out, fmt.Errorf("cannot read %q: %w", f.Name, err)
		}
	}
	return out, nil
}

// File is a file to verify.
type File struct {
	Name string
	Data io.Reader
}

type verifier struct {
	*Report
	file  string
	see   func(*policy.AuditRecord)
	first bool // of the files

	line      int
	before    Digest // line field of the line before
	endBefore Digest // line field of the last line of the file before
}

func (v *verifier) run(in io.Reader) error {
	r := bufio.NewReaderSize(in, maxLine+1)
	v.whole, v.endBefore = 0, v.end
	for {
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && len(line) == 0:
			if v.line == 0 {
				v.problem(v.file, 1, "the file is empty")
			}
			return nil
		case errors.Is(err, io.EOF):
			v.Torn = true
			return nil
		case errors.Is(err, bufio.ErrBufferFull):
			v.problem(v.file, v.line+1, "the line has more than %d octets", maxLine)
			return nil
		case err != nil:
			return err
		}
		v.line++
		v.Lines++
		v.whole += int64(len(line))
		v.check(bytes.TrimSuffix(line, []byte("\n")))
	}
}

// check checks one line. The line after a broken one is compared with what the broken one states, so that one change is
// one problem.
func (v *verifier) check(line []byte) {
	body, field, err := split(line)
	if err != nil {
		v.problem(v.file, v.line, "was changed: it %v", err)
		return
	}
	before := v.before
	v.before, v.end = field, field
	whole := append(append([]byte{}, body...), '}')
	var h head
	if err := json.Unmarshal(whole, &h); err != nil {
		v.problem(v.file, v.line, "was changed: %v", err)
		return
	}
	err = v.read(h.Kind, whole)
	switch { // one change is one problem
	case h.N != uint64(v.line):
		v.problem(v.file, v.line, "states that it is line %d: lines before it were removed, added or moved", h.N)
	case v.line == 1 && h.Kind != kindBegin:
		v.problem(v.file, v.line, "is not the begin of a file: the lines before it were removed")
	case err != nil:
		v.problem(v.file, v.line, "%v", err)
	case link(before, body) != field:
		v.problem(v.file, v.line, "was changed, or the line before it was")
	}
}

func (v *verifier) read(kind string, line []byte) error {
	switch kind {
	case kindBegin:
		var b Begin
		return errors.Join(strict(line, &b), v.begin(b))
	case kindRecord:
		var l recordLine
		if err := strict(line, &l); err != nil {
			return err
		}
		return v.record(l.record())
	case kindGap:
		var g Gap
		if err := strict(line, &g); err != nil {
			return err
		}
		if g.From != v.seq+1 || g.To < g.From {
			return fmt.Errorf("states that records %d to %d are missing after record %d", g.From, g.To, v.seq)
		}
		v.Gaps = append(v.Gaps, g)
		v.seq, v.hash = g.To, Digest{}
		return nil
	case kindRefusals:
		var r Refusal
		if err := strict(line, &r); err != nil {
			return err
		}
		v.Refused += r.Count
		return nil
	}
	return fmt.Errorf("is of the unknown kind %q", kind)
}

func strict(line []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("was changed: %w", err)
	}
	return nil
}

func (v *verifier) begin(b Begin) error {
	if v.line != 1 {
		return errors.New("is the begin of a file, in the middle of one")
	}
	seq, hash := v.seq, v.hash
	v.seq, v.hash = b.Seq, b.Hash
	if v.first {
		v.Begin = b
		return nil
	}
	if b.Why != "" {
		return nil // it says itself that it does not continue the file before
	}
	if b.After != v.endBefore {
		return errors.New("does not continue the file before: lines at its end were removed or changed, or a file is missing")
	}
	if b.Seq != seq || b.Hash != hash && hash != (Digest{}) {
		return fmt.Errorf("begins after record %d, and the file before ends with record %d", b.Seq, seq)
	}
	return nil
}

func (v *verifier) record(r *policy.AuditRecord) error {
	seq, hash := v.seq, v.hash
	v.seq, v.hash = r.Seq, r.Hash
	v.Records++
	if v.First == nil {
		v.First = r
	}
	v.Last = r
	if v.see != nil {
		v.see(r)
	}
	switch {
	case r.Hash != r.Sum():
		return fmt.Errorf("record %d was changed: it does not have the hash that it states", r.Seq)
	case r.Seq != seq+1:
		return fmt.Errorf("record %d follows record %d: records were removed, added or moved", r.Seq, seq)
	case seq == 0 && r.Prev != [32]byte{}, hash != (Digest{}) && Digest(r.Prev) != hash:
		return fmt.Errorf("record %d does not follow record %d of this file: one of them was changed", r.Seq, seq)
	}
	return nil
}

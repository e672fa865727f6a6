package output

import (
	"fmt"
	"strings"

	"github.com/tidegate/tidegate/controller/audit"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// Audit prints records of the audit chain.
func (p *Printer) Audit(r *pb.AuditServiceListResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	t := &table{head: []string{"SEQ", "AT", "BY", "CHANGES", "OBJECTS", "REASON"}, empty: "No records."}
	for _, rec := range r.GetRecords() {
		var kinds []string
		for _, c := range rec.GetChanges() {
			text := c.GetKind()
			if c.GetCount() > 1 {
				text += fmt.Sprintf("*%d", c.GetCount())
			}
			kinds = append(kinds, text)
		}
		if rec.GetOutcome() != "" {
			kinds = append(kinds, "("+rec.GetOutcome()+")")
		}
		objects := strings.Join(rec.GetObjects(), " ")
		if rec.GetMore() > 0 {
			objects += fmt.Sprintf(" +%d", rec.GetMore())
		}
		t.add(plainCells(fmt.Sprint(rec.GetSeq()), p.clock(rec.GetAt()), rec.GetBy(), strings.Join(kinds, " "), orDash(cut(objects, 60)), orDash(cut(rec.GetReason(), 60)))...)
	}
	p.table(t)
	switch {
	case r.GetNewest() == 0:
		p.warn(yellow, `This cluster is older than the audit records and has none: "tidegate audit begin" begins them when every node runs this version.`)
	case r.GetMore():
		p.Sentence("There is more: --limit, --since and --by say what is shown.")
	}
	if r.GetOldest() > 1 {
		p.Sentence("The state holds records from %d on; those before stand in the nodes' files.", r.GetOldest())
	}
	p.stale(r.GetRead())
	return nil
}

// AuditVerified prints what a node found in its records and, with seq above 0, of the record that a file ends with. It
// reports whether all is in order.
func (p *Printer) AuditVerified(r *pb.VerifyResponse, seq uint64) (ok bool, err error) {
	match, good := auditMatch(r, seq)
	ok = good && r.GetProblem() == ""
	if done, err := p.message(r); done {
		return ok, err
	}
	if r.GetHead() == nil {
		p.Sentence("The cluster has no audit records yet.")
		return ok, nil
	}
	p.line("cluster", fmt.Sprintf("%s of %d checked, from %d on; the newest was made at %s", count(int(r.GetChecked()), "record"), r.GetHead().GetSeq(), r.GetOldest(), p.clock(r.GetHead().GetAt())))
	p.line("hash", r.GetHead().GetHash())
	if r.GetProblem() != "" {
		p.toned("problem", cell{r.GetProblem(), red})
	}
	file := fmt.Sprintf("written up to record %d", r.GetFileSeq())
	if r.GetFileProblem() != "" {
		p.toned("file of "+r.GetRead().GetNode(), cell{file + "; " + r.GetFileProblem(), red})
	} else {
		p.line("file of "+r.GetRead().GetNode(), file)
	}
	if seq > 0 {
		t := green
		if !good {
			t = red
		}
		p.toned("compared", cell{match, t})
	}
	return ok, nil
}

func auditMatch(r *pb.VerifyResponse, seq uint64) (text string, ok bool) {
	head := r.GetHead().GetSeq()
	switch r.GetMatch() {
	case pb.AuditMatch_AUDIT_MATCH_SAME:
		if head > seq {
			return fmt.Sprintf("record %d is the cluster's; %s newer: copied before those, or cut off", seq, count(int(head-seq), "record")+" of the cluster are"), true
		}
		return fmt.Sprintf("record %d is the cluster's newest", seq), true
	case pb.AuditMatch_AUDIT_MATCH_OTHER:
		return fmt.Sprintf("record %d is NOT the cluster's: the file was written anew", seq), false
	case pb.AuditMatch_AUDIT_MATCH_TOO_OLD:
		return fmt.Sprintf("record %d is older than what the cluster holds (from %d on): compare with another node's file, or lines were cut off", seq, r.GetOldest()), false
	case pb.AuditMatch_AUDIT_MATCH_AHEAD:
		return fmt.Sprintf("the cluster has no record %d: its newest is %d", seq, head), false
	default:
		return "", true
	}
}

// AuditFiles prints what was found in files, and reports whether all is in order.
func (p *Printer) AuditFiles(r *audit.Report, allowGaps bool) (ok bool, err error) {
	ok = len(r.Problems) == 0 && !r.Torn && (allowGaps || len(r.Gaps) == 0)
	value := map[string]any{"ok": ok, "lines": r.Lines, "records": r.Records, "refusals": r.Refused, "torn": r.Torn, "gaps": r.Gaps, "problems": r.Problems}
	if r.Last != nil {
		value["first"], value["last"], value["hash"] = r.First.Seq, r.Last.Seq, audit.Digest(r.Last.Hash)
	}
	if done, err := p.Value(value); done {
		return ok, err
	}
	text := fmt.Sprintf("%s, %s", count(r.Lines, "line"), count(r.Records, "record"))
	if r.Last != nil {
		text += fmt.Sprintf(" from %d to %d", r.First.Seq, r.Last.Seq)
	}
	p.line("file", text+fmt.Sprintf(", %s counted", count(r.Refused, "refusal")))
	for _, pr := range r.Problems {
		p.toned("changed", cell{pr.String(), red})
	}
	if r.More > 0 {
		p.line(" ", fmt.Sprintf("and %d more", r.More))
	}
	for _, g := range r.Gaps {
		p.toned("missing", cell{fmt.Sprintf("records %d to %d: %s", g.From, g.To, g.Why), yellow})
	}
	if r.Torn {
		p.toned("cut off", cell{"the last line has no end: the node was stopped while it wrote it, or somebody cut the file", red})
	}
	if ok {
		p.toned("order", cell{"no line was changed, removed, added or moved", green})
	}
	return ok, nil
}

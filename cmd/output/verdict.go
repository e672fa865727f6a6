package output

import (
	"fmt"
	"strings"

	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// VerdictWord is a verdict in one word.
func VerdictWord(k pb.VerdictKind) string {
	return strings.ToLower(strings.TrimPrefix(k.String(), "VERDICT_KIND_"))
}

func verdictTone(k pb.VerdictKind) tone {
	switch k {
	case pb.VerdictKind_VERDICT_KIND_MITIGATED, pb.VerdictKind_VERDICT_KIND_MERGED, pb.VerdictKind_VERDICT_KIND_ENDED:
		return green
	case pb.VerdictKind_VERDICT_KIND_REFUSED:
		return red
	case pb.VerdictKind_VERDICT_KIND_RETRY, pb.VerdictKind_VERDICT_KIND_PENDING:
		return yellow
	default:
		return normal
	}
}

// verdict prints the verdict of a card.
func (p *Printer) verdict(v *pb.Verdict) {
	if v == nil || v.GetKind() == pb.VerdictKind_VERDICT_KIND_UNSPECIFIED {
		return
	}
	word := VerdictWord(v.GetKind())
	if v.GetCode() != "" && v.GetKind() == pb.VerdictKind_VERDICT_KIND_REFUSED {
		word += " (" + v.GetCode() + ")"
	}
	p.toned("verdict", cell{word, verdictTone(v.GetKind())})
	p.line(" ", v.GetText())
	for _, f := range v.GetViolations() {
		if !strings.Contains(v.GetText(), f.GetProblem()) {
			p.line(" ", Violation(f))
		}
	}
}

// Violation is what is wrong with a field, and how to mend it, in one line.
func Violation(f *pb.FieldViolation) string {
	var parts []string
	for _, s := range []string{f.GetDocument(), f.GetField()} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	text := f.GetProblem()
	if len(parts) > 0 {
		text = strings.Join(parts, ": ") + ": " + text
	}
	if f.GetFix() != "" {
		text += "; " + f.GetFix()
	}
	return text
}

// Reported prints the verdicts on a batch of signals.
func (p *Printer) Reported(r *pb.ReportResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	for _, v := range r.GetVerdicts() {
		p.verdict(v)
		if v.GetMitigation() != "" {
			p.line("mitigation", v.GetMitigation())
		}
		if v.GetRetryAfter() != nil {
			p.line("retry after", short(v.GetRetryAfter()))
		}
	}
	return nil
}

// Vector is one line of `tidegate signal vectors`.
type Vector struct {
	Name        string `json:"name"`
	Families    string `json:"families,omitempty"`
	Description string `json:"description"`
}

// Vectors prints the known vectors.
func (p *Printer) Vectors(vs []Vector) error {
	if done, err := p.Value(vs); done {
		return err
	}
	t := &table{head: []string{"VECTOR", "FAMILIES", "WHAT IT IS"}, empty: "No vectors."}
	for _, v := range vs {
		t.add(cell{v.Name, bold}, cell{text: v.Families}, cell{text: v.Description})
	}
	p.table(t)
	return nil
}

// Version is what a program says of itself.
type Version struct {
	Version string `json:"version"`
	Go      string `json:"go"`
	System  string `json:"system"`
}

// Version prints the version of the program.
func (p *Printer) Version(v Version) error {
	if done, err := p.Value(v); done {
		return err
	}
	fmt.Fprintf(p.W, "tidegate %s (%s, %s)\n", v.Version, v.Go, v.System)
	return nil
}

// SignalPreviewed prints what a signal would lead to.
func (p *Printer) SignalPreviewed(r *pb.SignalServicePreviewResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	p.Sentence("Preview: nothing was changed.")
	p.verdict(r.GetVerdict())
	for _, m := range r.GetMitigations() {
		p.Card(m)
	}
	p.stale(r.GetRead())
	return nil
}

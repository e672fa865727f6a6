// Package rehearse reads cases of signals with the verdicts that somebody expects, and compares. It judges nothing itself:
// api.Rehearsal does, with the code of the leader. The command "tidegate policy test" calls it.
package rehearse

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/bgp/flowspec"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// Case is signals, one after the other, and what is expected of the last one.
type Case struct {
	Name    string
	Steps   []Step
	Expects Expectation
}

// Step is one signal, or time that passes.
type Step struct {
	After  time.Duration // since the step before
	Source string
	Signal *pb.Signal // nil: nothing is reported
}

// Expectation is what the verdict on the last signal must say. An empty field says nothing.
type Expectation struct {
	Verdict string   // mitigated, merged, observed, ended, refused
	Code    string   // stable code of the reason
	Text    string   // a part of the sentence
	Policy  string   // of the mitigation that the verdict names
	Step    int      // of its ladder, the first is 1; 0 says nothing
	Rules   []string // of that mitigation, in any order; an empty list, written as [], expects none
	rules   bool     // Rules was written
}

// Result is a case and how it came out.
type Result struct {
	Name    string   `json:"name"`
	Verdict string   `json:"verdict"`
	Code    string   `json:"code"`
	Text    string   `json:"text"`
	Policy  string   `json:"policy,omitempty"`
	Step    int      `json:"step,omitempty"` // of the policy's ladder; 0: it has none
	Rules   []string `json:"rules,omitempty"`
	// Differences are sentences; none: it came out as expected.
	Differences []string `json:"differences,omitempty"`
	// Mitigation is the one that the last verdict names, as it is at the end of the case, and Now the time then.
	Mitigation *pb.Mitigation `json:"-"`
	Now        time.Time      `json:"-"`
}

// written is a case as it stands in a file.
type written struct {
	Name    string           `yaml:"name"`
	Signals []map[string]any `yaml:"signals"`
	Expect  struct {
		Verdict string    `yaml:"verdict"`
		Code    string    `yaml:"code"`
		Text    string    `yaml:"text"`
		Policy  string    `yaml:"policy"`
		Step    int       `yaml:"step"`
		Rules   *[]string `yaml:"rules"`
	} `yaml:"expect"`
}

// maxCases bounds a file: it is read and judged whole.
const maxCases = 10_000

// Parse reads a file of cases: a YAML list. Unknown keys are errors; an error names the file, the case and the key.
func Parse(name string, text []byte) ([]Case, error) {
	loader, err := yaml.NewLoader(bytes.NewReader(text), yaml.WithKnownFields(true))
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", name, err)
	}
	var list []written
	switch err := loader.Load(&list); {
	case errors.Is(err, io.EOF), err == nil && len(list) == 0:
		return nil, fmt.Errorf("cannot use %s: there is no case in it; write a list of name, signals and expect", name)
	case err != nil:
		return nil, fmt.Errorf("cannot read %s: %w", name, err)
	case len(list) > maxCases:
		return nil, fmt.Errorf("cannot use %s: it has %d cases, at most %d", name, len(list), maxCases)
	}
	out := make([]Case, 0, len(list))
	seen := make(map[string]bool)
	for i, w := range list {
		if w.Name == "" || seen[w.Name] {
			return nil, fmt.Errorf("cannot use case %d of %s: give each case a name of its own", i+1, name)
		}
		seen[w.Name] = true
		c, err := w.parse()
		if err != nil {
			return nil, fmt.Errorf("cannot use case %q of %s: %w", w.Name, name, err)
		}
		out = append(out, c)
	}
	return out, nil
}

func (w *written) parse() (Case, error) {
	c := Case{Name: w.Name, Expects: Expectation{Verdict: w.Expect.Verdict, Code: w.Expect.Code, Text: w.Expect.Text, Policy: w.Expect.Policy, Step: w.Expect.Step}}
	if r := w.Expect.Rules; r != nil {
		c.Expects.Rules, c.Expects.rules = *r, true
	}
	switch e := c.Expects; {
	case len(w.Signals) == 0:
		return c, errors.New("it has no signals")
	case e.Verdict == "" && e.Code == "" && e.Text == "" && e.Policy == "" && e.Step == 0 && !e.rules:
		return c, errors.New("it expects nothing: write at least a verdict")
	case e.Verdict != "" && !slices.Contains(verdicts(), e.Verdict):
		return c, fmt.Errorf("%q is not a verdict: write one of %s", e.Verdict, strings.Join(verdicts(), ", "))
	}
	for i, raw := range w.Signals {
		s, err := step(raw, i)
		if err != nil {
			return c, fmt.Errorf("signal %d: %w", i+1, err)
		}
		c.Steps = append(c.Steps, s)
	}
	if c.Steps[0].Signal == nil {
		return c, errors.New("signal 1: it says only how much time passes: begin with a signal")
	}
	return c, nil
}

// step reads one signal: the fields of the API's Signal, with after and source besides. Attack, number and kind have
// defaults, since most cases are about one signal of one attack.
func step(raw map[string]any, n int) (Step, error) {
	s := Step{Source: "detector", Signal: &pb.Signal{}}
	fields := make(map[string]any, len(raw))
	for k, v := range raw {
		switch text, isText := v.(string); {
		case k == "source" && isText:
			s.Source = text
		case k == "after":
			d, err := time.ParseDuration(fmt.Sprint(v))
			if err != nil || d < 0 {
				return s, fmt.Errorf("after: %q is not a duration such as 90s", fmt.Sprint(v))
			}
			s.After = d
		case k == "kind" && isText:
			fields[k] = "SIGNAL_KIND_" + strings.ToUpper(text)
		default:
			fields[k] = v
		}
	}
	if _, waits := raw["after"]; waits && len(raw) == 1 {
		s.Signal = nil
		return s, nil
	}
	return s, fill(s.Signal, fields, n)
}

// fill reads the fields of the n-th signal of a case, counted from 0, and adds what was left out.
func fill(signal *pb.Signal, fields map[string]any, n int) error {
	encoded, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	if err := protojson.Unmarshal(encoded, signal); err != nil {
		return errors.New(strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\u00a0", " "), "proto: "))
	}
	if signal.GetAttackId() == "" {
		signal.AttackId = "attack"
	}
	if signal.GetSeq() == 0 {
		signal.Seq = uint64(n) + 1
	}
	if signal.GetKind() == pb.SignalKind_SIGNAL_KIND_UNSPECIFIED {
		signal.Kind = pb.SignalKind_SIGNAL_KIND_START
	}
	return nil
}

// verdicts are the words for the kinds of verdict.
func verdicts() []string {
	var out []string
	for n := int32(1); n < int32(len(pb.VerdictKind_name)); n++ {
		out = append(out, verdictWord(pb.VerdictKind(n)))
	}
	return out
}

func verdictWord(k pb.VerdictKind) string {
	return strings.ToLower(strings.TrimPrefix(k.String(), "VERDICT_KIND_"))
}

// Run judges each case on a rehearsal of its own. Its error says that the documents cannot be used.
func Run(cases []Case, begin func() (*api.Rehearsal, []*pb.FieldViolation, string)) ([]Result, error) {
	out := make([]Result, 0, len(cases))
	for i := range cases {
		r, wrong, text := begin()
		if len(wrong) > 0 {
			v := wrong[0]
			return nil, fmt.Errorf("cannot use the inventory: %s: %s: %s (%s), and %d more", v.GetDocument(), v.GetField(), v.GetProblem(), v.GetFix(), len(wrong)-1)
		}
		if text != "" {
			return nil, fmt.Errorf("cannot use the inventory: %s", text)
		}
		out = append(out, cases[i].run(r))
	}
	return out, nil
}

func (c *Case) run(r *api.Rehearsal) Result {
	var v *pb.Verdict
	var m *pb.Mitigation
	for _, s := range c.Steps {
		r.Pass(s.After)
		if s.Signal != nil {
			v, m = r.Judge(s.Source, s.Signal)
		}
	}
	if m != nil {
		m = r.Mitigation(m.GetId()) // as it is now
	}
	out := Result{
		Mitigation: m, Now: r.Now(),
		Name: c.Name, Verdict: verdictWord(v.GetKind()), Code: v.GetCode(), Text: v.GetText(), Policy: m.GetPolicy(), Step: int(m.GetStep()), Rules: m.GetRules(),
	}
	e := &c.Expects
	differ := func(what, want, got string) {
		out.Differences = append(out.Differences, fmt.Sprintf("%s: expected %q, got %q", what, want, got))
	}
	if e.Verdict != "" && e.Verdict != out.Verdict {
		differ("verdict", e.Verdict, out.Verdict)
	}
	if e.Code != "" && e.Code != out.Code {
		differ("code", e.Code, out.Code)
	}
	if !strings.Contains(out.Text, e.Text) {
		differ("text", e.Text, out.Text)
	}
	if e.Policy != "" && e.Policy != out.Policy {
		differ("policy", e.Policy, out.Policy)
	}
	if e.Step != 0 && e.Step != out.Step {
		out.Differences = append(out.Differences, fmt.Sprintf("step: expected %d, got %d", e.Step, out.Step))
	}
	if e.rules {
		out.Differences = append(out.Differences, compareRules(e.Rules, out.Rules)...)
	}
	return out
}

// compareRules says which rules are in one of the lists only. Rules that act on the same packets in the same way are the
// same, however they are written.
func compareRules(want, got []string) []string {
	var out []string
	left := slices.Clone(got)
	for _, w := range want {
		if i := slices.IndexFunc(left, func(g string) bool { return sameRule(w, g) }); i >= 0 {
			left = slices.Delete(left, i, i+1)
			continue
		}
		out = append(out, "rule missing: "+w)
	}
	for _, g := range left {
		out = append(out, "rule not expected: "+g)
	}
	return out
}

func sameRule(a, b string) bool {
	if a == b {
		return true
	}
	x, errX := flowspec.ParseRule(a)
	y, errY := flowspec.ParseRule(b)
	return errX == nil && errY == nil && slices.Equal(x.Actions, y.Actions) && x.Match.Inside(y.Match) && y.Match.Inside(x.Match)
}

// Failed counts the results that differ from what was expected.
func Failed(results []Result) int {
	n := 0
	for _, r := range results {
		if len(r.Differences) > 0 {
			n++
		}
	}
	return n
}

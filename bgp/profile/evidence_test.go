package profile

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/format"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the generated files anew")

// golden compares a generated file with what it should hold, or writes it with -update.
func golden(t *testing.T, path string, want []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s is not what it should be; run go test ./bgp/profile -run %s -update (-want +got):\n%s", path, t.Name(), diff)
	}
}

// TestEvidence: every record is complete, and recordedRuns holds exactly the records.
func TestEvidence(t *testing.T) {
	files, err := filepath.Glob("evidence/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("there are no records: %v", err)
	}
	slices.Sort(files)
	var b bytes.Buffer
	b.WriteString("// Code generated from bgp/profile/evidence by go test ./bgp/profile -run TestEvidence -update; DO NOT EDIT.\n\n" +
		"package profile\n\nfunc recordedRuns() []Evidence {\n\treturn []Evidence{\n")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var e Evidence
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&e); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, problem := range incomplete(e) {
			t.Errorf("%s: %s", file, problem)
		}
		fmt.Fprintf(&b, "{ // %s\n", filepath.Base(file))
		fmt.Fprintf(&b, "Profile: %q, Software: %q, System: %q,\nDate: %q, Where: %q, Enforced: %t,\nSteps: []Step{\n",
			e.Profile, e.Software, e.System, e.Date, e.Where, e.Enforced)
		for _, s := range e.Steps {
			fmt.Fprintf(&b, "{%q, %q, %q},\n", s.Name, s.Result, s.Seen)
		}
		b.WriteString("},\n},\n")
	}
	b.WriteString("}\n}\n")
	want, err := format.Source(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "evidence_table.go", want)
}

// incomplete says what a record lacks.
func incomplete(e Evidence) []string {
	var out []string
	if _, ok := Lookup(e.Profile); !ok {
		out = append(out, fmt.Sprintf("there is no profile %q", e.Profile))
	}
	for name, value := range map[string]string{"software": e.Software, "system": e.System, "date": e.Date, "where": e.Where} {
		if value == "" {
			out = append(out, name+" is missing")
		}
	}
	enforcement := Skipped
	for _, s := range e.Steps {
		if !slices.Contains([]Result{Passed, Failed, Observed, Skipped}, s.Result) || s.Name == "" || s.Seen == "" {
			out = append(out, fmt.Sprintf("step %+v has no name, no words or another result", s))
		}
		if s.Name == "enforcement" {
			enforcement = s.Result
		}
	}
	if e.Enforced != (enforcement == Passed) {
		out = append(out, fmt.Sprintf("enforced is %t, the step %s", e.Enforced, enforcement))
	}
	return out
}

func TestIncomplete(t *testing.T) {
	whole := Evidence{
		Profile: "frr", Software: "FRR 8", System: "Debian", Date: "2026-01-01", Where: "a script",
		Steps: []Step{{stepReceived, Passed, "it is there"}},
	}
	for _, tt := range []struct {
		name string
		with func(*Evidence)
		want string // part of the one problem
	}{
		{"whole", func(*Evidence) {}, ""},
		{"unknown profile", func(e *Evidence) { e.Profile = "nx-os" }, "no profile"},
		{"no date", func(e *Evidence) { e.Date = "" }, "date is missing"},
		{"a result of its own", func(e *Evidence) { e.Steps = []Step{{"order", "nearly", "x"}} }, "another result"},
		{"enforced, but nobody looked", func(e *Evidence) { e.Enforced = true }, "enforced is true"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := whole
			tt.with(&e)
			got := strings.Join(incomplete(e), "\n")
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) || strings.Contains(got, "\n") {
				t.Errorf("problems %q, want %q", got, tt.want)
			}
		})
	}
}

// TestTested: the three daemons have recorded runs, none of which was about enforcement; nothing else is tested.
func TestTested(t *testing.T) {
	var tested []string
	for _, p := range All() {
		e, ok := p.Tested()
		if !ok {
			continue
		}
		tested = append(tested, p.Name)
		if e.Profile != p.Name || e.Enforced {
			t.Errorf("%s: %+v", p.Name, e)
		}
	}
	if diff := cmp.Diff([]string{"frr", "bird", "gobgp"}, tested); diff != "" {
		t.Errorf("tested profiles (-want +got):\n%s", diff)
	}
	if (Evidence{Steps: []Step{{stepReceived, Failed, "no rule"}}}).received() || (Evidence{}).received() {
		t.Error("a run in which no rule was received counts")
	}
}

package main

import (
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTallyCounts(t *testing.T) {
	tests := []struct {
		name   string
		events []string
		want   counts
	}{
		{
			name: "a test without subtests is one",
			events: []string{
				`{"Action":"run","Package":"p","Test":"TestA"}`,
				`{"Action":"pass","Package":"p","Test":"TestA","Elapsed":0.1}`,
				`{"Action":"pass","Package":"p"}`,
			},
			want: counts{passed: 1},
		},
		{
			name: "a parent does not count beside its subtests",
			events: []string{
				`{"Action":"run","Package":"p","Test":"TestA"}`,
				`{"Action":"pass","Package":"p","Test":"TestA/x"}`,
				`{"Action":"fail","Package":"p","Test":"TestA/y"}`,
				`{"Action":"fail","Package":"p","Test":"TestA"}`,
				`{"Action":"fail","Package":"p"}`,
			},
			want: counts{passed: 1, failed: 1},
		},
		{
			name: "a parent that fails by itself counts",
			events: []string{
				`{"Action":"pass","Package":"p","Test":"TestA/x"}`,
				`{"Action":"fail","Package":"p","Test":"TestA"}`,
				`{"Action":"fail","Package":"p"}`,
			},
			want: counts{passed: 1, failed: 1},
		},
		{
			name: "a slash in a subtest's name makes no further parent",
			events: []string{
				`{"Action":"pass","Package":"p","Test":"TestA/10.0.0.0/8"}`,
				`{"Action":"pass","Package":"p","Test":"TestA"}`,
				`{"Action":"pass","Package":"p"}`,
			},
			want: counts{passed: 1},
		},
		{
			name: "the same name in two packages is two tests",
			events: []string{
				`{"Action":"pass","Package":"p","Test":"TestA"}`,
				`{"Action":"pass","Package":"q","Test":"TestA/x"}`,
				`{"Action":"pass","Package":"q","Test":"TestA"}`,
			},
			want: counts{passed: 2},
		},
		{
			name: "a skip is a skip, a package without tests is nothing",
			events: []string{
				`{"Action":"skip","Package":"p","Test":"TestA"}`,
				`{"Action":"pass","Package":"p"}`,
				`{"Action":"skip","Package":"empty"}`,
			},
			want: counts{skipped: 1},
		},
		{
			name: "a test that the process died under has failed",
			events: []string{
				`{"Action":"run","Package":"p","Test":"TestA"}`,
				`{"Action":"run","Package":"p","Test":"TestB"}`,
				`{"Action":"pass","Package":"p","Test":"TestB"}`,
				`{"Action":"fail","Package":"p"}`,
			},
			want: counts{passed: 1, failed: 1},
		},
		{
			name: "a package that does not build is one failure",
			events: []string{
				`{"ImportPath":"p","Action":"build-output","Output":"p.go:1: no\n"}`,
				`{"ImportPath":"p","Action":"build-fail"}`,
				`{"Action":"start","Package":"p"}`,
				`{"Action":"fail","Package":"p","FailedBuild":"p"}`,
			},
			want: counts{failed: 1},
		},
		{
			name: "output that stops short is a failure, not less work",
			events: []string{
				`{"Action":"start","Package":"p"}`,
				`{"Action":"run","Package":"p","Test":"TestA"}`,
			},
			want: counts{failed: 1},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tally := newTally("step", io.Discard)
			if err := tally.read(strings.NewReader(strings.Join(tt.events, "\n"))); err != nil {
				t.Fatal(err)
			}
			tally.finish()
			if diff := cmp.Diff(tt.want, tally.counts(), cmp.AllowUnexported(counts{})); diff != "" {
				t.Errorf("counts (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTallyKeepsInvocationsApart(t *testing.T) {
	// A package is fuzzed once per target: what failed in one run is no news in the next.
	tally := newTally("fuzz", io.Discard)
	for _, run := range []string{
		`{"Action":"pass","Package":"p","Test":"FuzzA"}`,
		`{"Action":"fail","Package":"p","Test":"FuzzB"}` + "\n" + `{"Action":"fail","Package":"p"}`,
		`{"Action":"fail","Package":"p","FailedBuild":"p"}`,
	} {
		if err := tally.read(strings.NewReader(run)); err != nil {
			t.Fatal(err)
		}
		tally.finish()
	}
	want := counts{passed: 1, failed: 2}
	if diff := cmp.Diff(want, tally.counts(), cmp.AllowUnexported(counts{})); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

func TestReportVerdict(t *testing.T) {
	leaf := func(action string) result {
		return result{pkg: "p", name: "TestA", action: action, leaf: true, top: true}
	}
	tests := []struct {
		name string
		ci   bool
		step outcome
		good bool
		last string
	}{
		{"all passed", true, outcome{tests: []result{leaf(passed)}}, true, "1 passed, 0 failed, 0 skipped"},
		{"a failure", false, outcome{tests: []result{leaf(failed)}}, false, "0 passed, 1 failed, 0 skipped"},
		{"a skip on a laptop", false, outcome{tests: []result{leaf(skipped)}}, true, "0 passed, 0 failed, 1 skipped"},
		{"a skip in CI", true, outcome{tests: []result{leaf(skipped)}}, false, "0 passed, 0 failed, 1 skipped"},
		{"a step that failed", false, outcome{err: io.ErrUnexpectedEOF}, false, "0 passed, 1 failed, 0 skipped"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := report{ci: tt.ci}
			r.add(tt.step)
			if r.good() != tt.good {
				t.Errorf("good() = %v, want %v", r.good(), tt.good)
			}
			var out strings.Builder
			r.print(&out)
			lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
			if diff := cmp.Diff(tt.last, lines[len(lines)-1]); diff != "" {
				t.Errorf("last line (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReason(t *testing.T) {
	output := "=== RUN   TestFRR\n    frr_test.go:20: needs root: namespaces\n--- SKIP: TestFRR (0.00s)\n"
	if diff := cmp.Diff("frr_test.go:20: needs root: namespaces", reason(output)); diff != "" {
		t.Errorf("reason (-want +got):\n%s", diff)
	}
}

func TestDeadlineRace(t *testing.T) {
	const frame = "=== RUN   FuzzA\nfuzz: elapsed: 3s, execs: 40304 (0/sec), new interesting: 104 (total: 108)\n--- FAIL: FuzzA (3.20s)\n"
	tests := []struct {
		name   string
		action string
		output string
		want   bool
	}{
		{"the deadline and no input", failed, frame + "    context deadline exceeded\n", true},
		{"a failing input", failed, frame + "    x_test.go:3: context deadline exceeded\n    Failing input written to testdata/fuzz/FuzzA/1\n", false},
		{"another failure", failed, frame + "    fuzzing process hung or terminated unexpectedly\n", false},
		{"a pass", passed, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := deadlineRace([]result{{pkg: "p", name: "FuzzA", action: tt.action, output: tt.output}})
			if got != tt.want {
				t.Errorf("deadlineRace = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestSelections(t *testing.T) {
	type row struct{ unit, property, interop bool }
	tests := []struct {
		name      string
		pkg       string
		functions []string
		want      row
	}{
		{"no tests", "github.com/tidegate/tidegate/policy", nil, row{}},
		{"plain tests", "github.com/tidegate/tidegate/policy", []string{"TestA"}, row{unit: true}},
		{"with a property", "github.com/tidegate/tidegate/policy", []string{"TestA", "TestPropertyB"}, row{unit: true, property: true}},
		{"faults", "github.com/tidegate/tidegate/integration/faults", []string{"TestPropertyB"}, row{}},
		{"integration", "github.com/tidegate/tidegate/integration/lab", []string{"TestPropertyB"}, row{interop: true}},
		{"a name like integration", "github.com/tidegate/tidegate/integrations", []string{"TestA"}, row{unit: true}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pkg := goPackage{ImportPath: tt.pkg}
			got := row{unitTests(pkg, tt.functions), properties(pkg, tt.functions), interopTests(pkg, tt.functions)}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(row{})); diff != "" {
				t.Errorf("selection (-want +got):\n%s", diff)
			}
		})
	}
}

func TestListSeesThisTest(t *testing.T) {
	// From this directory ./... and self mean something else; from the root they are the module.
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(strings.TrimSpace(string(out)))
	pkgs, err := packages(t.Context(), func(_ goPackage, functions []string) bool {
		for _, f := range functions {
			if f == "TestListSeesThisTest" {
				return true
			}
		}
		return false
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"github.com/tidegate/tidegate/.ci/testrun"}, pkgs); diff != "" {
		t.Errorf("packages (-want +got):\n%s", diff)
	}
}

func TestPlanKnowsItsTargets(t *testing.T) {
	r := &runner{out: io.Discard}
	for _, target := range []string{"all", "unit", "race", "property", "fuzz", "interop", "faults"} {
		if _, err := r.plan(target); err != nil {
			t.Errorf("plan(%q): %v", target, err)
		}
	}
	if _, err := r.plan("everything"); err == nil {
		t.Error("plan of an unknown target gave no error")
	}
}

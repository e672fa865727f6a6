package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// event is one line of `go test -json`; see `go doc test2json`.
type event struct {
	Action     string
	Package    string
	Test       string
	ImportPath string // of a package that is being built
	Output     string
	Elapsed    float64 // seconds
}

// The actions that end a test.
const (
	passed  = "pass"
	failed  = "fail"
	skipped = "skip"
)

// result is a test that has ended.
type result struct {
	step, pkg, name string
	action          string
	elapsed         time.Duration
	output          string // kept for failures and skips
	top             bool   // not a subtest
	leaf            bool   // has no subtests: the counts are over these
}

// counts is what the last line says.
type counts struct{ passed, failed, skipped int }

// add counts one result by its action.
func (c *counts) add(action string) {
	switch action {
	case passed:
		c.passed++
	case failed:
		c.failed++
	case skipped:
		c.skipped++
	}
}

// key names a running test. The empty name is the package itself.
type key struct{ pkg, name string }

// tally turns events into results. One goroutine uses it.
type tally struct {
	step    string
	out     io.Writer
	verbose bool // one line per top-level test, for steps that take minutes

	open   map[key]*strings.Builder // running tests with their output so far
	builds map[string]*strings.Builder
	ended  []result // of the invocation under way
	done   []result // of the invocations before it
	fuzzed string   // the last progress line of the fuzzing under way
}

func newTally(step string, out io.Writer) *tally {
	return &tally{
		step: step, out: out,
		open: map[key]*strings.Builder{}, builds: map[string]*strings.Builder{},
	}
}

// read takes the output of one `go test -json` until its end.
func (t *tally) read(r io.Reader) error {
	lines := bufio.NewReader(r)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) == nil && e.Action != "" {
				t.event(e)
			} else {
				fmt.Fprintf(t.out, "%s\n", strings.TrimRight(string(line), "\n"))
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// event takes one line.
func (t *tally) event(e event) {
	k := key{e.Package, e.Test}
	switch e.Action {
	case "start", "run":
		t.output(k)
	case "output":
		t.output(k).WriteString(e.Output)
		if strings.HasPrefix(e.Output, "fuzz: elapsed") {
			t.fuzzed = strings.TrimSpace(e.Output)
		}
	case "build-output":
		if t.builds[e.ImportPath] == nil {
			t.builds[e.ImportPath] = &strings.Builder{}
		}
		t.builds[e.ImportPath].WriteString(e.Output)
	case "build-fail":
		if b := t.builds[e.ImportPath]; b != nil {
			fmt.Fprintf(t.out, "cannot build %s\n%s", e.ImportPath, b)
		}
	case passed, failed, skipped:
		if e.Test == "" {
			t.endPackage(e)
			return
		}
		t.end(k, e.Action, time.Duration(e.Elapsed*float64(time.Second)))
	}
}

// output returns the buffer of a test, new if it is not known to run.
func (t *tally) output(k key) *strings.Builder {
	b := t.open[k]
	if b == nil {
		b = &strings.Builder{}
		t.open[k] = b
	}
	return b
}

// end records a test's result and shows what went wrong.
func (t *tally) end(k key, action string, elapsed time.Duration) {
	r := result{
		step: t.step, pkg: k.pkg, name: k.name, action: action, elapsed: elapsed,
		top: !strings.Contains(k.name, "/"),
	}
	if action != passed {
		r.output = t.output(k).String()
	}
	delete(t.open, k)
	t.ended = append(t.ended, r)
	switch {
	case action == failed:
		fmt.Fprintf(t.out, "FAIL  %s %s\n%s", k.pkg, k.name, r.output)
	case t.verbose && r.top:
		fmt.Fprintf(t.out, "%s  %s %s (%.1fs) %s\n", action, k.pkg, k.name, elapsed.Seconds(), t.fuzzed)
	}
}

// endPackage closes what the package left open. A test without a result has failed: the
// process died under it. A package that fails without a failing test counts as one failure.
func (t *tally) endPackage(e event) {
	var unfinished []key
	for k := range t.open {
		if k.pkg == e.Package && k.name != "" {
			unfinished = append(unfinished, k)
		}
	}
	slices.SortFunc(unfinished, func(a, b key) int { return strings.Compare(a.name, b.name) })
	for _, k := range unfinished {
		t.output(k).WriteString("the test did not end\n")
		t.end(k, failed, 0)
	}
	n := 0
	blamed := false
	for _, r := range t.ended {
		if r.pkg == e.Package {
			n++
			blamed = blamed || r.action == failed
		}
	}
	own := key{e.Package, ""}
	if e.Action == failed && !blamed {
		t.end(own, failed, 0)
	}
	if n > 0 || e.Action == failed {
		fmt.Fprintf(t.out, "%s  %s (%.1fs)\n", e.Action, e.Package, e.Elapsed)
	}
	if blamed {
		// What the package itself said: a panic's or a race's end, a timeout.
		fmt.Fprint(t.out, t.output(own))
	}
	delete(t.open, own)
}

// finish ends an invocation of go test: packages that never reported have failed with it,
// and the leaves are known now.
func (t *tally) finish() {
	var silent []string
	for k := range t.open {
		if !slices.Contains(silent, k.pkg) {
			silent = append(silent, k.pkg)
		}
	}
	slices.Sort(silent)
	for _, pkg := range silent {
		t.endPackage(event{Action: failed, Package: pkg})
	}
	t.done = append(t.done, markLeaves(t.ended)...)
	t.ended, t.fuzzed = nil, ""
}

// markLeaves finds the tests that count. A parent counts only when it failed and no
// subtest of its did: then the failure is its own.
func markLeaves(rs []result) []result {
	parents := map[key]bool{}
	blamed := map[key]bool{}
	for _, r := range rs {
		for name := r.name; ; {
			i := strings.LastIndexByte(name, '/')
			if i < 0 {
				break
			}
			name = name[:i]
			parents[key{r.pkg, name}] = true
			if r.action == failed {
				blamed[key{r.pkg, name}] = true
			}
		}
	}
	for i, r := range rs {
		k := key{r.pkg, r.name}
		rs[i].leaf = !parents[k] || (r.action == failed && !blamed[k])
	}
	return rs
}

// results returns all tests of the finished invocations.
func (t *tally) results() []result { return t.done }

// counts counts the finished invocations' leaves.
func (t *tally) counts() counts { return count(t.done) }

// count counts the leaves.
func count(rs []result) counts {
	var c counts
	for _, r := range rs {
		if r.leaf {
			c.add(r.action)
		}
	}
	return c
}

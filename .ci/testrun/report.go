package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// slowest is how many tests the report names.
const slowest = 10

// report gathers the outcomes.
type report struct {
	ci    bool // no skip is good
	steps []outcome
}

func (r *report) add(o outcome) { r.steps = append(r.steps, o) }

// counts adds the steps up. A step that failed outside of any test (lint, a build, an
// installation) is one failure: the last line may not say 0 failed when the run is bad.
func (r *report) counts() counts {
	var sum counts
	for _, s := range r.steps {
		c := count(s.tests)
		sum.passed += c.passed
		sum.failed += c.failed
		sum.skipped += c.skipped
		if s.err != nil {
			sum.failed++
		}
	}
	return sum
}

// good reports whether the run may end with exit status 0.
func (r *report) good() bool {
	c := r.counts()
	return c.failed == 0 && (c.skipped == 0 || !r.ci)
}

// print writes the report; the counts are the last line.
func (r *report) print(w io.Writer) {
	var all []result
	var total time.Duration
	fmt.Fprintln(w, "\nSteps")
	for _, s := range r.steps {
		c := count(s.tests)
		state := "ok"
		switch {
		case s.err != nil || c.failed > 0:
			state = "FAILED"
		case s.note != "":
			state = "nothing done: " + s.note
		}
		fmt.Fprintf(w, "  %-9s %7.1fs  %5d tests  %s\n", s.name, s.elapsed.Seconds(), c.passed+c.failed+c.skipped, state)
		total += s.elapsed
		all = append(all, s.tests...)
	}
	fmt.Fprintf(w, "  %-9s %7.1fs\n", "together", total.Seconds())
	printSlowest(w, all)
	r.printSkipped(w, all)
	r.printFailed(w, all)
	c := r.counts()
	fmt.Fprintln(w, "\nCounted: tests without subtests, each subtest for itself; every fuzz seed and fuzz run;\n"+
		"a failed step without a failed test (lint, build) is one failure.")
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", c.passed, c.failed, c.skipped)
}

// printSlowest names the tests, with their subtests in them, that took longest.
func printSlowest(w io.Writer, all []result) {
	all = slices.DeleteFunc(slices.Clone(all), func(r result) bool { return !r.top || r.name == "" })
	slices.SortStableFunc(all, func(a, b result) int { return cmp.Compare(b.elapsed, a.elapsed) })
	if len(all) == 0 {
		return
	}
	fmt.Fprintf(w, "\nSlowest %d tests (subtests included)\n", min(slowest, len(all)))
	for _, r := range all[:min(slowest, len(all))] {
		fmt.Fprintf(w, "  %7.2fs  %s %s (%s)\n", r.elapsed.Seconds(), r.pkg, r.name, r.step)
	}
}

// printSkipped says what was not tested and why.
func (r *report) printSkipped(w io.Writer, all []result) {
	title := "\nSkipped"
	if r.ci {
		title += " (CI=true: each is a failure)"
	}
	for _, s := range all {
		if !s.leaf || s.action != skipped {
			continue
		}
		if title != "" {
			fmt.Fprintln(w, title)
			title = ""
		}
		fmt.Fprintf(w, "  %s %s: %s\n", s.pkg, s.name, reason(s.output))
	}
}

// reason takes a test's own words out of the lines that go test puts around them.
func reason(output string) string {
	var words []string
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		frame := strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") || strings.HasPrefix(line, "fuzz: elapsed: ")
		if line != "" && !frame {
			words = append(words, line)
		}
	}
	if len(words) == 0 {
		return "no reason given"
	}
	return strings.Join(words, " ")
}

// printFailed repeats the names of what failed; the output stands further up.
func (r *report) printFailed(w io.Writer, all []result) {
	title := "\nFailed"
	line := func(format string, args ...any) {
		if title != "" {
			fmt.Fprintln(w, title)
			title = ""
		}
		fmt.Fprintf(w, "  "+format+"\n", args...)
	}
	for _, s := range r.steps {
		if s.err != nil {
			line("%s: %v", s.name, s.err)
		}
	}
	for _, t := range all {
		if t.leaf && t.action == failed {
			line("%s: %s %s", t.step, t.pkg, t.name)
		}
	}
}

package integration_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/integration/lab"
)

const (
	interopPage = "../docs/interop.md"
	// interopWrite is the environment variable that has the page written anew instead of compared.
	interopWrite = "TIDEGATE_WRITE_INTEROP"
)

// page is docs/interop.md while it is written.
type page struct {
	strings.Builder
	routers []lab.Router
	cells   []*cell
	results map[string]map[*cell]result // by router
}

// pageOf is what docs/interop.md must be.
func pageOf(t *testing.T, routers []lab.Router, all []*cell, results map[string]map[*cell]result, beyond map[string][]result) string {
	t.Helper()
	versions, err := lab.Versions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := &page{routers: routers, cells: all, results: results}
	p.head(versions)
	p.matrix()
	p.known()
	p.list("Operators", tableOperators, func(c *cell) string { return c.row },
		"Every operator of the safe subset on every component, and the odd values, with `discard`.")
	p.list("Actions together", tableTogether, func(c *cell) string { return c.column },
		"Actions of one rule, and odd values of single ones, with `proto udp`.")
	p.unsafe(t, beyond)
	return p.String()
}

func (p *page) head(versions map[string]string) {
	fmt.Fprintf(p, `# What routers make of our rules

This page is written by a test and not by hand: TestInterop announces each rule below with tidegate's own speaker to each
router, reads the router's own table back, and fails when anything differs from what stands here. After a change that is
meant, write it anew, as root:

`+"```text"+`
%s=1 go test ./integration -run 'TestInterop$'
`+"```"+`

| router | version |
|---|---|
`, interopWrite)
	for _, r := range p.routers {
		fmt.Fprintf(p, "| %s | %s |\n", r.Name(), versions[r.Name()])
	}
	fmt.Fprint(p, `
A cell says what became of one rule on one router:

- **equal**: the router's table shows the match and the actions that were announced;
- **changed**: it shows something else;
- **refused**: the session stays, and the table has nothing;
- **lost**: the router ends the session, and with it goes every other rule.

The letter behind a cell that is not equal leads to its reason. None of the four forwards packets here: this is about what
a router understands, not about what its hardware does with it. FRR writes a comma between two numbers whether they are
joined by AND or by OR, and does not show the AS of a rate, so that these two are not compared there.
`)
}

// matrix writes the tables of component and action, one for each router and family.
func (p *page) matrix() {
	fmt.Fprint(p, "\n## Component and action\n\nEach rule has a destination of its own; the first row has nothing else.\n")
	for _, r := range p.routers {
		for _, f := range []flowspec.Family{flowspec.IPv4, flowspec.IPv6} {
			fmt.Fprintf(p, "\n### %s, %s\n\n|", r.Name(), f)
			for _, column := range actions(f) {
				fmt.Fprintf(p, " | `%s`", column)
			}
			fmt.Fprint(p, " |\n|---", strings.Repeat("|---", len(actions(f))), "|\n")
			for _, row := range conditions(f) {
				name := "destination"
				if row != "" {
					name = "`" + row + "`"
				}
				fmt.Fprint(p, "| ", name)
				for _, column := range actions(f) {
					fmt.Fprint(p, " | ", p.outcome(r, p.find(f, tableActions, row, column)))
				}
				fmt.Fprint(p, " |\n")
			}
		}
	}
}

func (p *page) find(f flowspec.Family, table, row, column string) *cell {
	i := slices.IndexFunc(p.cells, func(c *cell) bool { return c.family == f && c.table == table && c.row == row && c.column == column })
	return p.cells[i]
}

// outcome is a cell of a table.
func (p *page) outcome(r lab.Router, c *cell) string {
	got := p.results[r.Name()][c]
	if got.outcome == equal {
		return string(equal)
	}
	return fmt.Sprintf("**%s** (%s)", got.outcome, expectedOf(r.Name(), c).mark)
}

// known writes the reasons.
func (p *page) known() {
	fmt.Fprint(p, "\n## Why a cell is not equal\n\n| | router | cells | reason | announced, for instance | seen then |\n|---|---|---|---|---|---|\n")
	for _, k := range interopKnown() {
		var first *cell
		n := 0
		for _, c := range p.cells {
			if k.cells(c) {
				if n++; first == nil {
					first = c
				}
			}
		}
		fmt.Fprintf(p, "| %s | %s | %d %s | %s | %s | %s |\n", k.mark, k.router, n, k.outcome, k.why, code(first.rule.String()),
			seenThen(p.results[k.router][first]))
	}
}

// seenThen is the detail of a result: what the router shows, or how the session ended.
func seenThen(r result) string {
	if r.outcome == lost {
		return r.detail
	}
	return code(r.detail)
}

// code is text as code in a table; a vertical line would end the cell.
func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + strings.ReplaceAll(text, "|", `\|`) + "`"
}

// list writes a table with one row for each cell and a column for each router.
func (p *page) list(title, table string, row func(*cell) string, about string) {
	fmt.Fprintf(p, "\n## %s\n\n%s\n", title, about)
	for _, f := range []flowspec.Family{flowspec.IPv4, flowspec.IPv6} {
		fmt.Fprintf(p, "\n| %s |", f)
		for _, r := range p.routers {
			fmt.Fprintf(p, " %s |", r.Name())
		}
		fmt.Fprint(p, "\n|---", strings.Repeat("|---", len(p.routers)), "|\n")
		for _, c := range p.cells {
			if c.family != f || c.table != table {
				continue
			}
			fmt.Fprint(p, "| ", code(row(c)))
			for _, r := range p.routers {
				fmt.Fprint(p, " | ", p.outcome(r, c))
			}
			fmt.Fprint(p, " |\n")
		}
	}
}

// unsafe writes what tidegate does not send.
func (p *page) unsafe(t *testing.T, beyond map[string][]result) {
	t.Helper()
	fmt.Fprint(p, `
## Outside of the safe subset

tidegate sends none of these: the first rows are refused by CheckSafe before the wire (TestUnsafeRules), the others are
octets that its codec does not write. Another speaker sent them here, each over a session of its own, to show what the
safe subset is for: where a router ends the session, one rule costs every mitigation that it has. *What it is* is empty
where no RFC allows the octets.

| what | octets | what it is | frr | bird |
|---|---|---|---|---|
`)
	for n, u := range unsafeRules() {
		octets := fmt.Sprintf("%x", u.nlri(t, n))
		if len(octets) > 60 {
			octets = octets[:60] + "…"
		}
		text := u.text
		if len(text) > 40 {
			text = text[:40] + "…"
		}
		fmt.Fprintf(p, "| %s, %s | %s | %s", u.what, u.family, code(octets), code(text))
		for _, name := range unsafeRouters() {
			got := beyond[name][n]
			cell := string(got.outcome)
			if got.outcome != equal {
				cell = "**" + cell + "**"
			}
			if got.outcome == lost || got.outcome == changed {
				cell += ": " + seenThen(got)
			}
			fmt.Fprint(p, " | ", cell)
		}
		fmt.Fprint(p, " |\n")
	}
}

// comparePage compares text with docs/interop.md, or writes it there.
func comparePage(t *testing.T, text string) {
	t.Helper()
	if os.Getenv(interopWrite) != "" {
		if err := os.WriteFile(interopPage, []byte(text), 0o644); err != nil { //nolint:gosec // A page is for everybody.
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(interopPage)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(have), "\n"), strings.Split(text, "\n")); diff != "" {
		t.Errorf("docs/interop.md is not what was seen (-page +seen); %s=1 writes it anew:\n%s", interopWrite, diff)
	}
}

package profile

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// TestReference: docs/reference/profiles.md is what the profiles say. It is written by this test with -update.
func TestReference(t *testing.T) {
	golden(t, "../../docs/reference/profiles.md", reference(t))
}

// pageWriter writes the page; sources are numbered in the order in which they are first cited.
type pageWriter struct {
	bytes.Buffer
	sources []Source
}

func (w *pageWriter) cite(s Source) string {
	for i, known := range w.sources {
		if known == s {
			return fmt.Sprintf("[%d]", i+1)
		}
	}
	w.sources = append(w.sources, s)
	return fmt.Sprintf("[%d]", len(w.sources))
}

// row writes one row of a table. A bar in a cell would end it.
func (w *pageWriter) row(cells ...string) {
	for i := range cells {
		cells[i] = strings.ReplaceAll(cells[i], "|", "\\|")
	}
	fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
}

func (w *pageWriter) head(cells ...string) {
	w.row(cells...)
	w.WriteString("|" + strings.Repeat("---|", len(cells)) + "\n")
}

func names(first string) []string { return append([]string{first}, Names()...) }

func reference(t *testing.T) []byte {
	w := &pageWriter{}
	w.WriteString(`# Router profiles

<!-- Written from bgp/profile by go test ./bgp/profile -run TestReference -update. Change it there. -->

A Router document that carries rules must name a profile; ` + "`generic`" + ` is for the models that are not listed. The profile says what the model does with rules, so that a rule which the router would
ignore or approximate is refused for it, or split into rules that together act on exactly the same packets; and it says what
a rule costs. Everything here has a source, listed at the end, and a basis: *published* by the vendor or project, *measured*
by a test of this repository, or *assumed* (a star below) where neither exists. What nobody states is taken as not supported.

`)
	w.overview()
	w.untested()
	w.components()
	w.actions()
	w.prices(t)
	w.budget()
	for _, p := range All() {
		w.one(p)
	}
	w.codes()
	w.WriteString("## Sources\n\n")
	for i, s := range w.sources {
		fmt.Fprintf(w, "%d. %s\n", i+1, s)
	}
	return w.Bytes()
}

func (w *pageWriter) limit(n int, s Source) string {
	if n == 0 {
		return "not published"
	}
	return fmt.Sprintf("%d %s", n, w.cite(s))
}

func (w *pageWriter) overview() {
	w.head("profile", "model", "does what", "rules validated", "entries", "rules/s", "RTBH", "tested with")
	for _, p := range All() {
		tested := "**untested**"
		if e, ok := p.Tested(); ok {
			tested = fmt.Sprintf("%s, %s", e.Software, e.Date)
		}
		w.row("`"+p.Name+"`", p.Title, p.Enforces.String(), w.limit(p.Limits.MaxRules, p.Limits.MaxRulesSource),
			w.limit(p.Limits.MaxEntries, p.Limits.MaxEntriesSource), w.limit(p.Limits.RulesPerSecond, p.Limits.RulesPerSecondSource),
			w.yesNo(p.RTBH), tested)
	}
	w.WriteString("\n")
}

func (w *pageWriter) untested() {
	w.WriteString(`## Tested and untested

A profile is tested when a run against the real software is recorded; [how to record a run](../how-to/record-a-router-run/README.md)
says how. "Tested" covers what the record covers; the records stand below, with each profile. For the daemons enforcement is
not part of it, since they enforce nothing: sessions stand, rules and actions arrive, and every node's path is held.

A Router document with an untested profile is not applied unless whoever applies it accepts that: ` + "`accept_untested: true`" + ` in the
document, or ` + "`--accept-untested`" + ` with the command. That is all that "untested" gates; rules are judged, priced and split alike.

`)
}

// yesNo is a cell of a table: yes or no, a star if it is assumed, and the source.
func (w *pageWriter) yesNo(s Support) string {
	word := "no"
	if s.OK {
		word = "yes"
	}
	if s.Basis == Assumed {
		word += "\\*"
	}
	return word + " " + w.cite(s.Source)
}

func (w *pageWriter) components() {
	w.WriteString("## Components\n\n")
	for _, f := range []flowspec.Family{flowspec.IPv4, flowspec.IPv6} {
		w.head(names(f.String())...)
		for typ := flowspec.DestinationPrefix; typ <= flowspec.FlowLabel; typ++ {
			if !typ.In(f) {
				continue
			}
			cells := []string{fmt.Sprintf("%d %s", typ, typ)}
			for _, p := range All() {
				c := p.Component(f, typ)
				cell := w.yesNo(c.Support)
				if limits := limitsOf(c); c.OK && limits != "" {
					cell += ", " + limits
				}
				cells = append(cells, cell)
			}
			w.row(cells...)
		}
		w.WriteString("\n")
	}
	w.WriteString("No profile takes an IPv6 offset, more than five operator and value pairs in a component, or `!=`: common routers reset\nthe session then. Such rules are split, or refused.\n\n")
}

func limitsOf(c ComponentSupport) string {
	var out []string
	if c.OneValue {
		out = append(out, "a single value")
	}
	if c.OneMask {
		out = append(out, "one mask")
	}
	if c.Bits != 0 {
		out = append(out, fmt.Sprintf("bits 0x%x", c.Bits))
	}
	if c.NoNot {
		out = append(out, "no negation")
	}
	return strings.Join(out, ", ")
}

func (w *pageWriter) actions() {
	w.WriteString("## Actions\n\n")
	w.head(names("action")...)
	for _, a := range abilities() {
		cells := []string{a.String()}
		for _, p := range All() {
			s := p.Action(a)
			cell := w.yesNo(s.Support)
			if s.NotIPv6 != (Support{}) {
				cell += "; IPv6: " + w.yesNo(s.NotIPv6)
			}
			if s.Encoding != "" {
				cell += ", " + s.Encoding
			}
			cells = append(cells, cell)
		}
		w.row(cells...)
	}
	w.WriteString("\nFor the daemons *yes* means carried.\n\n")
}

func (w *pageWriter) prices(t *testing.T) {
	w.WriteString(`## Prices

A router with ternary memory (TCAM) compares a field with a value under a mask. A range is as many such entries as the
prefixes that make it up: 512 and more is 7 of 16 bits, 256 and more is 8, 257 and more is 15. The entries of a rule are every
combination of its components' entries. That is how IOS XR on NCS 5500 behaves: all but one of the published figures come out
(` + "`TestPricePublished`, `TestPricePublishedDifference`" + `). For the other hardware nothing is published, and it is priced alike.
A list is priced as it is written; ` + "`Suggest`" + ` names cheaper cuts, and on which packets they differ.

`)
	w.head(names("rule")...)
	for _, text := range []string{
		"dst 203.0.113.0/24",
		"dst 203.0.113.0/24 proto udp sport 53",
		"dst 203.0.113.0/24 proto udp sport 53|123",
		"dst 203.0.113.0/24 proto udp frag any:is-fragment",
		"dst 203.0.113.0/24 proto tcp tcp-flags syn&!ack",
		"dst 203.0.113.0/24 proto udp len >=512",
		"dst 203.0.113.0/24 proto udp len >=256",
		"dst 203.0.113.0/24 proto udp len >=257",
		"dst 203.0.113.0/24 proto udp sport 53|123 len >=257",
		"dst 203.0.113.0/24 proto udp sport 1024-65535",
		"dst 203.0.113.0/24 proto udp sport 1025-65534",
		"dst 203.0.113.0/24 proto udp port 53",
	} {
		r := mustRule(t, text+" => discard")
		cells := []string{"`" + text + "`"}
		for _, p := range All() {
			cells = append(cells, fmt.Sprint(p.Price(r).Entries))
		}
		w.row(cells...)
	}
	cells := []string{"an entry is one of"}
	for _, p := range All() {
		cells = append(cells, p.model.unit())
	}
	w.row(cells...)
	w.WriteString("\n")
}

func (w *pageWriter) budget() {
	fmt.Fprintf(w, `## Budget

Of a router's `+"`max_prefix`"+` tidegate uses %d %%, and never more rules than the vendor has validated; of the table that holds the
rules it uses %d %%, if its size is published or stated. That stop is hard: a rule beyond it is refused, since above
max-prefix some routers close the session, and all mitigations are gone.

`, StopPercent, StopPercent)
}

func (w *pageWriter) one(p *Profile) {
	fmt.Fprintf(w, "## %s\n\n%s%s; %s.\n\n", p.Name, strings.ToUpper(p.Title[:1]), p.Title[1:], p.Enforces)
	for _, q := range p.Quirks {
		fmt.Fprintf(w, "- %s %s\n", q.Text, w.cite(q.Source))
	}
	for _, c := range p.NotTogether {
		fmt.Fprintf(w, "- %s and %s are not taken in one rule. %s\n", c.A, c.B, w.cite(c.Source))
	}
	w.WriteString(lackingText(w, p))
	for _, e := range p.Runs() {
		fmt.Fprintf(w, "\n%s on %s, %s, by `%s`:\n\n", e.Software, e.System, e.Date, e.Where)
		w.head("step", "result", "seen")
		for _, s := range e.Steps {
			w.row(s.Name, string(s.Result), "`"+strings.ReplaceAll(s.Seen, "`", "'")+"`")
		}
	}
	w.WriteString("\n")
}

// lackingText says once what the router does instead of each thing that it does not do.
func lackingText(w *pageWriter, p *Profile) string {
	var order []string
	what := map[string][]string{}
	add := func(name string, s Support) {
		if s.OK {
			return
		}
		key := s.Instead + " " + w.cite(s.Source)
		if what[key] == nil {
			order = append(order, key)
		}
		what[key] = append(what[key], name)
	}
	for _, c := range p.Components {
		add(fmt.Sprintf("%s (%s)", c.Type, c.Family), c.Support)
	}
	for _, a := range p.Actions {
		add(a.Ability.String(), a.Support)
	}
	add("RTBH", p.RTBH)
	var b strings.Builder
	for _, key := range order {
		fmt.Fprintf(&b, "- Not: %s. It %s\n", strings.Join(what[key], "; "), key)
	}
	return b.String()
}

func (w *pageWriter) codes() {
	w.WriteString("## Codes of findings\n\n")
	w.head("code", "meaning")
	for _, c := range Codes() {
		w.row("`"+string(c.Code)+"`", c.Meaning)
	}
	w.WriteString("\n")
}

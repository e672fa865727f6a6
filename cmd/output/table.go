package output

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// tone is how a cell looks on a terminal.
type tone string

const (
	normal tone = ""
	bold   tone = "1"
	dim    tone = "2"
	red    tone = "31"
	green  tone = "32"
	yellow tone = "33"
)

// cell is a piece of text and how it looks.
type cell struct {
	text string
	tone tone
}

func plainCells(texts ...string) []cell {
	out := make([]cell, len(texts))
	for i, t := range texts {
		out[i] = cell{text: t}
	}
	return out
}

func (p *Printer) paint(c cell) string {
	if !p.Colour || c.tone == normal || c.text == "" {
		return c.text
	}
	return "\x1b[" + string(c.tone) + "m" + c.text + "\x1b[0m"
}

// table is rows under a heading. Columns are two spaces apart, the last one is not padded.
type table struct {
	head  []string
	rows  [][]cell
	empty string // printed instead of a heading over nothing
}

func (t *table) add(cells ...cell) { t.rows = append(t.rows, cells) }

func (p *Printer) table(t *table) {
	if len(t.rows) == 0 {
		fmt.Fprintln(p.W, t.empty)
		return
	}
	widths := make([]int, len(t.head))
	for i, h := range t.head {
		widths[i] = utf8.RuneCountInString(h)
	}
	for _, r := range t.rows {
		for i, c := range r {
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	head := make([]cell, len(t.head))
	for i, h := range t.head {
		head[i] = cell{h, bold}
	}
	for _, r := range append([][]cell{head}, t.rows...) {
		p.row(r, widths)
	}
}

func (p *Printer) row(r []cell, widths []int) {
	var b strings.Builder
	for i, c := range r {
		b.WriteString(p.paint(c))
		if i < len(r)-1 {
			b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)+2))
		}
	}
	fmt.Fprintln(p.W, strings.TrimRight(b.String(), " "))
}

// label is the width of the left column of a card.
const label = 13

// line prints "name   value" of a card, wrapped; an empty value is left out.
func (p *Printer) line(name string, value string) { p.toned(name, cell{text: value}) }

func (p *Printer) toned(name string, c cell) {
	if c.text == "" {
		return
	}
	room := p.width() - label
	for i, part := range wrap(c.text, room) {
		if i > 0 {
			name = ""
		}
		fmt.Fprintf(p.W, "%s%s%s\n", p.paint(cell{name, bold}), strings.Repeat(" ", max(1, label-len(name))), p.paint(cell{part, c.tone}))
	}
}

// lines prints one value a line under one name; at most limit of them when limit is above 0.
func (p *Printer) lines(name string, values []string, limit int) {
	for i, v := range values {
		if limit > 0 && i == limit && len(values) > limit+1 {
			p.line(name, fmt.Sprintf("and %d more (-o json prints all)", len(values)-limit))
			return
		}
		if i > 0 {
			name = " "
		}
		p.line(name, v)
	}
}

// wrap breaks text at spaces into lines of at most room columns; a longer word stays whole.
func wrap(text string, room int) []string {
	var out []string
	var line string
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > room:
			out = append(out, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(out, line)
}

// Paragraph prints text wrapped to the width, later lines indented like the first one's prefix.
func Paragraph(w io.Writer, prefix, text string, width int) {
	for i, l := range wrap(text, max(width-utf8.RuneCountInString(prefix), 40)) {
		if i > 0 {
			prefix = strings.Repeat(" ", utf8.RuneCountInString(prefix))
		}
		fmt.Fprintln(w, prefix+l)
	}
}

// Short is a duration as people say it: 9m58s, 1h2m, 350ms, with at most two units.
func Short(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + Short(-d)
	case d == 0:
		return "0s"
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < 10*time.Second:
		return trimUnits(d.Round(100 * time.Millisecond).String())
	case d < time.Hour:
		return trimUnits(d.Round(time.Second).String())
	default:
		return trimUnits(d.Round(time.Minute).String())
	}
}

// trimUnits turns 1h0m0s into 1h and 10m0s into 10m.
func trimUnits(s string) string {
	if t, ok := strings.CutSuffix(s, "m0s"); ok {
		s = t + "m"
	}
	if t, ok := strings.CutSuffix(s, "h0m"); ok {
		s = t + "h"
	}
	return s
}

func short(d *durationpb.Duration) string {
	if d == nil {
		return ""
	}
	return Short(d.AsDuration())
}

// clock is a time of day with its zone, and with the date when it is not that of Now.
func (p *Printer) clock(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	loc := p.Location
	if loc == nil {
		loc = time.UTC
	}
	at, now := t.AsTime().In(loc), p.Now.In(loc)
	if at.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return at.Format("15:04:05 MST")
	}
	return at.Format("2006-01-02 15:04:05 MST")
}

// when is a time and how far it is away.
func (p *Printer) when(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	if d := t.AsTime().Sub(p.Now); d >= 0 {
		return fmt.Sprintf("%s (in %s)", p.clock(t), Short(d))
	}
	return fmt.Sprintf("%s (%s ago)", p.clock(t), p.ago(t))
}

// ago is how long ago t was.
func (p *Printer) ago(t *timestamppb.Timestamp) string {
	if t == nil {
		return "-"
	}
	return Short(max(0, p.Now.Sub(t.AsTime())))
}

// first is the first of values and how many more there are.
func first(values []string) string {
	switch len(values) {
	case 0:
		return "-"
	case 1:
		return values[0]
	default:
		return fmt.Sprintf("%s +%d", values[0], len(values)-1)
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func count(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	if stem, ok := strings.CutSuffix(one, "y"); ok {
		return fmt.Sprintf("%d %sies", n, stem)
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// cut shortens text to at most n columns.
func cut(text string, n int) string {
	r := []rune(text)
	if len(r) <= n {
		return text
	}
	return string(r[:n-1]) + "…"
}

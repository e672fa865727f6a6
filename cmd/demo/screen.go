package demo

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tidegate/tidegate/cmd/output"
)

// screen prints the story: chapters, facts with the time since the start, and expectations with their outcome.
type screen struct {
	w      io.Writer
	colour bool
	width  int
	start  time.Time

	chapters, held int
}

func (s *screen) paint(code, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// chapter begins a part of the story.
func (s *screen) chapter(format string, args ...any) {
	s.chapters++
	fmt.Fprintf(s.w, "\n%s\n", s.paint("1", fmt.Sprintf("%d. %s", s.chapters, fmt.Sprintf(format, args...))))
}

// at is the time since the start of the demo.
func (s *screen) at() string { return fmt.Sprintf("%7.3fs", time.Since(s.start).Seconds()) }

// fact prints something that was measured just now.
func (s *screen) fact(format string, args ...any) {
	s.paragraph(s.paint("2", s.at())+"       ", 15, fmt.Sprintf(format, args...))
}

// detail prints a line below a fact.
func (s *screen) detail(format string, args ...any) {
	s.paragraph(strings.Repeat(" ", 15)+"   ", 18, fmt.Sprintf(format, args...))
}

// check prints an expectation and whether it held; one that did not hold is returned as an error.
func (s *screen) check(ok bool, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if !ok {
		s.paragraph(s.paint("2", s.at())+" "+s.paint("31;1", "FAIL")+"  ", 15, text)
		return &expectationError{text: text}
	}
	s.held++
	s.paragraph(s.paint("2", s.at())+" "+s.paint("32", "ok")+"    ", 15, text)
	return nil
}

// paragraph wraps text behind a prefix that is indent columns wide on the screen.
func (s *screen) paragraph(prefix string, indent int, text string) {
	var b strings.Builder
	output.Paragraph(&b, "", text, max(s.width-indent, 40))
	for i, l := range strings.Split(strings.TrimRight(b.String(), "\n"), "\n") {
		if i > 0 {
			prefix = strings.Repeat(" ", indent)
		}
		fmt.Fprintln(s.w, prefix+l)
	}
}

// expectationError is an expectation that did not come true.
type expectationError struct{ text string }

func (e *expectationError) Error() string { return "the demo expected: " + e.text }

// ms is a duration in milliseconds, as all of the demo's measurements are printed.
func ms(d time.Duration) string {
	if d < 100*time.Millisecond {
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond))
}

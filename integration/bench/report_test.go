package bench_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// figure is one measured number with what it means.
type figure struct {
	Chapter    string  `json:"chapter"`
	Name       string  `json:"name"`
	Value      float64 `json:"value"`
	Unit       string  `json:"unit"`
	AtMost     float64 `json:"at_most,omitempty"`  // target; 0: none
	AtLeast    float64 `json:"at_least,omitempty"` // target; 0: none
	Met        *bool   `json:"met,omitempty"`      // only with a target
	Definition string  `json:"definition"`
}

func (f *figure) missed() bool { return f.Met != nil && !*f.Met }

func (f *figure) text() string {
	switch v := f.Value; {
	case v >= 1000:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.2f", v)
	}
}

func (f *figure) target() string {
	switch {
	case f.AtMost != 0:
		return fmt.Sprintf("<= %g", f.AtMost)
	case f.AtLeast != 0:
		return fmt.Sprintf(">= %g", f.AtLeast)
	default:
		return ""
	}
}

func (f *figure) verdict() string {
	switch {
	case f.Met == nil:
		return ""
	case *f.Met:
		return "PASS"
	default:
		return "MISS"
	}
}

// report collects figures in the order in which they are taken.
type report struct {
	figures []*figure
	took    time.Duration
}

func newReport() *report { return &report{} }

// add notes a figure and judges it against its target.
func (r *report) add(f figure) {
	if f.AtMost != 0 || f.AtLeast != 0 {
		met := f.AtMost == 0 || f.Value <= f.AtMost
		met = met && (f.AtLeast == 0 || f.Value >= f.AtLeast)
		f.Met = &met
	}
	r.figures = append(r.figures, &f)
}

// definitionWidth is where definitions are wrapped.
const definitionWidth = 100

// print writes the table: for each figure a line with name, value and judgement, and below it the definition.
func (r *report) print(w io.Writer) {
	fmt.Fprintf(w, "\ntidegate bench: %s %s/%s, %d CPUs, %s, %.0f s\n", runtime.Version(), runtime.GOOS, runtime.GOARCH,
		runtime.NumCPU(), time.Now().UTC().Format(time.DateOnly), r.took.Seconds())
	chapter := ""
	for _, f := range r.figures {
		if f.Chapter != chapter {
			chapter = f.Chapter
			fmt.Fprintf(w, "\n%s\n", chapter)
		}
		fmt.Fprintf(w, "  %-62s %10s %-9s %-10s %s\n", f.Name, f.text(), f.Unit, f.target(), f.verdict())
		for _, line := range wrap(f.Definition, definitionWidth) {
			fmt.Fprintf(w, "      %s\n", line)
		}
	}
	missed := 0
	for _, f := range r.figures {
		if f.missed() {
			missed++
		}
	}
	fmt.Fprintf(w, "\n%d figures, %d with a missed target.\n", len(r.figures), missed)
}

func wrap(text string, width int) []string {
	var lines []string
	var line strings.Builder
	for _, word := range strings.Fields(text) {
		if line.Len() > 0 && line.Len()+1+len(word) > width {
			lines = append(lines, line.String())
			line.Reset()
		}
		if line.Len() > 0 {
			line.WriteByte(' ')
		}
		line.WriteString(word)
	}
	if line.Len() > 0 {
		lines = append(lines, line.String())
	}
	return lines
}

// save writes one JSON object per line: first the machine, then each figure.
func (r *report) save(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("cannot save figures: %w", err)
	}
	enc := json.NewEncoder(f)
	err = enc.Encode(map[string]any{
		"go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH, "cpus": runtime.NumCPU(),
		"at": time.Now().UTC().Format(time.RFC3339), "seconds": r.took.Seconds(),
	})
	for _, fig := range r.figures {
		if err == nil {
			err = enc.Encode(fig)
		}
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("cannot save figures in %q: %w", path, err)
	}
	return nil
}

// quantile returns the value below which the share q of d lies.
func quantile[T cmp.Ordered](d []T, q float64) T {
	s := slices.Clone(d)
	slices.Sort(s)
	return s[min(int(float64(len(s))*q), len(s)-1)]
}

func micro(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

func milli(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

package integration_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/lab"
)

// tutorialPatience bounds the whole tutorial.
const tutorialPatience = 90 * time.Second

// TestTutorial runs every ```sh block of docs/tutorial.md as it stands, one after the other in one shell, and compares
// what is printed with the ```text block that follows. There, … stands for anything within a line, and on a line of its
// own for any lines.
func TestTutorial(t *testing.T) {
	lab.Require(t)
	blocks := readTutorial(t)
	l := newLab(t, func() (*lab.Lab, error) { return lab.New(lab.Config{}) })
	path := filepath.Join(l.Dir(), "bin")
	if err := errors.Join(os.Mkdir(path, 0o700), os.Symlink(binary, filepath.Join(path, "tidegate"))); err != nil {
		t.Fatal(err)
	}
	script := "set -e\n"
	for i, b := range blocks {
		script += fmt.Sprintf("echo %q\n%s", mark(i), b.commands)
	}
	file := writeFile(t, l, "tutorial.sh", script+fmt.Sprintf("echo %q\n", mark(len(blocks))))
	ctx, cancel := context.WithTimeoutCause(context.Background(), tutorialPatience, errors.New("the tutorial takes too long"))
	defer cancel()
	r, err := l.Run(ctx, []string{"PATH=" + path + ":" + os.Getenv("PATH")}, "bash", "-c", "exec 2>&1; . "+file)
	if err != nil {
		t.Errorf("%v", err)
	}
	rest := r.Stdout
	for i, b := range blocks {
		_, after, began := strings.Cut(rest, mark(i)+"\n")
		got, _, ended := strings.Cut(after, mark(i+1)+"\n")
		if !began || !ended {
			t.Fatalf("line %d: the block did not get to its end (exit code %d):\n%s\nprinted:\n%s", b.line, r.Code, b.commands, after)
		}
		rest = after
		if b.shown != "" && !matches(b.shown, got) {
			t.Errorf("line %d:\n%s\nprinted:\n%s\nthe tutorial shows:\n%s", b.line, b.commands, got, b.shown)
		}
	}
}

// mark is printed before each block.
func mark(i int) string { return fmt.Sprintf("--- block %d ---", i) }

// block is commands of the tutorial and what it shows of their output.
type block struct {
	line            int
	commands, shown string
}

func readTutorial(t *testing.T) []block {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "docs", "tutorial.md"))
	if err != nil {
		t.Fatal(err)
	}
	var out []block
	var into *string
	line := 0
	for l := range strings.Lines(string(text)) {
		line++
		switch {
		case into != nil && l == "```\n":
			into = nil
		case into != nil:
			*into += l
		case l == "```sh\n":
			out = append(out, block{line: line})
			into = &out[len(out)-1].commands
		case l == "```text\n":
			if len(out) == 0 || out[len(out)-1].shown != "" {
				t.Fatalf("line %d shows the output of no block", line)
			}
			into = &out[len(out)-1].shown
		}
	}
	if len(out) < 10 {
		t.Fatalf("the tutorial has %d blocks only: its form has changed", len(out))
	}
	return out
}

// matches compares line by line, apart from white space at the ends.
func matches(shown, got string) bool {
	pattern := "^"
	for l := range strings.Lines(shown) {
		l = strings.TrimRight(l, " \n")
		if l == "…" {
			pattern += `(?:.*\n)*?`
			continue
		}
		pattern += strings.ReplaceAll(regexp.QuoteMeta(l), "…", ".*") + ` *\n`
	}
	return regexp.MustCompile(pattern + "$").MatchString(got)
}

func TestMatches(t *testing.T) {
	for _, tt := range []struct {
		name, shown, got string
		want             bool
	}{
		{"same", "a\nb\n", "a\nb\n", true},
		{"other", "a\nb\n", "a\nc\n", false},
		{"one more", "a\n", "a\nb\n", false},
		{"one less", "a\nb\n", "a\n", false},
		{"part of a line", "in … days\n", "in 3 days\n", true},
		{"part of another line", "in … days\n", "in 3 nights\n", false},
		{"not over lines", "in … days\n", "in 3\n days\n", false},
		{"lines", "a\n…\nd\n", "a\nb\nc\nd\n", true},
		{"no lines", "a\n…\nd\n", "a\nd\n", true},
		{"only those lines", "a\n…\nd\n", "a\nb\nc\n", false},
		{"nothing special", "a.c\n", "abc\n", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := matches(tt.shown, tt.got); got != tt.want {
				t.Errorf("matches = %v", got)
			}
		})
	}
}

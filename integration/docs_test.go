package integration

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/api/manifest"
	"github.com/tidegate/tidegate/cmd/node"
	"github.com/tidegate/tidegate/cmd/rehearse"
	"github.com/tidegate/tidegate/policy"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// block is a fenced example in a page.
type block struct {
	page, lang, text string
	line             int
}

// pages are the README and everything under docs.
func pages(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	read := func(path string) {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		out[path] = string(data)
	}
	for _, name := range []string{"README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"} {
		read(filepath.Join("..", name))
	}
	err := filepath.WalkDir("../docs", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".md") {
			read(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func blocks(page, text string) []block {
	var out []block
	var open *block
	for i, line := range strings.Split(text, "\n") {
		fence, isFence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case isFence && open == nil:
			open = &block{page: page, lang: fence, line: i + 1}
		case isFence:
			out = append(out, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		}
	}
	return out
}

// TestExamplesInDocs: every YAML example is a node's file or documents that tidegate accepts.
func TestExamplesInDocs(t *testing.T) {
	t.Parallel()
	files, documents := 0, 0
	for page, text := range pages(t) {
		for _, b := range blocks(page, text) {
			if b.lang != "yaml" && b.lang != "yaml inventory" {
				continue
			}
			if regexp.MustCompile(`(?m)^kind:`).MatchString(b.text) {
				docs, err := manifest.Parse(page, []byte(b.text))
				if err != nil {
					t.Errorf("%s:%d: %v", page, b.line, err)
				}
				documents += len(docs)
				continue
			}
			if _, err := node.ParseConfig(page, t.TempDir(), []byte(b.text)); err != nil {
				t.Errorf("%s:%d: %v", page, b.line, err)
			}
			files++
		}
	}
	if files < 2 || documents < 7 {
		t.Errorf("found %d node files and %d documents in the docs: the examples are gone, or are not found any more", files, documents)
	}
}

// TestCasesInDocs: every example of cases comes out as the page says, on the sample inventory, with the documents of the
// last block "yaml inventory" before it on the page in the place of those of the same name.
func TestCasesInDocs(t *testing.T) {
	t.Parallel()
	sample, err := manifest.Load("../cmd/demo/sample", nil)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for page, text := range pages(t) {
		docs := sample
		for _, b := range blocks(page, text) {
			if b.lang == "yaml inventory" {
				docs = withDocuments(t, sample, page, b.text)
			}
			if b.lang != "yaml cases" {
				continue
			}
			cases, err := rehearse.Parse(page, []byte(b.text))
			if err != nil {
				t.Errorf("%s:%d: %v", page, b.line, err)
				continue
			}
			results, err := rehearse.Run(cases, func() (*api.Rehearsal, []*pb.FieldViolation, string) { return api.NewRehearsal(manifest.Protos(docs)) })
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range results {
				found++
				if len(r.Differences) > 0 {
					t.Errorf("%s:%d: %s: %s", page, b.line, r.Name, strings.Join(r.Differences, "; "))
				}
			}
		}
	}
	if found < 3 {
		t.Errorf("found %d cases in the docs: they are gone, or are not found any more", found)
	}
}

// withDocuments is the sample with the documents of a page in the place of those of the same name.
func withDocuments(t *testing.T, sample []*manifest.Document, page, text string) []*manifest.Document {
	t.Helper()
	added, err := manifest.Parse(page, []byte(text))
	if err != nil {
		t.Fatalf("%s: %v", page, err)
	}
	out := slices.Clone(added)
	for _, d := range sample {
		if !slices.ContainsFunc(added, func(a *manifest.Document) bool { return a.Ref() == d.Ref() }) {
			out = append(out, d)
		}
	}
	return out
}

// TestReasonCodesInDocs: docs/reference/cli.md lists the codes that there are, with what they mean.
func TestReasonCodesInDocs(t *testing.T) {
	t.Parallel()
	var got, want []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (refusal)? ?\\| (.*) \\|$").FindAllStringSubmatch(pages(t)["../docs/reference/cli.md"], -1) {
		got = append(got, m[1]+"|"+m[2]+"|"+m[3])
	}
	for _, r := range policy.Reasons() {
		kind := ""
		if r.Refusal {
			kind = "refusal"
		}
		want = append(want, string(r.Code)+"|"+kind+"|"+r.Meaning)
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("codes in docs/reference/cli.md (-want +got):\n%s", diff)
	}
}

// TestFailureModesAreTested: each row of the page says what routers see, how long, and names a test.
func TestFailureModesAreTested(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join("..", "docs", "failure-modes.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for _, line := range strings.Split(string(data), "\n") {
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if !strings.HasPrefix(line, "|") || len(cells) != 4 || strings.HasPrefix(line, "|---") || strings.TrimSpace(cells[3]) == "test" {
			continue
		}
		rows++
		for i, c := range cells {
			if strings.TrimSpace(c) == "" {
				t.Errorf("column %d is empty: %s", i+1, line)
			}
		}
		if !regexp.MustCompile("`Test[A-Z]\\w+`").MatchString(cells[3]) {
			t.Errorf("no test is named: %s", line)
		}
	}
	if rows < 20 {
		t.Errorf("%d rows: the search is broken", rows)
	}
}

// TestTestsInDocs: a test that a page names exists.
func TestTestsInDocs(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("git", "-C", "..", "ls-files", "--cached", "--others", "--exclude-standard", "*_test.go").Output()
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, file := range strings.Fields(string(out)) {
		data, err := os.ReadFile(filepath.Join("..", file))
		if err != nil {
			continue // deleted, not yet committed
		}
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`).FindAllSubmatch(data, -1) {
			there[string(m[1])] = true
		}
	}
	named := 0
	for page, text := range pages(t) {
		for _, name := range regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark)[A-Z]\w+`).FindAllString(text, -1) {
			named++
			if strings.HasPrefix(name, "TestProperty") && name == "TestProperty" {
				continue
			}
			if !there[name] {
				t.Errorf("%s names %s, which does not exist", page, name)
			}
		}
	}
	if named == 0 {
		t.Error("no page names a test: the search is broken")
	}
}

// TestLinksInDocs: a link to another file leads somewhere.
func TestLinksInDocs(t *testing.T) {
	t.Parallel()
	links := 0
	for page, text := range pages(t) {
		for _, m := range regexp.MustCompile(`\]\(([^)#\s]+)`).FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			links++
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s links to %s, which does not exist", page, m[1])
			}
		}
	}
	if links == 0 {
		t.Error("no page has a link: the search is broken")
	}
}

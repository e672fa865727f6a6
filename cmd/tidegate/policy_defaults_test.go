package main

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/api/manifest"
	"github.com/tidegate/tidegate/cmd/rehearse"
	"github.com/tidegate/tidegate/policy"
)

// TestDefaultPolicies does with the default policies what the page tells to do: they are applied to a node that has
// nothing, and their cases come out as written, by the command that users run in their own CI.
func TestDefaultPolicies(t *testing.T) {
	s := newShell(t)
	dir := t.TempDir()
	file := func(name string, args ...string) string {
		code, stdout, stderr := s.run("", "", append([]string{"policy", "defaults"}, args...)...)
		if code != 0 || stderr != "" {
			t.Fatalf("policy defaults %q: exit code %d, %s", args, code, stderr)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(stdout), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	policies, cases, example := file("defaults.yaml"), file("cases.yaml", "--cases"), file("example.yaml", "--example")
	for _, row := range []struct {
		name string
		args []string
		want string
	}{
		{"a fresh node", []string{"policy", "list"}, "No policies: every signal is observed only"},
		{"plan", []string{"plan", "-f", policies}, "add    Policy default-udp"},
		{"apply", []string{"apply", "-f", policies}, "0 changed, 0 removed"},
		{"again", []string{"apply", "-f", policies}, "Nothing to change."},
		{"they are asked late", []string{"policy", "list"}, "default-reflection-of-wanted  -50"},
		{"what was printed is what is there", []string{"plan", "-f", policies, "--prune"}, "0 documents added, 0 changed, 0 removed, 13 unchanged"},
		{"cases", []string{"policy", "test", "-f", cases, "--inventory", example, "--inventory", policies}, "cases, 0 came out otherwise."},
		{"with an inventory", []string{"apply", "-f", example}, "2 documents added"},
	} {
		t.Run(row.name, func(t *testing.T) {
			code, stdout, stderr := s.run(s.pki.Admin, "", row.args...)
			if code != 0 || !strings.Contains(strings.Join(strings.Fields(stdout), " "), strings.Join(strings.Fields(row.want), " ")) {
				t.Errorf("exit code %d, %q is not in:\n%s%s", code, row.want, stdout, stderr)
			}
		})
	}
	for _, args := range [][]string{
		{"defaults", "--cases", "--example"},
		{"defaults", "-o", "json"},
		{"test", "-f", cases, "--inventory", example, "--why", "-o", "json"},
	} {
		if code, _, _ := s.run("", "", append([]string{"policy"}, args...)...); code != 2 {
			t.Errorf("policy %q: exit code %d, want 2", args, code)
		}
	}
}

// TestDefaultPoliciesAreWhole: each vector is answered by a default policy, and has cases in both families; each policy has
// its reasons above it, and bounds.
func TestDefaultPoliciesAreWhole(t *testing.T) {
	docs, err := manifest.Parse("policies.yaml", []byte(defaultPolicies))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(defaultPolicies, "\n")
	taken := map[string]bool{}
	for _, d := range docs {
		p := d.Proto.GetPolicy()
		if above := lines[d.Pos.Line-2]; !strings.HasPrefix(above, "# ") {
			t.Errorf("%s has no reason above it, but %q", p.GetName(), above)
		}
		if p.GetPriority() >= 0 || !strings.HasPrefix(p.GetName(), "default-") {
			t.Errorf("%s, priority %d: it would come before a policy of the site", p.GetName(), p.GetPriority())
		}
		for _, v := range p.GetVectors() {
			taken[v] = true
		}
		if p.GetMode() == "observe" {
			continue
		}
		if p.GetQuiet().AsDuration() == 0 || p.GetLifetime().AsDuration() == 0 || p.GetMaxMitigations() == 0 || len(p.GetMatchOn()) == 0 || slices.Contains(p.GetMatchOn(), "sources") {
			t.Errorf("%s lacks a quiet time, a lifetime, a limit or what it matches on, or trusts sources", p.GetName())
		}
	}
	list, err := rehearse.Parse("cases.yaml", []byte(defaultCases))
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]bool{}
	for _, c := range list {
		if c.Expects.Verdict != "mitigated" || len(c.Expects.Rules) == 0 {
			continue
		}
		s := c.Steps[len(c.Steps)-1].Signal
		said[s.GetVector()+family(s.GetTargets()[0])] = true
	}
	var missing []string
	for _, v := range policy.Vectors() {
		if !taken[string(v.Name)] {
			missing = append(missing, "a policy for "+string(v.Name))
		}
		for _, f := range []string{" in IPv4", " in IPv6"} {
			if !said[string(v.Name)+f] {
				missing = append(missing, "a case of "+string(v.Name)+f)
			}
		}
	}
	if diff := cmp.Diff([]string(nil), missing); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
}

func family(target string) string {
	if strings.Contains(target, ":") {
		return " in IPv6"
	}
	return " in IPv4"
}

// fenced is the text of the first block with this language in a page.
func fenced(t *testing.T, page, lang string) string {
	t.Helper()
	_, after, found := strings.Cut(page, "\n```"+lang+"\n")
	text, _, closed := strings.Cut(after, "```\n")
	if !found || !closed {
		t.Fatalf("the page has no block %q any more", lang)
	}
	return text
}

// TestNightInDocs: the night that docs/policies.md retells is what the command prints of it, to the letter.
func TestNightInDocs(t *testing.T) {
	raw, err := os.ReadFile("../../docs/policies.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	args := []string{"policy", "test", "--why"}
	for _, f := range []struct{ flag, name, text string }{
		{"-f", "night.yaml", fenced(t, string(raw), "yaml night")},
		{"--inventory", "example.yaml", defaultExample},
		{"--inventory", "defaults.yaml", defaultPolicies},
	} {
		path := filepath.Join(dir, f.name)
		if err := os.WriteFile(path, []byte(f.text), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, f.flag, path)
	}
	code, stdout, stderr := (&shell{t: t}).run("", "", args...)
	if code != 0 {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if diff := cmp.Diff(fenced(t, string(raw), "text night"), stdout); diff != "" {
		t.Errorf("the night in docs/policies.md (-page +printed):\n%s", diff)
	}
}

// TestTablesInDocs: docs/policies.md lists the vectors that there are, in their order, each with its ports, and the default
// policies with their vectors.
func TestTablesInDocs(t *testing.T) {
	raw, err := os.ReadFile("../../docs/policies.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := func(heading string) (out []string) {
		_, after, _ := strings.Cut(string(raw), "\n## "+heading+"\n")
		section, _, _ := strings.Cut(after, "\n## ")
		for line := range strings.Lines(section) {
			if strings.HasPrefix(line, "| `") {
				out = append(out, line)
			}
		}
		return out
	}
	var got, want []string
	for _, r := range rows("Vectors") {
		got = append(got, strings.Split(r, "`")[1])
	}
	for i, v := range policy.Vectors() {
		want = append(want, string(v.Name))
		for _, ports := range v.SourcePorts {
			if i < len(got) && !strings.Contains(rows("Vectors")[i], strconv.Itoa(int(ports.Lo))) {
				t.Errorf("port %d is not in %q", ports.Lo, rows("Vectors")[i])
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("vectors in docs/policies.md (-want +got):\n%s", diff)
	}
	docs, err := manifest.Parse("policies.yaml", []byte(defaultPolicies))
	if err != nil {
		t.Fatal(err)
	}
	listed := rows("Default policies")
	if len(listed) != len(docs) {
		t.Errorf("%d default policies, %d rows", len(docs), len(listed))
	}
	for i, d := range docs {
		if i < len(listed) && !strings.HasPrefix(listed[i], "| `"+d.Name+"` |") {
			t.Errorf("row %d is %q, want %s", i+1, listed[i], d.Name)
		}
	}
}

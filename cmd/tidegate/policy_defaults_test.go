package main

import (
	"os"
	"path/filepath"
	"slices"
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
	for _, args := range [][]string{{"--cases", "--example"}, {"-o", "json"}} {
		if code, _, _ := s.run("", "", append([]string{"policy", "defaults"}, args...)...); code != 2 {
			t.Errorf("policy defaults %q: exit code %d, want 2", args, code)
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

package main

import (
	"os"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/cmd/client"
)

// The calls that FastNetMon makes, against a node: the texts are captured ones.
func TestSignalFastNetMon(t *testing.T) {
	s := newShell(t)
	if code, _, errs := s.run(s.pki.Admin, inventory, "apply", "-f", "-", "--reason", "test"); code != 0 {
		t.Fatal(errs)
	}
	text := func(name string) string {
		b, err := os.ReadFile("../fastnetmon/testdata/" + name + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	dir := t.TempDir()
	rows := []struct {
		name, stdin string
		role        string
		args        []string
		code        int
		says        []string
	}{
		{"a ban", text("dns-ban"), s.pki.Detector, []string{"203.0.113.10", "incoming", "430", "ban"}, 0, []string{"mitigated", "M1"}},
		{"details say the same", text("dns-attack_details"), s.pki.Detector, []string{"203.0.113.10", "incoming", "430", "attack_details"}, 0, []string{"merged", "M1"}},
		{"its end", "", s.pki.Detector, []string{"203.0.113.10", "incoming", "430", "unban"}, 0, []string{"ended", "M1"}},
		{"an end of nothing", "", s.pki.Detector, []string{"203.0.113.10", "incoming", "430", "unban"}, client.ExitNotFound, []string{"no attack of this victim is remembered"}},
		{"a vector without a policy", text("gre-ban"), s.pki.Detector, []string{"203.0.113.14", "incoming", "443", "ban"}, 0, []string{"observed", "vector unknown"}},
		{"a link", text("dns-ban"), s.pki.Detector, []string{"203.0.113.5", "incoming", "443", "ban"}, client.ExitRefused, []string{"refused", "203.0.113.4/30"}},
		{"outgoing", text("dns-ban"), s.pki.Detector, []string{"203.0.113.20", "outgoing", "443", "ban"}, 0, []string{"Ignored", "--outgoing"}},
		{"an operator", text("dns-ban"), s.pki.Operator, []string{"203.0.113.21", "incoming", "443", "ban"}, client.ExitDenied, []string{"may not call"}},
		{"not an address", "", s.pki.Detector, []string{"victim", "incoming", "443", "ban"}, client.ExitUsage, []string{`victim "victim"`}},
		{"too few arguments", "", s.pki.Detector, []string{"203.0.113.10"}, client.ExitUsage, []string{"is missing"}},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			code, out, errs := s.run(r.role, r.stdin, append([]string{"signal", "fastnetmon", "--state-dir", dir}, r.args...)...)
			if code != r.code {
				t.Errorf("exit code %d, want %d", code, r.code)
			}
			all := strings.Join(strings.Fields(out+errs), " ")
			for _, want := range r.says {
				if !strings.Contains(all, want) {
					t.Errorf("%q is not in: %s", want, all)
				}
			}
		})
	}
}

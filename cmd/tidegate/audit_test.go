package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestAudit: what was done is listed, written to the node's file, and checked there against the cluster.
func TestAudit(t *testing.T) {
	s := newShell(t)
	dir := filepath.Join(filepath.Dir(filepath.Dir(s.pki.Admin)), "audit")
	must := func(want int, args ...string) string {
		t.Helper()
		code, stdout, stderr := s.run(s.pki.Admin, inventory, args...)
		if code != want {
			t.Fatalf("tidegate %q: exit code %d, want %d\n%s%s", args, code, want, stdout, stderr)
		}
		return strings.Join(strings.Fields(stdout), " ")
	}
	must(0, "apply", "-f", "-", "--reason", "first inventory", "--request-id", "once")
	list := must(0, "audit", "list")
	for _, want := range []string{"admin/admin", "PutDocument*3 PutResult", "Customer/uni-a Router/edge1 Policy/reflected", "first inventory"} {
		if !strings.Contains(list, want) {
			t.Errorf("audit list has no %q:\n%s", want, list)
		}
	}
	if got := must(0, "audit", "list", "--by", "detector"); !strings.Contains(got, "No records.") {
		t.Errorf("records of detectors: %s", got)
	}
	if got := must(0, "audit", "list", "--since", "1h", "-o", "json"); !strings.Contains(got, `"request_id": "once"`) {
		t.Errorf("since: %s", got)
	}
	must(0, "audit", "verify")
	// The file follows within a second.
	name := filepath.Join(dir, "audit-000001.jsonl")
	deadline := time.Now().Add(20 * time.Second)
	var data []byte
	for !bytes.Contains(data, []byte("first inventory")) {
		if time.Now().After(deadline) {
			t.Fatalf("the file has no record of it:\n%s", data)
		}
		data, _ = os.ReadFile(name)
	}
	if got := must(0, "audit", "verify", dir); !strings.Contains(got, "no line was changed, removed, added or moved") || !strings.Contains(got, "is the cluster's") {
		t.Errorf("audit verify: %s", got)
	}
	export := filepath.Join(t.TempDir(), "export.jsonl")
	must(0, "audit", "export", "-f", export)
	must(0, "audit", "verify", export)
	changed := filepath.Join(t.TempDir(), "changed.jsonl")
	if err := os.WriteFile(changed, bytes.Replace(data, []byte("first inventory"), []byte("other inventory"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := must(3, "audit", "verify", "--offline", changed); !strings.Contains(got, "was changed: it does not have the hash that it states") {
		t.Errorf("audit verify of a changed file: %s", got)
	}
	// A file that agrees with itself, from another cluster.
	other := newShell(t)
	foreign := filepath.Join(t.TempDir(), "foreign.jsonl")
	for _, args := range [][]string{{"apply", "-f", "-"}, {"audit", "export", "-f", foreign}} {
		if code, _, stderr := other.run(other.pki.Admin, inventory, args...); code != 0 {
			t.Fatal(stderr)
		}
	}
	if got := must(3, "audit", "verify", foreign); !strings.Contains(got, "is NOT the cluster's") {
		t.Errorf("audit verify of another cluster's export: %s", got)
	}
	if got := must(0, "audit", "begin", "--reason", "again"); !strings.Contains(got, "Nothing to change.") {
		t.Errorf("audit begin: %s", got)
	}
	must(2, "audit", "verify", filepath.Join(dir, "nothing"))
	if code, _, _ := s.run(s.pki.Detector, "", "audit", "list"); code != 6 {
		t.Errorf("a detector may list: exit code %d", code)
	}
}

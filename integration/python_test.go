package integration_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/integration/lab"
)

// python finds one that has what the example needs: the first in PATH may be another than Debian's.
func python(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		path, err := exec.LookPath(name)
		if err == nil && exec.CommandContext(t.Context(), path, "-c", "import grpc, grpc_tools.protoc").Run() == nil {
			return path
		}
	}
	lab.Missing(t, "the Debian packages python3-grpcio and python3-grpc-tools")
	return ""
}

// TestPythonDetector runs docs/how-to/python-detector as its page says: stubs from our .proto files, mutual TLS, a stream
// with the start, an update and the end of an attack. The verdicts are those of the page. The attack may be over before the
// router hears of it; afterwards it has nothing.
func TestPythonDetector(t *testing.T) {
	py := python(t)
	s := startSingle(t)
	commands := example(t, "how-to/python-detector/README.md", "sh")
	stubs := filepath.Join(s.lab.Dir(), "stubs")
	if err := os.Mkdir(stubs, 0o700); err != nil {
		t.Fatal(err)
	}
	for old, now := range map[string]string{
		"python3": py, "_out=.": "_out=" + stubs, "PYTHONPATH=.": "PYTHONPATH=" + stubs, "127.0.0.1:7400 flowmon": s.api + " " + filepath.Join(s.lab.Dir(), "n1", "pki", "detector"),
	} {
		if !strings.Contains(commands, old) {
			t.Fatalf("the page does not say %q any more:\n%s", old, commands)
		}
		commands = strings.ReplaceAll(commands, old, now)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 2*patience, errors.New("not in time"))
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-ec", commands)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, errs.String())
	}
	if diff := cmp.Diff(example(t, "how-to/python-detector/README.md", "text"), string(out)); diff != "" {
		t.Errorf("verdicts (-page +got):\n%s", diff)
	}
	s.waitTable()
}

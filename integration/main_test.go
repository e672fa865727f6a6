// Package integration_test tests the built program from the outside: real processes, real sessions, real routers. It
// owns no code that ships. What a test says of tidegate it reads from exit codes, printed answers and, above all, from
// the tables of those who heard the rules.
package integration_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// binary is the program under test: $TIDEGATE_BIN, or one that TestMain builds.
var binary string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if binary = os.Getenv("TIDEGATE_BIN"); binary != "" {
		var err error
		if binary, err = filepath.Abs(binary); err == nil {
			_, err = os.Stat(binary)
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "cannot use TIDEGATE_BIN: %v\n", err)
			return 1
		}
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "tidegate-integration-")
	if err != nil {
		fmt.Fprintf(os.Stderr, "cannot make a directory for the program: %v\n", err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }() // what is left lies in the system's directory for such
	binary = filepath.Join(dir, "tidegate")
	build := exec.Command("go", "build", "-o", binary, "github.com/tidegate/tidegate/cmd/tidegate")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "cannot build tidegate: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

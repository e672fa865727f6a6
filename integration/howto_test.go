package integration_test

import (
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestScriptsInDocs: a script that the docs offer can be run, and bash understands it. What a script does is tried where
// it can be: witness.sh against FRR, BIRD and gobgpd, with its records in bgp/profile/evidence.
func TestScriptsInDocs(t *testing.T) {
	t.Parallel()
	found := 0
	err := filepath.WalkDir("../docs", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".sh") {
			return err
		}
		found++
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode()&0o100 == 0 {
			t.Errorf("%s cannot be executed", path)
		}
		if out, err := exec.Command("bash", "-n", path).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", path, err, out)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found == 0 {
		t.Error("the docs have no script: the search is broken")
	}
}

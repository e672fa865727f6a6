package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// program is what is built.
const program = "./cmd/tidegate"

// Build builds what is not given of Binary, Previous and Faulty into a directory. The previous build is that of the commit
// before this one; why says why there is none, in a copy without history.
func (c *Config) Build(ctx context.Context, dir string) (why string, err error) {
	top, err := output(ctx, ".", "go", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return "", err
	}
	if c.Binary == "" {
		if c.Binary, err = build(ctx, top, filepath.Join(dir, "tidegate")); err != nil {
			return "", err
		}
	}
	if c.Faulty == "" {
		if c.Faulty, err = build(ctx, top, filepath.Join(dir, "tidegate-faulty"), "-tags", "faults"); err != nil {
			return "", err
		}
	}
	if c.Previous == "" {
		why, err = c.buildPrevious(ctx, top, dir)
	}
	return why, err
}

func (c *Config) buildPrevious(ctx context.Context, top, dir string) (why string, err error) {
	commit, err := output(ctx, top, "git", "-c", "safe.directory=*", "rev-parse", "--verify", "HEAD~1^{commit}")
	if err != nil {
		return fmt.Sprintf("there is no commit before this one here (a shallow clone?): %v", err), nil
	}
	tree := filepath.Join(dir, "previous")
	archive := tree + ".tar"
	if err := os.MkdirAll(tree, 0o700); err != nil {
		return "", fmt.Errorf("cannot make a directory for the previous commit: %w", err)
	}
	if _, err := output(ctx, top, "git", "-c", "safe.directory=*", "archive", "-o", archive, commit); err != nil {
		return "", err
	}
	if _, err := output(ctx, tree, "tar", "-xf", archive); err != nil {
		return "", err
	}
	c.Previous, err = build(ctx, tree, filepath.Join(dir, "tidegate-previous"))
	return "", errors.Join(err, os.RemoveAll(tree), os.Remove(archive))
}

func build(ctx context.Context, in, out string, flags ...string) (string, error) {
	_, err := output(ctx, in, "go", append(append([]string{"build", "-buildvcs=false", "-o", out}, flags...), program)...)
	return out, err
}

func output(ctx context.Context, in, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = in, append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	if err != nil {
		return "", fmt.Errorf("cannot run %s %s: %w", name, strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// integration holds the black-box tests, which need the built binary and, most of them, root.
const integration = "github.com/tidegate/tidegate/integration"

// faults is the part of them that breaks processes, networks and disks under a cluster at work: a step of its own.
const faults = integration + "/faults"

// self is this program: ./... does not reach it, because of the dot in .ci.
const self = "./.ci/testrun"

// supply checks licences and known vulnerabilities; the same holds for it.
const supply = "./.ci/supply"

// A step is one line of the report: a command, or tests.
type step struct {
	name string
	// run does the work. Tests go into the tally; the error says what no test could say.
	run func(ctx context.Context, t *tally) error
}

// outcome is what became of a step.
type outcome struct {
	name    string
	tests   []result
	err     error
	note    string // why a step had nothing to do
	elapsed time.Duration
}

// nothingError ends a step that had good reason to do nothing; its text is the reason.
type nothingError string

func (e nothingError) Error() string { return string(e) }

// runner knows the surroundings that the steps depend on.
type runner struct {
	out      io.Writer
	fuzztime time.Duration
	binary   string // absolute path of the built tidegate, which integration tests start
	root, ci bool
}

// plan returns the steps of a target. A test belongs to exactly one step of "all":
//   - TestProperty… runs millions of cases and goes without the race detector;
//   - everything in integration/ but integration/faults runs against the built binary;
//   - every other test, example and fuzz seed runs once, under the race detector.
func (r *runner) plan(target string) ([]step, error) {
	race := step{"race", r.race}
	property := step{"property", r.property}
	fuzz := step{"fuzz", r.fuzz}
	interop := step{"interop", r.interop}
	faults := step{"faults", r.faults}
	switch target {
	case "all":
		return []step{
			{"setup", r.setup},
			{"tools", r.command("make", "--no-print-directory", "tools")},
			{"build", r.command("make", "--no-print-directory", "build")},
			{"lint", r.command("make", "--no-print-directory", "--keep-going", "lint")},
			race, property, fuzz, interop,
		}, nil
	case "unit":
		return []step{{"unit", r.unit}}, nil
	case "race":
		return []step{race}, nil
	case "property":
		return []step{property}, nil
	case "fuzz":
		return []step{fuzz}, nil
	case "interop":
		return []step{interop}, nil
	case "faults":
		return []step{faults}, nil
	default:
		return nil, fmt.Errorf("cannot run %q: want all, unit, race, property, fuzz, interop or faults", target)
	}
}

// step runs s, timed.
func (r *runner) step(ctx context.Context, s step) outcome {
	fmt.Fprintf(r.out, "\n== %s\n", s.name)
	t := newTally(s.name, r.out)
	start := time.Now()
	err := s.run(ctx, t)
	o := outcome{name: s.name, err: err, elapsed: time.Since(start)}
	var nothing nothingError
	if errors.As(err, &nothing) {
		o.err, o.note = nil, nothing.Error()
		fmt.Fprintf(r.out, "nothing done: %s\n", o.note)
	}
	o.tests = t.results()
	return o
}

// setup installs the routers. Without root it is left to the tests to say what they miss;
// in CI that would end in skips, which fail, so it is an error at once.
func (r *runner) setup(ctx context.Context, t *tally) error {
	if r.root {
		return r.command(".ci/setup")(ctx, t)
	}
	if r.ci {
		return errors.New("cannot install the routers: not root, and CI=true allows no skip")
	}
	return nothingError("not root, so no routers were installed (sudo make setup does it) " +
		"and the tests that need namespaces skip")
}

// command returns a step that succeeds when the command does.
func (r *runner) command(name string, args ...string) func(context.Context, *tally) error {
	return func(ctx context.Context, _ *tally) error {
		cmd := command(ctx, name, args...)
		cmd.Stdout, cmd.Stderr = r.out, r.out
		err := cmd.Run()
		bury(ctx, cmd)
		if err != nil {
			return fmt.Errorf("cannot complete %q: %w", strings.Join(cmd.Args, " "), err)
		}
		return nil
	}
}

func (r *runner) unit(ctx context.Context, t *tally) error {
	pkgs, err := packages(ctx, unitTests)
	if err != nil {
		return err
	}
	return r.test(ctx, t, pkgs, "-timeout=10m", "-skip=^TestProperty")
}

func (r *runner) race(ctx context.Context, t *tally) error {
	pkgs, err := packages(ctx, unitTests)
	if err != nil {
		return err
	}
	return r.test(ctx, t, pkgs, "-race", "-timeout=10m", "-skip=^TestProperty")
}

func (r *runner) property(ctx context.Context, t *tally) error {
	pkgs, err := packages(ctx, properties)
	if err != nil {
		return err
	}
	return r.test(ctx, t, pkgs, "-timeout=10m", "-run=^TestProperty")
}

// fuzz gives every target its time. The go command fuzzes one target of one package at once.
func (r *runner) fuzz(ctx context.Context, t *tally) error {
	targets, err := fuzzTargets(ctx)
	if err != nil {
		return err
	}
	if len(targets) == 0 {
		return errors.New("no fuzz target found: every codec and parser has one, so the search is broken")
	}
	var errs []error
	for _, target := range targets {
		errs = append(errs, r.fuzzOne(ctx, t, target))
	}
	return errors.Join(errs...)
}

// fuzzAttempts bounds the repetitions that deadlineRace causes.
const fuzzAttempts = 3

// fuzzOne fuzzes one target, again if the go command tripped over its own clock.
func (r *runner) fuzzOne(ctx context.Context, t *tally, target fuzzTarget) error {
	for attempt := 1; ; attempt++ {
		one := newTally(t.step, r.out)
		one.verbose = true
		// An input that finds something new is made smaller, for up to a minute by default: with long seeds, such as a
		// router's table, all of fuzztime would go into the first one.
		err := r.test(ctx, one, []string{target.pkg}, "-timeout=10m", "-run=^$",
			"-fuzz=^"+target.name+"$", "-fuzztime="+r.fuzztime.String(), "-fuzzminimizetime=100x")
		if err == nil && attempt < fuzzAttempts && deadlineRace(one.results()) {
			fmt.Fprintf(r.out, "%s again: no input failed, the end of -fuzztime did (go.dev/issue/75804)\n", target.name)
			continue
		}
		t.done = append(t.done, one.results()...)
		return err
	}
}

// deadlineRace recognises the failure that go before 1.27 reports now and then when
// -fuzztime is over: the deadline as an error, and no failing input.
func deadlineRace(rs []result) bool {
	found := false
	for _, r := range rs {
		if r.action != failed {
			continue
		}
		if reason(r.output) != "context deadline exceeded" || found {
			return false
		}
		found = true
	}
	return found
}

// interop runs the integration tests one package at a time: they own loopback addresses,
// namespaces and daemons.
func (r *runner) interop(ctx context.Context, t *tally) error {
	t.verbose = true
	pkgs, err := packages(ctx, interopTests)
	if err != nil {
		return err
	}
	return r.test(ctx, t, pkgs, "-count=1", "-p=1", "-timeout=15m")
}

// faults breaks what can break, for some minutes.
func (r *runner) faults(ctx context.Context, t *tally) error {
	t.verbose = true
	return r.test(ctx, t, []string{faults}, "-count=1", "-timeout=20m")
}

// test runs `go test -json` and feeds the tally. A failed test is not an error here, it is
// a count; an error is a failure that no test accounts for.
func (r *runner) test(ctx context.Context, t *tally, pkgs []string, args ...string) error {
	if len(pkgs) == 0 {
		return errors.New("no package has such tests, so the search for them is broken")
	}
	cmd := command(ctx, "go", slices.Concat([]string{"test", "-json"}, args, pkgs)...)
	cmd.Stderr = r.out
	cmd.Env = append(os.Environ(), "TIDEGATE_BIN="+r.binary)
	if slices.Contains(args, "-race") {
		cmd.Env = append(cmd.Env, "CGO_ENABLED=1") // the Makefile turns it off for all else
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("cannot read from go test: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot start go test: %w", err)
	}
	before := t.counts()
	readErr := t.read(stdout)
	waitErr := cmd.Wait()
	bury(ctx, cmd)
	t.finish()
	after := t.counts()
	switch {
	case readErr != nil:
		return fmt.Errorf("cannot read the output of go test: %w", readErr)
	case waitErr != nil && after.failed == before.failed:
		return fmt.Errorf("go test failed outside of any test: %w", waitErr)
	case after == before:
		return fmt.Errorf("no test ran in %s: the pattern matches nothing", strings.Join(pkgs, " "))
	default:
		return nil
	}
}

// command prepares a child in a process group of its own. Cancelling interrupts the whole
// group: a go command that is stopped alone leaves the test binary running.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = 20 * time.Second
	return cmd
}

// bury kills what a cancelled command left in its group. It is called after Wait.
func bury(ctx context.Context, cmd *exec.Cmd) {
	if ctx.Err() != nil && cmd.Process != nil {
		// That nobody is left is the usual answer.
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
}

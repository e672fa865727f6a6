// Command testrun runs the steps of `make test` one after the other and ends with counts.
//
// It owns the order of the steps, what belongs to which of them, and the arithmetic of the
// last line. It knows nothing of what is tested: lint, build and setup are make targets and
// a script, the rest is what `go test -json` reports. The Makefile is its only caller.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		// The reason stands above the counts already, which are the last line.
		if !errors.Is(err, errFailed) {
			fmt.Fprintln(os.Stderr, "testrun:", err)
		}
		os.Exit(1)
	}
}

// errFailed says that the run is complete and its counts, already printed, are not all good.
var errFailed = errors.New("tests failed or were skipped in CI")

// run carries out the named plan and prints the report to out.
func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("testrun", flag.ContinueOnError)
	fuzztime := flags.Duration("fuzztime", 10*time.Second, "how long each fuzz target runs")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("cannot read flags: %w", err)
	}
	if flags.NArg() != 1 {
		return fmt.Errorf("cannot run %q: want one of all, unit, race, property, fuzz, interop, faults", flags.Args())
	}
	binary, err := filepath.Abs("bin/tidegate")
	if err != nil {
		return fmt.Errorf("cannot locate the binary: %w", err)
	}
	r := &runner{
		out:      out,
		fuzztime: *fuzztime,
		binary:   binary,
		root:     os.Geteuid() == 0,
		ci:       os.Getenv("CI") == "true",
	}
	plan, err := r.plan(flags.Arg(0))
	if err != nil {
		return err
	}
	rep := report{ci: r.ci}
	for _, s := range plan {
		if ctx.Err() != nil {
			rep.steps = append(rep.steps, outcome{name: s.name, err: errors.New("not run: interrupted")})
			continue
		}
		rep.add(r.step(ctx, s))
	}
	rep.print(out)
	if !rep.good() {
		return errFailed
	}
	return nil
}

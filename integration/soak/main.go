// Command soak causes faults at random, for as long as it is told, and prints a scoreboard. `make soak MINUTES=n` calls
// it. A run that shows what must not be ends with exit code 1; it has kept its logs and prints the command that repeats it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tidegate/tidegate/integration/faults"
	"github.com/tidegate/tidegate/integration/lab"
)

// epoch is how long one cluster lives: then it is judged, and the next one begins with the next seed.
const epoch = 6 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

var errWrong = errors.New("the run shows what must not be")

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	minutes := flags.Float64("minutes", 10, "how long")
	seed := flags.Uint64("seed", uint64(time.Now().UnixNano()), "of the first cluster; the next ones count on from it") //nolint:gosec // Any number will do.
	keep := flags.String("keep", os.TempDir(), "where logs of a cluster that failed go")
	binary := flags.String("binary", os.Getenv("TIDEGATE_BIN"), "the program; empty: it is built")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("cannot read flags: %w", err)
	}
	if missing := lab.AbsentForFaults(); len(missing) > 0 {
		return fmt.Errorf("cannot run: needs %s (see make setup)", strings.Join(missing, ", "))
	}
	dir, err := os.MkdirTemp("", "tidegate-soak-")
	if err != nil {
		return fmt.Errorf("cannot make a directory for the programs: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // what is left lies in the system's directory for such
	cfg := faults.Config{Binary: *binary, Log: func(format string, args ...any) {
		fmt.Printf(time.Now().Format(time.TimeOnly)+" "+format+"\n", args...)
	}}
	why, err := cfg.Build(ctx, dir)
	if err != nil {
		return err
	}
	if why != "" {
		cfg.Log("ATTENTION: no rolling upgrade is tried: %s", why)
	}
	until := time.Now().Add(time.Duration(*minutes * float64(time.Minute)))
	var total faults.Score
	for cfg.Seed = *seed; time.Now().Before(until) && ctx.Err() == nil; cfg.Seed++ {
		if err := cluster(ctx, cfg, until, *keep, &total); err != nil && ctx.Err() == nil {
			return err
		}
	}
	total.Print(os.Stdout)
	if !total.Good() {
		return errWrong
	}
	return nil
}

// cluster tries one cluster and adds its score to total.
func cluster(ctx context.Context, cfg faults.Config, until time.Time, keep string, total *faults.Score) (err error) {
	cfg.Log("seed %d", cfg.Seed)
	w, err := faults.Start(ctx, cfg)
	if err != nil {
		return err
	}
	good := false
	defer func() {
		if !good && ctx.Err() == nil {
			at := filepath.Join(keep, fmt.Sprintf("tidegate-soak-%d", cfg.Seed))
			err = errors.Join(err, w.Keep(at))
			fmt.Printf("logs are in %s; the same again: make soak MINUTES=%.0f SEED=%d\n", at, epoch.Minutes(), cfg.Seed)
		}
		err = errors.Join(err, w.Close())
	}()
	rng := rand.New(rand.NewPCG(cfg.Seed, 2)) //nolint:gosec // Repeated by its seed.
	var kinds []faults.Fault
	for _, f := range faults.Faults() {
		if !f.Possible(cfg) {
			continue
		}
		if f.Repeatable() {
			kinds = append(kinds, f)
		} else if err := w.Inject(ctx, f); err != nil {
			return err
		}
	}
	for end := time.Now().Add(epoch); time.Now().Before(end) && time.Now().Before(until) && ctx.Err() == nil; {
		if err := w.Inject(ctx, kinds[rng.IntN(len(kinds))]); err != nil {
			break // it is among the findings
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	s, err := w.Finish(ctx)
	if err != nil {
		return err
	}
	total.Add(s)
	if good = s.Good(); !good {
		s.Print(os.Stdout)
	}
	return nil
}

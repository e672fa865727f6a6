package faults_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/integration/faults"
	"github.com/tidegate/tidegate/integration/lab"
)

// writeGap is how long nobody may be able to write after the leader is lost. An election takes a second or two; the rest
// is for slow machines.
const writeGap = 30 * time.Second

// TestFaults causes every fault on one cluster, some of them many times, while clients write and read. Each fault is a
// subtest, which fails when the cluster is not whole again; "judgement" holds against each other what clients were told
// and what three routers heard, over the whole run. FAULTS_SEED repeats a run, FAULTS_ONLY, an expression,
// chooses faults by name. FAULTS_PREVIOUS and FAULTS_FAULTY name programs that need not be built then.
func TestFaults(t *testing.T) {
	lab.RequireFaults(t)
	cfg := faults.Config{
		Binary: os.Getenv("TIDEGATE_BIN"), Previous: os.Getenv("FAULTS_PREVIOUS"), Faulty: os.Getenv("FAULTS_FAULTY"),
		Seed: seed(t), Log: t.Logf,
	}
	why, err := cfg.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if why != "" {
		t.Logf("ATTENTION: no rolling upgrade from the previous commit is tried: %s", why)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 14*time.Minute, errors.New("the faults take too long"))
	defer cancel()
	w, err := faults.Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			dir := keep(t)
			if err := w.Keep(dir); err != nil {
				t.Errorf("cannot keep the logs: %v", err)
			}
			t.Logf("logs are in %s; the same again: FAULTS_SEED=%d make faults", dir, cfg.Seed)
		}
		if err := w.Close(); err != nil {
			t.Errorf("cannot clean up: %v", err)
		}
	})
	only, err := regexp.Compile(os.Getenv("FAULTS_ONLY"))
	if err != nil {
		t.Fatalf("FAULTS_ONLY: %v", err)
	}
	for _, f := range faults.Faults() {
		if !f.Possible(cfg) || !only.MatchString(f.Name) {
			continue
		}
		ok := t.Run(f.Name, func(t *testing.T) {
			for range f.Times {
				if err := w.Inject(ctx, f); err != nil {
					t.Fatal(err)
				}
			}
		})
		if !ok {
			break // what follows would only fail as well
		}
	}
	t.Run("judgement", func(t *testing.T) { judgement(ctx, t, w) })
}

// judgement ends the run.
func judgement(ctx context.Context, t *testing.T, w *faults.World) {
	s, err := w.Finish(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	s.Print(&b)
	t.Log("\n" + b.String())
	if !s.Good() {
		t.Error("the run shows what must not be")
	}
	if s.Writes < 50 || s.Reads < 50 || s.Updates < 50 {
		t.Error("the clients did too little for the run to prove anything")
	}
	if n := len(s.Gaps); n > 0 && s.Gaps[n-1] > writeGap {
		t.Errorf("nobody could write for %v", s.Gaps[n-1])
	}
}

// seed is that of the run.
func seed(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("FAULTS_SEED")
	if text == "" {
		return 1
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("FAULTS_SEED=%q is not a number", text)
	}
	return n
}

// keep is where logs of a run that failed go.
func keep(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("FAULTS_KEEP")
	if dir == "" {
		dir = os.TempDir()
	}
	return filepath.Join(dir, "tidegate-faults-"+strconv.Itoa(os.Getpid()))
}

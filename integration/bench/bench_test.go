// Package bench_test measures what tidegate promises about speed and memory, each figure beside the bare part that
// it cannot beat: raft alone, GoBGP alone. `make bench` runs it; docs/reference/benchmarks.md says what each figure
// means. Nodes are processes of the real binary with raft on disk and mutual TLS, routers are bgptest's over loopback
// TCP, and the bare parts are processes of this test binary.
//
// Other people's work disturbs a shared machine, so samples of the two sides take turns, and a judgement is made on
// the ratio of medians, never on the difference of two runs.
package bench_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// budget bounds the whole run.
const budget = 5 * time.Minute

// The environment that `make bench` sets.
const (
	envBinary = "TIDEGATE_BIN"   // the binary to measure; built when unset
	envJSON   = "TIDEGATE_BENCH" // where the JSON lines go; nowhere when unset
)

// TestMain turns into a bare part when this binary is started again as one.
func TestMain(m *testing.M) {
	if job := os.Getenv(envChild); job != "" {
		if err := child(job); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// chapter is one group of figures.
type chapter struct {
	name string
	run  func(*testing.B, *suite)
}

// suite is what the chapters share.
type suite struct {
	ctx    context.Context
	binary string // of tidegate
	report *report
}

// BenchmarkTargets takes every figure once, prints them, and fails if a target is missed. It is a benchmark so that
// nobody runs it by accident; with -bench Targets/NAME it takes one chapter only.
func BenchmarkTargets(b *testing.B) {
	ctx, cancel := context.WithTimeout(context.Background(), budget)
	defer cancel()
	s := &suite{ctx: ctx, binary: binary(b), report: newReport()}
	began := time.Now()
	for _, c := range []chapter{
		{"evaluate", measureEvaluate},
		{"policy", measurePolicy},
		{"decisions", measureDecisions},
		{"fsm", measureFSM},
		{"inventory", measureInventory},
		{"rules", measureRules},
		{"one-rule", measureOneRule},
		{"memory", measureMemory},
		{"latency-1", func(b *testing.B, s *suite) { measureLatency(b, s, 1) }},
		{"latency-3", func(b *testing.B, s *suite) { measureLatency(b, s, 3) }},
		{"signals", measureSignals},
	} {
		b.Run(c.name, func(b *testing.B) {
			c.run(b, s)
			b.ReportMetric(b.Elapsed().Seconds(), "s")
			b.ReportMetric(0, "ns/op")
		})
	}
	s.report.took = time.Since(began)
	s.report.print(os.Stdout)
	if path := os.Getenv(envJSON); path != "" {
		if err := s.report.save(path); err != nil {
			b.Error(err)
		}
	}
	for _, f := range s.report.figures {
		if f.missed() {
			b.Errorf("%s: %s %s, the target is %s", f.Name, f.text(), f.Unit, f.target())
		}
	}
}

// binary returns the tidegate to measure.
func binary(b *testing.B) string {
	b.Helper()
	if path := os.Getenv(envBinary); path != "" {
		return path
	}
	path := filepath.Join(b.TempDir(), "tidegate")
	out, err := exec.CommandContext(b.Context(), "go", "build", "-o", path, "github.com/tidegate/tidegate/cmd/tidegate").CombinedOutput()
	if err != nil {
		b.Fatalf("cannot build tidegate: %v\n%s", err, out)
	}
	return path
}

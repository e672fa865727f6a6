package controller

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/policy"
)

// The flags with which a world is replayed, or more of them are seen.
const (
	flagSeed  = "world.seed"
	flagSteps = "world.steps"
	flagHours = "world.hours"
	flagFirst = "world.first"
)

func TestMain(m *testing.M) {
	flag.Uint64(flagSeed, 0, "run the world of this seed only, and tell its story")
	flag.Int(flagSteps, 0, "end that world after so many steps; 0: at its end")
	flag.Int(flagHours, 10_000, "run worlds for so many attack-hours")
	flag.Uint64(flagFirst, 1, "the first seed")
	os.Exit(m.Run())
}

func flagged[T any](name string) T {
	v, _ := flag.Lookup(name).Value.(flag.Getter).Get().(T)
	return v
}

// seeded is the source of chance of a seed.
func seeded(seed uint64) rand.Source { return rand.NewPCG(seed, 20261124) }

// live runs the world of a seed. Its error is the invariant that broke, with the story that led to it.
func live(seed uint64, steps int, fault faults) (*world, error) {
	w, err := newWorld(seeded(seed), fault)
	if err == nil {
		err = w.run(steps)
	}
	return w, err
}

// story is how the world came to where it is, in its last lines.
func (w *world) story(lines int) string {
	return strings.Join(w.trace[max(0, len(w.trace)-lines):], "\n")
}

// replay is the command that shows the world of a seed until a step.
func replay(seed uint64, steps int) string {
	return fmt.Sprintf("go test ./controller -run '^TestPropertyWorld$' -v -args -%s=%d -%s=%d", flagSeed, seed, flagSteps, steps)
}

// TestPropertyWorld lets attacks happen for 10,000 hours in worlds of many seeds. An invariant that breaks is printed
// with the command that shows that world again.
func TestPropertyWorld(t *testing.T) {
	if seed := flagged[uint64](flagSeed); seed != 0 {
		w, err := live(seed, flagged[int](flagSteps), faults{})
		t.Logf("seed %d, %d steps\n%s", seed, w.steps, w.story(4000))
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // what a world leaves behind is small, and the collector works for nothing else
	need := time.Duration(flagged[int](flagHours)) * time.Hour
	total := map[string]int{}
	var hours time.Duration
	first := flagged[uint64](flagFirst)
	seed := first
	for ; hours < need; seed++ {
		w, err := live(seed, 0, faults{})
		if err != nil {
			t.Fatalf("seed %d, step %d, %s after the beginning: %v\n\n%s\n\nThe same again:\n\n    %s\n", seed, w.steps, w.now, err, w.story(30), replay(seed, w.steps))
		}
		hours += w.hours
		for k, n := range w.count {
			total[k] += n
		}
		total["steps"] += w.steps
		total["mitigations"] += len(w.book.of)
	}
	t.Logf("seeds %d to %d: %.0f attack-hours, %d steps, %d decisions, %d entries, %d mitigations", first, seed-1, hours.Hours(), total["steps"], total["decisions"], total["entries"], total["mitigations"])
	for _, k := range slices.Sorted(maps.Keys(total)) {
		t.Logf("%8d %s", total[k], k)
	}
	if hours < need {
		t.Errorf("%.0f attack-hours, want %.0f", hours.Hours(), need.Hours())
	}
	if hours >= 5000*time.Hour {
		for _, k := range happens() {
			if total[k] < 4 {
				t.Errorf("%q happened %d times in %.0f attack-hours: the worlds are too quiet to say something about it", k, total[k], hours.Hours())
			}
		}
	}
}

// happens is what must happen in worlds that prove something: verdicts by their codes, and what the checks count.
func happens() []string {
	return []string{
		"mitigated", "merged", "narrowed", "revived", "repetition", "attack_over", "started", "already_active", "extended", "withdrawn", "applied", "steps up", "steps down",
		"end attack-over", "end expired", "end nothing-left", "end superseded", "end withdrawn", "removals_need_number", "drill", "stale", "seq_conflict", "malformed",
		"target_protected", "target_not_official", "targets_span_customers", "too_wide", "too_many_pieces", "shields_stronger", "router_budget", "customer_quota",
		"policy_limit", "mitigation_limit", "low_confidence", "no_policy", "policy_observes", "stays_withdrawn", "router_profile", "rtbh_too_wide", "source_protected",
		"awaits_approval", "approved", "rejected", "second_person", "break_glass", "quorum", "quorate", "start_rate", "source_share", "put aside", "gathered", "aggregated", "narrowed back",
	}
}

// TestWorldReplays: a world of one seed is the same world each time, so the command that a broken invariant prints shows
// the same step again.
func TestWorldReplays(t *testing.T) {
	const seed = 3
	first, err := live(seed, 2500, faults{})
	if err != nil {
		t.Fatal(err)
	}
	second, err := live(seed, 2500, faults{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first.trace, second.trace); diff != "" || first.newest().Digest() != second.newest().Digest() {
		t.Errorf("seed %d is two worlds (-first +second):\n%s", seed, diff)
	}
	// The step that breaks is the last one of a replay that ends there.
	fault := func() faults {
		return faults{entry: withoutChanges(isEnd(policy.EndExpired)), only: "nothing outlives its lifetime"}
	}
	broke, err := live(seed, 0, fault())
	if !breaks(err, "nothing outlives its lifetime") {
		t.Fatalf("nothing broke: %v", err)
	}
	again, sameErr := live(seed, broke.steps, fault())
	if sameErr == nil || sameErr.Error() != err.Error() || again.steps != broke.steps {
		t.Errorf("step %d: %v; again step %d: %v", broke.steps, err, again.steps, sameErr)
	}
	if before, err := live(seed, broke.steps-1, fault()); err != nil {
		t.Errorf("it breaks at step %d already: %v", before.steps, err)
	}
	if cmd := replay(seed, broke.steps); !strings.Contains(cmd, fmt.Sprintf("-world.seed=%d -world.steps=%d", seed, broke.steps)) {
		t.Errorf("command %q", cmd)
	}
}

// octets is a source of chance that a fuzzer steers: two octets for each choice, and from a generator when they are gone.
type octets struct {
	data []byte
	rest *rand.PCG
}

// Uint64 implements rand.Source.
func (o *octets) Uint64() uint64 {
	v := o.rest.Uint64()
	if len(o.data) < 2 {
		return v
	}
	v = v>>16 | uint64(o.data[0])<<56 | uint64(o.data[1])<<48
	o.data = o.data[2:]
	return v
}

// FuzzWorld lets a fuzzer make the choices of a world.
func FuzzWorld(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("a tide gate lets the river out and shuts when the sea surges in"))
	f.Add(bytes.Repeat([]byte{0xff, 0x00, 0x80}, 300))
	f.Fuzz(func(t *testing.T, data []byte) {
		w, err := newWorld(&octets{data: data, rest: rand.NewPCG(1, 20261124)}, faults{})
		if err == nil {
			err = w.run(400)
		}
		if err != nil {
			t.Fatalf("step %d: %v\n%s", w.steps, err, w.story(30))
		}
	})
}

package bench_test

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/policy"
)

// active is how many mitigations the pure figures are taken with.
const active = 10_000

// measurePolicy takes the figures of the pure parts: a lookup, an Apply, a decision, the Wanted set.
func measurePolicy(b *testing.B, s *suite) {
	w := newWorld(b)
	for i := range loaded {
		w.must(&policy.SignalRequest{Signal: flood(fmt.Sprint("a", i), target(i, 0))})
	}
	few := wantedTimes(b, w, 0)
	for i := loaded + len(few); i < active; i++ {
		w.must(&policy.SignalRequest{Signal: flood(fmt.Sprint("a", i), target(i%customers, i/customers))})
	}
	runtime.GC()
	const chapter = "Pure parts, 2,000 customers, 5,000 links, 22 blocks, 10,000 active mitigations"

	addrs := make([]netip.Addr, 4096)
	for i := range addrs {
		addrs[i] = target(i*37%customers, i%200).Addr()
		if i%2 == 0 {
			addrs[i] = netip.AddrFrom4([4]byte{100, byte(64 + i%blocks), byte(i % 3), byte(i)})
		}
	}
	found := 0
	per := best(20, func() {
		for _, a := range addrs {
			if l := w.state.Lookup(a); l.Customer != nil || l.Protected {
				found++
			}
		}
	}) / time.Duration(len(addrs))
	if found == 0 {
		b.Fatal("no address was found")
	}
	s.report.add(figure{
		Chapter: chapter, Name: "State.Lookup", Value: float64(per.Nanoseconds()), Unit: "ns", AtMost: 100,
		Definition: "whose address, protected or not, and why; 4,096 different addresses, half official, half in links; best of 20 rounds",
	})

	i := 0
	var decide, apply []time.Duration
	for range 2000 {
		e := w.entry()
		i++
		r := &policy.SignalRequest{Signal: flood(fmt.Sprint("x", i), target(i%customers, 300+i/customers))}
		t0 := time.Now()
		d := policy.Decide(w.state, r, e)
		t1 := time.Now()
		if _, err := w.state.Apply(e, d.Changes); err != nil || d.Verdict.Kind != policy.Mitigated {
			b.Fatal(err, d.Verdict)
		}
		apply = append(apply, time.Since(t1))
		decide = append(decide, t1.Sub(t0))
	}
	for _, row := range []struct {
		name string
		took []time.Duration
		def  string
	}{
		{"policy.Decide, new attack", decide, "judging one signal about an address that nothing covers yet"},
		{"State.Apply, new mitigation", apply, "the next State from the changes of that decision, without the log's codec"},
	} {
		for _, q := range []float64{0.5, 0.99} {
			s.report.add(figure{
				Chapter: chapter, Name: fmt.Sprintf("%s, p%.0f", row.name, q*100), Value: micro(quantile(row.took, q)), Unit: "us",
				Definition: row.def + "; 2,000 samples",
			})
		}
	}

	for _, row := range []struct {
		n    int
		took []time.Duration
	}{{loaded, few}, {active, wantedTimes(b, w, 200)}} {
		s.report.add(figure{
			Chapter: chapter, Name: fmt.Sprintf("State.Wanted after one change, %d active, p50", row.n), Value: micro(quantile(row.took, 0.5)), Unit: "us",
			Definition: "the wanted.Set of a State that is one mitigation further than the last; 50 samples",
		})
	}
}

// wantedTimes builds the wanted.Set 50 times, each after another new mitigation: what is derived from a State is kept
// with it. Round tells calls apart.
func wantedTimes(b *testing.B, w *world, round int) []time.Duration {
	b.Helper()
	deadlines := make(map[policy.MitigationID]wanted.Instant)
	for m := range w.state.Active() {
		deadlines[m.ID] = wanted.Instant(m.Lifetime)
	}
	var took []time.Duration
	for i := range 50 {
		w.must(&policy.SignalRequest{Signal: flood(fmt.Sprint("w", round, "-", i), target(i, 500+round))})
		deadlines[w.state.NextID()-1] = wanted.Instant(time.Hour)
		input := policy.WantedInput{
			Deadline:   func(m *policy.Mitigation) wanted.Instant { return deadlines[m.ID] },
			LeaseUntil: 1 << 60,
		}
		t0 := time.Now()
		set := w.state.Wanted(input).Set
		took = append(took, time.Since(t0))
		if len(set.Routes) != w.state.ActiveCount() {
			b.Fatalf("%d routes of %d mitigations", len(set.Routes), w.state.ActiveCount())
		}
	}
	return took
}

// best returns the shortest of n rounds.
func best(n int, f func()) time.Duration {
	least := time.Duration(1<<63 - 1)
	for range n {
		t0 := time.Now()
		f()
		least = min(least, time.Since(t0))
	}
	return least
}

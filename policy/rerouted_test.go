package policy

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/tidegate/tidegate/bgp/wanted"
)

// TestPropertyLastChangesNothing shows that what Wanted takes from its last answer is what it would say without.
func TestPropertyLastChangesNothing(t *testing.T) {
	t.Parallel()
	amended := 0
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 3))
		s, index := NewState(), Index(0)
		in := WantedInput{
			Deadline: func(m *Mitigation) wanted.Instant {
				return 1 + wanted.Instant(m.Expires.Sub(start())/time.Minute) + wanted.Instant(m.Changed%7)
			},
			Secret: func(name string) (string, bool) { return "secret of " + name, true },
		}
		for step := range 150 {
			for range r.IntN(3) { // with more than one entry since it was asked last, too
				index += Index(1 + r.IntN(2))
				for range 1 + r.IntN(2) { // items of one entry
					var cs []Change
					for range r.IntN(3) {
						if c := randomChange(r); isMitigation(c) || r.IntN(8) == 0 {
							cs = append(cs, c)
						}
					}
					s = apply(t, s, index, cs...)
					if r.IntN(4) == 0 { // a State that nobody publishes
						apply(t, s, index, randomChange(r))
					}
				}
			}
			in.Now += wanted.Instant(r.IntN(3))
			in.LeaseUntil = in.Now + 100
			whole := in
			whole.Last = nil
			if in.Last != nil && s.rerouted.known(in.Last.state) && in.Last.border == s.inv.border {
				amended++
			}
			got, want := s.Wanted(in), s.Wanted(whole)
			same(t, "Set", got.Set, want.Set)
			if n := got.Next; n != want.Next && (n == 0 || want.Next != 0 && n > want.Next) {
				t.Errorf("next %d, want %d or earlier", n, want.Next)
			}
			if t.Failed() {
				t.Fatalf("seed %d, step %d", seed, step)
			}
			in.Last = got
		}
	}
	if amended < 1000 {
		t.Errorf("only %d answers were made from the last one", amended)
	}
}

func isMitigation(c Change) bool {
	_, ok := c.(*PutMitigation)
	return ok
}

func TestManyReroutedAreUnknown(t *testing.T) {
	t.Parallel()
	s := apply(t, NewState(), 1, append(routersOf("edge"), &PutMitigation{ruled(1)})...)
	before := s.Wanted(WantedInput{})
	s = apply(t, s, 2, &PutMitigation{ruled(2)})
	if !s.rerouted.known(before.state) {
		t.Error("one changed route is not known")
	}
	for id := range MitigationID(maxRerouted) {
		s = apply(t, s, 2, &PutMitigation{ruled(3 + id)})
	}
	if s.rerouted.known(before.state) {
		t.Error("more changed routes than are remembered are said to be known")
	}
	same(t, "routes", len(s.Wanted(WantedInput{Last: before}).Set.Routes), 1)
}

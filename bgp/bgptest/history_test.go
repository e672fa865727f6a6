package bgptest

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

func second(s int) time.Time { return time.Unix(int64(s), 0) }

func TestAbsent(t *testing.T) {
	at := second
	up := func(s int, id SessionID) Change { return Change{At: at(s), Session: id, Announce: true} }
	down := func(s int, id SessionID) Change { return Change{At: at(s), Session: id} }
	for _, c := range []struct {
		name    string
		limit   int
		changes []Change
		want    []Interval
	}{
		{"never there", 9, nil, nil},
		{"there", 9, []Change{up(1, 1), up(2, 1)}, nil},
		{"one of two goes", 9, []Change{up(1, 1), up(2, 2), down(3, 1)}, nil},
		{"back again", 9, []Change{up(1, 1), down(2, 1), up(5, 2)}, []Interval{{at(2), at(5)}}},
		{"gone", 9, []Change{up(1, 1), up(2, 2), down(3, 1), down(4, 2)}, []Interval{{Start: at(4)}}},
		{"lost twice", 9, []Change{up(1, 1), down(2, 1), down(3, 1)}, []Interval{{Start: at(2)}}},

		{"one of two goes, the announcements are forgotten", 1, []Change{up(1, 1), up(2, 2), down(3, 1)}, nil},
		{"the other goes too", 1, []Change{up(1, 1), up(2, 2), down(3, 1), down(4, 2)}, []Interval{{Start: at(4)}}},
		{"the loss is forgotten, not the return", 1, []Change{up(1, 1), down(2, 1), up(5, 2)}, []Interval{{at(2), at(5)}}},
		{"the gap is forgotten", 1, []Change{up(1, 1), down(2, 1), up(5, 2), up(6, 2)}, nil},
		{"the first of two gaps is forgotten", 2, []Change{up(1, 1), down(2, 1), up(3, 1), down(4, 1), up(5, 1)}, []Interval{{at(4), at(5)}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHistory(c.limit)
			for _, change := range c.changes {
				h.add("k", change)
			}
			if diff := cmp.Diff(c.want, h.of("k").absent()); diff != "" {
				t.Errorf("absent (-want +got):\n%s", diff)
			}
		})
	}
}

// Whatever is forgotten, a history never keeps more than it may, and says of each key what one without a limit says
// of the gaps that had not ended when the oldest Change that is kept came.
func TestHistoryLimit(t *testing.T) {
	const keys, limit = 5, 12
	rng := rand.New(rand.NewPCG(5, 6))
	bounded, all := newHistory(limit), newHistory(1<<30)
	checked := 0
	for i := 1; i < 5000; i++ {
		k := flowspec.Key(fmt.Sprint(rng.IntN(keys)))
		c := Change{At: second(i), Session: SessionID(1 + rng.IntN(2)), Announce: rng.IntN(2) == 0}
		bounded.add(k, c)
		all.add(k, c)
		for k := range all.lives {
			if bounded.lives[k] == nil {
				delete(all.lives, k) // as if it had never been heard
			}
		}
		kept := 0
		for k, l := range bounded.lives {
			kept += len(l.kept)
			if len(l.kept) == 0 {
				continue
			}
			var want []Interval
			for _, gap := range all.of(k).absent() {
				if gap.End.IsZero() || !gap.End.Before(l.kept[0].At) {
					want = append(want, gap)
				}
			}
			if diff := cmp.Diff(want, l.absent()); diff != "" {
				t.Fatalf("change %d, key %s: absent (-want +got):\n%s", i, k, diff)
			}
			checked += len(want)
		}
		if kept != min(i, limit) || len(bounded.order) > 2*limit+2 {
			t.Fatalf("change %d: %d are kept, and %d in order", i, kept, len(bounded.order))
		}
	}
	if checked < 1000 {
		t.Errorf("only %d gaps were compared", checked)
	}

	// Keys that come and go leave nothing behind.
	for i := range 1000 {
		k := flowspec.Key(fmt.Sprintf("new %d", i))
		bounded.add(k, Change{At: second(i), Session: 1, Announce: true})
		bounded.add(k, Change{At: second(i), Session: 1})
	}
	for k, l := range bounded.lives {
		if len(l.kept) == 0 && len(l.before.up) == 0 {
			t.Errorf("an empty life of key %q is left", k)
		}
	}
	if n := len(bounded.lives); n > limit+keys {
		t.Errorf("%d lives are left", n)
	}
}

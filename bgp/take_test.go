package bgp

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// manyRoutes makes a Set of n host routes.
func manyRoutes(n int, revision uint64) *wanted.Set {
	w := &wanted.Set{Revision: revision, LeaseUntil: 1 << 62, Official: prefixes("10.0.0.0/8"), Protected: prefixes("10.255.0.0/16")}
	for i := range n {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
		m := destinationOnly(p)
		w.Routes = append(w.Routes, &wanted.Route{
			Kind: wanted.FlowSpec, Key: m.Key(), NotAfter: 1 << 62, Groups: []string{"edge"},
			Rule: flowspec.Rule{Match: m, Actions: []flowspec.Action{flowspec.Discard()}},
		})
	}
	return w
}

// verdictOf is b's verdict on r.
func verdictOf(b *board, r *wanted.Route) *judged {
	for _, j := range b.verdicts {
		if j.route.Key == r.Key && slices.Equal(j.route.Groups, r.Groups) {
			return j
		}
	}
	return &judged{}
}

func newBoard(tb testing.TB) *board {
	tb.Helper()
	s, err := New(Config{ASN: 1, RouterID: netip.MustParseAddr("192.0.2.1")}, Deps{Elapsed: func() wanted.Instant { return 1 }})
	if err != nil {
		tb.Fatal(err)
	}
	return &board{speaker: s}
}

// Verdicts that are used again are the verdicts that judging anew would give.
func TestReuseEqualsJudging(t *testing.T) {
	b := newBoard(t)
	first := manyRoutes(50, 1)
	b.take(first)
	second := manyRoutes(40, 2) // ten are gone
	second.Routes[3].MED = 7
	second.Routes[4].Rule.Actions = []flowspec.Action{flowspec.RateLimit(1000)}
	second.Routes[5].NotAfter = 1
	second.Routes[6].Urgency = 9
	second.Routes[7].Kind = 0
	second.Routes[8].Groups = []string{"other"}
	for _, protect := range [][]netip.Prefix{first.Protected, prefixes("10.0.0.0/27")} {
		second.Protected = protect
		b.take(second)
		if len(b.verdicts) != len(second.Routes) {
			t.Errorf("%d verdicts for %d routes", len(b.verdicts), len(second.Routes))
		}
		for i, r := range second.Routes {
			got, want := verdictOf(b, r), judge(b.guard, r)
			if (got.refusal == nil) != (want.refusal == nil) || got.route.MED != r.MED || got.route.NotAfter != r.NotAfter ||
				got.route.Urgency != r.Urgency || got.route.Groups[0] != r.Groups[0] ||
				got.refusal == nil && (got.actions != want.actions || string(got.nlri) != string(want.nlri)) {
				t.Errorf("route %d: %+v, want %+v", i, got, want)
			}
		}
	}
}

// BenchmarkSetDiff measures what a Set of 10,000 routes costs before anything is handed to a session: checking,
// judging what is new (one route, or all), ordering, planning.
func BenchmarkSetDiff(b *testing.B) {
	for _, c := range []struct {
		name string
		all  bool
	}{{"one new", false}, {"all new", true}} {
		b.Run(c.name, func(b *testing.B) {
			bo := newBoard(b)
			sets := []*wanted.Set{manyRoutes(10_000, 1), manyRoutes(10_000, 1)}
			sets[1].Routes = append(sets[0].Routes[:9_999:9_999], manyRoutes(10_001, 1).Routes[10_000])
			var last *difference
			bo.take(sets[0])
			i := 0
			for b.Loop() {
				i++
				if c.all {
					bo.set, last = nil, nil
				}
				w := sets[i%2]
				d, err := checkChange(last, w)
				if err != nil {
					b.Fatal(err)
				}
				bo.follow(w, d)
				last = d
				if p := bo.plan(1); len(p.routes) != 10_000 {
					b.Fatal("routes are missing")
				}
			}
		})
	}
}

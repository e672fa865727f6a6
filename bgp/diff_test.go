package bgp

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// mutation makes Sets out of Sets, as the controller does: most routes are shared with the Set before.
type mutation struct {
	rnd *rand.Rand
	now wanted.Instant
}

func (m *mutation) route(n int) *wanted.Route {
	p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}), 32)
	if n%16 == 15 {
		p = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 255, 0, byte(n)}), 32) // protected: refused
	}
	match := destinationOnly(p)
	r := &wanted.Route{
		Kind: wanted.FlowSpec, Key: match.Key(), MED: m.rnd.Uint32N(3), NotAfter: m.now + 10_000, Urgency: m.rnd.Uint32N(3),
		Rule: flowspec.Rule{Match: match, Actions: []flowspec.Action{flowspec.Discard()}}, Groups: []string{"edge", "core"},
	}
	switch m.rnd.IntN(8) {
	case 0:
		if m.rnd.IntN(4) == 0 {
			r.NotAfter = m.now + wanted.Instant(m.rnd.IntN(30))
		}
	case 1:
		r.Groups = []string{"core"}
	case 2:
		r.Groups = []string{"edge"}
	}
	return r
}

// next is a Set that comes after w.
func (m *mutation) next(w *wanted.Set) *wanted.Set {
	n := *w
	n.Revision++
	n.Routes = slices.Clone(w.Routes)
	if m.rnd.IntN(3) > 0 {
		n.Routes = slices.DeleteFunc(n.Routes, func(r *wanted.Route) bool { return r.NotAfter <= m.now })
	}
	slices.SortStableFunc(n.Routes, func(a, b *wanted.Route) int { return strings.Compare(string(a.Key), string(b.Key)) })
	for range m.rnd.IntN(4) {
		r := m.route(m.rnd.IntN(64))
		i, found := slices.BinarySearchFunc(n.Routes, r.Key, func(r *wanted.Route, k flowspec.Key) int { return strings.Compare(string(r.Key), string(k)) })
		for found && i < len(n.Routes) && n.Routes[i].Key == r.Key {
			n.Routes = slices.Delete(n.Routes, i, i+1)
		}
		switch m.rnd.IntN(8) {
		case 0, 1: // removed
		case 2: // for each group another
			other := *r
			r.Groups, other.Groups, other.MED = []string{"edge"}, []string{"core"}, 9
			n.Routes = slices.Insert(n.Routes, i, r, &other)
		default:
			n.Routes = slices.Insert(n.Routes, i, r)
		}
	}
	switch m.rnd.IntN(40) {
	case 0:
		n.Protected = append(slices.Clone(w.Protected), netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(m.rnd.IntN(64))}), 32))
	case 1:
		m.rnd.Shuffle(len(n.Routes), func(i, j int) { n.Routes[i], n.Routes[j] = n.Routes[j], n.Routes[i] })
	case 2:
		n.LeaseUntil = m.now + 20
	default:
		n.LeaseUntil = m.now + 1000
	}
	return &n
}

// said is what a judged route says, without its place in memory.
func said(js []*judged) []string {
	var out []string
	for _, j := range js {
		out = append(out, saidOne(j))
	}
	return out
}

func saidOne(j *judged) string {
	s := j.route.Key.String() + " " + j.dst.String() + " " + j.actions.eight + j.actions.twenty
	if j.refusal != nil {
		s += string(j.refusal.code)
	}
	for _, g := range j.route.Groups {
		s += " " + g
	}
	return s + " " + time.Duration(j.route.MED).String() + " " + time.Duration(j.route.NotAfter).String() + " " + time.Duration(j.route.Urgency).String()
}

// twin is a board and a neighbour, without GoBGP.
type twin struct {
	b *board
	n *neighbour
}

func newTwin(t *testing.T) *twin {
	b := newBoard(t)
	w := &twin{b: b, n: newNeighbour("r", b.speaker.cfg, b.speaker.deps, slog.New(slog.DiscardHandler), nil)}
	w.n.session.established, w.n.families = true, []flowspec.Family{flowspec.IPv4}
	return w
}

// TestPropertyDiffEqualsWhole shows that a speaker that follows differences stands where one stands that looks at
// every Set as if it were the first.
func TestPropertyDiffEqualsWhole(t *testing.T) {
	for seed := range uint64(20) {
		m := &mutation{rnd: rand.New(rand.NewPCG(seed, 1)), now: 1}
		quick, whole := newTwin(t), newTwin(t)
		set := &wanted.Set{LeaseUntil: 1000, Official: prefixes("10.0.0.0/8"), Protected: prefixes("10.255.0.0/16")}
		var last *difference
		adjusted := 0
		for step := range 400 {
			m.now += wanted.Instant(m.rnd.IntN(5))
			if m.rnd.IntN(10) > 0 { // else only time passes
				set = m.next(set)
			}
			skip := step > 0 && m.rnd.IntN(12) == 0 // the router's goroutine is busy and misses the plan
			now := time.Unix(0, int64(m.now))
			d, err := checkChange(last, set)
			if err != nil {
				t.Fatal(err)
			}
			if set != quick.b.set {
				quick.b.follow(set, d)
				whole.b.take(set)
			}
			last = d
			for _, w := range []*twin{quick, whole} {
				p := w.b.plan(m.now)
				if w == whole {
					p.after = 0
				}
				if skip {
					continue
				}
				before := w.n.sweep
				w.n.mailbox.Store(&assignment{plan: p, router: wanted.Router{Name: "r", Group: "edge", Carries: wanted.FlowSpec, IPv4: true, MaxRoutes: 40}})
				w.n.takeAssignment(context.Background(), now)
				if w == quick && w.n.sweep == before {
					adjusted++
				}
			}
			compareTwins(t, quick, whole)
			if t.Failed() {
				t.Fatalf("seed %d, step %d", seed, step)
			}
			work(m.rnd, quick.n, whole.n, now)
		}
		if adjusted < 20 {
			t.Fatalf("seed %d: only %d of 400 plans were taken over by their difference", seed, adjusted)
		}
	}
}

// work lets both routers' goroutines hand over a part of what is to do, and some of it leave.
func work(rnd *rand.Rand, a, b *neighbour, now time.Time) {
	all, pay, leave, part := rnd.IntN(3) > 0, rnd.IntN(3) > 0, rnd.IntN(3) > 0, byte(rnd.IntN(4))
	for _, n := range []*neighbour{a, b} {
		if all {
			n.nextBatch(now)
		}
		if pay {
			for k, e := range n.table {
				if k[len(k)-1]%3 != part {
					e.a.settle()
				}
			}
			for _, a := range n.leaving {
				a.settle()
			}
		}
		n.reap()
		if leave {
			n.obsolete = slices.DeleteFunc(n.obsolete, func(e *entry) bool {
				if !n.mayLeave(e, now) {
					return false
				}
				n.remove(e, now)
				return true
			})
		}
	}
}

func compareTwins(t *testing.T, quick, whole *twin) {
	t.Helper()
	same := func(what string, a, b any) {
		t.Helper()
		if d := cmp.Diff(b, a); d != "" {
			t.Errorf("%s (-whole +diff):\n%s", what, d)
		}
	}
	q, w := quick.b, whole.b
	same("verdicts", said(q.verdicts), said(w.verdicts))
	same("sorted", said(q.sorted), said(w.sorted))
	same("plan", said(q.planned.routes), said(w.planned.routes))
	same("deadline", q.deadline, w.deadline)
	gone := func(p *plan) map[flowspec.Key][]string {
		out := map[flowspec.Key][]string{}
		for k, js := range p.gone {
			out[k] = said(js)
		}
		return out
	}
	same("gone", gone(q.planned), gone(w.planned))
	x, y := quick.n, whole.n
	same("todo", said(x.todo), said(y.todo))
	same("over budget", said(x.overBudget), said(y.overBudget))
	entries := func(es []*entry) (out []string) {
		for _, e := range es {
			out = append(out, saidEntry(e))
		}
		return out
	}
	table := func(n *neighbour) map[flowspec.Key]string {
		out := map[flowspec.Key]string{}
		for k, e := range n.table {
			out[k] = saidEntry(e)
		}
		return out
	}
	same("obsolete", entries(x.obsolete), entries(y.obsolete))
	same("table", table(x), table(y))
	outdated := func(n *neighbour) []string {
		live := slices.DeleteFunc(slices.Clone(n.outdated), func(e *entry) bool { return n.table[e.j.route.Key] != e })
		return slices.Sorted(slices.Values(entries(live)))
	}
	same("outdated", outdated(x), outdated(y))
	for i := range 64 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 32)
		if x.coverage.overlaps(p) != y.coverage.overlaps(p) {
			t.Errorf("%s is covered: %t by diff", p, x.coverage.overlaps(p))
		}
	}
}

func saidEntry(e *entry) string {
	s := saidOne(e.j) + " " + e.deadline.String()
	if e.hurry {
		s += " hurry"
	}
	if e.covers {
		s += " covers"
	}
	return s
}

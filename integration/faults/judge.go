package faults

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/integration/lab"
)

const (
	// grace is how long a rule may take from the answer to a write until it is at, or gone from, a router: the leader may
	// be lost in between, and the machine may be slow.
	grace = 20 * time.Second
	// helperTime is how long a router keeps, by graceful restart (RFC 4724), what a speaker announced that is gone.
	helperTime = 60 * time.Second
	// clockLag is how much earlier than its lifetime a rule may end here. The log's clock stands still during elections (2.4 s
	// after twenty of them, measured) and catches up at once when all nodes are started anew, at the cost of the lifetimes
	// that run: known, and not mended yet.
	clockLag = 10 * time.Second
)

// life is a mitigation as the clients know it.
type life struct {
	start, end *write // end: the withdrawal that was acknowledged, or nil
	shared     bool   // others act on the same key
}

// lives joins starts and withdrawals.
func (b *book) lives() (map[string]*life, map[flowspec.Key]*life) {
	byID, byKey := make(map[string]*life), make(map[flowspec.Key]*life)
	for _, x := range b.writes {
		if x.withdra || x.refused != "" {
			continue
		}
		if known := byID[x.id]; known != nil { // another start found it active
			if x.index > 0 && (known.start.index == 0 || x.index < known.start.index) {
				known.start = x
			}
			continue
		}
		m := &life{start: x}
		byID[x.id] = m
		for _, k := range x.keys {
			if other := byKey[k]; other != nil {
				other.shared, m.shared = true, true
			}
			byKey[k] = m
		}
	}
	for _, x := range b.writes {
		if m := byID[x.id]; m != nil && x.withdra && x.refused == "" && m.end == nil {
			m.end = x
		}
	}
	return byID, byKey
}

// due is until when the rules must be there for certain.
func (m *life) due(now time.Time) time.Time {
	until := now
	if m.end != nil {
		until = m.end.invoke
	}
	if e := m.start.invoke.Add(m.start.lifetime - clockLag); e.Before(until) {
		until = e
	}
	return until
}

// over is when the rules are to go, by the clients' knowledge; zero if they stay.
func (m *life) over(now time.Time) time.Time {
	var at time.Time
	if m.end != nil {
		at = m.end.respond
	}
	if e := m.start.respond.Add(m.start.lifetime); e.Before(now) && (at.IsZero() || e.Before(at)) {
		at = e
	}
	return at
}

// bound is until when a node may announce what was over at t: at once, if it is its whole self, else some time after it
// is again, and never longer than the lifetime and a graceful restart.
func (b *book) bound(m *life, t time.Time, at netip.Addr) time.Time {
	bound := t.Add(grace)
	for changed := true; changed; {
		changed = false
		for _, s := range b.impaired {
			if s.node.IsValid() && s.node != at || s.start.After(bound) || !s.end.IsZero() && s.end.Before(t) {
				continue
			}
			end := s.end.Add(grace)
			if s.end.IsZero() {
				end = time.Now()
			}
			if end.After(bound) {
				bound, changed = end, true
			}
		}
	}
	if latest := m.start.respond.Add(m.start.lifetime + helperTime + grace); latest.Before(bound) {
		return latest
	}
	return bound
}

// trace is when a key was announced at one router.
type trace struct {
	any    []edge                // by anybody
	of     map[netip.Addr][]edge // by each node
	nodes  map[netip.Addr]bool   // now
	twice  time.Time             // when two nodes announced it first
	pulled []lab.Heard           // withdrawals in so many words
}

// edge is a change: from then on it is announced, or is not.
type edge struct {
	at time.Time
	on bool
}

func (t *trace) set(at time.Time, node netip.Addr, on bool) {
	if t.nodes[node] == on {
		return
	}
	before := len(t.nodes)
	if on {
		t.nodes[node] = true
	} else {
		delete(t.nodes, node)
	}
	t.of[node] = append(t.of[node], edge{at, on})
	if len(t.nodes) > 1 && t.twice.IsZero() {
		t.twice = at
	}
	if (before > 0) != (len(t.nodes) > 0) {
		t.any = append(t.any, edge{at, on})
	}
}

// traces replays what a router heard.
func (v *witness) traces() map[flowspec.Key]*trace {
	out := make(map[flowspec.Key]*trace)
	for _, h := range v.heard {
		if h.Kind == lab.SessionDown && v.clears {
			for _, t := range out {
				t.set(h.At, h.From, false)
			}
		}
		if h.Kind == lab.SessionUp || h.Kind == lab.SessionDown {
			continue
		}
		t := out[h.Key]
		if t == nil {
			t = &trace{of: make(map[netip.Addr][]edge), nodes: make(map[netip.Addr]bool)}
			out[h.Key] = t
		}
		t.set(h.At, h.From, h.Kind == lab.Announced)
		if h.Kind == lab.Withdrawn {
			t.pulled = append(t.pulled, h)
		}
	}
	return out
}

// sum is how much of [from, to] it was announced (on), or was not.
func sum(edges []edge, from, to time.Time, on bool) time.Duration {
	var total time.Duration
	state, since := false, from
	for _, e := range append(slices.Clone(edges), edge{to, false}) {
		at := e.at
		if at.After(to) {
			at = to
		}
		if at.After(since) {
			if state == on {
				total += at.Sub(since)
			}
			since = at
		}
		if state = e.on; e.at.After(to) {
			break
		}
	}
	return total
}

// Finish lets the clients end, waits until every rule is where it should be, and judges.
func (w *World) Finish(ctx context.Context) (Score, error) {
	w.work.quiesce()
	if err := w.calm(ctx); err != nil {
		return Score{}, err
	}
	for _, n := range w.nodes {
		if !w.work.readAt(ctx, n) {
			return Score{}, fmt.Errorf("%s does not tell what is active at the end", n.id)
		}
	}
	settled := w.settle(ctx)
	w.book.mu.Lock()
	defer w.book.mu.Unlock()
	s := w.book.judge(time.Now())
	if settled != nil {
		s.Findings = append(s.Findings, settled.Error())
	}
	s.Faults, s.Gaps = w.tally, slices.Sorted(slices.Values(w.gaps))
	return s, nil
}

// settle waits until the routers have exactly the rules that are to be there, from every node.
func (w *World) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*grace)
	defer cancel()
	return lab.Until(ctx, look, func(context.Context) error {
		w.book.mu.Lock()
		defer w.book.mu.Unlock()
		now := time.Now()
		byID, _ := w.book.lives()
		want := make(map[flowspec.Key]bool)
		unsure := make(map[flowspec.Key]bool) // they expire about now
		for _, m := range byID {
			for _, k := range m.start.keys {
				if m.over(now).IsZero() {
					want[k] = true
				}
				if e := m.start.respond.Add(m.start.lifetime); now.Sub(e).Abs() < grace {
					unsure[k] = true
				}
			}
		}
		for _, v := range w.book.witnesses {
			for k, t := range v.traces() {
				if !want[k] && len(t.nodes) > 0 && !unsure[k] {
					return fmt.Errorf("at the end %s still has %x", v.name, string(k))
				}
				if want[k] && len(t.nodes) != len(w.nodes) && !unsure[k] {
					return fmt.Errorf("at the end %s has %x of %d nodes", v.name, string(k), len(t.nodes))
				}
			}
		}
		return nil
	})
}

// judge holds the records against each other.
func (b *book) judge(now time.Time) Score {
	s := Score{Findings: slices.Clone(b.problems), Reads: len(b.reads)}
	byID, byKey := b.lives()
	for _, x := range b.writes {
		if x.refused == "" {
			s.Writes++
		}
		if x.refused != "" && x.refused != "mitigation_over" {
			s.find("client %d was refused: %s %s: %s", x.client, x.slot, x.id, x.refused)
		}
	}
	b.judgeReads(&s, byID)
	for _, v := range b.witnesses {
		s.Updates += len(v.heard)
		traces := v.traces()
		for k, t := range traces {
			m := byKey[k]
			if m == nil {
				s.Unasked++
				s.find("%s heard %x, which nobody asked for", v.name, string(k))
				continue
			}
			if !m.shared {
				b.judgeRule(&s, v, k, t, m, now)
			}
		}
		for k, m := range byKey {
			if traces[k] == nil && m.due(now).Sub(m.start.respond) > grace {
				s.Absent += m.due(now).Sub(m.start.respond.Add(grace))
				s.find("%s never heard %x of %s", v.name, string(k), m.start.id)
			}
		}
	}
	if slot := contradiction(b.writes); slot != "" {
		s.find("no order explains the answers to the writes of %q", slot)
	} else {
		s.Linearizable = true
	}
	return s
}

// judgeRule judges what one router heard of one rule that only one mitigation has.
func (b *book) judgeRule(s *Score, v *witness, k flowspec.Key, t *trace, m *life, now time.Time) {
	until := m.due(now)
	for _, h := range t.pulled {
		if h.At.Before(until) {
			s.WrongWithdrawals++
			s.find("%s: %s withdrew %x of %s at %s, which is due until %s", v.name, h.From, string(k), m.start.id,
				h.At.Format(stamp), until.Format(stamp))
		}
	}
	from := m.start.respond.Add(grace)
	if !t.twice.IsZero() && t.twice.Before(from) {
		from = t.twice // two nodes are enough for it to stay, whichever is lost
	}
	if from.Before(until) {
		absent := sum(t.any, from, until, false)
		for _, d := range b.dark {
			end := d.end
			if end.IsZero() {
				end = now
			}
			if lo, hi := later(d.start, from), earlier(end, until); lo.Before(hi) {
				absent -= sum(t.any, lo, hi, false)
				s.Dark += sum(t.any, lo, hi, false)
			}
		}
		if absent > 0 {
			s.Absent += absent
			s.find("%s was %v without %x of %s: %v", v.name, absent, string(k), m.start.id, t.any)
		}
	}
	over := m.over(now)
	if over.IsZero() {
		return
	}
	for node, edges := range t.of {
		bound := b.bound(m, over, node)
		if late := sum(edges, bound, now, true); bound.Before(now) && late > 0 {
			s.PastBound += late
			s.find("%s had %x of %s from %s %v past %s", v.name, string(k), m.start.id, node, late, bound.Format(stamp))
		}
	}
}

// judgeReads holds every read against the writes by their place in the log: a node that has applied the log so far shows
// each mitigation that began there and did not end, and no other.
func (b *book) judgeReads(s *Score, lives map[string]*life) {
	for _, r := range b.reads {
		for id, m := range lives {
			if m.start.index == 0 {
				continue // of a signal, whose answer has no index
			}
			began := m.start.index <= r.index
			ended := m.end != nil && m.end.index != 0 && m.end.index <= r.index
			mayBeOver := r.at.After(m.start.invoke.Add(m.start.lifetime - clockLag))
			switch {
			case began && !ended && !mayBeOver && !r.active[id]:
				s.Lost++
				s.find("%s at index %d does not show %s, which began at %d", r.node, r.index, id, m.start.index)
			case (!began || ended) && r.active[id]:
				s.Lost++
				s.find("%s at index %d shows %s, which began at %d and was withdrawn", r.node, r.index, id, m.start.index)
			}
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

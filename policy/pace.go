package policy

import (
	"encoding/binary"
	"iter"
	"time"
)

// The times over which it is counted what policies do.
const (
	paceShort = time.Minute
	paceLong  = time.Hour
)

// pace is what policies did lately: the mitigations that they started and the steps that these took. It follows from the
// mitigations of the State and its time alone, so a snapshot has no record of it.
type pace struct {
	minute, hour moments
}

func newPace() pace { return pace{minute: newMoments(paceShort), hour: newMoments(paceLong)} }

func (p *pace) commit() {
	p.minute.commit()
	p.hour.commit()
}

// change counts m, d being 1, or counts it no more, d being -1. A nil m is none.
func (p *pace) change(m *held, d int, now time.Time) {
	if m == nil || m.Origin != FromPolicy && !isCustomers(m.Source) || m.NeverAnnounced() {
		return
	}
	for mo := range m.moments() {
		p.minute.change(mo, d, now)
		if !mo.step {
			p.hour.change(mo, d, now)
		}
	}
}

// prune forgets what is too long ago.
func (p *pace) prune(now time.Time) {
	p.minute.prune(now)
	p.hour.prune(now)
}

// samePace reports whether next, in the place of old, is counted the same: nothing was started, and no step taken.
func samePace(old, next *held) bool {
	return old != nil && old.NeverAnnounced() == next.NeverAnnounced() && old.Origin == next.Origin && old.Created.Equal(next.Created) && old.Source == next.Source && old.Policy == next.Policy &&
		len(old.Rules) == len(next.Rules) && old.Step == next.Step && old.StepSince.Equal(next.StepSince)
}

// moment is one thing that a policy did.
type moment struct {
	at             time.Time
	id             MitigationID
	step           bool // a step of a ladder; else a start
	source, policy string
	rules          int // as the mitigation has now
}

// moments yields what was done for m: its start, and the steps up its ladder.
func (m *Mitigation) moments() iter.Seq[*moment] {
	return func(yield func(*moment) bool) {
		mo := moment{at: m.Created, id: m.ID, source: m.Source, policy: m.Policy, rules: len(m.Rules)}
		if !yield(&mo) {
			return
		}
		for _, ev := range m.History {
			if ev.What != EventEscalated {
				continue
			}
			next := mo
			next.at, next.step = ev.At, true
			if !yield(&next) {
				return
			}
		}
	}
}

func (mo *moment) key() []byte {
	return binary.BigEndian.AppendUint64(appendTime(nil, mo.at), uint64(mo.id))
}

// paceScope says of what something is counted: the first octet tells the kinds apart.
type paceScope string

const (
	paceAll   paceScope = "a"
	paceRules paceScope = "r"
)

func paceOfSource(name string) paceScope { return paceScope("s" + name) }
func paceOfPolicy(name string) paceScope { return paceScope("p" + name) }

// weight is what the moment counts in a scope.
func (mo *moment) weight(s paceScope) int {
	if s[0] != 's' && isCustomers(mo.source) {
		return 0 // what customers do by themselves takes nothing from policies
	}
	switch s[0] {
	case paceRules[0]:
		return mo.rules
	case paceAll[0]:
		return 1
	case 's':
		if mo.source == string(s[1:]) {
			return 1
		}
	case 'p':
		if mo.policy == string(s[1:]) {
			return 1
		}
	}
	return 0
}

// moments is what happened within a span before the State's time, and how much of it there is in each scope.
type moments struct {
	span   time.Duration
	byTime table[*moment]
	counts table[int]
}

func newMoments(span time.Duration) moments {
	return moments{span: span, byTime: newTable[*moment](), counts: newTable[int]()}
}

func (w *moments) commit() {
	w.byTime.commit()
	w.counts.commit()
}

// change adds a moment, or takes it away again. What is as old as the span is in neither case there.
func (w *moments) change(mo *moment, d int, now time.Time) {
	if !mo.at.After(now.Add(-w.span)) {
		return
	}
	k := mo.key()
	old, there := w.byTime.get(k)
	switch {
	case d > 0 && !there:
		w.byTime.set(k, mo)
		w.count(mo, 1)
	case d < 0 && there:
		w.byTime.remove(k)
		w.count(old, -1)
	}
}

func (w *moments) count(mo *moment, d int) {
	for _, s := range [...]paceScope{paceAll, paceRules, paceOfSource(mo.source), paceOfPolicy(mo.policy)} {
		if n := mo.weight(s); n != 0 {
			count(&w.counts, string(s), d*n)
		}
	}
}

func (w *moments) prune(now time.Time) {
	limit := now.Add(-w.span)
	for w.byTime.n > 0 {
		k, mo, _ := w.byTime.min()
		if mo.at.After(limit) {
			return
		}
		w.byTime.remove(k)
		w.count(mo, -1)
	}
}

// beyond reports whether more than limit would be counted in a scope with adds more of it at the time now, which may be
// later than the State's; used is what is counted without, and until how long the oldest of that counts. A limit of 0 is none.
func (w *moments) beyond(s paceScope, adds, limit int, now time.Time) (used int, until time.Duration, yes bool) {
	used, _ = w.counts.get([]byte(s))
	if limit == 0 || used+adds <= limit {
		return used, 0, false
	}
	old := now.Add(-w.span)
	for mo := range w.byTime.values() {
		n := mo.weight(s)
		if n == 0 {
			continue
		}
		if mo.at.After(old) {
			until = mo.at.Sub(old)
			break
		}
		used -= n
	}
	return used, until, used+adds > limit
}

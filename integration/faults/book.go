package faults

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/integration/lab"
)

// book is all that is recorded of one run.
type book struct {
	mu        sync.Mutex // guards what follows, and the witnesses' records
	witnesses []*witness
	writes    []*write
	reads     []read
	impaired  []span // a node was not its whole self: killed, cut off, stopped, without a session
	dark      []span // no node could be heard, by the fault's own doing
	problems  []string
}

// span is a time; a zero end has not come.
type span struct {
	what       string
	node       netip.Addr // zero: all of them
	start, end time.Time
}

// witness is a router that records.
type witness struct {
	book   *book
	name   string
	clears bool // its rules go with the session, without a word on each of them
	heard  []lab.Heard
	up     map[netip.Addr]bool
}

// write is one call of a client, from its first attempt to the answer that settles it.
type write struct {
	client  int
	withdra bool // else it is a start
	slot    string
	id      string
	keys    []flowspec.Key
	index   uint64
	// lifetime of a start; over, within an attack, it is renewed.
	lifetime time.Duration
	renewed  bool
	// refused is the reason of the answer; empty when it was done.
	refused         string
	invoke, respond time.Time
	attempts        int
}

// read is one plain read of what is active, at one node.
type read struct {
	node   string
	index  uint64
	at     time.Time
	active map[string]bool
}

func newBook() *book { return &book{} }

func (b *book) witness(name string, clears bool) *witness {
	v := &witness{book: b, name: name, clears: clears, up: make(map[netip.Addr]bool)}
	b.witnesses = append(b.witnesses, v)
	return v
}

func (v *witness) hear(h lab.Heard) {
	v.book.mu.Lock()
	defer v.book.mu.Unlock()
	v.heard = append(v.heard, h)
	switch h.Kind {
	case lab.SessionUp:
		v.up[h.From] = true
	case lab.SessionDown:
		v.up[h.From] = false
	case lab.Announced, lab.Withdrawn, lab.Lost:
	}
}

// sessions is an error unless every router has one with each of the nodes.
func (b *book) sessions(nodes []*node) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, v := range b.witnesses {
		for _, n := range nodes {
			if !v.up[n.address] {
				return fmt.Errorf("%s has no session with %s", v.name, n.id)
			}
		}
	}
	return nil
}

func (b *book) wrote(x *write) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.writes = append(b.writes, x)
}

func (b *book) problem(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.problems = append(b.problems, time.Now().Format(time.StampMicro)+" "+fmt.Sprintf(format, args...))
}

// during notes that something is the matter until the returned function is called.
func (b *book) during(spans *[]span, what string, at netip.Addr) (end func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := len(*spans)
	*spans = append(*spans, span{what: what, node: at, start: time.Now()})
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		(*spans)[i].end = time.Now()
	}
}

// firstWrite is the answer to the first write that was called after t; zero if there is none yet.
func (b *book) firstWrite(t time.Time) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	var first time.Time
	for _, x := range slices.Backward(b.writes) {
		if x.respond.Before(t) {
			break // they are in order of their answers
		}
		if x.invoke.After(t) && (first.IsZero() || x.respond.Before(first)) {
			first = x.respond
		}
	}
	return first
}

// text is the whole history, for people.
func (b *book) text() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	type line struct {
		at   time.Time
		text string
	}
	var lines []line
	for _, x := range b.writes {
		what := "start"
		if x.withdra {
			what = "withdraw"
		}
		lines = append(lines, line{x.invoke, fmt.Sprintf("client %d: %s %s %s: call", x.client, what, x.slot, x.id)})
		lines = append(lines, line{x.respond, fmt.Sprintf("client %d: %s %s %s: %q, index %d, %d attempts", x.client, what, x.slot, x.id, x.refused, x.index, x.attempts)})
	}
	for _, v := range b.witnesses {
		for _, h := range v.heard {
			kind := [...]string{"announced", "withdrawn", "lost", "session up", "session down"}[h.Kind]
			lines = append(lines, line{h.At, fmt.Sprintf("%s from %s: %s %x", v.name, h.From, kind, string(h.Key))})
		}
	}
	for _, s := range slices.Concat(b.impaired, b.dark) {
		lines = append(lines, line{s.start, "begins: " + s.what})
		if !s.end.IsZero() {
			lines = append(lines, line{s.end, "ended: " + s.what})
		}
	}
	slices.SortStableFunc(lines, func(a, b line) int { return a.at.Compare(b.at) })
	var out strings.Builder
	for _, l := range lines {
		fmt.Fprintln(&out, l.at.Format("15:04:05.000000"), l.text)
	}
	for _, p := range b.problems {
		fmt.Fprintln(&out, p)
	}
	return out.String()
}

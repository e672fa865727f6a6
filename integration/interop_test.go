package integration_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tidegate/tidegate/bgp"
	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/integration/lab"
)

// What a router makes of a cell.
type outcome string

const (
	equal   outcome = "equal"   // its table shows the rule that was announced
	changed outcome = "changed" // its table shows something else
	refused outcome = "refused" // the session stays, the table has nothing
	lost    outcome = "lost"    // the session goes, and all that it announced
)

// result is an outcome, and what was seen.
type result struct {
	outcome outcome
	detail  string // what the router shows; why the session ended
}

// line is one session of the speaker with a router: for many cells, or, where a cell ends the session, for that one.
type line struct {
	name   string
	router lab.Lister
	relay  *lab.Relay
	cells  []*cell
	// marks are announced last, one of each family: what is in the router's table when they are is all there will be.
	marks []flowspec.Rule
}

// interop is the speaker and its lines.
type interop struct {
	t       *testing.T
	speaker *bgp.Speaker
	elapsed func() wanted.Instant
	lines   []*line
	stop    func()
}

// neighbour is the address from which a line connects; each has one of its own, so that what one session suffers does
// not hold up another.
func neighbour(i int) netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 1, byte(i + 1)}) }

const mostNeighbours = 120

// TestInterop announces every component with every action, and every operator of the safe subset, to FRR, BIRD, ExaBGP
// and gobgpd, through the real speaker, and compares what each router then has in its table. docs/interop.md is what
// came of it: a difference from that page fails the test. A bad cell has its reason in interopKnown; a new one fails, and
// so does one that has become good.
func TestInterop(t *testing.T) {
	lab.Require(t)
	l, routers := interopLab(t)
	all := cells(t)
	var lines []*line
	add := func(name string, r lab.Router, which []*cell) {
		lines = append(lines, newLine(t, l, name, len(lines), r, which))
	}
	for _, r := range routers {
		batch := slices.DeleteFunc(slices.Clone(all), func(c *cell) bool { return expectedOf(r.Name(), c).outcome == lost })
		add(r.Name(), r, batch)
		for _, c := range all {
			if !slices.Contains(batch, c) {
				add(fmt.Sprintf("%s, alone %d", r.Name(), len(lines)), r, []*cell{c})
			}
		}
	}
	i := startInterop(t, lines)
	defer i.stop()
	i.announce(1, false)
	i.announce(2, true)
	results := map[string]map[*cell]result{}
	for _, ln := range i.lines {
		name := ln.router.Name()
		if results[name] == nil {
			results[name] = map[*cell]result{}
		}
		maps.Copy(results[name], i.read(ln))
	}
	i.stop()
	for _, ln := range i.lines {
		if len(ln.cells) > 1 && ln.broken() {
			c := culprit(t, l, ln, len(lines))
			t.Fatalf("%s: a session was lost, which nobody has explained; it goes with %s\n  announced %s", ln.name, c.id(), c.rule)
		}
	}
	for _, r := range routers {
		checkKnown(t, r.Name(), all, results[r.Name()])
	}
	comparePage(t, pageOf(t, routers, all, results, measureUnsafe(t)))
}

// interopLab is a lab with all routers, which have many neighbours.
func interopLab(t *testing.T) (*lab.Lab, []lab.Router) {
	t.Helper()
	var neighbours []netip.Addr
	for i := range mostNeighbours {
		neighbours = append(neighbours, neighbour(i))
	}
	l := newLab(t, func() (*lab.Lab, error) { return lab.New(lab.Config{Neighbours: neighbours, ASN: nodeASN}) })
	routers, err := l.StartRouters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return l, routers
}

// newLine opens the relay of a line, as the neighbour of that number.
func newLine(t *testing.T, l *lab.Lab, name string, number int, r lab.Router, which []*cell) *line {
	t.Helper()
	lister, ok := r.(lab.Lister)
	if !ok {
		t.Fatalf("%s has no entries", r.Name())
	}
	relay, err := l.Relay(neighbour(number), netip.AddrPortFrom(r.Address(), lab.Port))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := relay.Close(); err != nil {
			t.Errorf("cannot close relay: %v", err)
		}
	})
	return &line{
		name: name, router: lister, relay: relay, cells: which,
		marks: parseRules(t, []string{
			fmt.Sprintf("dst 203.0.255.%d/32 => discard", number), fmt.Sprintf("dst 2001:db8:ffff::%x/128 => discard", number),
		}),
	}
}

// startInterop starts a speaker for lines.
func startInterop(t *testing.T, lines []*line) *interop {
	t.Helper()
	start := time.Now()
	i := &interop{t: t, lines: lines, elapsed: func() wanted.Instant { return wanted.Instant(time.Since(start)) + 1 }}
	var err error
	i.speaker, err = bgp.New(bgp.Config{ASN: nodeASN, RouterID: netip.MustParseAddr("192.0.2.1")}, bgp.Deps{Elapsed: i.elapsed})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- i.speaker.Run(ctx) }()
	i.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("cannot run the speaker: %v", err)
		}
	})
	return i
}

// culprit finds a cell that ends the session of a line with many, by halves, each over a session of its own. number is
// the first neighbour that is free.
func culprit(t *testing.T, l *lab.Lab, ln *line, number int) *cell {
	t.Helper()
	suspects := ln.cells
	for len(suspects) > 1 {
		half := suspects[:len(suspects)/2]
		try := newLine(t, l, "half", number, ln.router, half)
		number++
		i := startInterop(t, []*line{try})
		i.announce(1, false)
		i.announce(2, true)
		i.read(try)
		i.stop()
		if try.broken() {
			suspects = half
		} else {
			suspects = suspects[len(half):]
		}
	}
	return suspects[0]
}

// announce gives the speaker the rules of all lines, with or without the marks, and waits until they have been sent
// wherever there still is a session.
func (i *interop) announce(revision uint64, marks bool) {
	i.t.Helper()
	until := i.elapsed() + wanted.Instant(time.Hour)
	set := wanted.Set{
		Revision: revision, LeaseUntil: until,
		Official:  prefixesOf("203.0.0.0/16", "198.18.0.0/15", "2001:db8::/32"),
		Protected: prefixesOf("192.0.2.0/31"),
	}
	routes := map[flowspec.Key]*wanted.Route{}
	var keys []flowspec.Key
	for _, ln := range i.lines {
		set.Routers = append(set.Routers, wanted.Router{
			Name: ln.name, Group: ln.name, Address: ln.relay.Addr().Addr(), Port: ln.relay.Addr().Port(), ASN: ln.router.ASN(),
			Carries: wanted.FlowSpec, IPv4: true, IPv6: true, MaxRoutes: 10_000,
		})
		var rules []flowspec.Rule
		for _, c := range ln.cells {
			rules = append(rules, c.rule)
		}
		if marks {
			rules = append(rules, ln.marks...)
		}
		for _, rule := range rules {
			key := rule.Match.Key()
			if routes[key] == nil {
				routes[key] = &wanted.Route{Kind: wanted.FlowSpec, Rule: rule, Key: key, MED: 1, NotAfter: until}
				keys = append(keys, key)
			}
			routes[key].Groups = append(routes[key].Groups, ln.name)
		}
	}
	for _, k := range keys {
		set.Routes = append(set.Routes, routes[k])
	}
	if err := i.speaker.Set(i.t.Context(), set); err != nil {
		i.t.Fatal(err)
	}
	eventually(i.t, fmt.Sprintf("revision %d is sent", revision), func(context.Context) error {
		var errs []error
		for _, s := range i.speaker.Status().Sessions {
			if s.Refused > 0 || s.OverBudget > 0 {
				i.t.Fatalf("%s: the speaker itself refuses %d rules and has no room for %d: %v", s.Router.Name, s.Refused, s.OverBudget, refusals(s.Routes))
			}
			if ln := i.lineOf(s.Router.Name); !ln.broken() && (s.State != wanted.SessionEstablished || s.Settled != revision) {
				errs = append(errs, fmt.Errorf("%s is %s, settled %d: %s", s.Router.Name, s.State, s.Settled, s.LastError))
			}
		}
		return errors.Join(errs...)
	})
}

// refusals are the reasons for which the speaker refuses rules.
func refusals(routes []wanted.RouteStatus) []string {
	var out []string
	for _, r := range routes {
		if r.Detail != "" {
			out = append(out, fmt.Sprintf("%s: %s", r.Refusal, r.Detail))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (i *interop) lineOf(name string) *line {
	return i.lines[slices.IndexFunc(i.lines, func(l *line) bool { return l.name == name })]
}

// broken reports whether the session has ended before.
func (l *line) broken() bool { return l.relay.Accepted() > 1 }

// read waits until the router has taken in all of a line, and judges its cells.
func (i *interop) read(ln *line) map[*cell]result {
	i.t.Helper()
	out := map[*cell]result{}
	var entries []lab.Entry
	eventually(i.t, ln.name+" has all rules", func(ctx context.Context) error {
		if ln.broken() {
			return nil
		}
		var err error
		if entries, err = ln.router.Entries(ctx); err != nil {
			return err
		}
		for _, mark := range ln.marks {
			if !slices.ContainsFunc(entries, func(e lab.Entry) bool { return e.Err == nil && e.Rule.Equal(lab.Plain(mark)) }) {
				return fmt.Errorf("no %s", mark)
			}
		}
		return nil
	})
	for _, c := range ln.cells {
		if ln.broken() {
			out[c] = result{lost, i.whyDown(ln.name)}
			continue
		}
		out[c] = judge(ln.router, c, entries)
	}
	return out
}

func (i *interop) whyDown(name string) string {
	for _, s := range i.speaker.Status().Sessions {
		if s.Router.Name == name {
			return s.LastError
		}
	}
	return ""
}

// judge compares a cell with what the router has under its destination.
func judge(r lab.Router, c *cell, entries []lab.Entry) result {
	at := slices.IndexFunc(entries, func(e lab.Entry) bool {
		dst, ok := e.Rule.Match.Destination()
		return ok && dst == c.destination()
	})
	if at < 0 {
		return result{refused, ""}
	}
	e := entries[at]
	shown := result{changed, strings.ReplaceAll(e.Raw, "\n", " ")}
	want := r.Shown(c.rule)
	if e.Err == nil && cmp.Equal(want, e.Rule, cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{}), cmpopts.EquateEmpty()) {
		shown.outcome = equal
	}
	return shown
}

func prefixesOf(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range texts {
		out = append(out, netip.MustParsePrefix(text))
	}
	return out
}

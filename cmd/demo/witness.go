package demo

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/tidegate/tidegate/bgp/bgptest"
	"github.com/tidegate/tidegate/bgp/flowspec"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// keysOf parses the rules of a mitigation, as the API prints them, into the keys under which a router knows them.
func keysOf(m *pb.Mitigation) ([]flowspec.Key, error) {
	var out []flowspec.Key
	for _, text := range m.GetRules() {
		r, err := flowspec.ParseRule(text)
		if err != nil {
			return nil, err
		}
		out = append(out, r.Match.Key())
	}
	return out, nil
}

// waitHeard waits until the router hears every key from at least n speakers.
func (d *demo) waitHeard(ctx context.Context, keys []flowspec.Key, n int) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("the router does not hear %d rules from %d nodes", len(keys), n))
	defer cancel()
	return d.router.WaitRoutes(ctx, func(t bgptest.Table) bool {
		return !slices.ContainsFunc(keys, func(k flowspec.Key) bool { return len(t.Paths(k)) < n })
	})
}

// arrivals are the times, since from, of the first announcement of any key, and of the last one of any key on any
// session.
func (d *demo) arrivals(keys []flowspec.Key, from time.Time) (first, last time.Duration) {
	for _, k := range keys {
		for _, c := range d.router.History(k) {
			if !c.Announce || c.At.Before(from) {
				continue
			}
			at := c.At.Sub(from)
			if first == 0 || at < first {
				first = at
			}
			last = max(last, at)
		}
	}
	return first, last
}

// sameRules compares the rules of a mitigation with what the router decoded from its sessions, text by text.
func (d *demo) sameRules(m *pb.Mitigation, keys []flowspec.Key) error {
	t := d.router.Table()
	for i, k := range keys {
		for _, p := range t.Paths(k) {
			if got := p.Rule.String(); got != m.GetRules()[i] {
				return fmt.Errorf("the router decoded %q from %s, and the decision says %q", got, p.From, m.GetRules()[i])
			}
		}
	}
	return nil
}

// noExport is the well-known community NO_EXPORT (RFC 1997).
const noExport = 0xffffff01

// marked reports whether every path of the keys carries NO_EXPORT.
func (d *demo) marked(keys []flowspec.Key) bool {
	t := d.router.Table()
	for _, k := range keys {
		for _, p := range t.Paths(k) {
			if !slices.Contains(p.Communities, noExport) {
				return false
			}
		}
	}
	return true
}

// actedOn counts the addresses of a prefix to which a packet like this one would be acted on, by the rules as the
// router decoded them, and returns those that are left alone.
func (d *demo) actedOn(p netip.Prefix, like flowspec.Packet) (acted int, spared []netip.Addr) {
	t := d.router.Table()
	for a := p.Addr(); p.Contains(a); a = a.Next() {
		like.Dst = a
		hit := false
		t.Matching(&like, func(bgptest.Route) bool {
			hit = true
			return false
		})
		if hit {
			acted++
		} else {
			spared = append(spared, a)
		}
	}
	return acted, spared
}

// fewest is the lowest number of sessions that announced a key at any time since from.
func (d *demo) fewest(k flowspec.Key, from time.Time) int {
	up := map[bgptest.SessionID]bool{}
	low := -1
	for _, c := range d.router.History(k) {
		if low < 0 && !c.At.Before(from) {
			low = len(up)
		}
		if c.Announce {
			up[c.Session] = true
		} else {
			delete(up, c.Session)
		}
		if low >= 0 {
			low = min(low, len(up))
		}
	}
	if low < 0 {
		return len(up)
	}
	return low
}

// absences are the times, after from, in which the router heard one of the keys from nobody.
func (d *demo) absences(keys []flowspec.Key, from time.Time) (n int, sum time.Duration) {
	for _, k := range keys {
		for _, i := range d.router.Absent(k) {
			end := i.End
			if end.IsZero() {
				end = time.Now()
			}
			if end.After(from) {
				n++
				sum += end.Sub(i.Start)
			}
		}
	}
	return n, sum
}

// nodeOf is the node with a router id.
func (d *demo) nodeOf(id netip.Addr) string {
	for _, m := range d.lab.members {
		if m.RouterID == id.String() {
			return m.ID
		}
	}
	return id.String()
}

// show prints the rules as the router decoded them, with who announces each.
func (d *demo) show(keys []flowspec.Key) {
	t := d.router.Table()
	for _, k := range keys {
		paths := t.Paths(k)
		if len(paths) == 0 {
			continue
		}
		var from []string
		for _, p := range paths {
			from = append(from, d.nodeOf(p.From))
		}
		slices.Sort(from)
		d.s.detail("%s  [%s]", paths[0].Rule, join(from))
	}
}

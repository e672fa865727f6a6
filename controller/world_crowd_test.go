package controller

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/policy"
)

// carpet aims an attack at many addresses of one prefix.
func (w *world) carpet(a *attack) {
	r, p := w.r, w.lawn()
	a.targets = nil
	for range 4 + r.IntN(16) {
		t := netip.PrefixFrom(addressIn(r, p), p.Addr().BitLen())
		if !t.Addr().Is4() {
			t = netip.PrefixFrom(t.Addr(), 64).Masked()
		}
		if !slices.Contains(a.targets, t) {
			a.targets = append(a.targets, t)
		}
	}
}

// lawn is a small prefix, mostly of one customer.
func (w *world) lawn() netip.Prefix {
	r := w.r
	space := region(pick(r, flowspec.IPv4, flowspec.IPv4, flowspec.IPv6))
	if cs := w.land.customers(); len(cs) > 0 {
		if c := pick(r, cs...); len(c.Official) > 0 {
			space = pick(r, c.Official...)
		}
	}
	bits := 26 + r.IntN(3)
	if !space.Addr().Is4() {
		bits = 58 + r.IntN(4)
	}
	return netip.PrefixFrom(addressIn(r, space), max(space.Bits(), bits)).Masked()
}

// barrage begins attacks of one kind on neighbours, each an attack of its own to the detectors.
func (w *world) barrage() {
	r, p := w.r, w.lawn()
	var shape policy.Signal
	for i := range 3 + r.IntN(8) {
		a := w.begin()
		a.to = a.from + time.Duration(8+r.IntN(40))*time.Minute
		a.beat, a.pause = 0, 0
		a.targets = []netip.Prefix{netip.PrefixFrom(addressIn(r, p), p.Addr().BitLen())}
		if i == 0 {
			w.dress(a)
			if shape = a.shape; r.IntN(2) == 0 {
				shape = policy.Signal{Vector: policy.VectorCarpetBombing, Protocols: []uint8{17}, BitsPerSecond: 1e9, PacketsPerSecond: 1e6}
			}
		}
		a.shape = shape
		w.watch(a)
	}
}

// shrink leaves an attack with fewer targets.
func (w *world) shrink(a *attack) {
	if len(a.targets) > 1 {
		a.targets = a.targets[:1+w.r.IntN(max(1, len(a.targets)/4))]
		w.note("attack %s shrinks to %v", a.name, a.targets)
	}
}

// gathered checks a new mitigation that stands for more, or for others, than what its signal reports: within official space,
// no wider than the policy and the safeguards permit, for several, and with the collateral told to the address.
func (w *world) gathered(s *policy.Signal, v policy.Verdict, m *policy.Mitigation) error {
	const name = "an aggregate is what was permitted, and told"
	rec := w.book.of[m.ID]
	rec.reported = slices.Clone(s.Targets)
	blurred := false
	for id, o := range w.book.of {
		old, ok := w.newest().Mitigation(id)
		if !ok || id == m.ID || old.End != policy.EndSuperseded || !strings.HasPrefix(old.EndNote, fmt.Sprintf("M%d takes its place", m.ID)) {
			continue
		}
		rec.reported = append(rec.reported, o.reported...)
		blurred = blurred || o.blurred || o.source == "" || o.reported == nil
		w.count["gathered"]++
	}
	rec.blurred = blurred
	wide := false
	for _, t := range m.Targets {
		if slices.ContainsFunc(rec.reported, func(q netip.Prefix) bool { return q == t }) {
			continue
		}
		wide = true
		if err := w.permitted(name, t, m, rec, blurred); err != nil {
			return err
		}
	}
	if !wide || blurred || familyOf(m.Targets[0]) == flowspec.IPv6 || len(m.Targets) == 0 {
		return nil
	}
	w.count["aggregated"]++
	// What was narrowed since by another write of the same entry is less than what was told of.
	if c := w.checks.before[m.ID]; c == nil && !w.checks.reformed {
		n := addresses(m.Cut.Pieces, rec.reported)
		if told := fmt.Sprintf(" %d official ", n); n > 0 && !strings.Contains(v.Reason.Text, told) {
			return broken(name, "M%d acts on %d addresses that nobody reported, and says: %s", m.ID, n, v.Reason.Text)
		}
	}
	return nil
}

// permitted fails if a prefix may not stand for what was reported inside of it.
func (w *world) permitted(name string, t netip.Prefix, m *policy.Mitigation, rec *record, blurred bool) error {
	least := [2]uint8{22, 48}
	if p := w.land.policies[m.Policy]; p != nil && p.Aggregate != (policy.Aggregate{}) {
		least = [2]uint8{p.Aggregate.WidestIPv4, p.Aggregate.WidestIPv6}
	}
	bits := least[0]
	if familyOf(t) == flowspec.IPv6 {
		bits = least[1]
	}
	if t.Bits() < int(bits) {
		return broken(name, "M%d stands for %s, policy %s permits /%d", m.ID, t, m.Policy, bits)
	}
	if !slices.ContainsFunc(w.land.officials, func(o official) bool {
		return o.owner == m.Customer && o.prefix.Bits() <= t.Bits() && o.prefix.Contains(t.Addr())
	}) {
		return broken(name, "M%d stands for %s, which is not all of it official space of customer %s", m.ID, t, m.Customer)
	}
	n := 0
	for _, q := range rec.reported {
		if t.Contains(q.Addr()) {
			n++
		}
	}
	if n < 2 && !blurred {
		return broken(name, "M%d stands for %s, where %d targets were reported", m.ID, t, n)
	}
	return nil
}

// wide takes note of a report that an active mitigation answers, and fails if that stays wide for long although all of its
// attacks report one small prefix, and nothing is in the way of acting on that alone.
func (k *book) wide(w *world, rec *record, m *policy.Mitigation, s *policy.Signal) error {
	rec.reported = append(rec.reported, s.Targets...)
	if m.Reported != nil || m.Phase != policy.Active {
		rec.blurred = rec.blurred || m.Phase != policy.Active
	}
	if space := spaceOf(m.Cut.Pieces); space != rec.space {
		if rec.narrowed.Equal(w.logTime()) {
			w.count["narrowed back"]++
		}
		rec.blurred, rec.seenWide, rec.space = rec.blurred || space < rec.space, 0, space
	}
	if len(rec.reported) > 400 {
		rec.reported, rec.blurred = nil, true
	}
	now := w.logTime()
	if !k.couldNarrow(w, rec, m) {
		rec.seenWide = 0
		return nil
	}
	if rec.seenWide++; rec.seenWide == 1 {
		rec.wideSince = now
	}
	if rec.seenWide > 2 && now.Sub(rec.wideSince) > 2*time.Minute && now.Sub(rec.wideAt) > 2*time.Minute {
		return broken("what is wide narrows back", "M%d acts on %v, and for %s, in %d reports, its %d attacks have told of less than half of it", m.ID, m.Cut.Pieces, now.Sub(rec.wideSince), rec.seenWide, len(rec.causes))
	}
	return nil
}

// couldNarrow reports whether all attacks of m have for some time reported one and the same prefix, which is less than half of
// what m acts on, and on which nothing is in the way.
func (k *book) couldNarrow(w *world, rec *record, m *policy.Mitigation) bool {
	if len(rec.causes) < 2 || m.Action.Kind == policy.RTBH || len(m.Services) > 0 || m.MoreCauses > 0 || len(m.Causes) != len(rec.causes) {
		return false
	}
	var one netip.Prefix
	for key := range rec.causes {
		said := k.said[key]
		if len(said) == 0 || len(said[len(said)-1].Targets) != 1 || k.held.holds(key.source, w.logTime()) {
			return false
		}
		last := said[len(said)-1]
		if one.IsValid() && last.Targets[0] != one {
			return false
		}
		one = last.Targets[0]
		first := last
		for i := len(said) - 1; i >= 0 && slices.Equal(said[i].Targets, last.Targets); i-- {
			first = said[i]
		}
		if last.at.Sub(first.at) < 20*time.Second { // what is new is noted every ten seconds
			return false
		}
	}
	if _, hit := w.land.protects(one); hit || spaceOf([]netip.Prefix{one})*2 >= spaceOf(m.Cut.Pieces) || !within([]netip.Prefix{one}, m.Cut.Pieces) {
		return false
	}
	if _, foreign := w.land.stranger(one, m.Customer); foreign {
		return false
	}
	for o := range w.newest().Active() {
		if o.ID != m.ID && slices.ContainsFunc(o.Cut.Pieces, one.Overlaps) {
			return false
		}
	}
	return true
}

package policy

import (
	"fmt"
	"math"
	"net/netip"
	"slices"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// Aggregate says when many targets in one prefix are answered by the prefix. A zero Aggregate says nothing: then the
// defaults hold, for vector carpet_bombing, and for others only where rules run out.
type Aggregate struct {
	MinTargets int // in a prefix
	// MinShare is how much of the prefix the targets are, in percent: of its addresses, in IPv6 of its /64s.
	MinShare               float64
	WidestIPv4, WidestIPv6 uint8 // shortest permitted length of the prefix
}

// DefaultAggregate returns what holds where a policy is silent.
func DefaultAggregate() Aggregate {
	return Aggregate{MinTargets: 8, MinShare: 25, WidestIPv4: 22, WidestIPv6: 48}
}

// aggregates returns when the policy aggregates targets of a vector; false if only where rules run out.
func (d *Policy) aggregates(v Vector) (Aggregate, bool) {
	if d.Aggregate != (Aggregate{}) {
		return d.Aggregate, true
	}
	return DefaultAggregate(), v == VectorCarpetBombing
}

// aggregate checks when a policy aggregates.
func (c *checker) aggregate(a Aggregate) {
	if a == (Aggregate{}) {
		return
	}
	c.between("aggregate.min_targets", a.MinTargets, 2, MaxTargets)
	if s := a.MinShare; !(s > 0 && s <= 100) { // NaN is refused too
		c.add("aggregate.min_share", fmt.Sprintf("%v is not a percentage above 0", s), "write a number such as 25")
	}
	c.between("aggregate.widest_ipv4", int(a.WidestIPv4), widestOfficial().v4, 32)
	c.between("aggregate.widest_ipv6", int(a.WidestIPv6), widestOfficial().v6, 128)
}

// joiner joins targets into prefixes that may be acted on: official space of the customer, no wider than permitted.
type joiner struct {
	s        *State
	customer CustomerID
	how      Aggregate
	widest   int
}

func (p *plan) joiner(s *State) joiner {
	how, _ := p.taken.aggregates(p.vector)
	f, sg := familyOf(p.targets[0]), s.Safeguards()
	j := joiner{s: s, customer: p.customer.ID, how: how, widest: max(int(how.WidestIPv4), int(sg.WidestIPv4))}
	if f == flowspec.IPv6 {
		j.widest = max(int(how.WidestIPv6), int(sg.WidestIPv6))
	}
	j.widest = max(j.widest, sg.Widest.of(p.action).bits(f))
	return j
}

// may reports whether the prefix may stand for targets inside of it.
func (j *joiner) may(p netip.Prefix) bool {
	if p.Bits() < j.widest {
		return false
	}
	_, owner, ok := j.s.Owner(p)
	return ok && owner.ID == j.customer
}

// dense joins targets, sorted and none inside another, wherever they are enough of a prefix: into the widest ones.
func (j *joiner) dense(targets []netip.Prefix) []netip.Prefix {
	if len(targets) < j.how.MinTargets {
		return targets
	}
	p := prefixAround(targets)
	if j.may(p) && shareOfPrefix(targets, p)*100 >= j.how.MinShare {
		return []netip.Prefix{p}
	}
	_, high := halves(p)
	i, _ := slices.BinarySearchFunc(targets, high.Addr(), func(q netip.Prefix, a netip.Addr) int { return q.Addr().Compare(a) })
	return slices.Concat(j.dense(targets[:i]), j.dense(targets[i:]))
}

// fewer joins targets, those first that are nearest to one another, until there are at most n, or none that may be joined.
func (j *joiner) fewer(targets []netip.Prefix, n int) []netip.Prefix {
	targets = slices.Clone(targets)
	for len(targets) > n {
		best, at := netip.Prefix{}, -1
		for i := 1; i < len(targets); i++ {
			p := prefixAround(targets[i-1 : i+1])
			if (at < 0 || p.Bits() > best.Bits()) && j.may(p) {
				best, at = p, i
			}
		}
		if at < 0 {
			return targets
		}
		from, to := at-1, at+1
		for from > 0 && inside(targets[from-1], best) {
			from--
		}
		for to < len(targets) && inside(targets[to], best) {
			to++
		}
		targets = slices.Replace(targets, from, to, best)
	}
	return targets
}

// prefixAround returns the longest prefix that holds all of ps, which are sorted.
func prefixAround(ps []netip.Prefix) netip.Prefix {
	first, last := ps[0], ps[len(ps)-1]
	p, _ := first.Addr().Prefix(min(first.Bits(), last.Bits(), commonBits(first.Addr(), last.Addr()))) // never beyond the address
	return p
}

// shareOfPrefix returns how much of p the targets inside of it are: of its addresses, in IPv6 of its /64s.
func shareOfPrefix(targets []netip.Prefix, p netip.Prefix) float64 {
	if familyOf(p) == flowspec.IPv4 {
		return sizeOf(targets) / math.Ldexp(1, -p.Bits())
	}
	if p.Bits() >= 64 {
		return 1
	}
	var subnets []netip.Prefix
	for _, t := range targets {
		q, _ := t.Addr().Prefix(min(t.Bits(), 64))
		subnets = append(subnets, q)
	}
	return sizeOf(outermost(subnets)) / math.Ldexp(1, -p.Bits())
}

// aggregate answers many targets by prefixes: where they are dense, if the policy says so for the vector, and where there
// would be more destinations than permitted. It cuts the plan. Targets of a blackhole are never joined.
func (p *plan) aggregate(s *State) Reason {
	sg, j := s.Safeguards(), p.joiner(s)
	reported := p.targets
	joins := p.action.RouteKind() != wanted.RTBH // nobody is blackholed for the neighbours' sake
	if _, always := p.taken.aggregates(p.vector); always && joins {
		p.targets = outermost(j.dense(reported))
	}
	var r Reason
	p.cut, r = CutTarget(s, p.customer.ID, p.targets, sg)
	if joins && (r.Code == CodeTooManyPieces || p.cut.Rounded) && len(p.targets) > 1 {
		r = p.squeeze(s, sg.MaxPieces, r)
	}
	if !slices.Equal(p.targets, reported) {
		p.reported = reported
	}
	return r
}

// squeeze joins the plan's targets until they fall into few enough destinations; otherwise stays what there was, with the
// reason before.
func (p *plan) squeeze(s *State, most int, before Reason) Reason {
	j := p.joiner(s)
	for n := min(most, len(p.targets)-1); n >= 1; n /= 2 {
		targets := j.fewer(p.targets, n)
		if len(targets) > n {
			break
		}
		if cut, r := CutTarget(s, p.customer.ID, targets, s.Safeguards()); r.Code == "" && !cut.Rounded {
			p.targets, p.cut = targets, cut
			return Reason{}
		}
	}
	return before
}

// extent is what was reported of the plan's targets.
func (p *plan) extent() []netip.Prefix {
	if p.reported != nil {
		return p.reported
	}
	return p.targets
}

// extent is what was reported of the targets of m.
func (m *Mitigation) extent() []netip.Prefix {
	if len(m.Reported) > 0 {
		return m.Reported
	}
	return m.Targets
}

// Collateral returns how many addresses are acted on that were not reported, because many targets were answered by a
// prefix, and which share of all that are acted on.
func (m *Mitigation) Collateral() (addresses, share float64) {
	if len(m.Reported) == 0 {
		return 0, 0
	}
	all := addressCount(m.Cut.Pieces)
	addresses = all - addressCount(intersect(fewest(m.Cut.Pieces), m.Reported))
	return addresses, addresses / max(all, 1)
}

// collateralNote tells of aggregation and its collateral.
func (m *Mitigation) collateralNote() string {
	addresses, share := m.Collateral()
	reported := addressCount(m.Reported)
	return fmt.Sprintf("aggregated: %.10g reported %s became %s; %.10g official %s that %s not reported %s acted on as well (%.1f %%)",
		reported, choose(int(reported), "address", "addresses"), prefixList(m.Targets), addresses, choose(int(addresses), "address", "addresses"),
		choose(int(addresses), "was", "were"), choose(int(addresses), "is", "are"), share*100)
}

// tellCollateral tells of aggregation in the verdict, and in the notes of m, which begins with it.
func (p *plan) tellCollateral(d *Decision, m *Mitigation) {
	if n, _ := m.Collateral(); n == 0 {
		return
	}
	note := m.collateralNote()
	m.Notes = append(m.Notes, note)
	d.Verdict.Reason.Text += "; " + note
}

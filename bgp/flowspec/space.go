package flowspec

import (
	"net/netip"
	"slices"
)

// Reaches reports whether m can match any packet to an address in one of the prefixes of space: what a guard asks about
// addresses that no rule may touch. It looks at the destination only, and never says no wrongly: a match without a
// destination reaches every address of its family, one with an IPv6 offset those whose bits it names. It says yes for
// a match that other components leave no packet (see Empty), for a prefix that is not valid, and for an IPv4 match if
// the prefix is the IPv6 form of an IPv4 one (::ffff:203.0.113.0/120).
func (m Match) Reaches(space ...netip.Prefix) bool {
	c := m.lookup(DestinationPrefix)
	var takes pattern
	if c != nil {
		takes = patternOf(c)
	}
	return slices.ContainsFunc(space, func(p netip.Prefix) bool {
		if !p.IsValid() {
			return true
		}
		if m.Family == IPv4 && p.Addr().Is4In6() {
			p = netip.PrefixFrom(p.Addr().Unmap(), max(p.Bits()-96, 0))
		}
		if p.Addr().Is4() != (m.Family == IPv4) {
			return false
		}
		return takes.meets(pattern{addressMask(0, p.Bits()), addressOf(p.Addr())})
	})
}

// ActsOn returns the numbers of the rules that can act on a packet to an address in one of the prefixes of space,
// ascending. It never leaves one out wrongly: see Match.Reaches. Neither that other rules come first nor that a rule
// accepts what it matches makes a difference.
func (s RuleSet) ActsOn(space ...netip.Prefix) []int {
	var out []int
	for i := range s.rules {
		if s.rules[i].Match.Reaches(space...) {
			out = append(out, i)
		}
	}
	return out
}

// Shadows reports whether no packet ever gets to o on a router that has both rules: r comes first, ends the evaluation
// (RFC 8955 section 7.3), and matches every packet that o matches. The answer is exact for these two; several rules
// may shadow a rule together of which none does alone.
func (r Rule) Shadows(o Rule) bool {
	return !r.continues() && Compare(r.Match, o.Match) < 0 && o.Match.Inside(r.Match)
}

// Change is what becomes of a RuleSet if a rule is added to it. Numbers of rules are those in the set as it is.
type Change struct {
	// At is where the new rule comes: before rule At, or in its place if Replaces says so.
	At int
	// Replaces says that rule At has the same match: the new rule takes its place, with its own actions.
	Replaces bool
	// ShadowedBy is the first rule that shadows the new one (see Rule.Shadows), -1 if none does.
	ShadowedBy int
	// Loses are the rules that lose packets to the new one, which stops them from being evaluated. No such rule is
	// missing. There may be one too many: if rules before it take together, though none alone, what it is said to lose.
	Loses []int
	// Shadows are those of Loses that no packet gets to any more.
	Shadows []int
	// Shares are the rules that act on packets together with the new one, before it or after it, because the earlier one
	// has a TrafficAction with Continue. No such rule is missing, and there may be one too many, as in Loses.
	Shares []int
}

// Adding returns what changes if r is added to s.
func (s RuleSet) Adding(r Rule) Change {
	c := Change{ShadowedBy: -1}
	c.At, c.Replaces = s.find(r.Match)
	stops := !r.continues()
	for i := range s.rules[:c.At] {
		if s.rules[i].Shadows(r) {
			c.ShadowedBy = i
			return c // nothing gets to r
		}
	}
	for i := range s.rules[:c.At] {
		if s.rules[i].continues() && s.together(i, &r) {
			c.Shares = append(c.Shares, i)
		}
	}
	after := c.At
	if c.Replaces {
		if after++; !s.rules[c.At].continues() && stops {
			return c // what it stops is stopped already
		}
	}
	for i := after; i < len(s.rules); i++ {
		switch {
		case !s.together(i, &r):
		case !stops:
			c.Shares = append(c.Shares, i)
		default:
			c.Loses = append(c.Loses, i)
			if s.rules[i].Match.Inside(r.Match) {
				c.Shadows = append(c.Shadows, i)
			}
		}
	}
	return c
}

// together reports whether a packet that both match can get to rule i and to r: no single rule that ends the
// evaluation, and comes before the later of the two, takes all of those.
func (s RuleSet) together(i int, r *Rule) bool {
	common := []Match{s.rules[i].Match, r.Match}
	one, ok := witness(common)
	if !ok {
		return false
	}
	end := i
	if at, _ := s.find(r.Match); at > i {
		end = at
	}
	for k := range s.rules[:end] {
		e := &s.rules[k]
		if k == i || !e.Match.Matches(&one) { // cheaper than the rest
			continue
		}
		if !e.continues() && Compare(e.Match, r.Match) != 0 && covers(e.Match, common) {
			return false
		}
	}
	return true
}

package flowspec

import (
	"fmt"
	"iter"
	"slices"
)

// RuleSet is the rules that a router holds, in the order in which it applies them. It is made by NewRuleSet and never
// changed; the zero RuleSet is empty and accepts everything.
type RuleSet struct {
	rules []Rule // ascending by Compare, no two Equal
}

// NewRuleSet returns the set of rules, which may be of both families. It refuses what no router can hold: what
// Rule.Validate refuses, a match of more than MaxNLRILength octets (ErrTooLong), and two rules of one Key
// (ErrDuplicate), of which the second would replace the first. It copies the list, but not the matches and actions in
// it.
func NewRuleSet(rules []Rule) (RuleSet, error) {
	var stack [stackSize]byte
	for i := range rules {
		if err := rules[i].Validate(); err != nil {
			return RuleSet{}, fmt.Errorf("cannot make rule set: %q: %w", rules[i].String(), err)
		}
		if n := len(appendComponents(stack[:0], rules[i].Match)); n > MaxNLRILength {
			return RuleSet{}, fmt.Errorf("cannot make rule set: a match of %d octets, at most %d: %w", n, MaxNLRILength, ErrTooLong)
		}
	}
	return order(rules)
}

// order makes the set of rules that are valid.
func order(rules []Rule) (RuleSet, error) {
	s := RuleSet{rules: slices.Clone(rules)}
	slices.SortFunc(s.rules, func(a, b Rule) int { return Compare(a.Match, b.Match) })
	for i := 1; i < len(s.rules); i++ {
		if Compare(s.rules[i-1].Match, s.rules[i].Match) == 0 {
			return RuleSet{}, fmt.Errorf("cannot make rule set: %q: %w", s.rules[i].Match.String(), ErrDuplicate)
		}
	}
	return s, nil
}

// Len returns how many rules are in s.
func (s RuleSet) Len() int { return len(s.rules) }

// Rule returns rule number i of s; the first is 0. It panics if there is none.
func (s RuleSet) Rule(i int) Rule { return s.rules[i] }

// All yields the rules with their numbers, in the order in which a router applies them (RFC 8955 section 5.1, RFC 8956
// section 4).
func (s RuleSet) All() iter.Seq2[int, Rule] { return slices.All(s.rules) }

// find returns the number of the rule with match m, else the number that it would have, and whether there is one.
func (s RuleSet) find(m Match) (int, bool) {
	return slices.BinarySearchFunc(s.rules, m, func(r Rule, m Match) int { return Compare(r.Match, m) })
}

// Outcome is what a RuleSet does to one packet. The zero Outcome is a packet that no rule matches: it is accepted.
type Outcome struct {
	// Rules are the numbers of the rules that were applied, ascending: the first that matches and, as long as each has
	// a TrafficAction with Continue, the next that match (RFC 8955 section 7.3).
	Rules []int
	// Actions are what happens to the packet, in the order of the rules: what is left of their actions after those
	// that interfere are gone (see RuleSet.Evaluate). None means: accept.
	Actions []Applied
	// Discarded says that the packet is not forwarded: one of the Actions is a rate of 0.
	Discarded bool
}

// Applied is an action that takes effect, and the rule that it belongs to: a rate is a policer of that rule.
type Applied struct {
	Rule   int // its number in the RuleSet
	Action Action
}

// Equal reports whether o and p are the same.
func (o Outcome) Equal(p Outcome) bool {
	return o.Discarded == p.Discarded && slices.Equal(o.Rules, p.Rules) && slices.Equal(o.Actions, p.Actions)
}

// Evaluate returns what a router does to p: it tries rule after rule; the first that matches is applied and ends the
// evaluation, unless it has a TrafficAction with Continue: then the rules after it are tried too (RFC 8955 section
// 7.3). All rules look at the packet as it arrived, whatever an earlier one does to it. If no rule matches, or those
// that do have no action, the packet is accepted (section 7).
//
// RFC 8955 section 7.7 leaves open what happens if actions interfere, and asks to say it. The actions of all applied
// rules are taken together, in the order of the rules:
//
//   - Each rate is a policer of its own; the packet must pass all of them. A rate of 0 lets nothing pass, whichever rule
//     it stands in.
//   - Of several redirects, to a VRF or to an address, the first counts: the packet goes one way only. Each copy to
//     another address is made besides, also of a packet that is discarded.
//   - Of several markings the first counts.
//   - A packet is sampled once, also if it is discarded.
//   - To a discarded packet nothing else happens: other rates, redirects and markings are left out.
//
// Evaluate tries all rules one by one and is what a Compiled set agrees with; who has many packets uses Compile.
func (s RuleSet) Evaluate(p *Packet) Outcome {
	var o Outcome
	for i := range s.rules {
		r := &s.rules[i]
		if !r.Match.Matches(p) {
			continue
		}
		o.apply(i, r.Actions)
		if !r.continues() {
			break
		}
	}
	o.settle()
	return o
}

// continues reports whether rules after r are evaluated too (RFC 8955 section 7.3).
func (r *Rule) continues() bool {
	return slices.ContainsFunc(r.Actions, func(a Action) bool { return a.Type == TrafficAction && a.Continue })
}

// apply adds rule i and those of its actions that do not yield to an earlier one.
func (o *Outcome) apply(i int, actions []Action) {
	o.Rules = append(o.Rules, i)
	for k := range actions {
		a := &actions[k]
		if a.Type == TrafficAction && !a.Sample || o.has(a) {
			continue
		}
		o.Actions = append(o.Actions, Applied{Rule: i, Action: *a})
		o.Discarded = o.Discarded || a.discards()
	}
}

// has reports whether an earlier action leaves a without effect.
func (o *Outcome) has(a *Action) bool {
	for i := range o.Actions {
		b := &o.Actions[i].Action
		switch a.Type {
		case TrafficRateBytes, TrafficRatePackets:
			return false
		case TrafficAction, TrafficMarking:
			if b.Type == a.Type {
				return true
			}
		case RTRedirect, RedirectToIP:
			if a.diverts() && b.diverts() || !a.diverts() && b.Type == a.Type && b.Copy && b.Address == a.Address {
				return true
			}
		}
	}
	return false
}

// settle leaves out what does not happen to a discarded packet.
func (o *Outcome) settle() {
	if !o.Discarded {
		return
	}
	discarded := false
	o.Actions = slices.DeleteFunc(o.Actions, func(a Applied) bool {
		switch a.Action.Type {
		case TrafficRateBytes, TrafficRatePackets:
			gone := discarded || !a.Action.discards()
			discarded = discarded || !gone
			return gone
		case RTRedirect, RedirectToIP:
			return a.Action.diverts()
		case TrafficMarking:
			return true
		case TrafficAction:
			return false
		}
		return false
	})
}

// discards reports whether no packet passes a: a rate of 0 (RFC 8955 sections 7.1 and 7.2).
func (a *Action) discards() bool {
	return (a.Type == TrafficRateBytes || a.Type == TrafficRatePackets) && a.Rate == 0
}

// diverts reports whether a sends the packet itself another way.
func (a *Action) diverts() bool { return a.Type == RTRedirect || a.Type == RedirectToIP && !a.Copy }

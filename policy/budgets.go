package policy

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// usage is how much of the budgets is in use by the active mitigations, as far as it is not counted elsewhere: the rules
// of all, of a customer and of what a detector started, and the mitigations that it started.
type usage struct{ counts table[int] }

func newUsage() usage { return usage{counts: newTable[int]()} }

const usageRules = "r"

func usageOfCustomer(id CustomerID) string { return "c" + string(id) }
func usageOfSource(name string) string     { return "s" + name }

// usageForCustomer is what a detector started for a customer: mitigations, or their rules.
func usageForCustomer(id CustomerID, source string, rules bool) string {
	kind := "C"
	if rules {
		kind = "D"
	}
	return kind + string(appendText(nil, string(id))) + source
}

// usageOfEntries is the table entries of what a detector started, as a profile prices them, that a router group hears, or
// without one all groups.
func usageOfEntries(source, profile, group string, all bool) string {
	return "E" + string(appendText(nil, entryKey(profile, group, all))) + source
}

// usageOnGroup is the rules of what a detector started that a router group hears; those that all groups hear have a place
// of their own.
func usageOnGroup(source string, k wanted.Kind, group string, all bool) string {
	if all {
		return "A" + string(rune(k)) + source
	}
	return "G" + string(rune(k)) + string(appendText(nil, group)) + source
}

// sameUsage reports whether two mitigations, either of which may be nil, count the same.
func sameUsage(a, b *held) bool {
	if a == nil || b == nil {
		return a == b
	}
	if len(a.Rules) != len(b.Rules) || a.Customer != b.Customer || a.Source != b.Source || a.Action.RouteKind() != b.Action.RouteKind() || len(a.Groups) != len(b.Groups) {
		return false
	}
	for i := range a.Groups {
		if a.Groups[i] != b.Groups[i] {
			return false
		}
	}
	return true
}

// move counts now in place of before; either may be nil.
func (u *usage) move(before, now *held) {
	if sameUsage(before, now) {
		return
	}
	u.count(before, -1)
	u.count(now, 1)
}

func (u *usage) count(m *held, d int) {
	if m == nil {
		return
	}
	rules := d * len(m.Rules)
	u.add(usageRules, rules)
	u.add(usageOfCustomer(m.Customer), rules)
	if m.Source == "" {
		return
	}
	u.add(usageOfSource(m.Source), d)
	k := m.Action.RouteKind()
	if len(m.Groups) == 0 {
		u.add(usageOnGroup(m.Source, k, "", true), rules)
	}
	for _, g := range m.Groups {
		u.add(usageOnGroup(m.Source, k, g, false), rules)
	}
	u.add("R"+m.Source, rules)
	u.add(usageForCustomer(m.Customer, m.Source, false), d)
	u.add(usageForCustomer(m.Customer, m.Source, true), rules)
}

func (u *usage) add(name string, d int) {
	if d != 0 {
		count(&u.counts, name, d)
	}
}

func (u *usage) of(name string) int {
	n, _ := u.counts.get([]byte(name))
	return n
}

// RulesActive returns the number of rules of all active mitigations together; a rule of two of them counts twice.
func (s *State) RulesActive() int { return s.usage.of(usageRules) }

// RulesOf returns the number of rules of the customer's active mitigations.
func (s *State) RulesOf(c CustomerID) int { return s.usage.of(usageOfCustomer(c)) }

// StartedBy returns how many active mitigations a detector's signals started, and how many rules they have.
func (s *State) StartedBy(source string) (mitigations, rules int) {
	return s.usage.of(usageOfSource(source)), s.usage.of("R" + source)
}

// StartedFor returns how many active mitigations of a customer a detector's signals started, and how many rules they have.
func (s *State) StartedFor(c CustomerID, source string) (mitigations, rules int) {
	return s.usage.of(usageForCustomer(c, source, false)), s.usage.of(usageForCustomer(c, source, true))
}

// countSourceEntries counts the table entries of what a detector started, now in place of before; either may be nil.
func (s *State) countSourceEntries(before, now *held) {
	if len(s.inv.priced) == 0 || sameUsage(before, now) && (before == nil || slices.Equal(before.keys, now.keys)) {
		return
	}
	s.addSourceEntries(before, -1)
	s.addSourceEntries(now, 1)
}

func (s *State) addSourceEntries(m *held, d int) {
	if m == nil || m.Source == "" || m.Action.RouteKind() != wanted.FlowSpec {
		return
	}
	for _, name := range s.inv.priced {
		n := d * entriesOfRules(s.inv.profiles[name], m.Rules)
		if len(m.Groups) == 0 {
			s.usage.add(usageOfEntries(m.Source, name, "", true), n)
		}
		for _, g := range m.Groups {
			s.usage.add(usageOfEntries(m.Source, name, g, false), n)
		}
	}
}

// entriesOfSource returns how many entries of a router's table what a detector started takes, a rule of two mitigations twice.
func (s *State) entriesOfSource(source string, r *Router) int {
	return s.usage.of(usageOfEntries(source, r.Profile, r.Group, false)) + s.usage.of(usageOfEntries(source, r.Profile, "", true))
}

// kept is the part of a budget that is kept for operators, rounded down.
func (d *Safeguards) kept(limit int) int { return int(float64(limit) * d.OperatorShare / 100) }

// forSource is the part of a budget that what one detector started may fill: a share of what is left to policies, at
// least 1. False: there is no such bound.
func (d *Safeguards) forSource(limit int) (int, bool) {
	if d.SourceShare == 0 || limit == 0 {
		return 0, false
	}
	return max(1, int(float64(limit-d.kept(limit))*d.SourceShare/100)), true
}

// MostOfSource returns how many active mitigations what one detector reported may have; false: there is no such bound.
func (d *Safeguards) MostOfSource() (int, bool) { return d.forSource(d.MaxMitigations) }

// demand is what a plan asks of one budget.
type demand struct {
	code     ReasonCode
	whose    string // customer solo-c
	what     string // active mitigation
	used     int    // without what ends by the decision
	adds     int
	replaces int // what ends by it
	limit    int
	field    string // that raises the limit
}

// grows reports whether more is asked for than is given back.
func (b *demand) grows() bool { return b.adds > b.replaces }

// exceeded says that the budget is used up, for policies but for what is kept for operators.
func (b *demand) exceeded(sg *Safeguards, shares bool) Reason {
	if b.used+b.adds > b.limit {
		return Reason{b.code, fmt.Sprintf("%s has %s of at most %d, %s: withdraw some, or raise %s",
			b.whose, plural(b.used, b.what), b.limit, b.more(), b.field)}
	}
	kept := sg.kept(b.limit)
	if !shares || !b.grows() || b.used+b.adds <= b.limit-kept {
		return Reason{}
	}
	return Reason{CodeOperatorShare, fmt.Sprintf("%s has %s of at most %d, %s, and the last %d (%s %%) are kept for operators: "+
		"start it by hand, withdraw some, raise %s, or lower operator_share", b.whose, plural(b.used, b.what), b.limit, b.more(), kept,
		number(sg.OperatorShare), b.field)}
}

func (b *demand) more() string { return fmt.Sprintf("and this is %d more", b.adds) }

// beyondSource says that a detector fills more of the budget than one may. Used is what it fills, without what ends by
// the decision.
func (b *demand) beyondSource(sg *Safeguards, source string, used int) Reason {
	most, bounded := sg.forSource(b.limit)
	if !bounded || source == "" || !b.grows() || used+b.adds <= most {
		return Reason{}
	}
	if isCustomers(source) {
		return Reason{CodeSourceShare, fmt.Sprintf("%s started %s of %s by itself, %s, and one customer may have %d: %s %% of what is left to policies of %d; "+
			"withdraw some, or ask the operator", source, plural(used, b.what), b.whose, b.more(), most, number(sg.SourceShare), b.limit)}
	}
	return Reason{CodeSourceShare, fmt.Sprintf("what %s reported has %s of %s, %s, and one detector may have %d: %s %% of what is left to policies of %d; "+
		"is it right? if so start it by hand, or raise source_share", source, plural(used, b.what), b.whose, b.more(), most, number(sg.SourceShare), b.limit)}
}

func number(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

// ending sums up mitigations that end by a decision, as budgets count them.
type ending struct{ n, rules, ofCustomer, customerRules, ofSource, sourceRules, customerOfSource, customerRulesOfSource int }

// ending sums up what ends so that the plan may begin.
func (f *surveyed) ending(p *plan) (out ending) {
	add := func(m *Mitigation) {
		n := len(m.Rules)
		out.n, out.rules = out.n+1, out.rules+n
		mine, his := m.Customer == p.customer.ID, m.Source == p.source
		if mine {
			out.ofCustomer, out.customerRules = out.ofCustomer+1, out.customerRules+n
		}
		if his {
			out.ofSource, out.sourceRules = out.ofSource+1, out.sourceRules+n
		}
		if mine && his {
			out.customerOfSource, out.customerRulesOfSource = out.customerOfSource+1, out.customerRulesOfSource+n
		}
	}
	if f.ends != nil {
		add(f.ends)
	}
	for _, m := range slices.Concat(p.gathered, f.weaker) {
		add(m)
	}
	return out
}

// budgets holds a plan against what may be active in all, of its customer and of its detector.
func (f *surveyed) budgets(s *State, p *plan) Reason {
	sg, rules, ends := s.Safeguards(), p.ruleCount(), f.ending(p)
	id := p.customer.ID
	customer := "customer " + string(id)
	const mitigations, rule = "active mitigation", "rule"
	all := demand{CodeMitigationLimit, "the cluster", mitigations, s.ActiveCount() - ends.n, 1, ends.n, sg.MaxMitigations, "max_mitigations in the safeguards"}
	allRules := demand{CodeMitigationLimit, "the cluster", rule, s.RulesActive() - ends.rules, rules, ends.rules, sg.MaxRules, "max_rules in the safeguards"}
	its := demand{CodeCustomerQuota, customer, mitigations, f.active - len(f.weaker), 1, ends.ofCustomer, p.customer.MaxMitigations, "max_mitigations of the customer"}
	itsRules := demand{CodeCustomerQuota, customer, rule, s.RulesOf(id) - ends.customerRules, rules, ends.customerRules, p.customer.MaxRules, "max_rules of the customer"}
	for _, b := range []demand{its, itsRules, allRules} {
		if b.limit == 0 {
			continue
		}
		if r := b.exceeded(sg, p.shares()); r.Code != "" {
			return r
		}
	}
	if r := all.exceeded(sg, p.shares()); r.Code != "" { // here 0 is a limit
		return r
	}
	if !p.shares() || p.source == "" {
		return Reason{}
	}
	started, startedRules := s.StartedBy(p.source)
	here, hereRules := s.StartedFor(id, p.source)
	for _, b := range []struct {
		demand
		his, ends int // of the detector: what it has, and what of it ends
	}{
		{all, started, ends.ofSource},
		{allRules, startedRules, ends.sourceRules},
		{its, here, ends.customerOfSource},
		{itsRules, hereRules, ends.customerRulesOfSource},
	} {
		b.replaces = b.ends
		if r := b.beyondSource(sg, p.source, b.his-b.ends); r.Code != "" {
			return r
		}
	}
	return Reason{}
}

// leavesRoom holds n more routes of a policy on a router against what is kept for operators there, and against what one
// detector may fill.
func (p *plan) leavesRoom(s *State, r *Router, room *Room, n int) Reason {
	if !p.shares() {
		return Reason{}
	}
	sg, k := s.Safeguards(), r.Kind()
	b := demand{
		code: CodeRouterBudget, whose: fmt.Sprintf("router %s (group %s)", r.Name, r.Group), what: routeWord(k),
		used: room.Routes, adds: n, limit: room.RoutesStop, field: "the router's max_prefix",
	}
	if n > 0 {
		if reason := b.exceeded(sg, p.shares()); reason.Code != "" {
			return reason
		}
	}
	b.adds = p.ruleCount() - len(p.his(s))
	used := s.usage.of(usageOnGroup(p.source, k, r.Group, false)) + s.usage.of(usageOnGroup(p.source, k, "", true))
	return b.beyondSource(sg, p.source, used)
}

// his are the rules whose place the plan's take, as far as its detector's signals began them.
func (p *plan) his(s *State) []flowspec.Rule {
	if len(p.gathered) == 0 {
		return p.has
	}
	return s.soleRules(slices.DeleteFunc(slices.Clone(p.gathered), func(m *Mitigation) bool { return m.Source != p.source }))
}

// leavesEntries is leavesRoom for the entries of the router's table, of which there are cost more.
func (p *plan) leavesEntries(s *State, r *Router, room *Room, cost int) Reason {
	if !p.shares() {
		return Reason{}
	}
	b := demand{
		code: CodeRouterEntries, whose: fmt.Sprintf("router %s (group %s, profile %s)", r.Name, r.Group, r.Profile), what: "table entry",
		used: room.Entries, adds: cost, limit: room.EntriesStop, field: "the router's max_entries",
	}
	if cost > 0 {
		if reason := b.exceeded(s.Safeguards(), p.shares()); reason.Code != "" {
			return reason
		}
	}
	prof := s.Profile(r)
	b.adds = cost + entriesOfRules(prof, p.has) - entriesOfRules(prof, p.his(s))
	return b.beyondSource(s.Safeguards(), p.source, s.entriesOfSource(p.source, r))
}

// Package profile describes what router models do with FlowSpec rules: which components they match, which actions they
// take, what a rule costs in their tables, and how many rules they bear. It owns nothing of the wire (bgp/flowspec) and
// nothing of a mitigation (policy); the policy asks it before a rule is announced to a router.
//
// A rule that a router would ignore or approximate is worse than none, so Check refuses it with a code, a sentence and a
// fix. Split makes of it rules that the router takes and that together act on exactly the same packets. Price says what a
// rule costs, in entries of the router's table, and why. Suggest names cheaper cuts that act on more or on fewer packets,
// and says on which; nothing is ever cut silently. Spend adds up a set of rules and says what is left below the hard stop.
//
// # Sources
//
// Every statement of a Profile bears its Source and a Basis: published by the vendor, measured by a test of this
// repository, or assumed where neither exists. What is neither published nor measured is taken as not supported, except
// where the profile says "assumed" in so many words.
//
// # Tested and untested
//
// A profile is tested when a run against the real software is recorded as Evidence: the files in bgp/profile/evidence,
// which docs/how-to/record-a-router-run writes. Evidence says whether enforcement was part of the run; for daemons without
// a data plane it never is: they carry rules, and what is tested is that a session stands, that the rules arrive and that
// their actions are understood. All profiles of hardware, generic and linux-edge are untested.
//
// A Router document that carries rules must name a profile; generic is for the models that are not listed.
//
// What "untested" gates is one thing: a Router document that names an untested profile is not applied unless whoever
// applies it accepts that (accept_untested of the document, --accept-untested of the command). Admit decides this.
// Checking, pricing and splitting never depend on it.
//
// Values of this package are not changed after they are made, and may be used by several goroutines at once.
package profile

import (
	"slices"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// Enforcement says what a router does with the rules that it holds.
type Enforcement uint8

// The kinds of enforcement.
const (
	CarriesOnly Enforcement = iota + 1 // a BGP daemon without a data plane: it holds and passes on rules, no packet is touched
	InSoftware                         // rules act on packets, in the kernel of a general computer
	InHardware                         // rules act on packets, in the router's forwarding hardware
)

// String returns the kind in words.
func (e Enforcement) String() string {
	switch e {
	case CarriesOnly:
		return "carries rules, enforces none"
	case InSoftware:
		return "enforces in software"
	case InHardware:
		return "enforces in hardware"
	}
	return "unknown enforcement"
}

// Profile is what is known of a router model. Profiles come from Lookup and All.
type Profile struct {
	Name     string // as in a Router document
	Title    string // the model in words
	Enforces Enforcement
	// Components has one row for each component and family that the router was judged on; none means not supported.
	Components []ComponentSupport
	// NotTogether lists components that the router does not take in one rule.
	NotTogether []Combination
	// Actions has one row for each Ability.
	Actions []ActionSupport
	// RTBH says whether the router can discard a whole prefix by a unicast route (RFC 7999, RFC 5635 section 4).
	RTBH   Support
	Limits Limits
	// Quirks is what else to know before trusting the router with rules.
	Quirks []Quirk

	model model
}

// ComponentSupport says whether a router matches by a component, and within which limits.
type ComponentSupport struct {
	Family flowspec.Family
	Type   flowspec.ComponentType
	Support
	// OneValue: the component has exactly one value, neither a list nor a range.
	OneValue bool
	// OneMask, of a bitmask component: the bits that are set and those that are clear, all at once; no alternatives.
	OneMask bool
	// Bits, of a bitmask component, is the bits that the router knows; 0 means all that the family has.
	Bits uint64
	// NoNot, of a bitmask component: the router can ask for bits that are set, not for bits that are clear.
	NoNot bool
}

// Combination is two components that a router does not take in one rule.
type Combination struct {
	A, B   flowspec.ComponentType
	Source Source
}

// ActionSupport says whether a router has an ability.
type ActionSupport struct {
	Ability Ability
	Support
	// NotIPv6, unless it is empty, holds in place of Support for rules of IPv6.
	NotIPv6 Support
	// Encoding is how the action must be on the wire, where there is more than one way.
	Encoding string
}

// Limits are the router's own. 0 means: not published, so that the operator has to say.
type Limits struct {
	MaxRules             int // rules that the vendor has validated
	MaxRulesSource       Source
	MaxEntries           int // entries of the table that holds the rules
	MaxEntriesSource     Source
	RulesPerSecond       int // that the router programs
	RulesPerSecondSource Source
}

// Quirk is a fact about a router in one sentence.
type Quirk struct {
	Text   string
	Source Source
}

// All returns all profiles, in the order in which the reference lists them.
func All() []*Profile {
	return []*Profile{generic(), junosMX(), iosxrNCS5500(), iosxrASR9K(), frr(), bird(), gobgp(), linuxEdge()}
}

// Names returns the names of all profiles, in the order of All.
func Names() []string {
	var names []string
	for _, p := range All() {
		names = append(names, p.Name)
	}
	return names
}

// Lookup returns the profile of that name, and whether there is one.
func Lookup(name string) (*Profile, bool) {
	for _, p := range All() {
		if p.Name == name {
			return p, true
		}
	}
	return nil, false
}

// Component returns what the router does with components of type t in family f. A profile that does not list the
// component does not support it.
func (p *Profile) Component(f flowspec.Family, t flowspec.ComponentType) ComponentSupport {
	for i := range p.Components {
		if c := &p.Components[i]; c.Family == f && c.Type == t {
			return *c
		}
	}
	return ComponentSupport{Family: f, Type: t, Support: Support{Instead: "is not known to match by it", Basis: Assumed, Source: noStatement()}}
}

// Action returns what the router does with an ability. One that the profile does not list is not supported.
func (p *Profile) Action(a Ability) ActionSupport {
	for _, s := range p.Actions {
		if s.Ability == a {
			return s
		}
	}
	return ActionSupport{Ability: a, Support: Support{Instead: "is not known to do it", Basis: Assumed, Source: noStatement()}}
}

// In returns what holds for rules of family f.
func (s ActionSupport) In(f flowspec.Family) Support {
	if f == flowspec.IPv6 && s.NotIPv6 != (Support{}) {
		return s.NotIPv6
	}
	return s.Support
}

// HasFamily reports whether the router takes rules of family f at all.
func (p *Profile) HasFamily(f flowspec.Family) bool {
	return slices.ContainsFunc(p.Components, func(c ComponentSupport) bool { return c.Family == f && c.OK })
}

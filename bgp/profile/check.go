package profile

import (
	"fmt"
	"slices"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// Code names the kind of a finding; codes are stable.
type Code string

// The codes of findings.
const (
	CodeInvalid     Code = "rule_invalid"          // the rule is not one at all (Rule.Validate)
	CodeFamily      Code = "family_unsupported"    // the router takes no rules of the family
	CodeComponent   Code = "component_unsupported" // the router ignores the component, or gives it another meaning
	CodeCombination Code = "combination"           // the router does not take the two components in one rule
	CodeValues      Code = "values_unsupported"    // the router takes the component, but not with these values
	CodeUnsafe      Code = "encoding_unsafe"       // the rule would reset sessions of common routers (CheckSafe)
	CodeAction      Code = "action_unsupported"    // the router ignores the action, or does something else
	CodePrice       Code = "price_above_table"     // the rule alone costs more than the table may hold
	CodeUntested    Code = "profile_untested"      // no recorded run, and nobody accepted that
	CodeRules       Code = "rules_above_budget"    // more rules than the hard stop allows
	CodeEntries     Code = "entries_above_budget"  // more entries than the hard stop allows
)

// Finding is one reason why a rule is refused for a router: what is wrong in one sentence, and what to do instead.
type Finding struct {
	Code      Code
	Component flowspec.ComponentType // 0: not a matter of one component
	Text      string
	Fix       string
	// Splits says that Split may mend it.
	Splits bool
	Basis  Basis
	Source Source
}

// Error returns the sentence and the fix, so that a finding can be given as an error.
func (f Finding) Error() string {
	if f.Fix == "" {
		return f.Text
	}
	return f.Text + "; " + f.Fix
}

// Check returns the reasons why the router would ignore or approximate r. None means that it does exactly what r says:
// as far as the profile knows, and, if the profile only carries rules, that it holds and passes on the rule as it is.
func (p *Profile) Check(r flowspec.Rule) []Finding {
	if err := r.Validate(); err != nil {
		return []Finding{{Code: CodeInvalid, Text: err.Error()}}
	}
	if !p.HasFamily(r.Match.Family) {
		return []Finding{{Code: CodeFamily, Text: fmt.Sprintf("%s takes no rules for %s", p.Name, r.Match.Family), Fix: "announce it to other routers"}}
	}
	var out []Finding
	for i := range r.Match.Components {
		out = append(out, p.checkComponent(r.Match, r.Match.Components[i])...)
	}
	out = append(out, p.checkCombinations(r.Match)...)
	if len(out) == 0 {
		if err := flowspec.CheckSafe(r.Match); err != nil {
			out = append(out, Finding{Code: CodeUnsafe, Text: err.Error(), Splits: true, Basis: Measured, Source: safeSubset()})
		}
	}
	for _, a := range r.Actions {
		out = append(out, p.checkAction(a, r.Match.Family)...)
	}
	if stop := share(p.Limits.MaxEntries); len(out) == 0 && stop > 0 {
		if price := p.Price(r); price.Entries > stop {
			out = append(out, Finding{
				Code: CodePrice,
				Text: fmt.Sprintf("the rule costs %d %s on %s, whose table may hold %d", price.Entries, price.Unit, p.Name, stop),
				Fix:  "leave out a range, or take a cheaper one", Basis: Published, Source: p.Limits.MaxEntriesSource,
			})
		}
	}
	return out
}

// refuse makes the finding that the router does not do what s is about.
func (p *Profile) refuse(code Code, t flowspec.ComponentType, s Support, what, fix string, splits bool) Finding {
	return Finding{
		Code: code, Component: t, Fix: fix, Splits: splits, Basis: s.Basis, Source: s.Source,
		Text: fmt.Sprintf("%q: %s %s", what, p.Name, s.Instead),
	}
}

func (p *Profile) checkComponent(m flowspec.Match, c flowspec.Component) []Finding {
	s := p.Component(m.Family, c.Type)
	if !s.OK {
		fix, splits := "leave the condition out, or announce the rule to other routers", false
		if c.Type == flowspec.Port && p.portSplits(m.Family) {
			fix, splits = "split it into one rule for the source port and one for the destination port", true
		}
		return []Finding{p.refuse(CodeComponent, c.Type, s.Support, c.String(), fix, splits)}
	}
	switch {
	case s.OneValue && !isOneValue(c):
		s.Instead = "takes a single value here, neither a list nor a range"
		return []Finding{p.refuse(CodeValues, c.Type, s.Support, c.String(), "split it into one rule for each value", true)}
	case isBitmask(c.Type):
		return p.checkMask(s, c)
	}
	return nil
}

// isOneValue reports whether a component is one "equal".
func isOneValue(c flowspec.Component) bool { return len(c.Ops) == 1 && c.Ops[0].Flags == flowspec.EQ }

// checkMask judges a bitmask by what it says, not by how it is written.
func (p *Profile) checkMask(s ComponentSupport, c flowspec.Component) []Finding {
	list := maskEntries(c)
	for _, e := range list {
		if s.Bits != 0 && e.mask&^s.Bits != 0 {
			s.Instead = fmt.Sprintf("does not know the bits 0x%x", e.mask&^s.Bits)
			return []Finding{p.refuse(CodeValues, c.Type, s.Support, c.String(), "leave these bits out", false)}
		}
		if s.NoNot && e.value != e.mask {
			s.Instead = "can ask for bits that are set, not for bits that are clear"
			return []Finding{p.refuse(CodeValues, c.Type, s.Support, c.String(), "ask for bits that are set", false)}
		}
	}
	if s.OneMask && len(list) != 1 {
		s.Instead = "takes one value under one mask here, no alternatives"
		return []Finding{p.refuse(CodeValues, c.Type, s.Support, c.String(), "split it into one rule for each alternative", true)}
	}
	return nil
}

func (p *Profile) checkCombinations(m flowspec.Match) []Finding {
	var out []Finding
	for _, c := range p.NotTogether {
		a, hasA := m.Component(c.A)
		b, hasB := m.Component(c.B)
		if hasA && hasB {
			out = append(out, Finding{
				Code: CodeCombination, Component: c.A, Splits: c.A == flowspec.Port && p.portSplits(m.Family), Basis: Published, Source: c.Source,
				Text: fmt.Sprintf("%q and %q: %s does not take both in one rule", a.String(), b.String(), p.Name),
				Fix:  "split it into rules for the source port and for the destination port",
			})
		}
	}
	return out
}

// portSplits reports whether "either port" can be said with source and destination ports.
func (p *Profile) portSplits(f flowspec.Family) bool {
	return p.Component(f, flowspec.SourcePort).OK && p.Component(f, flowspec.DestinationPort).OK
}

func (p *Profile) checkAction(a flowspec.Action, f flowspec.Family) []Finding {
	var out []Finding
	for _, ability := range Needs(a) {
		s := p.Action(ability)
		in := s.In(f)
		if in.OK {
			continue
		}
		fix := "choose another action for this router"
		if s.Encoding != "" {
			fix = "choose another action for this router, which knows only " + s.Encoding
		}
		out = append(out, p.refuse(CodeAction, 0, in, ability.String(), fix, false))
	}
	return out
}

// Admit returns why a router of this profile may not be used: it is untested, and that was not accepted. See the package
// documentation for what this gates.
func (p *Profile) Admit(acceptUntested bool) (Finding, bool) {
	if _, ok := p.Tested(); ok || acceptUntested {
		return Finding{}, true
	}
	return Finding{
		Code: CodeUntested,
		Text: fmt.Sprintf("profile %q is untested: what it says is published or assumed, no run is recorded", p.Name),
		Fix:  "record a run (docs/how-to/record-a-router-run), or set accept_untested: true, or apply with --accept-untested",
	}, false
}

// Codes returns all codes of findings with what each means, for the reference.
func Codes() []CodeMeaning {
	return []CodeMeaning{
		{CodeInvalid, "the rule is malformed"},
		{CodeFamily, "the router takes no rules of this family"},
		{CodeComponent, "the router ignores the component or gives it another meaning"},
		{CodeCombination, "the router does not take these two components in one rule"},
		{CodeValues, "the router takes the component, but not with these values"},
		{CodeUnsafe, "the rule would reset sessions of common routers as it is encoded"},
		{CodeAction, "the router ignores the action or does something else"},
		{CodePrice, "the rule alone costs more than the router's table may hold"},
		{CodeUntested, "no run with the router is recorded, and nobody accepted that"},
		{CodeRules, "there would be more rules than 80 % of max-prefix, or than the vendor has validated"},
		{CodeEntries, "the rules would cost more than 80 % of the router's table"},
	}
}

// CodeMeaning is a code and what it means.
type CodeMeaning struct {
	Code    Code
	Meaning string
}

// Splittable reports whether all findings may be mended by Split.
func Splittable(findings []Finding) bool {
	return !slices.ContainsFunc(findings, func(f Finding) bool { return !f.Splits })
}

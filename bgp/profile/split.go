package profile

import (
	"fmt"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// maxPieces is how many rules Split makes of one at most: beyond, the rule is not meant for the router.
const maxPieces = 64

// Split returns rules that the router takes and that together act on exactly the same packets as r. A rule that it takes
// already comes back alone and unchanged. Conditions are split where they say OR: "port" into source and destination
// port, long lists into several, flags into one mask each. The error is a Finding that says what cannot be split.
//
// Each piece bears r's own actions. If they police a rate, every piece is a policer of its own and together they let
// through so many times the rate: the caller divides it (see Policers). Pieces of "port" overlap, since a packet may have
// the port on both sides; where a rule lets later rules act (traffic-action continue) such a packet would be acted on
// twice, so that this split is refused. No other pieces overlap.
//
// A piece does not stand where r stood in the order of RFC 8955 section 5.1: judge shadowing on the pieces.
func (p *Profile) Split(r flowspec.Rule) ([]flowspec.Rule, error) {
	findings := p.Check(r)
	if len(findings) == 0 {
		return []flowspec.Rule{r}, nil
	}
	for _, f := range findings {
		if !f.Splits {
			return nil, f
		}
	}
	bases := [][]flowspec.Component{r.Match.Components}
	if port, ok := r.Match.Component(flowspec.Port); ok && p.splitsPort(r.Match) {
		if continues(r) {
			return nil, Finding{
				Code: CodeComponent, Component: flowspec.Port,
				Text: fmt.Sprintf("%q: the two rules that %s needs for it would both act on a packet with such a port on both sides, since the rule lets later rules act",
					port.String(), p.Name),
				Fix: "name the source port or the destination port, or leave out traffic-action continue",
			}
		}
		bases = splitPort(r.Match.Components, port)
	}
	var out []flowspec.Rule
	for _, base := range bases {
		pieces, err := p.splitLists(r.Match.Family, base)
		if err != nil {
			return nil, err
		}
		for _, comps := range pieces {
			piece := flowspec.Rule{Match: flowspec.Match{Family: r.Match.Family, Components: comps}, Actions: r.Actions}
			if left := p.Check(piece); len(left) > 0 {
				return nil, left[0]
			}
			out = append(out, piece)
		}
		if len(out) > maxPieces {
			return nil, tooMany(p, r.Match)
		}
	}
	if len(out) == 0 {
		return nil, Finding{Code: CodeInvalid, Text: fmt.Sprintf("%q matches no packet", r.Match.String()), Fix: "leave the rule out"}
	}
	return out, nil
}

func tooMany(p *Profile, m flowspec.Match) Finding {
	return Finding{
		Code: CodeValues, Text: fmt.Sprintf("%q would have to be split into more than %d rules for %s", m.String(), maxPieces, p.Name),
		Fix: "shorten the lists",
	}
}

// Policers returns how many of the rules police a rate: so many times the rate passes, unless the caller divides it.
func Policers(rules []flowspec.Rule) int {
	n := 0
	for _, r := range rules {
		for _, a := range r.Actions {
			if (a.Type == flowspec.TrafficRateBytes || a.Type == flowspec.TrafficRatePackets) && a.Rate > 0 {
				n++
				break
			}
		}
	}
	return n
}

func continues(r flowspec.Rule) bool {
	for _, a := range r.Actions {
		if a.Type == flowspec.TrafficAction && a.Continue {
			return true
		}
	}
	return false
}

// splitsPort reports whether the router needs "port" said with the other two.
func (p *Profile) splitsPort(m flowspec.Match) bool {
	return !p.Component(m.Family, flowspec.Port).OK || len(p.checkCombinations(m)) > 0
}

// splitPort says "either port" with source and destination port: the condition holds for the source port and all else is
// as before, or it holds for the destination port. A piece whose list came out empty takes no packet and is left out.
func splitPort(comps []flowspec.Component, port flowspec.Component) [][]flowspec.Component {
	var out [][]flowspec.Component
	for _, side := range [...]flowspec.ComponentType{flowspec.DestinationPort, flowspec.SourcePort} {
		// The operators stay as they are written unless the side has a list already.
		c := flowspec.Component{Type: side, Ops: port.Ops}
		var piece []flowspec.Component
		for _, old := range comps {
			switch old.Type {
			case flowspec.Port:
			case side:
				c = fromIntervals(side, intersect(intervals(old), intervals(port)))
			default:
				piece = append(piece, old)
			}
		}
		if len(c.Ops) > 0 {
			out = append(out, insert(piece, c))
		}
	}
	return out
}

// insert puts c at its place among components in ascending order.
func insert(comps []flowspec.Component, c flowspec.Component) []flowspec.Component {
	var out []flowspec.Component
	for i, old := range comps {
		if old.Type > c.Type {
			return append(append(out, c), comps[i:]...)
		}
		out = append(out, old)
	}
	return append(out, c)
}

// splitLists splits each component as far as the router needs it and returns every combination.
func (p *Profile) splitLists(f flowspec.Family, comps []flowspec.Component) ([][]flowspec.Component, error) {
	out := [][]flowspec.Component{nil}
	for _, c := range comps {
		variants := p.variants(f, c)
		if len(out)*len(variants) > maxPieces {
			return nil, tooMany(p, flowspec.Match{Family: f, Components: comps})
		}
		var next [][]flowspec.Component
		for _, piece := range out {
			for _, v := range variants {
				next = append(next, append(piece[:len(piece):len(piece)], v))
			}
		}
		out = next
	}
	return out, nil
}

// variants returns components that the router takes and that together hold for the same values as c, none of them twice.
// A component that the router takes as it is stays as it is.
func (p *Profile) variants(f flowspec.Family, c flowspec.Component) []flowspec.Component {
	s := p.Component(f, c.Type)
	asIs := len(p.checkComponent(flowspec.Match{Family: f}, c)) == 0 && isSafe(f, c)
	switch {
	case asIs, isPrefix(c.Type):
		return []flowspec.Component{c}
	case isBitmask(c.Type):
		return maskVariants(c)
	case s.OneValue:
		return valueVariants(c)
	}
	return listVariants(c)
}

// isSafe reports whether the component by itself is in the safe subset.
func isSafe(f flowspec.Family, c flowspec.Component) bool {
	return flowspec.CheckSafe(flowspec.Match{Family: f, Components: []flowspec.Component{c}}) == nil
}

// maskVariants returns one component for each mask.
func maskVariants(c flowspec.Component) []flowspec.Component {
	var out []flowspec.Component
	for _, e := range disjoint(maskEntries(c)) {
		out = append(out, maskComponent(c.Type, e))
	}
	return out
}

// maskComponent says one ternary entry with bitmask operators: all of the bits that are set, and none of the others.
func maskComponent(t flowspec.ComponentType, e entry) flowspec.Component {
	c := flowspec.Component{Type: t}
	if e.value != 0 || e.mask == 0 {
		c.Ops = append(c.Ops, flowspec.Op{Flags: flowspec.All, Value: e.value})
	}
	if unset := e.mask &^ e.value; unset != 0 {
		op := flowspec.Op{Flags: flowspec.Not, Value: unset}
		if len(c.Ops) > 0 {
			op.Flags |= flowspec.And
		}
		c.Ops = append(c.Ops, op)
	}
	return c
}

// valueVariants returns one component for each value. Beyond maxPieces it stops: the caller refuses so many.
func valueVariants(c flowspec.Component) []flowspec.Component {
	var out []flowspec.Component
	for _, v := range intervals(c) {
		for n := v.lo; n <= v.hi && len(out) <= maxPieces; n++ {
			out = append(out, flowspec.Values(c.Type, flowspec.One(n)))
		}
	}
	return out
}

// listVariants cuts the list into components of the safe subset.
func listVariants(c flowspec.Component) []flowspec.Component {
	var out []flowspec.Component
	var part []interval
	for _, v := range intervals(c) {
		if len(fromIntervals(c.Type, append(part[:len(part):len(part)], v)).Ops) > flowspec.MaxSafeValues {
			out = append(out, fromIntervals(c.Type, part))
			part = nil
		}
		part = append(part, v)
	}
	if len(part) > 0 {
		out = append(out, fromIntervals(c.Type, part))
	}
	return out
}

// fromIntervals says the values as a list. A range without an end is one operator, and takes what has no number there.
func fromIntervals(t flowspec.ComponentType, list []interval) flowspec.Component {
	c := flowspec.Component{Type: t}
	for _, v := range list {
		switch most := uint64(1)<<width(t) - 1; {
		case v.lo > most: // only what has no number
			c.Ops = append(c.Ops, flowspec.Op{Flags: flowspec.GT, Value: most})
		case v.lo == v.hi:
			c.Ops = append(c.Ops, flowspec.Op{Flags: flowspec.EQ, Value: v.lo})
		case v.hi == top(t):
			c.Ops = append(c.Ops, flowspec.Op{Flags: flowspec.GT | flowspec.EQ, Value: v.lo})
		default:
			c.Ops = append(
				c.Ops,
				flowspec.Op{Flags: flowspec.GT | flowspec.EQ, Value: v.lo},
				flowspec.Op{Flags: flowspec.And | flowspec.LT | flowspec.EQ, Value: v.hi},
			)
		}
	}
	return c
}

package profile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// Effect says how the packets of a suggested rule compare with those of the rule it would replace.
type Effect uint8

// The effects.
const (
	SamePackets  Effect = iota + 1 // exactly the same
	MorePackets                    // these and some more
	FewerPackets                   // some of these are left alone
)

// String returns the effect in words.
func (e Effect) String() string {
	switch e {
	case SamePackets:
		return "same packets"
	case MorePackets:
		return "more packets"
	case FewerPackets:
		return "fewer packets"
	}
	return "unknown effect"
}

// Suggestion is a cheaper rule. It is never applied by itself: whoever owns the rule decides.
type Suggestion struct {
	Rule     flowspec.Rule
	From, To int // entries now, and with the suggestion
	Effect   Effect
	// Text says what to write, what it saves and on which packets it differs, e.g.
	//
	//	len >=256 costs 8 TCAM entries instead of 15; it also acts on packets of length 256
	Text string
}

// Suggest returns cheaper cuts of r: lists written shorter, which change nothing, and bounds of length and port ranges
// moved by at most an eighth to where the range is made of fewer prefixes, at least a third cheaper. Those that change nothing come first,
// then the greatest saving.
func (p *Profile) Suggest(r flowspec.Rule) []Suggestion {
	if r.Match.Validate() != nil || p.model != modelTernary {
		return nil
	}
	var out []Suggestion
	now := p.Price(r).Entries
	for i, c := range r.Match.Components {
		if isPrefix(c.Type) || isBitmask(c.Type) {
			continue
		}
		for _, s := range p.cuts(c) {
			s.Rule = flowspec.Rule{Match: flowspec.Match{Family: r.Match.Family, Components: slices.Clone(r.Match.Components)}, Actions: r.Actions}
			component := s.component
			s.Rule.Match.Components[i] = component
			s.From, s.To = now, p.Price(s.Rule).Entries
			if s.To >= s.From {
				continue
			}
			s.Text = fmt.Sprintf("%s costs %s instead of %d; %s", component.String(), count(s.To, "TCAM entry", "TCAM entries"), s.From, s.difference)
			out = append(out, s.Suggestion)
		}
	}
	slices.SortStableFunc(out, func(a, b Suggestion) int {
		if (a.Effect == SamePackets) != (b.Effect == SamePackets) {
			if a.Effect == SamePackets {
				return -1
			}
			return 1
		}
		return a.To - b.To
	})
	return out
}

// cut is a suggestion in the making.
type cut struct {
	Suggestion
	component  flowspec.Component
	difference string
}

// cuts returns cheaper forms of one numeric component.
func (p *Profile) cuts(c flowspec.Component) []cut {
	list := intervals(c)
	if len(list) == 0 {
		return nil
	}
	now := p.ternaryPart(c).Factor
	var out []cut
	if shorter := fromIntervals(c.Type, list); p.ternaryPart(shorter).Factor < now {
		out = append(out, cut{component: shorter, difference: "it acts on the same packets", Suggestion: Suggestion{Effect: SamePackets}})
		now = p.ternaryPart(shorter).Factor
	}
	switch c.Type {
	case flowspec.PacketLength, flowspec.Port, flowspec.DestinationPort, flowspec.SourcePort:
	default:
		return out // numbers that mean something each: a neighbour is another thing
	}
	for i := range list {
		for _, move := range [...]mover{lowerDown, lowerUp, upperUp, upperDown} {
			if found, ok := p.nearest(c, list, i, move, now); ok {
				out = append(out, found)
			}
		}
	}
	return out
}

// mover moves one bound of an interval to the next place where a block of 2^k values begins or ends. It returns the
// interval, the values that were added or taken away, and false if there is no such place or nothing moves.
type mover func(v interval, k int, most uint64) (moved, difference interval, effect Effect, ok bool)

func lowerDown(v interval, k int, _ uint64) (moved, difference interval, effect Effect, ok bool) {
	lo := v.lo &^ (1<<k - 1)
	return interval{lo, v.hi}, interval{lo, v.lo - 1}, MorePackets, lo < v.lo
}

func lowerUp(v interval, k int, _ uint64) (moved, difference interval, effect Effect, ok bool) {
	lo := (v.lo + 1<<k - 1) &^ (1<<k - 1)
	return interval{lo, v.hi}, interval{v.lo, lo - 1}, FewerPackets, v.lo < lo && lo <= v.hi
}

func upperUp(v interval, k int, most uint64) (moved, difference interval, effect Effect, ok bool) {
	hi := min(v.hi|(1<<k-1), most)
	return interval{v.lo, hi}, interval{v.hi + 1, hi}, MorePackets, v.hi < hi
}

func upperDown(v interval, k int, _ uint64) (moved, difference interval, effect Effect, ok bool) {
	end := (v.hi + 1) &^ (1<<k - 1) // the first value beyond
	return interval{v.lo, end - 1}, interval{end, v.hi}, FewerPackets, v.lo < end && end <= v.hi
}

// nearest returns the smallest move of one bound that makes the component at least a third cheaper. A bound is moved by
// an eighth of itself at most: beyond, it is another rule.
func (p *Profile) nearest(c flowspec.Component, list []interval, i int, move mover, now int) (cut, bool) {
	limit := uint64(1)<<width(c.Type) - 1
	for k := 1; k < width(c.Type); k++ {
		moved, diff, effect, ok := move(list[i], k, limit)
		if bound := max(list[i].lo, diff.lo); !ok || diff.hi-diff.lo >= bound/8 {
			continue
		}
		next := slices.Clone(list)
		next[i] = moved
		joined := merge(next)
		if len(joined) != len(next) {
			continue // it would run into its neighbour, whose values are not added
		}
		component := fromIntervals(c.Type, joined)
		if 3*p.ternaryPart(component).Factor > 2*now {
			continue
		}
		verb := "it also acts on packets of "
		if effect == FewerPackets {
			verb = "it leaves alone packets of "
		}
		return cut{component: component, difference: verb + quantity(c.Type, diff), Suggestion: Suggestion{Effect: effect}}, true
	}
	return cut{}, false
}

// quantity says which packets an interval of a field means: "length 256", "source port 1024 to 1027".
func quantity(t flowspec.ComponentType, v interval) string {
	name := strings.TrimPrefix(t.String(), "packet ")
	if v.lo == v.hi {
		return fmt.Sprintf("%s %d", name, v.lo)
	}
	return fmt.Sprintf("%s %d to %d", name, v.lo, v.hi)
}

package render

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// masks reports whether values of type t are bitmasks (RFC 8955 section 4.2.1.2).
func masks(t flowspec.ComponentType) bool {
	return t == flowspec.TCPFlags || t == flowspec.Fragment
}

// greatest is the greatest value of a numeric component.
func greatest(t flowspec.ComponentType) uint64 {
	switch t {
	case flowspec.IPProtocol, flowspec.ICMPType, flowspec.ICMPCode:
		return 0xff
	case flowspec.DSCP:
		return 0x3f
	case flowspec.FlowLabel:
		return 1<<20 - 1
	default:
		return 0xffff
	}
}

// ranges are the values that satisfy a numeric component, as ranges that are apart and ascending: for the formats that
// have no operators. They match the same packets. AND binds before OR (RFC 8955 section 4.2.1.1).
func ranges(c flowspec.Component) []flowspec.Range {
	limit := greatest(c.Type)
	var all, term []flowspec.Range
	for i, op := range c.Ops {
		these := satisfying(op, limit)
		if op.Flags&flowspec.And != 0 {
			term = both(term, these)
			continue
		}
		if i > 0 {
			all = append(all, term...)
		}
		term = these
	}
	return join(c.Type, append(all, term...))
}

// satisfying are the values from 0 to limit for which op is true.
func satisfying(op flowspec.Op, limit uint64) []flowspec.Range {
	var out []flowspec.Range
	if op.Flags&flowspec.LT != 0 && op.Value > 0 {
		out = append(out, flowspec.Range{Hi: op.Value - 1})
	}
	if op.Flags&flowspec.EQ != 0 {
		out = append(out, flowspec.One(op.Value))
	}
	if op.Flags&flowspec.GT != 0 && op.Value < limit {
		out = append(out, flowspec.Range{Lo: op.Value + 1, Hi: limit})
	}
	return out
}

// both are the values that are in a and in b, each of which has ranges that are apart.
func both(a, b []flowspec.Range) []flowspec.Range {
	var out []flowspec.Range
	for _, x := range a {
		for _, y := range b {
			if lo, hi := max(x.Lo, y.Lo), min(x.Hi, y.Hi); lo <= hi {
				out = append(out, flowspec.Range{Lo: lo, Hi: hi})
			}
		}
	}
	return out
}

// join sorts ranges and joins those that overlap or touch, as package flowspec does.
func join(t flowspec.ComponentType, all []flowspec.Range) []flowspec.Range {
	var out []flowspec.Range
	for _, op := range flowspec.Values(t, all...).Ops {
		if op.Flags&flowspec.And != 0 {
			out[len(out)-1].Hi = op.Value
		} else {
			out = append(out, flowspec.One(op.Value))
		}
	}
	return out
}

// rangeTexts are the values of a numeric component as N or LO-HI. A component that no value satisfies is an error.
func rangeTexts(c flowspec.Component) ([]string, error) {
	var out []string
	for _, r := range ranges(c) {
		text := strconv.FormatUint(r.Lo, 10)
		if r.Hi > r.Lo {
			text += "-" + strconv.FormatUint(r.Hi, 10)
		}
		out = append(out, text)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no %s satisfies the condition", c.Type)
	}
	return out, nil
}

// signs are the comparisons by the bits LT, GT and EQ. "true" and "false" are empty where a format has no safe form.
type signs [8]string

// comparison returns the sign of op.
func (s signs) comparison(t flowspec.ComponentType, op flowspec.Op) (string, error) {
	sign := s[op.Flags&(flowspec.LT|flowspec.GT|flowspec.EQ)]
	if sign == "" {
		return "", fmt.Errorf("%s: a comparison that is the same for every value cannot be written", t)
	}
	return sign, nil
}

// oneBit reports whether op asks for a single bit to be set. Any bit of one, and all bits of one, are the same.
func oneBit(op flowspec.Op) bool {
	return op.Flags&flowspec.Not == 0 && bits.OnesCount64(op.Value) == 1
}

// noneOf reports whether op asks that none of its bits is set. Not any bit of one, and not all bits of one, are the same.
func noneOf(op flowspec.Op) bool {
	return op.Flags&flowspec.Not != 0 && (op.Flags&flowspec.All == 0 || bits.OnesCount64(op.Value) == 1)
}

// maskSign is what ExaBGP and GoBGP write before the bits: for any of them, all, none, not all.
func maskSign(op flowspec.Op) string {
	return [...]string{"", "=", "!", "!="}[op.Flags&(flowspec.Not|flowspec.All)]
}

// bitNames returns the names of the bits of value, joined; names go up from bit 0, and false means that a bit has none.
func bitNames(value uint64, names []string, join string) (string, bool) {
	if value>>len(names) != 0 {
		return "", false
	}
	var out []string
	for i, n := range names {
		if value&(1<<i) != 0 {
			out = append(out, n)
		}
	}
	return strings.Join(out, join), true
}

// fragmentNames are the fragment bits from bit 0, as most formats spell them.
func fragmentNames() []string {
	return []string{"dont-fragment", "is-fragment", "first-fragment", "last-fragment"}
}

// noOffset refuses a prefix with an offset.
func noOffset(c flowspec.Component, why string) error {
	if c.Offset != 0 {
		return fmt.Errorf("%s with offset %d: %s", c.Type, c.Offset, why)
	}
	return nil
}

// decimal prints a rate with no digit lost and no exponent.
func decimal(rate float32) string { return strconv.FormatFloat(float64(rate), 'f', -1, 32) }

// whole returns v as an integer, if it is one below limit or equal to it.
func whole(v, limit float64) (uint64, bool) {
	if v < 0 || v > limit {
		return 0, false
	}
	n := uint64(v)
	return n, float64(n) == v
}

// bitsPerSecond returns a rate in bytes per second in bits per second: exact, by a power of two.
func bitsPerSecond(rate float32) float64 { return float64(rate) * 8 }

package flowspec

import "fmt"

// MaxSafeValues is how many operator and value pairs a component may have in the safe subset.
const MaxSafeValues = 5

// CheckSafe reports whether m is within the safe subset: the rules that the parsers of common routers survive. A
// router that cannot parse one rule resets the session, and with it goes every mitigation on that router, so each
// rule must pass before it is announced. Measured with FRR 8.4 and BIRD 2.0.12, which reset the session otherwise.
//
// Beyond Validate the safe subset has at most MaxSafeValues operator and value pairs in a component, no operator
// "not equal", no numeric operator that is constantly false or true, and no IPv6 offset. The lengths of values need
// no check here: AppendNLRI writes only those of the safe subset.
func CheckSafe(m Match) error {
	if err := m.Validate(); err != nil {
		return err
	}
	for i := range m.Components {
		c := &m.Components[i]
		if c.Offset != 0 {
			return refuse(ErrUnsafeOffset, "cannot announce %s with offset %d: it resets sessions of common routers", c.Type, c.Offset).
				advise("write the prefix from its first bit")
		}
		if len(c.Ops) > MaxSafeValues {
			return refuse(ErrTooManyValues, "cannot announce %s with %d operator and value pairs, at most %d", c.Type, len(c.Ops), MaxSafeValues).
				advise("%s", fewer(c, m.Family))
		}
		if c.Type.bitmask() {
			continue
		}
		for _, op := range c.Ops {
			switch compare := op.Flags & (LT | GT | EQ); {
			case compare == LT|GT:
				return refuse(ErrNotEqual, "cannot announce %s != %d: the operator resets sessions of common routers", c.Type, op.Value).advise("use ranges")
			case compare == 0:
				return refuse(ErrConstant, "cannot announce %s with an operator that is always false", c.Type).advise("leave the value out")
			case compare == LT|GT|EQ:
				return refuse(ErrConstant, "cannot announce %s with an operator that is always true", c.Type).advise("leave the condition out")
			}
		}
	}
	return nil
}

// fewer says how a component gets by with fewer pairs: a run of values is one range, and else several rules say the same.
func fewer(c *Component, f Family) string {
	if !c.Type.bitmask() {
		if ops := canonicalNumbers(c, f); len(ops) <= MaxSafeValues {
			return "write it with ranges: " + (&Component{Type: c.Type, Ops: ops}).String()
		}
	}
	return fmt.Sprintf("make several rules that are the same but for this condition, each with at most %d pairs of it, or take a range around the values", MaxSafeValues)
}

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
			return fmt.Errorf("cannot announce %s with offset %d: %w", c.Type, c.Offset, ErrUnsafeOffset)
		}
		if len(c.Ops) > MaxSafeValues {
			return fmt.Errorf("cannot announce %s with %d operator and value pairs, at most %d: %w; split the rule",
				c.Type, len(c.Ops), MaxSafeValues, ErrTooManyValues)
		}
		if c.Type.bitmask() {
			continue
		}
		for _, op := range c.Ops {
			switch compare := op.Flags & (LT | GT | EQ); {
			case compare == LT|GT:
				return fmt.Errorf("cannot announce %s != %d: %w; use ranges", c.Type, op.Value, ErrNotEqual)
			case compare == 0:
				return fmt.Errorf("cannot announce %s with an operator that is always false: %w", c.Type, ErrConstant)
			case compare == LT|GT|EQ:
				return fmt.Errorf("cannot announce %s with an operator that is always true: %w; leave the condition out",
					c.Type, ErrConstant)
			}
		}
	}
	return nil
}

package flowspec

import "slices"

// cube is the bitmasks that have all bits of set and none of unset.
type cube struct{ set, unset uint64 }

// flagOps returns the simplest list that takes the same TCP flags as c, nil if that is all of them; c takes some.
func flagOps(c *Component) []Op {
	var named uint64
	for _, op := range c.Ops {
		named |= op.Value
	}
	taken := truthOf(named, c.mask)
	if !slices.Contains(taken, false) {
		return nil
	}
	return cubeOps(cubes(taken, taken, bitsOf(named)))
}

// fragmentOps returns the simplest list that takes, of the fragment bits that can be, exactly those in taken. Whether
// it takes bits that cannot be does not matter. Sets have bit v for bits v.
func fragmentOps(taken, can uint16, f Family) []Op {
	named := Fragment.maxValue(f)
	is := truthOf(named, func(v uint64) bool { return taken>>v&1 != 0 })
	may := truthOf(named, func(v uint64) bool { return taken>>v&1 != 0 || can>>v&1 == 0 })
	return cubeOps(cubes(is, may, bitsOf(named)))
}

// bitsOf returns the bits of v, the highest first.
func bitsOf(v uint64) []uint64 {
	var out []uint64
	for bit := uint64(1) << 63; bit != 0; bit >>= 1 {
		if v&bit != 0 {
			out = append(out, bit)
		}
	}
	return out
}

// truthOf returns what f says of each subset of the bits in named, in ascending order.
func truthOf(named uint64, f func(uint64) bool) []bool {
	var out []bool
	for v := uint64(0); ; v = (v - named) & named { // the next subset
		out = append(out, f(v))
		if v == named {
			return out
		}
	}
}

// cubes returns cubes that together hold all of must and nothing outside of may, none of them superfluous. Both are
// truth tables over the bits, the first bit being that of the upper half. The result depends on the functions only, not
// on whether there are bits without influence. (Minato, "Fast generation of irredundant sum-of-products forms from
// binary decision diagrams", 1992.)
func cubes(must, may []bool, bits []uint64) []cube {
	out, _ := irredundant(must, may, bits)
	return out
}

// irredundant returns the cubes and the truth table of what they hold.
func irredundant(must, may []bool, bits []uint64) ([]cube, []bool) {
	holds := make([]bool, len(must))
	if !slices.Contains(must, true) {
		return nil, holds
	}
	if !slices.Contains(may, false) {
		for i := range holds {
			holds[i] = true
		}
		return []cube{{}}, holds
	}
	half := len(must) / 2
	bit, rest := bits[0], bits[1:]
	// What only one half may hold needs the bit; what is left after that is looked for in both halves at once.
	zero, holdsZero := irredundant(without(must[:half], may[half:]), may[:half], rest)
	one, holdsOne := irredundant(without(must[half:], may[:half]), may[half:], rest)
	left, mayBoth := make([]bool, half), make([]bool, half)
	for i := range left {
		left[i] = must[i] && !holdsZero[i] || must[half+i] && !holdsOne[i]
		mayBoth[i] = may[i] && may[half+i]
	}
	out, holdsBoth := irredundant(left, mayBoth, rest)
	for i := range holdsBoth {
		holds[i], holds[half+i] = holdsBoth[i] || holdsZero[i], holdsBoth[i] || holdsOne[i]
	}
	for _, c := range zero {
		out = append(out, cube{c.set, c.unset | bit})
	}
	for _, c := range one {
		out = append(out, cube{c.set | bit, c.unset})
	}
	return out, holds
}

// without returns what a holds and b does not.
func without(a, b []bool) []bool {
	out := slices.Clone(a)
	for i := range out {
		out[i] = out[i] && !b[i]
	}
	return out
}

// cubeOps returns the list of bitmask operators that takes what is in one of the cubes. Cubes of one bit are put
// together: any of those that are set, not all of those that are not.
func cubeOps(cubes []cube) []Op {
	var set, unset uint64
	var others []Op
	for _, c := range cubes {
		switch {
		case c.unset == 0 && c.set&(c.set-1) == 0 && c.set != 0:
			set |= c.set
		case c.set == 0 && c.unset&(c.unset-1) == 0 && c.unset != 0:
			unset |= c.unset
		case c.unset == 0:
			others = append(others, Op{Flags: All, Value: c.set})
		case c.set == 0:
			others = append(others, Op{Flags: Not, Value: c.unset})
		default:
			others = append(others, Op{Flags: All, Value: c.set}, Op{Flags: And | Not, Value: c.unset})
		}
	}
	var out []Op
	switch {
	case set&(set-1) != 0:
		out = append(out, Op{Value: set})
	case set != 0:
		out = append(out, Op{Flags: All, Value: set})
	}
	switch {
	case unset&(unset-1) != 0:
		out = append(out, Op{Flags: Not | All, Value: unset})
	case unset != 0:
		out = append(out, Op{Flags: Not, Value: unset})
	}
	return append(out, others...)
}

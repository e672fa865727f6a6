package flowspec

import (
	"bytes"
	"cmp"
)

// Compare orders matches as a router applies their rules (RFC 8955 section 5.1, RFC 8956 section 4): it is negative
// if a is applied before b, positive if b is applied before a, and zero if they are Equal. A packet meets the rules
// of its own family only; between families IPv4 comes first. It is a total order, made for slices.SortFunc.
//
// It is not GoBGP's (v4.8.0, CompareFlowSpecNLRI), which for IPv6 compares two prefixes after a shift by the wrong number
// of bits, and without their offsets: prefixes shorter than /64 all begin alike to it. Routers do not ask for the order
// in which rules were announced.
func Compare(a, b Match) int {
	if a.Family != b.Family {
		return cmp.Compare(a.Family, b.Family)
	}
	for i := range min(len(a.Components), len(b.Components)) {
		if c := compareComponents(&a.Components[i], &b.Components[i]); c != 0 {
			return c
		}
	}
	// The list that ends has an infinite type next, so the longer one goes first.
	return cmp.Compare(len(b.Components), len(a.Components))
}

func compareComponents(a, b *Component) int {
	if a.Type != b.Type {
		return cmp.Compare(a.Type, b.Type)
	}
	if a.Type.prefix() {
		return comparePrefixes(a, b)
	}
	var stackA, stackB [stackSize]byte
	// Of two strings that begin alike the RFC puts the longer first. That cannot happen to these: the end-of-list bit
	// stands in the last operator only, so no list is the beginning of another.
	return bytes.Compare(appendOps(stackA[:0], a), appendOps(stackB[:0], b))
}

// comparePrefixes puts the lower offset first, then the more specific of two prefixes of which one contains the
// other, else the lower address. Skipped bits are zero in both, so that whole addresses can be compared.
func comparePrefixes(a, b *Component) int {
	if a.Offset != b.Offset {
		return cmp.Compare(a.Offset, b.Offset)
	}
	if a.Prefix.Overlaps(b.Prefix) {
		return cmp.Compare(b.Prefix.Bits(), a.Prefix.Bits())
	}
	return a.Prefix.Addr().Compare(b.Prefix.Addr())
}

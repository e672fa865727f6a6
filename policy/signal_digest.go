package policy

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"net/netip"
	"slices"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// SignalDigest returns the SHA-256 of what a signal says, to tell a repetition from a contradiction. Everything that
// is content counts: source, attack, kind, targets, vector, match hints, rates, confidence and the drill mark. Seq
// does not, because digests are compared between signals of one Seq only, nor does DetectedAt, because a detector
// that sends a signal again may stamp it again. Lists count as sets: their order and repetitions do not matter.
func SignalDigest(s Signal) [32]byte {
	var stack [512]byte
	b := append(stack[:0], 1) // version of this encoding
	b = appendCounted(b, s.Source)
	b = appendCounted(b, s.AttackID)
	b = append(b, byte(s.Kind))
	b = appendPrefixes(b, s.Targets)
	b = appendCounted(b, string(s.Vector))
	b = appendProtocols(b, s.Protocols)
	b = appendRanges(b, s.SourcePorts)
	b = appendRanges(b, s.DestinationPorts)
	b = appendRanges(b, s.PacketLengths)
	b = appendPrefixes(b, s.SourcePrefixes)
	for _, v := range [...]float64{s.BitsPerSecond, s.PacketsPerSecond, s.Confidence} {
		b = binary.BigEndian.AppendUint64(b, math.Float64bits(v))
	}
	drill := byte(0)
	if s.Drill {
		drill = 1
	}
	return sha256.Sum256(append(b, drill))
}

func appendCounted(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendPrefixes(b []byte, ps []netip.Prefix) []byte {
	ps = sortedSet(ps, comparePrefix)
	b = binary.AppendUvarint(b, uint64(len(ps)))
	for _, p := range ps {
		b = append(b, byte(p.Addr().BitLen()), byte(p.Bits()))
		a := p.Addr().As16()
		b = append(b, a[:]...)
	}
	return b
}

func appendProtocols(b []byte, ns []uint8) []byte {
	ns = sortedSet(ns, cmp.Compare[uint8])
	b = binary.AppendUvarint(b, uint64(len(ns)))
	return append(b, ns...)
}

func appendRanges(b []byte, rs []flowspec.Range) []byte {
	rs = sortedSet(rs, compareRange)
	b = binary.AppendUvarint(b, uint64(len(rs)))
	for _, r := range rs {
		b = binary.AppendUvarint(b, r.Lo)
		b = binary.AppendUvarint(b, r.Hi)
	}
	return b
}

func compareRange(a, b flowspec.Range) int {
	return cmp.Or(cmp.Compare(a.Lo, b.Lo), cmp.Compare(a.Hi, b.Hi))
}

// sortedSet returns vs sorted and without repetitions. It never changes vs, and copies only when it must.
func sortedSet[T comparable](vs []T, compare func(a, b T) int) []T {
	sorted := true
	for i := 1; i < len(vs) && sorted; i++ {
		sorted = compare(vs[i-1], vs[i]) < 0
	}
	if sorted {
		return vs
	}
	vs = slices.Clone(vs)
	slices.SortFunc(vs, compare)
	return slices.Compact(vs)
}

// comparePrefix orders prefixes by address, the wider first among those that begin at one address: the order in which
// a walk through the address space meets them.
func comparePrefix(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

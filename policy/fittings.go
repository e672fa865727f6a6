package policy

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// maxFittings bounds how many fittings an inventory remembers; beyond it all are forgotten.
const maxFittings = 1024

// fittings remembers what policies make of signals: attacks come in few kinds, and what is matched of one does not depend
// on its target. It is no part of the State and decides nothing: what it holds is what making it again would give. It is
// begun anew with each change of a policy or a router, and made for one inventory, which is never changed.
type fittings struct {
	mu    sync.Mutex // guards known
	known map[string]*fitting
}

// fitting is what the first step of a policy matches of a kind of attack. It is never changed.
type fitting struct {
	action   Action
	groups   []string
	variants []flowspec.Match
	notes    []string
	exact    atomic.Bool // known to be carried out as it is by every router that hears it
}

// fitting returns what the policy matches of a signal.
func (s *State) fitting(pol *Policy, sig *Signal, f flowspec.Family) (*fitting, Reason) {
	sig = pol.narrowed(sig)
	// These fields and no others are used below, and all of them are in the key.
	said := Signal{
		Vector: sig.Vector, Protocols: sig.Protocols, SourcePorts: sig.SourcePorts, DestinationPorts: sig.DestinationPorts,
		PacketLengths: sig.PacketLengths, SourcePrefixes: sig.SourcePrefixes,
	}
	var stack [256]byte
	key := append(stack[:0], byte(f))
	key = appendCounted(key, pol.Name)
	key = appendCounted(key, string(said.Vector))
	key = appendProtocols(key, said.Protocols)
	key = appendRanges(key, said.SourcePorts)
	key = appendRanges(key, said.DestinationPorts)
	key = appendRanges(key, said.PacketLengths)
	key = appendPrefixes(key, said.SourcePrefixes)
	if len(key) > len(stack) { // long lists do not come again
		return makeFitting(pol, &said, f)
	}
	return s.inv.fittings.find(key, func() (*fitting, Reason) { return makeFitting(pol, &said, f) })
}

func makeFitting(pol *Policy, said *Signal, f flowspec.Family) (*fitting, Reason) {
	action := pol.steps()[0].Action
	variants, notes, r := matchesOf(said, action, f)
	if r.Code != "" {
		return nil, r
	}
	// Whoever adds to them makes a copy.
	return &fitting{action: action, groups: pol.Groups, variants: slices.Clip(variants), notes: slices.Clip(notes)}, Reason{}
}

// find returns what is known under a key, or else makes it afresh. Refusals are not remembered.
func (x *fittings) find(key []byte, fresh func() (*fitting, Reason)) (*fitting, Reason) {
	x.mu.Lock()
	f, ok := x.known[string(key)]
	x.mu.Unlock()
	if ok {
		return f, Reason{}
	}
	f, r := fresh()
	if r.Code != "" {
		return nil, r
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.known == nil || len(x.known) >= maxFittings {
		x.known = map[string]*fitting{}
	}
	x.known[string(key)] = f
	return f, r
}

// fitEvery is fitRouters, which need not look again at a fitting that is known to be exact. Whether a router carries a
// match out does not depend on the destination.
func (p *plan) fitEvery(s *State) Reason {
	f := p.fitting
	if f == nil || p.action != f.action || !sameList(p.variants, f.variants) || !sameList(p.groups, f.groups) {
		return p.fitRouters(s)
	}
	if f.exact.Load() {
		return Reason{}
	}
	notes := len(p.notes)
	r := p.fitRouters(s)
	if r.Code == "" && len(p.notes) == notes && sameList(p.variants, f.variants) {
		f.exact.Store(true)
	}
	return r
}

// sameList reports whether a and b are one list in memory.
func sameList[T any](a, b []T) bool { return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0]) }

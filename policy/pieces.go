package policy

import (
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"
)

// pieces finds the active mitigations by what they act on: it maps each destination to the mitigations that have it
// among the pieces of their cut, ids ascending. It holds ids, so that a renewal leaves it alone. It is persistent like
// table; the lists in it are never changed, only replaced.
type pieces struct {
	table *bart.Table[[]MitigationID]
	edits int  // of the Apply that is under way
	owned bool // the table is a clone that nobody else has seen yet, so it may be changed in place
}

func newPieces() pieces { return pieces{table: new(bart.Table[[]MitigationID])} }

func (x *pieces) commit() { x.edits, x.owned = 0, false }

// edit is called before each change. A persistent change copies the path to its prefix, which takes about as long as
// cloning 64 entries: from many changes on, one clone is cheaper.
func (x *pieces) edit() {
	if x.edits++; !x.owned && x.edits > max(bulkPrefixes, x.table.Size()/64) {
		x.table, x.owned = x.table.Clone(), true
	}
}

// move replaces what is known of the mitigation id.
func (x *pieces) move(id MitigationID, before, now []netip.Prefix) {
	if slices.Equal(before, now) {
		return
	}
	for _, p := range before {
		x.put(id, p, false)
	}
	for _, p := range now {
		x.put(id, p, true)
	}
}

// put adds or removes one piece of a mitigation. What is no prefix, or there twice, in an old log is no harm.
func (x *pieces) put(id MitigationID, p netip.Prefix, there bool) {
	p, ok := canonical(p)
	if !ok {
		return
	}
	ids, _ := x.table.Get(p)
	at, found := slices.BinarySearch(ids, id)
	if found == there {
		return
	}
	x.edit()
	if there {
		ids = slices.Insert(slices.Clone(ids), at, id)
	} else {
		ids = slices.Delete(slices.Clone(ids), at, at+1)
	}
	switch {
	case len(ids) == 0 && x.owned:
		x.table.Delete(p)
	case len(ids) == 0:
		x.table = x.table.DeletePersist(p)
	case x.owned:
		x.table.Insert(p, ids)
	default:
		x.table = x.table.InsertPersist(p, ids)
	}
}

// at returns the mitigations with exactly this piece, ids ascending.
func (x *pieces) at(p netip.Prefix) []MitigationID {
	ids, _ := x.table.Get(p)
	return ids
}

// near returns the mitigations that have a piece which holds one of ps or is equal to it; with inner also those that
// have a piece inside one of ps. Ids ascend.
func (x *pieces) near(ps []netip.Prefix, inner bool) []MitigationID {
	var out []MitigationID
	for _, p := range ps {
		for _, ids := range x.table.Supernets(p) {
			out = append(out, ids...)
		}
		if inner {
			for _, ids := range x.table.Subnets(p) {
				out = append(out, ids...)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

package policy

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/gaissmai/bart"

	"github.com/tidegate/tidegate/bgp/profile"
)

// SafeguardsName is the only name that a Safeguards document may have.
const SafeguardsName = "default"

// DefaultSafeguards returns the bounds that hold while there is no Safeguards document: targets of at most /20 (IPv4)
// and /40 (IPv6), 32 pieces, 10,000 mitigations, a lifetime of an hour and at most a day, a brake at 2 % of the links, and of
// one mitigation eight blackhole routes for single addresses. Policies leave a fifth of each budget to operators, no detector
// fills more than half of the rest, and what policies start in a minute is bounded (see bounds.go).
func DefaultSafeguards() *Safeguards {
	return &Safeguards{
		Name:                   SafeguardsName,
		WidestIPv4:             20,
		WidestIPv6:             40,
		MaxPieces:              32,
		MaxMitigations:         10_000,
		DefaultLifetime:        time.Hour,
		MaxLifetime:            24 * time.Hour,
		MaxRemovedLinksPercent: 2,
		ShortestRTBHIPv4:       defaultShortestRTBHIPv4,
		ShortestRTBHIPv6:       defaultShortestRTBHIPv6,
		MaxRTBHRoutes:          defaultMaxRTBHRoutes,

		OperatorShare:               defaultOperatorShare,
		SourceShare:                 defaultSourceShare,
		MaxStartsPerMinute:          defaultStartsPerMinute,
		MaxStartsPerMinutePerSource: defaultStartsPerMinutePerSource,
		MaxRulesPerMinute:           defaultRulesPerMinute,
		Quarantine: QuarantineThresholds{
			WrongTargets: defaultWrongTargets, SeqConflicts: defaultSeqConflicts, TooFastMinutes: defaultTooFastMinutes,
			Duration: DefaultQuarantine,
		},
	}
}

// inventory is the documents of a State and what is derived from them. Copying the struct copies the inventory.
//
// It takes documents as they are, sound or not: an entry of the log must have the same effect under every version of
// the rules in Validate and CheckInventory. So space of two customers, links listed twice and prefixes that are none
// must do no harm here.
type inventory struct {
	customers  table[*Customer]
	blocks     table[*ProtectedBlock]
	routers    table[*Router]
	policies   table[*Policy]
	safeguards table[*Safeguards]
	detectors  table[*Detector]

	byPriority table[*Policy] // by priority descending, then name
	official   space[*officialSpace]
	protected  space[*protectedSpace]
	links      int
	effective  *Safeguards
	choices    *choices                    // what is made of the policies; made once, when first asked for
	fittings   *fittings                   // what policies match of signals, as far as it was asked for; begun anew with what it is made of
	profiles   map[string]*profile.Profile // what is known of router models, by name; never changed
	priced     []string                    // names of the profiles whose entries are counted, sorted
	border     *border                     // what Wanted tells the speaker of the inventory; made once, when first asked for
}

// officialSpace is one official prefix. Sound inventories have one owner for each.
type officialSpace struct {
	prefix netip.Prefix
	owners []*Customer // by id, never empty
}

// protectedSpace is one protected prefix with all the reasons to protect it.
type protectedSpace struct {
	reasons []Exemption // sorted, never empty; the same reason may stand there twice
}

func newInventory() inventory {
	inv := inventory{
		customers:  newTable[*Customer](),
		blocks:     newTable[*ProtectedBlock](),
		routers:    newTable[*Router](),
		policies:   newTable[*Policy](),
		safeguards: newTable[*Safeguards](),
		detectors:  newTable[*Detector](),
		byPriority: newTable[*Policy](),
		official:   space[*officialSpace]{table: &bart.Fast[*officialSpace]{}},
		protected:  space[*protectedSpace]{table: &bart.Fast[*protectedSpace]{}},
		effective:  DefaultSafeguards(),
		choices:    &choices{},
		profiles:   knownProfiles(),
		border:     &border{},
		fittings:   &fittings{},
	}
	inv.protected.own()
	for _, e := range builtInProtected() {
		inv.protect(e)
	}
	inv.commit()
	return inv
}

// builtInProtected is the space that no inventory needs to list: RFC 1122 section 3.2.1.3 (this network, loopback,
// limited broadcast), RFC 3927 (link-local), RFC 5771 (multicast), RFC 4291 section 2.4 for IPv6. IPv4-mapped space needs
// no entry: it is looked up as the IPv4 space that it stands for.
func builtInProtected() []Exemption {
	all := []Exemption{
		{Name: "unspecified", Prefix: prefix4(0, 0, 0, 0, 8)},
		{Name: "loopback", Prefix: prefix4(127, 0, 0, 0, 8)},
		{Name: "link-local", Prefix: prefix4(169, 254, 0, 0, 16)},
		{Name: "multicast", Prefix: prefix4(224, 0, 0, 0, 4)},
		{Name: "broadcast", Prefix: prefix4(255, 255, 255, 255, 32)},
		{Name: "unspecified", Prefix: netip.PrefixFrom(netip.IPv6Unspecified(), 128)},
		{Name: "loopback", Prefix: netip.PrefixFrom(netip.IPv6Loopback(), 128)},
		{Name: "link-local", Prefix: netip.PrefixFrom(netip.AddrFrom16([16]byte{0xfe, 0x80}), 10)},
		{Name: "multicast", Prefix: netip.PrefixFrom(netip.AddrFrom16([16]byte{0xff}), 8)},
	}
	for i := range all {
		all[i].Kind = ExemptBuiltIn
	}
	return all
}

func prefix4(a, b, c, d byte, bits int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{a, b, c, d}), bits)
}

func (inv *inventory) commit() {
	inv.customers.commit()
	inv.blocks.commit()
	inv.routers.commit()
	inv.policies.commit()
	inv.safeguards.commit()
	inv.detectors.commit()
	inv.byPriority.commit()
	inv.official.commit()
	inv.protected.commit()
}

// put adds or replaces a document.
func (inv *inventory) put(doc Document) error {
	if d, ok := doc.(*Customer); ok {
		old, _ := inv.customers.get([]byte(d.ID))
		inv.customers.set([]byte(d.ID), d)
		inv.border = &border{}
		inv.exchange(old, d)
		return nil
	}
	if err := inv.remove(refOf(doc)); err != nil {
		return fmt.Errorf("cannot put document: %w", err)
	}
	switch d := doc.(type) {
	case *ProtectedBlock:
		inv.blocks.set([]byte(d.Name), d)
		for _, p := range d.Prefixes {
			inv.protect(Exemption{Prefix: p, Kind: ExemptBlock, Name: d.Name})
		}
	case *Router:
		inv.routers.set([]byte(d.Name), d)
	case *Policy:
		inv.policies.set([]byte(d.Name), d)
		inv.choices = &choices{}
		inv.byPriority.set(priorityKey(d), d)
	case *Safeguards:
		inv.safeguards.set([]byte(d.Name), d)
		inv.chooseSafeguards()
	case *Detector:
		inv.detectors.set([]byte(d.Name), d)
	}
	return nil
}

// remove takes a document out; one that is not there is no error.
func (inv *inventory) remove(ref DocumentRef) error {
	key := []byte(ref.Name)
	inv.border, inv.fittings = &border{}, &fittings{}
	switch ref.Kind {
	case KindCustomer:
		if d, ok := inv.customers.get(key); ok {
			inv.customers.remove(key)
			inv.exchange(d, nil)
		}
	case KindProtectedBlock:
		if d, ok := inv.blocks.get(key); ok {
			inv.blocks.remove(key)
			for _, p := range d.Prefixes {
				inv.unprotect(Exemption{Prefix: p, Kind: ExemptBlock, Name: d.Name})
			}
		}
	case KindRouter:
		inv.routers.remove(key)
	case KindPolicy:
		if d, ok := inv.policies.get(key); ok {
			inv.policies.remove(key)
			inv.choices = &choices{}
			inv.byPriority.remove(priorityKey(d))
		}
	case KindSafeguards:
		inv.safeguards.remove(key)
		inv.chooseSafeguards()
	case KindDetector:
		inv.detectors.remove(key)
	default:
		return fmt.Errorf("cannot remove document %q: %w %q", ref.Name, errUnknownKind, ref.Kind)
	}
	return nil
}

// refOf is doc.Ref that also survives a nil document.
func refOf(doc Document) DocumentRef {
	switch d := doc.(type) {
	case *Customer:
		if d != nil {
			return d.Ref()
		}
	case *ProtectedBlock:
		if d != nil {
			return d.Ref()
		}
	case *Router:
		if d != nil {
			return d.Ref()
		}
	case *Policy:
		if d != nil {
			return d.Ref()
		}
	case *Safeguards:
		if d != nil {
			return d.Ref()
		}
	case *Detector:
		if d != nil {
			return d.Ref()
		}
	}
	return DocumentRef{}
}

func (inv *inventory) get(ref DocumentRef) (Document, bool) {
	key := []byte(ref.Name)
	switch ref.Kind {
	case KindCustomer:
		return found(inv.customers.get(key))
	case KindProtectedBlock:
		return found(inv.blocks.get(key))
	case KindRouter:
		return found(inv.routers.get(key))
	case KindPolicy:
		return found(inv.policies.get(key))
	case KindSafeguards:
		return found(inv.safeguards.get(key))
	case KindDetector:
		return found(inv.detectors.get(key))
	}
	return nil, false
}

// found keeps a typed nil out of the interface.
func found[D Document](d D, ok bool) (Document, bool) {
	if !ok {
		return nil, false
	}
	return d, true
}

func (inv *inventory) documents(k DocumentKind) iter.Seq[Document] {
	switch k {
	case KindCustomer:
		return asDocuments(inv.customers.values())
	case KindProtectedBlock:
		return asDocuments(inv.blocks.values())
	case KindRouter:
		return asDocuments(inv.routers.values())
	case KindPolicy:
		return asDocuments(inv.policies.values())
	case KindSafeguards:
		return asDocuments(inv.safeguards.values())
	case KindDetector:
		return asDocuments(inv.detectors.values())
	}
	return func(func(Document) bool) {}
}

func asDocuments[D Document](seq iter.Seq[D]) iter.Seq[Document] {
	return func(yield func(Document) bool) {
		for d := range seq {
			if !yield(d) {
				return
			}
		}
	}
}

// documentKinds is every kind, in the order in which records are written.
func documentKinds() [6]DocumentKind {
	return [...]DocumentKind{KindCustomer, KindProtectedBlock, KindRouter, KindPolicy, KindSafeguards, KindDetector}
}

func (inv *inventory) chooseSafeguards() {
	if d, ok := inv.safeguards.get([]byte(SafeguardsName)); ok {
		inv.effective = d
		return
	}
	inv.effective = DefaultSafeguards()
}

func priorityKey(d *Policy) []byte {
	// Inverting all bits but the sign turns the order of signed numbers around.
	k := binary.BigEndian.AppendUint64(nil, uint64(int64(d.Priority))^(1<<63-1))
	return append(k, d.Name...)
}

// canonicalOfficial is canonical for space that may be acted on: there an IPv4-mapped prefix, which Validate refuses,
// counts for nothing, while protection by one holds for the IPv4 space that it stands for.
func canonicalOfficial(p netip.Prefix) (netip.Prefix, bool) {
	if p.Addr().Is4In6() {
		return netip.Prefix{}, false
	}
	return canonical(p)
}

// exchange puts the space of one version of a customer in place of that of another. Either may be nil. Links are
// compared first, because copying the paths to thousands of unchanged prefixes would be the greater part of an apply.
func (inv *inventory) exchange(old, now *Customer) {
	links := map[Exemption]int{} // how much more often now lists it than old
	stays := map[netip.Prefix]bool{}
	if now != nil {
		for _, p := range now.Official {
			stays[p] = true
		}
	}
	if old != nil {
		for _, p := range old.Official {
			if !stays[p] {
				inv.setOfficial(p, old, nil)
			}
		}
		for i := range old.Links {
			links[Exemption{Prefix: old.Links[i].Prefix, Kind: ExemptLink, Name: string(old.ID)}]--
		}
		inv.links -= len(old.Links)
	}
	if now != nil {
		for _, p := range now.Official {
			inv.setOfficial(p, old, now)
		}
		for i := range now.Links {
			links[Exemption{Prefix: now.Links[i].Prefix, Kind: ExemptLink, Name: string(now.ID)}]++
		}
		inv.links += len(now.Links)
	}
	for _, e := range slices.SortedFunc(maps.Keys(links), compareExemptions) {
		for n := links[e]; n > 0; n-- {
			inv.protect(e)
		}
		for n := links[e]; n < 0; n++ {
			inv.unprotect(e)
		}
	}
}

// setOfficial makes now an owner of p in place of old. Either may be nil. It may be done twice.
func (inv *inventory) setOfficial(p netip.Prefix, old, now *Customer) {
	p, ok := canonicalOfficial(p)
	if !ok {
		return
	}
	next := &officialSpace{prefix: p}
	if o, ok := inv.official.get(p); ok {
		for _, c := range o.owners {
			if c != old && c != now {
				next.owners = append(next.owners, c)
			}
		}
	}
	if now != nil {
		next.owners = append(next.owners, now)
		slices.SortFunc(next.owners, func(a, b *Customer) int { return cmp.Compare(a.ID, b.ID) })
	}
	if len(next.owners) == 0 {
		inv.official.remove(p)
		return
	}
	inv.official.set(p, next)
}

func (inv *inventory) protect(e Exemption) {
	p, ok := canonical(e.Prefix)
	if !ok {
		return
	}
	e.Prefix = p
	next := &protectedSpace{}
	if old, ok := inv.protected.get(p); ok {
		next.reasons = slices.Clone(old.reasons)
	}
	next.reasons = append(next.reasons, e)
	slices.SortFunc(next.reasons, compareExemptions)
	inv.protected.set(p, next)
}

func (inv *inventory) unprotect(e Exemption) {
	e.Prefix, _ = canonical(e.Prefix)
	old, ok := inv.protected.get(e.Prefix)
	if !ok {
		return
	}
	next := &protectedSpace{reasons: removeOne(old.reasons, e)}
	if len(next.reasons) == 0 {
		inv.protected.remove(e.Prefix)
		return
	}
	inv.protected.set(e.Prefix, next)
}

// removeOne returns list without the first element that is v: what was added twice must be removed twice.
func removeOne[E comparable](list []E, v E) []E {
	if i := slices.Index(list, v); i >= 0 {
		return slices.Delete(slices.Clone(list), i, i+1)
	}
	return list
}

// compareExemptions orders by prefix, then the more telling reason: a link, a block, what is built in.
func compareExemptions(a, b Exemption) int {
	return cmp.Or(a.Prefix.Compare(b.Prefix), cmp.Compare(a.Kind.rank(), b.Kind.rank()), cmp.Compare(a.Name, b.Name))
}

func (k ExemptionKind) rank() int {
	switch k {
	case ExemptLink:
		return 0
	case ExemptBlock:
		return 1
	case ExemptNested:
		return 2
	case ExemptBuiltIn:
		return 3
	}
	return 4
}

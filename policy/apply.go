package policy

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"

	"github.com/gaissmai/bart"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// decideApply judges a change of documents: each by itself, then all against each other in the state as it would be,
// then the brake on removals. Active mitigations whose space is touched are cut again in the same list of changes.
func decideApply(s *State, r *ApplyRequest, e Entry) Decision {
	if vs := unreasoned(r.BreakGlass, e); len(vs) > 0 {
		return malformed(vs)
	}
	d := applyDocuments(s, r, e)
	if d.Verdict.Kind != Mitigated {
		return d
	}
	why := loosened(s, d.Changes)
	if need := s.Safeguards().sweeping(d.Plan.RemovalsToAllow); need.Code != "" {
		why = append(why, need.Text)
	}
	need := needed(why)
	if need.Code == "" {
		return d
	}
	o := Order{Kind: OrderApply, Documents: r.Documents, Prune: r.Prune, Effect: d.Plan.effect()}
	if !r.BreakGlass {
		asks := o.await(s, need, e)
		asks.Plan = d.Plan
		return asks
	}
	d.Changes = append(d.Changes, o.passed(s, need, e))
	d.Verdict.Reason = Reason{CodeBreakGlass, fmt.Sprintf("%s; nobody approved it: %s", d.Verdict.Reason.Text, need.Text)}
	return d
}

// applyDocuments is decideApply without a second person.
func applyDocuments(s *State, r *ApplyRequest, e Entry) Decision {
	if vs := validateDocuments(r.Documents); len(vs) > 0 {
		return malformed(vs)
	}
	a := compare(s, r)
	a.plan.LinksBefore, a.plan.LinksAfter = s.LinkCount(), s.LinkCount()
	if len(a.changes) == 0 {
		return Decision{Plan: &a.plan, Verdict: Verdict{Kind: Merged, Reason: Reason{
			CodeUnchanged,
			unchangedText(len(a.plan.Unchanged)),
		}}}
	}
	after, err := s.Apply(Entry{Index: s.Index() + 1, At: s.At(), By: e.By, Reason: e.Reason}, a.changes)
	if err != nil {
		return refusef(CodeInternal, "the documents could not be tried: %v", err)
	}
	a.plan.LinksAfter = after.LinkCount()
	if vs := CheckInventory(after, a.touched); len(vs) > 0 {
		d := malformed(vs)
		d.Plan = &a.plan
		return d
	}
	brake := a.removals(s, after)
	if need := a.plan.RemovalsToAllow; need > 0 && r.AllowRemovals != need {
		d := refuse(Reason{CodeRemovalsNeedNumber, a.brakeText(s, brake, r.AllowRemovals)})
		d.Plan = &a.plan
		return d
	}
	d := Decision{Plan: &a.plan, Changes: a.changes}
	budget := newBudget(after)
	for m := range s.Active() {
		if a.touches(m) {
			a.adapt(&d, after, m, budget, e)
		}
	}
	for m := range s.Pending() {
		if a.touches(m) {
			a.adapt(&d, after, m, nil, e)
		}
	}
	if m, p, short := tooShort(after); short && s.Safeguards() != after.Safeguards() {
		return Decision{Plan: &a.plan, Verdict: Verdict{Kind: Refused, Reason: Reason{CodeRTBHTooWide, fmt.Sprintf(
			"M%d blackholes %s, for which the safeguards would permit no route any more: withdraw it first, or leave shortest_rtbh as it is", m.ID, p)}}}
	}
	reason := budget.overfull(a.routers)
	if reason.Code == "" {
		reason = unfitFor(after, a.routers)
	}
	if reason.Code != "" {
		return Decision{Plan: &a.plan, Verdict: Verdict{Kind: Refused, Reason: reason}}
	}
	a.unenforced(s, after)
	d.Verdict = Verdict{Kind: Mitigated, Reason: Reason{CodeApplied, a.text()}}
	return d
}

func unchangedText(n int) string {
	if n == 1 {
		return "the document is as stated: nothing to change"
	}
	return fmt.Sprintf("all %d documents are as stated: nothing to change", n)
}

// text says what the apply does.
func (a *applying) text() string {
	p := &a.plan
	text := fmt.Sprintf("%s added, %d changed, %d removed, %d unchanged; %s before, %d after; %s cut again, %d ended",
		plural(len(p.Added), "document"), len(p.Changed), len(p.Removed), len(p.Unchanged), plural(p.LinksBefore, "link"), p.LinksAfter,
		plural(len(p.Narrowed), "mitigation"), len(p.Ended))
	if n := len(p.Unenforced); n > 0 {
		text += fmt.Sprintf("; %s %s left without any router: nothing enforces %s", mitigationList(p.Unenforced), choose(n, "is", "are"),
			choose(n, "it", "them"))
	}
	return text
}

// unenforced finds the active mitigations for which there was a router before and is none now.
func (a *applying) unenforced(s, after *State) {
	if len(a.routers) == 0 {
		return
	}
	for m := range s.Active() {
		f := familyOf(m.Targets[0])
		if !slices.Contains(a.plan.Ended, m.ID) && hasRouter(s, m, f) && !hasRouter(after, m, f) {
			a.plan.Unenforced = append(a.plan.Unenforced, m.ID)
		}
	}
}

// hasRouter reports whether there is a router that hears m, whose routes are of family f.
func hasRouter(s *State, m *Mitigation, f flowspec.Family) bool {
	for r := range s.Routers() {
		if r.Hears(m.Action.RouteKind(), m.Groups, f) {
			return true
		}
	}
	return false
}

// validateDocuments checks each document by itself, and that none is there twice.
func validateDocuments(docs []Document) []Violation {
	var vs []Violation
	seen := make(map[DocumentRef]bool, len(docs))
	for _, doc := range docs {
		if doc == nil || reflect.ValueOf(doc).IsNil() {
			vs = append(vs, Violation{Field: "documents", Problem: "a document is empty"})
			continue
		}
		vs = append(vs, doc.Validate()...)
		ref := doc.Ref()
		if seen[ref] {
			vs = append(vs, Violation{
				Document: ref, Field: "name", Problem: fmt.Sprintf("%s %q is there twice", ref.Kind, ref.Name),
				Fix: "leave one of the two away",
			})
		}
		seen[ref] = true
	}
	return vs
}

// applying is an ApplyRequest under way.
type applying struct {
	base    *State
	plan    Plan
	changes []Change
	touched []DocumentRef

	before, after []Document // those replaced or removed; those added or in place of them
	routers       map[string]bool
	// space is where ownership or protection changes; protection is where there may be more protected space.
	space, protection *bart.Lite
	customers         map[CustomerID]bool // removed
	optedOut          map[CustomerID]bool // changed, and nobody may mitigate for them
}

// compare finds out what the request changes.
func compare(s *State, r *ApplyRequest) *applying {
	a := &applying{base: s, routers: map[string]bool{}, space: new(bart.Lite), protection: new(bart.Lite), customers: map[CustomerID]bool{}, optedOut: map[CustomerID]bool{}}
	stated := make(map[DocumentRef]bool, len(r.Documents))
	for _, doc := range r.Documents {
		ref := doc.Ref()
		stated[ref] = true
		old, exists := s.Document(ref)
		switch {
		case !exists:
			a.plan.Added = append(a.plan.Added, ref)
		case sameDocument(old, doc):
			a.plan.Unchanged = append(a.plan.Unchanged, ref)
			continue
		default:
			a.plan.Changed = append(a.plan.Changed, ref)
			a.before = append(a.before, old)
		}
		a.after = append(a.after, doc)
		a.touched = append(a.touched, ref)
		a.changes = append(a.changes, &PutDocument{doc})
	}
	if r.Prune {
		a.prune(s, stated)
	}
	for _, refs := range [...]*[]DocumentRef{&a.plan.Added, &a.plan.Changed, &a.plan.Removed, &a.plan.Unchanged} {
		slices.SortFunc(*refs, compareRefs)
	}
	a.note()
	return a
}

// prune removes what the request does not state.
func (a *applying) prune(s *State, stated map[DocumentRef]bool) {
	for _, k := range documentKinds() {
		for doc := range s.Documents(k) {
			ref := doc.Ref()
			if stated[ref] {
				continue
			}
			a.plan.Removed = append(a.plan.Removed, ref)
			a.before = append(a.before, doc)
			a.touched = append(a.touched, ref)
			a.changes = append(a.changes, &DeleteDocument{ref})
		}
	}
}

// note remembers which space and which routers the changed documents are about.
func (a *applying) note() {
	for i, docs := range [...][]Document{a.before, a.after} {
		for _, doc := range docs {
			switch doc := doc.(type) {
			case *Customer:
				a.optedOut[doc.ID] = i == 1 && doc.Mitigation == ConsentNone
				for _, p := range doc.Official {
					a.space.Insert(p)
				}
				for j := range doc.Links {
					a.space.Insert(doc.Links[j].Prefix)
					if i == 1 {
						a.protection.Insert(doc.Links[j].Prefix)
					}
				}
			case *ProtectedBlock:
				for _, p := range doc.Prefixes {
					a.space.Insert(p)
					if i == 1 {
						a.protection.Insert(p)
					}
				}
			case *Router:
				a.routers[doc.Name] = true
			case *Policy, *Safeguards, *Detector: // recorded decisions stay as they were decided
			}
		}
	}
	for _, ref := range a.plan.Removed {
		if ref.Kind == KindCustomer {
			a.customers[CustomerID(ref.Name)] = true
		}
	}
}

// touches reports whether the change may take something from m, or tell something new about its targets.
func (a *applying) touches(m *Mitigation) bool {
	if a.customers[m.Customer] || a.optedOut[m.Customer] || slices.ContainsFunc(m.Targets, a.space.OverlapsPrefix) {
		return true
	}
	return slices.ContainsFunc(m.Variants, a.sourceTouched)
}

func (a *applying) sourceTouched(v flowspec.Match) bool {
	src, ok := v.Component(flowspec.SourcePrefix)
	return ok && a.protection.OverlapsPrefix(src.Prefix)
}

// loss is how many of its links a customer would lose.
type loss struct {
	customer     CustomerID
	removed, had int
}

func (l loss) text() string { return fmt.Sprintf("%s (%d of %d)", l.customer, l.removed, l.had) }

// removals finds the links and the protected space that would be gone, and whether the brake asks for their number:
// because it is too many of all links, because a customer loses half of its own or more, or because a block protects
// less. It returns these customers. One link of a customer is little among the links of all, and all that the customer
// has.
func (a *applying) removals(s, after *State) []loss {
	links, blocks := a.taken()
	var now []netip.Prefix
	if len(blocks) > 0 {
		for doc := range after.Documents(KindProtectedBlock) {
			if b, ok := doc.(*ProtectedBlock); ok {
				now = append(now, b.Prefixes...)
			}
		}
	}
	a.plan.LinksRemoved = slices.SortedFunc(maps.Keys(links), comparePrefix)
	shrunk, gone := uncovered(blocks, now)
	a.plan.ProtectedRemoved = gone
	losses := a.losses(links)
	removed, had := len(a.plan.LinksRemoved), a.plan.LinksBefore
	tooMany := removed > 0 && float64(removed)*100 > s.Safeguards().MaxRemovedLinksPercent*float64(had)
	if tooMany || len(losses) > 0 || shrunk > 0 {
		a.plan.RemovalsToAllow = removed + shrunk
	}
	return losses
}

// taken returns the links that no changed document has any more, and the prefixes of blocks that are replaced or
// removed.
func (a *applying) taken() (links map[netip.Prefix]bool, blocks []netip.Prefix) {
	links = map[netip.Prefix]bool{}
	for _, doc := range a.before {
		switch doc := doc.(type) {
		case *Customer:
			for i := range doc.Links {
				links[doc.Links[i].Prefix] = true
			}
		case *ProtectedBlock:
			blocks = append(blocks, doc.Prefixes...)
		case *Router, *Policy, *Safeguards, *Detector:
		}
	}
	for _, doc := range a.after {
		if c, ok := doc.(*Customer); ok {
			for i := range c.Links {
				delete(links, c.Links[i].Prefix)
			}
		}
	}
	return links, blocks
}

// losses returns the customers that lose half of their links or more, at least one.
func (a *applying) losses(gone map[netip.Prefix]bool) []loss {
	var out []loss
	for _, doc := range a.before {
		c, ok := doc.(*Customer)
		if !ok {
			continue
		}
		l := loss{customer: c.ID, had: len(c.Links)}
		for i := range c.Links {
			if gone[c.Links[i].Prefix] {
				l.removed++
			}
		}
		if l.removed > 0 && 2*l.removed >= l.had {
			out = append(out, l)
		}
	}
	slices.SortFunc(out, func(x, y loss) int { return compareStrings(string(x.customer), string(y.customer)) })
	return out
}

// uncovered returns how many of before do not lie wholly in the space of now, and the space of them that does not, as
// the fewest CIDRs.
func uncovered(before, now []netip.Prefix) (shrunk int, gone []netip.Prefix) {
	now = outermost(now)
	for _, p := range sortedSet(before, comparePrefix) {
		if _, ok := holding(now, p); ok {
			continue
		}
		// Several prefixes may hold p together.
		lo, _ := slices.BinarySearchFunc(now, p, comparePrefix)
		hi := lo
		for hi < len(now) && inside(now[hi], p) {
			hi++
		}
		if left := subtract([]netip.Prefix{p}, now[lo:hi]); len(left) > 0 {
			shrunk++
			gone = append(gone, left...)
		}
	}
	return shrunk, fewest(gone)
}

// fewest returns the space of ps, of both families, as the fewest CIDRs.
func fewest(ps []netip.Prefix) []netip.Prefix {
	ps = outermost(ps)
	six := slices.IndexFunc(ps, func(p netip.Prefix) bool { return familyOf(p) == flowspec.IPv6 })
	if six < 0 {
		return subtract(ps, nil)
	}
	return append(subtract(ps[:six], nil), subtract(ps[six:], nil)...)
}

// brakeText is the sentence of the brake, with the number that lets the apply through.
func (a *applying) brakeText(s *State, losses []loss, stated int) string {
	text := fmt.Sprintf("this removes %d of %s", len(a.plan.LinksRemoved), plural(a.plan.LinksBefore, "link"))
	if n := len(a.plan.LinksRemoved); n > 0 {
		text += fmt.Sprintf(" (%.1f %%, without a number at most %v %%): %s", float64(n)*100/float64(a.plan.LinksBefore),
			s.Safeguards().MaxRemovedLinksPercent, list(a.plan.LinksRemoved, netip.Prefix.String))
	}
	if len(losses) > 0 {
		text += "; half of its links or more would lose " + list(losses, loss.text)
	}
	if n := a.plan.RemovalsToAllow - len(a.plan.LinksRemoved); n > 0 {
		text += fmt.Sprintf("; and protection of %s of blocks: gone is %s", plural(n, "prefix"), list(a.plan.ProtectedRemoved, netip.Prefix.String))
	}
	text += fmt.Sprintf(". Nothing was changed. If that is meant, allow exactly %s", plural(a.plan.RemovalsToAllow, "removal"))
	if stated != 0 {
		text += fmt.Sprintf(" (%d %s stated)", stated, choose(stated, "was", "were"))
	}
	return text
}

// newlyProtected reports whether the source of v overlaps protected space that it did not overlap before: what it did, a
// second person approved.
func newlyProtected(before, after *State, v flowspec.Match) bool {
	src, ok := v.Component(flowspec.SourcePrefix)
	if !ok {
		return false
	}
	known := before.ProtectedOverlapping(src.Prefix)
	return slices.ContainsFunc(after.ProtectedOverlapping(src.Prefix), func(e Exemption) bool { return !slices.Contains(known, e) })
}

// adapt cuts m again under the state as it will be, and adds what that changes to the decision.
func (a *applying) adapt(d *Decision, after *State, m *Mitigation, b *budget, e Entry) {
	if a.customers[m.Customer] {
		a.over(d, m, b, fmt.Sprintf("customer %s was removed", m.Customer), e)
		return
	}
	if a.optedOut[m.Customer] {
		a.withdraw(d, m, b, e)
		return
	}
	variants := slices.DeleteFunc(slices.Clone(m.Variants), func(v flowspec.Match) bool {
		return a.sourceTouched(v) && newlyProtected(a.base, after, v)
	})
	if len(variants) == 0 {
		a.over(d, m, b, "every source prefix now overlaps protected space", e)
		return
	}
	next := m.again(after, variants, b)
	if len(next.parts) == 0 {
		a.over(d, m, b, next.nothing(m), e)
		return
	}
	sparing := !slices.EqualFunc(next.services, m.Services, Service.equal)
	if equalCuts(&next.cut, &m.Cut) && len(variants) == len(m.Variants) && !sparing {
		return
	}
	cp := *m
	cp.Cut, cp.Variants, cp.Services = next.cut, variants, next.services
	if !slices.Equal(next.cut.Pieces, m.Cut.Pieces) || len(variants) != len(m.Variants) || sparing {
		rules, reason := makeRules(next.parts, m.Action)
		if reason.Code != "" {
			a.over(d, m, b, reason.Text, e)
			return
		}
		cp.Rules = rules
		b.move(m, &cp)
		a.plan.Narrowed = append(a.plan.Narrowed, m.ID)
		cp.tell(Event{At: e.At, What: EventNarrowed, By: e.By, Code: CodeApplied, Text: next.text(m)})
	}
	d.Mitigations = append(d.Mitigations, &cp)
	d.Changes = append(d.Changes, &PutMitigation{&cp})
}

// over ends m because nothing is left of it.
func (a *applying) over(d *Decision, m *Mitigation, b *budget, note string, e Entry) {
	b.move(m, &Mitigation{})
	a.plan.Ended = append(a.plan.Ended, m.ID)
	d.end(m, EndNothingLeft, note, e)
}

// withdraw ends m because nobody may mitigate for its customer any more. Its attacks stay known, as after any withdrawal.
func (a *applying) withdraw(d *Decision, m *Mitigation, b *budget, e Entry) {
	b.move(m, &Mitigation{})
	a.plan.Ended = append(a.plan.Ended, m.ID)
	d.end(m, EndWithdrawn, fmt.Sprintf("customer %s has opted out (mitigation: none)", m.Customer), e)
}

// budget counts what each router holds while mitigations are cut again.
type budget struct {
	s       *State
	routers []*Router
	rooms   []Room // of each router
}

func newBudget(s *State) *budget {
	b := &budget{s: s, routers: slices.Collect(s.Routers())}
	for _, r := range b.routers {
		b.rooms = append(b.rooms, s.Room(r))
	}
	return b
}

// pieces returns how many destinations m may have with these matches: as many as it has, and beyond them what is free on
// the fullest router. Without a budget nothing is counted.
func (b *budget) pieces(m *Mitigation, variants []flowspec.Match) int {
	most := int(^uint(0) >> 1)
	if b == nil {
		return most
	}
	for i, r := range b.routers {
		if !r.inReach(m.Action.RouteKind(), m.Groups) {
			continue
		}
		room := &b.rooms[i]
		most = min(most, (max(0, room.RoutesStop-room.Routes)+len(m.Rules))/len(variants))
		if room.EntriesStop > 0 {
			prof := b.s.Profile(r)
			has := entriesOfRules(prof, m.Rules)
			most = min(most, (max(0, room.EntriesStop-room.Entries)+has)/entriesPerPiece(prof, variants))
		}
	}
	return most
}

// move counts m with the pieces and matches of now in place of its own; none of them if it is over.
func (b *budget) move(m *Mitigation, now *Mitigation) {
	if b == nil { // m awaits approval: no router holds anything of it
		return
	}
	for i, r := range b.routers {
		if !r.inReach(m.Action.RouteKind(), m.Groups) {
			continue
		}
		room := &b.rooms[i]
		room.Routes += len(now.Rules) - len(m.Rules)
		if room.EntriesStop > 0 {
			prof := b.s.Profile(r)
			room.Entries += entriesOfRules(prof, now.Rules) - entriesOfRules(prof, m.Rules)
		}
	}
}

// overfull refuses a router document under whose limits the active rules do not fit.
func (b *budget) overfull(changed map[string]bool) Reason {
	for i, r := range b.routers {
		room := &b.rooms[i]
		switch {
		case !changed[r.Name]:
		case room.Routes > room.RoutesStop:
			return Reason{CodeRouterBudget, fmt.Sprintf("router %s (group %s) would hear %s and may hear %d (%s): "+
				"withdraw mitigations first, or raise the limit", r.Name, r.Group, plural(room.Routes, "active "+routeWord(r.Kind())), room.RoutesStop, stopText(r, *room))}
		case room.EntriesStop > 0 && room.Entries > room.EntriesStop:
			return Reason{CodeRouterEntries, fmt.Sprintf("router %s (group %s, profile %s) would hold %d table entries and may hold %d (80 %% of its table): "+
				"withdraw mitigations first, or raise max_entries", r.Name, r.Group, r.Profile, room.Entries, room.EntriesStop)}
		}
	}
	return Reason{}
}

// sameDocument reports whether two documents say the same. An absent list and an empty one are the same.
func sameDocument(a, b Document) bool {
	switch x := a.(type) {
	case *Customer:
		y, ok := b.(*Customer)
		return ok && sameCustomer(x, y)
	case *ProtectedBlock:
		y, ok := b.(*ProtectedBlock)
		return ok && x.Name == y.Name && x.Kind == y.Kind && x.Note == y.Note && slices.Equal(x.Prefixes, y.Prefixes)
	case *Router:
		y, ok := b.(*Router)
		return ok && sameRouter(*x, *y)
	case *Policy:
		y, ok := b.(*Policy)
		return ok && samePolicy(x, y)
	case *Safeguards:
		y, ok := b.(*Safeguards)
		return ok && x.stated() == y.stated()
	case *Detector:
		return reflect.DeepEqual(x, b)
	}
	return false
}

func sameCustomer(x, y *Customer) bool {
	return x.ID == y.ID && x.Name == y.Name && x.Within == y.Within && x.MaxMitigations == y.MaxMitigations &&
		slices.Equal(x.Official, y.Official) && slices.Equal(x.Links, y.Links) && slices.Equal(x.Contacts, y.Contacts) &&
		slices.Equal(x.Tags, y.Tags) && slices.EqualFunc(x.Services, y.Services, Service.equal) &&
		x.MaxRules == y.MaxRules && x.Mitigation == y.Mitigation && slices.Equal(x.ManualVectors, y.ManualVectors) &&
		slices.Equal(x.SelfService, y.SelfService)
}

func samePolicy(x, y *Policy) bool {
	return x.Name == y.Name && x.Priority == y.Priority && x.Action == y.Action && slices.Equal(x.Ladder, y.Ladder) && x.Quiet == y.Quiet && x.Relax == y.Relax && x.Lifetime == y.Lifetime &&
		slices.Equal(x.Vectors, y.Vectors) && slices.Equal(x.Customers, y.Customers) &&
		slices.Equal(x.Sources, y.Sources) && slices.Equal(x.Groups, y.Groups) && x.sameChoice(y)
}

func sameRouter(x, y Router) bool {
	if !slices.Equal(x.Families, y.Families) {
		return false
	}
	x.Families, y.Families = nil, nil
	return reflect.DeepEqual(x, y)
}

package policy

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"math"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/profile"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// twin is a State that is too simple to be wrong: plain maps, and a walk over all of them for every question.
type twin struct {
	index       Index
	at, leaseAt time.Time
	nextID      MitigationID
	documents   map[DocumentRef]Document
	mitigations map[MitigationID]*Mitigation
	attacks     map[[2]string]Attack
	results     map[RequestID]Result
	routes      map[flowspec.Key]twinRoute
	orders      map[ApprovalID]Order
}

type twinRoute struct {
	kind    wanted.Kind
	rule    flowspec.Rule
	owners  []MitigationID
	groups  []string
	changed Index
	urgency uint32
	expires time.Time
	claims  []claim
	hears   map[string]string // actions by group; the empty group is one that nobody names
}

// claim is one mitigation's rule for a key.
type claim struct {
	m    *Mitigation
	rule flowspec.Rule
}

func (c claim) meant(group string) bool {
	return len(c.m.Groups) == 0 || slices.Contains(c.m.Groups, group)
}

func newTwin() *twin {
	return &twin{
		nextID:      1,
		documents:   map[DocumentRef]Document{},
		mitigations: map[MitigationID]*Mitigation{},
		attacks:     map[[2]string]Attack{},
		results:     map[RequestID]Result{},
		routes:      map[flowspec.Key]twinRoute{},
		orders:      map[ApprovalID]Order{},
	}
}

func (w *twin) apply(e Entry, cs []Change) {
	w.index = e.Index
	if e.At.After(w.at) {
		w.at = e.At
	}
	for _, c := range cs {
		switch c := c.(type) {
		case *PutDocument:
			w.fence(w.documents[c.Document.Ref()], c.Document)
			w.documents[c.Document.Ref()] = c.Document
		case *DeleteDocument:
			w.fence(w.documents[c.Ref], nil)
			delete(w.documents, c.Ref)
		case *PutMitigation:
			m := *c.Mitigation
			m.Changed = e.Index
			w.mitigations[m.ID] = &m
			w.nextID = max(w.nextID, m.ID+1)
		case *EndMitigation:
			m := *w.mitigations[c.ID]
			m.Phase, m.End, m.EndedAt, m.EndedBy, m.EndNote, m.Changed = Over, c.Cause, w.at, c.By, c.Note, e.Index
			if c.By == "" {
				m.EndedBy = e.By
			}
			if c.Note == "" {
				m.EndNote = e.Reason
			}
			w.mitigations[c.ID] = &m
		case *PutAttack:
			a := c.Attack
			a.At = w.at
			w.attacks[[2]string{a.Source, a.AttackID}] = a
		case *PutResult:
			r := c.Result
			r.Index, r.At = e.Index, w.at
			w.results[r.RequestID] = r
		case *PutOrder:
			o := c.Order
			o.Changed = e.Index
			w.orders[o.ID] = o
		case *PutLease:
			w.leaseAt = w.at
		}
		w.reroute()
	}
	old := func(t time.Time) bool { return w.at.Sub(t) > 24*time.Hour }
	maps.DeleteFunc(w.attacks, func(_ [2]string, a Attack) bool { return a.Ended && old(a.At) })
	maps.DeleteFunc(w.attacks, func(_ [2]string, a Attack) bool { return a.Unanswered && w.at.Sub(a.At) >= 10*time.Minute })
	maps.DeleteFunc(w.results, func(_ RequestID, r Result) bool { return old(r.At) })
}

// fence moves Changed of all keys for which groups hear different actions if a router is not where it was.
func (w *twin) fence(before, now Document) {
	place := func(d Document) string {
		if r, ok := d.(*Router); ok {
			return fmt.Sprint(r.Name, r.Group, r.Address, r.Port)
		}
		return ""
	}
	if place(before) == place(now) {
		return
	}
	for k, r := range w.routes {
		if len(slices.Compact(slices.Sorted(maps.Values(r.hears)))) > 1 {
			r.changed = w.index
			w.routes[k] = r
		}
	}
}

// reroute makes all routes anew and keeps Changed where a router sees no difference.
func (w *twin) reroute() {
	claims := map[flowspec.Key][]claim{}
	kinds := map[flowspec.Key]wanted.Kind{}
	for m := range w.all(Active) {
		for _, r := range m.Rules {
			k, kind := r.Match.Key(), wanted.FlowSpec
			if m.Action.Kind == RTBH {
				dst, _ := r.Match.Destination()
				k, kind = wanted.RTBHKey(dst), wanted.RTBH
			}
			kinds[k] = kind
			if !slices.ContainsFunc(claims[k], func(c claim) bool { return c.m == m }) {
				claims[k] = append(claims[k], claim{m, r})
			}
		}
	}
	next := map[flowspec.Key]twinRoute{}
	for k, cs := range claims {
		slices.SortFunc(cs, func(a, b claim) int {
			ra, rb := math.Inf(1), math.Inf(1)
			if isRate(a.m.Action) && len(a.rule.Actions) > 0 {
				ra = float64(a.rule.Actions[0].Rate)
			}
			if isRate(b.m.Action) && len(b.rule.Actions) > 0 {
				rb = float64(b.rule.Actions[0].Rate)
			}
			return cmp.Or(int(b.m.Origin)-int(a.m.Origin), severityOf(b.m.Action)-severityOf(a.m.Action), cmp.Compare(ra, rb), cmp.Compare(a.m.ID, b.m.ID))
		})
		r := twinRoute{kind: kinds[k], rule: cs[0].rule, changed: w.index, urgency: urgency(cs[0].m)}
		everywhere := false
		for _, c := range cs {
			r.owners = append(r.owners, c.m.ID)
			r.groups = append(r.groups, c.m.Groups...)
			everywhere = everywhere || len(c.m.Groups) == 0
			if c.m.Expires.After(r.expires) {
				r.expires = c.m.Expires
			}
		}
		slices.Sort(r.groups)
		r.groups = slices.Compact(r.groups)
		if everywhere {
			r.groups = nil
		}
		r.claims, r.hears = cs, map[string]string{}
		for _, g := range []string{"", "edge", "transit", "none"} {
			for _, c := range cs {
				if _, known := r.hears[g]; !known && c.meant(g) {
					r.hears[g] = fmt.Sprintf("%#v", c.rule.Actions)
				}
			}
		}
		if o, ok := w.routes[k]; ok && maps.Equal(o.hears, r.hears) {
			r.changed = o.changed
		}
		next[k] = r
	}
	w.routes = next
}

// severityOf is the place of an action in the order that Action documents.
func severityOf(a Action) int {
	return slices.Index([]string{"copy", "mark", "packets", "bytes", "discard", "redirect to address", "redirect to VRF", "blackhole"}, map[ActionKind]string{
		Mark: "mark", RateLimitPackets: "packets", RateLimit: "bytes", Discard: "discard", Redirect: "redirect to VRF", RTBH: "blackhole",
		RedirectIP: map[bool]string{true: "copy", false: "redirect to address"}[a.Copy],
	}[a.Kind])
}

func isRate(a Action) bool {
	return a.Kind == RateLimit || a.Kind == RateLimitPackets || a.Kind == Discard
}

// dueOf is when a mitigation is to be looked at.
func dueOf(m *Mitigation) time.Time {
	if m.Awaits.Kind != "" && m.Awaits.Until.Before(m.Expires) && (m.Phase != Ending || m.Awaits.Until.Before(m.EndsAt)) {
		return m.Awaits.Until
	}
	if m.Phase == Ending && m.EndsAt.Before(m.Expires) {
		return m.EndsAt
	}
	return m.Expires
}

// all yields mitigations by id; phase 0 means all, and Active those that are announced.
func (w *twin) all(ph Phase) iter.Seq[*Mitigation] {
	return func(yield func(*Mitigation) bool) {
		for _, id := range slices.Sorted(maps.Keys(w.mitigations)) {
			if m := w.mitigations[id]; (ph == 0 || m.Phase == ph || ph == Active && m.Phase == Ending) && !yield(m) {
				return
			}
		}
	}
}

func (w *twin) names(k DocumentKind) []string {
	var out []string
	for ref := range w.documents {
		if ref.Kind == k {
			out = append(out, ref.Name)
		}
	}
	slices.Sort(out)
	return out
}

func documentsOf[D Document](w *twin, k DocumentKind) []D {
	var out []D
	for _, n := range w.names(k) {
		out = append(out, w.documents[DocumentRef{k, n}].(D))
	}
	return out
}

// holds reports whether all addresses of p are in q, by their bits alone.
func holds(q, p netip.Prefix) bool {
	if q.Addr().Is4() != p.Addr().Is4() || q.Bits() > p.Bits() {
		return false
	}
	a, b := q.Addr().AsSlice(), p.Addr().AsSlice()
	for i := range q.Bits() {
		if a[i/8]>>(7-i%8)&1 != b[i/8]>>(7-i%8)&1 {
			return false
		}
	}
	return true
}

func (w *twin) owner(p netip.Prefix) (best netip.Prefix, who *Customer, ok bool) {
	for _, c := range documentsOf[*Customer](w, KindCustomer) {
		for _, q := range c.Official {
			if holds(q, p) && (!ok || q.Bits() > best.Bits()) {
				best, who, ok = q, c, true
			}
		}
	}
	return best, who, ok
}

func (w *twin) protected(p netip.Prefix) []Exemption {
	all := builtInProtected()
	for _, c := range documentsOf[*Customer](w, KindCustomer) {
		for _, l := range c.Links {
			all = append(all, Exemption{l.Prefix, ExemptLink, string(c.ID)})
		}
	}
	for _, b := range documentsOf[*ProtectedBlock](w, KindProtectedBlock) {
		for _, q := range b.Prefixes {
			all = append(all, Exemption{q, ExemptBlock, b.Name})
		}
	}
	all = slices.DeleteFunc(all, func(e Exemption) bool { return !holds(e.Prefix, p) && !holds(p, e.Prefix) })
	order := map[ExemptionKind]int{ExemptLink: 1, ExemptBlock: 2, ExemptBuiltIn: 3}
	slices.SortFunc(all, func(a, b Exemption) int {
		return cmp.Or(a.Prefix.Compare(b.Prefix), order[a.Kind]-order[b.Kind], cmp.Compare(a.Name, b.Name))
	})
	return slices.Compact(all)
}

// comparer is how tests compare what comes out of States.
func comparer() gocmp.Options {
	return gocmp.Options{
		gocmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		gocmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmpopts.EquateEmpty(),
	}
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if reflect.DeepEqual(got, want) { // stricter than the comparison below, and much faster
		return
	}
	if d := gocmp.Diff(want, got, comparer()); d != "" {
		t.Fatalf("%s (-want +got):\n%s", what, d)
	}
}

// agree asks s and w everything.
func agree(t *testing.T, s *State, w *twin, r *rand.Rand) {
	t.Helper()
	same(t, "Index", s.Index(), w.index)
	same(t, "At", s.At(), w.at)
	same(t, "LeaseAt", s.LeaseAt(), w.leaseAt)
	same(t, "NextID", s.NextID(), w.nextID)
	agreeOnDocuments(t, s, w)
	agreeOnMitigations(t, s, w, r)
	agreeOnRoutes(t, s, w)
	for k, want := range w.attacks {
		got, _ := s.Attack(k[0], k[1])
		same(t, "Attack", got, want)
	}
	same(t, "number of attacks", s.attacks.n, len(w.attacks))
	agreeOnReports(t, s, w, r)
	same(t, "number of attacks by time", s.attacksByTime.n, len(w.attacks))
	for k, want := range w.results {
		got, _ := s.Result(k)
		same(t, "Result", got, want)
	}
	same(t, "number of results", s.results.n, len(w.results))
	same(t, "number of results by time", s.resultsByTime.n, len(w.results))
	for range 4 {
		agreeOnSpace(t, s, w, randomPrefix(r))
	}
}

// agreeOnReports asks which attacks are reported around and inside prefixes, and how many went unanswered.
func agreeOnReports(t *testing.T, s *State, w *twin, r *rand.Rand) {
	t.Helper()
	for _, p := range randomPrefixes(r, 3) {
		var got, want []string
		for _, a := range s.reportsNear(p) {
			got = append(got, a.Source+" "+a.AttackID)
		}
		unanswered := map[string]int{}
		for _, a := range w.attacks {
			near := func(q netip.Prefix) bool { return holds(q, p) || holds(p, q) }
			if !a.Ended && slices.ContainsFunc(a.Targets, near) {
				want = append(want, a.Source+" "+a.AttackID)
			}
			if a.Unanswered {
				unanswered[a.Source]++
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		same(t, fmt.Sprint("reported near ", p), got, want)
		for _, source := range []string{"detector/a", "detector/ab"} {
			n, _ := s.unanswered.get([]byte(source))
			same(t, "unanswered of "+source, n, unanswered[source])
		}
	}
}

func agreeOnDocuments(t *testing.T, s *State, w *twin) {
	t.Helper()
	for _, k := range documentKinds() {
		var got []string
		for d := range s.Documents(k) {
			got = append(got, d.Ref().Name)
			same(t, "Document", d, w.documents[d.Ref()])
			again, ok := s.Document(d.Ref())
			same(t, "Document found", ok, true)
			same(t, "Document again", again, d)
		}
		same(t, "Documents "+string(k), got, w.names(k))
	}
	same(t, "Customers", slices.Collect(s.Customers()), documentsOf[*Customer](w, KindCustomer))
	same(t, "Routers", slices.Collect(s.Routers()), documentsOf[*Router](w, KindRouter))
	policies := documentsOf[*Policy](w, KindPolicy)
	slices.SortStableFunc(policies, func(a, b *Policy) int { return b.Priority - a.Priority })
	same(t, "Policies", slices.Collect(s.Policies()), policies)
	sg, ok := w.documents[DocumentRef{KindSafeguards, SafeguardsName}].(*Safeguards)
	if !ok {
		sg = DefaultSafeguards()
	}
	same(t, "Safeguards", s.Safeguards(), sg)
	links := 0
	for _, c := range documentsOf[*Customer](w, KindCustomer) {
		links += len(c.Links)
	}
	same(t, "LinkCount", s.LinkCount(), links)
}

func agreeOnMitigations(t *testing.T, s *State, w *twin, r *rand.Rand) {
	t.Helper()
	active := slices.Collect(w.all(Active))
	same(t, "Mitigations", slices.Collect(s.Mitigations()), slices.Collect(w.all(0)))
	same(t, "Active", slices.Collect(s.Active()), active)
	same(t, "ActiveCount", s.ActiveCount(), len(active))
	for i := range customers {
		id := customerID(i)
		of := slices.DeleteFunc(slices.Clone(active), func(m *Mitigation) bool { return m.Customer != id })
		same(t, "ActiveOf", slices.Collect(s.ActiveOf(id)), of)
		same(t, "ActiveCountOf", s.ActiveCountOf(id), len(of))
	}
	agreeOnPieces(t, s, active, r)
	same(t, "Pending", slices.Collect(s.Pending()), slices.Collect(w.all(Pending)))
	same(t, "PendingCount", s.PendingCount(), len(slices.Collect(w.all(Pending))))
	active = slices.Collect(w.all(0)) // and those that await approval
	active = slices.DeleteFunc(active, func(m *Mitigation) bool { return m.Phase == Over })
	same(t, "Awaiting", slices.Collect(s.Awaiting()), slices.DeleteFunc(slices.Clone(active), func(m *Mitigation) bool { return m.Awaits.Kind == "" }))
	same(t, "Unapproved", slices.Collect(s.Unapproved()), slices.DeleteFunc(slices.Clone(active), func(m *Mitigation) bool { return !m.BreakGlass() }))
	slices.SortStableFunc(active, func(a, b *Mitigation) int { return dueOf(a).Compare(dueOf(b)) })
	open := agreeOnOrders(t, s, w)
	first, ok := s.NextDue()
	same(t, "NextDue found", ok, len(active)+len(open) > 0)
	if ok {
		due := open
		if len(active) > 0 {
			due = append(due, dueOf(active[0]))
		}
		same(t, "NextDue", first, slices.MinFunc(due, time.Time.Compare))
	}
	if len(active) > 0 {
		middle := dueOf(active[len(active)/2])
		expired := slices.DeleteFunc(active, func(m *Mitigation) bool { return dueOf(m).After(middle) })
		same(t, "DueBy", slices.Collect(s.DueBy(middle)), expired)
	}
}

// agreeOnOrders returns when the open ones lapse.
func agreeOnOrders(t *testing.T, s *State, w *twin) []time.Time {
	t.Helper()
	var all []Order
	var open []time.Time
	for _, id := range slices.Sorted(maps.Keys(w.orders)) {
		o := w.orders[id]
		all = append(all, o)
		if o.Status == OrderPending {
			open = append(open, o.Until)
		}
	}
	var got []Order
	for o := range s.Orders() {
		got = append(got, *o)
	}
	same(t, "Orders", got, all)
	slices.SortFunc(open, time.Time.Compare)
	var due []time.Time
	for o := range s.OpenOrders() {
		due = append(due, o.Until)
	}
	same(t, "OpenOrders", due, open)
	return open
}

// agreeOnPieces asks which of the active mitigations have pieces at, around and inside prefixes.
func agreeOnPieces(t *testing.T, s *State, active []*Mitigation, r *rand.Rand) {
	t.Helper()
	ps := randomPrefixes(r, 1+r.IntN(3))
	for _, m := range active {
		if len(m.Cut.Pieces) > 0 && r.IntN(4) == 0 {
			ps = append(ps, m.Cut.Pieces[0])
		}
	}
	for i := range customers {
		id := customerID(i)
		having := func(meets func(piece, p netip.Prefix) bool, ps ...netip.Prefix) []*Mitigation {
			return slices.DeleteFunc(slices.Clone(active), func(m *Mitigation) bool {
				return m.Customer != id || !slices.ContainsFunc(m.Cut.Pieces, func(piece netip.Prefix) bool {
					return slices.ContainsFunc(ps, func(p netip.Prefix) bool { return meets(piece, p) })
				})
			})
		}
		overlap := func(piece, p netip.Prefix) bool { return holds(piece, p) || holds(p, piece) }
		equal := func(piece, p netip.Prefix) bool { return piece == p }
		same(t, fmt.Sprint("active around ", ps), slices.Collect(s.activeNear(id, ps, false)), having(holds, ps...))
		same(t, fmt.Sprint("active overlapping ", ps), slices.Collect(s.activeNear(id, ps, true)), having(overlap, ps...))
		same(t, fmt.Sprint("active at ", ps[0]), slices.Collect(s.activeAt(id, ps[0])), having(equal, ps[0]))
	}
	distinct := map[netip.Prefix]bool{}
	for _, m := range active {
		for _, p := range m.Cut.Pieces {
			distinct[p] = true
		}
	}
	same(t, "number of pieces", s.pieces.table.Size(), len(distinct))
}

func agreeOnRoutes(t *testing.T, s *State, w *twin) {
	t.Helper()
	keys := slices.Sorted(maps.Keys(w.routes))
	set := s.Wanted(WantedInput{
		Deadline:   func(m *Mitigation) wanted.Instant { return wanted.Instant(m.Expires.UnixNano()) },
		LeaseUntil: 77,
		Secret:     func(name string) (string, bool) { return "secret of " + name, true },
	}).Set
	same(t, "Revision", set.Revision, uint64(w.index))
	same(t, "LeaseUntil", set.LeaseUntil, wanted.Instant(77))
	same(t, "keys in order", slices.IsSortedFunc(set.Routes, func(a, b *wanted.Route) int { return cmp.Compare(a.Key, b.Key) }), true)
	var groups []string
	for _, d := range documentsOf[*Router](w, KindRouter) {
		groups = append(groups, d.Group)
	}
	slices.Sort(groups)
	groups = slices.Compact(groups)
	heard := map[wanted.Kind]map[string]int{wanted.FlowSpec: {}, wanted.RTBH: {}}
	i := 0
	for k, got := range s.Routes() {
		same(t, "key", k, keys[i])
		want := w.routes[k]
		same(t, "Route", got, &RouteState{want.kind, want.rule, want.owners, want.changed, want.groups, want.urgency, want.expires})
		again, _ := s.Route(k)
		same(t, "Route again", again, got)
		var routes []*wanted.Route
		for _, r := range set.Routes {
			if r.Key == k {
				routes = append(routes, r)
			}
		}
		same(t, "wanted routes", routes, want.wanted(k, groups))
		for _, g := range []string{"edge", "transit", "none"} {
			rule, hears := s.Heard(k, g)
			text, should := want.hears[g]
			same(t, "Heard by "+g, hears, should)
			if hears {
				same(t, "what is heard by "+g, fmt.Sprintf("%#v", rule.Actions), text)
			}
			if want.groups == nil || slices.Contains(want.groups, g) {
				heard[want.kind][g]++
			}
		}
		i++
	}
	same(t, "number of routes", i, len(keys))
	for _, g := range []string{"edge", "transit", "none"} {
		same(t, "RouteCount of rules "+g, s.RouteCount(wanted.FlowSpec, g), heard[wanted.FlowSpec][g])
		same(t, "RouteCount of blackholes "+g, s.RouteCount(wanted.RTBH, g), heard[wanted.RTBH][g])
	}
	agreeOnRoom(t, s, w)
	agreeOnBorder(t, s, w, set)
}

// agreeOnRoom adds up what each router holds, rule by rule.
func agreeOnRoom(t *testing.T, s *State, w *twin) {
	t.Helper()
	for _, d := range documentsOf[*Router](w, KindRouter) {
		want := Room{RoutesStop: d.MaxPrefix * 8 / 10}
		prof, known := profile.Lookup(d.Profile)
		if known = known && d.Carries != wanted.RTBH; known {
			switch size := max(d.MaxEntries, prof.Limits.MaxEntries); {
			case d.MaxEntries > 0:
				want.EntriesStop = d.MaxEntries * 8 / 10
			default:
				want.EntriesStop = size * 8 / 10
			}
			if n := prof.Limits.MaxRules; n > 0 {
				want.RoutesStop = min(want.RoutesStop, n)
			}
		}
		for _, r := range w.routes {
			if (r.kind == wanted.RTBH) != (d.Carries == wanted.RTBH) || r.groups != nil && !slices.Contains(r.groups, d.Group) {
				continue
			}
			want.Routes++
			if want.EntriesStop > 0 {
				want.Entries += prof.Price(r.rule).Entries
			}
		}
		same(t, "Room of "+d.Name, s.Room(d), want)
	}
}

// wanted is what the speaker must be told of a key when these router groups exist.
func (r twinRoute) wanted(k flowspec.Key, groups []string) []*wanted.Route {
	deadline := func(c claim) wanted.Instant { return wanted.Instant(c.m.Expires.UnixNano()) }
	base := wanted.Route{Kind: r.kind, Key: k, MED: math.MaxUint32 - uint32(r.changed)}
	if len(r.claims) == 1 {
		base.Rule, base.Urgency, base.NotAfter, base.Groups = r.rule, r.urgency, deadline(r.claims[0]), r.groups
		if r.groups == nil {
			base.Groups = groups
		}
		return []*wanted.Route{&base}
	}
	first := map[string]int{}
	for _, g := range groups {
		if i := slices.IndexFunc(r.claims, func(c claim) bool { return c.meant(g) }); i >= 0 {
			first[g] = i
		}
	}
	var out []*wanted.Route
	for i, c := range r.claims {
		w := base
		w.Rule, w.Urgency, w.NotAfter = c.rule, urgency(c.m), deadline(c)
		for _, g := range groups {
			if f, ok := first[g]; ok && f == i {
				w.Groups = append(w.Groups, g)
			}
		}
		if w.Groups == nil {
			continue
		}
		for _, o := range r.claims {
			if fmt.Sprintf("%#v", o.rule.Actions) == fmt.Sprintf("%#v", c.rule.Actions) && !slices.ContainsFunc(w.Groups, func(g string) bool { return !o.meant(g) }) {
				w.NotAfter = max(w.NotAfter, deadline(o))
			}
		}
		out = append(out, &w)
	}
	return out
}

func agreeOnBorder(t *testing.T, s *State, w *twin, set wanted.Set) {
	t.Helper()
	var protected, official []netip.Prefix
	for _, e := range append(w.protected(netip.MustParsePrefix("0.0.0.0/0")), w.protected(netip.MustParsePrefix("::/0"))...) {
		protected = append(protected, e.Prefix)
	}
	for _, c := range documentsOf[*Customer](w, KindCustomer) {
		official = append(official, c.Official...)
	}
	slices.SortFunc(official, netip.Prefix.Compare)
	same(t, "Protected", set.Protected, slices.Compact(protected))
	same(t, "Official", set.Official, slices.Compact(official))
	var routers []wanted.Router
	for _, d := range documentsOf[*Router](w, KindRouter) {
		n := wanted.Router{
			Name: d.Name, Address: d.Address, Port: d.Port, ASN: d.ASN, Group: d.Group, Carries: wanted.FlowSpec,
			MaxRoutes: s.Room(d).RoutesStop, RulesPerSecond: d.RulesPerSecond,
			IPv4: slices.Contains(d.Families, flowspec.IPv4), IPv6: slices.Contains(d.Families, flowspec.IPv6),
			TTLSecurity: d.TTLSecurity, Multihop: d.Multihop,
		}
		if d.Carries == wanted.RTBH { // the random routers have a next hop for IPv4 only
			n.Carries, n.DiscardIPv4, n.IPv6 = wanted.RTBH, d.DiscardIPv4, false
		}
		if d.PasswordSecret != "" {
			n.Password = "secret of " + d.PasswordSecret
		}
		routers = append(routers, n)
	}
	same(t, "Routers", set.Routers, routers)
	shortest := wanted.Lengths{IPv4: 32, IPv6: 128}
	for _, d := range documentsOf[*Safeguards](w, KindSafeguards) {
		if d.ShortestRTBHIPv4 != 0 {
			shortest.IPv4 = d.ShortestRTBHIPv4
		}
	}
	same(t, "ShortestRTBH", set.ShortestRTBH, shortest)
}

func agreeOnSpace(t *testing.T, s *State, w *twin, p netip.Prefix) {
	t.Helper()
	wp, wc, wok := w.owner(p)
	gp, gc, gok := s.Owner(p)
	same(t, fmt.Sprintf("Owner(%s) found", p), gok, wok)
	same(t, fmt.Sprintf("Owner(%s) prefix", p), gp, wp)
	same(t, fmt.Sprintf("Owner(%s) customer", p), gc, wc)
	same(t, fmt.Sprintf("ProtectedOverlapping(%s)", p), s.ProtectedOverlapping(p), w.protected(p))

	var got, want []string
	for q, id := range s.OfficialInside(p) {
		got = append(got, fmt.Sprint(q, id))
	}
	type space struct {
		p  netip.Prefix
		id CustomerID
	}
	var inner []space
	for _, c := range documentsOf[*Customer](w, KindCustomer) {
		for _, q := range c.Official {
			if holds(p, q) {
				inner = append(inner, space{q, c.ID})
			}
		}
	}
	slices.SortStableFunc(inner, func(a, b space) int { return cmp.Or(a.p.Compare(b.p), cmp.Compare(a.id, b.id)) })
	for _, x := range inner {
		want = append(want, fmt.Sprint(x.p, x.id))
	}
	same(t, fmt.Sprintf("OfficialInside(%s)", p), got, want)

	a := p.Addr()
	host := netip.PrefixFrom(a, a.BitLen())
	l := Lookup{}
	l.Official, l.Customer, _ = w.owner(host)
	cover := slices.DeleteFunc(w.protected(host), func(e Exemption) bool { return !holds(e.Prefix, host) })
	if len(cover) > 0 {
		longest := slices.MaxFunc(cover, func(a, b Exemption) int { return a.Prefix.Bits() - b.Prefix.Bits() })
		l.Protected, l.Protection = true, longest
	}
	same(t, fmt.Sprintf("Lookup(%s)", a), s.Lookup(a), l)
}

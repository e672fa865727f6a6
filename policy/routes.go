package policy

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// RouteState is what is announced for one key on the wire, and on whose behalf.
type RouteState struct {
	Kind wanted.Kind
	// Rule of a blackhole route has a destination and no actions.
	Rule flowspec.Rule
	// Owners in order of precedence: Rule is the rule of the first. A router group hears the first of those that
	// name it, so that nobody's more severe action reaches a group that it was not meant for.
	Owners []MitigationID
	// Changed is the index of the entry of the key's last change that a router can see: its appearance, other
	// actions, other groups, or a router's move while groups hear different actions.
	Changed Index
	// Groups names the router groups that hear the rule: those of all owners together, sorted. Empty: all groups.
	Groups []string
	// Urgency orders pacing: higher is announced first.
	Urgency uint32
	Expires time.Time // when the last of the owners ends, if nothing else happens
}

// route is an entry of the route table. It is not changed after it was made.
type route struct {
	RouteState
	owners []owner
	wire   wanted.Route // ready but for NotAfter and, if all groups hear it, Groups
}

// owner is one mitigation's claim to a key.
type owner struct {
	m    *Mitigation
	rule *flowspec.Rule
}

// rate is what the rule lets pass, in bytes or packets per second; infinite if the rule does not limit it.
func (o owner) rate() float64 {
	for _, a := range o.rule.Actions {
		if a.Type == flowspec.TrafficRateBytes || a.Type == flowspec.TrafficRatePackets {
			return float64(a.Rate)
		}
	}
	return math.Inf(1)
}

// reroute moves the routes from what a mitigation announced before to what it announces now. Either may be nil.
func (s *State) reroute(before, now *held) {
	var mine map[flowspec.Key]bool
	if now != nil {
		mine = make(map[flowspec.Key]bool, len(now.keys))
		for i, k := range now.keys {
			if !mine[k] { // of two rules with one key the first counts
				mine[k] = true
				s.claim(k, now.ID, &owner{m: now.Mitigation, rule: &now.Rules[i]})
			}
		}
	}
	if before == nil {
		return
	}
	for _, k := range before.keys {
		if !mine[k] {
			s.claim(k, before.ID, nil)
		}
	}
}

// claim replaces the claim of mitigation id to the key k; nil ends it.
func (s *State) claim(k flowspec.Key, id MitigationID, claim *owner) {
	key := []byte(k)
	s.rerouted.note(k)
	old, known := s.routes.get(key)
	var owners []owner
	if known {
		owners = old.others(id, claim != nil)
	}
	if claim != nil {
		owners = append(owners, *claim)
	}
	if len(owners) == 0 {
		if known {
			s.routes.remove(key)
			s.countRoute(&old.RouteState, -1)
		}
		return
	}
	slices.SortFunc(owners, precedes)
	next := newRoute(k, owners)
	next.Changed = s.index
	if known && sameWire(old.owners, next.owners) {
		next.Changed = old.Changed
	}
	next.wire.MED = med(next.Changed)
	s.routes.set(key, next)
	// One key has one kind and one match: for the same groups it counts as before.
	if !known {
		s.countRoute(&next.RouteState, 1)
	} else if !slices.Equal(old.Groups, next.Groups) {
		s.countRoute(&old.RouteState, -1)
		s.countRoute(&next.RouteState, 1)
	}
}

// others returns the owners but for the mitigation id, with room for one more; nil if there is none and none follows.
func (r *route) others(id MitigationID, follows bool) []owner {
	if len(r.owners) == 1 && r.owners[0].m.ID == id && !follows {
		return nil
	}
	owners := make([]owner, 0, len(r.owners)+1)
	for _, o := range r.owners {
		if o.m.ID != id {
			owners = append(owners, o)
		}
	}
	return owners
}

func newRoute(k flowspec.Key, owners []owner) *route {
	first := owners[0]
	r := &route{owners: owners, RouteState: RouteState{
		Kind:    first.m.Action.RouteKind(),
		Rule:    *first.rule,
		Owners:  make([]MitigationID, len(owners)),
		Groups:  groupsOf(owners),
		Urgency: urgency(first.m),
		Expires: first.m.Expires,
	}}
	for i, o := range owners {
		r.Owners[i] = o.m.ID
		if o.m.Expires.After(r.Expires) {
			r.Expires = o.m.Expires
		}
	}
	r.wire = wanted.Route{Kind: r.Kind, Rule: r.Rule, Key: k, Groups: r.Groups, Urgency: r.Urgency}
	return r
}

// sameWire reports whether routers see no difference between the claims of a and of b: every group hears the same
// actions. Which groups there are, beyond those that are named, makes no difference to that.
func sameWire(a, b []owner) bool {
	if len(a) == 1 && len(b) == 1 {
		return slices.Equal(a[0].rule.Actions, b[0].rule.Actions) && slices.Equal(groupsOf(a), groupsOf(b))
	}
	named := []string{""} // the empty name stands for a group that nobody names
	for _, o := range slices.Concat(a, b) {
		named = append(named, o.m.Groups...)
	}
	for _, g := range named {
		x, y := firstFor(a, g), firstFor(b, g)
		if (x == nil) != (y == nil) || x != nil && !slices.Equal(x.rule.Actions, y.rule.Actions) {
			return false
		}
	}
	return true
}

// firstFor returns the first of the owners whose rule group hears, or nil.
func firstFor(owners []owner, group string) *owner {
	for i := range owners {
		if owners[i].heardBy(group) {
			return &owners[i]
		}
	}
	return nil
}

// heardBy reports whether the owner's mitigation is meant for group.
func (o owner) heardBy(group string) bool {
	return len(o.m.Groups) == 0 || slices.Contains(o.m.Groups, group)
}

// groupsOf returns the groups of all owners together, sorted; nil means all groups.
func groupsOf(owners []owner) []string {
	if g := owners[0].m.Groups; len(owners) == 1 && slices.IsSorted(g) && len(slices.Compact(slices.Clone(g))) == len(g) {
		if len(g) == 0 {
			return nil
		}
		return g
	}
	var all []string
	for _, o := range owners {
		if len(o.m.Groups) == 0 {
			return nil
		}
		all = append(all, o.m.Groups...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// urgency puts an operator's order before a policy's answer, and among those the more severe action first.
func urgency(m *Mitigation) uint32 { return uint32(m.precedence())<<8 | uint32(m.Action.severity()) }

// med is the MULTI_EXIT_DISC of a route (RFC 4271 section 5.1.4): the newest change has the lowest one and so wins
// best path against what a stale node still announces.
func med(changed Index) uint32 {
	if changed >= math.MaxUint32 {
		return 0
	}
	return math.MaxUint32 - uint32(changed)
}

func (s *State) countRoute(r *RouteState, d int) {
	s.countEntries(r, d)
	if len(r.Groups) == 0 {
		s.allRoutes[r.Kind] += d
		return
	}
	for _, g := range r.Groups {
		count(&s.groupRoutes, groupKey(r.Kind, g), d)
	}
}

// groupKey is a router group as far as it hears routes of a kind.
func groupKey(k wanted.Kind, group string) string { return string(rune(k)) + group }

// RouteCount returns how many routes of a kind a router group hears.
func (s *State) RouteCount(k wanted.Kind, group string) int {
	if int(k) >= len(s.allRoutes) {
		return 0
	}
	n, _ := s.groupRoutes.get([]byte(groupKey(k, group)))
	return n + s.allRoutes[k]
}

// Routes yields what is announced, one route per key on the wire, in the order of the keys.
func (s *State) Routes() iter.Seq2[flowspec.Key, *RouteState] {
	return func(yield func(flowspec.Key, *RouteState) bool) {
		for r := range s.routes.values() {
			if !yield(r.wire.Key, &r.RouteState) {
				return
			}
		}
	}
}

// Route returns what is announced for a key.
func (s *State) Route(k flowspec.Key) (*RouteState, bool) {
	r, ok := s.routes.get([]byte(k))
	if !ok {
		return nil, false
	}
	return &r.RouteState, true
}

// Heard returns the rule that a router group hears for a key: that of the first owner that is meant for the group.
func (s *State) Heard(k flowspec.Key, group string) (flowspec.Rule, bool) {
	r, ok := s.routes.get([]byte(k))
	if !ok {
		return flowspec.Rule{}, false
	}
	o := firstFor(r.owners, group)
	if o == nil {
		return flowspec.Rule{}, false
	}
	return *o.rule, true
}

// WantedInput is what a node adds to the State to tell its own speaker what to announce.
type WantedInput struct {
	// Deadline says when a mitigation ends by this node's elapsed clock; without it nothing may be announced for long.
	Deadline   func(*Mitigation) wanted.Instant
	Now        wanted.Instant // of the same clock
	LeaseUntil wanted.Instant
	// Secret returns a TCP-MD5 secret of this node's own file by its name, and whether there is one. A router whose secret
	// is not there, or is empty, is Unusable: it must not be dialled without. Nil means that there are no secrets.
	Secret func(name string) (string, bool)
	// Last is what Wanted said before, if that is at hand; nil if not. It makes Wanted quicker and changes nothing, as long as
	// Deadline says of a mitigation that has not changed what it said then.
	Last *Wanted
}

// Wanted is what State.Wanted said of a State. It keeps nothing of that State.
type Wanted struct {
	Set wanted.Set
	// Next is when the same State means another Set, 0 for never: see State.Wanted.
	Next wanted.Instant

	state  *stamp
	border *border
}

// Wanted says everything that a speaker must announce, in the order of the keys. A key stands more than once when
// groups hear different owners of it; the groups are then disjoint. The slices Protected and Official are the same
// ones until a document changes; Routers are also, unless a router has a secret.
//
// An owner whose deadline is not after in.Now has no say: the key passes to the next one, or is left out. Next is the
// earliest deadline at which that may happen to a key of several owners, 0 for never: asked again then, Wanted gives
// another Set although the State is the same. It lets a node that is cut off end one owner's action and go on with
// the other's.
func (s *State) Wanted(in WantedInput) *Wanted {
	b := s.inv.border
	b.once.Do(func() { b.fill(&s.inv) })
	w := &Wanted{state: s.rerouted.state, border: b, Set: wanted.Set{
		Revision:     uint64(s.index),
		Protected:    b.protected,
		Official:     b.official,
		Routers:      b.withSecrets(in.Secret),
		ShortestRTBH: b.shortest,
		LeaseUntil:   in.LeaseUntil,
	}}
	if last := in.Last; last != nil && last.border == b && s.rerouted.known(last.state) && (last.Next == 0 || in.Now < last.Next) {
		s.amend(w, &in)
		return w
	}
	w.Set.Routes = make([]*wanted.Route, 0, s.routes.n)
	for r := range s.routes.values() {
		w.Set.Routes = r.appendWanted(w.Set.Routes, b.groups, &in, &w.Next)
	}
	return w
}

// amend fills in the routes of w by what changed since in.Last.
func (s *State) amend(w *Wanted, in *WantedInput) {
	last := in.Last
	w.Next = last.Next // the key that it is about may be gone: then the Set made at that time is the same again
	var keys []flowspec.Key
	if last.state != w.state {
		keys = slices.Compact(slices.Sorted(slices.Values(s.rerouted.keys)))
	}
	if len(keys) == 0 {
		w.Set.Routes = last.Set.Routes
		return
	}
	rest := last.Set.Routes
	routes := make([]*wanted.Route, 0, max(len(rest), s.routes.n)+len(keys))
	for _, k := range keys {
		i, _ := slices.BinarySearchFunc(rest, k, func(r *wanted.Route, k flowspec.Key) int { return cmp.Compare(r.Key, k) })
		routes, rest = append(routes, rest[:i]...), rest[i:]
		for len(rest) > 0 && rest[0].Key == k {
			rest = rest[1:]
		}
		if r, ok := s.routes.get([]byte(k)); ok {
			routes = r.appendWanted(routes, w.border.groups, in, &w.Next)
		}
	}
	w.Set.Routes = append(routes, rest...)
}

// appendWanted appends what is to be announced for the key of r.
func (r *route) appendWanted(routes []*wanted.Route, groups []string, in *WantedInput, next *wanted.Instant) []*wanted.Route {
	if len(r.owners) > 1 {
		return r.divide(routes, groups, in, next)
	}
	w := r.wire
	if len(r.Groups) == 0 {
		w.Groups = groups
	}
	if in.Deadline != nil {
		w.NotAfter = in.Deadline(r.owners[0].m)
	}
	return append(routes, &w)
}

// divide appends what each group hears of a key with several owners: the first owner that is meant for the group and
// whose deadline has not come.
func (r *route) divide(routes []*wanted.Route, groups []string, in *WantedInput, next *wanted.Instant) []*wanted.Route {
	deadlines := r.deadlines(in, next)
	claimed := make(map[string]bool, len(groups))
	for i, o := range r.owners {
		if deadlines[i] <= in.Now && in.Deadline != nil {
			continue
		}
		w := r.wire
		w.Rule, w.Urgency, w.NotAfter, w.Groups = *o.rule, urgency(o.m), deadlines[i], nil
		for _, g := range groups {
			if !claimed[g] && o.heardBy(g) {
				claimed[g] = true
				w.Groups = append(w.Groups, g)
			}
		}
		if len(w.Groups) == 0 {
			continue
		}
		// Another owner of the same action, meant for all of these groups, keeps it announced for longer.
		for j, other := range r.owners {
			if slices.Equal(other.rule.Actions, o.rule.Actions) && !slices.ContainsFunc(w.Groups, func(g string) bool { return !other.heardBy(g) }) {
				w.NotAfter = max(w.NotAfter, deadlines[j])
			}
		}
		routes = append(routes, &w)
	}
	return routes
}

// deadlines returns those of the owners, all 0 if none are known, and moves next to the earliest that is still to come.
func (r *route) deadlines(in *WantedInput, next *wanted.Instant) []wanted.Instant {
	out := make([]wanted.Instant, len(r.owners))
	if in.Deadline == nil {
		return out
	}
	for i, o := range r.owners {
		out[i] = in.Deadline(o.m)
		if d := out[i]; d > in.Now && (*next == 0 || d < *next) {
			*next = d
		}
	}
	return out
}

// border is the part of a wanted.Set that comes from documents.
type border struct {
	once      sync.Once
	protected []netip.Prefix
	official  []netip.Prefix
	routers   []wanted.Router
	shortest  wanted.Lengths // of a blackhole route
	secrets   []string       // names, beside routers; nil if no router has one
	groups    []string       // all groups, sorted
}

// routerShare is the part of a router's own limit that is used: beyond it some close the session and so lose
// every mitigation at once (design section 6).
const routerShare = 80 // percent

func (b *border) fill(inv *inventory) {
	b.protected = make([]netip.Prefix, 0, inv.protected.table.Size())
	for p := range inv.protected.table.AllSorted() {
		b.protected = append(b.protected, p)
	}
	b.official = make([]netip.Prefix, 0, inv.official.table.Size())
	for p := range inv.official.table.AllSorted() {
		b.official = append(b.official, p)
	}
	b.shortest = wanted.Lengths{IPv4: inv.effective.ShortestRTBH(flowspec.IPv4), IPv6: inv.effective.ShortestRTBH(flowspec.IPv6)}
	var secrets []string
	for r := range inv.routers.values() {
		b.routers = append(b.routers, wanted.Router{
			Name:           r.Name,
			Address:        r.Address,
			Port:           r.Port,
			ASN:            r.ASN,
			Group:          r.Group,
			Carries:        r.Kind(),
			DiscardIPv4:    r.DiscardIPv4,
			DiscardIPv6:    r.DiscardIPv6,
			IPv4:           r.Speaks(flowspec.IPv4),
			IPv6:           r.Speaks(flowspec.IPv6),
			MaxRoutes:      routesStop(inv.profiles[r.Profile], r),
			RulesPerSecond: r.RulesPerSecond,
			TTLSecurity:    r.TTLSecurity,
			Multihop:       r.Multihop,
		})
		b.groups = append(b.groups, r.Group)
		secrets = append(secrets, r.PasswordSecret)
	}
	if slices.ContainsFunc(secrets, func(name string) bool { return name != "" }) {
		b.secrets = secrets
	}
	slices.Sort(b.groups)
	b.groups = slices.Compact(b.groups)
}

// withSecrets returns the routers with their passwords. Secrets belong to the node and are never kept in a State.
func (b *border) withSecrets(secret func(string) (string, bool)) []wanted.Router {
	if b.secrets == nil {
		return b.routers
	}
	routers := slices.Clone(b.routers)
	for i, name := range b.secrets {
		if name == "" {
			continue
		}
		var password string
		known := false
		if secret != nil {
			password, known = secret(name)
		}
		if !known || password == "" {
			routers[i].Unusable = fmt.Sprintf("secret %q is not in this node's file; add it under secrets", name)
			continue
		}
		routers[i].Password = password
	}
	return routers
}

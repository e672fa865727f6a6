package controller

import (
	"cmp"
	"errors"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/profile"
	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/policy"
)

// checks are the invariants of a world, and what they remember from one step to the next. None of them asks the engine
// about its own work: they compare what is announced with the land and the book, by plain comparisons of prefixes and
// by evaluating packets.
type checks struct {
	w        *world
	failed   error
	reformed bool // documents were changed since the last look
	before   map[policy.MitigationID]*policy.Mitigation
	gone     map[policy.MitigationID]bool
	sound    map[policy.MitigationID]looked
	limits   *policy.Safeguards // of the look before
	quotas   map[policy.CustomerID]int
	caps     map[string]int
	changes  int // of what is announced
	profiles map[string]*profile.Profile
	was      map[string]time.Time // when a detector was last seen to be put aside
}

// looked is a mitigation that was found sound under the documents of an epoch.
type looked struct {
	m     *policy.Mitigation
	epoch int
	keys  []flowspec.Key
}

func newChecks(w *world) *checks {
	c := &checks{
		w: w, before: map[policy.MitigationID]*policy.Mitigation{}, gone: map[policy.MitigationID]bool{}, sound: map[policy.MitigationID]looked{},
		limits: w.land.rules, quotas: map[policy.CustomerID]int{}, caps: map[string]int{}, profiles: map[string]*profile.Profile{}, was: map[string]time.Time{},
	}
	for _, p := range profile.All() {
		c.profiles[p.Name] = p
	}
	return c
}

func (c *checks) keep(err error) { c.failed = errors.Join(c.failed, err) }

// scene is what the checkers look at: a State, what it has announced, and what they compare it with.
type scene struct {
	*checks
	s    *policy.State
	set  wanted.Set
	land *land
	book *book
	now  time.Time // of the log
	led  bool      // there is a leader, which has looked at everything that is due
}

func (c *checks) scene() *scene {
	w := c.w
	s := w.newest()
	return &scene{checks: c, s: s, land: w.land, book: w.book, now: w.logTime(), led: w.leader != nil}
}

// checkers are the invariants that are looked at whenever the State has changed. Those that look only at what is fresh
// come before owners, which marks it as looked at.
func checkers() []func(*scene) error {
	return []func(*scene) error{
		(*scene).protected, (*scene).official, (*scene).safe, (*scene).rates, (*scene).spared, (*scene).packets, (*scene).owners, (*scene).budgets, (*scene).kept, (*scene).shares, (*scene).widest, (*scene).routers,
		(*scene).wider, (*scene).flapping, (*scene).over, (*scene).lifetimes, (*scene).waiting, (*scene).conduct, (*scene).clean,
	}
}

// step looks at the world after something happened.
func (c *checks) step(changed bool) error {
	if c.w.fault.heeds(c.failed) {
		return c.failed
	}
	if err := c.wires(); c.w.fault.heeds(err) {
		return err
	}
	sc := c.scene()
	if !changed && !c.reformed { // only time has passed
		if err := errors.Join(sc.lifetimes(), sc.waiting(), sc.conduct(), sc.clean()); c.w.fault.heeds(err) {
			return err
		}
		return nil
	}
	c.changes++
	sc.set = sc.s.Wanted(policy.WantedInput{}).Set
	if c.w.fault.set != nil {
		c.w.fault.set(&sc.set)
	}
	for _, check := range checkers() {
		if err := check(sc); c.w.fault.heeds(err) {
			return err
		}
	}
	c.remember(sc)
	if err := c.amended(); c.w.fault.heeds(err) {
		return err
	}
	return nil
}

// remember keeps what the next step is compared with.
func (c *checks) remember(sc *scene) {
	now := make(map[policy.MitigationID]*policy.Mitigation, len(c.before))
	for m := range sc.s.Active() {
		now[m.ID] = m
		old := c.before[m.ID]
		if rec := sc.book.of[m.ID]; rec != nil && old != nil && old.Step != m.Step {
			rec.stepAt = sc.now
			if m.Step > old.Step && !rec.approved.Equal(sc.now) && !c.reformed && c.failed == nil {
				c.keep(c.w.pace(began{sc.now, m.ID, rec.source, m.Policy, true}))
			}
			c.w.note("M%d goes from step %d to step %d: %s", m.ID, old.Step+1, m.Step+1, m.Action)
			if m.Step > old.Step {
				c.w.count["steps up"]++
			} else {
				c.w.count["steps down"]++
			}
		}
	}
	for id := range c.before {
		if now[id] == nil {
			c.gone[id] = true
			delete(c.sound, id)
			if m, ok := sc.s.Mitigation(id); ok {
				c.w.count["end "+string(m.End)]++
			}
		}
	}
	c.before, c.reformed = now, false
	c.limits, c.quotas, c.caps = sc.land.rules, map[policy.CustomerID]int{}, map[string]int{}
	for _, cu := range sc.land.customers() {
		c.quotas[cu.ID] = cu.MaxMitigations
	}
	for name, p := range sc.land.policies {
		c.caps[name] = p.MaxMitigations
	}
}

// fresh yields the mitigations that have changed since they were found sound, or whose documents have.
func (sc *scene) fresh() (out []*policy.Mitigation) {
	for m := range sc.s.Active() {
		if l := sc.sound[m.ID]; l.m != m || l.epoch != sc.land.epoch {
			out = append(out, m)
		}
	}
	return out
}

// protected: no rule, and no blackhole, has a destination that overlaps protected space.
func (sc *scene) protected() error {
	seen := map[netip.Prefix]bool{}
	for _, r := range sc.set.Routes {
		dst, ok := r.Rule.Match.Destination()
		if !ok {
			return broken("nothing protected is acted on", "a rule without a destination: %s", r.Rule)
		}
		if seen[dst] {
			continue
		}
		seen[dst] = true
		if p, hit := sc.land.protects(dst); hit {
			return broken("nothing protected is acted on", "%s acts on %s", r.Rule, p)
		}
	}
	return nil
}

// official: every address that a mitigation acts on is the official space of its customer and of nobody within it.
func (sc *scene) official() error {
	for _, m := range sc.fresh() {
		for i := range m.Rules {
			dst, _ := m.Rules[i].Match.Destination()
			if i > 0 {
				if prev, _ := m.Rules[i-1].Match.Destination(); prev == dst {
					continue
				}
			}
			if a, hit := sc.land.stranger(dst, m.Customer); hit {
				return broken("nothing is acted on but the customer's own official space", "M%d of customer %s acts on %s, which is %q's: %s",
					m.ID, m.Customer, a, sc.land.owner(a), m.Rules[i])
			}
		}
	}
	return nil
}

// safe: every rule is within the safe subset, says the same after a way over the wire, and is short enough.
func (sc *scene) safe() error {
	for _, m := range sc.fresh() {
		for i := range m.Rules {
			r := &m.Rules[i]
			if m.Action.Kind == policy.RTBH {
				dst, _ := r.Match.Destination()
				if len(r.Actions) > 0 || len(r.Match.Components) != 1 {
					return broken("rules are what routers survive", "M%d: a blackhole route with more than a destination: %s", m.ID, r)
				}
				if least := sc.land.rules.ShortestRTBH(familyOf(dst)); dst.Bits() < int(least) {
					return broken("rules are what routers survive", "M%d: a blackhole route for %s, at least /%d", m.ID, dst, least)
				}
				continue
			}
			if err := flowspec.CheckSafe(r.Match); err != nil {
				return broken("rules are what routers survive", "M%d: %s: %v", m.ID, r, err)
			}
			if len(r.Actions) == 0 {
				return broken("rules are what routers survive", "M%d: a rule that accepts: %s", m.ID, r)
			}
			wire, err := flowspec.AppendNLRI(nil, r.Match)
			if err != nil {
				return broken("rules are what routers survive", "M%d: %s: %v", m.ID, r, err)
			}
			if back, _, err := flowspec.DecodeNLRI(r.Match.Family, wire); err != nil || !back.Equal(r.Match) {
				return broken("rules are what routers survive", "M%d: %s comes back from the wire as %s: %v", m.ID, r, back, err)
			}
		}
	}
	return nil
}

// rates: the rules of a mitigation let pass together no more than its action says, however it is cut.
func (sc *scene) rates() error {
	for _, m := range sc.fresh() {
		bytes, packets := 0.0, 0.0
		for i := range m.Rules {
			for _, a := range m.Rules[i].Actions {
				switch a.Type {
				case flowspec.TrafficRateBytes:
					bytes += float64(a.Rate)
				case flowspec.TrafficRatePackets:
					packets += float64(a.Rate)
				default:
				}
			}
		}
		if bytes > float64(m.Action.Rate) || packets > float64(m.Action.Packets) {
			return broken("a total rate is not exceeded", "M%d (%s): its %d rules let pass %v bytes/s and %v packets/s together", m.ID, m.Action, len(m.Rules), bytes, packets)
		}
	}
	return nil
}

// packets sends packets to a router: those to protected and to foreign space must pass.
func (sc *scene) packets() error {
	if len(sc.land.routers) == 0 || len(sc.set.Routes) == 0 {
		return nil
	}
	r := sc.w.r
	group := pick(r, sc.land.routers...).Group
	var rules []flowspec.Rule
	var holes []netip.Prefix
	for _, route := range sc.set.Routes {
		switch {
		case !slices.Contains(route.Groups, group):
		case route.Kind == wanted.RTBH:
			dst, _ := route.Rule.Match.Destination()
			holes = append(holes, dst)
		default:
			rules = append(rules, route.Rule)
		}
	}
	set, err := flowspec.NewRuleSet(rules)
	if err != nil {
		return broken("packets to protected space pass", "group %s cannot hold its rules: %v", group, err)
	}
	for range 6 {
		dst := addressIn(r, pick(r, sc.land.protected...))
		if r.IntN(2) == 0 && len(rules) > 0 {
			p, _ := pick(r, rules...).Match.Destination()
			dst = addressIn(r, netip.PrefixFrom(p.Addr(), max(0, p.Bits()-3)).Masked())
		}
		p := flowspec.Packet{
			Src: netip.MustParseAddr("8.8.8.8"), Dst: dst, Protocol: pick[uint8](r, 1, 6, 17, 47, 58), HasPorts: true,
			SrcPort: pick[uint16](r, 53, 123, 4000), DstPort: pick[uint16](r, 80, 443, 1500), Length: uint32(60 + r.IntN(1400)), TCPFlags: flowspec.SYN, ICMPType: 8,
		}
		if !dst.Is4() {
			p.Src = netip.MustParseAddr("2600::1")
		}
		q, hit := sc.land.protects(netip.PrefixFrom(dst, dst.BitLen()))
		if !hit && sc.land.owner(dst) != "" {
			continue
		}
		o := set.Evaluate(&p)
		if i := slices.IndexFunc(holes, func(h netip.Prefix) bool { return h.Contains(dst) }); len(o.Actions) > 0 || i >= 0 {
			return broken("packets to protected space pass", "a packet to %s (protected by %v, owner %q) is acted on by group %s: %+v", dst, q, sc.land.owner(dst), group, o)
		}
	}
	return nil
}

// claimOn is one mitigation's rule for a key.
type claimOn struct {
	m    *policy.Mitigation
	rule *flowspec.Rule
}

func (c claimOn) heardBy(group string) bool {
	return len(c.m.Groups) == 0 || slices.Contains(c.m.Groups, group)
}

// severityOf is the place of an action in the order that is documented.
func severityOf(a policy.Action) int {
	order := []policy.ActionKind{policy.Mark, policy.RateLimitPackets, policy.RateLimit, policy.Discard, policy.RedirectIP, policy.Redirect, policy.RTBH}
	if a.Kind == policy.RedirectIP && a.Copy {
		return -1
	}
	return slices.Index(order, a.Kind)
}

func passes(r *flowspec.Rule) float64 {
	for _, a := range r.Actions {
		if a.Type == flowspec.TrafficRateBytes || a.Type == flowspec.TrafficRatePackets {
			return float64(a.Rate)
		}
	}
	return math.Inf(1)
}

// claims is what the live mitigations ask for, the first in precedence first, found by looking at all that are known.
func (sc *scene) claims() map[flowspec.Key][]claimOn {
	out := map[flowspec.Key][]claimOn{}
	for m := range sc.s.Mitigations() {
		if m.Phase == policy.Over || m.Phase == policy.Pending {
			continue
		}
		for i, k := range sc.keysOf(m) {
			if !slices.ContainsFunc(out[k], func(c claimOn) bool { return c.m == m }) {
				out[k] = append(out[k], claimOn{m, &m.Rules[i]})
			}
		}
	}
	for _, cs := range out {
		slices.SortFunc(cs, func(a, b claimOn) int {
			return cmp.Or(int(b.m.Origin)-int(a.m.Origin), severityOf(b.m.Action)-severityOf(a.m.Action), cmp.Compare(passes(a.rule), passes(b.rule)), cmp.Compare(a.m.ID, b.m.ID))
		})
	}
	return out
}

// keysOf returns the keys of a mitigation's rules, and marks it as looked at: all checkers that ask for fresh ones come
// before.
func (sc *scene) keysOf(m *policy.Mitigation) []flowspec.Key {
	l := sc.sound[m.ID]
	if l.m != m {
		l.keys = make([]flowspec.Key, len(m.Rules))
		for i := range m.Rules {
			l.keys[i] = m.Rules[i].Match.Key()
			if dst, _ := m.Rules[i].Match.Destination(); m.Action.Kind == policy.RTBH {
				l.keys[i] = wanted.RTBHKey(dst)
			}
		}
	}
	l.m, l.epoch = m, sc.land.epoch
	sc.sound[m.ID] = l
	return l.keys
}

// owners: what is announced to each group is what the first of the live mitigations for the key and the group asks for,
// and every live mitigation has its rules announced, be it by another one's leave.
func (sc *scene) owners() error {
	const name = "every rule has a live owner, and the reverse"
	var groups []string
	for _, r := range sc.land.routers {
		if !slices.Contains(groups, r.Group) {
			groups = append(groups, r.Group)
		}
	}
	claims := sc.claims()
	heard := 0
	for _, route := range sc.set.Routes {
		for _, g := range route.Groups {
			i := slices.IndexFunc(claims[route.Key], func(c claimOn) bool { return c.heardBy(g) })
			if i < 0 {
				return broken(name, "group %s hears a rule of nobody: %s", g, route.Rule)
			}
			if c := claims[route.Key][i]; !slices.Equal(c.rule.Actions, route.Rule.Actions) {
				return broken(name, "group %s hears %s, and M%d asks for %s", g, route.Rule, c.m.ID, c.rule)
			}
			heard++
		}
	}
	for _, cs := range claims {
		for _, g := range groups {
			if slices.ContainsFunc(cs, func(c claimOn) bool { return c.heardBy(g) }) {
				heard--
			}
		}
	}
	if heard != 0 {
		return broken(name, "%d more rules are heard than live mitigations ask for", heard)
	}
	return nil
}

// budgets: whatever grew since the last look is within the limit, as it is or as it was before documents changed.
func (sc *scene) budgets() error {
	const name = "budgets are kept"
	total, customers, policies := 0, map[policy.CustomerID]int{}, map[string]int{}
	grown := map[string]bool{}
	grownOf := map[policy.CustomerID]bool{}
	some := false
	for m := range sc.s.Active() {
		total++
		customers[m.Customer]++
		policies[m.Policy]++
		if sc.before[m.ID] == nil {
			some, grown[m.Policy], grownOf[m.Customer] = true, true, true
		}
		if n := len(m.Cut.Pieces); n > max(sc.land.rules.MaxPieces, sc.limits.MaxPieces, piecesBefore(sc, m)) && m.Action.Kind != policy.RTBH {
			return broken(name, "M%d has %d pieces, the safeguards permit %d", m.ID, n, sc.land.rules.MaxPieces)
		}
	}
	if most := max(sc.land.rules.MaxMitigations, sc.limits.MaxMitigations); some && total > most {
		return broken(name, "%d mitigations are active and one of them is new, the safeguards permit %d", total, most)
	}
	for _, c := range sc.land.customers() {
		if n := customers[c.ID]; grownOf[c.ID] && over(n, c.MaxMitigations, sc.quotas[c.ID]) {
			return broken(name, "customer %s has %d active mitigations and one of them is new, its quota is %d", c.ID, n, c.MaxMitigations)
		}
	}
	for id, p := range sc.land.policies {
		if n := policies[id]; grown[id] && over(n, p.MaxMitigations, sc.caps[id]) {
			return broken(name, "policy %s has %d active mitigations and one of them is new, it permits %d", id, n, p.MaxMitigations)
		}
	}
	return nil
}

// spaceOf is how much of its family's space prefixes that do not overlap have.
func spaceOf(ps []netip.Prefix) (sum float64) {
	for _, p := range ps {
		sum += math.Ldexp(1, -p.Bits())
	}
	return sum
}

func piecesBefore(sc *scene, m *policy.Mitigation) int {
	if old := sc.before[m.ID]; old != nil {
		return len(old.Cut.Pieces)
	}
	return 0
}

// over reports whether n is above both limits, of which 0 is none.
func over(n, limit, before int) bool {
	return limit > 0 && before > 0 && n > max(limit, before)
}

// routers: no router hears more than 80 % of what it takes, in routes and in entries of its table.
func (sc *scene) routers() error {
	const name = "router budgets are kept"
	for _, d := range sc.land.routers {
		prof := sc.profiles[d.Profile]
		routes, entries := 0, 0
		for _, r := range sc.set.Routes {
			if r.Kind != d.Kind() || !slices.Contains(r.Groups, d.Group) {
				continue
			}
			if dst, _ := r.Rule.Match.Destination(); !d.Speaks(familyOf(dst)) {
				continue
			}
			routes++
			if prof != nil && r.Kind == wanted.FlowSpec {
				entries += prof.Price(r.Rule).Entries
				if found := prof.Check(r.Rule); len(found) > 0 {
					return broken(name, "router %s (profile %s) cannot carry out %s: %v", d.Name, d.Profile, r.Rule, found[0])
				}
			}
		}
		if most := d.MaxPrefix * 8 / 10; routes > most {
			return broken(name, "router %s hears %d routes, 80 %% of its max-prefix %d is %d", d.Name, routes, d.MaxPrefix, most)
		}
		if d.MaxEntries > 0 && entries > d.MaxEntries*8/10 {
			return broken(name, "router %s holds %d entries, 80 %% of its %d is %d", d.Name, entries, d.MaxEntries, d.MaxEntries*8/10)
		}
	}
	return nil
}

// wider: no mitigation acts on an address that it did not act on before.
func (sc *scene) wider() error {
	for m := range sc.s.Active() {
		if old := sc.before[m.ID]; old != nil && old != m && !slices.Equal(old.Cut.Pieces, m.Cut.Pieces) && !within(m.Cut.Pieces, old.Cut.Pieces) {
			return broken("nothing gets wider", "M%d acted on %v and acts on %v", m.ID, old.Cut.Pieces, m.Cut.Pieces)
		}
	}
	return nil
}

// flapping: without a change of documents the rules of a mitigation change by a step up, after the time that its ladder
// says, or by a step down, after its quiet time. It ends with its attack after its quiet time, and not before.
func (sc *scene) flapping() error {
	const name = "a pulsing attack does not flap"
	for m := range sc.s.Active() {
		old, rec := sc.before[m.ID], sc.book.of[m.ID]
		if old == nil || old == m || rec == nil || sc.reformed {
			continue
		}
		same := slices.EqualFunc(old.Rules, m.Rules, flowspec.Rule.Equal)
		waited := sc.now.Sub(rec.stepAt)
		switch {
		case m.Step == old.Step && !same && rec.narrowed.Equal(sc.now):
			if since := sc.now.Sub(rec.wideAt); since < time.Minute || spaceOf(m.Cut.Pieces)*2 >= spaceOf(old.Cut.Pieces) {
				return broken(name, "M%d narrowed from %v to %v, %s after it did so last, or began", m.ID, old.Cut.Pieces, m.Cut.Pieces, since)
			}
			rec.wideAt = sc.now
		case m.Step == old.Step && !same:
			return broken(name, "the rules of M%d changed without a step and without a change of documents", m.ID)
		case m.Step == old.Step:
		case m.Step == old.Step+1 && sc.book.held.freezes(sc.now) && sc.book.held.frozenAt.Before(sc.now) && !rec.approved.Equal(sc.now):
			return broken("what is held back does not start", "M%d takes step %d, and the cluster is frozen", m.ID, m.Step+1)
		case sc.stepAlone(m, old, rec) != nil:
			return sc.stepAlone(m, old, rec)
		case m.Step == old.Step+1:
			if err := sc.sureStep(m, rec); err != nil {
				return err
			}
			if need := m.Ladder[m.Step].After - m.Ladder[old.Step].After; waited < need {
				return broken(name, "M%d took step %d after %s, its ladder says %s", m.ID, m.Step+1, waited, need)
			}
		case m.Step == old.Step-1 && rec.relaxAsks: // a second person said so, within the quiet time
		case m.Step == old.Step-1 && rec.relax:
			if need := rec.damped(); waited < need || rec.emptyAt.IsZero() || sc.now.Sub(rec.emptyAt) < need {
				return broken(name, "M%d went down to step %d %s after the one before, its quiet time is %s", m.ID, m.Step+1, waited, need)
			}
		default:
			return broken(name, "M%d went from step %d to step %d", m.ID, old.Step+1, m.Step+1)
		}
	}
	for id, old := range sc.before {
		m, ok := sc.s.Mitigation(id)
		rec := sc.book.of[id]
		if !ok || rec == nil || m.End != policy.EndAttackOver || m.Phase != policy.Over {
			continue
		}
		if since := sc.now.Sub(rec.emptyAt); (rec.emptyAt.IsZero() || since < rec.damped()) && old.Expires.After(sc.now) {
			return broken(name, "M%d ended %s after its attack, its quiet time is %s (%d pulses): %s; it had until %s", id, since, rec.damped(), rec.pulses, m.EndNote, old.Expires)
		}
	}
	return nil
}

// over: what is over stays over, and says why.
func (sc *scene) over() error {
	for m := range sc.s.Active() {
		if sc.gone[m.ID] {
			return broken("what is over stays over", "M%d is announced again", m.ID)
		}
	}
	for id := range sc.before {
		if m, ok := sc.s.Mitigation(id); ok && m.Phase == policy.Over && m.End == policy.EndExpired && m.Expires.After(sc.now) {
			return broken("what is over stays over", "M%d expired at %s, its lifetime ends at %s", id, sc.now, m.Expires)
		}
	}
	return nil
}

// lifetimes: what is announced was asked for, lately enough.
func (sc *scene) lifetimes() error {
	const name = "nothing outlives its lifetime"
	for m := range sc.s.Active() {
		rec := sc.book.of[m.ID]
		if rec == nil {
			return broken(name, "M%d was not asked for", m.ID)
		}
		if sc.led && sc.now.After(m.Expires.Add(time.Second)) {
			return broken(name, "M%d is announced at %s, its own end is %s", m.ID, sc.now, m.Expires)
		}
		if sc.now.After(rec.bound.Add(worldSlack)) {
			return broken(name, "M%d is announced at %s: what was last asked of it ends at %s", m.ID, sc.now, rec.bound)
		}
	}
	return nil
}

// clean: a mitigation whose attacks are all over is gone after its quiet time, at each of its steps if it relaxes.
func (sc *scene) clean() error {
	for m := range sc.s.Active() {
		rec := sc.book.of[m.ID]
		if rec != nil && sc.led && !rec.emptyAt.IsZero() && sc.now.After(rec.clean().Add(worldSlack)) {
			return broken("after the attack all is clean", "M%d, which counts the causes %v, is announced %s after the end of its last attack, at most %s (quiet time %s, %d pulses, %d steps)",
				m.ID, m.Causes, sc.now.Sub(rec.emptyAt), rec.clean().Sub(rec.emptyAt), rec.quiet, rec.pulses, rec.steps)
		}
	}
	return nil
}

// wires looks at what each node announces, whether anybody leads or not: every route has an owner that was asked for
// not longer ago than its lifetime, in true time. A node that was restarted knows no better than the log.
func (c *checks) wires() error {
	now := wanted.Instant(c.w.now)
	for _, p := range c.w.replicas {
		if p.wire.LeaseUntil <= now {
			continue
		}
		s := p.state()
		for _, r := range p.wire.Routes {
			if r.NotAfter <= now {
				continue
			}
			state, ok := s.Route(r.Key)
			if !ok {
				if p.wire.Revision != uint64(s.Index()) {
					continue
				}
				return broken("every node keeps to the lifetime", "%s announces a rule of nobody: %s", p.name, r.Rule)
			}
			if !slices.ContainsFunc(state.Owners, func(id policy.MitigationID) bool {
				rec := c.w.book.of[id]
				return rec != nil && (c.w.now <= rec.trueEnd+worldSlack || len(p.behind) > 0 && c.w.now <= rec.longest+worldSlack || p.restarted && !c.w.wall().Add(-p.drifted).After(rec.bound.Add(worldSlack)))
			}) {
				return broken("every node keeps to the lifetime", "%s announces %s of M%v until %s, and nobody asked for it for longer than its lifetime",
					p.name, r.Rule, state.Owners, time.Duration(r.NotAfter))
			}
		}
	}
	return nil
}

// amended holds what a speaker was told, which is made of what it was told before, against the same made afresh.
func (c *checks) amended() error {
	if c.changes%4 > 0 {
		return nil
	}
	p := pick(c.w.r, c.w.replicas...)
	last := p.tracker.last()
	if p.holds || !last.caughtUp() || p.wire.Revision != uint64(p.state().Index()) || p.rec.last == nil {
		return nil
	}
	again := p.state().Wanted(policy.WantedInput{
		Now: wanted.Instant(c.w.now) + handoverLead, LeaseUntil: p.wire.LeaseUntil,
		Deadline: func(m *policy.Mitigation) wanted.Instant { return p.rec.deadlines[m.ID].notAfter },
	}).Set
	if last.elapsed != wanted.Instant(c.w.now) { // time has passed, and with it perhaps a deadline
		return nil
	}
	same := func(a, b *wanted.Route) bool {
		return a.Key == b.Key && a.Kind == b.Kind && a.MED == b.MED && a.NotAfter == b.NotAfter && a.Urgency == b.Urgency && slices.Equal(a.Groups, b.Groups) &&
			a.Rule.Equal(b.Rule)
	}
	if !slices.EqualFunc(again.Routes, p.wire.Routes, same) {
		return broken("a set made of the one before is the set", "%s announces %d routes, made afresh they are %d or others", p.name, len(p.wire.Routes), len(again.Routes))
	}
	return nil
}

// replicas: those at the same index hold the same State, and a snapshot is the State.
func (c *checks) replicas() error {
	if c.failed != nil {
		return c.failed
	}
	digests := map[policy.Index][32]byte{}
	for _, p := range c.w.replicas {
		s := p.state()
		d := s.Digest()
		if other, ok := digests[s.Index()]; ok && other != d {
			return broken("replicas agree", "two replicas at index %d differ", s.Index())
		}
		digests[s.Index()] = d
	}
	return nil
}

// sameAnswers: the leader and its shadow say the same to everybody.
func (c *checks) sameAnswers(a, b *batch) error {
	if len(a.reports) != len(b.reports) || len(a.writes) != len(b.writes) {
		return broken("same input, same decision", "%d and %d reports, %d and %d writes", len(a.reports), len(b.reports), len(a.writes), len(b.writes))
	}
	for i := range a.reports {
		if x, y := a.reports[i].verdicts, b.reports[i].verdicts; !slices.Equal(x, y) {
			return broken("same input, same decision", "%+v and %+v", x, y)
		}
	}
	for i := range a.writes {
		if x, y := a.writes[i].out.Decision.Verdict, b.writes[i].out.Decision.Verdict; x != y {
			return broken("same input, same decision", "%+v and %+v", x, y)
		}
	}
	return nil
}

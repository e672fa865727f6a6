package policy

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// AskKind says what of a mitigation awaits a second person.
type AskKind string

// The kinds of Ask.
const (
	AskStart  AskKind = "start"  // the mitigation is Pending
	AskStep   AskKind = "step"   // the next step of its ladder
	AskRelax  AskKind = "relax"  // the step before, while it is Ending
	AskExtend AskKind = "extend" // a lifetime beyond what going past an approval permits
)

// Ask is one thing about a mitigation that awaits a second person. Nothing of it is done before.
type Ask struct {
	Kind     AskKind       // empty: nothing is asked
	Step     int           // AskStep and AskRelax only: the place in the ladder
	Lifetime time.Duration // AskExtend only: the remaining lifetime, counted from the approval
	Why      Reason
	By       Principal // who asked
	At       time.Time
	Until    time.Time // when it lapses
}

// What awaits a second person is bounded, so that a flood of it does not grow the State.
const (
	MaxPending         = 256 // mitigations
	maxPendingPolicies = MaxPending * 4 / 5
)

// What holds for approvals if the safeguards do not say otherwise.
const (
	defaultApprovalTimeout    = 15 * time.Minute
	defaultApprovalRemovals   = 100
	defaultBreakGlassLifetime = 15 * time.Minute
)

// ApproveTimeout is how long something waits for a second person before it lapses.
func (d *Safeguards) ApproveTimeout() time.Duration {
	return cmp.Or(d.ApprovalTimeout, defaultApprovalTimeout)
}

// UnapprovedLifetime is how long a mitigation lives at most for which nobody waited for a second person.
func (d *Safeguards) UnapprovedLifetime() time.Duration {
	return cmp.Or(d.BreakGlassLifetime, defaultBreakGlassLifetime)
}

// UnapprovedRemovals is how many links and prefixes of blocks an apply may remove without a second person, once it has
// stated the number that the brake asks for.
func (d *Safeguards) UnapprovedRemovals() int {
	return cmp.Or(d.ApprovalRemovals, defaultApprovalRemovals)
}

// approvals checks what safeguards say of a second person.
func (c *checker) approvals(d *Safeguards) {
	c.lifetime("approval_timeout", d.ApproveTimeout())
	c.lifetime("break_glass_lifetime", d.UnapprovedLifetime())
	c.between("approval_addresses", d.ApprovalAddresses, 0, math.MaxUint32)
	c.between("approval_withdrawals", d.ApprovalWithdrawals, 0, maxCount)
	c.between("approval_removals", d.UnapprovedRemovals(), 0, maxCount)
}

// Weight is how much an action takes from each address that it is done to: 0 for a copy and a mark, 1 for a rate limit, 2
// for a discard and a redirect, 4 for a blackhole.
func (a Action) Weight() int {
	switch a.Kind {
	case RateLimit, RateLimitPackets:
		return 1
	case Mark:
		return 0
	case RTBH:
		return 4
	case RedirectIP:
		if a.Copy {
			return 0
		}
	case Discard, Redirect:
	}
	return 2
}

// BlastRadius is the number of addresses acted on times the weight of the action. IPv6 is counted in /64s, the least that a
// host is given; a part of one counts as one.
func BlastRadius(pieces []netip.Prefix, a Action) float64 {
	sum := 0.0
	for _, p := range pieces {
		bits := 32
		if familyOf(p) == flowspec.IPv6 {
			bits = 64
		}
		sum += math.Exp2(float64(max(bits-p.Bits(), 0)))
	}
	return sum * float64(a.Weight())
}

// tooFar says that an action on pieces reaches further than one person may decide; empty if it does not.
func tooFar(sg *Safeguards, pieces []netip.Prefix, a Action) string {
	most := sg.ApprovalAddresses
	r := BlastRadius(pieces, a)
	if most == 0 || r <= float64(most) {
		return ""
	}
	unit := "addresses"
	if len(pieces) > 0 && familyOf(pieces[0]) == flowspec.IPv6 {
		unit = "/64s"
	}
	return fmt.Sprintf("%.0f %s × %d for %s are %.0f, above %d (approval_addresses)", r/float64(a.Weight()), unit, a.Weight(), a.words().noun, r, most)
}

// approval says why the plan awaits a second person; zero if it does not.
func (p *plan) approval(s *State) Reason {
	var why []string
	if p.asks {
		why = append(why, fmt.Sprintf("policy %s asks for approval", p.policy))
	}
	if text := tooFar(s.Safeguards(), p.cut.Pieces, p.action); text != "" {
		why = append(why, text)
	}
	if p.origin == FromOperator {
		if r := checkSources(s, p.variants); r.Code != "" {
			why = append(why, r.Text)
		}
	}
	return needed(why)
}

func needed(why []string) Reason {
	if len(why) == 0 {
		return Reason{}
	}
	return Reason{CodeAwaitsApproval, strings.Join(why, "; ")}
}

// asksAtStart reports whether each start by the policy awaits a second person.
func (d *Policy) asksAtStart() bool { return d.Mode == ModeApprove || d.steps()[0].Mode == ModeApprove }

// room refuses what would be one pending mitigation too many. A fifth of the room is kept for operators.
func (p *plan) room(s *State) Reason {
	most, whose := MaxPending, ""
	if p.shares() {
		most, whose = maxPendingPolicies, " of policies"
	}
	if n := s.PendingCount(); n >= most {
		return Reason{CodePendingLimit, fmt.Sprintf("%s await approval, at most %d%s may: approve or reject some (tidegate approval list), or let them lapse",
			plural(n, "mitigation"), most, whose)}
	}
	return Reason{}
}

// await makes m, a copy that nobody else has seen yet, pending.
func (m *Mitigation) await(why Reason, sg *Safeguards, e Entry) {
	m.Phase = Pending
	m.ask(Ask{Kind: AskStart, Why: why}, sg, e)
	m.Expires = m.Awaits.Until
}

// ask notes what of m, a copy that nobody else has seen yet, awaits a second person.
func (m *Mitigation) ask(a Ask, sg *Safeguards, e Entry) {
	a.By, a.At = e.By, e.At
	if a.Until.IsZero() {
		a.Until = e.At.Add(sg.ApproveTimeout())
	}
	m.Awaits = a
	m.tell(Event{
		At: e.At, What: EventAsked, By: e.By, Code: CodeAwaitsApproval,
		Text: fmt.Sprintf("%s awaits a second person until %s: %s", m.asked(a), a.Until.UTC().Format(time.RFC3339), a.Why.Text),
	})
}

// asked says what is asked for.
func (m *Mitigation) asked(a Ask) string {
	switch a.Kind {
	case AskStart:
		return fmt.Sprintf("the start with %s", plural(len(m.Rules), routeWord(m.Action.RouteKind())))
	case AskStep, AskRelax:
		if a.Step >= 0 && a.Step < len(m.Ladder) {
			return fmt.Sprintf("step %d of %d, %s", a.Step+1, len(m.Ladder), m.Ladder[a.Step].Action)
		}
	case AskExtend:
		return fmt.Sprintf("a lifetime of %s from the approval on", span(a.Lifetime))
	}
	return "nothing"
}

// Asked says what of m awaits a second person, in a few words.
func (m *Mitigation) Asked() string { return m.asked(m.Awaits) }

// awaiting is the decision on something that awaits a second person.
func (m *Mitigation) awaiting(text string) Decision {
	return Decision{
		Verdict: Verdict{Kind: AwaitsApproval, Mitigation: m.ID, Reason: Reason{CodeAwaitsApproval, fmt.Sprintf("%s; nothing of it is done before that: "+
			"tidegate approval show M%d", text, m.ID)}},
		Mitigations: []*Mitigation{m},
	}
}

// awaitSignal is the decision on a signal whose mitigation needs a second person: it joins one that is pending already, or
// becomes one. What the attack keeps alive so far stays until that is approved.
func (p *plan) awaitSignal(s *State, f *surveyed, need Reason, attack *PutAttack, current *Mitigation, e Entry) Decision {
	if current != nil && current.Capped.Code != "" {
		return Decision{Verdict: Verdict{Kind: Merged, Mitigation: current.ID, Reason: current.Capped}, Mitigations: []*Mitigation{current}}
	}
	cause := Cause{attack.Attack.Source, attack.Attack.AttackID, e.At}
	for m := range s.PendingOf(p.customer.ID) {
		if p.fits(m) {
			return p.joinPending(s, m, cause, attack, current, e)
		}
	}
	if r := f.admit(s, p); r.Code != "" {
		return refuse(r)
	}
	if r := p.room(s); r.Code != "" {
		return refuse(r)
	}
	m, r := p.mitigation(s, e)
	if r.Code != "" {
		return refuse(r)
	}
	m.Notes = append(m.Notes, f.notes...)
	m.Causes = []Cause{cause}
	m.await(need, s.Safeguards(), e)
	d := m.awaiting(fmt.Sprintf("%s; M%d (%s) awaits approval: %s", m.Reason.Text, m.ID, plural(len(m.Rules), routeWord(m.Action.RouteKind())), need.Text))
	d.Changes = []Change{&PutMitigation{m}}
	p.joinOthers(&d, m, e)
	p.tellCollateral(&d, m)
	d.keeping(current, attack, m)
	d.leavePendingFor(s, attack, m.ID, e)
	d.Changes = append(d.Changes, attack)
	return d
}

// keeping says whose cause the attack is until m, which awaits approval, is approved.
func (d *Decision) keeping(current *Mitigation, attack *PutAttack, m *Mitigation) {
	attack.Attack.Mitigation = m.ID
	if current != nil {
		attack.Attack.Mitigation = current.ID
		d.Verdict.Reason.Text += fmt.Sprintf("; M%d stays until then", current.ID)
	}
}

// joinPending makes the attack a further cause of m, which awaits approval.
func (p *plan) joinPending(s *State, m *Mitigation, cause Cause, attack *PutAttack, current *Mitigation, e Entry) Decision {
	if m.causedBy(cause.Source, cause.AttackID) {
		return repetition(m)
	}
	cp := *m
	// An attack that is not listed is told by what it keeps alive; with current that is another one.
	if len(m.Causes) >= MaxCauses && current != nil {
		return repetition(m)
	}
	cp.join(cause, p, e)
	cp.surer(p.seen)
	n := len(cp.Causes) + cp.MoreCauses
	d := cp.awaiting(fmt.Sprintf("M%d of policy %s, which awaits approval, covers %s: attack %q of %s is its cause %d",
		m.ID, m.Policy, prefixList(p.targets), cause.AttackID, cause.Source, n))
	d.Changes = []Change{&PutMitigation{&cp}}
	d.keeping(current, attack, m)
	d.leavePendingFor(s, attack, m.ID, e)
	d.Changes = append(d.Changes, attack)
	return d
}

func (m *Mitigation) causedBy(source, attackID string) bool {
	return slices.ContainsFunc(m.Causes, func(c Cause) bool { return c.Source == source && c.AttackID == attackID })
}

// leavePending takes the attack away from the pending mitigations that it causes, but for one; those that it alone asked
// for end. It returns the ids of those that end.
func (d *Decision) leavePending(s *State, attack *PutAttack, except MitigationID, end EndCause, note string, e Entry) (ended []MitigationID) {
	for m := range s.Pending() {
		if m.ID == except || !m.causedBy(attack.Attack.Source, attack.Attack.AttackID) {
			continue
		}
		d.leave(m, attack, end, note, e)
		if d.Mitigations[len(d.Mitigations)-1].Phase == Over {
			ended = append(ended, m.ID)
		}
	}
	return ended
}

// leavePendingFor is leavePending of an attack that another mitigation is for now.
func (d *Decision) leavePendingFor(s *State, attack *PutAttack, to MitigationID, e Entry) {
	if s.pending.n > 0 {
		d.leavePending(s, attack, to, EndSuperseded, fmt.Sprintf("the attack moved to M%d", to), e)
	}
}

// awaitStart is the decision on an operator's order that needs a second person.
func (p *plan) awaitStart(s *State, m *Mitigation, need Reason, e Entry) Decision {
	if r := p.room(s); r.Code != "" {
		return refuse(r)
	}
	m.await(need, s.Safeguards(), e)
	d := m.awaiting(fmt.Sprintf("M%d (%s for customer %s) awaits approval by somebody else than %s: %s", m.ID,
		plural(len(m.Rules), routeWord(m.Action.RouteKind())), m.Customer, e.By, need.Text))
	d.Changes = []Change{&PutMitigation{m}}
	return d
}

// samePending returns the pending mitigation that is p to the letter, or nil.
func (p *plan) samePending(s *State) *Mitigation {
	for m := range s.PendingOf(p.customer.ID) {
		if p.same(m) {
			return m
		}
	}
	return nil
}

// breakGlass makes m, a copy that nobody else has seen yet, one that nobody waited for a second person for.
func (m *Mitigation) breakGlass(sg *Safeguards, why Reason, e Entry) {
	m.BreakGlassUntil = e.At.Add(sg.UnapprovedLifetime())
	m.Lifetime = min(m.Lifetime, sg.UnapprovedLifetime())
	if until := e.At.Add(m.Lifetime); until.Before(m.Expires) { // it lengthens the life of nothing
		m.Expires = until
	}
	m.Expires = m.within(m.Expires)
	m.tell(Event{
		At: e.At, What: EventBreakGlass, By: e.By, Code: CodeBreakGlass,
		Text: fmt.Sprintf("past the approval, for at most %s: %s; because: %s", span(sg.UnapprovedLifetime()), e.Reason, why.Text),
	})
}

// within bounds a time by that until which m may live without an approval.
func (m *Mitigation) within(t time.Time) time.Time {
	if !m.BreakGlassUntil.IsZero() && t.After(m.BreakGlassUntil) {
		return m.BreakGlassUntil
	}
	return t
}

// BreakGlass reports whether nobody waited for a second person for m.
func (m *Mitigation) BreakGlass() bool { return !m.BreakGlassUntil.IsZero() }

// unreasoned is what is malformed in going past an approval without saying why.
func unreasoned(breakGlass bool, e Entry) []Violation {
	var vs violations
	if breakGlass && strings.TrimSpace(e.Reason) == "" {
		vs.add("reason", "say why there is no time for a second person", "going past an approval needs a reason")
	}
	return vs
}

// lapse takes back what of m awaits a second person, because nobody answered in time.
func (m *Mitigation) lapse(e Entry) *Mitigation {
	cp := *m
	text := fmt.Sprintf("%s: nobody approved it by %s", m.Asked(), m.Awaits.Until.UTC().Format(time.RFC3339))
	cp.decline(Event{At: e.At, What: EventLapsed, By: e.By, Code: CodeNotApproved, Text: text})
	return &cp
}

// decline takes back what of m, a copy that nobody else has seen yet, awaits a second person. A step is not asked for
// again before the attack comes back.
func (m *Mitigation) decline(ev Event) {
	if m.Awaits.Kind == AskStep {
		m.Blocked = Reason{CodeNotApproved, ev.Text}
	}
	m.Awaits = Ask{}
	m.tell(ev)
}

// Pending yields the mitigations that await approval, by id.
func (s *State) Pending() iter.Seq[*Mitigation] { return unwrap(s.pending.values()) }

// PendingOf yields the mitigations of a customer that await approval, by id.
func (s *State) PendingOf(c CustomerID) iter.Seq[*Mitigation] {
	return func(yield func(*Mitigation) bool) {
		for m := range s.Pending() {
			if m.Customer == c && !yield(m) {
				return
			}
		}
	}
}

// PendingCount returns the number of mitigations that await approval.
func (s *State) PendingCount() int { return s.pending.n }

// AwaitingCount returns how many things await a second person: mitigations, steps, relaxations, extensions and orders.
func (s *State) AwaitingCount() int { return s.awaiting.n + s.openOrders.n }

// Awaiting yields the mitigations of which something awaits a second person, by id.
func (s *State) Awaiting() iter.Seq[*Mitigation] { return unwrap(s.awaiting.values()) }

// Unapproved yields the mitigations, not over, for which nobody waited for a second person, by id.
func (s *State) Unapproved() iter.Seq[*Mitigation] { return unwrap(s.unapproved.values()) }

// UnapprovedCount returns their number.
func (s *State) UnapprovedCount() int { return s.unapproved.n }

// indexAsks keeps or forgets what a mitigation, not over, has to do with approvals.
func (s *State) indexAsks(h *held, there bool) {
	id := numberKey(uint64(h.ID))
	mark := func(t *table[*held], yes bool) {
		switch {
		case yes && there:
			t.set(id, h)
		case yes:
			t.remove(id)
		}
	}
	mark(&s.awaiting, h.Awaits.Kind != "")
	mark(&s.unapproved, h.BreakGlass())
}

// PassedSince returns what went past an approval since an earlier State: mitigations and orders. It costs nothing as long
// as there is nothing.
func (s *State) PassedSince(before *State) (ms []*Mitigation, orders []*Order) {
	if s.unapproved.root != before.unapproved.root {
		for m := range s.Unapproved() {
			if old, ok := before.Mitigation(m.ID); !ok || !old.BreakGlassUntil.Equal(m.BreakGlassUntil) {
				ms = append(ms, m)
			}
		}
	}
	if s.closedOrders.root != before.closedOrders.root {
		for o := range s.Orders() {
			if o.Status == OrderBreakGlass && o.Changed > before.index {
				orders = append(orders, o)
			}
		}
	}
	return ms, orders
}

// NeverAnnounced reports whether no router ever was told of m: it awaits approval, or ended doing so.
func (m *Mitigation) NeverAnnounced() bool {
	return m.Phase == Pending || m.Phase == Over && m.Awaits.Kind == AskStart
}

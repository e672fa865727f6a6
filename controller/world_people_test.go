package controller

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/policy"
)

// wait is the book's page of a mitigation that awaits a second person.
type wait struct {
	by       policy.Principal // who asked
	until    time.Time        // it lapses
	source   string           // the detector; empty for an operator's order
	lifetime time.Duration
	page     record // what its record begins with
}

// waitingOrder is an order that awaits a second person.
type waitingOrder struct {
	by  policy.Principal
	req *policy.ApplyRequest // nil: a withdrawal
}

// people are those who ask and answer.
func people() []policy.Principal { return []policy.Principal{operator, "approver/bo", "admin/cy"} }

// attend is what somebody does now and then who looks at what awaits a second person, be it their own.
func (w *world) attend() {
	r, s := w.r, w.newest()
	ms, orders := slices.Collect(s.Awaiting()), slices.Collect(s.OpenOrders())
	n := len(ms) + len(orders)
	if n == 0 {
		return
	}
	var m policy.MitigationID
	var o policy.ApprovalID
	if i := r.IntN(n); i < len(ms) {
		m = ms[i].ID
	} else {
		o = orders[i-len(ms)].ID
	}
	by := pick(r, people()...)
	if x := w.book.waits[m]; x != nil && x.source == "" && r.IntN(2) == 0 { // who asked tries
		by = x.by
	} else if x := w.book.orders[o]; x != nil && r.IntN(2) == 0 {
		by = x.by
	}
	switch r.IntN(8) {
	case 0:
		w.ask(by, &policy.RejectRequest{Mitigation: m, Order: o})
	case 1:
		w.ask(by, &policy.ApproveRequest{Mitigation: m, Order: o, BreakGlass: true})
	default:
		w.ask(by, &policy.ApproveRequest{Mitigation: m, Order: o})
	}
}

// asked takes note of what awaits a second person by now.
func (k *book) asked(w *world, o *write) {
	v := o.out.Decision.Verdict
	switch r := o.cmd.Request.(type) {
	case *policy.StartRequest:
		if k.waits[v.Mitigation] == nil {
			life := cmp.Or(r.Lifetime, w.land.rules.DefaultLifetime)
			k.waits[v.Mitigation] = &wait{by: o.cmd.By, until: w.logTime().Add(timeToAnswer(w.land.rules)), lifetime: life}
		}
	case *policy.ExtendRequest:
		rec := k.of[r.ID]
		rec.longerBy, rec.longer = o.cmd.By, r.Lifetime
	case *policy.ApplyRequest:
		if k.orders[v.Approval] == nil {
			k.orders[v.Approval] = &waitingOrder{o.cmd.By, r}
		}
	case *policy.WithdrawAllRequest:
		if k.orders[v.Approval] == nil {
			k.orders[v.Approval] = &waitingOrder{by: o.cmd.By}
		}
	}
}

func timeToAnswer(sg *policy.Safeguards) time.Duration {
	return cmp.Or(sg.ApprovalTimeout, 15*time.Minute)
}

func timeWithoutAnswer(sg *policy.Safeguards) time.Duration {
	return cmp.Or(sg.BreakGlassLifetime, 15*time.Minute)
}

// awaits takes note of a signal whose mitigation awaits a second person.
func (k *book) awaits(w *world, s *policy.Signal, id policy.MitigationID) error {
	m, ok := w.newest().Mitigation(id)
	if !ok {
		return broken("an answer is true", "%q of %s is told that M%d awaits approval, which is not there", s.AttackID, s.Source, id)
	}
	if k.waits[id] == nil {
		p := w.land.policies[m.Policy]
		x := &wait{by: policy.Principal("detector/" + s.Source), source: s.Source, until: w.logTime().Add(timeToAnswer(w.land.rules)), page: pageOf(p)}
		if p != nil {
			x.lifetime = min(cmp.Or(p.Lifetime, w.land.rules.DefaultLifetime), w.land.rules.MaxLifetime)
		}
		k.waits[id] = x
	}
	if m.Phase != policy.Pending && m.Phase != policy.Over { // over by what else was decided with it
		return broken("an answer is true", "%q of %s is told that M%d awaits approval, which does not", s.AttackID, s.Source, id)
	}
	return nil
}

// pageOf is what the book says of a mitigation of a policy when it begins.
func pageOf(p *policy.Policy) record {
	rec := record{causes: map[attackKey]bool{}, ever: map[attackKey]bool{}, steps: 1}
	if p != nil {
		rec.quiet, rec.relax, rec.relaxAsks, rec.steps = p.Quiet, p.Relax == policy.RelaxAuto || p.Relax == policy.RelaxApprove, p.Relax == policy.RelaxApprove, max(1, len(p.Ladder))
		rec.ladder = p.Ladder
	}
	return rec
}

// approved takes note of an approval, which must be a second person's.
func (k *book) approved(w *world, by policy.Principal, r *policy.ApproveRequest, v policy.Verdict) error {
	const name = "nobody approves what they asked for"
	w.count["approved"]++
	now := w.logTime()
	if r.Order != 0 {
		o := k.orders[r.Order]
		if o == nil {
			return broken(name, "A%d was not asked for", r.Order)
		}
		if o.by == by && !r.BreakGlass {
			return broken(name, "%s approved A%d of their own", by, r.Order)
		}
		delete(k.orders, r.Order)
		if o.req != nil && v.Kind == policy.Mitigated {
			w.land.accepted(o.req)
			w.checks.reformed = true
		}
		return nil
	}
	id := r.Mitigation
	m, _ := w.newest().Mitigation(id)
	if x := k.waits[id]; x != nil {
		if x.by == by && !r.BreakGlass {
			return broken(name, "%s approved M%d of their own", by, id)
		}
		delete(k.waits, id)
		k.begins(w, id, m, x, r.BreakGlass)
		return nil
	}
	rec := k.of[id]
	if rec == nil {
		return broken(name, "M%d was not asked for", id)
	}
	rec.approved = now
	if !rec.glass.IsZero() && m.BreakGlassUntil.IsZero() { // its life was what was asked for
		if rec.longerBy == by {
			return broken(name, "%s approved a longer life of M%d that they asked for", by, id)
		}
		rec.lifetime, rec.bound, rec.trueEnd, rec.glass = rec.longer, time.Time{}, 0, time.Time{}
		rec.extend(w, 0)
		rec.calmAt = now
	}
	if r.BreakGlass {
		rec.glass = now.Add(timeWithoutAnswer(w.land.rules))
	}
	return nil
}

// begins opens the page of a mitigation that was approved, or for which nobody waited.
func (k *book) begins(w *world, id policy.MitigationID, m *policy.Mitigation, x *wait, breakGlass bool) {
	now := w.logTime()
	rec := x.page
	rec.lifetime, rec.source, rec.stepAt, rec.wideAt, rec.approved = x.lifetime, x.source, now, now, now
	if rec.causes == nil {
		rec.causes, rec.ever = map[attackKey]bool{}, map[attackKey]bool{}
	}
	k.of[id] = &rec
	for _, c := range m.Causes {
		if key := (attackKey{c.Source, c.AttackID}); k.told[key] {
			k.leave(w, key, id)
			rec.causes[key], rec.ever[key], k.byAttack[key] = true, true, id
		}
	}
	if len(rec.causes) == 0 && x.source != "" {
		rec.emptyAt = now
	}
	if breakGlass {
		rec.glass = now.Add(timeWithoutAnswer(w.land.rules))
	}
	rec.extend(w, worldTick)
}

// reach is how far a mitigation reaches: addresses, in IPv6 /64s, times what is taken from each.
func reach(m *policy.Mitigation) float64 {
	weight := map[policy.ActionKind]float64{
		policy.Mark: 0, policy.RateLimit: 1, policy.RateLimitPackets: 1, policy.Discard: 2, policy.Redirect: 2, policy.RedirectIP: 2, policy.RTBH: 4,
	}[m.Action.Kind]
	if m.Action.Copy {
		weight = 0
	}
	sum := 0.0
	for _, p := range m.Cut.Pieces {
		bits := 32
		if familyOf(p) == flowspec.IPv6 {
			bits = 64
		}
		sum += math.Pow(2, math.Max(0, float64(bits-p.Bits())))
	}
	return sum * weight
}

// alone fails if m, which nobody approved, is what one program or one person may not decide.
func (w *world) alone(m *policy.Mitigation, by string) error {
	const name = "what takes a second person waits for one"
	if most := w.land.rules.ApprovalAddresses; most > 0 && reach(m) > float64(most) {
		return broken(name, "M%d (%s) began by %s alone and reaches %v, above %d", m.ID, m.Action, by, reach(m), most)
	}
	p := w.land.policies[m.Policy]
	if p != nil && (p.Mode == policy.ModeApprove || len(p.Ladder) > 0 && p.Ladder[0].Mode == policy.ModeApprove) {
		return broken(name, "M%d began by %s alone, and policy %s asks for approval", m.ID, by, p.Name)
	}
	return nil
}

// stepAlone is alone for a step that was taken, up or down.
func (sc *scene) stepAlone(m, old *policy.Mitigation, rec *record) error {
	const name = "what takes a second person waits for one"
	if rec.approved.Equal(sc.now) {
		return nil
	}
	if m.Step < old.Step && rec.relaxAsks {
		return broken(name, "M%d went down to step %d, and nobody approved it", m.ID, m.Step+1)
	}
	if m.Step < old.Step {
		return nil
	}
	if m.Step < len(rec.ladder) && rec.ladder[m.Step].Mode == policy.ModeApprove {
		return broken(name, "M%d took step %d, and nobody approved it", m.ID, m.Step+1)
	}
	if most := sc.land.rules.ApprovalAddresses; most > 0 && reach(m) > float64(most) {
		return broken(name, "M%d took step %d (%s), which reaches %v, above %d, and nobody approved it", m.ID, m.Step+1, m.Action, reach(m), most)
	}
	return nil
}

// waiting: nothing is announced of what awaits a second person, and what nobody answers lapses. What nobody waited for lives
// shortly.
func (sc *scene) waiting() error {
	for m := range sc.s.Pending() {
		x := sc.book.waits[m.ID]
		if x == nil {
			return broken("what awaits approval announces nothing", "M%d awaits approval, and nobody was told", m.ID)
		}
		if sc.led && sc.now.After(x.until.Add(worldSlack)) {
			return broken("what nobody approves lapses", "M%d awaits approval at %s, and had until %s", m.ID, sc.now, x.until)
		}
	}
	for m := range sc.s.Active() {
		if x := sc.book.waits[m.ID]; x != nil {
			return broken("what awaits approval announces nothing", "M%d is announced, was asked for by %s, and nobody approved it", m.ID, x.by)
		}
		if rec := sc.book.of[m.ID]; rec != nil && !rec.glass.IsZero() && sc.led && sc.now.After(rec.glass.Add(worldSlack)) {
			return broken("who does not wait for approval has little time", "M%d is announced at %s, and nobody approved it by %s", m.ID, sc.now, rec.glass)
		}
	}
	return nil
}

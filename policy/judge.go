package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// Decide judges a request against a state. It is pure: the same state, request and entry give the same decision. Of e
// it uses At, which is now, By and Reason; Index is ignored. It does not change what r holds, and keeps of it only the
// documents, which are values that nobody changes afterwards. A Decision holds for the state it was made of: its
// changes must be applied to that very state.
func Decide(s *State, r Request, e Entry) Decision {
	if id, scoped := e.By.Scope(); scoped {
		if d, beyond := beyondCustomer(s, id, r); beyond {
			return d
		}
	}
	switch r := r.(type) {
	case *SignalRequest:
		return decideSignal(s, &r.Signal, e)
	case *StartRequest:
		return decideStart(s, r, e)
	case *ExtendRequest:
		return decideExtend(s, r, e)
	case *WithdrawRequest:
		return decideWithdraw(s, r, e)
	case *WithdrawAllRequest:
		return decideWithdrawAll(s, r, e)
	case *ApplyRequest:
		return decideApply(s, r, e)
	case *ExpireRequest:
		return decideExpire(s, e)
	case *RenewRequest:
		return decideRenew(s, r, e)
	case *EscalateRequest:
		return decideEscalate(s, r, e)
	case *LeaseRequest:
		return Decision{Verdict: Verdict{Kind: Observed, Reason: Reason{CodeLease, "the lease was recorded"}}, Changes: []Change{&PutLease{}}}
	}
	return decideRule(s, r, e)
}

// decideRule judges a request about what the others may do: holds on policies and detectors, approvals, the audit.
func decideRule(s *State, r Request, e Entry) Decision {
	switch r := r.(type) {
	case *FreezeRequest:
		return decideFreeze(s, r, e)
	case *UnfreezeRequest:
		return decideUnfreeze(s)
	case *QuarantineRequest:
		return decideQuarantine(s, r, e)
	case *ReleaseRequest:
		return decideRelease(s, r)
	case *CreateTokenRequest:
		return decideCreateToken(s, r, e)
	case *RevokeTokenRequest:
		return decideRevokeToken(s, r)
	case *BeginAuditRequest:
		return decideBeginAudit(s)
	case *ApproveRequest:
		return decideApprove(s, r, e)
	case *RejectRequest:
		return decideReject(s, r, e)
	}
	return refusef(CodeUnknownRequest, "a request of type %T is not known to this version", r)
}

// plan is what a signal or an order would be turned into.
type plan struct {
	observes bool      // the policy only observes
	seen     *sighting // the signal; nil for an operator's order
	asks     bool      // the policy asks for approval
	taken    *Policy
	origin   Origin
	policy   string
	source   string // the detector
	perHour  int    // how many the policy may start; 0: no limit of its own
	vector   Vector
	customer *Customer
	targets  []netip.Prefix // sorted, none inside another
	variants []flowspec.Match
	action   Action
	ladder   []Step // nil: there is one step only
	groups   []string
	lifetime time.Duration
	notes    []string
	cut      Cut
	reason   Reason
	has      []flowspec.Rule  // rules that are there already and whose place these take
	services []Service        // allowed services that are left out
	parts    []part           // what is taken without them; nil: cut.Pieces × variants
	reported []netip.Prefix   // what the targets stand for, if they are wider; nil if not
	base     []flowspec.Match // the variants as the routers take them
	fitting  *fitting         // what the variants and the first notes are from; nil for none
	gathered []*Mitigation    // what ends because the plan takes its place
	quiet    time.Duration
	relax    Relax
	// confidence is that of all detectors together, floor what the first step asks for.
	confidence, floor float64
}

// decideSignal judges a signal. What is known of its attack comes first; only then whether it deserves a mitigation.
func decideSignal(s *State, sig *Signal, e Entry) Decision {
	if vs := validateSignal(sig); len(vs) > 0 {
		return malformed(vs)
	}
	if sig.Drill {
		return drill(s, sig, e)
	}
	att, known := s.Attack(sig.Source, sig.AttackID)
	digest := SignalDigest(*sig)
	if known {
		if d, done := answered(s, sig, att, digest); done {
			return d
		}
	}
	if sig.Kind == SignalEnd {
		return decideEnd(s, sig, att, known, digest, e)
	}
	if d, yes := inQuarantine(s, sig, att, e); yes {
		return d
	}
	var current, withdrawn *Mitigation // what the attack keeps alive so far; what an operator withdrew of it
	if known && !att.Ended {
		var d Decision
		var done bool
		if current, withdrawn, d, done = running(s, sig, att); done {
			return d
		}
	}
	attack := &PutAttack{Attack{
		Source: sig.Source, AttackID: sig.AttackID, Seq: sig.Seq, Digest: digest, At: e.At, Targets: fewest(sig.Targets), Vector: sig.Vector, Confidence: sig.Confidence,
	}}
	return attended(s, sight(s, sig, e.At), attack, current, withdrawn, e)
}

// attended judges a signal of an attack that is to be looked at anew: current is what the attack keeps alive so far,
// withdrawn what an operator withdrew of it.
func attended(s *State, seen *sighting, attack *PutAttack, current, withdrawn *Mitigation, e Entry) Decision {
	p, d := judge(s, seen)
	if p == nil {
		if current != nil && d.Verdict.Kind == Observed {
			d.stays(current)
		}
		if d.Verdict.Kind == Observed && seen.mayMatter(s) {
			return note(s, d, attack, e)
		}
		return d
	}
	if d, nothing := p.keepOut(s, seen.Signal, current, withdrawn); nothing {
		return d
	}
	if p.observes {
		return would(CodePolicyObserves, fmt.Sprintf("policy %s only observes", p.policy), settle(s, p, attack, nil, e))
	}
	d = settle(s, p, attack, current, e)
	if current != nil && d.Verdict.Kind == Observed {
		d.stays(current)
	}
	switch {
	case d.Verdict.Kind == Observed && (d.Verdict.Reason.Code == CodeQuorum || d.Verdict.Reason.Code == CodeLowConfidence),
		d.Verdict.Reason.Code == CodeRepetition && len(d.Changes) == 0:
		return note(s, d, attack, e)
	}
	return d
}

// stays says of an attack that is only observed what it keeps all the same.
func (d *Decision) stays(current *Mitigation) {
	d.Verdict.Mitigation = current.ID
	d.Verdict.Reason.Text += fmt.Sprintf("; M%d stays until the attack ends or its lifetime is over", current.ID)
}

// answered judges a signal of a known attack by its number alone: what is older is stale, and one number has one body.
func answered(s *State, sig *Signal, att Attack, digest [32]byte) (d Decision, done bool) {
	nothing := ""
	if sig.Kind == SignalEnd {
		nothing = nothingEnded(s, att)
	}
	switch {
	case sig.Seq < att.Seq:
		return observe(CodeStale, att.Mitigation, "attack %q of %s is at sequence number %d, %d is older%s", sig.AttackID, sig.Source, att.Seq, sig.Seq, nothing), true
	case sig.Seq == att.Seq && digest != att.Digest:
		return refusef(CodeSeqConflict, "attack %q of %s already sent sequence number %d with another body: a change needs a higher number%s",
			sig.AttackID, sig.Source, sig.Seq, nothing), true
	}
	return Decision{}, false
}

// nothingEnded says what an end that does not count leaves as it is.
func nothingEnded(s *State, att Attack) string {
	switch m, ok := s.Mitigation(att.Mitigation); {
	case att.Ended:
		return "; nothing ended now: the end of the attack was noted before"
	case ok && m.Phase == Active:
		return fmt.Sprintf("; nothing ended: M%d stays active until an end with a number above %d comes or its lifetime is over", m.ID, att.Seq)
	}
	return fmt.Sprintf("; nothing ended: send the end with a number above %d", att.Seq)
}

// running returns what a running attack keeps alive, or a decision if there is nothing to judge anew: the signal is a
// repetition, or an operator withdrew what it asks for. If it asks for more than was withdrawn, the rest is judged. What
// ended for another reason is judged again.
func running(s *State, sig *Signal, att Attack) (current, withdrawn *Mitigation, d Decision, done bool) {
	m, ok := s.Mitigation(att.Mitigation)
	switch {
	case !ok:
	case (m.Phase == Active || m.Phase == Pending) && sig.Seq == att.Seq:
		return nil, nil, repetition(m), true
	case m.Phase == Active:
		return m, nil, Decision{}, false
	case m.saidNo() && targetsWithin(sig.Targets, m.Targets):
		return nil, nil, staysWithdrawn(sig, m), true
	case m.saidNo():
		return nil, m, Decision{}, false
	}
	return nil, nil, Decision{}, false
}

// saidNo reports whether a person does not want the mitigation for its attacks.
func (m *Mitigation) saidNo() bool { return m.End == EndWithdrawn || m.End == EndRejected }

// unwanted is what that person did.
func (m *Mitigation) unwanted() string {
	if m.End == EndRejected {
		return "rejected"
	}
	return "withdrew"
}

func staysWithdrawn(sig *Signal, m *Mitigation) Decision {
	if m.End == EndRejected {
		return observe(CodeNotApproved, m.ID, "M%d for attack %q was rejected by %s: start one by hand, or send the attack under another id",
			m.ID, sig.AttackID, m.EndedBy)
	}
	return observe(CodeStaysWithdrawn, m.ID, "M%d for attack %q was withdrawn by %s: start one by hand, or send the attack under another id",
		m.ID, sig.AttackID, m.EndedBy)
}

// judge says what a signal would be turned into, or, with a nil plan, why into nothing.
func judge(s *State, sig *sighting) (*plan, Decision) {
	sg := s.Safeguards()
	targets := outermost(sig.Targets)
	customer, r := customerOf(s, targets, sg)
	if r.Code != "" {
		return nil, refuse(r)
	}
	if r = customer.optedOut(sig.Vector); r.Code != "" {
		return nil, observed(r)
	}
	pol := policyFor(s, sig, customer)
	if pol == nil {
		return nil, noPolicy(s, sig, customer)
	}
	steps := pol.steps()
	action := steps[0].Action
	if text := action.mismatch(familyOf(targets[0])); text != "" {
		return nil, refusef(CodeActionFamily, "policy %s: %s", pol.Name, text)
	}
	fit, r := s.fitting(pol, sig.Signal, familyOf(targets[0]))
	if r.Code != "" {
		return nil, refuse(r)
	}
	if r = pol.tooMany(len(fit.variants)); r.Code != "" {
		return nil, refuse(r)
	}
	p := &plan{
		observes: pol.Mode == ModeObserve, asks: pol.asksAtStart(), seen: sig, taken: pol,
		origin: FromPolicy, policy: pol.Name, source: sig.Source, perHour: pol.MaxPerHour, vector: sig.Vector, customer: customer, targets: targets, variants: fit.variants, fitting: fit,
		action: action, groups: pol.Groups, lifetime: pol.Lifetime, notes: fit.notes, confidence: sig.confidence, floor: steps[0].MinConfidence, quiet: pol.Quiet, relax: pol.Relax,
	}
	if len(steps) > 1 {
		p.ladder = steps
	}
	if p.lifetime == 0 {
		p.lifetime = sg.DefaultLifetime
	}
	if p.lifetime > sg.MaxLifetime {
		p.notes = append(p.notes, fmt.Sprintf("policy %s asks for %s, the safeguards permit %s", pol.Name, span(p.lifetime), span(sg.MaxLifetime)))
		p.lifetime = sg.MaxLifetime
	}
	if r = p.aggregate(s); r.Code != "" {
		return nil, refuse(r)
	}
	return p, Decision{}
}

// why says what the mitigation is for. Most signals need none, so the text is made when one does.
func (p *plan) why() Reason {
	if p.seen == nil {
		return p.reason
	}
	return Reason{CodeMitigated, fmt.Sprintf("policy %s: %s reports %s on %s of customer %s%s", p.policy, p.source, p.vector,
		prefixList(outermost(p.seen.Targets)), p.customer.ID, measured(p.seen.Signal))}
}

// matchesOf returns the matches that answer a signal, without their destination, and what is to be known of them.
func matchesOf(sig *Signal, a Action, f flowspec.Family) ([]flowspec.Match, []string, Reason) {
	if a.RouteKind() == wanted.RTBH {
		return everything(f), []string{blackholeNote}, Reason{}
	}
	info, _ := vectorInfo(sig.Vector)
	sh, r := shapeOf(&info, sig, f)
	if r.Code != "" {
		return nil, nil, r
	}
	variants, r := sh.variants()
	return variants, sh.notes, r
}

// settle finds a place for a plan: an active mitigation that covers it, else a new one. Current is what the same
// attack keeps alive so far, nil if nothing.
func settle(s *State, p *plan, attack *PutAttack, current *Mitigation, e Entry) Decision {
	before := *p
	if current != nil && current.Customer == p.customer.ID {
		p.services = current.Services // a signal never widens what acts on its attack's targets
	}
	if r := p.fit(s); r.Code != "" {
		return refuse(r)
	}
	alone := current != nil && len(current.Causes) == 1 && current.MoreCauses == 0
	if current != nil && p.fits(current) && (!alone || current.holdsStill(p, e)) {
		return p.keepsOn(s, attack, current, alone, e)
	}
	found := survey(s, p, current, alone)
	if d, yes := p.stays(s, current, found.shield, &attack.Attack); yes {
		return d
	}
	if found.cover != nil && found.cover.Phase == Active {
		return merge(s, found.cover, p, attack, current, e)
	}
	if r := p.mayStart(s, e); r.Code != "" {
		return observed(r)
	}
	if found.cover != nil { // about to end: it comes back
		return merge(s, found.cover, p, attack, current, e)
	}
	before.base = p.variants
	return p.startOrAwait(s, &before, found, attack, current, alone, e)
}

// keepsOn leaves the attack with what covers it already, which narrows if less is reported.
func (p *plan) keepsOn(s *State, attack *PutAttack, current *Mitigation, alone bool, e Entry) Decision {
	if d, yes := p.narrow(s, current, attack, e); yes {
		return d
	}
	d := repetition(current)
	d.Verdict.Reason.Text += p.held(current, alone, e)
	return d
}

// startOrAwait starts a mitigation that no active one covers, or lets it await a second person. Before is the plan as it was
// before it was fitted to the routers.
func (p *plan) startOrAwait(s *State, before *plan, found surveyed, attack *PutAttack, current *Mitigation, alone bool, e Entry) Decision {
	r := p.unsure(s)
	if r.Code != "" {
		return observed(r)
	}
	p, found, r = p.place(s, before, found, current, alone)
	if r.Code != "" {
		return refuse(r)
	}
	if current != nil && len(p.gathered) == 0 && p.fits(current) && halfOrMore(p.cut.Pieces, current) { // joined again to what there is
		return repetition(current)
	}
	if need := p.approval(s); need.Code != "" {
		return p.awaitSignal(s, &found, need, attack, current, e)
	}
	return p.begin(s, &found, attack, current, e)
}

// begin starts a mitigation for the attack, which leaves what it keeps alive or awaits so far.
func (p *plan) begin(s *State, found *surveyed, attack *PutAttack, current *Mitigation, e Entry) Decision {
	m, r := p.mitigation(s, e)
	if r.Code != "" {
		return refuse(r)
	}
	if r, until := p.tooFast(s, len(m.Rules), e); r.Code != "" {
		return Decision{Verdict: Verdict{Kind: Retry, Reason: r, RetryAfter: until}}
	}
	m.Notes = append(m.Notes, found.notes...)
	m.Causes = []Cause{{attack.Attack.Source, attack.Attack.AttackID, e.At}}
	attack.Attack.Mitigation = m.ID
	d := Decision{Verdict: Verdict{Kind: Mitigated, Reason: m.Reason, Mitigation: m.ID}, Mitigations: []*Mitigation{m}}
	d.Changes = append(d.Changes, &PutMitigation{m})
	p.joinOthers(&d, m, e)
	p.gathers(s, &d, m, e)
	p.tellCollateral(&d, m)
	if !slices.Contains(found.weaker, current) { // else all of it goes
		d.moved(current, attack, m.ID, e)
	}
	d.leavePendingFor(s, attack, m.ID, e)
	d.Changes = append(d.Changes, attack)
	return d.superseding(s, m, found.weaker, e)
}

// moved takes the attack away from current, which kept it before, and says in the verdict what becomes of that.
func (d *Decision) moved(current *Mitigation, attack *PutAttack, to MitigationID, e Entry) {
	if current == nil {
		return
	}
	d.leave(current, attack, EndSuperseded, fmt.Sprintf("the attack moved to M%d", to), e)
	text := fmt.Sprintf("M%d is superseded and ends", current.ID)
	if now := d.Mitigations[len(d.Mitigations)-1]; now.Phase == Active {
		text = fmt.Sprintf("M%d stays for %s", current.ID, plural(len(now.Causes)+now.MoreCauses, "other cause"))
	}
	d.Verdict.Reason.Text += "; " + text
}

// fits reports whether an active mitigation does for p's targets what p asks for, or did so at its first step.
func (p *plan) fits(m *Mitigation) bool {
	if m.Origin != FromPolicy || m.Policy != p.policy || m.first() != p.action || !covered(p.targets, m.Targets) || !slices.Equal(m.Groups, p.groups) ||
		!slices.EqualFunc(m.matches(), p.variants, flowspec.Match.Equal) || !sparesNoMore(m.Services, p.services, p.targets) {
		return false
	}
	if m.Step > 0 && m.Action.RouteKind() == wanted.RTBH { // its pieces are parts
		return covered(p.cut.Pieces, fewest(m.Cut.Pieces))
	}
	return covered(p.cut.Pieces, m.Cut.Pieces)
}

// mitigation makes the record of a plan.
func (p *plan) mitigation(s *State, e Entry) (*Mitigation, Reason) {
	rules, r := makeRules(p.shaped(), p.action)
	if r.Code != "" {
		return nil, r
	}
	var near []NearMiss
	if p.seen != nil {
		near = nearMisses(s, p.seen, p.customer, p.taken)
	}
	m := &Mitigation{
		NearMisses: near,
		ID:         s.NextID(), Customer: p.customer.ID, Origin: p.origin, Policy: p.policy, Vector: p.vector, Source: p.source,
		Targets: slices.Clone(p.targets), Variants: p.variants, Action: p.action, Cut: p.cut, Rules: rules, Notes: p.notes,
		Groups: slices.Clone(p.groups), Lifetime: p.lifetime, Created: e.At, Expires: e.At.Add(p.lifetime), By: e.By, Reason: p.why(),
		Phase: Active,
	}
	m.Quiet, m.Relax, m.Services = p.quiet, p.relax, p.services
	m.Reported = fewest(p.reported)
	if len(p.ladder) > 0 {
		m.Ladder, m.StepSince = slices.Clone(p.ladder), e.At
	}
	return m, Reason{}
}

// merge makes the attack a further cause of m, which begins its lifetime anew.
func merge(s *State, m *Mitigation, p *plan, attack *PutAttack, current *Mitigation, e Entry) Decision {
	cp := *m
	cause := Cause{attack.Attack.Source, attack.Attack.AttackID, e.At}
	reason := cp.join(cause, p, e)
	cp.surer(p.seen)
	if len(cp.Reported) > 0 {
		cp.Reported = fewest(slices.Concat(cp.Reported, p.extent()))
	}
	if until := cp.within(e.At.Add(p.lifetime)); until.After(cp.Expires) {
		// The lifetime bounds what each node announces by its own clock, so the two go together.
		cp.Expires, cp.Lifetime = until, max(cp.Lifetime, p.lifetime)
	}
	attack.Attack.Mitigation = m.ID
	d := Decision{
		Verdict:     Verdict{Kind: Merged, Mitigation: m.ID, Reason: reason},
		Mitigations: []*Mitigation{&cp},
		Changes:     []Change{&PutMitigation{&cp}},
	}
	d.moved(current, attack, m.ID, e)
	d.leavePendingFor(s, attack, m.ID, e)
	d.Changes = append(d.Changes, attack)
	return d
}

// join makes an attack a further cause of m, a copy that nobody else has seen yet, or its only one if all were over.
func (m *Mitigation) join(cause Cause, p *plan, e Entry) Reason {
	if m.Phase == Ending {
		m.revive(cause, e)
		return Reason{CodeRevived, fmt.Sprintf("M%d of policy %s was about to end and is active again for attack %q of %s, pulse %d",
			m.ID, m.Policy, cause.AttackID, cause.Source, m.Pulses)}
	}
	if len(m.Causes) < MaxCauses {
		m.Causes = append(slices.Clone(m.Causes), cause)
	} else {
		m.MoreCauses++
	}
	n := len(m.Causes) + m.MoreCauses
	m.tell(Event{At: e.At, What: EventMerged, By: e.By, Code: CodeMerged, Text: fmt.Sprintf("attack %q of %s became cause %d%s", cause.AttackID, cause.Source, n, measured(p.seen.Signal))})
	return Reason{CodeMerged, fmt.Sprintf("M%d of policy %s already covers %s: attack %q of %s is its cause %d", m.ID, m.Policy, prefixList(p.targets),
		cause.AttackID, cause.Source, n)}
}

// leave takes an attack's cause away from m; the last one gone ends it. A nil m has no cause to lose.
//
// Causes beyond MaxCauses are not listed: an attack that is remembered as a cause of m and not listed is one of
// those counted in MoreCauses, so a mitigation never ends before the last of them.
func (d *Decision) leave(m *Mitigation, attack *PutAttack, end EndCause, note string, e Entry) {
	if m == nil || m.Phase != Active && m.Phase != Pending {
		return
	}
	cp := *m
	cp.Causes = slices.DeleteFunc(slices.Clone(m.Causes), func(c Cause) bool {
		return c.Source == attack.Attack.Source && c.AttackID == attack.Attack.AttackID
	})
	if len(cp.Causes) == len(m.Causes) && cp.MoreCauses > 0 {
		cp.MoreCauses--
	}
	if len(cp.Causes) == 0 && cp.MoreCauses == 0 {
		if end == EndAttackOver && m.Phase == Active && d.windDown(m, note, e) {
			return
		}
		d.end(m, end, note, e) // the record goes on to tell what caused it
		return
	}
	cp.tell(Event{
		At: e.At, What: EventCauseOver, By: e.By, Code: CodeAttackOver,
		Text: fmt.Sprintf("%s, %s: %s", note, choose(len(cp.Causes)+cp.MoreCauses, "one cause stays", "other causes stay"), causeList(&cp)),
	})
	d.Mitigations = append(d.Mitigations, &cp)
	d.Changes = append(d.Changes, &PutMitigation{&cp})
}

// finish ends the mitigation, a copy that nobody else has seen yet.
func (m *Mitigation) finish(end EndCause, note string, e Entry) {
	m.Phase, m.End, m.EndedAt, m.EndedBy, m.EndNote = Over, end, e.At, e.By, note
}

// decideEnd notes the end of an attack.
func decideEnd(s *State, sig *Signal, att Attack, known bool, digest [32]byte, e Entry) Decision {
	if !known {
		return observe(CodeUnknownAttack, 0, "attack %q of %s is not known: nothing was done for it", sig.AttackID, sig.Source)
	}
	if att.Ended {
		return Decision{Verdict: Verdict{Kind: Ended, Reason: Reason{CodeRepetition, fmt.Sprintf("the end of attack %q of %s was noted before",
			sig.AttackID, sig.Source)}}}
	}
	attack := &PutAttack{Attack{Source: sig.Source, AttackID: sig.AttackID, Seq: sig.Seq, Digest: digest, Ended: true, At: e.At}}
	d := Decision{Verdict: Verdict{Kind: Ended, Mitigation: att.Mitigation}}
	m, ok := s.Mitigation(att.Mitigation)
	if att.Unanswered {
		attack.Attack.Unanswered = true
		d.Verdict.Reason = Reason{CodeAttackOver, fmt.Sprintf("the end of attack %q of %s is noted; nothing was done about it", sig.AttackID, sig.Source)}
		d.Changes = []Change{attack}
		return d
	}
	note := fmt.Sprintf("%s reports the end of attack %q", sig.Source, sig.AttackID)
	if !ok || m.Phase != Active {
		d.Verdict.Reason = Reason{CodeAttackOver, fmt.Sprintf("the end of attack %q of %s is noted; its mitigation is already over", sig.AttackID, sig.Source)}
		if ended := d.leavePending(s, attack, 0, EndAttackOver, note, e); len(ended) > 0 {
			d.Verdict.Reason.Text = fmt.Sprintf("attack %q of %s is over: %s, which nobody had approved yet, ends", sig.AttackID, sig.Source, mitigationList(ended))
		} else if ok && m.Phase == Pending {
			d.Verdict.Reason.Text = fmt.Sprintf("the end of attack %q of %s is noted; M%d still awaits approval for other causes", sig.AttackID, sig.Source, m.ID)
		}
		d.Changes = append(d.Changes, attack)
		return d
	}
	d.leave(m, attack, EndAttackOver, note, e)
	now := d.Mitigations[0]
	text := fmt.Sprintf("attack %q of %s is over: M%d ends", sig.AttackID, sig.Source, m.ID)
	if now.Phase == Active {
		text = fmt.Sprintf("attack %q of %s is over: M%d stays for %s", sig.AttackID, sig.Source, m.ID,
			plural(len(now.Causes)+now.MoreCauses, "other cause"))
	}
	if now.Phase == Ending {
		text = fmt.Sprintf("attack %q of %s is over: M%d stays announced for a quiet time of %s%s", sig.AttackID, sig.Source, m.ID, span(now.EndsAt.Sub(e.At)), damping(now.Pulses))
	}
	d.Verdict.Reason = Reason{CodeAttackOver, text}
	d.leavePending(s, attack, 0, EndAttackOver, note, e)
	d.Changes = append(d.Changes, attack)
	return d
}

// drill judges an exercise as a preview: the answer tells what would have happened, and nothing is changed.
func drill(s *State, sig *Signal, e Entry) Decision {
	if sig.Kind == SignalEnd {
		return observe(CodeDrill, 0, "drill: the end of attack %q of %s would have been noted", sig.AttackID, sig.Source)
	}
	if d, yes := inQuarantine(s, sig, Attack{}, e); yes {
		return would(CodeDrill, "drill", d)
	}
	p, d := judge(s, sight(s, sig, e.At))
	if p != nil {
		d = settle(s, p, &PutAttack{Attack{Source: sig.Source, AttackID: sig.AttackID, Seq: sig.Seq, At: e.At}}, nil, e)
	}
	if p != nil && p.observes {
		d = would(CodePolicyObserves, fmt.Sprintf("policy %s only observes", p.policy), d)
	}
	return would(CodeDrill, "drill", d)
}

// would turns a decision into one that only says what it would have been, and changes nothing.
func would(code ReasonCode, why string, d Decision) Decision {
	would := "would have been observed only"
	switch d.Verdict.Kind {
	case Mitigated:
		would = "would have been mitigated with " + plural(len(d.Mitigations[0].Rules), "rule")
	case Merged:
		would = fmt.Sprintf("would have been merged into M%d", d.Verdict.Mitigation)
	case AwaitsApproval:
		would = "would have awaited approval with " + plural(len(d.Mitigations[0].Rules), "rule")
	case Refused:
		would = "would have been refused (" + string(d.Verdict.Reason.Code) + ")"
	case Observed, Ended, Retry:
	}
	return observe(code, 0, "%s: %s: %s", why, would, d.Verdict.Reason.Text)
}

// repetition answers a signal that changes nothing.
func repetition(m *Mitigation) Decision {
	if m.Phase == Pending {
		d := m.awaiting(fmt.Sprintf("M%d for this attack still awaits approval", m.ID))
		d.Verdict.Reason.Code = CodeRepetition
		return d
	}
	return Decision{
		Verdict:     Verdict{Kind: Merged, Mitigation: m.ID, Reason: Reason{CodeRepetition, "M" + strconv.FormatUint(uint64(m.ID), 10) + " is already active for this attack"}},
		Mitigations: []*Mitigation{m},
	}
}

// observe is a decision that notes something and changes nothing.
func observe(code ReasonCode, id MitigationID, format string, args ...any) Decision {
	return Decision{Verdict: Verdict{Kind: Observed, Reason: Reason{code, fmt.Sprintf(format, args...)}, Mitigation: id}}
}

// targetsWithin reports whether all of targets lie in the recorded targets of a mitigation.
func targetsWithin(targets, recorded []netip.Prefix) bool {
	return covered(outermost(targets), recorded)
}

func compareStrings(a, b string) int { return cmp.Compare(a, b) }

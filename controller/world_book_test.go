package controller

import (
	"net/netip"
	"slices"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/policy"
)

// book is what the world knows of mitigations from what was asked and answered alone: until when each may be announced,
// which attacks keep it, how long it may stay when they are over.
type book struct {
	of       map[policy.MitigationID]*record
	byAttack map[attackKey]policy.MitigationID
	held     held
	told     map[attackKey]bool // attacks that a signal told of, and none ended yet
	waits    map[policy.MitigationID]*wait
	orders   map[policy.ApprovalID]*waitingOrder
	said     map[attackKey][]saying // what was said of an attack since its last end, the last few
	starts   []began                // by policies, at once
	conduct  map[string]*manners
}

// saying is a signal that was answered at a time.
type saying struct {
	policy.Signal
	at time.Time
}

// record is the book's page of one mitigation. Times without a word are of the log.
type record struct {
	lifetime time.Duration
	bound    time.Time     // it is not announced after that, whatever happens
	trueEnd  time.Duration // the same in true time
	longest  time.Duration // what that was at most: a node may not have heard that an operator made it shorter
	causes   map[attackKey]bool
	quiet    time.Duration // these three as the policy said when it began
	steps    int
	relax    bool
	pulses   int
	calmAt   time.Time // it was extended
	emptyAt  time.Time // its last attack ended; zero: one goes on, or it never had one
	stepAt   time.Time // its step was taken, or an attack came back
	wideAt   time.Time // it narrowed, or began
	narrowed time.Time // it was answered that it narrows
	// What the people and the detectors said of it.
	source    string // the detector that it began with; empty: an operator
	ladder    []policy.Step
	ever      map[attackKey]bool // attacks that are or were its causes
	relaxAsks bool
	approved  time.Time        // something of it was approved last
	glass     time.Time        // nobody approved it, and it lives until then; zero: it is not so
	longer    time.Duration    // a longer life that was asked for,
	longerBy  policy.Principal // and by whom
	reported  []netip.Prefix   // all that was reported of it
	blurred   bool             // it narrowed, so that this is not what it stands for any more
	space     float64          // what it acts on, as a share of all
	seenWide  int              // reports of less than half of it, since wideSince
	wideSince time.Time
}

func newBook() *book {
	return &book{
		of: map[policy.MitigationID]*record{}, byAttack: map[attackKey]policy.MitigationID{}, held: held{quarantined: map[string]time.Time{}}, told: map[attackKey]bool{},
		waits: map[policy.MitigationID]*wait{}, orders: map[policy.ApprovalID]*waitingOrder{}, said: map[attackKey][]saying{}, conduct: map[string]*manners{},
	}
}

// extend lets the mitigation be announced for its lifetime from now.
func (k *record) extend(w *world, slack time.Duration) {
	if until := w.logTime().Add(k.lifetime + slack); until.After(k.bound) {
		k.bound = until
	}
	k.trueEnd = max(k.trueEnd, w.now+k.lifetime+slack)
	k.longest = max(k.longest, k.trueEnd)
}

// clean is when it must be gone after its attacks are over: the quiet time of every step that it may go down.
func (k *record) clean() time.Time {
	quiet := k.damped()
	if k.relax {
		quiet *= time.Duration(k.steps)
	}
	if k.calmAt.After(k.emptyAt) {
		return k.calmAt.Add(quiet)
	}
	return k.emptyAt.Add(quiet)
}

// damped is the quiet time, doubled with each pulse up to eight times.
func (k *record) damped() time.Duration {
	d := k.quiet
	for range min(k.pulses, 3) {
		d *= 2
	}
	return d
}

// done takes note of what was decided about a write.
func (k *book) done(w *world, o *write) error {
	v := o.out.Decision.Verdict
	if v.Kind == policy.Mitigated || v.Kind == policy.Ended || v.Kind == policy.AwaitsApproval {
		k.held.done(o.cmd.Request, w.logTime())
	}
	if o.out.Repeated {
		return nil
	}
	if r, ok := o.cmd.Request.(*policy.ApproveRequest); ok && (v.Reason.Code == policy.CodeApproved || v.Reason.Code == policy.CodeBreakGlass) {
		return k.approved(w, o.cmd.By, r, v)
	}
	if v.Kind == policy.AwaitsApproval {
		k.asked(w, o)
	}
	if v.Kind != policy.Mitigated {
		return nil
	}
	switch r := o.cmd.Request.(type) {
	case *policy.ApplyRequest:
		w.land.accepted(r)
		w.checks.reformed = true
	case *policy.StartRequest:
		rec := &record{lifetime: r.Lifetime, causes: map[attackKey]bool{}, ever: map[attackKey]bool{}}
		if v.Reason.Code == policy.CodeBreakGlass {
			rec.glass = w.logTime().Add(timeWithoutAnswer(w.land.rules))
		} else if m, ok := w.newest().Mitigation(v.Mitigation); ok {
			if err := w.alone(m, string(o.cmd.By)); err != nil {
				return err
			}
		}
		if rec.lifetime == 0 {
			rec.lifetime = w.land.rules.DefaultLifetime
		}
		rec.extend(w, 0)
		k.of[v.Mitigation] = rec
	case *policy.ExtendRequest:
		rec := k.of[r.ID]
		rec.lifetime, rec.bound, rec.trueEnd = r.Lifetime, time.Time{}, 0
		rec.extend(w, 0)
		rec.calmAt = w.logTime() // a quiet time that the lifetime had cut off begins anew
	}
	return nil
}

// answered takes note of a verdict.
func (k *book) answered(w *world, s *policy.Signal, v policy.Verdict) error {
	key := attackKey{s.Source, s.AttackID}
	k.heard(w, key, s, v)
	if v.Kind == policy.Ended {
		k.leave(w, key, 0)
		return nil
	}
	if v.Kind == policy.AwaitsApproval {
		return k.awaits(w, s, v.Mitigation)
	}
	if v.Mitigation == 0 || v.Kind != policy.Mitigated && v.Kind != policy.Merged {
		return nil
	}
	if s.Drill {
		return broken("a drill changes nothing", "the drill %q of %s is answered with M%d: %s", s.AttackID, s.Source, v.Mitigation, v.Reason.Text)
	}
	m, ok := w.newest().Mitigation(v.Mitigation)
	if !ok {
		return broken("an answer is true", "M%d is not there: %s", v.Mitigation, v.Reason.Text)
	}
	if err := w.consented(s, v, m); err != nil {
		return err
	}
	rec := k.of[v.Mitigation]
	if rec == nil {
		page := pageOf(w.land.policies[m.Policy])
		rec = &page
		rec.stepAt, rec.wideAt, rec.source = w.logTime(), w.logTime(), s.Source
		k.of[v.Mitigation] = rec
	}
	if v.Reason.Code != policy.CodeRepetition {
		if p := w.land.policies[m.Policy]; p != nil {
			life := p.Lifetime
			if life == 0 {
				life = w.land.rules.DefaultLifetime
			}
			rec.lifetime = max(rec.lifetime, min(life, w.land.rules.MaxLifetime))
		}
	}
	if v.Reason.Code == policy.CodeNarrowed {
		rec.narrowed = w.logTime()
	}
	if v.Reason.Code == policy.CodeRevived {
		rec.pulses++
		rec.stepAt = w.logTime()
	}
	k.leave(w, key, v.Mitigation)
	rec.causes[key], rec.ever[key], rec.emptyAt = true, true, time.Time{}
	k.byAttack[key] = v.Mitigation
	for _, c := range m.Causes { // those who said the same, and were not sure enough alone, keep it as well
		if other := (attackKey{c.Source, c.AttackID}); k.told[other] && !rec.causes[other] {
			k.leave(w, other, v.Mitigation)
			rec.causes[other], rec.ever[other], k.byAttack[other] = true, true, v.Mitigation
		}
	}
	rec.extend(w, worldTick)
	if v.Reason.Code != policy.CodeMitigated {
		return k.wide(w, rec, m, s)
	}
	for _, check := range [...]func(*world, *policy.Signal, policy.Verdict, *policy.Mitigation) error{
		func(w *world, s *policy.Signal, _ policy.Verdict, m *policy.Mitigation) error {
			return w.promised(s, m)
		},
		func(w *world, s *policy.Signal, _ policy.Verdict, m *policy.Mitigation) error {
			return w.alone(m, s.Source)
		},
		(*world).quorate, (*world).sure, (*world).paced, (*world).gathered,
	} {
		if err := check(w, s, v, m); err != nil {
			return err
		}
	}
	return nil
}

// leave takes an attack away from the mitigation that it kept, unless that is the one named.
func (k *book) leave(w *world, key attackKey, but policy.MitigationID) {
	id := k.byAttack[key]
	rec := k.of[id]
	if rec == nil || id == but {
		return
	}
	delete(k.byAttack, key)
	if delete(rec.causes, key); len(rec.causes) == 0 && rec.emptyAt.IsZero() {
		rec.emptyAt = w.logTime()
	}
}

// promised checks that a new mitigation acts on the packets that the signal tells of, where it may act at all.
func (w *world) promised(s *policy.Signal, m *policy.Mitigation) error {
	p, ok := packetOf(s)
	c, known := w.land.docs[policy.DocumentRef{Kind: policy.KindCustomer, Name: string(m.Customer)}].(*policy.Customer)
	if !ok || known && slices.ContainsFunc(c.Services, func(v policy.Service) bool {
		return v.Protocol == p.Protocol && (len(v.Ports) == 0 || slices.ContainsFunc(v.Ports, func(r flowspec.Range) bool { return r.Lo <= uint64(p.DstPort) && uint64(p.DstPort) <= r.Hi }))
	}) {
		return nil // the customer keeps such packets
	}
	for _, t := range s.Targets {
		for _, p.Dst = range []netip.Addr{t.Addr(), lastOf(t), addressIn(w.r, t)} {
			one := netip.PrefixFrom(p.Dst, p.Dst.BitLen())
			_, protected := w.land.protects(one)
			holds := func(q netip.Prefix) bool { return q.Contains(p.Dst) }
			if protected || w.land.owner(p.Dst) != m.Customer || slices.ContainsFunc(m.Cut.Unprotected, holds) {
				continue
			}
			if !slices.ContainsFunc(m.Rules, func(r flowspec.Rule) bool {
				dst, _ := r.Match.Destination()
				return r.Match.Matches(&p) || m.Action.Kind == policy.RTBH && dst.Contains(p.Dst)
			}) {
				return broken("what is promised is done", "M%d of policy %s takes no packet to %s such as %+v, which %q of %s tells of: %v", m.ID, m.Policy, p.Dst, p, s.AttackID, s.Source, m.Rules)
			}
		}
	}
	return nil
}

// packetOf is a packet such as the signal tells of, but for its destination.
func packetOf(s *policy.Signal) (p flowspec.Packet, ok bool) {
	infos := policy.Vectors() // the table is what the documentation says of them
	i := slices.IndexFunc(infos, func(v policy.VectorInfo) bool { return v.Name == s.Vector })
	if i < 0 {
		return p, false
	}
	info := infos[i]
	p = flowspec.Packet{Src: netip.MustParseAddr("8.8.8.8"), Protocol: 17, HasPorts: true, SrcPort: 4000, DstPort: 9999, Length: 900, TCPFlags: info.FlagsSet, ICMPType: 8}
	if len(s.Protocols) > 0 {
		p.Protocol = s.Protocols[0]
	}
	if len(info.Protocols) > 0 {
		p.Protocol = info.Protocols[0]
	}
	if len(info.SourcePorts) > 0 {
		p.SrcPort = uint16(info.SourcePorts[0].Lo)
	}
	if info.OnlyFragments {
		p.Fragment, p.HasPorts = flowspec.IsFragment, false
	}
	if !s.Targets[0].Addr().Is4() {
		if p.Src = netip.MustParseAddr("2600::1"); p.Protocol == 1 {
			p.Protocol, p.ICMPType = 58, 128
		}
	}
	if len(s.SourcePorts) > 0 {
		return p, false // only liars name them
	}
	if len(s.DestinationPorts) > 0 {
		p.DstPort = uint16(s.DestinationPorts[0].Lo)
	}
	if len(s.PacketLengths) > 0 {
		p.Length = uint32(s.PacketLengths[0].Hi)
	}
	if len(s.SourcePrefixes) > 0 {
		p.Src = s.SourcePrefixes[0].Addr()
	}
	return p, true
}

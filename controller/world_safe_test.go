package controller

import (
	"net/netip"
	"slices"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/policy"
)

// held is who may not start anything, as the world was told: a freeze, and detectors in quarantine. The leader's own
// quarantines are judged by what the detector did, see manners.
type held struct {
	frozen      bool
	frozenUntil time.Time // zero: until it is ended
	frozenAt    time.Time
	quarantined map[string]time.Time // by source; zero: until it is released
}

func (h *held) freezes(t time.Time) bool {
	return h.frozen && (h.frozenUntil.IsZero() || t.Before(h.frozenUntil))
}

func (h *held) holds(source string, t time.Time) bool {
	until, ok := h.quarantined[source]
	return ok && (until.IsZero() || t.Before(until))
}

// done takes note of an order to hold or to let go.
func (h *held) done(r policy.Request, now time.Time) {
	until := func(d time.Duration) (t time.Time) {
		if d > 0 {
			t = now.Add(d)
		}
		return t
	}
	switch r := r.(type) {
	case *policy.WithdrawAllRequest: // a freeze waits for nobody
		if r.Freeze {
			h.frozen, h.frozenUntil, h.frozenAt = true, until(r.FreezeFor), now
		}
	case *policy.FreezeRequest:
		h.frozen, h.frozenUntil, h.frozenAt = true, until(r.Duration), now
	case *policy.UnfreezeRequest:
		h.frozen = false
	case *policy.QuarantineRequest:
		h.quarantined[r.Source] = until(r.Duration)
	case *policy.ReleaseRequest:
		delete(h.quarantined, r.Source)
	}
}

// restrain freezes the cluster, puts a detector into quarantine, or undoes it.
func (w *world) restrain() {
	r := w.r
	source := pick(r, w.detectors...).name
	if w.book.held.frozen {
		w.ask(operator, &policy.UnfreezeRequest{})
		return
	}
	w.ask(operator, pick[policy.Request](r,
		&policy.FreezeRequest{Duration: 20 * time.Minute}, &policy.FreezeRequest{},
		&policy.QuarantineRequest{Source: source, Duration: 30 * time.Minute}, &policy.QuarantineRequest{Source: source}, &policy.ReleaseRequest{Source: source}))
}

// services are what a customer goes on to receive: at all of its space, or at a part.
func (w *world) services(c *policy.Customer) (out []policy.Service) {
	r := w.r
	for range r.IntN(3) {
		s := policy.Service{Protocol: pick[uint8](r, 6, 17, 17, 47)}
		if s.Protocol != 47 {
			s.Ports = pick(r, []flowspec.Range{{Lo: 53, Hi: 53}}, []flowspec.Range{{Lo: 80, Hi: 80}, {Lo: 443, Hi: 443}}, []flowspec.Range{{Lo: 5000, Hi: 5100}})
		}
		if len(c.Official) > 0 && r.IntN(3) > 0 {
			s.Prefixes = []netip.Prefix{narrower(r, pick(r, c.Official...), 0, 8)}
		}
		out = append(out, s)
	}
	return out
}

// consented checks that a mitigation which a policy began or took up again was not held back.
func (w *world) consented(s *policy.Signal, v policy.Verdict, m *policy.Mitigation) error {
	const name = "what is held back does not start"
	now := w.logTime()
	if v.Reason.Code != policy.CodeMitigated && v.Reason.Code != policy.CodeRevived {
		return nil
	}
	if w.book.held.freezes(now) {
		return broken(name, "M%d is %s for %q of %s, and the cluster is frozen", m.ID, v.Reason.Code, s.AttackID, s.Source)
	}
	if w.book.held.holds(s.Source, now) {
		return broken(name, "M%d is %s for %q of %s, which is in quarantine", m.ID, v.Reason.Code, s.AttackID, s.Source)
	}
	c, ok := w.land.docs[policy.DocumentRef{Kind: policy.KindCustomer, Name: string(m.Customer)}].(*policy.Customer)
	if ok && (c.Mitigation != policy.ConsentAuto || slices.Contains(c.ManualVectors, s.Vector)) {
		return broken(name, "M%d is %s for customer %s, which is mitigated for by hand", m.ID, v.Reason.Code, c.ID)
	}
	return nil
}

// spared: no rule that holds packets back takes a packet to an allowed service, and no blackhole its address.
func (sc *scene) spared() error {
	const name = "allowed services pass"
	for _, m := range sc.fresh() {
		c, ok := sc.land.docs[policy.DocumentRef{Kind: policy.KindCustomer, Name: string(m.Customer)}].(*policy.Customer)
		if !ok || m.Action.Kind == policy.Mark || m.Action.Copy {
			continue
		}
		for i := range m.Rules {
			dst, _ := m.Rules[i].Match.Destination()
			for _, s := range c.Services {
				at := []netip.Prefix{dst}
				if len(s.Prefixes) > 0 {
					at = nil
					for _, p := range s.Prefixes {
						if p.Overlaps(dst) && p.Bits() > dst.Bits() {
							at = append(at, p)
						} else if p.Overlaps(dst) {
							at = append(at, dst)
						}
					}
				}
				for _, p := range at {
					if err := sc.takes(name, m, &m.Rules[i], &s, p); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// takes fails if a rule takes a packet of the service to an address of p.
func (sc *scene) takes(name string, m *policy.Mitigation, r *flowspec.Rule, s *policy.Service, p netip.Prefix) error {
	if m.Action.Kind == policy.RTBH {
		return broken(name, "M%d blackholes %s, where customer %s keeps %s", m.ID, p, m.Customer, s.Text())
	}
	packet := flowspec.Packet{Src: netip.MustParseAddr("8.8.8.8"), Dst: addressIn(sc.w.r, p), Protocol: s.Protocol, HasPorts: s.Protocol != 47, SrcPort: 4000, DstPort: 7, Length: 900}
	if !packet.Dst.Is4() {
		packet.Src = netip.MustParseAddr("2600::1")
	}
	for i := range r.Match.Components { // as much like the attack as it may be
		switch c := &r.Match.Components[i]; c.Type {
		case flowspec.SourcePrefix:
			packet.Src = c.Prefix.Addr()
		case flowspec.SourcePort:
			packet.SrcPort = uint16(c.Ops[0].Value)
		case flowspec.PacketLength:
			packet.Length = uint32(c.Ops[0].Value)
		case flowspec.TCPFlags:
			packet.TCPFlags = uint16(c.Ops[0].Value)
		default:
		}
	}
	ports := []uint16{packet.DstPort}
	for _, q := range s.Ports {
		ports = append(ports, uint16(q.Lo), uint16(q.Hi))
	}
	if len(s.Ports) > 0 {
		ports = ports[1:]
	}
	for _, packet.DstPort = range ports {
		if r.Match.Matches(&packet) {
			return broken(name, "M%d takes %+v by %s, and customer %s keeps %s", m.ID, packet, r, m.Customer, s.Text())
		}
	}
	return nil
}

// kept: what policies began does not reach into what is kept for operators.
func (sc *scene) kept() error {
	share, limit := sc.land.rules.OperatorShare, sc.land.rules.MaxMitigations
	if share == 0 || sc.reformed {
		return nil
	}
	total, began := 0, false
	for m := range sc.s.Active() {
		total++
		if sc.before[m.ID] == nil {
			if m.Origin == policy.FromOperator {
				return nil
			}
			began = true
		}
	}
	if most := limit - int(float64(limit)*share/100); began && total > len(sc.before) && total > most {
		return broken("a share is kept for operators", "policies brought the number of mitigations to %d; of %d %v %% are kept for operators", total, limit, share)
	}
	return nil
}

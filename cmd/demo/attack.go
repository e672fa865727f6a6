package demo

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/cmd/output"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// attackOn reports an attack and follows its rules to the router.
func (d *demo) attackOn(ctx context.Context, a *attack, sessions int) (*pb.Mitigation, []flowspec.Key, error) {
	v, err := d.detector.report(ctx, a)
	if err != nil {
		return nil, nil, err
	}
	d.s.fact("Signal %s: %s toward %s, %s.", a.signal.GetAttackId(), a.signal.GetVector(), join(a.signal.GetTargets()), gbps(a.signal.GetBitsPerSecond()))
	if err := d.s.check(v.GetKind() == pb.VerdictKind_VERDICT_KIND_MITIGATED && a.mitigation != "", "%s %s, %s after the signal: %s",
		output.VerdictWord(v.GetKind()), a.mitigation, ms(a.judged.Sub(a.sent)), v.GetText()); err != nil {
		return nil, nil, err
	}
	d.attacks = append(d.attacks, *a)
	m, err := d.get(ctx, a.mitigation)
	if err != nil {
		return nil, nil, err
	}
	keys, err := keysOf(m)
	if err != nil {
		return nil, nil, err
	}
	if err := d.waitHeard(ctx, keys, sessions); err != nil {
		return nil, nil, err
	}
	first, last := d.arrivals(keys, a.sent)
	if err := d.s.check(len(keys) > 0, "edge1 heard the first rule %s after the signal left the detector, and all %s from %d nodes after %s.",
		ms(first), plural(len(keys), "rule"), sessions, ms(last)); err != nil {
		return nil, nil, err
	}
	return m, keys, nil
}

// get reads a mitigation. A node answers from its own copy of the state, which may be some milliseconds behind the
// leader's, so that what was just committed may have to be asked for again.
func (d *demo) get(ctx context.Context, id string) (*pb.Mitigation, error) {
	var m *pb.Mitigation
	err := until(ctx, "reading "+id, func(ctx context.Context) (bool, error) {
		r, err := d.operator.Mitigations.Get(ctx, &pb.GetRequest{Id: id})
		if status.Code(err) == codes.NotFound {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("cannot get %s: %w", id, err)
		}
		m = r.GetMitigation()
		return true, nil
	})
	return m, err
}

// verify compares what the router decoded with what was decided.
func (d *demo) verify(m *pb.Mitigation, keys []flowspec.Key) error {
	d.s.fact("As the router decoded them:")
	d.show(keys)
	err := d.sameRules(m, keys)
	text := fmt.Sprintf("On every session the router decoded the rules of %s exactly as decided.", m.GetId())
	if err != nil {
		text = err.Error()
	}
	if err := d.s.check(err == nil, "%s", text); err != nil {
		return err
	}
	return d.s.check(d.marked(keys), "Every path carries NO_EXPORT: no rule leaves the router's own network.")
}

func (d *demo) flood(ctx context.Context) error {
	if err := d.openDetector(ctx); err != nil {
		return err
	}
	a := &attack{signal: &pb.Signal{
		AttackId: "dns-1", Seq: 1, Kind: pb.SignalKind_SIGNAL_KIND_START, Targets: []string{"203.0.113.10/32"},
		Vector: "dns_amplification", BitsPerSecond: 4.2e9, PacketsPerSecond: 380e3, Confidence: 0.97,
	}}
	m, keys, err := d.attackOn(ctx, a, len(d.lab.members))
	if err != nil {
		return err
	}
	if err := d.verify(m, keys); err != nil {
		return err
	}
	for _, n := range m.GetNotes() {
		d.s.detail("note: %s", n)
	}
	again, err := d.detector.once(a.signal)
	if err != nil {
		return err
	}
	if err := d.s.check(again.GetKind() == pb.VerdictKind_VERDICT_KIND_MERGED && again.GetMitigation() == m.GetId(),
		"The same signal again changes nothing: %s.", output.VerdictWord(again.GetKind())); err != nil {
		return err
	}
	return d.refused(ctx)
}

// refused reports an attack on a link address: nothing may come of it.
func (d *demo) refused(ctx context.Context) error {
	before, _ := d.router.Counts()
	a := &attack{signal: &pb.Signal{
		AttackId: "link-1", Seq: 1, Kind: pb.SignalKind_SIGNAL_KIND_START, Targets: []string{"203.0.113.5/32"},
		Vector: "dns_amplification", BitsPerSecond: 1e9, Confidence: 0.9,
	}}
	v, err := d.detector.report(ctx, a)
	if err != nil {
		return err
	}
	d.s.fact("Signal link-1: the same attack toward 203.0.113.5, the customer's end of its link.")
	after, _ := d.router.Counts()
	return d.s.check(v.GetKind() == pb.VerdictKind_VERDICT_KIND_REFUSED && before == after, "%s (%s): %s", output.VerdictWord(v.GetKind()), v.GetCode(), v.GetText())
}

func (d *demo) carpet(ctx context.Context) error {
	a := &attack{signal: &pb.Signal{
		AttackId: "carpet-1", Seq: 1, Kind: pb.SignalKind_SIGNAL_KIND_START, Targets: []string{"203.0.113.0/24"},
		Vector: "carpet_bombing", Protocols: []uint32{17}, SourcePorts: []*pb.Range{{Low: 123}}, BitsPerSecond: 11e9, Confidence: 0.9,
	}}
	m, keys, err := d.attackOn(ctx, a, len(d.lab.members))
	if err != nil {
		return err
	}
	if err := d.verify(m, keys); err != nil {
		return err
	}
	d.s.fact("%s acts on %s of 203.0.113.0/24: %s.", m.GetId(), plural(len(m.GetPieces()), "piece"), join(m.GetPieces()))
	var exempt []string
	for _, e := range m.GetExempt() {
		exempt = append(exempt, output.Exemption(e))
	}
	d.s.fact("Exempt: %s.", join(exempt))
	if m.GetRatePerRule() != "" {
		d.s.fact("The rate of %s is shared: %s per rule, so that all rules together let no more pass.", m.GetAction().GetRate(), m.GetRatePerRule())
	}
	// A packet of the attack to each of the 256 addresses, held against the rules as the router has them. Link
	// 203.0.113.4/30 and the nested customer's 203.0.113.64/27 are 4 + 32 addresses.
	packet := flowspec.Packet{Src: netip.MustParseAddr("192.0.2.250"), Protocol: 17, HasPorts: true, SrcPort: 123, DstPort: 40000, Length: 468}
	acted, spared := d.actedOn(netip.MustParsePrefix("203.0.113.0/24"), packet)
	wrong := 0
	for _, s := range spared {
		if !netip.MustParsePrefix("203.0.113.4/30").Contains(s) && !netip.MustParsePrefix("203.0.113.64/27").Contains(s) {
			wrong++
		}
	}
	return d.s.check(acted == 220 && len(spared) == 36 && wrong == 0,
		"One attack packet to each of the 256 addresses, judged by the router's rules: %d are acted on, %d pass: the 4 of the link and the 32 of the nested customer.", acted, len(spared))
}

func (d *demo) six(ctx context.Context) error {
	a := &attack{signal: &pb.Signal{
		AttackId: "dns-6", Seq: 1, Kind: pb.SignalKind_SIGNAL_KIND_START, Targets: []string{"2001:db8:a:1::53/128"},
		Vector: "dns_amplification", BitsPerSecond: 2.1e9, Confidence: 0.95,
	}}
	m, keys, err := d.attackOn(ctx, a, len(d.lab.members))
	if err != nil {
		return err
	}
	return d.verify(m, keys)
}

func (d *demo) calm(ctx context.Context) error {
	before := d.router.Table().Len()
	began := time.Now()
	for _, a := range d.attacks {
		a.signal.Kind, a.signal.Seq = pb.SignalKind_SIGNAL_KIND_END, a.signal.GetSeq()+1
		v, err := d.detector.report(ctx, &a)
		if err != nil {
			return err
		}
		if err := d.s.check(v.GetKind() == pb.VerdictKind_VERDICT_KIND_ENDED, "Signal %s ends, %s: %s", a.signal.GetAttackId(), output.VerdictWord(v.GetKind()), v.GetText()); err != nil {
			return err
		}
	}
	for _, id := range d.byHand {
		r, err := d.operator.Mitigations.Withdraw(ctx, &pb.WithdrawRequest{RequestId: "demo-withdraw-" + id, Reason: "demo is over", Id: id})
		if err != nil {
			return fmt.Errorf("cannot withdraw %s: %w", id, err)
		}
		if err := d.s.check(r.GetMitigation().GetPhase() == "over", "The operator withdraws %s; a node that is cut off would stop at %s at the latest.",
			id, r.GetGoneAtLatest().AsTime().Local().Format(time.TimeOnly)); err != nil {
			return err
		}
	}
	if err := d.waitEmpty(ctx); err != nil {
		return err
	}
	if err := d.s.check(d.router.Table().Len() == 0, "edge1's table is empty again: %s gone from every session %s after the first end was reported.",
		plural(before, "rule"), ms(d.lastLoss().Sub(began))); err != nil {
		return err
	}
	r, err := d.operator.Mitigations.List(ctx, &pb.ListRequest{IncludeOver: true})
	if err != nil {
		return err
	}
	var over []string
	for _, m := range r.GetMitigations() {
		over = append(over, m.GetId()+" "+m.GetEnd())
	}
	d.s.fact("What is remembered: %s.", strings.Join(over, ", "))
	return nil
}

func gbps(bits float64) string { return fmt.Sprintf("%.1f Gbit/s", bits/1e9) }

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

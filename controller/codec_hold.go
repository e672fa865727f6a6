package controller

import (
	"github.com/tidegate/tidegate/policy"
	raftv1 "github.com/tidegate/tidegate/proto/tidegate/raft/v1"
)

// What bounds policies and detectors, and what holds them back.

func packWidths(w policy.Widths) *raftv1.Widths {
	if w == (policy.Widths{}) {
		return nil
	}
	return &raftv1.Widths{Ipv4: uint32(w.IPv4), Ipv6: uint32(w.IPv6)}
}

func (c *codec) widths(w *raftv1.Widths) policy.Widths {
	return policy.Widths{IPv4: number[uint8](c, w.GetIpv4()), IPv6: number[uint8](c, w.GetIpv6())}
}

func packWidest(w *policy.WidestByAction) *raftv1.WidestByAction {
	if *w == (policy.WidestByAction{}) {
		return nil
	}
	return &raftv1.WidestByAction{
		Discard: packWidths(w.Discard), Rate: packWidths(w.Rate), Redirect: packWidths(w.Redirect), Rtbh: packWidths(w.RTBH), Mark: packWidths(w.Mark),
	}
}

func (c *codec) widest(w *raftv1.WidestByAction) policy.WidestByAction {
	return policy.WidestByAction{
		Discard: c.widths(w.GetDiscard()), Rate: c.widths(w.GetRate()), Redirect: c.widths(w.GetRedirect()), RTBH: c.widths(w.GetRtbh()), Mark: c.widths(w.GetMark()),
	}
}

func packConfidence(f *policy.ConfidenceByAction) *raftv1.ConfidenceByAction {
	if *f == (policy.ConfidenceByAction{}) {
		return nil
	}
	return &raftv1.ConfidenceByAction{Discard: f.Discard, Rate: f.Rate, Redirect: f.Redirect, Rtbh: f.RTBH, Mark: f.Mark}
}

func confidence(f *raftv1.ConfidenceByAction) policy.ConfidenceByAction {
	return policy.ConfidenceByAction{Discard: f.GetDiscard(), Rate: f.GetRate(), Redirect: f.GetRedirect(), RTBH: f.GetRtbh(), Mark: f.GetMark()}
}

func packThresholds(q *policy.QuarantineThresholds) *raftv1.QuarantineThresholds {
	if *q == (policy.QuarantineThresholds{}) {
		return nil
	}
	return &raftv1.QuarantineThresholds{
		WrongTargets: int64(q.WrongTargets), SeqConflicts: int64(q.SeqConflicts), TooFastMinutes: int64(q.TooFastMinutes), Duration: span(q.Duration),
	}
}

func (c *codec) thresholds(q *raftv1.QuarantineThresholds) policy.QuarantineThresholds {
	return policy.QuarantineThresholds{
		WrongTargets: number[int](c, q.GetWrongTargets()), SeqConflicts: number[int](c, q.GetSeqConflicts()),
		TooFastMinutes: number[int](c, q.GetTooFastMinutes()), Duration: c.duration(q.GetDuration()),
	}
}

// packHold is packChange for what holds policies and detectors back; nil for any other change.
func packHold(ch policy.Change) *raftv1.Change {
	switch ch := ch.(type) {
	case *policy.PutFreeze:
		f := &ch.Freeze
		return &raftv1.Change{Change: &raftv1.Change_PutFreeze{PutFreeze: &raftv1.PutFreeze{
			Freeze: &raftv1.Freeze{By: string(f.By), Reason: f.Reason, Since: stamp(f.Since), Until: stamp(f.Until)},
		}}}
	case *policy.EndFreeze:
		return &raftv1.Change{Change: &raftv1.Change_EndFreeze{EndFreeze: &raftv1.EndFreeze{}}}
	case *policy.PutQuarantine:
		q := &ch.Quarantine
		return &raftv1.Change{Change: &raftv1.Change_PutQuarantine{PutQuarantine: &raftv1.PutQuarantine{Quarantine: &raftv1.Quarantine{
			Source: q.Source, By: string(q.By), Reason: q.Reason, Since: stamp(q.Since), Until: stamp(q.Until), Automatic: q.Automatic,
		}}}}
	case *policy.EndQuarantine:
		return &raftv1.Change{Change: &raftv1.Change_EndQuarantine{EndQuarantine: &raftv1.EndQuarantine{Source: ch.Source}}}
	}
	return nil
}

// hold is the way back; nil for any other change.
func (c *codec) hold(ch *raftv1.Change) policy.Change {
	switch ch := ch.GetChange().(type) {
	case *raftv1.Change_PutFreeze:
		f := ch.PutFreeze.GetFreeze()
		return &policy.PutFreeze{Freeze: policy.Freeze{
			By: policy.Principal(f.GetBy()), Reason: f.GetReason(), Since: c.time(f.GetSince()), Until: c.time(f.GetUntil()),
		}}
	case *raftv1.Change_EndFreeze:
		return &policy.EndFreeze{}
	case *raftv1.Change_PutQuarantine:
		q := ch.PutQuarantine.GetQuarantine()
		return &policy.PutQuarantine{Quarantine: policy.Quarantine{
			Source: q.GetSource(), By: policy.Principal(q.GetBy()), Reason: q.GetReason(), Since: c.time(q.GetSince()), Until: c.time(q.GetUntil()),
			Automatic: q.GetAutomatic(),
		}}
	case *raftv1.Change_EndQuarantine:
		return &policy.EndQuarantine{Source: ch.EndQuarantine.GetSource()}
	}
	return nil
}

package api

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tidegate/tidegate/policy"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// consentAuto is the word for the consent that a customer has given who says nothing.
const consentAuto = "auto"

func consent(s string) policy.Consent {
	if s == consentAuto {
		return policy.ConsentAuto
	}
	return policy.Consent(s) // what it may be is for policy to say
}

// bounds reads what the safeguards bound by action, by share and by time, into what holds without it.
func (v *violations) bounds(out *policy.Safeguards, in *tidegatev1.Safeguards) {
	out.Widest = policy.WidestByAction{
		Discard:  v.widths("widest.discard", in.GetWidest().GetDiscard()),
		Rate:     v.widths("widest.rate", in.GetWidest().GetRate()),
		Redirect: v.widths("widest.redirect", in.GetWidest().GetRedirect()),
		RTBH:     v.widths("widest.rtbh", in.GetWidest().GetRtbh()),
		Mark:     v.widths("widest.mark", in.GetWidest().GetMark()),
	}
	f := in.GetMinConfidence()
	out.MinConfidence = policy.ConfidenceByAction{
		Discard: f.GetDiscard(), Rate: f.GetRate(), Redirect: f.GetRedirect(), RTBH: f.GetRtbh(), Mark: f.GetMark(),
	}
	if in.OperatorShare != nil {
		out.OperatorShare = in.GetOperatorShare()
	}
	if in.SourceShare != nil {
		out.SourceShare = in.GetSourceShare()
	}
	q := in.GetQuarantine()
	if q == nil {
		q = &tidegatev1.QuarantineThresholds{}
	}
	for _, n := range []struct {
		to   *int
		from *uint32
	}{
		{&out.MaxRules, in.MaxRules},
		{&out.MaxStartsPerMinute, in.MaxStartsPerMinute},
		{&out.MaxStartsPerMinutePerSource, in.MaxStartsPerMinutePerSource},
		{&out.MaxRulesPerMinute, in.MaxRulesPerMinute},
		{&out.Quarantine.WrongTargets, q.WrongTargets},
		{&out.Quarantine.SeqConflicts, q.SeqConflicts},
		{&out.Quarantine.TooFastMinutes, q.TooFastMinutes},
	} {
		if n.from != nil {
			*n.to = int(*n.from)
		}
	}
	if in.MaxStartsPerMinutePerSource == nil && out.MaxStartsPerMinute > 0 {
		// Who lowers the one and is silent about the other does not mean that one detector may do more than all.
		out.MaxStartsPerMinutePerSource = min(out.MaxStartsPerMinutePerSource, max(1, out.MaxStartsPerMinute/2))
	}
	if q.GetDuration() != nil {
		out.Quarantine.Duration = v.duration("quarantine.duration", q.GetDuration(), false)
	}
}

func (v *violations) widths(field string, in *tidegatev1.Widths) policy.Widths {
	return policy.Widths{
		IPv4: v.octet(field+".ipv4", in.GetIpv4(), "a prefix length, such as 24"),
		IPv6: v.octet(field+".ipv6", in.GetIpv6(), "a prefix length, such as 48"),
	}
}

// boundsProto is the way back of bounds.
func boundsProto(out *tidegatev1.Safeguards, x *policy.Safeguards) {
	w := &x.Widest
	out.Widest = &tidegatev1.WidestByAction{
		Discard: widthsProto(w.Discard), Rate: widthsProto(w.Rate), Redirect: widthsProto(w.Redirect), Rtbh: widthsProto(w.RTBH), Mark: widthsProto(w.Mark),
	}
	if *w == (policy.WidestByAction{}) {
		out.Widest = nil
	}
	if f := x.MinConfidence; f != (policy.ConfidenceByAction{}) {
		out.MinConfidence = &tidegatev1.ConfidenceByAction{Discard: f.Discard, Rate: f.Rate, Redirect: f.Redirect, Rtbh: f.RTBH, Mark: f.Mark}
	}
	number := func(n int) *uint32 { v := uint32(n); return &v }
	operators, source := x.OperatorShare, x.SourceShare
	out.OperatorShare, out.SourceShare = &operators, &source
	out.MaxRules, out.MaxRulesPerMinute = number(x.MaxRules), number(x.MaxRulesPerMinute)
	out.MaxStartsPerMinute, out.MaxStartsPerMinutePerSource = number(x.MaxStartsPerMinute), number(x.MaxStartsPerMinutePerSource)
	q := &x.Quarantine
	out.Quarantine = &tidegatev1.QuarantineThresholds{
		WrongTargets: number(q.WrongTargets), SeqConflicts: number(q.SeqConflicts), TooFastMinutes: number(q.TooFastMinutes),
		Duration: durationProto(x.QuarantineFor()),
	}
}

func widthsProto(w policy.Widths) *tidegatev1.Widths {
	if w == (policy.Widths{}) {
		return nil
	}
	return &tidegatev1.Widths{Ipv4: uint32(w.IPv4), Ipv6: uint32(w.IPv6)}
}

// freezeProto is the freeze of s; nil if there is none.
func freezeProto(s *policy.State) *tidegatev1.Freeze {
	f, frozen := s.Frozen()
	if !frozen {
		return nil
	}
	return &tidegatev1.Freeze{By: string(f.By), Reason: f.Reason, Since: timeProto(f.Since), Until: timeProto(f.Until)}
}

func quarantineProto(q *policy.Quarantine) *tidegatev1.Quarantine {
	return &tidegatev1.Quarantine{
		Detector: q.Source, By: string(q.By), Reason: q.Reason, Since: timeProto(q.Since), Until: timeProto(q.Until), Automatic: q.Automatic,
	}
}

// within reads a duration that may be left out.
func (v *violations) within(field string, d *durationpb.Duration) time.Duration {
	if d == nil {
		return 0
	}
	return v.duration(field, d, true)
}

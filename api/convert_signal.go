package api

import (
	"fmt"
	"math"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/policy"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// signalParser reads signals; it is made once, because the vectors are.
type signalParser struct {
	vectors map[policy.Vector]bool
}

func newSignalParser() *signalParser {
	p := &signalParser{vectors: make(map[policy.Vector]bool)}
	for _, info := range policy.Vectors() {
		p.vectors[info.Name] = true
	}
	return p
}

// signal reads one signal of the source. With violations the signal means nothing.
func (p *signalParser) signal(v *violations, source string, in *tidegatev1.Signal) policy.Signal {
	out := policy.Signal{
		Source:           source,
		AttackID:         in.GetAttackId(),
		Seq:              in.GetSeq(),
		Vector:           policy.Vector(in.GetVector()),
		BitsPerSecond:    in.GetBitsPerSecond(),
		PacketsPerSecond: in.GetPacketsPerSecond(),
		Confidence:       in.GetConfidence(),
		Drill:            in.GetDrill(),
	}
	if !v.tooLong("attack_id", out.AttackID, policy.MaxAttackID) {
		v.text("attack_id", out.AttackID, policy.MaxAttackID, "name the attack, as in later signals about it")
	}
	switch in.GetKind() {
	case tidegatev1.SignalKind_SIGNAL_KIND_START:
		out.Kind = policy.SignalStart
	case tidegatev1.SignalKind_SIGNAL_KIND_UPDATE:
		out.Kind = policy.SignalUpdate
	case tidegatev1.SignalKind_SIGNAL_KIND_END:
		out.Kind = policy.SignalEnd
	case tidegatev1.SignalKind_SIGNAL_KIND_UNSPECIFIED:
		v.add("kind", "it is missing", "say start, update or end")
	default:
		v.add("kind", fmt.Sprintf("%d is not a kind of signal", in.GetKind()), "say start, update or end")
	}
	end := out.Kind == policy.SignalEnd
	p.target(v, in, &out, end)
	if in.GetVector() == "" {
		if !end {
			v.add("vector", "it is missing", policy.VectorFix("write", ""))
		}
	} else if !p.vectors[out.Vector] {
		v.add("vector", quote(in.GetVector())+" is not a known vector", policy.VectorFix("write", out.Vector))
	}
	out.SourcePorts = v.ranges("source_ports", "port", in.GetSourcePorts())
	out.DestinationPorts = v.ranges("destination_ports", "port", in.GetDestinationPorts())
	out.PacketLengths = v.ranges("packet_lengths", "packet length", in.GetPacketLengths())
	v.rate("bits_per_second", out.BitsPerSecond)
	v.rate("packets_per_second", out.PacketsPerSecond)
	if c := out.Confidence; !(c >= 0 && c <= 1) { // NaN is refused too
		v.add("confidence", fmt.Sprintf("%v is not between 0 and 1", c), "write a number from 0 to 1, or 0 for not stated")
	}
	if at := in.GetDetectedAt(); at != nil {
		if at.CheckValid() != nil {
			v.add("detected_at", "it is not a valid time", "write a time between the years 1 and 9999")
		} else {
			out.DetectedAt = at.AsTime()
		}
	}
	return out
}

// target reads what the attack is aimed at and where it comes from.
func (p *signalParser) target(v *violations, in *tidegatev1.Signal, out *policy.Signal, end bool) {
	if len(in.GetTargets()) == 0 && !end {
		v.add("targets", "there is none", "name the attacked prefixes or addresses")
	}
	if v.tooMany("targets", len(in.GetTargets()), policy.MaxTargets) || v.tooMany("source_prefixes", len(in.GetSourcePrefixes()), policy.MaxSourcePrefixes) ||
		v.tooMany("protocols", len(in.GetProtocols()), policy.MaxProtocols) {
		return
	}
	var family, from flowspec.Family
	out.Targets, family = v.networks("targets", in.GetTargets(), true, true)
	out.SourcePrefixes, from = v.networks("source_prefixes", in.GetSourcePrefixes(), true, true)
	if family != 0 && from != 0 && family != from {
		v.add("source_prefixes", fmt.Sprintf("they are %s, the targets are %s", from, family), "send one signal per address family")
	}
	for i, n := range in.GetProtocols() {
		if n > math.MaxUint8 {
			v.add(item("protocols", i), fmt.Sprintf("protocol %d is above 255", n), "write an IP protocol number, such as 17 for UDP")
			continue
		}
		out.Protocols = append(out.Protocols, uint8(n))
	}
}

// rate checks a measured rate.
func (v *violations) rate(field string, r float64) {
	if !(r >= 0) || math.IsInf(r, 0) { // NaN is refused too
		v.add(field, fmt.Sprintf("%v is not a rate", r), "write a number from 0, or 0 for not measured")
	}
}

func verdictProto(in policy.Verdict) *tidegatev1.Verdict {
	out := &tidegatev1.Verdict{
		Code:       string(in.Reason.Code),
		Text:       in.Reason.Text,
		Mitigation: formatID(in.Mitigation),
		Kind:       verdictKind(in.Kind),
		Approval:   approvalOf(in),
	}
	if in.Kind == policy.Retry {
		out.RetryAfter = durationProto(in.RetryAfter)
	}
	return out
}

func verdictKind(k policy.VerdictKind) tidegatev1.VerdictKind {
	switch k {
	case policy.Mitigated:
		return tidegatev1.VerdictKind_VERDICT_KIND_MITIGATED
	case policy.Merged:
		return tidegatev1.VerdictKind_VERDICT_KIND_MERGED
	case policy.Observed:
		return tidegatev1.VerdictKind_VERDICT_KIND_OBSERVED
	case policy.Ended:
		return tidegatev1.VerdictKind_VERDICT_KIND_ENDED
	case policy.Refused:
		return tidegatev1.VerdictKind_VERDICT_KIND_REFUSED
	case policy.Retry:
		return tidegatev1.VerdictKind_VERDICT_KIND_RETRY
	case policy.AwaitsApproval:
		return tidegatev1.VerdictKind_VERDICT_KIND_PENDING
	default:
		return tidegatev1.VerdictKind_VERDICT_KIND_UNSPECIFIED
	}
}

// malformedVerdict answers a signal that cannot be read.
func malformedVerdict(list []*tidegatev1.FieldViolation) *tidegatev1.Verdict {
	return &tidegatev1.Verdict{
		Kind:       tidegatev1.VerdictKind_VERDICT_KIND_REFUSED,
		Code:       string(policy.CodeMalformed),
		Text:       sentence(list),
		Violations: bounded(list),
	}
}

// MalformedVerdict is the verdict on a signal that could not be read, for adapters that read other forms of signals.
func MalformedVerdict(list []*tidegatev1.FieldViolation) *tidegatev1.Verdict {
	return malformedVerdict(list)
}

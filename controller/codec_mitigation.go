package controller

import (
	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/policy"
	raftv1 "github.com/tidegate/tidegate/proto/tidegate/raft/v1"
)

func endCauses() []policy.EndCause {
	return []policy.EndCause{
		"", policy.EndExpired, policy.EndWithdrawn, policy.EndAttackOver, policy.EndSuperseded, policy.EndNothingLeft,
		policy.EndNotApproved, policy.EndRejected,
	}
}

func exemptionKinds() []policy.ExemptionKind {
	return []policy.ExemptionKind{
		"", policy.ExemptLink, policy.ExemptBlock, policy.ExemptNested, policy.ExemptBuiltIn,
	}
}

func (c *codec) packMitigation(m *policy.Mitigation) *raftv1.Mitigation {
	return &raftv1.Mitigation{
		Id:       uint64(m.ID),
		Customer: string(m.Customer),
		Origin:   enumerated[raftv1.Origin](c, m.Origin, raftv1.Origin_name, "origin"),
		Policy:   m.Policy,
		Vector:   string(m.Vector),
		Source:   m.Source,
		Targets:  list(m.Targets, packPrefix),
		Variants: list(m.Variants, c.packMatch),
		Action:   c.packAction(m.Action),
		Cut:      c.packCut(m.Cut),
		Rules:    list(m.Rules, c.packRule),
		Notes:    m.Notes,
		Groups:   m.Groups,
		Lifetime: span(m.Lifetime),
		Created:  stamp(m.Created),
		Expires:  stamp(m.Expires),
		By:       string(m.By),
		Reason:   packReason(m.Reason),
		Causes: list(m.Causes, func(v policy.Cause) *raftv1.Cause {
			return &raftv1.Cause{Source: v.Source, AttackId: v.AttackID, Since: stamp(v.Since)}
		}),
		MoreCauses: int64(m.MoreCauses),
		Ladder:     list(m.Ladder, c.packStep),
		Step:       int64(m.Step),
		StepSince:  stamp(m.StepSince),
		Matches:    list(m.Matches, c.packMatch),
		Blocked:    packReasonOf(m.Blocked),
		History:    list(m.History, packEvent),
		Quiet:      span(m.Quiet),
		Relax:      string(m.Relax),
		Pulses:     int64(m.Pulses),
		EndsAt:     stamp(m.EndsAt),
		Awaits:     c.packAsk(m.Awaits),
		ApprovedBy: string(m.ApprovedBy),
		ApprovedAt: stamp(m.ApprovedAt),
		Capped:     packReasonOf(m.Capped),

		BreakGlassUntil: stamp(m.BreakGlassUntil),
		NearMisses: list(m.NearMisses, func(n policy.NearMiss) *raftv1.NearMiss {
			return &raftv1.NearMiss{Policy: n.Policy, Why: n.Why}
		}),
		Services:   list(m.Services, c.packService),
		Confidence: m.Confidence,
		Reported:   list(m.Reported, packPrefix),
		Phase:      enumerated[raftv1.Phase](c, m.Phase, raftv1.Phase_name, "phase"),
		End:        wordToEnum[raftv1.EndCause](c, m.End, endCauses(), "end"),
		EndedAt:    stamp(m.EndedAt),
		EndedBy:    string(m.EndedBy),
		EndNote:    m.EndNote,
		Changed:    uint64(m.Changed),
	}
}

func (c *codec) mitigation(m *raftv1.Mitigation) *policy.Mitigation {
	return &policy.Mitigation{
		ID:       policy.MitigationID(m.GetId()),
		Customer: policy.CustomerID(m.GetCustomer()),
		Origin:   enumerated[policy.Origin](c, m.GetOrigin(), raftv1.Origin_name, "origin"),
		Policy:   m.GetPolicy(),
		Vector:   policy.Vector(m.GetVector()),
		Source:   m.GetSource(),
		Targets:  c.prefixes(m.GetTargets()),
		Variants: list(m.GetVariants(), c.match),
		Action:   c.action(m.GetAction()),
		Cut:      c.cut(m.GetCut()),
		Rules:    list(m.GetRules(), c.rule),
		Notes:    m.GetNotes(),
		Groups:   m.GetGroups(),
		Lifetime: c.duration(m.GetLifetime()),
		Created:  c.time(m.GetCreated()),
		Expires:  c.time(m.GetExpires()),
		By:       policy.Principal(m.GetBy()),
		Reason:   reason(m.GetReason()),
		Causes: list(m.GetCauses(), func(v *raftv1.Cause) policy.Cause {
			return policy.Cause{Source: v.GetSource(), AttackID: v.GetAttackId(), Since: c.time(v.GetSince())}
		}),
		MoreCauses: number[int](c, m.GetMoreCauses()),
		Ladder:     list(m.GetLadder(), c.step),
		Step:       number[int](c, m.GetStep()),
		StepSince:  c.time(m.GetStepSince()),
		Matches:    list(m.GetMatches(), c.match),
		Blocked:    reason(m.GetBlocked()),
		History:    list(m.GetHistory(), c.event),
		Quiet:      c.duration(m.GetQuiet()),
		Relax:      policy.Relax(m.GetRelax()),
		Pulses:     number[int](c, m.GetPulses()),
		EndsAt:     c.time(m.GetEndsAt()),
		Awaits:     c.ask(m.GetAwaits()),
		ApprovedBy: policy.Principal(m.GetApprovedBy()),
		ApprovedAt: c.time(m.GetApprovedAt()),
		Capped:     reason(m.GetCapped()),

		BreakGlassUntil: c.time(m.GetBreakGlassUntil()),
		NearMisses: list(m.GetNearMisses(), func(n *raftv1.NearMiss) policy.NearMiss {
			return policy.NearMiss{Policy: n.GetPolicy(), Why: n.GetWhy()}
		}),
		Services:   list(m.GetServices(), c.service),
		Confidence: m.GetConfidence(),
		Reported:   c.prefixes(m.GetReported()),
		Phase:      enumerated[policy.Phase](c, m.GetPhase(), raftv1.Phase_name, "phase"),
		End:        enumToWord(c, m.GetEnd(), endCauses(), "end"),
		EndedAt:    c.time(m.GetEndedAt()),
		EndedBy:    policy.Principal(m.GetEndedBy()),
		EndNote:    m.GetEndNote(),
		Changed:    policy.Index(m.GetChanged()),
	}
}

func (c *codec) packCut(v policy.Cut) *raftv1.Cut {
	return &raftv1.Cut{
		Pieces: list(v.Pieces, packPrefix),
		Exempt: list(v.Exempt, func(e policy.Exemption) *raftv1.Exemption {
			return &raftv1.Exemption{
				Prefix: packPrefix(e.Prefix),
				Kind:   wordToEnum[raftv1.ExemptionKind](c, e.Kind, exemptionKinds(), "exemption"),
				Name:   e.Name,
			}
		}),
		Rounded:     v.Rounded,
		Unprotected: list(v.Unprotected, packPrefix),
	}
}

func (c *codec) cut(v *raftv1.Cut) policy.Cut {
	return policy.Cut{
		Pieces: c.prefixes(v.GetPieces()),
		Exempt: list(v.GetExempt(), func(e *raftv1.Exemption) policy.Exemption {
			return policy.Exemption{
				Prefix: c.prefix(e.GetPrefix()),
				Kind:   enumToWord(c, e.GetKind(), exemptionKinds(), "exemption"),
				Name:   e.GetName(),
			}
		}),
		Rounded:     v.GetRounded(),
		Unprotected: c.prefixes(v.GetUnprotected()),
	}
}

func (c *codec) packMatch(m flowspec.Match) *raftv1.Match {
	return &raftv1.Match{
		Family: enumerated[raftv1.Family](c, m.Family, raftv1.Family_name, "family"),
		Components: list(m.Components, func(v flowspec.Component) *raftv1.Component {
			return &raftv1.Component{
				Type: uint32(v.Type), Prefix: packPrefix(v.Prefix), Offset: uint32(v.Offset),
				Ops: list(v.Ops, func(o flowspec.Op) *raftv1.Op {
					return &raftv1.Op{Flags: uint32(o.Flags), Value: o.Value}
				}),
			}
		}),
	}
}

func (c *codec) match(m *raftv1.Match) flowspec.Match {
	return flowspec.Match{
		Family: enumerated[flowspec.Family](c, m.GetFamily(), raftv1.Family_name, "family"),
		Components: list(m.GetComponents(), func(v *raftv1.Component) flowspec.Component {
			t := number[flowspec.ComponentType](c, v.GetType())
			if t < flowspec.DestinationPrefix || t > flowspec.FlowLabel {
				c.unknown("component type", t)
			}
			return flowspec.Component{
				Type: t, Prefix: c.prefix(v.GetPrefix()), Offset: number[uint8](c, v.GetOffset()),
				Ops: list(v.GetOps(), func(o *raftv1.Op) flowspec.Op {
					return flowspec.Op{Flags: number[flowspec.OpFlags](c, o.GetFlags()), Value: o.GetValue()}
				}),
			}
		}),
	}
}

func packReason(r policy.Reason) *raftv1.Reason {
	return &raftv1.Reason{Code: string(r.Code), Text: r.Text}
}

func reason(r *raftv1.Reason) policy.Reason {
	return policy.Reason{Code: policy.ReasonCode(r.GetCode()), Text: r.GetText()}
}

func (c *codec) packAttack(a policy.Attack) *raftv1.Attack {
	return &raftv1.Attack{
		Source: a.Source, AttackId: a.AttackID, Seq: a.Seq, Digest: packDigest(a.Digest),
		Mitigation: uint64(a.Mitigation), Ended: a.Ended, At: stamp(a.At),
		Targets: list(a.Targets, packPrefix), Vector: string(a.Vector), Confidence: a.Confidence, Unanswered: a.Unanswered,
	}
}

func (c *codec) attack(a *raftv1.Attack) policy.Attack {
	return policy.Attack{
		Source: a.GetSource(), AttackID: a.GetAttackId(), Seq: a.GetSeq(), Digest: c.digest(a.GetDigest()),
		Mitigation: policy.MitigationID(a.GetMitigation()), Ended: a.GetEnded(), At: c.time(a.GetAt()),
		Targets: c.prefixes(a.GetTargets()), Vector: policy.Vector(a.GetVector()), Confidence: a.GetConfidence(), Unanswered: a.GetUnanswered(),
	}
}

func (c *codec) packResult(r policy.Result) *raftv1.Result {
	return &raftv1.Result{
		RequestId: string(r.RequestID), By: string(r.By), Digest: packDigest(r.Digest), Index: uint64(r.Index),
		At: stamp(r.At),
		Verdict: &raftv1.Verdict{
			Kind:       enumerated[raftv1.VerdictKind](c, r.Verdict.Kind, raftv1.VerdictKind_name, "verdict"),
			Reason:     packReason(r.Verdict.Reason),
			Mitigation: uint64(r.Verdict.Mitigation),
			RetryAfter: span(r.Verdict.RetryAfter),
			Approval:   uint64(r.Verdict.Approval),
		},
		Mitigations: list(r.Mitigations, func(id policy.MitigationID) uint64 { return uint64(id) }),
	}
}

func (c *codec) result(r *raftv1.Result) policy.Result {
	v := r.GetVerdict()
	return policy.Result{
		RequestID: policy.RequestID(r.GetRequestId()), By: policy.Principal(r.GetBy()), Digest: c.digest(r.GetDigest()),
		Index: policy.Index(r.GetIndex()), At: c.time(r.GetAt()),
		Verdict: policy.Verdict{
			Kind:       enumerated[policy.VerdictKind](c, v.GetKind(), raftv1.VerdictKind_name, "verdict"),
			Reason:     reason(v.GetReason()),
			Mitigation: policy.MitigationID(v.GetMitigation()),
			RetryAfter: c.duration(v.GetRetryAfter()),
			Approval:   policy.ApprovalID(v.GetApproval()),
		},
		Mitigations: list(r.GetMitigations(), func(id uint64) policy.MitigationID { return policy.MitigationID(id) }),
	}
}

package controller

import (
	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/policy"
	raftv1 "github.com/tidegate/tidegate/proto/tidegate/raft/v1"
)

func (c *codec) packAction(a policy.Action) *raftv1.Action {
	return &raftv1.Action{
		Kind:     enumerated[raftv1.ActionKind](c, a.Kind, raftv1.ActionKind_name, "action"),
		Rate:     float64(a.Rate),
		Packets:  float64(a.Packets),
		Target:   c.packTarget(a.Target),
		Address:  packAddr(a.Address),
		Copy:     a.Copy,
		Dscp:     uint32(a.DSCP),
		Sample:   a.Sample,
		Continue: a.Continue,
	}
}

func (c *codec) action(a *raftv1.Action) policy.Action {
	return policy.Action{
		Kind:     enumerated[policy.ActionKind](c, a.GetKind(), raftv1.ActionKind_name, "action"),
		Rate:     flowspec.BytesPerSecond(a.GetRate()),
		Packets:  flowspec.PacketsPerSecond(a.GetPackets()),
		Target:   c.target(a.GetTarget()),
		Address:  c.addr(a.GetAddress()),
		Copy:     a.GetCopy(),
		DSCP:     number[uint8](c, a.GetDscp()),
		Sample:   a.GetSample(),
		Continue: a.GetContinue(),
	}
}

// packTarget keeps the zero target as "none".
func (c *codec) packTarget(t flowspec.RouteTarget) *raftv1.RouteTarget {
	if t == (flowspec.RouteTarget{}) {
		return nil
	}
	return &raftv1.RouteTarget{
		Form:    enumerated[raftv1.RouteTargetForm](c, t.Form, raftv1.RouteTargetForm_name, "form of a route target"),
		Asn:     uint32(t.ASN),
		Address: packAddr(t.Address),
		Local:   t.Local,
	}
}

func (c *codec) target(t *raftv1.RouteTarget) flowspec.RouteTarget {
	return flowspec.RouteTarget{
		Form:    enumerated[flowspec.RTForm](c, t.GetForm(), raftv1.RouteTargetForm_name, "form of a route target"),
		ASN:     flowspec.ASN(t.GetAsn()),
		Address: c.addr(t.GetAddress()),
		Local:   t.GetLocal(),
	}
}

func (c *codec) packRule(r flowspec.Rule) *raftv1.Rule {
	return &raftv1.Rule{Match: c.packMatch(r.Match), Actions: list(r.Actions, c.packRuleAction)}
}

func (c *codec) rule(r *raftv1.Rule) flowspec.Rule {
	return flowspec.Rule{Match: c.match(r.GetMatch()), Actions: list(r.GetActions(), c.ruleAction)}
}

func (c *codec) packRuleAction(a flowspec.Action) *raftv1.RuleAction {
	return &raftv1.RuleAction{
		Type:     enumerated[raftv1.RuleActionType](c, a.Type, raftv1.RuleActionType_name, "rule action"),
		Asn:      uint32(a.ASN),
		Rate:     a.Rate,
		Target:   c.packTarget(a.Target),
		Address:  packAddr(a.Address),
		Copy:     a.Copy,
		Dscp:     uint32(a.DSCP),
		Sample:   a.Sample,
		Continue: a.Continue,
	}
}

func (c *codec) ruleAction(a *raftv1.RuleAction) flowspec.Action {
	return flowspec.Action{
		Type:     enumerated[flowspec.ActionType](c, a.GetType(), raftv1.RuleActionType_name, "rule action"),
		ASN:      flowspec.ASN(a.GetAsn()),
		Rate:     a.GetRate(),
		Target:   c.target(a.GetTarget()),
		Address:  c.addr(a.GetAddress()),
		Copy:     a.GetCopy(),
		DSCP:     number[uint8](c, a.GetDscp()),
		Sample:   a.GetSample(),
		Continue: a.GetContinue(),
	}
}

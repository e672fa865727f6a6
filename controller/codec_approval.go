package controller

import (
	"github.com/tidegate/tidegate/policy"
	raftv1 "github.com/tidegate/tidegate/proto/tidegate/raft/v1"
)

func askKinds() []policy.AskKind {
	return []policy.AskKind{"", policy.AskStart, policy.AskStep, policy.AskRelax, policy.AskExtend}
}

func orderKinds() []policy.OrderKind {
	return []policy.OrderKind{"", policy.OrderWithdrawAll, policy.OrderApply}
}

func orderStates() []policy.OrderStatus {
	return []policy.OrderStatus{
		"", policy.OrderPending, policy.OrderApproved, policy.OrderRejected, policy.OrderLapsed, policy.OrderBreakGlass,
	}
}

// packAsk leaves out what is not asked.
func (c *codec) packAsk(a policy.Ask) *raftv1.Ask {
	if a == (policy.Ask{}) {
		return nil
	}
	return &raftv1.Ask{
		Kind:     wordToEnum[raftv1.AskKind](c, a.Kind, askKinds(), "question"),
		Step:     int64(a.Step),
		Lifetime: span(a.Lifetime),
		Why:      packReasonOf(a.Why),
		By:       string(a.By),
		At:       stamp(a.At),
		Until:    stamp(a.Until),
	}
}

func (c *codec) ask(a *raftv1.Ask) policy.Ask {
	return policy.Ask{
		Kind:     enumToWord(c, a.GetKind(), askKinds(), "question"),
		Step:     number[int](c, a.GetStep()),
		Lifetime: c.duration(a.GetLifetime()),
		Why:      reason(a.GetWhy()),
		By:       policy.Principal(a.GetBy()),
		At:       c.time(a.GetAt()),
		Until:    c.time(a.GetUntil()),
	}
}

func (c *codec) packOrder(o policy.Order) *raftv1.Order {
	return &raftv1.Order{
		Id:        uint64(o.ID),
		Kind:      wordToEnum[raftv1.OrderKind](c, o.Kind, orderKinds(), "order"),
		Customer:  string(o.Customer),
		UpTo:      uint64(o.UpTo),
		Documents: list(o.Documents, c.packDocument),
		Prune:     o.Prune,
		Effect: &raftv1.Effect{
			Ended: int64(o.Effect.Ended), Added: int64(o.Effect.Added), Changed: int64(o.Effect.Changed),
			Removed: int64(o.Effect.Removed), Removals: int64(o.Effect.Removals),
		},
		By:        string(o.By),
		Reason:    o.Reason,
		At:        stamp(o.At),
		Until:     stamp(o.Until),
		Why:       packReasonOf(o.Why),
		Status:    wordToEnum[raftv1.OrderStatus](c, o.Status, orderStates(), "status of an order"),
		DecidedBy: string(o.DecidedBy),
		DecidedAt: stamp(o.DecidedAt),
		Note:      o.Note,
		Changed:   uint64(o.Changed),
	}
}

func (c *codec) order(o *raftv1.Order) policy.Order {
	x := o.GetEffect()
	return policy.Order{
		ID:        policy.ApprovalID(o.GetId()),
		Kind:      enumToWord(c, o.GetKind(), orderKinds(), "order"),
		Customer:  policy.CustomerID(o.GetCustomer()),
		UpTo:      policy.MitigationID(o.GetUpTo()),
		Documents: list(o.GetDocuments(), c.document),
		Prune:     o.GetPrune(),
		Effect: policy.Effect{
			Ended: number[int](c, x.GetEnded()), Added: number[int](c, x.GetAdded()), Changed: number[int](c, x.GetChanged()),
			Removed: number[int](c, x.GetRemoved()), Removals: number[int](c, x.GetRemovals()),
		},
		By:        policy.Principal(o.GetBy()),
		Reason:    o.GetReason(),
		At:        c.time(o.GetAt()),
		Until:     c.time(o.GetUntil()),
		Why:       reason(o.GetWhy()),
		Status:    enumToWord(c, o.GetStatus(), orderStates(), "status of an order"),
		DecidedBy: policy.Principal(o.GetDecidedBy()),
		DecidedAt: c.time(o.GetDecidedAt()),
		Note:      o.GetNote(),
		Changed:   policy.Index(o.GetChanged()),
	}
}

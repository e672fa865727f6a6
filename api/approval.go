package api

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate/controller"
	"github.com/tidegate/tidegate/policy"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

type approvalService struct {
	tidegatev1.UnimplementedApprovalServiceServer
	*Server
}

// somebody stands for a second person who has not been found yet: what approving would do does not depend on who it is.
const somebody policy.Principal = "approver/somebody"

// approvalID reads an id such as M17 or A3. One of the two is not zero if it could be read.
func (v *violations) approvalID(field, s string) (m policy.MitigationID, o policy.ApprovalID) {
	const example = "write an id as tidegate approval list shows it, such as M17 or A3"
	digits, isOrder := strings.CutPrefix(s, "A")
	if !isOrder {
		var isMitigation bool
		if digits, isMitigation = strings.CutPrefix(s, "M"); !isMitigation {
			v.add(field, quote(s)+" is not the id of an approval", example)
			return 0, 0
		}
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	switch {
	case err != nil || n == 0 || strconv.FormatUint(n, 10) != digits:
		v.add(field, quote(s)+" is not the id of an approval", example)
		return 0, 0
	case isOrder:
		return 0, policy.ApprovalID(n)
	}
	return policy.MitigationID(n), 0
}

func formatApproval(id policy.ApprovalID) string {
	if id == 0 {
		return ""
	}
	return "A" + strconv.FormatUint(uint64(id), 10)
}

// approvalOf is what of a verdict a second person decides.
func approvalOf(v policy.Verdict) string {
	switch {
	case v.Approval != 0:
		return formatApproval(v.Approval)
	case v.Kind == policy.AwaitsApproval:
		return formatID(v.Mitigation)
	}
	return ""
}

// ListApprovals shows what awaits a second person, the first to lapse first, and then what was decided of orders, the last
// first.
func (s *approvalService) ListApprovals(_ context.Context, req *tidegatev1.ListApprovalsRequest) (*tidegatev1.ListApprovalsResponse, error) {
	st := s.ctrl.State()
	out := &tidegatev1.ListApprovalsResponse{Read: s.readInfo(st)}
	for m := range st.Awaiting() {
		out.Approvals = append(out.Approvals, mitigationApproval(m))
	}
	for o := range st.OpenOrders() {
		out.Approvals = append(out.Approvals, orderApproval(o))
	}
	slices.SortStableFunc(out.GetApprovals(), func(a, b *tidegatev1.Approval) int {
		return a.GetUntil().AsTime().Compare(b.GetUntil().AsTime())
	})
	if !req.GetIncludeDecided() {
		return out, nil
	}
	var decided []*tidegatev1.Approval
	for o := range st.Orders() {
		if o.Status != policy.OrderPending {
			decided = append(decided, orderApproval(o))
		}
	}
	slices.Reverse(decided)
	out.Approvals = append(out.Approvals, decided...)
	return out, nil
}

// mitigationApproval is what of m awaits a second person.
func mitigationApproval(m *policy.Mitigation) *tidegatev1.Approval {
	out := &tidegatev1.Approval{
		Id: formatID(m.ID), Kind: string(m.Awaits.Kind), Status: string(policy.OrderPending), Customer: string(m.Customer), What: m.Asked(),
		Why: m.Awaits.Why.Text, By: string(m.Awaits.By), At: timeProto(m.Awaits.At), Until: timeProto(m.Awaits.Until),
	}
	if m.Awaits.Kind == policy.AskStart {
		out.What = m.Action.String() + " for " + strings.Join(prefixText(m.Targets[:min(len(m.Targets), shownNames)]), ", ") + ": " + out.GetWhat()
		out.Reason = m.Reason.Text
	}
	return out
}

func orderApproval(o *policy.Order) *tidegatev1.Approval {
	return &tidegatev1.Approval{
		Id: formatApproval(o.ID), Kind: string(o.Kind), Status: string(o.Status), Customer: string(o.Customer), What: o.What(), Why: o.Why.Text,
		By: string(o.By), Reason: o.Reason, At: timeProto(o.At), Until: timeProto(o.Until),
		DecidedBy: string(o.DecidedBy), DecidedAt: timeProto(o.DecidedAt), Note: o.Note,
	}
}

// GetApproval shows one of them, and judges what approving it would do now.
func (s *approvalService) GetApproval(ctx context.Context, req *tidegatev1.GetApprovalRequest) (*tidegatev1.GetApprovalResponse, error) {
	v := &violations{}
	id, order := v.approvalID("id", req.GetId())
	if err := v.err(); err != nil {
		return nil, err
	}
	return onLeaderFirst(ctx, s.Server, tidegatev1.ApprovalService_GetApproval_FullMethodName, req, func(ctx context.Context) (*tidegatev1.GetApprovalResponse, error) {
		d, index, err := s.ctrl.Preview(ctx, controller.Command{By: somebody, Request: &policy.ApproveRequest{Mitigation: id, Order: order}})
		if err != nil {
			return nil, err
		}
		if d.Verdict.Reason.Code == policy.CodeUnknownApproval {
			return nil, refusal(d)
		}
		st := s.ctrl.State()
		out := &tidegatev1.GetApprovalResponse{Verdict: verdictProto(d.Verdict), Plan: planProto(d.Plan), Read: s.readInfoAt(st, index)}
		for _, m := range d.Mitigations {
			out.After = append(out.After, pricedProto(st, m))
		}
		if o, ok := st.Order(order); ok {
			out.Approval = orderApproval(o)
		}
		if m, ok := st.Mitigation(id); ok {
			out.Mitigation = pricedProto(st, m)
			if m.Awaits.Kind != "" && m.Phase != policy.Over {
				out.Approval = mitigationApproval(m)
			}
		}
		return out, nil
	})
}

// decide carries out what a second person, or nobody, decided.
func (s *approvalService) decide(ctx context.Context, w write, request func(m policy.MitigationID, o policy.ApprovalID) policy.Request, id string) (controller.Outcome, error) {
	v := &violations{}
	cmd, err := command(ctx, v, w)
	if err != nil {
		return controller.Outcome{}, err
	}
	m, o := v.approvalID("id", id)
	if err := v.err(); err != nil {
		return controller.Outcome{}, err
	}
	cmd.Request = request(m, o)
	out, err := s.ctrl.Write(ctx, cmd)
	if err != nil {
		return out, err
	}
	return out, refusal(out.Decision)
}

// subject is the mitigation that a decision is about; nil for an order.
func (s *approvalService) subject(out controller.Outcome) *tidegatev1.Mitigation {
	st := s.ctrl.State()
	if m, ok := st.Mitigation(out.Decision.Verdict.Mitigation); ok {
		return pricedProto(st, m)
	}
	return nil
}

// touched are the mitigations that an order changed.
func touched(out controller.Outcome) []string {
	if out.Decision.Verdict.Approval == 0 {
		return nil
	}
	var ids []string
	for _, m := range out.Decision.Mitigations {
		ids = append(ids, formatID(m.ID))
	}
	return ids
}

// Approve lets happen what somebody else asked for.
func (s *approvalService) Approve(ctx context.Context, req *tidegatev1.ApproveRequest) (*tidegatev1.ApproveResponse, error) {
	return onLeader(ctx, s.Server, tidegatev1.ApprovalService_Approve_FullMethodName, req, func(ctx context.Context) (*tidegatev1.ApproveResponse, error) {
		out, err := s.decide(ctx, req, func(m policy.MitigationID, o policy.ApprovalID) policy.Request {
			return &policy.ApproveRequest{Mitigation: m, Order: o}
		}, req.GetId())
		if err != nil {
			return nil, err
		}
		return &tidegatev1.ApproveResponse{
			Verdict: verdictProto(out.Decision.Verdict), Mitigation: s.subject(out), Ids: touched(out), Plan: planProto(out.Decision.Plan), Write: writeInfo(out),
		}, nil
	})
}

// Reject says no.
func (s *approvalService) Reject(ctx context.Context, req *tidegatev1.RejectRequest) (*tidegatev1.RejectResponse, error) {
	return onLeader(ctx, s.Server, tidegatev1.ApprovalService_Reject_FullMethodName, req, func(ctx context.Context) (*tidegatev1.RejectResponse, error) {
		out, err := s.decide(ctx, req, func(m policy.MitigationID, o policy.ApprovalID) policy.Request {
			return &policy.RejectRequest{Mitigation: m, Order: o}
		}, req.GetId())
		if err != nil {
			return nil, err
		}
		return &tidegatev1.RejectResponse{Verdict: verdictProto(out.Decision.Verdict), Mitigation: s.subject(out), Write: writeInfo(out)}, nil
	})
}

// BreakGlass lets happen what nobody approved.
func (s *approvalService) BreakGlass(ctx context.Context, req *tidegatev1.BreakGlassRequest) (*tidegatev1.BreakGlassResponse, error) {
	return onLeader(ctx, s.Server, tidegatev1.ApprovalService_BreakGlass_FullMethodName, req, func(ctx context.Context) (*tidegatev1.BreakGlassResponse, error) {
		out, err := s.decide(ctx, req, func(m policy.MitigationID, o policy.ApprovalID) policy.Request {
			return &policy.ApproveRequest{Mitigation: m, Order: o, BreakGlass: true}
		}, req.GetId())
		if err != nil {
			return nil, err
		}
		return &tidegatev1.BreakGlassResponse{
			Verdict: verdictProto(out.Decision.Verdict), Mitigation: s.subject(out), Ids: touched(out), Plan: planProto(out.Decision.Plan), Write: writeInfo(out),
		}, nil
	})
}

// awaitingProto is what of m awaits a second person; nil if nothing does.
func awaitingProto(m *policy.Mitigation) *tidegatev1.Awaiting {
	if m.Awaits.Kind == "" || m.Phase == policy.Over {
		return nil
	}
	return &tidegatev1.Awaiting{
		Kind: string(m.Awaits.Kind), What: m.Asked(), Why: m.Awaits.Why.Text, By: string(m.Awaits.By),
		At: timeProto(m.Awaits.At), Until: timeProto(m.Awaits.Until),
	}
}

// approvals fills in what a second person has to do with m.
func approvals(out *tidegatev1.Mitigation, m *policy.Mitigation) {
	out.Awaits = awaitingProto(m)
	out.ApprovedBy, out.ApprovedAt = string(m.ApprovedBy), timeProto(m.ApprovedAt)
	out.BreakGlass, out.BreakGlassUntil = m.BreakGlass(), timeProto(m.BreakGlassUntil)
	out.Capped = m.Capped.Text
}

// approvalBounds reads what safeguards say of a second person.
func approvalBounds(v *violations, out *policy.Safeguards, in *tidegatev1.Safeguards) {
	if in.ApprovalAddresses != nil {
		out.ApprovalAddresses = int(in.GetApprovalAddresses())
	}
	if in.ApprovalWithdrawals != nil {
		out.ApprovalWithdrawals = int(in.GetApprovalWithdrawals())
	}
	if in.ApprovalRemovals != nil {
		out.ApprovalRemovals = int(in.GetApprovalRemovals())
		if out.ApprovalRemovals == 0 {
			v.add("approval_removals", "0 is no bound", "write at least 1, or leave it out, which stands for 100")
		}
	}
	if in.GetApprovalTimeout() != nil {
		out.ApprovalTimeout = v.duration("approval_timeout", in.GetApprovalTimeout(), false)
	}
	if in.GetBreakGlassLifetime() != nil {
		out.BreakGlassLifetime = v.duration("break_glass_lifetime", in.GetBreakGlassLifetime(), false)
	}
}

package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/cmd/client"
	"github.com/tidegate/tidegate/cmd/output"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

const approvalLong = `Some things take a second person: a mitigation or a step of a policy that says so, whatever reaches far, a source that
overlaps protected space, a withdrawal of many mitigations, an apply that removes much. They are judged at once and done when
somebody else than who asked approves them. An id is that of a mitigation (M17) or of another order (A3).

  tidegate approval list                                  what awaits a second person
  tidegate approval show M17                              what approving it would do now
  tidegate approval approve M17 --reason "seen, agreed"   with a certificate of role approver or admin
  tidegate approval reject A3 --reason "wrong customer"`

func (a *app) approvalCommand() *cobra.Command {
	return a.group("approval", "show, approve and reject what takes a second person", approvalLong,
		a.approvalList(), a.approvalShow(), a.approvalApprove(), a.approvalReject())
}

func (a *app) approvalList() *cobra.Command {
	var req pb.ListApprovalsRequest
	c := a.command("list", "list what awaits a second person", "", exactly(),
		func(ctx context.Context, c *client.Client, p *output.Printer, _ []string) error {
			r, err := c.Approvals.ListApprovals(ctx, &req)
			if err != nil {
				return err
			}
			return p.Approvals(r)
		})
	c.Flags().BoolVar(&req.IncludeDecided, "all", false, "also the orders that were decided or lapsed lately")
	return c
}

func (a *app) approvalShow() *cobra.Command {
	return a.command("show ID", "show what approving it would do now, and change nothing", "", exactly("ID"),
		func(ctx context.Context, c *client.Client, p *output.Printer, args []string) error {
			r, err := c.Approvals.GetApproval(ctx, &pb.GetApprovalRequest{Id: args[0]})
			if err != nil {
				return err
			}
			return p.Approval(r)
		})
}

func (a *app) approvalApprove() *cobra.Command {
	var w writeFlags
	var breakGlass bool
	cmd := a.command("approve ID --reason TEXT", "let happen what somebody else asked for", "", exactly("ID"),
		func(ctx context.Context, c *client.Client, p *output.Printer, args []string) error {
			reason, err := w.why()
			if err != nil {
				return err
			}
			if breakGlass {
				r, err := c.Approvals.BreakGlass(ctx, &pb.BreakGlassRequest{RequestId: w.id(a), Reason: reason, Id: args[0]})
				if err != nil {
					return err
				}
				return p.BrokeGlass(r)
			}
			r, err := c.Approvals.Approve(ctx, &pb.ApproveRequest{RequestId: w.id(a), Reason: reason, Id: args[0]})
			if err != nil {
				return err
			}
			return p.Approved(r)
		})
	addBreakGlass(cmd, &breakGlass)
	w.add(cmd)
	return cmd
}

// addBreakGlass adds the flag that passes an approval.
func addBreakGlass(c *cobra.Command, set *bool) {
	c.Flags().BoolVar(set, "break-glass", false, "do not wait for a second person; told on every node, and what it starts is time-boxed")
}

func (a *app) approvalReject() *cobra.Command {
	var w writeFlags
	cmd := a.command("reject ID --reason TEXT", "say no to what somebody asked for", "", exactly("ID"),
		func(ctx context.Context, c *client.Client, p *output.Printer, args []string) error {
			reason, err := w.why()
			if err != nil {
				return err
			}
			r, err := c.Approvals.Reject(ctx, &pb.RejectRequest{RequestId: w.id(a), Reason: reason, Id: args[0]})
			if err != nil {
				return err
			}
			return p.Rejected(r)
		})
	w.add(cmd)
	return cmd
}

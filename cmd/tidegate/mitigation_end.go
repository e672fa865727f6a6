package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tidegate/tidegate/cmd/client"
	"github.com/tidegate/tidegate/cmd/output"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

func (a *app) mitigationExtend() *cobra.Command {
	var w writeFlags
	var lifetime time.Duration
	cmd := a.command("extend ID --lifetime 30m --reason TEXT", "set the remaining lifetime of a mitigation, counted from now", "", exactly("ID"),
		func(ctx context.Context, c *client.Client, p *output.Printer, args []string) error {
			reason, err := w.why()
			if err != nil {
				return err
			}
			r, err := c.Mitigations.Extend(ctx, &pb.ExtendRequest{RequestId: w.id(a), Reason: reason, Id: args[0], Lifetime: durationpb.New(lifetime)})
			if err != nil {
				return err
			}
			if err := p.Extended(r); err != nil {
				return err
			}
			return told(client.Await(r.GetVerdict()))
		})
	cmd.Flags().DurationVar(&lifetime, "lifetime", 0, "remaining lifetime, e.g. 30m (mandatory)")
	cmd.MarkFlagRequired("lifetime") //nolint:errcheck // fails only for a flag that does not exist
	w.add(cmd)
	cmd.Flags().Lookup("reason").Usage = "why, in your words; it is kept in the replicated log, and not shown with the mitigation (mandatory)"
	return cmd
}

func (a *app) mitigationWithdraw() *cobra.Command {
	var w writeFlags
	cmd := a.command("withdraw ID --reason TEXT", "end a mitigation and withdraw its rules", "", exactly("ID"),
		func(ctx context.Context, c *client.Client, p *output.Printer, args []string) error {
			reason, err := w.why()
			if err != nil {
				return err
			}
			r, err := c.Mitigations.Withdraw(ctx, &pb.WithdrawRequest{RequestId: w.id(a), Reason: reason, Id: args[0]})
			if err != nil {
				return err
			}
			return p.Withdrawn(r)
		})
	w.add(cmd)
	return cmd
}

func (a *app) mitigationWithdrawAll() *cobra.Command {
	var w writeFlags
	var customer string
	var freeze bool
	var limit time.Duration
	var breakGlass bool
	cmd := a.command("withdraw-all --reason TEXT", "end every mitigation, or every one of a customer", "", exactly(),
		func(ctx context.Context, c *client.Client, p *output.Printer, _ []string) error {
			reason, err := w.why()
			if err != nil {
				return err
			}
			if limit != 0 && !freeze {
				return &client.UsageError{Text: "--freeze-for limits a freeze, and --freeze is missing"}
			}
			r, err := c.Mitigations.WithdrawAll(ctx, &pb.WithdrawAllRequest{
				RequestId: w.id(a), Reason: reason, Customer: customer, Freeze: freeze, FreezeFor: within(limit), BreakGlass: breakGlass,
			})
			if err != nil {
				return err
			}
			if err := p.WithdrawnAll(r); err != nil {
				return err
			}
			return told(client.Await(r.GetVerdict()))
		})
	cmd.Flags().StringVar(&customer, "customer", "", "only those of this customer")
	cmd.Flags().BoolVar(&freeze, "freeze", false, "freeze the cluster in the same log entry, so that nothing starts again by itself")
	cmd.Flags().DurationVar(&limit, "freeze-for", 0, "how long, e.g. 2h (default: until it is unfrozen)")
	addBreakGlass(cmd, &breakGlass)
	w.add(cmd)
	return cmd
}

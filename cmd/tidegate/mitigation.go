package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/cmd/client"
	"github.com/tidegate/tidegate/cmd/output"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

func (a *app) mitigationCommand() *cobra.Command {
	return a.group("mitigation", "start, preview, list, show, extend and withdraw mitigations", "",
		a.mitigationStart(), a.mitigationPreview(), a.mitigationList(), a.mitigationShow(),
		a.mitigationExtend(), a.mitigationWithdraw(), a.mitigationWithdrawAll())
}

func (a *app) mitigationList() *cobra.Command {
	var req pb.ListRequest
	c := a.command("list", "list mitigations, newest first", "", exactly(),
		func(ctx context.Context, c *client.Client, p *output.Printer, _ []string) error {
			r, err := c.Mitigations.List(ctx, &req)
			if err != nil {
				return err
			}
			return p.Mitigations(r)
		})
	c.Flags().StringVar(&req.Customer, "customer", "", "only those of this customer")
	c.Flags().BoolVar(&req.IncludeOver, "all", false, "also those that are over")
	c.Flags().Uint32Var(&req.Limit, "limit", 0, "at most so many (default 1000)")
	return c
}

func (a *app) mitigationShow() *cobra.Command {
	var why bool
	c := a.command("show ID", "show one mitigation: rules, exemptions, causes, notes", "", exactly("ID"),
		func(ctx context.Context, c *client.Client, p *output.Printer, args []string) error {
			r, err := c.Mitigations.Get(ctx, &pb.GetRequest{Id: args[0]})
			if err != nil {
				return err
			}
			if why {
				return p.Why(r)
			}
			return p.Mitigation(r)
		})
	c.Flags().BoolVar(&why, "why", false, "tell what happened to it from its start to its end, and why")
	return c
}

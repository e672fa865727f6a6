package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/cmd/client"
	"github.com/tidegate/tidegate/cmd/output"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

func (a *app) customerCommand() *cobra.Command {
	return a.group("customer", "list and show customers, and look up whose an address is", "",
		a.customerList(), a.customerShow(), a.customerLookup())
}

func (a *app) customerList() *cobra.Command {
	return a.command("list", "list customers", "", exactly(),
		func(ctx context.Context, c *client.Client, p *output.Printer, _ []string) error {
			r, err := c.ListDocuments(ctx, &pb.ListDocumentsRequest{Kind: "Customer"})
			if err != nil {
				return err
			}
			return p.Customers(r)
		})
}

func (a *app) customerShow() *cobra.Command {
	return a.command("show ID", "show one customer and its links", "", exactly("ID"),
		func(ctx context.Context, c *client.Client, p *output.Printer, args []string) error {
			r, err := c.GetDocument(ctx, &pb.GetDocumentRequest{Ref: &pb.DocumentRef{Kind: "Customer", Name: args[0]}})
			if err != nil {
				return err
			}
			return p.Customer(r)
		})
}

func (a *app) customerLookup() *cobra.Command {
	return a.command("lookup ADDRESS", "say whose an address is, and whether it is protected", "", exactly("ADDRESS"),
		func(ctx context.Context, c *client.Client, p *output.Printer, args []string) error {
			r, err := c.Lookup(ctx, &pb.LookupRequest{Address: args[0]})
			if err != nil {
				return err
			}
			return p.Lookup(r)
		})
}

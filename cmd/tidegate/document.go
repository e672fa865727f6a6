package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/cmd/client"
	"github.com/tidegate/tidegate/cmd/output"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

func (a *app) documentCommand() *cobra.Command {
	return a.group("document", "list documents, and print one as YAML", "", a.documentList(), a.documentGet())
}

func (a *app) documentList() *cobra.Command {
	var req pb.ListDocumentsRequest
	c := a.command("list", "list documents; with -o yaml a copy of the inventory that apply takes", "", exactly(),
		func(ctx context.Context, c *client.Client, p *output.Printer, _ []string) error {
			r, err := c.ListDocuments(ctx, &req)
			if err != nil {
				return err
			}
			return p.Documents(r)
		})
	c.Flags().StringVar(&req.Kind, "kind", "", "only Customer, ProtectedBlock, Router, Policy, Safeguards or Detector")
	return c
}

func (a *app) documentGet() *cobra.Command {
	return a.command("get KIND/NAME", "print one document as apply takes it", "", exactly("KIND/NAME"),
		func(ctx context.Context, c *client.Client, p *output.Printer, args []string) error {
			kind, name, ok := strings.Cut(args[0], "/")
			if !ok {
				return &client.UsageError{Text: fmt.Sprintf("%q is not KIND/NAME, e.g. Customer/uni-a", args[0])}
			}
			r, err := c.GetDocument(ctx, &pb.GetDocumentRequest{Ref: &pb.DocumentRef{Kind: kind, Name: name}})
			if err != nil {
				return err
			}
			return p.Document(r)
		})
}

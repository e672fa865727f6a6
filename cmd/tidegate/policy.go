package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/cmd/client"
	"github.com/tidegate/tidegate/cmd/output"
	"github.com/tidegate/tidegate/cmd/rehearse"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

func (a *app) policyCommand() *cobra.Command {
	return a.group("policy", "list and show policies, and test them against cases of your own", "",
		a.policyList(), a.policyShow(), a.policyTest(), a.policyDefaults(), a.policyVariables())
}

func (a *app) policyList() *cobra.Command {
	return a.command("list", "list policies in the order in which they are asked", "", exactly(),
		func(ctx context.Context, c *client.Client, p *output.Printer, _ []string) error {
			r, err := c.ListDocuments(ctx, &pb.ListDocumentsRequest{Kind: "Policy"})
			if err != nil {
				return err
			}
			return p.Policies(r)
		})
}

func (a *app) policyShow() *cobra.Command {
	return a.command("show NAME", "print one policy as apply takes it", "", exactly("NAME"),
		func(ctx context.Context, c *client.Client, p *output.Printer, args []string) error {
			r, err := c.GetDocument(ctx, &pb.GetDocumentRequest{Ref: &pb.DocumentRef{Kind: "Policy", Name: args[0]}})
			if err != nil {
				return err
			}
			return p.Document(r)
		})
}

func (a *app) policyVariables() *cobra.Command {
	return a.local("variables", "list what a policy's condition may speak of", "", exactly(),
		func(_ context.Context, p *output.Printer, _ []string) error { return p.ConditionVariables() })
}

func (a *app) policyTest() *cobra.Command {
	var cases string
	var inventory []string
	var why bool
	c := a.local("test -f CASES --inventory FILE|DIR", "judge the signals of a file and compare with what it expects",
		"Judges each case's signals against the documents of --inventory, on this machine, without a cluster, by the code\n"+
			"that judges them there, and compares verdicts and rules with what the case expects. It ends with a status\n"+
			"other than 0 if one differs: run it in your own CI before you apply a changed policy.", exactly(),
		func(_ context.Context, p *output.Printer, _ []string) error {
			if why && p.Format != output.Table {
				return &client.UsageError{Text: "--why tells a story in words: leave out -o"}
			}
			text, err := os.ReadFile(cases)
			if err != nil {
				return &client.UsageError{Text: fmt.Sprintf("cannot read cases: %v", err)}
			}
			list, err := rehearse.Parse(cases, text)
			if err != nil {
				return &client.UsageError{Text: err.Error()}
			}
			docs := documentFlags{files: inventory}
			protos, err := docs.load(a)
			if err != nil {
				return err
			}
			if _, wrong, _ := api.NewRehearsal(protos); len(wrong) > 0 {
				return client.LocateAll(wrong, docs.loaded)
			}
			results, err := rehearse.Run(list, func() (*api.Rehearsal, []*pb.FieldViolation, string) { return api.NewRehearsal(protos) })
			if err != nil {
				return &client.UsageError{Text: err.Error()}
			}
			if err := p.Rehearsed(results, why); err != nil {
				return err
			}
			if n := rehearse.Failed(results); n > 0 {
				return told(fmt.Errorf("%d of %d cases came out otherwise", n, len(results)))
			}
			return nil
		})
	c.Flags().StringVarP(&cases, "file", "f", "", "file of cases (mandatory)")
	c.Flags().StringArrayVar(&inventory, "inventory", nil, "documents: a file, a directory, or - (mandatory); repeat it for several")
	c.Flags().BoolVar(&why, "why", false, "print the story of each case's mitigation, as mitigation show --why does")
	for _, f := range []string{"file", "inventory"} {
		c.MarkFlagRequired(f) //nolint:errcheck // fails only for a flag that does not exist
	}
	return c
}

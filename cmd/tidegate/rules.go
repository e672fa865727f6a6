package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/cmd/client"
	"github.com/tidegate/tidegate/cmd/output"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

const rulesLong = `Shows each rule and how far it has come, session by session. A state is shown only with evidence:

  committed    in the replicated state, not yet written to the session
  sent         written to the session
  refused, over budget, no session     not sent, and why
  unknown      the node does not answer

Whether a router accepted a rule, installed it and sees traffic hit it is unknown until that router proves it.`

func (a *app) rulesCommand() *cobra.Command {
	var req pb.ListRulesRequest
	c := a.command("rules", "show the announced rules, and how far each has come", rulesLong, exactly(),
		func(ctx context.Context, c *client.Client, p *output.Printer, _ []string) error {
			r, err := c.ListRules(ctx, &req)
			if err != nil {
				return err
			}
			return p.Rules(r)
		})
	c.Flags().StringVar(&req.Mitigation, "mitigation", "", "only the rules of this mitigation")
	c.Flags().StringVar(&req.Router, "router", "", "only the sessions with this router")
	c.AddCommand(a.rulesRender())
	return c
}

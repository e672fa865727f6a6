package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/cmd/client"
	"github.com/tidegate/tidegate/cmd/output"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

func (a *app) clusterCommand() *cobra.Command {
	return a.group("cluster", "show the cluster, and freeze it", "", a.clusterStatus(), a.clusterFreeze(), a.clusterUnfreeze())
}

func (a *app) clusterStatus() *cobra.Command {
	return a.command("status", "show the nodes: who leads, who answers, who is how far", "", exactly(),
		func(ctx context.Context, c *client.Client, p *output.Printer, _ []string) error {
			r, err := c.Cluster.Status(ctx, &pb.StatusRequest{})
			if err != nil {
				return err
			}
			return p.Cluster(r)
		})
}

func (a *app) clusterFreeze() *cobra.Command {
	var w writeFlags
	var limit time.Duration
	cmd := a.command("freeze --reason TEXT", "stop policies: nothing starts by itself until it is unfrozen",
		"While the cluster is frozen, policies start, escalate and revive nothing: signals are observed. What is active stays, is\n"+
			"renewed, ends, expires and can be withdrawn as ever, protection that is added narrows it, and operators start what\n"+
			"they want: a freeze is for the time in which people decide. To withdraw everything as well, in one step, use\n"+
			"tidegate mitigation withdraw-all --freeze.", exactly(),
		func(ctx context.Context, c *client.Client, p *output.Printer, _ []string) error {
			reason, err := w.why()
			if err != nil {
				return err
			}
			r, err := c.Cluster.Freeze(ctx, &pb.FreezeRequest{RequestId: w.id(a), Reason: reason, Duration: within(limit)})
			if err != nil {
				return err
			}
			return p.Frozen(r)
		})
	cmd.Flags().DurationVar(&limit, "for", 0, "how long, e.g. 2h (default: until it is unfrozen)")
	w.add(cmd)
	return cmd
}

func (a *app) clusterUnfreeze() *cobra.Command {
	var w writeFlags
	cmd := a.command("unfreeze --reason TEXT", "let policies decide again", "", exactly(),
		func(ctx context.Context, c *client.Client, p *output.Printer, _ []string) error {
			reason, err := w.why()
			if err != nil {
				return err
			}
			r, err := c.Cluster.Unfreeze(ctx, &pb.UnfreezeRequest{RequestId: w.id(a), Reason: reason})
			if err != nil {
				return err
			}
			return p.Unfrozen(r)
		})
	w.add(cmd)
	return cmd
}

package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/cmd/client"
	"github.com/tidegate/tidegate/cmd/output"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

func (a *app) clusterCommand() *cobra.Command {
	return a.group("cluster", "show the cluster", "", a.clusterStatus())
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

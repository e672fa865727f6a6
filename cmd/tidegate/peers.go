package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/cmd/client"
	"github.com/tidegate/tidegate/cmd/output"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

func (a *app) peersCommand() *cobra.Command {
	return a.command("peers", "show the BGP sessions of all nodes", "", exactly(),
		func(ctx context.Context, c *client.Client, p *output.Printer, _ []string) error {
			r, err := c.ListPeers(ctx, &pb.ListPeersRequest{})
			if err != nil {
				return err
			}
			return p.Peers(r)
		})
}

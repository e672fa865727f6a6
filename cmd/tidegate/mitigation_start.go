package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tidegate/tidegate/cmd/client"
	"github.com/tidegate/tidegate/cmd/output"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

const startLong = `Acts on packets to the targets that the match takes, on every router (or on those of --group), until the
lifetime is over. Protected addresses and nested customers are taken out of the targets; preview shows what is left.

  tidegate mitigation %s --target 203.0.113.0/24 --match "proto udp sport 53" \
      --discard --lifetime 10m%s

The match is written like a rule without its destination, see tidegate help match; without --match every packet to the
targets is meant.
A rate belongs to the mitigation: its rules share it, on each router.`

// startFlags are what start and preview have in common.
type startFlags struct {
	targets, groups []string
	match, rate     string
	discard         bool
	lifetime        time.Duration
	write           writeFlags // of start
}

func (f *startFlags) add(c *cobra.Command) {
	c.Flags().StringSliceVar(&f.targets, "target", nil, "prefix or address to protect; repeat it or separate by commas (mandatory)")
	c.Flags().StringVar(&f.match, "match", "", `which packets, e.g. "proto udp sport 53|123", see tidegate help match`)
	c.Flags().BoolVar(&f.discard, "discard", false, "discard the packets")
	c.Flags().StringVar(&f.rate, "rate", "", "let this much pass, e.g. 10Mbps or 1MBps")
	c.Flags().DurationVar(&f.lifetime, "lifetime", 0, "how long, e.g. 10m (default: that of the safeguards)")
	c.Flags().StringSliceVar(&f.groups, "group", nil, "router groups that hear it (default: all)")
}

// check sees what the server cannot: which flag was meant.
func (f *startFlags) check() error {
	switch {
	case len(f.targets) == 0:
		return &client.UsageError{Text: "--target is missing; name the prefix or address under attack, e.g. --target 203.0.113.7"}
	case f.discard == (f.rate != ""):
		return &client.UsageError{Text: "say what to do with the packets: either --discard or --rate, e.g. --rate 10Mbps"}
	default:
		return nil
	}
}

func (f *startFlags) request(c *cobra.Command) *pb.StartRequest {
	r := &pb.StartRequest{
		Targets: f.targets, Match: f.match,
		Action: &pb.Action{Discard: f.discard, Rate: f.rate}, Groups: f.groups,
	}
	if c.Flags().Changed("lifetime") {
		r.Lifetime = durationpb.New(f.lifetime)
	}
	return r
}

func (a *app) mitigationStart() *cobra.Command {
	var f startFlags
	var cmd *cobra.Command
	cmd = a.command("start", "start a mitigation by hand", fmt.Sprintf(startLong, "start", ` --reason "DNS flood, ticket 4711"`), exactly(),
		func(ctx context.Context, c *client.Client, p *output.Printer, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			reason, err := f.write.why()
			if err != nil {
				return err
			}
			req := f.request(cmd)
			req.RequestId, req.Reason = f.write.id(a), reason
			r, err := c.Mitigations.Start(ctx, req)
			if err != nil {
				return err
			}
			if err := p.Started(r); err != nil {
				return err
			}
			a.cautionUnheard(ctx, c, p, r.GetMitigation())
			return told(client.Judge(r.GetVerdict()))
		})
	f.add(cmd)
	f.write.add(cmd)
	return cmd
}

// cautionUnheard tells when no session with the routers of a mitigation is up: it is committed then, and enforced by
// nobody. That the sessions cannot be asked changes nothing about the start.
func (a *app) cautionUnheard(ctx context.Context, c *client.Client, p *output.Printer, m *pb.Mitigation) {
	peers, err := c.ListPeers(ctx, &pb.ListPeersRequest{})
	if err != nil || m.GetPhase() == "over" {
		return
	}
	text := output.Unheard(m, peers.GetPeers())
	switch {
	case text == "":
	case p.Format == output.Table:
		p.Caution(text)
	default:
		a.notice(text)
	}
}

func (a *app) mitigationPreview() *cobra.Command {
	var f startFlags
	var cmd *cobra.Command
	cmd = a.command("preview", "show what start would do, and change nothing", fmt.Sprintf(startLong, "preview", ""), exactly(),
		func(ctx context.Context, c *client.Client, p *output.Printer, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			r, err := c.Mitigations.Preview(ctx, &pb.PreviewRequest{Start: f.request(cmd)})
			if err != nil {
				return err
			}
			if err := p.Previewed(r); err != nil {
				return err
			}
			return told(client.Judge(r.GetVerdict()))
		})
	f.add(cmd)
	return cmd
}

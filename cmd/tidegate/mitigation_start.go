package main

import (
	"context"
	"fmt"
	"strings"
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

What is done is exactly one of:

  --discard                   nothing passes
  --rate 10Mbps, --rate 5kpps this much passes: bits, bytes (MBps) or packets. A rate belongs to the mitigation: its
                              rules share it, on each router
  --redirect 65001:666        forwarded in the VRF that imports this route target; 192.0.2.1:666 and, for IPv6,
                              [2001:db8::1]:666 are route targets as well
  --redirect-ip 192.0.2.1     forwarded to this address; with --copy a copy goes there, and the packet on its way
  --mark 46                   this DSCP is set, a number or a name such as ef, cs1, af31
  --rtbh                      blackhole routes: everything to the targets is discarded by routers with carries: rtbh.
                              Targets are single addresses, without --match, a few at a time

With --sample matching packets are sampled and logged as well; with --continue later rules are asked as well. If more
than one mitigation wants the same rule, an operator's goes before a policy's, then the more severe action, in this
order: copy, mark, rate of packets, rate of bytes, discard, redirect.`

// startFlags are what start and preview have in common.
type startFlags struct {
	targets, groups []string
	match           string
	action          pb.Action
	lifetime        time.Duration
	write           writeFlags // of start
	breakGlass      bool       // of start
}

func (f *startFlags) add(c *cobra.Command) {
	c.Flags().StringSliceVar(&f.targets, "target", nil, "prefix or address to protect; repeat it or separate by commas (mandatory)")
	c.Flags().StringVar(&f.match, "match", "", `which packets, e.g. "proto udp sport 53|123", see tidegate help match`)
	a := &f.action
	c.Flags().BoolVar(&a.Discard, "discard", false, "discard the packets")
	c.Flags().StringVar(&a.Rate, "rate", "", "let this much pass, e.g. 10Mbps, 1MBps or 5kpps")
	c.Flags().StringVar(&a.Redirect, "redirect", "", "forward the packets in the VRF of this route target, e.g. 65001:666")
	c.Flags().StringVar(&a.RedirectIp, "redirect-ip", "", "forward the packets to this address")
	c.Flags().BoolVar(&a.Copy, "copy", false, "with --redirect-ip: send a copy there, and the packet on its way")
	c.Flags().StringVar(&a.Mark, "mark", "", "set this DSCP, e.g. 46 or af31")
	c.Flags().BoolVar(&a.Rtbh, "rtbh", false, "blackhole the targets, which are single addresses (RFC 7999)")
	c.Flags().BoolVar(&a.Sample, "sample", false, "also sample and log the packets")
	c.Flags().BoolVar(&a.Continue, "continue", false, "also ask later rules; without, evaluation stops at this one")
	c.Flags().DurationVar(&f.lifetime, "lifetime", 0, "how long, e.g. 10m (default: that of the safeguards)")
	c.Flags().StringSliceVar(&f.groups, "group", nil, "router groups that hear it (default: all)")
}

// check sees what the server cannot: which flag was meant.
func (f *startFlags) check() error {
	switch {
	case len(f.targets) == 0:
		return &client.UsageError{Text: "--target is missing; name the prefix or address under attack, e.g. --target 203.0.113.7"}
	case f.action.GetCopy() && f.action.GetRedirectIp() == "":
		return &client.UsageError{Text: "--copy needs an address to copy to; add --redirect-ip, e.g. --redirect-ip 192.0.2.1"}
	}
	var said []string
	for _, a := range []struct {
		flag string
		set  bool
	}{
		{"--discard", f.action.GetDiscard()},
		{"--rate", f.action.GetRate() != ""},
		{"--redirect", f.action.GetRedirect() != ""},
		{"--redirect-ip", f.action.GetRedirectIp() != ""},
		{"--mark", f.action.GetMark() != ""},
		{"--rtbh", f.action.GetRtbh()},
	} {
		if a.set {
			said = append(said, a.flag)
		}
	}
	switch len(said) {
	case 0:
		return &client.UsageError{Text: "say what to do with the packets: exactly one of --discard, --rate, --redirect, --redirect-ip, --mark and --rtbh, e.g. --rate 10Mbps"}
	case 1:
		return nil
	}
	return &client.UsageError{Text: strings.Join(said, " and ") + " exclude each other: say one thing to do with the packets"}
}

func (f *startFlags) request(c *cobra.Command) *pb.StartRequest {
	r := &pb.StartRequest{
		Targets: f.targets, Match: f.match,
		Action: &f.action, Groups: f.groups,
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
			req.RequestId, req.Reason, req.BreakGlass = f.write.id(a), reason, f.breakGlass
			r, err := c.Mitigations.Start(ctx, req)
			if err != nil {
				return err
			}
			if err := p.Started(r); err != nil {
				return err
			}
			a.cautionUnheard(ctx, c, p, r.GetMitigation())
			return told(client.Await(r.GetVerdict()))
		})
	f.add(cmd)
	addBreakGlass(cmd, &f.breakGlass)
	f.write.add(cmd)
	return cmd
}

// cautionUnheard tells when no session with the routers of a mitigation is up: it is committed then, and enforced by
// nobody. That the sessions cannot be asked changes nothing about the start.
func (a *app) cautionUnheard(ctx context.Context, c *client.Client, p *output.Printer, m *pb.Mitigation) {
	peers, err := c.ListPeers(ctx, &pb.ListPeersRequest{})
	if err != nil || m.GetPhase() != "active" {
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
			return told(client.Await(r.GetVerdict()))
		})
	f.add(cmd)
	return cmd
}

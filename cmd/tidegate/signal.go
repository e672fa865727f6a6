package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/cmd/client"
	"github.com/tidegate/tidegate/cmd/output"
	"github.com/tidegate/tidegate/policy"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

func (a *app) signalCommand() *cobra.Command {
	return a.group("signal", "send attack signals as a detector does, and list the known vectors", "",
		a.signalSend(), a.signalEnd(), a.signalPreview(), a.signalVectors(), a.signalFastNetMon())
}

// signalFlags describe one signal.
type signalFlags struct {
	signal                     pb.Signal
	protocols                  []string
	sports, dports, packetLens []string
}

func (f *signalFlags) add(c *cobra.Command) {
	s := &f.signal
	c.Flags().StringVar(&s.AttackId, "attack", "", "your name of the attack (mandatory)")
	c.Flags().Uint64Var(&s.Seq, "seq", 1, "number of this report about the attack; a higher one updates (mandatory for the end)")
	c.Flags().StringSliceVar(&s.Targets, "target", nil, "attacked prefix or address; repeat it or separate by commas")
	c.Flags().StringVar(&s.Vector, "vector", "", "kind of attack, see tidegate signal vectors")
	c.Flags().StringSliceVar(&f.protocols, "protocol", nil, "IP protocols, by name as in matches or by number")
	c.Flags().StringSliceVar(&f.sports, "sport", nil, "source ports, e.g. 53 or 1024-65535")
	c.Flags().StringSliceVar(&f.dports, "dport", nil, "destination ports")
	c.Flags().StringSliceVar(&f.packetLens, "length", nil, "packet lengths in octets")
	c.Flags().StringSliceVar(&s.SourcePrefixes, "source", nil, "source prefixes")
	c.Flags().Float64Var(&s.BitsPerSecond, "bps", 0, "measured bits per second")
	c.Flags().Float64Var(&s.PacketsPerSecond, "pps", 0, "measured packets per second")
	c.Flags().Float64Var(&s.Confidence, "confidence", 0, "0 to 1; 0 is not stated")
	c.Flags().BoolVar(&s.Drill, "drill", false, "an exercise: judged, never announced")
	c.MarkFlagRequired("attack") //nolint:errcheck // fails only for a flag that does not exist
}

// fill turns the flags that have no place in the message yet into its fields.
func (f *signalFlags) fill(a *app) (*pb.Signal, error) {
	s := &f.signal
	for _, text := range f.protocols {
		p, err := parseProtocol(text)
		if err != nil {
			return nil, err
		}
		s.Protocols = append(s.Protocols, p)
	}
	for _, l := range []struct {
		flag string
		in   []string
		out  *[]*pb.Range
	}{{"--sport", f.sports, &s.SourcePorts}, {"--dport", f.dports, &s.DestinationPorts}, {"--length", f.packetLens, &s.PacketLengths}} {
		for _, text := range l.in {
			r, err := parseRange(text)
			if err != nil {
				return nil, &client.UsageError{Text: fmt.Sprintf("%s %q is not a number or a range such as 1024-65535", l.flag, text)}
			}
			*l.out = append(*l.out, r)
		}
	}
	s.DetectedAt = timestamppb.New(a.now())
	return s, nil
}

// parseProtocol reads one protocol as a match names it.
func parseProtocol(text string) (uint32, error) {
	m, err := flowspec.ParseMatch("ipv4 proto " + text)
	if err == nil && len(m.Components) == 1 && len(m.Components[0].Ops) == 1 && m.Components[0].Ops[0].Flags == flowspec.EQ {
		return uint32(m.Components[0].Ops[0].Value), nil
	}
	return 0, &client.UsageError{Text: fmt.Sprintf("--protocol %q is not a protocol; write a name such as udp, or a number from 0 to 255", text)}
}

func parseRange(text string) (*pb.Range, error) {
	low, high, isRange := strings.Cut(text, "-")
	if !isRange {
		high = low
	}
	l, err := strconv.ParseUint(low, 10, 32)
	if err != nil {
		return nil, err
	}
	h, err := strconv.ParseUint(high, 10, 32)
	if err != nil {
		return nil, err
	}
	return &pb.Range{Low: uint32(l), High: uint32(h)}, nil
}

func (a *app) signalSend() *cobra.Command {
	var f signalFlags
	var update bool
	cmd := a.command("send", "report the start, or an update, of an attack",
		`Reports an attack in the name of the certificate (role detector), and prints the verdict.

  tidegate signal send --attack a-1 --target 203.0.113.10 --vector dns_amplification --bps 4e9`, exactly(),
		func(ctx context.Context, c *client.Client, p *output.Printer, _ []string) error {
			f.signal.Kind = pb.SignalKind_SIGNAL_KIND_START
			if update {
				f.signal.Kind = pb.SignalKind_SIGNAL_KIND_UPDATE
			}
			return a.report(ctx, c, p, &f)
		})
	f.add(cmd)
	cmd.Flags().BoolVar(&update, "update", false, "an update of an attack that was reported before")
	return cmd
}

func (a *app) signalEnd() *cobra.Command {
	var f signalFlags
	var cmd *cobra.Command
	cmd = a.command("end --attack ID --seq N", "report the end of an attack",
		"Reports that an attack is over. Its --seq must be above those of the reports before it, or nothing ends.", exactly(),
		func(ctx context.Context, c *client.Client, p *output.Printer, _ []string) error {
			if !cmd.Flags().Changed("seq") {
				return &client.UsageError{Text: "--seq is missing; write a number above that of the last report about the attack, e.g. --seq 2"}
			}
			f.signal.Kind = pb.SignalKind_SIGNAL_KIND_END
			return a.report(ctx, c, p, &f)
		})
	f.add(cmd)
	return cmd
}

func (a *app) report(ctx context.Context, c *client.Client, p *output.Printer, f *signalFlags) error {
	s, err := f.fill(a)
	if err != nil {
		return err
	}
	r, err := c.Report(ctx, &pb.ReportRequest{Signals: []*pb.Signal{s}})
	if err != nil {
		return err
	}
	if err := p.Reported(r); err != nil {
		return err
	}
	for _, v := range r.GetVerdicts() {
		if err := client.Judge(v); err != nil {
			return told(err)
		}
		if s.GetKind() == pb.SignalKind_SIGNAL_KIND_END && v.GetCode() == string(policy.CodeStale) {
			a.notice("nothing was ended: the number is below that of a report before; repeat it with a higher --seq")
			return told(&client.RefusedError{Verdict: v})
		}
	}
	return nil
}

func (a *app) signalPreview() *cobra.Command {
	var f signalFlags
	var source string
	cmd := a.command("preview", "judge a signal as send would, and change nothing", "", exactly(),
		func(ctx context.Context, c *client.Client, p *output.Printer, _ []string) error {
			f.signal.Kind = pb.SignalKind_SIGNAL_KIND_START
			s, err := f.fill(a)
			if err != nil {
				return err
			}
			r, err := c.SignalServiceClient.Preview(ctx, &pb.SignalServicePreviewRequest{Signal: s, Source: source})
			if err != nil {
				return err
			}
			if err := p.SignalPreviewed(r); err != nil {
				return err
			}
			return told(client.Judge(r.GetVerdict()))
		})
	f.add(cmd)
	cmd.Flags().StringVar(&source, "detector", "", "judge in the name of this detector (operators)")
	return cmd
}

func (a *app) signalVectors() *cobra.Command {
	return a.local("vectors", "list the vectors that signals may name", "", exactly(),
		func(_ context.Context, p *output.Printer, _ []string) error {
			var out []output.Vector
			for _, v := range policy.Vectors() {
				out = append(out, output.Vector{Name: string(v.Name), Families: families(v.Families), Description: v.Description})
			}
			return p.Vectors(out)
		})
}

func families(fs []flowspec.Family) string {
	var out []string
	for _, f := range fs {
		if f == flowspec.IPv6 {
			out = append(out, "ipv6")
		} else {
			out = append(out, "ipv4")
		}
	}
	return strings.Join(out, ",")
}

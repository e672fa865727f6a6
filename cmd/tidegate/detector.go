package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tidegate/tidegate/cmd/client"
	"github.com/tidegate/tidegate/cmd/output"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

func (a *app) detectorCommand() *cobra.Command {
	return a.group("detector", "list detectors, put them into quarantine and release them", "",
		a.detectorList(), a.detectorQuarantine(), a.detectorRelease())
}

func (a *app) detectorList() *cobra.Command {
	return a.command("list", "list the detectors that started what is active, and those in quarantine", "", exactly(),
		func(ctx context.Context, c *client.Client, p *output.Printer, _ []string) error {
			r, err := c.Cluster.ListDetectors(ctx, &pb.ListDetectorsRequest{})
			if err != nil {
				return err
			}
			return p.Detectors(r)
		})
}

func (a *app) detectorQuarantine() *cobra.Command {
	var w writeFlags
	var limit time.Duration
	cmd := a.command("quarantine NAME --reason TEXT", "have the signals of a detector observed only",
		"From now on the signals of the detector start nothing, renew nothing and escalate nothing. What they started stays\n"+
			"until the attack is over, as far as the detector reports its end, or until its lifetime is.", exactly("NAME"),
		func(ctx context.Context, c *client.Client, p *output.Printer, args []string) error {
			reason, err := w.why()
			if err != nil {
				return err
			}
			r, err := c.Cluster.QuarantineDetector(ctx, &pb.QuarantineDetectorRequest{RequestId: w.id(a), Reason: reason, Detector: args[0], Duration: within(limit)})
			if err != nil {
				return err
			}
			return p.Quarantined(r)
		})
	cmd.Flags().DurationVar(&limit, "for", 0, "how long, e.g. 24h (default: until it is released)")
	w.add(cmd)
	return cmd
}

func (a *app) detectorRelease() *cobra.Command {
	var w writeFlags
	cmd := a.command("release NAME --reason TEXT", "end the quarantine of a detector", "", exactly("NAME"),
		func(ctx context.Context, c *client.Client, p *output.Printer, args []string) error {
			reason, err := w.why()
			if err != nil {
				return err
			}
			r, err := c.Cluster.ReleaseDetector(ctx, &pb.ReleaseDetectorRequest{RequestId: w.id(a), Reason: reason, Detector: args[0]})
			if err != nil {
				return err
			}
			return p.Released(r)
		})
	w.add(cmd)
	return cmd
}

// within is a limit in time that may be left out.
func within(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

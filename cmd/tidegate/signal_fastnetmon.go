package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/cmd/client"
	"github.com/tidegate/tidegate/cmd/fastnetmon"
	"github.com/tidegate/tidegate/cmd/output"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

func (a *app) signalFastNetMon() *cobra.Command {
	var dir string
	var outgoing, drill bool
	var renamed map[string]string
	c := a.command("fastnetmon --state-dir DIR VICTIM incoming|outgoing PPS ban|attack_details|unban",
		"report what FastNetMon Community tells its notify_script",
		`Called by FastNetMon Community 1.2.x as its notify_script, with the arguments and the standard input that it gives:

  #!/bin/sh
  exec tidegate signal fastnetmon --state-dir /var/lib/tidegate-fastnetmon "$@"

A ban starts an attack, attack_details update it, an unban ends it. The source is the name in the certificate. Which
attack a victim is under is kept in --state-dir. It gives up after --timeout, and repeats the same signal until then.

Attacks that FastNetMon calls outgoing come from the victim: a rule toward it would not help, so they are left alone. With
--outgoing they are reported by what comes in: FastNetMon also says outgoing of a victim that answers an attack.`,
		exactly("VICTIM", "incoming|outgoing", "PPS", "ban|attack_details|unban"),
		func(ctx context.Context, c *client.Client, p *output.Printer, args []string) error {
			call, err := fastnetmon.ParseCall(args)
			if err != nil {
				return &client.UsageError{Text: err.Error()}
			}
			var text []byte
			if call.Action != fastnetmon.Unban { // or nobody is at the other end
				// Most of the time belongs to the sending.
				reading, cancel := context.WithTimeout(ctx, a.timeout/4)
				defer cancel()
				if text, err = readAll(reading, a.stdin, fastnetmon.MaxReport); err != nil {
					a.notice(err.Error() + "; the attack is reported without")
				}
			}
			if call.Outgoing && !outgoing {
				return ignored(p, fmt.Sprintf("%s attacks others, and is not attacked; --outgoing reports it all the same", call.Victim))
			}
			store, err := fastnetmon.OpenStore(dir)
			if err != nil {
				return err
			}
			n := &fastnetmon.Notifier{Store: store, Reporter: c.SignalServiceClient, Now: a.now, Renamed: renamed, Drill: drill}
			return a.notified(p)(n.Notify(ctx, call, fastnetmon.ParseReport(text, call.Victim)))
		})
	c.Flags().StringVar(&dir, "state-dir", "", "directory that remembers the attack of each victim (mandatory)")
	c.Flags().BoolVar(&outgoing, "outgoing", false, "also report attacks that FastNetMon calls outgoing")
	c.Flags().BoolVar(&drill, "drill", false, "an exercise: judged, never announced")
	c.Flags().StringToStringVar(&renamed, "vector", nil, "vector for a type of FastNetMon's, e.g. ip_fragmentation=udp_flood")
	c.MarkFlagRequired("state-dir") //nolint:errcheck // fails only for a flag that does not exist
	return c
}

// ignored says that nothing was sent, and why.
func ignored(p *output.Printer, why string) error {
	if done, err := p.Value(map[string]string{"ignored": why}); done {
		return err
	}
	p.Sentence("Ignored: %s.", why)
	return nil
}

// notified prints what came of a call.
func (a *app) notified(p *output.Printer) func(fastnetmon.Outcome, error) error {
	return func(o fastnetmon.Outcome, err error) error {
		for _, text := range o.Notices {
			a.notice(text)
		}
		if errors.Is(err, fastnetmon.ErrUnknownAttack) {
			a.notice(err.Error())
			return told(&client.NotFoundError{Text: err.Error()})
		}
		if err != nil {
			return err
		}
		if err := p.Reported(&pb.ReportResponse{Verdicts: o.Verdicts}); err != nil {
			return err
		}
		for _, v := range o.Verdicts {
			if err := client.Judge(v); err != nil {
				return told(err)
			}
		}
		return nil
	}
}

// readAll reads up to most octets of r, and what follows into nothing, since FastNetMon takes a closed pipe badly. It
// returns what has come when ctx ends.
func readAll(ctx context.Context, r io.Reader, most int64) ([]byte, error) {
	type result struct {
		text string
		err  error
	}
	done := make(chan result, 1)
	// It is not waited for when ctx ends: a read of a pipe cannot be called off, and the process ends soon.
	go func() {
		var b strings.Builder
		_, err := io.Copy(&b, io.LimitReader(r, most))
		if err == nil {
			_, err = io.Copy(io.Discard, r)
		}
		done <- result{b.String(), err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return []byte(r.text), fmt.Errorf("cannot read standard input: %w", r.err)
		}
		return []byte(r.text), nil
	case <-ctx.Done():
		return nil, errors.New("cannot read standard input: it does not end")
	}
}

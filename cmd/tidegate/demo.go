package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/cmd/client"
	"github.com/tidegate/tidegate/cmd/demo"
	"github.com/tidegate/tidegate/cmd/output"
)

func (a *app) demoCommand() *cobra.Command {
	var keep bool
	var dir string
	c := a.local("demo", "three nodes, a router, an attack and a crash, measured, in about ten seconds",
		`Starts three nodes as child processes and an edge router that speaks BGP over loopback, reports attacks, kills the
leader, ends the attacks, and checks each promise against what the router heard. It needs neither root nor any
configuration, listens on loopback only, and removes everything at its end. The exit code is not 0 unless every
expectation held.`, exactly(),
		func(ctx context.Context, p *output.Printer, _ []string) error {
			if p.Format != output.Table {
				return &client.UsageError{Text: "the demo tells a story; leave out -o"}
			}
			// By default a closed pipe ends the process at once, and the children and their directory stay behind.
			closed := make(chan os.Signal, 1)
			signal.Notify(closed, syscall.SIGPIPE)
			defer signal.Stop(closed)
			exe, err := os.Executable()
			if err != nil {
				return fmt.Errorf("cannot find this program: %w", err)
			}
			return demo.Run(ctx, demo.Config{Out: p.W, Colour: p.Colour, Width: p.Width, Executable: exe, TempDir: dir, Keep: keep})
		})
	c.Flags().BoolVar(&keep, "keep", false, "leave it running at the end, and print how to talk to it")
	c.Flags().StringVar(&dir, "dir", "", "where to make the temporary directory")
	return c
}

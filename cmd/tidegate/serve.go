package main

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/cmd/client"
	"github.com/tidegate/tidegate/cmd/node"
	"github.com/tidegate/tidegate/cmd/output"
)

func (a *app) serveCommand() *cobra.Command {
	var file string
	c := a.local("serve --config FILE", "run a node", `Runs one node until it gets SIGTERM or SIGINT; a second signal ends it at once.

The file holds what belongs to this node alone: its name, addresses, data directory, certificates, secrets and who else
is in the cluster. Without a cluster section it is a single node; without a tls section that node makes its own
certificates at its first start and logs where they lie. "tidegate check" looks at the file without starting.`,
		exactly(), func(ctx context.Context, _ *output.Printer, _ []string) error {
			cfg, err := readConfig(file)
			if err != nil {
				return err
			}
			n, err := node.New(cfg, node.Deps{Logger: a.logger(cfg.Log), Version: version()})
			if err != nil {
				return err
			}
			return n.Run(ctx)
		})
	configFlag(c, &file)
	return c
}

func configFlag(c *cobra.Command, file *string) {
	c.Flags().StringVarP(file, "config", "c", "", "the node's file (mandatory)")
	c.MarkFlagRequired("config") //nolint:errcheck // fails only for a flag that does not exist
}

// readConfig reads a node's file; whatever is wrong with it is a matter of usage.
func readConfig(file string) (node.Config, error) {
	cfg, err := node.ReadConfig(file)
	if err != nil {
		return cfg, &client.UsageError{Text: err.Error()}
	}
	return cfg, nil
}

// logger logs to standard error, as a service manager expects it.
func (a *app) logger(l node.Log) *slog.Logger {
	o := &slog.HandlerOptions{Level: l.Level}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(a.stderr, o))
	}
	return slog.New(slog.NewTextHandler(a.stderr, o))
}

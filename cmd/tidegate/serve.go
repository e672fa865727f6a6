package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/grpclog"

	"github.com/tidegate/tidegate/cmd/client"
	"github.com/tidegate/tidegate/cmd/node"
	"github.com/tidegate/tidegate/cmd/output"
)

func (a *app) serveCommand() *cobra.Command {
	var file string
	c := a.local("serve --config FILE", "run a node", `Runs one node until it gets SIGTERM or SIGINT; a second signal ends it at once.

The file holds what belongs to this node alone: its name, addresses, data directory, certificates, secrets and who else
is in the cluster. Without a cluster section it is a single node; without a tls section that node makes its own
certificates at its first start and prints how to use them. "tidegate check" looks at the file without starting.`,
		exactly(), func(ctx context.Context, _ *output.Printer, _ []string) error {
			cfg, err := readConfig(file)
			if err != nil {
				return err
			}
			// gRPC and its gateway write to standard error what callers do wrong, without form or limit. What matters of
			// it comes back as an error, and is logged as the rest is.
			grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
			reload := make(chan os.Signal, 1)
			signal.Notify(reload, syscall.SIGHUP)
			defer signal.Stop(reload)
			deps := node.Deps{Logger: a.logger(cfg.Log), Version: version(), Reload: reload}
			if deps.Speaker, err = speakerProcess(file); err != nil {
				return err
			}
			if cfg.MakesPKI() {
				deps.Listening = func(at node.Addresses) { a.welcome(cfg, at) }
			}
			n, err := node.New(cfg, deps)
			if err == nil {
				err = n.Run(ctx)
			}
			if errors.Is(err, node.ErrTLS) || errors.Is(err, node.ErrSecret) { // as check says of them
				return &client.UsageError{Text: err.Error()}
			}
			return err
		})
	configFlag(c, &file)
	return c
}

// welcome says, after the first start of a single node, how to talk to it.
func (a *app) welcome(cfg node.Config, at node.Addresses) {
	server := at.API
	if host, port, err := net.SplitHostPort(server); err == nil {
		if ip, err := netip.ParseAddr(host); err == nil && ip.IsUnspecified() {
			server = net.JoinHostPort("127.0.0.1", port)
		}
	}
	dirs := cfg.OwnPKI()
	fmt.Fprintf(a.stdout, `This node made its own certificates. To talk to it, in another shell:

  export TIDEGATE_SERVER=%s
  export TIDEGATE_TLS_DIR=%s
  tidegate cluster status

Other certificates: %s (operator), %s (detector)
`, server, dirs.Admin, dirs.Operator, dirs.Detector)
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

package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/cmd/client"
)

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "tidegate",
		Short: "BGP FlowSpec mitigation controller",
		Long: `tidegate announces BGP FlowSpec rules that scrub attack traffic toward customers' official prefixes,
and never touches protected addresses such as the subnets of customer links.

Try it without any configuration:   tidegate demo
Run a node:                         tidegate serve --config FILE
Talk to a cluster:                  export TIDEGATE_SERVER=host:port TIDEGATE_TLS_DIR=DIRECTORY`,
		SilenceUsage: true, SilenceErrors: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
		Args: cobra.ArbitraryArgs,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &client.UsageError{Text: fmt.Sprintf("%s; see %s --help", err, cmd.CommandPath())}
	})
	f := root.PersistentFlags()
	f.StringSliceVar(&a.servers, "server", splitList(a.env("TIDEGATE_SERVER")), "servers, host:port, tried in this order (TIDEGATE_SERVER)")
	f.StringVar(&a.tlsDir, "tls-dir", a.env("TIDEGATE_TLS_DIR"), "directory with ca.pem, cert.pem, key.pem (TIDEGATE_TLS_DIR)")
	f.StringVarP(&a.format, "output", "o", "table", "table, json or yaml")
	f.DurationVar(&a.timeout, "timeout", 15*time.Second, "give up on an answer after this long")
	root.AddGroup(
		&cobra.Group{ID: "operate", Title: "Attacks and mitigations:"},
		&cobra.Group{ID: "inventory", Title: "Inventory:"},
		&cobra.Group{ID: "node", Title: "Nodes:"},
	)
	add := func(group string, cmds ...*cobra.Command) {
		for _, c := range cmds {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("operate", a.mitigationCommand(), a.approvalCommand(), a.signalCommand(), a.rulesCommand(), a.peersCommand(), a.detectorCommand())
	add("inventory", a.applyCommand(), a.planCommand(), a.customerCommand(), a.documentCommand(), a.policyCommand())
	add("node", a.serveCommand(), a.checkCommand(), a.speakerCommand(), a.clusterCommand(), a.auditCommand(), a.pkiCommand(), a.tokenCommand(), a.demoCommand())
	root.AddCommand(a.versionCommand(), exitCodesTopic(), matchTopic())
	return root
}

func splitList(s string) []string {
	var out []string
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// exitCodesTopic is `tidegate help exit-codes`: a command without a body is a topic.
func exitCodesTopic() *cobra.Command {
	var b strings.Builder
	b.WriteString("The exit code says what kind of end a command came to:\n\n")
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, c := range client.ExitCodes() {
		fmt.Fprintf(w, "  %d\t%s\n", c.Code, c.Meaning)
	}
	w.Flush() //nolint:errcheck // a strings.Builder cannot fail
	return &cobra.Command{Use: "exit-codes", Short: "what the exit codes mean", Long: b.String()}
}

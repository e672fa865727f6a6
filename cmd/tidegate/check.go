package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/cmd/client"
	"github.com/tidegate/tidegate/cmd/node"
	"github.com/tidegate/tidegate/cmd/output"
)

func (a *app) checkCommand() *cobra.Command {
	var file string
	c := a.local("check --config FILE", "check a node's file, certificates, directory and addresses",
		"Checks everything that a node's file names, on this machine, and starts nothing.", exactly(),
		func(_ context.Context, p *output.Printer, _ []string) error {
			cfg, err := readConfig(file)
			if err != nil {
				return err
			}
			found := node.Check(cfg, a.now())
			if err := p.Findings(found); err != nil {
				return err
			}
			if slices.ContainsFunc(found, func(f node.Finding) bool { return f.Grade == node.Bad }) {
				return told(&client.UsageError{Text: fmt.Sprintf("%s would not work", file)})
			}
			return nil
		})
	configFlag(c, &file)
	return c
}

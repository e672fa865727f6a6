package main

import (
	"context"
	_ "embed"
	"io"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/cmd/client"
	"github.com/tidegate/tidegate/cmd/output"
)

//go:embed defaults/policies.yaml
var defaultPolicies string

//go:embed defaults/cases.yaml
var defaultCases string

//go:embed defaults/example.yaml
var defaultExample string

const policyDefaultsLong = `Prints policies to begin with, an answer for every vector, as documents with the reason for each choice. They are below
every policy of your own. Nothing is applied by itself: without a policy every signal is observed only.

  tidegate policy defaults > defaults.yaml
  tidegate apply -f defaults.yaml

What they do stands in cases, for an example inventory:

  tidegate policy defaults --cases > cases.yaml
  tidegate policy defaults --example > example.yaml
  tidegate policy test -f cases.yaml --inventory example.yaml --inventory defaults.yaml`

func (a *app) policyDefaults() *cobra.Command {
	var cases, example bool
	c := a.local("defaults", "print policies to begin with, as documents with the reasons", policyDefaultsLong, exactly(),
		func(_ context.Context, p *output.Printer, _ []string) error {
			if p.Format != output.Table {
				return &client.UsageError{Text: "the default policies are printed as they are written, with their comments: leave out -o"}
			}
			text := defaultPolicies
			switch {
			case cases && example:
				return &client.UsageError{Text: "--cases and --example are two files: print one after the other"}
			case cases:
				text = defaultCases
			case example:
				text = defaultExample
			}
			_, err := io.WriteString(p.W, text)
			return err
		})
	c.Flags().BoolVar(&cases, "cases", false, "print the cases that say what they do, for policy test")
	c.Flags().BoolVar(&example, "example", false, "print the inventory that the cases are about")
	return c
}

package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/api/manifest"
	"github.com/tidegate/tidegate/bgp/profile"
	"github.com/tidegate/tidegate/cmd/client"
	"github.com/tidegate/tidegate/cmd/output"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

const applyLong = `Reads documents (Customer, ProtectedBlock, Router, Policy, Safeguards, Detector) from a YAML file, from all *.yaml and *.yml
files below a directory, or from standard input (-f -), and makes them so: all or none, in one step. Mitigations that
run are narrowed in the same step when protection is added.

  tidegate plan -f inventory/                     what would change
  tidegate apply -f inventory/                    change it
  tidegate apply -f inventory/ --prune            the files are the whole inventory: remove what is not in them
  tidegate document list -o yaml > copy.yaml      the other way round

An apply that takes away more than a few links, or protected space, must name the number: --allow-removals N.
A router whose profile no recorded run stands behind is taken with accept_untested: true in its document, or with
--accept-untested, which writes that into every Router document of the files.`

const planLong = `Reads documents as apply does, and shows what apply would do with them: which documents, how many links, what protected
space would be taken away, and which mitigations would be narrowed or ended. Nothing is changed. Its exit code is that
of the apply: 3 when apply would be refused.

  tidegate plan -f inventory/
  tidegate plan -f inventory/ --prune             as if the files were the whole inventory`

// documentFlags are what apply and plan have in common.
type documentFlags struct {
	files []string
	prune bool
	allow uint32
	// untested accepts profiles without a recorded run, as if each Router document said so.
	untested bool
	loaded   []*manifest.Document
}

func (f *documentFlags) add(c *cobra.Command) {
	c.Flags().StringArrayVarP(&f.files, "file", "f", nil, "file, directory, or - for standard input (mandatory); repeat it for several")
	c.Flags().BoolVar(&f.prune, "prune", false, "remove documents that are not in the files")
	c.Flags().Uint32Var(&f.allow, "allow-removals", 0, "number of links and blocks that are meant to be removed")
	c.Flags().BoolVar(&f.untested, "accept-untested", false, "accept router profiles without a recorded run: accept_untested: true in each Router document that has one")
	c.MarkFlagRequired("file") //nolint:errcheck // fails only for a flag that does not exist
}

// load reads the files; what is wrong in them is a matter of usage.
func (f *documentFlags) load(a *app) ([]*pb.Document, error) {
	for _, file := range f.files {
		docs, err := manifest.Load(file, a.stdin)
		if err != nil {
			return nil, &client.UsageError{Text: err.Error()}
		}
		f.loaded = append(f.loaded, docs...)
	}
	out := manifest.Protos(f.loaded)
	for _, d := range out {
		if r := d.GetRouter(); r != nil && f.untested && asksForAcceptance(r) {
			r.AcceptUntested = true
		}
	}
	return out, nil
}

// asksForAcceptance reports whether the router's profile has no recorded run. Others are left as they are, so that an
// acceptance is never there before it is needed.
func asksForAcceptance(r *pb.Router) bool {
	p, known := profile.Lookup(r.GetProfile())
	if !known {
		return false
	}
	_, admitted := p.Admit(false)
	return !admitted
}

func (a *app) applyCommand() *cobra.Command {
	var f documentFlags
	var w writeFlags
	var breakGlass bool
	cmd := a.command("apply -f FILE|DIR", "make the inventory what the files say", applyLong, exactly(),
		func(ctx context.Context, c *client.Client, p *output.Printer, _ []string) error {
			docs, err := f.load(a)
			if err != nil {
				return err
			}
			if breakGlass {
				if _, err := w.why(); err != nil {
					return err
				}
			}
			if w.reason == "" {
				w.reason = "apply " + strings.Join(f.files, " ")
			}
			r, err := c.Apply(ctx, &pb.ApplyRequest{RequestId: w.id(a), Reason: w.reason, Documents: docs, Prune: f.prune, AllowRemovals: f.allow, BreakGlass: breakGlass})
			if err != nil {
				return client.Locate(err, f.loaded)
			}
			if err := p.Applied(r); err != nil {
				return err
			}
			return told(client.Await(r.GetVerdict()))
		})
	f.add(cmd)
	addBreakGlass(cmd, &breakGlass)
	w.add(cmd)
	cmd.Flags().Lookup("reason").Usage = `why, in your words (default "apply FILE")`
	return cmd
}

func (a *app) planCommand() *cobra.Command {
	var f documentFlags
	cmd := a.command("plan -f FILE|DIR", "show what apply would do, and change nothing", planLong, exactly(),
		func(ctx context.Context, c *client.Client, p *output.Printer, _ []string) error {
			docs, err := f.load(a)
			if err != nil {
				return err
			}
			r, err := c.Plan(ctx, &pb.PlanRequest{Documents: docs, Prune: f.prune, AllowRemovals: f.allow})
			if err != nil {
				return client.Locate(err, f.loaded)
			}
			if err := client.Await(r.GetVerdict()); err != nil {
				if v := r.GetVerdict().GetViolations(); len(v) > 0 {
					return client.LocateAll(v, f.loaded)
				}
				return errors.Join(p.Planned(r), told(err))
			}
			return p.Planned(r)
		})
	f.add(cmd)
	return cmd
}

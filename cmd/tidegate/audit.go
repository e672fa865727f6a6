package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/cmd/client"
	"github.com/tidegate/tidegate/cmd/output"
	"github.com/tidegate/tidegate/controller/audit"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

func (a *app) auditCommand() *cobra.Command {
	return a.group("audit", "who changed what, and whether that record is whole",
		`Every change of the replicated state is a record, bound to the one before by its hash. A node holds the last 10,000 in
its state, and keeps all of them in files under its data directory, audit/audit-*.jsonl.`,
		a.auditList(), a.auditVerify(), a.auditExport(), a.auditBegin())
}

func (a *app) auditList() *cobra.Command {
	var req pb.AuditServiceListRequest
	var since time.Duration
	var leases bool
	c := a.command("list", "show records, the newest first", "", exactly(),
		func(ctx context.Context, c *client.Client, p *output.Printer, _ []string) error {
			if since > 0 {
				req.Since = timestamppb.New(a.now().Add(-since))
			}
			req.NewestFirst, req.WithoutLeases = true, !leases
			r, err := c.Audit.List(ctx, &req)
			if err != nil {
				return err
			}
			return p.Audit(r)
		})
	f := c.Flags()
	f.StringVar(&req.By, "by", "", "only what this principal did, ROLE/NAME or ROLE")
	f.StringVar(&req.Change, "change", "", "only items with this kind of change, e.g. PutDocument")
	f.StringVar(&req.Object, "object", "", "only what was done to this, e.g. Customer/uni-a or Mitigation/M12")
	f.DurationVar(&since, "since", 0, "only what was done in this time, e.g. 24h")
	f.Uint32Var(&req.Limit, "limit", 50, "the most records")
	f.BoolVar(&leases, "leases", false, "show also what the leader writes every 30 s to say that it is alive")
	return c
}

// pages calls f with all records that the state holds, the oldest first.
func pages(ctx context.Context, c *client.Client, f func(*pb.AuditRecord) error) error {
	req := &pb.AuditServiceListRequest{Limit: 5000}
	for {
		r, err := c.Audit.List(ctx, req)
		if err != nil {
			return err
		}
		for _, rec := range r.GetRecords() {
			if err := f(rec); err != nil {
				return err
			}
			req.After = rec.GetSeq()
		}
		if !r.GetMore() {
			return nil
		}
	}
}

func (a *app) auditExport() *cobra.Command {
	var file string
	c := a.command("export", "write the records that the cluster holds as JSON lines",
		`The form is that of the nodes' own files, so "tidegate audit verify" checks it. It has the last 10,000 records at least;
what is older stands in the nodes' files.`, exactly(),
		func(ctx context.Context, c *client.Client, _ *output.Printer, _ []string) (err error) {
			out := io.Writer(a.stdout)
			if file != "" {
				f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
				if err != nil {
					return fmt.Errorf("cannot export to %q: %w", file, err)
				}
				defer f.Close() //nolint:errcheck // what matters is flushed and checked below
				out = f
			}
			buf := bufio.NewWriter(out)
			var enc *audit.Encoder
			err = pages(ctx, c, func(rec *pb.AuditRecord) error {
				r, err := api.AuditRecordFrom(rec)
				if err != nil {
					return err
				}
				if enc == nil {
					b := audit.Begin{Node: "export", At: a.now(), Seq: r.Seq - 1, Hash: r.Prev}
					if enc, err = audit.NewEncoder(buf, b); err != nil {
						return err
					}
				}
				return enc.Record(r)
			})
			if err == nil && enc == nil {
				err = &client.NotFoundError{Text: "the cluster has no audit records to export"}
			}
			if err != nil {
				return err
			}
			return buf.Flush()
		})
	c.Flags().StringVarP(&file, "file", "f", "", "write to this new file (default: standard output)")
	return c
}

func (a *app) auditBegin() *cobra.Command {
	var w writeFlags
	c := a.command("begin", "begin the records of a cluster that is older than them", `A new cluster has them from its first entry on. One that was upgraded has them from this command on. Every node must run
a version that knows them; that is asked for first.`, exactly(),
		func(ctx context.Context, c *client.Client, p *output.Printer, _ []string) error {
			why, err := w.why()
			if err != nil {
				return err
			}
			r, err := c.Audit.Begin(ctx, &pb.BeginRequest{RequestId: w.id(a), Reason: why})
			if err != nil {
				return err
			}
			if r.GetWrite().GetIndex() == 0 {
				p.Sentence("Nothing to change.")
				return nil
			}
			p.Sentence("The audit records begin at index %d.", r.GetWrite().GetIndex())
			return nil
		})
	w.add(c)
	return c
}

// auditVerify checks the cluster, or files and then the cluster.
func (a *app) auditVerify() *cobra.Command {
	var offline, gaps bool
	c := &cobra.Command{
		Use: "verify [FILE|DIRECTORY]...", Short: "check that no record was changed, removed, added or moved",
		Long: `Without an argument the records that the cluster holds are checked there. With files, or with a node's audit
directory, each line is checked against the one before, and the newest record against the cluster: a file that was
written anew as a whole, or whose end was cut off, agrees with itself and not with the cluster. --offline leaves that
out. The exit code is 3 when something was changed or is missing.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			a.running = true
			p, err := a.printer()
			if err != nil {
				return err
			}
			req := &pb.VerifyRequest{}
			if len(args) > 0 {
				report, err := verifyFiles(args)
				if err != nil {
					return err
				}
				ok, err := p.AuditFiles(report, gaps)
				if err := notInOrder(ok, err); err != nil || offline {
					return err
				}
				if report.Last != nil {
					req.Seq, req.Hash = report.Last.Seq, audit.Digest(report.Last.Hash).String()
				}
			}
			return a.ask(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				r, err := c.Audit.Verify(ctx, req)
				if err != nil {
					return err
				}
				ok, err := p.AuditVerified(r, req.GetSeq())
				return notInOrder(ok, err)
			})
		},
	}
	c.Flags().BoolVar(&offline, "offline", false, "do not compare with the cluster")
	c.Flags().BoolVar(&gaps, "allow-gaps", false, "accept records that the file says are missing")
	return c
}

// notInOrder is the end of a check whose findings were printed.
func notInOrder(ok bool, err error) error {
	if err != nil || ok {
		return err
	}
	return told(&client.RefusedError{Verdict: &pb.Verdict{Text: "the audit records are not in order"}})
}

// verifyFiles checks files in their order, and all of a directory.
func verifyFiles(args []string) (*audit.Report, error) {
	var names []string
	for _, arg := range args {
		info, err := os.Stat(arg)
		if err != nil {
			return nil, &client.UsageError{Text: fmt.Sprintf("cannot read %q: %s", arg, err)}
		}
		if !info.IsDir() {
			names = append(names, arg)
			continue
		}
		list, err := audit.Files(arg)
		if err != nil {
			return nil, err
		}
		if len(list) == 0 {
			return nil, &client.UsageError{Text: fmt.Sprintf("there is no audit file in %q", arg)}
		}
		names = append(names, list...)
	}
	var files []audit.File
	for _, n := range names {
		f, err := os.Open(n)
		if err != nil {
			return nil, &client.UsageError{Text: fmt.Sprintf("cannot read %q: %s", n, err)}
		}
		defer f.Close() //nolint:errcheck // it was only read
		files = append(files, audit.File{Name: n, Data: f})
	}
	return audit.Verify(nil, files...)
}

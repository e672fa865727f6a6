package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/api/auth/pki"
	"github.com/tidegate/tidegate/cmd/client"
	"github.com/tidegate/tidegate/cmd/output"
)

func (a *app) pkiCommand() *cobra.Command {
	return a.group("pki", "make an authority and certificates, for labs and small clusters",
		`Makes what a cluster needs to know who is who. An identity is a URI in the certificate, tidegate://CLUSTER/ROLE/NAME;
any authority can issue such certificates, this one is for those who have none. There is no revocation.`,
		a.pkiInit(), a.pkiIssue())
}

func (a *app) pkiInit() *cobra.Command {
	var dir, cluster string
	c := a.local("init --dir DIR --cluster NAME", "make the authority of a cluster", "", exactly(),
		func(_ context.Context, p *output.Printer, _ []string) error {
			ca, err := pki.NewCA(cluster)
			if err != nil {
				return &client.UsageError{Text: err.Error()}
			}
			if err := ca.Write(dir, false); err != nil {
				return existing(err)
			}
			p.Sentence("Authority of cluster %s: %s. Keep %s secret.", cluster, filepath.Join(dir, auth.CAFile), filepath.Join(dir, pki.CAKeyFile))
			return nil
		})
	c.Flags().StringVar(&dir, "dir", "pki", "where the authority is kept")
	c.Flags().StringVar(&cluster, "cluster", "tidegate", "name of the cluster, as in the nodes' files")
	return c
}

func (a *app) pkiIssue() *cobra.Command {
	var dir, out string
	var hosts []string
	roles := make([]string, 0, len(auth.AllRoles()))
	for _, r := range auth.AllRoles() {
		roles = append(roles, string(r))
	}
	c := a.local("issue ROLE/NAME --out DIR", "issue a certificate", fmt.Sprintf(`Issues a certificate and writes ca.pem, cert.pem and key.pem, which is a --tls-dir. Roles: %s.
A member needs the addresses at which others call it:

  tidegate pki issue member/n1 --host 192.0.2.1 --host n1.example.net --out n1
  tidegate pki issue operator/alice --out alice
  tidegate pki issue customer/uni-a/bob --out bob`, strings.Join(roles, ", ")), exactly("ROLE/NAME"),
		func(_ context.Context, p *output.Printer, args []string) error {
			role, name, ok := strings.Cut(args[0], "/")
			if !ok {
				return &client.UsageError{Text: fmt.Sprintf("%q is not ROLE/NAME, e.g. operator/alice", args[0])}
			}
			ca, err := pki.ReadCA(dir)
			if err != nil {
				return &client.UsageError{Text: fmt.Sprintf("%s; tidegate pki init makes one", err)}
			}
			switch member := auth.Role(role) == auth.Member; {
			case member && len(hosts) == 0:
				return &client.UsageError{Text: "a member's certificate needs the addresses it is called at: add --host, e.g. --host 192.0.2.1"}
			case !member && len(hosts) > 0:
				return &client.UsageError{Text: "only a member is called by others: leave out --host"}
			}
			b, err := ca.Issue(auth.Role(role), name, hosts...)
			if err != nil {
				return &client.UsageError{Text: err.Error()}
			}
			if out == "" {
				out = name
			}
			if err := b.Write(out, false); err != nil {
				return existing(err)
			}
			p.Sentence("Certificate of %s in cluster %s: %s", args[0], ca.Cluster, out)
			return nil
		})
	c.Flags().StringVar(&dir, "dir", "pki", "where the authority is kept")
	c.Flags().StringVar(&out, "out", "", "directory for the certificate (default: NAME)")
	c.Flags().StringSliceVar(&hosts, "host", nil, "address or DNS name at which a member is called; repeat it or separate by commas")
	return c
}

// existing makes an attempt to overwrite a matter of usage.
func existing(err error) error {
	if errors.Is(err, pki.ErrExists) {
		return &client.UsageError{Text: err.Error()}
	}
	return err
}

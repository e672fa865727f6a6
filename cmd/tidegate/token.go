package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/cmd/client"
	"github.com/tidegate/tidegate/cmd/output"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

func (a *app) tokenCommand() *cobra.Command {
	return a.group("token", "make, show and revoke bearer tokens",
		`A bearer token stands in place of a certificate for those who cannot hold one. It has a role (viewer, operator, detector or
customer), an end, and a name that the audit knows its calls by. It goes over TLS only; the cluster keeps its hash.`,
		a.tokenCreate(), a.tokenList(), a.tokenRevoke())
}

func (a *app) tokenCreate() *cobra.Command {
	var w writeFlags
	var req pb.CreateTokenRequest
	var lifetime time.Duration
	var out string
	c := a.command("create NAME --role ROLE --lifetime DURATION", "make a token, which is shown once",
		`Draws the token here and tells the cluster its hash. With --out a directory is made that is a --tls-dir, with ca.pem and token;
without it the token is printed, and cannot be shown again.

  tidegate token create ticket-bot --role operator --lifetime 2160h --out bot --reason "ticket 4711"
  tidegate token create portal --role customer --customer uni-a --lifetime 720h --reason "their portal"`, exactly("NAME"),
		func(ctx context.Context, c *client.Client, p *output.Printer, args []string) error {
			why, err := w.why()
			if err != nil {
				return err
			}
			_, _, cluster, err := auth.ClientFrom(a.tlsDir)
			if err != nil {
				return &client.UsageError{Text: err.Error()}
			}
			token, err := auth.NewToken(cluster, args[0])
			if err != nil {
				return &client.UsageError{Text: err.Error()}
			}
			hash := auth.TokenHash(token)
			req.Name, req.Hash, req.Lifetime, req.Reason, req.RequestId = args[0], hex.EncodeToString(hash[:]), durationpb.New(lifetime), why, w.id(a)
			if out != "" {
				if err := a.tokenDir(out, token); err != nil {
					return err
				}
			}
			r, err := c.Tokens.CreateToken(ctx, &req)
			if err != nil {
				return err // a directory that was made stays: the cluster may know the token all the same
			}
			if out != "" {
				token = ""
			}
			return p.TokenMade(r, token, out)
		})
	f := c.Flags()
	f.StringVar(&req.Role, "role", "", "viewer, operator, detector or customer (mandatory)")
	f.StringVar(&req.Customer, "customer", "", "whose it is, with role customer")
	f.StringVar(&req.Source, "source", "", "the detector that it reports as, with role detector (default: NAME)")
	f.DurationVar(&lifetime, "lifetime", 0, "how long it is good, at most 8784h (mandatory)")
	f.Uint32Var(&req.PerSecond, "per-second", 0, "calls a second on each node (default: what the role has)")
	f.StringVar(&out, "out", "", "directory to make, with ca.pem and token")
	w.add(c)
	return c
}

// tokenDir makes the directory of a client that is known by a token.
func (a *app) tokenDir(dir, token string) error {
	ca, err := os.ReadFile(auth.FilesIn(a.tlsDir).CA)
	if err != nil {
		return &client.UsageError{Text: err.Error()}
	}
	if err := os.Mkdir(dir, 0o700); errors.Is(err, fs.ErrExist) {
		return &client.UsageError{Text: fmt.Sprintf("%q exists; name a new directory", dir)}
	} else if err != nil {
		return fmt.Errorf("cannot make directory: %w", err)
	}
	return errors.Join(os.WriteFile(filepath.Join(dir, auth.CAFile), ca, 0o644), //nolint:gosec // an authority's certificate is no secret
		os.WriteFile(filepath.Join(dir, auth.TokenFile), []byte(token+"\n"), 0o600))
}

func (a *app) tokenList() *cobra.Command {
	return a.command("list", "show the tokens, and those that ended in the last 30 days", "", exactly(),
		func(ctx context.Context, c *client.Client, p *output.Printer, _ []string) error {
			r, err := c.Tokens.ListTokens(ctx, &pb.ListTokensRequest{})
			if err != nil {
				return err
			}
			return p.Tokens(r)
		})
}

func (a *app) tokenRevoke() *cobra.Command {
	var w writeFlags
	c := a.command("revoke NAME", "end a token at once", "Calls with it are refused from now on, and streams that were opened with it end.", exactly("NAME"),
		func(ctx context.Context, c *client.Client, p *output.Printer, args []string) error {
			why, err := w.why()
			if err != nil {
				return err
			}
			r, err := c.Tokens.RevokeToken(ctx, &pb.RevokeTokenRequest{RequestId: w.id(a), Reason: why, Name: args[0]})
			if err != nil {
				return err
			}
			return p.TokenRevoked(r)
		})
	w.add(c)
	return c
}

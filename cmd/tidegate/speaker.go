package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/grpclog"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tidegate/tidegate/bgp/remote"
	"github.com/tidegate/tidegate/cmd/client"
	"github.com/tidegate/tidegate/cmd/node"
	"github.com/tidegate/tidegate/cmd/output"
	speakerv1 "github.com/tidegate/tidegate/proto/tidegate/speaker/v1"
)

// speakerAt is where the speaker of this machine is found.
type speakerAt struct{ config, socket string }

// usualDataDir is where the documentation keeps a node's data.
const usualDataDir = "/var/lib/tidegate"

func (a *app) speakerCommand() *cobra.Command {
	var at speakerAt
	c := a.group("speaker", "orders to the BGP speaker of this machine, without the cluster",
		`Gives orders to the BGP speaker of the node that runs on this machine, over a unix socket: without a leader, without
the other nodes, without certificates. Only root and the user that the node runs as may do so.`,
		a.speakerWithdrawAll(&at), a.speakerResume(&at), a.speakerUnquarantine(&at), a.speakerStatus(&at), a.speakerRun(&at))
	f := c.PersistentFlags()
	f.StringVarP(&at.config, "config", "c", "", "the node's file, which says where its socket is")
	f.StringVar(&at.socket, "socket", "", "the socket itself (default: that of --config, else "+usualSocket()+")")
	c.MarkFlagsMutuallyExclusive("config", "socket")
	return c
}

func usualSocket() string { return filepath.Join(usualDataDir, remote.SocketName) }

func (a *app) speakerWithdrawAll(at *speakerAt) *cobra.Command {
	var w writeFlags
	var wait bool
	c := a.onSpeaker(at, "withdraw-all --reason TEXT", "withdraw everything from this node's BGP sessions, and stay out",
		`Withdraws every rule and every blackhole from all BGP sessions of the node on this machine, at once and unpaced, and
keeps the node out, over restarts too, until "tidegate speaker resume". Sessions stay up. Mitigations stay as they are:
the other nodes go on announcing, and the answer says what to run there.`,
		func(ctx context.Context, c *remote.Client, p *output.Printer) error {
			reason, err := w.why()
			if err != nil {
				return err
			}
			patient := time.Second
			if wait {
				patient = a.timeout
			}
			r, err := c.WithdrawAll(ctx, &speakerv1.WithdrawAllRequest{
				Reason: reason, OnBehalfOf: a.env("SUDO_USER"), Wait: durationpb.New(min(patient, a.timeout*9/10)),
			})
			if err != nil {
				return err
			}
			at.commands(r.GetSpeaker(), reason)
			if err := p.SpeakerWithdrawn(r); err != nil {
				return err
			}
			if wait && !r.GetComplete() {
				return told(errors.New("not everything is withdrawn yet"))
			}
			return nil
		})
	c.Flags().StringVar(&w.reason, "reason", "", "why, in your words; it is kept and shown until the node resumes (mandatory)")
	c.Flags().BoolVar(&wait, "wait", false, "wait until nothing is announced any more, at most for --timeout; exit code 1 if something is")
	return c
}

func (a *app) speakerResume(at *speakerAt) *cobra.Command {
	return a.onSpeaker(at, "resume", "announce again after withdraw-all",
		"Ends what withdraw-all began: what is wanted by now is announced again on this node's sessions, at the routers' pace.",
		func(ctx context.Context, c *remote.Client, p *output.Printer) error {
			r, err := c.Resume(ctx, &speakerv1.ResumeRequest{OnBehalfOf: a.env("SUDO_USER")})
			if err != nil {
				return err
			}
			return p.SpeakerResumed(r)
		})
}

func (a *app) speakerUnquarantine(at *speakerAt) *cobra.Command {
	return a.onSpeakerWith(at, "unquarantine ROUTER", "end the quarantine of a router, and of rules at it",
		`Forgets that messages of the router, given by its name or address, have crashed the speaker of the node on this machine, and
dials it again at once; two more crashes quarantine it again. Rules that are kept off the router because it ended its session
after them are announced to it again. The other nodes have quarantines of their own.`,
		[]string{"ROUTER"}, func(ctx context.Context, c *remote.Client, p *output.Printer, args []string) error {
			r, err := c.Unquarantine(ctx, &speakerv1.UnquarantineRequest{Router: args[0], OnBehalfOf: a.env("SUDO_USER")})
			if err != nil {
				return err
			}
			return p.SpeakerUnquarantined(args[0], r)
		})
}

func (a *app) speakerStatus(at *speakerAt) *cobra.Command {
	return a.onSpeaker(at, "status", "show this node's BGP sessions, and whether it is out", "",
		func(ctx context.Context, c *remote.Client, p *output.Printer) error {
			r, err := c.Status(ctx, &speakerv1.StatusRequest{})
			if err != nil {
				return err
			}
			if o := r.GetSpeaker().GetOut(); o != nil {
				at.commands(r.GetSpeaker(), o.GetReason())
			}
			return p.SpeakerStatus(r)
		})
}

// speakerRun is the speaker itself.
func (a *app) speakerRun(at *speakerAt) *cobra.Command {
	return a.local("run --config FILE", "run a node's speaker in a process of its own",
		`Runs the BGP speaker of a node, without the rest of it, until it gets SIGTERM or SIGINT. "tidegate serve" starts it by
itself, and again when it ends, unless the node's file has "speaker: {process: external}": then it is a service of its
own, which goes on while the node is restarted or upgraded.`,
		exactly(), func(ctx context.Context, _ *output.Printer, _ []string) error {
			if at.config == "" {
				return &client.UsageError{Text: "--config is missing; write --config FILE, the node's own file"}
			}
			cfg, err := readConfig(at.config)
			if err != nil {
				return err
			}
			grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
			// The log may go to a pipe of a node that has been killed: the speaker goes on without anybody who reads it.
			signal.Ignore(syscall.SIGPIPE)
			return node.RunSpeaker(ctx, cfg, node.Deps{Logger: a.logger(cfg.Log), Version: version()})
		})
}

// speakerProcess is the command that runs the speaker of the node of that file.
func speakerProcess(file string) ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("cannot tell where this program is: %w", err)
	}
	if file, err = filepath.Abs(file); err != nil {
		return nil, fmt.Errorf("cannot tell where the node's file is: %w", err)
	}
	return []string{self, "speaker", "run", "--config", file}, nil
}

// onSpeaker makes a command that asks the speaker of this machine.
func (a *app) onSpeaker(at *speakerAt, use, short, long string, f func(context.Context, *remote.Client, *output.Printer) error) *cobra.Command {
	return a.onSpeakerWith(at, use, short, long, nil, func(ctx context.Context, c *remote.Client, p *output.Printer, _ []string) error {
		return f(ctx, c, p)
	})
}

// onSpeakerWith is onSpeaker with arguments.
func (a *app) onSpeakerWith(at *speakerAt, use, short, long string, names []string,
	f func(context.Context, *remote.Client, *output.Printer, []string) error,
) *cobra.Command {
	return a.local(use, short, long, exactly(names...), func(ctx context.Context, p *output.Printer, args []string) error {
		if a.timeout <= 0 {
			return &client.UsageError{Text: fmt.Sprintf("--timeout %s leaves no time for an answer; write a duration such as 15s", a.timeout)}
		}
		path, err := at.path()
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, a.timeout)
		defer cancel()
		c, err := remote.Dial(ctx, path)
		if err != nil {
			return explainSocket(err)
		}
		return errors.Join(f(ctx, c, p, args), c.Close())
	})
}

// path is that of the socket.
func (at *speakerAt) path() (string, error) {
	switch {
	case at.socket != "":
		return at.socket, nil
	case at.config == "":
		return usualSocket(), nil
	}
	cfg, err := readConfig(at.config)
	if err != nil {
		return "", err
	}
	return cfg.SpeakerSocket(), nil
}

// explainSocket says what is wrong with a socket and what to do, with the exit code of its kind.
func explainSocket(err error) error {
	switch {
	case errors.Is(err, remote.ErrNotAllowed):
		return status.Errorf(codes.PermissionDenied, "%v; run this with sudo, or as that user", err)
	case errors.Is(err, remote.ErrNobody):
		return status.Errorf(codes.Unavailable, "%v, so the node does not run: it has no BGP session and announces nothing. "+
			"Orders can be given once it is started", err)
	case errors.Is(err, remote.ErrNoSocket):
		return status.Errorf(codes.Unavailable, "%v: either the node has never run here, or its socket is somewhere else; "+
			"write --config FILE, the node's own file, or --socket PATH", err)
	case errors.Is(err, remote.ErrNoSpeaker):
		return &client.UsageError{Text: fmt.Sprintf("%v; write --config FILE, the node's own file, or --socket PATH", err)}
	default:
		return err
	}
}

// commands fills in what to run on the other nodes.
func (at *speakerAt) commands(s *speakerv1.Speaker, reason string) {
	words := []string{"tidegate", "speaker", "withdraw-all"}
	switch {
	case at.config != "":
		words = append(words, "--config", quoted(at.config))
	case at.socket != "":
		words = append(words, "--socket", quoted(at.socket))
	}
	words = append(words, "--reason", quoted(reason))
	for _, o := range s.GetOthers() {
		o.Command = strings.Join(words, " ")
	}
}

// quoted is text as one word of a shell.
func quoted(text string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-:,@", r)
	}
	if text != "" && strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

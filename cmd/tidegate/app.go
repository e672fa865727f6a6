package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/cmd/client"
	"github.com/tidegate/tidegate/cmd/output"
)

// app is what all commands share: the surroundings and the flags of the root command.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	env            func(string) string
	now            func() time.Time
	location       *time.Location

	servers []string
	tlsDir  string
	format  string
	timeout time.Duration

	// running is set when a command's own code starts: an error before that is a matter of usage.
	running bool
	// requestID is that of the write that was sent: who does not know its outcome needs it.
	requestID string
}

// patience is how long a call is repeated while no server can take it: an election takes one or two seconds.
const patience = 5 * time.Second

// run executes one command line and returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return client.ExitDone
	}
	code := client.ExitOf(err)
	if _, told := errors.AsType[*toldError](err); told {
		return code
	}
	if !a.running {
		code = client.ExitUsage
	}
	a.complain(err)
	if a.requestID != "" && (code == client.ExitUnavailable || code == client.ExitFailed) {
		fmt.Fprintf(a.stderr, "To repeat this write without doing it twice, add --request-id %s\n", a.requestID)
	}
	return code
}

// notice tells of something on the way to an answer.
func (a *app) notice(text string) {
	_, width := a.terminal(a.stderr)
	output.Paragraph(a.stderr, "tidegate: ", text, width)
}

// toldError is an error that the user has been told already; it only sets the exit code.
type toldError struct{ err error }

func (e *toldError) Error() string { return e.err.Error() }
func (e *toldError) Unwrap() error { return e.err }

// complain prints an error as one paragraph, and what is wrong field by field below it.
func (a *app) complain(err error) {
	e := client.Explain(err)
	if a.requestID == "" {
		// What only reads, or judges without doing, leaves nothing in doubt.
		e.Text = strings.Replace(e.Text, client.InDoubt, "no answer in time: ", 1)
	}
	_, width := a.terminal(a.stderr)
	for i, line := range strings.Split(e.Text, "\n") {
		prefix := "tidegate: "
		if i > 0 {
			prefix = strings.Repeat(" ", len(prefix))
		}
		output.Paragraph(a.stderr, prefix, line, width)
	}
	for _, f := range e.Fields {
		output.Paragraph(a.stderr, "  - ", output.Violation(f), width)
	}
}

// terminal says whether w takes colour, and how wide it is; what is no terminal is 100 columns wide.
func (a *app) terminal(w io.Writer) (colour bool, width int) {
	if f, ok := w.(*os.File); ok {
		if colour, width = output.Terminal(f, a.env); width > 0 {
			return colour, width
		}
	}
	return false, 100
}

// printer prints in the format that -o asks for.
func (a *app) printer() (*output.Printer, error) {
	f, err := output.ParseFormat(a.format)
	if err != nil {
		return nil, &client.UsageError{Text: err.Error()}
	}
	colour, width := a.terminal(a.stdout)
	return &output.Printer{W: a.stdout, Format: f, Colour: colour, Width: width, Now: a.now(), Location: a.location}, nil
}

// body is that of a command that asks a cluster.
type body func(ctx context.Context, c *client.Client, p *output.Printer, args []string) error

// command makes a command that asks a cluster.
func (a *app) command(use, short, long string, args cobra.PositionalArgs, f body) *cobra.Command {
	return a.local(use, short, long, args, func(ctx context.Context, p *output.Printer, args []string) error {
		return a.ask(ctx, func(ctx context.Context, c *client.Client) error { return f(ctx, c, p, args) })
	})
}

// ask calls f with a client of the cluster.
func (a *app) ask(ctx context.Context, f func(context.Context, *client.Client) error) error {
	if a.timeout <= 0 {
		return &client.UsageError{Text: fmt.Sprintf("--timeout %s leaves no time for an answer; write a duration such as 15s", a.timeout)}
	}
	c, err := client.New(client.Config{Servers: a.servers, TLSDir: a.tlsDir, Patience: patience, Notice: a.notice})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	if err := f(ctx, c); err != nil {
		return errors.Join(err, c.Close())
	}
	return c.Close()
}

// local makes a command that needs no cluster.
func (a *app) local(use, short, long string, args cobra.PositionalArgs,
	f func(ctx context.Context, p *output.Printer, args []string) error,
) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Long: long, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			a.running = true
			p, err := a.printer()
			if err != nil {
				return err
			}
			return f(cmd.Context(), p, args)
		},
	}
}

// group makes a command that only holds others.
func (a *app) group(use, short, long string, subs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Long: long,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
	}
	c.AddCommand(subs...)
	return c
}

func unknownCommand(cmd *cobra.Command, word string) error {
	text := fmt.Sprintf("%q is not a command of %s", word, cmd.CommandPath())
	cmd.SuggestionsMinimumDistance = 2
	if near := cmd.SuggestionsFor(word); len(near) > 0 {
		text += fmt.Sprintf(`; did you mean "%s"?`, strings.Join(near, `" or "`)) // %q would escape the quotes between them
	}
	return &client.UsageError{Text: text}
}

// exactly wants the named arguments, no more and no fewer.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return &client.UsageError{Text: fmt.Sprintf("%s is missing; usage: %s", names[len(args)], cmd.UseLine())}
		case len(args) > len(names):
			return &client.UsageError{Text: fmt.Sprintf("%q is one argument too many; usage: %s", args[len(names)], cmd.UseLine())}
		default:
			return nil
		}
	}
}

// writeFlags are the flags of every command that changes something.
type writeFlags struct{ reason, requestID string }

func (w *writeFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&w.reason, "reason", "", "why, in your words; it is kept with what is done (mandatory)")
	c.Flags().StringVar(&w.requestID, "request-id", "", "repeat a write whose outcome is unknown without doing it twice (default: a new random one)")
}

// why returns the reason, which must be given.
func (w *writeFlags) why() (string, error) {
	if strings.TrimSpace(w.reason) == "" {
		return "", &client.UsageError{Text: `--reason is missing; say why, e.g. --reason "DNS flood, ticket 4711"; it is kept with what is done`}
	}
	return w.reason, nil
}

// id returns the request id, a random one by default.
func (w *writeFlags) id(a *app) string {
	if w.requestID == "" {
		w.requestID = rand.Text()
	}
	a.requestID = w.requestID
	return w.requestID
}

// told marks an error whose story the printed answer has told.
func told(err error) error {
	if err == nil {
		return nil
	}
	return &toldError{err: err}
}

// Package demo tells what tidegate does in about ten seconds, on one machine, without root and without configuration:
// three nodes as child processes with raft on disk and mutual TLS, one edge router that speaks BGP over loopback TCP,
// an attack, a crash of the leader, the end of the attack. Every line is measured, every promise is an expectation
// that is checked against what the router heard; one that does not hold ends the demo with an error.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/bgp/bgptest"
	"github.com/tidegate/tidegate/cmd/client"
)

// Config says where the demo runs and what it prints on.
type Config struct {
	Out        io.Writer
	Colour     bool
	Width      int
	Executable string // the tidegate binary
	TempDir    string // parent of the demo's directory; empty: the system's
	Keep       bool   // leave everything running until ctx ends
}

// patience bounds every wait of the demo, beyond anything that a healthy machine needs.
const patience = 20 * time.Second

// demo is one run.
type demo struct {
	cfg    Config
	s      *screen
	lab    *lab
	router *bgptest.Router

	admin, operator *client.Client
	detector        *detector
	leader          *member
	attacks         []attack // reported and not ended
	byHand          []string // mitigations that the operator started
}

// Run tells the story. It returns nil when every expectation held. Its children are gone and its directory is removed
// when it returns; after a failure the nodes' logs stay, and it is printed where.
func Run(ctx context.Context, cfg Config) (err error) {
	d := &demo{cfg: cfg, s: &screen{w: cfg.Out, colour: cfg.Colour, width: cfg.Width, start: time.Now()}}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	d.s.w = &audience{w: cfg.Out, gone: func(err error) { cancel(fmt.Errorf("cannot print: %w", err)) }}
	d.lab, err = newLab(cfg.TempDir, cfg.Executable, func(m *member) {
		cancel(fmt.Errorf("node %s ended by itself:\n%s", m.ID, strings.Join(m.lastWords(5), "\n")))
	})
	if err != nil {
		return err
	}
	defer func() { err = d.end(err) }()
	d.router, err = bgptest.NewRouter(bgptest.Config{ASN: routerASN, KeepUpdates: true})
	if err != nil {
		return err
	}
	routing, stop := context.WithCancel(context.WithoutCancel(ctx))
	ran := make(chan error, 1)
	go func() { ran <- d.router.Run(routing) }()
	defer func() {
		stop()
		err = errors.Join(err, <-ran)
	}()
	err = d.tell(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause // what came of it is less telling than what ended it
	}
	return err
}

// audience is who reads the story. When nobody does any more (head(1) has seen enough), the demo ends and tidies up.
type audience struct {
	w    io.Writer
	gone func(error)
}

func (a *audience) Write(b []byte) (int, error) {
	n, err := a.w.Write(b)
	if err != nil {
		a.gone(err)
	}
	return n, err
}

// tell runs the chapters in order.
func (d *demo) tell(ctx context.Context) error {
	fmt.Fprintln(d.s.w, d.s.paint("1", "tidegate demo")+": three nodes, one router, two attacks, one crash. Times count from the start.")
	if err := d.connect(); err != nil {
		return err
	}
	defer d.disconnect()
	for _, c := range chapters() {
		d.s.chapter("%s", c.title)
		if err := c.run(d, ctx); err != nil {
			return err
		}
	}
	fmt.Fprintf(d.s.w, "\n%s\n", d.s.paint("1;32", fmt.Sprintf("All %d expectations held, in %.1f s.", d.s.held, time.Since(d.s.start).Seconds())))
	if d.cfg.Keep {
		return d.keep(ctx)
	}
	return nil
}

// chapter is a part of the story.
type chapter struct {
	title string
	run   func(*demo, context.Context) error
}

func chapters() []chapter {
	return []chapter{
		{"Three nodes and an edge router start", (*demo).startUp},
		{"The inventory: whose space is whose, and what is never touched", (*demo).loadInventory},
		{"A DNS amplification flood on one address", (*demo).flood},
		{"A carpet bomb over the whole prefix", (*demo).carpet},
		{"The same in IPv6", (*demo).six},
		{"The leader is killed in the middle of the attack", (*demo).crash},
		{"The killed node comes back", (*demo).comeBack},
		{"The attacks end", (*demo).calm},
	}
}

func (d *demo) connect() error {
	var err error
	to := func(r auth.Role) client.Config {
		return client.Config{Servers: d.lab.servers(), TLSDir: d.lab.tlsDir(r), Patience: patience}
	}
	if d.admin, err = client.New(to(auth.Admin)); err != nil {
		return err
	}
	d.operator, err = client.New(to(auth.Operator))
	return err
}

func (d *demo) disconnect() {
	if d.detector != nil {
		d.detector.close()
	}
	for _, c := range []*client.Client{d.admin, d.operator} {
		if c != nil {
			_ = c.Close() // nothing is on its way
		}
	}
}

// end stops the children and tidies up; after a failure it says where the logs are.
func (d *demo) end(err error) error {
	interrupted := errors.Is(err, context.Canceled)
	failed := err != nil && !interrupted && !errors.Is(err, syscall.EPIPE)
	cerr := d.lab.close(failed)
	if failed {
		fmt.Fprintf(d.s.w, "\n%s The nodes' logs are kept: %s\n", d.s.paint("31;1", "The demo failed."), filepath.Join(d.lab.dir, "*.log"))
	}
	return errors.Join(err, cerr)
}

// keep waits for the end with everything running.
func (d *demo) keep(ctx context.Context) error {
	fmt.Fprintf(d.s.w, `
Everything keeps running. In another terminal:

  export TIDEGATE_SERVER=%s
  export TIDEGATE_TLS_DIR=%s

  tidegate cluster status
  tidegate peers
  tidegate customer lookup 203.0.113.5
  tidegate mitigation preview --target 203.0.113.0/24 --match "proto udp sport 53" --rate 10Mbps
  tidegate mitigation start --target 203.0.113.0/24 --match "proto udp sport 53" --discard --lifetime 10m --reason "trying it out"
  tidegate rules

  tidegate signal send --tls-dir %s --attack a-1 --target 203.0.113.10 --vector dns_amplification

Metrics: http://%s/metrics   Logs: %s
Ctrl-C ends it and removes everything.
`, strings.Join(d.lab.servers(), ","), d.lab.tlsDir(auth.Admin), d.lab.tlsDir(auth.Detector), d.lab.members[0].HTTP, filepath.Join(d.lab.dir, "*.log"))
	<-ctx.Done()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

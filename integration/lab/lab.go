// Package lab puts real routers in front of tidegate: FRR, BIRD, ExaBGP and gobgpd, started in a network namespace of
// their own, so that they may all use the loopback addresses and nothing on the machine is disturbed. It reads each
// router's own view of its FlowSpec table back into the words of package flowspec, so that a test can compare what was
// wanted with what a router understood.
//
// It owns the namespace, the processes in it and the parsers of the routers' output. It knows nothing of clusters,
// documents or mitigations; the tests in package integration bring those. It needs root, Linux, and the Debian
// packages frr, bird2, exabgp, gobgpd and iproute2 (Require).
package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// Port is where the routers of a lab listen for BGP.
const Port = 1790

// Config says who the routers of a lab expect.
type Config struct {
	// Neighbours are the speakers' addresses, from which they connect.
	Neighbours []netip.Addr
	// ASN is the speakers' autonomous system. The routers have their own: the sessions are eBGP.
	ASN flowspec.ASN
}

// Lab is a namespace and what runs in it. Make one with New, end it with Close.
type Lab struct {
	cfg Config
	ns  *Namespace
	dir string

	mu        sync.Mutex // guards what follows
	processes []*Process
	sites     []*Site
}

// New makes a namespace and a directory for files and logs. Leftovers of labs whose test was killed are removed first.
func New(cfg Config) (*Lab, error) {
	if err := removeLeftovers(); err != nil {
		return nil, err
	}
	ns, err := newNamespace()
	if err != nil {
		return nil, err
	}
	return inDirectory(cfg, ns, ns.Name())
}

// NewLocal makes a lab without a namespace: what is started in it shares the network of this process. It needs no
// root, and has no routers.
func NewLocal() (*Lab, error) {
	ns, err := ownNetwork()
	if err != nil {
		return nil, err
	}
	return inDirectory(Config{}, ns, "tidegate-local")
}

func inDirectory(cfg Config, ns *Namespace, name string) (*Lab, error) {
	dir, err := os.MkdirTemp("", name+"-")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot make a directory for the lab: %w", err), ns.Close())
	}
	return &Lab{cfg: cfg, ns: ns, dir: dir}, nil
}

// Dir is the lab's directory: configurations, logs, control sockets. Close removes it.
func (l *Lab) Dir() string { return l.dir }

// Namespace is where everything of the lab runs.
func (l *Lab) Namespace() *Namespace { return l.ns }

// Close ends every process in the namespace, also those that nobody here started, and removes namespace and directory.
func (l *Lab) Close() error {
	l.mu.Lock()
	processes := slices.Clone(l.processes)
	sites := slices.Clone(l.sites)
	l.mu.Unlock()
	for _, s := range sites {
		_ = s.Freeze(false) // who waits for a frozen disk survives SIGKILL; most are not frozen
	}
	for _, p := range slices.Backward(processes) {
		p.Kill()
	}
	err := l.endLeft()
	for _, s := range sites {
		err = errors.Join(err, s.ns.Close())
	}
	return errors.Join(err, l.ns.Close(), os.RemoveAll(l.dir))
}

// endLeft kills what a process of this lab has started and left running, as a killed node leaves its speaker: processes
// whose command line names a file of the lab.
func (l *Lab) endLeft() error {
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return fmt.Errorf("cannot list processes: %w", err)
	}
	for _, file := range all {
		line, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(line), l.dir+string(filepath.Separator)) {
			continue // gone by now, or somebody else's
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err == nil && pid != os.Getpid() {
			_ = syscall.Kill(pid, syscall.SIGKILL) // gone by now is what is wanted
		}
	}
	return nil
}

// Logs writes the last lines of every process's log to w.
func (l *Lab) Logs(w io.Writer, lines int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.processes {
		fmt.Fprintf(w, "--- %s (%s)\n", p.Name(), p.State())
		for _, line := range p.Tail(lines) {
			fmt.Fprintf(w, "    %s\n", line)
		}
	}
}

// Start runs a program in the namespace; its standard output and error go to a log of that name.
func (l *Lab) Start(name string, argv ...string) (*Process, error) {
	p, err := startProcess(l.ns, name, filepath.Join(l.dir, name+".log"), argv)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.processes = append(l.processes, p)
	l.mu.Unlock()
	return p, nil
}

// Until calls cond at once and then every so often until it returns nil, or until ctx is done; then it returns ctx's
// error and the last one of cond that was not made by ctx itself.
func Until(ctx context.Context, every time.Duration, cond func(context.Context) error) error {
	t := time.NewTicker(every)
	defer t.Stop()
	var last error
	for {
		err := cond(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), last)
		case <-t.C:
		}
	}
}

// Pause waits that long, and returns early with ctx's error when ctx is done. It spares a router that is looked at
// again and again; it is no way of waiting for something to happen (Until).
func Pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Check is an error if the process that was started last under that name is gone, or if there is none.
func (l *Lab) Check(name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range slices.Backward(l.processes) {
		if p.Name() == name {
			return p.Check()
		}
	}
	return fmt.Errorf("cannot check %q: never started", name)
}

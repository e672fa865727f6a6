package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is a program at work in the namespace.
type Process struct {
	name, log string
	cmd       *exec.Cmd
	ended     chan struct{} // closed when it is gone and has been waited for

	mu  sync.Mutex // guards err
	err error      // of Wait
}

// startProcess starts argv. What it prints is appended to the file log.
func startProcess(ns *Namespace, name, log string, argv []string) (*Process, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open the log of %s: %w", name, err)
	}
	defer f.Close() //nolint:errcheck // The child has its own; nothing is written here.
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = f, f, filepath.Dir(log)
	if err := ns.start(cmd); err != nil {
		return nil, fmt.Errorf("cannot start %s: %w", name, err)
	}
	p := &Process{name: name, log: log, cmd: cmd, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		err := cmd.Wait()
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
	}()
	return p, nil
}

// Name is what Start was given.
func (p *Process) Name() string { return p.name }

// PID is the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ended is closed when the process is gone.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Signal sends a signal. That the process is gone already is no error.
func (p *Process) Signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// Kill ends the process with SIGKILL and waits until it is gone.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.ended
}

// Stop asks the process to end with SIGTERM and returns its exit code. If it has not ended when ctx is done, it is
// killed and that is an error.
func (p *Process) Stop(ctx context.Context) (int, error) {
	p.Signal(syscall.SIGTERM)
	return p.Wait(ctx)
}

// Wait returns the exit code once the process has ended by itself; when ctx is done before, it is killed.
func (p *Process) Wait(ctx context.Context) (int, error) {
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		p.Kill()
		return -1, fmt.Errorf("cannot stop %s: %w", p.name, context.Cause(ctx))
	}
}

// Check is an error if the process is gone.
func (p *Process) Check() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s has ended (%s): %s", p.name, p.State(), strings.Join(p.Tail(5), " | "))
	default:
		return nil
	}
}

// State says in a word or two whether it runs, or how it ended.
func (p *Process) State() string {
	select {
	case <-p.ended:
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.err != nil {
			return p.err.Error()
		}
		return "exit status 0"
	default:
		return "running"
	}
}

// Tail is the last lines of what it printed.
func (p *Process) Tail(lines int) []string {
	b, err := os.ReadFile(p.log)
	if err != nil {
		return []string{err.Error()}
	}
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return all[max(0, len(all)-lines):]
}

// Result is what a program that has ended left behind.
type Result struct {
	Code           int
	Stdout, Stderr string
}

// Run runs a program in the namespace to its end. An exit code other than 0 is no error; a program that cannot be
// started, or that ctx had to kill, is one. env is added to the environment.
func (l *Lab) Run(ctx context.Context, env []string, argv ...string) (Result, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = &stdout, &stderr, l.dir
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = time.Second
	if err := l.ns.start(cmd); err != nil {
		return Result{}, fmt.Errorf("cannot run %s: %w", filepath.Base(argv[0]), err)
	}
	err := cmd.Wait()
	r := Result{Code: cmd.ProcessState.ExitCode(), Stdout: stdout.String(), Stderr: stderr.String()}
	if ctx.Err() != nil {
		return r, fmt.Errorf("cannot run %s: %w: %s", filepath.Base(argv[0]), context.Cause(ctx), r.Stderr)
	}
	if err != nil && r.Code < 0 {
		return r, fmt.Errorf("cannot run %s: %w: %s", filepath.Base(argv[0]), err, r.Stderr)
	}
	return r, nil
}

// output is Run for a router's control program: its standard output, and an error unless it ended well.
func (l *Lab) output(ctx context.Context, argv ...string) ([]byte, error) {
	r, err := l.Run(ctx, nil, argv...)
	if err != nil {
		return nil, err
	}
	if r.Code != 0 {
		return nil, fmt.Errorf("cannot run %s: exit code %d: %s%s", filepath.Base(argv[0]), r.Code, r.Stderr, r.Stdout)
	}
	return []byte(r.Stdout), nil
}

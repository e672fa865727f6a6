package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"time"

	"github.com/tidegate/tidegate/bgp/remote"
	speakerv1 "github.com/tidegate/tidegate/proto/tidegate/speaker/v1"
)

// supervisor keeps a speaker's process running. One that is there already, because the node before this one was killed or
// crashed, is taken over as it is.
type supervisor struct {
	command []string
	socket  string
	log     *slog.Logger
}

const (
	firstBackoff = 100 * time.Millisecond
	lastBackoff  = 5 * time.Second
	longLife     = 30 * time.Second // after which a crash counts as the first one
	adoptEvery   = 250 * time.Millisecond
	stopTimeout  = 15 * time.Second
)

// run works until ctx ends, and then ends the speaker in order.
func (s *supervisor) run(ctx context.Context) error {
	if len(s.command) == 0 {
		return errors.New("cannot start a speaker: this node has not been told how")
	}
	wait := firstBackoff
	for ctx.Err() == nil {
		began := time.Now()
		err := s.once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) > longLife {
			wait = firstBackoff
		}
		s.log.Error("the speaker's process has ended and is started again", "err", err, "after", time.Since(began).Round(time.Millisecond), "in", wait)
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
		case <-t.C:
		}
		wait = min(2*wait, lastBackoff)
	}
	return nil
}

// once follows one speaker to its end.
func (s *supervisor) once(ctx context.Context) error {
	c, err := remote.Dial(ctx, s.socket)
	switch {
	case err == nil:
		return errors.Join(s.adopt(ctx, c), c.Close())
	case errors.Is(err, remote.ErrNoSocket), errors.Is(err, remote.ErrNobody):
		return s.start(ctx)
	default:
		return err
	}
}

// adopt follows a speaker that this process did not start.
func (s *supervisor) adopt(ctx context.Context, c *remote.Client) error {
	st, err := c.Status(ctx, &speakerv1.StatusRequest{})
	if err != nil {
		return fmt.Errorf("cannot ask the speaker that runs already: %w", err)
	}
	if !st.GetSpeaker().GetOwnProcess() {
		return errors.New("another node's process holds the speaker's socket")
	}
	s.log.Warn("a speaker runs already, and is taken over with what it announces", "pid", st.GetSpeaker().GetPid())
	t := time.NewTicker(adoptEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return s.end(func() bool { return s.gone() })
		case <-t.C:
		}
		if s.gone() {
			return errors.New("the speaker that was taken over has ended")
		}
	}
}

// gone reports whether nobody listens at the socket.
func (s *supervisor) gone() bool {
	ctx, cancel := context.WithTimeout(context.Background(), adoptEvery)
	defer cancel()
	c, err := remote.Dial(ctx, s.socket)
	if err == nil {
		return c.Close() != nil
	}
	return errors.Is(err, remote.ErrNoSocket) || errors.Is(err, remote.ErrNobody)
}

// start runs a speaker until it ends. It is no child that ends with its parent: it has a session of its own, so that what
// ends this process does not end it.
func (s *supervisor) start(ctx context.Context) error {
	cmd := exec.Command(s.command[0], s.command[1:]...) //nolint:gosec // the node's own program
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.SysProcAttr = ownSession()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot start the speaker: %w", err)
	}
	s.log.Info("the speaker's process is started", "pid", cmd.Process.Pid)
	ended := make(chan struct{})
	var how error // there when ended is closed
	go func() {
		defer close(ended)
		how = cmd.Wait()
	}()
	select {
	case <-ended:
		return fmt.Errorf("process %d: %w", cmd.Process.Pid, exitError(how))
	case <-ctx.Done():
	}
	err := s.end(func() bool {
		select {
		case <-ended:
			return true
		default:
			return false
		}
	})
	if err != nil {
		s.log.Error("the speaker does not end in order and is killed: routers keep what it announced for a minute at most", "err", err)
		err := cmd.Process.Kill()
		<-ended
		return err
	}
	return nil
}

func exitError(err error) error {
	if err == nil {
		return errors.New("it has ended in order")
	}
	return err
}

// end tells the speaker to end, and waits until it has.
func (s *supervisor) end(ended func() bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	p, err := remote.NewProxy(s.socket, s.log)
	if err != nil {
		return err
	}
	told := make(chan struct{})
	go func() {
		defer close(told)
		if err := p.Shutdown(ctx); err != nil && ctx.Err() == nil {
			s.log.Debug("the speaker ended before it answered", "err", err)
		}
	}()
	defer func() {
		cancel()
		<-told
		_ = p.Close() // the other end is gone
	}()
	t := time.NewTicker(10 * time.Millisecond)
	defer t.Stop()
	for !ended() {
		select {
		case <-ctx.Done():
			return errors.New("the speaker has not ended in time")
		case <-t.C:
		}
	}
	return nil
}

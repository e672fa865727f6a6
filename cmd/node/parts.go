package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tidegate/tidegate/controller"
)

// part is something that works until its context ends.
type part struct {
	name string
	run  func(context.Context) error
}

// stalledStop is how long the parts may take to stop after the disk of this node was found to hang: what waits for the
// disk never stops, and the process must end.
const stalledStop = 2 * time.Second

// runParts runs all parts until ctx ends or one of them does, then stops them in the reverse order, each after the one
// before has stopped: what is used outlives its users. It returns the first failure. After controller.ErrStalled it leaves
// behind what does not stop soon.
func runParts(ctx context.Context, parts []part) error {
	g, first := errgroup.WithContext(ctx)
	type running struct {
		cancel context.CancelFunc
		done   chan struct{}
	}
	all := make([]running, len(parts))
	for i, p := range parts {
		own, cancel := context.WithCancel(context.WithoutCancel(ctx))
		done := make(chan struct{})
		all[i] = running{cancel: cancel, done: done}
		g.Go(func() error {
			defer close(done)
			err := p.run(own)
			switch {
			case own.Err() != nil && (err == nil || isCancelled(err)):
				return nil
			case err == nil:
				return fmt.Errorf("%s ended by itself", p.name)
			default:
				return fmt.Errorf("%s: %w", p.name, err)
			}
		})
	}
	g.Go(func() error {
		<-first.Done()
		for i := len(all) - 1; i >= 0; i-- {
			all[i].cancel()
			<-all[i].done
		}
		return nil
	})
	ended := make(chan error, 1)
	go func() { ended <- g.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-first.Done():
	}
	if err := context.Cause(first); errors.Is(err, controller.ErrStalled) {
		t := time.NewTimer(stalledStop)
		defer t.Stop()
		select {
		case whole := <-ended:
			return whole
		case <-t.C:
			return err
		}
	}
	return <-ended
}

package node

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// part is something that works until its context ends.
type part struct {
	name string
	run  func(context.Context) error
}

// runParts runs all parts until ctx ends or one of them does, then stops them in the reverse order, each after the one
// before has stopped: what is used outlives its users. It returns the first failure.
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
	return g.Wait()
}

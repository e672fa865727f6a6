package bgp

import (
	"errors"
	"sync/atomic"
)

// Started is closed when the speaker has started what it starts before the first Set.
func (s *Speaker) Started() <-chan struct{} { return s.started }

// SpareEngines changes how many engines are started before the first router, which takes most of a short test's time.
func (c *Config) SpareEngines(n int) { c.spareEngines = n }

// What an engine is told to do, for FailWhile.
const (
	Announcing    = workAnnounce
	Withdrawing   = workWithdraw
	Disconnecting = workDisconnect
)

// FailWhile makes engines fail at what they are told as often as left says.
func FailWhile(c *Config, work string, left *atomic.Int32) {
	c.fault = func(w engineWork, do func() error) error {
		if string(w) != work || left.Add(-1) < 0 {
			return do()
		}
		// To remove a neighbour and fail leaves it there; a failed batch may have been taken nevertheless.
		if w != workDisconnect {
			if err := do(); err != nil {
				return err
			}
		}
		return errors.New("no luck")
	}
}

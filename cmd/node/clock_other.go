//go:build !linux

package node

import (
	"time"

	"github.com/tidegate/tidegate/bgp/wanted"
)

// newElapsed falls back to Go's monotonic clock, which may stand still while the machine is suspended: good enough to
// try tidegate on a laptop that does not run Linux.
func newElapsed() (func() wanted.Instant, error) {
	start := time.Now()
	return func() wanted.Instant { return wanted.Instant(time.Since(start)) }, nil
}

package node

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tidegate/tidegate/bgp/wanted"
)

// elapsed reads CLOCK_BOOTTIME: it never steps, and it runs on while the machine is suspended, so that a lifetime does
// not become longer by a nap. The clock can fail on no Linux that Go runs on; newElapsed finds out once.
func elapsed() wanted.Instant {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // see newElapsed
	return wanted.Instant(ts.Sec)*wanted.Instant(time.Second) + wanted.Instant(ts.Nsec)
}

func newElapsed() (func() wanted.Instant, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return nil, fmt.Errorf("cannot read the boot clock: %w", err)
	}
	return elapsed, nil
}

//go:build !faults

package node

import "time"

// wallClock is the time of day.
func wallClock() func() time.Time { return time.Now }

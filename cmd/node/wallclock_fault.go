//go:build faults

package node

import (
	"os"
	"strings"
	"time"
)

// wallClock is the time of day, wrong by the duration that stands in the file named by TIDEGATE_FAULT_CLOCK. It exists
// only in programs built with the tag "faults", for tests of clocks that step: the machine's own clock stays.
func wallClock() func() time.Time {
	file := os.Getenv("TIDEGATE_FAULT_CLOCK")
	return func() time.Time {
		off := time.Duration(0)
		if b, err := os.ReadFile(file); err == nil {
			off, _ = time.ParseDuration(strings.TrimSpace(string(b))) // what is no duration moves nothing
		}
		return time.Now().Add(off)
	}
}

//go:build faults

package bgp

import (
	"fmt"
	"log/slog"
	"strings"
)

// faultsOn makes GoBGP tell of every UPDATE that it has read, so that faultAt can stand in its way.
const faultsOn = true

// faultAt crashes the process in the goroutine in which GoBGP reads an UPDATE, if its MED is the one that stands for
// a message that GoBGP cannot bear. It exists only in programs built with the tag "faults", for tests: no message is
// known that crashes this GoBGP.
func faultAt(r slog.Record) {
	if r.Message != "received update" {
		return
	}
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "path_attributes" && strings.Contains(fmt.Sprint(a.Value.Any()), faultMED) {
			panic("a message that the decoder cannot bear")
		}
		return true
	})
}

// faultMED is 64999666 as GoBGP prints it.
const faultMED = "Med: 64999666"

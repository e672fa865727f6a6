//go:build !faults

package bgp

import "log/slog"

// faultsOn and faultAt do nothing here; a program built for tests of faults crashes there, see fault_on.go.
const faultsOn = false

func faultAt(slog.Record) {}

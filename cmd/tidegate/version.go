package main

import (
	"context"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/tidegate/tidegate/cmd/output"
)

func (a *app) versionCommand() *cobra.Command {
	return a.local("version", "print the version", "", exactly(),
		func(_ context.Context, p *output.Printer, _ []string) error {
			return p.Version(output.Version{Version: version(), Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH})
		})
}

// version is what the Go toolchain recorded: the module's version, or the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.Main.Version
}

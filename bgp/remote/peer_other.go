//go:build !linux

package remote

import (
	"net"
	"os"
)

// uidOf trusts the mode of the socket, which lets in nobody but this user and root: good enough to try tidegate on a
// laptop that does not run Linux.
func uidOf(*net.UnixConn) (uint32, error) { return uint32(os.Geteuid()), nil }

//go:build !linux

package node

import "syscall"

// ownSession does nothing where tidegate is only tried.
func ownSession() *syscall.SysProcAttr { return nil }

//go:build !linux

package lab

import (
	"context"
	"errors"
	"net"
	"os/exec"
)

// errLinux is what a lab says elsewhere.
var errLinux = errors.New("network namespaces need Linux")

// Namespace is the network of this process; there is no other on this system.
type Namespace struct{}

func newNamespace() (*Namespace, error) { return nil, errLinux }

func ownNetwork() (*Namespace, error) { return &Namespace{}, nil }

func removeLeftovers() error { return errLinux }

func makeNamespace(bool) (*Namespace, error) { return nil, errLinux }

// Dial needs Linux.
func (*Namespace) Dial(context.Context, string) (net.Conn, error) { return nil, errLinux }

// Processes needs Linux.
func (*Namespace) Processes() ([]int, error) { return nil, errLinux }

func freeze(string, bool) error { return errLinux }

// Name is empty.
func (*Namespace) Name() string { return "" }

// Do runs f.
func (*Namespace) Do(f func() error) error { return f() }

func (*Namespace) start(cmd *exec.Cmd) error { return cmd.Start() }

// Close does nothing.
func (*Namespace) Close() error { return nil }

package remote

import (
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// uidOf asks the kernel for the user at the other end (unix(7), SO_PEERCRED).
func uidOf(conn *net.UnixConn) (uint32, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("cannot ask for the peer's credentials: %w", err)
	}
	var cred *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, fmt.Errorf("cannot ask for the peer's credentials: %w", err)
	}
	if failed != nil {
		return 0, fmt.Errorf("cannot ask for the peer's credentials: %w", failed)
	}
	return cred.Uid, nil
}

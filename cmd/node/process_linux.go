package node

import "syscall"

// ownSession puts a process into a session of its own (setsid(2)): no signal for this process's group reaches it.
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

package demo

import (
	"os/exec"
	"syscall"
)

// tie makes a child end with this process, whatever happens to it, and keeps a Ctrl-C on the terminal from reaching
// the child first: the demo ends its children itself.
func tie(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

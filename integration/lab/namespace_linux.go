package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// prefix begins the name of every namespace that a lab makes.
const prefix = "tidegate-lab-"

// namespaces is where ip netns keeps them, locks where each of ours has a file that its owner holds locked: a lock ends
// with its process, however that ends, so that a later run knows which namespaces are left over.
const (
	namespaces = "/run/netns"
	locks      = "/run/lock"
)

// Namespace is a network namespace with its loopback interface up.
type Namespace struct {
	name string   // empty: the network of this process
	own  bool     // mounts made inside are seen inside only
	lock *os.File // held for as long as this process lives and uses it; nil with an empty name
	work chan func()
	done chan struct{} // closed when the worker has ended
}

// newNamespace makes a namespace and the worker that lives in it.
func newNamespace() (*Namespace, error) { return makeNamespace(false) }

// makeNamespace is newNamespace; with own, what is mounted inside is seen inside only, and gone with the last process.
func makeNamespace(own bool) (*Namespace, error) {
	ns := &Namespace{own: own, work: make(chan func()), done: make(chan struct{})}
	for i := 1; ns.lock == nil; i++ {
		ns.name = fmt.Sprintf("%s%d-%d", prefix, os.Getpid(), i)
		var err error
		if ns.lock, err = take(ns.name); err != nil {
			return nil, err
		}
	}
	if err := ip("netns", "add", ns.name); err != nil {
		return nil, errors.Join(err, release(ns.lock))
	}
	if err := ns.begin(); err != nil {
		return nil, errors.Join(err, ip("netns", "del", ns.name), release(ns.lock))
	}
	if err := ip("-n", ns.name, "link", "set", "lo", "up"); err != nil {
		return nil, errors.Join(err, ns.Close())
	}
	return ns, nil
}

// ownNetwork is no namespace of its own: what runs in it shares the network of this process.
func ownNetwork() (*Namespace, error) {
	ns := &Namespace{work: make(chan func()), done: make(chan struct{})}
	return ns, ns.begin()
}

// begin starts the worker.
func (n *Namespace) begin() error {
	ready := make(chan error, 1)
	go n.live(ready)
	return <-ready
}

// live runs the worker: one OS thread that is inside of the namespace and never leaves it. A socket belongs to the
// namespace of the thread that makes it, a child process to that of the thread that starts it. The thread must live as
// long as its children, because they are told to die with it (Pdeathsig), so that a killed test leaves nobody behind.
func (n *Namespace) live(ready chan<- error) {
	defer close(n.done)
	runtime.LockOSThread() // never unlocked: the runtime throws the thread away when the goroutine ends
	err := n.enter()
	if ready <- err; err != nil {
		return
	}
	for f := range n.work {
		f()
	}
}

// enter moves the calling thread.
func (n *Namespace) enter() error {
	if n.name == "" {
		return nil
	}
	fd, err := unix.Open(filepath.Join(namespaces, n.name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = errors.Join(unix.Setns(fd, unix.CLONE_NEWNET), unix.Close(fd))
	}
	if err == nil && n.own {
		// CLONE_FS: a thread that shares its working directory with others may not leave their mounts.
		err = errors.Join(unix.Unshare(unix.CLONE_FS|unix.CLONE_NEWNS), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	}
	if err != nil {
		return fmt.Errorf("cannot enter namespace %q: %w", n.name, err)
	}
	return nil
}

// Dial connects to a literal address from inside of the namespace, without keeping others from Do meanwhile.
func (n *Namespace) Dial(ctx context.Context, address string) (net.Conn, error) {
	var conn net.Conn
	var err error
	dialled := make(chan struct{})
	go func() {
		defer close(dialled)
		runtime.LockOSThread() // never unlocked, as in live
		visitor := Namespace{name: n.name}
		if err = visitor.enter(); err == nil {
			var d net.Dialer
			conn, err = d.DialContext(ctx, "tcp", address)
		}
	}()
	<-dialled
	return conn, err
}

// Processes are the ids of all processes inside, whoever started them.
func (n *Namespace) Processes() ([]int, error) { return pidsIn(n.name) }

// Name is the name by which ip netns knows it.
func (n *Namespace) Name() string { return n.name }

// Do runs f on a thread inside of the namespace: sockets that f itself opens, and processes that it starts, belong to
// the namespace. Goroutines that f starts do not run there. One f runs at a time.
func (n *Namespace) Do(f func() error) error {
	var err error
	ran := make(chan struct{})
	n.work <- func() {
		defer close(ran)
		err = f()
	}
	<-ran
	return err
}

// start starts cmd inside of the namespace, to die with this process.
func (n *Namespace) start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return n.Do(cmd.Start)
}

// Close kills every process in the namespace and removes it.
func (n *Namespace) Close() error {
	var err error
	if n.name != "" {
		err = errors.Join(removeNamespace(n.name), release(n.lock))
	}
	close(n.work)
	<-n.done
	return err
}

// removalDeadline bounds how long killed processes may take to disappear.
const removalDeadline = 5 * time.Second

// removeNamespace kills whoever is left in a namespace and deletes it.
func removeNamespace(name string) error {
	deadline := time.NewTimer(removalDeadline)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for first := true; ; first = false {
		pids, err := pidsIn(name)
		if err != nil {
			return err
		}
		if first {
			thaw(pids)
		}
		if len(pids) == 0 {
			return ip("netns", "del", name)
		}
		for _, pid := range pids {
			// That it is gone by now is what is wanted.
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return fmt.Errorf("cannot empty namespace %q: processes %d survive SIGKILL", name, pids)
		}
	}
}

// thaw ends the freeze of every file system of a lab that one of the processes sees: who waits for a frozen one survives
// SIGKILL. Errors do not matter: most are not frozen.
func thaw(pids []int) {
	for _, pid := range pids {
		mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mounts", pid))
		if err != nil {
			continue // it is gone
		}
		for line := range strings.Lines(string(mounts)) {
			words := strings.Fields(line)
			if len(words) < 3 || words[2] != "ext4" || !strings.Contains(words[1], "/"+prefix) {
				continue
			}
			if fd, err := unix.Open(fmt.Sprintf("/proc/%d/root%s", pid, words[1]), unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
				_ = unix.IoctlSetInt(fd, fiThaw, 0)
				_ = unix.Close(fd)
			}
		}
	}
}

// The requests of ioctl that fsfreeze makes (linux/fs.h): FIFREEZE and FITHAW.
const (
	fiFreeze = 0xc0045877
	fiThaw   = 0xc0045878
)

// pidsIn lists the processes of a namespace, but not this one, whose worker thread is inside.
func pidsIn(name string) ([]int, error) {
	out, err := exec.Command("ip", "netns", "pids", name).Output()
	if err != nil {
		return nil, fmt.Errorf("cannot list the processes of namespace %q: %w", name, err)
	}
	var pids []int
	for field := range strings.FieldsSeq(string(out)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, fmt.Errorf("cannot list the processes of namespace %q: %w", name, err)
		}
		if pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// removeLeftovers removes the namespaces and directories of owners that live no more.
func removeLeftovers() error {
	entries, err := os.ReadDir(namespaces)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot list the namespaces: %w", err)
	}
	var errs []error
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) {
			continue
		}
		lock, err := take(e.Name())
		if err != nil || lock == nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, removeNamespace(e.Name()))
		dirs, err := filepath.Glob(filepath.Join(os.TempDir(), e.Name()+"-*"))
		errs = append(errs, err)
		for _, dir := range dirs {
			errs = append(errs, os.RemoveAll(dir))
		}
		errs = append(errs, release(lock))
	}
	return errors.Join(errs...)
}

// take locks the name of a namespace; nil if somebody else has it.
func take(name string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(locks, name), os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, f.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot lock namespace %q: %w", name, err)
	}
	return f, nil
}

// release undoes take.
func release(lock *os.File) error { return errors.Join(os.Remove(lock.Name()), lock.Close()) }

// ip runs iproute2.
func ip(args ...string) error {
	out, err := exec.Command("ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cannot run ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// freeze stops all writes to the file system that holds dir, or lets them go on.
func freeze(dir string, on bool) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	request := uint(fiThaw)
	if on {
		request = fiFreeze
	}
	return errors.Join(unix.IoctlSetInt(fd, request, 0), unix.Close(fd))
}

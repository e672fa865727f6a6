package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tidegate/tidegate/integration/lab"
)

// fillDisk fills the disk of the leader to the last block until its process has ended, or for some seconds.
func fillDisk(ctx context.Context, w *World) error {
	return w.onLeader(ctx, "disk full", func(leader *node) error {
		filler := filepath.Join(leader.site.Disk(), "filler")
		if err := leader.site.Do(func() error { return fill(filler) }); err != nil {
			return err
		}
		t := time.Now()
		err := errors.Join(lab.Pause(ctx, 6*time.Second), w.lost(ctx, t))
		if e := leader.site.Do(func() error { return os.Remove(filler) }); e != nil {
			err = errors.Join(err, e)
		}
		return errors.Join(err, w.revived(ctx, leader))
	})
}

// fill writes until there is no space left.
func fill(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("cannot fill the disk: %w", err)
	}
	for size := 1 << 20; size >= 512; {
		if _, err = f.Write(make([]byte, size)); errors.Is(err, unix.ENOSPC) {
			size /= 2
			continue
		}
		if err != nil {
			return errors.Join(fmt.Errorf("cannot fill the disk: %w", err), f.Close())
		}
	}
	return f.Close()
}

// revived starts a node again if it has ended by itself, and waits until the cluster is whole.
func (w *World) revived(ctx context.Context, n *node) error {
	if err := n.process.Check(); err != nil {
		w.cfg.Log("  it ended: %v", err)
		return w.restored(ctx, n)
	}
	return w.calm(ctx)
}

// giveWay is how long a leader whose disk hangs may keep others from writing: 15 s are promised, the rest is for slow machines.
const giveWay = 25 * time.Second

// hangDisk makes the writes to the leader's disk hang.
func hangDisk(ctx context.Context, w *World) error {
	return w.onLeader(ctx, "disk hangs", func(leader *node) error {
		if err := leader.site.Freeze(true); err != nil {
			return err
		}
		t := time.Now() // before that, writes still went through
		err := w.lost(ctx, t)
		if gap := time.Since(t); gap > giveWay {
			err = errors.Join(err, fmt.Errorf("%s gave way %v after its disk hung", leader.id, gap))
		}
		err = errors.Join(err, leader.site.Freeze(false), lab.Pause(ctx, time.Second))
		return errors.Join(err, w.revived(ctx, leader))
	})
}

// tornLog is what is left of a torn log, in octets: the end of the file is room that was never used.
const tornLog = 32 << 10

// tearLog cuts off the end of a killed node's log, as a disk that lies about what it has written may. The node must say so
// and not start; then the file is as it was again.
func tearLog(ctx context.Context, w *World) error {
	n := w.anyone()
	defer w.impair("log torn "+n.id, n.address)()
	n.process.Kill()
	var whole []byte
	var path string
	err := n.site.Do(func() (err error) {
		files, err := filepath.Glob(filepath.Join(n.site.Disk(), "data", "*.db"))
		if err != nil || len(files) != 1 {
			return fmt.Errorf("cannot find the log of %s: %v, %w", n.id, files, err)
		}
		path = files[0]
		if whole, err = os.ReadFile(path); err != nil {
			return err
		}
		return os.Truncate(path, tornLog)
	})
	if err != nil {
		return err
	}
	if err := w.run(n); err != nil {
		return err
	}
	waiting, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("it runs"))
	defer cancel()
	code, err := n.process.Wait(waiting)
	if err != nil || code == 0 {
		return fmt.Errorf("%s starts on a log that is torn: exit code %d, %w", n.id, code, err)
	}
	if said := strings.Join(n.process.Tail(5), " "); !strings.Contains(said, "corrupt") && !strings.Contains(said, "shorter") {
		return fmt.Errorf("%s does not say that its log is torn: %s", n.id, said)
	}
	if err := n.site.Do(func() error { return os.WriteFile(path, whole, 0o600) }); err != nil {
		return err
	}
	return w.restored(ctx, n)
}

// clockVariable names the file from which a program with the build tag faults reads how far its wall clock is off.
const clockVariable = "TIDEGATE_FAULT_CLOCK"

func (w *World) clockFile() string { return filepath.Join(w.lab.Dir(), "clock") }

// stepClock makes the wall clocks of all nodes jump ahead, and back behind the truth, and then right again. The machine's
// clock stays.
func stepClock(ctx context.Context, w *World) error {
	err := w.exchange(ctx, w.cfg.Faulty)
	for _, step := range []string{"2h", "-3h", "0s"} {
		if err == nil {
			err = os.WriteFile(w.clockFile()+".new", []byte(step), 0o600)
		}
		if err == nil {
			err = os.Rename(w.clockFile()+".new", w.clockFile())
		}
		if err == nil {
			err = errors.Join(lab.Pause(ctx, 3*time.Second), w.lost(ctx, time.Now()), w.calm(ctx))
		}
	}
	return errors.Join(err, w.exchange(ctx, w.cfg.Binary))
}

// upgrade replaces the previous build, with which the cluster was started, by this one, node by node.
func upgrade(ctx context.Context, w *World) error { return w.exchange(ctx, w.cfg.Binary) }

// exchange restarts every node with another program, one after the other, followers first.
func (w *World) exchange(ctx context.Context, binary string) error {
	leader, err := w.leader(ctx)
	if err != nil {
		return err
	}
	for _, n := range append(w.followers(leader), leader) {
		if err := w.restart(ctx, n, binary); err != nil {
			return err
		}
	}
	return nil
}

// restart ends a node in order and starts it again.
func (w *World) restart(ctx context.Context, n *node, binary string) error {
	defer w.impair("restart "+n.id, n.address)()
	stopping, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("it does not end"))
	defer cancel()
	if code, err := n.process.Stop(stopping); err != nil || code != 0 {
		return fmt.Errorf("%s ends with exit code %d: %w", n.id, code, err)
	}
	n.binary = binary
	return w.restored(ctx, n)
}

// restartAll restarts the nodes in every order of the three.
func restartAll(ctx context.Context, w *World) error {
	for _, order := range [][3]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		for _, i := range order {
			if err := w.restart(ctx, w.nodes[i], w.nodes[i].binary); err != nil {
				return err
			}
		}
	}
	return nil
}

package faults

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tidegate/tidegate/integration/lab"
)

// Fault is one way in which things break.
type Fault struct {
	// Name is that of the fault in the scoreboard and of the test.
	Name string
	// Times is how often `make test` causes it.
	Times int
	// possible says whether the Config has what it needs; nil: always.
	possible func(Config) bool
	// once is set of what can be caused only once in a World.
	once   bool
	inject func(ctx context.Context, w *World) error
}

// Faults are all of them, in the order in which `make test` causes them.
func Faults() []Fault {
	needsFaulty := func(c Config) bool { return c.Faulty != "" }
	return []Fault{
		{Name: "rolling upgrade", Times: 1, once: true, inject: upgrade, possible: func(c Config) bool { return c.Previous != "" }},
		{Name: "leader killed", Times: 15, inject: killLeader},
		{Name: "leader's machine killed", Times: 5, inject: killLeadersMachine},
		{Name: "follower killed", Times: 1, inject: killFollower},
		{Name: "all controllers killed", Times: 1, inject: killControllers},
		{Name: "all processes killed", Times: 1, inject: killAll},
		{Name: "speaker killed", Times: 2, inject: killSpeaker},
		{Name: "leader stopped", Times: 1, inject: stopLeader},
		{Name: "leader isolated", Times: 1, inject: isolateLeader},
		{Name: "leader unheard", Times: 1, inject: leaderUnheard},
		{Name: "leader deaf", Times: 1, inject: leaderDeaf},
		{Name: "bridge", Times: 1, inject: bridgePartition},
		{Name: "packet loss", Times: 1, inject: loseTenth},
		{Name: "disk full", Times: 1, inject: fillDisk},
		{Name: "disk hangs", Times: 1, inject: hangDisk},
		{Name: "log torn", Times: 1, inject: tearLog},
		{Name: "clock steps", Times: 1, inject: stepClock, possible: needsFaulty},
		{Name: "restarts in every order", Times: 1, inject: restartAll},
		{Name: "sessions reset", Times: 2, inject: resetSessions},
		{Name: "malformed updates", Times: 1, inject: sendMalformed},
	}
}

// Possible reports whether the fault can be caused in such a world.
func (f Fault) Possible(cfg Config) bool { return f.possible == nil || f.possible(cfg) }

// Repeatable reports whether it can be caused more than once in a World.
func (f Fault) Repeatable() bool { return !f.once }

// Inject causes a fault, undoes it and waits until the cluster is whole again.
func (w *World) Inject(ctx context.Context, f Fault) error {
	began := time.Now()
	w.tally[f.Name]++
	err := f.inject(ctx, w)
	if err == nil {
		err = w.calm(ctx)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", f.Name, err)
		w.book.problem("%v", err)
		return err
	}
	w.cfg.Log("%-24s whole again after %.1fs", f.Name, time.Since(began).Seconds())
	return nil
}

// all is every node at once.
var all netip.Addr //nolint:gochecknoglobals // The zero address, by name; nobody writes to it.

// impair notes that a node is not its whole self until the returned function is called.
func (w *World) impair(what string, at netip.Addr) func() {
	return w.book.during(&w.book.impaired, what, at)
}

// lost waits for the first write after the leader was lost at t, and notes the gap.
func (w *World) lost(ctx context.Context, t time.Time) error {
	ctx, cancel := context.WithTimeoutCause(ctx, settleWithin, errors.New("no write was answered"))
	defer cancel()
	return lab.Until(ctx, look, func(context.Context) error {
		first := w.book.firstWrite(t)
		if first.IsZero() {
			return errors.New("none since the leader was lost")
		}
		w.gaps = append(w.gaps, first.Sub(t))
		return nil
	})
}

// signal sends a signal to every process of a machine.
func signal(n *node, s syscall.Signal) error {
	pids, err := n.site.Processes()
	for _, pid := range pids {
		_ = syscall.Kill(pid, s) // it may be gone by now
	}
	return err
}

// followers are all nodes but one.
func (w *World) followers(leader *node) []*node {
	return slices.DeleteFunc(slices.Clone(w.nodes), func(n *node) bool { return n == leader })
}

// anyone is a node by chance.
func (w *World) anyone() *node { return w.nodes[w.rng.IntN(len(w.nodes))] }

// restored starts the nodes again and waits until the cluster is whole.
func (w *World) restored(ctx context.Context, nodes ...*node) error {
	for _, n := range nodes {
		if err := w.run(n); err != nil {
			return err
		}
	}
	return w.calm(ctx)
}

// onLeader calls f with the leader, while it counts as impaired.
func (w *World) onLeader(ctx context.Context, what string, f func(leader *node) error) error {
	leader, err := w.leader(ctx)
	if err != nil {
		return err
	}
	defer w.impair(what+" "+leader.id, leader.address)()
	return f(leader)
}

// killLeader kills the leader's controller; its speaker lives on.
func killLeader(ctx context.Context, w *World) error {
	return w.onLeader(ctx, "killed", func(leader *node) error {
		t := time.Now()
		leader.process.Kill()
		return errors.Join(w.lost(ctx, t), w.restored(ctx, leader))
	})
}

// killLeadersMachine kills everything that runs on the leader's machine.
func killLeadersMachine(ctx context.Context, w *World) error {
	return w.onLeader(ctx, "machine killed", func(leader *node) error {
		t := time.Now()
		err := signal(leader, syscall.SIGKILL)
		<-leader.process.Ended()
		return errors.Join(err, w.lost(ctx, t), w.restored(ctx, leader))
	})
}

func killFollower(ctx context.Context, w *World) error {
	leader, err := w.leader(ctx)
	if err != nil {
		return err
	}
	n := w.followers(leader)[w.rng.IntN(len(w.nodes)-1)]
	defer w.impair("machine killed "+n.id, n.address)()
	if err := signal(n, syscall.SIGKILL); err != nil {
		return err
	}
	<-n.process.Ended()
	// Work goes on without it, and is to be caught up with.
	return errors.Join(w.lost(ctx, time.Now()), w.restored(ctx, n))
}

// killControllers leaves only the speakers.
func killControllers(ctx context.Context, w *World) error {
	defer w.impair("all controllers killed", all)()
	for _, n := range w.nodes {
		n.process.Kill()
	}
	if err := lab.Pause(ctx, 3*time.Second); err != nil {
		return err
	}
	order := w.rng.Perm(len(w.nodes))
	return w.restored(ctx, w.nodes[order[0]], w.nodes[order[1]], w.nodes[order[2]])
}

// killAll leaves nobody to be heard: what a router without graceful restart then lacks is by the fault's own doing.
func killAll(ctx context.Context, w *World) error {
	defer w.impair("all processes killed", all)()
	defer w.book.during(&w.book.dark, "all processes killed", all)()
	for _, n := range w.nodes {
		if err := signal(n, syscall.SIGKILL); err != nil {
			return err
		}
		<-n.process.Ended()
	}
	return w.restored(ctx, w.nodes...)
}

// killSpeaker kills a node's speaker, which its controller is to start again.
func killSpeaker(ctx context.Context, w *World) error {
	n := w.anyone()
	defer w.impair("speaker killed "+n.id, n.address)()
	pids, err := n.site.Processes()
	if err != nil {
		return err
	}
	killed := 0
	for _, pid := range pids {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && slices.Contains(strings.Split(string(line), "\x00"), "speaker") {
			killed++
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may be gone by now
		}
	}
	if killed == 0 {
		return fmt.Errorf("%s has no speaker to kill", n.id)
	}
	if err := w.gone(ctx, n.address); err != nil {
		return err
	}
	return w.calm(ctx)
}

// gone waits until the routers have seen the end of a node's sessions.
func (w *World) gone(ctx context.Context, at netip.Addr) error {
	ctx, cancel := context.WithTimeoutCause(ctx, calmWithin, errors.New("the sessions do not end"))
	defer cancel()
	return lab.Until(ctx, look/5, func(context.Context) error {
		w.book.mu.Lock()
		defer w.book.mu.Unlock()
		last := w.book.witnesses[len(w.book.witnesses)-1]
		for _, h := range slices.Backward(last.heard) {
			if h.Kind == lab.SessionDown && h.From == at && time.Since(h.At) < calmWithin {
				return nil
			}
			if time.Since(h.At) > calmWithin {
				break
			}
		}
		return errors.New("they are up")
	})
}

// stopLeader stops the leader's machine, and lets it go on when another leads.
func stopLeader(ctx context.Context, w *World) error {
	return w.onLeader(ctx, "stopped", func(leader *node) error {
		t := time.Now()
		err := errors.Join(signal(leader, syscall.SIGSTOP), w.lost(ctx, t), lab.Pause(ctx, 2*time.Second))
		return errors.Join(err, signal(leader, syscall.SIGCONT), w.calm(ctx))
	})
}

package controller

import (
	"context"
	"encoding/binary"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/tidegate/tidegate/bgp/wanted"
)

const (
	// hangLimit is how long one write to the disk may take before a leader gives way. With the time to notice it, and that of
	// an election, writes are back within 15 s after a leader's disk has begun to hang.
	hangLimit = 8 * time.Second
	// probeAfter is how long a leader writes nothing before the watchdog writes something, to see whether it can.
	probeAfter = 2 * time.Second
	// watchEvery is how often the watchdog looks.
	watchEvery = time.Second
	// stalledShutdown is how long a node whose disk hangs waits for raft to end.
	stalledShutdown = time.Second
)

// disk is raft's log and stable store, with an eye on how long a write takes: raft waits for its disk without a limit, and
// its heartbeats go on meanwhile, so that a leader whose disk hangs leads for ever.
type disk struct {
	raftStore
	stable  raft.StableStore
	elapsed func() wanted.Instant

	mu   sync.Mutex // guards the fields below
	n    uint64
	busy map[uint64]wanted.Instant // when each write that is under way began
	last wanted.Instant            // when the last one was done
}

func newDisk(s Stores, elapsed func() wanted.Instant) *disk {
	return &disk{raftStore: raftStore{s.Log}, stable: s.Stable, elapsed: elapsed, busy: make(map[uint64]wanted.Instant), last: elapsed()}
}

// write notes when f begins and ends.
func (d *disk) write(f func() error) error {
	d.mu.Lock()
	d.n++
	id := d.n
	d.busy[id] = d.elapsed()
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.busy, id)
		d.last = d.elapsed()
	}()
	return f()
}

// waits returns how long the oldest write under way has taken; 0: there is none, and idle is how long there was none.
func (d *disk) waits() (waits, idle time.Duration) {
	now := d.elapsed()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.busy) == 0 {
		return 0, time.Duration(now - d.last)
	}
	for _, at := range d.busy {
		waits = max(waits, time.Duration(now-at))
	}
	return waits, 0
}

// StoreLog implements raft.LogStore.
func (d *disk) StoreLog(l *raft.Log) error { return d.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore.
func (d *disk) StoreLogs(l []*raft.Log) error {
	return d.write(func() error { return d.raftStore.StoreLogs(l) })
}

// Set implements raft.StableStore.
func (d *disk) Set(key, value []byte) error {
	return d.write(func() error { return d.stable.Set(key, value) })
}

// SetUint64 implements raft.StableStore.
func (d *disk) SetUint64(key []byte, value uint64) error {
	return d.write(func() error { return d.stable.SetUint64(key, value) })
}

// Get implements raft.StableStore.
func (d *disk) Get(key []byte) ([]byte, error) { return d.stable.Get(key) }

// GetUint64 implements raft.StableStore.
func (d *disk) GetUint64(key []byte) (uint64, error) { return d.stable.GetUint64(key) }

// watchdog makes a leader give way whose disk hangs.
type watchdog struct {
	log     *slog.Logger
	disk    *disk
	leads   func() bool
	cut     func()        // ends what this node tells the others
	stalled chan struct{} // closed when the disk hangs
}

// run looks until ctx ends. It returns ErrStalled when the disk hangs and this node leads.
func (w *watchdog) run(ctx context.Context) error {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		if !w.leads() {
			continue
		}
		switch waits, idle := w.disk.waits(); {
		case waits >= hangLimit:
			w.log.Error("the disk hangs: this leader gives way", "write_takes", waits)
			// The heartbeats would go on: raft's own goroutine waits for the disk, and cannot end them.
			w.cut()
			close(w.stalled)
			return ErrStalled
		case waits == 0 && idle >= probeAfter:
			go w.probe() // never waited for: it may be the one that hangs
		}
	}
}

// probe writes something. Its error is raft's to meet, at the next entry.
func (w *watchdog) probe() {
	_ = w.disk.Set([]byte("watchdog"), binary.BigEndian.AppendUint64(nil, uint64(w.disk.elapsed())))
}

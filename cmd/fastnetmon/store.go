package fastnetmon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Store remembers which attack each victim is under, in a directory of one file for each. Processes that FastNetMon
// starts at once for one victim wait for each other.
type Store struct{ dir string }

// Attack is one ban of one victim.
type Attack struct {
	ID  string `json:"id"`
	Seq uint64 `json:"seq"` // of the last signal that was about to be sent
}

// memory is what is known of one victim.
type memory struct {
	Victim  netip.Addr `json:"victim"`
	Current *Attack    `json:"current,omitempty"`
	// Ending are attacks whose end has not been acknowledged.
	Ending []Attack `json:"ending,omitempty"`
}

const (
	lockFiles  = 64 // victims share them
	lockLook   = 20 * time.Millisecond
	maxMemory  = 64 << 10
	maxEnding  = 16
	storeMode  = 0o700
	memoryMode = 0o600
)

// OpenStore makes the directory if it is not there.
func OpenStore(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, storeMode); err != nil {
		return nil, fmt.Errorf("cannot make state directory %q: %w", dir, err)
	}
	return &Store{dir: dir}, nil
}

// entry is the locked memory of a victim.
type entry struct {
	memory
	path string
	lock *os.File
	// damaged says why what was there could not be read; it is then as if nothing had been there.
	damaged error
}

// open locks the memory of a victim, waiting until ctx ends, and reads it.
func (s *Store) open(ctx context.Context, victim netip.Addr) (*entry, error) {
	h := fnv.New32a()
	_, _ = h.Write(victim.AsSlice()) // a hash takes everything
	name := filepath.Join(s.dir, fmt.Sprintf(".lock-%02d", h.Sum32()%lockFiles))
	lock, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, memoryMode)
	if err != nil {
		return nil, fmt.Errorf("cannot lock the state of %s: %w", victim, err)
	}
	if err := waitLock(ctx, lock); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot lock the state of %s: %w", victim, err), lock.Close())
	}
	e := &entry{path: filepath.Join(s.dir, strings.ReplaceAll(victim.String(), ":", "-")+".json"), lock: lock}
	e.memory, e.damaged = readMemory(e.path, victim)
	return e, nil
}

func waitLock(ctx context.Context, f *os.File) error {
	t := time.NewTicker(lockLook)
	defer t.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.New("another call for the same victim takes too long")
		case <-t.C:
		}
	}
}

func readMemory(path string, victim netip.Addr) (memory, error) {
	m := memory{Victim: victim}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, fmt.Errorf("cannot read %q: %w", path, err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	info, err := f.Stat()
	if err != nil || info.Size() > maxMemory {
		return m, fmt.Errorf("cannot read %q: it is not one of our files", path)
	}
	var got memory
	d := json.NewDecoder(f)
	d.DisallowUnknownFields()
	if err := d.Decode(&got); err != nil {
		return m, fmt.Errorf("cannot read %q: %w", path, err)
	}
	if got.Victim != victim || got.Current != nil && got.Current.ID == "" {
		return m, fmt.Errorf("cannot read %q: it is about %s", path, got.Victim)
	}
	return got, nil
}

// save writes the memory so that a crash leaves the old or the new one; with nothing to remember the file goes.
func (e *entry) save() error {
	if e.Current == nil && len(e.Ending) == 0 {
		if err := os.Remove(e.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot forget an attack: %w", err)
		}
		return syncDir(filepath.Dir(e.path))
	}
	if n := len(e.Ending); n > maxEnding {
		e.Ending = e.Ending[n-maxEnding:]
	}
	b, err := json.Marshal(e.memory)
	if err == nil {
		err = writeFile(e.path, append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("cannot remember an attack: %w", err)
	}
	return nil
}

func writeFile(path string, b []byte) error {
	tmp := path + ".new" // only one process writes it: the lock is held
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, memoryMode)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// close gives the lock back.
func (e *entry) close() error { return e.lock.Close() }

package controller

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

func openStore(t testing.TB, path string) *FileStore {
	t.Helper()
	s, err := OpenFileStore(path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func entry(i uint64) *raft.Log {
	return &raft.Log{
		Index: i, Term: i / 10, Type: raft.LogType(i % 2), Data: []byte("data " + itoa(int(i))),
		Extensions: []byte{byte(i)}, AppendedAt: time.Unix(1e9, int64(i)),
	}
}

// TestFileStoreAgreesWithInmem runs random operations on the store and on raft's own one for tests, and reopens it.
func TestFileStoreAgreesWithInmem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	s := openStore(t, path)
	defer func() { _ = s.Close() }()
	twin := raft.NewInmemStore()
	r := rand.New(rand.NewPCG(5, 6))
	next := uint64(1)
	for step := range 300 {
		switch r.IntN(6) {
		case 0, 1, 2:
			var logs []*raft.Log
			for range 1 + r.IntN(20) {
				logs = append(logs, entry(next))
				next++
			}
			if err := errors.Join(s.StoreLogs(logs), twin.StoreLogs(logs)); err != nil {
				t.Fatal(err)
			}
		case 3: // a follower's conflicting tail
			last, _ := twin.LastIndex()
			if first, _ := twin.FirstIndex(); last > first+5 {
				from := last - r.Uint64N(4)
				if err := errors.Join(s.DeleteRange(from, last), twin.DeleteRange(from, last)); err != nil {
					t.Fatal(err)
				}
				next = from
			}
		case 4: // compaction
			first, _ := twin.FirstIndex()
			if last, _ := twin.LastIndex(); last > first+30 {
				if err := errors.Join(s.DeleteRange(first, first+15), twin.DeleteRange(first, first+15)); err != nil {
					t.Fatal(err)
				}
			}
		case 5:
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = openStore(t, path)
		}
		for _, f := range []func(raft.LogStore) (uint64, error){raft.LogStore.FirstIndex, raft.LogStore.LastIndex} {
			a, err1 := f(s)
			b, err2 := f(twin)
			if a != b || err1 != nil || err2 != nil {
				t.Fatalf("step %d: %d, %d, %v, %v", step, a, b, err1, err2)
			}
		}
		for i := range next + 2 {
			var a, b raft.Log
			err1, err2 := s.GetLog(i, &a), twin.GetLog(i, &b)
			if !errors.Is(err1, err2) {
				t.Fatalf("step %d, entry %d: %v, %v", step, i, err1, err2)
			}
			if diff := cmp.Diff(b, a); diff != "" {
				t.Fatalf("step %d, entry %d (-want +got):\n%s", step, i, diff)
			}
		}
	}
}

func TestFileStoreStable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	s := openStore(t, path)
	if _, err := s.Get([]byte("x")); err == nil || err.Error() != "not found" {
		t.Errorf("an absent key: %v; raft compares the text", err)
	}
	if _, err := s.GetUint64([]byte("x")); err == nil || err.Error() != "not found" {
		t.Errorf("an absent number: %v", err)
	}
	if err := errors.Join(s.Set([]byte("k"), []byte("v")), s.SetUint64([]byte("n"), 1<<63), s.Close()); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, path)
	defer func() { _ = s.Close() }()
	v, err := s.Get([]byte("k"))
	n, err2 := s.GetUint64([]byte("n"))
	if string(v) != "v" || n != 1<<63 || err != nil || err2 != nil {
		t.Errorf("%q %d %v %v", v, n, err, err2)
	}
	if _, err := s.GetUint64([]byte("k")); !errors.Is(err, ErrCorrupt) {
		t.Errorf("text as a number: %v", err)
	}
}

func TestCommitIndexIsPersistedWithEntriesOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	s := openStore(t, path)
	commit := func() uint64 {
		t.Helper()
		n, err := s.GetCommitIndex()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if commit() != 0 {
		t.Error("an empty store has a commit index")
	}
	if err := errors.Join(s.StoreLogs([]*raft.Log{entry(1), entry(2), entry(3)}), s.StageCommitIndex(2)); err != nil {
		t.Fatal(err)
	}
	if got := commit(); got != 0 {
		t.Errorf("commit index %d was written without entries", got)
	}
	if err := errors.Join(s.StoreLog(entry(4)), s.StageCommitIndex(99), s.Close()); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, path)
	if got := commit(); got != 2 {
		t.Errorf("after reopening: %d, want 2", got)
	}
	if err := errors.Join(s.StageCommitIndex(99), s.StoreLog(entry(5))); err != nil {
		t.Fatal(err)
	}
	if got := commit(); got != 5 {
		t.Errorf("beyond the log: %d, want 5", got)
	}
	if err := s.DeleteRange(4, 5); err != nil {
		t.Fatal(err)
	}
	if got := commit(); got != 3 {
		t.Errorf("after a cut: %d, want 3", got)
	}
	_ = s.Close()
}

// TestTornFile cuts the file at many places: it opens and is whole, or says that it was cut short.
func TestTornFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "raft.db")
	s := openStore(t, path)
	for i := range uint64(2000) {
		if i > 0 && i%100 == 0 {
			var logs []*raft.Log
			for j := i - 99; j <= i; j++ {
				logs = append(logs, entry(j))
			}
			if err := s.StoreLogs(logs); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	torn := filepath.Join(dir, "torn.db")
	corrupt := 0
	for size := 1; size <= len(whole); size += 3571 {
		if err := os.WriteFile(torn, whole[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := OpenFileStore(torn)
		if errors.Is(err, ErrCorrupt) {
			corrupt++
			continue
		}
		if err != nil {
			t.Errorf("cut to %d octets: %v", size, err)
			continue
		}
		for i := uint64(1); i <= 1900; i++ {
			var l raft.Log
			if err := s.GetLog(i, &l); err != nil {
				t.Errorf("cut to %d octets: it opens, but entry %d: %v", size, i, err)
			}
		}
		_ = s.Close()
	}
	if corrupt == 0 {
		t.Error("no cut was noticed")
	}
}

func TestChangedEntryIsNoticed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "raft.db")
	s := openStore(t, path)
	if err := errors.Join(s.StoreLogs([]*raft.Log{entry(1), entry(2)}), s.Close()); err != nil {
		t.Fatal(err)
	}
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(logBucket())
		v := append([]byte{}, b.Get(indexKey(2))...)
		v[len(v)-1] ^= 1
		if err := b.Put(indexKey(2), v); err != nil {
			return err
		}
		return b.Put(binary.BigEndian.AppendUint64(nil, 3), []byte{1, 2})
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, path)
	defer func() { _ = s.Close() }()
	var l raft.Log
	if err := s.GetLog(1, &l); err != nil {
		t.Error(err)
	}
	for i := uint64(2); i <= 3; i++ {
		if err := s.GetLog(i, &l); !errors.Is(err, ErrCorrupt) {
			t.Errorf("entry %d: %v", i, err)
		}
	}
}

func BenchmarkStoreLogs(b *testing.B) {
	s := openStore(b, filepath.Join(b.TempDir(), "raft.db"))
	defer func() { _ = s.Close() }()
	i := uint64(0)
	for b.Loop() {
		i++
		if err := s.StoreLog(&raft.Log{Index: i, Data: make([]byte, 500)}); err != nil {
			b.Fatal(err)
		}
	}
}

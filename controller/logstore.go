package controller

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/fnv"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"go.etcd.io/bbolt"
)

// FileStore is raft's log, its stable store and its commit index in one bbolt file. One StoreLogs is one transaction.
// It implements raft.LogStore, raft.StableStore and raft.CommitTrackingLogStore.
type FileStore struct {
	db     *bbolt.DB
	path   string
	staged atomic.Uint64 // commit index to be written with the next entries

	mu     sync.Mutex // guards recent
	recent [recentLogs]*raft.Log
}

// recentLogs is how many entries are kept in memory, by index modulo this: what replication to followers reads.
const recentLogs = 512

const logFormat = 1

// errNotFound is what raft expects for an absent key, word for word: it compares the text.
var errNotFound = errors.New("not found")

func logBucket() []byte    { return []byte("log") }
func stableBucket() []byte { return []byte("stable") }
func metaBucket() []byte   { return []byte("meta") }
func commitKey() []byte    { return []byte("commit") }

// OpenFileStore opens or creates the store. It fails with ErrCorrupt when the file is shorter than it was.
func OpenFileStore(path string) (*FileStore, error) {
	if err := checkLength(path); err != nil {
		return nil, fmt.Errorf("cannot open log %q: %w", path, err)
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: time.Second, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType,
	})
	if err != nil {
		return nil, fmt.Errorf("cannot open log %q: %w", path, err)
	}
	s := &FileStore{db: db, path: path}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, b := range [][]byte{logBucket(), stableBucket(), metaBucket()} {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot prepare log %q: %w", path, err), db.Close())
	}
	return s, nil
}

// Close closes the file.
func (s *FileStore) Close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("cannot close log %q: %w", s.path, err)
	}
	return nil
}

// FirstIndex implements raft.LogStore.
func (s *FileStore) FirstIndex() (uint64, error) { return s.edge((*bbolt.Cursor).First) }

// LastIndex implements raft.LogStore.
func (s *FileStore) LastIndex() (uint64, error) { return s.edge((*bbolt.Cursor).Last) }

func (s *FileStore) edge(move func(*bbolt.Cursor) ([]byte, []byte)) (n uint64, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		n = edgeOf(tx, move)
		return nil
	})
	return n, err
}

func edgeOf(tx *bbolt.Tx, move func(*bbolt.Cursor) ([]byte, []byte)) uint64 {
	k, _ := move(tx.Bucket(logBucket()).Cursor())
	if k == nil {
		return 0
	}
	return binary.BigEndian.Uint64(k)
}

// GetLog implements raft.LogStore.
func (s *FileStore) GetLog(index uint64, log *raft.Log) error {
	s.mu.Lock()
	if l := s.recent[index%recentLogs]; l != nil && l.Index == index {
		*log = *l
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	return s.db.View(func(tx *bbolt.Tx) error {
		v := tx.Bucket(logBucket()).Get(indexKey(index))
		if v == nil {
			return raft.ErrLogNotFound
		}
		return decodeLog(index, v, log)
	})
}

// StoreLog implements raft.LogStore.
func (s *FileStore) StoreLog(log *raft.Log) error { return s.StoreLogs([]*raft.Log{log}) }

// StoreLogs implements raft.LogStore: the entries and the staged commit index are on disk when it returns.
func (s *FileStore) StoreLogs(logs []*raft.Log) error {
	err := s.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(logBucket())
		b.FillPercent = 0.9 // entries are appended
		for _, l := range logs {
			if err := b.Put(indexKey(l.Index), encodeLog(l)); err != nil {
				return err
			}
		}
		commit := min(s.staged.Load(), edgeOf(tx, (*bbolt.Cursor).Last))
		if commit <= commitOf(tx) {
			return nil
		}
		return tx.Bucket(metaBucket()).Put(commitKey(), indexKey(commit))
	})
	if err != nil {
		return fmt.Errorf("cannot store %d log entries: %w", len(logs), err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range logs {
		s.recent[l.Index%recentLogs] = l
	}
	return nil
}

// DeleteRange implements raft.LogStore: both ends are included.
func (s *FileStore) DeleteRange(from, to uint64) error {
	s.mu.Lock()
	for i, l := range s.recent {
		if l != nil && from <= l.Index && l.Index <= to {
			s.recent[i] = nil
		}
	}
	s.mu.Unlock()
	err := s.db.Update(func(tx *bbolt.Tx) error {
		c := tx.Bucket(logBucket()).Cursor()
		for k, _ := c.Seek(indexKey(from)); k != nil && binary.BigEndian.Uint64(k) <= to; k, _ = c.Next() {
			if err := c.Delete(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot delete log entries %d to %d: %w", from, to, err)
	}
	return nil
}

// StageCommitIndex implements raft.CommitTrackingLogStore: idx reaches the disk with the next StoreLogs.
func (s *FileStore) StageCommitIndex(idx uint64) error {
	s.staged.Store(idx)
	return nil
}

// GetCommitIndex implements raft.CommitTrackingLogStore: the last index known to be committed, never beyond the log.
func (s *FileStore) GetCommitIndex() (n uint64, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		n = min(commitOf(tx), edgeOf(tx, (*bbolt.Cursor).Last))
		return nil
	})
	return n, err
}

func commitOf(tx *bbolt.Tx) uint64 {
	v := tx.Bucket(metaBucket()).Get(commitKey())
	if len(v) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(v)
}

// Set implements raft.StableStore.
func (s *FileStore) Set(key, val []byte) error {
	err := s.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(stableBucket()).Put(key, val) })
	if err != nil {
		return fmt.Errorf("cannot store %q: %w", key, err)
	}
	return nil
}

// Get implements raft.StableStore.
func (s *FileStore) Get(key []byte) (val []byte, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		v := tx.Bucket(stableBucket()).Get(key)
		if v == nil {
			return errNotFound
		}
		val = append([]byte{}, v...)
		return nil
	})
	return val, err
}

// SetUint64 implements raft.StableStore.
func (s *FileStore) SetUint64(key []byte, val uint64) error { return s.Set(key, indexKey(val)) }

// GetUint64 implements raft.StableStore.
func (s *FileStore) GetUint64(key []byte) (uint64, error) {
	v, err := s.Get(key)
	if err != nil {
		return 0, err
	}
	if len(v) != 8 {
		return 0, fmt.Errorf("cannot read %q of %d octets as a number: %w", key, len(v), ErrCorrupt)
	}
	return binary.BigEndian.Uint64(v), nil
}

func indexKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// encodeLog writes: format (1), CRC-32C of the index and the rest (4), term (8), type (1), time of appending in ns (8),
// length of the extensions (4), extensions, data.
func encodeLog(l *raft.Log) []byte {
	b := make([]byte, 5, 26+len(l.Extensions)+len(l.Data))
	b[0] = logFormat
	b = binary.BigEndian.AppendUint64(b, l.Term)
	b = append(b, byte(l.Type))
	var at int64
	if !l.AppendedAt.IsZero() {
		at = l.AppendedAt.UnixNano()
	}
	b = binary.BigEndian.AppendUint64(b, uint64(at))
	b = binary.BigEndian.AppendUint32(b, uint32(len(l.Extensions)))
	b = append(b, l.Extensions...)
	b = append(b, l.Data...)
	binary.BigEndian.PutUint32(b[1:], logSum(l.Index, b[5:]))
	return b
}

func logSum(index uint64, b []byte) uint32 {
	t := crc32.MakeTable(crc32.Castagnoli) // made once by the library
	return crc32.Update(crc32.Checksum(indexKey(index), t), t, b)
}

func decodeLog(index uint64, b []byte, l *raft.Log) error {
	if len(b) < 26 {
		return fmt.Errorf("cannot read log entry %d of %d octets: %w", index, len(b), ErrCorrupt)
	}
	if b[0] != logFormat {
		return fmt.Errorf("cannot read log entry %d of format %d: %w", index, b[0], ErrUnknownRecord)
	}
	if binary.BigEndian.Uint32(b[1:]) != logSum(index, b[5:]) {
		return fmt.Errorf("cannot read log entry %d, its checksum is wrong: %w", index, ErrCorrupt)
	}
	ext := uint64(binary.BigEndian.Uint32(b[22:]))
	if uint64(len(b)-26) < ext {
		return fmt.Errorf("cannot read log entry %d with extensions of %d octets: %w", index, ext, ErrCorrupt)
	}
	*l = raft.Log{Index: index, Term: binary.BigEndian.Uint64(b[5:]), Type: raft.LogType(b[13])}
	if at := int64(binary.BigEndian.Uint64(b[14:])); at != 0 {
		l.AppendedAt = time.Unix(0, at)
	}
	if ext > 0 {
		l.Extensions = append([]byte{}, b[26:26+ext]...)
	}
	l.Data = append([]byte{}, b[26+ext:]...)
	return nil
}

// The head of a bbolt page and of its meta page: bbolt trusts it and maps the file, so that reading beyond the end of
// a file that was cut short kills the process.
const (
	boltPageHead  = 16
	boltMeta      = 64 // with the checksum
	boltMagic     = 0xED0CDAED
	boltHighWater = 40 // offset of the number of pages
	boltTxID      = 48
	boltSum       = 56
)

// checkLength reports whether the file has all the pages that its newest valid meta page counts.
func checkLength(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read from
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() == 0 {
		return nil // bbolt makes a new one
	}
	need, found := int64(0), false
	var newest uint64
	for _, at := range metaOffsets(f) {
		m := make([]byte, boltMeta)
		if _, err := f.ReadAt(m, at+boltPageHead); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if !validMeta(m) {
			continue
		}
		if tx := binary.NativeEndian.Uint64(m[boltTxID:]); !found || tx > newest {
			found, newest = true, tx
			need = int64(binary.NativeEndian.Uint64(m[boltHighWater:])) * int64(binary.NativeEndian.Uint32(m[8:]))
		}
	}
	if !found {
		return fmt.Errorf("%w: it has no valid meta page; this node can start afresh with an empty data directory and "+
			"learn everything from the others", ErrCorrupt)
	}
	if info.Size() < need {
		return fmt.Errorf("%w: it was cut short, to %d octets of %d; this node can start afresh with an empty data "+
			"directory and learn everything from the others", ErrCorrupt, info.Size(), need)
	}
	return nil
}

// metaOffsets returns where the two meta pages are: the second one page after the first.
func metaOffsets(f io.ReaderAt) []int64 {
	m := make([]byte, boltMeta)
	if _, err := f.ReadAt(m, boltPageHead); err == nil && validMeta(m) {
		return []int64{0, int64(binary.NativeEndian.Uint32(m[8:]))}
	}
	return []int64{0, int64(os.Getpagesize())}
}

func validMeta(m []byte) bool {
	h := fnv.New64a()
	_, _ = h.Write(m[:boltSum]) // never fails
	return binary.NativeEndian.Uint32(m) == boltMagic && binary.NativeEndian.Uint64(m[boltSum:]) == h.Sum64()
}

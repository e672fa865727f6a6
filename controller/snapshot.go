package controller

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"

	"github.com/hashicorp/raft"
	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/policy"
	raftv1 "github.com/tidegate/tidegate/proto/tidegate/raft/v1"
)

const (
	snapshotMagic  = "tidegate\x00\x01"
	snapshotFormat = 1
	maxRecord      = maxBody // a record is at most as large as the entry that it came from
)

// snapshot is a State that is being written down. The State never changes, so this is only a pointer.
type snapshot struct{ state *policy.State }

// Persist implements raft.FSMSnapshot.
func (s *snapshot) Persist(sink raft.SnapshotSink) error {
	if err := writeSnapshot(sink, s.state); err != nil {
		return errors.Join(fmt.Errorf("cannot write snapshot: %w", err), sink.Cancel())
	}
	if err := sink.Close(); err != nil {
		return fmt.Errorf("cannot write snapshot: %w", err)
	}
	return nil
}

// Release implements raft.FSMSnapshot.
func (s *snapshot) Release() {}

// recordWriter writes records and sums them up.
type recordWriter struct {
	w   io.Writer
	sum hash.Hash
	n   uint64
	buf []byte
}

func (w *recordWriter) put(r *raftv1.Record) error {
	b, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(append(w.buf[:0], 0, 0, 0, 0), r)
	if err != nil {
		return fmt.Errorf("cannot encode record %d: %w", w.n, err)
	}
	if len(b)-4 > maxRecord {
		return fmt.Errorf("cannot encode record %d of %d octets: %w", w.n, len(b), ErrTooLarge)
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	w.buf = b
	w.n++
	_, _ = w.sum.Write(b) // never fails
	_, err = w.w.Write(b)
	return err
}

func writeSnapshot(out io.Writer, s *policy.State) error {
	if _, err := io.WriteString(out, snapshotMagic); err != nil {
		return err
	}
	z, err := zstd.NewWriter(out, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return err
	}
	buf := bufio.NewWriterSize(z, 64<<10)
	w := &recordWriter{w: buf, sum: sha256.New()}
	err = w.put(&raftv1.Record{Record: &raftv1.Record_Header{Header: &raftv1.SnapshotHeader{
		Format: snapshotFormat, Level: LevelMax,
	}}})
	if err != nil {
		return err
	}
	for r := range s.Records() {
		var c codec
		rec := c.packRecord(r)
		if c.err != nil {
			return c.err
		}
		if err := w.put(rec); err != nil {
			return err
		}
	}
	trailer := &raftv1.SnapshotTrailer{Count: w.n, Digest: w.sum.Sum(nil)}
	if err := w.put(&raftv1.Record{Record: &raftv1.Record_Trailer{Trailer: trailer}}); err != nil {
		return err
	}
	return errors.Join(buf.Flush(), z.Close())
}

// readSnapshot makes the State from a snapshot. A snapshot that is cut short, changed or of a later version is an
// error.
func readSnapshot(in io.Reader) (*policy.State, error) {
	magic := make([]byte, len(snapshotMagic))
	if _, err := io.ReadFull(in, magic); err != nil || string(magic) != snapshotMagic {
		return nil, fmt.Errorf("cannot read snapshot that begins with %q: %w", magic, ErrCorrupt)
	}
	z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(64<<20))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	r := &recordReader{r: bufio.NewReaderSize(z, 64<<10), sum: sha256.New()}
	return policy.Restore(r.records())
}

// recordReader reads records and checks their sum.
type recordReader struct {
	r   *bufio.Reader
	sum hash.Hash
	n   uint64
	buf []byte
}

func (r *recordReader) records() iter.Seq2[policy.Record, error] {
	return func(yield func(policy.Record, error) bool) {
		if err := r.header(); err != nil {
			yield(nil, err)
			return
		}
		for {
			rec, err := r.next()
			if err == nil && rec.GetTrailer() != nil {
				if err = r.end(); err == nil {
					return
				}
			}
			if err != nil {
				yield(nil, err)
				return
			}
			var c codec
			out := c.record(rec)
			if !yield(out, c.err) || c.err != nil {
				return
			}
		}
	}
}

func (r *recordReader) next() (*raftv1.Record, error) {
	var head [4]byte
	if _, err := io.ReadFull(r.r, head[:]); err != nil {
		return nil, fmt.Errorf("cannot read record %d: %w: %w", r.n, ErrCorrupt, err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxRecord {
		return nil, fmt.Errorf("cannot read record %d of %d octets: %w", r.n, n, ErrCorrupt)
	}
	if uint32(cap(r.buf)) < n {
		r.buf = make([]byte, n)
	}
	b := r.buf[:n]
	if _, err := io.ReadFull(r.r, b); err != nil {
		return nil, fmt.Errorf("cannot read record %d: %w: %w", r.n, ErrCorrupt, err)
	}
	var rec raftv1.Record
	if err := parse(b, &rec); err != nil {
		return nil, fmt.Errorf("cannot read record %d: %w", r.n, err)
	}
	if t := rec.GetTrailer(); t != nil {
		if t.GetCount() != r.n || string(t.GetDigest()) != string(r.sum.Sum(nil)) {
			return nil, fmt.Errorf("cannot use snapshot of %d records: its checksum is wrong: %w", r.n, ErrCorrupt)
		}
		return &rec, nil
	}
	_, _ = r.sum.Write(head[:]) // never fails
	_, _ = r.sum.Write(b)
	r.n++
	return &rec, nil
}

func (r *recordReader) header() error {
	rec, err := r.next()
	if err != nil {
		return err
	}
	h := rec.GetHeader()
	if h == nil {
		return fmt.Errorf("cannot read snapshot without a header: %w", ErrCorrupt)
	}
	if h.GetFormat() != snapshotFormat || h.GetLevel() == 0 || h.GetLevel() > LevelMax {
		return fmt.Errorf("cannot read snapshot of format %d and level %d: %w", h.GetFormat(), h.GetLevel(), ErrUnknownRecord)
	}
	return nil
}

// end makes sure that nothing follows the trailer, which also makes the decompressor check its own sum.
func (r *recordReader) end() error {
	if _, err := r.r.ReadByte(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("cannot read snapshot: something follows its end: %w", ErrCorrupt)
	}
	return nil
}

func (c *codec) packRecord(r policy.Record) *raftv1.Record {
	switch r := r.(type) {
	case *policy.MetaRecord:
		return &raftv1.Record{Record: &raftv1.Record_Meta{Meta: &raftv1.Meta{
			Index: uint64(r.Index), At: stamp(r.At), LeaseAt: stamp(r.LeaseAt), NextId: uint64(r.NextID), Count: r.Count,
			NextOrder: uint64(r.NextOrder),
		}}}
	case *policy.RouteRecord:
		return &raftv1.Record{Record: &raftv1.Record_Route{Route: &raftv1.Route{
			Key: []byte(r.Key), Changed: uint64(r.Changed),
		}}}
	case *policy.AuditRecord:
		return &raftv1.Record{Record: &raftv1.Record_Audit{Audit: packAudit(r)}}
	case policy.Change:
		return &raftv1.Record{Record: &raftv1.Record_Change{Change: c.packChange(r)}}
	}
	c.unknown("record of type", fmt.Sprintf("%T", r))
	return nil
}

func (c *codec) record(r *raftv1.Record) policy.Record {
	switch r := r.GetRecord().(type) {
	case *raftv1.Record_Meta:
		m := r.Meta
		return &policy.MetaRecord{
			Index: policy.Index(m.GetIndex()), At: c.time(m.GetAt()), LeaseAt: c.time(m.GetLeaseAt()),
			NextID: policy.MitigationID(m.GetNextId()), Count: m.GetCount(), NextOrder: policy.ApprovalID(m.GetNextOrder()),
		}
	case *raftv1.Record_Route:
		return &policy.RouteRecord{Key: flowspec.Key(r.Route.GetKey()), Changed: policy.Index(r.Route.GetChanged())}
	case *raftv1.Record_Audit:
		return c.audit(r.Audit)
	case *raftv1.Record_Change:
		if rec, ok := c.change(r.Change).(policy.Record); ok {
			return rec
		}
	}
	c.unknown("record", "without a place in a snapshot")
	return nil
}

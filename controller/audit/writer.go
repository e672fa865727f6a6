package audit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tidegate/tidegate/policy"
)

// The defaults of Config.
const (
	DefaultMaxFile = 64 << 20
	DefaultKeep    = 16
)

const (
	// pause is the least time between two batches: each ends with an fsync, which raft's own would wait for.
	pause = 250 * time.Millisecond
	// again is how long the Writer waits after the disk failed.
	again = 5 * time.Second
)

// Source is where the chain comes from; a controller.Controller is one.
type Source interface {
	State() *policy.State
	Updated() <-chan struct{}
}

// Config says where and how much is kept.
type Config struct {
	Dir     string // made if it is missing
	Cluster string
	Node    string
	MaxFile int64 // octets after which a new file begins; 0: 64 MiB
	Keep    int   // files; the oldest beyond goes; 0: 16
}

// Deps is what a Writer works with; all are mandatory.
type Deps struct {
	Source   Source
	Refusals *Refusals
	Logger   *slog.Logger
	Now      func() time.Time // wall clock
}

// Writer appends the chain to this node's files. It reads from the State, which holds the last 10,000 records, so it
// never keeps anybody waiting; what it could not write in time is a gap that says so.
type Writer struct {
	cfg  Config
	deps Deps
	log  *slog.Logger

	file *os.File
	name string
	enc  *Encoder
	base int64 // of the file when enc's size is 0

	seq  uint64 // of the last record in the files
	hash Digest // of that record

	written atomic.Uint64 // seq, for others
	failure atomic.Pointer[string]
}

// NewWriter returns a Writer. Nothing is read or written before Run.
func NewWriter(cfg Config, deps Deps) *Writer {
	if cfg.MaxFile <= 0 {
		cfg.MaxFile = DefaultMaxFile
	}
	if cfg.Keep <= 0 {
		cfg.Keep = DefaultKeep
	}
	return &Writer{cfg: cfg, deps: deps, log: deps.Logger}
}

// Written returns the sequence number of the last record that is in the files, and what is wrong with them; empty:
// nothing.
func (w *Writer) Written() (seq uint64, failure string) {
	if f := w.failure.Load(); f != nil {
		failure = *f
	}
	return w.written.Load(), failure
}

// Run writes until ctx ends, and then what there still is. A disk that fails does not end it: the node works on, says
// so, and Run tries again.
func (w *Writer) Run(ctx context.Context) error {
	defer w.closeFile()
	for {
		updated := w.deps.Source.Updated() // before the look, or an update between the two is missed
		wait := time.Minute                // for refusals
		if err := w.batch(false); err != nil {
			w.fail(err)
			wait = again
			updated = nil
		} else {
			w.failure.Store(nil)
		}
		if ctx.Err() == nil && !sleep(ctx, nil, pause) {
			sleep(ctx, updated, wait)
		}
		if ctx.Err() != nil {
			if err := w.batch(true); err != nil {
				w.fail(err)
			}
			return nil
		}
	}
}

// sleep waits until wake, the end of ctx or for d, and reports whether ctx ended.
func sleep(ctx context.Context, wake <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return true
	case <-wake:
	case <-t.C:
	}
	return false
}

func (w *Writer) fail(err error) {
	text := err.Error()
	if old := w.failure.Swap(&text); old == nil || *old != text {
		w.log.Error("cannot keep the audit file; the records stay in the cluster's state, and the node tries again", "error", err)
	}
	w.closeFile() // what is in it is read anew
}

func (w *Writer) closeFile() {
	if w.file != nil {
		if err := w.file.Close(); err != nil {
			w.log.Warn("cannot close audit file", "file", w.name, "error", err)
		}
		w.file, w.enc = nil, nil
	}
}

// batch writes what is new and brings it to the disk.
func (w *Writer) batch(last bool) error {
	if w.file == nil {
		if err := w.open(); err != nil {
			return err
		}
	}
	before := w.enc.size
	if err := w.records(w.deps.Source.State()); err != nil {
		return err
	}
	for _, r := range w.deps.Refusals.take(last) {
		if err := w.enc.Refusal(r); err != nil {
			return err
		}
	}
	if w.enc.size == before {
		return nil
	}
	if err := w.file.Sync(); err != nil {
		return fmt.Errorf("cannot write audit file %q: %w", w.name, err)
	}
	w.written.Store(w.seq)
	if w.base+w.enc.size < w.cfg.MaxFile {
		return nil
	}
	return w.next("")
}

// records writes the records that follow what is in the files.
func (w *Writer) records(s *policy.State) error {
	head, _ := s.AuditHead()
	if head == nil || head.Seq < w.seq {
		return nil // the node has not read its log yet
	}
	if w.seq > 0 {
		for r := range s.AuditFrom(w.seq) {
			if r.Seq == w.seq && Digest(r.Hash) != w.hash {
				return w.foreign(s, r)
			}
			break
		}
	}
	for r := range s.AuditFrom(w.seq + 1) {
		if r.Seq != w.seq+1 {
			g := Gap{From: w.seq + 1, To: r.Seq - 1, At: w.deps.Now().UTC(), Why: "this node did not hold these records: it took over a snapshot, or its disk failed"}
			if err := w.enc.Gap(g); err != nil {
				return err
			}
			w.log.Warn("the audit file lacks records; other nodes' files may have them", "from", g.From, "to", g.To, "file", w.name)
		}
		if err := w.enc.Record(r); err != nil {
			return err
		}
		w.seq, w.hash = r.Seq, r.Hash
	}
	return nil
}

// foreign begins a new file, since the last record of the old one is not the cluster's.
func (w *Writer) foreign(s *policy.State, r *policy.AuditRecord) error {
	w.log.Error("the audit file was changed: its last record is not the cluster's; it is left as it is, and a new one begins",
		"file", w.name, "seq", r.Seq, "file_hash", w.hash.String(), "cluster_hash", Digest(r.Hash).String())
	why := fmt.Sprintf("record %d of %s is not the cluster's", r.Seq, filepath.Base(w.name))
	w.seq, w.hash = 0, Digest{}
	if err := w.next(why); err != nil {
		return err
	}
	return w.records(s)
}

// pattern is the name of a file by its number; names sort in the order of the numbers.
const pattern = "audit-%06d.jsonl"

// Files returns the audit files in dir, the oldest first.
func Files(dir string) ([]string, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot list audit files: %w", err)
	}
	var out []string
	for _, e := range list {
		if n := e.Name(); e.Type().IsRegular() && strings.HasPrefix(n, "audit-") && strings.HasSuffix(n, ".jsonl") {
			out = append(out, filepath.Join(dir, n))
		}
	}
	slices.Sort(out)
	return out, nil
}

// open continues the newest file, or begins the first one.
func (w *Writer) open() error {
	if err := os.MkdirAll(w.cfg.Dir, 0o700); err != nil {
		return fmt.Errorf("cannot make audit directory: %w", err)
	}
	files, err := Files(w.cfg.Dir)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		w.seq, w.hash = 0, Digest{}
		return w.begin(filepath.Join(w.cfg.Dir, fmt.Sprintf(pattern, 1)), Begin{})
	}
	w.name = files[len(files)-1]
	return w.resume()
}

// resume reads the newest file to its end and goes on there. A line without an end is what a crash in the middle of
// writing leaves: it was told to nobody, and is cut off.
func (w *Writer) resume() error {
	f, err := os.OpenFile(w.name, os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return fmt.Errorf("cannot open audit file: %w", err)
	}
	w.file = f
	report, err := Verify(nil, File{Name: w.name, Data: f})
	if err != nil {
		return err
	}
	w.seq, w.hash = report.seq, report.hash
	if report.Lines == 0 { // not even the first line was written whole
		if err := f.Truncate(0); err != nil {
			return fmt.Errorf("cannot cut audit file: %w", err)
		}
		return w.head(f, Begin{Why: "the begin of this file was cut off"})
	}
	if len(report.Problems) > 0 {
		p := report.Problems[0]
		w.log.Error("the audit file was changed; it is left as it is, and a new one begins", "file", w.name, "line", p.Line, "problem", p.Text)
		w.seq, w.hash = 0, Digest{} // what the State still holds is written down again
		return w.next(fmt.Sprintf("line %d of %s: %s", p.Line, filepath.Base(w.name), p.Text))
	}
	if report.Torn {
		w.log.Warn("the last line of the audit file has no end; it is cut off", "file", w.name, "line", report.Lines+1)
		if err := f.Truncate(report.whole); err != nil {
			return fmt.Errorf("cannot cut audit file: %w", err)
		}
	}
	w.base, w.enc = report.whole, &Encoder{w: f, n: uint64(report.Lines), last: report.end}
	w.written.Store(w.seq)
	return nil
}

// next begins the next file.
func (w *Writer) next(why string) error {
	b := Begin{Seq: w.seq, Hash: w.hash, Why: why}
	if w.enc != nil {
		b.After = w.enc.last
	}
	var n int
	if _, err := fmt.Sscanf(filepath.Base(w.name), pattern, &n); err != nil {
		return fmt.Errorf("cannot read the number of audit file %q: %w", w.name, err)
	}
	w.closeFile()
	if err := w.begin(filepath.Join(w.cfg.Dir, fmt.Sprintf(pattern, n+1)), b); err != nil {
		return err
	}
	return w.forget()
}

func (w *Writer) begin(name string, b Begin) error {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_APPEND|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("cannot begin audit file: %w", err)
	}
	w.name = name
	return w.head(f, b)
}

// head writes the first line of the file f.
func (w *Writer) head(f *os.File, b Begin) (err error) {
	b.Cluster, b.Node, b.At = w.cfg.Cluster, w.cfg.Node, w.deps.Now()
	w.file, w.base = f, 0
	if w.enc, err = NewEncoder(f, b); err != nil {
		return err
	}
	return syncDir(w.cfg.Dir)
}

// forget removes the oldest files beyond those that are kept.
func (w *Writer) forget() error {
	files, err := Files(w.cfg.Dir)
	if err != nil {
		return err
	}
	for _, f := range files[:max(0, len(files)-w.cfg.Keep)] {
		if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot remove the oldest audit file: %w", err)
		}
		w.log.Info("removed the oldest audit file", "file", f)
	}
	return nil
}

// syncDir brings a new name to the disk.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("cannot open audit directory: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}

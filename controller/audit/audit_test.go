package audit_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/controller/audit"
	"github.com/tidegate/tidegate/policy"
)

func epoch() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC) }

// chain is a State with n audit records.
func chain(t testing.TB, s *policy.State, n int) *policy.State {
	t.Helper()
	for range n {
		i := s.Index() + 1
		var cs []policy.Change
		if i == 1 {
			cs = append(cs, &policy.BeginAudit{})
		}
		next, err := s.Apply(policy.Entry{
			Index: i, At: epoch().Add(time.Duration(i) * time.Second), By: "operator/alice", Reason: "ticket <4711> & \"more\"",
			RequestID: policy.RequestID(fmt.Sprint("r", i)), Digest: [32]byte{1, byte(i), byte(i >> 8)},
		}, append(cs, &policy.PutLease{}, &policy.PutAttack{Attack: policy.Attack{Source: "fnm", AttackID: fmt.Sprint(i)}}))
		if err != nil {
			t.Fatal(err)
		}
		s = next
	}
	return s
}

// file is an export of s.
func file(t testing.TB, s *policy.State) []byte {
	t.Helper()
	var b bytes.Buffer
	e, err := audit.NewEncoder(&b, audit.Begin{Cluster: "lab", Node: "n1", At: epoch()})
	if err != nil {
		t.Fatal(err)
	}
	for r := range s.AuditFrom(1) {
		if err := e.Record(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Refusal(audit.Refusal{Minute: epoch(), By: "viewer/eve", Code: "PermissionDenied", Count: 3}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func verify(t testing.TB, files ...[]byte) *audit.Report {
	t.Helper()
	var in []audit.File
	for i, f := range files {
		in = append(in, audit.File{Name: fmt.Sprint("f", i+1), Data: bytes.NewReader(f)})
	}
	r, err := audit.Verify(nil, in...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestTampering: each way to change a file is found, at its line. Line 1 is the begin, line 2 record 1.
func TestTampering(t *testing.T) {
	lines := func(b []byte) [][]byte { return bytes.SplitAfter(bytes.TrimSuffix(b, []byte("\n")), []byte("\n")) }
	good := file(t, chain(t, policy.NewState(), 6))
	other := file(t, chain(t, chain(t, policy.NewState(), 1), 5))
	if !bytes.Equal(good, other) {
		t.Fatal("the same chain has two forms")
	}
	for _, row := range []struct {
		name   string
		tamper func(l [][]byte) [][]byte
		want   []string
		torn   bool
	}{
		{"nothing", func(l [][]byte) [][]byte { return l }, nil, false},
		{"a reason is changed", func(l [][]byte) [][]byte {
			l[3] = bytes.Replace(l[3], []byte("4711"), []byte("4712"), 1)
			return l
		}, []string{"f1:4: record 3 was changed: it does not have the hash that it states"}, false},
		{"who did it is changed", func(l [][]byte) [][]byte {
			l[3] = bytes.Replace(l[3], []byte("operator/alice"), []byte("operator/mallo"), 1)
			return l
		}, []string{"f1:4: record 3 was changed: it does not have the hash that it states"}, false},
		{"a space is added", func(l [][]byte) [][]byte {
			l[3] = bytes.Replace(l[3], []byte(`"seq":3`), []byte(`"seq": 3`), 1)
			return l
		}, []string{"f1:4: was changed, or the line before it was"}, false},
		{"a refusal is changed", func(l [][]byte) [][]byte {
			l[7] = bytes.Replace(l[7], []byte(`"count":3`), []byte(`"count":1`), 1)
			return l
		}, []string{"f1:8: was changed, or the line before it was"}, false},
		{"the line field is changed", func(l [][]byte) [][]byte {
			l[3] = bytes.Replace(l[3], []byte(`"line":"`), []byte(`"line":"00`), 1)
			return l
		}, []string{
			"f1:4: was changed: it does not end in its line field",
			"f1:5: record 4 follows record 2: records were removed, added or moved",
		}, false},
		{"a line is removed", func(l [][]byte) [][]byte { return append(l[:3:3], l[4:]...) }, []string{
			"f1:4: states that it is line 5: lines before it were removed, added or moved",
			"f1:5: states that it is line 6: lines before it were removed, added or moved",
			"f1:6: states that it is line 7: lines before it were removed, added or moved",
			"f1:7: states that it is line 8: lines before it were removed, added or moved",
		}, false},
		{"two lines are swapped", func(l [][]byte) [][]byte {
			l[3], l[4] = l[4], l[3]
			return l
		}, []string{
			"f1:4: states that it is line 5: lines before it were removed, added or moved",
			"f1:5: states that it is line 4: lines before it were removed, added or moved",
			"f1:6: record 5 follows record 3: records were removed, added or moved",
		}, false},
		{"a line is doubled", func(l [][]byte) [][]byte {
			return append(l[:4:4], append([][]byte{l[3]}, l[4:]...)...)
		}, []string{
			"f1:5: states that it is line 4: lines before it were removed, added or moved",
			"f1:6: states that it is line 5: lines before it were removed, added or moved",
			"f1:7: states that it is line 6: lines before it were removed, added or moved",
			"f1:8: states that it is line 7: lines before it were removed, added or moved",
			"f1:9: states that it is line 8: lines before it were removed, added or moved",
		}, false},
		{"the begin is removed", func(l [][]byte) [][]byte { return l[1:2] }, []string{
			"f1:1: states that it is line 2: lines before it were removed, added or moved",
		}, false},
		{"the last line is cut", func(l [][]byte) [][]byte {
			l[7] = l[7][:40]
			return l
		}, nil, true},
		{"everything is removed", func([][]byte) [][]byte { return nil }, []string{"f1:1: the file is empty"}, false},
		{"a line of something else", func(l [][]byte) [][]byte { return append(l[:2:2], []byte("hello\n")) }, []string{
			"f1:3: was changed: it does not end in its line field",
		}, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			var l [][]byte
			for _, line := range lines(good) {
				l = append(l, bytes.Clone(line))
			}
			if n := len(l); n > 0 && !bytes.HasSuffix(l[n-1], []byte("\n")) {
				l[n-1] = append(l[n-1], '\n')
			}
			r := verify(t, bytes.Join(row.tamper(l), nil))
			var got []string
			for _, p := range r.Problems {
				got = append(got, p.String())
			}
			if diff := cmp.Diff(row.want, got); diff != "" || r.Torn != row.torn {
				t.Errorf("torn %t (-want +got):\n%s", r.Torn, diff)
			}
			if r.OK() != (row.want == nil && !row.torn) {
				t.Errorf("OK() = %t", r.OK())
			}
		})
	}
}

// TestRewritten: whoever writes the whole file anew is found by the cluster's head alone.
func TestRewritten(t *testing.T) {
	a := verify(t, file(t, chain(t, policy.NewState(), 6)))
	s := policy.NewState()
	for i := policy.Index(1); i <= 6; i++ {
		cs := []policy.Change{&policy.PutLease{}}
		if i == 1 {
			cs = []policy.Change{&policy.BeginAudit{}}
		}
		s, _ = s.Apply(policy.Entry{Index: i, At: epoch(), By: "operator/mallory", Digest: [32]byte{1}}, cs)
	}
	b := verify(t, file(t, s))
	if !a.OK() || !b.OK() || a.Last.Seq != b.Last.Seq || a.Last.Hash == b.Last.Hash {
		t.Errorf("%+v\n%+v", a, b)
	}
}

// source is a State that a test moves on.
type source struct {
	mu      sync.Mutex // guards the fields below
	state   *policy.State
	updated chan struct{}
}

func newSource() *source { return &source{state: policy.NewState(), updated: make(chan struct{})} }

func (s *source) State() *policy.State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

func (s *source) Updated() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.updated
}

func (s *source) set(st *policy.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = st
	close(s.updated)
	s.updated = make(chan struct{})
}

// bench is a Writer that can be stopped and started, on one directory.
type bench struct {
	t        *testing.T
	dir      string
	src      *source
	refusals *audit.Refusals
	log      *bytes.Buffer
	cfg      audit.Config
	stop     func()
	w        *audit.Writer
}

func newBench(t *testing.T) *bench {
	return &bench{t: t, dir: filepath.Join(t.TempDir(), "audit"), src: newSource(), refusals: audit.NewRefusals(time.Now), log: &bytes.Buffer{}}
}

func (b *bench) start() {
	cfg := b.cfg
	cfg.Dir, cfg.Cluster, cfg.Node = b.dir, "lab", "n1"
	b.w = audit.NewWriter(cfg, audit.Deps{
		Source: b.src, Refusals: b.refusals, Now: time.Now, Logger: slog.New(slog.NewTextHandler(b.log, nil)),
	})
	ctx, cancel := contextOf(b.t)
	done := make(chan error, 1)
	go func() { done <- b.w.Run(ctx) }()
	b.stop = func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Error(err)
		}
	}
}

func (b *bench) files() [][]byte {
	b.t.Helper()
	names, err := audit.Files(b.dir)
	if err != nil {
		b.t.Fatal(err)
	}
	var out [][]byte
	for _, n := range names {
		data, err := os.ReadFile(n)
		if err != nil {
			b.t.Fatal(err)
		}
		out = append(out, data)
	}
	return out
}

// seqs are the records of all files.
func (b *bench) seqs() (out []uint64, r *audit.Report) {
	b.t.Helper()
	var in []audit.File
	for i, f := range b.files() {
		in = append(in, audit.File{Name: fmt.Sprint("f", i+1), Data: bytes.NewReader(f)})
	}
	r, err := audit.Verify(func(r *policy.AuditRecord) { out = append(out, r.Seq) }, in...)
	if err != nil {
		b.t.Fatal(err)
	}
	return out, r
}

func upTo(from, to uint64) (out []uint64) {
	for i := from; i <= to; i++ {
		out = append(out, i)
	}
	return out
}

// TestOnceAcrossRestarts: each record stands in the files once, whatever is stopped when.
func TestOnceAcrossRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.cfg.MaxFile = 20_000 // some forty records
		s := policy.NewState()
		for i := range 20 {
			b.start()
			s = chain(t, s, 3+i)
			b.src.set(s)
			if i%2 == 0 {
				time.Sleep(time.Second)
			}
			if i%3 == 0 {
				b.refusals.Note("viewer/eve", "PermissionDenied")
			}
			b.stop()
			if i%4 == 0 { // a crash in the middle of a line
				names, _ := audit.Files(b.dir)
				f, err := os.OpenFile(names[len(names)-1], os.O_APPEND|os.O_WRONLY, 0)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := f.WriteString(`{"kind":"record","n":`); err != nil {
					t.Fatal(err)
				}
				f.Close()
			}
		}
		b.src.set(policy.NewState()) // a process that has not read its log yet
		b.start()
		time.Sleep(time.Second)
		b.src.set(s)
		b.stop()
		got, r := b.seqs()
		head, _ := s.AuditHead()
		if diff := cmp.Diff(upTo(1, head.Seq), got); diff != "" || !r.OK() || r.Last.Hash != head.Hash || r.Refused != 7 {
			t.Errorf("%d refused, %v (-want +got):\n%s", r.Refused, r.Problems, diff)
		}
		if n := len(b.files()); n < 3 {
			t.Errorf("%d files: nothing was rotated", n)
		}
		if seq, failure := b.w.Written(); seq != head.Seq || failure != "" {
			t.Errorf("Written() = %d, %q", seq, failure)
		}
	})
}

// TestGap: what a snapshot skipped is said, and the chain goes on behind it.
func TestGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		s := chain(t, policy.NewState(), 5)
		b.src.set(s)
		time.Sleep(time.Second)
		s = chain(t, s, policy.AuditKept+2000)
		b.src.set(s)
		b.stop()
		got, r := b.seqs()
		if len(r.Gaps) != 1 || r.Gaps[0].From != 6 || len(r.Problems) > 0 || r.OK() {
			t.Fatalf("gaps %+v, problems %v", r.Gaps, r.Problems)
		}
		head, _ := s.AuditHead()
		if diff := cmp.Diff(append(upTo(1, 5), upTo(r.Gaps[0].To+1, head.Seq)...), got); diff != "" {
			t.Errorf("records (-want +got):\n%s", diff)
		}
		if n := uint64(len(got)) - 5; n < policy.AuditKept || n >= policy.AuditKept+600 {
			t.Errorf("the State held %d records", n)
		}
	})
}

// TestChangedFileIsLeftAsItIs: a node that finds its file changed says so, keeps it, and writes what it has into a new one.
func TestChangedFileIsLeftAsItIs(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, data []byte) []byte{
		"a line": func(_ *testing.T, data []byte) []byte { return bytes.Replace(data, []byte("4711"), []byte("4712"), 1) },
		"all of it": func(t *testing.T, _ []byte) []byte {
			s := policy.NewState()
			s, err := s.Apply(policy.Entry{Index: 1, At: epoch(), By: "operator/mallory", Digest: [32]byte{1}}, []policy.Change{&policy.BeginAudit{}})
			if err != nil {
				t.Fatal(err)
			}
			return file(t, s)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.start()
				s := chain(t, policy.NewState(), 5)
				b.src.set(s)
				b.stop()
				names, _ := audit.Files(b.dir)
				bad := change(t, b.files()[0])
				if err := os.WriteFile(names[0], bad, 0o600); err != nil {
					t.Fatal(err)
				}
				b.start()
				b.src.set(chain(t, s, 2))
				b.stop()
				files := b.files()
				if len(files) != 2 || !bytes.Equal(files[0], bad) {
					t.Fatalf("%d files", len(files))
				}
				r := verify(t, files[1])
				if !r.OK() || r.First.Seq != 1 || r.Last.Seq != 7 || r.Begin.Why == "" {
					t.Errorf("%+v", r)
				}
				if !strings.Contains(b.log.String(), "level=ERROR") || !strings.Contains(b.log.String(), "the audit file was changed") {
					t.Errorf("log %s", b.log)
				}
			})
		})
	}
}

// TestFilesAreBounded: the oldest go.
func TestFilesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.cfg.MaxFile, b.cfg.Keep = 3000, 3
		b.start()
		s := policy.NewState()
		for range 10 {
			s = chain(t, s, 10)
			b.src.set(s)
			time.Sleep(time.Second)
		}
		b.stop()
		if n := len(b.files()); n != 3 {
			t.Errorf("%d files", n)
		}
		if _, r := b.seqs(); !r.OK() || r.Last.Seq != 100 {
			t.Errorf("%+v", r)
		}
	})
}

// TestDiskFails: the node works on, says what is wrong, and writes all of it when the disk is back.
func TestDiskFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		if err := os.WriteFile(b.dir, nil, 0o600); err != nil { // a file where the directory should be
			t.Fatal(err)
		}
		b.start()
		b.src.set(chain(t, policy.NewState(), 5))
		time.Sleep(time.Minute)
		if _, failure := b.w.Written(); !strings.Contains(failure, "cannot make audit directory") {
			t.Errorf("failure %q", failure)
		}
		if n := strings.Count(b.log.String(), "cannot keep the audit file"); n != 1 {
			t.Errorf("said %d times", n)
		}
		if err := os.Remove(b.dir); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if seq, failure := b.w.Written(); seq != 5 || failure != "" {
			t.Errorf("Written() = %d, %q", seq, failure)
		}
		b.stop()
	})
}

// TestRefusalsAreCounted: by principal, code and minute, and never more than a bound of them.
func TestRefusalsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		for range 100 {
			b.refusals.Note("viewer/eve", "PermissionDenied")
		}
		time.Sleep(3 * time.Minute)
		for i := range 1000 {
			b.refusals.Note(fmt.Sprint("viewer/", i), "PermissionDenied")
		}
		b.stop()
		_, r := b.seqs()
		if r.Refused != 1100 || r.Lines > 1+1+257 || !r.OK() {
			t.Errorf("%+v", r)
		}
	})
}

func FuzzVerify(f *testing.F) {
	good := file(f, chain(f, policy.NewState(), 3))
	f.Add(good)
	f.Add(good[:len(good)-5])
	f.Add([]byte("{}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := audit.Verify(nil, audit.File{Name: "x", Data: bytes.NewReader(data)})
		if err != nil {
			t.Fatal(err)
		}
		if r.OK() && r.Lines == 0 {
			t.Fatal("a file without a line is in order")
		}
	})
}

package policy

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// audited applies n items in entries of two, and returns every State on the way.
func audited(t testing.TB, s *State, n int) []*State {
	t.Helper()
	var out []*State
	for range n {
		head, _ := s.AuditHead()
		var seq uint64
		if head != nil {
			seq = head.Seq
		}
		index := Index(seq/2 + 1)
		cs := []Change{&PutLease{}}
		if seq == 0 {
			cs = []Change{&BeginAudit{}, &PutLease{}}
		}
		next, err := s.Apply(Entry{
			Index: index, At: time.Unix(int64(1e9+seq), 0).UTC(), By: "operator/alice", Reason: fmt.Sprint("reason ", seq),
			Digest: [32]byte{1, byte(seq), byte(seq >> 8)},
		}, cs)
		if err != nil {
			t.Fatal(err)
		}
		s = next
		out = append(out, s)
	}
	return out
}

// TestAuditChain compares the chain with the list of all records, on the way to far beyond what is kept, with a second
// chain growing from every State in between, as when an entry is tried and another one committed.
func TestAuditChain(t *testing.T) {
	const n = AuditKept + 3*auditRun + 7
	s := NewState()
	var all []*AuditRecord // the twin
	for i := range n {
		if i%701 == 1 { // a branch that leads nowhere
			audited(t, s, auditRun+3)
		}
		s = audited(t, s, 1)[0]
		head, on := s.AuditHead()
		if !on {
			t.Fatal("the chain has not begun")
		}
		all = append(all, head)
		if i > 0 && !head.Follows(all[i-1]) || i == 0 && !head.Follows(nil) || head.Hash != head.Sum() {
			t.Fatalf("record %d: %+v", i, head)
		}
	}
	kept := slices.Collect(s.AuditFrom(0))
	if len(kept) < AuditKept || len(kept) >= AuditKept+2*auditRun {
		t.Errorf("%d records are kept", len(kept))
	}
	if diff := cmp.Diff(all[n-len(kept):], kept); diff != "" {
		t.Errorf("what is kept (-want +got):\n%s", diff)
	}
	for _, from := range []int{n, n - 1, n - 6, n - 7, n - 8, n - auditRun, n - auditRun - 7, n - len(kept) + 1, n + 1, n + 100} {
		want := all[min(from, n+1)-1:]
		if diff := cmp.Diff(want, append([]*AuditRecord{}, slices.Collect(s.AuditFrom(uint64(from)))...)); diff != "" {
			t.Errorf("from %d (-want +got):\n%s", from, diff)
		}
	}
	restored, err := Restore(func(yield func(Record, error) bool) {
		for r := range s.Records() {
			if !yield(r, nil) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	a, b := audited(t, s, auditRun), audited(t, restored, auditRun)
	for i := range a {
		if a[i].Digest() != b[i].Digest() || a[i].audit.n != b[i].audit.n {
			t.Fatalf("a restored State differs %d records later: it keeps %d records, not %d", i+1, b[i].audit.n, a[i].audit.n)
		}
	}
}

// TestAuditHashCoversEverything: no field of a record can be changed without its hash.
func TestAuditHashCoversEverything(t *testing.T) {
	base := AuditRecord{
		Seq: 7, Index: 9, At: time.Unix(1e9, 5), By: "a/b", RequestID: "id", Reason: "why", Kinds: []AuditKind{{"PutLease", 1}},
		Objects: []string{"Customer/a"}, More: 2, Digest: [32]byte{1}, Prev: [32]byte{2},
	}
	changes := map[string]func(r *AuditRecord){
		"Seq": func(r *AuditRecord) { r.Seq++ }, "Index": func(r *AuditRecord) { r.Index++ }, "At": func(r *AuditRecord) { r.At = r.At.Add(1) },
		"By": func(r *AuditRecord) { r.By = "a/c" }, "RequestID": func(r *AuditRecord) { r.RequestID = "" }, "Reason": func(r *AuditRecord) { r.Reason = "" },
		"kind":  func(r *AuditRecord) { r.Kinds = []AuditKind{{"PutLeasf", 1}} },
		"count": func(r *AuditRecord) { r.Kinds = []AuditKind{{"PutLease", 2}} }, "no kinds": func(r *AuditRecord) { r.Kinds = nil },
		"objects": func(r *AuditRecord) { r.Objects = []string{"Customer/", "a"} }, "More": func(r *AuditRecord) { r.More = 0 },
		"Digest": func(r *AuditRecord) { r.Digest[31] = 1 }, "Prev": func(r *AuditRecord) { r.Prev[31] = 1 },
		"between": func(r *AuditRecord) { r.RequestID, r.Reason = "idw", "hy" },
	}
	for name, change := range changes {
		r := base
		if change(&r); r.Sum() == base.Sum() {
			t.Errorf("%s is not covered", name)
		}
	}
	// The form of what is hashed is fixed for ever: this is the hash that the first version came to.
	if got := fmt.Sprintf("%x", base.Sum()); got != "443b4e2e2827b04709338cdcbed832aa5516d19f25745bcbb84dba601e13086f" {
		t.Errorf("the hash of a record is %s now", got)
	}
}

func TestAuditWhat(t *testing.T) {
	s := audited(t, NewState(), 1)[0]
	var cs []Change
	for i := range 12 {
		cs = append(cs, &PutAttack{Attack: Attack{Source: "fnm", AttackID: fmt.Sprint(i % 10)}})
	}
	cs = append(cs, &PutDocument{Document: &Customer{ID: "uni", Name: "U"}}, &PutResult{Result: Result{RequestID: "x"}})
	next, err := s.Apply(Entry{Index: 5, At: s.At(), By: "detector/fnm", Digest: [32]byte{9}}, cs)
	if err != nil {
		t.Fatal(err)
	}
	r, _ := next.AuditHead()
	if diff := cmp.Diff([]AuditKind{{"PutAttack", 12}, {"PutDocument", 1}, {"PutResult", 1}}, r.Kinds); diff != "" {
		t.Errorf("kinds (-want +got):\n%s", diff)
	}
	if len(r.Objects) != 8 || r.Objects[7] != "Attack/fnm/7" || r.More != 5 {
		t.Errorf("objects %v and %d more", r.Objects, r.More)
	}
	if tried, err := s.Apply(Entry{Index: 5, At: s.At()}, cs); err != nil || tried.audit.n != 1 {
		t.Errorf("a decision that is only tried left a record: %v", err)
	}
	if d := Decide(NewState(), &BeginAuditRequest{}, Entry{}); len(d.Changes) != 1 {
		t.Errorf("a new cluster: %+v", d)
	}
	if d := Decide(s, &BeginAuditRequest{}, Entry{}); len(d.Changes) != 0 || d.Verdict.Reason.Code != CodeUnchanged {
		t.Errorf("a second begin: %+v", d)
	}
}

func TestRestoreRefusesABrokenChain(t *testing.T) {
	s := audited(t, NewState(), 4)[3]
	for name, change := range map[string]func(rs []Record) []Record{
		"a record that was changed": func(rs []Record) []Record {
			r := *rs[2].(*AuditRecord) //nolint:forcetypeassert // the State holds nothing else
			r.By = "operator/mallory"
			rs[2] = &r
			return rs
		},
		"a record that is missing": func(rs []Record) []Record {
			m := *rs[0].(*MetaRecord) //nolint:forcetypeassert // the first one
			m.Count--
			rs[0] = &m
			return append(rs[:2:2], rs[3:]...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			rs := change(slices.Collect(s.Records()))
			_, err := Restore(func(yield func(Record, error) bool) {
				for _, r := range rs {
					if !yield(r, nil) {
						return
					}
				}
			})
			if err == nil {
				t.Error("it was taken")
			}
		})
	}
}

package policy

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

func smallState(t *testing.T) *State {
	t.Helper()
	return apply(t, NewState(), 3,
		&PutDocument{&Customer{ID: "school", Official: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}},
		&PutDocument{DefaultSafeguards()},
		&PutMitigation{ruled(1)}, &PutMitigation{ruled(2, over)},
		&PutAttack{Attack{Source: "d", AttackID: "1"}}, &PutResult{Result{RequestID: "r"}}, &PutLease{})
}

func TestRestoreRefuses(t *testing.T) {
	t.Parallel()
	all := slices.Collect(smallState(t).Records())
	errRead := errors.New("disk on fire")
	at := func(i int, r Record) func([]Record) []Record {
		return func(rs []Record) []Record { rs[i] = r; return rs }
	}
	for _, row := range []struct {
		name   string
		change func([]Record) []Record
		err    error // of the source
		want   error
	}{
		{"nothing", func([]Record) []Record { return nil }, nil, ErrIncomplete},
		{"read error", func(rs []Record) []Record { return rs }, errRead, errRead},
		{"no meta record", func(rs []Record) []Record { return rs[1:] }, nil, ErrOrder},
		{"two meta records", func(rs []Record) []Record { return append(rs, rs[0]) }, nil, ErrOrder},
		{"the last one missing", func(rs []Record) []Record { return rs[:len(rs)-1] }, nil, ErrIncomplete},
		{"a document missing", func(rs []Record) []Record { return slices.Delete(rs, 1, 2) }, nil, ErrIncomplete},
		{"one too many", func(rs []Record) []Record { return append(rs, rs[1]) }, nil, ErrIncomplete},
		{"routes before mitigations", func(rs []Record) []Record { rs[3], rs[5] = rs[5], rs[3]; return rs }, nil, ErrIncomplete},
		{"mitigation after a route", func(rs []Record) []Record { rs[4], rs[5] = rs[5], rs[4]; return rs }, nil, ErrOrder},
		{"unknown route", at(5, &RouteRecord{Key: "\x01\x03"}), nil, ErrIncomplete},
		{"route that became something else", at(5, &PutAttack{Attack{Source: "x"}}), nil, ErrIncomplete},
		{"unknown record", at(6, &strangeRecord{}), nil, ErrUnknownChange},
		{"nil record", at(6, nil), nil, ErrUnknownChange},
		{"nil meta", at(0, (*MetaRecord)(nil)), nil, ErrOrder},
		{"nil document", at(1, (*PutDocument)(nil)), nil, ErrBadChange},
		{"nil mitigation", at(3, (*PutMitigation)(nil)), nil, ErrBadChange},
		{"nil route", at(5, (*RouteRecord)(nil)), nil, ErrBadChange},
		{"nil attack", at(6, (*PutAttack)(nil)), nil, ErrBadChange},
		{"nil result", at(7, (*PutResult)(nil)), nil, ErrBadChange},
		{"mitigation without a phase", at(3, &PutMitigation{&Mitigation{ID: 1}}), nil, ErrBadChange},
		{"next id too low", at(0, &MetaRecord{Index: 3, NextID: 2, Count: uint64(len(all) - 1)}), nil, ErrIncomplete},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			rs := row.change(slices.Clone(all))
			_, err := Restore(func(yield func(Record, error) bool) {
				for _, r := range rs {
					if !yield(r, nil) {
						return
					}
				}
				if row.err != nil {
					yield(nil, row.err)
				}
			})
			if !errors.Is(err, row.want) {
				t.Fatalf("error %v, want %v", err, row.want)
			}
		})
	}
}

// TestRestoreKeepsIDs: an id is never used again, not even when its mitigation was forgotten.
func TestRestoreKeepsIDs(t *testing.T) {
	t.Parallel()
	rs := slices.Collect(smallState(t).Records())
	meta := *rs[0].(*MetaRecord)
	meta.NextID = 50
	rs[0] = &meta
	s, err := Restore(withoutError(slices.Values(rs)))
	if err != nil {
		t.Fatal(err)
	}
	same(t, "NextID", s.NextID(), MitigationID(50))
}

type strangeRecord struct{ MetaRecord }

func TestRecordsOfSmallState(t *testing.T) {
	t.Parallel()
	s := smallState(t)
	rs := slices.Collect(s.Records())
	same(t, "meta record", rs[0], Record(&MetaRecord{Index: 3, At: s.At(), LeaseAt: s.At(), NextID: 3, Count: 7}))
	same(t, "route record", rs[5], Record(&RouteRecord{Key: ruled(1).Rules[0].Match.Key(), Changed: 3}))
	same(t, "number of records", len(rs), 8)
}

// TestDigestSeesEverything changes one thing at a time.
func TestDigestSeesEverything(t *testing.T) {
	t.Parallel()
	base := smallState(t)
	seen := map[[32]byte]string{base.Digest(): "the base"}
	for _, row := range []struct {
		name string
		c    Change
	}{
		{"nothing but the index", nil},
		{"name", &PutDocument{&Customer{ID: "school", Name: "x", Official: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}}},
		{"a name", &PutDocument{&Customer{ID: "school3", Name: "x"}}},
		{"the same text in another field", &PutDocument{&Customer{ID: "school3", Within: "x"}}},
		{"official", &PutDocument{&Customer{ID: "school", Official: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/25")}}}},
		{"another customer", &PutDocument{&Customer{ID: "school2"}}},
		{"block of the same name", &PutDocument{&ProtectedBlock{Name: "school2"}}},
		{"router of the same name", &PutDocument{&Router{Name: "school2"}}},
		{"no customer", &DeleteDocument{DocumentRef{KindCustomer, "school"}}},
		{"expiry", &PutMitigation{ruled(1, expiring(1))}},
		{"action", &PutMitigation{ruled(1, limit(8))}},
		{"end", &PutMitigation{ruled(1, over)}},
		{"note", &PutMitigation{ruled(1, func(m *Mitigation) { m.Notes = []string{"x"} })}},
		{"two notes", &PutMitigation{ruled(1, func(m *Mitigation) { m.Notes = []string{"x", ""} })}},
		{"attack", &PutAttack{Attack{Source: "d", AttackID: "1", Digest: [32]byte{31: 1}}}},
		{"result", &PutResult{Result{RequestID: "r", Verdict: Verdict{Kind: Refused}}}},
	} {
		var cs []Change
		if row.c != nil {
			cs = append(cs, row.c)
		}
		next, err := base.Apply(Entry{Index: 4, At: base.At()}, cs)
		if err != nil {
			t.Fatal(err)
		}
		d := next.Digest()
		if other, ok := seen[d]; ok {
			t.Errorf("%s has the digest of %s", row.name, other)
		}
		seen[d] = row.name
		same(t, "digest again", next.Digest(), d)
	}
}

// TestDigestIsOfWhatIsSaid: how a list or a time is held in memory must not set two nodes apart.
func TestDigestIsOfWhatIsSaid(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("elsewhere", 3600)
	a := apply(t, NewState(), 1, &PutMitigation{ruled(1)})
	b := apply(t, NewState(), 1, &PutMitigation{ruled(1, func(m *Mitigation) {
		m.Notes, m.Groups, m.Cut.Pieces = []string{}, []string{}, []netip.Prefix{}
		m.Expires = m.Expires.In(zone)
	})})
	same(t, "digest", b.Digest(), a.Digest())
}

// TestDigestOfHistory: the digest is of the content, not of the way to it.
func TestDigestOfHistory(t *testing.T) {
	t.Parallel()
	docs := fullInventory()
	a := apply(t, NewState(), 2, docs...)
	r := rand.New(rand.NewPCG(1, 2))
	r.Shuffle(len(docs), func(i, j int) { docs[i], docs[j] = docs[j], docs[i] })
	b := NewState()
	for _, d := range docs {
		b = apply(t, b, 2, d)
	}
	same(t, "digest", b.Digest(), a.Digest())
}

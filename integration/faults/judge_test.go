package faults

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/integration/lab"
)

// TestJudgeFinds shows that the judgement can fail: histories in which each thing that must not be happens once, by hand.
func TestJudgeFinds(t *testing.T) {
	const key = flowspec.Key("k")
	zero := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(seconds int) time.Time { return zero.Add(time.Duration(seconds) * time.Second) }
	n1, n2 := netip.MustParseAddr("10.99.0.1"), netip.MustParseAddr("10.99.0.2")
	begin := func(client, from int, id string, index uint64) *write {
		return &write{client: client, slot: "s", id: id, keys: []flowspec.Key{key}, index: index, lifetime: time.Hour, invoke: at(from), respond: at(from + 1)}
	}
	end := func(client, from int, id, refused string, index uint64) *write {
		return &write{client: client, withdra: true, slot: "s", id: id, refused: refused, index: index, invoke: at(from), respond: at(from + 1)}
	}
	shows := func(index uint64, ids ...string) read {
		r := read{node: "n1", index: index, at: at(50), active: make(map[string]bool)}
		for _, id := range ids {
			r.active[id] = true
		}
		return r
	}
	up := func(s int, from netip.Addr) lab.Heard { return lab.Heard{At: at(s), From: from, Key: key} }
	down := func(s int, from netip.Addr) lab.Heard {
		return lab.Heard{At: at(s), From: from, Kind: lab.Withdrawn, Key: key}
	}
	session := func(s int, from netip.Addr) lab.Heard { return lab.Heard{At: at(s), From: from, Kind: lab.SessionDown} }
	type verdict struct {
		Lost, Wrong, Unasked int
		Absent, PastBound    time.Duration
		Linearizable         bool
	}
	good := []*write{begin(1, 10, "M1", 5), end(1, 100, "M1", "", 9)}
	tests := []struct {
		name     string
		writes   []*write
		reads    []read
		heard    []lab.Heard
		impaired []span
		dark     []span
		want     verdict
	}{
		{
			name: "all is well", writes: good, reads: []read{shows(4), shows(5, "M1"), shows(8, "M1"), shows(9)},
			heard: []lab.Heard{up(11, n1), up(12, n2), session(50, n1), up(60, n1), down(101, n1), down(102, n2)}, want: verdict{Linearizable: true},
		},
		{name: "a write is lost", writes: good[:1], reads: []read{shows(6)}, heard: []lab.Heard{up(11, n1)}, want: verdict{Lost: 1, Linearizable: true}},
		{name: "a withdrawal is lost", writes: good, reads: []read{shows(9, "M1")}, heard: []lab.Heard{up(11, n1), down(101, n1)}, want: verdict{Lost: 1, Linearizable: true}},
		{
			name: "one node withdraws what is due", writes: good,
			heard: []lab.Heard{up(11, n1), up(11, n2), down(50, n1), down(101, n2)}, want: verdict{Wrong: 1, Linearizable: true},
		},
		{
			name: "all nodes' sessions end", writes: good,
			heard: []lab.Heard{up(11, n1), up(11, n2), session(50, n1), session(52, n2), up(55, n1), down(101, n1)},
			want:  verdict{Absent: 3 * time.Second, Linearizable: true},
		},
		{
			name: "and none of them runs, by the fault's own doing", writes: good,
			heard: []lab.Heard{up(11, n1), session(50, n1), up(55, n1), down(101, n1)},
			dark:  []span{{start: at(49), end: at(56)}}, want: verdict{Linearizable: true},
		},
		{
			name: "it comes too late", writes: good,
			heard: []lab.Heard{up(41, n1), down(101, n1)}, want: verdict{Absent: 10 * time.Second, Linearizable: true},
		},
		{name: "it never comes", writes: good, want: verdict{Absent: 69 * time.Second, Linearizable: true}},
		{
			name: "it stays", writes: good,
			heard: []lab.Heard{up(11, n1), down(131, n1)}, want: verdict{PastBound: 10 * time.Second, Linearizable: true},
		},
		{
			name: "it stays at a node that is cut off", writes: good, impaired: []span{{node: n1, start: at(90), end: at(125)}},
			heard: []lab.Heard{up(11, n1), down(131, n1)}, want: verdict{Linearizable: true},
		},
		{
			name: "it stays while another node is cut off", writes: good, impaired: []span{{node: n2, start: at(90), end: at(125)}},
			heard: []lab.Heard{up(11, n1), down(131, n1)}, want: verdict{PastBound: 10 * time.Second, Linearizable: true},
		},
		{
			name: "nobody asked for it", writes: nil,
			heard: []lab.Heard{up(11, n1)}, want: verdict{Unasked: 1, Linearizable: true},
		},
		{
			name:   "two starts win",
			writes: []*write{begin(1, 10, "M1", 5), begin(2, 20, "M2", 6)}, heard: []lab.Heard{up(11, n1)}, want: verdict{},
		},
		{
			name:   "a withdrawal finds it over while it is active",
			writes: []*write{begin(1, 10, "M1", 5), end(2, 20, "M1", "mitigation_over", 0)}, heard: []lab.Heard{up(11, n1)}, want: verdict{},
		},
		{
			name:   "a start that overlaps finds it",
			writes: []*write{begin(1, 10, "M1", 5), begin(2, 10, "M1", 0)}, heard: []lab.Heard{up(11, n1)}, want: verdict{Linearizable: true},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBook()
			v := b.witness("recorder", true)
			v.heard, b.writes, b.reads, b.impaired, b.dark = tt.heard, tt.writes, tt.reads, tt.impaired, tt.dark
			s := b.judge(at(200))
			got := verdict{s.Lost, s.WrongWithdrawals, s.Unasked, s.Absent, s.PastBound, s.Linearizable}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("judge (-want +got)\n%s\n%v", diff, s.Findings)
			}
			if bad := got != (verdict{Linearizable: true}); bad == s.Good() {
				t.Errorf("good() = %v with %v", s.Good(), s.Findings)
			}
		})
	}
}

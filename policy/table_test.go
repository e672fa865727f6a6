package policy

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// tableTwin is what a table at one moment has to hold.
type tableTwin struct {
	table   table[int]
	entries map[string]int
}

// TestPropertyTableEqualsMap changes a table and a map alike, and looks at the table of every moment, also long after:
// what was handed out never changes.
func TestPropertyTableEqualsMap(t *testing.T) {
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		now := tableTwin{table: newTable[int](), entries: map[string]int{}}
		var before []tableTwin
		space := 1 << (2 + rnd.IntN(12))
		ascending := rnd.IntN(3) == 0
		for step := range 300 {
			fork := tableTwin{table: now.table, entries: maps.Clone(now.entries)}
			if rnd.IntN(4) == 0 { // whole stretches come and go
				from, grow := rnd.IntN(space), rnd.IntN(2) == 0
				for n := from; n < min(space, from+rnd.IntN(400)); n++ {
					k := fmt.Sprintf("s%06d", n)
					if grow {
						fork.table.set([]byte(k), step)
						fork.entries[k] = step
					} else {
						fork.table.remove([]byte(k))
						delete(fork.entries, k)
					}
				}
			}
			for i := range rnd.IntN(1 << rnd.IntN(7)) {
				n := rnd.IntN(space)
				if ascending && rnd.IntN(4) > 0 {
					n = step*64 + i
				}
				k := fmt.Sprintf("%c%0*d", 'a'+n%3, n%5, n)
				if seed%2 == 0 && step%100 > 50 || rnd.IntN(3) == 0 { // now it grows, now it shrinks
					if ascending && len(fork.entries) > 0 {
						first, _, _ := fork.table.min()
						k = string(first)
					}
					fork.table.remove([]byte(k))
					delete(fork.entries, k)
				} else {
					fork.table.set([]byte(k), step)
					fork.entries[k] = step
				}
			}
			if rnd.IntN(5) == 0 {
				continue // an Apply that failed: nobody keeps it
			}
			fork.table.commit()
			now = fork
			if rnd.IntN(10) == 0 {
				before = append(before, now)
			}
			checkTable(t, &now)
		}
		for i := range before {
			checkTable(t, &before[i])
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func checkTable(t *testing.T, w *tableTwin) {
	t.Helper()
	keys := slices.Sorted(maps.Keys(w.entries))
	if w.table.n != len(keys) {
		t.Fatalf("%d entries are counted, want %d", w.table.n, len(keys))
	}
	if k, v, ok := w.table.min(); ok != (len(keys) > 0) || ok && (string(k) != keys[0] || v != w.entries[keys[0]]) {
		t.Fatalf("the first is %q", k)
	}
	for _, k := range keys {
		if v, ok := w.table.get([]byte(k)); !ok || v != w.entries[k] {
			t.Fatalf("%q: got %d, %t, want %d", k, v, ok, w.entries[k])
		}
	}
	for _, prefix := range []string{"", "a", "b1", "c00", "zz", "a3"} {
		var got []string
		for k, v := range w.table.under([]byte(prefix)) {
			if v != w.entries[string(k)] {
				t.Fatalf("%q has %d, want %d", k, v, w.entries[string(k)])
			}
			got = append(got, string(k))
			if _, ok := w.table.get(append(k[:len(k):len(k)], 'x')); ok {
				t.Fatalf("%q is there with an x after it", k)
			}
		}
		want := slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return !strings.HasPrefix(k, prefix) })
		if !slices.Equal(got, want) {
			t.Fatalf("under %q: got %q, want %q", prefix, got, want)
		}
	}
	if w.table.root != nil {
		checkNode(t, w.table.root, nil, nil)
	}
}

// checkNode holds the bounds of a node's keys, and that no leaf is empty. It returns the depth.
func checkNode(t *testing.T, n *node[int], from, to []byte) int {
	t.Helper()
	if len(n.keys) == 0 || len(n.keys) > fanout {
		t.Fatalf("a node has %d entries", len(n.keys))
	}
	depth := 0
	for i, k := range n.keys {
		if (i > 0 || n.children == nil) && (bytes.Compare(k, from) < 0 || to != nil && bytes.Compare(k, to) >= 0) {
			t.Fatalf("key %q does not lie from %q to %q", k, from, to)
		}
		if n.children == nil {
			continue
		}
		lo, hi := from, to
		if i > 0 {
			lo = k
		}
		if i+1 < len(n.keys) {
			hi = n.keys[i+1]
		}
		d := checkNode(t, n.children[i], lo, hi)
		if i > 0 && d != depth {
			t.Fatalf("children are %d and %d deep", depth, d)
		}
		depth = d
	}
	return depth + 1
}

// TestTableStaysLow: a table out of which most was removed again, at any place, has few nodes left.
func TestTableStaysLow(t *testing.T) {
	tab := newTable[int]()
	for i := range 100_000 {
		tab.set(numberKey(uint64(i)), i)
	}
	for i := range 100_000 {
		if i%1000 != 0 {
			tab.remove(numberKey(uint64(i)))
		}
	}
	nodes := 0
	var count func(n *node[int])
	count = func(n *node[int]) {
		nodes++
		for _, c := range n.children {
			count(c)
		}
	}
	count(tab.root)
	if tab.n != 100 || nodes > 60 {
		t.Errorf("%d entries in %d nodes", tab.n, nodes)
	}
}

package policy

import (
	"bytes"
	"encoding/binary"
	"iter"
	"slices"
	"time"
)

// table is an ordered map of the State: persistent, so that a copy of the struct is a copy of the map. It is a B+tree
// whose nodes are copied on the way to a change. A State that was handed out has no change under way; between the first
// change and commit a table belongs to one Apply alone, which changes the nodes that it has copied in place.
type table[V any] struct {
	root  *node[V] // nil: empty
	owner *stamp   // of the Apply under way; nil: none
	n     int      // entries
}

// fanout bounds the entries of a node. A change copies one node of each level, so a node shall be small; what is read
// goes through all levels, so they shall be few.
const fanout = 16

// node is a leaf with entries in the order of their keys, or an inner node with children. In that, keys[i] is not above
// any key under children[i] and above all keys under children[i-1]; keys[0] means nothing. Only the root may be empty.
type node[V any] struct {
	owner    *stamp // who may change it in place; any other copies it
	keys     [][]byte
	values   []V        // of a leaf
	children []*node[V] // of an inner node
}

func newTable[V any]() table[V] { return table[V]{} }

func (t *table[V]) commit() { t.owner = nil }

func (t *table[V]) get(k []byte) (v V, ok bool) {
	n := t.root
	if n == nil {
		return v, false
	}
	for n.children != nil {
		n = n.children[n.child(k)]
	}
	if i, found := slices.BinarySearchFunc(n.keys, k, bytes.Compare); found {
		return n.values[i], true
	}
	return v, false
}

// min returns the first entry.
func (t *table[V]) min() (k []byte, v V, ok bool) {
	n := t.root
	if n == nil {
		return nil, v, false
	}
	for n.children != nil {
		n = n.children[0]
	}
	return n.keys[0], n.values[0], true
}

// set keeps k: the caller must not change it afterwards.
func (t *table[V]) set(k []byte, v V) {
	t.own()
	if t.root == nil {
		t.root = &node[V]{owner: t.owner}
	}
	root, right, added := t.root.insert(t.owner, k, v)
	if right != nil {
		root = &node[V]{owner: t.owner, keys: [][]byte{nil, right.keys[0]}, children: []*node[V]{root, right}}
	}
	t.root = root
	if added {
		t.n++
	}
}

func (t *table[V]) remove(k []byte) {
	if _, there := t.get(k); !there {
		return
	}
	t.own()
	root := t.root.remove(t.owner, k)
	for len(root.children) == 1 {
		root = root.children[0]
	}
	if len(root.keys) == 0 {
		root = nil
	}
	t.root = root
	t.n--
}

func (t *table[V]) own() {
	if t.owner == nil {
		t.owner = new(stamp)
	}
}

// values walks the table in the order of its keys. The table must not be changed meanwhile.
func (t *table[V]) values() iter.Seq[V] { return t.valuesUnder(nil) }

// valuesUnder walks the entries whose key begins with prefix.
func (t *table[V]) valuesUnder(prefix []byte) iter.Seq[V] {
	entries := t.under(prefix)
	return func(yield func(V) bool) {
		for _, v := range entries {
			if !yield(v) {
				return
			}
		}
	}
}

// under walks the entries whose key begins with prefix, as they are now, in the order of the keys.
func (t *table[V]) under(prefix []byte) iter.Seq2[[]byte, V] {
	root := t.root
	return func(yield func([]byte, V) bool) {
		if root != nil {
			root.walk(prefix, true, yield)
		}
	}
}

// walk yields the entries with the prefix; from says that some under n may come before them. It reports whether to go on.
func (n *node[V]) walk(prefix []byte, from bool, yield func([]byte, V) bool) bool {
	if n.children == nil {
		i := 0
		if from {
			i, _ = slices.BinarySearchFunc(n.keys, prefix, bytes.Compare)
		}
		for ; i < len(n.keys); i++ {
			if !bytes.HasPrefix(n.keys[i], prefix) || !yield(n.keys[i], n.values[i]) {
				return false
			}
		}
		return true
	}
	first := 0
	if from {
		first = n.child(prefix)
	}
	for i := first; i < len(n.children); i++ {
		if !n.children[i].walk(prefix, from && i == first, yield) {
			return false
		}
	}
	return true
}

// child returns which child of an inner node may have k.
func (n *node[V]) child(k []byte) int {
	i, found := slices.BinarySearchFunc(n.keys[1:], k, bytes.Compare)
	if found {
		i++
	}
	return i
}

// writable returns n itself if owner may change it, or else a copy, with room for one entry more.
func (n *node[V]) writable(owner *stamp) *node[V] {
	if n.owner == owner {
		return n
	}
	c := &node[V]{owner: owner, keys: append(make([][]byte, 0, len(n.keys)+1), n.keys...)}
	if n.children == nil {
		c.values = append(make([]V, 0, len(n.values)+1), n.values...)
	} else {
		c.children = append(make([]*node[V], 0, len(n.children)+1), n.children...)
	}
	return c
}

// insert returns what n becomes with the entry, and what goes to the right of it if it had to be split.
func (n *node[V]) insert(owner *stamp, k []byte, v V) (next, right *node[V], added bool) {
	next = n.writable(owner)
	if n.children == nil {
		i, found := slices.BinarySearchFunc(next.keys, k, bytes.Compare)
		if found {
			next.keys[i], next.values[i] = k, v
			return next, nil, false
		}
		next.keys, next.values = slices.Insert(next.keys, i, k), slices.Insert(next.values, i, v)
		return next, next.split(i), true
	}
	i := next.child(k)
	child, beside, added := next.children[i].insert(owner, k, v)
	next.children[i] = child
	if beside != nil {
		next.keys, next.children = slices.Insert(next.keys, i+1, beside.keys[0]), slices.Insert(next.children, i+1, beside)
		right = next.split(i + 1)
	}
	return next, right, added
}

// split takes the right part of a node away that has become too large by the entry at i. What grows at its end, as keys
// that are numbers or times do, stays full on the left.
func (n *node[V]) split(i int) *node[V] {
	if len(n.keys) <= fanout {
		return nil
	}
	at := len(n.keys) / 2
	if i == len(n.keys)-1 {
		at = i
	}
	right := &node[V]{owner: n.owner}
	right.keys, n.keys = cut(n.keys, at)
	if n.children == nil {
		right.values, n.values = cut(n.values, at)
	} else {
		right.children, n.children = cut(n.children, at)
	}
	return right
}

// cut takes the end of s from at on away.
func cut[T any](s []T, at int) (end, rest []T) {
	end = slices.Clone(s[at:])
	clear(s[at:])
	return end, s[:at]
}

// remove returns what n becomes without the entry of k, which is there.
func (n *node[V]) remove(owner *stamp, k []byte) *node[V] {
	next := n.writable(owner)
	if n.children == nil {
		i, _ := slices.BinarySearchFunc(next.keys, k, bytes.Compare)
		next.keys, next.values = slices.Delete(next.keys, i, i+1), slices.Delete(next.values, i, i+1)
		return next
	}
	i := next.child(k)
	child := next.children[i].remove(owner, k)
	next.children[i] = child
	switch {
	case len(child.keys) == 0:
		next.drop(i)
	case len(child.keys) <= fanout/4 && i > 0:
		next.join(owner, i-1)
	case len(child.keys) <= fanout/4:
		next.join(owner, i)
	}
	return next
}

// drop takes the child i away.
func (n *node[V]) drop(i int) {
	n.keys, n.children = slices.Delete(n.keys, i, i+1), slices.Delete(n.children, i, i+1)
}

// join makes one of the children i and i+1 if that leaves room for more, so that a table that shrinks has fewer nodes.
func (n *node[V]) join(owner *stamp, i int) {
	if i+1 == len(n.children) {
		return
	}
	a, b := n.children[i], n.children[i+1]
	if len(a.keys)+len(b.keys) > fanout*3/4 {
		return
	}
	a = a.writable(owner)
	at := len(a.keys)
	a.keys = append(a.keys, b.keys...)
	a.values, a.children = append(a.values, b.values...), append(a.children, b.children...)
	if a.children != nil {
		a.keys[at] = n.keys[i+1] // the first key of b meant nothing
	}
	n.children[i] = a
	n.drop(i + 1)
}

// Keys are made so that the order of their octets is the order that is wanted, and so that no key of several parts
// can be read as another one.

func numberKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func appendTime(k []byte, t time.Time) []byte {
	// The sign bit is inverted so that times before 1970, the zero time among them, stand before the others.
	k = binary.BigEndian.AppendUint64(k, uint64(t.Unix())^(1<<63))
	return binary.BigEndian.AppendUint32(k, uint32(t.Nanosecond()))
}

// appendText appends s so that it ends where it ends: with its length in front.
func appendText(k []byte, s string) []byte {
	k = binary.AppendUvarint(k, uint64(len(s)))
	return append(k, s...)
}

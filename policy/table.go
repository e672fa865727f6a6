package policy

import (
	"encoding/binary"
	"iter"
	"time"

	iradix "github.com/hashicorp/go-immutable-radix/v2"
)

// table is an ordered map of the State: persistent, so that a copy of the struct is a copy of the map. A State that
// was handed out has no open transaction; between edit and commit a table belongs to one Apply alone.
type table[V any] struct {
	tree *iradix.Tree[V]
	txn  *iradix.Txn[V]
	n    int // entries, the transaction's included
}

func newTable[V any]() table[V] { return table[V]{tree: iradix.New[V]()} }

func (t *table[V]) edit() *iradix.Txn[V] {
	if t.txn == nil {
		t.txn = t.tree.Txn()
	}
	return t.txn
}

func (t *table[V]) commit() {
	if t.txn != nil {
		t.tree, t.txn = t.txn.CommitOnly(), nil
	}
}

func (t *table[V]) root() *iradix.Node[V] {
	if t.txn != nil {
		return t.txn.Root()
	}
	return t.tree.Root()
}

func (t *table[V]) get(k []byte) (V, bool) { return t.root().Get(k) }

// set keeps k: the caller must not change it afterwards.
func (t *table[V]) set(k []byte, v V) {
	if _, replaced := t.edit().Insert(k, v); !replaced {
		t.n++
	}
}

func (t *table[V]) remove(k []byte) {
	if _, ok := t.edit().Delete(k); ok {
		t.n--
	}
}

// values walks the table in the order of its keys. It is for published States only.
func (t *table[V]) values() iter.Seq[V] { return t.valuesUnder(nil) }

// valuesUnder walks the entries whose key begins with prefix.
func (t *table[V]) valuesUnder(prefix []byte) iter.Seq[V] {
	root := t.root()
	return func(yield func(V) bool) {
		root.WalkPrefix(prefix, func(_ []byte, v V) bool { return !yield(v) })
	}
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

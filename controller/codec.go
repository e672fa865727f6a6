package controller

import (
	"fmt"
	"math"
	"net/netip"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// codec turns domain values into records and back. It remembers the first value that has no counterpart and goes on,
// so that the code that walks the values stays plain; whoever uses it looks at err at the end.
type codec struct{ err error }

func (c *codec) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// unknown remembers a value that this version does not know.
func (c *codec) unknown(what string, v any) {
	c.fail(fmt.Errorf("cannot convert %s %v: %w", what, v, ErrUnknownRecord))
}

func list[A, B any](in []A, f func(A) B) []B {
	if len(in) == 0 {
		return nil
	}
	out := make([]B, len(in))
	for i, v := range in {
		out[i] = f(v)
	}
	return out
}

func texts[B, A ~string](in []A) []B { return list(in, func(v A) B { return B(v) }) }

// number narrows an integer, and fails when it does not fit.
func number[To, From interface {
	~int | ~int32 | ~int64 | ~uint8 | ~uint16 | ~uint32 | ~uint64
}](c *codec, v From,
) To {
	n := To(v)
	if From(n) != v || (n < 0) != (v < 0) {
		c.fail(fmt.Errorf("cannot convert number %d: out of range: %w", v, ErrUnknownRecord))
		return 0
	}
	return n
}

// enumerated checks the value of an enum whose numbers are those of the domain; zero stands for "not set".
func enumerated[To, From ~int32 | ~uint8](c *codec, v From, names map[int32]string, what string) To {
	if _, ok := names[int32(v)]; !ok {
		c.unknown(what, v)
		return 0
	}
	return To(v)
}

// wordToEnum and enumToWord convert an enum whose domain form is a word: the number is the place in the list.
func wordToEnum[To ~int32, From ~string](c *codec, v From, words []From, what string) To {
	for i, w := range words {
		if w == v {
			return To(i)
		}
	}
	c.unknown(what, fmt.Sprintf("%q", string(v)))
	return 0
}

func enumToWord[To ~string, From ~int32](c *codec, v From, words []To, what string) To {
	if v < 0 || int(v) >= len(words) {
		c.unknown(what, int32(v))
		return ""
	}
	return words[v]
}

// stamp keeps the zero time as "not set".
func stamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func (c *codec) time(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	if err := t.CheckValid(); err != nil {
		c.fail(fmt.Errorf("cannot convert time: %w: %w", ErrCorrupt, err))
		return time.Time{}
	}
	return t.AsTime()
}

func span(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

func (c *codec) duration(d *durationpb.Duration) time.Duration {
	if d == nil {
		return 0
	}
	if err := d.CheckValid(); err != nil {
		c.fail(fmt.Errorf("cannot convert duration: %w: %w", ErrCorrupt, err))
		return 0
	}
	v := d.AsDuration()
	if v == math.MaxInt64 || v == math.MinInt64 { // AsDuration saturates
		c.fail(fmt.Errorf("cannot convert duration of %d s: %w", d.GetSeconds(), ErrCorrupt))
	}
	return v
}

func packPrefix(p netip.Prefix) []byte {
	if !p.IsValid() {
		return nil
	}
	return append(p.Addr().AsSlice(), byte(p.Bits()))
}

func (c *codec) prefix(b []byte) netip.Prefix {
	if len(b) == 0 {
		return netip.Prefix{}
	}
	a, ok := netip.AddrFromSlice(b[:len(b)-1])
	p := netip.PrefixFrom(a, int(b[len(b)-1]))
	if !ok || !p.IsValid() {
		c.fail(fmt.Errorf("cannot convert prefix % x: %w", b, ErrCorrupt))
		return netip.Prefix{}
	}
	return p
}

func (c *codec) prefixes(in [][]byte) []netip.Prefix { return list(in, c.prefix) }

func packAddr(a netip.Addr) []byte { return a.AsSlice() }

func (c *codec) addr(b []byte) netip.Addr {
	if len(b) == 0 {
		return netip.Addr{}
	}
	a, ok := netip.AddrFromSlice(b)
	if !ok {
		c.fail(fmt.Errorf("cannot convert address % x: %w", b, ErrCorrupt))
	}
	return a
}

func (c *codec) digest(b []byte) (d [32]byte) {
	if len(b) != len(d) && len(b) != 0 {
		c.fail(fmt.Errorf("cannot convert digest of %d octets: %w", len(b), ErrCorrupt))
		return d
	}
	copy(d[:], b)
	return d
}

func packDigest(d [32]byte) []byte {
	if d == ([32]byte{}) {
		return nil
	}
	return d[:]
}

// parse reads b into m and refuses fields that this version does not know, at any depth.
//
// Looking through a message for what has no name takes as long as decoding it. What this library writes it writes in one
// way only, so of a message that is as long again without them there were none; only another one is looked through.
func parse(b []byte, m proto.Message) error {
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(b, m); err == nil && proto.Size(m) == len(b) {
		return nil
	}
	if err := proto.Unmarshal(b, m); err != nil {
		return fmt.Errorf("cannot decode %s: %w: %w", m.ProtoReflect().Descriptor().Name(), ErrCorrupt, err)
	}
	return known(m.ProtoReflect())
}

// known says whether every field that was on the wire has a name here.
func known(m protoreflect.Message) (err error) {
	if u := m.GetUnknown(); len(u) > 0 {
		return fmt.Errorf("cannot use field of %s (% x): %w", m.Descriptor().Name(), u[:min(len(u), 8)], ErrUnknownRecord)
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Message() == nil {
			return true
		}
		if !f.IsList() {
			err = known(v.Message())
			return err == nil
		}
		for i := range v.List().Len() {
			if err = known(v.List().Get(i).Message()); err != nil {
				return false
			}
		}
		return true
	})
	return err
}

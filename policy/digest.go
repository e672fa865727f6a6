package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"net/netip"
	"reflect"
	"time"
)

// digestVersion stands at the head of what is hashed; it changes when the way of hashing does.
const digestVersion = "tidegate state 1\n"

// Digest returns a SHA-256 hash over all records, by which nodes find out whether they hold the same State. Two
// States have the same digest if they yield the same records, where an empty list is the same as none and a time is
// the instant alone. A field that is zero everywhere does not count, so that a new one does not set old nodes apart.
// The cost is that of a walk over the whole State.
func (s *State) Digest() [32]byte {
	h := sha256.New()
	buf := []byte(digestVersion)
	for r := range s.Records() {
		if a, ok := r.(*AuditRecord); ok && a != s.audit.last() {
			continue // the last one stands for those before
		}
		buf = append(buf, tagOf(r))
		buf = appendValue(buf, reflect.ValueOf(r).Elem())
		h.Write(buf)
		buf = buf[:0]
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// tagOf tells the records apart, documents by their kind. The numbers are part of the digest: never reused.
func tagOf(r Record) byte {
	switch r := r.(type) {
	case *MetaRecord:
		return 1
	case *RouteRecord:
		return 2
	case *PutMitigation:
		return 3
	case *PutAttack:
		return 4
	case *PutResult:
		return 5
	case *PutOrder:
		return 10
	case *PutFreeze:
		return 24
	case *PutQuarantine:
		return 25
	case *AuditRecord:
		return 32
	case *PutToken:
		return 80
	case *PutDocument:
		return tagOfDocument(r.Document)
	}
	return 0
}

// tagOfDocument is tagOf for a document.
func tagOfDocument(d Document) byte {
	switch d.(type) {
	case *Customer:
		return 16
	case *ProtectedBlock:
		return 17
	case *Router:
		return 18
	case *Policy:
		return 19
	case *Safeguards:
		return 20
	case *Detector:
		return 21
	}
	return 0
}

// appendValue appends v so that different values have different octets. Of structs it takes the exported fields that
// are not zero, by name.
func appendValue(b []byte, v reflect.Value) []byte {
	switch v.Kind() {
	case reflect.Bool:
		if v.Bool() {
			return append(b, 1)
		}
		return append(b, 0)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return binary.AppendVarint(b, v.Int())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return binary.AppendUvarint(b, v.Uint())
	case reflect.Float32, reflect.Float64:
		return binary.BigEndian.AppendUint64(b, math.Float64bits(v.Float()))
	case reflect.String:
		return appendText(b, v.String())
	case reflect.Slice, reflect.Array:
		b = binary.AppendUvarint(b, uint64(v.Len()))
		for i := range v.Len() {
			b = appendValue(b, v.Index(i))
		}
		return b
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return append(b, 0)
		}
		return appendValue(append(b, 1), v.Elem())
	case reflect.Struct:
		return appendStruct(b, v)
	default:
		// A type that has no fixed order or meaning outside this process has no place in a record.
		panic("cannot digest a value of type " + v.Type().String())
	}
}

func appendStruct(b []byte, v reflect.Value) []byte {
	switch x := v.Interface().(type) {
	case time.Time:
		return appendTime(b, x)
	case netip.Addr:
		return appendText(b, x.String())
	case netip.Prefix:
		return appendText(b, x.String())
	}
	t := v.Type()
	for i := range t.NumField() {
		if f := t.Field(i); f.IsExported() && !isNothing(v.Field(i)) {
			b = appendText(b, f.Name)
			b = appendValue(b, v.Field(i))
		}
	}
	return append(b, 0) // no field has an empty name: this is the end
}

// isNothing reports whether v says nothing: it is zero, an empty list, or a struct of such fields.
func isNothing(v reflect.Value) bool {
	if v.Kind() == reflect.Slice {
		return v.Len() == 0
	}
	if v.Kind() != reflect.Struct {
		return v.IsZero()
	}
	switch x := v.Interface().(type) {
	case time.Time:
		return x.IsZero()
	case netip.Addr, netip.Prefix:
		return v.IsZero()
	}
	for i := range v.NumField() {
		if v.Type().Field(i).IsExported() && !isNothing(v.Field(i)) {
			return false
		}
	}
	return true
}

package policy

import (
	"net/netip"
	"reflect"
	"testing"
	"time"
)

// TestSameDocumentSeesEveryField alters each field of each kind of document: a field that the comparison forgets
// would make an apply of it "unchanged".
func TestSameDocumentSeesEveryField(t *testing.T) {
	for _, empty := range []func() Document{
		func() Document { return new(Customer) }, func() Document { return new(ProtectedBlock) }, func() Document { return new(Router) },
		func() Document { return new(Policy) }, func() Document { return new(Safeguards) },
	} {
		typ := reflect.TypeOf(empty()).Elem()
		if !sameDocument(empty(), empty()) {
			t.Errorf("%s differs from itself", typ)
		}
		for i := range typ.NumField() {
			changed := empty()
			alter(t, reflect.ValueOf(changed).Elem().Field(i))
			if sameDocument(empty(), changed) || sameDocument(changed, empty()) {
				t.Errorf("%s: a change of %s is not seen", typ, typ.Field(i).Name)
			}
		}
		for _, other := range []Document{new(Customer), new(ProtectedBlock), new(Router), new(Policy), new(Safeguards)} {
			if reflect.TypeOf(other).Elem() != typ && sameDocument(empty(), other) {
				t.Errorf("%s is the same as %T", typ, other)
			}
		}
	}
}

// alter sets v to something else than its zero value.
func alter(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(time.Second))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		v.SetUint(7)
	case reflect.Float64:
		v.SetFloat(1.5)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[netip.Addr]() {
			v.Set(reflect.ValueOf(netip.IPv6Loopback()))
			return
		}
		alter(t, v.Field(0))
	default:
		t.Fatalf("no way to alter a %s", v.Kind())
	}
}

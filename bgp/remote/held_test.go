package remote

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/proto"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
	speakerv1 "github.com/tidegate/tidegate/proto/tidegate/speaker/v1"
)

// fill sets every field of v, at any depth, to a value that is not zero: a field that the codec forgets shows, also one
// that will be added later.
func fill(t testing.TB, v reflect.Value, r *rand.Rand) {
	t.Helper()
	switch v.Interface().(type) {
	case netip.Addr:
		v.Set(reflect.ValueOf(netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + r.IntN(200))})))
		return
	case netip.Prefix:
		var b [16]byte
		b[0], b[1], b[15] = 0x20, 0x01, byte(r.Uint32())
		v.Set(reflect.ValueOf(netip.PrefixFrom(netip.AddrFrom16(b), 1+r.IntN(128))))
		return
	case time.Time:
		v.Set(reflect.ValueOf(time.Unix(1+r.Int64N(1e9), 1).UTC()))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(string(rune('a'+r.IntN(26))) + "\x7f")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(1 + r.Int64N(1<<40))
	case reflect.Uint8:
		v.SetUint(1 + r.Uint64N(255))
	case reflect.Uint16:
		v.SetUint(1 + r.Uint64N(65535))
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(1 + r.Uint64N(1<<32-1))
	case reflect.Float32:
		v.SetFloat(float64(float32(1 + r.Float32())))
	case reflect.Slice:
		s := reflect.MakeSlice(v.Type(), 1+r.IntN(3), 3)
		for i := range s.Len() {
			fill(t, s.Index(i), r)
		}
		v.Set(s)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), r)
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), r)
		}
	default:
		t.Fatalf("no way to fill a %s", v.Type())
	}
}

func filled[T any](t testing.TB, r *rand.Rand) T {
	var out T
	fill(t, reflect.ValueOf(&out).Elem(), r)
	return out
}

func comparing() []cmp.Option {
	return []cmp.Option{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()}
}

// wire sends a message through its bytes.
func wire[M proto.Message](t testing.TB, in M, out M) M {
	t.Helper()
	b, err := proto.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(b, out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestSetRoundTrip: every field of a set comes out on the other side as it went in.
func TestSetRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		want := filled[wanted.Set](t, r)
		var a assembly
		for _, p := range hold(&want).parts() {
			a.add(wire(t, p, &speakerv1.ReplaceRequest{}))
		}
		got, err := a.done()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got.set, comparing()...); diff != "" {
			t.Fatalf("set (-want +got):\n%s", diff)
		}
	}
}

// TestStatusRoundTrip is TestSetRoundTrip of what comes back. The password never travels back: a Status has none.
func TestStatusRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 50 {
		want := filled[wanted.Status](t, r)
		b, err := packStatus(&want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := unpackStatus(b)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, comparing()...); diff != "" {
			t.Fatalf("status (-want +got):\n%s", diff)
		}
	}
	if _, err := unpackStatus([]byte("nonsense")); err == nil {
		t.Error("nonsense is taken for a status")
	}
	want := filled[wanted.Out](t, r)
	b, err := packOut(&want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := unpackOut(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if o, err := unpackOut(nil); o != nil || err != nil {
		t.Errorf("no order: %v, %v", o, err)
	}
}

// host is a route whose key is in the order of i.
func host(i int, med uint32) *wanted.Route {
	p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
	m := flowspec.Match{Family: flowspec.IPv4, Components: []flowspec.Component{flowspec.Destination(p)}}
	return &wanted.Route{Kind: wanted.FlowSpec, Rule: flowspec.Rule{Match: m, Actions: []flowspec.Action{flowspec.Discard()}}, Key: m.Key(), MED: med, NotAfter: 1, Groups: []string{"edge"}}
}

// TestPropertyChange: over many changes the other side has the same set as a whole set would give, with the same digest,
// and shares what stayed.
func TestPropertyChange(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	set := wanted.Set{Revision: 1, Routers: []wanted.Router{{Name: "r"}}}
	here := hold(&set)
	there := hold(&set)
	for step := range 500 {
		next := set
		next.Revision, next.LeaseUntil = set.Revision+uint64(r.IntN(2)), wanted.Instant(step)
		next.Routes = slices.Clone(set.Routes)
		for range r.IntN(6) {
			i := r.IntN(40)
			at, found := slices.BinarySearchFunc(next.Routes, host(i, 0), func(a, b *wanted.Route) int { return firstKey([]*wanted.Route{a}, []*wanted.Route{b}) })
			switch {
			case found && r.IntN(2) == 0:
				next.Routes = slices.Delete(next.Routes, at, at+1)
			case found:
				next.Routes[at] = host(i, r.Uint32())
			default:
				next.Routes = slices.Insert(next.Routes, at, host(i, r.Uint32()))
			}
		}
		if r.IntN(5) == 0 {
			next.Protected = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(step)}), 32)}
		}
		after, req := here.step(&next)
		if req == nil {
			t.Fatal("a small change is none")
		}
		got, err := there.apply(wire(t, req, &speakerv1.ChangeRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(next, got.set, comparing()...); diff != "" {
			t.Fatalf("step %d (-want +got):\n%s", step, diff)
		}
		if whole := hold(&next); !bytes.Equal(whole.digest, after.digest) || !bytes.Equal(whole.digest, got.digest) {
			t.Fatalf("step %d: digests %x here, %x there, %x of the whole", step, after.digest, got.digest, whole.digest)
		}
		shared := 0
		for _, a := range there.set.Routes {
			if slices.Contains(got.set.Routes, a) {
				shared++
			}
		}
		if same := sameRoutes(set.Routes, next.Routes); shared != same {
			t.Fatalf("step %d: %d routes are shared, want %d", step, shared, same)
		}
		here, there, set = after, got, next
	}
}

func sameRoutes(a, b []*wanted.Route) int {
	n := 0
	for _, r := range a {
		if slices.Contains(b, r) {
			n++
		}
	}
	return n
}

// TestChangeRefused: what does not fit is refused and changes nothing.
func TestChangeRefused(t *testing.T) {
	set := wanted.Set{Revision: 1, Routes: []*wanted.Route{host(1, 1), host(2, 1), host(3, 1)}}
	base := hold(&set)
	next := set
	next.Revision, next.Routes = 2, []*wanted.Route{set.Routes[0], host(2, 7), set.Routes[2]}
	change := func(f func(*speakerv1.ChangeRequest)) *speakerv1.ChangeRequest {
		_, req := base.step(&next)
		f(req)
		return req
	}
	for _, c := range []struct {
		name string
		req  *speakerv1.ChangeRequest
		want error
	}{
		{"as it is", change(func(*speakerv1.ChangeRequest) {}), nil},
		{"of another set", change(func(r *speakerv1.ChangeRequest) { r.Base = []byte("x") }), errBase},
		{"another route", change(func(r *speakerv1.ChangeRequest) { r.Splices[0].Routes[0].Med++ }), errWire},
		{"another place", change(func(r *speakerv1.ChangeRequest) { r.Splices[0].From, r.Splices[0].To = 0, 1 }), errWire},
		{"beyond the end", change(func(r *speakerv1.ChangeRequest) { r.Splices[0].To = 4 }), errWire},
		{"backwards", change(func(r *speakerv1.ChangeRequest) { r.Splices[0].From, r.Splices[0].To = 2, 1 }), errWire},
		{"twice", change(func(r *speakerv1.ChangeRequest) { r.Splices = append(r.Splices, r.Splices[0]) }), errWire},
		{"another revision", change(func(r *speakerv1.ChangeRequest) { r.Head.Revision = 3 }), errWire},
		{"another lease", change(func(r *speakerv1.ChangeRequest) { r.Head.LeaseUntil = 3 }), errWire},
		{"another frame", change(func(r *speakerv1.ChangeRequest) { r.Frame = &speakerv1.Frame{ShortestIpv4: 7} }), errWire},
		{"a strange family", change(func(r *speakerv1.ChangeRequest) { r.Splices[0].Routes[0].Family = 300 }), errWire},
		{"a strange prefix", change(func(r *speakerv1.ChangeRequest) { r.Splices[0].Routes[0].Components[0].Prefix = []byte{1} }), errWire},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := base.apply(c.req); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	var many wanted.Set
	for i := range maxChanges + 1 {
		many.Routes = append(many.Routes, host(i, 1))
	}
	if _, req := base.step(&many); req != nil {
		t.Error("a great change is sent as one")
	}
	for _, cut := range []func([]*speakerv1.ReplaceRequest) []*speakerv1.ReplaceRequest{
		func(p []*speakerv1.ReplaceRequest) []*speakerv1.ReplaceRequest { return p[:len(p)-1] },
		func(p []*speakerv1.ReplaceRequest) []*speakerv1.ReplaceRequest { return p[1:] },
		func([]*speakerv1.ReplaceRequest) []*speakerv1.ReplaceRequest { return nil },
	} {
		var a assembly
		for _, p := range cut(hold(&many).parts()) {
			a.add(p)
		}
		if _, err := a.done(); !errors.Is(err, errWire) {
			t.Errorf("a set without a part: %v", err)
		}
	}
}

func BenchmarkStep(b *testing.B) {
	var set wanted.Set
	for i := range 10_000 {
		set.Routes = append(set.Routes, host(i, 1))
	}
	h := hold(&set)
	next := set
	next.Revision = 2
	next.Routes = append(slices.Clone(set.Routes), host(10_000, 1))
	for b.Loop() {
		if _, req := h.step(&next); req == nil {
			b.Fatal("no change")
		}
	}
}

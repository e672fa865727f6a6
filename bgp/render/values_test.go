package render

import (
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// satisfies is the stupid twin of ranges: it asks every operator about one value (RFC 8955 section 4.2.1.1).
func satisfies(c flowspec.Component, v uint64) bool {
	some, term := false, false
	for i, op := range c.Ops {
		this := op.Flags&flowspec.LT != 0 && v < op.Value || op.Flags&flowspec.GT != 0 && v > op.Value || op.Flags&flowspec.EQ != 0 && v == op.Value
		if i > 0 && op.Flags&flowspec.And != 0 {
			term = term && this
			continue
		}
		some, term = some || term, this
	}
	return some || term
}

// TestPropertyRanges compares the ranges of random operator lists with what each operator says of each value.
func TestPropertyRanges(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		c := flowspec.Component{Type: flowspec.ICMPType}
		for i := range 1 + r.IntN(6) {
			op := flowspec.Op{Flags: flowspec.OpFlags(r.IntN(8)), Value: uint64(r.IntN(256))}
			if r.IntN(8) == 0 {
				op.Value = uint64(r.IntN(2) * 255)
			}
			if i > 0 && r.IntN(2) == 0 {
				op.Flags |= flowspec.And
			}
			c.Ops = append(c.Ops, op)
		}
		var want []flowspec.Range
		for v := range uint64(256) {
			if !satisfies(c, v) {
				continue
			}
			if n := len(want); n > 0 && want[n-1].Hi+1 == v {
				want[n-1].Hi = v
			} else {
				want = append(want, flowspec.One(v))
			}
		}
		if d := cmp.Diff(want, ranges(c)); d != "" {
			t.Fatalf("%s (-want +got):\n%s", c, d)
		}
	}
}

func TestPolice(t *testing.T) {
	for _, c := range []struct {
		name string
		rate float32 // bytes per second
		want string  // empty: refused
	}{
		{"one byte", 1, "police rate 8 bps"},
		{"a fraction of a byte in whole bits", 1.25, "police rate 10 bps"},
		{"a fraction of a bit", 1.3, ""},
		{"the most in bits", 536870880, "police rate 4294967040 bps"},
		{"beyond bits", 625000000, "police rate 5000000 kbps"},
		{"beyond bits and no whole kilobits", 536870976, ""},
		{"ten terabits, which a float cannot hold", 1.25e12, ""},
		{"the greatest", 3e38, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := xrPolice(flowspec.Action{Type: flowspec.TrafficRateBytes, Rate: c.rate})
			if err != nil {
				got = ""
			}
			if got != c.want {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

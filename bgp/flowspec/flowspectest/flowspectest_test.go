package flowspectest_test

import (
	"testing"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/flowspec/flowspectest"
)

// TestMatches: what is drawn is valid, and everything that can be drawn is.
func TestMatches(t *testing.T) {
	r := flowspectest.New(1)
	types := map[flowspec.Family]map[flowspec.ComponentType]int{flowspec.IPv4: {}, flowspec.IPv6: {}}
	operators := map[flowspec.ComponentType]map[flowspec.OpFlags]bool{}
	offsets, long := 0, 0
	for range 5000 {
		m := flowspectest.Match(r)
		if err := m.Validate(); err != nil {
			t.Fatalf("%s: %v", m, err)
		}
		if wire, err := flowspec.AppendNLRI(nil, m); err != nil {
			t.Fatalf("%s: %v", m, err)
		} else if wire[0] >= 0xf0 {
			long++
		}
		for _, c := range m.Components {
			types[m.Family][c.Type]++
			if c.Offset > 0 {
				offsets++
			}
			for _, op := range c.Ops {
				if operators[c.Type] == nil {
					operators[c.Type] = map[flowspec.OpFlags]bool{}
				}
				operators[c.Type][op.Flags] = true
			}
		}
		if err := flowspec.CheckSafe(flowspectest.SafeMatch(r)); err != nil {
			t.Fatal(err)
		}
	}
	if len(types[flowspec.IPv4]) != 12 || len(types[flowspec.IPv6]) != 13 || offsets == 0 || long == 0 {
		t.Errorf("components %v, %d offsets, %d long rules: something is never drawn", types, offsets, long)
	}
	for _, f := range flowspectest.Fields(flowspec.IPv6) {
		want := 16
		if f.Bitmask {
			want = 8
		}
		if n := len(operators[f.Type]); n != want {
			t.Errorf("%s: %d operators of %d", f.Type, n, want)
		}
	}
}

// TestFields: the limits of the RFCs are those of package flowspec.
func TestFields(t *testing.T) {
	for _, family := range []flowspec.Family{flowspec.IPv4, flowspec.IPv6} {
		for _, f := range flowspectest.Fields(family) {
			with := func(v uint64) error {
				_, err := flowspec.NewMatch(family, flowspec.Component{Type: f.Type, Ops: []flowspec.Op{{Flags: flowspec.EQ, Value: v}}})
				return err
			}
			if f.Bitmask {
				with = func(v uint64) error {
					_, err := flowspec.NewMatch(family, flowspec.Component{Type: f.Type, Ops: []flowspec.Op{{Value: v}}})
					return err
				}
			}
			if err := with(f.Max); err != nil {
				t.Errorf("%s %s: greatest value: %v", family, f.Type, err)
			}
			if with(f.Max+1) == nil {
				t.Errorf("%s %s: %d is taken", family, f.Type, f.Max+1)
			}
		}
	}
}

// TestActions: every action that there is can be drawn.
func TestActions(t *testing.T) {
	r := flowspectest.New(2)
	types := map[flowspec.ActionType]bool{}
	forms := map[flowspec.RTForm]bool{}
	for i := range flowspectest.Forms {
		for range 50 {
			a := flowspectest.Action(r, i)
			types[a.Type] = true
			forms[a.Target.Form] = true
		}
	}
	if len(types) != 6 || len(forms) != 5 { // 0, for actions without a target, among them
		t.Errorf("actions %v, route targets %v: some are never drawn", types, forms)
	}
}

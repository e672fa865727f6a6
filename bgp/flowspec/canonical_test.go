package flowspec

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCanonical(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"order of a list", "ipv4 sport 123|53", "ipv4 sport 53|123"},
		{"in order already", "ipv4 sport 53|123", "ipv4 sport 53|123"},
		{"twice", "ipv4 sport 53|53", "ipv4 sport 53"},
		{"a run", "ipv4 sport 3|1|2", "ipv4 sport 1-3"},
		{"not equal", "ipv4 dport !=80", "ipv4 dport <=79|>=81"},
		{"above", "ipv4 len >511", "ipv4 len >=512"},
		{"to the greatest", "ipv4 len 512-65535", "ipv4 len >=512"},
		{"IPv6 may be longer", "ipv6 len 512-65535", "ipv6 len 512-65535"},
		{"protocols stay values", "ipv4 proto 18|17", "ipv4 proto udp|18"},
		{"many protocols", "ipv4 proto <100", "ipv4 proto <=99"},
		{"nothing excluded, not dropped", "ipv4 src 0.0.0.0/0 dport 0-65535", "ipv4 src 0.0.0.0/0 dport >=0"},
		{"nothing taken", "ipv4 dport >5&<5", "ipv4 dport >5&<5"},
		{"a negated bit", "ipv4 tcp-flags syn&!ack", "ipv4 tcp-flags syn&!any:ack"},
		{"a negated bit first", "ipv4 tcp-flags !any:ack&any:syn", "ipv4 tcp-flags syn&!any:ack"},
		{"alone", "ipv4 tcp-flags !ack", "ipv4 tcp-flags !any:ack"},
		{"both set", "ipv4 tcp-flags ack&syn", "ipv4 tcp-flags syn+ack"},
		{"either", "ipv4 tcp-flags ack|syn", "ipv4 tcp-flags any:syn+ack"},
		{"either clear", "ipv4 tcp-flags !ack|!syn", "ipv4 tcp-flags !syn+ack"},
		{"either fragment", "ipv4 frag last-fragment|any:is-fragment", "ipv4 frag any:is-fragment+last-fragment"},
		{"all of one fragment bit", "ipv4 frag is-fragment", "ipv4 frag any:is-fragment"},
		{"groups", "ipv4 tcp-flags rst&!ack|syn&!ack", "ipv4 tcp-flags syn&!any:ack|rst&!any:ack"},
		{"a mask without bits", "ipv4 tcp-flags any:0|syn", "ipv4 tcp-flags any:0|syn"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in, err := ParseMatch(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			want, err := ParseMatch(tt.want)
			if err != nil {
				t.Fatal(err)
			}
			before := in.String()
			if diff := cmp.Diff(want.String(), in.Canonical().String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if !in.Canonical().Equal(want) || in.String() != before {
				t.Errorf("%v became %v, want the operators of %v", before, in.Canonical(), want)
			}
		})
	}
}

// staysAsWritten reports whether a component has a mask without bits, or takes nothing: Canonical leaves those.
func staysAsWritten(m Match) bool {
	for i := range m.Components {
		c := &m.Components[i]
		switch {
		case c.Type.prefix():
		case !c.Type.bitmask() && len(c.spans(nil, m.Family)) == 0:
			return true
		case c.Type.bitmask() && slices.ContainsFunc(c.Ops, func(o Op) bool { return o.Value == 0 }):
			return true
		}
	}
	return false
}

// reordered is m with the alternatives of each list in another order, and one of them twice.
func reordered(r *rand.Rand, m Match) Match {
	out := Match{Family: m.Family, Components: slices.Clone(m.Components)}
	for i := range out.Components {
		c := &out.Components[i]
		if c.Type.prefix() {
			continue
		}
		var groups [][]Op
		for _, op := range c.Ops {
			if op.Flags&And == 0 {
				groups = append(groups, nil)
			}
			groups[len(groups)-1] = append(groups[len(groups)-1], op)
		}
		groups = append(groups, groups[r.IntN(len(groups))])
		r.Shuffle(len(groups), func(i, k int) { groups[i], groups[k] = groups[k], groups[i] })
		c.Ops = slices.Concat(groups...)
	}
	return out
}

// TestPropertyCanonical: the canonical form takes the same packets with the same components, is its own, and is the same
// for a list whose alternatives stand in another order, or twice.
func TestPropertyCanonical(t *testing.T) {
	r := newRand(77)
	changed := 0
	for cases := 0; cases < 30_000; {
		m, _ := pairOf(r)
		if m.Validate() != nil {
			continue
		}
		c := m.Canonical()
		if err := c.Validate(); err != nil {
			t.Fatalf("%v became %v: %v", m, c, err)
		}
		if len(c.Components) != len(m.Components) {
			t.Fatalf("%v became %v: not the same components", m, c)
		}
		if again := c.Canonical(); !again.Equal(c) {
			t.Fatalf("%v became %v, and that %v", m, c, again)
		}
		if other := reordered(r, m); !other.Canonical().Equal(c) && !staysAsWritten(m) {
			t.Fatalf("%v became %v, and %v became %v", m, c, other, other.Canonical())
		}
		if !world([]Match{m, c}, worldLimit, func(p *Packet) bool {
			if m.Matches(p) != c.Matches(p) {
				t.Fatalf("%v became %v: another answer for %+v", m, c, p)
			}
			return true
		}) {
			continue
		}
		cases++
		if !c.Equal(m) {
			changed++
		}
	}
	if changed < 3000 {
		t.Errorf("only %d of the matches were not canonical", changed)
	}
}

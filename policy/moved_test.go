package policy

import (
	"net/netip"
	"testing"

	"github.com/tidegate/tidegate/bgp/wanted"
)

// TestMovedRouterIsFenced: a router that comes to hear another group's action for a key must prefer it to what a node
// that is held back still announces to it, so the MED moves; and it moves for nothing else.
func TestMovedRouterIsFenced(t *testing.T) {
	t.Parallel()
	put := func(group, address string, change ...func(*Router)) Change {
		r := &Router{Name: "edge1", Address: netip.MustParseAddr(address), Group: group, MaxPrefix: 100}
		for _, f := range change {
			f(r)
		}
		return &PutDocument{r}
	}
	apart := []*Mitigation{ruled(1, in("edge")), ruled(2, limit(10), in("transit"))}
	for _, row := range []struct {
		name string
		ms   []*Mitigation
		then Change
		want Index // 10: the entry before; 11: this one
	}{
		{"another group", apart, put("transit", "192.0.2.1"), 11},
		{"another address", apart, put("edge", "192.0.2.9"), 11},
		{"removed", apart, &DeleteDocument{DocumentRef{KindRouter, "edge1"}}, 11},
		{"another router", apart, routersOf("edge", "transit", "more")[2], 11},
		{"another group, heard by the first one and the rest", []*Mitigation{ruled(1, in("edge")), ruled(2, limit(10))}, put("transit", "192.0.2.1"), 11},
		{"another limit", apart, put("edge", "192.0.2.1", func(r *Router) { r.MaxPrefix = 200 }), 10},
		{"the same action for both", []*Mitigation{ruled(1, in("edge")), ruled(2, in("transit"))}, put("transit", "192.0.2.1"), 10},
		{"one owner", []*Mitigation{ruled(1, in("edge"))}, put("transit", "192.0.2.1"), 10},
		{"another document", apart, &PutDocument{&ProtectedBlock{Name: "x", Prefixes: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}}}, 10},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			cs := routersOf("edge", "transit")
			for _, m := range row.ms {
				cs = append(cs, &PutMitigation{m})
			}
			before := apply(t, NewState(), 10, cs...)
			s := apply(t, before, 11, row.then)
			same(t, "changed", theRoute(t, s).Changed, row.want)
			same(t, "changed in the state before", theRoute(t, before).Changed, Index(10))
			last := before.Wanted(WantedInput{})
			for _, r := range s.Wanted(WantedInput{Last: last}).Set.Routes {
				same(t, "MED", r.MED, med(row.want))
			}
		})
	}
}

// TestMissingSecretMakesRouterUnusable: a router that asks for a secret is never told to a speaker as one without.
func TestMissingSecretMakesRouterUnusable(t *testing.T) {
	t.Parallel()
	s := apply(t, NewState(), 1,
		&PutDocument{&Router{Name: "a", Address: netip.MustParseAddr("192.0.2.1"), Group: "edge", MaxPrefix: 10}},
		&PutDocument{&Router{Name: "b", Address: netip.MustParseAddr("192.0.2.2"), Group: "edge", MaxPrefix: 10, PasswordSecret: "key"}})
	const missing = `secret "key" is not in this node's file; add it under secrets`
	for _, row := range []struct {
		name     string
		secret   func(string) (string, bool)
		password string
		unusable string
	}{
		{"known", func(name string) (string, bool) { return "value of " + name, true }, "value of key", ""},
		{"unknown", func(string) (string, bool) { return "", false }, "", missing},
		{"unknown, with a value", func(string) (string, bool) { return "left over", false }, "", missing},
		{"empty", func(string) (string, bool) { return "", true }, "", missing},
		{"no secrets at all", nil, "", missing},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			routers := wantedOf(s, WantedInput{Secret: row.secret}).Routers
			got := []string{routers[0].Password, routers[0].Unusable, routers[1].Password, routers[1].Unusable}
			same(t, "passwords and reasons", got, []string{"", "", row.password, row.unusable})
		})
	}
	known := func(name string) (string, bool) { return "value of " + name, true }
	last := s.Wanted(WantedInput{})
	var none []*wanted.Route
	next := s.Wanted(WantedInput{Secret: known, Last: last}).Set
	same(t, "unusable once the secret is there", next.Routers[1].Unusable, "")
	same(t, "routes", next.Routes, append(none, last.Set.Routes...))
}

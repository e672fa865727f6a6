package policy

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func customer(id CustomerID, within CustomerID, official ...string) *Customer {
	return &Customer{ID: id, Within: within, Official: mustPrefixes(official...)}
}

func linked(c *Customer, block string, links ...string) *Customer {
	for _, p := range mustPrefixes(links...) {
		c.Links = append(c.Links, Link{Prefix: p, Block: block})
	}
	return c
}

func block(name string, prefixes ...string) *ProtectedBlock {
	return &ProtectedBlock{Name: name, Kind: BlockLinks, Prefixes: mustPrefixes(prefixes...)}
}

func router(name, address, group string) *Router {
	d := goodRouter()
	d.Name, d.Address, d.Group = name, netip.MustParseAddr(address), group
	return d
}

func selecting(customers []CustomerID, groups []string, life time.Duration) *Policy {
	return &Policy{Name: "p", Action: Action{Kind: Discard}, Customers: customers, Groups: groups, Lifetime: life}
}

// finding is a violation in short: "Kind name field", a part of the problem, a part of the fix.
type finding struct{ where, problem, fix string }

func TestCheckInventory(t *testing.T) {
	t.Parallel()
	short := DefaultSafeguards()
	short.MaxLifetime = time.Hour
	gone := func(k DocumentKind, name string) *DeleteDocument { return &DeleteDocument{DocumentRef{k, name}} }
	for _, row := range []struct {
		name   string
		before []Document // sound
		then   []Change   // what is touched
		want   []finding
	}{
		{"nothing touched", nil, nil, nil},
		{"two customers apart", nil, []Change{put(customer("a", "", "203.0.113.0/25")), put(customer("b", "", "203.0.113.128/25"))}, nil},
		{"declared nesting", []Document{customer("a", "", "203.0.113.0/24")}, []Change{put(customer("b", "a", "203.0.113.0/25"))}, nil},
		{"nesting over two steps", []Document{customer("a", "", "20.0.0.0/16"), customer("b", "a", "20.0.0.0/20")}, []Change{put(customer("c", "b", "20.0.0.0/24"))}, nil},
		{"nesting within one of two prefixes", nil, []Change{put(customer("a", "", "20.0.0.0/16", "21.0.0.0/16")), put(customer("b", "a", "21.0.5.0/24"))}, nil},
		{"one customer's own prefixes overlap", nil, []Change{put(customer("a", "", "20.0.0.0/16", "20.0.1.0/24"))}, nil},
		{
			"undeclared, the inner one comes",
			[]Document{customer("a", "", "203.0.113.0/24")},
			[]Change{put(customer("b", "", "203.0.113.0/25"))},
			[]finding{{"Customer b official[0]", `203.0.113.0/25 lies inside 203.0.113.0/24 of customer "a"`, "declare within: a"}},
		},
		{
			"undeclared, the outer one comes",
			[]Document{customer("b", "", "203.0.113.0/25")},
			[]Change{put(customer("a", "", "20.0.0.0/16", "203.0.113.0/24"))},
			[]finding{{"Customer a official[1]", `203.0.113.0/24 contains 203.0.113.0/25 of customer "b"`, `declare within: a in customer "b"`}},
		},
		{
			"undeclared, both come", nil,
			[]Change{put(customer("a", "", "2001:db8::/32")), put(customer("b", "", "2001:db8:5::/48"))},
			[]finding{{"Customer b official[0]", "lies inside 2001:db8::/32", "declare within: a"}},
		},
		{"declared the wrong way round", nil, []Change{put(customer("a", "b", "20.0.0.0/16")), put(customer("b", "", "20.0.1.0/24"))}, []finding{
			{"Customer a official[0]", `20.0.0.0/16 is not inside an official prefix of "b"`, "leave out within"},
			{"Customer b official[0]", "lies inside 20.0.0.0/16", "declare within: a"},
		}},
		{
			"equal prefixes, even if nested",
			[]Document{customer("a", "", "20.0.0.0/16")},
			[]Change{put(customer("b", "a", "20.0.0.0/16"))},
			[]finding{{"Customer b official[0]", `20.0.0.0/16 is also official space of customer "a"`, "remove it from one"}},
		},
		{
			"equal prefixes, both come", nil,
			[]Change{put(customer("a", "", "20.0.0.0/16")), put(customer("b", "", "20.0.0.0/16"))},
			[]finding{{"Customer a official[0]", `also official space of customer "b"`, "remove it"}},
		},
		{"within nobody", nil, []Change{put(customer("b", "a", "20.0.0.0/16"))}, []finding{{"Customer b within", `no customer "a"`, "existing customer"}}},
		{
			"within, but elsewhere",
			[]Document{customer("a", "", "20.0.0.0/16")},
			[]Change{put(customer("b", "a", "20.0.1.0/24", "21.0.0.0/24"))},
			[]finding{{"Customer b official[1]", `21.0.0.0/24 is not inside an official prefix of "a"`, "correct the prefix"}},
		},
		{"in a circle", nil, []Change{put(customer("a", "b")), put(customer("b", "a"))}, []finding{
			{"Customer a within", "circle", "outermost"}, {"Customer b within", "circle", "outermost"},
		}},
		{
			"parent removed",
			[]Document{customer("a", "", "20.0.0.0/16"), customer("b", "a", "20.0.1.0/24")},
			[]Change{gone(KindCustomer, "a")},
			[]finding{{"Customer b within", `no customer "a"`, "existing customer"}},
		},
		{
			"parent shrunk",
			[]Document{customer("a", "", "20.0.0.0/16"), customer("b", "a", "20.0.1.0/24")},
			[]Change{put(customer("a", "", "20.0.2.0/24"))},
			[]finding{{"Customer b official[0]", "not inside", "correct the prefix"}},
		},
		{
			"the step between is taken out",
			[]Document{customer("a", "", "20.0.0.0/16"), customer("b", "a", "20.0.0.0/20"), customer("c", "b", "20.0.0.0/24")},
			[]Change{put(customer("b", "", "20.0.0.0/20"))},
			[]finding{
				{"Customer b official[0]", "20.0.0.0/20 lies inside 20.0.0.0/16", "declare within: a"},
				{"Customer c official[0]", "20.0.0.0/24 lies inside 20.0.0.0/16", "declare within: a"},
			},
		},
		{"a link may lie in official space", []Document{customer("a", "", "20.0.0.0/16")}, []Change{put(linked(customer("b", ""), "", "20.0.0.4/30"))}, nil},
		{
			"a link of two customers",
			[]Document{linked(customer("a", ""), "", "20.0.0.4/30")},
			[]Change{put(linked(customer("b", ""), "", "20.0.0.0/30", "20.0.0.4/30"))},
			[]finding{{"Customer b links[1].prefix", `20.0.0.4/30 is also a link of customer "a"`, "one customer"}},
		},
		{
			"both come with one link", nil,
			[]Change{put(linked(customer("a", ""), "", "20.0.0.4/30")), put(linked(customer("b", ""), "", "20.0.0.4/30"))},
			[]finding{{"Customer a links[0].prefix", `also a link of customer "b"`, "one customer"}},
		},
		{
			"a link inside another's",
			[]Document{linked(customer("a", ""), "", "20.0.0.4/30")},
			[]Change{put(linked(customer("b", ""), "", "20.0.0.6/31"))},
			[]finding{{"Customer b links[0].prefix", `20.0.0.6/31 overlaps link 20.0.0.4/30 of customer "a"`, "correct the prefix"}},
		},
		{
			"a link around another's",
			[]Document{linked(customer("a", ""), "", "2001:db8::2/127")},
			[]Change{put(linked(customer("b", ""), "", "2001:db8::/64"))},
			[]finding{{"Customer b links[0].prefix", `2001:db8::/64 overlaps link 2001:db8::2/127 of customer "a"`, "correct the prefix"}},
		},
		{"a link in its block", []Document{block("x", "20.0.0.0/24")}, []Change{put(linked(customer("a", ""), "x", "20.0.0.4/30"))}, nil},
		{
			"a link in no block", nil,
			[]Change{put(linked(customer("a", ""), "x", "20.0.0.4/30"))},
			[]finding{{"Customer a links[0].block", `no protected block "x"`, "existing block"}},
		},
		{
			"a link outside of its block",
			[]Document{block("x", "20.0.0.0/24", "20.0.2.0/31")},
			[]Change{put(linked(customer("a", ""), "x", "20.0.2.0/30"))},
			[]finding{{"Customer a links[0].block", `block "x" does not contain 20.0.2.0/30`, "correct one"}},
		},
		{
			"the block goes",
			[]Document{block("x", "20.0.0.0/24"), linked(customer("a", ""), "x", "20.0.0.4/30")},
			[]Change{gone(KindProtectedBlock, "x")},
			[]finding{{"Customer a links[0].block", `no protected block "x"`, "existing block"}},
		},
		{
			"the block shrinks",
			[]Document{block("x", "20.0.0.0/24"), linked(customer("a", ""), "x", "20.0.0.4/30", "20.0.0.200/30")},
			[]Change{put(block("x", "20.0.0.0/25"))},
			[]finding{{"Customer a links[1].block", "does not contain 20.0.0.200/30", "correct one"}},
		},
		{"routers apart", nil, []Change{put(router("a", "192.0.2.1", "g")), put(router("b", "192.0.2.2", "g"))}, nil},
		{
			"routers at one address",
			[]Document{router("a", "192.0.2.1", "g")},
			[]Change{put(router("b", "192.0.2.1", "g"))},
			[]finding{{"Router b address", `192.0.2.1 is also the address of router "a"`, "one session"}},
		},
		{
			"routers at one address, the first by name comes",
			[]Document{router("b", "192.0.2.1", "g")},
			[]Change{put(router("a", "192.0.2.1", "g"))},
			[]finding{{"Router a address", `also the address of router "b"`, "one session"}},
		},
		{"a policy of known names", []Document{customer("a", ""), router("r", "192.0.2.1", "g")}, []Change{put(selecting([]CustomerID{"a"}, []string{"g"}, time.Hour))}, nil},
		{"a policy of unknown names", []Document{customer("a", ""), router("r", "192.0.2.1", "g")}, []Change{put(selecting([]CustomerID{"a", "b"}, []string{"g", "h"}, 48*time.Hour))}, []finding{
			{"Policy p customers[1]", `no customer "b"`, "correct the name"},
			{"Policy p groups[1]", `no router is in group "h"`, "correct the name"},
			{"Policy p lifetime", "48h is longer than the safeguards' maximum of 24h", "raise max_lifetime"},
		}},
		{
			"a policy's customer goes",
			[]Document{customer("a", ""), selecting([]CustomerID{"a"}, nil, 0)},
			[]Change{gone(KindCustomer, "a")},
			[]finding{{"Policy p customers[0]", `no customer "a"`, "remove it from the policy"}},
		},
		{
			"a policy's group goes",
			[]Document{router("r", "192.0.2.1", "g"), selecting(nil, []string{"g"}, 0)},
			[]Change{put(router("r", "192.0.2.1", "h"))},
			[]finding{{"Policy p groups[0]", `group "g"`, "remove it from the policy"}},
		},
		{
			"the maximum sinks below a policy",
			[]Document{selecting(nil, nil, 2*time.Hour)},
			[]Change{put(short)},
			[]finding{{"Policy p lifetime", "2h is longer", "lower it"}},
		},
		{"an old fault elsewhere is not this change's", []Document{customer("x", "", "30.0.0.0/16"), customer("y", "", "30.0.0.0/24")}, []Change{put(customer("a", "", "20.0.0.0/16"))}, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := NewState()
			for _, d := range row.before {
				s = apply(t, s, 1, put(d))
			}
			s = apply(t, s, 2, row.then...)
			var touched []DocumentRef
			for _, c := range row.then {
				switch c := c.(type) {
				case *PutDocument:
					touched = append(touched, c.Document.Ref())
				case *DeleteDocument:
					touched = append(touched, c.Ref)
				}
			}
			got := CheckInventory(s, touched)
			if len(got) != len(row.want) {
				t.Fatalf("%d violations, want %d: %+v", len(got), len(row.want), got)
			}
			for i, v := range got {
				w := row.want[i]
				if where := string(v.Document.Kind) + " " + v.Document.Name + " " + v.Field; where != w.where {
					t.Errorf("violation at %q, want %q", where, w.where)
				}
				if !strings.Contains(v.Problem, w.problem) || !strings.Contains(v.Fix, w.fix) {
					t.Errorf("violation %+v, want %+v", v, w)
				}
			}
		})
	}
}

func put(d Document) Change { return &PutDocument{d} }

func TestCheckInventoryAcceptsTheFullOne(t *testing.T) {
	t.Parallel()
	cs := fullInventory()
	s := apply(t, NewState(), 1, cs...)
	same(t, "links", s.LinkCount(), 5000)
	if v := CheckInventory(s, refsOf(cs)); len(v) != 0 {
		t.Errorf("%d violations, the first: %+v", len(v), v[0])
	}
}

package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// TestPropertySpace compares everything that is asked about space with a linear scan, in inventories that grow and
// shrink one document or hundreds of them at a time, so that both ways of changing a space are taken.
func TestPropertySpace(t *testing.T) {
	cases := 60_000
	if testing.Short() {
		cases = 3_000
	}
	r := rand.New(rand.NewPCG(7, 7))
	s, w := NewState(), newTwin()
	type past struct {
		s     *State
		space string
	}
	var history []past // what an Apply in place would spoil
	defer func() {
		for _, p := range history {
			same(t, "space of an old state", spaceOf(p.s), p.space)
		}
	}()
	for i := range cases {
		if i%30 == 0 {
			history = append(history, past{s, spaceOf(s)})
			n := 1
			if r.IntN(20) == 0 {
				n = 200
			}
			var cs []Change
			for range n {
				switch r.IntN(8) {
				case 0:
					cs = append(cs, &DeleteDocument{randomRef(r)})
				default:
					cs = append(cs, &PutDocument{randomDocument(r)})
				}
			}
			e := Entry{Index: Index(i + 1), At: start()}
			next, err := s.Apply(e, cs)
			if err != nil {
				t.Fatal(err)
			}
			s = next
			w.apply(e, cs)
		}
		agreeOnSpace(t, s, w, randomPrefix(r))
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	school := linked(customer("school", "university", "203.0.113.0/26"), "links", "203.0.113.4/30")
	s := apply(t, NewState(), 1, put(customer("university", "", "203.0.113.0/24", "2001:db8::/48")), put(school),
		put(block("links", "203.0.113.0/28")), put(block("same", "203.0.113.4/30")))
	link := Exemption{netip.MustParsePrefix("203.0.113.4/30"), ExemptLink, "school"}
	builtIn := func(p, name string) string {
		return fmt.Sprint(Exemption{netip.MustParsePrefix(p), ExemptBuiltIn, name})
	}
	for _, row := range []struct {
		name, addr, owner, official, protection string
	}{
		{"parent", "203.0.113.200", "university", "203.0.113.0/24", ""},
		{"nested", "203.0.113.63", "school", "203.0.113.0/26", ""},
		{"block", "203.0.113.8", "school", "203.0.113.0/26", fmt.Sprint(Exemption{netip.MustParsePrefix("203.0.113.0/28"), ExemptBlock, "links"})},
		{"link in a block, and block of the same prefix", "203.0.113.6", "school", "203.0.113.0/26", fmt.Sprint(link)},
		{"IPv4-mapped", "::ffff:203.0.113.6", "school", "203.0.113.0/26", fmt.Sprint(link)},
		{"IPv6", "2001:db8::1", "university", "2001:db8::/48", ""},
		{"IPv6 with a zone", "2001:db8::1%eth0", "university", "2001:db8::/48", ""},
		{"nobody's", "192.0.2.1", "", "", ""},
		{"multicast", "239.1.2.3", "", "", builtIn("224.0.0.0/4", "multicast")},
		{"broadcast", "255.255.255.255", "", "", builtIn("255.255.255.255/32", "broadcast")},
		{"loopback", "127.1.2.3", "", "", builtIn("127.0.0.0/8", "loopback")},
		{"loopback, IPv4-mapped", "::ffff:127.0.0.1", "", "", builtIn("127.0.0.0/8", "loopback")},
		{"unspecified", "0.0.0.0", "", "", builtIn("0.0.0.0/8", "unspecified")},
		{"link-local", "169.254.1.1", "", "", builtIn("169.254.0.0/16", "link-local")},
		{"link-local in IPv6", "fe80::1%eth0", "", "", builtIn("fe80::/10", "link-local")},
		{"multicast in IPv6", "ff02::1", "", "", builtIn("ff00::/8", "multicast")},
		{"loopback in IPv6", "::1", "", "", builtIn("::1/128", "loopback")},
		{"unspecified in IPv6", "::", "", "", builtIn("::/128", "unspecified")},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			l := s.Lookup(netip.MustParseAddr(row.addr))
			var owner, official, protection string
			if l.Customer != nil {
				owner, official = string(l.Customer.ID), l.Official.String()
			}
			if l.Protected {
				protection = fmt.Sprint(l.Protection)
			}
			same(t, "owner, official, protection", []string{owner, official, protection}, []string{row.owner, row.official, row.protection})
		})
	}
	same(t, "lookup of no address", s.Lookup(netip.Addr{}), Lookup{})
}

// TestSpaceOfUnsoundInventory: what Validate refuses may still stand in an old log. It must not open space.
func TestSpaceOfUnsoundInventory(t *testing.T) {
	t.Parallel()
	s := apply(t, NewState(), 1,
		put(linked(customer("a", "", "::ffff:0.0.0.0/96", "20.0.0.0/8"), "", "::ffff:20.0.0.4/126")), put(customer("b", "", "20.0.0.0/8")))
	if _, _, ok := s.Owner(netip.MustParsePrefix("192.0.2.0/24")); ok {
		t.Error("an IPv4-mapped prefix gave a customer all of IPv4")
	}
	same(t, "an IPv4-mapped link protects", s.Lookup(netip.MustParseAddr("20.0.0.5")).Protected, true)
	_, c, _ := s.Owner(netip.MustParsePrefix("20.0.0.0/24"))
	same(t, "owner of space of two", c.ID, CustomerID("a"))
	s = apply(t, s, 2, &DeleteDocument{DocumentRef{KindCustomer, "a"}})
	_, c, _ = s.Owner(netip.MustParsePrefix("20.0.0.0/24"))
	same(t, "owner after one of the two went", c.ID, CustomerID("b"))
	same(t, "its link went", s.Lookup(netip.MustParseAddr("20.0.0.5")).Protected, false)
}

// TestOverlapIsSeenBothWays: protection that covers the target, and protection inside it.
func TestOverlapIsSeenBothWays(t *testing.T) {
	t.Parallel()
	s := apply(t, NewState(), 1, put(block("around", "20.0.0.0/16", "2001:db8::/32")), put(linked(customer("a", ""), "", "20.0.1.4/31", "2001:db8::2/127")),
		put(block("elsewhere", "20.1.0.0/16", "2001:db9::/32")))
	for _, row := range []struct{ target, want string }{
		{"20.0.1.0/24", "[{20.0.0.0/16 protected-block around} {20.0.1.4/31 link a}]"},
		{"20.0.1.4/31", "[{20.0.0.0/16 protected-block around} {20.0.1.4/31 link a}]"},
		{"20.0.1.5/32", "[{20.0.0.0/16 protected-block around} {20.0.1.4/31 link a}]"},
		{"20.0.1.6/32", "[{20.0.0.0/16 protected-block around}]"},
		{"20.0.0.0/15", "[{20.0.0.0/16 protected-block around} {20.0.1.4/31 link a} {20.1.0.0/16 protected-block elsewhere}]"},
		{"2001:db8::3/128", "[{2001:db8::/32 protected-block around} {2001:db8::2/127 link a}]"},
		{"2001:db8::/32", "[{2001:db8::/32 protected-block around} {2001:db8::2/127 link a}]"},
		{"2001:dba::/32", "[]"},
	} {
		t.Run(row.target, func(t *testing.T) {
			t.Parallel()
			same(t, "protected", fmt.Sprint(s.ProtectedOverlapping(netip.MustParsePrefix(row.target))), row.want)
		})
	}
}

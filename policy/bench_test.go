package policy

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// fullInventory is as large as that of a national network: 2,000 customers with a /24 and a /48 each, 5,000 links in
// 22 blocks (16 of /31s, 6 of /127s), two routers.
func fullInventory() []Change {
	const nCustomers, nLinks, nBlocks, nBlocks4 = 2000, 5000, 22, 16
	v6 := func(block int, last ...byte) netip.Addr {
		a := [16]byte{0x20, 0x01, 0x0d, 0xb8, 13: byte(block)}
		copy(a[14:], last)
		return netip.AddrFrom16(a)
	}
	var cs []Change
	for b := range nBlocks {
		block := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, byte(b * 4), 0}), 22)
		if b >= nBlocks4 {
			block = netip.PrefixFrom(v6(b), 112)
		}
		cs = append(cs, &PutDocument{&ProtectedBlock{Name: fmt.Sprint("block", b), Kind: BlockLinks, Prefixes: []netip.Prefix{block}}})
	}
	link := func(i int) Link {
		b, k := i%nBlocks, i/nBlocks
		l := Link{Block: fmt.Sprint("block", b), PE: fmt.Sprint("pe", i%40), Interface: "et-0/0/1", State: LinkInUse}
		if b < nBlocks4 {
			l.Prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, byte(b*4 + k/128), byte(k % 128 * 2)}), 31)
		} else {
			l.Prefix = netip.PrefixFrom(v6(b, byte(k>>7), byte(k%128*2)), 127)
		}
		return l
	}
	for i := range nCustomers {
		c := &Customer{ID: CustomerID(fmt.Sprintf("customer%04d", i)), Name: "a school", Official: []netip.Prefix{
			netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(20 + i/256), byte(i), 0, 0}), 24),
			netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb9, byte(i >> 8), byte(i)}), 48),
		}}
		for j := i; j < nLinks; j += nCustomers {
			c.Links = append(c.Links, link(j))
		}
		cs = append(cs, &PutDocument{c})
	}
	for i := range 2 {
		cs = append(cs, &PutDocument{&Router{
			Name: fmt.Sprint("router", i), Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}),
			ASN: 64500, Group: "edge", Validation: ValidationDisabled, MaxPrefix: 12_500,
		}})
	}
	return cs
}

func refsOf(cs []Change) []DocumentRef {
	var refs []DocumentRef
	for _, c := range cs {
		refs = append(refs, c.(*PutDocument).Document.Ref())
	}
	return refs
}

// benchMitigation has one rule: what a signal about one address becomes.
func benchMitigation(i int) *Mitigation {
	dst := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(20 + i%2000/256), byte(i % 2000), 0, byte(i / 2000)}), 32)
	match, err := flowspec.NewMatch(flowspec.IPv4, flowspec.Destination(dst), flowspec.Proto(17),
		flowspec.Ports(flowspec.SourcePort, flowspec.One(53)))
	if err != nil {
		panic(err) // the benchmark's own mistake
	}
	return &Mitigation{
		ID: MitigationID(i + 1), Customer: CustomerID(fmt.Sprintf("customer%04d", i%2000)), Origin: FromPolicy, Policy: "amplification",
		Targets: []netip.Prefix{dst}, Action: Action{Kind: Discard}, Cut: Cut{Pieces: []netip.Prefix{dst}},
		Rules:    []flowspec.Rule{{Match: match, Actions: []flowspec.Action{flowspec.Discard()}}},
		Lifetime: time.Hour, Created: start(), Expires: start().Add(time.Hour), By: "detector/a", Phase: Active,
		Causes: []Cause{{Source: "detector/a", AttackID: fmt.Sprint(i), Since: start()}},
	}
}

func withMitigations(tb testing.TB, n int) *State {
	tb.Helper()
	cs := fullInventory()
	for i := range n {
		cs = append(cs, &PutMitigation{benchMitigation(i)})
	}
	return apply(tb, NewState(), 1, cs...)
}

func BenchmarkLookup(b *testing.B) {
	s := withMitigations(b, 0)
	for _, row := range []struct{ name, addr string }{
		{"official", "20.77.0.9"},
		{"link", "100.64.1.3"},
		{"link6", "2001:db8::10:3"},
		{"official6", "2001:db9:311::1"},
		{"nobody", "8.8.8.8"},
	} {
		b.Run(row.name, func(b *testing.B) {
			a := netip.MustParseAddr(row.addr)
			b.ReportAllocs()
			var l Lookup
			for b.Loop() {
				l = s.Lookup(a)
			}
			if l.Customer == nil && row.name[0] == 'o' || !l.Protected && row.name[0] == 'l' {
				b.Fatalf("nothing found: %+v", l)
			}
		})
	}
	b.Run("spread", func(b *testing.B) {
		var as [4096]netip.Addr
		for i := range as {
			as[i] = netip.AddrFrom4([4]byte{byte(20 + i*37%8), byte(i * 101), 0, byte(i)})
			if i%2 == 0 {
				as[i] = netip.AddrFrom4([4]byte{100, 64, byte(i * 7 % 64), byte(i)})
			}
		}
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			s.Lookup(as[i%len(as)])
			i++
		}
	})
}

func TestLookupAllocatesNothing(t *testing.T) {
	s := withMitigations(t, 0)
	for _, text := range []string{"20.77.0.9", "100.64.1.3", "2001:db9:311::1", "8.8.8.8", "::ffff:20.77.0.9", "fe80::1%eth0"} {
		a := netip.MustParseAddr(text)
		if n := testing.AllocsPerRun(100, func() { s.Lookup(a) }); n != 0 {
			t.Errorf("Lookup(%s) allocates %v times, want 0", text, n)
		}
	}
}

func BenchmarkApplyInventory(b *testing.B) {
	cs := fullInventory()
	b.ReportAllocs()
	for b.Loop() {
		apply(b, NewState(), 1, cs...)
	}
}

func BenchmarkApplyOneCustomer(b *testing.B) {
	s := withMitigations(b, 0)
	c, _ := s.Customer("customer0100")
	d := *c
	d.Name = "another name"
	b.ReportAllocs()
	for b.Loop() {
		apply(b, s, 2, &PutDocument{&d})
	}
}

func BenchmarkCheckInventory(b *testing.B) {
	cs := fullInventory()
	s, refs := apply(b, NewState(), 1, cs...), refsOf(cs)
	b.ReportAllocs()
	for b.Loop() {
		if v := CheckInventory(s, refs); len(v) != 0 {
			b.Fatal(v)
		}
	}
}

func BenchmarkValidateInventory(b *testing.B) {
	cs := fullInventory()
	for b.Loop() {
		for _, c := range cs {
			if v := c.(*PutDocument).Document.Validate(); len(v) != 0 {
				b.Fatal(v)
			}
		}
	}
}

func BenchmarkApplyMitigation(b *testing.B) {
	s := withMitigations(b, 10_000)
	for _, row := range []struct {
		name string
		c    Change
	}{
		{"start", &PutMitigation{benchMitigation(10_000)}},
		{"renew", func() Change {
			m := benchMitigation(5000)
			m.Expires = m.Expires.Add(time.Hour)
			return &PutMitigation{m}
		}()},
		{"end", func() Change {
			m := benchMitigation(5000)
			m.Phase, m.End = Over, EndExpired
			return &PutMitigation{m}
		}()},
	} {
		b.Run(row.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				apply(b, s, 2, row.c)
			}
		})
	}
	b.Run("batch of 1000", func(b *testing.B) {
		var cs []Change
		for i := range 1000 {
			m := benchMitigation(i)
			m.Expires = m.Expires.Add(time.Hour)
			cs = append(cs, &PutMitigation{m})
		}
		b.ReportAllocs()
		for b.Loop() {
			apply(b, s, 2, cs...)
		}
	})
}

func BenchmarkWanted(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := withMitigations(b, n)
			in := WantedInput{Deadline: func(m *Mitigation) wanted.Instant { return wanted.Instant(m.Lifetime) }}
			s.Wanted(in)
			b.ReportAllocs()
			for b.Loop() {
				if got := len(wantedOf(s, in).Routes); got != n {
					b.Fatal(got)
				}
			}
		})
	}
}

func BenchmarkDigest(b *testing.B) {
	s := withMitigations(b, 10_000)
	b.ReportAllocs()
	for b.Loop() {
		s.Digest()
	}
}

func BenchmarkRestore(b *testing.B) {
	s := withMitigations(b, 10_000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Restore(withoutError(s.Records())); err != nil {
			b.Fatal(err)
		}
	}
}

package bgp

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestSelfTestBites(t *testing.T) {
	if err := selfTest((*guard).judge); err != nil {
		t.Fatalf("the guard fails its own test: %v", err)
	}
	for name, broken := range map[string]judgeFunc{
		"passes everything":  func(*guard, wanted.Kind, flowspec.Match) *refusal { return nil },
		"refuses everything": func(*guard, wanted.Kind, flowspec.Match) *refusal { return refuse(wanted.RefusedInternal, "no") },
		"forgets protected": func(g *guard, k wanted.Kind, m flowspec.Match) *refusal {
			r := g.judge(k, m)
			if r != nil && r.code == wanted.RefusedProtected {
				return nil
			}
			return r
		},
		"forgets built-in": func(g *guard, k wanted.Kind, m flowspec.Match) *refusal {
			r := g.judge(k, m)
			if r != nil && r.code == wanted.RefusedBuiltIn {
				return nil
			}
			return r
		},
		"forgets the offset": func(g *guard, k wanted.Kind, m flowspec.Match) *refusal {
			r := g.judge(k, m)
			if r != nil && r.code == wanted.RefusedOffset {
				return nil
			}
			return r
		},
		"forgets the length of RTBH": func(g *guard, k wanted.Kind, m flowspec.Match) *refusal {
			r := g.judge(k, m)
			if r != nil && r.code == wanted.RefusedTooShort {
				return nil
			}
			return r
		},
		"allows any length for RTBH": func(g *guard, _ wanted.Kind, m flowspec.Match) *refusal { return g.judge(wanted.FlowSpec, m) },
		"judges FlowSpec only": func(g *guard, k wanted.Kind, m flowspec.Match) *refusal {
			if k == wanted.RTBH && g != nil && g.anything && m.Components != nil {
				return g.longEnough(m.Components[0].Prefix)
			}
			return g.judge(k, m)
		},
		"takes any kind": func(g *guard, k wanted.Kind, m flowspec.Match) *refusal {
			if k != wanted.RTBH {
				k = wanted.FlowSpec
			}
			return g.judge(k, m)
		},
		"opens without official space": func(g *guard, k wanted.Kind, m flowspec.Match) *refusal {
			if g == nil || !g.anything {
				return nil
			}
			return g.judge(k, m)
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := selfTest(broken); !errors.Is(err, ErrGuardToothless) {
				t.Errorf("selfTest = %v, want ErrGuardToothless", err)
			}
		})
	}
}

func TestRunRefusesToothlessGuard(t *testing.T) {
	s, err := New(Config{ASN: 1, RouterID: netip.MustParseAddr("192.0.2.1")}, Deps{Elapsed: func() wanted.Instant { return 1 }})
	if err != nil {
		t.Fatal(err)
	}
	err = s.run(context.Background(), func(*guard, wanted.Kind, flowspec.Match) *refusal { return nil })
	if !errors.Is(err, ErrGuardToothless) {
		t.Errorf("run = %v, want ErrGuardToothless", err)
	}
}

// stupidGuard says the same as guard by looking at every prefix.
func stupidGuard(official, protected []netip.Prefix, dst netip.Prefix) bool {
	for _, list := range [][]netip.Prefix{builtInProtected(), protected} {
		for _, p := range list {
			if p.Overlaps(dst) {
				return false
			}
		}
	}
	for _, p := range official {
		if p.Bits() <= dst.Bits() && p.Contains(dst.Addr()) {
			return true
		}
	}
	return false
}

func TestGuardAgreesWithStupidTwin(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	random := func() netip.Prefix {
		if rng.IntN(2) == 0 {
			a := [4]byte{[]byte{10, 127, 169, 224, 0, 203}[rng.IntN(6)], byte(rng.IntN(4)), byte(rng.IntN(4)), byte(rng.IntN(256))}
			return netip.PrefixFrom(netip.AddrFrom4(a), rng.IntN(33)).Masked()
		}
		a := [16]byte{[]byte{0x20, 0xfe, 0xff, 0}[rng.IntN(4)], byte(rng.IntN(2) * 0x80), 15: byte(rng.IntN(3))}
		a[rng.IntN(16)] |= byte(rng.IntN(4))
		return netip.PrefixFrom(netip.AddrFrom16(a), rng.IntN(129)).Masked()
	}
	some := func(n int) []netip.Prefix {
		out := make([]netip.Prefix, rng.IntN(n))
		for i := range out {
			out[i] = random()
		}
		return out
	}
	allowed := map[wanted.Kind]int{}
	for range 2000 {
		official, protected := some(12), some(12)
		shortest := wanted.Lengths{IPv4: uint8(1 + rng.IntN(32)), IPv6: uint8(1 + rng.IntN(128))}
		g, err := newGuard(official, protected, shortest)
		if err != nil {
			continue // an IPv4-mapped prefix came up
		}
		if err := g.prove(protected); err != nil {
			t.Fatal(err)
		}
		for range 50 {
			dst := random()
			if dst.Addr().Is4In6() {
				continue
			}
			for _, kind := range []wanted.Kind{wanted.FlowSpec, wanted.RTBH} {
				got, want := g.judge(kind, destinationOnly(dst)) == nil, stupidGuard(official, protected, dst)
				if want && kind == wanted.RTBH {
					want = dst.Bits() >= int(shortest.IPv6) && dst.Addr().Is6() || dst.Bits() >= int(shortest.IPv4) && dst.Addr().Is4()
				}
				if got != want {
					t.Fatalf("destination %s of kind %d, official %v, protected %v, shortest %v: allowed %t, want %t",
						dst, kind, official, protected, shortest, got, want)
				}
				if got {
					allowed[kind]++
				}
			}
		}
	}
	if allowed[wanted.FlowSpec] < 100 || allowed[wanted.RTBH] < 100 {
		t.Errorf("only %v destinations were allowed: the test proves little", allowed)
	}
}

func TestJudge(t *testing.T) {
	g, err := newGuard(prefixes("203.0.113.0/24", "2001:db8::/32"), prefixes("203.0.113.64/31"), wanted.Lengths{})
	if err != nil {
		t.Fatal(err)
	}
	lawful := func() wanted.Route {
		m := destinationOnly(netip.MustParsePrefix("203.0.113.0/26"))
		return wanted.Route{
			Kind: wanted.FlowSpec, Key: m.Key(),
			Rule: flowspec.Rule{Match: m, Actions: []flowspec.Action{flowspec.Discard()}},
		}
	}
	to := func(m flowspec.Match) func(*wanted.Route) {
		return func(r *wanted.Route) { r.Rule.Match, r.Key = m, m.Key() }
	}
	act := func(a ...flowspec.Action) func(*wanted.Route) {
		return func(r *wanted.Route) { r.Rule.Actions = a }
	}
	with := func(c ...flowspec.Component) flowspec.Match {
		dst := flowspec.Destination(netip.MustParsePrefix("203.0.113.0/26"))
		return flowspec.Match{Family: flowspec.IPv4, Components: append([]flowspec.Component{dst}, c...)}
	}
	for _, c := range []struct {
		name   string
		guard  *guard
		change func(*wanted.Route)
		want   wanted.RefusalCode
	}{
		{"lawful", g, func(*wanted.Route) {}, ""},
		{"no guard", nil, func(*wanted.Route) {}, wanted.RefusedNotOfficial},
		{"no kind", g, func(r *wanted.Route) { r.Kind = 0 }, wanted.RefusedKind},
		{"no key", g, func(r *wanted.Route) { r.Key = "" }, wanted.RefusedKey},
		{"other key", g, func(r *wanted.Route) { r.Key += "x" }, wanted.RefusedKey},
		{"other family in key", g, func(r *wanted.Route) { r.Key = "\x02" + r.Key[1:] }, wanted.RefusedKey},
		{"no action", g, func(r *wanted.Route) { r.Rule.Actions = nil }, wanted.RefusedNoAction},
		{"action of no type", g, func(r *wanted.Route) { r.Rule.Actions = []flowspec.Action{{}} }, wanted.RefusedEncoding},
		{"same action twice", g, act(flowspec.Discard(), flowspec.Discard()), wanted.RefusedInterfering},
		{"two rates", g, act(flowspec.RateLimit(1000), flowspec.RatePackets(10)), wanted.RefusedInterfering},
		{"discard and mark", g, act(flowspec.Discard(), flowspec.Mark(0)), wanted.RefusedInterfering},
		{"two redirects", g, act(flowspec.Redirect(flowspec.RouteTargetAS(1, 2)), flowspec.RedirectIP(netip.MustParseAddr("192.0.2.9"), true)), wanted.RefusedInterfering},
		{"redirect to the other family", g, act(flowspec.RedirectIP(netip.MustParseAddr("2001:db8::9"), false)), wanted.RefusedInterfering},
		{"IPv6 route target", g, act(flowspec.Redirect(flowspec.RouteTargetAddress(netip.MustParseAddr("2001:db8::9"), 1))), wanted.RefusedInterfering},
		{"actions out of order", g, act(flowspec.Mark(1), flowspec.RateLimit(1000)), wanted.RefusedEncoding},
		{"rate below one", g, act(flowspec.Action{Type: flowspec.TrafficRatePackets, Rate: 0.5}), wanted.RefusedEncoding},
		{"mark beyond six bits", g, act(flowspec.Mark(64)), wanted.RefusedEncoding},
		{"redirect to multicast", g, act(flowspec.RedirectIP(netip.MustParseAddr("224.0.0.9"), false)), wanted.RefusedEncoding},
		{"only stop", g, act(flowspec.Action{Type: flowspec.TrafficAction}), wanted.RefusedNoAction},
		{"only continue", g, act(flowspec.Continue()), wanted.RefusedNoAction},
		{"sample", g, act(flowspec.Sample()), ""},
		{"sample and go on", g, act(flowspec.SampleAndContinue()), ""},
		{"sample on protected", g, func(r *wanted.Route) {
			to(destinationOnly(netip.MustParsePrefix("203.0.113.65/32")))(r)
			act(flowspec.Sample())(r)
		}, wanted.RefusedProtected},
		{"all that can stand together", g, act(flowspec.RateLimit(1000), flowspec.SampleAndContinue(), flowspec.Redirect(flowspec.RouteTargetAS(70000, 2)), flowspec.Mark(8)), ""},
		{"no component", g, to(flowspec.Match{Family: flowspec.IPv4}), wanted.RefusedEncoding},
		{"host bits", g, to(destinationOnly(netip.MustParsePrefix("203.0.113.1/24"))), wanted.RefusedEncoding},
		{"no destination", g, to(flowspec.Match{Family: flowspec.IPv4, Components: []flowspec.Component{flowspec.Proto(17)}}), wanted.RefusedNoDestination},
		{"unsafe", g, to(with(flowspec.Component{Type: flowspec.IPProtocol, Ops: []flowspec.Op{{Flags: flowspec.LT | flowspec.GT, Value: 6}}})), wanted.RefusedUnsafe},
		{"protected", g, to(destinationOnly(netip.MustParsePrefix("203.0.113.65/32"))), wanted.RefusedProtected},
		{"around protected", g, to(destinationOnly(netip.MustParsePrefix("203.0.113.0/24"))), wanted.RefusedProtected},
		{"not official", g, to(destinationOnly(netip.MustParsePrefix("198.51.100.0/24"))), wanted.RefusedNotOfficial},
		{"wider than official", g, to(destinationOnly(netip.MustParsePrefix("2001:d00::/24"))), wanted.RefusedNotOfficial},
		{"multicast", g, to(destinationOnly(netip.MustParsePrefix("224.0.0.0/24"))), wanted.RefusedBuiltIn},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := lawful()
			c.change(&r)
			j := judge(c.guard, &r)
			var got wanted.RefusalCode
			if j.refusal != nil {
				got = j.refusal.code
				if j.refusal.sentence == "" {
					t.Error("the refusal has no sentence")
				}
			}
			if got != c.want {
				t.Errorf("judge = %q, want %q (%+v)", got, c.want, j.refusal)
			}
		})
	}
}

func TestConfigErrors(t *testing.T) {
	good := Config{ASN: 1, RouterID: netip.MustParseAddr("192.0.2.1")}
	elapsed := func() wanted.Instant { return 1 }
	for _, c := range []struct {
		name   string
		change func(*Config, *Deps)
	}{
		{"no ASN", func(c *Config, _ *Deps) { c.ASN = 0 }},
		{"no router id", func(c *Config, _ *Deps) { c.RouterID = netip.Addr{} }},
		{"IPv6 router id", func(c *Config, _ *Deps) { c.RouterID = netip.IPv6Loopback() }},
		{"hold time too short", func(c *Config, _ *Deps) { c.HoldTime = 1 }},
		{"negative stuck time", func(c *Config, _ *Deps) { c.StuckAfter = -1 }},
		{"negative reset time", func(c *Config, _ *Deps) { c.ResetAfter = -1 }},
		{"no clock", func(_ *Config, d *Deps) { d.Elapsed = nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, deps := good, Deps{Elapsed: elapsed}
			c.change(&cfg, &deps)
			if _, err := New(cfg, deps); !errors.Is(err, ErrConfig) {
				t.Errorf("New = %v, want ErrConfig", err)
			}
		})
	}
}

// claims makes routes of which only the keys and groups, in words, are filled in.
func claims(words ...string) []*wanted.Route {
	var out []*wanted.Route
	for _, w := range words {
		f := strings.Fields(w)
		out = append(out, &wanted.Route{Key: flowspec.Key(f[0]), Groups: f[1:]})
	}
	return out
}

// A key may stand several times if no group hears it twice; a group that one route names twice is heard once.
func TestKeyForDisjointGroups(t *testing.T) {
	for _, routes := range [][]*wanted.Route{
		claims("x a", "y a"), claims("x a", "x b c", "y a", "x d"), claims("x a a", "x b b"), claims("x", "x", "x a"),
	} {
		if err := checkSet(&wanted.Set{Routes: routes}); err != nil {
			t.Errorf("%v: %v", routes, err)
		}
	}
	err := checkSet(&wanted.Set{Routes: claims("x a", "y b", "x c b", "x b")})
	if want := `route 3: route 2 has the same key "78" for group "b"`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q in it", err, want)
	}
}

// discardAt gives the one router of a Set these discard next hops.
func discardAt(four, six string) func(*wanted.Set) {
	return func(w *wanted.Set) {
		r := wanted.Router{Name: "r", Address: netip.MustParseAddr("192.0.2.2"), ASN: 1, Carries: wanted.RTBH}
		if four != "" {
			r.DiscardIPv4 = netip.MustParseAddr(four)
		}
		if six != "" {
			r.DiscardIPv6 = netip.MustParseAddr(six)
		}
		w.Routers = []wanted.Router{r}
	}
}

func TestSetErrors(t *testing.T) {
	r := wanted.Router{Name: "r", Address: netip.MustParseAddr("192.0.2.2"), ASN: 1, Carries: wanted.FlowSpec}
	for _, c := range []struct {
		name   string
		change func(*wanted.Set)
		want   error
	}{
		{"unset", func(w *wanted.Set) { w.Revision = 0 }, ErrUnset},
		{"older", func(w *wanted.Set) { w.Revision = 4 }, ErrStale},
		{"router twice", func(w *wanted.Set) { w.Routers = []wanted.Router{r, r} }, ErrInvalidSet},
		{"address twice", func(w *wanted.Set) { s := r; s.Name = "s"; w.Routers = []wanted.Router{r, s} }, ErrInvalidSet},
		{"router without name", func(w *wanted.Set) { s := r; s.Name = ""; w.Routers = []wanted.Router{s} }, ErrInvalidSet},
		{"router without address", func(w *wanted.Set) { s := r; s.Address = netip.Addr{}; w.Routers = []wanted.Router{s} }, ErrInvalidSet},
		{"router without ASN", func(w *wanted.Set) { s := r; s.ASN = 0; w.Routers = []wanted.Router{s} }, ErrInvalidSet},
		{"GTSM and multihop", func(w *wanted.Set) {
			s := r
			s.TTLSecurity, s.Multihop = true, 2
			w.Routers = []wanted.Router{s}
		}, ErrInvalidSet},
		{"router for nothing", func(w *wanted.Set) { s := r; s.Carries = 0; w.Routers = []wanted.Router{s} }, ErrInvalidSet},
		{"router for what is unknown", func(w *wanted.Set) { s := r; s.Carries = 3; w.Routers = []wanted.Router{s} }, ErrInvalidSet},
		{"one address for FlowSpec and RTBH", func(w *wanted.Set) {
			s := r
			s.Name, s.Carries = "s", wanted.RTBH
			w.Routers = []wanted.Router{r, s}
		}, ErrInvalidSet},
		{"discard next hop of the other family", discardAt("100::1", ""), ErrInvalidSet},
		{"discard next hop of the other family in IPv6", discardAt("", "192.0.2.66"), ErrInvalidSet},
		{"unspecified discard next hop", discardAt("0.0.0.0", ""), ErrInvalidSet},
		{"unspecified discard next hop in IPv6", discardAt("", "::"), ErrInvalidSet},
		{"loopback as discard next hop", discardAt("127.0.0.1", ""), ErrInvalidSet},
		{"multicast as discard next hop", discardAt("", "ff02::1"), ErrInvalidSet},
		{"link-local discard next hop", discardAt("", "fe80::1"), ErrInvalidSet},
		{"mapped discard next hop", discardAt("", "::ffff:192.0.2.66"), ErrInvalidSet},
		{"discard next hop with a zone", discardAt("", "2001:db8::1%eth0"), ErrInvalidSet},
		{"RTBH longer than there is", func(w *wanted.Set) { w.ShortestRTBH.IPv4 = 33 }, ErrInvalidSet},
		{"RTBH longer than there is in IPv6", func(w *wanted.Set) { w.ShortestRTBH.IPv6 = 129 }, ErrInvalidSet},
		{"negative budget", func(w *wanted.Set) { s := r; s.MaxRoutes = -1; w.Routers = []wanted.Router{s} }, ErrInvalidSet},
		{"key twice for a group", func(w *wanted.Set) { w.Routes = claims("x a", "y a", "x b c", "x c") }, ErrInvalidSet},
		{"key twice for the first's group", func(w *wanted.Set) { w.Routes = claims("x a", "x b", "x a") }, ErrInvalidSet},
		{"zero protected prefix", func(w *wanted.Set) { w.Protected = []netip.Prefix{{}} }, ErrInvalidSet},
		{"mapped official prefix", func(w *wanted.Set) { w.Official = prefixes("::ffff:10.0.0.0/104") }, ErrInvalidSet},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := New(Config{ASN: 1, RouterID: netip.MustParseAddr("192.0.2.1")}, Deps{Elapsed: func() wanted.Instant { return 1 }})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Set(context.Background(), wanted.Set{Revision: 5}); err != nil {
				t.Fatal(err)
			}
			w := wanted.Set{Revision: 6}
			c.change(&w)
			if err := s.Set(context.Background(), w); !errors.Is(err, c.want) {
				t.Errorf("Set = %v, want %v", err, c.want)
			}
			if got := s.Status().Revision; got != 5 {
				t.Errorf("revision %d is in force, want 5", got)
			}
		})
	}
}

// TestProveAsksLastAddress: a table that lacks the last address of a protected prefix is found.
func TestProveAsksLastAddress(t *testing.T) {
	for _, row := range []struct{ whole, parts []netip.Prefix }{
		{prefixes("203.0.113.4/30"), prefixes("203.0.113.4/31", "203.0.113.6/32")},
		{prefixes("2001:db8:1::4/126"), prefixes("2001:db8:1::4/127", "2001:db8:1::6/128")},
	} {
		official := prefixes("203.0.113.0/24", "2001:db8::/32")
		g, err := newGuard(official, row.parts, wanted.Lengths{})
		if err != nil {
			t.Fatal(err)
		}
		if err := g.prove(row.parts); err != nil {
			t.Errorf("prove(%v) = %v", row.parts, err)
		}
		if err := g.prove(row.whole); !errors.Is(err, ErrGuardToothless) {
			t.Errorf("prove(%v) = %v, want ErrGuardToothless", row.whole, err)
		}
	}
}

package bgp

import (
	"fmt"
	"net/netip"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// judgeFunc is guard.judge's shape. The self-test takes it so that a test can show that a guard without teeth is found.
type judgeFunc func(*guard, wanted.Kind, flowspec.Match) *refusal

// selfTest lets synthetic routes run into a guard over documentation prefixes (RFC 5737, RFC 3849). Each violation
// must be refused for its own reason, and each lawful one must pass: a guard that refuses everything proves nothing.
func selfTest(judge judgeFunc) error {
	p := netip.MustParsePrefix
	protected := []netip.Prefix{p("203.0.113.64/31"), p("2001:db8:ffff::/64")}
	g, err := newGuard([]netip.Prefix{p("203.0.113.0/24"), p("2001:db8::/32")}, protected, wanted.Lengths{})
	if err != nil {
		return err
	}
	wider, err := newGuard([]netip.Prefix{p("203.0.113.0/24"), p("2001:db8::/32")}, nil, wanted.Lengths{IPv4: 28, IPv6: 64})
	if err != nil {
		return err
	}
	none, err := newGuard(nil, nil, wanted.Lengths{})
	if err != nil {
		return err
	}
	never := append(builtInProtected(), protected...)
	for _, c := range probes(g, wider, none) {
		var got wanted.RefusalCode
		if r := judge(c.guard, c.kind, c.match); r != nil {
			got = r.code
		}
		if got != c.want {
			return fmt.Errorf("cannot trust guard on %q of kind %d: it says %q instead of %q: %w", c.match, c.kind, got, c.want, ErrGuardToothless)
		}
		if c.guard != g || c.kind != wanted.FlowSpec {
			continue
		}
		// The set question, which looks at no table, must agree: what passes reaches nothing that no rule may act on.
		switch acts := reaches(c.match, never); {
		case got == "" && acts, !acts && (got == wanted.RefusedProtected || got == wanted.RefusedBuiltIn):
			return fmt.Errorf("cannot trust guard on %q: it says %q, and that it acts on protected space is %t: %w", c.match, got, acts, ErrGuardToothless)
		}
	}
	return nil
}

// reaches asks the other way round, by the algebra of rules, whether a rule with this match can act on any packet to space.
func reaches(m flowspec.Match, space []netip.Prefix) bool { return m.Reaches(space...) }

// probe is a synthetic route and what the guard must say of it; an empty code means that it may pass.
type probe struct {
	guard *guard
	kind  wanted.Kind
	match flowspec.Match
	want  wanted.RefusalCode
}

// probes are for a guard over documentation prefixes with links in them, one that allows shorter RTBH prefixes, and one
// without official space.
func probes(g, wider, none *guard) []probe {
	dst := func(s string) flowspec.Match { return destinationOnly(netip.MustParsePrefix(s)) }
	offset := dst("2001:db8:1::/48")
	offset.Components[0].Offset = 8
	return []probe{
		{g, wanted.FlowSpec, dst("203.0.113.0/26"), ""},
		{g, wanted.FlowSpec, dst("203.0.113.66/32"), ""},
		{g, wanted.FlowSpec, dst("2001:db8:1::/48"), ""},
		{g, wanted.FlowSpec, dst("203.0.113.0/24"), wanted.RefusedProtected},
		{g, wanted.FlowSpec, dst("203.0.113.65/32"), wanted.RefusedProtected},
		{g, wanted.FlowSpec, dst("2001:db8:ffff::1/128"), wanted.RefusedProtected},
		{g, wanted.FlowSpec, dst("203.0.112.0/23"), wanted.RefusedProtected},
		{g, wanted.FlowSpec, dst("198.51.100.1/32"), wanted.RefusedNotOfficial},
		{g, wanted.FlowSpec, dst("2001:db9::/48"), wanted.RefusedNotOfficial},
		{g, wanted.FlowSpec, dst("0.0.0.0/0"), wanted.RefusedBuiltIn},
		{g, wanted.FlowSpec, dst("::/0"), wanted.RefusedBuiltIn},
		{g, wanted.FlowSpec, dst("224.0.0.5/32"), wanted.RefusedBuiltIn},
		{g, wanted.FlowSpec, dst("127.0.0.1/32"), wanted.RefusedBuiltIn},
		{g, wanted.FlowSpec, dst("169.254.1.1/32"), wanted.RefusedBuiltIn},
		{g, wanted.FlowSpec, dst("ff02::1/128"), wanted.RefusedBuiltIn},
		{g, wanted.FlowSpec, dst("fe80::1/128"), wanted.RefusedBuiltIn},
		{g, wanted.FlowSpec, dst("::1/128"), wanted.RefusedBuiltIn},
		{g, wanted.FlowSpec, flowspec.Match{Family: flowspec.IPv4, Components: []flowspec.Component{flowspec.Proto(17)}}, wanted.RefusedNoDestination},
		{g, wanted.FlowSpec, flowspec.Match{Family: flowspec.IPv4}, wanted.RefusedNoDestination},
		{g, wanted.FlowSpec, offset, wanted.RefusedOffset},
		{g, wanted.RTBH, dst("203.0.113.66/32"), ""},
		{g, wanted.RTBH, dst("2001:db8:1::1/128"), ""},
		{wider, wanted.RTBH, dst("203.0.113.16/28"), ""},
		{wider, wanted.RTBH, dst("2001:db8:1::/64"), ""},
		{g, wanted.RTBH, dst("203.0.113.66/31"), wanted.RefusedTooShort},
		{g, wanted.RTBH, dst("2001:db8:1::/127"), wanted.RefusedTooShort},
		{wider, wanted.RTBH, dst("203.0.113.0/27"), wanted.RefusedTooShort},
		{wider, wanted.RTBH, dst("2001:db8:1::/63"), wanted.RefusedTooShort},
		{g, wanted.RTBH, dst("0.0.0.0/0"), wanted.RefusedBuiltIn},
		{g, wanted.RTBH, dst("::/0"), wanted.RefusedBuiltIn},
		{g, wanted.RTBH, dst("203.0.113.65/32"), wanted.RefusedProtected},
		{g, wanted.RTBH, dst("2001:db8:ffff::1/128"), wanted.RefusedProtected},
		{g, wanted.RTBH, dst("198.51.100.1/32"), wanted.RefusedNotOfficial},
		{g, wanted.RTBH, dst("224.0.0.5/32"), wanted.RefusedBuiltIn},
		{g, wanted.RTBH, flowspec.Match{Family: flowspec.IPv4}, wanted.RefusedNoDestination},
		{g, 0, dst("203.0.113.66/32"), wanted.RefusedKind},
		{none, wanted.RTBH, dst("203.0.113.66/32"), wanted.RefusedNotOfficial},
		{nil, wanted.RTBH, dst("203.0.113.66/32"), wanted.RefusedNotOfficial},
		{none, wanted.FlowSpec, dst("203.0.113.0/26"), wanted.RefusedNotOfficial},
		{nil, wanted.FlowSpec, dst("203.0.113.0/26"), wanted.RefusedNotOfficial},
	}
}

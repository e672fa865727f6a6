package integration_test

import (
	"slices"
	"testing"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// known is a set of cells that a router does not take as they are meant, and why.
type known struct {
	mark    string // by which the page refers to it
	router  string
	outcome outcome
	cells   func(c *cell) bool
	why     string
}

// hasAction reports whether a rule has an action of that type.
func hasAction(t flowspec.ActionType) func(*cell) bool {
	return func(c *cell) bool {
		for _, a := range c.rule.Actions {
			if a.Type == t {
				return true
			}
		}
		return false
	}
}

// interopKnown is every bad cell, for the versions that docs/interop.md names.
func interopKnown() []known {
	ipv6Community := func(c *cell) bool {
		return slices.ContainsFunc(c.rule.Actions, func(a flowspec.Action) bool { return a.Attribute() == flowspec.AttrIPv6ExtendedCommunities })
	}
	return []known{
		{
			mark: "a", router: "frr", outcome: changed, cells: hasAction(flowspec.TrafficRatePackets),
			why: "FRR does not know community 0x800c (RFC 8955 section 7.2, which is younger than FRR's code); it keeps it and shows it as unknown.",
		},
		{
			mark: "b", router: "frr", outcome: changed, cells: hasAction(flowspec.TrafficAction),
			why: "FRR looks for the bits S and T in the sixth octet of the community; they are in the eighth (RFC 8955 section 7.3). It says \"eval stops\" whatever they are.",
		},
		{
			mark: "c", router: "frr", outcome: changed, cells: ipv6Community,
			why: "FRR does not know the FlowSpec communities of attribute 25; it keeps them and shows their types.",
		},
		{
			mark: "d", router: "exabgp", outcome: lost, cells: func(c *cell) bool {
				return slices.ContainsFunc(c.rule.Actions, func(a flowspec.Action) bool { return a.Target.Form == flowspec.RTFormAS4 })
			},
			why: "ExaBGP fails on a route target of a four-octet AS and closes the connection without a NOTIFICATION.",
		},
	}
}

// expectedOf is what is known of a cell: that it is bad, and why, or that it is good.
func expectedOf(router string, c *cell) known {
	for _, k := range interopKnown() {
		if k.router == router && k.cells(c) {
			return k
		}
	}
	return known{outcome: equal}
}

// checkKnown compares the results of one router with what is known of it.
func checkKnown(t *testing.T, router string, all []*cell, results map[*cell]result) {
	t.Helper()
	used := map[string]bool{}
	for _, c := range all {
		want, got := expectedOf(router, c), results[c]
		used[want.mark] = true
		switch {
		case got.outcome == want.outcome:
		case want.outcome == equal:
			t.Errorf("%s: %s is %s, which nobody has explained\n  announced %s\n  shown     %s", router, c.id(), got.outcome, c.rule, got.detail)
		default:
			t.Errorf("%s: %s is %s, but known to be %s (%s): correct the table\n  shown %s", router, c.id(), got.outcome, want.outcome, want.why, got.detail)
		}
	}
	for _, k := range interopKnown() {
		if k.router == router && !used[k.mark] {
			t.Errorf("%s: no cell is of the kind %q: take it out", router, k.mark)
		}
	}
}

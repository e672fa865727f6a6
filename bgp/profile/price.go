package profile

import (
	"fmt"
	"math"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// Price is what a rule costs on a router.
type Price struct {
	Entries int    // of the router's table
	Unit    string // what an entry is there, e.g. "TCAM entries"
	Parts   []Part // whose factors, multiplied, are Entries
}

// Part is what one component does to the price.
type Part struct {
	Component flowspec.ComponentType // 0: the rule as such
	Factor    int
	Why       string // in one sentence
	Basis     Basis
	Source    Source
}

// model is how a router lays out rules in its table.
type model uint8

const (
	modelRoutes  model = iota + 1 // one entry for a rule, whatever it says: a route in a daemon's memory
	modelTernary                  // ternary entries, every combination of the components' entries
	modelNft                      // rules of a kernel filter with sets
)

// unit returns what an entry of the model is.
func (m model) unit() string {
	switch m {
	case modelRoutes:
		return "routes"
	case modelTernary:
		return "TCAM entries"
	case modelNft:
		return "filter rules"
	}
	return "entries"
}

// fragmentFactor is how many entries each fragment condition took on the one router that was measured.
const fragmentFactor = 2

// Price returns what r costs on the router. On routers with ternary memory the entries of a rule are every combination
// of its components' entries: as many prefixes as make up a range (length >= 257 is 15), as many masks as make up a list
// of flags, twice as many for a fragment condition. A list is priced as it is written, since a router programs it so:
// ports 162|163 are two entries and 162-163 is one. Actions cost no entry. The match should be valid; a component that
// takes no value counts as one.
func (p *Profile) Price(r flowspec.Rule) Price {
	out := Price{Entries: 1, Unit: p.model.unit()}
	add := func(part Part) {
		out.Parts = append(out.Parts, part)
		if part.Factor > 0 && out.Entries > math.MaxInt32/part.Factor {
			out.Entries = math.MaxInt32 // no table is as large
			return
		}
		out.Entries *= part.Factor
	}
	switch p.model {
	case modelRoutes:
		add(Part{Factor: 1, Why: "a rule is one route in the daemon's table, whatever it says", Basis: Published, Source: rfc8955("4")})
	case modelNft:
		for i := range r.Match.Components {
			add(nftPart(r.Match.Components[i]))
		}
	case modelTernary:
		for i := range r.Match.Components {
			add(p.ternaryPart(r.Match.Components[i]))
		}
	}
	return out
}

// ternaryPart prices one component in ternary memory.
func (p *Profile) ternaryPart(c flowspec.Component) Part {
	part := Part{Component: c.Type, Factor: 1, Basis: p.priceBasis(), Source: ncs5500Tests("Verification of the resource used with complex rules")}
	switch {
	case isPrefix(c.Type):
		part.Why = "an address prefix is one entry"
	case c.Type == flowspec.Fragment:
		n := max(1, len(maskEntries(c)))
		part.Factor = n * fragmentFactor
		part.Why = fmt.Sprintf("%s, and each takes %d entries", count(n, "combination of fragment bits", "combinations of fragment bits"), fragmentFactor)
	case c.Type == flowspec.TCPFlags:
		part.Factor = max(1, len(maskEntries(c)))
		part.Why = count(part.Factor, "combination of flags, an entry each", "combinations of flags, an entry each")
	case c.Type == flowspec.Port:
		n := max(1, len(numericEntries(c)))
		part.Factor, part.Basis, part.Source = 2*n, Assumed, rfc8955("4.2.2.4")
		part.Why = fmt.Sprintf("%s, for the source port and again for the destination port", count(n, "prefix", "prefixes"))
	default:
		part.Factor = max(1, len(numericEntries(c)))
		part.Why = fmt.Sprintf("the values are %s of %d bits", count(part.Factor, "prefix", "prefixes"), width(c.Type))
	}
	return part
}

// priceBasis says how far the ternary model is known to hold for this router.
func (p *Profile) priceBasis() Basis {
	if p.Name == nameNCS5500 {
		return Published
	}
	return Assumed
}

func nftPart(c flowspec.Component) Part {
	if c.Type == flowspec.Port {
		return Part{
			Component: c.Type, Factor: 2, Why: "either port: one rule for the source port, one for the destination port",
			Basis: Assumed, Source: nftManual("TCP HEADER EXPRESSION"),
		}
	}
	return Part{
		Component: c.Type, Factor: 1, Why: "a list of values is one lookup in an interval set",
		Basis: Assumed, Source: nftManual("SETS"),
	}
}

// count returns "1 entry" or "n entries".
func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

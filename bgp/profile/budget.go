package profile

import (
	"fmt"
	"math"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// StopPercent is the share of a router's limits that is used at most: some routers close the session above max-prefix,
// and with it all mitigations are gone.
const StopPercent = 80

// share returns what may be used of a limit; 0 stays 0, which means unlimited or not known.
func share(limit int) int { return limit/100*StopPercent + limit%100*StopPercent/100 }

// Budget is what a set of rules uses on one router, and how much it may use. A stop of 0 means that the limit is not
// known: nothing is counted against it.
type Budget struct {
	Rules, RulesStop     int
	Entries, EntriesStop int // of Unit
	Unit                 string
}

// Spend adds up the price of the rules. maxPrefix is the router's own limit of rules and maxEntries the size of its table,
// as its operator states them; 0 takes what the profile publishes, if it does. The stop for rules is 80 % of maxPrefix,
// and never above what the vendor has validated; the stop for entries is 80 % of the table.
func (p *Profile) Spend(rules []flowspec.Rule, maxPrefix, maxEntries int) Budget {
	b := p.Empty(maxPrefix, maxEntries)
	for _, r := range rules {
		b = b.Add(p.Price(r))
	}
	return b
}

// Empty returns the budget of a router that has no rule yet; see Spend.
func (p *Profile) Empty(maxPrefix, maxEntries int) Budget {
	b := Budget{RulesStop: share(maxPrefix), Unit: p.model.unit()}
	if validated := p.Limits.MaxRules; validated > 0 && (b.RulesStop == 0 || b.RulesStop > validated) {
		b.RulesStop = validated
	}
	if maxEntries == 0 {
		maxEntries = p.Limits.MaxEntries
	}
	b.EntriesStop = share(maxEntries)
	return b
}

// Add returns the budget with one rule more, of that price.
func (b Budget) Add(price Price) Budget {
	b.Rules++
	b.Entries += price.Entries
	return b
}

// Left returns how many rules and entries are left below the stops: negative if a stop is passed, math.MaxInt if it is not
// known.
func (b Budget) Left() (rules, entries int) {
	rules, entries = math.MaxInt, math.MaxInt
	if b.RulesStop > 0 {
		rules = b.RulesStop - b.Rules
	}
	if b.EntriesStop > 0 {
		entries = b.EntriesStop - b.Entries
	}
	return rules, entries
}

// Over returns why the rules may not be announced: a stop is passed.
func (b Budget) Over() []Finding {
	var out []Finding
	if b.RulesStop > 0 && b.Rules > b.RulesStop {
		out = append(out, Finding{
			Code: CodeRules, Text: fmt.Sprintf("%d rules are more than the %d that the router may hold", b.Rules, b.RulesStop),
			Fix: fmt.Sprintf("withdraw %d rules", b.Rules-b.RulesStop),
		})
	}
	if b.EntriesStop > 0 && b.Entries > b.EntriesStop {
		out = append(out, Finding{
			Code: CodeEntries, Text: fmt.Sprintf("the rules cost %d %s, more than the %d that the router may hold", b.Entries, b.Unit, b.EntriesStop),
			Fix: "withdraw rules, or take cheaper ranges",
		})
	}
	return out
}

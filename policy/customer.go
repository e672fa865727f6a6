package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// SelfService is one thing that a customer may do by itself, in its own space.
type SelfService string

// What a customer may do by itself. Without any of them it looks only.
const (
	// SelfStart is to start mitigations by hand, and to extend and withdraw those.
	SelfStart SelfService = "start"
	// SelfWithdraw is to withdraw also what policies started for it.
	SelfWithdraw SelfService = "withdraw"
)

// MaxCustomerStarts bounds how many mitigations one customer may start by itself within a minute, where the safeguards
// have no bound for one source.
const MaxCustomerStarts = 10

// ofCustomer is how a principal of a customer begins: customer/CUSTOMER/NAME. So begins also the source of what a
// customer started by itself; no detector's name has a slash.
const ofCustomer = "customer/"

// Scope returns the customer that p speaks for, and whether it speaks for one at all: then nothing but what is that
// customer's own may be shown to it or done for it. The id is empty if p names none, and no customer has that.
func (p Principal) Scope() (id CustomerID, scoped bool) {
	rest, scoped := strings.CutPrefix(string(p), ofCustomer)
	if !scoped {
		return "", false
	}
	name, _, ok := strings.Cut(rest, "/")
	if !ok {
		return "", true
	}
	return CustomerID(name), true
}

// sourceOf is the source of what a customer started by itself.
func sourceOf(id CustomerID) string { return ofCustomer + string(id) }

// isCustomers reports whether a source is a customer.
func isCustomers(source string) bool { return strings.HasPrefix(source, ofCustomer) }

// selfService checks what a customer may do by itself.
func (c *checker) selfService(d *Customer) {
	for i, w := range d.SelfService {
		field := item("self_service", i)
		switch {
		case w != SelfStart && w != SelfWithdraw:
			c.add(field, fmt.Sprintf("%q is not known", clip(string(w))), "write start or withdraw, or leave it out")
		case slices.Index(d.SelfService, w) < i:
			c.add(field, fmt.Sprintf("%s is there twice", w), "remove one")
		}
	}
}

// beyondCustomer refuses what a principal of a customer may not ask for. What it learns by that concerns its own space
// only: that of others, and space of nobody, look alike.
func beyondCustomer(s *State, id CustomerID, r Request) (refused Decision, yes bool) {
	c, known := s.Customer(id)
	if !known {
		return refusef(CodeNotYours, "there is no customer %q: ask the operator", clip(string(id))), true
	}
	var why Reason
	switch r := r.(type) {
	case *StartRequest:
		why = c.mayOrder(s, r)
	case *ExtendRequest:
		why = c.mayEnd(s, r.ID, true)
	case *WithdrawRequest:
		why = c.mayEnd(s, r.ID, false)
	default:
		why = Reason{CodeNotYours, "customers do not ask for this: ask the operator"}
	}
	if why.Code == "" {
		return Decision{}, false
	}
	return refuse(why), true
}

// may says that the operator does not let the customer do something by itself.
func (d *Customer) may(w SelfService, what string) Reason {
	if slices.Contains(d.SelfService, w) {
		return Reason{}
	}
	return Reason{CodeSelfService, fmt.Sprintf("customer %s may not %s by itself (self_service: %s is not set): ask the operator", d.ID, what, w)}
}

// mayOrder says why the customer may not order r. An order of a customer has one of three actions: what leads packets
// elsewhere, or marks them for others, is the operator's business, and so is the choice of routers.
func (d *Customer) mayOrder(s *State, r *StartRequest) Reason {
	for _, t := range r.Targets {
		if _, owner, ok := s.Owner(t); !ok || owner.ID != d.ID {
			return Reason{CodeNotYours, fmt.Sprintf("%s is not official space of customer %s: %s", prefixText(t), d.ID, d.ownSpace())}
		}
	}
	if why := d.may(SelfStart, "start mitigations"); why.Code != "" {
		return why
	}
	switch {
	case r.BreakGlass:
		return Reason{CodeSelfService, "a customer does not go past an approval: leave break_glass out"}
	case len(r.Groups) > 0:
		return Reason{CodeSelfService, "a customer does not choose routers: leave groups out"}
	case r.Action.Sample || r.Action.Continue:
		return Reason{CodeSelfService, "a customer's order has no sample and no continue: leave them out"}
	}
	switch r.Action.Kind {
	case Discard, RateLimit, RateLimitPackets, RTBH:
		return Reason{}
	case Redirect, RedirectIP, Mark:
	}
	return Reason{CodeSelfService, fmt.Sprintf("a customer may order discard, rate and rtbh, not %s: ask the operator", r.Action.words().noun)}
}

// ownSpace tells what a customer may name instead.
func (d *Customer) ownSpace() string {
	if len(d.Official) == 0 {
		return "it has none"
	}
	return "it has " + list(d.Official, netip.Prefix.String)
}

// mayEnd says why the customer may not withdraw, or with extend extend, a mitigation. One of somebody else's is as
// unknown to it as one that does not exist.
func (d *Customer) mayEnd(s *State, id MitigationID, extend bool) Reason {
	m, ok := s.Mitigation(id)
	switch {
	case !ok || m.Customer != d.ID:
		return Reason{CodeUnknownMitigation, fmt.Sprintf("there is no mitigation M%d", id)}
	case m.Source == sourceOf(d.ID) && extend:
		return d.may(SelfStart, "extend mitigations")
	case m.Source == sourceOf(d.ID):
		return Reason{} // who started it may always end it
	case m.Origin == FromPolicy && !extend:
		return d.may(SelfWithdraw, "withdraw what policies started")
	}
	return Reason{CodeSelfService, fmt.Sprintf("M%d was not started by customer %s: ask the operator to extend or withdraw it", id, d.ID)}
}

// tooOften answers a customer that starts too much by itself within a minute.
func (p *plan) tooOften(s *State, e Entry) Reason {
	if !isCustomers(p.source) {
		return Reason{}
	}
	limit := s.Safeguards().MaxStartsPerMinutePerSource
	if limit == 0 {
		limit = MaxCustomerStarts
	}
	used, until, beyond := s.pace.minute.beyond(paceOfSource(p.source), 1, limit, e.At)
	if !beyond {
		return Reason{}
	}
	return Reason{CodeStartRate, fmt.Sprintf("customer %s started %s by itself within the last minute, at most %d are permitted: try again in %s",
		p.customer.ID, plural(used, "mitigation"), limit, max(until, time.Second).Round(time.Second))}
}

// precedence is the origin whose rank the mitigation has: what a customer started does not go before what policies do.
func (m *Mitigation) precedence() Origin {
	if isCustomers(m.Source) {
		return FromPolicy
	}
	return m.Origin
}

// precedence is that of the mitigation that the plan becomes.
func (p *plan) precedence() Origin {
	if isCustomers(p.source) {
		return FromPolicy
	}
	return p.origin
}

// shares reports whether the plan may fill only a part of each budget, as policies and customers may, and operators may not.
func (p *plan) shares() bool { return p.origin == FromPolicy || isCustomers(p.source) }

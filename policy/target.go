package policy

import (
	"fmt"
	"net/netip"
	"strings"
)

// customerOf returns the customer that all targets belong to, or why they cannot be acted on. Targets are sorted,
// none inside another. Of several targets some may be protected, which the cut then exempts; a target that no
// customer owns, or that alone is protected, is refused, because whoever sent it means something else than we know.
func customerOf(s *State, targets []netip.Prefix, sg *Safeguards) (*Customer, Reason) {
	var customer *Customer
	var protected Reason // of the first target that is protected, whole
	unprotected := false
	for _, t := range targets {
		owner, isProtected, r := ownerOf(s, t, sg)
		if owner == nil {
			return nil, r
		}
		if customer != nil && customer.ID != owner.ID {
			return nil, Reason{CodeTargetsSpanCustomers, fmt.Sprintf("%s belongs to customer %s, but %s to customer %s: "+
				"send one request for each customer", prefixText(targets[0]), customer.ID, prefixText(t), owner.ID)}
		}
		customer = owner
		switch {
		case !isProtected:
			unprotected = true
		case protected.Code == "":
			protected = r
		}
	}
	if !unprotected {
		return nil, protected
	}
	return customer, Reason{}
}

// ownerOf returns whose target t is; a nil customer comes with the reason for which t is refused. If all of t is
// protected, the reason says by what.
func ownerOf(s *State, t netip.Prefix, sg *Safeguards) (owner *Customer, isProtected bool, r Reason) {
	if t.Bits() == 0 {
		return nil, false, Reason{CodeTargetEverything, fmt.Sprintf("%s is every %s address there is: name the prefix under attack", t, familyOf(t))}
	}
	cover, isProtected := covering(s, t)
	if isProtected && cover.Kind == ExemptBuiltIn {
		return nil, true, Reason{CodeTargetBuiltIn, fmt.Sprintf("%s is %s (%s): never acted on; name an address of a customer", prefixText(t), cover.Name, cover.Prefix)}
	}
	_, owner, owned := s.Owner(t)
	if isProtected {
		return owner, true, Reason{CodeTargetProtected, protectedText(s, t, cover, owner)}
	}
	if r := tooWide(t, sg); r.Code != "" {
		return nil, false, r
	}
	if !owned {
		return nil, false, Reason{CodeTargetNotOfficial, notOfficialText(s, t)}
	}
	return owner, false, Reason{}
}

// tooWide holds a target against the safeguards.
func tooWide(t netip.Prefix, sg *Safeguards) Reason {
	widest := sg.WidestIPv4
	if !t.Addr().Is4() {
		widest = sg.WidestIPv6
	}
	if t.Bits() >= int(widest) {
		return Reason{}
	}
	return Reason{CodeTooWide, fmt.Sprintf("%s is wider than /%d, the widest %s target that the safeguards permit: name narrower targets, or raise widest_%s in the Safeguards document",
		t, widest, familyOf(t), strings.ToLower(familyOf(t).String()))}
}

// covering returns the most telling protection that all of t lies in: the most specific one, a link before a block.
func covering(s *State, t netip.Prefix) (Exemption, bool) {
	var best Exemption
	for _, ex := range s.ProtectedOverlapping(t) {
		if !inside(t, ex.Prefix) {
			continue
		}
		if best.Kind == "" || ex.Prefix.Bits() > best.Prefix.Bits() {
			best = ex
		}
	}
	return best, best.Kind != ""
}

// protectedText says why nothing is done for a target inside protected space, and what could be protected instead.
func protectedText(s *State, t netip.Prefix, ex Exemption, owner *Customer) string {
	if ex.Kind != ExemptLink {
		text := fmt.Sprintf("%s lies in protected block %s (%s): protected space is never acted on", prefixText(t), ex.Name, ex.Prefix)
		if b, ok := s.Block(ex.Name); ok && b.Kind != "" {
			text = fmt.Sprintf("%s lies in protected block %s (%s, %s): protected space is never acted on",
				prefixText(t), ex.Name, b.Kind, ex.Prefix)
		}
		return text + officialHint(owner)
	}
	c, ok := s.Customer(CustomerID(ex.Name))
	if !ok {
		return fmt.Sprintf("%s lies in link %s: links are never acted on", prefixText(t), ex.Prefix)
	}
	what := "is a link address"
	if !t.IsSingleIP() {
		what = "is link space"
	}
	block := ""
	for i := range c.Links {
		if c.Links[i].Prefix == ex.Prefix && c.Links[i].Block != "" {
			block = ", block " + c.Links[i].Block
		}
	}
	return fmt.Sprintf("%s %s of customer %s (link %s%s): links are never acted on%s", prefixText(t), what, c.ID, ex.Prefix, block, officialHint(c))
}

// officialHint tells the prefixes that could be named instead.
func officialHint(c *Customer) string {
	if c == nil || len(c.Official) == 0 {
		return ""
	}
	return fmt.Sprintf("; official prefixes of %s: %s", c.ID, list(c.Official, netip.Prefix.String))
}

// notOfficialText says that nobody owns t, and what is nearest to it.
func notOfficialText(s *State, t netip.Prefix) string {
	text := fmt.Sprintf("%s is not inside the official space of any customer", prefixText(t))
	var near []string
	for p, c := range s.OfficialInside(t) {
		near = append(near, fmt.Sprintf("%s of %s", p, c))
	}
	if len(near) > 0 {
		return text + "; official space inside of it: " + list(near, func(s string) string { return s })
	}
	if over := s.ProtectedOverlapping(t); len(over) > 0 {
		return text + "; protected space inside of it: " + exemptList(over)
	}
	return text + ": name an address of a customer, or add the prefix to the customer's official ones (tidegate apply)"
}

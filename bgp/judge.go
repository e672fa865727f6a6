package bgp

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// refusal says why a route is kept off the wire.
type refusal struct {
	code     wanted.RefusalCode
	sentence string
}

// judged is a route together with what the border made of it: bytes that may go on the wire, or a refusal. It is not
// changed after judge.
type judged struct {
	route   wanted.Route // a copy, so that an old Set is not kept alive by what is left of it
	refusal *refusal     // nil: nlri, family, dst and actions are usable

	family  flowspec.Family
	dst     netip.Prefix
	nlri    []byte // the components, without the length field; of an RTBH route the whole NLRI
	actions extendedCommunities
}

// extendedCommunities are the octets of a rule's actions.
type extendedCommunities struct {
	eight  string // of attribute 16 (RFC 4360), eight octets each
	twenty string // of attribute 25 (RFC 5701), twenty octets each
}

// sameOnWire reports whether announcing j after o would tell a router nothing new.
func (j *judged) sameOnWire(o *judged) bool {
	return j.route.MED == o.route.MED && j.actions == o.actions
}

// judge leads one route through the whole chain before the wire: encode, decode, compare, safe subset, guard. What
// goes wrong on the way, a panic too, refuses this route and no other.
func judge(g *guard, r *wanted.Route) (j *judged) {
	j = &judged{route: *r}
	defer func() {
		if v := recover(); v != nil {
			j = &judged{route: *r, refusal: refuse(wanted.RefusedInternal, "the check failed: %v", v)}
		}
	}()
	j.refusal = j.chain(g)
	return j
}

func (j *judged) chain(g *guard) *refusal {
	switch j.route.Kind {
	case wanted.FlowSpec:
		return j.chainFlowSpec(g)
	case wanted.RTBH:
		return j.chainRTBH(g)
	default:
		return refuse(wanted.RefusedKind, "route is of kind %d", j.route.Kind)
	}
}

func (j *judged) chainFlowSpec(g *guard) *refusal {
	want := j.route.Rule
	if !slices.ContainsFunc(want.Actions, acts) {
		return refuse(wanted.RefusedNoAction, "the rule has no action that does something, which means accept; exemption is the absence of a rule")
	}
	var err error
	if j.nlri, err = flowspec.AppendComponents(nil, want.Match); err != nil {
		return refuse(wanted.RefusedEncoding, "%v", err)
	}
	if len(j.nlri) == 0 || len(j.nlri) > flowspec.MaxNLRILength {
		return refuse(wanted.RefusedEncoding, "the rule has %d octets", len(j.nlri))
	}
	j.family = want.Match.Family
	if key := j.route.Key; len(key) == 0 || key[0] != byte(j.family) || string(key[1:]) != string(j.nlri) {
		return refuse(wanted.RefusedKey, "key %s is not that of the bytes %x", key, j.nlri)
	}
	wire, err := flowspec.DecodeComponents(j.family, j.nlri)
	if err != nil {
		return refuse(wanted.RefusedRoundTrip, "the bytes do not decode: %v", err)
	}
	if !wire.Equal(want.Match) {
		return refuse(wanted.RefusedRoundTrip, "the bytes decode to %q", wire)
	}
	if err := flowspec.CheckSafe(wire); err != nil {
		return refuse(wanted.RefusedUnsafe, "%v", err)
	}
	if no := j.encodeActions(want); no != nil {
		return no
	}
	if no := g.judge(wanted.FlowSpec, wire); no != nil {
		return no
	}
	j.dst, _ = onlyDestination(wire)
	return nil
}

// acts reports whether a does something to a packet. A rule that only ends the evaluation or lets it go on accepts.
func acts(a flowspec.Action) bool { return a.Type != flowspec.TrafficAction || a.Sample }

// encodeActions fills actions, of rules whose actions do not contradict each other, and reads each of them back.
func (j *judged) encodeActions(rule flowspec.Rule) *refusal {
	switch err := rule.Validate(); {
	case errors.Is(err, flowspec.ErrInterfering):
		return refuse(wanted.RefusedInterfering, "%v", err)
	case err != nil:
		return refuse(wanted.RefusedEncoding, "%v", err)
	}
	var eight, twenty []byte
	for _, a := range rule.Actions {
		b, err := flowspec.AppendCommunity(nil, a)
		if err != nil {
			return refuse(wanted.RefusedEncoding, "%v", err)
		}
		got, err := readBack(a.Attribute(), b)
		if err != nil {
			return refuse(wanted.RefusedRoundTrip, "action %s does not decode from %x: %v", a, b, err)
		}
		// On the wire the informative ASN has two octets (RFC 8955 section 7.1).
		if a.ASN &= 0xffff; got != a {
			return refuse(wanted.RefusedRoundTrip, "action %s decodes as %s", a, got)
		}
		if a.Attribute() == flowspec.AttrIPv6ExtendedCommunities {
			twenty = append(twenty, b...)
		} else {
			eight = append(eight, b...)
		}
	}
	j.actions = extendedCommunities{string(eight), string(twenty)}
	return nil
}

// readBack reads the extended community b of that path attribute. What is no action is an error.
func readBack(attribute uint8, b []byte) (flowspec.Action, error) {
	var a flowspec.Action
	var known bool
	var err error
	switch {
	case attribute == flowspec.AttrExtendedCommunities && len(b) == 8:
		a, known, err = flowspec.DecodeCommunity([8]byte(b))
	case attribute == flowspec.AttrIPv6ExtendedCommunities && len(b) == 20:
		a, known, err = flowspec.DecodeCommunity6([20]byte(b))
	default:
		return a, fmt.Errorf("%d octets in path attribute %d: %w", len(b), attribute, errCommunity)
	}
	if err == nil && !known {
		err = errCommunity
	}
	return a, err
}

// errCommunity is wrapped by the errors of extended communities that are no action.
var errCommunity = errors.New("not the extended community of an action")

// reuse returns what j becomes for route r, j itself if nothing changed, or nil if r must be judged anew. The guard
// must be the one of j.
func (j *judged) reuse(r *wanted.Route) *judged {
	o := &j.route
	if o.Key != r.Key || o.Kind != r.Kind || !sameRule(&o.Rule, &r.Rule) {
		return nil
	}
	if o.MED == r.MED && o.NotAfter == r.NotAfter && o.Urgency == r.Urgency && slices.Equal(o.Groups, r.Groups) {
		return j
	}
	c := *j
	c.route = *r
	return &c
}

// sameRule is Rule.Equal, quicker for two copies of one rule, which share their memory.
func sameRule(a, b *flowspec.Rule) bool {
	x, y := a.Match.Components, b.Match.Components
	if len(x) > 0 && len(x) == len(y) && &x[0] == &y[0] && a.Match.Family == b.Match.Family {
		return slices.Equal(a.Actions, b.Actions)
	}
	return a.Equal(*b)
}

// checkSet refuses a Set that nobody can have meant, before anything of it is used. What is wrong with one route
// only is that route's refusal instead, so that it cannot hold up the others.
func checkSet(w *wanted.Set) error {
	_, err := checkChange(nil, w)
	return err
}

func checkRouters(routers []wanted.Router) error {
	names := make(map[string]bool, len(routers))
	ends := make(map[netip.AddrPort]bool, len(routers))
	for i := range routers {
		r := &routers[i]
		end := netip.AddrPortFrom(r.Address, portOf(r))
		switch {
		case r.Name == "":
			return fmt.Errorf("cannot use router %d: no name: %w", i, ErrInvalidSet)
		case names[r.Name]:
			return fmt.Errorf("cannot use router %q: it stands twice: %w", r.Name, ErrInvalidSet)
		case ends[end]:
			return fmt.Errorf("cannot use router %q: another one has the address %q: %w", r.Name, end, ErrInvalidSet)
		}
		if err := checkRouter(r); err != nil {
			return err
		}
		names[r.Name], ends[end] = true, true
	}
	return nil
}

func checkRouter(r *wanted.Router) error {
	switch {
	case !r.Address.IsValid() || r.Address.IsUnspecified() || r.Address.Is4In6():
		return fmt.Errorf("cannot use router %q: address %q: %w", r.Name, r.Address, ErrInvalidSet)
	case r.ASN == 0:
		return fmt.Errorf("cannot use router %q: ASN is 0: %w", r.Name, ErrInvalidSet)
	case r.Carries != wanted.FlowSpec && r.Carries != wanted.RTBH:
		return fmt.Errorf("cannot use router %q: it carries kind %d: %w", r.Name, r.Carries, ErrInvalidSet)
	case r.TTLSecurity && r.Multihop > 1:
		return fmt.Errorf("cannot use router %q: both TTL security and multihop: %w", r.Name, ErrInvalidSet)
	case r.MaxRoutes < 0 || r.RulesPerSecond < 0:
		return fmt.Errorf("cannot use router %q: a negative limit: %w", r.Name, ErrInvalidSet)
	}
	return checkDiscard(r)
}

// portOf is the TCP port of r; BGP's own is 179 (RFC 4271 section 8).
func portOf(r *wanted.Router) uint16 {
	if r.Port == 0 {
		return 179
	}
	return r.Port
}

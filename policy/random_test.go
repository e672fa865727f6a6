package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// The random worlds of the tests are small and crowded, so that things meet: prefixes nest, keys coincide, names
// come again.
const customers = 6

func customerID(i int) CustomerID { return CustomerID(fmt.Sprintf("customer%d", i)) }

func start() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// randomPrefix is a canonical prefix, mostly in 203.0.113.0/24 or 2001:db8::/56, sometimes anywhere.
func randomPrefix(r *rand.Rand) netip.Prefix {
	switch r.IntN(8) {
	case 0:
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32()), byte(r.Uint32())}), r.IntN(33)).Masked()
	case 1, 2, 3:
		a := [16]byte{0x20, 0x01, 0x0d, 0xb8, 7: byte(r.IntN(8)) << 5, 15: byte(r.IntN(4))}
		return netip.PrefixFrom(netip.AddrFrom16(a), []int{40, 56, 58, 59, 60, 64, 126, 127, 128}[r.IntN(9)]).Masked()
	default:
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(r.Uint32())}), 22+r.IntN(11)).Masked()
	}
}

func randomPrefixes(r *rand.Rand, n int) []netip.Prefix {
	out := make([]netip.Prefix, 0, n)
	for range n {
		if p := randomPrefix(r); !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}

func randomDocument(r *rand.Rand) Document {
	switch r.IntN(10) {
	case 9:
		return &Detector{Name: fmt.Sprintf("detector%d", r.IntN(3)), Trust: float64(r.IntN(3)) / 2}
	case 0, 1, 2:
		c := &Customer{ID: customerID(r.IntN(customers)), Name: fmt.Sprint(r.IntN(100)), Official: randomPrefixes(r, r.IntN(4))}
		for range r.IntN(4) {
			c.Links = append(c.Links, Link{Prefix: randomPrefix(r), State: LinkClean})
		}
		return c
	case 3, 4:
		return &ProtectedBlock{Name: fmt.Sprintf("block%d", r.IntN(3)), Kind: BlockLinks, Prefixes: randomPrefixes(r, 1+r.IntN(2))}
	case 5, 6:
		d := &Router{
			Name: fmt.Sprintf("router%d", r.IntN(4)), Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(4))}), ASN: 64500,
			Group: []string{"edge", "transit"}[r.IntN(2)], Families: []flowspec.Family{flowspec.IPv4, flowspec.IPv6}[r.IntN(2):],
			Validation: ValidationDisabled, MaxPrefix: 10 + r.IntN(1000), RulesPerSecond: r.IntN(300),
		}
		if r.IntN(2) == 0 {
			d.PasswordSecret = d.Name
		}
		if r.IntN(2) == 0 { // some of them known, some with a table of a known size
			d.Profile = []string{"generic", "iosxr-ncs5500", "linux-edge", "of a later version"}[r.IntN(4)]
			d.MaxEntries = r.IntN(2) * 1000
		}
		if r.IntN(3) == 0 {
			d.Carries, d.DiscardIPv4 = wanted.RTBH, netip.AddrFrom4([4]byte{192, 0, 2, 1})
		}
		return d
	case 7:
		return &Policy{Name: fmt.Sprintf("policy%d", r.IntN(5)), Priority: r.IntN(5) - 2, Action: Action{Kind: Discard}}
	default:
		d := DefaultSafeguards()
		d.MaxPieces = 1 + r.IntN(50)
		d.ShortestRTBHIPv4 = uint8(r.IntN(2) * (24 + r.IntN(9)))
		return d
	}
}

func randomRef(r *rand.Rand) DocumentRef { return randomDocument(r).Ref() }

// randomMitigation is not what Decide would make, but what a State must cope with.
func randomMitigation(r *rand.Rand) *Mitigation {
	m := &Mitigation{
		ID:       MitigationID(1 + r.IntN(12)),
		Customer: customerID(r.IntN(customers)),
		Origin:   Origin(1 + r.IntN(2)),
		Lifetime: time.Hour,
		Created:  start(),
		Expires:  start().Add(time.Duration(r.IntN(5)) * time.Hour),
		By:       "operator/alice",
		Phase:    Active,
		Changed:  Index(r.IntN(100)), // must be ignored
		Causes:   []Cause{{Source: "detector/a", AttackID: "1", Since: start()}},
	}
	switch r.IntN(6) {
	case 0, 1:
		m.Phase, m.End = Over, EndWithdrawn
	case 2:
		if r.IntN(2) == 0 {
			m.Awaits = Ask{Kind: AskExtend, Until: start().Add(time.Duration(r.IntN(10)) * 25 * time.Minute)}
		}
		m.Phase, m.EndsAt = Ending, start().Add(time.Duration(r.IntN(10))*30*time.Minute)
	}
	if m.Phase == Active && r.IntN(4) == 0 {
		m.Phase, m.Awaits = Pending, Ask{Kind: AskStart, Until: start().Add(time.Duration(r.IntN(10)) * 20 * time.Minute)}
	}
	if r.IntN(8) == 0 {
		m.BreakGlassUntil = m.Expires
	}
	switch r.IntN(4) {
	case 0:
		m.Groups = []string{"edge"}
	case 1:
		m.Groups = []string{"transit", "edge", "transit"}
	}
	var acts []flowspec.Action
	m.Action, acts = randomAction(r)
	m.Cut.Pieces = randomPrefixes(r, r.IntN(4))
	for range r.IntN(4) {
		rule := flowspec.Rule{Match: matchTo(netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(r.IntN(6))}), 32)), Actions: acts}
		if m.Action.Kind == RTBH {
			rule.Match.Components = rule.Match.Components[:1]
		}
		m.Rules = append(m.Rules, rule)
	}
	return m
}

// randomAction is an action, mostly one of the two that meet most often, and what its rules do.
func randomAction(r *rand.Rand) (Action, []flowspec.Action) {
	a := Action{Kind: []ActionKind{Discard, Discard, RateLimit, RateLimit, RateLimitPackets, Redirect, RedirectIP, Mark, RTBH}[r.IntN(9)]}
	a.Sample = a.Kind != RTBH && r.IntN(8) == 0
	switch a.Kind {
	case RateLimit:
		a.Rate = flowspec.BytesPerSecond(1000 * (1 + r.IntN(3)))
	case RateLimitPackets:
		a.Packets = flowspec.PacketsPerSecond(1000 * (1 + r.IntN(3)))
	case Redirect:
		a.Target = flowspec.RouteTarget{Form: flowspec.RTFormAS2, ASN: 64500, Local: uint32(r.IntN(2))}
	case RedirectIP:
		a.Address, a.Copy = netip.AddrFrom4([4]byte{192, 0, 2, 1}), r.IntN(2) == 0
	case Mark:
		a.DSCP = uint8(r.IntN(2))
	case Discard, RTBH:
	}
	acts, _ := a.wire(1, 1)
	return a, acts
}

// matchTo is UDP to p.
func matchTo(p netip.Prefix) flowspec.Match {
	f := flowspec.IPv6
	if p.Addr().Is4() {
		f = flowspec.IPv4
	}
	m, err := flowspec.NewMatch(f, flowspec.Destination(p), flowspec.Proto(17))
	if err != nil {
		panic(err) // the test's own mistake
	}
	return m
}

func randomChange(r *rand.Rand) Change {
	switch r.IntN(13) {
	case 12:
		return &PutOrder{randomOrder(r)}
	case 0, 1, 2:
		return &PutDocument{randomDocument(r)}
	case 3:
		return &DeleteDocument{randomRef(r)}
	case 4, 5, 6, 7:
		return &PutMitigation{randomMitigation(r)}
	case 8, 9:
		a := Attack{Source: "detector/a", AttackID: fmt.Sprint(r.IntN(5)), Seq: r.Uint64N(9), Ended: r.IntN(2) == 0}
		if r.IntN(2) == 0 {
			a.Source = "detector/ab"
		}
		a.Targets, a.Unanswered = randomPrefixes(r, r.IntN(3)), r.IntN(3) == 0
		return &PutAttack{a}
	case 10:
		return &PutResult{Result{
			RequestID: RequestID(fmt.Sprint("r", r.IntN(9))), By: "operator/alice", Digest: [32]byte{byte(r.Uint32())},
			Verdict: Verdict{Kind: Mitigated}, Mitigations: []MitigationID{1},
		}}
	default:
		return &PutLease{}
	}
}

// randomOrder is one of a few orders, in any state.
func randomOrder(r *rand.Rand) Order {
	o := Order{
		ID: ApprovalID(1 + r.IntN(6)), Kind: OrderApply, Status: []OrderStatus{OrderPending, OrderPending, OrderApproved, OrderLapsed}[r.IntN(4)],
		Until: start().Add(time.Duration(r.IntN(20)) * 15 * time.Minute), Changed: Index(r.IntN(100)), // must be ignored
	}
	if o.Status == OrderPending {
		o.Documents = []Document{randomDocument(r)}
	}
	return o
}

// randomChanges may end an active mitigation of s, and then does other things.
func randomChanges(r *rand.Rand, s *State) []Change {
	var cs []Change
	if n := s.PendingCount(); n > 0 && r.IntN(8) == 0 {
		cs = append(cs, &EndMitigation{ID: slices.Collect(s.Pending())[r.IntN(n)].ID, Cause: EndNotApproved})
	}
	if n := s.ActiveCount(); n > 0 && r.IntN(4) == 0 {
		c := &EndMitigation{ID: slices.Collect(s.Active())[r.IntN(n)].ID, Cause: []EndCause{EndExpired, EndWithdrawn}[r.IntN(2)]}
		if r.IntN(2) == 0 {
			c.By, c.Note = "operator/bob", "a note"
		}
		cs = append(cs, c)
	}
	for range r.IntN(4) {
		cs = append(cs, randomChange(r))
	}
	return cs
}

package policy_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"go4.org/netipx"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/policy"
)

// region is the small space that the random inventories lie in: 4,096 addresses, so that everything meets.
func region(f flowspec.Family) netip.Prefix {
	if f == flowspec.IPv4 {
		return pfx("198.18.0.0/20")
	}
	return pfx("2001:db8::/116")
}

// within returns a random prefix inside p, of at most extra bits more.
func within(r *rand.Rand, p netip.Prefix, least, extra int) netip.Prefix {
	bits := min(p.Bits()+least+r.IntN(extra+1), p.Addr().BitLen())
	return netip.PrefixFrom(addressIn(r, p), bits).Masked()
}

// addressIn returns a random address of p.
func addressIn(r *rand.Rand, p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		if r.Uint32()&1 == 1 {
			b[i/8] |= 0x80 >> (i % 8)
		}
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// twin answers from the documents, by looking at all of them, address by address. It knows nothing of prefix trees.
type twin struct {
	customers []*policy.Customer
	blocks    []*policy.ProtectedBlock
}

func (w *twin) documents() []policy.Document {
	var docs []policy.Document
	for _, c := range w.customers {
		docs = append(docs, c)
	}
	for _, b := range w.blocks {
		docs = append(docs, b)
	}
	return docs
}

// owner is the customer with the longest official prefix that holds a.
func (w *twin) owner(a netip.Addr) policy.CustomerID {
	var id policy.CustomerID
	best := -1
	for _, c := range w.customers {
		for _, p := range c.Official {
			if p.Contains(a) && p.Bits() > best {
				id, best = c.ID, p.Bits()
			}
		}
	}
	return id
}

func (w *twin) protected(a netip.Addr) bool {
	return slices.ContainsFunc(w.protection(), func(p netip.Prefix) bool { return p.Contains(a) })
}

func (w *twin) protection() []netip.Prefix {
	var all []netip.Prefix
	for _, c := range w.customers {
		for _, l := range c.Links {
			all = append(all, l.Prefix)
		}
	}
	for _, b := range w.blocks {
		all = append(all, b.Prefixes...)
	}
	return all
}

// wanted is what a mitigation of c for the targets should act on.
func (w *twin) wanted(c policy.CustomerID, targets []netip.Prefix, a netip.Addr) bool {
	return w.owner(a) == c && !w.protected(a) && slices.ContainsFunc(targets, func(p netip.Prefix) bool { return p.Contains(a) })
}

// fewest is the same space as the fewest CIDRs, by the set algebra of another library.
func (w *twin) fewest(t testing.TB, id policy.CustomerID, targets []netip.Prefix) []netip.Prefix {
	t.Helper()
	type official struct {
		p    netip.Prefix
		mine bool
	}
	var all []official
	for _, c := range w.customers {
		for _, p := range c.Official {
			all = append(all, official{p, c.ID == id})
		}
	}
	slices.SortStableFunc(all, func(a, b official) int { return a.p.Bits() - b.p.Bits() })
	var space, target netipx.IPSetBuilder
	for _, o := range all {
		if o.mine {
			space.AddPrefix(o.p)
		} else {
			space.RemovePrefix(o.p)
		}
	}
	for _, p := range targets {
		target.AddPrefix(p)
	}
	asked, err := target.IPSet()
	if err != nil {
		t.Fatal(err)
	}
	space.Intersect(asked)
	for _, p := range w.protection() {
		space.RemovePrefix(p)
	}
	set, err := space.IPSet()
	if err != nil {
		t.Fatal(err)
	}
	return set.Prefixes()
}

// randomTwin makes an inventory: customers nested up to three deep, links inside official space or beside it, with a
// block or without, and blocks.
func randomTwin(r *rand.Rand, f flowspec.Family) *twin {
	w := &twin{}
	used := map[netip.Prefix]bool{}
	fresh := func(p netip.Prefix) bool {
		if used[p] {
			return false
		}
		used[p] = true
		return true
	}
	var grow func(parent policy.CustomerID, space netip.Prefix, depth int)
	grow = func(parent policy.CustomerID, space netip.Prefix, depth int) {
		c := &policy.Customer{ID: policy.CustomerID(fmt.Sprintf("c%d", len(w.customers))), Within: parent}
		w.customers = append(w.customers, c)
		for range 1 + r.IntN(3) {
			if p := within(r, space, 1, 4); fresh(p) {
				c.Official = append(c.Official, p)
			}
		}
		for range r.IntN(4) {
			at := space
			if len(c.Official) > 0 && r.IntN(4) > 0 {
				at = c.Official[r.IntN(len(c.Official))]
			}
			if l := netip.PrefixFrom(addressIn(r, at), at.Addr().BitLen()-r.IntN(4)).Masked(); fresh(l) {
				c.Links = append(c.Links, policy.Link{Prefix: l, State: policy.LinkInUse})
			}
		}
		if depth < 3 && len(c.Official) > 0 && r.IntN(2) == 0 {
			grow(c.ID, c.Official[r.IntN(len(c.Official))], depth+1)
		}
	}
	lo, hi := halvesOf(region(f)) // two families of customers that never overlap
	grow("", lo, 0)
	if r.IntN(2) == 0 {
		grow("", hi, 0)
	}
	for i := range r.IntN(3) {
		w.blocks = append(w.blocks, &policy.ProtectedBlock{
			Name: fmt.Sprintf("b%d", i), Kind: policy.BlockInfrastructure,
			Prefixes: []netip.Prefix{within(r, region(f), 2, 10)},
		})
	}
	return w
}

func halvesOf(p netip.Prefix) (lo, hi netip.Prefix) {
	lo = netip.PrefixFrom(p.Addr(), p.Bits()+1)
	return lo, netip.PrefixFrom(netipx.PrefixLastIP(p), p.Bits()+1).Masked()
}

// randomTargets are one to three prefixes, mostly in somebody's official space.
func randomTargets(r *rand.Rand, w *twin, f flowspec.Family) []netip.Prefix {
	var out []netip.Prefix
	for range 1 + r.IntN(3)*r.IntN(2) {
		c := w.customers[r.IntN(len(w.customers))]
		switch {
		case len(out) > 0:
			out = append(out, within(r, region(f), 4, 8))
		case len(c.Official) > 0 && r.IntN(8) > 0:
			out = append(out, within(r, c.Official[r.IntN(len(c.Official))], 0, 3*r.IntN(4)))
		default:
			out = append(out, within(r, region(f), 0, 12))
		}
	}
	return out
}

// shapeCase is a match, and what it takes in plain words.
type shapeCase struct {
	match func(flowspec.Family) flowspec.Match
	takes func(*flowspec.Packet) bool
}

func shapeCases(t testing.TB) []shapeCase {
	match := func(comps ...flowspec.Component) func(flowspec.Family) flowspec.Match {
		return func(f flowspec.Family) flowspec.Match {
			m, err := flowspec.NewMatch(f, comps...)
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
	}
	return []shapeCase{
		{func(f flowspec.Family) flowspec.Match { return flowspec.Match{Family: f} }, func(*flowspec.Packet) bool { return true }},
		{match(flowspec.Proto(17)), func(p *flowspec.Packet) bool { return p.Protocol == 17 }},
		{match(flowspec.Proto(17), flowspec.Ports(flowspec.SourcePort, flowspec.One(53))), func(p *flowspec.Packet) bool {
			return p.Protocol == 17 && p.HasPorts && p.SrcPort == 53
		}},
	}
}

// TestPropertyExemption draws random inventories, targets and packets and asks of each packet: is it acted on exactly
// if it should be? Rules are judged as routers see them, decoded from their octets.
func TestPropertyExemption(t *testing.T) {
	const wantCases = 1_000_000
	shapes := shapeCases(t)
	r := rand.New(rand.NewPCG(20260504, 1))
	var cases, acted, exempt, rounded, refused int
	for cases < wantCases {
		f := flowspec.Family(1 + r.IntN(2))
		w := randomTwin(r, f)
		s := stateOf(t, w, 1+r.IntN(12))
		for range 8 {
			targets, shape := randomTargets(r, w, f), shapes[r.IntN(len(shapes))]
			d := policy.Decide(s, &policy.StartRequest{Targets: targets, Match: shape.match(f), Action: policy.Action{Kind: policy.Discard}},
				policy.Entry{At: noon(), By: "operator/alice"})
			if d.Verdict.Kind == policy.Refused {
				refused++
				cases++
				checkRefusal(t, w, targets, d.Verdict.Reason)
				continue
			}
			m := d.Mitigations[0]
			checkPieces(t, w, m)
			if m.Cut.Rounded {
				rounded++
			}
			rules := overTheWire(t, m.Rules)
			for range 60 {
				p := randomPacket(r, w, m, f)
				got := slices.ContainsFunc(rules, func(m flowspec.Match) bool { return m.Matches(p) })
				unprotected := slices.ContainsFunc(m.Cut.Unprotected, func(q netip.Prefix) bool { return q.Contains(p.Dst) })
				want := w.wanted(m.Customer, m.Targets, p.Dst) && shape.takes(p) && !unprotected
				if got != want {
					t.Fatalf("packet %+v: acted on %v, want %v; protected %v, owner %q\nmitigation of %s for %v: %+v\ncustomers %+v",
						p, got, want, w.protected(p.Dst), w.owner(p.Dst), m.Customer, m.Targets, m.Cut, w.documents())
				}
				if w.protected(p.Dst) {
					exempt++
				}
				if got {
					acted++
				}
				cases++
			}
		}
	}
	t.Logf("%d cases: %d packets acted on, %d to protected space, %d mitigations rounded, %d refused", cases, acted, exempt, rounded, refused)
	for name, n := range map[string]int{"acted on": acted, "protected": exempt, "rounded": rounded, "refused": refused} {
		if n < 1000 {
			t.Errorf("only %d cases of %q: the test no longer looks at them", n, name)
		}
	}
}

// stateOf makes a State of the twin's documents.
func stateOf(t testing.TB, w *twin, maxPieces int) *policy.State {
	t.Helper()
	sg := policy.DefaultSafeguards()
	sg.MaxPieces = maxPieces
	return stateUnder(t, w, sg)
}

// enforcers are the routers of a property test: one for rules, one for blackhole routes.
func enforcers() []policy.Document {
	both := []flowspec.Family{flowspec.IPv4, flowspec.IPv6}
	return []policy.Document{router("edge-1", "edge", "127.0.0.11", 100_000, both...), blackholer("edge-2", "127.0.0.12", 100_000, both...)}
}

// stateUnder makes a State of the twin's documents under safeguards.
func stateUnder(t testing.TB, w *twin, sg *policy.Safeguards) *policy.State {
	t.Helper()
	docs := append(append(w.documents(), sg), enforcers()...)
	var cs []policy.Change
	for _, doc := range docs {
		cs = append(cs, &policy.PutDocument{Document: doc})
	}
	s, err := policy.NewState().Apply(policy.Entry{Index: 1, At: noon()}, cs)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// checkRefusal holds a refusal against the twin: it must be true.
func checkRefusal(t *testing.T, w *twin, targets []netip.Prefix, r policy.Reason) {
	t.Helper()
	first := targets[0]
	switch r.Code {
	case policy.CodeNothingLeft, policy.CodeTargetProtected:
		for _, p := range targets {
			for a := p.Addr(); p.Contains(a); a = a.Next() {
				if id := w.owner(a); r.Code == policy.CodeNothingLeft && w.wanted(w.owner(first.Addr()), targets, a) && len(targets) == 1 && id != "" {
					// The owner of a target is that of the most specific prefix that holds all of it.
					if owner := ownerOf(w, first); owner == id {
						t.Fatalf("%v: %s, but %s is left", targets, r.Text, a)
					}
				}
				if r.Code == policy.CodeTargetProtected && len(targets) == 1 && !w.protected(a) {
					t.Fatalf("%v: %s, but %s is not protected", targets, r.Text, a)
				}
			}
		}
	case policy.CodeTargetNotOfficial:
		if !slices.ContainsFunc(targets, func(p netip.Prefix) bool { return ownerOf(w, p) == "" }) {
			t.Fatalf("%v: %s, but all of them have owners", targets, r.Text)
		}
	case policy.CodeTooManyPieces, policy.CodeTargetsSpanCustomers:
	default:
		t.Fatalf("%v: unexpected refusal %s: %s", targets, r.Code, r.Text)
	}
}

// ownerOf is the customer with the longest official prefix that holds all of p.
func ownerOf(w *twin, p netip.Prefix) policy.CustomerID {
	var id policy.CustomerID
	best := -1
	for _, c := range w.customers {
		for _, o := range c.Official {
			if o.Bits() <= p.Bits() && o.Contains(p.Addr()) && o.Bits() > best {
				id, best = c.ID, o.Bits()
			}
		}
	}
	return id
}

// checkPieces holds the destinations against the fewest CIDRs of the twin.
func checkPieces(t *testing.T, w *twin, m *policy.Mitigation) {
	t.Helper()
	want := w.fewest(t, m.Customer, m.Targets)
	got := slices.Concat(m.Cut.Pieces, m.Cut.Unprotected)
	slices.SortFunc(got, netip.Prefix.Compare)
	if !slices.Equal(got, want) {
		t.Fatalf("pieces %v and unprotected %v, want the fewest CIDRs %v", m.Cut.Pieces, m.Cut.Unprotected, want)
	}
	if m.Cut.Rounded != (len(m.Cut.Unprotected) > 0) {
		t.Fatalf("rounded %v with %v unprotected", m.Cut.Rounded, m.Cut.Unprotected)
	}
	for _, p := range m.Cut.Pieces {
		for _, u := range m.Cut.Unprotected {
			if u.Bits() < p.Bits() {
				t.Fatalf("%v is given up, but the smaller %v is kept", u, p)
			}
		}
	}
}

// overTheWire encodes rules and decodes them again.
func overTheWire(t *testing.T, rules []flowspec.Rule) []flowspec.Match {
	t.Helper()
	var out []flowspec.Match
	for _, rule := range rules {
		b, err := flowspec.AppendNLRI(nil, rule.Match)
		if err != nil {
			t.Fatal(err)
		}
		m, n, err := flowspec.DecodeNLRI(rule.Match.Family, b)
		if err != nil || n != len(b) {
			t.Fatalf("cannot decode %x: %v", b, err)
		}
		out = append(out, m)
	}
	return out
}

// randomPacket goes to an address where something changes, or anywhere.
func randomPacket(r *rand.Rand, w *twin, m *policy.Mitigation, f flowspec.Family) *flowspec.Packet {
	var dst netip.Addr
	edges := m.Cut.Pieces
	switch r.IntN(6) {
	case 0:
		dst = addressIn(r, m.Targets[r.IntN(len(m.Targets))])
	case 1:
		dst = addressIn(r, region(f))
	case 2:
		dst = addressIn(r, edges[r.IntN(len(edges))])
	case 3:
		if over := w.protection(); len(over) > 0 {
			dst = addressIn(r, over[r.IntN(len(over))])
			break
		}
		dst = addressIn(r, region(f))
	default:
		p := edges[r.IntN(len(edges))]
		dst = []netip.Addr{p.Addr(), p.Addr().Prev(), netipx.PrefixLastIP(p), netipx.PrefixLastIP(p).Next()}[r.IntN(4)]
	}
	p := &flowspec.Packet{
		Src: pfx("192.0.2.1/32").Addr(), Dst: dst, Protocol: []uint8{6, 17, 17}[r.IntN(3)], HasPorts: true,
		SrcPort: []uint16{53, 53, 54}[r.IntN(3)], DstPort: uint16(r.Uint32()), Length: 100 + uint32(r.IntN(1400)),
	}
	if f == flowspec.IPv6 {
		p.Src = pfx("2001:db8:ffff::1/128").Addr()
	}
	return p
}

// TestPropertyExemptionRTBH is TestPropertyExemption for blackhole routes: the routes that a speaker is told of take a
// packet exactly if they should, none is shorter than the safeguards permit, and none is anything but a destination.
func TestPropertyExemptionRTBH(t *testing.T) {
	const wantCases = 200_000
	r := rand.New(rand.NewPCG(20260504, 3))
	var cases, acted, exempt, tooWide, cut int
	for cases < wantCases {
		f := flowspec.Family(1 + r.IntN(2))
		w := randomTwin(r, f)
		sg := policy.DefaultSafeguards()
		sg.MaxPieces, sg.MaxRTBHRoutes = 1+r.IntN(40), []int{1, 8, 64, 1024}[r.IntN(4)]
		sg.ShortestRTBHIPv4, sg.ShortestRTBHIPv6 = uint8(24+r.IntN(9)), uint8(120+r.IntN(9))
		s := stateUnder(t, w, sg)
		for range 8 {
			targets := randomTargets(r, w, f)
			d := policy.Decide(s, &policy.StartRequest{Targets: targets, Action: policy.Action{Kind: policy.RTBH}}, policy.Entry{At: noon(), By: "operator/alice"})
			cases++
			if d.Verdict.Kind == policy.Refused {
				if d.Verdict.Reason.Code == policy.CodeRTBHTooWide {
					tooWide++
					continue
				}
				checkRefusal(t, w, targets, d.Verdict.Reason)
				continue
			}
			m := d.Mitigations[0]
			after, err := s.Apply(policy.Entry{Index: 2, At: noon()}, d.Changes)
			if err != nil {
				t.Fatal(err)
			}
			routes := blackholesOf(t, after, sg, f)
			if len(routes) > sg.MaxRTBHRoutes {
				t.Fatalf("%d routes, %d are permitted", len(routes), sg.MaxRTBHRoutes)
			}
			if len(routes) > len(targets) {
				cut++
			}
			for range 60 {
				p := randomPacket(r, w, m, f)
				got := slices.ContainsFunc(routes, func(q netip.Prefix) bool { return q.Contains(p.Dst) })
				unprotected := slices.ContainsFunc(m.Cut.Unprotected, func(q netip.Prefix) bool { return q.Contains(p.Dst) })
				if want := w.wanted(m.Customer, m.Targets, p.Dst) && !unprotected; got != want {
					t.Fatalf("packet to %s: taken %v, want %v; protected %v; routes %v of %v", p.Dst, got, want, w.protected(p.Dst), routes, m.Targets)
				}
				if w.protected(p.Dst) {
					exempt++
				}
				if got {
					acted++
				}
				cases++
			}
		}
	}
	t.Logf("%d cases: %d packets taken, %d to protected space, %d mitigations of several routes, %d too wide", cases, acted, exempt, cut, tooWide)
	for name, n := range map[string]int{"taken": acted, "protected": exempt, "several routes": cut, "too wide": tooWide} {
		if n < 100 {
			t.Errorf("only %d cases of %q: the test no longer looks at them", n, name)
		}
	}
}

// blackholesOf returns the destinations of the blackhole routes that a speaker is told of. There is nothing else.
func blackholesOf(t *testing.T, s *policy.State, sg *policy.Safeguards, f flowspec.Family) []netip.Prefix {
	t.Helper()
	var out []netip.Prefix
	shortest := map[flowspec.Family]uint8{flowspec.IPv4: sg.ShortestRTBHIPv4, flowspec.IPv6: sg.ShortestRTBHIPv6}[f]
	set := s.Wanted(policy.WantedInput{}).Set
	for _, r := range set.Routes {
		p, ok := r.Rule.Match.Destination()
		if r.Kind != wanted.RTBH || !ok || len(r.Rule.Match.Components) != 1 || len(r.Rule.Actions) != 0 || r.Key != wanted.RTBHKey(p) || p.Bits() < int(shortest) {
			t.Fatalf("route %+v of key %q, shortest /%d", r, r.Key, shortest)
		}
		out = append(out, p)
	}
	if want := (wanted.Lengths{IPv4: sg.ShortestRTBHIPv4, IPv6: sg.ShortestRTBHIPv6}); set.ShortestRTBH != want {
		t.Fatalf("the speaker is told of %+v, want %+v", set.ShortestRTBH, want)
	}
	return out
}

// TestPropertyRecut adds and removes protection, links, nested customers and official space at random while
// mitigations are active. No mitigation may ever act on an address that it did not act on before, nor on one that is
// protected now; what it acted on and still may, it goes on to act on or lists as unprotected.
func TestPropertyRecut(t *testing.T) {
	r := rand.New(rand.NewPCG(20260504, 2))
	var narrowed, ended, kept, applied, contradictory int
	for range 400 {
		f := flowspec.Family(1 + r.IntN(2))
		twinNow := randomTwin(r, f)
		w := &world{t: t, s: stateUnder(t, twinNow, widelyBlackholing(8+r.IntN(40))), index: 1, now: noon()}
		for range 6 {
			action := []policy.Action{{Kind: policy.RateLimit, Rate: 1e6}, {Kind: policy.RateLimitPackets, Packets: 1e4}, {Kind: policy.RTBH}}[r.IntN(3)]
			w.decide(&policy.StartRequest{Targets: randomTargets(r, twinNow, f), Match: flowspec.Match{Family: f}, Action: action})
		}
		for range 6 {
			before := map[policy.MitigationID]*policy.Mitigation{}
			for m := range w.s.Active() {
				before[m.ID] = m
			}
			next := change(r, twinNow, f)
			req := &policy.ApplyRequest{Documents: next.documents()}
			for _, c := range twinNow.customers {
				if !slices.ContainsFunc(next.customers, func(o *policy.Customer) bool { return o.ID == c.ID }) {
					req.Prune = true
				}
			}
			if req.Prune {
				req.Documents = append(append(req.Documents, w.s.Safeguards()), enforcers()...)
			}
			d := w.decide(req)
			if d.Verdict.Reason.Code == policy.CodeRemovalsNeedNumber {
				req.AllowRemovals = d.Plan.RemovalsToAllow
				d = w.decide(req)
			}
			if d.Verdict.Kind == policy.Refused {
				if d.Verdict.Reason.Code != policy.CodeMalformed {
					t.Fatal(d.Verdict.Reason)
				}
				contradictory++
				continue // the random change contradicts itself
			}
			applied++
			twinNow = next
			for id, old := range before {
				now := w.mitigation(id)
				checkRecut(t, twinNow, old, now)
				switch {
				case now.Phase == policy.Over:
					ended++
				case len(now.Rules) != len(old.Rules):
					narrowed++
				default:
					kept++
				}
			}
		}
	}
	t.Logf("%d changes applied, %d contradictory; mitigations: %d cut again, %d ended, %d as before", applied, contradictory, narrowed, ended, kept)
	if applied < 1000 || narrowed < 100 || ended < 20 || kept < 100 {
		t.Error("too few of one kind: the test no longer looks at them")
	}
}

// widelyBlackholing are safeguards under which a large part of the region can be blackholed.
func widelyBlackholing(maxPieces int) *policy.Safeguards {
	sg := policy.DefaultSafeguards()
	sg.MaxPieces, sg.ShortestRTBHIPv4, sg.ShortestRTBHIPv6, sg.MaxRTBHRoutes = maxPieces, 28, 124, 64
	return sg
}

func checkRecut(t *testing.T, w *twin, old, now *policy.Mitigation) {
	t.Helper()
	acts := func(ps []netip.Prefix, a netip.Addr) bool {
		return slices.ContainsFunc(ps, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	var pieces, unprotected []netip.Prefix // of a mitigation that is over: none
	if now.Phase == policy.Active {
		pieces, unprotected = now.Cut.Pieces, now.Cut.Unprotected
		total := 0.0
		for _, rule := range now.Rules {
			for _, a := range rule.Actions {
				total += float64(a.Rate)
			}
		}
		if most := float64(now.Action.Rate) + float64(now.Action.Packets); total > most { // one of the two is 0
			t.Fatalf("M%d: the rules may pass %v/s together, the mitigation %v", now.ID, total, most)
		}
		if len(now.Rules) != len(pieces)*len(now.Variants) {
			t.Fatalf("M%d: %d rules for %d pieces", now.ID, len(now.Rules), len(pieces))
		}
	}
	for _, target := range now.Targets {
		for a := target.Addr(); target.Contains(a); a = a.Next() {
			was, is, may := acts(old.Cut.Pieces, a), acts(pieces, a), w.wanted(now.Customer, now.Targets, a)
			switch {
			case is && !was:
				t.Fatalf("M%d was widened to %s", now.ID, a)
			case is && !may:
				t.Fatalf("M%d acts on %s, which it may not any more", now.ID, a)
			case now.Phase == policy.Active && may && !is && !acts(unprotected, a):
				t.Fatalf("M%d does not act on %s and does not say so", now.ID, a)
			case now.Phase == policy.Over && was && may:
				t.Fatalf("M%d ended (%s), but could act on %s", now.ID, now.EndNote, a)
			case acts(unprotected, a) && (!may || is):
				t.Fatalf("M%d lists %s as unprotected: may act %v, acts %v", now.ID, a, may, is)
			}
		}
	}
}

// change returns a copy of w with one thing changed.
func change(r *rand.Rand, w *twin, f flowspec.Family) *twin {
	next := &twin{}
	for _, c := range w.customers {
		cp := *c
		cp.Links, cp.Official = slices.Clone(c.Links), slices.Clone(c.Official)
		next.customers = append(next.customers, &cp)
	}
	for _, b := range w.blocks {
		cp := *b
		cp.Prefixes = slices.Clone(b.Prefixes)
		next.blocks = append(next.blocks, &cp)
	}
	c := next.customers[r.IntN(len(next.customers))]
	switch k := r.IntN(8); {
	case k == 0 && len(c.Links) > 0:
		c.Links = c.Links[1:]
	case k == 1 && len(next.blocks) > 0:
		next.blocks[0].Prefixes = []netip.Prefix{within(r, region(f), 2, 10)}
	case k == 2:
		next.blocks = append(next.blocks, &policy.ProtectedBlock{
			Name: fmt.Sprintf("n%d", r.IntN(1000)), Kind: policy.BlockLinks,
			Prefixes: []netip.Prefix{within(r, region(f), 3, 9)},
		})
	case k == 3 && len(c.Official) > 0:
		c.Official = c.Official[1:]
	case k == 4 && len(c.Official) > 0:
		next.customers = append(next.customers, &policy.Customer{
			ID: policy.CustomerID(fmt.Sprintf("n%d", r.IntN(1000))), Within: c.ID,
			Official: []netip.Prefix{within(r, c.Official[0], 1, 3)},
		})
	case k == 5 && len(next.customers) > 1:
		next.customers = next.customers[:len(next.customers)-1]
	default:
		at := region(f)
		if len(c.Official) > 0 {
			at = c.Official[0]
		}
		c.Links = append(c.Links, policy.Link{Prefix: netip.PrefixFrom(addressIn(r, at), at.Addr().BitLen()-r.IntN(4)).Masked(), State: policy.LinkInUse})
	}
	return next
}

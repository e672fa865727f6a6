package controller

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/policy"
)

// land is the world's own idea of the documents: those that were accepted, in plain maps and lists. The checkers ask it
// whose an address is, and nothing that the engine has made of the documents.
type land struct {
	docs      map[policy.DocumentRef]policy.Document
	epoch     int // counts accepted changes
	protected []netip.Prefix
	officials []official
	routers   []*policy.Router
	policies  map[string]*policy.Policy
	rules     *policy.Safeguards
}

type official struct {
	prefix netip.Prefix
	owner  policy.CustomerID
}

func newLand() *land {
	l := &land{docs: map[policy.DocumentRef]policy.Document{}}
	l.survey()
	return l
}

// accepted takes over what an apply did.
func (l *land) accepted(r *policy.ApplyRequest) {
	if r.Prune {
		clear(l.docs)
	}
	for _, d := range r.Documents {
		l.docs[d.Ref()] = d
	}
	l.epoch++
	l.survey()
}

// survey derives the lists from the documents.
func (l *land) survey() {
	l.protected = []netip.Prefix{
		pfx("0.0.0.0/8"), pfx("127.0.0.0/8"), pfx("169.254.0.0/16"), pfx("224.0.0.0/4"), pfx("255.255.255.255/32"),
		pfx("::/128"), pfx("::1/128"), pfx("fe80::/10"), pfx("ff00::/8"),
	}
	l.officials, l.routers, l.policies, l.rules = nil, nil, map[string]*policy.Policy{}, policy.DefaultSafeguards()
	for _, d := range l.all() {
		switch d := d.(type) {
		case *policy.Customer:
			for _, p := range d.Official {
				l.officials = append(l.officials, official{p, d.ID})
			}
			for i := range d.Links {
				l.protected = append(l.protected, d.Links[i].Prefix)
			}
		case *policy.ProtectedBlock:
			l.protected = append(l.protected, d.Prefixes...)
		case *policy.Router:
			l.routers = append(l.routers, d)
		case *policy.Policy:
			l.policies[d.Name] = d
		case *policy.Safeguards:
			l.rules = d
		}
	}
}

// all returns the documents in a fixed order.
func (l *land) all() []policy.Document {
	refs := slices.SortedFunc(maps.Keys(l.docs), func(a, b policy.DocumentRef) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
	out := make([]policy.Document, 0, len(refs))
	for _, ref := range refs {
		out = append(out, l.docs[ref])
	}
	return out
}

func (l *land) customers() (out []*policy.Customer) {
	for _, d := range l.all() {
		if c, ok := d.(*policy.Customer); ok {
			out = append(out, c)
		}
	}
	return out
}

// owner is the customer with the longest official prefix that holds a; empty if there is none.
func (l *land) owner(a netip.Addr) (id policy.CustomerID) {
	best := -1
	for _, o := range l.officials {
		if o.prefix.Bits() > best && o.prefix.Contains(a) {
			id, best = o.owner, o.prefix.Bits()
		}
	}
	return id
}

// protects returns the protected prefix that p overlaps.
func (l *land) protects(p netip.Prefix) (netip.Prefix, bool) {
	for _, q := range l.protected {
		if q.Overlaps(p) {
			return q, true
		}
	}
	return netip.Prefix{}, false
}

// stranger returns an address of p that is not the customer's. Whose an address is changes only where an official
// prefix begins or ends, so those are all the addresses to ask about.
func (l *land) stranger(p netip.Prefix, id policy.CustomerID) (netip.Addr, bool) {
	if a := p.Addr(); l.owner(a) != id {
		return a, true
	}
	for _, o := range l.officials {
		for _, a := range [...]netip.Addr{o.prefix.Addr(), lastOf(o.prefix).Next()} {
			if a.IsValid() && p.Contains(a) && l.owner(a) != id {
				return a, true
			}
		}
	}
	return netip.Addr{}, false
}

// lastOf is the last address of p.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// within reports whether each of ps lies in the union of outer, by the addresses where they begin and end.
func within(ps, outer []netip.Prefix) bool {
	sorted := slices.SortedFunc(slices.Values(outer), func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), a.Bits()-b.Bits())
	})
	for _, p := range ps {
		need, end := p.Addr(), lastOf(p)
		for _, o := range sorted {
			if o.Addr().BitLen() != need.BitLen() || !o.Contains(need) {
				continue
			}
			last := lastOf(o)
			if last.Compare(end) >= 0 {
				need = netip.Addr{}
				break
			}
			need = last.Next()
		}
		if need.IsValid() {
			return false
		}
	}
	return true
}

// region is the space in which everything happens: small, so that things meet.
func region(f flowspec.Family) netip.Prefix {
	if f == flowspec.IPv4 {
		return pfx("198.18.0.0/19")
	}
	return pfx("2001:db8::/44")
}

// narrower returns a random prefix inside p that is between least and most bits longer.
func narrower(r *rand.Rand, p netip.Prefix, least, most int) netip.Prefix {
	bits := min(p.Bits()+least+r.IntN(most-least+1), p.Addr().BitLen())
	return netip.PrefixFrom(addressIn(r, p), bits).Masked()
}

// addressIn returns a random address of p, often near its beginning.
func addressIn(r *rand.Rand, p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	v := r.Uint64()
	for i := p.Bits(); i < len(b)*8; i++ {
		if v>>(i%64)&1 == 1 {
			b[i/8] |= 0x80 >> (i % 8)
		}
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// some returns a few of the values, in their order.
func some[T any](r *rand.Rand, most int, of ...T) []T {
	var out []T
	for _, v := range of {
		if len(out) < most && r.IntN(len(of)) < most {
			out = append(out, v)
		}
	}
	return out
}

// populate makes the inventory: one document after the other, as operators would. What contradicts what is there already
// is refused, and the world goes on without it.
func (w *world) populate() {
	r := w.r
	w.decided(operator, &policy.ApplyRequest{Documents: []policy.Document{w.safeguards()}})
	for i := range 2 + r.IntN(2) {
		w.adopt(w.router(fmt.Sprint("edge", i), i, wanted.FlowSpec))
	}
	for i := range r.IntN(3) {
		w.adopt(w.router(fmt.Sprint("hole", i), 8+i, wanted.RTBH))
	}
	for i := range r.IntN(3) {
		w.adopt(w.block(fmt.Sprint("block", i)))
	}
	for i := range 3 + r.IntN(5) {
		w.adopt(w.customer(policy.CustomerID(fmt.Sprint("c", i))))
	}
	for i := range 3 + r.IntN(6) {
		w.adopt(w.policy(fmt.Sprint("p", i)))
	}
	for _, name := range []string{"flowmon", "fastnet", "honeypot"} {
		if r.IntN(3) == 0 {
			w.adopt(w.detector(name))
		}
	}
	w.adopt(&policy.Policy{Name: "rest", Priority: -9, Action: w.action(), Quiet: w.quiet(), Lifetime: w.lifetime()})
	w.enliven()
}

// adopt applies documents, and says the number if the brake asks for it.
func (w *world) adopt(docs ...policy.Document) {
	w.amend(&policy.ApplyRequest{Documents: docs})
}

func (w *world) amend(r *policy.ApplyRequest) {
	d, ok := w.decided(operator, r)
	if ok && d.Verdict.Reason.Code == policy.CodeRemovalsNeedNumber && d.Plan != nil && w.r.IntN(8) > 0 {
		again := *r
		again.AllowRemovals = d.Plan.RemovalsToAllow
		w.decided(operator, &again)
	}
}

func (w *world) safeguards() *policy.Safeguards {
	d := policy.DefaultSafeguards()
	d.WidestIPv4, d.WidestIPv6 = uint8(20+w.r.IntN(6)), uint8(44+w.r.IntN(12))
	d.MaxPieces = pick(w.r, 2, 4, 8, 16, 32)
	d.MaxMitigations = pick(w.r, 4, 10, 30, 100)
	d.DefaultLifetime = pick(w.r, 10*time.Minute, 30*time.Minute)
	d.MaxLifetime = pick(w.r, time.Hour, 2*time.Hour, 24*time.Hour)
	d.OperatorShare, d.SourceShare = pick(w.r, 0.0, 20, 50), pick(w.r, 0.0, 50, 100)
	d.MaxStartsPerMinute, d.MaxRules = pick(w.r, 0, 0, 3, 100), pick(w.r, 0, 0, 200)
	d.ApprovalAddresses, d.ApprovalWithdrawals, d.ApprovalRemovals = pick(w.r, 0, 0, 8, 64, 600), pick(w.r, 0, 0, 2, 5), pick(w.r, 0, 0, 1)
	d.ApprovalTimeout, d.BreakGlassLifetime = pick(w.r, 0, 5*time.Minute, 30*time.Minute), pick(w.r, 0, 5*time.Minute)
	w.bounds(d)
	d.ShortestRTBHIPv4, d.MaxRTBHRoutes = uint8(pick(w.r, 0, 0, 28, 30)), pick(w.r, 0, 2, 4)
	return d
}

// bounds fills in what the safeguards bound by action and by time.
func (w *world) bounds(d *policy.Safeguards) {
	r := w.r
	if r.IntN(3) > 0 {
		d.Widest.Discard = policy.Widths{IPv4: min(d.WidestIPv4+uint8(3+r.IntN(6)), 31), IPv6: d.WidestIPv6 + uint8(r.IntN(40))}
		d.Widest.Rate, d.Widest.Mark.IPv4 = policy.Widths{IPv4: d.WidestIPv4 + uint8(r.IntN(3))}, d.WidestIPv4+uint8(r.IntN(2))
	}
	d.MinConfidence = policy.ConfidenceByAction{Discard: pick(r, 0, 0, 0.3, 0.7), Rate: pick(r, 0, 0, 0, 0.2), RTBH: pick(r, 0, 0.9)}
	d.MaxRulesPerMinute = pick(r, 0, 0, 20)
	if d.MaxStartsPerMinutePerSource = pick(r, 0, 0, 2); d.MaxStartsPerMinute > 0 {
		d.MaxStartsPerMinutePerSource = min(d.MaxStartsPerMinutePerSource, d.MaxStartsPerMinute)
	}
	d.Quarantine = policy.QuarantineThresholds{
		WrongTargets: pick(r, 0, 2, 4, 200), SeqConflicts: pick(r, 0, 2, 100), TooFastMinutes: pick(r, 0, 2, 10), Duration: pick(r, 0, 5*time.Minute, 20*time.Minute),
	}
}

// detector is how far a detection system is believed.
func (w *world) detector(name string) *policy.Detector {
	return &policy.Detector{Name: name, Trust: pick(w.r, 0, 0.3, 0.7, 1)}
}

func (w *world) router(name string, i int, carries wanted.Kind) *policy.Router {
	d := &policy.Router{
		Name: name, Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + i)}), ASN: 64500, Group: pick(w.r, "edge", "edge", "transit"),
		MaxPrefix: pick(w.r, 10, 40, 200, 1000), AcceptUntested: true,
	}
	if carries == wanted.RTBH {
		d.Carries, d.DiscardIPv4 = carries, netip.MustParseAddr("192.0.2.254")
		if w.r.IntN(2) == 0 {
			d.DiscardIPv6 = netip.MustParseAddr("100::1")
		}
		return d
	}
	d.Validation = policy.ValidationDisabled
	if w.r.IntN(5) == 0 {
		d.Families = []flowspec.Family{pick(w.r, flowspec.IPv4, flowspec.IPv6)}
	}
	const free = "gobgp" // takes everything, and has no price
	if d.Profile = pick(w.r, free, free, free, free, "generic", "linux-edge", "iosxr-ncs5500", "junos-mx"); d.Profile != free && w.r.IntN(2) == 0 {
		d.MaxEntries = pick(w.r, 20, 100, 1000)
	}
	return d
}

func (w *world) block(name string) *policy.ProtectedBlock {
	f := pick(w.r, flowspec.IPv4, flowspec.IPv6)
	return &policy.ProtectedBlock{
		Name: name, Kind: pick(w.r, policy.BlockLinks, policy.BlockInfrastructure, policy.BlockResolver),
		Prefixes: []netip.Prefix{narrower(w.r, region(f), 5, 12)},
	}
}

// customer is a new customer, inside another one or beside it, with links inside its official space or elsewhere.
func (w *world) customer(id policy.CustomerID) *policy.Customer {
	c := &policy.Customer{ID: id, Name: "customer " + string(id), Tags: some(w.r, 1, "gold", "school"), MaxMitigations: pick(w.r, 0, 0, 1, 2, 5)}
	space := []netip.Prefix{region(flowspec.IPv4), region(flowspec.IPv6)}
	least := 2
	if others := w.land.customers(); len(others) > 0 && w.r.IntN(3) == 0 {
		parent := pick(w.r, others...)
		c.Within, space, least = parent.ID, parent.Official, 1
	}
	for _, p := range space {
		if w.r.IntN(4) > 0 {
			c.Official = append(c.Official, narrower(w.r, p, least, least+3))
		}
	}
	for range w.r.IntN(4) {
		c.Links = append(c.Links, w.link(c))
	}
	if w.r.IntN(2) == 0 {
		c.Services = w.services(c)
	}
	switch w.r.IntN(12) {
	case 0:
		c.Mitigation = pick(w.r, policy.ConsentManual, policy.ConsentNone)
	case 1:
		c.ManualVectors = []policy.Vector{policy.VectorUDPFlood, policy.VectorCarpetBombing}
	}
	return c
}

func (w *world) link(c *policy.Customer) policy.Link {
	at := region(pick(w.r, flowspec.IPv4, flowspec.IPv6))
	if len(c.Official) > 0 && w.r.IntN(4) > 0 {
		at = pick(w.r, c.Official...)
	}
	return policy.Link{Prefix: narrower(w.r, netip.PrefixFrom(addressIn(w.r, at), at.Addr().BitLen()-2).Masked(), 0, 1), State: policy.LinkInUse}
}

// action is one that may be the first of a ladder.
func (w *world) action() policy.Action {
	switch w.r.IntN(7) {
	case 0, 1:
		return policy.Action{Kind: policy.RateLimit, Rate: flowspec.BytesPerSecond(pick(w.r, 1e3, 1e6, 12.5e6))}
	case 2:
		return policy.Action{Kind: policy.RateLimitPackets, Packets: flowspec.PacketsPerSecond(pick(w.r, 10, 5000))}
	case 3:
		return policy.Action{Kind: policy.Mark, DSCP: uint8(w.r.IntN(64))}
	default:
		return policy.Action{Kind: policy.Discard, Sample: w.r.IntN(8) == 0}
	}
}

// ladder is a policy's steps, the mildest first.
func (w *world) ladder() []policy.Step {
	all := []policy.Action{
		{Kind: policy.Mark, DSCP: 8},
		{Kind: policy.RateLimitPackets, Packets: 20_000},
		{Kind: policy.RateLimit, Rate: 12.5e6},
		{Kind: policy.RateLimit, Rate: 1e6},
		{Kind: policy.Discard},
		{Kind: policy.Redirect, Target: flowspec.RouteTarget{Form: flowspec.RTFormAS2, ASN: 64500, Local: 666}},
		{Kind: policy.RTBH},
	}
	var out []policy.Step
	var after time.Duration
	for _, a := range some(w.r, 4, all...) {
		out = append(out, policy.Step{Action: a, After: after, MinConfidence: pick(w.r, 0, 0, 0.3, 0.8), Mode: pick(w.r, policy.ModeAuto, policy.ModeAuto, policy.ModeAuto, policy.ModeApprove)})
		after += time.Duration(1+w.r.IntN(10)) * time.Minute
	}
	return out
}

func (w *world) quiet() time.Duration {
	return pick(w.r, 0, time.Minute, 3*time.Minute, 15*time.Minute)
}

func (w *world) lifetime() time.Duration {
	return pick(w.r, 0, 5*time.Minute, 15*time.Minute, 40*time.Minute, time.Hour)
}

func (w *world) policy(name string) *policy.Policy {
	r := w.r
	d := &policy.Policy{
		Name: name, Priority: r.IntN(20), Quiet: w.quiet(), Lifetime: w.lifetime(), MaxMitigations: pick(r, 0, 0, 1, 4), MaxMatches: pick(r, 0, 0, 0, 2, 8),
		MinConfidence: pick(r, 0, 0, 0, 0.4), MinPackets: flowspec.PacketsPerSecond(pick(r, 0, 0, 0, 1e5)), MinRate: flowspec.BytesPerSecond(pick(r, 0, 0, 0, 1e8)),
		Groups: some(r, 1, "edge", "transit", "none")[:0],
	}
	if r.IntN(3) == 0 {
		d.Groups = []string{pick(r, "edge", "transit")}
	}
	for _, v := range policy.Vectors() {
		if r.IntN(4) == 0 {
			d.Vectors = append(d.Vectors, v.Name)
		}
	}
	if r.IntN(4) == 0 {
		d.Sources = some(r, 2, "flowmon", "fastnet", "honeypot")
	}
	if r.IntN(4) == 0 {
		d.Tags = []string{pick(r, "gold", "school")}
	}
	if cs := w.land.customers(); r.IntN(6) == 0 && len(cs) > 0 {
		d.Customers = []policy.CustomerID{pick(r, cs...).ID}
	}
	d.When = pick(r, "", "", "", "", "customer.active < 6", "signal.addresses <= 64.0 || signal.confidence > 0.5")
	d.Mode = pick(r, policy.ModeAuto, policy.ModeAuto, policy.ModeAuto, policy.ModeAuto, policy.ModeAuto, policy.ModeAuto, policy.ModeAuto, policy.ModeObserve, policy.ModeApprove)
	if d.MaxPerHour = pick(r, 0, 0, 0, 3, 10); len(d.Sources) != 1 && r.IntN(6) == 0 {
		d.Quorum = 2
	}
	if r.IntN(3) > 0 {
		d.Aggregate = policy.Aggregate{MinTargets: 2 + r.IntN(5), MinShare: pick(r, 1.0, 5, 25), WidestIPv4: uint8(22 + r.IntN(6)), WidestIPv6: uint8(48 + r.IntN(12))}
	}
	d.MatchOn = pick(r, nil, nil, []policy.Hint{policy.HintNone}, []policy.Hint{policy.HintProtocols, policy.HintDestinationPorts})
	if d.Ladder = w.ladder(); len(d.Ladder) == 0 || r.IntN(3) == 0 {
		d.Ladder, d.Action = nil, w.action()
	}
	if d.Quiet > 0 && len(d.Ladder) > 1 && r.IntN(3) > 0 {
		d.Relax = pick(r, policy.RelaxAuto, policy.RelaxAuto, policy.RelaxApprove)
	}
	return d
}

// change alters one document, or removes one, while attacks go on.
func (w *world) change() {
	r := w.r
	cs := w.land.customers()
	switch r.IntN(11) {
	case 10:
		w.adopt(w.detector(pick(r, "flowmon", "fastnet", "honeypot")))
	case 0, 1, 2: // a link, often where something is acted on
		if len(cs) == 0 {
			return
		}
		c := *pick(r, cs...)
		l := w.link(&c)
		if m := w.anyActive(); m != nil && r.IntN(2) == 0 {
			piece := pick(r, m.Cut.Pieces...)
			l.Prefix = netip.PrefixFrom(addressIn(r, piece), piece.Addr().BitLen()-r.IntN(2)).Masked()
		}
		c.Links = append(slices.Clone(c.Links), l)
		if r.IntN(3) == 0 {
			c.Services = w.services(&c)
		}
		w.adopt(&c)
	case 3: // a link goes
		if len(cs) == 0 {
			return
		}
		c := *pick(r, cs...)
		if len(c.Links) > 0 {
			c.Links = slices.Delete(slices.Clone(c.Links), 0, 1)
			w.adopt(&c)
		}
	case 4:
		w.adopt(w.customer(policy.CustomerID(fmt.Sprint("n", r.IntN(20)))))
	case 5:
		w.adopt(w.block(fmt.Sprint("block", r.IntN(4))))
	case 6:
		w.adopt(w.policy(fmt.Sprint("p", r.IntN(9))))
	case 7:
		w.adopt(w.safeguards())
	case 8:
		if r.IntN(2) == 0 {
			w.adopt(w.router(fmt.Sprint("edge", r.IntN(4)), r.IntN(4), wanted.FlowSpec))
		} else {
			w.adopt(w.router(fmt.Sprint("hole", r.IntN(3)), 8+r.IntN(3), wanted.RTBH))
		}
	case 9: // something is removed
		docs := w.land.all()
		if len(docs) == 0 {
			return
		}
		i := r.IntN(len(docs))
		if k := docs[i].Ref().Kind; k == policy.KindSafeguards || k == policy.KindRouter && r.IntN(3) > 0 {
			return
		}
		w.amend(&policy.ApplyRequest{Documents: slices.Delete(docs, i, i+1), Prune: true})
	}
}

// anyActive is a random mitigation that is announced; nil if none is.
func (w *world) anyActive() *policy.Mitigation {
	all := slices.Collect(w.newest().Active())
	if len(all) == 0 {
		return nil
	}
	if m := pick(w.r, all...); len(m.Cut.Pieces) > 0 {
		return m
	}
	return nil
}

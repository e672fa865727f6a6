package controller

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/policy"
)

// detector is one source of signals, with its vices.
type detector struct {
	name    string
	liar    bool // reports what is not so: other targets, other vectors, one number with two bodies
	doubles bool // sends things twice
	slow    bool // sends things late, and so in another order
	forgets bool // loses the ends
	dead    bool
}

// attack is what really happens: to whom, how, from when to when. It pulses if it has a pause.
type attack struct {
	name        string
	from, to    time.Duration
	beat, pause time.Duration // how long a pulse lasts, and the time between two; no pause: no pulses
	targets     []netip.Prefix
	shape       policy.Signal // vector, protocols, ports and rates
	views       []*view
}

// view is an attack as one detector sees it.
type view struct {
	of         *attack
	by         *detector
	id         string
	seq        uint64
	every      time.Duration
	confidence float64
	reported   bool // since its last end
}

// enliven sends attacks, operators, changes of documents and accidents into the world.
func (w *world) enliven() {
	r := w.r
	for i, name := range []string{"flowmon", "fastnet", "honeypot"} {
		w.detectors = append(w.detectors, &detector{
			name: name, liar: i == 2 || r.IntN(6) == 0, doubles: r.IntN(3) == 0, slow: r.IntN(3) == 0, forgets: r.IntN(4) == 0,
		})
	}
	for range 24 + r.IntN(40) {
		w.at(time.Duration(r.Int64N(int64(worldLength*3/4))), w.strike)
	}
	w.repeat(20*time.Minute, w.change)
	w.repeat(25*time.Minute, w.operate)
	w.repeat(40*time.Minute, w.loseLeaderIfAny)
	w.repeat(2*time.Hour, w.restrain)
	w.repeat(4*time.Minute, w.attend)
	w.repeat(50*time.Minute, w.holdBack)
	w.repeat(2*time.Hour, w.restartOne)
	w.repeat(90*time.Minute, w.die)
	w.repeat(3*time.Hour, func() { w.checks.failed = w.checks.replicas() })
}

// repeat lets something happen again and again, about as often as said.
func (w *world) repeat(every time.Duration, do func()) {
	w.after(every/8+time.Duration(w.r.Int64N(int64(every*2))), func() {
		if w.checks.failed == nil {
			do()
		}
		w.repeat(every, do)
	})
}

func (w *world) loseLeaderIfAny() {
	if w.leader != nil {
		w.note("the leader is lost")
		w.loseLeader()
	}
}

// holdBack keeps one replica from hearing of new entries for a while.
func (w *world) holdBack() {
	p := w.replicas[w.r.IntN(len(w.replicas))]
	if w.leader == nil || p == w.leader || p == w.shadow || p.holds {
		return
	}
	p.holds = true
	w.note("%s is held back", p.name)
	name := p.name
	w.after(time.Duration(w.r.Int64N(int64(20*time.Minute))), func() {
		for _, p := range w.replicas {
			if p.name == name {
				w.checks.keep(p.catchUp())
			}
		}
	})
}

func (w *world) restartOne() {
	p := w.replicas[w.r.IntN(len(w.replicas))]
	w.note("%s restarts", p.name)
	if p == w.leader || p == w.shadow {
		if w.leader == nil {
			return
		}
		w.loseLeader()
	}
	w.checks.keep(p.restart())
}

// die ends a detector, for an hour or for good: what it reported is never heard of again.
func (w *world) die() {
	d := pick(w.r, w.detectors...)
	if d.dead {
		return
	}
	d.dead = true
	w.note("detector %s dies", d.name)
	if w.r.IntN(4) > 0 {
		w.after(time.Hour, func() { d.dead = false })
	}
}

// strike begins an attack.
func (w *world) strike() {
	r := w.r
	if r.IntN(10) == 0 {
		w.barrage()
		return
	}
	a := w.begin()
	a.to = a.from + pick(r, 4*time.Minute, 20*time.Minute, time.Hour, 3*time.Hour, 6*time.Hour, 10*time.Hour)*time.Duration(2+r.IntN(3))/3
	if r.IntN(3) == 0 {
		a.beat, a.pause = time.Duration(1+r.IntN(8))*time.Minute, time.Duration(1+r.IntN(12))*time.Minute
		if a.to-a.from > time.Hour {
			a.beat, a.pause = 4*a.beat, 2*a.pause
		}
	}
	if r.IntN(8) == 0 {
		w.carpet(a)
	} else {
		w.aim(a)
	}
	w.dress(a)
	w.watch(a)
	if r.IntN(3) == 0 { // it moves, or becomes another, or smaller
		w.at(a.from+time.Duration(r.Int64N(int64(a.to-a.from))), func() {
			switch w.r.IntN(3) {
			case 0:
				w.aim(a)
			case 1:
				w.dress(a)
			default:
				w.shrink(a)
			}
			w.note("attack %s goes on against %v: %s", a.name, a.targets, a.shape.Vector)
		})
	}
}

// begin is an attack that has a name and no form yet.
func (w *world) begin() *attack {
	a := &attack{name: fmt.Sprint("a", len(w.attacks)), from: w.now}
	w.attacks = append(w.attacks, a)
	return a
}

// watch has the detectors see the attack, or some of them.
func (w *world) watch(a *attack) {
	r := w.r
	w.note("attack %s on %v: %s until %s, pulses of %s with pauses of %s", a.name, a.targets, a.shape.Vector, a.to, a.beat, a.pause)
	for i, d := range w.detectors {
		if i > 0 && r.IntN(3) > 0 {
			continue
		}
		v := &view{of: a, by: d, id: a.name, every: pick(r, 30*time.Second, time.Minute, 2*time.Minute, 5*time.Minute), confidence: pick(r, 0, 0.2, 0.6, 0.95)}
		if a.to-a.from > time.Hour && r.IntN(6) > 0 {
			v.every = pick(r, 3*time.Minute, 5*time.Minute, 10*time.Minute)
		}
		a.views = append(a.views, v)
		w.after(time.Duration(r.Int64N(int64(30*time.Second))), func() { w.look(v) })
	}
}

// aim chooses targets: mostly addresses of one customer.
func (w *world) aim(a *attack) {
	r := w.r
	a.targets = nil
	cs := w.land.customers()
	c := &policy.Customer{}
	if len(cs) > 0 {
		c = pick(r, cs...)
	}
	space := region(pick(r, flowspec.IPv4, flowspec.IPv6))
	if len(c.Official) > 0 {
		space = pick(r, c.Official...)
	}
	whole := space.Addr().BitLen() - space.Bits()
	for range pick(r, 1, 1, 1, 2, 5) {
		p := netip.PrefixFrom(addressIn(r, space), space.Addr().BitLen())
		if r.IntN(3) == 0 {
			p = narrower(r, space, whole/3, whole)
		}
		if !slices.Contains(a.targets, p) {
			a.targets = append(a.targets, p)
		}
	}
}

// dress chooses how the attack looks.
func (w *world) dress(a *attack) {
	r := w.r
	vs := policy.Vectors()
	s := policy.Signal{Vector: vs[r.IntN(len(vs))].Name, BitsPerSecond: pick(r, 1e7, 1e9, 4e10), PacketsPerSecond: pick(r, 1e3, 1e6)}
	if s.Vector == policy.VectorUnknown || s.Vector == policy.VectorCarpetBombing || r.IntN(10) == 0 { // else it is said, or contradicts
		s.Protocols = pick(r, []uint8{17}, []uint8{6}, []uint8{6, 17}, nil)
	}
	switch r.IntN(6) {
	case 0:
		if s.Vector != policy.VectorGREFlood && s.Vector != policy.VectorICMPFlood || r.IntN(4) == 0 {
			s.DestinationPorts = pick(r, []flowspec.Range{{Lo: 80, Hi: 80}, {Lo: 443, Hi: 443}}, []flowspec.Range{{Lo: uint64(r.IntN(1000)), Hi: 2000}})
		}
	case 1:
		s.PacketLengths = []flowspec.Range{{Lo: 60, Hi: uint64(100 + r.IntN(1400))}}
	}
	if r.IntN(8) == 0 {
		s.SourcePrefixes = []netip.Prefix{pick(r, pfx("203.0.113.0/24"), pfx("198.18.3.0/24"))}
		if !a.targets[0].Addr().Is4() {
			s.SourcePrefixes = []netip.Prefix{pick(r, pfx("2001:db8:f000::/40"), pfx("2001:db8::/50"))}
		}
	}
	a.shape = s
}

// beats reports whether the attack is felt at t.
func (a *attack) beats(t time.Duration) bool {
	return t < a.to && (a.pause == 0 || (t-a.from)%(a.beat+a.pause) < a.beat)
}

// look is a detector's look at an attack: it reports what it sees, and looks again later.
func (w *world) look(v *view) {
	on := v.of.beats(w.now)
	if v.by.dead {
		v.reported = v.reported && on // what it knew is lost with it
	} else {
		switch {
		case on && !v.reported:
			v.reported = true
			w.report(v, policy.SignalStart)
		case on:
			w.report(v, policy.SignalUpdate)
		case v.reported:
			v.reported = false
			if v.by.forgets && w.r.IntN(2) == 0 {
				w.note("%s loses the end of %s", v.by.name, v.id)
				break
			}
			w.report(v, policy.SignalEnd)
			if w.r.IntN(4) == 0 { // the next pulse is another attack to it
				v.id, v.seq = v.id+"'", 0
			}
		}
	}
	if w.now < v.of.to+time.Minute {
		next := v.every
		if v.of.pause > 0 {
			next = min(next, v.of.beat, v.of.pause)
		}
		w.after(next, func() { w.look(v) })
	}
}

// report sends a signal, as that detector sends signals.
func (w *world) report(v *view, k policy.SignalKind) {
	r := w.r
	v.seq++
	s := v.of.shape
	s.Source, s.AttackID, s.Seq, s.Kind, s.Confidence = v.by.name, v.id, v.seq, k, v.confidence
	s.Targets, s.DetectedAt = slices.Clone(v.of.targets), w.wall()
	if r.IntN(16) == 0 { // it sees more at times, or less, or another drill
		s.Targets = append(s.Targets, narrower(r, region(pick(r, flowspec.IPv4, flowspec.IPv6)), 8, 14))
	}
	if r.IntN(16) == 0 && len(s.Targets) > 1 {
		s.Targets = s.Targets[:1]
	}
	s.Drill = r.IntN(60) == 0
	if v.by.liar && r.IntN(5) == 0 {
		w.lie(&s)
	}
	delay := time.Duration(r.IntN(300)) * time.Millisecond
	if v.by.slow && r.IntN(6) == 0 {
		delay = time.Duration(r.Int64N(int64(4 * time.Minute)))
	}
	w.send(v.by, &s, delay)
	if v.by.doubles && r.IntN(6) == 0 {
		w.send(v.by, &s, delay+time.Duration(r.Int64N(int64(time.Minute))))
	}
}

// lie spoils a signal.
func (w *world) lie(s *policy.Signal) {
	r := w.r
	switch r.IntN(8) {
	case 0: // somebody else's, or nobody's
		s.Targets = []netip.Prefix{narrower(r, region(pick(r, flowspec.IPv4, flowspec.IPv6)), 0, 14)}
	case 1: // protected
		if p := pick(r, w.land.protected...); p.Bits() > 8 {
			s.Targets = []netip.Prefix{p}
		}
	case 2:
		s.Targets = []netip.Prefix{pick(r, pfx("0.0.0.0/0"), pfx("::/0"), pfx("198.18.0.0/15"), pfx("224.0.0.1/32"))}
	case 3: // a number that was used before
		s.Seq = max(1, s.Seq-1)
	case 4:
		s.Vector = "made_up"
	case 5:
		s.Protocols, s.SourcePorts = []uint8{6, 17, 1}, []flowspec.Range{{Lo: 7, Hi: 9}}
	case 6:
		s.Kind = policy.SignalEnd
	case 7: // another attack's name
		if len(w.attacks) > 0 {
			s.AttackID, s.Seq = pick(r, w.attacks...).name, uint64(1+r.IntN(1000))
		}
	}
}

func (w *world) send(by *detector, s *policy.Signal, delay time.Duration) {
	l := letter{from: by, sig: *s}
	w.after(delay, func() {
		if w.leader == nil { // nobody takes it: it is sent again, mostly
			w.resend(l)
			return
		}
		w.mail = append(w.mail, l)
	})
}

// operate is what an operator does now and then.
func (w *world) operate() {
	r := w.r
	m := w.anyActive()
	switch n := r.IntN(12); {
	case n < 5 || m == nil:
		a := &attack{}
		w.aim(a)
		order := &policy.StartRequest{Targets: a.targets, Action: w.action(), Lifetime: w.lifetime(), Match: w.match(a.targets[0])}
		if r.IntN(4) == 0 {
			order.Action, order.Match = policy.Action{Kind: policy.RTBH}, flowspec.Match{}
		}
		if r.IntN(4) == 0 {
			order.Groups = []string{pick(r, "edge", "transit")}
		}
		order.BreakGlass = r.IntN(6) == 0
		if m != nil && r.IntN(3) == 0 { // where something else is in its way
			order.Targets = slices.Clone(m.Targets)
			if order.Match.Family = familyOf(m.Targets[0]); len(order.Match.Components) == 0 {
				order.Match = flowspec.Match{}
			}
		}
		if w.last != nil && r.IntN(3) == 0 { // the same again
			order = w.last
		}
		w.last = order
		w.ask(pick(r, people()...), order)
	case n < 8:
		w.ask(operator, &policy.WithdrawRequest{ID: m.ID})
	case n < 11:
		w.ask(pick(r, people()...), &policy.ExtendRequest{ID: m.ID, Lifetime: pick(r, 10*time.Second, 10*time.Minute, 2*time.Hour)})
	case r.IntN(4) > 0:
		w.ask(pick(r, people()...), &policy.WithdrawAllRequest{Customer: m.Customer, BreakGlass: r.IntN(4) == 0})
	default:
		w.ask(pick(r, people()...), &policy.WithdrawAllRequest{Freeze: r.IntN(2) == 0, FreezeFor: 10 * time.Minute})
	}
}

func familyOf(p netip.Prefix) flowspec.Family {
	if p.Addr().Is4() {
		return flowspec.IPv4
	}
	return flowspec.IPv6
}

func (w *world) match(p netip.Prefix) flowspec.Match {
	f := familyOf(p)
	m := flowspec.Match{Family: f}
	switch w.r.IntN(4) {
	case 0:
		m.Components = []flowspec.Component{flowspec.Proto(17)}
	case 1:
		m.Components = []flowspec.Component{flowspec.Proto(17), flowspec.Ports(flowspec.SourcePort, flowspec.One(53))}
	case 2:
		m.Components = []flowspec.Component{flowspec.Proto(6)}
	default:
		return flowspec.Match{}
	}
	return m
}

package controller

import (
	"bytes"
	"container/heap"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/policy"
)

// world is a network under attack, in virtual time: an inventory, attacks, detectors, operators, and a cluster of three
// replicas whose leader decides with the decider's own code. Nothing in it is concurrent and chance comes from one
// source, so a seed is a world. Raft and the wire are left out: an entry is committed when the world says so.
//
// After every step the checkers (world_check_test.go) look at what is announced. What they compare with is the world's
// own: land holds the documents, book what was asked for and answered.
type world struct {
	r       *rand.Rand
	now     time.Duration // since the world began; every replica's elapsed clock reads this
	steps   int
	pending agenda
	order   int // of events of one instant

	packer   *packer
	replicas []*replica
	leader   *replica // nil: nobody leads
	shadow   *replica // decides the same from its own State, and must come to the same
	wakeAt   time.Duration
	term     uint64
	drifted  time.Duration // how far the time of the log is behind the true time; below 0: ahead of it

	mail     []letter // signals on their way to the leader
	orders   []*write
	requests int // ids given to writes
	last     *policy.StartRequest

	land      *land
	detectors []*detector
	attacks   []*attack
	book      *book
	checks    *checks
	fault     faults

	trace []string
	count map[string]int
	hours time.Duration // of attacks
}

// worldLength is how long a world lasts, attacks included.
const worldLength = 12 * time.Hour

// The slack that the checks leave: what is due may come a tick of the leader later, and a tick is what the world
// makes of the second that a leader waits between two looks at what is still reported.
const (
	worldTick  = 10 * time.Second
	worldSlack = worldTick + 2*time.Second
	// worldAway is the longest time for which nobody leads.
	worldAway = 10 * time.Minute
	// worldLease is how long a node announces without having heard of a leader.
	worldLease = 30 * time.Minute
)

func worldEpoch() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

// replica is one node: its FSM, its decider while it leads or shadows the leader, and what its speaker was told last.
type replica struct {
	w       *world
	name    string
	fsm     *fsm
	tracker *tracker
	rec     *reconciler
	decider *decider
	session *session      // nil unless it leads or shadows
	skew    time.Duration // of its wall clock
	behind  []raft.Log    // entries that it has not applied yet
	holds   bool          // it is held back
	wire    wanted.Set
	// restarted: its process knows deadlines from the log only, whose time was behind the true time by up to drifted since.
	restarted bool
	drifted   time.Duration
}

// faults are what a test breaks in a world, to see that it is noticed. The zero value breaks nothing.
type faults struct {
	entry  func(*envelope) bool // changes an entry before it is committed; false: leaves it
	one    func(*envelope) bool // the same, for one replica only
	set    func(*wanted.Set)    // changes what the State says is wanted
	wire   func(*replica)       // changes what a node announces
	signal func(*policy.Signal) // changes a signal on its way
	only   string               // the invariant that is to notice: the others are looked at and not heeded
}

// heeds reports whether an error ends the world.
func (f *faults) heeds(err error) bool { return err != nil && (f.only == "" || breaks(err, f.only)) }

// letter is a signal on its way.
type letter struct {
	from *detector
	sig  policy.Signal
	back *report
	twin *report
}

// worldEvent is something that happens at a time.
type worldEvent struct {
	at    time.Duration
	order int
	do    func()
}

type agenda []worldEvent

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].order < a[j].order
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(e any)   { *a = append(*a, e.(worldEvent)) }
func (a *agenda) Pop() any {
	old := *a
	e := old[len(old)-1]
	*a = old[:len(old)-1]
	return e
}

// brokenError is an invariant that does not hold.
type brokenError struct {
	invariant string
	text      string
}

func (e *brokenError) Error() string { return e.invariant + ": " + e.text }

// breaks reports whether err says that an invariant does not hold.
func breaks(err error, invariant string) bool {
	if joined, ok := err.(interface{ Unwrap() []error }); ok { // errors.As stops at the first of them
		return slices.ContainsFunc(joined.Unwrap(), func(e error) bool { return breaks(e, invariant) })
	}
	var b *brokenError
	return errors.As(err, &b) && b.invariant == invariant
}

// broken returns the error of an invariant that does not hold.
func broken(invariant, format string, args ...any) error {
	return &brokenError{invariant, fmt.Sprintf(format, args...)}
}

// newWorld builds the world of a source of chance.
func newWorld(src rand.Source, fault faults) (*world, error) {
	p, err := newPacker()
	if err != nil {
		return nil, err
	}
	w := &world{fault: fault, r: rand.New(src), packer: p, count: map[string]int{}, land: newLand(), book: newBook()}
	w.checks = newChecks(w)
	for i := range 3 {
		w.replicas = append(w.replicas, w.newReplica(fmt.Sprint("n", i+1)))
	}
	w.elect(w.replicas[0])
	if err := w.settle(); err != nil {
		return w, err
	}
	w.populate()
	return w, nil
}

func (w *world) newReplica(name string) *replica {
	log := slog.New(slog.DiscardHandler)
	p := &replica{w: w, name: name, skew: time.Duration(w.r.IntN(240)-120) * time.Second}
	elapsed := func() wanted.Instant { return wanted.Instant(w.now) }
	p.tracker = &tracker{elapsed: elapsed, lease: worldLease, live: func(uint64, policy.Index) bool { return !p.holds }}
	p.fsm = newFSM(log, w.packer, p.tracker.applied)
	p.rec = &reconciler{log: log, fsm: p.fsm, tracker: p.tracker, elapsed: elapsed, deadlines: map[policy.MitigationID]deadline{}}
	p.decider = &decider{
		log: log, fsm: p.fsm, tracker: p.tracker, packer: w.packer, elapsed: elapsed, leaseEvery: 10 * time.Minute, member: "node/leader",
		now: func() time.Time { return worldEpoch().Add(w.now + p.skew) },
	}
	return p
}

// restart loses what the process of a replica knew: its State comes from a snapshot, or from the log.
func (p *replica) restart() error {
	fresh := p.w.newReplica(p.name)
	var snap bytes.Buffer
	if err := writeSnapshot(&snap, p.state()); err != nil {
		return err
	}
	if err := fresh.fsm.Restore(io.NopCloser(&snap)); err != nil {
		return err
	}
	fresh.behind, fresh.holds, fresh.restarted, fresh.drifted = p.behind, p.holds, true, p.w.drifted
	fresh.wire = p.wire // the speaker's own file
	i := slices.Index(p.w.replicas, p)
	p.w.replicas[i] = fresh
	return nil
}

func (p *replica) state() *policy.State { return p.fsm.state.Load() }

// apply carries out a committed entry, or keeps it for later.
func (p *replica) apply(l raft.Log) error {
	if p.holds {
		p.behind = append(p.behind, l)
		return nil
	}
	if res, ok := p.fsm.Apply(&l).(applyResult); !ok || res.err != nil || res.conflict {
		return broken("log is applied", "%s: entry %d: conflict %v, error %v", p.name, l.Index, res.conflict, res.err)
	}
	p.speak()
	return nil
}

// speak tells the speaker what is to be announced, as the reconciler does when it wakes.
func (p *replica) speak() {
	if last := p.tracker.last(); last.caughtUp() {
		p.wire, _ = p.rec.wanted(p.state(), last)
		if p.w.fault.wire != nil {
			p.w.fault.wire(p)
		}
	}
}

// catchUp brings a replica that was held back level with the others. It knows of a live leader with the next entry, which
// a leader that hears of it makes at once: a lease.
func (p *replica) catchUp() error {
	behind := p.behind
	p.behind = nil
	for _, l := range behind {
		if res, ok := p.fsm.Apply(&l).(applyResult); !ok || res.err != nil || res.conflict {
			return broken("log is applied", "%s: entry %d: conflict %v, error %v", p.name, l.Index, res.conflict, res.err)
		}
		p.speak()
	}
	p.holds = false
	for _, o := range p.w.replicas {
		if o.session != nil {
			o.session.leaseAt = minTime(o.session.leaseAt, o.session.entryTime())
		}
	}
	p.w.wakeAt = p.w.now
	return nil
}

// at plans an event.
func (w *world) at(t time.Duration, do func()) {
	w.order++
	heap.Push(&w.pending, worldEvent{max(t, w.now), w.order, do})
}

func (w *world) after(d time.Duration, do func()) { w.at(w.now+d, do) }

// wall is the true time.
func (w *world) wall() time.Time { return worldEpoch().Add(w.now) }

// logTime is the time in terms of the log.
func (w *world) logTime() time.Time {
	if w.leader != nil {
		return w.leader.session.entryTime()
	}
	return w.newest().At()
}

// newest is the State that all committed entries lead to.
func (w *world) newest() *policy.State {
	best := w.replicas[0]
	for _, p := range w.replicas {
		if p.state().Index() > best.state().Index() {
			best = p
		}
	}
	return best.state()
}

// note writes a line of the trace, of which the last ones are kept.
func (w *world) note(format string, args ...any) {
	if len(w.trace) >= 4000 {
		w.trace = slices.Delete(w.trace, 0, 2000)
	}
	w.trace = append(w.trace, fmt.Sprintf("%5d %9s  ", w.steps, w.now.Truncate(time.Millisecond))+fmt.Sprintf(format, args...))
}

// elect makes p the leader, and another level replica its shadow.
func (w *world) elect(p *replica) {
	w.term++
	w.leader = p
	p.session = p.decider.begin()
	w.book.newTerm(w)
	for _, o := range w.replicas {
		if o == p || o.holds {
			continue
		}
		w.shadow = o
		o.session = &session{decider: o.decider, anchor: p.session.anchor, start: p.session.start, memory: newMemory(), leaseAt: p.session.leaseAt}
		break
	}
	w.wakeAt, w.drifted = w.now, w.wall().Sub(w.logTime())
	for _, o := range w.replicas {
		if o.restarted {
			o.drifted = max(o.drifted, w.drifted)
		}
	}
	w.note("%s leads, its time is %s behind", p.name, w.drifted.Truncate(time.Second))
}

// depose leaves the cluster without a leader.
func (w *world) depose() {
	for _, p := range w.replicas {
		p.session = nil
	}
	w.leader, w.shadow = nil, nil
}

// run lets the world pass until its end, or until so many steps are taken.
func (w *world) run(steps int) error {
	for w.steps < steps || steps == 0 {
		next := worldLength
		if len(w.pending) > 0 {
			next = min(next, w.pending[0].at)
		}
		if w.leader != nil {
			next = min(next, max(w.wakeAt, w.now))
		}
		if next >= worldLength {
			return w.finish()
		}
		w.now = next
		w.steps++
		for len(w.pending) > 0 && w.pending[0].at <= w.now {
			e, _ := heap.Pop(&w.pending).(worldEvent)
			e.do()
		}
		if err := w.settle(); err != nil {
			return err
		}
	}
	return nil
}

// finish counts the hours under attack. Attacks that outlast the world count as long as it lasts.
func (w *world) finish() error {
	for _, a := range w.attacks {
		w.hours += max(0, min(a.to, worldLength)-a.from)
	}
	w.now = worldLength
	return w.checks.replicas()
}

// settle lets the leader decide all that waits, and then checks everything.
func (w *world) settle() error {
	before := w.newest().Index()
	for w.leader != nil {
		again, err := w.round()
		if err != nil {
			return err
		}
		if !again {
			break
		}
	}
	if w.leader != nil {
		w.wakeAt = w.now + max(min(w.leader.session.untilDue(), time.Hour), time.Millisecond)
		if mem := w.leader.session.memory; len(mem.reported)+len(mem.watched) > 0 { // it would look every second
			w.wakeAt = max(w.wakeAt, min(w.now+worldTick, w.dueAt()))
		}
	}
	return w.checks.step(w.newest().Index() != before)
}

// dueAt is when the leader has something to end.
func (w *world) dueAt() time.Duration {
	t, ok := w.leader.state().NextDue()
	if !ok {
		return worldLength
	}
	return w.now + max(t.Sub(w.leader.session.entryTime()), time.Millisecond)
}

// round is one round of the decider (see session.round), with a commit that the world decides about. It reports whether
// work is left.
func (w *world) round() (again bool, err error) {
	lead, twin := w.leader.session, w.shadow
	w.post()
	b, nw, nr := decideRound(lead)
	var tb *batch
	if twin != nil {
		tb, _, _ = decideRound(twin.session)
	}
	w.count["decisions"] += len(b.reports) + len(b.writes)
	if len(b.items) > 0 {
		if err := w.commit(b, tb); err != nil {
			return false, err
		}
		if w.leader == nil { // lost on the way
			return false, nil
		}
	}
	b.answer(lead.fsm.state.Load())
	conclude(lead, nw, nr)
	if twin != nil {
		tb.answer(twin.state())
		conclude(twin.session, nw, nr)
		if err := w.checks.sameAnswers(b, tb); w.fault.heeds(err) {
			return false, err
		}
	}
	if err := w.answered(b); err != nil {
		return false, err
	}
	return len(lead.writes)+len(lead.reports) > 0, nil
}

// decideRound is the part of session.round that builds the batch.
func decideRound(s *session) (b *batch, writes, reports int) {
	now, st := s.entryTime(), s.fsm.state.Load()
	b = newBatch(s.log, s.packer, st, now, s.memory)
	for _, cmd := range s.own(st, now) {
		if err := b.own(cmd); err != nil {
			break
		}
	}
	writes, reports = s.fill(b)
	return b, writes, reports
}

// conclude is the part of session.round that follows the commit.
func conclude(s *session, writes, reports int) {
	if s.fsm.state.Load().LeaseAt().Equal(s.entryTime()) {
		s.leaseAt = s.entryTime().Add(s.leaseEvery)
	}
	s.writes, s.reports = s.writes[writes:], s.reports[reports:]
}

// post hands what has arrived to the leader, and the same to its shadow.
func (w *world) post() {
	for i := range w.mail {
		l := &w.mail[i]
		if l.back != nil {
			continue
		}
		by := policy.Principal("detector/" + l.sig.Source)
		one := func() *report {
			sig := l.sig
			if w.fault.signal != nil {
				w.fault.signal(&sig)
			}
			return &report{by: by, signals: []policy.Signal{sig}, verdicts: make([]policy.Verdict, 1), done: make(chan struct{})}
		}
		l.back = one()
		w.leader.session.reports = append(w.leader.session.reports, l.back)
		if w.shadow != nil {
			l.twin = one()
			w.shadow.session.reports = append(w.shadow.session.reports, l.twin)
		}
	}
	for _, o := range w.orders {
		w.leader.session.writes = append(w.leader.session.writes, o)
		if w.shadow != nil {
			w.shadow.session.writes = append(w.shadow.session.writes, &write{cmd: o.cmd, digest: o.digest, done: make(chan struct{})})
		}
	}
	w.orders = nil
}

// commit brings a batch into the log of all replicas, or loses it with its leader.
func (w *world) commit(b, tb *batch) error {
	data, err := w.packer.pack(b.base.Index(), b.at, b.items)
	if err != nil {
		return broken("entries can be written", "%v", err)
	}
	if tb != nil {
		other, err := w.packer.pack(tb.base.Index(), tb.at, tb.items)
		if err != nil || !bytes.Equal(data, other) {
			err = broken("same input, same decision", "another replica decides otherwise on the same State and the same requests (error: %v)\n%s\n%s",
				err, w.tell(data), w.tell(other))
			if w.fault.heeds(err) {
				return err
			}
		}
	}
	if data, err = w.spoil(data, w.fault.entry); err != nil {
		return err
	}
	fate := w.r.IntN(400)
	if fate == 0 {
		w.note("the leader is lost, the entry with it")
		w.loseLeader()
		return nil
	}
	w.count["entries"]++
	l := raft.Log{Index: uint64(b.base.Index()) + 1 + uint64(w.r.IntN(2)), Term: w.term, Data: data}
	for _, p := range w.replicas {
		l := l
		if p == w.shadow {
			if l.Data, err = w.spoil(data, w.fault.one); err != nil {
				return err
			}
		}
		if err := p.apply(l); err != nil {
			return err
		}
	}
	if fate == 1 {
		w.note("the entry is committed and the leader lost before it could answer")
		unheard := slices.Clone(w.mail)
		if err := w.answered(b); err != nil { // what is true although nobody heard it
			return err
		}
		w.mail = unheard
		w.loseLeader()
	}
	return nil
}

// spoil lets a planted fault change an entry. One without any change is made a lease.
func (w *world) spoil(data []byte, fault func(*envelope) bool) ([]byte, error) {
	if fault == nil {
		return data, nil
	}
	env, err := w.packer.unpack(data)
	if err != nil || !fault(&env) {
		return data, err
	}
	var items [][]byte
	for _, it := range env.items {
		if len(it.changes) == 0 {
			it.changes = []policy.Change{&policy.PutLease{}}
		}
		b, err := packItem(it)
		if err != nil {
			return nil, err
		}
		items = append(items, b)
	}
	return w.packer.pack(env.base, env.at, items)
}

// tell is an entry in words.
func (w *world) tell(data []byte) string {
	env, err := w.packer.unpack(data)
	if err != nil {
		return err.Error()
	}
	var out strings.Builder
	for _, it := range env.items {
		fmt.Fprintf(&out, "  %s: %s:", it.by, it.reason)
		for _, c := range it.changes {
			switch c := c.(type) {
			case *policy.PutMitigation:
				fmt.Fprintf(&out, " put M%d", c.Mitigation.ID)
			case *policy.EndMitigation:
				fmt.Fprintf(&out, " end M%d", c.ID)
			default:
				fmt.Fprintf(&out, " %T", c)
			}
		}
		out.WriteByte('\n')
	}
	return out.String()
}

// loseLeader: whoever waits for an answer is told to ask again, and most do.
func (w *world) loseLeader() {
	for _, l := range w.mail {
		w.resend(l)
	}
	w.mail = nil
	away := time.Duration(w.r.Int64N(int64(worldAway)))
	if w.r.IntN(4) > 0 {
		away = time.Duration(w.r.Int64N(int64(5 * time.Second)))
	}
	w.depose()
	w.after(away, w.succeed)
}

// succeed makes somebody the leader.
func (w *world) succeed() {
	if w.leader != nil {
		return
	}
	p := w.replicas[w.r.IntN(len(w.replicas))]
	for _, o := range w.replicas { // a quorum is level, and the leader is one of it
		if o != p && len(o.behind) > 0 && w.r.IntN(2) == 0 {
			continue
		}
		if err := o.catchUp(); err != nil {
			w.checks.failed = errors.Join(w.checks.failed, err)
		}
	}
	w.elect(p)
}

func (w *world) resend(l letter) {
	if w.r.IntN(8) == 0 {
		return
	}
	again := letter{from: l.from, sig: l.sig}
	w.after(time.Duration(1+w.r.IntN(5))*time.Second, func() { w.mail = append(w.mail, again) })
}

// answered takes note of what a batch answered.
func (w *world) answered(b *batch) error {
	for _, o := range b.writes {
		v := o.out.Decision.Verdict
		w.count[string(v.Reason.Code)]++
		w.note("%s %s: %s", o.cmd.By, strings.TrimPrefix(fmt.Sprintf("%T", o.cmd.Request), "*policy."), v.Reason.Text)
		if err := w.book.done(w, o); w.fault.heeds(err) {
			return err
		}
	}
	rest := w.mail[:0]
	for _, l := range w.mail {
		if l.back == nil || l.back.next < len(l.back.signals) && !slices.ContainsFunc(b.reports, func(r reported) bool { return r.report == l.back && r.upTo == 1 }) {
			rest = append(rest, l)
			continue
		}
		v := l.back.verdicts[0]
		w.count[string(v.Reason.Code)]++
		if v.Reason.Code != policy.CodeRepetition || v.Kind != policy.Merged {
			w.note("%s %q #%d %s %v %s: %s", l.sig.Source, l.sig.AttackID, l.sig.Seq, signalWord(l.sig.Kind), l.sig.Targets, l.sig.Vector, v.Reason.Text)
		}
		if err := w.book.answered(w, &l.sig, v); w.fault.heeds(err) {
			return err
		}
	}
	w.mail = rest
	return nil
}

func signalWord(k policy.SignalKind) string {
	return map[policy.SignalKind]string{policy.SignalStart: "start", policy.SignalUpdate: "update", policy.SignalEnd: "end"}[k]
}

// ask sends a write to whoever leads; without a leader the caller is told so, and gives up.
func (w *world) ask(by policy.Principal, r policy.Request) *write {
	if w.leader == nil {
		return nil
	}
	w.requests++
	o := &write{cmd: Command{By: by, Reason: "the world wants it", Request: r}, done: make(chan struct{})}
	if w.r.IntN(3) == 0 {
		o.cmd.RequestID = policy.RequestID(fmt.Sprint("r", w.requests))
		o.digest, _ = requestDigest(r)
	}
	w.orders = append(w.orders, o)
	return o
}

// decided asks at once: the order is decided with what else waits.
func (w *world) decided(by policy.Principal, r policy.Request) (policy.Decision, bool) {
	o := w.ask(by, r)
	if o == nil {
		return policy.Decision{}, false
	}
	if err := w.settle(); err != nil {
		w.checks.failed = errors.Join(w.checks.failed, err)
		return policy.Decision{}, false
	}
	return o.out.Decision, true
}

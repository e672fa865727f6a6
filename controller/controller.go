// Package controller owns raft: the log store, the one decider on the leader, the FSM that obeys the log, the codec
// of log entries and snapshots, the reconciler that keeps this node's speaker at the replicated state, membership
// and reads. It judges nothing itself (package policy does) and speaks to no router (package bgp does). Package api
// calls it.
package controller

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/sync/errgroup"

	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/policy"
)

// Command is one write.
type Command struct {
	By        policy.Principal
	Reason    string
	RequestID policy.RequestID // empty: a repetition is not recognised
	Request   policy.Request
}

// Outcome is the answer to a write that was decided.
type Outcome struct {
	Decision policy.Decision
	Index    policy.Index // of the entry that carries the decision; of the state it was judged on if there is none
	Repeated bool         // done earlier under the same request id; Decision holds the verdict and the mitigations
}

// Status is where a node stands.
type Status struct {
	NodeID             string
	Term               uint64
	Leader             bool // this node leads, and has caught up with what was decided before its term
	Voter              bool
	AppliedIndex       policy.Index
	CommitIndex        policy.Index
	SinceLeaderContact time.Duration // 0 on the leader; negative: never
	LeaseRemaining     time.Duration // 0: the speaker announces nothing
	Serving            bool
	StoppedBecause     string // when not serving: why
	Detail             string // what an operator should mend although the node serves; empty: nothing
	CaughtUp           bool   // this process has been level with a live leader; the speaker is fed from then on
	Started            time.Time
}

// Controller is one node. All its methods may be called from any goroutine, before, during and after Run.
type Controller struct {
	cfg     Config
	deps    Deps
	log     *slog.Logger
	self    Member
	started time.Time

	fsm     *fsm
	tracker *tracker
	queue   *queue
	metrics *metrics
	packer  *packer
	closers []io.Closer // in order of opening
	stores  Stores

	witness atomic.Pointer[witness] // there before raft runs
	running atomic.Pointer[running]
	detail  atomic.Pointer[string] // see Status.Detail; nil: empty
	close   sync.Once
}

// running is what exists from the moment raft runs.
type running struct {
	raft     *raft.Raft
	witness  *witness
	decider  *decider
	watchdog *watchdog
	once     sync.Once
	ended    raft.Future
}

// stop shuts raft down. Only the first future that raft hands out for that really waits.
func (r *running) stop() raft.Future {
	r.once.Do(func() { r.ended = r.raft.Shutdown() })
	return r.ended
}

// New opens what the node needs on disk, and takes the lock of its data directory: ErrLocked says that another process
// has it. Nothing runs before Run. Whoever does not call Run calls Close.
func New(cfg Config, deps Deps) (*Controller, error) {
	cfg = cfg.withDefaults()
	if err := errors.Join(cfg.validate(), deps.validate(len(cfg.Members))); err != nil {
		return nil, err
	}
	if deps.Logger == nil {
		deps.Logger = slog.New(slog.DiscardHandler)
	}
	if deps.Secret == nil {
		deps.Secret = func(string) (string, bool) { return "", false }
	}
	p, err := newPacker()
	if err != nil {
		return nil, err
	}
	c := &Controller{
		cfg: cfg, deps: deps, log: deps.Logger, started: deps.Now(), packer: p,
		queue: newQueue(cfg.QueueLength), metrics: newMetrics(),
	}
	c.self, _ = cfg.self() // validated above
	c.tracker = &tracker{elapsed: deps.Elapsed, lease: cfg.Lease, live: c.live}
	c.fsm = newFSM(c.log, p, func(term uint64, s *policy.State) {
		c.tellBreakGlass(c.fsm.state.Load(), s)
		c.tracker.applied(term, s)
	})
	if err := c.open(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	if deps.Registerer != nil {
		if err := c.metrics.register(deps.Registerer, c); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

func (c *Controller) open() error {
	if c.deps.Stores != nil {
		c.stores = *c.deps.Stores
		return nil
	}
	lock, err := lockDir(c.cfg.DataDir)
	if err != nil {
		return err
	}
	c.closers = append(c.closers, lock)
	store, err := OpenFileStore(filepath.Join(c.cfg.DataDir, "raft.db"))
	if err != nil {
		return err
	}
	c.closers = append(c.closers, store)
	snaps, err := raft.NewFileSnapshotStoreWithLogger(c.cfg.DataDir, 2, newRaftLog(c.log, c.deps.Elapsed))
	if err != nil {
		return fmt.Errorf("cannot open snapshots in %q: %w", c.cfg.DataDir, err)
	}
	c.stores = Stores{Log: store, Stable: store, Snapshots: snaps}
	return nil
}

// Close gives back what New opened. Run does it at its end.
func (c *Controller) Close() error {
	var err error
	c.close.Do(func() {
		for i := len(c.closers) - 1; i >= 0; i-- {
			if e := c.closers[i].Close(); e != nil && !errors.Is(e, os.ErrClosed) {
				err = errors.Join(err, e)
			}
		}
	})
	return err
}

// Run takes part in the cluster until ctx ends, or until this node cannot go on. When the log holds something that
// this node does not understand, Run does not end: the node leaves the cluster and goes on announcing to the lifetime
// of each rule or to the end of the lease, and Status tells why.
//
// With ErrStalled the disk of a leader hangs, and whatever still waits for it is left behind: the process must end.
func (c *Controller) Run(ctx context.Context) (err error) {
	defer func() {
		if !errors.Is(err, ErrStalled) {
			err = errors.Join(err, c.Close())
		}
	}()
	if err := c.fsm.warmUp(c.stores.Log, c.stores.Snapshots); err != nil {
		return err
	}
	r, err := c.start()
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	decided := make(chan struct{})
	g.Go(func() error {
		defer close(decided)
		return r.decider.run(gctx)
	})
	g.Go(func() error { return r.watchdog.run(gctx) })
	g.Go(func() error {
		rec := &reconciler{
			log: c.log, fsm: c.fsm, tracker: c.tracker, speaker: c.deps.Speaker, elapsed: c.deps.Elapsed,
			secret: c.deps.Secret, deadlines: make(map[policy.MitigationID]deadline),
		}
		rec.run(gctx)
		return nil
	})
	g.Go(func() error {
		select {
		case <-c.fsm.stopped: // raft must not run past what the FSM could not apply
			r.stop()
			<-gctx.Done()
		case <-gctx.Done():
		}
		return nil
	})
	<-gctx.Done()
	<-decided // what is in flight is answered first
	limit := stallTimeout
	if errors.Is(context.Cause(gctx), ErrStalled) { // raft would not answer
		r.witness.cut()
		limit = stalledShutdown
	} else {
		c.leave(r)
	}
	err = g.Wait()
	c.queue.stop(ErrStopped)
	return errors.Join(err, c.shutdown(r, limit))
}

// start starts raft.
func (c *Controller) start() (*running, error) {
	w := newWitness(c.transport())
	c.witness.Store(w) // raft may apply entries before NewRaft returns
	conf := c.raftConfig()
	has, err := raft.HasExistingState(c.stores.Log, c.stores.Stable, c.stores.Snapshots)
	if err == nil && !has {
		// Every member bootstraps with the same list: they cannot differ about the first entry.
		err = raft.BootstrapCluster(conf, c.stores.Log, c.stores.Stable, c.stores.Snapshots, w, c.configuration())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot begin as a member of the cluster: %w", err), w.Close())
	}
	r := &running{witness: w}
	d := newDisk(c.stores, c.deps.Elapsed)
	r.raft, err = raft.NewRaft(conf, c.fsm, d, d, c.stores.Snapshots, w)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot start raft: %w", err), w.Close())
	}
	if has {
		if err := c.compareMembers(r.raft); err != nil {
			return nil, errors.Join(err, r.stop().Error(), w.Close())
		}
	}
	resumed := make(chan raft.Observation, 16)
	r.raft.RegisterObserver(raft.NewObserver(resumed, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.ResumedHeartbeatObservation)
		return ok
	}))
	r.watchdog = &watchdog{
		log: c.log, disk: d, leads: func() bool { return r.raft.State() == raft.Leader }, cut: w.cut, stalled: make(chan struct{}),
	}
	r.decider = &decider{
		log: c.log, raft: r.raft, fsm: c.fsm, tracker: c.tracker, queue: c.queue, packer: c.packer, metrics: c.metrics,
		elapsed: c.deps.Elapsed, now: c.deps.Now, leaseEvery: c.cfg.LeaseEvery,
		member: policy.Principal("member/" + c.cfg.NodeID), notLeader: c.notLeader, resumed: resumed,
		stalled: r.watchdog.stalled,
	}
	c.running.Store(r)
	return r, nil
}

func (c *Controller) transport() Transport {
	if c.deps.Transport != nil {
		return c.deps.Transport
	}
	if c.deps.Streams == nil { // a single node
		_, t := raft.NewInmemTransport(raft.ServerAddress(c.self.RaftAddress))
		return t
	}
	return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: streamLayer{c.deps.Streams}, MaxPool: 3, Timeout: 10 * time.Second, Logger: newRaftLog(c.log, c.deps.Elapsed),
		MaxRPCsInFlight: 1, // see witness.AppendEntriesPipeline
	})
}

func (c *Controller) raftConfig() *raft.Config {
	conf := raft.DefaultConfig()
	conf.LocalID = raft.ServerID(c.cfg.NodeID)
	conf.HeartbeatTimeout = c.cfg.Timing.Heartbeat
	conf.ElectionTimeout = c.cfg.Timing.Election
	conf.LeaderLeaseTimeout = c.cfg.Timing.LeaderLease
	conf.CommitTimeout = c.cfg.Timing.CommitTimeout
	conf.SnapshotThreshold = c.cfg.SnapshotEvery
	conf.Logger = newRaftLog(c.log, c.deps.Elapsed)
	conf.RestoreCommittedLogs = true     // so that the commit index is stored; see warmUp
	conf.NoSnapshotRestoreOnStart = true // warmUp has done it
	conf.PreVoteDisabled = false         // a node that was cut off must not depose the leader when it is back
	conf.NoLegacyTelemetry = true
	conf.ShutdownOnRemove = false
	return conf
}

func (c *Controller) configuration() raft.Configuration {
	var conf raft.Configuration
	for _, m := range c.cfg.Members {
		conf.Servers = append(conf.Servers, raft.Server{
			Suffrage: raft.Voter, ID: raft.ServerID(m.ID), Address: raft.ServerAddress(m.RaftAddress),
		})
	}
	return conf
}

// transferTimeout bounds how long a leader that stops tries to hand over first.
const transferTimeout = time.Second

// leave hands leadership over, so that the others need not miss this node first.
func (c *Controller) leave(r *running) {
	if r.raft.State() != raft.Leader || len(c.cfg.Members) < 2 {
		return
	}
	done := make(chan error, 1)
	f := r.raft.LeadershipTransfer()
	go func() { done <- f.Error() }() // ends when raft is shut down, at the latest
	t := time.NewTimer(transferTimeout)
	defer t.Stop()
	select {
	case err := <-done:
		if err != nil {
			c.log.Warn("could not hand leadership over", "error", err)
		}
	case <-t.C:
		c.log.Warn("could not hand leadership over in time")
	}
}

// shutdown ends raft. With a hung disk that never ends, and the process must.
func (c *Controller) shutdown(r *running, limit time.Duration) error {
	done := make(chan error, 1)
	go func() { done <- r.stop().Error() }()
	t := time.NewTimer(limit)
	defer t.Stop()
	var err error
	select {
	case err = <-done:
	case <-t.C:
		err = ErrStalled
	}
	return errors.Join(err, r.witness.Close())
}

// live reports whether the entry is the newest one that a live leader has committed.
func (c *Controller) live(term uint64, index policy.Index) bool {
	if r := c.running.Load(); r != nil && r.raft.State() == raft.Leader {
		return r.raft.CurrentTerm() == term
	}
	w := c.witness.Load()
	return w != nil && w.newest(term, index)
}

// leading returns the term in which this node decides; 0: it does not.
func (c *Controller) leading() uint64 {
	if r := c.running.Load(); r != nil {
		return r.decider.term.Load()
	}
	return 0
}

// State returns the latest state that this node has applied. It never changes.
func (c *Controller) State() *policy.State { return c.fsm.state.Load() }

// Updated returns a channel that is closed when a newer State than the one at the time of the call is there.
func (c *Controller) Updated() <-chan struct{} { return c.fsm.watch() }

// Leader returns the member that leads, as far as this node knows.
func (c *Controller) Leader() (m Member, self, known bool) {
	r := c.running.Load()
	if r == nil {
		return Member{}, false, false
	}
	_, id := r.raft.LeaderWithID()
	for _, m := range c.cfg.Members {
		if m.ID == string(id) {
			return m, m.ID == c.cfg.NodeID, true
		}
	}
	return Member{}, false, false
}

func (c *Controller) notLeader() error {
	if err := c.fsm.stoppedBy(); err != nil {
		return fmt.Errorf("%w: %w", ErrStopped, err)
	}
	m, self, known := c.Leader()
	return &NotLeaderError{Leader: m, Known: known && !self}
}

// Members returns the members of the cluster.
func (c *Controller) Members() []Member { return append([]Member{}, c.cfg.Members...) }

// SpeakerStatus returns what this node's speaker knows of itself.
func (c *Controller) SpeakerStatus() wanted.Status { return c.deps.Speaker.Status() }

// Status returns where this node stands.
func (c *Controller) Status() Status {
	st := Status{
		NodeID: c.cfg.NodeID, Started: c.started, LeaseRemaining: c.leaseRemaining(), SinceLeaderContact: -1,
		CaughtUp: c.tracker.last().caughtUp(), Serving: true, AppliedIndex: c.State().Index(), Voter: true,
	}
	if err := c.fsm.stoppedBy(); err != nil {
		st.Serving, st.StoppedBecause = false, err.Error()
	}
	if d := c.detail.Load(); d != nil {
		st.Detail = *d
	}
	r := c.running.Load()
	if r == nil {
		return st
	}
	st.Term, st.CommitIndex = r.raft.CurrentTerm(), policy.Index(r.raft.CommitIndex())
	st.AppliedIndex = max(st.AppliedIndex, policy.Index(r.raft.AppliedIndex()))
	st.Leader = r.decider.term.Load() != 0
	switch contact := r.raft.LastContact(); {
	case r.raft.State() == raft.Leader:
		st.SinceLeaderContact = 0
	case !contact.IsZero():
		st.SinceLeaderContact = max(time.Since(contact), 0)
	}
	return st
}

func (c *Controller) leaseRemaining() time.Duration {
	return max(time.Duration(c.tracker.last().leaseUntil-c.deps.Elapsed()), 0)
}

// GoneAtLatest returns the time, in terms of the log, at which the rules of m have left every node, whether or not it
// can be reached: the end of its lifetime, or of the lease of a node that was cut off right after the last one; and what
// routers keep of a speaker that ended without a word.
func (c *Controller) GoneAtLatest(m *policy.Mitigation) time.Time {
	s := c.State()
	return minTime(m.Expires, maxTime(s.LeaseAt(), s.At()).Add(c.cfg.Lease)).Add(c.cfg.Restart)
}

// Write decides a command and returns when the decision is committed and applied here. It fails with a NotLeaderError
// on a follower, with ErrOverloaded when too many writes wait, and with ErrOutcomeUnknown when leadership was lost on
// the way; a refusal is not an error.
func (c *Controller) Write(ctx context.Context, cmd Command) (Outcome, error) {
	digest, err := requestDigest(cmd.Request)
	if err != nil {
		return Outcome{}, err
	}
	w := &write{cmd: cmd, digest: digest, done: make(chan struct{})}
	open, room := c.queue.addWrite(w)
	if !open {
		return Outcome{}, c.notLeader()
	}
	if !room {
		return Outcome{}, ErrOverloaded
	}
	select {
	case <-w.done:
		return w.out, w.err
	case <-ctx.Done():
		if w.cancel() {
			return Outcome{}, fmt.Errorf("%w: %w", ErrNotApplied, ctx.Err())
		}
		return Outcome{}, fmt.Errorf("%w: %w", ErrOutcomeUnknown, ctx.Err())
	}
}

// Report judges signals and returns a verdict for each, in their order. It fails with a NotLeaderError on a follower.
// Signals of a source that has too many waiting get the verdict Retry, and so do those whose verdict was lost with
// the leader.
func (c *Controller) Report(ctx context.Context, by policy.Principal, signals []policy.Signal) ([]policy.Verdict, error) {
	verdicts := make([]policy.Verdict, len(signals))
	var waiting []*report
	for from := 0; from < len(signals); from += chunk {
		to := min(from+chunk, len(signals))
		r := &report{by: by, signals: signals[from:to], verdicts: verdicts[from:to], done: make(chan struct{})}
		open, room := c.queue.addReport(r)
		if !open {
			return nil, errors.Join(c.notLeader(), c.settle(ctx, waiting))
		}
		if !room {
			c.metrics.shedSignals(by, len(signals)-from)
			for i := range verdicts[from:] {
				verdicts[from+i] = policy.Verdict{Kind: policy.Retry, RetryAfter: retryAfter, Reason: policy.Reason{
					Code: policy.CodeOverload, Text: fmt.Sprintf("%d signals of %s wait already: send it again", c.cfg.QueueLength, by),
				}}
			}
			break
		}
		waiting = append(waiting, r)
	}
	if err := c.settle(ctx, waiting); err != nil {
		return nil, err
	}
	return verdicts, nil
}

// settle waits for all reports.
func (c *Controller) settle(ctx context.Context, waiting []*report) error {
	var first error
	for _, r := range waiting {
		select {
		case <-r.done:
			if first == nil {
				first = r.err
			}
		case <-ctx.Done():
			for _, r := range waiting {
				r.cancel()
			}
			return ctx.Err()
		}
	}
	return first
}

// Preview decides a command on this node's state and changes nothing. The index is that of the state.
func (c *Controller) Preview(_ context.Context, cmd Command) (policy.Decision, policy.Index, error) {
	s := c.State()
	now := c.tracker.last().now(s, c.deps.Elapsed())
	if !c.tracker.last().caughtUp() {
		now = maxTime(now, c.deps.Now().UTC().Round(0))
	}
	e := policy.Entry{Index: s.Index() + 1, At: now, By: cmd.By, Reason: cmd.Reason, RequestID: cmd.RequestID}
	req := cmd.Request
	if a, ok := req.(*policy.ApproveRequest); ok && a.Mitigation != 0 {
		cp := *a
		if cp.Report = (&policy.AttackReport{ID: a.Mitigation}); c.running.Load() != nil {
			cp.Report.At = c.running.Load().decider.heard.last(a.Mitigation)
		}
		req = &cp
	}
	return policy.Decide(s, req, e), s.Index(), nil
}

// Barrier returns once State is at least as new as every write that was acknowledged before the call: what is read
// from it then is linearizable. It fails with a NotLeaderError on a follower.
//
// That needs no wait for an index. All commands are decided by the leader of their term, and acknowledged after they
// were applied there. The barrier with which a term begins has applied those of earlier terms, and VerifyLeader shows
// that no later term had begun when the call was made.
func (c *Controller) Barrier(ctx context.Context) error {
	term := c.leading()
	if term == 0 {
		return c.notLeader()
	}
	r := c.running.Load()
	if err := await(r.raft.VerifyLeader(), ctx.Done(), nil); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return c.notLeader()
	}
	if c.leading() != term {
		return c.notLeader()
	}
	return nil
}

// Package apitest has a controller without raft, for tests of the API and of its clients: decisions are package
// policy's own, several nodes share one State, and a test says who leads, what is overloaded and what fails. It keeps
// nothing on disk and starts nothing.
package apitest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/controller"
	"github.com/tidegate/tidegate/policy"
)

// Lease is how long a node of a Cluster announces without a leader.
const Lease = time.Hour

// Cluster is a log that several nodes share.
type Cluster struct {
	members []controller.Member

	// mu guards everything below.
	mu      sync.Mutex
	state   *policy.State
	updated chan struct{}
	now     time.Time
	leader  string // empty: none
	term    uint64
	err     error // what Report, Write and Preview answer instead
	busy    bool  // Report answers Retry
	panics  bool
	mute    bool // without an audit chain
}

// NewCluster returns a cluster with an empty State, led by the first member. Its clock stands still; see Advance.
func NewCluster(now time.Time, members ...controller.Member) *Cluster {
	return &Cluster{members: members, state: policy.NewState(), updated: make(chan struct{}), now: now, leader: members[0].ID, term: 1}
}

// Node returns the controller of one member.
func (c *Cluster) Node(id string) *Controller {
	i := slices.IndexFunc(c.members, func(m controller.Member) bool { return m.ID == id })
	return &Controller{cluster: c, self: c.members[i]}
}

// Lead makes the member the leader; an empty id leaves the cluster without one.
func (c *Cluster) Lead(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leader = id
	c.term++
}

// Advance moves the clock.
func (c *Cluster) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Fail makes Report, Write and Preview on the leader answer err, until it is nil again.
func (c *Cluster) Fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

// Overload makes Report answer every signal with Retry while busy.
func (c *Cluster) Overload(busy bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.busy = busy
}

// Panic makes Report, Write and Preview panic while set.
func (c *Cluster) Panic(panics bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.panics = panics
}

// WithoutAudit makes the cluster one that is older than the audit chain. It must not have written anything.
func (c *Cluster) WithoutAudit() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mute = true
}

// State returns the shared State.
func (c *Cluster) State() *policy.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// Controller is one node of a Cluster. It satisfies api.Controller.
type Controller struct {
	cluster *Cluster
	self    controller.Member

	// Behind makes the node one that has heard from no leader since its start: its speaker has no sessions.
	Behind atomic.Bool
	// Believes, when set, is whom this node takes for the leader, as after an election that it has not heard of.
	Believes string
	// Speaker, when set, is what the node's speaker says; else it has sent every rule of the State to every router.
	Speaker func() wanted.Status
}

// State returns the shared State.
func (n *Controller) State() *policy.State { return n.cluster.State() }

// Updated returns a channel that is closed when a newer State is published.
func (n *Controller) Updated() <-chan struct{} {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	return n.cluster.updated
}

// Leader returns whom this node takes for the leader.
func (n *Controller) Leader() (m controller.Member, self, known bool) {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	return n.leader()
}

func (n *Controller) leader() (m controller.Member, self, known bool) {
	id := n.cluster.leader
	if n.Believes != "" {
		id = n.Believes
	}
	i := slices.IndexFunc(n.cluster.members, func(m controller.Member) bool { return m.ID == id })
	if i < 0 {
		return controller.Member{}, false, false
	}
	return n.cluster.members[i], id == n.self.ID, true
}

// Members returns the members.
func (n *Controller) Members() []controller.Member { return slices.Clone(n.cluster.members) }

// Status returns where the node stands.
func (n *Controller) Status() controller.Status {
	_, self, known := n.Leader()
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	st := controller.Status{
		NodeID: n.self.ID, Term: n.cluster.term, Leader: self, Voter: true, AppliedIndex: n.cluster.state.Index(),
		CommitIndex: n.cluster.state.Index(), LeaseRemaining: Lease, Serving: true, CaughtUp: true, Started: n.cluster.now,
	}
	if !self {
		st.SinceLeaderContact = 50 * time.Millisecond
	}
	if !known {
		st.SinceLeaderContact = 10 * time.Second
	}
	if n.Behind.Load() {
		st.CaughtUp, st.SinceLeaderContact = false, -1
	}
	return st
}

// lead locks the cluster if this node leads and nothing is set to fail. The caller unlocks.
func (n *Controller) lead(ctx context.Context) (unlock func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	n.cluster.mu.Lock()
	m, self, known := n.leader()
	switch {
	case !self:
		err = &controller.NotLeaderError{Leader: m, Known: known}
	case n.cluster.panics:
		n.cluster.mu.Unlock()
		panic("told to panic: secret-7")
	default:
		err = n.cluster.err
	}
	if err != nil {
		n.cluster.mu.Unlock()
		return nil, err
	}
	return n.cluster.mu.Unlock, nil
}

// Report judges signals on the leader.
func (n *Controller) Report(ctx context.Context, by policy.Principal, signals []policy.Signal) ([]policy.Verdict, error) {
	unlock, err := n.lead(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	out := make([]policy.Verdict, len(signals))
	for i, sig := range signals {
		if n.cluster.busy {
			out[i] = policy.Verdict{Kind: policy.Retry, Reason: policy.Reason{Code: "overloaded", Text: "too many signals are waiting"}, RetryAfter: 250 * time.Millisecond}
			continue
		}
		d, err := n.cluster.decide(controller.Command{By: by, Request: &policy.SignalRequest{Signal: sig}})
		if err != nil {
			return nil, err
		}
		out[i] = d.Verdict
	}
	return out, nil
}

// Write carries out a command on the leader.
func (n *Controller) Write(ctx context.Context, cmd controller.Command) (controller.Outcome, error) {
	unlock, err := n.lead(ctx)
	if err != nil {
		return controller.Outcome{}, err
	}
	defer unlock()
	if r, ok := n.cluster.state.Result(cmd.RequestID); ok {
		d := policy.Decision{Verdict: r.Verdict}
		for _, id := range r.Mitigations {
			if m, ok := n.cluster.state.Mitigation(id); ok {
				d.Mitigations = append(d.Mitigations, m)
			}
		}
		return controller.Outcome{Decision: d, Index: r.Index, Repeated: true}, nil
	}
	d, err := n.cluster.decide(cmd)
	return controller.Outcome{Decision: d, Index: n.cluster.state.Index()}, err
}

// decide judges and applies; mu is held.
func (c *Cluster) decide(cmd controller.Command) (policy.Decision, error) {
	e := policy.Entry{Index: c.state.Index() + 1, At: c.now, By: cmd.By, Reason: cmd.Reason, RequestID: cmd.RequestID}
	d := policy.Decide(c.state, cmd.Request, e)
	changes := d.Changes
	if len(changes) == 0 {
		return d, nil
	}
	if cmd.RequestID != "" {
		r := policy.Result{RequestID: cmd.RequestID, By: cmd.By, Verdict: d.Verdict}
		for _, m := range d.Mitigations {
			r.Mitigations = append(r.Mitigations, m.ID)
		}
		changes = append(slices.Clone(changes), &policy.PutResult{Result: r})
	}
	if c.state.Index() == 0 && !c.mute { // as a controller does in a new cluster
		changes = append([]policy.Change{&policy.BeginAudit{}}, changes...)
	}
	e.Digest = [32]byte{1, byte(e.Index >> 8), byte(e.Index)}
	next, err := c.state.Apply(e, changes)
	if err != nil {
		return d, fmt.Errorf("cannot apply decision: %w", err)
	}
	c.state = next
	close(c.updated)
	c.updated = make(chan struct{})
	return d, nil
}

// Preview judges without applying, on any node.
func (n *Controller) Preview(ctx context.Context, cmd controller.Command) (policy.Decision, policy.Index, error) {
	if err := ctx.Err(); err != nil {
		return policy.Decision{}, 0, err
	}
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	if n.cluster.err != nil {
		return policy.Decision{}, 0, n.cluster.err
	}
	s := n.cluster.state
	return policy.Decide(s, cmd.Request, policy.Entry{Index: s.Index() + 1, At: n.cluster.now, By: cmd.By, Reason: cmd.Reason}), s.Index(), nil
}

// GoneAtLatest returns when a node that is cut off has withdrawn the rules of m.
func (n *Controller) GoneAtLatest(m *policy.Mitigation) time.Time {
	n.cluster.mu.Lock()
	defer n.cluster.mu.Unlock()
	if t := n.cluster.now.Add(Lease); t.Before(m.Expires) {
		return t
	}
	return m.Expires
}

// SpeakerStatus returns what Speaker says or, without one, that everything was sent.
func (n *Controller) SpeakerStatus() wanted.Status {
	if n.Behind.Load() {
		return wanted.Status{}
	}
	if n.Speaker != nil {
		return n.Speaker()
	}
	s := n.State()
	set := s.Wanted(policy.WantedInput{
		Deadline: func(*policy.Mitigation) wanted.Instant { return 1 },
		Secret:   func(string) (string, bool) { return "secret", true },
	}).Set
	out := wanted.Status{Revision: uint64(s.Index()), Settled: uint64(s.Index())}
	for _, r := range set.Routers {
		session := wanted.SessionStatus{Router: r, State: wanted.SessionEstablished, Since: s.At()}
		for _, route := range set.Routes {
			if len(route.Groups) == 0 || slices.Contains(route.Groups, r.Group) {
				session.Routes = append(session.Routes, wanted.RouteStatus{Key: route.Key, State: wanted.RouteSent, Since: s.At()})
			}
		}
		session.Wanted, session.Sent = len(session.Routes), len(session.Routes)
		out.Sessions = append(out.Sessions, session)
	}
	return out
}

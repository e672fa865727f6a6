package controller

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidegate/tidegate/bgp/wanted"
)

// Speaker announces rules. It is package bgp's in the binary.
type Speaker interface {
	// Set makes w all that is announced. It may take long; it is never called twice at a time.
	Set(ctx context.Context, w wanted.Set) error
	// Status says what is announced, to whom.
	Status() wanted.Status
}

// Member is one node of the cluster. Its addresses are host:port.
type Member struct {
	ID          string
	RaftAddress string
	APIAddress  string
}

// Timing sets raft's clocks; zero values are those of the profile default.
type Timing struct {
	Heartbeat     time.Duration // a follower that hears nothing for once to twice so long asks for an election
	Election      time.Duration // not below Heartbeat: an election that nobody won is repeated after once to twice so long
	LeaderLease   time.Duration // not above Heartbeat: a leader without a quorum for so long gives way
	CommitTimeout time.Duration // followers hear of commits at least so often
}

// The names of the timing profiles.
const (
	TimingDefault = "default"
	TimingLAN     = "lan"
)

// TimingProfile returns the clocks of a profile, and whether there is one of that name; empty: default.
//
// The profile default leaves room for round trips of 100 ms and for machines that stand still for half a second: after
// the loss of a leader writes are back within 4 s in 99 of 100 cases, measured 2.9 s. With lan it is 2 s, measured 1.8 s.
//
// Both give a leader's lease the whole heartbeat. A lost segment costs TCP some 200 ms, one that is lost twice 600 ms and
// three times 1.4 s, and at 10 % loss one exchange in five loses one. A leader gives way only when a majority of the
// followers is silent for the lease on both of the connections on which it talks to each, heartbeats and entries. With
// three nodes these are four connections, each of which stands still for longer than 600 ms about 3 % of the time at 10 %
// loss, so that all of them do for one millionth of it. A follower that misses the leader alone deposes nobody: the
// others hear the leader, and do not give it their pre-vote.
func TimingProfile(name string) (Timing, bool) {
	switch name {
	case "", TimingDefault:
		return Timing{Heartbeat: time.Second, Election: time.Second, LeaderLease: time.Second, CommitTimeout: 10 * time.Millisecond}, true
	case TimingLAN:
		return Timing{
			Heartbeat: 600 * time.Millisecond, Election: 600 * time.Millisecond, LeaderLease: 600 * time.Millisecond,
			CommitTimeout: 10 * time.Millisecond,
		}, true
	}
	return Timing{}, false
}

// Config is what a node is told about itself and its cluster.
type Config struct {
	Cluster string
	NodeID  string
	DataDir string // unused when Deps.Stores is given
	Version string
	Members []Member // this node among them; one: a single node
	Timing  Timing
	// QueueLength is how many signals, and how many writes, may wait of one source; 0: 4096. What is beyond is
	// answered with Retry.
	QueueLength int
	// LeaseEvery is how often the leader renews the lease; 0: 30 s.
	LeaseEvery time.Duration
	// Lease is how long a node goes on announcing without having heard of a live leader; 0: 60 min.
	Lease time.Duration
	// Restart is how long routers may keep rules after a speaker ended without a word; 0: not at all. Bounds that are
	// promised grow by it.
	Restart time.Duration
	// SnapshotEvery is the number of entries after which a snapshot is taken; 0: 8192.
	SnapshotEvery uint64
}

// Stores replaces the files of the data directory; for tests.
type Stores struct {
	Log       LogStore
	Stable    raft.StableStore
	Snapshots raft.SnapshotStore
}

// LogStore is the log that a node needs: one that remembers how much of it is committed.
type LogStore = raft.CommitTrackingLogStore

// Transport is what nodes talk over.
type Transport interface {
	raft.Transport
	raft.WithPreVote
	raft.WithClose
}

// Streams carries raft between nodes: a listener for what the others send, and a way to reach them.
type Streams interface {
	net.Listener
	// Dial connects to the member whose raft address that is, within timeout.
	Dial(address string, timeout time.Duration) (net.Conn, error)
}

// Deps is what a Controller works with. Speaker, Elapsed and Now are mandatory; Streams or Transport is, unless the
// node is the only member: it then talks to nobody.
type Deps struct {
	Logger *slog.Logger // nil: nothing is logged
	// Elapsed reads the clock that never steps and runs on while the machine sleeps.
	Elapsed func() wanted.Instant
	// Now reads the wall clock. It anchors entry times when a process begins to lead that has never been level with a
	// live leader; nothing else depends on it.
	Now        func() time.Time
	Speaker    Speaker
	Streams    Streams
	Transport  Transport // overrides Streams
	Stores     *Stores
	Secret     func(name string) (string, bool) // nil: there are no secrets
	Registerer prometheus.Registerer            // nil: no metrics
}

// LevelMax is the newest level of log entries that this version writes and understands. A higher one stops the node.
const LevelMax = 1

const (
	defaultQueueLength   = 4096
	defaultLeaseEvery    = 30 * time.Second
	defaultLease         = time.Hour
	defaultSnapshotEvery = 8192
)

func (c Config) withDefaults() Config {
	profile, _ := TimingProfile(TimingDefault)
	c.Timing.Heartbeat = or(c.Timing.Heartbeat, profile.Heartbeat)
	c.Timing.Election = or(c.Timing.Election, max(c.Timing.Heartbeat, profile.Election))
	c.Timing.LeaderLease = or(c.Timing.LeaderLease, min(c.Timing.Heartbeat, profile.LeaderLease))
	c.Timing.CommitTimeout = or(c.Timing.CommitTimeout, profile.CommitTimeout)
	c.QueueLength = or(c.QueueLength, defaultQueueLength)
	c.LeaseEvery = or(c.LeaseEvery, defaultLeaseEvery)
	c.Lease = or(c.Lease, defaultLease)
	c.SnapshotEvery = or(c.SnapshotEvery, defaultSnapshotEvery)
	return c
}

func or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// self returns the member that this node is.
func (c Config) self() (Member, error) {
	seen := make(map[string]bool, len(c.Members))
	var self Member
	for _, m := range c.Members {
		if m.ID == "" || m.RaftAddress == "" {
			return Member{}, fmt.Errorf("cannot use member %q with raft address %q: both must be given", m.ID, m.RaftAddress)
		}
		if seen[m.ID] {
			return Member{}, fmt.Errorf("cannot use member %q: it is listed twice", m.ID)
		}
		seen[m.ID] = true
		if m.ID == c.NodeID {
			self = m
		}
	}
	if self.ID == "" {
		return Member{}, fmt.Errorf("cannot find node %q among the members of the cluster", c.NodeID)
	}
	return self, nil
}

func (c Config) validate() error {
	if _, err := c.self(); err != nil {
		return err
	}
	if c.QueueLength < 0 || c.LeaseEvery < 0 || c.Lease < 0 {
		return fmt.Errorf("cannot use queue length %d, lease %s every %s: none may be negative", c.QueueLength, c.Lease, c.LeaseEvery)
	}
	if c.Lease < 2*c.LeaseEvery {
		return fmt.Errorf("cannot use lease %s: it must be at least twice the %s after which it is renewed", c.Lease, c.LeaseEvery)
	}
	if c.Lease > math.MaxInt64/4 {
		return fmt.Errorf("cannot use lease %s: too long", c.Lease)
	}
	return nil
}

func (d Deps) validate(members int) error {
	if d.Speaker == nil || d.Elapsed == nil || d.Now == nil {
		return fmt.Errorf("cannot work without a speaker, an elapsed clock and a wall clock")
	}
	if d.Streams == nil && d.Transport == nil && members > 1 {
		return fmt.Errorf("cannot work without a transport for raft")
	}
	return nil
}

package controller

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/tidegate/tidegate/policy"
)

// streamLayer is Streams in raft's words.
type streamLayer struct{ Streams }

// Dial implements raft.StreamLayer.
func (s streamLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	return s.Streams.Dial(string(address), timeout)
}

// witness is raft's transport, with an eye on what leaders say of themselves. raft tells a follower's FSM what is
// committed, but not whether that is all that is committed: an entry that a restarted node applies may be hours old.
// The leader's own commit index, which every AppendEntries request but a heartbeat carries, settles that.
type witness struct {
	Transport
	rpcs chan raft.RPC
	stop chan struct{}
	once sync.Once
	done sync.WaitGroup
	mute atomic.Bool // nothing is said any more

	mu     sync.Mutex // guards the fields below
	term   uint64     // newest term of which a leader spoke
	commit uint64     // that leader's commit index, the highest heard
}

// newWitness starts a goroutine that ends with Close.
func newWitness(t Transport) *witness {
	w := &witness{Transport: t, rpcs: make(chan raft.RPC), stop: make(chan struct{})}
	w.done.Add(1)
	go w.relay()
	return w
}

// Consumer implements raft.Transport.
func (w *witness) Consumer() <-chan raft.RPC { return w.rpcs }

// AppendEntries implements raft.Transport.
func (w *witness) AppendEntries(id raft.ServerID, to raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if w.mute.Load() {
		return raft.ErrTransportShutdown
	}
	return w.Transport.AppendEntries(id, to, req, resp)
}

// AppendEntriesPipeline implements raft.Transport. There is no pipelining: one follower that drops out of a pipeline at the
// wrong moment can stay without entries, silently, for as long as the leader leads. It costs a tenth of the throughput of
// 64 writers, and nothing here: the decider has one entry in flight, with all that waits in it.
func (w *witness) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

// cut ends what this node tells the others as a leader: they will elect another one.
func (w *witness) cut() { w.mute.Store(true) }

// Close implements raft.WithClose.
func (w *witness) Close() error {
	w.once.Do(func() { close(w.stop) })
	w.done.Wait()
	return w.Transport.Close()
}

func (w *witness) relay() {
	defer w.done.Done()
	for {
		select {
		case rpc, ok := <-w.Transport.Consumer():
			if !ok {
				return
			}
			if req, ok := rpc.Command.(*raft.AppendEntriesRequest); ok {
				w.note(req.Term, req.LeaderCommitIndex)
			}
			select {
			case w.rpcs <- rpc:
			case <-w.stop:
				return
			}
		case <-w.stop:
			return
		}
	}
}

func (w *witness) note(term, commit uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if term > w.term {
		w.term, w.commit = term, 0
	}
	if term == w.term {
		w.commit = max(w.commit, commit)
	}
}

// newest reports whether the entry is the last one that the newest known leader has committed, and of its own term.
func (w *witness) newest(term uint64, index policy.Index) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.term != 0 && term == w.term && uint64(index) >= w.commit
}

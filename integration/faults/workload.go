package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tidegate/tidegate/integration/lab"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

const (
	// attemptFor bounds one attempt at one node.
	attemptFor = 1500 * time.Millisecond
	// settleWithin is how long a write may remain without an answer that settles it, whatever happens.
	settleWithin = 120 * time.Second
	standing     = 12
	churners     = 3
	rivals       = 3 // clients that share the contended slots
	contended    = 3
)

// workload is the clients.
type workload struct {
	w       *World
	wg      sync.WaitGroup
	pause   chan struct{} // closed: no new work
	next    atomic.Int64  // number of the next rule
	request atomic.Int64

	mu   sync.Mutex // guards last
	last map[string]string
}

func newWorkload(w *World) *workload {
	return &workload{w: w, pause: make(chan struct{}), last: make(map[string]string)}
}

// begin starts the standing mitigations, then the clients.
func (l *workload) begin(ctx, run context.Context) error {
	for range standing {
		if _, err := l.start(ctx, 0, l.fresh(), 24*time.Hour); err != nil {
			return err
		}
	}
	client := 1
	launch := func(f func(ctx context.Context, client int, rng *rand.Rand)) {
		id := client
		client++
		rng := rand.New(rand.NewPCG(l.w.cfg.Seed, uint64(id)+100)) //nolint:gosec // Repeated by its seed.
		l.wg.Go(func() { f(run, id, rng) })
	}
	for range churners {
		launch(l.churn)
	}
	for range rivals {
		launch(l.contend)
	}
	launch(l.pulse)
	launch(l.attack)
	launch(l.read)
	return nil
}

// quiesce lets the clients end what they have begun.
func (l *workload) quiesce() {
	close(l.pause)
	l.wg.Wait()
}

func (l *workload) wait() { l.wg.Wait() }

// sleep pauses a client; false when it is to end.
func (l *workload) sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.pause:
	case <-ctx.Done():
	}
	return false
}

// slot is what one mitigation acts on. Its key is nobody else's.
type slot struct{ target, match string }

// fresh is a slot that was never used.
func (l *workload) fresh() slot {
	n := l.next.Add(1)
	return slot{fmt.Sprintf("203.0.113.%d", 16+n%200), fmt.Sprintf("proto udp dport %d", 1024+n%64000)}
}

// churn starts mitigations of its own and withdraws most of them; the others expire.
func (l *workload) churn(ctx context.Context, client int, rng *rand.Rand) {
	for {
		lifetime := time.Duration(5+rng.IntN(20)) * time.Minute
		expires := rng.IntN(5) == 0
		if expires {
			lifetime = time.Duration(20+rng.IntN(20)) * time.Second
		}
		x, err := l.start(ctx, client, l.fresh(), lifetime)
		if err != nil {
			return
		}
		more := l.sleep(ctx, time.Duration(200+rng.IntN(3000))*time.Millisecond)
		if !expires && x.refused == "" {
			if err := l.withdraw(ctx, client, x.slot, x.id); err != nil {
				return
			}
		}
		if !more {
			return
		}
	}
}

// contend starts and withdraws what other clients start and withdraw as well.
func (l *workload) contend(ctx context.Context, client int, rng *rand.Rand) {
	for l.sleep(ctx, time.Duration(100+rng.IntN(600))*time.Millisecond) {
		s := slot{fmt.Sprintf("203.0.113.%d", 240+rng.IntN(contended)), "proto udp dport 53"}
		l.mu.Lock()
		id := l.last[s.target]
		l.mu.Unlock()
		var err error
		if id == "" || rng.IntN(2) == 0 {
			var x *write
			if x, err = l.start(ctx, client, s, 24*time.Hour); err == nil && x.refused == "" {
				l.mu.Lock()
				l.last[s.target] = x.id
				l.mu.Unlock()
			}
		} else {
			err = l.withdraw(ctx, client, s.String(), id)
		}
		if err != nil {
			return
		}
	}
}

func (s slot) String() string { return s.target + " " + s.match }

// pulse writes without pause: the time between its answers is the gap in writing.
func (l *workload) pulse(ctx context.Context, client int, _ *rand.Rand) {
	for l.sleep(ctx, 150*time.Millisecond) {
		x, err := l.start(ctx, client, l.fresh(), 5*time.Minute)
		if err != nil {
			return
		}
		if x.refused == "" {
			if err := l.withdraw(ctx, client, x.slot, x.id); err != nil {
				return
			}
		}
	}
}

// attack is a detector that reports an attack as long as the run lasts.
func (l *workload) attack(ctx context.Context, client int, _ *rand.Rand) {
	s := &pb.Signal{AttackId: "attack-1", Targets: []string{"203.0.113.250/32"}, Vector: "dns_amplification", Kind: pb.SignalKind_SIGNAL_KIND_START}
	var x *write
	for {
		s.Seq++
		var v *pb.Verdict
		y, err := l.call(ctx, client, func(ctx context.Context, n *node) error {
			r, err := pb.NewSignalServiceClient(n.detector).Report(ctx, &pb.ReportRequest{Signals: []*pb.Signal{s}})
			if err != nil {
				return err
			}
			if v = r.GetVerdicts()[0]; v.GetKind() == pb.VerdictKind_VERDICT_KIND_RETRY {
				return status.Error(codes.Unavailable, v.GetText())
			}
			return nil
		})
		if err != nil {
			return
		}
		if x == nil && v.GetMitigation() != "" {
			x = y
			x.id, x.slot, x.lifetime, x.renewed = v.GetMitigation(), "attack", 24*time.Hour, true
			_, err := l.call(ctx, client, func(ctx context.Context, n *node) error {
				r, err := pb.NewMitigationServiceClient(n.api).Get(ctx, &pb.GetRequest{Id: x.id})
				if err != nil || len(r.GetMitigation().GetRules()) == 0 {
					return status.Error(codes.Unavailable, "not there yet")
				}
				return x.take(r.GetMitigation())
			})
			if err != nil {
				return
			}
			l.w.book.wrote(x)
		}
		s.Kind = pb.SignalKind_SIGNAL_KIND_UPDATE
		if !l.sleep(ctx, 3*time.Second) {
			return
		}
	}
}

// read reads what is active, at one node after the other.
func (l *workload) read(ctx context.Context, _ int, rng *rand.Rand) {
	for l.sleep(ctx, 200*time.Millisecond) {
		n := l.w.nodes[rng.IntN(len(l.w.nodes))]
		l.readAt(ctx, n)
	}
}

func (l *workload) readAt(ctx context.Context, n *node) bool {
	attempt, cancel := context.WithTimeout(ctx, attemptFor)
	defer cancel()
	r, err := pb.NewMitigationServiceClient(n.api).List(attempt, &pb.ListRequest{})
	if err != nil {
		return false // it is down, or cut off
	}
	out := read{node: n.id, index: r.GetRead().GetIndex(), at: time.Now(), active: make(map[string]bool)}
	for _, m := range r.GetMitigations() {
		out.active[m.GetId()] = true
	}
	l.w.book.mu.Lock()
	defer l.w.book.mu.Unlock()
	l.w.book.reads = append(l.w.book.reads, out)
	return true
}

func (l *workload) requestID() string { return fmt.Sprintf("faults-%d", l.request.Add(1)) }

// start starts a mitigation by hand.
func (l *workload) start(ctx context.Context, client int, s slot, lifetime time.Duration) (*write, error) {
	request := &pb.StartRequest{
		RequestId: l.requestID(), Reason: "fault test", Targets: []string{s.target}, Match: s.match,
		Action: &pb.Action{Discard: true}, Lifetime: durationpb.New(lifetime),
	}
	var answer *pb.StartResponse
	x, err := l.call(ctx, client, func(ctx context.Context, n *node) (err error) {
		answer, err = pb.NewMitigationServiceClient(n.api).Start(ctx, request)
		return err
	})
	if err != nil {
		return nil, err
	}
	x.slot, x.lifetime = s.String(), lifetime
	if x.refused == "" {
		if err := x.take(answer.GetMitigation()); err != nil {
			l.w.book.problem("%v", err)
		}
		x.index = answer.GetWrite().GetIndex()
	}
	l.w.book.wrote(x)
	return x, nil
}

// take notes what a mitigation is.
func (x *write) take(m *pb.Mitigation) error {
	x.id = m.GetId()
	for _, r := range m.GetRules() {
		k, err := flowspecKey(r)
		if err != nil {
			return err
		}
		x.keys = append(x.keys, k)
	}
	return nil
}

// withdraw ends a mitigation by hand.
func (l *workload) withdraw(ctx context.Context, client int, slot, id string) error {
	request := &pb.WithdrawRequest{RequestId: l.requestID(), Reason: "fault test", Id: id}
	var answer *pb.WithdrawResponse
	x, err := l.call(ctx, client, func(ctx context.Context, n *node) (err error) {
		answer, err = pb.NewMitigationServiceClient(n.api).Withdraw(ctx, request)
		return err
	})
	if err != nil {
		return err
	}
	x.withdra, x.slot, x.id = true, slot, id
	if x.refused == "" {
		x.index = answer.GetWrite().GetIndex()
	}
	l.w.book.wrote(x)
	return nil
}

// errUnanswered ends a client. That alone makes the run one that shows what must not be; what the write did is not known, so
// that its history explains nothing any more.
var errUnanswered = errors.New("a write had no answer that settles it")

// call repeats a call at one node after the other until an answer settles it, as clients do: with the same request id.
func (l *workload) call(ctx context.Context, client int, f func(context.Context, *node) error) (*write, error) {
	x := &write{client: client, invoke: time.Now()}
	for {
		n := l.w.nodes[(client+x.attempts)%len(l.w.nodes)]
		x.attempts++
		attempt, cancel := context.WithTimeout(ctx, attemptFor)
		err := f(attempt, n)
		cancel()
		x.respond = time.Now()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if refused, settled := outcome(err); settled {
			x.refused = refused
			return x, nil
		}
		if x.respond.Sub(x.invoke) > settleWithin {
			l.w.book.problem("client %d: %v within %v; last: %v", client, errUnanswered, settleWithin, err)
			return nil, errUnanswered
		}
		if lab.Pause(ctx, 50*time.Millisecond) != nil {
			return nil, ctx.Err()
		}
	}
}

// outcome reads an answer: why it was refused, and whether it settles the call.
func outcome(err error) (refused string, settled bool) {
	if err == nil {
		return "", true
	}
	s := status.Convert(err)
	switch s.Code() {
	case codes.FailedPrecondition, codes.InvalidArgument, codes.NotFound, codes.PermissionDenied, codes.AlreadyExists:
		for _, d := range s.Details() {
			if info, ok := d.(*errdetails.ErrorInfo); ok {
				return info.GetReason(), true
			}
		}
		return s.Code().String() + ": " + s.Message(), true
	default:
		return "", false
	}
}

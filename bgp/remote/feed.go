package remote

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/tidegate/tidegate/bgp/wanted"
	speakerv1 "github.com/tidegate/tidegate/proto/tidegate/speaker/v1"
)

// Announcer is what a Feed feeds. It is package bgp's Speaker.
type Announcer interface {
	// Set makes w all that is announced.
	Set(ctx context.Context, w wanted.Set) error
	// Status says what is announced, to whom.
	Status() wanted.Status
	// Out is the order to stay out that is in force.
	Out() (wanted.Out, bool)
}

// FeedDeps is what a Feed works with. All but Metrics are mandatory.
type FeedDeps struct {
	Announcer Announcer
	Log       *slog.Logger
	Version   string
	// Elapsed reads the boot clock, Now the wall clock, and BootID names the boot: see Keep.
	Elapsed func() wanted.Instant
	Now     func() time.Time
	BootID  string
	// Keep writes the last set to the disk, so that it outlasts a crash of this process. It is called with at most one
	// set at a time, the newest, some time after it was told.
	Keep func(data []byte) error
	// Metrics returns the speaker's metrics, each family marshalled.
	Metrics func() ([][]byte, error)
	// Shutdown ends the process in order.
	Shutdown func()
}

// Feed takes sets from a controller in another process.
type Feed struct {
	speakerv1.UnimplementedFeedServiceServer
	deps     FeedDeps
	instance string
	dirty    chan struct{}

	mu   sync.Mutex // guards held, and the order of sets
	held *held      // the set in force; nil before the first
}

// NewFeed makes an inert Feed; Run keeps its sets, and a Server answers for it.
func NewFeed(deps FeedDeps) *Feed {
	return &Feed{deps: deps, instance: rand.Text(), dirty: make(chan struct{}, 1)}
}

// Restore announces what Keep has kept, as far as its time is not over. It is for the start, before anything runs, so that
// sessions open with all rules loaded. Data that is damaged is an error, and nothing is announced then: the controller
// tells anew.
func (f *Feed) Restore(ctx context.Context, data []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	h, err := f.thaw(data)
	if err == nil {
		err = f.deps.Announcer.Set(ctx, h.set)
	}
	if err != nil {
		return fmt.Errorf("cannot use what the last process announced: %w", err)
	}
	f.held = h
	f.deps.Log.Info("announcing again what the last process announced", "revision", h.set.Revision, "routes", len(h.set.Routes),
		"lease", time.Duration(h.set.LeaseUntil-f.deps.Elapsed()))
	return nil
}

// thaw is the inverse of freeze. Within one boot the boot clock tells what time it is. Over boots only the wall clock does,
// which may be wrong: time never counts as less than none, so a lifetime never becomes longer than it was.
func (f *Feed) thaw(data []byte) (*held, error) {
	var k speakerv1.Kept
	if err := proto.Unmarshal(data, &k); err != nil {
		return nil, fmt.Errorf("%w: %w", errWire, err)
	}
	a := &assembly{}
	a.add(&speakerv1.ReplaceRequest{Head: k.GetHead(), Frame: k.GetFrame(), Routes: k.GetRoutes(), Count: uint64(len(k.GetRoutes()))})
	h, err := a.done()
	if err != nil || k.GetBootId() == f.deps.BootID {
		return h, err
	}
	passed := max(0, f.deps.Now().UnixNano()-k.GetWall())
	now := f.deps.Elapsed()
	move := func(at wanted.Instant) wanted.Instant {
		left := max(0, int64(at)-k.GetElapsed())
		return now + wanted.Instant(max(0, left-passed))
	}
	w := h.set
	w.LeaseUntil = move(w.LeaseUntil)
	w.Routes = make([]*wanted.Route, len(h.set.Routes))
	for i, r := range h.set.Routes {
		moved := *r
		moved.NotAfter = move(r.NotAfter)
		w.Routes[i] = &moved
	}
	return hold(&w), nil
}

// freeze is a set as it is kept.
func (f *Feed) freeze(h *held) ([]byte, error) {
	return proto.Marshal(&speakerv1.Kept{
		Head: h.head(), Frame: packFrame(&h.set), Routes: each(h.set.Routes, packRoute),
		BootId: f.deps.BootID, Elapsed: int64(f.deps.Elapsed()), Wall: f.deps.Now().UnixNano(),
	})
}

// keepEvery is how often the last set is written at most. A crash within that time brings a slightly older set back,
// which the controller replaces as soon as it sees the new process.
const keepEvery = 100 * time.Millisecond

// Run keeps sets until ctx ends.
func (f *Feed) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			f.keep() // the last word
			return nil
		case <-f.dirty:
		}
		f.keep()
		t := time.NewTimer(keepEvery)
		select {
		case <-ctx.Done():
			t.Stop()
		case <-t.C:
		}
	}
}

func (f *Feed) keep() {
	f.mu.Lock()
	h := f.held
	f.mu.Unlock()
	if h == nil {
		return
	}
	data, err := f.freeze(h)
	if err == nil {
		err = f.deps.Keep(data)
	}
	if err != nil {
		f.deps.Log.Error("what is announced cannot be kept: a crash of the speaker would lose it until the controller tells again", "err", err)
	}
}

// take makes h the set in force. It runs under mu.
func (f *Feed) take(ctx context.Context, h *held) error {
	if err := f.deps.Announcer.Set(ctx, h.set); err != nil {
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	f.held = h
	select {
	case f.dirty <- struct{}{}:
	default:
	}
	return nil
}

// Replace is part of speakerv1.FeedServiceServer.
func (f *Feed) Replace(s grpc.ClientStreamingServer[speakerv1.ReplaceRequest, speakerv1.ReplaceResponse]) error {
	a := &assembly{}
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		a.add(m)
	}
	h, err := a.done()
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	f.mu.Lock()
	err = f.take(s.Context(), h)
	f.mu.Unlock()
	if err != nil {
		return err
	}
	return s.SendAndClose(&speakerv1.ReplaceResponse{})
}

// Change is part of speakerv1.FeedServiceServer.
func (f *Feed) Change(s grpc.BidiStreamingServer[speakerv1.ChangeRequest, speakerv1.ChangeResponse]) error {
	for {
		req, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		out := &speakerv1.ChangeResponse{}
		switch err := f.change(s.Context(), req); {
		case errors.Is(err, errBase):
			out.OtherBase = true
		case err != nil:
			out.Refused = status.Convert(err).Message()
		}
		if err := s.Send(out); err != nil {
			return err
		}
	}
}

func (f *Feed) change(ctx context.Context, req *speakerv1.ChangeRequest) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.held == nil {
		return errBase
	}
	h, err := f.held.apply(req)
	if err != nil {
		return err
	}
	return f.take(ctx, h)
}

// Standing is part of speakerv1.FeedServiceServer.
func (f *Feed) Standing(context.Context, *speakerv1.StandingRequest) (*speakerv1.StandingResponse, error) {
	out := &speakerv1.StandingResponse{Version: f.deps.Version, Instance: f.instance}
	f.mu.Lock()
	if f.held != nil {
		out.Revision, out.Digest = f.held.set.Revision, f.held.digest
	}
	f.mu.Unlock()
	if o, is := f.deps.Announcer.Out(); is {
		b, err := packOut(&o)
		if err != nil {
			return nil, err
		}
		out.Out = b
	}
	return out, nil
}

// Report is part of speakerv1.FeedServiceServer.
func (f *Feed) Report(context.Context, *speakerv1.ReportRequest) (*speakerv1.ReportResponse, error) {
	st := f.deps.Announcer.Status()
	b, err := packStatus(&st)
	return &speakerv1.ReportResponse{Status: b}, err
}

// Metrics is part of speakerv1.FeedServiceServer.
func (f *Feed) Metrics(context.Context, *speakerv1.MetricsRequest) (*speakerv1.MetricsResponse, error) {
	b, err := f.deps.Metrics()
	return &speakerv1.MetricsResponse{Families: b}, err
}

// Shutdown is part of speakerv1.FeedServiceServer.
func (f *Feed) Shutdown(ctx context.Context, _ *speakerv1.ShutdownRequest) (*speakerv1.ShutdownResponse, error) {
	f.deps.Log.InfoContext(ctx, "the controller ends this speaker")
	f.deps.Shutdown()
	return &speakerv1.ShutdownResponse{}, nil
}

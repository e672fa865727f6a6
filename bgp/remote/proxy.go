package remote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/tidegate/tidegate/bgp/wanted"
	speakerv1 "github.com/tidegate/tidegate/proto/tidegate/speaker/v1"
)

// Proxy is a speaker in another process, as a controller sees it: Set and Status, and the rest by Run, which tells a
// speaker that has been started anew what to announce.
type Proxy struct {
	path string
	log  *slog.Logger
	conn *grpc.ClientConn
	feed speakerv1.FeedServiceClient

	setting sync.Mutex // held while the speaker is told something; taken before mu
	last    *held      // what shall be announced; nil before the first Set. Guarded by setting.
	told    []byte     // digest of what the speaker has been told last; nil if that is not known. Guarded by setting.
	changes *changes   // nil: to be opened. Guarded by setting.

	mu       sync.Mutex // guards what follows
	out      *wanted.Out
	lost     string // why the speaker does not answer; empty if it does
	instance string
}

const (
	setTimeout    = 10 * time.Second
	askTimeout    = 2 * time.Second
	standingEvery = 250 * time.Millisecond
	complainEvery = 10 * time.Second
)

// NewProxy makes a Proxy of the speaker at the socket, which need not be there yet.
func NewProxy(path string, log *slog.Logger) (*Proxy, error) {
	conn, err := grpc.NewClient("passthrough:///speaker",
		grpc.WithTransportCredentials(insecure.NewCredentials()), // between two processes of one machine
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dialSocket(ctx, path) }),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 500 * time.Millisecond},
			MinConnectTimeout: dialTimeout,
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("cannot call the speaker at %q: %w", path, err)
	}
	return &Proxy{path: path, log: log, conn: conn, feed: speakerv1.NewFeedServiceClient(conn), lost: "it has not been asked yet"}, nil
}

// Close gives the connection back.
func (p *Proxy) Close() error { return p.conn.Close() }

// Set makes w all that is announced. When it fails Run tells the speaker as soon as it can. The speaker's refusals come
// back as errors with its words.
func (p *Proxy) Set(ctx context.Context, w wanted.Set) error {
	if w.Revision == 0 {
		return errors.New("cannot set: the set has no revision")
	}
	w.Routes = slices.Clone(w.Routes) // what the next one is compared with
	ctx, cancel := context.WithTimeout(ctx, setTimeout)
	defer cancel()
	p.setting.Lock()
	defer p.setting.Unlock()
	var change *speakerv1.ChangeRequest
	if p.last == nil {
		p.last = hold(&w)
	} else {
		known := bytes.Equal(p.told, p.last.digest)
		if p.last, change = p.last.step(&w); !known {
			change = nil
		}
	}
	if change != nil {
		r, err := p.change(ctx, change)
		switch {
		case err != nil || r.GetOtherBase(): // another process by now, perhaps
		case r.GetRefused() != "":
			p.told = nil
			return fmt.Errorf("cannot set revision %d: %s", w.Revision, r.GetRefused())
		default:
			p.told = p.last.digest
			return nil
		}
	}
	return p.replace(ctx)
}

// changes is the stream on which changes go to the speaker.
type changes struct {
	grpc.BidiStreamingClient[speakerv1.ChangeRequest, speakerv1.ChangeResponse]
	end context.CancelFunc
}

// change sends one change and waits for its answer. It runs under setting.
func (p *Proxy) change(ctx context.Context, req *speakerv1.ChangeRequest) (*speakerv1.ChangeResponse, error) {
	if p.changes == nil {
		own, end := context.WithCancel(context.Background())
		s, err := p.feed.Change(own)
		if err != nil {
			end()
			return nil, err
		}
		p.changes = &changes{s, end}
	}
	defer context.AfterFunc(ctx, p.changes.end)()
	err := p.changes.Send(req)
	var r *speakerv1.ChangeResponse
	if err == nil {
		r, err = p.changes.Recv()
	}
	if err != nil {
		p.changes.end()
		p.changes = nil
	}
	return r, err
}

// replace tells the speaker all of last. It runs under setting.
func (p *Proxy) replace(ctx context.Context) error {
	p.told = nil
	err := p.stream(ctx)
	if err != nil {
		return fmt.Errorf("cannot set revision %d: %w", p.last.set.Revision, err)
	}
	p.told = p.last.digest
	return nil
}

func (p *Proxy) stream(ctx context.Context) error {
	s, err := p.feed.Replace(ctx, grpc.WaitForReady(true))
	if err != nil {
		return err
	}
	for _, part := range p.last.parts() {
		if err := s.Send(part); err != nil {
			break // CloseAndRecv says why
		}
	}
	_, err = s.CloseAndRecv()
	return err
}

// Run looks after the speaker until ctx ends: one that was started anew, or that was told something else, is told what
// shall be announced.
func (p *Proxy) Run(ctx context.Context) error {
	t := time.NewTicker(standingEvery)
	defer t.Stop()
	var complained time.Time
	for {
		err := p.look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if now := time.Now(); err != nil && now.Sub(complained) >= complainEvery {
			complained = now
			p.log.Error("the speaker does not do what it should", "socket", p.path, "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// look asks the speaker how it stands, and tells it what it does not know.
func (p *Proxy) look(ctx context.Context) error {
	st, err := p.standing(ctx)
	if err != nil {
		return err
	}
	p.setting.Lock()
	defer p.setting.Unlock()
	if p.last == nil || bytes.Equal(st.GetDigest(), p.last.digest) {
		return nil
	}
	// It may have been told something since it was asked.
	if st, err = p.standing(ctx); err != nil || bytes.Equal(st.GetDigest(), p.last.digest) {
		return err
	}
	p.log.Warn("the speaker announces something else than it should, and is told anew", "revision", p.last.set.Revision, "its_revision", st.GetRevision())
	ctx, cancel := context.WithTimeout(ctx, setTimeout)
	defer cancel()
	return p.replace(ctx)
}

// standing asks, and remembers the answer.
func (p *Proxy) standing(ctx context.Context) (*speakerv1.StandingResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	st, err := p.feed.Standing(ctx, &speakerv1.StandingRequest{})
	var out *wanted.Out
	if err == nil {
		out, err = unpackOut(st.GetOut())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		p.lost = "the speaker's process does not answer: " + status.Convert(err).Message()
		return nil, err
	}
	if p.instance != "" && p.instance != st.GetInstance() {
		p.log.Warn("the speaker is another process than before", "version", st.GetVersion())
	}
	p.out, p.lost, p.instance = out, "", st.GetInstance()
	return st, nil
}

// Status is what the speaker says of itself; of one that does not answer only why.
func (p *Proxy) Status() wanted.Status {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	r, err := p.feed.Report(ctx, &speakerv1.ReportRequest{})
	var st wanted.Status
	if err == nil {
		st, err = unpackStatus(r.GetStatus())
	}
	if err != nil {
		return wanted.Status{Lost: "the speaker's process does not answer: " + status.Convert(err).Message()}
	}
	return st
}

// Out is the order to stay out that was in force when the speaker was asked last, a moment ago.
func (p *Proxy) Out() (wanted.Out, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out == nil {
		return wanted.Out{}, false
	}
	return *p.out, true
}

// Lost says why the speaker does not answer; empty if it did a moment ago.
func (p *Proxy) Lost() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost
}

// Metrics are the speaker's, each family marshalled.
func (p *Proxy) Metrics(ctx context.Context) ([][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	r, err := p.feed.Metrics(ctx, &speakerv1.MetricsRequest{})
	return r.GetFamilies(), err
}

// Shutdown ends the speaker's process in order, and returns when it has been told; it waits for one that is just starting.
func (p *Proxy) Shutdown(ctx context.Context) error {
	_, err := p.feed.Shutdown(ctx, &speakerv1.ShutdownRequest{}, grpc.WaitForReady(true))
	return err
}

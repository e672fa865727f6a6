package remote_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/remote"
	"github.com/tidegate/tidegate/bgp/wanted"
	speakerv1 "github.com/tidegate/tidegate/proto/tidegate/speaker/v1"
)

// fakeSpeaker withdraws when it is told to, and not before.
type fakeSpeaker struct {
	mu        sync.Mutex
	st        wanted.Status
	keeps     error // why it does not resume
	asks      int   // for the status while out
	goneAfter int   // so many of them
	panics    bool
}

func (f *fakeSpeaker) StayOut(o wanted.Out) (wanted.Out, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.st.Out != nil {
		return *f.st.Out, true
	}
	f.st.Out = &o
	return o, false
}

func (f *fakeSpeaker) Resume() (wanted.Out, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := f.st.Out
	if o == nil {
		return wanted.Out{}, false, nil
	}
	if f.keeps != nil {
		return *o, true, f.keeps
	}
	f.st.Out = nil
	return *o, true, nil
}

func (f *fakeSpeaker) Status() wanted.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.panics {
		panic("no status")
	}
	st := f.st
	if st.Out != nil {
		f.asks++
	}
	if st.Out != nil && f.asks > f.goneAfter {
		st.Sessions = nil
		for _, s := range f.st.Sessions {
			s.Routes = nil
			st.Sessions = append(st.Sessions, s)
		}
	}
	return st
}

func key(t *testing.T, dst string) flowspec.Key {
	t.Helper()
	m, err := flowspec.NewMatch(flowspec.IPv4, flowspec.Destination(netip.MustParsePrefix(dst)))
	if err != nil {
		t.Fatal(err)
	}
	return m.Key()
}

func announcing(t *testing.T) *fakeSpeaker {
	hole := wanted.RTBHKey(netip.MustParsePrefix("203.0.113.7/32"))
	since := time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC)
	return &fakeSpeaker{st: wanted.Status{
		Revision: 7, At: 10, LeaseUntil: 10 + wanted.Instant(time.Minute),
		Sessions: []wanted.SessionStatus{
			{
				Router: wanted.Router{Name: "edge1", Address: netip.MustParseAddr("192.0.2.1"), Carries: wanted.FlowSpec}, State: wanted.SessionEstablished, Wanted: 5,
				Routes: []wanted.RouteStatus{
					{Key: key(t, "203.0.113.0/25"), State: wanted.RouteSent, Since: since},
					{Key: key(t, "203.0.113.128/25"), State: wanted.RoutePaced},
					{Key: key(t, "198.51.100.0/25"), State: wanted.RouteQueued, Since: since}, // heard with an earlier action
					{Key: key(t, "198.51.100.128/25"), State: wanted.RouteRefused},
					{Key: key(t, "198.51.100.128/26"), State: wanted.RouteSuperseded, Since: since},
				},
			},
			{
				Router: wanted.Router{Name: "edge2", Address: netip.MustParseAddr("192.0.2.2"), Carries: wanted.RTBH}, State: wanted.SessionStuck, Wanted: 1,
				LastError: "the router has stopped reading", Routes: []wanted.RouteStatus{{Key: hole, State: wanted.RouteSending}},
			},
			{
				Router: wanted.Router{Name: "edge3", Address: netip.MustParseAddr("192.0.2.3"), Carries: wanted.FlowSpec}, State: wanted.SessionConnecting, Wanted: 1,
				Routes: []wanted.RouteStatus{{Key: key(t, "203.0.113.0/25"), State: wanted.RouteNoSession}},
			},
		},
	}}
}

// serve runs a server for s and returns a client and the socket.
func serve(t *testing.T, s remote.Speaker) (*remote.Client, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "speaker") //nolint:usetesting // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, remote.SocketName)
	l, err := remote.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	srv := remote.New(remote.Config{Node: "n1", Others: []remote.Other{{Node: "n2", API: "192.0.2.12:7400"}}}, s, nil, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("server: %v", err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	c, err := remote.Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c, path
}

func TestWithdrawAllAndResume(t *testing.T) {
	f := announcing(t)
	f.goneAfter = 3
	c, path := serve(t, f)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v", info, err)
	}
	first, err := c.WithdrawAll(t.Context(), &speakerv1.WithdrawAllRequest{Reason: " wrong rule ", OnBehalfOf: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	want := &speakerv1.WithdrawAllResponse{
		Withdrawn: []string{"dst 198.51.100.0/25", "dst 198.51.100.128/26", "dst 203.0.113.0/25", "dst 203.0.113.7/32 (blackhole)"},
		Speaker: &speakerv1.Speaker{
			Node: "n1", Pid: uint32(os.Getpid()), Revision: 7, LeaseRemaining: durationpb.New(time.Minute), Others: []*speakerv1.Other{{Node: "n2", ApiAddress: "192.0.2.12:7400"}},
			Out: &speakerv1.Out{By: first.GetSpeaker().GetOut().GetBy(), Reason: "wrong rule"},
			Sessions: []*speakerv1.Session{
				{Router: "edge1", Address: "192.0.2.1", Carries: "flowspec", State: "established", Announced: 3, Wanted: 5},
				{
					Router: "edge2", Address: "192.0.2.2", Carries: "rtbh", State: "stuck", Announced: 1, Wanted: 1,
					Detail: "the router has stopped reading; if it does not read again the session is reset, upon which it drops what it heard",
				},
				{
					Router: "edge3", Address: "192.0.2.3", Carries: "flowspec", State: "connecting", Wanted: 1,
					Detail: "the session is down, so the router drops what it heard of this node, at the latest when its hold time is over",
				},
			},
		},
	}
	if diff := cmp.Diff(want, first, protocmp.Transform()); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	if by := first.GetSpeaker().GetOut().GetBy(); !strings.HasSuffix(by, " (alice by sudo)") {
		t.Errorf("ordered by %q", by)
	}
	again, err := c.WithdrawAll(t.Context(), &speakerv1.WithdrawAllRequest{Reason: "again", Wait: durationpb.New(time.Minute)})
	if err != nil || !again.GetAlready() || !again.GetComplete() || again.GetSpeaker().GetOut().GetReason() != "wrong rule" {
		t.Errorf("again, waiting: %v, %v", again, err)
	}
	f.keeps = errors.New("cannot resume, everything stays withdrawn: disk on fire")
	if _, err := c.Resume(t.Context(), &speakerv1.ResumeRequest{}); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "disk on fire") {
		t.Errorf("resume with a disk on fire: %v", err)
	}
	f.keeps = nil
	r, err := c.Resume(t.Context(), &speakerv1.ResumeRequest{})
	if err != nil || r.GetEnded().GetReason() != "wrong rule" || r.GetSpeaker().GetOut() != nil {
		t.Errorf("resume: %v, %v", r, err)
	}
	if r, err := c.Resume(t.Context(), &speakerv1.ResumeRequest{}); err != nil || r.GetEnded() != nil {
		t.Errorf("resume of what is not out: %v, %v", r, err)
	}
	st, err := c.Status(t.Context(), &speakerv1.StatusRequest{})
	if err != nil || st.GetSpeaker().GetSessions()[0].GetAnnounced() != 3 {
		t.Errorf("status: %v, %v", st, err)
	}
}

func TestDamagedOrder(t *testing.T) {
	f := announcing(t)
	at := time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		in   *wanted.Out
		want *speakerv1.Out
	}{
		{&wanted.Out{Reason: "unknown", Trouble: "cannot read it"}, &speakerv1.Out{Reason: "unknown", Trouble: "cannot read it"}},
		{&wanted.Out{Since: at, By: "root", Reason: "x"}, &speakerv1.Out{Since: timestamppb.New(at), By: "root", Reason: "x"}},
	} {
		f.st.Out = c.in
		cl, _ := serve(t, f)
		st, err := cl.Status(t.Context(), &speakerv1.StatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, st.GetSpeaker().GetOut(), protocmp.Transform()); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
	}
}

// Nothing is withdrawn for a request that cannot be meant.
func TestRefuses(t *testing.T) {
	f := announcing(t)
	c, _ := serve(t, f)
	for _, row := range []struct {
		name string
		req  *speakerv1.WithdrawAllRequest
		want string
	}{
		{"no reason", &speakerv1.WithdrawAllRequest{Reason: "  "}, "reason: say why"},
		{"a long one", &speakerv1.WithdrawAllRequest{Reason: strings.Repeat("é", remote.MaxReason+1)}, "1001 characters"},
		{"two lines", &speakerv1.WithdrawAllRequest{Reason: "a\nb"}, "cannot be printed"},
		{"an escape", &speakerv1.WithdrawAllRequest{Reason: "x", OnBehalfOf: "\x1b[2J"}, "on_behalf_of"},
		{"a negative wait", &speakerv1.WithdrawAllRequest{Reason: "x", Wait: durationpb.New(-1)}, "wait"},
		{"an endless wait", &speakerv1.WithdrawAllRequest{Reason: "x", Wait: durationpb.New(time.Hour)}, "wait"},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, err := c.WithdrawAll(t.Context(), row.req)
			if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
	if f.st.Out != nil {
		t.Errorf("withdrawn nevertheless: %+v", f.st.Out)
	}
}

// A call that panics is an error to its caller, and to nobody else.
func TestPanic(t *testing.T) {
	f := announcing(t)
	f.panics = true
	c, _ := serve(t, f)
	if _, err := c.Status(t.Context(), &speakerv1.StatusRequest{}); status.Code(err) != codes.Internal {
		t.Errorf("got %v", err)
	}
	f.mu.Lock()
	f.panics = false
	f.mu.Unlock()
	if _, err := c.Status(t.Context(), &speakerv1.StatusRequest{}); err != nil {
		t.Error(err)
	}
}

// What is at the path decides what Dial and Listen say of it.
func TestPaths(t *testing.T) {
	dir, err := os.MkdirTemp("", "speaker") //nolint:usetesting // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) }) //nolint:errcheck // it is a temporary one
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(at("file"), []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: at("left"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close()
	_, used := serve(t, announcing(t))

	for _, c := range []struct {
		name, path   string
		dial, listen error
	}{
		{"nothing", at("nothing"), remote.ErrNoSocket, nil},
		{"a directory that is none", at("file/socket"), remote.ErrNoSocket, os.ErrInvalid},
		{"a file", at("file"), remote.ErrNoSpeaker, remote.ErrNoSpeaker},
		{"a socket that was left", at("left"), remote.ErrNobody, nil},
		{"a socket in use", used, nil, remote.ErrInUse},
		{"a path too long", at(strings.Repeat("x", remote.MaxPath)), remote.ErrNoSocket, os.ErrInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl, err := remote.Dial(t.Context(), c.path)
			if !errors.Is(err, c.dial) || (err == nil) != (c.dial == nil) {
				t.Errorf("dial: %v, want %v", err, c.dial)
			}
			if err == nil {
				cl.Close()
			}
			l, err := remote.Listen(c.path)
			switch {
			case c.listen == nil && err != nil, c.listen != nil && err == nil:
				t.Errorf("listen: %v, want %v", err, c.listen)
			case c.listen != nil && !errors.Is(c.listen, os.ErrInvalid) && !errors.Is(err, c.listen):
				t.Errorf("listen: %v, want %v", err, c.listen)
			}
			if err == nil {
				l.Close()
			}
		})
	}
	if b, err := os.ReadFile(at("file")); err != nil || string(b) != "precious" {
		t.Errorf("the file is now %q, %v", b, err)
	}
}

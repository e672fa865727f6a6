package controller

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/policy"
)

// tcp is a plain stream layer over loopback; the binary's speaks TLS.
type tcp struct{ net.Listener }

func (tcp) Dial(a string, timeout time.Duration) (net.Conn, error) {
	return net.DialTimeout("tcp", string(a), timeout)
}

// diskNode runs a node on files and TCP; it returns when the node decides.
func diskNode(t testing.TB, dir string, listener net.Listener, members []Member, id string) (*Controller, *fakeSpeaker, func()) {
	t.Helper()
	base := time.Now()
	elapsed := func() wanted.Instant { return wanted.Instant(time.Since(base)) }
	sp := &fakeSpeaker{elapsed: elapsed}
	c, err := New(Config{Cluster: "disk", NodeID: id, DataDir: dir, Members: members}, Deps{
		Elapsed: elapsed, Now: time.Now, Speaker: sp, Streams: tcp{listener},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	return c, sp, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("%s ended with %v", id, err)
		}
	}
}

func listen(t testing.TB, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// until polls by events: each new State, and a tick for what has no event.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func TestDiskClusterRestarts(t *testing.T) {
	var members []Member
	var listeners []net.Listener
	for _, id := range []string{"n1", "n2", "n3"} {
		l := listen(t, "127.0.0.1:0")
		listeners = append(listeners, l)
		members = append(members, Member{ID: id, RaftAddress: l.Addr().String(), APIAddress: "unused"})
	}
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	nodes := make([]*Controller, 3)
	speakers := make([]*fakeSpeaker, 3)
	stops := make([]func(), 3)
	boot := func(i int) {
		l := listeners[i]
		if l == nil {
			l = listen(t, members[i].RaftAddress)
		}
		listeners[i] = nil
		nodes[i], speakers[i], stops[i] = diskNode(t, dirs[i], l, members, members[i].ID)
	}
	for i := range nodes {
		boot(i)
	}
	leader := func() (l int) {
		until(t, "a leader", func() bool {
			for i, n := range nodes {
				if n != nil && n.Status().Leader {
					l = i
					return true
				}
			}
			return false
		})
		return l
	}
	must := func(i int, cmd Command) Outcome {
		out, err := nodes[i].Write(t.Context(), cmd)
		if err != nil || out.Decision.Verdict.Kind == policy.Refused {
			t.Fatalf("%v %+v", err, out.Decision.Verdict)
		}
		return out
	}
	l := leader()
	must(l, apply("a"))
	first := must(l, start("203.0.113.9/32", "b"))

	if _, err := New(Config{NodeID: "n1", DataDir: dirs[0], Members: members}, Deps{
		Elapsed: nodes[0].deps.Elapsed, Now: time.Now, Speaker: speakers[0], Streams: tcp{},
	}); !errors.Is(err, ErrLocked) {
		t.Errorf("a second process on the data directory: %v", err)
	}

	// A leader that is told to stop gives way at once.
	at := time.Now()
	stops[l]()
	nodes[l] = nil
	must(leader(), start("203.0.113.10/32", "c"))
	t.Logf("%s from the order to stop to the next write", time.Since(at))
	for i, n := range nodes {
		if n != nil {
			stops[i]()
			nodes[i] = nil
		}
	}
	for i := range nodes {
		boot(i)
	}
	l = leader()
	again := must(l, start("203.0.113.9/32", "b"))
	if !again.Repeated || again.Index != first.Index {
		t.Errorf("after the restart the request id is answered with %+v", again)
	}
	until(t, "all speakers to announce both rules", func() bool {
		for _, s := range speakers {
			if set, _ := s.get(); len(set.Routes) != 2 {
				return false
			}
		}
		return true
	})
	for i := range nodes {
		stops[i]()
	}
}

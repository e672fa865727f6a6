package remote

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/bgp/wanted"
)

// fakeAnnouncer remembers the sets that it was told, as package bgp's speaker judges them.
type fakeAnnouncer struct {
	mu   sync.Mutex
	sets []wanted.Set
	out  *wanted.Out
}

func (f *fakeAnnouncer) Set(_ context.Context, w wanted.Set) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.sets); n > 0 && w.Revision < f.sets[n-1].Revision {
		return errors.New("set is older than the one in force")
	}
	f.sets = append(f.sets, w)
	return nil
}

func (f *fakeAnnouncer) Status() wanted.Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	st := wanted.Status{At: 5, Out: f.out}
	if n := len(f.sets); n > 0 {
		st.Revision = f.sets[n-1].Revision
	}
	return st
}

func (f *fakeAnnouncer) Out() (wanted.Out, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.out == nil {
		return wanted.Out{}, false
	}
	return *f.out, true
}

func (f *fakeAnnouncer) StayOut(o wanted.Out) (wanted.Out, bool) { return o, false }
func (f *fakeAnnouncer) Resume() (wanted.Out, bool, error)       { return wanted.Out{}, false, nil }

func (f *fakeAnnouncer) newest() wanted.Set {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.sets) == 0 {
		return wanted.Set{}
	}
	return f.sets[len(f.sets)-1]
}

func (f *fakeAnnouncer) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.sets)
}

// far is a speaker's process at a socket.
type far struct {
	*fakeAnnouncer
	kept *[]byte
	stop func()
}

// startFar starts one; what it keeps goes to kept.
func startFar(t *testing.T, path string, kept *[]byte, restore bool) *far {
	t.Helper()
	a := &fakeAnnouncer{}
	var mu sync.Mutex
	ctx, cancel := context.WithCancel(context.Background())
	feed := NewFeed(FeedDeps{
		Announcer: a, Log: slog.New(slog.DiscardHandler), Version: "test", BootID: "boot", Elapsed: func() wanted.Instant { return 5 }, Now: func() time.Time { return time.Unix(100, 0) },
		Keep: func(data []byte) error {
			mu.Lock()
			defer mu.Unlock()
			*kept = slices.Clone(data)
			return nil
		},
		Metrics:  func() ([][]byte, error) { return [][]byte{[]byte("m")}, nil },
		Shutdown: cancel,
	})
	if restore {
		if err := feed.Restore(ctx, *kept); err != nil {
			t.Fatal(err)
		}
	}
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := New(Config{Node: "n1"}, a, feed, slog.New(slog.DiscardHandler)).Serve(ctx, l); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		if err := feed.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	f := &far{fakeAnnouncer: a, kept: kept, stop: func() {
		cancel()
		wg.Wait()
	}}
	t.Cleanup(f.stop)
	return f
}

func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "feed") //nolint:usetesting // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) }) //nolint:errcheck // it is a temporary one
	return filepath.Join(dir, SocketName)
}

func newProxy(t *testing.T, path string) *Proxy {
	t.Helper()
	p, err := NewProxy(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// until waits for cond, which an event of another goroutine makes true.
func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !cond() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: not in time", what)
		}
	}
}

// TestProxy: sets arrive as they were sent, whole or as a change; a speaker that was started anew has the last one before
// anybody tells it, and is told what it missed.
func TestProxy(t *testing.T) {
	path := socketPath(t)
	var kept []byte
	one := startFar(t, path, &kept, false)
	p := newProxy(t, path)
	if err := p.Set(t.Context(), wanted.Set{}); err == nil || one.count() > 0 {
		t.Errorf("a set that nobody filled in: %v", err)
	}
	set := wanted.Set{Revision: 1, LeaseUntil: 1 << 40, Routers: []wanted.Router{{Name: "r", Password: "s3cret"}}, Protected: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}
	for i := range 2500 {
		set.Routes = append(set.Routes, host(2*i, 1))
	}
	tell := func(to *far) {
		t.Helper()
		if err := p.Set(t.Context(), set); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(set, to.newest(), comparing()...); diff != "" {
			t.Fatalf("set (-want +got):\n%s", diff)
		}
	}
	tell(one)
	first := one.newest().Routes[0]
	set.Revision, set.Routes = 2, append(slices.Clone(set.Routes), host(9001, 1))
	tell(one)
	if one.newest().Routes[0] != first {
		t.Error("a change of one route made all of them anew")
	}
	// Another controller, which knows nothing of what was told before, tells the whole set.
	q := newProxy(t, path)
	set.Revision = 3
	if err := q.Set(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	set.Revision, set.LeaseUntil = 4, 1<<41
	tell(one) // the change of p is none of this set's: it sends the whole
	old := set
	old.Revision = 2
	if err := p.Set(t.Context(), old); err == nil || !strings.Contains(err.Error(), "older than the one in force") {
		t.Errorf("an old set: %v", err)
	}
	tell(one)

	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	until(t, "the speaker answers", func() bool { return p.Lost() == "" })
	one.mu.Lock()
	one.out = &wanted.Out{By: "root", Reason: "x"}
	one.mu.Unlock()
	until(t, "it is out", func() bool { o, out := p.Out(); return out && o.Reason == "x" })
	if st := p.Status(); st.Revision != 4 || st.Lost != "" || st.Out == nil {
		t.Errorf("status: %+v", st)
	}
	if m, err := p.Metrics(t.Context()); err != nil || len(m) != 1 {
		t.Errorf("metrics: %q, %v", m, err)
	}
	one.stop()
	until(t, "it is lost", func() bool { return strings.Contains(p.Lost(), "does not answer") })
	if st := p.Status(); !strings.Contains(st.Lost, "does not answer") {
		t.Errorf("status of nobody: %+v", st)
	}
	two := startFar(t, path, &kept, true)
	if diff := cmp.Diff(set, two.sets[0], comparing()...); diff != "" {
		t.Errorf("what was kept (-want +got):\n%s", diff)
	}
	set.Revision, set.Routes = 5, set.Routes[1:]
	tell(two)
	two.stop()
	three := startFar(t, path, &kept, false)
	until(t, "a speaker that has lost everything is told", func() bool { return three.newest().Revision == 5 })
	if diff := cmp.Diff(set, three.newest(), comparing()...); diff != "" {
		t.Errorf("told anew (-want +got):\n%s", diff)
	}
	if err := p.Shutdown(t.Context()); err != nil {
		t.Logf("the answer to a shutdown may get lost: %v", err)
	}
	until(t, "it has ended", func() bool { return p.Lost() != "" })
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestRestore: within one boot the boot clock counts; over boots what is left of each time, less what the wall clock says
// has passed, never more than there was.
func TestRestore(t *testing.T) {
	const second = wanted.Instant(time.Second)
	set := wanted.Set{Revision: 7, LeaseUntil: 1000 * second, Routes: []*wanted.Route{host(1, 1), host(2, 1)}}
	set.Routes[0].NotAfter, set.Routes[1].NotAfter = 400*second, 90*second
	feed := func(boot string, elapsed wanted.Instant, wall int64) *Feed {
		return NewFeed(FeedDeps{
			Announcer: &fakeAnnouncer{}, Log: slog.New(slog.DiscardHandler), BootID: boot,
			Elapsed: func() wanted.Instant { return elapsed }, Now: func() time.Time { return time.Unix(wall, 0) },
		})
	}
	data, err := feed("a", 100*second, 5000).freeze(hold(&set))
	if err != nil {
		t.Fatal(err)
	}
	rows := []struct {
		name    string
		boot    string
		elapsed wanted.Instant
		wall    int64
		want    []wanted.Instant // lease, then each route
	}{
		{"the same boot, later", "a", 300 * second, 5200, []wanted.Instant{1000 * second, 400 * second, 90 * second}},
		{"the same boot, a wall clock that was set", "a", 300 * second, 1, []wanted.Instant{1000 * second, 400 * second, 90 * second}},
		{"another boot, a minute later", "b", 10 * second, 5060, []wanted.Instant{850 * second, 250 * second, 10 * second}},
		{"another boot, a wall clock that went back", "b", 10 * second, 1, []wanted.Instant{910 * second, 310 * second, 10 * second}},
		{"another boot, a week later", "b", 10 * second, 5000 + 7*86400, []wanted.Instant{10 * second, 10 * second, 10 * second}},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			f := feed(r.boot, r.elapsed, r.wall)
			if err := f.Restore(t.Context(), data); err != nil {
				t.Fatal(err)
			}
			a, ok := f.deps.Announcer.(*fakeAnnouncer)
			if !ok {
				t.Fatal("no fake")
			}
			got := a.newest()
			times := []wanted.Instant{got.LeaseUntil, got.Routes[0].NotAfter, got.Routes[1].NotAfter}
			if diff := cmp.Diff(r.want, times); diff != "" {
				t.Errorf("lease and ends (-want +got):\n%s", diff)
			}
		})
	}
	for i := range data {
		bad := slices.Clone(data)
		bad[i] ^= 0x10
		f := feed("a", 300*second, 5200)
		if err := f.Restore(t.Context(), bad); err == nil {
			// What is not of the set itself, such as the time of writing, is outside of its digest.
			if a, ok := f.deps.Announcer.(*fakeAnnouncer); !ok || !sameRules(a.newest(), set) {
				t.Errorf("octet %d changed: announces %+v", i, a.newest())
			}
		}
	}
	for _, n := range []int{0, 1, len(data) / 2, len(data) - 40} {
		if err := feed("a", 300*second, 5200).Restore(t.Context(), data[:n]); err == nil {
			t.Errorf("%d octets of %d are taken for a set", n, len(data))
		}
	}
}

// sameRules reports whether the sets announce the same, whatever the times.
func sameRules(a, b wanted.Set) bool {
	return slices.EqualFunc(a.Routes, b.Routes, func(x, y *wanted.Route) bool { return x.Key == y.Key && x.Rule.Equal(y.Rule) && x.MED == y.MED })
}

func FuzzRestore(f *testing.F) {
	set := wanted.Set{Revision: 7, LeaseUntil: 1000, Routes: []*wanted.Route{host(1, 1)}}
	deps := FeedDeps{Announcer: &fakeAnnouncer{}, Log: slog.New(slog.DiscardHandler), BootID: "a", Elapsed: func() wanted.Instant { return 1 }, Now: func() time.Time { return time.Unix(1, 0) }}
	data, err := NewFeed(deps).freeze(hold(&set))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		a := &fakeAnnouncer{}
		d := deps
		d.Announcer = a
		if err := NewFeed(d).Restore(t.Context(), data); (err == nil) != (a.count() == 1) {
			t.Fatalf("error %v with %d sets", err, a.count())
		}
	})
}

// BenchmarkProxySet is one changed route among 10,000, to the other process and back: here over a socket of one process.
func BenchmarkProxySet(b *testing.B) {
	path := filepath.Join(b.TempDir(), "s")
	a := &fakeAnnouncer{}
	feed := NewFeed(FeedDeps{Announcer: a, Log: slog.New(slog.DiscardHandler), Elapsed: func() wanted.Instant { return 5 }, Now: time.Now, Keep: func([]byte) error { return nil }})
	l, err := Listen(path)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- New(Config{Node: "n1"}, a, feed, slog.New(slog.DiscardHandler)).Serve(ctx, l) }()
	p, err := NewProxy(path, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	set := wanted.Set{Revision: 1}
	for i := range 10_000 {
		set.Routes = append(set.Routes, host(i, 1))
	}
	for b.Loop() {
		set.Routes = slices.Clone(set.Routes)
		set.Routes[5000] = host(5000, uint32(set.Revision))
		set.Revision++
		if err := p.Set(b.Context(), set); err != nil {
			b.Fatal(err)
		}
	}
	if err := p.Close(); err != nil {
		b.Error(err)
	}
	cancel()
	if err := <-ended; err != nil {
		b.Error(err)
	}
}

func BenchmarkStanding(b *testing.B) {
	path := filepath.Join(b.TempDir(), "s")
	feed := NewFeed(FeedDeps{Announcer: &fakeAnnouncer{}, Log: slog.New(slog.DiscardHandler)})
	l, err := Listen(path)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- New(Config{Node: "n1"}, &fakeAnnouncer{}, feed, slog.New(slog.DiscardHandler)).Serve(ctx, l)
	}()
	p, err := NewProxy(path, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := p.standing(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	p.Close()
	cancel()
	<-ended
}

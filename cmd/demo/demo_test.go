package demo

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/api/manifest"
	"github.com/tidegate/tidegate/bgp/bgptest"
	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/cmd/node"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

func TestScreen(t *testing.T) {
	var b bytes.Buffer
	s := &screen{w: &b, width: 60, start: time.Now()}
	s.chapter("A %s", "flood")
	s.fact("something was measured")
	if err := s.check(true, "it held"); err != nil {
		t.Errorf("an expectation that held: %v", err)
	}
	err := s.check(false, "it did not hold, and that takes more than one line of the screen to say")
	if _, ok := errors.AsType[*expectationError](err); !ok {
		t.Errorf("an expectation that did not hold: got %v, want an *expectationError", err)
	}
	lines := strings.Split(b.String(), "\n")
	for i, want := range []string{"", "1. A flood", "something was measured", " ok    it held", " FAIL  it did not hold"} {
		if !strings.Contains(lines[i], want) {
			t.Errorf("line %d: %q does not contain %q", i, lines[i], want)
		}
	}
	for _, l := range lines {
		if len(l) > 60 {
			t.Errorf("%d columns: %q", len(l), l)
		}
	}
	if s.held != 1 {
		t.Errorf("%d expectations held, want 1", s.held)
	}
}

// TestSample: the embedded files are documents, and the nodes' files are such that a node accepts them.
func TestSample(t *testing.T) {
	router, err := bgptest.NewRouter(bgptest.Config{ASN: routerASN})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	defer router.Run(ctx) //nolint:errcheck // it only closes the listener
	d := &demo{router: router}
	docs, err := d.documents()
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, doc := range docs {
		var b bytes.Buffer
		if err := manifest.Write(&b, doc); err != nil {
			t.Fatal(err)
		}
		kind, _, _ := strings.Cut(strings.TrimPrefix(b.String(), "kind: "), "\n")
		count[kind]++
		if r := doc.GetRouter(); r != nil && r.GetPort() != uint32(router.Addr().Port()) {
			t.Errorf("router has port %d, want %d", r.GetPort(), router.Addr().Port())
		}
	}
	want := map[string]int{"Customer": 3, "ProtectedBlock": 2, "Policy": 2, "Router": 1}
	if diff := cmp.Diff(want, count); diff != "" {
		t.Errorf("documents (-want +got):\n%s", diff)
	}
}

func TestLab(t *testing.T) {
	l, err := newLab(t.TempDir(), "/nope", func(*member) {})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range l.members {
		cfg, err := node.ReadConfig(m.file)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range node.Check(cfg, time.Now()) {
			if f.Grade != node.Good {
				t.Errorf("%s: %s %s: %s", m.ID, f.Grade, f.What, f.Text)
			}
		}
	}
	if err := l.start(l.members[0]); err == nil {
		t.Error("a program that does not exist was started")
	}
	if err := l.close(true); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(l.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		if ext := filepath.Ext(e.Name()); ext != ".log" && ext != ".yaml" {
			t.Errorf("%s is left after a failure", e.Name())
		}
	}
	if err := l.close(false); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(l.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory is left: %v", err)
	}
}

// TestDiedChild: a node that ends by itself ends the demo, which says so and keeps the logs.
func TestDiedChild(t *testing.T) {
	if _, err := os.Stat("/bin/false"); err != nil {
		t.Fatal("this test needs /bin/false")
	}
	var out bytes.Buffer
	dir := t.TempDir()
	err := Run(t.Context(), Config{Out: &out, Width: 100, Executable: "/bin/false", TempDir: dir})
	if err == nil || !strings.Contains(err.Error(), "ended by itself") {
		t.Fatalf("got %v, want that a node ended by itself", err)
	}
	if !strings.Contains(out.String(), "The demo failed.") || !strings.Contains(out.String(), dir) {
		t.Errorf("it is not said where the logs are:\n%s", out.String())
	}
	logs, err := filepath.Glob(filepath.Join(dir, "tidegate-demo-*", "*.log"))
	if err != nil || len(logs) == 0 {
		t.Errorf("no logs are kept: %v", err)
	}
}

// witnessOf is a demo whose router heard rules from sessions of two peers.
func witnessOf(t *testing.T, rules ...string) (*demo, []flowspec.Key, func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	edge, err := bgptest.NewRouter(bgptest.Config{ASN: routerASN, KeepUpdates: true})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	go func() { ended <- edge.Run(ctx) }()
	peer, err := bgptest.NewRouter(bgptest.Config{ASN: nodeASN, RouterID: netip.MustParseAddr("10.0.0.1")})
	if err != nil {
		t.Fatal(err)
	}
	peerCtx, stopPeer := context.WithCancel(ctx)
	go func() { ended <- peer.Run(peerCtx) }()
	t.Cleanup(func() {
		cancel()
		stopPeer()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	if err := peer.Dial(ctx, edge.Addr()); err != nil {
		t.Fatal(err)
	}
	if _, err := edge.WaitSession(ctx, netip.MustParseAddr("10.0.0.1")); err != nil {
		t.Fatal(err)
	}
	var keys []flowspec.Key
	for _, text := range rules {
		r, err := flowspec.ParseRule(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := peer.Announce(bgptest.Route{Rule: r}); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, r.Match.Key())
	}
	d := &demo{router: edge, lab: &lab{members: []*member{{ID: "n1", RouterID: "10.0.0.1"}}}, s: &screen{w: &bytes.Buffer{}, start: time.Now(), width: 100}}
	if err := d.waitHeard(ctx, keys, 1); err != nil {
		t.Fatal(err)
	}
	return d, keys, stopPeer
}

// TestWitnessSees: the checks of the demo fail when what they look at is not so.
func TestWitnessSees(t *testing.T) {
	const text = "dst 203.0.113.0/30 proto udp sport 123 => discard"
	began := time.Now()
	d, keys, stopPeer := witnessOf(t, text)
	m := &pb.Mitigation{Id: "M1", Rules: []string{text}}
	if err := d.sameRules(m, keys); err != nil {
		t.Errorf("the same rules: %v", err)
	}
	m.Rules[0] = "dst 203.0.113.0/30 proto udp sport 123 => rate 10Mbps"
	if err := d.sameRules(m, keys); err == nil {
		t.Error("a rule with another action was not seen")
	}
	if d.marked(keys) {
		t.Error("a path without NO_EXPORT was not seen")
	}
	packet := flowspec.Packet{Src: netip.MustParseAddr("192.0.2.250"), Protocol: 17, HasPorts: true, SrcPort: 123, DstPort: 40000, Length: 468}
	if acted, spared := d.actedOn(netip.MustParsePrefix("203.0.113.0/29"), packet); acted != 4 || len(spared) != 4 {
		t.Errorf("acted on %d and spared %v, want 4 of each", acted, spared)
	}
	if n, sum := d.absences(keys, began); n != 0 || sum != 0 {
		t.Errorf("%d absences, %s in sum, before anything was lost", n, sum)
	}
	if low := d.fewest(keys[0], time.Now()); low != 1 {
		t.Errorf("at least %d sessions, want 1", low)
	}
	from := time.Now()
	stopPeer() // the only session goes, and the rule with it
	if err := d.waitEmpty(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, sum := d.absences(keys, from); n != 1 || sum <= 0 {
		t.Errorf("%d absences, %s in sum, after the loss of the rule; want 1", n, sum)
	}
	if low := d.fewest(keys[0], from); low != 0 {
		t.Errorf("at least %d sessions, want 0", low)
	}
	if err := d.noGap(keys, nil, from); err == nil {
		t.Error("a gap was not seen")
	}
}

// TestAudienceGone: when nobody reads any more the demo ends, leaves nothing behind, and does not call that a failure of
// the nodes.
func TestAudienceGone(t *testing.T) {
	dir := t.TempDir()
	err := Run(t.Context(), Config{Out: closedPipe{}, Executable: "/bin/false", TempDir: dir})
	if !errors.Is(err, syscall.EPIPE) {
		t.Errorf("got %v, want a broken pipe", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

type closedPipe struct{}

func (closedPipe) Write([]byte) (int, error) { return 0, syscall.EPIPE }

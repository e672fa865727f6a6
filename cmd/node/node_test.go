package node

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/api/auth/pki"
	"github.com/tidegate/tidegate/bgp/remote"
	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/controller"
	speakerv1 "github.com/tidegate/tidegate/proto/tidegate/speaker/v1"
)

func solo(t *testing.T) Config {
	t.Helper()
	return Config{
		Node: "solo", DataDir: filepath.Join(t.TempDir(), "data"), API: "127.0.0.1:0", HTTP: "127.0.0.1:0",
		BGP: BGP{ASN: 65001, RouterID: netip.MustParseAddr("192.0.2.1")}, Cluster: Cluster{Name: DefaultCluster},
	}
}

// run starts a node and returns its addresses, a function that stops it, and what Run returned.
func run(t *testing.T, cfg Config) (Addresses, func() error) {
	t.Helper()
	up := make(chan Addresses, 1)
	n, err := New(cfg, Deps{Logger: slog.New(slog.DiscardHandler), Version: "test", Listening: func(a Addresses) { up <- a }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	stop := func() error {
		cancel()
		return <-ended
	}
	select {
	case a := <-up:
		t.Cleanup(cancel)
		return a, stop
	case err := <-ended:
		cancel()
		t.Fatalf("node ended: %v", err)
		return Addresses{}, nil
	}
}

// get asks until the answer has the status, or the test's time is over.
func get(t *testing.T, url string, status int) string {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if r.StatusCode == status {
			return string(body)
		}
		<-tick.C
	}
}

func TestSingleNode(t *testing.T) {
	cfg := solo(t)
	at, stop := run(t, cfg)
	if got := get(t, "http://"+at.HTTP+"/readyz", http.StatusOK); got != "ready\n" {
		t.Errorf("readyz: %q", got)
	}
	if got := get(t, "http://"+at.HTTP+"/livez", http.StatusOK); got != "alive\n" {
		t.Errorf("livez: %q", got)
	}
	if got := get(t, "http://"+at.HTTP+"/metrics", http.StatusOK); !strings.Contains(got, "tidegate_applied_index") || !strings.Contains(got, "go_goroutines") {
		t.Errorf("metrics lack what they must have:\n%s", got)
	}
	dirs := cfg.OwnPKI()
	for dir, want := range map[string]string{dirs.Node: "member/solo", dirs.Admin: "admin/admin", dirs.Operator: "operator/operator", dirs.Detector: "detector/detector"} {
		id, cluster, err := auth.FilesIn(dir).Identity()
		if err != nil || id.String() != want || cluster != DefaultCluster {
			t.Errorf("%s: identity %s of %q, %v; want %s", dir, id, cluster, err, want)
		}
	}

	t.Run("a second process on the data directory", func(t *testing.T) {
		n, err := New(cfg, Deps{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Run(t.Context()); !errors.Is(err, controller.ErrLocked) {
			t.Errorf("got %v, want ErrLocked", err)
		}
	})
	if err := stop(); err != nil {
		t.Fatalf("stopping: %v", err)
	}

	t.Run("the same certificates after a restart", func(t *testing.T) {
		before, err := os.ReadFile(auth.FilesIn(dirs.Operator).Cert)
		if err != nil {
			t.Fatal(err)
		}
		_, stop := run(t, cfg)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		after, err := os.ReadFile(auth.FilesIn(dirs.Operator).Cert)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(before), string(after)); diff != "" {
			t.Errorf("certificate (-before +after):\n%s", diff)
		}
	})
}

// The gateway of a node is off unless its file says otherwise; then a certificate of the node's own authority opens it.
func TestREST(t *testing.T) {
	cfg := solo(t)
	if at, stop := run(t, cfg); at.REST != "" {
		t.Errorf("listens on %s without being told", at.REST)
	} else if err := stop(); err != nil {
		t.Fatal(err)
	}
	cfg.REST.Listen = "127.0.0.1:0"
	at, stop := run(t, cfg)
	client, _, _, err := auth.ClientTLS(auth.FilesIn(cfg.OwnPKI().Operator))
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{TLSClientConfig: client}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+at.REST+"/v1/cluster", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), `"cluster":"tidegate"`) {
		t.Errorf("got %d %s, %v", resp.StatusCode, body, err)
	}
	if err := stop(); err != nil {
		t.Errorf("stopping: %v", err)
	}
}

// A node on which somebody ordered everything withdrawn is out when it starts again, however damaged the record, and shows
// it; a socket that was left behind is in nobody's way.
func TestStaysOut(t *testing.T) {
	cfg := solo(t)
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cfg.outFile(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: cfg.SpeakerSocket(), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()

	at, stop := run(t, cfg)
	c, err := remote.Dial(t.Context(), cfg.SpeakerSocket())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	st, err := c.Status(t.Context(), &speakerv1.StatusRequest{})
	if err != nil || !strings.Contains(st.GetSpeaker().GetOut().GetTrouble(), "damaged") {
		t.Errorf("status: %v, %v", st, err)
	}
	if got := get(t, "http://"+at.HTTP+"/readyz", http.StatusServiceUnavailable); !strings.Contains(got, "out: everything is withdrawn") {
		t.Errorf("readyz: %q", got)
	}
	if got := get(t, "http://"+at.HTTP+"/metrics", http.StatusOK); !strings.Contains(got, "tidegate_bgp_out 1") {
		t.Errorf("metrics lack tidegate_bgp_out 1:\n%s", got)
	}
	if r, err := c.Resume(t.Context(), &speakerv1.ResumeRequest{}); err != nil || r.GetEnded() == nil {
		t.Errorf("resume: %v, %v", r, err)
	}
	get(t, "http://"+at.HTTP+"/readyz", http.StatusOK)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{cfg.outFile(), cfg.SpeakerSocket()} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
}

func TestRunTwice(t *testing.T) {
	n, err := New(solo(t), Deps{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if err := n.Run(ctx); !errors.Is(err, ErrAlreadyRan) {
		t.Errorf("got %v, want ErrAlreadyRan", err)
	}
}

func TestNewRefuses(t *testing.T) {
	dir := t.TempDir()
	ca, err := pki.NewCA("demo")
	if err != nil {
		t.Fatal(err)
	}
	tlsFor := func(role auth.Role, name string, hosts ...string) TLSFiles {
		b, err := ca.Issue(role, name, hosts...)
		if err != nil {
			t.Fatal(err)
		}
		d := filepath.Join(dir, name)
		if err := b.Write(d, true); err != nil {
			t.Fatal(err)
		}
		f := auth.FilesIn(d)
		return TLSFiles{CA: f.CA, Cert: f.Cert, Key: f.Key}
	}
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	rows := []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"files that are not there", func(c *Config) { c.TLS = TLSFiles{CA: "/nope/ca", Cert: "/nope/cert", Key: "/nope/key"} }, "/nope/cert"},
		{"the certificate of another node", func(c *Config) { c.TLS = tlsFor(auth.Member, "n2", "127.0.0.1") }, `names member/n2, and this node is "solo"`},
		{"the certificate of an operator", func(c *Config) { c.TLS = tlsFor(auth.Operator, "solo") }, "not a member's"},
		{"the certificate of another cluster", func(c *Config) { c.TLS, c.Cluster.Name = tlsFor(auth.Member, "solo", "127.0.0.1"), "other" }, `belongs to cluster "demo"`},
		{"a secret that is not there", func(c *Config) { c.Secrets = map[string]string{"md5": "/nope/secret"} }, `cannot read secret "md5"`},
		{"a secret that is empty", func(c *Config) { c.Secrets = map[string]string{"md5": empty} }, "is empty"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			cfg := solo(t)
			cfg.Cluster.Name = "demo"
			r.change(&cfg)
			_, err := New(cfg, Deps{Logger: slog.New(slog.DiscardHandler)})
			if err == nil || !strings.Contains(err.Error(), r.want) {
				t.Errorf("got %v, want it to contain %q", err, r.want)
			}
		})
	}
}

func TestRunParts(t *testing.T) {
	failure := errors.New("disk on fire")
	rows := []struct {
		name string
		fail string // the part that fails; empty: ctx ends
		err  error
		want error
	}{
		{"the context ends", "", nil, nil},
		{"the middle one fails", "b", failure, failure},
		{"the last one fails", "c", failure, failure},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var stopped []string // parts stop one after the other: no lock is needed, and -race would tell
			make1 := func(name string) part {
				return part{name, func(ctx context.Context) error {
					if name == r.fail {
						return r.err
					}
					<-ctx.Done()
					stopped = append(stopped, name)
					return ctx.Err()
				}}
			}
			if r.fail == "" {
				cancel()
			}
			err := runParts(ctx, []part{make1("a"), make1("b"), make1("c")})
			if !errors.Is(err, r.want) || (err == nil) != (r.want == nil) {
				t.Errorf("got %v, want %v", err, r.want)
			}
			want := slices.DeleteFunc([]string{"c", "b", "a"}, func(s string) bool { return s == r.fail })
			if diff := cmp.Diff(want, stopped); diff != "" {
				t.Errorf("order of stopping (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRunPartsEndingByItselfIsAFailure(t *testing.T) {
	err := runParts(t.Context(), []part{{"a", func(context.Context) error { return nil }}})
	if err == nil || err.Error() != "a ended by itself" {
		t.Errorf("got %v, want that a ended by itself", err)
	}
}

type fakeCluster struct {
	known  bool
	status controller.Status
}

func (f fakeCluster) Leader() (controller.Member, bool, bool) {
	return controller.Member{}, false, f.known
}
func (f fakeCluster) Status() controller.Status { return f.status }

func TestUnready(t *testing.T) {
	good := controller.Status{Serving: true, CaughtUp: true}
	at := time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC)
	rows := []struct {
		name string
		c    fakeCluster
		out  *wanted.Out
		want []string
	}{
		{"ready", fakeCluster{true, good}, nil, nil},
		{"no leader", fakeCluster{false, good}, nil, []string{"no leader is known"}},
		{"behind", fakeCluster{true, controller.Status{Serving: true}}, nil, []string{"not caught up with a leader since the start"}},
		{"stopped", fakeCluster{true, controller.Status{CaughtUp: true, StoppedBecause: "entry 7 is unknown"}}, nil, []string{"not serving: entry 7 is unknown"}},
		{"out", fakeCluster{true, good}, &wanted.Out{By: "root", Reason: "wrong rule", Since: at}, []string{
			"out: everything is withdrawn from this node's sessions until tidegate speaker resume is run there; ordered by root at 2026-11-24T03:00:00Z: wrong rule",
		}},
		{"out, and nobody knows why", fakeCluster{true, good}, &wanted.Out{Trouble: "it is damaged"}, []string{
			"out: everything is withdrawn from this node's sessions until tidegate speaker resume is run there: it is damaged",
		}},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			if diff := cmp.Diff(r.want, api.Unready(r.c, &wanted.Status{Out: r.out})); diff != "" {
				t.Errorf("reasons (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	grades := func(fs []Finding) map[string]Grade {
		out := map[string]Grade{}
		for _, f := range fs {
			if out[f.What] != Bad {
				out[f.What] = f.Grade
			}
		}
		return out
	}
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("s3cret\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	rows := []struct {
		name   string
		change func(*Config)
		what   string
		want   Grade
	}{
		{"good certificates to come", func(*Config) {}, "tls", Good},
		{"certificates that are not there", func(c *Config) { c.TLS = TLSFiles{CA: "/nope", Cert: "/nope", Key: "/nope"} }, "tls", Bad},
		{"a data directory to come", func(*Config) {}, "data_dir", Good},
		{"a data directory that is a file", func(c *Config) { c.DataDir = secret }, "data_dir", Bad},
		{"an address of another machine", func(c *Config) { c.API = "192.0.2.1:7400" }, "api", Bad},
		{"a local address of another machine", func(c *Config) { c.BGP.LocalAddress = netip.MustParseAddr("192.0.2.1") }, "bgp.local_address", Bad},
		{"a secret that others can read", func(c *Config) { c.Secrets = map[string]string{"md5": secret} }, "secrets.md5", Caution},
		{"a secret that is not there", func(c *Config) { c.Secrets = map[string]string{"md5": "/nope"} }, "secrets.md5", Bad},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			cfg := solo(t)
			r.change(&cfg)
			found := Check(cfg, time.Now())
			if got := grades(found)[r.what]; got != r.want {
				t.Errorf("%s: got %q, want %q, in %v", r.what, got, r.want, found)
			}
			if info, err := os.Stat(cfg.DataDir); err == nil && info.IsDir() {
				t.Error("the check made the data directory")
			}
		})
	}
}

package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/api/apitest"
	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/api/auth/pki"
	"github.com/tidegate/tidegate/api/client"
	"github.com/tidegate/tidegate/api/manifest"
	"github.com/tidegate/tidegate/controller"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

const inventory = `
kind: Customer
id: uni-a
name: University A
official: [203.0.113.0/24]
---
kind: Router
name: edge1
address: 192.0.2.1
asn: 65010
group: edge
validation: disabled-by-import-policy
profile: gobgp
max_prefix: 1000
---
kind: Policy
name: dns
vectors: [dns_amplification]
action: {discard: true}
lifetime: 10m
`

// lab is the API of one node, and the certificates that it takes.
type lab struct {
	ca   *pki.CA
	dir  string
	addr string
	fake *apitest.Cluster
	stop func()
}

func newLab() (*lab, error) {
	dir, err := os.MkdirTemp("", "tidegate-client-")
	if err != nil {
		return nil, err
	}
	l := &lab{dir: dir}
	if l.ca, err = pki.NewCA("lab"); err != nil {
		return nil, err
	}
	node, err := l.issue(auth.Member, "n1", "127.0.0.1")
	if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l.addr = ln.Addr().String()
	l.fake = apitest.NewCluster(time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC), controller.Member{ID: "n1", APIAddress: l.addr})
	server, err := api.New(api.Config{Cluster: "lab", ListenEvery: time.Hour}, api.Deps{Controller: l.fake.Node("n1"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	cfg, err := auth.ServerTLS(auth.FilesIn(node), "lab")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, ln, cfg) }()
	l.stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-done, os.RemoveAll(dir)); err != nil {
			log.Print(err)
		}
	})
	return l, l.load()
}

// issue returns a directory with a certificate.
func (l *lab) issue(role auth.Role, name string, hosts ...string) (string, error) {
	b, err := l.ca.Issue(role, name, hosts...)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(l.dir, string(role)+"-"+name)
	return dir, b.Write(dir, false)
}

func (l *lab) load() error {
	dir, err := l.issue(auth.Admin, "root")
	if err != nil {
		return err
	}
	cfg, _, _, err := auth.ClientTLS(auth.FilesIn(dir))
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient("passthrough:///"+l.addr, api.DialOptions(cfg)...)
	if err != nil {
		return err
	}
	docs, err := manifest.Parse("inventory.yaml", []byte(inventory))
	if err == nil {
		_, err = tidegatev1.NewInventoryServiceClient(conn).Apply(context.Background(), &tidegatev1.ApplyRequest{RequestId: "load", Reason: "test", Documents: manifest.Protos(docs)})
	}
	return errors.Join(err, conn.Close())
}

// start is newLab for a test, with a client of a detector.
func start(t *testing.T, servers ...string) (*lab, *client.Client) {
	t.Helper()
	l, err := newLab()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.stop)
	dir, err := l.issue(auth.Detector, "flowmon")
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(client.Config{Servers: append(servers, l.addr), TLSDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return l, c
}

func Example() {
	cluster, err := newLab() // yours runs already
	if err != nil {
		log.Fatal(err)
	}
	defer cluster.stop()
	dir, err := cluster.issue(auth.Detector, "flowmon")
	if err != nil {
		log.Fatal(err)
	}

	c, err := client.New(client.Config{Servers: []string{cluster.addr}, TLSDir: dir})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	attack := c.Attack("a-17", 0)
	signal := &tidegatev1.Signal{Targets: []string{"203.0.113.10"}, Vector: "dns_amplification", BitsPerSecond: 4e9}
	verdict, err := attack.Start(ctx, signal)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(verdict.GetKind(), verdict.GetMitigation())

	signal.BitsPerSecond = 7e9
	if verdict, err = attack.Update(ctx, signal); err != nil {
		log.Fatal(err)
	}
	fmt.Println(verdict.GetKind(), verdict.GetMitigation())

	if verdict, err = attack.End(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(verdict.GetKind(), verdict.GetMitigation())
	// Output:
	// VERDICT_KIND_MITIGATED M1
	// VERDICT_KIND_MERGED M1
	// VERDICT_KIND_ENDED M1
}

// nobody is an address that nobody listens on.
func nobody(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// A server that is down is passed over, and what was not judged is sent again until it is.
func TestReportUntilJudged(t *testing.T) {
	l, c := start(t, nobody(t))
	l.fake.Overload(true)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	done := make(chan error, 1)
	attack := c.Attack("a", 41)
	go func() {
		v, err := attack.Start(ctx, &tidegatev1.Signal{Targets: []string{"203.0.113.10"}, Vector: "dns_amplification"})
		if err == nil && v.GetKind() != tidegatev1.VerdictKind_VERDICT_KIND_MITIGATED {
			err = fmt.Errorf("verdict %v", v)
		}
		done <- err
	}()
	// As long as there is no room it does not end.
	select {
	case err := <-done:
		t.Fatalf("ended with %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	l.fake.Overload(false)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if a, ok := l.fake.State().Attack("flowmon", "a"); !ok || a.Seq != 42 || attack.Seq() != 42 {
		t.Errorf("attack %v, %v, number %d; want 42", a, ok, attack.Seq())
	}
}

func TestReportGivesUp(t *testing.T) {
	l, c := start(t)
	signal := &tidegatev1.Signal{AttackId: "a", Seq: 1, Kind: tidegatev1.SignalKind_SIGNAL_KIND_START, Targets: []string{"203.0.113.10"}, Vector: "dns_amplification"}
	l.fake.Overload(true)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	v, err := c.Report(ctx, signal)
	if !errors.Is(err, context.DeadlineExceeded) || len(v) != 1 || v[0].GetKind() != tidegatev1.VerdictKind_VERDICT_KIND_RETRY {
		t.Errorf("got %v, %v", v, err)
	}
	l.stop()
	ctx, cancel = context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if v, err = c.Report(ctx, signal); err == nil || v != nil {
		t.Errorf("got %v, %v", v, err)
	}
	if v, err = c.Report(t.Context()); err != nil || v != nil {
		t.Errorf("nothing at all: %v, %v", v, err)
	}
}

// What is about the caller is an error at once; what is about a signal is a verdict.
func TestReportErrors(t *testing.T) {
	l, c := start(t)
	v, err := c.Report(t.Context(),
		&tidegatev1.Signal{AttackId: "a", Seq: 1, Kind: tidegatev1.SignalKind_SIGNAL_KIND_START, Targets: []string{"203.0.113.1/24"}, Vector: "dns_amplification"},
		&tidegatev1.Signal{AttackId: "b", Seq: 1, Kind: tidegatev1.SignalKind_SIGNAL_KIND_START, Targets: []string{"203.0.113.10"}, Vector: "dns_amplification"})
	if err != nil || len(v) != 2 || len(v[0].GetViolations()) != 1 || v[1].GetKind() != tidegatev1.VerdictKind_VERDICT_KIND_MITIGATED {
		t.Errorf("got %v, %v", v, err)
	}
	dir, err := l.issue(auth.Operator, "alice")
	if err != nil {
		t.Fatal(err)
	}
	operator, err := client.New(client.Config{Servers: []string{l.addr}, TLSDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer operator.Close()
	if _, err := operator.Attack("a", 0).End(t.Context()); status.Code(err) != codes.PermissionDenied {
		t.Errorf("an operator: %v", err)
	}
	for name, cfg := range map[string]client.Config{
		"no server": {TLSDir: dir}, "no certificate": {Servers: []string{l.addr}, TLSDir: l.dir},
	} {
		if _, err := client.New(cfg); err == nil || !strings.Contains(err.Error(), "cannot") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

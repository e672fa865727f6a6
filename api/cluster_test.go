package api_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/api/apitest"
	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/api/auth/pki"
	"github.com/tidegate/tidegate/api/manifest"
	"github.com/tidegate/tidegate/controller"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

const testCluster = "lab"

// start0 is when the clusters of these tests begin.
var start0 = time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)

// lab is a cluster of API servers on loopback with real mutual TLS, over the behaving controllers of apitest.
type lab struct {
	t     testing.TB
	ca    *pki.CA
	fake  *apitest.Cluster
	nodes map[string]*node
	logs  *logBuffer
}

type node struct {
	ctrl   *apitest.Controller
	server *api.Server
	addr   string
	stop   func()

	refused noted
}

// logBuffer keeps what was logged.
type logBuffer struct {
	mu sync.Mutex // guards b
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newLab starts a server per name; the first one leads.
func newLab(t testing.TB, names ...string) *lab {
	t.Helper()
	ca, err := pki.NewCA(testCluster)
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, ca: ca, nodes: make(map[string]*node), logs: &logBuffer{}}
	var members []controller.Member
	listeners := make(map[string]net.Listener)
	for _, name := range names {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners[name] = ln
		members = append(members, controller.Member{ID: name, RaftAddress: "127.0.0.1:1", APIAddress: ln.Addr().String()})
	}
	l.fake = apitest.NewCluster(start0, members...)
	for _, name := range names {
		l.startNode(name, listeners[name])
	}
	return l
}

func (l *lab) startNode(name string, ln net.Listener) {
	l.t.Helper()
	files := l.issue(auth.Member, name, "127.0.0.1")
	keys, err := auth.LoadKeys(files, testCluster, name, slog.New(slog.DiscardHandler))
	if err != nil {
		l.t.Fatal(err)
	}
	serverTLS := keys.ServerWith(func() bool { return l.fake.State().TokenCount() > 0 })
	_, clientTLS, err := auth.MemberTLS(files, testCluster)
	if err != nil {
		l.t.Fatal(err)
	}
	dialer := api.NewDialer(func() *tls.Config { return clientTLS }, testCluster)
	n := &node{ctrl: l.fake.Node(name), addr: ln.Addr().String()}
	n.server, err = api.New(api.Config{Cluster: testCluster, Version: "v0-test", StatusTimeout: 500 * time.Millisecond, ListenEvery: time.Hour}, api.Deps{
		Controller: n.ctrl, Logger: slog.New(slog.NewTextHandler(l.logs, nil)), Dial: dialer.Dial, Now: func() time.Time { return start0 }, Refused: n.refused.note,
	})
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.server.Serve(ctx, ln, serverTLS) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Errorf("Serve() = %v", err)
		}
		if err := dialer.Close(); err != nil {
			l.t.Errorf("Close() = %v", err)
		}
	})
	l.t.Cleanup(n.stop)
	l.nodes[name] = n
}

// issue makes a certificate and writes it to a directory of the test.
func (l *lab) issue(role auth.Role, name string, hosts ...string) auth.Files {
	l.t.Helper()
	b, err := l.ca.Issue(role, name, hosts...)
	if err != nil {
		l.t.Fatal(err)
	}
	dir := filepath.Join(l.t.TempDir(), "tls")
	if err := b.Write(dir, false); err != nil {
		l.t.Fatal(err)
	}
	return auth.FilesIn(dir)
}

// dial returns a connection to a node with the certificate of role/name.
func (l *lab) dial(to string, role auth.Role, name string) *grpc.ClientConn {
	l.t.Helper()
	var hosts []string
	if role == auth.Member {
		hosts = []string{"127.0.0.1"}
	}
	cfg, _, _, err := auth.ClientTLS(l.issue(role, name, hosts...))
	if err != nil {
		l.t.Fatal(err)
	}
	return l.dialTLS(to, cfg)
}

func (l *lab) dialTLS(to string, cfg *tls.Config) *grpc.ClientConn {
	l.t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+l.nodes[to].addr, api.DialOptions(cfg)...)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// sample is an inventory: a customer with a link inside its space, a nested customer, a block, two routers, a policy.
const sample = `
kind: ProtectedBlock
name: links-1
purpose: link-block
prefixes: [198.51.100.0/24]
---
kind: Customer
id: uni-a
name: University A
official: [203.0.113.0/24, 2001:db8:a::/48]
links:
  - {prefix: 203.0.113.4/30, pe: pe1, interface: xe-0/0/1}
  - {prefix: 198.51.100.0/31, pe: pe1, interface: xe-0/0/2, block: links-1}
---
kind: Customer
id: lab-b
name: Lab B
within: uni-a
official: [203.0.113.128/26]
---
kind: Router
name: edge1
address: 192.0.2.1
asn: 65010
group: edge
families: [ipv4, ipv6]
validation: disabled-by-import-policy
profile: gobgp
max_prefix: 1000
---
kind: Router
name: edge2
address: 192.0.2.2
asn: 65020
group: edge
families: [ipv4]
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

func sampleDocuments(t testing.TB) []*tidegatev1.Document {
	t.Helper()
	docs, err := manifest.Parse("sample.yaml", []byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	return manifest.Protos(docs)
}

// load applies the sample inventory through the API.
func (l *lab) load() {
	l.t.Helper()
	var at string
	for name := range l.nodes {
		at = name
		break
	}
	_, err := tidegatev1.NewInventoryServiceClient(l.dial(at, auth.Admin, "root")).Apply(l.t.Context(), &tidegatev1.ApplyRequest{
		RequestId: "load", Reason: "test", Documents: sampleDocuments(l.t),
	})
	if err != nil {
		l.t.Fatal(err)
	}
}

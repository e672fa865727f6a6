package bench_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/api/auth/pki"
	"github.com/tidegate/tidegate/bgp/bgptest"
	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/cmd/client"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

const (
	clusterName = "bench"
	nodeASN     = 65001
	routerASN   = 65010
	patience    = 20 * time.Second // bounds every single wait
)

// lab is one cluster's certificates, files and processes.
type lab struct {
	b      *testing.B
	ctx    context.Context
	binary string
	dir    string
	ca     *pki.CA
	nodes  []*node
}

// node is one process of the real binary.
type node struct {
	id, api, http, raft, routerID string
	cmd                           *exec.Cmd
	ended                         chan struct{}
}

// newLab makes the files of n nodes; nothing runs.
func newLab(b *testing.B, s *suite, n int) *lab {
	b.Helper()
	ca, err := pki.NewCA(clusterName)
	if err != nil {
		b.Fatal(err)
	}
	l := &lab{b: b, ctx: s.ctx, binary: s.binary, dir: b.TempDir(), ca: ca}
	for i := range n {
		p := freePorts(b, 3)
		l.nodes = append(l.nodes, &node{id: fmt.Sprintf("n%d", i+1), api: p[0], http: p[1], raft: p[2], routerID: fmt.Sprintf("10.0.0.%d", i+1)})
	}
	for _, n := range l.nodes {
		l.issue(auth.Member, n.id, "127.0.0.1")
		l.write(n.id+".yaml", l.file(n))
	}
	l.issue(auth.Admin, "root")
	l.issue(auth.Detector, "flowmon")
	return l
}

func (l *lab) file(n *node) string {
	tlsDir := l.tls(auth.Member, n.id)
	text := fmt.Sprintf("node: %s\ndata_dir: %s/data\napi: %s\nhttp: %s\ntls: {ca: %s, cert: %s, key: %s}\nbgp: {asn: %d, router_id: %s}\n"+
		"speaker: {process: in-process}\n", // what another process costs is measured apart, by BenchmarkSpeakerProcess
		n.id, n.id, n.api, n.http, auth.FilesIn(tlsDir).CA, auth.FilesIn(tlsDir).Cert, auth.FilesIn(tlsDir).Key, nodeASN, n.routerID)
	text += fmt.Sprintf("cluster:\n  name: %s\n  raft: %s\n  members:\n", clusterName, n.raft)
	for _, m := range l.nodes {
		text += fmt.Sprintf("    - {id: %s, raft: %q, api: %q}\n", m.id, m.raft, m.api)
	}
	return text
}

func (l *lab) write(name, text string) string {
	l.b.Helper()
	path := filepath.Join(l.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		l.b.Fatal(err)
	}
	return path
}

func (l *lab) tls(r auth.Role, name string) string {
	return filepath.Join(l.dir, "tls", string(r)+"-"+name)
}

func (l *lab) issue(r auth.Role, name string, hosts ...string) {
	l.b.Helper()
	bundle, err := l.ca.Issue(r, name, hosts...)
	if err == nil {
		err = bundle.Write(l.tls(r, name), false)
	}
	if err != nil {
		l.b.Fatal(err)
	}
}

// freePorts are free ports of 127.0.0.1, closed again for a child.
func freePorts(b *testing.B, n int) []string {
	b.Helper()
	var out []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		out = append(out, l.Addr().String())
	}
	return out
}

// start starts all nodes and waits until they are ready. They end with the benchmark, or with stop.
func (l *lab) start() {
	l.b.Helper()
	for _, n := range l.nodes {
		log, err := os.Create(filepath.Join(l.dir, n.id+".log"))
		if err != nil {
			l.b.Fatal(err)
		}
		n.cmd = exec.Command(l.binary, "serve", "--config", filepath.Join(l.dir, n.id+".yaml"))
		n.cmd.Stdout, n.cmd.Stderr = log, log
		err = n.cmd.Start()
		log.Close()
		if err != nil {
			l.b.Fatal(err)
		}
		n.ended = make(chan struct{})
		go func() {
			_ = n.cmd.Wait() // how it ended is in its log
			close(n.ended)
		}()
	}
	l.b.Cleanup(l.stop)
	for _, n := range l.nodes {
		l.until("node "+n.id+" is ready", func() bool {
			resp, err := http.Get("http://" + n.http + "/readyz")
			if err != nil {
				return false
			}
			defer resp.Body.Close()
			return resp.StatusCode == http.StatusOK
		})
	}
}

// stop kills the nodes and waits until they are gone.
func (l *lab) stop() {
	for _, n := range l.nodes {
		if n.cmd == nil {
			continue
		}
		_ = n.cmd.Process.Kill() // gone already is as good
		<-n.ended
		n.cmd = nil
	}
}

// until looks every 10 ms until it is so.
func (l *lab) until(what string, ok func() bool) {
	l.b.Helper()
	ctx, cancel := context.WithTimeout(l.ctx, patience)
	defer cancel()
	t := time.NewTicker(10 * time.Millisecond)
	defer t.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			l.b.Fatalf("waited in vain until %s\n%s", what, l.logs())
		case <-t.C:
		}
	}
}

// logs are the last lines of every node.
func (l *lab) logs() string {
	var b strings.Builder
	for _, n := range l.nodes {
		text, err := os.ReadFile(filepath.Join(l.dir, n.id+".log"))
		if err != nil {
			return err.Error()
		}
		fmt.Fprintf(&b, "%s: %s\n", n.id, text[max(0, len(text)-2000):])
	}
	return b.String()
}

// client is a client of some nodes; it ends with the benchmark.
func (l *lab) client(r auth.Role, name string, nodes ...*node) *client.Client {
	l.b.Helper()
	var servers []string
	for _, n := range nodes {
		servers = append(servers, n.api)
	}
	c, err := client.New(client.Config{Servers: servers, TLSDir: l.tls(r, name), Patience: patience})
	if err != nil {
		l.b.Fatal(err)
	}
	l.b.Cleanup(func() { _ = c.Close() })
	return c
}

// leader waits for a leader and returns its node.
func (l *lab) leader() *node {
	l.b.Helper()
	admin := l.client(auth.Admin, "root", l.nodes...)
	var found *node
	l.until("a leader is known to every node", func() bool {
		st, err := admin.Cluster.Status(l.ctx, &pb.StatusRequest{})
		if err != nil {
			return false
		}
		for _, n := range l.nodes {
			if n.id == st.GetLeader() {
				found = n
			}
		}
		return found != nil
	})
	return found
}

// apply runs `tidegate apply` on a file, from its start to its end.
func (l *lab) apply(to *node, name, text string) time.Duration {
	l.b.Helper()
	path := l.write(name, text)
	cmd := exec.CommandContext(l.ctx, l.binary, "apply", "-f", path, "--server", to.api, "--tls-dir", l.tls(auth.Admin, "root"))
	t0 := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(t0)
	if err != nil {
		l.b.Fatalf("cannot apply: %v\n%s\n%s", err, out, l.logs())
	}
	return took
}

// metrics reads gauges and counters of a node; labels are part of the name.
func (n *node) metrics() (map[string]float64, error) {
	resp, err := http.Get("http://" + n.http + "/metrics")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	out := make(map[string]float64)
	sc := bufio.NewScanner(io.LimitReader(resp.Body, 8<<20))
	for sc.Scan() {
		name, value, ok := strings.Cut(sc.Text(), " ")
		if !ok || name == "#" {
			continue
		}
		if v, err := strconv.ParseFloat(value, 64); err == nil {
			out[name] = v
		}
	}
	return out, sc.Err()
}

// router is an edge router that tells when a key arrives.
type router struct {
	*bgptest.Router
	heard chan arrival
}

// arrival is the first announcement of a key on any session, or its last withdrawal.
type arrival struct {
	key  flowspec.Key
	at   time.Time
	gone bool
}

// newRouter runs a router until the benchmark ends. With tell every first announcement and every last withdrawal of a
// key is sent to heard, which holds tell of them.
func newRouter(b *testing.B, tell int) *router {
	b.Helper()
	r := &router{heard: make(chan arrival, tell)}
	cfg := bgptest.Config{ASN: routerASN, Families: []flowspec.Family{flowspec.IPv4}}
	if tell > 0 {
		known := make(map[flowspec.Key]bool)
		cfg.OnUpdate = func(u bgptest.Update, t bgptest.Table) {
			for _, a := range u.Announced {
				if !known[a.Key] {
					known[a.Key] = true
					r.send(arrival{key: a.Key, at: u.At})
				}
			}
			for _, k := range u.Withdrawn {
				if known[k] && !t.Has(k) {
					delete(known, k)
					r.send(arrival{key: k, at: u.At, gone: true})
				}
			}
		}
	}
	var err error
	if r.Router, err = bgptest.NewRouter(cfg); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	return r
}

// forget drops the news so far, so that there is room for what is waited for next.
func (r *router) forget() {
	for {
		select {
		case <-r.heard:
		default:
			return
		}
	}
}

// send never blocks: whoever waits for an arrival that did not fit finds out by its own time limit.
func (r *router) send(a arrival) {
	select {
	case r.heard <- a:
	default:
	}
}

// await waits for the news of one key and returns when it came.
func (r *router) await(ctx context.Context, k flowspec.Key, gone bool) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		select {
		case a := <-r.heard:
			if a.key == k && a.gone == gone {
				return a.at, nil
			}
		case <-ctx.Done():
			return time.Time{}, errors.New("the router did not hear what was waited for")
		}
	}
}

// holds waits until the router has exactly n keys, each from so many sessions.
func (r *router) holds(ctx context.Context, b *testing.B, n, sessions int) {
	b.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := r.WaitRoutes(ctx, func(t bgptest.Table) bool {
		if t.Len() != n {
			return false
		}
		if sessions == 1 {
			return true
		}
		for _, k := range t.Keys() {
			if len(t.Paths(k)) != sessions {
				return false
			}
		}
		return true
	})
	if err != nil {
		b.Fatalf("the router does not hold %d rules from %d sessions: %v", n, sessions, err)
	}
}

// memberTLS is how bare raft nodes authenticate each other: as the real ones do.
func memberTLS(dir string) (server, client *tls.Config, err error) {
	return auth.MemberTLS(auth.FilesIn(dir), clusterName)
}

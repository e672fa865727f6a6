// Package faults tries a cluster of three real nodes, each on a machine of its own (network namespace and disk), while
// things break: processes, networks, disks, clocks, sessions. Clients write and read all the while; three routers record
// what they hear. Afterwards the records are held against each other: no acknowledged write may be lost, no rule that
// should be there may be withdrawn or be absent from a router, and none may stay past its bound.
//
// It owns the cluster (World), the faults (Faults), the workload and the judgement (Score). TestFaults runs each fault
// in `make test`; command soak draws them at random for as long as it is told. It needs root, Linux and what
// lab.RequireFaults names.
package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/bgp/bgptest"
	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/integration/lab"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

const (
	nodeASN = 65001
	// diskMiB is the size of a node's disk.
	diskMiB = 160
	// calmWithin is how long the cluster may take to be whole again after a fault: an election, sessions that were lost
	// (hold time 90 s at worst), and a slow machine.
	calmWithin = 150 * time.Second
	look       = 100 * time.Millisecond
)

// Config says what is tried.
type Config struct {
	// Binary is the program; Previous an earlier build of it, Faulty one with the build tag faults. Empty: the faults
	// that need it are not there.
	Binary, Previous, Faulty string
	// Seed makes the random choices: of faults, of nodes, of what clients do.
	Seed uint64
	// Log is told what happens.
	Log func(format string, args ...any)
}

// node is one machine of the cluster.
type node struct {
	id       string
	address  netip.Addr
	site     *lab.Site
	file     string // its configuration
	binary   string
	process  *lab.Process
	starts   int
	api      *grpc.ClientConn // of operators
	detector *grpc.ClientConn
}

// World is a cluster at work. Make one with Start, end it with Close.
type World struct {
	cfg      Config
	rng      *rand.Rand // of the goroutine that injects
	lab      *lab.Lab
	nodes    []*node
	recorder *bgptest.Router
	book     *book
	stop     context.CancelFunc // of everything that runs here
	wg       sync.WaitGroup
	work     *workload
	tally    map[string]int // faults by kind
	gaps     []time.Duration
}

// Start makes the lab, its machines and routers, and a cluster with sessions to all of them, with standing rules.
func Start(ctx context.Context, cfg Config) (*World, error) {
	w := &World{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 1)), book: newBook(), tally: make(map[string]int)} //nolint:gosec // A fault is repeated by its seed.
	run, stop := context.WithCancel(context.Background())
	w.stop = stop
	if err := w.start(ctx, run); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// hub is where the routers and the clients are.
func hub(last byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 99, 0, last}) }

const subnetBits = 24

func (w *World) start(ctx, run context.Context) error {
	var addresses []netip.Addr
	for i := range 3 {
		w.nodes = append(w.nodes, &node{id: fmt.Sprintf("n%d", i+1), address: hub(byte(i + 1)), binary: w.cfg.Binary})
		addresses = append(addresses, w.nodes[i].address)
	}
	var err error
	if w.lab, err = lab.New(lab.Config{Neighbours: addresses, ASN: nodeASN}); err != nil {
		return err
	}
	if err := w.lab.Bridge(subnetBits, hub(12), hub(14), hub(15), hub(254)); err != nil {
		return err
	}
	for _, n := range w.nodes {
		if n.site, err = w.lab.Site(n.id, netip.PrefixFrom(n.address, subnetBits), diskMiB); err != nil {
			return err
		}
	}
	if err := w.startRouters(run); err != nil {
		return err
	}
	if err := w.configure(ctx); err != nil {
		return err
	}
	if err := w.calm(ctx); err != nil {
		return err
	}
	w.work = newWorkload(w)
	return w.work.begin(ctx, run)
}

// startRouters starts the three that record. Only the one of package bgptest tells each UPDATE as it was on the wire; what
// BIRD and gobgpd tell comes from their own logs.
func (w *World) startRouters(run context.Context) error {
	bird, gobgpd, own := w.book.witness("bird", false), w.book.witness("gobgpd", true), w.book.witness("recorder", true)
	if _, err := w.lab.RecordBIRD(run, hub(12), 65020, bird.hear); err != nil {
		return err
	}
	if _, err := w.lab.RecordGoBGP(run, hub(14), 65040, gobgpd.hear); err != nil {
		return err
	}
	from := make(map[bgptest.SessionID]netip.Addr)
	err := w.lab.Namespace().Do(func() (err error) {
		w.recorder, err = bgptest.NewRouter(bgptest.Config{
			Addr: netip.AddrPortFrom(hub(15), lab.Port), ASN: 65050, RouterID: hub(15), HoldTime: 30 * time.Second,
			ExtendedMessages: true, HistoryLimit: 1,
			OnSession: func(s bgptest.Session) {
				h := lab.Heard{At: time.Now(), From: s.RouterID, Kind: lab.SessionUp}
				if from[s.ID] = s.RouterID; !s.Down.IsZero() {
					h.Kind = lab.SessionDown
				}
				own.hear(h)
			},
			OnUpdate: func(u bgptest.Update, _ bgptest.Table) {
				for _, r := range u.Announced {
					own.hear(lab.Heard{At: u.At, From: from[u.Session], Key: r.Key})
				}
				for _, k := range u.Withdrawn {
					own.hear(lab.Heard{At: u.At, From: from[u.Session], Kind: lab.Withdrawn, Key: k})
				}
			},
		})
		return err
	})
	if err != nil {
		return err
	}
	w.wg.Go(func() {
		if err := w.recorder.Run(run); err != nil {
			w.cfg.Log("recorder: %v", err)
		}
	})
	return nil
}

const nodeFile = `node: %[1]s
data_dir: %[3]s/data
api: %[2]s:7400
http: %[2]s:7401
tls: {ca: %[1]s-tls/ca.pem, cert: %[1]s-tls/cert.pem, key: %[1]s-tls/key.pem}
bgp: {asn: 65001, router_id: %[2]s, local_address: %[2]s}
cluster:
  name: lab
  raft: %[2]s:7500
  members:
    - {id: n1, raft: "10.99.0.1:7500", api: "10.99.0.1:7400"}
    - {id: n2, raft: "10.99.0.2:7500", api: "10.99.0.2:7400"}
    - {id: n3, raft: "10.99.0.3:7500", api: "10.99.0.3:7400"}
`

const documents = `kind: Customer
id: uni-a
name: University A
official: [203.0.113.0/24]
links:
  - {prefix: 203.0.113.4/30, pe: pe1, interface: xe-0/0/1, state: in-use}
contacts: [noc@uni-a.example]
---
kind: Policy
name: reflected
priority: 20
vectors: [dns_amplification]
action: {discard: true}
lifetime: 10m
---
kind: Router
name: bird
address: 10.99.0.12
port: 1790
asn: 65020
group: edge
families: [ipv4, ipv6]
validation: disabled-by-import-policy
max_prefix: 3000
---
kind: Router
name: gobgpd
address: 10.99.0.14
port: 1790
asn: 65040
group: edge
families: [ipv4, ipv6]
validation: disabled-by-import-policy
max_prefix: 3000
---
kind: Router
name: recorder
address: 10.99.0.15
port: 1790
asn: 65050
group: edge
families: [ipv4, ipv6]
validation: disabled-by-import-policy
max_prefix: 3000
`

// configure makes certificates, starts the nodes and applies the documents.
func (w *World) configure(ctx context.Context) error {
	commands := [][]string{{"pki", "init", "--dir", "authority", "--cluster", "lab"}}
	for _, n := range w.nodes {
		commands = append(commands, []string{"pki", "issue", "member/" + n.id, "--dir", "authority", "--host", n.address.String(), "--out", n.id + "-tls"})
	}
	for _, role := range []string{"admin", "operator", "detector"} {
		commands = append(commands, []string{"pki", "issue", role + "/test", "--dir", "authority", "--out", role})
	}
	for _, c := range commands {
		if err := w.command(ctx, c...); err != nil {
			return err
		}
	}
	for _, n := range w.nodes {
		n.file = filepath.Join(w.lab.Dir(), n.id+".yaml")
		if err := os.WriteFile(n.file, []byte(fmt.Sprintf(nodeFile, n.id, n.address, n.site.Disk())), 0o600); err != nil {
			return fmt.Errorf("cannot configure node: %w", err)
		}
		if err := w.connect(n); err != nil {
			return err
		}
		if w.cfg.Previous != "" {
			n.binary = w.cfg.Previous // the upgrade is the first of the faults
		}
		if err := w.run(n); err != nil {
			return err
		}
	}
	path := filepath.Join(w.lab.Dir(), "documents.yaml")
	if err := os.WriteFile(path, []byte(documents), 0o600); err != nil {
		return fmt.Errorf("cannot write documents: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, calmWithin, errors.New("the documents cannot be applied"))
	defer cancel()
	return lab.Until(ctx, look, func(ctx context.Context) error {
		return w.command(ctx, "apply", "-f", path, "--reason", "first inventory")
	})
}

// command runs the program as an administrator at the hub.
func (w *World) command(ctx context.Context, args ...string) error {
	var servers []string
	for _, n := range w.nodes {
		servers = append(servers, n.address.String()+":7400")
	}
	r, err := w.lab.Run(ctx, []string{"TIDEGATE_SERVER=" + strings.Join(servers, ","), "TIDEGATE_TLS_DIR=" + filepath.Join(w.lab.Dir(), "admin")},
		append([]string{w.cfg.Binary}, args...)...)
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("tidegate %s: exit code %d: %s%s", strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
	return err
}

// connect makes the clients' connections to a node. They connect when they are used.
func (w *World) connect(n *node) error {
	for role, out := range map[string]**grpc.ClientConn{"operator": &n.api, "detector": &n.detector} {
		cfg, _, _, err := auth.ClientTLS(auth.FilesIn(filepath.Join(w.lab.Dir(), role)))
		if err != nil {
			return err
		}
		options := append(api.DialOptions(cfg), grpc.WithContextDialer(w.lab.Namespace().Dial))
		if *out, err = grpc.NewClient("passthrough:///"+n.address.String()+":7400", options...); err != nil {
			return fmt.Errorf("cannot reach %s: %w", n.id, err)
		}
	}
	return nil
}

// run starts a node's process.
func (w *World) run(n *node) error {
	n.starts++
	p, err := n.site.Start(fmt.Sprintf("%s-%d", n.id, n.starts), "env", clockVariable+"="+w.clockFile(), n.binary, "serve", "--config", n.file)
	n.process = p
	return err
}

// Close ends everything that runs and removes the lab.
func (w *World) Close() error {
	w.stop()
	if w.work != nil {
		w.work.wait()
	}
	w.wg.Wait()
	for _, n := range w.nodes {
		for _, c := range []*grpc.ClientConn{n.api, n.detector} {
			if c != nil {
				_ = c.Close() // the other end may be dead
			}
		}
	}
	if w.lab == nil {
		return nil
	}
	return w.lab.Close()
}

// Keep copies the logs of all processes, and the routers' own records, to a directory.
func (w *World) Keep(dir string) error {
	logs, err := filepath.Glob(filepath.Join(w.lab.Dir(), "*.*"))
	if err != nil {
		return fmt.Errorf("cannot list logs: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot keep logs: %w", err)
	}
	for _, f := range logs {
		if !strings.HasSuffix(f, ".log") && !strings.HasSuffix(f, ".mrt") {
			continue
		}
		b, err := os.ReadFile(f)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(f)), b, 0o600)
		}
		if err != nil {
			return fmt.Errorf("cannot keep %q: %w", f, err)
		}
	}
	return os.WriteFile(filepath.Join(dir, "history.txt"), []byte(w.book.text()), 0o600)
}

// status is what a node itself says of the cluster.
func (n *node) status(ctx context.Context) (*pb.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return pb.NewClusterServiceClient(n.api).Status(ctx, &pb.StatusRequest{})
}

// leader waits for a node that says that it leads, in the highest term that anybody knows of.
func (w *World) leader(ctx context.Context) (*node, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, calmWithin, errors.New("nobody leads"))
	defer cancel()
	var found *node
	err := lab.Until(ctx, look, func(ctx context.Context) error {
		var term uint64
		for _, n := range w.nodes {
			s, err := n.status(ctx)
			if err == nil && s.GetLeader() == n.id && s.GetTerm() > term {
				found, term = n, s.GetTerm()
			}
		}
		if found == nil {
			return errors.New("no node says that it leads")
		}
		return nil
	})
	return found, err
}

// calm waits until the cluster is whole: one leader, everybody has applied what is committed, and each node has a session
// with every router.
func (w *World) calm(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, calmWithin, fmt.Errorf("the cluster is not whole again after %v", calmWithin))
	defer cancel()
	return lab.Until(ctx, look, func(ctx context.Context) error {
		leader := ""
		var newest uint64
		for _, n := range w.nodes {
			s, err := n.status(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", n.id, err)
			}
			if s.GetLeader() == "" || leader != "" && s.GetLeader() != leader {
				return fmt.Errorf("%s follows %q, another node %q", n.id, s.GetLeader(), leader)
			}
			leader = s.GetLeader()
			for _, m := range s.GetNodes() {
				if !m.GetAnswered() || !m.GetServing() {
					return fmt.Errorf("%s says of %s: %s%s", n.id, m.GetId(), m.GetDetail(), m.GetUnready())
				}
				if n == w.nodes[0] {
					newest = max(newest, m.GetCommitIndex())
				} else if m.GetId() == n.id && m.GetAppliedIndex() < newest {
					return fmt.Errorf("%s has applied %d of %d", n.id, m.GetAppliedIndex(), newest)
				}
			}
		}
		return w.book.sessions(w.nodes)
	})
}

// flowspecKey is the key of a rule in text form.
func flowspecKey(text string) (flowspec.Key, error) {
	r, err := flowspec.ParseRule(text)
	if err != nil {
		return "", fmt.Errorf("cannot read rule %q: %w", text, err)
	}
	return r.Match.Key(), nil
}

package integration_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tidegate/tidegate/bgp/bgptest"
	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/integration/lab"
)

const (
	// nodeASN is the autonomous system of the nodes.
	nodeASN = 65001
	// patience bounds every wait for something that should happen soon.
	patience = 20 * time.Second
	// look is how often a wait looks again.
	look = 50 * time.Millisecond
)

// member is one node of a cluster under test.
type member struct {
	id       string
	address  netip.Addr // also its router id
	api      string
	http     string
	raft     string
	file     string
	process  *lab.Process
	restarts int
}

// cluster is real nodes, and the routers that hear them.
type cluster struct {
	t       *testing.T
	lab     *lab.Lab
	members []*member
	routers []lab.Router
	witness *bgptest.Router // a router that remembers every UPDATE
}

const nodeFile = `node: %[1]s
data_dir: %[1]s/data
api: %[3]s
http: %[4]s
tls: {ca: %[1]s/tls/ca.pem, cert: %[1]s/tls/cert.pem, key: %[1]s/tls/key.pem}
bgp: {asn: 65001, router_id: %[2]s, local_address: %[2]s}
speaker: {process: %[5]s}
`

// newLab makes a lab that ends with the test; if the test fails, the logs of all its processes are printed.
func newLab(t *testing.T, open func() (*lab.Lab, error)) *lab.Lab {
	t.Helper()
	l, err := open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			var b strings.Builder
			l.Logs(&b, 40)
			t.Log("last lines of the processes:\n" + b.String())
		}
		if err := l.Close(); err != nil {
			t.Errorf("cannot clean up: %v", err)
		}
	})
	return l
}

// startCluster starts three nodes, the four routers and the witness in a namespace, applies the inventory of
// testdata, and waits until every node has a session with everybody.
func startCluster(t *testing.T) *cluster {
	t.Helper()
	// A node that is killed takes its sessions along then, which most tests of faults want.
	return startClusterWith(t, "in-process")
}

// startClusterWith is startCluster with the nodes' speakers in another place.
func startClusterWith(t *testing.T, speakers string) *cluster {
	t.Helper()
	lab.Require(t)
	c := &cluster{t: t}
	var addresses []netip.Addr
	for i := range 3 {
		m := &member{id: fmt.Sprintf("n%d", i+1), address: netip.AddrFrom4([4]byte{127, 0, 0, byte(i + 1)})}
		m.api, m.http, m.raft = m.address.String()+":7400", m.address.String()+":7401", m.address.String()+":7500"
		c.members = append(c.members, m)
		addresses = append(addresses, m.address)
	}
	c.lab = newLab(t, func() (*lab.Lab, error) {
		return lab.New(lab.Config{Neighbours: addresses, ASN: nodeASN})
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	var err error
	if c.routers, err = c.lab.StartRouters(ctx); err != nil {
		t.Fatal(err)
	}
	c.startWitness()
	c.certificates()
	section := "cluster:\n  name: lab\n  raft: %s\n  members:\n"
	for _, m := range c.members {
		section += fmt.Sprintf("    - {id: %s, raft: %q, api: %q}\n", m.id, m.raft, m.api)
	}
	for _, m := range c.members {
		m.file = c.write(m.id+".yaml", fmt.Sprintf(nodeFile, m.id, m.address, m.api, m.http, speakers)+fmt.Sprintf(section, m.raft))
		c.start(m)
	}
	c.as("admin").ok("apply", "-f", c.write("inventory.yaml", inventory), "--reason", "first inventory")
	c.as("admin").ok("apply", "-f", c.write("routers.yaml", c.routerDocuments()), "--reason", "routers")
	c.waitSessions(c.members...)
	return c
}

// startWitness opens the fifth router, inside the namespace.
func (c *cluster) startWitness() {
	c.t.Helper()
	err := c.lab.Namespace().Do(func() (err error) {
		c.witness, err = bgptest.NewRouter(bgptest.Config{
			Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 15}), lab.Port), ASN: 65050, KeepUpdates: true,
			RouterID: netip.AddrFrom4([4]byte{127, 0, 0, 15}), ExtendedMessages: true,
		})
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
	runWitness(c.t, c.witness)
	c.routers = append(c.routers, witnessRouter{c.witness})
}

// runWitness runs w until the test ends.
func runWitness(t *testing.T, w *bgptest.Router) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("witness: %v", err)
		}
	})
}

// certificates makes the authority and everybody's certificate as an operator would.
func (c *cluster) certificates() {
	c.t.Helper()
	c.ok("pki", "init", "--dir", "authority", "--cluster", "lab")
	for _, m := range c.members {
		c.ok("pki", "issue", "member/"+m.id, "--dir", "authority", "--host", m.address.String(), "--out", m.id+"/tls")
	}
	for _, role := range []string{"admin", "operator", "detector", "viewer"} {
		c.ok("pki", "issue", role+"/test", "--dir", "authority", "--out", role)
	}
}

// start runs a node.
func (c *cluster) start(m *member) {
	c.t.Helper()
	name := m.id
	if m.restarts++; m.restarts > 1 {
		name = fmt.Sprintf("%s-%d", m.id, m.restarts)
	}
	p, err := c.lab.Start(name, binary, "serve", "--config", m.file)
	if err != nil {
		c.t.Fatal(err)
	}
	m.process = p
}

// write puts a file into the lab's directory.
func (c *cluster) write(name, text string) string { return writeFile(c.t, c.lab, name, text) }

func writeFile(t *testing.T, l *lab.Lab, name, text string) string {
	t.Helper()
	path := filepath.Join(l.Dir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// routerDocuments are the documents of everybody who listens.
func (c *cluster) routerDocuments() string {
	var b strings.Builder
	for _, r := range c.routers {
		fmt.Fprintf(&b, routerDocument, r.Name(), r.Address(), lab.Port, r.ASN())
	}
	return b.String()
}

const routerDocument = `---
kind: Router
name: %s
address: %s
port: %d
asn: %d
group: edge
families: [ipv4, ipv6]
validation: disabled-by-import-policy
profile: gobgp
max_prefix: 3000
`

// ok runs tidegate without a server and wants exit code 0.
func (c *cluster) ok(args ...string) {
	c.t.Helper()
	(&cli{t: c.t, lab: c.lab}).ok(args...)
}

// as is the command line of somebody with a certificate of that role, with all nodes as servers.
func (c *cluster) as(role string) *cli {
	servers := make([]string, 0, len(c.members))
	for _, m := range c.members {
		servers = append(servers, m.api)
	}
	return &cli{t: c.t, lab: c.lab, servers: servers, tlsDir: filepath.Join(c.lab.Dir(), role)}
}

// cli runs the command line.
type cli struct {
	t       testing.TB
	lab     *lab.Lab
	servers []string
	tlsDir  string
}

// run runs one command to its end.
func (c *cli) run(args ...string) lab.Result {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := c.lab.Run(ctx, []string{"TIDEGATE_SERVER=" + strings.Join(c.servers, ","), "TIDEGATE_TLS_DIR=" + c.tlsDir},
		append([]string{binary}, args...)...)
	if err != nil {
		c.t.Fatal(err)
	}
	return r
}

// ok wants exit code 0 and returns what was printed.
func (c *cli) ok(args ...string) string {
	c.t.Helper()
	r := c.run(args...)
	if r.Code != 0 {
		c.t.Fatalf("tidegate %s: exit code %d\n%s%s", strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}

// signal sends a signal as a detector does: when the answer is to send it again, because there was no leader for a moment,
// it does. Other than that it wants exit code 0.
func (c *cli) signal(args ...string) {
	c.t.Helper()
	var r lab.Result
	eventually(c.t, "the signal is judged", func(context.Context) error {
		if r = c.run(append([]string{"signal"}, args...)...); r.Code == 5 {
			return fmt.Errorf("tidegate signal %s: %s%s", strings.Join(args, " "), r.Stdout, r.Stderr)
		}
		return nil
	})
	if r.Code != 0 {
		c.t.Fatalf("tidegate signal %s: exit code %d\n%s%s", strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
}

// read reads the JSON that a command prints into out.
func (c *cli) read(out any, args ...string) {
	c.t.Helper()
	text := c.ok(append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(text), out); err != nil {
		c.t.Fatalf("tidegate %s: %v in %q", strings.Join(args, " "), err, text)
	}
}

// mitigation starts a mitigation by hand and returns its id.
func (c *cli) mitigation(args ...string) string {
	c.t.Helper()
	var r struct{ Mitigation struct{ ID string } }
	c.read(&r, append([]string{"mitigation", "start", "--reason", "test"}, args...)...)
	if r.Mitigation.ID == "" {
		c.t.Fatalf("mitigation start %q printed no id", args)
	}
	return r.Mitigation.ID
}

// statusOf is what cluster status says of the cluster.
type statusOf struct {
	Leader string
	Nodes  []struct {
		ID           string
		Answered     bool
		Serving      bool
		AppliedIndex uint64 `json:"applied_index"`
		CommitIndex  uint64 `json:"commit_index"`
	}
}

// peersOf is what peers says.
type peersOf struct {
	Peers []struct{ Node, Router, State string }
}

// waitSessions waits until the nodes have a session with every router.
func (c *cluster) waitSessions(nodes ...*member) {
	c.t.Helper()
	eventually(c.t, "all sessions established", func(context.Context) error {
		var p peersOf
		c.as("viewer").read(&p, "peers")
		up := make(map[string]int)
		for _, s := range p.Peers {
			if s.State == "established" {
				up[s.Node]++
			}
		}
		for _, m := range nodes {
			if up[m.id] != len(c.routers) {
				return fmt.Errorf("%s has %d sessions of %d: %+v", m.id, up[m.id], len(c.routers), p.Peers)
			}
		}
		return nil
	})
}

// leader is the member that leads.
func (c *cluster) leader() *member {
	c.t.Helper()
	var s statusOf
	c.as("viewer").read(&s, "cluster", "status")
	for _, m := range c.members {
		if m.id == s.Leader {
			return m
		}
	}
	c.t.Fatalf("there is no leader: %+v", s)
	return nil
}

// eventually waits until cond returns nil.
func eventually(t testing.TB, what string, cond func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), patience, errors.New("not in time"))
	defer cancel()
	if err := lab.Until(ctx, look, cond); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// waitTables waits until every router shows exactly the rules of texts, from each of the nodes: match and action.
func (c *cluster) waitTables(texts []string, from ...*member) {
	c.t.Helper()
	rules := parseRules(c.t, texts)
	for _, r := range c.routers {
		want := expected(r, rules, from)
		eventually(c.t, r.Name()+" shows what is wanted", func(ctx context.Context) error {
			got, err := r.Table(ctx)
			if err != nil {
				return err
			}
			if err := spared(got); err != nil {
				c.t.Errorf("%s: %v", r.Name(), err)
			}
			if diff := cmp.Diff(want, got, anyOrder()...); diff != "" {
				return fmt.Errorf("(-want +got)\n%s", diff)
			}
			return nil
		})
	}
}

// expected is what a router should show of rules that each of the members announces.
func expected(r lab.Router, rules []flowspec.Rule, from []*member) []lab.Seen {
	var out []lab.Seen
	for _, rule := range rules {
		for _, m := range from {
			s := lab.Seen{Rule: r.Shown(rule)}
			if r.ShowsFrom() {
				s.From = m.address
			}
			out = append(out, s)
		}
	}
	return out
}

func parseRules(t testing.TB, texts []string) []flowspec.Rule {
	t.Helper()
	var out []flowspec.Rule
	for _, text := range texts {
		r, err := flowspec.ParseRule(text)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

// anyOrder compares tables: routers order them as they like.
func anyOrder() []cmp.Option {
	return []cmp.Option{
		cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}),
		cmpopts.SortSlices(func(a, b lab.Seen) bool {
			if x, y := a.Rule.String(), b.Rule.String(); x != y {
				return x < y
			}
			return a.From.Less(b.From)
		}),
	}
}

// spared is an error if a rule acts on protected space, or outside of what is official: the inventory's, by hand.
func spared(seen []lab.Seen) error {
	for _, s := range seen {
		d, ok := s.Rule.Match.Destination()
		if !ok {
			return fmt.Errorf("%s has no destination", s.Rule)
		}
		for _, p := range []string{
			"203.0.113.4/30", "198.51.100.0/24", "2001:db8:a:ffff::/127", "192.0.2.128/25", "2001:db8:ffff::/48",
		} {
			if netip.MustParsePrefix(p).Overlaps(d) {
				return fmt.Errorf("%s acts on protected %s", s.Rule, p)
			}
		}
		inside := slices.ContainsFunc([]string{"203.0.113.0/24", "2001:db8:a::/48", "192.0.2.0/25", "2001:db8:c::/48"}, func(p string) bool {
			o := netip.MustParsePrefix(p)
			return o.Bits() <= d.Bits() && o.Contains(d.Addr())
		})
		if !inside {
			return fmt.Errorf("%s acts outside of every official prefix", s.Rule)
		}
	}
	return nil
}

// witnessRouter shows the witness like the others.
type witnessRouter struct{ *bgptest.Router }

func (w witnessRouter) Name() string                        { return "witness" }
func (w witnessRouter) Address() netip.Addr                 { return w.Addr().Addr() }
func (w witnessRouter) ASN() flowspec.ASN                   { return 65050 }
func (w witnessRouter) ShowsFrom() bool                     { return true }
func (w witnessRouter) Shown(r flowspec.Rule) flowspec.Rule { return lab.Plain(r) }

func (w witnessRouter) Table(context.Context) ([]lab.Seen, error) {
	t := w.Router.Table()
	var out []lab.Seen
	for _, k := range t.Keys() {
		for _, path := range t.Paths(k) {
			out = append(out, lab.Seen{Rule: lab.Plain(path.Rule), From: path.From})
		}
	}
	return out, nil
}

// freePort is one that nobody listens on.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// inventory is what the tests begin with; "spared" knows its protected and its official space.
const inventory = `kind: Customer
id: uni-a
name: University A
official: [203.0.113.0/24, 2001:db8:a::/48]
links:
  - {prefix: 203.0.113.4/30, pe: pe1, interface: xe-0/0/1, state: in-use}
  - {prefix: 198.51.100.0/31, pe: pe2, interface: xe-0/0/7, block: links-1, state: moving}
  - {prefix: "2001:db8:a:ffff::/127", pe: pe1, interface: xe-0/0/1, state: clean}
contacts: [noc@uni-a.example]
---
kind: Customer
id: school-b
name: School B
within: uni-a
official: [203.0.113.64/27]
links:
  - {prefix: 198.51.100.2/31, pe: pe1, interface: xe-0/0/2, block: links-1, state: in-use}
contacts: [it@school-b.example]
---
kind: Customer
id: lab-c
name: Laboratory C
official: [192.0.2.0/25, 2001:db8:c::/48]
links:
  - {prefix: 198.51.100.4/31, pe: pe2, interface: xe-0/0/8, block: links-1, state: in-use}
contacts: [noc@lab-c.example]
---
kind: ProtectedBlock
name: links-1
purpose: link-block
prefixes: [198.51.100.0/24]
---
kind: ProtectedBlock
name: core
purpose: infrastructure
prefixes: [192.0.2.128/25, "2001:db8:ffff::/48"]
---
kind: Policy
name: reflected
priority: 20
vectors: [dns_amplification, ntp_amplification]
action: {discard: true}
lifetime: 10m
---
kind: Policy
name: carpet
priority: 10
vectors: [carpet_bombing, udp_flood]
action: {rate: 60Mbps}
lifetime: 10m
`

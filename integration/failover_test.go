package integration_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/bgp/bgptest"
	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/integration/lab"
)

// TestLeaderKilled kills the leader in the middle of mitigations. No router may be without any of the rules at any
// time; writes work again; the killed node comes back and catches up.
func TestLeaderKilled(t *testing.T) {
	c := startCluster(t)
	c.as("detector").signal("send", "--attack", "a", "--target", "203.0.113.10", "--vector", "dns_amplification")
	operator := c.as("operator")
	operator.mitigation("--target", "203.0.113.0/29", "--discard")
	operator.mitigation("--target", "2001:db8:a:2::/64", "--match", "proto udp len 1000-1500", "--rate", "8Mbps")
	wanted := []string{
		"dst 203.0.113.10/32 proto udp sport 53 => discard",
		"dst 203.0.113.10/32 proto udp frag any:is-fragment => discard",
		"dst 203.0.113.0/30 => discard",
		"dst 2001:db8:a:2::/64 proto udp len 1000-1500 => rate 8Mbps",
	}
	c.waitTables(wanted, c.members...)
	rules := parseRules(t, wanted)

	w := watchTables(t, c.routers, rules)
	old := c.leader()
	killed := time.Now()
	old.process.Kill()

	// A write right after the kill: the command line repeats it until somebody leads.
	survivors := remaining(c.members, old)
	id := c.asOn(survivors, "operator").mitigation("--target", "203.0.113.201", "--discard")
	gap := time.Since(killed)
	const later = "dst 203.0.113.201/32 => discard"
	c.waitTables(append(wanted, later), survivors...)
	t.Logf("leader %s killed: the next write was answered %v later", old.id, gap.Round(time.Millisecond))
	if gap > 10*time.Second {
		t.Errorf("writes stood still for %v", gap)
	}
	if now := c.leader(); now == old {
		t.Errorf("%s leads though it is dead", old.id)
	}

	c.start(old)
	c.waitSessions(c.members...)
	c.waitTables(append(wanted, later), c.members...)
	eventually(t, "the killed node has caught up", func(context.Context) error {
		var s statusOf
		c.as("viewer").read(&s, "cluster", "status")
		for _, n := range s.Nodes {
			if !n.Answered || !n.Serving || n.AppliedIndex != s.Nodes[0].AppliedIndex {
				return fmt.Errorf("%+v", s)
			}
		}
		return nil
	})
	c.asOn([]*member{old}, "operator").ok("mitigation", "withdraw", id, "--reason", "through the node that was killed")
	c.waitTables(wanted, c.members...)

	w.stop()
	for _, line := range w.summary() {
		t.Log(line)
	}
	for _, r := range rules {
		if gaps := c.witness.Absent(r.Match.Key()); len(gaps) > 0 {
			t.Errorf("the witness was without %s: %v", r, gaps)
		}
	}
	c.neverBeyond()
}

// TestNodeHeldBack stops a node with the lowest router id while the action of a rule changes from a rate limit to
// discard. Routers go on hearing the old action from it, and must choose the new one all the same: its MED is lower.
// Without the MED the lowest router id would win.
func TestNodeHeldBack(t *testing.T) {
	c := startCluster(t)
	held := c.members[0]
	others := remaining(c.members, held)
	const match, mild, severe = "proto udp dport 4500", "dst 203.0.113.10/32 proto udp dport 4500 => rate 8Mbps", "dst 203.0.113.10/32 proto udp dport 4500 => discard"
	c.as("operator").mitigation("--target", "203.0.113.10", "--match", match, "--rate", "8Mbps")
	c.waitTables([]string{mild}, c.members...)

	held.process.Signal(syscall.SIGSTOP)
	t.Cleanup(func() { held.process.Signal(syscall.SIGCONT) })
	c.asOn(others, "operator").mitigation("--target", "203.0.113.10", "--match", match, "--discard")
	rules := parseRules(t, []string{mild, severe})
	asked := 0
	for _, r := range c.routers {
		want := append(expected(r, rules[:1], []*member{held}), expected(r, rules[1:], others)...)
		eventually(t, r.Name()+" hears both actions", func(ctx context.Context) error {
			got, err := r.Table(ctx)
			if err != nil {
				return err
			}
			if diff := cmp.Diff(want, got, anyOrder()...); diff != "" {
				return fmt.Errorf("(-want +got)\n%s", diff)
			}
			return nil
		})
		chooser, ok := r.(interface {
			Best(context.Context) ([]lab.Seen, error)
		})
		if !ok {
			continue
		}
		asked++
		best, err := chooser.Best(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(best) != 1 || best[0].From == held.address || cmp.Diff(r.Shown(rules[1]), best[0].Rule) != "" {
			t.Errorf("%s chose %+v, want %s of another node than %s", r.Name(), best, rules[1], held.id)
		}
	}
	if asked == 0 {
		t.Error("no router said which path it chose")
	}
	if best, ok := c.witness.Table().Best(rules[1].Match.Key()); !ok || !best.Rule.Actions[0].Discards() {
		t.Errorf("the witness chose %+v", best)
	}

	held.process.Signal(syscall.SIGCONT)
	c.waitTables([]string{severe}, c.members...)
	c.neverBeyond()
}

// remaining is all without one.
func remaining(all []*member, without *member) []*member {
	var out []*member
	for _, m := range all {
		if m != without {
			out = append(out, m)
		}
	}
	return out
}

// asOn is as with some of the nodes as servers.
func (c *cluster) asOn(nodes []*member, role string) *cli {
	out := c.as(role)
	out.servers = nil
	for _, m := range nodes {
		out.servers = append(out.servers, m.api)
	}
	return out
}

// tableWatch looks at the routers' tables without pause.
type tableWatch struct {
	t      *testing.T
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu    sync.Mutex // guards looks
	looks map[string]int
}

// watchTables begins to look at every router's table, one look after the other, and reports each rule that is in none
// of a router's paths.
func watchTables(t *testing.T, routers []lab.Router, rules []flowspec.Rule) *tableWatch {
	ctx, cancel := context.WithCancel(context.Background())
	w := &tableWatch{t: t, cancel: cancel, looks: make(map[string]int)}
	t.Cleanup(w.stop)
	for _, r := range routers {
		if _, witness := r.(witnessRouter); witness {
			continue // it has recorded every change: no need to look
		}
		w.wg.Go(func() {
			for w.look(ctx, r, rules) {
				continue
			}
		})
	}
	return w
}

// look looks once; it reports whether to go on.
func (w *tableWatch) look(ctx context.Context, r lab.Router, rules []flowspec.Rule) bool {
	if err := lab.Pause(ctx, 10*time.Millisecond); err != nil {
		return false
	}
	seen, err := r.Table(ctx)
	if ctx.Err() != nil {
		return false
	}
	if err != nil {
		w.t.Errorf("%s: %v", r.Name(), err)
		return false
	}
	have := make(map[string]bool)
	for _, s := range seen {
		have[s.Rule.String()] = true
	}
	complete := true
	for _, rule := range rules {
		if !have[r.Shown(rule).String()] {
			w.t.Errorf("%s has no path of %s at %s", r.Name(), rule, time.Now().Format(time.RFC3339Nano))
			complete = false // once is enough: no need to look again
		}
	}
	w.mu.Lock()
	w.looks[r.Name()]++
	w.mu.Unlock()
	return complete
}

func (w *tableWatch) stop() {
	w.cancel()
	w.wg.Wait()
}

// summary says how often each router was looked at. A router that was hardly looked at proves nothing.
func (w *tableWatch) summary() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, name := range []string{"frr", "bird", "exabgp", "gobgpd"} {
		out = append(out, fmt.Sprintf("%s: looked at %d times, every rule there each time", name, w.looks[name]))
		if w.looks[name] < 20 {
			w.t.Errorf("%s was looked at %d times only", name, w.looks[name])
		}
	}
	return out
}

// TestLinkAddedUnderAttack adds a link inside of an active mitigation. The rules are cut anew around it, the pieces
// before the whole goes, on each session by itself, and from then on no rule acts on the link.
func TestLinkAddedUnderAttack(t *testing.T) {
	c := startCluster(t)
	const whole = "dst 203.0.113.128/25 proto udp => discard"
	c.as("operator").mitigation("--target", "203.0.113.128/25", "--match", "proto udp", "--discard")
	c.waitTables([]string{whole}, c.members...)
	before := len(c.witness.Updates())

	const state = "state: in-use}\n"
	link := netip.MustParsePrefix("203.0.113.200/30")
	changed := strings.Replace(inventory, state, state+"  - {prefix: 203.0.113.200/30, pe: pe1, interface: xe-0/0/9, "+state, 1)
	c.as("admin").ok("apply", "-f", c.write("inventory.yaml", changed), "--reason", "a new link")
	pieces := []string{
		"dst 203.0.113.128/26 proto udp => discard",
		"dst 203.0.113.192/29 proto udp => discard",
		"dst 203.0.113.204/30 proto udp => discard",
		"dst 203.0.113.208/28 proto udp => discard",
		"dst 203.0.113.224/27 proto udp => discard",
	}
	c.waitTables(pieces, c.members...)
	c.neverBeyond()

	// Replay what the witness heard, session by session: after each UPDATE every address that is to be covered before
	// and after the cut must be covered.
	attacked := netip.MustParsePrefix("203.0.113.128/25")
	tables := make(map[bgptest.SessionID]map[flowspec.Key]netip.Prefix)
	cuts := 0
	for i, u := range c.witness.Updates() {
		table := tables[u.Session]
		if table == nil {
			table = make(map[flowspec.Key]netip.Prefix)
			tables[u.Session] = table
		}
		for _, r := range u.Announced {
			d, _ := r.Rule.Match.Destination()
			table[r.Key] = d
		}
		for _, k := range u.Withdrawn {
			delete(table, k)
			cuts++
		}
		if i < before {
			continue
		}
		for a := attacked.Addr(); attacked.Contains(a); a = a.Next() {
			if !link.Contains(a) && !covers(table, a) {
				t.Fatalf("update %d leaves %s without a rule on session %d: %v", u.Seq, a, u.Session, table)
			}
		}
	}
	if len(tables) != len(c.members) || cuts != len(c.members) {
		t.Errorf("the witness saw %d sessions withdraw %d rules, want %d of each", len(tables), cuts, len(c.members))
	}
	for id, table := range tables {
		for a := link.Addr(); link.Contains(a); a = a.Next() {
			if covers(table, a) {
				t.Errorf("session %d still acts on %s of the link", id, a)
			}
		}
	}
}

func covers(table map[flowspec.Key]netip.Prefix, a netip.Addr) bool {
	for _, p := range table {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

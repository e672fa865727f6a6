package integration_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tidegate/tidegate/bgp/bgptest"
	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/integration/lab"
)

// speaker asks the speaker of the node.
func (s *single) speaker(args ...string) speakerOf {
	s.t.Helper()
	text := (&cli{t: s.t, lab: s.lab}).ok(append(append([]string{"speaker"}, args...), "--config", s.file, "-o", "json")...)
	var out speakerOf
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		s.t.Fatalf("tidegate speaker %s: %v in %q", strings.Join(args, " "), err, text)
	}
	return out
}

// newSpeaker waits for a speaker that is not the process pid.
func (s *single) newSpeaker(pid int) int {
	s.t.Helper()
	now := 0
	eventually(s.t, "another speaker", func(context.Context) error {
		r := (&cli{t: s.t, lab: s.lab}).run("speaker", "status", "--config", s.file, "-o", "json")
		var out speakerOf
		if r.Code != 0 {
			return errors.New(r.Stderr)
		}
		if err := json.Unmarshal([]byte(r.Stdout), &out); err != nil {
			return err
		}
		if now = out.Speaker.Pid; now == pid {
			return fmt.Errorf("it is still %d", pid)
		}
		return nil
	})
	return now
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatalf("cannot kill %d: %v", pid, err)
	}
}

// stopInOrder ends the node with SIGTERM.
func (s *single) stopInOrder() {
	s.t.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), patience, errors.New("it does not end"))
	defer cancel()
	if code, err := s.process.Stop(ctx); err != nil || code != 0 {
		s.t.Fatalf("SIGTERM: exit code %d, %v", code, err)
	}
}

const oneRule, otherRule, thirdRule = "dst 203.0.113.10/32 => discard", "dst 203.0.113.11/32 => discard", "dst 203.0.113.12/32 => discard"

func (s *single) discard(address string) {
	s.t.Helper()
	s.as("operator").mitigation("--target", address, "--discard")
}

// TestControllerKilled: a router hears nothing of the kill of the node's process, and nothing when it is started again. In
// between the speaker takes orders.
func TestControllerKilled(t *testing.T) {
	s := startSingle(t)
	s.discard("203.0.113.10")
	s.waitTable(oneRule)
	pid := s.speaker("status").Speaker.Pid
	if pid == s.process.PID() {
		t.Fatal("the speaker is in the node's process")
	}
	kept := filepath.Join(filepath.Dir(s.file), "n1", "speaker-set")
	before := len(s.witness.Updates())

	s.process.Kill()
	if got := s.speaker("status").Speaker; got.Pid != pid || len(got.Sessions) != 1 || got.Sessions[0].Announced != 1 {
		t.Errorf("without the node: %+v", got)
	}
	s.start("n1-again")
	if got := s.speaker("status").Speaker.Pid; got != pid {
		t.Errorf("speaker %d took the place of %d", got, pid)
	}
	s.discard("203.0.113.11")
	s.waitTable(oneRule, otherRule)
	var heard []flowspec.Rule
	for _, u := range s.witness.Updates()[before:] {
		if len(u.Withdrawn) > 0 {
			t.Errorf("withdrawn: %v", u.Withdrawn)
		}
		for _, r := range u.Announced {
			heard = append(heard, r.Rule)
		}
	}
	if len(heard) != 1 || heard[0].String() != otherRule {
		t.Errorf("the router heard %v, want the new rule only", heard)
	}
	if all := s.witness.Sessions(); len(all) != 1 {
		t.Errorf("sessions: %+v", all)
	}

	// Everything withdrawn while no node runs, and out when one does again.
	s.process.Kill()
	if got := s.speaker("withdraw-all", "--wait", "--reason", "no node"); !got.Complete || len(got.Withdrawn) != 2 {
		t.Errorf("withdraw-all without a node: %+v", got)
	}
	s.waitTable()
	p, err := s.lab.Start("n1-third", binary, "serve", "--config", s.file)
	if err != nil {
		t.Fatal(err)
	}
	s.process = p
	eventually(t, "the node says that it is out", func(context.Context) error {
		r := s.as("operator").run("cluster", "status")
		if !strings.Contains(oneLine(r), "n1 is OUT") {
			return errors.New(oneLine(r))
		}
		return nil
	})
	s.waitTable()
	s.speaker("resume")
	s.waitTable(oneRule, otherRule)

	// An orderly end takes everything along, and leaves nothing for the next speaker to announce by itself.
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
	s.stopInOrder()
	if _, err := os.Stat(kept); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after an orderly end %s is there: %v", kept, err)
	}
	s.waitTable()
	eventually(t, "the speaker is gone", func(context.Context) error {
		// Whoever inherits orphans may not have waited for it yet: then it has no command line any more.
		if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && len(line) > 0 {
			return fmt.Errorf("speaker %d outlives the orderly end of its node", pid)
		}
		return nil
	})
}

// TestSpeakerKilled: the speaker is started again at once and announces everything; raft does not notice.
func TestSpeakerKilled(t *testing.T) {
	s := startSingle(t)
	s.discard("203.0.113.10")
	s.waitTable(oneRule)
	pid := s.speaker("status").Speaker.Pid
	node := s.process.PID()
	var term struct{ Term uint64 }
	s.as("operator").read(&term, "cluster", "status")
	was := term.Term

	kill(t, pid)
	pid = s.newSpeaker(pid)
	s.discard("203.0.113.11")
	s.waitTable(oneRule, otherRule)
	for _, gap := range s.witness.Absent(parseRules(t, []string{oneRule})[0].Match.Key()) {
		t.Logf("a router without graceful restart was without the rule: %v", gap)
	}
	// Again, and with the node gone too: what the speaker's file says is announced before anybody can tell it.
	s.process.Kill()
	kill(t, pid)
	s.waitTable()
	alone, err := s.lab.Start("speaker-alone", binary, "speaker", "run", "--config", s.file)
	if err != nil {
		t.Fatal(err)
	}
	s.waitTable(oneRule, otherRule)
	s.start("n1-again")
	s.discard("203.0.113.12")
	s.waitTable(oneRule, otherRule, thirdRule)
	if now := s.speaker("status").Speaker.Pid; now != alone.PID() {
		t.Errorf("speaker %d, want %d", now, alone.PID())
	}
	s.as("operator").read(&term, "cluster", "status")
	if s.process.PID() == node || term.Term != was+1 {
		t.Errorf("term %d, want %d: only the node's own restart begins a new one", term.Term, was+1)
	}
}

// TestExternalSpeaker: a speaker that is a service of its own goes on when the node ends in order.
func TestExternalSpeaker(t *testing.T) {
	s := startSingleWith(t, func(s *single) string {
		file := writeFile(t, s.lab, "n1.yaml", s.config("n1")+"speaker: {process: external}\n")
		if _, err := s.lab.Start("speaker", binary, "speaker", "run", "--config", file); err != nil {
			t.Fatal(err)
		}
		return "speaker: {process: external}\n"
	})
	s.discard("203.0.113.10")
	s.waitTable(oneRule)
	before := len(s.witness.Updates())
	s.stopInOrder()
	s.start("n1-again")
	s.discard("203.0.113.11")
	s.waitTable(oneRule, otherRule)
	if n := len(s.witness.Updates()) - before; n != 1 {
		t.Errorf("%d updates since the node was stopped, want the one with the new rule", n)
	}
	if r := (&cli{t: t, lab: s.lab}).run("speaker", "run", "--config", s.file); r.Code != 1 || !strings.Contains(oneLine(r), "another process listens") {
		t.Errorf("a second speaker: exit code %d: %s", r.Code, oneLine(r))
	}
}

// TestCrashingRouter: a router whose message crashes the speaker twice is not dialled any more, and shown; the others hear
// everything. The program is built with a fault in it: a MED stands for a message that GoBGP cannot bear.
func TestCrashingRouter(t *testing.T) {
	faulty := filepath.Join(t.TempDir(), "tidegate")
	build := exec.Command("go", "build", "-tags", "faults", "-o", faulty, "github.com/tidegate/tidegate/cmd/tidegate")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	good := binary
	binary = faulty
	t.Cleanup(func() { binary = good })
	s := startSingle(t)
	other, err := bgptest.NewRouter(bgptest.Config{Addr: netip.MustParseAddrPort("127.0.0.2:0"), ASN: 65011, ExtendedMessages: true})
	if err != nil {
		t.Fatal(err)
	}
	runWitness(t, other)
	router := fmt.Sprintf(routerDocument, "edge2", "127.0.0.2", other.Addr().Port(), 65011)
	s.as("admin").ok("apply", "-f", writeFile(t, s.lab, "edge2.yaml", router), "--reason", "another router")
	s.discard("203.0.113.10")
	s.waitTable(oneRule)
	rule := parseRules(t, []string{otherRule})[0]
	if err := s.witness.Announce(bgptest.Route{Rule: rule, MED: 64999666, HasMED: true}); err != nil {
		t.Fatal(err)
	}
	// It crashes, is started again, and crashes once more: the witness says it again.
	eventually(t, "the router is quarantined", func(context.Context) error {
		text := oneLine(s.as("operator").run("peers"))
		if !strings.Contains(text, "quarantined: messages of the router crashed the speaker 2 times") {
			return errors.New(text)
		}
		return nil
	})
	pid := s.speaker("status").Speaker.Pid
	if err := s.process.Check(); err != nil {
		t.Error(err)
	}
	// The other router hears everything, what is new too.
	s.discard("203.0.113.12")
	want := make(map[flowspec.Key]bool)
	for _, r := range parseRules(t, []string{oneRule, thirdRule}) {
		want[r.Match.Key()] = true
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), patience, errors.New("not in time"))
	defer cancel()
	if err := other.WaitRoutes(ctx, func(table bgptest.Table) bool {
		for k := range want {
			if !table.Has(k) {
				return false
			}
		}
		return table.Len() == len(want)
	}); err != nil {
		t.Errorf("the other router: %v", err)
	}
	if now := s.speaker("status").Speaker.Pid; now != pid {
		t.Errorf("speaker %d crashed again: now %d", pid, now)
	}
	// The router is mended. It is dialled again when somebody says so, without a new speaker.
	if err := s.witness.Withdraw(rule.Match); err != nil {
		t.Fatal(err)
	}
	s.speaker("unquarantine", "edge1")
	s.waitTable(oneRule, thirdRule)
	if now := s.speaker("status").Speaker.Pid; now != pid {
		t.Errorf("speaker %d crashed again: now %d", pid, now)
	}
}

// TestGracefulRestart: while a speaker is killed and started again, routers that keep paths over a restart keep all of it,
// and drop what is not announced again when the End-of-RIB comes.
func TestGracefulRestart(t *testing.T) {
	c := startClusterWith(t, "supervised")
	c.as("operator").mitigation("--target", "203.0.113.10", "--discard")
	c.waitTables([]string{oneRule}, c.members...)
	first := c.members[0]
	var bird lab.Router
	for _, r := range c.routers {
		if r.Name() == "bird" {
			bird = r
		}
	}
	rule := parseRules(t, []string{oneRule})[0]
	// From here on BIRD must have the path of the first node at every look.
	ctx, cancel := context.WithCancel(t.Context())
	looks := make(chan int, 1)
	go func() {
		n := 0
		for ctx.Err() == nil {
			seen, err := bird.Table(ctx)
			if err != nil {
				break
			}
			n++
			found := false
			for _, p := range seen {
				found = found || p.From == first.address && p.Rule.String() == bird.Shown(rule).String()
			}
			if !found {
				t.Errorf("BIRD has no path of %s: %v", first.id, seen)
				break
			}
		}
		looks <- n
	}()
	pid := c.speaker(first, "status").Speaker.Pid
	kill(t, pid)
	eventually(t, "another speaker", func(context.Context) error {
		r := (&cli{t: t, lab: c.lab}).run("speaker", "status", "--config", first.file, "-o", "json")
		if r.Code != 0 || strings.Contains(r.Stdout, fmt.Sprintf(`"pid": %d,`, pid)) {
			return errors.New(r.Stdout + r.Stderr)
		}
		return nil
	})
	c.waitSessions(c.members...)
	c.waitTables([]string{oneRule}, c.members...)
	cancel()
	if n := <-looks; n < 3 {
		t.Errorf("BIRD was looked at %d times only", n)
	}
	id := c.as("operator").mitigation("--target", "203.0.113.11", "--discard")
	c.waitTables([]string{oneRule, otherRule}, c.members...)
	c.as("operator").ok("mitigation", "withdraw", id, "--reason", "over")
	c.waitTables([]string{oneRule}, c.members...)
	c.neverBeyond()
}

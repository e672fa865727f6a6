package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// speakerOf is what the speaker commands say.
type speakerOf struct {
	Speaker struct {
		Pid int
		Out *struct {
			By, Reason, Trouble string
		}
		Sessions []struct {
			Router, State     string
			Announced, Wanted int
		}
		Others []struct{ Node, Command string }
	}
	Already   bool
	Withdrawn []string
	Complete  bool
}

// speaker gives an order to the speaker of m.
func (c *cluster) speaker(m *member, args ...string) speakerOf {
	c.t.Helper()
	text := (&cli{t: c.t, lab: c.lab}).ok(append(append([]string{"speaker"}, args...), "--config", m.file, "-o", "json")...)
	var out speakerOf
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		c.t.Fatalf("tidegate speaker %s: %v in %q", strings.Join(args, " "), err, text)
	}
	return out
}

// liveSessions are the witness's sessions that are up, by the other side's router id.
func (c *cluster) liveSessions() map[netip.Addr]string {
	out := make(map[netip.Addr]string)
	for _, s := range c.witness.Sessions() {
		if s.Down.IsZero() {
			out[s.RouterID] = fmt.Sprint(s.ID)
		}
	}
	return out
}

// TestPanic: with the quorum lost and no leader, everything is withdrawn from the last node's sessions by a command on
// that node. It stays out while its sessions stay up, over its own kill and restart, and when the others are back and
// announce; until it is told to resume.
func TestPanic(t *testing.T) {
	c := startCluster(t)
	const rule = "dst 203.0.113.10/32 => discard"
	c.as("operator").mitigation("--target", "203.0.113.10", "--discard")
	c.waitTables([]string{rule}, c.members...)

	last, others := c.members[0], c.members[1:]
	for _, m := range others {
		m.process.Kill()
	}
	c.waitTables([]string{rule}, last) // the sessions of the dead are gone, and what they said
	eventually(t, "nobody leads", func(context.Context) error {
		var s statusOf
		c.asOn([]*member{last}, "viewer").read(&s, "cluster", "status")
		if s.Leader != "" {
			return fmt.Errorf("%s leads", s.Leader)
		}
		return nil
	})
	if r := c.asOn([]*member{last}, "operator").run("mitigation", "withdraw-all", "--reason", "no leader", "--timeout", "2s"); r.Code == 0 {
		t.Error("the cluster withdrew without a quorum")
	}
	before := c.liveSessions()

	started := time.Now()
	got := c.speaker(last, "withdraw-all", "--reason", "it's wrong", "--wait")
	t.Logf("withdrawn and answered %v after the command was started", time.Since(started).Round(time.Millisecond))
	if !got.Complete || got.Already || len(got.Withdrawn) != 1 || got.Speaker.Out == nil || got.Speaker.Out.Trouble != "" {
		t.Errorf("answer: %+v", got)
	}
	if len(got.Speaker.Sessions) != len(c.routers) {
		t.Errorf("%d sessions in the answer, want %d", len(got.Speaker.Sessions), len(c.routers))
	}
	for _, s := range got.Speaker.Sessions {
		if s.Announced != 0 || s.Wanted != 1 || s.State != "established" {
			t.Errorf("session %+v", s)
		}
	}
	want := "tidegate speaker withdraw-all --config " + last.file + ` --reason 'it'\''s wrong'`
	if o := got.Speaker.Others; len(o) != 2 || o[0].Node != "n2" || o[1].Node != "n3" || o[0].Command != want {
		t.Errorf("other nodes: %+v, want n2 and n3 with %s", o, want)
	}
	c.waitTables(nil)
	for id, session := range before {
		if now := c.liveSessions()[id]; now != session {
			t.Errorf("session %s of %s is now %q: it should have stayed up", session, id, now)
		}
	}

	// Killed and started again it is still out, though it knows no leader.
	last.process.Kill()
	c.start(last)
	eventually(t, "the node is back, and out", func(context.Context) error {
		r := (&cli{t: t, lab: c.lab}).run("speaker", "status", "--config", last.file)
		if r.Code != 0 || !strings.Contains(r.Stdout, "it's wrong") {
			return fmt.Errorf("exit code %d: %s%s", r.Code, r.Stdout, r.Stderr)
		}
		return nil
	})
	for _, m := range others {
		c.start(m)
	}
	c.waitSessions(c.members...)
	c.waitTables([]string{rule}, others...)
	if text := c.as("viewer").ok("cluster", "status"); !strings.Contains(text, "n1 is OUT") {
		t.Errorf("cluster status does not say that n1 is out:\n%s", text)
	}
	c.as("operator").mitigation("--target", "203.0.113.11", "--discard")
	const later = "dst 203.0.113.11/32 => discard"
	c.waitTables([]string{rule, later}, others...)

	if ended := c.speaker(last, "resume"); ended.Speaker.Out != nil {
		t.Errorf("still out: %+v", ended)
	}
	c.waitTables([]string{rule, later}, c.members...)
	c.neverBeyond()
}

// TestPanicRefuses: what goes wrong with the socket is said with what to do about it, and changes nothing.
func TestPanicRefuses(t *testing.T) {
	s := startSingleWith(t, func(*single) string { return "speaker: {process: in-process}\n" })
	s.as("detector").signal("send", "--attack", "a", "--target", "203.0.113.10", "--vector", "dns_amplification")
	rules := []string{
		"dst 203.0.113.10/32 proto udp sport 53 => discard",
		"dst 203.0.113.10/32 proto udp frag any:is-fragment => discard",
	}
	s.waitTable(rules...)
	nobody := &cli{t: t, lab: s.lab}
	for _, c := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"no reason", []string{"withdraw-all", "--config", s.file}, 2, "--reason is missing"},
		{"another socket", []string{"withdraw-all", "--reason", "x", "--socket", s.lab.Dir() + "/x.sock"}, 5, "there is no such socket"},
		{"no word", []string{"withdrawall"}, 2, `did you mean "withdraw-all"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := nobody.run(append([]string{"speaker"}, c.args...)...)
			if r.Code != c.code || !strings.Contains(oneLine(r), c.says) {
				t.Errorf("exit code %d, want %d with %q: %s", r.Code, c.code, c.says, oneLine(r))
			}
		})
	}
	s.waitTable(rules...)

	// A node that was killed leaves its socket behind.
	s.process.Kill()
	r := nobody.run("speaker", "withdraw-all", "--reason", "x", "--config", s.file)
	if r.Code != 5 || !strings.Contains(oneLine(r), "the node does not run") {
		t.Errorf("exit code %d: %s", r.Code, oneLine(r))
	}
	s.start("n1-again")
	s.waitTable(rules...)
	r = nobody.run("speaker", "withdraw-all", "--reason", "x", "--config", s.file)
	if r.Code != 0 || !strings.Contains(oneLine(r), "n1 has withdrawn everything: 2 routes.") {
		t.Errorf("exit code %d: %s", r.Code, oneLine(r))
	}
	s.waitTable()
}

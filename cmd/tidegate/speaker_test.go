package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSpeakerCommands: the order to withdraw everything, from the command line to where it shows, and back.
func TestSpeakerCommands(t *testing.T) {
	s := newShell(t)
	s.env = map[string]string{"SUDO_USER": "alice"}
	dir := t.TempDir()
	file := filepath.Join(dir, "n1.yaml")
	text := fmt.Sprintf("node: solo\ndata_dir: %s\nbgp: {asn: 65001, router_id: 192.0.2.1}\n", filepath.Dir(s.socket))
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(dir, "left.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: left, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()

	viewer := s.pki.Operator
	rows := []struct {
		name   string
		args   string // split at |
		code   int
		stdout string
		stderr string
	}{
		{"apply", "apply|-f|-", 0, "3 documents added", ""},
		{"a mitigation", "mitigation|start|--target|203.0.113.17|--discard|--reason|x", 0, "M1", ""},
		{"status", "speaker|status|--config|" + file, 0, "node solo state announces what is wanted, for ", ""},
		{"status by the socket", "speaker|status|--socket|" + s.socket, 0, "edge1 127.0.0.1 flowspec", ""},
		{"both ways", "speaker|status|--socket|x|--config|y", 2, "", "config socket"},
		{"no such file", "speaker|status|--config|" + file + "x", 2, "", "there is no such file"},
		{"no such socket", "speaker|withdraw-all|--reason|x|--socket|" + dir + "/no.sock", 5, "", "unavailable: there is no such socket"},
		{"a node that does not run", "speaker|withdraw-all|--reason|x|--socket|" + left, 5, "", "so the node does not run: it has no BGP session and announces nothing"},
		{"a file of another kind", "speaker|withdraw-all|--reason|x|--socket|" + file, 2, "", "not a speaker's socket"},
		{"no time", "speaker|status|--timeout|0s|--socket|" + s.socket, 2, "", "--timeout 0s leaves no time"},
		{"withdraw-all without a reason", "speaker|withdraw-all|--config|" + file, 2, "", "--reason is missing"},
		{"a reason in two lines", "speaker|withdraw-all|--reason|a\nb|--config|" + file, 2, "", "malformed: reason: "},
		{"nothing was done", "speaker|status|--config|" + file, 0, "state announces what is wanted", ""},
		{"resume what is not out", "speaker|resume|--config|" + file, 0, "solo was not out: nothing is changed.", ""},
		{"withdraw-all", "speaker|withdraw-all|--reason|it's wrong|--wait|--config|" + file, 0, "solo announces nothing, and announced nothing when the order came. OUT by ", ""},
		{"once more", "speaker|withdraw-all|--reason|again|--socket|" + s.socket, 0, "solo was out before this order.", ""},
		{"status while out", "speaker|status|--config|" + file, 0, "(alice by sudo)", ""},
		{"why it is out", "speaker|status|-o|json|--config|" + file, 0, `"reason": "it's wrong"`, ""},
		{"cluster status", "cluster|status", 0, "solo is OUT and announces nothing, by order of ", ""},
		{"the state in cluster status", "cluster|status", 0, " OUT\n", ""},
		{"peers", "peers", 0, "To end that, run on solo: tidegate speaker resume", ""},
		{"peers as JSON", "peers|-o|json", 0, `"out": true`, ""},
		{"rules", "rules", 0, "committed by solo (the node stays out by an operator's order, so it is not announced)", ""},
		{"resume", "speaker|resume|--config|" + file, 0, "solo announces again what is wanted. was out by ", ""},
		{"unquarantine what is in none", "speaker|unquarantine|edge1|--config|" + file, 0, "edge1 is in no quarantine on solo, no crash by its messages is known there, and no rule is kept off it", ""},
		{"unquarantine nobody", "speaker|unquarantine|--config|" + file, 2, "", "ROUTER is missing"},
		{"status after it", "speaker|status|--config|" + file, 0, "state announces what is wanted", ""},
		{"cluster status after it", "cluster|status", 0, "serving", ""},
	}
	for _, r := range rows {
		dir, stdin := viewer, ""
		if strings.HasPrefix(r.args, "apply") {
			dir, stdin = s.pki.Admin, inventory
		}
		code, stdout, stderr := s.run(dir, stdin, strings.Split(r.args, "|")...)
		if code != r.code {
			t.Errorf("%s: exit code %d, want %d\n%s%s", r.name, code, r.code, stdout, stderr)
		}
		for _, c := range []struct{ got, want string }{{stdout, r.stdout}, {stderr, r.stderr}} {
			if !strings.Contains(c.got, c.want) && !strings.Contains(strings.Join(strings.Fields(c.got), " "), c.want) {
				t.Errorf("%s: %q is not in\n%s", r.name, c.want, c.got)
			}
		}
	}
}

func TestQuoted(t *testing.T) {
	for text, want := range map[string]string{
		"ticket-4711": "ticket-4711", "": "''", "two words": "'two words'", "it's": `'it'\''s'`, "$(reboot)": "'$(reboot)'", "ä": "'ä'",
	} {
		if got := quoted(text); got != want {
			t.Errorf("quoted(%q) = %s, want %s", text, got, want)
		}
	}
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/cmd/client"
	"github.com/tidegate/tidegate/cmd/node"
)

// shell runs command lines against one node in this process.
type shell struct {
	t      *testing.T
	server string
	pki    node.OwnPKI
	socket string
	env    map[string]string // besides
}

func newShell(t *testing.T) *shell {
	t.Helper()
	cfg := node.Config{
		Node: "solo", DataDir: filepath.Join(t.TempDir(), "data"), API: "127.0.0.1:0", HTTP: "127.0.0.1:0",
		BGP: node.BGP{ASN: 65001, RouterID: netip.MustParseAddr("192.0.2.1")}, Cluster: node.Cluster{Name: node.DefaultCluster},
	}
	up := make(chan node.Addresses, 1)
	n, err := node.New(cfg, node.Deps{Logger: slog.New(slog.DiscardHandler), Listening: func(a node.Addresses) { up <- a }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the node ended with %v", err)
		}
	})
	select {
	case a := <-up:
		return &shell{t: t, server: a.API, pki: cfg.OwnPKI(), socket: cfg.SpeakerSocket()}
	case err := <-ended:
		t.Fatal(err)
		return nil
	}
}

// run runs one command line with a role's certificate.
func (s *shell) run(dir, stdin string, args ...string) (code int, stdout, stderr string) {
	s.t.Helper()
	var out, errs bytes.Buffer
	env := map[string]string{"TIDEGATE_SERVER": s.server, "TIDEGATE_TLS_DIR": dir}
	maps.Copy(env, s.env)
	a := &app{stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs, env: func(k string) string { return env[k] }, now: time.Now, location: time.UTC}
	code = a.run(s.t.Context(), args)
	return code, out.String(), errs.String()
}

const inventory = `kind: Customer
id: uni-a
name: University A
official: [203.0.113.0/24]
links: [{prefix: 203.0.113.4/30, pe: pe1, interface: xe-0/0/1}]
contacts: [noc@uni-a.example]
---
kind: Router
name: edge1
address: 127.0.0.1
port: 1
asn: 65010
group: edge
validation: disabled-by-import-policy
profile: gobgp
max_prefix: 100
---
kind: Policy
name: reflected
priority: 1
vectors: [dns_amplification]
action: {discard: true}
`

// edge is the router of the inventory with another profile.
func edge(profile string) string {
	text := "kind: Router\nname: edge1\naddress: 127.0.0.1\n"
	if profile != "" {
		text += "profile: " + profile + "\n"
	}
	return text + "port: 1\nasn: 65010\ngroup: edge\nvalidation: disabled-by-import-policy\nmax_prefix: 3000\n"
}

// TestCommands tells one story, line by line, with the exit code and a piece of what each line prints.
func TestCommands(t *testing.T) {
	s := newShell(t)
	admin, operator, detector := s.pki.Admin, s.pki.Operator, s.pki.Detector
	rows := []struct {
		name   string
		dir    string
		stdin  string
		args   string // split at |
		code   int
		stdout string
		stderr string
	}{
		{"plan", admin, inventory, "plan|-f|-", 0, "add    Customer uni-a", ""},
		{"an operator may not apply", operator, inventory, "apply|-f|-", 6, "", "not permitted: "},
		{"apply", admin, inventory, "apply|-f|-", 0, "3 documents added, 0 changed, 0 removed, 0 unchanged; links 0 -> 1.", ""},
		{"apply again", admin, inventory, "apply|-f|-", 0, "0 documents added, 0 changed, 0 removed, 3 unchanged", ""},
		{"nothing to apply", admin, inventory, "apply|-f|-", 0, "Nothing to change.", ""},
		{"a document with host bits", admin, "kind: Customer\nid: x\nname: X\nofficial: [203.0.113.1/24]\n", "apply|-f|-", 2, "", `-:4:12: official[0]: "203.0.113.1/24" has host bits; write 203.0.113.0/24`},
		{"an unknown key", admin, "kind: Customer\nid: x\noficial: []\n", "apply|-f|-", 2, "", "-:3:1: oficial: there is no such key in Customer"},
		{"truncated YAML", admin, "kind: Customer\nofficial: [203.", "apply|-f|-", 2, "", "-:"},
		{"10 MB of YAML", admin, strings.Repeat("# 3456789\n", 1<<20), "apply|-f|-", 2, "", "8 MiB"},
		{"overlap without nesting", admin, "kind: Customer\nid: x\nname: X\nofficial: [203.0.113.64/27]\ncontacts: [a@b.example]\n", "apply|-f|-", 2, "", `203.0.113.0/24 of customer "uni-a"`},
		{"an unknown profile", admin, edge("iosxr"), "apply|-f|-", 2, "", `profile: there is no profile "iosxr"; write one of generic, junos-mx`},
		{"an untested profile", admin, edge("iosxr-ncs5500"), "plan|-f|-", 2, "", `profile "iosxr-ncs5500" is untested`},
		{"an untested profile that is accepted", admin, edge("iosxr-ncs5500"), "apply|-f|-|--accept-untested", 0, "1 changed", ""},
		{"that document", admin, "", "document|get|Router/edge1", 0, "accept_untested: true", ""},
		{"a rule that the router does not know", operator, "", "mitigation|preview|--target|203.0.113.17|--discard|--sample", 3, "refused (router_profile)", ""},
		{
			"preview with a price", operator, "", "mitigation|preview|--target|203.0.113.17|--match|len >=257|--discard", 0,
			"price edge1: 1 rule x 15 = 15 TCAM entries (iosxr-ncs5500); it holds 0 of at most 2400 rules, 0 of at most 3276 entries", "",
		},
		{
			"preview with a cheaper cut", operator, "", "mitigation|preview|--target|203.0.113.17|--match|len >=257|--discard", 0,
			"cheaper on iosxr-ncs5500: len >=256 costs 8 TCAM entries instead of 15", "",
		},
		{"the router as it was", admin, inventory, "apply|-f|-", 0, "1 changed", ""},
		{"half of the inventory", admin, inventory[strings.Index(inventory, "---")+4:], "apply|-f|-|--prune", 3, "", "removals_need_number"},
		{"customer list", operator, "", "customer|list", 0, "uni-a  University A  203.0.113.0/24  1", ""},
		{"customer show", operator, "", "customer|show|uni-a", 0, "203.0.113.4/30  pe1  xe-0/0/1", ""},
		{"customer show nobody", operator, "", "customer|show|nobody", 4, "", "not found: "},
		{"lookup a link", operator, "", "customer|lookup|203.0.113.5", 0, "No rule ever acts on packets to 203.0.113.5", ""},
		{"lookup nonsense", operator, "", "customer|lookup|203.0.113", 2, "", "malformed: "},
		{"lookup a word", operator, "", "customer|lookup|foo", 2, "", `"foo" is not an IP address; write one address such as 203.0.113.5`},
		{"lookup a prefix", operator, "", "customer|lookup|203.0.113.0/24", 2, "", `"203.0.113.0/24" is a prefix; write one address`},
		{"documents", operator, "", "document|list", 0, "Policy reflected  priority 1: dns_amplification: discard", ""},
		{"document get", operator, "", "document|get|Customer/uni-a", 0, "kind: Customer\nid: uni-a\n", ""},
		{"preview", operator, "", "mitigation|preview|--target|203.0.113.0/24|--match|proto udp sport 53|--rate|60Mbps", 0, "rate 6 rules x 1 router x 10Mbps", ""},
		{"preview of a link", operator, "", "mitigation|preview|--target|203.0.113.5|--discard", 3, "refused (target_protected)", ""},
		{"start", operator, "", "mitigation|start|--target|203.0.113.17|--match|proto udp sport 53|--discard|--lifetime|10m|--reason|flood|--request-id|r1", 0, "Caution: M1 is committed, and no router hears it yet: 0 of 1 session with edge1 is established", ""},
		{"start, once more", operator, "", "mitigation|start|--target|203.0.113.17|--match|proto udp sport 53|--discard|--lifetime|10m|--reason|flood", 0, "Nothing to change.", ""},
		{"start, repeated", operator, "", "mitigation|start|--target|203.0.113.17|--match|proto udp sport 53|--discard|--lifetime|10m|--reason|flood|--request-id|r1", 0, "This request was done before", ""},
		{"the same id for something else", operator, "", "mitigation|start|--target|203.0.113.8|--discard|--lifetime|10m|--reason|flood|--request-id|r1", 3, "", "refused: "},
		{"start without a reason", operator, "", "mitigation|start|--target|203.0.113.17|--discard", 2, "", "--reason is missing"},
		{"start without a target", operator, "", "mitigation|start|--discard|--reason|x", 2, "", "--target is missing"},
		{"start without an action", operator, "", "mitigation|start|--target|203.0.113.17|--reason|x", 2, "", "exactly one of --discard, --rate"},
		{"start with both actions", operator, "", "mitigation|start|--target|203.0.113.17|--discard|--rate|1Mbps|--reason|x", 2, "", "--discard and --rate exclude each other"},
		{"host bits", operator, "", "mitigation|start|--target|203.0.113.1/24|--discard|--reason|x", 2, "", "write 203.0.113.0/24"},
		{"copy without an address", operator, "", "mitigation|start|--target|203.0.113.17|--discard|--copy|--reason|x", 2, "", "--copy needs an address"},
		{"mark 64", operator, "", "mitigation|start|--target|203.0.113.17|--mark|64|--reason|x", 2, "", "action.mark: DSCP 64 is above 63"},
		{"no route target", operator, "", "mitigation|start|--target|203.0.113.17|--redirect|scrubber|--reason|x", 2, "", `action.redirect: "scrubber" is no route target`},
		{"preview of packets", operator, "", "mitigation|preview|--target|203.0.113.0/24|--match|proto udp sport 53|--rate|6kpps", 0, "rate 6 rules x 1 router x 1kpps = 6kpps", ""},
		{"preview of a redirect", operator, "", "mitigation|preview|--target|203.0.113.17|--redirect|65001:666|--sample", 0, "dst 203.0.113.17/32 => sample, redirect 65001:666", ""},
		{"preview of a copy", operator, "", "mitigation|preview|--target|203.0.113.17|--redirect-ip|192.0.2.1|--copy", 0, "action copy to 192.0.2.1", ""},
		{"preview of a mark", operator, "", "mitigation|preview|--target|203.0.113.17|--mark|af31|--continue|-o|json", 0, `"mark": "26", "continue": true`, ""},
		{"a blackhole that no router hears", operator, "", "mitigation|start|--target|203.0.113.17|--rtbh|--reason|x", 3, "", "(no_router)"},
		{"0.1 bps", operator, "", "mitigation|start|--target|203.0.113.17|--rate|0.1bps|--reason|x", 2, "", "action.rate"},
		{"a negative lifetime", operator, "", "mitigation|start|--target|203.0.113.17|--discard|--lifetime|-5m|--reason|x", 2, "", "negative"},
		{"port 70000", operator, "", "mitigation|start|--target|203.0.113.17|--match|proto udp dport 70000|--discard|--reason|x", 2, "", "65535"},
		{"everything", operator, "", "mitigation|start|--target|0.0.0.0/0|--discard|--reason|x", 3, "", "target_everything"},
		{"nobody's target", operator, "", "mitigation|start|--target|192.0.2.1|--discard|--reason|x", 3, "", "target_not_official"},
		{"multicast", operator, "", "mitigation|start|--target|224.0.0.1|--discard|--reason|x", 3, "", "refused: "},
		{"list", operator, "", "mitigation|list", 0, "M1  uni-a     203.0.113.17/32  discard", ""},
		{"show", operator, "", "mitigation|show|M1", 0, "why          flood", ""},
		{"show what is not there", operator, "", "mitigation|show|M99", 4, "", "there is no mitigation M99"},
		{"list of a customer that there is not", operator, "", "mitigation|list|--customer|nope", 4, "", `there is no customer "nope"; there is uni-a (unknown_customer)`},
		{"rules of a router that there is not", operator, "", "rules|--router|nope", 4, "", `there is no router "nope"; there is edge1`},
		{"extend what is not there", operator, "", "mitigation|extend|M99|--lifetime|5m|--reason|x", 4, "", "(unknown_mitigation)"},
		{"show, like extend", operator, "", "mitigation|show|M99", 4, "", "(unknown_mitigation)"},
		{"rules", operator, "", "rules", 0, "dst 203.0.113.17/32 proto udp sport 53 => discard", ""},
		{"render", operator, "", "rules|render|--format|junos|--router|edge1", 0, "# M1: dst 203.0.113.17/32 proto udp sport 53 => discard set groups tidegate routing-options flow route tidegate-", ""},
		{"render the undo", operator, "", "rules|render|--format|junos|--undo", 0, "delete groups tidegate", ""},
		{"render as JSON", operator, "", "rules|render|--format|gobgp|-o|json", 0, `"problems": []`, ""},
		{"render in an unknown format", operator, "", "rules|render|--format|cisco", 2, "", `--format: cannot render as "cisco": known formats are junos`},
		{"render for a router that there is not", operator, "", "rules|render|--format|junos|--router|nope", 4, "", `there is no router "nope"`},
		{"render without a format", operator, "", "rules|render", 2, "", `--format is missing; name one of junos, iosxr, bird, exabgp, gobgp, e.g. --format junos`},
		{"a rule that Junos cannot say", operator, "", "mitigation|start|--target|203.0.113.33|--match|proto tcp tcp-flags syn+ack|--discard|--lifetime|10m|--reason|x", 0, "M2", ""},
		{"render it", operator, "", "rules|render|--format|junos", 3, "NOT RENDERED, 1:", "not rendered: M2: dst 203.0.113.33/32 proto tcp tcp-flags syn+ack => discard: "},
		{"render it for a speaker that can", operator, "", "rules|render|--format|bird", 0, "tcp flags 0x12/0x12", ""},
		{"end it", operator, "", "mitigation|withdraw|M2|--reason|over", 0, "", ""},
		{"peers", operator, "", "peers", 0, "solo  edge1   127.0.0.1  65010", ""},
		{"cluster status", operator, "", "cluster|status", 0, "solo  leader", ""},
		{"extend", operator, "", "mitigation|extend|M1|--lifetime|30m|--reason|still on", 0, "M1 now ends", ""},
		{"withdraw", operator, "", "mitigation|withdraw|M1|--reason|over", 0, "a node that is cut off stops at", ""},
		{"withdraw again", operator, "", "mitigation|withdraw|M1|--reason|over", 3, "", "refused: "},
		{"signal", detector, "", "signal|send|--attack|a|--target|203.0.113.9|--vector|dns_amplification", 0, "verdict      mitigated", ""},
		{"why", operator, "", "mitigation|show|M3|--why", 0, "mitigation M3, active; it began", ""},
		{"the same sequence number with another body", detector, "", "signal|send|--attack|a|--target|203.0.113.10|--vector|dns_amplification", 3, "seq_conflict", ""},
		{"a protocol by name", detector, "", "signal|preview|--attack|n|--target|203.0.113.9|--vector|udp_flood|--protocol|udp", 0, "verdict", ""},
		{"a protocol that is none", detector, "", "signal|send|--attack|n|--target|203.0.113.9|--vector|udp_flood|--protocol|upd", 2, "", `--protocol "upd" is not a protocol; write a name such as udp`},
		{"an unknown vector", detector, "", "signal|send|--attack|b|--target|203.0.113.9|--vector|nope", 2, "is not a known vector", ""},
		{"a signal by an operator", operator, "", "signal|send|--attack|c|--target|203.0.113.9|--vector|dns_amplification", 6, "", "not permitted: "},
		{"a detector looks", detector, "", "mitigation|list", 6, "", "not permitted: "},
		{"signal preview", detector, "", "signal|preview|--attack|d|--target|203.0.113.9|--vector|dns_amplification", 0, "Preview: nothing was changed.", ""},
		{"end without a number", detector, "", "signal|end|--attack|a", 2, "", "--seq is missing"},
		{"an update", detector, "", "signal|send|--attack|a|--seq|5|--update|--target|203.0.113.9|--vector|dns_amplification", 0, "verdict", ""},
		{"a stale end", detector, "", "signal|end|--attack|a|--seq|3", 3, "is older", "nothing was ended"},
		{"end of the attack", detector, "", "signal|end|--attack|a|--seq|6", 0, "verdict      ended", ""},
		{"freeze without a reason", operator, "", "cluster|freeze", 2, "", "--reason is missing"},
		{"a detector may not freeze", detector, "", "cluster|freeze|--reason|x", 6, "", "not permitted"},
		{"freeze", operator, "", "cluster|freeze|--reason|under review|--for|2h", 0, "FROZEN by operator/", ""},
		{"status while frozen", operator, "", "cluster|status", 0, "under review. Policies start, escalate and revive nothing", ""},
		{"list while frozen", operator, "", "mitigation|list", 0, "FROZEN by operator/", ""},
		{"a signal while frozen", detector, "", "signal|send|--attack|f|--target|203.0.113.9|--vector|dns_amplification", 0, "verdict observed the cluster is frozen", ""},
		{"by hand while frozen", operator, "", "mitigation|start|--target|203.0.113.40|--discard|--reason|x", 0, "M4", ""},
		{"withdraw all and stay frozen", operator, "", "mitigation|withdraw-all|--freeze|--reason|all wrong", 0, "FROZEN by operator/operator since", ""},
		{"a limit without a freeze", operator, "", "mitigation|withdraw-all|--freeze-for|1h|--reason|x", 2, "", "--freeze is missing"},
		{"a freeze of one customer", operator, "", "mitigation|withdraw-all|--freeze|--customer|uni-a|--reason|x", 2, "", "a freeze holds for every customer"},
		{"unfreeze", operator, "", "cluster|unfreeze|--reason|reviewed", 0, "policies decide again", ""},
		{"unfreeze again", operator, "", "cluster|unfreeze|--reason|reviewed", 0, "the cluster is not frozen", ""},
		{"the same signal", detector, "", "signal|send|--attack|f|--target|203.0.113.9|--vector|dns_amplification", 0, "verdict      mitigated", ""},
		{"detectors", operator, "", "detector|list", 0, "detector 1 4000 2 heard", ""},
		{"quarantine", operator, "", "detector|quarantine|detector|--reason|it lies", 0, "its signals are observed only; 1 active mitigation that it started stays", ""},
		{"quarantine of no name", operator, "", "detector|quarantine|a b|--reason|x", 2, "", "detector"},
		{"a signal in quarantine", detector, "", "signal|send|--attack|g|--target|203.0.113.9|--vector|dns_amplification", 0, "detector is in quarantine by operator/", ""},
		{"status with a quarantine", operator, "", "cluster|status", 0, "Quarantine: signals of detector are observed only", ""},
		{"release", operator, "", "detector|release|detector|--reason|mended", 0, "its signals count again", ""},
		{"end of that attack", detector, "", "signal|end|--attack|f|--seq|9", 0, "verdict      ended", ""},
		{"withdraw-all without a reason", operator, "", "mitigation|withdraw-all", 2, "", "--reason is missing"},
		{"withdraw-all", operator, "", "mitigation|withdraw-all|--reason|quiet", 0, "There was nothing to withdraw.", ""},
		{"a wrong format", operator, "", "peers|-o|xml", 2, "", `"xml" is not an output format`},
		{"a wrong range", detector, "", "signal|send|--attack|e|--sport|x-y", 2, "", `--sport "x-y" is not a number`},
		{"nobody at that address", operator, "", "peers|--server|127.0.0.1:1|--timeout|2s", 5, "", "unavailable: the server does not answer: 127.0.0.1:1: nobody listens there (connection refused)"},
		{"nobody at two addresses", operator, "", "peers|--server|127.0.0.1:1,127.0.0.1:2|--timeout|2s", 5, "", "no server answers: 127.0.0.1:1: nobody listens there (connection refused) 127.0.0.1:2: nobody"},
		{"a server without a port", operator, "", "peers|--server|localhost", 2, "", `server "localhost" is not host:port`},
		{"a server with a great port", operator, "", "peers|--server|localhost:99999", 2, "", "has no port from 1 to 65535; write host:port, e.g. localhost:7400"},
		{"no time", operator, "", "peers|--timeout|0s", 2, "", "--timeout 0s leaves no time"},
		{"a preview to nobody", operator, "", "mitigation|preview|--target|203.0.113.9|--discard|--server|127.0.0.1:1|--timeout|2s", 5, "", "nobody listens there"},
		{"a write to nobody", operator, "", "mitigation|withdraw|M1|--reason|x|--request-id|r9|--server|127.0.0.1:1|--timeout|2s", 5, "", "add --request-id r9"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			code, stdout, stderr := s.run(r.dir, r.stdin, strings.Split(r.args, "|")...)
			// A sentence may be wrapped anywhere.
			flat := func(s string) string { return strings.Join(strings.Fields(s), " ") }
			if code != r.code || !strings.Contains(flat(stdout), flat(r.stdout)) || !strings.Contains(flat(stderr), flat(r.stderr)) {
				t.Errorf("tidegate %s: exit code %d, want %d\nstdout: %s\nwant:   %s\nstderr: %s\nwant:   %s",
					strings.ReplaceAll(r.args, "|", " "), code, r.code, stdout, r.stdout, stderr, r.stderr)
			}
			if stdout == "" && stderr == "" {
				t.Error("nothing was printed at all")
			}
			if !strings.Contains(r.args, "--reason") && strings.Contains(stderr, "--request-id") {
				t.Errorf("a command that writes nothing speaks of repeating a write: %s", stderr)
			}
		})
	}

	t.Run("a certificate of another authority", func(t *testing.T) {
		dir := t.TempDir()
		for _, args := range [][]string{
			{"pki", "init", "--dir", filepath.Join(dir, "ca"), "--cluster", "tidegate"},
			{"pki", "issue", "operator/eve", "--dir", filepath.Join(dir, "ca"), "--out", filepath.Join(dir, "eve")},
		} {
			if code, _, stderr := s.run("", "", args...); code != 0 {
				t.Fatal(stderr)
			}
		}
		code, _, stderr := s.run(filepath.Join(dir, "eve"), "", "peers")
		if code != 6 || !strings.Contains(stderr, "its certificate is not of the authority in ca.pem") || !strings.Contains(stderr, s.server) || !strings.Contains(stderr, filepath.Base(dir)) {
			t.Errorf("a wrong authority: exit code %d, %s", code, stderr)
		}
		ca, err := os.ReadFile(filepath.Join(operator, "ca.pem"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "eve", "ca.pem"), ca, 0o600); err != nil {
			t.Fatal(err)
		}
		code, _, stderr = s.run(filepath.Join(dir, "eve"), "", "peers")
		if code != 6 || !strings.Contains(stderr, "it did not accept the certificate in cert.pem") {
			t.Errorf("a foreign certificate: exit code %d, %s", code, stderr)
		}
	})
	t.Run("a copy of the inventory applies without a change", func(t *testing.T) {
		code, copied, stderr := s.run(admin, "", "document", "list", "-o", "yaml")
		if code != 0 {
			t.Fatal(stderr)
		}
		_, stdout, _ := s.run(admin, copied, "apply", "-f", "-", "--prune")
		if want := "0 documents added, 0 changed, 0 removed, 3 unchanged"; !strings.Contains(stdout, want) {
			t.Errorf("got %q, want it to contain %q", stdout, want)
		}
	})
	t.Run("json", func(t *testing.T) {
		_, stdout, _ := s.run(operator, "", "mitigation", "list", "--all", "-o", "json")
		var got struct {
			Mitigations []struct {
				ID    string `json:"id"`
				Phase string `json:"phase"`
			} `json:"mitigations"`
		}
		if err := json.Unmarshal([]byte(stdout), &got); err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, m := range got.Mitigations {
			ids = append(ids, m.ID+" "+m.Phase)
		}
		if diff := cmp.Diff([]string{"M5 over", "M4 over", "M3 over", "M2 over", "M1 over"}, ids); diff != "" {
			t.Errorf("mitigations (-want +got):\n%s", diff)
		}
	})
}

// TestWithoutCluster are command lines that need no node.
func TestWithoutCluster(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "n.yaml")
	if err := os.WriteFile(file, []byte("node: n1\ndata_dir: data\nbgp: {asn: 65001, router_id: 192.0.2.1}\nfoo: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := filepath.Join(dir, "good.yaml")
	if err := os.WriteFile(good, []byte("node: n1\ndata_dir: data\napi: 127.0.0.1:0\nhttp: localhost:0\nbgp: {asn: 65001, router_id: 192.0.2.1}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const head = "node: n1\ndata_dir: data\napi: 127.0.0.1:0\nhttp: localhost:0\nbgp: {asn: 65001, router_id: 192.0.2.1}\n"
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(head+text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	one := write("one.yaml", "cluster: {name: x, raft: \"127.0.0.1:1\", members: [{id: n1, raft: \"127.0.0.1:1\", api: \"127.0.0.1:2\"}]}\n")
	noCert := write("nocert.yaml", "tls: {ca: nope, cert: nope, key: nope}\n")
	noSecret := write("nosecret.yaml", "secrets: {edge1: nope}\n")
	s := &shell{t: t}
	rows := []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string
	}{
		{"nothing", nil, 0, "Attacks and mitigations:", ""},
		{"version", []string{"version"}, 0, "tidegate ", ""},
		{"exit codes", []string{"help", "exit-codes"}, 0, "  3  refused", ""},
		{"vectors", []string{"signal", "vectors"}, 0, "dns_amplification", ""},
		{"an unknown command", []string{"mitigaton"}, 2, "", `"mitigaton" is not a command of tidegate; did you mean "mitigation"?`},
		{"an unknown command near to several", []string{"p"}, 2, "", `did you mean "peers" or "p`},
		{"an unknown command of a group", []string{"mitigation", "lst"}, 2, "", `did you mean "list"?`},
		{"an unknown flag", []string{"peers", "--frob"}, 2, "", "unknown flag: --frob; see tidegate peers --help"},
		{"an argument too many", []string{"peers", "x"}, 2, "", `"x" is one argument too many`},
		{"an argument too few", []string{"customer", "show"}, 2, "", "ID is missing; usage: tidegate customer show ID"},
		{"no server", []string{"peers"}, 2, "", "no server is named"},
		{"serve without a file", []string{"serve"}, 2, "", "config"},
		{"serve with an unknown key", []string{"serve", "--config", file}, 2, "", "n.yaml:4: foo: unknown key; known here:"},
		{"check with an unknown key", []string{"check", "--config", file}, 2, "", "n.yaml:4: foo: unknown key"},
		{"check", []string{"check", "--config", good}, 0, "ok  data_dir", ""},
		{"serve without the file", []string{"serve", "--config", filepath.Join(dir, "nope")}, 2, "", "there is no such file"},
		{"pki init", []string{"pki", "init", "--dir", filepath.Join(dir, "pki"), "--cluster", "demo"}, 0, "Authority of cluster demo", ""},
		{"pki init again", []string{"pki", "init", "--dir", filepath.Join(dir, "pki")}, 2, "", "file exists already"},
		{"pki issue", []string{"pki", "issue", "operator/alice", "--dir", filepath.Join(dir, "pki"), "--out", filepath.Join(dir, "alice")}, 0, "Certificate of operator/alice in cluster demo", ""},
		{"pki issue a member without hosts", []string{"pki", "issue", "member/n1", "--dir", filepath.Join(dir, "pki"), "--out", filepath.Join(dir, "n1")}, 2, "", "add --host, e.g. --host 192.0.2.1"},
		{"pki issue an operator with hosts", []string{"pki", "issue", "operator/x", "--host", "192.0.2.1", "--dir", filepath.Join(dir, "pki"), "--out", filepath.Join(dir, "x")}, 2, "", "leave out --host"},
		{"the language of matches", []string{"help", "match"}, 0, "sport 53|123", ""},
		{"plan's own help", []string{"plan", "--help"}, 0, "Nothing is changed.", ""},
		{"the demo as json", []string{"demo", "-o", "json"}, 2, "", "leave out -o"},
		{"check of a cluster of one without certificates", []string{"check", "--config", one}, 2, "", "tls: is missing"},
		{"serve of a cluster of one without certificates", []string{"serve", "--config", one}, 2, "", "tls: is missing"},
		{"serve with certificates that are not there", []string{"serve", "--config", noCert}, 2, "", "certificates are not usable"},
		{"serve with a secret that is not there", []string{"serve", "--config", noSecret}, 2, "", "cannot read secret"},
		{"pki issue nonsense", []string{"pki", "issue", "alice", "--dir", filepath.Join(dir, "pki")}, 2, "", "is not ROLE/NAME"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			code, stdout, stderr := s.run("", "", r.args...)
			flat := func(s string) string { return strings.Join(strings.Fields(s), " ") }
			if code != r.code || !strings.Contains(flat(stdout), flat(r.stdout)) || !strings.Contains(flat(stderr), flat(r.stderr)) {
				t.Errorf("tidegate %q: exit code %d, want %d\nstdout: %s\nwant:   %s\nstderr: %s\nwant:   %s", r.args, code, r.code, stdout, r.stdout, stderr, r.stderr)
			}
		})
	}
	id, cluster, err := auth.FilesIn(filepath.Join(dir, "alice")).Identity()
	if err != nil || id.String() != "operator/alice" || cluster != "demo" {
		t.Errorf("issued %s of %q, %v", id, cluster, err)
	}
	if len(client.ExitCodes()) != 8 {
		t.Errorf("%d exit codes, want 8", len(client.ExitCodes()))
	}
}

// TestObey: the first signal ends in order, one shortly after it is the same one, a later one ends at once.
func TestObey(t *testing.T) {
	signals := make(chan os.Signal, 3)
	for range 3 {
		signals <- syscall.SIGTERM
	}
	close(signals)
	start := time.Now()
	times := []time.Time{start, start.Add(oneSignal / 2), start.Add(oneSignal)}
	clock := func() time.Time {
		now := times[0]
		times = times[1:]
		return now
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	var codes []int
	obey(signals, cancel, clock, func(code int) { codes = append(codes, code) })
	if context.Cause(ctx) == nil {
		t.Error("the first signal did not end the context")
	}
	if diff := cmp.Diff([]int{143}, codes); diff != "" {
		t.Errorf("exits (-want +got):\n%s", diff)
	}
}

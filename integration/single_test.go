package integration_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/bgp/bgptest"
	"github.com/tidegate/tidegate/integration/lab"
)

// single is one node without a cluster section, and a witness as its router. It needs no root.
type single struct {
	t       *testing.T
	lab     *lab.Lab
	file    string
	api     string
	http    string
	more    string // of the node's file
	process *lab.Process
	witness *bgptest.Router
}

// startSingle starts a node with the inventory and a router that listens.
func startSingle(t *testing.T) *single {
	t.Helper()
	return startSingleWith(t, func(*single) string { return "" })
}

// startSingleWith is startSingle with more in the node's file.
func startSingleWith(t *testing.T, more func(*single) string) *single {
	t.Helper()
	s := &single{t: t, api: freePort(t), http: freePort(t), lab: newLab(t, lab.NewLocal)}
	s.more = more(s)
	s.file = writeFile(t, s.lab, "n1.yaml", s.config("n1"))
	s.start("n1")
	var err error
	s.witness, err = bgptest.NewRouter(bgptest.Config{ASN: 65010, KeepUpdates: true, ExtendedMessages: true})
	if err != nil {
		t.Fatal(err)
	}
	runWitness(t, s.witness)
	router := fmt.Sprintf(routerDocument, "edge1", "127.0.0.1", s.witness.Addr().Port(), 65010)
	s.as("admin").ok("apply", "-f", writeFile(t, s.lab, "inventory.yaml", inventory+router))
	ctx, cancel := context.WithTimeoutCause(context.Background(), patience, errors.New("no session"))
	defer cancel()
	if err := s.witness.Wait(ctx, func(_ bgptest.Table, all []bgptest.Session) bool { return len(all) > 0 }); err != nil {
		t.Fatal(err)
	}
	return s
}

// config is a node's file with everything else left at its default.
func (s *single) config(data string) string {
	return fmt.Sprintf("node: n1\ndata_dir: %s\napi: %s\nhttp: %s\nbgp: {asn: 65001, router_id: 192.0.2.251, local_address: 127.0.0.1}\n", data, s.api, s.http) + s.more
}

// start runs the node and waits until it is ready.
func (s *single) start(name string) {
	s.t.Helper()
	p, err := s.lab.Start(name, binary, "serve", "--config", s.file)
	if err != nil {
		s.t.Fatal(err)
	}
	s.process = p
	eventually(s.t, "the node is ready", func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.http+"/readyz", nil)
		if err != nil {
			return err
		}
		r, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer r.Body.Close()
		if r.StatusCode != http.StatusOK {
			return errors.New(r.Status)
		}
		return nil
	})
}

// as is the command line of somebody with one of the certificates that a single node makes for itself.
func (s *single) as(role string) *cli {
	return &cli{t: s.t, lab: s.lab, servers: []string{s.api}, tlsDir: filepath.Join(s.lab.Dir(), "n1", "pki", role)}
}

// waitTable waits until the witness has exactly these rules.
func (s *single) waitTable(texts ...string) {
	s.t.Helper()
	w := witnessRouter{s.witness}
	var want []lab.Seen
	for _, r := range parseRules(s.t, texts) {
		want = append(want, lab.Seen{Rule: lab.Plain(r)})
	}
	eventually(s.t, "the witness has what is wanted", func(ctx context.Context) error {
		got, err := w.Table(ctx)
		for i := range got {
			got[i].From = [1]lab.Seen{}[0].From // there is one node only
		}
		if diff := cmp.Diff(want, got, anyOrder()...); diff != "" {
			return fmt.Errorf("(-want +got)\n%s", diff)
		}
		return err
	})
}

// TestSingleNode: a node without a cluster section works from a signal to the router, keeps its state over a restart,
// and ends in order at SIGTERM.
func TestSingleNode(t *testing.T) {
	s := startSingle(t)
	s.as("detector").signal("send", "--attack", "a", "--target", "203.0.113.10", "--vector", "dns_amplification")
	rules := []string{
		"dst 203.0.113.10/32 proto udp sport 53 => discard",
		"dst 203.0.113.10/32 proto udp frag any:is-fragment => discard",
	}
	s.waitTable(rules...)

	ctx, cancel := context.WithTimeoutCause(context.Background(), patience, errors.New("it does not end"))
	defer cancel()
	code, err := s.process.Stop(ctx)
	if err != nil || code != 0 {
		t.Fatalf("SIGTERM: exit code %d, %v", code, err)
	}
	s.waitTable() // the session is over, and with it the rules

	s.start("n1-again")
	s.waitTable(rules...)
	s.as("detector").signal("end", "--attack", "a", "--seq", "2")
	s.waitTable()
}

// TestRefusesToStart: what a node cannot start with is said at once, with the place and the exit code of its kind.
func TestRefusesToStart(t *testing.T) {
	s := startSingle(t)
	same := strings.Replace(strings.Replace(s.config("n1"), s.api, freePort(t), 1), s.http, freePort(t), 1)
	for _, tt := range []struct {
		name, config string
		code         int
		says         []string
	}{
		{"second process on one data directory", same, 1, []string{"data directory", "another process"}},
		{"unknown key", strings.Replace(s.config("n2"), "http:", "htpp:", 1), 2, []string{"refused.yaml:4", "htpp", "unknown key"}},
		{"unknown key below another", strings.Replace(s.config("n2"), "asn:", "as:", 1), 2, []string{"refused.yaml:5", "bgp.as", "unknown key"}},
		{"truncated", s.config("n2")[:len(s.config("n2"))-4], 2, []string{"refused.yaml", "YAML"}},
		{"cluster without certificates", s.config("n2") + "cluster:\n  name: x\n  raft: 127.0.0.1:1\n  members:\n    - {id: n1, raft: 127.0.0.1:1, api: 127.0.0.1:2}\n    - {id: n2, raft: 127.0.0.1:3, api: 127.0.0.1:4}\n", 2, []string{"tls", "is missing"}},
		{"no such file", "", 2, []string{"no such file"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(s.lab.Dir(), "absent.yaml")
			if tt.config != "" {
				file = writeFile(t, s.lab, "refused.yaml", tt.config)
			}
			r := (&cli{t: t, lab: s.lab}).run("serve", "--config", file)
			if r.Code != tt.code {
				t.Errorf("exit code %d, want %d", r.Code, tt.code)
			}
			for _, want := range tt.says {
				if !strings.Contains(oneLine(r), want) {
					t.Errorf("%q is not in: %s", want, oneLine(r))
				}
			}
		})
	}
	s.as("admin").ok("cluster", "status") // the first process goes on
}

// oneLine is all that a command printed, without line breaks.
func oneLine(r lab.Result) string { return strings.Join(strings.Fields(r.Stdout+" "+r.Stderr), " ") }

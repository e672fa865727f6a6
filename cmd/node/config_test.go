package node

import (
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/api/webhook"
	"github.com/tidegate/tidegate/controller"
)

const whole = `node: n1
data_dir: data
api: 0.0.0.0:7400
http: "[::1]:7401"
rest:
  listen: "0.0.0.0:7480"
  webhooks:
    - {name: am, kind: alertmanager, source: prometheus, auth: bearer, secret: edge1-md5, per_second: 2.5}
    - {name: x, kind: json, source: y, auth: certificate, each: body.list, map: {attack_id: item.id, targets: item.ip, vector: "'udp_flood'"}}
tls: {ca: tls/ca.pem, cert: /etc/tidegate/cert.pem, key: tls/key.pem, trust: {detectors: tls/detectors.pem, people: /etc/tidegate/people.pem}}
bgp: {asn: 4200000001, router_id: 192.0.2.1, local_address: "2001:db8::1"}
secrets: {edge1-md5: secrets/edge1}
speaker: {socket: run/speaker.sock, process: external}
cluster:
  name: demo
  raft: 192.0.2.1:7500
  timing: lan
  members:
    - {id: n1, raft: 192.0.2.1:7500, api: 192.0.2.1:7400}
    - {id: n2, raft: n2.example.net:7500, api: n2.example.net:7400}
log: {level: debug, format: json}
limits: {detectors: 500, people: 50, streams: 7}
`

func TestParseConfig(t *testing.T) {
	lan, _ := controller.TimingProfile(controller.TimingLAN)
	rows := []struct {
		name, text string
		want       Config
	}{
		{"everything", whole, Config{
			Node: "n1", DataDir: "/etc/x/data", API: "0.0.0.0:7400", HTTP: "[::1]:7401",
			REST: REST{Listen: "0.0.0.0:7480", Webhooks: []Webhook{
				{Hook: webhook.Hook{Name: "am", Kind: webhook.Alertmanager, Source: "prometheus", Proof: webhook.Bearer, PerSecond: 2.5}, SecretName: "edge1-md5"},
				{Hook: webhook.Hook{Name: "x", Kind: webhook.JSON, Source: "y", Proof: webhook.Certificate, Each: "body.list", Map: map[string]string{
					"attack_id": "item.id", "targets": "item.ip", "vector": "'udp_flood'",
				}}},
			}},
			TLS: TLSFiles{
				CA: "/etc/x/tls/ca.pem", Cert: "/etc/tidegate/cert.pem", Key: "/etc/x/tls/key.pem",
				Trust: auth.Trust{Detectors: "/etc/x/tls/detectors.pem", People: "/etc/tidegate/people.pem"},
			},
			BGP:     BGP{ASN: 4200000001, RouterID: netip.MustParseAddr("192.0.2.1"), LocalAddress: netip.MustParseAddr("2001:db8::1")},
			Secrets: map[string]string{"edge1-md5": "/etc/x/secrets/edge1"},
			Speaker: Speaker{Socket: "/etc/x/run/speaker.sock", Process: External},
			Cluster: Cluster{Name: "demo", Raft: "192.0.2.1:7500", Members: []Member{
				{ID: "n1", Raft: "192.0.2.1:7500", API: "192.0.2.1:7400"},
				{ID: "n2", Raft: "n2.example.net:7500", API: "n2.example.net:7400"},
			}, Timing: lan},
			Limits: api.Limits{Detectors: 500, People: 50, Streams: 7},
			Log:    Log{Level: slog.LevelDebug, Format: "json"},
		}},
		{"as little as possible", "node: solo\ndata_dir: /var/lib/tidegate\nbgp: {asn: 65001, local_address: 192.0.2.7}\n", Config{
			Node: "solo", DataDir: "/var/lib/tidegate", API: DefaultAPI, HTTP: DefaultHTTP,
			BGP:     BGP{ASN: 65001, RouterID: netip.MustParseAddr("192.0.2.7"), LocalAddress: netip.MustParseAddr("192.0.2.7")},
			Speaker: Speaker{Process: Supervised},
			Cluster: Cluster{Name: DefaultCluster}, Log: Log{Format: "text"},
		}},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			got, err := ParseConfig("n.yaml", "/etc/x", []byte(r.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(r.want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Errorf("config (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseConfigRefuses(t *testing.T) {
	const good = "node: n1\ndata_dir: d\nbgp: {asn: 65001, router_id: 192.0.2.1}\n"
	const hooks = good + "secrets: {one: s/one}\nrest:\n  webhooks:\n"
	cluster := func(members string) string {
		return good + "tls: {ca: a, cert: b, key: c}\ncluster:\n  name: demo\n  raft: 127.0.0.1:7500\n  members:\n" + members
	}
	rows := []struct {
		name, text string
		want       []string // how the lines of the error begin
	}{
		{"an unknown key, with a guess", good + "data-dir: x\n", []string{`n.yaml:4: data-dir: unknown key; did you mean "data_dir"?`}},
		{"an unknown key like nothing else", good + "zzzzzzzz: x\n", []string{"n.yaml:4: zzzzzzzz: unknown key; known here: node, data_dir, api"}},
		{"an unknown key inside", "node: n1\ndata_dir: d\nbgp:\n  asn: 65001\n  router_id: 192.0.2.1\n  holdtime: 9\n", []string{"n.yaml:6: bgp.holdtime: unknown key"}},
		{"an unknown key of a member", cluster("    - {id: n1, raft: 127.0.0.1:1, api: 127.0.0.1:2, port: 3}\n"), []string{"n.yaml:9: cluster.members[0].port: unknown key"}},
		{"a key twice", good + "node: n2\n", []string{"n.yaml:4: node: stands twice"}},
		{"an alias", "node: &x n1\ndata_dir: *x\nbgp: {asn: 65001, router_id: 192.0.2.1}\n", []string{"n.yaml:1: data_dir: is missing", "n.yaml:2: data_dir: aliases are not read here"}},
		{"nothing", "", []string{"n.yaml"}},
		{"a list", "- a\n", []string{"n.yaml:1: must be a mapping"}},
		{"truncated", "node: n1\nbgp: {asn: 65", []string{"n.yaml:"}},
		{"not YAML", "node: \x00\n", []string{"n.yaml"}},
		{"too long", strings.Repeat("# 0123456789\n", 100_000), []string{"n.yaml: is 1300000 bytes long"}},
		{"missing keys", "log: {}\n", []string{"n.yaml:1: node: is missing", "n.yaml:1: data_dir: is missing", "n.yaml:1: bgp: is missing"}},
		{"a bad name", "node: a/b\ndata_dir: d\nbgp: {asn: 65001, router_id: 192.0.2.1}\n", []string{`n.yaml:1: node: "a/b" cannot be used`}},
		{"an address without port", good + "api: 127.0.0.1\n", []string{`n.yaml:4: api: "127.0.0.1" is not host:port`}},
		{"port 70000", good + "http: 127.0.0.1:70000\n", []string{`n.yaml:4: http: "127.0.0.1:70000" has no port from 0 to 65535`}},
		{"api and http alike", good + "api: 127.0.0.1:1\nhttp: 127.0.0.1:1\n", []string{"n.yaml:5: http: is the same address as api"}},
		{"rest and api alike", good + "api: 127.0.0.1:1\nrest: {listen: \"127.0.0.1:1\"}\n", []string{"n.yaml:5: rest: listens on 127.0.0.1:1, which is the address of api or http"}},
		{"rest without a port", good + "rest: {listen: localhost}\n", []string{`n.yaml:4: rest.listen: "localhost" is not host:port`}},
		{"a webhook of half its keys", hooks + "    - {name: a, kind: alertmanager, auth: bearer}\n", []string{"n.yaml:7: rest.webhooks[0].source: is missing", "n.yaml:7: rest.webhooks[0].secret: is missing"}},
		{"a webhook with a strange key", hooks + "    - {name: a, kind: alertmanager, source: s, auth: certificate, tokn: x}\n", []string{"n.yaml:7: rest.webhooks[0].tokn: unknown key"}},
		{"a webhook's mapping", hooks + "    - {name: a, kind: json, source: s, auth: hmac, secret: one, map: {attack_id: body.id, targets: 'body.', vector: body.v, vctor: x}}\n", []string{"n.yaml:7: rest.webhooks[0].map.vctor: unknown key"}},
		{"CEL in a webhook", hooks + "    - {name: a, kind: json, source: s, auth: hmac, secret: one, map: {attack_id: body.id, targets: 'body.', vector: body.v}}\n", []string{`n.yaml:7: rest.webhooks[0].map.targets: "body." is not a CEL expression`}},
		{"an unknown secret", hooks + "    - {name: a, kind: alertmanager, source: s, auth: bearer, secret: two}\n", []string{`n.yaml:7: rest.webhooks[0].secret: "two" is not one of the secrets`}},
		{"a secret without a use", hooks + "    - {name: a, kind: alertmanager, source: s, auth: certificate, secret: one}\n", []string{"n.yaml:7: rest.webhooks[0].secret: has no meaning"}},
		{"an unknown kind of webhook", hooks + "    - {name: a, kind: xml, source: s, auth: basic, per_second: many}\n", []string{
			`n.yaml:7: rest.webhooks[0].per_second: "many" is not a number`, "n.yaml:7: rest.webhooks[0].secret: is missing",
			`n.yaml:7: rest.webhooks[0].kind: "xml"`, `n.yaml:7: rest.webhooks[0].auth: "basic"`,
		}},
		{"one secret for two webhooks", hooks + "    - {name: a, kind: alertmanager, source: s, auth: bearer, secret: one}\n    - {name: a, kind: alertmanager, source: s, auth: bearer, secret: one}\n", []string{
			`n.yaml:8: rest.webhooks[1].name: "a" is also`, `n.yaml:8: rest.webhooks[1].secret: "one" is also the secret of webhook a`,
		}},
		{"AS 0", "node: n1\ndata_dir: d\nbgp: {asn: 0, router_id: 192.0.2.1}\n", []string{"n.yaml:3: bgp.asn: must be an autonomous system number"}},
		{"an IPv6 router id", "node: n1\ndata_dir: d\nbgp: {asn: 1, router_id: \"2001:db8::1\"}\n", []string{`n.yaml:3: bgp.router_id: "2001:db8::1" is not a usable IPv4 address`}},
		{"a multicast local address", "node: n1\ndata_dir: d\nbgp: {asn: 1, router_id: 192.0.2.1, local_address: 224.0.0.1}\n", []string{`n.yaml:3: bgp.local_address: "224.0.0.1" is not an address of this machine`}},
		{"half of tls", good + "tls: {ca: x}\n", []string{"n.yaml:4: tls.cert: is missing", "n.yaml:4: tls.key: is missing"}},
		{"a cluster without tls", good + "cluster:\n  name: demo\n  raft: 127.0.0.1:7500\n  members:\n    - {id: n1, raft: 127.0.0.1:1, api: 127.0.0.1:2}\n    - {id: n2, raft: 127.0.0.1:3, api: 127.0.0.1:4}\n", []string{"n.yaml:1: tls: is missing; a cluster section needs certificates"}},
		{"a cluster of one without tls", good + "cluster: {name: demo, raft: \"127.0.0.1:7500\", members: [{id: n1, raft: \"127.0.0.1:1\", api: \"127.0.0.1:2\"}]}\n", []string{"n.yaml:1: tls: is missing; a cluster section needs certificates"}},
		{"a short unknown key", good + "foo: 1\n", []string{"n.yaml:4: foo: unknown key; known here: "}},
		{"an unknown timing", good + "tls: {ca: a, cert: b, key: c}\ncluster:\n  name: demo\n  raft: 127.0.0.1:7500\n  timing: fast\n  members:\n    - {id: n1, raft: 127.0.0.1:1, api: 127.0.0.1:2}\n", []string{`n.yaml:8: cluster.timing: "fast" is not one of default, lan`}},
		{"a cluster of others", cluster("    - {id: n2, raft: 127.0.0.1:1, api: 127.0.0.1:2}\n"), []string{`n.yaml:9: cluster.members: do not list this node, "n1"`}},
		{"a member twice", cluster("    - {id: n1, raft: 127.0.0.1:1, api: 127.0.0.1:2}\n    - {id: n2, raft: 127.0.0.1:1, api: 127.0.0.1:3}\n"), []string{`n.yaml:10: cluster.members[1].raft: "127.0.0.1:1" is also that of cluster.members[0]`}},
		{"an unknown level", good + "log: {level: loud}\n", []string{`n.yaml:4: log.level: "loud" is not one of debug, info, warn, error`}},
		{"an unknown key of the speaker", good + "speaker: {sokket: x}\n", []string{`n.yaml:4: speaker.sokket: unknown key; did you mean "socket"?`}},
		{"a socket with a long name", good + "speaker: {socket: " + strings.Repeat("x", 100) + "}\n", []string{"n.yaml:4: speaker: the path "}},
		{"a data directory with a long name", "node: n1\ndata_dir: " + strings.Repeat("x", 100) + "\nbgp: {asn: 65001, router_id: 192.0.2.1}\n", []string{"n.yaml:1: speaker: the path "}},
		{"an unknown format", good + "log: {format: xml}\n", []string{`n.yaml:4: log.format: "xml" is not one of text, json`}},
		{"a secret in the file itself", good + "secrets: {edge1: [a]}\n", []string{"n.yaml:4: secrets.edge1: must be a single value", "n.yaml:4: secrets.edge1: must be the path"}},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			_, err := ParseConfig("n.yaml", "/etc/x", []byte(r.text))
			if _, ok := errors.AsType[*ConfigError](err); !ok {
				t.Fatalf("got %v, want a *ConfigError", err)
			}
			got := strings.Split(err.Error(), "\n")
			if len(got) != len(r.want) {
				t.Fatalf("got %q, want %d lines beginning with %q", got, len(r.want), r.want)
			}
			for i := range got {
				if !strings.HasPrefix(got[i], r.want[i]) {
					t.Errorf("line %d: got %q, want it to begin with %q", i, got[i], r.want[i])
				}
			}
		})
	}
}

func TestReadConfigMissingFile(t *testing.T) {
	_, err := ReadConfig(filepath.Join(t.TempDir(), "nope.yaml"))
	if err == nil || !strings.Contains(err.Error(), "there is no such file") {
		t.Errorf("got %v, want it to say that there is no such file", err)
	}
}

func TestReadConfigRelativeToFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "n.yaml")
	if err := os.WriteFile(file, []byte("node: n1\ndata_dir: data\nbgp: {asn: 65001, router_id: 192.0.2.1}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := ReadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, "data"); got.DataDir != want {
		t.Errorf("data directory %q, want %q", got.DataDir, want)
	}
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte("node: n1\nnode: n2\n? [a]\n: b\n"))
	f.Add([]byte("cluster: {members: [1, {}]}\nsecrets: []\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseConfig("n.yaml", "/", data)
		if err != nil {
			if _, ok := errors.AsType[*ConfigError](err); !ok {
				t.Fatalf("error %v is not a *ConfigError", err)
			}
			return
		}
		if c.Node == "" || c.DataDir == "" || c.BGP.ASN == 0 || !c.BGP.RouterID.Is4() {
			t.Fatalf("accepted without what a node needs: %+v", c)
		}
	})
}

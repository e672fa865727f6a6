package webhook_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/credentials"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/api/apitest"
	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/api/auth/pki"
	"github.com/tidegate/tidegate/api/manifest"
	"github.com/tidegate/tidegate/api/webhook"
	"github.com/tidegate/tidegate/controller"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

const inventory = `
kind: Customer
id: uni-a
name: University A
official: [203.0.113.0/24, 2001:db8:a::/48]
links: [{prefix: 203.0.113.4/30, pe: pe1, interface: xe-0/0/1}]
---
kind: Router
name: edge1
address: 192.0.2.1
asn: 65010
group: edge
validation: disabled-by-import-policy
profile: gobgp
max_prefix: 1000
---
kind: Policy
name: dns
vectors: [dns_amplification]
action: {discard: true}
lifetime: 10m
`

const (
	token = "0123456789abcdef-token"
	key   = "0123456789abcdef-key"
)

var start0 = time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)

// lab is the API of one node, with webhooks in front of it.
type lab struct {
	t       *testing.T
	ca      *pki.CA
	fake    *apitest.Cluster
	handler *webhook.Handler

	mu  sync.Mutex // guards now
	now time.Time
}

// hooks are those of the tests.
func hooks() []webhook.Hook {
	sum := sha256.Sum256([]byte(token))
	flat := map[string]string{
		"attack_id": "body.id", "targets": "body.ips", "vector": "body.?kind.orValue('dns_amplification')", "seq": "body.?seq",
		"kind": "body.state", "bits_per_second": "body.?bps", "destination_ports": "body.?ports", "protocols": "body.?protocols", "drill": "body.?drill",
		"detected_at": "body.?at", "source_prefixes": "body.?from", "confidence": "body.?sure",
	}
	unnumbered := map[string]string{"attack_id": "item.id", "targets": "item.ip", "vector": "'dns_amplification'"}
	return []webhook.Hook{
		{Name: "am", Kind: webhook.Alertmanager, Source: "prometheus", Proof: webhook.Bearer, Secret: "sha256:" + hex.EncodeToString(sum[:]), PerSecond: 100},
		{Name: "flat", Kind: webhook.JSON, Source: "scrubber", Proof: webhook.Bearer, Secret: token, Map: flat, PerSecond: 100},
		{Name: "signed", Kind: webhook.JSON, Source: "signer", Proof: webhook.HMAC, Secret: key, Each: "body.events.filter(e, e.severity > 3)", Map: unnumbered, PerSecond: 100},
		{Name: "cert", Kind: webhook.JSON, Source: "flowmon", Proof: webhook.Certificate, Map: flat, PerSecond: 100},
		{Name: "slow", Kind: webhook.JSON, Source: "slow", Proof: webhook.Bearer, Secret: token, Map: flat, PerSecond: 1},
	}
}

func newLab(t *testing.T) *lab {
	t.Helper()
	ca, err := pki.NewCA("lab")
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{t: t, ca: ca, now: start0}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.fake = apitest.NewCluster(start0, controller.Member{ID: "n1", APIAddress: ln.Addr().String()})
	server, err := api.New(api.Config{Cluster: "lab", ListenEvery: time.Hour}, api.Deps{Controller: l.fake.Node("n1"), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	b, err := ca.Issue(auth.Member, "n1", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "tls")
	if err := b.Write(dir, false); err != nil {
		t.Fatal(err)
	}
	cfg, err := auth.ServerTLS(auth.FilesIn(dir), "lab")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, ln, cfg) }()
	l.handler, err = webhook.New(webhook.Config{Cluster: "lab", Hooks: hooks()}, webhook.Deps{Inside: server.Inside(), Logger: slog.New(slog.DiscardHandler), Now: l.clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.handler.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	l.load(server.Inside())
	return l
}

// load applies the inventory through the API.
func (l *lab) load(inside *auth.Inside) {
	l.t.Helper()
	docs, err := manifest.Parse("inventory.yaml", []byte(inventory))
	if err != nil {
		l.t.Fatal(err)
	}
	conn, err := inside.Dial(credentials.TLSInfo{State: *l.shown(auth.Admin, "root")})
	if err != nil {
		l.t.Fatal(err)
	}
	defer conn.Close()
	_, err = tidegatev1.NewInventoryServiceClient(conn).Apply(l.t.Context(), &tidegatev1.ApplyRequest{RequestId: "load", Reason: "test", Documents: manifest.Protos(docs)})
	if err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) clock() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now
}

func (l *lab) advance(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now = l.now.Add(d)
}

// answer is what came back.
type answer struct {
	code   int
	header http.Header
	body   string
}

// verdict is the kind and code of the i-th verdict.
func (a answer) verdict(t *testing.T, i int) string {
	t.Helper()
	var v struct {
		Verdicts []struct{ Kind, Code string }
	}
	if err := json.Unmarshal([]byte(a.body), &v); err != nil || i >= len(v.Verdicts) {
		t.Fatalf("no verdict %d in %d %s (%v)", i, a.code, a.body, err)
	}
	return strings.ToLower(strings.TrimPrefix(v.Verdicts[i].Kind, "VERDICT_KIND_")) + " " + v.Verdicts[i].Code
}

// post posts to a webhook with what it takes for a proof.
func (l *lab) post(name, body string, headers ...string) answer {
	l.t.Helper()
	h := map[string]string{"Authorization": "Bearer " + token}
	if name == "signed" {
		stamp := fmt.Sprintf("%d.%09d", l.clock().Unix(), l.clock().Nanosecond())
		h = map[string]string{webhook.TimestampHeader: stamp, webhook.SignatureHeader: webhook.Sign([]byte(key), stamp, []byte(body))}
	}
	for i := 0; i+1 < len(headers); i += 2 {
		h[headers[i]] = headers[i+1]
	}
	return l.send(http.MethodPost, name, body, h, nil)
}

func (l *lab) send(method, name, body string, headers map[string]string, state *tls.ConnectionState) answer {
	l.t.Helper()
	r := httptest.NewRequestWithContext(l.t.Context(), method, "/v1/webhooks/"+name, strings.NewReader(body))
	for k, v := range headers {
		if v != "" {
			r.Header.Set(k, v)
		}
	}
	r.TLS = state
	w := httptest.NewRecorder()
	l.handler.ServeHTTP(w, r)
	return answer{w.Code, w.Header(), w.Body.String()}
}

// shown is the TLS state of somebody with a verified certificate.
func (l *lab) shown(role auth.Role, name string) *tls.ConnectionState {
	l.t.Helper()
	b, err := l.ca.Issue(role, name)
	if err != nil {
		l.t.Fatal(err)
	}
	dir := filepath.Join(l.t.TempDir(), "tls")
	if err := b.Write(dir, false); err != nil {
		l.t.Fatal(err)
	}
	cert, _, _, _, err := auth.FilesIn(dir).Load()
	if err != nil {
		l.t.Fatal(err)
	}
	return &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{cert.Leaf}}}
}

const flat = `{"id":"a1","seq":"7","state":"start","ips":["203.0.113.20"]}`

// The proofs: what is missing, wrong, of another, old or sent again is turned away, with a status and a sentence.
func TestProof(t *testing.T) {
	l := newLab(t)
	stamp := strconv.FormatInt(start0.Unix(), 10)
	signed := `{"events":[{"severity":5,"id":"s1","ip":"203.0.113.30"}]}`
	sign := func(stamp, body string) map[string]string {
		return map[string]string{webhook.TimestampHeader: stamp, webhook.SignatureHeader: webhook.Sign([]byte(key), stamp, []byte(body))}
	}
	seconds := func(d time.Duration) string { return strconv.FormatInt(start0.Add(d).Unix(), 10) }
	bearer := func(s string) map[string]string { return map[string]string{"Authorization": s} }
	rows := []struct {
		name, hook, body string
		headers          map[string]string
		state            *tls.ConnectionState
		code             int
		says             string
	}{
		{"no token", "flat", flat, nil, nil, 401, "bearer token is missing or wrong"},
		{"a wrong token", "flat", flat, bearer("Bearer 0123456789abcdef-tokem"), nil, 401, "bearer token"},
		{"the digest is not the token", "am", "{}", bearer("Bearer " + hooks()[0].Secret), nil, 401, "bearer token"},
		{"basic", "flat", flat, bearer("Basic " + token), nil, 401, "bearer token"},
		{"a certificate instead of a token", "flat", flat, nil, l.shown(auth.Detector, "scrubber"), 401, "bearer token"},
		{"a token instead of a certificate", "cert", flat, bearer("Bearer " + token), nil, 401, "takes a client certificate of detector/flowmon"},
		{"a certificate that nobody verified", "cert", flat, nil, &tls.ConnectionState{}, 401, "takes a client certificate"},
		{"another detector's certificate", "cert", flat, nil, l.shown(auth.Detector, "other"), 403, "detector/other may not post"},
		{"an operator of the same name", "cert", flat, nil, l.shown(auth.Operator, "flowmon"), 403, "operator/flowmon may not post"},
		{"an admin", "cert", flat, nil, l.shown(auth.Admin, "root"), 403, "admin/root may not post"},
		{"no signature", "signed", signed, nil, nil, 401, "needs one Tidegate-Timestamp"},
		{"a signature that is none", "signed", signed, map[string]string{webhook.TimestampHeader: stamp, webhook.SignatureHeader: "sha256=zz"}, nil, 401, "64 hexadecimal digits"},
		{"a time that is none", "signed", signed, sign("now", signed), nil, 401, "seconds since 1970"},
		{"a time with too many decimals", "signed", signed, sign(stamp+".1234567890", signed), nil, 401, "seconds since 1970"},
		{"of another body", "signed", signed, sign(stamp, flat), nil, 401, "the signature is wrong"},
		{"of another time", "signed", signed, map[string]string{webhook.TimestampHeader: seconds(time.Second), webhook.SignatureHeader: webhook.Sign([]byte(key), stamp, []byte(signed))}, nil, 401, "the signature is wrong"},
		{"too old", "signed", signed, sign(seconds(-webhook.Window-time.Second), signed), nil, 401, "5m1s from this node's clock"},
		{"from the future", "signed", signed, sign(seconds(webhook.Window+time.Second), signed), nil, 401, "5m1s from this node's clock"},
		{"no such webhook", "nobody", flat, nil, nil, 404, "no such webhook"},
		{"too long", "flat", strings.Repeat(" ", webhook.MaxBody+1), bearer("Bearer " + token), nil, 413, "longer than 1048576 octets"},
		{"a stranger's long body", "flat", strings.Repeat(" ", webhook.MaxBody+1), nil, nil, 401, "bearer token"},
		{"signed", "signed", signed, sign(stamp, signed), nil, 200, "MITIGATED"},
		{"sent again", "signed", signed, sign(stamp, signed), nil, 401, "sent before"},
		{"signed again", "signed", signed, sign(stamp+".5", signed), nil, 200, "MERGED"},
		{"as old as may be", "signed", `{"events":[]}`, sign(seconds(-webhook.Window), `{"events":[]}`), nil, 200, `"verdicts":[]`},
		{"with a token", "flat", flat, bearer("bearer " + token), nil, 200, "MITIGATED"},
		{"with a certificate", "cert", flat, nil, l.shown(auth.Detector, "flowmon"), 200, "MERGED"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			a := l.send(http.MethodPost, r.hook, r.body, r.headers, r.state)
			if a.code != r.code || !strings.Contains(a.body, r.says) || a.header.Get("Content-Type") != "application/json" {
				t.Errorf("got %d %s, want %d and %q", a.code, a.body, r.code, r.says)
			}
		})
	}
	for source, id := range map[string]string{"scrubber": "a1", "flowmon": "a1", "signer": "s1"} {
		if _, known := l.fake.State().Attack(source, id); !known {
			t.Errorf("attack %s of %s is not known", id, source)
		}
	}
	if a := l.send(http.MethodGet, "flat", "", nil, nil); a.code != http.StatusNotImplemented {
		t.Errorf("GET: %d %s", a.code, a.body)
	}
}

// Each source has its own limit, and a stranger cannot use it up.
func TestLimit(t *testing.T) {
	l := newLab(t)
	for range 10 {
		l.post("slow", flat, "Authorization", "Bearer wrong")
	}
	for i, want := range []int{200, 200, 429, 429} {
		a := l.post("slow", flat)
		if a.code != want || want == 429 && a.header.Get("Retry-After") != "1" {
			t.Errorf("request %d: %d, Retry-After %q, %s; want %d", i, a.code, a.header.Get("Retry-After"), a.body, want)
		}
	}
	if a := l.post("flat", flat); a.code != http.StatusOK {
		t.Errorf("another source: %d %s", a.code, a.body)
	}
	l.advance(time.Second)
	if a := l.post("slow", flat); a.code != http.StatusOK {
		t.Errorf("a second later: %d %s", a.code, a.body)
	}
}

// What cannot be read names the field; what can be read beside it is judged.
func TestJSON(t *testing.T) {
	l := newLab(t)
	rows := []struct {
		name, body string
		code       int
		verdict    string // empty: none
		says       string
	}{
		{"not JSON", `{"id":`, 400, "", "it is not JSON"},
		{"not an object", `[]`, 400, "", "it is not an object"},
		{"two objects", flat + flat, 400, "", "something follows the JSON"},
		{"too deep", strings.Repeat("[", 100_000), 400, "", "it is not JSON"},
		{"no target", `{"id":"a","state":"start"}`, 400, "refused malformed", "no such key: ips"},
		{"no id", `{"state":"start","ips":"203.0.113.20"}`, 400, "refused malformed", "no such key: id"},
		{"an id that is a list", `{"id":[1],"state":"start","ips":"203.0.113.20"}`, 400, "refused malformed", "not a text"},
		{"host bits", `{"id":"a","state":"start","ips":"203.0.113.20/24"}`, 400, "refused malformed", "host bits"},
		{"not an address", `{"id":"a","state":"start","ips":["example.net"]}`, 400, "refused malformed", "targets[0]"},
		{"targets of another type", `{"id":"a","state":"start","ips":[{"a":1}]}`, 400, "refused malformed", "list of texts"},
		{"an unknown vector", `{"id":"a","state":"start","ips":"203.0.113.20","kind":"magic"}`, 400, "refused malformed", "magic"},
		{"an unknown state", `{"id":"a","state":"over","ips":"203.0.113.20"}`, 400, "refused malformed", "start, update or end"},
		{"a rate that is none", `{"id":"a","state":"start","ips":"203.0.113.20","bps":"many"}`, 400, "refused malformed", "not a number"},
		{"a rate below zero", `{"id":"a","state":"start","ips":"203.0.113.20","bps":-1}`, 400, "refused malformed", "bits_per_second"},
		{"infinitely many", `{"id":"a","state":"start","ips":"203.0.113.20","bps":"Inf"}`, 400, "refused malformed", "bits_per_second"},
		{"a number with decimals", `{"id":"a","seq":1.5,"state":"start","ips":"203.0.113.20"}`, 400, "refused malformed", "whole number"},
		{"a number below zero", `{"id":"a","seq":-1,"state":"start","ips":"203.0.113.20"}`, 400, "refused malformed", "whole number"},
		{"ports that are none", `{"id":"a","state":"start","ips":"203.0.113.20","ports":["http"]}`, 400, "refused malformed", "neither a number nor a range"},
		{"a port that is none", `{"id":"a","state":"start","ips":"203.0.113.20","ports":[70000]}`, 400, "refused malformed", "destination_ports"},
		{"a range of protocols", `{"id":"a","state":"start","ips":"203.0.113.20","protocols":"6-17"}`, 400, "refused malformed", "protocols"},
		{"a time that is none", `{"id":"a","state":"start","ips":"203.0.113.20","at":"yesterday"}`, 400, "refused malformed", "RFC 3339"},
		{"a drill that is a text", `{"id":"a","state":"start","ips":"203.0.113.20","drill":"yes"}`, 400, "refused malformed", "true or false"},
		{"a link", `{"id":"a","seq":1,"state":"start","ips":"203.0.113.5"}`, 200, "refused target_protected", "203.0.113.4/30"},
		{"nobody's", `{"id":"a","seq":1,"state":"start","ips":"198.51.100.1"}`, 200, "refused target_not_official", "198.51.100.1"},
		{"an exercise", `{"id":"d","seq":1,"state":"start","ips":"203.0.113.20","drill":true}`, 200, "observed drill", ""},
		{
			"all of it", `{"id":9,"seq":18446744073709551615,"state":"start","ips":["203.0.113.40","203.0.113.41"]}`, 400, "refused malformed", "whole number",
		},
		{
			"all that can be said", `{"id":9,"seq":"18446744073709551614","state":"start","ips":["203.0.113.40","203.0.113.41"],"bps":"4e9","ports":[80,"1024-65535"],"protocols":17,"at":"2026-03-01T02:59:00Z","from":[],"sure":0.9}`,
			200, "mitigated mitigated", "M1",
		},
		{"its end", `{"id":9,"seq":"18446744073709551615","state":"end"}`, 200, "ended attack_over", "M1"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			a := l.post("flat", r.body)
			if a.code != r.code || !strings.Contains(a.body, r.says) {
				t.Errorf("got %d %s, want %d and %q", a.code, a.body, r.code, r.says)
			}
			if r.verdict != "" {
				if got := a.verdict(t, 0); got != r.verdict {
					t.Errorf("verdict %q, want %q", got, r.verdict)
				}
			}
		})
	}
	t.Run("one of three", func(t *testing.T) {
		a := l.post("signed", `{"events":[{"severity":5,"id":"x","ip":"203.0.113.50"},{"severity":1},{"severity":4,"id":"y"}]}`)
		if a.code != http.StatusBadRequest || a.verdict(t, 0) != "mitigated mitigated" || a.verdict(t, 1) != "refused malformed" {
			t.Errorf("got %d %s", a.code, a.body)
		}
	})
	t.Run("too many", func(t *testing.T) {
		a := l.post("signed", `{"events":[`+strings.Repeat(`{"severity":9},`, api.MaxBatch)+`{"severity":9}]}`)
		if a.code != http.StatusBadRequest || !strings.Contains(a.body, "at most 1000") {
			t.Errorf("got %d %s", a.code, a.body)
		}
	})
	t.Run("overload", func(t *testing.T) {
		l.fake.Overload(true)
		defer l.fake.Overload(false)
		a := l.post("flat", `{"id":"z","seq":1,"state":"start","ips":"203.0.113.60"}`)
		if a.code != http.StatusServiceUnavailable || a.header.Get("Retry-After") != "1" || a.verdict(t, 0) != "retry overloaded" {
			t.Errorf("got %d %s", a.code, a.body)
		}
	})
}

// alert is a notification about one alert.
func alert(status, fingerprint, starts, ends, labels, annotations string) string {
	return fmt.Sprintf(`{"version":"4","groupKey":"{}:{}","truncatedAlerts":0,"status":%[1]q,"receiver":"tidegate","groupLabels":{},"commonLabels":{},
	"commonAnnotations":{},"externalURL":"http://am","alerts":[{"status":%[1]q,"labels":{%[5]s},"annotations":{%[6]s},"startsAt":%[3]q,"endsAt":%[4]q,
	"generatorURL":"http://prometheus/graph","fingerprint":%[2]q}]}`, status, fingerprint, starts, ends, labels, annotations)
}

const (
	labels = `"alertname":"DDoS","target":"203.0.113.20","vector":"dns_amplification"`
	never  = "0001-01-01T00:00:00Z"
)

// What Alertmanager sends in the life of an alert: again and again the same, changed, resolved, again resolved, late.
func TestAlertmanager(t *testing.T) {
	l := newLab(t)
	firing := func(starts, annotations string) string {
		return alert("firing", "f00d", starts, never, labels, annotations)
	}
	resolved := func(starts, ends string) string { return alert("resolved", "f00d", starts, ends, labels, "") }
	rows := []struct {
		name, body string
		after      time.Duration
		want       string
		active     int
	}{
		{"firing", firing("2026-03-01T02:59:00.123Z", `"bits_per_second":"4e9"`), 0, "mitigated mitigated", 1},
		{"the same again", firing("2026-03-01T02:59:00.123Z", `"bits_per_second":"4e9"`), time.Minute, "merged repetition", 1},
		{"with another rate", firing("2026-03-01T02:59:00.123Z", `"bits_per_second":"5e9"`), time.Minute, "merged repetition", 1},
		{"and another", firing("2026-03-01T02:59:00.123Z", `"bits_per_second":"6e9"`), time.Minute, "merged repetition", 1},
		{"the first one once more", firing("2026-03-01T02:59:00.123Z", `"bits_per_second":"4e9"`), time.Minute, "merged repetition", 1},
		// Prometheus' clock is ten minutes behind ours: the end is not an old one.
		{"resolved", resolved("2026-03-01T02:59:00.123Z", "2026-03-01T02:59:15Z"), time.Minute, "ended attack_over", 0},
		{"resolved, from a second instance", resolved("2026-03-01T02:59:00.123Z", "2026-03-01T02:59:15Z"), time.Second, "", 0},
		{"firing, too late", firing("2026-03-01T02:59:00.123Z", `"bits_per_second":"4e9"`), time.Second, "observed stale", 0},
		{"firing anew", firing("2026-03-01T03:01:00Z", ""), time.Minute, "mitigated mitigated", 1},
		{"resolved, too late", resolved("2026-03-01T02:59:00.123Z", "2026-03-01T02:59:15Z"), time.Second, "observed stale", 1},
		{"resolved at once", resolved("2026-03-01T03:01:00Z", "2026-03-01T03:01:00Z"), time.Second, "ended attack_over", 0},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			l.advance(r.after)
			a := l.post("am", r.body)
			if a.code != http.StatusOK {
				t.Fatalf("got %d %s", a.code, a.body)
			}
			if got := a.verdict(t, 0); r.want != "" && got != r.want {
				t.Errorf("verdict %q, want %q: %s", got, r.want, a.body)
			}
			if got := l.fake.State().ActiveCount(); got != r.active {
				t.Errorf("%d mitigations are active, want %d", got, r.active)
			}
		})
	}
}

func TestAlertmanagerRefuses(t *testing.T) {
	l := newLab(t)
	const at = "2026-03-01T02:59:00Z"
	rows := []struct{ name, body, says string }{
		{"version 3", `{"version":"3","alerts":[]}`, `version \"3\"`},
		{"no version", `{"alerts":[]}`, "post version 4"},
		{"no alerts", `{"version":"4"}`, "it is not a list"},
		{"an alert that is none", `{"version":"4","alerts":[7]}`, "not an object"},
		{"no fingerprint", alert("firing", "", at, never, labels, ""), "fingerprint"},
		{"an unknown status", alert("suppressed", "f", at, never, labels, ""), "not firing or resolved"},
		{"no start", alert("firing", "f", "", never, labels, ""), "startsAt"},
		{"a start before there were times", alert("firing", "f", never, never, labels, ""), "no time of an attack"},
		{"a start far ahead", alert("firing", "f", "2026-03-01T05:00:00Z", never, labels, ""), "no time of an attack"},
		{"an end far ahead", alert("resolved", "f", at, "2027-03-01T05:00:00Z", labels, ""), "no time of an attack"},
		{"no target", alert("firing", "f", at, never, `"vector":"dns_amplification"`, ""), "no such key: target"},
		{"host bits", alert("firing", "f", at, never, `"target":"203.0.113.1/24","vector":"dns_amplification"`, ""), "host bits"},
		{"a rate that is none", alert("firing", "f", at, never, labels, `"bits_per_second":"4 Gbps"`), "not a number"},
		{"an id without end", alert("firing", strings.Repeat("f", 10_000), at, never, labels, ""), "attack_id"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			a := l.post("am", r.body)
			if a.code != http.StatusBadRequest || !strings.Contains(a.body, r.says) {
				t.Errorf("got %d %s, want 400 and %q", a.code, a.body, r.says)
			}
		})
	}
	if n := l.fake.State().ActiveCount(); n != 0 {
		t.Errorf("%d mitigations were made", n)
	}
}

// What cannot work is said when the node's file is read, with the key.
func TestCheck(t *testing.T) {
	good := hooks()
	rows := []struct {
		name   string
		of     int
		change func(*webhook.Hook)
		want   []string
	}{
		{"alertmanager", 0, func(*webhook.Hook) {}, nil},
		{"json", 1, func(*webhook.Hook) {}, nil},
		{"a kind", 0, func(h *webhook.Hook) { h.Kind = "xml" }, []string{"kind"}},
		{"a proof", 0, func(h *webhook.Hook) { h.Proof = "basic" }, []string{"auth"}},
		{"a source", 0, func(h *webhook.Hook) { h.Source = "a/b" }, []string{"source"}},
		{"a rate", 0, func(h *webhook.Hook) { h.PerSecond = 1000 }, []string{"per_second"}},
		{"an alert's fingerprint", 0, func(h *webhook.Hook) { h.Map = map[string]string{"attack_id": "item.labels.id"} }, []string{"map.attack_id"}},
		{"each of alerts", 0, func(h *webhook.Hook) { h.Each = "body.alerts" }, []string{"each"}},
		{"an unknown field", 1, func(h *webhook.Hook) { h.Map = map[string]string{"attack": "body.id"} }, []string{"map.attack", "map.attack_id", "map.targets", "map.vector"}},
		{"no CEL", 1, func(h *webhook.Hook) {
			h.Map = map[string]string{"attack_id": "body.", "targets": "x", "vector": "1 + 'a'"}
		}, []string{"map.attack_id", "map.targets", "map.vector"}},
		{"too long", 1, func(h *webhook.Hook) { h.Each = "body" + strings.Repeat(".a", 2000) }, []string{"each"}},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			h := good[r.of]
			r.change(&h)
			var got []string
			for _, p := range webhook.Check(h) {
				got = append(got, p.Key)
			}
			if diff := cmp.Diff(r.want, got); diff != "" {
				t.Errorf("keys (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	for name, change := range map[string]func(*webhook.Config){
		"a short secret":  func(c *webhook.Config) { c.Hooks[1].Secret = "short" },
		"a short digest":  func(c *webhook.Config) { c.Hooks[0].Secret = "sha256:00" },
		"no secret":       func(c *webhook.Config) { c.Hooks[2].Secret = "" },
		"two of one name": func(c *webhook.Config) { c.Hooks[1].Name = "am" },
		"a path":          func(c *webhook.Config) { c.Hooks[1].Name = "../x" },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := webhook.Config{Cluster: "lab", Hooks: hooks()}
			change(&cfg)
			if _, err := webhook.New(cfg, webhook.Deps{Inside: auth.NewInside(), Logger: slog.New(slog.DiscardHandler)}); err == nil {
				t.Error("it is fine")
			}
		})
	}
}

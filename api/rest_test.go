package api_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/api/gateway"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// rest starts the gateway of a node and returns its URL.
func (l *lab) rest(name string, cfg gateway.Config) string {
	l.t.Helper()
	g, err := gateway.New(cfg, gateway.Deps{Inside: l.nodes[name].server.Inside(), Logger: slog.New(slog.NewTextHandler(l.logs, nil))})
	if err != nil {
		l.t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		l.t.Fatal(err)
	}
	serverTLS, err := auth.GatewayTLS(l.issue(auth.Member, name, "127.0.0.1"), testCluster)
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Serve(ctx, ln, serverTLS) }()
	l.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Errorf("Serve() = %v", err)
		}
	})
	return "https://" + ln.Addr().String()
}

// web is a client with the certificate of role/name; an empty role has none.
func (l *lab) web(role auth.Role, name string) *http.Client {
	l.t.Helper()
	issue := role
	if role == "" {
		issue = auth.Viewer
	}
	var hosts []string
	if role == auth.Member {
		hosts = []string{"127.0.0.1"}
	}
	cfg, _, _, err := auth.ClientTLS(l.issue(issue, name, hosts...))
	if err != nil {
		l.t.Fatal(err)
	}
	if role == "" {
		cfg.Certificates = nil
	}
	tr := &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: true}
	l.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// answer is what came back.
type answer struct {
	code   int
	header http.Header
	body   string
}

// field returns a value of the JSON body by its path.
func (a answer) field(t *testing.T, path string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("%v in %q", err, a.body)
	}
	for part := range strings.SplitSeq(path, ".") {
		if list, ok := v.([]any); ok {
			var i int
			if _, err := fmt.Sscan(part, &i); err != nil || i >= len(list) {
				t.Fatalf("no %s in %s", path, a.body)
			}
			v = list[i]
			continue
		}
		m, ok := v.(map[string]any)
		if !ok {
			t.Fatalf("no %s in %s", path, a.body)
		}
		v = m[part]
	}
	return v
}

func ask(t *testing.T, c *http.Client, method, url, body string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(data)}
}

// route is a line of the mapping.
type route struct{ method, path string }

// mapping reads which path each RPC has.
func mapping(t *testing.T) map[string]route {
	t.Helper()
	data, err := os.ReadFile("../proto/tidegate/v1/rest.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		HTTP struct {
			Rules []struct{ Selector, Get, Post, Body string }
		} `yaml:"http"`
	}
	if err := yaml.Load(data, &doc); err != nil {
		t.Fatal(err)
	}
	out := map[string]route{}
	for _, r := range doc.HTTP.Rules {
		at := strings.LastIndexByte(r.Selector, '.')
		m := "/" + r.Selector[:at] + "/" + r.Selector[at+1:]
		out[m] = route{http.MethodGet, r.Get}
		if r.Post != "" {
			out[m] = route{http.MethodPost, r.Post}
			if r.Body != "*" {
				t.Errorf("%s takes body %q, want all of it", m, r.Body)
			}
		}
	}
	return out
}

// TestRolesOverREST calls every RPC as every role through the gateway. What it may call there is what it may call over
// gRPC; an RPC of a public service without a path fails, and so does a path without an RPC.
func TestRolesOverREST(t *testing.T) {
	l := newLab(t, "n1")
	l.load()
	startMitigation(t, l.dial("n1", auth.Operator, "alice"), "203.0.113.9")
	url := l.rest("n1", gateway.Config{})
	routes := mapping(t)
	var want, got []string
	info := l.nodes["n1"].server.GRPC(&tls.Config{MinVersion: tls.VersionTLS13}).GetServiceInfo()
	streams := map[string]bool{}
	for service, s := range info {
		if service == tidegatev1.MemberService_ServiceDesc.ServiceName || !strings.HasPrefix(service, "tidegate.") {
			continue
		}
		for _, m := range s.Methods {
			want = append(want, "/"+service+"/"+m.Name)
			streams["/"+service+"/"+m.Name] = m.IsServerStream
		}
	}
	for m := range routes {
		got = append(got, m)
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("RPCs and paths in rest.yaml (-want +got):\n%s", diff)
	}
	for i, role := range auth.AllRoles() {
		client := l.web(role, nameOf(role))
		for _, method := range want {
			t.Run(string(role)+method, func(t *testing.T) {
				r := routes[method]
				path := strings.NewReplacer("{id}", "M99", "{name}", "nobody", "{ref.kind}", "Customer", "{ref.name}", "nobody").Replace(r.path)
				code, text := first(t, client, r.method, url+path, streams[method])
				if allowed := golden[method][i] != '.'; (code != http.StatusForbidden && code != http.StatusUnauthorized) != allowed {
					t.Errorf("%s may %s %s: got %d (%s), want %v", role, r.method, path, code, text, allowed)
				}
				if code == http.StatusForbidden && !strings.Contains(text, string(role)+"/"+nameOf(role)+" may not call "+method) {
					t.Errorf("denied with %s", text)
				}
				if code == http.StatusNotImplemented || code == http.StatusInternalServerError {
					t.Errorf("%s %s: %d %s", r.method, path, code, text)
				}
			})
		}
	}
	t.Run("nobody", func(t *testing.T) {
		client := l.web("", "x")
		for _, method := range want {
			r := routes[method]
			if code, text := first(t, client, r.method, url+r.path, streams[method]); code != http.StatusUnauthorized || !strings.Contains(text, "no verified client certificate") {
				t.Errorf("%s without a certificate: %d %s", method, code, text)
			}
		}
	})
}

// first makes a request with an empty body and returns its status and what of the answer comes without waiting.
func first(t *testing.T, c *http.Client, method, url string, stream bool) (int, string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if stream && resp.StatusCode == http.StatusOK {
		return resp.StatusCode, ""
	}
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// Nothing that a client writes into a request makes it somebody else.
func TestRESTIdentityIsTheCertificate(t *testing.T) {
	l := newLab(t, "n1", "n2")
	l.load()
	url := l.rest("n1", gateway.Config{})
	start := `{"request_id":"r","reason":"x","targets":["203.0.113.9"],"match":"proto udp","action":{"discard":true}}`
	for _, role := range []auth.Role{auth.Viewer, auth.Detector, auth.Member, ""} {
		for _, headers := range [][]string{
			{"Grpc-Metadata-" + auth.OnBehalfOf, "operator/alice", "Grpc-Metadata-" + auth.Hop, "1"},
			{auth.OnBehalfOf, "operator/alice", auth.Hop, "1"},
			{"Authorization", "Bearer operator/alice"},
			{"X-Forwarded-Client-Cert", "URI=tidegate://lab/operator/alice"},
			{"X-HTTP-Method-Override", "GET"},
			{"Grpcgateway-Authorization", "operator/alice"},
		} {
			t.Run(string(role)+" "+headers[0], func(t *testing.T) {
				a := ask(t, l.web(role, "eve"), http.MethodPost, url+"/v1/mitigations", start, headers...)
				want := http.StatusForbidden
				if role == "" || headers[0] == "Authorization" { // beside a certificate there is no token
					want = http.StatusUnauthorized
				}
				if a.code != want {
					t.Errorf("got %d %s, want %d", a.code, a.body, want)
				}
			})
		}
	}
	if n := l.fake.State().ActiveCount(); n != 0 {
		t.Errorf("%d mitigations were started", n)
	}
}

// The life of a mitigation over HTTP: the same interceptors, so the same log lines and the same answers.
func TestRESTMitigation(t *testing.T) {
	l := newLab(t, "n1", "n2")
	l.load()
	url := l.rest("n2", gateway.Config{}) // a follower: it forwards
	c := l.web(auth.Operator, "alice")
	start := `{"request_id":"r1","reason":"flood","targets":["203.0.113.9"],"match":"proto udp sport 53","action":{"rate":"8Mbps"},"lifetime":"600s"}`
	a := ask(t, c, http.MethodPost, url+"/v1/mitigations", start)
	if a.code != http.StatusOK || a.field(t, "mitigation.id") != "M1" || a.field(t, "mitigation.by") != "operator/alice" || a.field(t, "mitigation.rate_per_rule") != "8Mbps" {
		t.Fatalf("start: %d %s", a.code, a.body)
	}
	if a = ask(t, c, http.MethodPost, url+"/v1/mitigations", start); a.field(t, "write.repeated_request") != true {
		t.Errorf("a repetition: %s", a.body)
	}
	for _, want := range []string{"method=tidegate.v1.MitigationService/Start", "by=operator/alice", "via=n2", "request_id=r1"} {
		if !strings.Contains(l.logs.String(), want) {
			t.Errorf("the log has no %s:\n%s", want, l.logs.String())
		}
	}
	for _, get := range []struct{ path, field, want string }{
		{"/v1/mitigations/M1", "mitigation.id", "M1"},
		{"/v1/mitigations?customer=uni-a&limit=5", "mitigations.0.id", "M1"},
		{"/v1/documents/Customer/uni-a", "document.customer.name", "University A"},
		{"/v1/documents?kind=Policy", "documents.0.policy.name", "dns"},
		{"/v1/lookup?address=2001:db8:a::1", "customer", "uni-a"},
		{"/v1/rules?mitigation=M1", "rules.0.mitigations.0", "M1"},
		{"/v1/peers", "peers.0.router", "edge1"},
		{"/v1/cluster", "cluster", testCluster},
	} {
		if a := ask(t, c, http.MethodGet, url+get.path, ""); a.code != http.StatusOK || a.field(t, get.field) != get.want {
			t.Errorf("GET %s: %d %s, want %s = %s", get.path, a.code, a.body, get.field, get.want)
		}
	}
	if a = ask(t, c, http.MethodPost, url+"/v1/mitigations/M1:extend", `{"request_id":"r2","reason":"goes on","lifetime":"1200s"}`); a.code != http.StatusOK {
		t.Errorf("extend: %d %s", a.code, a.body)
	}
	if a = ask(t, c, http.MethodPost, url+"/v1/mitigations/M1:withdraw", `{"request_id":"r3","reason":"over"}`); a.code != http.StatusOK || a.field(t, "mitigation.end") != "withdrawn" {
		t.Errorf("withdraw: %d %s", a.code, a.body)
	}
	if a = ask(t, c, http.MethodPost, url+"/v1/mitigations:withdraw_all", `{"request_id":"r4","reason":"over"}`); a.code != http.StatusOK {
		t.Errorf("withdraw all: %d %s", a.code, a.body)
	}
	if n := l.fake.State().ActiveCount(); n != 0 {
		t.Errorf("%d mitigations are active", n)
	}
}

// Wrong input is answered with a google.rpc.Status that names the field.
func TestRESTRefuses(t *testing.T) {
	l := newLab(t, "n1")
	l.load()
	url := l.rest("n1", gateway.Config{})
	operator := l.web(auth.Operator, "alice")
	huge := `{"reason":"` + strings.Repeat("x", gateway.MaxBody) + `"}`
	for _, row := range []struct {
		name, method, path, body string
		code                     int
		grpc                     codes.Code
		says                     string
		field                    string
	}{
		{"bad JSON", "POST", "/v1/mitigations", `{"request_id":`, 400, codes.InvalidArgument, "unexpected EOF", ""},
		{"not an object", "POST", "/v1/mitigations", `[]`, 400, codes.InvalidArgument, "unexpected token [", ""},
		{"two objects", "POST", "/v1/mitigations", `{} {}`, 400, codes.InvalidArgument, "unexpected token {", ""},
		{"an unknown field", "POST", "/v1/mitigations", `{"targts":["203.0.113.9"]}`, 400, codes.InvalidArgument, "unknown field", "targts"},
		{"a field twice", "POST", "/v1/mitigations", `{"reason":"a","reason":"b"}`, 400, codes.InvalidArgument, "duplicate field", "reason"},
		{"a wrong type", "POST", "/v1/mitigations", `{"targets":["203.0.113.9"],"reason":5}`, 400, codes.InvalidArgument, "invalid value", "reason"},
		{"an unknown query", "GET", "/v1/mitigations?custmer=a", "", 400, codes.InvalidArgument, "unknown field", "custmer"},
		{"a query with a body", "POST", "/v1/mitigations:withdraw_all?customer=uni-a", `{"request_id":"x","reason":"y"}`, 400, codes.InvalidArgument, "in the body", "query"},
		{"no target", "POST", "/v1/mitigations", `{"request_id":"x","reason":"y","action":{"discard":true}}`, 400, codes.InvalidArgument, "targets", "targets"},
		{"host bits", "POST", "/v1/mitigations", `{"request_id":"x","reason":"y","targets":["203.0.113.9/24"],"action":{"discard":true}}`, 400, codes.InvalidArgument, "host bits", "targets[0]"},
		{"a protected target", "POST", "/v1/mitigations", `{"request_id":"x","reason":"y","targets":["203.0.113.5"],"action":{"discard":true}}`, 400, codes.FailedPrecondition, "203.0.113.4/30", ""},
		{"too long", "POST", "/v1/mitigations", huge, 413, codes.InvalidArgument, "longer than", ""},
		{"no such mitigation", "GET", "/v1/mitigations/M99", "", 404, codes.NotFound, "no mitigation M99", ""},
		{"no such path", "GET", "/v2/mitigations", "", 404, codes.NotFound, "/v2/mitigations", ""},
		{"no such method", "DELETE", "/v1/mitigations/M1", "", 501, codes.Unimplemented, "DELETE", ""},
		{"a member's RPC", "POST", "/tidegate.v1.MemberService/LocalStatus", "{}", 404, codes.NotFound, "nothing at", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := ask(t, operator, row.method, url+row.path, row.body)
			if a.code != row.code || a.field(t, "code") != float64(row.grpc) || !strings.Contains(a.body, row.says) || a.header.Get("Content-Type") != "application/json" {
				t.Errorf("got %d %s, want %d, code %d and %q", a.code, a.body, row.code, row.grpc, row.says)
			}
			if row.field != "" && a.field(t, "details.0.field_violations.0.field") != row.field {
				t.Errorf("got %s, want a violation of %q", a.body, row.field)
			}
		})
	}
	t.Run("from a foreign page", func(t *testing.T) {
		a := ask(t, operator, http.MethodPost, url+"/v1/mitigations:withdraw_all", `{"request_id":"x","reason":"y"}`, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example")
		if a.code != http.StatusForbidden {
			t.Errorf("got %d %s", a.code, a.body)
		}
	})
	t.Run("no leader", func(t *testing.T) {
		l.fake.Lead("")
		defer l.fake.Lead("n1")
		a := ask(t, operator, http.MethodPost, url+"/v1/mitigations:withdraw_all", `{"request_id":"x","reason":"y"}`)
		if a.code != http.StatusServiceUnavailable || a.header.Get("Retry-After") != "1" {
			t.Errorf("got %d, Retry-After %q, %s", a.code, a.header.Get("Retry-After"), a.body)
		}
	})
	t.Run("the document", func(t *testing.T) {
		a := ask(t, l.web("", "x"), http.MethodGet, url+gateway.OpenAPIPath, "")
		if a.code != http.StatusOK || a.field(t, "swagger") != "2.0" || a.body != string(gateway.OpenAPI) {
			t.Errorf("got %d, %d octets", a.code, len(a.body))
		}
	})
}

// A stream of signals: verdicts come while the request is still being sent, over HTTP/1 and HTTP/2, and what is wrong
// with a line is said.
func TestRESTStreamSignals(t *testing.T) {
	l := newLab(t, "n1")
	l.load()
	url := l.rest("n1", gateway.Config{})
	for _, version := range []int{1, 2} {
		t.Run(fmt.Sprintf("HTTP %d", version), func(t *testing.T) {
			c := l.web(auth.Detector, fmt.Sprintf("fnm%d", version))
			if tr := c.Transport.(*http.Transport); version == 1 {
				tr.ForceAttemptHTTP2 = false
				tr.TLSNextProto = map[string]func(string, *tls.Conn) http.RoundTripper{}
				tr.TLSClientConfig.NextProtos = []string{"http/1.1"}
			}
			in, out := io.Pipe()
			defer out.Close()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/signals:stream", in)
			if err != nil {
				t.Fatal(err)
			}
			send := func(line string) {
				if _, err := io.WriteString(out, line+"\n"); err != nil {
					t.Error(err)
				}
			}
			go send(`{"batch_id":1,"signals":[{"attack_id":"a","seq":1,"kind":"SIGNAL_KIND_START","targets":["203.0.113.20"],"vector":"dns_amplification"}]}`)
			resp, err := c.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.ProtoMajor != version || resp.Header.Get("Content-Type") != "application/x-ndjson" {
				t.Errorf("HTTP %d, %s", resp.ProtoMajor, resp.Header.Get("Content-Type"))
			}
			lines := bufio.NewScanner(resp.Body)
			next := func(want ...string) {
				t.Helper()
				if !lines.Scan() {
					t.Fatalf("the stream ended: %v", lines.Err())
				}
				for _, w := range want {
					if !strings.Contains(lines.Text(), w) {
						t.Errorf("got %s, want %s", lines.Text(), w)
					}
				}
			}
			next(`"batch_id":"1"`, `VERDICT_KIND_M`)
			send(`{"batch_id":2,"signals":[{"attack_id":"a","seq":2,"kind":"SIGNAL_KIND_END"},{"attack_id":"b","seq":1}]}`)
			next(`"batch_id":"2"`, `VERDICT_KIND_ENDED`, `"field":"kind"`)
			send(`{"batch_id":3,"sgnals":[]}`)
			next(`{"error":{"code":3`, `unknown field`, `sgnals`)
			if lines.Scan() {
				t.Errorf("after the error: %s", lines.Text())
			}
		})
	}
	t.Run("a line without an end", func(t *testing.T) {
		c := l.web(auth.Detector, "fnm3")
		body := `{"batch_id":1,"signals":[]}` + "\n" + strings.Repeat(" ", gateway.MaxBody) + "{}\n"
		a := ask(t, c, http.MethodPost, url+"/v1/signals:stream", body)
		if !strings.Contains(a.body, "a line is longer than") {
			t.Errorf("got %d %s", a.code, a.body)
		}
	})
	t.Run("a first line that is wrong", func(t *testing.T) {
		a := ask(t, l.web(auth.Detector, "fnm4"), http.MethodPost, url+"/v1/signals:stream", "{\n")
		if a.code != http.StatusBadRequest || a.field(t, "code") != float64(codes.InvalidArgument) {
			t.Errorf("got %d %s", a.code, a.body)
		}
	})
}

// Watch sends what changes, and ends when the node stops.
func TestRESTWatch(t *testing.T) {
	l := newLab(t, "n1")
	l.load()
	operator := l.dial("n1", auth.Operator, "alice")
	startMitigation(t, operator, "203.0.113.9")
	url := l.rest("n1", gateway.Config{})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/v1/mitigations:watch?customer=uni-a", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := l.web(auth.Viewer, "v").Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for _, id := range []string{"M1", "M2"} {
		if !lines.Scan() || !strings.Contains(lines.Text(), `"id":"`+id+`"`) {
			t.Fatalf("got %q, %v; want %s", lines.Text(), lines.Err(), id)
		}
		if id == "M1" {
			startMitigation(t, operator, "203.0.113.10")
		}
	}
	l.nodes["n1"].server.Drain()
	if !lines.Scan() || !strings.Contains(lines.Text(), "stopping") {
		t.Errorf("got %q, want that the node is stopping", lines.Text())
	}
	if lines.Scan() {
		t.Errorf("after the end: %q", lines.Text())
	}
}

// A call that takes too long ends with what is known of its outcome.
func TestRESTTimeout(t *testing.T) {
	l := newLab(t, "n1")
	l.load()
	url := l.rest("n1", gateway.Config{Timeout: time.Nanosecond})
	a := ask(t, l.web(auth.Viewer, "v"), http.MethodGet, url+"/v1/cluster", "")
	if a.code != http.StatusGatewayTimeout {
		t.Errorf("got %d %s", a.code, a.body)
	}
}

// The way in for the gateway believes what Dial was given, and nothing else.
func TestInside(t *testing.T) {
	l := newLab(t, "n1")
	l.load()
	dial := func(who credentials.AuthInfo) *grpc.ClientConn {
		conn, err := l.nodes["n1"].server.Inside().Dial(who)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	vouched, err := auth.Vouch("hook")
	if err != nil {
		t.Fatal(err)
	}
	report := func(conn *grpc.ClientConn) error {
		_, err := tidegatev1.NewSignalServiceClient(conn).Report(t.Context(), &tidegatev1.ReportRequest{Signals: []*tidegatev1.Signal{
			{AttackId: "a", Seq: 1, Kind: tidegatev1.SignalKind_SIGNAL_KIND_START, Targets: []string{"203.0.113.20"}, Vector: "dns_amplification"},
		}})
		return err
	}
	if err := report(dial(vouched)); err != nil {
		t.Errorf("a vouched detector: %v", err)
	}
	if _, known := l.fake.State().Attack("hook", "a"); !known {
		t.Error("the signal of the vouched detector is not under its name")
	}
	if _, err := tidegatev1.NewMitigationServiceClient(dial(vouched)).List(t.Context(), &tidegatev1.ListRequest{}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a vouched detector lists: %v", err)
	}
	for name, who := range map[string]credentials.AuthInfo{
		"an unmade voucher": auth.Vouched{}, "TLS without a certificate": credentials.TLSInfo{}, "nobody": nil,
		"a certificate that was not verified": unverified(l.web(auth.Detector, "x")),
	} {
		if err := report(dial(who)); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s: got %v", name, err)
		}
	}
	for _, name := range []string{"", "a/b", "../x", strings.Repeat("a", 65)} {
		if _, err := auth.Vouch(name); err == nil {
			t.Errorf("Vouch(%q) is fine", name)
		}
	}
}

// unverified is the TLS state of a client that showed a certificate that nobody checked.
func unverified(c *http.Client) credentials.AuthInfo {
	cert := c.Transport.(*http.Transport).TLSClientConfig.Certificates[0]
	return credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert.Leaf}}}
}

// The document describes every path of the mapping, and no other.
func TestOpenAPIIsOurs(t *testing.T) {
	var doc struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	if err := json.NewDecoder(bytes.NewReader(gateway.OpenAPI)).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for _, r := range mapping(t) {
		want = append(want, strings.ToLower(r.method)+" "+r.path)
	}
	for path, methods := range doc.Paths {
		for m := range methods {
			got = append(got, m+" "+path)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("paths of the mapping and of the document (-want +got):\n%s", diff)
	}
}

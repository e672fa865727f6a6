package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/api/webhook"
)

// docsPage reads a page of the documentation.
func docsPage(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// example is the first block of that language in a page, without its indentation.
func example(t *testing.T, name, lang string) string {
	t.Helper()
	m := regexp.MustCompile("(?ms)^( *)```" + lang + "\n(.*?)^ *```$").FindStringSubmatch(docsPage(t, name))
	if m == nil {
		t.Fatalf("docs/%s has no example in %s", name, lang)
	}
	return strings.ReplaceAll("\n"+m[2], "\n"+m[1], "\n")[1:]
}

// rest is a node with the webhooks that docs/reference/webhooks.md describes.
type rest struct {
	*single
	url string
}

func startREST(t *testing.T) *rest {
	t.Helper()
	r := &rest{}
	r.single = startSingleWith(t, func(s *single) string {
		if err := os.Mkdir(filepath.Join(s.lab.Dir(), "secrets"), 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, s.lab, "secrets/alertmanager", "token-of-the-alertmanager\n")
		writeFile(t, s.lab, "secrets/scrubber", "correct-horse-battery\n")
		listen := freePort(t)
		r.url = "https://" + listen
		file := example(t, "reference/webhooks.md", "yaml")
		return strings.Replace(file[strings.Index(file, "secrets:"):], "127.0.0.1:7480", listen, 1)
	})
	return r
}

// client has the certificate that the node made for a role; an empty one has none.
func (r *rest) client(role string) *http.Client {
	r.t.Helper()
	files := auth.FilesIn(filepath.Join(r.lab.Dir(), "n1", "pki", "operator"))
	if role != "" {
		files = auth.FilesIn(filepath.Join(r.lab.Dir(), "n1", "pki", role))
	}
	cfg, _, _, err := auth.ClientTLS(files)
	if err != nil {
		r.t.Fatal(err)
	}
	if role == "" {
		cfg.Certificates = nil
	}
	tr := &http.Transport{TLSClientConfig: cfg}
	r.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// ask makes a request; headers are pairs.
func (r *rest) ask(role, method, path, body string, code int, headers ...string) map[string]any {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := r.client(role).Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	var out map[string]any
	if err == nil {
		err = json.Unmarshal(data, &out)
	}
	if err != nil || resp.StatusCode != code {
		r.t.Errorf("%s %s as %q: %d %s, %v; want %d", method, path, role, resp.StatusCode, data, err, code)
	}
	return out
}

// TestAdapters: what is not gRPC ends as rules on the router all the same: HTTP, webhooks, FastNetMon.
func TestAdapters(t *testing.T) {
	r := startREST(t)
	t.Run("HTTP", func(t *testing.T) { r.overHTTP() })
	t.Run("Alertmanager", func(t *testing.T) { r.alertmanager() })
	t.Run("a signed webhook", func(t *testing.T) { r.signed(t) })
	t.Run("FastNetMon", func(t *testing.T) { r.fastNetMon(t) })
}

func (r *rest) overHTTP() {
	r.t.Helper()
	r.ask("", http.MethodGet, "/v1/cluster", "", http.StatusUnauthorized)
	r.ask("", http.MethodGet, "/openapi.json", "", http.StatusOK)
	start := example(r.t, "reference/rest.md", "json")
	r.ask("detector", http.MethodPost, "/v1/mitigations", start, http.StatusForbidden)
	started := r.ask("operator", http.MethodPost, "/v1/mitigations", start, http.StatusOK)
	m, _ := started["mitigation"].(map[string]any)
	r.waitTable("dst 203.0.113.10/32 proto udp sport 53 => rate 10Mbps")
	r.ask("operator", http.MethodPost, fmt.Sprintf("/v1/mitigations/%s:withdraw", m["id"]), `{"request_id":"w","reason":"over"}`, http.StatusOK)
	r.waitTable()
}

// dns are the rules against reflected DNS answers to an address.
func dns(address string) []string {
	return []string{
		"dst " + address + "/32 proto udp sport 53 => discard",
		"dst " + address + "/32 proto udp frag any:is-fragment => discard",
	}
}

func (r *rest) alertmanager() {
	r.t.Helper()
	now := time.Now().UTC()
	post := func(status string, ends time.Time, token string, code int) {
		r.t.Helper()
		body := fmt.Sprintf(`{"version":"4","status":%[1]q,"alerts":[{"status":%[1]q,"labels":{"alertname":"DDoS","target":"203.0.113.11","vector":"dns_amplification"},
			"annotations":{"bits_per_second":"4e9"},"startsAt":%[2]q,"endsAt":%[3]q,"fingerprint":"c0ffee"}]}`,
			status, now.Format(time.RFC3339Nano), ends.Format(time.RFC3339Nano))
		r.ask("", http.MethodPost, "/v1/webhooks/alertmanager", body, code, "Authorization", "Bearer "+token)
	}
	post("firing", time.Time{}, "token-of-somebody-else", http.StatusUnauthorized)
	post("firing", time.Time{}, "token-of-the-alertmanager", http.StatusOK)
	r.waitTable(dns("203.0.113.11")...)
	post("firing", time.Time{}, "token-of-the-alertmanager", http.StatusOK)
	post("resolved", now.Add(time.Minute), "token-of-the-alertmanager", http.StatusOK)
	r.waitTable()
}

func (r *rest) signed(t *testing.T) {
	t.Helper()
	key := []byte("correct-horse-battery")
	// The signed request of the page is what openssl makes of it.
	text := regexp.MustCompile(`(?s)Tidegate-Timestamp: (\S+)\nTidegate-Signature: (\S+)\n\n(.*?)\n` + "```").FindStringSubmatch(docsPage(t, "reference/webhooks.md"))
	if text == nil {
		t.Fatal("the page has no signed request")
	}
	body := text[3]
	if got := webhook.Sign(key, text[1], []byte(body)); got != text[2] {
		t.Errorf("the signature in the page is %s, want %s", text[2], got)
	}
	r.ask("", http.MethodPost, "/v1/webhooks/scrubber", body, http.StatusUnauthorized, webhook.TimestampHeader, text[1], webhook.SignatureHeader, text[2]) // long ago
	stamp := func() string {
		now := time.Now()
		return fmt.Sprintf("%d.%09d", now.Unix(), now.Nanosecond())
	}
	first := stamp()
	r.ask("", http.MethodPost, "/v1/webhooks/scrubber", body, http.StatusOK, webhook.TimestampHeader, first, webhook.SignatureHeader, webhook.Sign(key, first, []byte(body)))
	r.waitTable(dns("203.0.113.30")...)
	r.ask("", http.MethodPost, "/v1/webhooks/scrubber", body, http.StatusUnauthorized, webhook.TimestampHeader, first, webhook.SignatureHeader, webhook.Sign(key, first, []byte(body)))
	end, last := `{"events":[{"id":"e-17","state":"end"}]}`, stamp()
	r.ask("", http.MethodPost, "/v1/webhooks/scrubber", end, http.StatusOK, webhook.TimestampHeader, last, webhook.SignatureHeader, webhook.Sign(key, last, []byte(end)))
	r.waitTable()
	r.ask("detector", http.MethodPost, "/v1/webhooks/flowmon", `{"event":"x","targets":"203.0.113.40"}`, http.StatusForbidden)
}

// fastNetMon calls the script of the page as FastNetMon does: by a shell, with the text that it wrote.
func (r *rest) fastNetMon(t *testing.T) {
	t.Helper()
	script := example(t, "how-to/fastnetmon.md", "bash")
	for old, now := range map[string]string{
		"exec tidegate ": "exec " + binary + " ", "/var/lib/tidegate-fastnetmon": filepath.Join(r.lab.Dir(), "fastnetmon"),
		"192.0.2.1:7400,192.0.2.2:7400,192.0.2.3:7400": r.api, "/etc/tidegate/fastnetmon": filepath.Join(r.lab.Dir(), "n1", "pki", "detector"),
	} {
		if !strings.Contains(script, old) {
			t.Fatalf("the script of the page has no %q:\n%s", old, script)
		}
		script = strings.ReplaceAll(script, old, now)
	}
	path := writeFile(t, r.lab, "notify_about_attack.sh", script)
	if err := os.Chmod(path, 0o700); err != nil {
		t.Fatal(err)
	}
	call := func(text, args string) {
		t.Helper()
		ctx, cancel := context.WithTimeoutCause(t.Context(), patience, errors.New("not in time"))
		defer cancel()
		cmd := exec.CommandContext(ctx, "sh", "-c", path+" "+args)
		if text != "" {
			data, err := os.ReadFile("../cmd/fastnetmon/testdata/" + text + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			cmd.Stdin = bytes.NewReader(data)
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", args, err, out)
		}
	}
	call("dns-ban", "203.0.113.10 incoming 430 ban")
	r.waitTable(dns("203.0.113.10")...)
	call("dns-attack_details", "203.0.113.10 incoming 430 attack_details")
	call("", "203.0.113.10 incoming 430 unban")
	r.waitTable()
}

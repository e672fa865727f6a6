package node

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/pem"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/api/webhook"
)

// lines is a log that several goroutines write.
type lines struct {
	mu sync.Mutex // guards the field below
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// TestSecretsStayOut runs a node that logs all it can, has it meet right and wrong secrets, and looks for them in what it
// logged, showed in its metrics and wrote beside its log.
func TestSecretsStayOut(t *testing.T) {
	const right, wrong = "right-4f1c9b2e7a6d5038", "wrong-8e7d6c5b4a392817"
	cfg := solo(t)
	file := filepath.Join(t.TempDir(), "hook")
	if err := os.WriteFile(file, []byte(right+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.Secrets = map[string]string{"hook": file}
	cfg.REST = REST{Listen: "127.0.0.1:0", Webhooks: []Webhook{{
		Hook: webhook.Hook{Name: "am", Kind: webhook.Alertmanager, Source: "prometheus", Proof: webhook.Bearer}, SecretName: "hook",
	}}}
	log, up := &lines{}, make(chan Addresses, 1)
	n, err := New(cfg, Deps{
		Logger:    slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Listening: func(a Addresses) { up <- a },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	at := <-up
	get(t, "http://"+at.HTTP+"/readyz", http.StatusOK)
	client, _, _, err := auth.ClientTLS(auth.FilesIn(cfg.OwnPKI().Operator))
	if err != nil {
		t.Fatal(err)
	}
	open := &tls.Config{RootCAs: client.RootCAs, MinVersion: tls.VersionTLS13}
	codes := map[string]int{}
	for _, secret := range []string{right, wrong} {
		for _, path := range []string{"/v1/webhooks/am", "/v1/cluster"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+at.REST+path, strings.NewReader(`{"password":"`+secret+`"}`))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+secret)
			tr := &http.Transport{TLSClientConfig: open}
			resp, err := (&http.Client{Transport: tr}).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			tr.CloseIdleConnections()
			codes[secret[:5]+path] = resp.StatusCode
		}
	}
	if codes["right/v1/webhooks/am"] == codes["wrong/v1/webhooks/am"] {
		t.Errorf("the secret made no difference, so this test shows nothing: %v", codes)
	}
	metrics := get(t, "http://"+at.HTTP+"/metrics", http.StatusOK)
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	secrets := map[string]string{"the webhook's secret": right, "a wrong one": wrong}
	key, err := os.ReadFile(auth.FilesIn(cfg.OwnPKI().Node).Key)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(key)
	secrets["the node's key"] = base64.StdEncoding.EncodeToString(block.Bytes)[40:80]
	trail, err := os.ReadFile(filepath.Join(cfg.DataDir, "audit", "audit-000001.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for where, text := range map[string]string{"log": log.b.String(), "metrics": metrics, "audit file": string(trail)} {
		if text == "" {
			t.Errorf("the %s is empty", where)
		}
		for what, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("the %s holds %s", where, what)
			}
		}
	}
}

package auth_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/api/auth/pki"
)

func FuzzParseToken(f *testing.F) {
	good, err := auth.NewToken("lab", "ci")
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{good, "", "tdg~~~", "tdg~lab~ci~AAAA", strings.Replace(good, "~", "~~", 1), "tdg~lab~c i~" + good[len(good)-43:]} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		cluster, name, err := auth.ParseToken(s)
		if err != nil {
			if len(s) > 8 && strings.Contains(err.Error(), s) {
				t.Errorf("the error holds what was read: %v", err)
			}
			return
		}
		if rest, ok := strings.CutPrefix(s, "tdg~"+cluster+"~"+name+"~"); !ok || len(rest) != 43 {
			t.Errorf("%q is of %s and %s", s, cluster, name)
		}
	})
}

func TestNewToken(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		s, err := auth.NewToken("lab", "ci")
		if err != nil || seen[s] {
			t.Fatalf("%v, or twice", err)
		}
		seen[s] = true
		if cluster, name, err := auth.ParseToken(s); err != nil || cluster != "lab" || name != "ci" {
			t.Errorf("%s, %s, %v", cluster, name, err)
		}
	}
	if _, err := auth.NewToken("lab", "c~i"); err == nil {
		t.Error("a name that ends early")
	}
	b := auth.Bearer("tdg~lab~ci~secret")
	if text := fmt.Sprintf("%v %s %+v %#v", b, b, b, b); strings.Contains(text, "secret") {
		t.Errorf("a token prints as %s", text)
	}
	if !b.RequireTransportSecurity() {
		t.Error("a token goes without TLS")
	}
}

func TestClientFrom(t *testing.T) {
	ca, err := pki.NewCA("lab")
	if err != nil {
		t.Fatal(err)
	}
	f := files(t, ca, auth.Viewer, "v")
	dir := filepath.Dir(f.CA)
	if _, bearer, cluster, err := auth.ClientFrom(dir); err != nil || bearer != "" || cluster != "lab" {
		t.Errorf("a certificate: %v, %s, %v", bearer, cluster, err)
	}
	token, err := auth.NewToken("lab", "ci")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, auth.TokenFile), []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := auth.ClientFrom(dir); err == nil || !strings.Contains(err.Error(), "keep one of them") {
		t.Errorf("both: %v", err)
	}
	for _, name := range []string{f.Cert, f.Key} {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	cfg, bearer, cluster, err := auth.ClientFrom(dir)
	if err != nil || string(bearer) != token || cluster != "lab" || len(cfg.Certificates) != 0 {
		t.Errorf("a token: %v, %s, %v", bearer, cluster, err)
	}
	if err := os.WriteFile(filepath.Join(dir, auth.TokenFile), []byte("tdg~lab~ci~secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := auth.ClientFrom(dir); err == nil || strings.Contains(err.Error(), "secret~") {
		t.Errorf("a broken token: %v", err)
	}
}

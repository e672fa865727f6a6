package pki_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/api/auth/pki"
)

func newCA(t *testing.T) *pki.CA {
	t.Helper()
	ca, err := pki.NewCA("lab")
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func parse(t *testing.T, data []byte) *x509.Certificate {
	t.Helper()
	block, rest := pem.Decode(data)
	if block == nil || len(rest) > 0 {
		t.Fatal("not one PEM block")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestIssue(t *testing.T) {
	ca := newCA(t)
	pool := x509.NewCertPool()
	pool.AddCert(ca.Cert)
	for _, role := range auth.AllRoles() {
		t.Run(string(role), func(t *testing.T) {
			var hosts []string
			if role == auth.Member {
				hosts = []string{"127.0.0.1", "n1.example", "2001:db8::1"}
			}
			name := "x"
			if role == auth.Customer {
				name = "uni-a/x"
			}
			b, err := ca.Issue(role, name, hosts...)
			if err != nil {
				t.Fatal(err)
			}
			cert := parse(t, b.Cert)
			id, err := auth.FromCertificate(cert, "lab")
			if err != nil || id != (auth.Identity{Role: role, Name: name}) {
				t.Errorf("identity %v, %v", id, err)
			}
			if key, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
				t.Errorf("key %T", cert.PublicKey)
			}
			verify := func(usage x509.ExtKeyUsage, name string) error {
				_, err := cert.Verify(x509.VerifyOptions{Roots: pool, DNSName: name, KeyUsages: []x509.ExtKeyUsage{usage}})
				return err
			}
			if err := verify(x509.ExtKeyUsageClientAuth, ""); err != nil {
				t.Errorf("as client: %v", err)
			}
			// Only a member is a server: a stolen detector's certificate must not make one.
			if err := verify(x509.ExtKeyUsageServerAuth, ""); (err == nil) != (role == auth.Member) {
				t.Errorf("as server: %v", err)
			}
			for _, h := range hosts {
				if err := verify(x509.ExtKeyUsageServerAuth, h); err != nil {
					t.Errorf("as %s: %v", h, err)
				}
			}
			if cert.IsCA || cert.NotAfter.After(ca.Cert.NotAfter) || cert.NotBefore.After(time.Now()) {
				t.Errorf("CA %v, %v to %v", cert.IsCA, cert.NotBefore, cert.NotAfter)
			}
		})
	}
}

func TestIssueRefuses(t *testing.T) {
	ca := newCA(t)
	for _, row := range []struct {
		name  string
		role  auth.Role
		who   string
		hosts []string
	}{
		{"unknown role", "god", "x", nil},
		{"empty name", auth.Operator, "", nil},
		{"name with a slash", auth.Operator, "a/b", nil},
		{"member without hosts", auth.Member, "n1", nil},
		{"operator with hosts", auth.Operator, "x", []string{"127.0.0.1"}},
		{"host with a port", auth.Member, "n1", []string{"127.0.0.1:7400"}},
		{"empty host", auth.Member, "n1", []string{""}},
		{"every address", auth.Member, "n1", []string{"0.0.0.0"}},
		{"wildcard", auth.Member, "n1", []string{"*.example"}},
		{"URL", auth.Member, "n1", []string{"https://n1.example"}},
		{"zone", auth.Member, "n1", []string{"fe80::1%eth0"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			if b, err := ca.Issue(row.role, row.who, row.hosts...); err == nil {
				t.Errorf("issued %s", b.Cert)
			}
		})
	}
	if _, err := pki.NewCA("a b"); err == nil {
		t.Error("an authority for a strange cluster name")
	}
}

func TestWrite(t *testing.T) {
	ca := newCA(t)
	dir := filepath.Join(t.TempDir(), "tls")
	b, err := ca.Issue(auth.Operator, "alice")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Write(dir, false); err != nil {
		t.Fatal(err)
	}
	modes := func() map[string]string {
		t.Helper()
		out := make(map[string]string)
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil {
				t.Fatal(err)
			}
			out[e.Name()] = info.Mode().String()
		}
		return out
	}
	want := map[string]string{"ca.pem": "-rw-r--r--", "cert.pem": "-rw-r--r--", "key.pem": "-rw-------"}
	if diff := cmp.Diff(want, modes()); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	other, err := ca.Issue(auth.Operator, "bob")
	if err != nil {
		t.Fatal(err)
	}
	// Nothing is written when one file is in the way, whichever it is.
	for _, name := range []string{"key.pem", "cert.pem"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		before := modes()
		if err := other.Write(dir, false); !errors.Is(err, pki.ErrExists) {
			t.Errorf("without %s: %v", name, err)
		}
		if diff := cmp.Diff(before, modes()); diff != "" {
			t.Errorf("without %s, files (-want +got):\n%s", name, diff)
		}
	}
	if err := other.Write(dir, true); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, modes()); diff != "" {
		t.Errorf("overwritten files (-want +got):\n%s", diff)
	}
	if id, _, err := auth.FilesIn(dir).Identity(); err != nil || id.Name != "bob" {
		t.Errorf("after overwriting: %v, %v", id, err)
	}
}

// An authority that was written and read again issues certificates that the first one's verify.
func TestReadCA(t *testing.T) {
	ca := newCA(t)
	dir := t.TempDir()
	if err := ca.Write(dir, false); err != nil {
		t.Fatal(err)
	}
	again, err := pki.ReadCA(dir)
	if err != nil || again.Cluster != "lab" {
		t.Fatalf("ReadCA() = %v, %v", again, err)
	}
	b, err := again.Issue(auth.Viewer, "v")
	if err != nil {
		t.Fatal(err)
	}
	if err := parse(t, b.Cert).CheckSignatureFrom(ca.Cert); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(filepath.Join(dir, pki.CAKeyFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key: %v, %v", info, err)
	}
	if err := newCA(t).Write(dir, false); !errors.Is(err, pki.ErrExists) {
		t.Errorf("over another authority: %v", err)
	}
	cert, _, err := ca.PEM()
	if err != nil {
		t.Fatal(err)
	}
	_, key, err := newCA(t).PEM()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pki.ParseCA(cert, key); err == nil || !strings.Contains(err.Error(), "does not belong") {
		t.Errorf("key of another authority: %v", err)
	}
	if _, err := pki.ParseCA([]byte("x"), key); err == nil {
		t.Error("no certificate was read")
	}
}

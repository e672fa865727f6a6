package auth_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/api/auth/pki"
)

func mustCA(t *testing.T) *pki.CA {
	t.Helper()
	ca, err := pki.NewCA("lab")
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// write puts the files of a member into dir, over those that are there.
func write(t *testing.T, dir string, ca *pki.CA, name string, hosts ...string) {
	t.Helper()
	b, err := ca.Issue(auth.Member, name, hosts...)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Write(dir, true); err != nil {
		t.Fatal(err)
	}
}

func clientOf(t *testing.T, ca *pki.CA, role auth.Role, name string, hosts ...string) *tls.Config {
	t.Helper()
	cfg, _, _, err := auth.ClientTLS(files(t, ca, role, name, hosts...))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// TestKeysRotate replaces a node's authority and certificate under it: new handshakes use the new ones, on every
// listener and on the way to other nodes, and files that do not fit together change nothing.
func TestKeysRotate(t *testing.T) {
	before, after := mustCA(t), mustCA(t)
	dir := filepath.Join(t.TempDir(), "n1")
	write(t, dir, before, "n1", "127.0.0.1")
	var log bytes.Buffer
	k, err := auth.LoadKeys(auth.FilesIn(dir), "lab", "n1", slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	listeners := map[string]*tls.Config{"api": k.Server(), "rest": k.Gateway(), "raft": k.Raft()}
	works := func(ca *pki.CA, want bool) {
		t.Helper()
		for name, server := range listeners {
			client := clientOf(t, ca, auth.Member, "n2", "127.0.0.1")
			if s, c := handshake(t, server, client); (s == nil && c == nil) != want {
				t.Errorf("%s: handshake under this authority: %v, %v; want %t", name, s, c, want)
			}
		}
		other, _, err := auth.MemberTLS(files(t, ca, auth.Member, "n2", "127.0.0.1"), "lab")
		if err != nil {
			t.Fatal(err)
		}
		if s, c := handshake(t, other, k.Client()); (s == nil && c == nil) != want {
			t.Errorf("as client under this authority: %v, %v; want %t", s, c, want)
		}
	}
	works(before, true)
	works(after, false)
	if k.Look() {
		t.Error("the same files were taken for new ones")
	}
	broken := func(name, want string, spoil func()) {
		t.Helper()
		spoil()
		log.Reset()
		for range 2 {
			if k.Look() {
				t.Errorf("%s: was taken", name)
			}
		}
		if !strings.Contains(k.Problem(), want) || strings.Count(log.String(), "level=ERROR") != 1 {
			t.Errorf("%s: problem %q, want %q; log %s", name, k.Problem(), want, log.String())
		}
		works(before, true)
	}
	spare := filepath.Join(t.TempDir(), "spare")
	write(t, spare, after, "n1", "127.0.0.1")
	replace := func(name string) {
		data, err := os.ReadFile(filepath.Join(spare, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	broken("a certificate before its key", "private key does not match", func() { replace(auth.CertFile) })
	broken("half a file", "cannot load certificate", func() {
		if err := os.WriteFile(filepath.Join(dir, auth.KeyFile), []byte("-----BEGIN"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	broken("no file", "cannot read", func() {
		if err := os.Remove(filepath.Join(dir, auth.KeyFile)); err != nil {
			t.Fatal(err)
		}
	})
	broken("somebody else's", "this node is", func() { write(t, dir, after, "n3", "127.0.0.1") })
	for _, name := range []string{auth.CAFile, auth.CertFile, auth.KeyFile} {
		replace(name)
	}
	if !k.Look() || k.Problem() != "" {
		t.Fatalf("the new files were not taken: %s", k.Problem())
	}
	works(after, true)
	works(before, false)
}

// TestKeysRun: files are looked at every few seconds, at once on a signal, and a certificate that ends soon is warned of
// once a day.
func TestKeysRun(t *testing.T) {
	old, fresh := mustCA(t), mustCA(t)
	dir := filepath.Join(t.TempDir(), "n1")
	write(t, dir, old, "n1", "127.0.0.1")
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		k, err := auth.LoadKeys(auth.FilesIn(dir), "lab", "n1", slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done, reload := make(chan error, 1), make(chan os.Signal)
		start := time.Now()
		base := k.Expires().Add(-13 * 24 * time.Hour)
		go func() { done <- k.Run(ctx, reload, func() time.Time { return base.Add(time.Since(start)) }) }()
		time.Sleep(50 * time.Hour)
		synctest.Wait()
		if n := strings.Count(log.String(), "ends soon"); n != 3 {
			t.Errorf("warned %d times in 50 hours, want 3", n)
		}
		count := func() int { return strings.Count(log.String(), "new certificate files are used") }
		write(t, dir, fresh, "n1", "127.0.0.1")
		time.Sleep(auth.LookEvery)
		synctest.Wait()
		if count() != 1 {
			t.Error("new files were not taken up by themselves")
		}
		write(t, dir, fresh, "n1", "127.0.0.1")
		reload <- os.Interrupt
		synctest.Wait()
		if count() != 2 {
			t.Error("new files were not taken up on a signal")
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestTrust: an authority for one kind of caller makes none of another kind, on any listener.
func TestTrust(t *testing.T) {
	cas := map[string]*pki.CA{"members": mustCA(t), "detectors": mustCA(t), "people": mustCA(t)}
	f := files(t, cas["members"], auth.Member, "n1", "127.0.0.1")
	paths := map[string]string{}
	for kind, ca := range cas {
		paths[kind] = filepath.Join(t.TempDir(), kind+".pem")
		cert, _, err := ca.PEM()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(paths[kind], cert, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f.Trust = auth.Trust{Members: paths["members"], Detectors: paths["detectors"], People: paths["people"]}
	k, err := auth.LoadKeys(f, "lab", "n1", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range auth.AllRoles() {
		want := "people"
		switch role {
		case auth.Member:
			want = "members"
		case auth.Detector:
			want = "detectors"
		case auth.Admin, auth.Operator, auth.Viewer, auth.Approver, auth.Customer:
		}
		for kind, ca := range cas {
			var hosts []string
			if role == auth.Member {
				hosts = []string{"127.0.0.1"}
			}
			name := "eve"
			if role == auth.Customer {
				name = "uni-a/eve"
			}
			client := clientOf(t, ca, role, name, hosts...)
			client.RootCAs = k.Client().RootCAs // the node is the same, whoever calls
			for name, server := range map[string]*tls.Config{"api": k.Server(), "rest": k.Gateway()} {
				s, c := handshake(t, server, client)
				if ok := s == nil && c == nil; ok != (kind == want) {
					t.Errorf("%s: %s from the authority for %s: %v, %v", name, role, kind, s, c)
				}
				if kind != want && (s == nil || !strings.Contains(s.Error(), "its authority is not one for certificates of role "+string(role))) {
					t.Errorf("%s: %s from the authority for %s is refused with %v", name, role, kind, s)
				}
			}
			if s, c := handshake(t, k.Raft(), client); (s == nil && c == nil) != (role == auth.Member && kind == "members") {
				t.Errorf("raft: %s from the authority for %s: %v, %v", role, kind, s, c)
			}
		}
	}
	// What a node calls is a member, by the members' authority.
	fake, err := auth.ServerTLS(files(t, cas["people"], auth.Member, "n2", "127.0.0.1"), "lab")
	if err != nil {
		t.Fatal(err)
	}
	if _, c := handshake(t, fake, k.Client()); c == nil {
		t.Error("a server with a certificate of the people's authority was taken for a member")
	}
}

package auth_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/api/auth/pki"
)

func TestFromCertificate(t *testing.T) {
	for _, row := range []struct {
		name string
		uris []string
		want string // identity, or a part of the error
		ok   bool
	}{
		{"operator", []string{"tidegate://lab/operator/alice"}, "operator/alice", true},
		{"another URI beside it", []string{"spiffe://x/y", "tidegate://lab/member/n1"}, "member/n1", true},
		{"none", nil, "has no tidegate://", false},
		{"customer", []string{"tidegate://lab/customer/uni-a/bob"}, "customer/uni-a/bob", true},
		{"customer without a person", []string{"tidegate://lab/customer/uni-a"}, "want customer/CUSTOMER/NAME", false},
		{"customer with a person too many", []string{"tidegate://lab/customer/uni-a/bob/eve"}, "character '/'", false},
		{"operator of a customer", []string{"tidegate://lab/operator/uni-a/bob"}, "character '/'", false},
		{"only another", []string{"spiffe://lab/operator/alice"}, "has no tidegate://", false},
		{"two", []string{"tidegate://lab/operator/alice", "tidegate://lab/admin/alice"}, "more than one", false},
		{"the same twice", []string{"tidegate://lab/operator/alice", "tidegate://lab/operator/alice"}, "more than one", false},
		{"two in different spelling", []string{"tidegate://lab/operator/alice", "TIDEGATE://lab/admin/alice"}, "more than one", false},
		{"other cluster", []string{"tidegate://prod/operator/alice"}, `belongs to cluster "prod"`, false},
		{"unknown role", []string{"tidegate://lab/god/alice"}, `"god" is not a role`, false},
		{"role in capitals", []string{"tidegate://lab/Admin/alice"}, `"Admin" is not a role`, false},
		{"no name", []string{"tidegate://lab/operator"}, "want role/name", false},
		{"empty name", []string{"tidegate://lab/operator/"}, "the name is empty", false},
		{"deeper path", []string{"tidegate://lab/operator/alice/x"}, "character '/'", false},
		{"port", []string{"tidegate://lab:443/operator/alice"}, "not of the form", false},
		{"user", []string{"tidegate://root@lab/operator/alice"}, "not of the form", false},
		{"query", []string{"tidegate://lab/operator/alice?admin=1"}, "not of the form", false},
		{"fragment", []string{"tidegate://lab/operator/alice#x"}, "not of the form", false},
		{"escape", []string{"tidegate://lab/operator/%61lice"}, "not of the form", false},
		{"escaped slash", []string{"tidegate://lab/operator%2Falice"}, "not of the form", false},
		{"opaque", []string{"tidegate:lab/operator/alice"}, "want role/name", false},
		{"no cluster", []string{"tidegate:///operator/alice"}, "not of the form", false},
		{"two slashes", []string{"tidegate://lab//operator/alice"}, `"" is not a role`, false},
		{"long name", []string{"tidegate://lab/operator/" + strings.Repeat("a", 65)}, "65 characters", false},
	} {
		t.Run(row.name, func(t *testing.T) {
			cert := &x509.Certificate{}
			for _, s := range row.uris {
				u, err := url.Parse(s)
				if err != nil {
					t.Fatal(err)
				}
				cert.URIs = append(cert.URIs, u)
			}
			id, err := auth.FromCertificate(cert, "lab")
			if row.ok {
				if err != nil || id.String() != row.want {
					t.Errorf("got %v, %v; want %s", id, err, row.want)
				}
				return
			}
			if !errors.Is(err, auth.ErrIdentity) || !strings.Contains(err.Error(), row.want) || id != (auth.Identity{}) {
				t.Errorf("got %v, %v; want an error with %q", id, err, row.want)
			}
		})
	}
	if _, err := auth.FromCertificate(nil, "lab"); !errors.Is(err, auth.ErrIdentity) {
		t.Errorf("no certificate: %v", err)
	}
}

func FuzzParseIdentity(f *testing.F) {
	f.Add("operator/alice")
	f.Add("member/n-1.example_x")
	f.Add("god/..")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := auth.ParseIdentity(s)
		if err != nil {
			return
		}
		if id.String() != s {
			t.Fatalf("%q was read as %q", s, id)
		}
		u, err := url.Parse(id.URI("lab").String())
		if err != nil {
			t.Fatal(err)
		}
		again, err := auth.FromCertificate(&x509.Certificate{URIs: []*url.URL{u}}, "lab")
		if err != nil || again != id {
			t.Fatalf("%q came back from its URI as %v, %v", s, again, err)
		}
	})
}

// files issues a certificate into a directory of the test.
func files(t *testing.T, ca *pki.CA, role auth.Role, name string, hosts ...string) auth.Files {
	t.Helper()
	b, err := ca.Issue(role, name, hosts...)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "x")
	if err := b.Write(dir, false); err != nil {
		t.Fatal(err)
	}
	return auth.FilesIn(dir)
}

// handshake connects client to server over loopback TCP and returns what each end says.
func handshake(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	done := make(chan error, 1)
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			done <- err
			return
		}
		defer conn.Close()
		s := tls.Server(conn, server)
		err = s.Handshake()
		if err == nil {
			_, err = s.Write([]byte("x"))
		}
		done <- err
	}()
	conn, err := tls.Dial("tcp", ln.Addr().String(), client)
	if err == nil {
		// With TLS 1.3 a client learns that its certificate was refused when it reads.
		_, err = conn.Read(make([]byte, 1))
		conn.Close()
	}
	return <-done, err
}

// Both ends of a connection between nodes demand a member of the cluster.
func TestMemberTLS(t *testing.T) {
	ca, err := pki.NewCA("lab")
	if err != nil {
		t.Fatal(err)
	}
	impostor, err := pki.NewCA("lab")
	if err != nil {
		t.Fatal(err)
	}
	server, client, err := auth.MemberTLS(files(t, ca, auth.Member, "n1", "127.0.0.1"), "lab")
	if err != nil {
		t.Fatal(err)
	}
	if s, c := handshake(t, server, client); s != nil || c != nil {
		t.Fatalf("two members: %v, %v", s, c)
	}
	for _, role := range auth.AllRoles()[1:] {
		name := "eve"
		if role == auth.Customer {
			name = "uni-a/eve"
		}
		cfg, _, _, err := auth.ClientTLS(files(t, ca, role, name))
		if err != nil {
			t.Fatal(err)
		}
		if s, c := handshake(t, server, cfg); s == nil || c == nil || !strings.Contains(s.Error(), "not a member's") {
			t.Errorf("%s as client: %v, %v", role, s, c)
		}
		api, err := auth.ServerTLS(files(t, ca, auth.Member, "n2", "127.0.0.1"), "lab")
		if err != nil {
			t.Fatal(err)
		}
		if s, c := handshake(t, api, cfg); s != nil || c != nil {
			t.Errorf("%s as client of the API: %v, %v", role, s, c)
		}
	}
	stranger, _, _, err := auth.ClientTLS(files(t, impostor, auth.Member, "n1", "127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	if s, _ := handshake(t, server, stranger); s == nil {
		t.Error("a member of another authority was accepted")
	}
	if s, c := handshake(t, server, &tls.Config{RootCAs: client.RootCAs, MinVersion: tls.VersionTLS13}); s == nil || c == nil {
		t.Error("a client without a certificate was accepted")
	}
	old := client.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	if s, _ := handshake(t, server, old); s == nil {
		t.Error("TLS 1.2 was accepted")
	}
	// A server with a certificate of the right authority that is not a member's.
	f := files(t, ca, auth.Operator, "mallory")
	if _, err := auth.ServerTLS(f, "lab"); err == nil || !strings.Contains(err.Error(), "not a member's") {
		t.Errorf("an operator's certificate for a server: %v", err)
	}
	pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		t.Fatal(err)
	}
	fake := server.Clone()
	fake.Certificates = []tls.Certificate{pair}
	skip := client.Clone()
	skip.ServerName = "127.0.0.1"
	if _, c := handshake(t, fake, skip); c == nil {
		t.Error("an operator's certificate was accepted as a server's")
	}
	if s, c := handshake(t, server, auth.ForMember(client, "lab", "n1")); s != nil || c != nil {
		t.Errorf("the member that was called: %v, %v", s, c)
	}
	if _, c := handshake(t, server, auth.ForMember(client, "lab", "n2")); c == nil || !strings.Contains(c.Error(), `member "n2" was called`) {
		t.Errorf("another member than was called: %v", c)
	}
}

func TestFilesRefuse(t *testing.T) {
	ca, err := pki.NewCA("lab")
	if err != nil {
		t.Fatal(err)
	}
	good := files(t, ca, auth.Member, "n1", "127.0.0.1")
	other := files(t, ca, auth.Member, "n2", "127.0.0.1")
	for _, row := range []struct {
		name    string
		files   auth.Files
		cluster string
		want    string
	}{
		{"other cluster", good, "prod", `belongs to cluster "lab"; a node of cluster "prod"`},
		{"missing", auth.FilesIn(t.TempDir()), "lab", "cannot load certificate"},
		{"key of another", auth.Files{CA: good.CA, Cert: good.Cert, Key: other.Key}, "lab", "private key does not match"},
		{"authority missing", auth.Files{CA: good.CA + "x", Cert: good.Cert, Key: good.Key}, "lab", "cannot read authority"},
		{"authority is a key", auth.Files{CA: good.Key, Cert: good.Cert, Key: good.Key}, "lab", "no certificate in PEM form"},
	} {
		t.Run(row.name, func(t *testing.T) {
			if _, err := auth.ServerTLS(row.files, row.cluster); err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("got %v, want %q", err, row.want)
			}
		})
	}
	id, cluster, err := good.Identity()
	if err != nil || id.String() != "member/n1" || cluster != "lab" {
		t.Errorf("Identity() = %v, %q, %v", id, cluster, err)
	}
}

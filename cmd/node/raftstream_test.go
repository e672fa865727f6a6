package node

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/api/auth/pki"
)

// member makes the streams of one node, with the other nodes' raft addresses as given.
func memberStreams(t *testing.T, ca *pki.CA, id string, members ...Member) *streams {
	t.Helper()
	b, err := ca.Issue(auth.Member, id, "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), id)
	if err := b.Write(dir, false); err != nil {
		t.Fatal(err)
	}
	server, client, err := auth.MemberTLS(auth.FilesIn(dir), "demo")
	if err != nil {
		t.Fatal(err)
	}
	return newStreams(Config{Node: id, Cluster: Cluster{Name: "demo", Members: members}}, server, func() *tls.Config { return client })
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestStreams(t *testing.T) {
	ca, err := pki.NewCA("demo")
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t)
	n1 := Member{ID: "n1", Raft: l.Addr().String()}
	server := memberStreams(t, ca, "n1", n1)
	accepted := make(chan error, 1)
	go func() { // Accept waits for the port, then echoes one octet for each caller whom it lets in
		for {
			c, err := server.Accept()
			if err != nil {
				accepted <- err
				return
			}
			_, _ = io.CopyN(c, c, 1) // a stranger's handshake fails here; the caller's side is what is judged
			c.Close()
		}
	}()
	server.open(l)
	if got := server.Addr().String(); got != n1.Raft {
		t.Errorf("address %s, want %s", got, n1.Raft)
	}
	call := func(c net.Conn, err error) error {
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := c.Write([]byte{1}); err != nil {
			return err
		}
		_, err = io.ReadFull(c, make([]byte, 1))
		return err
	}
	operator, err := ca.Issue(auth.Operator, "alice")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(operator.Cert, operator.Key)
	if err != nil {
		t.Fatal(err)
	}
	other, err := pki.NewCA("demo")
	if err != nil {
		t.Fatal(err)
	}
	to := n1.Raft
	rows := []struct {
		name string
		call func() error
		ok   bool
	}{
		{"a member", func() error { return call(memberStreams(t, ca, "n2", n1).Dial(to, time.Minute)) }, true},
		{"a member of another authority", func() error { return call(memberStreams(t, other, "n2", n1).Dial(to, time.Minute)) }, false},
		{"a member that expects another node there", func() error {
			return call(memberStreams(t, ca, "n2", Member{ID: "n3", Raft: n1.Raft}).Dial(to, time.Minute))
		}, false},
		{"an address of nobody", func() error { return call(memberStreams(t, ca, "n2").Dial(to, time.Minute)) }, false},
		{"an operator", func() error {
			cfg := &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13} // the server is not on trial here
			return call(tls.Dial("tcp", n1.Raft, cfg))
		}, false},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			if err := r.call(); (err == nil) != r.ok {
				t.Errorf("got %v, want success: %v", err, r.ok)
			}
		})
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close Accept returned %v, want net.ErrClosed", err)
	}
}

func TestStreamsCloseBeforeOpen(t *testing.T) {
	ca, err := pki.NewCA("demo")
	if err != nil {
		t.Fatal(err)
	}
	s := memberStreams(t, ca, "n1")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v, want net.ErrClosed", err)
	}
}

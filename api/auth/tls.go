package auth

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// The names of the files in a TLS directory.
const (
	CAFile   = "ca.pem"
	CertFile = "cert.pem"
	KeyFile  = "key.pem"
)

// Files are the paths of the PEM files of one identity.
type Files struct {
	CA, Cert, Key string
	Trust         Trust
}

// Trust are the paths of the authorities of each kind of caller; an empty one is Files.CA. With an authority of their own
// for detectors, say, whoever gets hold of that one makes detectors, and neither people nor members.
type Trust struct{ Members, Detectors, People string }

// FilesIn returns the files with their usual names in dir: ca.pem, cert.pem, key.pem.
func FilesIn(dir string) Files {
	return Files{CA: filepath.Join(dir, CAFile), Cert: filepath.Join(dir, CertFile), Key: filepath.Join(dir, KeyFile)}
}

// Load reads the files. It returns the certificate with its leaf parsed, the pool of the authority, and whom the
// certificate names, in which cluster.
func (f Files) Load() (tls.Certificate, *x509.CertPool, Identity, string, error) {
	fail := func(err error) (tls.Certificate, *x509.CertPool, Identity, string, error) {
		return tls.Certificate{}, nil, Identity{}, "", err
	}
	cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	if err != nil {
		return fail(fmt.Errorf("cannot load certificate %q with key %q: %w", f.Cert, f.Key, err))
	}
	if cert.Leaf == nil {
		if cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
			return fail(fmt.Errorf("cannot parse certificate %q: %w", f.Cert, err))
		}
	}
	pem, err := os.ReadFile(f.CA)
	if err != nil {
		return fail(fmt.Errorf("cannot read authority: %w", err))
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return fail(fmt.Errorf("cannot read authority %q: no certificate in PEM form", f.CA))
	}
	id, cluster, err := readCertificate(cert.Leaf)
	if err != nil {
		return fail(fmt.Errorf("%q: %w", f.Cert, err))
	}
	return cert, pool, id, cluster, nil
}

// Identity reads the files and returns whom the certificate names, and in which cluster.
func (f Files) Identity() (Identity, string, error) {
	_, _, id, cluster, err := f.Load()
	return id, cluster, err
}

// errNotMember is the answer to a certificate that is good for something else.
var errNotMember = errors.New("the certificate is not a member's")

// ServerTLS returns the configuration of a node's API listener: TLS 1.3, the node's certificate, and a client
// certificate demanded and verified against the authority of its kind. The certificate must name a member of the
// cluster. Who the client is, the interceptors read from its certificate, so that a wrong one gets an answer in words.
func ServerTLS(f Files, cluster string) (*tls.Config, error) {
	m, err := loadMember(f, cluster)
	if err != nil {
		return nil, err
	}
	return m.server(), nil
}

// ClientTLS returns the configuration of a client of the API, whoever it is: TLS 1.3, its certificate, and a server
// that must show a member's certificate of the client's own cluster. It also returns whom the client's certificate
// names, and in which cluster.
func ClientTLS(f Files) (*tls.Config, Identity, string, error) {
	cert, pool, id, cluster, err := f.Load()
	if err != nil {
		return nil, Identity{}, "", err
	}
	return clientConfig(cert, pool, cluster), id, cluster, nil
}

// MemberTLS returns the configurations of the connections between nodes, for both ends: each end demands a member's
// certificate of the cluster from the other, and closes the connection in the handshake otherwise. The client's
// configuration has no server name: tls.Dial and gRPC fill it in from the address; see also ForMember.
func MemberTLS(f Files, cluster string) (server, client *tls.Config, err error) {
	m, err := loadMember(f, cluster)
	if err != nil {
		return nil, nil, err
	}
	return m.raft(), m.client(), nil
}

// ForMember returns a copy of a client's configuration that only accepts the member of that name: a node that took
// over the address of another is not taken for it.
func ForMember(client *tls.Config, cluster, name string) *tls.Config {
	c := client.Clone()
	c.VerifyConnection = verifyMember(cluster, name)
	return c
}

func clientConfig(cert tls.Certificate, pool *x509.CertPool, cluster string) *tls.Config {
	return &tls.Config{
		MinVersion:       tls.VersionTLS13,
		Certificates:     []tls.Certificate{cert},
		RootCAs:          pool,
		VerifyConnection: verifyMember(cluster, ""),
	}
}

// memberFiles loads the files of a member of the cluster.
func memberFiles(f Files, cluster string) (tls.Certificate, *x509.CertPool, error) {
	cert, pool, id, in, err := f.Load()
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	fix := fmt.Sprintf("a node of cluster %q (the name in the node's file, %q without a cluster section) needs one of member/NAME: tidegate pki issue makes it",
		cluster, "tidegate")
	if in != cluster && id.Role != Member {
		return tls.Certificate{}, nil, fmt.Errorf("cannot use certificate %q of %q in cluster %q: %w, and it belongs to another cluster; %s", f.Cert, id, in, errNotMember, fix)
	}
	if in != cluster {
		return tls.Certificate{}, nil, fmt.Errorf("cannot use certificate %q of %q: it belongs to cluster %q; %s", f.Cert, id, in, fix)
	}
	if id.Role != Member {
		return tls.Certificate{}, nil, fmt.Errorf("cannot use certificate %q of %q: %w; %s", f.Cert, id, errNotMember, fix)
	}
	return cert, pool, nil
}

// verifyMember refuses a peer that is not a member of the cluster or, with a name, not that member. It comes after
// the usual verification of chain and host name and replaces none of it.
func verifyMember(cluster, name string) func(tls.ConnectionState) error {
	return func(cs tls.ConnectionState) error {
		if len(cs.VerifiedChains) == 0 {
			return fmt.Errorf("cannot accept peer: %w: its certificate was not verified", ErrIdentity)
		}
		id, err := FromCertificate(cs.VerifiedChains[0][0], cluster)
		if err != nil {
			return fmt.Errorf("cannot accept peer: %w", err)
		}
		if id.Role != Member {
			return fmt.Errorf("cannot accept peer %q: %w", id, errNotMember)
		}
		if name != "" && id.Name != name {
			return fmt.Errorf("cannot accept peer %q: member %q was called", id, name)
		}
		return nil
	}
}

// GatewayTLS is ServerTLS for the listener of the REST gateway, where a client certificate may be missing: a webhook's
// source may prove itself by a secret instead, and somebody without either gets an answer in words. A certificate that
// is shown is verified all the same.
func GatewayTLS(f Files, cluster string) (*tls.Config, error) {
	m, err := loadMember(f, cluster)
	if err != nil {
		return nil, err
	}
	return m.gateway(), nil
}

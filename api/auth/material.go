package auth

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// material is what a node's files hold, as it was when they were read.
type material struct {
	cluster                    string
	cert                       tls.Certificate
	id                         Identity
	members, detectors, people *x509.CertPool
	all                        *x509.CertPool
	apart                      bool // the kinds have authorities of their own
}

// loadMember reads the files of a member of the cluster.
func loadMember(f Files, cluster string) (*material, error) {
	if f.Trust.Members != "" {
		f.CA = f.Trust.Members // what nodes verify one another against
	}
	cert, members, err := memberFiles(f, cluster)
	if err != nil {
		return nil, err
	}
	id, _, err := readCertificate(cert.Leaf)
	if err != nil {
		return nil, err
	}
	m := &material{cluster: cluster, cert: cert, id: id, members: members, apart: f.Trust != Trust{}, all: x509.NewCertPool()}
	if err := addAuthority(m.all, f.CA); err != nil {
		return nil, err
	}
	for _, k := range []struct {
		path string
		pool **x509.CertPool
	}{{f.Trust.Detectors, &m.detectors}, {f.Trust.People, &m.people}} {
		if k.path == "" {
			k.path = f.CA
		}
		*k.pool = x509.NewCertPool()
		if err := addAuthority(*k.pool, k.path); err != nil {
			return nil, err
		}
		if err := addAuthority(m.all, k.path); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// poolOf reads the authority in a file.
func poolOf(path string) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	return pool, addAuthority(pool, path)
}

func addAuthority(pool *x509.CertPool, path string) error {
	pem, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("cannot read authority: %w", err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("cannot read authority %q: no certificate in PEM form", path)
	}
	return nil
}

// trusted is the authorities that a role's certificate may come from.
func (m *material) trusted(r Role) *x509.CertPool {
	switch r {
	case Member:
		return m.members
	case Detector:
		return m.detectors
	default:
		return m.people
	}
}

func (m *material) server() *tls.Config {
	return &tls.Config{
		MinVersion:       tls.VersionTLS13,
		Certificates:     []tls.Certificate{m.cert},
		ClientAuth:       tls.RequireAndVerifyClientCert,
		ClientCAs:        m.all,
		VerifyConnection: m.verifyKind,
		// A resumed session would live on with a certificate and an authority that are trusted no more.
		SessionTicketsDisabled: true,
	}
}

// open is server for callers who may show a token in place of a certificate.
func (m *material) open() *tls.Config {
	c := m.server()
	c.ClientAuth = tls.VerifyClientCertIfGiven
	return c
}

func (m *material) gateway() *tls.Config {
	c := m.server()
	c.ClientAuth = tls.VerifyClientCertIfGiven
	c.NextProtos = []string{"h2", "http/1.1"}
	return c
}

func (m *material) raft() *tls.Config {
	c := m.server()
	c.ClientCAs, c.VerifyConnection = m.members, verifyMember(m.cluster, "")
	return c
}

func (m *material) client() *tls.Config { return clientConfig(m.cert, m.members, m.cluster) }

// verifyKind refuses a client whose certificate names a role that its authority may not give. It comes after the
// usual verification and replaces none of it; who cannot be told from the certificate, nobody takes for anybody later.
func (m *material) verifyKind(cs tls.ConnectionState) error {
	if !m.apart || len(cs.VerifiedChains) == 0 {
		return nil
	}
	id, err := FromCertificate(cs.VerifiedChains[0][0], m.cluster)
	if err != nil {
		return nil //nolint:nilerr // the interceptors say it in words
	}
	opts := x509.VerifyOptions{Roots: m.trusted(id.Role), Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, c := range cs.PeerCertificates[1:] {
		opts.Intermediates.AddCert(c)
	}
	if _, err := cs.PeerCertificates[0].Verify(opts); err != nil {
		return fmt.Errorf("cannot accept %s: its authority is not one for certificates of role %s: %w", id, id.Role, err)
	}
	return nil
}

// Package pki makes the certificates that tidegate's identities live in: an authority per cluster, and certificates
// of its members, people and detectors. It owns the form of a certificate and of the directory it is kept in, and no
// more: there is no revocation, no renewal and no store. An operator who has an authority of their own issues
// certificates with the same URI and does not need this package.
//
// Callers are `tidegate pki`, a single node at its first start, the demo, and tests.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/tidegate/tidegate/api/auth"
)

// How long certificates are good for.
const (
	CALifetime   = 10 * 365 * 24 * time.Hour
	LeafLifetime = 2 * 365 * 24 * time.Hour
)

// clockSkew is how far back certificates begin, so that a machine whose clock is behind accepts them.
const clockSkew = time.Hour

// CA is the authority of one cluster, with its key.
type CA struct {
	Cluster string
	Cert    *x509.Certificate
	key     *ecdsa.PrivateKey
}

// Bundle is one identity's certificate with its key and the authority, in PEM form.
type Bundle struct {
	CA, Cert, Key []byte
}

// NewCA makes an authority for the cluster: ECDSA P-256, for no other authority below it.
func NewCA(cluster string) (*CA, error) {
	if err := auth.CheckName(cluster); err != nil {
		return nil, fmt.Errorf("cannot make an authority for cluster %q: %w", cluster, err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("cannot make a key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	tmpl := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "tidegate " + cluster, Organization: []string{"tidegate"}},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(CALifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("cannot make the authority's certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("cannot parse the authority's certificate: %w", err)
	}
	return &CA{Cluster: cluster, Cert: cert, key: key}, nil
}

// Issue makes a certificate for role/name. Hosts are the addresses and DNS names that a member is called at; a
// member needs at least one, others have none.
func (ca *CA) Issue(role auth.Role, name string, hosts ...string) (*Bundle, error) {
	id, err := auth.ParseIdentity(string(role) + "/" + name)
	if err != nil {
		return nil, fmt.Errorf("cannot issue a certificate: %w", err)
	}
	if (role == auth.Member) != (len(hosts) > 0) {
		return nil, fmt.Errorf("cannot issue a certificate for %s: a member's needs the addresses it is called at, others have none", id)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("cannot make a key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	tmpl := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: id.String(), Organization: []string{"tidegate"}},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              earlier(now.Add(LeafLifetime), ca.Cert.NotAfter),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		URIs:                  []*url.URL{id.URI(ca.Cluster)},
	}
	if role == auth.Member {
		tmpl.ExtKeyUsage = append(tmpl.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	for _, h := range hosts {
		if err := addHost(tmpl, h); err != nil {
			return nil, fmt.Errorf("cannot issue a certificate for %s: %w", id, err)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca.Cert, &key.PublicKey, ca.key)
	if err != nil {
		return nil, fmt.Errorf("cannot make the certificate of %s: %w", id, err)
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	return &Bundle{CA: encodeCert(ca.Cert.Raw), Cert: encodeCert(der), Key: keyPEM}, nil
}

// addHost adds an address or a DNS name.
func addHost(tmpl *x509.Certificate, h string) error {
	if a, err := netip.ParseAddr(h); err == nil {
		if a.Zone() != "" || a.IsUnspecified() {
			return fmt.Errorf("nobody is called at address %q", h)
		}
		tmpl.IPAddresses = append(tmpl.IPAddresses, a.Unmap().AsSlice())
		return nil
	}
	if h == "" || len(h) > 253 || strings.ContainsAny(h, ":/*@ \t\n") {
		return fmt.Errorf("%q is neither an address nor a DNS name (no port)", h)
	}
	tmpl.DNSNames = append(tmpl.DNSNames, h)
	return nil
}

// PEM returns the authority's certificate and key in PEM form.
func (ca *CA) PEM() (cert, key []byte, err error) {
	key, err = encodeKey(ca.key)
	return encodeCert(ca.Cert.Raw), key, err
}

// ParseCA reads an authority from the PEM forms of its certificate and key. The cluster is read from the subject that
// NewCA writes.
func ParseCA(certPEM, keyPEM []byte) (*CA, error) {
	block, _ := pem.Decode(certPEM)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("cannot read the authority: no certificate in PEM form")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("cannot parse the authority's certificate: %w", err)
	}
	block, _ = pem.Decode(keyPEM)
	if block == nil {
		return nil, errors.New("cannot read the authority: no key in PEM form")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("cannot parse the authority's key: %w", err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("cannot use the authority: the key does not belong to the certificate")
	}
	cluster, ok := strings.CutPrefix(cert.Subject.CommonName, "tidegate ")
	if !ok || !cert.IsCA || auth.CheckName(cluster) != nil {
		return nil, fmt.Errorf("cannot use the authority: certificate of %q was not made by tidegate pki", cert.Subject.CommonName)
	}
	return &CA{Cluster: cluster, Cert: cert, key: key}, nil
}

func newSerial() (*big.Int, error) {
	// 127 bits: positive and within the 20 octets of RFC 5280 section 4.1.2.2.
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("cannot draw a serial number: %w", err)
	}
	return n.Add(n, big.NewInt(1)), nil
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("cannot encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

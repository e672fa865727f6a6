package auth

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/credentials"
)

// LookEvery is how often Keys looks whether its files changed.
const LookEvery = 5 * time.Second

// ExpiryWarning is how long before its end a certificate is warned of.
const ExpiryWarning = 14 * 24 * time.Hour

// Keys are a node's certificate, key and authorities, read again when the files change: whoever connects afterwards meets
// the new ones, connections that stand are left alone. Files that do not fit together (a certificate that was replaced
// before its key, say) leave the old ones in place.
type Keys struct {
	files   Files
	cluster string
	name    string
	log     *slog.Logger

	now     atomic.Pointer[material]
	problem atomic.Pointer[string]

	// seen is the digest of what was read last. It belongs to whoever calls Look.
	seen   [32]byte
	warned time.Time
}

// LoadKeys reads the files of the member of that name.
func LoadKeys(f Files, cluster, name string, log *slog.Logger) (*Keys, error) {
	k := &Keys{files: f, cluster: cluster, name: name, log: log}
	seen, unread := k.digest() // before the load: what changes in between is looked at again
	m, err := k.load()
	if err = cmp.Or(err, unread); err != nil {
		return nil, err
	}
	k.seen = seen
	k.now.Store(m)
	return k, nil
}

func (k *Keys) load() (*material, error) {
	m, err := loadMember(k.files, k.cluster)
	if err == nil && m.id.Name != k.name {
		err = fmt.Errorf("certificate %q names %s, and this node is %q", k.files.Cert, m.id, k.name)
	}
	return m, err
}

// digest is of all that the files hold.
func (k *Keys) digest() ([32]byte, error) {
	h := sha256.New()
	for _, name := range []string{k.files.CA, k.files.Cert, k.files.Key, k.files.Trust.Members, k.files.Trust.Detectors, k.files.Trust.People} {
		if name == "" {
			continue
		}
		f, err := os.Open(name)
		if err != nil {
			return [32]byte{}, fmt.Errorf("cannot read %q: %w", name, errors.Unwrap(err))
		}
		n, err := io.Copy(h, f)
		if err = errors.Join(err, f.Close()); err != nil {
			return [32]byte{}, fmt.Errorf("cannot read %q: %w", name, err)
		}
		fmt.Fprintf(h, "\n%d octets\n", n)
	}
	return [32]byte(h.Sum(nil)), nil
}

// Look reads the files again if they changed, and reports whether they are used now.
func (k *Keys) Look() bool {
	seen, err := k.digest()
	if err == nil && seen == k.seen {
		return false
	}
	var m *material
	if err == nil {
		k.seen = seen
		m, err = k.load()
	}
	if err != nil {
		text := err.Error()
		if old := k.problem.Swap(&text); old == nil || *old != text {
			k.log.Error("the certificate files changed and cannot be used; the node goes on with those it has",
				"error", err, "good_until", k.Expires().UTC().Format(time.RFC3339))
		}
		return false
	}
	k.now.Store(m)
	k.problem.Store(nil)
	k.log.Info("new certificate files are used from now on", "identity", m.id.String(), "good_until", m.cert.Leaf.NotAfter.UTC().Format(time.RFC3339))
	return true
}

// Run looks at the files every LookEvery, and at once for each value of reload, until ctx ends. It warns once a day of
// a certificate that ends soon; now is the wall clock.
func (k *Keys) Run(ctx context.Context, reload <-chan os.Signal, now func() time.Time) error {
	t := time.NewTicker(LookEvery)
	defer t.Stop()
	for {
		k.Look()
		if left := k.Expires().Sub(now()); left < ExpiryWarning && now().Sub(k.warned) >= 24*time.Hour {
			k.warned = now()
			k.log.Warn("the node's certificate ends soon; put a new one into its files, the node takes it up without a restart",
				"file", k.files.Cert, "good_until", k.Expires().UTC().Format(time.RFC3339), "left", left.Round(time.Minute).String())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-reload:
		case <-t.C:
		}
	}
}

// Expires returns when the certificate that is used ends.
func (k *Keys) Expires() time.Time { return k.now.Load().cert.Leaf.NotAfter }

// Problem says why the files as they are now are not used; empty: they are.
func (k *Keys) Problem() string {
	if p := k.problem.Load(); p != nil {
		return *p
	}
	return ""
}

// Server is ServerTLS with the keys of each moment.
func (k *Keys) Server() *tls.Config { return k.each((*material).server) }

// ServerWith is Server that lets callers in without a certificate while there are tokens, by which they may be known.
func (k *Keys) ServerWith(tokens func() bool) *tls.Config {
	return k.each(func(m *material) *tls.Config {
		if tokens() {
			return m.open()
		}
		return m.server()
	})
}

// Gateway is GatewayTLS with the keys of each moment.
func (k *Keys) Gateway() *tls.Config { return k.each((*material).gateway) }

// Raft is the server's part of MemberTLS with the keys of each moment.
func (k *Keys) Raft() *tls.Config { return k.each((*material).raft) }

// Client is the client's part of MemberTLS at this moment: ask again for each connection.
func (k *Keys) Client() *tls.Config { return k.now.Load().client() }

// each returns a configuration that makes f's of each handshake.
func (k *Keys) each(f func(*material) *tls.Config) *tls.Config {
	c := f(k.now.Load())
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return f(k.now.Load()), nil }
	return c
}

// Renewing returns client credentials for gRPC that ask for the configuration at each connection.
func Renewing(config func() *tls.Config) credentials.TransportCredentials {
	return &renewing{TransportCredentials: credentials.NewTLS(config()), config: config}
}

type renewing struct {
	credentials.TransportCredentials
	config func() *tls.Config
}

// ClientHandshake implements credentials.TransportCredentials.
func (r *renewing) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return credentials.NewTLS(r.config()).ClientHandshake(ctx, authority, raw)
}

// Clone implements credentials.TransportCredentials.
func (r *renewing) Clone() credentials.TransportCredentials { return Renewing(r.config) }

package node

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"

	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/api/auth/pki"
)

// OwnPKI is where a single node without certificates keeps its own authority, and the directories of the identities
// that it makes at its first start.
type OwnPKI struct{ Authority, Node, Admin, Operator, Detector string }

// OwnPKI returns the directories; they need not exist yet.
func (c Config) OwnPKI() OwnPKI {
	dir := filepath.Join(c.DataDir, "pki")
	return OwnPKI{
		Authority: filepath.Join(dir, "authority"), Node: filepath.Join(dir, "node"), Admin: filepath.Join(dir, "admin"),
		Operator: filepath.Join(dir, "operator"), Detector: filepath.Join(dir, "detector"),
	}
}

// ownsPKI reports whether the node makes its own certificates.
func (c Config) ownsPKI() bool { return c.TLS == (TLSFiles{}) }

// MakesPKI reports whether the node's next start makes the certificates of a first operator: it has none of its own yet,
// and no others are named.
func (c Config) MakesPKI() bool {
	_, err := os.Stat(auth.FilesIn(c.OwnPKI().Admin).Cert)
	return c.ownsPKI() && len(c.Cluster.Members) == 0 && errors.Is(err, fs.ErrNotExist)
}

// files are the node's certificate files.
func (c Config) files() auth.Files {
	if c.ownsPKI() {
		return auth.FilesIn(c.OwnPKI().Node)
	}
	return auth.Files{CA: c.TLS.CA, Cert: c.TLS.Cert, Key: c.TLS.Key, Trust: c.TLS.Trust}
}

// makePKI makes what is missing of a single node's own authority and certificates. What exists is never overwritten.
func makePKI(cfg Config, log *slog.Logger) error {
	dirs := cfg.OwnPKI()
	ca, err := pki.ReadCA(dirs.Authority)
	if errors.Is(err, fs.ErrNotExist) {
		if ca, err = pki.NewCA(cfg.Cluster.Name); err == nil {
			err = ca.Write(dirs.Authority, false)
		}
		log.Info("made an authority of this node's own", "directory", dirs.Authority)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrTLS, err)
	}
	for _, id := range []struct {
		dir   string
		role  auth.Role
		name  string
		hosts []string
	}{
		{dirs.Node, auth.Member, cfg.Node, ownHosts(cfg.API)},
		{dirs.Admin, auth.Admin, "admin", nil},
		{dirs.Operator, auth.Operator, "operator", nil},
		{dirs.Detector, auth.Detector, "detector", nil},
	} {
		if _, err := os.Stat(auth.FilesIn(id.dir).Cert); err == nil {
			continue
		}
		b, err := ca.Issue(id.role, id.name, id.hosts...)
		if err == nil {
			err = b.Write(id.dir, true) // a half-written directory of a first start that was cut short
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrTLS, err)
		}
	}
	log.Info("certificates of this node's own authority: use one as --tls-dir",
		"admin", dirs.Admin, "operator", dirs.Operator, "detector", dirs.Detector)
	return nil
}

// ownHosts are the names under which clients may call a single node.
func ownHosts(api string) []string {
	hosts := []string{"127.0.0.1", "::1", "localhost"}
	add := func(h string) {
		if h != "" && h != "0.0.0.0" && h != "::" && !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
	}
	if host, _, err := net.SplitHostPort(api); err == nil {
		add(host)
	}
	if name, err := os.Hostname(); err == nil {
		add(name)
	}
	return hosts
}

// loadKeys reads the node's certificates.
func loadKeys(cfg Config, log *slog.Logger) (*auth.Keys, error) {
	k, err := auth.LoadKeys(cfg.files(), cfg.Cluster.Name, cfg.Node, log)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTLS, err)
	}
	return k, nil
}

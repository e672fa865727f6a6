package node

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/api/webhook"
	"github.com/tidegate/tidegate/bgp/remote"
)

// Grade says how a finding is meant.
type Grade string

// The grades of a finding.
const (
	Good    Grade = "ok"
	Caution Grade = "caution" // the node would start
	Bad     Grade = "bad"     // the node would not start, or not work
)

// Finding is one thing that Check looked at.
type Finding struct {
	Grade Grade  `json:"grade"`
	What  string `json:"what"`
	Text  string `json:"text"`
}

// certificateWarning is how long before its end a certificate is a caution.
const certificateWarning = 30 * 24 * time.Hour

// Check looks at everything that a node's file names, on this machine, without starting anything: certificates, data
// directory, addresses, secrets. It opens ports for a moment and writes nothing that stays.
func Check(cfg Config, now time.Time) []Finding {
	c := &checker{cfg: cfg, now: now}
	c.identity()
	c.certificates()
	c.dataDir()
	c.addresses()
	c.bgp()
	c.speaker()
	c.secrets()
	c.webhooks()
	return c.out
}

type checker struct {
	cfg Config
	now time.Time
	out []Finding
}

func (c *checker) add(g Grade, what, format string, args ...any) {
	c.out = append(c.out, Finding{Grade: g, What: what, Text: fmt.Sprintf(format, args...)})
}

func (c *checker) identity() {
	if len(c.cfg.Cluster.Members) == 0 {
		c.add(Good, "node", "%s, alone", c.cfg.Node)
		return
	}
	var others []string
	for _, m := range c.cfg.Cluster.Members {
		if m.ID != c.cfg.Node {
			others = append(others, m.ID)
			continue
		}
		if !sameOrWildcard(c.cfg.Cluster.Raft, m.Raft) {
			c.add(Caution, "cluster.raft", "listens on %s, and the others call %s", c.cfg.Cluster.Raft, m.Raft)
		}
		if !sameOrWildcard(c.cfg.API, m.API) {
			c.add(Caution, "api", "listens on %s, and the others call %s", c.cfg.API, m.API)
		}
	}
	if len(others) == 0 {
		c.add(Good, "node", "%s of cluster %s, the only member", c.cfg.Node, c.cfg.Cluster.Name)
		return
	}
	c.add(Good, "node", "%s of cluster %s, with %s", c.cfg.Node, c.cfg.Cluster.Name, strings.Join(others, ", "))
	if n := len(c.cfg.Cluster.Members); n%2 == 0 {
		c.add(Caution, "cluster.members", "%d members bear the loss of no more nodes than %d do", n, n-1)
	}
}

// sameOrWildcard reports whether what is listened on is what others call, as far as can be seen from here.
func sameOrWildcard(listen, called string) bool {
	lh, lp, _ := net.SplitHostPort(listen)
	ch, cp, _ := net.SplitHostPort(called)
	if a, err := netip.ParseAddr(lh); lh == "" || err == nil && a.IsUnspecified() {
		return lp == cp
	}
	return lh == ch && lp == cp
}

func (c *checker) certificates() {
	f := c.cfg.files()
	if c.cfg.ownsPKI() {
		if _, err := os.Stat(f.Cert); err != nil {
			c.add(Good, "tls", "no certificates named: the first start makes them in %s", filepath.Join(c.cfg.DataDir, "pki"))
			return
		}
	}
	if _, err := loadKeys(c.cfg, slog.New(slog.DiscardHandler)); err != nil {
		c.add(Bad, "tls", "%s", err)
		return
	}
	cert, pool, id, _, err := f.Load()
	if err != nil {
		c.add(Bad, "tls", "%s", err)
		return
	}
	left := cert.Leaf.NotAfter.Sub(c.now)
	switch _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: c.now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); {
	case err != nil:
		c.add(Bad, "tls", "%q is not accepted by the authority %q: %s", f.Cert, f.CA, err)
	case left < certificateWarning:
		c.add(Caution, "tls", "%s, ends on %s", id, cert.Leaf.NotAfter.Format(time.DateOnly))
	default:
		c.add(Good, "tls", "%s, good until %s", id, cert.Leaf.NotAfter.Format(time.DateOnly))
	}
	c.names(cert.Leaf, id)
	if info, err := os.Stat(f.Key); err == nil && info.Mode().Perm()&0o077 != 0 {
		c.add(Caution, "tls.key", "%q can be read by others (mode %o); chmod 600 it", f.Key, info.Mode().Perm())
	}
}

// names checks that the certificate names what the other nodes and the clients call.
func (c *checker) names(cert *x509.Certificate, id auth.Identity) {
	for _, m := range c.cfg.Cluster.Members {
		if m.ID != c.cfg.Node {
			continue
		}
		for _, a := range []string{m.API, m.Raft} {
			host, _, _ := net.SplitHostPort(a)
			if err := cert.VerifyHostname(host); err != nil {
				c.add(Bad, "tls.cert", "the certificate of %s is not good for %q, where the others call it: issue it with --host %s", id, host, host)
			}
		}
	}
}

func (c *checker) dataDir() {
	dir := c.cfg.DataDir
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		parent := dir
		for errors.Is(err, os.ErrNotExist) && parent != filepath.Dir(parent) {
			parent = filepath.Dir(parent)
			_, err = os.Stat(parent)
		}
		if err := writable(parent); err != nil {
			c.add(Bad, "data_dir", "%q does not exist and cannot be made: %s", dir, err)
			return
		}
		c.add(Good, "data_dir", "%s, made at the first start", dir)
	case err != nil:
		c.add(Bad, "data_dir", "%s", err)
	case !info.IsDir():
		c.add(Bad, "data_dir", "%q is not a directory", dir)
	default:
		if err := writable(dir); err != nil {
			c.add(Bad, "data_dir", "cannot write to %q: %s", dir, err)
			return
		}
		c.add(Good, "data_dir", "%s", dir)
	}
}

func writable(dir string) error {
	f, err := os.CreateTemp(dir, ".tidegate-check-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

func (c *checker) addresses() {
	list := []struct{ key, address string }{{"api", c.cfg.API}, {"http", c.cfg.HTTP}}
	if len(c.cfg.Cluster.Members) > 0 {
		list = append(list, struct{ key, address string }{"cluster.raft", c.cfg.Cluster.Raft})
	}
	if c.cfg.REST.Listen != "" {
		list = append(list, struct{ key, address string }{"rest.listen", c.cfg.REST.Listen})
	}
	for _, a := range list {
		l, err := net.Listen("tcp", a.address)
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			c.add(Caution, a.key, "%s is in use: does this node run already?", a.address)
		case err != nil:
			c.add(Bad, a.key, "cannot open %s: %s", a.address, err)
		default:
			_ = l.Close() // it was only opened to see that it opens
			c.add(Good, a.key, "%s", a.address)
		}
	}
}

func (c *checker) bgp() {
	b := c.cfg.BGP
	if b.LocalAddress.IsValid() {
		l, err := net.Listen("tcp", netip.AddrPortFrom(b.LocalAddress, 0).String())
		if err != nil {
			c.add(Bad, "bgp.local_address", "%s is not an address of this machine: %s", b.LocalAddress, err)
			return
		}
		_ = l.Close() // it was only opened to see that it opens
	}
	c.add(Good, "bgp", "AS %d, router id %s", b.ASN, b.RouterID)
}

// speaker checks that the socket can be made where it shall be; the data directory is looked at elsewhere.
func (c *checker) speaker() {
	path := c.cfg.SpeakerSocket()
	if err := remote.CheckPath(path); err != nil {
		c.add(Bad, "speaker.socket", "%s", err)
		return
	}
	if dir := filepath.Dir(path); dir != filepath.Clean(c.cfg.DataDir) {
		if err := writable(dir); err != nil {
			c.add(Bad, "speaker.socket", "cannot write to %q: %s", dir, err)
			return
		}
	}
	c.add(Good, "speaker.socket", "%s", path)
}

func (c *checker) secrets() {
	names := make([]string, 0, len(c.cfg.Secrets))
	for name := range c.cfg.Secrets {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		path := c.cfg.Secrets[name]
		if _, err := readSecretFiles(map[string]string{name: path}); err != nil {
			c.add(Bad, "secrets."+name, "%s", err)
			continue
		}
		if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
			c.add(Caution, "secrets."+name, "%q can be read by others (mode %o); chmod 600 it", path, info.Mode().Perm())
			continue
		}
		c.add(Good, "secrets."+name, "%s", path)
	}
}

// webhooks checks that each secret is one that can be used.
func (c *checker) webhooks() {
	for i, w := range c.cfg.REST.Webhooks {
		what := fmt.Sprintf("rest.webhooks[%d]", i)
		if w.SecretName != "" {
			secrets, err := readSecretFiles(map[string]string{w.SecretName: c.cfg.Secrets[w.SecretName]})
			if err != nil {
				continue // said above
			}
			w.Secret = secrets[w.SecretName]
		}
		if err := webhook.CheckSecret(w.Hook); err != nil {
			c.add(Bad, what, "%s: %s", w.Name, err)
			continue
		}
		c.add(Good, what, "%s, for detector/%s", w.Name, w.Source)
	}
}

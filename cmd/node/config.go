package node

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/remote"
	"github.com/tidegate/tidegate/controller"
)

// Config is a node's own file: its identity, addresses, data directory, certificates and secret files. Everything else
// (customers, protected blocks, routers, policies, safeguards) is replicated and never stands here. Paths are absolute
// or relative to the working directory; ReadConfig makes those of a file relative to that file.
type Config struct {
	Node    string // id, unique in the cluster
	DataDir string
	API     string // host:port of gRPC
	HTTP    string // host:port of /metrics, /readyz and /livez
	REST    REST
	TLS     TLSFiles
	BGP     BGP
	Speaker Speaker
	Secrets map[string]string // name to file
	Cluster Cluster
	Log     Log
	Limits  api.Limits
}

// TLSFiles are PEM files. All empty: the node makes its own authority in DataDir/pki (single nodes only).
type TLSFiles struct {
	CA, Cert, Key string
	Trust         auth.Trust
}

// BGP is this node's end of its BGP sessions.
type BGP struct {
	ASN          flowspec.ASN
	RouterID     netip.Addr // different on each node
	LocalAddress netip.Addr // source of sessions; zero: the kernel chooses
}

// Speaker is how this node's speaker is reached on this machine.
type Speaker struct {
	Socket string // path of the unix socket; empty: in DataDir
	// Process is where the speaker runs. The zero value is InProcess; a file that says nothing means Supervised.
	Process Process
}

// Process is where a node's speaker runs.
type Process string

// The places for a speaker.
const (
	InProcess  Process = ""           // in the node's own process
	Supervised Process = "supervised" // in a process that the node starts, and starts again when it ends
	External   Process = "external"   // in a service of its own, which runs tidegate speaker run
)

// SpeakerSocket is the path of the unix socket at which this node's speaker takes orders.
func (c Config) SpeakerSocket() string {
	if c.Speaker.Socket != "" {
		return c.Speaker.Socket
	}
	return filepath.Join(c.DataDir, remote.SocketName)
}

// setFile is where a speaker in a process of its own keeps what it announces, over its own crash.
func (c Config) setFile() string { return filepath.Join(c.DataDir, "speaker-set") }

// outFile is where the order to stay out is kept.
func (c Config) outFile() string { return filepath.Join(c.DataDir, "speaker-out.json") }

// Cluster is who else belongs to the cluster. No members: a single node.
type Cluster struct {
	Name    string
	Raft    string // host:port this node listens on
	Members []Member
	Timing  controller.Timing
}

// Member is one node as the others reach it.
type Member struct{ ID, Raft, API string }

// Log says what is logged and how.
type Log struct {
	Level  slog.Level
	Format string // text or json
}

// The defaults of a node's file. They bind loopback: opening a port to the network is a decision of the operator.
const (
	DefaultAPI     = "127.0.0.1:7400"
	DefaultHTTP    = "127.0.0.1:7401"
	DefaultREST    = "127.0.0.1:7480" // of a rest section without one
	DefaultCluster = "tidegate"
)

// Single reports whether the node is alone.
func (c Config) Single() bool { return len(c.Cluster.Members) <= 1 }

// ReadConfig reads and checks a node's file. What is wrong comes back as a *ConfigError with a line for each problem.
func ReadConfig(file string) (Config, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return Config{}, fmt.Errorf("cannot read %q: there is no such file", file)
		}
		return Config{}, fmt.Errorf("cannot read %q: %w", file, err)
	}
	dir, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return Config{}, fmt.Errorf("cannot tell where %q lies: %w", file, err)
	}
	return ParseConfig(file, dir, data)
}

// ParseConfig is ReadConfig for data that came from file; relative paths in it are relative to dir.
func ParseConfig(file, dir string, data []byte) (Config, error) {
	r := &reader{file: file}
	top, ok := r.top(data)
	if !ok {
		return Config{}, r.err()
	}
	c := readTop(top, dir)
	if err := r.err(); err != nil {
		return Config{}, err
	}
	return c, nil
}

func readTop(s *section, dir string) Config {
	c := Config{
		Node:    s.name("node"),
		DataDir: within(dir, s.text("data_dir")),
		API:     s.address("api", DefaultAPI),
		HTTP:    s.address("http", DefaultHTTP),
	}
	if c.DataDir == "" {
		s.bad("data_dir", "is missing; write the directory that this node keeps its log in, e.g. /var/lib/tidegate")
	}
	if t, ok := s.sub("tls"); ok {
		c.TLS = readTLS(t, dir)
	}
	if b, ok := s.sub("bgp"); ok {
		c.BGP = readBGP(b)
	} else {
		s.bad("bgp", "is missing; write bgp: {asn: 65001, router_id: 192.0.2.1}")
	}
	c.Secrets = readSecrets(s, dir)
	if cl, ok := s.sub("cluster"); ok {
		c.Cluster = readCluster(cl, c.Node)
	} else {
		c.Cluster = Cluster{Name: DefaultCluster}
	}
	if len(c.Cluster.Members) > 0 && c.TLS == (TLSFiles{}) {
		s.bad("tls", "is missing; a cluster section needs certificates of one authority: make them with `tidegate pki`, or leave out cluster on a single node")
	}
	c.Speaker = readSpeaker(s, dir)
	if err := remote.CheckPath(c.SpeakerSocket()); err != nil && c.DataDir != "" {
		s.bad("speaker", "%s; write a shorter one, e.g. speaker: {socket: /run/tidegate/%s.sock}", err, c.Node)
	}
	c.REST = readREST(s, c.Secrets)
	distinct(s, c)
	c.Log = readLog(s)
	c.Limits = readLimits(s)
	s.done()
	return c
}

func readSpeaker(s *section, dir string) Speaker {
	out := Speaker{Process: Supervised}
	sub, ok := s.sub("speaker")
	if !ok {
		return out
	}
	out.Socket = within(dir, sub.text("socket"))
	switch text := sub.text("process"); text {
	case "", string(Supervised):
	case string(External):
		out.Process = External
	case "in-process":
		out.Process = InProcess
	default:
		sub.bad("process", "%q is not one of supervised, external, in-process", text)
	}
	sub.done()
	return out
}

// distinct reports addresses that stand twice.
func distinct(s *section, c Config) {
	if c.API == c.HTTP && c.API != "" {
		s.bad("http", "is the same address as api, %s", c.API)
	}
	if r := c.REST.Listen; r != "" && (r == c.API || r == c.HTTP) {
		s.bad("rest", "listens on %s, which is the address of api or http", r)
	}
}

func readTLS(s *section, dir string) TLSFiles {
	t := TLSFiles{CA: within(dir, s.text("ca")), Cert: within(dir, s.text("cert")), Key: within(dir, s.text("key"))}
	for _, f := range []struct{ key, value string }{{"ca", t.CA}, {"cert", t.Cert}, {"key", t.Key}} {
		if f.value == "" {
			s.bad(f.key, "is missing; tls needs ca, cert and key, or leave tls out on a single node")
		}
	}
	if sub, ok := s.sub("trust"); ok {
		t.Trust = auth.Trust{
			Members: within(dir, sub.text("members")), Detectors: within(dir, sub.text("detectors")), People: within(dir, sub.text("people")),
		}
		sub.done()
	}
	s.done()
	return t
}

func readBGP(s *section) BGP {
	var b BGP
	switch asn, err := strconv.ParseUint(s.text("asn"), 10, 32); {
	case err != nil || asn == 0:
		s.bad("asn", "must be an autonomous system number from 1 to 4294967295")
	default:
		b.ASN = flowspec.ASN(asn)
	}
	if text := s.text("local_address"); text != "" {
		a, err := netip.ParseAddr(text)
		if err != nil || a.IsUnspecified() || a.IsMulticast() {
			s.bad("local_address", "%q is not an address of this machine", text)
		}
		b.LocalAddress = a
	}
	text := s.text("router_id")
	if text == "" && b.LocalAddress.Is4() {
		text = b.LocalAddress.String()
	}
	id, err := netip.ParseAddr(text)
	if err != nil || !id.Is4() || id.IsUnspecified() {
		s.bad("router_id", "%q is not a usable IPv4 address; a BGP identifier looks like 192.0.2.1 and differs on each node", text)
	}
	b.RouterID = id
	s.done()
	return b
}

func readSecrets(s *section, dir string) map[string]string {
	sub, ok := s.sub("secrets")
	if !ok {
		return nil
	}
	out := map[string]string{}
	for _, name := range sub.rest() {
		path := sub.text(name)
		if path == "" {
			sub.bad(name, "must be the path of a file that holds the secret")
			continue
		}
		out[name] = within(dir, path)
	}
	return out
}

func readCluster(s *section, self string) Cluster {
	c := Cluster{Name: s.name("name"), Raft: s.address("raft", "")}
	profile, ok := s.text("timing"), false
	if c.Timing, ok = controller.TimingProfile(profile); !ok {
		s.bad("timing", "%q is not one of %s, %s", profile, controller.TimingDefault, controller.TimingLAN)
	}
	seen := map[string]string{}
	once := func(m *section, key, value string) {
		if first, twice := seen[key+value]; twice && value != "" {
			m.bad(key, "%q is also that of %s", value, first)
		}
		seen[key+value] = m.path[:len(m.path)-1]
	}
	for _, m := range s.list("members") {
		member := Member{ID: m.name("id"), Raft: m.address("raft", ""), API: m.address("api", "")}
		once(m, "id", member.ID)
		once(m, "raft", member.Raft)
		once(m, "api", member.API)
		m.done()
		c.Members = append(c.Members, member)
	}
	if self != "" && !slices.ContainsFunc(c.Members, func(m Member) bool { return m.ID == self }) {
		s.bad("members", "do not list this node, %q; write every node of the cluster, this one too", self)
	}
	s.done()
	return c
}

// readLimits reads what one caller may ask of this node.
func readLimits(s *section) api.Limits {
	var l api.Limits
	sub, ok := s.sub("limits")
	if !ok {
		return l
	}
	number := func(key string) int {
		text := sub.text(key)
		if text == "" {
			return 0
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1_000_000 {
			sub.bad(key, "%q is not a whole number from 1 to 1000000", text)
		}
		return n
	}
	l.Detectors, l.People, l.Streams = float64(number("detectors")), float64(number("people")), number("streams")
	sub.done()
	return l
}

func readLog(s *section) Log {
	l := Log{Format: "text"}
	sub, ok := s.sub("log")
	if !ok {
		return l
	}
	if text := sub.text("level"); text != "" {
		if err := l.Level.UnmarshalText([]byte(text)); err != nil {
			sub.bad("level", "%q is not one of debug, info, warn, error", text)
		}
	}
	if text := sub.text("format"); text != "" {
		if text != "text" && text != "json" {
			sub.bad("format", "%q is not one of text, json", text)
		}
		l.Format = text
	}
	sub.done()
	return l
}

// name reads a mandatory name that can also stand in a certificate.
func (s *section) name(key string) string {
	text := s.text(key)
	switch {
	case text == "":
		s.bad(key, "is missing")
	default:
		if err := auth.CheckName(text); err != nil {
			s.bad(key, "%q cannot be used: %s", text, err)
		}
	}
	return text
}

// address reads host:port. Without a default the key is mandatory.
func (s *section) address(key, byDefault string) string {
	text := s.text(key)
	if text == "" {
		text = byDefault
	}
	if text == "" {
		s.bad(key, "is missing; write host:port")
		return ""
	}
	if err := checkAddress(text); err != nil {
		s.bad(key, "%s", err)
	}
	return text
}

func checkAddress(text string) error {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return fmt.Errorf("%q is not host:port, e.g. 127.0.0.1:7400 or [::1]:7400", text)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q has no port from 0 to 65535", text)
	} else if n == 0 && host == "" {
		return fmt.Errorf("%q names neither host nor port", text)
	}
	return nil
}

// within makes path relative to dir.
func within(dir, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

package demo

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"text/template"

	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/api/auth/pki"
)

// clusterName is in all certificates of the demo.
const clusterName = "demo"

// nodeASN is the AS of the nodes, routerASN that of the edge router: they speak eBGP.
const (
	nodeASN   = 65001
	routerASN = 65010
)

// member is one node as a child process.
type member struct {
	ID, Host, API, HTTP, Raft string
	RouterID                  string
	file, log                 string

	// mu guards the fields below.
	mu     sync.Mutex
	cmd    *exec.Cmd
	ended  chan struct{} // closed when the process of cmd is gone
	killed bool          // by us
}

// lab is everything on disk: certificates, the nodes' files, data directories and logs.
type lab struct {
	dir        string
	executable string
	members    []*member
	// died is called when a node ends that nobody killed.
	died func(*member)
}

const nodeFile = `# Made by tidegate demo.
node: {{.Self.ID}}
data_dir: {{.Self.ID}}/data
api: {{.Self.API}}
http: {{.Self.HTTP}}
tls: {ca: {{.Self.ID}}/tls/ca.pem, cert: {{.Self.ID}}/tls/cert.pem, key: {{.Self.ID}}/tls/key.pem}
speaker: {process: in-process}
bgp: {asn: {{.ASN}}, router_id: {{.Self.RouterID}}}
cluster:
  name: {{.Cluster}}
  raft: {{.Self.Raft}}
  timing: lan
  members:
{{- range .Members}}
    - {id: {{.ID}}, raft: "{{.Raft}}", api: "{{.API}}"}
{{- end}}
`

// newLab makes three nodes' files and everybody's certificates in a new temporary directory.
func newLab(parent, executable string, died func(*member)) (*lab, error) {
	dir, err := os.MkdirTemp(parent, "tidegate-demo-")
	if err != nil {
		return nil, fmt.Errorf("cannot make a directory for the demo: %w", err)
	}
	l := &lab{dir: dir, executable: executable, died: died}
	if err := l.fill(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return l, nil
}

func (l *lab) fill() error {
	for i := range 3 {
		m := &member{ID: fmt.Sprintf("n%d", i+1), Host: loopback(i), RouterID: fmt.Sprintf("10.0.0.%d", i+1)}
		var err error
		if m.API, m.HTTP, m.Raft, err = threePorts(m.Host); err != nil {
			return err
		}
		m.file, m.log = filepath.Join(l.dir, m.ID+".yaml"), filepath.Join(l.dir, m.ID+".log")
		l.members = append(l.members, m)
	}
	ca, err := pki.NewCA(clusterName)
	if err != nil {
		return err
	}
	tmpl := template.Must(template.New("node").Parse(nodeFile))
	for _, m := range l.members {
		if err := issue(ca, filepath.Join(l.dir, m.ID, "tls"), auth.Member, m.ID, m.Host); err != nil {
			return err
		}
		var b strings.Builder
		err := tmpl.Execute(&b, map[string]any{"Self": m, "Members": l.members, "ASN": nodeASN, "Cluster": clusterName})
		if err == nil {
			err = os.WriteFile(m.file, []byte(b.String()), 0o600)
		}
		if err != nil {
			return fmt.Errorf("cannot write the file of %s: %w", m.ID, err)
		}
	}
	for _, who := range []auth.Role{auth.Admin, auth.Operator, auth.Detector} {
		if err := issue(ca, l.tlsDir(who), who, names(who)); err != nil {
			return err
		}
	}
	return nil
}

// names gives each role a person.
func names(r auth.Role) string {
	switch r {
	case auth.Detector:
		return "flowmon"
	case auth.Operator:
		return "alice"
	default:
		return "root"
	}
}

func issue(ca *pki.CA, dir string, role auth.Role, name string, hosts ...string) error {
	b, err := ca.Issue(role, name, hosts...)
	if err != nil {
		return err
	}
	return b.Write(dir, false)
}

func (l *lab) tlsDir(r auth.Role) string { return filepath.Join(l.dir, string(r)) }

// servers are the API addresses of the nodes.
func (l *lab) servers() []string {
	var out []string
	for _, m := range l.members {
		out = append(out, m.API)
	}
	return out
}

// loopback is an address of the loopback network of the node's own. Where there is only 127.0.0.1, it is that.
func loopback(i int) string {
	host := fmt.Sprintf("127.0.0.%d", 11+i)
	if l, err := net.Listen("tcp", net.JoinHostPort(host, "0")); err == nil {
		_ = l.Close() // it was opened to see that it opens
		return host
	}
	return "127.0.0.1"
}

// threePorts finds three free ports of host. They are closed again for the child; that nobody else takes them
// meanwhile is likely, since connections start from 127.0.0.1 and nothing else uses the address.
func threePorts(host string) (api, http, raft string, err error) {
	var held []net.Listener
	defer func() {
		for _, l := range held {
			_ = l.Close() // see above
		}
	}()
	var out [3]string
	for i := range out {
		l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			return "", "", "", fmt.Errorf("cannot find a free port on %s: %w", host, err)
		}
		held = append(held, l)
		out[i] = l.Addr().String()
	}
	return out[0], out[1], out[2], nil
}

// start runs `tidegate serve` for m. Its output is appended to its log.
func (l *lab) start(m *member) error {
	f, err := os.OpenFile(m.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("cannot open the log of %s: %w", m.ID, err)
	}
	c := exec.Command(l.executable, "serve", "--config", m.file)
	c.Stdout, c.Stderr = f, f
	tie(c)
	err = c.Start()
	if cerr := f.Close(); err == nil {
		err = cerr // the child has its own
	}
	if err != nil {
		return fmt.Errorf("cannot start node %s: %w", m.ID, err)
	}
	ended := make(chan struct{})
	m.mu.Lock()
	m.cmd, m.ended, m.killed = c, ended, false
	m.mu.Unlock()
	go func() {
		_ = c.Wait() // how it ended is in its log; that it ended is what we wait for
		close(ended)
		m.mu.Lock()
		killed := m.killed
		m.mu.Unlock()
		if !killed {
			l.died(m)
		}
	}()
	return nil
}

// kill ends m with SIGKILL and waits until it is gone.
func (m *member) kill() {
	m.mu.Lock()
	c, ended := m.cmd, m.ended
	m.killed = true
	m.mu.Unlock()
	if c == nil {
		return
	}
	_ = c.Process.Kill() // gone already is as good
	<-ended
}

func (l *lab) member(id string) *member {
	for _, m := range l.members {
		if m.ID == id {
			return m
		}
	}
	return nil
}

// close ends all children. With keepLogs the nodes' files and logs stay; everything else goes.
func (l *lab) close(keepLogs bool) error {
	for _, m := range l.members {
		m.kill()
	}
	if !keepLogs {
		return os.RemoveAll(l.dir)
	}
	var errs []error
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() { // keys and data
			errs = append(errs, os.RemoveAll(filepath.Join(l.dir, e.Name())))
		}
	}
	return errors.Join(errs...)
}

// lastWords are the last lines of the log of m.
func (m *member) lastWords(n int) []string {
	b, err := os.ReadFile(m.log)
	if err != nil {
		return []string{err.Error()}
	}
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return lines[max(0, len(lines)-n):]
}

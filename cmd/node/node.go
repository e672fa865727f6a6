// Package node is one tidegate process, wired: the file that configures it, certificates, listeners, and the parts in
// the order in which they start and stop. It owns no behaviour of its own; controller decides and remembers, bgp
// speaks, api answers. `tidegate serve` calls it, and tests that want a whole node in their own process.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/bgp"
	"github.com/tidegate/tidegate/bgp/remote"
	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/controller"
	"github.com/tidegate/tidegate/controller/audit"
)

// Deps is what a node takes from its surroundings.
type Deps struct {
	Logger  *slog.Logger // mandatory
	Version string
	// Reload asks, by SIGHUP, to look at the certificate files at once; they are looked at every few seconds anyway. It may
	// be nil.
	Reload <-chan os.Signal
	// Speaker is the command that runs this node's speaker in a process of its own, for Supervised.
	Speaker []string
	// Listening is called once, from Run, when the ports are open: tests ask for port 0.
	Listening func(Addresses)
}

// Addresses are those that a node really listens on; REST is empty without a gateway.
type Addresses struct{ API, HTTP, REST string }

// Node is one process of tidegate.
type Node struct {
	cfg     Config
	deps    Deps
	log     *slog.Logger
	secrets map[string]string
	ran     atomic.Bool
}

// New checks that the files that cfg names can be read. Nothing runs, and nothing is written.
func New(cfg Config, deps Deps) (*Node, error) {
	if deps.Logger == nil {
		return nil, errors.New("cannot make a node without a logger")
	}
	secrets, err := readSecretFiles(cfg.Secrets)
	if err != nil {
		return nil, err
	}
	if !cfg.ownsPKI() {
		if _, err := loadKeys(cfg, deps.Logger); err != nil {
			return nil, err
		}
	}
	return &Node{cfg: cfg, deps: deps, log: deps.Logger.With("node", cfg.Node), secrets: secrets}, nil
}

// readSecretFiles reads one secret from each file, without the line end that editors put there.
func readSecretFiles(files map[string]string) (map[string]string, error) {
	out := make(map[string]string, len(files))
	for name, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("%w: cannot read secret %q: %w", ErrSecret, name, err)
		}
		secret := strings.TrimRight(string(b), "\r\n")
		if secret == "" {
			return nil, fmt.Errorf("%w: cannot use secret %q: file %q is empty", ErrSecret, name, path)
		}
		out[name] = secret
	}
	return out, nil
}

// secret is the secret of that name, and whether this node's file has it.
func (n *Node) secret(name string) (string, bool) {
	s, ok := n.secrets[name]
	return s, ok
}

// Run works until ctx ends, then stops everything in order; then it returns nil. It returns the first failure
// otherwise. It can be called once.
func (n *Node) Run(ctx context.Context) error {
	if n.ran.Swap(true) {
		return ErrAlreadyRan
	}
	w, err := n.wire()
	if err != nil {
		return err
	}
	parts, err := w.parts()
	if err != nil {
		return errors.Join(err, w.close())
	}
	at := Addresses{API: w.api.Addr().String(), HTTP: w.http.Addr().String(), REST: addressOf(w.restListener)}
	n.log.Info("node starts", "version", n.deps.Version, "api", at.API, "http", at.HTTP, "rest", at.REST, "members", len(w.members))
	if n.deps.Listening != nil {
		n.deps.Listening(at)
	}
	err = runParts(ctx, parts)
	n.log.Info("node stopped")
	return err
}

// wiring is what Run puts together, in the order in which it can fail.
type wiring struct {
	n          *Node
	registry   *prometheus.Registry
	members    []controller.Member
	controller *controller.Controller
	speaker    speaker
	own        *bgp.Speaker  // the speaker, in this process
	proxy      *remote.Proxy // the speaker, in another process; one of the two is nil
	streams    *streams      // nil on a single node
	api, http  net.Listener
	orders     net.Listener // the speaker's socket
	dialer     *api.Dialer
	keys       *auth.Keys

	restListener net.Listener // nil without a gateway
}

// wire makes speaker and controller; the controller locks the data directory, before anything is written there and
// before a port is opened.
func (n *Node) wire() (*wiring, error) {
	elapsed, err := newElapsed()
	if err != nil {
		return nil, err
	}
	w := &wiring{n: n, registry: prometheus.NewRegistry()}
	w.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if err := w.makeSpeaker(elapsed); err != nil {
		return nil, err
	}
	deps := controller.Deps{
		Logger: n.log.With("part", "controller"), Elapsed: elapsed, Now: wallClock(), Speaker: w.speaker,
		Secret: n.secret, Registerer: w.registry,
	}
	if err := w.network(&deps); err != nil {
		return nil, err
	}
	w.controller, err = controller.New(controller.Config{
		Cluster: n.cfg.Cluster.Name, NodeID: n.cfg.Node, DataDir: n.cfg.DataDir, Version: n.deps.Version, Members: w.members,
		Restart: n.cfg.restartTime(), Timing: n.cfg.Cluster.Timing,
	}, deps)
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

// network gives the controller its members and what raft talks over.
func (w *wiring) network(deps *controller.Deps) error {
	cfg := w.n.cfg
	if len(cfg.Cluster.Members) == 0 {
		// Nobody is there to talk to: the controller opens no port for raft.
		w.members = []controller.Member{{ID: cfg.Node, RaftAddress: cfg.Node, APIAddress: cfg.API}}
		return nil
	}
	for _, m := range cfg.Cluster.Members {
		w.members = append(w.members, controller.Member{ID: m.ID, RaftAddress: m.Raft, APIAddress: m.API})
	}
	if cfg.ownsPKI() {
		return fmt.Errorf("%w: a cluster section needs a tls section", ErrTLS)
	}
	var err error
	if w.keys, err = loadKeys(cfg, w.n.log.With("part", "tls")); err != nil {
		return err
	}
	w.streams = newStreams(cfg, w.keys.Raft(), w.keys.Client)
	deps.Streams = w.streams
	return nil
}

// parts opens the ports and lists what runs, in the order of starting.
func (w *wiring) parts() ([]part, error) {
	cfg, log := w.n.cfg, w.n.log
	if cfg.ownsPKI() {
		if err := makePKI(cfg, log); err != nil {
			return nil, err
		}
	}
	if w.keys == nil {
		var err error
		if w.keys, err = loadKeys(cfg, log.With("part", "tls")); err != nil {
			return nil, err
		}
	}
	if err := w.listen(); err != nil {
		return nil, err
	}
	w.dialer = api.NewDialer(w.keys.Client, cfg.Cluster.Name)
	refusals := audit.NewRefusals(wallClock())
	trail := audit.NewWriter(audit.Config{Dir: filepath.Join(cfg.DataDir, "audit"), Cluster: cfg.Cluster.Name, Node: cfg.Node},
		audit.Deps{Source: w.controller, Refusals: refusals, Logger: log.With("part", "audit"), Now: wallClock()})
	server, err := api.New(api.Config{Cluster: cfg.Cluster.Name, Version: w.n.deps.Version, Limits: cfg.Limits}, api.Deps{
		Controller: w.controller, Logger: log.With("part", "api"), Dial: w.dialer.Dial, Registerer: w.registry,
		AuditFiles: trail, Refused: refusals.Note, Certificate: w.keys,
	})
	if err != nil {
		return nil, err
	}
	w.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tidegate_certificate_end_seconds", Help: "Unix time at which the certificate that this node uses ends.",
	}, func() float64 { return float64(w.keys.Expires().Unix()) }))
	w.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tidegate_ready", Help: "1 when this node is ready for work, as /readyz says; else 0.",
	}, func() float64 {
		if len(w.unready()) > 0 {
			return 0
		}
		return 1
	}))
	parts := []part{
		{"http", func(ctx context.Context) error {
			return serveHTTP(ctx, w.http, handler(w.unready, w.gatherer()))
		}},
		{"tls", func(ctx context.Context) error { return w.keys.Run(ctx, w.n.deps.Reload, time.Now) }},
		{"audit", trail.Run}, // before what makes records, so that it stops after that
	}
	parts = append(parts, w.speakerParts()...)
	parts = append(parts, []part{
		{"controller", w.controller.Run},
		{"api", func(ctx context.Context) error {
			return errors.Join(server.Serve(ctx, w.api, w.keys.ServerWith(func() bool { return w.controller.State().TokenCount() > 0 })), w.dialer.Close())
		}},
		{"health", func(ctx context.Context) error { return w.watchHealth(ctx, server) }},
	}...)
	if w.restListener == nil {
		return parts, nil
	}
	rest, err := w.rest(server)
	return append(parts, rest), err
}

// listen opens the ports.
func (w *wiring) listen() error {
	cfg := w.n.cfg
	for _, l := range []struct {
		key, address string
		out          *net.Listener
	}{{"api", cfg.API, &w.api}, {"http", cfg.HTTP, &w.http}, {"rest", cfg.REST.Listen, &w.restListener}} {
		if l.address == "" {
			continue
		}
		var err error
		if *l.out, err = net.Listen("tcp", l.address); err != nil {
			return fmt.Errorf("cannot open the %s address %q: %w", l.key, l.address, err)
		}
	}
	if w.own != nil {
		l, err := remote.Listen(cfg.SpeakerSocket())
		if err != nil {
			return err
		}
		w.orders = l
	}
	return w.listenForRaft()
}

func (w *wiring) listenForRaft() error {
	cfg := w.n.cfg
	if w.streams == nil {
		return nil
	}
	l, err := net.Listen("tcp", cfg.Cluster.Raft)
	if err != nil {
		return fmt.Errorf("cannot open the raft address %q: %w", cfg.Cluster.Raft, err)
	}
	w.streams.open(l)
	return nil
}

// unready says why this node should not be sent work.
func (w *wiring) unready() []string {
	st := wanted.Status{}
	if o, out := w.speaker.Out(); out {
		st.Out = &o
	}
	if w.proxy != nil {
		st.Lost = w.proxy.Lost()
	}
	return api.Unready(w.controller, &st)
}

// close undoes a start that failed half-way.
func (w *wiring) close() error {
	var errs []error
	for _, l := range []net.Listener{w.api, w.http, w.restListener, w.orders} {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	if w.controller != nil {
		errs = append(errs, w.controller.Close())
	}
	if w.streams != nil {
		errs = append(errs, w.streams.Close())
	}
	if w.proxy != nil {
		errs = append(errs, w.proxy.Close())
	}
	if w.dialer != nil {
		errs = append(errs, w.dialer.Close())
	}
	return errors.Join(errs...)
}

// healthEvery is how often readiness is looked at for the gRPC health service; /readyz looks by itself.
const healthEvery = 250 * time.Millisecond

func (w *wiring) watchHealth(ctx context.Context, s interface{ SetServing(bool) }) error {
	t := time.NewTicker(healthEvery)
	defer t.Stop()
	was, first := false, true
	for {
		why := w.unready()
		s.SetServing(len(why) == 0)
		if is := len(why) == 0; is != was || first {
			if is {
				w.n.log.Info("node is ready")
			} else {
				w.n.log.Warn("node is not ready", "why", strings.Join(why, "; "))
			}
			was, first = is, false
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

func isCancelled(err error) bool { return errors.Is(err, context.Canceled) }

package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"google.golang.org/protobuf/proto"

	"github.com/tidegate/tidegate/bgp"
	"github.com/tidegate/tidegate/bgp/remote"
	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/controller"
)

// speaker is a node's speaker, wherever it runs.
type speaker interface {
	controller.Speaker
	Out() (wanted.Out, bool)
}

// restartTime is how long routers keep what they heard of a speaker that ends without a word. A speaker in the node's
// process takes everything along: nobody starts it again at once.
func (c Config) restartTime() time.Duration {
	if c.Speaker.Process == InProcess {
		return 0
	}
	return bgp.MaxRestartTime
}

// bgpConfig is what this node's speaker is told, wherever it runs.
func (c Config) bgpConfig() bgp.Config {
	return bgp.Config{
		ASN: c.BGP.ASN, RouterID: c.BGP.RouterID, LocalAddress: c.BGP.LocalAddress, OutFile: c.outFile(), RestartTime: c.restartTime(),
	}
}

// orderConfig is what the speaker's socket says of the node.
func (c Config) orderConfig() remote.Config {
	out := remote.Config{Node: c.Node}
	for _, m := range c.Cluster.Members {
		if m.ID != c.Node {
			out.Others = append(out.Others, remote.Other{Node: m.ID, API: m.API})
		}
	}
	return out
}

// makeSpeaker makes the speaker, or the way to it.
func (w *wiring) makeSpeaker(elapsed func() wanted.Instant) (err error) {
	log := w.n.log.With("part", "bgp")
	if w.n.cfg.Speaker.Process == InProcess {
		w.own, err = bgp.New(w.n.cfg.bgpConfig(), bgp.Deps{Logger: log, Elapsed: elapsed, Registerer: w.registry})
		w.speaker = w.own
		return err
	}
	if err := remote.CheckPath(w.n.cfg.SpeakerSocket()); err != nil {
		return err
	}
	w.proxy, err = remote.NewProxy(w.n.cfg.SpeakerSocket(), log)
	w.speaker = w.proxy
	return err
}

// speakerParts are what runs of the speaker here.
func (w *wiring) speakerParts() []part {
	if w.own != nil {
		orders := w.n.cfg.orderConfig()
		orders.Unquarantine = unquarantine(func(string) (string, bool, error) { return "", false, nil }, w.own)
		server := remote.New(orders, w.own, nil, w.n.log.With("part", "bgp"))
		return []part{
			{"bgp", w.own.Run},
			{"speaker socket", func(ctx context.Context) error { return server.Serve(ctx, w.orders) }},
		}
	}
	link := part{"speaker link", func(ctx context.Context) error { return errors.Join(w.proxy.Run(ctx), w.proxy.Close()) }}
	if w.n.cfg.Speaker.Process == External {
		return []part{link}
	}
	s := &supervisor{command: w.n.deps.Speaker, socket: w.n.cfg.SpeakerSocket(), log: w.n.log.With("part", "supervisor")}
	return []part{{"speaker process", s.run}, link}
}

// unquarantine lets a router be dialled again whose messages have crashed the speaker, and announces to it again what it
// ended its session after.
func unquarantine(release func(string) (string, bool, error), s *bgp.Speaker) func(string) (string, bool, error) {
	return func(router string) (known string, was bool, err error) {
		if known, was, err = release(router); err != nil {
			return known, was, err
		}
		n := s.Pardon(router)
		switch {
		case n > 0 && known != "":
			known += "; "
			fallthrough
		case n > 0:
			known += fmt.Sprintf("it ended its session after rules, and %d were kept off it", n)
		}
		return known, was || n > 0, nil
	}
}

// gatherer collects this process's metrics and the speaker's.
func (w *wiring) gatherer() prometheus.Gatherer {
	if w.proxy == nil {
		return w.registry
	}
	return prometheus.Gatherers{w.registry, prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		families, err := w.proxy.Metrics(context.Background())
		if err != nil {
			return nil, nil // the node's metrics are worth having without the speaker's; tidegate_ready says that it is lost
		}
		out := make([]*dto.MetricFamily, 0, len(families))
		for _, b := range families {
			m := &dto.MetricFamily{}
			if err := proto.Unmarshal(b, m); err != nil {
				return out, fmt.Errorf("cannot read the speaker's metrics: %w", err)
			}
			out = append(out, m)
		}
		return out, nil
	})}
}

// gather is the other end of gatherer.
func gather(from prometheus.Gatherer) ([][]byte, error) {
	families, err := from.Gather()
	if err != nil {
		return nil, fmt.Errorf("cannot collect metrics: %w", err)
	}
	out := make([][]byte, 0, len(families))
	for _, m := range families {
		b, err := proto.Marshal(m)
		if err != nil {
			return nil, fmt.Errorf("cannot collect metrics: %w", err)
		}
		out = append(out, b)
	}
	return out, nil
}

// RunSpeaker runs the speaker of a node, in a process of its own, until ctx ends: then its sessions are closed in order,
// upon which routers drop what they heard. What it announced when it ended without a word is announced again before a
// session opens, as far as its time is not over.
func RunSpeaker(ctx context.Context, cfg Config, deps Deps) error {
	log := deps.Logger.With("node", cfg.Node, "part", "bgp")
	elapsed, err := newElapsed()
	if err != nil {
		return err
	}
	boot, err := bootID()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("cannot make data directory %q: %w", cfg.DataDir, err)
	}
	listener, err := remote.Listen(cfg.SpeakerSocket()) // first: it finds out whether another one runs
	if err != nil {
		return err
	}
	conf := cfg.bgpConfig()
	watch, err := newCrashWatch(cfg.DataDir, log, time.Now)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	defer watch.close()
	conf.Quarantined, conf.Connecting = watch.quarantined, watch.connecting
	registry := prometheus.NewRegistry()
	s, err := bgp.New(conf, bgp.Deps{Logger: log, Elapsed: elapsed, Registerer: registry})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	feed := remote.NewFeed(remote.FeedDeps{
		Announcer: s, Log: log, Version: deps.Version, Elapsed: elapsed, Now: wallClock(), BootID: boot,
		Keep:     func(data []byte) error { return bgp.ReplaceFile(cfg.setFile(), data) },
		Metrics:  func() ([][]byte, error) { return gather(registry) },
		Shutdown: stop,
	})
	restore(ctx, cfg, feed, deps)
	orders := cfg.orderConfig()
	orders.Unquarantine = unquarantine(watch.release, s)
	server := remote.New(orders, s, feed, log)
	log.Info("speaker starts", "version", deps.Version, "socket", cfg.SpeakerSocket())
	err = runParts(ctx, []part{
		{"bgp", s.Run},
		{"keeper", feed.Run},
		{"speaker socket", func(ctx context.Context) error { return server.Serve(ctx, listener) }},
	})
	if err == nil {
		// Routers have dropped everything: the next one waits for the controller to tell what is wanted by then.
		if err = os.Remove(cfg.setFile()); errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	log.Info("speaker stopped")
	return err
}

// restore announces again what an earlier process announced.
func restore(ctx context.Context, cfg Config, feed *remote.Feed, deps Deps) {
	data, err := os.ReadFile(cfg.setFile())
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		err = feed.Restore(ctx, data)
	}
	if err != nil {
		deps.Logger.Error("what the last speaker announced is not announced again until the controller tells", "file", cfg.setFile(), "err", err)
	}
}

// bootID names this boot of the machine.
func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil // not Linux: every process is a boot of its own, see newElapsed
	}
	if err != nil {
		return "", fmt.Errorf("cannot tell this boot from others: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// crashFile and the others are where a speaker finds out which router's words crashed it.
func crashFile(dir string) string     { return filepath.Join(dir, "speaker-crash.txt") }
func lastCrashFile(dir string) string { return filepath.Join(dir, "speaker-crash-last.txt") }
func enginesFile(dir string) string   { return filepath.Join(dir, "speaker-engines.json") }
func crashesFile(dir string) string   { return filepath.Join(dir, "speaker-crashes.json") }

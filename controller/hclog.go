package controller

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tidegate/tidegate/bgp/wanted"
)

const (
	// sayAgain is how long a warning of raft that was just logged is only counted. A node that is alone tries an
	// election every second, and would fill its log with that.
	sayAgain = time.Minute
	// maxSaid bounds how many different warnings are remembered; beyond it all are forgotten, and said again.
	maxSaid = 256
)

// raftLog lets raft write into our log: its warnings and errors as they are, the rest as debug messages.
type raftLog struct {
	log  *slog.Logger
	name string
	args []any
	said *said // shared with those made by With and Named
}

var _ hclog.Logger = raftLog{}

func newRaftLog(l *slog.Logger, elapsed func() wanted.Instant) hclog.Logger {
	return raftLog{log: l, name: "raft", said: &said{elapsed: elapsed, lines: make(map[string]*line)}}
}

// said remembers which warnings were logged lately.
type said struct {
	elapsed func() wanted.Instant

	mu    sync.Mutex // guards lines
	lines map[string]*line
}

// line is one warning: when it was logged last, and how often it was kept back since.
type line struct {
	at   wanted.Instant
	kept int
}

// again reports whether the warning was logged within sayAgain and is to be kept back; if not, how often it was since it
// was logged last. Warnings are the same if they have the same text and are about the same peer: terms and times differ
// each time and make no new one.
func (s *said) again(msg string, args []any) (keep bool, kept int) {
	key := msg
	for i := 0; i+1 < len(args); i += 2 {
		switch args[i] {
		case "peer", "target", "from", "error":
			key += fmt.Sprintf(" %v=%v", args[i], args[i+1])
		}
	}
	now := s.elapsed()
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lines[key]
	if l == nil {
		if len(s.lines) >= maxSaid {
			clear(s.lines)
		}
		s.lines[key] = &line{at: now}
		return false, 0
	}
	if now-l.at < wanted.Instant(sayAgain) {
		l.kept++
		return true, 0
	}
	kept, l.at, l.kept = l.kept, now, 0
	return false, kept
}

// Log implements hclog.Logger.
func (l raftLog) Log(level hclog.Level, msg string, args ...any) {
	to := slog.LevelDebug
	switch level {
	case hclog.Warn:
		to = slog.LevelWarn
	case hclog.Error:
		to = slog.LevelError
	case hclog.NoLevel, hclog.Trace, hclog.Debug, hclog.Info, hclog.Off:
	}
	if to > slog.LevelDebug {
		keep, kept := l.said.again(msg, args)
		if keep {
			return
		}
		if kept > 0 {
			args = append(args[:len(args):len(args)], "repeated", kept)
		}
	}
	l.log.Log(context.Background(), to, "raft: "+msg, args...) //nolint:sloglint // the message is raft's own
}

// Trace implements hclog.Logger.
func (l raftLog) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }

// Debug implements hclog.Logger.
func (l raftLog) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }

// Info implements hclog.Logger.
func (l raftLog) Info(msg string, args ...any) { l.Log(hclog.Info, msg, args...) }

// Warn implements hclog.Logger.
func (l raftLog) Warn(msg string, args ...any) { l.Log(hclog.Warn, msg, args...) }

// Error implements hclog.Logger.
func (l raftLog) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

// IsTrace implements hclog.Logger.
func (l raftLog) IsTrace() bool { return false }

// IsDebug implements hclog.Logger.
func (l raftLog) IsDebug() bool { return l.log.Enabled(context.Background(), slog.LevelDebug) }

// IsInfo implements hclog.Logger.
func (l raftLog) IsInfo() bool { return l.IsDebug() }

// IsWarn implements hclog.Logger.
func (l raftLog) IsWarn() bool { return true }

// IsError implements hclog.Logger.
func (l raftLog) IsError() bool { return true }

// ImpliedArgs implements hclog.Logger.
func (l raftLog) ImpliedArgs() []any { return l.args }

// With implements hclog.Logger.
func (l raftLog) With(args ...any) hclog.Logger {
	return raftLog{
		log: l.log.With(args...), name: l.name, args: append(l.args[:len(l.args):len(l.args)], args...), said: l.said,
	}
}

// Name implements hclog.Logger.
func (l raftLog) Name() string { return l.name }

// Named implements hclog.Logger.
func (l raftLog) Named(name string) hclog.Logger {
	l.name += "." + name
	return l
}

// ResetNamed implements hclog.Logger.
func (l raftLog) ResetNamed(name string) hclog.Logger {
	l.name = name
	return l
}

// SetLevel implements hclog.Logger: the level is ours to set.
func (l raftLog) SetLevel(hclog.Level) {}

// GetLevel implements hclog.Logger.
func (l raftLog) GetLevel() hclog.Level {
	if l.IsDebug() {
		return hclog.Debug
	}
	return hclog.Warn
}

// StandardLogger implements hclog.Logger.
func (l raftLog) StandardLogger(opts *hclog.StandardLoggerOptions) *log.Logger {
	return log.New(l.StandardWriter(opts), "", 0)
}

// StandardWriter implements hclog.Logger.
func (l raftLog) StandardWriter(*hclog.StandardLoggerOptions) io.Writer { return raftLogWriter{l} }

type raftLogWriter struct{ log raftLog }

// Write implements io.Writer.
func (w raftLogWriter) Write(b []byte) (int, error) {
	w.log.Warn(string(b))
	return len(b), nil
}

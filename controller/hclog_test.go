package controller

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/bgp/wanted"
)

// TestRaftRepeatsItselfOnceAMinute holds that a node that is alone does not fill its log, and that nothing is lost by it.
func TestRaftRepeatsItselfOnceAMinute(t *testing.T) {
	var out bytes.Buffer
	now := wanted.Instant(0)
	text := slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == slog.LevelKey {
			return slog.Attr{}
		}
		return a
	}})
	l := newRaftLog(slog.New(text), func() wanted.Instant { return now })
	for i := range 130 { // one a second
		now = wanted.Instant(i) * wanted.Instant(time.Second)
		l.Named("x").Warn("failed to contact", "peer", "n2", "term", i)
		if i < 2 {
			l.With("a", 1).Error("failed to contact", "peer", "n3", "term", i)
		}
		l.Info("never mind", "term", i)
	}
	for i := range 2 * maxSaid { // does not grow without bound
		l.Warn("something", "peer", i)
	}
	if n := len(l.(raftLog).said.lines); n > maxSaid {
		t.Errorf("%d warnings are remembered, want at most %d", n, maxSaid)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		if strings.Contains(line, "contact") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	want := []string{
		`msg="raft: failed to contact" peer=n2 term=0`,
		`msg="raft: failed to contact" a=1 peer=n3 term=0`,
		`msg="raft: failed to contact" peer=n2 term=60 repeated=59`,
		`msg="raft: failed to contact" peer=n2 term=120 repeated=59`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("log (-want +got):\n%s", d)
	}
}

package node

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/bgp"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// fsmHandler stands for GoBGP's, in whose method of this name messages are read.
type fsmHandler struct{ nothing *int }

func (h *fsmHandler) recvMessageloop() { *h.nothing = 1 }

func (h *fsmHandler) sendMessageloop() { *h.nothing = 1 }

// TestMain crashes when it is told to: a crash report is best had from a crash.
func TestMain(m *testing.M) {
	crash := os.Getenv("TIDEGATE_TEST_CRASH")
	if crash == "" {
		os.Exit(m.Run())
	}
	if _, err := newCrashWatch(os.Getenv("TIDEGATE_TEST_CRASH_DIR"), slog.New(slog.DiscardHandler), time.Now); err != nil {
		panic(err)
	}
	go func() {
		if crash != "unlabelled" {
			pprof.SetGoroutineLabels(pprof.WithLabels(context.Background(), pprof.Labels(bgp.LabelEngine, "3")))
		}
		h := &fsmHandler{}
		if crash == "sending" {
			h.sendMessageloop()
		}
		h.recvMessageloop()
	}()
	select {} // until it crashes
}

// crashReport is what the runtime writes of a crash.
func crashReport(t *testing.T, how string) []byte {
	t.Helper()
	dir := t.TempDir()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "TIDEGATE_TEST_CRASH="+how, "TIDEGATE_TEST_CRASH_DIR="+dir)
	var failed *exec.ExitError
	if err := c.Run(); !errors.As(err, &failed) {
		t.Fatalf("it did not crash: %v", err)
	}
	text, err := os.ReadFile(crashFile(dir))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestParseCrash(t *testing.T) {
	for how, want := range map[string]string{"reading": "3", "sending": "", "unlabelled": ""} {
		t.Run(how, func(t *testing.T) {
			text := crashReport(t, how)
			what, engine := parseCrash(text)
			if !strings.HasPrefix(what, "panic: runtime error: invalid memory address") || engine != want {
				t.Errorf("%q of engine %q, want %q, in\n%s", what, engine, want, text)
			}
		})
	}
	for _, text := range []string{"", "panic: x", "panic: x\n\ngoroutine 1 [running, labels:{\"tidegate-engine\": \"9\"}]:", "\ngoroutine "} {
		if _, engine := parseCrash([]byte(text)); engine != "" {
			t.Errorf("%q is of engine %q", text, engine)
		}
	}
}

// TestCrashWatch: the second crash by messages of one router within a day quarantines it, and nothing else does.
func TestCrashWatch(t *testing.T) {
	dir := t.TempDir()
	reading, sending := crashReport(t, "reading"), crashReport(t, "sending")
	now := time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC)
	edge1, edge2 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	var log bytes.Buffer
	// life is one process: what it knows at its start, whom engine 3 talks to, and how it ends.
	life := func(talksTo netip.Addr, crash []byte) map[netip.Addr]string {
		t.Helper()
		w, err := newCrashWatch(dir, slog.New(slog.NewTextHandler(&log, nil)), func() time.Time { return now })
		if err != nil {
			t.Fatal(err)
		}
		out := map[netip.Addr]string{}
		for _, a := range []netip.Addr{edge1, edge2} {
			if why := w.quarantined(a); why != "" {
				out[a] = why
			}
		}
		w.connecting("3", wanted.Router{Name: "edge-" + talksTo.String(), Address: talksTo})
		w.close()
		if err := os.WriteFile(crashFile(dir), crash, 0o600); err != nil {
			t.Fatal(err)
		}
		return out
	}
	life(edge1, reading)
	if q := life(edge1, sending); len(q) > 0 {
		t.Errorf("after one crash: %v", q)
	}
	if q := life(edge2, reading); len(q) > 0 {
		t.Errorf("after one crash and one of our own: %v", q)
	}
	if q := life(edge1, reading); len(q) > 0 {
		t.Errorf("after one crash of each: %v", q)
	}
	q := life(edge2, nil)
	if why := q[edge1]; len(q) != 1 || !strings.Contains(why, "crashed the speaker 2 times") || !strings.Contains(why, "tidegate speaker unquarantine edge-192.0.2.1") {
		t.Errorf("after two crashes of one: %v", q)
	}
	if q := life(edge2, nil); len(q) != 1 {
		t.Errorf("after an orderly end: %v", q)
	}
	if last, err := os.ReadFile(lastCrashFile(dir)); err != nil || !bytes.Equal(last, reading) {
		t.Errorf("the last crash is not kept: %v, %d octets", err, len(last))
	}
	now = now.Add(crashMemory + time.Second)
	if q := life(edge2, nil); len(q) > 0 {
		t.Errorf("a day later: %v", q)
	}
	if !strings.Contains(log.String(), "crashed while it read a message of a router") {
		t.Errorf("log: %s", log.String())
	}
	if !t.Run("released", func(t *testing.T) { testRelease(t, t.TempDir(), reading) }) {
		return
	}
	for _, file := range []string{crashesFile(dir), enginesFile(dir)} {
		if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if q := life(edge1, reading); len(q) > 0 {
		t.Errorf("with damaged files: %v", q)
	}
}

// testRelease: a router that is released is dialled at once, by this process and by the next; two crashes more quarantine
// it again.
func testRelease(t *testing.T, dir string, crash []byte) {
	edge := netip.MustParseAddr("192.0.2.1")
	open := func() *crashWatch {
		t.Helper()
		w, err := newCrashWatch(dir, slog.New(slog.DiscardHandler), time.Now)
		if err != nil {
			t.Fatal(err)
		}
		w.connecting("3", wanted.Router{Name: "edge1", Address: edge})
		return w
	}
	crashes := func(n int) *crashWatch {
		t.Helper()
		for range n {
			open().close()
			if err := os.WriteFile(crashFile(dir), crash, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return open()
	}
	w := crashes(2)
	if w.quarantined(edge) == "" {
		t.Fatal("two crashes, and it is dialled")
	}
	if known, was, err := w.release("edge2"); known != "" || was || err != nil {
		t.Errorf("another router: %q, %t, %v", known, was, err)
	}
	if known, was, err := w.release("edge1"); !strings.Contains(known, "crashed the speaker 2 times") || !was || err != nil {
		t.Errorf("released: %q, %t, %v", known, was, err)
	}
	if why := w.quarantined(edge); why != "" {
		t.Errorf("after its release: %s", why)
	}
	w.close()
	w = crashes(1)
	if why := w.quarantined(edge); why != "" {
		t.Errorf("after one crash since: %s", why)
	}
	w.close()
	w = crashes(1)
	if w.quarantined(edge) == "" {
		t.Error("two crashes since its release, and it is dialled")
	}
	if _, was, err := w.release(edge.String()); !was || err != nil || w.quarantined(edge) != "" {
		t.Errorf("released by its address: %t, %v, %q", was, err, w.quarantined(edge))
	}
	w.close()
}

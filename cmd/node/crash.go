package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidegate/tidegate/bgp"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// A message from a router may crash the speaker: GoBGP decodes it in a goroutine of its own, where nobody can recover. The
// runtime then writes the stack of that goroutine to a file, with the number of the engine that it belongs to. The next
// speaker reads it, finds out which router that was, and does not dial a router that has done it twice.

const (
	crashLimit  = 2              // crashes after which a router is not dialled any more
	crashMemory = 24 * time.Hour // after which one is forgotten
)

// crashRecord is what is known of one router's crashes.
type crashRecord struct {
	Router string    `json:"router"`
	Count  int       `json:"count"`
	Last   time.Time `json:"last"`
	What   string    `json:"what"` // the first line of the crash
}

// crashWatch notes which engine talks to whom, and why the last process crashed.
type crashWatch struct {
	dir    string
	log    *slog.Logger
	output *os.File

	mu      sync.Mutex // guards what follows
	crashes map[netip.Addr]crashRecord
	engines map[string]engineRecord
}

// engineRecord is the router that an engine was connected to last.
type engineRecord struct {
	Router  string     `json:"router"`
	Address netip.Addr `json:"address"`
}

// newCrashWatch reads what the last process left, and makes the runtime write to a file should this one crash. What
// cannot be read is told and passed over: it is no reason not to announce.
func newCrashWatch(dir string, log *slog.Logger, now func() time.Time) (*crashWatch, error) {
	w := &crashWatch{dir: dir, log: log, crashes: map[netip.Addr]crashRecord{}, engines: map[string]engineRecord{}}
	engines := map[string]engineRecord{}
	w.read(enginesFile(dir), &engines)
	w.read(crashesFile(dir), &w.crashes)
	maps.DeleteFunc(w.crashes, func(_ netip.Addr, r crashRecord) bool { return now().Sub(r.Last) > crashMemory })
	text, err := os.ReadFile(crashFile(dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Error("cannot read why the last speaker crashed", "err", err)
	}
	if len(text) > 0 {
		if err := bgp.ReplaceFile(lastCrashFile(dir), text); err != nil {
			log.Error("cannot keep the last crash", "err", err)
		}
		w.blame(text, engines, now())
	}
	if w.output, err = os.OpenFile(crashFile(dir), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600); err != nil {
		return nil, fmt.Errorf("cannot write crashes down: %w", err)
	}
	// The runtime notices the change of its settings, and from then on shows the labels of goroutines.
	if err := os.Setenv("GODEBUG", strings.TrimPrefix(os.Getenv("GODEBUG")+",tracebacklabels=1", ",")); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot write crashes down: %w", err), w.output.Close())
	}
	if err := debug.SetCrashOutput(w.output, debug.CrashOptions{}); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot write crashes down: %w", err), w.output.Close())
	}
	return w, nil
}

func (w *crashWatch) close() {
	// It fails only if it was not set; and what the process crashes of from here on is nobody's message.
	_ = debug.SetCrashOutput(nil, debug.CrashOptions{})
	_ = w.output.Close()
}

func (w *crashWatch) read(file string, into any) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		err = json.Unmarshal(data, into)
	}
	if err != nil {
		w.log.Error("cannot read what is known of earlier crashes", "file", file, "err", err)
	}
}

func (w *crashWatch) write(file string, v any) {
	data, err := json.Marshal(v)
	if err == nil {
		err = bgp.ReplaceFile(file, append(data, '\n'))
	}
	if err != nil {
		w.log.Error("cannot write down whose message a crash would be", "file", file, "err", err)
	}
}

// blame notes the crash in text, and its router if it was one's.
func (w *crashWatch) blame(text []byte, engines map[string]engineRecord, now time.Time) {
	what, engine := parseCrash(text)
	who, known := engines[engine]
	if !known {
		w.log.Error("the last speaker crashed, not by a router's message", "what", what, "file", lastCrashFile(w.dir))
		return
	}
	r := w.crashes[who.Address]
	r.Router, r.Count, r.Last, r.What = who.Router, r.Count+1, now, what
	w.crashes[who.Address] = r
	w.log.Error("the last speaker crashed while it read a message of a router", "router", who.Router, "address", who.Address, "times", r.Count, "what", what, "file", lastCrashFile(w.dir))
	w.write(crashesFile(w.dir), w.crashes)
}

// quarantined says why the router of that address is not dialled; empty if it may be.
func (w *crashWatch) quarantined(a netip.Addr) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	r, ok := w.crashes[a]
	if !ok || r.Count < crashLimit {
		return ""
	}
	return fmt.Sprintf("quarantined: messages of the router crashed the speaker %d times, last at %s (%s); to try it again: tidegate speaker unquarantine %s",
		r.Count, r.Last.UTC().Format(time.RFC3339), r.What, r.Router)
}

// release forgets the crashes of a router, given by its name or address, on disk first: what cannot be forgotten there
// would come back with the next process. It returns what was known of it.
func (w *crashWatch) release(router string) (what string, was bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	left := maps.Clone(w.crashes)
	var known crashRecord
	maps.DeleteFunc(left, func(a netip.Addr, r crashRecord) bool {
		found := a.String() == router || r.Router == router
		if found {
			known = r
		}
		return found
	})
	if len(left) == len(w.crashes) {
		return "", false, nil
	}
	data, err := json.Marshal(left)
	if err == nil {
		err = bgp.ReplaceFile(crashesFile(w.dir), append(data, '\n'))
	}
	if err != nil {
		return "", true, fmt.Errorf("cannot forget the crashes of %q: %w", router, err)
	}
	w.crashes = left
	return fmt.Sprintf("its messages crashed the speaker %s, last at %s (%s)", times(known.Count), known.Last.UTC().Format(time.RFC3339), known.What), true, nil
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// connecting notes that an engine is about to talk to a router.
func (w *crashWatch) connecting(engine string, r wanted.Router) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := (engineRecord{r.Name, r.Address}); w.engines[engine] != now {
		w.engines[engine] = now
		w.write(enginesFile(w.dir), w.engines)
	}
}

// parseCrash finds in a crash report the reason, and the engine whose router's message was being read; empty if none was.
func parseCrash(text []byte) (what, engine string) {
	lines := strings.Split(string(text), "\n")
	if i := slices.IndexFunc(lines, func(l string) bool {
		return strings.HasPrefix(l, "panic: ") || strings.HasPrefix(l, "fatal error: ")
	}); i >= 0 {
		what = lines[i]
		if len(what) > 200 {
			what = what[:200]
		}
	}
	// The goroutine that crashed comes first, up to an empty line.
	start := bytes.Index(text, []byte("\ngoroutine "))
	if start < 0 {
		return what, ""
	}
	stack, _, _ := strings.Cut(string(text[start+1:]), "\n\n")
	head, frames, _ := strings.Cut(stack, "\n")
	m := regexp.MustCompile(`"?` + regexp.QuoteMeta(bgp.LabelEngine) + `"?: "?([0-9]+)`).FindStringSubmatch(head)
	if m == nil || !strings.Contains(frames, ").recvMessage") {
		return what, "" // for instance a rule of our own, on its way out
	}
	return what, m[1]
}

package bgp_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/bgp"
	"github.com/tidegate/tidegate/bgp/bgptest"
	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

func outFile(path string) func(*bgp.Config, *bgp.Deps) {
	return func(c *bgp.Config, _ *bgp.Deps) { c.OutFile = path }
}

// order is what an operator ordered.
func order() wanted.Out {
	return wanted.Out{Since: time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC), By: "root", Reason: "wrong rule"}
}

// quiet reports whether the status says that nothing is announced on any session.
func quiet(st wanted.Status) bool {
	for _, s := range st.Sessions {
		if s.Sent+s.Withdrawing > 0 {
			return false
		}
	}
	return true
}

// All rules and blackholes are withdrawn, those that wait for a paced replacement too; the sessions stay up, whatever is
// set meanwhile stays off the wire, and Resume brings what is wanted by then.
func TestStayOut(t *testing.T) {
	rules, holes := router(t), router(t, offersUnicast)
	b := join(t, outFile(filepath.Join(t.TempDir(), "out.json")))
	w := base(1,
		neighbour("holes", holes, carriesRTBH),
		neighbour("rules", rules, func(r *wanted.Router) { r.RulesPerSecond = 1 }))
	old := discard(t, "203.0.113.0/25")
	w.Routes = []*wanted.Route{old, blackhole(t, "198.51.100.7/32")}
	b.set(w)
	wait(t, rules, "a rule", has(old.Key))
	wait(t, holes, "a blackhole", has(w.Routes[1].Key))
	// The pieces that replace it leave one a second: it would be withdrawn in some seconds only.
	w.Revision, w.Routes = 2, []*wanted.Route{w.Routes[1]}
	for _, p := range []string{"203.0.113.0/28", "203.0.113.16/28", "203.0.113.32/28", "203.0.113.48/28", "203.0.113.64/28", "203.0.113.80/28"} {
		w.Routes = append(w.Routes, discard(t, p))
	}
	b.set(w)
	waitStatus(t, b, "the old rule waits", func() bool { return b.states("rules")[old.Key] == wanted.RouteSuperseded })

	asked := time.Now()
	got, already := b.StayOut(order())
	if diff := cmp.Diff(order(), got); diff != "" || already {
		t.Errorf("order in force, already %t (-want +got):\n%s", already, diff)
	}
	if st := b.Status(); st.Out == nil || st.Out.Reason != "wrong rule" {
		t.Errorf("right after the order: %+v", st.Out)
	}
	wait(t, rules, "no rule", has())
	wait(t, holes, "no blackhole", has())
	if took := time.Since(asked); took > 3*time.Second {
		t.Errorf("withdrawn after %s: other withdrawals may wait for 5 s, this one may not", took)
	}
	waitStatus(t, b, "nothing is announced", func() bool { return quiet(b.Status()) })
	for key, state := range b.states("rules") {
		if state != wanted.RouteOut {
			t.Errorf("%s is %s", key, state)
		}
	}
	if s := b.session("rules"); s.Out != 6 || s.Wanted != 6 || s.State != wanted.SessionEstablished {
		t.Errorf("session: %+v", s)
	}

	second := order()
	second.Reason = "once more"
	if got, already := b.StayOut(second); !already || got.Reason != "wrong rule" {
		t.Errorf("the second order: %+v, already %t", got, already)
	}
	announced, _ := rules.Counts()
	w.Revision, w.Routes = 3, []*wanted.Route{discard(t, "203.0.113.128/25"), blackhole(t, "198.51.100.8/32")}
	b.set(w)
	waitStatus(t, b, "the set is taken", func() bool {
		return b.states("rules")[w.Routes[0].Key] == wanted.RouteOut && b.Status().Settled == 3
	})

	ended, was, err := b.Resume()
	if err != nil || !was || ended.Reason != "wrong rule" {
		t.Errorf("resume: %+v, %t, %v", ended, was, err)
	}
	wait(t, rules, "the newest rule", has(w.Routes[0].Key))
	wait(t, holes, "the newest blackhole", has(w.Routes[1].Key))
	if now, _ := rules.Counts(); now != announced+1 {
		t.Errorf("%d announcements since the order, want 1", now-announced)
	}
	for _, r := range []*bgptest.Router{rules, holes} {
		if all := r.Sessions(); len(all) != 1 {
			t.Errorf("sessions: %+v", all)
		}
	}
	if _, was, err := b.Resume(); was || err != nil {
		t.Errorf("a second resume: %t, %v", was, err)
	}
}

// The order outlasts the process: the next one opens its sessions and announces nothing, until it is told to.
func TestStayOutOverRestart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "out.json")
	before := inert(t, outFile(file))
	if _, already := before.StayOut(order()); already {
		t.Error("it was out before")
	}
	r := router(t, func(c *bgptest.Config) { c.KeepUpdates = true })
	b := join(t, outFile(file))
	got, out := b.Out()
	if diff := cmp.Diff(order(), got); diff != "" || !out {
		t.Errorf("order after the restart, out %t (-want +got):\n%s", out, diff)
	}
	w := base(1, neighbour("r1", r))
	w.Routes = []*wanted.Route{discard(t, "203.0.113.0/25")}
	b.set(w)
	waitStatus(t, b, "a session without rules", func() bool {
		s := b.session("r1")
		return s.State == wanted.SessionEstablished && s.Settled == 1 && s.Out == 1
	})
	if announced, _ := r.Counts(); announced > 0 {
		t.Errorf("%d announcements", announced)
	}
	if _, _, err := b.Resume(); err != nil {
		t.Fatal(err)
	}
	wait(t, r, "the rule", has(w.Routes[0].Key))
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("the file is still there: %v", err)
	}
}

// What was an order once is one, however damaged: the speaker stays out, says why, and can be told to resume.
func TestStayOutDamaged(t *testing.T) {
	dir := t.TempDir()
	rows := []struct {
		name, content, want string
	}{
		{"empty", "", "damaged"},
		{"cut short", `{"version":1,"since":"2026-11-24T03:00:00Z","by":"ro`, "damaged"},
		{"of a later version", `{"version":2,"since":"2026-11-24T03:00:00Z","by":"root","reason":"x"}`, "version 2"},
		{"of nobody", `{"version":1,"since":"2026-11-24T03:00:00Z","by":"","reason":"x"}`, "who gave the order"},
		{"with more behind it", `{"version":1,"since":"2026-11-24T03:00:00Z","by":"root","reason":"x"}{}`, "more in it"},
		{"a key nobody knows", `{"version":1,"until":"2026-11-24T03:00:00Z"}`, "until"},
		{"zeros", strings.Repeat("\x00", 4096), "damaged"},
	}
	for _, c := range rows {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(dir, strings.ReplaceAll(c.name, " ", "-"))
			if err := os.WriteFile(file, []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
			b := inert(t, outFile(file))
			got, out := b.Out()
			if !out || !strings.Contains(got.Trouble, c.want) || got.By != "" {
				t.Errorf("out %t: %+v, want trouble with %q", out, got, c.want)
			}
			// A new order takes the place of what cannot be read.
			if got, already := b.StayOut(order()); !already || got.Trouble != "" || got.By != "root" {
				t.Errorf("a new order: %+v, already %t", got, already)
			}
			if got, _ := inert(t, outFile(file)).Out(); got.By != "root" || got.Trouble != "" {
				t.Errorf("read again: %+v", got)
			}
			if _, _, err := b.Resume(); err != nil {
				t.Error(err)
			}
			if _, out := inert(t, outFile(file)).Out(); out {
				t.Error("still out after a resume and a restart")
			}
		})
	}
}

// When the order cannot be written down everything is withdrawn all the same, and the order says that it is not kept. When
// its record cannot be removed, the speaker stays out.
func TestStayOutWithoutDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	b := inert(t, outFile(filepath.Join(dir, "out.json")))
	got, already := b.StayOut(order())
	if already || !strings.Contains(got.Trouble, "not kept over a restart") {
		t.Errorf("got %+v, already %t", got, already)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	late := order()
	late.Reason = "later"
	if got, already := b.StayOut(late); !already || got.Trouble != "" || got.Reason != "wrong rule" {
		t.Errorf("with the directory back: %+v, already %t", got, already)
	}
	// A directory with something in it cannot be removed as a file can.
	file := filepath.Join(dir, "out.json")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(file, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, was, err := b.Resume(); !was || err == nil || !strings.Contains(err.Error(), "everything stays withdrawn") {
		t.Errorf("resume: %t, %v", was, err)
	}
	if _, out := b.Out(); !out {
		t.Error("announces though the order will be there after the next restart")
	}
}

// The log is told at once, and then every minute.
func TestStayOutReminds(t *testing.T) {
	b := inert(t)
	var said int
	remind := bgp.Reminder(b.Speaker, func(string) { said++ })
	remind(1)
	b.StayOut(order())
	for _, c := range []struct {
		at   time.Duration
		want int
	}{{time.Second, 1}, {30 * time.Second, 1}, {60 * time.Second, 1}, {61 * time.Second, 2}, {121 * time.Second, 3}} {
		remind(wanted.Instant(c.at))
		if said != c.want {
			t.Errorf("%d reminders after %s, want %d", said, c.at, c.want)
		}
	}
	if _, _, err := b.Resume(); err != nil {
		t.Fatal(err)
	}
	remind(wanted.Instant(time.Hour))
	if said != 3 {
		t.Error("reminds of what is over")
	}
}

// The order comes in the middle of everything: while a session opens, re-cuts overtake each other and the lease ends.
// Once the router has nothing it hears nothing until Resume.
func TestStayOutAtAnyMoment(t *testing.T) {
	r := router(t)
	b := join(t)
	w := base(1, neighbour("r1", r))
	for i := uint64(1); i <= 20; i++ {
		hole := netip.AddrFrom4([4]byte{203, 0, 113, byte(i * 11)})
		set, _ := recutSet(i, hole, w.Routers...)
		b.set(set)
		if i > 3 { // the first ones find no session
			wait(t, r, "some of it", func(t bgptest.Table) bool { return t.Len() > 0 })
		}
		b.StayOut(order())
		wait(t, r, "nothing", has())
		waitStatus(t, b, "quiet", func() bool { return quiet(b.Status()) })
		before, _ := r.Counts()
		set.Revision = i // the same again, as for a longer lease
		b.set(set)
		waitStatus(t, b, "taken", func() bool { return b.Status().Settled == i })
		if after, _ := r.Counts(); after != before {
			t.Fatalf("%d announcements while out", after-before)
		}
		if _, _, err := b.Resume(); err != nil {
			t.Fatal(err)
		}
	}
	set, _ := recutSet(30, netip.MustParseAddr("203.0.113.1"), w.Routers...)
	b.set(set)
	wait(t, r, "all of it", has(keysOf(set.Routes...)...))
}

// Ten thousand rules are gone at a router within the time that withdrawing them takes.
func TestStayOutMany(t *testing.T) {
	r := router(t)
	b := join(t)
	w := base(1, neighbour("r1", r, func(r *wanted.Router) { r.RulesPerSecond = 100_000 }))
	w.Routes = hosts(10_000)
	b.set(w)
	wait(t, r, "all", func(t bgptest.Table) bool { return t.Len() == 10_000 })
	asked := time.Now()
	b.StayOut(order())
	wait(t, r, "none", has())
	t.Logf("10,000 rules withdrawn in %s", time.Since(asked).Round(time.Millisecond))
}

func FuzzParseOut(f *testing.F) {
	f.Add([]byte(`{"version":1,"since":"2026-11-24T03:00:00Z","by":"root (alice by sudo)","reason":"wrong rule"}`))
	f.Add([]byte(`{"version":1}`))
	f.Add([]byte(``))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		file := filepath.Join(dir, "out.json")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := bgp.New(bgp.Config{ASN: flowspec.ASN(ourASN), RouterID: netip.MustParseAddr("192.0.2.101"), OutFile: file}, bgp.Deps{Elapsed: func() wanted.Instant { return 1 }})
		if err != nil {
			t.Fatal(err)
		}
		o, out := s.Out()
		if !out || (o.Trouble == "") != (o.By != "") {
			t.Fatalf("%q: out %t, %+v", data, out, o)
		}
		if o.Trouble != "" {
			return
		}
		// What can be read is written in a form that reads the same.
		again, err := bgp.New(bgp.Config{ASN: flowspec.ASN(ourASN), RouterID: netip.MustParseAddr("192.0.2.101"), OutFile: file + "2"}, bgp.Deps{Elapsed: func() wanted.Instant { return 1 }})
		if err != nil {
			t.Fatal(err)
		}
		kept, _ := again.StayOut(o)
		if kept.Trouble != "" || kept.By != o.By || kept.Reason != o.Reason || !kept.Since.Equal(o.Since) {
			t.Fatalf("%+v was kept as %+v", o, kept)
		}
		if err := os.Remove(file + "2"); err != nil {
			t.Fatal(err)
		}
	})
}

package fastnetmon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

func TestParseCall(t *testing.T) {
	rows := []struct {
		name string
		args []string
		want Call
		says string
	}{
		{"a ban", []string{"203.0.113.10", "incoming", "430", "ban"}, Call{netip.MustParseAddr("203.0.113.10"), false, 430, Ban}, ""},
		{"IPv6 with zeros", []string{"2001:0db8:0203::0002", "incoming", "444", "unban"}, Call{netip.MustParseAddr("2001:db8:203::2"), false, 444, Unban}, ""},
		{"outgoing", []string{"203.0.113.10", "outgoing", "0", "attack_details"}, Call{netip.MustParseAddr("203.0.113.10"), true, 0, Details}, ""},
		{"mapped", []string{"::ffff:203.0.113.10", "incoming", "1", "ban"}, Call{netip.MustParseAddr("203.0.113.10"), false, 1, Ban}, ""},
		{"nothing", nil, Call{}, "0 arguments"},
		{"too few", []string{"203.0.113.10", "incoming", "430"}, Call{}, "3 arguments"},
		{"a prefix", []string{"203.0.113.0/24", "incoming", "430", "ban"}, Call{}, "not the address of a host"},
		{"a zone", []string{"fe80::1%eth0", "incoming", "430", "ban"}, Call{}, "not the address of a host"},
		{"no address", []string{"0.0.0.0", "incoming", "430", "ban"}, Call{}, "not the address of a host"},
		{"a direction", []string{"203.0.113.10", "in", "430", "ban"}, Call{}, `direction "in"`},
		{"a rate", []string{"203.0.113.10", "incoming", "-1", "ban"}, Call{}, `"-1"`},
		{"a rate beyond measure", []string{"203.0.113.10", "incoming", "99999999999999999999", "ban"}, Call{}, "whole number"},
		{"an action", []string{"203.0.113.10", "incoming", "1", "block"}, Call{}, `action "block"`},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			got, err := ParseCall(r.args)
			if (err != nil) != (r.says != "") || err != nil && !strings.Contains(err.Error(), r.says) {
				t.Fatalf("error %v, want %q", err, r.says)
			}
			if diff := cmp.Diff(r.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("call (-want +got):\n%s", diff)
			}
		})
	}
}

// captured are the calls of FastNetMon 1.2.4 whose texts are in testdata: 1,500 packets a second each, of which it had
// measured less when it banned.
func TestDescribeCaptured(t *testing.T) {
	rows := []struct {
		file, victim string
		pps          float64
		want         *pb.Signal
	}{
		{"dns-ban", "203.0.113.10", 430, &pb.Signal{Vector: "dns_amplification", PacketsPerSecond: 430, BitsPerSecond: 3595832}},
		{"dns-attack_details", "203.0.113.10", 430, &pb.Signal{Vector: "dns_amplification", PacketsPerSecond: 430, BitsPerSecond: 3595832}},
		{"syn-ban", "203.0.113.11", 327, &pb.Signal{Vector: "syn_flood", PacketsPerSecond: 327, BitsPerSecond: 141787, DestinationPorts: []*pb.Range{{Low: 443}}}},
		{"syn-attack_details", "203.0.113.11", 327, &pb.Signal{Vector: "syn_flood", PacketsPerSecond: 327, BitsPerSecond: 141787, DestinationPorts: []*pb.Range{{Low: 443}}}},
		{"icmp-ban", "203.0.113.12", 446, &pb.Signal{Vector: "icmp_flood", PacketsPerSecond: 446, BitsPerSecond: 350734}},
		{"icmp-attack_details", "203.0.113.12", 446, &pb.Signal{Vector: "icmp_flood", PacketsPerSecond: 446, BitsPerSecond: 350734}},
		// The list of flows shows octets of the payload as ports; neither may become one.
		{"fragments-ban", "203.0.113.13", 483, &pb.Signal{Vector: "fragment_flood", Protocols: []uint32{17}, PacketsPerSecond: 483, BitsPerSecond: 4004263}},
		{"fragments-attack_details", "203.0.113.13", 483, &pb.Signal{Vector: "fragment_flood", Protocols: []uint32{17}, PacketsPerSecond: 483, BitsPerSecond: 4004263}},
		// GRE: "Attack protocol: tcp", and not one TCP packet.
		{"gre-ban", "203.0.113.14", 443, &pb.Signal{Vector: "unknown", PacketsPerSecond: 443, BitsPerSecond: 831777}},
		{"gre-attack_details", "203.0.113.14", 443, &pb.Signal{Vector: "unknown", PacketsPerSecond: 443, BitsPerSecond: 831777}},
		// The text of an IPv6 attack says "IP: 0.0.0.0" and has no samples.
		{"udp6-ban", "2001:0db8:0203::0002", 444, &pb.Signal{Vector: "udp_flood", PacketsPerSecond: 444, BitsPerSecond: 3062534}},
	}
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) != len(rows) {
		t.Errorf("%d texts for %d rows, %v", len(files), len(rows), err)
	}
	for _, r := range rows {
		t.Run(r.file, func(t *testing.T) {
			text, err := os.ReadFile("testdata/" + r.file + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			victim := netip.MustParseAddr(r.victim)
			r.want.Targets = []string{victim.String()}
			got := Describe(Call{Victim: victim, PPS: r.pps, Action: Ban}, ParseReport(text, victim), nil)
			if diff := cmp.Diff(r.want, got, protocmp.Transform()); diff != "" {
				t.Errorf("signal (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDescribe(t *testing.T) {
	victim := netip.MustParseAddr("203.0.113.10")
	packets := func(n int, protocol string, sport, dport uint16, fragment bool) []Sample {
		return []Sample{{Protocol: protocol, SourcePort: sport, DestinationPort: dport, Fragment: fragment, Packets: uint64(n)}}
	}
	many := func(lists ...[]Sample) []Sample {
		var out []Sample
		for _, l := range lists {
			out = append(out, l...)
		}
		return out
	}
	rows := []struct {
		name    string
		call    Call
		report  Report
		renamed map[string]string
		want    *pb.Signal
	}{
		{"no text", Call{PPS: 70}, Report{}, nil, &pb.Signal{Vector: "unknown", PacketsPerSecond: 70}},
		{"megabits only", Call{}, Report{Type: "udp_flood", Total: 5, Megabits: 2}, nil, &pb.Signal{Vector: "udp_flood", PacketsPerSecond: 5, BitsPerSecond: 2 << 20}},
		{"a flood of ACKs", Call{}, Report{Type: "unknown", Protocol: "tcp", Total: 100, TCP: 95}, nil, &pb.Signal{Vector: "tcp_flood", PacketsPerSecond: 100}},
		{"a mixture", Call{}, Report{Type: "unknown", Protocol: "tcp", Total: 100, TCP: 60, UDP: 40}, nil, &pb.Signal{Vector: "unknown", PacketsPerSecond: 100}},
		{"NTP with fragments", Call{}, Report{Type: "ip_fragmentation", Total: 100, UDP: 100, Fragments: 60, Samples: many(packets(40, "udp", 123, 5000, false), packets(60, "udp", 0, 0, true))}, nil, &pb.Signal{Vector: "ntp_amplification", PacketsPerSecond: 100}},
		{"fragments of many protocols", Call{}, Report{Type: "ip_fragmentation", Total: 100, UDP: 60, TCP: 40, Fragments: 95}, nil, &pb.Signal{Vector: "fragment_flood", PacketsPerSecond: 100}},
		{"a few fragments", Call{}, Report{Type: "ip_fragmentation", Total: 100, UDP: 100, Fragments: 60}, nil, &pb.Signal{Vector: "udp_flood", PacketsPerSecond: 100}},
		{"from either port of one service", Call{}, Report{Type: "udp_flood", Total: 100, UDP: 100, Samples: many(packets(50, "udp", 32410, 1, false), packets(50, "udp", 32414, 2, false))}, nil, &pb.Signal{Vector: "plex_amplification", PacketsPerSecond: 100}},
		{"a half from port 53", Call{}, Report{Type: "udp_flood", Total: 100, UDP: 100, Samples: many(packets(50, "udp", 53, 1, false), packets(50, "udp", 4444, 2, false))}, nil, &pb.Signal{Vector: "udp_flood", PacketsPerSecond: 100}},
		{"too few to tell", Call{}, Report{Type: "udp_flood", Total: 100, UDP: 100, Samples: packets(9, "udp", 53, 4444, false)}, nil, &pb.Signal{Vector: "udp_flood", PacketsPerSecond: 100}},
		{"TCP from port 53", Call{}, Report{Type: "syn_flood", Total: 100, TCP: 100, Samples: packets(90, "tcp", 53, 80, false)}, nil, &pb.Signal{Vector: "syn_flood", PacketsPerSecond: 100, DestinationPorts: []*pb.Range{{Low: 80}}}},
		{"UDP to one port", Call{}, Report{Type: "udp_flood", Total: 100, UDP: 100, Samples: many(packets(20, "udp", 5, 27015, false), packets(20, "udp", 6, 27015, false))}, nil, &pb.Signal{Vector: "udp_flood", PacketsPerSecond: 100, DestinationPorts: []*pb.Range{{Low: 27015}}}},
		{"UDP to two ports", Call{}, Report{Type: "udp_flood", Total: 100, UDP: 100, Samples: many(packets(99, "udp", 5, 27015, false), packets(1, "udp", 6, 27016, false))}, nil, &pb.Signal{Vector: "udp_flood", PacketsPerSecond: 100}},
		{"renamed", Call{}, Report{Type: "ip_fragmentation", Total: 100, UDP: 100}, map[string]string{"ip_fragmentation": "carpet_bombing"}, &pb.Signal{Vector: "carpet_bombing", PacketsPerSecond: 100}},
		{"outgoing, by what comes in", Call{Outgoing: true, PPS: 900}, Report{Type: "syn_flood", Total: 100, UDP: 100}, nil, &pb.Signal{Vector: "udp_flood", PacketsPerSecond: 100}},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			r.call.Victim, r.want.Targets = victim, []string{"203.0.113.10"}
			if diff := cmp.Diff(r.want, Describe(r.call, r.report, r.renamed), protocmp.Transform()); diff != "" {
				t.Errorf("signal (-want +got):\n%s", diff)
			}
		})
	}
}

// cluster answers signals by their numbers, as policy does.
type cluster struct {
	t *testing.T

	mu    sync.Mutex // guards what is below
	last  map[string]uint64
	got   []string
	retry int   // so many times every signal is to come again
	err   error // instead of an answer
}

func (c *cluster) Report(_ context.Context, in *pb.ReportRequest, _ ...grpc.CallOption) (*pb.ReportResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	out := &pb.ReportResponse{}
	if c.retry > 0 {
		c.retry--
		for range in.GetSignals() {
			out.Verdicts = append(out.Verdicts, &pb.Verdict{Kind: pb.VerdictKind_VERDICT_KIND_RETRY, RetryAfter: durationpb.New(time.Millisecond)})
		}
		return out, nil
	}
	for _, s := range in.GetSignals() {
		name := strings.TrimPrefix(s.GetKind().String(), "SIGNAL_KIND_")
		if s.GetSeq() <= c.last[s.GetAttackId()] {
			c.t.Errorf("%s of %s has number %d, after %d", name, s.GetAttackId(), s.GetSeq(), c.last[s.GetAttackId()])
		}
		if c.last == nil {
			c.last = map[string]uint64{}
		}
		c.last[s.GetAttackId()] = s.GetSeq()
		c.got = append(c.got, fmt.Sprintf("%s %s %d", name, s.GetAttackId(), s.GetSeq()))
		out.Verdicts = append(out.Verdicts, &pb.Verdict{Kind: pb.VerdictKind_VERDICT_KIND_MITIGATED})
	}
	return out, nil
}

func (c *cluster) heard() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.got
	c.got = nil
	return out
}

func TestNotify(t *testing.T) {
	c := &cluster{t: t}
	dir := t.TempDir()
	seconds := int64(100)
	call := func(victim string, a Action) (Outcome, error) {
		t.Helper()
		store, err := OpenStore(dir) // each call is a process of its own
		if err != nil {
			t.Fatal(err)
		}
		seconds++
		n := &Notifier{Store: store, Reporter: c, Now: func() time.Time { return time.Unix(seconds, 0) }}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		return n.Notify(ctx, Call{Victim: netip.MustParseAddr(victim), PPS: 1, Action: a}, Report{})
	}
	fine := func(victim string, a Action, want ...string) {
		t.Helper()
		if _, err := call(victim, a); err != nil {
			t.Errorf("%s: %v", a, err)
		}
		if diff := cmp.Diff(want, c.heard()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", a, diff)
		}
	}
	const v4, v6 = "203.0.113.10", "2001:db8:203::2"
	fine(v4, Ban, "START fastnetmon-203.0.113.10-101000000000 1")
	fine(v6, Ban, "START fastnetmon-2001:db8:203::2-102000000000 1")
	fine(v4, Details, "UPDATE fastnetmon-203.0.113.10-101000000000 2")
	fine(v4, Unban, "END fastnetmon-203.0.113.10-101000000000 3")
	fine(v6, Unban, "END fastnetmon-2001:db8:203::2-102000000000 2")
	if files, _ := filepath.Glob(dir + "/*.json"); len(files) != 0 {
		t.Errorf("after the end of all attacks there are %v", files)
	}

	t.Run("an end of nothing", func(t *testing.T) {
		if _, err := call(v4, Unban); !errors.Is(err, ErrUnknownAttack) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("details of nothing begin an attack", func(t *testing.T) {
		fine(v4, Details, "START fastnetmon-203.0.113.10-107000000000 1")
	})
	t.Run("a ban without an end of the one before", func(t *testing.T) {
		fine(v4, Ban, "START fastnetmon-203.0.113.10-108000000000 1", "END fastnetmon-203.0.113.10-107000000000 2")
	})
	t.Run("the cluster is away", func(t *testing.T) {
		c.err = status.Error(codes.Unavailable, "nobody")
		if _, err := call(v4, Unban); status.Code(err) != codes.Unavailable {
			t.Errorf("got %v", err)
		}
		if _, err := call(v4, Ban); status.Code(err) != codes.Unavailable {
			t.Errorf("got %v", err)
		}
		c.err = nil
		// The end that was not heard, and the start, are made up for; the number of the start is used up.
		fine(v4, Details, "UPDATE fastnetmon-203.0.113.10-110000000000 2", "END fastnetmon-203.0.113.10-108000000000 2")
		fine(v4, Unban, "END fastnetmon-203.0.113.10-110000000000 3")
	})
	t.Run("come again", func(t *testing.T) {
		c.retry = 3
		fine(v4, Ban, "START fastnetmon-203.0.113.10-113000000000 1")
		fine(v4, Unban, "END fastnetmon-203.0.113.10-113000000000 2")
	})
	t.Run("a file that is not ours", func(t *testing.T) {
		fine(v4, Ban, "START fastnetmon-203.0.113.10-115000000000 1")
		if err := os.WriteFile(dir+"/203.0.113.10.json", []byte(`{"victim":"203.0.113.11"`), 0o600); err != nil {
			t.Fatal(err)
		}
		o, err := call(v4, Unban)
		if !errors.Is(err, ErrUnknownAttack) || len(o.Notices) != 1 {
			t.Errorf("got %v, %v", o, err)
		}
	})
}

// A call that meets another one of the same victim waits, and gives up in time.
func TestNotifyWaitsForTheLock(t *testing.T) {
	store, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	victim := netip.MustParseAddr("203.0.113.10")
	held, err := store.open(t.Context(), victim)
	if err != nil {
		t.Fatal(err)
	}
	n := &Notifier{Store: store, Reporter: &cluster{t: t}, Now: time.Now}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := n.Notify(ctx, Call{Victim: victim, Action: Ban}, Report{}); err == nil || !strings.Contains(err.Error(), "takes too long") {
		t.Errorf("got %v", err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := n.Notify(t.Context(), Call{Victim: victim, Action: Ban}, Report{})
		done <- err
	}()
	if err := held.close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("after the other one: %v", err)
	}
}

// What never stops coming again is given up when time is up, and remembered.
func TestNotifyGivesUp(t *testing.T) {
	store, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, retry: 1 << 30}
	n := &Notifier{Store: store, Reporter: c, Now: func() time.Time { return time.Unix(1, 0) }}
	victim := netip.MustParseAddr("203.0.113.10")
	for _, a := range []Action{Ban, Unban} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		o, err := n.Notify(ctx, Call{Victim: victim, Action: a}, Report{})
		cancel()
		if err != nil || len(o.Verdicts) != 1 || o.Verdicts[0].GetKind() != pb.VerdictKind_VERDICT_KIND_RETRY {
			t.Errorf("%s: %v, %v", a, o, err)
		}
	}
	c.retry = 0
	if _, err := n.Notify(t.Context(), Call{Victim: victim, Action: Unban}, Report{}); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"END fastnetmon-203.0.113.10-1000000000 2"}, c.heard()); diff != "" {
		t.Errorf("after all (-want +got):\n%s", diff)
	}
}

func FuzzParseReport(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("Total incoming pps: NaN x\nUDP flows: 1\n203.0.113.10:1 < 198.51.100.1:53 1 bytes 18446744073709551615 packets\n"))
	victim := netip.MustParseAddr("203.0.113.10")
	f.Fuzz(func(t *testing.T, text []byte) {
		r := ParseReport(text, victim)
		s := Describe(Call{Victim: victim, PPS: 1}, r, nil)
		if len(s.GetTargets()) != 1 || s.GetTargets()[0] != "203.0.113.10" || s.GetVector() == "" {
			t.Fatalf("%v", s)
		}
		for _, n := range []float64{s.GetBitsPerSecond(), s.GetPacketsPerSecond()} {
			if !(n >= 0 && n < 1e40) {
				t.Fatalf("rate %v", n)
			}
		}
		if len(s.GetDestinationPorts()) > 1 || len(s.GetDestinationPorts()) == 1 && s.GetDestinationPorts()[0].GetLow() == 0 {
			t.Fatalf("ports %v", s.GetDestinationPorts())
		}
	})
}

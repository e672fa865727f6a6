package policy_test

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/policy"
)

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func pfxs(ss ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range ss {
		out = append(out, pfx(s))
	}
	return out
}

func noon() time.Time { return time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC) }

// world is a State with a clock that the test moves by hand.
type world struct {
	t     testing.TB
	s     *policy.State
	index policy.Index
	now   time.Time
	by    policy.Principal
}

// decide judges a request at the world's time and, unless it is refused, applies its changes.
func (w *world) decide(r policy.Request) policy.Decision {
	w.t.Helper()
	e := policy.Entry{Index: w.index + 1, At: w.now, By: w.by, Reason: "ticket 4711"}
	d := policy.Decide(w.s, r, e)
	if d.Verdict.Kind == policy.Refused && len(d.Changes) > 0 {
		w.t.Fatalf("refused with %d changes: %s", len(d.Changes), d.Verdict.Reason.Text)
	}
	if len(d.Changes) == 0 {
		return d
	}
	w.index++
	next, err := w.s.Apply(e, d.Changes)
	if err != nil {
		w.t.Fatalf("cannot apply the changes of %T: %v", r, err)
	}
	w.s = next
	for _, m := range d.Mitigations { // what was promised is what came
		now := *w.mitigation(m.ID)
		now.Changed = m.Changed
		now.History = unstamped(m.History, now.History)
		if !reflect.DeepEqual(&now, m) {
			w.t.Fatalf("%T: M%d was decided to be\n%+v\nand became\n%+v", r, m.ID, m, &now)
		}
	}
	return d
}

// unstamped returns the events that came, with the index of those that were decided without one as it was then.
func unstamped(decided, came []policy.Event) []policy.Event {
	out := slices.Clone(came)
	for i := range min(len(out), len(decided)) {
		if decided[i].Index == 0 {
			out[i].Index = 0
		}
	}
	return out
}

// must is decide for a request whose verdict is known.
func (w *world) must(kind policy.VerdictKind, code policy.ReasonCode, r policy.Request) policy.Decision {
	w.t.Helper()
	d := w.decide(r)
	if d.Verdict.Kind != kind || d.Verdict.Reason.Code != code {
		w.t.Fatalf("verdict %d %s, want %d %s: %s", d.Verdict.Kind, d.Verdict.Reason.Code, kind, code, d.Verdict.Reason.Text)
	}
	return d
}

func (w *world) mitigation(id policy.MitigationID) *policy.Mitigation {
	w.t.Helper()
	m, ok := w.s.Mitigation(id)
	if !ok {
		w.t.Fatalf("there is no M%d", id)
	}
	return m
}

func router(name, group string, address string, maxPrefix int, families ...flowspec.Family) *policy.Router {
	return &policy.Router{
		Name: name, Group: group, Address: netip.MustParseAddr(address), ASN: 64500, Families: families,
		Validation: policy.ValidationDisabled, Profile: "bird", MaxPrefix: maxPrefix,
	}
}

// blackholer is a session that carries blackhole routes.
func blackholer(name, address string, maxPrefix int, families ...flowspec.Family) *policy.Router {
	r := router(name, "edge", address, maxPrefix, families...)
	r.Carries, r.Validation = wanted.RTBH, ""
	for _, f := range families {
		if f == flowspec.IPv4 {
			r.DiscardIPv4 = netip.MustParseAddr("192.0.2.1")
		} else {
			r.DiscardIPv6 = netip.MustParseAddr("100::1")
		}
	}
	return r
}

// inventory is a small operator: uni-a with a link inside its official space and a nested customer, solo-c with a
// quota, three routers in two groups.
func inventory() []policy.Document {
	return []policy.Document{
		&policy.Customer{
			ID: "uni-a", Name: "University A", Official: pfxs("198.51.100.0/24", "203.0.112.0/22", "2001:db8:100::/40"),
			Links: []policy.Link{
				{Prefix: pfx("203.0.113.4/30"), PE: "pe1", Interface: "xe-0/0/1", Block: "lb-7", State: policy.LinkInUse},
				{Prefix: pfx("198.51.100.252/31"), PE: "pe2", Interface: "xe-0/0/2", State: policy.LinkClean},
				{Prefix: pfx("2001:db8:100:ffff::/64"), PE: "pe2", Interface: "xe-0/0/2", State: policy.LinkClean},
			},
		},
		&policy.Customer{ID: "lab-b", Name: "Laboratory B", Official: pfxs("203.0.114.0/24"), Within: "uni-a"},
		&policy.Customer{
			ID: "solo-c", Name: "Solo C", Official: pfxs("192.0.2.0/25"), MaxMitigations: 2,
			Links: []policy.Link{{Prefix: pfx("192.0.2.200/30"), PE: "pe3", Interface: "xe-0/0/3", State: policy.LinkUnstated}},
		},
		&policy.ProtectedBlock{Name: "lb-7", Kind: policy.BlockLinks, Prefixes: pfxs("203.0.113.0/28")},
		&policy.ProtectedBlock{Name: "resolvers", Kind: policy.BlockResolver, Prefixes: pfxs("192.0.2.53/32", "2001:db8:100:53::/64")},
		router("edge-1", "edge", "127.0.0.11", 3000, flowspec.IPv4, flowspec.IPv6),
		router("edge-2", "edge", "127.0.0.12", 4000, flowspec.IPv4, flowspec.IPv6),
		router("transit-1", "transit", "127.0.0.13", 20, flowspec.IPv4),
		&policy.Policy{
			Name: "amplification", Priority: 10, Vectors: []policy.Vector{policy.VectorDNSAmplification, policy.VectorNTPAmplification},
			Action: policy.Action{Kind: policy.Discard}, Lifetime: 30 * time.Minute, Groups: []string{"edge"},
		},
		&policy.Policy{
			Name: "floods", Priority: 5, Vectors: []policy.Vector{policy.VectorUDPFlood, policy.VectorICMPFlood, policy.VectorCarpetBombing, policy.VectorUnknown},
			Action: policy.Action{Kind: policy.RateLimit, Rate: 1_000_000}, Groups: []string{"edge"},
		},
	}
}

func newWorld(t testing.TB, docs ...policy.Document) *world {
	t.Helper()
	w := &world{t: t, s: policy.NewState(), now: noon(), by: "operator/alice"}
	if docs == nil {
		docs = inventory()
	}
	w.must(policy.Mitigated, policy.CodeApplied, &policy.ApplyRequest{Documents: docs})
	return w
}

// signal is a start of attack id on targets; change, if any, alters it.
func signal(id string, seq uint64, v policy.Vector, targets []netip.Prefix, change ...func(*policy.Signal)) *policy.SignalRequest {
	s := policy.Signal{Source: "fnm-1", AttackID: id, Seq: seq, Kind: policy.SignalStart, Targets: targets, Vector: v, DetectedAt: noon()}
	for _, f := range change {
		f(&s)
	}
	return &policy.SignalRequest{Signal: s}
}

func end(id string, seq uint64) *policy.SignalRequest {
	return signal(id, seq, "", nil, func(s *policy.Signal) { s.Kind = policy.SignalEnd })
}

// expectText fails unless the reason's sentence holds all of the parts: numbers and names that an engineer needs.
func expectText(t testing.TB, r policy.Reason, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(r.Text, p) {
			t.Errorf("%s: %q does not say %q", r.Code, r.Text, p)
		}
	}
}

// same fails unless got is want, unexported fields of addresses included.
func same(t testing.TB, what string, want, got any) {
	t.Helper()
	if reflect.DeepEqual(want, got) {
		return
	}
	t.Errorf("%s (-want +got):\n%s", what, cmp.Diff(want, got, prefixes(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })))
}

package policy_test

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/policy"
)

const dns = policy.VectorDNSAmplification

// causes lists the attacks that keep a mitigation alive.
func causes(m *policy.Mitigation) []string {
	var out []string
	for _, c := range m.Causes {
		out = append(out, c.AttackID)
	}
	return out
}

// TestMitigationRecord reads a mitigation made from a signal, whole.
func TestMitigationRecord(t *testing.T) {
	w := newWorld(t)
	m := w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, dns, pfxs("203.0.113.0/27", "203.0.113.0/28"))).Mitigations[0]
	if diff := cmp.Diff(pfxs("203.0.113.0/27"), m.Targets, prefixes()); diff != "" {
		t.Errorf("targets (-want +got):\n%s", diff)
	}
	want := policy.Cut{Pieces: pfxs("203.0.113.16/28"), Exempt: []policy.Exemption{{Prefix: pfx("203.0.113.0/28"), Kind: policy.ExemptBlock, Name: "lb-7"}}}
	if diff := cmp.Diff(want, m.Cut, prefixes()); diff != "" {
		t.Errorf("cut (-want +got):\n%s", diff)
	}
	if m.ID != 1 || m.Customer != "uni-a" || m.Origin != policy.FromPolicy || m.Policy != "amplification" || m.Vector != dns || m.Phase != policy.Active {
		t.Errorf("record %+v", m)
	}
	if m.Lifetime != 30*time.Minute || !m.Created.Equal(noon()) || !m.Expires.Equal(noon().Add(30*time.Minute)) || m.By != "operator/alice" {
		t.Errorf("lifetime %s from %s until %s by %s", m.Lifetime, m.Created, m.Expires, m.By)
	}
	if diff := cmp.Diff([]policy.Cause{{Source: "fnm-1", AttackID: "a", Since: noon()}}, m.Causes); diff != "" {
		t.Errorf("causes (-want +got):\n%s", diff)
	}
	rules := texts(m.Rules)
	if diff := cmp.Diff([]string{"dst 203.0.113.16/28 proto udp sport 53 => discard", "dst 203.0.113.16/28 proto udp frag any:is-fragment => discard"}, rules); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

func prefixes() cmp.Option { return cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }) }

func texts(rules []flowspec.Rule) []string {
	var out []string
	for _, r := range rules {
		out = append(out, r.String())
	}
	return out
}

// TestCausesKeepAlive attaches causes and ends them in turn: the last one ends the mitigation, not one before.
func TestCausesKeepAlive(t *testing.T) {
	for _, n := range []int{1, 2, policy.MaxCauses, policy.MaxCauses + 1, 3 * policy.MaxCauses} {
		t.Run(fmt.Sprint(n, " causes"), func(t *testing.T) {
			for name, order := range map[string]func(i int) int{
				"first to last": func(i int) int { return i },
				"last to first": func(i int) int { return n - 1 - i },
				"from within":   func(i int) int { return (i + n/2) % n },
			} {
				w := newWorld(t)
				for i := range n {
					w.decide(signal(fmt.Sprint("a", i), 1, dns, pfxs("198.51.100.7/32")))
				}
				m := w.mitigation(1)
				if got := len(m.Causes) + m.MoreCauses; got != n || len(m.Causes) > policy.MaxCauses {
					t.Fatalf("%s: %d causes listed and %d more, want %d", name, len(m.Causes), m.MoreCauses, n)
				}
				for i := range n {
					if w.mitigation(1).Phase != policy.Active {
						t.Fatalf("%s: over after %d of %d ends", name, i, n)
					}
					id := fmt.Sprint("a", order(i))
					w.must(policy.Ended, policy.CodeAttackOver, end(id, 2))
					w.must(policy.Ended, policy.CodeRepetition, end(id, 2)) // an end said twice counts once
				}
				if m := w.mitigation(1); m.Phase != policy.Over || m.End != policy.EndAttackOver {
					t.Fatalf("%s: phase %d, end %q after all ends", name, m.Phase, m.End)
				}
			}
		})
	}
}

// TestMerge says which signals an active mitigation covers.
func TestMerge(t *testing.T) {
	wide := signal("a", 1, dns, pfxs("198.51.100.0/24"))
	rows := []struct {
		name string
		req  *policy.SignalRequest
		into policy.MitigationID // 0: a new one
	}{
		{"inside", signal("b", 1, dns, pfxs("198.51.100.9/32")), 1},
		{"several inside", signal("b", 1, dns, pfxs("198.51.100.9/32", "198.51.100.128/25")), 1},
		{"the same", signal("b", 1, dns, pfxs("198.51.100.0/24")), 1},
		{"another detector", signal("a", 1, dns, pfxs("198.51.100.0/24"), func(s *policy.Signal) { s.Source = "fnm-2" }), 1},
		{"outside", signal("b", 1, dns, pfxs("203.0.112.9/32")), 0},
		{"partly outside", signal("b", 1, dns, pfxs("198.51.100.9/32", "203.0.112.9/32")), 0},
		{"other vector", signal("b", 1, policy.VectorNTPAmplification, pfxs("198.51.100.9/32")), 0},
		{"narrower match", signal("b", 1, dns, pfxs("198.51.100.9/32"), func(s *policy.Signal) { s.DestinationPorts = []flowspec.Range{flowspec.One(80)} }), 0},
		{"other customer", signal("b", 1, dns, pfxs("203.0.114.9/32")), 0},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			w.must(policy.Mitigated, policy.CodeMitigated, wide)
			w.now = w.now.Add(10 * time.Minute)
			d := w.decide(row.req)
			if row.into == 0 {
				if d.Verdict.Kind != policy.Mitigated || d.Verdict.Mitigation != 2 {
					t.Fatalf("verdict %+v, want a mitigation of its own", d.Verdict)
				}
				return
			}
			if d.Verdict.Kind != policy.Merged || d.Verdict.Mitigation != row.into {
				t.Fatalf("verdict %+v, want merged into M%d", d.Verdict, row.into)
			}
			m := w.mitigation(1)
			if !m.Expires.Equal(w.now.Add(30 * time.Minute)) {
				t.Errorf("a further cause does not begin the lifetime anew: expires %s", m.Expires)
			}
			if len(m.Causes) != 2 || w.s.ActiveCount() != 1 {
				t.Errorf("causes %v, %d active", causes(m), w.s.ActiveCount())
			}
		})
	}
}

// TestMergeNotIntoOtherPolicy changes the policy meanwhile: its old mitigation does something else now.
func TestMergeNotIntoOtherPolicy(t *testing.T) {
	w := newWorld(t)
	w.decide(signal("a", 1, dns, pfxs("198.51.100.0/24")))
	w.decide(&policy.ApplyRequest{Documents: []policy.Document{&policy.Policy{
		Name: "amplification", Priority: 10, Vectors: []policy.Vector{dns},
		Action: policy.Action{Kind: policy.Discard}, Groups: []string{"edge", "transit"},
	}}})
	w.must(policy.Mitigated, policy.CodeMitigated, signal("b", 1, dns, pfxs("198.51.100.9/32")))
}

// TestMergeNotIntoWhatIsUnprotected: a target that an active mitigation gave up by rounding gets one of its own.
func TestMergeNotIntoWhatIsUnprotected(t *testing.T) {
	docs := without(nil, scattered("198.51.100.", 6, 12))
	w := newWorld(t, docs...)
	m := w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, dns, pfxs("198.51.100.0/24"))).Mitigations[0]
	if !m.Cut.Rounded || len(m.Cut.Unprotected) == 0 {
		t.Fatalf("cut %+v is not rounded", m.Cut)
	}
	d := w.must(policy.Mitigated, policy.CodeMitigated, signal("b", 1, dns, m.Cut.Unprotected[:1]))
	if diff := cmp.Diff(m.Cut.Unprotected[:1], d.Mitigations[0].Cut.Pieces, prefixes()); diff != "" {
		t.Errorf("pieces (-want +got):\n%s", diff)
	}
}

// TestUpdate sends updates of a running attack.
func TestUpdate(t *testing.T) {
	host := pfxs("198.51.100.7/32")
	rows := []struct {
		name    string
		others  []policy.Request // between start and update
		update  *policy.SignalRequest
		verdict policy.VerdictKind
		code    policy.ReasonCode
		phases  map[policy.MitigationID]policy.Phase
		causes  map[policy.MitigationID][]string
	}{
		{
			"more rate only", nil, signal("a", 2, dns, host, func(s *policy.Signal) { s.BitsPerSecond = 9e9 }), policy.Merged, policy.CodeRepetition,
			map[policy.MitigationID]policy.Phase{1: policy.Active},
			map[policy.MitigationID][]string{1: {"a"}},
		},
		{
			"other target", nil, signal("a", 2, dns, pfxs("198.51.100.8/32")), policy.Mitigated, policy.CodeMitigated,
			map[policy.MitigationID]policy.Phase{1: policy.Over, 2: policy.Active},
			map[policy.MitigationID][]string{2: {"a"}},
		},
		{
			"wider", nil, signal("a", 2, dns, pfxs("198.51.100.0/25")), policy.Mitigated, policy.CodeMitigated,
			map[policy.MitigationID]policy.Phase{1: policy.Over, 2: policy.Active},
			map[policy.MitigationID][]string{2: {"a"}},
		},
		{
			"other vector", nil, signal("a", 2, policy.VectorNTPAmplification, host), policy.Mitigated, policy.CodeMitigated,
			map[policy.MitigationID]policy.Phase{1: policy.Over, 2: policy.Active},
			nil,
		},
		{
			"moves away from a shared one",
			[]policy.Request{signal("b", 1, dns, host)},
			signal("a", 2, dns, pfxs("198.51.100.8/32")), policy.Mitigated, policy.CodeMitigated,
			map[policy.MitigationID]policy.Phase{1: policy.Active, 2: policy.Active},
			map[policy.MitigationID][]string{1: {"b"}, 2: {"a"}},
		},
		{
			"moves into another one",
			[]policy.Request{signal("b", 1, dns, pfxs("203.0.112.0/24"))},
			signal("a", 2, dns, pfxs("203.0.112.9/32")), policy.Merged, policy.CodeMerged,
			map[policy.MitigationID]policy.Phase{1: policy.Over, 2: policy.Active},
			map[policy.MitigationID][]string{2: {"b", "a"}},
		},
		{
			"stays in a shared one that covers it",
			[]policy.Request{signal("b", 1, dns, host)},
			signal("a", 2, dns, host, func(s *policy.Signal) { s.Kind = policy.SignalUpdate }),
			policy.Merged, policy.CodeRepetition,
			map[policy.MitigationID]policy.Phase{1: policy.Active},
			map[policy.MitigationID][]string{1: {"a", "b"}},
		},
		{
			"is refused", nil, signal("a", 2, dns, pfxs("203.0.113.5/32")), policy.Refused, policy.CodeTargetProtected,
			map[policy.MitigationID]policy.Phase{1: policy.Active},
			map[policy.MitigationID][]string{1: {"a"}},
		},
		{
			"no policy any more", nil, signal("a", 2, policy.VectorSYNFlood, host), policy.Observed, policy.CodeNoPolicy,
			map[policy.MitigationID]policy.Phase{1: policy.Active},
			nil,
		},
		{
			"after the end",
			[]policy.Request{end("a", 2)},
			signal("a", 3, dns, host), policy.Mitigated, policy.CodeMitigated,
			map[policy.MitigationID]policy.Phase{1: policy.Over, 2: policy.Active},
			map[policy.MitigationID][]string{2: {"a"}},
		},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, dns, host))
			for _, r := range row.others {
				w.decide(r)
			}
			d := w.must(row.verdict, row.code, row.update)
			for id, phase := range row.phases {
				if m := w.mitigation(id); m.Phase != phase || phase == policy.Over && m.End != policy.EndSuperseded && m.End != policy.EndAttackOver {
					t.Errorf("M%d: phase %d end %q, want phase %d", id, m.Phase, m.End, phase)
				}
			}
			for id, want := range row.causes {
				if diff := cmp.Diff(want, causes(w.mitigation(id))); diff != "" {
					t.Errorf("M%d causes (-want +got):\n%s", id, diff)
				}
			}
			if d.Verdict.Kind == policy.Mitigated || d.Verdict.Kind == policy.Merged && row.code == policy.CodeMerged {
				att, _ := w.s.Attack("fnm-1", "a")
				if att.Mitigation != d.Verdict.Mitigation || att.Seq != row.update.Signal.Seq {
					t.Errorf("attack remembered as %+v", att)
				}
			}
		})
	}
}

// TestQuotaOfAMove: an update that replaces the last permitted mitigation is not one too many.
func TestQuotaOfAMove(t *testing.T) {
	w := newWorld(t, alone(func(c *policy.Customer) { c.MaxMitigations = 2 })...)
	w.decide(signal("a", 1, dns, pfxs("192.0.2.1/32")))
	w.decide(signal("b", 1, dns, pfxs("192.0.2.2/32")))
	w.must(policy.Refused, policy.CodeCustomerQuota, signal("c", 1, dns, pfxs("192.0.2.3/32")))
	w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 2, dns, pfxs("192.0.2.3/32")))
	w.must(policy.Refused, policy.CodeCustomerQuota, signal("c", 1, dns, pfxs("192.0.2.4/32")))
}

// TestAfterExpiry: an attack that goes on is mitigated again.
func TestAfterExpiry(t *testing.T) {
	w := newWorld(t)
	w.decide(signal("a", 1, dns, pfxs("198.51.100.7/32")))
	w.now = w.now.Add(time.Hour)
	w.must(policy.Ended, policy.CodeExpired, &policy.ExpireRequest{})
	w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, dns, pfxs("198.51.100.7/32")))
}

// TestPolicyChoice: the highest priority, then the name; every selector must take the signal.
func TestPolicyChoice(t *testing.T) {
	p := func(name string, priority int, change func(*policy.Policy)) *policy.Policy {
		d := &policy.Policy{Name: name, Priority: priority, Action: policy.Action{Kind: policy.Discard}, Groups: []string{"edge"}}
		change(d)
		return d
	}
	none := func(*policy.Policy) {}
	rows := []struct {
		name string
		docs []policy.Document
		want string // empty: none
	}{
		{"priority", []policy.Document{p("a", 1, none), p("b", 2, none)}, "b"},
		{"name", []policy.Document{p("b", 1, none), p("a", 1, none)}, "a"},
		{"customer", []policy.Document{p("a", 1, none), p("b", 2, func(d *policy.Policy) { d.Customers = []policy.CustomerID{"solo-c"} })}, "a"},
		{"source", []policy.Document{p("a", 1, none), p("b", 2, func(d *policy.Policy) { d.Sources = []string{"other"} })}, "a"},
		{"all selectors", []policy.Document{p("a", 1, none), p("b", 2, func(d *policy.Policy) {
			d.Sources, d.Customers, d.Vectors = []string{"x", "fnm-1"}, []policy.CustomerID{"uni-a"}, []policy.Vector{dns}
		})}, "b"},
		{"none", []policy.Document{p("b", 2, func(d *policy.Policy) { d.Vectors = []policy.Vector{policy.VectorGREFlood} })}, ""},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, without([]string{"amplification", "floods"}, row.docs...)...)
			d := w.decide(signal("x", 1, dns, pfxs("198.51.100.7/32")))
			got := ""
			if len(d.Mitigations) > 0 {
				got = d.Mitigations[0].Policy
			}
			if got != row.want {
				t.Errorf("policy %q, want %q", got, row.want)
			}
		})
	}
}

// TestPolicyLifetime: none is the default, too long is cut to the maximum and noted.
func TestPolicyLifetime(t *testing.T) {
	for _, row := range []struct {
		name      string
		asked, by time.Duration
		noted     bool
	}{{"default", 0, time.Hour, false}, {"stated", 5 * time.Minute, 5 * time.Minute, false}, {"above the maximum", 12 * time.Hour, 2 * time.Hour, true}} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t)
			sg := policy.DefaultSafeguards()
			sg.MaxLifetime = 2 * time.Hour
			// Past the check of the inventory, which refuses the third row: an older log may hold such a policy.
			var err error
			w.index++
			w.s, err = w.s.Apply(policy.Entry{Index: w.index, At: w.now}, []policy.Change{&policy.PutDocument{Document: sg}, &policy.PutDocument{Document: &policy.Policy{
				Name: "syn", Vectors: []policy.Vector{policy.VectorSYNFlood}, Action: policy.Action{Kind: policy.Discard}, Lifetime: row.asked, Groups: []string{"edge"},
			}}})
			if err != nil {
				t.Fatal(err)
			}
			d := w.must(policy.Mitigated, policy.CodeMitigated, signal("x", 1, policy.VectorSYNFlood, pfxs("198.51.100.7/32")))
			m := d.Mitigations[0]
			if m.Lifetime != row.by || (len(m.Notes) > 0) != row.noted {
				t.Errorf("lifetime %s with notes %q, want %s", m.Lifetime, m.Notes, row.by)
			}
		})
	}
}

// TestShare: rules share the rate; together they never exceed it, and lose next to nothing.
func TestShare(t *testing.T) {
	w := newWorld(t)
	for i, rate := range []flowspec.BytesPerSecond{7, 100, 1e6 + 1, 1.25e9 / 3, 3.3e38} {
		req := limit(rate, "203.0.112.0/22")
		req.Match, req.Groups = udp(t, uint64(1000+i)), []string{"edge"}
		m := w.must(policy.Mitigated, policy.CodeStarted, req).Mitigations[0]
		total := 0.0
		for _, r := range m.Rules {
			total += float64(r.Actions[0].Rate)
		}
		if total > float64(rate) || total < float64(rate)*(1-1e-6) {
			t.Errorf("%v bytes/s: the rules have %v together", float64(rate), total)
		}
	}
}

// TestDiscardNotes tells the operator which rate limit comes before the discard.
func TestDiscardNotes(t *testing.T) {
	w := newWorld(t)
	w.must(policy.Mitigated, policy.CodeStarted, limit(1e6, "198.51.100.7/32"))
	m := w.must(policy.Mitigated, policy.CodeStarted, discard("198.51.100.0/25")).Mitigations[0]
	if !slices.ContainsFunc(m.Notes, func(n string) bool { return len(n) > 2 && n[:2] == "M1" }) {
		t.Errorf("notes %q do not name M1", m.Notes)
	}
}

// TestDigest: what is content changes the digest, the order of lists, the number and the time of detection do not.
func TestDigest(t *testing.T) {
	base := signal("a", 1, dns, pfxs("198.51.100.7/32", "198.51.100.9/32")).Signal
	base.Protocols, base.SourcePorts = []uint8{17, 6}, []flowspec.Range{{Lo: 1, Hi: 2}, {Lo: 5, Hi: 6}}
	same := map[string]func(*policy.Signal){
		"seq":            func(s *policy.Signal) { s.Seq = 9 },
		"detected at":    func(s *policy.Signal) { s.DetectedAt = noon().Add(time.Hour) },
		"target order":   func(s *policy.Signal) { s.Targets = pfxs("198.51.100.9/32", "198.51.100.7/32") },
		"target twice":   func(s *policy.Signal) { s.Targets = append(slices.Clone(s.Targets), s.Targets...) },
		"protocol order": func(s *policy.Signal) { s.Protocols = []uint8{6, 17, 6} },
		"range order":    func(s *policy.Signal) { s.SourcePorts = []flowspec.Range{{Lo: 5, Hi: 6}, {Lo: 1, Hi: 2}} },
	}
	other := map[string]func(*policy.Signal){
		"source":       func(s *policy.Signal) { s.Source = "x" },
		"attack":       func(s *policy.Signal) { s.AttackID = "x" },
		"kind":         func(s *policy.Signal) { s.Kind = policy.SignalUpdate },
		"targets":      func(s *policy.Signal) { s.Targets = s.Targets[:1] },
		"length":       func(s *policy.Signal) { s.Targets = pfxs("198.51.100.7/32", "198.51.100.8/31") },
		"vector":       func(s *policy.Signal) { s.Vector = policy.VectorUDPFlood },
		"protocols":    func(s *policy.Signal) { s.Protocols = []uint8{17} },
		"sports":       func(s *policy.Signal) { s.SourcePorts = []flowspec.Range{{Lo: 1, Hi: 2}} },
		"dports":       func(s *policy.Signal) { s.DestinationPorts, s.SourcePorts = s.SourcePorts, nil },
		"lengths":      func(s *policy.Signal) { s.PacketLengths, s.SourcePorts = s.SourcePorts, nil },
		"sources":      func(s *policy.Signal) { s.SourcePrefixes = pfxs("192.0.2.0/24") },
		"bps":          func(s *policy.Signal) { s.BitsPerSecond = 1 },
		"pps":          func(s *policy.Signal) { s.PacketsPerSecond = 1 },
		"confidence":   func(s *policy.Signal) { s.Confidence = math.SmallestNonzeroFloat64 },
		"drill":        func(s *policy.Signal) { s.Drill = true },
		"run together": func(s *policy.Signal) { s.Source, s.AttackID = "fnm-1a", "" },
	}
	want := policy.SignalDigest(base)
	for name, f := range same {
		s := base
		f(&s)
		if policy.SignalDigest(s) != want {
			t.Errorf("%s changes the digest", name)
		}
	}
	seen := map[[32]byte]string{want: "base"}
	for name, f := range other {
		s := base
		f(&s)
		d := policy.SignalDigest(s)
		if was, found := seen[d]; found {
			t.Errorf("%s and %s have one digest", name, was)
		}
		seen[d] = name
	}
	if diff := cmp.Diff(pfxs("198.51.100.7/32", "198.51.100.9/32"), base.Targets, prefixes()); diff != "" {
		t.Errorf("the signal was changed:\n%s", diff)
	}
}

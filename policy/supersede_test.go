package policy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/policy"
)

func rateOf(bytes flowspec.BytesPerSecond) policy.Action {
	return policy.Action{Kind: policy.RateLimit, Rate: bytes}
}

func packetsOf(pps flowspec.PacketsPerSecond) policy.Action {
	return policy.Action{Kind: policy.RateLimitPackets, Packets: pps}
}

// TestLooserRate: a rate inside of a stricter one is refused, whoever asks for it, and what each rule lets pass is what counts.
func TestLooserRate(t *testing.T) {
	flood := func(a policy.Action) []policy.Document {
		return without([]string{"floods"}, &policy.Policy{Name: "floods", Vectors: []policy.Vector{policy.VectorUDPFlood}, Action: a})
	}
	hit := signal("a", 1, policy.VectorUDPFlood, pfxs("198.51.100.9/32"))
	continued := rateOf(9e6)
	continued.Continue = true
	for _, row := range []struct {
		name  string
		docs  []policy.Document
		first policy.Request
		then  policy.Request
		code  policy.ReasonCode
		text  []string
	}{
		{
			"a policy's, inside of an operator's", flood(rateOf(1e6)), order(rateOf(1e4), "198.51.100.0/26"), hit, policy.CodeShieldsStronger,
			[]string{"M1 limits the rate on 198.51.100.9", "each of its rules lets pass 8Mbps, and each of M1's 80kbps", "withdraw M1, or ask for no more than that"},
		},
		{"an operator's, inside of an operator's", nil, order(rateOf(1e6), "198.51.100.0/26"), order(rateOf(9e8), "198.51.100.9/32"), policy.CodeShieldsStronger, nil},
		{
			"an operator's, inside of a policy's", flood(rateOf(1e4)), signal("a", 1, policy.VectorUDPFlood, pfxs("198.51.100.0/26")),
			&policy.StartRequest{Targets: pfxs("198.51.100.9/32"), Match: udp(t, 53), Action: rateOf(1e6)}, policy.CodeShieldsStronger, nil,
		},
		{"of packets", nil, order(packetsOf(10), "198.51.100.0/26"), order(packetsOf(11), "198.51.100.9/32"), policy.CodeShieldsStronger, []string{"11pps", "10pps"}},
		{"of packets, inside of one of bytes", nil, order(rateOf(1e6), "198.51.100.0/26"), order(packetsOf(1), "198.51.100.9/32"), policy.CodeShieldsStronger, nil},
		{"of bytes, inside of one of packets", nil, order(packetsOf(1e6), "198.51.100.0/26"), order(rateOf(1), "198.51.100.9/32"), policy.CodeShieldsStronger, nil},
		{
			"of bytes, by the rule of one of packets", nil, order(packetsOf(1e6), "198.51.100.9/32"), order(rateOf(1), "198.51.100.9/32"), policy.CodeShieldsStronger,
			[]string{"a router has one of the two only"},
		},
		{
			"the same, of two rules together", nil, &policy.StartRequest{Targets: pfxs("198.51.100.0/26", "198.51.100.128/26"), Action: rateOf(1e6)},
			order(rateOf(1e6), "198.51.100.9/32"), policy.CodeShieldsStronger,
			[]string{"8Mbps", "4Mbps"},
		},
		{"by the same rule", nil, order(rateOf(1e6), "198.51.100.9/32"), order(rateOf(2e6), "198.51.100.9/32"), policy.CodeShieldsStronger, []string{"would have no effect"}},
		{
			"by the same rule as a policy's", flood(rateOf(1e4)), hit, &policy.StartRequest{Targets: pfxs("198.51.100.9/32"), Match: floodMatch(t), Action: rateOf(1e6)},
			policy.CodeShieldsStronger,
			[]string{"would take its place"},
		},
		{"the same rate", nil, order(rateOf(1e6), "198.51.100.0/26"), order(rateOf(1e6), "198.51.100.9/32"), policy.CodeStarted, nil},
		{"a stricter one", nil, order(rateOf(1e6), "198.51.100.0/26"), order(rateOf(9e5), "198.51.100.9/32"), policy.CodeStarted, nil},
		{"beside it", nil, order(rateOf(1e4), "198.51.100.0/26"), order(rateOf(1e6), "198.51.100.64/32"), policy.CodeStarted, nil},
		{"with later rules asked too", nil, order(rateOf(1e6), "198.51.100.0/26"), order(continued, "198.51.100.9/32"), policy.CodeStarted, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, row.docs...)
			if d := w.decide(row.first); d.Verdict.Kind != policy.Mitigated {
				t.Fatal(d.Verdict.Reason)
			}
			d := w.decide(row.then)
			if d.Verdict.Reason.Code != row.code {
				t.Fatalf("%s: %s, want %s", d.Verdict.Reason.Code, d.Verdict.Reason.Text, row.code)
			}
			expectText(t, d.Verdict.Reason, row.text...)
		})
	}
}

// TestStricterAroundALooser: what is looser and comes before is told, with the rates.
func TestStricterAroundALooser(t *testing.T) {
	w := newWorld(t)
	w.must(policy.Mitigated, policy.CodeStarted, order(rateOf(1e6), "198.51.100.9/32"))
	m := w.must(policy.Mitigated, policy.CodeStarted, order(rateOf(1e4), "198.51.100.0/26")).Mitigations[0]
	expectText(t, policy.Reason{Text: strings.Join(m.Notes, "\n")}, "M1 limits the rate of a part of this at 198.51.100.9 and comes before it there (each of its rules lets pass 80kbps, and each of M1's 8Mbps)")
}

// floodMatch is what the policies' answer to a UDP flood takes.
func floodMatch(t *testing.T) flowspec.Match {
	t.Helper()
	m, err := flowspec.ParseMatch("ipv4 proto udp")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestSuperseded: a weaker, more specific mitigation of a policy ends in the decision that starts a stronger one around it, which
// has its attacks as causes from then on.
func TestSuperseded(t *testing.T) {
	const flood, ntp = policy.VectorUDPFlood, policy.VectorNTPAmplification
	everywhere := func() []policy.Document {
		return without([]string{"floods", "amplification"},
			&policy.Policy{Name: "floods", Vectors: []policy.Vector{flood}, Action: rateOf(1e6)},
			&policy.Policy{
				Name: "discards", Vectors: []policy.Vector{dns, ntp, policy.VectorCarpetBombing}, Action: policy.Action{Kind: policy.Discard},
				Aggregate: policy.Aggregate{MinTargets: 2, MinShare: 100, WidestIPv4: 32, WidestIPv6: 128},
			},
		)
	}
	udpCarpet := func(id string, seq uint64, targets ...string) *policy.SignalRequest {
		return signal(id, seq, policy.VectorCarpetBombing, pfxs(targets...), func(s *policy.Signal) { s.Protocols = []uint8{17} })
	}
	t.Run("by a policy's", func(t *testing.T) {
		w := newWorld(t, everywhere()...).as(detector)
		w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, flood, pfxs("198.51.100.17/32")))
		w.must(policy.Merged, policy.CodeMerged, signal("b", 1, flood, pfxs("198.51.100.17/32")))
		w.must(policy.Mitigated, policy.CodeMitigated, signal("c", 1, flood, pfxs("198.51.100.40/32")))
		d := w.must(policy.Mitigated, policy.CodeMitigated, udpCarpet("x", 1, "198.51.100.16/28"))
		expectText(t, d.Verdict.Reason, "takes the place of M1, which held back less")
		if m := w.mitigation(1); m.End != policy.EndSuperseded || w.mitigation(2).Phase != policy.Active || w.routes() != 2 {
			t.Fatalf("M1 ended %q, M2 is in phase %d, %d routes", m.End, w.mitigation(2).Phase, w.routes())
		}
		if diff := cmp.Diff([]string{"x", "a", "b"}, causes(w.mitigation(3))); diff != "" {
			t.Errorf("causes (-want +got):\n%s", diff)
		}
		d = w.must(policy.Merged, policy.CodeRepetition, signal("a", 2, flood, pfxs("198.51.100.17/32")))
		expectText(t, d.Verdict.Reason, "M3 of policy discards (discard) takes all that policy floods would (rate 8Mbps)", "stays for this attack")
		w.must(policy.Ended, policy.CodeAttackOver, end("x", 2))
		w.must(policy.Ended, policy.CodeAttackOver, end("b", 2))
		w.must(policy.Merged, policy.CodeRepetition, signal("a", 3, flood, pfxs("198.51.100.17/32"))) // the last one
		if m := w.mitigation(3); m.Phase != policy.Active {
			t.Fatalf("M3 is in phase %d", m.Phase)
		}
		w.must(policy.Ended, policy.CodeAttackOver, end("a", 4))
		if m := w.mitigation(3); m.End != policy.EndAttackOver {
			t.Errorf("M3 ended %q", m.End)
		}
	})
	t.Run("by an operator's, which lives without causes", func(t *testing.T) {
		w := newWorld(t, everywhere()...)
		w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, flood, pfxs("198.51.100.17/32")))
		w.must(policy.Mitigated, policy.CodeStarted, discard("198.51.100.16/28"))
		if m := w.mitigation(1); m.End != policy.EndSuperseded || len(w.mitigation(2).Causes) != 0 {
			t.Fatalf("M1 ended %q, causes of M2 %v", m.End, w.mitigation(2).Causes)
		}
		w.must(policy.Refused, policy.CodeShieldsStronger, signal("a", 2, flood, pfxs("198.51.100.17/32")))
		w.must(policy.Ended, policy.CodeWithdrawn, &policy.WithdrawRequest{ID: 2})
		w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 2, flood, pfxs("198.51.100.17/32")))
	})
	t.Run("a greater rate, by a smaller one", func(t *testing.T) {
		w := newWorld(t, everywhere()...)
		w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, flood, pfxs("198.51.100.17/32")))
		w.must(policy.Mitigated, policy.CodeStarted, order(rateOf(1e4), "198.51.100.16/28"))
		if m := w.mitigation(1); m.End != policy.EndSuperseded || w.routes() != 1 {
			t.Errorf("M1 ended %q, %d routes", m.End, w.routes())
		}
	})
	t.Run("one that takes more packets stays, and is told", func(t *testing.T) {
		w := newWorld(t, everywhere()...)
		w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, flood, pfxs("198.51.100.17/32")))
		m := w.must(policy.Mitigated, policy.CodeMitigated, signal("b", 1, ntp, pfxs("198.51.100.16/28"))).Mitigations[0]
		expectText(t, policy.Reason{Text: strings.Join(m.Notes, "\n")}, "M1 limits the rate of a part of this at 198.51.100.17")
		if w.mitigation(1).Phase != policy.Active {
			t.Error("the flood to other ports is not limited any more")
		}
	})
	t.Run("one with a piece elsewhere stays", func(t *testing.T) {
		w := newWorld(t, everywhere()...)
		w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, flood, pfxs("198.51.100.17/32", "198.51.100.99/32")))
		w.must(policy.Mitigated, policy.CodeStarted, discard("198.51.100.16/28"))
		if w.mitigation(1).Phase != policy.Active {
			t.Error("198.51.100.99 is not limited any more")
		}
	})
	t.Run("an operator's stays, and is told", func(t *testing.T) {
		w := newWorld(t, everywhere()...)
		w.must(policy.Mitigated, policy.CodeStarted, order(rateOf(1e6), "198.51.100.17/32"))
		m := w.must(policy.Mitigated, policy.CodeMitigated, udpCarpet("x", 1, "198.51.100.16/28")).Mitigations[0]
		expectText(t, policy.Reason{Text: strings.Join(m.Notes, "\n")}, "M1 limits the rate of a part of this at 198.51.100.17")
		if w.mitigation(1).Phase != policy.Active {
			t.Error("an operator's order ended by itself")
		}
	})
	t.Run("where routers of other groups hear it", func(t *testing.T) {
		w := newWorld(t, everywhere()...)
		w.must(policy.Mitigated, policy.CodeMitigated, signal("a", 1, flood, pfxs("198.51.100.17/32")))
		r := discard("198.51.100.16/28")
		r.Groups = []string{"edge"}
		w.must(policy.Mitigated, policy.CodeStarted, r)
		if w.mitigation(1).Phase != policy.Active {
			t.Error("transit routers hear nothing any more")
		}
	})
	t.Run("by a step, and by an approval", func(t *testing.T) {
		docs := everywhere()
		docs = append(docs, &policy.Policy{Name: "climbs", Priority: 9, Vectors: []policy.Vector{dns}, Ladder: []policy.Step{
			{Action: policy.Action{Kind: policy.Mark, DSCP: 8}}, {Action: policy.Action{Kind: policy.Discard}, After: time.Minute},
		}}, &policy.Policy{Name: "light", Vectors: []policy.Vector{ntp}, Priority: 9, Action: rateOf(2e6)})
		w := newWorld(t, docs...)
		amplified := func(id string, v policy.Vector, target string) *policy.SignalRequest {
			return signal(id, 1, v, pfxs(target), func(s *policy.Signal) { s.Protocols = []uint8{17} })
		}
		w.must(policy.Mitigated, policy.CodeMitigated, amplified("a", dns, "198.51.100.16/28"))
		w.must(policy.Mitigated, policy.CodeMitigated, signal("d", 1, flood, pfxs("198.51.100.18/32"), func(s *policy.Signal) {
			s.SourcePorts = []flowspec.Range{{Lo: 53, Hi: 53}}
		}))
		w.now = noon().Add(2 * time.Minute)
		w.must(policy.Mitigated, policy.CodeEscalated, &policy.EscalateRequest{Reports: []policy.AttackReport{{ID: 1, At: w.now}}})
		if m := w.mitigation(2); m.End != policy.EndSuperseded {
			t.Errorf("M2 ended %q: %v", m.End, m.Rules)
		}
		if diff := cmp.Diff([]string{"a", "d"}, causes(w.mitigation(1))); diff != "" {
			t.Errorf("causes (-want +got):\n%s", diff)
		}
		// What awaits approval supersedes nothing before it is approved.
		asking := &policy.Policy{Name: "asks", Priority: 20, Vectors: []policy.Vector{policy.VectorCarpetBombing}, Mode: policy.ModeApprove, Action: policy.Action{Kind: policy.Discard}}
		w.as("admin/root").must(policy.Mitigated, policy.CodeApplied, &policy.ApplyRequest{Documents: []policy.Document{asking}})
		w.as(detector).must(policy.Mitigated, policy.CodeMitigated, signal("e", 1, flood, pfxs("203.0.112.9/32")))
		w.must(policy.AwaitsApproval, policy.CodeAwaitsApproval, udpCarpet("y", 1, "203.0.112.0/28"))
		if w.mitigation(3).Phase != policy.Active {
			t.Fatal("superseded by what nobody approved")
		}
		w.as(bob).must(policy.Mitigated, policy.CodeApproved, approve(4))
		if m := w.mitigation(3); m.End != policy.EndSuperseded {
			t.Errorf("M3 ended %q", m.End)
		}
		if diff := cmp.Diff([]string{"y", "e"}, causes(w.mitigation(4))); diff != "" {
			t.Errorf("causes (-want +got):\n%s", diff)
		}
	})
}

package policy_test

import (
	"strings"
	"testing"

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
		{"a policy's, inside of an operator's", flood(rateOf(1e6)), order(rateOf(1e4), "198.51.100.0/26"), hit, policy.CodeShieldsStronger,
			[]string{"M1 limits the rate on 198.51.100.9", "each of its rules lets pass 8Mbps, and each of M1's 80kbps", "withdraw M1, or ask for no more than that"}},
		{"an operator's, inside of an operator's", nil, order(rateOf(1e6), "198.51.100.0/26"), order(rateOf(9e8), "198.51.100.9/32"), policy.CodeShieldsStronger, nil},
		{"an operator's, inside of a policy's", flood(rateOf(1e4)), signal("a", 1, policy.VectorUDPFlood, pfxs("198.51.100.0/26")),
			&policy.StartRequest{Targets: pfxs("198.51.100.9/32"), Match: udp(t, 53), Action: rateOf(1e6)}, policy.CodeShieldsStronger, nil},
		{"of packets", nil, order(packetsOf(10), "198.51.100.0/26"), order(packetsOf(11), "198.51.100.9/32"), policy.CodeShieldsStronger, []string{"11pps", "10pps"}},
		{"of packets, inside of one of bytes", nil, order(rateOf(1e6), "198.51.100.0/26"), order(packetsOf(1), "198.51.100.9/32"), policy.CodeShieldsStronger, nil},
		{"of bytes, inside of one of packets", nil, order(packetsOf(1e6), "198.51.100.0/26"), order(rateOf(1), "198.51.100.9/32"), policy.CodeShieldsStronger, nil},
		{"of bytes, by the rule of one of packets", nil, order(packetsOf(1e6), "198.51.100.9/32"), order(rateOf(1), "198.51.100.9/32"), policy.CodeShieldsStronger,
			[]string{"a router has one of the two only"}},
		{"the same, of two rules together", nil, &policy.StartRequest{Targets: pfxs("198.51.100.0/26", "198.51.100.128/26"), Action: rateOf(1e6)},
			order(rateOf(1e6), "198.51.100.9/32"), policy.CodeShieldsStronger, []string{"8Mbps", "4Mbps"}},
		{"by the same rule", nil, order(rateOf(1e6), "198.51.100.9/32"), order(rateOf(2e6), "198.51.100.9/32"), policy.CodeShieldsStronger, []string{"would have no effect"}},
		{"by the same rule as a policy's", flood(rateOf(1e4)), hit, &policy.StartRequest{Targets: pfxs("198.51.100.9/32"), Match: floodMatch(t), Action: rateOf(1e6)},
			policy.CodeShieldsStronger, []string{"would take its place"}},
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

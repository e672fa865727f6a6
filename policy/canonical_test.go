package policy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/policy"
)

// TestSamePacketsInOtherWords: an order whose match says in other words what an active mitigation of the operator says is
// that mitigation, and no second rule beside it.
func TestSamePacketsInOtherWords(t *testing.T) {
	for _, row := range []struct{ name, first, second, rule string }{
		{"order of ports", "ipv4 proto udp sport 123|53", "ipv4 proto udp sport 53|123", "proto udp sport 53|123"},
		{"a negated flag", "ipv4 tcp-flags syn&!ack", "ipv4 tcp-flags !any:ack&syn", "tcp-flags syn&!any:ack"},
		{"a run of ports", "ipv4 proto udp sport 1|2|3|4|5|6", "ipv4 proto udp sport 1-6", "proto udp sport 1-6"},
	} {
		t.Run(row.name, func(t *testing.T) {
			const host = "198.51.100.7/32"
			w := newWorld(t)
			m := w.must(policy.Mitigated, policy.CodeStarted, withMatch(t, discard(host), row.first)).Mitigations[0]
			if diff := cmp.Diff([]string{"dst " + host + " " + row.rule + " => discard"}, texts(m.Rules)); diff != "" {
				t.Errorf("rules (-want +got):\n%s", diff)
			}
			again := w.decide(withMatch(t, discard(host), row.second))
			if again.Verdict.Kind == policy.Mitigated || w.s.ActiveCount() != 1 {
				t.Errorf("the same again: %v, %d active", again.Verdict, w.s.ActiveCount())
			}
		})
	}
}

package main

import (
	"strings"
	"testing"
)

// TestPolicyMistakes holds that a slip in a policy is answered with the place and with what to write instead.
func TestPolicyMistakes(t *testing.T) {
	s := newShell(t)
	for _, r := range []struct{ name, text, want string }{
		{"a misspelt vector", "vectors: [udpflood]\naction: {discard: true}", `-:3:11: vectors[0]: "udpflood" is not a known vector; write udp_flood`},
		{"a vector in place of a list", "vectors: udp_flood\naction: {discard: true}", "a list is needed"},
		{"a misspelt key", "vector: [udp_flood]\naction: {discard: true}", "did you mean vectors?"},
		{"a word in place of an action", "action: discard", "write one or more of these as KEY: VALUE in { }: discard, rate"},
		{"another word for discard", "action: {drop: true}", "action.drop: there is no such key in Action; known are"},
		{"a rate without a unit", "action: {rate: 10M}", `unknown unit "M", known are bps`},
		{"a rate that is a number", "action: {rate: 10}", `write it in quotes: "10"`},
		{"two actions", "action: {rate: 10Mbps, discard: true}", "discard and rate exclude each other"},
		{"no action", "vectors: [udp_flood]", "it is not said what to do; write discard: true"},
		{"no route target", "action: {redirect: scrubber}", `action.redirect: "scrubber" is no route target; write the VRF's import route target`},
		{"a ladder that goes down", "ladder:\n  - action: {discard: true}\n  - action: {rate: 10Mbps}\n    after: 5m", "rate 10Mbps does not do more than discard of the step before"},
		{"a step without a time", "ladder:\n  - action: {rate: 10Mbps}\n  - action: {discard: true}", "ladder[1].after: it is not said after how long the step is taken"},
		{"a first step that waits", "ladder:\n  - action: {rate: 10Mbps}\n    after: 5m", "ladder[0].after: the first step is taken at once, not after 5m; leave it out"},
		{"steps at one time", "ladder:\n  - action: {rate: 10Mbps}\n  - action: {rate: 5Mbps}\n    after: 5m\n  - action: {discard: true}\n    after: 5m", "5m is not later than the 5m of the step before"},
		{"a time without a unit", "ladder:\n  - action: {rate: 10Mbps}\n  - action: {discard: true}\n    after: 5", `"5" is not a duration; write it with its unit`},
		{"a ladder and an action", "action: {discard: true}\nladder:\n  - action: {rate: 10Mbps}", "action: there is a ladder as well"},
		{"a confidence in percent", "action: {discard: true}\nmin_confidence: 80", "80 is not from 0 to 1"},
		{"a variable that there is not", "action: {discard: true}\nwhen: 'signal.rate > 1e9'", "column 1: there is no signal.rate; tidegate policy variables lists"},
		{"a function that there is not", "action: {discard: true}\nwhen: 'big(signal.bps)'", "undeclared reference to 'big'"},
		{"half a condition", "action: {discard: true}\nwhen: 'signal.bps >'", "column 13: it ends too early; tidegate policy variables"},
		{"a list compared with a text", "action: {discard: true}\nwhen: \"customer.tags == 'gold'\"", `== does not go with (list(string), string), what is in a list is asked like "'gold' in customer.tags"`},
		{"a condition that is a number", "action: {discard: true}\nwhen: signal.bps", "it says double, where true or false is asked for"},
		{"a mode that there is not", "action: {discard: true}\nmode: dry-run", `"dry-run" is not a mode; write auto`},
		{"a hint that there is not", "action: {discard: true}\nmatch_on: [ports]", `"ports" is not a hint; write protocols`},
		{"none and another hint", "action: {discard: true}\nmatch_on: [none, protocols]", "none stands beside other hints"},
		{"a lifetime above the maximum", "action: {discard: true}\nlifetime: 48h", "48h is longer than the safeguards' maximum of 24h; lower it, or raise max_lifetime"},
		{"a blackhole that no router hears", "action: {rtbh: true}", "no router carries blackhole routes: every signal would be refused"},
		{"a customer that there is not", "action: {discard: true}\ncustomers: [nobody]", `there is no customer "nobody"`},
		{"a group that there is not", "action: {discard: true}\ngroups: [core]", `no router is in group "core"`},
		{"nothing to relax to", "action: {discard: true}\nrelax: auto", "it takes a ladder of several steps, and a quiet time"},
		{"relax, not said how", "action: {discard: true}\nrelax: 'yes'", `"yes" is not known; write auto, approve or never`},
		{"packets in place of a rate", "action: {discard: true}\nmin_rate: 2Mpps", "packets, where a rate of bits or bytes is wanted"},
	} {
		t.Run(r.name, func(t *testing.T) {
			code, _, stderr := s.run(s.pki.Admin, "kind: Policy\nname: p\n"+r.text+"\n", "apply", "-f", "-")
			flat := strings.Join(strings.Fields(stderr), " ")
			if code != 2 || !strings.Contains(flat, r.want) || !strings.HasPrefix(flat, "tidegate: -:") {
				t.Errorf("exit code %d, %q is not in, or no place before: %s", code, r.want, flat)
			}
		})
	}
	if code, _, stderr := s.run(s.pki.Admin, "kind: Policy\nname: p\naction: {discard: true}\nquiet: 1m\nrelax: never\n", "apply", "-f", "-"); code != 0 {
		t.Errorf("relax: never is not taken: %s", stderr)
	}
}

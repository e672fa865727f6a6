package rehearse_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/api/manifest"
	"github.com/tidegate/tidegate/cmd/rehearse"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

const inventory = `
kind: Customer
id: uni-a
name: University A
official: [203.0.113.0/24]
links: [{prefix: 203.0.113.4/30}]
---
kind: Router
name: edge1
address: 192.0.2.1
asn: 65010
group: edge
validation: disabled-by-import-policy
profile: frr
max_prefix: 100
---
kind: Policy
name: reflected
vectors: [dns_amplification]
action: {discard: true}
lifetime: 10m
---
kind: Policy
name: climbing
vectors: [ntp_amplification]
ladder:
  - action: {rate: 1Mbps}
  - action: {discard: true}
    after: 2m
quiet: 2m
lifetime: 10m
`

func begin(t *testing.T, text string) func() (*api.Rehearsal, []*pb.FieldViolation, string) {
	t.Helper()
	docs, err := manifest.Parse("inventory.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return func() (*api.Rehearsal, []*pb.FieldViolation, string) { return api.NewRehearsal(manifest.Protos(docs)) }
}

// TestRun holds what is told of cases that come out as expected, and of those that do not.
func TestRun(t *testing.T) {
	text, err := os.ReadFile("testdata/cases.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cases, err := rehearse.Parse("cases.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	results, err := rehearse.Run(cases, begin(t, inventory))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]string{
		"rules, however they are written":      nil,
		"the end of the attack":                nil,
		"the lifetime passes":                  nil,
		"a link is never acted on":             nil,
		"no rules":                             nil,
		"an attack that outlasts a step":       nil,
		"one that is not reported any more":    nil,
		"one that is reported is renewed":      nil,
		"an attack that pulses does not climb": nil,
		"everything is otherwise": {
			`verdict: expected "refused", got "mitigated"`, `code: expected "x", got "mitigated"`,
			`text: expected "no such words", got "policy reflected: detector reports dns_amplification on 203.0.113.9 of customer uni-a"`,
			`policy: expected "other", got "reflected"`, "step: expected 2, got 0", "rule missing: dst 203.0.113.9/32 => discard",
			"rule not expected: dst 203.0.113.9/32 proto udp sport 53 => discard", "rule not expected: dst 203.0.113.9/32 proto udp frag any:is-fragment => discard",
		},
	}
	got := map[string][]string{}
	for _, r := range results {
		got[r.Name] = r.Differences
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("differences (-want +got):\n%s", d)
	}
	if n := rehearse.Failed(results); n != 1 {
		t.Errorf("%d failed, want 1", n)
	}
}

// TestParseRefuses holds that a slip in a file of cases is named, so that no case says less than its author meant.
func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"nothing", "", "there is no case in it"},
		{"no name", "- signals: [{vector: a}]\n  expect: {verdict: refused}", "give each case a name of its own"},
		{"one name twice", "- name: x\n  signals: [{vector: a}]\n  expect: {verdict: refused}\n- name: x", "case 2"},
		{"unknown key", "- name: x\n  signal: []", "field signal not found"},
		{"unknown field of a signal", "- name: x\n  signals: [{vektor: a}]\n  expect: {verdict: refused}", `unknown field "vektor"`},
		{"no signals", "- name: x\n  expect: {verdict: refused}", "it has no signals"},
		{"nothing expected", "- name: x\n  signals: [{vector: a}]", "it expects nothing"},
		{"no verdict", "- name: x\n  signals: [{vector: a}]\n  expect: {verdict: maybe}", `"maybe" is not a verdict`},
		{"no duration", "- name: x\n  signals: [{vector: a, after: 9}]\n  expect: {verdict: refused}", `after: "9" is not a duration`},
		{"time before any signal", "- name: x\n  signals: [{after: 5m}]\n  expect: {verdict: refused}", "begin with a signal"},
		{"not YAML", "- name: [", "cannot read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := rehearse.Parse("cases.yaml", []byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

// TestRunRefusesInventory holds that cases are not judged on documents that a cluster would not take.
func TestRunRefusesInventory(t *testing.T) {
	cases, err := rehearse.Parse("c", []byte("- name: x\n  signals: [{vector: dns_amplification}]\n  expect: {verdict: refused}"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, change, want string }{
		{"a document by itself", strings.Replace(inventory, "203.0.113.0/24", "203.0.113.1/24", 1), "Customer/uni-a: official"},
		{"documents together", inventory + "---\nkind: Customer\nid: b\nofficial: [203.0.113.0/25]\n", "Customer/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := rehearse.Run(cases, begin(t, c.change)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

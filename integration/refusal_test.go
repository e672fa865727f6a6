package integration_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The exit codes that the command line documents (tidegate help exit-codes).
const (
	exitMalformed = 2
	exitRefused   = 3
	exitNotFound  = 4
	exitDenied    = 6
)

// TestBadInput gives the program what must not be taken. Each row is refused with the exit code of its kind and a
// sentence of its own, and afterwards documents, mitigations, rules, and what the router was told are what they were.
func TestBadInput(t *testing.T) {
	s := startSingle(t)
	// Beside the router that listens: one that takes less than others, and one for blackholes. Nobody answers there.
	s.as("admin").ok("apply", "-f", writeFile(t, s.lab, "routers.yaml", silentRouters))
	s.as("operator").mitigation("--target", "203.0.113.16/28", "--discard")
	s.as("detector").signal("send", "--attack", "seen", "--target", "203.0.113.40", "--vector", "dns_amplification")
	s.waitTable("dst 203.0.113.16/28 => discard", "dst 203.0.113.40/32 proto udp sport 53 => discard",
		"dst 203.0.113.40/32 proto udp frag any:is-fragment => discard")

	start := func(more ...string) []string {
		return append([]string{"mitigation", "start", "--reason", "bad input"}, more...)
	}
	signal := func(more ...string) []string { return append([]string{"signal", "send", "--attack", "new"}, more...) }
	file := func(name, text string) []string {
		return []string{"apply", "-f", writeFile(t, s.lab, name, text)}
	}
	const good = "203.0.113.208/29"
	rows := []struct {
		name, role string
		args       []string
		code       int
		says       string // in no other row's answer
	}{
		{
			"prefix with host bits", "operator", start("--target", "203.0.113.9/24", "--discard"), exitMalformed,
			`targets[0]: "203.0.113.9/24" has host bits; write 203.0.113.0/24`,
		},
		{
			"IPv4 rule with IPv6 parts", "operator", start("--target", good, "--discard", "--match", "src 2001:db8::/32"), exitMalformed,
			"match: it is IPv6, the targets are IPv4",
		},
		{"targets of both families", "operator", start("--target", good+",2001:db8:a:9::/64", "--discard"), exitMalformed, "targets[1]"},
		{"rate of 0.1 bps", "operator", start("--target", good, "--rate", "0.1bps"), exitMalformed, "action.rate: 0.0125 bytes/s is below 1 byte/s"},
		{"rate without a unit", "operator", start("--target", good, "--rate", "10"), exitMalformed, "no unit"},
		{"rate and discard", "operator", start("--target", good, "--rate", "1Mbps", "--discard"), exitMalformed, "--discard and --rate exclude each other"},
		{"rate of half a packet", "operator", start("--target", good, "--rate", "0.5pps"), exitMalformed, "action.rate: 0.5 packets/s is below 1 packet/s"},
		{"mark 64", "operator", start("--target", good, "--mark", "64"), exitMalformed, "action.mark: DSCP 64 is above 63"},
		{"mark by a name that there is not", "operator", start("--target", good, "--mark", "af44"), exitMalformed, `action.mark: "af44" is not a DSCP`},
		{"no route target", "operator", start("--target", good, "--redirect", "scrubber"), exitMalformed, `action.redirect: "scrubber" is no route target`},
		{"IPv6 route target for IPv4", "operator", start("--target", good, "--redirect", "[2001:db8::1]:1"), exitMalformed, "an IPv6 route target cannot redirect IPv4 packets"},
		{"redirect to the other family", "operator", start("--target", good, "--redirect-ip", "2001:db8::1"), exitMalformed, "IPv4 packets cannot be redirected to 2001:db8::1"},
		{"copy without an address", "operator", start("--target", good, "--discard", "--copy"), exitMalformed, "--copy needs an address"},
		{"discard and go on", "operator", start("--target", good, "--discard", "--continue"), exitMalformed, "action.continue: nothing is left for later rules"},
		{"blackhole and sample", "operator", start("--target", "203.0.113.209", "--rtbh", "--sample"), exitMalformed, "action.sample: a blackhole route"},
		{"blackhole with a match", "operator", start("--target", "203.0.113.209", "--rtbh", "--match", "proto udp"), exitMalformed, "match: a blackhole route takes every packet"},
		{"blackhole of a /24", "operator", start("--target", "203.0.113.0/24", "--rtbh"), exitRefused, "(rtbh_too_wide)"},
		{"blackhole of a link", "operator", start("--target", "203.0.113.5", "--rtbh"), exitRefused, "203.0.113.5 is a link address"},
		{"blackhole that no router hears", "operator", start("--target", "2001:db8:a:9::1", "--rtbh"), exitRefused, "no router takes IPv6 blackhole routes"},
		{"what a router does not know", "operator", start("--target", good, "--discard", "--sample", "--group", "xr"), exitRefused, "(router_profile)"},
		{"flow label in IPv4", "operator", start("--target", good, "--discard", "--match", "label 7"), exitMalformed, "there is no flow label in IPv4"},
		{"don't-fragment in IPv6", "operator", start("--target", "2001:db8:a:9::1", "--discard", "--match", "frag dont-fragment"), exitMalformed, "there is no don't-fragment bit in IPv6"},
		{"offset in IPv4", "operator", start("--target", good, "--discard", "--match", "src 10.0.0.0/4-8"), exitMalformed, "which has none"},
		{"offset in IPv6", "operator", start("--target", "2001:db8:a:9::1", "--discard", "--match", "src 0:0db8::/16-32"), exitMalformed, "write the prefix from its first bit"},
		{"six ports", "operator", start("--target", good, "--discard", "--match", "proto udp dport 1|3|5|7|9|11"), exitMalformed, "at most 5; make several rules"},
		{"unknown profile", "admin", file("unknown.yaml", strings.Replace(silentRouters, "iosxr-ncs5500", "cisco", 1)), exitMalformed, `there is no profile "cisco"`},
		{"untested profile", "admin", file("untested.yaml", strings.Replace(silentRouters, "accept_untested: true\n", "", 1)), exitMalformed, `profile "iosxr-ncs5500" is untested`},
		{"rules over a session for blackholes", "admin", file("both.yaml", strings.Replace(silentRouters, "carries: rtbh\n", "validation: ibgp-9117\n", 1)), exitMalformed, "the session carries flowspec"},
		{"negative lifetime", "operator", start("--target", good, "--discard", "--lifetime", "-5m"), exitMalformed, "lifetime: -5m0s is negative"},
		{"lifetime above the maximum", "operator", start("--target", good, "--discard", "--lifetime", "8000h"), exitRefused, "(lifetime_too_long)"},
		{"port 70000", "operator", start("--target", good, "--discard", "--match", "proto udp dport 70000"), exitMalformed, "destination port is above 65535"},
		{"packet length 70000", "operator", start("--target", good, "--discard", "--match", "len 70000"), exitMalformed, "packet length is above 65535"},
		{
			"port 70000 in a signal", "detector", signal("--target", "203.0.113.208", "--vector", "udp_flood", "--dport", "70000"), exitMalformed,
			"destination_ports[0].low: port 70000 is above 65535",
		},
		{
			"packet length 70000 in a signal", "detector", signal("--target", "203.0.113.208", "--vector", "udp_flood", "--length", "70000"), exitMalformed,
			"packet_lengths[0].low: packet length 70000 is above 65535",
		},
		{"unknown vector", "detector", signal("--target", "203.0.113.208", "--vector", "teardrop"), exitMalformed, `"teardrop" is not a known vector`},
		{"target that nobody owns", "operator", start("--target", "100.64.1.1", "--discard"), exitRefused, "to the customer's official ones (tidegate apply) (target_not_official)"},
		{
			"target that nobody owns, in a signal", "detector", signal("--target", "100.64.1.1", "--vector", "dns_amplification"), exitRefused,
			"refused (target_not_official)",
		},
		{"a link", "operator", start("--target", "203.0.113.4/30", "--discard"), exitRefused, "203.0.113.4/30 is link space of customer uni-a"},
		{"a protected block", "operator", start("--target", "192.0.2.129", "--discard"), exitRefused, "protected block core"},
		{"multicast", "operator", start("--target", "224.0.0.1", "--discard"), exitRefused, "(target_built_in)"},
		{"everything", "operator", start("--target", "0.0.0.0/0", "--discard"), exitRefused, "(target_everything)"},
		{"two customers", "operator", start("--target", "203.0.113.208/29,192.0.2.0/28", "--discard"), exitRefused, "(targets_span_customers)"},
		{"no target", "operator", start("--discard"), exitMalformed, "--target is missing"},
		{"same attack and number, another body", "detector", []string{
			"signal", "send", "--attack", "seen", "--target", "203.0.113.41", "--vector", "dns_amplification",
		}, exitRefused, "refused (seq_conflict)"},
		{"truncated YAML", "admin", file("truncated.yaml", inventory[:strings.Index(inventory, "pe: pe2")]), exitMalformed, "truncated.yaml:"},
		{"YAML of 10 MiB", "admin", file("big.yaml", bigBlock(10<<20)), exitMalformed, "longer than 8 MiB"},
		{"unknown key", "admin", file("key.yaml", strings.Replace(inventory, "contacts:", "kontakts:", 1)), exitMalformed, "key.yaml:9:1: kontakts: "},
		{
			"a prefix with host bits in a document", "admin", file("bits.yaml", strings.Replace(inventory, "203.0.113.64/27", "203.0.113.65/27", 1)), exitMalformed,
			`bits.yaml:15:12: official[0]: "203.0.113.65/27" has host bits`,
		},
		{"inventory cut in half", "admin", append(file("half.yaml", half(inventory)), "--prune"), exitRefused, "allow exactly 4 removals (removals_need_number)"},
		{
			"a customer whose links are cut off", "admin", file("links.yaml", inventory[:strings.Index(inventory, "  - {prefix: 198.51.100.0/31")]), exitRefused,
			"this removes 2 of 5 links (40.0 %, without a number at most 2 %): 198.51.100.0/31, 2001:db8:a:ffff::/127",
		},
		{
			"another number of removals", "admin", append(file("half.yaml", half(inventory)), "--prune", "--allow-removals", "1"), exitRefused,
			"allow exactly 4 removals (1 was stated)",
		},
		{"withdrawing what is not there", "operator", []string{"mitigation", "withdraw", "M99", "--reason", "x"}, exitNotFound, "M99"},
		{"a detector that starts mitigations", "detector", start("--target", good, "--discard"), exitDenied, "may not call"},
		{"no reason", "operator", []string{"mitigation", "start", "--target", good, "--discard"}, exitMalformed, "--reason is missing"},
	}
	before := s.everything()
	announced, withdrawn := s.witness.Counts()
	answers := make([]string, len(rows))
	for i, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			r := s.as(row.role).run(row.args...)
			answers[i] = oneLine(r)
			if r.Code != row.code || !strings.Contains(answers[i], row.says) {
				t.Errorf("exit code %d and %q, want %d and %q", r.Code, answers[i], row.code, row.says)
			}
			if diff := cmp.Diff(before, s.everything()); diff != "" {
				t.Errorf("something changed (-before +after)\n%s", diff)
			}
		})
	}
	for i, row := range rows {
		for j := range rows {
			if i != j && strings.Contains(answers[j], row.says) {
				t.Errorf("%q is answered like %q: %s", rows[j].name, row.name, answers[j])
			}
		}
	}
	if a, w := s.witness.Counts(); a != announced || w != withdrawn {
		t.Errorf("the router was told %d announcements and %d withdrawals meanwhile", a-announced, w-withdrawn)
	}
}

// silentRouters are routers at which nobody answers.
const silentRouters = `kind: Router
name: xr1
address: 127.0.0.71
port: 1
asn: 65011
group: xr
families: [ipv4]
validation: disabled-by-import-policy
profile: iosxr-ncs5500
accept_untested: true
max_prefix: 3000
---
kind: Router
name: blackholes
address: 127.0.0.72
port: 1
asn: 65012
group: edge
carries: rtbh
discard_ipv4: 192.0.2.1
max_prefix: 100
`

// everything is what the program says that it holds, but for what changes by itself: when and by whom it was read, the
// log's index, which grows by a lease now and then, and since when a rule is sent, whose last microseconds follow the
// two clocks that it is computed from.
func (s *single) everything() string {
	s.t.Helper()
	var out []string
	for _, args := range [][]string{{"document", "list"}, {"mitigation", "list", "--all"}, {"rules"}} {
		var v map[string]json.RawMessage
		s.as("admin").read(&v, args...)
		delete(v, "read")
		b, err := json.MarshalIndent(v, "", " ")
		if err != nil {
			s.t.Fatal(err)
		}
		out = append(out, string(b))
	}
	return regexp.MustCompile(`"since": ".*"`).ReplaceAllString(strings.Join(out, "\n"), `"since": ""`)
}

// bigBlock is a valid document of at least that many octets.
func bigBlock(size int) string {
	var b strings.Builder
	b.WriteString("kind: ProtectedBlock\nname: big\npurpose: infrastructure\nprefixes:\n")
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "  - 10.%d.%d.%d/32\n", i>>16&255, i>>8&255, i&255)
	}
	return b.String()
}

// half is every second document, but those that the others need.
func half(all string) string {
	return strings.Join(strings.Split(all, "---\n")[:1], "---\n") + "---\n" + strings.Split(all, "---\n")[3]
}

// Code generated from bgp/profile/evidence by go test ./bgp/profile -run TestEvidence -update; DO NOT EDIT.

package profile

func recordedRuns() []Evidence {
	return []Evidence{
		{ // bird-2.0.12.json
			Profile: "bird", Software: "BIRD 2.0.12-7", System: "Debian GNU/Linux 12 (bookworm), Linux 6.18.44",
			Date: "2026-11-24", Where: "docs/how-to/record-a-router-run/record.sh", Enforced: false,
			Steps: []Step{
				{"session", "passed", "three sessions are established"},
				{"received", "passed", "flow4 { dst 203.0.113.16/28; proto 17; sport 53; } [n1 15:34:03.930 from 127.0.0.1] * (100) [AS65001i]"},
				{"paths", "passed", "one path from each of the three nodes"},
				{"validation", "passed", "the rule is valid though no unicast route leads to its destination: validation is off, or follows RFC 9117"},
				{"enforcement", "skipped", "no traffic was sent"},
				{"order", "skipped", "no data plane, or none that shows its order"},
				{"partial withdrawal", "passed", "one node of three is gone, and with it one path; the rule stays"},
				{"med", "passed", "it chose the newest action, though a node with a lower router id announces an older one"},
				{"no-action", "passed", "it holds a rule without an action: flow4 { dst 203.0.113.64/28; proto 17; } [n4 15:34:22.405 from 127.0.0.4] * (100) [AS65001?]"},
				{"restart", "passed", "one node was killed and started again; the rule never left, and has three paths again"},
				{"graceful restart", "observed", "all nodes were killed: without graceful restart the rule left after 0 s, and was back 4 s after their start"},
				{"max-prefix", "observed", "with more than 12 rules from each node 0 of 3 sessions are established"},
			},
		},
		{ // frr-8.4.4.json
			Profile: "frr", Software: "FRRouting bgpd 8.4.4-1.1~deb12u2", System: "Debian GNU/Linux 12 (bookworm), Linux 6.18.44",
			Date: "2026-11-24", Where: "docs/how-to/record-a-router-run/record.sh", Enforced: false,
			Steps: []Step{
				{"session", "passed", "three sessions are established"},
				{"received", "passed", "* to 203.0.113.16/28 proto = 17 srcp = 53 4294967289 0 65001 i"},
				{"paths", "passed", "one path from each of the three nodes"},
				{"validation", "skipped", "its commands do not say"},
				{"enforcement", "skipped", "no traffic was sent"},
				{"order", "skipped", "no data plane, or none that shows its order"},
				{"partial withdrawal", "passed", "one node of three is gone, and with it one path; the rule stays"},
				{"med", "skipped", "its commands do not show the action of the path that it chose"},
				{"no-action", "passed", "it holds a rule without an action: *> to 203.0.113.64/28 proto = 17 0 65001 ?"},
				{"restart", "passed", "one node was killed and started again; the rule never left, and has three paths again"},
				{"graceful restart", "observed", "all nodes were killed: without graceful restart the rule left after 0 s, and was back 4 s after their start"},
				{"max-prefix", "skipped", "the limit of the router was not stated (--max-prefix)"},
			},
		},
		{ // gobgpd-3.10.0.json
			Profile: "gobgp", Software: "GoBGP gobgpd 3.10.0-1+b4", System: "Debian GNU/Linux 12 (bookworm), Linux 6.18.44",
			Date: "2026-11-24", Where: "docs/how-to/record-a-router-run/record.sh", Enforced: false,
			Steps: []Step{
				{"session", "passed", "three sessions are established"},
				{"received", "passed", "*> [destination: 203.0.113.16/28][protocol: ==udp][source-port: ==53] fictitious 65001 00:00:00 [{Origin: i} {Med: 4294967289} {Communities: no-export} {Extcomms: [discard]} {LargeCommunity: [ 65001:29799:1]}]"},
				{"paths", "passed", "one path from each of the three nodes"},
				{"validation", "skipped", "its commands do not say"},
				{"enforcement", "skipped", "no traffic was sent"},
				{"order", "skipped", "no data plane, or none that shows its order"},
				{"partial withdrawal", "passed", "one node of three is gone, and with it one path; the rule stays"},
				{"med", "passed", "it chose the newest action, though a node with a lower router id announces an older one"},
				{"no-action", "passed", "it holds a rule without an action: *> [destination: 203.0.113.64/28][protocol: ==udp] fictitious 65001 00:00:00 [{Origin: ?}]"},
				{"restart", "passed", "one node was killed and started again; the rule never left, and has three paths again"},
				{"graceful restart", "observed", "all nodes were killed: without graceful restart the rule left after 0 s, and was back 7 s after their start"},
				{"max-prefix", "skipped", "the limit of the router was not stated (--max-prefix)"},
			},
		},
	}
}

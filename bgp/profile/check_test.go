package profile

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

func TestCheck(t *testing.T) {
	const dst = "dst 203.0.113.0/24 "
	discard := []flowspec.Action{flowspec.Discard()}
	for _, tt := range []struct {
		name, profile, match string
		actions              []flowspec.Action
		want                 []Code
		text, fix            string // of the first finding
	}{
		{name: "usual", profile: nameNCS5500, match: dst + "proto udp sport 53|123 len 1000-1500", actions: discard},
		{name: "SYN without ACK", profile: nameNCS5500, match: dst + "proto tcp tcp-flags syn&!ack", actions: discard},
		{
			name: "either port", profile: nameNCS5500, match: dst + "port 53", actions: discard, want: []Code{CodeComponent},
			text: `"port 53": iosxr-ncs5500 is documented with two commands for it, match source-port and match destination-port, which together mean both ports and not either`,
			fix:  "split it into one rule for the source port and one for the destination port",
		},
		{
			name: "list of ICMP types", profile: "iosxr-asr9k", match: dst + "proto icmp icmp-type 8|13", actions: discard, want: []Code{CodeValues},
			text: `"icmp-type 8|13": iosxr-asr9k takes a single value here, neither a list nor a range`, fix: "split it into one rule for each value",
		},
		{name: "two values in disguise", profile: "iosxr-asr9k", match: dst + "icmp-code >=4", actions: discard, want: []Code{CodeValues}},
		{
			name: "any of two flags", profile: nameGeneric, match: dst + "tcp-flags any:syn+fin", actions: discard, want: []Code{CodeValues},
			text: `"tcp-flags any:fin+syn": generic takes one value under one mask here, no alternatives`, fix: "split it into one rule for each alternative",
		},
		{
			name: "NS flag", profile: "junos-mx", match: dst + "tcp-flags 0x100", actions: discard, want: []Code{CodeValues},
			text: `"tcp-flags ae": junos-mx does not know the bits 0x100`, fix: "leave these bits out",
		},
		{name: "last fragment", profile: nameNCS5500, match: dst + "frag last-fragment", actions: discard, want: []Code{CodeValues}},
		{
			name: "not a fragment", profile: nameNCS5500, match: dst + "frag !is-fragment", actions: discard, want: []Code{CodeValues},
			text: `"frag !is-fragment": iosxr-ncs5500 can ask for bits that are set, not for bits that are clear`, fix: "ask for bits that are set",
		},
		{name: "fragments on Junos", profile: "junos-mx", match: dst + "frag any:last-fragment+first-fragment", actions: discard},
		{name: "length in IPv6", profile: nameNCS5500, match: "dst 2001:db8::/32 len 1000-1500", actions: discard, want: []Code{CodeComponent}},
		{name: "length in IPv6 on Junos", profile: "junos-mx", match: "dst 2001:db8::/32 len 1000-1500", actions: discard},
		{
			name: "port and destination port", profile: "junos-mx", match: dst + "port 53 dport 80", actions: discard, want: []Code{CodeCombination},
			text: `"port 53" and "dport 80": junos-mx does not take both in one rule`, fix: "split it into rules for the source port and for the destination port",
		},
		{name: "port alone on Junos", profile: "junos-mx", match: dst + "port 53", actions: discard},
		{name: "six values", profile: "frr", match: dst + "sport 1|3|5|7|9|11", actions: discard, want: []Code{CodeUnsafe}},
		{name: "offset", profile: "linux-edge", match: "dst ::1:0:0:0/64-128 ", actions: discard, want: []Code{CodeUnsafe}},
		{name: "two findings", profile: nameGeneric, match: dst + "port 53 frag first-fragment", actions: discard, want: []Code{CodeComponent, CodeValues}},
		{
			name: "continue on IOS XR", profile: nameNCS5500, match: dst, want: []Code{CodeAction},
			actions: []flowspec.Action{flowspec.RateLimit(1000), {Type: flowspec.TrafficAction, Continue: true}},
			text:    `"traffic-action continue": iosxr-ncs5500 does not list it among its actions`, fix: "choose another action for this router",
		},
		{name: "traffic-action without a bit", profile: nameNCS5500, match: dst, actions: []flowspec.Action{{Type: flowspec.TrafficAction}}},
		{
			name: "redirect to an address on IOS XR", profile: nameNCS5500, match: dst, want: []Code{CodeAction},
			actions: []flowspec.Action{{Type: flowspec.RedirectToIP, Address: mustAddr("192.0.2.1")}},
			text:    `"redirect to an IPv4 address": iosxr-ncs5500 wants the address as the next hop of the route, with the community 0x0800, which tidegate cannot send`,
			fix:     "choose another action for this router, which knows only 0x0800, draft-simpson-idr-flowspec-redirect",
		},
		{name: "redirect to an address on Junos", profile: "junos-mx", match: dst, actions: []flowspec.Action{{Type: flowspec.RedirectToIP, Address: mustAddr("192.0.2.1")}}},
		{name: "packets per second", profile: "junos-mx", match: dst, actions: []flowspec.Action{{Type: flowspec.TrafficRatePackets, Rate: 10}}, want: []Code{CodeAction}},
		{name: "packets per second in the kernel", profile: "linux-edge", match: dst, actions: []flowspec.Action{{Type: flowspec.TrafficRatePackets, Rate: 10}}},
		{
			name: "dearer than the table", profile: nameNCS5500, match: dst + "sport 1-65534 dport 1-65534 len >=257", actions: discard, want: []Code{CodePrice},
			text: "the rule costs 13500 TCAM entries on iosxr-ncs5500, whose table may hold 3276", fix: "leave out a range, or take a cheaper one",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := flowspec.ParseMatch(tt.match)
			if err != nil {
				t.Fatal(err)
			}
			findings := mustProfile(t, tt.profile).Check(flowspec.Rule{Match: m, Actions: tt.actions})
			var got []Code
			for _, f := range findings {
				got = append(got, f.Code)
				if f.Source.Title == "" || f.Basis == 0 {
					t.Errorf("finding without a source: %+v", f)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Fatalf("codes (-want +got):\n%s\n%v", diff, findings)
			}
			if tt.text == "" {
				return
			}
			if diff := cmp.Diff([]string{tt.text, tt.fix}, []string{findings[0].Text, findings[0].Fix}); diff != "" {
				t.Errorf("finding (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCheckInvalid(t *testing.T) {
	for _, p := range All() {
		findings := p.Check(flowspec.Rule{})
		if len(findings) != 1 || findings[0].Code != CodeInvalid {
			t.Errorf("%s: a rule without a match gives %v", p.Name, findings)
		}
		if _, err := p.Split(flowspec.Rule{}); err == nil {
			t.Errorf("%s: a rule without a match was split", p.Name)
		}
		if p.Suggest(flowspec.Rule{}) != nil {
			t.Errorf("%s: a rule without a match has cheaper cuts", p.Name)
		}
	}
}

func TestCodes(t *testing.T) {
	seen := map[Code]bool{}
	for _, c := range Codes() {
		if seen[c.Code] || c.Meaning == "" {
			t.Errorf("code %q stands twice or has no meaning", c.Code)
		}
		seen[c.Code] = true
	}
	for _, c := range []Code{
		CodeInvalid, CodeFamily, CodeComponent, CodeCombination, CodeValues, CodeUnsafe, CodeAction, CodePrice,
		CodeUntested, CodeRules, CodeEntries,
	} {
		if !seen[c] {
			t.Errorf("code %q is not in the list", c)
		}
	}
}

func TestSplit(t *testing.T) {
	const dst = "dst 203.0.113.0/24 "
	for _, tt := range []struct {
		name, profile, match string
		want                 []string
	}{
		{"as it is", nameGeneric, "sport 53", []string{dst + "sport 53"}},
		{"either port", nameGeneric, "port 53|123", []string{dst + "dport 53|123", dst + "sport 53|123"}},
		{"either port, written oddly", nameGeneric, "port >=53&<=60", []string{dst + "dport 53-60", dst + "sport 53-60"}},
		{
			"either port and destination port", "junos-mx", "port 53|80 dport 80-90|443",
			[]string{dst + "dport 80", dst + "dport 80-90|443 sport 53|80"},
		},
		{"of which one side is empty", "junos-mx", "port 53 dport 80", []string{dst + "dport 80 sport 53"}},
		{"ICMP types", nameGeneric, "proto icmp icmp-type 8|13-14", []string{
			dst + "proto icmp icmp-type 8", dst + "proto icmp icmp-type 13", dst + "proto icmp icmp-type 14",
		}},
		{"flags, apart", nameGeneric, "tcp-flags any:syn+fin", []string{dst + "tcp-flags fin", dst + "tcp-flags syn&!any:fin"}},
		{"flags, two ways", nameGeneric, "tcp-flags syn&!ack|rst", []string{
			dst + "tcp-flags syn&!any:ack", dst + "tcp-flags rst&!any:syn", dst + "tcp-flags syn+rst+ack",
		}},
		{"long list", "frr", "sport 1|3|5|7|9|11-20", []string{dst + "sport 1|3|5|7|9", dst + "sport 11-20"}},
		{"not equal", "bird", "dport !=80", []string{dst + "dport 0-79|>=81"}},
		{"product", nameGeneric, "port 53 icmp-code 1|2", []string{
			dst + "dport 53 icmp-code 1", dst + "dport 53 icmp-code 2", dst + "sport 53 icmp-code 1", dst + "sport 53 icmp-code 2",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pieces, err := mustProfile(t, tt.profile).Split(mustRule(t, dst+tt.match+" => rate 8Mbps"))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, piece := range pieces {
				got = append(got, piece.Match.String())
				if !slices.Equal(piece.Actions, []flowspec.Action{flowspec.RateLimit(1e6)}) {
					t.Errorf("actions %v, want those of the rule", piece.Actions)
				}
			}
			var want []string
			for _, text := range tt.want {
				m, err := flowspec.ParseMatch(text)
				if err != nil {
					t.Fatal(err)
				}
				want = append(want, m.String())
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("pieces (-want +got):\n%s", diff)
			}
			if Policers(pieces) != len(pieces) {
				t.Errorf("%d policers of %d pieces", Policers(pieces), len(pieces))
			}
		})
	}
	if n := Policers([]flowspec.Rule{mustRule(t, dst+"=> discard")}); n != 0 {
		t.Errorf("a discard counts as %d policers", n)
	}
}

func TestSplitRefuses(t *testing.T) {
	const dst = "dst 203.0.113.0/24 "
	onward := []flowspec.Action{flowspec.RateLimit(1000), {Type: flowspec.TrafficAction, Continue: true}}
	for _, tt := range []struct {
		name, profile, match string
		actions              []flowspec.Action
		want                 Code
	}{
		{"an action", nameGeneric, "port 53", []flowspec.Action{{Type: flowspec.TrafficRatePackets, Rate: 5}}, CodeAction},
		{"a bit that the router does not know", nameGeneric, "tcp-flags 0x100", nil, CodeValues},
		{"200 ICMP codes", nameGeneric, "icmp-code 0-199", nil, CodeValues},
		{"13 times 13", nameGeneric, "icmp-code 1-13 icmp-type 1-13", nil, CodeValues},
		{"no value left", "frr", "dport false:0", nil, CodeInvalid},
		{"overlapping pieces of a rule that continues", "junos-mx", "port 53 dport 53-80", onward, CodeComponent},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := flowspec.ParseMatch(dst + tt.match)
			if err != nil {
				t.Fatal(err)
			}
			pieces, err := mustProfile(t, tt.profile).Split(flowspec.Rule{Match: m, Actions: tt.actions})
			var f Finding
			if !errors.As(err, &f) || f.Code != tt.want || f.Fix == "" {
				t.Fatalf("split gives %v and %v, want code %s", pieces, err, tt.want)
			}
		})
	}
}

func TestSuggest(t *testing.T) {
	const dst = "dst 203.0.113.0/24 "
	for _, tt := range []struct {
		name, profile, match string
		want                 []string
	}{
		{"length 257", nameNCS5500, "len >=257", []string{
			"len >=256 costs 8 TCAM entries instead of 15; it also acts on packets of length 256",
			"len >=288 costs 10 TCAM entries instead of 15; it leaves alone packets of length 257 to 287",
		}},
		{"neighbours", nameNCS5500, "sport 162|163", []string{"sport 162-163 costs 1 TCAM entry instead of 2; it acts on the same packets"}},
		{"an upper bound", nameNCS5500, "sport 0-1024", []string{
			"sport 0-1023 costs 1 TCAM entry instead of 2; it leaves alone packets of source port 1024",
		}},
		{"as cheap as can be", nameNCS5500, "len >=512 proto udp", nil},
		{"where nothing is priced", "frr", "len >=257", nil},
		{"numbers that mean something", nameNCS5500, "icmp-type 8|13", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := mustRule(t, dst+tt.match+" => discard")
			var got []string
			for _, s := range mustProfile(t, tt.profile).Suggest(r) {
				got = append(got, s.Text)
			}
			if len(tt.want) == 0 && len(got) == 0 {
				return
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("suggestions (-want +got):\n%s", diff)
			}
		})
	}
}

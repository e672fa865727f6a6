package render

import (
	"strings"
	"testing"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/profile"
)

// TestXRProfileAgrees: for each component and action in both families, what the profiles of IOS XR take over BGP and what
// can be configured on such a router are the same, or it is said here why not.
func TestXRProfileAgrees(t *testing.T) {
	const (
		range1  = "the guide's table says \"single value\" of the NLRI, and the command takes a range"
		length6 = "the command has no family; over BGP Cisco documents it for IPv4, and IPv6 needs a hardware profile"
		target  = "the guide lists the form 0x8008 only; the command takes a route target of any form that XR writes"
		nexthop = "over BGP XR wants draft-simpson's form, which tidegate does not send; the command has no such form"
		long    = "over BGP no component has more than five pairs, which is for other routers; the command takes the list"
	)
	differ := map[string]string{
		"ipv4 icmp-type 3-4": range1, "ipv6 icmp-type 3-4": range1, "ipv4 icmp-code 3-4": range1, "ipv6 icmp-code 3-4": range1,
		"ipv6 len 100": length6, "ipv6 len 100-200": length6, "ipv6 len 100|200": length6,
		"ipv4 => redirect 192.0.2.1:666": target, "ipv4 => redirect 4200000001:666": target,
		"ipv6 => redirect 192.0.2.1:666": target, "ipv6 => redirect 4200000001:666": target,
		"ipv4 => redirect-ip 192.0.2.1": nexthop, "ipv6 => redirect-ip 2001:db8::1": nexthop,
		"ipv4 sport 1|3|5|7|9|11": long, "ipv6 sport 1|3|5|7|9|11": long, "ipv4 sport !=80": long, "ipv6 sport !=80": long,
	}
	numbers := func(word string) []string { return []string{word + " 100", word + " 100-200", word + " 100|200"} }
	matches := []string{
		"src PREFIX", "proto udp", "proto 6|17", "port 53", "icmp-type 3", "icmp-type 3-4", "icmp-type 3|5", "icmp-code 3", "icmp-code 3-4", "icmp-code 3|5",
		"tcp-flags syn", "tcp-flags syn+ack", "tcp-flags any:syn+ack", "tcp-flags !ack", "tcp-flags !any:ack", "tcp-flags syn&!ack", "tcp-flags syn&!any:ack",
		"tcp-flags !any:syn+ack", "tcp-flags !syn+ack", "tcp-flags syn&!any:ack+rst", "tcp-flags syn|rst", "tcp-flags ae", "tcp-flags ack&syn",
		"dscp 46", "dscp 8-15", "dscp 8|46", "frag any:is-fragment", "frag !any:is-fragment", "frag first-fragment", "frag last-fragment", "frag dont-fragment",
		"frag any:is-fragment+first-fragment", "frag is-fragment|last-fragment", "label 70000", "sport 1|3|5|7|9|11", "sport !=80",
	}
	matches = append(matches, numbers("dport")...)
	matches = append(matches, numbers("sport")...)
	matches = append(matches, numbers("len")...)
	actions := []string{
		"discard", "rate 10Mbps", "rate 5kpps", "sample", "continue", "sample continue", "mark 46", "redirect 65001:666", "redirect 192.0.2.1:666",
		"redirect 4200000001:666", "redirect [2001:db8::1]:666", "redirect-ip ADDRESS", "redirect-ip ADDRESS copy",
	}
	used := map[string]bool{}
	for _, name := range []string{"iosxr-ncs5500", "iosxr-asr9k"} {
		p, ok := profile.Lookup(name)
		if !ok {
			t.Fatalf("no profile %q", name)
		}
		check := func(label, text string) {
			rule, err := flowspec.ParseRule(text)
			if err != nil {
				return // there is no such thing in this family
			}
			_, problems := Rules(IOSXR, []Item{{Rule: rule}}, Options{})
			findings := p.Check(rule)
			_, stated := differ[label]
			switch same := (len(findings) == 0) == (len(problems) == 0); {
			case same && stated && !used[label]:
				t.Errorf("%s: %s: the profile and the rendering agree, and yet a difference is stated", name, label)
			case !same && !stated:
				t.Errorf("%s: %s: the profile says %v, the rendering %v", name, label, findings, problems)
			}
			used[label] = true
		}
		for family, x := range map[string][3]string{
			"ipv4": {"203.0.113.0/24", "198.51.100.0/24", "192.0.2.1"}, "ipv6": {"2001:db8:a::/48", "2001:db8:b::/48", "2001:db8::1"},
		} {
			for _, m := range matches {
				m = strings.ReplaceAll(m, "PREFIX", x[1])
				check(family+" "+m, "dst "+x[0]+" "+m+" => discard")
			}
			for _, a := range actions {
				a = strings.ReplaceAll(a, "ADDRESS", x[2])
				check(family+" => "+a, "dst "+x[0]+" => "+a)
			}
		}
	}
	for label := range differ {
		if !used[label] {
			t.Errorf("%q is stated, and never asked", label)
		}
	}
}

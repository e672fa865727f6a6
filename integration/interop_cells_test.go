package integration_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// cell is one rule that is shown to every router.
type cell struct {
	family flowspec.Family
	table  string // tableActions, tableOperators or tableTogether
	row    string // the condition, without the destination that makes the rule one of its own
	column string // the action
	rule   flowspec.Rule
}

// The tables of docs/interop.md.
const (
	tableActions   = "component and action"
	tableOperators = "operators"
	tableTogether  = "actions together"
)

// id names the cell in the test's output.
func (c *cell) id() string {
	return fmt.Sprintf("%s, %s, %q => %q", c.family, c.table, c.row, c.column)
}

// destination is what the cell is found by in a router's table.
func (c *cell) destination() netip.Prefix {
	p, _ := c.rule.Match.Destination()
	return p
}

// conditions is one condition for each component; the first is the destination alone.
func conditions(f flowspec.Family) []string {
	if f == flowspec.IPv4 {
		return []string{
			"", "src 198.51.100.0/24", "proto udp", "port 53", "dport 443", "sport 123", "icmp-type 8", "icmp-code 0",
			"tcp-flags syn", "len 1000-1500", "dscp 46", "frag is-fragment",
		}
	}
	return []string{
		"", "src 2001:db8:ffff::/48", "proto udp", "port 53", "dport 443", "sport 123", "icmp-type 128", "icmp-code 0",
		"tcp-flags syn", "len 1000-1500", "dscp 46", "frag is-fragment", "label 5",
	}
}

// actions is each action that there is for packets of a family.
func actions(f flowspec.Family) []string {
	out := []string{
		"discard", "rate 10Mbps", "rate 1kpps", "sample", "rate 10Mbps, continue", "mark 46",
		"redirect 65000:5", "redirect 192.0.2.1:7", "redirect 4200000001:9",
	}
	if f == flowspec.IPv4 {
		return append(out, "redirect-ip 198.51.100.1", "redirect-ip 198.51.100.1 copy")
	}
	return append(out, "redirect [2001:db8::1]:7", "redirect-ip 2001:db8::1", "redirect-ip 2001:db8::1 copy")
}

// operators is each component with the operators of the safe subset.
func operators(f flowspec.Family) []string {
	var out []string
	for _, name := range []string{"proto", "port", "dport", "sport", "icmp-type", "icmp-code", "len", "dscp"} {
		out = append(out, numeric(name)...)
	}
	out = append(out, "port 0", "port 65535", "dport 0-65535", "sport >=1024", "dport 80|443|8000-8080", "len 65535", "proto 255",
		"icmp-type 255", "dscp 0", "dscp 63",
		"src 0.0.0.0/0", "src 10.0.0.0/9", "src 192.0.2.129/32",
		"tcp-flags any:syn+ack", "tcp-flags syn+ack", "tcp-flags !syn", "tcp-flags !any:syn+ack", "tcp-flags !syn+ack",
		"tcp-flags syn&!ack", "tcp-flags syn|fin", "tcp-flags any:fin|any:rst|any:urg+psh|any:ece|any:cwr", "tcp-flags ae",
		"frag !is-fragment", "frag first-fragment", "frag last-fragment", "frag any:first-fragment+last-fragment",
		"frag is-fragment+last-fragment", "frag first-fragment|last-fragment", "frag is-fragment&!last-fragment", "frag !any:is-fragment+first-fragment")
	if f == flowspec.IPv4 {
		return append(out, "frag dont-fragment", "frag !dont-fragment&!is-fragment", "proto tcp dport 80 tcp-flags syn&!ack len <=60 dscp 0")
	}
	for i, text := range out {
		out[i] = map[string]string{
			"src 0.0.0.0/0": "src ::/0", "src 10.0.0.0/9": "src 2001:db8::/41", "src 192.0.2.129/32": "src 2001:db8::8001/128",
		}[text]
		if out[i] == "" {
			out[i] = text
		}
	}
	return append(append(out, numeric("label")...), "label 0", "label 1048575",
		"proto tcp dport 80 tcp-flags syn&!ack len <=60 dscp 0")
}

// numeric is every operator on the component of that name: each comparison, ranges, lists of up to five values joined by
// OR, by AND, and by both.
func numeric(name string) []string {
	values := strings.NewReplacer("A", "5", "B", "20", "C", "40", "D", "50", "E", "60")
	var out []string
	for _, list := range []string{"A", "<B", "<=B", ">A", ">=A", "A-B", "A|B|C|D|E", "A-B|C-D|E", ">A&<B|>C", ">=A&<=D&>B"} {
		out = append(out, name+" "+values.Replace(list))
	}
	return out
}

// destinations are prefixes of many lengths, of those that a length of whole octets does not hold too.
func destinations(f flowspec.Family) []string {
	if f == flowspec.IPv4 {
		return []string{
			"198.18.0.0/16", "198.19.128.0/17", "198.18.1.0/24", "198.18.2.128/25", "198.18.3.254/31", "198.18.4.255/32",
		}
	}
	return []string{
		"2001:db8:8000::/33", "2001:db8:4000::/41", "2001:db8:1::/48", "2001:db8:2:3::/64", "2001:db8:3:4:8000::/65", "2001:db8:4::2/127",
	}
}

// cells is every rule of the matrix, each with a destination of its own.
func cells(t *testing.T) []*cell {
	t.Helper()
	var out []*cell
	add := func(f flowspec.Family, table, dst, row, column string) {
		if dst == "" {
			n := len(out) + 1
			if dst = fmt.Sprintf("203.0.%d.%d/32", 113+n>>8, n&0xff); f == flowspec.IPv6 {
				dst = fmt.Sprintf("2001:db8::%x/128", n)
			}
		}
		text := strings.Join(strings.Fields("dst "+dst+" "+strings.TrimPrefix(row, "dst "+dst)), " ") + " => " + column
		rule, err := flowspec.ParseRule(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if rule, err = flowspec.NewRule(rule.Match, rule.Actions...); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		out = append(out, &cell{family: f, table: table, row: row, column: column, rule: rule})
	}
	for _, f := range []flowspec.Family{flowspec.IPv4, flowspec.IPv6} {
		for _, row := range conditions(f) {
			for _, column := range actions(f) {
				add(f, tableActions, "", row, column)
			}
		}
		for _, dst := range destinations(f) {
			add(f, tableOperators, dst, "dst "+dst, "discard")
		}
		for _, row := range operators(f) {
			add(f, tableOperators, "", row, "discard")
		}
		for _, column := range together() {
			add(f, tableTogether, "", "proto udp", column)
		}
	}
	return out
}

// together are actions that one rule may have at once, and odd values of single ones.
func together() []string {
	return []string{
		"rate 10Mbps, mark 8", "rate 10Mbps, sample", "sample continue", "continue, mark 0",
		"redirect 65000:5, sample, mark 46", "rate 10Mbps, redirect 65000:5",
		"rate 0pps", "rate 1Bps", "rate 300000TBps", "mark 0", "mark 63", "redirect 0:4294967295", "redirect 65535:0",
	}
}

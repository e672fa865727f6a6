package lab

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// The rules that were announced, by two neighbours, when the samples in testdata were taken. They hold every component
// and every operator of the safe subset.
var captured = []string{
	"dst 203.0.113.64/26 => discard",
	"dst 203.0.113.8/29 proto udp sport 53 => discard",
	"dst 203.0.113.8/29 proto udp frag is-fragment => discard",
	"dst 203.0.113.16/28 => rate 10Mbps",
	"dst 203.0.113.16/28 proto tcp|udp dport 80|443|8000-8080 len 1000-1500 => rate 3Mbps",
	"dst 203.0.113.32/27 src 198.51.100.0/24 proto tcp tcp-flags syn&!ack len <100|>=1400 dscp 10 => discard",
	"dst 203.0.113.32/27 proto icmp icmp-type 0-2|4-255 icmp-code 0 => discard",
	"dst 203.0.113.32/27 proto tcp tcp-flags any:syn+fin port <=1024 frag !is-fragment => rate 1GBps",
	"dst 203.0.113.33/32 proto tcp tcp-flags syn+ack frag first-fragment+last-fragment|dont-fragment => discard",
	"dst 203.0.113.34/32 proto tcp tcp-flags syn&!any:ack frag any:is-fragment => discard",
	"dst 203.0.113.34/32 proto tcp tcp-flags any:syn frag !any:is-fragment+first-fragment => discard",
	"dst 203.0.113.34/32 proto >=17 len >100&<200|9 dport >1024&<2000|5 => discard",
	"dst 203.0.113.34/32 proto tcp tcp-flags !any:syn+ack|fin => discard",
	"dst 203.0.113.34/32 proto 0|200 tcp-flags !syn+ack len <=100 sport 1-2 => rate 13.5Bps",
	"dst 2001:db8:a::/48 => discard",
	"dst 2001:db8:a:1::/64 proto udp sport 53 => discard",
	"dst 2001:db8:a:1::/64 proto udp frag is-fragment => discard",
	"dst 2001:db8:b::/48 proto udp dport 443 len 1000-1500 => rate 10Mbps",
	"dst 2001:db8:c::/48 src 2001:db8:ffff::/48 proto icmpv6 icmp-type 5-132|138-255 => discard",
	"dst 2001:db8:c::1/128 proto tcp tcp-flags syn&!ack dport >=1024 => rate 123.456kbps",
	"dst 2001:db8:c::1/128 proto tcp label 5|1000-70000 dscp 46 => discard",
}

// rulesOf parses texts.
func rulesOf(t *testing.T, texts []string) []flowspec.Rule {
	t.Helper()
	var out []flowspec.Rule
	for _, text := range texts {
		r, err := flowspec.ParseRule(text)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

// expect is what a router should show of rules that the neighbours from announce.
func expect(rules []flowspec.Rule, shown func(flowspec.Rule) flowspec.Rule, from ...netip.Addr) []Seen {
	var out []Seen
	for _, r := range rules {
		for _, a := range from {
			out = append(out, Seen{Rule: shown(r), From: a})
		}
	}
	return out
}

// readSample reads a file of testdata.
func readSample(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// anyOrder compares tables: routers order them as they like.
func anyOrder() cmp.Options {
	return cmp.Options{
		cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}),
		cmpopts.SortSlices(func(a, b Seen) bool {
			if x, y := a.Rule.String(), b.Rule.String(); x != y {
				return x < y
			}
			return a.From.Less(b.From)
		}),
	}
}

func TestParsers(t *testing.T) {
	one, two := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")
	all := rulesOf(t, captured)
	// What was left when the second neighbour had gone and the first had withdrawn some, and changed one action.
	later := slices.Clone(all[1:18])
	later[0].Actions = []flowspec.Action{flowspec.RateLimit(777)}
	both := func(parse func(flowspec.Family, string) ([]Seen, error), four, six string) func(*testing.T) ([]Seen, error) {
		return func(t *testing.T) ([]Seen, error) {
			a, err := parse(flowspec.IPv4, string(readSample(t, four)))
			if err != nil {
				return nil, err
			}
			b, err := parse(flowspec.IPv6, string(readSample(t, six)))
			return append(a, b...), err
		}
	}
	for _, tt := range []struct {
		name  string
		parse func(*testing.T) ([]Seen, error)
		want  []Seen
	}{
		{"frr", both(parseFRR, "frr4.txt", "frr6.txt"), expect(all, (&frr{}).Shown, netip.Addr{}, netip.Addr{})},
		{"bird", both(parseBIRD, "bird4.txt", "bird6.txt"), expect(all, (&bird{}).Shown, one, two)},
		{
			"gobgpd",
			both(func(f flowspec.Family, s string) ([]Seen, error) { return parseGoBGP(f, []byte(s)) }, "gobgpd4.json", "gobgpd6.json"),
			expect(later, (&gobgpd{}).Shown, one),
		},
		{"exabgp", func(t *testing.T) ([]Seen, error) {
			var r exabgpRIB
			for line := range bytes.Lines(readSample(t, "exabgp.json")) {
				if err := r.take(line); err != nil {
					return nil, err
				}
			}
			return table("exabgp", r.entries(), nil)
		}, expect(later, (&exabgp{}).Shown, one)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.parse(t)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, anyOrder()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestExaBGPBefore reads the samples up to the withdrawals, so that a parser which forgets too much is found.
func TestExaBGPBefore(t *testing.T) {
	var r exabgpRIB
	for line := range bytes.Lines(readSample(t, "exabgp.json")) {
		if bytes.Contains(line, []byte(`"withdraw"`)) {
			break
		}
		if err := r.take(line); err != nil {
			t.Fatal(err)
		}
	}
	one, two := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")
	all := expect(rulesOf(t, captured), Plain, one)
	got, err := table("exabgp", r.entries(), nil)
	if err != nil {
		t.Fatal(err)
	}
	seconds := slices.DeleteFunc(slices.Clone(got), func(s Seen) bool { return s.From != two })
	if len(seconds) != 2 {
		t.Errorf("the second neighbour has %d rules, want the 2 of the sample", len(seconds))
	}
	got = slices.DeleteFunc(got, func(s Seen) bool { return s.From == two })
	if diff := cmp.Diff(all, got, anyOrder()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestParsersActions reads every action in the words of each router, as they printed it.
func TestParsersActions(t *testing.T) {
	const (
		birdLine = "flow6 { dst 2001:db8::1/128; next header 17; }  [n0 15:58:49.911 from 127.0.0.1] * (100) [AS65001i]\n\tType: BGP univ\n\t"
		match6   = "dst 2001:db8::1/128 proto udp => "
	)
	frr6 := func(text string) ([]Seen, error) {
		return parseFRR(flowspec.IPv6, "BGP flowspec entry: (flags 0x418)\n\tDestination Address 2001:db8::1/128/off 0\n\tIP Protocol = 17 \n\t"+text+
			"\n\treceived for 00:00:01\n\tnot installed in PBR\n\nDisplayed  1 flowspec entries\n")
	}
	bird6 := func(text string) ([]Seen, error) { return parseBIRD(flowspec.IPv6, birdLine+text+"\n") }
	gobgp6 := func(text string) ([]Seen, error) {
		return parseGoBGP(flowspec.IPv6, []byte(`{"x":[{"nlri":{"value":[{"type":1,"value":{"prefix":"2001:db8::1/128"},"offset":0},`+
			`{"type":3,"value":[{"op":129,"value":17}]}]},"attrs":[{"type":1,"value":0},`+text+`],"neighbor-ip":"127.0.0.1"}]}`))
	}
	exabgp6 := func(text string) ([]Seen, error) {
		var r exabgpRIB
		err := r.take([]byte(`{"type":"update","neighbor":{"address":{"peer":"127.0.0.1"},"message":{"update":{"attribute":{"origin":"igp",` + text +
			`},"announce":{"ipv6 flow":{"no-nexthop":[{"destination-ipv6":["2001:db8::1/128/0"],"next-header":["=udp"],` +
			`"string":"flow destination-ipv6 2001:db8::1/128/0 next-header =udp"}]}}}}}}`))
		return table("exabgp", r.entries(), err)
	}
	for _, tt := range []struct {
		name, text, want string
		read             func(string) ([]Seen, error)
	}{
		{"frr rate and redirect", "FS:rate 1250000.000000 FS:redirect VRF RT:65000:5", "rate 10Mbps, redirect 65000:5", frr6},
		{"frr redirect AS4", "FS:redirect VRF RT:4200000001:9", "redirect 4200000001:9", frr6},
		{"frr redirect address", "FS:redirect VRF RT:192.0.2.1:7", "redirect 192.0.2.1:7", frr6},
		{"frr marking", "FS:marking 46", "mark 46", frr6},
		{"frr bits", "FS:rate 0.000000 FS:action eval stops", "discard, stop", frr6},
		{"bird bits and redirect", "BGP.ext_community: (generic, 0x80070000, 0x3) (generic, 0x8208fa56, 0xea010009)", "sample continue, redirect 4200000001:9", bird6},
		{"bird packets", "BGP.ext_community: (generic, 0x800c0000, 0x447a0000)", "rate 1kpps", bird6},
		{"bird redirect", "BGP.19 [t]: 00 0d 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01 00 07", "redirect [2001:db8::1]:7", bird6},
		{"bird redirect-ip", "BGP.19 [t]: 00 0c 20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01 00 01", "redirect-ip 2001:db8::1 copy", bird6},
		{"gobgpd packets", `{"type":16,"value":[{"type":128,"subtype":12,"value":"DAAARHoAAA=="}]}`, "rate 1kpps", gobgp6},
		{"gobgpd bits", `{"type":16,"value":[{"type":128,"subtype":7,"terminal":true,"sample":false},{"type":128,"subtype":9,"value":46}]}`, "continue, mark 46", gobgp6},
		{"gobgpd redirect AS4", `{"type":16,"value":[{"type":130,"subtype":8,"value":"64086.59905:9"}]}`, "redirect 4200000001:9", gobgp6},
		{"gobgpd redirect", `{"type":25,"value":[{"type":0,"subtype":13,"value":"2001:db8::1:7"}]}`, "redirect [2001:db8::1]:7", gobgp6},
		{"gobgpd redirect-ip", `{"type":25,"value":[{"type":0,"subtype":12,"value":"2001:db8::1:1"}]}`, "redirect-ip 2001:db8::1 copy", gobgp6},
		{"exabgp redirect", `"attribute-0x19-0xC0":"0xD20010DB80000000000000000000000010007"`, "redirect [2001:db8::1]:7", exabgp6},
		{"exabgp redirect-ip", `"attribute-0x19-0xC0":"copy-to-nexthop-ietf 2001:db8::1 (with copy)"`, "redirect-ip 2001:db8::1 copy", exabgp6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.read(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != 1 || got[0].Rule.String() != match6+tt.want {
				t.Errorf("read %v, want %s", got, match6+tt.want)
			}
		})
	}
	redirect, err := parseBIRD(flowspec.IPv4, "flow4 { dst 192.0.2.0/24; }  [n0 x from 127.0.0.1]\n\tBGP.ext_community: (unknown 0x10c, 198.51.100.1, 1)\n")
	if err != nil || len(redirect) != 1 || redirect[0].Rule.String() != "dst 192.0.2.0/24 => redirect-ip 198.51.100.1 copy" {
		t.Errorf("bird redirect-ip: %v, %v", redirect, err)
	}
}

// TestEntries: what cannot be read of one rule stands with it, and the others are read.
func TestEntries(t *testing.T) {
	entries := entriesFRR(flowspec.IPv4, "BGP flowspec entry: (flags 0x418)\n\tDestination Address 192.0.2.1/32\n\tUNK:128, 12\n\nBGP flowspec entry: (flags 0x418)\n\tDestination Address 192.0.2.2/32\n\tFS:rate 0.000000\n")
	if len(entries) != 2 || entries[0].Err == nil || entries[1].Err != nil {
		t.Fatalf("entries %+v", entries)
	}
	if dst, ok := entries[0].Rule.Match.Destination(); !ok || dst != netip.MustParsePrefix("192.0.2.1/32") || entries[0].Raw != "Destination Address 192.0.2.1/32; UNK:128, 12" {
		t.Errorf("what cannot be read: %+v", entries[0])
	}
	cut, err := entriesBIRD(flowspec.IPv4, "flow4 { dst 192.0.2.1/32; proto 6,6 ...}  [n0 x from 127.0.0.1]\n")
	if err != nil || len(cut) != 1 || cut[0].Err == nil {
		t.Errorf("a rule of which BIRD shows a part: %+v, %v", cut, err)
	}
}

// TestParsersRefuse: what a parser does not understand must not be passed over, or a test would compare less than it
// says.
func TestParsersRefuse(t *testing.T) {
	flow := func(component string) string {
		return `{"type":"update","neighbor":{"address":{"peer":"127.0.0.1"},"message":{"update":{"announce":{"ipv4 flow":{"no-nexthop":[{` + component + `}]}}}}}}`
	}
	take := func(text string) error {
		var r exabgpRIB
		if err := r.take([]byte(text)); err != nil {
			return err
		}
		_, err := table("exabgp", r.entries(), nil)
		return err
	}
	frr4 := func(text string) error {
		_, err := parseFRR(flowspec.IPv4, "BGP flowspec entry: (flags 0x418)\n\tDestination Address 192.0.2.0/24\n\t"+text+"\n")
		return err
	}
	bird4 := func(text string) error {
		_, err := parseBIRD(flowspec.IPv4, text)
		return err
	}
	const birdLine = "flow4 { dst 192.0.2.0/24; }  [n0 02:50:53.115 from 127.0.0.1] * (100) [AS65001i]\n"
	gobgp4 := func(text string) error {
		_, err := parseGoBGP(flowspec.IPv4, []byte(text))
		return err
	}
	for _, tt := range []struct {
		name string
		err  error
	}{
		{"frr unknown line", frr4("FS:redirect RT 65000:1")},
		{"frr unknown sign", frr4("TCP Flags ? 2")},
		{"frr number", frr4("Source Port = x")},
		{"frr no match", func() error { _, err := parseFRR(flowspec.IPv4, "BGP flowspec entry:\n\tFS:rate 0\n"); return err }()},
		{"bird unknown condition", bird4("flow4 { dst 192.0.2.0/24; ttl 3; }  [n0 x from 127.0.0.1]")},
		{"bird unfinished", bird4("flow4 { dst 192.0.2.0/24")},
		{"bird redirect", bird4(birdLine + "\tBGP.ext_community: (rt, 65001, 5)\n")},
		{"bird other community", bird4(birdLine + "\tBGP.ext_community: (generic, 0x800a0000, 0x0)\n")},
		{"bird mixed mask", bird4("flow4 { tcp flags 0x2/0x12; }  [n0 x from 127.0.0.1]")},
		{"gobgpd not JSON", gobgp4("connection refused")},
		{"gobgpd redirect", gobgp4(`{"x":[{"nlri":{"value":[{"type":1,"value":{"prefix":"192.0.2.0/24"}}]},"attrs":[{"type":16,"value":[{"type":128,"subtype":8}]}],"neighbor-ip":"127.0.0.1"}]}`)},
		{"exabgp not JSON", take("x")},
		{"exabgp unknown component", take(flow(`"ttl":["=3"],"string":"flow ttl =3"`))},
		{"exabgp unknown name", take(flow(`"protocol":["=quic"],"string":"flow protocol =quic"`))},
		{"exabgp unknown bit", take(flow(`"tcp-flags":["=x"],"string":"flow tcp-flags =x"`))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.err == nil {
				t.Error("was passed over")
			}
		})
	}
	if err := bird4(birdLine); err != nil {
		t.Errorf("the line that the others were made from is refused: %v", err)
	}
}

// FuzzParsers: whatever a router prints, no parser panics, and what it returns is a valid rule.
func FuzzParsers(f *testing.F) {
	for _, name := range []string{"frr6.txt", "bird6.txt", "gobgpd6.json"} {
		f.Add(readSample(f, name))
	}
	line, _, _ := bytes.Cut(readSample(f, "exabgp.json"), []byte("\n"))
	f.Add(line)
	f.Add([]byte("BGP flowspec entry: (flags 0x418)\n\tTCP Flags = 2,&∋ ! 16\n"))
	f.Add([]byte("flow4 { dst 203.0.113.34/32; tcp flags 0x0/0x12 || 0x1/0x1; fragment !!is_fragment; }  [n0 x from 127.0.0.1]\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var all []Seen
		for _, family := range []flowspec.Family{flowspec.IPv4, flowspec.IPv6} {
			for _, parse := range []func() ([]Seen, error){
				func() ([]Seen, error) { return parseFRR(family, string(data)) },
				func() ([]Seen, error) { return parseBIRD(family, string(data)) },
				func() ([]Seen, error) { return parseGoBGP(family, data) },
			} {
				if seen, err := parse(); err == nil {
					all = append(all, seen...)
				}
			}
		}
		var r exabgpRIB
		if r.take(data) == nil {
			if seen, err := table("exabgp", r.entries(), nil); err == nil {
				all = append(all, seen...)
			}
		}
		for _, s := range all {
			if err := s.Rule.Match.Validate(); err != nil {
				t.Errorf("%q gives an invalid rule: %v", data, err)
			}
		}
	})
}

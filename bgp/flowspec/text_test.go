package flowspec

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestParseRule reads rules as people write them; the text that comes back is the canonical one.
func TestParseRule(t *testing.T) {
	for _, tt := range []struct {
		name, in, want string // want is in if empty
	}{
		{"usual", "dst 203.0.113.0/24 proto udp sport 53|123 len 1000-1500 => rate 10Mbps", ""},
		{"IPv6", "dst 2001:db8::/32 proto tcp tcp-flags syn&!ack => discard", ""},
		{"no prefix", "ipv4 proto gre => accept", ""},
		{"conditions in any order", "len 1-9 proto udp dst 203.0.113.0/24 => discard", "dst 203.0.113.0/24 proto udp len 1-9 => discard"},
		{"family though a prefix tells it", "ipv6 dst ::/0 => discard", "dst ::/0 => discard"},
		{"bare address", "dst 203.0.113.7 src 198.51.100.1 => discard", "dst 203.0.113.7/32 src 198.51.100.1/32 => discard"},
		{"bare IPv6 address", "dst 2001:db8::1 => discard", "dst 2001:db8::1/128 => discard"},
		{"spaces", "  dst\t203.0.113.0/24   dport 1 | 2 & 3  =>  discard  ", "dst 203.0.113.0/24 dport 1|2&3 => discard"},
		{"protocol by number", "ipv4 proto 17|6|200 => discard", "ipv4 proto udp|tcp|200 => discard"},
		{"protocol that is not", "ipv4 proto !=udp => discard", ""},
		{"protocol range", "ipv4 proto tcp-udp => discard", "ipv4 proto 6-17 => discard"},
		{"comparisons", "ipv4 dport >1024&<2048|>=5000|<=9|!=7 => discard", ""},
		{"constant operators", "ipv4 dport true:0|false:80 => discard", ""},
		{"range of one", "ipv4 dport 80-80 => discard", "ipv4 dport 80 => discard"},
		{"range written as two comparisons", "ipv4 dport >=80&<=90 => discard", "ipv4 dport 80-90 => discard"},
		{"comparisons that are no range", "ipv4 dport >=90&<=80|>=7&<=7 => discard", ""},
		{"range after &", "ipv4 dport >5&80-90 => discard", ""},
		{"range before &", "ipv4 dport 80-90&!=85 => discard", ""},
		{"order of items stays", "ipv4 dport 9|1|5 => discard", ""},
		{"flags by number", "ipv4 tcp-flags 0x12|any:0x300|0x0|!0 => discard", "ipv4 tcp-flags syn+ack|any:ae+0x200|0|!0 => discard"},
		{"all flags", "ipv4 tcp-flags 0xfff => discard", "ipv4 tcp-flags fin+syn+rst+psh+ack+urg+ece+cwr+ae+0xe00 => discard"},
		{
			"fragments", "ipv4 frag !any:is-fragment+first-fragment&dont-fragment => discard",
			"ipv4 frag !any:is-fragment+first-fragment&dont-fragment => discard",
		},
		{
			"fragment by number in IPv6", "ipv6 frag any:0xe => discard",
			"ipv6 frag any:is-fragment+first-fragment+last-fragment => discard",
		},
		{"offset", "src ::1234:5678:9a00:0/64-104 => discard", ""},
		{"all words", "dst 2001:db8::/32 src ::/0 proto icmpv6 port 1 dport 2 sport 3 icmp-type 4 icmp-code 5 tcp-flags syn " +
			"len 6 dscp 7 frag is-fragment label 8 => discard", ""},
		{"limits", "ipv6 proto 255 port 65535 icmp-type 255 icmp-code 255 len 65535 dscp 63 label 1048575 => discard", ""},
		{"rate with a space", "ipv4 proto udp => rate 10 Mbps", "ipv4 proto udp => rate 10Mbps"},
		{"rate of zero", "ipv4 proto udp => rate 0bps", "ipv4 proto udp => discard"},
		{"rate with an AS", "ipv4 proto udp => rate 10 Mbps as 65001", "ipv4 proto udp => rate 10Mbps as 65001"},
		{"discard with an AS", "ipv4 proto udp => discard as 4294967295", ""},
		{"rate that no float32 holds", "ipv4 proto udp => rate 100Gbps", ""},
		{"rate in bytes", "ipv4 proto udp => rate 125000Bps", "ipv4 proto udp => rate 1Mbps"},
		{"rate in packets", "ipv4 proto udp => rate 5kpps", ""},
		{"rate in packets with a space and an AS", "ipv4 proto udp => rate 5000 pps as 65001", "ipv4 proto udp => rate 5kpps as 65001"},
		{"rate of no packets", "ipv4 proto udp => rate 0kpps", "ipv4 proto udp => rate 0pps"},
		{"sample", "ipv4 proto udp => sample", ""},
		{"continue", "ipv4 proto udp => continue", ""},
		{"both, the other way round", "ipv4 proto udp => continue  sample", "ipv4 proto udp => sample continue"},
		{"neither", "ipv4 proto udp => stop", ""},
		{"redirect to an AS", "ipv4 proto udp => redirect 65001:4294967295", ""},
		{"redirect to a great AS", "ipv4 proto udp => redirect 4200000001:65535", ""},
		{"redirect to a great AS with an L", "ipv4 proto udp => redirect 4200000001L:666", "ipv4 proto udp => redirect 4200000001:666"},
		{"redirect to a small AS in four octets", "ipv4 proto udp => redirect 65001L:666", ""},
		{"redirect to an IPv4 address", "ipv6 proto udp => redirect 192.0.2.1:666", ""},
		{"redirect to an IPv6 address", "ipv6 proto udp => redirect [2001:db8::1]:666", ""},
		{"redirect to a mapped address", "ipv6 proto udp => redirect [::ffff:192.0.2.1]:0", ""},
		{"mark", "ipv4 proto udp => mark 63", ""},
		{"mark with nothing", "ipv4 proto udp => mark 0", ""},
		{"redirect to IP", "ipv4 proto udp => redirect-ip 192.0.2.1", ""},
		{"copy to IP", "ipv6 proto udp => redirect-ip 2001:db8::1 copy", ""},
		{"several", "ipv4 proto udp => rate 10Mbps, sample continue, redirect 65001:666, mark 8", ""},
		{
			"several in another order", "ipv4 proto udp => redirect-ip 192.0.2.1 copy,mark 8 ,sample, rate 5 kpps as 1",
			"ipv4 proto udp => rate 5kpps as 1, sample, mark 8, redirect-ip 192.0.2.1 copy",
		},
		{"discard and sample", "ipv4 proto udp => sample, discard", "ipv4 proto udp => discard, sample"},
		{"discard and stop", "ipv4 proto udp => discard, stop", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := tt.want
			if want == "" {
				want = tt.in
			}
			r, err := ParseRule(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, r.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if err := r.Validate(); err != nil {
				t.Errorf("Validate: %v", err)
			}
			match, _, _ := strings.Cut(want, " =>")
			if m, err := ParseMatch(match); err != nil || !m.Equal(r.Match) {
				t.Errorf("ParseMatch(%q) = %v, %v", match, m, err)
			}
		})
	}
}

func TestParseRuleRefuses(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		column   int
		want     error // nil: no value of its own
		says     string
	}{
		{"nothing", "", 1, ErrEmpty, "every packet"},
		{"family only", "ipv4 => discard", 6, ErrEmpty, "every packet"},
		{"no condition", "=> discard", 1, ErrEmpty, "every packet"},
		{"no family", "proto udp => discard", 1, ErrFamily, "begin with ipv4 or ipv6"},
		{"unknown word", "dst 203.0.113.0/24 sender 1 => discard", 20, nil, `"sender": unknown condition; known are dst src proto`},
		{"host bits", "dst 203.0.113.7/24 => discard", 5, ErrHostBits, "write 203.0.113.0/24"},
		{"host bits with an offset", "dst ::1:0/64-96 => discard", 5, ErrHostBits, "write ::/64-96"},
		{"bits before an offset", "dst 2001:db8::/8-32 => discard", 5, ErrHostBits, "8 that the offset skips"},
		{"IPv4 then IPv6", "dst 203.0.113.0/24 src 2001:db8::/32 => discard", 24, ErrFamily, "IPv6 prefix, but dst says IPv4"},
		{"IPv6 then IPv4", "src 2001:db8::/32 dst 203.0.113.0/24 => discard", 23, ErrFamily, "IPv4 prefix, but src says IPv6"},
		{"family and prefix", "ipv4 dst 2001:db8::/32 => discard", 10, ErrFamily, "IPv6 prefix, but ipv4 says IPv4"},
		{"family twice", "ipv4 ipv4 proto udp => discard", 6, ErrFamily, "already says IPv4"},
		{"label in IPv4", "label 5 dst 203.0.113.0/24 => discard", 7, ErrUnknownType, "flow label in IPv4"},
		{"don't fragment in IPv6", "frag dont-fragment dst 2001:db8::/32 => discard", 6, ErrValue, "no don't-fragment bit in IPv6"},
		{"offset in IPv4", "dst 0.0.0.0/8-24 => discard", 5, ErrOffset, "offset 8 in IPv4"},
		{"offset of zero", "dst 2001:db8::/0-32 => discard", 5, ErrOffset, "offset of 0"},
		{"offset too great", "dst ::/32-32 => discard", 5, ErrOffset, "leaves nothing"},
		{"offset of 200", "dst ::/200-128 => discard", 5, ErrOffset, "up to 127"},
		{"offset without length", "dst ::/20- => discard", 5, ErrPrefix, "not a prefix"},
		{"prefix too long", "dst 203.0.113.0/33 => discard", 5, ErrPrefix, "not a prefix"},
		{"half an address", "dst 203.0.113/24 => discard", 5, ErrPrefix, "not a prefix"},
		{"zone", "dst fe80::1%eth0 => discard", 5, ErrPrefix, "not a prefix"},
		{"no prefix", "dst => discard", 5, ErrPrefix, "dst needs a prefix"},
		{"no prefix at the end", "dst", 4, ErrPrefix, "dst needs a prefix"},
		{"twice", "dst 203.0.113.0/24 dport 1 dport 2 => discard", 28, ErrOrder, "dport stands twice"},
		{"port 70000", "dst 203.0.113.0/24 dport 70000 => discard", 26, ErrValue, `"70000": destination port is above 65535`},
		{"port 70000 in a list", "ipv4 dport 53|1-70000 => discard", 17, ErrValue, `"70000": destination port is above 65535`},
		{"port after a comparison", "ipv4 dport >=70000 => discard", 14, ErrValue, "above 65535"},
		{"packet length", "ipv4 len 99971-99985 => discard", 10, ErrValue, "packet length is above 65535"},
		{"protocol 256", "ipv4 proto 256 => discard", 12, ErrValue, "protocol is above 255"},
		{"unknown protocol", "ipv4 proto udb => discard", 12, ErrValue, "not a protocol; write a number or one of icmp igmp"},
		{"DSCP", "ipv4 dscp 64 => discard", 11, ErrValue, "DSCP is above 63"},
		{"flow label", "ipv6 label 1048576 => discard", 12, ErrValue, "above 1048575"},
		{"number too long", "ipv4 dport 99999999999999999999999 => discard", 12, ErrValue, "above 65535"},
		{"negative", "ipv4 dport -1 => discard", 12, ErrValue, "not a number"},
		{"plus", "ipv4 dport +1 => discard", 12, ErrValue, "not a number"},
		{"inverted range", "ipv4 dport 9-3 => discard", 12, ErrEmptyList, "ends before it begins"},
		{"half a range", "ipv4 dport 9- => discard", 14, ErrValue, "not a number"},
		{"range of three", "ipv4 dport 1-2-3 => discard", 14, ErrValue, "not a number"},
		{"no port", "dst 203.0.113.0/24 dport => discard", 26, ErrEmptyList, "dport needs a value"},
		{"no port at the end", "ipv4 dport", 11, ErrEmptyList, "dport needs a value"},
		{"nothing after |", "ipv4 dport 53| => discard", 16, ErrEmptyList, "dport needs a value"},
		{"nothing before |", "ipv4 dport |53 => discard", 12, ErrEmptyList, "dport needs a value"},
		{"nothing between", "ipv4 dport 53||54 => discard", 15, ErrEmptyList, "dport needs a value"},
		{"AND first", "ipv4 dport &53 => discard", 12, ErrEmptyList, "dport needs a value"},
		{"comma in a list", "ipv4 dport 53,54 => discard", 14, nil, "use | for a list"},
		{"unknown flag", "ipv4 tcp-flags syn+foo => discard", 20, ErrValue, "known are fin syn rst"},
		{"no flag", "ipv4 tcp-flags syn+ => discard", 20, ErrValue, "known are fin syn rst"},
		{"flag above the header", "ipv4 tcp-flags 0x1000 => discard", 16, ErrValue, "has the bits 0xfff"},
		{"fragment bits", "ipv4 frag 0x10 => discard", 11, ErrValue, "has the bits 0xf"},
		{"no action", "ipv4 proto udp", 15, nil, "write => and what is done"},
		{"no action after =>", "ipv4 proto udp =>", 18, ErrAction, "not an action; write accept, discard, rate 10Mbps"},
		{"another word for discard", "ipv4 proto udp => drop", 19, ErrAction, "not an action; write accept, discard, rate 10Mbps"},
		{"accept and more", "ipv4 proto udp => accept, discard", 25, nil, "nothing may follow accept"},
		{"discard and more", "ipv4 proto udp => discard now", 27, nil, "joined by a comma"},
		{"two rates", "ipv4 proto udp => rate 1Mbps, discard", 31, ErrInterfering, `"rate 1Mbps" and "discard" in one rule: each router takes one as it likes; leave one`},
		{"two rates without a space", "ipv4 proto udp => rate 1Mbps,discard", 30, ErrInterfering, `"rate 1Mbps" and "discard" in one rule: each router takes one as it likes; leave one`},
		{"no space before =>", "ipv4 proto udp=> discard", 12, ErrValue, `"udp=>": not a protocol`},
		{"comma and nothing", "ipv4 proto udp => discard,", 27, ErrAction, "not an action; write accept, discard, rate 10Mbps"},
		{"rate 0.1bps", "ipv4 proto udp => rate 0.1bps", 24, ErrRate, "below 1 byte/s"},
		{"negative rate", "ipv4 proto udp => rate -1Mbps", 24, ErrRate, "negative"},
		{"no rate", "ipv4 proto udp => rate", 23, ErrRate, "not a number"},
		{"rate without unit", "ipv4 proto udp => rate 10", 24, ErrRate, "no unit"},
		{"rate without unit, AS", "ipv4 proto udp => rate 10 as 65001", 24, ErrRate, "no unit"},
		{"rate above a float32", "ipv4 proto udp => rate 1" + strings.Repeat("0", 40) + "Tbps", 24, ErrRate, "not finite"},
		{"packet rate below 1", "ipv4 proto udp => rate 0.1pps", 24, ErrRate, "below 1 packet/s"},
		{"packet rate of another unit", "ipv4 proto udp => rate 1mpps", 24, ErrRate, `unknown unit "mpps", known are pps`},
		{"packet rate above a float32", "ipv4 proto udp => rate 1" + strings.Repeat("0", 40) + "pps", 24, ErrRate, "not finite"},
		{"two kinds of rate", "ipv4 proto udp => rate 1Mbps, rate 5kpps", 31, ErrInterfering, `"rate 1Mbps" and "rate 5kpps" in one rule`},
		{"sample and continue apart", "ipv4 proto udp => sample, continue", 27, ErrInterfering, "write sample continue as one"},
		{"sample twice", "ipv4 proto udp => sample sample", 26, nil, "joined by a comma"},
		{"discard and continue", "ipv4 proto udp => continue, discard", 29, ErrInterfering, `"discard" with "continue": nothing is left for later rules`},
		{"discard and mark", "ipv4 proto udp => discard, mark 8", 28, ErrInterfering, `"discard" with "mark 8": nothing is left`},
		{"no packets and mark", "ipv4 proto udp => mark 8, rate 0pps", 27, ErrInterfering, `"rate 0pps" with "mark 8": nothing is left`},
		{"discard and redirect", "ipv4 proto udp => discard, redirect 1:2", 28, ErrInterfering, "nothing is left"},
		{"discard and copy", "ipv4 proto udp => discard, redirect-ip 192.0.2.1 copy", 28, ErrInterfering, "nothing is left"},
		{"two redirects", "ipv4 proto udp => redirect 1:2, redirect 1:3", 33, ErrInterfering, `"redirect 1:2" and "redirect 1:3" in one rule`},
		{"two kinds of redirect", "ipv4 proto udp => redirect-ip 192.0.2.1, redirect 1:2", 42, ErrInterfering, "in one rule"},
		{"redirect to the other family", "ipv6 proto udp => redirect-ip 192.0.2.1", 19, ErrInterfering, "IPv6 packets redirected to 192.0.2.1"},
		{"IPv4 redirected to IPv6", "ipv4 proto udp => redirect-ip 2001:db8::1", 19, ErrInterfering, "IPv4 packets redirected to 2001:db8::1"},
		{"IPv6 route target in IPv4", "ipv4 proto udp => redirect [2001:db8::1]:1", 19, ErrInterfering, "by an IPv6 route target"},
		{"no target", "ipv4 proto udp => redirect", 27, ErrValue, "not a route target; write one such as 65001:666"},
		{"target without a colon", "ipv4 proto udp => redirect 65001", 28, ErrValue, "not a route target"},
		{"target without local", "ipv4 proto udp => redirect 65001:", 34, ErrValue, "not a number"},
		{"target with local too great", "ipv4 proto udp => redirect 65001:4294967296", 34, ErrValue, "up to four octets"},
		{"target with a negative local", "ipv4 proto udp => redirect 65001:-1", 34, ErrValue, "not a number"},
		{"target without an AS", "ipv4 proto udp => redirect :666", 28, ErrValue, "neither an AS number"},
		{"target with an AS too great", "ipv4 proto udp => redirect 4294967296:1", 28, ErrValue, "neither an AS number"},
		{"great AS with a great local", "ipv4 proto udp => redirect 65536:65536", 28, ErrValue, "65536 is above 65535, all that fits beside 65536"},
		{"L and a great local", "ipv4 proto udp => redirect 1L:65536", 28, ErrValue, "all that fits beside 1L"},
		{"address with a great local", "ipv4 proto udp => redirect 192.0.2.1:65536", 28, ErrValue, "all that fits beside 192.0.2.1"},
		{"IPv6 target without brackets", "ipv6 proto udp => redirect 2001:db8::1:666", 28, ErrValue, "IPv6 address in brackets"},
		{"IPv4 target in brackets", "ipv6 proto udp => redirect [192.0.2.1]:666", 28, ErrValue, "IPv6 address in brackets"},
		{"half a bracket", "ipv6 proto udp => redirect [2001:db8::1:666", 28, ErrValue, "IPv6 address in brackets"},
		{"target with a zone", "ipv6 proto udp => redirect [fe80::1%a]:666", 28, ErrValue, "IPv6 address in brackets"},
		{"mark above 63", "ipv4 proto udp => mark 64", 24, ErrValue, "DSCP is above 63"},
		{"no mark", "ipv4 proto udp => mark", 23, ErrValue, "not a number"},
		{"no address", "ipv4 proto udp => redirect-ip", 30, ErrValue, "not an address; write one such as 192.0.2.1"},
		{"a prefix for an address", "ipv4 proto udp => redirect-ip 192.0.2.1/32", 31, ErrValue, "not an address"},
		{"unspecified address", "ipv4 proto udp => redirect-ip 0.0.0.0", 31, ErrValue, "no unicast address"},
		{"multicast address", "ipv6 proto udp => redirect-ip ff02::1", 31, ErrValue, "no unicast address"},
		{"loopback", "ipv4 proto udp => redirect-ip 127.0.0.1", 31, ErrValue, "no unicast address"},
		{"zone in an address", "ipv6 proto udp => redirect-ip fe80::1%a", 31, ErrValue, "has a zone"},
		{"mapped address", "ipv6 proto udp => redirect-ip ::ffff:192.0.2.1", 31, ErrValue, "write 192.0.2.1"},
		{"copy of nothing", "ipv4 proto udp => redirect 1:2 copy", 32, nil, "joined by a comma"},
		{"no AS", "ipv4 proto udp => discard as", 29, ErrValue, "not an AS number"},
		{"AS too great", "ipv4 proto udp => discard as 4294967296", 30, ErrValue, "not an AS number"},
		{"line break", "ipv4 proto udp\n=> discard", 12, ErrValue, `"udp\n=>"`},
		{"no text", "\x00\xff", 1, nil, "unknown condition"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := ParseRule(tt.in)
			var syntax *SyntaxError
			if !errors.As(err, &syntax) {
				t.Fatalf("ParseRule = %v, %v, want a SyntaxError", r, err)
			}
			if syntax.Column != tt.column {
				t.Errorf("column %d, want %d: %v", syntax.Column, tt.column, err)
			}
			if tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want %q in it", err, tt.says)
			}
			if r.Match.Components != nil || r.Actions != nil {
				t.Errorf("returned %v with its error", r)
			}
		})
	}
}

func TestParseMatchRefusesActions(t *testing.T) {
	_, err := ParseMatch("ipv4 proto udp => discard")
	var syntax *SyntaxError
	if !errors.As(err, &syntax) || syntax.Column != 16 {
		t.Errorf("ParseMatch = %v, want a SyntaxError at column 16", err)
	}
}

// TestErrorsStayShort: whatever somebody sends, the answer fits into a log line.
func TestErrorsStayShort(t *testing.T) {
	long := strings.Repeat("1", 10<<20)
	for _, in := range []string{
		long, "dst " + long, "ipv4 dport " + long, "ipv4 tcp-flags " + long, "ipv4 proto udp => " + long,
		"ipv4 proto udp => rate " + long, "ipv4 proto udp => discard as " + long,
	} {
		if _, err := ParseRule(in); err == nil || len(err.Error()) > 400 {
			t.Errorf("error for %q... has %d octets", in[:20], len(err.Error()))
		}
	}
}

// TestStringOfInvalid: what is not valid must still be printable, for a log or an error.
func TestStringOfInvalid(t *testing.T) {
	for _, tt := range []struct {
		name string
		got  interface{ String() string }
		want string
	}{
		{"zero rule", Rule{}, "family 0 => accept"},
		{"zero component", Component{}, "component type 0 "},
		{"unknown type", Component{Type: 99, Ops: []Op{{EQ, 5}}}, "component type 99 5"},
		{"two actions", Rule{Match: Match{Family: IPv4}, Actions: []Action{Discard(), {Type: 7}}}, "ipv4 => discard, action 7"},
		{"rate below 1", RateLimit(0.0125), "rate 0.1bps"},
		{"key", Key("\x01\x03\x81\x11"), "01038111"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.got.String(); got != tt.want {
				t.Errorf("String = %q, want %q", got, tt.want)
			}
		})
	}
}

func FuzzParseRule(f *testing.F) {
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRule(s)
		if err != nil {
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || syntax.Column < 1 || syntax.Column > len(s)+1 {
				t.Fatalf("ParseRule(%q): %#v", s, err)
			}
			return
		}
		if err := r.Validate(); err != nil {
			t.Fatalf("ParseRule(%q) is not valid: %v", s, err)
		}
		text := r.String()
		again, err := ParseRule(text)
		if err != nil || !again.Equal(r) || again.String() != text {
			t.Fatalf("%q became %q, then %v, %v", s, text, again, err)
		}
	})
}

func BenchmarkParseRule(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseRule("dst 203.0.113.0/24 proto udp sport 53|123 len 1000-1500 => rate 10Mbps"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRuleString(b *testing.B) {
	r, err := ParseRule("dst 203.0.113.0/24 proto udp sport 53|123 len 1000-1500 => rate 10Mbps")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		_ = r.String()
	}
}

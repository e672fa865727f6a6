package flowspec

import (
	"errors"
	"strings"
	"testing"
)

// TestHints asks what is said of words that come near to the language.
func TestHints(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"the long word", "ipv4 length 5", "did you mean len?"},
		{"the field in words", "ipv4 packet-length 5", "did you mean len?"},
		{"protocol", "ipv4 protocol udp", "did you mean proto?"},
		{"fragment", "ipv4 fragment is-fragment", "did you mean frag?"},
		{"source port", "ipv4 source-port 53", "did you mean sport?"},
		{"destination port, half in full", "ipv4 dst_port 53", "did you mean dport?"},
		{"source", "ipv4 source 192.0.2.1", "did you mean src?"},
		{"upper case", "ipv4 DPORT 53", "did you mean dport?"},
		{"a slip", "ipv4 spport 53", "did you mean sport?"},
		{"a missing dash", "ipv4 tcpflags syn", "did you mean tcp-flags?"},
		{"one of several", "ipv4 xport 53", "known are dst src proto"},
		{"nothing near", "ipv4 destination-host x", "known are dst src proto"},
		{"a protocol alone", "ipv4 udp", "write proto udp"},
		{"a comma in a list", "ipv4 sport 53,54", `column 14: ",": a comma joins nothing here; use | for a list`},
		{"a comma between conditions", "ipv4 sport 53, dport 1", "use | for a list"},
		{"an unknown protocol", "ipv4 proto foo", "not a protocol; write a number or one of icmp igmp"},
		{"an action", "ipv4 proto udp => discard", "only the conditions are wanted here; leave the action away"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ParseMatch(tt.in)
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("ParseMatch: %v, want %q", err, tt.want)
			}
			if syntax.Fix == "" || strings.Contains(syntax.Err.Error(), syntax.Fix) {
				t.Errorf("fix %q beside %q", syntax.Fix, syntax.Err)
			}
		})
	}
}

// TestErrorsSayItOnce looks for the names of Err values, and for advice, that stand behind a sentence which already
// says it.
func TestErrorsSayItOnce(t *testing.T) {
	values := []error{ErrFamily, ErrEmpty, ErrHostBits, ErrOffset, ErrValue, ErrOrder, ErrRate, ErrAction, ErrTooManyValues, ErrConstant, ErrEmptyList, ErrUnknownType}
	for _, tt := range []struct {
		in   string
		kind error
	}{
		{"proto udp => discard", ErrFamily},
		{"ipv4 => discard", ErrEmpty},
		{"dst 203.0.113.7/24 => discard", ErrHostBits},
		{"dst 0.0.0.0/8-24 => discard", ErrOffset},
		{"ipv4 dport 70000 => discard", ErrValue},
		{"ipv4 proto foo => discard", ErrValue},
		{"ipv6 frag dont-fragment => discard", ErrValue},
		{"ipv4 label 5 => discard", ErrUnknownType},
		{"ipv4 dport 9-3 => discard", ErrEmptyList},
		{"ipv4 dport 1 dport 2 => discard", ErrOrder},
		{"ipv4 proto udp => rate 10", ErrRate},
		{"ipv4 proto udp => rate 7bps", ErrRate},
		{"ipv4 proto udp => drop", ErrAction},
		{"ipv4 dport 1|3|5|7|9|11 => discard", ErrTooManyValues},
		{"ipv4 dport true:1 => discard", ErrConstant},
	} {
		t.Run(tt.in, func(t *testing.T) {
			r, err := ParseRule(tt.in)
			if err == nil {
				err = CheckSafe(r.Match)
			}
			if !errors.Is(err, tt.kind) {
				t.Fatalf("%v, want %v", err, tt.kind)
			}
			for _, v := range values {
				// A name may begin a sentence; behind a colon it says again what the sentence said.
				if strings.HasSuffix(err.Error(), ": "+v.Error()) {
					t.Errorf("%v: the tail repeats", err)
				}
			}
			if n := strings.Count(err.Error(), "; "); n > 1 {
				t.Errorf("%v: %d pieces of advice", err, n)
			}
		})
	}
}

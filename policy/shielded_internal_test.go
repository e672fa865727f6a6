package policy

import (
	"net/netip"
	"testing"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// TestShielded has a rule for one address inside of the block of a discard: it comes before the discard wherever a
// packet is in both.
func TestShielded(t *testing.T) {
	at := netip.MustParsePrefix("203.0.113.7/32")
	block := Cut{Pieces: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}}
	for _, tt := range []struct {
		name, match, discard string
		want                 meeting
	}{
		{"the same match", "ipv4 proto udp", "ipv4 proto udp", before},
		{"other ports", "ipv4 sport 53", "ipv4 sport 80-90", apart},
		{"other values of either port, which one packet can have", "ipv4 port 53", "ipv4 port 80", before},
		{"either port and another protocol", "ipv4 port 53", "ipv4 proto icmp", apart},
		{"flags that exclude each other", "ipv4 tcp-flags syn&!ack", "ipv4 tcp-flags ack", apart},
		{"flags that a packet can have together", "ipv4 tcp-flags syn", "ipv4 tcp-flags ack", before},
		{"ports and later fragments", "ipv4 sport 53", "ipv4 frag is-fragment", apart},
		{"ports and any fragments", "ipv4 sport 53", "ipv4 frag any:is-fragment+first-fragment", before},
		{"other sources", "src 198.51.100.0/24", "src 192.0.2.0/24", apart},
		{"lengths that overlap", "ipv4 len 100-200", "ipv4 len >=200", before},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := flowspec.ParseMatch(tt.match)
			if err != nil {
				t.Fatal(err)
			}
			d, err := flowspec.ParseMatch(tt.discard)
			if err != nil {
				t.Fatal(err)
			}
			_, got := shielded((&Mitigation{Cut: Cut{Pieces: []netip.Prefix{at}}, Variants: []flowspec.Match{m}}).acting(), (&Mitigation{Cut: block, Variants: []flowspec.Match{d}}).acting())
			if got != tt.want {
				t.Errorf("shielded = %d, want %d", got, tt.want)
			}
		})
	}
}

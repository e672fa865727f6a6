package main

import "github.com/spf13/cobra"

// matchLong is `tidegate help match`. docs/reference/cli.md says the same; the parser is flowspec.ParseMatch.
const matchLong = `A match says which packets are meant. It is conditions in any order, each at most once; a packet must fulfil all of
them. The destination is never among them: that is --target.

  --match "proto udp sport 53|123 len 1000-1500"
  --match "proto tcp dport 80|443 tcp-flags syn&!ack"

  condition             takes      is
  src PREFIX            prefix     source; needs no host bits, a bare address is one address
  proto                 numbers    IP protocol: 17, or a name such as icmp tcp udp gre esp ah icmpv6 ospf sctp
  port                  numbers    source or destination port
  sport, dport          numbers    source port, destination port
  icmp-type, icmp-code  numbers    of ICMP or ICMPv6
  len                   numbers    length of the whole packet in octets, at most 65535
  dscp                  numbers    0 to 63
  label                 numbers    IPv6 flow label
  tcp-flags             bits       fin syn rst psh ack urg ece cwr ae
  frag                  bits       dont-fragment (IPv4) is-fragment first-fragment last-fragment

Numbers: 53, a range 1000-1500, >=1024, >1023, <=512, <513.
Bits: syn is set; syn+ack: both are set; any:syn+ack: one of them is; !ack: not set.
Lists: items are joined by | (or) and & (and, binds closer): sport 53|123, len >=100&<=200, tcp-flags syn&!ack.
A comma is not a list. The address family is that of the targets.

What some routers do not survive is refused, with what to write instead: more than 5 values in one condition, and "not equal" (!=).`

func matchTopic() *cobra.Command {
	return &cobra.Command{Use: "match", Short: "how --match says which packets are meant", Long: matchLong}
}

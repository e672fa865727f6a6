package flowspec

import (
	"net/netip"
	"testing"
)

func TestConflict(t *testing.T) {
	for _, tt := range []struct{ name, match, want string }{
		{"nothing but a protocol", "ipv4 proto icmp", ""},
		{"ports without a protocol", "ipv4 sport 53", ""},
		{"ports and one protocol that has them", "ipv4 proto icmp|udp sport 53", ""},
		{"ports of ICMP", "ipv4 proto icmp sport 53", `"sport 53" is a matter of protocol tcp or udp, but the match says "proto icmp": no packet is both`},
		{"ports of GRE by comparison", "ipv4 proto >=18 port 53", `"port 53" is a matter of protocol tcp or udp, but the match says "proto >=18": no packet is both`},
		{"flags of UDP", "ipv4 proto udp tcp-flags syn", `"tcp-flags syn" is a matter of protocol tcp, but the match says "proto udp": no packet is both`},
		{"flags and a port of UDP", "ipv4 proto udp dport 80 tcp-flags syn", `"tcp-flags syn" is a matter of protocol tcp, but the match says "proto udp": no packet is both`},
		{"ICMP type of TCP", "ipv4 proto tcp icmp-type 8", `"icmp-type 8" is a matter of protocol icmp, but the match says "proto tcp": no packet is both`},
		{"ICMP of the other family", "ipv6 proto icmp icmp-type 128", `"icmp-type 128" is a matter of protocol icmpv6, but the match says "proto icmp": no packet is both`},
		{"ICMPv6", "ipv6 proto icmpv6 icmp-type 128", ""},
		{"ports and ICMP", "ipv4 dport 80 icmp-type 8", `"dport 80" is a matter of protocol tcp or udp and "icmp-type 8" of icmp: no packet is both`},
		{
			"ports of later fragments", "ipv4 proto udp sport 53 frag is-fragment",
			`"frag is-fragment" takes fragments after the first only, which carry nothing for "sport 53" to look at: no packet is both`,
		},
		{"ports of first fragments", "ipv4 proto udp sport 53 frag first-fragment", ""},
		{"ports of what is no later fragment", "ipv4 proto udp sport 53 frag !is-fragment", ""},
		{"later fragments", "ipv4 proto udp frag is-fragment", ""},
		{"bits that no fragment has", "ipv4 frag is-fragment+first-fragment", `"frag is-fragment+first-fragment" takes no value: no packet matches`},
		{"an empty range", "ipv4 dport >100&<50", `"dport >100&<50" takes no value: no packet matches`},
		{"a gap of nothing", "ipv4 len >5&<6", `"len >5&<6" takes no value: no packet matches`},
		{"a gap of one", "ipv4 len >5&<7", ""},
		{"no protocol at all", "ipv4 proto >5&<5", `"proto >5&<5" takes no value: no packet matches`},
		{"a flag that is set and not set", "ipv4 tcp-flags syn&!syn", `"tcp-flags syn&!syn" takes no value: no packet matches`},
		{"the usual flags", "ipv4 tcp-flags syn&!ack", ""},
		{"either port is one of both", "ipv4 port 53 sport 53 dport 80", ""},
		{"either port is none of both", "ipv4 port 53 sport 54 dport 80", "no source port and destination port are in all of the port conditions together: no packet matches"},
		{"prefixes alone", "dst 203.0.113.0/24 src 192.0.2.0/24", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := ParseMatch(tt.match)
			if err != nil {
				t.Fatal(err)
			}
			if got := m.Conflict(); got != tt.want {
				t.Errorf("Conflict = %q\nwant %q", got, tt.want)
			}
		})
	}
}

// TestConflictNeverLies holds matches of two to four small conditions against every packet of a small world: whatever
// matches one of them has no conflict, and whatever has no conflict matches one.
func TestConflictNeverLies(t *testing.T) {
	world := smallWorld()
	parts := map[ComponentType][]string{
		IPProtocol: {"proto icmp", "proto tcp|udp", "proto gre", "proto >=7", "proto <6", "proto >6&<17"},
		Port:       {"port 1", "port <1", "port 1&2"}, DestinationPort: {"dport 2", "dport >1", "dport <1&>0"}, SourcePort: {"sport 0", "sport 1-2"},
		ICMPType: {"icmp-type 1", "icmp-type >1&<2"}, TCPFlags: {"tcp-flags syn&!fin", "tcp-flags syn&!syn", "tcp-flags any:syn+fin"},
		Fragment: {"frag is-fragment", "frag !is-fragment", "frag is-fragment+first-fragment", "frag last-fragment", "frag any:is-fragment+first-fragment"},
	}
	r := newRand(12)
	matched, conflicts := 0, 0
	for range 2000 {
		text := "ipv4"
		for ct := IPProtocol; ct <= Fragment; ct++ {
			if p := parts[ct]; len(p) > 0 && r.IntN(3) == 0 {
				text += " " + p[r.IntN(len(p))]
			}
		}
		m, err := ParseMatch(text)
		if err != nil {
			continue // no condition was chosen
		}
		hit := false
		for i := range world {
			if hit = m.Matches(&world[i]); hit {
				break
			}
		}
		conflict := m.Conflict()
		if hit != (conflict == "") {
			t.Fatalf("%s: matches a packet: %t, conflict %q", text, hit, conflict)
		}
		if hit {
			matched++
		} else {
			conflicts++
		}
	}
	if matched < 100 || conflicts < 100 {
		t.Errorf("%d matches and %d conflicts: the test looks at one side only", matched, conflicts)
	}
}

// smallWorld returns packets with all combinations of the values that TestConflictNeverLies speaks of.
func smallWorld() []Packet {
	a := netip.MustParseAddr("203.0.113.1")
	var out []Packet
	for _, protocol := range []uint8{1, 2, 6, 7, 17, 47} {
		for _, bits := range fragmentStates() {
			base := Packet{Src: a, Dst: a, Protocol: protocol, HasPorts: true, Fragment: bits}
			switch protocol {
			case protoICMP:
				for kind := range uint8(4) {
					p := base
					p.ICMPType = kind
					out = append(out, p)
				}
			case protoTCP, protoUDP:
				for n := range uint16(64) {
					p := base
					p.SrcPort, p.DstPort, p.TCPFlags = n&3, n>>2&3, n>>4
					out = append(out, p)
				}
			default:
				out = append(out, base)
			}
		}
	}
	return out
}

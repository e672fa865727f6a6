package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// The known vectors. docs/policies.md says of each where it is described.
const (
	VectorDNSAmplification          Vector = "dns_amplification"
	VectorNTPAmplification          Vector = "ntp_amplification"
	VectorMemcachedAmplification    Vector = "memcached_amplification"
	VectorSSDPAmplification         Vector = "ssdp_amplification"
	VectorCLDAPAmplification        Vector = "cldap_amplification"
	VectorCharGenAmplification      Vector = "chargen_amplification"
	VectorSNMPAmplification         Vector = "snmp_amplification"
	VectorQOTDAmplification         Vector = "qotd_amplification"
	VectorTFTPAmplification         Vector = "tftp_amplification"
	VectorPortmapAmplification      Vector = "portmap_amplification"
	VectorNetBIOSAmplification      Vector = "netbios_amplification"
	VectorSLPAmplification          Vector = "slp_amplification"
	VectorRIPv1Amplification        Vector = "ripv1_amplification"
	VectorMSSQLAmplification        Vector = "mssql_amplification"
	VectorARMSAmplification         Vector = "arms_amplification"
	VectorRDPAmplification          Vector = "rdp_amplification"
	VectorWSDiscoveryAmplification  Vector = "ws_discovery_amplification"
	VectorMDNSAmplification         Vector = "mdns_amplification"
	VectorCoAPAmplification         Vector = "coap_amplification"
	VectorUbiquitiAmplification     Vector = "ubiquiti_amplification"
	VectorPlexAmplification         Vector = "plex_amplification"
	VectorDHCPDiscoverAmplification Vector = "dhcpdiscover_amplification"
	VectorTCPAmplification          Vector = "tcp_amplification"
	VectorUDPFlood                  Vector = "udp_flood"
	VectorSYNFlood                  Vector = "syn_flood"
	VectorACKFlood                  Vector = "ack_flood"
	VectorRSTFlood                  Vector = "rst_flood"
	VectorTCPFlood                  Vector = "tcp_flood"
	VectorICMPFlood                 Vector = "icmp_flood"
	VectorFragmentFlood             Vector = "fragment_flood"
	VectorGREFlood                  Vector = "gre_flood"
	VectorESPFlood                  Vector = "esp_flood"
	VectorCarpetBombing             Vector = "carpet_bombing"
	VectorUnknown                   Vector = "unknown"
)

// VectorInfo says what a vector is and how it becomes the variants of a mitigation: the matches without a
// destination. What a signal says besides narrows them further.
type VectorInfo struct {
	Name        Vector
	Description string
	Families    []flowspec.Family
	Protocols   []uint8          // none: those of the signal, or all. ICMP stands for ICMPv6 in IPv6
	SourcePorts []flowspec.Range // none: those of the signal, or all
	// FlagsSet and FlagsUnset: TCP packets that have all of the former and none of the latter. Both zero: whatever they are.
	FlagsSet, FlagsUnset uint16
	// Fragments: a variant of its own takes the fragments after the first, which carry no ports to match.
	Fragments bool
	// OnlyFragments: fragments, the first ones among them, and nothing else.
	OnlyFragments bool
	// NeedsProtocol: without a protocol in the signal it is refused as too vague.
	NeedsProtocol bool
	// Hits says which packets that are wanted look the same and are taken as well; empty: hardly any.
	Hits string
	// Leaks says which packets of the attack get through; empty: none is known.
	Leaks string
}

// Vectors returns the known vectors, in a fixed order.
func Vectors() []VectorInfo {
	names := slices.Collect(func(yield func(Vector) bool) {
		for _, a := range amplifiers() {
			if !yield(a.name) {
				return
			}
		}
	})
	names = append(names, VectorTCPAmplification, VectorUDPFlood, VectorSYNFlood, VectorACKFlood, VectorRSTFlood, VectorTCPFlood,
		VectorICMPFlood, VectorFragmentFlood, VectorGREFlood, VectorESPFlood, VectorCarpetBombing, VectorUnknown)
	out := make([]VectorInfo, 0, len(names))
	for _, name := range names {
		info, _ := vectorInfo(name)
		if info.Description == "" {
			info.Description = fmt.Sprintf("UDP from source port %s, and UDP fragments after the first", list(info.SourcePorts, rangeText))
		}
		out = append(out, info)
	}
	return out
}

// amplifier is a UDP service that answers a spoofed address with more than it was asked, and the ports that it answers
// from; a second port of 0 is none.
type amplifier struct {
	name          Vector
	first, second uint64
}

// amplifiers returns the services whose abuse is well documented, those of the issue first and then by port. A service
// that answers from any port (BitTorrent, Kad) is none that a rule could tell.
func amplifiers() [22]amplifier {
	return [...]amplifier{
		{VectorDNSAmplification, 53, 0},
		{VectorNTPAmplification, 123, 0},
		{VectorMemcachedAmplification, 11211, 0},
		{VectorSSDPAmplification, 1900, 0},
		{VectorCLDAPAmplification, 389, 0},
		{VectorCharGenAmplification, 19, 0},
		{VectorSNMPAmplification, 161, 0},
		{VectorQOTDAmplification, 17, 0},
		{VectorTFTPAmplification, 69, 0},
		{VectorPortmapAmplification, 111, 0},
		{VectorNetBIOSAmplification, 137, 0},
		{VectorSLPAmplification, 427, 0},
		{VectorRIPv1Amplification, 520, 0},
		{VectorMSSQLAmplification, 1434, 0},
		{VectorARMSAmplification, 3283, 0},
		{VectorRDPAmplification, 3389, 0},
		{VectorWSDiscoveryAmplification, 3702, 0},
		{VectorMDNSAmplification, 5353, 0},
		{VectorCoAPAmplification, 5683, 0},
		{VectorUbiquitiAmplification, 10001, 0},
		{VectorPlexAmplification, 32410, 32414},
		{VectorDHCPDiscoverAmplification, 37810, 0},
	}
}

// known reports whether vectorInfo knows v. It is asked of every signal, and makes nothing.
func (v Vector) known() bool {
	switch v {
	case VectorTCPAmplification, VectorUDPFlood, VectorSYNFlood, VectorACKFlood, VectorRSTFlood, VectorTCPFlood, VectorICMPFlood, VectorFragmentFlood,
		VectorGREFlood, VectorESPFlood, VectorCarpetBombing, VectorUnknown:
		return true
	default:
	}
	for _, a := range amplifiers() {
		if a.name == v {
			return true
		}
	}
	return false
}

// vectorInfo returns what is known of v. The amplification vectors have no Description: Vectors adds it.
func vectorInfo(v Vector) (VectorInfo, bool) {
	info := VectorInfo{Name: v, Families: []flowspec.Family{flowspec.IPv4, flowspec.IPv6}}
	for _, a := range amplifiers() {
		if a.name == v {
			return info.amplification(a), true
		}
	}
	switch v {
	case VectorTCPAmplification, VectorSYNFlood, VectorACKFlood, VectorRSTFlood, VectorTCPFlood:
		return info.tcp(), true
	case VectorUDPFlood:
		info.Protocols = []uint8{protoUDP}
		info.Description = "UDP, with the ports of the signal if it names any"
	case VectorICMPFlood:
		info.Protocols = []uint8{protoICMP}
		info.Description = "ICMP, sparing ICMPv4 type 3, ICMPv6 types 1-4 (path MTU discovery) and 133-137 (neighbour discovery)"
	case VectorFragmentFlood:
		info.OnlyFragments = true
		info.Description = "fragments, the first ones among them, of the protocols of the signal if it names any"
		info.Hits = "whatever is fragmented on its way looks the same: large answers of DNS, tunnels over a smaller MTU"
	case VectorGREFlood:
		info.Protocols = []uint8{protoGRE}
		info.Description = "GRE, protocol 47"
		info.Hits = "the customer's own GRE tunnels to the targets look the same: limit the rate, or declare their ends as protected"
	case VectorESPFlood:
		info.Protocols = []uint8{protoESP}
		info.Description = "IPsec ESP, protocol 50"
		info.Hits = "the customer's own IPsec tunnels to the targets look the same: limit the rate, or declare their ends as protected"
	case VectorCarpetBombing:
		info.Description = "many addresses at once: the protocols and ports of the signal, or every packet to the targets"
	case VectorUnknown:
		info.NeedsProtocol = true
		info.Description = "the protocols and ports of the signal, at least a protocol"
	default:
		return VectorInfo{}, false
	}
	return info, true
}

// tcp completes a vector of TCP packets.
func (v VectorInfo) tcp() VectorInfo {
	v.Protocols = []uint8{protoTCP}
	switch v.Name {
	case VectorSYNFlood:
		v.FlagsSet, v.FlagsUnset = flowspec.SYN, flowspec.ACK
		v.Description = "TCP packets that open connections: SYN without ACK"
	case VectorACKFlood:
		v.FlagsSet, v.FlagsUnset = flowspec.ACK, flowspec.SYN|flowspec.RST
		v.Description = "TCP packets of connections that are open, or pretend to be: ACK without SYN and RST"
		v.Hits = "every packet of an open connection looks the same: limit the rate, a discard cuts all connections to the targets"
	case VectorRSTFlood:
		v.FlagsSet = flowspec.RST
		v.Description = "TCP packets that reset a connection: RST, with ACK or without"
		v.Hits = "real resets look the same: without them the customer learns late that a connection is gone"
	case VectorTCPAmplification:
		v.FlagsSet = flowspec.SYN | flowspec.ACK
		v.Description = "TCP handshakes that servers repeat to a spoofed address: SYN with ACK, with the source ports of the signal if it names any"
		v.Hits = "the answers to connections that the customer opens look the same: limit the rate, a discard keeps it from opening any"
	default:
		v.Description = "TCP, with the ports of the signal if it names any"
	}
	return v
}

// amplification completes a vector of reflected answers: servers that anybody can ask answer a spoofed address.
func (v VectorInfo) amplification(a amplifier) VectorInfo {
	v.Protocols, v.SourcePorts, v.Fragments = []uint8{protoUDP}, []flowspec.Range{flowspec.One(a.first)}, true
	if a.second != 0 {
		v.SourcePorts = append(v.SourcePorts, flowspec.One(a.second))
	}
	if v.Name == VectorTFTPAmplification {
		v.Leaks = "a TFTP server may answer from any port (RFC 1350 section 4): answers from others than 69 are not matched, this leaks them"
	}
	return v
}

// longestTypo bounds the names for which another one is suggested.
const longestTypo = 64

// VectorFix says what to write in place of a vector that does not exist, as a half sentence that begins with the verb:
// the one that was probably meant, else all.
func VectorFix(verb string, wrong Vector) string {
	best, least := Vector(""), len(wrong)/3+1
	if len(wrong) > longestTypo {
		least = 0
	}
	var names []string
	for _, v := range allVectors() {
		names = append(names, string(v))
		if least == 0 {
			continue
		}
		if d := distance(strings.ToLower(string(wrong)), string(v)); d < least {
			best, least = v, d
		}
	}
	if best != "" {
		return fmt.Sprintf("%s %s; tidegate signal vectors lists all", verb, best)
	}
	return fmt.Sprintf("%s one of %s", verb, strings.Join(names, ", "))
}

// distance is how many octets have to be inserted, removed or replaced to make b of a, which is short.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		left := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := left
			if a[i] != b[j] {
				cost++
			}
			left, row[j+1] = row[j+1], min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

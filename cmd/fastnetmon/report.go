package fastnetmon

import (
	"net/netip"
	"strconv"
	"strings"
)

// Limits of what is read of a report.
const (
	MaxReport  = 1 << 20 // octets; the rest is not looked at
	maxSamples = 10_000
)

// Report is what the text on standard input says. What FastNetMon did not write is zero.
type Report struct {
	Type     string // syn_flood, icmp_flood, udp_flood, ip_fragmentation, unknown
	Protocol string // of most packets; "tcp" also when nothing is known
	// Packets per second to the victim.
	Total, TCP, SYN, UDP, ICMP, Fragments float64
	Megabits                              float64 // of 2^20 bits per second to the victim, rounded down
	PacketSize                            float64 // octets, on average
	Flows                                 float64 // per second
	Samples                               []Sample
	Known                                 int // lines that were understood
}

// Sample is a packet, or a flow, to the victim.
type Sample struct {
	Protocol        string // udp, tcp, icmp, unknown
	Source          netip.Addr
	SourcePort      uint16
	DestinationPort uint16
	Fragment        bool // the ports mean nothing
	Packets         uint64
}

// ParseReport reads a report about the victim. It takes what it knows and passes over the rest, line by line: the form
// differs between versions, and a rate that is missing must not keep a signal back. Ports of IPv6 packets are after the
// last colon.
func ParseReport(text []byte, victim netip.Addr) Report {
	var r Report
	var flows string // the protocol of the list of flows that we are in
	for line := range strings.SplitSeq(string(text[:min(len(text), MaxReport)]), "\n") {
		line = strings.TrimSpace(line)
		if r.field(line) {
			flows = ""
			continue
		}
		if p, ok := flowsOf(line); ok {
			flows = p
			r.Known++
			continue
		}
		s, ok := parseFlow(line, flows)
		if !ok {
			s, ok = parsePacket(line)
		}
		if ok && s.to == victim && len(r.Samples) < maxSamples {
			r.Samples = append(r.Samples, s.Sample)
			r.Known++
		}
	}
	return r
}

// field reads a line of the form "Name: value unit".
func (r *Report) field(line string) bool {
	name, value, ok := strings.Cut(line, ": ")
	if !ok {
		return false
	}
	value = strings.TrimSpace(value)
	var number *float64
	switch name {
	case "Attack type":
		r.Type = clip(value)
	case "Attack protocol":
		r.Protocol = clip(value)
	case "Total incoming traffic":
		number = &r.Megabits
	case "Total incoming pps":
		number = &r.Total
	case "Total incoming flows":
		number = &r.Flows
	case "Incoming tcp pps":
		number = &r.TCP
	case "Incoming syn tcp pps":
		number = &r.SYN
	case "Incoming udp pps":
		number = &r.UDP
	case "Incoming icmp pps":
		number = &r.ICMP
	case "Incoming ip fragmented pps":
		number = &r.Fragments
	case "Average packet size for incoming traffic":
		number = &r.PacketSize
	default:
		return false
	}
	if number != nil && !parseNumber(value, number) {
		return false
	}
	r.Known++
	return true
}

// parseNumber reads the number that text begins with. It must be one that a rate can be.
func parseNumber(text string, out *float64) bool {
	word, _, _ := strings.Cut(text, " ")
	n, err := strconv.ParseFloat(word, 64)
	if err != nil || !(n >= 0 && n < 1e15) {
		return false
	}
	*out = n
	return true
}

// flowsOf reads the heading of a list of flows, such as "UDP flows: 199".
func flowsOf(line string) (string, bool) {
	name, count, ok := strings.Cut(line, " flows: ")
	if !ok {
		return "", false
	}
	if _, err := strconv.ParseUint(count, 10, 32); err != nil {
		return "", false
	}
	switch p := strings.ToLower(name); p {
	case "udp", "tcp", "icmp":
		return p, true
	default:
		return "", false
	}
}

// addressed is a sample with its destination.
type addressed struct {
	Sample
	to netip.Addr
}

// parseFlow reads "203.0.113.10:40001 < 198.51.100.1:53 7294 bytes 7 packets".
func parseFlow(line, protocol string) (addressed, bool) {
	f := strings.Fields(line)
	if protocol == "" || len(f) != 7 || f[1] != "<" || f[4] != "bytes" || f[6] != "packets" {
		return addressed{}, false
	}
	packets, err := strconv.ParseUint(f[5], 10, 40)
	if err != nil {
		return addressed{}, false
	}
	return ends(f[2], f[0], Sample{Protocol: protocol, Packets: packets})
}

// parsePacket reads "2026-11-24 16:07:43.206989 198.51.100.180:53 > 203.0.113.10:40180 protocol: udp frag: 0 packets: 1
// size: 1042 bytes ttl: 64 sample ratio: 1".
func parsePacket(line string) (addressed, bool) {
	f := strings.Fields(line)
	if len(f) < 7 || f[3] != ">" {
		return addressed{}, false
	}
	s := Sample{Packets: 1}
	ratio := uint64(1)
	for i := 5; i+1 < len(f); i++ {
		switch f[i] {
		case "protocol:":
			s.Protocol = clip(f[i+1])
		case "frag:":
			s.Fragment = f[i+1] != "0"
		case "packets:":
			s.Packets, _ = strconv.ParseUint(f[i+1], 10, 40) // what is no number counts for nothing
		case "ratio:":
			ratio, _ = strconv.ParseUint(f[i+1], 10, 20)
		}
	}
	if s.Protocol == "" {
		return addressed{}, false
	}
	s.Packets *= ratio
	return ends(f[2], f[4], s)
}

// ends completes a sample by where it comes from and goes to.
func ends(from, to string, s Sample) (addressed, bool) {
	src, sport, ok := hostPort(from)
	if !ok {
		return addressed{}, false
	}
	dst, dport, ok := hostPort(to)
	s.Source, s.SourcePort, s.DestinationPort = src, sport, dport
	return addressed{s, dst}, ok
}

func hostPort(text string) (netip.Addr, uint16, bool) {
	at := strings.LastIndexByte(text, ':')
	if at < 0 {
		return netip.Addr{}, 0, false
	}
	port, err := strconv.ParseUint(text[at+1:], 10, 16)
	if err != nil {
		return netip.Addr{}, 0, false
	}
	a, err := netip.ParseAddr(strings.Trim(text[:at], "[]"))
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, 0, false
	}
	return a.Unmap(), uint16(port), true
}

// clip bounds a word of the text.
func clip(s string) string { return s[:min(len(s), 64)] }

package fastnetmon

import (
	"math"

	"github.com/tidegate/tidegate/policy"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

const (
	// enough is how many packets the samples must stand for before they say anything.
	enough = 10
	// most is the share of packets that makes something the rule.
	most = 0.9
	// reflected is the share of packets from one service's port that makes an attack a reflected one.
	reflected = 0.8
	protoICMP = 1
	protoTCP  = 6
	protoUDP  = 17
)

// Describe says what a report means, as a signal without an id, a number and a kind. Renamed, which may be nil, maps
// FastNetMon's type of an attack to the vector that is to be reported for it, before anything else.
//
// Of a call with more traffic out than in, only what comes in counts: the direction of an attack flips when the victim
// answers.
func Describe(c Call, r Report, renamed map[string]string) *pb.Signal {
	s := &pb.Signal{Targets: []string{c.Victim.String()}, PacketsPerSecond: r.Total, BitsPerSecond: math.Round(r.Total * r.PacketSize * 8)}
	if r.Total == 0 && !c.Outgoing {
		s.PacketsPerSecond = c.PPS
	}
	if s.BitsPerSecond == 0 {
		s.BitsPerSecond = r.Megabits * (1 << 20)
	}
	if v, ok := renamed[r.Type]; ok {
		s.Vector = v
		return s
	}
	v := r.vector(c)
	s.Vector = string(v)
	if v == policy.VectorFragmentFlood {
		s.Protocols = r.protocol()
	}
	s.DestinationPorts = r.destination(policy.Vector(s.Vector))
	return s
}

// vector chooses among the vectors that every version knows.
func (r *Report) vector(c Call) policy.Vector {
	if v, ok := r.reflection(); ok {
		return v
	}
	if !c.Outgoing { // the type of an outgoing attack is that of what goes out
		switch r.Type {
		case "syn_flood":
			return policy.VectorSYNFlood
		case "icmp_flood":
			return policy.VectorICMPFlood
		case "udp_flood":
			return policy.VectorUDPFlood
		}
	}
	// "ip_fragmentation" says nothing of a protocol and little of a share, "unknown" is also a flood of ACKs, and the line
	// with the protocol says tcp when there is none. The rates tell.
	switch {
	case r.Total <= 0:
	case r.Fragments >= most*r.Total:
		return policy.VectorFragmentFlood
	case r.SYN >= most*r.Total:
		return policy.VectorSYNFlood
	case r.TCP >= most*r.Total:
		return policy.VectorTCPFlood
	case r.UDP >= most*r.Total:
		return policy.VectorUDPFlood
	case r.ICMP >= most*r.Total:
		return policy.VectorICMPFlood
	}
	// Without a protocol this is refused as too vague, in words, and nothing is announced.
	return policy.VectorUnknown
}

// reflection reports whether most of the packets are answers of one service that is known to be abused. Fragments carry
// no ports and do not count.
func (r *Report) reflection() (policy.Vector, bool) {
	var all uint64
	from := map[uint16]uint64{}
	for _, s := range r.Samples {
		if s.Fragment || r.Fragments > 0 && s.SourcePort == s.DestinationPort {
			continue // the list of flows does not mark fragments: their ports are what lies there in the payload
		}
		all += s.Packets
		if s.Protocol == "udp" {
			from[s.SourcePort] += s.Packets
		}
	}
	if all < enough {
		return "", false
	}
	for _, v := range policy.Vectors() {
		if len(v.Protocols) != 1 || v.Protocols[0] != protoUDP || len(v.SourcePorts) == 0 {
			continue
		}
		var share uint64
		for _, ports := range v.SourcePorts {
			for port := ports.Lo; port <= ports.Hi; port++ {
				share += from[uint16(port)]
			}
		}
		if float64(share) >= reflected*float64(all) {
			return v.Name, true
		}
	}
	return "", false
}

// protocol is the one of most packets, for a rule that takes fragments of nothing else; none if there is no such one.
func (r *Report) protocol() []uint32 {
	switch {
	case r.UDP >= most*r.Total:
		return []uint32{protoUDP}
	case r.TCP >= most*r.Total:
		return []uint32{protoTCP}
	case r.ICMP >= most*r.Total:
		return []uint32{protoICMP}
	}
	return nil
}

// destination is the port that every packet goes to, which makes a rule for a flood narrower.
func (r *Report) destination(v policy.Vector) []*pb.Range {
	protocol := ""
	switch v {
	case policy.VectorSYNFlood, policy.VectorTCPFlood:
		protocol = "tcp"
	case policy.VectorUDPFlood:
		protocol = "udp"
	default:
		return nil
	}
	var all uint64
	var port uint16
	for _, s := range r.Samples {
		if s.Fragment || r.Fragments > 0 || s.DestinationPort == 0 || s.Protocol != protocol || port != 0 && s.DestinationPort != port {
			return nil
		}
		port = s.DestinationPort
		all += s.Packets
	}
	if all < enough {
		return nil
	}
	return []*pb.Range{{Low: uint32(port)}}
}

package controller

import (
	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/policy"
	raftv1 "github.com/tidegate/tidegate/proto/tidegate/raft/v1"
)

func (c *codec) packService(v policy.Service) *raftv1.Service {
	return &raftv1.Service{
		Prefixes: list(v.Prefixes, packPrefix), Protocol: uint32(v.Protocol), Note: v.Note,
		Ports: list(v.Ports, func(r flowspec.Range) *raftv1.PortRange {
			return &raftv1.PortRange{Lo: r.Lo, Hi: r.Hi}
		}),
	}
}

func (c *codec) service(v *raftv1.Service) policy.Service {
	return policy.Service{
		Prefixes: c.prefixes(v.GetPrefixes()), Protocol: number[uint8](c, v.GetProtocol()), Note: v.GetNote(),
		Ports: list(v.GetPorts(), func(r *raftv1.PortRange) flowspec.Range {
			return flowspec.Range{Lo: r.GetLo(), Hi: r.GetHi()}
		}),
	}
}

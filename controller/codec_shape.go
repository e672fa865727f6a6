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

// packAggregate leaves out one that says nothing.
func packAggregate(a policy.Aggregate) *raftv1.Aggregate {
	if a == (policy.Aggregate{}) {
		return nil
	}
	return &raftv1.Aggregate{MinTargets: int64(a.MinTargets), MinShare: a.MinShare, WidestIpv4: uint32(a.WidestIPv4), WidestIpv6: uint32(a.WidestIPv6)}
}

func (c *codec) aggregate(a *raftv1.Aggregate) policy.Aggregate {
	return policy.Aggregate{
		MinTargets: number[int](c, a.GetMinTargets()), MinShare: a.GetMinShare(),
		WidestIPv4: number[uint8](c, a.GetWidestIpv4()), WidestIPv6: number[uint8](c, a.GetWidestIpv6()),
	}
}

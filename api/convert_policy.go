package api

import (
	"slices"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/policy"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// modeAuto is the word for the mode that a policy has if it says nothing.
const modeAuto = "auto"

func policyFrom(v *violations, in *tidegatev1.Policy) *policy.Policy {
	out := &policy.Policy{
		Name:           in.GetName(),
		Priority:       int(in.GetPriority()),
		Sources:        slices.Clone(in.GetSources()),
		Tags:           slices.Clone(in.GetTags()),
		MinRate:        v.threshold("min_rate", in.GetMinRate()),
		MinPackets:     v.packets("min_packets", in.GetMinPackets()),
		MinConfidence:  in.GetMinConfidence(),
		When:           in.GetWhen(),
		MaxMatches:     int(in.GetMaxMatches()),
		MaxMitigations: int(in.GetMaxMitigations()),
		MaxPerHour:     int(in.GetMaxPerHour()),
		Quorum:         int(in.GetQuorum()),
		Aggregate:      v.aggregate(in.GetAggregate()),
		Action:         v.policyAction(in),
		Ladder:         v.ladder(in.GetLadder()),
		Quiet:          v.pause("quiet", in.GetQuiet()),
		Relax:          relax(in.GetRelax()),
		Lifetime:       v.duration("lifetime", in.GetLifetime(), false),
		Groups:         slices.Clone(in.GetGroups()),
	}
	out.Mode = mode(in.GetMode())
	parser := newSignalParser()
	for i, s := range in.GetVectors() {
		if !parser.vectors[policy.Vector(s)] {
			v.add(item("vectors", i), quote(s)+" is not a known vector", policy.VectorFix("write", policy.Vector(s)))
		}
		out.Vectors = append(out.Vectors, policy.Vector(s))
	}
	for _, s := range in.GetCustomers() {
		out.Customers = append(out.Customers, policy.CustomerID(s))
	}
	for _, s := range in.GetMatchOn() {
		out.MatchOn = append(out.MatchOn, policy.Hint(s))
	}
	return out
}

// threshold reads a rate with its unit that may be missing, which asks for nothing.
func (v *violations) threshold(field, s string) flowspec.BytesPerSecond {
	if s == "" {
		return 0
	}
	r, err := flowspec.ParseRate(s)
	if err != nil {
		v.add(field, err.Error(), "write it with its unit, such as 500Mbps")
	}
	return r
}

// packets is threshold for packets per second.
func (v *violations) packets(field, s string) flowspec.PacketsPerSecond {
	if s == "" {
		return 0
	}
	r, err := flowspec.ParsePacketRate(s)
	if err != nil {
		v.add(field, err.Error(), "write it with its unit, such as 100kpps")
	}
	return r
}

func policyProto(x *policy.Policy) *tidegatev1.Policy {
	out := &tidegatev1.Policy{
		Name: x.Name, Priority: int32(x.Priority), Sources: x.Sources, Tags: x.Tags, MinConfidence: x.MinConfidence, When: x.When,
		Mode: string(x.Mode), MaxMatches: uint32(x.MaxMatches), MaxMitigations: uint32(x.MaxMitigations), MaxPerHour: uint32(x.MaxPerHour), Quorum: uint32(x.Quorum),
		Ladder: laddersProto(x.Ladder), Groups: x.Groups,
	}
	if len(x.Ladder) == 0 {
		out.Action = actionProto(x.Action)
	}
	out.Relax, out.Aggregate = string(x.Relax), aggregateProto(x.Aggregate)
	if x.Quiet != 0 {
		out.Quiet = durationProto(x.Quiet)
	}
	if x.MinRate != 0 {
		out.MinRate = x.MinRate.String()
	}
	if x.MinPackets != 0 {
		out.MinPackets = x.MinPackets.String()
	}
	if x.Lifetime != 0 {
		out.Lifetime = durationProto(x.Lifetime)
	}
	for _, s := range x.Vectors {
		out.Vectors = append(out.Vectors, string(s))
	}
	for _, s := range x.Customers {
		out.Customers = append(out.Customers, string(s))
	}
	for _, s := range x.MatchOn {
		out.MatchOn = append(out.MatchOn, string(s))
	}
	return out
}

func nearMissesProto(list []policy.NearMiss) []*tidegatev1.NearMiss {
	var out []*tidegatev1.NearMiss
	for _, n := range list {
		out = append(out, &tidegatev1.NearMiss{Policy: n.Policy, Why: n.Why})
	}
	return out
}

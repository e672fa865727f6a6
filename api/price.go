package api

import (
	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/policy"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// pricedProto is mitigationProto with what the rules cost on each router.
func pricedProto(s *policy.State, m *policy.Mitigation) *tidegatev1.Mitigation {
	out := mitigationProto(s, m)
	if m.Phase != policy.Active && m.Phase != policy.Pending || m.Action.RouteKind() != wanted.FlowSpec {
		return out
	}
	byProfile := map[string]*tidegatev1.Price{}
	for _, r := range hearing(s, wanted.FlowSpec, m.Groups, ruleFamily(m)) {
		price := byProfile[r.Profile]
		if price == nil {
			price = priceProto(s, m, r)
			byProfile[r.Profile] = price
			out.Prices = append(out.Prices, price)
		}
		room := s.Room(r)
		price.Routers = append(price.Routers, &tidegatev1.RouterRoom{
			Router: r.Name, Rules: uint32(room.Routes), RulesStop: uint32(room.RoutesStop),
			Entries: uint32(room.Entries), EntriesStop: uint32(room.EntriesStop),
		})
	}
	return out
}

// priceProto is what the rules cost on a router of this profile.
func priceProto(s *policy.State, m *policy.Mitigation, r *policy.Router) *tidegatev1.Price {
	out := &tidegatev1.Price{Profile: r.Profile}
	p := s.Profile(r)
	if p == nil {
		return out
	}
	for _, rule := range m.Rules {
		price := p.Price(rule)
		out.Unit = price.Unit
		out.RuleEntries = append(out.RuleEntries, uint32(price.Entries))
		out.Entries += uint32(price.Entries)
	}
	return out
}

package api

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/policy"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// startRequest reads an operator's order.
func startRequest(v *violations, in *tidegatev1.StartRequest) *policy.StartRequest {
	out := &policy.StartRequest{Groups: slices.Clone(in.GetGroups())}
	var family flowspec.Family
	switch n := len(in.GetTargets()); {
	case n == 0:
		v.add("targets", "there is none", "name the prefixes or addresses to protect: a rule without a destination is never made")
	case v.tooMany("targets", n, policy.MaxTargets):
	default:
		out.Targets, family = v.networks("targets", in.GetTargets(), true, true)
	}
	if family != 0 {
		out.Match = v.match("match", in.GetMatch(), family)
	}
	out.Action = v.action(in.GetAction())
	out.Lifetime = v.duration("lifetime", in.GetLifetime(), false)
	out.BreakGlass = in.GetBreakGlass()
	return out
}

// match reads the text of a match without a destination. The family is that of the targets, and the text need not
// say it.
func (v *violations) match(field, s string, family flowspec.Family) flowspec.Match {
	s = strings.TrimSpace(s)
	if s == "" {
		return flowspec.Match{Family: family}
	}
	word := strings.ToLower(family.String())
	stated, _, _ := strings.Cut(s, " ")
	text, shift := s, 0
	if stated != "ipv4" && stated != "ipv6" && !strings.Contains(s, "src ") && !strings.Contains(s, "dst ") {
		text, shift = word+" "+s, len(word)+1
	}
	m, err := flowspec.ParseMatch(text)
	if err != nil {
		problem, fix := matchProblem(err, shift)
		v.add(field, problem, fix)
		return flowspec.Match{}
	}
	if _, ok := m.Component(flowspec.DestinationPrefix); ok {
		v.add(field, "it names a destination", "name the destination in targets only")
		return flowspec.Match{}
	}
	if m.Family != family {
		v.add(field, fmt.Sprintf("it is %s, the targets are %s", m.Family, family), "use one address family in one request")
		return flowspec.Match{}
	}
	return m
}

// prefixText and durationProto are the usual forms.
func prefixText(list []netip.Prefix) []string {
	out := make([]string, len(list))
	for i, p := range list {
		out[i] = p.String()
	}
	return out
}

func durationProto(d time.Duration) *durationpb.Duration { return durationpb.New(d) }

func timeProto(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func exemptionProto(e policy.Exemption) *tidegatev1.Exemption {
	return &tidegatev1.Exemption{Prefix: e.Prefix.String(), Kind: string(e.Kind), Name: e.Name}
}

// mitigationProto is m with what follows for the routers of s.
func mitigationProto(s *policy.State, m *policy.Mitigation) *tidegatev1.Mitigation {
	out := &tidegatev1.Mitigation{
		Id:          formatID(m.ID),
		Customer:    string(m.Customer),
		Origin:      originText(m.Origin),
		Policy:      m.Policy,
		Vector:      string(m.Vector),
		Source:      m.Source,
		Targets:     prefixText(m.Targets),
		Action:      actionProto(m.Action),
		Rules:       make([]string, len(m.Rules)),
		Pieces:      prefixText(m.Cut.Pieces),
		Unprotected: prefixText(m.Cut.Unprotected),
		Rounded:     m.Cut.Rounded,
		Notes:       m.Notes,
		Groups:      m.Groups,
		Lifetime:    durationProto(m.Lifetime),
		Created:     timeProto(m.Created),
		Expires:     timeProto(m.Expires),
		By:          string(m.By),
		ReasonCode:  string(m.Reason.Code),
		Reason:      m.Reason.Text,
		Phase:       phaseText(m.Phase),
		End:         string(m.End),
		EndedAt:     timeProto(m.EndedAt),
		EndedBy:     string(m.EndedBy),
		EndNote:     m.EndNote,
		Changed:     uint64(m.Changed),
		NearMisses:  nearMissesProto(m.NearMisses),
	}
	for i, r := range m.Rules {
		out.Rules[i] = ruleText(m.Action.RouteKind(), &r)
		if by := overriding(s, m, &r); by != 0 {
			out.Overridden = append(out.Overridden, &tidegatev1.Override{Rule: out.Rules[i], By: formatID(by)})
		}
	}
	for _, e := range m.Cut.Exempt {
		out.Exempt = append(out.Exempt, exemptionProto(e))
	}
	for _, c := range m.Causes {
		out.Causes = append(out.Causes, &tidegatev1.Cause{Source: c.Source, AttackId: c.AttackID, Since: timeProto(c.Since)})
	}
	if m.Announced() || m.Phase == policy.Pending { // those that would hear it
		out.Routers = routerNames(s, m)
	}
	rates(out, m)
	life(out, m)
	shapeOf(out, m)
	approvals(out, m)
	return out
}

// overriding is the mitigation whose action is announced instead of that of m for the rule's key; 0: none, or the action
// is the same.
func overriding(s *policy.State, m *policy.Mitigation, r *flowspec.Rule) policy.MitigationID {
	route, ok := s.Route(m.Action.Key(r))
	if !ok || m.ID == 0 || !slices.Contains(route.Owners, m.ID) || route.Owners[0] == m.ID || slices.Equal(route.Rule.Actions, r.Actions) {
		return 0
	}
	return route.Owners[0]
}

// rates says what the rate comes to: for one rule, and for all rules on all routers together.
func rates(out *tidegatev1.Mitigation, m *policy.Mitigation) {
	var sum, most float64
	for _, r := range m.Rules {
		for _, a := range r.Actions {
			sum += float64(a.Rate)
			most = max(most, float64(a.Rate))
		}
	}
	text := func(rate float64) string { return flowspec.BytesPerSecond(rate).String() }
	switch {
	case most == 0:
		return
	case m.Action.Kind == policy.RateLimitPackets:
		text = func(rate float64) string { return flowspec.PacketsPerSecond(rate).String() }
	}
	out.RatePerRule = text(most)
	if n := len(out.GetRouters()); n > 0 {
		out.RateTotal = text(sum * float64(n))
	}
}

// routerNames are the routers that hear m's rules.
func routerNames(s *policy.State, m *policy.Mitigation) []string {
	var out []string
	for _, r := range hearing(s, m.Action.RouteKind(), m.Groups, ruleFamily(m)) {
		out = append(out, r.Name)
	}
	return out
}

func ruleFamily(m *policy.Mitigation) flowspec.Family {
	if len(m.Rules) > 0 {
		return m.Rules[0].Match.Family
	}
	if len(m.Targets) > 0 {
		return familyOf(m.Targets[0].Addr())
	}
	return flowspec.IPv4
}

// hearing are the routers that hear routes of a kind and family that are for these groups (empty: all).
func hearing(s *policy.State, k wanted.Kind, groups []string, f flowspec.Family) []*policy.Router {
	var out []*policy.Router
	for r := range s.Routers() {
		if r.Hears(k, groups, f) {
			out = append(out, r)
		}
	}
	return out
}

func originText(o policy.Origin) string {
	switch o {
	case policy.FromPolicy:
		return "policy"
	case policy.FromOperator:
		return "operator"
	default:
		return ""
	}
}

func phaseText(p policy.Phase) string {
	switch p {
	case policy.Active:
		return "active"
	case policy.Over:
		return "over"
	case policy.Ending:
		return "ending"
	case policy.Pending:
		return "pending"
	default:
		return ""
	}
}

package api

import (
	"cmp"
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/policy"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// noEvidence is what is known of what a router made of a rule.
const noEvidence = "unknown: routers give no evidence over FlowSpec sessions"

type ruleService struct {
	tidegatev1.UnimplementedRuleServiceServer
	*Server
}

// ListPeers shows every node's sessions.
func (s *ruleService) ListPeers(ctx context.Context, _ *tidegatev1.ListPeersRequest) (*tidegatev1.ListPeersResponse, error) {
	nodes := s.askAll(ctx, false)
	st := s.ctrl.State()
	out := &tidegatev1.ListPeersResponse{Silent: silent(nodes), Read: s.readInfo(st)}
	for _, n := range nodes {
		if o := n.speaker.GetOut(); o != nil {
			out.Out = append(out.Out, o)
		}
		state, why := "unknown", "the node does not answer"
		switch peers := n.speaker.GetPeers(); {
		case n.speaker == nil:
		case len(peers) == 0 && n.node.GetUnready() != "":
			state, why = "waiting for a leader", n.node.GetUnready()
		default:
			out.Peers = append(out.Peers, peers...)
			continue
		}
		// What a silent node's sessions do is not known; that it should have them is. A node that has not heard from a
		// leader opens none.
		for r := range st.Routers() {
			out.Peers = append(out.Peers, &tidegatev1.Peer{
				Node: n.member.ID, Router: r.Name, Address: r.Address.String(), Asn: uint32(r.ASN), State: state,
				Since: timeProto(n.since), LastError: why, Carries: kindText(r.Kind()),
			})
		}
	}
	return out, nil
}

// ListRules shows every rule and how far it has come on every session.
func (s *ruleService) ListRules(ctx context.Context, req *tidegatev1.ListRulesRequest) (*tidegatev1.ListRulesResponse, error) {
	var only policy.MitigationID
	v := &violations{}
	if req.GetMitigation() != "" {
		only = v.mitigationID("mitigation", req.GetMitigation())
	}
	if err := v.err(); err != nil {
		return nil, err
	}
	st := s.ctrl.State()
	if only != 0 {
		if _, ok := st.Mitigation(only); !ok {
			return nil, noMitigation(only)
		}
	}
	nodes := s.askAll(ctx, true)
	st = s.ctrl.State() // as new as the answers
	out := &tidegatev1.ListRulesResponse{Silent: silent(nodes), Read: s.readInfo(st)}
	sessions := indexSessions(nodes)
	for k, r := range st.Routes() {
		known := sessions[k]
		delete(sessions, k)
		if only != 0 && !slices.Contains(r.Owners, only) {
			continue
		}
		if rule := ruleProto(st, k, r, nodes, known, req.GetRouter()); rule != nil {
			out.Rules = append(out.Rules, rule)
		}
	}
	if only == 0 {
		out.Rules = append(out.Rules, leftovers(sessions, req.GetRouter())...)
	}
	// A router that is no document any more may still hear what is on its way out.
	if name := req.GetRouter(); name != "" && len(out.GetRules()) == 0 {
		var known []string
		for r := range st.Routers() {
			known = append(known, r.Name)
		}
		if !slices.Contains(known, name) {
			return nil, &notFoundError{what: fmt.Sprintf("there is no router %s; %s", quote(name), thereIs("router", known))}
		}
	}
	return out, nil
}

// onSession names a session.
type onSession struct{ node, router string }

// indexSessions sorts what the nodes said of their sessions by key.
func indexSessions(nodes []nodeAnswer) map[flowspec.Key]map[onSession]*tidegatev1.RuleOnSession {
	out := make(map[flowspec.Key]map[onSession]*tidegatev1.RuleOnSession)
	for _, n := range nodes {
		for _, r := range n.speaker.GetRules() {
			raw, err := hex.DecodeString(r.GetKey())
			if err != nil || r.GetSession() == nil {
				continue
			}
			k := flowspec.Key(raw)
			if out[k] == nil {
				out[k] = make(map[onSession]*tidegatev1.RuleOnSession)
			}
			out[k][onSession{n.member.ID, r.GetSession().GetRouter()}] = r.GetSession()
		}
	}
	return out
}

// ruleProto is one rule on all sessions that should carry it; nil when the router that was asked for does not.
func ruleProto(st *policy.State, k flowspec.Key, r *policy.RouteState, nodes []nodeAnswer, known map[onSession]*tidegatev1.RuleOnSession, router string) *tidegatev1.Rule {
	out := &tidegatev1.Rule{
		Rule: ruleText(r.Kind, &r.Rule), Key: keyText(k), Med: ^uint32(0) - uint32(r.Changed), Expires: timeProto(r.Expires), RouterEvidence: noEvidence,
		Kind: kindText(r.Kind), Actions: actionTexts(r.Kind, &r.Rule),
	}
	for _, id := range r.Owners {
		out.Mitigations = append(out.Mitigations, formatID(id))
		if m, ok := st.Mitigation(id); ok && out.Customer == "" {
			out.Customer = string(m.Customer)
		}
	}
	for _, to := range hearing(st, r.Kind, r.Groups, r.Rule.Match.Family) {
		if router != "" && to.Name != router {
			continue
		}
		if heard, ok := st.Heard(k, to.Group); ok && router != "" {
			out.Rule, out.Actions = ruleText(r.Kind, &heard), actionTexts(r.Kind, &heard) // groups may hear different owners
		}
		for _, n := range nodes {
			out.Sessions = append(out.Sessions, sessionRow(n, to.Name, known))
		}
	}
	if router != "" && len(out.Sessions) == 0 {
		return nil
	}
	return out
}

// sessionRow is how far a rule is known to have come on one session.
func sessionRow(n nodeAnswer, router string, known map[onSession]*tidegatev1.RuleOnSession) *tidegatev1.RuleOnSession {
	row := &tidegatev1.RuleOnSession{Node: n.member.ID, Router: router}
	if n.speaker == nil {
		row.State, row.Since = tidegatev1.RuleState_RULE_STATE_UNKNOWN, timeProto(n.since)
		row.Detail = "the node does not answer: " + n.detail
		return row
	}
	if r, ok := known[onSession{n.member.ID, router}]; ok {
		return r
	}
	row.State = tidegatev1.RuleState_RULE_STATE_COMMITTED
	row.Detail = "the node's speaker has not taken it up yet"
	if n.speaker.GetOut() != nil {
		row.Detail = "not announced: the node stays out by an operator's order"
	} else if why := n.node.GetUnready(); why != "" {
		row.Detail = "not announced: the node waits for a leader (" + why + ")"
	}
	return row
}

// leftovers are rules that nodes still announce although no mitigation asks for them any more: they are on their way
// out, or the node is cut off from the others.
func leftovers(sessions map[flowspec.Key]map[onSession]*tidegatev1.RuleOnSession, router string) []*tidegatev1.Rule {
	var out []*tidegatev1.Rule
	for k, rows := range sessions {
		text, kind := "cannot be shown", wanted.FlowSpec
		if p, ok := wanted.RTBHPrefix(k); ok {
			text, kind = "dst "+p.String(), wanted.RTBH
		} else if m, err := k.Match(); err == nil {
			text = m.String()
		}
		rule := &tidegatev1.Rule{Rule: text, Key: keyText(k), RouterEvidence: noEvidence, Kind: kindText(kind)}
		for _, row := range rows {
			if router == "" || row.GetRouter() == router {
				rule.Sessions = append(rule.Sessions, row)
			}
		}
		if len(rule.Sessions) == 0 {
			continue
		}
		slices.SortFunc(rule.Sessions, func(a, b *tidegatev1.RuleOnSession) int {
			return cmp.Or(strings.Compare(a.GetRouter(), b.GetRouter()), strings.Compare(a.GetNode(), b.GetNode()))
		})
		out = append(out, rule)
	}
	slices.SortFunc(out, func(a, b *tidegatev1.Rule) int { return strings.Compare(a.GetKey(), b.GetKey()) })
	return out
}

func keyText(k flowspec.Key) string { return hex.EncodeToString([]byte(k)) }

package api

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/status"

	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/controller"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

type clusterService struct {
	tidegatev1.UnimplementedClusterServiceServer
	*Server
}

type memberService struct {
	tidegatev1.UnimplementedMemberServiceServer
	*Server
}

// Status shows the cluster as this node and its neighbours see it.
func (s *clusterService) Status(ctx context.Context, _ *tidegatev1.StatusRequest) (*tidegatev1.StatusResponse, error) {
	nodes := s.askAll(ctx, false)
	st := s.ctrl.State()
	out := &tidegatev1.StatusResponse{
		Cluster: s.cfg.Cluster, Term: s.ctrl.Status().Term, ActiveMitigations: uint32(st.ActiveCount()),
		Links: uint32(st.LinkCount()), Read: s.readInfo(st),
		Freeze: freezeProto(st), PendingApprovals: uint32(st.AwaitingCount()), BreakGlassMitigations: uint32(st.UnapprovedCount()),
	}
	for q := range st.Quarantines() {
		out.Quarantines = append(out.Quarantines, quarantineProto(&q))
	}
	leader, _, known := s.ctrl.Leader()
	if known {
		out.Leader = leader.ID
	}
	for range st.Customers() {
		out.Customers++
	}
	for range st.Routes() {
		out.Rules++
	}
	for _, n := range nodes {
		node := n.node
		if node == nil {
			// Members are those of the configuration, which all vote.
			node = &tidegatev1.Node{Voter: true, Detail: n.silence()}
		}
		// Identity and addresses are those of the configuration, whoever answers.
		node.Id, node.RaftAddress, node.ApiAddress = n.member.ID, n.member.RaftAddress, n.member.APIAddress
		node.Answered = n.node != nil
		out.Nodes = append(out.Nodes, node)
	}
	return out, nil
}

// LocalStatus is what this node alone knows.
func (s *memberService) LocalStatus(_ context.Context, req *tidegatev1.LocalStatusRequest) (*tidegatev1.LocalStatusResponse, error) {
	return s.local(req.GetWithRules()), nil
}

// Unready says why a node should not be sent work: one sentence for each reason, none when it is ready. A node whose
// speaker is out, or lost, decides as well as any other, and does not do what it is there for. Of speaker only these two
// count.
func Unready(c interface {
	Leader() (m controller.Member, self, known bool)
	Status() controller.Status
}, speaker *wanted.Status,
) []string {
	var why []string
	st := c.Status()
	if !st.Serving {
		why = append(why, "not serving: "+st.StoppedBecause)
	}
	if _, _, known := c.Leader(); !known {
		why = append(why, "no leader is known")
	}
	if !st.CaughtUp {
		why = append(why, "not caught up with a leader since the start")
	}
	if speaker.Out != nil {
		why = append(why, outText(speaker.Out))
	}
	if speaker.Lost != "" {
		why = append(why, speaker.Lost)
	}
	return why
}

// local is this node and its speaker.
func (s *Server) local(withRules bool) *tidegatev1.LocalStatusResponse {
	st, speaker := s.ctrl.Status(), s.ctrl.SpeakerStatus()
	node := &tidegatev1.Node{
		Id: st.NodeID, Leader: st.Leader, Voter: st.Voter, Answered: true, Detail: cmp.Or(st.StoppedBecause, st.Detail),
		AppliedIndex: uint64(st.AppliedIndex), CommitIndex: uint64(st.CommitIndex),
		LeaseRemaining: durationProto(st.LeaseRemaining),
		Version:        s.cfg.Version, Serving: st.Serving, Started: timeProto(st.Started), SessionsWanted: uint32(len(speaker.Sessions)),
	}
	node.Unready = strings.Join(Unready(s.ctrl, &speaker), "; ")
	node.Out = outProto(st.NodeID, speaker.Out)
	node.AuditVersion, node.TokenVersion = auditVersion, tokenVersion
	if c := s.deps.Certificate; c != nil {
		node.CertificateEnds, node.CertificateProblem = timeProto(c.Expires()), c.Problem()
	}
	if s.deps.AuditFiles != nil {
		_, node.AuditFile = s.deps.AuditFiles.Written()
	}
	if st.SinceLeaderContact >= 0 { // else it never heard of one
		node.SinceLeaderContact = durationProto(st.SinceLeaderContact)
	}
	out := &tidegatev1.SpeakerStatus{Node: st.NodeID, Revision: speaker.Revision, LeaseRemaining: durationProto(st.LeaseRemaining), Out: node.GetOut()}
	for i := range speaker.Sessions {
		session := &speaker.Sessions[i]
		if session.State == wanted.SessionEstablished {
			node.SessionsEstablished++
		}
		peer := peerProto(st.NodeID, session)
		peer.Out = speaker.Out != nil
		out.Peers = append(out.Peers, peer)
		if !withRules {
			continue
		}
		for i := range session.Routes {
			r := &session.Routes[i]
			state, detail := ruleState(r)
			out.Rules = append(out.Rules, &tidegatev1.RuleOnSessionByKey{Key: keyText(r.Key), Session: &tidegatev1.RuleOnSession{
				Node: st.NodeID, Router: session.Router.Name, State: state, Since: timeProto(r.Since), Detail: detail,
			}})
		}
	}
	return &tidegatev1.LocalStatusResponse{Node: node, Speaker: out}
}

func peerProto(node string, in *wanted.SessionStatus) *tidegatev1.Peer {
	out := &tidegatev1.Peer{
		Node: node, Router: in.Router.Name, Address: in.Router.Address.String(), Asn: uint32(in.Router.ASN),
		State: string(in.State), Since: timeProto(in.Since), LastError: in.LastError,
		Carries:   kindText(in.Router.Carries),
		RulesSent: uint32(in.Sent), RulesWanted: uint32(in.Wanted), OverBudget: uint32(in.OverBudget), Refused: uint32(in.Refused),
	}
	for _, f := range in.Families {
		out.Families = append(out.Families, familyWord(f))
	}
	return out
}

// outText says that a node stays out, in a sentence without its end.
func outText(o *wanted.Out) string {
	text := "out: everything is withdrawn from this node's sessions until tidegate speaker resume is run there"
	if o.By != "" {
		text += fmt.Sprintf("; ordered by %s at %s: %s", o.By, o.Since.UTC().Format(time.RFC3339), o.Reason)
	}
	return withReason(text, o.Trouble)
}

// outProto is the order that a node obeys; nil for none.
func outProto(node string, o *wanted.Out) *tidegatev1.SpeakerOut {
	if o == nil {
		return nil
	}
	return &tidegatev1.SpeakerOut{Node: node, Since: timeProto(o.Since), By: o.By, Reason: o.Reason, Trouble: o.Trouble}
}

// ruleState is the state of a rule on a session, and what there is to say about it beyond that.
func ruleState(r *wanted.RouteStatus) (state tidegatev1.RuleState, detail string) {
	switch r.State {
	case wanted.RouteQueued, wanted.RoutePaced, wanted.RouteSending:
		return tidegatev1.RuleState_RULE_STATE_COMMITTED, waitingDetail(r)
	case wanted.RouteSent:
		return tidegatev1.RuleState_RULE_STATE_SENT, ""
	case wanted.RouteSuperseded:
		return tidegatev1.RuleState_RULE_STATE_SENT, withReason("being replaced", r.Detail)
	case wanted.RouteWithdrawing:
		return tidegatev1.RuleState_RULE_STATE_SENT, withReason("being withdrawn", r.Detail)
	case wanted.RouteRefused:
		return tidegatev1.RuleState_RULE_STATE_REFUSED, r.Detail
	case wanted.RouteOverBudget:
		return tidegatev1.RuleState_RULE_STATE_OVER_BUDGET, "the router's budget is used up"
	case wanted.RouteExpired:
		return tidegatev1.RuleState_RULE_STATE_COMMITTED, "its lifetime or the lease is over, so it is not announced"
	case wanted.RouteOut:
		return tidegatev1.RuleState_RULE_STATE_COMMITTED, "the node stays out by an operator's order, so it is not announced"
	case wanted.RouteNoSession:
		return tidegatev1.RuleState_RULE_STATE_NO_SESSION, "the session is not established"
	case wanted.RouteNoFamily:
		return tidegatev1.RuleState_RULE_STATE_NO_SESSION, "the session does not carry the rule's family"
	default:
		return tidegatev1.RuleState_RULE_STATE_UNKNOWN, "the speaker reports state " + quote(string(r.State))
	}
}

// waitingDetail says why a rule is not sent yet; nothing when it is about to be.
func waitingDetail(r *wanted.RouteStatus) string {
	switch {
	case !r.Since.IsZero():
		return "its earlier action is announced until then"
	case r.State == wanted.RoutePaced:
		return "waits for the router's rules per second"
	default:
		return ""
	}
}

func withReason(what, why string) string {
	if why == "" {
		return what
	}
	return what + ": " + why
}

// nodeAnswer is what one node said of itself; node and speaker are nil when it said nothing.
type nodeAnswer struct {
	member  controller.Member
	node    *tidegatev1.Node
	speaker *tidegatev1.SpeakerStatus
	since   time.Time // when it last answered; zero: not since this node started
	detail  string
}

// silence is for people: how the node is silent, and when it last was not.
func (n *nodeAnswer) silence() string {
	if n.since.IsZero() {
		return "does not answer (" + n.detail + "), and has not since this node started"
	}
	return "does not answer (" + n.detail + "); it last did at " + n.since.UTC().Format(time.RFC3339)
}

// askAll asks every member for its status, all at once, and takes what has come when the time is up. The order is
// that of the members. This node answers for itself.
func (s *Server) askAll(ctx context.Context, withRules bool) []nodeAnswer {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.StatusTimeout)
	defer cancel()
	members, self := s.ctrl.Members(), s.ctrl.Status().NodeID
	out := make([]nodeAnswer, len(members))
	var all sync.WaitGroup
	for i, m := range members {
		if m.ID != self {
			all.Go(func() { out[i] = s.ask(ctx, m, withRules) })
		}
	}
	defer all.Wait()
	// Not in a goroutine of its own: a panic there would be nobody's to recover.
	for i, m := range members {
		if m.ID == self {
			l := s.local(withRules)
			out[i] = nodeAnswer{member: m, node: l.GetNode(), speaker: l.GetSpeaker()}
		}
	}
	return out
}

func (s *Server) ask(ctx context.Context, m controller.Member, withRules bool) nodeAnswer {
	l, err := s.askOther(ctx, m, withRules)
	if err != nil {
		// The text of the transport may be long and says little to a reader; the code says enough.
		s.log.DebugContext(ctx, "member does not answer", "node", m.ID, "error", err)
		return nodeAnswer{member: m, since: s.heard.last(m.ID), detail: silence(ctx, err)}
	}
	s.heard.now(m.ID, s.deps.Now())
	return nodeAnswer{member: m, node: l.GetNode(), speaker: l.GetSpeaker()}
}

func (s *Server) askOther(ctx context.Context, m controller.Member, withRules bool) (*tidegatev1.LocalStatusResponse, error) {
	conn, err := s.dial(m)
	if err != nil {
		return nil, err
	}
	l, err := tidegatev1.NewMemberServiceClient(conn).LocalStatus(ctx, &tidegatev1.LocalStatusRequest{WithRules: withRules})
	if err == nil && (l.GetNode() == nil || l.GetSpeaker() == nil) {
		return nil, status.Error(status.Code(err), "the answer is empty")
	}
	return l, err
}

// silent lists the nodes that said nothing.
func silent(nodes []nodeAnswer) []*tidegatev1.SilentNode {
	var out []*tidegatev1.SilentNode
	for _, n := range nodes {
		if n.speaker == nil {
			out = append(out, &tidegatev1.SilentNode{Node: n.member.ID, Since: timeProto(n.since), Detail: n.detail})
		}
	}
	return out
}

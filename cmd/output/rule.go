package output

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tidegate/tidegate/api/auth"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// RuleState is a rule's state on a session in words.
func RuleState(s pb.RuleState) string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(s.String(), "RULE_STATE_")), "_", " ")
}

func stateTone(s pb.RuleState) tone {
	switch s {
	case pb.RuleState_RULE_STATE_SENT:
		return green
	case pb.RuleState_RULE_STATE_REFUSED, pb.RuleState_RULE_STATE_OVER_BUDGET, pb.RuleState_RULE_STATE_NO_SESSION:
		return red
	default:
		return yellow
	}
}

// Rules prints what is announced and how far each rule has come, router by router: the nodes in one state stand in
// one line. A state that is not known is printed as unknown.
func (p *Printer) Rules(r *pb.ListRulesResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	if len(r.GetRules()) == 0 {
		p.Sentence("%s", nothing(r.GetRead(), "No rules are announced.", "No rules are known here."))
	}
	evidence := sameEvidence(r.GetRules())
	for _, rule := range r.GetRules() {
		p.Sentence("%s", p.paint(cell{rule.GetRule(), bold}))
		p.Sentence("    %s, %s of %s, ends %s, MED %d", orDash(rule.GetKind()), strings.Join(rule.GetMitigations(), ", "), orDash(rule.GetCustomer()),
			p.when(rule.GetExpires()), rule.GetMed())
		for _, g := range groupSessions(rule.GetSessions()) {
			line := fmt.Sprintf("    %s: %s", g.router, p.paint(cell{RuleState(g.state), stateTone(g.state)}))
			line += " by " + strings.Join(g.nodes, ", ")
			if g.detail != "" {
				line += " (" + g.detail + ")"
			}
			p.Sentence("%s", line)
		}
		if len(rule.GetSessions()) == 0 {
			p.Sentence("    %s, on no session", p.paint(cell{"committed", yellow}))
		}
		if e := rule.GetRouterEvidence(); e != "" && evidence == "" {
			p.Sentence("    accepted, installed, hitting: %s", e)
		}
	}
	if evidence != "" {
		p.Sentence("Accepted, installed, hitting: %s.", evidence)
	}
	p.silent(r.GetSilent())
	p.stale(r.GetRead())
	return nil
}

// nothing is what an empty answer means: a node that has heard from no leader since its start cannot speak for the cluster.
func nothing(r *pb.ReadInfo, there, here string) string {
	if r.GetNoLeaderSinceStart() {
		return here
	}
	return there
}

// sameEvidence is what is known from the routers, when that is the same of all rules.
func sameEvidence(rules []*pb.Rule) string {
	for _, r := range rules {
		if r.GetRouterEvidence() != rules[0].GetRouterEvidence() {
			return ""
		}
	}
	if len(rules) == 0 {
		return ""
	}
	return rules[0].GetRouterEvidence()
}

type sessionGroup struct {
	router, detail string
	state          pb.RuleState
	nodes          []string
}

// groupSessions puts the nodes of one router, state and detail together, in the order in which they come.
func groupSessions(in []*pb.RuleOnSession) []sessionGroup {
	var out []sessionGroup
	for _, s := range in {
		i := slices.IndexFunc(out, func(g sessionGroup) bool {
			return g.router == s.GetRouter() && g.state == s.GetState() && g.detail == s.GetDetail()
		})
		if i < 0 {
			out = append(out, sessionGroup{router: s.GetRouter(), state: s.GetState(), detail: s.GetDetail()})
			i = len(out) - 1
		}
		out[i].nodes = append(out[i].nodes, s.GetNode())
	}
	return out
}

// Peers prints the sessions of all nodes.
func (p *Printer) Peers(r *pb.ListPeersResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	t := &table{head: []string{"NODE", "ROUTER", "ADDRESS", "AS", "STATE", "SINCE", "CARRIES", "FAMILIES", "SENT"}, empty: nothing(r.GetRead(), "No routers are configured.", "No routers are known here.")}
	p.out(r.GetOut())
	for _, s := range r.GetPeers() {
		state := cell{s.GetState(), yellow}
		if s.GetState() == "established" {
			state.tone = green
		}
		if s.GetOut() {
			state = cell{state.text + ", OUT", red}
		}
		t.add(cell{text: s.GetNode()}, cell{text: s.GetRouter()}, cell{text: s.GetAddress()}, cell{text: fmt.Sprint(s.GetAsn())}, state,
			cell{text: p.ago(s.GetSince())}, cell{text: orDash(s.GetCarries())}, cell{text: strings.Join(s.GetFamilies(), ",")},
			cell{text: fmt.Sprintf("%d/%d", s.GetRulesSent(), s.GetRulesWanted())})
	}
	p.table(t)
	for _, s := range r.GetPeers() {
		if text := trouble(s); text != "" {
			p.warn(red, "%s with %s: %s.", s.GetNode(), s.GetRouter(), text)
		}
	}
	p.silent(r.GetSilent())
	p.stale(r.GetRead())
	return nil
}

// out tells of the nodes that stay out.
func (p *Printer) out(nodes []*pb.SpeakerOut) {
	for _, o := range nodes {
		text := fmt.Sprintf("%s is OUT and announces nothing", o.GetNode())
		if o.GetBy() != "" {
			text += fmt.Sprintf(", by order of %s at %s: %s", o.GetBy(), p.clock(o.GetSince()), o.GetReason())
		}
		if o.GetTrouble() != "" {
			text += "; " + o.GetTrouble()
		}
		p.warn(red, "%s. To end that, run on %s: tidegate speaker resume", text, o.GetNode())
	}
}

func trouble(s *pb.Peer) string {
	var out []string
	if n := s.GetOverBudget(); n > 0 {
		out = append(out, fmt.Sprintf("%d over budget", n))
	}
	if n := s.GetRefused(); n > 0 {
		out = append(out, fmt.Sprintf("%d refused by the guard", n))
	}
	if s.GetLastError() != "" && s.GetState() != "established" {
		out = append(out, s.GetLastError())
	}
	return strings.Join(out, ", ")
}

func (p *Printer) silent(nodes []*pb.SilentNode) {
	for _, n := range nodes {
		text := fmt.Sprintf("Node %s does not answer", n.GetNode())
		if n.GetDetail() != "" {
			text += " (" + n.GetDetail() + ")"
		}
		if n.GetSince() != nil {
			text += "; it last did at " + p.clock(n.GetSince())
		} else {
			text += ", and has not since the node that was asked started"
		}
		p.warn(yellow, "%s: its sessions are unknown.", text)
	}
}

// Cluster prints the cluster.
func (p *Printer) Cluster(r *pb.StatusResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	leader := cell{r.GetLeader(), green}
	if leader.text == "" {
		leader = cell{"none: nothing can be changed until a majority of the nodes agrees on one", red}
	}
	p.line("cluster", r.GetCluster())
	p.toned("leader", leader)
	p.frozen(r.GetFreeze())
	p.line("term", fmt.Sprint(r.GetTerm()))
	p.line("active", fmt.Sprintf("%s, %s", count(int(r.GetActiveMitigations()), "mitigation"), count(int(r.GetRules()), "rule")))
	p.secondPerson(r)
	p.line("inventory", fmt.Sprintf("%s, %s", count(int(r.GetCustomers()), "customer"), count(int(r.GetLinks()), "link")))
	p.Sentence("")
	var outs []*pb.SpeakerOut
	for _, n := range r.GetNodes() {
		if o := n.GetOut(); o != nil {
			outs = append(outs, o)
		}
	}
	p.out(outs)
	t := &table{head: []string{"NODE", "ROLE", "API", "APPLIED", "COMMIT", "LEASE", "SESSIONS", "UP", "VERSION", "STATE"}, empty: "No nodes."}
	for _, n := range r.GetNodes() {
		t.add(p.nodeCells(n)...)
	}
	p.table(t)
	p.quarantined(r.GetQuarantines())
	for _, n := range r.GetNodes() {
		p.troubles(n)
	}
	p.stale(r.GetRead())
	return nil
}

// troubles warns of what is wrong with a node.
func (p *Printer) troubles(n *pb.Node) {
	detail, tone := n.GetDetail(), red
	switch {
	case detail != "" && n.GetAnswered() && n.GetServing():
		tone = yellow
	case detail == "" && n.GetUnready() != "" && n.GetOut() == nil: // told above
		detail = n.GetUnready()
	}
	if detail != "" {
		p.warn(tone, "%s: %s.", n.GetId(), detail)
	}
	p.certificate(n)
	if n.GetAuditFile() != "" {
		p.warn(red, "%s: the audit file is not written: %s.", n.GetId(), n.GetAuditFile())
	}
}

// certificate warns of a certificate that ends within two weeks, and of files that cannot be used.
func (p *Printer) certificate(n *pb.Node) {
	if n.GetCertificateProblem() != "" {
		p.warn(red, "%s: the certificate files cannot be used, and the node goes on with what it had: %s.", n.GetId(), n.GetCertificateProblem())
	}
	if ends := n.GetCertificateEnds(); ends != nil && ends.AsTime().Sub(p.Now) < auth.ExpiryWarning {
		p.warn(red, "%s: the certificate ends %s; put a new one into its files, the node takes it up without a restart.", n.GetId(), p.when(ends))
	}
}

// warn prints a sentence below a table, wrapped.
func (p *Printer) warn(t tone, format string, args ...any) {
	for _, l := range wrap(fmt.Sprintf(format, args...), p.width()) {
		p.Sentence("%s", p.paint(cell{l, t}))
	}
}

func (p *Printer) nodeCells(n *pb.Node) []cell {
	role := "follower"
	switch {
	case n.GetLeader():
		role = "leader"
	case !n.GetVoter():
		role = "non-voter"
	}
	if !n.GetAnswered() {
		return append(plainCells(n.GetId(), "-", n.GetApiAddress(), "-", "-", "-", "-", "-", "-"), cell{"does not answer", red})
	}
	state := cell{"serving", green}
	switch {
	case !n.GetServing():
		state = cell{"NOT SERVING", red}
	case n.GetOut() != nil:
		state = cell{"OUT", red}
	case n.GetUnready() != "":
		state = cell{"not ready", yellow}
	}
	return append(plainCells(n.GetId(), role, n.GetApiAddress(), fmt.Sprint(n.GetAppliedIndex()), fmt.Sprint(n.GetCommitIndex()),
		orDash(short(n.GetLeaseRemaining())), fmt.Sprintf("%d/%d", n.GetSessionsEstablished(), n.GetSessionsWanted()),
		p.ago(n.GetStarted()), orDash(n.GetVersion())), state)
}

package api_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/policy"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// rulesAsText is a list of rules, one line per session.
func rulesAsText(list []*tidegatev1.Rule) []string {
	var out []string
	for _, r := range list {
		for _, s := range r.GetSessions() {
			line := []string{
				r.GetRule(), strings.Join(r.GetMitigations(), "+"), s.GetNode(), s.GetRouter(),
				strings.TrimPrefix(s.GetState().String(), "RULE_STATE_"), s.GetDetail(),
			}
			out = append(out, strings.TrimSuffix(strings.Join(line, " | "), " | "))
		}
	}
	return out
}

// Rules on a cluster of which one node is silent, one has sent everything, and one has trouble.
func TestListRules(t *testing.T) {
	l := newLab(t, "n1", "n2", "n3")
	l.load()
	op := l.dial("n1", auth.Operator, "alice")
	startMitigation(t, op, "203.0.113.77")
	startMitigation(t, op, "2001:db8:a::1")
	var v4, v6 flowspec.Key
	for k, r := range l.fake.State().Routes() {
		if r.Rule.Match.Family == flowspec.IPv4 {
			v4 = k
		} else {
			v6 = k
		}
	}
	old, err := flowspec.ParseMatch("dst 203.0.113.99/32 proto tcp")
	if err != nil {
		t.Fatal(err)
	}
	l.nodes["n2"].ctrl.Speaker = func() wanted.Status {
		router := func(name string) wanted.Router {
			return wanted.Router{Name: name, Address: netip.MustParseAddr("192.0.2.9"), IPv4: true, IPv6: true}
		}
		return wanted.Status{Sessions: []wanted.SessionStatus{
			{Router: router("edge1"), State: wanted.SessionEstablished, Routes: []wanted.RouteStatus{
				{Key: v4, State: wanted.RouteOverBudget}, {Key: v6, State: wanted.RouteRefused, Detail: "protected"}, {Key: old.Key(), State: wanted.RouteWithdrawing},
			}},
			{Router: router("edge2"), State: wanted.SessionConnecting, LastError: "connection refused", Routes: []wanted.RouteStatus{{Key: v4, State: wanted.RouteNoSession}}},
		}}
	}
	l.nodes["n3"].stop()
	client := tidegatev1.NewRuleServiceClient(l.dial("n1", auth.Viewer, "v"))
	resp, err := client.ListRules(t.Context(), &tidegatev1.ListRulesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	const rule4, rule6 = "dst 203.0.113.77/32 proto udp sport 53 => rate 8Mbps", "dst 2001:db8:a::1/128 proto udp sport 53 => rate 8Mbps"
	const mute = "UNKNOWN | the node does not answer: the connection was refused"
	want := []string{
		rule4 + " | M1 | n1 | edge1 | SENT",
		rule4 + " | M1 | n2 | edge1 | OVER_BUDGET | the router's budget is used up",
		rule4 + " | M1 | n3 | edge1 | " + mute,
		rule4 + " | M1 | n1 | edge2 | SENT",
		rule4 + " | M1 | n2 | edge2 | NO_SESSION | the session is not established",
		rule4 + " | M1 | n3 | edge2 | " + mute,
		rule6 + " | M2 | n1 | edge1 | SENT",
		rule6 + " | M2 | n2 | edge1 | REFUSED | protected",
		rule6 + " | M2 | n3 | edge1 | " + mute,
		"dst 203.0.113.99/32 proto tcp |  | n2 | edge1 | SENT | being withdrawn",
	}
	got := rulesAsText(resp.GetRules())
	slices.Sort(want)
	slices.Sort(got)
	// Whether a node that is down refuses at once or is not reached in time depends on the machine.
	for i := range got {
		got[i] = strings.NewReplacer("no answer in time", "the connection was refused", "the connection broke", "the connection was refused").Replace(got[i])
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	for _, r := range resp.GetRules() {
		if !strings.HasPrefix(r.GetRouterEvidence(), "unknown") {
			t.Errorf("evidence %q", r.GetRouterEvidence())
		}
	}
	if s := resp.GetSilent(); len(s) != 1 || s[0].GetNode() != "n3" || s[0].GetSince() != nil {
		t.Errorf("silent: %v", s)
	}
	only, err := client.ListRules(t.Context(), &tidegatev1.ListRulesRequest{Mitigation: "M2", Router: "edge2"})
	if err != nil || len(only.GetRules()) != 0 {
		t.Errorf("rules of M2 on a router without IPv6: %v, %v", only, err)
	}
	only, err = client.ListRules(t.Context(), &tidegatev1.ListRulesRequest{Mitigation: "M1", Router: "edge2"})
	if err != nil || len(only.GetRules()) != 1 || len(only.GetRules()[0].GetSessions()) != 3 {
		t.Errorf("rules of M1 on edge2: %v, %v", only, err)
	}

	_, err = client.ListRules(t.Context(), &tidegatev1.ListRulesRequest{Router: "nope"})
	if want := `there is no router "nope"; there is edge1, edge2`; status.Code(err) != codes.NotFound || status.Convert(err).Message() != want {
		t.Errorf("rules of a router that there is not: %v, want %s", err, want)
	}
	_, err = client.ListRules(t.Context(), &tidegatev1.ListRulesRequest{Mitigation: "M99"})
	if status.Code(err) != codes.NotFound || api.ErrorReason(err) != string(policy.CodeUnknownMitigation) {
		t.Errorf("rules of a mitigation that there is not: %v", err)
	}
	peers, err := client.ListPeers(t.Context(), &tidegatev1.ListPeersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var sessions []string
	for _, p := range peers.GetPeers() {
		sessions = append(sessions, p.GetNode()+" "+p.GetRouter()+" "+p.GetState()+" "+p.GetLastError())
	}
	wantPeers := []string{
		"n1 edge1 established ", "n1 edge2 established ", "n2 edge1 established ", "n2 edge2 connecting connection refused",
		"n3 edge1 unknown the node does not answer", "n3 edge2 unknown the node does not answer",
	}
	if diff := cmp.Diff(wantPeers, sessions); diff != "" {
		t.Errorf("peers (-want +got):\n%s", diff)
	}
}

func TestClusterStatus(t *testing.T) {
	l := newLab(t, "n1", "n2", "n3")
	l.load()
	startMitigation(t, l.dial("n1", auth.Operator, "alice"), "203.0.113.77")
	l.nodes["n3"].stop()
	resp, err := tidegatev1.NewClusterServiceClient(l.dial("n2", auth.Viewer, "v")).Status(t.Context(), &tidegatev1.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var nodes []string
	for _, n := range resp.GetNodes() {
		text := n.GetId()
		if n.GetAnswered() {
			text += " answered " + n.GetVersion()
		} else {
			text += " silent"
			if !n.GetVoter() {
				text += ", and no voter"
			}
		}
		if n.GetLeader() {
			text += " leads"
		}
		nodes = append(nodes, text)
	}
	if diff := cmp.Diff([]string{"n1 answered v0-test leads", "n2 answered v0-test", "n3 silent"}, nodes); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	got := []uint32{resp.GetActiveMitigations(), resp.GetRules(), resp.GetCustomers(), resp.GetLinks(), resp.GetNodes()[0].GetSessionsEstablished()}
	if diff := cmp.Diff([]uint32{1, 1, 2, 2, 2}, got); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	if resp.GetCluster() != testCluster || resp.GetLeader() != "n1" || resp.GetRead().GetNode() != "n2" {
		t.Errorf("got %v", resp)
	}
	if resp.GetNodes()[0].GetLeaseRemaining().AsDuration() != time.Hour {
		t.Errorf("lease %v", resp.GetNodes()[0].GetLeaseRemaining())
	}
}

// A server that is not a member, or another member than was called, gets no forwarded call.
func TestDialerWantsThatMember(t *testing.T) {
	l := newLab(t, "n1", "n2")
	l.load()
	// n2's address is now given as n3's: what answers there is n2, and it must not be taken for n3.
	cfg, _, _, err := auth.ClientTLS(l.issue(auth.Member, "n1", "127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	conn := l.dialTLS("n2", auth.ForMember(cfg, testCluster, "n3"))
	_, err = tidegatev1.NewMemberServiceClient(conn).LocalStatus(t.Context(), &tidegatev1.LocalStatusRequest{})
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), `was called`) {
		t.Errorf("got %v", err)
	}
}

// A node that has not heard from a leader since its start says so in each answer, and shows its routers.
func TestNodeBehind(t *testing.T) {
	l := newLab(t, "n1", "n2")
	l.load()
	startMitigation(t, l.dial("n1", auth.Operator, "alice"), "203.0.113.77")
	l.nodes["n2"].ctrl.Behind.Store(true)
	conn := l.dial("n2", auth.Viewer, "v")
	st, err := tidegatev1.NewClusterServiceClient(conn).Status(t.Context(), &tidegatev1.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	const why = "not caught up with a leader since the start"
	if n := st.GetNodes(); n[0].GetUnready() != "" || n[1].GetUnready() != why || !st.GetRead().GetNoLeaderSinceStart() {
		t.Errorf("status: %v", st)
	}
	peers, err := tidegatev1.NewRuleServiceClient(conn).ListPeers(t.Context(), &tidegatev1.ListPeersRequest{})
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, p := range peers.GetPeers() {
		rows = append(rows, p.GetNode()+" "+p.GetRouter()+": "+p.GetState()+" "+p.GetLastError())
	}
	want := []string{"n1 edge1: established ", "n1 edge2: established ", "n2 edge1: waiting for a leader " + why, "n2 edge2: waiting for a leader " + why}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("peers (-want +got):\n%s", diff)
	}
	rules, err := tidegatev1.NewRuleServiceClient(conn).ListRules(t.Context(), &tidegatev1.ListRulesRequest{Router: "edge1"})
	if err != nil {
		t.Fatal(err)
	}
	if got := rulesAsText(rules.GetRules()); len(got) != 2 || !strings.Contains(got[1], "n2 | edge1 | COMMITTED | not announced: the node waits for a leader") {
		t.Errorf("rules: %q", got)
	}
}

// A rule whose key belongs to a more severe mitigation is not announced with its own action, and says whose it is.
func TestOverridden(t *testing.T) {
	l := newLab(t, "n1")
	l.load()
	client := tidegatev1.NewMitigationServiceClient(l.dial("n1", auth.Operator, "alice"))
	for i, req := range []*tidegatev1.StartRequest{
		{Targets: []string{"203.0.113.9"}, Action: &tidegatev1.Action{Rate: "10Mbps"}},
		{Targets: []string{"203.0.113.9", "203.0.113.77"}, Action: &tidegatev1.Action{Discard: true}},
	} {
		req.RequestId, req.Reason = "r"+string(rune('0'+i)), "test"
		if _, err := client.Start(t.Context(), req); err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range map[string]string{"M1": "M2", "M2": ""} {
		resp, err := client.Get(t.Context(), &tidegatev1.GetRequest{Id: id})
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, o := range resp.GetMitigation().GetOverridden() {
			got += o.GetBy()
		}
		if got != want {
			t.Errorf("%s is overridden by %q, want %q", id, got, want)
		}
	}
}

// A withdrawal says which nodes could not be asked, whom they may still announce the rules to, and until when.
func TestWithdrawWhileANodeIsSilent(t *testing.T) {
	l := newLab(t, "n1", "n2", "n3")
	l.load()
	op := l.dial("n1", auth.Operator, "alice")
	for _, target := range []string{"203.0.113.77", "203.0.113.78", "2001:db8:a::1"} {
		startMitigation(t, op, target)
	}
	client := tidegatev1.NewMitigationServiceClient(op)
	wd, err := client.Withdraw(t.Context(), &tidegatev1.WithdrawRequest{RequestId: "w1", Reason: "over", Id: "M1"})
	if err != nil || wd.GetGoneAtLatest() == nil || len(wd.GetStillCarried()) != 0 {
		t.Errorf("with every node there: %v, %v", wd, err)
	}
	l.nodes["n3"].stop()
	wd, err = client.Withdraw(t.Context(), &tidegatev1.WithdrawRequest{RequestId: "w2", Reason: "over", Id: "M2"})
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, got []*tidegatev1.Carrier, routers []string, until *timestamppb.Timestamp) {
		t.Helper()
		if len(got) != 1 {
			t.Fatalf("%s: %v", what, got)
		}
		c := got[0]
		if c.GetNode() != "n3" || !slices.Equal(c.GetRouters(), routers) || !strings.HasPrefix(c.GetDetail(), "does not answer") || !c.GetUntil().AsTime().Equal(until.AsTime()) {
			t.Errorf("%s: %v, want n3, %v, %v", what, c, routers, until.AsTime())
		}
	}
	check("one", wd.GetStillCarried(), []string{"edge1", "edge2"}, wd.GetGoneAtLatest())
	all, err := client.WithdrawAll(t.Context(), &tidegatev1.WithdrawAllRequest{RequestId: "w3", Reason: "over"})
	if err != nil {
		t.Fatal(err)
	}
	check("the IPv6 one", all.GetStillCarried(), []string{"edge1"}, all.GetGoneAtLatest()) // edge2 has no IPv6
}

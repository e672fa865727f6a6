package output

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tidegate/tidegate/cmd/node"
	"github.com/tidegate/tidegate/cmd/rehearse"
	speakerv1 "github.com/tidegate/tidegate/proto/tidegate/speaker/v1"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

var update = flag.Bool("update", false, "rewrite the golden files")

var now = time.Date(2026, 11, 23, 3, 4, 5, 0, time.UTC)

func stamp(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(now.Add(d)) }

func sampleMitigation() *pb.Mitigation {
	return &pb.Mitigation{
		Id: "M17", Customer: "uni-a", Origin: "operator", Targets: []string{"203.0.113.0/24"}, Action: &pb.Action{Rate: "60Mbps"},
		Rules:       []string{"dst 203.0.113.0/30 proto udp sport 53 => rate 10Mbps", "dst 203.0.113.8/29 proto udp sport 53 => rate 10Mbps"},
		Pieces:      []string{"203.0.113.0/30", "203.0.113.8/29"},
		Exempt:      []*pb.Exemption{{Prefix: "203.0.113.4/30", Kind: "link", Name: "uni-a"}, {Prefix: "224.0.0.0/4", Kind: "built-in"}},
		Unprotected: []string{"203.0.113.128/25"}, Rounded: true,
		Notes:    []string{"fragments after the first carry no ports: this leaks them, and that is worth a longer line than fits on most of the terminals"},
		Lifetime: durationpb.New(10 * time.Minute), Created: stamp(-2 * time.Minute), Expires: stamp(8 * time.Minute),
		By: "operator/alice", ReasonCode: "started", Reason: "DNS flood, ticket 4711", Phase: "active", Changed: 21,
		Routers: []string{"edge1", "edge2"}, RatePerRule: "10Mbps", RateTotal: "40Mbps",
		Causes: []*pb.Cause{{Source: "flowmon", AttackId: "a-1", Since: stamp(-time.Minute)}},
		Prices: []*pb.Price{
			{
				Profile: "iosxr-ncs5500", Unit: "TCAM entries", RuleEntries: []uint32{1, 8}, Entries: 9,
				Routers: []*pb.RouterRoom{{Router: "edge1", Rules: 12, RulesStop: 2400, Entries: 90, EntriesStop: 3276}},
			},
			{Routers: []*pb.RouterRoom{{Router: "edge2", Rules: 12, RulesStop: 800}}},
		},
	}
}

// speaker is n1's with two sessions.
func speaker(out bool) *speakerv1.Speaker {
	s := &speakerv1.Speaker{
		Node: "n1", Revision: 7, LeaseRemaining: durationpb.New(58 * time.Minute),
		Sessions: []*speakerv1.Session{
			{Router: "edge1", Address: "192.0.2.1", Carries: "flowspec", State: "established", Announced: 12, Wanted: 12},
			{Router: "edge2", Address: "192.0.2.2", Carries: "rtbh", State: "connecting", Wanted: 1, Detail: "the session is down, so the router drops what it heard of this node"},
		},
		Others: []*speakerv1.Other{
			{Node: "n2", ApiAddress: "192.0.2.12:7400", Command: "tidegate speaker withdraw-all --reason 'wrong rule, see ticket 4711; nobody knows yet where it comes from'"},
			{Node: "n3", ApiAddress: "192.0.2.13:7400"},
		},
	}
	if out {
		s.Out = &speakerv1.Out{Since: stamp(-4 * time.Minute), By: "root (alice by sudo)", Reason: "wrong rule"}
		s.Sessions[0].Announced = 0
	}
	return s
}

func overMitigation() *pb.Mitigation {
	m := sampleMitigation()
	m.Id, m.Phase, m.End, m.EndedAt, m.EndedBy, m.EndNote = "M16", "over", "withdrawn", stamp(-time.Hour), "operator/bob", "false alarm"
	m.Policy, m.Vector, m.Action = "reflected", "dns_amplification", &pb.Action{Discard: true}
	return m
}

// climbing is a mitigation at the second step of its ladder.
func climbing() *pb.Mitigation {
	m := sampleMitigation()
	m.Origin, m.Policy, m.Vector, m.By, m.Reason, m.ReasonCode = "policy", "reflected", "dns_amplification", "detector/flowmon", "policy reflected: flowmon reports dns_amplification", "mitigated"
	m.Action, m.Rules = &pb.Action{Discard: true}, m.GetRules()[:1]
	m.Ladder = []*pb.Step{
		{Action: &pb.Action{Rate: "60Mbps"}},
		{Action: &pb.Action{Discard: true}, After: durationpb.New(time.Minute)},
		{Action: &pb.Action{Rtbh: true}, After: durationpb.New(5 * time.Minute), MinConfidence: 0.8},
	}
	m.Step, m.StepSince, m.NextStep = 2, stamp(-time.Minute), stamp(3*time.Minute)
	m.BlockedCode, m.Blocked = "no_router", "step 3 (rtbh): no router takes IPv4 blackhole routes"
	m.NearMisses = []*pb.NearMiss{{Policy: "gold", Why: "customer uni-a has none of the tags gold"}}
	m.History = []*pb.Event{
		{At: stamp(-2 * time.Minute), What: "started", By: "detector/flowmon", Code: "mitigated", Text: "step 1 of 3, rate 60Mbps"},
		{At: stamp(-time.Minute), Index: 21, What: "escalated", By: "member/n1", Code: "escalated", Text: "step 2 of 3, discard instead of rate 60Mbps: the attack is still reported 1m after the step before began (confidence 0.7)"},
		{At: stamp(-time.Second), Index: 22, What: "step-refused", By: "member/n1", Code: "no_router", Text: m.GetBlocked()},
	}
	return m
}

// quietened is a mitigation whose attack is over for the third time.
func quietened() *pb.Mitigation {
	m := climbing()
	m.Phase, m.EndsAt, m.Pulses, m.QuietTime, m.NextStep = "ending", stamp(4*time.Minute), 2, durationpb.New(20*time.Minute), nil
	return m
}

// ended is a mitigation that is over since the day before.
func ended() *pb.Mitigation {
	m := climbing()
	m.Phase, m.End, m.Created, m.EndedAt, m.NextStep, m.BlockedCode, m.Blocked = "over", "attack-over", stamp(-5*time.Hour), stamp(-3*time.Hour), nil, "", ""
	m.Notes = append(m.Notes, "extended by operator/alice at 2026-11-23T03:04:05Z to end in 1h: to be sure")
	m.History = []*pb.Event{
		{At: stamp(-5 * time.Hour), What: "started", By: "detector/flowmon", Code: "mitigated", Text: "step 1 of 3, rate 60Mbps: policy reflected: flowmon reports dns_amplification on 203.0.113.0/24 of customer uni-a (4Gbps, 400kpps, confidence 0.7)"},
		{At: stamp(-4 * time.Hour), Index: 22, What: "extended", By: "operator/alice", Code: "extended", Text: "to end in 1h: to be sure"},
		{At: stamp(-3 * time.Hour), Index: 30, What: "ended", By: "member/n2", Code: "attack-over", Text: "quiet for 5m after the attack"},
	}
	return m
}

// answers are one call of each printer; their name is that of the golden file.
func answers() map[string]func(p *Printer) error {
	read := &pb.ReadInfo{Index: 21, Age: durationpb.New(0), Node: "n1"}
	old := &pb.ReadInfo{Index: 21, Age: durationpb.New(90 * time.Second), Node: "n3"}
	verdict := &pb.Verdict{Kind: pb.VerdictKind_VERDICT_KIND_MITIGATED, Code: "started", Text: "M17: 2 rules for customer uni-a", Mitigation: "M17"}
	refused := &pb.Verdict{Kind: pb.VerdictKind_VERDICT_KIND_REFUSED, Code: "target_protected", Text: "203.0.113.5 is a link address of customer uni-a"}
	customer := &pb.Customer{
		Id: "uni-a", Name: "University A", Official: []string{"203.0.113.0/24", "2001:db8:a::/48"}, Contacts: []string{"noc@uni-a.example"}, MaxMitigations: 5,
		Links: []*pb.Link{{Prefix: "203.0.113.4/30", Pe: "pe1", Interface: "xe-0/0/1", Block: "links-1", State: "in-use"}, {Prefix: "198.51.100.0/31"}},
	}
	document := &pb.Document{Document: &pb.Document_Customer{Customer: customer}}
	documents := []*pb.Document{
		document,
		{Document: &pb.Document_ProtectedBlock{ProtectedBlock: &pb.ProtectedBlock{Name: "links-1", Purpose: "link-block", Prefixes: []string{"198.51.100.0/24"}}}},
		{Document: &pb.Document_Router{Router: &pb.Router{Name: "edge1", Address: "192.0.2.1", Asn: 65010, Group: "edge"}}},
		{Document: &pb.Document_Policy{Policy: &pb.Policy{Name: "reflected", Priority: 20, Vectors: []string{"dns_amplification"}, Action: &pb.Action{Discard: true}}}},
		{Document: &pb.Document_Policy{Policy: &pb.Policy{Name: "stepwise", Ladder: climbing().GetLadder()}}},
		{Document: &pb.Document_Safeguards{Safeguards: &pb.Safeguards{Name: "default"}}},
	}
	plan := &pb.Plan{
		Added: []*pb.DocumentRef{{Kind: "Customer", Name: "lab-c"}}, Changed: []*pb.DocumentRef{{Kind: "Router", Name: "edge1"}},
		Removed: []*pb.DocumentRef{{Kind: "Customer", Name: "school-b"}}, Unchanged: 3, LinksBefore: 5, LinksAfter: 4,
		LinksRemoved: []string{"198.51.100.2/31"}, RemovalsToAllow: 1, Narrowed: []string{"M17"}, Ended: []string{"M12"}, Unenforced: []string{"M9"},
	}
	session := func(node, router string, state pb.RuleState, detail string) *pb.RuleOnSession {
		return &pb.RuleOnSession{Node: node, Router: router, State: state, Detail: detail}
	}
	rules := &pb.ListRulesResponse{Read: read, Silent: []*pb.SilentNode{{Node: "n3", Since: stamp(-time.Minute), Detail: "connection refused"}}, Rules: []*pb.Rule{
		{
			Rule: "dst 203.0.113.8/29 proto udp sport 53 => rate 10Mbps", Mitigations: []string{"M17", "M18"}, Customer: "uni-a", Med: 4294967274, Expires: stamp(8 * time.Minute),
			Kind: "flowspec", Actions: []string{"rate 10Mbps"}, RouterEvidence: "unknown", Sessions: []*pb.RuleOnSession{
				session("n1", "edge1", pb.RuleState_RULE_STATE_SENT, ""), session("n2", "edge1", pb.RuleState_RULE_STATE_SENT, ""),
				session("n3", "edge1", pb.RuleState_RULE_STATE_UNKNOWN, ""), session("n1", "edge2", pb.RuleState_RULE_STATE_OVER_BUDGET, "2400 of 2400 rules used"),
			},
		},
		{
			Rule: "dst 203.0.113.0/30 proto udp sport 53 => rate 10Mbps", Mitigations: []string{"M17"}, Customer: "uni-a", Med: 4294967274, Expires: stamp(8 * time.Minute),
			RouterEvidence: "unknown", Kind: "flowspec", Actions: []string{"rate 10Mbps"},
		},
		{
			Rule: "dst 203.0.113.77/32 => rtbh", Mitigations: []string{"M19"}, Customer: "uni-a", Med: 4294967270, Expires: stamp(8 * time.Minute),
			RouterEvidence: "unknown", Kind: "rtbh", Actions: []string{"rtbh"}, Sessions: []*pb.RuleOnSession{session("n1", "edge1-bh", pb.RuleState_RULE_STATE_SENT, "")},
		},
	}}
	peers := &pb.ListPeersResponse{Read: read, Peers: []*pb.Peer{
		{Node: "n1", Router: "edge1", Address: "192.0.2.1", Asn: 65010, State: "established", Since: stamp(-36 * time.Hour), Carries: "flowspec", Families: []string{"ipv4", "ipv6"}, RulesSent: 2, RulesWanted: 3, OverBudget: 1},
		{Node: "n2", Router: "edge1", Address: "192.0.2.1", Asn: 65010, State: "connecting", Carries: "rtbh", LastError: "the router closed the session: wrong AS", RulesWanted: 3, Refused: 1},
	}}
	cluster := &pb.StatusResponse{
		Cluster: "demo", Leader: "n1", Term: 4, ActiveMitigations: 1, Rules: 2, Customers: 3, Links: 5, Read: read,
		Nodes: []*pb.Node{
			{Id: "n1", ApiAddress: "192.0.2.11:7400", Leader: true, Voter: true, Answered: true, AppliedIndex: 21, CommitIndex: 21, LeaseRemaining: durationpb.New(59*time.Minute + 58*time.Second), Version: "v0.1.0", Serving: true, SessionsEstablished: 2, SessionsWanted: 2, Started: stamp(-time.Hour)},
			{Id: "n2", ApiAddress: "192.0.2.12:7400", Voter: true, Answered: true, Detail: "entry 19 is of a type that this version does not know", AppliedIndex: 18, CommitIndex: 21, Version: "v0.0.9", SessionsWanted: 2, Started: stamp(-2 * time.Hour)},
			{Id: "n3", ApiAddress: "192.0.2.13:7400", Voter: true, Detail: "connection refused"},
		},
	}
	freeze := &pb.Freeze{By: "operator/alice", Reason: "policies under review, ticket 4711", Since: stamp(-time.Hour), Until: stamp(time.Hour)}
	quarantine := &pb.Quarantine{Detector: "flowmon", By: "member/n1", Automatic: true, Since: stamp(-time.Minute), Until: stamp(59 * time.Minute), Reason: "100 signals within ten minutes had the sequence number of another one (threshold 100)"}
	return map[string]func(p *Printer) error{
		"mitigations": func(p *Printer) error {
			return p.Mitigations(&pb.ListResponse{Mitigations: []*pb.Mitigation{sampleMitigation(), overMitigation()}, Read: old})
		},
		"mitigations-none": func(p *Printer) error { return p.Mitigations(&pb.ListResponse{Read: read}) },
		"mitigation":       func(p *Printer) error { return p.Mitigation(&pb.GetResponse{Mitigation: overMitigation(), Read: read}) },
		"ending":           func(p *Printer) error { return p.Mitigation(&pb.GetResponse{Mitigation: quietened(), Read: read}) },
		"climbing":         func(p *Printer) error { return p.Mitigation(&pb.GetResponse{Mitigation: climbing(), Read: read}) },
		"why-over":         func(p *Printer) error { return p.Why(&pb.GetResponse{Mitigation: ended(), Read: read}) },
		"why":              func(p *Printer) error { return p.Why(&pb.GetResponse{Mitigation: climbing(), Read: read}) },
		"started": func(p *Printer) error {
			return p.Started(&pb.StartResponse{Verdict: verdict, Mitigation: sampleMitigation(), Write: &pb.WriteInfo{Index: 21}})
		},
		"previewed": func(p *Printer) error {
			m := sampleMitigation()
			m.Id = ""
			return p.Previewed(&pb.PreviewResponse{Verdict: verdict, Mitigation: m, Read: read})
		},
		"previewed-refused": func(p *Printer) error { return p.Previewed(&pb.PreviewResponse{Verdict: refused, Read: read}) },
		"extended": func(p *Printer) error {
			return p.Extended(&pb.ExtendResponse{Mitigation: sampleMitigation(), Write: &pb.WriteInfo{Index: 22, RepeatedRequest: true}})
		},
		"withdrawn": func(p *Printer) error {
			return p.Withdrawn(&pb.WithdrawResponse{Mitigation: overMitigation(), Write: &pb.WriteInfo{Index: 23}, GoneAtLatest: stamp(8 * time.Minute)})
		},
		"withdrawn-cut-off": func(p *Printer) error {
			return p.Withdrawn(&pb.WithdrawResponse{Mitigation: overMitigation(), Write: &pb.WriteInfo{Index: 23}, GoneAtLatest: stamp(8 * time.Minute), StillCarried: []*pb.Carrier{
				{Node: "n3", Routers: []string{"edge1", "edge2"}, Detail: "does not answer (no answer in time); it last did at 2026-11-24T02:58:00Z", Until: stamp(8 * time.Minute)},
			}})
		},
		"withdrawn-all": func(p *Printer) error {
			return p.WithdrawnAll(&pb.WithdrawAllResponse{Ids: []string{"M17", "M18"}, Write: &pb.WriteInfo{Index: 24}, GoneAtLatest: stamp(time.Hour)})
		},
		"withdrawn-none": func(p *Printer) error { return p.WithdrawnAll(&pb.WithdrawAllResponse{}) },
		"planned":        func(p *Printer) error { return p.Planned(&pb.PlanResponse{Plan: plan, Read: read}) },
		"planned-refused": func(p *Printer) error {
			return p.Planned(&pb.PlanResponse{Plan: plan, Verdict: &pb.Verdict{Kind: pb.VerdictKind_VERDICT_KIND_REFUSED, Code: "removals_need_number", Text: "this removes 1 of 5 links"}})
		},
		"applied": func(p *Printer) error {
			return p.Applied(&pb.ApplyResponse{Plan: plan, Write: &pb.WriteInfo{Index: 25}})
		},
		"customers": func(p *Printer) error {
			return p.Customers(&pb.ListDocumentsResponse{Documents: documents, Read: read})
		},
		"customer": func(p *Printer) error { return p.Customer(&pb.GetDocumentResponse{Document: document, Read: read}) },
		"documents": func(p *Printer) error {
			return p.Documents(&pb.ListDocumentsResponse{Documents: documents, Read: read})
		},
		"document": func(p *Printer) error { return p.Document(&pb.GetDocumentResponse{Document: document, Read: read}) },
		"lookup": func(p *Printer) error {
			return p.Lookup(&pb.LookupResponse{Customer: "uni-a", Text: "No rule ever acts on packets to 203.0.113.5: it lies in link 203.0.113.4/30 of customer uni-a.", Read: read})
		},
		"rules":      func(p *Printer) error { return p.Rules(rules) },
		"rules-none": func(p *Printer) error { return p.Rules(&pb.ListRulesResponse{Read: read}) },
		"rules-behind": func(p *Printer) error {
			return p.Rules(&pb.ListRulesResponse{Read: &pb.ReadInfo{Node: "n1", Age: durationpb.New(4 * time.Second), NoLeaderSinceStart: true}})
		},
		"peers":   func(p *Printer) error { return p.Peers(peers) },
		"cluster": func(p *Printer) error { return p.Cluster(cluster) },
		"cluster-frozen": func(p *Printer) error {
			return p.Cluster(&pb.StatusResponse{
				Cluster: "demo", Leader: "n1", Term: 5, Read: read, Freeze: freeze, Quarantines: []*pb.Quarantine{quarantine},
			})
		},
		"mitigations-frozen": func(p *Printer) error {
			return p.Mitigations(&pb.ListResponse{Mitigations: []*pb.Mitigation{sampleMitigation()}, Read: read, Freeze: freeze})
		},
		"frozen": func(p *Printer) error {
			return p.Frozen(&pb.FreezeResponse{Freeze: &pb.Freeze{By: "admin/eve", Since: stamp(0)}, Write: &pb.WriteInfo{Index: 30}, Text: "the cluster is frozen"})
		},
		"withdrawn-all-frozen": func(p *Printer) error {
			return p.WithdrawnAll(&pb.WithdrawAllResponse{Freeze: freeze, Write: &pb.WriteInfo{Index: 24}})
		},
		"unfrozen": func(p *Printer) error {
			return p.Unfrozen(&pb.UnfreezeResponse{Write: &pb.WriteInfo{Index: 31}, Text: "the freeze by operator/alice since 2026-03-01T12:00:00Z is over: policies decide again"})
		},
		"quarantined": func(p *Printer) error {
			return p.Quarantined(&pb.QuarantineDetectorResponse{Write: &pb.WriteInfo{Index: 32}, Text: "flowmon is in quarantine until it is released"})
		},
		"released": func(p *Printer) error {
			return p.Released(&pb.ReleaseDetectorResponse{Text: "\"flowmon\" is in no quarantine", Write: &pb.WriteInfo{}})
		},
		"detectors": func(p *Printer) error {
			return p.Detectors(&pb.ListDetectorsResponse{Read: read, Detectors: []*pb.DetectorStatus{
				{Name: "fnm", Mitigations: 3, Rules: 7, Most: 4000}, {Name: "flowmon", Mitigations: 1, Rules: 2, Quarantine: quarantine},
			}})
		},
		"customer-manual": func(p *Printer) error {
			return p.Customer(&pb.GetDocumentResponse{Read: read, Document: &pb.Document{Document: &pb.Document_Customer{Customer: &pb.Customer{
				Id: "uni-a", Official: []string{"203.0.113.0/24"}, MaxRules: 40, Mitigation: "manual", ManualVectors: []string{"syn_flood"},
			}}}})
		},
		"cluster-leaderless": func(p *Printer) error {
			return p.Cluster(&pb.StatusResponse{Cluster: "demo", Term: 5, Read: old})
		},
		"cluster-behind": func(p *Printer) error {
			const why = "no leader is known; not caught up with a leader since the start"
			return p.Cluster(&pb.StatusResponse{Cluster: "demo", Term: 5, Nodes: []*pb.Node{
				{Id: "n1", ApiAddress: "192.0.2.11:7400", Voter: true, Answered: true, Serving: true, Unready: why, SessionsWanted: 0, Started: stamp(-4 * time.Second)},
				{Id: "n2", ApiAddress: "192.0.2.12:7400", Voter: true, Answered: true, Serving: true, Detail: "the configured members differ from those stored", Started: stamp(-time.Hour)},
				{Id: "n3", ApiAddress: "192.0.2.13:7400", Voter: true, Detail: "does not answer (the connection was refused), and has not since this node started"},
			}, Read: &pb.ReadInfo{Node: "n1", Age: durationpb.New(4 * time.Second), NoLeaderSinceStart: true}})
		},
		"peers-behind": func(p *Printer) error {
			return p.Peers(&pb.ListPeersResponse{Peers: []*pb.Peer{
				{Node: "n1", Router: "edge1", Address: "192.0.2.1", Asn: 65010, State: "waiting for a leader", LastError: "no leader is known"},
			}, Silent: []*pb.SilentNode{{Node: "n2", Detail: "no answer in time"}}, Read: read})
		},
		"cluster-out": func(p *Printer) error {
			return p.Cluster(&pb.StatusResponse{Cluster: "demo", Leader: "n1", Term: 5, Read: read, Nodes: []*pb.Node{
				{
					Id: "n1", ApiAddress: "192.0.2.11:7400", Leader: true, Voter: true, Answered: true, Serving: true, Unready: "out: everything is withdrawn", Started: stamp(-time.Hour),
					Out: &pb.SpeakerOut{Node: "n1", Since: stamp(-4 * time.Minute), By: "root (alice by sudo)", Reason: "wrong rule"},
				},
				{
					Id: "n2", ApiAddress: "192.0.2.12:7400", Voter: true, Answered: true, Serving: true, Unready: "out: everything is withdrawn", Started: stamp(-time.Hour),
					Out: &pb.SpeakerOut{Node: "n2", Trouble: "cannot read the order to stay out in \"/var/lib/tidegate/speaker-out.json\", so this node stays out: it is damaged"},
				},
			}})
		},
		"peers-out": func(p *Printer) error {
			return p.Peers(&pb.ListPeersResponse{Read: read, Peers: []*pb.Peer{
				{Node: "n1", Router: "edge1", Address: "192.0.2.1", Asn: 65010, State: "established", Since: stamp(-time.Hour), Carries: "flowspec", Families: []string{"ipv4"}, RulesWanted: 12, Out: true},
				{Node: "n2", Router: "edge1", Address: "192.0.2.1", Asn: 65010, State: "established", Since: stamp(-time.Hour), Carries: "flowspec", Families: []string{"ipv4"}, RulesSent: 12, RulesWanted: 12},
			}, Out: []*pb.SpeakerOut{{Node: "n1", Since: stamp(-4 * time.Minute), By: "root (alice by sudo)", Reason: "wrong rule"}}})
		},
		"speaker-withdrawn": func(p *Printer) error {
			return p.SpeakerWithdrawn(&speakerv1.WithdrawAllResponse{Speaker: speaker(true), Complete: true, Withdrawn: []string{"dst 203.0.113.0/25", "dst 203.0.113.7/32 (blackhole)"}})
		},
		"speaker-withdrawing": func(p *Printer) error {
			s := speaker(true)
			s.Sessions[1].Announced = 3
			s.Out.Trouble = "the order is not kept over a restart: no space left on device"
			var many []string
			for i := range 12 {
				many = append(many, fmt.Sprintf("dst 203.0.113.%d/32", i))
			}
			return p.SpeakerWithdrawn(&speakerv1.WithdrawAllResponse{Speaker: s, Already: true, Withdrawn: many})
		},
		"speaker-withdrawn-nothing": func(p *Printer) error {
			return p.SpeakerWithdrawn(&speakerv1.WithdrawAllResponse{Speaker: &speakerv1.Speaker{Node: "n1", Out: speaker(true).GetOut()}, Complete: true})
		},
		"speaker-resumed": func(p *Printer) error {
			return p.SpeakerResumed(&speakerv1.ResumeResponse{Speaker: speaker(false), Ended: speaker(true).GetOut()})
		},
		"speaker-resumed-nothing": func(p *Printer) error {
			return p.SpeakerResumed(&speakerv1.ResumeResponse{Speaker: &speakerv1.Speaker{Node: "n1"}})
		},
		"speaker-status":     func(p *Printer) error { return p.SpeakerStatus(&speakerv1.StatusResponse{Speaker: speaker(false)}) },
		"speaker-status-out": func(p *Printer) error { return p.SpeakerStatus(&speakerv1.StatusResponse{Speaker: speaker(true)}) },
		"speaker-status-lease": func(p *Printer) error {
			s := speaker(false)
			s.LeaseRemaining = durationpb.New(0)
			return p.SpeakerStatus(&speakerv1.StatusResponse{Speaker: s})
		},
		"merged": func(p *Printer) error {
			return p.Started(&pb.StartResponse{
				Verdict:    &pb.Verdict{Kind: pb.VerdictKind_VERDICT_KIND_MERGED, Code: "already_active", Text: "M17 does this already", Mitigation: "M17"},
				Mitigation: &pb.Mitigation{Id: "M17", Customer: "uni-a", Phase: "active", Expires: stamp(8 * time.Minute)}, Write: &pb.WriteInfo{},
			})
		},
		"applied-unchanged": func(p *Printer) error {
			return p.Applied(&pb.ApplyResponse{Plan: &pb.Plan{Unchanged: 8, LinksBefore: 5, LinksAfter: 5}, Write: &pb.WriteInfo{}})
		},
		"overridden": func(p *Printer) error {
			m := sampleMitigation()
			m.Overridden = []*pb.Override{{Rule: m.GetRules()[1], By: "M18"}}
			return p.Mitigation(&pb.GetResponse{Mitigation: m, Read: read})
		},
		"over-rate": func(p *Printer) error {
			m := overMitigation()
			m.Action, m.Routers, m.RateTotal = &pb.Action{Rate: "20Mbps"}, nil, ""
			return p.Mitigation(&pb.GetResponse{Mitigation: m, Read: read})
		},
		"reported": func(p *Printer) error {
			return p.Reported(&pb.ReportResponse{Verdicts: []*pb.Verdict{verdict, refused, {
				Kind: pb.VerdictKind_VERDICT_KIND_RETRY, Code: "overloaded", Text: "too many signals wait", RetryAfter: durationpb.New(500 * time.Millisecond),
			}}})
		},
		"signal-previewed": func(p *Printer) error {
			return p.SignalPreviewed(&pb.SignalServicePreviewResponse{Verdict: verdict, Mitigations: []*pb.Mitigation{sampleMitigation()}, Read: read})
		},
		"vectors": func(p *Printer) error {
			return p.Vectors([]Vector{{"dns_amplification", "ipv4,ipv6", "UDP from source port 53"}, {"unknown", "", "whatever"}})
		},
		"policies": func(p *Printer) error {
			return p.Policies(&pb.ListDocumentsResponse{Documents: []*pb.Document{
				{Document: &pb.Document_Policy{Policy: &pb.Policy{Name: "rest", Ladder: []*pb.Step{{Action: &pb.Action{Rate: "10Mbps"}}, {Action: &pb.Action{Discard: true}, After: durationpb.New(time.Minute)}}}}},
				{Document: &pb.Document_Policy{Policy: &pb.Policy{
					Name: "reflected", Priority: 20, Vectors: []string{"dns_amplification", "ntp_amplification"}, Customers: []string{"uni-a"}, Tags: []string{"gold"},
					Sources: []string{"flowmon"}, MinRate: "1Gbps", MinPackets: "1Mpps", MinConfidence: 0.8, When: "signal.family == 4", Mode: "observe", Action: &pb.Action{Discard: true},
				}}},
			}, Read: read})
		},
		"condition-variables": func(p *Printer) error { return p.ConditionVariables() },
		"rehearsed": func(p *Printer) error {
			return p.Rehearsed([]rehearse.Result{
				{Name: "as expected", Verdict: "mitigated", Code: "mitigated", Policy: "reflected", Rules: []string{"dst 203.0.113.9/32 => discard"}},
				{Name: "otherwise", Verdict: "observed", Code: "no_policy", Text: "no policy takes it", Differences: []string{`verdict: expected "mitigated", got "observed"`}},
				{Name: "with its story", Verdict: "ended", Code: "attack_over", Mitigation: ended(), Now: stamp(0).AsTime()},
			}, true)
		},
		"version": func(p *Printer) error { return p.Version(Version{"v0.1.0", "go1.26", "linux/amd64"}) },
		"findings": func(p *Printer) error {
			return p.Findings([]node.Finding{{Grade: node.Good, What: "tls", Text: "member/n1, good until 2028-01-01"}, {Grade: node.Bad, What: "data_dir", Text: "is a file"}})
		},
	}
}

// TestGolden prints every answer in every format and compares with testdata/NAME.FORMAT.
func TestGolden(t *testing.T) {
	for name, print := range answers() {
		for _, f := range []Format{Table, JSON, YAML} {
			file := filepath.Join("testdata", name+"."+string(f))
			t.Run(name+"/"+string(f), func(t *testing.T) {
				var b bytes.Buffer
				if err := print(&Printer{W: &b, Format: f, Width: 100, Now: now}); err != nil {
					t.Fatal(err)
				}
				if *update {
					if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), b.String()); diff != "" {
					t.Errorf("%s (-want +got):\n%s", file, diff)
				}
			})
		}
	}
}

// TestTablesFit: what people read fits into 120 columns, has no trailing spaces, and is the same text with colour.
func TestTablesFit(t *testing.T) {
	for name, print := range answers() {
		t.Run(name, func(t *testing.T) {
			var plain, coloured bytes.Buffer
			if err := print(&Printer{W: &plain, Format: Table, Width: 120, Now: now}); err != nil {
				t.Fatal(err)
			}
			if err := print(&Printer{W: &coloured, Format: Table, Width: 120, Now: now, Colour: true}); err != nil {
				t.Fatal(err)
			}
			for l := range strings.SplitSeq(plain.String(), "\n") {
				if n := utf8.RuneCountInString(l); n > 120 {
					t.Errorf("%d columns: %q", n, l)
				}
				if strings.TrimRight(l, " ") != l {
					t.Errorf("trailing spaces: %q", l)
				}
			}
			if diff := cmp.Diff(plain.String(), uncolour(coloured.String())); diff != "" {
				t.Errorf("text without colour (-plain +coloured):\n%s", diff)
			}
		})
	}
}

func uncolour(s string) string {
	for _, code := range []tone{bold, dim, red, green, yellow, "0"} {
		s = strings.ReplaceAll(s, "\x1b["+string(code)+"m", "")
	}
	return s
}

func TestTerminal(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if colour, width := Terminal(f, func(string) string { return "" }); colour || width != 0 {
		t.Errorf("a file: colour %v, width %d; want none of either", colour, width)
	}
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 350 * time.Millisecond: "350ms", 2345 * time.Millisecond: "2.3s", 10 * time.Minute: "10m", 9*time.Minute + 58*time.Second: "9m58s",
		time.Hour: "1h", 25*time.Hour + 2*time.Minute + 3*time.Second: "25h2m", -time.Minute: "-1m",
	} {
		if got := Short(d); got != want {
			t.Errorf("Short(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestUnheard(t *testing.T) {
	m := &pb.Mitigation{Id: "M17", Rules: []string{"r"}, Routers: []string{"edge1"}}
	peer := func(router, state string) *pb.Peer { return &pb.Peer{Node: "n1", Router: router, State: state} }
	rows := []struct {
		name  string
		m     *pb.Mitigation
		peers []*pb.Peer
		want  string
	}{
		{"one hears it", m, []*pb.Peer{peer("edge1", "connecting"), peer("edge1", "established")}, ""},
		{"only another router is up", m, []*pb.Peer{peer("edge1", "connecting"), peer("edge2", "established")}, "M17 is committed, and no router hears it yet: 0 of 1 session with edge1 is established; see tidegate peers."},
		{"no router", &pb.Mitigation{Id: "M17", Rules: []string{"r"}}, nil, "M17 is committed, and there is no router that hears it."},
		{"not started", &pb.Mitigation{Rules: []string{"r"}}, nil, ""},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			if diff := cmp.Diff(r.want, Unheard(r.m, r.peers)); diff != "" {
				t.Errorf("text (-want +got):\n%s", diff)
			}
		})
	}
}

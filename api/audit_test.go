package api_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/policy"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// mutations are requests that change something, one for each RPC that can: the first ones make what later ones need.
func mutations() []struct {
	method string
	role   auth.Role
	req    proto.Message
} {
	type row = struct {
		method string
		role   auth.Role
		req    proto.Message
	}
	minutes := func(n int64) *durationpb.Duration { return &durationpb.Duration{Seconds: 60 * n} }
	start := func(id, target string) *tidegatev1.StartRequest {
		return &tidegatev1.StartRequest{
			RequestId: id, Reason: "flood", Targets: []string{target}, Match: "proto udp", Action: &tidegatev1.Action{Discard: true}, Lifetime: minutes(30),
		}
	}
	signal := func(id string) *tidegatev1.ReportRequest {
		return &tidegatev1.ReportRequest{Signals: []*tidegatev1.Signal{{
			AttackId: id, Seq: 1, Kind: tidegatev1.SignalKind_SIGNAL_KIND_START, Targets: []string{"203.0.113.99"}, Vector: "dns_amplification", BitsPerSecond: 1e9,
		}}}
	}
	asks := func(id, target string) *tidegatev1.StartRequest { // its source is protected: it awaits a second person
		r := start(id, target)
		r.Match = "src 198.51.100.9/32"
		return r
	}
	one := uint32(1)
	return []row{
		{tidegatev1.MitigationService_Start_FullMethodName, auth.Operator, start("s1", "203.0.113.9")},
		{tidegatev1.MitigationService_Start_FullMethodName, auth.Operator, start("s2", "203.0.113.10")},
		{tidegatev1.MitigationService_Extend_FullMethodName, auth.Operator, &tidegatev1.ExtendRequest{RequestId: "e", Reason: "goes on", Id: "M1", Lifetime: minutes(50)}},
		{tidegatev1.MitigationService_Withdraw_FullMethodName, auth.Operator, &tidegatev1.WithdrawRequest{RequestId: "w", Reason: "over", Id: "M1"}},
		{tidegatev1.MitigationService_WithdrawAll_FullMethodName, auth.Operator, &tidegatev1.WithdrawAllRequest{RequestId: "wa", Reason: "over"}},
		{tidegatev1.InventoryService_Apply_FullMethodName, auth.Admin, &tidegatev1.ApplyRequest{RequestId: "a", Reason: "new", Documents: []*tidegatev1.Document{{
			Document: &tidegatev1.Document_Policy{Policy: &tidegatev1.Policy{Name: "dns-2", Vectors: []string{"dns_amplification"}, Action: &tidegatev1.Action{Discard: true}, Lifetime: minutes(10)}},
		}}}},
		{tidegatev1.SignalService_Report_FullMethodName, auth.Detector, signal("att-1")},
		{tidegatev1.ClusterService_Freeze_FullMethodName, auth.Operator, &tidegatev1.FreezeRequest{RequestId: "f", Reason: "stop"}},
		{tidegatev1.ClusterService_Unfreeze_FullMethodName, auth.Operator, &tidegatev1.UnfreezeRequest{RequestId: "u", Reason: "go"}},
		{tidegatev1.ClusterService_QuarantineDetector_FullMethodName, auth.Operator, &tidegatev1.QuarantineDetectorRequest{RequestId: "q", Reason: "bad", Detector: "fnm"}},
		{tidegatev1.ClusterService_ReleaseDetector_FullMethodName, auth.Operator, &tidegatev1.ReleaseDetectorRequest{RequestId: "r", Reason: "good", Detector: "fnm"}},
		{tidegatev1.MitigationService_Start_FullMethodName, auth.Operator, asks("s4", "203.0.113.20")},
		{tidegatev1.ApprovalService_Approve_FullMethodName, auth.Approver, &tidegatev1.ApproveRequest{RequestId: "y", Reason: "seen", Id: "M4"}},
		{tidegatev1.MitigationService_Start_FullMethodName, auth.Operator, asks("s5", "203.0.113.21")},
		{tidegatev1.ApprovalService_Reject_FullMethodName, auth.Approver, &tidegatev1.RejectRequest{RequestId: "n", Reason: "spoofed", Id: "M5"}},
		{tidegatev1.InventoryService_Apply_FullMethodName, auth.Admin, &tidegatev1.ApplyRequest{RequestId: "a2", Reason: "two persons", Documents: []*tidegatev1.Document{{
			Document: &tidegatev1.Document_Safeguards{Safeguards: &tidegatev1.Safeguards{Name: "default", ApprovalAddresses: &one}},
		}}}},
		{tidegatev1.MitigationService_Start_FullMethodName, auth.Operator, start("s6", "203.0.113.22")},
		{tidegatev1.ApprovalService_BreakGlass_FullMethodName, auth.Operator, &tidegatev1.BreakGlassRequest{RequestId: "b", Reason: "nobody there", Id: "M6"}},
		{tidegatev1.TokenService_CreateToken_FullMethodName, auth.Admin, &tidegatev1.CreateTokenRequest{
			RequestId: "t", Reason: "bot", Name: "ci", Role: "viewer", Lifetime: minutes(60), Hash: strings.Repeat("ab", 32),
		}},
		{tidegatev1.TokenService_RevokeToken_FullMethodName, auth.Admin, &tidegatev1.RevokeTokenRequest{RequestId: "tr", Reason: "lost", Name: "ci"}},
	}
}

// audited without a request id: what cannot be told apart by one, and what needs more than one call.
func unaudited() map[string]string {
	return map[string]string{
		tidegatev1.SignalService_StreamSignals_FullMethodName: "judges as Report does",
		tidegatev1.AuditService_Begin_FullMethodName:          "changes nothing in a cluster that has begun: see controller's TestOldClusterBeginsOnDemand",
	}
}

// mutates reports whether a method can change something: its request has a request id, or it takes signals.
func mutates(m protoreflect.MethodDescriptor) bool {
	in := m.Input()
	if in.Fields().ByName("request_id") != nil {
		return true
	}
	return in.Fields().ByName("signals") != nil
}

// TestEveryMutationIsAudited finds the RPCs that can change something by reflection, calls each, and looks for its
// record: who, why, under which request id. A new RPC without a row here fails.
func TestEveryMutationIsAudited(t *testing.T) {
	l := newLab(t, "n1", "n2")
	l.load()
	covered := map[string]bool{}
	for m := range unaudited() {
		covered[m] = true
	}
	for _, row := range mutations() {
		covered[row.method] = true
		t.Run(row.method, func(t *testing.T) {
			before, _ := l.fake.State().AuditHead()
			reply := newReply(t, row.method)
			if err := l.dial("n2", row.role, nameIn(row.role)).Invoke(t.Context(), row.method, row.req, reply); err != nil {
				t.Fatal(err)
			}
			head, _ := l.fake.State().AuditHead()
			if head.Seq != before.Seq+1 {
				t.Fatalf("the chain went from %d to %d", before.Seq, head.Seq)
			}
			if string(head.By) != string(row.role)+"/"+nameIn(row.role) || len(head.Kinds) == 0 {
				t.Errorf("record %+v", head)
			}
			if w, ok := row.req.(interface {
				GetRequestId() string
				GetReason() string
			}); ok && (string(head.RequestID) != w.GetRequestId() || head.Reason != w.GetReason()) {
				t.Errorf("record %+v of request %v", head, w)
			}
		})
	}
	for _, name := range api.Services() {
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
		if err != nil {
			t.Fatal(err)
		}
		methods := d.(protoreflect.ServiceDescriptor).Methods() //nolint:forcetypeassert // a service's name
		for i := range methods.Len() {
			m := methods.Get(i)
			full := fmt.Sprintf("/%s/%s", name, m.Name())
			if mutates(m) && !covered[full] {
				t.Errorf("%s changes something, and no test looks for its audit record: add a row to mutations", full)
			}
		}
	}
}

func newReply(t *testing.T, method string) proto.Message {
	t.Helper()
	service, name, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		t.Fatal(err)
	}
	out := d.(protoreflect.ServiceDescriptor).Methods().ByName(protoreflect.Name(name)).Output() //nolint:forcetypeassert // a service's name
	mt, err := protoregistry.GlobalTypes.FindMessageByName(out.FullName())
	if err != nil {
		t.Fatal(err)
	}
	return mt.New().Interface()
}

// nameIn is who calls in a role: who approves has another name than who asked.
func nameIn(r auth.Role) string {
	if r == auth.Approver {
		return "second"
	}
	return "someone"
}

// TestAuditList: paging, and what can be asked for.
func TestAuditList(t *testing.T) {
	l := newLab(t, "n1", "n2")
	l.load()
	for _, row := range mutations() {
		if err := l.dial("n1", row.role, nameIn(row.role)).Invoke(t.Context(), row.method, row.req, newReply(t, row.method)); err != nil {
			t.Fatal(err)
		}
	}
	client := tidegatev1.NewAuditServiceClient(l.dial("n2", auth.Viewer, "v"))
	seqs := func(req *tidegatev1.AuditServiceListRequest) (out []uint64, more bool) {
		t.Helper()
		resp, err := client.List(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range resp.GetRecords() {
			rec, err := api.AuditRecordFrom(r)
			if err != nil || rec.Hash != rec.Sum() {
				t.Errorf("record %v: %v", r, err)
			}
			out = append(out, r.GetSeq())
		}
		return out, resp.GetMore()
	}
	all, more := seqs(&tidegatev1.AuditServiceListRequest{})
	if len(all) != len(mutations())+1 || more || all[0] != 1 {
		t.Fatalf("all: %v", all)
	}
	var paged []uint64
	for after, more := uint64(0), true; more; after = paged[len(paged)-1] {
		var page []uint64
		page, more = seqs(&tidegatev1.AuditServiceListRequest{After: after, Limit: 3})
		paged = append(paged, page...)
	}
	if diff := cmp.Diff(all, paged); diff != "" {
		t.Errorf("page by page (-want +got):\n%s", diff)
	}
	for _, row := range []struct {
		name string
		req  *tidegatev1.AuditServiceListRequest
		want []uint64
	}{
		{"of a role", &tidegatev1.AuditServiceListRequest{By: "detector"}, []uint64{8}},
		{"of a principal", &tidegatev1.AuditServiceListRequest{By: "operator/someone"}, []uint64{2, 3, 4, 5, 6, 9, 10, 11, 12, 13, 15, 18, 19}},
		{"of nobody", &tidegatev1.AuditServiceListRequest{By: "operator/some"}, nil},
		{"of a kind", &tidegatev1.AuditServiceListRequest{Change: "EndMitigation"}, []uint64{5, 6, 16}},
		{"of an object", &tidegatev1.AuditServiceListRequest{Object: "Mitigation/M1"}, []uint64{2, 4, 5}},
		{"newest first", &tidegatev1.AuditServiceListRequest{NewestFirst: true, Limit: 2}, []uint64{21, 20}},
	} {
		if got, _ := seqs(row.req); !slices.Equal(got, row.want) {
			t.Errorf("%s: %v, want %v", row.name, got, row.want)
		}
	}
	if _, err := client.List(t.Context(), &tidegatev1.AuditServiceListRequest{Limit: 10_001}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("too many: %v", err)
	}
	head, _ := l.fake.State().AuditHead()
	for _, row := range []struct {
		name string
		req  *tidegatev1.VerifyRequest
		want tidegatev1.AuditMatch
	}{
		{"nothing", &tidegatev1.VerifyRequest{}, tidegatev1.AuditMatch_AUDIT_MATCH_UNSPECIFIED},
		{"the head", &tidegatev1.VerifyRequest{Seq: head.Seq, Hash: fmt.Sprintf("%x", head.Hash)}, tidegatev1.AuditMatch_AUDIT_MATCH_SAME},
		{"another", &tidegatev1.VerifyRequest{Seq: head.Seq, Hash: fmt.Sprintf("%x", head.Prev)}, tidegatev1.AuditMatch_AUDIT_MATCH_OTHER},
		{"ahead", &tidegatev1.VerifyRequest{Seq: head.Seq + 1}, tidegatev1.AuditMatch_AUDIT_MATCH_AHEAD},
	} {
		resp, err := client.Verify(t.Context(), row.req)
		if err != nil || resp.GetMatch() != row.want || resp.GetChecked() != head.Seq || resp.GetProblem() != "" {
			t.Errorf("%s: %v, %v", row.name, resp, err)
		}
	}
}

// noted is what a node counted as refused.
type noted struct {
	mu  sync.Mutex // guards the field below
	log bytes.Buffer
}

func (n *noted) note(by, code string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fmt.Fprintf(&n.log, "%s %s\n", by, code)
}

func (n *noted) take() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	defer n.log.Reset()
	return n.log.String()
}

// TestRefusalsAreNoted: the node that refuses counts, and no other.
func TestRefusalsAreNoted(t *testing.T) {
	l := newLab(t, "n1", "n2")
	l.load()
	for _, n := range l.nodes {
		n.refused.take()
	}
	call := func(role auth.Role, method string, req proto.Message) {
		t.Helper()
		conn := l.dial("n2", role, "eve")
		_ = conn.Invoke(t.Context(), method, req, newReply(t, method), grpc.WaitForReady(true))
	}
	for _, row := range []struct {
		name          string
		call          func()
		there, leader string
	}{
		{"a role that may not", func() { call(auth.Viewer, mutations()[0].method, mutations()[0].req) }, "viewer/eve PermissionDenied\n", ""},
		{"malformed", func() { call(auth.Operator, mutations()[0].method, &tidegatev1.StartRequest{}) }, "operator/eve InvalidArgument\n", ""},
		{"refused by policy", func() {
			req := proto.CloneOf(mutations()[0].req.(*tidegatev1.StartRequest)) //nolint:forcetypeassert // the first row
			req.Targets = []string{"198.18.0.1"}
			call(auth.Operator, mutations()[0].method, req)
		}, "", "operator/eve " + string(policy.CodeTargetNotOfficial) + "\n"},
		{"a signal", func() {
			req := proto.CloneOf(mutations()[6].req.(*tidegatev1.ReportRequest)) //nolint:forcetypeassert // the last row
			req.Signals[0].Targets = []string{"198.18.0.1"}
			call(auth.Detector, mutations()[6].method, req)
		}, "", "detector/eve " + string(policy.CodeTargetNotOfficial) + "\n"},
		{"nothing is refused", func() { call(auth.Operator, mutations()[0].method, mutations()[0].req) }, "", ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.call()
			if got := l.nodes["n2"].refused.take(); got != row.there {
				t.Errorf("the node that was called noted %q, want %q", got, row.there)
			}
			if got := l.nodes["n1"].refused.take(); got != row.leader {
				t.Errorf("the leader noted %q, want %q", got, row.leader)
			}
		})
	}
}

// TestAuditBeginsLate: a cluster from before the chain is not begun as long as a node may not know it.
func TestAuditBeginsLate(t *testing.T) {
	l := newLab(t, "n1", "n2", "n3")
	l.fake.WithoutAudit()
	l.load()
	l.nodes["n3"].stop()
	client := tidegatev1.NewAuditServiceClient(l.dial("n2", auth.Admin, "root"))
	req := &tidegatev1.BeginRequest{RequestId: "b", Reason: "all upgraded"}
	_, err := client.Begin(t.Context(), req)
	if api.ErrorReason(err) != api.ReasonAuditTooEarly || !strings.Contains(err.Error(), "n3 (does not answer)") {
		t.Fatalf("Begin() with a silent node: %v", err)
	}
	if _, begun := l.fake.State().AuditHead(); begun {
		t.Fatal("it has begun all the same")
	}
}

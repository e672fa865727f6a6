package api_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/policy"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// twoPersons are safeguards under which a discard of two addresses, or the end of two mitigations, takes two persons.
func twoPersons() *tidegatev1.Safeguards {
	addresses, withdrawals, removals := uint32(2), uint32(1), uint32(7)
	return &tidegatev1.Safeguards{
		Name: "default", ApprovalAddresses: &addresses, ApprovalWithdrawals: &withdrawals, ApprovalRemovals: &removals,
		ApprovalTimeout: durationpb.New(5 * time.Minute), BreakGlassLifetime: durationpb.New(2 * time.Minute),
	}
}

// approvals is a lab of two nodes under these safeguards; calls go to the follower.
func approvals(t *testing.T) (*lab, tidegatev1.MitigationServiceClient, tidegatev1.ApprovalServiceClient) {
	t.Helper()
	l := newLab(t, "n1", "n2")
	l.load()
	if _, err := tidegatev1.NewInventoryServiceClient(l.dial("n1", auth.Admin, "root")).Apply(t.Context(), &tidegatev1.ApplyRequest{
		RequestId: "two", Reason: "test", Documents: []*tidegatev1.Document{{Document: &tidegatev1.Document_Safeguards{Safeguards: twoPersons()}}},
	}); err != nil {
		t.Fatal(err)
	}
	return l, tidegatev1.NewMitigationServiceClient(l.dial("n2", auth.Operator, "alice")), tidegatev1.NewApprovalServiceClient(l.dial("n2", auth.Approver, "bob"))
}

func wide(id string, breakGlass bool) *tidegatev1.StartRequest {
	return &tidegatev1.StartRequest{
		RequestId: id, Reason: "flood", Targets: []string{"203.0.113.8/31"}, Match: "proto udp", Action: &tidegatev1.Action{Discard: true}, BreakGlass: breakGlass,
	}
}

// TestApproval: a start that reaches too far waits, is shown as it would be, and begins when somebody else approves it.
func TestApproval(t *testing.T) {
	l, m, a := approvals(t)
	started, err := m.Start(t.Context(), wide("s", false))
	if err != nil {
		t.Fatal(err)
	}
	v, got := started.GetVerdict(), started.GetMitigation()
	if v.GetKind() != tidegatev1.VerdictKind_VERDICT_KIND_PENDING || v.GetApproval() != "M1" || got.GetPhase() != "pending" || len(got.GetRules()) != 1 ||
		len(got.GetRouters()) == 0 || got.GetAwaits().GetKind() != "start" || got.GetHistory()[0].GetWhat() != "requested" {
		t.Fatalf("%v\n%v", v, got)
	}
	preview, err := m.Preview(t.Context(), &tidegatev1.PreviewRequest{Start: wide("", false)})
	if err != nil || preview.GetVerdict().GetKind() != tidegatev1.VerdictKind_VERDICT_KIND_PENDING {
		t.Errorf("preview: %v, %v", preview.GetVerdict(), err)
	}
	list, err := a.ListApprovals(t.Context(), &tidegatev1.ListApprovalsRequest{})
	if err != nil || len(list.GetApprovals()) != 1 || list.GetApprovals()[0].GetBy() != "operator/alice" || list.GetApprovals()[0].GetReason() != "flood" {
		t.Fatalf("%v, %v", list, err)
	}
	shown, err := a.GetApproval(t.Context(), &tidegatev1.GetApprovalRequest{Id: "M1"})
	if err != nil || len(shown.GetAfter()) != 1 || shown.GetAfter()[0].GetPhase() != "active" {
		t.Fatalf("%v, %v", shown, err)
	}
	if diff := cmp.Diff(got.GetRules(), shown.GetAfter()[0].GetRules()); diff != "" {
		t.Errorf("rules asked for, and as they would be (-want +got):\n%s", diff)
	}
	own := tidegatev1.NewApprovalServiceClient(l.dial("n2", auth.Admin, "alice"))
	if _, err := own.Approve(t.Context(), &tidegatev1.ApproveRequest{RequestId: "x", Reason: "r", Id: "M9"}); status.Code(err) != codes.NotFound || api.ErrorReason(err) != string(policy.CodeUnknownApproval) {
		t.Errorf("no such mitigation: %v", err)
	}
	approved, err := a.Approve(t.Context(), &tidegatev1.ApproveRequest{RequestId: "y", Reason: "seen", Id: "M1"})
	if err != nil || approved.GetMitigation().GetPhase() != "active" || approved.GetMitigation().GetApprovedBy() != "approver/bob" {
		t.Fatalf("%v, %v", approved, err)
	}
	again, err := a.Approve(t.Context(), &tidegatev1.ApproveRequest{RequestId: "y", Reason: "seen", Id: "M1"})
	if err != nil || !again.GetWrite().GetRepeatedRequest() {
		t.Errorf("repeated: %v, %v", again, err)
	}
	if _, err := a.Approve(t.Context(), &tidegatev1.ApproveRequest{RequestId: "z", Reason: "seen", Id: "M1"}); api.ErrorReason(err) != string(policy.CodeApprovalOver) {
		t.Errorf("approved twice: %v", err)
	}
	story := approved.GetMitigation().GetHistory()
	if last := story[len(story)-1]; last.GetWhat() != "approved" || last.GetBy() != "approver/bob" || !strings.Contains(last.GetText(), "asked for by operator/alice") {
		t.Errorf("%v", last)
	}
}

// TestApprovalOfOneself: an admin may approve, and not what the same admin asked for.
func TestApprovalOfOneself(t *testing.T) {
	l, _, a := approvals(t)
	conn := l.dial("n2", auth.Admin, "root")
	if _, err := tidegatev1.NewMitigationServiceClient(conn).Start(t.Context(), wide("s", false)); err != nil {
		t.Fatal(err)
	}
	_, err := tidegatev1.NewApprovalServiceClient(conn).Approve(t.Context(), &tidegatev1.ApproveRequest{RequestId: "y", Reason: "mine", Id: "M1"})
	if status.Code(err) != codes.FailedPrecondition || api.ErrorReason(err) != string(policy.CodeSecondPerson) {
		t.Errorf("%v", err)
	}
	rejected, err := a.Reject(t.Context(), &tidegatev1.RejectRequest{RequestId: "n", Reason: "too wide", Id: "M1"})
	if err != nil || rejected.GetMitigation().GetEnd() != "rejected" || rejected.GetMitigation().GetEndNote() != "too wide" {
		t.Errorf("%v, %v", rejected, err)
	}
}

// TestApprovalOfOrders: a withdrawal of many waits as an order of its own.
func TestApprovalOfOrders(t *testing.T) {
	l, m, a := approvals(t)
	startMitigation(t, l.dial("n1", auth.Operator, "alice"), "203.0.113.9")
	startMitigation(t, l.dial("n1", auth.Operator, "alice"), "203.0.113.10")
	asked, err := m.WithdrawAll(t.Context(), &tidegatev1.WithdrawAllRequest{RequestId: "w", Reason: "wrong"})
	if err != nil || asked.GetVerdict().GetApproval() != "A1" || len(asked.GetIds()) != 0 {
		t.Fatalf("%v, %v", asked, err)
	}
	approved, err := a.Approve(t.Context(), &tidegatev1.ApproveRequest{RequestId: "y", Reason: "seen", Id: "A1"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"M1", "M2"}, approved.GetIds()); diff != "" {
		t.Errorf("ended (-want +got):\n%s", diff)
	}
	all, err := a.ListApprovals(t.Context(), &tidegatev1.ListApprovalsRequest{IncludeDecided: true})
	if err != nil || len(all.GetApprovals()) != 1 || all.GetApprovals()[0].GetStatus() != "approved" || all.GetApprovals()[0].GetDecidedBy() != "approver/bob" {
		t.Errorf("%v, %v", all, err)
	}
}

// TestBreakGlass: without a second person it begins, is time-boxed, and the cluster says so.
func TestBreakGlass(t *testing.T) {
	l, m, _ := approvals(t)
	got, err := m.Start(t.Context(), wide("s", true))
	if err != nil || !got.GetMitigation().GetBreakGlass() || got.GetMitigation().GetLifetime().AsDuration() != 2*time.Minute {
		t.Fatalf("%v, %v", got, err)
	}
	longer, err := m.Extend(t.Context(), &tidegatev1.ExtendRequest{RequestId: "e", Reason: "goes on", Id: "M1", Lifetime: durationpb.New(time.Hour)})
	if err != nil || longer.GetVerdict().GetKind() != tidegatev1.VerdictKind_VERDICT_KIND_PENDING {
		t.Errorf("%v, %v", longer, err)
	}
	st, err := tidegatev1.NewClusterServiceClient(l.dial("n1", auth.Viewer, "v")).Status(t.Context(), &tidegatev1.StatusRequest{})
	if err != nil || st.GetBreakGlassMitigations() != 1 || st.GetPendingApprovals() != 1 {
		t.Errorf("%v, %v", st, err)
	}
}

// TestSafeguardsOfApprovals: the bounds come back as they were sent.
func TestSafeguardsOfApprovals(t *testing.T) {
	l, _, _ := approvals(t)
	got, err := tidegatev1.NewInventoryServiceClient(l.dial("n1", auth.Viewer, "v")).GetDocument(t.Context(),
		&tidegatev1.GetDocumentRequest{Ref: &tidegatev1.DocumentRef{Kind: "Safeguards", Name: "default"}})
	if err != nil {
		t.Fatal(err)
	}
	sg := got.GetDocument().GetSafeguards()
	want := twoPersons()
	have := &tidegatev1.Safeguards{
		Name: sg.GetName(), ApprovalAddresses: sg.ApprovalAddresses, ApprovalWithdrawals: sg.ApprovalWithdrawals, ApprovalRemovals: sg.ApprovalRemovals,
		ApprovalTimeout: sg.GetApprovalTimeout(), BreakGlassLifetime: sg.GetBreakGlassLifetime(),
	}
	if diff := cmp.Diff(want, have, protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

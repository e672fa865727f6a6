package api_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/policy"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// customerCall is one call of somebody of customer uni-a, who must get what is its own and nothing else.
type customerCall struct {
	method string
	req    proto.Message
	code   codes.Code // OK: it is answered
	reason string
	has    []string // in the answer, or in the sentence of the refusal
}

// customerCalls has rows for every RPC that a customer may call: one at least that shows what is its own, and one that asks
// for what is not, or that would show it.
func customerCalls() []customerCall {
	start := func(id, target string) *tidegatev1.StartRequest {
		return &tidegatev1.StartRequest{
			RequestId: id, Reason: "mine", Targets: []string{target}, Match: "proto udp sport 123", Action: &tidegatev1.Action{Discard: true},
			Lifetime: durationpb.New(30 * time.Minute),
		}
	}
	document := func(kind, name string) *tidegatev1.GetDocumentRequest {
		return &tidegatev1.GetDocumentRequest{Ref: &tidegatev1.DocumentRef{Kind: kind, Name: name}}
	}
	notYours, unknown := string(policy.CodeNotYours), string(policy.CodeUnknownMitigation)
	return []customerCall{
		{method: tidegatev1.MitigationService_List_FullMethodName, req: &tidegatev1.ListRequest{IncludeOver: true}, has: []string{`id:"M1"`, `id:"M3"`, `by:"operator"`}},
		{method: tidegatev1.MitigationService_List_FullMethodName, req: &tidegatev1.ListRequest{Customer: "lab-b"}, code: codes.NotFound, reason: notYours},
		{method: tidegatev1.MitigationService_List_FullMethodName, req: &tidegatev1.ListRequest{Customer: "nobody"}, code: codes.NotFound, reason: notYours},
		{method: tidegatev1.MitigationService_Get_FullMethodName, req: &tidegatev1.GetRequest{Id: "M1"}, has: []string{`id:"M1"`, "203.0.113.9/32"}},
		{method: tidegatev1.MitigationService_Get_FullMethodName, req: &tidegatev1.GetRequest{Id: "M2"}, code: codes.NotFound, reason: unknown, has: []string{"there is no mitigation M2"}},
		{method: tidegatev1.MitigationService_Get_FullMethodName, req: &tidegatev1.GetRequest{Id: "M99"}, code: codes.NotFound, reason: unknown, has: []string{"there is no mitigation M99"}},
		{method: tidegatev1.MitigationService_Watch_FullMethodName, req: &tidegatev1.WatchRequest{}, has: []string{`id:"M1"`}},
		{method: tidegatev1.MitigationService_Watch_FullMethodName, req: &tidegatev1.WatchRequest{Customer: "lab-b"}, code: codes.NotFound, reason: notYours},
		{method: tidegatev1.MitigationService_Preview_FullMethodName, req: &tidegatev1.PreviewRequest{Start: start("", "203.0.113.0/24")}, has: []string{`prefix:"203.0.113.128/26" kind:"nested-customer"}`, "MITIGATED"}},
		{method: tidegatev1.MitigationService_Preview_FullMethodName, req: &tidegatev1.PreviewRequest{Start: start("", "203.0.113.130")}, has: []string{"REFUSED", notYours}},
		{method: tidegatev1.MitigationService_Start_FullMethodName, req: start("c1", "203.0.113.40"), has: []string{`by:"customer/uni-a/bob"`, `reason:"mine"`}},
		{method: tidegatev1.MitigationService_Start_FullMethodName, req: start("c2", "203.0.113.130"), code: codes.FailedPrecondition, reason: notYours},
		{method: tidegatev1.MitigationService_Start_FullMethodName, req: start("c3", "203.0.113.5"), code: codes.FailedPrecondition, reason: api.ReasonAskOperator},
		{method: tidegatev1.MitigationService_Start_FullMethodName, req: start("start-203.0.113.9", "203.0.113.41"), has: []string{"M"}}, // the fake cluster answers by id alone
		{method: tidegatev1.MitigationService_Extend_FullMethodName, req: &tidegatev1.ExtendRequest{RequestId: "c4", Reason: "mine", Id: "M3", Lifetime: durationpb.New(time.Hour)}, has: []string{`id:"M3"`}},
		{method: tidegatev1.MitigationService_Extend_FullMethodName, req: &tidegatev1.ExtendRequest{RequestId: "c5", Reason: "mine", Id: "M2", Lifetime: durationpb.New(time.Hour)}, code: codes.NotFound, reason: unknown},
		{method: tidegatev1.MitigationService_Withdraw_FullMethodName, req: &tidegatev1.WithdrawRequest{RequestId: "c6", Reason: "mine", Id: "M3"}, has: []string{`id:"M3"`, "withdrawn"}},
		{method: tidegatev1.MitigationService_Withdraw_FullMethodName, req: &tidegatev1.WithdrawRequest{RequestId: "c7", Reason: "mine", Id: "M2"}, code: codes.NotFound, reason: unknown},
		{method: tidegatev1.InventoryService_ListDocuments_FullMethodName, req: &tidegatev1.ListDocumentsRequest{}, has: []string{`id:"uni-a"`, "203.0.113.4/30"}},
		{method: tidegatev1.InventoryService_ListDocuments_FullMethodName, req: &tidegatev1.ListDocumentsRequest{Kind: "Router"}, code: codes.NotFound, reason: notYours},
		{method: tidegatev1.InventoryService_GetDocument_FullMethodName, req: document("Customer", "uni-a"), has: []string{`id:"uni-a"`}},
		{method: tidegatev1.InventoryService_GetDocument_FullMethodName, req: document("Customer", "lab-b"), code: codes.NotFound, reason: notYours},
		{method: tidegatev1.InventoryService_GetDocument_FullMethodName, req: document("Router", "edge1"), code: codes.NotFound, reason: notYours},
		{method: tidegatev1.InventoryService_Lookup_FullMethodName, req: &tidegatev1.LookupRequest{Address: "203.0.113.9"}, has: []string{`customer:"uni-a"`}},
		{method: tidegatev1.InventoryService_Lookup_FullMethodName, req: &tidegatev1.LookupRequest{Address: "203.0.113.5"}, has: []string{"protected:true", "203.0.113.4/30"}},
		{method: tidegatev1.InventoryService_Lookup_FullMethodName, req: &tidegatev1.LookupRequest{Address: "203.0.113.130"}, has: []string{"not official space of customer uni-a"}},
		{method: tidegatev1.InventoryService_Lookup_FullMethodName, req: &tidegatev1.LookupRequest{Address: "100.64.0.1"}, has: []string{"not official space of customer uni-a"}},
	}
}

// othersWords are what no answer to somebody of uni-a may hold: names of others, of routers, nodes' neighbours and people.
func othersWords() []string {
	return []string{"lab-b", "Laboratory", "edge1", "edge2", "alice", "fnm", "secret reason", "resolver"}
}

// newCustomerLab has two customers with a mitigation each, and one that uni-a started itself.
func newCustomerLab(t *testing.T) (*lab, *grpc.ClientConn) {
	t.Helper()
	l := newLab(t, "n1", "n2")
	l.load()
	inventory := tidegatev1.NewInventoryServiceClient(l.dial("n1", auth.Admin, "root"))
	got, err := inventory.GetDocument(t.Context(), &tidegatev1.GetDocumentRequest{Ref: &tidegatev1.DocumentRef{Kind: "Customer", Name: "uni-a"}})
	if err != nil {
		t.Fatal(err)
	}
	got.GetDocument().GetCustomer().SelfService = []string{"start", "withdraw"}
	if _, err := inventory.Apply(t.Context(), &tidegatev1.ApplyRequest{RequestId: "self", Reason: "test", Documents: []*tidegatev1.Document{got.GetDocument()}}); err != nil {
		t.Fatal(err)
	}
	alice := l.dial("n1", auth.Operator, "alice")
	startMitigation(t, alice, "203.0.113.9")
	if m := startMitigation(t, alice, "203.0.113.130"); m.GetCustomer() != "lab-b" {
		t.Fatalf("the second mitigation is of %s", m.GetCustomer())
	}
	bob := l.dial("n2", auth.Customer, "uni-a/bob")
	startMitigation(t, bob, "203.0.113.10")
	return l, bob
}

// call makes a call of a customer, and returns the answer's text.
func (c customerCall) call(t *testing.T, conn *grpc.ClientConn) (string, error) {
	t.Helper()
	reply := newReply(t, c.method)
	if c.method != tidegatev1.MitigationService_Watch_FullMethodName {
		err := conn.Invoke(t.Context(), c.method, c.req, reply)
		return text(reply), err
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	st, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, c.method)
	if err != nil {
		return "", err
	}
	if err := st.SendMsg(c.req); err != nil {
		return "", err
	}
	if err := st.CloseSend(); err != nil {
		return "", err
	}
	err = st.RecvMsg(reply)
	return text(reply), err
}

// text is a message in one form whatever its library does about spaces.
func text(m proto.Message) string {
	return strings.Join(strings.Fields(prototext.MarshalOptions{}.Format(m)), " ")
}

// TestCustomerSees: each RPC that a customer may call shows what is its own, refuses what is not, and says nothing of others
// either way.
func TestCustomerSees(t *testing.T) {
	_, bob := newCustomerLab(t)
	rows := map[string]int{}
	for i, row := range customerCalls() {
		rows[row.method]++
		t.Run(fmt.Sprintf("%d%s", i, row.method), func(t *testing.T) {
			got, err := row.call(t, bob)
			if status.Code(err) != row.code || row.reason != "" && row.code != codes.OK && api.ErrorReason(err) != row.reason {
				t.Fatalf("got %v %s (%v), want %v %s", status.Code(err), api.ErrorReason(err), err, row.code, row.reason)
			}
			if err != nil {
				got = text(status.Convert(err).Proto())
			}
			for _, w := range row.has {
				if !strings.Contains(got, w) {
					t.Errorf("%s does not say %q", got, w)
				}
			}
			for _, w := range othersWords() {
				if asked := text(row.req); strings.Contains(got, w) && !strings.Contains(asked, w) {
					t.Errorf("%s says %q", got, w)
				}
			}
		})
	}
	for method, row := range golden {
		if strings.HasSuffix(row, "f") != (rows[method] > 1) {
			t.Errorf("%s is marked %q and has %d rows", method, row, rows[method])
		}
	}
}

// TestCustomerCannotTell: what somebody of uni-a is told is the same, to the letter, whether another customer and its
// mitigation are there or not.
func TestCustomerCannotTell(t *testing.T) {
	l, bob := newCustomerLab(t)
	inventory := tidegatev1.NewInventoryServiceClient(l.dial("n1", auth.Admin, "root"))
	list, err := inventory.ListDocuments(t.Context(), &tidegatev1.ListDocumentsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	far := &tidegatev1.Document{Document: &tidegatev1.Document_Customer{Customer: &tidegatev1.Customer{Id: "far-c", Official: []string{"100.99.0.0/24"}}}}
	preview := &tidegatev1.PreviewRequest{Start: &tidegatev1.StartRequest{Reason: "r", Targets: []string{"100.99.0.7"}, Action: &tidegatev1.Action{Discard: true}}}
	calls := []customerCall{
		{method: tidegatev1.MitigationService_List_FullMethodName, req: &tidegatev1.ListRequest{IncludeOver: true}},
		{method: tidegatev1.MitigationService_List_FullMethodName, req: &tidegatev1.ListRequest{Customer: "far-c"}},
		{method: tidegatev1.MitigationService_Get_FullMethodName, req: &tidegatev1.GetRequest{Id: "M4"}},
		{method: tidegatev1.MitigationService_Preview_FullMethodName, req: preview},
		{method: tidegatev1.MitigationService_Start_FullMethodName, req: &tidegatev1.StartRequest{
			RequestId: "far", Reason: "r", Targets: []string{"100.99.0.7"}, Action: &tidegatev1.Action{Discard: true},
		}},
		{method: tidegatev1.MitigationService_Withdraw_FullMethodName, req: &tidegatev1.WithdrawRequest{RequestId: "far", Reason: "r", Id: "M4"}},
		{method: tidegatev1.MitigationService_Extend_FullMethodName, req: &tidegatev1.ExtendRequest{RequestId: "far", Reason: "r", Id: "M4", Lifetime: durationpb.New(time.Hour)}},
		{method: tidegatev1.InventoryService_ListDocuments_FullMethodName, req: &tidegatev1.ListDocumentsRequest{}},
		{method: tidegatev1.InventoryService_GetDocument_FullMethodName, req: &tidegatev1.GetDocumentRequest{Ref: &tidegatev1.DocumentRef{Kind: "Customer", Name: "far-c"}}},
		{method: tidegatev1.InventoryService_Lookup_FullMethodName, req: &tidegatev1.LookupRequest{Address: "100.99.0.7"}},
	}
	ask := func() (out []string) {
		for _, row := range calls {
			got, err := row.call(t, bob)
			if i := strings.Index(got, "read:{"); i >= 0 {
				got = got[:i] // the index of the log
			}
			out = append(out, fmt.Sprintf("%s: %s %v", row.method, got, err))
		}
		return out
	}
	without := ask()
	if _, err := inventory.Apply(t.Context(), &tidegatev1.ApplyRequest{RequestId: "far-c", Reason: "new", Documents: append(list.GetDocuments(), far)}); err != nil {
		t.Fatal(err)
	}
	if m := startMitigation(t, l.dial("n1", auth.Operator, "alice"), "100.99.0.7"); m.GetId() != "M4" {
		t.Fatalf("started %s", m.GetId())
	}
	if diff := cmp.Diff(without, ask()); diff != "" {
		t.Errorf("what uni-a is told without far-c and with it (-without +with):\n%s", diff)
	}
}

// TestMitigationFieldsAreScoped: each field of a mitigation is one that passes to a customer, or one that does not. A new one
// fails here until somebody has decided, and until then does not pass.
func TestMitigationFieldsAreScoped(t *testing.T) {
	hidden := []string{
		"notes", "groups", "causes", "changed", "routers", "rate_total", "overridden", "blocked_code", "blocked", "approved_by", "capped", "prices",
		"near_misses", "source",
	}
	l, bob := newCustomerLab(t)
	m, err := tidegatev1.NewMitigationServiceClient(bob).Get(t.Context(), &tidegatev1.GetRequest{Id: "M3"})
	if err != nil {
		t.Fatal(err)
	}
	full, err := tidegatev1.NewMitigationServiceClient(l.dial("n1", auth.Viewer, "v")).Get(t.Context(), &tidegatev1.GetRequest{Id: "M3"})
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	fields := full.GetMitigation().ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		passes := m.GetMitigation().ProtoReflect().Has(f)
		if slices.Contains(hidden, string(f.Name())) {
			if passes {
				t.Errorf("%s passes", f.Name())
			}
			continue
		}
		if full.GetMitigation().ProtoReflect().Has(f) && !passes {
			t.Errorf("%s does not pass, and is not among what is hidden", f.Name())
		}
		if passes {
			shown++
		}
	}
	if shown < 10 {
		t.Errorf("a customer sees %d fields of its own mitigation", shown)
	}
}

package api_test

import (
	"context"
	"crypto/tls"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/tidegate/tidegate/api/auth"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// golden says, for every RPC there is, who may call it: m member, a admin, o operator, v viewer, d detector,
// p approver, c customer; f is a customer that sees and does there only what is its own: each has rows in TestCustomerSees.
var golden = map[string]string{
	"/tidegate.v1.SignalService/Report":                              "....d..",
	"/tidegate.v1.SignalService/StreamSignals":                       "....d..",
	"/tidegate.v1.SignalService/Preview":                             ".ao.d..",
	"/tidegate.v1.MitigationService/Start":                           ".ao...f",
	"/tidegate.v1.MitigationService/Preview":                         ".aov.pf",
	"/tidegate.v1.MitigationService/Get":                             ".aov.pf",
	"/tidegate.v1.MitigationService/List":                            ".aov.pf",
	"/tidegate.v1.MitigationService/Watch":                           ".aov.pf",
	"/tidegate.v1.MitigationService/Extend":                          ".ao...f",
	"/tidegate.v1.MitigationService/Withdraw":                        ".ao...f",
	"/tidegate.v1.MitigationService/WithdrawAll":                     ".ao....",
	"/tidegate.v1.ApprovalService/ListApprovals":                     ".aov.p.",
	"/tidegate.v1.ApprovalService/GetApproval":                       ".aov.p.",
	"/tidegate.v1.ApprovalService/Approve":                           ".a...p.",
	"/tidegate.v1.ApprovalService/Reject":                            ".a...p.",
	"/tidegate.v1.ApprovalService/BreakGlass":                        ".ao....",
	"/tidegate.v1.InventoryService/Plan":                             ".aov.p.",
	"/tidegate.v1.InventoryService/Apply":                            ".a.....",
	"/tidegate.v1.InventoryService/GetDocument":                      ".aov.pf",
	"/tidegate.v1.InventoryService/ListDocuments":                    ".aov.pf",
	"/tidegate.v1.InventoryService/Lookup":                           ".aov.pf",
	"/tidegate.v1.RuleService/ListRules":                             ".aov.p.",
	"/tidegate.v1.RuleService/ListPeers":                             ".aov.p.",
	"/tidegate.v1.ClusterService/Status":                             ".aov.p.",
	"/tidegate.v1.ClusterService/Freeze":                             ".ao....",
	"/tidegate.v1.ClusterService/Unfreeze":                           ".ao....",
	"/tidegate.v1.ClusterService/QuarantineDetector":                 ".ao....",
	"/tidegate.v1.ClusterService/ReleaseDetector":                    ".ao....",
	"/tidegate.v1.ClusterService/ListDetectors":                      ".aov.p.",
	"/tidegate.v1.TokenService/CreateToken":                          ".a.....",
	"/tidegate.v1.TokenService/ListTokens":                           ".a.....",
	"/tidegate.v1.TokenService/RevokeToken":                          ".a.....",
	"/tidegate.v1.MemberService/LocalStatus":                         "m......",
	"/grpc.health.v1.Health/Check":                                   "maovdpc",
	"/grpc.health.v1.Health/List":                                    "maovdpc",
	"/grpc.health.v1.Health/Watch":                                   "maovdpc",
	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo":      ".aov.p.",
	"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": ".aov.p.",
	"/tidegate.v1.AuditService/List":                                 ".aov.p.",
	"/tidegate.v1.AuditService/Verify":                               ".aov.p.",
	"/tidegate.v1.AuditService/Begin":                                ".a.....",
}

// TestRoles calls every RPC of the running server as every role. The RPCs are found by reflection over what is
// registered: one without a row here fails, and so does a row without an RPC.
func TestRoles(t *testing.T) {
	l := newLab(t, "n1")
	l.load()
	startMitigation(t, l.dial("n1", auth.Operator, "alice"), "203.0.113.9") // so that Watch has something to send
	info := l.nodes["n1"].server.GRPC(&tls.Config{MinVersion: tls.VersionTLS13}).GetServiceInfo()
	found := make(map[string]grpc.MethodInfo)
	for service, s := range info {
		for _, m := range s.Methods {
			found["/"+service+"/"+m.Name] = m
		}
	}
	var names, rows []string
	for n := range found {
		names = append(names, n)
	}
	for n := range golden {
		rows = append(rows, n)
	}
	slices.Sort(names)
	slices.Sort(rows)
	if diff := cmp.Diff(rows, names); diff != "" {
		t.Fatalf("RPCs with a row and RPCs of the server (-want +got):\n%s", diff)
	}
	for i, role := range auth.AllRoles() {
		name := nameOf(role)
		conn := l.dial("n1", role, name)
		for _, method := range names {
			t.Run(string(role)+method, func(t *testing.T) {
				want := golden[method][i] != '.'
				err := callEmpty(t, conn, method, found[method])
				code := status.Code(err)
				if got := code != codes.PermissionDenied && code != codes.Unauthenticated; got != want {
					t.Errorf("%s may call %s: got %v (%v), want %v", role, method, got, err, want)
				}
				if !want && !strings.Contains(status.Convert(err).Message(), string(role)+"/"+name+" may not call") {
					t.Errorf("denied with %q", status.Convert(err).Message())
				}
			})
		}
	}
}

// nameOf is the name of somebody of a role.
func nameOf(role auth.Role) string {
	if role == auth.Customer {
		return "uni-a/someone"
	}
	return "someone"
}

// callEmpty calls a method with an empty request and returns the error of its first answer.
func callEmpty(t *testing.T, conn *grpc.ClientConn, method string, m grpc.MethodInfo) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if !m.IsClientStream && !m.IsServerStream {
		return conn.Invoke(ctx, method, &emptypb.Empty{}, &emptypb.Empty{})
	}
	st, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: m.IsClientStream, ServerStreams: m.IsServerStream}, method)
	if err != nil {
		return err
	}
	if err := st.SendMsg(&emptypb.Empty{}); err != nil {
		t.Logf("%s: send: %v", method, err) // what it was refused with stands in the answer
	}
	return st.RecvMsg(&emptypb.Empty{})
}

// The table itself, without a server: removing a row, or a role from it, fails here by name.
func TestTableIsGolden(t *testing.T) {
	table := auth.Table()
	for method, want := range golden {
		t.Run(method, func(t *testing.T) {
			var got strings.Builder
			for i, role := range auth.AllRoles() {
				if table.Allows(method, role) {
					got.WriteByte("maovdpc"[i])
				} else {
					got.WriteByte('.')
				}
			}
			if want = strings.ReplaceAll(want, "f", "c"); got.String() != want {
				t.Errorf("table has %q, want %q", got.String(), want)
			}
		})
	}
	for method := range table {
		if _, ok := golden[method]; !ok {
			t.Errorf("the table has %s, which nobody asked for", method)
		}
	}
	if table.Allows("/tidegate.v1.MitigationService/Unheard", auth.Admin) {
		t.Error("a method that is not in the table was allowed")
	}
}

// Who is believed to speak for whom.
func TestOnBehalfOf(t *testing.T) {
	l := newLab(t, "n1", "n2")
	l.load()
	start := tidegatev1.MitigationService_Start_FullMethodName
	report := tidegatev1.SignalService_Report_FullMethodName
	local := tidegatev1.MemberService_LocalStatus_FullMethodName
	for _, row := range []struct {
		name   string
		role   auth.Role
		behalf []string
		hop    []string
		method string
		want   codes.Code
	}{
		{"member for an operator", auth.Member, []string{"operator/alice"}, []string{"1"}, start, codes.InvalidArgument},
		{"member for a detector", auth.Member, []string{"detector/fnm"}, []string{"1"}, report, codes.OK},
		{"member for a viewer that starts", auth.Member, []string{"viewer/eve"}, []string{"1"}, start, codes.PermissionDenied},
		{"member for a detector that starts", auth.Member, []string{"detector/fnm"}, []string{"1"}, start, codes.PermissionDenied},
		{"member for itself", auth.Member, nil, nil, start, codes.PermissionDenied},
		{"member for another member", auth.Member, []string{"member/n1"}, []string{"1"}, local, codes.PermissionDenied},
		{"member for nobody", auth.Member, nil, []string{"1"}, local, codes.PermissionDenied},
		{"member without a hop", auth.Member, []string{"operator/alice"}, nil, start, codes.PermissionDenied},
		{"member with a second hop", auth.Member, []string{"operator/alice"}, []string{"2"}, start, codes.PermissionDenied},
		{"member for two", auth.Member, []string{"operator/alice", "admin/root"}, []string{"1"}, start, codes.PermissionDenied},
		{"member for an unknown role", auth.Member, []string{"god/zeus"}, []string{"1"}, start, codes.PermissionDenied},
		{"member for a strange name", auth.Member, []string{"operator/a b"}, []string{"1"}, start, codes.PermissionDenied},
		{"detector for an operator", auth.Detector, []string{"operator/alice"}, []string{"1"}, start, codes.PermissionDenied},
		{"detector for another detector", auth.Detector, []string{"detector/other"}, []string{"1"}, report, codes.PermissionDenied},
		{"detector with a hop", auth.Detector, nil, []string{"1"}, report, codes.PermissionDenied},
		{"admin for an operator", auth.Admin, []string{"operator/alice"}, []string{"1"}, start, codes.PermissionDenied},
		{"member for a customer", auth.Member, []string{"customer/uni-a/bob"}, []string{"1"}, start, codes.InvalidArgument},
		{"member for a customer without a name", auth.Member, []string{"customer/uni-a"}, []string{"1"}, start, codes.PermissionDenied},
		{"member for a customer with too many", auth.Member, []string{"customer/uni-a/bob/eve"}, []string{"1"}, start, codes.PermissionDenied},
		{"viewer for an admin", auth.Viewer, []string{"admin/root"}, []string{"1"}, start, codes.PermissionDenied},
	} {
		t.Run(row.name, func(t *testing.T) {
			md := metadata.MD{auth.OnBehalfOf: row.behalf, auth.Hop: row.hop}
			ctx := metadata.NewOutgoingContext(t.Context(), md)
			err := l.dial("n1", row.role, "n2").Invoke(ctx, row.method, &emptypb.Empty{}, &emptypb.Empty{})
			if got := status.Code(err); got != row.want {
				t.Errorf("got %v (%v), want %v", got, err, row.want)
			}
		})
	}
}

package auth

import (
	"slices"

	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// Rights is the role table: for each full method name, the roles that may call it. A method that is absent is denied
// to every role.
type Rights map[string][]Role

// Table returns the one role table. It is judged twice for a forwarded call: by the node that was called, and by the
// leader for the identity that the node states.
func Table() Rights {
	see := []Role{Admin, Operator, Viewer, Approver}
	act := []Role{Admin, Operator}
	// What customers may call shows and does only what is their own: see api's scope.
	own, ownToo := []Role{Admin, Operator, Customer}, []Role{Admin, Operator, Viewer, Approver, Customer}
	approve := []Role{Admin, Approver} // that it is somebody else than who asked is for policy to see
	return Rights{
		// The source of a signal is the caller's name, and names are unique within a role only: an operator named
		// like a detector must not be able to end that detector's attacks. So detectors alone report.
		tidegatev1.SignalService_Report_FullMethodName:        {Detector},
		tidegatev1.SignalService_StreamSignals_FullMethodName: {Detector},
		tidegatev1.SignalService_Preview_FullMethodName:       {Admin, Operator, Detector},

		tidegatev1.MitigationService_Start_FullMethodName:       own,
		tidegatev1.MitigationService_Extend_FullMethodName:      own,
		tidegatev1.MitigationService_Withdraw_FullMethodName:    own,
		tidegatev1.MitigationService_WithdrawAll_FullMethodName: act,
		tidegatev1.MitigationService_Preview_FullMethodName:     ownToo,
		tidegatev1.MitigationService_Get_FullMethodName:         ownToo,
		tidegatev1.MitigationService_List_FullMethodName:        ownToo,
		tidegatev1.MitigationService_Watch_FullMethodName:       ownToo,

		tidegatev1.ApprovalService_ListApprovals_FullMethodName: see,
		tidegatev1.ApprovalService_GetApproval_FullMethodName:   see,
		tidegatev1.ApprovalService_Approve_FullMethodName:       approve,
		tidegatev1.ApprovalService_Reject_FullMethodName:        approve,
		tidegatev1.ApprovalService_BreakGlass_FullMethodName:    act,

		// Documents decide what is protected and what a policy does without asking: fewer people than those who
		// answer an attack.
		tidegatev1.InventoryService_Apply_FullMethodName:         {Admin},
		tidegatev1.InventoryService_Plan_FullMethodName:          see,
		tidegatev1.InventoryService_GetDocument_FullMethodName:   ownToo,
		tidegatev1.InventoryService_ListDocuments_FullMethodName: ownToo,
		tidegatev1.InventoryService_Lookup_FullMethodName:        ownToo,

		tidegatev1.RuleService_ListRules_FullMethodName: see,
		tidegatev1.RuleService_ListPeers_FullMethodName: see,

		// Who may withdraw everything by hand may also keep it from coming back by itself.
		tidegatev1.ClusterService_Status_FullMethodName:             see,
		tidegatev1.ClusterService_Freeze_FullMethodName:             act,
		tidegatev1.ClusterService_Unfreeze_FullMethodName:           act,
		tidegatev1.ClusterService_QuarantineDetector_FullMethodName: act,
		tidegatev1.ClusterService_ReleaseDetector_FullMethodName:    act,
		tidegatev1.ClusterService_ListDetectors_FullMethodName:      see,

		// Who may look at mitigations sees there who did what and why; the chain shows no more than that.
		tidegatev1.AuditService_List_FullMethodName:   see,
		tidegatev1.AuditService_Verify_FullMethodName: see,
		tidegatev1.AuditService_Begin_FullMethodName:  {Admin},

		// Who makes tokens makes callers.
		tidegatev1.TokenService_CreateToken_FullMethodName: {Admin},
		tidegatev1.TokenService_ListTokens_FullMethodName:  {Admin},
		tidegatev1.TokenService_RevokeToken_FullMethodName: {Admin},

		tidegatev1.MemberService_LocalStatus_FullMethodName: {Member},

		"/grpc.health.v1.Health/Check": AllRoles(),
		"/grpc.health.v1.Health/List":  AllRoles(),
		"/grpc.health.v1.Health/Watch": AllRoles(),

		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo":      see,
		"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": see,
	}
}

// Allows reports whether role may call the method.
func (r Rights) Allows(fullMethod string, role Role) bool {
	return slices.Contains(r[fullMethod], role)
}

// Holders returns the roles that may call the method, for a message.
func (r Rights) Holders(fullMethod string) []Role { return slices.Clone(r[fullMethod]) }

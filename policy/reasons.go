package policy

// The codes of reasons: those of Decide, and last those of the controller, which carries decisions out. Those of
// refusals are also the reason of the API's ErrorInfo. Codes are appended, never reused; what a code means never
// changes.
const (
	// CodeMalformed is a request with a value that cannot be meant, or an inventory that contradicts itself; the
	// violations of the decision say what, field by field.
	CodeMalformed ReasonCode = "malformed"
	// CodeUnknownRequest is a request of a type that this version does not know.
	CodeUnknownRequest ReasonCode = "unknown_request"
	// CodeInternal is a decision that came out inconsistent and was thrown away: a fault of the program.
	CodeInternal ReasonCode = "internal"

	// CodeMitigated is a signal that a policy answered with a new mitigation.
	CodeMitigated ReasonCode = "mitigated"
	// CodeMerged is a signal that became a further cause of an active mitigation.
	CodeMerged ReasonCode = "merged"
	// CodeRepetition is a signal that was seen before and changes nothing.
	CodeRepetition ReasonCode = "repetition"
	// CodeAttackOver is the end of an attack, noted.
	CodeAttackOver ReasonCode = "attack_over"
	// CodeUnknownAttack is the end of an attack that is not known, or that caused nothing.
	CodeUnknownAttack ReasonCode = "unknown_attack"
	// CodeStale is a signal with a lower sequence number than one seen before.
	CodeStale ReasonCode = "stale"
	// CodeSeqConflict is a signal with the sequence number of one seen before and another body.
	CodeSeqConflict ReasonCode = "seq_conflict"
	// CodeDrill is an exercise: judged, never announced.
	CodeDrill ReasonCode = "drill"
	// CodeNoPolicy is a signal that no policy takes.
	CodeNoPolicy ReasonCode = "no_policy"
	// CodeStaysWithdrawn is a signal of an attack whose mitigation an operator withdrew.
	CodeStaysWithdrawn ReasonCode = "stays_withdrawn"

	// CodeTargetNotOfficial is a target outside of every customer's official space.
	CodeTargetNotOfficial ReasonCode = "target_not_official"
	// CodeTargetProtected is a target inside a link or a protected block.
	CodeTargetProtected ReasonCode = "target_protected"
	// CodeTargetBuiltIn is a target in multicast, link-local, loopback or unspecified space.
	CodeTargetBuiltIn ReasonCode = "target_built_in"
	// CodeTargetEverything is a target of prefix length 0.
	CodeTargetEverything ReasonCode = "target_everything"
	// CodeTargetsSpanCustomers is a list of targets of more than one customer.
	CodeTargetsSpanCustomers ReasonCode = "targets_span_customers"
	// CodeTooWide is a target wider than the safeguards permit.
	CodeTooWide ReasonCode = "too_wide"
	// CodeNothingLeft is a target of which nothing remains after nested customers and protected space.
	CodeNothingLeft ReasonCode = "nothing_left"
	// CodeTooManyPieces is a target with so many holes that it cannot be covered within the budget of destinations.
	CodeTooManyPieces ReasonCode = "too_many_pieces"

	// CodeTooVague is a signal of an unknown vector that names no protocol.
	CodeTooVague ReasonCode = "too_vague"
	// CodeContradiction is a signal or a match whose parts exclude each other, so that no packet could match.
	CodeContradiction ReasonCode = "contradiction"
	// CodePolicyLimit is a policy that has as many active mitigations as it may have.
	CodePolicyLimit ReasonCode = "policy_limit"
	// CodePolicyObserves is a signal taken by a policy that only observes.
	CodePolicyObserves ReasonCode = "policy_observes"
	// CodeTooManyVariants is a signal that needs more matches per destination than MaxVariants.
	CodeTooManyVariants ReasonCode = "too_many_variants"
	// CodeSourceProtected is a source prefix that overlaps protected space: sources are spoofed.
	CodeSourceProtected ReasonCode = "source_protected"
	// CodeRedirectTarget is a redirect to an address that is protected, or attacked itself.
	CodeRedirectTarget ReasonCode = "redirect_target"
	// CodeUnsafeMatch is a match that common routers do not survive (flowspec.CheckSafe).
	CodeUnsafeMatch ReasonCode = "unsafe_match"
	// CodeRateTooLow is a rate that leaves less than 1 byte/s, or 1 packet/s, for each of the rules that share it.
	CodeRateTooLow ReasonCode = "rate_too_low"
	// CodeShieldsStronger is an action that would come before, and so shield packets from, one that holds back more: a rate
	// limit before a discard, a mark before either.
	CodeShieldsStronger ReasonCode = "shields_stronger"

	// CodeCustomerQuota is a customer whose quota of active mitigations is used up.
	CodeCustomerQuota ReasonCode = "customer_quota"
	// CodeMitigationLimit is the safeguards' limit of active mitigations in all.
	CodeMitigationLimit ReasonCode = "mitigation_limit"
	// CodeRouterBudget is a router that cannot hear that many rules within 80 % of its max-prefix.
	CodeRouterBudget ReasonCode = "router_budget"
	// CodeNoRouter is a request that no router could enforce.
	CodeNoRouter ReasonCode = "no_router"
	// CodeLifetimeTooLong is a lifetime above the safeguards' maximum.
	CodeLifetimeTooLong ReasonCode = "lifetime_too_long"

	// CodeStarted is a mitigation started by hand.
	CodeStarted ReasonCode = "started"
	// CodeAlreadyActive is an order that an active mitigation already carries out, to the letter.
	CodeAlreadyActive ReasonCode = "already_active"
	// CodeExtended is a mitigation whose remaining lifetime was set.
	CodeExtended ReasonCode = "extended"
	// CodeWithdrawn is one or more mitigations ended by an operator.
	CodeWithdrawn ReasonCode = "withdrawn"
	// CodeExpired is one or more mitigations whose lifetime is over.
	CodeExpired ReasonCode = "expired"
	// CodeRenewed is one or more mitigations back at their full lifetime.
	CodeRenewed ReasonCode = "renewed"
	// CodeLease is a recorded lease.
	CodeLease ReasonCode = "lease"
	// CodeNothingToDo is a request that found nothing to change.
	CodeNothingToDo ReasonCode = "nothing_to_do"
	// CodeUnknownMitigation is a number that no mitigation has.
	CodeUnknownMitigation ReasonCode = "unknown_mitigation"
	// CodeMitigationOver is a mitigation that is over and cannot be changed.
	CodeMitigationOver ReasonCode = "mitigation_over"
	// CodeUnknownCustomer is a name that no customer has.
	CodeUnknownCustomer ReasonCode = "unknown_customer"

	// CodeApplied is an apply that changed documents.
	CodeApplied ReasonCode = "applied"
	// CodeUnchanged is an apply that found everything as it already is.
	CodeUnchanged ReasonCode = "unchanged"
	// CodeRemovalsNeedNumber is an apply that removes links or protected space without stating how much.
	CodeRemovalsNeedNumber ReasonCode = "removals_need_number"

	// CodeRequestIDReused is a write under the request id of another request. Given by the controller.
	CodeRequestIDReused ReasonCode = "request_id_reused"
	// CodeTooLarge is a decision that does not fit into one entry of the log. Given by the controller.
	CodeTooLarge ReasonCode = "too_large"
	// CodeOverload is a signal for which there was no room: it may be sent again. Given by the controller.
	CodeOverload ReasonCode = "overload"
	// CodeRTBHTooWide is a blackhole of more routes than the safeguards permit.
	CodeRTBHTooWide ReasonCode = "rtbh_too_wide"
	// CodeActionFamily is a policy's action that cannot be done to packets of the targets' family.
	CodeActionFamily ReasonCode = "action_family"
	// CodeRouterProfile is a rule that a router would ignore or approximate, by its profile.
	CodeRouterProfile ReasonCode = "router_profile"
	// CodeRouterEntries is a router whose table cannot hold that many entries within 80 % of it.
	CodeRouterEntries ReasonCode = "router_entries"

	// CodeEscalated is one or more mitigations whose attack outlasts a step and that take the next.
	CodeEscalated ReasonCode = "escalated"
	// CodeNarrowed is a report that left a mitigation of several attacks with less to act on.
	CodeNarrowed ReasonCode = "narrowed"
	// CodeRevived is a signal within the quiet time of a mitigation, which is active again.
	CodeRevived ReasonCode = "revived"
	// CodeLowConfidence is a signal that is less sure than a step of the policy asks for.
	CodeLowConfidence ReasonCode = "low_confidence"

	// CodeAllAllowed is a signal or an order for packets that are all of allowed services of the customer: nothing is left,
	// and nothing wider is taken.
	CodeAllAllowed ReasonCode = "all_allowed"
	// CodeFrozen is a signal while the cluster is frozen, and the freeze itself.
	CodeFrozen ReasonCode = "frozen"
	// CodeUnfrozen is the end of a freeze.
	CodeUnfrozen ReasonCode = "unfrozen"
	// CodeSourceQuarantined is a signal of a detector in quarantine, and the quarantine itself.
	CodeSourceQuarantined ReasonCode = "source_quarantined"
	// CodeSourceReleased is the end of a quarantine.
	CodeSourceReleased ReasonCode = "source_released"
	// CodeCustomerOptedOut is a customer for whom policies, or nobody at all, may mitigate: a signal is observed, an
	// operator's order refused.
	CodeCustomerOptedOut ReasonCode = "customer_opted_out"
	// CodeOperatorShare is a budget of which only the part is left that is kept for operators.
	CodeOperatorShare ReasonCode = "operator_share"
	// CodeSourceShare is a detector that fills as much of a budget as one may.
	CodeSourceShare ReasonCode = "source_share"
	// CodeStartRate is a signal that would have policies do too much within a minute, or one policy within an hour: it may
	// be sent again. Of a step it says that the step waits.
	CodeStartRate ReasonCode = "start_rate"

	// CodeQuorum is a signal that a policy answers only when more detectors report the same.
	CodeQuorum ReasonCode = "quorum"
	// CodeTooManyUnanswered is a signal of a detector that has reported too many attacks that nothing was done about.
	CodeTooManyUnanswered ReasonCode = "too_many_unanswered"

	// CodeLeaderLost is a signal whose verdict is not known, because the leader changed: it may be sent again. Given by
	// the controller.
	CodeLeaderLost ReasonCode = "leader_lost"

	// CodeAwaitsApproval is something that is judged and not done before a second person approves it.
	CodeAwaitsApproval ReasonCode = "awaits_approval"
	// CodeApproved is something that a second person approved and that is done.
	CodeApproved ReasonCode = "approved"
	// CodeRejected is something that a second person rejected.
	CodeRejected ReasonCode = "rejected"
	// CodeNotApproved is what a second person rejected, or nobody approved in time, and that is not asked for again.
	CodeNotApproved ReasonCode = "not_approved"
	// CodeSecondPerson is an approval by the one who asked.
	CodeSecondPerson ReasonCode = "second_person"
	// CodePendingLimit is one thing more than may await approval.
	CodePendingLimit ReasonCode = "pending_limit"
	// CodeMitigationPending is a mitigation that awaits approval and cannot be changed before.
	CodeMitigationPending ReasonCode = "mitigation_pending"
	// CodeUnknownApproval is a number under which nothing ever awaited approval, as far as it is remembered.
	CodeUnknownApproval ReasonCode = "unknown_approval"
	// CodeApprovalOver is something that does not await approval any more: it was decided, it lapsed, or it is over.
	CodeApprovalOver ReasonCode = "approval_over"
	// CodeApprovalChanged is an order that would do more now than what was asked for.
	CodeApprovalChanged ReasonCode = "approval_changed"
	// CodeBreakGlass is something that was done without waiting for a second person.
	CodeBreakGlass ReasonCode = "break_glass"
	// CodeNotReported is the approval of a step for an attack that was not reported lately.
	CodeNotReported ReasonCode = "not_reported"
	// CodeBreakGlassRefused is something that a second person cannot be done without.
	CodeBreakGlassRefused ReasonCode = "break_glass_refused"

	// CodeNotYours is a customer's request about what is not its own, or that customers do not make.
	CodeNotYours ReasonCode = "not_yours"
	// CodeSelfService is a customer's request for what the operator does not let it do by itself.
	CodeSelfService ReasonCode = "self_service"
	// CodeTokenMade is a bearer token that was made known.
	CodeTokenMade ReasonCode = "token_made"
	// CodeTokenRevoked is a bearer token that is good no more.
	CodeTokenRevoked ReasonCode = "token_revoked"
	// CodeTokenExists is a new bearer token with the name, or the hash, of one that is remembered.
	CodeTokenExists ReasonCode = "token_exists"
	// CodeTokenLimit is one bearer token more than are remembered.
	CodeTokenLimit ReasonCode = "token_limit"
	// CodeUnknownToken is a name that no bearer token has.
	CodeUnknownToken ReasonCode = "unknown_token"
)

// ReasonInfo describes a code for documentation and for the API's clients.
type ReasonInfo struct {
	Code    ReasonCode
	Refusal bool // the verdict is Refused
	Meaning string
}

// Reasons returns every code that Decide and the controller give, in a fixed order.
func Reasons() []ReasonInfo {
	return []ReasonInfo{
		{CodeMalformed, true, "a value cannot be meant, or the inventory contradicts itself; the violations say where and how to mend it"},
		{CodeUnknownRequest, true, "a request of a type that this version does not know"},
		{CodeInternal, true, "the decision came out inconsistent and was thrown away; a fault of the program"},
		{CodeMitigated, false, "a policy answered with a new mitigation"},
		{CodeMerged, false, "a further cause of an active mitigation"},
		{CodeRepetition, false, "seen before, changes nothing"},
		{CodeAttackOver, false, "the end of the attack was noted"},
		{CodeUnknownAttack, false, "the end of an attack that is not known or caused nothing"},
		{CodeStale, false, "a lower sequence number than one seen before"},
		{CodeSeqConflict, true, "the sequence number of a signal seen before, with another body"},
		{CodeDrill, false, "an exercise: judged, never announced"},
		{CodeNoPolicy, false, "no policy takes the signal"},
		{CodeStaysWithdrawn, false, "an operator withdrew the mitigation of this attack"},
		{CodeTargetNotOfficial, true, "the target is outside of every customer's official space"},
		{CodeTargetProtected, true, "the target is inside a link or a protected block"},
		{CodeTargetBuiltIn, true, "the target is multicast, link-local, loopback or unspecified"},
		{CodeTargetEverything, true, "the target has prefix length 0"},
		{CodeTargetsSpanCustomers, true, "the targets belong to more than one customer"},
		{CodeTooWide, true, "the target is wider than the safeguards permit"},
		{CodeNothingLeft, true, "nothing of the target remains after nested customers and protected space"},
		{CodeTooManyPieces, true, "the target has too many holes for the budget of destinations"},
		{CodeTooVague, true, "an unknown vector and no protocol"},
		{CodeContradiction, true, "parts of the signal, or of the match, exclude each other"},
		{CodePolicyLimit, true, "the policy has as many active mitigations as it may have"},
		{CodePolicyObserves, false, "the policy that takes the signal only observes"},
		{CodeTooManyVariants, true, "too many matches per destination"},
		{CodeRedirectTarget, true, "the redirect leads to a protected address, or back to the target"},
		{CodeSourceProtected, true, "a source prefix overlaps protected space"},
		{CodeUnsafeMatch, true, "common routers do not survive the match"},
		{CodeRateTooLow, true, "less than 1 byte/s, or 1 packet/s, for each rule that shares the rate"},
		{CodeShieldsStronger, true, "it would shield packets from an active mitigation that holds back more"},
		{CodeCustomerQuota, true, "the customer's quota of active mitigations is used up"},
		{CodeMitigationLimit, true, "the limit of active mitigations is reached"},
		{CodeRouterBudget, true, "a router cannot hear that many rules"},
		{CodeNoRouter, true, "no router could enforce it"},
		{CodeLifetimeTooLong, true, "the lifetime is above the maximum"},
		{CodeStarted, false, "a mitigation was started by hand"},
		{CodeAlreadyActive, false, "an active mitigation already does exactly this"},
		{CodeExtended, false, "the remaining lifetime was set"},
		{CodeWithdrawn, false, "ended by an operator"},
		{CodeExpired, false, "the lifetime is over"},
		{CodeRenewed, false, "back at the full lifetime"},
		{CodeLease, false, "a lease was recorded"},
		{CodeNothingToDo, false, "nothing to change"},
		{CodeUnknownMitigation, true, "no mitigation has this number"},
		{CodeMitigationOver, true, "the mitigation is over"},
		{CodeUnknownCustomer, true, "no customer has this name"},
		{CodeApplied, false, "documents were changed"},
		{CodeUnchanged, false, "everything already is as stated"},
		{CodeRemovalsNeedNumber, true, "links or protected space would be removed and the number was not stated"},
		{CodeRequestIDReused, true, "the request id was used for another request"},
		{CodeTooLarge, true, "the decision does not fit into one entry of the log"},
		{CodeOverload, false, "no room for the signal: send it again"},
		{CodeRTBHTooWide, true, "more blackhole routes than the safeguards permit"},
		{CodeActionFamily, true, "the policy's action cannot be done to packets of the targets' family"},
		{CodeEscalated, false, "the attack outlasts a step of its policy: the next one is taken"},
		{CodeNarrowed, false, "all attacks of a mitigation together report less than half of what it acted on: it acts on that only"},
		{CodeRevived, false, "the attack came back within the quiet time: its mitigation is active again"},
		{CodeLowConfidence, false, "the signal is less sure than the step of the policy asks for"},
		{CodeRouterProfile, true, "a router would ignore or approximate the rule, by its profile"},
		{CodeRouterEntries, true, "a router's table cannot hold that many entries"},
		{CodeAllAllowed, true, "all that would be taken is of allowed services of the customer"},
		{CodeFrozen, false, "the cluster is frozen: nothing starts by itself"},
		{CodeUnfrozen, false, "the freeze is over"},
		{CodeSourceQuarantined, false, "the detector is in quarantine: its signals are observed only"},
		{CodeSourceReleased, false, "the detector is out of quarantine"},
		{CodeCustomerOptedOut, true, "the customer has opted out: signals are observed, with mitigation: none orders are refused"},
		{CodeOperatorShare, true, "what is left of the budget is kept for operators"},
		{CodeSourceShare, true, "one detector fills as much of the budget as it may"},
		{CodeStartRate, false, "policies start too much within too little time: send it again"},
		{CodeQuorum, false, "the policy waits for more detectors to report the same"},
		{CodeTooManyUnanswered, true, "the detector has reported too many attacks that nothing was done about"},
		{CodeAwaitsApproval, false, "nothing of it is done before a second person approves it"},
		{CodeApproved, false, "a second person approved it"},
		{CodeRejected, false, "a second person rejected it"},
		{CodeNotApproved, false, "a second person rejected it, or nobody approved it in time: it is not asked for again"},
		{CodeSecondPerson, true, "who asked for something cannot approve it"},
		{CodePendingLimit, true, "as much awaits approval as may"},
		{CodeMitigationPending, true, "the mitigation awaits approval first"},
		{CodeUnknownApproval, true, "nothing awaits approval under this number"},
		{CodeApprovalOver, true, "it does not await approval any more: it was decided, it lapsed, or it is over"},
		{CodeApprovalChanged, true, "the order would do more now than what was asked for"},
		{CodeBreakGlass, false, "it was done without waiting for a second person"},
		{CodeNotReported, true, "the attack that a step is for was not reported lately"},
		{CodeBreakGlassRefused, true, "it takes a second person, whatever the hurry"},
		{CodeNotYours, true, "it is not the customer's own, or customers do not ask for it"},
		{CodeSelfService, true, "the operator does not let the customer do this by itself"},
		{CodeTokenMade, false, "the bearer token is known from now on"},
		{CodeTokenRevoked, false, "the bearer token is good no more"},
		{CodeTokenExists, true, "a bearer token of this name, or hash, is remembered"},
		{CodeTokenLimit, true, "as many bearer tokens are remembered as may be"},
		{CodeUnknownToken, true, "no bearer token has this name"},
		{CodeLeaderLost, false, "the leader changed while the signal was judged: send it again"},
	}
}

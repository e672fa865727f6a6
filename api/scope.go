package api

import (
	"fmt"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/policy"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// What a customer may see. The interceptors narrow what a customer asks for to what is its own (scope), and hold back of
// the answer what is not (scoped): both by a list of what passes, so that what is new does not pass before somebody has
// thought about it. Whether a customer may do something is for policy to say.

// ReasonAskOperator is a refusal to a customer for a reason that lies with the operator, or with other customers.
const ReasonAskOperator = "ask_operator"

// askOperator is what a customer is told in place of a reason that concerns others too.
const askOperator = "this cannot be done for a reason that does not lie with the customer: ask the operator"

// scope narrows the request of a customer to what is its own, or refuses it.
func (s *Server) scope(c auth.Caller, req any) error {
	if c.Role != auth.Customer {
		return nil
	}
	own := c.CustomerID()
	narrow := func(field *string, v string) error {
		if *field != "" && *field != v {
			return notOwn(fmt.Sprintf("there is no customer %s for you, only %s", quote(*field), v))
		}
		*field = v
		return nil
	}
	switch r := req.(type) {
	case *tidegatev1.ListRequest:
		return narrow(&r.Customer, string(own))
	case *tidegatev1.WatchRequest:
		return narrow(&r.Customer, string(own))
	case *tidegatev1.GetRequest:
		return s.scopeGet(own, r)
	case *tidegatev1.GetDocumentRequest:
		if k := r.GetRef().GetKind(); k != string(policy.KindCustomer) || r.GetRef().GetName() != string(own) {
			return notOwn(fmt.Sprintf("there is no %s named %s for you, only Customer %s", quote(k), quote(r.GetRef().GetName()), own))
		}
		return nil
	case *tidegatev1.ListDocumentsRequest:
		if r.GetKind() != "" && r.GetKind() != string(policy.KindCustomer) {
			return notOwn(fmt.Sprintf("there is no document of kind %s for you, only Customer %s", quote(r.GetKind()), own))
		}
		r.Kind = string(policy.KindCustomer)
		return nil
	case *tidegatev1.StartRequest, *tidegatev1.PreviewRequest, *tidegatev1.ExtendRequest, *tidegatev1.WithdrawRequest, *tidegatev1.LookupRequest:
		return nil // policy judges the first four, and scoped what is told of an address
	}
	if isHealth(req) {
		return nil
	}
	return errUnscoped(req)
}

// isHealth reports whether m is of the health service, which says nothing of anybody.
func isHealth(m any) bool {
	p, ok := m.(proto.Message)
	return ok && p.ProtoReflect().Descriptor().FullName().Parent() == "grpc.health.v1"
}

// scopeGet refuses what is somebody else's in the words for what does not exist.
func (s *Server) scopeGet(own policy.CustomerID, r *tidegatev1.GetRequest) error {
	v := &violations{}
	id := v.mitigationID("id", r.GetId())
	if err := v.err(); err != nil {
		return err
	}
	if m, ok := s.ctrl.State().Mitigation(id); !ok || m.Customer != own {
		return noMitigation(id)
	}
	return nil
}

func notOwn(text string) error { return &notFoundError{what: text, code: policy.CodeNotYours} }

// errUnscoped fails closed: nobody has said what a customer may see of such a message.
func errUnscoped(m any) error {
	return fmt.Errorf("cannot show a %T to a customer: it is not said what of it is the customer's own", m)
}

// scoped holds back what of an answer is not the customer's own.
func (s *Server) scoped(c auth.Caller, resp any) (any, error) {
	if c.Role != auth.Customer || isHealth(resp) {
		return resp, nil
	}
	o := &owner{id: c.CustomerID(), state: s.ctrl.State()}
	switch r := resp.(type) {
	case *tidegatev1.StartResponse:
		return &tidegatev1.StartResponse{Verdict: o.verdict(r.GetVerdict()), Mitigation: o.mitigation(r.GetMitigation()), Write: r.GetWrite()}, nil
	case *tidegatev1.PreviewResponse:
		return &tidegatev1.PreviewResponse{Verdict: o.verdict(r.GetVerdict()), Mitigation: o.mitigation(r.GetMitigation()), Read: r.GetRead()}, nil
	case *tidegatev1.ExtendResponse:
		return &tidegatev1.ExtendResponse{Verdict: o.verdict(r.GetVerdict()), Mitigation: o.mitigation(r.GetMitigation()), Write: r.GetWrite()}, nil
	case *tidegatev1.WithdrawResponse:
		return &tidegatev1.WithdrawResponse{Mitigation: o.mitigation(r.GetMitigation()), Write: r.GetWrite(), GoneAtLatest: r.GetGoneAtLatest()}, nil
	case *tidegatev1.GetResponse:
		return &tidegatev1.GetResponse{Mitigation: o.mitigation(r.GetMitigation()), Read: r.GetRead()}, nil
	case *tidegatev1.ListResponse:
		out := &tidegatev1.ListResponse{Read: r.GetRead()}
		for _, m := range r.GetMitigations() {
			if own := o.mitigation(m); own != nil {
				out.Mitigations = append(out.Mitigations, own)
			}
		}
		return out, nil
	case *tidegatev1.WatchResponse:
		return &tidegatev1.WatchResponse{Mitigation: o.mitigation(r.GetMitigation()), Read: r.GetRead()}, nil
	}
	return o.inventory(resp)
}

// inventory is scoped for what is told of documents and addresses.
func (o *owner) inventory(resp any) (any, error) {
	switch r := resp.(type) {
	case *tidegatev1.GetDocumentResponse:
		return &tidegatev1.GetDocumentResponse{Document: o.document(r.GetDocument()), Read: r.GetRead()}, nil
	case *tidegatev1.ListDocumentsResponse:
		out := &tidegatev1.ListDocumentsResponse{Read: r.GetRead()}
		for _, d := range r.GetDocuments() {
			if own := o.document(d); own != nil {
				out.Documents = append(out.Documents, own)
			}
		}
		return out, nil
	case *tidegatev1.LookupResponse:
		return o.lookup(r), nil
	}
	return nil, errUnscoped(resp)
}

// scopedStream narrows what comes in on a stream of a customer, and holds back of what goes out.
type scopedStream struct {
	grpc.ServerStream
	server *Server
	caller auth.Caller
}

// RecvMsg implements grpc.ServerStream.
func (c *scopedStream) RecvMsg(m any) error {
	if err := c.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return c.server.scope(c.caller, m)
}

// SendMsg implements grpc.ServerStream.
func (c *scopedStream) SendMsg(m any) error {
	out, err := c.server.scoped(c.caller, m)
	if err != nil {
		return err
	}
	return c.ServerStream.SendMsg(out)
}

// ownReasons are the reasons whose sentences concern the customer's own space and orders only, and those that say nothing
// of anybody.
func ownReasons() []string {
	out := []string{
		ReasonNotFound, ReasonNoLeader, ReasonOutcomeUnknown, ReasonNotApplied, ReasonOverloaded, ReasonStopped, ReasonRateLimited, ReasonTooManyStreams,
		ReasonAskOperator,
	}
	for _, c := range []policy.ReasonCode{
		policy.CodeNotYours, policy.CodeSelfService, policy.CodeUnknownMitigation, policy.CodeMitigationOver, policy.CodeMalformed,
		policy.CodeTargetBuiltIn, policy.CodeTargetEverything, policy.CodeTooWide, policy.CodeContradiction, policy.CodeUnsafeMatch, policy.CodeRateTooLow,
		policy.CodeLifetimeTooLong, policy.CodeCustomerQuota, policy.CodeCustomerOptedOut, policy.CodeAllAllowed, policy.CodeStartRate,
		policy.CodeStarted, policy.CodeExtended, policy.CodeWithdrawn,
	} {
		out = append(out, string(c))
	}
	return out
}

// scopedError is an error as its caller is told it. Logs, metrics and counts have it as it was.
func scopedError(c auth.Caller, st *status.Status) error {
	if c.Role != auth.Customer {
		return st.Err()
	}
	reason := ErrorReason(st.Err())
	switch {
	case reason == string(policy.CodeUnknownCustomer):
		return withInfo(st.Code(), string(policy.CodeNotYours), fmt.Sprintf("there is no customer %s: ask the operator", quote(string(c.CustomerID())))).Err()
	case reason == string(policy.CodeRequestIDReused):
		return withInfo(st.Code(), reason, "the request id was used before, for another request: choose a new one").Err()
	case reason == "" && st.Code() != codes.FailedPrecondition, slices.Contains(ownReasons(), reason):
		return st.Err()
	}
	return withInfo(st.Code(), ReasonAskOperator, askOperator).Err()
}

// owner shows what is a customer's own.
type owner struct {
	id    policy.CustomerID
	state *policy.State
}

// by is who did something, as a customer is told it: its own people by name, of others the role.
func (o *owner) by(by string) string {
	if by == "" {
		return ""
	}
	if id, scoped := policy.Principal(by).Scope(); scoped && id == o.id {
		return by
	}
	if who, err := auth.ParseIdentity(by); err == nil {
		return string(who.Role)
	}
	return string(auth.Operator)
}

func (o *owner) isOwn(by string) bool {
	id, scoped := policy.Principal(by).Scope()
	return scoped && id == o.id
}

func (o *owner) verdict(in *tidegatev1.Verdict) *tidegatev1.Verdict {
	if in == nil {
		return nil
	}
	out := &tidegatev1.Verdict{
		Kind: in.GetKind(), Code: in.GetCode(), Text: in.GetText(), Mitigation: in.GetMitigation(), RetryAfter: in.GetRetryAfter(), Violations: in.GetViolations(),
	}
	switch {
	case in.GetKind() == tidegatev1.VerdictKind_VERDICT_KIND_PENDING:
		out.Text = "it awaits a second person, of the operator"
	case in.GetCode() == string(policy.CodeAlreadyActive):
		out.Text = fmt.Sprintf("%s already does exactly this", in.GetMitigation())
	case !slices.Contains(ownReasons(), in.GetCode()):
		out.Code, out.Text = ReasonAskOperator, askOperator
	}
	return out
}

// mitigation is what a customer sees of one of its own; nil for another's. What the operator's network is like, what
// detectors there are, and why exactly a decision fell does not pass.
func (o *owner) mitigation(in *tidegatev1.Mitigation) *tidegatev1.Mitigation {
	if in == nil || in.GetCustomer() != string(o.id) {
		return nil
	}
	out := &tidegatev1.Mitigation{
		Id: in.GetId(), Customer: in.GetCustomer(), Origin: in.GetOrigin(), Policy: in.GetPolicy(), Vector: in.GetVector(), Targets: in.GetTargets(),
		Action: in.GetAction(), Rules: in.GetRules(), Pieces: in.GetPieces(), Unprotected: in.GetUnprotected(), Rounded: in.GetRounded(),
		Lifetime: in.GetLifetime(), Created: in.GetCreated(), Expires: in.GetExpires(), By: o.by(in.GetBy()), ReasonCode: in.GetReasonCode(),
		Phase: in.GetPhase(), End: in.GetEnd(), EndedAt: in.GetEndedAt(), EndedBy: o.by(in.GetEndedBy()), RatePerRule: in.GetRatePerRule(),
		Ladder: in.GetLadder(), Step: in.GetStep(), StepSince: in.GetStepSince(), NextStep: in.GetNextStep(), Pulses: in.GetPulses(),
		QuietTime: in.GetQuietTime(), EndsAt: in.GetEndsAt(), ApprovedAt: in.GetApprovedAt(), BreakGlass: in.GetBreakGlass(),
		BreakGlassUntil: in.GetBreakGlassUntil(), Spared: in.GetSpared(), Confidence: in.GetConfidence(), Collateral: in.GetCollateral(),
	}
	if o.isOwn(in.GetBy()) {
		out.Reason = in.GetReason()
	}
	if o.isOwn(in.GetEndedBy()) {
		out.EndNote = in.GetEndNote()
	}
	for _, e := range in.GetExempt() {
		if e.GetName() != string(o.id) {
			e = &tidegatev1.Exemption{Prefix: e.GetPrefix(), Kind: e.GetKind()}
		}
		out.Exempt = append(out.Exempt, e)
	}
	for _, ev := range in.GetHistory() {
		own := &tidegatev1.Event{At: ev.GetAt(), What: ev.GetWhat(), By: o.by(ev.GetBy())}
		if o.isOwn(ev.GetBy()) && ev.GetWhat() != "asked" {
			own.Text = ev.GetText()
		}
		out.History = append(out.History, own)
	}
	if a := in.GetAwaits(); a != nil {
		out.Awaits = &tidegatev1.Awaiting{Kind: a.GetKind(), What: a.GetWhat(), By: o.by(a.GetBy()), At: a.GetAt(), Until: a.GetUntil()}
	}
	return out
}

// document is the customer's own document; nil for any other.
func (o *owner) document(in *tidegatev1.Document) *tidegatev1.Document {
	c := in.GetCustomer()
	if c == nil || c.GetId() != string(o.id) {
		return nil
	}
	own := &tidegatev1.Customer{
		Id: c.GetId(), Name: c.GetName(), Official: c.GetOfficial(), Contacts: c.GetContacts(), MaxMitigations: c.GetMaxMitigations(),
		MaxRules: c.GetMaxRules(), Mitigation: c.GetMitigation(), ManualVectors: c.GetManualVectors(), Services: c.GetServices(), SelfService: c.GetSelfService(),
	}
	for _, l := range c.GetLinks() {
		own.Links = append(own.Links, &tidegatev1.Link{Prefix: l.GetPrefix(), Pe: l.GetPe(), Interface: l.GetInterface(), State: l.GetState()})
	}
	return &tidegatev1.Document{Document: &tidegatev1.Document_Customer{Customer: own}}
}

// lookup is what a customer is told of an address: whether it is its own, and whether it is protected there. An address of
// somebody else, protected or not, looks like one of nobody.
func (o *owner) lookup(in *tidegatev1.LookupResponse) *tidegatev1.LookupResponse {
	out := &tidegatev1.LookupResponse{Read: in.GetRead()}
	ownLink := in.GetLink() != nil && in.GetLinkCustomer() == string(o.id)
	switch {
	case in.GetCustomer() != string(o.id) && !ownLink:
		out.Text = fmt.Sprintf("The address is not official space of customer %s.", o.id)
		return out
	case in.GetCustomer() == string(o.id):
		out.Customer, out.CustomerName, out.Official = in.GetCustomer(), in.GetCustomerName(), in.GetOfficial()
		out.Text = fmt.Sprintf("The address lies in %s of customer %s.", in.GetOfficial(), o.id)
	}
	if !in.GetProtected() {
		return out
	}
	out.Protected = true
	out.Text = fmt.Sprintf("No rule ever acts on packets to the address: it is protected, and customer %s has it in %s.", o.id, in.GetOfficial())
	if ownLink {
		out.Link, out.LinkCustomer = &tidegatev1.Link{Prefix: in.GetLink().GetPrefix(), Pe: in.GetLink().GetPe(), Interface: in.GetLink().GetInterface(), State: in.GetLink().GetState()}, in.GetLinkCustomer()
		out.Text = fmt.Sprintf("No rule ever acts on packets to the address: it lies in link %s of customer %s.", in.GetLink().GetPrefix(), o.id)
	}
	return out
}

package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tidegate/tidegate/controller"
	"github.com/tidegate/tidegate/policy"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// Domain is the domain of the ErrorInfo of every refusal.
const Domain = "tidegate"

// The reasons in an ErrorInfo that are not a policy.ReasonCode.
const (
	ReasonNotFound       = "not_found"        // the document or mitigation that was asked for does not exist
	ReasonNoLeader       = "no_leader"        // there is no leader at the moment, or it cannot be reached
	ReasonOutcomeUnknown = "outcome_unknown"  // repeat with the same request id
	ReasonNotApplied     = "not_applied"      // certainly not done; try again
	ReasonOverloaded     = "overloaded"       // too much is waiting; try again
	ReasonStopped        = "stopped"          // the node does not decide any more; ask another one
	ReasonTooLarge       = "too_large"        // more than one entry of the log can hold
	ReasonRateLimited    = "rate_limited"     // more calls a second than one principal may make
	ReasonTooManyStreams = "too_many_streams" // more streams than one principal may have open
	ReasonAuditTooEarly  = "audit_too_early"  // not every node runs a version that knows the audit chain
)

// retrySoon is when a caller may try again what failed for want of a leader: elections take about a second.
const retrySoon = time.Second

// malformedError is input that cannot be meant.
type malformedError struct{ violations []*tidegatev1.FieldViolation }

func (e *malformedError) Error() string { return sentence(e.violations) }

// refusedError is an operator's order that was judged and refused.
type refusedError struct {
	verdict policy.Verdict
	details []protoadapt.MessageV1 // what helps to understand, e.g. the plan
}

func (e *refusedError) Error() string { return e.verdict.Reason.Text }

// notFoundError is a name that nothing has.
type notFoundError struct {
	what string
	code policy.ReasonCode // empty: ReasonNotFound
}

func (e *notFoundError) Error() string { return e.what }

// noMitigation is the answer to the number of a mitigation that there is not: the same for reads and for writes.
func noMitigation(id policy.MitigationID) error {
	return &notFoundError{what: "there is no mitigation " + formatID(id), code: policy.CodeUnknownMitigation}
}

// noCustomer is the answer to a customer that there is not.
func noCustomer(st *policy.State, id string) error {
	var known []string
	for c := range st.Customers() {
		known = append(known, string(c.ID))
	}
	return &notFoundError{what: fmt.Sprintf("there is no customer %s; %s", quote(id), thereIs("customer", known)), code: policy.CodeUnknownCustomer}
}

// shownNames is how many names an answer lists that names something else.
const shownNames = 10

// thereIs lists what there is instead.
func thereIs(what string, names []string) string {
	switch n := len(names); {
	case n == 0:
		return "there is none"
	case n > shownNames:
		return fmt.Sprintf("there are %d %ss: %s and %d more", n, what, strings.Join(names[:shownNames], ", "), n-shownNames)
	default:
		return "there is " + strings.Join(names, ", ")
	}
}

// sentence sums up violations: the first one in full, and how many more there are.
func sentence(list []*tidegatev1.FieldViolation) string {
	if len(list) == 0 {
		return "the request is malformed"
	}
	text := describe(list[0])
	if n := len(list) - 1; n > 0 {
		text += fmt.Sprintf(" (and %d more)", n)
	}
	return text
}

// describe is a violation in one line.
func describe(f *tidegatev1.FieldViolation) string {
	var b strings.Builder
	for _, s := range []string{f.GetDocument(), f.GetField()} {
		if s != "" {
			b.WriteString(s + ": ")
		}
	}
	b.WriteString(f.GetProblem())
	if f.GetFix() != "" {
		b.WriteString("; " + f.GetFix())
	}
	return b.String()
}

// bounded keeps an answer within what a response header may hold.
func bounded(list []*tidegatev1.FieldViolation) []*tidegatev1.FieldViolation {
	return list[:min(len(list), maxDetails)]
}

// statusOf is the one table that turns errors into gRPC codes. An error that is not in it is Internal and says
// nothing; known is then false, and whoever asked logs it.
func statusOf(err error) (st *status.Status, known bool) {
	var (
		malformed *malformedError
		refused   *refusedError
		missing   *notFoundError
		follower  *controller.NotLeaderError
	)
	switch {
	case err == nil:
		return status.New(codes.OK, ""), true
	case errors.As(err, &malformed):
		return malformedStatus(malformed), true
	case errors.As(err, &refused):
		return refusedStatus(refused), true
	case errors.As(err, &missing):
		return withInfo(codes.NotFound, cmp.Or(string(missing.code), ReasonNotFound), missing.what), true
	case errors.As(err, &follower):
		return retryStatus(ReasonNoLeader, noLeaderText(follower)), true
	case errors.Is(err, controller.ErrOutcomeUnknown):
		return retryStatus(ReasonOutcomeUnknown, "the leader changed while the request was on its way: it may have been done or not; send the same request with the same request_id again"), true
	case errors.Is(err, controller.ErrNotApplied):
		return retryStatus(ReasonNotApplied, "the request was not carried out; send it again"), true
	case errors.Is(err, controller.ErrOverloaded):
		return retryStatus(ReasonOverloaded, "too many requests are waiting; send it again a little later"), true
	case errors.Is(err, controller.ErrStopped), errors.Is(err, controller.ErrStalled):
		return withInfo(codes.Unavailable, ReasonStopped, "this node does not answer any more; ask another one"), true
	case errors.Is(err, controller.ErrTooLarge):
		return withInfo(codes.FailedPrecondition, ReasonTooLarge, "the change is larger than one entry of the log may be (512 KiB compressed); apply it in several parts"), true
	case errors.Is(err, context.Canceled):
		return status.New(codes.Canceled, "the call was cancelled"), true
	case errors.Is(err, context.DeadlineExceeded):
		return status.New(codes.DeadlineExceeded, "no answer in time; the outcome is unknown: send the same request with the same request_id again"), true
	}
	// Somebody else's status, that of the leader above all, is passed on as it is; a wrapped one is an error of ours.
	if s, ok := err.(interface{ GRPCStatus() *status.Status }); ok {
		return s.GRPCStatus(), true
	}
	return status.New(codes.Internal, "internal error; the node's log says more"), false
}

func malformedStatus(e *malformedError) *status.Status {
	bad := &errdetails.BadRequest{}
	details := []protoadapt.MessageV1{bad}
	for _, f := range bounded(e.violations) {
		field := f.GetField()
		if f.GetDocument() != "" {
			field = strings.TrimSuffix(f.GetDocument()+": "+field, ": ")
		}
		bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{
			Field: field, Description: strings.TrimSuffix(f.GetProblem()+"; "+f.GetFix(), "; "),
		})
		details = append(details, f)
	}
	return withDetails(status.New(codes.InvalidArgument, e.Error()), details...)
}

func refusedStatus(e *refusedError) *status.Status {
	code := codes.FailedPrecondition
	switch e.verdict.Reason.Code {
	case policy.CodeUnknownMitigation, policy.CodeUnknownCustomer, policy.CodeUnknownApproval, policy.CodeUnknownToken:
		code = codes.NotFound
	case policy.CodeInternal:
		code = codes.Internal
	default:
	}
	st := withInfo(code, string(e.verdict.Reason.Code), e.verdict.Reason.Text)
	if e.verdict.Kind == policy.Retry {
		after := max(e.verdict.RetryAfter, time.Millisecond)
		st = withInfo(codes.Unavailable, string(e.verdict.Reason.Code), e.verdict.Reason.Text)
		st = withDetails(st, &errdetails.RetryInfo{RetryDelay: durationpb.New(after)})
	}
	return withDetails(st, e.details...)
}

func retryStatus(reason, text string) *status.Status {
	return withDetails(withInfo(codes.Unavailable, reason, text), &errdetails.RetryInfo{RetryDelay: durationpb.New(retrySoon)})
}

func withInfo(code codes.Code, reason, text string) *status.Status {
	return withDetails(status.New(code, text), &errdetails.ErrorInfo{Reason: reason, Domain: Domain})
}

// withDetails adds details; one that cannot be encoded is left out rather than the answer.
func withDetails(st *status.Status, details ...protoadapt.MessageV1) *status.Status {
	if with, err := st.WithDetails(details...); err == nil {
		return with
	}
	return st
}

func noLeaderText(e *controller.NotLeaderError) string {
	if !e.Known {
		return "there is no leader at the moment; try again in a second"
	}
	return fmt.Sprintf("this node is not the leader any more, that is %s; try again", e.Leader.ID)
}

// refusal turns a decision that refuses into an error; nil when it does not.
func refusal(d policy.Decision, details ...protoadapt.MessageV1) error {
	if d.Verdict.Kind != policy.Refused && d.Verdict.Kind != policy.Retry {
		return nil
	}
	if len(d.Violations) > 0 {
		return &malformedError{violations: fromPolicy(d.Violations)}
	}
	return &refusedError{verdict: d.Verdict, details: details}
}

// FieldViolations returns the violations that a status error of this API carries, for clients.
func FieldViolations(err error) []*tidegatev1.FieldViolation {
	var out []*tidegatev1.FieldViolation
	for _, d := range status.Convert(err).Details() {
		if f, ok := d.(*tidegatev1.FieldViolation); ok {
			out = append(out, f)
		}
	}
	return out
}

// ErrorReason returns the reason code that a status error of this API carries; empty when it carries none.
func ErrorReason(err error) string {
	for _, d := range status.Convert(err).Details() {
		if i, ok := d.(*errdetails.ErrorInfo); ok && i.GetDomain() == Domain {
			return i.GetReason()
		}
	}
	return ""
}

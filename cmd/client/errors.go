package client

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/api/manifest"
	"github.com/tidegate/tidegate/policy"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// The exit codes of the command line. They are part of its interface: scripts tell a refusal from an outage by them.
const (
	ExitDone        = 0
	ExitFailed      = 1
	ExitUsage       = 2
	ExitRefused     = 3
	ExitNotFound    = 4
	ExitUnavailable = 5
	ExitDenied      = 6
	ExitPending     = 7
)

// ExitCode is a line of `tidegate help exit-codes`.
type ExitCode struct {
	Code    int
	Meaning string
}

// ExitCodes lists the exit codes.
func ExitCodes() []ExitCode {
	return []ExitCode{
		{ExitDone, "done"},
		{ExitFailed, "failed: an internal error, or the outcome is not known"},
		{ExitUsage, "malformed: a wrong flag, file, prefix, rate or document (gRPC INVALID_ARGUMENT); mend it, then try again"},
		{ExitRefused, "refused: understood, and not done for the reason printed (gRPC FAILED_PRECONDITION); nothing changed"},
		{ExitNotFound, "not found: there is no such mitigation, customer or document (gRPC NOT_FOUND)"},
		{ExitUnavailable, "unavailable: no server answers, no leader, or overloaded; try again, with the same --request-id if it was a write"},
		{ExitDenied, "not permitted: the certificate's role may not do this, or one of the two certificates was not accepted"},
		{ExitPending, "pending: understood and recorded, and not done before a second person approves it"},
	}
}

// UsageError is malformed input that never reached a server.
type UsageError struct{ Text string }

func (e *UsageError) Error() string { return e.Text }

// NotFoundError is something that was named and is not there, found out without asking a server.
type NotFoundError struct{ Text string }

func (e *NotFoundError) Error() string { return e.Text }

// RefusedError is a refusal that came as a verdict in an answer, not as an error.
type RefusedError struct{ Verdict *pb.Verdict }

func (e *RefusedError) Error() string {
	return fmt.Sprintf("refused (%s): %s", e.Verdict.GetCode(), e.Verdict.GetText())
}

// RetryError is a verdict that asks to come again later.
type RetryError struct{ Verdict *pb.Verdict }

func (e *RetryError) Error() string {
	return fmt.Sprintf("not judged yet (%s): %s", e.Verdict.GetCode(), e.Verdict.GetText())
}

// PendingError is a verdict that something is not done before a second person approves it.
type PendingError struct{ Verdict *pb.Verdict }

func (e *PendingError) Error() string {
	return fmt.Sprintf("awaits approval (%s): %s", e.Verdict.GetApproval(), e.Verdict.GetText())
}

// Await is Judge for an order, which is not carried out either while it awaits a second person.
func Await(v *pb.Verdict) error {
	if v.GetKind() == pb.VerdictKind_VERDICT_KIND_PENDING {
		return &PendingError{Verdict: v}
	}
	return Judge(v)
}

// Judge turns a verdict that did not do what was asked into an error.
func Judge(v *pb.Verdict) error {
	switch v.GetKind() {
	case pb.VerdictKind_VERDICT_KIND_REFUSED:
		return &RefusedError{Verdict: v}
	case pb.VerdictKind_VERDICT_KIND_RETRY:
		return &RetryError{Verdict: v}
	default:
		return nil
	}
}

// ExitOf is the exit code for an error; nil is 0.
func ExitOf(err error) int {
	if err == nil {
		return ExitDone
	}
	if _, ok := errors.AsType[*UsageError](err); ok {
		return ExitUsage
	}
	if _, ok := errors.AsType[*NotFoundError](err); ok {
		return ExitNotFound
	}
	if e, ok := errors.AsType[*RefusedError](err); ok {
		if len(e.Verdict.GetViolations()) > 0 {
			return ExitUsage
		}
		return ExitRefused
	}
	if _, ok := errors.AsType[*RetryError](err); ok {
		return ExitUnavailable
	}
	if _, ok := errors.AsType[*PendingError](err); ok {
		return ExitPending
	}
	switch status.Code(err) {
	case codes.InvalidArgument, codes.OutOfRange:
		return ExitUsage
	case codes.FailedPrecondition, codes.AlreadyExists:
		return ExitRefused
	case codes.NotFound:
		return ExitNotFound
	case codes.Unavailable, codes.ResourceExhausted, codes.DeadlineExceeded, codes.Aborted:
		return ExitUnavailable
	case codes.PermissionDenied, codes.Unauthenticated:
		return ExitDenied
	default:
		return ExitFailed
	}
}

// Explanation is an error in words: a paragraph, then what is wrong field by field.
type Explanation struct {
	Text   string
	Fields []*pb.FieldViolation
}

// Explain puts an error into words: what, where, and how to mend it.
func Explain(err error) Explanation {
	if e, ok := errors.AsType[*RefusedError](err); ok {
		return Explanation{Text: e.Error(), Fields: e.Verdict.GetViolations()}
	}
	st, ok := answered(err)
	if !ok {
		return Explanation{Text: err.Error()}
	}
	err = st.Err()
	out := Explanation{Text: lead(st.Code()) + st.Message(), Fields: api.FieldViolations(err)}
	switch reason := api.ErrorReason(err); {
	case len(out.Fields) == 1: // the message says it all
		out.Fields = nil
	case len(out.Fields) > 1:
		out.Text = fmt.Sprintf("%s%d things are wrong:", lead(st.Code()), len(out.Fields))
	case reason != "":
		out.Text += fmt.Sprintf(" (%s)", reason)
		if policy.ReasonCode(reason) == policy.CodeRemovalsNeedNumber {
			out.Text += "; write --allow-removals and that number"
		}
	}
	return out
}

// answered finds the status in an error, as it came: status.FromError would put what wraps it into the message.
func answered(err error) (*status.Status, bool) {
	if e, ok := errors.AsType[interface {
		error
		GRPCStatus() *status.Status
	}](err); ok {
		return e.GRPCStatus(), true
	}
	return nil, false
}

// Locate turns what a server says of documents into the places in the files that they came from; an error about
// something else comes back as it is.
func Locate(err error, docs []*manifest.Document) error {
	if fields := api.FieldViolations(err); len(fields) > 0 {
		return LocateAll(fields, docs)
	}
	return err
}

// LocateAll is violations with their places in the files, as a *UsageError with a line for each.
func LocateAll(fields []*pb.FieldViolation, docs []*manifest.Document) error {
	lines := make([]string, len(fields))
	for i, f := range fields {
		e, _ := manifest.Locate(docs, f)
		lines[i] = strings.TrimPrefix(e.Error(), ": ")
	}
	return &UsageError{Text: strings.Join(lines, "\n")}
}

// InDoubt begins the text of an error that leaves open whether a write was done.
const InDoubt = "no answer in time (a write may have been done or not): "

// lead is how the paragraph begins, so that the first word tells what kind of trouble it is.
func lead(c codes.Code) string {
	switch c {
	case codes.InvalidArgument, codes.OutOfRange:
		return "malformed: "
	case codes.FailedPrecondition, codes.AlreadyExists:
		return "refused: "
	case codes.NotFound:
		return "not found: "
	case codes.Unavailable:
		return "unavailable: "
	case codes.ResourceExhausted:
		return "overloaded: "
	case codes.DeadlineExceeded:
		return InDoubt
	case codes.Aborted:
		return "the outcome is not known; ask again with the same --request-id: "
	case codes.PermissionDenied:
		return "not permitted: "
	case codes.Unauthenticated:
		return "not recognised: "
	case codes.Unimplemented:
		return "this server is older than the command: "
	default:
		return "failed: "
	}
}

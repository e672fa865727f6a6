package gateway

import (
	"fmt"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/protoadapt"

	"github.com/tidegate/tidegate/api"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// WriteError answers with a google.rpc.Status in JSON. The HTTP status follows from the code, except that a body that is
// too long is 413; what may be tried again says in Retry-After when.
func WriteError(w http.ResponseWriter, st *status.Status) {
	h := w.Header()
	for _, key := range []string{"Trailer", "Transfer-Encoding", "Content-Length"} {
		h.Del(key)
	}
	h.Set("Content-Type", "application/json")
	code := runtime.HTTPStatusFromCode(st.Code())
	if api.ErrorReason(st.Err()) == api.ReasonTooLarge && st.Code() == codes.InvalidArgument {
		code = http.StatusRequestEntityTooLarge
	}
	for _, d := range st.Details() {
		if r, ok := d.(*errdetails.RetryInfo); ok {
			h.Set("Retry-After", strconv.Itoa(int(math.Ceil(r.GetRetryDelay().AsDuration().Seconds()))))
		}
	}
	w.WriteHeader(code)
	_, _ = w.Write(statusJSON(st)) // who went away does not read
}

// statusJSON is a status as it stands in an answer.
func statusJSON(st *status.Status) []byte {
	b, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(st.Proto())
	if err != nil {
		// A detail of a type that this version does not know.
		b, _ = protojson.Marshal(status.New(st.Code(), st.Message()).Proto())
	}
	return b
}

// explain turns an error of the gateway into the status that the caller gets.
func explain(r *http.Request, err error) *status.Status {
	if b, ok := r.Body.(*body); ok && b.tooLarge {
		return errTooLarge()
	}
	return explainText(status.Convert(err))
}

// The forms in which protojson and the query parser name a field.
const fieldPattern = `(?:unknown field|duplicate field|invalid value for [a-z0-9.]+ (?:type|field)) "?([A-Za-z0-9_.\[\]]+)"?`

// explainText gives malformed input the details that malformed input over gRPC has: which field, and what is wrong.
func explainText(st *status.Status) *status.Status {
	if st.Code() != codes.InvalidArgument || len(st.Details()) > 0 {
		return st
	}
	// protojson spaces its messages differently in each build, lest somebody rely on them.
	text := strings.ReplaceAll(st.Message(), "\u00a0", " ")
	text = strings.TrimPrefix(text, "Failed to decode request: ")
	if at := strings.Index(text, "proto: "); at >= 0 {
		text = text[at+len("proto: "):]
	}
	field := ""
	if m := regexp.MustCompile(fieldPattern).FindStringSubmatch(text); m != nil {
		field = m[1]
	}
	return violation(field, text, "see "+OpenAPIPath+" for the fields there are")
}

// violation is malformed input, with the place and the way to mend it.
func violation(field, problem, fix string) *status.Status {
	text := problem + "; " + fix
	if field != "" && !strings.Contains(problem, field) {
		text = field + ": " + text
	}
	return withDetails(status.New(codes.InvalidArgument, text),
		&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: field, Description: problem + "; " + fix}}},
		&tidegatev1.FieldViolation{Field: field, Problem: problem, Fix: fix})
}

func errTooLarge() *status.Status {
	return withDetails(status.New(codes.InvalidArgument, fmt.Sprintf("the body is longer than %d octets; send it in several parts", MaxBody)),
		&errdetails.ErrorInfo{Reason: api.ReasonTooLarge, Domain: api.Domain})
}

// noRoute is the answer to a path or a method that there is not.
func noRoute(r *http.Request, code int) *status.Status {
	switch code {
	case http.StatusNotFound:
		return status.Newf(codes.NotFound, "there is nothing at %q; %s lists what there is", clip(r.URL.Path), OpenAPIPath)
	case http.StatusMethodNotAllowed:
		return status.Newf(codes.Unimplemented, "%s is not a method of %q; %s lists what there is", clip(r.Method), clip(r.URL.Path), OpenAPIPath)
	default:
		return status.Newf(codes.InvalidArgument, "the path %q cannot be read", clip(r.URL.Path))
	}
}

// withDetails adds details; one that cannot be encoded is left out rather than the answer.
func withDetails(st *status.Status, details ...protoadapt.MessageV1) *status.Status {
	if with, err := st.WithDetails(details...); err == nil {
		return with
	}
	return st
}

// clip shortens what a stranger wrote.
func clip(s string) string {
	if len(s) > 100 {
		return strings.ToValidUTF8(s[:100], "") + "…"
	}
	return s
}

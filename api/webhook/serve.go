package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/api/gateway"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// ServeHTTP takes one request. The answer is a ReportResponse, with the verdict on each signal, as soon as there is one:
// 200 when all were judged, 400 when one is malformed, 503 when one should come again. Everything else is an error as
// everywhere in the API.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := &recorder{ResponseWriter: w, code: http.StatusOK}
	name := "unknown"
	one, ok := h.named(r)
	switch {
	case !ok:
		gateway.WriteError(rec, status.New(codes.NotFound, "there is no such webhook"))
	case r.Method != http.MethodPost:
		name = one.Name
		gateway.WriteError(rec, status.New(codes.Unimplemented, "a webhook takes POST"))
	default:
		name = one.Name
		if err := h.serve(rec, r, one); err != nil {
			st := status.Convert(err)
			gateway.WriteError(rec, st)
			h.deps.Logger.LogAttrs(r.Context(), slog.LevelDebug, "webhook refused", slog.String("webhook", name), slog.String("code", st.Code().String()), slog.String("answer", st.Message()))
		}
	}
	h.metrics.WithLabelValues(name, strconv.Itoa(rec.code)).Inc()
}

// recorder notes the status of an answer.
type recorder struct {
	http.ResponseWriter
	code int
}

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(code int) {
	r.code = code
	r.ResponseWriter.WriteHeader(code)
}

// serve takes what one sends. Strangers are turned away before their body is read, as far as that can be; and before
// they can use up what the source may send.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, one *hook) error {
	received := h.deps.Now()
	release, ok := h.slot(r.Context())
	if !ok {
		return unavailable("too many requests to webhooks are in flight", time.Second)
	}
	defer release()
	p := proof{}
	state, err := h.before(r, one, &p, received)
	if err != nil {
		return err
	}
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	if one.Proof == HMAC {
		if err := one.secret.verify(&p, body); err != nil {
			return err
		}
	}
	if wait := one.limit.take(received); wait > 0 {
		st := status.Newf(codes.ResourceExhausted, "webhook %s takes %v requests a second", one.Name, one.PerSecond)
		return withDetails(st, &errdetails.RetryInfo{RetryDelay: durationpb.New(wait)}).Err()
	}
	if one.Proof == HMAC {
		if err := one.secret.once(&p, received); err != nil {
			return err
		}
	}
	at := received
	if one.Proof == HMAC {
		at = p.at // the same on every node that a request is sent to
	}
	return h.report(r.Context(), w, one, state, body, at)
}

// before proves what can be proved without the body. The state is that of a request with a certificate.
func (h *Handler) before(r *http.Request, one *hook, p *proof, now time.Time) (*tls.ConnectionState, error) {
	switch one.Proof {
	case Bearer:
		return nil, one.secret.bearer(r.Header)
	case HMAC:
		return nil, one.secret.read(r.Header, now, p)
	case Certificate:
	}
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return nil, status.Errorf(codes.Unauthenticated, "webhook %s takes a client certificate of detector/%s", one.Name, one.Source)
	}
	id, err := auth.FromCertificate(r.TLS.VerifiedChains[0][0], h.cluster)
	if err != nil {
		return nil, status.Error(codes.Unauthenticated, err.Error())
	}
	if id != (auth.Identity{Role: auth.Detector, Name: one.Source}) {
		return nil, status.Errorf(codes.PermissionDenied, "%s may not post to webhook %s: it takes a certificate of detector/%s", id, one.Name, one.Source)
	}
	return r.TLS, nil
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > MaxBody {
		return nil, tooLarge()
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if _, long := errors.AsType[*http.MaxBytesError](err); long {
		return nil, tooLarge()
	}
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "the body did not come whole")
	}
	return body, nil
}

func tooLarge() error {
	st := status.Newf(codes.InvalidArgument, "the body is longer than %d octets; send it in several parts", MaxBody)
	return withDetails(st, &errdetails.ErrorInfo{Reason: api.ReasonTooLarge, Domain: api.Domain}).Err()
}

// report turns the body into signals and has them judged.
func (h *Handler) report(ctx context.Context, w http.ResponseWriter, one *hook, state *tls.ConnectionState, body []byte, at time.Time) error {
	things, err := one.mapping.read(ctx, body, at)
	if err != nil {
		return err
	}
	client, done, err := h.client(one, state)
	if err != nil {
		return err
	}
	defer done()
	verdicts := make([]*tidegatev1.Verdict, len(things))
	if err := judge(ctx, client, things, verdicts); err != nil {
		return err
	}
	code, wait := http.StatusOK, time.Duration(0)
	for i, v := range verdicts {
		if len(v.GetViolations()) > 0 {
			code = http.StatusBadRequest
			h.deps.Logger.WarnContext(ctx, "webhook cannot be read", "webhook", one.Name, "item", i, "problem", v.GetText())
		}
		if v.GetKind() == tidegatev1.VerdictKind_VERDICT_KIND_RETRY {
			wait = max(wait, v.GetRetryAfter().AsDuration(), time.Second)
		}
	}
	header := w.Header()
	if wait > 0 {
		// The others were judged, and are the same again.
		code = http.StatusServiceUnavailable
		header.Set("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
	}
	out, err := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}.Marshal(&tidegatev1.ReportResponse{Verdicts: verdicts})
	if err != nil {
		return err
	}
	header.Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(out) // who went away does not read
	return nil
}

// judge reports things, each in the first of its forms that is neither older than what is known of its attack nor
// contradicts it.
func judge(ctx context.Context, client tidegatev1.SignalServiceClient, things []thing, verdicts []*tidegatev1.Verdict) error {
	var at []int
	for i, t := range things {
		if verdicts[i] = t.malformed; t.malformed == nil {
			at = append(at, i)
		}
	}
	for form := 0; len(at) > 0; form++ {
		req := &tidegatev1.ReportRequest{}
		for _, i := range at {
			req.Signals = append(req.Signals, things[i].forms[form])
		}
		resp, err := client.Report(ctx, req)
		if err != nil {
			return err
		}
		if len(resp.GetVerdicts()) != len(at) {
			return status.Error(codes.Internal, "not every signal was answered")
		}
		var again []int
		for j, v := range resp.GetVerdicts() {
			verdicts[at[j]] = v
			if outdated(v) && form+1 < len(things[at[j]].forms) {
				again = append(again, at[j])
			}
		}
		at = again
	}
	return nil
}

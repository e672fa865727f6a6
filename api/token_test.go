package api_test

import (
	"context"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/api/gateway"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// token makes a token known to the lab and returns it.
func (l *lab) token(name, role string, change ...func(*tidegatev1.CreateTokenRequest)) string {
	l.t.Helper()
	text, err := auth.NewToken(testCluster, name)
	if err != nil {
		l.t.Fatal(err)
	}
	hash := auth.TokenHash(text)
	req := &tidegatev1.CreateTokenRequest{
		RequestId: "token-" + name, Reason: "test", Name: name, Role: role, Lifetime: durationpb.New(time.Hour), Hash: hex.EncodeToString(hash[:]),
	}
	for _, f := range change {
		f(req)
	}
	if _, err := tidegatev1.NewTokenServiceClient(l.dial("n2", auth.Admin, "root")).CreateToken(l.t.Context(), req); err != nil {
		l.t.Fatal(err)
	}
	return text
}

// revoke ends a token.
func (l *lab) revoke(name string) {
	l.t.Helper()
	req := &tidegatev1.RevokeTokenRequest{RequestId: "revoke-" + name, Reason: "lost", Name: name}
	if _, err := tidegatev1.NewTokenServiceClient(l.dial("n1", auth.Admin, "root")).RevokeToken(l.t.Context(), req); err != nil {
		l.t.Fatal(err)
	}
}

// bare returns a connection without a certificate; with a token it bears that.
func (l *lab) bare(to, token string) *grpc.ClientConn {
	l.t.Helper()
	cfg, _, _, err := auth.ClientTLS(l.issue(auth.Viewer, "x"))
	if err != nil {
		l.t.Fatal(err)
	}
	cfg.Certificates = nil
	opts := api.DialOptions(cfg)
	if token != "" {
		opts = append(opts, grpc.WithPerRPCCredentials(auth.Bearer(token)))
	}
	conn, err := grpc.NewClient("passthrough:///"+l.nodes[to].addr, opts...)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func list(t *testing.T, conn grpc.ClientConnInterface) error {
	t.Helper()
	_, err := tidegatev1.NewMitigationServiceClient(conn).List(t.Context(), &tidegatev1.ListRequest{})
	return err
}

// TestTokens: what a token is good for, over gRPC and REST, on the leader and through a follower, and what the audit says.
func TestTokens(t *testing.T) {
	l := newLab(t, "n1", "n2")
	l.load()
	if err := list(t, l.bare("n1", "")); err == nil || status.Code(err) != codes.Unavailable {
		t.Errorf("without any token a certificate is demanded in the handshake: %v", err)
	}
	operator, viewer := l.token("bot", "operator"), l.token("eyes", "viewer")
	detector := l.token("probe", "detector", func(r *tidegatev1.CreateTokenRequest) { r.Source = "fnm-1" })
	customer := l.token("portal", "customer", func(r *tidegatev1.CreateTokenRequest) { r.Customer = "uni-a" })
	if err := list(t, l.bare("n1", "")); status.Code(err) != codes.Unauthenticated {
		t.Errorf("neither a certificate nor a token: %v", err)
	}
	for _, node := range []string{"n1", "n2"} {
		m := startMitigation(t, l.bare(node, operator), map[string]string{"n1": "203.0.113.9", "n2": "203.0.113.130"}[node])
		head, _ := l.fake.State().AuditHead()
		if m.GetBy() != "operator/bot;token=bot" || string(head.By) != m.GetBy() {
			t.Errorf("%s: by %s, and the audit says %s", node, m.GetBy(), head.By)
		}
	}
	if err := list(t, l.bare("n2", viewer)); err != nil {
		t.Error(err)
	}
	if _, err := tidegatev1.NewTokenServiceClient(l.bare("n1", operator)).ListTokens(t.Context(), &tidegatev1.ListTokensRequest{}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("an operator's token lists tokens: %v", err)
	}
	own, err := tidegatev1.NewMitigationServiceClient(l.bare("n1", customer)).List(t.Context(), &tidegatev1.ListRequest{})
	if err != nil || len(own.GetMitigations()) != 1 || own.GetMitigations()[0].GetCustomer() != "uni-a" {
		t.Errorf("a customer's token sees %v, %v", own, err)
	}
	reported, err := tidegatev1.NewSignalServiceClient(l.bare("n2", detector)).Report(t.Context(), &tidegatev1.ReportRequest{Signals: []*tidegatev1.Signal{{
		AttackId: "a", Seq: 1, Kind: tidegatev1.SignalKind_SIGNAL_KIND_START, Targets: []string{"203.0.113.99"}, Vector: "dns_amplification", BitsPerSecond: 1e9,
	}}})
	if err != nil || reported.GetVerdicts()[0].GetMitigation() == "" {
		t.Fatalf("a detector's token reports: %v, %v", reported, err)
	}
	head, _ := l.fake.State().AuditHead()
	if head.By != "detector/fnm-1;token=probe" || !strings.Contains(strings.Join(head.Objects, " "), "Attack/fnm-1/a") {
		t.Errorf("the audit says %s of %v", head.By, head.Objects)
	}

	url, web := l.rest("n1", gateway.Config{}), l.web("", "x")
	if got := ask(t, web, http.MethodGet, url+"/v1/mitigations", "", "Authorization", "Bearer "+viewer); got.code != http.StatusOK {
		t.Errorf("REST: %d %s", got.code, got.body)
	}
	for name, header := range map[string]string{"none": "", "another": "Bearer " + viewer[:len(viewer)-2] + "AA", "not a bearer": "Basic " + viewer} {
		if got := ask(t, web, http.MethodGet, url+"/v1/mitigations", "", "Authorization", header); got.code != http.StatusUnauthorized {
			t.Errorf("REST with %s: %d %s", name, got.code, got.body)
		}
	}
	for _, secret := range []string{operator, viewer, detector, customer} {
		if part := secret[strings.LastIndex(secret, "~")+1:]; strings.Contains(l.logs.String(), part) {
			t.Error("a token is in the log")
		}
	}
}

// TestTokensRefused: what a token is not good for, and that nothing is learned from how it is refused.
func TestTokensRefused(t *testing.T) {
	l := newLab(t, "n1", "n2")
	l.load()
	good, revoked := l.token("good", "viewer"), l.token("revoked", "viewer")
	l.revoke("revoked")
	fresh := func(cluster, name string) string {
		s, err := auth.NewToken(cluster, name)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	const answer = "the token is not known here, or is not good any more"
	for _, row := range []struct{ name, token, text string }{
		{"another secret", fresh(testCluster, "good"), answer},
		{"an unknown name", fresh(testCluster, "nobody"), answer},
		{"revoked", revoked, answer},
		{"of another cluster", fresh("prod", "good"), `belongs to cluster "prod"`},
		{"cut short", good[:len(good)-1], "cannot read token"},
		{"with more", good + "A", "cannot read token"},
		{"its hash", "tdg~" + testCluster + "~good~" + hex.EncodeToString(make([]byte, 32)), "cannot read token"},
		{"not one", "hello", "cannot read token"},
	} {
		t.Run(row.name, func(t *testing.T) {
			err := list(t, l.bare("n1", row.token))
			if status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), row.text) || strings.Contains(err.Error(), row.token) {
				t.Errorf("%v", err)
			}
		})
	}
	t.Run("good", func(t *testing.T) {
		if err := list(t, l.bare("n1", good)); err != nil {
			t.Error(err)
		}
	})
	t.Run("beside a certificate", func(t *testing.T) {
		ctx := metadata.AppendToOutgoingContext(t.Context(), auth.Authorization, "Bearer "+good)
		_, err := tidegatev1.NewMitigationServiceClient(l.dial("n1", auth.Viewer, "v")).List(ctx, &tidegatev1.ListRequest{})
		if status.Code(err) != codes.Unauthenticated || !strings.Contains(err.Error(), "show one of them") {
			t.Errorf("%v", err)
		}
	})
	t.Run("forwarded by a node that has not heard of the end", func(t *testing.T) {
		for behalf, want := range map[string]codes.Code{
			"viewer/good;token=good": codes.OK, "viewer/revoked;token=revoked": codes.Unauthenticated, "viewer/x;token=nobody": codes.Unauthenticated,
			"operator/good;token=good": codes.Unauthenticated, "admin/root;token=good": codes.Unauthenticated,
		} {
			ctx := metadata.NewOutgoingContext(t.Context(), metadata.Pairs(auth.OnBehalfOf, behalf, auth.Hop, "1"))
			_, err := tidegatev1.NewMitigationServiceClient(l.dial("n1", auth.Member, "n2")).List(ctx, &tidegatev1.ListRequest{})
			if status.Code(err) != want {
				t.Errorf("%s: %v, want %v", behalf, err, want)
			}
		}
	})
	t.Run("in the clear", func(t *testing.T) {
		conn, err := grpc.NewClient("passthrough:///"+l.nodes["n1"].addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithPerRPCCredentials(auth.Bearer(good)))
		if err == nil {
			_ = conn.Close()
			t.Error("a client would send a token without TLS")
		}
	})
}

// TestTokenEndsStreams: a stream that was opened with a token ends with it.
func TestTokenEndsStreams(t *testing.T) {
	l := newLab(t, "n1", "n2")
	l.load()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := tidegatev1.NewMitigationServiceClient(l.bare("n2", l.token("eyes", "viewer"))).Watch(ctx, &tidegatev1.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Header(); err != nil { // it is listened to
		t.Fatal(err)
	}
	l.revoke("eyes")
	if _, err := stream.Recv(); status.Code(err) != codes.Unauthenticated {
		t.Errorf("after the end: %v", err)
	}
}

// TestTokenLimit: a token has the calls that it was given.
func TestTokenLimit(t *testing.T) {
	l := newLab(t, "n1", "n2")
	l.load()
	slow := l.bare("n1", l.token("slow", "viewer", func(r *tidegatev1.CreateTokenRequest) { r.PerSecond = 1 }))
	var last error
	for range 200 { // far more than pass in the time that they take
		if last = list(t, slow); last != nil {
			break
		}
	}
	if status.Code(last) != codes.ResourceExhausted || api.ErrorReason(last) != api.ReasonRateLimited {
		t.Errorf("%v", last)
	}
}

// TestFirstTokenWaitsForAllNodes: a node that does not know tokens would stop at the first.
func TestFirstTokenWaitsForAllNodes(t *testing.T) {
	l := newLab(t, "n1", "n2")
	l.load()
	l.nodes["n2"].stop()
	_, err := tidegatev1.NewTokenServiceClient(l.dial("n1", auth.Admin, "root")).CreateToken(t.Context(), &tidegatev1.CreateTokenRequest{
		RequestId: "t", Reason: "bot", Name: "ci", Role: "viewer", Lifetime: durationpb.New(time.Hour), Hash: strings.Repeat("ab", 32),
	})
	if api.ErrorReason(err) != api.ReasonTokensTooEarly || !strings.Contains(err.Error(), "n2 (does not answer)") {
		t.Errorf("%v", err)
	}
}

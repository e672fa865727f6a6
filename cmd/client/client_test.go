package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/api/auth/pki"
	"github.com/tidegate/tidegate/api/manifest"
	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

func withDetails(t *testing.T, c codes.Code, text string, details ...protoadapt.MessageV1) error {
	t.Helper()
	st, err := status.New(c, text).WithDetails(details...)
	if err != nil {
		t.Fatal(err)
	}
	return st.Err()
}

func TestExitOf(t *testing.T) {
	verdict := func(k pb.VerdictKind, fields ...*pb.FieldViolation) error {
		return Judge(&pb.Verdict{Kind: k, Code: "c", Text: "t", Violations: fields})
	}
	rows := []struct {
		name string
		err  error
		want int
	}{
		{"nothing", nil, ExitDone},
		{"an error of ours", errors.New("x"), ExitFailed},
		{"usage", &UsageError{Text: "x"}, ExitUsage},
		{"wrapped usage", fmt.Errorf("y: %w", &UsageError{Text: "x"}), ExitUsage},
		{"not found here", fmt.Errorf("y: %w", &NotFoundError{Text: "x"}), ExitNotFound},
		{"mitigated", verdict(pb.VerdictKind_VERDICT_KIND_MITIGATED), ExitDone},
		{"merged", verdict(pb.VerdictKind_VERDICT_KIND_MERGED), ExitDone},
		{"observed", verdict(pb.VerdictKind_VERDICT_KIND_OBSERVED), ExitDone},
		{"ended", verdict(pb.VerdictKind_VERDICT_KIND_ENDED), ExitDone},
		{"refused", verdict(pb.VerdictKind_VERDICT_KIND_REFUSED), ExitRefused},
		{"malformed", verdict(pb.VerdictKind_VERDICT_KIND_REFUSED, &pb.FieldViolation{Field: "f"}), ExitUsage},
		{"retry", verdict(pb.VerdictKind_VERDICT_KIND_RETRY), ExitUnavailable},
	}
	for code, want := range map[codes.Code]int{
		codes.OK: ExitDone, codes.Canceled: ExitFailed, codes.Unknown: ExitFailed, codes.InvalidArgument: ExitUsage, codes.DeadlineExceeded: ExitUnavailable,
		codes.NotFound: ExitNotFound, codes.AlreadyExists: ExitRefused, codes.PermissionDenied: ExitDenied, codes.ResourceExhausted: ExitUnavailable,
		codes.FailedPrecondition: ExitRefused, codes.Aborted: ExitUnavailable, codes.OutOfRange: ExitUsage, codes.Unimplemented: ExitFailed,
		codes.Internal: ExitFailed, codes.Unavailable: ExitUnavailable, codes.DataLoss: ExitFailed, codes.Unauthenticated: ExitDenied,
	} {
		err := status.Error(code, "x")
		rows = append(rows, struct {
			name string
			err  error
			want int
		}{code.String(), err, want})
		if err != nil {
			rows = append(rows, struct {
				name string
				err  error
				want int
			}{code.String() + ", wrapped", fmt.Errorf("y: %w", errors.Join(err)), want})
		}
	}
	known := map[int]bool{}
	for _, c := range ExitCodes() {
		known[c.Code] = true
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			if got := ExitOf(r.err); got != r.want || !known[got] {
				t.Errorf("got %d, want %d, documented: %v", got, r.want, known[got])
			}
		})
	}
}

func TestExplain(t *testing.T) {
	one, two := &pb.FieldViolation{Field: "targets[0]", Problem: "has host bits", Fix: "write 203.0.113.0/24"}, &pb.FieldViolation{Field: "reason", Problem: "it is missing"}
	rows := []struct {
		name string
		err  error
		want Explanation
	}{
		{"ours", errors.New("disk full"), Explanation{Text: "disk full"}},
		{"a wrapped status", errors.Join(status.Error(codes.NotFound, "there is no mitigation M9")), Explanation{Text: "not found: there is no mitigation M9"}},
		{"a refusal", withDetails(t, codes.FailedPrecondition, "a link", &errdetails.ErrorInfo{Reason: "target_protected", Domain: api.Domain}), Explanation{Text: "refused: a link (target_protected)"}},
		{"the brake", withDetails(t, codes.FailedPrecondition, "allow 4", &errdetails.ErrorInfo{Reason: "removals_need_number", Domain: api.Domain}), Explanation{Text: "refused: allow 4 (removals_need_number); write --allow-removals and that number"}},
		{"one field", withDetails(t, codes.InvalidArgument, "targets[0]: has host bits", one), Explanation{Text: "malformed: targets[0]: has host bits"}},
		{"two fields", withDetails(t, codes.InvalidArgument, "targets[0]: has host bits (and 1 more)", one, two), Explanation{Text: "malformed: 2 things are wrong:", Fields: []*pb.FieldViolation{one, two}}},
		{"a verdict", Judge(&pb.Verdict{Kind: pb.VerdictKind_VERDICT_KIND_REFUSED, Code: "c", Text: "no", Violations: []*pb.FieldViolation{two}}), Explanation{Text: "refused (c): no", Fields: []*pb.FieldViolation{two}}},
		{"an unknown outcome", status.Error(codes.DeadlineExceeded, "no answer in time"), Explanation{Text: "no answer in time (a write may have been done or not): no answer in time"}},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			if diff := cmp.Diff(r.want, Explain(r.err), protocmp.Transform()); diff != "" {
				t.Errorf("explanation (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLocate(t *testing.T) {
	docs, err := manifest.Parse("a.yaml", []byte("kind: Customer\nid: x\nofficial: [203.0.113.1/24]\n"))
	if err != nil {
		t.Fatal(err)
	}
	in := withDetails(t, codes.InvalidArgument, "x", &pb.FieldViolation{Document: "Customer/x", Field: "official[0]", Problem: "has host bits", Fix: "write 203.0.113.0/24"})
	got := Locate(in, docs)
	if want := "a.yaml:3:12: official[0]: has host bits; write 203.0.113.0/24"; got.Error() != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if ExitOf(got) != ExitUsage {
		t.Errorf("exit code %d, want %d", ExitOf(got), ExitUsage)
	}
	other := status.Error(codes.Unavailable, "x")
	if got := Locate(other, docs); !errors.Is(got, other) {
		t.Errorf("got %v, want the same error", got)
	}
}

// answerer answers Status with its own name, or with an error.
type answerer struct {
	pb.UnimplementedClusterServiceServer
	name string
	err  error
}

func (a *answerer) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	return &pb.StatusResponse{Leader: a.name}, a.err
}

// lab is an authority and a client's directory.
func lab(t *testing.T) (*pki.CA, string) {
	t.Helper()
	ca, err := pki.NewCA("demo")
	if err != nil {
		t.Fatal(err)
	}
	b, err := ca.Issue(auth.Viewer, "carol")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "carol")
	if err := b.Write(dir, false); err != nil {
		t.Fatal(err)
	}
	return ca, dir
}

func serve(t *testing.T, ca *pki.CA, a *answerer) string {
	t.Helper()
	b, err := ca.Issue(auth.Member, a.name, "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), a.name)
	if err := b.Write(dir, false); err != nil {
		t.Fatal(err)
	}
	cfg, err := auth.ServerTLS(auth.FilesIn(dir), "demo")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(grpc.Creds(credentials.NewTLS(cfg)))
	pb.RegisterClusterServiceServer(g, a)
	ended := make(chan error, 1)
	go func() { ended <- g.Serve(l) }()
	t.Cleanup(func() {
		g.Stop()
		<-ended
	})
	return l.Addr().String()
}

// nobody is an address that nobody listens on.
func nobody(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestServersInOrder(t *testing.T) {
	ca, dir := lab(t)
	first := serve(t, ca, &answerer{name: "n1"})
	second := serve(t, ca, &answerer{name: "n2"})
	leaderless := serve(t, ca, &answerer{name: "n3", err: status.Error(codes.Unavailable, "there is no leader")})
	refusing := serve(t, ca, &answerer{name: "n4", err: status.Error(codes.FailedPrecondition, "no")})
	rows := []struct {
		name    string
		servers []string
		want    string
		code    codes.Code
	}{
		{"the first answers", []string{first, second}, "n1", codes.OK},
		{"nobody, then the second", []string{nobody(t), second}, "n2", codes.OK},
		{"unavailable, then the second", []string{leaderless, second}, "n2", codes.OK},
		{"a refusal is an answer", []string{refusing, first}, "", codes.FailedPrecondition},
		{"nobody at all", []string{nobody(t), leaderless}, "", codes.Unavailable},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			c, err := New(Config{Servers: r.servers, TLSDir: dir})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			got, err := c.Cluster.Status(t.Context(), &pb.StatusRequest{})
			if status.Code(err) != r.code || got.GetLeader() != r.want {
				t.Errorf("got %q, %v; want %q, %s", got.GetLeader(), err, r.want, r.code)
			}
		})
	}
}

func TestPatience(t *testing.T) {
	calls := 0
	p := &pool{conns: []*grpc.ClientConn{nil}, servers: []string{"127.0.0.1:7400"}, patience: time.Minute}
	err := p.each(t.Context(), func(*grpc.ClientConn) error {
		if calls++; calls < 3 {
			return status.Error(codes.Unavailable, "no leader")
		}
		return nil
	})
	if err != nil || calls != 3 {
		t.Errorf("got %v after %d calls, want none after 3", err, calls)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = p.each(ctx, func(*grpc.ClientConn) error {
		cancel()
		return status.Error(codes.Unavailable, "no leader")
	})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("cancelled: got %v, want the last answer", err)
	}
}

func TestNewRefuses(t *testing.T) {
	_, dir := lab(t)
	rows := []struct {
		name string
		cfg  Config
		want string
	}{
		{"no server", Config{TLSDir: dir}, "--server"},
		{"no certificate", Config{Servers: []string{"127.0.0.1:1"}}, "--tls-dir"},
		{"an empty directory", Config{Servers: []string{"127.0.0.1:1"}, TLSDir: t.TempDir()}, "ca.pem, cert.pem and key.pem"},
	}
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			_, err := New(r.cfg)
			if err == nil || !strings.Contains(err.Error(), r.want) || ExitOf(err) != ExitUsage {
				t.Errorf("got %v with exit code %d, want one that names %s with exit code %d", err, ExitOf(err), r.want, ExitUsage)
			}
		})
	}
}

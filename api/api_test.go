package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/api/auth"
	"github.com/tidegate/tidegate/api/manifest"
	"github.com/tidegate/tidegate/controller"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// startMitigation starts a mitigation for one address and returns it.
func startMitigation(t *testing.T, conn *grpc.ClientConn, target string) *tidegatev1.Mitigation {
	t.Helper()
	resp, err := tidegatev1.NewMitigationServiceClient(conn).Start(t.Context(), &tidegatev1.StartRequest{
		RequestId: "start-" + target, Reason: "flood", Targets: []string{target}, Match: "proto udp sport 53",
		Action: &tidegatev1.Action{Rate: "8Mbps"}, Lifetime: durationpb.New(30 * time.Minute),
	})
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetMitigation()
}

// The life of a mitigation, every step through a follower.
func TestByHandThroughFollower(t *testing.T) {
	l := newLab(t, "n1", "n2", "n3")
	l.load()
	conn := l.dial("n2", auth.Operator, "alice")
	client := tidegatev1.NewMitigationServiceClient(conn)
	ctx := t.Context()

	preview, err := client.Preview(ctx, &tidegatev1.PreviewRequest{Start: &tidegatev1.StartRequest{
		Targets: []string{"203.0.113.0/24"}, Match: "proto udp", Action: &tidegatev1.Action{Rate: "80Mbps"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if k := preview.GetVerdict().GetKind(); k != tidegatev1.VerdictKind_VERDICT_KIND_MITIGATED {
		t.Errorf("preview: %v", preview.GetVerdict())
	}
	var exempt []string
	for _, e := range preview.GetMitigation().GetExempt() {
		exempt = append(exempt, e.GetPrefix()+" "+e.GetKind())
	}
	if diff := cmp.Diff([]string{"203.0.113.4/30 link", "203.0.113.128/26 nested-customer"}, exempt); diff != "" {
		t.Errorf("exempt (-want +got):\n%s", diff)
	}
	if got := l.fake.State().ActiveCount(); got != 0 {
		t.Errorf("%d mitigations after a preview", got)
	}

	m := startMitigation(t, conn, "203.0.113.77")
	want := &tidegatev1.Mitigation{
		Id: "M1", Customer: "uni-a", Origin: "operator", By: "operator/alice", Phase: "active",
		Targets: []string{"203.0.113.77/32"}, Pieces: []string{"203.0.113.77/32"}, Action: &tidegatev1.Action{Rate: "8Mbps"},
		Routers: []string{"edge1", "edge2"}, RatePerRule: "8Mbps", RateTotal: "16Mbps",
		Rules: []string{"dst 203.0.113.77/32 proto udp sport 53 => rate 8Mbps"},
		Prices: []*tidegatev1.Price{{Profile: "gobgp", Unit: "routes", Entries: 1, RuleEntries: []uint32{1}, Routers: []*tidegatev1.RouterRoom{
			{Router: "edge1", Rules: 1, RulesStop: 800}, {Router: "edge2", Rules: 1, RulesStop: 800},
		}}},
	}
	ignore := protocmp.IgnoreFields(&tidegatev1.Mitigation{}, "notes", "lifetime", "created", "expires", "reason_code", "reason", "changed", "history")
	if diff := cmp.Diff(want, m, protocmp.Transform(), ignore); diff != "" {
		t.Errorf("mitigation (-want +got):\n%s", diff)
	}

	// The same request again is answered and not done again.
	again, err := client.Start(ctx, &tidegatev1.StartRequest{
		RequestId: "start-203.0.113.77", Reason: "flood", Targets: []string{"203.0.113.77"}, Match: "proto udp sport 53",
		Action: &tidegatev1.Action{Rate: "8Mbps"}, Lifetime: durationpb.New(30 * time.Minute),
	})
	if err != nil || !again.GetWrite().GetRepeatedRequest() || again.GetMitigation().GetId() != "M1" || l.fake.State().ActiveCount() != 1 {
		t.Errorf("repeated Start() = %v, %v", again, err)
	}

	ext, err := client.Extend(ctx, &tidegatev1.ExtendRequest{RequestId: "e", Reason: "goes on", Id: "M1", Lifetime: durationpb.New(3 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if got := ext.GetMitigation().GetExpires().AsTime(); !got.Equal(start0.Add(3 * time.Hour)) {
		t.Errorf("expires %v", got)
	}
	got, err := client.Get(ctx, &tidegatev1.GetRequest{Id: "M1"})
	if err != nil || got.GetRead().GetNode() != "n2" || got.GetRead().GetAge().AsDuration() != 50*time.Millisecond || got.GetRead().GetIndex() == 0 {
		t.Errorf("Get() = %v, %v", got.GetRead(), err)
	}
	wd, err := client.Withdraw(ctx, &tidegatev1.WithdrawRequest{RequestId: "w", Reason: "over", Id: "M1"})
	if err != nil {
		t.Fatal(err)
	}
	// The lease of an hour is shorter than the three that were left.
	if !wd.GetGoneAtLatest().AsTime().Equal(start0.Add(time.Hour)) || wd.GetMitigation().GetPhase() != "over" || wd.GetMitigation().GetEnd() != "withdrawn" {
		t.Errorf("Withdraw() = %v", wd)
	}
	list, err := client.List(ctx, &tidegatev1.ListRequest{})
	if err != nil || len(list.GetMitigations()) != 0 {
		t.Errorf("List() = %v, %v", list, err)
	}
	startMitigation(t, conn, "203.0.113.8")
	startMitigation(t, conn, "203.0.113.9")
	list, err = client.List(ctx, &tidegatev1.ListRequest{IncludeOver: true, Limit: 2})
	if err != nil || len(list.GetMitigations()) != 2 || list.GetMitigations()[0].GetId() != "M3" || list.GetMitigations()[1].GetId() != "M2" {
		t.Errorf("List(2) = %v, %v", list, err)
	}
	all, err := client.WithdrawAll(ctx, &tidegatev1.WithdrawAllRequest{RequestId: "wa", Reason: "over", Customer: "uni-a"})
	if err != nil || !cmp.Equal([]string{"M2", "M3"}, all.GetIds()) || !all.GetGoneAtLatest().AsTime().Equal(start0.Add(30*time.Minute)) {
		t.Errorf("WithdrawAll() = %v, %v", all, err)
	}
	for _, want := range []string{"method=tidegate.v1.MitigationService/Start", "by=operator/alice", "via=n2", "request_id=wa", "code=OK"} {
		if !strings.Contains(l.logs.String(), want) {
			t.Errorf("the log has no %s:\n%s", want, l.logs.String())
		}
	}
}

// A forwarded call is never forwarded again, whoever the nodes take for the leader.
func TestOneHop(t *testing.T) {
	l := newLab(t, "n1", "n2", "n3")
	l.load()
	l.nodes["n2"].ctrl.Believes = "n3"
	l.nodes["n3"].ctrl.Believes = "n2"
	client := tidegatev1.NewMitigationServiceClient(l.dial("n2", auth.Operator, "alice"))
	_, err := client.WithdrawAll(t.Context(), &tidegatev1.WithdrawAllRequest{RequestId: "x", Reason: "y"})
	if status.Code(err) != codes.Unavailable || api.ErrorReason(err) != api.ReasonNoLeader {
		t.Errorf("got %v", err)
	}
	_, err = client.Preview(t.Context(), &tidegatev1.PreviewRequest{Start: &tidegatev1.StartRequest{Targets: []string{"203.0.113.77"}, Action: &tidegatev1.Action{Discard: true}}})
	if status.Code(err) != codes.Unavailable || api.ErrorReason(err) != api.ReasonNoLeader {
		t.Errorf("preview: got %v", err)
	}
}

// What fails for the moment is Unavailable with a reason and a time to try again.
func TestUnavailable(t *testing.T) {
	l := newLab(t, "n1", "n2")
	l.load()
	for _, row := range []struct {
		name  string
		setup func()
		at    string
		want  string
		code  codes.Code
	}{
		{"no leader", func() { l.fake.Lead("") }, "n1", api.ReasonNoLeader, codes.Unavailable},
		{"outcome unknown", func() { l.fake.Lead("n1"); l.fake.Fail(fmt.Errorf("x: %w", controller.ErrOutcomeUnknown)) }, "n1", api.ReasonOutcomeUnknown, codes.Unavailable},
		{"outcome unknown, forwarded", func() {}, "n2", api.ReasonOutcomeUnknown, codes.Unavailable},
		{"stopped", func() { l.fake.Fail(controller.ErrStopped) }, "n1", api.ReasonStopped, codes.Unavailable},
		{"overloaded", func() { l.fake.Fail(controller.ErrOverloaded) }, "n2", api.ReasonOverloaded, codes.Unavailable},
		{"unknown", func() { l.fake.Fail(errors.New("secret-7: disk on fire")) }, "n1", "", codes.Internal},
		{"unknown, forwarded", func() {}, "n2", "", codes.Internal},
		{"a wrapped status of somebody else", func() { l.fake.Fail(fmt.Errorf("x: %w", status.Error(codes.NotFound, "secret-7"))) }, "n1", "", codes.Internal},
		{"panic", func() { l.fake.Fail(nil); l.fake.Panic(true) }, "n1", "", codes.Internal},
		{"leader gone", func() { l.fake.Panic(false); l.nodes["n1"].stop() }, "n2", api.ReasonNoLeader, codes.Unavailable},
	} {
		t.Run(row.name, func(t *testing.T) {
			row.setup()
			client := tidegatev1.NewMitigationServiceClient(l.dial(row.at, auth.Operator, "alice"))
			_, err := client.WithdrawAll(t.Context(), &tidegatev1.WithdrawAllRequest{RequestId: row.name, Reason: "y"})
			if status.Code(err) != row.code || api.ErrorReason(err) != row.want {
				t.Errorf("got %v %q, want %v %q", err, api.ErrorReason(err), row.code, row.want)
			}
			if strings.Contains(fmt.Sprint(err), "secret-7") {
				t.Errorf("the answer tells %v", err)
			}
		})
	}
	if !strings.Contains(l.logs.String(), "secret-7: disk on fire") {
		t.Error("the unknown error is not in the log")
	}
}

func signal(attack string, seq uint64, kind tidegatev1.SignalKind) *tidegatev1.Signal {
	return &tidegatev1.Signal{AttackId: attack, Seq: seq, Kind: kind, Targets: []string{"203.0.113.77"}, Vector: "dns_amplification"}
}

// One stream through a follower lives through malformed signals, overload, the loss of the leader and a new one.
func TestStreamLives(t *testing.T) {
	l := newLab(t, "n1", "n2", "n3")
	l.load()
	stream, err := tidegatev1.NewSignalServiceClient(l.dial("n2", auth.Detector, "fnm")).StreamSignals(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	batch := uint64(0)
	send := func(signals ...*tidegatev1.Signal) string {
		t.Helper()
		batch++
		if err := stream.Send(&tidegatev1.StreamSignalsRequest{BatchId: batch, Signals: signals}); err != nil {
			t.Fatal(err)
		}
		resp, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if resp.GetBatchId() != batch {
			t.Errorf("batch %d was answered as %d", batch, resp.GetBatchId())
		}
		var out []string
		for _, v := range resp.GetVerdicts() {
			text := strings.TrimPrefix(v.GetKind().String(), "VERDICT_KIND_") + " " + v.GetCode()
			if v.GetRetryAfter().AsDuration() > 0 {
				text += " later"
			}
			for _, f := range v.GetViolations() {
				text += " " + f.GetField()
			}
			out = append(out, text)
		}
		return strings.Join(out, ", ")
	}
	const begin, end = tidegatev1.SignalKind_SIGNAL_KIND_START, tidegatev1.SignalKind_SIGNAL_KIND_END
	bad := signal("bad", 1, begin)
	bad.Targets = []string{"203.0.113.7/24"}
	for _, row := range []struct {
		name  string
		setup func()
		in    []*tidegatev1.Signal
		want  string
	}{
		{"nothing", func() {}, nil, ""},
		{"malformed among good ones", func() {}, []*tidegatev1.Signal{bad, signal("a", 1, begin)}, "REFUSED malformed targets[0], MITIGATED mitigated"},
		{"repetition", func() {}, []*tidegatev1.Signal{signal("a", 1, begin)}, "MERGED repetition"},
		{"overload", func() { l.fake.Overload(true) }, []*tidegatev1.Signal{signal("b", 1, begin)}, "RETRY overloaded later"},
		{"no leader", func() { l.fake.Overload(false); l.fake.Lead("") }, []*tidegatev1.Signal{bad, signal("b", 1, begin)}, "REFUSED malformed targets[0], RETRY no_leader later"},
		{"this node leads", func() { l.fake.Lead("n2") }, []*tidegatev1.Signal{signal("b", 1, begin)}, "MERGED merged"},
		{"outcome unknown", func() { l.fake.Fail(controller.ErrOutcomeUnknown) }, []*tidegatev1.Signal{signal("b", 2, end)}, "RETRY outcome_unknown later"},
		{"stopped, asked through another node", func() { l.fake.Lead("n3"); l.fake.Fail(controller.ErrStopped) }, []*tidegatev1.Signal{signal("b", 2, end)}, "RETRY stopped later"},
		{"panic of the leader", func() { l.fake.Fail(nil); l.fake.Panic(true) }, []*tidegatev1.Signal{signal("b", 2, end)}, "RETRY internal later"},
		{"a third node leads", func() { l.fake.Panic(false) }, []*tidegatev1.Signal{signal("b", 2, end), signal("a", 2, end)}, "ENDED attack_over, ENDED attack_over"},
		{"the leader is killed", func() { l.nodes["n3"].stop() }, []*tidegatev1.Signal{signal("c", 1, begin)}, "RETRY no_leader later"},
		{"and another one elected", func() { l.fake.Lead("n1") }, []*tidegatev1.Signal{signal("c", 1, begin)}, "MITIGATED mitigated"},
	} {
		row.setup()
		if got := send(row.in...); got != row.want {
			t.Errorf("%s: got %q, want %q", row.name, got, row.want)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the stream ended with %v", err)
	}
	// The source of an attack is the detector's name, although another node asked the leader.
	if _, ok := l.fake.State().Attack("fnm", "c"); !ok {
		t.Error("the attack is not known by its source")
	}
}

func TestStreamEndsOnTooLongBatch(t *testing.T) {
	l := newLab(t, "n1")
	client := tidegatev1.NewSignalServiceClient(l.dial("n1", auth.Detector, "fnm"))
	long := make([]*tidegatev1.Signal, api.MaxBatch+1)
	for i := range long {
		long[i] = &tidegatev1.Signal{}
	}
	stream, err := client.StreamSignals(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&tidegatev1.StreamSignalsRequest{Signals: long}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.InvalidArgument || len(api.FieldViolations(err)) != 1 {
		t.Errorf("stream: got %v", err)
	}
	if _, err := client.Report(t.Context(), &tidegatev1.ReportRequest{Signals: long}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("report: got %v", err)
	}
	resp, err := client.Report(t.Context(), &tidegatev1.ReportRequest{Signals: long[:api.MaxBatch]})
	if err != nil || len(resp.GetVerdicts()) != api.MaxBatch {
		t.Errorf("a batch of %d: %d verdicts, %v", api.MaxBatch, len(resp.GetVerdicts()), err)
	}
}

// A stream through a node that stops ends with Unavailable, so that the detector goes to another one.
func TestStreamsEndWithServer(t *testing.T) {
	l := newLab(t, "n1")
	l.load()
	stream, err := tidegatev1.NewSignalServiceClient(l.dial("n1", auth.Detector, "fnm")).StreamSignals(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&tidegatev1.StreamSignalsRequest{BatchId: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err != nil {
		t.Fatal(err)
	}
	watch, err := tidegatev1.NewMitigationServiceClient(l.dial("n1", auth.Viewer, "v")).Watch(t.Context(), &tidegatev1.WatchRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Header(); err != nil {
		t.Fatal(err)
	}
	l.nodes["n1"].stop()
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("stream: got %v", err)
	}
	if _, err := watch.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("watch: got %v", err)
	}
}

func TestWatch(t *testing.T) {
	l := newLab(t, "n1", "n2")
	l.load()
	op := l.dial("n1", auth.Operator, "alice")
	startMitigation(t, op, "203.0.113.77")
	ctx, cancel := context.WithCancel(t.Context())
	watch, err := tidegatev1.NewMitigationServiceClient(l.dial("n2", auth.Viewer, "v")).Watch(ctx, &tidegatev1.WatchRequest{Customer: "uni-a"})
	if err != nil {
		t.Fatal(err)
	}
	next := func() string {
		t.Helper()
		resp, err := watch.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetMitigation().GetId() + " " + resp.GetMitigation().GetPhase()
	}
	if got := next(); got != "M1 active" {
		t.Errorf("first: %s", got)
	}
	startMitigation(t, op, "203.0.113.8")
	if got := next(); got != "M2 active" {
		t.Errorf("started: %s", got)
	}
	startMitigation(t, op, "203.0.113.130") // another customer's
	if _, err := tidegatev1.NewMitigationServiceClient(op).Withdraw(t.Context(), &tidegatev1.WithdrawRequest{RequestId: "w", Reason: "r", Id: "M1"}); err != nil {
		t.Fatal(err)
	}
	if got := next(); got != "M1 over" {
		t.Errorf("withdrawn: %s", got)
	}
	cancel()
	if _, err := watch.Recv(); status.Code(err) != codes.Canceled {
		t.Errorf("cancelled: %v", err)
	}
}

func TestLookup(t *testing.T) {
	l := newLab(t, "n1")
	l.load()
	client := tidegatev1.NewInventoryServiceClient(l.dial("n1", auth.Viewer, "v"))
	for _, row := range []struct{ address, want string }{
		{"203.0.113.77", "Rules may act on packets to 203.0.113.77: it is official space of customer uni-a (203.0.113.0/24) and not protected."},
		{"203.0.113.130", "Rules may act on packets to 203.0.113.130: it is official space of customer lab-b (203.0.113.128/26) and not protected."},
		{"203.0.113.5", "No rule ever acts on packets to 203.0.113.5: it lies in link 203.0.113.4/30 of customer uni-a."},
		{"198.51.100.1", "No rule ever acts on packets to 198.51.100.1: it lies in link 198.51.100.0/31 of customer uni-a."},
		{"198.51.100.9", "No rule ever acts on packets to 198.51.100.9: it lies in 198.51.100.0/24, protected-block links-1."},
		{"8.8.8.8", "No rule acts on packets to 8.8.8.8: it is not official space of any customer."},
		{"2001:db8:a::1", "Rules may act on packets to 2001:db8:a::1: it is official space of customer uni-a (2001:db8:a::/48) and not protected."},
	} {
		t.Run(row.address, func(t *testing.T) {
			resp, err := client.Lookup(t.Context(), &tidegatev1.LookupRequest{Address: row.address})
			if err != nil || resp.GetText() != row.want {
				t.Errorf("got %q, %v; want %q", resp.GetText(), err, row.want)
			}
		})
	}
	link, err := client.Lookup(t.Context(), &tidegatev1.LookupRequest{Address: "203.0.113.5"})
	if err != nil || link.GetLink().GetInterface() != "xe-0/0/1" || link.GetLinkCustomer() != "uni-a" || !link.GetProtected() {
		t.Errorf("link: %v, %v", link, err)
	}
}

// Documents come back as they were sent, and their YAML is read back the same.
func TestDocuments(t *testing.T) {
	l := newLab(t, "n1", "n2")
	l.load()
	client := tidegatev1.NewInventoryServiceClient(l.dial("n2", auth.Admin, "root"))
	for _, want := range sampleDocuments(t) {
		var ref *tidegatev1.DocumentRef
		switch d := want.GetDocument().(type) {
		case *tidegatev1.Document_Customer:
			ref = &tidegatev1.DocumentRef{Kind: "Customer", Name: d.Customer.GetId()}
		case *tidegatev1.Document_ProtectedBlock:
			ref = &tidegatev1.DocumentRef{Kind: "ProtectedBlock", Name: d.ProtectedBlock.GetName()}
		case *tidegatev1.Document_Router:
			ref = &tidegatev1.DocumentRef{Kind: "Router", Name: d.Router.GetName()}
		case *tidegatev1.Document_Policy:
			ref = &tidegatev1.DocumentRef{Kind: "Policy", Name: d.Policy.GetName()}
		}
		got, err := client.GetDocument(t.Context(), &tidegatev1.GetDocumentRequest{Ref: ref})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got.GetDocument(), protocmp.Transform()); diff != "" {
			t.Errorf("%v (-want +got):\n%s", ref, diff)
		}
	}
	list, err := client.ListDocuments(t.Context(), &tidegatev1.ListDocumentsRequest{Kind: "Customer"})
	if err != nil || len(list.GetDocuments()) != 2 {
		t.Errorf("ListDocuments() = %v, %v", list, err)
	}
	var b strings.Builder
	all, err := client.ListDocuments(t.Context(), &tidegatev1.ListDocumentsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if err := manifest.Write(&b, all.GetDocuments()...); err != nil {
		t.Fatal(err)
	}
	docs, err := manifest.Parse("out", []byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	plan, err := client.Plan(t.Context(), &tidegatev1.PlanRequest{Documents: manifest.Protos(docs), Prune: true})
	if err != nil || plan.GetPlan().GetUnchanged() != uint32(len(docs)) || len(plan.GetPlan().GetChanged())+len(plan.GetPlan().GetAdded())+len(plan.GetPlan().GetRemoved()) != 0 {
		t.Errorf("applying what was listed changes something: %v, %v", plan, err)
	}
	if _, err := client.GetDocument(t.Context(), &tidegatev1.GetDocumentRequest{Ref: &tidegatev1.DocumentRef{Kind: "Customer", Name: "none"}}); status.Code(err) != codes.NotFound {
		t.Errorf("missing document: %v", err)
	}
}

// An inventory cut in half is refused with the number to state, by Plan in words and by Apply as an error.
func TestBrake(t *testing.T) {
	l := newLab(t, "n1", "n2")
	l.load()
	client := tidegatev1.NewInventoryServiceClient(l.dial("n2", auth.Admin, "root"))
	half := sampleDocuments(t)[2:3] // the nested customer only
	half[0].GetCustomer().Within = ""
	before := l.fake.State().Index()
	plan, err := client.Plan(t.Context(), &tidegatev1.PlanRequest{Documents: half, Prune: true})
	if err != nil || plan.GetVerdict().GetKind() != tidegatev1.VerdictKind_VERDICT_KIND_REFUSED || plan.GetPlan().GetRemovalsToAllow() == 0 {
		t.Errorf("Plan() = %v, %v", plan, err)
	}
	_, err = client.Apply(t.Context(), &tidegatev1.ApplyRequest{RequestId: "half", Reason: "oops", Documents: half, Prune: true})
	if status.Code(err) != codes.FailedPrecondition || api.ErrorReason(err) != "removals_need_number" {
		t.Errorf("Apply() = %v %q", err, api.ErrorReason(err))
	}
	var told *tidegatev1.Plan
	for _, d := range status.Convert(err).Details() {
		if p, ok := d.(*tidegatev1.Plan); ok {
			told = p
		}
	}
	if told.GetRemovalsToAllow() != plan.GetPlan().GetRemovalsToAllow() {
		t.Errorf("the refusal carries %v", told)
	}
	if after := l.fake.State().Index(); after != before {
		t.Errorf("index went from %d to %d", before, after)
	}
}

func TestHealth(t *testing.T) {
	l := newLab(t, "n1")
	client := healthpb.NewHealthClient(l.dial("n1", auth.Viewer, "v"))
	for _, serving := range []bool{false, true, false} {
		l.nodes["n1"].server.SetServing(serving)
		for _, name := range append(api.Services(), "") {
			resp, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{Service: name})
			if got := resp.GetStatus() == healthpb.HealthCheckResponse_SERVING; err != nil || got != serving {
				t.Errorf("%q serving: got %v, %v; want %v", name, got, err, serving)
			}
		}
	}
}

// A request of 10 MB is refused before anything is read from it.
func TestMessageLimit(t *testing.T) {
	l := newLab(t, "n1")
	client := tidegatev1.NewInventoryServiceClient(l.dial("n1", auth.Admin, "root"))
	doc := &tidegatev1.Document{Document: &tidegatev1.Document_ProtectedBlock{ProtectedBlock: &tidegatev1.ProtectedBlock{Name: "b", Note: strings.Repeat("x", 10<<20)}}}
	_, err := client.Apply(t.Context(), &tidegatev1.ApplyRequest{RequestId: "r", Reason: "r", Documents: []*tidegatev1.Document{doc}})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("got %v", err)
	}
}

// The standard details say the same as ours, for clients that know only those.
func TestBadRequestDetails(t *testing.T) {
	l := newLab(t, "n1")
	client := tidegatev1.NewInventoryServiceClient(l.dial("n1", auth.Admin, "root"))
	_, err := client.Apply(t.Context(), &tidegatev1.ApplyRequest{RequestId: "r", Reason: "r", Documents: []*tidegatev1.Document{
		{Document: &tidegatev1.Document_ProtectedBlock{ProtectedBlock: &tidegatev1.ProtectedBlock{
			Name: "b", Purpose: "resolver", Prefixes: []string{"203.0.113.1/24"},
		}}},
	}})
	var got []string
	for _, d := range status.Convert(err).Details() {
		if b, ok := d.(*errdetails.BadRequest); ok {
			for _, f := range b.GetFieldViolations() {
				got = append(got, f.GetField()+" | "+f.GetDescription())
			}
		}
	}
	want := []string{`ProtectedBlock/b: prefixes[0] | "203.0.113.1/24" has host bits; write 203.0.113.0/24`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("BadRequest of %v (-want +got):\n%s", err, diff)
	}
}

package api_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/api/auth"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// climbing is a policy with a ladder of two steps.
func climbing() *tidegatev1.Policy {
	return &tidegatev1.Policy{Name: "climbing", Priority: 9, Vectors: []string{"ntp_amplification"}, Quiet: durationpb.New(2 * time.Minute), Relax: "auto", Ladder: []*tidegatev1.Step{
		{Action: &tidegatev1.Action{Rate: "8Mbps"}},
		{Action: &tidegatev1.Action{Discard: true}, After: durationpb.New(3 * time.Minute), MinConfidence: 0.5},
	}}
}

func putPolicy(t *testing.T, l *lab, id string, p *tidegatev1.Policy) error {
	t.Helper()
	_, err := tidegatev1.NewInventoryServiceClient(l.dial("n1", auth.Admin, "root")).Apply(t.Context(), &tidegatev1.ApplyRequest{
		RequestId: id, Reason: "test", Documents: []*tidegatev1.Document{{Document: &tidegatev1.Document_Policy{Policy: p}}},
	})
	return err
}

// TestLadder: a ladder comes back as it was sent, and a mitigation says where on it it stands and what happened to it.
func TestLadder(t *testing.T) {
	l := newLab(t, "n1")
	l.load()
	if err := putPolicy(t, l, "climbing", climbing()); err != nil {
		t.Fatal(err)
	}
	got, err := tidegatev1.NewInventoryServiceClient(l.dial("n1", auth.Viewer, "eve")).GetDocument(t.Context(),
		&tidegatev1.GetDocumentRequest{Ref: &tidegatev1.DocumentRef{Kind: "Policy", Name: "climbing"}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(climbing(), got.GetDocument().GetPolicy(), protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	detector := tidegatev1.NewSignalServiceClient(l.dial("n1", auth.Detector, "fnm"))
	for i, id := range []string{"a", "b"} {
		r, err := detector.Report(t.Context(), &tidegatev1.ReportRequest{Signals: []*tidegatev1.Signal{{
			AttackId: id, Seq: 1, Kind: tidegatev1.SignalKind_SIGNAL_KIND_START, Targets: []string{"203.0.113.9/32"}, Vector: "ntp_amplification",
		}}})
		if err != nil || r.GetVerdicts()[0].GetMitigation() != "M1" {
			t.Fatalf("signal %d: %v, %v", i, r, err)
		}
	}
	m, err := tidegatev1.NewMitigationServiceClient(l.dial("n1", auth.Viewer, "eve")).Get(t.Context(), &tidegatev1.GetRequest{Id: "M1"})
	if err != nil {
		t.Fatal(err)
	}
	x := m.GetMitigation()
	if diff := cmp.Diff(climbing().GetLadder(), x.GetLadder(), protocmp.Transform()); diff != "" {
		t.Errorf("ladder (-want +got):\n%s", diff)
	}
	if x.GetStep() != 1 || x.GetNextStep().AsTime().Sub(x.GetCreated().AsTime()) != 3*time.Minute {
		t.Errorf("step %d since %v, next %v", x.GetStep(), x.GetStepSince(), x.GetNextStep())
	}
	if x.GetQuietTime().AsDuration() != 2*time.Minute || x.GetPhase() != "active" {
		t.Errorf("phase %s, quiet time %v", x.GetPhase(), x.GetQuietTime())
	}
	h := x.GetHistory()
	if len(h) != 2 || h[0].GetWhat() != "started" || h[0].GetBy() != "detector/fnm" || !strings.HasPrefix(h[0].GetText(), "step 1 of 2, rate 8Mbps: ") ||
		h[1].GetWhat() != "merged" || h[1].GetIndex() == 0 || !strings.Contains(h[1].GetText(), `"b" of fnm became cause 2`) {
		t.Errorf("history: %v", h)
	}
}

// TestEndingIsShown: after the end of its attack a mitigation says until when it is announced, and who wants to can withdraw it.
func TestEndingIsShown(t *testing.T) {
	l := newLab(t, "n1")
	l.load()
	if err := putPolicy(t, l, "climbing", climbing()); err != nil {
		t.Fatal(err)
	}
	detector := tidegatev1.NewSignalServiceClient(l.dial("n1", auth.Detector, "fnm"))
	for _, sig := range []*tidegatev1.Signal{
		{AttackId: "a", Seq: 1, Kind: tidegatev1.SignalKind_SIGNAL_KIND_START, Targets: []string{"203.0.113.9/32"}, Vector: "ntp_amplification"},
		{AttackId: "a", Seq: 2, Kind: tidegatev1.SignalKind_SIGNAL_KIND_END},
	} {
		if _, err := detector.Report(t.Context(), &tidegatev1.ReportRequest{Signals: []*tidegatev1.Signal{sig}}); err != nil {
			t.Fatal(err)
		}
	}
	client := tidegatev1.NewMitigationServiceClient(l.dial("n1", auth.Operator, "alice"))
	list, err := client.List(t.Context(), &tidegatev1.ListRequest{})
	if err != nil || len(list.GetMitigations()) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	if m := list.GetMitigations()[0]; m.GetPhase() != "ending" || m.GetEndsAt() == nil || len(m.GetRouters()) == 0 {
		t.Errorf("phase %s until %v, routers %v", m.GetPhase(), m.GetEndsAt(), m.GetRouters())
	}
	r, err := client.Withdraw(t.Context(), &tidegatev1.WithdrawRequest{RequestId: "w", Reason: "quiet enough", Id: "M1"})
	if err != nil || r.GetMitigation().GetPhase() != "over" {
		t.Errorf("%v, %v", r, err)
	}
}

// TestLadderIsReadWhole: what is wrong with a step is said at its place.
func TestLadderIsReadWhole(t *testing.T) {
	l := newLab(t, "n1")
	l.load()
	bad := climbing()
	bad.Ladder[0].After = durationpb.New(0) // may be written
	bad.Ladder[1].Action = &tidegatev1.Action{Rate: "0bps"}
	bad.Ladder = append(bad.Ladder, &tidegatev1.Step{After: durationpb.New(-time.Second)})
	var fields []string
	for _, f := range api.FieldViolations(putPolicy(t, l, "bad", bad)) {
		fields = append(fields, f.GetField())
	}
	if diff := cmp.Diff([]string{"ladder[1].action.rate", "ladder[2].action", "ladder[2].after"}, fields); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

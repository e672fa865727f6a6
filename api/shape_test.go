package api_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/api/auth"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// putDocument applies one document and returns the answer.
func putDocument(t *testing.T, l *lab, id string, d *tidegatev1.Document) (*tidegatev1.ApplyResponse, error) {
	t.Helper()
	return tidegatev1.NewInventoryServiceClient(l.dial("n1", auth.Admin, "root")).Apply(t.Context(), &tidegatev1.ApplyRequest{
		RequestId: id, Reason: "test", Documents: []*tidegatev1.Document{d},
	})
}

func getDocument(t *testing.T, l *lab, kind, name string) *tidegatev1.Document {
	t.Helper()
	got, err := tidegatev1.NewInventoryServiceClient(l.dial("n1", auth.Viewer, "eve")).GetDocument(t.Context(),
		&tidegatev1.GetDocumentRequest{Ref: &tidegatev1.DocumentRef{Kind: kind, Name: name}})
	if err != nil {
		t.Fatal(err)
	}
	return got.GetDocument()
}

// TestServicesAndDetectors: services and detectors come back as they were sent; a service narrows what is active, and the
// mitigation says what it leaves alone.
func TestServicesAndDetectors(t *testing.T) {
	l := newLab(t, "n1")
	l.load()
	client := tidegatev1.NewMitigationServiceClient(l.dial("n1", auth.Operator, "alice"))
	if _, err := client.Start(t.Context(), &tidegatev1.StartRequest{
		RequestId: "s", Reason: "flood", Targets: []string{"203.0.113.53/32"}, Match: "proto udp", Action: &tidegatev1.Action{Discard: true},
	}); err != nil {
		t.Fatal(err)
	}
	customer := getDocument(t, l, "Customer", "uni-a")
	customer.GetCustomer().Services = []*tidegatev1.Service{
		{Prefixes: []string{"203.0.113.53/32"}, Protocol: "udp", Ports: []string{"53", "4000-4100"}, Note: "name server"}, {Protocol: "50"},
	}
	applied, err := putDocument(t, l, "services", customer)
	if err != nil || !slices.Equal(applied.GetPlan().GetNarrowed(), []string{"M1"}) {
		t.Fatalf("plan %v, %v; want M1 narrowed", applied, err)
	}
	if diff := cmp.Diff(customer, getDocument(t, l, "Customer", "uni-a"), protocmp.Transform()); diff != "" {
		t.Errorf("customer (-want +got):\n%s", diff)
	}
	got, err := client.Get(t.Context(), &tidegatev1.GetRequest{Id: "M1"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"udp/53,4000-4100 at 203.0.113.53", "protocol 50"}, got.GetMitigation().GetSpared()); diff != "" {
		t.Errorf("spared (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{
		"dst 203.0.113.53/32 proto udp dport <=52|54-3999|>=4101 => discard", "dst 203.0.113.53/32 proto udp frag any:is-fragment => discard",
	}, got.GetMitigation().GetRules()); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}

	half, full := 0.5, 1.0
	for name, trust := range map[string]*float64{"fnm": &half, "other": nil} {
		want := &tidegatev1.Detector{Name: name, Trust: trust, Note: "sampled"}
		if _, err := putDocument(t, l, "detector "+name, &tidegatev1.Document{Document: &tidegatev1.Document_Detector{Detector: want}}); err != nil {
			t.Fatal(err)
		}
		if trust == nil {
			want.Trust = &full
		}
		if diff := cmp.Diff(want, getDocument(t, l, "Detector", name).GetDetector(), protocmp.Transform()); diff != "" {
			t.Errorf("detector (-want +got):\n%s", diff)
		}
	}

	bad := getDocument(t, l, "Customer", "uni-a")
	bad.GetCustomer().Services = []*tidegatev1.Service{{Protocol: "tpc", Ports: []string{"80-70"}, Prefixes: []string{"203.0.113.1/24"}}}
	_, err = putDocument(t, l, "bad", bad)
	var fields []string
	for _, f := range api.FieldViolations(err) {
		fields = append(fields, f.GetField())
	}
	if diff := cmp.Diff([]string{"services[0].protocol", "services[0].prefixes[0]", "services[0].ports[0]"}, fields); diff != "" {
		t.Errorf("violations (-want +got):\n%s", diff)
	}
}

// TestQuorumOverTheAPI: a policy with a quorum comes back as it was sent; the first detector is told what lacks, the second
// has the attack mitigated, and the mitigation says how sure both are.
func TestQuorumOverTheAPI(t *testing.T) {
	l := newLab(t, "n1")
	l.load()
	want := &tidegatev1.Policy{Name: "two", Priority: 9, Vectors: []string{"ntp_amplification"}, Quorum: 2, Action: &tidegatev1.Action{Discard: true}}
	if err := putPolicy(t, l, "two", want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, getDocument(t, l, "Policy", "two").GetPolicy(), protocmp.Transform()); diff != "" {
		t.Errorf("policy (-want +got):\n%s", diff)
	}
	for i, c := range []struct {
		source, code string
		confidence   float64
	}{{"fnm", "quorum", 0.6}, {"tap", "mitigated", 0.5}} {
		r, err := tidegatev1.NewSignalServiceClient(l.dial("n1", auth.Detector, c.source)).Report(t.Context(), &tidegatev1.ReportRequest{Signals: []*tidegatev1.Signal{{
			AttackId: "a", Seq: 1, Kind: tidegatev1.SignalKind_SIGNAL_KIND_START, Targets: []string{"203.0.113.9/32"}, Vector: "ntp_amplification", Confidence: c.confidence,
		}}})
		if err != nil || r.GetVerdicts()[0].GetCode() != c.code {
			t.Fatalf("signal %d: %v, %v, want %s", i, r, err, c.code)
		}
	}
	m, err := tidegatev1.NewMitigationServiceClient(l.dial("n1", auth.Viewer, "eve")).Get(t.Context(), &tidegatev1.GetRequest{Id: "M1"})
	if err != nil {
		t.Fatal(err)
	}
	var sources []string
	for _, c := range m.GetMitigation().GetCauses() {
		sources = append(sources, c.GetSource())
	}
	if diff := cmp.Diff([]string{"tap", "fnm"}, sources); diff != "" || m.GetMitigation().GetConfidence() != 0.8 {
		t.Errorf("confidence %v, causes (-want +got):\n%s", m.GetMitigation().GetConfidence(), diff)
	}
}

// TestAggregateOverTheAPI: a policy's aggregate comes back with its defaults written out, and the preview and the mitigation of
// a carpet bombing tell the collateral.
func TestAggregateOverTheAPI(t *testing.T) {
	l := newLab(t, "n1")
	l.load()
	share := 40.0
	if err := putPolicy(t, l, "carpets", &tidegatev1.Policy{
		Name: "carpets", Priority: 99, Vectors: []string{"udp_flood"}, Action: &tidegatev1.Action{Discard: true}, Aggregate: &tidegatev1.Aggregate{MinShare: &share},
	}); err != nil {
		t.Fatal(err)
	}
	a := getDocument(t, l, "Policy", "carpets").GetPolicy().GetAggregate()
	if a.GetMinTargets() != 8 || a.GetMinShare() != 40 || a.GetWidestIpv4() != 22 || a.GetWidestIpv6() != 48 {
		t.Errorf("aggregate %v", a)
	}
	sig := &tidegatev1.Signal{AttackId: "a", Seq: 1, Kind: tidegatev1.SignalKind_SIGNAL_KIND_START, Vector: "udp_flood"}
	for i := range 8 {
		sig.Targets = append(sig.Targets, fmt.Sprintf("203.0.113.%d/32", 16+2*i))
	}
	r, err := tidegatev1.NewSignalServiceClient(l.dial("n1", auth.Detector, "fnm")).Report(t.Context(), &tidegatev1.ReportRequest{Signals: []*tidegatev1.Signal{sig}})
	if err != nil || !strings.Contains(r.GetVerdicts()[0].GetText(), "8 official addresses that were not reported are acted on as well (50.0 %)") {
		t.Fatalf("%v, %v", r, err)
	}
	m, err := tidegatev1.NewMitigationServiceClient(l.dial("n1", auth.Viewer, "eve")).Get(t.Context(), &tidegatev1.GetRequest{Id: "M1"})
	if err != nil {
		t.Fatal(err)
	}
	if c := m.GetMitigation().GetCollateral(); c.GetAddresses() != 8 || c.GetPercent() != 50 || len(c.GetReported()) != 8 {
		t.Errorf("collateral %v", c)
	}
}

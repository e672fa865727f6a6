package api_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tidegate/tidegate/api"
	"github.com/tidegate/tidegate/api/auth"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

func lines(list []*tidegatev1.FieldViolation) []string {
	var out []string
	for _, f := range list {
		out = append(out, strings.TrimPrefix(f.GetDocument()+": ", ": ")+f.GetField()+": "+f.GetProblem()+"; "+f.GetFix())
	}
	return out
}

// Every malformed order is INVALID_ARGUMENT, names field, problem and fix, and changes nothing; the refused ones are
// FAILED_PRECONDITION with their code.
func TestBadStart(t *testing.T) {
	l := newLab(t, "n1", "n2")
	l.load()
	before := l.fake.State().Index()
	good := func() *tidegatev1.StartRequest {
		return &tidegatev1.StartRequest{
			RequestId: "r", Reason: "flood", Targets: []string{"203.0.113.77"}, Match: "proto udp sport 53",
			Action: &tidegatev1.Action{Discard: true}, Lifetime: durationpb.New(time.Hour),
		}
	}
	for _, row := range []struct {
		name   string
		change func(*tidegatev1.StartRequest)
		want   string // the violations, or the code of the refusal
	}{
		{"no request id", func(r *tidegatev1.StartRequest) { r.RequestId = "" }, "request_id: it is missing; choose a new one, such as a UUID, and use it again to repeat the same request"},
		{"long request id", func(r *tidegatev1.StartRequest) { r.RequestId = strings.Repeat("x", 129) }, "request_id: it has 129 octets; use at most 128"},
		{"no reason", func(r *tidegatev1.StartRequest) { r.Reason = " " }, "reason: it is missing; say why, for those who look at it later"},
		{"long reason", func(r *tidegatev1.StartRequest) { r.Reason = strings.Repeat("ü", 1001) }, "reason: it has 1001 characters; use at most 1000"},
		{"reason of two lines", func(r *tidegatev1.StartRequest) { r.Reason = "a\nb" }, "reason: it has control characters; write one line of plain text"},
		{"no target", func(r *tidegatev1.StartRequest) { r.Targets = nil }, "targets: there is none; name the prefixes or addresses to protect: a rule without a destination is never made"},
		{"host bits", func(r *tidegatev1.StartRequest) { r.Targets = []string{"203.0.113.1/30"} }, `targets[0]: "203.0.113.1/30" has host bits; write 203.0.113.0/30`},
		{"no prefix", func(r *tidegatev1.StartRequest) { r.Targets = []string{"203.0.113"} }, `targets[0]: "203.0.113" is not an IP prefix; write a prefix such as 203.0.113.0/24 or 2001:db8::/32`},
		{"empty prefix", func(r *tidegatev1.StartRequest) { r.Targets = []string{""} }, `targets[0]: it is empty; write a prefix such as 203.0.113.0/24 or 2001:db8::/32`},
		{"length 33", func(r *tidegatev1.StartRequest) { r.Targets = []string{"203.0.113.0/33"} }, `targets[0]: "203.0.113.0/33" has no valid prefix length; write a length from 0 to 32 after the /`},
		{"length +24", func(r *tidegatev1.StartRequest) { r.Targets = []string{"203.0.113.0/+24"} }, `targets[0]: "203.0.113.0/+24" has no valid prefix length; write a length from 0 to 32 after the /`},
		{"mapped", func(r *tidegatev1.StartRequest) { r.Targets = []string{"::ffff:203.0.113.0/120"} }, `targets[0]: "::ffff:203.0.113.0/120" is an IPv4-mapped IPv6 address; write 203.0.113.0/24`},
		{"zone", func(r *tidegatev1.StartRequest) { r.Targets = []string{"fe80::1%eth0"} }, `targets[0]: "fe80::1%eth0" has a zone, which means nothing outside of one machine; leave out the % and what follows`},
		{"two families", func(r *tidegatev1.StartRequest) { r.Targets = []string{"203.0.113.77", "2001:db8:a::1"} }, `targets[1]: 2001:db8:a::1/128 is IPv6, the ones before it are IPv4; send one request per address family`},
		{"v4 target and v6 source", func(r *tidegatev1.StartRequest) { r.Match = "src 2001:db8::/32" }, `match: it is IPv6, the targets are IPv4; use one address family in one request`},
		{"destination in the match", func(r *tidegatev1.StartRequest) { r.Match = "dst 203.0.113.77/32 proto udp" }, `match: it names a destination; name the destination in targets only`},
		{"port 70000", func(r *tidegatev1.StartRequest) { r.Match = "proto udp dport 70000" }, `match: column 17: "70000": destination port is above 65535; write conditions such as "proto udp sport 53", without a destination`},
		{"a list with a comma", func(r *tidegatev1.StartRequest) { r.Match = "proto udp sport 53,54" }, `match: column 19: ",": a comma joins nothing here; use | for a list, such as sport 53|123, and a space between conditions`},
		{"another word for len", func(r *tidegatev1.StartRequest) { r.Match = "proto udp length 100" }, `match: column 11: "length": unknown condition; did you mean len?`},
		{"length 70000", func(r *tidegatev1.StartRequest) { r.Match = "len 70000" }, `match: column 5: "70000": packet length is above 65535; write conditions such as "proto udp sport 53", without a destination`},
		{"no action", func(r *tidegatev1.StartRequest) { r.Action = nil }, "action: it is not said what to do; write discard: true, a rate such as 10Mbps or 5kpps, redirect, redirect_ip, mark or rtbh: true"},
		{"two actions", func(r *tidegatev1.StartRequest) { r.Action = &tidegatev1.Action{Discard: true, Rate: "1Mbps"} }, "action: discard and rate exclude each other; leave all but one out"},
		{"mark 64", func(r *tidegatev1.StartRequest) { r.Action = &tidegatev1.Action{Mark: "64"} }, "action.mark: DSCP 64 is above 63; write a DSCP from 0 to 63, or a name such as ef, cs1 or af31"},
		{"blackhole with a match", func(r *tidegatev1.StartRequest) { r.Action = &tidegatev1.Action{Rtbh: true} }, `match: a blackhole route takes every packet to its destination, whatever the match says: "ipv4 proto udp sport 53"; leave the match out, or discard by a rule`},
		{"blackhole of a /24", func(r *tidegatev1.StartRequest) {
			r.Action, r.Match, r.Targets = &tidegatev1.Action{Rtbh: true}, "", []string{"203.0.113.0/24"}
		}, "rtbh_too_wide"},
		{"blackhole that no router hears", func(r *tidegatev1.StartRequest) { r.Action, r.Match = &tidegatev1.Action{Rtbh: true}, "" }, "no_router"},
		{"redirect to the other family", func(r *tidegatev1.StartRequest) { r.Action = &tidegatev1.Action{RedirectIp: "2001:db8::1"} }, "action.redirect_ip: IPv4 packets cannot be redirected to 2001:db8::1, which is of the other family; write an IPv4 address"},
		{"rate 0", func(r *tidegatev1.StartRequest) { r.Action = &tidegatev1.Action{Rate: "0bps"} }, `action.rate: "0bps" lets nothing through; write discard: true if that is meant`},
		{"negative lifetime", func(r *tidegatev1.StartRequest) { r.Lifetime = durationpb.New(-time.Hour) }, "lifetime: -1h0m0s is negative; write a duration such as 30m or 2h"},
		{"lifetime 0", func(r *tidegatev1.StartRequest) { r.Lifetime = durationpb.New(0) }, "lifetime: it is zero; write a duration such as 30m or 2h, or leave it out for the default"},
		{"lifetime beyond all", func(r *tidegatev1.StartRequest) { r.Lifetime = &durationpb.Duration{Seconds: math.MaxInt64} }, "lifetime: it is not a valid duration; write a duration such as 30m or 2h"},

		{"nobody's", func(r *tidegatev1.StartRequest) { r.Targets = []string{"8.8.8.8"} }, "target_not_official"},
		{"link", func(r *tidegatev1.StartRequest) { r.Targets = []string{"203.0.113.5"} }, "target_protected"},
		{"multicast", func(r *tidegatev1.StartRequest) { r.Targets = []string{"224.0.0.1"} }, "target_built_in"},
		{"everything", func(r *tidegatev1.StartRequest) { r.Targets = []string{"0.0.0.0/0"} }, "target_everything"},
		{"everything of IPv6", func(r *tidegatev1.StartRequest) { r.Targets = []string{"::/0"}; r.Match = "" }, "target_everything"},
		{"too wide", func(r *tidegatev1.StartRequest) { r.Targets = []string{"203.0.0.0/16"} }, "too_wide"},
		{"lifetime too long", func(r *tidegatev1.StartRequest) { r.Lifetime = durationpb.New(1000 * time.Hour) }, "lifetime_too_long"},
	} {
		for _, at := range []string{"n1", "n2"} {
			t.Run(row.name+" at "+at, func(t *testing.T) {
				req := good()
				row.change(req)
				_, err := tidegatev1.NewMitigationServiceClient(l.dial(at, auth.Operator, "alice")).Start(t.Context(), req)
				if strings.Contains(row.want, "; ") {
					if got := strings.Join(lines(api.FieldViolations(err)), "\n"); status.Code(err) != codes.InvalidArgument || got != row.want {
						t.Errorf("got %v:\n%s\nwant\n%s", err, got, row.want)
					}
					return
				}
				if status.Code(err) != codes.FailedPrecondition || api.ErrorReason(err) != row.want || len(status.Convert(err).Message()) < 20 {
					t.Errorf("got %v %q, want %q", err, api.ErrorReason(err), row.want)
				}
			})
		}
	}
	// What rates are refused with are flowspec's own words; that it is the rate, and malformed, is the point here.
	for _, rate := range []string{"0.1bps", "7bps", "-1Mbps", "10", "1e400Gbps", "NaNbps", "fast", "10 apples"} {
		req := good()
		req.Action = &tidegatev1.Action{Rate: rate}
		_, err := tidegatev1.NewMitigationServiceClient(l.dial("n1", auth.Operator, "alice")).Start(t.Context(), req)
		if list := api.FieldViolations(err); status.Code(err) != codes.InvalidArgument || len(list) != 1 || list[0].GetField() != "action.rate" {
			t.Errorf("rate %q: got %v", rate, err)
		}
	}
	if after := l.fake.State().Index(); after != before {
		t.Errorf("index went from %d to %d", before, after)
	}
	req := good()
	if _, err := tidegatev1.NewMitigationServiceClient(l.dial("n2", auth.Operator, "alice")).Start(t.Context(), req); err != nil {
		t.Errorf("the good request: %v", err)
	}
}

// Every malformed signal is a verdict of its own; the batch lives.
func TestBadSignals(t *testing.T) {
	l := newLab(t, "n1")
	l.load()
	client := tidegatev1.NewSignalServiceClient(l.dial("n1", auth.Detector, "fnm"))
	for _, row := range []struct {
		name   string
		change func(*tidegatev1.Signal)
		want   string // how the violations begin, or the code of the verdict
	}{
		{"host bits", func(s *tidegatev1.Signal) { s.Targets = []string{"203.0.113.1/30"} }, `targets[0]: "203.0.113.1/30" has host bits; write 203.0.113.0/30`},
		{"two families", func(s *tidegatev1.Signal) { s.SourcePrefixes = []string{"2001:db8::/32"} }, `source_prefixes: they are IPv6, the targets are IPv4; send one signal per address family`},
		{"no attack id", func(s *tidegatev1.Signal) { s.AttackId = "" }, `attack_id: it is missing; name the attack, as in later signals about it`},
		{"long attack id", func(s *tidegatev1.Signal) { s.AttackId = strings.Repeat("x", 129) }, `attack_id: it has 129 octets; use at most 128`},
		{"no kind", func(s *tidegatev1.Signal) { s.Kind = 0 }, `kind: it is missing; say start, update or end`},
		{"unknown kind", func(s *tidegatev1.Signal) { s.Kind = 17 }, `kind: 17 is not a kind of signal; say start, update or end`},
		{"no target", func(s *tidegatev1.Signal) { s.Targets = nil }, `targets: there is none; name the attacked prefixes or addresses`},
		{"too many targets", func(s *tidegatev1.Signal) { s.Targets = make([]string, 1025) }, `targets: the list has 1025 entries; send at most 1024`},
		{"no vector", func(s *tidegatev1.Signal) { s.Vector = "" }, `vector: it is missing; write one of dns_amplification, `},
		{"unknown vector", func(s *tidegatev1.Signal) { s.Vector = "bad_vibes" }, `vector: "bad_vibes" is not a known vector; write one of dns_amplification, `},
		{"protocol 256", func(s *tidegatev1.Signal) { s.Protocols = []uint32{17, 256} }, `protocols[1]: protocol 256 is above 255; write an IP protocol number, such as 17 for UDP`},
		{"port 70000", func(s *tidegatev1.Signal) { s.DestinationPorts = []*tidegatev1.Range{{Low: 70000}} }, `destination_ports[0].low: port 70000 is above 65535; write a number from 0 to 65535`},
		{"port range to 70000", func(s *tidegatev1.Signal) { s.SourcePorts = []*tidegatev1.Range{{Low: 1, High: 70000}} }, `source_ports[0].high: port 70000 is above 65535; write a number from 0 to 65535`},
		{"backwards", func(s *tidegatev1.Signal) { s.SourcePorts = []*tidegatev1.Range{{Low: 9, High: 3}} }, `source_ports[0]: the range 9-3 ends before it begins; write 3-9`},
		{"packet length 99971", func(s *tidegatev1.Signal) { s.PacketLengths = []*tidegatev1.Range{{Low: 99971, High: 99985}} }, `packet_lengths[0].low: packet length 99971 is above 65535; write a number from 0 to 65535`},
		{"confidence 2", func(s *tidegatev1.Signal) { s.Confidence = 2 }, `confidence: 2 is not between 0 and 1; write a number from 0 to 1, or 0 for not stated`},
		{"confidence NaN", func(s *tidegatev1.Signal) { s.Confidence = math.NaN() }, `confidence: NaN is not between 0 and 1; write a number from 0 to 1, or 0 for not stated`},
		{"negative rate", func(s *tidegatev1.Signal) { s.BitsPerSecond = -1 }, `bits_per_second: -1 is not a rate; write a number from 0, or 0 for not measured`},
		{"infinite rate", func(s *tidegatev1.Signal) { s.PacketsPerSecond = math.Inf(1) }, `packets_per_second: +Inf is not a rate; write a number from 0, or 0 for not measured`},
		{"time before time", func(s *tidegatev1.Signal) { s.DetectedAt = &timestamppb.Timestamp{Seconds: math.MinInt64} }, `detected_at: it is not a valid time; write a time between the years 1 and 9999`},
		{"nobody's", func(s *tidegatev1.Signal) { s.Targets = []string{"8.8.8.8"} }, "target_not_official"},
		{"link", func(s *tidegatev1.Signal) { s.Targets = []string{"203.0.113.5"} }, "target_protected"},
		{"multicast", func(s *tidegatev1.Signal) { s.Targets = []string{"ff02::1"} }, "target_built_in"},
		{"everything", func(s *tidegatev1.Signal) { s.Targets = []string{"0.0.0.0/0"} }, "target_everything"},
		{"same seq, other body", func(s *tidegatev1.Signal) { s.AttackId = "good"; s.Targets = []string{"203.0.113.79"} }, "seq_conflict"},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := signal(row.name, 1, tidegatev1.SignalKind_SIGNAL_KIND_START)
			row.change(s)
			good := signal("good", 1, tidegatev1.SignalKind_SIGNAL_KIND_START)
			resp, err := client.Report(t.Context(), &tidegatev1.ReportRequest{Signals: []*tidegatev1.Signal{good, s, good}})
			if err != nil {
				t.Fatal(err)
			}
			v := resp.GetVerdicts()
			if v[0].GetKind() == tidegatev1.VerdictKind_VERDICT_KIND_REFUSED || v[2].GetCode() != "repetition" {
				t.Errorf("the neighbours were answered %v and %v", v[0], v[2])
			}
			if v[1].GetKind() != tidegatev1.VerdictKind_VERDICT_KIND_REFUSED || v[1].GetText() == "" {
				t.Errorf("answered %v", v[1])
			}
			if strings.Contains(row.want, "; ") {
				if got := strings.Join(lines(v[1].GetViolations()), "\n"); v[1].GetCode() != "malformed" || !strings.HasPrefix(got, row.want) {
					t.Errorf("got %s:\n%s\nwant\n%s", v[1].GetCode(), got, row.want)
				}
			} else if v[1].GetCode() != row.want {
				t.Errorf("got %v, want %s", v[1], row.want)
			}
		})
	}
	if got := l.fake.State().ActiveCount(); got != 1 {
		t.Errorf("%d mitigations are active, want that of the good signal", got)
	}
}

// Documents: everything wrong in all of them is said at once, each with document, field and fix.
func TestBadDocuments(t *testing.T) {
	l := newLab(t, "n1")
	client := tidegatev1.NewInventoryServiceClient(l.dial("n1", auth.Admin, "root"))
	customer := &tidegatev1.Customer{
		Id: "c", Name: "C", Official: []string{"203.0.113.1/24", "203.0.113.0"}, Links: []*tidegatev1.Link{{Prefix: "x"}, {Prefix: "198.51.100.0/31", State: "gone"}},
	}
	router := &tidegatev1.Router{
		Name: "r", Address: "192.0.2.1:179", Port: 70000, Asn: 65010, Group: "g", Families: []string{"ipv5"}, Validation: "none", MaxPrefix: 100, Multihop: 300,
	}
	pol := &tidegatev1.Policy{Name: "p", Vectors: []string{"x"}, Action: &tidegatev1.Action{Rate: "0.1bps"}, Lifetime: durationpb.New(-time.Second)}
	widest := uint32(300)
	docs := []*tidegatev1.Document{
		{Document: &tidegatev1.Document_Customer{Customer: customer}},
		{Document: &tidegatev1.Document_Customer{Customer: &tidegatev1.Customer{Id: "c", Official: []string{"192.0.2.0/24"}}}},
		{Document: &tidegatev1.Document_Router{Router: router}},
		{Document: &tidegatev1.Document_Policy{Policy: pol}},
		{Document: &tidegatev1.Document_ProtectedBlock{ProtectedBlock: &tidegatev1.ProtectedBlock{Name: "b", Purpose: "x", Prefixes: []string{"198.18.0.0/24"}}}},
		{Document: &tidegatev1.Document_Safeguards{Safeguards: &tidegatev1.Safeguards{Name: "other", WidestIpv4: &widest, MaxLifetime: durationpb.New(-1)}}},
		{},
	}
	for _, call := range []func() error{
		func() error {
			_, err := client.Plan(t.Context(), &tidegatev1.PlanRequest{Documents: docs})
			return err
		},
		func() error {
			_, err := client.Apply(t.Context(), &tidegatev1.ApplyRequest{RequestId: "r", Reason: "r", Documents: docs})
			return err
		},
	} {
		err := call()
		var got []string
		for _, f := range api.FieldViolations(err) {
			got = append(got, f.GetDocument()+" "+f.GetField())
			if f.GetProblem() == "" || f.GetFix() == "" {
				t.Errorf("%v says too little", f)
			}
		}
		want := []string{
			"Customer/c official[0]", "Customer/c official[1]", "Customer/c links[0].prefix", "Customer/c links[1].state",
			"Customer/c ",
			"Router/r address", "Router/r port", "Router/r multihop", "Router/r families[0]", "Router/r validation", "Router/r profile",
			"Policy/p action.rate", "Policy/p lifetime", "Policy/p vectors[0]",
			"ProtectedBlock/b purpose",
			"Safeguards/other widest_ipv4", "Safeguards/other max_lifetime", "Safeguards/other name", "Safeguards/other default_lifetime",
			" documents[6]",
		}
		if diff := cmp.Diff(want, got); diff != "" || status.Code(err) != codes.InvalidArgument {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
	if got := l.fake.State().Index(); got != 0 {
		t.Errorf("the index is %d", got)
	}
}

// More violations than a header can hold are counted.
func TestManyViolations(t *testing.T) {
	l := newLab(t, "n1")
	client := tidegatev1.NewInventoryServiceClient(l.dial("n1", auth.Admin, "root"))
	customer := &tidegatev1.Customer{Id: "c", Name: "C"}
	for i := range 5000 {
		customer.Official = append(customer.Official, fmt.Sprintf("bad-%d-%s", i, strings.Repeat("x", 500)))
	}
	_, err := client.Apply(t.Context(), &tidegatev1.ApplyRequest{RequestId: "r", Reason: "r", Documents: []*tidegatev1.Document{
		{Document: &tidegatev1.Document_Customer{Customer: customer}},
	}})
	if n := len(api.FieldViolations(err)); status.Code(err) != codes.InvalidArgument || n != 100 || !strings.Contains(err.Error(), "(and 4999 more)") {
		t.Errorf("%d violations, %.300v", n, err)
	}
}

func TestBadReads(t *testing.T) {
	l := newLab(t, "n1")
	conn := l.dial("n1", auth.Operator, "alice")
	m, inv, rules := tidegatev1.NewMitigationServiceClient(conn), tidegatev1.NewInventoryServiceClient(conn), tidegatev1.NewRuleServiceClient(conn)
	signals := tidegatev1.NewSignalServiceClient(conn)
	ctx := t.Context()
	for _, row := range []struct {
		name string
		call func() error
		want codes.Code
	}{
		{"id without M", func() error { _, err := m.Get(ctx, &tidegatev1.GetRequest{Id: "17"}); return err }, codes.InvalidArgument},
		{"id M0", func() error { _, err := m.Get(ctx, &tidegatev1.GetRequest{Id: "M0"}); return err }, codes.InvalidArgument},
		{"id M017", func() error { _, err := m.Get(ctx, &tidegatev1.GetRequest{Id: "M017"}); return err }, codes.InvalidArgument},
		{"id beyond 64 bits", func() error {
			_, err := m.Get(ctx, &tidegatev1.GetRequest{Id: "M99999999999999999999"})
			return err
		}, codes.InvalidArgument},
		{"no such mitigation", func() error { _, err := m.Get(ctx, &tidegatev1.GetRequest{Id: "M9"}); return err }, codes.NotFound},
		{"withdraw what is not there", func() error {
			_, err := m.Withdraw(ctx, &tidegatev1.WithdrawRequest{RequestId: "a", Reason: "b", Id: "M9"})
			return err
		}, codes.NotFound},
		{"extend without a lifetime", func() error {
			_, err := m.Extend(ctx, &tidegatev1.ExtendRequest{RequestId: "a", Reason: "b", Id: "M9"})
			return err
		}, codes.InvalidArgument},
		{"limit", func() error { _, err := m.List(ctx, &tidegatev1.ListRequest{Limit: 10001}); return err }, codes.InvalidArgument},
		{"kind", func() error {
			_, err := inv.ListDocuments(ctx, &tidegatev1.ListDocumentsRequest{Kind: "customer"})
			return err
		}, codes.InvalidArgument},
		{"no kind", func() error { _, err := inv.GetDocument(ctx, &tidegatev1.GetDocumentRequest{}); return err }, codes.InvalidArgument},
		{"lookup of a prefix", func() error {
			_, err := inv.Lookup(ctx, &tidegatev1.LookupRequest{Address: "203.0.113.0/24"})
			return err
		}, codes.InvalidArgument},
		{"lookup of a name", func() error {
			_, err := inv.Lookup(ctx, &tidegatev1.LookupRequest{Address: "localhost"})
			return err
		}, codes.InvalidArgument},
		{"rules of no mitigation", func() error {
			_, err := rules.ListRules(ctx, &tidegatev1.ListRulesRequest{Mitigation: "M9"})
			return err
		}, codes.NotFound},
		{"plan of nothing", func() error { _, err := inv.Plan(ctx, &tidegatev1.PlanRequest{}); return err }, codes.InvalidArgument},
		{"preview of nothing", func() error { _, err := m.Preview(ctx, &tidegatev1.PreviewRequest{}); return err }, codes.InvalidArgument},
		{"preview of no signal", func() error {
			_, err := signals.Preview(ctx, &tidegatev1.SignalServicePreviewRequest{})
			return err
		}, codes.InvalidArgument},
		{"preview for a strange source", func() error {
			_, err := signals.Preview(ctx, &tidegatev1.SignalServicePreviewRequest{Source: "a/b", Signal: signal("a", 1, 1)})
			return err
		}, codes.InvalidArgument},
	} {
		t.Run(row.name, func(t *testing.T) {
			if err := row.call(); status.Code(err) != row.want {
				t.Errorf("got %v, want %v", err, row.want)
			}
		})
	}
}

// Who may ask what a signal of another source would do.
func TestSignalPreview(t *testing.T) {
	l := newLab(t, "n1", "n2")
	l.load()
	for _, row := range []struct {
		name   string
		role   auth.Role
		source string
		want   codes.Code
	}{
		{"detector for itself", auth.Detector, "", codes.OK},
		{"detector by its name", auth.Detector, "someone", codes.OK},
		{"detector for another", auth.Detector, "other", codes.PermissionDenied},
		{"operator for a detector", auth.Operator, "other", codes.OK},
	} {
		t.Run(row.name, func(t *testing.T) {
			client := tidegatev1.NewSignalServiceClient(l.dial("n2", row.role, "someone"))
			resp, err := client.Preview(t.Context(), &tidegatev1.SignalServicePreviewRequest{Source: row.source, Signal: signal("a", 1, tidegatev1.SignalKind_SIGNAL_KIND_START)})
			if status.Code(err) != row.want {
				t.Errorf("got %v, want %v", err, row.want)
			}
			if err == nil && (len(resp.GetMitigations()) != 1 || resp.GetVerdict().GetKind() != tidegatev1.VerdictKind_VERDICT_KIND_MITIGATED) {
				t.Errorf("got %v", resp)
			}
		})
	}
	if got := l.fake.State().ActiveCount(); got != 0 {
		t.Errorf("%d mitigations after previews", got)
	}
}

// The family of a match is that of the targets, whether the text says it or not.
func TestMatchText(t *testing.T) {
	l := newLab(t, "n1")
	l.load()
	client := tidegatev1.NewMitigationServiceClient(l.dial("n1", auth.Operator, "alice"))
	for _, row := range []struct{ name, target, match, want string }{
		{"empty", "203.0.113.77", "", "dst 203.0.113.77/32 => discard"},
		{"conditions", "203.0.113.77", "proto udp sport 53", "dst 203.0.113.77/32 proto udp sport 53 => discard"},
		{"family said", "203.0.113.77", "ipv4 proto udp", "dst 203.0.113.77/32 proto udp => discard"},
		{"source", "203.0.113.77", "src 192.0.2.0/24 proto udp", "dst 203.0.113.77/32 src 192.0.2.0/24 proto udp => discard"},
		{"source last", "203.0.113.77", "proto udp src 192.0.2.0/24", "dst 203.0.113.77/32 src 192.0.2.0/24 proto udp => discard"},
		{"IPv6", "2001:db8:a::1", "proto tcp dport 443", "dst 2001:db8:a::1/128 proto tcp dport 443 => discard"},
		{"IPv6 source", "2001:db8:a::1", "src 2001:db8:ffff::/48", "dst 2001:db8:a::1/128 src 2001:db8:ffff::/48 => discard"},
	} {
		t.Run(row.name, func(t *testing.T) {
			resp, err := client.Preview(t.Context(), &tidegatev1.PreviewRequest{Start: &tidegatev1.StartRequest{
				Targets: []string{row.target}, Match: row.match, Action: &tidegatev1.Action{Discard: true},
			}})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{row.want}, resp.GetMitigation().GetRules()); diff != "" {
				t.Errorf("%v: rules (-want +got):\n%s", resp.GetVerdict(), diff)
			}
		})
	}
}

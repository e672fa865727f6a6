package output

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// TestCertificateWarnings: from 14 days before its end, and when its files cannot be used.
func TestCertificateWarnings(t *testing.T) {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for _, row := range []struct {
		name string
		node *pb.Node
		want string
	}{
		{"long", &pb.Node{CertificateEnds: timestamppb.New(now.Add(15 * 24 * time.Hour))}, ""},
		{"not known", &pb.Node{}, ""},
		{"soon", &pb.Node{CertificateEnds: timestamppb.New(now.Add(13 * 24 * time.Hour))}, "the certificate ends 2026-03-14"},
		{"over", &pb.Node{CertificateEnds: timestamppb.New(now.Add(-time.Hour))}, "(1h ago)"},
		{"broken", &pb.Node{CertificateProblem: "no key"}, "cannot be used, and the node goes on with what it had: no key"},
	} {
		var b strings.Builder
		p := &Printer{W: &b, Format: Table, Now: now, Width: 100}
		row.node.Id, row.node.Answered, row.node.Serving = "n1", true, true
		if err := p.Cluster(&pb.StatusResponse{Nodes: []*pb.Node{row.node}}); err != nil {
			t.Fatal(err)
		}
		got := strings.Join(strings.Fields(b.String()), " ")
		if row.want == "" && strings.Contains(got, "certificate") || !strings.Contains(got, row.want) {
			t.Errorf("%s: %s", row.name, got)
		}
	}
}

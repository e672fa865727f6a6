package api

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/policy"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// TestActionBothWays: what the API says of an action it also understands.
func TestActionBothWays(t *testing.T) {
	v4, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for _, row := range []struct {
		want   string // the proto, in short
		action policy.Action
	}{
		{"discard:true", policy.Action{Kind: policy.Discard}},
		{"discard:true sample:true", policy.Action{Kind: policy.Discard, Sample: true}},
		{`rate:"10Mbps"`, policy.Action{Kind: policy.RateLimit, Rate: 1.25e6}},
		{`rate:"5kpps" continue:true`, policy.Action{Kind: policy.RateLimitPackets, Packets: 5000, Continue: true}},
		{`redirect:"65001:666"`, policy.Action{Kind: policy.Redirect, Target: flowspec.RouteTargetAS(65001, 666)}},
		{`redirect:"4200000000:666"`, policy.Action{Kind: policy.Redirect, Target: flowspec.RouteTargetAS(4200000000, 666)}},
		{`redirect:"65001L:666"`, policy.Action{Kind: policy.Redirect, Target: flowspec.RouteTarget{Form: flowspec.RTFormAS4, ASN: 65001, Local: 666}}},
		{`redirect:"192.0.2.1:666"`, policy.Action{Kind: policy.Redirect, Target: flowspec.RouteTargetAddress(v4, 666)}},
		{`redirect:"[2001:db8::1]:666"`, policy.Action{Kind: policy.Redirect, Target: flowspec.RouteTargetAddress(v6, 666)}},
		{`redirect_ip:"192.0.2.1"`, policy.Action{Kind: policy.RedirectIP, Address: v4}},
		{`redirect_ip:"2001:db8::1" copy:true`, policy.Action{Kind: policy.RedirectIP, Address: v6, Copy: true}},
		{`mark:"0"`, policy.Action{Kind: policy.Mark}},
		{`mark:"46" sample:true continue:true`, policy.Action{Kind: policy.Mark, DSCP: 46, Sample: true, Continue: true}},
		{"rtbh:true", policy.Action{Kind: policy.RTBH}},
	} {
		p := actionProto(row.action)
		// The text of a message is not stable: it may have two spaces for one.
		if got := strings.Join(strings.Fields(p.String()), " "); got != row.want {
			t.Errorf("%+v is said as %s, want %s", row.action, got, row.want)
		}
		v := &violations{}
		if got := v.action(p); got != row.action || len(v.list) > 0 {
			t.Errorf("%s is read as %+v, %v", p, got, v.list)
		}
	}
}

func TestBadAction(t *testing.T) {
	for _, row := range []struct {
		name   string
		action *tidegatev1.Action
		want   string
	}{
		{"none", nil, "action: it is not said what to do"},
		{"sample alone", &tidegatev1.Action{Sample: true}, "action: sample and continue go with an action, and there is none"},
		{"copy alone", &tidegatev1.Action{Copy: true}, "action: it is not said what to do"},
		{"copy of a discard", &tidegatev1.Action{Discard: true, Copy: true}, "action.copy: there is no address to copy to"},
		{"three actions", &tidegatev1.Action{Discard: true, Mark: "1", Rtbh: true}, "action: discard and mark and rtbh exclude each other"},
		{"rate without a unit", &tidegatev1.Action{Rate: "10"}, `action.rate: no unit`},
		{"no packets", &tidegatev1.Action{Rate: "0pps"}, `action.rate: "0pps" lets nothing through`},
		{"half a packet", &tidegatev1.Action{Rate: "0.5pps"}, "action.rate: 0.5 packets/s is below 1 packet/s"},
		{"no unit of packets", &tidegatev1.Action{Rate: "5xpps"}, `action.rate: unknown unit "xpps"`},
		{"no route target", &tidegatev1.Action{Redirect: "scrubber"}, `action.redirect: "scrubber" is no route target`},
		{"route target without a number", &tidegatev1.Action{Redirect: "65001:"}, `action.redirect: "65001:" is no route target`},
		{"route target that is too great", &tidegatev1.Action{Redirect: "4200000000:70000"}, `action.redirect: "4200000000:70000" is no route target`},
		{"two route targets", &tidegatev1.Action{Redirect: "65001:1 65001:2"}, `action.redirect: "65001:1 65001:2" is no route target`},
		{"prefix as address", &tidegatev1.Action{RedirectIp: "192.0.2.0/24"}, `action.redirect_ip: "192.0.2.0/24" is not an IP address`},
		{"DSCP by a wrong name", &tidegatev1.Action{Mark: "af44"}, `action.mark: "af44" is not a DSCP`},
		{"DSCP with a sign", &tidegatev1.Action{Mark: "+4"}, `action.mark: "+4" is not a DSCP`},
		{"DSCP 300", &tidegatev1.Action{Mark: "300"}, `action.mark: "300" is not a DSCP`},
	} {
		v := &violations{}
		v.action(row.action)
		if len(v.list) != 1 {
			t.Errorf("%s: %d violations", row.name, len(v.list))
			continue
		}
		if got := v.list[0].GetField() + ": " + v.list[0].GetProblem(); !strings.HasPrefix(got, row.want) || v.list[0].GetFix() == "" {
			t.Errorf("%s: %q; %q, want %q and a fix", row.name, got, v.list[0].GetFix(), row.want)
		}
	}
}

// TestDSCPNames holds the names against the numbers of the registry (IANA, Differentiated Services Field Codepoints).
func TestDSCPNames(t *testing.T) {
	want := map[string]uint8{
		"cs0": 0, "cs1": 8, "cs2": 16, "cs3": 24, "cs4": 32, "cs5": 40, "cs6": 48, "cs7": 56, "af11": 10, "af12": 12, "af13": 14,
		"af21": 18, "af22": 20, "af23": 22, "af31": 26, "af32": 28, "af33": 30, "af41": 34, "af42": 36, "af43": 38, "EF": 46, "va": 44, "le": 1, "be": 0, "63": 63,
	}
	got := map[string]uint8{}
	for name := range want {
		if n, ok := parseDSCP(name); ok {
			got[name] = n
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
}

package output

import (
	"testing"

	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

func TestAction(t *testing.T) {
	for want, a := range map[string]*pb.Action{
		"-":                        nil,
		"discard":                  {Discard: true},
		"discard, sample":          {Discard: true, Sample: true},
		"rate 5kpps, continue":     {Rate: "5kpps", Continue: true},
		"redirect 65001:666":       {Redirect: "65001:666"},
		"redirect to 192.0.2.1":    {RedirectIp: "192.0.2.1"},
		"copy to 192.0.2.1":        {RedirectIp: "192.0.2.1", Copy: true},
		"mark 0, sample, continue": {Mark: "0", Sample: true, Continue: true},
		"rtbh":                     {Rtbh: true},
	} {
		if got := Action(a); got != want {
			t.Errorf("Action(%v) = %q, want %q", a, got, want)
		}
	}
}

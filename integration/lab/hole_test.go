package lab

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func sample(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// The samples were taken from BIRD 2.0.12 and FRR 8.4.4.
func TestParseHoles(t *testing.T) {
	hole := func(prefix, hop string, med uint32, discards bool) Hole {
		return Hole{
			Prefix: netip.MustParsePrefix(prefix), NextHop: netip.MustParseAddr(hop), MED: med,
			Blackhole: true, NoExport: true, Discards: discards,
		}
	}
	same := cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})
	got, err := parseBIRDHoles(string(sample(t, "bird_holes.txt")))
	want := []Hole{
		hole("203.0.113.7/32", "192.0.2.66", 1000, true), hole("203.0.113.128/25", "192.0.2.66", 1002, true),
		hole("2001:db8::1/128", "100::1", 1001, true), hole("2001:db8:1::/48", "100::1", 1003, true),
	}
	if diff := cmp.Diff(want, got, same); diff != "" || err != nil {
		t.Errorf("bird, %v (-want +got):\n%s", err, diff)
	}

	prefixes, err := parseFRRPrefixes(sample(t, "frr_holes.json"))
	slices.SortFunc(prefixes, netip.Prefix.Compare)
	wantPrefixes := []netip.Prefix{netip.MustParsePrefix("203.0.113.7/32"), netip.MustParsePrefix("203.0.113.128/25")}
	if diff := cmp.Diff(wantPrefixes, prefixes, same); diff != "" || err != nil {
		t.Errorf("frr's prefixes, %v (-want +got):\n%s", err, diff)
	}
	got, err = parseFRRHoles(sample(t, "frr_hole.json"))
	if diff := cmp.Diff([]Hole{hole("2001:db8::1/128", "100::2", 1001, false)}, got, same); diff != "" || err != nil {
		t.Errorf("frr, %v (-want +got):\n%s", err, diff)
	}
	if got, err = parseFRRHoles([]byte("{\n}\n")); err != nil || len(got) > 0 {
		t.Errorf("a route of frr that has gone: %v, %v", got, err)
	}
	if _, err = parseFRRHoles([]byte(`{"prefix":"203.0.113.7/32","paths":[{}]}`)); err == nil {
		t.Error("a route of frr without a next hop passes")
	}
}

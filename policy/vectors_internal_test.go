package policy

import "testing"

// TestKnownVectors: known says of every name what vectorInfo says.
func TestKnownVectors(t *testing.T) {
	for _, info := range Vectors() {
		if !info.Name.known() || info.Description == "" {
			t.Errorf("%q: known %v, description %q", info.Name, info.Name.known(), info.Description)
		}
	}
	for _, v := range []Vector{"", "udp", "UDP_FLOOD", "dns_amplification "} {
		if _, ok := vectorInfo(v); ok || v.known() {
			t.Errorf("%q is known", v)
		}
	}
}

package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// fittingDocument is a policy or a router of which many signals meet.
func fittingDocument(r *rand.Rand) Document {
	if r.IntN(3) == 0 {
		d := &Router{
			Name: fmt.Sprint("r", r.IntN(4)), Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(1 + r.IntN(9))}), ASN: 64500,
			Group: []string{"edge", "transit"}[r.IntN(2)], Families: []flowspec.Family{flowspec.IPv4, flowspec.IPv6}[r.IntN(2):],
			Validation: ValidationDisabled, MaxPrefix: 100_000, AcceptUntested: true,
		}
		d.Profile = []string{"gobgp", "generic", "iosxr-ncs5500", "linux-edge", "junos-mx"}[r.IntN(5)]
		return d
	}
	action, _ := randomAction(r)
	d := &Policy{
		Name: fmt.Sprint("p", r.IntN(5)), Priority: r.IntN(5), Action: action, Lifetime: time.Hour, MaxMatches: r.IntN(2) * 6,
		MatchOn: [][]Hint{nil, {HintNone}, {HintSourcePorts}, {HintProtocols, HintDestinationPorts}, {HintLengths, HintSources}}[r.IntN(5)],
		Groups:  [][]string{nil, {"edge"}, {"transit"}}[r.IntN(3)],
	}
	if r.IntN(2) == 0 {
		d.Vectors = []Vector{fittingVectors()[r.IntN(len(fittingVectors()))]}
	}
	return d
}

func fittingVectors() []Vector {
	return []Vector{VectorDNSAmplification, VectorNTPAmplification, VectorSYNFlood, VectorICMPFlood, VectorUDPFlood}
}

// fittingSignal says one of few things about one of few addresses.
func fittingSignal(r *rand.Rand, n int) Signal {
	ranges := func() []flowspec.Range {
		return [][]flowspec.Range{nil, nil, {{Lo: 53, Hi: 53}}, {{Lo: 80, Hi: 90}, {Lo: 53, Hi: 53}}}[r.IntN(4)]
	}
	sig := Signal{
		Source: fmt.Sprint("d", r.IntN(2)), AttackID: fmt.Sprint(r.IntN(20)), Seq: uint64(n), Kind: SignalStart,
		Vector:  fittingVectors()[r.IntN(len(fittingVectors()))],
		Targets: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(r.IntN(12))}), 32)}, Protocols: [][]uint8{nil, nil, {17}, {17, 6}}[r.IntN(4)],
		SourcePorts: ranges(), DestinationPorts: ranges(), PacketLengths: ranges(), BitsPerSecond: 1e9,
	}
	switch r.IntN(6) {
	case 0:
		sig.SourcePrefixes = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	case 1:
		sig.Targets[0] = netip.PrefixFrom(sig.Targets[0].Addr(), 29).Masked()
	case 2:
		sig.Targets[0] = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 15: byte(r.IntN(4))}), 128)
	}
	if r.IntN(8) == 0 {
		sig.Kind = SignalEnd
	}
	return sig
}

// TestPropertyFittings: a decision with what is remembered of earlier signals is the one without.
func TestPropertyFittings(t *testing.T) {
	warm, kinds := 0, map[VerdictKind]int{}
	for seed := range uint64(16) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := NewState()
		e := Entry{At: start(), By: "member/n1", Reason: "r"}
		apply := func(cs []Change) {
			e.Index = s.Index() + 1
			e.At = e.At.Add(time.Second)
			next, err := s.Apply(e, cs)
			if err != nil {
				t.Fatal(err)
			}
			s = next
		}
		apply([]Change{&PutDocument{&Customer{
			ID: "c", Name: "C", Official: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/40")},
			Services: [][]Service{nil, {{Protocol: 17, Ports: []flowspec.Range{{Lo: 53, Hi: 53}}}}}[seed%2],
		}}})
		for n := range 600 {
			if n%60 < 8 {
				req := &ApplyRequest{Documents: []Document{fittingDocument(r)}}
				if d := Decide(s, req, e); d.Verdict.Kind == Mitigated {
					apply(d.Changes)
				}
				continue
			}
			req := &SignalRequest{Signal: fittingSignal(r, n)}
			before := len(s.inv.fittings.known)
			got := Decide(s, req, e)
			if before > 0 && len(s.inv.fittings.known) == before {
				warm++
			}
			cold := *s
			cold.inv.fittings = &fittings{}
			want := Decide(&cold, req, e)
			if !reflect.DeepEqual(want, got) { // quicker than cmp.Diff
				diff := cmp.Diff(want, got, cmp.Exporter(func(reflect.Type) bool { return true }))
				t.Fatalf("seed %d, step %d (-without +with what is remembered):\n%s", seed, n, diff)
			}
			kinds[got.Verdict.Kind]++
			if len(got.Changes) > 0 {
				apply(got.Changes)
			}
		}
	}
	for _, k := range []VerdictKind{Mitigated, Merged, Refused} {
		if kinds[k] < 100 {
			t.Errorf("only %d decisions of kind %d: %v", kinds[k], k, kinds)
		}
	}
	if warm < 2000 {
		t.Errorf("only %d decisions could use what was remembered", warm)
	}
}

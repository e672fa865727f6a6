package flowspec

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestExcept holds what a match becomes that is to leave a service alone.
func TestExcept(t *testing.T) {
	dns := Exception{Protocol: 17, Ports: []Range{One(53)}}
	web := Exception{Protocol: 6, Ports: []Range{One(80), One(443)}}
	for _, c := range []struct {
		name, match string
		except      []Exception
		want        []string
	}{
		{"another protocol", "ipv4 proto tcp", []Exception{dns}, []string{"ipv4 proto tcp"}},
		{"another port", "ipv4 proto udp dport 80", []Exception{dns}, []string{"ipv4 proto udp dport 80"}},
		{"one port of a protocol", "ipv4 proto udp", []Exception{dns}, []string{"ipv4 proto udp dport <=52|>=54", "ipv4 proto udp frag any:is-fragment"}},
		{"all that there is", "ipv4 proto udp dport 53", []Exception{dns}, nil},
		{"a whole protocol", "ipv4 proto udp", []Exception{{Protocol: 17}}, nil},
		{"one of two protocols", "ipv4 proto tcp|udp", []Exception{{Protocol: 17}}, []string{"ipv4 proto tcp"}},
		{"its fragments", "ipv4 proto udp frag any:is-fragment", []Exception{dns}, []string{"ipv4 proto udp frag any:is-fragment"}},
		{"ports without a protocol", "ipv4 dport 53", []Exception{dns}, []string{"ipv4 proto tcp dport 53"}},
		{"SYN", "ipv4 proto tcp tcp-flags syn&!ack", []Exception{web}, []string{"ipv4 proto tcp dport <=79|81-442|>=444 tcp-flags syn&!ack"}},
		{"a range around it", "ipv4 proto udp dport 50-60", []Exception{dns}, []string{"ipv4 proto udp dport 50-52|54-60"}},
		{"more ports than routers take in one condition", "ipv4 proto udp sport 53", []Exception{{Protocol: 17, Ports: []Range{One(10), One(20), One(30), One(40)}}}, []string{
			"ipv4 proto udp dport <=9|11-19|21-29 sport 53", "ipv4 proto udp dport 31-39|>=41 sport 53",
		}},
		{"two of one protocol", "ipv4 proto udp sport 53", []Exception{dns, {Protocol: 17, Ports: []Range{One(54)}}}, []string{"ipv4 proto udp dport <=52|>=55 sport 53"}},
		{"every port by itself", "ipv4 proto udp sport 53", []Exception{{Protocol: 17, Ports: []Range{{0, 65535}}}}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := ParseMatch(c.match)
			if err != nil {
				t.Fatal(err)
			}
			out, err := m.Except(c.except...)
			if err != nil {
				t.Fatal(err)
			}
			var got []Match
			for _, w := range c.want {
				m, err := ParseMatch(w)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, m)
			}
			text := func(ms []Match) []string {
				var out []string
				for _, m := range ms {
					s, err := m.Simplify()
					if err != nil {
						t.Fatal(err)
					}
					out = append(out, s.String())
				}
				return slices.Sorted(slices.Values(out))
			}
			if d := cmp.Diff(text(got), text(out)); d != "" {
				t.Errorf("matches (-want +got):\n%s", d)
			}
		})
	}
	everything, err := Match{Family: IPv6}.Except(web)
	if err != nil || len(everything) != 3 {
		t.Errorf("every packet without a service: %v, %v; want three matches", everything, err)
	}
}

// TestPropertyExcept asks packets: none of an exception is taken, and every other one that the match took still is, but
// for those of an excepted protocol that end before their ports.
func TestPropertyExcept(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 7))
	taken, spared := 0, 0
	for range 4000 {
		m := randomNarrowMatch(r)
		var exceptions []Exception
		for range 1 + r.IntN(3) {
			exceptions = append(exceptions, randomException(r))
		}
		out, err := m.Except(exceptions...)
		if err != nil {
			t.Fatalf("%s except %v: %v", m.String(), exceptions, err)
		}
		for _, o := range out {
			if err := CheckSafe(o); err != nil && len(o.Components) > 0 {
				t.Fatalf("%s except %v: %v", m.String(), exceptions, err)
			}
		}
		for range 60 {
			p := randomSmallPacket(r)
			before := len(m.Components) == 0 || m.Matches(&p)
			now := false
			for i := range out {
				now = now || len(out[i].Components) == 0 || out[i].Matches(&p)
			}
			excepted, unknown := false, false
			for _, e := range exceptions {
				x := e.Match(IPv4)
				excepted = excepted || x.Matches(&p)
				unknown = unknown || p.Protocol == e.Protocol && len(e.Ports) > 0 && !p.HasPorts && p.Fragment&IsFragment == 0
			}
			switch {
			case excepted && now:
				t.Fatalf("%s except %v takes %+v, which is excepted", m.String(), exceptions, p)
			case now && !before:
				t.Fatalf("%s except %v takes %+v, which %s does not", m.String(), exceptions, p, m.String())
			case before && !excepted && !unknown && !now:
				t.Fatalf("%s except %v does not take %+v any more; it became %v", m.String(), exceptions, p, out)
			}
			if now {
				taken++
			}
			if before && excepted {
				spared++
			}
		}
	}
	if taken < 10_000 || spared < 1000 {
		t.Errorf("%d packets were taken and %d spared: that says little", taken, spared)
	}
}

func randomException(r *rand.Rand) Exception {
	e := Exception{Protocol: []uint8{6, 17, 17, 1, 47}[r.IntN(5)]}
	if e.Protocol == 6 || e.Protocol == 17 {
		for range r.IntN(5) {
			lo := uint64(r.IntN(12))
			e.Ports = append(e.Ports, Range{lo, min(lo+uint64(r.IntN(3)), 65535)})
		}
	}
	return e
}

// randomNarrowMatch has conditions that meet the exceptions.
func randomNarrowMatch(r *rand.Rand) Match {
	m := Match{Family: IPv4}
	if r.IntN(3) > 0 {
		m.Components = append(m.Components, Proto([][]uint8{{6}, {17}, {6, 17}, {1, 6, 17, 47}, {50}}[r.IntN(5)]...))
	}
	ports := func(t ComponentType) {
		if r.IntN(5) == 0 {
			lo := uint64(r.IntN(12))
			m.Components = append(m.Components, Values(t, Range{lo, lo + uint64(r.IntN(6))}))
		}
	}
	ports(Port)
	ports(DestinationPort)
	ports(SourcePort)
	if r.IntN(6) == 0 {
		m.Components = append(m.Components, FlagsExcept(SYN, ACK))
	}
	if r.IntN(4) == 0 {
		m.Components = append(m.Components, Fragments([]uint8{IsFragment, FirstFragment, LastFragment, IsFragment | FirstFragment}[r.IntN(4)]))
	}
	return m
}

func randomSmallPacket(r *rand.Rand) Packet {
	p := Packet{
		Src: netip.AddrFrom4([4]byte{192, 0, 2, 1}), Dst: netip.AddrFrom4([4]byte{203, 0, 113, 9}),
		Protocol: []uint8{6, 17, 17, 1, 47, 50}[r.IntN(6)], SrcPort: uint16(r.IntN(14)), DstPort: uint16(r.IntN(14)),
		TCPFlags: []uint16{SYN, ACK, SYN | ACK}[r.IntN(3)], Length: 100,
		Fragment: FragmentBits(r.IntN(2) == 0, r.IntN(3) == 0, uint16(r.IntN(4)/3)),
	}
	p.HasPorts = r.IntN(8) > 0 && p.Fragment&IsFragment == 0
	return p
}

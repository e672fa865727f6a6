package policy_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/policy"
)

// serving is the inventory with services of uni-a, and a policy for UDP floods.
func serving(services ...policy.Service) []policy.Document {
	docs := append(inventory(), &policy.Policy{
		Name: "holding", Priority: 20, Vectors: []policy.Vector{policy.VectorUDPFlood, policy.VectorCarpetBombing, policy.VectorTCPFlood},
		Action: policy.Action{Kind: policy.Discard}, Groups: []string{"edge"},
	})
	for _, d := range docs {
		if c, ok := d.(*policy.Customer); ok && c.ID == "uni-a" {
			c.Services = services
		}
	}
	return docs
}

// keeping is the apply that gives uni-a these services.
func keeping(services ...policy.Service) *policy.ApplyRequest {
	for _, d := range serving(services...) {
		if c, ok := d.(*policy.Customer); ok && c.ID == "uni-a" {
			return &policy.ApplyRequest{Documents: []policy.Document{c}}
		}
	}
	return nil
}

func service(protocol uint8, at string, ports ...uint64) policy.Service {
	v := policy.Service{Protocol: protocol}
	if at != "" {
		v.Prefixes = pfxs(at)
	}
	for _, p := range ports {
		v.Ports = append(v.Ports, flowspec.One(p))
	}
	return v
}

// TestServices holds what a mitigation becomes where a customer keeps services.
func TestServices(t *testing.T) {
	for _, c := range []struct {
		name     string
		services []policy.Service
		req      policy.Request
		rules    []string
		notes    []string
	}{
		{
			"a name server under a UDP flood",
			[]policy.Service{service(17, "198.51.100.53/32", 53)},
			signal("a", 1, policy.VectorUDPFlood, pfxs("198.51.100.53/32")),
			[]string{
				"dst 198.51.100.53/32 proto udp dport <=52|>=54 => discard", "dst 198.51.100.53/32 proto udp frag any:is-fragment => discard",
			},
			[]string{"keeps udp/53 at 198.51.100.53, by destination port", "fragments after the first carry no ports: they are taken"},
		},
		{
			"other protocols of every packet",
			[]policy.Service{service(6, "198.51.100.53/32", 443)},
			discard("198.51.100.53/32"),
			[]string{
				"dst 198.51.100.53/32 proto 0-5|7-255 => discard", "dst 198.51.100.53/32 proto tcp dport <=442|>=444 => discard",
				"dst 198.51.100.53/32 proto tcp frag any:is-fragment => discard",
			},
			nil,
		},
		{
			"a server inside of a prefix",
			[]policy.Service{service(17, "198.51.100.53/32")},
			signal("a", 1, policy.VectorUDPFlood, pfxs("198.51.100.52/31")),
			[]string{"dst 198.51.100.52/32 proto udp => discard"},
			[]string{"198.51.100.53 is left out"},
		},
		{
			"packets that are of no service",
			[]policy.Service{service(6, "", 443)},
			signal("a", 1, policy.VectorUDPFlood, pfxs("198.51.100.53/32")),
			[]string{"dst 198.51.100.53/32 proto udp => discard"},
			nil,
		},
		{
			"many ports",
			[]policy.Service{service(17, "", 10, 20, 30, 40)},
			signal("a", 1, policy.VectorUDPFlood, pfxs("198.51.100.53/32"), func(s *policy.Signal) {
				s.SourcePorts = []flowspec.Range{flowspec.One(53)}
			}),
			[]string{
				"dst 198.51.100.53/32 proto udp dport 11-19|21-29|<=9 sport 53 => discard", "dst 198.51.100.53/32 proto udp dport 31-39|>=41 sport 53 => discard",
			},
			nil,
		},
		{
			"a blackhole leaves the address out",
			[]policy.Service{service(17, "198.51.100.53/32", 53)},
			blackhole("198.51.100.52/31"),
			[]string{"dst 198.51.100.52/32 => accept"},
			[]string{"198.51.100.53 is left out: a blackhole takes every packet"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, append(serving(c.services...), blackholer("bh", "192.0.2.77", 100, flowspec.IPv4))...)
			d := w.decide(c.req)
			if d.Verdict.Kind != policy.Mitigated {
				t.Fatal(d.Verdict.Reason)
			}
			m := d.Mitigations[0]
			got := texts(m.Rules)
			slices.Sort(got)
			slices.Sort(c.rules)
			same(t, "rules", c.rules, got)
			for _, n := range c.notes {
				if !strings.Contains(strings.Join(m.Notes, "\n"), n) {
					t.Errorf("no note has %q: %q", n, m.Notes)
				}
			}
		})
	}
}

// TestServiceAdded holds that a service narrows what is active in the entry that adds it, that its removal widens nothing,
// and that what is left without a packet ends.
func TestServiceAdded(t *testing.T) {
	w := newWorld(t, serving()...)
	flood := signal("a", 1, policy.VectorUDPFlood, pfxs("198.51.100.53/32"))
	w.must(policy.Mitigated, policy.CodeMitigated, flood)
	only := signal("b", 1, policy.VectorUDPFlood, pfxs("198.51.100.54/32"), func(s *policy.Signal) { s.DestinationPorts = []flowspec.Range{flowspec.One(53)} })
	w.must(policy.Mitigated, policy.CodeMitigated, only)

	dns := service(17, "", 53)
	d := w.must(policy.Mitigated, policy.CodeApplied, keeping(dns))
	same(t, "narrowed", []policy.MitigationID{1}, d.Plan.Narrowed)
	same(t, "ended", []policy.MitigationID{2}, d.Plan.Ended)
	m := w.mitigation(1)
	same(t, "rules", []string{
		"dst 198.51.100.53/32 proto udp dport <=52|>=54 => discard", "dst 198.51.100.53/32 proto udp frag any:is-fragment => discard",
	}, texts(m.Rules))
	expectText(t, policy.Reason{Text: m.History[len(m.History)-1].Text}, "customer uni-a keeps udp/53")
	expectText(t, policy.Reason{Text: w.mitigation(2).EndNote}, "customer uni-a keeps udp/53")

	w.must(policy.Refused, policy.CodeAllAllowed, signal("c", 1, policy.VectorUDPFlood, pfxs("198.51.100.54/32"), func(s *policy.Signal) {
		s.DestinationPorts = []flowspec.Range{flowspec.One(53)}
	}))

	// Removed again: the attack keeps what it has, a new one does not.
	w.must(policy.Mitigated, policy.CodeApplied, keeping())
	same(t, "rules after the removal", texts(m.Rules), texts(w.mitigation(1).Rules))
	flood.Signal.Seq = 2
	w.must(policy.Merged, policy.CodeRepetition, flood)
	d = w.must(policy.Mitigated, policy.CodeMitigated, signal("d", 1, policy.VectorUDPFlood, pfxs("198.51.100.53/32")))
	same(t, "rules of a new attack", []string{"dst 198.51.100.53/32 proto udp => discard"}, texts(d.Mitigations[0].Rules))
}

// TestServiceViolations holds what is refused of a customer's services.
func TestServiceViolations(t *testing.T) {
	for _, c := range []struct {
		name, field, problem string
		v                    policy.Service
	}{
		{"elsewhere", "services[0].prefixes[0]", "not inside official space", service(17, "192.0.2.0/25", 53)},
		{"ports of GRE", "services[0].ports", "protocol 47 has no ports", service(47, "", 53)},
		{"no port", "services[0].ports[0]", "65536 is not a range of ports", service(17, "", 65536)},
		{"ends before it begins", "services[0].ports[0]", "9-8 is not a range", policy.Service{Protocol: 17, Ports: []flowspec.Range{{Lo: 9, Hi: 8}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cust := keeping(c.v).Documents[0]
			vs := cust.Validate()
			if len(vs) != 1 || vs[0].Field != c.field || !strings.Contains(vs[0].Problem, c.problem) {
				t.Errorf("violations %+v, want one of %s: %s", vs, c.field, c.problem)
			}
		})
	}
}

// TestPropertyServices asks packets of random mitigations where random services are allowed: none of a service is acted on,
// however services and mitigations come about; and as long as services are spared where they are and nowhere else, each
// other packet is acted on that would be without them, but for those that end before their ports.
func TestPropertyServices(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 29))
	taken, spared := 0, 0
	for range 400 {
		services := randomServices(r)
		plain, w := newWorld(t, serving()...), newWorld(t, serving(services...)...)
		var reqs []policy.Request
		for range 1 + r.IntN(3) {
			reqs = append(reqs, randomHold(r))
		}
		for _, req := range reqs {
			a, b := plain.decide(req), w.decide(req)
			if a.Verdict.Kind != policy.Mitigated || b.Verdict.Kind != policy.Mitigated {
				continue // nothing left, or it would be shielded
			}
			before, now := a.Mitigations[0], b.Mitigations[0]
			for range 150 {
				p := randomPacketTo(r, before.Targets)
				was, is := takes(before.Rules, &p), takes(now.Rules, &p)
				allowed, unknown := serves(services, &p)
				switch {
				case allowed && is:
					t.Fatalf("%v take %+v, which is of %v", texts(now.Rules), p, services)
				case is && !was:
					t.Fatalf("%v take %+v, which %v do not", texts(now.Rules), p, texts(before.Rules))
				case was && !allowed && !unknown && !is && !noted(now, "whole destinations"):
					t.Fatalf("%v do not take %+v any more, services %v, rules before %v", texts(now.Rules), p, services, texts(before.Rules))
				}
				taken, spared = taken+one(is), spared+one(was && allowed)
			}
		}
		// Services come and go: what is active becomes narrower only, and spares what is allowed.
		for range 3 {
			var old []*policy.Mitigation
			old = slices.AppendSeq(old, w.s.Active())
			services = randomServices(r)
			if d := w.decide(keeping(services...)); d.Verdict.Kind == policy.Refused {
				t.Fatal(d.Verdict.Reason)
			}
			for _, before := range old {
				now := w.mitigation(before.ID)
				for range 60 {
					p := randomPacketTo(r, before.Targets)
					is := now.Phase == policy.Active && takes(now.Rules, &p)
					if allowed, _ := serves(services, &p); allowed && is {
						t.Fatalf("after services came: %v take %+v, which is of %v", texts(now.Rules), p, services)
					}
					if is && !takes(before.Rules, &p) {
						t.Fatalf("after services came: %v take %+v, which %v did not", texts(now.Rules), p, texts(before.Rules))
					}
				}
			}
		}
	}
	if taken < 10_000 || spared < 1000 {
		t.Errorf("%d packets were taken, %d spared: that says little", taken, spared)
	}
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

func noted(m *policy.Mitigation, part string) bool {
	return slices.ContainsFunc(m.Notes, func(n string) bool { return strings.Contains(n, part) })
}

func takes(rules []flowspec.Rule, p *flowspec.Packet) bool {
	return slices.ContainsFunc(rules, func(r flowspec.Rule) bool { return r.Match.Matches(p) })
}

// serves says whether a packet is of a service, and whether it cannot be told because it ends before its ports.
func serves(services []policy.Service, p *flowspec.Packet) (yes, unknown bool) {
	for _, v := range services {
		at := len(v.Prefixes) == 0 || slices.ContainsFunc(v.Prefixes, func(q netip.Prefix) bool { return q.Contains(p.Dst) })
		if !at || p.Protocol != v.Protocol {
			continue
		}
		if len(v.Ports) == 0 {
			return true, false
		}
		if !p.HasPorts && p.Fragment&flowspec.IsFragment == 0 {
			unknown = true
		}
		if p.HasPorts && slices.ContainsFunc(v.Ports, func(r flowspec.Range) bool { return uint64(p.DstPort) >= r.Lo && uint64(p.DstPort) <= r.Hi }) {
			return true, false
		}
	}
	return false, unknown
}

func randomServices(r *rand.Rand) []policy.Service {
	var out []policy.Service
	for range r.IntN(4) {
		v := policy.Service{Protocol: []uint8{6, 17, 17, 47}[r.IntN(4)]}
		if r.IntN(3) > 0 {
			v.Prefixes = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(r.IntN(32))}), 27+r.IntN(6)).Masked()}
		}
		if v.Protocol != 47 && r.IntN(4) > 0 {
			for range 1 + r.IntN(4) {
				lo := uint64(r.IntN(10))
				v.Ports = append(v.Ports, flowspec.Range{Lo: lo, Hi: lo + uint64(r.IntN(3))})
			}
		}
		out = append(out, v)
	}
	return out
}

// randomHold is a signal or an order that holds packets back in 198.51.100.0/27.
func randomHold(r *rand.Rand) policy.Request {
	target := []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(r.IntN(32))}), 27+r.IntN(6)).Masked()}
	if r.IntN(3) == 0 {
		req := &policy.StartRequest{Targets: target, Action: policy.Action{Kind: policy.Discard}}
		if r.IntN(2) == 0 {
			req.Action = policy.Action{Kind: policy.RateLimit, Rate: 1e6}
		}
		return req
	}
	v := []policy.Vector{policy.VectorUDPFlood, policy.VectorCarpetBombing, policy.VectorTCPFlood}[r.IntN(3)]
	return signal(fmt.Sprint("x", r.IntN(1e6)), 1, v, target, func(s *policy.Signal) {
		if r.IntN(2) == 0 {
			s.DestinationPorts = []flowspec.Range{{Lo: uint64(r.IntN(8)), Hi: uint64(8 + r.IntN(3))}}
		}
		if r.IntN(3) == 0 {
			s.SourcePorts = []flowspec.Range{flowspec.One(uint64(r.IntN(4)))}
		}
	})
}

func randomPacketTo(r *rand.Rand, targets []netip.Prefix) flowspec.Packet {
	t := targets[r.IntN(len(targets))]
	a := t.Addr().As4()
	a[3] += byte(r.IntN(1 << (32 - t.Bits())))
	p := flowspec.Packet{
		Src: netip.AddrFrom4([4]byte{192, 0, 2, 9}), Dst: netip.AddrFrom4(a), Protocol: []uint8{6, 17, 17, 1, 47}[r.IntN(5)],
		SrcPort: uint16(r.IntN(5)), DstPort: uint16(r.IntN(13)), TCPFlags: flowspec.SYN, Length: 500,
		Fragment: flowspec.FragmentBits(false, r.IntN(4) == 0, uint16(r.IntN(4)/3)),
	}
	p.HasPorts = r.IntN(8) > 0 && p.Fragment&flowspec.IsFragment == 0
	return p
}

func serviceCases() []reasonCase {
	docs := serving(service(17, "198.51.100.53/32", 53), service(6, "", 443))
	named := func(s *policy.Signal) { s.DestinationPorts = []flowspec.Range{flowspec.One(53)} }
	return []reasonCase{
		{
			name: "the allowed port itself", docs: docs, req: signal("a", 1, policy.VectorUDPFlood, pfxs("198.51.100.53/32"), named), kind: policy.Refused,
			code: policy.CodeAllAllowed, text: []string{"198.51.100.53", "uni-a", "udp/53"},
		},
		{
			name: "a blackhole of a server", docs: append(docs, blackholer("bh", "192.0.2.77", 100, flowspec.IPv4)), req: blackhole("198.51.100.9/32"), kind: policy.Refused,
			code: policy.CodeAllAllowed, text: []string{"a blackhole takes every packet", "tcp/443"},
		},
	}
}

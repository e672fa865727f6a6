package api

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/policy"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// The protocols that a service may be named by, and their numbers.
const (
	tcp, udp           = "tcp", "udp"
	protoTCP, protoUDP = 6, 17
	servicesWritten    = "write tcp, udp or an IP protocol number from 0 to 255"
	portsWritten       = "write a port from 0 to 65535, or a range such as 8000-8100"
)

// services reads the services of a customer.
func (v *violations) services(in []*tidegatev1.Service) []policy.Service {
	var out []policy.Service
	for i, s := range in {
		at := item("services", i)
		one := policy.Service{Protocol: v.protocol(at+".protocol", s.GetProtocol()), Note: s.GetNote()}
		inner := &violations{document: v.document, prefix: v.prefix + at + "."}
		one.Prefixes, _ = inner.networks("prefixes", s.GetPrefixes(), true, false)
		v.list = append(v.list, inner.list...)
		for j, text := range s.GetPorts() {
			one.Ports = append(one.Ports, v.ports(item(at+".ports", j), text))
		}
		out = append(out, one)
	}
	return out
}

// protocol reads a protocol by its name or its number.
func (v *violations) protocol(field, s string) uint8 {
	switch strings.ToLower(s) {
	case "":
		v.add(field, "it is missing", servicesWritten)
		return 0
	case tcp:
		return protoTCP
	case udp:
		return protoUDP
	}
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil {
		v.add(field, quote(s)+" is not a protocol", servicesWritten)
	}
	return uint8(n)
}

// ports reads a port or a range of ports.
func (v *violations) ports(field, s string) flowspec.Range {
	lo, hi, isRange := strings.Cut(s, "-")
	if !isRange {
		hi = lo
	}
	first, err := strconv.ParseUint(lo, 10, 16)
	last, err2 := strconv.ParseUint(hi, 10, 16)
	if err != nil || err2 != nil || first > last {
		v.add(field, quote(s)+" is not a port", portsWritten)
		return flowspec.One(math.MaxUint16)
	}
	return flowspec.Range{Lo: first, Hi: last}
}

func servicesProto(in []policy.Service) []*tidegatev1.Service {
	var out []*tidegatev1.Service
	for _, s := range in {
		one := &tidegatev1.Service{Prefixes: prefixText(s.Prefixes), Protocol: fmt.Sprint(s.Protocol), Note: s.Note}
		switch s.Protocol {
		case protoTCP:
			one.Protocol = tcp
		case protoUDP:
			one.Protocol = udp
		}
		for _, r := range s.Ports {
			text := fmt.Sprint(r.Lo)
			if r.Hi != r.Lo {
				text = fmt.Sprintf("%d-%d", r.Lo, r.Hi)
			}
			one.Ports = append(one.Ports, text)
		}
		out = append(out, one)
	}
	return out
}

// servicesText names services in a sentence.
func servicesText(list []policy.Service) string {
	var words []string
	for _, s := range list {
		words = append(words, s.Text())
	}
	return strings.Join(words, ", ")
}

func detectorFrom(in *tidegatev1.Detector) *policy.Detector {
	out := &policy.Detector{Name: in.GetName(), Trust: 1, Note: in.GetNote()}
	if in.Trust != nil {
		out.Trust = in.GetTrust()
	}
	return out
}

func detectorProto(x *policy.Detector) *tidegatev1.Detector {
	trust := x.Trust
	return &tidegatev1.Detector{Name: x.Name, Trust: &trust, Note: x.Note}
}

// shapeOf says what the rules leave alone, and how sure the detectors are.
func shapeOf(out *tidegatev1.Mitigation, m *policy.Mitigation) {
	for _, s := range m.Services {
		out.Spared = append(out.Spared, s.Text())
	}
	out.Confidence = m.Confidence
	if len(m.Reported) > 0 {
		addresses, share := m.Collateral()
		out.Collateral = &tidegatev1.Collateral{Reported: prefixText(m.Reported), Addresses: addresses, Percent: share * 100}
	}
}

// aggregate reads when a policy aggregates; what is left out keeps its default, and nothing at all says nothing.
func (v *violations) aggregate(in *tidegatev1.Aggregate) policy.Aggregate {
	if in == nil {
		return policy.Aggregate{}
	}
	out := policy.DefaultAggregate()
	if in.MinTargets != nil {
		out.MinTargets = int(in.GetMinTargets())
	}
	if in.MinShare != nil {
		out.MinShare = in.GetMinShare()
	}
	if in.WidestIpv4 != nil {
		out.WidestIPv4 = v.octet("aggregate.widest_ipv4", in.GetWidestIpv4(), "a prefix length, such as 22")
	}
	if in.WidestIpv6 != nil {
		out.WidestIPv6 = v.octet("aggregate.widest_ipv6", in.GetWidestIpv6(), "a prefix length, such as 48")
	}
	return out
}

func aggregateProto(a policy.Aggregate) *tidegatev1.Aggregate {
	if a == (policy.Aggregate{}) {
		return nil
	}
	targets, v4, v6 := uint32(a.MinTargets), uint32(a.WidestIPv4), uint32(a.WidestIPv6)
	return &tidegatev1.Aggregate{MinTargets: &targets, MinShare: &a.MinShare, WidestIpv4: &v4, WidestIpv6: &v6}
}

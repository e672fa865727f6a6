package remote

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"math"
	"net/netip"

	"google.golang.org/protobuf/proto"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
	speakerv1 "github.com/tidegate/tidegate/proto/tidegate/speaker/v1"
)

// errWire is wrapped by the errors of the codec: what came is not what this program sends.
var errWire = errors.New("not a value that tidegate sends")

// unpacker turns messages into values and remembers the first thing that is wrong.
type unpacker struct{ err error }

func (u *unpacker) fail(format string, args ...any) {
	if u.err == nil {
		u.err = fmt.Errorf("%w: %s", errWire, fmt.Sprintf(format, args...))
	}
}

// narrow is v in a smaller type, if it fits.
func narrow[T ~uint8 | ~uint16](u *unpacker, what string, v uint32) T {
	out := T(v)
	if uint32(out) != v {
		u.fail("%s is %d", what, v)
	}
	return out
}

func packAddr(a netip.Addr) []byte {
	if !a.IsValid() {
		return nil
	}
	b, _ := a.MarshalBinary() // never fails
	return b
}

func (u *unpacker) addr(what string, b []byte) netip.Addr {
	var a netip.Addr
	if err := a.UnmarshalBinary(b); err != nil {
		u.fail("%s: %v", what, err)
	}
	return a
}

func packPrefix(p netip.Prefix) []byte {
	if p == (netip.Prefix{}) {
		return nil
	}
	b, _ := p.MarshalBinary() // never fails
	return b
}

func (u *unpacker) prefix(what string, b []byte) netip.Prefix {
	var p netip.Prefix
	if len(b) == 0 {
		return p
	}
	if err := p.UnmarshalBinary(b); err != nil {
		u.fail("%s: %v", what, err)
	}
	return p
}

// each maps a list; one without members is nil.
func each[A, B any](in []A, f func(A) B) []B {
	if len(in) == 0 {
		return nil
	}
	out := make([]B, len(in))
	for i := range in {
		out[i] = f(in[i])
	}
	return out
}

func packFrame(w *wanted.Set) *speakerv1.Frame {
	return &speakerv1.Frame{
		Protected: each(w.Protected, packPrefix), Official: each(w.Official, packPrefix), Routers: each(w.Routers, packRouter),
		ShortestIpv4: uint32(w.ShortestRTBH.IPv4), ShortestIpv6: uint32(w.ShortestRTBH.IPv6),
	}
}

// frame fills those fields of w that a frame holds.
func (u *unpacker) frame(f *speakerv1.Frame, w *wanted.Set) {
	prefix := func(b []byte) netip.Prefix { return u.prefix("prefix", b) }
	w.Protected, w.Official = each(f.GetProtected(), prefix), each(f.GetOfficial(), prefix)
	w.Routers = each(f.GetRouters(), u.router)
	w.ShortestRTBH = wanted.Lengths{
		IPv4: narrow[uint8](u, "shortest RTBH prefix", f.GetShortestIpv4()), IPv6: narrow[uint8](u, "shortest RTBH prefix", f.GetShortestIpv6()),
	}
}

func packRouter(r wanted.Router) *speakerv1.Router {
	return &speakerv1.Router{
		Name: r.Name, Address: packAddr(r.Address), Port: uint32(r.Port), Asn: uint32(r.ASN), Group: r.Group,
		Carries: uint32(r.Carries), Ipv4: r.IPv4, Ipv6: r.IPv6, DiscardIpv4: packAddr(r.DiscardIPv4), DiscardIpv6: packAddr(r.DiscardIPv6),
		MaxRoutes: int64(r.MaxRoutes), RulesPerSecond: int64(r.RulesPerSecond), Password: r.Password,
		TtlSecurity: r.TTLSecurity, Multihop: uint32(r.Multihop), Unusable: r.Unusable,
	}
}

func (u *unpacker) router(r *speakerv1.Router) wanted.Router {
	return wanted.Router{
		Name: r.GetName(), Address: u.addr("router", r.GetAddress()), Port: narrow[uint16](u, "port", r.GetPort()),
		ASN: flowspec.ASN(r.GetAsn()), Group: r.GetGroup(), Carries: narrow[wanted.Kind](u, "kind", r.GetCarries()),
		IPv4: r.GetIpv4(), IPv6: r.GetIpv6(),
		DiscardIPv4: u.addr("discard next hop", r.GetDiscardIpv4()), DiscardIPv6: u.addr("discard next hop", r.GetDiscardIpv6()),
		MaxRoutes: int(r.GetMaxRoutes()), RulesPerSecond: int(r.GetRulesPerSecond()), Password: r.GetPassword(),
		TTLSecurity: r.GetTtlSecurity(), Multihop: narrow[uint8](u, "multihop", r.GetMultihop()), Unusable: r.GetUnusable(),
	}
}

func packRoute(r *wanted.Route) *speakerv1.Route {
	return &speakerv1.Route{
		Kind: uint32(r.Kind), Family: uint32(r.Rule.Match.Family), Components: each(r.Rule.Match.Components, packComponent),
		Actions: each(r.Rule.Actions, packAction), Key: []byte(r.Key), Med: r.MED, NotAfter: int64(r.NotAfter),
		Groups: r.Groups, Urgency: r.Urgency,
	}
}

func (u *unpacker) route(r *speakerv1.Route) *wanted.Route {
	return &wanted.Route{
		Kind: narrow[wanted.Kind](u, "kind", r.GetKind()),
		Rule: flowspec.Rule{
			Match:   flowspec.Match{Family: narrow[flowspec.Family](u, "family", r.GetFamily()), Components: each(r.GetComponents(), u.component)},
			Actions: each(r.GetActions(), u.action),
		},
		Key: flowspec.Key(r.GetKey()), MED: r.GetMed(), NotAfter: wanted.Instant(r.GetNotAfter()), Groups: r.GetGroups(), Urgency: r.GetUrgency(),
	}
}

func packComponent(c flowspec.Component) *speakerv1.Component {
	return &speakerv1.Component{
		Type: uint32(c.Type), Prefix: packPrefix(c.Prefix), Offset: uint32(c.Offset),
		Ops: each(c.Ops, func(o flowspec.Op) *speakerv1.Op { return &speakerv1.Op{Flags: uint32(o.Flags), Value: o.Value} }),
	}
}

func (u *unpacker) component(c *speakerv1.Component) flowspec.Component {
	return flowspec.Component{
		Type: narrow[flowspec.ComponentType](u, "component", c.GetType()), Prefix: u.prefix("prefix", c.GetPrefix()),
		Offset: narrow[uint8](u, "offset", c.GetOffset()),
		Ops: each(c.GetOps(), func(o *speakerv1.Op) flowspec.Op {
			return flowspec.Op{Flags: narrow[flowspec.OpFlags](u, "operator", o.GetFlags()), Value: o.GetValue()}
		}),
	}
}

func packAction(a flowspec.Action) *speakerv1.Action {
	out := &speakerv1.Action{
		Type: uint32(a.Type), Asn: uint32(a.ASN), Rate: a.Rate, Continue: a.Continue, Sample: a.Sample, Dscp: uint32(a.DSCP),
		Address: packAddr(a.Address), Copy: a.Copy,
	}
	if t := a.Target; t != (flowspec.RouteTarget{}) {
		out.Target = &speakerv1.RouteTarget{Form: uint32(t.Form), Asn: uint32(t.ASN), Address: packAddr(t.Address), Local: t.Local}
	}
	return out
}

func (u *unpacker) action(a *speakerv1.Action) flowspec.Action {
	if r := float64(a.GetRate()); math.IsNaN(r) {
		u.fail("a rate is not a number") // it would equal nothing, itself neither
	}
	out := flowspec.Action{
		Type: narrow[flowspec.ActionType](u, "action", a.GetType()), ASN: flowspec.ASN(a.GetAsn()), Rate: a.GetRate(),
		Continue: a.GetContinue(), Sample: a.GetSample(), DSCP: narrow[uint8](u, "DSCP", a.GetDscp()),
		Address: u.addr("redirect", a.GetAddress()), Copy: a.GetCopy(),
	}
	if t := a.GetTarget(); t != nil {
		out.Target = flowspec.RouteTarget{
			Form: narrow[flowspec.RTForm](u, "route target", t.GetForm()), ASN: flowspec.ASN(t.GetAsn()),
			Address: u.addr("route target", t.GetAddress()), Local: t.GetLocal(),
		}
	}
	return out
}

// A digest says of a whole set what it is, and is renewed by what changes: the routes are summed up. It finds faults of
// programs, files and transports; nobody who could forge one needs to, at this socket.

// sum adds up the hashes of routes, whatever their order.
type sum [4]uint64

func (s *sum) add(h [sha256.Size]byte) {
	for i := range s {
		s[i] += binary.BigEndian.Uint64(h[8*i:])
	}
}

func (s *sum) remove(h [sha256.Size]byte) {
	for i := range s {
		s[i] -= binary.BigEndian.Uint64(h[8*i:])
	}
}

// hashOf is the hash of a message, and the message marshalled once.
func hashOf(m proto.Message) [sha256.Size]byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return [sha256.Size]byte{} // a string that is not UTF-8: the transport refuses it
	}
	return sha256.Sum256(b)
}

// digestOf is the digest of a set.
func digestOf(revision uint64, leaseUntil wanted.Instant, frame [sha256.Size]byte, routes sum, count int) []byte {
	b := binary.BigEndian.AppendUint64(nil, revision)
	b = binary.BigEndian.AppendUint64(b, uint64(leaseUntil))
	b = binary.BigEndian.AppendUint64(b, uint64(count))
	b = append(b, frame[:]...)
	for _, v := range routes {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	d := sha256.Sum256(b)
	return d[:]
}

// packStatus and unpackStatus carry a Status between two processes of one machine.
func packStatus(st *wanted.Status) ([]byte, error) {
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(st); err != nil {
		return nil, fmt.Errorf("cannot encode status: %w", err)
	}
	return b.Bytes(), nil
}

func unpackStatus(b []byte) (wanted.Status, error) {
	var st wanted.Status
	if err := gob.NewDecoder(bytes.NewReader(b)).Decode(&st); err != nil {
		return wanted.Status{}, fmt.Errorf("cannot decode status: %w", err)
	}
	return st, nil
}

// packOut and unpackOut carry an order to stay out; nothing is none.
func packOut(o *wanted.Out) ([]byte, error) {
	if o == nil {
		return nil, nil
	}
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(o); err != nil {
		return nil, fmt.Errorf("cannot encode order: %w", err)
	}
	return b.Bytes(), nil
}

func unpackOut(b []byte) (*wanted.Out, error) {
	if len(b) == 0 {
		return nil, nil
	}
	var o wanted.Out
	if err := gob.NewDecoder(bytes.NewReader(b)).Decode(&o); err != nil {
		return nil, fmt.Errorf("cannot decode order: %w", err)
	}
	return &o, nil
}

package bgptest

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// Message types (RFC 4271 section 4.1, RFC 2918).
const (
	typeOpen         = 1
	typeUpdate       = 2
	typeNotification = 3
	typeKeepalive    = 4
	typeRefresh      = 5
)

// Lengths of messages (RFC 4271 section 4.1, RFC 8654 section 3).
const (
	headerLength          = 19
	maxMessageLength      = 4096
	maxExtendedMessage    = 65535
	markerLength          = 16
	transitionASN         = 23456 // AS_TRANS, RFC 6793
	capabilityMP          = 1     // RFC 4760
	capabilityRefresh     = 2     // RFC 2918
	capabilityExtended    = 6     // RFC 8654
	capabilityFourOctetAS = 65    // RFC 6793
)

// Path attribute types (IANA "BGP Path Attributes").
const (
	attrOrigin    = 1
	attrASPath    = 2
	attrNextHop   = 3
	attrMED       = 4
	attrLocalPref = 5
	attrCommunity = 8
	attrReach     = 14
	attrUnreach   = 15
	attrExtended  = 16
	attrExtended6 = 25
	attrLarge     = 32
)

// ErrMalformed is wrapped by the errors of messages that are not understood.
var ErrMalformed = errors.New("malformed BGP message")

// Notification is the content of a NOTIFICATION message (RFC 4271 section 4.5).
type Notification struct{ Code, Subcode uint8 }

// Error makes a Notification the error that ends a session.
func (n Notification) Error() string { return fmt.Sprintf("notification %d/%d", n.Code, n.Subcode) }

func message(kind byte, body []byte) []byte {
	m := make([]byte, markerLength, headerLength+len(body))
	for i := range m {
		m[i] = 0xff
	}
	m = binary.BigEndian.AppendUint16(m, uint16(headerLength+len(body)))
	return append(append(m, kind), body...)
}

// readMessage reads one message of at most limit octets.
func readMessage(r io.Reader, limit int) (kind byte, body []byte, err error) {
	var header [headerLength]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return 0, nil, err
	}
	for _, b := range header[:markerLength] {
		if b != 0xff {
			return 0, nil, Notification{1, 1}
		}
	}
	n := int(binary.BigEndian.Uint16(header[markerLength:]))
	if n < headerLength || n > limit {
		return 0, nil, Notification{1, 2}
	}
	body = make([]byte, n-headerLength)
	if _, err := io.ReadFull(r, body); err != nil {
		return 0, nil, err
	}
	return header[headerLength-1], body, nil
}

// open is the content of an OPEN message (RFC 4271 section 4.2).
type open struct {
	asn      flowspec.ASN
	holdTime time.Duration
	routerID netip.Addr
	families []flowspec.Family // of FlowSpec
	unicast  []flowspec.Family
	extended bool
	refresh  bool // RFC 2918; offered, and passed over where others offer it
}

func (o *open) marshal() []byte {
	var caps []byte
	for _, f := range o.families {
		caps = append(caps, capabilityMP, 4, 0, byte(f), 0, flowspec.SAFI)
	}
	for _, f := range o.unicast {
		caps = append(caps, capabilityMP, 4, 0, byte(f), 0, safiUnicast)
	}
	caps = append(caps, capabilityFourOctetAS, 4)
	caps = binary.BigEndian.AppendUint32(caps, uint32(o.asn))
	if o.extended {
		caps = append(caps, capabilityExtended, 0)
	}
	if o.refresh {
		caps = append(caps, capabilityRefresh, 0)
	}
	as := uint16(transitionASN)
	if o.asn < 1<<16 {
		as = uint16(o.asn)
	}
	b := binary.BigEndian.AppendUint16([]byte{4}, as)
	b = binary.BigEndian.AppendUint16(b, uint16(o.holdTime/time.Second))
	id := o.routerID.As4()
	b = append(b, id[:]...)
	return append(append(b, byte(2+len(caps)), 2, byte(len(caps))), caps...)
}

func parseOpen(b []byte) (open, error) {
	if len(b) < 10 {
		return open{}, Notification{1, 2}
	}
	if b[0] != 4 {
		return open{}, Notification{2, 1}
	}
	o := open{
		asn:      flowspec.ASN(binary.BigEndian.Uint16(b[1:])),
		holdTime: time.Duration(binary.BigEndian.Uint16(b[3:])) * time.Second,
		routerID: netip.AddrFrom4([4]byte(b[5:9])),
	}
	if o.routerID.IsUnspecified() {
		return open{}, Notification{2, 3}
	}
	if o.holdTime == time.Second || o.holdTime == 2*time.Second {
		return open{}, Notification{2, 6}
	}
	params := b[10:]
	if len(params) != int(b[9]) {
		return open{}, Notification{2, 0}
	}
	for len(params) > 0 {
		if len(params) < 2 || len(params) < 2+int(params[1]) {
			return open{}, Notification{2, 0}
		}
		if params[0] == 2 {
			if err := o.capabilities(params[2 : 2+int(params[1])]); err != nil {
				return open{}, err
			}
		}
		params = params[2+int(params[1]):]
	}
	return o, nil
}

// capabilities reads one optional parameter of capabilities (RFC 5492).
func (o *open) capabilities(b []byte) error {
	for len(b) > 0 {
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return Notification{2, 0}
		}
		v := b[2 : 2+int(b[1])]
		switch {
		case b[0] == capabilityMP && len(v) == 4:
			o.multiprotocol([4]byte(v))
		case b[0] == capabilityFourOctetAS && len(v) == 4:
			o.asn = flowspec.ASN(binary.BigEndian.Uint32(v))
		case b[0] == capabilityExtended:
			o.extended = true
		}
		b = b[2+int(b[1]):]
	}
	return nil
}

// multiprotocol reads one capability of RFC 4760 section 8. Families that are not known are passed over.
func (o *open) multiprotocol(v [4]byte) {
	if v[0] != 0 || v[1] != 1 && v[1] != 2 {
		return
	}
	switch f := flowspec.Family(v[1]); v[3] {
	case flowspec.SAFI:
		o.families = append(o.families, f)
	case safiUnicast:
		o.unicast = append(o.unicast, f)
	}
}

// update is the content of an UPDATE message as far as FlowSpec and unicast go.
type update struct {
	routes    []Route // announced; they share their attributes
	withdrawn []flowspec.Key
	endOfRIB  flowspec.Family // 0 if the message is no End-of-RIB marker of FlowSpec (RFC 4724 section 2)
}

// parseUpdate decodes the body of an UPDATE with four-octet AS numbers. The error tells which part is malformed.
func parseUpdate(b []byte) (update, error) {
	var u update
	n, b, ok := cut16(b)
	if !ok {
		return u, fmt.Errorf("withdrawn routes: %w", ErrMalformed)
	}
	if err := eachPrefix(flowspec.IPv4, n, func(p netip.Prefix) { u.withdrawn = append(u.withdrawn, unicastKey(p)) }); err != nil {
		return u, fmt.Errorf("withdrawn routes: %w", err)
	}
	attrs, b, ok := cut16(b)
	if !ok {
		return u, fmt.Errorf("path attributes: %w", ErrMalformed)
	}
	var shared Route
	var reach []byte
	for len(attrs) > 0 {
		kind, value, rest, ok := cutAttribute(attrs)
		if !ok {
			return u, fmt.Errorf("path attribute header: %w", ErrMalformed)
		}
		attrs = rest
		var err error
		switch kind {
		case attrReach:
			reach = value
		case attrUnreach:
			err = u.unreach(value)
		default:
			err = shared.attribute(kind, value)
		}
		if err != nil {
			return u, fmt.Errorf("path attribute %d: %w", kind, err)
		}
	}
	// Two attributes carry actions, and a rule has them in order of type.
	slices.SortStableFunc(shared.Rule.Actions, func(a, b flowspec.Action) int { return cmp.Compare(a.Type, b.Type) })
	if reach != nil {
		if err := u.reach(reach, shared); err != nil {
			return u, fmt.Errorf("path attribute %d: %w", attrReach, err)
		}
	}
	if err := eachPrefix(flowspec.IPv4, b, func(p netip.Prefix) { u.routes = append(u.routes, shared.to(p)) }); err != nil {
		return u, fmt.Errorf("NLRI: %w", err)
	}
	return u, nil
}

func cut16(b []byte) (part, rest []byte, ok bool) {
	if len(b) < 2 {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint16(b))
	if len(b) < 2+n {
		return nil, nil, false
	}
	return b[2 : 2+n], b[2+n:], true
}

// cutAttribute takes one path attribute off b (RFC 4271 section 4.3).
func cutAttribute(b []byte) (kind byte, value, rest []byte, ok bool) {
	if len(b) < 3 {
		return 0, nil, nil, false
	}
	kind = b[1]
	if b[0]&0x10 != 0 {
		value, rest, ok = cut16(b[2:])
		return kind, value, rest, ok
	}
	n := int(b[2])
	if len(b) < 3+n {
		return 0, nil, nil, false
	}
	return kind, b[3 : 3+n], b[3+n:], true
}

// attribute reads one attribute other than the MP ones into r. Those that it does not know are passed over.
func (r *Route) attribute(kind byte, v []byte) error {
	ok := true
	switch kind {
	case attrOrigin:
		if ok = len(v) == 1; ok {
			r.Origin = v[0]
		}
	case attrASPath:
		return r.asPath(v)
	case attrNextHop:
		if ok = len(v) == 4; ok {
			r.NextHop = netip.AddrFrom4([4]byte(v))
		}
	case attrMED:
		if ok = len(v) == 4; ok {
			r.MED, r.HasMED = binary.BigEndian.Uint32(v), true
		}
	case attrLocalPref:
		if ok = len(v) == 4; ok {
			r.LocalPref = binary.BigEndian.Uint32(v)
		}
	case attrCommunity:
		return eachOf(v, 4, func(c []byte) error {
			r.Communities = append(r.Communities, binary.BigEndian.Uint32(c))
			return nil
		})
	case attrExtended:
		return eachOf(v, 8, func(c []byte) error { return r.extended([8]byte(c)) })
	case attrExtended6:
		return eachOf(v, 20, func(c []byte) error { return r.extended6([20]byte(c)) })
	case attrLarge:
		return eachOf(v, 12, func(c []byte) error {
			r.Large = append(r.Large, [3]uint32{
				binary.BigEndian.Uint32(c), binary.BigEndian.Uint32(c[4:]), binary.BigEndian.Uint32(c[8:]),
			})
			return nil
		})
	}
	if !ok {
		return fmt.Errorf("length %d: %w", len(v), ErrMalformed)
	}
	return nil
}

// eachOf calls f with each n octets of v until it fails.
func eachOf(v []byte, n int, f func([]byte) error) error {
	if len(v)%n != 0 {
		return fmt.Errorf("length %d: %w", len(v), ErrMalformed)
	}
	for part := range slices.Chunk(v, n) {
		if err := f(part); err != nil {
			return err
		}
	}
	return nil
}

// extended keeps an extended community and, if it is one, the action that it stands for.
func (r *Route) extended(c [8]byte) error {
	r.Extended = append(r.Extended, c)
	a, known, err := flowspec.DecodeCommunity(c)
	if err != nil {
		return err
	}
	if known {
		r.Rule.Actions = append(r.Rule.Actions, a)
	}
	return nil
}

// extended6 keeps an IPv6 address specific extended community (RFC 5701) and, if it is one, the action that it stands for.
func (r *Route) extended6(c [20]byte) error {
	r.Extended6 = append(r.Extended6, c)
	a, known, err := flowspec.DecodeCommunity6(c)
	if err != nil {
		return err
	}
	if known {
		r.Rule.Actions = append(r.Rule.Actions, a)
	}
	return nil
}

// asPath reads segments of four-octet AS numbers (RFC 6793).
func (r *Route) asPath(v []byte) error {
	for len(v) > 0 {
		if len(v) < 2 || len(v) < 2+4*int(v[1]) {
			return fmt.Errorf("segment: %w", ErrMalformed)
		}
		for i := range int(v[1]) {
			r.ASPath = append(r.ASPath, flowspec.ASN(binary.BigEndian.Uint32(v[2+4*i:])))
		}
		v = v[2+4*int(v[1]):]
	}
	return nil
}

// reach reads MP_REACH_NLRI (RFC 4760 section 3).
func (u *update) reach(v []byte, shared Route) error {
	if len(v) < 5 || v[0] != 0 || len(v) < 5+int(v[3]) {
		return fmt.Errorf("header: %w", ErrMalformed)
	}
	f := flowspec.Family(v[1])
	hop, b := v[4:4+int(v[3])], v[5+int(v[3]):]
	shared.NextHopLength = len(hop)
	if v[2] == safiUnicast {
		if shared.NextHop, _ = netip.AddrFromSlice(hop[:min(len(hop), 16)]); !shared.NextHop.IsValid() {
			return fmt.Errorf("next hop %x: %w", hop, ErrMalformed)
		}
		return eachPrefix(f, b, func(p netip.Prefix) { u.routes = append(u.routes, shared.to(p)) })
	}
	if v[2] != flowspec.SAFI {
		return fmt.Errorf("SAFI %d: %w", v[2], ErrMalformed)
	}
	for len(b) > 0 {
		m, n, err := flowspec.DecodeNLRI(f, b)
		if err != nil {
			return err
		}
		r := shared
		r.Rule.Match, r.Key = m, m.Key()
		u.routes = append(u.routes, r)
		b = b[n:]
	}
	return nil
}

// unreach reads MP_UNREACH_NLRI (RFC 4760 section 4).
func (u *update) unreach(v []byte) error {
	if len(v) < 3 || v[0] != 0 || v[2] != flowspec.SAFI && v[2] != safiUnicast {
		return fmt.Errorf("header: %w", ErrMalformed)
	}
	f := flowspec.Family(v[1])
	if v[2] == safiUnicast {
		return eachPrefix(f, v[3:], func(p netip.Prefix) { u.withdrawn = append(u.withdrawn, unicastKey(p)) })
	}
	if len(v) == 3 {
		u.endOfRIB = f
	}
	for b := v[3:]; len(b) > 0; {
		m, n, err := flowspec.DecodeNLRI(f, b)
		if err != nil {
			return err
		}
		u.withdrawn = append(u.withdrawn, m.Key())
		b = b[n:]
	}
	return nil
}

// marshalAnnouncement is the body of an UPDATE that announces r to a neighbour.
func marshalAnnouncement(r Route, own flowspec.ASN, external bool) ([]byte, error) {
	attr := func(b []byte, flags, kind byte, v []byte) []byte {
		b = append(b, flags|0x10, kind)
		b = binary.BigEndian.AppendUint16(b, uint16(len(v)))
		return append(b, v...)
	}
	attrs := attr(nil, 0x40, attrOrigin, []byte{r.Origin})
	var path []byte
	if external {
		path = binary.BigEndian.AppendUint32([]byte{2, 1}, uint32(own))
	}
	attrs = attr(attrs, 0x40, attrASPath, path)
	if r.HasMED {
		attrs = attr(attrs, 0x80, attrMED, binary.BigEndian.AppendUint32(nil, r.MED))
	}
	if !external {
		attrs = attr(attrs, 0x40, attrLocalPref, binary.BigEndian.AppendUint32(nil, cmp.Or(r.LocalPref, 100)))
	}
	actions := map[byte][]byte{}
	for _, a := range r.Rule.Actions {
		b, err := flowspec.AppendCommunity(actions[a.Attribute()], a)
		if err != nil {
			return nil, err
		}
		actions[a.Attribute()] = b
	}
	for _, kind := range []byte{attrExtended, attrExtended6} {
		if len(actions[kind]) > 0 {
			attrs = attr(attrs, 0xc0, kind, actions[kind])
		}
	}
	if r.Unicast {
		return marshalUnicast(attrs, attr, &r)
	}
	reach, err := flowspec.AppendNLRI([]byte{0, byte(r.Rule.Match.Family), flowspec.SAFI, 0, 0}, r.Rule.Match)
	if err != nil {
		return nil, err
	}
	return updateBody(attr(attrs, 0x80, attrReach, reach)), nil
}

// marshalWithdrawal is the body of an UPDATE that withdraws m.
func marshalWithdrawal(m flowspec.Match) ([]byte, error) {
	v, err := flowspec.AppendNLRI([]byte{0, byte(m.Family), flowspec.SAFI}, m)
	if err != nil {
		return nil, err
	}
	b := binary.BigEndian.AppendUint16([]byte{0x90, attrUnreach}, uint16(len(v)))
	return updateBody(append(b, v...)), nil
}

func updateBody(attrs []byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{0, 0}, uint16(len(attrs)))
	return append(b, attrs...)
}

package flowspec

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
)

// The path attributes that carry rules and withdrawals (RFC 4760 sections 3 and 4).
const (
	AttrMPReachNLRI   uint8 = 14
	AttrMPUnreachNLRI uint8 = 15
)

// Handling is what is done about a malformed UPDATE message (RFC 7606 section 2), the milder ones first.
type Handling uint8

// The ways to handle a malformed UPDATE.
const (
	// AttributeDiscard ignores the attribute; the rest of the UPDATE is used.
	AttributeDiscard Handling = iota + 1
	// TreatAsWithdraw withdraws the rules that the UPDATE announces.
	TreatAsWithdraw
	// DisableFamily deletes all rules of the family and ignores it for the rest of the session: "AFI/SAFI disable", which
	// RFC 4760 section 7 demands at least. Most routers reset the session instead, as the section allows.
	DisableFamily
	// SessionReset ends the session with a NOTIFICATION.
	SessionReset
)

// String returns the words of RFC 7606 section 2.
func (h Handling) String() string {
	switch h {
	case AttributeDiscard:
		return "attribute discard"
	case TreatAsWithdraw:
		return "treat-as-withdraw"
	case DisableFamily:
		return "AFI/SAFI disable"
	case SessionReset:
		return "session reset"
	}
	return "handling " + strconv.Itoa(int(h))
}

// MalformedError is a part of an UPDATE that cannot be used, and what RFC 7606 wants done about it.
type MalformedError struct {
	Handling  Handling
	Attribute uint8  // number of the path attribute; 0 if it is not known
	Family    Family // what DisableFamily disables; 0 with the others
	Err       error  // what is wrong; it may wrap one of the Err values of this package
}

// Error returns a sentence such as: cannot use attribute 16: 9 octets, ...: treat-as-withdraw.
func (e *MalformedError) Error() string {
	return fmt.Sprintf("cannot use attribute %d: %v: %s", e.Attribute, e.Err, e.Handling)
}

// Unwrap returns what is wrong.
func (e *MalformedError) Unwrap() error { return e.Err }

func malformed(h Handling, attribute uint8, err error) *MalformedError {
	return &MalformedError{Handling: h, Attribute: attribute, Err: err}
}

func malformedFamily(f Family, attribute uint8, err error) *MalformedError {
	return &MalformedError{Handling: DisableFamily, Attribute: attribute, Family: f, Err: err}
}

// Update is what an UPDATE message says of FlowSpec rules.
type Update struct {
	Announced []Match  // each with all of Actions
	Withdrawn []Match  // actions do not matter to them
	Actions   []Action // ascending by type, none twice; they may interfere (see Rule.Validate)
	EndOfRIB  Family   // the family whose End-of-RIB marker the UPDATE is (RFC 4724 section 2), or 0
}

// DecodeUpdate decodes the path attributes of an UPDATE message, and says of malformed ones what a receiver has to do
// (RFC 8955 section 10, RFC 7606). Of several errors the one with the strongest handling is returned (RFC 7606 section
// 3 h), a *MalformedError, and the Update is what is left to do:
//
//	AttributeDiscard             all of the UPDATE but the attribute
//	TreatAsWithdraw              what was announced stands among Withdrawn
//	DisableFamily, SessionReset  nothing
//
// What is malformed:
//
//   - An NLRI that the RFCs do not allow, an unknown component type included (RFC 8955 section 4.2): DisableFamily, for
//     treat-as-withdraw needs all NLRI to be understood (RFC 7606 section 3 j, RFC 4760 section 7). So does a next hop
//     that is longer than its attribute (RFC 7606 section 7.11). The next hop itself is ignored (RFC 8955 section 4).
//   - MP_REACH_NLRI or MP_UNREACH_NLRI too short to name a family, or twice: SessionReset (sections 3 g and 7.11).
//   - Communities whose octets are not a multiple of 8 or 20, or none, or an action that cannot be decoded, such as a
//     rate that is not a number: TreatAsWithdraw (sections 7.14 and 7.15, RFC 8955 section 10).
//   - Attribute flags other than the RFCs say: TreatAsWithdraw (section 3 c).
//   - An attribute longer than what is left: TreatAsWithdraw of what has been read (section 4).
//   - Communities twice: AttributeDiscard of the second (section 3 g).
//   - Any of these but an AttributeDiscard in an UPDATE that has attributes other than MP_UNREACH_NLRI and no reachable
//     NLRI: SessionReset, for nobody can be sure that the NLRI have been found (section 5.2). Only the attributes are seen
//     here: for an UPDATE whose own NLRI field is not empty, a caller may take the handling that the error wraps.
//
// An UPDATE is an End-of-RIB marker only if an MP_UNREACH_NLRI without withdrawals is its only attribute (RFC 4724 section
// 2).
//
// Other attributes, and families other than SAFI 133 of IPv4 and IPv6, are passed over unread; whether an attribute is
// missing (section 3 d) is for the owner of the session to say.
func DecodeUpdate(attributes []byte) (Update, error) {
	d := updateDecoder{seen: map[uint8]bool{}}
	for b := attributes; len(b) > 0; {
		flags, kind, value, rest, err := splitAttribute(b)
		d.attributes++
		d.others = d.others || kind != AttrMPUnreachNLRI
		if err != nil {
			d.note(err)
			break
		}
		d.note(d.attribute(flags, kind, value))
		b = rest
	}
	return d.result()
}

// updateDecoder collects what an UPDATE says and the strongest of its errors.
type updateDecoder struct {
	update Update
	seen   map[uint8]bool
	worst  *MalformedError

	attributes int
	others     bool // there is an attribute other than MP_UNREACH_NLRI
	reachable  bool // an MP_REACH_NLRI of any family has NLRI, readable or not
}

func (d *updateDecoder) note(err *MalformedError) {
	if err != nil && (d.worst == nil || err.Handling > d.worst.Handling) {
		d.worst = err
	}
}

func (d *updateDecoder) result() (Update, error) {
	u := d.update
	slices.SortStableFunc(u.Actions, func(a, b Action) int { return cmp.Compare(a.Type, b.Type) })
	if d.attributes > 1 {
		u.EndOfRIB = 0
	}
	if d.worst == nil {
		return u, nil
	}
	if d.worst.Handling > AttributeDiscard && d.worst.Handling < SessionReset && d.others && !d.reachable {
		d.worst = malformed(SessionReset, d.worst.Attribute, fmt.Errorf("no reachable NLRI, and %w", d.worst))
	}
	switch d.worst.Handling {
	case AttributeDiscard:
		return u, d.worst
	case TreatAsWithdraw:
		return Update{Withdrawn: append(u.Withdrawn, u.Announced...)}, d.worst
	case DisableFamily, SessionReset:
	}
	return Update{}, d.worst
}

// extendedLengthFlag says that the length of an attribute has two octets (RFC 4271 section 4.3).
const extendedLengthFlag = 0x10

// splitAttribute returns the first attribute of b and what follows it.
func splitAttribute(b []byte) (flags, kind uint8, value, rest []byte, err *MalformedError) {
	header := 3
	if b[0]&extendedLengthFlag != 0 {
		header = 4
	}
	if len(b) < header {
		return 0, 0, nil, nil, malformed(TreatAsWithdraw, 0, fmt.Errorf("header: %w", ErrTruncated))
	}
	n := int(b[2])
	if header == 4 {
		n = int(binary.BigEndian.Uint16(b[2:]))
	}
	if len(b)-header < n {
		return 0, 0, nil, nil, malformed(TreatAsWithdraw, b[1], fmt.Errorf("%d octets of %d: %w", len(b)-header, n, ErrTruncated))
	}
	return b[0], b[1], b[header : header+n], b[header+n:], nil
}

// attribute takes in one attribute.
func (d *updateDecoder) attribute(flags, kind uint8, value []byte) *MalformedError {
	const optional, transitive = 0x80, 0x40
	want := uint8(optional)
	switch kind {
	case AttrMPReachNLRI, AttrMPUnreachNLRI:
	case AttrExtendedCommunities, AttrIPv6ExtendedCommunities:
		want |= transitive
	default:
		return nil
	}
	if d.seen[kind] {
		return malformed(duplicateHandling(kind), kind, fmt.Errorf("it stands twice"))
	}
	d.seen[kind] = true
	var wrong *MalformedError
	if flags&(optional|transitive) != want {
		wrong = malformed(TreatAsWithdraw, kind, fmt.Errorf("flags 0x%02x", flags))
	}
	switch kind {
	case AttrMPReachNLRI:
		d.note(d.reach(value))
	case AttrMPUnreachNLRI:
		d.note(d.unreach(value))
	default:
		actions, err := decodeCommunities(kind, value)
		d.note(err)
		for _, a := range actions {
			if !slices.Contains(d.update.Actions, a) {
				d.update.Actions = append(d.update.Actions, a)
			}
		}
	}
	return wrong
}

func duplicateHandling(kind uint8) Handling {
	if kind == AttrMPReachNLRI || kind == AttrMPUnreachNLRI {
		return SessionReset
	}
	return AttributeDiscard
}

// familyOfNLRI returns the family of an MP_REACH_NLRI or MP_UNREACH_NLRI attribute, or 0 if it is none of ours.
func familyOfNLRI(kind uint8, value []byte) (Family, *MalformedError) {
	if len(value) < 3 {
		return 0, malformed(SessionReset, kind, fmt.Errorf("family: %w", ErrTruncated))
	}
	afi := binary.BigEndian.Uint16(value)
	if f := Family(afi); value[2] == SAFI && uint16(f) == afi && (f == IPv4 || f == IPv6) {
		return f, nil
	}
	return 0, nil
}

// reach reads MP_REACH_NLRI: AFI, SAFI, next hop with its length, a reserved octet, NLRI (RFC 4760 section 3).
func (d *updateDecoder) reach(value []byte) *MalformedError {
	const fixed = 5
	d.reachable = len(value) > fixed && len(value) > fixed+int(value[3])
	f, err := familyOfNLRI(AttrMPReachNLRI, value)
	if err != nil || f == 0 {
		return err
	}
	if len(value) < fixed || len(value) < fixed+int(value[3]) {
		return malformedFamily(f, AttrMPReachNLRI, fmt.Errorf("next hop: %w", ErrTruncated))
	}
	matches, err := decodeNLRIs(f, AttrMPReachNLRI, value[fixed+int(value[3]):])
	d.update.Announced = matches
	return err
}

// unreach reads MP_UNREACH_NLRI: AFI, SAFI, NLRI (RFC 4760 section 4).
func (d *updateDecoder) unreach(value []byte) *MalformedError {
	f, err := familyOfNLRI(AttrMPUnreachNLRI, value)
	if err != nil || f == 0 {
		return err
	}
	matches, err := decodeNLRIs(f, AttrMPUnreachNLRI, value[3:])
	d.update.Withdrawn = matches
	if err == nil && len(matches) == 0 {
		d.update.EndOfRIB = f
	}
	return err
}

// DecodeNLRIs decodes the NLRI field of an MP_REACH_NLRI or MP_UNREACH_NLRI attribute: any number of NLRI, one after the
// other. One that is malformed spoils all of them, for where the next begins cannot be trusted; the error is a
// *MalformedError of DisableFamily (see DecodeUpdate).
func DecodeNLRIs(f Family, b []byte) ([]Match, error) {
	out, err := decodeNLRIs(f, AttrMPReachNLRI, b)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func decodeNLRIs(f Family, attribute uint8, b []byte) ([]Match, *MalformedError) {
	var out []Match
	for len(b) > 0 {
		m, n, err := DecodeNLRI(f, b)
		if err != nil {
			return nil, malformedFamily(f, attribute, err)
		}
		out = append(out, m)
		b = b[n:]
	}
	return out, nil
}

// AppendCommunities appends the communities of those actions that the attribute carries, AttrExtendedCommunities or
// AttrIPv6ExtendedCommunities: nothing if it carries none of them, and then the attribute is not sent. Errors are those
// of AppendCommunity, with dst returned unchanged.
func AppendCommunities(dst []byte, attribute uint8, actions []Action) ([]byte, error) {
	out := dst
	for _, a := range actions {
		if a.Attribute() != attribute {
			continue
		}
		var err error
		if out, err = AppendCommunity(out, a); err != nil {
			return dst, err
		}
	}
	return out, nil
}

// DecodeCommunities decodes the value of an attribute, AttrExtendedCommunities or AttrIPv6ExtendedCommunities, into the
// actions in it, in the order in which they stand; other communities are passed over. Errors are *MalformedError of
// TreatAsWithdraw: a length of 0 or that is not a multiple of 8 or 20 octets (RFC 7606 sections 7.14 and 7.15), or an
// action that cannot be decoded (RFC 8955 section 10).
func DecodeCommunities(attribute uint8, value []byte) ([]Action, error) {
	out, err := decodeCommunities(attribute, value)
	if err != nil {
		return nil, err
	}
	return out, nil
}

func decodeCommunities(attribute uint8, value []byte) ([]Action, *MalformedError) {
	size := 8
	decode := func(b []byte) (Action, bool, error) { return DecodeCommunity([8]byte(b)) }
	switch attribute {
	case AttrExtendedCommunities:
	case AttrIPv6ExtendedCommunities:
		size = 20
		decode = func(b []byte) (Action, bool, error) { return DecodeCommunity6([20]byte(b)) }
	default:
		return nil, malformed(TreatAsWithdraw, attribute, fmt.Errorf("it carries no actions: %w", ErrAction))
	}
	if len(value) == 0 || len(value)%size != 0 {
		return nil, malformed(TreatAsWithdraw, attribute, fmt.Errorf("%d octets, a multiple of %d is wanted: %w", len(value), size, ErrTruncated))
	}
	var out []Action
	for b := range slices.Chunk(value, size) {
		a, ok, err := decode(b)
		if err != nil {
			return nil, malformed(TreatAsWithdraw, attribute, err)
		}
		if ok {
			out = append(out, a)
		}
	}
	return out, nil
}

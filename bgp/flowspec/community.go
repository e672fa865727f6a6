package flowspec

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Type and subtype of the extended communities that carry actions (RFC 8955 section 7).
const (
	communityTrafficRateBytes uint16 = 0x8006
)

// Discard returns the action that discards all matching traffic: a rate of 0 (RFC 8955 section 7.1).
func Discard() Action { return Action{Type: TrafficRateBytes} }

// RateLimit returns the action that lets through r of the matching traffic and discards the rest (RFC 8955 section
// 7.1). The wire carries r as a 32-bit float, so the sent rate may differ from r by 6 parts in 10^8.
func RateLimit(r BytesPerSecond) Action { return Action{Type: TrafficRateBytes, Rate: float32(r)} }

// Discards reports whether a lets nothing through.
func (a Action) Discards() bool { return a.Type == TrafficRateBytes && a.Rate == 0 }

// Validate reports whether a can be sent: its type is known, its rate is finite and 0 or at least 1 byte per second.
// A rate between 0 and 1 is refused because a router may round it to 0, which discards everything.
func (a Action) Validate() error {
	if a.Type != TrafficRateBytes {
		return fmt.Errorf("cannot use action of type %d: %w", a.Type, ErrAction)
	}
	return BytesPerSecond(a.Rate).validate()
}

// AppendCommunity appends the extended community of a, eight octets (RFC 8955 section 7). Of an ASN above 65535 the
// two lower octets are sent, as RFC 8955 section 7.1 says; the number is informative only. An action that Validate
// refuses is refused, and dst returned unchanged.
func AppendCommunity(dst []byte, a Action) ([]byte, error) {
	if err := a.Validate(); err != nil {
		return dst, err
	}
	dst = binary.BigEndian.AppendUint16(dst, communityTrafficRateBytes)
	dst = binary.BigEndian.AppendUint16(dst, uint16(a.ASN))
	// + 0 turns a negative zero into zero.
	return binary.BigEndian.AppendUint32(dst, math.Float32bits(a.Rate+0)), nil
}

// DecodeCommunity decodes one extended community. It returns false, and no error, if b is not a traffic filtering
// action of this package. A negative rate is 0, as RFC 8955 section 7.1 says; one that is not finite is an error. A
// rate between 0 and 1 byte per second is returned as it is, although Validate refuses it.
func DecodeCommunity(b [8]byte) (Action, bool, error) {
	if binary.BigEndian.Uint16(b[:]) != communityTrafficRateBytes {
		return Action{}, false, nil
	}
	rate := math.Float32frombits(binary.BigEndian.Uint32(b[4:]))
	if r := float64(rate); math.IsNaN(r) || math.IsInf(r, 0) {
		return Action{}, true, refuse(ErrRate, "cannot decode traffic-rate-bytes %v: not finite", rate)
	}
	if rate <= 0 {
		rate = 0
	}
	return Action{Type: TrafficRateBytes, ASN: ASN(binary.BigEndian.Uint16(b[2:])), Rate: rate}, true, nil
}

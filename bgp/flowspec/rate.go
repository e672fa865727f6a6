package flowspec

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// BytesPerSecond is a rate of traffic in bytes per second, the unit of RFC 8955 section 7.1.
type BytesPerSecond float64

// PacketsPerSecond is a rate of traffic in packets per second, the unit of RFC 8955 section 7.2.
type PacketsPerSecond float64

// rateUnit is a unit of the text form and its power of ten.
type rateUnit struct {
	name string
	exp  int
}

// The units of the text form, the greatest first.
func bitUnits() []rateUnit {
	return []rateUnit{{"Tbps", 12}, {"Gbps", 9}, {"Mbps", 6}, {"kbps", 3}, {"bps", 0}}
}

func byteUnits() []rateUnit {
	return []rateUnit{{"TBps", 12}, {"GBps", 9}, {"MBps", 6}, {"kBps", 3}, {"Bps", 0}}
}

func packetUnits() []rateUnit {
	return []rateUnit{{"Gpps", 9}, {"Mpps", 6}, {"kpps", 3}, {"pps", 0}}
}

// unitOf returns the unit of that name, and whether there is one.
func unitOf(units []rateUnit, name string) (rateUnit, bool) {
	i := slices.IndexFunc(units, func(u rateUnit) bool { return u.name == name })
	if i < 0 {
		return rateUnit{}, false
	}
	return units[i], true
}

// maxRate is the greatest length of the text of a rate. The greatest float64 has 309 digits.
const maxRate = 400

// ParseRate reads a rate with its unit: bits per second (bps, kbps, Mbps, Gbps, Tbps) or bytes per second (Bps, kBps,
// MBps, GBps, TBps), multipliers decimal, so that 1Mbps is 125000 bytes per second. One space may stand before the
// unit. A rate without a unit, negative, not finite, or above 0 and below 1 byte per second is refused. The error says
// what is wrong; what to write instead is for the caller to say, who knows where the rate stands.
func ParseRate(s string) (BytesPerSecond, error) {
	number, name, err := splitRate(s)
	if err != nil {
		return 0, err
	}
	bits, isBits := unitOf(bitUnits(), name)
	unit, isBytes := unitOf(byteUnits(), name)
	switch _, isPackets := unitOf(packetUnits(), name); {
	case isPackets:
		return 0, refuse(ErrRate, "cannot parse rate %q: packets, where a rate of bits or bytes is wanted", s)
	case isBits:
		unit = bits
	case !isBytes:
		return 0, refuse(ErrRate, "cannot parse rate %q: unknown unit %q, known are bps, kbps, Mbps, Gbps, Tbps, Bps, kBps, MBps, GBps, TBps", s, name)
	}
	v, err := strconv.ParseFloat(number+"e"+strconv.Itoa(unit.exp), 64)
	if err != nil {
		return 0, refuse(ErrRate, "cannot parse rate %q: too great", s)
	}
	if isBits {
		v /= 8 // exact: a power of two
	}
	if err := BytesPerSecond(v).validate(); err != nil {
		return 0, fmt.Errorf("cannot parse rate %q: %w", s, err)
	}
	return BytesPerSecond(v), nil
}

// ParsePacketRate reads a rate in packets per second with its unit (pps, kpps, Mpps, Gpps), multipliers decimal. One
// space may stand before the unit. What it refuses is as with ParseRate.
func ParsePacketRate(s string) (PacketsPerSecond, error) {
	number, name, err := splitRate(s)
	if err != nil {
		return 0, err
	}
	unit, ok := unitOf(packetUnits(), name)
	if !ok {
		return 0, refuse(ErrRate, "cannot parse rate %q: unknown unit %q, known are pps, kpps, Mpps, Gpps", s, name)
	}
	v, err := strconv.ParseFloat(number+"e"+strconv.Itoa(unit.exp), 64)
	if err != nil {
		return 0, refuse(ErrRate, "cannot parse rate %q: too great", s)
	}
	if err := PacketsPerSecond(v).validate(); err != nil {
		return 0, fmt.Errorf("cannot parse rate %q: %w", s, err)
	}
	return PacketsPerSecond(v), nil
}

// splitRate returns the number and the unit of s, both of which are there; whether the unit is known it does not say.
func splitRate(s string) (number, unit string, err error) {
	rest := strings.TrimLeft(s, "0123456789.")
	number, unit = s[:len(s)-len(rest)], strings.TrimPrefix(rest, " ")
	switch {
	case len(s) > maxRate:
		return "", "", refuse(ErrRate, "cannot parse rate %q...: longer than %d octets", s[:maxQuote], maxRate)
	case strings.HasPrefix(s, "-"):
		return "", "", refuse(ErrRate, "cannot parse rate %q: negative", s)
	case number == "" || !isDecimal(number):
		return "", "", refuse(ErrRate, "cannot parse rate %q: not a number with a unit", s)
	case unit == "":
		return "", "", refuse(ErrRate, "cannot parse rate %q: no unit", s)
	}
	return number, unit, nil
}

// isDecimal reports whether s, of digits and points, is a number: at most one point, with digits on both sides.
func isDecimal(s string) bool {
	whole, fraction, point := strings.Cut(s, ".")
	return whole != "" && (!point || fraction != "" && !strings.Contains(fraction, "."))
}

func (r BytesPerSecond) validate() error   { return validateRate(float64(r), "byte") }
func (r PacketsPerSecond) validate() error { return validateRate(float64(r), "packet") }

func validateRate(v float64, of string) error {
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return refuse(ErrRate, "%v %ss/s is not finite", v, of)
	case v < 0:
		return refuse(ErrRate, "%v %ss/s is negative", v, of)
	case v > 0 && v < 1:
		return refuse(ErrRate, "%v %ss/s is below 1 %s/s, which a router may round to 0 and so discard everything", v, of, of)
	}
	return nil
}

// String returns r in the greatest unit of bits per second that needs no leading zero, such as 10Mbps. ParseRate of
// it gives r again, if r is a rate that ParseRate accepts.
func (r BytesPerSecond) String() string { return formatBytes(float64(r), 64) }

// String returns r in the greatest unit that needs no leading zero, such as 5kpps. ParsePacketRate of it gives r again,
// if r is a rate that ParsePacketRate accepts.
func (r PacketsPerSecond) String() string { return formatRate(float64(r), 64, packetUnits()) }

// formatBytes prints r bytes per second with as many digits as a float of that many bits needs.
func formatBytes(r float64, bits int) string {
	v := r * 8
	if v > math.MaxFloat64 && r <= math.MaxFloat64 || bits == 32 && v > math.MaxFloat32 && r <= math.MaxFloat32 {
		return formatRate(r, bits, byteUnits()) // eight times as much has no float
	}
	return formatRate(v, bits, bitUnits())
}

// formatRate prints v with as many digits as a float of that many bits needs, in one of the units, of which the last
// stands for 1.
func formatRate(v float64, bits int, units []rateUnit) string {
	one := units[len(units)-1].name
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return strconv.FormatFloat(v, 'f', -1, bits) + one
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(v, 'e', -1, bits), "e")
	exp, _ := strconv.Atoi(exponent) // FormatFloat wrote it
	for _, u := range units {
		if exp >= u.exp {
			return shiftPoint(mantissa, exp-u.exp) + u.name
		}
	}
	return shiftPoint(mantissa, exp) + one
}

// shiftPoint returns the decimal mantissa d.ddd times ten to the power of exp, without an exponent. It works on the
// digits because a division by a power of ten would not be exact.
func shiftPoint(mantissa string, exp int) string {
	sign := ""
	if strings.HasPrefix(mantissa, "-") {
		sign, mantissa = "-", mantissa[1:]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := whole + fraction
	switch point := 1 + exp; {
	case point <= 0:
		return sign + "0." + strings.Repeat("0", -point) + digits
	case point >= len(digits):
		return sign + digits + strings.Repeat("0", point-len(digits))
	default:
		return sign + digits[:point] + "." + digits[point:]
	}
}

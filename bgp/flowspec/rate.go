package flowspec

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// BytesPerSecond is a rate of traffic in bytes per second, the unit of RFC 8955 section 7.1.
type BytesPerSecond float64

// rateUnit is a unit of the text form: its power of ten, and whether it counts bytes.
type rateUnit struct {
	name  string
	exp   int
	bytes bool
}

func rateUnits() [10]rateUnit {
	return [...]rateUnit{
		{"Tbps", 12, false},
		{"Gbps", 9, false},
		{"Mbps", 6, false},
		{"kbps", 3, false},
		{"bps", 0, false},
		{"TBps", 12, true},
		{"GBps", 9, true},
		{"MBps", 6, true},
		{"kBps", 3, true},
		{"Bps", 0, true},
	}
}

// maxRate is the greatest length of the text of a rate. The greatest float64 has 309 digits.
const maxRate = 400

// ParseRate reads a rate with its unit: bits per second (bps, kbps, Mbps, Gbps, Tbps) or bytes per second (Bps, kBps,
// MBps, GBps, TBps), multipliers decimal, so that 1Mbps is 125000 bytes per second. One space may stand before the
// unit. A rate without a unit, negative, not finite, or above 0 and below 1 byte per second is refused. The error says
// what is wrong; what to write instead is for the caller to say, who knows where the rate stands.
func ParseRate(s string) (BytesPerSecond, error) {
	rest := strings.TrimLeft(s, "0123456789.")
	number, name := s[:len(s)-len(rest)], strings.TrimPrefix(rest, " ")
	if len(s) > maxRate {
		return 0, refuse(ErrRate, "cannot parse rate %q...: longer than %d octets", s[:maxQuote], maxRate)
	}
	if strings.HasPrefix(s, "-") {
		return 0, refuse(ErrRate, "cannot parse rate %q: negative", s)
	}
	if number == "" || !isDecimal(number) {
		return 0, refuse(ErrRate, "cannot parse rate %q: not a number with a unit", s)
	}
	if name == "" {
		return 0, refuse(ErrRate, "cannot parse rate %q: no unit", s)
	}
	for _, u := range rateUnits() {
		if u.name != name {
			continue
		}
		v, err := strconv.ParseFloat(number+"e"+strconv.Itoa(u.exp), 64)
		if err != nil {
			return 0, refuse(ErrRate, "cannot parse rate %q: too great", s)
		}
		if !u.bytes {
			v /= 8 // exact: a power of two
		}
		if err := BytesPerSecond(v).validate(); err != nil {
			return 0, fmt.Errorf("cannot parse rate %q: %w", s, err)
		}
		return BytesPerSecond(v), nil
	}
	return 0, refuse(ErrRate, "cannot parse rate %q: unknown unit %q, known are bps, kbps, Mbps, Gbps, Tbps, Bps, kBps, MBps, GBps, TBps", s, name)
}

// isDecimal reports whether s, of digits and points, is a number: at most one point, with digits on both sides.
func isDecimal(s string) bool {
	whole, fraction, point := strings.Cut(s, ".")
	return whole != "" && (!point || fraction != "" && !strings.Contains(fraction, "."))
}

func (r BytesPerSecond) validate() error {
	switch v := float64(r); {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return refuse(ErrRate, "%v bytes/s is not finite", v)
	case v < 0:
		return refuse(ErrRate, "%v bytes/s is negative", v)
	case v > 0 && v < 1:
		return refuse(ErrRate, "%v bytes/s is below 1 byte/s, which a router may round to 0 and so discard everything", v)
	}
	return nil
}

// String returns r in the greatest unit of bits per second that needs no leading zero, such as 10Mbps. ParseRate of
// it gives r again, if r is a rate that ParseRate accepts.
func (r BytesPerSecond) String() string { return formatRate(float64(r), 64) }

// formatRate prints r bytes per second with as many digits as a float of that many bits needs.
func formatRate(r float64, bits int) string {
	v, first := r*8, 0
	units := rateUnits()
	if math.IsInf(v, 0) || bits == 32 && v > math.MaxFloat32 {
		v, first = r, len(units)/2 // eight times as much has no float; say it in bytes
	}
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return strconv.FormatFloat(v, 'f', -1, bits) + "bps"
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(v, 'e', -1, bits), "e")
	exp, _ := strconv.Atoi(exponent) // FormatFloat wrote it
	for _, u := range units[first : first+len(units)/2] {
		if exp >= u.exp || u.exp == 0 {
			return shiftPoint(mantissa, exp-u.exp) + u.name
		}
	}
	return ""
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

package flowspec

import (
	"errors"
	"math"
	"strings"
	"testing"
)

func TestParseRate(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want BytesPerSecond
		out  string
	}{
		{"0bps", 0, "0bps"},
		{"0.0Gbps", 0, "0bps"},
		{"8bps", 1, "8bps"},
		{"9bps", 1.125, "9bps"},
		{"500kbps", 62_500, "500kbps"},
		{"1Mbps", 125_000, "1Mbps"},
		{"1 Mbps", 125_000, "1Mbps"},
		{"10Mbps", 1_250_000, "10Mbps"},
		{"2.5Gbps", 312_500_000, "2.5Gbps"},
		{"1000Mbps", 125_000_000, "1Gbps"},
		{"1Gbps", 125_000_000, "1Gbps"},
		{"400Gbps", 50_000_000_000, "400Gbps"},
		{"1.6Tbps", 200_000_000_000, "1.6Tbps"},
		{"1Bps", 1, "8bps"},
		{"125000Bps", 125_000, "1Mbps"},
		{"1kBps", 1000, "8kbps"},
		{"1MBps", 1_000_000, "8Mbps"},
		{"1GBps", 1_000_000_000, "8Gbps"},
		{"1TBps", 1_000_000_000_000, "8Tbps"},
		{"0.1Mbps", 12_500, "100kbps"},
		{"123456789bps", 15_432_098.625, "123.456789Mbps"},
	} {
		t.Run(tt.in, func(t *testing.T) {
			got, err := ParseRate(tt.in)
			if err != nil || got != tt.want {
				t.Fatalf("ParseRate = %v, %v, want %v", float64(got), err, float64(tt.want))
			}
			if s := got.String(); s != tt.out {
				t.Errorf("String = %q, want %q", s, tt.out)
			}
		})
	}
}

func TestParseRateRefuses(t *testing.T) {
	for _, tt := range []struct{ in, says string }{
		{"", "not a number"},
		{"bps", "not a number"},
		{"0.1bps", "below 1 byte/s"},
		{"7bps", "so discard everything"},
		{"0.9Bps", "below 1 byte/s"},
		{"-1Mbps", "negative"},
		{"-0bps", "negative"},
		{"NaN", "not a number"},
		{"NaNbps", "not a number"},
		{"Infbps", "not a number"},
		{"+1Mbps", "not a number"},
		{"1e3bps", "unknown unit"},
		{"0x10bps", "unknown unit"},
		{"1_000bps", "unknown unit"},
		{"1,5Mbps", "unknown unit"},
		{"1.2.3Mbps", "not a number"},
		{".5Mbps", "not a number"},
		{"5.Mbps", "not a number"},
		{"1000", "no unit"},
		{"1Mb", "unknown unit"},
		{"1mbps", "unknown unit"},
		{"1Mibps", "unknown unit"},
		{"1  Mbps", "unknown unit"},
		{"1Mbps ", "unknown unit"},
		{"5kpps", "packets, where a rate of bits or bytes is wanted"},
		{strings.Repeat("9", 320) + "Tbps", "too great"},
		{strings.Repeat("1", 397) + "Mbps", "longer than 400"},
	} {
		t.Run(tt.in, func(t *testing.T) {
			got, err := ParseRate(tt.in)
			if !errors.Is(err, ErrRate) || !strings.Contains(err.Error(), tt.says) || got != 0 {
				t.Errorf("ParseRate = %v, %v, want %q", float64(got), err, tt.says)
			}
		})
	}
}

func TestParsePacketRate(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want PacketsPerSecond
		out  string
	}{
		{"0pps", 0, "0pps"},
		{"1pps", 1, "1pps"},
		{"5kpps", 5000, "5kpps"},
		{"5 kpps", 5000, "5kpps"},
		{"5000pps", 5000, "5kpps"},
		{"2.5Mpps", 2_500_000, "2.5Mpps"},
		{"1.25pps", 1.25, "1.25pps"},
		{"0.001Gpps", 1_000_000, "1Mpps"},
		{"3000Gpps", 3e12, "3000Gpps"},
	} {
		t.Run(tt.in, func(t *testing.T) {
			got, err := ParsePacketRate(tt.in)
			if err != nil || got != tt.want {
				t.Fatalf("ParsePacketRate = %v, %v, want %v", float64(got), err, float64(tt.want))
			}
			if s := got.String(); s != tt.out {
				t.Errorf("String = %q, want %q", s, tt.out)
			}
		})
	}
	for _, tt := range []struct{ in, says string }{
		{"", "not a number"},
		{"pps", "not a number"},
		{"5", "no unit"},
		{"5Mbps", `unknown unit "Mbps", known are pps, kpps`},
		{"5Kpps", "unknown unit"},
		{"0.5pps", "below 1 packet/s, which a router may round to 0"},
		{"-1pps", "negative"},
		{strings.Repeat("9", 320) + "Gpps", "too great"},
	} {
		t.Run(tt.in, func(t *testing.T) {
			got, err := ParsePacketRate(tt.in)
			if !errors.Is(err, ErrRate) || !strings.Contains(err.Error(), tt.says) || got != 0 {
				t.Errorf("ParsePacketRate = %v, %v, want %q", float64(got), err, tt.says)
			}
		})
	}
}

// TestRateRoundTrip prints and reads rates of all sizes.
func TestRateRoundTrip(t *testing.T) {
	r := newRand(4)
	for range 50_000 {
		want := BytesPerSecond(math.Float64frombits(r.Uint64() >> 1))
		if r.IntN(2) == 0 {
			want = BytesPerSecond(r.Uint64N(1e13)) / BytesPerSecond(1+r.IntN(100))
		}
		if want.validate() != nil {
			continue
		}
		got, err := ParseRate(want.String())
		if err != nil || got != want {
			t.Fatalf("%v is printed %q and read %v, %v", float64(want), want, float64(got), err)
		}
		packets, err := ParsePacketRate(PacketsPerSecond(want).String())
		if err != nil || packets != PacketsPerSecond(want) {
			t.Fatalf("%v is printed %q and read %v, %v", float64(want), PacketsPerSecond(want), float64(packets), err)
		}
	}
	// What cannot be parsed is still printed.
	for v, want := range map[BytesPerSecond]string{
		-125: "-1kbps", 0.0125: "0.1bps", BytesPerSecond(math.Inf(1)): "+Infbps", BytesPerSecond(math.NaN()): "NaNbps",
	} {
		if got := v.String(); got != want {
			t.Errorf("String of %v = %q, want %q", float64(v), got, want)
		}
	}
}

package flowspec

import (
	"bytes"
	"errors"
	"math"
	"testing"
)

func TestCommunityGolden(t *testing.T) {
	for _, tt := range []struct {
		name   string
		action Action
		want   []byte
	}{
		{
			"discard", Discard(),
			[]byte{
				0x80, 0x06, // traffic-rate-bytes
				0x00, 0x00, // AS 0
				0x00, 0x00, 0x00, 0x00, // 0.0
			},
		},
		{
			"1 Mbps of AS 65001",
			Action{Type: TrafficRateBytes, ASN: 65001, Rate: 125000},
			[]byte{
				0x80, 0x06, // traffic-rate-bytes
				0xfd, 0xe9, // AS 65001
				0x47, 0xf4, 0x24, 0x00, // 125000 = 1.9073486328125 * 2^16
			},
		},
		{
			"AS of four octets, the two lower",
			Action{Type: TrafficRateBytes, ASN: 0x12345678, Rate: 1},
			[]byte{
				0x80, 0x06, // traffic-rate-bytes
				0x56, 0x78, // lower half of the AS
				0x3f, 0x80, 0x00, 0x00, // 1.0
			},
		},
		{
			"negative zero is zero",
			Action{Type: TrafficRateBytes, Rate: float32(math.Copysign(0, -1))},
			[]byte{
				0x80, 0x06, // traffic-rate-bytes
				0x00, 0x00, // AS 0
				0x00, 0x00, 0x00, 0x00, // 0.0
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := AppendCommunity(nil, tt.action)
			if err != nil || !bytes.Equal(got, tt.want) {
				t.Errorf("AppendCommunity = %x, %v, want %x", got, err, tt.want)
			}
		})
	}
}

func TestAppendCommunityRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		action Action
		want   error
	}{
		{"no type", Action{Rate: 1000}, ErrAction},
		{"unknown type", Action{Type: 2}, ErrAction},
		{"negative", RateLimit(-1), ErrRate},
		{"not a number", RateLimit(BytesPerSecond(math.NaN())), ErrRate},
		{"infinite", RateLimit(BytesPerSecond(math.Inf(1))), ErrRate},
		{"above a float32", RateLimit(1e39), ErrRate},
		{"between 0 and 1", RateLimit(0.999), ErrRate},
		{"smallest float", Action{Type: TrafficRateBytes, Rate: math.SmallestNonzeroFloat32}, ErrRate},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dst := []byte{1}
			got, err := AppendCommunity(dst, tt.action)
			if !errors.Is(err, tt.want) || !bytes.Equal(got, dst) {
				t.Errorf("AppendCommunity = %x, %v, want dst and %v", got, err, tt.want)
			}
		})
	}
}

func TestDecodeCommunity(t *testing.T) {
	for _, tt := range []struct {
		name string
		wire [8]byte
		want Action
		ok   bool
		err  error
	}{
		{"rate", [8]byte{0x80, 6, 0xfd, 0xe9, 0x47, 0xf4, 0x24, 0}, Action{Type: TrafficRateBytes, ASN: 65001, Rate: 125000}, true, nil},
		{"negative is 0", [8]byte{0x80, 6, 0, 0, 0xc7, 0xf4, 0x24, 0}, Discard(), true, nil},
		{"minus infinity is not finite", [8]byte{0x80, 6, 0, 0, 0xff, 0x80, 0, 0}, Action{}, true, ErrRate},
		{"infinity", [8]byte{0x80, 6, 0, 0, 0x7f, 0x80, 0, 0}, Action{}, true, ErrRate},
		{"not a number", [8]byte{0x80, 6, 0, 0, 0x7f, 0xc0, 0, 0}, Action{}, true, ErrRate},
		{"between 0 and 1 is kept", [8]byte{0x80, 6, 0, 0, 0x3f, 0, 0, 0}, Action{Type: TrafficRateBytes, Rate: 0.5}, true, nil},
		{"route target", [8]byte{0, 2, 0xfd, 0xe9, 0, 0, 0, 1}, Action{}, false, nil},
		{"traffic action", [8]byte{0x80, 7, 0, 0, 0, 0, 0, 1}, Action{}, false, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok, err := DecodeCommunity(tt.wire)
			if got != tt.want || ok != tt.ok || !errors.Is(err, tt.err) {
				t.Errorf("DecodeCommunity = %v, %v, %v, want %v, %v, %v", got, ok, err, tt.want, tt.ok, tt.err)
			}
		})
	}
}

func FuzzDecodeCommunity(f *testing.F) {
	f.Fuzz(func(t *testing.T, v []byte) {
		if len(v) != 8 {
			return
		}
		b := [8]byte(v)
		a, ok, err := DecodeCommunity(b)
		if !ok || err != nil {
			if a != (Action{}) {
				t.Fatalf("%x: %v, %v, %v", b, a, ok, err)
			}
			return
		}
		if a.Rate < 0 {
			t.Fatalf("%x: negative rate %v", b, a.Rate)
		}
		_ = a.String()
		again, err := AppendCommunity(nil, a)
		if err != nil {
			if a.Rate <= 0 || a.Rate >= 1 {
				t.Fatalf("%x became %v, which cannot be sent: %v", b, a, err)
			}
			return
		}
		if b[4]&0x80 == 0 && !bytes.Equal(again, b[:]) { // negative rates became 0
			t.Fatalf("%x became %x", b, again)
		}
	})
}

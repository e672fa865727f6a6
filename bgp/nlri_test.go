package bgp

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// protocols matches n protocols, whatever they mean, which takes 1 + 2n octets.
func protocols(n int) flowspec.Component {
	c := flowspec.Component{Type: flowspec.IPProtocol}
	for i := range n {
		c.Ops = append(c.Ops, flowspec.Op{Flags: flowspec.EQ, Value: uint64(i % 256)})
	}
	return c
}

// The length field has one octet below 240 and two from there on (RFC 8955 section 4.1), which is where GoBGP's own
// type goes wrong. The guard lets no rule come near (see TestLongestSafeRule), so the type is tested by itself.
func TestLengthField(t *testing.T) {
	for _, c := range []struct {
		dst    string // 4 octets and those of the prefix
		values int
		length []byte
	}{
		{"203.0.113.0/24", 1, []byte{8}},
		{"203.0.113.0/25", 116, []byte{239}},
		{"203.0.113.0/24", 117, []byte{0xf0, 240}},
		{"203.0.113.0/25", 117, []byte{0xf0, 241}},
		{"203.0.113.0/25", 125, []byte{0xf1, 1}},
		{"203.0.113.0/25", 2044, []byte{0xff, 0xff}}, // 4095, the longest there is
	} {
		m := destinationOnly(netip.MustParsePrefix(c.dst))
		m.Components = append(m.Components, protocols(c.values))
		nlri, err := flowspec.AppendComponents(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(fmt.Sprint(len(nlri)), func(t *testing.T) {
			l := &ledger{elapsed: func() wanted.Instant { return 7 }}
			a := newAnnouncement(&judged{nlri: nlri, family: flowspec.IPv4}, l)
			got, err := a.Serialize()
			if err != nil {
				t.Fatal(err)
			}
			if want := append(c.length, nlri...); !bytes.Equal(got, want) {
				t.Errorf("%x\nwant %x", got, want)
			}
			if a.Len() != len(got) {
				t.Errorf("Len = %d for %d octets", a.Len(), len(got))
			}
			// The packer is told more on sessions with extended messages, and nothing but that changes.
			extended := &gobgp.MarshallingOption{ExtendedMessage: true}
			if a.Len(extended) <= a.Len() {
				t.Errorf("Len with extended messages = %d", a.Len(extended))
			}
			if again, err := a.Serialize(extended); err != nil || !bytes.Equal(again, got) {
				t.Errorf("with extended messages %x, %v", again, err)
			}
			// The codec reads back what went out.
			back, n, err := flowspec.DecodeNLRI(flowspec.IPv4, got)
			if err != nil || n != len(got) || !back.Equal(m) {
				t.Errorf("decoded %d of %d octets to %q: %v", n, len(got), back, err)
			}
			if a.sentAt.Load() != 7 {
				t.Errorf("sent at %d", a.sentAt.Load())
			}
		})
	}
}

// LongestSafe is the longest rule that the safe subset allows: every component there is, with as many values as may be.
func LongestSafe() flowspec.Match {
	m := destinationOnly(netip.MustParsePrefix("2001:db8::1/128"))
	m.Components = append(m.Components, flowspec.Source(netip.MustParsePrefix("2001:db8::2/128")))
	for c := flowspec.IPProtocol; c <= flowspec.FlowLabel; c++ {
		values := flowspec.Component{Type: c}
		for i := range flowspec.MaxSafeValues {
			op := flowspec.Op{Flags: flowspec.EQ, Value: uint64(i + 1)}
			switch c {
			case flowspec.TCPFlags:
				op.Flags = 0
			case flowspec.Fragment:
				op = flowspec.Op{Value: 2 << (i % 3)} // there is no don't-fragment in IPv6
			default:
			}
			values.Ops = append(values.Ops, op)
		}
		m.Components = append(m.Components, values)
	}
	return m
}

// No rule that passes the border reaches the length at which the length field gets its second octet.
func TestLongestSafeRule(t *testing.T) {
	g, err := newGuard(prefixes("2001:db8::/32"), nil, wanted.Lengths{})
	if err != nil {
		t.Fatal(err)
	}
	judgement := func(m flowspec.Match) *judged {
		return judge(g, &wanted.Route{
			Kind: wanted.FlowSpec, Key: m.Key(), Rule: flowspec.Rule{Match: m, Actions: []flowspec.Action{flowspec.Discard()}},
		})
	}
	m := LongestSafe()
	j := judgement(m)
	if j.refusal != nil {
		t.Fatal(j.refusal.sentence)
	}
	// Two prefixes with type, length and offset, four components of one octet a value, five of two, the label of four.
	if want := 2*(3+16) + 5*(1+5*2) + 5*(1+5*3) + (1 + 5*5); len(j.nlri) != want || want >= 240 {
		t.Errorf("%d octets, want %d", len(j.nlri), want)
	}
	for i := range m.Components {
		if len(m.Components[i].Ops) == 0 {
			continue
		}
		more := LongestSafe()
		ops := &more.Components[i].Ops
		*ops = append(*ops, (*ops)[0])
		if j := judgement(more); j.refusal == nil || j.refusal.code != wanted.RefusedUnsafe {
			t.Errorf("one more value of %s: %+v", m.Components[i].Type, j.refusal)
		}
	}
}

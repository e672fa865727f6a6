package integration_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/bgp/bgptest"
	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/integration/lab"
)

// unsafeRule is an encoding outside of the safe subset, which tidegate does not send: what would happen if it did.
type unsafeRule struct {
	what   string
	family flowspec.Family
	// octets are the components in hexadecimal; DST stands for a destination of its own.
	octets string
	// text is the rule that they are, for those that RFC 8955 or 8956 allows; else empty.
	text string
	// checked says that package flowspec can encode the rule, and that CheckSafe is what holds it back.
	checked bool
}

// unsafeRules is what CheckSafe refuses, then what our codec cannot write at all, and last encodings that are right but
// not those that it chose.
func unsafeRules() []unsafeRule {
	return []unsafeRule{
		{"six values in a component", 1, "DST 05 11 0001 11 0002 11 0003 11 0004 11 0005 91 0006", "dport 1|2|3|4|5|6", true},
		{"six pairs that are three ranges", 1, "DST 05 13 0001 55 0002 13 0004 55 0005 13 0007 d5 0008", "dport 1-2|4-5|7-8", true},
		{"operator !=", 1, "DST 05 96 0050", "dport !=80", true},
		{"operator false", 1, "DST 05 90 0050", "dport false:80", true},
		{"operator true", 1, "DST 05 97 0050", "dport true:80", true},
		{"IPv6 source with an offset", 2, "DST 02 68 40 123456789a", "src ::1234:5678:9a00:0/64-104", true},
		{"longer than 239 octets", 2, "DST 0d" + strings.Repeat(" 21 00000005", 47) + " a1 00000005", "label " + strings.Repeat("5|", 47) + "5", true},

		{"empty rule", 1, "", "", false},
		{"AND on the first value", 1, "DST 05 d1 0050", "dport 80", false},
		{"reserved bit of a numeric operator", 1, "DST 05 99 0050", "dport 80", false},
		{"reserved bits of a bitmask operator", 1, "DST 0c 8c 02", "frag any:is-fragment", false},
		{"types descending", 1, "DST 05 91 0050 03 81 06", "", false},
		{"a type twice", 1, "DST 03 81 06 03 81 11", "", false},
		{"unknown type 14", 1, "DST 0e 81 06", "", false},
		{"flow label in IPv4", 1, "DST 0d a1 00000005", "", false},
		{"don't-fragment in IPv6", 2, "DST 0c 80 01", "", false},
		{"prefix longer than its family", 1, "DST 02 21 c000020000", "", false},
		{"no end of list", 1, "DST 03 01 06", "", false},
		{"component cut off", 1, "DST 05 91 00", "", false},
		{"flag bits above the twelfth", 1, "DST 09 91 f002", "tcp-flags syn", false},

		{"protocol in two octets", 1, "DST 03 91 0006", "proto tcp", false},
		{"port in one octet", 1, "DST 05 81 50", "dport 80", false},
		{"port in four octets", 1, "DST 05 a1 00000050", "dport 80", false},
		{"packet length in one octet", 1, "DST 0a 81 40", "len 64", false},
		{"TCP flags in one octet", 1, "DST 09 81 02", "tcp-flags syn", false},
		{"DSCP in two octets", 1, "DST 0b 91 002e", "", false},
		{"fragment in two octets", 1, "DST 0c 91 0002", "", false},
		{"flow label in two octets", 2, "DST 0d 91 0005", "label 5", false},
		{"bits after the end of a prefix", 1, "DST 02 17 c00003", "src 192.0.2.0/23", false},
		{"length of two octets for a short rule", 1, "LONG DST 05 91 0050", "dport 80", false},
	}
}

// unsafeRouters are those whose parsers the safe subset was measured with.
func unsafeRouters() []string { return []string{"frr", "bird"} }

// measureUnsafe sends every unsafe rule over a session of its own to FRR and BIRD, by a speaker that checks nothing.
func measureUnsafe(t *testing.T) map[string][]result {
	t.Helper()
	out := map[string][]result{}
	for i, name := range unsafeRouters() {
		var l *lab.Lab
		var r lab.Router
		for n, u := range unsafeRules() {
			if l == nil { // at first, and when the daemon has not survived the row before
				l, r = unsafeLab(t, i)
			}
			res := sendUnsafe(t, l, r, n, u)
			out[name] = append(out[name], res)
			if res.detail == daemonEnded {
				l = nil
			}
		}
	}
	return out
}

const daemonEnded = "the daemon ends"

// unsafeLab starts one of FRR and BIRD.
func unsafeLab(t *testing.T, which int) (*lab.Lab, lab.Router) {
	t.Helper()
	var neighbours []netip.Addr
	for n := range unsafeRules() {
		neighbours = append(neighbours, neighbour(n))
	}
	l := newLab(t, func() (*lab.Lab, error) { return lab.New(lab.Config{Neighbours: neighbours, ASN: nodeASN}) })
	start := []func(context.Context, netip.Addr, flowspec.ASN) (lab.Router, error){l.StartFRR, l.StartBIRD}[which]
	r, err := start(t.Context(), netip.MustParseAddr("127.0.0.11"), 65010)
	if err != nil {
		t.Fatal(err)
	}
	return l, r
}

// rule is what a router should have: the destination of row n and the conditions; false if no RFC allows the octets.
func (u unsafeRule) rule(t *testing.T, n int) (flowspec.Rule, bool) {
	t.Helper()
	if u.text == "" {
		return flowspec.Rule{}, false
	}
	r, err := flowspec.ParseRule("dst " + unsafeDestination(u.family, n).String() + " " + u.text + " => discard")
	if err != nil {
		t.Fatalf("%s: %v", u.what, err)
	}
	return r, true
}

func unsafeDestination(f flowspec.Family, n int) netip.Prefix {
	if f == flowspec.IPv4 {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(n)}), 32)
	}
	return netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(n)}), 128)
}

// nlri are the octets of row n with their length field.
func (u unsafeRule) nlri(t *testing.T, n int) []byte {
	t.Helper()
	dst := "0120"
	if u.family == flowspec.IPv6 {
		dst = "018000"
	}
	dst += hex.EncodeToString(unsafeDestination(u.family, n).Addr().AsSlice())
	text, long := strings.CutPrefix(u.octets, "LONG ")
	body, err := hex.DecodeString(strings.ReplaceAll(strings.ReplaceAll(text, "DST", dst), " ", ""))
	if err != nil {
		t.Fatalf("%s: %v", u.what, err)
	}
	if long || len(body) >= 240 {
		return append([]byte{0xf0 | byte(len(body)>>8), byte(len(body))}, body...)
	}
	return append([]byte{byte(len(body))}, body...)
}

// update is the body of an UPDATE that announces the octets with a traffic-rate-bytes of 0.
func (u unsafeRule) update(t *testing.T, n int) []byte {
	t.Helper()
	attribute := func(to []byte, flags, kind byte, value []byte) []byte {
		to = append(to, flags|0x10, kind)
		return append(append(to, byte(len(value)>>8), byte(len(value))), value...)
	}
	attrs := attribute(nil, 0x40, 1, []byte{0})
	attrs = attribute(attrs, 0x40, 2, []byte{2, 1, 0, 0, nodeASN >> 8, nodeASN & 0xff})
	attrs = attribute(attrs, 0xc0, 16, []byte{0x80, 6, 0, 0, 0, 0, 0, 0})
	attrs = attribute(attrs, 0x80, 14, append([]byte{0, byte(u.family), flowspec.SAFI, 0, 0}, u.nlri(t, n)...))
	return append([]byte{0, 0, byte(len(attrs) >> 8), byte(len(attrs))}, attrs...)
}

// sendUnsafe opens a session, announces the rule and then a plain one, and says what became of the first.
func sendUnsafe(t *testing.T, l *lab.Lab, r lab.Router, n int, u unsafeRule) result {
	t.Helper()
	from := neighbour(n)
	w, err := bgptest.NewRouter(bgptest.Config{ASN: nodeASN, RouterID: from, Addr: netip.AddrPortFrom(from, 0)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("cannot run the speaker: %v", err)
		}
	}()
	err = l.Namespace().Do(func() error { return w.Dial(ctx, netip.AddrPortFrom(r.Address(), lab.Port)) })
	if err != nil {
		t.Fatal(err)
	}
	session, err := w.WaitSession(ctx, r.Address())
	if err != nil {
		t.Fatalf("%s: no session for %q: %v", r.Name(), u.what, err)
	}
	if err := w.Send(session.ID, u.update(t, n)); err != nil {
		t.Fatal(err)
	}
	mark := parseRules(t, []string{fmt.Sprintf("dst 198.51.100.%d/32 => discard", n)})[0]
	if err := w.Announce(bgptest.Route{Rule: mark}); err != nil {
		t.Fatal(err)
	}
	lister, _ := r.(lab.Lister)
	var entries []lab.Entry
	var end string
	eventually(t, r.Name()+" has taken "+u.what, func(ctx context.Context) error {
		if end = w.Sessions()[0].Why; end != "" {
			return nil
		}
		if entries, err = lister.Entries(ctx); err != nil {
			return err
		}
		if !slices.ContainsFunc(entries, func(e lab.Entry) bool { return e.Err == nil && e.Rule.Equal(lab.Plain(mark)) }) {
			return fmt.Errorf("no %s", mark)
		}
		return nil
	})
	if end != "" {
		return result{lost, whyLost(ctx, l, r, end)}
	}
	return u.judge(t, lister, n, entries)
}

// whyLost says how a session ended: with a NOTIFICATION, without a word, or with the daemon itself.
func whyLost(ctx context.Context, l *lab.Lab, r lab.Router, end string) string {
	if _, code, ok := strings.Cut(end, "notification "); ok {
		return "NOTIFICATION " + code
	}
	// A daemon that is about to be gone has closed its connections already.
	wait, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	gone := lab.Until(wait, look, func(context.Context) error {
		if l.Check(r.Name()) == nil {
			return fmt.Errorf("it runs")
		}
		return nil
	})
	if gone == nil {
		return daemonEnded
	}
	return end
}

// judge says what a router made of a rule whose session it kept.
func (u unsafeRule) judge(t *testing.T, r lab.Lister, n int, entries []lab.Entry) result {
	t.Helper()
	at := slices.IndexFunc(entries, func(e lab.Entry) bool {
		dst, ok := e.Rule.Match.Destination()
		return ok && dst == unsafeDestination(u.family, n)
	})
	if at < 0 {
		return result{refused, ""}
	}
	e := entries[at]
	want, valid := u.rule(t, n)
	if valid && e.Err == nil && r.Shown(want).Equal(e.Rule) {
		return result{equal, e.Raw}
	}
	return result{changed, e.Raw}
}

// TestUnsafeRules: the page says that tidegate does not send these rules; it does not.
func TestUnsafeRules(t *testing.T) {
	t.Parallel()
	for n, u := range unsafeRules() {
		rule, valid := u.rule(t, n)
		switch {
		case !u.checked && valid: // another encoding of what is written differently, or not at all
			wire, err := flowspec.AppendNLRI(nil, rule.Match)
			if err != nil || string(wire) == string(u.nlri(t, n)) {
				t.Errorf("%s: our codec writes these very octets, %v", u.what, err)
			}
		case !u.checked:
			if m, _, err := flowspec.DecodeNLRI(u.family, u.nlri(t, n)); err == nil {
				wire, err := flowspec.AppendNLRI(nil, m)
				if err != nil || string(wire) == string(u.nlri(t, n)) {
					t.Errorf("%s: our codec writes these very octets, %v", u.what, err)
				}
			}
		default:
			wire, err := flowspec.AppendNLRI(nil, rule.Match)
			if err != nil || string(wire) != string(u.nlri(t, n)) {
				t.Errorf("%s: our codec writes %x, %v; the row has %x", u.what, wire, err, u.nlri(t, n))
			}
			if err := flowspec.CheckSafe(rule.Match); err == nil {
				t.Errorf("%s: CheckSafe passes %s", u.what, rule.Match)
			}
		}
	}
}

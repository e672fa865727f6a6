package flowspec

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// everyAction returns actions of all types and of all that is special about them, for IPv4.
func everyAction() []Action {
	return []Action{
		Discard(), RateLimit(125_000), RatePackets(0), RatePackets(5000),
		Sample(), Continue(), SampleAndContinue(),
		{Type: TrafficAction},
		Redirect(RouteTargetAS(65001, 666)), Mark(8),
		RedirectIP(netip.MustParseAddr("192.0.2.1"), false), RedirectIP(netip.MustParseAddr("192.0.2.1"), true),
	}
}

// TestInterference writes down for each pair of actions whether one rule may have both (RFC 8955 section 7.7).
func TestInterference(t *testing.T) {
	// A row and a column for each of everyAction: x where they interfere.
	const want = `
discard                     xxxx.xx.xxxx
rate 1Mbps                  xxxx........
rate 0pps                   xxxx.xx.xxxx
rate 5kpps                  xxxx........
sample                      ....xxxx....
continue                    x.x.xxxx....
sample continue             x.x.xxxx....
stop                        ....xxxx....
redirect 65001:666          x.x.....x.xx
mark 8                      x.x......x..
redirect-ip 192.0.2.1       x.x.....x.xx
redirect-ip 192.0.2.1 copy  x.x.....x.xx
`
	m := must(t, IPv4, Proto(17))
	var got strings.Builder
	got.WriteByte('\n')
	for _, a := range everyAction() {
		got.WriteString(a.String() + strings.Repeat(" ", 28-len(a.String())))
		for _, b := range everyAction() {
			rule, err := NewRule(m, a, b)
			switch {
			case err == nil:
				got.WriteByte('.')
				if len(rule.Actions) != 2 {
					t.Errorf("NewRule of %q and %q has actions %v", a, b, rule.Actions)
				}
			case errors.Is(err, ErrInterfering) && errors.Is(err, ErrAction):
				got.WriteByte('x')
				if rule.Actions != nil {
					t.Errorf("NewRule returned %v with its error", rule)
				}
			default:
				t.Errorf("NewRule of %q and %q: %v", a, b, err)
			}
		}
		got.WriteByte('\n')
	}
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNewRule(t *testing.T) {
	m := must(t, IPv4, Proto(17))
	given := []Action{Mark(8), RateLimit(125_000)}
	r, err := NewRule(m, given...)
	if err != nil {
		t.Fatal(err)
	}
	want := []Action{RateLimit(125_000), Mark(8)}
	if diff := cmp.Diff(want, r.Actions, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if given[0] != Mark(8) {
		t.Error("NewRule sorted what the caller gave it")
	}
	slices.Reverse(r.Actions)
	if err := r.Validate(); !errors.Is(err, ErrAction) || !strings.Contains(err.Error(), "sort actions by type, as NewRule does") {
		t.Errorf("Validate of actions out of order: %v", err)
	}
	if _, err := NewRule(Match{Family: IPv4}, Discard()); !errors.Is(err, ErrEmpty) {
		t.Errorf("NewRule of no match: %v, want %v", err, ErrEmpty)
	}
}

// TestActionOfAnotherFamily: an action that the family of the rule cannot have does not get into a rule, nor past it.
func TestActionOfAnotherFamily(t *testing.T) {
	four, six := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	for _, tt := range []struct {
		name   string
		family Family
		action Action
		says   string // nothing: it is accepted
	}{
		{"IPv4 to IPv4", IPv4, RedirectIP(four, false), ""},
		{"IPv4 to IPv6", IPv4, RedirectIP(six, false), "IPv4 packets redirected to 2001:db8::1, which is of the other family"},
		{"IPv6 to IPv6", IPv6, RedirectIP(six, false), ""},
		{"copy of IPv6 to IPv4", IPv6, RedirectIP(four, true), "IPv6 packets redirected to 192.0.2.1, which is of the other family"},
		{"IPv4, route target of IPv4", IPv4, Redirect(RouteTargetAddress(four, 1)), ""},
		{"IPv4, route target of IPv6", IPv4, Redirect(RouteTargetAddress(six, 1)), "IPv4 packets redirected by an IPv6 route target"},
		{"IPv6, route target of IPv4", IPv6, Redirect(RouteTargetAddress(four, 1)), ""},
		{"IPv6, route target of IPv6", IPv6, Redirect(RouteTargetAddress(six, 1)), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewRule(must(t, tt.family, Proto(17)), tt.action)
			if tt.says == "" {
				if err != nil {
					t.Errorf("NewRule: %v", err)
				}
				return
			}
			if !errors.Is(err, ErrInterfering) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("NewRule: %v, want %q", err, tt.says)
			}
		})
	}
}

// TestActionErrors asks that each refusal names the field and, where there is one, the fix.
func TestActionErrors(t *testing.T) {
	for _, tt := range []struct {
		action Action
		want   string
	}{
		{Action{}, "cannot use action of type 0: there is none"},
		{Mark(64), "cannot use traffic-marking: field DSCP: 64 is above 63"},
		{Action{Type: TrafficMarking, Rate: 5}, "cannot use traffic-marking: field Rate is of another type of action; leave Rate zero"},
		{Action{Type: TrafficRateBytes, Continue: true}, "cannot use traffic-rate-bytes: field Continue is of another type of action; leave Continue zero"},
		{RedirectIP(netip.Addr{}, true), "cannot use redirect-to-ip: field Address: there is none; set the address that packets are forwarded to"},
		{RedirectIP(netip.MustParseAddr("::ffff:192.0.2.1"), true), `cannot use redirect-to-ip: field Address: "::ffff:192.0.2.1" is IPv4 in IPv6 form; write 192.0.2.1`},
		{RedirectIP(netip.MustParseAddr("224.0.0.1"), true), `cannot use redirect-to-ip: field Address: "224.0.0.1" is no unicast address that packets can be forwarded to; write a global address`},
		{Redirect(RouteTarget{Form: 9}), "cannot use route target: field Form: there is no form 9"},
		{Redirect(RouteTarget{Form: RTFormAS2, ASN: 65536}), "cannot use route target: field ASN: 65536 has more than two octets; use the form of a four-octet AS"},
		{Redirect(RouteTargetAS(65536, 65536)), "cannot use route target: field Local: 65536 is above 65535, all that this form carries"},
		{RatePackets(0.5), "0.5 packets/s is below 1 packet/s, which a router may round to 0 and so discard everything"},
	} {
		t.Run(tt.want, func(t *testing.T) {
			err := tt.action.Validate()
			if err == nil || err.Error() != tt.want {
				t.Errorf("Validate = %v", err)
			}
			_ = tt.action.String() // must not panic
		})
	}
}

func TestDiscards(t *testing.T) {
	var got []string
	for _, a := range everyAction() {
		if a.Discards() {
			got = append(got, a.String())
		}
	}
	if diff := cmp.Diff([]string{"discard", "rate 0pps"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestParseRouteTarget: a route target by itself is read as in a rule, and nothing else is.
func TestParseRouteTarget(t *testing.T) {
	for _, text := range []string{"65001:666", "65001L:666", "4200000000:666", "192.0.2.1:666", "[2001:db8::1]:666", "0:4294967295"} {
		got, err := ParseRouteTarget(text)
		if err != nil || got.String() != text {
			t.Errorf("ParseRouteTarget(%q) = %s, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"":                        `cannot parse route target "": not a route target`,
		"65001":                   `cannot parse route target "65001": not a route target`,
		"65001:":                  `cannot parse route target "65001:": not a number`,
		"2001:db8::1:666":         `cannot parse route target "2001:db8::1:666": neither an AS number`,
		"65001:1, mark 2":         `cannot parse route target "65001:1, mark 2": not part of a route target`,
		"70000:70000":             `cannot parse route target "70000:70000": 70000 is above 65535`,
		strings.Repeat("x", 1000): `cannot parse route target "` + strings.Repeat("x", 40) + `": not a route target`,
	} {
		if _, err := ParseRouteTarget(text); err == nil || !strings.HasPrefix(err.Error(), want) || !errors.Is(err, ErrValue) {
			t.Errorf("ParseRouteTarget(%.50q): %v, want %s", text, err, want)
		}
	}
}

package profile

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

func TestNames(t *testing.T) {
	want := []string{"generic", "junos-mx", "iosxr-ncs5500", "iosxr-asr9k", "frr", "bird", "gobgp", "linux-edge"}
	if diff := cmp.Diff(want, Names()); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	for _, name := range want {
		if p, ok := Lookup(name); !ok || p.Name != name {
			t.Errorf("lookup of %q gives %v, %t", name, p, ok)
		}
	}
	if _, ok := Lookup("abacus"); ok {
		t.Error("there is a profile that nobody wrote")
	}
}

// TestStatementsAreSourced: every statement says where it comes from, and what happens instead if it is a no.
func TestStatementsAreSourced(t *testing.T) {
	for _, p := range All() {
		t.Run(p.Name, func(t *testing.T) {
			check := func(what string, s Support) {
				if s.Source.Title == "" || s.Basis < Published || s.Basis > Assumed {
					t.Errorf("%s has no source or basis: %+v", what, s)
				}
				if s.OK == (s.Instead != "") {
					t.Errorf("%s: supported %t, but says %q of what happens instead", what, s.OK, s.Instead)
				}
				if s.Basis == Published && s.Source.URL == "" {
					t.Errorf("%s is published, but nobody can find where", what)
				}
			}
			for _, f := range []flowspec.Family{flowspec.IPv4, flowspec.IPv6} {
				for typ := flowspec.DestinationPrefix; typ <= flowspec.FlowLabel; typ++ {
					rows := 0
					for _, c := range p.Components {
						if c.Family == f && c.Type == typ {
							rows++
							check(f.String()+" "+typ.String(), c.Support)
						}
					}
					if want := map[bool]int{true: 1}[typ.In(f)]; rows != want {
						t.Errorf("%s %s has %d rows, want %d", f, typ, rows, want)
					}
				}
			}
			for _, a := range abilities() {
				rows := 0
				for _, s := range p.Actions {
					if s.Ability == a {
						rows++
						check(a.String(), s.Support)
					}
				}
				if rows != 1 {
					t.Errorf("%s has %d rows, want 1", a, rows)
				}
			}
			check("RTBH", p.RTBH)
			for _, q := range p.Quirks {
				if q.Text == "" || q.Source.Title == "" {
					t.Errorf("quirk without text or source: %+v", q)
				}
			}
			for _, l := range []struct {
				name   string
				value  int
				source Source
			}{
				{"rules", p.Limits.MaxRules, p.Limits.MaxRulesSource},
				{"entries", p.Limits.MaxEntries, p.Limits.MaxEntriesSource},
				{"rules per second", p.Limits.RulesPerSecond, p.Limits.RulesPerSecondSource},
			} {
				if (l.value > 0) != (l.source.URL != "") {
					t.Errorf("limit of %s is %d, source %q", l.name, l.value, l.source)
				}
			}
		})
	}
}

// TestGenericIsTheLeast: what generic says a router can do, every hardware profile can do, within the same limits.
func TestGenericIsTheLeast(t *testing.T) {
	least := mustProfile(t, nameGeneric)
	for _, p := range All() {
		if p.Enforces != InHardware {
			continue
		}
		for _, c := range least.Components {
			other := p.Component(c.Family, c.Type)
			if !c.OK {
				continue
			}
			bits := func(s ComponentSupport) uint64 {
				if s.Bits == 0 {
					return ^uint64(0)
				}
				return s.Bits
			}
			if !other.OK || other.OneValue && !c.OneValue || other.OneMask && !c.OneMask || other.NoNot && !c.NoNot || bits(c)&^bits(other) != 0 {
				t.Errorf("%s %s: generic has %+v, %s %+v", c.Family, c.Type, c, p.Name, other)
			}
		}
		for _, a := range abilities() {
			for _, f := range [...]flowspec.Family{flowspec.IPv4, flowspec.IPv6} {
				if least.Action(a).In(f).OK && !p.Action(a).In(f).OK {
					t.Errorf("generic has %s in %s, %s has not", a, f, p.Name)
				}
			}
		}
		if len(p.NotTogether) > 0 && slices.ContainsFunc(p.NotTogether, func(c Combination) bool {
			return least.Component(flowspec.IPv4, c.A).OK && least.Component(flowspec.IPv4, c.B).OK
		}) {
			t.Errorf("generic takes together what %s does not", p.Name)
		}
	}
}

func TestNeeds(t *testing.T) {
	for _, tt := range []struct {
		name   string
		action flowspec.Action
		want   []Ability
	}{
		{"discard", flowspec.Discard(), []Ability{Discards}},
		{"rate", flowspec.RateLimit(1000), []Ability{PolicesBytes}},
		{"packets", flowspec.Action{Type: flowspec.TrafficRatePackets, Rate: 5}, []Ability{PolicesPackets}},
		{"no packet", flowspec.Action{Type: flowspec.TrafficRatePackets}, []Ability{PolicesPackets, Discards}},
		{"continue and sample", flowspec.Action{Type: flowspec.TrafficAction, Continue: true, Sample: true}, []Ability{Continues, Samples}},
		{"traffic-action without a bit", flowspec.Action{Type: flowspec.TrafficAction}, nil},
		{"redirect", flowspec.Action{Type: flowspec.RTRedirect, Target: flowspec.RouteTarget{Form: flowspec.RTFormAS4}}, []Ability{RedirectsAS4}},
		{"mark", flowspec.Action{Type: flowspec.TrafficMarking}, []Ability{Marks}},
		{"copy", flowspec.Action{Type: flowspec.RedirectToIP, Copy: true}, []Ability{RedirectsToIPv6, CopiesToIP}},
		{"unknown", flowspec.Action{Type: 99}, []Ability{0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, Needs(tt.action)); diff != "" {
				t.Errorf("needs (-want +got):\n%s", diff)
			}
		})
	}
	for _, p := range All() {
		if p.Action(0).OK {
			t.Errorf("%s has an ability that does not exist", p.Name)
		}
	}
}

func TestAdmit(t *testing.T) {
	for _, p := range All() {
		_, tested := p.Tested()
		if tested && p.Enforces == InHardware || p.Name == nameGeneric && tested {
			t.Errorf("%s counts as tested: nobody here ran it", p.Name)
		}
		if f, ok := p.Admit(false); ok != tested || !ok && (f.Code != CodeUntested || f.Fix == "") {
			t.Errorf("%s: admitted %t, tested %t, %+v", p.Name, ok, tested, f)
		}
		if _, ok := p.Admit(true); !ok {
			t.Errorf("%s is not admitted though that was accepted", p.Name)
		}
	}
}

func TestSpend(t *testing.T) {
	rules := func(n int, text string) []flowspec.Rule {
		var out []flowspec.Rule
		for range n {
			out = append(out, mustRule(t, text+" => discard"))
		}
		return out
	}
	const cheap, dear = "dst 203.0.113.7/32 proto udp", "dst 203.0.113.7/32 proto udp len >=257"
	for _, tt := range []struct {
		name, profile         string
		rules                 []flowspec.Rule
		maxPrefix, maxEntries int
		want                  Budget
		left                  [2]int
		over                  []Code
	}{
		{
			"80 % of max-prefix and of the published table", nameNCS5500, rules(3, dear), 1000, 0,
			Budget{Rules: 3, RulesStop: 800, Entries: 45, EntriesStop: 3276, Unit: "TCAM entries"},
			[2]int{797, 3231},
			nil,
		},
		{
			"not above what the vendor validated", nameNCS5500, nil, 10000, 0,
			Budget{RulesStop: 3000, EntriesStop: 3276, Unit: "TCAM entries"},
			[2]int{3000, 3276},
			nil,
		},
		{
			"the operator's table", nameNCS5500, rules(2, dear), 1000, 30,
			Budget{Rules: 2, RulesStop: 800, Entries: 30, EntriesStop: 24, Unit: "TCAM entries"},
			[2]int{798, -6},
			[]Code{CodeEntries},
		},
		{
			"too many rules", nameGeneric, rules(9, cheap), 11, 0,
			Budget{Rules: 9, RulesStop: 8, Entries: 9, Unit: "TCAM entries"},
			[2]int{-1, 1<<63 - 1},
			[]Code{CodeRules},
		},
		{
			"just enough", nameGeneric, rules(8, cheap), 11, 10,
			Budget{Rules: 8, RulesStop: 8, Entries: 8, EntriesStop: 8, Unit: "TCAM entries"},
			[2]int{0, 0},
			nil,
		},
		{
			"nothing is known", "frr", rules(4, dear), 0, 0,
			Budget{Rules: 4, Entries: 4, Unit: "routes"},
			[2]int{1<<63 - 1, 1<<63 - 1},
			nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := mustProfile(t, tt.profile).Spend(tt.rules, tt.maxPrefix, tt.maxEntries)
			if diff := cmp.Diff(tt.want, b); diff != "" {
				t.Errorf("budget (-want +got):\n%s", diff)
			}
			gotRules, gotEntries := b.Left()
			if diff := cmp.Diff(tt.left, [2]int{gotRules, gotEntries}); diff != "" {
				t.Errorf("left (-want +got):\n%s", diff)
			}
			var over []Code
			for _, f := range b.Over() {
				over = append(over, f.Code)
			}
			if diff := cmp.Diff(tt.over, over); diff != "" {
				t.Errorf("over (-want +got):\n%s", diff)
			}
		})
	}
}

package policy

import (
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// ruled is an active mitigation with one discard rule to 203.0.113.1.
func ruled(id MitigationID, change ...func(*Mitigation)) *Mitigation {
	m := &Mitigation{
		ID: id, Customer: "school", Origin: FromPolicy, Action: Action{Kind: Discard}, Phase: Active,
		Expires: start().Add(time.Hour),
		Rules: []flowspec.Rule{{
			Match:   matchTo(netip.MustParsePrefix("203.0.113.1/32")),
			Actions: []flowspec.Action{flowspec.Discard()},
		}},
	}
	for _, f := range change {
		f(m)
	}
	return m
}

func byOperator(m *Mitigation) { m.Origin = FromOperator }
func over(m *Mitigation)       { m.Phase = Over }

func limit(rate flowspec.BytesPerSecond) func(*Mitigation) {
	return func(m *Mitigation) {
		m.Action = Action{Kind: RateLimit, Rate: rate}
		m.Rules = []flowspec.Rule{{Match: m.Rules[0].Match, Actions: []flowspec.Action{flowspec.RateLimit(rate)}}}
	}
}

func accepting(m *Mitigation) {
	m.Action = Action{Kind: RateLimit, Rate: 10}
	m.Rules = []flowspec.Rule{{Match: m.Rules[0].Match}}
}

func in(groups ...string) func(*Mitigation) { return func(m *Mitigation) { m.Groups = groups } }

func expiring(d time.Duration) func(*Mitigation) {
	return func(m *Mitigation) { m.Expires = m.Expires.Add(d) }
}

func wantedOf(s *State, in WantedInput) wanted.Set {
	return s.Wanted(in).Set
}

// routersOf is one router for each group.
func routersOf(groups ...string) []Change {
	var cs []Change
	for i, g := range groups {
		cs = append(cs, &PutDocument{&Router{Name: g + "1", Address: netip.AddrFrom4([4]byte{192, 0, 2, byte(i + 1)}), Group: g, MaxPrefix: 100}})
	}
	return cs
}

func theRoute(t *testing.T, s *State) *RouteState {
	t.Helper()
	r, ok := s.Route(ruled(1).Rules[0].Match.Key())
	if !ok {
		t.Fatal("the route is gone")
	}
	return r
}

func TestPrecedence(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name string
		ms   []*Mitigation
		want []MitigationID
	}{
		{"operator before policy, though milder and later", []*Mitigation{ruled(1), ruled(2, byOperator, limit(1000))}, []MitigationID{2, 1}},
		{"discard before a rate limit", []*Mitigation{ruled(1, limit(1000)), ruled(2)}, []MitigationID{2, 1}},
		{"the lower rate is more severe", []*Mitigation{ruled(1, limit(2000)), ruled(2, limit(1000))}, []MitigationID{2, 1}},
		{"a rule that limits nothing is the mildest", []*Mitigation{ruled(1, accepting), ruled(2, limit(1e9))}, []MitigationID{2, 1}},
		{"lower id", []*Mitigation{ruled(2), ruled(1)}, []MitigationID{1, 2}},
		{"among operators the more severe", []*Mitigation{ruled(1, byOperator, limit(9)), ruled(2, byOperator), ruled(3)}, []MitigationID{2, 1, 3}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			s := NewState()
			for i, m := range row.ms {
				s = apply(t, s, Index(i+1), &PutMitigation{m})
			}
			r := theRoute(t, s)
			same(t, "owners", r.Owners, row.want)
			first, _ := s.Mitigation(row.want[0])
			same(t, "rule", r.Rule, first.Rules[0])
			// When the first ends, the second takes over; when all have ended, the route is gone.
			for i, id := range row.want {
				same(t, "owners", theRoute(t, s).Owners, row.want[i:])
				m, _ := s.Mitigation(id)
				ended := *m
				over(&ended)
				s = apply(t, s, Index(100+i), &PutMitigation{&ended})
			}
			_, ok := s.Route(r.Rule.Match.Key())
			same(t, "there is a route", ok, false)
		})
	}
}

// TestRouteChanged: the MED moves with every change that a router can see, and with no other.
func TestRouteChanged(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name   string
		before []*Mitigation
		then   *Mitigation
		want   Index // 10: the entry before; 11: this one
	}{
		{"renewal", []*Mitigation{ruled(1)}, ruled(1, expiring(time.Hour)), 10},
		{"another action", []*Mitigation{ruled(1)}, ruled(1, limit(1000)), 11},
		{"another rate", []*Mitigation{ruled(1, limit(1000))}, ruled(1, limit(999)), 11},
		{"groups narrowed", []*Mitigation{ruled(1)}, ruled(1, in("edge")), 11},
		{"groups widened", []*Mitigation{ruled(1, in("edge"))}, ruled(1, in("edge", "transit")), 11},
		{"groups in another order", []*Mitigation{ruled(1, in("edge", "transit"))}, ruled(1, in("transit", "edge", "edge")), 10},
		{"a second owner with the same action", []*Mitigation{ruled(1)}, ruled(2), 10},
		{"a first owner with the same action", []*Mitigation{ruled(2)}, ruled(1), 10},
		{"a weaker owner", []*Mitigation{ruled(1)}, ruled(2, limit(1000)), 10},
		{"a stronger owner", []*Mitigation{ruled(1, limit(1000))}, ruled(2), 11},
		{"the weaker owner ends", []*Mitigation{ruled(1), ruled(2, limit(1000))}, ruled(2, limit(1000), over), 10},
		{"the stronger owner ends", []*Mitigation{ruled(1), ruled(2, limit(1000))}, ruled(1, over), 11},
		{"an owner in another group", []*Mitigation{ruled(1, in("edge"))}, ruled(2, in("transit")), 11},
		{"an owner in the same group", []*Mitigation{ruled(1, in("edge"))}, ruled(2, in("edge")), 10},
		{"another cause", []*Mitigation{ruled(1)}, ruled(1, func(m *Mitigation) { m.Causes = []Cause{{Source: "x"}} }), 10},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			cs := routersOf("edge", "transit")
			for _, m := range row.before {
				cs = append(cs, &PutMitigation{m})
			}
			s := apply(t, NewState(), 10, cs...)
			s = apply(t, s, 11, &PutMitigation{row.then})
			same(t, "Changed", theRoute(t, s).Changed, row.want)
			set := wantedOf(s, WantedInput{})
			for _, r := range set.Routes {
				same(t, "MED", r.MED, math.MaxUint32-uint32(row.want))
			}
			same(t, "revision", set.Revision, uint64(11))
		})
	}
	t.Run("gone and back", func(t *testing.T) {
		t.Parallel()
		s := apply(t, NewState(), 10, &PutMitigation{ruled(1)})
		s = apply(t, s, 11, &PutMitigation{ruled(1, over)})
		same(t, "routes while over", len(wantedOf(s, WantedInput{}).Routes), 0)
		s = apply(t, s, 12, &PutMitigation{ruled(2)})
		same(t, "Changed", theRoute(t, s).Changed, Index(12))
	})
}

func TestMEDOfLargeIndices(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		changed Index
		want    uint32
	}{{1, math.MaxUint32 - 1}, {math.MaxUint32 - 1, 1}, {math.MaxUint32, 0}, {math.MaxUint32 + 5, 0}} {
		same(t, "MED", med(row.changed), row.want)
	}
}

// TestWantedOwners: each group hears the first owner that is meant for it and still lives by this node's clock, for as
// long as an owner of that action lives.
func TestWantedOwners(t *testing.T) {
	t.Parallel()
	type heard struct {
		Action   string
		NotAfter wanted.Instant
		Groups   string
	}
	for _, row := range []struct {
		name      string
		ms        []*Mitigation
		deadlines map[MitigationID]wanted.Instant
		now       wanted.Instant
		want      []heard
		next      wanted.Instant
	}{
		{
			"the more severe, and until its own deadline",
			[]*Mitigation{ruled(1), ruled(2, limit(10))},
			map[MitigationID]wanted.Instant{1: 100, 2: 300},
			50,
			[]heard{{"discard", 100, "edge transit"}},
			100,
		},
		{
			"then the milder one",
			[]*Mitigation{ruled(1), ruled(2, limit(10))},
			map[MitigationID]wanted.Instant{1: 100, 2: 300},
			100,
			[]heard{{"rate 80bps", 300, "edge transit"}},
			300,
		},
		{
			"an owner of the same action keeps it",
			[]*Mitigation{ruled(1), ruled(2)},
			map[MitigationID]wanted.Instant{1: 100, 2: 300},
			50,
			[]heard{{"discard", 300, "edge transit"}},
			100,
		},
		{
			"but only for its own groups",
			[]*Mitigation{ruled(1), ruled(2, in("edge"))},
			map[MitigationID]wanted.Instant{1: 100, 2: 300},
			50,
			[]heard{{"discard", 100, "edge transit"}},
			100,
		},
		{
			"each group its own action",
			[]*Mitigation{ruled(1, in("edge")), ruled(2, limit(10), in("transit"))},
			map[MitigationID]wanted.Instant{1: 100, 2: 300},
			50,
			[]heard{{"discard", 100, "edge"}, {"rate 80bps", 300, "transit"}},
			100,
		},
		{
			"the rest hears the milder one",
			[]*Mitigation{ruled(1, in("edge")), ruled(2, limit(10))},
			map[MitigationID]wanted.Instant{1: 100, 2: 300},
			50,
			[]heard{{"discard", 100, "edge"}, {"rate 80bps", 300, "transit"}},
			100,
		},
		{
			"nobody is left",
			[]*Mitigation{ruled(1), ruled(2, limit(10))},
			map[MitigationID]wanted.Instant{1: 100, 2: 300},
			300, nil, 0,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			cs := routersOf("edge", "transit")
			for _, m := range row.ms {
				cs = append(cs, &PutMitigation{m})
			}
			w := apply(t, NewState(), 1, cs...).Wanted(WantedInput{
				Deadline: func(m *Mitigation) wanted.Instant { return row.deadlines[m.ID] }, Now: row.now,
			})
			var got []heard
			for _, r := range w.Set.Routes {
				got = append(got, heard{r.Rule.Actions[0].String(), r.NotAfter, strings.Join(r.Groups, " ")})
			}
			same(t, "routes", got, row.want)
			same(t, "next", w.Next, row.next)
		})
	}
}

func TestWantedRouters(t *testing.T) {
	t.Parallel()
	s := apply(t, NewState(), 1,
		&PutDocument{&Router{Name: "b", Address: netip.MustParseAddr("192.0.2.2"), Group: "transit", MaxPrefix: 3001, PasswordSecret: "key"}},
		&PutDocument{&Router{Name: "a", Address: netip.MustParseAddr("192.0.2.1"), Group: "edge", MaxPrefix: 10, Families: []flowspec.Family{flowspec.IPv6}}},
		&PutMitigation{ruled(1)})
	set := wantedOf(s, WantedInput{Secret: func(name string) (string, bool) { return "value of " + name, true }})
	same(t, "routers", set.Routers, []wanted.Router{
		{Name: "a", Address: netip.MustParseAddr("192.0.2.1"), Group: "edge", Carries: wanted.FlowSpec, MaxRoutes: 8, IPv6: true},
		{Name: "b", Address: netip.MustParseAddr("192.0.2.2"), Group: "transit", Carries: wanted.FlowSpec, MaxRoutes: 2400, IPv4: true, IPv6: true, Password: "value of key"},
	})
	same(t, "groups of a rule for all", set.Routes[0].Groups, []string{"edge", "transit"})
	same(t, "no secret is kept", wantedOf(s, WantedInput{}).Routers[1].Password, "")

	again := wantedOf(apply(t, s, 2, &PutLease{}), WantedInput{})
	if &again.Protected[0] != &set.Protected[0] {
		t.Error("Protected was made anew though no document changed")
	}
	more := apply(t, s, 3, &PutDocument{&ProtectedBlock{Name: "x", Prefixes: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}}})
	same(t, "protected after a change", len(wantedOf(more, WantedInput{}).Protected), len(set.Protected)+1)
	same(t, "protected of the old state", len(wantedOf(s, WantedInput{}).Protected), len(set.Protected))
}

func TestEmptyStateMayNotBeAnnounced(t *testing.T) {
	t.Parallel()
	if set := wantedOf(NewState(), WantedInput{}); set.Revision != 0 {
		t.Errorf("revision %d, want 0: a speaker must refuse what no entry stands behind", set.Revision)
	}
}

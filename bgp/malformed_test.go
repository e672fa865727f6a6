package bgp_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidegate/tidegate/bgp"
	"github.com/tidegate/tidegate/bgp/bgptest"
	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
)

// badUpdate is the body of an UPDATE that no router should send.
type badUpdate struct {
	name string
	body []byte
}

// attribute is one path attribute with a length of two octets.
func attribute(flags, kind byte, value ...byte) []byte {
	return append([]byte{flags | 0x10, kind, byte(len(value) >> 8), byte(len(value))}, value...)
}

// updateOf is the body of an UPDATE of path attributes, followed by unicast NLRI.
func updateOf(attributes [][]byte, unicast ...byte) []byte {
	all := slices.Concat(attributes...)
	return slices.Concat([]byte{0, 0, byte(len(all) >> 8), byte(len(all))}, all, unicast)
}

// reach is MP_REACH_NLRI of IPv4 FlowSpec with those octets.
func reach(nlri ...byte) []byte {
	return attribute(0x80, 14, append([]byte{0, 1, 133, 0, 0}, nlri...)...)
}

// badUpdates are malformed UPDATEs of every kind that RFC 7606 knows, then a good one cut off here and there, and
// with each octet changed. What is not malformed about some of the last is a rule of the router's own, which must
// not be used either.
func badUpdates() []badUpdate {
	origin, path, med := attribute(0x40, 1, 0), attribute(0x40, 2, 2, 1, 0, 0, 0xfd, 0xf2), attribute(0x80, 4, 0, 0, 0, 0)
	discard := attribute(0xc0, 16, 0x80, 6, 0, 0, 0, 0, 0, 0)
	nextHop := attribute(0x40, 3, 192, 0, 2, 1)
	rule := []byte{8, 1, 24, 203, 0, 113, 3, 0x81, 17} // to 203.0.113.0/24 and UDP
	with := func(more ...[]byte) []byte { return updateOf(append([][]byte{origin, path}, more...)) }
	good := with(med, discard, reach(rule...))

	out := []badUpdate{
		{"empty body", nil},
		{"withdrawn routes longer than the message", []byte{0xff, 0xff, 0, 0}},
		{"path attributes longer than the message", []byte{0, 0, 0xff, 0xff}},
		{"ORIGIN of two octets", updateOf([][]byte{attribute(0x40, 1, 0, 0), path, discard, reach(rule...)})},
		{"ORIGIN unknown", updateOf([][]byte{attribute(0x40, 1, 9), path, discard, reach(rule...)})},
		{"no ORIGIN", updateOf([][]byte{path, discard, reach(rule...)})},
		{"ORIGIN twice", with(origin, discard, reach(rule...))},
		{"ORIGIN optional", updateOf([][]byte{attribute(0xc0, 1, 0), path, discard, reach(rule...)})},
		{"AS_PATH of an unknown segment", updateOf([][]byte{origin, attribute(0x40, 2, 9, 1, 0, 0, 0xfd, 0xf2), discard, reach(rule...)})},
		{"AS_PATH cut off", updateOf([][]byte{origin, attribute(0x40, 2, 2, 5, 0, 0), discard, reach(rule...)})},
		{"AS_PATH with an empty segment", updateOf([][]byte{origin, attribute(0x40, 2, 2, 0), discard, reach(rule...)})},
		{"no AS_PATH", updateOf([][]byte{origin, discard, reach(rule...)})},
		{"MED of three octets", with(attribute(0x80, 4, 0, 0, 0), discard, reach(rule...))},
		{"LOCAL_PREF of one octet", with(attribute(0x40, 5, 1), discard, reach(rule...))},
		{"communities of seven octets", with(attribute(0xc0, 8, 1, 2, 3, 4, 5, 6, 7), discard, reach(rule...))},
		{"extended communities of seven octets", with(attribute(0xc0, 16, 0x80, 6, 0, 0, 0, 0, 0), reach(rule...))},
		{"no extended community", with(attribute(0xc0, 16), reach(rule...))},
		{"rate that is no number", with(attribute(0xc0, 16, 0x80, 6, 0, 0, 0x7f, 0xc0, 0, 0), reach(rule...))},
		{"IPv6 extended communities of nineteen octets", with(attribute(0xc0, 25, make([]byte, 19)...), discard, reach(rule...))},
		{"large communities of eleven octets", with(attribute(0xc0, 32, make([]byte, 11)...), discard, reach(rule...))},
		{"unknown well-known attribute", with(attribute(0x40, 99, 1), discard, reach(rule...))},
		{"unknown optional attribute", with(attribute(0xc0, 99, 1), discard, reach(rule...))},
		{"MP_REACH_NLRI of two octets", with(discard, attribute(0x80, 14, 0, 1))},
		{"MP_REACH_NLRI twice", with(discard, reach(rule...), reach(rule...))},
		{"next hop longer than MP_REACH_NLRI", with(discard, attribute(0x80, 14, 0, 1, 133, 200, 0))},
		{"family that was not negotiated", with(discard, attribute(0x80, 14, append([]byte{0, 1, 128, 0, 0}, rule...)...))},
		{"family that nobody knows", with(discard, attribute(0x80, 14, append([]byte{0x99, 0x99, 133, 0, 0}, rule...)...))},
		{"MP_UNREACH_NLRI of one octet", updateOf([][]byte{attribute(0x80, 15, 0)})},
		{"MP_UNREACH_NLRI cut off", updateOf([][]byte{attribute(0x80, 15, 0, 1, 133, 200, 1)})},
		{"withdrawal of a rule of ours", updateOf([][]byte{attribute(0x80, 15, 0, 1, 133, 5, 1, 24, 203, 0, 113)})},
		{"IPv4 unicast that was not negotiated", updateOf([][]byte{origin, path, nextHop}, 24, 203, 0, 113)},
		{"unicast prefix of 33 bits", updateOf([][]byte{origin, path, nextHop}, 33, 203, 0, 113, 0, 0)},
		{"unicast prefix cut off", updateOf([][]byte{origin, path, nextHop}, 24, 203, 0)},
		{"unicast without NEXT_HOP", updateOf([][]byte{origin, path}, 24, 203, 0, 113)},
		{"NEXT_HOP of three octets", updateOf([][]byte{origin, path, attribute(0x40, 3, 192, 0, 2)}, 24, 203, 0, 113)},
		{"withdrawn unicast prefix of 33 bits", []byte{0, 6, 33, 203, 0, 113, 0, 0, 0, 0}},
	}
	for _, nlri := range []badUpdate{
		{"NLRI of no octets", []byte{0}},
		{"NLRI longer than the attribute", []byte{200, 1, 24}},
		{"length of two octets cut off", []byte{0xf1}},
		{"component cut off", []byte{2, 3, 0x81}},
		{"no end of list", []byte{3, 3, 1, 17}},
		{"prefix of 33 bits", []byte{7, 1, 33, 203, 0, 113, 0, 0}},
		{"type 0", []byte{3, 0, 0x81, 17}},
		{"type 255", []byte{3, 255, 0x81, 17}},
		{"types descending", []byte{8, 3, 0x81, 17, 1, 24, 203, 0, 113}},
		{"a type twice", []byte{6, 3, 0x81, 17, 3, 0x81, 6}},
		{"DSCP in two octets", []byte{4, 11, 0x91, 0, 46}},
		{"port 70000", []byte{6, 5, 0xa1, 0, 1, 0x11, 0x70}},
		{"a good one and half of one", append(slices.Clone(rule), 8, 1, 24)},
	} {
		out = append(out, badUpdate{nlri.name, with(discard, reach(nlri.body...))})
	}
	for i := 0; i < len(good); i += 4 {
		out = append(out, badUpdate{fmt.Sprintf("cut off after %d octets", i), good[:i]})
	}
	for i, octet := range good {
		for _, other := range []byte{octet ^ 0xff, octet ^ 1, 0} {
			changed := slices.Clone(good)
			if changed[i] = other; other != octet {
				out = append(out, badUpdate{fmt.Sprintf("octet %d is %d", i, other), changed})
			}
		}
	}
	return out
}

// hostile is a router that sends malformed UPDATEs, one after the other.
type hostile struct {
	*bgptest.Router
	// heard counts announcements of our rule, by session; it is read and written under the Router's lock.
	heard map[bgptest.SessionID]int
}

// A router that sends malformed UPDATEs, of every kind and one after the other, costs at most its own session (RFC 7606,
// RFC 8955 section 10): the speaker goes on, other sessions hear nothing of it, what the router said is neither used nor
// passed on, and its own session comes back with all that it should hear.
func TestMalformedUpdates(t *testing.T) {
	const routers = 16
	ours := []*wanted.Route{discard(t, "203.0.113.0/25"), discard(t, "2001:db8:1::/48")}
	honest := router(t, func(c *bgptest.Config) { c.KeepUpdates = true })
	all := make([]*hostile, routers)
	for i := range all {
		h := &hostile{heard: map[bgptest.SessionID]int{}}
		h.Router = router(t, func(c *bgptest.Config) {
			c.RouteRefresh = true
			c.OnUpdate = func(u bgptest.Update, _ bgptest.Table) {
				if slices.ContainsFunc(u.Announced, func(r bgptest.Route) bool { return r.Key == ours[0].Key }) {
					h.heard[u.Session]++
				}
			}
		})
		all[i] = h
	}
	b := join(t, func(c *bgp.Config, _ *bgp.Deps) { c.SpareEngines(2 * routers) })

	// A router whose session is lost gets a new name, so that the speaker dials it at once.
	var mu sync.Mutex
	set := base(0, neighbour("honest", honest))
	set.Routes = ours
	lives := make([]int, routers)
	rename := func(i int) {
		mu.Lock()
		defer mu.Unlock()
		lives[i]++
		set.Revision++
		set.Routers = set.Routers[:1:1]
		for k, h := range all {
			set.Routers = append(set.Routers, neighbour(fmt.Sprintf("hostile-%d-%d", k, lives[k]), h.Router))
		}
		b.set(set)
	}
	rename(0)
	wait(t, honest, "our rules", has(keysOf(ours...)...))

	updates := badUpdates()
	if len(updates) < 200 {
		t.Fatalf("only %d UPDATEs", len(updates))
	}
	var kept, lost atomic.Int64
	var wg sync.WaitGroup
	for i, h := range all {
		wg.Go(func() {
			for n := i; n < len(updates); n += routers {
				stays, err := h.send(updates[n].body)
				if err != nil {
					t.Errorf("%s: %v", updates[n].name, err)
					return
				}
				if stays {
					kept.Add(1)
					continue
				}
				lost.Add(1)
				rename(i)
			}
		})
	}
	wg.Wait()
	t.Logf("%d UPDATEs, of which %d cost the router's own session", kept.Load()+lost.Load(), lost.Load())
	if kept.Load() == 0 || lost.Load() == 0 {
		t.Error("all or none of the UPDATEs cost a session: they are not of every kind")
	}
	for i, h := range all {
		wait(t, h.Router, fmt.Sprintf("hostile %d has our rules and no more", i), has(keysOf(ours...)...))
	}
	if s := honest.Sessions(); len(s) != 1 || !s[0].Down.IsZero() {
		t.Errorf("the other session suffered: %+v", s)
	}
	for _, u := range honest.Updates() {
		if len(u.Withdrawn) > 0 || len(u.Announced) > 0 && !slices.Contains(keysOf(ours...), u.Announced[0].Key) {
			t.Errorf("the other session heard %+v", u)
		}
	}
	if n, _ := honest.Counts(); n != uint64(len(ours)) {
		t.Errorf("the other session heard %d announcements, want %d", n, len(ours))
	}
	if st := b.session("honest"); st.Sent != len(ours) || st.State != wanted.SessionEstablished {
		t.Errorf("status of the other session: %+v", st)
	}
}

// send sends one body over the present session, and reports whether the session outlived it: whether what it asks for
// afterwards is answered.
func (h *hostile) send(body []byte) (stays bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var session bgptest.SessionID
	before := 0
	err = h.Wait(ctx, func(_ bgptest.Table, all []bgptest.Session) bool {
		if n := len(all); n > 0 && all[n-1].Down.IsZero() {
			session = all[n-1].ID
			before = h.heard[session]
		}
		return before > 0
	})
	if err != nil {
		return false, fmt.Errorf("no session: %w", err)
	}
	if err := h.Send(session, body); err != nil {
		return false, err
	}
	if err := h.Refresh(session, flowspec.IPv4); err != nil {
		return false, nil //nolint:nilerr // The session was lost that quickly.
	}
	err = h.Wait(ctx, func(_ bgptest.Table, all []bgptest.Session) bool {
		stays = h.heard[session] > before
		return stays || !all[session-1].Down.IsZero()
	})
	return stays, err
}

package policy

import (
	"fmt"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// grip is how much each rule of a mitigation keeps back on a router.
type grip struct {
	hold hold
	kind ActionKind
	rate float64 // holdSome only: what each rule lets pass a second, in bytes or packets
}

// gripOf returns the grip of each of n rules that carry out a.
func gripOf(a Action, n int) grip {
	g := grip{hold: a.holds(), kind: a.Kind}
	if g.hold == holdSome {
		g.rate = (float64(a.Rate) + float64(a.Packets)) / float64(max(n, 1)) // one of the two is zero
	}
	return g
}

func (p *plan) grip() grip       { return gripOf(p.action, p.ruleCount()) }
func (m *Mitigation) grip() grip { return gripOf(m.Action, len(m.Rules)) }

// looser reports whether g surely keeps back less than o. Of a rate of bytes and one of packets neither surely does.
func (g grip) looser(o grip) bool {
	return g.hold < o.hold || g.hold == holdSome && g.hold == o.hold && g.kind == o.kind && g.rate > o.rate
}

// mayBeLooser reports whether g keeps back less than o for some packets: what a rate of bytes lets pass in small packets
// may be above a rate of packets, and the reverse.
func (g grip) mayBeLooser(o grip) bool {
	return g.looser(o) || g.hold == holdSome && g.hold == o.hold && g.kind != o.kind
}

// text says what each rule lets pass; empty if that is nothing, or all.
func (g grip) text() string {
	switch g.kind {
	case RateLimit:
		return flowspec.BytesPerSecond(g.rate).String()
	case RateLimitPackets:
		return flowspec.PacketsPerSecond(g.rate).String()
	case Discard, Redirect, RedirectIP, Mark, RTBH:
	}
	return ""
}

// ratesText compares the rates of the rules of two mitigations, for a sentence; empty unless both are rates.
func ratesText(p *plan, m *Mitigation) string {
	mine, its := p.grip(), m.grip()
	if mine.hold != holdSome || its.hold != holdSome {
		return ""
	}
	return fmt.Sprintf(" (each of its rules lets pass %s, and each of M%d's %s)", mine.text(), m.ID, its.text())
}

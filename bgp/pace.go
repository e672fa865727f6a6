package bgp

import (
	"net/netip"
	"time"

	"github.com/gaissmai/bart"
)

// pacer is a token bucket that holds one second's worth. The zero pacer does not pace.
type pacer struct {
	rate   float64 // announcements per second; 0 is unpaced
	tokens float64
	last   time.Time
}

// set changes the rate; what was saved up stays, within the new bound.
func (p *pacer) set(perSecond int, now time.Time) {
	if float64(perSecond) == p.rate {
		return
	}
	fresh := p.rate == 0
	p.rate = float64(perSecond)
	if p.tokens = min(p.tokens, p.rate); fresh {
		p.tokens, p.last = p.rate, now
	}
}

// available is how many announcements may leave now, at most limit.
func (p *pacer) available(limit int, now time.Time) int {
	if p.rate == 0 {
		return limit
	}
	p.tokens = min(p.rate, p.tokens+now.Sub(p.last).Seconds()*p.rate)
	p.last = now
	return min(limit, int(p.tokens))
}

func (p *pacer) take(n int) {
	if p.rate != 0 {
		p.tokens -= float64(n)
	}
}

// paceStep is how long a paced router's goroutine sleeps at least, so that a high rate is served in small batches.
const paceStep = 20 * time.Millisecond

// wait is how long it takes until one more may leave.
func (p *pacer) wait() time.Duration {
	if p.rate == 0 || p.tokens >= 1 {
		return 0
	}
	return max(paceStep, time.Duration((1-p.tokens)/p.rate*float64(time.Second)))
}

// coverage counts the destinations of announcements that have not left yet. A rule that is to be withdrawn waits while
// it overlaps one: whatever replaces a rule acts on some packet that the rule acts on, so their destinations overlap.
type coverage struct {
	table bart.Table[int]
}

func (c *coverage) add(p netip.Prefix) {
	n, _ := c.table.Get(p)
	c.table.Insert(p, n+1)
}

func (c *coverage) remove(p netip.Prefix) {
	if n, ok := c.table.Get(p); ok && n > 1 {
		c.table.Insert(p, n-1)
		return
	}
	c.table.Delete(p)
}

func (c *coverage) overlaps(p netip.Prefix) bool { return c.table.OverlapsPrefix(p) }

func (c *coverage) clear() { c.table = bart.Table[int]{} }

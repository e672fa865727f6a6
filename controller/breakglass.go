package controller

import (
	"fmt"

	"github.com/tidegate/tidegate/policy"
)

// tellBreakGlass says aloud, on every node, what went past an approval. Called only by raft's FSM goroutine, also when a
// node reads its log again: the entry says when it was.
func (c *Controller) tellBreakGlass(before, now *policy.State) {
	ms, orders := now.PassedSince(before)
	for _, m := range ms {
		c.metrics.breakGlass.Inc()
		by, why := m.By, m.Reason.Text
		for _, ev := range m.History {
			if ev.What == policy.EventBreakGlass {
				by, why = ev.By, ev.Text
			}
		}
		c.log.Warn("break-glass: a mitigation goes past an approval", "mitigation", fmt.Sprintf("M%d", m.ID), "customer", m.Customer, "by", by,
			"why", why, "until", m.BreakGlassUntil, "index", now.Index(), "at", now.At())
	}
	for _, o := range orders {
		c.metrics.breakGlass.Inc()
		c.log.Warn("break-glass: an order goes past an approval", "approval", fmt.Sprintf("A%d", o.ID), "what", o.What(), "by", o.DecidedBy,
			"why", o.Note, "index", now.Index(), "at", now.At())
	}
}

package controller

import (
	"log/slog"
	"testing"

	"github.com/tidegate/tidegate/policy"
)

// TestTellIsCheap: while nothing is held back a new State costs the reconciler nothing to tell of. It stands between the
// routers and whoever waits for an answer.
func TestTellIsCheap(t *testing.T) {
	r := &reconciler{log: slog.New(slog.DiscardHandler)}
	s := policy.NewState()
	r.tell(s)
	if n := testing.AllocsPerRun(100, func() { r.tell(s) }); n != 0 {
		t.Errorf("telling of a State in which nothing is held back allocates %v times", n)
	}
}

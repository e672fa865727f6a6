package bench_test

import (
	"fmt"
	"testing"
	"time"
)

// measureInventory takes how long the whole inventory takes through a real node, from the command line.
func measureInventory(b *testing.B, s *suite) {
	text := yamlOf(nation())
	var took []time.Duration
	for range 3 {
		l := newLab(b, s, 1)
		l.start()
		took = append(took, l.apply(l.nodes[0], "nation.yaml", text))
		l.stop()
	}
	s.report.add(figure{
		Chapter: "Inventory", Name: "apply of 2,000 customers, 5,000 links, 22 blocks, slowest", Value: quantile(took, 1).Seconds(), Unit: "s", AtMost: 2,
		Definition: fmt.Sprintf("`tidegate apply -f nation.yaml` (%d kB) on a new single node, from the start of the command to its end: YAML, mutual TLS, "+
			"validation, decision, one log entry on disk, State; slowest of 3, median %.2f s", len(text)>>10, quantile(took, 0.5).Seconds()),
	})
}

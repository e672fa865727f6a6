package faults

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/tidegate/tidegate/policy"
)

// stamp is how times are written.
const stamp = "15:04:05.000000"

// Score is what a run showed.
type Score struct {
	Faults                 map[string]int // caused, by kind
	Writes, Reads, Updates int            // acknowledged; answered; events at the routers
	// Lost is how often a read did not show what an acknowledged write had done by the index it was made from.
	Lost int
	// WrongWithdrawals are withdrawals of rules that were due.
	WrongWithdrawals int
	// Absent is for how long rules that were due had no path at a router, over all rules and routers.
	Absent time.Duration
	// Dark is the same while no node ran, by the fault's own doing.
	Dark time.Duration
	// PastBound is for how long nodes announced rules past their bound.
	PastBound time.Duration
	// Unasked are rules that no client asked for.
	Unasked int
	// Linearizable: the answers to writes that compete have an order that explains all of them.
	Linearizable bool
	// Gaps are the times from the loss of the leader to the first answer to a write called after it, in order.
	Gaps []time.Duration
	// Findings are what is wrong, in words.
	Findings []string
}

func (s *Score) find(format string, args ...any) {
	s.Findings = append(s.Findings, fmt.Sprintf(format, args...))
}

// Good reports whether nothing is wrong.
func (s Score) Good() bool {
	return s.Lost == 0 && s.WrongWithdrawals == 0 && s.Absent == 0 && s.PastBound == 0 && s.Unasked == 0 && s.Linearizable && len(s.Findings) == 0
}

// quantile is that part of the gaps in order; zero if there are none.
func (s Score) quantile(part float64) time.Duration {
	if len(s.Gaps) == 0 {
		return 0
	}
	return s.Gaps[min(len(s.Gaps)-1, int(part*float64(len(s.Gaps))))]
}

// Add joins another run's.
func (s *Score) Add(o Score) {
	if s.Faults == nil {
		s.Faults, s.Linearizable = make(map[string]int), true
	}
	for k, n := range o.Faults {
		s.Faults[k] += n
	}
	s.Writes, s.Reads, s.Updates = s.Writes+o.Writes, s.Reads+o.Reads, s.Updates+o.Updates
	s.Lost, s.WrongWithdrawals, s.Unasked = s.Lost+o.Lost, s.WrongWithdrawals+o.WrongWithdrawals, s.Unasked+o.Unasked
	s.Absent, s.Dark, s.PastBound = s.Absent+o.Absent, s.Dark+o.Dark, s.PastBound+o.PastBound
	s.Linearizable = s.Linearizable && o.Linearizable
	s.Gaps = append(s.Gaps, o.Gaps...)
	slices.Sort(s.Gaps)
	s.Findings = append(s.Findings, o.Findings...)
}

// shownFindings is how many of them the scoreboard names.
const shownFindings = 30

// Print writes the scoreboard.
func (s Score) Print(w io.Writer) {
	fmt.Fprintln(w, "faults")
	total := 0
	for _, k := range slices.Sorted(maps.Keys(s.Faults)) {
		fmt.Fprintf(w, "  %-36s %8d\n", k, s.Faults[k])
		total += s.Faults[k]
	}
	verdict := "yes"
	if !s.Linearizable {
		verdict = "NO"
	}
	row := func(name, format string, value any) { fmt.Fprintf(w, "%-38s "+format+"\n", name, value) }
	row("together", "%8d", total)
	row("writes acknowledged", "%8d", s.Writes)
	row("reads answered", "%8d", s.Reads)
	row("events at three routers", "%8d", s.Updates)
	row("acknowledged writes lost", "%8d", s.Lost)
	row("competing writes linearizable", "%8s", verdict)
	row("wrong withdrawals", "%8d", s.WrongWithdrawals)
	row("rules that nobody asked for", "%8d", s.Unasked)
	row("rule-seconds absent", "%8.3f", s.Absent.Seconds())
	row("  of which no process ran at all", "%8.3f  (not counted)", s.Dark.Seconds())
	row("rule-seconds past bound", "%8.3f", s.PastBound.Seconds())
	fmt.Fprintf(w, "%-38s %8.2f / %.2f / %.2f s of %d\n", "write gap p50 / p99 / max", s.quantile(0.5).Seconds(), s.quantile(0.99).Seconds(), s.quantile(1).Seconds(), len(s.Gaps))
	for i, f := range s.Findings {
		if i == shownFindings {
			fmt.Fprintf(w, "and %d more\n", len(s.Findings)-i)
			break
		}
		fmt.Fprintln(w, "WRONG:", f)
	}
}

// rivalry is one call on a contended slot, as porcupine's model sees it.
type rivalry struct {
	withdraw bool
	id       string // withdrawn
}

// answer is what came of it.
type answer struct{ refused, id string }

// slotState is the id of the active mitigation, empty for none, and the newest id that there was.
type slotState struct {
	active string
	newest policy.MitigationID
}

// contradiction is a slot whose writes no order explains; empty if there is none. A slot holds the id of one active
// mitigation, or none.
func contradiction(writes []*write) string {
	slots := make(map[string][]porcupine.Operation)
	for _, x := range writes {
		if x.renewed {
			continue // nobody competes with a detector, whose answers have no index
		}
		slots[x.slot] = append(slots[x.slot], porcupine.Operation{
			ClientId: x.client, Input: rivalry{x.withdra, x.id}, Output: answer{x.refused, x.id},
			Call: x.invoke.Sub(writes[0].invoke).Nanoseconds(), Return: x.respond.Sub(writes[0].invoke).Nanoseconds(),
		})
	}
	for _, name := range slices.Sorted(maps.Keys(slots)) {
		if !porcupine.CheckOperations(slotModel(), slots[name]) {
			return name
		}
	}
	return ""
}

// slotModel is one slot. A start that finds its like active is answered with that one; ids are never given twice.
func slotModel() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return slotState{} },
		Step: func(state, input, output any) (bool, any) {
			now, _ := state.(slotState)
			call, _ := input.(rivalry)
			got, _ := output.(answer)
			switch {
			case call.withdraw && got.refused == "":
				return now.active == call.id, slotState{newest: now.newest}
			case call.withdraw:
				return now.active != call.id && got.refused == "mitigation_over", now
			case got.refused != "":
				return false, now
			case now.active != "":
				return now.active == got.id, now
			}
			n, err := strconv.ParseUint(strings.TrimPrefix(got.id, "M"), 10, 64)
			return err == nil && policy.MitigationID(n) > now.newest, slotState{got.id, policy.MitigationID(n)}
		},
	}
}

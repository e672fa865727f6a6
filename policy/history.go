package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// EventKind says what happened to a mitigation between its start and its end.
type EventKind string

// The kinds of event. The start and the end of a mitigation are part of its record and are no events.
const (
	EventMerged      EventKind = "merged"       // an attack became a further cause
	EventCauseOver   EventKind = "cause-over"   // an attack ended or moved, others remain
	EventEscalated   EventKind = "escalated"    // the next step was taken
	EventStepRefused EventKind = "step-refused" // the next step was due and refused; told once
	EventNarrowed    EventKind = "narrowed"     // protection was added, or space lost
	EventQuiet       EventKind = "quiet"        // the last cause ended: the quiet time began
	EventRevived     EventKind = "revived"      // an attack came back within the quiet time
	EventRelaxed     EventKind = "relaxed"      // after a quiet time the step before was taken
	EventExtended    EventKind = "extended"     // the remaining lifetime was set
	EventAsked       EventKind = "asked"        // something of it awaits a second person
	EventApproved    EventKind = "approved"     // a second person said yes
	EventRejected    EventKind = "rejected"     // a second person said no
	EventLapsed      EventKind = "lapsed"       // nobody answered in time
	EventBreakGlass  EventKind = "break-glass"  // it was done without waiting for a second person
)

// Event is one thing that happened to a mitigation.
type Event struct {
	At    time.Time
	Index Index // of the entry; State.Apply sets it
	What  EventKind
	By    Principal
	Code  ReasonCode
	Text  string
}

// MaxEvents bounds the events that are remembered of one mitigation. Beyond it the oldest goes, of those first that tell of
// further causes and their ends: they are many and say little.
const MaxEvents = 32

// tell adds an event to m, a copy that nobody else has seen yet.
func (m *Mitigation) tell(ev Event) {
	list := slices.Clip(m.History)
	if len(list) >= MaxEvents {
		i := max(slices.IndexFunc(list, func(o Event) bool { return o.What == EventMerged || o.What == EventCauseOver }), 0)
		list = slices.Delete(slices.Clone(list), i, i+1)
	}
	m.History = append(list, ev)
}

// measured is what a signal states of the size of its attack and of how sure it is, in parentheses; empty for nothing.
func measured(sig *Signal) string {
	var parts []string
	if sig.BitsPerSecond > 0 {
		parts = append(parts, bitRate(sig.BitsPerSecond))
	}
	if sig.PacketsPerSecond > 0 {
		parts = append(parts, flowspec.PacketsPerSecond(sig.PacketsPerSecond).String())
	}
	if sig.Confidence > 0 {
		parts = append(parts, fmt.Sprintf("confidence %v", sig.Confidence))
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// causeList names the causes of m that are listed, for a sentence.
func causeList(m *Mitigation) string {
	return list(m.Causes, func(c Cause) string { return fmt.Sprintf("%q of %s", c.AttackID, c.Source) })
}

// stamped returns the events with the index of the entry that tells of them first.
func stamped(list []Event, index Index) []Event {
	if n := len(list); n == 0 || list[n-1].Index != 0 {
		return list
	}
	out := slices.Clone(list)
	for i := len(out) - 1; i >= 0 && out[i].Index == 0; i-- {
		out[i].Index = index
	}
	return out
}

package policy

import (
	"fmt"
	"time"
)

// Freeze says that nothing starts by itself: while it holds policies start, escalate and revive nothing. What is active
// stays, is renewed, ends, expires, is withdrawn and is narrowed as ever, and operators start what they want: a freeze is
// for the time in which people, and not policies, decide.
type Freeze struct {
	By     Principal
	Reason string
	Since  time.Time
	Until  time.Time // zero: until it is ended
}

// holds reports whether the freeze holds at t.
func (f *Freeze) holds(t time.Time) bool { return f != nil && (f.Until.IsZero() || t.Before(f.Until)) }

// PutFreeze freezes the cluster, or replaces the freeze that there is. State.Apply sets Since.
type PutFreeze struct{ Freeze Freeze }

// EndFreeze ends the freeze; without one it does nothing.
type EndFreeze struct{}

func (*PutFreeze) isChange() {}
func (*EndFreeze) isChange() {}
func (*PutFreeze) isRecord() {}

// Frozen returns the freeze, if there is one. A freeze that is limited in time stays until an entry ends it, which the
// leader writes when it is due.
func (s *State) Frozen() (Freeze, bool) {
	if s.freeze == nil {
		return Freeze{}, false
	}
	return *s.freeze, true
}

// FreezeRequest freezes the cluster, for a time or until an UnfreezeRequest.
type FreezeRequest struct{ Duration time.Duration } // 0: without a limit

// UnfreezeRequest ends the freeze.
type UnfreezeRequest struct{}

func (*FreezeRequest) isRequest()   {}
func (*UnfreezeRequest) isRequest() {}

func decideFreeze(s *State, r *FreezeRequest, e Entry) Decision {
	var vs violations
	if vs.limit(r.Duration); len(vs) > 0 {
		return malformed(vs)
	}
	f := newFreeze(r.Duration, e)
	text := "the cluster is frozen " + f.howLong() + ": policies start, escalate and revive nothing; what is active stays to its end"
	if old, was := s.Frozen(); was {
		text += fmt.Sprintf("; this takes the place of the freeze by %s", old.By)
	}
	return Decision{Verdict: Verdict{Kind: Mitigated, Reason: Reason{CodeFrozen, text}}, Changes: []Change{&PutFreeze{f}}}
}

func newFreeze(d time.Duration, e Entry) Freeze {
	f := Freeze{By: e.By, Reason: e.Reason, Since: e.At}
	if d > 0 {
		f.Until = e.At.Add(d)
	}
	return f
}

func (f *Freeze) howLong() string {
	if f.Until.IsZero() {
		return "until somebody unfreezes it"
	}
	return "until " + f.Until.UTC().Format(time.RFC3339)
}

// limit checks a duration that may be left out.
func (vs *violations) limit(d time.Duration) {
	switch {
	case d < 0:
		vs.add("duration", "send a positive duration, or none", "the duration %s is negative", d)
	case d != 0 && d < shortestLife:
		vs.add("duration", fmt.Sprintf("send at least %s, or none", shortestLife), "the duration %s is shorter than %s", d, shortestLife)
	case d > longestLifetime:
		vs.add("duration", "send none: then it holds until it is ended", "the duration %s is longer than %s", d, longestLifetime)
	}
}

func decideUnfreeze(s *State) Decision {
	f, frozen := s.Frozen()
	if !frozen {
		return observe(CodeNothingToDo, 0, "the cluster is not frozen")
	}
	return Decision{
		Verdict: Verdict{Kind: Ended, Reason: Reason{CodeUnfrozen, fmt.Sprintf("the freeze by %s since %s is over: policies decide again",
			f.By, f.Since.UTC().Format(time.RFC3339))}},
		Changes: []Change{&EndFreeze{}},
	}
}

// frozen says that nothing starts by itself at the entry's time; no code if it does.
func frozen(s *State, e Entry) Reason {
	f := s.freeze
	if !f.holds(e.At) {
		return Reason{}
	}
	why := ""
	if f.Reason != "" {
		why = fmt.Sprintf(" (%s)", f.Reason)
	}
	return Reason{CodeFrozen, fmt.Sprintf("the cluster is frozen by %s since %s, %s%s: nothing starts by itself; start it by hand, or unfreeze the cluster",
		f.By, f.Since.UTC().Format(time.RFC3339), f.howLong(), why)}
}

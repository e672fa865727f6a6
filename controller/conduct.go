package controller

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tidegate/tidegate/policy"
)

const (
	// conductWindow is how long what a detector does is held against it; QuarantineThresholds speak of it.
	conductWindow = 10 * time.Minute
	// maxWatched bounds the detectors that are watched at a time. Their names come from certificates, so there are few.
	maxWatched = 1024
)

// conduct is how a detector has behaved lately, in this term. It is counted in two halves of a window, so that what is
// older than a window is forgotten.
type conduct struct {
	began       time.Time // of the current half
	now, before tally
	fastMinute  int64 // the last minute in which it was too fast, counted from 1970
	fastRow     int   // such minutes in a row
}

// tally counts what a detector reported for the first time.
type tally struct{ attacks, wrong, conflicts int }

func (t tally) plus(o tally) tally {
	return tally{t.attacks + o.attacks, t.wrong + o.wrong, t.conflicts + o.conflicts}
}

// turn begins the half of the window that now is in.
func (c *conduct) turn(now time.Time) {
	switch age := now.Sub(c.began); {
	case age >= conductWindow:
		c.before, c.now, c.began = tally{}, tally{}, now
	case age >= conductWindow/2:
		c.before, c.now, c.began = c.now, tally{}, now
	}
}

// note counts an answer.
func (c *conduct) note(code policy.ReasonCode, now time.Time) {
	c.turn(now)
	switch code {
	case policy.CodeSeqConflict:
		c.now.conflicts++
		return
	case policy.CodeTargetNotOfficial, policy.CodeTargetProtected, policy.CodeTargetBuiltIn, policy.CodeTargetEverything:
		c.now.wrong++
	case policy.CodeStartRate:
		switch minute := now.Unix() / 60; minute {
		case c.fastMinute:
		case c.fastMinute + 1:
			c.fastMinute, c.fastRow = minute, c.fastRow+1
		default:
			c.fastMinute, c.fastRow = minute, 1
		}
	default:
	}
	c.now.attacks++
}

// beyond says which threshold the detector crossed; nothing if none.
func (c *conduct) beyond(q *policy.QuarantineThresholds, now time.Time) string {
	c.turn(now)
	sum := c.now.plus(c.before)
	switch {
	case q.WrongTargets > 0 && sum.wrong >= q.WrongTargets && 2*sum.wrong > sum.attacks:
		return fmt.Sprintf("%d of %d attacks that it reported within ten minutes are on addresses that nobody may act on (threshold %d)",
			sum.wrong, sum.attacks, q.WrongTargets)
	case q.SeqConflicts > 0 && sum.conflicts >= q.SeqConflicts:
		return fmt.Sprintf("%d signals within ten minutes had the sequence number of another one (threshold %d)", sum.conflicts, q.SeqConflicts)
	case q.TooFastMinutes > 0 && c.fastRow >= q.TooFastMinutes && c.fastMinute >= now.Unix()/60-1:
		return fmt.Sprintf("it started more than it may for %d minutes in a row (threshold %d)", c.fastRow, q.TooFastMinutes)
	}
	return ""
}

// idle reports whether there is nothing to hold against the detector.
func (c *conduct) idle(now time.Time) bool {
	return c.now.plus(c.before) == tally{} && c.fastMinute < now.Unix()/60-1
}

// watch is the conduct of all detectors, in this term: what survives an election is the quarantine itself.
type watch map[string]*conduct

// incident is one answer that counts for or against a detector.
type incident struct {
	source string
	code   policy.ReasonCode
}

func (w watch) note(list []incident, now time.Time) {
	for _, in := range list {
		c := w[in.source]
		if c == nil {
			if len(w) >= maxWatched {
				continue
			}
			c = &conduct{began: now}
			w[in.source] = c
		}
		c.note(in.code, now)
	}
}

// due returns the detectors that crossed a threshold, and forgets how they behaved: in quarantine they begin anew.
func (w watch) due(s *policy.State, now time.Time) []Command {
	sg := s.Safeguards()
	var out []Command
	for _, source := range slices.Sorted(maps.Keys(w)) {
		c := w[source]
		why := c.beyond(&sg.Quarantine, now)
		if why == "" {
			if c.idle(now) {
				delete(w, source)
			}
			continue
		}
		delete(w, source)
		out = append(out, Command{
			Reason: why, Request: &policy.QuarantineRequest{Source: source, Duration: sg.QuarantineFor(), Automatic: true},
		})
	}
	return out
}

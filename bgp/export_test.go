package bgp

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tidegate/tidegate/bgp/wanted"
)

// Started is closed when the speaker has started what it starts before the first Set.
func (s *Speaker) Started() <-chan struct{} { return s.started }

// SpareEngines changes how many engines are started before the first router, which takes most of a short test's time.
func (c *Config) SpareEngines(n int) { c.spareEngines = n }

// What an engine is told to do, for FailWhile.
const (
	Announcing    = workAnnounce
	Withdrawing   = workWithdraw
	Disconnecting = workDisconnect
)

// FailWhile makes engines fail at what they are told as often as left says.
func FailWhile(c *Config, work string, left *atomic.Int32) {
	c.fault = func(w engineWork, do func() error) error {
		if string(w) != work || left.Add(-1) < 0 {
			return do()
		}
		// To remove a neighbour and fail leaves it there; a failed batch may have been taken nevertheless.
		if w != workDisconnect {
			if err := do(); err != nil {
				return err
			}
		}
		return errors.New("no luck")
	}
}

// Reminder makes a function that does what Run does at that instant for the reminders in the log, and tells said.
func Reminder(s *Speaker, said func(string)) func(wanted.Instant) {
	s.log = slog.New(tellingHandler{said})
	b := &board{speaker: s}
	return func(now wanted.Instant) { b.obey(s.order(), now) }
}

// tellingHandler passes on messages that begin like a reminder.
type tellingHandler struct{ said func(string) }

func (tellingHandler) Enabled(context.Context, slog.Level) bool { return true }

func (h tellingHandler) Handle(_ context.Context, r slog.Record) error {
	if r.Level == slog.LevelWarn && strings.HasPrefix(r.Message, "this node stays out") {
		h.said(r.Message)
	}
	return nil
}

func (h tellingHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h tellingHandler) WithGroup(string) slog.Handler      { return h }

// ProvenAfter is how long a router must bear a rule for the rule to be beyond suspicion.
func (c *Config) ProvenAfter(d time.Duration) { c.provenAfter = d }

package bgp

import (
	"fmt"
	"time"

	"github.com/tidegate/tidegate/bgp/wanted"
)

// remindEvery is how often the log is told that the speaker stays out.
const remindEvery = wanted.Instant(time.Minute)

// StayOut withdraws everything from all sessions, unpaced, and keeps the Speaker out until Resume; sessions stay up.
// Sets are taken and not announced meanwhile. It waits for no router, and works before, during and without Run. The
// order is then kept in Config.OutFile; if that fails everything is withdrawn nevertheless, and the order says so.
// What is returned is the order in force: the first of several stands, and already is true then. Status shows when all
// is withdrawn: Sent and Withdrawing of every session are 0.
func (s *Speaker) StayOut(o wanted.Out) (inForce wanted.Out, already bool) {
	s.ordering.Lock()
	defer s.ordering.Unlock()
	was := s.order()
	switch {
	case was != nil && was.Trouble == "":
		return *was, true
	case was != nil && was.By != "":
		o = *was // it was not kept: now it may be
	}
	o.Trouble = ""
	if o.Since.IsZero() {
		o.Since = s.deps.Now()
	}
	o.Since = o.Since.UTC().Round(0)
	s.obey(&o)
	s.log.Warn("everything is withdrawn, and this node stays out", "by", o.By, "reason", o.Reason)
	if err := writeOut(s.cfg.OutFile, o); err != nil {
		s.log.Error("the order to stay out is not kept over a restart", "err", err)
		kept := o
		kept.Trouble = "the order is not kept over a restart: " + err.Error()
		o = kept
		s.obey(&kept)
	}
	return o, was != nil
}

// Resume ends what StayOut began: the newest Set is announced again, as far as its lease and lifetimes have not passed,
// at the routers' pace. It returns the order that it ended, and false if there was none. If the record of the order
// cannot be removed it fails, and the Speaker stays out: it would be out again after the next restart.
func (s *Speaker) Resume() (ended wanted.Out, was bool, err error) {
	s.ordering.Lock()
	defer s.ordering.Unlock()
	o := s.order()
	if o == nil {
		return wanted.Out{}, false, nil
	}
	if err := removeOut(s.cfg.OutFile); err != nil {
		return *o, true, fmt.Errorf("cannot resume, everything stays withdrawn: %w", err)
	}
	s.obey(nil)
	s.log.Warn("this node announces again", "out_since", o.Since, "by", o.By, "reason", o.Reason)
	return *o, true, nil
}

// Out is the order to stay out that is in force, and false if there is none. Unlike Status it costs nothing.
func (s *Speaker) Out() (wanted.Out, bool) {
	if o := s.order(); o != nil {
		return *o, true
	}
	return wanted.Out{}, false
}

func (s *Speaker) order() *wanted.Out {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out
}

func (s *Speaker) obey(o *wanted.Out) {
	s.mu.Lock()
	s.out = o
	s.mu.Unlock()
	s.wake()
}

// obey makes out the order that the plans obey, nil for none, and tells the log of it every minute.
func (b *board) obey(out *wanted.Out, now wanted.Instant) {
	if out != b.out {
		b.out, b.reminded, b.inForce = out, 0, false
	}
	if b.out == nil || b.reminded != 0 && now < b.reminded+remindEvery {
		return
	}
	b.reminded = now
	b.speaker.log.Warn("this node stays out by an operator's order and announces nothing; to end that, run here: tidegate speaker resume",
		"since", b.out.Since, "by", b.out.By, "reason", b.out.Reason, "trouble", b.out.Trouble)
}

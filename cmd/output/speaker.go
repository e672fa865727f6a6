package output

import (
	"fmt"

	speakerv1 "github.com/tidegate/tidegate/proto/tidegate/speaker/v1"
)

// fewRoutes is how many withdrawn routes are listed in a table.
const fewRoutes = 10

// SpeakerWithdrawn prints what came of an order to withdraw everything.
func (p *Printer) SpeakerWithdrawn(r *speakerv1.WithdrawAllResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	s := r.GetSpeaker()
	if r.GetAlready() {
		p.warn(yellow, "%s was out before this order.", s.GetNode())
	}
	switch n := len(r.GetWithdrawn()); {
	case r.GetComplete() && n == 0:
		p.warn(green, "%s announces nothing, and announced nothing when the order came.", s.GetNode())
	case r.GetComplete():
		p.warn(green, "%s has withdrawn everything: %s.", s.GetNode(), count(n, "route"))
	default:
		p.warn(red, "%s is withdrawing everything, %s, and some is still announced:", s.GetNode(), count(n, "route"))
	}
	p.lines("withdrawn", r.GetWithdrawn(), fewRoutes)
	p.speaker(s)
	if !r.GetComplete() {
		p.warn(red, "Look again with tidegate speaker status. What a session still announces after a minute goes when the session ends: shut it down on the router.")
	}
	p.others(s)
	return nil
}

// SpeakerResumed prints what came of an order to resume.
func (p *Printer) SpeakerResumed(r *speakerv1.ResumeResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	s := r.GetSpeaker()
	if o := r.GetEnded(); o == nil {
		p.Sentence("%s was not out: nothing is changed.", s.GetNode())
	} else {
		p.warn(green, "%s announces again what is wanted.", s.GetNode())
		p.line("was out", p.order(o))
	}
	p.speaker(s)
	return nil
}

// SpeakerUnquarantined prints what came of an order to dial a router again.
func (p *Printer) SpeakerUnquarantined(router string, r *speakerv1.UnquarantineResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	if r.GetKnown() == "" {
		p.Sentence("%s is in no quarantine on %s, no crash by its messages is known there, and no rule is kept off it: nothing is changed.", router, r.GetSpeaker().GetNode())
	} else {
		p.warn(green, "%s is dialled again by %s, and hears all that is wanted.", router, r.GetSpeaker().GetNode())
		p.line("forgotten", r.GetKnown())
	}
	p.speaker(r.GetSpeaker())
	return nil
}

// SpeakerStatus prints where a speaker stands.
func (p *Printer) SpeakerStatus(r *speakerv1.StatusResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	p.line("node", r.GetSpeaker().GetNode())
	p.speaker(r.GetSpeaker())
	if r.GetSpeaker().GetOut() != nil {
		p.others(r.GetSpeaker())
	}
	return nil
}

// speaker prints the order in force and the sessions.
func (p *Printer) speaker(s *speakerv1.Speaker) {
	switch o := s.GetOut(); {
	case o != nil:
		p.toned("OUT", cell{p.order(o), red})
		p.toned("trouble", cell{o.GetTrouble(), red})
		until := "tidegate speaker resume is run on this node"
		if o.GetTrouble() == "" {
			until += "; a restart does not end it"
		}
		p.line("until", until)
	case s.GetRevision() == 0:
		p.toned("state", cell{"has not heard from a leader since it started, so it opens no session", yellow})
	case s.GetLeaseRemaining().AsDuration() <= 0:
		p.toned("state", cell{"the lease is over: nothing is announced until the node hears from a leader again", red})
	default:
		p.line("state", "announces what is wanted, for "+short(s.GetLeaseRemaining())+" more if no leader is heard of")
	}
	p.Sentence("")
	t := &table{head: []string{"ROUTER", "ADDRESS", "CARRIES", "STATE", "ANNOUNCED", "WANTED"}, empty: "No sessions."}
	for _, c := range s.GetSessions() {
		state := cell{c.GetState(), yellow}
		if c.GetState() == "established" {
			state.tone = green
		}
		announced := cell{text: fmt.Sprint(c.GetAnnounced())}
		if s.GetOut() != nil {
			announced.tone = green
			if c.GetAnnounced() > 0 {
				announced.tone = red
			}
		}
		t.add(cell{text: c.GetRouter()}, cell{text: c.GetAddress()}, cell{text: c.GetCarries()}, state, announced, cell{text: fmt.Sprint(c.GetWanted())})
	}
	p.table(t)
	for _, c := range s.GetSessions() {
		if c.GetDetail() != "" {
			p.warn(yellow, "%s: %s.", c.GetRouter(), c.GetDetail())
		}
	}
}

// order is who ordered a speaker out, when and why.
func (p *Printer) order(o *speakerv1.Out) string {
	if o.GetBy() == "" {
		return o.GetReason()
	}
	return fmt.Sprintf("by %s, %s: %s", o.GetBy(), p.when(o.GetSince()), o.GetReason())
}

// others says what the other nodes do, which nobody has told.
func (p *Printer) others(s *speakerv1.Speaker) {
	if len(s.GetOthers()) == 0 {
		return
	}
	p.Sentence("")
	p.warn(red, "The other nodes were not told and still announce. A router drops a rule only when every node has withdrawn it. Run there, with each node's own file or socket:")
	for _, o := range s.GetOthers() {
		p.Sentence("  %s (%s)", o.GetNode(), o.GetApiAddress())
		if c := o.GetCommand(); c != "" {
			p.Sentence("    %s", c) // whole, so that it can be copied
		}
	}
}

package controller

import (
	"github.com/tidegate/tidegate/policy"
	raftv1 "github.com/tidegate/tidegate/proto/tidegate/raft/v1"
)

func (c *codec) packStep(s policy.Step) *raftv1.Step {
	return &raftv1.Step{Action: c.packAction(s.Action), After: span(s.After), MinConfidence: s.MinConfidence, Mode: string(s.Mode)}
}

func (c *codec) step(s *raftv1.Step) policy.Step {
	return policy.Step{
		Action: c.action(s.GetAction()), After: c.duration(s.GetAfter()), MinConfidence: s.GetMinConfidence(), Mode: policy.Mode(s.GetMode()),
	}
}

func packEvent(ev policy.Event) *raftv1.Event {
	return &raftv1.Event{
		At: stamp(ev.At), Index: uint64(ev.Index), What: string(ev.What), By: string(ev.By),
		Reason: packReason(policy.Reason{Code: ev.Code, Text: ev.Text}),
	}
}

func (c *codec) event(ev *raftv1.Event) policy.Event {
	r := reason(ev.GetReason())
	return policy.Event{
		At: c.time(ev.GetAt()), Index: policy.Index(ev.GetIndex()), What: policy.EventKind(ev.GetWhat()), By: policy.Principal(ev.GetBy()),
		Code: r.Code, Text: r.Text,
	}
}

// packReasonOf leaves a reason out that is none.
func packReasonOf(r policy.Reason) *raftv1.Reason {
	if r == (policy.Reason{}) {
		return nil
	}
	return packReason(r)
}

package api

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tidegate/tidegate/policy"
	tidegatev1 "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// policyAction reads what a policy does: an action, or else a ladder. With both it is for policy to say so.
func (v *violations) policyAction(in *tidegatev1.Policy) policy.Action {
	if in.GetAction() == nil && len(in.GetLadder()) > 0 {
		return policy.Action{}
	}
	return v.action(in.GetAction())
}

// ladder reads the steps of a policy.
func (v *violations) ladder(in []*tidegatev1.Step) []policy.Step {
	if v.tooMany("ladder", len(in), policy.MaxSteps) {
		return nil
	}
	var out []policy.Step
	for i, s := range in {
		at := &violations{document: v.document, prefix: v.prefix + item("ladder", i) + "."}
		step := policy.Step{Action: at.action(s.GetAction()), After: at.pause("after", s.GetAfter()), MinConfidence: s.GetMinConfidence(), Mode: mode(s.GetMode())}
		v.list = append(v.list, at.list...)
		out = append(out, step)
	}
	return out
}

// pause reads a duration that may be missing or zero.
func (v *violations) pause(field string, d *durationpb.Duration) time.Duration {
	if d == nil || d.CheckValid() == nil && d.AsDuration() == 0 {
		return 0
	}
	return v.duration(field, d, false)
}

// relax reads how a mitigation relaxes; never is the default, as if nothing was written.
func relax(s string) policy.Relax {
	if s == "never" {
		return policy.RelaxNever
	}
	return policy.Relax(s)
}

func laddersProto(in []policy.Step) []*tidegatev1.Step {
	var out []*tidegatev1.Step
	for _, s := range in {
		step := &tidegatev1.Step{Action: actionProto(s.Action), MinConfidence: s.MinConfidence, Mode: string(s.Mode)}
		if s.After != 0 {
			step.After = durationProto(s.After)
		}
		out = append(out, step)
	}
	return out
}

// life fills in where m stands in its life, and how it came there.
func life(out *tidegatev1.Mitigation, m *policy.Mitigation) {
	out.Ladder = laddersProto(m.Ladder)
	if len(m.Ladder) > 0 {
		out.Step, out.StepSince = uint32(m.Step)+1, timeProto(m.StepSince)
	}
	if due, ok := m.StepDue(); ok {
		out.NextStep = timeProto(due)
	}
	out.BlockedCode, out.Blocked = string(m.Blocked.Code), m.Blocked.Text
	out.Pulses = uint32(m.Pulses)
	if m.Quiet > 0 {
		out.QuietTime = durationProto(m.QuietTime())
	}
	if m.Phase == policy.Ending {
		out.EndsAt = timeProto(m.EndsAt)
	}
	out.History = history(m)
}

// history tells the story of m from its start to its end.
func history(m *policy.Mitigation) []*tidegatev1.Event {
	out := []*tidegatev1.Event{{
		At: timeProto(m.Created), What: beginning(m), By: string(m.By), Code: string(m.Reason.Code), Text: begun(m),
	}}
	for _, ev := range m.History {
		out = append(out, &tidegatev1.Event{
			At: timeProto(ev.At), Index: uint64(ev.Index), What: string(ev.What), By: string(ev.By), Code: string(ev.Code), Text: ev.Text,
		})
	}
	if m.Phase == policy.Over {
		out = append(out, &tidegatev1.Event{
			At: timeProto(m.EndedAt), Index: uint64(m.Changed), What: "ended", By: string(m.EndedBy), Code: string(m.End), Text: m.EndNote,
		})
	}
	return out
}

// beginning is what the first event of a mitigation is: it was started, or asked for.
func beginning(m *policy.Mitigation) string {
	if len(m.History) > 0 && m.History[0].What == policy.EventAsked && m.History[0].At.Equal(m.Created) {
		return "requested"
	}
	return "started"
}

// mode reads a mode; auto is the default, as if nothing was written. What else it may be is for policy to say.
func mode(s string) policy.Mode {
	if s == modeAuto {
		return policy.ModeAuto
	}
	return policy.Mode(s)
}

// begun is how a mitigation began, in one line.
func begun(m *policy.Mitigation) string {
	action := m.Action
	if len(m.Ladder) > 0 {
		action = m.Ladder[0].Action
	}
	text := action.String() // not the lifetime: it may have been extended since
	if len(m.Ladder) > 0 {
		text = fmt.Sprintf("step 1 of %d, %s", len(m.Ladder), text)
	}
	if m.Reason.Text != "" {
		text += ": " + m.Reason.Text
	}
	return text
}

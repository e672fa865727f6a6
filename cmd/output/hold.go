package output

import (
	"fmt"

	pb "github.com/tidegate/tidegate/proto/tidegate/v1"
)

// frozen says loudly that the cluster is frozen; nothing if it is not.
func (p *Printer) frozen(f *pb.Freeze) {
	if f == nil {
		return
	}
	until := "until somebody unfreezes it"
	if f.GetUntil() != nil {
		until = "until " + p.when(f.GetUntil())
	}
	why := ""
	if f.GetReason() != "" {
		why = ": " + f.GetReason()
	}
	p.warn(red, "FROZEN by %s since %s, %s%s. Policies start, escalate and revive nothing; what is active stays to its end.",
		f.GetBy(), p.clock(f.GetSince()), until, why)
}

// quarantined says which detectors are in quarantine.
func (p *Printer) quarantined(list []*pb.Quarantine) {
	for _, q := range list {
		p.warn(yellow, "Quarantine: signals of %s are observed only, %s.", q.GetDetector(), p.quarantine(q))
	}
}

// quarantine says who put a detector there, until when, and why.
func (p *Printer) quarantine(q *pb.Quarantine) string {
	until := "until it is released"
	if q.GetUntil() != nil {
		until = "until " + p.when(q.GetUntil())
	}
	who := "by " + q.GetBy()
	if q.GetAutomatic() {
		who = "by itself"
	}
	text := fmt.Sprintf("%s since %s, %s", who, p.clock(q.GetSince()), until)
	if q.GetReason() != "" {
		text += ": " + q.GetReason()
	}
	return text
}

// Frozen prints the answer to a freeze.
func (p *Printer) Frozen(r *pb.FreezeResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	p.frozen(r.GetFreeze())
	p.written(r.GetWrite())
	return nil
}

// held prints the answer to a write that holds something back or lets it go: a sentence, and the place in the log.
func (p *Printer) held(r interface {
	GetText() string
	GetWrite() *pb.WriteInfo
},
) {
	p.warn(normal, "%s.", r.GetText())
	p.written(r.GetWrite())
}

// Unfrozen prints the answer to the end of a freeze.
func (p *Printer) Unfrozen(r *pb.UnfreezeResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	p.held(r)
	return nil
}

// Quarantined prints the answer to a quarantine.
func (p *Printer) Quarantined(r *pb.QuarantineDetectorResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	p.held(r)
	return nil
}

// Released prints the answer to the end of a quarantine.
func (p *Printer) Released(r *pb.ReleaseDetectorResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	p.held(r)
	return nil
}

// Detectors prints the detectors that started what is active, and those in quarantine.
func (p *Printer) Detectors(r *pb.ListDetectorsResponse) error {
	if done, err := p.message(r); done {
		return err
	}
	t := &table{head: []string{"DETECTOR", "MITIGATIONS", "OF AT MOST", "RULES", "STATE"}, empty: "No detector started anything that is active, and none is in quarantine."}
	var quarantines []*pb.Quarantine
	for _, d := range r.GetDetectors() {
		most, state := "-", cell{"heard", green}
		if d.GetMost() > 0 {
			most = fmt.Sprint(d.GetMost())
		}
		if q := d.GetQuarantine(); q != nil {
			state = cell{"quarantine", yellow}
			quarantines = append(quarantines, q)
		}
		t.add(cell{d.GetName(), bold}, cell{text: fmt.Sprint(d.GetMitigations())}, cell{text: most}, cell{text: fmt.Sprint(d.GetRules())}, state)
	}
	p.table(t)
	p.quarantined(quarantines)
	p.stale(r.GetRead())
	return nil
}

// consent says who may mitigate for a customer, if that is not everybody.
func (p *Printer) consent(c *pb.Customer) {
	switch c.GetMitigation() {
	case "", "auto":
	case "manual":
		p.toned("mitigation", cell{"manual: by operators only; signals are observed", yellow})
	default:
		p.toned("mitigation", cell{c.GetMitigation() + ": nobody mitigates for it", yellow})
	}
	p.lines("by hand only", c.GetManualVectors(), 0)
	p.lines("by itself", c.GetSelfService(), 0)
}

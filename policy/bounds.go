package policy

import (
	"fmt"
	"strconv"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// What holds while there is no Safeguards document, and what a document that leaves them out is given.
//
// A router that was validated for 3,000 rules is the common one (docs/explanation.md): policies that start more than that
// within a minute are no answer to an attack, and routers program about 250 rules a second, which is 15,000 a minute.
const (
	defaultOperatorShare            = 20 // percent
	defaultSourceShare              = 50 // percent of what is left to policies
	defaultStartsPerMinute          = 3000
	defaultStartsPerMinutePerSource = 1500
	defaultRulesPerMinute           = 15_000
	defaultWrongTargets             = 200
	defaultSeqConflicts             = 100
	defaultTooFastMinutes           = 10
)

// DefaultQuarantine is how long a detector is in quarantine that got there by itself.
const DefaultQuarantine = time.Hour

// Widths are the shortest permitted prefix lengths of a target, by family; 0: that of every action.
type Widths struct{ IPv4, IPv6 uint8 }

// WidestByAction bounds targets by what is done to them, besides the bound for every action.
type WidestByAction struct {
	Discard  Widths
	Rate     Widths // of bytes or packets
	Redirect Widths // into a VRF or to an address, copies included
	RTBH     Widths
	Mark     Widths
}

// ConfidenceByAction is what a signal must state at least before a policy does something to its target, whatever the
// policy asks for itself; 0: nothing.
type ConfidenceByAction struct{ Discard, Rate, Redirect, RTBH, Mark float64 }

// QuarantineThresholds say when the leader puts a detector into quarantine by itself. It counts anew in each term, and
// looks at what a detector reported in the last ten minutes. 0 of each: never for that reason.
type QuarantineThresholds struct {
	// WrongTargets are attacks on addresses that nobody may act on (outside official space, protected), if they are more
	// than half of the attacks that the detector reported.
	WrongTargets   int
	SeqConflicts   int           // signals with the sequence number of another one
	TooFastMinutes int           // minutes in a row in which it went beyond MaxStartsPerMinutePerSource
	Duration       time.Duration // 0: DefaultQuarantine
}

// Consent says who may mitigate for a customer.
type Consent string

// The degrees of consent.
const (
	ConsentAuto   Consent = ""       // policies and operators
	ConsentManual Consent = "manual" // operators only: signals are observed
	ConsentNone   Consent = "none"   // nobody
)

// of returns the bound for an action.
func (w *WidestByAction) of(a Action) Widths {
	switch a.Kind {
	case Discard:
		return w.Discard
	case RateLimit, RateLimitPackets:
		return w.Rate
	case Redirect, RedirectIP:
		return w.Redirect
	case RTBH:
		return w.RTBH
	case Mark:
		return w.Mark
	}
	return Widths{}
}

func (w Widths) bits(f flowspec.Family) int {
	if f == flowspec.IPv4 {
		return int(w.IPv4)
	}
	return int(w.IPv6)
}

// of returns the floor for an action.
func (f *ConfidenceByAction) of(a Action) float64 {
	switch a.Kind {
	case Discard:
		return f.Discard
	case RateLimit, RateLimitPackets:
		return f.Rate
	case Redirect, RedirectIP:
		return f.Redirect
	case RTBH:
		return f.RTBH
	case Mark:
		return f.Mark
	}
	return 0
}

// tooWideToDo holds the plan's targets against the bound for its action.
func (p *plan) tooWideToDo(sg *Safeguards) Reason {
	for _, t := range p.targets {
		if widest := sg.Widest.of(p.action).bits(familyOf(t)); t.Bits() < widest {
			return Reason{CodeTooWide, fmt.Sprintf("%s is wider than /%d, the widest %s target to %s (safeguards, widest): "+
				"name a narrower target, or choose a milder action", t, widest, familyOf(t), p.action.words().to)}
		}
	}
	return Reason{}
}

// floorFor says why a confidence is below what the safeguards ask for before a is done.
func (d *Safeguards) floorFor(a Action, confidence float64) Reason {
	floor := d.MinConfidence.of(a)
	if confidence >= floor {
		return Reason{}
	}
	return Reason{CodeLowConfidence, fmt.Sprintf("the safeguards ask for a confidence of %v (min_confidence) before a policy may %s, the signal %s",
		floor, a.words().to, statedConfidence(confidence))}
}

// QuarantineFor is how long a detector stays in quarantine that got there by itself.
func (d *Safeguards) QuarantineFor() time.Duration {
	if d.Quarantine.Duration == 0 {
		return DefaultQuarantine
	}
	return d.Quarantine.Duration
}

// consent checks who may mitigate for a customer.
func (c *checker) consent(d *Customer) {
	switch d.Mitigation {
	case ConsentAuto, ConsentManual, ConsentNone:
	default:
		c.add("mitigation", fmt.Sprintf("%q is not known", clip(string(d.Mitigation))), "write auto, manual or none, or leave it out")
	}
	c.vectors("manual_vectors", d.ManualVectors)
	if d.Mitigation != ConsentAuto && len(d.ManualVectors) > 0 {
		c.add("manual_vectors", fmt.Sprintf("with mitigation: %s no signal is answered anyway", d.Mitigation), "leave it out, or write mitigation: auto")
	}
}

// bounds checks what the safeguards bound by action, by share and by time.
func (c *checker) bounds(d *Safeguards) {
	for _, w := range []struct {
		name   string
		widths Widths
		floor  float64
	}{
		{"discard", d.Widest.Discard, d.MinConfidence.Discard},
		{"rate", d.Widest.Rate, d.MinConfidence.Rate},
		{"redirect", d.Widest.Redirect, d.MinConfidence.Redirect},
		{"rtbh", d.Widest.RTBH, d.MinConfidence.RTBH},
		{"mark", d.Widest.Mark, d.MinConfidence.Mark},
	} {
		c.width("widest."+w.name+".ipv4", int(w.widths.IPv4), int(d.WidestIPv4), 32)
		c.width("widest."+w.name+".ipv6", int(w.widths.IPv6), int(d.WidestIPv6), 128)
		if !(w.floor >= 0 && w.floor <= 1) { // NaN is refused too
			c.add("min_confidence."+w.name, fmt.Sprintf("%v is not between 0 and 1", w.floor), "write a confidence such as 0.8, or leave it out")
		}
	}
	c.percent("operator_share", d.OperatorShare, "20")
	c.percent("source_share", d.SourceShare, "50")
	c.between("max_rules", d.MaxRules, 0, maxCount)
	c.between("max_starts_per_minute", d.MaxStartsPerMinute, 0, maxCount)
	c.between("max_starts_per_minute_per_source", d.MaxStartsPerMinutePerSource, 0, maxCount)
	if all, one := d.MaxStartsPerMinute, d.MaxStartsPerMinutePerSource; all > 0 && one > all {
		c.add("max_starts_per_minute_per_source", fmt.Sprintf("one source may start %d a minute, and all together %d", one, all),
			fmt.Sprintf("write at most %d, better half of it", all))
	}
	c.between("max_rules_per_minute", d.MaxRulesPerMinute, 0, maxCount)
	q := &d.Quarantine
	c.between("quarantine.wrong_targets", q.WrongTargets, 0, maxCount)
	c.between("quarantine.seq_conflicts", q.SeqConflicts, 0, maxCount)
	c.between("quarantine.too_fast_minutes", q.TooFastMinutes, 0, 24*60)
	if q.Duration != 0 {
		c.lifetime("quarantine.duration", q.Duration)
	}
}

// width checks a prefix length that narrows the bound for every action; 0: it does not.
func (c *checker) width(field string, bits, every, longest int) {
	switch {
	case bits == 0:
	case bits > longest:
		c.add(field, fmt.Sprintf("%d is above %d", bits, longest), fmt.Sprintf("write a prefix length from %d to %d", every, longest))
	case bits < every:
		c.add(field, fmt.Sprintf("/%d is wider than /%d, the widest target of every action", bits, every),
			fmt.Sprintf("write %d or more, or leave it out", every))
	}
}

func (c *checker) percent(field string, p float64, example string) {
	if !(p >= 0 && p <= 100) { // NaN is refused too
		c.add(field, strconv.FormatFloat(p, 'g', -1, 64)+" is not a percentage", "write a number from 0 to 100, for example "+example)
	}
}

package profile

// Evidence is a recorded run against real software. The records are the files in bgp/profile/evidence, which the script of
// docs/how-to/record-a-router-run writes; recordedRuns is made of them, and TestEvidence holds the two together.
type Evidence struct {
	Profile  string `json:"profile"`
	Software string `json:"software"` // with its version, e.g. "FRRouting bgpd 8.4.4"
	System   string `json:"system"`   // what it ran on
	Date     string `json:"date"`     // of the run, e.g. "2026-07-14"
	Where    string `json:"where"`    // what ran it: a script or a test of this repository
	// Enforced says whether packets were sent and seen to be discarded. Without it a run shows that the session stands, and
	// that rules and actions are received and understood.
	Enforced bool   `json:"enforced"`
	Steps    []Step `json:"steps"`
}

// Step is one question of a run, and what was seen.
type Step struct {
	Name   string `json:"name"`
	Result Result `json:"result"`
	Seen   string `json:"seen"` // in words, or as the router printed it
}

// Result is how a step ended.
type Result string

// The results.
const (
	Passed   Result = "passed"   // as it must be
	Failed   Result = "failed"   // the router did something else; Seen says what
	Observed Result = "observed" // nothing is right or wrong here; Seen says what the router did
	Skipped  Result = "skipped"  // not asked; Seen says why
)

// Tested returns the newest recorded run of this profile's software in which the rules were received, and whether there
// is one. Without, the profile is untested; see the package documentation for what that gates.
func (p *Profile) Tested() (Evidence, bool) {
	var newest Evidence
	found := false
	for _, e := range p.Runs() {
		if e.received() && (!found || e.Date >= newest.Date) {
			newest, found = e, true
		}
	}
	return newest, found
}

// Runs returns all recorded runs of this profile's software.
func (p *Profile) Runs() []Evidence {
	var out []Evidence
	for _, e := range recordedRuns() {
		if e.Profile == p.Name {
			out = append(out, e)
		}
	}
	return out
}

// stepReceived is the step without which a run shows nothing.
const stepReceived = "received"

func (e Evidence) received() bool {
	for _, s := range e.Steps {
		if s.Name == stepReceived {
			return s.Result == Passed
		}
	}
	return false
}

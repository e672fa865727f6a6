package policy

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/gaissmai/bart"
)

// What is remembered of attacks that nothing was done about, because a policy wants more detectors or more confidence.
const (
	// AttackWindow is how long, in entry time, a report counts that no further one renews.
	AttackWindow = 10 * time.Minute
	// MaxUnanswered is how many such attacks of one detector are remembered.
	MaxUnanswered = 256
	// noteEvery is the least time between two entries about what an attack has become.
	noteEvery = 10 * time.Second
	// noteConfidence is a change of confidence that is worth an entry.
	noteConfidence = 0.1
	// maxQuorum bounds how many detectors a policy may ask for.
	maxQuorum = 16
	// maxAgainst bounds how many contradicting reports are told.
	maxAgainst = 4
)

// sighting is a signal and what else is reported of its targets.
type sighting struct {
	*Signal
	// confidence is that of all detectors together, the signal's own included.
	confidence float64
	others     []*Attack // of other detectors: the same vector, on all of the targets
	against    []*Attack // of other detectors: other vectors, on some of the targets
}

// sight finds what else is reported of the signal's targets at the time now.
func sight(s *State, sig *Signal, now time.Time) *sighting {
	seen := &sighting{Signal: sig}
	best := map[string]float64{sig.Source: s.trust(sig.Source) * sig.Confidence}
	targets := outermost(sig.Targets)
	for _, a := range s.reportsNear(targets[0]) {
		switch {
		case a.Source == sig.Source && a.AttackID == sig.AttackID || !a.current(s, now):
		case a.Vector == sig.Vector && covered(targets, a.Targets):
			best[a.Source] = max(best[a.Source], s.trust(a.Source)*a.Confidence)
			if a.Source != sig.Source {
				seen.others = append(seen.others, a)
			}
		case a.Vector != sig.Vector && a.Source != sig.Source && len(seen.against) < maxAgainst:
			seen.against = append(seen.against, a)
		}
	}
	seen.confidence = together(best)
	return seen
}

// together is the confidence of several detectors, each already weighed with the trust in it: that not all of them are
// wrong, 1 − Π(1 − c), as if they were wrong independently.
func together(of map[string]float64) float64 {
	if len(of) == 1 {
		for _, c := range of {
			return c
		}
	}
	weights := make([]float64, 0, len(of))
	for _, c := range of {
		weights = append(weights, c)
	}
	slices.Sort(weights) // a product depends on its order
	wrong := 1.0
	for _, c := range weights {
		wrong *= 1 - c
	}
	return math.Round((1-wrong)*1e9) / 1e9
}

// trust is how far the detector is believed, from 0 to 1. One without a document is believed fully.
func (s *State) trust(source string) float64 {
	if d, ok := s.Detector(source); ok {
		return d.Trust
	}
	return 1
}

// current reports whether the attack is still reported: lately, or it keeps a mitigation active. What a detector in
// quarantine says confirms nothing.
func (a *Attack) current(s *State, now time.Time) bool {
	if _, mistrusted := s.Quarantined(a.Source, now); a.Ended || mistrusted {
		return false
	}
	if m, ok := s.Mitigation(a.Mitigation); ok && m.Phase == Active {
		return true
	}
	return now.Sub(a.At) < AttackWindow
}

// sources returns the detectors that report the attack, those of them that the policy listens to and that are trusted.
func (seen *sighting) sources(s *State, pol *Policy) []string {
	var out []string
	add := func(source string) {
		if selects(pol.Sources, source) && s.trust(source) > 0 && !slices.Contains(out, source) {
			out = append(out, source)
		}
	}
	add(seen.Source)
	for _, a := range seen.others {
		add(a.Source)
	}
	slices.Sort(out)
	return out
}

// whose says in a sentence whose the confidence is.
func (seen *sighting) whose() string {
	if n := seen.sourceCount(); n > 1 {
		return fmt.Sprintf("the %d detectors' joint", n)
	}
	return "the signal's"
}

// sourceCount is how many detectors report the attack, whatever is thought of them.
func (seen *sighting) sourceCount() int {
	named := []string{seen.Source}
	for _, a := range seen.others {
		if !slices.Contains(named, a.Source) {
			named = append(named, a.Source)
		}
	}
	return len(named)
}

// lacksQuorum says that the policy wants more detectors to report the attack.
func (p *plan) lacksQuorum(s *State) Reason {
	if p.taken == nil || p.taken.Quorum <= 1 {
		return Reason{}
	}
	have := p.seen.sources(s, p.taken)
	if len(have) >= p.taken.Quorum {
		return Reason{}
	}
	lack := p.taken.Quorum - len(have)
	text := fmt.Sprintf("policy %s asks for %d detectors, %s %s %s on %s so far: %d more %s to",
		p.policy, p.taken.Quorum, orNobody(have), choose(max(len(have), 1), "reports", "report"), p.vector, prefixList(p.targets), lack, choose(lack, "has", "have"))
	return Reason{CodeQuorum, text + p.seen.disagreement()}
}

func orNobody(sources []string) string {
	if len(sources) == 0 {
		return "none that it listens to"
	}
	return strings.Join(sources, ", ")
}

// disagreement says which detectors report something else of the targets.
func (seen *sighting) disagreement() string {
	var b strings.Builder
	for _, text := range seen.contradictions() {
		b.WriteString("; " + text)
	}
	return b.String()
}

// contradictions are the reports of other vectors, in words.
func (seen *sighting) contradictions() []string {
	var out []string
	for _, a := range seen.against {
		out = append(out, fmt.Sprintf("%s reports %s on %s instead (attack %q)", a.Source, a.Vector, prefixList(a.Targets), a.AttackID))
	}
	return out
}

// joinOthers makes the attacks of other detectors that were waiting for this one causes of m, which begins with it.
func (p *plan) joinOthers(d *Decision, m *Mitigation, e Entry) {
	if p.seen == nil {
		return
	}
	m.Confidence = p.seen.confidence
	m.Notes = append(m.Notes, p.seen.contradictions()...)
	for _, a := range p.seen.others {
		if !a.Unanswered || !selects(p.taken.Sources, a.Source) {
			continue
		}
		if len(m.Causes) < MaxCauses {
			m.Causes = append(m.Causes, Cause{a.Source, a.AttackID, a.At})
		} else {
			m.MoreCauses++
		}
		cp := *a
		cp.Mitigation, cp.Unanswered, cp.At = m.ID, false, e.At
		d.Changes = append(d.Changes, &PutAttack{cp})
	}
}

// mayMatter reports whether a policy would take the signal if more detectors reported it, or surer ones.
func (seen *sighting) mayMatter(s *State) bool {
	customer, r := customerOf(s, outermost(seen.Targets), s.Safeguards())
	if r.Code != "" {
		return false
	}
	sure := *seen
	sure.confidence = 1
	for i := range maxQuorum {
		sure.others = append(slices.Clip(sure.others), &Attack{Source: fmt.Sprint(i)})
	}
	pol := policyFor(s, &sure, customer)
	return pol != nil && pol.Mode != ModeObserve
}

// surer raises the confidence that m, a copy that nobody else has seen yet, is known with.
func (m *Mitigation) surer(seen *sighting) {
	if seen == nil || seen.confidence <= m.Confidence {
		return
	}
	m.Confidence = seen.confidence
	if n := len(m.History); n > 0 && m.History[n-1].Index == 0 {
		m.History[n-1].Text += fmt.Sprintf("; the confidence is now %v, of %s", seen.confidence, plural(seen.sourceCount(), "detector"))
	}
}

// note remembers what a signal says that is answered with nothing, or with nothing new, if that is news: only the first
// of an attack, what changes, and now and then that it goes on. So a flood of signals costs no log.
func note(s *State, d Decision, attack *PutAttack, e Entry) Decision {
	next := attack.Attack
	att, known := s.Attack(next.Source, next.AttackID)
	running := known && !att.Ended
	if running {
		next.Mitigation = att.Mitigation
	}
	m, ok := s.Mitigation(next.Mitigation)
	if ok && m.saidNo() {
		return d // that it was withdrawn is remembered instead
	}
	if !ok || m.Phase != Active && m.Phase != Pending {
		next.Mitigation, next.Unanswered = 0, true
	}
	if running && !att.worthNoting(&next, ok && len(m.Causes)+m.MoreCauses > 1, e.At) {
		return d
	}
	if n, _ := s.unanswered.get([]byte(next.Source)); next.Unanswered && !(known && att.Unanswered) && n >= MaxUnanswered {
		return refusef(CodeTooManyUnanswered, "%s reports %s that nothing was done about in the last %s, the most that is remembered: %s; "+
			"its further attacks are judged when some of these are older", next.Source, plural(n, "attack"), AttackWindow, d.Verdict.Reason.Text)
	}
	d.Changes = append(d.Changes, &PutAttack{next})
	return d
}

// worthNoting reports whether next says something of the attack, which may share a mitigation with others, that is worth an
// entry of the log.
func (a *Attack) worthNoting(next *Attack, shares bool, now time.Time) bool {
	since := now.Sub(a.At)
	switch {
	case a.Unanswered != next.Unanswered, next.Unanswered && since >= AttackWindow/2:
		return true
	case since < noteEvery:
		return false
	case !next.Unanswered: // how sure its detector is counts for the steps to come, its targets for narrowing what it shares
		return math.Abs(a.Confidence-next.Confidence) >= noteConfidence || shares && !slices.Equal(a.Targets, next.Targets)
	}
	return a.Vector != next.Vector || !slices.Equal(a.Targets, next.Targets) || math.Abs(a.Confidence-next.Confidence) >= noteConfidence
}

// sureOf is how sure the detectors are together of the attacks that keep m alive, with what was heard last.
func (m *Mitigation) sureOf(s *State, r AttackReport) float64 {
	if r.Source == "" {
		return r.Confidence
	}
	best := map[string]float64{r.Source: s.trust(r.Source) * r.Confidence}
	for _, c := range m.Causes {
		if a, ok := s.Attack(c.Source, c.AttackID); ok && c.Source != r.Source && a.current(s, r.At) {
			best[c.Source] = max(best[c.Source], s.trust(c.Source)*a.Confidence)
		}
	}
	return together(best)
}

// attackSpace finds attacks by their targets: it maps each to the keys of the attacks that have it. It is persistent like
// table; the lists in it are never changed, only replaced.
type attackSpace struct {
	table *bart.Table[[]string]
	edits int
	owned bool
}

func newAttackSpace() attackSpace { return attackSpace{table: new(bart.Table[[]string])} }

func (x *attackSpace) commit() { x.edits, x.owned = 0, false }

// put adds or removes the targets of an attack.
func (x *attackSpace) put(a *Attack, there bool) {
	if a.Ended {
		return
	}
	key := string(attackKey(a.Source, a.AttackID))
	for _, p := range a.Targets {
		p, ok := canonical(p)
		if !ok {
			continue
		}
		keys, _ := x.table.Get(p)
		at, found := slices.BinarySearch(keys, key)
		if found == there {
			continue
		}
		if x.edits++; !x.owned && x.edits > max(bulkPrefixes, x.table.Size()/64) { // see pieces.edit
			x.table, x.owned = x.table.Clone(), true
		}
		if there {
			keys = slices.Insert(slices.Clone(keys), at, key)
		} else {
			keys = slices.Delete(slices.Clone(keys), at, at+1)
		}
		x.replace(p, keys)
	}
}

func (x *attackSpace) replace(p netip.Prefix, keys []string) {
	switch {
	case len(keys) == 0 && x.owned:
		x.table.Delete(p)
	case len(keys) == 0:
		x.table = x.table.DeletePersist(p)
	case x.owned:
		x.table.Insert(p, keys)
	default:
		x.table = x.table.InsertPersist(p, keys)
	}
}

// reportsNear returns the attacks that are not over and have a target around p, equal to it or inside it, by source and
// attack id.
func (s *State) reportsNear(p netip.Prefix) []*Attack {
	var keys []string
	for _, ks := range s.attackSpace.table.Supernets(p) {
		keys = append(keys, ks...)
	}
	for _, ks := range s.attackSpace.table.Subnets(p) {
		keys = append(keys, ks...)
	}
	slices.Sort(keys)
	var out []*Attack
	for _, k := range slices.Compact(keys) {
		if a, ok := s.attacks.get([]byte(k)); ok {
			out = append(out, a)
		}
	}
	return out
}

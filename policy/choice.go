package policy

import (
	"fmt"
	"iter"
	"slices"
	"sync"

	"github.com/tidegate/tidegate/bgp/flowspec"
)

// Mode says what becomes of a signal that a policy takes.
type Mode string

// The modes of a policy.
const (
	ModeAuto    Mode = ""        // it is mitigated
	ModeObserve Mode = "observe" // it is noted what would have been done, and nothing is done
	ModeApprove Mode = "approve" // it is mitigated when a second person approves it
)

// Hint is a part of a signal that narrows what a mitigation matches.
type Hint string

// The hints that a policy may use. Source prefixes are spoofed in most floods: a policy that uses them matches less than
// the attack as soon as the attacker moves on.
const (
	HintProtocols        Hint = "protocols"
	HintSourcePorts      Hint = "source_ports"
	HintDestinationPorts Hint = "destination_ports"
	HintLengths          Hint = "lengths"
	HintSources          Hint = "sources"
	HintNone             Hint = "none" // by itself: only what the vector says
)

// hints returns the known hints, in a fixed order.
func hints() []Hint {
	return []Hint{HintProtocols, HintSourcePorts, HintDestinationPorts, HintLengths, HintSources, HintNone}
}

// NearMiss is a policy that would have taken a signal but for one thing.
type NearMiss struct {
	Policy string
	Why    string // what stood in the way, with the numbers
}

// maxNearMisses bounds how many near misses are told and kept.
const maxNearMisses = 5

// candidate is a policy with what is made of it once.
type candidate struct {
	*Policy
	rank int        // the place in the order in which policies are asked
	when *condition // nil: no condition
	// broken is why the condition does not compile here, empty if it does: the document was accepted by another version
	// of this program. Such a policy takes nothing.
	broken string
}

// choices finds the policies that may take a signal. It is made once from the policies of an inventory, when first asked
// for, and never changed.
type choices struct {
	once     sync.Once
	byVector map[Vector]*ranking
	all      []*candidate // by rank
}

// ranking holds the candidates of one vector, by rank: those for certain customers, and those for all.
type ranking struct {
	byCustomer map[CustomerID][]*candidate
	anyone     []*candidate
}

func (c *choices) fill(inv *inventory) {
	c.byVector = make(map[Vector]*ranking)
	for pol := range inv.byPriority.values() {
		cand := &candidate{Policy: pol, rank: len(c.all)}
		if pol.When != "" {
			when, err := compileCondition(pol.When)
			if cand.when = when; err != nil {
				cand.broken = err.Error()
			}
		}
		c.all = append(c.all, cand)
		vectors := pol.Vectors
		if len(vectors) == 0 {
			vectors = allVectors()
		}
		for _, v := range vectors {
			c.rank(v, cand)
		}
	}
}

func (c *choices) rank(v Vector, cand *candidate) {
	r := c.byVector[v]
	if r == nil {
		r = &ranking{byCustomer: make(map[CustomerID][]*candidate)}
		c.byVector[v] = r
	}
	if len(cand.Customers) == 0 {
		r.anyone = append(r.anyone, cand)
		return
	}
	for _, id := range cand.Customers {
		r.byCustomer[id] = append(r.byCustomer[id], cand)
	}
}

// of yields the candidates for a vector and a customer, by rank.
func (c *choices) of(v Vector, id CustomerID) iter.Seq[*candidate] {
	return func(yield func(*candidate) bool) {
		r := c.byVector[v]
		if r == nil {
			return
		}
		mine, anyone := r.byCustomer[id], r.anyone
		for len(mine)+len(anyone) > 0 {
			next := &anyone
			if len(anyone) == 0 || len(mine) > 0 && mine[0].rank < anyone[0].rank {
				next = &mine
			}
			if !yield((*next)[0]) {
				return
			}
			*next = (*next)[1:]
		}
	}
}

// choices returns those of the State's policies.
func (s *State) choices() *choices {
	c := s.inv.choices
	c.once.Do(func() { c.fill(&s.inv) })
	return c
}

// policyFor returns the policy that takes a signal: the first by priority, then by name. Nil if none does.
func policyFor(s *State, sig *sighting, c *Customer) *Policy {
	for cand := range s.choices().of(sig.Vector, c.ID) {
		if cand.takes(s, sig, c) {
			return cand.Policy
		}
	}
	return nil
}

// takes reports whether the policy takes a signal, whose vector and customer it is known to select.
func (c *candidate) takes(s *State, sig *sighting, of *Customer) bool {
	if !selects(c.Sources, sig.Source) || !c.selectsTags(of) ||
		sig.BitsPerSecond < float64(c.MinRate)*8 || sig.PacketsPerSecond < float64(c.MinPackets) || sig.confidence < c.MinConfidence {
		return false
	}
	if c.when == nil {
		return c.broken == ""
	}
	yes, err := c.when.holds(s, sig, of)
	return yes && err == nil
}

// selectsTags reports whether the customer has one of the policy's tags; a policy without tags takes all.
func (d *Policy) selectsTags(c *Customer) bool {
	return len(d.Tags) == 0 || slices.ContainsFunc(d.Tags, func(t string) bool { return slices.Contains(c.Tags, t) })
}

// selects reports whether a selector takes v; an empty one takes all.
func selects[T comparable](selector []T, v T) bool {
	return len(selector) == 0 || slices.Contains(selector, v)
}

// nearMisses returns the policies that lack one thing only to take the signal, in the order in which they are asked, but
// for taken, which did; nil for none.
func nearMisses(s *State, sig *sighting, c *Customer, taken *Policy) []NearMiss {
	var out []NearMiss
	for _, cand := range s.choices().all {
		if cand.Policy == taken {
			continue
		}
		if why, one := cand.lacks(s, sig, c); one {
			out = append(out, NearMiss{cand.Name, why})
			if len(out) == maxNearMisses {
				break
			}
		}
	}
	return out
}

// noPolicy is the answer to a signal that no policy takes.
func noPolicy(s *State, sig *sighting, c *Customer) Decision {
	if len(s.choices().all) == 0 {
		return observe(CodeNoPolicy, 0, "there is no policy at all, so that nothing is done about any signal: tidegate policy defaults prints some to begin with")
	}
	return observe(CodeNoPolicy, 0, "no policy takes vector %s for customer %s from %s%s", sig.Vector, c.ID, sig.Source, nearest(nearMisses(s, sig, c, nil)))
}

// nearest says in a sentence what the first of the near misses lacked.
func nearest(misses []NearMiss) string {
	if len(misses) == 0 {
		return ""
	}
	return fmt.Sprintf("; nearest is policy %s: %s", misses[0].Policy, misses[0].Why)
}

// lacks says what stands in the way of the policy's taking the signal, and whether it is one thing only. A policy for
// other vectors is never near.
func (c *candidate) lacks(s *State, sig *sighting, of *Customer) (why string, one bool) {
	if !selects(c.Vectors, sig.Vector) {
		return "", false
	}
	met := [...]bool{
		selects(c.Customers, of.ID), selects(c.Sources, sig.Source), c.selectsTags(of),
		sig.BitsPerSecond >= float64(c.MinRate)*8, sig.PacketsPerSecond >= float64(c.MinPackets), sig.confidence >= c.MinConfidence,
		c.broken == "",
	}
	lack := -1
	for i, yes := range met {
		if yes {
			continue
		}
		if lack >= 0 {
			return "", false
		}
		lack = i
	}
	if lack >= 0 {
		return c.lackText(lack, sig, of), true
	}
	if c.when != nil {
		switch yes, err := c.when.holds(s, sig, of); {
		case err != nil:
			return fmt.Sprintf("its condition %q has no answer: %v", c.When, err), true
		case !yes:
			return fmt.Sprintf("its condition %q does not hold", c.When), true
		}
	}
	return "it would take the signal as well, and is asked later", true
}

// lackText is the sentence for what is missing, by its place in lacks.
func (c *candidate) lackText(lack int, sig *sighting, of *Customer) string {
	same := func(s string) string { return s }
	switch lack {
	case 0:
		return fmt.Sprintf("it is for customer %s, not for %s", list(c.Customers, func(id CustomerID) string { return string(id) }), of.ID)
	case 1:
		return fmt.Sprintf("it listens to %s, not to %s", list(c.Sources, same), sig.Source)
	case 2:
		return fmt.Sprintf("customer %s has none of the tags %s", of.ID, list(c.Tags, same))
	case 3:
		return fmt.Sprintf("the signal says %s, it asks for %s", bitRate(sig.BitsPerSecond), c.MinRate)
	case 4:
		return fmt.Sprintf("the signal says %s, it asks for %s", flowspec.PacketsPerSecond(sig.PacketsPerSecond), c.MinPackets)
	case 5:
		return fmt.Sprintf("%s confidence is %v, it asks for %v", sig.whose(), sig.confidence, c.MinConfidence)
	}
	return "its condition cannot be used: " + c.broken
}

func bitRate(bps float64) string { return flowspec.BytesPerSecond(bps / 8).String() }

// narrowed returns the signal with those hints only that the policy uses.
func (d *Policy) narrowed(sig *Signal) *Signal {
	if len(d.MatchOn) == 0 {
		return sig
	}
	cp := *sig
	if !slices.Contains(d.MatchOn, HintProtocols) {
		cp.Protocols = nil
	}
	if !slices.Contains(d.MatchOn, HintSourcePorts) {
		cp.SourcePorts = nil
	}
	if !slices.Contains(d.MatchOn, HintDestinationPorts) {
		cp.DestinationPorts = nil
	}
	if !slices.Contains(d.MatchOn, HintLengths) {
		cp.PacketLengths = nil
	}
	if !slices.Contains(d.MatchOn, HintSources) {
		cp.SourcePrefixes = nil
	}
	return &cp
}

// tooMany refuses a signal for which the policy would need more matches, or more active mitigations, than it may have.
func (d *Policy) tooMany(matches int) Reason {
	if d.MaxMatches > 0 && matches > d.MaxMatches {
		return Reason{CodeTooManyVariants, fmt.Sprintf("policy %s would need %d matches for each destination, its max_matches is %d: "+
			"use fewer hints of the signal (match_on), or raise it", d.Name, matches, d.MaxMatches)}
	}
	return Reason{}
}

// leavingOf is how many mitigations of the policy end by the decision.
func (f *surveyed) leavingOf(policy string) int {
	if f.ends != nil && f.ends.Policy == policy {
		return 1 + f.gathered
	}
	return f.gathered
}

// policyLimit refuses a new mitigation of a policy that has as many active ones as it may have.
func policyLimit(s *State, name string, leaving int) Reason {
	pol, ok := s.inv.policies.get([]byte(name))
	if !ok || pol.MaxMitigations == 0 {
		return Reason{}
	}
	n, _ := s.ofPolicy.get([]byte(name))
	if n -= leaving; n >= pol.MaxMitigations {
		return Reason{CodePolicyLimit, fmt.Sprintf("policy %s has %s of at most %d (max_mitigations): withdraw some that are over, or raise it in the policy",
			name, plural(n, "active mitigation"), pol.MaxMitigations)}
	}
	return Reason{}
}

// validateChoice checks what a policy says of the signals that it takes.
func (d *Policy) validateChoice(c *checker) {
	names(c, "tags", d.Tags)
	c.atLeast("min_rate", float64(d.MinRate), "write it with its unit, such as 500Mbps")
	c.atLeast("min_packets", float64(d.MinPackets), "write it with its unit, such as 100kpps")
	if v := d.MinConfidence; !(v >= 0 && v <= 1) {
		c.add("min_confidence", fmt.Sprintf("%v is not from 0 to 1", v), "write a number such as 0.8")
	}
	if d.Mode != ModeAuto && d.Mode != ModeObserve && d.Mode != ModeApprove {
		c.add("mode", fmt.Sprintf("%q is not a mode", clip(string(d.Mode))), "write auto, observe or approve")
	}
	if d.When != "" {
		if _, err := compileCondition(d.When); err != nil {
			c.add("when", fmt.Sprintf("the condition cannot be used: %v", err), "tidegate policy variables lists what a condition may speak of")
		}
	}
	d.validateHints(c)
	c.between("max_matches", d.MaxMatches, 0, MaxVariants)
	c.between("max_mitigations", d.MaxMitigations, 0, maxCount)
	c.between("max_per_hour", d.MaxPerHour, 0, maxCount)
	c.aggregate(d.Aggregate)
	c.between("quorum", d.Quorum, 0, maxQuorum)
	if n := len(d.Sources); n > 0 && d.Quorum > n {
		c.add("quorum", fmt.Sprintf("%d detectors are asked for, and it listens to %d", d.Quorum, n), "name more sources, or a smaller number")
	}
}

func (d *Policy) validateHints(c *checker) {
	seen := make(map[Hint]bool)
	for i, h := range d.MatchOn {
		switch {
		case !slices.Contains(hints(), h):
			c.add(item("match_on", i), fmt.Sprintf("%q is not a hint", clip(string(h))),
				"write "+list(hints(), func(h Hint) string { return string(h) }))
		case seen[h]:
			c.add(item("match_on", i), fmt.Sprintf("%q is listed twice", h), "remove one of the two")
		case h == HintNone && len(d.MatchOn) > 1:
			c.add(item("match_on", i), "none stands beside other hints", "write it alone, or leave it out")
		}
		seen[h] = true
	}
}

// sameChoice reports whether both policies take the same signals and use the same of them.
func (d *Policy) sameChoice(o *Policy) bool {
	return slices.Equal(d.Tags, o.Tags) && d.MinRate == o.MinRate && d.MinPackets == o.MinPackets && d.MinConfidence == o.MinConfidence &&
		d.When == o.When && d.Mode == o.Mode && slices.Equal(d.MatchOn, o.MatchOn) && d.MaxMatches == o.MaxMatches &&
		d.MaxMitigations == o.MaxMitigations && d.MaxPerHour == o.MaxPerHour && d.Quorum == o.Quorum && d.Aggregate == o.Aggregate
}

// atLeast checks a threshold: 0, which asks for nothing, or a finite number above.
func (c *checker) atLeast(field string, v float64, fix string) {
	if !(v >= 0) || v > maxThreshold {
		c.add(field, fmt.Sprintf("%v is no threshold", v), fix)
	}
}

// maxThreshold is more than any network carries, in bytes or packets per second.
const maxThreshold = 1e15

// allVectors returns the names of the known vectors.
func allVectors() []Vector {
	infos := Vectors()
	out := make([]Vector, len(infos))
	for i, info := range infos {
		out[i] = info.Name
	}
	return out
}

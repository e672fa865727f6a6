package controller

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/tidegate/tidegate/bgp/flowspec"
	"github.com/tidegate/tidegate/bgp/wanted"
	"github.com/tidegate/tidegate/policy"
)

// began is something that a policy did by itself: it began a mitigation, or had it take a step.
type began struct {
	at     time.Time
	id     policy.MitigationID
	source string
	policy string
	step   bool
}

// manners are how a detector behaved, as far as it was answered: the times of what may be held against it.
type manners struct {
	wrong, conflicts, fast, answers []time.Time
	wrongOf, conflictOf             map[attackKey]time.Time // the last of each attack
	last                            map[attackKey]policy.ReasonCode
	clean                           time.Time // what is older is forgiven: another leader counts, or it was in quarantine
}

const worldWindow = 10 * time.Minute // over which a detector's manners are looked at

// heard takes note of what a signal said, and of what its answer says of its detector.
func (k *book) heard(w *world, key attackKey, s *policy.Signal, v policy.Verdict) {
	if s.Drill || v.Reason.Code == policy.CodeMalformed {
		return
	}
	c := k.conduct[s.Source]
	if c == nil {
		c = &manners{wrongOf: map[attackKey]time.Time{}, conflictOf: map[attackKey]time.Time{}, last: map[attackKey]policy.ReasonCode{}}
		k.conduct[s.Source] = c
	}
	now := w.logTime()
	for _, list := range [...]*[]time.Time{&c.wrong, &c.conflicts, &c.fast, &c.answers} {
		if len(*list) > 0 && (*list)[0].Before(now.Add(-2*worldWindow)) {
			*list = slices.DeleteFunc(*list, func(t time.Time) bool { return t.Before(now.Add(-2 * worldWindow)) })
		}
	}
	c.answers = append(c.answers, now)
	switch v.Reason.Code {
	case policy.CodeSeqConflict:
		c.conflicts, c.conflictOf[key] = append(c.conflicts, now), now
		return
	case policy.CodeStale:
		return
	case policy.CodeTargetNotOfficial, policy.CodeTargetProtected, policy.CodeTargetBuiltIn, policy.CodeTargetEverything:
		if c.wrong = append(c.wrong, now); c.last[key] != v.Reason.Code { // the same answer again is not held against it
			c.wrongOf[key] = now
		}
	case policy.CodeStartRate:
		c.fast = append(c.fast, now)
	default:
	}
	c.last[key] = v.Reason.Code
	if s.Kind == policy.SignalEnd {
		if v.Kind == policy.Ended {
			k.told[key] = false
			delete(k.said, key)
		}
		return
	}
	k.told[key] = true
	if said := append(k.said[key], saying{*s, now}); len(said) > 40 {
		k.said[key] = slices.Clone(said[20:])
	} else {
		k.said[key] = said
	}
}

// newTerm: another leader counts anew.
func (k *book) newTerm(w *world) {
	for _, c := range k.conduct {
		c.clean = w.logTime()
		clear(c.last)
	}
}

func times(list []time.Time, t time.Time) (n int) {
	for _, at := range list {
		if !at.Before(t) {
			n++
		}
	}
	return n
}

// conduct: a detector is in quarantine by itself only if it misbehaved, for as long as the safeguards say, and is if it did.
func (sc *scene) conduct() error {
	const name = "a detector that misbehaves is put aside, and no other"
	q := sc.land.rules.Quarantine
	if sc.s.QuarantineCount() == 0 && q.WrongTargets == 0 && q.SeqConflicts == 0 {
		return nil
	}
	auto := map[string]policy.Quarantine{}
	for x := range sc.s.Quarantines() {
		if x.Automatic {
			auto[x.Source] = x
		}
	}
	for _, source := range slices.Sorted(maps.Keys(sc.book.conduct)) {
		c := sc.book.conduct[source]
		x, put := auto[source]
		if put && !sc.book.held.holds(source, sc.now) && x.Since.After(sc.was[source]) {
			old := x.Since.Add(-worldWindow)
			minutes := map[int64]bool{}
			for _, at := range c.fast {
				if at.After(x.Since.Add(-time.Duration(q.TooFastMinutes+2) * time.Minute)) {
					minutes[at.Unix()/60] = true
				}
			}
			if !sc.reformed && !(q.WrongTargets > 0 && times(c.wrong, old) >= q.WrongTargets || q.SeqConflicts > 0 && times(c.conflicts, old) >= q.SeqConflicts ||
				q.TooFastMinutes > 0 && len(minutes) >= q.TooFastMinutes) {
				return broken(name, "%s is in quarantine (%s), and reported %d wrong targets and %d conflicts within ten minutes, and was too fast in %d", source, x.Reason,
					times(c.wrong, old), times(c.conflicts, old), len(minutes))
			}
			until := x.Since.Add(cmp.Or(q.Duration, time.Hour))
			if !sc.reformed && !until.Equal(x.Until) {
				return broken(name, "%s is in quarantine until %s, the safeguards say %s", source, x.Until, until)
			}
			sc.was[source], sc.book.held.quarantined[source] = x.Since, x.Until
			sc.w.count["put aside"]++
		}
		if sc.book.held.holds(source, sc.now) || sc.reformed || !sc.led {
			c.clean = sc.now
			continue
		}
		if until := sc.book.held.quarantined[source]; until.After(c.clean) { // it was, until lately
			c.clean = until.Add(worldSlack)
		}
		if n := c.distinct(c.conflictOf, sc.now); q.SeqConflicts > 0 && n >= q.SeqConflicts {
			return broken(name, "%s had %d attacks with conflicting numbers within five minutes, at most %d are borne", source, n, q.SeqConflicts)
		}
		n := c.distinct(c.wrongOf, sc.now)
		if all := times(c.answers, sc.now.Add(-worldWindow-worldSlack)); q.WrongTargets > 0 && n >= q.WrongTargets && 2*n > all {
			return broken(name, "%s had %d wrong targets of %d within five minutes, at most %d are borne", source, n, all, q.WrongTargets)
		}
	}
	return nil
}

// distinct counts attacks of the last five minutes, but for those that the leader may not have looked at yet.
func (c *manners) distinct(of map[attackKey]time.Time, now time.Time) (n int) {
	for _, at := range of {
		if at.After(c.clean) && at.After(now.Add(-worldWindow/2+2*worldSlack)) && now.Sub(at) > worldSlack {
			n++
		}
	}
	return n
}

// heardOf are the best confidences of the detectors that said of all of the targets that this vector is on them, each weighed
// with the trust in it.
func (k *book) heardOf(l *land, s *policy.Signal) map[string]float64 {
	best := map[string]float64{s.Source: l.trust(s.Source) * s.Confidence}
	for key, said := range k.said {
		for i := range said {
			if x := &said[i]; x.Vector == s.Vector && len(x.Targets) > 0 && within(s.Targets, x.Targets) {
				best[key.source] = max(best[key.source], l.trust(key.source)*x.Confidence)
			}
		}
	}
	return best
}

func (l *land) trust(source string) float64 {
	if d, ok := l.docs[policy.DocumentRef{Kind: policy.KindDetector, Name: source}].(*policy.Detector); ok {
		return d.Trust
	}
	return 1
}

// joint is the confidence of all, as the documentation has it.
func joint(of map[string]float64) float64 {
	wrong := 1.0
	for _, name := range slices.Sorted(maps.Keys(of)) {
		wrong *= 1 - of[name]
	}
	return 1 - wrong + 1e-6
}

// quorate: a policy that asks for several detectors acts when as many have said so.
func (w *world) quorate(s *policy.Signal, _ policy.Verdict, m *policy.Mitigation) error {
	p := w.land.policies[m.Policy]
	if p == nil || p.Quorum < 2 {
		return nil
	}
	var who []string
	for source := range w.book.heardOf(w.land, s) {
		if (len(p.Sources) == 0 || slices.Contains(p.Sources, source)) && w.land.trust(source) > 0 {
			who = append(who, source)
		}
	}
	w.count["quorate"]++
	if len(who) < p.Quorum {
		return broken("a quorum comes first", "M%d began when %v had reported it, policy %s asks for %d", m.ID, who, p.Name, p.Quorum)
	}
	return nil
}

// floorOf is what the safeguards ask for before an action.
func (l *land) floorOf(a policy.Action) float64 {
	f := l.rules.MinConfidence
	return map[policy.ActionKind]float64{
		policy.Discard: f.Discard, policy.RateLimit: f.Rate, policy.RateLimitPackets: f.Rate, policy.Redirect: f.Redirect, policy.RedirectIP: f.Redirect, policy.RTBH: f.RTBH, policy.Mark: f.Mark,
	}[a.Kind]
}

// sure: nothing begins that nobody is sure enough of.
func (w *world) sure(s *policy.Signal, _ policy.Verdict, m *policy.Mitigation) error {
	floor := w.land.floorOf(m.Action)
	if p := w.land.policies[m.Policy]; p != nil {
		if floor = max(floor, p.MinConfidence); len(p.Ladder) > 0 {
			floor = max(floor, p.Ladder[0].MinConfidence)
		}
	}
	if c := joint(w.book.heardOf(w.land, s)); c < floor {
		return broken("nothing is done that nobody is sure of", "M%d (%s) began at a confidence of %v, asked for are %v", m.ID, m.Action, c, floor)
	}
	return nil
}

// sureStep is sure for a step: of the attacks that keep it or kept it somebody was sure enough.
func (sc *scene) sureStep(m *policy.Mitigation, rec *record) error {
	if rec.approved.Equal(sc.now) {
		return nil
	}
	best := map[string]float64{}
	for key := range rec.ever {
		for _, s := range sc.book.said[key] {
			best[key.source] = max(best[key.source], sc.land.trust(key.source)*s.Confidence, s.Confidence) // the last one may stand alone
		}
	}
	floor := sc.land.floorOf(m.Action)
	if m.Step < len(rec.ladder) {
		floor = max(floor, rec.ladder[m.Step].MinConfidence)
	}
	if c := joint(best); c < floor {
		return broken("nothing is done that nobody is sure of", "M%d took step %d (%s) at a confidence of %v, asked for are %v", m.ID, m.Step+1, m.Action, c, floor)
	}
	return nil
}

// paced: policies do not start more in a minute, or in an hour, than they may.
func (w *world) paced(s *policy.Signal, _ policy.Verdict, m *policy.Mitigation) error {
	return w.pace(began{w.logTime(), m.ID, s.Source, m.Policy, false})
}

func (w *world) pace(x began) error {
	const name = "a pace is kept"
	k, sg := w.book, w.land.rules
	k.starts = slices.DeleteFunc(k.starts, func(o began) bool { return !o.at.After(x.at.Add(-time.Hour)) })
	k.starts = append(k.starts, x)
	all, his, rules, hour := 0, 0, 0, 0
	for _, o := range k.starts {
		if o.policy == x.policy && !o.step {
			hour++
		}
		if !o.at.After(x.at.Add(-time.Minute)) {
			continue
		}
		all++
		if o.source == x.source {
			his++
		}
		if m, ok := w.newest().Mitigation(o.id); ok {
			rules += len(m.Rules)
		}
	}
	p := w.land.policies[x.policy]
	switch {
	case sg.MaxStartsPerMinute > 0 && all > sg.MaxStartsPerMinute:
		return broken(name, "M%d is start or step %d within a minute, at most %d are permitted", x.id, all, sg.MaxStartsPerMinute)
	case sg.MaxStartsPerMinutePerSource > 0 && his > sg.MaxStartsPerMinutePerSource:
		return broken(name, "M%d is start or step %d for %s within a minute, at most %d are permitted", x.id, his, x.source, sg.MaxStartsPerMinutePerSource)
	case sg.MaxRulesPerMinute > 0 && rules > sg.MaxRulesPerMinute:
		return broken(name, "with M%d policies announced %d rules within a minute, at most %d are permitted", x.id, rules, sg.MaxRulesPerMinute)
	case p != nil && p.MaxPerHour > 0 && hour > p.MaxPerHour && !x.step:
		return broken(name, "M%d is start %d of policy %s within an hour, at most %d are permitted", x.id, hour, x.policy, p.MaxPerHour)
	}
	return nil
}

// widest: nothing begins, and no step is taken, on targets that are too wide for what is done to them.
func (sc *scene) widest() error {
	if sc.reformed {
		return nil
	}
	sg := sc.land.rules
	for m := range sc.s.Active() {
		if old := sc.before[m.ID]; old != nil && old.Action == m.Action {
			continue
		}
		x := map[policy.ActionKind]policy.Widths{
			policy.Discard: sg.Widest.Discard, policy.RateLimit: sg.Widest.Rate, policy.RateLimitPackets: sg.Widest.Rate, policy.Redirect: sg.Widest.Redirect,
			policy.RedirectIP: sg.Widest.Redirect, policy.RTBH: sg.Widest.RTBH, policy.Mark: sg.Widest.Mark,
		}[m.Action.Kind]
		for _, t := range m.Targets {
			least := max(x.IPv4, sg.WidestIPv4)
			if familyOf(t) == flowspec.IPv6 {
				least = max(x.IPv6, sg.WidestIPv6)
			}
			if t.Bits() < int(least) {
				return broken("nothing is wider than its action may be", "M%d (%s) is for %s, at least /%d", m.ID, m.Action, t, least)
			}
		}
	}
	return nil
}

// portion is the part of a budget that what one detector began may fill; false: all.
func portion(sg *policy.Safeguards, limit int) (int, bool) {
	if sg.SourceShare == 0 || limit == 0 {
		return 0, false
	}
	kept := int(float64(limit) * sg.OperatorShare / 100)
	return max(1, int(float64(limit-kept)*sg.SourceShare/100)), true
}

// filled is how much of each budget what one detector began fills.
type filled map[[3]string]int // detector, budget, of what

// shares: what one detector began fills no more of any budget than its share.
func (sc *scene) shares() error {
	if sc.reformed {
		return nil
	}
	before, now := filled{}, filled{}
	var old []*policy.Mitigation
	for _, id := range slices.Sorted(maps.Keys(sc.before)) {
		old = append(old, sc.before[id])
	}
	sc.fill(before, old)
	sc.fill(now, slices.Collect(sc.s.Active()))
	limits := map[[2]string]int{{"mitigations", ""}: sc.land.rules.MaxMitigations, {"rules", ""}: sc.land.rules.MaxRules}
	for _, c := range sc.land.customers() {
		limits[[2]string{"mitigations of customer", string(c.ID)}], limits[[2]string{"rules of customer", string(c.ID)}] = c.MaxMitigations, c.MaxRules
	}
	for _, d := range sc.land.routers {
		limits[[2]string{"routes of router", d.Name}], limits[[2]string{"entries of router", d.Name}] = d.MaxPrefix*8/10, d.MaxEntries*8/10
	}
	for _, key := range slices.SortedFunc(maps.Keys(now), func(a, b [3]string) int { return slices.Compare(a[:], b[:]) }) {
		most, bounded := portion(sc.land.rules, limits[[2]string{key[1], key[2]}])
		if n := now[key]; bounded && n > before[key] && n > most {
			return broken("one detector fills no more than its share", "what %s began has %d %s %s, up from %d, and may have %d", key[0], n, key[1], key[2], before[key], most)
		}
	}
	return nil
}

func (sc *scene) fill(f filled, ms []*policy.Mitigation) {
	for _, m := range ms {
		rec := sc.book.of[m.ID]
		if rec == nil || rec.source == "" {
			continue
		}
		f[[3]string{rec.source, "mitigations", ""}]++
		f[[3]string{rec.source, "rules", ""}] += len(m.Rules)
		f[[3]string{rec.source, "mitigations of customer", string(m.Customer)}]++
		f[[3]string{rec.source, "rules of customer", string(m.Customer)}] += len(m.Rules)
		for _, d := range sc.land.routers {
			kind := wanted.FlowSpec
			if m.Action.Kind == policy.RTBH {
				kind = wanted.RTBH
			}
			if d.Kind() != kind || len(m.Groups) > 0 && !slices.Contains(m.Groups, d.Group) || !d.Speaks(familyOf(m.Targets[0])) {
				continue
			}
			f[[3]string{rec.source, "routes of router", d.Name}] += len(m.Rules)
			if prof := sc.profiles[d.Profile]; prof != nil && kind == wanted.FlowSpec && d.MaxEntries > 0 {
				for i := range m.Rules {
					f[[3]string{rec.source, "entries of router", d.Name}] += prof.Price(m.Rules[i]).Entries
				}
			}
		}
	}
}

// addresses counts the addresses of IPv4 prefixes that are in none of others, one by one.
func addresses(of, others []netip.Prefix) (n int) {
	for _, p := range of {
		for a := p.Addr(); p.Contains(a); a = a.Next() {
			if !slices.ContainsFunc(others, func(o netip.Prefix) bool { return o.Contains(a) }) {
				n++
			}
		}
	}
	return n
}
